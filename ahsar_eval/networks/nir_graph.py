"""NIR files as networks: a graph of SpikingJelly modules that runs step by step or all steps in one
call (docs/checkpoints.md).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from ahsar_eval.errors import CheckpointError, ModelError
from ahsar_eval.networks.nir_file import NirGraph, NirNode, read_nir
from ahsar_eval.networks.nir_nodes import Dynamics, Shape, module_of, whole
from ahsar_eval.networks.spec import ModelSpec
from ahsar_eval.networks.stepping import SpikingNet

RESETS = ("subtract", "zero")
SPIKES_PER_STEP = ("one", "many")
_PASSING = ("Input", "Output", "Pass")


@dataclass(frozen=True)
class NirSettings:
    """What a NIR file does not say and its user must: T, how events become frames, and how the
    equations run in steps.

    `input_shape` (C, H, W) is needed only where the file has none, or a flat one. `reset` is
    'subtract' or 'zero' for a file that does not decide it. `spikes_per_step` 'many' lets a neuron
    fire as often in one step as its potential holds thresholds. `dt` is the length of a step in the
    unit of the file's time constants.
    """

    timesteps: int | None = None
    framing: str | None = None
    input_shape: tuple[int, int, int] | None = None
    reset: str | None = None
    spikes_per_step: str = "one"
    dt: float = 1.0


@dataclass(frozen=True)
class NirPlan:
    """Everything a network of a NIR file is built from."""

    graph: NirGraph
    input_shape: tuple[int, int, int]
    dynamics: Dynamics


@dataclass(frozen=True)
class _Call:
    """One node as it runs: the sum of `sources` goes through `module` ('' hands it on) to `node`;
    `done` are not needed afterwards.
    """

    node: str
    module: str
    sources: tuple[str, ...]
    done: tuple[str, ...]


class NirNetwork(nn.Module):
    """The modules of a NIR graph, named as its nodes, in the order they run; edges that meet in a
    node are added.

    Its output is what reaches the Output node at each step: spikes of the last layer where that one
    spikes. Raises `ModelError` for a graph that is no feed-forward network from one Input to one
    Output, or whose shapes do not fit.
    """

    def __init__(self, plan: NirPlan, step_mode: str) -> None:
        super().__init__()
        graph = plan.graph
        sources, order = _sources(graph), _order(graph)
        given: dict[str, Shape] = {}
        taken: dict[str, str] = {}
        last_use = {source: node for node in order for source in sources[node]}
        self._calls: list[_Call] = []
        for name in order:
            node = graph.nodes[name]
            shape = (
                _meeting(name, sources[name], given) if sources[name] else tuple(plan.input_shape)
            )
            if node.kind == "Input" and node["shape"] is not None:
                flat = len(np.ravel(node["shape"])) == 1
                if flat:
                    taken[name] = self._add(name, nn.Flatten(1 if step_mode == "s" else 2))
                    shape = (math.prod(shape),)
            if node.kind in _PASSING:
                given[name] = shape
            else:
                module, given[name] = module_of(name, node, shape, plan.dynamics, step_mode)
                taken[name] = self._add(name, module)
            done = tuple(source for source in sources[name] if last_use[source] == name)
            self._calls.append(_Call(name, taken.get(name, ""), tuple(sources[name]), done))
        self.output = next(name for name in order if graph.nodes[name].kind == "Output")
        self.output_shape = given[self.output]
        said = graph.nodes[self.output]["shape"]
        if said is not None and math.prod(map(int, np.ravel(said))) != math.prod(self.output_shape):
            raise ModelError(
                f"the output is said to have shape {tuple(map(int, np.ravel(said)))}, and "
                f"{self.output_shape} reaches it"
            )
        if len(self.output_shape) != 1:
            raise ModelError(
                f"the output has shape {self.output_shape}; expected one number per class"
            )

    def _add(self, node: str, module: nn.Module) -> str:
        name = re.sub(r"[^0-9A-Za-z_-]", "_", node) or "_"
        while hasattr(self, name):
            name += "_"
        self.add_module(name, module)
        return name

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, K] in single-step mode, [T, N, C, H, W] → [T, N, K] in multi-step
        mode.
        """
        values: dict[str, Tensor] = {}
        for call in self._calls:
            received = [values[source] for source in call.sources] or [x]
            total = received[0]
            for other in received[1:]:
                total = total + other
            values[call.node] = self._modules[call.module](total) if call.module else total  # type: ignore[misc]
            for source in call.done:
                del values[source]
        return values[self.output]


def read_plan(path: Path, settings: NirSettings) -> tuple[ModelSpec, NirPlan]:
    """Specification and plan of the network of a NIR file. Raises `CheckpointError` in one sentence
    for whatever does not fit.
    """
    graph = read_nir(path)
    try:
        plan = NirPlan(graph, _input_shape(graph, settings.input_shape), _dynamics(graph, settings))
        classes = NirNetwork(plan, "s").output_shape[0]
        if settings.timesteps is None:
            raise ModelError(
                "a NIR file does not say how many time steps its network runs; give --timesteps T"
            )
        if settings.framing is None and plan.input_shape[0] == 2:
            raise ModelError(
                "a NIR file does not say how events become frames; give --frames, such as --frames "
                "1ms@0"
            )
        framing = settings.framing or "count"
        # Step by step: all steps of a long recording at once would fill the memory with what every
        # layer emits.
        spec = ModelSpec(
            _told(plan.dynamics),
            plan.input_shape,
            classes,
            step_mode="s",
            timesteps=settings.timesteps,
            framing=framing,
        )
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return spec, plan


