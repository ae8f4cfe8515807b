"""What is known of a set before it is opened: entries of the catalogue, those of `sets.toml`, where
data lie, and how an image set on disk is found, downloaded and refused.
"""

import functools
import importlib
import importlib.util
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from ahsar_eval.errors import AhsarError, DataError, UsageError
from ahsar_eval.files import shipped, table_beside
from ahsar_eval.options import described

if TYPE_CHECKING:
    from ahsar_eval.data.split import ImageSet, SampleSet


# Units of the times of events: microseconds, as a fraction.
TIME_UNITS = {"s": (1_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


def is_order(text: str) -> bool:
    """Whether `text` is an order of columns of events: each of t, x, y and p, - for any other."""
    return sorted(text.replace("-", "")) == ["p", "t", "x", "y"]


def default_root() -> Path:
    """Where sets lie: `AHSAR_EVAL_DATA`, else `data` in the user's cache folder."""
    if chosen := os.environ.get("AHSAR_EVAL_DATA"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("ahsar-eval")) / "data"


def sklearn_file(name: str) -> Path:
    """A file below scikit-learn's `datasets` folder, found without importing it. Raises `DataError`
    where scikit-learn or the file is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is not None and spec.origin:
        path = Path(spec.origin).parent / "datasets" / name
        if path.is_file():
            return path
    raise DataError(
        f"scikit-learn's file {name} is missing; install scikit-learn, which carries the "
        "embedded sets"
    )


def embedded_file(place: str) -> Path:
    """A file that an embedded set is made of, as `sets.toml` names it: `sets/NAME`, which ships
    with the package, or one below scikit-learn's `datasets` folder. Raises `DataError` where it is
    missing.
    """
    kind, _, name = place.partition("/")
    if kind != "sets":
        return sklearn_file(place)
    file = Path(name)
    held = shipped(kind, file.suffix)
    if file.stem not in held:
        raise DataError(f"{name}, which ships with ahsar-eval, is missing; install it again")
    return held[file.stem]


def function_at(place: str) -> Callable[..., Any]:
    """The function of this folder at `module.name`. Tables name functions so, because a table is
    read where torch and NumPy are not imported.
    """
    module, _, name = place.rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found


@dataclass(frozen=True)
@described(__file__, "options.toml")
class DataOptions:
    """What a user can say about data beside a name: where sets lie, whether a missing one may be
    downloaded, seed of random splits.
    """

    root: Path = field(default_factory=default_root)
    download: bool = False
    split_seed: int = 0
    frost: Path | None = None
    background: str = "white"
    limit: int | None = None
    labels_match: bool = False
    time_unit: str | None = None
    columns: str | None = None
    # Sets by name and role that were opened with these options: opening hashes every file, and one
    # command names a set several times.
    opened: "dict[tuple[str, str], SampleSet]" = field(
        default_factory=dict, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser())

    def check(self) -> None:
        """Raises `UsageError` for a root that is no folder and values that an option cannot have,
        `DataError` for photographs of frost that cannot be used.
        """
        if not self.root.is_dir() and self.root != default_root() and not self.download:
            raise UsageError(
                f"--data-root {str(self.root)!r} is no folder; give the folder that holds the sets"
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit is {self.limit}; expected at least 1 sample")
        if self.split_seed < 0:
            raise UsageError(f"--split-seed is {self.split_seed}; expected a whole number from 0")
        if self.background != "white":
            from PIL import ImageColor

            try:
                ImageColor.getrgb(self.background)
            except ValueError:
                raise UsageError(
                    f"--background is {self.background!r}; expected a colour, such as white, black "
                    "or #808080"
                ) from None
        if self.time_unit not in (None, *TIME_UNITS):
            raise UsageError(
                f"--time-unit is {self.time_unit!r}; expected one of {', '.join(TIME_UNITS)}"
            )
        if self.columns is not None and not is_order(self.columns):
            raise UsageError(
                f"--columns is {self.columns!r}; expected each of t, x, y and p once, in the order "
                "of the columns, and - for each other column, such as txyp or -xypt"
            )
        if self.frost is not None:
            from ahsar_eval.data.corruptions.weather import photographs_identity

            photographs_identity(self.frost)  # refused now, not when the first crop is taken


@dataclass(frozen=True)
class Entry:
    """A set of the catalogue. `open(role, options)` gives it at its own size, or raises `DataError`
    that says what to place where.
    """

    open: "Callable[[str, DataOptions], SampleSet]"
    note: str  # one line: what it is
    # Whether its test files lie below the root, without reading them.
    is_there: Callable[[Path], bool] = lambda root: True
    modality: str = "image"  # image or events
    # Its splits; without a validation split, a hold-out of train is taken.
    roles: Sequence[str] = ("train", "test")
    can_download: bool = False
    # What lies below the data root, for `data info` and the message of a missing set.
    files: str = ""
    # Every name directly below the data root that opening it may look at, in any case of letters;
    # of an embedded set, for `embedded_file`.
    places: Sequence[str] = ()
    # The set that some test samples of which this one is.
    part_of: str = ""
    # The transforms that training on it calls for, of `AUGMENTATIONS`; "" is none.
    augment: str = ""


@dataclass(frozen=True)
class Stored:
    """An image set below the data root, a row of `sets.toml`.

    `needs[role]` are the ways to have a split, each as the names of files and folders with spaces
    between them; a file marked (.gz) may lie compressed. The function at `read` takes those of the
    first way that is complete, as a `Part`, and `arguments`. `download` is the class of torchvision
    whose constructor, or whose method, gets the set, with the arguments of the one or the
    attributes that the other looks at: the word ROLE stands for the split, TRAINING for whether it
    is train.
    """

    note: str
    files: str  # what lies below the root, for people
    label_space: str
    needs: Mapping[str, list[str]]
    read: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    download: Mapping[str, Any] = field(default_factory=dict)
    augment: str = ""
    corrupted: bool = False  # holds nothing but shifted images

    def look(self, root: Path, role: str) -> tuple[list[Path], list[str]]:
        """The files of a split in the way that lacks least, and the names of those it lacks."""

        def found(name: str) -> Path:
            plain, packed = root / name.removesuffix("(.gz)"), root / name.replace("(.gz)", ".gz")
            return packed if packed.exists() and not plain.exists() else plain

        ways = [[found(name) for name in way.split()] for way in self.needs[role]]
        files = min(ways, key=lambda way: sum(not file.exists() for file in way))
        return files, [file.relative_to(root).as_posix() for file in files if not file.exists()]

    def get(self, root: Path, role: str) -> None:
        """Download the set by torchvision, which knows from where and with which checksum."""
        from torchvision import datasets

        words: dict[Any, Any] = {"ROLE": role, "TRAINING": role == "train"}
        said = {key: words.get(value, value) for key, value in self.download.items()}
        if "class" in said:
            getattr(datasets, said.pop("class"))(str(root), download=True, **said)
            return
        # Without the constructor, which would also load the set (CIFAR by executing pickles).
        kind = getattr(datasets, said.pop("method_of"))
        made = kind.__new__(kind)
        vars(made).update(root=str(root / said.pop("below", "")), **said)
        made.download()


@dataclass(frozen=True)
class Layout:
    """An event set below the data root, a row of `sets.toml`. Names of folders are compared without
    regard to case.

    `folders` are synonyms of the set's own folder; `divisions` those of each role's (none: the set
    has no official division, and is divided by file name, or at `random` by the split seed);
    `other_names` of a class's folder, to its class. Where `labels_are_names`, a folder or file
    named by a number is of that class. `counts` are the official numbers of recordings.
    """

    note: str
    folders: list[str]
    suffixes: list[str]
    sensor: list[int]  # height, width
    files: str
    source: str
    label_space: str
    counts: Mapping[str, int] = field(default_factory=dict)
    divisions: Mapping[str, list[str]] = field(default_factory=dict)
    random: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)
    form: str | None = None
    labels_are_names: bool = False
    augment: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the labels; none: the folders that are there, sorted."""
        return classes_of(self.label_space)

    @functools.cached_property
    def spellings(self) -> dict[str, str]:
        """The class of each name, in small letters, that a folder or file of it may have."""
        names = {cls.lower(): cls for cls in self.classes} | dict(self.other_names)
        numbers = {str(label): cls for label, cls in enumerate(self.classes)}
        return names | numbers if self.labels_are_names else names

    def base(self, root: Path) -> Path | None:
        """The set's own folder below `root`, None where there is none."""
        held = sorted(root.iterdir()) if root.is_dir() else []
        found = {path.name.lower(): path for path in held if path.is_dir()}
        return next((found[key] for name in self.folders if (key := name.lower()) in found), None)


_TABLE = table_beside(__file__, "sets.toml")


def classes_of(label_space: str) -> tuple[str, ...]:
    """Names of the classes in the order of their labels, where `sets.toml` has them."""
    return tuple(_TABLE["classes"].get(label_space, ()))


MD5: dict[str, str] = _TABLE["md5"]
TONIC: dict[str, Any] = _TABLE["tonic"]
STORED = {name: Stored(**row) for name, row in _TABLE["image"].items()}
LAYOUTS = {
    name: Layout(**{**_TABLE["event"].get(row.pop("like", ""), {}), **row})
    for name, row in _TABLE["event"].items()
}


def _embedded(*, opened_by: str, **said: Any) -> Entry:
    return Entry(lambda role, options: function_at(opened_by)(role), **said)


def _on_disk(name: str, known: Stored) -> Entry:
    needed = [file for ways in known.needs.values() for way in ways for file in way.split()]
    return Entry(
        lambda role, options: open_stored(name, known, role, options),
        known.note,
        is_there=lambda root: not known.look(root, [*known.needs][-1])[1],
        roles=tuple(known.needs),
        can_download=bool(known.download),
        files=known.files,
        places=list({file.partition("/")[0].replace("(.gz)", "") for file in needed}),
        augment=known.augment,
    )


def _of_events(name: str, known: Layout) -> Entry:
    return Entry(
        lambda role, options: function_at("events.folders.open_named")(name, known, role, options),
        known.note,
        is_there=lambda root: known.base(root) is not None,
        modality="events",
        files=known.files,
        places=known.folders,
        augment=known.augment,
    )


EMBEDDED = {name: _embedded(**row) for name, row in _TABLE["embedded"].items()}
ENTRIES = (
    EMBEDDED
    | {name: _on_disk(name, known) for name, known in STORED.items()}
    | {name: _of_events(name, known) for name, known in LAYOUTS.items()}
)


def open_stored(name: str, stored: Stored, role: str, options: DataOptions) -> "ImageSet":
    """The split `role` of a set below `options.root`, downloaded first where it is missing and that
    is allowed.

    Raises `DataError` for a split that the set does not have, and where it is missing, damaged or
    cannot be downloaded.
    """
    from ahsar_eval.data.images import Part

    if stored.corrupted:
        raise DataError(
            f"{name} holds corrupted images only; name a corruption and its severity, as in "
            f"{name}:fog:3"
        )
    if role not in stored.needs:
        held_out = role == "validation" and "train" in stored.needs
        hint = "; a validation split is held out of train" if held_out else ""
        raise DataError(
            f"{name} has no split {role!r}; known are {' and '.join(stored.needs)}{hint}"
        )
    root = options.root
    files, absent = stored.look(root, role)
    if absent and options.download and stored.download:
        try:
            root.mkdir(parents=True, exist_ok=True)
            stored.get(root, role)
        # no connection, a mirror that is gone, a full disk, an archive with another checksum
        except Exception as error:
            raise DataError(
                f"{name} could not be downloaded to {root} ({_brief(error)}); check the connection "
                f"and the disk, or place there: {stored.files}"
            ) from error
        files, absent = stored.look(root, role)
    if absent:
        advice = f"place there: {stored.files}"
        if stored.download:
            place = "" if root == default_root() else f" --data-root {shlex.quote(str(root))}"
            advice = f"run `ahsar-eval data prepare {name} --download{place}`, or {advice}"
        raise DataError(f"{name} is not complete in {root} ({absent[0]} is missing); {advice}")
    try:
        part = Part(name, stored, role, root, files)
        found: ImageSet = function_at(stored.read)(part, **stored.arguments)
        return found
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


def _brief(error: Exception) -> str:
    """Kind and first line of an error, without a full stop, for the middle of a sentence."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first.rstrip('.')[:160]}".removesuffix(": ")
