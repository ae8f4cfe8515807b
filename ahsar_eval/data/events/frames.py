"""Event recordings as frames: integer counts per slice, polarity and pixel, brought to any size by
area averaging.
"""

import re
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import Indices
from ahsar_eval.errors import DataError

_MICROSECONDS = {"us": 1, "µs": 1, "μs": 1, "ms": 1_000, "s": 1_000_000}
_EXPECTED = (
    "count (equal event count), time (equal duration), or the duration of one frame, such as 1ms, "
    "500us or 1ms@0"
)


def parse_framing(text: str) -> str:
    """The canonical framing, `count`, `time`, `<n>us` or `<n>us@0`, of what a user types: `count`,
    `time`, `1ms`, `0.5ms`, `1ms@0`.

    Raises `DataError` for any other word, and for a duration that is not a whole, positive number
    of microseconds.
    """
    typed = text.strip()
    if typed in ("count", "time"):
        return typed
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}) ?(us|µs|μs|ms|s)(@0)?", typed)
    if match is None:
        raise DataError(f"framing {text!r} is unknown; expected {_EXPECTED}")
    duration_us = Fraction(match[1]) * _MICROSECONDS[match[2]]
    if duration_us < 1 or duration_us.denominator != 1:
        raise DataError(
            f"framing {text!r} is no whole, positive number of microseconds; expected {_EXPECTED}"
        )
    return f"{duration_us.numerator}us{match[3] or ''}"


def to_frames(
    events: Events, timesteps: int, framing: str, height: int, width: int
) -> NDArray[np.float32]:
    """Frames [T, 2, height, width] float32, C-contiguous: channel 0 counts OFF events (p = 0),
    channel 1 ON events (p = 1).

    With E events, the first at t₀ and the last at t₁, slice i = 0 … T − 1 holds
    - `count`: events ⌊i·E/T⌋ to ⌊(i+1)·E/T⌋ − 1 in their order: every event once, and slices differ
      by at most one event;
    - `time`: events with t₀ + i·D/T ≤ t < t₀ + (i+1)·D/T, where D = t₁ − t₀; the last slice holds
      its end too, so every event counts once (all of them in slice 0 where D = 0);
    - `<n>us`: events with t₀ + i·n ≤ t < t₀ + (i+1)·n; what lies beyond T·n is not seen;
    - `<n>us@0`: the same from time 0 of the recording's own clock instead of t₀. A recording
      without events gives zeros. At the sensor's own size the values are the counts; at another
      size they are area averages (`area_average`). Raises `DataError` for a framing or a size that
      is none, and where `<n>us@0` sees no event of a recording that has some.
    """
    _check(timesteps, framing, height, width)
    borders = _borders(events.t, timesteps, framing)
    pixels = events.pixels
    # One flat index per event; 64 bits, so that no sensor or number of slices can wrap it.
    cell = events.pixel()
    cell += np.multiply(events.p, pixels, dtype=np.int64)
    seen = cell[borders[0] : borders[-1]]
    seen += np.repeat(np.arange(timesteps, dtype=np.int64) * (2 * pixels), np.diff(borders))
    counts = np.bincount(seen, minlength=timesteps * 2 * pixels).reshape(
        timesteps, 2, events.height, events.width
    )
    if (events.height, events.width) == (height, width):
        return counts.astype(np.float32)
    return area_average(counts, height, width)


def area_average(counts: NDArray[np.integer], height: int, width: int) -> NDArray[np.float32]:
    """Frames [..., H, W] of whole numbers at height x width, float32: each new pixel is the mean
    over the area it covers.

    A pixel that lies across a border is shared by overlap: out = A_h · counts · A_wᵀ, where A[i, j]
    is the part of new pixel i that old pixel j covers, so rows of A add up to 1 and the sum over an
    image scales by (height · width) / (H · W). The numerators are whole numbers, exact in float64
    in any order of summation; the one division comes last, and then the rounding to float32.
    """
    *batch, rows, columns = counts.shape
    across = counts.reshape(-1, columns).astype(np.float64) @ _overlaps(columns, width).T
    down = _overlaps(rows, height) @ across.reshape(-1, rows, width)
    down /= rows * columns
    return down.reshape(*batch, height, width).astype(np.float32)


