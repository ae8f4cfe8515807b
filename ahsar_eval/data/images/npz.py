"""Images from a NumPy archive on the user's own disk: `npz:PATH`."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.split import ImageSet, Indices
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of_file

_IMAGE_KEYS = ("x", "images", "data")
_LABEL_KEYS = ("y", "labels", "targets")
_MOST_CLASSES = 1_000_000


def npz(path: str, role: str) -> ImageSet:
    """Array `x` (or images, data): [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or floats in [0,
    1]; `y` (or labels, targets): [N].

    Nothing in the file can execute (`allow_pickle=False`). Raises `DataError` for a missing,
    malformed or ambiguous file.
    """
    file = Path(path).expanduser()
    try:
        there = file.is_file()
    except OSError as error:  # a name that is too long
        raise DataError(
            f"npz:{path[:100]}… cannot be looked for ({error.strerror}); give the path of an .npz "
            "file with an array x"
        ) from error
    if not there:
        raise DataError(f"npz:{path} is not there; give the path of an .npz file with an array x")
    try:
        with open(file, "rb") as reader:
            archive = np.load(reader, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(
                    f"npz:{path} is a single array, not an archive; save it with numpy.savez(path, "
                    "x=…, y=…)"
                )
            image_key = next((key for key in _IMAGE_KEYS if key in archive.files), None)
            label_key = next((key for key in _LABEL_KEYS if key in archive.files), None)
            if image_key is None:
                raise DataError(
                    f"npz:{path} holds {', '.join(archive.files) or 'no array'}; expected one "
                    f"named {' or '.join(_IMAGE_KEYS)}"
                )
            images = archive[image_key]
            labels = archive[label_key] if label_key else None
            # NumPy hands over the bytes of a member that does not begin like an array.
            if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray | None):
                raise DataError(
                    f"npz:{path} holds a member that is no array; save it with numpy.savez(path, "
                    "x=…, y=…)"
                )
    except DataError:
        raise
    # zipfile, its decompressors, and NumPy's parser of headers (Python's own) fail in a dozen ways
    except Exception as error:
        raise DataError(
            f"npz:{path} cannot be read as a NumPy archive without executable content "
            f"({type(error).__name__}); save it with numpy.savez"
        ) from error
    return image_set(f"npz:{path}", images, labels, sha256_of_file(file), f"npz:{file.resolve()}")


def image_set(
    name: str,
    images: NDArray[np.generic],
    labels: NDArray[np.generic] | None,
    identity: str,
    label_space: str,
    classes: tuple[str, ...] | None = None,
) -> ImageSet:
    """Images as a set: [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or floats in [0, 1]; labels
    [N], −1 for unknown.

    Raises `DataError`, which begins with `name`, for another shape, type or range.
    """
    channels_first = _channels_first(images, name)
    scale = _scale(channels_first, name)
    count = len(channels_first)
    if count == 0:
        raise DataError(f"{name} holds no image (x has length 0); add some")
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu"):
        raise DataError(
            f"{name} has labels of shape {labels.shape} and type {labels.dtype}; expected "
            f"{count} integers"
        )
    if labels is not None and not -1 <= int(labels.min()) <= int(labels.max()) < _MOST_CLASSES:
        raise DataError(
            f"{name} has labels from {int(labels.min())} to {int(labels.max())}; expected 0 to "
            f"{_MOST_CLASSES - 1}, or -1 for unknown"
        )

    def fetch(indices: Indices) -> list[Tensor]:
        return list(
            torch.from_numpy(
                np.ascontiguousarray(channels_first[indices], dtype=np.float32) / np.float32(scale)
            )
        )

    known = np.full(count, -1) if labels is None else labels
    return ImageSet(
        name=name,
        role="all",
        labels=known.astype(np.int64),
        classes=tuple(map(str, range(int(known.max()) + 1))) if classes is None else classes,
        identity=identity,
        label_space=label_space,
        fetch=fetch,
        shape=(channels_first.shape[1], channels_first.shape[2], channels_first.shape[3]),
    )


def _channels_first(images: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4:
        first, last = images.shape[1] in (1, 2, 3), images.shape[3] in (1, 2, 3)
        if first and last:
            raise DataError(
                f"{name} has images of shape {images.shape}, whose channel axis is ambiguous; "
                "make the sides larger than 3"
            )
        if first:
            return images
        if last:
            return images.transpose(0, 3, 1, 2)
    raise DataError(
        f"{name} has images of shape {images.shape}; expected [N, H, W], [N, H, W, C] or [N, "
        "C, H, W] with 1 to 3 channels"
    )


def _scale(images: NDArray[np.generic], name: str) -> float:
    if images.dtype == np.uint8:
        return 255.0
    if images.dtype.kind == "f":
        low, high = (
            (float(np.nanmin(images)), float(np.nanmax(images))) if images.size else (0.0, 0.0)
        )
        if low < 0 or high > 1:
            raise DataError(
                f"{name} has floats from {low:.4g} to {high:.4g}; expected [0, 1], or uint8; "
                "rescale them"
            )
        return 1.0
    raise DataError(
        f"{name} has images of type {images.dtype}; expected uint8, or floats in [0, 1]"
    )
