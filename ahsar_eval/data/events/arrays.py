"""Recordings in files of arrays: NumPy (.npy, .npz), MATLAB (.mat) and HDF5 (.h5, .hdf5). Nothing
in them can execute, and no size that a header states is taken before it is known to be one that a
recording can have.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ahsar_eval.data.events.binary import refuse_too_many
from ahsar_eval.data.events.stream import (
    Column,
    Decoded,
    Sensor,
    in_us,
    keys_of,
    named_columns,
    on_off,
)
from ahsar_eval.data.sets import is_order
from ahsar_eval.errors import DataError

_SIDE = 10  # of ST-MNIST's sensor
_ASL_HEIGHT = 180


def read_npy(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """A structured array with fields t, x, y, p (`stream.KEYS`), a plain one whose `form` is the
    order of its columns, or the plain [E, 4] of two sets that tonic distributes.

    Those have no names: columns x, y, p and time in ms with `form` dvs-gesture, and time in µs, x,
    y, p with `form` pokerdvs (`tonic.datasets.DVSGesture`, `POKERDVS`). Raises `DataError` for any
    other plain array.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError("is an archive, not a single array; name it .npz")
    refuse_too_many(len(np.atleast_1d(array)))
    if array.dtype.names is not None:
        return named_columns(array.dtype.names, array.__getitem__)
    if array.ndim == 2 and array.shape[1] == 4 and form in ("dvs-gesture", "pokerdvs"):
        x, y, p, t = array.T if form == "dvs-gesture" else array.T[[1, 2, 3, 0]]
        return Decoded(in_us(t, 1000 if form == "dvs-gesture" else 1), x, y, on_off(p))
    if is_order(form) and array.ndim == 2 and array.shape[1] >= len(form):
        t, x, y, p = (array[:, form.index(key)] for key in "txyp")
        return Decoded(t, x, y, on_off(p))
    raise DataError(
        f"holds a plain array of shape {array.shape} whose columns have no names; "
        "expected a structured array with fields t, x, y and p; save it so, or as .npz with t=…, "
        "x=…, y=…, p=…, or state their order, such as --columns txyp"
    )


def read_npz(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """Arrays t, x, y, p [E] under names of `stream.KEYS`, t in µs. Raises `DataError`."""

    def column(name: str) -> Column:
        with arrays.zip.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")(member)
        refuse_too_many(math.prod(header[0]))
        return np.asarray(arrays[name])

    with np.load(path, allow_pickle=False) as arrays:
        return named_columns(arrays.files, column)


def read_mat(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """MATLAB files of versions 4 to 7.3: ST-MNIST's `spiketrain`, or ts, x, y, pol in µs
    (`stream.KEYS`).

    ST-MNIST: [101, E], a row for each of 10×10 taxels (−1, 0, 1) and one of times in seconds, to
    the nearest µs here; taxel n lies at x = n mod 10, y = n div 10 (See et al. 2020; tonic's
    prototype reader). ASL-DVS (`form` asl-dvs): y counts from below and is turned, as in tonic.
    Raises `DataError`.
    """
    import scipy.io

    def wanted(names: Iterable[str]) -> list[str]:
        return ["spiketrain"] if "spiketrain" in (held := list(names)) else keys_of(held)

    try:
        held = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(str(path))}
        keys = wanted(held)
        for name in keys:
            shape, kind = held[name]
            refuse_too_many(math.prod(shape))
            if kind in ("cell", "struct", "object", "function", "opaque", "unknown"):
                raise DataError(f"holds {name} of the MATLAB class {kind}; expected numbers")
        arrays = scipy.io.loadmat(str(path), variable_names=keys)
    except NotImplementedError:  # version 7.3 is HDF5, which MATLAB writes transposed
        with h5py.File(path, "r") as file:
            keys = wanted(file)
            arrays = {name: _dataset(file, name).T for name in keys}
    if keys == ["spiketrain"]:
        return _of_taxels(np.asarray(arrays["spiketrain"]))
    found = named_columns(keys, arrays.__getitem__)
    if form != "asl-dvs":
        return found
    return Decoded(found.t, found.x, _ASL_HEIGHT - 1 - found.y.astype(np.int64), found.p)


def read_h5(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """HDF5: t (µs), x, y, p in the root, in a group `events` or as fields of a table `events` or
    `CD/events`. Raises `DataError`.
    """
    with h5py.File(path, "r") as file:
        stated = _stated(file)
        place: Any = file
        for inner in ("events", "CD/events"):
            if inner in file:
                _refuse_links(file, inner.split("/")[0])
                place = file[inner]
        if not isinstance(place, h5py.Dataset):
            return named_columns(place, lambda name: _dataset(place, name), stated)
        refuse_too_many(place.size)
        table = place[()]
        if table.dtype.names is None:
            raise DataError(
                f"holds a table of shape {table.shape} without named columns; expected t, x, y and "
                "p"
            )
        return named_columns(table.dtype.names, table.__getitem__, stated)


def stated_in_h5(path: Path) -> Sensor | None:
    """(height, width) of an HDF5 file's attributes, None where there are none."""
    with h5py.File(path, "r") as file:
        return _stated(file)


def _stated(file: Any) -> Sensor | None:
    """`height` and `width`; `sensor_resolution` (height, width), as rpg_e2vid writes; `geometry`
    "WIDTHxHEIGHT", as Metavision writes.
    """
    for place in [file, file["events"]] if "events" in file else [file]:
        said = place.attrs
        if "height" in said and "width" in said:
            return int(said["height"]), int(said["width"])
        if len(size := np.atleast_1d(said.get("sensor_resolution", ()))) == 2:
            return int(size[0]), int(size[1])
        if match := re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(said.get("geometry", ""))):
            return int(match[2]), int(match[1])
    return None


def _refuse_links(place: Any, name: str) -> None:
    if isinstance(place.get(name, getlink=True), h5py.ExternalLink):
        raise DataError(
            f"keeps {name} as a link to another file; expected the events themselves; copy them "
            "into one file"
        )


def _dataset(place: Any, name: str) -> Column:
    _refuse_links(place, name)
    if not isinstance(place[name], h5py.Dataset):
        raise DataError(f"holds a group {name}; expected an array")
    refuse_too_many(place[name].size)
    return np.asarray(place[name][()])


def _of_taxels(table: Column) -> Decoded:
    if table.ndim != 2 or len(table) != _SIDE * _SIDE + 1 or table.dtype.kind not in "iuf":
        raise DataError(
            f"has a spiketrain of shape {table.shape} and type {table.dtype}; expected [101, E] "
            "numbers, as in ST-MNIST"
        )
    spikes, seconds = table[:-1], table[-1]
    if not bool(np.isin(spikes, (-1, 0, 1)).all()):
        raise DataError(
            "has a spiketrain with values other than -1, 0 and 1; expected those of ST-MNIST"
        )
    event, taxel = np.nonzero(spikes.T)
    t = in_us(seconds, 1_000_000)[event]
    y, x = np.divmod(taxel, _SIDE)
    return Decoded(t, x, y, on_off(spikes.T[event, taxel]), (_SIDE, _SIDE))
