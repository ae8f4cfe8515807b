"""The twelve corruptions of event recordings; their table stands in docs/data.md.

There is no published standard of severities for events. These are ours, with constants about those
of v2e (Hu et al. 2021), EventDrop (Gu et al. 2021) and work on noise of event cameras. Each is a
pure function of events, its constant of `shifts.EVENT_SHIFTS` and a random generator; it gives new
events in time order on the same sensor, possibly none.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import Indices
from ahsar_eval.errors import DataError

_HOT_HZ = 100.0
_MOST_NOISE = 5e7  # events of one recording; a sound recording stays far below
_COPY_WITHIN_US = 1000
_NEVER_US = -(2**62)  # before any event

# Events added


def background_activity(events: Events, hz: float, maker: Generator) -> Events:
    """Every pixel adds a Poisson process of 0.1, 0.5, 1, 2.5, 5 Hz from the first event's time to
    the last's, ON and OFF alike.

    ON and OFF in equal parts as v2e's shot noise (Hu et al. 2021), whose "noisy" setting is 5 Hz;
    leak noise there is 0.1 Hz. The same rate everywhere: a recording does not tell the intensities
    on which v2e's rate depends.
    """
    # Poisson processes of one rate, added up: a Poisson number in all, each event at any pixel.
    count = _number(events, hz * events.pixels, maker)
    pixel = maker.integers(0, events.pixels, count)
    return _with_noise(events, pixel, maker.integers(0, events.polarities, count), maker)


def hot_pixels(events: Events, fraction: float, maker: Generator) -> Events:
    """A fraction of 1e-4, 5e-4, 1e-3, 5e-3, 1e-2 of all pixels adds a Poisson process of 100 Hz
    each, beside its own events.

    A hot pixel has one polarity for good, ON or OFF with equal chance; v2e (Hu et al. 2021) knows
    only noise rates that vary, and its leak events are all ON. A fraction of a pixel is a chance of
    one: 0.12 pixels of a small sensor are one in 12 % of the recordings.
    """
    hot = _some_pixels(events, fraction, maker)
    polarity = maker.integers(0, events.polarities, len(hot))
    count = _number(events, _HOT_HZ * len(hot), maker)
    chosen = maker.integers(0, max(len(hot), 1), count)
    return _with_noise(events, hot[chosen], polarity[chosen], maker)


def _number(events: Events, hz: float, maker: Generator) -> int:
    """How many events a Poisson process of `hz` adds. Raises `DataError` where a recording so long
    would drown in noise: its time stamps are damaged.
    """
    expected = hz * events.duration_us * 1e-6
    if expected > _MOST_NOISE:
        raise DataError(
            f"the recording is so long that noise would add {expected:.1e} events; are its time "
            "stamps damaged? Remove it"
        )
    return int(maker.poisson(expected))


def _some_pixels(events: Events, fraction: float, maker: Generator) -> Indices:
    """Different pixels y·width + x, `fraction` of the sensor's in expectation: the part beyond a
    whole number is a chance of one more.
    """
    count = int(fraction * events.pixels + maker.random())
    return maker.choice(events.pixels, min(count, events.pixels), replace=False)


def _with_noise(events: Events, pixel: Indices, polarity: Indices, maker: Generator) -> Events:
    """Add events at `pixel` [A] = y·width + x of `polarity` [A], their times uniform over the
    recording; at equal times they come last.
    """
    if len(pixel) == 0:
        return events
    # Each time goes with any pixel, so sorting the times alone changes no law and makes the merge
    # fast.
    t = np.sort(events.t[0] + maker.integers(0, events.duration_us, len(pixel), endpoint=True))
    y, x = np.divmod(pixel, events.width)
    return replace(
        events,
        t=np.append(events.t, t),
        x=np.append(events.x, x.astype(np.int32)),
        y=np.append(events.y, y.astype(np.int32)),
        p=np.append(events.p, polarity.astype(np.uint8)),
    ).ordered()


# Events lost


def dead_pixels(events: Events, fraction: float, maker: Generator) -> Events:
    """A fraction of 0.01, 0.05, 0.1, 0.2, 0.3 of all pixels of the sensor, those without events
    included, is silent throughout.
    """
    alive = np.ones(events.pixels, dtype=bool)
    alive[_some_pixels(events, fraction, maker)] = False
    return events.at(alive[events.pixel()])


def event_drop(events: Events, probability: float, maker: Generator) -> Events:
    """Each event is lost with probability 0.1, 0.3, 0.5, 0.7, 0.9, independently (random drop of
    EventDrop, Gu et al. 2021).
    """
    return events.at(maker.random(len(events)) >= probability)


def time_drop(events: Events, fraction: float, maker: Generator) -> Events:
    """One stretch of 0.1, 0.2, 0.3, 0.4, 0.5 of the duration is lost (drop by time of EventDrop, Gu
    et al. 2021).

    The duration runs from the first event to the last, in whole µs with both ends; every place of
    the stretch within it is equally likely.
    """
    if len(events) == 0:
        return events
    moments = events.duration_us + 1
    length = round(fraction * moments)
    since = events.t - events.t[0] - maker.integers(0, moments - length, endpoint=True)
    return events.at((since < 0) | (since >= length))


def occlusion(events: Events, area: float, maker: Generator) -> Events:
    """One box of 0.05, 0.1, 0.2, 0.3, 0.4 of the sensor's area, wholly inside it, is blind
    throughout (EventDrop, Gu et al. 2021).

    Its proportions relative to the sensor's are log-uniform between 1:2 and 2:1, every place inside
    is equally likely, and its area is as near to the fraction as whole pixels at its width allow.
    Of a row of channels it is a band.
    """
    stretch = math.exp(maker.uniform(-math.log(2), math.log(2)))
    # On a sensor of few pixels a column fewer could call for more rows than there are.
    width = max(math.ceil(area * events.width), round(events.width * math.sqrt(area * stretch)))
    height = round(area * events.pixels / width)
    if events.height == 1 or height == 0:  # a band along a row of channels, or of few rows
        width, height = round(area * events.pixels), 1
    x = events.x - maker.integers(0, events.width - width, endpoint=True)
    y = events.y - maker.integers(0, events.height - height, endpoint=True)
    return events.at((x < 0) | (x >= width) | (y < 0) | (y >= height))


def refractory(events: Events, dead_ms: float, maker: Generator) -> Events:
    """After an event a pixel is blind for τ = 0.5, 1, 5, 10, 20 ms, to both polarities; nothing is
    drawn.

    An event is kept if it comes more than τ after the last kept event of its pixel, as in v2e (Hu
    et al. 2021; its default is 0.5 ms). Events lost do not prolong the dead time (non-paralysable),
    and a pixel's first event is always kept.
    """
    return events.at(kept_by_refractory(events, round(1000 * dead_ms)))


def kept_by_refractory(events: Events, dead_us: int) -> NDArray[np.bool_]:
    """Which events [E] a dead time of `dead_us` µs per pixel leaves."""
    from ahsar_eval.data.kernels import outside_dead_time

    kept = np.zeros(len(events), dtype=bool)
    outside_dead_time(events.t, events.pixel(), np.full(events.pixels, _NEVER_US), dead_us, kept)
    return kept


# What a pixel reports: its address, its polarity, and how many events it makes of one change


def spatial_jitter(events: Events, sigma_px: float, maker: Generator) -> Events:
    """Each event moves by N(0, σ²) in x and in y, σ = 0.5, 1, 1.5, 2, 3 pixels, to the nearest
    pixel; those that leave the sensor are lost. Along a row of channels it moves in x alone.

    Clipping would heap them up on the border. σ is in pixels of the sensor whatever its size, since
    it is the address that errs: the same severity is a larger part of the picture on a small
    sensor.
    """
    # Rounding to the nearest is unbiased; cutting off would pull every event half a pixel towards
    # the origin.
    x, y = (
        places + np.rint(maker.normal(0.0, sigma, len(events))).astype(np.int32)
        for places, sigma in ((events.x, sigma_px), (events.y, sigma_px * (events.height > 1)))
    )
    inside = (x >= 0) & (x < events.width) & (y >= 0) & (y < events.height)
    return replace(events, x=x, y=y).at(inside)


def polarity_flip(events: Events, probability: float, maker: Generator) -> Events:
    """Each event's polarity is reversed with probability 0.05, 0.1, 0.2, 0.35, 0.5, independently;
    at 0.5 it says nothing any more.
    """
    flips = maker.random(len(events)) < probability
    return replace(events, p=events.p ^ flips.astype(np.uint8))


def threshold_mismatch(events: Events, sigma: float, maker: Generator) -> Events:
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
    span = events.duration_us
    gain = np.exp(sigma * maker.standard_normal(events.pixels) - sigma**2 / 2)
    copies = np.floor(gain[events.pixel()] + maker.random(len(events))).astype(np.int64)
    source = np.repeat(np.arange(len(events)), copies)
    made, more = events.at(source), np.diff(source, prepend=-1) == 0
    left_us = np.minimum(span - (made.t[more] - events.t[0]), _COPY_WITHIN_US)
    made.t[more] += maker.integers(0, left_us, endpoint=True)
    return made.ordered()


# Time stamps: the recording's own first event is the origin of time


def time_jitter(events: Events, sigma_ms: float, maker: Generator) -> Events:
    """Each time stamp moves by N(0, σ²), σ = 1, 5, 10, 25, 50 ms, to the nearest µs; then stably in
    time order again.

    Times are mirrored at the recording's first and last event: clipping would heap them up in the
    first and the last slice, and letting them go would change the duration, and with it every slice
    of the other events.
    """
    span = events.duration_us
    if span == 0:
        return events
    shift = np.rint(maker.normal(0.0, 1000.0 * sigma_ms, len(events))).astype(np.int64)
    unfolded = np.mod(events.t - events.t[0] + shift, 2 * span)
    return replace(events, t=events.t[0] + span - np.abs(unfolded - span)).ordered()


def time_scale(events: Events, quarters: int, maker: Generator) -> Events:
    """The recording runs 1.25, 1.5, 2, 3, 4 times as long: t' = t₀ + k·(t − t₀), to the nearest µs
    (halves up); nothing is drawn.

    k comes as whole quarters, so that no time passes through a float. Slices of equal count or
    equal duration see no difference beyond the rounding; slices of a fixed number of µs do.
    """
    if events.duration_us == 0:
        return events
    return replace(events, t=events.t[0] + (quarters * (events.t - events.t[0]) + 2) // 4)
