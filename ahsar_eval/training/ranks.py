"""One training on several processes: each takes its share of every batch, and together they take
the step of one process.

Gradients are summed by one explicit all-reduce rather than by torch's DistributedDataParallel:
shares of an uneven last batch weigh by their size, a parameter that a network of the user's does
not use needs no search for it, the loss travels in the same transfer, and the controller's hooks
stay on the network itself. Batch norms see their own rank's share, as with DistributedDataParallel;
their running statistics are averaged once per epoch. The first rank alone validates, writes and
prints; what it found is sent to the others.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from ahsar_eval.data.split import Indices
from ahsar_eval.errors import UsageError

_LONGEST_WAIT = timedelta(hours=2)  # of the others, while the first rank validates


@dataclass(frozen=True)
class Ranks:
    """This process's place among `size` that train together; a process alone is rank 0 of 1, for
    which every method does nothing.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process validates, writes and prints."""
        return self.rank == 0

    def share(self, index: Indices) -> Indices:
        """This rank's part of one batch; parts differ by at most one sample."""
        return index if self.size == 1 else np.array_split(index, self.size)[self.rank]

    def step_sums(self, parameters: Sequence[nn.Parameter], sums: Tensor) -> Tensor:
        """Sum gradients, in place, and `sums` [M] over all ranks, in one transfer; every rank gets
        the same bits.
        """
        if self.size == 1:
            return sums
        for parameter in parameters:
            # A parameter that was not used on this rank may have been on another.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat(
            [*(gradient.reshape(-1) for gradient in gradients), sums.to(gradients[0])]
        )
        distributed.all_reduce(together)
        start = 0
        for gradient in gradients:
            gradient.copy_(together[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return together[start:]

    def average_buffers(self, net: nn.Module) -> None:
        """Give all ranks the mean of the running statistics that each found on its own shares."""
        if self.size == 1:
            return
        for buffer in net.buffers():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.size

    def from_first(self, value: Any) -> Any:
        """What the first rank holds, on every rank."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held)
        return held[0]

    def check_equal(self, epochs: int) -> None:
        """Wait for all ranks and compare how many epochs are done. Raises `UsageError` on every
        rank where one differs.
        """
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, epochs)
        if len(set(found)) > 1:
            raise UsageError(
                f"the number of epochs done differs over the ranks ({', '.join(map(str, found))}); "
                "give all of them the same folder"
            )


def present_ranks() -> Ranks:
    """This process's place in the process group that it has joined; alone without one."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, str]]:
    """Join the processes that torchrun started, over nccl on GPUs and gloo on the CPU; gives this
    one's place and its device.

    'cuda' becomes the GPU of this process's local rank. Without torchrun's variables the process is
    alone. Raises `UsageError` where there are fewer GPUs than processes, or one is named for all of
    them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield Ranks(), device
        return
    gpu = torch.device(device).type == "cuda"
    if gpu:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if device != "cuda":
            raise UsageError(
                f"--device is {device} and {size} processes train together; give --device cuda, "
                "each takes a GPU of its own"
            )
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"process {local} of this machine has no GPU, as there are "
                f"{torch.cuda.device_count()}; start fewer processes"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if gpu else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield present_ranks(), device
    finally:
        distributed.destroy_process_group()
