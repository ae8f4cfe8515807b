"""Finds the operations between layers in a discovery pass: names, shapes, windows, who else takes a
pooled or normalised tensor.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import Shape, SpikingNet, is_neuron
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    OperatorActivity,
    Uncounted,
)
from ahsar_eval.recording.fanout import each_axis, is_average_pool, is_synapse
from ahsar_eval.recording.op_counter import FUNCTIONS, FunctionCalls, Operator, per_sample

NORMALISATIONS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)
_MAX_POOLS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)
_SYNAPSE, _NORM, _OTHER = "synapse", "norm", "other"  # who takes a tensor
# Functions that move, copy, cut or join values and compute none. Views share memory with what they
# view and need no name here.
_FREE = frozenset(
    """
    clone contiguous detach to type type_as float double half bfloat16 cpu cuda copy_
    reshape flatten permute expand expand_as broadcast_to repeat repeat_interleave tile pad
    cat concat concatenate stack hstack vstack dstack __getitem__ __setitem__ index_select gather
    take take_along_dim masked_select masked_fill masked_fill_ roll flip rot90 unfold fold
    pixel_shuffle pixel_unshuffle zeros_like ones_like empty_like full_like rand_like randn_like
    new_zeros new_ones new_empty new_full zero_ fill_ dropout dropout2d requires_grad_ __get__
    """.split()
)
# Of these, those that give the whole in another shape, whether that takes a copy or not.
_LAID_OUT = frozenset(
    "contiguous flatten reshape to unflatten view permute transpose squeeze unsqueeze".split()
)

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


def kind_by_value(x: Tensor) -> str:
    """'spikes' where all values are 0 or 1, 'integer spikes' where they are whole, or 'analog'."""
    if bool(((x == 0) | (x == 1)).all()):
        return "spikes"
    return "integer spikes" if bool(((x >= 0) & (x == x.round())).all()) else "analog"


@dataclass
class Origin:
    """Where a tensor seen in the discovery pass came from."""

    source: str
    shape: Shape
    spiking: bool
    whole: bool = False  # several spikes per neuron and step
    path: tuple[str, ...] = ()


class Tensors:
    """The tensors of a discovery pass by where they came from."""

    def __init__(self) -> None:
        # Kept until the pass is over: a tensor is known by its address, which must not become
        # another's.
        self.alive: list[Tensor] = []
        self.origins: dict[Key, Origin] = {}
        self.products: dict[Key, str] = {}  # output of a layer with weights → its name
        # Output of a flattening → its input: the same values in the same order.
        self.flattened: dict[Key, Key] = {}

    def key(self, x: Tensor) -> Key:
        """`key_of`, of what a flattening was given for what it gave."""
        own = key_of(x)
        return self.flattened.get(own, own)

    def plain_spikes(self, x: Tensor) -> str | None:
        """The spiking layer whose output `x` is, where that is 0 and 1 by its type and nothing lies
        between.
        """
        origin = self.origins.get(self.key(x))
        if origin is None or not origin.spiking or origin.whole or origin.path:
            return None
        return origin.source


class OpTracer:
    """Collects the operations of a discovery pass; call `entered` and `left` around
    every module."""

    def __init__(
        self, net: SpikingNet, samples: int, names: Mapping[nn.Module, str], tensors: Tensors
    ) -> None:
        self.spec, self.samples, self.names, self.tensors = net.spec, samples, names, tensors
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
        self.calls = FunctionCalls(self._function)
        self.operators: dict[str, Operator] = {}
        self.problems: dict[str, Uncounted] = {}
        self.stack: list[nn.Module] = []
        # Of a module, or of a kind of function in it, in one forward pass.
        self.uses: Counter[str] = Counter()
        self.takers: dict[Key | None, set[str]] = defaultdict(set)  # tensor → who takes it
        # Average pooling → its output, normalisation → its input.
        self.keys: dict[str, Key] = {}

    def entered(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A module's forward begins."""
        if not self.stack:
            self.calls.call = 0
            self.uses.clear()
        with self.calls.paused():
            if _has_rule(module) and inputs and isinstance(inputs[0], Tensor):
                who = _NORM if isinstance(module, NORMALISATIONS) else _OTHER
                self._take(inputs[0], _SYNAPSE if is_synapse(module) else who)
        self.stack.append(module)
        self.calls.inside += is_neuron(module)

    def left(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        """A module's forward ends."""
        self.stack.pop()
        if is_neuron(module):
            self.calls.inside -= 1
            return
        has_tensors = isinstance(out, Tensor) and inputs and isinstance(inputs[0], Tensor)
        if has_tensors and not self._is_covered():
            with self.calls.paused():
                self._module(module, inputs[0], out)

    def folded(self, paths: Mapping[str, Iterable[str]]) -> Iterator[Operator]:
        """The operations, poolings with the layers they are folded into; none where something else
        takes what it would have made. `paths`: layer with weights → poolings before it.
        """
        for name, operator in self.operators.items():
            activity, takers = operator.activity, self.takers[self.keys.get(name)]
            if activity.kind == AVERAGE_POOL and takers == {_SYNAPSE}:
                into = tuple(synapse for synapse, path in paths.items() if name in path)
                activity = replace(activity, folded_into=into)
            elif takers != {_NORM}:
                activity = replace(activity, behind=None)
            yield replace(operator, activity=activity)

    def _take(self, x: Tensor, who: str) -> None:
        self.tensors.alive.append(x)
        self.takers[self.tensors.key(x)].add(who)

    def _is_covered(self) -> bool:
        """Whether what runs now belongs to a module that has a rule of its own."""
        return any(_has_rule(module) for module in self.stack)

    def _module(self, module: nn.Module, x: Tensor, out: Tensor) -> None:
        name = self.names.get(module, type(module).__name__)
        self.uses[name] += 1
        first, key = self.uses[name] == 1, self.tensors.key(x)
        facts: dict[str, Any] = {}
        if isinstance(module, NORMALISATIONS):
            kind, affine = NORMALISATION, getattr(module, "weight", None) is not None
            facts = {"behind": self.tensors.products.get(key), "affine": affine}
        elif is_average_pool(module):
            kind, key = AVERAGE_POOL, self.tensors.key(out)
        elif isinstance(module, _MAX_POOLS):
            kind = MAX_POOL
            # The input of a second use is not told from that of the first where it is measured.
            facts = {"spikes_of": self.tensors.plain_spikes(x) if first else ""}
        else:
            return
        by_name = (axes for axes in (1, 2, 3) if type(module).__name__.endswith(f"{axes}d"))
        window = _window(getattr(module, "kernel_size", None), next(by_name, x.dim() - 2))
        name = name if first else f"{name} (use {self.uses[name]})"
        self.keys[name] = key
        self._note(name, kind, type(module).__name__, (x,), out, window=window, **facts)

    def _function(self, name: str, call: int, values: tuple[Any, ...], out: Any) -> None:
        if self._is_covered() or not self.stack:
            return
        kind = FUNCTIONS.get(name)
        if kind is None and not _computes(name, values, out):
            for value in _copied(name, values, out):
                self._take(value, _OTHER)
            return
        module = self.stack[-1]
        label = f"{self.names.get(module) or type(module).__name__}: {kind or name}"
        self.uses[label] += 1
        label = f"{label} {self.uses[label]}"
        tensors = tuple(value for value in values if isinstance(value, Tensor))
        for value in tensors:
            self._take(value, _OTHER)
        by_weights = kind == MATMUL and any(_storage(x) in self.weights for x in tensors)
        if kind is None or by_weights:
            if not list(module.parameters(recurse=False)):  # else the module itself is listed
                self._list(label, f"no rule counts the function {name}")
        elif isinstance(out, Tensor) and tensors and tensors[0].dim() > 0:
            size = None
            if "pool" in name and "adaptive" not in name:  # the second argument, or by its name
                positional = len(values) - len(self.calls.keywords)
                by_name = dict(zip(self.calls.keywords, values[positional:], strict=True))
                size = by_name.get("kernel_size", values[1] if positional > 1 else None)
            window = _window(size, tensors[0].dim() - 2)
            self._note(label, kind, name, tensors, out, call=call, window=window)

    def _list(self, name: str, reason: str) -> None:
        self.problems.setdefault(name, Uncounted(name, reason))

    def _note(
        self,
        name: str,
        kind: str,
        type_name: str,
        tensors: tuple[Tensor, ...],
        out: Tensor,
        *,
        call: int | None = None,
        spikes_of: str | None = None,
        window: int | None = None,
        **facts: Any,
    ) -> None:
        taken = [per_sample(x, self.spec, self.samples) for x in tensors]
        given = per_sample(out, self.spec, self.samples)
        if taken[0] is None or given is None:
            if any(self.samples in x.shape for x in tensors):
                shape = tuple(tensors[0].shape)
                self._list(name, f"its tensors of shape {shape} have no axis of samples")
            return
        shape = taken[0][1]
        steps = given[0] * (self.spec.timesteps if self.spec.step_mode == "s" else 1)
        # A mean over time takes all steps for its one output.
        inputs, outputs = math.prod(shape) * taken[0][0] // given[0], math.prod(given[1])
        if window is None and kind in (AVERAGE_POOL, MAX_POOL, MEAN):
            window = max(1, inputs // max(1, outputs))
        elif window is None:
            window = shape[-1] if kind == MATMUL else 1
        channels = shape[0] if kind in (NORMALISATION, AVERAGE_POOL, MAX_POOL) else 0
        activity = OperatorActivity(
            name, kind, type_name, inputs, outputs, steps, window=window, channels=channels, **facts
        )
        operator = Operator(activity)
        if kind == MAX_POOL and call is None:
            sums = spikes_of is None and kind_by_value(tensors[0]) != "analog"
            operator = Operator(activity, None, spikes_of or None, (shape,) if sums else ())
        elif kind in (ADDITION, MATMUL) and len(tensors) == 2 and taken[1] is not None:
            kinds = tuple(map(kind_by_value, tensors))
            if _is_measured(kind, kinds, (taken[0], taken[1]), given):
                activity = replace(activity, operand_kinds=kinds)
                operator = Operator(activity, call, None, (shape, taken[1][1]))
        earlier = self.operators.setdefault(name, operator)
        kinds = earlier.activity.operand_kinds
        if earlier.activity != replace(activity, operand_kinds=kinds):
            raise RecordingError(
                f"{name} runs with other shapes at other time steps; its work cannot be counted "
                "from one of them"
            )
        if operator.shapes and not earlier.shapes:
            self.operators[name] = operator  # spikes at a later step than the first


def _is_measured(
    kind: str,
    kinds: Sequence[str],
    taken: tuple[tuple[int, Shape], tuple[int, Shape]],
    given: tuple[int, Shape],
) -> bool:
    """Whether the work of an addition or a product between two tensors depends on the spikes they
    hold: (steps, shape) of both, and of what is given.
    """
    if kind == ADDITION:
        return "analog" not in kinds and taken[0] == taken[1] == given
    alike = taken[0][0] == taken[1][0] == given[0]
    return set(kinds) != {"analog"} and alike and all(len(shape) > 1 for _, shape in taken)


def _has_rule(module: nn.Module) -> bool:
    own = is_neuron(module) or is_synapse(module) or is_average_pool(module)
    return own or isinstance(module, (*NORMALISATIONS, *_MAX_POOLS))


def _storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _computes(name: str, values: Sequence[Any], out: Any) -> bool:
    """Whether a function without a rule makes new numbers: not where it moves them, shows them
    another way, or compares.
    """
    if name in _FREE or not isinstance(out, Tensor) or not out.is_floating_point():
        return False
    taken = [value for value in values if isinstance(value, Tensor)]
    in_place = name.endswith("_") and not name.endswith("__")
    return bool(taken) and (in_place or _storage(out) not in map(_storage, taken))


def _copied(name: str, values: Sequence[Any], out: Any) -> list[Tensor]:
    """The tensors among `values` whose numbers, all or some, a function that computes none gives
    on: not where it shows the whole another way, makes another tensor of its shape, or compares.
    """
    given = [x for x in _tensors((out,)) if x.is_floating_point()]
    if not given or name in _LAID_OUT or name.startswith("new_") or name.endswith("_like"):
        return []
    whole = {(_storage(x), x.numel()) for x in given}
    return [x for x in _tensors(values) if (_storage(x), x.numel()) not in whole]


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among values, those in lists and tuples too."""
    held = [value if isinstance(value, (tuple, list)) else (value,) for value in values]
    return [x for inner in held for x in inner if isinstance(x, Tensor)]


def _window(size: Any, axes: int) -> int | None:
    """Elements that one output of a pooling looks at; None for an adaptive one."""
    return None if size is None else math.prod(each_axis(size, axes))
