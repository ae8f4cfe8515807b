"""A recorded run as a counter of calls meets it: consecutive batches, and what every call of a
layer received; and the amounts that a counter gives, integers or exact fractions.

Axes: B batches, C columns of a `Seen` (one per call, or one that stands for all calls of a pass).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import RecordingError, UsageError
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    Seen,
    SynapseActivity,
)

Number = int | Fraction


class Amount(NamedTuple):
    """MACs and ACs of one layer, over all samples; `part` is what they are for: synapses, bias,
    normalisation, pooling, means, residual, neurons or products.
    """

    layer: str
    macs: Number = 0
    acs: Number = 0
    part: str = ""

    def __neg__(self) -> "Amount":
        return self._replace(macs=-self.macs, acs=-self.acs)

    def plus(self, other: "Amount") -> "Amount":
        """Both amounts of the layer; what comes out even is an integer."""
        return self._replace(macs=plain(self.macs + other.macs), acs=plain(self.acs + other.acs))

    @property
    def totals(self) -> dict[str, int | str]:
        """JSON-ready, exact: a fraction is 'numerator/denominator'."""
        return {"macs_total": json_number(self.macs), "acs_total": json_number(self.acs)}


@dataclass(frozen=True)
class Calls:
    """What the calls of a layer received, [B, C] each; `samples` [B, 1] is how many samples a batch
    holds.

    A column holds `steps` time steps and stands for `repeats` calls. `live` are uses through
    weights that are not zero. `binary`: every value of the call is 0 or 1; `signed`: −1, 0 or 1;
    `two_valued`: at most two different values, all between 0 and 1.
    """

    samples: NDArray[np.int64]
    steps: int
    repeats: int
    nonzero: NDArray[np.int64]
    uses: NDArray[np.int64]
    live: NDArray[np.int64]
    total: NDArray[np.float64]
    binary: NDArray[np.bool_]
    signed: NDArray[np.bool_]
    two_valued: NDArray[np.bool_]

    def sample_steps(self, where: NDArray[np.bool_]) -> int:
        """Samples times time steps of the calls marked in `where` [B, C]."""
        return int((self.samples * where).sum()) * self.steps


@dataclass(frozen=True)
class Weighted:
    """A layer with weights in a run. `dense` and `padded` are its connections of one sample and
    step, without and with those on padding; `sample_steps` is N·T, `charged` N times the steps that
    an analog input is charged for.
    """

    name: str
    synapse: SynapseActivity
    geometry: Geometry
    calls: Calls
    dense: int
    padded: int
    sample_steps: int
    charged: int


@dataclass(frozen=True)
class Run:
    """A recording, run batch by batch over consecutive samples. Raises `UsageError` for a batch
    size below 1.
    """

    recording: Recording
    batch_size: int

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"the batch size is {self.batch_size}; expected at least 1")

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """[B] first sample of each batch."""
        return np.arange(0, self.samples, self.batch_size, dtype=np.int64)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """[B] samples of each batch, the last one shorter where they do not come out even."""
        return np.minimum(self.batch_size, self.samples - self.starts)

    @property
    def samples(self) -> int:
        """N."""
        return len(self.recording)

    @property
    def steps(self) -> int:
        """T."""
        return self.recording.timesteps

    def calls(self, seen: Seen) -> Calls:
        """What was received, call by call: a call covers all samples of its batch."""
        columns = seen.low.shape[1]
        low, high = self._over(np.minimum, seen.low), self._over(np.maximum, seen.high)
        # At most two values in a batch: none of its samples has a third, and no sample's smallest
        # or largest is a third one.
        batch_of = np.repeat(np.arange(len(self.sizes)), self.sizes)
        two_valued = seen.two_valued
        for value in (seen.low, seen.high):
            two_valued = two_valued & ((value == low[batch_of]) | (value == high[batch_of]))
        within = (low >= 0) & (high <= 1)
        return Calls(
            samples=self.sizes[:, None],
            steps=self.steps // columns,
            repeats=self.recording.calls // columns if columns <= self.recording.calls else 1,
            nonzero=self.summed(seen.nonzero),
            uses=self.summed(seen.fan_out_ops),
            live=self.summed(
                seen.fan_out_ops if seen.nonzero_fan_out_ops is None else seen.nonzero_fan_out_ops
            ),
            total=self.summed(seen.total),
            binary=self._over(np.logical_and, seen.binary),
            signed=self._over(np.logical_and, seen.signed),
            two_valued=self._over(np.logical_and, two_valued) & within,
        )

    def smallest(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """[B] smallest of `values` [N] in each batch."""
        return self._over(np.minimum, values)

    def summed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Σ of `values` [N, …] over each batch, [B, …]."""
        return self._over(np.add, values)

    @cached_property
    def weighted_layers(self) -> tuple[Weighted, ...]:
        """Layers with weights, with their shapes and calls. Raises `RecordingError` where the
        recording does not hold them.
        """
        found = []
        for synapse in self.recording.synapses:
            shape, seen = synapse.geometry, synapse.seen
            if shape is None or seen is None:
                raise RecordingError(
                    f"the recording holds no shapes and calls of layer {synapse.name!r}; record "
                    "the network again"
                )
            found.append(
                Weighted(
                    name=synapse.name,
                    synapse=synapse,
                    geometry=shape,
                    calls=self.calls(seen),
                    dense=synapse.dense_operations,
                    padded=shape.padded_operations,
                    sample_steps=self.samples * self.steps,
                    charged=self.samples * synapse.charged_steps,
                )
            )
        return tuple(found)

    def neurons(self) -> Iterator[tuple[LayerActivity, NeuronModel]]:
        """Spiking layers with their models. Raises `RecordingError` where the recording does not
        hold them.
        """
        for layer in self.recording.layers:
            if layer.model is None or layer.silent_steps is None:
                raise RecordingError(
                    f"the recording holds no model of spiking layer {layer.name!r}; record the "
                    "network again"
                )
            yield layer, layer.model

    def operators(self, kind: str) -> Iterator[OperatorActivity]:
        """Operations of one kind (`ahsar_eval.recording.activity`)."""
        return (operator for operator in self.recording.operators if operator.kind == kind)

    def _over(self, combine: Any, values: NDArray[Any]) -> NDArray[Any]:
        combined: NDArray[Any] = combine.reduceat(values, self.starts, axis=0)
        return combined


def exact(values: NDArray[Any]) -> Number:
    """Σ of float64 or integer values without any rounding."""
    flat = np.asarray(values).ravel()
    if flat.dtype.kind in "iub" or ((flat == np.rint(flat)) & (abs(flat) < 2**53)).all():
        return int(flat.astype(np.int64).sum())
    return plain(sum((Fraction(float(value)) for value in flat), Fraction(0)))


def plain(number: Number) -> Number:
    """An integer where a number is one."""
    return int(number) if number == int(number) else number


def quotient(number: Number, divisor: int) -> Number:
    """`number` / `divisor`, exact."""
    return plain(Fraction(number) / divisor)


def json_number(number: Number) -> int | str:
    """An integer as it is, a fraction as text, so that nothing is rounded."""
    number = plain(number)
    return number if isinstance(number, int) else f"{number.numerator}/{number.denominator}"
