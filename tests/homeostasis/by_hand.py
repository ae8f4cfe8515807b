"""What a network's neuron layers saw, and AHSAR written again, to compare the controller with."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ahsar_eval.homeostasis import HomeostaticParams, named_neurons, threshold_of


class Watch:
    """What the neuron layers saw: the thresholds they ran with, their spikes and their input
    currents, call by call.
    """

    def __init__(self, net: nn.Module) -> None:
        self.thresholds: dict[str, list[float]] = {}
        self.spikes: dict[str, list[Tensor]] = {}
        self.currents: dict[str, list[Tensor]] = {}
        for name, node in named_neurons(net).items():
            node.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(node: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.thresholds.setdefault(name, []).append(threshold_of(node))
            self.spikes.setdefault(name, []).append(output.detach())
            self.currents.setdefault(name, []).append(inputs[0].detach())

        return hook

    def rate(self, name: str) -> float:
        return float(torch.cat([spikes.flatten() for spikes in self.spikes[name]]).double().mean())


class Loop:
    """AHSAR written again in plain Python: one optimisation step at a time, for comparison."""

    def __init__(
        self, units: int, params: HomeostaticParams, ticks: int, step_mode: str, gain: float = 1.0
    ) -> None:
        self.p, self.ticks, self.mode, self.gain = params, ticks, step_mode, gain
        self.c, self.ema = [0.0] * units, [1.0] * units
        self.smoothed: list[float] | None = None

    def planned(self) -> list[list[float]]:
        """Factors by call (one in m, T in s) and unit; moves the state to the end of the step."""
        p, units = self.p, len(self.c)
        before = []
        for _ in range(self.ticks):
            before.append(
                [self.gain * p.scale_base * (1 + p.alpha * math.tanh(p.kappa * c)) for c in self.c]
            )
            if self.smoothed is None:
                continue
            logs = [math.log(max(rate, p.rate_floor)) for rate in self.smoothed]
            mean, old = sum(logs) / units, self.c
            self.c = [
                old[u]
                + p.beta * (logs[u] - mean)
                - p.gamma * old[u]
                - p.diffusion * sum(old[u] - old[v] for v in (u - 1, u + 1) if 0 <= v < units)
                for u in range(units)
            ]
        return before if self.mode == "s" else [[before[u][u] for u in range(units)]]

    def sensed(self, rates: list[float], factors: list[list[float]]) -> None:
        m_r, m_e = self.p.rate_momentum, self.p.ema_momentum
        old = rates if self.smoothed is None else self.smoothed
        self.smoothed = [(1 - m_r) * a + m_r * b for a, b in zip(old, rates, strict=True)]
        written = [sum(column) / len(factors) for column in zip(*factors, strict=True)]
        self.ema = [(1 - m_e) * a + m_e * b for a, b in zip(self.ema, written, strict=True)]
