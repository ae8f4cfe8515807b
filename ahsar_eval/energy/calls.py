"""A recorded run as a counter of calls meets it: consecutive batches, and what every call of a
layer received; and the amounts that a counter gives, integers or exact fractions.

Axes: B batches, C columns of a `Seen` (one per call, or one that stands for all calls of a pass).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import RecordingError, UsageError
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    Recording,
    Seen,
    SynapseActivity,
)

Number = int | Fraction
Marks = NDArray[np.bool_]


class Amount(NamedTuple):
    """MACs and ACs of one layer, over all samples; `part` is what they are for: synapses, bias,
    normalisation, pooling, means, residual, neurons or products.
    """

    layer: str
    macs: Number = 0
    acs: Number = 0
    part: str = ""

    def times(self, factor: int) -> "Amount":
        """So many times the amount."""
        return self._replace(macs=factor * self.macs, acs=factor * self.acs)

    @property
    def totals(self) -> dict[str, int | str]:
        """JSON-ready, exact: a fraction is 'numerator/denominator'."""
        return {"macs_total": json_number(self.macs), "acs_total": json_number(self.acs)}


def summed(amounts: Sequence[Amount], layer: str = "") -> Amount:
    """The sum of all of them."""
    return Amount(layer, sum(one.macs for one in amounts), sum(one.acs for one in amounts))


def by_layer(amounts: Sequence[Amount]) -> list[Amount]:
    """The sum of each layer where it is not 0, in the order in which layers come first."""
    layers = dict.fromkeys(one.layer for one in amounts)
    sums = [summed([one for one in amounts if one.layer == layer], layer) for layer in layers]
    return [one for one in sums if one.macs or one.acs]


@dataclass(frozen=True)
class Rules:
    """How a counter judges layers with weights: a call is taken for spikes where its values are
    `spikes` (binary, signed or two_valued); `products` are those of one sample and step as the
    counter takes them; transposed convolutions are known to it or not.
    """

    spikes: str = "binary"
    products: Callable[[Geometry], int] = attrgetter("padded_operations")
    transposed: bool = True


@dataclass(frozen=True)
class Weighted:
    """A layer with weights in a `run`, and what its `calls` received. `products` are those of one
    sample and step as the counter takes them; `spiking` marks the calls [B, C] that it takes for
    spikes.
    """

    run: "Run"
    synapse: SynapseActivity
    geometry: Geometry
    calls: Seen
    spiking: Marks
    products: int

    @property
    def steps(self) -> int:
        """Time steps that it runs for."""
        return self.synapse.steps(self.run.steps)


class Run:
    """A recording of N `samples` over T `steps`, run batch by batch over consecutive samples, as a
    counter of these `rules` meets it: `starts` [B] and `sizes` [B] of the batches, the last one
    shorter where they do not come out even. Raises `UsageError` for a batch size below 1.
    """

    def __init__(self, recording: Recording, batch_size: int, rules: Rules = Rules()) -> None:
        if batch_size < 1:
            raise UsageError(f"the batch size is {batch_size}; expected at least 1")
        self.recording, self.rules = recording, rules
        self.samples, self.steps = len(recording), recording.timesteps
        self.starts = np.arange(0, self.samples, batch_size, dtype=np.int64)
        self.sizes = np.minimum(batch_size, self.samples - self.starts)

    def over(self, combine: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """`values` [N, …] combined over each batch, [B, …]."""
        return np.asarray(combine.reduceat(values, self.starts, axis=0))

    def sample_steps(self, where: Marks, steps: int) -> int:
        """Samples times time steps of the calls marked in `where` [B, C], of an operation that runs
        for `steps` time steps.
        """
        return int((self.sizes[:, None] * where).sum()) * (steps // where.shape[1])

    def calls(self, seen: Seen) -> Seen:
        """What was received, call by call, [B, C] each: a call covers all samples of its batch, and
        is two-valued where it holds at most two values, all between 0 and 1.
        """
        low, high = self.over(np.minimum, seen.low), self.over(np.maximum, seen.high)
        # At most two values in a batch: none of its samples has a third, and no sample's smallest
        # or largest is a third one.
        batch_of = np.repeat(np.arange(len(self.sizes)), self.sizes)
        two_valued = seen.two_valued
        for value in (seen.low, seen.high):
            two_valued = two_valued & ((value == low[batch_of]) | (value == high[batch_of]))
        live = seen.nonzero_fan_out_ops
        return replace(
            seen,
            nonzero=self.over(np.add, seen.nonzero),
            fan_out_ops=self.over(np.add, seen.fan_out_ops),
            nonzero_fan_out_ops=None if live is None else self.over(np.add, live),
            total=self.over(np.add, seen.total),
            low=low,
            high=high,
            two_valued=self.over(np.logical_and, two_valued) & (low >= 0) & (high <= 1),
            signed=self.over(np.logical_and, seen.signed),
        )

    @cached_property
    def layers(self) -> list[Weighted]:
        """Layers with weights, with their shapes and calls. Raises `RecordingError` where the
        recording does not hold them.
        """
        found = []
        for synapse in self.recording.synapses:
            shape, seen = synapse.geometry, synapse.seen
            if seen is None:
                raise RecordingError(
                    f"the recording holds no calls of layer {synapse.name!r}; record the network "
                    "again"
                )
            calls, products = self.calls(seen), self.rules.products(shape)
            spiking = getattr(calls, self.rules.spikes)
            found.append(Weighted(self, synapse, shape, calls, spiking, products))
        return found

    def neurons(self) -> Iterator[tuple[LayerActivity, NeuronModel]]:
        """Spiking layers with their models. Raises `RecordingError` where the recording does not
        hold them.
        """
        for layer in self.recording.layers:
            if layer.silent_steps is None:
                raise RecordingError(
                    f"the recording holds no silent steps of spiking layer {layer.name!r}; record "
                    "the network again"
                )
            yield layer, layer.model


def exact(values: NDArray[Any]) -> Fraction:
    """Σ of float64 or integer values without any rounding."""
    return sum(map(Fraction, values.ravel().tolist()), Fraction())


def json_number(number: Number) -> int | str:
    """An integer as it is, a fraction as text, so that nothing is rounded."""
    return int(number) if number.denominator == 1 else str(number)
