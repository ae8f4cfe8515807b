"""Random numbers that depend on (seed, shift, severity, sample index) alone: no batch size, order or worker count changes them."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data.split import Indices


def generators(seed: int, shift: str, severity: int, indices: Indices) -> list[np.random.Generator]:
    """One counter-based generator (Philox 4×64) per sample; its key is a hash of the four numbers."""
    made = []
    for index in indices:
        key = hashlib.sha256(f"{seed}|{shift}|{severity}|{int(index)}".encode()).digest()[:16]
        made.append(np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))))
    return made


def normal(shape: tuple[int, ...], makers: list[np.random.Generator]) -> Tensor:
    """Standard normal numbers [N, *shape] float32, row by row from each sample's generator."""
    return torch.from_numpy(np.stack([maker.standard_normal(shape, dtype=np.float32) for maker in makers]))


def uniform(shape: tuple[int, ...], makers: list[np.random.Generator]) -> Tensor:
    """Uniform numbers in [0, 1), [N, *shape] float32, row by row from each sample's generator."""
    return torch.from_numpy(np.stack([maker.random(shape, dtype=np.float32) for maker in makers]))
