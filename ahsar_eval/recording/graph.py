"""What feeds what: found once by watching two samples pass, then pinned; the recorder checks every
batch against it.

A tensor is recognised by its storage address, size and version, so views (flatten, reshape) are
seen through and an addition in place is not mistaken for the spikes it started from. Average and
sum poolings between a spiking layer and a layer with weights are folded: each spike reaches what
its pooled cell reaches. Everything else that meets weights is measured where it meets them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import is_readout
from ahsar_eval.homeostasis.regulator import channel_axis, features_of
from ahsar_eval.networks import (
    Shape,
    SpikingNet,
    before,
    emits_binary_spikes,
    emits_whole_spikes,
    is_found_neuron,
    is_neuron,
    spikes_in,
)
from ahsar_eval.recording.activity import (
    AVERAGE_POOL,
    NORMALISATION,
    Geometry,
    NeuronModel,
    Uncounted,
)
from ahsar_eval.recording.counting import (
    fan_out,
    is_synapse,
    kind_by_value,
    nonzero_fan_out,
    through_average,
)
from ahsar_eval.recording.operations import NEURON, SYNAPSE, Operator, OpTracer, kind_of
from ahsar_eval.recording.passes import (
    Axes,
    calls_of,
    has_batch_first,
    per_sample,
)
from ahsar_eval.recording.spiking import STRONG, neuron_model, watched
from ahsar_eval.recording.tensors import INPUT, Divisor, Origin, key_of, sums_of

KINDS = ("spikes", "integer spikes", "analog")
MEASURED = "measured"


@dataclass(frozen=True)
class Synapse:
    """A layer with weights: where its input comes from, of what kind it is, and its exact fan-out
    at that source.
    """

    name: str
    kind: str
    source: str  # a spiking layer's name, INPUT, or MEASURED
    fan_out: Tensor = field(compare=False)  # float64, of the source's shape
    dense_operations: int
    static: bool  # a static image meets it: its product is the same at every step
    geometry: Geometry
    own_fan_out: Tensor = field(compare=False)  # at its own input, behind any pooling
    # The same through weights that are not zero; None where none is.
    nonzero_fan_out: Tensor | None = field(compare=False)
    pool: str = ""  # between source and layer
    # Of averages of spikes that are measured where they meet the layer, and what multiplies spikes.
    divisor: Divisor | None = field(default=None, compare=False)
    gain: float = 1.0


@dataclass(frozen=True)
class Graph:
    """The pinned structure of a network: spiking layers with their shapes, synapses, other
    operations, and layers no rule covers.

    `readout` is the last layer with weights that runs, `hidden` the last spiking layer that runs
    before it.
    """

    neurons: Mapping[str, Shape]
    models: Mapping[str, NeuronModel]  # of the spiking layers
    synapses: tuple[Synapse, ...]
    uncounted: tuple[Uncounted, ...]
    operators: tuple[Operator, ...] = ()
    readout: str | None = None
    hidden: str | None = None
    axes: Mapping[str, Axes] = field(default_factory=dict)  # of spiking layers and synapses
    # Spiking layer → the axis of its neurons' shape along which its channels lie.
    channel_axes: Mapping[str, int] = field(default_factory=dict)


def discover(net: SpikingNet, x: Tensor, declared: Mapping[str, str] | None = None) -> Graph:
    """Run `x` [T or 1, N, C, H, W] (two samples are enough) through `net` once and pin its
    structure.

    `declared` names the input kind of layers whose input cannot be traced to spikes (see `KINDS`).
    Raises `RecordingError` for a declaration of an unknown layer or kind.
    """
    modules = dict(net.backbone.named_modules())
    for layer, kind in (declared or {}).items():
        if kind not in KINDS:
            raise RecordingError(
                f"input kind {kind!r} of layer {layer!r} is unknown; expected one of "
                f"{', '.join(KINDS)}"
            )
        if layer not in modules or not is_synapse(modules[layer]):
            raise RecordingError(
                f"an input kind is declared for {layer!r}, and the network has no such layer with "
                "weights; see ahsar-eval inspect"
            )
    discovery = _Discovery(net, x, declared or {})
    with discovery.tracer.calls:
        watched(net, x, discovery.hooks())
    if discovery.flat:
        discovery.tell_flat(x)
    discovery.doubt_static(x)
    return discovery.graph()


def _calls(net: SpikingNet, x: Tensor) -> Counter[str]:
    """How often a pass calls each module."""
    ran: Counter[str] = Counter()

    def note(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        ran[name] += 1

    parts = net.backbone.named_modules()
    watched(net, x, (m.register_forward_pre_hook(partial(note, n)) for n, m in parts))
    return ran


class _Discovery:
    """What one pass shows: hooks note layers as they run."""

    def __init__(self, net: SpikingNet, x: Tensor, declared: Mapping[str, str]) -> None:
        self.net, self.declared = net, declared
        self.static, self.samples = x.shape[0] == 1, x.shape[1]
        self.passes = calls_of(net.spec)
        self.names = {module: name for name, module in net.backbone.named_modules()}
        self.tracer = OpTracer(net, self.samples, self.names)
        self.tensors = self.tracer.tensors
        self.neurons: dict[str, Shape] = {}
        self.synapses: dict[str, Synapse] = {}
        self.problems: dict[str, Uncounted] = {}
        self.calls: Counter[str] = Counter()
        self.often = _calls(net, x) if net.spec.calls[:1] == "N" else Counter[str]()
        self.held: dict[str, int] = {}  # time steps in a call
        self.batch_first: dict[str, bool] = {}
        # What layers met whose first axis is of samples and steps, in either order.
        self.flat: dict[str, Tensor] = {}
        # First input of untraced layers that run before any spiking layer.
        self.before_spikes: dict[str, Tensor] = {}
        # Spiking layers and layers with weights, as they first ran.
        self.order: dict[str, nn.Module] = {}
        self.channel_axes: dict[str, int] = {}
        self.featured: nn.Module | None = None  # the last layer that ran and says its channels

    def hooks(self) -> Iterator[RemovableHandle]:
        """Note whatever runs while they are on."""
        yield before(self.net.backbone, self._on_input)
        for module in self.names:
            yield module.register_forward_pre_hook(self.tracer.entered)
            yield module.register_forward_hook(self._on_module)

    def graph(self) -> Graph:
        """What was found. Raises `RecordingError` for a layer that runs several times in a step."""
        axes = {
            name: Axes(calls, self.held[name], self.batch_first[name])
            for name, calls in self.calls.items()
        }
        for name, one in axes.items():
            steps = one.calls * one.steps
            if steps not in (1, self.net.spec.timesteps):
                raise RecordingError(
                    f"layer {name!r} runs {one.calls} times in one pass and {self.passes} can be "
                    "counted (one per time step in single-step mode); give each use a layer of "
                    "its own"
                )
            if steps != self.net.spec.timesteps and name in self.neurons:
                del self.neurons[name]
                self._problem(name, "it runs once, not at every time step")
        for name, synapse in self.synapses.items():
            if synapse.source not in (*self.neurons, INPUT, MEASURED):
                own = synapse.own_fan_out
                self.synapses[name] = replace(synapse, source=MEASURED, fan_out=own, pool="")
        readout: str | None = None
        hidden: str | None = None
        last_spiking: str | None = None
        for name, module in self.order.items():
            if is_synapse(module):
                readout, hidden = name, last_spiking
            elif name in self.neurons:
                last_spiking = name
        operators, unruled = self.tracer.found({s.name: s.pool for s in self.synapses.values()})
        return Graph(
            neurons=self.neurons,
            models={name: neuron_model(self.order[name], s) for name, s in self.neurons.items()},
            synapses=tuple(self.synapses.values()),
            uncounted=(
                *self.problems.values(),
                *self._without_rule(),
                *unruled,
            ),
            operators=tuple(operators),
            readout=readout,
            hidden=hidden,
            axes=axes,
            channel_axes={name: self.channel_axes[name] for name in self.neurons},
        )

    def tell_flat(self, x: Tensor) -> None:
        """Tell the order of steps and samples where one axis holds both: by what changes when
        another sample stands in the place of the first.
        """
        seen, self.flat = self.flat, {}
        other = x.clone()
        other[:, 0] = x[:, 1]
        watched(self.net, other, self._looks(seen))
        for name, was in seen.items():
            changed = (self.flat[name] != was).flatten(1).any(1).nonzero()[:, 0]
            if len(changed):
                first_rows = int(changed.max()) < len(was) // self.samples
                self.batch_first[name] = first_rows and self.net.spec.timesteps > 1

    def doubt_static(self, x: Tensor) -> None:
        """A layer that seemed to stand behind the static image alone may be given spikes, too, that
        a stronger input than `x` brings, as in a recurrent container that was silent.
        """
        seem = [s for s in self.synapses.values() if s.static and s.source == MEASURED]
        changes: set[str] = set()
        first: dict[str, Tensor] = {}

        def look(name: str, shape: Shape, module: nn.Module, inputs: tuple[Any, ...]) -> None:
            steps = self._in_steps(name, inputs[0].detach(), shape)
            first.setdefault(name, steps[0].clone())
            if not bool((steps == first[name]).all()):
                changes.add(name)

        if seem:
            draw = torch.Generator().manual_seed(0)
            strong = (STRONG * torch.randn(x.shape, generator=draw)).to(x)
            part = self.net.backbone.get_submodule
            hooks = (
                part(s.name).register_forward_pre_hook(partial(look, s.name, s.geometry.inputs))
                for s in seem
            )
            watched(self.net, strong, hooks)
        for name in changes:
            self.synapses[name] = replace(self.synapses[name], static=False)

    def _looks(self, names: Iterable[str]) -> Iterator[RemovableHandle]:
        def look(name: str, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
            x = out if kind_of(module) == NEURON else inputs[0]
            self.flat.setdefault(name, x.detach().clone())

        modules = {name: module for module, name in self.names.items()}
        for name in names:
            yield modules[name].register_forward_hook(partial(look, name))

    def _on_input(self, x: Tensor) -> None:
        self.tensors.alive.append(x)
        self.tensors.origins[key_of(x)] = Origin(INPUT, self.net.spec.sample_shape)

    def _on_module(self, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        name: str = self.names[module]
        x: Any = inputs[0] if inputs else None
        kind, is_flattening = kind_of(module), isinstance(module, nn.Flatten)
        if kind in (NEURON, SYNAPSE):
            self.order.setdefault(name, module)
        if features_of(module) is not None:
            self.featured = module
        if not inputs and (is_flattening or kind in (NEURON, SYNAPSE, AVERAGE_POOL)):
            raise RecordingError(
                f"layer {name!r} is called with keyword arguments alone; call it with its input as "
                "the first argument"
            )
        with self.tracer.calls.paused():
            if kind == NEURON:
                out = spikes_in(out)
                self._on_neuron(name, module, out)
            elif kind == SYNAPSE:
                self._on_synapse(name, module, x, out)
            elif kind == AVERAGE_POOL:
                self.tensors.pooled(name, x, out)
            elif is_flattening:
                self.tensors.laid_flat(x, out)
        self.tensors.alive += [value for value in (x, out) if isinstance(value, Tensor)]
        self.tracer.left(module, x, out)

    def _problem(self, name: str, reason: str) -> None:
        self.problems.setdefault(name, Uncounted(name, reason))

    def _shape(self, name: str, x: Tensor, what: str) -> Shape | None:
        """One sample's shape of a step; a layer without one is listed, once however often it
        runs.
        """
        spec, found = self.net.spec, per_sample(x, self.net.spec, self.samples)
        if found is None:
            reason = f"its {what} of shape {tuple(x.shape)} has no time and sample axes"
            self._problem(name, f"{reason} to count along")
            return None
        is_flat = spec.calls[:1] == "N" and found[0] > 1 and tuple(x.shape[1:]) == found[1]
        first = has_batch_first(x, spec, self.samples)
        if first and not self._may_have_time(name, x):
            first, found = False, (1, tuple(x.shape[1:]))
        first = first or (is_flat and spec.calls[:2] == "NT")
        self.held.setdefault(name, found[0])
        self.batch_first.setdefault(name, first)
        if is_flat:
            self.flat.setdefault(name, x.detach().clone())
        return found[1]

    def _may_have_time(self, name: str, x: Tensor) -> bool:
        """Whether the second axis of what a layer meets can be time: not where that is channels."""
        module = self.net.backbone.get_submodule(name)
        if is_neuron(module):
            return getattr(module, "step_mode", "s") == "m"
        spatial = len(getattr(module, "kernel_size", ()))
        return (not spatial or x.dim() == spatial + 3) and self.often[name] < 2

    def _on_neuron(self, name: str, module: nn.Module, out: Tensor) -> None:
        if is_readout(module):
            reason = "its threshold is infinite: it is a read-out, and no rule counts its updates"
            self._problem(name, reason)
            return
        shape = self._shape(name, out, "output")
        if shape is None:
            return
        whole = emits_whole_spikes(module)
        by_type = whole or emits_binary_spikes(module)
        kind = kind_by_value(out)  # a hook of the user's may change what a type gives
        if kind != "spikes" and not (whole and kind == "integer spikes"):
            self.neurons.pop(name, None)
            self.calls.pop(name, None)
            what = f"its outputs are not spikes of 0 or 1 (a {type(module).__name__})"
            self._problem(name, what)
        if name in self.problems:
            return
        self.calls[name] += 1
        self.channel_axes.setdefault(name, channel_axis(shape, self.featured))
        if self.neurons.setdefault(name, shape) != shape:
            raise RecordingError(
                f"spiking layer {name!r} runs with shapes {self.neurons[name]} and {shape} in one "
                "pass; give each use a layer of its own"
            )
        if by_type:
            self.tensors.origins[key_of(out)] = Origin(name, shape, whole)

    def _on_synapse(self, name: str, module: nn.Module, x: Tensor, out: Tensor) -> None:
        shape = self._shape(name, x, "input")
        if shape is None:
            return
        self.calls[name] += 1
        own = fan_out(module, shape)
        dense = int(own.sum())
        self.tracer.products[key_of(out)] = name
        origin = self.tensors.origin(x)
        kind, source, reached, pool, static = kind_by_value(x), MEASURED, own, "", False
        average, divisor, gain = self.tensors.averages.get(key_of(x)), None, 1.0
        if origin is None:
            if kind == "analog" and self.static:
                static = self._same_at_every_step(name, x, shape)
        elif origin.source == INPUT:
            kind, source, static = "analog", INPUT, self.static
        elif (folded := self._folded(origin, own)) is not None:
            kind = "integer spikes" if origin.whole else "spikes"
            kind = "pooled spikes" if origin.pool else kind
            source, reached, pool = origin.source, folded, origin.pool
        if source == MEASURED and average is not None and average.changes:
            # Also where what arrives is silent, or happens to be whole.
            rows = x.reshape(-1, *shape)
            if not static and sums_of(rows, average.divisor) is not None:
                kind, (divisor, pool, gain) = "pooled spikes", average
        if (wanted := self.declared.get(name, kind)) != kind:
            kind, source, reached, pool, divisor, gain = wanted, MEASURED, own, "", None, 1.0
            static = static and kind == "analog"  # spikes are replayed at every step
        geometry = self._geometry(module, shape, out, dense)
        nonzero = nonzero_fan_out(module, shape)
        synapse = Synapse(
            *(name, kind, source, reached, dense, static, geometry, own, nonzero, pool),
            divisor=divisor,
            gain=gain,
        )
        earlier = self.synapses.setdefault(name, synapse)
        alike = (earlier.source, earlier.dense_operations) == (source, dense)
        if not alike or (kind != earlier.kind and source != MEASURED):
            raise RecordingError(
                f"layer {name!r} is used with different inputs in one pass; give each use a layer "
                "of its own"
            )
        if kind != earlier.kind:
            # The same untraced input at a later time step: the wider of the two kinds holds for all
            # of them.
            pair = [one if one in KINDS else "analog" for one in (earlier.kind, kind)]
            widest = max(pair, key=KINDS.index)
            self.synapses[name] = replace(synapse, kind=widest, pool="", divisor=None, gain=1.0)
        elif earlier.static and not static:
            self.synapses[name] = synapse

    def _geometry(self, module: Any, shape: Shape, out: Tensor, dense: int) -> Geometry:
        """Shapes of a layer with weights that takes `shape` per sample and step; `dense` is its
        MACs without padding.
        """
        outputs, weights = tuple(out.shape[-len(shape) :]), tuple(module.weight.shape)
        settings = vars(module)  # a linear layer has none of these
        kernel, transposed = settings.get("kernel_size", ()), settings.get("transposed", False)
        if kernel:
            positions = math.prod((shape if transposed else outputs)[-len(kernel) :])
            dense = positions * math.prod(weights)
        return Geometry(
            type(module).__name__,
            shape,
            outputs,
            weights,
            kernel,
            settings.get("stride", ()),
            settings.get("groups", 1),
            transposed,
            module.bias is not None,
            dense,
        )

    def _same_at_every_step(self, name: str, x: Tensor, shape: Shape) -> bool:
        """Whether an untraced layer is still behind the static image alone: nothing spikes before
        it and its input does not change.
        """
        steps = self._in_steps(name, x, shape)
        if name not in self.before_spikes and not self.neurons and not self.problems:
            self.before_spikes[name] = steps[0]
        return name in self.before_spikes and bool((steps == self.before_spikes[name]).all())

    def _in_steps(self, name: str, x: Tensor, shape: Shape) -> Tensor:
        """What a layer meets in a call as [S, N, *shape]."""
        if self.batch_first[name]:
            x = x.reshape(self.samples, -1, *shape).transpose(0, 1)
        return x.reshape(-1, self.samples, *shape)

    def _folded(self, origin: Origin, own_fan_out: Tensor) -> Tensor | None:
        """The fan-out of the spikes that a layer receives, through a pooling or none."""
        if origin.pool:
            pool = self.net.backbone.get_submodule(origin.pool)
            return through_average(pool, origin.shape, own_fan_out)
        fits = own_fan_out.numel() == math.prod(origin.shape)
        return own_fan_out.reshape(origin.shape) if fits else None

    def _without_rule(self) -> Iterator[Uncounted]:
        counted = {*self.synapses, *self.neurons, *self.problems}
        for module, name in self.names.items():
            kind, type_name = kind_of(module), type(module).__name__
            if is_found_neuron(module) and any(w.dim() > 1 for w in module.parameters(False)):
                yield Uncounted(name, "no rule counts the products with its own weights")
            ruled = name in counted or kind == NORMALISATION
            if not ruled and list(module.parameters(recurse=False)):
                reason = "it did not run" if kind else f"no rule counts a {type_name}"
                yield Uncounted(name or type_name, reason)
