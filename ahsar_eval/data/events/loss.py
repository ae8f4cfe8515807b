"""Corruptions that take events away: single ones, a stretch of time, a box, silent pixels. What is
left may be no event at all.
"""

import math

import numpy as np

from ahsar_eval.data.events.noise import some_pixels
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.events.timing import duration_us

_DEAD_FRACTION = (0.01, 0.05, 0.1, 0.2, 0.3)
_DROP_PROBABILITY = (0.1, 0.3, 0.5, 0.7, 0.9)
_TIME_FRACTION = (0.1, 0.2, 0.3, 0.4, 0.5)
_BOX_AREA_FRACTION = (0.05, 0.1, 0.2, 0.3, 0.4)


def dead_pixels(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """A fraction of 0.01, 0.05, 0.1, 0.2, 0.3 of all pixels of the sensor, those without events
    included, is silent throughout.
    """
    alive = np.ones(events.width * events.height, dtype=bool)
    alive[some_pixels(events, _DEAD_FRACTION[severity - 1], maker)] = False
    return events.at(alive[events.y.astype(np.int64) * events.width + events.x])


def event_drop(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """Each event is lost with probability 0.1, 0.3, 0.5, 0.7, 0.9, independently (random drop of
    EventDrop, Gu et al. 2021).
    """
    return events.at(maker.random(len(events)) >= _DROP_PROBABILITY[severity - 1])


def time_drop(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """One stretch of 0.1, 0.2, 0.3, 0.4, 0.5 of the duration is lost (drop by time of EventDrop, Gu
    et al. 2021).

    The duration runs from the first event to the last, in whole µs with both ends; every place of
    the stretch within it is equally likely.
    """
    if len(events) == 0:
        return events
    moments = duration_us(events) + 1
    length = round(_TIME_FRACTION[severity - 1] * moments)
    since = events.t - events.t[0] - maker.integers(0, moments - length, endpoint=True)
    return events.at((since < 0) | (since >= length))


def occlusion(events: Events, severity: int, maker: np.random.Generator) -> Events:
    """One box of 0.05, 0.1, 0.2, 0.3, 0.4 of the sensor's area, wholly inside it, is blind
    throughout (EventDrop, Gu et al. 2021).

    Its proportions relative to the sensor's are log-uniform between 1:2 and 2:1, every place inside
    is equally likely, and its area is as near to the fraction as whole pixels at its width allow.
    """
    area = _BOX_AREA_FRACTION[severity - 1]
    stretch = math.exp(maker.uniform(-math.log(2), math.log(2)))
    # On a sensor of few pixels a column fewer could call for more rows than there are.
    width = max(math.ceil(area * events.width), round(events.width * math.sqrt(area * stretch)))
    height = round(area * events.width * events.height / width)
    left = maker.integers(0, events.width - width, endpoint=True)
    top = maker.integers(0, events.height - height, endpoint=True)
    inside = (
        (events.x >= left)
        & (events.x < left + width)
        & (events.y >= top)
        & (events.y < top + height)
    )
    return events.at(~inside)
