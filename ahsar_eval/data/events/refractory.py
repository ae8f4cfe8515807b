"""The dead time of pixels, exact and without a loop over events."""

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.events.timing import duration_us

_DEAD_TIME_MS = (0.5, 1.0, 5.0, 10.0, 20.0)


def refractory(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """After an event a pixel is blind for τ = 0.5, 1, 5, 10, 20 ms, to both polarities; nothing is
    drawn.

    An event is kept if it comes more than τ after the last kept event of its pixel, as in v2e (Hu
    et al. 2021; its default is 0.5 ms). Events lost do not prolong the dead time (non-paralysable),
    and a pixel's first event is always kept.
    """
    duration_us(events)  # refuses times whose differences could leave 64 bits
    return events.at(kept_by_refractory(events, round(1000 * _DEAD_TIME_MS[severity - 1])))


def kept_by_refractory(events: Events, dead_us: int) -> NDArray[np.bool_]:
    """Which events [E] a dead time of `dead_us` µs per pixel leaves."""
    count = len(events)
    kept = np.zeros(count, dtype=bool)
    if count == 0:
        return kept
    pixel = events.y.astype(np.int64) * events.width + events.x
    order = np.argsort(pixel, kind="stable")  # pixel by pixel, each in time order
    first = np.append(True, np.diff(pixel[order]) != 0)
    # One clock for all pixels: gaps beyond the dead time count as just beyond it, and so does the
    # step to the next pixel. The numbers
    # stay small, and the next kept event is the first that this clock shows more than `dead_us`
    # later, in this pixel or the next one.
    gap = np.minimum(np.diff(events.t[order], prepend=0), dead_us + 1)
    gap[first] = dead_us + 1
    clock = np.cumsum(gap)
    following = np.append(
        np.searchsorted(clock, clock + dead_us, side="right"), count
    )  # `count`, beyond the last, follows itself
    # Pointer doubling: after k rounds `reached` holds the first 2^k kept events of every pixel, and
    # `following` jumps over 2^k of them.
    reached = np.append(first, True)
    while True:
        ahead = following[np.flatnonzero(reached)]
        if bool(reached[ahead].all()):
            break
        reached[ahead] = True
        following = following[following]
    kept[order] = reached[:count]
    return kept
