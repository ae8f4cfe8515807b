"""The same networks in less time: what runs in place of a convolution and the batch norm behind it
(the events of its input alone, or a static image once), and of a spiking layer (one loop over all
steps that counts as it fires).

Only what a module's forward does is exchanged, on the module itself, while a block runs: names,
hooks, thresholds, potentials and whoever watches them see the same calls with the same tensors.
Spiking layers fire bit for bit what they fire without it, gradients included; convolutions give the
bits of what they stand for where oneDNN sums as it does on x86 with channels last.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeGuard

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
from ahsar_eval.recording.activity import Floats
from ahsar_eval.recording.layout import is_plain, right_in_bf16
from ahsar_eval.recording.tensors import key_of

LANES = 16  # of a vector of weights; where the processor's are shorter LLVM takes several
FP32, BF16, TF32 = "fp32", "bf16", "tf32"

# Share of the input that may not be zero, by the output channels that one event reaches at once, a
# vector for each 16 of them: where there is more, visiting all of it is faster (docs/engine.md has
# the measurement).
EVENTS_UP_TO = {4 * LANES: 0.6, 2 * LANES: 0.5, LANES: 0.15}
EVENTS_UP_TO_1X1 = 0.25  # a single weight per input: finding the events costs as much as using them
_MOST_CHANNELS = 65_535  # of an input: an event is 16 bits
_NONE: Floats = np.empty(0, np.float32)


def why_not(module: nn.Conv2d, precision: str) -> str:
    """Why a convolution must run as it is, in words; '' where it need not."""
    if "forward" in vars(module):
        return "its forward was replaced"
    if not is_plain(module, "Conv2d"):
        return f"its class {type(module).__name__} may compute something else"
    where = module.weight.device.type
    if module.weight.dtype != torch.float32 or (where != "cpu" and precision == FP32):
        kind = str(module.weight.dtype).removeprefix("torch.")
        return f"its weights are {kind} on {where}, not float32 on the CPU"
    if not bool(torch.isfinite(module.weight).all()):
        # times zero they give NaN, which visiting events alone would not
        return "its weights are not all finite"
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return f"its padding is {module.padding_mode} {module.padding}"
    return ""


def joins(norm: nn.Module | None) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a module is a batch norm that is a fixed affine map of each channel, which a
    convolution can apply itself.
    """
    if not isinstance(norm, nn.BatchNorm2d) or not is_plain(norm, "BatchNorm2d"):
        return False
    fixed = norm.running_mean is not None and norm.running_var is not None and not norm.training
    return fixed and "forward" not in vars(norm)


