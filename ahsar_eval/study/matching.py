"""Which trainings are compared, and by what: three primary endpoints of a training's speed, and
secondary ones of the network it ends with.

Trainings are matched as rows of one table: the same combination of settings, another method, the
same seed. Histories give, at the end of each epoch e, the optimisation steps n_e done, the training
loss L_e of that epoch (mean over its samples), and loss and accuracy on the hold-out with the
thresholds that evaluation uses. No endpoint reads a test set but the secondary ones.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from ahsar_eval.errors import DataError
from ahsar_eval.results.table import Row
from ahsar_eval.study.folder import CellResult
from ahsar_eval.training.files import CURVES

# Named before anything was run; each is better when smaller, and compared as a ratio.
PRIMARY = {
    "train_area": "area under the training loss",
    "validation_area": "area under the validation NLL",
    "steps": "steps to the baseline's final validation accuracy",
}
SILENT = 1e-3  # spikes per neuron and step, on the test set
BASELINE, AHSAR, FROZEN, BEST = "baseline", "ahsar", "frozen", "best fixed"
CONTROLLED = (AHSAR, "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain")
TITLES = {  # as the paper has them
    "ahsar": "AHSAR",
    "ahsar-no-rt": "AHSAR(no RT)",
    "ahsar-no-dh": "AHSAR(no DH)",
    "ahsar-no-gain": "AHSAR(no gain)",
    "bptt": "BPTT",
    "resnet18": "ResNet-18",
    "vgg13": "VGGNet-13",
}
# In the order of the paper's tables.
_ORDER = ("bptt", "rate", "s", "m", "resnet18", "vgg13", BASELINE, *CONTROLLED, FROZEN)
NAMED = ("data", "paradigm", "step_mode", "backbone", "timesteps")
# All settings but method and seed; "settings" holds those without a column of their own as JSON.
COMBINATION = ("data", "modality", *NAMED[1:], "settings")
# What a method decides; everything else in a request must agree with the baseline's.
_OF_THE_METHOD = ("method", "seed", "controller", "sensing")

Curve = Sequence[float] | NDArray[Any]  # [E], a value for each epoch
Frame = Any  # a pandas.DataFrame whose columns are looked up by name


# Endpoints


def train_area(steps: Curve, losses: Curve) -> float:
    """Mean of the training loss over optimisation steps, from epoch means: Σ (n_e − n_{e−1}) L_e /
    n_E, n_0 = 0. `steps` [E] rise from above 0.
    """
    return float(np.average(losses, weights=np.diff(steps, prepend=0.0)))


def validation_area(steps: Curve, losses: Curve) -> float:
    """Mean of the validation NLL over optimisation steps: trapezoids between epoch ends.

    Before the end of the first epoch nothing is measured: its value holds from step 0 on, so that
    what the first epoch achieved counts for its own length. A made-up start, such as ln K, would be
    the same for every method and only pull ratios towards 1. (n_1 V_1 + Σ_{e>1} (n_e − n_{e−1})(V_e
    + V_{e−1})/2) / n_E.
    """
    return float((steps[0] * losses[0] + trapezoid(losses, steps)) / steps[-1])


def steps_to(target: float, steps: Curve, accuracies: Curve) -> float:
    """Optimisation steps until the validation accuracy first is `target` or more, linear between
    epoch ends.

    Reached at the end of the first epoch it counts that epoch's steps: nothing is measured before.
    Never reached it counts one epoch of mean length beyond the last, n_E (1 + 1/E): worse than any
    training that did, by no more than is known.
    """
    i = next((i for i, value in enumerate(accuracies) if value >= target), None)
    if i is None:
        return steps[-1] * (1 + 1 / len(steps))
    if i == 0:
        return float(steps[0])
    part = (target - accuracies[i - 1]) / (accuracies[i] - accuracies[i - 1])
    return steps[i - 1] + part * (steps[i] - steps[i - 1])


def target_accuracies(finals: Mapping[int, float]) -> dict[int, float]:
    """The accuracy to reach at each seed: the mean of the baseline's final validation accuracies at
    the other seeds.

    `finals` by seed. With its own final value as the target a baseline would always arrive, and by
    luck of its last epoch early or at all, where its rival need not: a training with no effect
    would look slower (docs/study.md has the simulation). One seed alone has only its own.
    """
    return {
        seed: float(np.mean([finals[one] for one in finals if one != seed] or own))
        for seed, own in finals.items()
    }


def primary(result: CellResult, target: float | None) -> dict[str, float | None]:
    """The primary endpoints by name; steps are None without a target."""
    _, steps, train, validation, accuracies = (
        [row[name] for row in result.history] for name in CURVES
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
        own = [row for row in result.ood if (row["kind"], row["set"] in known) == (kind, True)]
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
    scales = [
        abs(value - 1)
        for row in (result.history if own else ())
        for name, value in row.items()
        if name.startswith("scale.")
    ]
    rates = [*(result.id.get("rates") or {}).values()]
    terms = {
        name: mean_of(row.get(name) for row in result.history)
        for name in ("reaction", "diffusion", "relaxation")
    }
    reaction = terms.pop("reaction")
    return {
        "log_rate_spread": last.get("log_rate_spread"),
        "saturated_fraction": own.get("saturated_fraction"),
        "largest_deviation": max(scales, default=None),
        **{
            f"{name}_to_reaction": mean / reaction if reaction and mean is not None else None
            for name, mean in terms.items()
        },
        "gain": own.get("gain"),
        "last_rate": rates[-1] if rates else None,
        "silent_layers": sum(rate < SILENT for rate in rates) if rates else None,
    }


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None for none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# Which trainings are compared


@dataclass(frozen=True)
class Matched:
    """The trainings of a study in order, a row each: its `COMBINATION` and the number of that,
    `place`; method and seed; endpoints; the `result` they are of. `settings` are those of each
    method that has a controller; its name carries them where the study has several.

    The trainings of each combination's best constant factor stand there twice: by their method, and
    again `named` `BEST`.
    """

    rows: Frame
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def every(self) -> Frame:
        """Every training once."""
        return self.rows[self.rows.named == self.rows.method]

    @property
    def methods(self) -> list[str]:
        """Every method's name: the baseline, AHSAR, its ablations, frozen, fixed factors rising."""
        return sorted({*self.rows.method}, key=rank_of)

    def against(self, rival: str) -> Frame:
        """Rows beside the row of `rival` at the same combination and seed, where there is one; its
        columns end in '.rival'.
        """
        theirs = self.rows[self.rows.named == rival]
        return self.rows.merge(theirs, on=["place", "seed"], suffixes=("", ".rival"))


