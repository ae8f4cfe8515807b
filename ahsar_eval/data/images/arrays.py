"""Sets whose images lie in a few files of arrays: the idx files of MNIST and its relatives, USPS,
SVHN and STL-10.
"""

import bz2
import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.images.classes import DIGITS, STL10
from ahsar_eval.data.images.content import Content, from_array, of_array
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_UINT8 = 0x08
_MOST_IDX = 2**30  # bytes; the largest real file, EMNIST byclass, has 0.55 GB
_STEPS = 2000  # USPS's originals are −1, −0.999 … 1, which is 2,001 grey values
_MOST_TEXT = 2**28  # bytes of text; the training file of USPS has 15 MB


# Read here and not by torchvision: its reader prefers a file processed/training.pt where one lies
# there, and fails with an assertion, a key
# error or a shape error, depending on which byte of a header is wrong.
def idx(
    files: list[Path], classes: tuple[str, ...], *, transposed: bool = False, first_label: int = 0
) -> Content:
    """Grey images and labels of two idx files (LeCun; big-endian header, then uint8), plain or .gz;
    `transposed` swaps rows and columns (EMNIST).

    `first_label` is the number of the first class in the file. Raises `DataError` for files that
    are damaged or do not belong together.
    """
    pixels, labels = _idx_array(files[0], 3), _idx_array(files[1], 1)
    if len(pixels) != len(labels):
        raise DataError(
            f"{files[0]} has {len(pixels)} images and {files[1].name} has {len(labels)} labels; "
            "copy both again"
        )
    upright = np.ascontiguousarray(pixels.transpose(0, 2, 1)) if transposed else pixels
    return of_array(upright[:, None], labels.astype(np.int64) - first_label, classes)


def _idx_array(file: Path, axes: int) -> NDArray[np.uint8]:
    """The array of an idx file with `axes` axes, memory-mapped where it is not compressed.

    Raises `DataError` where the header is not that of uint8 with `axes` axes, or claims another
    length than the file has.
    """
    try:
        if file.suffix == ".gz":
            with gzip.open(file, "rb") as reader:
                data = np.frombuffer(reader.read(_MOST_IDX + 1), dtype=np.uint8)
        elif file.stat().st_size:
            data = np.memmap(file, dtype=np.uint8, mode="r")
        else:  # an empty file cannot be mapped
            data = np.zeros(0, dtype=np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({type(error).__name__}); copy it again") from error
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
def usps(root: Path, role: str, files: list[Path]) -> Content:
    """Handwritten digits [1, 16, 16] in [0, 1], black ground, from `usps/usps.h5` or from the files
    of the LIBSVM page that torchvision downloads. Raises `DataError` for other arrays or text.
    """
    (file,) = files
    values, labels = _usps_h5(file, role) if file.suffix == ".h5" else _usps_text(file)
    if (
        values.ndim != 2
        or values.shape[1] != 256
        or labels.shape != values.shape[:1]
        or labels.dtype.kind not in "iu"
    ):
        raise DataError(
            f"{file} holds images {values.shape} and labels {labels.shape}; expected [N, 256] and "
            "N whole numbers; copy it again"
        )
    if not bool(((values >= 0) & (values <= 1)).all()):  # also refuses what is not a number
        raise DataError(f"{file} has grey values outside [0, 1]; copy it again")
    levels = np.rint(values * _STEPS).astype(np.uint16).reshape(-1, 1, 16, 16)
    digest = sha256_of("usps", levels.tobytes())
    fetch = from_array(levels, _STEPS)
    return Content(fetch, digest, labels.astype(np.int64), DIGITS, (1, 16, 16))


def _usps_h5(file: Path, role: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    import h5py

    with h5py.File(file, "r") as archive:
        data, target = archive[role]["data"], archive[role]["target"]
        if data.dtype.kind != "f" or data.shape[1:] != (256,) or data.shape[0] > 100_000:
            raise DataError(
                f"{file} holds {role}/data of type {data.dtype} and shape {data.shape}; expected "
                "floats [N, 256]; copy it again"
            )
        return data[()].astype(np.float64), np.asarray(target[()])


def _usps_text(file: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    with bz2.open(file, "rb") as reader:
        lines = reader.read(_MOST_TEXT).decode("ascii").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    # Labels are 1 to 10 for the digits 0 to 9.
    labels = np.array([int(label) - 1 for label, *_ in rows], dtype=np.int64)
    values = [[cell.rpartition(":")[2] for cell in cells] for _, *cells in rows]
    return (np.array(values, dtype=np.float64) + 1) / 2, labels


def svhn(root: Path, role: str, files: list[Path]) -> Content:
    """Cropped house numbers 32×32; torchvision maps the authors' label 10 to the digit 0."""
    from torchvision import datasets

    found = datasets.SVHN(str(root), split=role)
    return of_array(np.ascontiguousarray(found.data), found.labels, DIGITS)


def stl10(root: Path, role: str, files: list[Path]) -> Content:
    """STL-10 at 96×96, 5,000 training and 8,000 test images."""
    from torchvision import datasets

    class Labelled(datasets.STL10):  # type: ignore[misc]
        # torchvision computes the checksum of the 2.7 GB of unlabelled images at every start, and
        # refuses the set without them.
        train_list = datasets.STL10.train_list[:2]

    found = Labelled(str(root), split=role)
    return of_array(np.ascontiguousarray(found.data), np.asarray(found.labels), STL10)
