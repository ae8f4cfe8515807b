"""Mixed precision: matrix products in 16 bits, membrane potentials and weights in 32.

Convolutions and linear layers run in bf16 or fp16 by `torch.autocast`. The input of every spiking
layer is brought back to fp32, so that its membrane potential, its threshold and the place where it
fires stay those of fp32; 0 and 1 are exact in any of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from ahsar_eval.homeostasis import named_neurons
from ahsar_eval.networks import hooked
from ahsar_eval.recording.layout import bf16_where_right

PRECISIONS = ("fp32", "bf16", "fp16")
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
HALVES = tuple(_TYPES.values())


@contextmanager
def autocast(net: nn.Module, precision: str, device: str) -> Iterator[None]:
    """Run forward passes of `net` in the block in `precision`; spiking layers compute in fp32.
    Nothing happens for fp32.
    """
    if precision == "fp32":
        yield
        return
    # Without the cache of cast weights: before torch 2.11, one that is filled in a pass without
    # gradients, such as the spike pass of rate-based backpropagation, leaves the next pass without
    # them (pytorch issue 112583).
    kind, neurons = torch.device(device).type, named_neurons(net).values()
    with (
        hooked(neuron.register_forward_pre_hook(_in_full_precision) for neuron in neurons),
        torch.autocast(kind, _TYPES[precision], cache_enabled=False),
        bf16_where_right(net),
    ):
        yield


def gradient_scaler(precision: str, device: str) -> GradScaler:
    """What keeps small gradients of fp16 from vanishing; without effect for the others, whose
    exponents reach as far as fp32's.
    """
    return GradScaler(torch.device(device).type, enabled=precision == "fp16")


def _in_full_precision(neuron: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value
        for value in inputs
    )
