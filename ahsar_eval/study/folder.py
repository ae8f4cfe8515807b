"""A study's folder: study.toml, and for each cell its checkpoint, its history, and a result or a
failure; who works on what; and results as tables read them, checked.

Who works on a cell holds the lock of its file `running`, which the system takes away from a process
that is gone. Result files are written whole, so a folder can be read at any moment.
"""

import contextlib
import json
import math
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.files import check_folder_writable, locked, table_beside, write_text, written_whole
from ahsar_eval.study.grid import Cell, read_study
from ahsar_eval.study.workers import Ended
from ahsar_eval.training.request import check_method

FORMAT = "ahsar-eval study cell"
VERSION = 1
STUDY, CELLS = "study.toml", "cells"
CHECKPOINT, SOURCE, RUNNING = "checkpoint.pt", "source.pt", "running"
RESULT, FAILURE = "result.json", "failure.json"


class StudyFolder:
    """The folder `root` of a study; `held` are the locks of the cells that this process works on,
    by key.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.held: dict[str, IO[str]] = {}

    def cell(self, key: str) -> Path:
        """Folder of a cell; it need not exist."""
        return self.root / CELLS / key

    def begin(self, text: str, keys: Collection[str]) -> None:
        """Make the folder for the study `text` whose cells are `keys`.

        Raises `UsageError` where it holds results of other cells, which a table would mix with
        these, and `OutputError` where it cannot be written.
        """
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"--out {str(self.root)!r} is a file; name a folder")
        check_folder_writable(self.root)
        others = [key for key in self.done() if key not in keys]
        if others:
            raise UsageError(
                f"{self.root} holds {len(others)} results of cells that this study does not have, "
                f"{others[0]} among them: the file, the "
                "device, or a version of ahsar-eval, torch, spikingjelly or numpy has changed; "
                f"name another --out, or remove these from {self.root / CELLS}"
            )
        write_text(self.root / STUDY, text)

    def done(self) -> list[str]:
        """Keys of the cells that have a result, in order."""
        return sorted(file.parent.name for file in (self.root / CELLS).glob(f"*/{RESULT}"))

    def is_done(self, key: str) -> bool:
        """Whether a cell has a result; a damaged one is none."""
        return _read_json(self.cell(key) / RESULT).get("format") == FORMAT

    def failure(self, key: str, *, since: float = 0.0) -> str | None:
        """Why a cell failed, in one sentence; None where it did not, or not `since` then (seconds
        since the epoch).
        """
        file = self.cell(key) / FAILURE
        found = _read_json(file)
        return str(found.get("error")) if found and file.stat().st_mtime >= since else None

    def keep(self, cell: Cell, ended: Ended) -> None:
        """Write a cell's files and then its result, which says that all is there, or else why it
        failed. Raises `OutputError`.
        """
        place = self.cell(cell.key)
        for name, content in ended.files.items():
            with written_whole(place / name) as temporary:
                temporary.write_bytes(content)
        file = {"format": FORMAT, "version": VERSION, "key": cell.key}
        asked = {"request": cell.request.to_dict(), "threads": cell.threads}
        found = ended.failure if ended.result is None else ended.result
        text = json.dumps({**file, **asked, **found}, indent=1, allow_nan=False)
        write_text(place / (FAILURE if ended.result is None else RESULT), f"{text}\n")
        if ended.result is not None:
            (place / FAILURE).unlink(missing_ok=True)

    # Who works on what

    def take(self, key: str, *, failed_since: float = math.inf) -> bool:
        """Begin to work on a cell, unless another process does, or it failed there `failed_since`
        then (seconds since the epoch); an earlier failure is forgotten, and what a killed process
        left half written goes. Raises `OSError`.
        """
        file = self.cell(key) / RUNNING
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = open(file, "a+")  # noqa: SIM115  # held until it is released
        if not _taken(lock, file):
            lock.close()
            return False
        self.held[key] = lock
        # Who fails says so before it lets go.
        if self.failure(key, since=failed_since) is not None:
            self.release(key)
            return False
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        for leftover in [self.cell(key) / FAILURE, *self.cell(key).glob(".*.tmp*")]:
            leftover.unlink(missing_ok=True)
        return True

    def release(self, key: str) -> None:
        """Stop working on a cell."""
        if (lock := self.held.pop(key, None)) is not None:
            (self.cell(key) / RUNNING).unlink(missing_ok=True)
            lock.close()

    def holder(self, key: str) -> str | None:
        """Who works on a cell, as 'process 12 on host'; None where nobody does, or whoever did is
        gone.
        """
        file = self.cell(key) / RUNNING
        with contextlib.suppress(OSError), open(file, "r+") as lock:
            return None if _taken(lock, file) else lock.read()
        return None


def _taken(lock: IO[str], file: Path) -> bool:
    """Whether the lock of an open `file` is now ours: nobody else's, and not that of a file which
    was taken away meanwhile.
    """
    with contextlib.suppress(FileNotFoundError):
        return locked(lock) and os.path.samestat(os.fstat(lock.fileno()), file.stat())
    return False


def _read_json(file: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is not there, damaged or of another cell."""
    with contextlib.suppress(DataError):
        if isinstance(found := _json(file), dict):
            return found
    return {}


