"""An event set by name, found below the data root, divided officially, by file name or
by a seed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.events.named import BY_NAME, Layout
from ahsar_eval.data.events.recordings import (
    Recording,
    event_set,
    files_below,
    holds_files,
    natural,
    subfolders,
)
from ahsar_eval.data.randomness import generator
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import DataError

_ROLES = ("train", "test", "all")
_DEPTH = 2  # folders that unpacking an archive tends to put around a set
_PREFERRED = (
    "events_np"  # SpikingJelly keeps archives, extracted files, frames and this side by side
)


def open_named(name: str, known: Layout, role: str, options: DataOptions) -> EventSet:
    """The set `name` below `options.root`, or its part for `role`: train, test or all. Raises
    `DataError`.

    A set with an official division is read from its folders; one without is divided by file name,
    or by `options.split_seed` where it is so known. A set that is not divided on disk though it
    should be (ten clips of DVS128 Gesture) is given whole, its role "all".
    """
    if role not in _ROLES:
        raise DataError(f"{name} has no {role} split; known are {', '.join(_ROLES)}")
    base = known.base(options.root)
    if base is None:
        raise DataError(
            f"{name} is not in {options.root}, where no folder is named "
            f"{' or '.join(known.folders)}; place {known.files} there, from {known.source}"
        )
    split, used_role = "official", role
    places = {part: _division(base, known, part) for part in known.divisions}
    if any(places.values()):
        recordings: list[Recording] = []
        for part in [role] if role != "all" else ["train", "test"]:
            place = places[part]
            if place is None:
                raise DataError(
                    f"{name} in {base} has no folder for its {part} split; expected {known.files}, "
                    f"from {known.source}"
                )
            found, classes = _recordings(name, place, known)
            recordings += found
    else:
        recordings, classes = _recordings(name, base, known)
        if known.divisions:
            split, used_role = "none: the folder is not divided", "all"
        elif known.random:
            seed = options.split_seed
            split = f"at random (seed {seed}): a tenth of each class is test"
            recordings = divided(recordings, role, seed)
        else:
            split, recordings = BY_NAME, divided(recordings, role)
    if not recordings:
        raise DataError(
            f"{name} in {base} has no recording for its {role} split; expected {known.files}, from "
            f"{known.source}"
        )
    # The official number of recordings, where it is known and the part is an official one.
    whole = sum(known.counts.values()) if used_role == "all" else known.counts.get(used_role, 0)
    short = len(recordings) < whole
    return event_set(
        recordings,
        base,
        name=name,
        role=used_role,
        classes=classes,
        label_space=known.label_space or name,
        sensor=known.sensor,
        form=known.form,
        note=f"split {split}"
        + (f"; {len(recordings):,} of {whole:,} recordings are there" if short else ""),
        split=split,
    )


def divided(recordings: Sequence[Recording], role: str, seed: int | None = None) -> list[Recording]:
    """The recordings of `role` (train, test, or all), by label and then in natural order of the
    file names.

    The first tenth of each class, rounded up, is test: 100 of 1,000. With a `seed` the tenth is
    drawn instead, from a generator of the seed and the label alone. Neither depends on the order of
    directories.
    """
    kept = []
    for label in sorted({recording.label for recording in recordings}):
        members = sorted(
            (recording for recording in recordings if recording.label == label),
            key=lambda recording: natural(recording.file),
        )
        order = np.arange(len(members))
        if seed is not None:
            order = generator(f"events split|{seed}|{label}").permutation(len(members))
        test = set(order[: -(-len(members) // 10)].tolist())
        kept += [
            member
            for place, member in enumerate(members)
            if role == "all" or (place in test) == (role == "test")
        ]
    return kept


def _levels(base: Path) -> Iterator[list[Path]]:
    """The folders at and below `base`, level by level, each sorted."""
    level = [base]
    for _ in range(_DEPTH + 1):
        yield level
        level = [path for folder in level for path in subfolders(folder)]


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
    for level in _levels(base):
        found = [path for path in level if path != base and path.name.lower() in names]
        if place := _one_of(found, known, f"the {role} split"):
            return place
    return None


def _recordings(name: str, base: Path, known: Layout) -> tuple[list[Recording], tuple[str, ...]]:
    """The labelled files below `base`: those of the first level whose folders are classes, else
    those that are named by class.
    """
    classes, listed, place = known.classes, [], base
    for level in _levels(base):
        by_place = {folder: found for folder in level if (found := _class_folders(folder, known))}
        if (only := _one_of(list(by_place), known, name)) is not None:
            place, by_class = only, by_place[only]
            classes = classes or tuple(sorted(by_class))
            listed = [
                Recording(file, label)
                for label, cls in enumerate(classes)
                if cls in by_class
                for file in files_below(by_class[cls], known.suffixes)
            ]
            break
    else:
        if known.label_is_name:
            # The files' names are their labels: their order is that of the whole path, as tonic
            # walks them.
            listed = [
                Recording(file, classes.index(known.spellings[file.stem]))
                for file in sorted(files_below(base, known.suffixes), key=Path.as_posix)
                if file.stem in known.spellings
            ]
        if not listed:
            raise DataError(
                f"{name} in {base} holds no recording; expected {known.files}, from {known.source}"
            )
    kinds = sorted({recording.file.suffix.lower() for recording in listed})
    if len(kinds) > 1:
        raise DataError(
            f"{name} in {place} holds files of {' and '.join(kinds)}, perhaps each recording "
            "twice; keep one kind"
        )
    return listed, classes


def _class_folders(place: Path, known: Layout) -> dict[str, Path]:
    """Folders directly in `place` that are a class (of any name where the classes are not fixed)
    and directly hold recordings.
    """
    names = {cls.lower(): cls for cls in known.classes}
    names |= {spelling.lower(): cls for spelling, cls in known.spellings.items()}
    found: dict[str, Path] = {}
    for folder in subfolders(place):
        cls = names.get(folder.name.lower()) if known.classes else folder.name
        if cls is not None and holds_files(folder, known.suffixes):
            if cls in found:
                raise DataError(
                    f"{place} holds the class {cls} twice, in {found[cls].name} and in "
                    f"{folder.name}; keep one of them"
                )
            found[cls] = folder
    return found
