"""What tests of the compiled path share: a network of a user, a few samples, both paths, and what
was said.
"""

import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from ahsar_eval.data import Split, open_split
from ahsar_eval.data.split import subset
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import Recording, record

DIGITS = open_split("digits", (1, 16, 16))


def first(samples: int) -> Split:
    return _of(DIGITS, np.arange(samples))


def spread(split: Split, samples: int) -> Split:
    """Samples from all over a split."""
    return _of(split, np.linspace(0, len(split) - 1, samples).astype(np.int64))


def _of(split: Split, members: NDArray[np.int64]) -> Split:
    return replace(
        split,
        source=subset(split.source, members, split.source.role),
        load=lambda indices: split.load(members[indices]),
    )


def by_both(net: SpikingNet, split: Split, **settings: Any) -> tuple[Recording, Recording]:
    return record(net, split, engine="reference", **settings), record(net, split, **settings)


class Plain(nn.Module):
    """A network of a user: convolution, norm, neuron, a second convolution that sees spikes,
    read-out; all its parts are exchangeable.
    """

    def __init__(self, step_mode: str = "m", channels: int = 16) -> None:
        super().__init__()
        self.conv1, self.bn1 = (
            layer.Conv2d(1, channels, 3, step_mode=step_mode),
            layer.BatchNorm2d(channels, step_mode=step_mode),
        )
        self.lif1 = neuron.LIFNode(step_mode=step_mode, v_threshold=0.3)
        self.conv2, self.bn2 = (
            layer.Conv2d(channels, 64, 3, step_mode=step_mode),
            layer.BatchNorm2d(64, step_mode=step_mode),
        )
        self.lif2 = neuron.LIFNode(step_mode=step_mode, v_threshold=0.2)
        self.pool, self.flat = (
            layer.AdaptiveAvgPool2d(1, step_mode=step_mode),
            layer.Flatten(step_mode=step_mode),
        )
        self.fc = layer.Linear(64, 10, step_mode=step_mode)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif1(self.bn1(self.conv1(x)))
        return self.fc(self.flat(self.pool(self.lif2(self.normalised(self.conv2(x))))))

    def normalised(self, x: Tensor) -> Tensor:
        return self.bn2(x)


def network(module: nn.Module, step_mode: str = "m") -> Any:
    torch.manual_seed(0)
    for part in module.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()  # type: ignore[operator]  # biases too: the module may have drawn them before the seed
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):  # none that changes next to nothing
            norm.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            norm.weight.data.uniform_(0.7, 1.5)
            norm.bias.data.normal_(0, 0.2)
    return SpikingNet(
        module.eval(), ModelSpec("tests:net", (1, 16, 16), 10, timesteps=3, step_mode=step_mode)
    ).eval()


@contextmanager
def said() -> Any:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found
