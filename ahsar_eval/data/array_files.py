"""Image sets that lie in a few files of arrays: the idx files of MNIST and its relatives, USPS,
SVHN and STL-10; CIFAR-10 and CIFAR-100 from the files of their authors (the binary version, or the
Python version without executing its pickles), CIFAR-10.1, and the official files of CIFAR-10-C and
CIFAR-100-C.
"""

import gzip
import hashlib
import io
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.images import Part, from_array, image_set, of_array
from ahsar_eval.data.sets import MD5, STORED, DataOptions, open_stored
from ahsar_eval.data.shifts import SEVERITIES
from ahsar_eval.data.split import ImageSet
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.files import sha256_of

_UINT8 = 0x08
_MOST_ROWS = 100_000  # of USPS, which has 7,291 to train on
_MOST_IDX = 2**30  # bytes; the largest real file, EMNIST byclass, has 0.55 GB
_STEPS = 2000  # USPS's originals are −1, −0.999 … 1, which is 2,001 grey values
_PIXELS = 3 * 32 * 32
_PER_SEVERITY = 10_000


# Read here and not by torchvision: its reader prefers a file processed/training.pt where one lies
# there, and fails with an assertion, a key
# error or a shape error, depending on which byte of a header is wrong.
def idx(part: Part, *, transposed: bool = False, first_label: int = 0) -> ImageSet:
    """Grey images and labels of two idx files (LeCun; big-endian header, then uint8), plain or .gz;
    `transposed` swaps rows and columns.

    `first_label` is the number of the first class in the file. Raises `DataError` for files that
    are damaged or do not belong together.
    """
    pixels, labels = _idx_array(part.files[0], 3), _idx_array(part.files[1], 1)
    if len(pixels) != len(labels):
        raise DataError(
            f"{part.files[0]} has {len(pixels)} images and {part.files[1].name} has {len(labels)} "
            "labels; copy both again"
        )
    upright = np.ascontiguousarray(pixels.transpose(0, 2, 1)) if transposed else pixels
    return of_array(part, upright[:, None], labels.astype(np.int64) - first_label)


def _idx_array(file: Path, axes: int) -> NDArray[np.uint8]:
    """The array of an idx file with `axes` axes, memory-mapped where it is not compressed.

    Raises `DataError` where the header is not that of uint8 with `axes` axes, or claims another
    length than the file has.
    """
    with unreadable(f"{file} cannot be read", "copy it again"):
        if file.suffix == ".gz":
            with gzip.open(file, "rb") as reader:
                data = np.frombuffer(reader.read(_MOST_IDX + 1), dtype=np.uint8)
        else:
            data = np.memmap(file, dtype=np.uint8, mode="r")
    header = 4 * (axes + 1)
    if bytes(data[:4]) != bytes((0, 0, _UINT8, axes)):
        raise DataError(
            f"{file} is no idx file of uint8 with {axes} axes (it begins "
            f"{bytes(data[:4]).hex() or 'with nothing'}); copy it again"
        )
    shape = [int.from_bytes(data[4 * n : 4 * n + 4].tobytes(), "big") for n in range(1, axes + 1)]
    claimed = header + math.prod(shape)  # Python's integers: no header can make it wrap
    if claimed != len(data):
        raise DataError(
            f"{file} has {len(data):,} bytes and its header claims {claimed:,}; it is damaged: "
            "copy it again"
        )
    return data[header:].reshape(shape)


# torchvision cuts the 2,001 grey values down to 256 (and rounds towards black); here the two
# versions give the same numbers.
def usps(part: Part) -> ImageSet:
    """Handwritten digits [1, 16, 16] in [0, 1], black ground, from `usps/usps.h5` or from the files
    of the LIBSVM page that torchvision downloads. Raises `DataError` for other arrays or text.
    """
    (file,) = part.files
    values, labels = _usps_h5(file, part.role) if file.suffix == ".h5" else _usps_text(file)
    paired = values.shape == (len(labels), 256) and labels.ndim == 1
    if not paired or values.dtype.kind != "f" or (labels % 1).any():
        raise DataError(
            f"{file} holds images of type {values.dtype} and shape {values.shape} and labels "
            f"{labels.shape}; expected floats [N, 256] and N whole numbers; copy it again"
        )
    if not ((values >= 0) & (values <= 1)).all():  # also refuses what is not a number
        raise DataError(f"{file} has grey values outside [0, 1]; copy it again")
    levels = np.rint(values.astype(np.float64) * _STEPS).astype(np.uint16).reshape(-1, 1, 16, 16)
    digest = sha256_of("usps", levels.tobytes())
    return image_set(part, from_array(levels, _STEPS), digest, labels, shape=(1, 16, 16))


