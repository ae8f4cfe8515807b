"""Event recordings: one from one file of any known kind (`read_events`), and those that lie as
files below a folder, as an `EventSet` that reads them when they are asked for.

Hashes of the files are kept between runs: a file is read again only when its size or one of its
times has changed.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.arrays import read_h5, read_mat, read_npy, read_npz, stated_in_h5
from ahsar_eval.data.events.cameras import (
    read_aedat,
    read_bin,
    read_dat,
    stated_in_aedat,
    stated_in_dat,
)
from ahsar_eval.data.events.stream import Decoded, Events, Sensor, checked
from ahsar_eval.data.split import EventSet, Indices
from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.files import cache_folder, sha256_of, sha256_of_file, write_text

# A file that changes twice within one tick of the file system's clock keeps its times: so recent a
# one is not remembered (git's rule).
_RACY_NS = 2_000_000_000


@dataclass(frozen=True)
class Reader:
    """A kind of file: `read(path, form, sensor)`, `stated(path)` gives the sensor its header
    states, `kind` names it in messages.
    """

    kind: str
    read: Callable[[Path, str | None, Sensor | None], Decoded]
    stated: Callable[[Path], Sensor | None] = lambda path: None


_AEDAT = Reader("AEDAT", read_aedat, stated_in_aedat)
_HDF5 = Reader("an HDF5 file", read_h5, stated_in_h5)
READERS: dict[str, Reader] = {
    ".bin": Reader("N-MNIST's format of five bytes an event", read_bin),
    ".dat": Reader("Prophesee's .dat", read_dat, stated_in_dat),
    ".aedat": _AEDAT,
    ".aedat4": _AEDAT,
    ".mat": Reader("a MATLAB file", read_mat),
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".npz": Reader("a NumPy archive without executable content", read_npz),
    ".npy": Reader("a NumPy array without executable content", read_npy),
}


def read_events(path: str | Path, sensor: Sensor | None = None, form: str | None = None) -> Events:
    """The recording of one file, by its suffix (`READERS`).

    `sensor` is (height, width); without it the file must state one. Where both do, the events must
    fit the sensor given. `form` names the set whose convention a file follows where the format
    leaves it open: cifar10-dvs, asl-dvs, dvs-gesture or pokerdvs. All formats here are written in
    the order of time, so time that runs backwards is refused and nothing is sorted. Raises
    `DataError`: one sentence that names the file, what was found and what was expected.
    """
    path = Path(path)
    with _reader(path) as reader:
        found = reader.read(path, form, sensor)
        size = sensor or found.sensor
        if size is None:
            raise DataError(
                f"{path} does not state the size of its sensor; state it (height and width in "
                "pixels)"
            )
        height, width = size
        if min(size) < 1:
            raise DataError(
                f"{path} states a sensor of {width}x{height} pixels; expected a positive width "
                "and height"
            )
        columns = found.t, found.x, found.y, found.p
        return checked(*columns, height=height, width=width, name=str(path))


def stated_sensor(path: str | Path) -> Sensor | None:
    """(height, width) that the header of a file states, or None. Raises `DataError` for a file that
    cannot be one of its kind.
    """
    path = Path(path)
    with _reader(path) as reader:
        return reader.stated(path)


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[Reader]:
    """The reader of a file. What a library raises on a damaged or foreign file while it is used
    becomes one sentence: `DataError` with the file and what was expected.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is no kind of event file that is known; expected one of {', '.join(READERS)}"
        )
    if not path.is_file():
        found = "no regular file" if path.exists() else "not there"
        raise DataError(f"{path} is {found}; expected {reader.kind}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; expected {reader.kind}; copy it again or remove it")
    try:
        yield reader
    except DataError:
        raise
    except BaseException as error:
        # SciPy's MatReadError is a bare Exception, and a panic of the aedat package, which is
        # written in Rust, is not even that.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{path} cannot be read as {reader.kind} ({type(error).__name__}); copy it again or "
            "remove it"
        ) from error


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


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted, without hidden ones."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def files_below(folder: Path, suffixes: Sequence[str], *, deep: bool = True) -> list[Path]:
    """Files of these suffixes in `folder` (and below it), in natural order; hidden ones are no
    recordings.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if deep and not _hidden(name)]
        found += [
            path
            for name in names
            if _is_recording(name, suffixes) and (path := Path(place, name)).is_file()
        ]
    return sorted(found, key=natural)


def holds_files(folder: Path, suffixes: Sequence[str]) -> bool:
    """Whether a file of these suffixes lies directly in `folder`."""
    with os.scandir(folder) as entries:
        return any(_is_recording(entry.name, suffixes) and entry.is_file() for entry in entries)


def _is_recording(name: str, suffixes: Sequence[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes and not _hidden(name)


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
    content = [
        part
        for one, digest in zip(recordings, content_hashes(files, root), strict=True)
        for part in (_name_below(one.file, root), str(one.label), digest)
    ]
    height, width = sensor

    def fetch(indices: Indices) -> list[Events]:
        return [read_events(files[index], sensor, form) for index in indices]

    return EventSet(
        name=name,
        role=role,
        labels=np.array([recording.label for recording in recordings], dtype=np.int64),
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


def content_hashes(files: Sequence[Path], root: Path) -> list[str]:
    """SHA-256 of each file, from an index in the cache folder (`AHSAR_EVAL_CACHE`, or the user's)
    where the file is as it was.

    The index of one `root` is one file, written whole. One that is damaged, or cannot be written,
    costs time and nothing else. Raises `DataError` for a file that cannot be read.
    """
    index = cache_folder("file-hashes") / f"{sha256_of(str(root.resolve()))[:32]}.json"
    known = _read(index)
    fresh: dict[str, str] = {}
    hashes = []
    for file in files:
        name = _name_below(file, root)
        try:
            stamp, newest = _stamp(file)
            entry = str(known.get(name))
            if not entry.startswith(stamp):
                entry = stamp + sha256_of_file(file)
                if time.time_ns() - newest > _RACY_NS and _stamp(file)[0] == stamp:
                    fresh[name] = entry
        except OSError as error:
            raise DataError(
                f"{file} cannot be read ({error.strerror or type(error).__name__}); mend its "
                "permissions or remove it"
            ) from error
        hashes.append(entry.removeprefix(stamp))
    if fresh:
        with contextlib.suppress(OutputError):  # the next run reads the files again
            write_text(index, json.dumps({**_read(index), **fresh}))
    return hashes


def _name_below(file: Path, root: Path) -> str:
    """The path of a file below `root`, with slashes; `Path.relative_to` takes seconds for a set of
    60,000.
    """
    return str(file).removeprefix(f"{root}{os.sep}").replace(os.sep, "/")


def _stamp(file: Path) -> tuple[str, int]:
    """Size, time of change of the content and of the file's entry (ns) in words, and the later of
    the two: the last cannot be set back.
    """
    facts = file.stat()
    changes = facts.st_mtime_ns, facts.st_ctime_ns
    return f"{facts.st_size} bytes, changed {changes}: ", max(changes)


def _read(index: Path) -> dict[str, object]:
    try:
        held = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
