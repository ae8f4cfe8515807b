"""Spiking layers that run all their steps in one loop and count as they fire, bit for bit what they
fire without it, gradients included.

Only what a layer's forward does is exchanged, on the layer itself, while a block runs: names,
hooks, thresholds, potentials and whoever watches them see the same calls with the same tensors.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.networks import LoopConstants, exchanged, is_neuron, leave_sums, loop_constants

SUBTRACT, SET = 0, 1  # what a spike does to the potential


@contextmanager
def looped_neurons(backbone: nn.Module) -> Iterator[None]:
    """Inside, plain LIF and IF layers run in a loop where they can: float32 on the CPU, with
    gradients through a sigmoid surrogate once. All others run as they are.

    A layer in a loop leaves the sums of its spikes [N, …] float32 (`networks.leave_sums`): over all
    T steps in multi-step mode, of one else.
    """
    own = [m for m in backbone.modules() if is_neuron(m) and "forward" not in vars(m)]
    with exchanged({module: _looped(module) for module in own}):
        yield


def _looped(module: Any) -> Callable[..., Tensor]:
    own = module.forward

    def forward(*inputs: Any, **settings: Any) -> Tensor:
        constants = loop_constants(module)
        x = inputs[0] if len(inputs) == 1 and not settings else None
        vars(module).pop("counted", None)
        if constants is None or x is None or not _fits(x, module.v, module.step_mode):
            answer: Tensor = own(*inputs, **settings)
            return answer
        if torch.is_grad_enabled() and (
            x.requires_grad or (isinstance(module.v, Tensor) and module.v.requires_grad)
        ):
            if constants.slope is None:
                return cast(Tensor, own(*inputs))
            run: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Differentiable.apply  # type: ignore[assignment]
        else:
            run = _run
        steps = x if module.step_mode == "m" else x[None]
        v = module.v if isinstance(module.v, Tensor) else torch.full_like(steps[0], float(module.v))
        spikes, module.v, sums = run(steps, v, float(module.v_threshold), constants)
        given = spikes if module.step_mode == "m" else spikes[0]
        leave_sums(module, given, sums)
        return given

    return forward


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


def _run(
    x: Tensor, v: Tensor, threshold: float, constants: LoopConstants
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes [T, N, …] of the input `x` from the potentials `v` [N, …], potentials and counts after
    it; all lie in memory as `x` does.
    """
    spikes, potentials, counts, _ = _fire(x, v, threshold, constants, _Order.of(x[0]), keep=False)
    return spikes, potentials, counts


class _Differentiable(torch.autograd.Function):
    """The same with a gradient, through the sigmoid surrogate; counts have none."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, threshold: float, constants: LoopConstants
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.order, ctx.threshold, ctx.constants = _Order.of(x[0]), threshold, constants
        spikes, potentials, counts, charges = _fire(
            x, v, threshold, constants, ctx.order, keep=True
        )
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

        (charges,) = ctx.saved_tensors  # [T, …] in their order in memory
        order, constants = ctx.order, ctx.constants
        d_fired = torch.zeros_like(charges) if d_spikes is None else order.laid(d_spikes, 1)
        carried = torch.zeros_like(charges[0]) if d_v is None else order.laid(d_v).clone()
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
        return order.back(gates, 1), order.back(carried), None, None


def _fire(
    x: Tensor, v: Tensor, threshold: float, constants: LoopConstants, order: "_Order", *, keep: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from ahsar_eval.recording.engine.kernels import fire

    given = order.laid(x[:1] if x.stride(0) == 0 else x, 1)
    potentials = order.laid(v).clone()
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
    return order.back(spikes, 1), order.back(potentials), order.back(counts), charges


def _numbers(threshold: float, constants: LoopConstants) -> tuple[Any, ...]:
    mode = SUBTRACT if constants.reset is None else SET
    return (
        np.float32(constants.tau),
        constants.decay_input,
        np.float32(threshold),
        mode,
        np.float32(constants.reset or 0.0),
    )


def _flat(x: Tensor) -> Any:
    return x.detach().flatten(1).numpy()


@dataclass(frozen=True)
class _Order:
    """The axes of one time step from the widest stride to the narrowest: a dense tensor is
    contiguous in that order.
    """

    axes: tuple[int, ...]

    @classmethod
    def of(cls, x: Tensor) -> "_Order":
        strides = x.stride()
        return cls(
            tuple(range(x.dim()))
            if x.is_contiguous()
            else tuple(sorted(range(x.dim()), key=lambda axis: -strides[axis]))
        )

    def laid(self, x: Tensor, leading: int = 0) -> Tensor:
        """`x`, behind its `leading` axes, with the axes in this order; a copy only where it does
        not lie like that.
        """
        return x.permute(*range(leading), *(leading + axis for axis in self.axes)).contiguous()

    def back(self, x: Tensor, leading: int = 0) -> Tensor:
        """The inverse, always a view."""
        places = sorted(range(len(self.axes)), key=lambda place: self.axes[place])
        return x.permute(*range(leading), *(leading + place for place in places))
