"""Small networks as people write them, by how they are called."""

from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

T, K, SHAPE = 4, 10, (1, 8, 8)


class LoopedSpikes(nn.Module):
    """Leaky neurons of nobody's framework, all steps in one call along `axis`."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        v, out = torch.zeros_like(x.select(self.axis, 0)), []
        for step in x.unbind(self.axis):
            v = 0.5 * v + step
            spikes = (v > 1).float()
            v = v * (1 - spikes)
            out.append(spikes)
        return torch.stack(out, self.axis)


class OwnStep(nn.Module):
    """The same step by step, its potential in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.v = x if self.v is None or self.v.shape != x.shape else 0.5 * self.v + x
        spikes = (self.v > 1).float()
        self.v = self.v * (1 - spikes)
        return spikes


class Narrows(OwnStep):
    """The same behind a layer that it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.weights(x))


class Integrates(nn.Module):
    """A read-out that adds up in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.v = x if self.v is None or self.v.shape != x.shape else 0.9 * self.v + x
        return self.v


class GivesItsState(nn.Module):
    """Leaky neurons whose potential is given and taken back."""

    def forward(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = x if v is None else 0.5 * v + x
        spikes = (v > 1).float()
        return spikes, v * (1 - spikes)


class WithState(nn.Module):
    """A network whose state is given and taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fires = nn.Linear(64, 64), GivesItsState()
        self.last = nn.Linear(64, K)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        spikes, state = self.fires(self.first(x.flatten(1)), state)
        return self.last(spikes), state


class Does(nn.Module):
    """A network around another."""

    def __init__(self, net: nn.Module, do: Any) -> None:
        super().__init__()
        self.net, self.do = net, do

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.do(self.net, x)
        return out


def several(*modules: nn.Module, mode: str = "m") -> Any:
    made = nn.Sequential(*modules)
    functional.set_step_mode(made, mode)
    return made


def dense(mode: str = "m") -> nn.Sequential:
    return several(
        layer.Flatten(), layer.Linear(64, 64), neuron.LIFNode(), layer.Linear(64, K), mode=mode
    )


def plain(axis: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(2), nn.Linear(64, 64), LoopedSpikes(axis), nn.Linear(64, K))


def own_step() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), OwnStep(), nn.Linear(64, K))


def repeats(net: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([net(x) for _ in range(T)]).mean(0)


# network, what it takes and gives, the steps that it makes itself
NETWORKS: dict[str, tuple[Any, str, int | None]] = {
    "multi-step": (dense, "TN/TN", None),
    "multi-step, mean over time": (lambda: Does(dense(), lambda n, x: n(x).mean(0)), "TN/N", None),
    "multi-step, sum over time": (lambda: Does(dense(), lambda n, x: n(x).sum(0)), "TN/N", None),
    "single-step": (lambda: dense("s"), "step/N", None),
    "own neurons, time first": (lambda: plain(0), "TN/TN", None),
    "own neurons, batch first": (lambda: plain(1), "NT/NT", None),
    "batch first, mean": (lambda: Does(plain(1), lambda n, x: n(x).mean(1)), "NT/N", None),
    "batch first outside, time first inside": (
        lambda: Does(dense(), lambda n, x: n(x.transpose(0, 1))),
        "NT/TN",
        None,
    ),
    "batch first to the end": (
        lambda: Does(dense(), lambda n, x: n(x.transpose(0, 1)).transpose(0, 1)),
        "NT/NT",
        None,
    ),
    "a loop over one image": (lambda: Does(dense("s"), repeats), "N/N", T),
    "a loop over one image, all steps out": (
        lambda: Does(dense("s"), lambda n, x: torch.stack([n(x) for _ in range(T)])),
        "N/TN",
        T,
    ),
    "a loop over time": (
        lambda: Does(dense("s"), lambda n, x: torch.stack([n(step) for step in x])),
        "TN/TN",
        None,
    ),
    "an image repeated inside": (
        lambda: Does(dense(), lambda n, x: n(x.expand(T, *x.shape)).mean(0)),
        "N/N",
        T,
    ),
    "an image repeated inside, batch first": (
        lambda: Does(plain(1), lambda n, x: n(x.unsqueeze(1).repeat(1, T, 1, 1, 1))),
        "N/NT",
        T,
    ),
    "own single-step neurons": (own_step, "step/N", None),
    "neurons that hold the layer before them": (
        lambda: nn.Sequential(nn.Flatten(), Narrows(), nn.Linear(32, K)),
        "step/N",
        None,
    ),
    "a loop with own neurons": (lambda: Does(own_step(), repeats), "N/N", T),
    "a recurrent container": (
        lambda: several(
            nn.Flatten(-3),
            nn.Linear(64, 64),
            layer.LinearRecurrentContainer(neuron.LIFNode(), 64, 64),
            nn.Linear(64, K),
        ),
        "TN/TN",
        None,
    ),
    "containers": (
        lambda: nn.Sequential(
            layer.SeqToANNContainer(nn.Flatten(), nn.Linear(64, 64)),
            layer.MultiStepContainer(neuron.IFNode()),
            nn.Linear(64, K),
        ),
        "TN/TN",
        None,
    ),
    "a state that is given back": (WithState, "state/N", None),
    "the steps of a sample along the first axis": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), LoopedSpikes(0), nn.Linear(64, K)),
        "flat/flat",
        None,
    ),
    "one output of several": (
        lambda: Does(dense(), lambda n, x: {"logits": n(x), "input": x}),
        "TN/TN:logits",
        None,
    ),
    "half precision": (lambda: dense().half(), "TN/TN", None),
}


def lively(net: Any, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    for parameter in net.parameters():
        if parameter.dim() > 1:
            parameter.data = (torch.randn(parameter.shape) / 3).to(parameter.dtype)
    return net.eval()
