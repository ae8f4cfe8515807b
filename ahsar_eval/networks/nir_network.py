"""NIR files as networks: nodes as SpikingJelly modules, and the graph that runs them step by step
or all steps in one call (docs/checkpoints.md).

Shapes are those of one sample in one time step, as NIR counts them: no batch axis. What does not
fit raises `ModelError`.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.network import ModelSpec, NirSettings, Shape, check_fields
from ahsar_eval.networks.neurons import Constant, IntegrateAndFire, Integration, Integrator
from ahsar_eval.networks.nir_file import NODES, Graph, Node, only, read_graph

_MOST_VALUES = 2**28


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
    """The modules of a NIR graph, named as its nodes, in the order they run; edges that meet in a
    node are added.

    Its output is what reaches the Output node at each step: spikes of the last layer where that one
    spikes. Raises `ModelError` for a graph that is no feed-forward network from one Input to one
    Output, or whose shapes do not fit.
    """

    def __init__(self, graph: Graph, input_shape: Shape, settings: NirSettings) -> None:
        super().__init__()
        nodes, _ = graph
        given: dict[str, Shape] = {}
        self._sources = _sources(graph)  # in the order in which nodes run, the output at the end
        self._names: dict[str, str] = {}  # node → its module; one without hands on what it is given
        self._last_use = {start: end for end, starts in self._sources.items() for start in starts}
        for name, starts in self._sources.items():
            node = nodes[name]
            shapes = [given[start] for start in starts] or [input_shape]
            if len(set(shapes)) > 1:
                raise ModelError(
                    f"outputs of different shapes meet in node {name!r} "
                    f"({', '.join(map(str, shapes))}); only equal ones can be added"
                )
            shape, stored = shapes[0], _sides(node, "shape")
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
        for node, sources in self._sources.items():
            total = functools.reduce(torch.add, [values[source] for source in sources] or [x])
            module = self._names.get(node)
            values[node] = total if module is None else self.get_submodule(module)(total)
            for source in sources:
                if self._last_use[source] == node:
                    del values[source]
        return total


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
    spec = ModelSpec(
        # What a recording and its key say of a network whose structure is in its file.
        f"nir (reset {settings.reset}, {spikes} per neuron and step, dt {settings.dt:g})",
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
        "logits": "what reaches the Output node at each step; the class is the argmax of its sum",
    }
    return spec, network, facts


def _decided(graph: Graph, settings: NirSettings) -> NirSettings:
    """The settings with the reset that holds: 'subtract', 'zero', or 'potential' (the file's)."""
    check_fields(
        settings,
        ("reset", settings.reset in (None, "subtract", "zero"), "subtract or zero"),
        ("spikes_per_step", settings.spikes_per_step in ("one", "many"), "one or many"),
        ("dt", 0 < settings.dt < math.inf, "a positive number"),
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
    if settings.spikes_per_step == "many" and reset != "subtract":
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
    found = _sides(nodes[first], "shape")
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


def _sources(graph: Graph) -> dict[str, list[str]]:
    """Node → the nodes whose outputs meet in it, each node behind all that feed it."""
    nodes, edges = graph
    first, last = only(nodes, "Input"), only(nodes, "Output")
    sources = {name: sorted(start for start, end in edges if end == name) for name in nodes}
    feeds = Counter(start for start, _ in edges)
    for name, starts in sources.items():
        if bool(starts) == (name == first) or bool(feeds[name]) == (name == last):
            raise ModelError(
                f"node {name!r} is fed by {len(starts)} nodes and feeds {feeds[name]}; the input "
                "alone is fed by none, and the output alone feeds none; mend the edges"
            )
        if len(set(starts)) < len(starts):
            raise ModelError(f"an edge to node {name!r} is there twice; write the file again")
    sorter = TopologicalSorter(dict.fromkeys(nodes, ()))
    for start, end in edges:
        sorter.add(end, start)
    try:
        return {name: sources[name] for name in sorter.static_order()}
    except CycleError as error:
        raise ModelError(
            f"the graph has a cycle that holds up node {error.args[1][0]!r}; recurrent connections "
            "are not mapped"
        ) from None


def module_of(
    name: str, node: Node, shape: Shape, settings: NirSettings
) -> tuple[nn.Module, Shape]:
    """The module of one node that receives `shape`, in single-step mode, and the shape it gives."""
    kind = node["type"]
    axes = NODES[kind].get("axes", len(shape))
    try:
        if len(shape) != axes:
            raise ModelError(f"expected {axes} axes")
        if kind in ("I", "LI", "IF", "LIF"):
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


def _neurons(node: Node, shape: Shape, settings: NirSettings) -> nn.Module:
    dt, resistance = settings.dt, _over(node, "r", shape)
    if "tau" in node:
        tau = _over(node, "tau", shape, positive=True)
        if (dt > tau).any():
            raise ModelError(
                f"it has a time constant of {tau.min():g}, shorter than a step of {dt:g}; say how "
                "long a step is with --dt"
            )
        integration = Integration(
            _constant(dt / tau * resistance),
            _constant(dt / tau),
            _constant(_over(node, "v_leak", shape)),
        )
    else:
        integration = Integration(_constant(dt * resistance))
    if "v_threshold" not in node:
        return Integrator(integration)
    threshold = _constant(_over(node, "v_threshold", shape, positive=True))
    reset: Constant | None = None if settings.reset == "subtract" else 0.0
    if settings.reset == "potential" and "v_reset" in node:
        reset = _constant(_over(node, "v_reset", shape))
    several = settings.spikes_per_step == "many"
    return IntegrateAndFire(integration, threshold, reset, several=several)


def _sides(node: Node, field: str) -> Shape | None:
    """A shape as a file holds it; None where it holds none."""
    return tuple(map(int, np.ravel(node[field]))) if field in node else None


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
