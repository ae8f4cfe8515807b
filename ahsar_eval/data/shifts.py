"""Shifts of an image set by name: the 19 corruptions of CIFAR-10-C and seven of our own, each with
severities 1 to 5.

Each is a pure function of images [N, C, H, W] float32 in [0, 1], a severity and the random numbers
of their samples. Constants are those of CIFAR-10-C (Hendrycks and Dietterich 2019, make_cifar_c.py)
where the family is not 'ours'; lengths in pixels scale with side / 32. The constants stand in
docs/data.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.data.later import later

if TYPE_CHECKING:
    from torch import Tensor

    from ahsar_eval.data.corruptions import blur, colour, digital, geometry, noise, spatter, weather
    from ahsar_eval.data.randomness import Draws
    from ahsar_eval.data.split import Indices
else:
    blur = later("ahsar_eval.data.corruptions.blur")
    colour = later("ahsar_eval.data.corruptions.colour")
    digital = later("ahsar_eval.data.corruptions.digital")
    geometry = later("ahsar_eval.data.corruptions.geometry")
    noise = later("ahsar_eval.data.corruptions.noise")
    spatter = later("ahsar_eval.data.corruptions.spatter")
    weather = later("ahsar_eval.data.corruptions.weather")
    Draws = later("ahsar_eval.data.randomness").Draws

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Shift:
    """A shift, its family, and whether an image keeps its class under it (only then is an accuracy
    reported).
    """

    apply: "Callable[[Tensor, int, Draws], Tensor]"
    family: (
        str  # noise, blur, weather, digital: the 15 of CIFAR-10-C; extra: its 4 extra ones; ours
    )
    labels_preserved: bool = True
    colour_only: bool = False


SHIFTS = {
    "gaussian_noise": Shift(noise.gaussian_noise, "noise"),
    "shot_noise": Shift(noise.shot_noise, "noise"),
    "impulse_noise": Shift(noise.impulse_noise, "noise"),
    "defocus_blur": Shift(blur.defocus_blur, "blur"),
    "glass_blur": Shift(blur.glass_blur, "blur"),
    "motion_blur": Shift(blur.motion_blur, "blur"),
    "zoom_blur": Shift(blur.zoom_blur, "blur"),
    "snow": Shift(weather.snow, "weather"),
    "frost": Shift(weather.frost, "weather"),
    "fog": Shift(weather.fog, "weather"),
    "brightness": Shift(colour.brightness, "weather"),
    "contrast": Shift(colour.contrast, "digital"),
    "elastic_transform": Shift(digital.elastic_transform, "digital"),
    "pixelate": Shift(digital.pixelate, "digital"),
    "jpeg_compression": Shift(digital.jpeg_compression, "digital"),
    "speckle_noise": Shift(noise.speckle_noise, "extra"),
    "gaussian_blur": Shift(blur.gaussian_blur, "extra"),
    "spatter": Shift(spatter.spatter, "extra"),
    "saturate": Shift(colour.saturate, "extra", colour_only=True),
    "rotation": Shift(geometry.rotation, "ours"),
    "translation": Shift(geometry.translation, "ours"),
    "scale": Shift(geometry.scale, "ours"),
    "resolution": Shift(geometry.resolution, "ours"),
    "channel_shuffle": Shift(colour.channel_shuffle, "ours", colour_only=True),
    "inversion": Shift(colour.inversion, "ours"),
    "patch_occlusion": Shift(geometry.patch_occlusion, "ours"),
}
ALIASES = {"blur": "gaussian_blur"}


def shifted(
    images: "Tensor",
    shift: str,
    severity: int,
    seed: int,
    indices: "Indices",
    *,
    frost: Path | None = None,
) -> "Tensor":
    """A shift of the catalogue applied to images [N, C, H, W] whose places in their set are
    `indices`; the result is clipped to [0, 1].

    `frost` is a folder of photographs in place of the grown frost textures.
    """
    draws = Draws(seed, shift, severity, indices)
    if shift == "frost" and frost is not None:
        return weather.frost(images, severity, draws, frost).clamp_(0, 1)
    return SHIFTS[shift].apply(images, severity, draws).clamp(0, 1)
