"""One event recording as a value."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError


@dataclass(frozen=True)
class Events:
    """Address events of one recording in time order.

    `t` [E] int64 in µs, non-decreasing; `x` [E] int32 in 0 … width − 1; `y` [E] int32 in 0 … height
    − 1; `p` [E] uint8, 1 for ON (brighter), 0 for OFF. All arithmetic on them is signed: nothing
    can wrap.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    p: NDArray[np.uint8]
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.t)

    def at(self, members: NDArray[np.generic]) -> "Events":
        """The events at `members`, a mask or indices."""
        return replace(
            self, t=self.t[members], x=self.x[members], y=self.y[members], p=self.p[members]
        )

    def ordered(self) -> "Events":
        """In time order; events of one time stamp keep theirs."""
        return (
            self
            if bool((np.diff(self.t) >= 0).all())
            else self.at(np.argsort(self.t, kind="stable"))
        )


def checked(
    t: NDArray[np.generic],
    x: NDArray[np.generic],
    y: NDArray[np.generic],
    p: NDArray[np.generic],
    *,
    height: int,
    width: int,
    name: str,
    unordered: bool = False,
) -> Events:
    """Events from arrays of any integer type, checked; `unordered` sorts by time instead of
    refusing.

    Raises `DataError` for arrays of different length, none or a non-integer event, coordinates
    outside the sensor, polarities other than 0 and 1, and time stamps that run backwards. `name`
    says in the message where they come from.
    """
    arrays = [np.asarray(values) for values in (t, x, y, p)]
    if len({values.shape for values in arrays}) != 1 or arrays[0].ndim != 1:
        raise DataError(
            f"{name} has t, x, y, p of shapes {', '.join(str(v.shape) for v in arrays)}; expected "
            "one length for all four"
        )
    if len(arrays[0]) == 0:
        raise DataError(f"{name} holds no event; remove it or copy it again")
    for letter, values in zip("txyp", arrays, strict=True):
        if values.dtype.kind == "f" and not (
            bool(np.isfinite(values).all()) and bool((values == np.round(values)).all())
        ):
            raise DataError(
                f"{name} has values of {letter} that are no whole numbers; expected µs, pixels and "
                "polarities"
            )
        if values.dtype.kind not in "iubf":
            raise DataError(f"{name} has {letter} of type {values.dtype}; expected whole numbers")
        if (
            values.dtype.kind == "u"
            and values.itemsize == 8
            and int(values.max()) > np.iinfo(np.int64).max
        ):
            raise DataError(
                f"{name} has a value of {letter} of {int(values.max())}, beyond 64 bits; copy the "
                "file again"
            )
    found = Events(
        arrays[0].astype(np.int64),
        arrays[1].astype(np.int64),
        arrays[2].astype(np.int64),
        arrays[3].astype(np.int64),
        height,
        width,
    )
    for letter, values, size in (("x", found.x, width), ("y", found.y, height)):
        if int(values.min()) < 0 or int(values.max()) >= size:
            raise DataError(
                f"{name} has {letter} from {int(values.min())} to {int(values.max())}; expected 0 "
                f"to {size - 1} on a sensor of "
                f"{width}x{height}; is it a recording of another sensor, or damaged?"
            )
    if int(found.p.min()) < 0 or int(found.p.max()) > 1:
        raise DataError(
            f"{name} has polarities from {int(found.p.min())} to {int(found.p.max())}; expected 0 "
            "and 1"
        )
    if not unordered and bool((np.diff(found.t) < 0).any()):
        back = int(np.flatnonzero(np.diff(found.t) < 0)[0]) + 1
        raise DataError(
            f"{name} has time stamps that run backwards at event {back} ({found.t[back - 1]} then "
            f"{found.t[back]} µs); copy it again"
        )
    narrowed = replace(
        found, x=found.x.astype(np.int32), y=found.y.astype(np.int32), p=found.p.astype(np.uint8)
    )
    return narrowed.ordered()
