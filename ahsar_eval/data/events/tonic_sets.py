"""Sets of tonic: any class of `tonic.datasets` by name (`tonic:NMNIST`), its files below the data
root, and objects of these classes.

tonic's class reads the files; it can neither download nor unpack anything unless that is asked.
tonic 1.7 reads its sets through NumPy without pickles, SciPy, h5py and its own readers: nothing in
a file is executed.
"""

import ast
import contextlib
import inspect
import io
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import tonic
from numpy.typing import NDArray
from tonic.datasets.hsd import HSD

from ahsar_eval.data.events.files import read_events
from ahsar_eval.data.events.folders import (
    BY_FILE_NAME,
    Recording,
    content_hashes,
    divided,
    name_below,
)
from ahsar_eval.data.events.stream import Events, checked
from ahsar_eval.data.given import class_names, whole_of
from ahsar_eval.data.sets import TONIC, DataOptions, classes_of
from ahsar_eval.data.split import EventSet, Indices, noted, subset
from ahsar_eval.errors import DataError, close_to, unreadable
from ahsar_eval.files import sha256_of

_DEFAULTS = DataOptions()
_OURS = {"self", "save_to", "transform", "target_transform", "transforms", "train", "split"}
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}  # SSC's
_ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz")
_MOST_SAMPLES = 10_000_000
_FETCHES = re.compile("download|extract_archive|_extract_|_copy_")


class _AbsentError(Exception):
    """A class of tonic wants to download or unpack something."""


def open_tonic(text: str, role: str, options: DataOptions = _DEFAULTS) -> EventSet:
    """The split `role` of a class of `tonic.datasets`, `text` its name and settings of its own, as
    in `NMNIST?first_saccade_only=true`.

    A class with its own splits gives these; any other is divided by file name. Raises `DataError`
    for an unknown class or setting, for files that are not there, and where samples are no events
    with one class each.
    """
    name = f"tonic:{text}"
    kind, settings = _class_of(name)
    known = roles_of(text)
    if role not in known:
        raise DataError(f"{name} has no {role} split; known are {', '.join(known)}")
    chosen: dict[str, Any] = {}
    if "train" in _parameters(kind):
        chosen = {"train": role == "train"}
    elif "split" in _parameters(kind):
        chosen = {"split": _SPLITS[role]}
    counted: dict[str, str] = {}
    dataset = _constructed(name, kind, options, {**chosen, **settings}, counted)
    if _are_texts(dataset.data):  # in an order that no file system decides
        order = sorted(range(len(dataset)), key=lambda i: dataset.data[i].split(os.sep))
        for key in ("data", "targets"):
            setattr(dataset, key, [getattr(dataset, key)[i] for i in order])
    found = tonic_set(dataset, name, role if chosen else "all")
    if not chosen:
        found = _part(found, role, [Path(one) for one in dataset.data])
    said = [f"{key} = {value}" for key, value in settings.items()]
    remarks = "; ".join([*said, *counted.values()])
    return noted(found, remarks) if remarks else found


def roles_of(text: str) -> tuple[str, ...]:
    """The splits of such a set. Raises `DataError` for a class that is none."""
    parameters = _parameters(_class_of(f"tonic:{text}")[0])
    if "split" in parameters:
        return tuple(_SPLITS)
    return ("train", "test") if "train" in parameters else ("train", "test", "all")


def _parameters(kind: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters  # type: ignore[misc]


def _class_of(name: str) -> tuple[Any, dict[str, Any]]:
    """The class and the settings that a name says. Raises `DataError`."""
    text, _, query = name.removeprefix("tonic:").partition("?")
    known = tonic.datasets.__all__
    if text not in known:
        usable = ", ".join(one for one in known if one not in TONIC["without_classes"])
        raise DataError(
            f"tonic.datasets {tonic.__version__} has no class {text!r}{close_to(text, known)}; "
            f"known are {usable}"
        )
    if text in TONIC["without_classes"]:
        raise DataError(
            f"tonic:{text} holds {TONIC['without_classes'][text]}; expected events and one class "
            "a sample"
        )
    kind, settings = getattr(tonic.datasets, text), {**TONIC["settings"].get(text, {})}
    own = {key: one for key, one in _parameters(kind).items() if key not in _OURS}
    for key, value in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if key not in own:
            why = "not known, or not for a name to say" if key in _OURS else "not known"
            raise DataError(
                f"setting {key!r} of {name} is {why}{close_to(key, own)}; known are "
                f"{', '.join(own) or 'none'}"
            )
        settings[key] = _value(value)
    if lacking := [key for key, one in own.items() if one.default is one.empty]:
        lacking = [key for key in lacking if key not in settings]
    if lacking:
        raise DataError(f"{name} needs {lacking[0]}; say it, as in tonic:{text}?{lacking[0]}=…")
    return kind, settings


def _value(text: str) -> Any:
    """The number or truth value that a text says; else the text."""
    with contextlib.suppress(ValueError, SyntaxError):
        return ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    return text


def _constructed(
    name: str, kind: Any, options: DataOptions, said: dict[str, Any], counted: dict[str, str]
) -> Any:
    """An object of a class of tonic on files below the data root. How many files of a kind are
    there, where tonic expects more, is kept in `counted`.
    """
    made = kind if options.download else _offline(kind, counted)
    dataset = made.__new__(made)
    folder = options.root / kind.__name__
    try:
        fetching = contextlib.nullcontext() if options.download else _nothing_fetched(kind)
        with (
            fetching,
            contextlib.redirect_stdout(sys.stderr if options.download else io.StringIO()),
        ):
            made.__init__(dataset, save_to=str(options.root), **said)
        count = len(dataset)
    except (_AbsentError, FileNotFoundError):
        count = None
    # h5py, and asserts of tonic; DVSLip ends the process where its archive is not there
    except (Exception, SystemExit) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{name} in {folder} cannot be read by tonic ({reason[:160].rstrip('.')}); check the "
            "setting, or copy its files again"
        ) from error
    folder = Path(getattr(dataset, "location_on_system", folder))
    if count == 0:
        raise DataError(f"{name} in {folder} holds no sample; copy its files again")
    if count is not None:
        return dataset
    places = (getattr(dataset, key, "") for key in ("data_filename", "folder_name", "images_file"))
    place = next((one for one in places if isinstance(one, str) and one), "its files")
    archive = getattr(dataset, "filename", "")
    settings = "".join(f", {key}={value!r}" for key, value in said.items())
    raise DataError(
        f"{name} is not in {folder}: expected {place} there"
        f"{f' (from {archive})' * (archive not in ('', place))}; place it there, or let tonic "
        f"download it, with --download or in Python: "
        f"tonic.datasets.{kind.__name__}({str(options.root)!r}{settings})"
    )


