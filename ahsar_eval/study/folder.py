"""A study's folder: study.toml, and for each cell its checkpoint, its history, and a result or a
failure; and who works on what.

Who works on a cell holds the lock of its file `running`, which the system takes away from a process
that is gone. Result files are written whole, so a folder can be read at any moment.
"""

import contextlib
import json
import math
import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

from ahsar_eval.errors import UsageError
from ahsar_eval.files import check_folder_writable, write_text, written_whole
from ahsar_eval.study.cell_results import FORMAT, VERSION
from ahsar_eval.study.grid import Cell

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
        return str(found.get("error")) if found and file.stat().st_mtime >= since else None

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

    def keep_failure(self, cell: Cell, failure: Mapping[str, str]) -> None:
        """Write why a cell failed. Raises `OutputError`."""
        file = {"format": FORMAT, "version": VERSION, "key": cell.key}
        asked = {"request": cell.request.to_dict(), "threads": cell.threads}
        _write_json(self.cell(cell.key) / FAILURE, {**file, **asked, **failure})

    # Who works on what

    def take(self, key: str, *, failed_since: float = math.inf) -> bool:
        """Begin to work on a cell, unless another process does, or it failed there `failed_since`
        then (seconds since the epoch); an earlier failure is forgotten, and what a killed process
        left half written goes. Raises `OSError`.
        """
        file = self.cell(key) / RUNNING
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = open(file, "a+")  # noqa: SIM115  # held until it is released
        if not _locked(lock, file):
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
        with contextlib.suppress(OSError), open(file) as lock:
            return None if _locked(lock, file) else lock.read()
        return None


def _locked(lock: IO[str], file: Path) -> bool:
    """Whether the lock of an open `file` is now ours: nobody else's, and not that of a file which
    was taken away meanwhile. Where there are no such locks (Windows) everything is.
    """
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock.fileno()), file.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except (ImportError, OSError):
        return True


def _read_json(file: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is not there or damaged."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")