def _usps_h5(file: Path, role: str) -> tuple[NDArray[Any], NDArray[Any]]:
    import h5py

    with h5py.File(file, "r") as archive:
        held = archive[role]  # of which no header can fill the memory
        return held["data"][:_MOST_ROWS, :257], np.asarray(held["target"][()])


def _usps_text(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows of a label, 1 to 10 for the digits 0 to 9, and the cells `number:value`."""

    def value(cell: str) -> float:
        return float(cell.rpartition(":")[2])

    rows = np.loadtxt(file, converters=value, encoding="ascii", ndmin=2, max_rows=_MOST_ROWS)
    return (rows[:, 1:] + 1) / 2, rows[:, 0] - 1


def svhn(part: Part) -> ImageSet:
    """Cropped house numbers 32×32; torchvision maps the authors' label 10 to the digit 0."""
    from torchvision import datasets

    found = datasets.SVHN(str(part.root), split=part.role)
    return of_array(part, np.ascontiguousarray(found.data), found.labels)


def stl10(part: Part) -> ImageSet:
    """STL-10 at 96×96, 5,000 training and 8,000 test images."""
    from torchvision import datasets

    class Labelled(datasets.STL10):  # type: ignore[misc]
        # torchvision computes the checksum of the 2.7 GB of unlabelled images at every start, and
        # refuses the set without them.
        train_list = datasets.STL10.train_list[:2]

    found = Labelled(str(part.root), split=part.role)
    return of_array(part, np.ascontiguousarray(found.data), np.asarray(found.labels))


def cifar(part: Part, *, label_bytes: int) -> ImageSet:
    """CIFAR-10 (one label byte) or CIFAR-100 with its fine labels, which come behind the coarse
    ones in the binary version. Raises `DataError` for a file that is damaged or is not the authors'
    own.
    """
    key = b"labels" if label_bytes == 1 else b"fine_labels"
    parts = [
        _binary_rows(file, label_bytes) if file.suffix else _python_rows(file, key)
        for file in part.files
    ]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return of_array(part, pixels.reshape(-1, 3, 32, 32), labels)


class _OnlyBytes(pickle.Unpickler):
    """An unpickler that can build numbers, text, lists, dicts and NumPy arrays of uint8, and call
    nothing else.
    """

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if wanted not in _BUILDERS:
            raise pickle.UnpicklingError(f"it wants to call {wanted}")
        return _BUILDERS[wanted]


_ARRAY = object()  # stands for the class numpy.ndarray, which a pickle could call


def _empty_array(kind: object, shape: object, code: object) -> NDArray[np.uint8]:
    if kind is not _ARRAY or shape != (0,):
        raise pickle.UnpicklingError("it wants to build something that is no plain array")
    return np.empty(0, dtype=np.uint8)  # its content follows


def _uint8(code: object, *flags: object) -> np.dtype[Any]:
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"it wants an array of type {code!r}")
    return np.dtype("u1", copy=True)


_BUILDERS = {
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.ndarray": _ARRAY,
    "numpy.dtype": _uint8,
}


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
    batch = read_arrays(data)
    return batch[b"data"], np.asarray(batch[label_key])


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

    Nothing is corrupted here, and no shift is to be applied to what comes. Raises `DataError` for
    files that are missing, damaged or hold anything but numbers.
    """
    known = STORED[dataset]
    (labels_file,) = known.needs["test"]
    file = labels_file.replace("labels", corruption)
    one = replace(
        known,
        note=f"the authors' own file {file}, severity {severity}",
        needs={"test": [f"{file} {labels_file}"]},
        arguments={"severity": severity},
        corrupted=False,
    )
    return replace(open_stored(dataset, one, "test", options), copies_of=known.label_space)


def npy_pair(part: Part, *, severity: int | None = None) -> ImageSet:
    """Images [N, 32, 32, 3] and labels of two .npy files: CIFAR-10.1 v6 (Recht et al. 2018), or the
    rows of one `severity` of a stored corruption. Raises `DataError`.
    """
    arrays = []
    for file in part.files:
        with unreadable(f"{file} cannot be read without executing its content", "copy it again"):
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
    images, labels = arrays
    count, rows = None, slice(None)
    if severity is not None:
        count = _PER_SEVERITY * len(SEVERITIES)
        rows = slice(_PER_SEVERITY * (severity - 1), _PER_SEVERITY * severity)
    sound = images.dtype == np.uint8 and images.shape[1:] == (32, 32, 3)
    if not sound or count not in (None, len(images)):
        raise DataError(
            f"{part.files[0]} holds {images.dtype} {images.shape}; expected uint8 "
            f"({count or 'N'}, 32, 32, 3); copy it again"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DataError(
            f"{part.files[1]} holds {labels.dtype} {labels.shape}; expected {len(images)} whole "
            "numbers; copy it again"
        )
    return of_array(part, images[rows].transpose(0, 3, 1, 2), labels[rows])