def _offline(kind: Any, counted: dict[str, str]) -> Any:
    """The class with nothing that fetches or unpacks files; it takes the unpacked files without
    their archive, and a part of them.
    """

    def fetches(self: Any, *_: Any) -> None:
        raise _AbsentError

    def some(self: Any, n_files: int, file_type: str) -> bool:
        folder = Path(self.location_on_system, self.folder_name)
        held = sum(1 for _ in folder.glob(f"**/*{file_type}"))
        if held < n_files:
            counted[file_type] = f"{held:,} of at least {n_files:,} {file_type} files are there"
        return held > 0

    own: dict[str, Any] = {name: fetches for name in dir(kind) if _FETCHES.search(name)}
    own |= {"_is_file_present": lambda self: True}
    own |= {"_folder_contains_at_least_n_files_of_type": some}
    return type(kind.__name__, (kind,), own)


@contextlib.contextmanager
def _nothing_fetched(kind: Any) -> Iterator[None]:
    """Functions of the class's module that fetch or unpack files do not within the block."""
    module = sys.modules[kind.__module__]
    names = [name for name in vars(module) if _FETCHES.search(name)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(module, name, side_effect=_AbsentError))
        yield


def is_as_on_disk(given: Any) -> bool:
    """Whether the samples of an object of a class of tonic are what its files say: no transform
    changes them.
    """
    transforms = ("transform", "target_transform", "transforms")
    return not any(getattr(given, name, None) for name in transforms)


def tonic_set(dataset: Any, name: str, role: str) -> EventSet:
    """An object of a class of `tonic.datasets` as a set, in its own order.

    The identity is a hash of the content of its files, of its labels and settings and of tonic's
    version. Raises `DataError` where a sample is no event recording with one class.
    """
    kind, count = type(dataset).__name__, len(dataset)
    sensor = sensor_of(dataset, name)

    def sample(i: int) -> Any:
        if kind == "ASLDVS":  # SciPy ends the process at some damage that our reader refuses
            read_events(Path(dataset.data[int(i)]), (sensor[1], sensor[0]), "asl-dvs")
        with unreadable(f"sample {i} of {name} cannot be read by tonic", "copy its files again"):
            try:
                return dataset[int(i)]
            except ModuleNotFoundError as error:
                raise DataError(
                    f"{name} is read with the package {error.name}, which is not installed; run "
                    f"pip install {error.name}"
                ) from error

    if count > _MOST_SAMPLES:
        raise DataError(f"{name} states {count:,} samples; are its files damaged? Copy them again")
    first = sample(0)
    words = [*map(_word, first if isinstance(first, tuple) else (first,))]
    if words != ["events", "class"]:
        raise DataError(
            f"{name} gives ({', '.join(words)}) as its first sample; expected events and one class"
        )
    with unreadable(f"the labels of {name} cannot be read by tonic", "copy its files again"):
        labels, classes = _labelled(_targets(dataset, sample), dataset, name)
    classes = classes_of(space := TONIC["label_spaces"].get(kind, f"tonic:{kind}")) or classes
    if (most := int(labels.max())) >= len(classes):
        raise DataError(f"{name} has the label {most} and {len(classes)} classes; mend its files")
    location = Path(dataset.location_on_system)
    files = _files(dataset, location)
    # What it was made with, as far as it decides events: paths and addresses do not.
    said = {
        key: value
        for key, value in vars(dataset).items()
        if isinstance(value, (bool, int, float, str, tuple)) and not re.search(r"[/\\]", str(value))
    }
    content = [name_below(file, location) for file in files] + content_hashes(files, location)
    width, height, polarities = sensor
    return EventSet(
        name=name,
        role=role,
        labels=labels,
        classes=classes,
        identity=sha256_of(
            *("tonic", tonic.__version__, kind, str(sensor), str(sorted(said.items()))),
            labels.tobytes(),
            *classes,
            *content,
        ),
        label_space=space,
        fetch=lambda indices: [
            events_of(sample(i)[0], sensor, f"sample {i} of {name}") for i in indices
        ],
        shape=(polarities, height, width),
        note=f"{count:,} recordings of tonic.datasets.{kind} (tonic {tonic.__version__})",
    )


