"""Progress of long work: a bar on a terminal, silence elsewhere."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "batch"
) -> "tqdm[Item]":
    """Iterate over `items` under a bar on standard error; nothing is printed where standard error
    is not a terminal.
    """
    return tqdm(
        items, desc=label, total=total, unit=unit, leave=False, disable=None, dynamic_ncols=True
    )
