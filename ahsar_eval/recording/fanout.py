"""Exact fan-out maps: how many outputs each input element of a layer reaches.

The map is the gradient of the layer with unit weights, so that borders, strides, groups and
dilation come out right by construction. Since every input channel of a group sees the same kernel
positions, one channel is enough: the map of one channel times the number of output channels it
feeds.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.errors import RecordingError
from ahsar_eval.recording.work import Geometry

_CONVOLUTIONS: dict[type[nn.Module], tuple[int, bool]] = {  # spatial axes, transposed
    nn.Conv1d: (1, False),
    nn.Conv2d: (2, False),
    nn.Conv3d: (3, False),
    nn.ConvTranspose1d: (1, True),
    nn.ConvTranspose2d: (2, True),
    nn.ConvTranspose3d: (3, True),
}
_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE = {nn.AdaptiveAvgPool1d: 1, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveAvgPool3d: 3}


def is_synapse(module: nn.Module) -> bool:
    """Whether a fan-out rule exists for this layer with weights: convolutions, transposed
    convolutions, linear.
    """
    return isinstance(module, (nn.Linear, *_CONVOLUTIONS))


def is_average_pool(module: nn.Module) -> bool:
    """Whether a layer is an average pooling that can be folded into the layer it feeds."""
    return isinstance(module, (*_AVERAGES, *_ADAPTIVE))


def fan_out(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Number of outputs each input element reaches, float64 of `shape` (one sample's input, without
    T and N).

    `shape` is [C, *spatial] for a convolution and [*, D] for a linear layer. Padding modes other
    than zeros carry an element's copies too. Raises `RecordingError` for a layer without a rule.
    """
    if isinstance(module, nn.Linear):
        return torch.full(shape, float(module.out_features), dtype=torch.float64)
    for kind, (axes, transposed) in _CONVOLUTIONS.items():
        if isinstance(module, kind):
            return _convolution_map(module, shape, axes, transposed)
    raise RecordingError(f"no fan-out rule for a layer of type {type(module).__name__}")


def live_fan_out(module: nn.Module, shape: tuple[int, ...]) -> Tensor | None:
    """The same through weights that are not zero, as in a pruned network; None where no weight is
    zero.
    """
    weights: Tensor = module.weight.detach()  # type: ignore[union-attr, assignment, operator]
    if not bool((weights == 0).any()):
        return None
    live = (weights != 0).double().cpu()
    if isinstance(module, nn.Linear):
        return live.sum(0).expand(shape).clone()
    axes, transposed = next(
        rule for kind, rule in _CONVOLUTIONS.items() if isinstance(module, kind)
    )
    return _reached(
        module,
        torch.zeros((1, *shape), dtype=torch.float64),
        live,
        axes,
        transposed,
        groups=int(module.groups),
    ).round()  # type: ignore[arg-type]


def geometry_of(
    module: nn.Module, shape: tuple[int, ...], out_shape: tuple[int, ...], dense: int
) -> Geometry:
    """Shapes of a layer with weights that takes `shape` and gives `out_shape` per sample and step;
    `dense` is its MACs without padding.
    """
    layer: Any = module
    weights = tuple(layer.weight.shape)
    if isinstance(module, nn.Linear):
        return Geometry(
            type(module).__name__,
            shape,
            out_shape,
            weights,
            (),
            (),
            1,
            False,
            layer.bias is not None,
            dense,
        )
    axes, transposed = next(
        rule for kind, rule in _CONVOLUTIONS.items() if isinstance(module, kind)
    )
    positions = math.prod(shape[-axes:] if transposed else out_shape[-axes:])
    return Geometry(
        type(module).__name__,
        shape,
        out_shape,
        weights,
        tuple(layer.kernel_size),
        tuple(layer.stride),
        int(layer.groups),
        transposed,
        layer.bias is not None,
        positions * math.prod(weights),
    )


def _convolution_map(
    module: nn.Module, shape: tuple[int, ...], axes: int, transposed: bool
) -> Tensor:
    conv: Any = module  # all six kinds share the attributes read here
    kernel = torch.ones((1, 1, *conv.kernel_size), dtype=torch.float64)
    reached = _reached(
        conv, torch.zeros((1, 1, *shape[1:]), dtype=torch.float64), kernel, axes, transposed
    )
    return (reached[0] * (conv.out_channels // conv.groups)).round().expand(shape).clone()


def _reached(
    module: nn.Module, probe: Tensor, kernel: Tensor, axes: int, transposed: bool, groups: int = 1
) -> Tensor:
    """Σ of the outputs of a convolution with `kernel` as a function of its input, differentiated:
    [C, *spatial] for `probe` [1, C, …].
    """
    conv: Any = module
    probe.requires_grad_()
    how = {"stride": conv.stride, "dilation": conv.dilation, "groups": groups}
    with torch.enable_grad():
        if transposed:
            out = _TRANSPOSED[axes](
                probe, kernel, padding=conv.padding, output_padding=conv.output_padding, **how
            )
        elif conv.padding_mode == "zeros":
            out = _FORWARD[axes](probe, kernel, padding=conv.padding, **how)
        else:
            out = _FORWARD[axes](
                F.pad(probe, conv._reversed_padding_repeated_twice, mode=conv.padding_mode),
                kernel,
                **how,
            )
        (gradient,) = torch.autograd.grad(out.sum(), probe)
    return gradient[0]


def through_average(module: nn.Module, shape: tuple[int, ...], reached: Tensor) -> Tensor | None:
    """Fold an average pooling: the map of the layer behind it (`reached`), pulled back to the
    pooling's input of `shape` [C, *spatial].

    Every spike reaches what its pooled cell reaches; where windows overlap, the sum over its cells.
    None where the windows of an adaptive pooling are not all alike, so that no single factor stands
    for them.
    """
    axes = len(shape) - 1
    if isinstance(module, tuple(_ADAPTIVE)):
        wanted = (
            module.output_size
            if isinstance(module.output_size, tuple)
            else (module.output_size,) * axes
        )
        sizes = [
            side if want is None else int(want)
            for side, want in zip(shape[1:], wanted, strict=True)
        ]
        if any(side % size for side, size in zip(shape[1:], sizes, strict=True)):
            return None
        kernel = stride = tuple(side // size for side, size in zip(shape[1:], sizes, strict=True))
        padding, ceil_mode = (0,) * axes, False
    else:
        kernel, stride, padding = (
            _each_axis(getattr(module, name), axes) for name in ("kernel_size", "stride", "padding")
        )
        ceil_mode = bool(module.ceil_mode)
    probe = torch.zeros((1, *shape), dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        # Sums instead of means: a divisor of one. avg_pool1d has no such option, so one axis runs
        # as two.
        if axes == 1:
            pooled = F.avg_pool2d(
                probe[:, :, None],
                (1, *kernel),
                (1, *stride),
                (0, *padding),
                ceil_mode,
                divisor_override=1,
            )
        else:
            pooled = (F.avg_pool2d if axes == 2 else F.avg_pool3d)(
                probe, kernel, stride, padding, ceil_mode, divisor_override=1
            )
        if pooled.numel() != reached.numel():
            return None
        (gradient,) = torch.autograd.grad((pooled.flatten() * reached.flatten()).sum(), probe)
    return gradient[0].round()


def _each_axis(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else (value,) * axes
    return values if len(values) == axes else values * axes
