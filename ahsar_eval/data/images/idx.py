"""The idx files of MNIST and its relatives (LeCun; big-endian header, then uint8)."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.images.content import Content, of_array
from ahsar_eval.data.images.layouts import compressed
from ahsar_eval.errors import DataError

_UINT8 = 0x08
_MOST = 2**30  # bytes; the largest real file, EMNIST byclass, has 0.55 GB


# Read here and not by torchvision: its reader prefers a file processed/training.pt where one lies
# there, and fails with an assertion, a key
# error or a shape error, depending on which byte of a header is wrong.
def idx_content(
    folder: Path,
    images: str,
    labels: str,
    classes: tuple[str, ...],
    *,
    transposed: bool = False,
    first_label: int = 0,
) -> Content:
    """Grey images and labels of two idx files in `folder`, plain or .gz; `transposed` swaps rows
    and columns (EMNIST).

    `first_label` is the number of the first class in the file. Raises `DataError` for files that
    are damaged or do not belong together.
    """
    pixels = read_idx(folder / images, 3)
    numbers = read_idx(folder / labels, 1)
    if len(pixels) != len(numbers):
        raise DataError(
            f"{folder / images} has {len(pixels)} images and {labels} has {len(numbers)} labels; "
            "copy both again"
        )
    upright = np.ascontiguousarray(pixels.transpose(0, 2, 1)) if transposed else pixels
    return of_array(upright[:, None], numbers.astype(np.int64) - first_label, classes)


def read_idx(file: Path, axes: int) -> NDArray[np.uint8]:
    """The array of an idx file (or `file`.gz) with `axes` axes, memory-mapped where it is not
    compressed.

    Raises `DataError` where the header is not that of uint8 with `axes` axes, or claims another
    length than the file has.
    """
    plain = file.is_file()
    place = file if plain else compressed(file)
    try:
        if plain:
            # An empty file cannot be mapped.
            data = (
                np.memmap(place, dtype=np.uint8, mode="r")
                if place.stat().st_size
                else np.zeros(0, dtype=np.uint8)
            )
        else:
            with gzip.open(place, "rb") as reader:
                data = np.frombuffer(reader.read(_MOST + 1), dtype=np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{place} cannot be read ({type(error).__name__}); copy it again"
        ) from error
    header = 4 * (axes + 1)
    if bytes(data[:4]) != bytes((0, 0, _UINT8, axes)):
        raise DataError(
            f"{place} is no idx file of uint8 with {axes} axes (it begins "
            f"{bytes(data[:4]).hex() or 'with nothing'}); copy it again"
        )
    shape = tuple(int.from_bytes(bytes(data[4 * n : 4 * n + 4]), "big") for n in range(1, axes + 1))
    claimed = header + math.prod(shape)  # Python's integers: no header can make it wrap
    if claimed != len(data):
        raise DataError(
            f"{place} has {len(data):,} bytes and its header claims {claimed:,}; it is damaged: "
            "copy it again"
        )
    return data[header:].reshape(shape)
