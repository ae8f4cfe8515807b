"""The twelve corruptions of event recordings, with severities 1 to 5; their table stands in
docs/data.md.

There is no published standard of severities for events. These are ours, with constants about those
of v2e (Hu et al. 2021), EventDrop (Gu et al. 2021) and work on noise of event cameras. Each is a
pure function of events, severity and a random generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ahsar_eval.data.later import later
from ahsar_eval.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from ahsar_eval.data.events import loss, noise, pixels, refractory, timing
    from ahsar_eval.data.events.stream import Events
    from ahsar_eval.data.randomness import generators
else:
    loss = later("ahsar_eval.data.events.loss")
    noise = later("ahsar_eval.data.events.noise")
    pixels = later("ahsar_eval.data.events.pixels")
    refractory = later("ahsar_eval.data.events.refractory")
    timing = later("ahsar_eval.data.events.timing")
    generators = later("ahsar_eval.data.randomness").generators


@dataclass(frozen=True)
class EventShift:
    """A corruption of event recordings, and whether a recording keeps its class under it (only then
    is an accuracy reported).

    `apply(events, severity, maker)` gives new events in time order on the same sensor, possibly
    none, and leaves its argument as it is.
    """

    apply: "Callable[[Events, int, np.random.Generator], Events]"
    labels_preserved: bool = True


EVENT_SHIFTS: dict[str, EventShift] = {
    "background_activity": EventShift(noise.background_activity),
    "hot_pixels": EventShift(noise.hot_pixels),
    "dead_pixels": EventShift(loss.dead_pixels),
    "event_drop": EventShift(loss.event_drop),
    "time_drop": EventShift(loss.time_drop),
    "occlusion": EventShift(loss.occlusion),
    "spatial_jitter": EventShift(pixels.spatial_jitter),
    "time_jitter": EventShift(timing.time_jitter),
    "polarity_flip": EventShift(pixels.polarity_flip),
    "refractory": EventShift(refractory.refractory),
    "threshold_mismatch": EventShift(pixels.threshold_mismatch),
    "time_scale": EventShift(timing.time_scale),
}


def shifted_events(events: "Events", shift: str, severity: int, seed: int, index: int) -> "Events":
    """Apply a corruption of the catalogue to the recording whose place in its set is `index`, by
    random numbers of these four alone.

    Raises `DataError` for an unknown shift or a severity other than 1 to 5.
    """
    if shift not in EVENT_SHIFTS:
        raise DataError(
            f"unknown shift {shift!r} of event recordings; known are {', '.join(EVENT_SHIFTS)}"
        )
    if severity not in (1, 2, 3, 4, 5):
        raise DataError(f"severity {severity} of {shift} is none; expected 1 to 5")
    import numpy as np

    (maker,) = generators(seed, shift, severity, np.array([index], dtype=np.int64))
    return EVENT_SHIFTS[shift].apply(events, severity, maker)
