"""One event recording from one file of any known kind (`read_events`); what reads a kind is
imported when a file of it is met.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ahsar_eval.data.events.stream import Events, Sensor, checked, in_us
from ahsar_eval.data.sets import TIME_UNITS
from ahsar_eval.errors import DataError


@dataclass(frozen=True)
class Reader:
    """A kind of file: `read` (of path, form and sensor) and `stated` (of path, the sensor that the
    header states) name functions of this folder as `module.name`, `kind` names it in messages.

    `has_unit`: the format itself says what a time is, so that no other unit can be given.
    """

    kind: str
    read: str
    stated: str = ""
    has_unit: bool = True


def _function(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found


_AEDAT = Reader("AEDAT", "cameras.read_aedat", "cameras.stated_in_aedat")
_HDF5 = Reader("an HDF5 file", "arrays.read_h5", "arrays.stated_in_h5", False)
_TEXT = Reader("a text of columns t, x, y and p", "text.read_text", "text.stated_in_text", False)
READERS: dict[str, Reader] = {
    ".bin": Reader("N-MNIST's format of five bytes an event", "cameras.read_bin"),
    ".dat": Reader("Prophesee's .dat", "prophesee.read_dat", "prophesee.stated_in_dat"),
    ".raw": Reader("Prophesee's .raw", "prophesee.read_raw", "prophesee.stated_in_raw"),
    ".aedat": _AEDAT,
    ".aedat4": _AEDAT,
    ".mat": Reader("a MATLAB file", "arrays.read_mat", has_unit=False),
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".npz": Reader("a NumPy archive without executable content", "arrays.read_npz", has_unit=False),
    ".npy": Reader("a NumPy array without executable content", "arrays.read_npy", has_unit=False),
    ".csv": _TEXT,
    ".txt": _TEXT,
}


def read_events(
    path: str | Path, sensor: Sensor | None = None, form: str = "", unit: str | None = None
) -> Events:
    """The recording of one file, by its suffix (`READERS`).

    `sensor` is (height, width); without it the file must state one. Where both do, the events must
    fit the sensor given. `form` names the convention a file follows where the format leaves it
    open: that of a set (cifar10-dvs, asl-dvs, dvs-gesture or pokerdvs), or the order of columns
    without names (`is_order`). `unit` (`TIME_UNITS`; µs where none) is that of times where neither
    format nor file says it. All formats here are written in the order of time, so time that runs
    backwards is refused and nothing is sorted. Raises `DataError`: one sentence that names the
    file, what was found and what was expected.
    """
    path = Path(path)
    with _reader(path) as reader:
        found = _function(reader.read)(path, form, sensor)
        size = sensor or found.sensor
        if size is None:
            raise DataError(
                "does not state the size of its sensor; state it (height and width in pixels)"
            )
        t = found.t
        if found.unit and unit and found.unit != unit:
            raise DataError(
                f"states times in {found.unit}; expected {unit} (--time-unit); leave that out"
            )
        if not reader.has_unit and (stated := found.unit or unit):
            t = in_us(t, *TIME_UNITS[stated])
    columns = t, found.x, found.y, found.p
    events = checked(*columns, height=size[0], width=size[1], name=str(path))
    return replace(events, skipped=found.skipped)


def stated_sensor(path: str | Path) -> Sensor | None:
    """(height, width) that the header of a file states, or None. Raises `DataError` for a file that
    cannot be one of its kind.
    """
    path = Path(path)
    with _reader(path) as reader:
        found: Sensor | None = _function(reader.stated)(path) if reader.stated else None
        return found


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[Reader]:
    """The reader of a file. What it refuses while it is used, and what a library raises on a
    damaged or foreign file, becomes one sentence: `DataError` with the file and what was expected.
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
    except DataError as error:
        raise DataError(f"{path} {error}") from error
    except BaseException as error:
        # SciPy's MatReadError is a bare Exception, and a panic of the aedat package, which is
        # written in Rust, is not even that.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{path} cannot be read as {reader.kind} ({type(error).__name__}); copy it again or "
            "remove it"
        ) from error
