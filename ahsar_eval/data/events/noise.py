"""Corruptions that add events: noise of every pixel, and pixels that never rest."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.events.timing import duration_us
from ahsar_eval.errors import DataError

_BACKGROUND_HZ = (0.1, 0.5, 1.0, 2.5, 5.0)
_HOT_FRACTION = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)
_HOT_HZ = 100.0


_MOST_NOISE = 5e7  # events of one recording; a sound recording stays far below


def _number(expected: float, maker: np.random.Generator) -> int:
    """A Poisson number. Raises `DataError` where a recording so long would drown in noise: its time
    stamps are damaged.
    """
    if expected > _MOST_NOISE:
        raise DataError(
            f"the recording is so long that noise would add {expected:.1e} events; are its time "
            "stamps damaged? Remove it"
        )
    return int(maker.poisson(expected))


def background_activity(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """Every pixel adds a Poisson process of 0.1, 0.5, 1, 2.5, 5 Hz from the first event's time to
    the last's, ON and OFF alike.

    ON and OFF in equal parts as v2e's shot noise (Hu et al. 2021), whose "noisy" setting is 5 Hz;
    leak noise there is 0.1 Hz. The same rate everywhere: a recording does not tell the intensities
    on which v2e's rate depends.
    """
    pixels = events.width * events.height
    # Poisson processes of one rate, added up: a Poisson number in all, each event at any pixel.
    count = _number(_BACKGROUND_HZ[severity - 1] * pixels * duration_us(events) * 1e-6, maker)
    return _with_noise(events, maker.integers(0, pixels, count), maker.integers(0, 2, count), maker)


def hot_pixels(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """A fraction of 1e-4, 5e-4, 1e-3, 5e-3, 1e-2 of all pixels adds a Poisson process of 100 Hz
    each, beside its own events.

    A hot pixel has one polarity for good, ON or OFF with equal chance; v2e (Hu et al. 2021) knows
    only noise rates that vary, and its leak events are all ON. A fraction of a pixel is a chance of
    one: 0.12 pixels of a small sensor are one in 12 % of the recordings.
    """
    hot = some_pixels(events, _HOT_FRACTION[severity - 1], maker)
    polarity = maker.integers(0, 2, len(hot))
    count = _number(_HOT_HZ * len(hot) * duration_us(events) * 1e-6, maker)
    chosen = maker.integers(0, max(len(hot), 1), count)
    return _with_noise(events, hot[chosen], polarity[chosen], maker)


def some_pixels(events: Events, fraction: float, maker: np.random.Generator) -> NDArray[np.int64]:
    """Different pixels y·width + x, `fraction` of the sensor's in expectation: the part beyond a
    whole number is a chance of one more.
    """
    pixels = events.width * events.height
    count = int(fraction * pixels + maker.random())
    return maker.choice(pixels, min(count, pixels), replace=False)


def _with_noise(
    events: Events,
    pixel: NDArray[np.int64],
    polarity: NDArray[np.int64],
    maker: np.random.Generator,
) -> Events:
    """Add events at `pixel` [A] = y·width + x of `polarity` [A], their times uniform over the
    recording; at equal times they come last.
    """
    if len(pixel) == 0:
        return events
    # Each time goes with any pixel, so sorting the times alone changes no law and makes the merge
    # fast.
    times = np.sort(events.t[0] + maker.integers(0, duration_us(events), len(pixel), endpoint=True))
    y, x = np.divmod(pixel, events.width)
    return replace(
        events,
        t=np.concatenate([events.t, times]),
        x=np.concatenate([events.x, x.astype(np.int32)]),
        y=np.concatenate([events.y, y.astype(np.int32)]),
        p=np.concatenate([events.p, polarity.astype(np.uint8)]),
    ).ordered()
