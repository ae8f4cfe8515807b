"""Where a result comes from: versions, command, threads, time, and a digest of the code that made it."""

import datetime
import functools
import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any

from ahsar_eval import __version__
from ahsar_eval.files import sha256_of

MOST_THREADS = 256  # torch starts whatever it is told, and more threads than any machine has cores only wait for each other
_PACKAGES = ("torch", "torchvision", "spikingjelly", "numpy", "scipy", "numba", "pillow", "scikit-learn", "tonic", "nir")
_RECORDING_CODE = ("models", "homeostasis", "data", "recording", "checkpoints.py", "runner.py")


def command_line() -> str:
    """The command as a user would type it again; `python -c` and test runners give their program name only."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program == "__main__.py":
        program = "ahsar-eval"
    if program != "ahsar-eval":
        return program
    import shlex

    return shlex.join([program, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Version of this package, of Python and of the packages that can change a number."""
    found = {"ahsar-eval": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def provenance(**facts: Any) -> dict[str, Any]:
    """A JSON-ready record of how a result came to be: `facts`, command, versions, thread count and time (UTC)."""
    import torch

    return {
        **facts,
        "command": command_line(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def code_digest() -> str:
    """SHA-256 over the source files that decide what a recording holds.

    Part of every stored recording's key, so that an edit of the package never reads a recording that older code made.
    """
    root = Path(__file__).parent
    files = sorted(
        path for folder in _RECORDING_CODE for path in ([root / folder] if folder.endswith(".py") else (root / folder).rglob("*.py"))
    )
    return sha256_of(*(part for path in files for part in (path.relative_to(root).as_posix(), path.read_bytes())))
