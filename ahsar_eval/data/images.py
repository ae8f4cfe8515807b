"""Images as they lie on disk, in memory or in files, and the set made of them."""

import contextlib
import functools
import hashlib
import importlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.sets import Stored, classes_of
from ahsar_eval.data.split import ImageSet, Indices, Shape
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.files import cache_folder, remember, remembered, sha256_of, sha256_of_file
from ahsar_eval.process import progress
from ahsar_eval.provenance import code_digest

_LUMA = (0.299, 0.587, 0.114)
_ORIENTATION = 0x0112
# Whole numbers up to here are levels of something else than 8 bits: 0 to 16, as scikit-learn's
# digits; and from here on they are 16 bits, not 10, 12 or 14.
_MOST_LEVELS, _LEAST_DEEP = 31, 2**14


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


@dataclass(frozen=True)
class Reading:
    """How picture files of a user are read: the colour behind transparent pixels, and the value
    that is white in files of 8 bits and of more. Published sets are read as they were published:
    without alpha and orientation.
    """

    background: str = "white"
    white: float = 255.0
    deep_white: float = 65535.0


def read_image(file: Path | bytes, name: str = "", how: Reading | None = None) -> Tensor:
    """A picture file, or its bytes, as [C, H, W] float32 in [0, 1], C = 1 or 3, its first frame.
    Raises `DataError` for what is no picture.

    `name` says in the message what the bytes are; `how` applies alpha and orientation.
    """
    from PIL import Image, ImageColor, ImageOps

    with (
        unreadable(f"{name or file!s} cannot be read as an image", "replace or remove it"),
        Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened,
    ):
        image: Image.Image = opened
        kind = "L" if image.mode in ("1", "L", "LA") else "RGB"
        if how is not None:
            image = ImageOps.exif_transpose(image)
            if _is_transparent(image):
                behind = Image.new("RGBA", image.size, how.background)
                image = Image.alpha_composite(behind, image.convert("RGBA"))
                kind = kind if len({*ImageColor.getrgb(how.background)[:3]}) == 1 else "RGB"
        if image.mode == "F" or image.mode.startswith("I"):
            # 16-bit files: PIL's own conversion to 8 bits clips instead of scaling.
            top = 1.0 if image.mode == "F" else (how or Reading()).deep_white
            pixels = np.asarray(image, dtype=np.float32) / np.float32(top)
        else:
            top = 255.0 if how is None or opened.mode in ("1", "P", "PA") else how.white
            pixels = np.asarray(image.convert(kind), dtype=np.float32) / np.float32(top)
    channels_first = np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))
    return torch.from_numpy(channels_first).clamp(0, 1)


def _is_transparent(image: Any) -> bool:
    """Whether it has alpha. The one value that a file of 16 bits calls transparent is read as it
    is: Pillow has no alpha beside it.
    """
    deep = image.mode == "F" or image.mode.startswith("I")
    return not deep and (image.mode[-1] in "Aa" or "transparency" in image.info)


def reading_of(
    files: Sequence[Path], name: str, content: str, background: str
) -> tuple[Reading, list[str]]:
    """How the pictures `files` of the set `name` are to be read, and what is to be said of that.
    `content` is a hash of them all, under which is kept what was seen of them.

    Raises `DataError` for values of an unknown range. Files that are no pictures do not count here.
    """
    kept = cache_folder("pictures") / content[:32], content + code_digest()
    if (seen := remembered(*kept)) is None:
        seen = _seen_in(files)
        remember(*kept, seen)
    how, said = Reading(background), []
    for pool, (low, high) in seen["values"].items():
        some = f"{name} ({seen['of'][pool]:,} of {len(files):,} files)"
        if pool == "16-bit colours":  # seen are their upper 8 bits
            if high * 256 < _LEAST_DEEP:
                raise DataError(
                    f"{some} has 16-bit colours of at most {high * 256 + 255:.0f}, which says "
                    "nothing of what is white; rescale them to 0 to 65535, or save 8 bits"
                )
            continue
        white, clause = white_of(some, pool, low, high)
        said += [clause] if clause else []
        if pool == "uint8":
            how = replace(how, white=white)
        elif pool == "integers":
            how = replace(how, deep_white=white)
    counts = {
        f"with transparent pixels: composed on {background} (--background)": seen["transparent"],
        "turned as EXIF says": seen["turned"],
        "of several frames: the first is read": seen["frames"],
    }
    said += [
        f"{count:,} of {len(files):,} pictures {clause}"
        for clause, count in counts.items()
        if count
    ]
    return how, said


