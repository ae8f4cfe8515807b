"""Where the weights of convolutions lie in memory: channels last, the order in which convolutions on a CPU are fastest."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def channels_last(net: nn.Module, where: bool = True) -> Iterator[None]:
    """Inside, and `where` it is asked for, 4-dimensional weights on the CPU lie channels last; activations follow them. Afterwards they lie
    as before. Sums are rounded in another order, so results are those of the contiguous network but for rounding (docs/engine.md)."""
    moved = [p for p in net.parameters() if where and p.dim() == 4 and p.device.type == "cpu" and p.is_contiguous()]
    try:
        for parameter in moved:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter in moved:
            parameter.data = parameter.data.contiguous()