class Convolution:
    """A convolution with the batch norm behind it, applied to [N, C, H, W] or [T, N, C, H, W]."""

    def __init__(
        self, module: nn.Conv2d, norm: nn.BatchNorm2d | None, precision: str = FP32
    ) -> None:
        self.module, self.norm, self.precision = module, norm, precision
        self.wide = 0  # outputs that an event reaches at once, where events are visited
        self.rows = _NONE  # [K/k, kh·kw, C, k]
        # Factor and summand of the norm, [K] each.
        self.affine = _NONE, _NONE
        # Versions of the weights and statistics that `rows` and `affine` were made of.
        self.made_of: tuple[int, ...] = ()
        self.forget()

    def forget(self) -> None:
        """Let go of what it was given and gave."""
        # What it gave last, and how it was known then.
        self.last: tuple[Tensor, Any] | None = None
        # An input and what it gave, and how they were known then: both live on here, so that their
        # memory cannot be another's.
        self.same: tuple[Tensor, Tensor, Any] | None = None

    @property
    def by_events(self) -> bool:
        """Whether it visits what is not zero, and that alone."""
        return self.wide > 0

    def decide(self, density: float) -> None:
        """Visit events from now on if so much of its input is not zero."""
        module = self.module
        outputs, taps = module.out_channels, module.kernel_size[0] * module.kernel_size[1]
        wide = next((wide for wide in EVENTS_UP_TO if outputs % wide == 0), 0)
        limit = min(EVENTS_UP_TO.get(wide, -1.0), EVENTS_UP_TO_1X1 if taps == 1 else 1.0)
        possible = module.groups == 1 and module.in_channels <= _MOST_CHANNELS
        fits = self.precision == FP32 and possible and density <= limit
        self.wide = wide if fits else 0

    def _lay_out(self) -> None:
        """Weights in blocks of `wide` outputs, and the norm, from their values now."""
        self.made_of = self._versions()
        by_tap = self.module.weight.detach().permute(2, 3, 1, 0).flatten(0, 1)
        blocks = by_tap.unflatten(2, (-1, self.wide))  # type: ignore[no-untyped-call]
        self.rows = blocks.permute(2, 0, 1, 3).contiguous().numpy()
        self.affine = (_NONE, _NONE) if self.norm is None else _affine(self.norm)

    def _versions(self) -> tuple[int, ...]:
        """What changes when somebody writes into the weights or the statistics."""
        values, norm = [self.module.weight, self.module.bias], self.norm
        if norm is not None:
            values += [norm.running_mean, norm.running_var, norm.weight, norm.bias]
        return tuple(value._version for value in values if value is not None)

    def _known(self, x: Tensor) -> Any:
        """What a tensor is as long as nobody changes it or the weights: its memory, whatever its
        leading axes. Other channels and places, and the norm would take other values together.
        """
        return key_of(x), x.shape[-3:], self._versions()

    def gave(self, x: Tensor) -> bool:
        """Whether `x` is what it gave last, or that tensor's memory seen with other leading axes,
        as nobody has changed it since.
        """
        return self.last is not None and self._known(x) == self.last[1]

    def __call__(self, x: Tensor) -> Tensor:
        """The normalised product, once for steps that are all the same: one tensor expanded over T,
        or the same one in a later call.
        """
        if x.dim() == 4:
            if self.same is None or (self._known(x), self.same[1]._version) != self.same[2]:
                out = self._applied(x)
                self.same = (x, out, (self._known(x), out._version))
            given = self.same[1]
        elif x.stride(0) == 0 or len(x) == 1:
            given = self._applied(x[0]).expand(len(x), -1, -1, -1, -1)
        else:
            given = self._applied(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # type: ignore[no-untyped-call]
        self.last = (given, self._known(given))
        return given

    def _applied(self, x: Tensor) -> Tensor:
        if self.by_events and x.dtype == torch.float32:
            if self.made_of != self._versions():
                self._lay_out()
            return self._of_events(x)
        own, norm = self.module, self.norm
        right = x.device.type != "cpu" or right_in_bf16(own, *x.shape[-2:])
        with products_in(self.precision if right else FP32, x.device.type):
            out = nn.Conv2d.forward(own, x).to(x.dtype)
        return out if norm is None else nn.BatchNorm2d.forward(norm, out)

    def _of_events(self, x: Tensor) -> Tensor:
        from ahsar_eval.recording.kernels import convolve_events

        module = self.module
        padding = tuple(map(int, module.padding))
        how = (module.kernel_size, module.stride, padding, module.dilation)
        sides = [
            (size + 2 * around - step * (length - 1) - 1) // by + 1
            for size, length, by, around, step in zip(x.shape[2:], *how, strict=True)
        ]
        out = torch.empty(len(x), *sides, module.out_channels)
        bias = _NONE if module.bias is None else module.bias.detach().numpy()
        given = x.permute(0, 2, 3, 1).contiguous().numpy()
        convolve_events(given, self.rows, *how, bias, *self.affine, out.numpy())
        return out.permute(0, 3, 1, 2)


@contextmanager
def products_in(precision: str, device: str) -> Iterator[None]:
    """Convolutions in the block multiply in this format, and all other products in fp32, whatever
    torch was told or takes by default on a GPU (tf32).
    """
    convolutions, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matmul.allow_tf32
    convolutions.allow_tf32, matmul.allow_tf32 = precision == TF32, False
    try:
        with torch.autocast(device, torch.bfloat16, enabled=precision == BF16, cache_enabled=False):
            yield
    finally:
        convolutions.allow_tf32, matmul.allow_tf32 = before


def _affine(norm: Any) -> tuple[Any, Any]:
    """Factor and summand of a batch norm in evaluation, rounded as torch's CPU kernel rounds them
    (the summand once).
    """
    mean, variance = norm.running_mean, norm.running_var
    factor = torch.rsqrt(variance + norm.eps)
    summand = torch.zeros_like(mean)
    if norm.affine:
        factor, summand = factor * norm.weight.detach(), norm.bias.detach()
    return factor.numpy(), (summand.double() - mean.double() * factor.double()).float().numpy()


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
    it, and to `keep` the charges; all lie in memory as `x` does.
    """
    from ahsar_eval.recording.kernels import fire

    potentials = torch.empty_like(x[0]).copy_(v)
    counts, order = torch.empty_like(potentials), potentials.stride()
    spikes = torch.empty_strided(x.shape, (potentials.numel(), *order))
    charges = torch.empty_like(spikes[: len(spikes) * keep])
    fire(
        _rows(_laid(x[:1] if x.stride(0) == 0 else x, order)),
        *_rows(potentials[None]),
        *_numbers(threshold, constants),
        _rows(spikes),
        *_rows(counts[None]),
        _rows(charges),
    )
    return spikes, potentials, counts, charges


class _Differentiable(torch.autograd.Function):
    """The same with a gradient, through the sigmoid surrogate; counts have none."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, threshold: float, constants: LoopConstants
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.threshold, ctx.constants = threshold, constants
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
        from ahsar_eval.recording.kernels import fire_backward

        (charges,) = ctx.saved_tensors
        constants, fired, carried = ctx.constants, torch.zeros_like(charges), charges[0].clone()
        if d_spikes is not None:
            fired = _laid(d_spikes, carried.stride())
        carried = carried.zero_() if d_v is None else carried.copy_(d_v)
        gates = charges.sub(ctx.threshold).mul_(constants.slope).sigmoid_()
        fire_backward(
            _rows(fired),
            *_rows(carried[None]),
            _rows(charges),
            _rows(gates),
            *_numbers(ctx.threshold, constants),
            np.float32(constants.slope),
            constants.detach_reset,
        )
        return gates, carried, None, None


def _numbers(threshold: float, constants: LoopConstants) -> tuple[Any, ...]:
    mode, reset = SUBTRACT if constants.reset is None else SET, np.float32(constants.reset or 0.0)
    tau, decay_input = np.float32(constants.tau), constants.decay_input
    return tau, decay_input, np.float32(threshold), mode, reset


def _laid(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """`x` [T, …], steps one behind the other with these strides: a copy where they are not."""
    wanted = (x[0].numel(), *order)
    if x.stride() == wanted or (len(x) == 1 and x.stride()[1:] == order):
        return x
    return torch.empty_strided(x.shape, wanted, dtype=x.dtype).copy_(x)


def _rows(x: Tensor) -> Any:
    """The memory of steps laid like that as an array [T, M]."""
    size = math.prod(x.shape[1:])
    return x.detach().as_strided((len(x), size), (size, 1)).numpy()
