"""Where a result comes from: versions, command, threads, time, and a digest of the code that made
it.
"""

import contextlib
import datetime
import functools
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from ahsar_eval import __version__
from ahsar_eval.files import sha256_of
from ahsar_eval.plugins import plugin_digest

_SOURCES = (".py", ".toml", ".json", ".npz", ".csv", ".mplstyle", ".html", ".css", ".js", ".bib")
# Variables by which oneDNN, MKL and PyTorch are held to fewer instructions than the processor has.
_LIMITS = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
)
# torch starts whatever it is told, and more threads than any machine has cores only wait for each
# other
MOST_THREADS = 256
_PACKAGES = (
    "torch",
    "torchvision",
    "spikingjelly",
    "numpy",
    "scipy",
    "numba",
    "pillow",
    "scikit-learn",
    "tonic",
    "nir",
)
# Whole folders, and the files beside them, that can change a number of a recording.
RECORDING_CODE = (
    "networks",
    "homeostasis",
    "data",
    "recording",
    "options.py",
    "plugins.py",
    "process.py",
)


def command_line() -> str:
    """The command as a user would type it again; `python -c` and test runners give their program
    name only.
    """
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program not in ("__main__.py", "ahsar-eval"):
        return program
    return shlex.join(["ahsar-eval", *sys.argv[1:]])


@functools.cache
def versions() -> dict[str, str]:
    """Version of this package, of Python and of the packages that can change a number."""
    found = {"ahsar-eval": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@functools.cache
def processor() -> str:
    """The processor, and what its kernels are held to: of one network they may round otherwise on
    another.
    """
    import torch

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux alone has it
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        named = next(line for line in lines if line.startswith("model name"))
        model = named.partition(":")[2].strip()
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    return ", ".join([model, torch.backends.cpu.get_cpu_capability(), *limits])


def provenance(**facts: Any) -> dict[str, Any]:
    """A JSON-ready record of how a result came to be: `facts`, command, versions, thread count and
    time (UTC).
    """
    import torch

    return {
        **facts,
        "command": command_line(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def code_digest() -> str:
    """SHA-256 over the source files that decide what a recording holds.

    Part of every stored recording's key, so that an edit of the package never reads a recording
    that older code made.
    """
    return _digest(RECORDING_CODE) + plugin_digest()


def package_digest() -> str:
    """SHA-256 over all source files and tables of the package, which decide what a
    command prints."""
    return _digest(("",)) + plugin_digest()


@functools.cache
def _digest(parts: tuple[str, ...], root: Path = Path(__file__).parent) -> str:
    """Over every file of these folders of `root`, and of these files."""
    found = [
        path
        for part in parts
        for path in ([root / part] if part.endswith(".py") else (root / part).rglob("*"))
    ]
    files = sorted(path for path in found if path.suffix in _SOURCES)
    return sha256_of(
        *(part for path in files for part in (path.relative_to(root).as_posix(), path.read_bytes()))
    )