def build_nir(spec: ModelSpec, plan: NirPlan) -> SpikingNet:
    """The network of a plan with the file's weights, in the step mode of `spec`. Raises
    `ModelError`.
    """
    return SpikingNet(NirNetwork(plan, spec.step_mode), spec)


def _told(dynamics: Dynamics) -> str:
    """What a specification, and so a recording and its key, says of a network whose structure is in
    its file.
    """
    spikes = "several spikes" if dynamics.several else "one spike"
    return f"nir (reset {dynamics.reset}, {spikes} per neuron and step, dt {dynamics.dt:g})"


def _dynamics(graph: NirGraph, settings: NirSettings) -> Dynamics:
    if settings.reset not in (None, *RESETS):
        raise ModelError(f"the reset is {settings.reset!r}; expected one of {', '.join(RESETS)}")
    if settings.spikes_per_step not in SPIKES_PER_STEP:
        raise ModelError(
            f"spikes per step is {settings.spikes_per_step!r}; expected one of "
            f"{', '.join(SPIKES_PER_STEP)}"
        )
    if not (math.isfinite(settings.dt) and settings.dt > 0):
        raise ModelError(f"dt is {settings.dt}; expected a positive number")
    # Equations of NIR before it had v_reset subtract; nir 1.0.5 and later writes zeros unless told
    # otherwise, so zeros decide little.
    said = {"unsaid": "subtract", "zero": "zero", "potential": "potential"}[graph.reset]
    if settings.reset is not None and said == "potential":
        raise ModelError(
            "the file has reset potentials of its own, and --reset was given; leave it out"
        )
    reset, several = settings.reset or said, settings.spikes_per_step == "many"
    if several and reset != "subtract":
        raise ModelError(
            "several spikes per step need a reset that subtracts the threshold, and this one "
            "returns to a potential; "
            + (
                "use --spikes-per-step one"
                if said == "potential"
                else "use --spikes-per-step one, or --reset subtract"
            )
        )
    return Dynamics(settings.dt, reset, several)


def _input_shape(graph: NirGraph, asked: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) from the Input node, from the node behind it, or as asked."""
    inputs = _only(graph, "Input")
    found = (
        None
        if graph.nodes[inputs]["shape"] is None
        else tuple(int(side) for side in np.ravel(graph.nodes[inputs]["shape"]))
    )
    for start, end in graph.edges:
        if found is None and start == inputs:
            found = _taken_by(graph.nodes[end])
    if found is not None and len(found) == 3 and asked in (None, found):
        return found[0], found[1], found[2]
    if asked is None:
        what = "no input shape" if found is None else f"inputs of shape {found}"
        raise ModelError(
            f"the file has {what}; say what images or frames it takes with --input-shape C,H,W"
        )
    if (
        found is not None
        and asked != found
        and not (len(found) == 1 and math.prod(asked) == found[0])
    ):
        raise ModelError(
            f"the file takes inputs of shape {found}, and --input-shape is {asked}; leave it out"
        )
    return asked


def _taken_by(node: NirNode) -> Shape | None:
    if node.kind == "Conv2d" and node["input_shape"] is not None and np.ndim(node["weight"]) == 4:
        return np.shape(node["weight"])[1] * whole(node, "groups", 1, least=1)[0], *whole(
            node, "input_shape", 2, least=1
        )
    shape = np.shape(node.values.get("r", 0.0))
    return shape if len(shape) == 3 else None


def _only(graph: NirGraph, kind: str) -> str:
    found = [name for name, node in graph.nodes.items() if node.kind == kind]
    if len(found) != 1:
        raise ModelError(f"the graph has {len(found)} {kind} nodes; expected one")
    return found[0]


def _sources(graph: NirGraph) -> Mapping[str, list[str]]:
    """Node → the nodes whose outputs meet in it."""
    first, last = _only(graph, "Input"), _only(graph, "Output")
    if len(set(graph.edges)) < len(graph.edges):
        twice = next(edge for edge in graph.edges if graph.edges.count(edge) > 1)
        raise ModelError(
            f"the edge {twice[0]!r} to {twice[1]!r} is there twice; write the file again"
        )
    sources = {
        name: sorted(start for start, end in graph.edges if end == name) for name in graph.nodes
    }
    ends = {start for start, _ in graph.edges}
    for name in graph.nodes:
        if (not sources[name]) != (name == first):
            raise ModelError(
                f"node {name!r} is "
                f"{'fed by others and is the input' if name == first else 'fed by none'}; mend the "
                "edges"
            )
        if (name not in ends) != (name == last):
            raise ModelError(
                f"node {name!r} "
                f"{'is the output and feeds others' if name == last else 'leads nowhere'}; mend "
                "the edges"
            )
    return sources


def _order(graph: NirGraph) -> list[str]:
    """Nodes such that each comes after all that feed it."""
    waiting = {name: sum(end == name for _, end in graph.edges) for name in graph.nodes}
    ready = [name for name, count in waiting.items() if count == 0]
    order: list[str] = []
    while ready:
        name = ready.pop(0)
        order.append(name)
        for start, end in graph.edges:
            if start == name:
                waiting[end] -= 1
                if waiting[end] == 0:
                    ready.append(end)
    if len(order) < len(waiting):
        held = next(name for name in waiting if name not in order)
        raise ModelError(
            f"the graph has a cycle that holds up node {held!r}; recurrent connections are not "
            "mapped"
        )
    return order


def _meeting(name: str, sources: list[str], given: Mapping[str, Shape]) -> Shape:
    shapes = [given[source] for source in sources]
    if any(shape != shapes[0] for shape in shapes):
        met = ", ".join(map(str, shapes))
        raise ModelError(
            f"outputs of different shapes meet in node {name!r} ({met}); only equal ones can be "
            "added"
        )
    return shapes[0]
