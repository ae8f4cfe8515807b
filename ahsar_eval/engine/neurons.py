"""Spiking layers that run all their steps in one loop and count as they fire, bit for bit what they fire without it.

Only what a layer's forward does is exchanged, on the layer itself, while a block runs: names, hooks, thresholds, potentials and whoever
watches them see the same calls with the same tensors.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.engine.kernels import SET, SUBTRACT, fire
from ahsar_eval.models import is_neuron, loop_constants


@contextmanager
def looped_neurons(backbone: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, plain LIF and IF layers run in a loop where they can: float32 on the CPU, without gradients. All others run as they are.

    Gives layer → spikes of each neuron in the call before, [N, …] float32: over all T steps in multi-step mode, of one step else.
    """
    counts: dict[str, Tensor] = {}
    looped = {name: module for name, module in backbone.named_modules() if is_neuron(module) and "forward" not in vars(module)}
    try:
        for name, module in looped.items():
            module.forward = _looped(name, module, counts)
        yield counts
    finally:
        for module in looped.values():
            module.__dict__.pop("forward", None)
        counts.clear()


def _looped(name: str, module: Any, counts: dict[str, Tensor]) -> Callable[..., Tensor]:
    own = module.forward

    def forward(*inputs: Any, **settings: Any) -> Tensor:
        constants = loop_constants(module)
        x = inputs[0] if len(inputs) == 1 and not settings else None
        if constants is None or not _fits(x, module.v) or x is None:
            counts.pop(name, None)
            answer: Tensor = own(*inputs, **settings)
            return answer
        steps = x if module.step_mode == "m" else x[None]
        spikes, module.v, counts[name] = _run(steps, module.v, float(module.v_threshold), *constants)
        return spikes if module.step_mode == "m" else spikes[0]

    return forward


def _fits(x: Any, v: Any) -> bool:
    if not isinstance(x, Tensor) or torch.is_grad_enabled() or x.dim() < 2 or x.numel() == 0:
        return False
    potentials = [v] if isinstance(v, Tensor) else []
    return all(value.dtype == torch.float32 and value.device.type == "cpu" for value in (x, *potentials))


def _run(
    x: Tensor, v: Tensor | float, threshold: float, tau: float, decay_input: bool, reset: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes [T, N, …] of the input `x`, potentials and counts [N, …]; all lie in memory as the input does."""
    there = _order_in_memory(x[0])
    back = np.argsort(there).tolist()
    given = (x[:1] if x.stride(0) == 0 else x).permute(0, *(1 + axis for axis in there)).contiguous()
    shape, size = given.shape[1:], math.prod(given.shape[1:])
    potentials = v.permute(there).clone(memory_format=torch.contiguous_format) if isinstance(v, Tensor) else torch.full(shape, float(v))
    spikes, counts = torch.empty(len(x), *shape), torch.empty(shape)
    fire(
        torch.get_num_threads(),
        given.view(-1, size).numpy(),
        potentials.view(size).numpy(),
        np.float32(tau),
        decay_input,
        np.float32(threshold),
        SUBTRACT if reset is None else SET,
        np.float32(reset or 0.0),
        spikes.view(-1, size).numpy(),
        counts.view(size).numpy(),
    )
    return spikes.permute(0, *(1 + axis for axis in back)), potentials.permute(back), counts.permute(back)


def _order_in_memory(x: Tensor) -> list[int]:
    """The axes of one step from the widest stride to the narrowest, so that a dense tensor is contiguous in that order."""
    return sorted(range(x.dim()), key=lambda axis: -x.stride()[axis]) if not x.is_contiguous() else list(range(x.dim()))
