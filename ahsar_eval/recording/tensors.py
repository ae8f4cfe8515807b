"""What is known of the tensors of a pass: where they come from, seen through views and copies; and
of averages of spikes, wherever poolings happen, by what each of their elements has to be multiplied
to be the sum of spikes in its window again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ahsar_eval.networks import Shape
from ahsar_eval.recording.counting import each_axis

INPUT = "input"
# One number for all outputs, or one for each [*shape] of a sample, float64.
Divisor = float | Tensor
_SETTINGS = "kernel_size stride padding ceil_mode count_include_pad divisor_override".split()
# Functions that give the same values in the same order, or pass some of them on.
_SAME_ORDER = frozenset(
    "contiguous clone detach flatten reshape unflatten view view_as squeeze unsqueeze to float "
    "double half type type_as __get__".split()
)
_ANY_ORDER = frozenset(
    "permute transpose movedim swapaxes expand expand_as repeat tile cat concat concatenate stack "
    "hstack vstack dstack __getitem__ index_select gather roll flip rot90 chunk split unbind "
    "select narrow add add_ sub sub_ sum".split()
)
_ROUNDING = 1e-3  # of a sum of spikes


def divisor_of_module(pool: nn.Module, taken: Shape, given: Shape) -> Divisor:
    """Of a pooling layer that takes [C, *sides] and gives [C, *outputs] of a sample."""
    return _divisor(vars(pool), taken, given)


def divisor_of_function(
    name: str, values: Sequence[Any], keywords: Mapping[str, Any], taken: Shape, given: Shape
) -> Divisor:
    """Of a call of a pooling function with the arguments `values` behind its input."""
    if name.startswith("adaptive"):
        return _divisor({"output_size": None}, taken, given)
    return _divisor(dict(zip(_SETTINGS, values, strict=False)) | dict(keywords), taken, given)


def _divisor(settings: Mapping[str, Any], taken: Shape, given: Shape) -> Divisor:
    if settings.get("divisor_override"):
        return float(settings["divisor_override"])
    sides, outs = taken[1:], given[1:]
    axes = len(sides)
    if "output_size" in settings:
        ends = [
            [(i * side // out, -(-(i + 1) * side // out)) for i in range(out)]
            for side, out in zip(sides, outs, strict=True)
        ]
    else:
        kernel = each_axis(settings["kernel_size"], axes)
        stride = each_axis(settings.get("stride") or settings["kernel_size"], axes)
        padding = each_axis(settings.get("padding") or 0, axes)
        padded = settings.get("count_include_pad", True)
        ends = []
        for side, out, size, step, pad in zip(sides, outs, kernel, stride, padding, strict=True):
            windows = [(i * step - pad, min(i * step - pad + size, side + pad)) for i in range(out)]
            inside = [(max(start, 0), min(stop, side)) for start, stop in windows]
            ends.append(windows if padded else inside)
    counts = torch.ones((1,) * axes, dtype=torch.float64)
    for axis, windows in enumerate(ends):
        lengths = torch.tensor([stop - start for start, stop in windows], dtype=torch.float64)
        counts = counts * lengths.reshape([-1 if i == axis else 1 for i in range(axes)])
    return _one(counts.expand(given))


def _one(divisor: Tensor) -> Divisor:
    first = float(divisor.flatten()[0])
    return first if bool((divisor == first).all()) else divisor


def passed_on(name: str, divisors: Sequence[Divisor | None], shape: Shape) -> Divisor | None:
    """What holds of the output, of `shape` for a sample, of a function whose tensors have these
    divisors; None where nothing is known.
    """
    first = divisors[0] if divisors else None
    if name in _SAME_ORDER and isinstance(first, Tensor):
        return first.reshape(shape) if first.numel() == math.prod(shape) else None
    alike = all(isinstance(one, float) and one == first for one in divisors)
    return first if alike and name in _SAME_ORDER | _ANY_ORDER else None


def sums_of(x: Tensor, divisor: Divisor) -> Tensor | None:
    """The sums of spikes of `x` [..., *shape], float64; None where they are no whole numbers."""
    factor = divisor if isinstance(divisor, float) else divisor.to(x.device)
    sums = x.double() * factor
    whole = sums.round()
    near = bool(((sums - whole).abs() <= _ROUNDING * whole.abs().clamp(min=1)).all())
    return whole if near and bool((whole >= 0).all()) else None


Key = tuple[int, int, int, torch.dtype, tuple[tuple[int, int], ...]]


def key_of(tensor: Tensor) -> Key:
    """What identifies a tensor while it lives: storage address, number of elements, version, type,
    and the order of its axes in memory.

    A flattened view has the same key. A transposed view shares all but the last; its elements are
    at other places than the spikes' and must be measured anew.
    """
    axes: list[tuple[int, int]] = []  # (size, stride), neighbours that a view can flatten as one
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if axes and axes[-1][1] == size * stride:
            axes[-1] = (axes[-1][0] * size, stride)
        elif size != 1:
            axes.append((size, stride))
    return (tensor.data_ptr(), tensor.numel(), tensor._version, tensor.dtype, tuple(axes))


@dataclass(frozen=True)
class Origin:
    """Where a tensor came from: `INPUT` or a spiking layer, its shape, the pooling since."""

    source: str
    shape: Shape
    whole: bool = False  # several spikes per neuron and step
    pool: str = ""


class Average(NamedTuple):
    """Of averages of spikes, or of spikes times a constant: by what they are to be multiplied, the
    last operation that made them, and the constants of all of them.
    """

    divisor: Divisor
    pool: str
    gain: float = 1.0

    @property
    def changes(self) -> bool:
        """Whether they are other values than the spikes."""
        return isinstance(self.divisor, Tensor) or self.divisor != 1


class Tensors:
    """The tensors of one pass by where they came from. One is known by its address, which another
    may get when it is gone: where that must not be, it is kept `alive`."""

    def __init__(self) -> None:
        self.alive: list[Tensor] = []
        self.origins: dict[Key, Origin] = {}
        # Output of a flattening that copies → its input: the same values in the same order.
        self.flattened: dict[Key, Key] = {}
        self.averages: dict[Key, Average] = {}

    def forget(self) -> None:
        """Another pass begins."""
        self.alive.clear()
        self.origins.clear()
        self.flattened.clear()
        self.averages.clear()

    def key(self, x: Tensor) -> Key:
        """`key_of`, of what a flattening was given for what it gave."""
        own = key_of(x)
        return self.flattened.get(own, own)

    def origin(self, x: Tensor) -> Origin | None:
        """Where a tensor came from; None for one that is not followed."""
        return self.origins.get(key_of(x))

    def pooled(self, name: str, x: Tensor, out: Tensor) -> None:
        """Follow spikes through their first pooling."""
        origin = self.origin(x)
        if origin is not None and origin.source != INPUT and not origin.pool:
            self.origins[key_of(out)] = replace(origin, pool=name)

    def laid_flat(self, x: Tensor, out: Tensor) -> None:
        """Follow a flattening that copies what lies channels last, and would else be a view."""
        last = x.dim() > 3 and not x.is_contiguous() and x.movedim(-3, -1).is_contiguous()
        if last and out.numel() == x.numel():
            self.flattened[key_of(out)] = self.key(x)
            if (origin := self.origin(x)) is not None:
                self.origins[key_of(out)] = origin
        if (average := self.averages.get(key_of(x))) is not None:
            self.averages[key_of(out)] = average
