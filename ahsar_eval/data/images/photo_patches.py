"""Patches of scikit-learn's two sample photographs: real images that no digit or object classifier
was trained on, without a download.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data.images.embedded import sklearn_file
from ahsar_eval.data.split import ImageSet, Indices
from ahsar_eval.files import sha256_of

_SIDE = 32


@functools.cache
def _load() -> Tensor:
    from PIL import Image

    patches = []
    for name in (
        "china.jpg",
        "flower.jpg",
    ):  # what sklearn.datasets.load_sample_images reads; a test holds the two equal
        with Image.open(sklearn_file(f"images/{name}")) as photograph:
            pixels = torch.from_numpy(np.asarray(photograph, dtype=np.float32) / 255).permute(
                2, 0, 1
            )
        tiles = pixels.unfold(1, _SIDE, _SIDE).unfold(
            2, _SIDE, _SIDE
        )  # [3, rows, columns, 32, 32], what is left at the border dropped
        patches.append(tiles.permute(1, 2, 0, 3, 4).flatten(0, 1))
    return torch.cat(patches).contiguous()


def photo_patches(role: str) -> ImageSet:
    """All non-overlapping 32×32 colour patches of `china.jpg` and `flower.jpg`, 520 of them,
    without labels.
    """
    patches = _load()

    def fetch(indices: Indices) -> list[Tensor]:
        return list(patches[indices])

    return ImageSet(
        name="photo-patches",
        role="all",
        labels=np.full(len(patches), -1),
        classes=(),
        identity=sha256_of("photo-patches", patches.numpy().tobytes()),
        label_space="photo-patches",
        fetch=fetch,
        shape=(3, _SIDE, _SIDE),
        note="32x32 patches of the two sample photographs of scikit-learn (china, flower)",
    )
