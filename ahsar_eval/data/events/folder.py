"""Event recordings from the user's own disk: `events:PATH`."""

import re
from pathlib import Path

from ahsar_eval.data.divided import open_divided
from ahsar_eval.data.events.decoded import Sensor
from ahsar_eval.data.events.files import READERS, stated_sensor
from ahsar_eval.data.events.recordings import Recording, event_set, files_below
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import DataError

SENSOR_FILE = "sensor.txt"


def event_folder(path: str, role: str) -> EventSet:
    """The recordings under `path`, one sub-folder per class; a flat folder gives label −1. Any kind
    of file `read_events` knows.

    Where `path` itself holds `train` and `test` (or `val`) folders, `role` chooses among them. The
    size of the sensor is the line WIDTHxHEIGHT of a file `sensor.txt` in `path`, or what every file
    states itself (.aedat4, .dat, .h5 and .aedat of a known camera), all alike: it is never guessed
    from the events. Raises `DataError` for a missing or empty folder, where the size is not known,
    and, when a batch reaches it, for a file that holds no sound recording.
    """
    root, place, used_role = open_divided("events", path, role, "event recordings")
    recordings, classes = _listing(place)
    if not recordings:
        raise DataError(
            f"events:{path} holds no event file ({', '.join(READERS)}), neither in sub-folders of "
            "classes nor directly; add some"
        )
    return event_set(
        recordings,
        place,
        name=f"events:{path}",
        role=used_role,
        classes=classes,
        label_space="events:" + ",".join(classes) if classes else f"events:{place.resolve()}",
        sensor=_declared(root) or _stated_by_all(recordings, path),
    )


def _listing(place: Path) -> tuple[list[Recording], tuple[str, ...]]:
    suffixes = tuple(READERS)
    classes = sorted(
        folder.name
        for folder in place.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
    )
    listed = [
        Recording(file, label)
        for label, name in enumerate(classes)
        for file in files_below(place / name, suffixes)
    ]
    if listed:
        return listed, tuple(classes)
    return [Recording(file, -1) for file in files_below(place, suffixes, deep=False)], ()


def _declared(root: Path) -> Sensor | None:
    file = root / SENSOR_FILE
    if not file.is_file():
        return None
    text = file.read_bytes()[:100].decode("utf-8", "replace").strip()
    match = re.fullmatch(r"([1-9][0-9]{0,4})\s*[x×]\s*([1-9][0-9]{0,4})", text)
    if match is None:
        raise DataError(
            f"{file} says {text!r}; expected one line WIDTHxHEIGHT in pixels, such as 346x260"
        )
    return int(match[2]), int(match[1])


def _stated_by_all(recordings: list[Recording], path: str) -> Sensor:
    first: tuple[Sensor, Path] | None = None
    for recording in recordings:
        stated = stated_sensor(recording.file)
        if stated is None:
            raise DataError(
                f"{recording.file} does not state the size of its sensor; put a file {SENSOR_FILE} "
                "with one line WIDTHxHEIGHT "
                f"(such as 346x260) into {path}"
            )
        first = first or (stated, recording.file)
        if stated != first[0]:
            (height, width), other = first
            raise DataError(
                f"{recording.file} states a sensor of {stated[1]}x{stated[0]} and {other} one of "
                f"{width}x{height}; expected one size; "
                f"keep recordings of one sensor, or declare a size that holds all in {SENSOR_FILE}"
            )
    assert first is not None
    return first[0]
