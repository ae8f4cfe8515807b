"""A recorded run as a counter of calls meets it: consecutive batches, and what every call of a
layer received.

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


def batches(n: int, batch_size: int) -> list[slice]:
    """Consecutive samples 0 … n−1 in batches, the last one shorter where they do not come out even.
    Raises `UsageError` below 1.
    """
    if batch_size < 1:
        raise UsageError(f"the batch size is {batch_size}; expected at least 1")
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]


class Amount(NamedTuple):
    """MACs and ACs of one layer, over all samples."""

    layer: str
    macs: Number = 0
    acs: Number = 0


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
class Run:
    """A recording, run batch by batch over consecutive samples."""

    recording: Recording
    batch_size: int

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """[B] first sample of each batch."""
        return np.array(
            [part.start for part in batches(len(self.recording), self.batch_size)], dtype=np.int64
        )

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """[B] samples of each batch."""
        return np.array(
            [part.stop - part.start for part in batches(len(self.recording), self.batch_size)],
            dtype=np.int64,
        )

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
        live = seen.nonzero_fan_out_ops
        if live is None:
            live = seen.fan_out_ops
        low, high = self._over(np.minimum, seen.low), self._over(np.maximum, seen.high)
        # At most two values in a batch: none of its samples has a third, and no sample's smallest
        # or largest is a third one.
        ends = [
            (value == low[self._batch_of]) | (value == high[self._batch_of])
            for value in (seen.low, seen.high)
        ]
        two_valued = (
            self._over(np.logical_and, seen.two_valued & ends[0] & ends[1])
            & (low >= 0)
            & (high <= 1)
        )
        return Calls(
            samples=self.sizes[:, None],
            steps=self.steps // columns,
            repeats=self.recording.calls // columns if columns <= self.recording.calls else 1,
            nonzero=self._over(np.add, seen.nonzero),
            uses=self._over(np.add, seen.fan_out_ops),
            live=self._over(np.add, live),
            total=self._over(np.add, seen.total),
            binary=self._over(np.logical_and, seen.binary),
            signed=self._over(np.logical_and, seen.signed),
            two_valued=two_valued,
        )

    def smallest(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """[B] smallest of `values` [N] in each batch."""
        return self._over(np.minimum, values)

    def summed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Σ of `values` [N, …] over each batch, [B, …]."""
        return self._over(np.add, values)

    @cached_property
    def weighted_layers(self) -> tuple["Weighted", ...]:
        """Layers with weights, with their shapes and calls. Raises `RecordingError` where the
        recording does not hold them.
        """
        found = []
        for synapse in self.recording.synapses:
            if synapse.geometry is None or synapse.seen is None:
                raise RecordingError(
                    f"the recording holds no shapes and calls of layer {synapse.name!r}; record "
                    "the network again"
                )
            found.append(
                Weighted(
                    synapse, synapse.geometry, self.calls(synapse.seen), self.samples * self.steps
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

    @cached_property
    def _batch_of(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def _over(self, combine: Any, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype == np.bool_ or not len(values):
            return np.logical_and.reduceat(values, self.starts, axis=0)
        combined: NDArray[Any] = combine.reduceat(values, self.starts, axis=0)
        return combined


@dataclass(frozen=True)
class Weighted:
    """A layer with weights in a run; `sample_steps` is N·T."""

    synapse: SynapseActivity
    geometry: Geometry
    calls: Calls
    sample_steps: int

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.synapse.name

    @property
    def dense(self) -> int:
        """Connections of one sample and step, padding excluded."""
        return self.synapse.dense_operations

    @property
    def padded(self) -> int:
        """Connections of one sample and step, with those on padding."""
        return self.geometry.padded_operations

    @property
    def charged(self) -> int:
        """Samples times the steps that an analog input is charged for."""
        return self.sample_steps // self.steps * self.synapse.charged_steps

    @property
    def steps(self) -> int:
        """T."""
        return self.calls.steps * self.calls.uses.shape[1]


def exact(values: NDArray[Any]) -> Number:
    """Σ of float64 or integer values without any rounding."""
    flat = np.asarray(values).ravel()
    if flat.dtype.kind in "iub" or bool(
        (flat == np.rint(flat)).all() and (np.abs(flat) < 2**53).all()
    ):
        return int(flat.astype(np.int64).sum())
    return plain(sum((Fraction(float(value)) for value in flat), Fraction(0)))


def plain(number: Number) -> Number:
    """An integer where a number is one."""
    return int(number) if number == int(number) else number


def quotient(number: Number, divisor: int) -> Number:
    """`number` / `divisor`, exact."""
    return plain(Fraction(number) / divisor)
