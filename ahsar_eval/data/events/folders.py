"""Event sets that lie as files below a folder: named sets, found below the data root and divided
officially, by file name or by a seed; and any recordings as an `EventSet` that reads them when they
are asked for.

Hashes of the files are kept between runs: a file is read again only when its size or one of its
times has changed.
"""

import contextlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.files import read_events
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.met import file_order, files_below, loose_files, subfolders
from ahsar_eval.data.randomness import generator
from ahsar_eval.data.sets import DataOptions, Layout
from ahsar_eval.data.split import EventSet, Indices
from ahsar_eval.errors import DataError, OutputError, unreadable
from ahsar_eval.files import cache_folder, sha256_of, sha256_of_file, write_text

# A file that changes twice within one tick of the file system's clock keeps its times: so recent a
# one is not remembered (git's rule).
_RACY_NS = 2_000_000_000
_ROLES = ("train", "test", "all")
_DEPTH = 2  # folders that unpacking an archive tends to put around a set
BY_FILE_NAME = (
    "by file name: within each class, in natural order (9 before 10), the first tenth is test"
)
# SpikingJelly keeps archives, extracted files, frames and this side by side.
_PREFERRED = "events_np"


@dataclass(frozen=True)
class Recording:
    """A file and its class, −1 where unknown."""

    file: Path
    label: int


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
    expected = f"expected {known.files}, from {known.source}"
    split, used_role = "official", role
    places = {part: _division(base, known, part) for part in known.divisions}
    skipped: Counter[str] = Counter()
    if any(places.values()):
        recordings: list[Recording] = []
        for part in [role] if role != "all" else ["train", "test"]:
            place = places[part]
            if place is None:
                raise DataError(f"{name} in {base} has no folder for its {part} split; {expected}")
            found, classes = _recordings(name, place, known, skipped)
            recordings += found
    else:
        recordings, classes = _recordings(name, base, known, skipped)
        if known.divisions:
            split, used_role = "none: the folder is not divided", "all"
        else:
            seed = options.split_seed if known.random else None
            split = (
                BY_FILE_NAME
                if seed is None
                else f"at random (seed {seed}): a tenth of each class is test"
            )
            recordings = divided(recordings, role, seed)
    if not recordings:
        raise DataError(f"{name} in {base} has no recording for its {role} split; {expected}")
    # The official number of recordings, where it is known and the part is an official one.
    whole = sum(known.counts.values()) if used_role == "all" else known.counts.get(used_role, 0)
    there = f"; {len(recordings):,} of {whole:,} recordings are there"
    found_set = event_set(
        recordings,
        base,
        name=name,
        role=used_role,
        classes=classes,
        label_space=known.label_space,
        sensor=known.sensor,
        form=known.form or "",
        note=f"split {split}{there if len(recordings) < whole else ''}",
        split=split,
    )
    return replace(found_set, skipped=skipped)


