"""Exact counts from one pass over spikes.

Counts are integers held in floating point where that is exact and fast: a neuron's count over T steps is below 2²⁴ in float32; what can
grow past that (a whole layer, a count times its fan-out) is summed in float64, exact below 2⁵³. No order of summation changes a bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_EXACT_FLOAT32 = 2**24


@dataclass(frozen=True)
class Reach:
    """A fan-out map in the form that is cheapest to multiply by.

    Every input channel of a convolution has the same map, so channels can be added before the product; a linear layer has one number.
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
        return cls(flat.to(device), tuple(reached.shape), reached[0].flatten().to(device) if alike else None, constant)


def per_sample(counts: Tensor, largest: float) -> Tensor:
    """Σ over a sample's elements, [N] float64, from integer counts [N, *shape] none of which exceeds `largest`."""
    flat = counts.flatten(1)
    if flat.shape[1] * largest < _EXACT_FLOAT32:
        return flat.sum(1, dtype=torch.float32).double()
    return flat.sum(1, dtype=torch.float64)


def weighted(counts: Tensor, reach: Reach, largest: float) -> Tensor:
    """Σ counts · fan-out per sample, [N] float64, from integer counts [N, *shape] none of which exceeds `largest`."""
    if reach.constant is not None:
        return per_sample(counts, largest) * reach.constant
    if reach.per_position is not None and reach.shape[0] * largest < _EXACT_FLOAT32:
        by_channel = counts.reshape(len(counts), reach.shape[0], -1)
        return by_channel.sum(1, dtype=torch.float32).double() @ reach.per_position
    return counts.flatten(1).double() @ reach.full


def over_samples(counts: Tensor, largest: float) -> Tensor:
    """Σ over samples, float64 [*shape], from integer counts [N, *shape] none of which exceeds `largest`."""
    if len(counts) * largest < _EXACT_FLOAT32:
        return counts.sum(0, dtype=torch.float32).double()
    return counts.sum(0, dtype=torch.float64)