def _word(part: Any) -> str:
    """What a part of a sample is."""
    if isinstance(part, np.ndarray) and part.dtype.names:
        return "events"
    return "class" if isinstance(part, (int, np.integer, str)) else type(part).__name__


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(one, str) for one in value)


def sensor_of(dataset: Any, name: str) -> tuple[int, int, int]:
    """Width, height and polarities that a data set, or the one that it is a part of, states, or is
    known to have. Raises `DataError`.
    """
    dataset = whole_of(dataset)
    size = getattr(dataset, "sensor_size", None) or TONIC["sensors"].get(type(dataset).__name__)
    if size is None:
        raise DataError(
            f"{name} has no sensor_size; expected width, height and polarities, as tonic"
        )
    width, height, polarities = (*map(int, size), 2)[:3]
    if min(width, height) < 1 or polarities not in (1, 2):
        raise DataError(
            f"{name} has the sensor_size {size}; expected width, height, and 1 or 2 polarities"
        )
    return width, height, polarities


def events_of(record: NDArray[Any], sensor: tuple[int, int, int], name: str) -> Events:
    """Events of a structured array of tonic, in time order: t in µs and x, and y and p where the
    sensor has several rows or polarities. Raises `DataError`.
    """
    width, height, polarities = sensor
    held = record.dtype.names or ()
    wanted = ["t", "x", *["y"] * (height > 1), *["p"] * (polarities > 1)]
    if lacking := [field for field in wanted if field not in held]:
        raise DataError(
            f"{name} holds {', '.join(held) or 'no fields'} and lacks {lacking[0]}; expected "
            f"{', '.join(wanted)}"
        )
    record = record.reshape(-1)  # a column of ASL-DVS
    record = record[np.argsort(record["t"], kind="stable")]
    nothing = np.zeros(len(record), dtype=np.uint8)
    columns = [record[field] if field in held else nothing for field in "txyp"]
    found = checked(*columns, height=height, width=width, name=name)
    return found if polarities == 2 else replace(found, p=nothing, polarities=1)


def _targets(dataset: Any, sample: Callable[[int], Any]) -> Sequence[Any]:
    """What the samples are of, read without them where the class of tonic keeps it."""
    if isinstance(dataset, HSD):
        with h5py.File(Path(dataset.location_on_system, dataset.data_filename)) as file:
            return list(file["labels"][()])
    known = (getattr(dataset, key, ()) for key in ("targets", "label_data"))
    found = next((list(one) for one in known if len(one) == len(dataset)), None)
    return [sample(i)[1] for i in range(len(dataset))] if found is None else found


def _labelled(targets: Sequence[Any], dataset: Any, name: str) -> tuple[Indices, tuple[str, ...]]:
    """Labels, and the names of classes in their order: names as targets are sorted."""
    if isinstance(targets[0], str):
        classes = tuple(sorted(set(targets)))
        places = {one: place for place, one in enumerate(classes)}
        return np.array([places[one] for one in targets], dtype=np.int64), classes
    labels = np.array([int(one) for one in targets], dtype=np.int64)
    if labels.min() < 0:
        raise DataError(f"{name} has the label {labels.min()}; expected class numbers from 0")
    return labels, class_names(dataset, labels) or tuple(map(str, range(int(labels.max()) + 1)))


def _files(dataset: Any, location: Path) -> list[Path]:
    """The files that a data set says it reads, else all below its folder; no archives."""
    held = [one for value in vars(dataset).values() for one in _texts(value)]
    files = [*dict.fromkeys(location / one for one in held)]
    files = [file for file in files if file.suffix not in _ARCHIVES and file.is_file()]
    if not files:
        below = location / getattr(dataset, "folder_name", "")
        files = sorted(one for one in below.rglob("*") if one.is_file())
    return files


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and "\0" not in one]


def _part(found: EventSet, role: str, files: Sequence[Path]) -> EventSet:
    """The part of a set that tonic does not divide: by file name, as our own sets."""
    if role == "all":
        return found
    place = {file: i for i, file in enumerate(files)}
    recordings = [Recording(file, int(found.labels[i])) for file, i in place.items()]
    members = np.sort([place[one.file] for one in divided(recordings, role)])
    part = replace(subset(found, members, role), origin="", division=BY_FILE_NAME)
    return noted(part, f"split {BY_FILE_NAME}")