def _seen_in(files: Sequence[Path]) -> dict[str, Any]:
    """How many pictures have transparent pixels, an orientation or several frames, and the lowest
    and highest value `values` of those of each type, and how many these are. Of 8 bits they are
    looked at up to the first that is not nearly black.
    """
    from PIL import Image

    counts = dict.fromkeys(("transparent", "turned", "frames"), 0)
    values: dict[str, list[float]] = {}
    number: Counter[str] = Counter()
    for file in progress(files, "looking at pictures", unit="file"):
        with warnings.catch_warnings(), contextlib.suppress(Exception), Image.open(file) as image:
            warnings.simplefilter("ignore")
            deep = _is_deep(image)  # of a PNG, a look for its orientation reads all of it
            counts["transparent"] += _is_transparent(image)
            counts["turned"] += image.getexif().get(_ORIENTATION, 1) in range(2, 9)
            counts["frames"] += bool(getattr(image, "is_animated", False))
            if image.mode == "F" or image.mode.startswith("I"):
                pool = "floats" if image.mode == "F" else "integers"
            elif image.mode in ("L", "LA", "RGB", "RGBA"):
                pool = "16-bit colours" if deep else "uint8"
            else:
                continue
            number[pool] += 1
            if pool == "uint8" and values.get(pool, [0, 0])[1] > _MOST_LEVELS:
                continue
            pixels = np.asarray(
                image.convert("RGB") if pool in ("uint8", "16-bit colours") else image
            )
            found = float(np.nanmin(pixels)), float(np.nanmax(pixels))
            low, high = values.setdefault(pool, list(found))
            values[pool] = [min(low, found[0]), max(high, found[1])]
    return {**counts, "values": values, "of": number}


def _is_deep(image: Any) -> bool:
    """Whether a file of colours has 16 bits, of which Pillow gives the upper 8: it says so in how
    it will read it.
    """
    ways = [tile[3] for tile in image.tile]
    tops = [part for way in ways if isinstance(way, tuple) for part in way if type(part) is int]
    return ";16" in str(ways) or (image.format == "PPM" and max(tops, default=0) > 255)


def white_of(name: str, kind: str, low: float, high: float) -> tuple[float, str]:
    """The value that is white where those of `name`, of the type `kind` (a NumPy type; integers
    or floats), lie from `low` to `high`, and what is to be said of it, '' where that is the usual.

    The rule (docs/data.md): floats lie in [0, 1]; whole numbers are 0 and 1 alone, or 8 bits, or 16
    bits. Raises `DataError` for any other range, which says nothing of what is white.
    """
    advice = "rescale them"
    if kind.startswith("float"):
        found = f"{name} has floats from {low:.4g} to {high:.4g}"
        if low < 0 or high > 1:
            raise DataError(f"{found}; expected [0, 1], or uint8; {advice}")
        if 0 < high < 1 / 254:
            raise DataError(f"{found}, as if divided by 255 twice; expected [0, 1]; {advice}")
        return 1.0, ""
    if kind == "bool" or low == high == 0:
        return 1.0, ""
    if low >= 0 and high <= 1:
        return 1.0, f"{kind} of 0 and 1 alone: 1 is white"
    if low >= 0 and (_MOST_LEVELS < high <= 255 or kind == "uint8") and kind != "int8":
        said = "" if kind == "uint8" else f"{kind} of at most {high:.0f}: 255 is white"
        dark = f"{kind} of at most {high:.0f} of 255: nearly black"
        return 255.0, dark if high <= _MOST_LEVELS else said
    if low >= 0 and _LEAST_DEEP <= high <= 65535:
        return 65535.0, f"{kind} of at most 65535: 65535 is white"
    raise DataError(
        f"{name} has {kind} from {low:.0f} to {high:.0f}, which says nothing of what is white; "
        f"expected 0 to 255 or 0 to 65535, uint8, or floats in [0, 1]; {advice}"
    )


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
