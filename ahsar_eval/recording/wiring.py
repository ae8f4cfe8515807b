"""What feeds what: found once by watching two samples pass, then pinned; the recorder checks every
batch against it.

A tensor is recognised by its storage address, size and version, so views (flatten, reshape) are
seen through and an addition in place is not mistaken for the spikes it started from. Average and
sum poolings between a spiking layer and a layer with weights are folded: each spike reaches what
its pooled cell reaches. Everything else that meets weights is measured where it meets them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, emits_binary_spikes, emits_whole_spikes, is_neuron
from ahsar_eval.recording.activity import Uncounted
from ahsar_eval.recording.fanout import (
    fan_out,
    geometry_of,
    is_average_pool,
    is_synapse,
    live_fan_out,
    through_average,
)
from ahsar_eval.recording.operator_watch import NORM, SYNAPSE, OperatorWatch
from ahsar_eval.recording.operators import NORMALISATIONS, Operator, per_sample
from ahsar_eval.recording.work import AVERAGE_POOL, Geometry

KINDS = ("spikes", "integer spikes", "analog")
MEASURED = "measured"
INPUT = "input"

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


def copies_in_order(x: Tensor, out: Tensor) -> bool:
    """Whether a flattening of `x` to `out` would have been a view, did `x` not lie
    channels last."""
    last = x.dim() > 3 and not x.is_contiguous() and x.movedim(-3, -1).is_contiguous()
    return last and out.numel() == x.numel()


@dataclass(frozen=True)
class Synapse:
    """A layer with weights: where its input comes from, of what kind it is, and its exact fan-out
    at that source.
    """

    name: str
    kind: str
    source: str  # a spiking layer's name, INPUT, or MEASURED
    reached: Tensor  # float64, of the source's shape
    dense_operations: int
    static: bool  # a static image meets it: its product is the same at every step
    geometry: Geometry
    own: Tensor  # its fan-out at its own input, behind any pooling
    live: Tensor | None  # the same through weights that are not zero; None where none is zero
    path: tuple[str, ...] = ()  # poolings between source and layer


@dataclass(frozen=True)
class Wiring:
    """The pinned structure of a network: spiking layers with their shapes, synapses, other
    operations, and layers no rule covers.

    `readout` is the last layer with weights that runs, `hidden` the last spiking layer that runs
    before it.
    """

    neurons: Mapping[str, tuple[int, ...]]
    synapses: tuple[Synapse, ...]
    uncounted: tuple[Uncounted, ...]
    operators: tuple[Operator, ...] = ()
    readout: str | None = None
    hidden: str | None = None

    def alike(self, other: "Wiring") -> bool:
        """Whether another pass found the same layers, fed by the same spikes, and the same
        operations between them.
        """
        mine, theirs = (
            [
                (s.name, s.kind, s.source, s.path, s.static, s.dense_operations)
                for s in wiring.synapses
            ]
            for wiring in (self, other)
        )
        operations = [operator.found for operator in self.operators] == [
            operator.found for operator in other.operators
        ]
        return (
            operations
            and mine == theirs
            and (self.neurons, self.uncounted) == (other.neurons, other.uncounted)
        )

    def fed_by(self, source: str) -> list[Synapse]:
        """Synapses counted from `source`'s own spikes."""
        return [synapse for synapse in self.synapses if synapse.source == source]


@dataclass
class _Origin:
    """Where a tensor seen in the discovery pass came from."""

    source: str
    shape: tuple[int, ...]
    spiking: bool
    whole: bool = False  # several spikes per neuron and step
    path: tuple[str, ...] = ()


