"""A study's folder: study.toml, and for each cell its checkpoint, its history, and a result or a
failure; and who works on what.

A cell in work holds a file `running` that names host and process. It is taken over when that
process is gone, or on another host when nobody touched it for a quarter of an hour. Result files
are written whole, so a folder can be read at any moment.
"""

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.files import check_folder_writable, write_text, written_whole
from ahsar_eval.study.cell_results import FORMAT, VERSION
from ahsar_eval.study.grid import Cell
from ahsar_eval.study.workers import Failure

STUDY, CELLS = "study.toml", "cells"
CHECKPOINT, SOURCE, RUNNING = "checkpoint.pt", "source.pt", "running"
RESULT, FAILURE = "result.json", "failure.json"
_STALE_AFTER_SECONDS = 900  # on another host, whose processes cannot be seen


class StudyFolder:
    """The folder `root` of a study; `held` are the keys of the cells that this process works on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.held: set[str] = set()

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
                "name another --out, or remove these from "
                f"{self.root / CELLS}"
            )
        write_text(self.root / STUDY, text)

    def done(self) -> list[str]:
        """Keys of the cells that have a result, in order."""
        return sorted(file.parent.name for file in (self.root / CELLS).glob(f"*/{RESULT}"))

    def result(self, key: str) -> dict[str, Any] | None:
        """The result of a cell; None where there is none, or a damaged one."""
        found = _read_json(self.cell(key) / RESULT)
        return found if (found.get("format"), found.get("key")) == (FORMAT, key) else None

    def failure(self, key: str, *, since: float = 0.0) -> str | None:
        """Why a cell failed, in one sentence; None where it did not, or not `since` then (seconds
        since the epoch).
        """
        file = self.cell(key) / FAILURE
        found = _read_json(file)
        return str(found.get("error")) if found and _written(file) >= since else None

    def checkpoint(self, key: str) -> bytes | None:
        """The file of a trained cell; None where it cannot be read."""
        with contextlib.suppress(OSError):
            return (self.cell(key) / CHECKPOINT).read_bytes()
        return None

    def keep_result(self, key: str, result: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write a cell's files and then its result, which says that all is there. Raises
        `OutputError`.
        """
        for name, content in files.items():
            with written_whole(self.cell(key) / name) as temporary:
                temporary.write_bytes(content)
        _write_json(self.cell(key) / RESULT, result)
        (self.cell(key) / FAILURE).unlink(missing_ok=True)

    def keep_failure(self, cell: Cell, failure: Failure) -> None:
        """Write why a cell failed. Raises `OutputError`."""
        file = {"format": FORMAT, "version": VERSION, "key": cell.key}
        asked = {"request": cell.request.to_dict(), "threads": cell.threads}
        said = {name: text for name, text in vars(failure).items() if text}
        _write_json(self.cell(cell.key) / FAILURE, {**file, **asked, **said})

    # Who works on what

    def take(self, key: str, *, failed_since: float = math.inf) -> bool:
        """Begin to work on a cell, unless another process does, or it failed there `failed_since`
        then (seconds since the epoch); an earlier failure is forgotten, and what a killed process
        left half written goes. Raises `OutputError`.
        """
        with self._one_at_a_time():
            # Who fails says so before it lets go.
            if self.holder(key) is not None or self.failure(key, since=failed_since) is not None:
                return False
            _write_json(
                self.cell(key) / RUNNING,
                {"host": socket.gethostname(), "pid": os.getpid(), "begun": _begun(os.getpid())},
            )
        self.held.add(key)
        for leftover in [self.cell(key) / FAILURE, *self.cell(key).glob(".*.tmp*")]:
            leftover.unlink(missing_ok=True)
        return True

    def release(self, key: str) -> None:
        """Stop working on a cell."""
        self.held.discard(key)
        (self.cell(key) / RUNNING).unlink(missing_ok=True)

    def touch(self) -> None:
        """Say that this process still works on what it holds."""
        for key in self.held:
            with contextlib.suppress(OSError):
                os.utime(self.cell(key) / RUNNING)

    def holder(self, key: str) -> str | None:
        """Who works on a cell, as 'process 12 on host'; None where nobody does, or whoever did is
        gone.
        """
        file = self.cell(key) / RUNNING
        found = _read_json(file)
        if not found:
            return None
        host, pid = found.get("host"), found.get("pid")
        if host == socket.gethostname() and os.name == "posix":
            at_work = isinstance(pid, int) and _is_alive(pid) and found.get("begun") == _begun(pid)
        else:
            at_work = time.time() - _written(file) < _STALE_AFTER_SECONDS
        return f"process {pid} on {host}" if at_work else None

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Keep other processes from looking at a lock and taking it at the same time."""
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / ".lock", "w") as guard:
            # Not on Windows, where two studies at once in one folder are not guarded against this.
            with contextlib.suppress(ImportError):
                import fcntl

                fcntl.flock(guard, fcntl.LOCK_EX)
            yield


def _read_json(file: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is not there or damaged."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _written(file: Path) -> float:
    """When a file was written (seconds since the epoch); long ago where it is not there."""
    try:
        return file.stat().st_mtime
    except OSError:
        return -math.inf


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _begun(pid: int) -> str:
    """When a process began, in ticks since the machine did: tells it from a later one of the same
    number. '' where that is not known.
    """
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
