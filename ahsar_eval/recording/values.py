"""The values that operations receive, call by call, as far as counters judge by them
(see `Seen`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.recording.counting import Counts, Reach, in_memory_order, summed_over_first
from ahsar_eval.recording.work import Seen

Store = tuple[
    NDArray[Any], int, Tensor
]  # an array [N, C], a column of it, and that column's values for a batch
_GLANCE = 64  # elements that show most analog tensors to be analog


class Received:
    """An operation's input `steps` [S, P, *shape], of which the first `real` samples count: one
    call, or S calls of a step each.

    What is found of it has the axes [C, real], C = S with `each_step` and 1 without. `scratch` is
    memory that calls share. Comparisons are written as differences: arithmetic on whole vectors is
    several times as fast here as a tensor of booleans.
    """

    def __init__(
        self,
        steps: Tensor,
        real: int,
        scratch: dict[tuple[torch.Size, torch.dtype], Tensor],
        *,
        each_step: bool = False,
    ) -> None:
        self.scratch = scratch
        self.steps = steps[:, :real]
        self.axes = (2,) if each_step else (0, 2)
        self.flat = in_memory_order(self.steps, 2).flatten(
            2
        )  # nothing that is asked of it depends on its order
        self.low, self.high = (
            self._of_calls(self.flat.amin(self.axes)),
            self._of_calls(self.flat.amax(self.axes)),
        )
        self.integral = self._everywhere(_from_whole)
        self.whole = self.integral & (self.low >= 0)
        self.binary = self.whole & (self.high <= 1)
        self.all_binary = bool(self.binary.all())
        self._values: Tensor | None = None

    def values(self) -> Tensor:
        """Σ over the steps of a call of the values, [C, real, *shape]; of whole numbers exact."""
        if self._values is None:
            narrow = self.all_binary and self.steps.dtype != torch.float64
            self._values = self._summed(self.steps, torch.float32 if narrow else torch.float64)
        return self._values

    def nonzero(self) -> Tensor:
        """In how many steps of a call each element was not zero, [C, real, *shape]."""
        if self.all_binary:
            return self.values()
        signs = torch.sign(self.steps, out=self._buffer())
        if not bool((self.low >= 0).all()):
            signs.abs_()
        return self._summed(signs, torch.float32)

    def two_valued(self) -> Tensor:
        """[C, real] whether no value lies between the smallest and the largest."""
        close = self.integral & (self.high - self.low <= 1)
        if bool(close.all()):
            return close
        low, high = self.low[:, :, None], self.high[:, :, None]
        return self._everywhere(lambda x: torch.minimum((x - low).abs(), (x - high).abs()))

    def _summed(self, steps: Tensor, dtype: torch.dtype) -> Tensor:
        """Calls of several steps as their sums; a call of one step as it is."""
        return (
            summed_over_first(steps, 2, dtype)[None]
            if self.axes == (0, 2) and len(steps) > 1
            else steps
        )

    def _of_calls(self, found: Tensor) -> Tensor:
        return found if found.dim() == 2 else found[None]

    def _everywhere(self, distance: Callable[[Tensor], Tensor]) -> Tensor:
        """[C, real] whether a distance is zero for every element; a glance at some of them settles
        it for most tensors.
        """
        step = max(1, self.flat.shape[2] // _GLANCE)
        for part in (self.flat[:, :, ::step], self.flat):
            zero = self._of_calls(distance(part).amax(self.axes)) == 0
            if not bool(zero.any()):
                break
        return zero

    def _buffer(self) -> Tensor:
        """Room for one tensor like `steps`, used again in the next call: fresh memory costs more
        than the arithmetic.
        """
        key = (self.steps.shape, self.steps.dtype)
        if key not in self.scratch:
            self.scratch[key] = torch.empty_like(self.steps)
        return self.scratch[key]


def _from_whole(x: Tensor) -> Tensor:
    """Distance to the next whole number."""
    return (x - x.round()).abs()


class SeenTally:
    """`Seen` of one operand or layer, filled call by call. `columns` is C; `repeats` is T where one
    call stands for T equal ones.

    `met` holds Σ over what is not zero of the outputs it reaches, [C, real], of what was measured
    last.
    """

    met: Tensor

    def __init__(
        self, count: int, columns: int, elements: int, *, live: bool = False, repeats: int = 1
    ) -> None:
        self.elements, self.columns, self.repeats = elements, columns, repeats
        shape = (count, columns)
        self.nonzero, self.uses = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.live_uses = np.zeros(shape, np.int64) if live else None
        self.total = np.zeros(shape, np.float64)
        self.low, self.high = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.two_valued, self.signed, self.whole = (
            np.zeros(shape, bool),
            np.zeros(shape, bool),
            np.zeros(shape, bool),
        )

    def measured(
        self,
        received: Received,
        first: int,
        steps: int,
        reach: Reach | float = 0.0,
        live: Reach | None = None,
    ) -> list[Store]:
        """What calls add from column `first` on: to be written where their samples belong.

        A call holds `steps` time steps; `reach` is a fan-out map, or one number for all elements.
        """
        nonzero = received.nonzero()
        counts = Counts(nonzero.flatten(0, 1), steps)
        calls = nonzero.shape[:2]
        per_call = counts.per_sample().reshape(calls)
        total = (
            per_call
            if received.all_binary
            else received.values().flatten(2).sum(2, dtype=torch.float64)
        )
        self.met = (
            per_call * reach if isinstance(reach, float) else counts.weighted(reach).reshape(calls)
        )
        found: list[tuple[NDArray[Any], Tensor]] = [
            (self.nonzero, per_call * self.repeats),
            (self.uses, self.met * self.repeats),
            (self.total, total * self.repeats),
            (self.low, received.low),
            (self.high, received.high),
            (self.two_valued, received.two_valued()),
            (self.signed, received.integral & (received.low >= -1) & (received.high <= 1)),
            (self.whole, received.whole),
        ]
        if self.live_uses is not None and live is not None:
            found.append((self.live_uses, counts.weighted(live).reshape(calls) * self.repeats))
        return [
            (array, first + place, values)
            for array, rows in found
            for place, values in enumerate(rows)
        ]

    def seen(self) -> Seen:
        """The result, when every sample has passed."""
        return Seen(
            self.elements,
            self.nonzero,
            self.uses,
            self.total,
            self.low,
            self.high,
            self.two_valued,
            self.signed,
            self.whole,
            self.live_uses,
        )


def seen_spikes(
    elements: int,
    spikes: NDArray[np.int64],
    uses: NDArray[np.int64],
    live_uses: NDArray[np.int64] | None,
) -> Seen:
    """`Seen` of a layer that meets the spikes of one spiking layer: 0 and 1 in every call, counts
    [N] over all T steps.
    """
    shape = (len(spikes), 1)
    yes = np.ones(shape, bool)
    zeros = np.zeros(shape, np.float32)
    live = None if live_uses is None else live_uses[:, None]
    return Seen(
        elements,
        spikes[:, None],
        uses[:, None],
        spikes[:, None].astype(np.float64),
        zeros,
        zeros + 1,
        yes,
        yes,
        yes,
        live,
    )