@dataclass
class _Discovery:
    net: SpikingNet
    static: bool
    samples: int
    declared: Mapping[str, str]
    names: dict[nn.Module, str]
    origins: dict[Key, _Origin] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)
    neurons: dict[str, tuple[int, ...]] = field(default_factory=dict)
    synapses: dict[str, Synapse] = field(default_factory=dict)
    problems: list[Uncounted] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    before_spikes: dict[str, Tensor] = field(
        default_factory=dict
    )  # first input of untraced layers that run before any spiking layer
    order: list[str] = field(
        default_factory=list
    )  # spiking layers and layers with weights, as they first ran
    products: dict[Key, str] = field(
        default_factory=dict
    )  # output of a layer with weights → its name
    flattened: dict[Key, Key] = field(
        default_factory=dict
    )  # output of a flattening → its input: the same values in the same order

    def __post_init__(self) -> None:
        self.watch = OperatorWatch(
            self.net,
            self.samples,
            self.names,
            kind_of=_kind_by_value,
            key_of=self.key,
            synapse_of=lambda x: self.products.get(self.key(x)),
            spikes_of=self._plain_spikes,
            alive=self.alive,
        )

    def key(self, x: Tensor) -> Key:
        """`key_of`, of what a flattening was given for what it gave."""
        own = key_of(x)
        return self.flattened.get(own, own)

    def _plain_spikes(self, x: Tensor) -> str | None:
        """The spiking layer whose output `x` is, where that is 0 and 1 by its type and nothing lies
        between.
        """
        origin = self.origins.get(self.key(x))
        return (
            origin.source
            if origin is not None and origin.spiking and not origin.whole and not origin.path
            else None
        )

    def list_uncounted(self, name: str, reason: str) -> None:
        """Note a layer that no rule covers, once however often it runs."""
        if all(problem.name != name for problem in self.problems):
            self.problems.append(Uncounted(name, reason))


def discover(net: SpikingNet, x: Tensor, declared: Mapping[str, str] | None = None) -> Wiring:
    """Run `x` [T or 1, N, C, H, W] (two samples are enough) through `net` once and pin its
    structure.

    `declared` names the input kind of layers whose input cannot be traced to spikes (see `KINDS`).
    Raises `RecordingError` for a declaration of an unknown layer or kind.
    """
    names = {module: name for name, module in net.backbone.named_modules()}
    for layer, kind in (declared or {}).items():
        if kind not in KINDS:
            raise RecordingError(
                f"input kind {kind!r} of layer {layer!r} is unknown; expected one of "
                f"{', '.join(KINDS)}"
            )
        if not any(name == layer and is_synapse(module) for module, name in names.items()):
            raise RecordingError(
                f"an input kind is declared for {layer!r}, and the network has no such layer with "
                "weights; see ahsar-eval inspect"
            )
    found = _Discovery(
        net, static=x.shape[0] == 1, samples=x.shape[1], declared=dict(declared or {}), names=names
    )
    with _watched(found), torch.no_grad():
        net.reset()
        net(x)
        net.reset()
    _check_calls(found)
    readout = next(
        (name for name in reversed(found.order) if is_synapse(net.backbone.get_submodule(name))),
        None,
    )
    before = [] if readout is None else found.order[: found.order.index(readout)]
    return Wiring(
        neurons=found.neurons,
        synapses=tuple(found.synapses.values()),
        uncounted=(
            *found.problems,
            *_without_rule(net.backbone, found),
            *found.watch.problems.values(),
        ),
        operators=tuple(_folded_operators(found)),
        readout=readout,
        hidden=next((name for name in reversed(before) if name in found.neurons), None),
    )


@contextmanager
def _watched(found: _Discovery) -> Iterator[None]:
    watch = found.watch
    handles = [
        found.net.backbone.register_forward_pre_hook(
            lambda module, inputs: _note_input(found, inputs)
        )
    ]
    for module, name in found.names.items():
        handles.append(
            module.register_forward_pre_hook(lambda module, inputs: watch.entered(module, inputs))
        )
        if is_neuron(module):
            handles.append(module.register_forward_hook(_noting(found, name, _note_neuron)))
        elif is_synapse(module):
            handles.append(module.register_forward_hook(_noting(found, name, _note_synapse)))
        elif is_average_pool(module):
            handles.append(module.register_forward_hook(_noting(found, name, _note_pool)))
        elif isinstance(module, nn.Flatten):
            handles.append(module.register_forward_hook(_noting(found, name, _note_flattening)))
        handles.append(
            module.register_forward_hook(
                lambda module, inputs, out: watch.left(module, inputs, out)
            )
        )
    try:
        with watch.calls:
            yield
    finally:
        for handle in handles:
            handle.remove()
        found.alive.clear()


