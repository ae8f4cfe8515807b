"""Event recordings that lie as files below a folder, as an `EventSet` that reads them when they are
asked for.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.decoded import Sensor
from ahsar_eval.data.events.digest import content_hashes, name_below
from ahsar_eval.data.events.files import read_events
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import EventSet, Indices
from ahsar_eval.files import sha256_of


@dataclass(frozen=True)
class Recording:
    """A file and its class, −1 where unknown."""

    file: Path
    label: int


def natural(path: Path) -> tuple[tuple[str | int, ...], str]:
    """Sort key by file name with numbers by value, so that 9 comes before 10; equal names by the
    whole path.
    """
    parts = re.split(r"([0-9]+)", path.name.lower())
    return tuple(
        int(part) if place % 2 else part for place, part in enumerate(parts)
    ), path.as_posix()


def files_below(folder: Path, suffixes: Sequence[str], *, deep: bool = True) -> list[Path]:
    """Files of these suffixes in `folder` (and below it), in natural order; hidden ones are no
    recordings.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if deep and not _hidden(name)]
        kept = (
            name
            for name in names
            if os.path.splitext(name)[1].lower() in suffixes and not _hidden(name)
        )
        found += [path for name in kept if (path := Path(place, name)).is_file()]
    return sorted(found, key=natural)


def holds_files(folder: Path, suffixes: Sequence[str]) -> bool:
    """Whether a file of these suffixes lies directly in `folder`."""
    with os.scandir(folder) as entries:
        return any(
            os.path.splitext(entry.name)[1].lower() in suffixes
            and not _hidden(entry.name)
            and entry.is_file()
            for entry in entries
        )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def event_set(
    recordings: Sequence[Recording],
    root: Path,
    *,
    name: str,
    role: str,
    classes: tuple[str, ...],
    label_space: str,
    sensor: Sensor,
    form: str | None = None,
    note: str = "",
    split: str = "",
) -> EventSet:
    """The set of `recordings`, in their order; `sensor` is (height, width).

    The identity is a hash of the names below `root`, the labels and the content, of the sensor, of
    `form` and of the rule of the `split`; where `root` lies does not count. Raises `DataError` for
    a file that cannot be read, now or when it is fetched.
    """
    files = [recording.file for recording in recordings]
    labels = np.array([recording.label for recording in recordings], dtype=np.int64)
    content = [
        part
        for file, label, digest in zip(files, labels, content_hashes(files, root), strict=True)
        for part in (name_below(file, root), str(label), digest)
    ]
    height, width = sensor

    def fetch(indices: Indices) -> list[Events]:
        return [read_events(files[index], sensor, form) for index in indices]

    return EventSet(
        name=name,
        role=role,
        labels=labels,
        classes=classes,
        identity=sha256_of(
            "events", f"{height}x{width}", form or "", split, str(len(classes)), *classes, *content
        ),
        label_space=label_space,
        fetch=fetch,
        shape=(2, height, width),
        note=note,
        division=split,
    )
