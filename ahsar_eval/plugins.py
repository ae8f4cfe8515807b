"""What other packages add: scores, shifts, sets and energy profiles, by entry points.

A package that declares `[project.entry-points."ahsar_eval.scores"]` (or `.shifts`, `.event_shifts`,
`.sets`, `.profiles`) in its pyproject.toml has its names known to every command (examples/plugin).
"""

import functools
import importlib.util
import warnings
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.errors import AhsarWarning
from ahsar_eval.files import sha256_of, sha256_of_file

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

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


class Registry(dict[str, Any]):
    """What is known by name: the package's own, and what plugins add of a `kind`, which is loaded
    when a name that is not the package's is looked for or all are listed: a plugin may import the
    module that holds the registry.
    """

    def __init__(self, kind: str, expected: type, own: Mapping[str, Any]) -> None:
        super().__init__(own)
        self._added = functools.cache(functools.partial(plugins, kind, expected))

    def _with_plugins(self) -> dict[str, Any]:
        return {**dict(super().items()), **self._added()}

    def __missing__(self, name: str) -> Any:
        return self._added()[name]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._added()

    def __iter__(self) -> Iterator[str]:
        return iter(self._with_plugins())

    def __len__(self) -> int:
        return len(self._with_plugins())

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Names of the package, then of plugins."""
        return self._with_plugins().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """What stands under them."""
        return self._with_plugins().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Both."""
        return self._with_plugins().items()

    def get(self, name: str, otherwise: Any = None) -> Any:
        """What stands under a name, or `otherwise`."""
        return self._with_plugins().get(name, otherwise)


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


def _entries(kind: str) -> "list[EntryPoint]":
    from importlib.metadata import entry_points

    return sorted(entry_points(group=f"ahsar_eval.{kind}"), key=lambda entry: entry.name)


def _package(entry: "EntryPoint") -> str:
    return entry.module if entry.dist is None else entry.dist.name
