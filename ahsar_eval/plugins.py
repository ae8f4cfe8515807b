"""What other packages add: scores, shifts, sets and energy profiles, by entry points.

A package that declares `[project.entry-points."ahsar_eval.scores"]` (or `.shifts`, `.event_shifts`,
`.sets`, `.profiles`) in its pyproject.toml has its names known to every command (examples/plugin).
"""

import functools
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ahsar_eval.errors import AhsarWarning
from ahsar_eval.files import sha256_of, sha256_of_file

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Item = TypeVar("Item")
KINDS = ("scores", "shifts", "event_shifts", "sets", "profiles")


def plugins(kind: str, expected: type[Item]) -> dict[str, Item]:
    """Name → what is added of a `kind`. What cannot be loaded, or is not of the type that is
    `expected`, is left out with a warning that names the package.
    """
    found: dict[str, Item] = {}
    for entry in _entries(kind):
        try:
            made = entry.load()
            fault = f"is a {type(made).__name__}; expected a {expected.__name__}"
        except Exception as error:
            made, fault = None, f"cannot be loaded ({type(error).__name__}: {error})"
        if isinstance(made, expected):
            found[entry.name] = made
        else:
            package = entry.module if entry.dist is None else entry.dist.name
            origin = f"the {kind[:-1]} {entry.name} of the package {package}"
            warnings.warn(f"{origin} {fault}", AhsarWarning, stacklevel=2)
    return found


class Registry(Mapping[str, Item]):
    """What is known by name: the package's `own`, and what plugins add of a `kind`, which is loaded
    when a name that is not the package's is looked for or all are listed: a plugin may import the
    module that holds the registry.
    """

    def __init__(self, kind: str, expected: type[Item], own: Mapping[str, Item]) -> None:
        self.own = dict(own)
        self._added = functools.cache(functools.partial(plugins, kind, expected))

    def __getitem__(self, name: str) -> Item:
        return self.own[name] if name in self.own else self._added()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.own, **self._added()})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@functools.cache
def plugin_digest() -> str:
    """Hash of everything that plugins can change in a recording or a result; '' without one."""
    parts: list[str] = []
    for kind in KINDS:
        for entry in _entries(kind):
            spec = importlib.util.find_spec(entry.module.partition(".")[0])
            file = Path((spec and spec.origin) or "")
            sources = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
            version = "" if entry.dist is None else entry.dist.version
            parts += [kind, entry.name, entry.value, version]
            parts += [sha256_of_file(source) for source in sources if source.is_file()]
    return sha256_of(*parts) if parts else ""


def _entries(kind: str) -> "list[EntryPoint]":
    from importlib.metadata import entry_points

    return sorted(entry_points(group=f"ahsar_eval.{kind}"), key=lambda entry: entry.name)
