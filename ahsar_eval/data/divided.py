"""Folders of the user's own that hold a folder for each split."""

from pathlib import Path

from ahsar_eval.errors import DataError

_NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test", "val")}


def open_divided(kind: str, path: str, role: str, what: str) -> tuple[Path, Path, str]:
    """The folder of `kind`:`path`, the folder in it that holds `role`, and the role that is: itself
    and all where it is not divided.

    It is divided where it holds `train` and one of `test`, `val` and `validation`. `what` it should
    hold is named in the message. Raises `DataError` for what is no folder, and for a split that a
    divided one lacks.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(
            f"{kind}:{path} is no folder ({found} is there); give the path of a folder of {what}"
        )
    if not (
        (root / "train").is_dir()
        and any((root / name).is_dir() for name in ("test", "val", "validation"))
    ):
        return root, root, "all"
    chosen = next((root / name for name in _NAMES.get(role, ()) if (root / name).is_dir()), None)
    if chosen is None:
        raise DataError(f"{kind}:{path} is divided but has no folder for its {role} split; add one")
    return root, chosen, role
