"""Whether the labels of one set mean what those of another, or a network's classes, do."""

from collections.abc import Mapping
from typing import Any


def same_classes(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether class i of `one` is class i of `other`: by their label spaces, or, where both have
    names of classes, by these. Both hold "label_space" and "classes", as the description of a split
    and the provenance of a checkpoint do; a label space that is not known (None) fits any.
    """
    spaces = one.get("label_space"), other.get("label_space")
    if None in spaces or spaces[0] == spaces[1]:
        return True
    names = _names(one), _names(other)
    return bool(names[0]) and names[0] == names[1]


def _names(described: Mapping[str, Any]) -> list[str]:
    """The names of the classes; none where they are mere numbers."""
    names = [str(name) for name in described.get("classes") or ()]
    return [] if all(name.isdigit() for name in names) else names
