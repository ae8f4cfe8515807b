"""How a spiking neuron of SpikingJelly is recognised, what is put on modules while a block runs,
and the neurons of NIR graphs as SpikingJelly modules: integrate and fire with the file's own
constants, and integrators that never fire.

NIR (https://neuroir.org/docs, primitives) defines neurons by equations of continuous time, taken
here in Euler steps of dt from v = 0:

    I, IF:     v ← v + dt · r · x
    LI, LIF:   v ← v + dt/τ · (v_leak − v) + dt/τ · r · x
    CubaLI(F): i ← i − dt/τ_syn · i + dt/τ_syn · w_in · x, which LI or LIF then takes for x
    IF, LIF:   s = 1 where v ≥ v_threshold; then v ← v − v_threshold · s, or v ← v_reset where s > 0
    several:   s = max(0, ⌊v / v_threshold⌋), v ← v − v_threshold · s
    late:      v_threshold · s is subtracted in the next step, after its leak

NIR writes v > v_threshold; in continuous time a potential that reaches the threshold fires, and
SpikingJelly compares with ≥.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from spikingjelly.activation_based import base, neuron, surrogate
from spikingjelly.activation_based.neuron.base_node import BaseNode, SimpleBaseNode
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Constant = float | Tensor  # one number for a layer, or one per neuron


class Integration(nn.Module):
    """What one step does to a potential: v ← v + gain · x, with a leak v ← v + decay · (leak − v) +
    gain · x. A module, so that constants per neuron move with the network.
    """

    gain: Constant
    decay: Constant | None
    leak: Constant

    def __init__(self, gain: Constant, decay: Constant | None = None, leak: Constant = 0.0) -> None:
        super().__init__()
        for name, value in (("gain", gain), ("decay", decay), ("leak", leak)):
            _keep(self, name, value)

    def forward(self, v: Constant, x: Tensor) -> Tensor:
        """The potential after a step with input `x`."""
        charge = x if isinstance(self.gain, float) and self.gain == 1 else self.gain * x
        charged: Tensor = (
            v + charge if self.decay is None else v + self.decay * (self.leak - v) + charge
        )
        return charged

    def extra_repr(self) -> str:
        """For print, and for the identity of a network."""
        return _told(self, "gain", "decay", "leak")


class IntegrateAndFire(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """A layer of IF or LIF neurons of a NIR graph.

    A `threshold` of one number is `v_threshold` itself; thresholds that differ between neurons are
    kept as `threshold_ratio`, and `v_threshold` (1 as loaded) is the factor on all of them. `reset`
    None subtracts the threshold, when the neuron fires or, where that is `late`, in the next step.
    With `several` a neuron fires as often in one step as its potential holds thresholds, and what
    it emits are whole numbers. What comes in passes a `synapse` first, where there is one. No
    potential goes below `v_min`.
    """

    v: Constant
    current: Constant
    owed: Constant  # what is to be subtracted in the next step
    threshold_ratio: Constant | None
    reset_potential: Constant | None

    def __init__(
        self,
        integration: Integration,
        threshold: Constant,
        reset: Constant | None = None,
        *,
        several: bool = False,
        late: bool = False,
        synapse: Integration | None = None,
        v_min: float | None = None,
        step_mode: str = "s",
    ) -> None:
        one = isinstance(threshold, float)
        base, sigmoid = threshold if one else 1.0, surrogate.Sigmoid(4.0)
        super().__init__(base, None, sigmoid, detach_reset=True, step_mode=step_mode)
        self.several, self.late, self.v_min = several, late, v_min
        self.membrane, self.synapse = integration, synapse
        self.register_memory("current", 0.0)
        self.register_memory("owed", 0.0)
        _keep(self, "threshold_ratio", None if one else threshold)
        _keep(self, "reset_potential", reset)

    @property
    def threshold(self) -> Constant:
        """The threshold as it stands: one number, or one per neuron."""
        factor: float = self.v_threshold
        return factor if self.threshold_ratio is None else factor * self.threshold_ratio

    def neuronal_charge(self, x: Tensor) -> None:
        """One Euler step."""
        if not isinstance(self.v, Tensor):  # the first step runs the operations of every other
            self.v = torch.full_like(x, self.v)
        if self.synapse is not None:
            self.current = x = self.synapse(self.current, x)
        self.v = self.membrane(self.v, x)
        if self.late:
            self.v = self.v - self.owed

    def neuronal_fire(self) -> Tensor:
        """Spikes of this step: 0 or 1, or whole numbers."""
        if self.several:
            return torch.floor(torch.as_tensor(self.v / self.threshold)).clamp_(min=0)
        spikes: Tensor = self.surrogate_function(self.v - self.threshold)
        return spikes

    def neuronal_reset(self, spike: Tensor) -> None:
        """Subtract what was fired, or return to the reset potential."""
        fired = spike.detach()
        if self.late:
            self.owed = self.threshold * fired
        elif self.reset_potential is None:
            self.v = self.v - self.threshold * fired
        else:
            self.v = torch.where(fired > 0, self.reset_potential, torch.as_tensor(self.v))
        if self.v_min is not None:
            self.v = torch.as_tensor(self.v).clamp(min=self.v_min)

    def extra_repr(self) -> str:
        """For print, `inspect`, and for the identity of a network."""
        rare = [name for name in ("late", "v_min") if getattr(self, name) not in (False, None)]
        named = "v_threshold", "threshold_ratio", "reset_potential", "several", "step_mode"
        return _told(self, *named, *rare)


class Integrator(base.MemoryModule):  # type: ignore[misc, unused-ignore]
    """A layer of I, LI or CubaLI units of a NIR graph: it never fires, its output is the potential
    after each step.
    """

    def __init__(self, integration: Integration, synapse: Integration | None = None) -> None:
        super().__init__()
        self.register_memory("v", 0.0)
        self.register_memory("current", 0.0)
        self.membrane, self.synapse = integration, synapse

    def single_step_functional_forward(self, inputs: Any, states: Any) -> Any:
        """The input of one step, potential and current before it, to those after it."""
        (x,), (v, current) = inputs, states
        if not isinstance(v, Tensor):  # the first step runs the operations of every other
            v = torch.full_like(x, v)
        if self.synapse is not None:
            current = x = self.synapse(current, x)
        charged = self.membrane(v, x)
        return (charged,), (charged, current)


class Previous(base.MemoryModule):  # type: ignore[misc, unused-ignore]
    """What a layer of neurons gave in the step before; nothing in the first one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.register_memory("spikes", None)

    def given(self, like: Tensor) -> Tensor:
        """[N, *shape]; N and the type are those of `like`."""
        held: Tensor | None = self.spikes
        return like.new_zeros((len(like), *self.shape)) if held is None else held.clone()


