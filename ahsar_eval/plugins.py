"""What other packages add: scores, shifts, sets and energy profiles, by entry points.

A package that declares `[project.entry-points."ahsar_eval.scores"]` (or `.shifts`, `.event_shifts`,
`.sets`, `.profiles`) in its pyproject.toml has its names known to every command (examples/plugin).
"""

import functools
import importlib.util
import warnings
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ahsar_eval.errors import AhsarWarning
from ahsar_eval.files import sha256_of, sha256_of_file

KINDS = ("scores", "shifts", "event_shifts", "sets", "profiles")


def plugins(kind: str, expected: type) -> dict[str, Any]:
    """Name → what is added of a `kind`. What cannot be loaded, or is not of the type that is
    `expected`, is left out with a warning that names the package.
    """
    found: dict[str, Any] = {}
    for entry in _entries(kind):
        origin = f"the {kind[:-1]} {entry.name} of the package {_package(entry)}"
        try:
            made = entry.load()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"{origin} cannot be loaded ({reason})", AhsarWarning, stacklevel=2)
            continue
        if isinstance(made, expected):
            found[entry.name] = made
        else:
            warnings.warn(
                f"{origin} is a {type(made).__name__}; expected a {expected.__name__}",
                AhsarWarning,
                stacklevel=2,
            )
    return found


@functools.cache
def plugin_digest() -> str:
    """Hash of everything that plugins can change in a recording or a result; '' without one."""
    parts: list[str] = []
    for kind in KINDS:
        for entry in _entries(kind):
            spec = importlib.util.find_spec(entry.module.partition(".")[0])
            file = None if spec is None else spec.origin
            sources = [] if file is None else sorted(Path(file).parent.rglob("*.py"))
            if file is not None and Path(file).name != "__init__.py":
                sources = [Path(file)]
            version = "" if entry.dist is None else entry.dist.version
            parts += [kind, entry.name, entry.value, version, *map(sha256_of_file, sources)]
    return sha256_of(*parts) if parts else ""


def _entries(kind: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"ahsar_eval.{kind}"), key=lambda entry: entry.name)


def _package(entry: EntryPoint) -> str:
    return entry.module if entry.dist is None else entry.dist.name
