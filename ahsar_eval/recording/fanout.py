"""Exact fan-out maps: how many outputs each input element of a layer reaches.

The map is the gradient of the layer with unit weights, so that borders, strides, groups and
dilation come out right by construction. Since every input channel of a group sees the same kernel
positions, one channel is enough: the map of one channel times the number of output channels it
feeds.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import Shape
from ahsar_eval.recording.activity import Geometry

_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
    nn.ConvTranspose1d: F.conv_transpose1d,
    nn.ConvTranspose2d: F.conv_transpose2d,
    nn.ConvTranspose3d: F.conv_transpose3d,
}
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


def is_synapse(module: nn.Module) -> bool:
    """Whether a fan-out rule exists for this layer with weights: convolutions, transposed
    convolutions, linear.
    """
    return isinstance(module, (nn.Linear, *_CONVOLUTIONS))


def is_average_pool(module: nn.Module) -> bool:
    """Whether a layer is an average pooling that can be folded into the layer it feeds."""
    return isinstance(module, (*_AVERAGES, *_ADAPTIVE))


def fan_out(module: nn.Module, shape: Shape) -> Tensor:
    """Number of outputs each input element reaches, float64 of `shape` (one sample's input, without
    T and N).

    `shape` is [C, *spatial] for a convolution and [*, D] for a linear layer. Padding modes other
    than zeros carry an element's copies too. Raises `RecordingError` for a layer without a rule.
    """
    layer: Any = module  # all six kinds of convolution share the attributes read here
    if isinstance(module, nn.Linear):
        return torch.full(shape, float(layer.out_features), dtype=torch.float64)
    if not is_synapse(module):
        raise RecordingError(f"no fan-out rule for a layer of type {type(module).__name__}")
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


def geometry_of(module: nn.Module, shape: Shape, out_shape: Shape, dense: int) -> Geometry:
    """Shapes of a layer with weights that takes `shape` and gives `out_shape` per sample and step;
    `dense` is its MACs without padding.
    """
    layer: Any = module
    weights, biased = tuple(layer.weight.shape), layer.bias is not None
    name = type(module).__name__
    if isinstance(module, nn.Linear):
        return Geometry(name, shape, out_shape, weights, (), (), 1, False, biased, dense)
    kernel, stride = tuple(layer.kernel_size), tuple(layer.stride)
    transposed = bool(layer.transposed)
    positions = math.prod((shape if transposed else out_shape)[-len(kernel) :])
    padded = positions * math.prod(weights)
    groups = int(layer.groups)
    return Geometry(
        name, shape, out_shape, weights, kernel, stride, groups, transposed, biased, padded
    )


def _gradient(conv: Any, kernel: Tensor, shape: Shape, groups: int) -> Tensor:
    """Σ of the outputs of a convolution with `kernel` as a function of its input, differentiated,
    of `shape` [C, *spatial].
    """
    convolve = next(run for kind, run in _CONVOLUTIONS.items() if isinstance(conv, kind))
    x = torch.zeros((1, *shape), dtype=torch.float64, requires_grad=True)
    how = {"stride": conv.stride, "dilation": conv.dilation, "groups": groups}
    with torch.enable_grad():
        given = x
        if conv.padding_mode != "zeros":
            given = F.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode)
        else:
            how["padding"] = conv.padding
        if conv.transposed:
            how["output_padding"] = conv.output_padding
        (gradient,) = torch.autograd.grad(convolve(given, kernel, **how).sum(), x)
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
    if isinstance(module, _ADAPTIVE):
        wanted = each_axis(pool.output_size, axes)
        sizes = [side if want is None else want for side, want in zip(sides, wanted, strict=True)]
        if any(side % size for side, size in zip(sides, sizes, strict=True)):
            return None
        kernel = stride = tuple(side // size for side, size in zip(sides, sizes, strict=True))
        padding, ceil_mode = (0,) * axes, False
    else:
        kernel, stride, padding = (
            each_axis(size, axes) for size in (pool.kernel_size, pool.stride, pool.padding)
        )
        ceil_mode = bool(pool.ceil_mode)
    if axes == 1:  # avg_pool1d has no divisor to be told: one axis runs as two
        sides, kernel, stride, padding = [1, *sides], (1, *kernel), (1, *stride), (0, *padding)
    x = torch.zeros((1, channels, *sides), dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        # Sums instead of means: a divisor of one.
        average = F.avg_pool3d if axes == 3 else F.avg_pool2d
        pooled = average(x, kernel, stride, padding, ceil_mode, divisor_override=1)
        if pooled.numel() != fan_out.numel():
            return None
        (gradient,) = torch.autograd.grad((pooled.flatten() * fan_out.flatten()).sum(), x)
    return gradient.round().reshape(shape)


def each_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """A setting of a convolution or pooling for each of its axes, where one stands for all."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values if len(values) == axes else values * axes
