"""From a NIR node to a SpikingJelly module and the shape it gives, one function per type of node.

Shapes are those of one sample in one time step, as NIR counts them: no batch axis. Every function
raises `ModelError` for values that do not fit the shape that reaches the node.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.network import Shape
from ahsar_eval.networks.neurons import Constant, IntegrateAndFire, Integration, Integrator
from ahsar_eval.networks.nir_file import NirNode

Made = tuple[nn.Module, Shape]  # a module, and the shape it gives
_MOST_VALUES = 2**28


@dataclass(frozen=True)
class Dynamics:
    """How equations of continuous time run in steps: dt, the reset ('subtract', 'zero' or
    'potential'), one spike a step or several.
    """

    dt: float = 1.0
    reset: str = "subtract"
    several: bool = False


class SumPool2d(layer.AvgPool2d):  # type: ignore[misc, unused-ignore]
    """Sums over windows: an average without its divisor, which the recorder folds into the layer
    behind, exactly.
    """

    def __init__(self, kernel: Shape, stride: Shape, padding: Shape) -> None:
        super().__init__(kernel, stride, padding, divisor_override=1)


class Scale(nn.Module):
    """Each element times a number of its own."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        """[…, *shape] → the same shape."""
        return x * self.weight


def module_of(name: str, node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    """The module of one node that receives `shape`, in single-step mode, and the shape it gives.
    Raises `ModelError`.
    """
    try:
        module, given = _MAKERS[node.kind](node, shape, dynamics)
    except ModelError as error:
        raise ModelError(f"node {name!r} ({node.kind}) {error}") from None
    if min(given, default=1) < 1:
        raise ModelError(
            f"node {name!r} ({node.kind}) turns {shape} into {given}: its window is larger than "
            "what reaches it"
        )
    if np.prod(given, dtype=float) > _MOST_VALUES:
        raise ModelError(
            f"node {name!r} ({node.kind}) would hold {given} values a step; expected at most "
            f"{_MOST_VALUES}"
        )
    return module, given


def _conv2d(node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    weight, bias = _array(node, "weight", axes=4), _array(node, "bias", axes=1)
    (groups,) = whole(node, "groups", 1, least=1)
    stride, dilation = whole(node, "stride", 2, least=1), whole(node, "dilation", 2, least=1)
    outputs, kernel = weight.shape[0], weight.shape[2:]
    channels = weight.shape[1] * groups
    if len(shape) != 3 or shape[0] != channels or outputs % groups:
        raise ModelError(
            f"has a weight of shape {weight.shape} in {groups} groups, and {shape} reaches it; the "
            "channels do not fit"
        )
    if bias.shape != (outputs,):
        raise ModelError(f"has a bias of shape {bias.shape}; expected ({outputs},)")
    stored = sides_of(node["input_shape"])
    if stored is not None and stored != shape[1:]:
        raise ModelError(f"says it takes {stored}, and {shape[1:]} reaches it")
    padding: str | Shape = node["padding"]
    if not isinstance(padding, str):
        padding = whole(node, "padding", 2, least=0)
    if padding == "same" and stride != (1, 1):
        raise ModelError(f"pads to the same size with a stride of {stride}; expected a stride of 1")
    if min(kernel) < 1:
        raise ModelError(f"has a kernel of {kernel}; expected at least one element")
    module = layer.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups)
    _fill(module.weight, weight)
    _fill(module.bias, bias)
    if padding == "same":
        return module, (outputs, *shape[1:])
    around = (0, 0) if isinstance(padding, str) else padding
    return module, (outputs, *_windows(shape[1:], kernel, stride, around, dilation))


def _pool(node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    kernel, stride = whole(node, "kernel_size", 2, least=1), whole(node, "stride", 2, least=1)
    padding = whole(node, "padding", 2, least=0)
    if len(shape) != 3:
        raise ModelError(f"pools two axes of space, and {shape} reaches it; expected (C, H, W)")
    if any(pad > size // 2 for pad, size in zip(padding, kernel, strict=True)):
        raise ModelError(
            f"pads by {padding} around windows of {kernel}; expected at most half a window"
        )
    pool = SumPool2d if node.kind == "SumPool2d" else layer.AvgPool2d
    sides = _windows(shape[1:], kernel, stride, padding, (1, 1))
    return pool(kernel, stride, padding), (shape[0], *sides)


def _flatten(node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    (start,), (end,) = (whole(node, n, 1, least=-len(shape)) for n in ("start_dim", "end_dim"))
    first, last = start % len(shape), end % len(shape)
    if max(start, end) >= len(shape) or first > last:
        raise ModelError(f"flattens the axes {start} to {end}, and {shape} reaches it")
    given = (*shape[:first], int(np.prod(shape[first : last + 1])), *shape[last + 1 :])
    return layer.Flatten(first + 1, last + 1), given  # one more axis, the samples


def _linear(node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    weight = _array(node, "weight", axes=2)
    outputs, inputs = weight.shape
    if shape != (inputs,):
        raise ModelError(
            f"has a weight of shape {weight.shape}, and {shape} reaches it; expected ({inputs},)"
        )
    module = layer.Linear(inputs, outputs, bias=node.kind == "Affine")
    _fill(module.weight, weight)
    if node.kind == "Affine":
        bias = _array(node, "bias", axes=1)
        if bias.shape != (outputs,):
            raise ModelError(f"has a bias of shape {bias.shape}; expected ({outputs},)")
        _fill(module.bias, bias)
    return module, (outputs,)


def _scale(node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    return Scale(torch.tensor(_over(node["scale"], "scale", shape), dtype=torch.float32)), shape


def _integrate(node: NirNode, shape: Shape, dynamics: Dynamics) -> Made:
    dt, resistance = dynamics.dt, _over(node["r"], "r", shape)
    if node.kind in ("I", "IF"):
        integration = Integration(_constant(dt * resistance))
    else:
        tau = _over(node["tau"], "tau", shape)
        if not (tau > 0).all():
            raise ModelError(f"has a time constant of {tau.min():g}; expected positive ones")
        if (dt > tau).any():
            raise ModelError(
                f"has a time constant of {tau.min():g}, shorter than a step of {dt:g}; say how "
                "long a step is with --dt"
            )
        integration = Integration(
            _constant(dt / tau * resistance),
            _constant(dt / tau),
            _constant(_over(node["v_leak"], "v_leak", shape)),
        )
    if node.kind in ("I", "LI"):
        return Integrator(integration), shape
    threshold = _over(node["v_threshold"], "v_threshold", shape)
    if not (threshold > 0).all():
        raise ModelError(f"has a threshold of {threshold.min():g}; expected positive ones")
    reset: Constant | None = None
    if dynamics.reset != "subtract":
        said = node["v_reset"] if dynamics.reset == "potential" else None
        reset = 0.0 if said is None else _constant(_over(said, "v_reset", shape))
    several = dynamics.several
    return IntegrateAndFire(integration, _constant(threshold), reset, several=several), shape


_MAKERS: dict[str, Callable[[NirNode, Shape, Dynamics], Made]] = {
    "Conv2d": _conv2d,
    "Flatten": _flatten,
    "Scale": _scale,
    **dict.fromkeys(("SumPool2d", "AvgPool2d"), _pool),
    **dict.fromkeys(("Linear", "Affine"), _linear),
    **dict.fromkeys(("I", "LI", "IF", "LIF"), _integrate),
}


def sides_of(value: Any) -> Shape | None:
    """A shape as a file holds it; None where it holds none."""
    return None if value is None else tuple(map(int, np.ravel(value)))


def _windows(sides: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    return tuple(
        (side + 2 * pad - spread * (size - 1) - 1) // step + 1
        for side, size, step, pad, spread in zip(
            sides, kernel, stride, padding, dilation, strict=True
        )
    )


def _array(node: NirNode, field: str, axes: int) -> NDArray[np.float32]:
    value = np.asarray(node[field], dtype=np.float32)
    if value.ndim != axes or value.size == 0:
        what = f"{axes} axes" if axes > 1 else "1 axis"
        raise ModelError(
            f"has a {field} of shape {value.shape}; expected {what}, none of them empty"
        )
    return value


def whole(node: NirNode, field: str, count: int, least: int) -> tuple[int, ...]:
    """`count` whole numbers of a field, none below `least`; one stands for all. Raises
    `ModelError`.
    """
    value = np.ravel(node[field])
    fits = value.dtype.kind in "iu" and value.size in (1, count)
    if not fits or bool(((value < least) | (value > 2**31)).any()):
        what = "a whole number" if count == 1 else f"{count} whole numbers"
        raise ModelError(f"has a {field} of {value.tolist()}; expected {what} from {least}")
    return tuple(int(number) for number in value) * (count // value.size)


def _over(value: object, field: str, shape: Shape) -> NDArray[np.float64]:
    """Values of a layer, float64 of its shape; fewer axes or sides of one are repeated."""
    array = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ModelError(f"has a {field} of shape {array.shape}, and {shape} reaches it") from None


def _constant(values: NDArray[np.float64]) -> Constant:
    """One number where all neurons agree, else a tensor."""
    first = float(values.flat[0])
    return first if bool((values == first).all()) else torch.tensor(values, dtype=torch.float32)


def _fill(parameter: nn.Parameter, value: NDArray[np.float32]) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(value.copy()))
