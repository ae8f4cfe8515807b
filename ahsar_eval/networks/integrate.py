"""Neurons of NIR graphs as SpikingJelly modules: integrate and fire with the file's own constants,
and integrators that never fire.

NIR (https://neuroir.org/docs, primitives) defines neurons by equations of continuous time, taken
here in Euler steps of dt from v = 0:

    I, IF:     v ← v + dt · r · x
    LI, LIF:   v ← v + dt/τ · (v_leak − v) + dt/τ · r · x
    IF, LIF:   s = 1 where v ≥ v_threshold; then v ← v − v_threshold · s, or v ← v_reset where s > 0
    several:   s = max(0, ⌊v / v_threshold⌋), v ← v − v_threshold · s

NIR writes v > v_threshold; in continuous time a potential that reaches the threshold fires, and
SpikingJelly compares with ≥.
"""

from dataclasses import dataclass

import torch
from spikingjelly.activation_based import base, neuron, surrogate
from torch import Tensor, nn

Constant = float | Tensor  # one number for a layer, or one per neuron


@dataclass(frozen=True)
class Integration:
    """What one step does to a potential: v ← v + gain · x, with a leak v ← v + decay · (leak − v) +
    gain · x.
    """

    gain: Constant
    decay: Constant | None = None
    leak: Constant = 0.0


class _Membrane(nn.Module):
    """The integration as a module, so that constants per neuron move with the network."""

    gain: Constant
    decay: Constant | None
    leak: Constant

    def __init__(self, integration: Integration) -> None:
        super().__init__()
        for name in ("gain", "decay", "leak"):
            _keep(self, name, getattr(integration, name))

    def forward(self, v: Constant, x: Tensor) -> Tensor:
        charge = x if isinstance(self.gain, float) and self.gain == 1 else self.gain * x
        charged: Tensor = (
            v + charge if self.decay is None else v + self.decay * (self.leak - v) + charge
        )
        return charged

    def extra_repr(self) -> str:
        return _told(self, "gain", "decay", "leak")


class IntegrateAndFire(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """A layer of IF or LIF neurons of a NIR graph.

    A `threshold` of one number is `v_threshold` itself; thresholds that differ between neurons are
    kept as `threshold_ratio`, and `v_threshold` (1 as loaded) is the factor on all of them. `reset`
    None subtracts the threshold. With `several` a neuron fires as often in one step as its
    potential holds thresholds, and what it emits are whole numbers.
    """

    v: Constant
    threshold_ratio: Constant | None
    reset_potential: Constant | None

    def __init__(
        self,
        integration: Integration,
        threshold: Constant,
        reset: Constant | None = None,
        *,
        several: bool = False,
        step_mode: str = "s",
    ) -> None:
        one = isinstance(threshold, float)
        surrogate_function = surrogate.Sigmoid(4.0)
        super().__init__(
            threshold if one else 1.0,
            None,
            surrogate_function,
            detach_reset=True,
            step_mode=step_mode,
        )
        self.several = several
        self.membrane = _Membrane(integration)
        _keep(self, "threshold_ratio", None if one else threshold)
        _keep(self, "reset_potential", reset)

    @property
    def threshold(self) -> Constant:
        """The threshold as it stands: one number, or one per neuron."""
        factor: float = self.v_threshold
        return factor if self.threshold_ratio is None else factor * self.threshold_ratio

    def neuronal_charge(self, x: Tensor) -> None:
        """One Euler step."""
        if not isinstance(self.v, Tensor):
            self.v = torch.full_like(
                x, self.v
            )  # so that the first step runs the same operations as every other
        self.v = self.membrane(self.v, x)

    def neuronal_fire(self) -> Tensor:
        """Spikes of this step: 0 or 1, or whole numbers."""
        if self.several:
            return torch.floor(torch.as_tensor(self.v / self.threshold)).clamp_(min=0)
        spikes: Tensor = self.surrogate_function(self.v - self.threshold)
        return spikes

    def neuronal_reset(self, spike: Tensor) -> None:
        """Subtract what was fired, or return to the reset potential."""
        fired = spike.detach()
        if self.reset_potential is None:
            self.v = self.v - self.threshold * fired
        else:
            self.v = torch.where(fired > 0, self.reset_potential, torch.as_tensor(self.v))

    def extra_repr(self) -> str:
        """For print, and for the identity of a network."""
        return (
            f"{_told(self, 'v_threshold', 'threshold_ratio', 'reset_potential')}, "
            f"several={self.several}, step_mode={self.step_mode}"
        )


class Integrator(base.MemoryModule):  # type: ignore[misc, unused-ignore]
    """A layer of I or LI units of a NIR graph: it never fires, its output is the potential after
    each step.
    """

    v: Constant

    def __init__(self, integration: Integration, *, step_mode: str = "s") -> None:
        super().__init__()
        self.step_mode = step_mode
        self.register_memory("v", 0.0)
        self.membrane = _Membrane(integration)

    def single_step_forward(self, x: Tensor) -> Tensor:
        """Input of one step to the potential after it."""
        charged: Tensor = self.membrane(self.v, x)
        self.v = charged
        return charged

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """[T, N, …] to the potentials after each step."""
        return torch.stack([self.single_step_forward(x) for x in x_seq])


def _keep(module: nn.Module, name: str, value: Constant | None) -> None:
    if isinstance(value, Tensor):
        module.register_buffer(name, value)
    else:
        setattr(module, name, value)


def _told(module: nn.Module, *names: str) -> str:
    return ", ".join(
        f"{name}={'per neuron' if isinstance(value := getattr(module, name), Tensor) else value}"
        for name in names
    )
