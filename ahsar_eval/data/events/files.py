"""One recording from one file of any known kind, checked: `read_events`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.addresses import read_bin, read_dat, stated_in_dat
from ahsar_eval.data.events.aedat import read_aedat, stated_in_aedat
from ahsar_eval.data.events.arrays import read_h5, read_mat, read_npy, read_npz, stated_in_h5
from ahsar_eval.data.events.decoded import Decoded, Sensor, damage_named
from ahsar_eval.data.events.stream import Events, checked
from ahsar_eval.errors import DataError


def _says_nothing(path: Path) -> None:
    return None


@dataclass(frozen=True)
class Reader:
    """A kind of file: `read(path, form, sensor)`, `stated(path)` gives the sensor its header
    states, `kind` names it in messages.
    """

    kind: str
    read: Callable[[Path, str | None, Sensor | None], Decoded]
    stated: Callable[[Path], Sensor | None] = _says_nothing


READERS: dict[str, Reader] = {
    ".bin": Reader("N-MNIST's format of five bytes an event", read_bin),
    ".dat": Reader("Prophesee's .dat", read_dat, stated_in_dat),
    ".aedat": Reader("AEDAT", read_aedat, stated_in_aedat),
    ".aedat4": Reader("AEDAT", read_aedat, stated_in_aedat),
    ".mat": Reader("a MATLAB file", read_mat),
    ".h5": Reader("an HDF5 file", read_h5, stated_in_h5),
    ".hdf5": Reader("an HDF5 file", read_h5, stated_in_h5),
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
    reader = _reader(path)
    with damage_named(path, reader.kind):
        found = reader.read(path, form, sensor)
        size = sensor or found.sensor
        if size is None:
            raise DataError(
                f"{path} does not state the size of its sensor; state it (height and width in "
                "pixels)"
            )
        if min(size) < 1:
            raise DataError(
                f"{path} states a sensor of {size[1]}x{size[0]} pixels; expected a positive width "
                "and height"
            )
        _refuse_times(path, found)
        return checked(
            found.t, found.x, found.y, found.p, height=size[0], width=size[1], name=str(path)
        )


def stated_sensor(path: str | Path) -> Sensor | None:
    """(height, width) that the header of a file states, or None. Raises `DataError` for a file that
    cannot be one of its kind.
    """
    path = Path(path)
    reader = _reader(path)
    with damage_named(path, reader.kind):
        return reader.stated(path)


def _reader(path: Path) -> Reader:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is no kind of event file that is known; expected one of {', '.join(READERS)}"
        )
    if not path.is_file():
        raise DataError(
            f"{path} is {'no regular file' if path.exists() else 'not there'}; expected "
            f"{reader.kind}"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; expected {reader.kind}; copy it again or remove it")
    return reader


def _refuse_times(path: Path, found: Decoded) -> None:
    t = np.asarray(found.t)
    if t.dtype.kind in "if" and t.size and float(t.min()) < 0:
        raise DataError(
            f"{path} has a negative time stamp ({t.min()}); expected µs from 0 on; copy it again"
        )
    for letter, values in zip("txy", (t, np.asarray(found.x), np.asarray(found.y)), strict=True):
        if values.dtype.kind == "f" and values.size and float(np.abs(values).max()) >= 2.0**53:
            raise DataError(
                f"{path} has a value of {letter} of {np.abs(values).max():g}, beyond whole "
                "numbers; copy it again"
            )
