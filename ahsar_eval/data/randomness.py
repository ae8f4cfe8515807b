"""Random numbers that depend on (seed, shift, severity, sample index) alone: no batch size, order
or worker count changes them.

Images draw from Philox 4×32-10 (Salmon et al. 2011), a counter-based generator: the key is a hash
of (seed, shift, severity), the counter holds the sample index, the number of the draw and the place
in it, so that a whole batch is filled at once. Event recordings, which come one by one, take
NumPy's own generator.
"""

import hashlib
import itertools
import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.split import Indices


def generators(seed: int, shift: str, severity: int, indices: Iterable[int]) -> list[Generator]:
    """One NumPy generator per sample, of the four numbers alone."""
    return [generator(f"{seed}|{shift}|{severity}|{int(index)}") for index in indices]


def generator(text: str) -> Generator:
    """NumPy's generator (Philox 4×64) whose key is a hash of `text`."""
    key = hashlib.sha256(text.encode()).digest()[:16]
    return Generator(Philox(key=int.from_bytes(key, "little")))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch: each call draws anew for every sample, in the order of the
    calls.
    """

    seed: int
    shift: str
    severity: int
    indices: Indices
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

    @property
    def key(self) -> tuple[int, int]:
        """Two 32-bit words from (seed, shift, severity)."""
        digest = hashlib.sha256(f"{self.seed}|{self.shift}|{self.severity}".encode()).digest()
        first, second = struct.unpack("<II", digest[:8])
        return first, second

    def _fill(self, kernel: Callable[..., None], *arrays: NDArray[np.float32]) -> None:
        """Let a loop of `kernels` fill the last of `arrays` by the numbers of the next call."""
        call = (*self.key, next(self._numbers))
        kernel(*map(np.uint64, call), np.asarray(self.indices, dtype=np.uint64), *arrays)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high), [N, *shape] float32, from 24 random bits each."""
        from ahsar_eval.data.kernels import fill_uniform

        count = math.prod(shape)
        filled = np.empty((len(self.indices), 4, -(-count // 4)), dtype=np.float32)
        self._fill(fill_uniform, filled)
        numbers = torch.from_numpy(filled).flatten(1)[:, :count].reshape(len(self.indices), *shape)
        return numbers.mul_(high - low).add_(low)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, [N, *shape] float32, by Box and Muller's method."""
        count = math.prod(shape)
        pairs = self.uniform(2, -(-count // 2))
        radius = torch.log1p(-pairs[:, 0]).mul_(-2).sqrt_()
        angle = pairs[:, 1] * (2 * math.pi)
        numbers = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1)
        return numbers.flatten(1)[:, :count].reshape(len(self.indices), *shape)

    def poisson(self, rates: Tensor) -> Tensor:
        """Poisson counts with expectations `rates` [N, …] float32, of the same shape."""
        from ahsar_eval.data.kernels import fill_poisson

        flat = rates.reshape(len(self.indices), -1).contiguous().numpy()
        first = self.uniform(2, flat.shape[1]).contiguous().numpy()
        counts = np.empty_like(flat)
        self._fill(fill_poisson, flat, first, counts)
        return torch.from_numpy(counts).reshape(rates.shape)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Whole numbers low … high − 1, each as likely (to 2⁻²⁴), [N, *shape] int64."""
        return low + (self.uniform(*shape) * (high - low)).to(torch.int64).clamp_(
            max=high - low - 1
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All global generators that code of others may draw from begin at `seed` in the block, and go
    on afterwards as if it had not run.
    """
    states = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count())
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
