"""Event recordings as frames: integer counts per slice, polarity and pixel, brought to any size by
area averaging, and kept on disk: made once, found again under the hash of everything that made
them.

A split's frames lie in a folder of their own, one file for each sample: the SHA-256 of the values,
then the values, as bytes where all are whole numbers below 256 and else as float32. A file is
written whole or not at all, so a killed run goes on where it stopped, and two runs at once do not
see half of one. One that is missing, short or damaged is made again.
"""

import hashlib
import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.split import EventSet, Indices, View, parse_framing
from ahsar_eval.errors import AhsarWarning, DataError, OutputError
from ahsar_eval.files import cache_folder, sha256_of, written_whole
from ahsar_eval.provenance import code_digest

Frames = NDArray[np.float32]

_MOST_VALUES = 2**29  # of one recording's frames: 2 GiB
_DIGEST_BYTES = 32


def to_frames(events: Events, timesteps: int, framing: str, height: int, width: int) -> Frames:
    """Frames [T, P, height, width] float32, C-contiguous: channel 0 counts OFF events (p = 0),
    channel 1 ON events (p = 1); of a sensor of one polarity the one channel counts all.

    With E events, the first at t₀ and the last at t₁, slice i = 0 … T − 1 holds
    - `count`: events ⌊i·E/T⌋ to ⌊(i+1)·E/T⌋ − 1 in their order: every event once, and slices differ
      by at most one event;
    - `time`: events with t₀ + i·D/T ≤ t < t₀ + (i+1)·D/T, where D = t₁ − t₀; the last slice holds
      its end too, so every event counts once (all of them in slice 0 where D = 0);
    - `<n>us`: events with t₀ + i·n ≤ t < t₀ + (i+1)·n; what lies beyond T·n is not seen;
    - `<n>us@0`: the same from time 0 of the recording's own clock instead of t₀. A recording
      without events gives zeros. At the sensor's own size the values are the counts; at another
      size they are area averages (`area_average`). Raises `DataError` where `<n>us@0` sees no event
      of a recording that has some.
    """
    borders = borders_of(events.t, timesteps, framing)
    pixels, places = events.pixels, events.polarities * events.pixels
    # One flat index per event; 64 bits, so that no sensor or number of slices can wrap it.
    cell = events.pixel()
    cell += np.multiply(events.p, pixels, dtype=np.int64)
    seen = cell[borders[0] : borders[-1]]
    seen += np.repeat(np.arange(timesteps, dtype=np.int64) * places, np.diff(borders))
    counts = np.bincount(seen, minlength=timesteps * places).reshape(
        timesteps, events.polarities, events.height, events.width
    )
    if (events.height, events.width) == (height, width):
        return counts.astype(np.float32)
    return area_average(counts, height, width)


