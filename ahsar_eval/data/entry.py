"""What the catalogue knows of a set before it is opened, and where the user keeps data."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from ahsar_eval.errors import UsageError
from ahsar_eval.options import option

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
        if self.split_seed < 0:
            raise UsageError(f"--split-seed is {self.split_seed}; expected a whole number from 0")
        if self.frost is not None:
            from ahsar_eval.data.corruptions.frost import photographs_identity

            photographs_identity(self.frost)  # refused now, not when the first crop is taken


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
