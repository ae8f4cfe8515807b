"""Events in files of arrays: NumPy (.npy, .npz), MATLAB (.mat) and HDF5 (.h5, .hdf5). Nothing in
them can execute.
"""

import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ahsar_eval.data.events.decoded import (
    Column,
    Decoded,
    Sensor,
    flat,
    in_us,
    key_of_column,
    on_off,
)
from ahsar_eval.errors import DataError

_SIDE = 10  # of ST-MNIST's sensor
_ASL_HEIGHT = 180


def read_npy(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """A structured array with fields t, x, y, p (`decoded.KEYS`), or the plain [E, 4] of two sets
    that tonic distributes.

    Those have no names: columns x, y, p and time in ms with `form` dvs-gesture, and time in µs, x,
    y, p with `form` pokerdvs (`tonic.datasets.DVSGesture`, `POKERDVS`). Raises `DataError` for any
    other plain array.
    """
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} is an archive, not a single array; name it .npz")
    if array.dtype.names is not None:
        return _of_columns(
            path,
            {
                letter: array[name]
                for letter, name in key_of_column(array.dtype.names, path).items()
            },
        )
    if array.ndim == 2 and array.shape[1] == 4 and form in ("dvs-gesture", "pokerdvs"):
        x, y, p, t = array.T if form == "dvs-gesture" else array.T[[1, 2, 3, 0]]
        return Decoded(in_us(t, 1000 if form == "dvs-gesture" else 1, path), x, y, on_off(p))
    raise DataError(
        f"{path} holds a plain array of shape {array.shape} whose columns have no names; "
        "expected a structured array with fields t, x, y and p; save it so, or as .npz with t=…, "
        "x=…, y=…, p=…"
    )


def read_npz(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """Arrays t, x, y, p [E] under names of `decoded.KEYS`, t in µs. Raises `DataError`, also for a
    member whose name climbs out.
    """
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
                raise DataError(
                    f"{path} holds a member named {name!r}; expected arrays of plain names; do not "
                    "trust this file"
                )
    with np.load(path, allow_pickle=False) as archive:
        return _of_columns(
            path,
            {letter: archive[name] for letter, name in key_of_column(archive.files, path).items()},
        )


def read_mat(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """MATLAB files of versions 4 to 7.3: ST-MNIST's `spiketrain`, or ts, x, y, pol in µs
    (`decoded.KEYS`).

    ST-MNIST: [101, E], a row for each of 10×10 taxels (−1, 0, 1) and one of times in seconds, to
    the nearest µs here; taxel n lies at x = n mod 10, y = n div 10 (See et al. 2020; tonic's
    prototype reader). ASL-DVS (`form` asl-dvs): y counts from below and is turned, as in tonic.
    Raises `DataError`.
    """
    import scipy.io

    try:
        names = [name for name, _, _ in scipy.io.whosmat(str(path))]
        wanted = (
            ["spiketrain"] if "spiketrain" in names else list(key_of_column(names, path).values())
        )
        arrays = {
            name: np.asarray(values)
            for name, values in scipy.io.loadmat(str(path), variable_names=wanted).items()
            if name in wanted
        }
    except NotImplementedError:  # version 7.3 is HDF5, which MATLAB writes transposed
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path, "r") as file:
            names = list(file)
            wanted = (
                ["spiketrain"]
                if "spiketrain" in names
                else list(key_of_column(names, path).values())
            )
            arrays = {name: _dataset(file, name, path).T for name in wanted}
    if "spiketrain" in arrays:
        return _of_taxels(path, arrays["spiketrain"])
    found = _of_columns(
        path, {letter: arrays[name] for letter, name in key_of_column(arrays, path).items()}
    )
    if form != "asl-dvs":
        return found
    return Decoded(found.t, found.x, _ASL_HEIGHT - 1 - found.y.astype(np.int64), found.p)


def read_h5(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """HDF5: t (µs), x, y, p in the root, in a group `events` or as fields of a table `events` or
    `CD/events`. Raises `DataError`.
    """
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "r") as file:
        stated = _stated(file)
        place: Any = file
        for inner in ("events", "CD/events"):
            if inner in file:
                _refuse_links(file, inner.split("/")[0], path)
                place = file[inner]
        if isinstance(place, h5py.Dataset):
            table = place[()]
            if table.dtype.names is None:
                raise DataError(
                    f"{path} holds a table of shape {table.shape} without named columns; expected "
                    "t, x, y and p"
                )
            return _of_columns(
                path,
                {
                    letter: table[name]
                    for letter, name in key_of_column(table.dtype.names, path).items()
                },
                stated,
            )
        keys = key_of_column(place, path)
        return _of_columns(
            path, {letter: _dataset(place, name, path) for letter, name in keys.items()}, stated
        )


def stated_in_h5(path: Path) -> Sensor | None:
    """(height, width) of an HDF5 file's attributes, None where there are none."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "r") as file:
        return _stated(file)


def _stated(file: Any) -> Sensor | None:
    """`height` and `width`; `sensor_resolution` (height, width), as rpg_e2vid writes; `geometry`
    "WIDTHxHEIGHT", as Metavision writes.
    """
    places = [file, *(file[name] for name in ("events",) if name in file)]
    for attributes in (place.attrs for place in places):
        if "height" in attributes and "width" in attributes:
            return int(attributes["height"]), int(attributes["width"])
        if len(np.atleast_1d(attributes.get("sensor_resolution", ()))) == 2:
            height, width = np.atleast_1d(attributes["sensor_resolution"])
            return int(height), int(width)
        if match := re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(attributes.get("geometry", ""))):
            return int(match[2]), int(match[1])
    return None


def _refuse_links(place: Any, name: str, path: Path) -> None:
    import h5py  # type: ignore[import-untyped]

    if isinstance(place.get(name, getlink=True), h5py.ExternalLink):
        raise DataError(
            f"{path} keeps {name} as a link to another file; expected the events themselves; copy "
            "them into one file"
        )


def _dataset(place: Any, name: str, path: Path) -> Column:
    import h5py  # type: ignore[import-untyped]

    _refuse_links(place, name, path)
    if not isinstance(place[name], h5py.Dataset):
        raise DataError(f"{path} holds a group {name}; expected an array")
    return np.asarray(place[name][()])


def _of_columns(path: Path, columns: dict[str, Column], stated: Sensor | None = None) -> Decoded:
    t, x, y, p = (flat(columns[letter]) for letter in "txyp")
    return Decoded(t, x, y, on_off(p), stated)


def _of_taxels(path: Path, table: Column) -> Decoded:
    if table.ndim != 2 or len(table) != _SIDE * _SIDE + 1 or table.dtype.kind not in "iuf":
        raise DataError(
            f"{path} has a spiketrain of shape {table.shape} and type {table.dtype}; expected "
            "[101, E] numbers, as in ST-MNIST"
        )
    spikes, seconds = table[:-1], table[-1]
    if not bool(np.isin(spikes, (-1, 0, 1)).all()):
        raise DataError(
            f"{path} has a spiketrain with values other than -1, 0 and 1; expected those of "
            "ST-MNIST"
        )
    event, taxel = np.nonzero(spikes.T)
    t = in_us(seconds, 1_000_000, path)[event]
    return Decoded(
        t,
        taxel % _SIDE,
        taxel // _SIDE,
        (spikes.T[event, taxel] == 1).astype(np.uint8),
        (_SIDE, _SIDE),
    )
