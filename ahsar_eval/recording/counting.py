"""Exact counts from one pass over spikes, and the values that operations receive, call by call.

Counts are integers held in floating point where that is exact and fast: a neuron's count over T
steps is below 2²⁴ in float32; what can grow past that (a whole layer, a count times its fan-out, a
neuron that fires several times in a step) is summed in float64, exact below 2⁵³. No order of
summation changes a bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.networks import ModelSpec
from ahsar_eval.recording.activity import Seen

_EXACT_FLOAT32 = 2**24
# Of one neuron in one sample: sums over a layer with its fan-out stay below 2⁵³.
MOST_SPIKES = 2**31
_GLANCE = 64  # elements that show most analog tensors to be analog


@dataclass
class Pass:
    """What the counters of one recording share: a batch of the samples `index` runs as `padded`
    rows.

    `stores` is what the batch adds: an array [N, C], a column of it, and that column's values for
    the batch. `scratch` is memory that calls share: fresh memory costs more than the arithmetic.
    """

    spec: ModelSpec
    count: int  # N
    device: str = "cpu"
    index: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    padded: int = 0
    stores: list[tuple[NDArray[Any], int, Tensor]] = field(default_factory=list)
    scratch: dict[tuple[str, torch.Size, torch.dtype], Tensor] = field(default_factory=dict)

    def begin_batch(self, index: NDArray[np.int64], padded: int) -> None:
        """Nothing is to be written yet."""
        self.index, self.padded = index, padded
        self.stores.clear()

    @property
    def real(self) -> int:
        """Number of samples of the batch, the first of its rows."""
        return len(self.index)

    @property
    def calls(self) -> int:
        """How often a forward pass calls a layer."""
        return self.spec.timesteps if self.spec.step_mode == "s" else 1

    def zeros(self, columns: int = 1) -> NDArray[np.int64]:
        """Counts to be filled, [N, C]."""
        return np.zeros((self.count, columns), np.int64)

    def buffer(self, name: str, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Memory for a tensor like this one, whatever it held; another name gets other memory."""
        key = (name, like.shape, dtype)
        if key not in self.scratch:
            self.scratch[key] = torch.empty_like(like, dtype=dtype)
        return self.scratch[key]

    def write(self) -> None:
        """Write the batch's counts where its samples belong: one transfer for all of them, as
        float64, which holds each exactly.
        """
        if self.stores:
            rows = torch.stack([values.double() for *_, values in self.stores]).cpu().numpy()
            for (array, column, _), values in zip(self.stores, rows, strict=True):
                array[self.index, column] = values


class FanOut:
    """A fan-out map, float64 of one sample's shape, in the form that is cheapest to multiply by.

    Every input channel of a convolution has the same map, so channels can be added before the
    product; a linear layer has one number.
    """

    def __init__(self, fan_out: Tensor, device: torch.device | str = "cpu") -> None:
        flat = fan_out.flatten()
        self.full, self.shape = flat.to(device), fan_out.shape
        self.constant = float(flat[0]) if len(flat) and bool((flat == flat[0]).all()) else None
        alike = fan_out.dim() > 1 and bool((fan_out == fan_out[:1]).all())
        self.of_channel = fan_out[0].flatten().to(device) if alike else None


class Counts:
    """Integer counts [N, *shape] of one batch, none above `largest`, and the sums a recording takes
    of them (float64, exact).

    The sum over channels is taken once and serves the layer's total and every layer it feeds.
    """

    def __init__(self, counts: Tensor, largest: float) -> None:
        self.counts, self.largest = counts, largest

    def per_sample(self) -> Tensor:
        """Σ over a sample's elements, [N]."""
        if self.counts.dim() > 2:
            return self._by_position.sum(1)
        return _sum(self.counts.flatten(1), 1, self.largest)

    def weighted(self, fan_out: FanOut) -> Tensor:
        """Σ counts · fan-out, [N]."""
        if fan_out.constant is not None:
            return self.per_sample() * fan_out.constant
        if fan_out.of_channel is not None and self.counts.shape[1:] == fan_out.shape:
            return self._by_position @ fan_out.of_channel
        return self.counts.flatten(1).double() @ fan_out.full

    def over_samples(self) -> Tensor:
        """Σ over samples, [*shape]."""
        return _sum(self.counts, 0, self.largest)

    @cached_property
    def _by_position(self) -> Tensor:
        """Σ over channels, [N, positions]."""
        return _sum(self.counts, 1, self.largest).flatten(1)