def _keep(module: nn.Module, name: str, value: Constant | None) -> None:
    if isinstance(value, Tensor):
        module.register_buffer(name, value)
    else:
        setattr(module, name, value)


def _told(module: nn.Module, *names: str) -> str:
    values = {name: getattr(module, name) for name in names}
    return ", ".join(
        f"{name}={'per neuron' if isinstance(value, Tensor) else value}"
        for name, value in values.items()
    )


_PLAIN = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode)
_SAID = ("__init__", "__repr__", "__str__", "extra_repr")  # methods that compute nothing
# Neurons of nobody's framework, and whether they fire several times in a step.
_FOUND: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def plain_type(module: nn.Module) -> type[nn.Module] | None:
    """The IF, LIF or parametric LIF node of SpikingJelly that a module is, or whose methods all are
    its own; None for any other, such as the neurons with graded outputs that derive from LIFNode.
    """
    own: list[type] = []
    for kind in type(module).__mro__:
        if kind in _PLAIN:
            return None if any(map(_computes, own)) else kind
        own.append(kind)
    return None


def _computes(kind: type) -> bool:
    """Whether a class adds a method or a property that a call may run."""
    added = (value for name, value in vars(kind).items() if name not in _SAID)
    return any(callable(value) or hasattr(value, "__get__") for value in added)


