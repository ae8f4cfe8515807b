"""NIR files as networks: a graph of SpikingJelly modules that runs step by step or all steps in one
call (docs/checkpoints.md).
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import CheckpointError, ModelError
from ahsar_eval.networks.network import ModelSpec, Shape, SpikingNet
from ahsar_eval.networks.nir_file import NirGraph, NirNode, read_nir
from ahsar_eval.networks.nir_nodes import Dynamics, module_of, sides_of, whole

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
        sources = _sources(graph)
        given: dict[str, Shape] = {}
        self._sources = sources  # in the order in which nodes run
        self._names: dict[str, str] = {}  # node → its module; one without hands on what it is given
        self._last_use = {source: node for node in sources for source in sources[node]}
        for name in sources:
            node = graph.nodes[name]
            shape: Shape = tuple(plan.input_shape)
            if sources[name]:
                shape = _meeting(name, sources[name], given)
            stored = sides_of(node["shape"]) if node.kind == "Input" else None
            if stored is not None and len(stored) == 1:  # the network takes its input flat
                self._names[name] = self._add(name, nn.Flatten(1 if step_mode == "s" else 2))
                shape = (math.prod(shape),)
            if node.kind not in _PASSING:
                module, shape = module_of(name, node, shape, plan.dynamics)
                self._names[name] = self._add(name, module)
            given[name] = shape
        self.output = _only(graph, "Output")
        self.output_shape = given[self.output]
        stored = sides_of(graph.nodes[self.output]["shape"])
        if stored is not None and math.prod(stored) != math.prod(self.output_shape):
            raise ModelError(
                f"the output is said to have shape {stored}, and {self.output_shape} reaches it"
            )
        if len(self.output_shape) != 1:
            raise ModelError(
                f"the output has shape {self.output_shape}; expected one number per class"
            )
        functional.set_step_mode(self, step_mode)

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
        for node, sources in self._sources.items():
            total = functools.reduce(torch.add, [values[source] for source in sources] or [x])
            module = self._names.get(node)
            values[node] = total if module is None else self.get_submodule(module)(total)
            for source in sources:
                if self._last_use[source] == node:
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
        # Step by step: all steps of a long recording at once would fill the memory with what every
        # layer emits.
        spec = ModelSpec(
            _told(plan.dynamics),
            plan.input_shape,
            classes,
            step_mode="s",
            timesteps=settings.timesteps,
            framing=settings.framing or "count",
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
        other = "" if said == "potential" else ", or --reset subtract"
        raise ModelError(
            "several spikes per step need a reset that subtracts the threshold, and this one "
            f"returns to a potential; use --spikes-per-step one{other}"
        )
    return Dynamics(settings.dt, reset, several)


def _input_shape(graph: NirGraph, asked: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) from the Input node, from the node behind it, or as asked."""
    inputs = _only(graph, "Input")
    found = sides_of(graph.nodes[inputs]["shape"])
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
    if found is not None and found not in (asked, (math.prod(asked),)):
        raise ModelError(
            f"the file takes inputs of shape {found}, and --input-shape is {asked}; leave it out"
        )
    return asked


def _taken_by(node: NirNode) -> Shape | None:
    if node.kind == "Conv2d" and node["input_shape"] is not None and np.ndim(node["weight"]) == 4:
        channels = np.shape(node["weight"])[1] * whole(node, "groups", 1, least=1)[0]
        return channels, *whole(node, "input_shape", 2, least=1)
    shape = np.shape(node.values.get("r", 0.0))
    return shape if len(shape) == 3 else None


def _only(graph: NirGraph, kind: str) -> str:
    found = [name for name, node in graph.nodes.items() if node.kind == kind]
    if len(found) != 1:
        raise ModelError(f"the graph has {len(found)} {kind} nodes; expected one")
    return found[0]


def _sources(graph: NirGraph) -> dict[str, list[str]]:
    """Node → the nodes whose outputs meet in it, each node behind all that feed it."""
    first, last = _only(graph, "Input"), _only(graph, "Output")
    for (start, end), times in Counter(graph.edges).items():
        if times > 1:
            raise ModelError(f"the edge {start!r} to {end!r} is there twice; write the file again")
    sources = {
        name: sorted(start for start, end in graph.edges if end == name) for name in graph.nodes
    }
    ends = {start for start, _ in graph.edges}
    for name in graph.nodes:
        fault = ""
        if (not sources[name]) != (name == first):
            fault = "is fed by others and is the input" if name == first else "is fed by none"
        elif (name not in ends) != (name == last):
            fault = "is the output and feeds others" if name == last else "leads nowhere"
        if fault:
            raise ModelError(f"node {name!r} {fault}; mend the edges")
    sorter = TopologicalSorter(dict.fromkeys(graph.nodes, ()))
    for start, end in graph.edges:
        sorter.add(end, start)
    try:
        return {name: sources[name] for name in sorter.static_order()}
    except CycleError as error:
        raise ModelError(
            f"the graph has a cycle that holds up node {error.args[1][0]!r}; recurrent connections "
            "are not mapped"
        ) from None


def _meeting(name: str, sources: list[str], given: Mapping[str, Shape]) -> Shape:
    shapes = [given[source] for source in sources]
    if any(shape != shapes[0] for shape in shapes):
        met = ", ".join(map(str, shapes))
        raise ModelError(
            f"outputs of different shapes meet in node {name!r} ({met}); only equal ones can be "
            "added"
        )
    return shapes[0]
