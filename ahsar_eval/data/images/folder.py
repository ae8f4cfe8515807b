"""Images from the user's own disk: `folder:PATH` (one sub-folder per class, or a flat folder
without labels).
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from ahsar_eval.data.divided import open_divided
from ahsar_eval.data.images.content import digest_of_files, read_image
from ahsar_eval.data.split import ImageSet, Indices
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of


def folder(path: str, role: str) -> ImageSet:
    """The images under `path`, in torchvision's ImageFolder layout `path/class/image`; a flat
    folder gives label −1.

    Where `path` itself holds `train` and `test` (or `val`) folders, `role` chooses among them.
    Raises `DataError` for a missing, empty or unreadable folder and, when a batch reaches it, for a
    file that is no image.
    """
    try:
        return _open(path, role)
    # a link that points to itself, a folder without permission, a name that is too long
    except OSError as error:
        raise DataError(
            f"folder:{_short(path)} cannot be listed ({error.strerror}); mend or remove "
            f"{_short(error.filename)}"
        ) from error


def _open(path: str, role: str) -> ImageSet:
    _, place, used_role = open_divided("folder", path, role, "images")
    files, labels, classes = _listing(place)
    if not files:
        raise DataError(
            f"folder:{path} holds no image file (.jpg, .png, .bmp, …), neither in sub-folders of "
            "classes nor directly; add some"
        )

    def fetch(indices: Indices) -> list[Tensor]:
        return [read_image(files[index]) for index in indices]

    names = [
        part for file, label in zip(files, labels, strict=True) for part in (file.name, str(label))
    ]
    return ImageSet(
        name=f"folder:{path}",
        role=used_role,
        labels=np.asarray(labels, dtype=np.int64),
        classes=tuple(classes),
        identity=sha256_of("folder", *classes, *names, digest_of_files(files)),
        label_space="folder:" + ",".join(classes) if classes else f"folder:{place.resolve()}",
        fetch=fetch,
    )


def _listing(root: Path) -> tuple[list[Path], list[int], list[str]]:
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes

    try:
        classes, index_of = find_classes(str(root))
    except FileNotFoundError:
        classes, index_of = [], {}
    files, labels = [], []
    for name in classes:
        for file in sorted((root / name).rglob("*")):
            if file.suffix.lower() in IMG_EXTENSIONS and file.is_file():
                files.append(file)
                labels.append(index_of[name])
    if not files:
        files = [
            file
            for file in sorted(root.iterdir())
            if file.suffix.lower() in IMG_EXTENSIONS and file.is_file()
        ]
        labels, classes = [-1] * len(files), []
    return files, labels, classes


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) < 300 else f"{text[:100]}…"
