"""Shifts by name, with the constants of severities 1 to 5: of images the 19 corruptions of
CIFAR-10-C and seven of our own, of event recordings twelve.

Constants of images are those of CIFAR-10-C (Hendrycks and Dietterich 2019, make_cifar_c.py) where
the family is not 'ours'; lengths in pixels scale with side / 32. docs/data.md lists all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.data.later import later
from ahsar_eval.errors import DataError, close_to
from ahsar_eval.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ahsar_eval.data.corruptions import blur, geometry, jpeg, spatter, values, weather
    from ahsar_eval.data.events import corruptions as events
    from ahsar_eval.data.events.stream import Events
    from ahsar_eval.data.randomness import Draws, generators
    from ahsar_eval.data.split import Indices
else:
    blur = later("ahsar_eval.data.corruptions.blur")
    geometry = later("ahsar_eval.data.corruptions.geometry")
    jpeg = later("ahsar_eval.data.corruptions.jpeg")
    spatter = later("ahsar_eval.data.corruptions.spatter")
    values = later("ahsar_eval.data.corruptions.values")
    weather = later("ahsar_eval.data.corruptions.weather")
    events = later("ahsar_eval.data.events.corruptions")
    Draws = later("ahsar_eval.data.randomness").Draws
    generators = later("ahsar_eval.data.randomness").generators

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Shift:
    """A shift: `apply(samples, constant, draws)` is a pure function of a batch of images [N, C, H,
    W] in [0, 1], or of one recording of events, and of random numbers.
    """

    apply: "Callable[[Any, Any, Any], Any]"
    constants: tuple[Any, ...]  # of severities 1 to 5
    family: str = (
        ""  # noise, blur, weather, digital: the 15 of CIFAR-10-C; extra: its 4 extra ones; ours
    )
    labels_preserved: bool = (
        True  # whether a sample keeps its class (only then is an accuracy reported)
    )
    colour_only: bool = False


_PARTS = (0.2, 0.4, 0.6, 0.8, 1.0)

SHIFTS = Registry(
    "shifts",
    Shift,
    {
        "gaussian_noise": Shift(values.gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), "noise"),
        "shot_noise": Shift(values.shot_noise, (500.0, 250.0, 100.0, 75.0, 50.0), "noise"),
        "impulse_noise": Shift(values.impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), "noise"),
        "defocus_blur": Shift(  # radius of the disk, σ of its smoothed edge
            blur.defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)), "blur"
        ),
        "glass_blur": Shift(  # σ, largest displacement, passes
            blur.glass_blur,
            ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            "blur",
        ),
        "motion_blur": Shift(  # radius, σ
            blur.motion_blur, ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)), "blur"
        ),
        "zoom_blur": Shift(blur.zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26), "blur"),
        "snow": Shift(  # mean, std, zoom, threshold, radius and σ of the fall, weight of the image
            weather.snow,
            (
                (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
                (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
            ),
            "weather",
        ),
        "frost": Shift(  # weight of the image, of the frost
            weather.frost,
            ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            "weather",
        ),
        "fog": Shift(  # amplitude, decay of the plasma
            weather.fog, ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)), "weather"
        ),
        "brightness": Shift(values.brightness, (0.05, 0.1, 0.15, 0.2, 0.3), "weather"),
        "contrast": Shift(values.contrast, (0.75, 0.5, 0.4, 0.3, 0.15), "digital"),
        "elastic_transform": Shift(  # α, σ, affine, in pixels
            geometry.elastic_transform,
            (
                (0.0, 0.0, 2.56),
                (1.6, 6.4, 2.24),
                (2.56, 1.92, 1.92),
                (3.2, 1.28, 1.6),
                (3.2, 0.96, 0.96),
            ),
            "digital",
        ),
        # Of the side, rounded down: 30, 28, 27, 24, 20 of 32.
        "pixelate": Shift(geometry.pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), "digital"),
        "jpeg_compression": Shift(jpeg.jpeg_compression, (80, 65, 58, 50, 40), "digital"),
        "speckle_noise": Shift(values.speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2), "extra"),
        "gaussian_blur": Shift(blur.gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), "extra"),
        "spatter": Shift(
            # Mean and std of the liquid, σ of its drops, threshold, strength (water) or σ of the
            # edge (mud), whether it is mud.
            spatter.spatter,
            (
                (0.62, 0.1, 0.7, 0.7, 0.5, False),
                (0.65, 0.1, 0.8, 0.7, 0.5, False),
                (0.65, 0.3, 1.0, 0.69, 0.5, False),
                (0.65, 0.1, 0.7, 0.69, 0.6, True),
                (0.65, 0.1, 0.5, 0.68, 0.6, True),
            ),
            "extra",
        ),
        "saturate": Shift(
            values.saturate,
            ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
            "extra",
            colour_only=True,
        ),
        "rotation": Shift(geometry.rotation, (10.0, 20.0, 30.0, 40.0, 50.0), "ours"),  # degrees
        "translation": Shift(
            geometry.translation, (0.05, 0.1, 0.15, 0.2, 0.25), "ours"
        ),  # of the side
        "scale": Shift(geometry.scale, (1.1, 1.2, 1.3, 1.4, 1.5), "ours"),
        # Of the side.
        "resolution": Shift(geometry.resolution, (0.75, 0.5, 0.375, 0.25, 0.1875), "ours"),
        "channel_shuffle": Shift(values.channel_shuffle, _PARTS, "ours", colour_only=True),
        "inversion": Shift(values.inversion, _PARTS, "ours"),
        # Of the area.
        "patch_occlusion": Shift(geometry.patch_occlusion, (0.05, 0.1, 0.2, 0.3, 0.4), "ours"),
    },
)
ALIASES = {"blur": "gaussian_blur"}

EVENT_SHIFTS = Registry(
    "event_shifts",
    Shift,
    {
        "background_activity": Shift(events.background_activity, (0.1, 0.5, 1.0, 2.5, 5.0)),  # Hz
        "hot_pixels": Shift(events.hot_pixels, (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)),
        "dead_pixels": Shift(events.dead_pixels, (0.01, 0.05, 0.1, 0.2, 0.3)),
        "event_drop": Shift(events.event_drop, (0.1, 0.3, 0.5, 0.7, 0.9)),
        "time_drop": Shift(events.time_drop, (0.1, 0.2, 0.3, 0.4, 0.5)),
        "occlusion": Shift(events.occlusion, (0.05, 0.1, 0.2, 0.3, 0.4)),
        "spatial_jitter": Shift(events.spatial_jitter, (0.5, 1.0, 1.5, 2.0, 3.0)),  # pixels
        "time_jitter": Shift(events.time_jitter, (1.0, 5.0, 10.0, 25.0, 50.0)),  # ms
        "polarity_flip": Shift(events.polarity_flip, (0.05, 0.1, 0.2, 0.35, 0.5)),
        "refractory": Shift(events.refractory, (0.5, 1.0, 5.0, 10.0, 20.0)),  # ms
        "threshold_mismatch": Shift(events.threshold_mismatch, (0.1, 0.2, 0.3, 0.4, 0.5)),
        "time_scale": Shift(events.time_scale, (5, 6, 8, 12, 16)),  # quarters of a factor
    },
)


def shifted(
    images: "Tensor",
    shift: str,
    severity: int,
    seed: int,
    indices: "Indices",
    *,
    frost: Path | None = None,
) -> "Tensor":
    """A shift of `SHIFTS` applied to images [N, C, H, W] whose places in their set are `indices`;
    the result is clipped to [0, 1].

    `frost` is a folder of photographs in place of the grown frost textures.
    """
    draws = Draws(seed, shift, severity, indices)
    constant = SHIFTS[shift].constants[severity - 1]
    if shift == "frost":
        return weather.frost(images, constant, draws, frost).clamp_(0, 1)
    return SHIFTS[shift].apply(images, constant, draws).clamp(0, 1)


def shifted_events(
    recording: "Events", shift: str, severity: int, seed: int, index: int
) -> "Events":
    """A shift of `EVENT_SHIFTS` applied to the recording whose place in its set is `index`, by
    random numbers of these four alone.

    Raises `DataError` for an unknown shift or a severity other than 1 to 5.
    """
    if shift not in EVENT_SHIFTS:
        raise DataError(
            f"unknown shift {shift!r} of event recordings{close_to(shift, EVENT_SHIFTS)}; known "
            f"are {', '.join(EVENT_SHIFTS)}"
        )
    if severity not in SEVERITIES:
        raise DataError(f"severity {severity} of {shift} is none; expected 1 to 5")
    (maker,) = generators(seed, shift, severity, [index])
    known = EVENT_SHIFTS[shift]
    return known.apply(recording, known.constants[severity - 1], maker)
