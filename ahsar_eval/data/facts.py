"""What a set says of itself, without opening it where that is known: then no torch is needed.

What a set said when it was opened is kept in the cache folder with a hash of all that it depends
on: code, installed packages, options, and the path, size, times and inode of every file and folder
that the set may read.
"""

import itertools
import os
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval import __version__
from ahsar_eval.data.catalogue import SETS, STORED_SETS, USER_SETS, open_set, open_splits, parse
from ahsar_eval.data.sets import EMBEDDED, DataOptions, embedded_file
from ahsar_eval.files import cache_folder, remember, remembered, sha256_of
from ahsar_eval.provenance import code_digest

if TYPE_CHECKING:
    from ahsar_eval.data.split import SampleSet

# A file that changes twice within one tick of the file system's clock keeps its times: of so recent
# a one nothing is kept (git's rule).
_RACY_NS = 2_000_000_000


@dataclass(frozen=True)
class Facts:
    """What a `SampleSet` says of itself, without its samples, in the types of JSON."""

    name: str
    shape: list[int] | None
    classes: list[str]
    label_space: str
    note: str
    role: str
    identity: str
    samples: int
    skipped: dict[str, int]
    said: list[str]

    @classmethod
    def of(cls, found: "SampleSet") -> "Facts":
        """Those of an open set."""
        shape = found.shape and list(found.shape)
        said = (found.label_space, found.note, found.role, found.identity, len(found))
        met = dict(sorted(found.skipped.items())), list(found.said)
        return cls(found.name, shape, list(found.classes), *said, *met)


def facts_of(text: str, role: str, options: DataOptions) -> Facts:
    """What opening the set `text` for `role` says; it is opened where that is not known.

    `text` names a shift only of a set of stored corruptions, and of several the first is described.
    Raises `DataError`.
    """
    memory = _memory(text, role, options)
    if memory and (known := remembered(*memory)):
        return Facts(**known)
    name = parse(text).name
    if name in STORED_SETS:
        found = Facts.of(open_splits(text, (3, 32, 32), options=options)[0].source)
    else:
        found = Facts.of(open_set(name, role, options))
    if memory and memory == _memory(text, role, options):
        remember(*memory, asdict(found))
    return found


def _memory(text: str, role: str, options: DataOptions) -> tuple[Path, str] | None:
    """A file for the facts of one set, and the state of all they depend on.

    None where not all is seen that opening depends on (nothing is there, or behind a link), and
    where a change from now on could leave the state as it is.
    """
    now = time.time_ns()
    try:
        places = _places(parse(text).name, options)
        seen = sorted(one for place in places for one in _below(place))
        which = sha256_of(text, role, repr(options), *map(os.path.realpath, places))
        files = [f"{path}\n{facts}".encode() for path, facts in seen]
    except (OSError, ValueError, RuntimeError):  # also a name that is no text
        return None
    if not seen or max(max(times) for _, (_, *times, _, _) in seen) >= now - _RACY_NS:
        return None
    installed = {file.name for path in sys.path for file in Path(path).glob("*.dist-info")}
    state = sha256_of(__version__, code_digest(), sys.version, *sorted(installed), which, *files)
    return cache_folder("set-facts") / which[:32], state


def _places(name: str, options: DataOptions) -> list[str]:
    """All that a set may read: its path, the files of an embedded set, or what has the names of
    `Entry.places`.
    """
    head, _, path = name.partition(":")
    if head in USER_SETS:
        return [str(Path(path).expanduser())]
    if name in EMBEDDED:
        return [str(embedded_file(file)) for file in SETS[name].places]
    root = options.root
    places = [path.partition("?")[0]] if head == "tonic" else SETS[name].places
    known = {place.lower() for place in places}
    return [str(root / found) for found in sorted(os.listdir(root)) if found.lower() in known]


def _below(place: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Path, and size, times, device and inode, of `place` and of all below it.

    Raises `ValueError` for a link to a folder below it.
    """
    held = ((folder, name) for folder, *names in os.walk(place) for name in itertools.chain(*names))
    for path in (place, *(os.path.join(*one) for one in held)):
        facts = os.stat(path)
        if path != place and stat.S_ISDIR(facts.st_mode) and os.path.islink(path):
            raise ValueError(f"{path} is a link to a folder")
        times = facts.st_mtime_ns, facts.st_ctime_ns
        yield path, (facts.st_size, *times, facts.st_dev, facts.st_ino)