def describe_frames(
    shape: tuple[int, int, int] | None, timesteps: int, framing: str, height: int, width: int
) -> str:
    """The sentence of the provenance on how frames came to be; it holds all that decides them.
    Raises `DataError` as `to_frames` does.
    """
    _check(timesteps, framing, height, width)
    if framing == "count":
        slices = "of equal event count (borders at floor(i E / T))"
    elif framing == "time":
        slices = "of equal duration from the first to the last event (included)"
    else:
        start = "time 0 of the recording" if framing.endswith("@0") else "the first event"
        slices = f"of {_step_us(framing)} us from {start} (later events not seen)"
    if shape is not None and shape[1:] == (height, width):
        size = f"at the sensor's {height}x{width}"
    else:
        sensor = f"{shape[1]}x{shape[2]}" if shape else "each sensor size"
        size = f"from {sensor} to {height}x{width} by area averaging"
    return f"{timesteps} slices {slices}, event counts per pixel and polarity (OFF, ON), {size}"


def _step_us(framing: str) -> int:
    return int(framing.removesuffix("@0").removesuffix("us"))


def _check(timesteps: int, framing: str, height: int, width: int) -> None:
    if re.fullmatch(r"count|time|[1-9][0-9]{0,17}us(@0)?", framing) is None:
        raise DataError(
            f"framing is {framing!r}; expected count, time, or the microseconds of one frame, such "
            "as 1000us"
        )
    if min(timesteps, height, width) < 1:
        raise DataError(
            f"frames of {timesteps} steps and {height}x{width} pixels are none; expected at least "
            "1 of each"
        )


def _borders(t: Indices, timesteps: int, framing: str) -> Indices:
    """T + 1 positions in the ordered times `t`; slice i is t[borders[i]:borders[i + 1]]."""
    total = len(t)
    if total == 0:
        return np.zeros(timesteps + 1, dtype=np.int64)
    if framing == "count":
        return np.array([i * total // timesteps for i in range(timesteps + 1)], dtype=np.int64)
    # Python's whole numbers: neither a hostile time stamp nor a duration of a million years can
    # wrap.
    first, last = int(t[0]), int(t[-1])
    if framing == "time":
        duration = last - first
        slices = timesteps if duration else 1
        limits = [first - (-i * duration // timesteps) for i in range(slices)]  # rounded up
    else:
        step = _step_us(framing)
        start = 0 if framing.endswith("@0") else first
        if start == 0 and (last < 0 or first >= timesteps * step):
            raise DataError(
                f"a recording's events, from {first} to {last} us, all lie outside the {timesteps} "
                f"frames of {step} us from time 0; count from the first event instead, with "
                f"--frames {step}us"
            )
        limits = [start + i * step for i in range(min(timesteps, (last - start) // step) + 1)]
    borders = np.full(timesteps + 1, total, dtype=np.int64)  # a limit beyond the last event
    borders[: len(limits)] = np.searchsorted(t, np.array(limits, dtype=np.int64))
    return borders


@lru_cache(maxsize=64)
def _overlaps(old: int, new: int) -> NDArray[np.float64]:
    """[new, old]: the part of each old pixel within each new one, in 1/new of an old pixel: whole
    numbers, rows add up to `old`.
    """
    # On a common ruler of old · new marks an old pixel is `new` long and a new one `old`.
    old_start, new_start = np.arange(old) * new, np.arange(new)[:, None] * old
    overlaps = np.minimum(old_start + new, new_start + old) - np.maximum(old_start, new_start)
    shares = np.clip(overlaps, 0, None).astype(np.float64)
    shares.flags.writeable = False
    return shares
