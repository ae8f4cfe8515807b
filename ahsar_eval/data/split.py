"""What the rest of the package sees of a data set: batches of one layout, and an identity; images
brought to a network's shape, event recordings framed, shifts applied.
"""

import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.met import not_read
from ahsar_eval.data.sets import DataOptions
from ahsar_eval.data.shifts import EVENT_SHIFTS, SEVERITIES, SHIFTS, shifted, shifted_events
from ahsar_eval.errors import AhsarWarning, DataError, UsageError
from ahsar_eval.files import sha256_of

if TYPE_CHECKING:
    from ahsar_eval.data.events.stream import Events

Indices = NDArray[np.int64]
Shape = tuple[int, int, int]  # channels, height, width
AnySet = TypeVar("AnySet", bound="SampleSet")

_MICROSECONDS = {"us": 1, "µs": 1, "μs": 1, "ms": 1_000, "s": 1_000_000}
_EXPECTED = (
    "count (equal event count), time (equal duration), or the duration of one frame, such as 1ms, "
    "500us or 1ms@0"
)


@dataclass(frozen=True)
class Batch:
    """`x` [T, N, C, H, W] float32 in [0, 1] (T = 1 for static images), `y` [N] int64 (−1 without a
    label), `index` [N] into the split.
    """

    x: Tensor
    y: Tensor
    index: Tensor


