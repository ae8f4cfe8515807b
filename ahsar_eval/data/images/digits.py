"""scikit-learn's 1,797 real handwritten digits (UCI optical digits), embedded in scikit-learn: no
download.
"""

import functools
import gzip

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.images.embedded import sklearn_file
from ahsar_eval.data.split import ImageSet, Indices
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_SIDE = 16  # VGG-13's four poolings need it; the originals are 8×8
_SPLIT_SEED = 20240
_TEST_PER_CLASS = 45
_VALIDATION_PER_CLASS = 18


@functools.cache
def _load() -> tuple[Tensor, Indices]:
    # The same 1,797 rows of 64 pixels and a label that sklearn.datasets.load_digits reads; a test
    # holds the two equal.
    with gzip.open(sklearn_file("data/digits.csv.gz"), "rt") as reader:
        table = np.loadtxt(reader, delimiter=",", dtype=np.float32)
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 8, 8) / 16)
    upscaled = F.interpolate(images, size=(_SIDE, _SIDE), mode="bilinear", align_corners=False)
    return upscaled.clamp(0, 1), table[:, -1].astype(np.int64)


@functools.cache
def _roles() -> dict[str, Indices]:
    """Fixed stratified split: 45 test and 18 validation images of each class, the other 1,167 for
    training.
    """
    labels = _load()[1]
    order = np.random.Generator(np.random.Philox(_SPLIT_SEED)).permutation(len(labels))
    roles: dict[str, list[Indices]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        members = order[labels[order] == digit]
        cuts = np.split(members, [_TEST_PER_CLASS, _TEST_PER_CLASS + _VALIDATION_PER_CLASS])
        for role, part in zip(("test", "validation", "train"), cuts, strict=True):
            roles[role].append(part)
    return {role: np.sort(np.concatenate(parts)) for role, parts in roles.items()}


def digits(role: str) -> ImageSet:
    """The digits at 16×16 (bilinear), grey, in [0, 1]; `role` is train, validation, test or all.
    Raises `DataError`.
    """
    images, labels = _load()
    if role != "all" and role not in _roles():
        raise DataError(f"digits has no split {role!r}; known are {', '.join(_roles())} and all")
    members = np.arange(len(labels)) if role == "all" else _roles()[role]

    def fetch(indices: Indices) -> list[Tensor]:
        return list(images[members[indices]])

    return ImageSet(
        name="digits",
        role=role,
        labels=labels[members],
        classes=tuple("0123456789"),
        identity=sha256_of("digits", images.numpy().tobytes(), members.tobytes()),
        label_space="digits",
        fetch=fetch,
        shape=(1, _SIDE, _SIDE),
        note=(
            "UCI optical handwritten digits via scikit-learn, 8x8 brought to 16x16 by bilinear "
            "interpolation"
        ),
    )
