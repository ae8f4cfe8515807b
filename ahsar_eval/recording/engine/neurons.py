"""Spiking layers that run all their steps in one loop and count as they fire, bit for bit what they
fire without it, gradients included.

Only what a layer's forward does is exchanged, on the layer itself, while a block runs: names,
hooks, thresholds, potentials and whoever watches them see the same calls with the same tensors.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.networks import (
    LoopConstants,
    exchanged_where,
    is_neuron,
    leave_sums,
    loop_constants,
)

SUBTRACT, SET = 0, 1  # what a spike does to the potential


def looped_neurons(backbone: nn.Module) -> AbstractContextManager[None]:
    """Inside, plain LIF and IF layers run in a loop where they can: float32 on the CPU, with
    gradients through a sigmoid surrogate once. All others run as they are.

    A layer in a loop leaves the sums of its spikes [N, …] float32 (`networks.leave_sums`): over all
    T steps in multi-step mode, of one else.
    """
    return exchanged_where(backbone, is_neuron, _looped)


def _looped(module: Any, own: Callable[..., Tensor], *inputs: Any, **settings: Any) -> Tensor:
    constants = loop_constants(module)
    x: Any = inputs[0] if len(inputs) == 1 and not settings else None
    vars(module).pop("counted", None)
    if constants is None or not _fits(x, module.v, module.step_mode):
        return own(*inputs, **settings)
    v, multi_step = module.v, module.step_mode == "m"
    steps = x if multi_step else x[None]
    if not isinstance(v, Tensor):
        v = torch.full_like(steps[0], float(v))
    run: Callable[..., Any] = _fire
    if torch.is_grad_enabled() and (x.requires_grad or v.requires_grad):
        if constants.slope is None:
            return own(*inputs)
        run = _Differentiable.apply
    spikes, module.v, sums = run(steps, v, float(module.v_threshold), constants)[:3]
    given: Tensor = spikes if multi_step else spikes[0]
    leave_sums(module, given, sums)
    return given


def _fits(x: Any, v: Any, step_mode: str) -> bool:
    """Whether input and potentials are what the loops take: a potential for each neuron, or one
    number for all.
    """
    if not isinstance(x, Tensor) or x.dim() < 2 or x.numel() == 0:
        return False
    if isinstance(v, Tensor) and v.shape != (x.shape[1:] if step_mode == "m" else x.shape):
        return False
    return all(
        value.dtype == torch.float32 and value.device.type == "cpu"
        for value in (x, v)
        if isinstance(value, Tensor)
    )


def _fire(
    x: Tensor, v: Tensor, threshold: float, constants: LoopConstants, *, keep: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes [T, N, …] of the input `x` from the potentials `v` [N, …], potentials and counts after
    it; all lie in memory as `x` does. To `keep` gives the charges, with axes in memory order, too.
    """
    from ahsar_eval.recording.engine.kernels import fire

    axes = _axes(x[0])
    given = _in_memory_order(x[:1] if x.stride(0) == 0 else x, axes, 1)
    potentials = _in_memory_order(v, axes).clone()
    spikes, counts = given.new_empty(len(x), *given.shape[1:]), torch.empty_like(potentials)
    charges = torch.empty_like(spikes) if keep else spikes.new_empty(0, 1)
    fire(
        torch.get_num_threads(),
        _flat(given),
        potentials.view(-1).numpy(),
        *_numbers(threshold, constants),
        _flat(spikes),
        counts.view(-1).numpy(),
        _flat(charges),
    )
    back = np.argsort(axes).tolist()
    return _permuted(spikes, back, 1), _permuted(potentials, back), _permuted(counts, back), charges


class _Differentiable(torch.autograd.Function):
    """The same with a gradient, through the sigmoid surrogate; counts have none."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, threshold: float, constants: LoopConstants
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.axes, ctx.threshold, ctx.constants = _axes(x[0]), threshold, constants
        spikes, potentials, counts, charges = _fire(x, v, threshold, constants, keep=True)
        ctx.save_for_backward(charges)
        ctx.mark_non_differentiable(counts)
        ctx.set_materialize_grads(False)
        return spikes, potentials, counts

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, d_spikes: Tensor | None, d_v: Tensor | None, _: None
    ) -> tuple[Tensor, Tensor, None, None]:
        from ahsar_eval.recording.engine.kernels import fire_backward

        (charges,) = ctx.saved_tensors
        axes, constants = ctx.axes, ctx.constants
        d_fired, carried = torch.zeros_like(charges), torch.zeros_like(charges[0])
        if d_spikes is not None:
            d_fired = _in_memory_order(d_spikes, axes, 1)
        if d_v is not None:
            carried = _in_memory_order(d_v, axes).clone()
        gates = charges.sub(ctx.threshold).mul_(constants.slope).sigmoid_()
        fire_backward(
            torch.get_num_threads(),
            _flat(d_fired),
            carried.view(-1).numpy(),
            _flat(charges),
            _flat(gates),
            *_numbers(ctx.threshold, constants),
            np.float32(constants.slope),
            constants.detach_reset,
        )
        back = np.argsort(axes).tolist()
        return _permuted(gates, back, 1), _permuted(carried, back), None, None


def _numbers(threshold: float, constants: LoopConstants) -> tuple[Any, ...]:
    mode, reset = SUBTRACT if constants.reset is None else SET, np.float32(constants.reset or 0.0)
    tau, decay_input = np.float32(constants.tau), constants.decay_input
    return tau, decay_input, np.float32(threshold), mode, reset


def _flat(x: Tensor) -> Any:
    return x.detach().flatten(1).numpy()


def _axes(x: Tensor) -> list[int]:
    """The axes of one time step from the widest stride to the narrowest: a dense tensor is
    contiguous in that order.
    """
    axes, strides = range(x.dim()), x.stride()
    return list(axes) if x.is_contiguous() else sorted(axes, key=lambda axis: -strides[axis])


def _permuted(x: Tensor, axes: Sequence[int], leading: int = 0) -> Tensor:
    """A view of `x` with the axes behind its `leading` ones in this order."""
    return x.permute(*range(leading), *(leading + axis for axis in axes))


def _in_memory_order(x: Tensor, axes: Sequence[int], leading: int = 0) -> Tensor:
    """The same, contiguous: a copy only where it does not lie like that."""
    return _permuted(x, axes, leading).contiguous()
