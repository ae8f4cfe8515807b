"""What a module's forward does, exchanged on the module itself while a block runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def exchanged(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Inside, these modules run these forwards: one of an instance stands before its class's.

    Hooks, names and state stay where they are; afterwards the class's forward is back.
    """
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module in forwards:
            module.__dict__.pop("forward", None)
