"""What the catalogue knows of a set before it is opened, and where data lie."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from ahsar_eval.errors import DataError

if TYPE_CHECKING:
    from ahsar_eval.data.split import SampleSet


def default_root() -> Path:
    """Where sets lie: `AHSAR_EVAL_DATA`, else `data` in the user's cache folder."""
    if chosen := os.environ.get("AHSAR_EVAL_DATA"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("ahsar-eval")) / "data"


def sklearn_file(name: str) -> Path:
    """A file below scikit-learn's `datasets` folder, found without importing it. Raises `DataError`
    where scikit-learn or the file is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is not None and spec.origin:
        path = Path(spec.origin).parent / "datasets" / name
        if path.is_file():
            return path
    raise DataError(
        f"scikit-learn's file {name} is missing; install scikit-learn, which carries the "
        "embedded sets"
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
    # Whether its test files lie below the root, without reading them.
    is_there: Callable[[Path], bool] = lambda root: True
    modality: str = "image"  # image or events
    # Its splits; without a validation split, a hold-out of train is taken.
    roles: tuple[str, ...] = ("train", "test")
    can_download: bool = False
    # What lies below the data root, for `data info` and the message of a missing set.
    files: str = ""
    # Every name directly below the data root that opening it may look at, in any case of letters.
    places: tuple[str, ...] = ()
    # The transforms that training on it calls for, of `augment.AUGMENTATIONS`; "" is none.
    augment: str = ""