# Results as they are read


_FILES = table_beside(__file__, "cells.toml")


@dataclass(frozen=True)
class CellResult:
    """What comparisons read of one training: mappings as they stand in the file, checked."""

    key: str
    request: Mapping[str, Any]
    threads: int
    modality: str
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    id: Mapping[str, Any]
    ood: Sequence[Mapping[str, Any]]
    controller: Mapping[str, Any] | None
    provenance: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The method's name, as in the request."""
        return str(self.request["method"])

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.request["seed"])


@dataclass(frozen=True)
class StudyCells:
    """What a folder of a study holds: cells done; the files of those that failed, with key,
    request, error and kind; and, in words, the cells of its study.toml without either.
    """

    done: Sequence[CellResult]
    failed: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()


def load_cells(folder: str | Path) -> StudyCells:
    """Read every cell of a study's folder, in the order of their keys. A cell with a result is
    done, whatever failed before.

    Raises `DataError` for a folder without cells and for a file that cannot be used, `UsageError`
    for a study.toml that is none.
    """
    cells = Path(folder) / CELLS
    if not cells.is_dir():
        raise DataError(
            f"{str(folder)!r} holds no study: there is no folder 'cells' in it; name the folder "
            "that study run wrote to"
        )
    done, failed = [], []
    for cell in sorted(cells.iterdir()):
        if (file := cell / RESULT).is_file():
            done.append(read_result(_json(file), str(file)))
        elif (file := cell / FAILURE).is_file():
            failed.append(_checked(_json(file), "failure", str(file)))
    there = {_asked(one.request) for one in done} | {_asked(one["request"]) for one in failed}
    file = Path(folder) / STUDY
    if not file.is_file():
        return StudyCells(done, failed)
    # Compared by requests, for keys change with versions and options.
    asked = {_asked(cell.request.to_dict()): str(cell) for cell in read_study(file).cells()}
    # Others failed under an earlier form of the file.
    failed = [one for one in failed if _asked(one["request"]) in asked]
    return StudyCells(done, failed, [name for one, name in asked.items() if one not in there])


def _asked(request: Mapping[str, Any]) -> str:
    return json.dumps({**request, "device": ""}, sort_keys=True)


def _json(file: Path) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(file)!r} cannot be read as JSON ({error}); remove it and run the study again"
        ) from error
    if isinstance(content, dict) and content.get("key") != file.parent.name:
        raise DataError(
            f"{str(file)!r} is of cell {content.get('key')}, not of its folder; remove that folder "
            "and run the study again"
        )
    return content


def read_result(content: Any, source: str) -> CellResult:
    """A result from the content of its file. Raises `DataError`, which names `source`, for a field
    that is missing or impossible.
    """
    known = {"controller": None, "provenance": {}, **_checked(content, "result", source)}
    return CellResult(**{entry.name: known[entry.name] for entry in fields(CellResult)})


def _checked(content: Any, kind: str, source: str) -> Any:
    """The content of a file that is a "result" or a "failure". Raises `DataError`, which names
    `source`.
    """
    try:
        _check(content, _FILES[kind])
        if kind == "result":
            _check_training(content)
        return content
    except ValueError as error:
        raise DataError(f"{source!r} {error}; remove it and run the study again") from error


def _check(value: Any, expected: Any, where: str = "") -> None:
    """That a value at `where` in a file is of the kind that is expected, or each of its values of
    its own. Raises `ValueError`.
    """
    names: dict[type, str] = {dict: "names with values", list: "a list"}
    kind = names.get(type(expected), expected)
    number = isinstance(value, (int, float)) and math.isfinite(value)
    kinds = {
        "a text": isinstance(value, str),
        "a whole number": isinstance(value, int),
        "a finite number": number,
        "a fraction from 0 to 1": number and 0 <= value <= 1,
        "a list": isinstance(value, list),
        "names with values": isinstance(value, Mapping),
    }
    listed = str(value) in kind.split(" or ")
    if isinstance(value, bool) or not kinds.get(kind, listed):
        raise ValueError(f"has {value!r} for {where or 'its content'}: expected {kind}")
    if isinstance(expected, list):
        for i, one in enumerate(value):
            _check(one, expected[0], f"{where}[{i}]")
    elif isinstance(expected, dict):
        for name, inner in expected.items():
            known = name.removesuffix("?")
            for one in value if name == "*" else [known]:
                if known == name or value.get(one) is not None:
                    _check(value.get(one), inner, f"{where}.{one}".removeprefix("."))


def _check_training(content: Mapping[str, Any]) -> None:
    """What no field says alone: a known method, steps that grow, the best of the epochs."""
    try:
        check_method(content["request"]["method"])
    except UsageError as error:
        said = str(error).replace("; ", ": ")
        raise ValueError(f"has an impossible request: {said}") from error
    steps = [0, *(row["steps"] for row in content["history"])]
    if steps != sorted(set(steps)):
        raise ValueError(f"has {steps[1:]} steps at the ends of its epochs: expected them to grow")
    best, last = content["best_epoch"], len(content["history"])
    if not 1 <= best <= last:
        raise ValueError(f"has best_epoch {best} of {last} epochs")
