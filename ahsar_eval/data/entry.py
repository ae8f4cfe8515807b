"""What the catalogue knows of a set before it is opened, and where data lie."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.options import option

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

    root: Path = option(
        "Folder of the named sets (default: AHSAR_EVAL_DATA or the user's cache).",
        flag="--data-root",
        metavar="DIR",
        factory=default_root,
    )
    download: bool = option("Download a missing set where torchvision can.", False)
    split_seed: int = option("Seed of random splits (cifar10-dvs-random).", 0)
    frost: Path | None = option(
        "Photographs of frost in place of the grown frost textures.", metavar="DIR"
    )
    limit: int | None = option(
        "Of every set that is evaluated, the first N samples of a fixed shuffle (said in every "
        "output).",
        metavar="N",
    )
    # Sets by name and role that were opened with these options: opening hashes every file, and one
    # command names a set several times.
    opened: "dict[tuple[str, str], SampleSet]" = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser())

    def check(self) -> None:
        """Raises `UsageError` for a root that is no folder and a negative seed, `DataError` for
        photographs of frost that cannot be used.
        """
        if (
            not self.root.expanduser().is_dir()
            and self.root != default_root()
            and not self.download
        ):
            raise UsageError(
                f"--data-root {str(self.root)!r} is no folder; give the folder that holds the sets"
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is {self.limit}; expected at least 1 sample")
        if self.split_seed < 0:
            raise UsageError(f"--split-seed is {self.split_seed}; expected a whole number from 0")
        if self.frost is not None:
            from ahsar_eval.data.corruptions.weather import photographs_identity

            photographs_identity(self.frost)  # refused now, not when the first crop is taken


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
