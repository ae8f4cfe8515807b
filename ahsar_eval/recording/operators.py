"""Operations outside spiking layers and layers with weights: found once, and the few whose work depends on values measured in every call.

Normalisations and poolings are modules or functions; additions, products, matmuls and means are functions that a module's forward calls,
seen by a torch function mode. A function is recognised again by its place among all such calls of a forward pass.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ahsar_eval.errors import RecordingError
from ahsar_eval.models import SpikingNet, is_neuron
from ahsar_eval.recording.activity import Uncounted
from ahsar_eval.recording.fanout import is_average_pool, is_synapse
from ahsar_eval.recording.work import ADDITION, AVERAGE_POOL, MATMUL, MAX_POOL, MEAN, NORMALISATION, PRODUCT, OperatorActivity

NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)
_MAX_POOLS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)
_FUNCTIONS = {
    **dict.fromkeys(("add", "add_", "sub", "sub_", "rsub", "__rsub__", "subtract"), ADDITION),
    **dict.fromkeys(("mul", "mul_", "multiply", "div", "div_", "__rdiv__", "true_divide"), PRODUCT),
    **dict.fromkeys(("matmul", "mm", "bmm"), MATMUL),
    **dict.fromkeys(("mean", "sum"), MEAN),
    **{f"{prefix}avg_pool{axes}d": AVERAGE_POOL for prefix in ("", "adaptive_") for axes in (1, 2, 3)},
    **{f"{prefix}max_pool{axes}d": MAX_POOL for prefix in ("", "adaptive_") for axes in (1, 2, 3)},
}
_WITHOUT_RULE = frozenset(
    (
        "softmax",
        "log_softmax",
        "sigmoid",
        "sigmoid_",
        "tanh",
        "exp",
        "log",
        "sqrt",
        "rsqrt",
        "pow",
        "relu",
        "relu_",
        "gelu",
        "silu",
        "elu",
        "leaky_relu",
        "hardtanh",
        "einsum",
        "bilinear",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "linear",
        "interpolate",
        "batch_norm",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "baddbmm",
        "addmm",
        "cumsum",
        "amax",
    )
)


@dataclass(frozen=True)
class Operator:
    """An operation of the pinned structure.

    `place` numbers the function calls of a pass whose operands are measured; None for others. `spikes_of` is the spiking layer that feeds a
    max pooling directly; one that meets other whole numbers is measured where it meets them (`shapes`, and no place).
    """

    found: OperatorActivity
    place: int | None = None
    spikes_of: str | None = None
    shapes: tuple[tuple[int, ...], ...] = ()  # of the operands, one sample and step

    @property
    def reached(self) -> tuple[int, ...]:
        """Of a matmul: how many outputs each element of an operand reaches."""
        if self.found.kind != MATMUL:
            return (0,) * len(self.shapes)
        left, right = self.shapes
        return right[-1], left[-2]


def per_sample(x: Tensor, net: SpikingNet, samples: int) -> tuple[int, tuple[int, ...]] | None:
    """Time steps a tensor of one call holds, and its shape for one sample and step; None where it has no axis of samples."""
    steps = net.spec.timesteps
    if net.spec.step_mode == "s":
        return (1, tuple(x.shape[1:])) if x.dim() > 1 and x.shape[0] == samples else None
    if x.dim() > 2 and tuple(x.shape[:2]) == (steps, samples):
        return steps, tuple(x.shape[2:])
    if x.dim() > 1 and x.shape[0] == steps * samples:
        return steps, tuple(x.shape[1:])
    return (1, tuple(x.shape[1:])) if x.dim() > 1 and x.shape[0] == samples else None


def as_steps(x: Tensor, net: SpikingNet, samples: int, shape: tuple[int, ...]) -> Tensor:
    """A measured operand as [S, N, *shape]; `shape` may be broadcast. Raises `RecordingError` where it has another shape than found."""
    found = per_sample(x, net, samples)
    if found is None or found[1] != shape:
        raise RecordingError(f"an operand of shape {tuple(x.shape)} was not seen before; the network does something else for other samples")
    return x.reshape(found[0], samples, *shape)


class FunctionCalls(TorchFunctionMode):
    """Sees the functions that modules call, outside whatever is marked as inside; `handle(name, place, args, out)` is told of each.

    With `wanted` it is told of those places alone.
    """

    def __init__(self, handle: Callable[[str, int, tuple[Any, ...], Any], None], wanted: Container[int] | None = None) -> None:
        super().__init__()
        self.handle, self.wanted = handle, wanted
        self.inside = 0  # above 0 within a spiking layer, or within a hook of the recording itself
        self.place = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = "" if self.inside else getattr(func, "__name__", "")
        if name not in _FUNCTIONS and name not in _WITHOUT_RULE:
            return func(*args, **(kwargs or {}))
        self.place += 1
        if self.wanted is not None and self.place not in self.wanted:
            return func(*args, **(kwargs or {}))
        # Operands as they are before the call: it may write its result into one of them. The mode itself is off in here.
        before = tuple(value.clone() if name.endswith("_") and isinstance(value, Tensor) else value for value in args)
        out = func(*args, **(kwargs or {}))
        self.handle(name, self.place, before, out)
        return out

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in the block is not the network's."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


@dataclass
class OperatorWatch:
    """Collects the operations of a discovery pass; call `entered` and `left` around every module."""

    net: SpikingNet
    samples: int
    names: dict[nn.Module, str]
    kind_of: Callable[[Tensor], str]
    synapse_of: Callable[[Tensor], str | None]  # the layer with weights whose output a tensor is
    spikes_of: Callable[[Tensor], str | None]  # the spiking layer whose zeros and ones a tensor is
    found: dict[str, Operator] = field(default_factory=dict)
    problems: dict[str, Uncounted] = field(default_factory=dict)
    stack: list[tuple[nn.Module, Counter[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = FunctionCalls(self._function)

    def entered(self, module: nn.Module) -> None:
        """A module's forward begins."""
        if not self.stack:
            self.calls.place = 0
        self.stack.append((module, Counter()))
        if is_neuron(module):
            self.calls.inside += 1

    def left(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        """A module's forward ends."""
        self.stack.pop()
        if is_neuron(module):
            self.calls.inside -= 1
        elif not self._covered() and isinstance(out, Tensor) and inputs and isinstance(inputs[0], Tensor):
            with self.calls.paused():
                self._note_module(module, inputs[0], out)

    def _note_module(self, module: nn.Module, x: Tensor, out: Tensor) -> None:
        name = self.names.get(module, type(module).__name__)
        if isinstance(module, NORMALISATIONS):
            affine = getattr(module, "weight", None) is not None
            self._note(name, NORMALISATION, type(module).__name__, (x,), out, behind=self.synapse_of(x), affine=affine)
        elif is_average_pool(module):
            self._note(name, AVERAGE_POOL, type(module).__name__, (x,), out)
        elif isinstance(module, _MAX_POOLS):
            self._note(name, MAX_POOL, type(module).__name__, (x,), out, spikes_of=self.spikes_of(x))

    def _covered(self) -> bool:
        """Whether what runs now belongs to a module that has a rule of its own."""
        return any(
            is_neuron(module) or is_synapse(module) or is_average_pool(module) or isinstance(module, (*NORMALISATIONS, *_MAX_POOLS))
            for module, _ in self.stack
        )

    def _function(self, name: str, place: int, args: tuple[Any, ...], out: Any) -> None:
        if self._covered() or not self.stack or not isinstance(out, Tensor):
            return
        module, ordinals = self.stack[-1]
        kind = _FUNCTIONS.get(name, name)
        ordinals[kind] += 1
        owner = self.names.get(module) or type(module).__name__
        label = f"{owner}: {kind} {ordinals[kind]}"
        if name in _WITHOUT_RULE:
            if any(True for _ in module.parameters(recurse=False)):
                return  # the module itself is listed
            self.problems.setdefault(label, Uncounted(label, f"no rule counts the function {name}"))
            return
        tensors = tuple(value for value in args if isinstance(value, Tensor))
        if tensors and tensors[0].dim() > 0:
            self._note(label, kind, name, tensors, out, place=place)

    def _note(
        self,
        name: str,
        kind: str,
        type_name: str,
        tensors: tuple[Tensor, ...],
        out: Tensor,
        *,
        place: int | None = None,
        behind: str | None = None,
        affine: bool = False,
        spikes_of: str | None = None,
    ) -> None:
        shapes = [per_sample(value, self.net, self.samples) for value in (*tensors, out)]
        taken, given = shapes[0], shapes[-1]
        if taken is None or given is None:
            if any(len(value.shape) and self.samples in value.shape for value in tensors):
                self.problems.setdefault(name, Uncounted(name, f"its tensors of shape {tuple(tensors[0].shape)} have no axis of samples"))
            return
        in_step_mode = self.net.spec.timesteps if self.net.spec.step_mode == "s" else 1
        steps = given[0] * in_step_mode
        inputs = torch.Size(taken[1]).numel() * taken[0] // given[0]  # a mean over time takes all steps for its one output
        outputs = torch.Size(given[1]).numel()
        pools = kind in (AVERAGE_POOL, MAX_POOL, MEAN)
        made = OperatorActivity(
            name,
            kind,
            type_name,
            inputs,
            outputs,
            steps,
            window=_window(kind, type_name, inputs, outputs, taken[1], self._module_of(name))
            if pools
            else taken[1][-1]
            if kind == MATMUL
            else 1,
            channels=taken[1][0] if kind in (NORMALISATION, AVERAGE_POOL, MAX_POOL) else 0,
            affine=affine,
            behind=behind,
        )
        meets_sums = kind == MAX_POOL and place is None and spikes_of is None and self.kind_of(tensors[0]) != "analog"
        operator = Operator(made, spikes_of=spikes_of, shapes=(taken[1],) if meets_sums else ())
        if kind in (ADDITION, MATMUL) and len(tensors) == 2 and all(shape is not None for shape in shapes[:2]):
            kinds = tuple(self.kind_of(value) for value in tensors)
            spiking = [value != "analog" for value in kinds]
            same_steps = shapes[0][0] == shapes[1][0] == given[0]  # type: ignore[index]
            alike = kind == MATMUL or tensors[0].shape == tensors[1].shape == out.shape
            if same_steps and alike and (all(spiking) if kind == ADDITION else any(spiking)):
                operator = Operator(replace(made, operand_kinds=kinds), place, shapes=tuple(shape[1] for shape in shapes[:2]))  # type: ignore[index]
        earlier = self.found.setdefault(name, operator)
        if earlier.found != replace(made, operand_kinds=earlier.found.operand_kinds):
            raise RecordingError(f"{name} runs with different shapes in one pass; give each use a module of its own")
        if operator.place is not None and earlier.place is None:
            self.found[name] = operator  # spikes at a later step than the first

    def _module_of(self, name: str) -> nn.Module | None:
        return next((module for module, known in self.names.items() if known == name), None)


def _window(kind: str, type_name: str, inputs: int, outputs: int, shape: tuple[int, ...], module: nn.Module | None) -> int:
    """Elements that one output of a pooling looks at; of overlapping windows more than inputs / outputs."""
    size = getattr(module, "kernel_size", None)
    if size is None or kind == MEAN:
        return max(1, inputs // max(1, outputs))
    axes = len(shape) - 1
    sides = size if isinstance(size, tuple) else (size,) * axes
    return int(torch.Size(sides).numel())
