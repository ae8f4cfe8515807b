"""Hashes of many files, kept between runs: a file is read again only when its size or one of its
times has changed.
"""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.files import cache_folder, sha256_of, sha256_of_file, write_text

# A file that changes twice within one tick of the file system's clock keeps its times: so recent a
# one is not remembered (git's rule).
_RACY_NS = 2_000_000_000


def content_hashes(files: Sequence[Path], root: Path) -> list[str]:
    """SHA-256 of each file, from an index in the cache folder (`AHSAR_EVAL_CACHE`, or the user's)
    where the file is as it was.

    The index of one `root` is one file, written whole. One that is damaged, or cannot be written,
    costs time and nothing else. Raises `DataError` for a file that cannot be read.
    """
    index = _index_of(root)
    known = _read(index)
    fresh: dict[str, list[object]] = {}
    hashes = []
    for file in files:
        name = name_below(file, root)
        try:
            stamp = _stamp(file)
            entry = known.get(name)
            if entry is None or entry[:3] != stamp:
                entry = [*stamp, sha256_of_file(file)]
                if time.time_ns() - max(stamp[1], stamp[2]) > _RACY_NS and _stamp(file) == stamp:
                    fresh[name] = entry
        except OSError as error:
            raise DataError(
                f"{file} cannot be read ({error.strerror or type(error).__name__}); mend its "
                "permissions or remove it"
            ) from error
        hashes.append(str(entry[3]))
    if fresh:
        with contextlib.suppress(OutputError):  # the next run reads the files again
            write_text(index, json.dumps({**_read(index), **fresh}))
    return hashes


def name_below(file: Path, root: Path) -> str:
    """The path of a file below `root`, with slashes; `Path.relative_to` takes seconds for a set of
    60,000.
    """
    return str(file).removeprefix(f"{root}{os.sep}").replace(os.sep, "/")


def _stamp(file: Path) -> list[int]:
    """Size, time of change of the content and of the file's entry (ns): the last cannot be set
    back.
    """
    facts = file.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _index_of(root: Path) -> Path:
    return cache_folder("file-hashes") / f"{sha256_of(str(root.resolve()))[:32]}.json"


def _read(index: Path) -> dict[str, list[object]]:
    try:
        held = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {name: entry for name, entry in held.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 4
        and all(type(part) is int for part in entry[:3])
        and isinstance(entry[3], str)
        and len(entry[3]) == 64
    )
