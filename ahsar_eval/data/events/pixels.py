"""Corruptions of what a pixel reports: its address, its polarity, and how many events it makes of
one change.
"""

from dataclasses import replace

import numpy as np

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.events.timing import duration_us

_SPATIAL_SIGMA_PX = (0.5, 1.0, 1.5, 2.0, 3.0)
_FLIP_PROBABILITY = (0.05, 0.1, 0.2, 0.35, 0.5)
_GAIN_SIGMA = (0.1, 0.2, 0.3, 0.4, 0.5)
_COPY_WITHIN_US = 1000


def spatial_jitter(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """Each event moves by N(0, σ²) in x and in y, σ = 0.5, 1, 1.5, 2, 3 pixels, to the nearest
    pixel; those that leave the sensor are lost.

    Clipping would heap them up on the border. σ is in pixels of the sensor whatever its size, since
    it is the address that errs: the same severity is a larger part of the picture on a small
    sensor.
    """
    sigma = _SPATIAL_SIGMA_PX[severity - 1]
    # Rounding to the nearest is unbiased; cutting off would pull every event half a pixel towards
    # the origin.
    x = events.x + np.rint(maker.normal(0.0, sigma, len(events))).astype(np.int32)
    y = events.y + np.rint(maker.normal(0.0, sigma, len(events))).astype(np.int32)
    inside = (x >= 0) & (x < events.width) & (y >= 0) & (y < events.height)
    return replace(events, x=x, y=y).at(inside)


def polarity_flip(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """Each event's polarity is reversed with probability 0.05, 0.1, 0.2, 0.35, 0.5, independently;
    at 0.5 it says nothing any more.
    """
    flips = maker.random(len(events)) < _FLIP_PROBABILITY[severity - 1]
    return replace(events, p=events.p ^ flips.astype(np.uint8))


def threshold_mismatch(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """Each pixel makes g times its events, g = exp(σ·N(0, 1) − σ²/2), σ = 0.1, 0.2, 0.3, 0.4, 0.5,
    for both polarities.

    Contrast thresholds differ between pixels (v2e, Hu et al. 2021: σ is 15 % of the threshold, 25 %
    when noisy), and a pixel's rate goes with the inverse of its threshold. The mean of g is 1: the
    pattern changes, the expected number of events does not. An event becomes ⌊g⌋ events, one more
    with probability g − ⌊g⌋; the first keeps its time, the others come within a millisecond after
    it, none after the recording's last event.
    """
    if len(events) == 0:
        return events
    sigma = _GAIN_SIGMA[severity - 1]
    span = duration_us(events)
    gain = np.exp(sigma * maker.standard_normal(events.width * events.height) - sigma**2 / 2)
    copies = np.floor(
        gain[events.y.astype(np.int64) * events.width + events.x] + maker.random(len(events))
    ).astype(np.int64)
    source = np.repeat(np.arange(len(events)), copies)
    more = np.ones(len(source), dtype=bool)
    more[np.cumsum(copies)[copies > 0] - copies[copies > 0]] = False
    made = events.at(source)
    left_us = np.minimum(span - (made.t[more] - events.t[0]), _COPY_WITHIN_US)
    made.t[more] += maker.integers(0, left_us, endpoint=True)
    return made.ordered()
