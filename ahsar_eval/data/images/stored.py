"""A named set below the data root: which files it needs, how it is read, and what is said where
they are missing or damaged.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.data.entry import DataOptions, Entry, default_root
from ahsar_eval.data.images.layouts import Missing
from ahsar_eval.data.later import later
from ahsar_eval.errors import AhsarError, DataError

if TYPE_CHECKING:
    from ahsar_eval.data.images.content import Content, image_set
    from ahsar_eval.data.split import ImageSet
else:
    image_set = later("ahsar_eval.data.images.content").image_set


@dataclass(frozen=True)
class Stored:
    """A set on disk. `read(root, role)` reads it, `missing(root, role)` names what it lacks,
    `download(root, role)` gets it.
    """

    note: str
    files: str  # what lies below the root, for people
    places: tuple[str, ...]  # `Entry.places`
    read: "Callable[[Path, str], Content]"
    missing: Missing
    label_space: str
    roles: tuple[str, ...] = ("train", "test")
    download: Callable[[Path, str], None] | None = None
    augment: str = ""  # `Entry.augment`


def entries_of(stored: Mapping[str, Stored]) -> dict[str, Entry]:
    """The catalogue's entries."""
    return {name: _entry(name, one) for name, one in stored.items()}


def open_stored(name: str, stored: Stored, role: str, options: DataOptions) -> "ImageSet":
    """The split `role` of a set below `options.root`, downloaded first where it is missing and that
    is allowed.

    Raises `DataError` for a split that the set does not have, and where it is missing, damaged or
    cannot be downloaded.
    """
    if role not in stored.roles:
        hint = (
            "; a validation split is held out of train"
            if role == "validation" and "train" in stored.roles
            else ""
        )
        raise DataError(
            f"{name} has no split {role!r}; known are {' and '.join(stored.roles)}{hint}"
        )
    root = Path(options.root).expanduser()
    if options.download and stored.download is not None and stored.missing(root, role):
        _download(name, stored, role, root)
    absent = stored.missing(root, role)
    if absent:
        raise DataError(_how_to_get(name, stored, root, absent))
    try:
        content = stored.read(root, role)
    except AhsarError:
        raise
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name} is read with the package {error.name}, which is not installed; run pip "
            f"install {error.name}"
        ) from error
    # torchvision, SciPy and h5py report damaged files by many kinds of errors, assertions among
    # them
    except Exception as error:
        raise DataError(
            f"{name} in {root} is damaged ({_brief(error)}); remove its files and place them "
            f"again: {stored.files}"
        ) from error
    return image_set(name, role, content, label_space=stored.label_space, note=stored.note)


def _entry(name: str, stored: Stored) -> Entry:
    return Entry(
        open=lambda role, options: open_stored(name, stored, role, options),
        note=stored.note,
        is_there=lambda root: not stored.missing(root, stored.roles[-1]),
        roles=stored.roles,
        can_download=stored.download is not None,
        files=stored.files,
        places=stored.places,
        augment=stored.augment,
    )


def _how_to_get(name: str, stored: Stored, root: Path, absent: list[str]) -> str:
    found = f"{name} is not complete in {root} ({absent[0]} is missing)"
    if stored.download is None:
        return f"{found}; place there: {stored.files}"
    command = f"ahsar-eval data prepare {name} --download"
    if root != default_root():
        command += f" --data-root {shlex.quote(str(root))}"
    return f"{found}; run `{command}`, or place there: {stored.files}"


def _download(name: str, stored: Stored, role: str, root: Path) -> None:
    assert stored.download is not None
    try:
        root.mkdir(parents=True, exist_ok=True)
        stored.download(root, role)
    # no connection, a mirror that is gone, a full disk, an archive with another checksum
    except Exception as error:
        raise DataError(
            f"{name} could not be downloaded to {root} ({_brief(error)}); check the connection and "
            f"the disk, or place there: {stored.files}"
        ) from error


def _brief(error: Exception) -> str:
    """Kind and first line of an error, without a full stop, for the middle of a sentence."""
    lines = str(error).strip().splitlines()
    return (
        f"{type(error).__name__}: {lines[0].rstrip('.')[:160]}" if lines else type(error).__name__
    )
