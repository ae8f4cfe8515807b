"""CIFAR-10 and CIFAR-100 from the files of their authors (the binary version, or the Python version
without executing its pickles), CIFAR-10.1, and the official files of CIFAR-10-C and CIFAR-100-C.
"""

import hashlib
import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.images.classes import CIFAR10, CIFAR100
from ahsar_eval.data.images.content import Content, image_set, of_array
from ahsar_eval.data.images.named import CIFAR_C, CIFAR_C_CORRUPTIONS
from ahsar_eval.data.shifts import SEVERITIES
from ahsar_eval.data.split import ImageSet
from ahsar_eval.errors import DataError

_PIXELS = 3 * 32 * 32
_PER_SEVERITY = 10_000
# Checksums of the Python version, those of torchvision.datasets.CIFAR10 and CIFAR100; a test holds
# them equal.
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}


def cifar10(root: Path, role: str, files: list[Path]) -> Content:
    """Images [N, 3, 32, 32] uint8 and labels of a split. Raises `DataError` for a file that is
    damaged or is not the authors' own.
    """
    return _batches(files, b"labels", 1, CIFAR10)


def cifar100(root: Path, role: str, files: list[Path]) -> Content:
    """The same, with the fine labels; in the binary version they come behind the coarse ones."""
    return _batches(files, b"fine_labels", 2, CIFAR100)


def _batches(
    files: list[Path], label_key: bytes, label_bytes: int, classes: tuple[str, ...]
) -> Content:
    parts = [
        _binary_rows(file, label_bytes) if file.suffix else _python_rows(file, label_key)
        for file in files
    ]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return of_array(pixels.reshape(-1, 3, 32, 32), labels, classes)


class _OnlyBytes(pickle.Unpickler):
    """An unpickler that can build numbers, text, lists, dicts and NumPy arrays of uint8, and call
    nothing else.
    """

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _empty_array
        if (module, name) == ("numpy", "ndarray"):
            return _ARRAY
        if (module, name) == ("numpy", "dtype"):
            return _uint8
        raise pickle.UnpicklingError(f"it wants to call {module}.{name}")


_ARRAY = object()  # stands for the class numpy.ndarray, which a pickle could call


def _empty_array(kind: object, shape: object, code: object) -> NDArray[np.uint8]:
    if kind is not _ARRAY or shape != (0,):
        raise pickle.UnpicklingError("it wants to build something that is no plain array")
    return np.empty(0, dtype=np.uint8)  # its content follows


def _uint8(code: object, *flags: object) -> np.dtype[Any]:
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"it wants an array of type {code!r}")
    return np.dtype("u1", copy=True)


def read_arrays(data: bytes) -> Any:
    """A pickle of plain values and arrays of uint8. Raises `UnpicklingError` before anything else
    in it could be called.
    """
    return _OnlyBytes(io.BytesIO(data), encoding="bytes").load()


# torchvision passes these files to pickle.load, which executes what they say, once their MD5 is
# right. MD5 protects from damage, not from a
# forger with time; so the checksum is tested first (nothing unknown is even parsed), and the parser
# can call nothing but array building.
def _python_rows(file: Path, label_key: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    data = file.read_bytes()
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != MD5[file.name]:
        raise DataError(
            f"{file} is not the file of CIFAR's authors (MD5 {found}, expected {MD5[file.name]}) "
            "and could execute code; remove it and get it again"
        )
    try:
        batch = read_arrays(data)
        rows, labels = np.asarray(batch[b"data"]), np.asarray(batch[label_key])
    except Exception as error:  # an unpickler fails in every way there is
        raise DataError(
            f"{file} is no CIFAR batch ({type(error).__name__}: {error}); remove it and get it "
            "again"
        ) from error
    if rows.dtype != np.uint8 or rows.shape != (len(labels), _PIXELS) or labels.dtype.kind != "i":
        raise DataError(
            f"{file} holds {rows.dtype} {rows.shape} and {len(labels)} labels; expected uint8 [N, "
            f"{_PIXELS}]; get it again"
        )
    return rows, labels


def _binary_rows(file: Path, label_bytes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    data = np.fromfile(file, dtype=np.uint8)
    row = label_bytes + _PIXELS
    if not len(data) or len(data) % row:
        raise DataError(
            f"{file} has {len(data):,} bytes; expected a multiple of {row} (label and pixels of an "
            "image); get it again"
        )
    table = data.reshape(-1, row)
    return table[:, label_bytes:], table[:, label_bytes - 1]


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
    if severity not in SEVERITIES:
        raise DataError(
            f"{dataset} has no severity {severity}; expected a whole number from 1 to 5"
        )
    known = CIFAR_C[dataset]
    root = Path(options.root).expanduser()
    files = [root / known.folder / f"{name}.npy" for name in (corruption, "labels")]
    for file in files:
        if not file.is_file():
            raise DataError(
                f"{dataset} is not complete in {root} ({known.folder}/{file.name} is missing); "
                f"place there: {known.files}"
            )
    images, labels = _pair(files, _PER_SEVERITY * len(SEVERITIES))
    block = slice(_PER_SEVERITY * (severity - 1), _PER_SEVERITY * severity)
    classes = CIFAR10 if known.label_space == "cifar10" else CIFAR100
    content = of_array(images[block].transpose(0, 3, 1, 2), labels[block], classes)
    note = f"the authors' own file {known.folder}/{corruption}.npy, severity {severity}"
    copies = image_set(dataset, "test", content, label_space=known.label_space, note=note)
    return replace(copies, copies_of=known.label_space)


def cifar_10_1(root: Path, role: str, files: list[Path]) -> Content:
    """CIFAR-10.1 v6 (Recht et al. 2018), 2,000 images, from its two .npy files. Raises
    `DataError`."""
    images, labels = _pair(files)
    return of_array(images.transpose(0, 3, 1, 2), labels, CIFAR10)


def _pair(files: list[Path], count: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images [N, 32, 32, 3] and labels of two .npy files, N = `count` where that is known."""
    images, labels = map(_mapped, files)
    sound = images.dtype == np.uint8 and images.shape[1:] == (32, 32, 3)
    if not sound or count not in (None, len(images)):
        raise DataError(
            f"{files[0]} holds {images.dtype} {images.shape}; expected uint8 ({count or 'N'}, 32, "
            "32, 3); copy it again"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DataError(
            f"{files[1]} holds {labels.dtype} {labels.shape}; expected {len(images)} whole "
            "numbers; copy it again"
        )
    return images, labels


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
