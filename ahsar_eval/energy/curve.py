"""Accuracy against energy over the scale of the thresholds, and which points no other one beats
(the Pareto front).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ahsar_eval.energy.result import EnergyResult

_PJ_PER_UJ = 1e6


@dataclass(frozen=True, eq=False)
class ScalePoint:
    """One network at one setting of its thresholds.

    `scale` is the factor on every base threshold, None where the network's own thresholds have no
    single one (replayed). `own` marks the setting the network is used with. `front`: no other point
    of the same network is as accurate for less energy, or more accurate for no more; `joint_front`:
    none of all networks.
    """

    checkpoint: str
    scale: float | None
    own: bool
    result: EnergyResult
    front: bool = False
    joint_front: bool = False


def accuracy_per_uj(result: EnergyResult) -> float | None:
    """Accuracy (a fraction) per µJ of an inference; None without labels or where
    nothing is priced."""
    if result.accuracy is None or result.total_energy_pj <= 0:
        return None
    return result.accuracy / (result.total_energy_pj / _PJ_PER_UJ)


def on_front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Which of (accuracy, energy) no other point beats: none is as accurate for less, or more
    accurate for no more.

    A point without accuracy is on no front and beats none. Equal points are on it together.
    """
    known = [(accuracy, energy) for accuracy, energy in points if accuracy is not None]

    def beaten(accuracy: float, energy: float) -> bool:
        return any(a >= accuracy and e <= energy and (a > accuracy or e < energy) for a, e in known)

    return [accuracy is not None and not beaten(accuracy, energy) for accuracy, energy in points]


def with_fronts(curves: Sequence[Sequence[ScalePoint]]) -> list[ScalePoint]:
    """The points of several networks, a sequence each, with both fronts marked; those of a network
    by scale, its own setting last where it has no scale.
    """
    everyone = on_front([_place(point) for curve in curves for point in curve])
    alone = [front for curve in curves for front in on_front([_place(point) for point in curve])]
    points = [point for curve in curves for point in curve]
    marked = [
        replace(point, front=own, joint_front=joint)
        for point, own, joint in zip(points, alone, everyone, strict=True)
    ]
    names = list(dict.fromkeys(point.checkpoint for point in points))
    return sorted(
        marked,
        key=lambda point: (names.index(point.checkpoint), point.scale is None, point.scale or 0.0),
    )


def _place(point: ScalePoint) -> tuple[float | None, float]:
    return point.result.accuracy, point.result.total_energy_pj