def area_average(counts: NDArray[np.integer], height: int, width: int) -> Frames:
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
    Raises `DataError` for a framing or a size that is none.
    """
    if parse_framing(framing) != framing or min(timesteps, height, width) < 1:
        raise DataError(
            f"{timesteps} frames of {height}x{width} by {framing!r} are none; expected at least 1 "
            "of each, and count, time, or the microseconds of one frame, such as 1000us"
        )
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
    per = "channel" if shape and shape[0] == 1 else "pixel and polarity (OFF, ON)"
    return f"{timesteps} slices {slices}, event counts per {per}, {size}"


def drawn(frames: Frames) -> Frames:
    """What a figure shows of frames [T, C, H, W]: their mean over time [C, H, W], or, of a row of
    channels (H = 1) over several steps, channels over time [2, W, T], as ON events.
    """
    if frames.shape[2] > 1 or len(frames) == 1:
        return frames.mean(axis=0)
    over_time = frames[:, :, 0].transpose(1, 2, 0)
    return np.concatenate([np.zeros_like(over_time), over_time])[-2:]


def _step_us(framing: str) -> int:
    return int(framing.removesuffix("@0").removesuffix("us"))


def borders_of(t: Indices, timesteps: int, framing: str) -> Indices:
    """T + 1 positions in the ordered times `t`; slice i is t[borders[i]:borders[i + 1]] (see
    `to_frames`).
    """
    total = len(t)
    if framing == "count" or total == 0:
        return np.arange(timesteps + 1, dtype=np.int64) * total // timesteps
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


def framed(
    source: EventSet, view: View, changed: Callable[..., Events] | None = None
) -> tuple[Callable[[Indices], Frames], str]:
    """What loads frames [n, T, P, H, W] of event recordings, each `changed(events, index=…)`
    first, and how they come to be. Raises `DataError` where set and network do not fit.
    """
    channels, height, width = view.shape
    timesteps = view.timesteps
    held = source.polarities
    if channels != held:
        polarities = f"{held} polarit{'ies' if held > 1 else 'y'}"
        raise DataError(
            f"{source.name} holds event recordings ({polarities}) and the network takes {channels} "
            f"channel{'s' * (channels > 1)}; choose a network of events of {polarities}"
            f"{', or a set of images' * (channels != 2)}"
        )
    if timesteps is None:
        raise DataError(
            f"{source.name} holds event recordings, which become frames only for a known number of "
            "time steps; name it"
        )
    _, tall, wide = source.shape or view.shape
    if timesteps * held * max(height * width, tall * wide) > _MOST_VALUES:
        raise DataError(
            f"{timesteps} frames of {height}x{width} of one recording of {source.name} (sensor "
            f"{tall}x{wide}) take too much memory; use fewer or smaller"
        )

    def frames(indices: Indices) -> Frames:
        made = []
        for index, events in zip(indices, source.fetch(indices), strict=True):
            try:
                if changed is not None:
                    events = changed(events, index=int(index))
                made.append(to_frames(events, timesteps, view.framing, height, width))
            except DataError as error:
                raise DataError(f"sample {int(index)} of {source.name}: {error}") from error
        return np.stack(made)

    return frames, describe_frames(source.shape, timesteps, view.framing, height, width)


class FrameCache:
    """The prepared frames of one split. Warns once where nothing can be written, and then does
    without.

    `make(indices)` gives frames [n, T, P, H, W] float32 of samples of the split, `shape` is (T, P,
    H, W).
    """

    def __init__(
        self, identity: str, shape: tuple[int, int, int, int], make: Callable[[Indices], Frames]
    ) -> None:
        key = sha256_of(identity, code_digest(), np.__version__, str(shape))
        self._folder = cache_folder("frames") / key
        self._shape, self._make = shape, make
        self._writable = True

    def at(self, indices: Indices) -> Frames:
        """The frames of `indices` (any order, repeated or not), [n, T, P, H, W] float32."""
        members, places = np.unique(indices, return_inverse=True)
        found = np.empty((len(members), *self._shape), dtype=np.float32)
        missing = []
        for place, index in enumerate(members):
            if (kept := self._read(index)) is None:
                missing.append(place)
            else:
                found[place] = kept
        if missing:
            found[missing] = self._make(members[missing])
        for place in missing:
            self._write(members[place], found[place])
        return found[places]

    def _read(self, index: int) -> NDArray[Any] | None:
        """The frames of a sample, None where there is no undamaged file."""
        try:
            data = (self._folder / f"{index:06d}").read_bytes()
            digest, values = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
            if hashlib.sha256(values).digest() != digest:
                return None
            kind = np.uint8 if len(values) == math.prod(self._shape) else np.float32
            return np.frombuffer(values, kind).reshape(self._shape)
        except (OSError, ValueError):
            return None

    def _write(self, index: int, frames: Frames) -> None:
        if not self._writable:
            return
        with np.errstate(invalid="ignore"):
            small = frames.astype(np.uint8)  # counts that fit into a byte: a quarter of the disk
        values = (small if np.array_equal(small, frames) else frames).tobytes()
        try:
            with written_whole(self._folder / f"{index:06d}") as temporary:
                temporary.write_bytes(hashlib.sha256(values).digest() + values)
        except OutputError as error:
            self._writable = False
            reason = str(error).partition(": ")[2]
            # The same words for every split of a run, so that Python shows them once.
            message = (
                "prepared frames are not kept: cannot write in "
                f"{str(self._folder.parent)!r}: {reason}, or set AHSAR_EVAL_CACHE"
            )
            warnings.warn(message, AhsarWarning, stacklevel=2)
