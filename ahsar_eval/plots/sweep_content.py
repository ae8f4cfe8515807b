"""What the sheet of a threshold sweep shows: one checkpoint over scales, and trainings at each;
checked before anything is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.checks import drawable, vectors
from ahsar_eval.plots.severity_grid import Band

GATES = {"rate": "r, firing rate", "gate": "G, mean surrogate gate", "slope": "−∂r/∂θ, input held"}
CONVERGENCE = {
    "train_loss": "training loss",
    "validation_loss": "hold-out NLL",
    "validation_accuracy": "hold-out accuracy",
}


@dataclass(frozen=True)
class WorkingPoint:
    """Where a network works: factors from `low` to `high` over its layers, `scale` their mean; its
    value of every curve and gate.
    """

    scale: float
    low: float
    high: float
    curves: Mapping[str, float]
    gates: Mapping[str, float]


@dataclass(frozen=True)
class ThresholdSweep:
    """One checkpoint at `scales` [S], ascending.

    `curves` are bands [S] by the heading of their panel ("energy" is in pJ per inference); `gates`
    has "rate", "gate" and "slope" [S, L] of every layer, whose unweighted mean is drawn as the
    network's.
    """

    checkpoint: str
    scales: NDArray[np.float64]
    curves: Mapping[str, Band]
    layers: Sequence[str]
    gates: Mapping[str, NDArray[np.float64]]
    own: WorkingPoint


@dataclass(frozen=True)
class ConvergenceSweep:
    """Trainings at fixed `scales` [S]: `values` [E, S] of each of `CONVERGENCE` after every epoch,
    NaN where a training ended early.

    `regulated` are AHSAR's [E] at its final factors, from `low` to `high` with mean `scale`; None
    without it.
    """

    scales: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]
    regulated: Mapping[str, NDArray[np.float64]] | None = None
    scale: float = 1.0
    low: float = 1.0
    high: float = 1.0


def check_sweeps(sweeps: Sequence[ThresholdSweep], convergence: ConvergenceSweep | None) -> None:
    """That the numbers fit each other and can be drawn. Raises `DataError`."""
    if convergence is None or sweeps:
        drawable("threshold sweep", sweeps, [(sweep.checkpoint,) for sweep in sweeps])
    for sweep in sweeps:
        what = f"the threshold sweep of {sweep.checkpoint}"
        (scales,) = vectors(what, {"scales": sweep.scales})
        for name, band in sweep.curves.items():
            vectors(what, {"scales": scales, name: band.value})
            vectors(
                what,
                {
                    "scales": scales,
                    f"the low end of {name}": band.low,
                    f"the high end of {name}": band.high,
                },
                gaps=True,
            )
        if set(sweep.gates) != set(GATES):
            raise DataError(
                f"{what} has {', '.join(sweep.gates) or 'nothing'} of its layers; expected "
                f"{', '.join(GATES)}"
            )
        for name, values in sweep.gates.items():
            if (
                np.shape(values) != (len(scales), len(sweep.layers))
                or not sweep.layers
                or not np.isfinite(values).all()
            ):
                raise DataError(
                    f"{what} has {name} of shape {list(np.shape(values))}; expected finite numbers "
                    f"[{len(scales)}, {len(sweep.layers)}]"
                )
        own = sweep.own
        numbers = [own.scale, own.low, own.high, *own.curves.values(), *own.gates.values()]
        if (
            set(own.gates) != set(GATES)
            or not np.isfinite(numbers).all()
            or not own.low <= own.scale <= own.high
        ):
            raise DataError(
                f"{what} has an own setting that is incomplete; expected a factor within its range "
                "and a number of each gate"
            )
        _check_ascending(what, scales)
    if convergence is not None:
        what = "the convergence of trainings"
        (scales,) = vectors(what, {"scales": convergence.scales})
        _check_ascending(what, scales)
        shapes = {np.shape(convergence.values.get(name, ())) for name in CONVERGENCE}
        lengths = (
            {np.shape(convergence.regulated.get(name, ())) for name in CONVERGENCE}
            if convergence.regulated is not None
            else set()
        )
        (shape,) = shapes if len(shapes) == 1 else [()]
        if (
            len(shape) != 2
            or shape[0] < 1
            or shape[1] != len(scales)
            or (lengths and lengths != {shape[:1]})
        ):
            raise DataError(
                f"{what} has values of the shapes {sorted(shapes | lengths)}; expected [epochs, "
                f"{len(scales)}], AHSAR's [epochs]"
            )


def _check_ascending(what: str, scales: NDArray[np.float64]) -> None:
    if (np.diff(scales) <= 0).any():
        raise DataError(
            f"{what} has the scales {[float(one) for one in scales]}; expected them ascending"
        )
