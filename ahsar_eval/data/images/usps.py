"""USPS: handwritten digits of 16×16 pixels, from `usps/usps.h5` or from the files of the LIBSVM
page that torchvision downloads.
"""

import bz2
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.images.classes import DIGITS
from ahsar_eval.data.images.content import Content
from ahsar_eval.data.images.layouts import USPS_H5, USPS_TEXT
from ahsar_eval.data.split import Indices
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_STEPS = 2000  # the originals are −1, −0.999 … 1, which is 2,001 grey values
_MOST = 2**28  # bytes of text; the training file has 15 MB


# torchvision cuts the 2,001 grey values down to 256 (and rounds towards black); here the two
# versions give the same numbers.
def read_usps(root: Path, role: str) -> Content:
    """Images [1, 16, 16] in [0, 1], black ground, and digits 0 to 9. Raises `DataError` for other
    arrays or text.
    """
    file = root / USPS_H5 if (root / USPS_H5).is_file() else root / USPS_TEXT[role]
    values, labels = _from_h5(file, role) if file.suffix == ".h5" else _from_text(file)
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

    def fetch(indices: Indices) -> list[Tensor]:
        return list(torch.from_numpy((levels[indices] / _STEPS).astype(np.float32)))

    return Content(
        fetch, sha256_of("usps", levels.tobytes()), labels.astype(np.int64), DIGITS, (1, 16, 16)
    )


def _from_h5(file: Path, role: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(file, "r") as archive:
        data, target = archive[role]["data"], archive[role]["target"]
        if (
            data.dtype.kind != "f"
            or data.ndim != 2
            or data.shape[1] != 256
            or data.shape[0] > 100_000
        ):
            raise DataError(
                f"{file} holds {role}/data of type {data.dtype} and shape {data.shape}; expected "
                "floats [N, 256]; copy it again"
            )
        return data[()].astype(np.float64), np.asarray(target[()])


def _from_text(file: Path) -> tuple[NDArray[np.float64], NDArray[Any]]:
    with bz2.open(file, "rb") as reader:
        lines = reader.read(_MOST).decode("ascii").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    labels = np.array(
        [int(row[0]) - 1 for row in rows], dtype=np.int64
    )  # 1 to 10 for the digits 0 to 9
    values = np.array(
        [[cell.rpartition(":")[2] for cell in row[1:]] for row in rows], dtype=np.float64
    )
    return (values + 1) / 2, labels