def is_neuron(module: nn.Module) -> bool:
    """Whether `module` is a SpikingJelly neuron layer that fires at a threshold."""
    return isinstance(module, (BaseNode, SimpleBaseNode))


def is_found_neuron(module: nn.Module) -> bool:
    """Whether a module was found to be a neuron layer by what it gives (`spiking_found`)."""
    return module in _FOUND


def spiking_found(modules: Mapping[nn.Module, bool]) -> None:
    """Note modules that emit spikes, though they are no neurons of SpikingJelly, and whether they
    fire several times in a step.
    """
    _FOUND.update(modules)


def emits_binary_spikes(module: nn.Module) -> bool:
    """Whether a neuron layer's outputs are 0 or 1 by its type: IF, LIF and parametric LIF in
    spiking mode, and those of NIR graphs.
    """
    spiking = bool(getattr(getattr(module, "surrogate_function", None), "spiking", False))
    known = plain_type(module) is not None or type(module) is IntegrateAndFire
    binary = known and not emits_whole_spikes(module)
    return binary and spiking


def emits_whole_spikes(module: nn.Module) -> bool:
    """Whether a neuron layer's outputs are whole numbers, by its type or as was found: several
    spikes per neuron and step.
    """
    return _FOUND.get(module, type(module) is IntegrateAndFire and bool(module.several))


def neuron_equation(module: nn.Module) -> tuple[bool, str] | None:
    """Whether a neuron layer leaks, and its reset: "subtract" (the threshold) or "set" (to a
    value); None for an unknown type.
    """
    reset: Any
    if type(module) is IntegrateAndFire:
        if module.synapse is not None or module.v_min is not None:
            return None
        leaks, reset = module.membrane.decay is not None, module.reset_potential
    elif (plain := plain_type(module)) is not None:
        leaks, reset = plain is not neuron.IFNode, module.v_reset
    else:
        return None
    return leaks, "subtract" if reset is None else "set"


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
    layer: Any = module
    gate: Any = getattr(layer, "surrogate_function", None)
    plain = (
        plain_type(module) in (neuron.IFNode, neuron.LIFNode)
        and emits_binary_spikes(module)
        and type(gate).__module__ == surrogate.__name__
        and not any(map(_has_own_methods, (gate, module)))
        and isinstance(layer.v_threshold, float)
        and not layer.store_v_seq
        and getattr(layer, "_neuron_precision", None) is None
    )
    if not plain:
        return None
    slope = gate.alpha if type(gate) is surrogate.Sigmoid else None
    return LoopConstants(
        float(getattr(layer, "tau", 0.0)),
        bool(getattr(layer, "decay_input", False)),
        layer.v_reset,
        bool(layer.detach_reset),
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


def before(module: nn.Module, watch: Callable[[Tensor], None]) -> RemovableHandle:
    """Show `watch` the input of every call of a module, before it runs."""
    return module.register_forward_pre_hook(lambda _, inputs: watch(inputs[0]))


def after(module: nn.Module, watch: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
    """Show `watch` the input and the output of every call of a module, when it has run; of several
    outputs the first.
    """
    return module.register_forward_hook(lambda _, inputs, out: watch(inputs[0], spikes_in(out)))


def spikes_in(out: Any) -> Any:
    """What a neuron layer emits of what it gives: the first, where its state comes with it, as
    snnTorch and Norse have it.
    """
    return out[0] if isinstance(out, tuple) and out else out


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Put hooks on when the block begins and remove them when it ends, however it ends."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield


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


def exchanged_where(
    net: nn.Module, fits: Callable[[nn.Module], bool], run: Callable[..., Any]
) -> AbstractContextManager[None]:
    """Inside, modules that fit run `run(module, own, …)` in place of their class's forward `own`;
    those with a forward on the instance stay as they are.
    """
    found = [m for m in net.modules() if fits(m) and "forward" not in vars(m)]
    return exchanged({module: partial(run, module, module.forward) for module in found})


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
