"""What is compared of a training: three primary endpoints of its speed, and secondary ones of the
network it ends with.

Histories give, at the end of each epoch e, the optimisation steps n_e done, the training loss L_e
of that epoch (mean over its samples), and loss and accuracy on the hold-out with the thresholds
that evaluation uses. Nothing here reads a test set but the secondary endpoints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.study.results import CellResult

# Named before anything was run; each is better when smaller, and compared as a ratio.
PRIMARY = {
    "train_area": "area under the training loss",
    "validation_area": "area under the validation NLL",
    "steps": "steps to the baseline's final validation accuracy",
}
SECONDARY = (
    "accuracy",
    "shifted_accuracy",
    "auroc",
    "fpr95",
    "shifted_auroc",
    "shifted_fpr95",
    "nll",
    "mean_rate",
    "energy_nj",
)

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class StepsToTarget:
    """Optimisation steps until a validation accuracy was reached; `reached` False where it never
    was (see `steps_to`).
    """

    steps: float
    reached: bool


def train_area(steps: ArrayLike, losses: ArrayLike) -> float:
    """Mean of the training loss over optimisation steps, from epoch means: Σ (n_e − n_{e−1}) L_e /
    n_E, n_0 = 0.

    `steps` [E] rise from above 0. Raises `DataError` where they do not, or for other shapes.
    """
    ends, values = _curve(steps, losses)
    return float(np.average(values, weights=np.diff(ends, prepend=0.0)))


def validation_area(steps: ArrayLike, losses: ArrayLike) -> float:
    """Mean of the validation NLL over optimisation steps: trapezoids between epoch ends.

    Before the end of the first epoch nothing is measured: its value holds from step 0 on, so that
    what the first epoch achieved counts for its own length. A made-up start, such as ln K, would be
    the same for every method and only pull ratios towards 1. (n_1 V_1 + Σ_{e>1} (n_e − n_{e−1})(V_e
    + V_{e−1})/2) / n_E. Raises `DataError` as `train_area`.
    """
    ends, values = _curve(steps, losses)
    area = ends[0] * values[0] + float(np.sum(np.diff(ends) * (values[1:] + values[:-1]) / 2))
    return float(area / ends[-1])


def steps_to(target: float, steps: ArrayLike, accuracies: ArrayLike) -> StepsToTarget:
    """Optimisation steps until the validation accuracy first is `target` or more, linear between
    epoch ends.

    Reached at the end of the first epoch it counts that epoch's steps: nothing is measured before.
    Never reached it counts one epoch of mean length beyond the last, n_E (1 + 1/E): worse than any
    training that did, by no more than is known. Raises as `train_area`.
    """
    ends, values = _curve(steps, accuracies)
    found = np.flatnonzero(values >= target)
    if not len(found):
        return StepsToTarget(float(ends[-1] * (1 + 1 / len(ends))), False)
    first = int(found[0])
    if first == 0:
        return StepsToTarget(float(ends[0]), True)
    part = (target - values[first - 1]) / (values[first] - values[first - 1])
    return StepsToTarget(float(ends[first - 1] + part * (ends[first] - ends[first - 1])), True)


def target_accuracies(finals: Mapping[int, float]) -> dict[int, float]:
    """The accuracy to reach at each seed: the mean of the baseline's final validation accuracies at
    the other seeds.

    `finals` by seed. With its own final value as the target a baseline would always arrive, and by
    luck of its last epoch early or at all, where its rival need not: a training with no effect
    would look slower (docs/study.md has the simulation). One seed alone has only its own.
    """
    if len(finals) < 2:
        return dict(finals)
    return {
        seed: float(np.mean([value for other, value in finals.items() if other != seed]))
        for seed in finals
    }


def column(result: CellResult, name: str) -> Vector:
    """A column of a result's history, [epochs]. Raises `DataError` where a row lacks it."""
    values = [row.get(name) for row in result.history]
    if any(value is None for value in values):
        raise DataError(
            f"the history of cell {result.key} has no {name} in every epoch; run the cell again "
            "with this version"
        )
    return np.asarray(values, dtype=np.float64)


def final_accuracies(results: Mapping[int, CellResult]) -> dict[int, float]:
    """Validation accuracy after the last epoch, by seed."""
    return {
        seed: float(result.history[-1]["validation_accuracy"]) for seed, result in results.items()
    }


def primary(result: CellResult, target: float | None) -> dict[str, float | None]:
    """The primary endpoints by name; steps are None without a target."""
    steps = column(result, "steps")
    to_target = (
        None
        if target is None
        else steps_to(target, steps, column(result, "validation_accuracy")).steps
    )
    return {
        "train_area": train_area(steps, column(result, "train_loss")),
        "validation_area": validation_area(steps, column(result, "validation_loss")),
        "steps": to_target,
    }


def secondary(result: CellResult, beside: CellResult | None = None) -> dict[str, float | None]:
    """The secondary endpoints by name; None for what was not evaluated. Means over the sets of a
    kind are unweighted.

    `beside` another result only sets count that were evaluated for both.
    """
    common = [
        row
        for row in result.ood
        if beside is None or row["set"] in {other["set"] for other in beside.ood}
    ]
    shifts = [row for row in common if row["kind"] == "shift"]
    others = [row for row in common if row["kind"] == "other"]
    energy = result.id.get("energy_nj")
    return {
        "accuracy": float(result.id["accuracy"]),
        "shifted_accuracy": _mean(shifts, "accuracy"),
        "auroc": _mean(others, "auroc"),
        "fpr95": _mean(others, "fpr95"),
        "shifted_auroc": _mean(shifts, "auroc"),
        "shifted_fpr95": _mean(shifts, "fpr95"),
        "nll": float(result.id["nll"]),
        "mean_rate": float(result.id["mean_rate"]),
        "energy_nj": None if energy is None else float(energy),
    }


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Mean over sets that have the number: which do is a matter of the set, the same for every
    method.
    """
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return float(np.mean(values)) if values else None


def _curve(steps: ArrayLike, values: ArrayLike) -> tuple[Vector, Vector]:
    ends, found = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if ends.ndim != 1 or not len(ends) or ends.shape != found.shape:
        raise DataError(
            f"a curve has steps {list(ends.shape)} and values {list(found.shape)}; expected "
            "vectors of one length"
        )
    if (np.diff(ends, prepend=0.0) <= 0).any() or not np.isfinite(found).all():
        raise DataError(
            "a curve has steps that do not rise from above 0, or a value that is not finite; "
            "expected one per epoch end"
        )
    return ends, found
