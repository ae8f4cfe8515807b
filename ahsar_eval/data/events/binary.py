"""What formats of cameras share: a header of text, whole events behind it, clocks that go round."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.split import Indices
from ahsar_eval.errors import DataError

_HEADER_BYTES = 65536
MOST_EVENTS = 50_000_000  # of one recording; a sound sample stays far below


def beginning(path: Path, size: int = _HEADER_BYTES) -> bytes:
    """The part of a file that holds its header."""
    with open(path, "rb") as reader:
        return reader.read(size)


def header_end(data: bytes, mark: bytes, ends: Sequence[bytes], expected: str) -> int:
    """Where the events begin: behind the first lines that begin with `mark`, up to one that says
    (as those of `ends`) that it is the last. A line with a zero byte is no text, but an event that
    happens to begin so. Raises `DataError` for a header cut short.
    """
    start, line = 0, b""
    while data.startswith(mark, start) and not line.startswith(tuple(ends)):
        end = data.find(b"\n", start)
        if b"\0" in data[start : end if end >= 0 else len(data)]:
            break
        if end < 0:
            raise DataError(
                f"ends within its header; expected {expected}; copy it again or remove it"
            )
        line, start = data[start:end], end + 1
    return start


def whole_events(data: bytes, start: int, layout: np.dtype[Any]) -> NDArray[Any]:
    """The events from `start` on. Raises `DataError` where the last is cut, and for too many."""
    refuse_half(data, start, layout.itemsize)
    refuse_too_many((len(data) - start) // layout.itemsize)
    return np.frombuffer(data, layout, offset=start)


def refuse_half(data: bytes, start: int, size: int) -> None:
    """Raises `DataError` where the last of events (or words) of `size` bytes is cut."""
    body = len(data) - start
    if body % size:
        raise DataError(
            f"has {body} bytes of events; expected a multiple of {size}; copy it again or remove it"
        )


def unwrapped(clock: NDArray[np.integer], period: int) -> Indices:
    """The times [E] of a clock that goes round at `period`.

    A fall by more than half of it is one round more, a rise by more than half (an event of before,
    written late) one less; a smaller fall stays one, which the check of the events refuses.
    """
    t = clock.astype(np.int64)
    steps = np.diff(t, prepend=t[:1])
    rounds = np.cumsum(
        (steps < -period // 2).astype(np.int8) - (steps > period // 2), dtype=np.int64
    )
    return t + period * rounds


def refuse_too_many(count: int) -> None:
    """Raises `DataError` for more events than one recording can have."""
    if count > MOST_EVENTS:
        raise DataError(
            f"holds {count:,} events; expected at most {MOST_EVENTS:,} of one recording; cut it "
            "into shorter ones"
        )
