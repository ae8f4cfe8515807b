"""Images as they lie on disk, in memory or in files, and the set made of them."""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.sets import classes_of
from ahsar_eval.data.split import ImageSet, Indices, Shape
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.files import sha256_of, sha256_of_file
from ahsar_eval.process import progress

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Part:
    """A split of a set on disk: the data root, its role, and the files of it that were found."""

    root: Path
    role: str
    files: list[Path]


@dataclass(frozen=True)
class Content:
    """What a reader found: `fetch` gives [C, H, W] float32 in [0, 1], `digest` is a hash of all
    images, `labels` [N] int64 (−1 unknown).
    """

    fetch: Callable[[Indices], list[Tensor]]
    digest: str
    labels: Indices
    classes: tuple[str, ...] = ()  # where `sets.toml` does not have them
    shape: Shape | None = None
    note: str = ""  # which of several possible files was read
    label_space: str = ""  # where it is not the same for every split


def of_array(
    images: NDArray[np.uint8], labels: NDArray[np.generic], classes: tuple[str, ...] = ()
) -> Content:
    """Images [N, C, H, W] uint8, possibly memory-mapped."""
    _, channels, height, width = images.shape
    return Content(
        from_array(images, 255),
        hashlib.sha256(np.ravel(images).data).hexdigest(),
        labels.astype(np.int64),
        classes,
        (channels, height, width),
    )


def from_array(images: NDArray[np.generic], scale: float) -> Callable[[Indices], list[Tensor]]:
    """A `fetch` of images [N, C, H, W], of which a batch at a time becomes v / scale."""
    return lambda indices: list(
        torch.from_numpy(
            np.ascontiguousarray(images[indices], dtype=np.float32) / np.float32(scale)
        )
    )


def of_files(
    pictures: Iterable[tuple[str | Path, int]],
    classes: Iterable[str],
    within: Path,
    *,
    shape: Shape | None = None,
    note: str = "",
    colour: bool = True,
) -> Content:
    """Images and labels from `pictures`, which are read when they are asked for; all are hashed at
    once.

    Raises `DataError` for one that is missing or does not lie below the folder `within`: lists of
    files are data, too. `colour` makes grey files three equal channels, where a set has both; its
    `shape` is given where all files have it.
    """
    found = list(pictures)
    files = [Path(file) for file, _ in found]
    for file in files:
        if within not in file.parents or ".." in file.relative_to(within).parts:
            raise DataError(
                f"{file} does not lie in {within}; the set's list of files is damaged: copy the "
                "set again"
            )

    def read(file: Path) -> Tensor:
        image = read_image(file)
        image = coloured(image) if colour else image
        if shape is not None and image.shape != shape:
            raise DataError(
                f"{file} is {_size(image.shape)}, where its set has {_size(shape)}; copy the set "
                "again"
            )
        return image

    return Content(
        lambda indices: [read(files[index]) for index in indices],
        digest_of_files(files),
        np.array([label for _, label in found], dtype=np.int64),
        tuple(classes),
        shape,
        note,
    )


def digest_of_files(files: Sequence[Path]) -> str:
    """SHA-256 over the bytes of `files` in their order. Raises `DataError` for one that cannot be
    read.
    """
    digests = []
    for file in progress(files, "reading files", unit="file"):
        with unreadable(f"{file}, which its set lists, cannot be read", "replace or remove it"):
            digests.append(sha256_of_file(file))
    return sha256_of(*digests)


def image_set(name: str, role: str, content: Content, *, label_space: str, note: str) -> ImageSet:
    """The set of one split. Raises `DataError` for none, or for labels that do not fit the images
    or the classes.
    """
    labels, classes = content.labels, content.classes or classes_of(label_space)
    if not len(labels):
        raise DataError(f"{name} holds no image in its {role} split; copy it again")
    if labels.min() < -1 or labels.max() >= max(len(classes), 1):
        raise DataError(
            f"{name} has labels from {labels.min()} to {labels.max()} and {len(classes)} classes; "
            "copy the set again"
        )
    return ImageSet(
        name=name,
        role=role,
        labels=labels,
        classes=classes,
        identity=sha256_of(
            "images", role, str(content.shape), content.digest, labels.tobytes(), *classes
        ),
        label_space=content.label_space or label_space,
        fetch=content.fetch,
        shape=content.shape,
        note=f"{note}; {content.note}" if content.note else note,
    )


def read_image(file: Path | bytes, name: str = "") -> Tensor:
    """A picture file, or its bytes, as [C, H, W] float32 in [0, 1], C = 1 or 3. Raises `DataError`
    for what is no picture.

    `name` says in the message what the bytes are.
    """
    from PIL import Image

    with (
        unreadable(f"{name or file!s} cannot be read as an image", "replace or remove it"),
        Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image,
    ):
        if image.mode in ("I", "I;16", "I;16B", "F"):
            # 16-bit files: PIL's own conversion to 8 bits clips instead of scaling.
            top = 1.0 if image.mode == "F" else 65535.0
            pixels = np.asarray(image, dtype=np.float32) / top
        else:
            kind = "L" if image.mode in ("1", "L", "LA") else "RGB"
            pixels = np.asarray(image.convert(kind), dtype=np.float32) / 255
    channels_first = np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))
    return torch.from_numpy(channels_first).clamp(0, 1)


def grey(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma of images [..., C, H, W], [..., 1, H, W], as in Pillow's convert("L") and
    OpenCV's COLOR_RGB2GRAY; images of one channel as they are.
    """
    if images.shape[-3] == 1:
        return images
    return (images * images.new_tensor(_LUMA).view(3, 1, 1)).sum(-3, keepdim=True)


def coloured(image: Tensor) -> Tensor:
    """An image of one channel as three equal ones, any other as it is."""
    return image.expand(3, -1, -1) if image.shape[0] == 1 else image


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}x{shape[1]} in {shape[0]} channels"