@dataclass(frozen=True)
class SampleSet:
    """A set of samples as they lie on disk, before they are brought to a network's shape: an
    `ImageSet` or an `EventSet`.

    `fetch(indices)` gives a list of samples. `labels` is [N] int64, −1 where unknown. `identity` is
    a hash of what the set consists of. `label_space` names the classes' meaning: two sets share
    labels when it is equal.
    """

    name: str
    role: str  # train, validation, test, or all where the set is not divided
    labels: Indices
    classes: tuple[str, ...]
    identity: str
    label_space: str
    fetch: Callable[[Indices], Sequence[Any]]
    shape: Shape | None = None  # where all samples agree
    note: str = ""
    origin: str = ""  # identity of the set this one was taken from, where it is a part
    # The rule that divided it into splits, where there is more than one such rule.
    division: str = ""
    copies_of: str = ""  # name of the set whose images, in its order, these are corrupted copies of
    # What the source holds beside the samples, by kind: how many were not read (`met.not_read`).
    skipped: Mapping[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()  # what was decided when it was read, a clause each

    @property
    def remarks(self) -> tuple[str, ...]:
        """What every output says of the set: what was decided, and what was not read."""
        return (*self.said, *filter(None, [not_read(self.skipped)]))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet(SampleSet):
    """Images: `fetch` gives [C, H, W] float32 tensors in [0, 1]."""


@dataclass(frozen=True)
class EventSet(SampleSet):
    """Event recordings: `fetch` gives `Events`; `shape` is (P, H, W), one channel per polarity at
    the sensor's size; (1, 1, W) is a row of W channels.
    """

    @property
    def polarities(self) -> int:
        """2, or 1 of sensors whose events are all of one kind."""
        return self.shape[0] if self.shape else 2


@dataclass(frozen=True)
class Split:
    """A set, brought to a network's shape and possibly shifted: what a recording is made of.

    `load` takes indices to the tensors a network sees, [T, n, C, H, W] float32 (T = 1 for images);
    the randomness of a shift in it depends on (seed, shift, severity, sample index) alone.
    """

    source: SampleSet
    shape: Shape
    load: Callable[[Indices], Tensor]
    adaptation: str
    shift: str | None = None
    severity: int = 0
    seed: int = 0
    labels_preserved: bool = True
    modality: str = "image"
    remark: str = ""  # what a look at frames of some recordings says, where that is odd
    # Other samples of the set, to which a network may adapt before it meets these; unlabelled.
    pool: "Split | None" = None

    @property
    def name(self) -> str:
        """The specification a user would type: set, shift, severity."""
        shift = "" if self.shift is None else f":{self.shift}:{self.severity}"
        return self.source.name + shift

    @property
    def identity(self) -> str:
        """Hash of everything that decides the tensors this split yields; the seed counts only where
        there is a shift.
        """
        return sha256_of(
            self.source.identity,
            self.source.role,
            str(self.shape),
            self.adaptation,
            str(self.shift),
            str(self.severity),
            str(self.seed) if self.shift else "",
        )

    @property
    def labels(self) -> Indices:
        """Labels [N] int64, −1 where unknown."""
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def tensors(self, indices: Indices) -> Tensor:
        """What a network sees of the samples at `indices`, [T, n, C, H, W] float32. Raises
        `DataError` for a value that is not finite.
        """
        x = self.load(indices)
        finite = torch.isfinite(x)
        if not finite.all():
            bad = indices[int((~finite).transpose(0, 1).flatten(1).any(1).nonzero()[0])]
            raise DataError(
                f"sample {bad} of {self.name} has a value that is not finite; expected numbers in "
                "[0, 1]; mend or remove it"
            )
        return x

    def only(self, index: int) -> "Split":
        """The split of one sample, its shift's randomness unchanged."""
        return self.at(np.array([index], dtype=np.int64))

    def at(self, members: Indices) -> "Split":
        """The split of these samples, their shift's randomness unchanged."""
        return replace(
            self,
            source=subset(self.source, members),
            load=lambda indices: self.load(members[indices]),
        )

    def batches(self, batch_size: int, order: Indices | None = None) -> Iterator[Batch]:
        """Batches of at most `batch_size` samples, in `order` (default 0 … N−1)."""
        order = np.arange(len(self)) if order is None else np.asarray(order, dtype=np.int64)
        for start in range(0, len(order), batch_size):
            index = order[start : start + batch_size]
            labels = torch.from_numpy(self.labels[index])
            yield Batch(self.tensors(index), labels, torch.from_numpy(index.copy()))


def check_distinct(id_split: Split, others: Sequence[Split]) -> None:
    """That no other split is the ID set or stands twice. Raises `UsageError`."""
    seen: set[str] = set()
    for split in others:
        if split.identity == id_split.identity:
            raise UsageError(
                f"the OOD set {split.name} is the ID set itself; choose another, or a shift of it"
            )
        if split.identity in seen:
            raise UsageError(f"the set {split.name} was named twice; name it once")
        seen.add(split.identity)


def shuffled(count: int, seed: int) -> Indices:
    """The samples 0 … count − 1 in an order of the seed alone."""
    return np.random.Generator(np.random.Philox(seed)).permutation(count)


def pooled(split: Split, samples: int, seed: int) -> Split:
    """`split` without `samples` of its samples, drawn by `seed`, which are its `pool`: unlabelled,
    for a network to adapt to. Sets of one length give samples at the same places. Raises
    `UsageError` where none is left.
    """
    if not 1 <= samples < len(split):
        raise UsageError(
            f"{samples:,} samples to adapt to were asked for, and {split.name} has {len(split):,}; "
            "expected at least 1, and fewer than it has: the others are evaluated"
        )
    order = shuffled(len(split), seed)
    pool = split.at(np.sort(order[:samples]))
    unlabelled = replace(pool.source, labels=np.full(samples, -1))
    rest = split.at(np.sort(order[samples:]))
    note = f"without the {samples:,} samples, drawn by seed {seed}, that networks may adapt to"
    return replace(rest, source=noted(rest.source, note), pool=replace(pool, source=unlabelled))


def limited(source: AnySet, count: int | None) -> AnySet:
    """The first `count` samples of a fixed shuffle of `source`, in the order of the set; all for
    None. Sets of one length give samples at the same places."""
    if count is None or count >= len(source):
        return source
    order = shuffled(len(source), 0)
    note = f"the first {count:,} of a fixed shuffle of {len(source):,} samples (--limit)"
    return noted(subset(source, np.sort(order[:count])), note)


def noted(source: AnySet, note: str) -> AnySet:
    """`source`, of which `note` is said too."""
    return replace(source, note=f"{source.note}; {note}" if source.note else note)


def subset(source: AnySet, members: Indices, role: str | None = None) -> AnySet:
    """The samples of `source` at `members`, as a set of its own, in the role of the whole where
    none is named.
    """
    return replace(
        source,
        role=role or source.role,
        labels=source.labels[members],
        identity=sha256_of(source.identity, members.astype(np.int64).tobytes()),
        origin=source.origin or source.identity,
        fetch=lambda indices: source.fetch(members[indices]),
    )


@dataclass(frozen=True)
class View:
    """What a network takes: `shape` (C, H, W), and for event recordings T `timesteps` and their
    `framing` (`ModelSpec.framing`).
    """

    shape: Shape
    timesteps: int | None = None
    framing: str = "count"


def parse_framing(text: str) -> str:
    """The canonical framing, `count`, `time`, `<n>us` or `<n>us@0`, of what a user types: `count`,
    `time`, `1ms`, `0.5ms`, `1ms@0`.

    Raises `DataError` for any other word, and for a duration that is not a whole, positive number
    of microseconds.
    """
    typed = text.strip()
    if typed in ("count", "time"):
        return typed
    match = re.fullmatch(
        r"([0-9]{1,18}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}) ?(us|µs|μs|ms|s)(@0)?", typed
    )
    if match is None:
        raise DataError(f"framing {text!r} is unknown; expected {_EXPECTED}")
    duration_us = Fraction(match[1]) * _MICROSECONDS[match[2]]
    if duration_us < 1 or duration_us.denominator != 1:
        raise DataError(
            f"framing {text!r} is no whole, positive number of microseconds; expected {_EXPECTED}"
        )
    return f"{duration_us.numerator}us{match[3] or ''}"


def split_of(
    source: SampleSet,
    view: View | Shape,
    shift: str | None = None,
    severity: int = 0,
    seed: int = 0,
    options: DataOptions | None = None,
) -> Split:
    """A set brought to what a network takes, and shifted where a shift is named. Raises `DataError`
    where the two do not fit.
    """
    view = view if isinstance(view, View) else View(view)
    events = isinstance(source, EventSet)
    known = EVENT_SHIFTS if events else SHIFTS
    if shift is not None and shift not in known:
        raise DataError(
            f"{shift} is no shift of {'event recordings' if events else 'images'}, which "
            f"{source.name} holds; known are {', '.join(known)}"
        )
    if shift is not None and severity not in SEVERITIES:
        raise DataError(f"severity {severity} of {shift} is none; expected 1 to 5")
    if isinstance(source, EventSet):
        from ahsar_eval.data.events.frames import FrameCache, framed

        changed: Callable[..., Events] | None = None
        if shift is not None:
            if not EVENT_SHIFTS[shift].takes(source.polarities):
                raise DataError(
                    f"{shift} is a shift of two polarities and {source.name} has one; choose "
                    "another shift"
                )
            changed = functools.partial(shifted_events, shift=shift, severity=severity, seed=seed)
        frames, adaptation = framed(source, view, changed)
        load = in_time(frames)
    else:
        load, adaptation = _pictured(source, view, shift, severity, seed, options or DataOptions())
    split = Split(
        source=source,
        shape=view.shape,
        load=load,
        adaptation=adaptation,
        shift=shift,
        severity=severity,
        seed=seed,
        labels_preserved=shift is None or known[shift].labels_preserved,
        modality="events" if events else "image",
    )
    if (
        isinstance(source, EventSet) and shift is None
    ):  # shifted frames are used once, and their recordings are kept
        from ahsar_eval.data.events.look import frames_of_nothing

        kept = FrameCache(split.identity, (view.timesteps or 1, *view.shape), frames)
        remark = frames_of_nothing(source, view.timesteps or 1, view.framing)
        if remark:
            warnings.warn(f"{source.name}: {remark}", AhsarWarning, stacklevel=2)
        split = replace(split, load=in_time(kept.at), remark=remark)
    return split


def in_time(frames: Callable[[Indices], NDArray[np.float32]]) -> Callable[[Indices], Tensor]:
    """[T, n, C, H, W] of frames [n, T, C, H, W]."""
    return lambda indices: torch.from_numpy(frames(indices)).transpose(0, 1)


def _pictured(
    source: SampleSet, view: View, shift: str | None, severity: int, seed: int, options: DataOptions
) -> tuple[Callable[[Indices], Tensor], str]:
    """What loads images of the network's shape, and how they come to be."""
    channels, height, width = view.shape
    if shift is not None and min(height, width) < 2:
        raise DataError(
            f"images of {height}x{width} are too small for {shift}; expected sides of at least 2"
        )
    if shift is not None and not SHIFTS[shift].takes(channels):
        of = "colours" if SHIFTS[shift].colour_only else "grey or coloured images"
        taken = "grey images" if channels == 1 else f"images of {channels} channels"
        raise DataError(
            f"{shift} is a shift of {of} and the network takes {taken}; choose another shift"
        )
    adaptation = "none"
    if source.shape != view.shape:
        adaptation = (
            f"shorter side resized to {min(height, width)}, centre crop {height}x{width}, "
            f"{channels} channels"
        )
    if shift == "frost" and options.frost is not None:
        from ahsar_eval.data.corruptions.weather import photographs_identity

        adaptation += f"; frost from photographs {photographs_identity(options.frost)[:16]}"

    def load(indices: Indices) -> Tensor:
        images = to_shape(source.fetch(indices), view.shape, source.name)
        if shift is not None:
            images = shifted(images, shift, severity, seed, indices, frost=options.frost)
        return images[None]

    return load, adaptation


def to_shape(images: Sequence[Tensor], shape: Shape, name: str) -> Tensor:
    """[N, C, H, W] from images [c, h, w] in [0, 1] of the set `name`, each brought to `shape`.

    The shorter side is resized to the target's by antialiased bilinear interpolation and the centre
    is cropped (as OpenOOD does); grey becomes three equal channels, colour becomes BT.601 luma.
    Raises `DataError` where channels cannot be matched.
    """
    channels, height, width = shape

    def brought(image: Tensor) -> Tensor:
        held, tall, wide = image.shape
        if (tall, wide) != (height, width):
            from torchvision.transforms.v2 import functional as transforms

            ratio = max(height / tall, width / wide)
            size = [max(height, round(tall * ratio)), max(width, round(wide * ratio))]
            image = transforms.resize(image, size, antialias=True)
            image = transforms.center_crop(image, [height, width]).clamp(0, 1)
        if held == channels:
            return image
        if (held, channels) == (1, 3):
            return image.expand(3, -1, -1)
        if (held, channels) == (3, 1):
            from ahsar_eval.data.images import grey

            return grey(image)
        raise DataError(
            f"{name} has images of {held} channel{'s' * (held > 1)} and the network takes "
            f"{channels}{' (event polarities)' if channels == 2 else ''}; only grey and colour can "
            "be exchanged; choose a set of the network's modality"
        )

    return torch.stack([brought(image) for image in images])
