"""One recording from one file of any known kind, checked: `read_events`."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ahsar_eval.data.events.arrays import read_h5, read_mat, read_npy, read_npz, stated_in_h5
from ahsar_eval.data.events.cameras import (
    read_aedat,
    read_bin,
    read_dat,
    stated_in_aedat,
    stated_in_dat,
)
from ahsar_eval.data.events.stream import Decoded, Events, Sensor, checked
from ahsar_eval.errors import DataError


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
