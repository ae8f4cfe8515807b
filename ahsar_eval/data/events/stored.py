"""An event set by name, found below the data root, divided officially, by file name or
by a seed."""

from collections.abc import Iterator
from pathlib import Path

from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.events.by_name import divided, random_rule
from ahsar_eval.data.events.layouts import BY_NAME, LAYOUTS, Layout
from ahsar_eval.data.events.recordings import Recording, event_set, files_below, holds_files
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import DataError

_ROLES = ("train", "test", "all")
_DEPTH = 2  # folders that unpacking an archive tends to put around a set
_PREFERRED = (
    "events_np"  # SpikingJelly keeps archives, extracted files, frames and this side by side
)


def open_named(
    name: str, role: str, options: DataOptions, *, layout: str | None = None, random: bool = False
) -> EventSet:
    """The set `name` below `options.root`, or its part for `role`: train, test or all. Raises
    `DataError`.

    A set with an official division is read from its folders; one without is divided by file name,
    or by `options.split_seed` with `random`. A set that is not divided on disk though it should be
    (ten clips of DVS128 Gesture) is given whole, its role "all".
    """
    known = LAYOUTS[layout or name]
    if role not in _ROLES:
        raise DataError(f"{name} has no {role} split; known are {', '.join(_ROLES)}")
    base = _base(name, known, options.root)
    split, used_role = "official", role
    roles = [role] if role != "all" else ["train", "test"]
    places = {part: _division(base, known, part) for part in known.divisions}
    if not any(places.values()):
        recordings, classes = _recordings(name, base, known)
        if known.divisions:
            split, used_role = "none: the folder is not divided", "all"
        else:
            split = random_rule(options.split_seed) if random else BY_NAME
            recordings = divided(recordings, role, options.split_seed if random else None)
    else:
        missing = next((part for part in roles if places[part] is None), None)
        if missing is not None:
            raise DataError(
                f"{name} in {base} has no folder for its {missing} split; expected {known.files}, "
                f"from {known.source}"
            )
        found = [
            _recordings(name, place, known) for part in roles if (place := places[part]) is not None
        ]
        recordings, classes = [recording for held, _ in found for recording in held], found[0][1]
    if not recordings:
        raise DataError(
            f"{name} in {base} has no recording for its {role} split; expected {known.files}, from "
            f"{known.source}"
        )
    return event_set(
        recordings,
        base,
        name=name,
        role=used_role,
        classes=classes,
        label_space=known.label_space,
        sensor=known.sensor,
        form=known.form,
        note=f"split {split}{_partial(known, used_role, len(recordings))}",
        split=split,
    )


def _base(name: str, known: Layout, root: Path) -> Path:
    spelled = [folder.lower() for folder in known.folders]
    held = (
        {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
        if root.is_dir()
        else {}
    )
    base = next((held[folder] for folder in spelled if folder in held), None)
    if base is None:
        raise DataError(
            f"{name} is not in {root}, where no folder is named {' or '.join(known.folders)}; "
            f"place {known.files} there, from {known.source}"
        )
    return base


def _folders(base: Path, depth: int = _DEPTH) -> Iterator[list[Path]]:
    """The folders at and below `base`, level by level, each sorted."""
    level = [base]
    for _ in range(depth + 1):
        yield level
        level = [
            path
            for folder in level
            for path in sorted(folder.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ]


def _one_of(found: list[Path], known: Layout, name: str) -> Path | None:
    """The only one, or the only one that is preferred: below events_np, or named as the set is
    (N-Caltech101's boxes lie beside it).
    """
    preferred = [path for path in found if _PREFERRED in path.parts or path.name in known.folders]
    found = preferred if len(preferred) == 1 else found
    if len(found) > 1:
        raise DataError(f"{name} lies both in {found[0]} and in {found[1]}; keep one of them")
    return found[0] if found else None


def _division(base: Path, known: Layout, role: str) -> Path | None:
    names = {name.lower() for name in known.divisions[role]}
    for level in _folders(base):
        if place := _one_of(
            [path for path in level if path != base and path.name.lower() in names],
            known,
            f"the {role} split",
        ):
            return place
    return None


def _recordings(name: str, base: Path, known: Layout) -> tuple[list[Recording], tuple[str, ...]]:
    """The labelled files below `base`: those of the first level whose folders are classes, else
    those that are named by class.
    """
    for level in _folders(base):
        places = {folder: found for folder in level if (found := _class_folders(folder, known))}
        if place := _one_of(list(places), known, name):
            by_class = places[place]
            classes = known.classes or tuple(sorted(by_class))
            listed = [
                Recording(file, label)
                for label, cls in enumerate(classes)
                if cls in by_class
                for file in files_below(by_class[cls], known.suffixes)
            ]
            return _of_one_kind(name, place, listed), classes
    if known.label_is_name:
        labels = {spelling: known.classes.index(cls) for spelling, cls in known.spellings.items()}
        listed = [
            Recording(file, labels[file.stem])
            for file in files_below(base, known.suffixes)
            if file.stem in labels
        ]
        if listed:
            # The files' names are their labels: their order is that of the whole path, as tonic
            # walks them.
            return _of_one_kind(
                name, base, sorted(listed, key=lambda recording: recording.file.as_posix())
            ), known.classes
    raise DataError(
        f"{name} in {base} holds no recording; expected {known.files}, from {known.source}"
    )


def _class_folders(place: Path, known: Layout) -> dict[str, Path]:
    """Folders directly in `place` that are a class (of any name where the classes are not fixed)
    and directly hold recordings.
    """
    names = {cls.lower(): cls for cls in known.classes} | {
        spelling.lower(): cls for spelling, cls in known.spellings.items()
    }
    found: dict[str, Path] = {}
    for folder in sorted(
        path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")
    ):
        cls = names.get(folder.name.lower()) if known.classes else folder.name
        if cls is not None and holds_files(folder, known.suffixes):
            if cls in found:
                raise DataError(
                    f"{place} holds the class {cls} twice, in {found[cls].name} and in "
                    f"{folder.name}; keep one of them"
                )
            found[cls] = folder
    return found


def _of_one_kind(name: str, place: Path, listed: list[Recording]) -> list[Recording]:
    kinds = sorted({recording.file.suffix.lower() for recording in listed})
    if len(kinds) > 1:
        raise DataError(
            f"{name} in {place} holds files of {' and '.join(kinds)}, perhaps each recording "
            "twice; keep one kind"
        )
    return listed


def _partial(known: Layout, role: str, found: int) -> str:
    """Whether all recordings are there, where the official number is known and the part is an
    official one.
    """
    whole = known.counts.get(role) or (sum(known.counts.values()) if role == "all" else None)
    return f"; {found:,} of {whole:,} recordings are there" if whole and found < whole else ""
