"""Fields of requests that are options of the command line, too: declared once, where they are used.

Nothing heavy is imported here, for `--help` reads these fields.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

GROUPS = ("inputs", "network", "scores", "energy", "training", "statistics", "output", "running")


def option(
    help: str,
    default: Any = None,
    *,
    group: str = "inputs",
    flag: str = "",
    metavar: str = "",
    choices: tuple[str, ...] = (),
    completes: str = "",
    factory: Callable[[], Any] | None = None,
) -> Any:
    """A field of a request that is an option, too: `flag` (default: the field's name), what stands
    for its value in the help, and of what its names are ("set", "score", …), for completion."""
    metadata = {
        "help": help,
        "group": group,
        "flag": flag,
        "metavar": metavar,
        "choices": choices,
        "completes": completes,
    }
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def nested(request: type) -> Any:
    """A field that holds a request of its own, whose options stand beside the others."""
    return dataclasses.field(default_factory=request, metadata={"nested": request})
