"""Writing files so that a reader sees the old file or the whole new one, the CSV of all of them,
and hashing what was read.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import secrets
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import platformdirs

from ahsar_eval.errors import OutputError, UsageError

_TORCH_WRITE_FAILURES = (
    "PytorchStreamWriter",
    "inline_container",
    "iostream error",
    "file write failed",
)


def _refusal(path: Path, error: OSError) -> OutputError:
    """What the system said, as a sentence."""
    reason = error.strerror or str(error)
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        reason = "a part of the path is a file, not a folder"
    return OutputError(f"cannot write {str(path)!r}: {reason}; choose another place")


def locked(file: IO[str]) -> bool:
    """Take the lock of an open file, which goes when it is closed, whatever ends the process; False
    while another process has it. Where there are no such locks (Windows, some network file systems)
    it is always ours. Raises `OSError` for what fails otherwise.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except ImportError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


@contextlib.contextmanager
def held_alone(path: str | Path, taken: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs: ours alone, on one machine, and gone
    afterwards, whatever ends the process.

    Raises `UsageError` that begins with `taken` while another process holds it, and `OutputError`
    where it cannot be made.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = open(target, "w")  # noqa: SIM115  # closed by the `with` below
        ours = locked(lock)
    except OSError as error:
        raise _refusal(target, error) from error
    with lock:
        if not ours:
            raise UsageError(f"{taken} at this moment; wait until it ends, or name another place")
        try:
            yield
        finally:
            with contextlib.suppress(PermissionError):  # Windows keeps a file that is open
                target.unlink(missing_ok=True)


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends well, remove it
    otherwise.

    Raises `OutputError` when the place cannot be written (no permission, full disk, a file where a
    folder should be).
    """
    target = Path(path)
    if os.path.isdir(target):  # which is false, too, where nobody may look
        raise OutputError(f"cannot write {str(target)!r}: it is a folder; name a file")
    # The suffix is kept last: writers such as matplotlib choose the format by it.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise _refusal(target, error) from error
    except RuntimeError as error:
        # torch.save reports a failed write as a RuntimeError without errno, in words that depend on
        # how far it came.
        if any(words in str(error) for words in _TORCH_WRITE_FAILURES):
            reason = f"the disk may be full ({str(error).splitlines()[0]})"
            raise _refusal(target, OSError(reason)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all. Raises `OutputError`."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with full precision, columns in the order of their first appearance; None is an
    empty cell.
    """
    target = io.StringIO()
    header = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(target, fieldnames=header, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def check_folder_writable(folder: str | Path) -> None:
    """Prove that a file can be written in `folder`, or in the nearest folder above it that exists.
    Raises `OutputError`.

    Called before long work, so that the refusal comes first and not after an hour. Leaves nothing
    behind: the folder itself is made when there is something to put into it.
    """
    target = Path(folder)
    existing = next((place for place in (target, *target.parents) if place.exists()), target)
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".writable.") as probe:
            probe.write(b"0")
    except OSError as error:
        raise _refusal(target, error) from error


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


def sha256_of(*parts: bytes | str) -> str:
    """SHA-256 of several parts, each prefixed by its length so that no two lists of
    parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def table_beside(module: str, name: str) -> dict[str, Any]:
    """The TOML file `name` that lies in the folder of the file `module`."""
    return tomllib.loads(Path(module).with_name(name).read_text(encoding="utf-8"))


def shipped(kind: str, suffix: str) -> dict[str, Path]:
    """Name → file of a `kind` (checkpoints, studies) that ships with the package: inside the wheel,
    or beside the package in a clone.
    """
    package = Path(__file__).parent
    inside = package / f"_{kind}"
    folder = inside if inside.is_dir() else package.parent / kind
    return dict(sorted((file.stem, file) for file in folder.glob(f"*{suffix}")))


def cache_folder(part: str) -> Path:
    """Where a kind of cached files lies: `part` below `AHSAR_EVAL_CACHE`, else below the user's
    cache folder.
    """
    folder = os.environ.get("AHSAR_EVAL_CACHE") or platformdirs.user_cache_dir("ahsar-eval")
    return Path(folder).expanduser() / part


def remember(file: Path, state: str, value: Any) -> None:
    """Keep `value`, of JSON, in `file` of a cache for as long as `state` holds; a cache that cannot
    be written costs time and nothing else.
    """
    kept = json.dumps(value)
    with contextlib.suppress(OutputError):
        write_text(file, f"{sha256_of(state, kept)}\n{kept}")


def remembered(file: Path, state: str) -> Any:
    """What was kept in `file` in this state; None where nothing was, or where it is damaged."""
    try:
        digest, kept = file.read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return None
    return json.loads(kept) if digest == sha256_of(state, kept) else None
