"""Images from the user's own disk: pictures (`folder:PATH`), a NumPy archive (`npz:PATH`)."""

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.images import (
    digest_of_files,
    from_array,
    picture_suffixes,
    read_image,
    reading_of,
    white_of,
)
from ahsar_eval.data.met import files_below, loose_files, not_read, subfolders
from ahsar_eval.data.sets import DataOptions
from ahsar_eval.data.split import ImageSet
from ahsar_eval.errors import DataError, unreadable
from ahsar_eval.files import sha256_of, sha256_of_file

# Names of folders of splits, in lower case
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WANTED = {"test": ("test", "validation")}
_IMAGE_WORDS = ("x", "images", "data", "image", "imgs", "pixels")
_LABEL_WORDS = {"y", "label", "labels", "target", "targets"}
_MOST_CLASSES = 1_000_000
_DEFAULTS = DataOptions()


def divided(
    kind: str, path: str, role: str, what: str, skipped: Counter[str]
) -> tuple[Path, Path, str]:
    """The folder of `kind`:`path`, the folder in it that holds `role`, and the role that is: itself
    and all where it is not divided.

    It is divided where it holds a folder `train` and one for another split, or no other folders
    than splits, in capitals or not. What lies beside them is counted in `skipped`; `what` it should
    hold is named in the message. Raises `DataError` for what is no folder, for a split that a
    divided one lacks, and for one that it has twice.
    """
    root = Path(path).expanduser()
    if not os.path.isdir(root):  # which is false, too, for a name that is too long
        found = "a file" if os.path.exists(root) else "nothing"
        raise DataError(
            f"{kind}:{path} is no folder ({found} is there); give the path of a folder of {what}"
        )
    with unreadable(f"{kind}:{path} cannot be listed", "mend or remove it"):
        folders = subfolders(root)
    held: dict[str, list[Path]] = {}
    for one in folders:
        if split := _SPLITS.get(one.name.lower()):
            held.setdefault(split, []).append(one)
    several = len(held) > 1 and "train" in held
    if not held or not (several or sum(map(len, held.values())) == len(folders)):
        return root, root, "all"
    chosen = next((held[split] for split in _WANTED.get(role, (role,)) if split in held), None)
    if chosen is None:
        raise DataError(f"{kind}:{path} is divided but has no folder for its {role} split; add one")
    if len(chosen) > 1:
        names = " and ".join(one.name for one in chosen)
        raise DataError(f"{kind}:{path} holds its {role} split twice, in {names}; keep one of them")
    loose_files(root, skipped)
    subfolders(root, skipped)
    if others := len(folders) - sum(map(len, held.values())):
        skipped["folder beside the splits"] = others
    return root, chosen[0], role


def folder(path: str, role: str, options: DataOptions = _DEFAULTS) -> ImageSet:
    """The images under `path`, in torchvision's ImageFolder layout `path/class/image`; a flat
    folder gives label −1.

    Where `path` itself holds folders for splits (`divided`), `role` chooses among them. Raises
    `DataError` for a missing, empty or unreadable folder and, when a batch reaches it, for a
    file that is no image.
    """
    skipped: Counter[str] = Counter()
    _, place, used_role = divided("folder", path, role, "images", skipped)
    with unreadable(f"folder:{path} cannot be listed", "mend or remove it"):
        pictures, classes = _pictures(place, skipped)
    if not pictures:
        left = f" ({not_read(skipped)})" if skipped.total() else ""
        raise DataError(
            f"folder:{path} holds no image file (.jpg, .png, .bmp, …), neither in sub-folders of "
            f"classes nor directly{left}; add some"
        )
    files = [file for file, _ in pictures]
    content = digest_of_files(files)
    names = [part for file, label in pictures for part in (file.name, str(label))]
    how, said = reading_of(files, f"folder:{path}", content, options.background)
    behind = [] if how.background == "white" else [f"behind {how.background}"]
    if classes != sorted(classes):
        said.append("the folders of classes are in natural order, 2 before 10")
    return ImageSet(
        name=f"folder:{path}",
        role=used_role,
        labels=np.array([label for _, label in pictures], dtype=np.int64),
        classes=tuple(classes),
        identity=sha256_of("folder", *classes, *names, content, *behind),
        label_space="folder:" + ",".join(classes) if classes else f"folder:{place.resolve()}",
        fetch=lambda indices: [read_image(files[index], how=how) for index in indices],
        skipped=skipped,
        said=tuple(said),
    )


