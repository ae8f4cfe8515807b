"""What a source on disk holds: which files are read and in which order, and how many are not and
why. One rule for pictures and for events.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

# Names of operating systems and tools, beside those that begin with a dot; in lower case.
_SYSTEM = {
    *("__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found"),
    *("@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
_MOST_KINDS = 6


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is a system's or a tool's own, and never data."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM


def natural(name: str) -> tuple[str | int, ...]:
    """Sort key of a name with numbers by value, so that 9 comes before 10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts))


def file_order(file: Path) -> tuple[tuple[str | int, ...], str]:
    """Sort key of files: natural, capitals beside small letters; equal names by the whole path."""
    return natural(file.name.lower()), file.as_posix()


def subfolders(folder: Path, skipped: Counter[str] | None = None) -> list[Path]:
    """The folders directly in `folder`, links to folders too, in natural order. Hidden ones, and
    links to where they lie, are counted in `skipped`.
    """
    skipped, found = Counter() if skipped is None else skipped, []
    for path in folder.iterdir():
        if not _holds(path, "is_dir"):
            continue
        if is_hidden(path):
            skipped["hidden folder"] += 1
        elif path.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
            skipped["link to a folder above"] += 1
        else:
            found.append(path)
    return sorted(found, key=lambda path: (natural(path.name), path.name))


def files_below(
    folder: Path,
    suffixes: Sequence[str],
    skipped: Counter[str] | None = None,
    *,
    deep: bool = True,
) -> list[Path]:
    """Files of these suffixes in `folder` (and below it), in natural order. What else lies there is
    counted in `skipped`, by what it is; links to folders are not followed.
    """
    skipped, found = Counter() if skipped is None else skipped, []
    for path in folder.iterdir():
        directory = _holds(path, "is_dir")
        if is_hidden(path):
            skipped["hidden folder" if directory else "hidden file"] += 1
        elif directory and deep and not path.is_symlink():
            found += files_below(path, suffixes, skipped)
        elif directory:
            skipped["linked folder" if path.is_symlink() else "folder"] += 1
        elif not _holds(path, "is_file"):
            skipped["broken link" if path.is_symlink() else "special file"] += 1
        elif path.suffix.lower() in suffixes:
            found.append(path)
        else:
            skipped[kind_of(path)] += 1
    return sorted(found, key=file_order)


def loose_files(folder: Path, skipped: Counter[str]) -> None:
    """Count in `skipped` the files that lie beside the folders of classes."""
    for path in folder.iterdir():
        if not _holds(path, "is_dir"):
            skipped["hidden file" if is_hidden(path) else f"loose {kind_of(path)}"] += 1


def kind_of(file: Path) -> str:
    """'.gif file', or 'other file' where the suffix says nothing of the kind."""
    suffix = file.suffix.lower()
    return f"{suffix} file" if re.fullmatch(r"\.(?![0-9]+$)[a-z0-9]{1,8}", suffix) else "other file"


def _holds(path: Path, what: str) -> bool:
    """`path.is_dir()` or `path.is_file()`; False, too, for a link that leads to itself."""
    try:
        return bool(getattr(path, what)())
    except (OSError, RuntimeError):
        return False


def not_read(skipped: Mapping[str, int]) -> str:
    """'75 .gif files and 1 hidden folder were not read'; '' where all was."""
    counts = sorted((-count, kind) for kind, count in skipped.items() if count)
    told = [(-count, kind) for count, kind in counts[:_MOST_KINDS]]
    total = sum(skipped.values())
    if rest := total - sum(count for count, _ in told):
        told.append((rest, "file of other kinds"))
    words = [f"{count:,} {_plural(kind) if count > 1 else kind}" for count, kind in told]
    listed = " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
    return f"{listed} {'was' if total == 1 else 'were'} not read" if listed else ""


def _plural(kind: str) -> str:
    head, of, rest = re.split(r"( of | to |$)", kind, maxsplit=1)
    return f"{head}s{of}{rest}"
