"""How layers with weights are handed to the CPU's libraries: convolutions with weights that lie
channels last in memory where oneDNN is known to be right, linear layers in blocks of rows.

Channels last is the order in which convolutions on a CPU are fastest. oneDNN computes wrong
gradients in it, or leaves its memory, for a kind of convolution that `safe_to_train` names
(docs/engine.md: what was tried, on which instruction sets, and a report of the fault). Such a
convolution is never tried out, for it destroys what it touches: it takes contiguous memory.

The BLAS beneath `torch.nn.functional.linear` chooses its kernel by the number of rows, so that the
same sample gives other last bits in another batch (MKL on Intel: below 16 rows, and in the last
rows beyond a multiple of 6 or 4). Blocks of one size are multiplied alike, wherever a row stands.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.networks import exchanged_where, hooked

# What the survey of docs/engine.md covers: 1 to 512 channels, any groups, batch and image size.
LARGEST_KERNEL, LARGEST_STRIDE, LARGEST_DILATION = 11, 5, 3
# A 1x1 kernel with a stride copies its pixels by whole vectors before it takes the gradient by
# weight, beyond the end where a pixel holds fewer channels than a vector: with AVX2, 2 to 7.
FEWEST_CHANNELS = 8
ROWS = 96  # a multiple of the rows that a kernel takes at once, also when two to four threads share
FEATURES = 4  # MKL on AMD sums an odd feature that is left over otherwise, by the place of its row


def is_plain(module: nn.Module, name: str) -> bool:
    """Whether a module is PyTorch's or SpikingJelly's own layer of this class name: a class derived
    from it may compute something else.
    """
    own = type(module).__module__.startswith(("torch.nn.", "spikingjelly."))
    return own and type(module).__name__ == name


def safe_to_run(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a forward pass is known to be right channels last: of a convolution as surveyed."""
    return (
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) <= LARGEST_KERNEL
        and max(module.stride) <= LARGEST_STRIDE
        and max(module.dilation) <= LARGEST_DILATION
    )


def safe_to_train(module: nn.Module) -> bool:
    """Whether gradients are known to be right channels last, too, on every instruction set."""
    if not safe_to_run(module):
        return False
    strided = max(module.kernel_size) == 1 and max(module.stride) > 1
    return not strided or module.in_channels // module.groups >= FEWEST_CHANNELS


def _suspects(net: nn.Module) -> dict[str, nn.Conv2d]:
    """Convolutions that are not safe to train."""
    convolutions = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    return {name: module for name, module in convolutions if not safe_to_train(module)}


