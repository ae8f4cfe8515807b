"""A forward pass as its counters see it: which axes the tensors of a layer have, in how many calls
they come, and where the counts of a batch belong.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, Shape
from ahsar_eval.recording.activity import Counts


def per_sample(x: Tensor, spec: ModelSpec, samples: int) -> tuple[int, Shape] | None:
    """Time steps a tensor of one call holds, and its shape for one sample and step; None where it
    has no axis of samples.
    """
    steps, shape = spec.timesteps, tuple(x.shape)
    if spec.calls.startswith("flat"):  # of one sample
        return (shape[0], shape[1:]) if len(shape) > 1 and shape[0] in (1, steps) else None
    if len(shape) > 2 and has_batch_first(x, spec, samples):
        return steps, shape[2:]
    if spec.step_mode == "m" and len(shape) > 2 and shape[:2] == (steps, samples):
        return steps, shape[2:]
    if spec.step_mode == "m" and len(shape) > 1 and shape[0] == steps * samples:
        return steps, shape[1:]
    return (1, shape[1:]) if len(shape) > 1 and shape[0] == samples else None


def has_batch_first(x: Tensor, spec: ModelSpec, samples: int) -> bool:
    """Whether a tensor of a network that can have its samples before its time steps has."""
    steps = spec.timesteps
    return spec.calls[:1] == "N" and tuple(x.shape[:2]) == (samples, steps) != (steps, samples)


def calls_of(spec: ModelSpec) -> int:
    """How often a forward pass calls each layer: once in multi-step mode, else once a step."""
    return spec.timesteps if spec.step_mode == "s" else 1


@dataclass(frozen=True)
class Axes:
    """Of the tensors that a layer meets: in how many `calls` of a pass, of how many time `steps`
    each, and whether samples come before them.
    """

    calls: int
    steps: int
    batch_first: bool = False


@dataclass
class Pass:
    """What the counters of one recording share: a batch of the samples `index` runs as `padded`
    rows, and the network is in call `step` of the `calls` of a forward pass (one in multi-step
    mode).
    """

    spec: ModelSpec
    count: int
    device: str = "cpu"

    @cached_property
    def calls(self) -> int:
        """How often a forward pass calls each layer."""
        return calls_of(self.spec)

    @property
    def axes(self) -> Axes:
        """Of most layers."""
        return Axes(self.calls, self.spec.timesteps // self.calls)

    def begin_batch(self, index: Counts, padded: int, traced: Collection[int] = ()) -> None:
        """Nothing is to be written yet; of the rows `traced` all spikes are kept."""
        self.index, self.padded, self.step = index, padded, -1
        self.turns: Counter[object] = Counter()
        self.kept: dict[object, Tensor] = {}
        self.real = len(index)  # samples of the batch, the first of its rows
        self.traced: dict[int, dict[str, list[NDArray[Any]]]] = {row: {} for row in traced}
        # What the batch adds: an array [N, C], a column of it, and that column's values.
        self.stores: list[tuple[NDArray[Any], int, Tensor]] = []

    def turn(self, counter: object) -> int:
        """Which call of the pass this is for a counter, from 0."""
        self.turns[counter] += 1
        return self.turns[counter] - 1

    def gathered(self, counter: object, at: int, calls: int, steps: Tensor) -> Tensor | None:
        """The steps [S · calls, P, …] that a counter has met in all `calls` of a pass, with the
        last of them; None before. To measure a call costs more than what it counts.
        """
        if calls == 1:
            return steps
        if at == 0:
            self.kept[counter] = steps.new_empty((calls * len(steps), *steps.shape[1:]))
        # A copy: the network may write into its tensor.
        self.kept[counter][at * len(steps) : (at + 1) * len(steps)] = steps
        return self.kept.pop(counter) if at == calls - 1 else None

    def zeros(self, columns: int = 1, kind: Any = np.int64) -> NDArray[Any]:
        """SpikeCounts to be filled, [N, C]."""
        return np.zeros((self.count, columns), kind)

    def steps_of(self, x: Tensor, shape: Shape, held: int, batch_first: bool = False) -> Tensor:
        """A tensor of one call as [S, P, *shape], which holds S = `held` steps. Raises
        `RecordingError` where it has another shape than was found.
        """
        leading = (self.padded, held) if batch_first else (held, self.padded)
        if tuple(x.shape) in ((*leading, *shape), (held * self.padded, *shape)):
            steps = x.reshape(*leading, *shape)
            return steps.transpose(0, 1) if batch_first else steps
        raise RecordingError(
            f"a tensor of shape {tuple(x.shape)} was not seen before where {shape} was found for a "
            "sample and step; the network does something else for other samples"
        )

    def each_step_of(self, x: Tensor, held: int, batch_first: bool = False) -> Tensor:
        """The same of whatever shape a sample and step have in it."""
        leading = (self.padded, held) if batch_first else (held, self.padded)
        shape = tuple(x.shape[2 if tuple(x.shape[:2]) == leading else 1 :])
        return self.steps_of(x, shape, held, batch_first)

    def store(self, array: NDArray[Any], values: Tensor) -> None:
        """Note what `array` [N, C] is to hold of the batch, [calls · real]: of this call, or of
        several up to it, one behind another; their sum where it has one column for all calls.
        """
        of_calls, columns = values.reshape(-1, self.real), array.shape[1]
        if len(of_calls) > columns:
            of_calls = of_calls.sum(0, keepdim=True)
        first = 0 if len(of_calls) == columns else self.step
        self.stores += [(array, first + i, one) for i, one in enumerate(of_calls)]

    def write(self) -> None:
        """Write the batch's counts where its samples belong: one transfer for all of them, as
        float64, which holds each exactly.
        """
        if self.stores:
            rows = torch.stack([values.double() for *_, values in self.stores]).cpu().numpy()
            for (array, column, _), values in zip(self.stores, rows, strict=True):
                array[self.index, column] = values
