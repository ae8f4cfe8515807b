"""Corruptions of the time stamps: jitter and another speed, with the recording's own first event as
the origin of time.
"""

from dataclasses import replace

import numpy as np

from ahsar_eval.data.events.stream import Events
from ahsar_eval.errors import DataError

_JITTER_SIGMA_MS = (1.0, 5.0, 10.0, 25.0, 50.0)
_SCALE_QUARTERS = (
    5,
    6,
    8,
    12,
    16,
)  # factors 1.25, 1.5, 2, 3 and 4 as whole numbers, so that no time passes through a float

_LATEST_US = (
    2**58
)  # nine thousand years: sums and quadruples of such times stay far from the end of 64 bits


def duration_us(events: Events) -> int:
    """Time from the first event to the last, 0 for fewer than two events.

    Raises `DataError` for time stamps beyond 2^58 µs, whose arithmetic could leave 64 bits.
    """
    if len(events) == 0:
        return 0
    first, last = int(events.t[0]), int(events.t[-1])
    if first < -_LATEST_US or last > _LATEST_US:
        raise DataError(
            f"a recording has time stamps from {first} to {last} µs; expected less than "
            f"{_LATEST_US}; mend or remove it"
        )
    return last - first


def time_jitter(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """Each time stamp moves by N(0, σ²), σ = 1, 5, 10, 25, 50 ms, to the nearest µs; then stably in
    time order again.

    Times are mirrored at the recording's first and last event: clipping would heap them up in the
    first and the last slice, and letting them go would change the duration, and with it every slice
    of the other events.
    """
    span = duration_us(events)
    if span == 0:
        return events
    shift = np.rint(maker.normal(0.0, 1000.0 * _JITTER_SIGMA_MS[severity - 1], len(events))).astype(
        np.int64
    )
    unfolded = np.mod(events.t - events.t[0] + shift, 2 * span)
    return replace(events, t=events.t[0] + span - np.abs(unfolded - span)).ordered()


def time_scale(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """The recording runs 1.25, 1.5, 2, 3, 4 times as long: t' = t₀ + k·(t − t₀), to the nearest µs
    (halves up); nothing is drawn.

    Slices of equal count or equal duration see no difference beyond this rounding; slices of a
    fixed number of µs do.
    """
    if duration_us(events) == 0:
        return events
    return replace(
        events, t=events.t[0] + (_SCALE_QUARTERS[severity - 1] * (events.t - events.t[0]) + 2) // 4
    )
