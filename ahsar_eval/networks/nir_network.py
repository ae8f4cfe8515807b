"""NIR files as networks: nodes as SpikingJelly modules, and the graph that runs them step by step
or all steps in one call (docs/checkpoints.md).

Shapes are those of one sample in one time step, as NIR counts them: no batch axis. What does not
fit raises `ModelError`.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.network import ModelSpec, NirSettings, Shape, check_fields
from ahsar_eval.networks.neurons import (
    Constant,
    IntegrateAndFire,
    Integration,
    Integrator,
    Previous,
)
from ahsar_eval.networks.nir_file import NODES, Graph, Node, only, read_graph

_MOST_VALUES = 2**28
RESETS = ("subtract", "zero", "late")


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


class NirNetwork(nn.Module):
    """The modules of a NIR graph, named as its nodes, in the order in which they feed one another;
    edges that meet in a node are added.

    Its output is what reaches the Output node at each step: spikes of the last layer where that one
    spikes. Where edges close a cycle, what leaves its neurons towards them arrives in the next
    step. Raises `ModelError` for a graph that is no network from one Input to one Output, or whose
    shapes do not fit.
    """

    def __init__(self, graph: Graph, input_shape: Shape, settings: NirSettings) -> None:
        super().__init__()
        nodes, _ = graph
        given: dict[str, Shape] = {}
        self._names: dict[str, str] = {}  # node → its module; one without hands on what it is given
        sources, closing = _sources(graph)
        for name, starts in sources.items():
            node = nodes[name]
            shapes = [given[start] for start in starts] or [input_shape]
            _check_sum(name, shapes)
            shape, stored = shapes[0], _ends_shape(node)
            if node["type"] == "Input" and stored is not None and len(stored) == 1:
                shape = (math.prod(shape),)  # the network takes its input flat
                self._add(name, layer.Flatten(1))
            elif node["type"] not in ("Input", "Output", "Pass"):
                module, shape = module_of(name, node, shape, settings)
                self._add(name, module)
            given[name] = shape
        if stored is not None and math.prod(stored) != math.prod(shape):
            raise ModelError(f"the output is said to have shape {stored}, and {shape} reaches it")
        if len(shape) != 1:
            raise ModelError(f"the output has shape {shape}; expected one number per class")
        self.classes = shape[0]
        taken = {name: given[starts[0]] for name, starts in sources.items() if starts}
        for start, end in closing:
            _check_sum(end, [taken[end], given[start]])
        # Nodes in the order in which they run, the output at the end, with what they are given in
        # the same step and in the one before.
        self._now, self._before = _delayed(nodes, sources, closing)
        self._last_use = {start: end for end, starts in self._now.items() for start in starts}
        self.previous = nn.ModuleDict()
        for start in {start for starts in self._before.values() for start in starts}:
            self.previous[self._names[start]] = Previous(given[start])

    def _add(self, node: str, module: nn.Module) -> None:
        name = re.sub(r"[^0-9A-Za-z_-]", "_", node) or "_"
        while hasattr(self, name):
            name += "_"
        self.add_module(name, module)
        self._names[node] = name

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K] in single-step mode, [T, N, C, H, W] → [T, N, K] in multi-step
        mode.
        """
        values: dict[str, Tensor] = {}
        for node, starts in self._now.items():
            held = [self._previous(name).given(x) for name in self._before[node]]
            given = [values[start] for start in starts] + held
            total = functools.reduce(torch.add, given or [x])
            module = self._names.get(node)
            values[node] = total if module is None else self.get_submodule(module)(total)
            for start in starts:
                if self._last_use[start] == node:
                    self._keep(start, values.pop(start))
        for node, value in values.items():
            self._keep(node, value)
        return total

    def _previous(self, node: str) -> Previous:
        previous: Any = self.previous[self._names[node]]
        return previous

    def _keep(self, node: str, value: Tensor) -> None:
        if self._names.get(node, "") in self.previous:
            self._previous(node).spikes = value


