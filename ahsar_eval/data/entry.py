"""What the catalogue knows of a set before it is opened, and where the user keeps data."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from ahsar_eval.data.split import SampleSet


def default_root() -> Path:
    """Where sets lie: `AHSAR_EVAL_DATA`, else `data` in the user's cache folder."""
    chosen = os.environ.get("AHSAR_EVAL_DATA")
    return (
        Path(chosen).expanduser()
        if chosen
        else Path(platformdirs.user_cache_dir("ahsar-eval")) / "data"
    )


@dataclass(frozen=True)
class DataOptions:
    """What a user can say about data beside a name: where sets lie, whether a missing one may be
    downloaded, seed of random splits.
    """

    root: Path = field(default_factory=default_root)
    download: bool = False
    split_seed: int = 0
    frost: Path | None = None  # a folder of photographs in place of the procedural frost
    # Sets by name and role that were opened with these options: opening hashes every file, and one
    # command names a set several times.
    opened: "dict[tuple[str, str], SampleSet]" = field(
        default_factory=dict, repr=False, compare=False
    )


@dataclass(frozen=True)
class Entry:
    """A set of the catalogue. `open(role, options)` gives it at its own size, or raises `DataError`
    that says what to place where.
    """

    open: "Callable[[str, DataOptions], SampleSet]"
    note: str  # one line: what it is
    is_there: Callable[[Path], bool] = lambda root: (
        True
    )  # whether its test files lie below the root, without reading them
    modality: str = "image"  # image or events
    roles: tuple[str, ...] = (
        "train",
        "test",
    )  # its splits; without a validation split, a hold-out of train is taken
    can_download: bool = False
    files: str = (
        ""  # what lies below the data root, for `data info` and the message of a missing set
    )
    places: tuple[
        str, ...
        # every name directly below the data root that opening it may look at, in any case of
        # letters
    ] = ()
    augment: str = (
        ""  # the transforms that training on it calls for, of `augment.AUGMENTATIONS`; "" is none
    )