def _noting(found: _Discovery, name: str, note: Any) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if note not in (_note_pool, _note_flattening) and name not in found.order:
            found.order.append(name)
        if not inputs:
            raise RecordingError(
                f"layer {name!r} is called with keyword arguments alone; call it with its input as "
                "the first argument"
            )
        with found.watch.calls.paused():
            note(found, name, module, inputs[0], output)
        found.alive.extend(tensor for tensor in (inputs[0], output) if isinstance(tensor, Tensor))

    return hook


def _note_input(found: _Discovery, inputs: tuple[Any, ...]) -> None:
    x: Tensor = inputs[0]
    found.alive.append(x)
    shape = tuple(found.net.spec.input_shape)
    found.origins[key_of(x)] = _Origin(INPUT, shape, spiking=False)


def _note_neuron(found: _Discovery, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
    shape = sample_shape(out, found.net, found.samples)
    if shape is None:
        found.list_uncounted(
            name,
            f"its output of shape {tuple(out.shape)} has no time and sample axes to count along",
        )
        return
    whole = emits_whole_spikes(module)
    declared = whole or emits_binary_spikes(module)
    if not declared and _kind_by_value(out) != "spikes":
        found.neurons.pop(name, None)
        found.calls.pop(name, None)
        found.list_uncounted(
            name, f"its outputs are not spikes of 0 or 1 (a {type(module).__name__})"
        )
    if any(problem.name == name for problem in found.problems):
        return
    found.calls[name] += 1
    if found.neurons.setdefault(name, shape) != shape:
        raise RecordingError(
            f"spiking layer {name!r} runs with shapes {found.neurons[name]} and {shape} in one "
            "pass; give each use a layer of its own"
        )
    if declared:
        found.origins[key_of(out)] = _Origin(name, shape, spiking=True, whole=whole)


def _note_pool(found: _Discovery, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
    origin = found.origins.get(found.key(x))
    if origin is not None and origin.spiking and len(origin.path) == 0:
        found.origins[key_of(out)] = _Origin(
            origin.source, origin.shape, spiking=True, whole=origin.whole, path=(name,)
        )


def _note_flattening(
    found: _Discovery, name: str, module: nn.Module, x: Tensor, out: Tensor
) -> None:
    """A copy of what lies channels last: other memory, but the same values in the same order."""
    if copies_in_order(x, out):
        found.flattened[key_of(out)] = found.key(x)


def _note_synapse(found: _Discovery, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
    own_shape = sample_shape(x, found.net, found.samples)
    if own_shape is None:
        found.list_uncounted(
            name, f"its input of shape {tuple(x.shape)} has no time and sample axes to count along"
        )
        return
    found.calls[name] += 1
    own = reached = fan_out(module, own_shape)
    dense = int(reached.sum())
    out_shape = sample_shape(out, found.net, found.samples) or tuple(out.shape[1:])
    geometry = geometry_of(module, own_shape, out_shape, dense)
    found.products[key_of(out)] = name
    origin = found.origins.get(found.key(x))
    kind, source, static = _kind_by_value(x), MEASURED, False
    path: tuple[str, ...] = ()
    if origin is not None and origin.source == INPUT:
        kind, source, static = "analog", INPUT, found.static
    elif origin is not None and origin.spiking:
        folded = _folded(found, origin, reached)
        if folded is not None:
            plain = "integer spikes" if origin.whole else "spikes"
            kind, source, reached, path = (
                "pooled spikes" if origin.path else plain,
                origin.source,
                folded,
                origin.path,
            )
    elif kind == "analog" and found.static:
        static = _same_at_every_step(found, name, x, own_shape)
    if name in found.declared and found.declared[name] != kind:
        kind, source, reached, path = found.declared[name], MEASURED, own, ()
        static = static and kind == "analog"  # spikes are replayed at every step
    live = live_fan_out(module, own_shape)
    synapse = Synapse(name, kind, source, reached, dense, static, geometry, own, live, path)
    earlier = found.synapses.setdefault(name, synapse)
    if (earlier.kind, earlier.source, earlier.dense_operations) == (kind, source, dense):
        if earlier.static and not static:
            found.synapses[name] = synapse
        return
    if earlier.source == source == MEASURED and earlier.dense_operations == dense:
        # The same untraced input at a later time step: the wider of the two kinds holds for all of
        # them.
        wider = max(earlier.kind, kind, key=KINDS.index)
        found.synapses[name] = replace(synapse, kind=wider)
        return
    raise RecordingError(
        f"layer {name!r} is used with different inputs in one pass; give each use a layer of its "
        "own"
    )


def _same_at_every_step(found: _Discovery, name: str, x: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether an untraced layer is still behind the static image alone: nothing spikes before it
    and its input does not change.
    """
    steps = x.reshape(-1, found.samples, *shape)
    nothing_has_spiked = not found.neurons and not found.problems
    if name not in found.before_spikes and nothing_has_spiked:
        found.before_spikes[name] = steps[0]
    return name in found.before_spikes and bool((steps == found.before_spikes[name]).all())


def _folded_operators(found: _Discovery) -> Iterator[Operator]:
    """The operations, poolings with the layers they are folded into; none where something else
    takes what it would have made.
    """
    for name, operator in found.watch.found.items():
        facts = operator.found
        if (
            facts.kind == AVERAGE_POOL
            and name in found.watch.made
            and found.watch.takes_alone(found.watch.made[name], SYNAPSE)
        ):
            into = tuple(
                synapse.name for synapse in found.synapses.values() if name in synapse.path
            )
            yield replace(operator, found=replace(facts, folded_into=into))
        elif facts.behind is not None and not found.watch.takes_alone(
            found.watch.normalised.get(name), NORM
        ):
            yield replace(operator, found=replace(facts, behind=None))
        else:
            yield operator


def _check_calls(found: _Discovery) -> None:
    expected = found.net.spec.timesteps if found.net.spec.step_mode == "s" else 1
    for name, calls in found.calls.items():
        if calls != expected:
            raise RecordingError(
                f"layer {name!r} runs {calls} times in one pass and {expected} can be counted (one "
                "per time step in single-step mode); "
                "give each use a layer of its own"
            )


def _folded(found: _Discovery, origin: _Origin, reached: Tensor) -> Tensor | None:
    if not origin.path:
        return (
            reached.reshape(origin.shape)
            if reached.numel() == torch.Size(origin.shape).numel()
            else None
        )
    pool = next(module for module, name in found.names.items() if name == origin.path[0])
    return through_average(pool, origin.shape, reached)


def _kind_by_value(x: Tensor) -> str:
    if bool(((x == 0) | (x == 1)).all()):
        return "spikes"
    return "integer spikes" if bool(((x >= 0) & (x == x.round())).all()) else "analog"


def sample_shape(x: Tensor, net: SpikingNet, samples: int) -> tuple[int, ...] | None:
    """One sample's shape in one time step: what follows [T, N, …], [T·N, …] or, step by step, [N,
    …]; None for anything else.
    """
    found = per_sample(x, net, samples)
    all_steps = 1 if net.spec.step_mode == "s" else net.spec.timesteps
    return found[1] if found is not None and found[0] == all_steps else None


def _without_rule(backbone: nn.Module, found: _Discovery) -> list[Uncounted]:
    listed = []
    counted = (
        set(found.synapses) | set(found.neurons) | {problem.name for problem in found.problems}
    )
    for name, module in backbone.named_modules():
        owns_weights = any(True for _ in module.parameters(recurse=False))
        if not owns_weights or name in counted or isinstance(module, NORMALISATIONS):
            continue
        reason = (
            "it did not run"
            if is_synapse(module) or is_neuron(module)
            else f"no rule counts a {type(module).__name__}"
        )
        listed.append(Uncounted(name or type(module).__name__, reason))
    return listed
