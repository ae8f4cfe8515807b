"""CIFAR-10.1 and the official files of CIFAR-10-C and CIFAR-100-C, NumPy arrays read without
loading them whole.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.images.classes import CIFAR10
from ahsar_eval.data.images.content import Content, image_set, of_array
from ahsar_eval.data.images.layouts import CIFAR_C, CIFAR_C_CORRUPTIONS
from ahsar_eval.data.split import ImageSet
from ahsar_eval.errors import DataError

_PER_SEVERITY = 10_000
_SEVERITIES = 5


def cifar_c(dataset: str, corruption: str, severity: int, options: DataOptions) -> ImageSet:
    """The 10,000 images of `dataset` (cifar10-c, cifar100-c) under one stored corruption,
    memory-mapped: rows 10000 (s − 1) to 10000 s.

    Nothing is corrupted here, and no shift is to be applied to what comes. Raises `DataError` for a
    corruption or severity that there is not, and for files that are missing, damaged or hold
    anything but numbers.
    """
    if dataset not in CIFAR_C:
        raise DataError(
            f"{dataset!r} is no set of stored corruptions; known are {' and '.join(CIFAR_C)}"
        )
    if corruption not in CIFAR_C_CORRUPTIONS:
        raise DataError(
            f"{dataset} has no corruption {corruption!r}; known are "
            f"{', '.join(CIFAR_C_CORRUPTIONS)}"
        )
    if not 1 <= severity <= _SEVERITIES:
        raise DataError(
            f"{dataset} has no severity {severity}; expected a whole number from 1 to {_SEVERITIES}"
        )
    known = CIFAR_C[dataset]
    folder = Path(options.root).expanduser() / known.folder
    place = f"place there: {known.files}"
    for name in (f"{corruption}.npy", "labels.npy"):
        if not (folder / name).is_file():
            raise DataError(
                f"{dataset} is not complete in {folder.parent} ({known.folder}/{name} is missing); "
                f"{place}"
            )
    rows = slice(_PER_SEVERITY * (severity - 1), _PER_SEVERITY * severity)
    everything = _PER_SEVERITY * _SEVERITIES
    images = _mapped(folder / f"{corruption}.npy")
    labels = _mapped(folder / "labels.npy")
    if images.dtype != np.uint8 or images.shape != (everything, 32, 32, 3):
        raise DataError(
            f"{folder / corruption}.npy holds {images.dtype} {images.shape}; expected uint8 "
            f"({everything}, 32, 32, 3); copy it again"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (everything,):
        raise DataError(
            f"{folder / 'labels.npy'} holds {labels.dtype} {labels.shape}; expected whole numbers "
            f"({everything},); copy it again"
        )
    content = of_array(images[rows].transpose(0, 3, 1, 2), labels[rows], known.classes)
    note = f"the authors' own file {known.folder}/{corruption}.npy, severity {severity}"
    copies = image_set(dataset, "test", content, label_space=known.label_space, note=note)
    return replace(copies, copies_of=known.label_space)


def cifar_10_1(root: Path, role: str) -> Content:
    """CIFAR-10.1 v6 (Recht et al. 2018), 2,000 images, from its two .npy files. Raises
    `DataError`."""
    images, labels = (
        _mapped(root / "cifar10.1_v6_data.npy"),
        _mapped(root / "cifar10.1_v6_labels.npy"),
    )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
        raise DataError(
            f"{root / 'cifar10.1_v6_data.npy'} holds {images.dtype} {images.shape}; expected uint8 "
            "(N, 32, 32, 3); copy it again"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DataError(
            f"{root / 'cifar10.1_v6_labels.npy'} holds {labels.dtype} {labels.shape}; expected "
            f"{len(images)} whole numbers; copy it again"
        )
    return of_array(images.transpose(0, 3, 1, 2), labels, CIFAR10)


def _mapped(file: Path) -> NDArray[Any]:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (
        Exception
    ) as error:  # NumPy parses headers as Python literals, which fail in ways of their own
        raise DataError(
            f"{file} cannot be read as an array without executable content "
            f"({type(error).__name__}); copy it again"
        ) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise DataError(f"{file} is an archive, not an array; copy it again")
    return found
