"""Networks to time: the two backbones on 32x32 photographs, with spikes at the rates that trained
networks have (0.15 to 0.25).
"""

import functools

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.data import open_split
from ahsar_eval.networks import ModelSpec, SpikingNet, build
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of

TIMESTEPS = 6
SHAPE = (3, 32, 32)


@functools.cache
def photographs() -> Tensor:
    """All patches of photo-patches in a fixed order of chance, [N, 3, 32, 32]."""
    split = open_split("photo-patches", SHAPE)
    order = np.random.default_rng(0).permutation(len(split))
    return split.tensors(order)[0]


def images(count: int) -> Tensor:
    """A static batch, [1, count, 3, 32, 32]."""
    found = photographs()
    return found[torch.arange(count) % len(found)][None]


def network(
    backbone: str, width: float, step_mode: str, paradigm: str = "bptt", timesteps: int = TIMESTEPS
) -> SpikingNet:
    """A network with weights of chance whose batch norms know the photographs: without that most of
    its layers would be silent.
    """
    torch.manual_seed(0)
    net = build(
        ModelSpec(
            backbone,
            SHAPE,
            10,
            width=width,
            paradigm=paradigm,
            step_mode=step_mode,
            timesteps=timesteps,
        )
    )
    norms = [
        module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a mean over all batches
    net.train()
    with torch.no_grad():
        for batch in photographs()[:96].split(32):
            net.reset()
            net(batch[None])
        net.reset()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net


def trained(backbone: str) -> SpikingNet:
    """The AHSAR checkpoint that ships, trained on CIFAR-10: width 0.25, T = 4."""
    return network_of(load_checkpoint(f"cifar10-jpeg-{backbone}-ahsar"))
