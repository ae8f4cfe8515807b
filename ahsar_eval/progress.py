"""What is said on the way: a bar for long work on a terminal, and what is done under --verbose."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")
QUIET, USUAL, VERBOSE = -1, 0, 1
_level = USUAL


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
