"""Images that scikit-learn carries, without a download: 1,797 real handwritten digits (UCI optical
digits), and patches of two photographs, which no digit or object classifier was trained on.

Its files are read without importing it: its import takes longer than an evaluation of the digits. A
test holds what comes equal to what its own functions read.
"""

import functools
import gzip

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.images import read_image
from ahsar_eval.data.sets import classes_of, sklearn_file
from ahsar_eval.data.split import ImageSet, Indices
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_DIGIT_SIDE = 16  # VGG-13's four poolings need it; the originals are 8×8
_PATCH_SIDE = 32
_SPLIT_SEED = 20240
_CUTS = [45, 63]  # of each class 45 images to test and 18 to validate


@functools.cache
def _digits() -> tuple[Tensor, Indices]:
    with gzip.open(sklearn_file("data/digits.csv.gz"), "rt") as reader:
        table = np.loadtxt(reader, delimiter=",", dtype=np.float32)
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 8, 8) / 16)
    upscaled = F.interpolate(images, _DIGIT_SIDE, mode="bilinear")
    return upscaled.clamp(0, 1), table[:, -1].astype(np.int64)


@functools.cache
def _members() -> dict[str, Indices]:
    """Fixed stratified split: 45 test and 18 validation images of each class, the other 1,167 for
    training.
    """
    labels = _digits()[1]
    order = Generator(Philox(_SPLIT_SEED)).permutation(len(labels))
    parts = [np.split(order[labels[order] == digit], _CUTS) for digit in range(10)]
    test, validation, train = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    everything = np.arange(len(labels))
    return {"train": train, "validation": validation, "test": test, "all": everything}


def digits(role: str) -> ImageSet:
    """The digits at 16×16 (bilinear), grey, in [0, 1]; `role` is train, validation, test or all.
    Raises `DataError`.
    """
    images, labels = _digits()
    members = _members().get(role)
    if members is None:
        raise DataError(f"digits has no split {role!r}; known are train, validation, test and all")
    return ImageSet(
        name="digits",
        role=role,
        labels=labels[members],
        classes=classes_of("digits"),
        identity=sha256_of("digits", images.numpy().tobytes(), members.tobytes()),
        label_space="digits",
        fetch=lambda indices: list(images[members[indices]]),
        shape=(1, _DIGIT_SIDE, _DIGIT_SIDE),
        note=(
            "UCI optical handwritten digits via scikit-learn, 8x8 brought to 16x16 by bilinear "
            "interpolation"
        ),
    )


@functools.cache
def photo_patches(role: str) -> ImageSet:
    """All non-overlapping 32×32 colour patches of `china.jpg` and `flower.jpg`, 520 of them,
    without labels, whatever the role.
    """
    found = []
    for name in ("china.jpg", "flower.jpg"):
        pixels = read_image(sklearn_file(f"images/{name}"))
        # [3, rows, columns, 32, 32], what is left at the border dropped
        tiles = pixels.unfold(1, _PATCH_SIDE, _PATCH_SIDE).unfold(2, _PATCH_SIDE, _PATCH_SIDE)
        found.append(tiles.permute(1, 2, 0, 3, 4).flatten(0, 1))
    patches = torch.cat(found).contiguous()
    return ImageSet(
        name="photo-patches",
        role="all",
        labels=np.full(len(patches), -1),
        classes=(),
        identity=sha256_of("photo-patches", patches.numpy().tobytes()),
        label_space="photo-patches",
        fetch=lambda indices: list(patches[indices]),
        shape=(3, _PATCH_SIDE, _PATCH_SIDE),
        note="32x32 patches of the two sample photographs of scikit-learn (china, flower)",
    )