def matched(results: Sequence[CellResult]) -> Matched:
    """Order results for comparison. Raises `DataError` where two are of one combination, method and
    seed.
    """
    controllers = [_settings(result) for result in results if _base(result) in CONTROLLED]
    several = any(one != controllers[0] for one in controllers)
    settings: dict[str, Mapping[str, Any]] = {}
    rows = []
    for result in results:
        name, own = _base(result), _settings(result)
        if name in CONTROLLED:
            name += f" {_said(own)}" if own and several else ""
            settings[name] = own
        of = {**_combination(result), "method": name, "seed": result.seed}
        rows.append({**of, "named": name, "result": result})
    rows.sort(
        key=lambda row: ([*map(_rank, combination_of(row))], rank_of(row["method"]), row["seed"])
    )
    frame: Frame = pd.DataFrame(rows, dtype=object)
    frame["place"] = frame.groupby([*COMBINATION], sort=False).ngroup()
    for i in frame.index[frame.duplicated(["place", "method", "seed"])]:
        first, second = frame.result[i - 1], frame.result[i]
        raise DataError(
            f"cells {first.key} and {second.key} are the same training ({frame.method[i]}, seed "
            f"{second.seed}) made twice, by two versions perhaps; remove one of their folders"
        )
    places = []
    for _, own in frame.groupby("place"):
        own = own.join(_numbers(own))
        best = best_fixed(own)
        own["best_fixed"] = own.method == best
        places += [own, own[own.best_fixed].assign(named=BEST)]
    return Matched(pd.concat(places, ignore_index=True), settings)


def _numbers(own: Frame) -> Frame:
    """The endpoints of the trainings of one combination; `late` are those that never reached the
    baseline's accuracy.
    """
    baselines = own.result[own.method == BASELINE]
    finals = {one.seed: one.history[-1]["validation_accuracy"] for one in baselines}
    targets = target_accuracies(finals)
    found = []
    for one in own.result:
        numbers = {**secondary(one), **primary(one, targets.get(one.seed)), **controlled(one)}
        late = (numbers["steps"] or 0) > one.history[-1]["steps"]
        found.append({**numbers, "late": late})
    return pd.DataFrame(found, index=own.index, dtype=object)


