"""Freed memory stays with the process inside a block and goes back behind it: seen in the pages
that the system counts for the process.

Each look is taken in a process of its own: what a process has freed before may serve again, and
then no page is added.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ahsar_eval import process
from ahsar_eval.process import freed_memory_kept

SIZE = 96 * 2**20  # bytes: beyond what glibc ever keeps by itself

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt") or not Path("/proc/self/statm").exists(),
    reason="memory is kept where glibc and /proc are",
)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def used_and_freed() -> int:
    """Bytes that stay with the process after a large tensor was written and freed."""
    before = resident()
    tensor = torch.ones(SIZE // 4)
    assert resident() - before > 0.9 * SIZE
    del tensor
    return resident() - before


def inside_alone() -> None:
    assert used_and_freed() < 0.1 * SIZE
    start = resident()
    with freed_memory_kept():
        assert used_and_freed() > 0.9 * SIZE
        with freed_memory_kept():
            pass
        assert resident() - start > 0.9 * SIZE  # an inner block gives nothing back
    assert resident() - start < 0.1 * SIZE
    below, above = torch.ones(SIZE // 4), torch.ones(SIZE // 4)
    del below
    assert (
        resident() - start < 1.1 * SIZE
    )  # each has pages of its own again: what lies above does not hold back what lies below
    del above


def when_the_block_fails() -> None:
    start = resident()
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        torch.ones(SIZE // 4)[0].item() // 0
    assert resident() - start < 0.1 * SIZE
    assert process._depth == 0


@pytest.mark.parametrize("look", [inside_alone, when_the_block_fails])
def test_freed_memory_is_kept_inside_a_block_and_goes_back_behind_it(look):
    found = subprocess.run(
        [sys.executable, __file__, look.__name__], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


def test_a_libc_without_these_calls_changes_nothing(monkeypatch):
    class Bare:
        def __init__(self, name):
            raise TypeError

    monkeypatch.setattr(ctypes, "CDLL", Bare)
    with freed_memory_kept():
        assert np.ones(3).sum() == 3
    assert process._depth == 0


if __name__ == "__main__":
    globals()[sys.argv[1]]()