def read_nir(path: Path, settings: NirSettings) -> tuple[ModelSpec, NirNetwork, dict[str, Any]]:
    """Specification and network of a NIR file, and what is said of its origin."""
    graph = read_graph(path)
    settings = _decided(graph, settings)
    input_shape = _input_shape(graph, settings.input_shape)
    network = NirNetwork(graph, input_shape, settings)
    if settings.timesteps is None:
        raise ModelError(
            "a NIR file does not say how many time steps its network runs; give --timesteps T"
        )
    if settings.framing is None and input_shape[0] == 2:
        raise ModelError(
            "a NIR file does not say how events become frames; give --frames, such as --frames "
            "1ms@0"
        )
    spikes = "several spikes" if settings.spikes_per_step == "many" else "one spike"
    rare = ", exact" if settings.integration == "exact" else ""
    rare += "" if settings.v_min is None else f", v_min {settings.v_min:g}"
    spec = ModelSpec(
        # What a recording and its key say of a network whose structure is in its file.
        f"nir (reset {settings.reset}, {spikes} per neuron and step, dt {settings.dt:g}{rare})",
        input_shape,
        network.classes,
        # Step by step: all steps of a long recording at once would fill the memory with what
        # every layer emits.
        step_mode="s",
        timesteps=settings.timesteps,
        framing=settings.framing or "count",
    )
    facts = {
        "format": "NIR",
        **{name: getattr(settings, name) for name in ("reset", "spikes_per_step", "dt")},
        **({"integration": "exact"} if settings.integration == "exact" else {}),
        **({} if settings.v_min is None else {"v_min": settings.v_min}),
        "logits": "what reaches the Output node at each step; the class is the argmax of its sum",
    }
    return spec, network, facts


def _decided(graph: Graph, settings: NirSettings) -> NirSettings:
    """The settings with the reset that holds: 'subtract', 'zero', or 'potential' (the file's)."""
    check_fields(
        settings,
        ("reset", settings.reset in (None, *RESETS), " or ".join(RESETS)),
        ("spikes_per_step", settings.spikes_per_step in ("one", "many"), "one or many"),
        ("dt", 0 < settings.dt < math.inf, "a positive number"),
        ("integration", settings.integration in ("euler", "exact"), "euler or exact"),
        ("v_min", settings.v_min is None or math.isfinite(settings.v_min), "a finite number"),
    )
    # Equations of NIR before it had v_reset subtract; nir 1.0.5 and later writes zeros unless told
    # otherwise, so zeros decide little.
    stored = [node["v_reset"] for node in graph[0].values() if "v_reset" in node]
    said = "zero" if stored else "subtract"
    if any(map(np.any, stored)):
        said = "potential"
        if settings.reset is not None:
            raise ModelError(
                "the file has reset potentials of its own, and --reset was given; leave it out"
            )
    reset = settings.reset or said
    if settings.spikes_per_step == "many" and reset not in ("subtract", "late"):
        other = "" if said == "potential" else ", or --reset subtract"
        raise ModelError(
            "several spikes per step need a reset that subtracts the threshold, and this one "
            f"returns to a potential; use --spikes-per-step one{other}"
        )
    return replace(settings, reset=reset)