def _pictures(root: Path, skipped: Counter[str]) -> tuple[list[tuple[Path, int]], list[str]]:
    """Files with their labels, and the classes, of a folder of classes or of a flat one."""
    met: Counter[str] = Counter()
    folders = subfolders(root, met)
    found = [
        (file, label)
        for label, place in enumerate(folders)
        for file in sorted(files_below(place, picture_suffixes(), met))
    ]
    if found:
        loose_files(root, met)
        skipped += met
        return found, [place.name for place in folders]
    flat = files_below(root, picture_suffixes(), skipped, deep=False)
    return [(file, -1) for file in sorted(flat)], []


def npz(path: str, role: str, options: DataOptions = _DEFAULTS) -> ImageSet:
    """Array `x` (or images, data): [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or floats in [0,
    1], or whole numbers by `white_of`; `y` (or labels, targets): [N]. Where there are arrays for
    splits (x_train, x_test), `role` chooses among them.

    Nothing in the file can execute (`allow_pickle=False`). Raises `DataError` for a missing,
    malformed or ambiguous file.
    """
    file = Path(path).expanduser()
    if not os.path.isfile(file):  # which is false, too, for a name that is too long
        raise DataError(f"npz:{path} is no file; give the path of an .npz file with an array x")
    held = _members(file, path, role)
    content, divided = sha256_of_file(file), held.split != "all"
    found = image_set(
        f"npz:{path}",
        held.arrays["images"],
        held.arrays.get("labels"),
        sha256_of(content, held.split) if divided else content,
        f"npz:{file.resolve()}",
    )
    return replace(
        found,
        role=role if divided else "all",
        said=(*held.said, *found.said),
        skipped={"other array": held.others} if held.others else {},
    )


def image_set(
    name: str,
    arrays: NDArray[Any],
    labels: NDArray[Any] | None,
    identity: str,
    label_space: str,
    classes: tuple[str, ...] | None = None,
) -> ImageSet:
    """Images as a set: [N, H, W], [N, H, W, C] or [N, C, H, W], uint8 or floats in [0, 1]; labels
    [N], −1 for unknown.

    Raises `DataError`, which begins with `name`, for another shape, type or range.
    """
    images, (scale, said) = _channels_first(arrays, name), _scale(arrays, name)
    count = len(images)
    if count == 0:
        raise DataError(f"{name} holds no image (x has length 0); add some")
    if labels is None:
        labels = np.full(count, -1)
    else:
        if not _are_labels(labels, count):
            raise DataError(
                f"{name} has labels of shape {labels.shape} and type {labels.dtype}; expected "
                f"{count} integers"
            )
        labels = labels.ravel()
        if labels.dtype.kind == "f":
            labels = np.where(np.isnan(labels), -1, labels)
        low, high = int(labels.min()), int(labels.max())
        if not -1 <= low <= high < _MOST_CLASSES:
            raise DataError(
                f"{name} has labels from {low} to {high}; expected 0 to {_MOST_CLASSES - 1}, "
                "or -1 for unknown"
            )
    _, channels, height, width = images.shape
    known = int((labels >= 0).sum())
    remarks = [said] if said else []
    if 0 < known < count:
        remarks.append(f"{known:,} of {count:,} samples have a label; accuracy is theirs")
    return ImageSet(
        name=name,
        role="all",
        labels=labels.astype(np.int64),
        classes=tuple(map(str, range(int(labels.max()) + 1))) if classes is None else classes,
        identity=identity,
        label_space=label_space,
        fetch=from_array(images, scale),
        shape=(channels, height, width),
        said=tuple(remarks),
    )


@dataclass(frozen=True)
class _Archive:
    """The "images" of an archive and, where an array of them fits, their "labels"; the split that
    they are, all where it is not divided; what is to be said, and how many arrays were not read.
    """

    arrays: dict[str, NDArray[Any]]
    split: str
    said: list[str]
    others: int


