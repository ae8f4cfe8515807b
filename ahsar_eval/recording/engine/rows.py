"""Linear layers whose sums do not depend on how many rows are multiplied at once.

The BLAS beneath `torch.nn.functional.linear` chooses its kernel by the number of rows, so that the
same sample gives other last bits in another batch (MKL on Intel: below 16 rows, and in the last
rows beyond a multiple of 6 or 4). Blocks of one size are multiplied alike, wherever a row stands.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.recording.engine.exchange import exchanged

ROWS = 96  # a multiple of the rows that a kernel takes at once, also when two to four threads share
FEATURES = 4  # MKL on AMD sums an odd feature that is left over otherwise, by the place of its row


@contextmanager
def linear_by_rows(net: nn.Module) -> Iterator[None]:
    """Inside, PyTorch's and SpikingJelly's own linear layers on the CPU multiply blocks of `ROWS`
    rows, filled up with zeros, as their features are; layers of another kind run as they are."""
    plain = [m for m in net.modules() if isinstance(m, nn.Linear) and _is_plain(m)]
    with exchanged({module: _by_rows(module) for module in plain}):
        yield


def _is_plain(module: nn.Linear) -> bool:
    own = type(module).__module__.startswith(("torch.nn.", "spikingjelly."))
    return own and type(module).__name__ == "Linear" and "forward" not in vars(module)


def _by_rows(module: nn.Linear) -> Callable[[Tensor], Tensor]:
    own = module.forward
    missing = -module.in_features % FEATURES

    def multiplied(block: Tensor) -> Tensor:
        if not missing:
            return own(block)
        return F.linear(F.pad(block, (0, missing)), F.pad(module.weight, (0, missing)), module.bias)

    def forward(x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dim() < 2 or x.numel() == 0:
            return own(x)
        rows = x.flatten(0, -2)
        filled = F.pad(rows, (0, 0, 0, -len(rows) % ROWS))
        out = torch.cat([multiplied(block) for block in torch.split(filled, ROWS)])[: len(rows)]
        return out.view(*x.shape[:-1], -1)

    return forward