def divided(recordings: Sequence[Recording], role: str, seed: int | None = None) -> list[Recording]:
    """The recordings of `role` (train, test, or all), by label and then in natural order of the
    file names.

    The first tenth of each class, rounded up, is test: 100 of 1,000. With a `seed` the tenth is
    drawn instead, from a generator of the seed and the label alone. Neither depends on the order of
    directories.
    """
    kept: list[Recording] = []
    ordered = sorted(recordings, key=lambda one: (one.label, file_order(one.file)))
    for label, grouped in itertools.groupby(ordered, key=lambda one: one.label):
        members = list(grouped)
        order = np.arange(len(members))
        if seed is not None:
            order = generator(f"events split|{seed}|{label}").permutation(len(members))
        tenth = -(-len(members) // 10)
        chosen = {"test": order[:tenth], "train": order[tenth:], "all": order}[role]
        kept += [members[place] for place in np.sort(chosen)]
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


def _recordings(
    name: str, base: Path, known: Layout, skipped: Counter[str]
) -> tuple[list[Recording], tuple[str, ...]]:
    """The labelled files below `base`: those of the first level whose folders are classes, else
    those that are named by class. What else lies among them is counted in `skipped`.
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
                for file in files_below(by_class[cls], known.suffixes, skipped)
            ]
            others = len(subfolders(only, skipped)) - len(by_class)
            skipped["folder of no class"] += others
            loose_files(only, skipped)
            break
    else:
        if known.labels_are_names:
            # The order is that of the whole path, as tonic walks them.
            files = sorted(files_below(base, known.suffixes, skipped), key=Path.as_posix)
            listed = [
                Recording(file, int(file.stem))
                for file in files
                if file.stem.isdecimal() and file.stem in known.spellings
            ]
            skipped["file of no class"] += len(files) - len(listed)
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
    found: dict[str, Path] = {}
    for folder in subfolders(place):
        cls = known.spellings.get(folder.name.lower()) if known.classes else folder.name
        if cls is not None and files_below(folder, known.suffixes, deep=False):
            if cls in found:
                raise DataError(
                    f"{place} holds the class {cls} twice, in {found[cls].name} and in "
                    f"{folder.name}; keep one of them"
                )
            found[cls] = folder
    return found


def event_set(
    recordings: Sequence[Recording],
    root: Path,
    *,
    name: str,
    role: str,
    classes: tuple[str, ...],
    label_space: str,
    sensor: Sequence[int],
    form: str = "",
    unit: str | None = None,
    note: str = "",
    split: str = "",
) -> EventSet:
    """The set of `recordings`, in their order; `sensor` is (height, width), `form` and `unit` are
    those of `read_events`.

    The identity is a hash of the names below `root`, the labels and the content, of the sensor, of
    `form`, `unit` and of the rule of the `split`; where `root` lies does not count. Raises
    `DataError` for a file that cannot be read, now or when it is fetched.
    """
    files = [recording.file for recording in recordings]
    content = [
        part
        for one, digest in zip(recordings, content_hashes(files, root), strict=True)
        for part in (name_below(one.file, root), str(one.label), digest)
    ]
    height, width = sensor
    convention = f"{form}, times in {unit}" if unit else form

    def fetch(indices: Indices) -> list[Events]:
        return [read_events(files[index], (height, width), form, unit) for index in indices]

    return EventSet(
        name=name,
        role=role,
        labels=np.array([recording.label for recording in recordings], dtype=np.int64),
        classes=classes,
        identity=sha256_of(
            "events", f"{height}x{width}", convention, split, str(len(classes)), *classes, *content
        ),
        label_space=label_space,
        fetch=fetch,
        shape=(2, height, width),
        note=note,
        division=split,
    )


def content_hashes(files: Sequence[Path], root: Path) -> list[str]:
    """SHA-256 of each file, from an index in the cache folder (`AHSAR_EVAL_CACHE`, or the user's)
    where the file is as it was.

    The index of one `root` is one file, written whole. One that is damaged, or cannot be written,
    costs time and nothing else. Raises `DataError` for a file that cannot be read.
    """
    index = cache_folder("file-hashes") / f"{sha256_of(str(root.resolve()))[:32]}.json"
    known = _read(index)
    fresh: dict[str, str] = {}
    hashes = []
    for file in files:
        name = name_below(file, root)
        with unreadable(f"{file} cannot be read", "mend its permissions or remove it"):
            stamp, newest = _stamp(file)
            entry = str(known.get(name))
            if not entry.startswith(stamp):
                entry = stamp + sha256_of_file(file)
                if time.time_ns() - newest > _RACY_NS and _stamp(file)[0] == stamp:
                    fresh[name] = entry
        hashes.append(entry.removeprefix(stamp))
    if fresh:
        with contextlib.suppress(OutputError):  # the next run reads the files again
            write_text(index, json.dumps({**_read(index), **fresh}))
    return hashes


def name_below(file: Path, root: Path) -> str:
    """The path of a file below `root`, with slashes; `Path.relative_to` takes seconds for a set of
    60,000.
    """
    return str(file).removeprefix(f"{root}{os.sep}").replace(os.sep, "/")


def _stamp(file: Path) -> tuple[str, int]:
    """Size, time of change of the content and of the file's entry (ns) in words, and the later of
    the two: the last cannot be set back.
    """
    facts = file.stat()
    changes = facts.st_mtime_ns, facts.st_ctime_ns
    return f"{facts.st_size} bytes, changed {changes}: ", max(changes)


def _read(index: Path) -> dict[str, object]:
    try:
        held = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