def _members(file: Path, path: str, role: str) -> _Archive:
    """What a NumPy archive has for `role`. Raises `DataError`."""
    save = "save it with numpy.savez(path, x=…, y=…)"
    what = f"npz:{path} cannot be read as a NumPy archive without executable content"
    with unreadable(what, save), open(file, "rb") as reader:
        archive = np.load(reader, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"npz:{path} is a single array, not an archive; {save}")
        parts = {name: _part_of(name) for name in archive.files}
        # Split → name of its images: the first in the order of _IMAGE_WORDS
        images = {
            part.split: name
            for name, part in sorted(parts.items(), key=lambda one: -one[1].rank)
            if part.kind == "images"
        }
        if not images:
            raise DataError(
                f"npz:{path} holds {', '.join(archive.files) or 'no array'}; expected one named "
                f"{' or '.join(_IMAGE_WORDS[:3])}"
            )
        divided = len(images.keys() - {""}) > 1
        wanted = _WANTED.get(role, (role,)) if divided else ("", *images)
        split = next((one for one in wanted if one in images), None)
        if split is None:
            raise DataError(
                f"npz:{path} is divided but has no images for its {role} split; add them"
            )
        beside = [name for name, part in parts.items() if not divided or part.split == split]
        named = [name for name in beside if parts[name].kind == "labels"]
        found = {"images": archive[images[split]], **{name: archive[name] for name in named}}
        # NumPy hands over the bytes of a member that does not begin like an array.
        if not all(isinstance(one, np.ndarray) for one in found.values()):
            raise DataError(f"npz:{path} holds a member that is no array; {save}")
    x = found["images"]
    fitting = [name for name in named if _are_labels(found[name], len(x) if x.ndim else 0)]
    chosen, said = fitting[0] if fitting else "", []
    if any(not np.array_equal(found[name], found[chosen]) for name in fitting[1:]):
        chosen = ""
        said.append(f"no labels: {' and '.join(fitting)} fit; keep one of them")
    elif not fitting and len(named) == 1:
        chosen = named[0]  # refused, with what is wrong with it
    elif chosen and chosen not in ("y", "labels", "targets"):
        said.append(f"labels are those of {chosen}")
    others = [name for name in beside if name not in (images[split], *fitting, chosen)]
    arrays = {"images": x, **({"labels": found[chosen]} if chosen else {})}
    return _Archive(arrays, split if divided else "all", said, len(others))


@dataclass(frozen=True)
class _Part:
    """What the name of an array in an archive says: "images" or "labels" (else ""), of which split;
    of several images the lowest `rank` is meant.
    """

    kind: str
    split: str
    rank: int = 0


def _part_of(name: str) -> _Part:
    if not re.fullmatch(r"[\w .-]+", name):
        return _Part("", "")
    spaced = re.sub(r"^([xy])(?=train|test|val)", r"\1 ", name.lower())
    words = re.findall("[a-z]+", spaced)
    split = next((_SPLITS[word] for word in words if word in _SPLITS), "")
    rest = [word for word in words if word not in _SPLITS]
    if len(rest) == 1 and rest[0] in _IMAGE_WORDS:
        return _Part("images", split, _IMAGE_WORDS.index(rest[0]))
    return _Part("labels" if _LABEL_WORDS & set(rest) else "", split)


def _are_labels(labels: NDArray[Any], count: int) -> bool:
    """Whether they are whole numbers, one for each of `count` images, NaN where unknown."""
    if labels.shape not in ((count,), (count, 1)):
        return False
    if labels.dtype.kind == "f":
        known = labels[~np.isnan(labels)]
        return len(known) < count and bool((known % 1 == 0).all())
    return labels.dtype.kind in "iub"


def _channels_first(images: NDArray[Any], name: str) -> NDArray[Any]:
    if images.ndim == 3:
        return images[:, None]
    first, last = (images.ndim == 4 and images.shape[axis] in (1, 2, 3) for axis in (1, -1))
    if first and last:
        raise DataError(
            f"{name} has images of shape {images.shape}, whose channel axis is ambiguous; "
            "make the sides larger than 3"
        )
    if not first and not last:
        raise DataError(
            f"{name} has images of shape {images.shape}; expected [N, H, W], [N, H, W, C] or "
            "[N, C, H, W] with 1 to 3 channels"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _scale(images: NDArray[Any], name: str) -> tuple[float, str]:
    """The value that is white, and what is to be said of it. Raises `DataError`."""
    kind = str(images.dtype)
    if images.dtype.kind not in "buif":
        raise DataError(f"{name} has images of type {kind}; expected uint8, or floats in [0, 1]")
    if not images.size or (images.dtype.kind == "f" and np.isnan(images).all()):
        return 1.0, ""
    return white_of(name, kind, float(np.nanmin(images)), float(np.nanmax(images)))
