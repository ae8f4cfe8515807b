"""The neuron of both backbones, and how a spiking neuron of SpikingJelly is recognised."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from spikingjelly.activation_based import neuron, surrogate
from spikingjelly.activation_based.neuron.base_node import BaseNode, SimpleBaseNode
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.networks.integrate import IntegrateAndFire
from ahsar_eval.networks.spec import ModelSpec


def lif(spec: ModelSpec) -> nn.Module:
    """One LIF layer with the constants of `spec` (docs/method.md, section 8)."""
    return neuron.LIFNode(
        tau=spec.tau,
        decay_input=spec.decay_input,
        v_threshold=spec.v_threshold,
        v_reset=spec.v_reset,
        detach_reset=spec.detach_reset,
        surrogate_function=surrogate.Sigmoid(spec.surrogate_alpha),
        step_mode=spec.step_mode,
    )


def is_neuron(module: nn.Module) -> bool:
    """Whether `module` is a SpikingJelly neuron layer that fires at a threshold."""
    return isinstance(module, (BaseNode, SimpleBaseNode))


def emits_binary_spikes(module: nn.Module) -> bool:
    """Whether a neuron layer's outputs are 0 or 1 by its type: IF, LIF and parametric LIF in
    spiking mode, and those of NIR graphs.
    """
    # Exact types: SpikingJelly derives neurons with graded outputs (LIAF, ILIF) from LIFNode.
    binary = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode, IntegrateAndFire)
    surrogate_function = getattr(module, "surrogate_function", None)
    return (
        type(module) in binary
        and bool(getattr(surrogate_function, "spiking", False))
        and not emits_whole_spikes(module)
    )


def emits_whole_spikes(module: nn.Module) -> bool:
    """Whether a neuron layer's outputs are whole numbers by its type: several spikes per neuron and
    step.
    """
    return type(module) is IntegrateAndFire and bool(module.several)


def neuron_equation(module: nn.Module) -> tuple[bool, str] | None:
    """Whether a neuron layer leaks, and its reset: "subtract" (the threshold) or "set" (to a
    value); None for an unknown type.
    """
    if type(module) is IntegrateAndFire:
        return (
            module.membrane.decay is not None,
            "subtract" if module.reset_potential is None else "set",
        )
    if type(module) not in (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode):
        return None
    return type(module) is not neuron.IFNode, "subtract" if module.v_reset is None else "set"


@dataclass(frozen=True)
class LoopConstants:
    """The equation of a plain IF or LIF layer: τ (0 for IF), whether the input decays with it, the
    reset potential (None: the threshold is subtracted), whether gradients stop at the reset, and
    the slope of its sigmoid surrogate (None for another one).
    """

    tau: float
    decay_input: bool
    reset: float | None
    detach_reset: bool
    slope: float | None


def loop_constants(module: nn.Module) -> LoopConstants | None:
    """The equation of `module`; None for a layer of another type or with methods or a surrogate of
    its own, and for one that keeps its potentials or has a precision of its own.
    """
    told: Any = module
    if type(module) not in (neuron.IFNode, neuron.LIFNode) or not emits_binary_spikes(module):
        return None
    if (
        _has_own_methods(module)
        or type(told.surrogate_function).__module__ != surrogate.__name__
        or _has_own_methods(told.surrogate_function)
    ):
        return None
    if (
        told.store_v_seq
        or getattr(told, "_neuron_precision", None) is not None
        or not isinstance(told.v_threshold, float)
    ):
        return None
    leaky = type(module) is neuron.LIFNode
    slope = (
        getattr(told.surrogate_function, "alpha", None)
        if type(told.surrogate_function) is surrogate.Sigmoid
        else None
    )
    return LoopConstants(
        float(told.tau) if leaky else 0.0,
        bool(told.decay_input) if leaky else False,
        told.v_reset,
        bool(told.detach_reset),
        float(slope) if isinstance(slope, (int, float)) else None,
    )


def _has_own_methods(module: nn.Module) -> bool:
    """Whether an instance computes something with a method of its own; its `forward` is whoever
    runs it's to look at.
    """
    return any(
        name != "forward" and callable(getattr(type(module), name, None)) for name in vars(module)
    )


def surrogate_derivative(surrogate: Callable[[Tensor], Tensor], distance: Tensor) -> Tensor:
    """ψ′ at `distance` u − θ, of any shape: what the backward pass of the surrogate function
    multiplies by.
    """
    with torch.enable_grad():
        x = distance.detach().requires_grad_()
        (derivative,) = torch.autograd.grad(surrogate(x).sum(), x)
    return derivative


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Put hooks on when the block begins and remove them when it ends, however it ends."""
    hooks: list[RemovableHandle] = []
    try:
        for handle in handles:
            hooks.append(handle)
        yield
    finally:
        for handle in hooks:
            handle.remove()


@contextmanager
def exchanged(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Inside, these modules run these forwards: one of an instance stands before its class's.

    Hooks, names and state stay where they are; afterwards the class's forward is back, and what
    `leave_sums` left is gone.
    """
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module in forwards:
            module.__dict__.pop("forward", None)
            module.__dict__.pop("counted", None)


def leave_sums(module: nn.Module, spikes: Tensor, sums: Tensor) -> None:
    """Leave on a spiking layer the `sums` [N, …] over the steps of a call that gave `spikes`, for
    its hooks: a T-th of the memory to read.

    They are the layer's attribute `counted`, called with what a hook is given: the sums of just
    that tensor as it was then, else None.
    """
    given, version = weakref.ref(spikes), spikes._version
    vars(module)["counted"] = lambda x: (
        sums if x is given() and cast(Tensor, x)._version == version else None
    )
