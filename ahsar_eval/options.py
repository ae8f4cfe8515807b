"""Fields of requests that are options of the command line, too: declared once, where they are used.

Nothing heavy is imported here, for `--help` reads these fields.
"""

import dataclasses
import numbers
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ahsar_eval.errors import UsageError, close_to
from ahsar_eval.files import table_beside

Request = TypeVar("Request")

GROUPS = (
    *("inputs", "network", "scores", "energy", "training", "adaptation", "statistics"),
    *("gate", "output", "running"),
)


def described(module: str, table: str, **said: Any) -> Callable[[type[Request]], type[Request]]:
    """A class whose fields are options, too: what is `said` of them all, and what the TOML file
    `table` beside the file `module` says of each by class and field. It stands below `dataclass`.

    A table may say `flag` (default: the field's name), `metavar` (what stands for the value in the
    help), `choices`, what it `completes` ("set", "score", …), and the `flag_value` of the option
    without a value.
    """
    fields = table_beside(module, table)

    def of(request: type[Request]) -> type[Request]:
        for name, own in fields[request.__name__].items():
            held = getattr(request, name)
            entry = held if isinstance(held, dataclasses.Field) else dataclasses.field(default=held)
            entry.metadata = MappingProxyType({"help": "", "group": "inputs", **said, **own})
            setattr(request, name, entry)
        return request

    return of


def nested(request: type) -> Any:
    """A field that holds a request of its own, whose options stand beside the others."""
    return dataclasses.field(default_factory=request, metadata={"nested": request})


def kind_of(hint: Any) -> Any:
    """The type of one value of a field: int of `int | None` and of `tuple[int, ...]`."""
    return next(iter(typing.get_args(hint)), hint)


def made(request: type[Request], **settings: Any) -> Request:
    """A request from settings of Python, each of the kind that its field says; one text stands for
    a tuple of one. Raises `UsageError` for a setting that is not known, of another kind, or none of
    its choices.
    """
    fields = {field.name: field for field in dataclasses.fields(request)}  # type: ignore[arg-type]
    for name in settings:
        if name not in fields:
            known = ", ".join(fields)
            raise UsageError(f"unknown setting {name!r}{close_to(name, fields)}; known are {known}")
    return request(**{name: checked(fields[name], value) for name, value in settings.items()})


def checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """The value of a field, which is of its kind and one of its choices. Raises `UsageError`."""
    kind, several = kind_of(field.type), typing.get_origin(field.type) is tuple
    if several:
        one = isinstance(value, str) or (kind is Any and not isinstance(value, Iterable))
        values = value = (value,) if one else tuple(value)
    else:
        values = () if value is None and field.default is None else (value,)
    for one in values:
        right = kind in (Any, Path) or isinstance(one, _TAKEN.get(kind, (kind,)))
        if not right or (isinstance(one, bool) and kind in (int, float)):
            raise UsageError(f"{field.name} is {one!r}; expected {_WORDS.get(kind, kind.__name__)}")
        if (choices := field.metadata.get("choices")) and one not in choices:
            meant = close_to(str(one), choices)
            raise UsageError(f"{field.name} is {one!r}{meant}; expected {' or '.join(choices)}")
    single = value is not None and not several
    return kind(value) if single and kind in _TAKEN else value  # of NumPy's numbers plain ones


_TAKEN: dict[Any, tuple[type, ...]] = {int: (numbers.Integral,), float: (numbers.Real,)}  # type: ignore[dict-item]
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
