"""CIFAR-10 and CIFAR-100 from the files of their authors: the binary version, or the Python version
without executing its pickles.
"""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.images.content import Content, of_array
from ahsar_eval.data.images.layouts import Batches
from ahsar_eval.errors import DataError

_PIXELS = 3 * 32 * 32


def read_batches(batches: Batches, root: Path, role: str) -> Content:
    """Images [N, 3, 32, 32] uint8 and labels of a split. Raises `DataError` for a file that is
    damaged or is not the authors' own.
    """
    if all((root / batches.folder / name).is_file() for name in batches.md5[role]):
        parts = [
            _python_rows(root / batches.folder / name, md5, batches)
            for name, md5 in batches.md5[role].items()
        ]
    else:
        parts = [
            _binary_rows(root / batches.binary_folder / name, batches)
            for name in batches.binary[role]
        ]
    pixels = np.concatenate([rows for rows, _ in parts]).reshape(-1, 3, 32, 32)
    return of_array(pixels, np.concatenate([labels for _, labels in parts]), batches.classes)


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
def _python_rows(file: Path, md5: str, batches: Batches) -> tuple[NDArray[Any], NDArray[Any]]:
    data = file.read_bytes()
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(
            f"{file} is not the file of CIFAR's authors (MD5 {found}, expected {md5}) and could "
            "execute code; remove it and get it again"
        )
    try:
        batch = read_arrays(data)
        rows, labels = np.asarray(batch[b"data"]), np.asarray(batch[batches.label_key])
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


def _binary_rows(file: Path, batches: Batches) -> tuple[NDArray[Any], NDArray[Any]]:
    data = np.fromfile(file, dtype=np.uint8)
    row = batches.label_bytes + _PIXELS
    if not len(data) or len(data) % row:
        raise DataError(
            f"{file} has {len(data):,} bytes; expected a multiple of {row} (label and pixels of an "
            "image); get it again"
        )
    table = data.reshape(-1, row)
    return table[:, batches.label_bytes :], table[:, batches.label_bytes - 1]
