"""A set as a network sees it: images brought to its shape, event recordings framed,
shifts applied."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data.corruptions.values import grey
from ahsar_eval.data.corruptions.weather import photographs_identity
from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.events.cache import FrameCache, Frames
from ahsar_eval.data.events.frames import describe_frames, to_frames
from ahsar_eval.data.shifts import EVENT_SHIFTS, SHIFTS, shifted, shifted_events
from ahsar_eval.data.split import EventSet, Indices, SampleSet, Shape, Split
from ahsar_eval.errors import DataError

_MOST_VALUES = 2**29  # of one recording's frames: 2 GiB


@dataclass(frozen=True)
class View:
    """What a network takes: `shape` (C, H, W), and for event recordings T `timesteps` and their
    `framing` (`ModelSpec.framing`).
    """

    shape: Shape
    timesteps: int | None = None
    framing: str = "count"


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
    if isinstance(source, EventSet):
        return _of_events(source, view, shift, severity, seed)
    return _of_images(source, view, shift, severity, seed, options or DataOptions())


def _of_images(
    source: SampleSet, view: View, shift: str | None, severity: int, seed: int, options: DataOptions
) -> Split:
    channels, height, width = view.shape
    known = None
    if shift is not None:
        if shift not in SHIFTS:
            raise DataError(
                f"{shift} is a shift of event recordings and {source.name} holds images; known for "
                f"images are {', '.join(SHIFTS)}"
            )
        known = SHIFTS[shift]
        if min(height, width) < 2:
            raise DataError(
                f"images of {height}x{width} are too small for {shift}; expected sides of at least "
                "2"
            )
        if known.colour_only and channels != 3:
            raise DataError(
                f"{shift} is a shift of colours and the network takes grey images; choose another "
                "shift"
            )
    adaptation = "none"
    if source.shape != view.shape:
        adaptation = (
            f"shorter side resized to {min(height, width)}, centre crop {height}x{width}, "
            f"{channels} channels"
        )
    if shift == "frost" and options.frost is not None:
        adaptation += f"; frost from photographs {photographs_identity(options.frost)[:16]}"

    def load(indices: Indices) -> Tensor:
        images = to_shape(source.fetch(indices), view.shape, source.name)
        if shift is not None:
            images = shifted(images, shift, severity, seed, indices, frost=options.frost)
        return images[None]

    return Split(
        source=source,
        shape=view.shape,
        load=load,
        adaptation=adaptation,
        shift=shift,
        severity=severity,
        seed=seed,
        labels_preserved=known is None or known.labels_preserved,
    )


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
            return grey(image)
        raise DataError(
            f"{name} has images of {held} channel{'s' * (held > 1)} and the network takes "
            f"{channels}{' (event polarities)' if channels == 2 else ''}; only grey and colour can "
            "be exchanged; choose a set of the network's modality"
        )

    return torch.stack([brought(image) for image in images])


def _of_events(source: EventSet, view: View, shift: str | None, severity: int, seed: int) -> Split:
    channels, height, width = view.shape
    timesteps = view.timesteps
    if channels != 2:
        raise DataError(
            f"{source.name} holds event recordings (2 polarities) and the network takes {channels} "
            f"channel{'s' * (channels > 1)}; choose a network of events, or a set of images"
        )
    if timesteps is None:
        raise DataError(
            f"{source.name} holds event recordings, which become frames only for a known number of "
            "time steps; name it"
        )
    _, tall, wide = source.shape or view.shape
    if timesteps * 2 * max(height * width, tall * wide) > _MOST_VALUES:
        raise DataError(
            f"{timesteps} frames of {height}x{width} of one recording of {source.name} (sensor "
            f"{tall}x{wide}) take too much memory; use fewer or smaller"
        )
    if shift is not None and shift not in EVENT_SHIFTS:
        raise DataError(
            f"{shift} is a shift of images and {source.name} holds event recordings; known for "
            f"events are {', '.join(EVENT_SHIFTS)}"
        )

    def frames(indices: Indices) -> Frames:
        made = []
        for index, events in zip(indices, source.fetch(indices), strict=True):
            try:
                if shift is not None:
                    events = shifted_events(events, shift, severity, seed, int(index))
                made.append(to_frames(events, timesteps, view.framing, height, width))
            except DataError as error:
                raise DataError(f"sample {int(index)} of {source.name}: {error}") from error
        return np.stack(made)

    split = Split(
        source=source,
        shape=view.shape,
        load=lambda indices: torch.from_numpy(frames(indices)).transpose(0, 1),
        adaptation=describe_frames(source.shape, timesteps, view.framing, height, width),
        shift=shift,
        severity=severity,
        seed=seed,
        labels_preserved=shift is None or EVENT_SHIFTS[shift].labels_preserved,
        modality="events",
    )
    if shift is not None:
        # shifted frames are used once; what a network makes of them is kept as a recording
        return split
    cache = FrameCache(split.identity, len(source), (timesteps, 2, height, width), frames)
    return replace(split, load=lambda indices: torch.from_numpy(cache.at(indices)).transpose(0, 1))
