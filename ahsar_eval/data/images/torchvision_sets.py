"""Sets whose lists and arrays torchvision reads; pictures are opened when they are asked for, and
by our own reader.
"""

import re
from pathlib import Path

import numpy as np

from ahsar_eval.data.images.classes import DIGITS, STL10
from ahsar_eval.data.images.content import Content, of_array, of_files
from ahsar_eval.data.images.layouts import omniglot_folder
from ahsar_eval.errors import DataError

# The lists of files are attributes of torchvision with an underscore: dataset[i] would hide which
# file an image is, and so its hash.


def svhn(root: Path, role: str) -> Content:
    """Cropped house numbers 32×32; torchvision maps the authors' label 10 to the digit 0."""
    from torchvision import datasets

    found = datasets.SVHN(str(root), split=role)
    return of_array(np.ascontiguousarray(found.data), found.labels, DIGITS)


def stl10(root: Path, role: str) -> Content:
    """STL-10 at 96×96, 5,000 training and 8,000 test images."""
    from torchvision import datasets

    class Labelled(datasets.STL10):  # type: ignore[misc]
        # torchvision computes the checksum of the 2.7 GB of unlabelled images at every start, and
        # refuses the set without them.
        train_list = datasets.STL10.train_list[:2]

    found = Labelled(str(root), split=role)
    return of_array(np.ascontiguousarray(found.data), np.asarray(found.labels), STL10)


def dtd(root: Path, role: str) -> Content:
    """Describable textures, partition 1: 1,880 images in each of its three splits."""
    from torchvision import datasets

    found = datasets.DTD(str(root), split="val" if role == "validation" else role, partition=1)
    return of_files(found._image_files, found._labels, tuple(found.classes), within=root)


def textures(root: Path, role: str) -> Content:
    """All 5,640 images of the describable textures, which OpenOOD takes."""
    parts = [_dtd_list(root, split) for split in ("train", "val", "test")]
    pairs = sorted(pair for part in parts for pair in part)
    classes = sorted({file.parent.name for file, _ in pairs})
    return of_files(
        [file for file, _ in pairs],
        [classes.index(name) for _, name in pairs],
        tuple(classes),
        within=root,
    )


def _dtd_list(root: Path, split: str) -> list[tuple[Path, str]]:
    from torchvision import datasets

    found = datasets.DTD(str(root), split=split, partition=1)
    return [
        (Path(file), found.classes[label])
        for file, label in zip(found._image_files, found._labels, strict=True)
    ]


def food101(root: Path, role: str) -> Content:
    """Photographs of 101 dishes, the longer side 512 at most."""
    from torchvision import datasets

    found = datasets.Food101(str(root), split=role)
    return of_files(found._image_files, found._labels, tuple(found.classes), within=root)


def places365(root: Path, role: str) -> Content:
    """The 36,500 validation images of Places365-Standard, 256×256; the labels of its test split are
    not public.
    """
    from torchvision import datasets

    found = datasets.Places365(str(root), split="val", small=True)
    classes = tuple(sorted(found.class_to_idx, key=lambda name: found.class_to_idx[name]))
    return of_files(
        [Path(file) for file, _ in found.imgs],
        found.targets,
        classes,
        within=root,
        shape=(3, 256, 256),
    )


def gtsrb(root: Path, role: str) -> Content:
    """German traffic signs, 43 classes by their number, of any size."""
    from torchvision import datasets

    found = datasets.GTSRB(str(root), split=role)
    files, labels = (
        [Path(file) for file, _ in found._samples],
        [label for _, label in found._samples],
    )
    return of_files(files, labels, tuple(str(number) for number in range(43)), within=root)


# torchvision numbers the characters in the order in which the file system happens to list their
# folders; sorted, the labels are the same
# everywhere. The archive is not needed once it is unpacked.
def omniglot(root: Path, role: str) -> Content:
    """Handwritten characters 105×105, black on white: 964 of 30 alphabets (train) or 659 of 20
    others (test).
    """
    part = omniglot_folder(role)
    folder = root / "omniglot-py" / part
    characters = sorted(path for path in folder.glob("*/character*") if path.is_dir())
    files, labels = [], []
    for number, character in enumerate(characters):
        drawings = sorted(character.glob("*.png"))
        if not drawings or not re.fullmatch(r"character\d+", character.name):
            raise DataError(
                f"{character} holds no drawing (.png) of a character; unpack {part}.zip again"
            )
        files += drawings
        labels += [number] * len(drawings)
    names = tuple(f"{character.parent.name}/{character.name}" for character in characters)
    content = of_files(files, labels, names, within=root, shape=(1, 105, 105), colour=False)
    return Content(
        content.fetch,
        content.digest,
        content.labels,
        names,
        content.shape,
        label_space=f"omniglot:{part}",
    )
