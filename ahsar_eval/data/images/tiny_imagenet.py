"""Tiny-ImageNet (Stanford CS231n): the official folder, or its validation set at 32×32."""

from pathlib import Path

from ahsar_eval.data.images.content import Content, of_files
from ahsar_eval.data.images.layouts import (
    TINY_IMAGENET,
    TINY_IMAGENET_SMALL,
    lacking_of_tiny_imagenet,
)
from ahsar_eval.errors import DataError


def read_tiny_imagenet(root: Path, role: str) -> Content:
    """The training images, or as `test` the 10,000 validation images, whose labels are public;
    classes are WordNet ids in sorted order.

    Raises `DataError` for lists and folders that do not agree.
    """
    official = not lacking_of_tiny_imagenet(root, TINY_IMAGENET, role)
    folder = root / (TINY_IMAGENET if official else TINY_IMAGENET_SMALL)
    wnids = sorted(set(_lines(folder / "wnids.txt")))
    pairs = _training(folder, wnids) if role == "train" else _validation(folder)
    index_of = {wnid: number for number, wnid in enumerate(wnids)}
    unknown = next((wnid for _, wnid in pairs if wnid not in index_of), None)
    if unknown is not None:
        raise DataError(
            f"{folder} has an image of class {unknown[:40]!r}, which is not in wnids.txt; copy the "
            "set again"
        )
    shape = (3, 64, 64) if official else (3, 32, 32)
    note = "64x64" if official else f"the smaller version {TINY_IMAGENET_SMALL}, 32x32"
    return of_files(
        [file for file, _ in pairs],
        [index_of[wnid] for _, wnid in pairs],
        tuple(wnids),
        within=folder,
        shape=shape,
        note=note,
    )


def _training(folder: Path, wnids: list[str]) -> list[tuple[Path, str]]:
    pairs = []
    for wnid in wnids:
        files = sorted((folder / "train" / wnid / "images").glob("*.JPEG"))
        if not files:
            raise DataError(
                f"{folder / 'train' / wnid / 'images'} holds no image (.JPEG); copy the set again"
            )
        pairs += [(file, wnid) for file in files]
    return pairs


def _validation(folder: Path) -> list[tuple[Path, str]]:
    pairs = []
    for number, line in enumerate(_lines(folder / "val" / "val_annotations.txt"), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0] or Path(fields[0]).name != fields[0]:
            raise DataError(
                f"line {number} of {folder / 'val' / 'val_annotations.txt'} names no image and "
                "class; copy the file again"
            )
        pairs.append((folder / "val" / "images" / fields[0], fields[1]))
    return pairs


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read as text ({type(error).__name__}); copy it again"
        ) from error
