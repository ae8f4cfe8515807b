"""A look at some recordings of a set, for what no error would say: how much of the sensor they
fill, how long they last, what their files hold besides events, and frames that hold nothing.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import DataError

_MOST_RECORDINGS = 16
_MOST_EVENTS = 10_000_000
_EMPTY, _FULL = 0.9, 0.99  # part of the frames without an event; of the events that one frame holds


def looked_at(source: EventSet) -> Iterator[Events]:
    """At most 16 recordings with events, evenly spaced, fewer where they are long. Those that
    cannot be read are left to whoever asks for them.
    """
    seen = 0
    for index in np.unique(np.linspace(0, len(source) - 1, _MOST_RECORDINGS).astype(np.int64)):
        with contextlib.suppress(DataError):
            (events,) = source.fetch(np.array([index]))
            if len(events):
                yield events
                seen += len(events)
        if seen > _MOST_EVENTS:
            return


def look(source: EventSet) -> tuple[str, ...]:
    """What some recordings of a set with a known sensor say, a clause each: how long they last, the
    part of the sensor that events fill where that is not all, and what was left out in their files.
    """
    boxes, durations, skipped, size = [], [], Counter[str](), (0, 0)
    for events in looked_at(source):
        size = events.width, events.height
        boxes.append((events.x.min(), events.x.max(), events.y.min(), events.y.max()))
        durations.append(events.duration_us)
        skipped.update(events.skipped)
    if not boxes:
        return ()
    those = f"{len(boxes):,} of {len(source):,} recordings looked at"
    said = [f"{those} last {_time(float(np.median(durations)))} (median)"]
    left, _, top, _ = np.min(boxes, axis=0)
    _, right, _, bottom = np.max(boxes, axis=0)
    filled = right - left + 1, bottom - top + 1
    if filled != size:
        said.append(
            f"events fill {filled[0]}x{filled[1]} of the sensor's {size[0]}x{size[1]} pixels (x "
            f"{left} to {right}, y {top} to {bottom}) in {those}"
        )
    if skipped:
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(skipped.items()))
        said.append(f"{counts} were left out in {those}")
    return tuple(said)


def frames_of_nothing(source: EventSet, timesteps: int, framing: str) -> str:
    """The sentence where nearly all frames of some recordings are empty, or one holds nearly all
    events of each; "" where that is not so.
    """
    from ahsar_eval.data.events.frames import borders_of

    empty, full, lost, durations = [], [], [], []
    for events in looked_at(source):
        try:
            counts = np.diff(borders_of(events.t, timesteps, framing))
        except DataError:  # none of its events is seen, which is refused when it is framed
            continue
        empty.append(float((counts == 0).mean()))
        full.append(counts.max() / max(counts.sum(), 1))
        lost.append(1 - counts.sum() / len(events))
        durations.append(events.duration_us)
    if timesteps < 2 or not empty:
        return ""
    found = []
    if np.mean(empty) >= _EMPTY:
        found.append(f"{np.mean(empty):.0%} of the frames are empty")
    if np.median(full) >= _FULL:
        found.append("one frame of each holds nearly all events")
    if np.mean(lost) >= _EMPTY:
        found.append(f"{np.mean(lost):.0%} of the events lie after the last frame")
    if not found:
        return ""
    return (
        f"in {len(empty):,} of {len(source):,} recordings looked at, {' and '.join(found)} "
        f"({timesteps} frames, {framing}; the recordings last "
        f"{_time(float(np.median(durations)))}): is their time in another unit (--time-unit), or "
        "do the frames not fit (--frames)?"
    )


def _time(us: float) -> str:
    """A duration in the unit in which it is no less than one."""
    for unit, length in (("s", 1e6), ("ms", 1e3)):
        if us >= length:
            return f"{us / length:.4g} {unit}"
    return f"{us:.4g} us"
