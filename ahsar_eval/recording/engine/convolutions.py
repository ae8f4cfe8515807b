"""What runs in place of a convolution and the batch norm behind it: the events of its input alone,
or a static image once.

Both give the bits of the convolution and the norm that they stand for, where oneDNN sums as it does
on x86 with channels last.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.recording.engine.layout import is_plain, right_in_bf16

LANES = 16  # of a vector of weights; where the processor's are shorter LLVM takes several
FP32, BF16, TF32 = "fp32", "bf16", "tf32"

# Share of the input that may not be zero, by the output channels that one event reaches at once, a
# vector for each 16 of them: where there is more, visiting all of it is faster (docs/engine.md has
# the measurement).
EVENTS_UP_TO = {4 * LANES: 0.6, 2 * LANES: 0.5, LANES: 0.15}
EVENTS_UP_TO_1X1 = 0.25  # a single weight per input: finding the events costs as much as using them
_MOST_CHANNELS = 65_535  # of an input: an event is 16 bits
_NONE: NDArray[np.float32] = np.empty(0, np.float32)


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


def joins(norm: nn.Module) -> bool:
    """Whether a batch norm is a fixed affine map of each channel, which a convolution can apply
    itself.
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
        # [K/k, kh·kw, C, k], where events are visited
        self.rows: NDArray[np.float32] | None = None
        # Factor and summand of the norm, [K] each.
        self.affine: tuple[NDArray[np.float32], NDArray[np.float32]] = (_NONE, _NONE)
        # Versions of the weights and statistics that `rows` and `affine` were made of.
        self.made_of: tuple[int, ...] = ()
        self.forget()

    def forget(self) -> None:
        """What belongs to the batch before is gone."""
        # What it gave last and its version, made of which values.
        self.last: tuple[Tensor, int, tuple[int, ...]] | None = None
        # An input and what it gave, and how their memory was known then.
        self.same: tuple[Tensor, Tensor, Any] | None = None

    @property
    def by_events(self) -> bool:
        """Whether it visits what is not zero, and that alone."""
        return self.rows is not None

    def decide(self, density: float) -> None:
        """Visit events from now on if so much of its input is not zero."""
        module = self.module
        outputs, taps = module.out_channels, module.kernel_size[0] * module.kernel_size[1]
        wide = next((wide for wide in EVENTS_UP_TO if outputs % wide == 0), 0)
        limit = min(EVENTS_UP_TO.get(wide, -1.0), EVENTS_UP_TO_1X1 if taps == 1 else 1.0)
        possible = module.groups == 1 and module.in_channels <= _MOST_CHANNELS
        if self.precision == FP32 and possible and density <= limit:
            self._lay_out(wide)
        else:
            self.rows = None

    def _lay_out(self, wide: int) -> None:
        """Weights in blocks of `wide` outputs, and the norm, from their values now."""
        self.made_of = self._versions()
        by_tap = self.module.weight.detach().permute(2, 3, 1, 0).flatten(0, 1)
        blocks = by_tap.unflatten(2, (-1, wide))  # type: ignore[no-untyped-call]
        self.rows = blocks.permute(2, 0, 1, 3).contiguous().numpy()
        self.affine = (_NONE, _NONE) if self.norm is None else _affine(self.norm)

    def _versions(self) -> tuple[int, ...]:
        """What changes when somebody writes into the weights or the statistics."""
        values, norm = [self.module.weight, self.module.bias], self.norm
        if norm is not None:
            values += [norm.running_mean, norm.running_var, norm.weight, norm.bias]
        return tuple(value._version for value in values if value is not None)

    def gave(self, x: Tensor) -> bool:
        """Whether `x` is what it gave last, or that tensor's memory seen with other leading axes,
        as nobody has changed it since.
        """
        if self.last is None:
            return False
        given, version, made_of = self.last
        memory = (given.data_ptr(), given.numel(), version, made_of)
        # Channels and places: of another kind the norm would take other values together.
        axes = min(3, x.dim())
        return (
            (x.data_ptr(), x.numel(), x._version, self._versions()) == memory
            and x.shape[-axes:] == given.shape[-axes:]
            and x.stride()[-axes:] == given.stride()[-axes:]
        )

    def __call__(self, x: Tensor) -> Tensor:
        """The normalised product, once for steps that are all the same: one tensor expanded over T,
        or the same one in a later call.
        """
        if x.dim() == 4:
            # The input lives on here, so its memory cannot be another's.
            if self.same is None or _memory(x, self.same[1]) != self.same[2]:
                out = self._applied(x)
                self.same = (x, out, _memory(x, out))
            given = self.same[1]
        elif x.stride(0) == 0 or len(x) == 1:
            given = self._applied(x[0]).expand(len(x), -1, -1, -1, -1)
        else:
            given = self._applied(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # type: ignore[no-untyped-call]
        self.last = (given, given._version, self._versions())
        return given

    def _applied(self, x: Tensor) -> Tensor:
        if self.rows is not None and x.dtype == torch.float32:
            if self.made_of != self._versions():
                self._lay_out(self.rows.shape[-1])
            return self._of_events(x, self.rows)
        own, norm = self.module, self.norm
        right = x.device.type != "cpu" or right_in_bf16(own, *x.shape[-2:])
        with _products_in(self.precision if right else FP32, x.device.type):
            how: Any = (own.stride, own.padding, own.dilation, own.groups)
            out = F.conv2d(x, own.weight, own.bias, *how).to(x.dtype)
        if norm is None:
            return out
        statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return F.batch_norm(out, *statistics, False, 0.0, norm.eps)

    def _of_events(self, x: Tensor, rows: NDArray[np.float32]) -> Tensor:
        from ahsar_eval.recording.engine.kernels import convolve_events

        module = self.module
        padding = tuple(map(int, module.padding))
        how = (module.kernel_size, module.stride, padding, module.dilation)
        sides = [
            (size + 2 * around - step * (length - 1) - 1) // by + 1
            for size, length, by, around, step in zip(x.shape[2:], *how, strict=True)
        ]
        out = torch.empty(len(x), *sides, module.out_channels)
        bias = _NONE if module.bias is None else module.bias.detach().numpy()
        given, threads = x.permute(0, 2, 3, 1).contiguous().numpy(), torch.get_num_threads()
        convolve_events(threads, given, rows, *how, bias, *self.affine, out.numpy())
        return out.permute(0, 3, 1, 2)


@contextlib.contextmanager
def _products_in(precision: str, device: str) -> Iterator[None]:
    """Convolutions in the block multiply in this format."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = precision == TF32
    try:
        with torch.autocast(device, torch.bfloat16, enabled=precision == BF16, cache_enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


@contextlib.contextmanager
def float32_products() -> Iterator[None]:
    """Products of float32 tensors in the block are float32 on a GPU, too, whatever torch was told
    or takes by default (tf32).
    """
    convolutions, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, matmul.allow_tf32
    convolutions.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, matmul.allow_tf32 = before


def _affine(norm: nn.BatchNorm2d) -> tuple[Any, Any]:
    """Factor and summand of a batch norm in evaluation, rounded as torch's CPU kernel rounds them
    (the summand once).
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # `joins`
    assert variance is not None
    factor = torch.rsqrt(variance + norm.eps)
    summand = torch.zeros_like(mean)
    if norm.affine:
        factor, summand = factor * norm.weight.detach(), norm.bias.detach()
    return factor.numpy(), (summand.double() - mean.double() * factor.double()).float().numpy()


def _memory(x: Tensor, given: Tensor) -> Any:
    """What is known of an input's memory and of what was given for it, as long as both are as they
    were.
    """
    return x.data_ptr(), x.shape, x.stride(), x._version, given._version
