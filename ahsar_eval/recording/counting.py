"""Exact counts from one pass: how many outputs each input element of a layer reaches, sums of
spikes over such maps, and the values that operations receive, call by call.

A fan-out map is the gradient of the layer with unit weights, so that borders, strides, groups and
dilation come out right by construction. Since every input channel of a group sees the same kernel
positions, one channel is enough: the map of one channel times the number of output channels it
feeds.

Counts are integers held in floating point where that is exact and fast: a neuron's count over T
steps is below 2²⁴ in float32; what can grow past that (a whole layer, a count times its fan-out, a
neuron that fires several times in a step) is summed in float64, exact below 2⁵³. No order of
summation changes a bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.networks import Shape
from ahsar_eval.recording.activity import Counts, Seen
from ahsar_eval.recording.passes import Pass

AVERAGE_POOLS = (nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd)
_EXACT_FLOAT32 = 2**24
# Of one neuron in one sample: sums over a layer with its fan-out stay below 2⁵³.
MOST_SPIKES = 2**31
_GLANCE = 64  # elements that show most analog tensors to be analog


def is_synapse(module: nn.Module) -> bool:
    """Whether a fan-out rule exists for this layer with weights: convolutions, transposed
    convolutions, linear.
    """
    return isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))


def fan_out(module: nn.Module, shape: Shape) -> Tensor:
    """Number of outputs each input element of a layer with weights reaches, float64 of `shape` (one
    sample's input, without T and N).

    `shape` is [C, *spatial] for a convolution and [*, D] for a linear layer. Padding modes other
    than zeros carry an element's copies too.
    """
    layer: Any = module  # all six kinds of convolution share the attributes read here
    if isinstance(module, nn.Linear):
        return torch.full(shape, float(layer.out_features), dtype=torch.float64)
    kernel = torch.ones((1, 1, *layer.kernel_size), dtype=torch.float64)
    of_channel = _gradient(layer, kernel, (1, *shape[1:]), groups=1)
    return (of_channel * (layer.out_channels // layer.groups)).round().expand(shape).clone()


def nonzero_fan_out(module: nn.Module, shape: Shape) -> Tensor | None:
    """The same through weights that are not zero, as in a pruned network; None where no weight is
    zero.
    """
    layer: Any = module
    nonzero = layer.weight.detach() != 0
    if bool(nonzero.all()):
        return None
    kernel = nonzero.double().cpu()
    if isinstance(module, nn.Linear):
        return kernel.sum(0).expand(shape).clone()
    return _gradient(layer, kernel, shape, groups=layer.groups).round()


def _gradient(conv: Any, kernel: Tensor, shape: Shape, groups: int) -> Tensor:
    """Σ of the outputs of a convolution with `kernel` as a function of its input, differentiated,
    of `shape` [C, *spatial].
    """
    x = torch.zeros((1, *shape), dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        given, padding = x, conv.padding
        if not conv.transposed:
            mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
            given = F.pad(x, conv._reversed_padding_repeated_twice, mode)
            padding = (0,) * len(conv.kernel_size)
        how = (conv.stride, padding, conv.dilation, conv.transposed, conv.output_padding, groups)
        (gradient,) = torch.autograd.grad(torch.convolution(given, kernel, None, *how).sum(), x)
    return gradient[0]


def through_average(module: nn.Module, shape: Shape, fan_out: Tensor) -> Tensor | None:
    """Fold an average pooling: the map of the layer behind it (`fan_out`), pulled back to the
    pooling's input of `shape` [C, *spatial].

    Every spike reaches what its pooled cell reaches; where windows overlap, the sum over its cells.
    None where the windows of an adaptive pooling are not all alike, so that no single factor stands
    for them.
    """
    pool: Any = module
    channels, *sides = shape
    axes = len(sides)
    padding, ceil_mode = [0] * axes, False
    if isinstance(module, nn.modules.pooling._AdaptiveAvgPoolNd):
        wanted = each_axis(pool.output_size, axes)
        sizes = [side if want is None else want for side, want in zip(sides, wanted, strict=True)]
        if any(side % size for side, size in zip(sides, sizes, strict=True)):
            return None
        kernel = stride = [side // size for side, size in zip(sides, sizes, strict=True)]
    else:
        kernel, stride, padding = (
            each_axis(size, axes) for size in (pool.kernel_size, pool.stride, pool.padding)
        )
        ceil_mode = bool(pool.ceil_mode)
    # avg_pool1d has no divisor to be told: one and two axes run as three.
    ones = [1] * (3 - axes)
    x = torch.zeros((1, channels, *ones, *sides), dtype=torch.float64, requires_grad=True)
    how = (ones + kernel, ones + stride, [0] * len(ones) + padding, ceil_mode)
    with torch.enable_grad():
        pooled = F.avg_pool3d(x, *how, divisor_override=1)  # sums instead of means
        if pooled.numel() != fan_out.numel():
            return None
        (gradient,) = torch.autograd.grad((pooled.flatten() * fan_out.flatten()).sum(), x)
    return gradient.round().reshape(shape)


def each_axis(value: Any, axes: int) -> list[Any]:
    """A setting of a convolution or pooling for each of its axes, where one stands for all."""
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return values * axes if len(values) == 1 else values


def kind_by_value(x: Tensor) -> str:
    """'spikes' where all values are 0 or 1, 'integer spikes' where they are whole, or 'analog'."""
    if bool(((x == 0) | (x == 1)).all()):
        return "spikes"
    return "integer spikes" if bool(((x >= 0) & (x == x.round())).all()) else "analog"


class FanOut:
    """A fan-out map, float64 of one sample's shape, in the form that is cheapest to multiply by:
    where all channels have the same map, they can be added before the product.
    """

    def __init__(self, fan_out: Tensor, device: torch.device | str = "cpu") -> None:
        self.full, self.shape = fan_out.flatten().to(device), fan_out.shape
        alike = fan_out.dim() > 1 and bool((fan_out == fan_out[:1]).all())
        self.of_channel = fan_out[0].flatten().to(device) if alike else None


@dataclass
class SpikeCounts:
    """Integer counts [N, *shape] of one batch, none above `largest`, and the sums a recording takes
    of them (float64, exact).

    The sum over channels is taken once and serves the layer's total and every layer it feeds.
    """

    counts: Tensor
    largest: float

    def per_sample(self) -> Tensor:
        """Σ over a sample's elements, [N]."""
        if self.counts.dim() > 2:
            return self._by_position.sum(1)
        return self._sum(self.counts.flatten(1), 1)

    def weighted(self, fan_out: FanOut) -> Tensor:
        """Σ counts · fan-out, [N]."""
        if fan_out.of_channel is not None and self.counts.shape[1:] == fan_out.shape:
            return self._by_position @ fan_out.of_channel
        return self.counts.flatten(1).double() @ fan_out.full

    def over_samples(self) -> Tensor:
        """Σ over samples, [*shape]."""
        return self._sum(self.counts, 0)

    @cached_property
    def _by_position(self) -> Tensor:
        """Σ over channels, [N, positions]."""
        return self._sum(self.counts, 1).flatten(1)

    def _sum(self, counts: Tensor, axis: int) -> Tensor:
        """Sum along an axis as float64, in float32 where that is exact."""
        exact = counts.shape[axis] * self.largest < _EXACT_FLOAT32
        dtype = torch.float32 if exact else torch.float64
        if axis == 0:
            return summed_over_first(counts, 1, dtype).double()
        return counts.sum(axis, dtype=dtype).double()


class Received:
    """An operation's input `steps` [S, R, *shape]: R samples in one call, or in several calls one
    behind another. What is found of it is by row of R.

    Comparisons are written as differences: arithmetic on whole vectors is several times as fast
    here as a tensor of booleans.
    """

    def __init__(self, steps: Tensor, shared: Pass) -> None:
        self.shared, self.steps = shared, steps
        # [S, R, elements]; nothing that is asked depends on the elements' order
        self.flat = in_memory_order(self.steps, 2).flatten(2)
        self.low, self.high = self.flat.amin((0, 2)), self.flat.amax((0, 2))
        self.integral = self._everywhere_zero(lambda x: (x - x.round()).abs())
        self.whole = self.integral & (self.low >= 0)
        self.binary = self.whole & (self.high <= 1)
        self.all_binary = bool(self.binary.all())

    @cached_property
    def values(self) -> Tensor:
        """Σ over the steps of the values, [R, *shape]; of whole numbers exact."""
        narrow = self.all_binary and self.steps.dtype != torch.float64
        return summed_over_first(self.steps, 2, torch.float32 if narrow else torch.float64)

    def nonzero(self) -> Tensor:
        """In how many steps each element was not zero, [R, *shape]."""
        if self.all_binary:
            return self.values
        signs = torch.sign(self.steps)
        if not bool((self.low >= 0).all()):
            signs.abs_()
        return summed_over_first(signs, 2, torch.float32)

    def two_valued(self) -> Tensor:
        """[R] whether no value lies between the smallest and the largest."""
        close = self.integral & (self.high - self.low <= 1)
        if bool(close.all()):
            return close
        low, high = self.low[:, None], self.high[:, None]
        return self._everywhere_zero(lambda x: torch.minimum((x - low).abs(), (x - high).abs()))

    def weighted(self, fan_out: FanOut) -> Tensor:
        """Σ values · fan-out, [R]. Untraced integers have no bound known beforehand: they are
        summed in float64.
        """
        return SpikeCounts(self.values, float("inf")).weighted(fan_out)

    def note(
        self, seen: Seen, fan_out: FanOut, nonzero_fan_out: FanOut | None = None, repeats: int = 1
    ) -> Tensor:
        """Put each call into its column of `seen`; it stands for `repeats` equal ones. Gives Σ over
        what is not zero of its fan-out, [R], of one of them.
        """
        counts = SpikeCounts(self.nonzero(), len(self.flat))
        number, reached = counts.per_sample(), counts.weighted(fan_out)
        total = number if self.all_binary else self.values.flatten(1).sum(1, dtype=torch.float64)
        noted = {
            "nonzero": number * repeats,
            "fan_out_ops": reached * repeats,
            "total": total * repeats,
            "low": self.low,
            "high": self.high,
            "two_valued": self.two_valued(),
            "signed": self.integral & (self.low >= -1) & (self.high <= 1),
            "whole": self.whole,
        }
        if nonzero_fan_out is not None:
            noted["nonzero_fan_out_ops"] = counts.weighted(nonzero_fan_out) * repeats
        for name, values in noted.items():
            self.shared.store(getattr(seen, name), values)
        return reached

    def _everywhere_zero(self, distance: Callable[[Tensor], Tensor]) -> Tensor:
        """[R] whether a distance is zero for every element; a glance at some of them settles it
        for most tensors.
        """
        stride = max(1, self.flat.shape[2] // _GLANCE)
        for part in (self.flat[..., ::stride], self.flat):
            zero = distance(part).amax((0, 2)) == 0
            if not bool(zero.any()):
                break
        return zero


def nothing_seen(shared: Pass, columns: int, elements: int, *, pruned: bool = False) -> Seen:
    """`Seen` to be filled, all zeros; `pruned`: with room for fan-out through weights that are not
    zero.
    """
    kinds = [np.int64] * 2 + [np.float64] + [np.float32] * 2 + [bool] * 3 + [np.int64] * pruned
    return Seen(elements, *(shared.zeros(columns, kind) for kind in kinds))


def seen_spikes(
    elements: int,
    spikes: Counts,
    fan_out_ops: Counts,
    nonzero_fan_out_ops: Counts | None = None,
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
    if len(x) == 1:
        return x[0]
    laid = in_memory_order(x, leading)
    total = laid.sum(0, dtype=dtype)
    return total if laid is x else total.movedim(-1, -3)
