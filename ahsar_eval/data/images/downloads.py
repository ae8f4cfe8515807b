"""Downloads by torchvision: what it gets, from where, and with which checksum."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Download = Callable[[Path, str], None]


def by_method(name: str, **attributes: Any) -> Download:
    """`download()` of `torchvision.datasets.name` without its constructor, which would also load
    the set (CIFAR by executing pickles).

    `attributes` are what the method reads from the object; `root` is the data root where it is not
    among them. A callable among them is called with (root, split).
    """

    def download(root: Path, role: str) -> None:
        from torchvision import datasets

        kind = getattr(datasets, name)
        made = kind.__new__(kind)
        for attribute, value in {"root": str(root), **attributes}.items():
            setattr(made, attribute, value(root, role) if callable(value) else value)
        made.download()

    return download


def by_constructor(name: str, **arguments: Any) -> Download:
    """`torchvision.datasets.name(root, download=True, …)`, for those whose constructor executes
    nothing.

    A callable among the `arguments` is called with (root, split).
    """

    def download(root: Path, role: str) -> None:
        from torchvision import datasets

        chosen = {
            key: value(root, role) if callable(value) else value for key, value in arguments.items()
        }
        getattr(datasets, name)(str(root), download=True, **chosen)

    return download
