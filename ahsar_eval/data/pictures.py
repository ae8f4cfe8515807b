"""Sets that lie as picture files or as databases of pictures, which are opened when they are asked
for: those whose lists torchvision reads, Omniglot, Tiny-ImageNet and LSUN.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ahsar_eval.data.images import Part, coloured, image_set, of_files, read_image
from ahsar_eval.data.split import ImageSet
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.process import progress

_MOST = 2**26  # bytes of one picture in a database

# The lists of files are attributes of torchvision with an underscore: dataset[i] would hide which
# file an image is, and so its hash.


def listed(part: Part, *, dataset: str, splits: Sequence[str] = ()) -> ImageSet:
    """The pictures that a data set of torchvision lists; those of several `splits` by file name."""
    from torchvision import datasets

    own = "val" if part.role == "validation" else part.role
    found = [getattr(datasets, dataset)(str(part.root), split=split) for split in splits or [own]]
    labelled = [pair for one in found for pair in zip(one._image_files, one._labels, strict=True)]
    return of_files(part, sorted(labelled) if splits else labelled, found[0].classes)


def places365(part: Part) -> ImageSet:
    """The 36,500 validation images of Places365-Standard, 256×256; the labels of its test split are
    not public.
    """
    from torchvision import datasets

    found = datasets.Places365(str(part.root), split="val", small=True)
    classes = sorted(found.class_to_idx, key=found.class_to_idx.get)
    return of_files(part, found.imgs, classes, shape=(3, 256, 256))


def gtsrb(part: Part) -> ImageSet:
    """German traffic signs, 43 classes by their number, of any size."""
    from torchvision import datasets

    found = datasets.GTSRB(str(part.root), split=part.role)
    return of_files(part, found._samples, map(str, range(43)))


# torchvision numbers the characters in the order in which the file system happens to list their
# folders; sorted, the labels are the same
# everywhere. The archive is not needed once it is unpacked.
def omniglot(part: Part) -> ImageSet:
    """Handwritten characters 105×105, black on white: 964 of 30 alphabets (train) or 659 of 20
    others (test).
    """
    (folder,) = part.files
    characters = sorted(path for path in folder.glob("*/character*") if path.is_dir())
    pictures: list[tuple[Path, int]] = []
    for number, character in enumerate(characters):
        drawings = sorted(character.glob("*.png"))
        if not drawings or not re.fullmatch(r"character\d+", character.name):
            raise DataError(
                f"{character} holds no drawing (.png) of a character; unpack {folder.name}.zip "
                "again"
            )
        pictures += [(drawing, number) for drawing in drawings]
    names = [f"{character.parent.name}/{character.name}" for character in characters]
    found = of_files(part, pictures, names, shape=(1, 105, 105), colour=False)
    return replace(found, label_space=f"omniglot:{folder.name}")


def tiny_imagenet(part: Part) -> ImageSet:
    """Tiny-ImageNet (Stanford CS231n), the official folder, or its validation set at 32×32: the
    training images, or as `test` the 10,000 validation images, whose labels are public.

    Classes are WordNet ids in sorted order. Raises `DataError` for lists and folders that do not
    agree.
    """
    folder = part.files[0].parent
    wnids = sorted(set(_lines(folder / "wnids.txt")))
    pairs = _training(folder, wnids) if part.role == "train" else _validation(folder)
    index_of = {wnid: number for number, wnid in enumerate(wnids)}
    unknown = next((wnid for _, wnid in pairs if wnid not in index_of), None)
    if unknown is not None:
        raise DataError(
            f"{folder} has an image of class {unknown[:40]!r}, which is not in wnids.txt; copy the "
            "set again"
        )
    official = folder.name == "tiny-imagenet-200"
    return of_files(
        part,
        [(file, index_of[wnid]) for file, wnid in pairs],
        wnids,
        shape=(3, 64, 64) if official else (3, 32, 32),
        note="64x64" if official else f"the smaller version {folder.name}, 32x32",
    )


def _training(folder: Path, wnids: list[str]) -> list[tuple[Path, str]]:
    pairs = []
    for wnid in wnids:
        place = folder / "train" / wnid / "images"
        files = sorted(place.glob("*.JPEG"))
        if not files:
            raise DataError(f"{place} holds no image (.JPEG); copy the set again")
        pairs += [(file, wnid) for file in files]
    return pairs


def _validation(folder: Path) -> list[tuple[Path, str]]:
    pairs = []
    listed = folder / "val" / "val_annotations.txt"
    for number, line in enumerate(_lines(listed), start=1):
        name, *wnids = line.split("\t")
        if not wnids or not name or Path(name).name != name:
            raise DataError(
                f"line {number} of {listed} names no image and class; copy the file again"
            )
        pairs.append((folder / "val" / "images" / name, wnids[0]))
    return pairs


def _lines(file: Path) -> list[str]:
    with unreadable(f"{file} cannot be read as text", "copy it again"):
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


# Not through torchvision.datasets.LSUN: it leaves a pickle of the keys in the current folder and
# executes one that it finds there.
def lsun(part: Part) -> ImageSet:
    """LSUN scenes of ten categories from the LMDB folders of their authors (Yu et al. 2015); the
    10,000 test images have no labels. Raises `DataError` for a folder that is no database.
    """
    members: list[tuple[Path, bytes]] = []
    labels: list[int] = []
    digest = hashlib.sha256()
    for number, folder in enumerate(part.files):
        with _database(folder) as reading:
            for key, value in progress(reading.cursor(), f"reading {folder.name}", unit="image"):
                if len(value) > _MOST:
                    raise DataError(
                        f"{folder} has an entry of {len(value):,} bytes, which is no picture; copy "
                        "it again"
                    )
                members.append((folder, key))
                labels.append(-1 if part.role == "test" else number)
                digest.update(hashlib.sha256(key).digest() + hashlib.sha256(value).digest())

    # A folder is opened for each image, in some 50 µs: a process may hold one handle for a
    # database, and sets are opened more than once.
    def read(folder: Path, key: bytes) -> Tensor:
        with _database(folder) as reading:
            name = f"image {key.decode('ascii', 'replace')} of {folder}"
            return coloured(read_image(reading.get(key) or b"", name))

    # <category>_train_lmdb
    names = [folder.name.rsplit("_", 2)[0] for folder in part.files]
    classes = () if part.role == "test" else names
    return image_set(
        part,
        lambda indices: [read(*members[index]) for index in indices],
        digest.hexdigest(),
        np.asarray(labels),
        classes=classes,
    )


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[Any]:
    """A transaction that reads an LMDB folder. Raises `DataError` for one that is none or cut."""
    import lmdb

    data = folder / "data.mdb"
    # The library maps the file: one that is too short for its two header pages would be a fault
    # of memory, not an error.
    if not data.is_file() or data.stat().st_size < 8192:
        raise DataError(
            f"{folder} is no LMDB folder (data.mdb is missing or cut short); copy it again"
        )
    try:
        environment = lmdb.open(
            str(folder), readonly=True, lock=False, readahead=False, meminit=False, max_readers=1
        )
    except lmdb.Error as error:
        raise DataError(f"{folder} cannot be read as LMDB ({error}); copy it again") from error
    with environment:
        pages = environment.info()["last_pgno"] + 1
        if pages * environment.stat()["psize"] > data.stat().st_size:
            raise DataError(
                f"{data} has {data.stat().st_size:,} bytes, less than its header claims; it is cut "
                "short: copy it again"
            )
        with environment.begin() as reading:
            yield reading
