"""What a file of events holds before it is checked, and what all readers share: key names,
polarities, refusals.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError

Sensor = tuple[int, int]  # height, width
Column = NDArray[np.generic]

KEYS = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}


@dataclass(frozen=True)
class Decoded:
    """Columns [E] of a file: `t` in µs, `x`, `y`, `p` in 0 and 1; `sensor` (height, width) where
    the file states it.
    """

    t: Column
    x: Column
    y: Column
    p: Column
    sensor: Sensor | None = None


@contextlib.contextmanager
def damage_named(path: Path, kind: str) -> Iterator[None]:
    """Turn what a library raises on a damaged or foreign file into one sentence: `DataError` with
    the file and what was expected.
    """
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        # SciPy's MatReadError is a bare Exception, and a panic of the aedat package, which is
        # written in Rust, is not even that.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{path} cannot be read as {kind} ({type(error).__name__}); copy it again or remove it"
        ) from error


def key_of_column(names: Iterable[str], path: Path) -> dict[str, str]:
    """Which of `names` is t, x, y and p (`KEYS`, upper or lower case). Raises `DataError` where one
    is missing or doubled.
    """
    names = list(names)
    found = {
        letter: [name for name in names if name.lower() in known] for letter, known in KEYS.items()
    }
    if any(len(keys) != 1 for keys in found.values()):
        held = ", ".join(names[:8]) or "nothing"
        raise DataError(
            f"{path} holds {held}; expected exactly one of each: t (or ts, timestamps), x, y and p "
            "(or pol, polarity)"
        )
    return {letter: keys[0] for letter, keys in found.items()}


def flat(values: object) -> Column:
    """A column [E] from [E], [E, 1] or [1, E]; other shapes are left for the check to refuse."""
    array = np.asarray(values)
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def on_off(values: Column) -> Column:
    """Polarities as 1 (ON) and 0 (OFF): truth values, and the signs −1 and 1 of MATLAB tools and
    ROS exports, are mapped.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "if" and values.size and bool(((values == -1) | (values == 1)).all()):
        return (values == 1).astype(np.uint8)
    return values


def in_us(values: Column, unit_us: int, path: Path) -> NDArray[np.int64]:
    """Times of a unit of `unit_us` µs as whole µs, to the nearest. Raises `DataError` for one that
    is not finite or beyond 64 bits.
    """
    if values.dtype.kind not in "iuf" or not bool(np.isfinite(values).all()):
        raise DataError(
            f"{path} has time stamps that are no finite numbers (type {values.dtype}); copy it "
            "again"
        )
    if values.size and float(np.abs(values.astype(np.float64)).max()) * unit_us >= 2.0**62:
        raise DataError(f"{path} has time stamps beyond 64 bits; copy it again")
    if values.dtype.kind in "iu":
        return values.astype(np.int64) * unit_us
    return np.rint(values.astype(np.float64) * unit_us).astype(np.int64)
