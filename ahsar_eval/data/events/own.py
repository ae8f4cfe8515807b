"""Event recordings from the user's own disk: `events:PATH`."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ahsar_eval.data.events.files import READERS, stated_sensor
from ahsar_eval.data.events.folders import Recording, event_set
from ahsar_eval.data.events.look import look
from ahsar_eval.data.events.stream import Sensor
from ahsar_eval.data.met import files_below, is_hidden, kind_of, loose_files, not_read, subfolders
from ahsar_eval.data.sets import DataOptions
from ahsar_eval.data.split import EventSet
from ahsar_eval.data.user_sets import divided
from ahsar_eval.errors import DataError, unreadable

_DEFAULTS = DataOptions()
_SENSOR_FILE = "sensor.txt"
_TEXT = (".csv", ".txt")
# Names of texts that hold no recording, in lower case
_NOTES = re.compile(
    r"(sensor|read.?me|licen[cs]e|class(es)?|class.?names|labels?|notes?|changelog|meta(data)?|"
    r"requirements|(train|test|val).*)\.(txt|csv)"
)


def event_folder(path: str, role: str, options: DataOptions = _DEFAULTS) -> EventSet:
    """The recordings under `path`, one sub-folder per class; a flat folder gives label −1. Any kind
    of file `read_events` knows; texts where no other kind lies in the same folder.

    Where `path` itself holds folders for splits (`divided`), `role` chooses among them. The size of
    the sensor is the line WIDTHxHEIGHT of a file `sensor.txt` in `path` or in the split's folder,
    or what every file states itself, all alike: it is never guessed from the events. Raises
    `DataError` for a missing or empty folder, where the size is not known, for a recording that
    lies there in two kinds, and, when a batch reaches it, for a file that holds no sound recording.
    """
    skipped: Counter[str] = Counter()
    root, place, used_role = divided("events", path, role, "event recordings", skipped)
    with unreadable(f"events:{path} cannot be listed", "mend or remove it"):
        recordings, classes = _recordings(place, skipped)
        declared = _sensor_file(root) or _sensor_file(place)
    if declared is not None:  # it is read
        skipped.subtract({_kind_beside(skipped): 1})
    skipped = +skipped
    if not recordings:
        left = f" ({not_read(skipped)})" if skipped else ""
        raise DataError(
            f"events:{path} holds no event file ({', '.join(READERS)}), neither in sub-folders of "
            f"classes nor directly{left}; add some"
        )
    files = [one.file for one in recordings]
    _refuse_doubled(files)
    kinds = Counter(file.suffix.lower() for file in files)
    said = []
    form, unit = options.columns or "", options.time_unit
    if len(kinds) > 1:
        counts = (f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        said.append(f"files of several kinds are read: {', '.join(counts)}")
    if classes != tuple(sorted(classes)):
        said.append("the folders of classes are in natural order, 2 before 10")
    if not kinds.keys() & {*_TEXT, ".npy"}:
        form = ""
    if unit and all(READERS[kind].has_unit for kind in kinds):
        said.append(
            f"times are in us, as {', '.join(sorted(kinds))} states (not {unit}, --time-unit)"
        )
        unit = None
    elif unit:
        said.append(f"times are in {unit} where the file does not state it (--time-unit)")
    if form:
        said.append(f"columns without names are {form} (--columns)")
    found = event_set(
        recordings,
        place,
        name=f"events:{path}",
        role=used_role,
        classes=classes,
        label_space="events:" + ",".join(classes) if classes else f"events:{place.resolve()}",
        sensor=_sensor(declared, files, path),
        form=form,
        unit=unit,
    )
    return replace(found, skipped=skipped, said=(*said, *look(found)))


def _recordings(place: Path, skipped: Counter[str]) -> tuple[list[Recording], tuple[str, ...]]:
    """Files with their labels, and the classes, of a folder of classes or of a flat one."""
    met: Counter[str] = Counter()
    folders = subfolders(place, met)
    found = [
        Recording(file, label)
        for label, folder in enumerate(folders)
        for file in _files(folder, met)
    ]
    if found:
        loose_files(place, met)
        skipped += met
        return found, tuple(folder.name for folder in folders)
    flat: Counter[str] = Counter()
    found = [Recording(file, -1) for file in _files(place, flat, deep=False)]
    skipped += flat if found else met
    return found, ()


def _files(folder: Path, skipped: Counter[str], *, deep: bool = True) -> list[Path]:
    """The recordings in `folder` (and below it); what else lies there is counted in `skipped`."""
    met: Counter[str] = Counter()
    found = files_below(folder, [kind for kind in READERS if kind not in _TEXT], met, deep=deep)
    if not found:
        met.clear()
        for file in files_below(folder, _TEXT, met, deep=deep):
            if _NOTES.fullmatch(file.name.lower()):
                met[kind_of(file)] += 1
            else:
                found.append(file)
    skipped += met
    return found


def _refuse_doubled(files: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for file in files:
        other = seen.setdefault(file.with_suffix(""), file)
        if other != file:
            raise DataError(
                f"{file} and {other.name} lie side by side, perhaps one recording twice; keep one "
                "kind, or give them other names"
            )


def _sensor_file(root: Path) -> Path | None:
    held = (file for file in sorted(root.iterdir()) if file.name.lower() == _SENSOR_FILE)
    return next((file for file in held if file.is_file() and not is_hidden(file)), None)


def _kind_beside(skipped: Counter[str]) -> str:
    """The kind as which the file of the sensor was counted."""
    return next((kind for kind in (f"loose {_TEXT[1]} file",) if skipped[kind]), f"{_TEXT[1]} file")


def _sensor(declared: Path | None, files: list[Path], path: str) -> Sensor:
    """What is declared, else what every file states."""
    if declared is not None:
        data = declared.read_bytes()[:100]
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = data.decode(encoding, "replace").strip()
        match = re.fullmatch(r"([1-9][0-9]{0,4})\s*[xX×*,;\s]\s*([1-9][0-9]{0,4})", text)
        if match is None:
            raise DataError(
                f"{declared} says {text!r}; expected one line WIDTHxHEIGHT in pixels, such as "
                "346x260"
            )
        return int(match[2]), int(match[1])
    stated: list[Sensor] = []
    for file in files:
        sensor = stated_sensor(file)
        if sensor is None:
            raise DataError(
                f"{file} does not state the size of its sensor; put a file {_SENSOR_FILE} with one "
                f"line WIDTHxHEIGHT (such as 346x260) into {path}"
            )
        stated.append(sensor)
        if sensor != stated[0]:
            (height, width), (first_height, first_width) = sensor, stated[0]
            raise DataError(
                f"{file} states a sensor of {width}x{height} and {files[0]} one of "
                f"{first_width}x{first_height}; expected one size; keep recordings of one sensor, "
                f"or declare a size that holds all in {_SENSOR_FILE}"
            )
    return stated[0]
