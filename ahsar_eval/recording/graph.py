"""What feeds what: found once by watching two samples pass, then pinned; the recorder checks every
batch against it.

A tensor is recognised by its storage address, size and version, so views (flatten, reshape) are
seen through and an addition in place is not mistaken for the spikes it started from. Average and
sum poolings between a spiking layer and a layer with weights are folded: each spike reaches what
its pooled cell reaches. Everything else that meets weights is measured where it meets them.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import (
    Shape,
    SpikingNet,
    emits_binary_spikes,
    emits_whole_spikes,
    is_neuron,
)
from ahsar_eval.recording.activity import Geometry, Uncounted
from ahsar_eval.recording.fanout import (
    fan_out,
    geometry_of,
    is_average_pool,
    is_synapse,
    nonzero_fan_out,
    through_average,
)
from ahsar_eval.recording.op_counter import Operator, sample_shape
from ahsar_eval.recording.op_tracer import (
    NORMALISATIONS,
    OpTracer,
    Origin,
    Tensors,
    key_of,
    kind_by_value,
)

KINDS = ("spikes", "integer spikes", "analog")
MEASURED = "measured"
INPUT = "input"


@dataclass(frozen=True)
class Synapse:
    """A layer with weights: where its input comes from, of what kind it is, and its exact fan-out
    at that source.
    """

    name: str
    kind: str
    source: str  # a spiking layer's name, INPUT, or MEASURED
    fan_out: Tensor  # float64, of the source's shape
    dense_operations: int
    static: bool  # a static image meets it: its product is the same at every step
    geometry: Geometry
    own_fan_out: Tensor  # at its own input, behind any pooling
    nonzero_fan_out: Tensor | None  # the same through weights that are not zero; None where none is
    path: tuple[str, ...] = ()  # poolings between source and layer


@dataclass(frozen=True)
class Graph:
    """The pinned structure of a network: spiking layers with their shapes, synapses, other
    operations, and layers no rule covers.

    `readout` is the last layer with weights that runs, `hidden` the last spiking layer that runs
    before it.
    """

    neurons: Mapping[str, Shape]
    synapses: tuple[Synapse, ...]
    uncounted: tuple[Uncounted, ...]
    operators: tuple[Operator, ...] = ()
    readout: str | None = None
    hidden: str | None = None

    def alike(self, other: "Graph") -> bool:
        """Whether another pass found the same layers, fed by the same spikes, and the same
        operations between them.
        """
        mine, theirs = (
            (
                graph.neurons,
                graph.uncounted,
                [operator.activity for operator in graph.operators],
                [
                    (s.name, s.kind, s.source, s.path, s.static, s.dense_operations)
                    for s in graph.synapses
                ],
            )
            for graph in (self, other)
        )
        return mine == theirs


def discover(net: SpikingNet, x: Tensor, declared: Mapping[str, str] | None = None) -> Graph:
    """Run `x` [T or 1, N, C, H, W] (two samples are enough) through `net` once and pin its
    structure.

    `declared` names the input kind of layers whose input cannot be traced to spikes (see `KINDS`).
    Raises `RecordingError` for a declaration of an unknown layer or kind.
    """
    declared = declared or {}
    for layer, kind in declared.items():
        if kind not in KINDS:
            raise RecordingError(
                f"input kind {kind!r} of layer {layer!r} is unknown; expected one of "
                f"{', '.join(KINDS)}"
            )
        if not any(name == layer and is_synapse(m) for name, m in net.backbone.named_modules()):
            raise RecordingError(
                f"an input kind is declared for {layer!r}, and the network has no such layer with "
                "weights; see ahsar-eval inspect"
            )
    discovery = _Discovery(net, x, declared)
    with discovery.watching(), torch.no_grad():
        net.reset()
        net(x)
        net.reset()
    return discovery.graph()


class _Discovery:
    """What one pass shows: hooks note layers as they run."""

    def __init__(self, net: SpikingNet, x: Tensor, declared: Mapping[str, str]) -> None:
        self.net, self.declared = net, declared
        self.static, self.samples = x.shape[0] == 1, x.shape[1]
        self.names = {module: name for name, module in net.backbone.named_modules()}
        self.tensors = Tensors()
        self.tracer = OpTracer(net, self.samples, self.names, self.tensors)
        self.neurons: dict[str, Shape] = {}
        self.synapses: dict[str, Synapse] = {}
        self.problems: dict[str, Uncounted] = {}
        self.calls: Counter[str] = Counter()
        # First input of untraced layers that run before any spiking layer.
        self.before_spikes: dict[str, Tensor] = {}
        # Spiking layers and layers with weights, as they first ran.
        self.order: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note whatever runs in the block."""
        backbone, tracer = self.net.backbone, self.tracer
        handles = [backbone.register_forward_pre_hook(self._on_input)]
        for module, name in self.names.items():
            handles.append(module.register_forward_pre_hook(tracer.entered))
            if is_neuron(module):
                handles.append(module.register_forward_hook(self._noting(name, self._on_neuron)))
            elif is_synapse(module):
                handles.append(module.register_forward_hook(self._noting(name, self._on_synapse)))
            elif is_average_pool(module):
                handles.append(module.register_forward_hook(self._noting(name, self._on_pool)))
            elif isinstance(module, nn.Flatten):
                handles.append(
                    module.register_forward_hook(self._noting(name, self._on_flattening))
                )
            handles.append(module.register_forward_hook(tracer.left))
        try:
            with tracer.calls:
                yield
        finally:
            for handle in handles:
                handle.remove()
            self.tensors.alive.clear()

    def graph(self) -> Graph:
        """What was found. Raises `RecordingError` for a layer that runs several times in a pass."""
        expected = self.net.spec.timesteps if self.net.spec.step_mode == "s" else 1
        for name, calls in self.calls.items():
            if calls != expected:
                raise RecordingError(
                    f"layer {name!r} runs {calls} times in one pass and {expected} can be counted "
                    "(one per time step in single-step mode); give each use a layer of its own"
                )
        backbone, order = self.net.backbone, self.order
        with_weights = [name for name in order if is_synapse(backbone.get_submodule(name))]
        readout = with_weights[-1] if with_weights else None
        before = order[: order.index(readout)] if readout is not None else []
        spiking = [name for name in before if name in self.neurons]
        return Graph(
            neurons=self.neurons,
            synapses=tuple(self.synapses.values()),
            uncounted=(
                *self.problems.values(),
                *self._without_rule(),
                *self.tracer.problems.values(),
            ),
            operators=tuple(self.tracer.folded({s.name: s.path for s in self.synapses.values()})),
            readout=readout,
            hidden=spiking[-1] if spiking else None,
        )

    def _list_uncounted(self, name: str, reason: str) -> None:
        """Note a layer that no rule covers, once however often it runs."""
        self.problems.setdefault(name, Uncounted(name, reason))

    def _noting(self, name: str, note: Callable[..., None]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if (is_neuron(module) or is_synapse(module)) and name not in self.order:
                self.order.append(name)
            if not inputs:
                raise RecordingError(
                    f"layer {name!r} is called with keyword arguments alone; call it with its "
                    "input as the first argument"
                )
            with self.tracer.calls.paused():
                note(name, module, inputs[0], output)
            self.tensors.alive += [x for x in (inputs[0], output) if isinstance(x, Tensor)]

        return hook

    def _on_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.tensors.alive.append(inputs[0])
        shape = tuple(self.net.spec.input_shape)
        self.tensors.origins[key_of(inputs[0])] = Origin(INPUT, shape, spiking=False)

    def _on_neuron(self, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        shape = sample_shape(out, self.net.spec, self.samples)
        if shape is None:
            what = f"its output of shape {tuple(out.shape)}"
            self._list_uncounted(name, f"{what} has no time and sample axes to count along")
            return
        whole = emits_whole_spikes(module)
        by_type = whole or emits_binary_spikes(module)
        if not by_type and kind_by_value(out) != "spikes":
            self.neurons.pop(name, None)
            self.calls.pop(name, None)
            what = f"its outputs are not spikes of 0 or 1 (a {type(module).__name__})"
            self._list_uncounted(name, what)
        if name in self.problems:
            return
        self.calls[name] += 1
        if self.neurons.setdefault(name, shape) != shape:
            raise RecordingError(
                f"spiking layer {name!r} runs with shapes {self.neurons[name]} and {shape} in one "
                "pass; give each use a layer of its own"
            )
        if by_type:
            self.tensors.origins[key_of(out)] = Origin(name, shape, spiking=True, whole=whole)

    def _on_pool(self, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        origin = self.tensors.origins.get(self.tensors.key(x))
        if origin is not None and origin.spiking and not origin.path:
            self.tensors.origins[key_of(out)] = replace(origin, path=(name,))

    def _on_flattening(self, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        """A copy of what lies channels last: other memory, the same values in the same order."""
        if copies_in_order(x, out):
            self.tensors.flattened[key_of(out)] = self.tensors.key(x)

    def _on_synapse(self, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        shape = sample_shape(x, self.net.spec, self.samples)
        if shape is None:
            what = f"its input of shape {tuple(x.shape)}"
            self._list_uncounted(name, f"{what} has no time and sample axes to count along")
            return
        self.calls[name] += 1
        own = fan_out(module, shape)
        dense = int(own.sum())
        out_shape = sample_shape(out, self.net.spec, self.samples) or tuple(out.shape[1:])
        geometry = geometry_of(module, shape, out_shape, dense)
        self.tensors.products[key_of(out)] = name
        origin = self.tensors.origins.get(self.tensors.key(x))
        kind, nonzero = kind_by_value(x), nonzero_fan_out(module, shape)
        synapse = Synapse(name, kind, MEASURED, own, dense, False, geometry, own, nonzero)
        if origin is not None and origin.source == INPUT:
            synapse = replace(synapse, kind="analog", source=INPUT, static=self.static)
        elif origin is not None and origin.spiking:
            folded = self._folded(origin, own)
            if folded is not None:
                plain = "integer spikes" if origin.whole else "spikes"
                kind, source = "pooled spikes" if origin.path else plain, origin.source
                synapse = replace(
                    synapse, kind=kind, source=source, fan_out=folded, path=origin.path
                )
        elif kind == "analog" and self.static:
            synapse = replace(synapse, static=self._same_at_every_step(name, x, shape))
        kind = self.declared.get(name, synapse.kind)
        if kind != synapse.kind:
            static = synapse.static and kind == "analog"  # spikes are replayed at every step
            synapse = replace(
                synapse, kind=kind, source=MEASURED, fan_out=own, path=(), static=static
            )
        earlier = self.synapses.setdefault(name, synapse)
        if (earlier.kind, earlier.source, earlier.dense_operations) == (
            kind,
            synapse.source,
            dense,
        ):
            if earlier.static and not synapse.static:
                self.synapses[name] = synapse
        elif earlier.source == synapse.source == MEASURED and earlier.dense_operations == dense:
            # The same untraced input at a later time step: the wider of the two kinds holds for all
            # of them.
            self.synapses[name] = replace(synapse, kind=max(earlier.kind, kind, key=KINDS.index))
        else:
            raise RecordingError(
                f"layer {name!r} is used with different inputs in one pass; give each use a layer "
                "of its own"
            )

    def _same_at_every_step(self, name: str, x: Tensor, shape: Shape) -> bool:
        """Whether an untraced layer is still behind the static image alone: nothing spikes before
        it and its input does not change.
        """
        steps = x.reshape(-1, self.samples, *shape)
        if name not in self.before_spikes and not self.neurons and not self.problems:
            self.before_spikes[name] = steps[0]
        return name in self.before_spikes and bool((steps == self.before_spikes[name]).all())

    def _folded(self, origin: Origin, own_fan_out: Tensor) -> Tensor | None:
        """The fan-out of the spikes that a layer receives, through a pooling or none."""
        if origin.path:
            pool = next(module for module, name in self.names.items() if name == origin.path[0])
            return through_average(pool, origin.shape, own_fan_out)
        fits = own_fan_out.numel() == math.prod(origin.shape)
        return own_fan_out.reshape(origin.shape) if fits else None

    def _without_rule(self) -> Iterator[Uncounted]:
        counted = {*self.synapses, *self.neurons, *self.problems}
        for module, name in self.names.items():
            owns_weights = any(True for _ in module.parameters(recurse=False))
            if not owns_weights or name in counted or isinstance(module, NORMALISATIONS):
                continue
            reason = f"no rule counts a {type(module).__name__}"
            if is_synapse(module) or is_neuron(module):
                reason = "it did not run"
            yield Uncounted(name or type(module).__name__, reason)


def copies_in_order(x: Tensor, out: Tensor) -> bool:
    """Whether a flattening of `x` to `out` would have been a view, did `x` not lie
    channels last."""
    last = x.dim() > 3 and not x.is_contiguous() and x.movedim(-3, -1).is_contiguous()
    return last and out.numel() == x.numel()
