"""Functions in tables whose modules are not imported yet, so that reading a table costs nothing.

    if TYPE_CHECKING:
        from ahsar_eval.data.corruptions import values
    else:
        values = later("ahsar_eval.data.corruptions.values")

Readers and type checkers see the import. When the program runs, `values.shot_noise` is a `Later`.
"""

import ast
import functools
import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Later:
    """A function whose module is imported at the first call; its docstring is read from
    the source."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the function gives."""
        return self.__wrapped__(*arguments, **named)

    @property
    def __wrapped__(self) -> Callable[..., Any]:  # `inspect.signature` looks here
        return getattr(importlib.import_module(self._module), self._name)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return _docstrings(self._module).get(self._name)


class later:  # noqa: N801  # it stands where an import would
    """A module of which every attribute is a `Later`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Later:
        return Later(self._module, name)


@functools.cache
def _docstrings(module: str) -> dict[str, str | None]:
    """Those of a module's functions by name."""
    spec = find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None, f"{module} is no file"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {function.name: ast.get_docstring(function) for function in functions}
