"""Accuracy against energy over the scale of the thresholds, and which points no other one beats
(the Pareto front).
"""

from collections.abc import Mapping, Sequence
from typing import Any

_PJ_PER_UJ = 1e6


def accuracy_per_uj(accuracy: float | None, energy_pj: float) -> float | None:
    """Accuracy (a fraction) per µJ of an inference; None without labels or where nothing is
    priced.
    """
    if accuracy is None or energy_pj <= 0:
        return None
    return accuracy / (energy_pj / _PJ_PER_UJ)


def on_front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Which of (accuracy, energy) no other point beats: none is as accurate for less, or more
    accurate for no more.

    A point without accuracy is on no front and beats none. Equal points are on it together.
    """
    known = [(accuracy, energy) for accuracy, energy in points if accuracy is not None]

    def beaten(accuracy: float, energy: float) -> bool:
        return any(a >= accuracy and e <= energy and (a > accuracy or e < energy) for a, e in known)

    return [accuracy is not None and not beaten(accuracy, energy) for accuracy, energy in points]


def with_fronts(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several networks at several `scale`s with `front` (of the network's own points) and
    `joint_front` (of all points); those of a network by scale, its own setting last where it has
    no scale.
    """
    marked: list[dict[str, Any]] = []
    for name in dict.fromkeys(point["checkpoint"] for point in points):
        own = [point for point in points if point["checkpoint"] == name]
        own.sort(key=lambda point: (point["scale"] is None, point["scale"] or 0.0))
        marked += [{**point, "front": on} for point, on in zip(own, _fronts(own), strict=True)]
    return [{**point, "joint_front": on} for point, on in zip(marked, _fronts(marked), strict=True)]


def _fronts(points: Sequence[Mapping[str, Any]]) -> list[bool]:
    return on_front([(point["accuracy"], point["total_energy_pj"]) for point in points])