def right_in_bf16(module: nn.Conv2d, height: int, width: int) -> bool:
    """Whether products in bf16 on a CPU are known to be right for images of this size.

    Elsewhere oneDNN's kernels leave parts of a result as they found them in memory: taps of a
    kernel that meet padding alone, and outputs of narrow images (docs/engine.md).
    """
    side, stride = module.kernel_size[0], max(module.stride)
    if not safe_to_run(module) or max(module.dilation) > 1:
        return False
    plain = module.groups == 1 and side in (3, 5, 7)  # a strided 1x1 kernel is suspect here, too
    middle = set(module.kernel_size) == {side} and module.padding == (side // 2, side // 2)
    return stride == 1 or (stride == 2 and plain and middle and height == width > 1)


def bf16_where_right(net: nn.Module) -> AbstractContextManager[None]:
    """Inside, convolutions on the CPU leave an autocast to bf16 that is not `right_in_bf16`."""
    return exchanged_where(net, lambda m: isinstance(m, nn.Conv2d), _in_bf16_where_right)


def _in_bf16_where_right(module: nn.Conv2d, own: Callable[..., Tensor], x: Tensor) -> Tensor:
    if x.device.type != "cpu" or right_in_bf16(module, *x.shape[-2:]):
        return own(x)
    with torch.autocast("cpu", enabled=False):
        return own(x.float())


def can_lie_channels_last(net: nn.Module) -> bool:
    """Whether all 4-dimensional parameters of a network are of convolutions that run so rightly.

    Any other may be the weight of an operation that nobody has looked at.
    """
    known = {id(p) for m in net.modules() if safe_to_run(m) for p in m.parameters(recurse=False)}
    return all(id(p) in known for p in net.parameters() if p.dim() == 4)


@contextmanager
def channels_last(net: nn.Module, where: bool = True, training: bool = False) -> Iterator[None]:
    """Inside, and `where` it is asked for, weights of convolutions on the CPU lie channels last.

    Activations follow them. Nothing happens to a network that cannot lie so
    (`can_lie_channels_last`). Afterwards weights lie as before. Sums are rounded in another order,
    so results are those of the contiguous network but for rounding. For `training` steps
    convolutions not `safe_to_train` take contiguous memory, in whatever order their input comes,
    also where channels last is not asked for; without it, no gradient by weight may be taken.
    """
    suspects = list(_suspects(net).values()) if training else []
    orders: dict[Tensor, torch.memory_format] = {}
    if where and can_lie_channels_last(net):
        orders = dict.fromkeys(_weights(net), torch.channels_last)
    orders |= {m.weight: torch.contiguous_format for m in suspects if m.weight.device.type == "cpu"}
    before = {weight: weight.stride() for weight in orders}
    try:
        for weight, order in orders.items():
            weight.data = _in_order(weight.data, order)
        with hooked(m.register_forward_pre_hook(_contiguous_input) for m in suspects):
            yield
    finally:
        for weight, stride in before.items():
            if weight.stride() != stride:
                old = torch.empty_strided(weight.shape, stride, dtype=weight.dtype)
                weight.data = old.copy_(weight.data)


def layout_of(net: nn.Module, where: bool = True) -> dict[str, Any]:
    """What `channels_last` does to a network that is trained, for its provenance."""
    if not (where and _weights(net) and can_lie_channels_last(net)):
        return {"memory": "contiguous"}
    suspects = list(_suspects(net))
    return {"memory": "channels last", **({"contiguous": suspects} if suspects else {})}


def _weights(net: nn.Module) -> list[Tensor]:
    """Of convolutions on the CPU; elsewhere nothing is laid in another order."""
    weights = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d)]
    return [weight for weight in weights if weight.device.type == "cpu"]


def _in_order(x: Tensor, order: torch.memory_format) -> Tensor:
    """`x` in this order; in the contiguous one with the strides of a new tensor.

    Sides of 1 leave strides open, by which PyTorch would take the same memory for channels last.
    """
    if order is torch.channels_last:
        return x.contiguous(memory_format=order)
    return x.contiguous().flatten().view(x.shape)


def _contiguous_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    order = torch.contiguous_format
    return tuple(_in_order(x, order) if isinstance(x, Tensor) else x for x in inputs)


def linear_by_rows(net: nn.Module) -> AbstractContextManager[None]:
    """Inside, PyTorch's and SpikingJelly's own linear layers on the CPU multiply blocks of `ROWS`
    rows, filled up with zeros, as their features are; layers of another kind run as they are."""
    return exchanged_where(net, lambda module: is_plain(module, "Linear"), _by_rows)


def _by_rows(module: nn.Linear, own: Callable[..., Tensor], x: Tensor) -> Tensor:
    if x.device.type != "cpu" or x.dim() < 2 or x.numel() == 0:
        return own(x)
    count, missing = x.shape[:-1].numel(), -x.shape[-1] % FEATURES
    weight = F.pad(module.weight, (0, missing)) if missing else module.weight
    rows = F.pad(x.flatten(0, -2), (0, missing, 0, -count % ROWS))
    blocks = [F.linear(block, weight, module.bias) for block in torch.split(rows, ROWS)]
    out = torch.cat(blocks)[:count]
    return out.view(*x.shape[:-1], -1)