def _input_shape(graph: Graph, asked: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) from the Input node, from the nodes behind it, or as asked."""
    nodes, edges = graph
    first = only(nodes, "Input")
    found = _ends_shape(nodes[first])
    for start, end in edges:
        if found is None and start == first:
            found = _taken_by(nodes[end])
    taken: Any = asked or found
    if taken is None or len(taken) != 3:
        what = "no input shape" if found is None else f"inputs of shape {found}"
        raise ModelError(
            f"the file has {what}; say what images or frames it takes with --input-shape C,H,W"
        )
    if found not in (None, taken, (math.prod(taken),)):
        raise ModelError(
            f"the file takes inputs of shape {found}, and --input-shape is {asked}; leave it out"
        )
    shape: tuple[int, int, int] = taken
    return shape


def _taken_by(node: Node) -> Shape | None:
    """The input shape that a convolution or a layer of neurons says of itself."""
    if "input_shape" in node:
        channels = _weight_shape(node, 4)[1] * _whole(node, "groups", 1)[0]
        return channels, *_whole(node, "input_shape", 2)
    shape = np.shape(node.get("r", 0.0))
    return shape if len(shape) == 3 else None


def _check_sum(name: str, shapes: Sequence[Shape]) -> None:
    if len(set(shapes)) > 1:
        raise ModelError(
            f"outputs of different shapes meet in node {name!r} ({', '.join(map(str, shapes))}); "
            "only equal ones can be added"
        )


Sources = dict[str, list[str]]  # node → the nodes whose outputs meet in it


def _sources(graph: Graph) -> tuple[Sources, list[tuple[str, str]]]:
    """Nodes in the order in which they feed one another from the Input, and the edges that close a
    cycle: they lead back to a node from which theirs is reached.
    """
    nodes, edges = graph
    first, last = only(nodes, "Input"), only(nodes, "Output")
    sources = {name: sorted(start for start, end in edges if end == name) for name in nodes}
    ends = {name: sorted(end for start, end in edges if start == name) for name in nodes}
    for name, starts in sources.items():
        if bool(starts) == (name == first) or bool(ends[name]) == (name == last):
            raise ModelError(
                f"node {name!r} is fed by {len(starts)} nodes and feeds {len(ends[name])}; the "
                "input alone is fed by none, and the output alone feeds none; mend the edges"
            )
        if len(set(starts)) < len(starts):
            raise ModelError(f"an edge to node {name!r} is there twice; write the file again")
    depth, waiting = {first: 0}, [first]
    for node in waiting:  # nodes nearer to the input first
        fresh = [end for end in ends[node] if end not in depth]
        depth |= dict.fromkeys(fresh, depth[node] + 1)
        waiting += fresh
    for name in nodes:
        if name not in depth:
            raise ModelError(f"node {name!r} is not reached from the input; mend the edges")
    closing: list[tuple[str, str]] = []
    while True:
        sorter = TopologicalSorter(dict.fromkeys(nodes, ()))
        for start, end in edges:
            if (start, end) not in closing:
                sorter.add(end, start)
        try:
            order = [*sorter.static_order()]
        except CycleError as error:
            # graphlib names the nodes of a cycle each before the next, the first again at the end
            cycle = error.args[1]
            closing.append(
                max(pairwise(cycle), key=lambda edge: (depth[edge[0]] - depth[edge[1]], edge))
            )
            continue
        told = {name: [s for s in sources[name] if (s, name) not in closing] for name in order}
        return told, closing


def _delayed(
    nodes: Mapping[str, Node], sources: Sources, closing: Sequence[tuple[str, str]]
) -> tuple[Sources, Sources]:
    """What nodes are given in the same step, in the order in which they run, and what of the step
    before: of the edges that close cycles, moved back to the neurons that they begin at.
    """
    edges = {(start, end) for end, starts in sources.items() for start in starts} | {*closing}
    late, moved = {*closing}, set[str]()
    while passing := sorted(start for start, _ in late if nodes[start]["type"] not in _NEURONS):
        node = passing[0]
        leads = {edge for edge in edges if edge[0] == node}
        if node in moved or not leads <= late:
            raise ModelError(
                f"node {node!r} closes a cycle, and it is in one without neurons or feeds forward, "
                "too; expected recurrent connections that begin at neurons and lead back alone"
            )
        moved.add(node)
        late = late - leads | {edge for edge in edges if edge[1] == node}
    now, before = (
        {name: sorted(start for start, end in some if end == name) for name in nodes}
        for some in (edges - late, late)
    )
    return {name: now[name] for name in TopologicalSorter(now).static_order()}, before


def module_of(
    name: str, node: Node, shape: Shape, settings: NirSettings
) -> tuple[nn.Module, Shape]:
    """The module of one node that receives `shape`, in single-step mode, and the shape it gives."""
    kind = node["type"]
    axes = NODES[kind].get("axes", len(shape))
    try:
        if len(shape) != axes:
            raise ModelError(f"expected {axes} axes")
        if kind in _NEURONS:
            return _neurons(node, shape, settings), shape
        if kind == "Scale":
            return Scale(torch.tensor(_over(node, "scale", shape), dtype=torch.float32)), shape
        # Without memory: a file may claim any size.
        with torch.device("meta"):
            module = _MAKERS[kind](node, shape)
            given = tuple(module(torch.empty(1, *shape)).shape[1:])
        if math.prod(given) > _MOST_VALUES:
            raise ModelError(f"it would hold {given} values a step; expected {_MOST_VALUES}")
        weights = {
            field: torch.from_numpy(np.array(node[field], np.float32))
            for field, _ in module.named_parameters()
        }
        module.load_state_dict(weights, assign=True)
    except (ModelError, RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"node {name!r} ({kind}) does not take {shape}: {reason}") from None
    return module, given


# SpikingJelly's layers have no types: what makes them gives Any.


def _conv2d(node: Node, shape: Shape) -> Any:
    outputs, inputs, *kernel = _weight_shape(node, 4)
    (groups,), padding = _whole(node, "groups", 1), node["padding"]
    if not isinstance(padding, str):
        padding = _whole(node, "padding", 2, least=0)
    if _sides(node, "input_shape") not in (None, shape[1:]):
        raise ModelError(f"the file says {_sides(node, 'input_shape')}")
    stride, dilation = _whole(node, "stride", 2), _whole(node, "dilation", 2)
    return layer.Conv2d(inputs * groups, outputs, tuple(kernel), stride, padding, dilation, groups)


def _pool(node: Node, shape: Shape) -> Any:
    pool = SumPool2d if node["type"] == "SumPool2d" else layer.AvgPool2d
    kernel, stride = _whole(node, "kernel_size", 2), _whole(node, "stride", 2)
    return pool(kernel, stride, _whole(node, "padding", 2, least=0))


def _flatten(node: Node, shape: Shape) -> Any:
    ends = {"start_dim": 1, "end_dim": -1} | node  # nir's defaults
    axes = [_whole(ends, name, 1, least=-len(shape))[0] for name in ("start_dim", "end_dim")]
    # One more axis, the samples.
    return layer.Flatten(*(n + 1 if n >= 0 else n + len(shape) + 1 for n in axes))


def _linear(node: Node, shape: Shape) -> Any:
    outputs, inputs = _weight_shape(node, 2)
    return layer.Linear(inputs, outputs, bias="bias" in node)


_MAKERS = {"Conv2d": _conv2d, "Flatten": _flatten, "Linear": _linear, "Affine": _linear}
_MAKERS |= {"SumPool2d": _pool, "AvgPool2d": _pool}


_NEURONS = ("I", "LI", "IF", "LIF", "CubaLI", "CubaLIF")


def _neurons(node: Node, shape: Shape, settings: NirSettings) -> nn.Module:
    resistance, synapse = _over(node, "r", shape), None
    if "tau_syn" in node:
        leaks = _leaks(node, "tau_syn", shape, settings)
        weight = _over({"w_in": 1.0} | node, "w_in", shape)
        synapse = Integration(_constant(leaks * weight), _constant(leaks))
    for name in {"tau", "tau_mem"} & node.keys():
        leaks = _leaks(node, name, shape, settings)
        leak = _constant(_over(node, "v_leak", shape))
        integration = Integration(_constant(leaks * resistance), _constant(leaks), leak)
        break
    else:
        integration = Integration(_constant(settings.dt * resistance))
    if "v_threshold" not in node:
        return Integrator(integration, synapse)
    threshold = _constant(_over(node, "v_threshold", shape, positive=True))
    reset: Constant | None = None if settings.reset in ("subtract", "late") else 0.0
    if settings.reset == "potential" and "v_reset" in node:
        reset = _constant(_over(node, "v_reset", shape))
    return IntegrateAndFire(
        integration,
        threshold,
        reset,
        several=settings.spikes_per_step == "many",
        late=settings.reset == "late",
        synapse=synapse,
        v_min=settings.v_min,
    )


def _leaks(node: Node, name: str, shape: Shape, settings: NirSettings) -> NDArray[np.float64]:
    """The share that leaks in a step, by a time constant of the node."""
    dt, tau = settings.dt, _over(node, name, shape, positive=True)
    if settings.integration == "exact":
        return -np.expm1(-dt / tau)
    if (dt > tau).any():
        raise ModelError(
            f"it has a time constant of {tau.min():g}, shorter than a step of {dt:g}; say how long "
            "a step is with --dt, or integrate exactly (--integration exact)"
        )
    return dt / tau


def _sides(node: Node, field: str) -> Shape | None:
    """A shape as a file holds it; None where it holds none."""
    return tuple(map(int, np.ravel(node[field]))) if field in node else None


def _ends_shape(node: Node) -> Shape | None:
    """What an Input or Output says of one sample; some exporters leave a batch of one in it."""
    shape = _sides(node, "shape")
    return shape[1:] if shape is not None and len(shape) in (2, 4) and shape[0] == 1 else shape


def _weight_shape(node: Node, axes: int) -> Shape:
    shape = np.shape(node["weight"])
    if len(shape) != axes or 0 in shape:
        raise ModelError(f"it has a weight of shape {shape}; expected {axes} axes, none empty")
    return shape


def _whole(node: Mapping[str, Any], field: str, count: int, least: int = 1) -> tuple[int, ...]:
    """`count` whole numbers of a field, none below `least`; one stands for all."""
    value = np.ravel(node[field])
    whole = value.dtype.kind in "iu" and value.size in (1, count)
    if not whole or value.min() < least or value.max() > 2**31:
        raise ModelError(
            f"it has a {field} of {value.tolist()}; expected {count} whole numbers from {least}"
        )
    return tuple(value.tolist()) * (count // value.size)


def _over(node: Node, field: str, shape: Shape, *, positive: bool = False) -> NDArray[np.float64]:
    """Values of a layer, float64 of its shape; fewer axes or sides of one are repeated."""
    array = np.asarray(node[field], dtype=np.float64)
    if positive and not (array > 0).all():
        raise ModelError(f"it has a {field} of {array.min():g}; expected positive numbers")
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ModelError(f"it has a {field} of shape {array.shape}") from None


def _constant(values: NDArray[np.float64]) -> Constant:
    """One number where all neurons agree, else a tensor."""
    first = float(values.flat[0])
    return first if bool((values == first).all()) else torch.tensor(values, dtype=torch.float32)
