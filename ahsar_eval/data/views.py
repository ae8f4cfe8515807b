"""A set as a network sees it: images brought to its shape, event recordings framed,
shifts applied."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.corruptions.frost import photographs_identity
from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.events.cache import FrameCache
from ahsar_eval.data.events.corruptions import EVENT_SHIFTS, shifted_events
from ahsar_eval.data.events.frames import describe_frames, to_frames
from ahsar_eval.data.images.adapt import to_shape
from ahsar_eval.data.shifts import SHIFTS, shifted
from ahsar_eval.data.split import EventSet, Indices, SampleSet, Split
from ahsar_eval.errors import DataError

_MOST_VALUES = 2**29  # of one recording's frames: 2 GiB


@dataclass(frozen=True)
class View:
    """What a network takes: `shape` (C, H, W), and for event recordings T `timesteps` and their
    `framing` (`ModelSpec.framing`).
    """

    shape: tuple[int, int, int]
    timesteps: int | None = None
    framing: str = "count"


def split_of(
    source: SampleSet,
    view: View | tuple[int, int, int],
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
    adapt, adaptation = to_shape(view.shape, source.name)
    known = None
    if shift is not None:
        if shift not in SHIFTS:
            raise DataError(
                f"{shift} is a shift of event recordings and {source.name} holds images; known for "
                f"images are {', '.join(SHIFTS)}"
            )
        known = SHIFTS[shift]
        if min(view.shape[1:]) < 2:
            raise DataError(
                f"images of {view.shape[1]}x{view.shape[2]} are too small for {shift}; expected "
                "sides of at least 2"
            )
        if known.colour_only and view.shape[0] != 3:
            raise DataError(
                f"{shift} is a shift of colours and the network takes grey images; choose another "
                "shift"
            )

    if source.shape == view.shape:
        adaptation = "none"
    if shift == "frost" and options.frost is not None:
        adaptation += f"; frost from photographs {photographs_identity(options.frost)[:16]}"

    def load(indices: Indices) -> Tensor:
        images = adapt(source.fetch(indices))
        return (
            images
            if shift is None
            else shifted(images, shift, severity, seed, indices, frost=options.frost)
        )[None]

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


def _of_events(source: EventSet, view: View, shift: str | None, severity: int, seed: int) -> Split:
    channels, height, width = view.shape
    timesteps = view.timesteps
    if channels != 2:
        raise DataError(
            f"{source.name} holds event recordings (2 polarities) and the network takes {channels} "
            f"channel{'s' * (channels > 1)}; "
            "choose a network of events, or a set of images"
        )
    if timesteps is None:
        raise DataError(
            f"{source.name} holds event recordings, which become frames only for a known number of "
            "time steps; name it"
        )
    sensor = source.shape or view.shape
    if timesteps * 2 * max(height * width, sensor[1] * sensor[2]) > _MOST_VALUES:
        raise DataError(
            f"{timesteps} frames of {height}x{width} of one recording of {source.name} (sensor "
            f"{sensor[1]}x{sensor[2]}) "
            "take too much memory; use fewer or smaller"
        )
    if shift is not None and shift not in EVENT_SHIFTS:
        raise DataError(
            f"{shift} is a shift of images and {source.name} holds event recordings; known for "
            f"events are {', '.join(EVENT_SHIFTS)}"
        )

    def frames(indices: Indices) -> NDArray[np.float32]:
        made = []
        for index, events in zip(indices, source.fetch(indices), strict=True):
            try:
                seen = (
                    events
                    if shift is None
                    else shifted_events(events, shift, severity, seed, int(index))
                )
                made.append(to_frames(seen, timesteps, view.framing, height, width))
            except DataError as error:
                raise DataError(f"sample {int(index)} of {source.name}: {error}") from error
        return np.stack(made)

    adaptation = describe_frames(source.shape, timesteps, view.framing, height, width)
    split = Split(
        source=source,
        shape=view.shape,
        load=lambda indices: torch.from_numpy(frames(indices)).transpose(0, 1),
        adaptation=adaptation,
        shift=shift,
        severity=severity,
        seed=seed,
        labels_preserved=shift is None or EVENT_SHIFTS[shift].labels_preserved,
        modality="events",
    )
    if shift is not None:
        # shifted frames are used once; what a network makes of them is kept as a recording
        return split
    cache = FrameCache.of(split.identity, len(source), (timesteps, 2, height, width), frames)
    return replace(split, load=lambda indices: torch.from_numpy(cache.at(indices)).transpose(0, 1))
