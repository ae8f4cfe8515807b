"""Images from the user's own disk: `folder:PATH` (one sub-folder per class, or a flat folder without labels)."""

from pathlib import Path

import numpy as np
from torch import Tensor

from ahsar_eval.data.images.content import digest_of_files, read_image
from ahsar_eval.data.split import ImageSet, Indices
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of

_DIVISIONS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test", "val")}


def folder(path: str, role: str) -> ImageSet:
    """The images under `path`, in torchvision's ImageFolder layout `path/class/image`; a flat folder gives label −1.

    Where `path` itself holds `train` and `test` (or `val`) folders, `role` chooses among them. Raises `DataError` for a missing, empty or
    unreadable folder and, when a batch reaches it, for a file that is no image.
    """
    try:
        return _open(path, role)
    except OSError as error:  # a link that points to itself, a folder without permission, a name that is too long
        raise DataError(f"folder:{_short(path)} cannot be listed ({error.strerror}); mend or remove {_short(error.filename)}") from error


def _open(path: str, role: str) -> ImageSet:
    root = Path(path).expanduser()
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(f"folder:{path} is no folder ({found} is there); give the path of a folder of images")
    used_role = "all"
    if (root / "train").is_dir() and any((root / name).is_dir() for name in ("test", "val", "validation")):
        chosen = next((root / name for name in _DIVISIONS.get(role, ()) if (root / name).is_dir()), None)
        if chosen is None:
            raise DataError(f"folder:{path} is divided but has no folder for its {role} split; add one")
        root, used_role = chosen, role
    files, labels, classes = _listing(root)
    if not files:
        raise DataError(
            f"folder:{path} holds no image file (.jpg, .png, .bmp, …), neither in sub-folders of classes nor directly; add some"
        )

    def fetch(indices: Indices) -> list[Tensor]:
        return [read_image(files[index]) for index in indices]

    names = [part for file, label in zip(files, labels, strict=True) for part in (file.name, str(label))]
    return ImageSet(
        name=f"folder:{path}",
        role=used_role,
        labels=np.asarray(labels, dtype=np.int64),
        classes=tuple(classes),
        identity=sha256_of("folder", *classes, *names, digest_of_files(files)),
        label_space="folder:" + ",".join(classes) if classes else f"folder:{root.resolve()}",
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
        files = [file for file in sorted(root.iterdir()) if file.suffix.lower() in IMG_EXTENSIONS and file.is_file()]
        labels, classes = [-1] * len(files), []
    return files, labels, classes


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) < 300 else f"{text[:100]}…"
