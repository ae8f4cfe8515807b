"""One event recording as a value, and the columns that a file holds before they are checked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.split import Indices
from ahsar_eval.errors import DataError

Sensor = tuple[int, int]  # height, width
Column = NDArray[Any]

# Names of the columns t, x, y and p.
KEYS = (
    "t ts time times timestamp timestamps",
    "x xs",
    "y ys",
    "p ps pol polarity polarities on",
)


@dataclass(frozen=True)
class Events:
    """Address events of one recording in time order.

    `t` [E] int64 in µs, non-decreasing; `x` [E] int32 in 0 … width − 1; `y` [E] int32 in 0 … height
    − 1; `p` [E] uint8, 1 for ON (brighter), 0 for OFF; 0 on a sensor of one of the `polarities`,
    such as a cochlea's channels. All arithmetic on them is signed: nothing can wrap. `skipped`
    counts what the file held besides, by its name.
    """

    t: Indices
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    p: NDArray[np.uint8]
    height: int
    width: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    polarities: int = 2

    def __len__(self) -> int:
        return len(self.t)

    @property
    def pixels(self) -> int:
        """How many the sensor has."""
        return self.height * self.width

    @property
    def duration_us(self) -> int:
        """Time from the first event to the last, 0 for fewer than two events."""
        return int(self.t[-1]) - int(self.t[0]) if len(self) else 0

    def pixel(self) -> Indices:
        """That of each event [E], y · width + x."""
        return self.y.astype(np.int64) * self.width + self.x

    def at(self, members: Column) -> "Events":
        """The events at `members`, a mask or indices."""
        return replace(
            self, t=self.t[members], x=self.x[members], y=self.y[members], p=self.p[members]
        )

    def ordered(self) -> "Events":
        """In time order; events of one time stamp keep theirs."""
        if bool((np.diff(self.t) >= 0).all()):
            return self
        return self.at(np.argsort(self.t, kind="stable"))


def checked(
    t: Column, x: Column, y: Column, p: Column, *, height: int, width: int, name: str
) -> Events:
    """Events from arrays of any integer type, or of floats that are whole, checked.

    Raises `DataError` for arrays of different length, none or a non-integer event, coordinates
    outside the sensor, polarities other than 0 and 1, and time stamps that are negative or run
    backwards. `name` says in the message where they come from.
    """
    columns = {key: np.asarray(column) for key, column in zip("txyp", (t, x, y, p), strict=True)}
    shapes = [column.shape for column in columns.values()]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1:
        raise DataError(
            f"{name} has t, x, y, p of shapes {', '.join(map(str, shapes))}; expected one length "
            "for all four"
        )
    if shapes[0] == (0,):
        raise DataError(f"{name} holds no event; remove it or copy it again")
    ends = {"t": 2**53, "x": width, "y": height, "p": 2}  # whole numbers of a float end there
    for key, column in columns.items():
        kind = column.dtype.kind
        if kind not in "iubf":
            raise DataError(f"{name} has {key} of type {column.dtype}; expected whole numbers")
        if kind == "f" and not (np.isfinite(column) & (column == np.round(column))).all():
            raise DataError(
                f"{name} has values of {key} that are no whole numbers; expected µs, pixels and "
                "polarities" + "; is its time in another unit (--time-unit)?" * (key == "t")
            )
        low, high = column.min(), column.max()
        if low < 0 or high >= ends[key]:
            raise DataError(
                f"{name} has {key} from {low} to {high}; expected 0 to {ends[key] - 1} on a sensor "
                f"of {width}x{height}; is it a recording of another sensor, or damaged?"
            )
    t, x, y, p = columns.values()
    t = t.astype(np.int64)
    if len(back := np.flatnonzero(np.diff(t) < 0)):
        before, after = t[back[0] : back[0] + 2]
        raise DataError(
            f"{name} has time stamps that run backwards at event {back[0] + 1} ({before} then "
            f"{after} µs); copy it again"
        )
    return Events(t, x.astype(np.int32), y.astype(np.int32), p.astype(np.uint8), height, width)


@dataclass(frozen=True)
class Decoded:
    """Columns [E] of a file: `t` in µs where its format says so, `x`, `y`, `p` in 0 and 1; `sensor`
    (height, width) and the `unit` of times (`TIME_UNITS`) where the file states them; `skipped`
    counts what it holds besides, by its name.
    """

    t: Column
    x: Column
    y: Column
    p: Column
    sensor: Sensor | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    unit: str = ""


def named_columns(
    names: Iterable[str], column: Callable[[str], Column], sensor: Sensor | None = None
) -> Decoded:
    """The arrays `column(name)` that are t, x, y and p by their `names` (`KEYS`). Raises
    `DataError` where one is missing or doubled.
    """
    t, x, y, p = (_flat(column(name)) for name in keys_of(names))
    return Decoded(t, x, y, on_off(p), sensor)


def keys_of(names: Iterable[str]) -> list[str]:
    """Which of `names` are t, x, y and p (`KEYS`, upper or lower case). Raises `DataError` where
    one is missing or doubled.
    """
    names = list(names)
    found = [[name for name in names if name.lower() in known.split()] for known in KEYS]
    if any(len(keys) != 1 for keys in found):
        # Names of a damaged file hold anything.
        shown = (name[:40] if name.isprintable() else repr(name[:40]) for name in names[:8])
        held = ", ".join(shown) or "nothing"
        raise DataError(
            f"holds {held}; expected exactly one of each: t (or ts, timestamps), x, y and p (or "
            "pol, polarity)"
        )
    return [key for (key,) in found]


def _flat(column: Column) -> Column:
    """A column [E] from [E], [E, 1] or [1, E]; other shapes are left for the check to refuse."""
    array = np.asarray(column)
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def on_off(column: Column) -> Column:
    """Polarities as 1 (ON) and 0 (OFF): truth values, and the signs −1 and 1 of MATLAB tools and
    ROS exports, are mapped.
    """
    signs = column.dtype.kind in "if" and column.size and bool(np.isin(column, (-1, 1)).all())
    return (column == 1).astype(np.uint8) if signs or column.dtype.kind == "b" else column


def in_us(column: Column, unit_us: int, parts: int = 1) -> Indices:
    """Times of a unit of `unit_us` / `parts` µs as whole µs, to the nearest. Raises `DataError` for
    one that is not finite or beyond 64 bits.
    """
    if column.dtype.kind not in "iuf" or not bool(np.isfinite(column).all()):
        raise DataError(
            f"has time stamps that are no finite numbers (type {column.dtype}); copy it again"
        )
    if column.size and float(np.abs(column.astype(np.float64)).max()) * unit_us >= 2.0**62:
        raise DataError("has time stamps beyond 64 bits; copy it again")
    if column.dtype.kind in "iu":
        return (column.astype(np.int64) * unit_us + parts // 2) // parts
    return np.rint(column.astype(np.float64) * unit_us / parts).astype(np.int64)
