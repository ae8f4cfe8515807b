"""Freed memory kept for the next tensor, where glibc would hand it back and the system would have
to clear it again.

Tensors of a forward pass are freed layer by layer and wanted again at once. glibc gives blocks of
over 32 MB straight back to the system and trims what is free at its top, so that every layer of
every batch pays for fresh pages (docs/performance.md: up to a third of the time). PyTorch keeps
freed memory by itself on a GPU, and not on a CPU.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import cast

# Of malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 1 << 26}
# Where glibc ends up by itself once large blocks were freed; it stops adapting when it is told
# anything.
_AS_BEFORE = {
    _MMAP_MAX: 65536,
    _MMAP_THRESHOLD: 1 << 25,
    _TRIM_THRESHOLD: 1 << 26,
    _TOP_PAD: 1 << 17,
}

_depth = 0


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Freed memory stays with the process while the outermost such block runs, and goes back when
    it ends. No effect but with glibc.
    """
    global _depth
    if _depth == 0:
        _set(_KEEPING)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            _set(_AS_BEFORE)
            if (trim := _of_libc("malloc_trim")) is not None:
                trim(0)


def _set(options: dict[int, int]) -> None:
    if (mallopt := _of_libc("mallopt")) is not None:
        for option, value in options.items():
            mallopt(option, value)


def _of_libc(name: str) -> Callable[..., int] | None:
    try:
        return cast("Callable[..., int] | None", getattr(ctypes.CDLL(None), name, None))
    except (OSError, TypeError):  # Windows has no library without a name
        return None