def best_fixed(own: Frame) -> str | None:
    """The constant factor with the lowest area under the validation NLL, its mean over seeds, of a
    combination's rows; the baseline is the factor 1. None without another factor.

    Only factors with as many seeds as any of them are compared. Nothing of a test set is read.
    """
    fixed = own[own.method.map(factor_of).notna()]
    if {*fixed.method} <= {BASELINE}:
        return None
    areas = fixed.groupby("method", sort=False).validation_area.agg([len, mean_of])
    return areas[areas["len"] == areas["len"].max()].mean_of.idxmin()


def log_ratios(pairs: Frame, endpoint: str) -> Frame:
    """Logarithms of an endpoint over the rival's, a row for each combination, a column for each
    seed, NaN for a missing pair. Raises `DataError` for values that have no ratio.
    """
    both = pairs.dropna(subset=[endpoint, f"{endpoint}.rival"])
    one, other = both[endpoint], both[f"{endpoint}.rival"]
    for row in both[(one <= 0) | (other <= 0)].to_dict("records"):
        raise DataError(
            f"the {PRIMARY[endpoint]} of {row['method']} and {row['method.rival']}, seed "
            f"{row['seed']}: {row[endpoint]} and {row[f'{endpoint}.rival']} have no ratio; "
            "expected numbers above 0"
        )
    logs = both.assign(log=(one / other).map(math.log))
    return logs.pivot(index="place", columns="seed", values="log")


# Names


def base_of(name: str) -> str:
    """A method's name without the settings of its controller."""
    return name.partition(" ")[0]


def factor_of(name: str) -> float | None:
    """The constant factor on every threshold: S of fixed:S, 1 for the baseline, None for any other
    method.
    """
    if name == BASELINE:
        return 1.0
    return float(name.removeprefix("fixed:")) if name.startswith("fixed:") else None


def title_of(name: str) -> str:
    """A method's name for a table: AHSAR(no RT) for ahsar-no-rt, the settings behind it."""
    base = base_of(name)
    return TITLES.get(base, base) + name.removeprefix(base)


def rank_of(name: str) -> tuple[Any, ...]:
    """Sorts methods' names."""
    return _rank(base_of(name))[0], factor_of(name) or 0.0, name


def _rank(value: Any) -> tuple[int, Any]:
    """Sorts names as the paper's tables do."""
    return [*_ORDER, value].index(value), value


def combination_of(row: Row) -> tuple[Any, ...]:
    """What a row is of."""
    return tuple(row[part] for part in COMBINATION)


def names_of(rows: Iterable[Row], parts: Sequence[str] = NAMED) -> dict[tuple[Any, ...], str]:
    """One line for each combination, of `parts` and of further settings, where several combinations
    agree in all `NAMED` parts and differ in them.
    """
    found = {combination_of(row): row for row in rows}
    settings = {one: json.loads(row["settings"]) for one, row in found.items()}
    differing = {
        name
        for (one, own), (other, theirs) in combinations(settings.items(), 2)
        if one[:-1] == other[:-1]
        for name in {**own, **theirs}
        if own.get(name) != theirs.get(name)
    }

    lines = {}
    for one, row in found.items():
        texts: list[Any] = [
            f"T={row[part]}" if part == "timesteps" else TITLES.get(row[part], row[part])
            for part in parts
        ]
        texts += [f"{name}={settings[one].get(name)}" for name in sorted(differing)]
        lines[one] = ", ".join(texts)
    return lines


def _combination(result: CellResult) -> Row:
    rest = {
        name: value
        for name, value in result.request.items()
        if name not in (*_OF_THE_METHOD, *NAMED)
    }
    settings = json.dumps({**rest, "threads": result.threads}, sort_keys=True)
    own = {**result.request, "modality": result.modality, "settings": settings}
    return {part: own[part] for part in COMBINATION}


def _base(result: CellResult) -> str:
    """The method without a path: frozen scales are AHSAR's own unless they are named as another
    method's.
    """
    kind, _, source = result.method.partition(":")
    if kind == FROZEN and (source == AHSAR or source not in CONTROLLED):
        return FROZEN
    return result.method


def _settings(result: CellResult) -> dict[str, Any]:
    sensing = result.request.get("sensing", "spikes")
    own = {} if sensing == "spikes" else {"sensing": sensing}
    return {**(result.request.get("controller") or {}), **own}


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(settings.items())
    )
