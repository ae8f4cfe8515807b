"""Finds the operations between layers in a discovery pass: names, shapes, windows, who else takes a
pooled or normalised tensor.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, is_neuron
from ahsar_eval.recording.activity import Uncounted
from ahsar_eval.recording.fanout import is_average_pool, is_synapse
from ahsar_eval.recording.operators import (
    FUNCTIONS,
    MAX_POOLS,
    NORMALISATIONS,
    FunctionCalls,
    Operator,
    computes,
    copied,
    per_sample,
)
from ahsar_eval.recording.work import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    OperatorActivity,
)

SYNAPSE, NORM, OTHER = "synapse", "norm", "other"  # who takes a tensor
_POOLS = (AVERAGE_POOL, MAX_POOL, MEAN)


@dataclass
class OperatorWatch:
    """Collects the operations of a discovery pass; call `entered` and `left` around
    every module."""

    net: SpikingNet
    samples: int
    names: dict[nn.Module, str]
    kind_of: Callable[[Tensor], str]
    key_of: Callable[[Tensor], Any]
    synapse_of: Callable[[Tensor], str | None]  # the layer with weights whose output a tensor is
    spikes_of: Callable[[Tensor], str | None]  # the spiking layer whose zeros and ones a tensor is
    alive: list[
        Tensor
        # kept until the pass is over: a tensor is known by its address, which must not become
        # another's
    ]
    found: dict[str, Operator] = field(default_factory=dict)
    problems: dict[str, Uncounted] = field(default_factory=dict)
    stack: list[nn.Module] = field(default_factory=list)
    uses: Counter[str] = field(
        default_factory=Counter
    )  # of a module, or of a kind of function in it, in one forward pass
    takers: dict[Any, set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )  # tensor → who takes it
    made: dict[str, Any] = field(default_factory=dict)  # operation → its output
    normalised: dict[str, Any] = field(default_factory=dict)  # normalisation → its input

    def __post_init__(self) -> None:
        self.calls = FunctionCalls(self._function)
        self.weights = {
            parameter.untyped_storage().data_ptr() for parameter in self.net.parameters()
        }

    def entered(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A module's forward begins."""
        if not self.stack:
            self.calls.place = 0
            self.uses.clear()
        with self.calls.paused():
            if self._has_rule(module) and inputs and isinstance(inputs[0], Tensor):
                self._taken(
                    inputs[0],
                    SYNAPSE
                    if is_synapse(module)
                    else NORM
                    if isinstance(module, NORMALISATIONS)
                    else OTHER,
                )
        self.stack.append(module)
        if is_neuron(module):
            self.calls.inside += 1

    def left(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        """A module's forward ends."""
        self.stack.pop()
        if is_neuron(module):
            self.calls.inside -= 1
        elif (
            not self._covered()
            and isinstance(out, Tensor)
            and inputs
            and isinstance(inputs[0], Tensor)
        ):
            with self.calls.paused():
                self._note_module(module, inputs[0], out)

    def takes_alone(self, key: Any, who: str) -> bool:
        """Whether nothing but `who` takes a tensor."""
        return self.takers[key] == {who}

    def _taken(self, x: Tensor, who: str) -> None:
        self.alive.append(x)
        self.takers[self.key_of(x)].add(who)

    def _note_module(self, module: nn.Module, x: Tensor, out: Tensor) -> None:
        name = self._label(self.names.get(module, type(module).__name__), " (use {})")
        if isinstance(module, NORMALISATIONS):
            affine = getattr(module, "weight", None) is not None
            self.normalised[name] = self.key_of(x)
            self._note(
                name,
                NORMALISATION,
                type(module).__name__,
                (x,),
                out,
                behind=self.synapse_of(x),
                affine=affine,
            )
        elif is_average_pool(module):
            self.made[name] = self.key_of(out)
            self._note(
                name, AVERAGE_POOL, type(module).__name__, (x,), out, window=_size(module, x)
            )
        elif isinstance(module, MAX_POOLS):
            # The input of a second use is not told from that of the first where it is measured.
            first = self.spikes_of(x) if "(use" not in name else ""
            self._note(
                name,
                MAX_POOL,
                type(module).__name__,
                (x,),
                out,
                spikes_of=first,
                window=_size(module, x),
            )

    def _label(self, name: str, again: str) -> str:
        self.uses[name] += 1
        return (
            name
            if self.uses[name] == 1 and "use" in again
            else name + again.format(self.uses[name])
        )

    def _has_rule(self, module: nn.Module) -> bool:
        return (
            is_neuron(module)
            or is_synapse(module)
            or is_average_pool(module)
            or isinstance(module, (*NORMALISATIONS, *MAX_POOLS))
        )

    def _covered(self) -> bool:
        """Whether what runs now belongs to a module that has a rule of its own."""
        return any(self._has_rule(module) for module in self.stack)

    def _function(self, name: str, place: int, values: tuple[Any, ...], out: Any) -> None:
        if self._covered() or not self.stack:
            return
        kind = FUNCTIONS.get(name)
        if kind is None and not computes(name, values, out):
            for value in copied(name, values, out):
                self._taken(value, OTHER)
            return
        module = self.stack[-1]
        label = self._label(
            f"{self.names.get(module) or type(module).__name__}: {kind or name}", " {}"
        )
        tensors = tuple(value for value in values if isinstance(value, Tensor))
        for value in tensors:
            self._taken(value, OTHER)
        by_weights = kind == MATMUL and any(
            value.untyped_storage().data_ptr() in self.weights for value in tensors
        )
        if kind is None or by_weights:
            if not any(
                True for _ in module.parameters(recurse=False)
            ):  # else the module itself is listed
                self.problems.setdefault(
                    label, Uncounted(label, f"no rule counts the function {name}")
                )
        elif isinstance(out, Tensor) and tensors and tensors[0].dim() > 0:
            window = (
                _function_size(values, self.calls.keywords, tensors[0])
                if "pool" in name and "adaptive" not in name
                else None
            )
            self._note(label, kind, name, tensors, out, place=place, window=window)

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
        window: int | None = None,
    ) -> None:
        shapes = [per_sample(value, self.net, self.samples) for value in (*tensors, out)]
        taken, given = shapes[0], shapes[-1]
        if taken is None or given is None:
            if any(len(value.shape) and self.samples in value.shape for value in tensors):
                self.problems.setdefault(
                    name,
                    Uncounted(
                        name,
                        f"its tensors of shape {tuple(tensors[0].shape)} have no axis of samples",
                    ),
                )
            return
        steps = given[0] * (self.net.spec.timesteps if self.net.spec.step_mode == "s" else 1)
        inputs = (
            torch.Size(taken[1]).numel() * taken[0] // given[0]
        )  # a mean over time takes all steps for its one output
        outputs = torch.Size(given[1]).numel()
        if window is None:
            window = (
                max(1, inputs // max(1, outputs))
                if kind in _POOLS
                else taken[1][-1]
                if kind == MATMUL
                else 1
            )
        made = OperatorActivity(
            name,
            kind,
            type_name,
            inputs,
            outputs,
            steps,
            window=window,
            channels=taken[1][0] if kind in (NORMALISATION, AVERAGE_POOL, MAX_POOL) else 0,
            affine=affine,
            behind=behind,
        )
        operator = self._measured(
            made,
            tensors,
            [shape for shape in shapes[:-1] if shape is not None],
            given,
            place,
            spikes_of,
        )
        earlier = self.found.setdefault(name, operator)
        if earlier.found != replace(made, operand_kinds=earlier.found.operand_kinds):
            raise RecordingError(
                f"{name} runs with other shapes at other time steps; its work cannot be counted "
                "from one of them"
            )
        if operator.shapes and not earlier.shapes:
            self.found[name] = operator  # spikes at a later step than the first

    def _measured(
        self,
        made: OperatorActivity,
        tensors: tuple[Tensor, ...],
        taken: list[tuple[int, tuple[int, ...]]],
        given: tuple[int, tuple[int, ...]],
        place: int | None,
        spikes_of: str | None,
    ) -> Operator:
        """The operation, with what must be measured of it in every call."""
        if made.kind == MAX_POOL and place is None:
            meets_sums = spikes_of is None and self.kind_of(tensors[0]) != "analog"
            return Operator(
                made, spikes_of=spikes_of or None, shapes=(taken[0][1],) if meets_sums else ()
            )
        if made.kind not in (ADDITION, MATMUL) or len(tensors) != 2 or len(taken) != 2:
            return Operator(made)
        kinds = tuple(self.kind_of(value) for value in tensors)
        spiking = [value != "analog" for value in kinds]
        if made.kind == ADDITION:
            fits = all(spiking) and taken[0] == taken[1] == given
        else:
            fits = (
                any(spiking)
                and taken[0][0] == taken[1][0] == given[0]
                and all(len(shape) > 1 for _, shape in taken)
            )
        return (
            Operator(
                replace(made, operand_kinds=kinds), place, shapes=tuple(shape for _, shape in taken)
            )
            if fits
            else Operator(made)
        )


def _size(module: nn.Module, x: Tensor) -> int | None:
    """Elements that one output of a pooling looks at; None for an adaptive one."""
    size = getattr(module, "kernel_size", None)
    axes = next(
        (axes for axes in (1, 2, 3) if type(module).__name__.endswith(f"{axes}d")), x.dim() - 2
    )
    return None if size is None else _positions(size, axes)


def _function_size(values: tuple[Any, ...], keywords: tuple[str, ...], x: Tensor) -> int | None:
    """The same of a functional pooling: its second argument, or the one called kernel_size."""
    at = len(values) - len(keywords)
    size = (
        values[at + keywords.index("kernel_size")]
        if "kernel_size" in keywords
        else values[1]
        if at > 1
        else None
    )
    return None if size is None else _positions(size, x.dim() - 2)


def _positions(size: Any, axes: int) -> int:
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    return int(torch.Size(sides * axes if len(sides) == 1 else sides).numel())
