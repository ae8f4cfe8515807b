"""What is set once for the whole process: how much is said on the way, whether freed memory is
kept, and where compiled loops stay.
"""

import contextlib
import ctypes
import functools
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ahsar_eval.errors import AhsarWarning
from ahsar_eval.files import cache_folder

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")
QUIET, USUAL, VERBOSE = -1, 0, 1
_level = USUAL

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
_depth = 0  # of blocks that keep freed memory


def set_verbosity(level: int) -> None:
    """How much is said from now on: `QUIET`, `USUAL` or `VERBOSE`."""
    global _level
    _level = level


def is_quiet() -> bool:
    """Whether only results and errors are to be said."""
    return _level == QUIET


def say(text: str) -> None:
    """A line on standard error, under --verbose only."""
    if _level == VERBOSE:
        print(text, file=sys.stderr, flush=True)


def progress(
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "batch"
) -> "tqdm[Item]":
    """Iterate over `items` under a bar on standard error; nothing is printed where standard error
    is not a terminal, or under --quiet.
    """
    from tqdm import tqdm

    hidden = True if is_quiet() else None
    return tqdm(
        items, desc=label, total=total, unit=unit, leave=False, disable=hidden, dynamic_ncols=True
    )


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Freed memory stays with the process while the outermost such block runs, and goes back when
    it ends. No effect but with glibc.

    Tensors of a forward pass are freed layer by layer and wanted again at once. glibc gives blocks
    of over 32 MB straight back to the system and trims what is free at its top, so that every layer
    of every batch pays for fresh pages (docs/performance.md: up to a third of the time). PyTorch
    keeps freed memory by itself on a GPU, and not on a CPU.
    """
    global _depth
    if _depth == 0:
        _allocate(_KEEPING)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            _allocate(_AS_BEFORE, trimmed=True)


def _allocate(options: dict[int, int], *, trimmed: bool = False) -> None:
    """Set options of glibc's allocator, and give back what is free."""
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another libc, or Windows
        libc = ctypes.CDLL(None)
        for option, value in options.items():
            libc.mallopt(option, value)
        if trimmed:
            libc.malloc_trim(0)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` as all compiled loops use it: what it compiled is kept between runs, wherever
    that is possible.

    Used only by modules of loops (`kernels`), and those are imported only when a loop runs: numba
    takes a tenth of a second to import, and a command that finds everything stored needs none.
    """
    import numba

    return numba.njit(cache=_loops_are_kept(), **options)  # type: ignore[no-any-return]


@functools.cache
def _loops_are_kept() -> bool:
    """Make numba find a folder for what it compiled; False where there is none at all."""
    import numba

    # By itself it writes beside the source, into the user's cache, or where NUMBA_CACHE_DIR says.
    own = numba.config.CACHE_DIR
    for folder in (lambda: own, lambda: cache_folder("loops"), _private_folder):
        numba.config.CACHE_DIR = str(folder() or "")
        with contextlib.suppress(RuntimeError):  # "no locator available"
            numba.njit(cache=True)(_private_folder)  # any function stands for all loops
            return True
    warnings.warn(
        "no folder can be written that would keep compiled loops, so they are compiled anew each "
        "time; name one with AHSAR_EVAL_CACHE",
        AhsarWarning,
        stacklevel=2,
    )
    return False


def _private_folder() -> Path | None:
    """A folder for temporary files that is this user's alone: what lies in it is executed."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"ahsar-eval-loops-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        alone = found.st_uid == user and not stat.S_IMODE(found.st_mode) & 0o077
        if stat.S_ISDIR(found.st_mode) and (alone or os.name == "nt"):
            return folder
    return None
