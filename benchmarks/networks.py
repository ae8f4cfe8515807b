"""Networks to time: the two backbones on 32x32 images, six steps."""

import torch

from ahsar_eval.models import ModelSpec, SpikingNet, build

TIMESTEPS = 6
SHAPE = (3, 32, 32)


def network(backbone: str, width: float, step_mode: str, paradigm: str = "bptt") -> SpikingNet:
    """A network whose batch norms are lively enough for spikes to flow at rates a trained network has (0.1 to 0.3)."""
    torch.manual_seed(0)
    net = build(ModelSpec(backbone, SHAPE, 10, width=width, paradigm=paradigm, step_mode=step_mode, timesteps=TIMESTEPS))
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net.reset()
            net(torch.rand(1, 16, *SHAPE))
        net.reset()
    return net
