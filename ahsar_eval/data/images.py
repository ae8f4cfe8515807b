"""Images as they lie on disk, in memory or in files, and the set made of them."""

import contextlib
import functools
import hashlib
import importlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.sets import Stored, classes_of
from ahsar_eval.data.split import ImageSet, Indices, Shape
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.files import sha256_of, sha256_of_file
from ahsar_eval.process import progress

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Part:
    """A split of a set on disk: what is known of the set, its role, the data root, and the files of
    it that were found. A reader takes it and gives the set.
    """

    name: str
    known: Stored
    role: str
    root: Path
    files: list[Path]


def image_set(
    part: Part,
    fetch: Callable[[Indices], list[Tensor]],
    digest: str,
    labels: NDArray[np.generic],
    *,
    classes: Iterable[str] = (),
    shape: Shape | None = None,
    note: str = "",
) -> ImageSet:
    """The set of `part`: `fetch` gives [C, H, W] float32 in [0, 1], `digest` is a hash of all
    images, `labels` are [N] (−1 unknown); `classes` where `sets.toml` does not have them, `note`
    says which of several possible files was read.

    Raises `DataError` for none, or for labels that do not fit the images or the classes.
    """
    name, known, names = part.name, part.known, tuple(classes) or classes_of(part.known.label_space)
    if not len(labels):
        raise DataError(f"{name} holds no image in its {part.role} split; copy it again")
    found = labels.astype(np.int64)
    if found.min() < -1 or found.max() >= max(len(names), 1):
        raise DataError(
            f"{name} has labels from {found.min()} to {found.max()} and {len(names)} classes; "
            "copy the set again"
        )
    return ImageSet(
        name=name,
        role=part.role,
        labels=found,
        classes=names,
        identity=sha256_of("images", part.role, str(shape), digest, found.tobytes(), *names),
        label_space=known.label_space,
        fetch=fetch,
        shape=shape,
        note=f"{known.note}; {note}" if note else known.note,
    )


def of_array(part: Part, images: NDArray[np.uint8], labels: NDArray[np.generic]) -> ImageSet:
    """The set of images [N, C, H, W] uint8, possibly memory-mapped."""
    _, channels, height, width = images.shape
    digest = hashlib.sha256(np.ravel(images).data).hexdigest()
    shape = (channels, height, width)
    return image_set(part, from_array(images, 255), digest, labels, shape=shape)


def from_array(images: NDArray[np.generic], scale: float) -> Callable[[Indices], list[Tensor]]:
    """A `fetch` of images [N, C, H, W], of which a batch at a time becomes v / scale."""
    return lambda indices: list(
        torch.from_numpy(
            np.ascontiguousarray(images[indices], dtype=np.float32) / np.float32(scale)
        )
    )


def of_files(
    part: Part,
    pictures: Iterable[tuple[str | Path, int]],
    classes: Iterable[str],
    *,
    shape: Shape | None = None,
    note: str = "",
    colour: bool = True,
) -> ImageSet:
    """The set of `pictures` and their labels, which are read when they are asked for; all are
    hashed at once.

    Raises `DataError` for one that is missing or does not lie below the data root: lists of files
    are data, too. `colour` makes grey files three equal channels, where a set has both; its `shape`
    is given where all files have it.
    """
    found = list(pictures)
    files = [Path(file) for file, _ in found]
    for file in files:
        if part.root not in file.parents or ".." in file.relative_to(part.root).parts:
            raise DataError(
                f"{file} does not lie in {part.root}; the set's list of files is damaged: copy the "
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

    return image_set(
        part,
        lambda indices: [read(files[index]) for index in indices],
        digest_of_files(files),
        np.array([label for _, label in found]),
        classes=classes,
        shape=shape,
        note=note,
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


_SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .tif .tiff .webp .ppm .pgm .pbm .pnm .tga .jp2 .j2k "
    ".avif .heic .heif .hif".split()
)


@functools.cache
def picture_suffixes() -> tuple[str, ...]:
    """The suffixes of picture files that are read here: those that Pillow can open, with what it
    was built with and with the package pillow-heif where that is installed.
    """
    from PIL import Image

    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    known = Image.registered_extensions()
    return tuple(suffix for suffix in _SUFFIXES if known.get(suffix) in Image.OPEN)


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
