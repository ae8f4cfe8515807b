"""A named set below the data root: which files it needs, how it is read and downloaded, and what is
said where they are missing or damaged.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.data.entry import DataOptions, Entry, default_root
from ahsar_eval.errors import AhsarError, DataError

if TYPE_CHECKING:
    from ahsar_eval.data.images.content import Content
    from ahsar_eval.data.split import ImageSet


@dataclass(frozen=True)
class Stored:
    """A set on disk.

    `needs(role)` gives the ways to have a split, each as the names of files and folders below the
    root with spaces between them. `read(root, role, files)` reads the files of the first way that
    is complete, `download(root, role)` gets it.
    """

    note: str
    files: str  # what lies below the root, for people
    needs: Callable[[str], tuple[str, ...]]
    read: "Callable[[Path, str, list[Path]], Content]"
    label_space: str
    roles: tuple[str, ...] = ("train", "test")
    download: Callable[[Path, str], None] | None = None
    augment: str = ""  # `Entry.augment`

    def look(self, root: Path, role: str) -> tuple[list[Path], list[str]]:
        """The files of a split in the way that lacks least, and the names of those it lacks."""
        ways = [way.split() for way in self.needs(role)]
        lacking = [[name for name in way if not (root / name).exists()] for way in ways]
        least = min(lacking, key=len)
        return [root / name for name in ways[lacking.index(least)]], least

    def entry(self, name: str) -> Entry:
        """The catalogue's."""
        needed = [way.split() for role in self.roles for way in self.needs(role)]
        return Entry(
            open=lambda role, options: open_stored(name, self, role, options),
            note=self.note,
            is_there=lambda root: not self.look(root, self.roles[-1])[1],
            roles=self.roles,
            can_download=self.download is not None,
            files=self.files,
            places=tuple({file.partition("/")[0] for way in needed for file in way}),
            augment=self.augment,
        )


def open_stored(name: str, stored: Stored, role: str, options: DataOptions) -> "ImageSet":
    """The split `role` of a set below `options.root`, downloaded first where it is missing and that
    is allowed.

    Raises `DataError` for a split that the set does not have, and where it is missing, damaged or
    cannot be downloaded.
    """
    from ahsar_eval.data.images.content import image_set

    if role not in stored.roles:
        held_out = role == "validation" and "train" in stored.roles
        hint = "; a validation split is held out of train" if held_out else ""
        raise DataError(
            f"{name} has no split {role!r}; known are {' and '.join(stored.roles)}{hint}"
        )
    root = Path(options.root).expanduser()
    files, absent = stored.look(root, role)
    if absent and options.download and stored.download is not None:
        try:
            root.mkdir(parents=True, exist_ok=True)
            stored.download(root, role)
        # no connection, a mirror that is gone, a full disk, an archive with another checksum
        except Exception as error:
            raise DataError(
                f"{name} could not be downloaded to {root} ({_brief(error)}); check the connection "
                f"and the disk, or place there: {stored.files}"
            ) from error
        files, absent = stored.look(root, role)
    if absent:
        advice = f"place there: {stored.files}"
        if stored.download is not None:
            place = "" if root == default_root() else f" --data-root {shlex.quote(str(root))}"
            advice = f"run `ahsar-eval data prepare {name} --download{place}`, or {advice}"
        raise DataError(f"{name} is not complete in {root} ({absent[0]} is missing); {advice}")
    try:
        content = stored.read(root, role, files)
    except AhsarError:
        raise
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name} is read with the package {error.name}, which is not installed; run pip "
            f"install {error.name}"
        ) from error
    # torchvision, SciPy and h5py report damaged files by many kinds of errors, assertions among
    # them
    except Exception as error:
        raise DataError(
            f"{name} in {root} is damaged ({_brief(error)}); remove its files and place them "
            f"again: {stored.files}"
        ) from error
    return image_set(name, role, content, label_space=stored.label_space, note=stored.note)


def _brief(error: Exception) -> str:
    """Kind and first line of an error, without a full stop, for the middle of a sentence."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first.rstrip('.')[:160]}".removesuffix(": ")


# Downloads by torchvision: what it gets, from where, and with which checksum


def by_method(name: str, root: Path, **attributes: Any) -> None:
    """`download()` of `torchvision.datasets.name` without its constructor, which would also load
    the set (CIFAR by executing pickles); `attributes` are what the method reads from the object.
    """
    from torchvision import datasets

    kind = getattr(datasets, name)
    made = kind.__new__(kind)
    vars(made).update(root=str(root), **attributes)
    made.download()


def by_constructor(name: str, root: Path, **arguments: Any) -> None:
    """`torchvision.datasets.name(root, download=True, …)`, for those whose constructor executes
    nothing.
    """
    from torchvision import datasets

    getattr(datasets, name)(str(root), download=True, **arguments)
