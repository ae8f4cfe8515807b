"""Bringing any image to a network's shape: shorter side resized, centre cropped, grey and colour
exchanged.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ahsar_eval.data.luma import grey
from ahsar_eval.errors import DataError


def to_shape(
    shape: tuple[int, int, int], name: str
) -> tuple[Callable[[Sequence[Tensor]], Tensor], str]:
    """A function from a list of [c, h, w] images in [0, 1] to one tensor [N, C, H, W], and its
    description for the provenance.

    The shorter side is resized to the target's by antialiased bilinear interpolation and the centre
    is cropped (as OpenOOD does); grey becomes three equal channels, colour becomes BT.601 luma.
    Raises `DataError` where channels cannot be matched.
    """

    def adapt(images: Sequence[Tensor]) -> Tensor:
        return torch.stack(
            [_channels(_sized(image, shape[1], shape[2]), shape[0], name) for image in images]
        )

    return (
        adapt,
        f"shorter side resized to {min(shape[1:])}, centre crop {shape[1]}x{shape[2]}, {shape[0]} "
        "channels",
    )


def _sized(image: Tensor, height: int, width: int) -> Tensor:
    if tuple(image.shape[1:]) == (height, width):
        return image
    from torchvision.transforms.v2 import functional as transforms

    ratio = max(height / image.shape[1], width / image.shape[2])
    size = [max(height, round(image.shape[1] * ratio)), max(width, round(image.shape[2] * ratio))]
    resized: Tensor = transforms.resize(image, size, antialias=True)
    return transforms.center_crop(resized, [height, width]).clamp(0, 1)


def _channels(image: Tensor, channels: int, name: str) -> Tensor:
    if image.shape[0] == channels:
        return image
    if image.shape[0] == 1 and channels == 3:
        return image.expand(3, -1, -1)
    if image.shape[0] == 3 and channels == 1:
        return grey(image)
    raise DataError(
        f"{name} has images of {image.shape[0]} channel{'s' * (image.shape[0] > 1)} and the "
        f"network takes {channels}"
        f"{' (event polarities)' if channels == 2 else ''}; only grey and colour can be exchanged; "
        "choose a set of the network's modality"
    )
