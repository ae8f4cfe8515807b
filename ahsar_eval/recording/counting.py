"""Exact counts from one pass over spikes.

Counts are integers held in floating point where that is exact and fast: a neuron's count over T
steps is below 2²⁴ in float32; what can grow past that (a whole layer, a count times its fan-out, a
neuron that fires several times in a step) is summed in float64, exact below 2⁵³. No order of
summation changes a bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_EXACT_FLOAT32 = 2**24
MOST_SPIKES = (
    2**31
)  # of one neuron in one sample: sums over a layer with its fan-out stay below 2⁵³


@dataclass(frozen=True)
class Reach:
    """A fan-out map in the form that is cheapest to multiply by.

    Every input channel of a convolution has the same map, so channels can be added before the
    product; a linear layer has one number.
    """

    full: Tensor  # float64, flat over one sample
    shape: tuple[int, ...]
    per_position: Tensor | None  # float64, flat over one channel, where all channels agree
    constant: float | None

    @classmethod
    def of(cls, reached: Tensor, device: torch.device | str = "cpu") -> "Reach":
        """Prepare the map `reached`, float64 of one sample's shape."""
        flat = reached.flatten()
        constant = float(flat[0]) if len(flat) and bool((flat == flat[0]).all()) else None
        alike = reached.dim() > 1 and bool((reached == reached[:1]).all())
        return cls(
            flat.to(device),
            tuple(reached.shape),
            reached[0].flatten().to(device) if alike else None,
            constant,
        )


class Counts:
    """Integer counts [N, *shape] of one batch, none above `largest`, and the sums a recording takes
    of them (float64, exact).

    The sum over channels is taken once and serves the layer's total and every layer it feeds.
    """

    def __init__(self, counts: Tensor, largest: float) -> None:
        self.counts = counts
        self.largest = largest
        self._positions: Tensor | None = None

    def per_sample(self) -> Tensor:
        """Σ over a sample's elements, [N]."""
        if self._has_channels():
            return self._by_position().sum(1)
        return _sum(self.counts.flatten(1), 1, self.largest)

    def weighted(self, reach: Reach) -> Tensor:
        """Σ counts · fan-out, [N]."""
        if reach.constant is not None:
            return self.per_sample() * reach.constant
        if (
            reach.per_position is not None
            and self._has_channels()
            and tuple(self.counts.shape[1:]) == reach.shape
        ):
            return self._by_position() @ reach.per_position
        return self.counts.flatten(1).double() @ reach.full

    def over_samples(self) -> Tensor:
        """Σ over samples, [*shape]."""
        return _sum(self.counts, 0, self.largest)

    def _has_channels(self) -> bool:
        return self.counts.dim() > 2

    def _by_position(self) -> Tensor:
        if self._positions is None:
            self._positions = _sum(self.counts, 1, self.largest).flatten(1)
        return self._positions


def _sum(counts: Tensor, axis: int, largest: float) -> Tensor:
    """Sum along an axis as float64, in float32 where that is exact."""
    exact = counts.shape[axis] * largest < _EXACT_FLOAT32
    dtype = torch.float32 if exact else torch.float64
    return (
        summed_over_first(counts, 1, dtype) if axis == 0 else counts.sum(axis, dtype=dtype)
    ).double()


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
