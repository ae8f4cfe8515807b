"""What is compared of a training: three primary endpoints of its speed, and secondary ones of the
network it ends with.

Histories give, at the end of each epoch e, the optimisation steps n_e done, the training loss L_e
of that epoch (mean over its samples), and loss and accuracy on the hold-out with the thresholds
that evaluation uses. Nothing here reads a test set but the secondary endpoints.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from ahsar_eval.study.cell_results import CellResult

# Named before anything was run; each is better when smaller, and compared as a ratio.
PRIMARY = {
    "train_area": "area under the training loss",
    "validation_area": "area under the validation NLL",
    "steps": "steps to the baseline's final validation accuracy",
}
SILENT = 1e-3  # spikes per neuron and step, on the test set


def train_area(steps: ArrayLike, losses: ArrayLike) -> float:
    """Mean of the training loss over optimisation steps, from epoch means: Σ (n_e − n_{e−1}) L_e /
    n_E, n_0 = 0. `steps` [E] rise from above 0.
    """
    return float(np.average(np.asarray(losses), weights=np.diff(steps, prepend=0.0)))


def validation_area(steps: ArrayLike, losses: ArrayLike) -> float:
    """Mean of the validation NLL over optimisation steps: trapezoids between epoch ends.

    Before the end of the first epoch nothing is measured: its value holds from step 0 on, so that
    what the first epoch achieved counts for its own length. A made-up start, such as ln K, would be
    the same for every method and only pull ratios towards 1. (n_1 V_1 + Σ_{e>1} (n_e − n_{e−1})(V_e
    + V_{e−1})/2) / n_E.
    """
    ends, values = (np.asarray(each, dtype=np.float64) for each in (steps, losses))
    area = ends[0] * values[0] + float(np.sum(np.diff(ends) * (values[1:] + values[:-1]) / 2))
    return float(area / ends[-1])


def steps_to(target: float, steps: ArrayLike, accuracies: ArrayLike) -> float:
    """Optimisation steps until the validation accuracy first is `target` or more, linear between
    epoch ends.

    Reached at the end of the first epoch it counts that epoch's steps: nothing is measured before.
    Never reached it counts one epoch of mean length beyond the last, n_E (1 + 1/E): worse than any
    training that did, by no more than is known.
    """
    ends, values = (np.asarray(each, dtype=np.float64) for each in (steps, accuracies))
    reached = np.flatnonzero(values >= target)
    if not len(reached):
        return float(ends[-1] * (1 + 1 / len(ends)))
    i = int(reached[0])
    if i == 0:
        return float(ends[0])
    part = (target - values[i - 1]) / (values[i] - values[i - 1])
    return float(ends[i - 1] + part * (ends[i] - ends[i - 1]))


def target_accuracies(finals: Mapping[int, float]) -> dict[int, float]:
    """The accuracy to reach at each seed: the mean of the baseline's final validation accuracies at
    the other seeds.

    `finals` by seed. With its own final value as the target a baseline would always arrive, and by
    luck of its last epoch early or at all, where its rival need not: a training with no effect
    would look slower (docs/study.md has the simulation). One seed alone has only its own.
    """
    others = {seed: [finals[other] for other in finals if other != seed] for seed in finals}
    return {seed: float(np.mean(others[seed] or [finals[seed]])) for seed in finals}


def primary(result: CellResult, target: float | None) -> dict[str, float | None]:
    """The primary endpoints by name; steps are None without a target."""
    steps, train, validation, accuracies = (
        [row[name] for row in result.history]
        for name in ("steps", "train_loss", "validation_loss", "validation_accuracy")
    )
    return {
        "train_area": train_area(steps, train),
        "validation_area": validation_area(steps, validation),
        "steps": None if target is None else steps_to(target, steps, accuracies),
    }


def secondary(result: CellResult, beside: CellResult | None = None) -> dict[str, float | None]:
    """The secondary endpoints by name; None for what was not evaluated. Means over the sets of a
    kind are unweighted.

    `beside` another result only sets count that were evaluated for both.
    """
    known = {row["set"] for row in (beside or result).ood}

    def mean(kind: str, name: str) -> float | None:
        # Which sets have the number is a matter of the set, the same for every method.
        own = [row for row in result.ood if row["kind"] == kind and row["set"] in known]
        return mean_of(row.get(name) for row in own)

    return {
        "accuracy": result.id["accuracy"],
        "shifted_accuracy": mean("shift", "accuracy"),
        "auroc": mean("other", "auroc"),
        "fpr95": mean("other", "fpr95"),
        "shifted_auroc": mean("shift", "auroc"),
        "shifted_fpr95": mean("shift", "fpr95"),
        "nll": result.id["nll"],
        "mean_rate": result.id["mean_rate"],
        "energy_nj": result.id.get("energy_nj"),
    }


def controlled(result: CellResult) -> dict[str, float | None]:
    """What one training says of its controller and rates; None where it says nothing (no
    controller, or no such column).

    The spread is that of the last epoch on the hold-out. Scales, saturation and gain are of the
    last epoch; the largest |s − 1| is over all epochs and units. The three terms are compared by
    their means over epochs of the root mean square of each epoch's last tick.
    """
    last = result.history[-1]
    own = last if result.controller else {}
    units = [name for name in own if name.startswith("scale.")]
    scales = [abs(row[unit] - 1) for row in result.history for unit in units if unit in row]
    rates = list((result.id.get("rates") or {}).values())
    reaction, diffusion, relaxation = (
        mean_of(row.get(name) for row in result.history)
        for name in ("reaction", "diffusion", "relaxation")
    )
    return {
        "log_rate_spread": last.get("log_rate_spread"),
        "saturated_fraction": own.get("saturated_fraction"),
        "largest_deviation": max(scales, default=None),
        "diffusion_to_reaction": _over(diffusion, reaction),
        "relaxation_to_reaction": _over(relaxation, reaction),
        "gain": own.get("gain"),
        "last_rate": rates[-1] if rates else None,
        "silent_layers": sum(rate < SILENT for rate in rates) if rates else None,
    }


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None for none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