class Received:
    """An operation's input `steps` [S, P, *shape], of which the first `real` samples count: one
    call, or S calls of a step each.

    What is found of it has the axes [C, real], C = S with `each_step` and 1 without. Comparisons
    are written as differences: arithmetic on whole vectors is several times as fast here as a
    tensor of booleans.
    """

    def __init__(self, steps: Tensor, shared: Pass, *, each_step: bool = False) -> None:
        self.shared, self.steps = shared, steps[:, : shared.real]
        # [C, steps of a call, real, elements]; nothing that is asked depends on the elements' order
        flat = in_memory_order(self.steps, 2).flatten(2)
        self.flat = flat.unsqueeze(1 if each_step else 0)
        self.low, self.high = self.flat.amin((1, 3)), self.flat.amax((1, 3))
        self.integral = self._everywhere_zero(lambda x: (x - x.round()).abs())
        self.whole = self.integral & (self.low >= 0)
        self.binary = self.whole & (self.high <= 1)
        self.all_binary = bool(self.binary.all())

    @cached_property
    def values(self) -> Tensor:
        """Σ over the steps of a call of the values, [C, real, *shape]; of whole numbers exact."""
        narrow = self.all_binary and self.steps.dtype != torch.float64
        return self._summed(self.steps, torch.float32 if narrow else torch.float64)

    def nonzero(self) -> Tensor:
        """In how many steps of a call each element was not zero, [C, real, *shape]."""
        if self.all_binary:
            return self.values
        buffer = self.shared.buffer("signs", self.steps, self.steps.dtype)
        signs = torch.sign(self.steps, out=buffer)
        if not bool((self.low >= 0).all()):
            signs.abs_()
        return self._summed(signs, torch.float32)

    def two_valued(self) -> Tensor:
        """[C, real] whether no value lies between the smallest and the largest."""
        close = self.integral & (self.high - self.low <= 1)
        if bool(close.all()):
            return close
        low, high = self.low[:, None, :, None], self.high[:, None, :, None]
        return self._everywhere_zero(lambda x: torch.minimum((x - low).abs(), (x - high).abs()))

    def weighted(self, fan_out: FanOut) -> Tensor:
        """Σ values · fan-out, [real]. Untraced integers have no bound known beforehand: they are
        summed in float64.
        """
        counts = Counts(self.values.flatten(0, 1), float("inf"))
        return counts.weighted(fan_out).reshape(self.low.shape).sum(0)

    def note(
        self,
        seen: Seen,
        column: int,
        fan_out: FanOut | float = 0.0,
        nonzero_fan_out: FanOut | None = None,
        *,
        repeats: int = 1,
    ) -> Tensor:
        """Add these calls to `seen`, from `column` on; `fan_out` is a map, or one number for all.

        A call stands for `repeats` equal ones. Gives Σ over what is not zero of its fan-out,
        [real], of one of them.
        """
        nonzero = self.nonzero()
        counts = Counts(nonzero.flatten(0, 1), self.flat.shape[1])
        calls = nonzero.shape[:2]
        per_call = counts.per_sample().reshape(calls)
        total = per_call
        if not self.all_binary:
            total = self.values.flatten(2).sum(2, dtype=torch.float64)
        if isinstance(fan_out, float):
            reached = per_call * fan_out
        else:
            reached = counts.weighted(fan_out).reshape(calls)
        signed = self.integral & (self.low >= -1) & (self.high <= 1)
        noted: list[tuple[NDArray[Any], Tensor]] = [
            (seen.nonzero, per_call * repeats),
            (seen.fan_out_ops, reached * repeats),
            (seen.total, total * repeats),
            (seen.low, self.low),
            (seen.high, self.high),
            (seen.two_valued, self.two_valued()),
            (seen.signed, signed),
            (seen.whole, self.whole),
        ]
        if seen.nonzero_fan_out_ops is not None and nonzero_fan_out is not None:
            through = counts.weighted(nonzero_fan_out).reshape(calls)
            noted.append((seen.nonzero_fan_out_ops, through * repeats))
        self.shared.stores += [
            (array, column + i, values) for array, rows in noted for i, values in enumerate(rows)
        ]
        return reached.sum(0)

    def _summed(self, steps: Tensor, dtype: torch.dtype) -> Tensor:
        """Calls of several steps as their sums; a call of one step as it is."""
        return summed_over_first(steps, 2, dtype)[None] if self.flat.shape[1] > 1 else steps

    def _everywhere_zero(self, distance: Callable[[Tensor], Tensor]) -> Tensor:
        """[C, real] whether a distance is zero for every element; a glance at some of them settles
        it for most tensors.
        """
        stride = max(1, self.flat.shape[3] // _GLANCE)
        for part in (self.flat[..., ::stride], self.flat):
            zero = distance(part).amax((1, 3)) == 0
            if not bool(zero.any()):
                break
        return zero


def nothing_seen(count: int, columns: int, elements: int, *, pruned: bool = False) -> Seen:
    """`Seen` to be filled, all zeros; `pruned`: with room for fan-out through weights that are not
    zero.
    """

    def zeros(kind: Any) -> NDArray[Any]:
        return np.zeros((count, columns), kind)

    nonzero, fan_out_ops, total = zeros(np.int64), zeros(np.int64), zeros(np.float64)
    low, high = zeros(np.float32), zeros(np.float32)
    flags = zeros(bool), zeros(bool), zeros(bool)
    through = zeros(np.int64) if pruned else None
    return Seen(elements, nonzero, fan_out_ops, total, low, high, *flags, through)


def seen_spikes(
    elements: int,
    spikes: NDArray[np.int64],
    fan_out_ops: NDArray[np.int64],
    nonzero_fan_out_ops: NDArray[np.int64] | None,
) -> Seen:
    """`Seen` of a layer that meets the spikes of one spiking layer: 0 and 1 in every call, counts
    [N, 1] over all T steps.
    """
    yes, zeros = np.ones(spikes.shape, bool), np.zeros(spikes.shape, np.float32)
    total = spikes.astype(np.float64)
    return Seen(
        elements, spikes, fan_out_ops, total, zeros, zeros + 1, yes, yes, yes, nonzero_fan_out_ops
    )


def in_memory_order(x: Tensor, leading: int) -> Tensor:
    """`x` with [H, W, C] for [C, H, W] behind its `leading` axes, where it lies in memory like
    that: a view to flatten without a copy.
    """
    return x.movedim(-3, -1) if x.dim() == leading + 3 and not x.is_contiguous() else x


def summed_over_first(x: Tensor, leading: int, dtype: torch.dtype) -> Tensor:
    """Σ over the first of the `leading` axes, in the order in memory: torch takes ten times as long
    for channels last in any other.
    """
    laid = in_memory_order(x, leading)
    total = laid.sum(0, dtype=dtype)
    return total if laid is x else total.movedim(-1, -3)


def _sum(counts: Tensor, axis: int, largest: float) -> Tensor:
    """Sum along an axis as float64, in float32 where that is exact."""
    exact = counts.shape[axis] * largest < _EXACT_FLOAT32
    dtype = torch.float32 if exact else torch.float64
    if axis == 0:
        return summed_over_first(counts, 1, dtype).double()
    return counts.sum(axis, dtype=dtype).double()
