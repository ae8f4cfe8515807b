"""What a study finds, as rows of complete numbers: claims, endpoints and differences against the
matched baseline, values of every method, its controller, and the search for its parameters.

Trainings are matched as rows of one table: the same combination of settings, another method, the
same seed. Claims were named before anything was run: AHSAR against three rivals on three endpoints,
Holm's correction over all.
"""

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import holm
from ahsar_eval.study.cell_results import (
    PRIMARY,
    CellResult,
    controlled,
    mean_of,
    primary,
    secondary,
    target_accuracies,
)
from ahsar_eval.study.statistics import Inference, student

BASELINE, AHSAR, FROZEN, BEST = "baseline", "ahsar", "frozen", "best fixed"
CONTROLLED = (AHSAR, "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain")
BEST_FIXED = "best fixed factor"
RIVALS = {BASELINE: BASELINE, BEST_FIXED: BEST, FROZEN: FROZEN}
OBJECTIVE = "validation_area"  # of a search
SIGNIFICANT = 0.05
TITLES = {  # as the paper has them
    "ahsar": "AHSAR",
    "ahsar-no-rt": "AHSAR(no RT)",
    "ahsar-no-dh": "AHSAR(no DH)",
    "ahsar-no-gain": "AHSAR(no gain)",
    "bptt": "BPTT",
    "resnet18": "ResNet-18",
    "vgg13": "VGGNet-13",
}
# Differences that are shown, and the paper's table that each stands beside.
PAPER = {
    "accuracy": "table1_accuracy_id",
    "shifted_accuracy": "table2_accuracy_ood",
    "auroc": "table4_auroc",
    "fpr95": "table4_fpr95",
    "shifted_auroc": "table4_auroc",
    "shifted_fpr95": "table4_fpr95",
}
PRINTED = ("paradigm", "step_mode", "backbone", "method", "modality", "timesteps")

# In the order of the paper's tables.
_ORDER = {"paradigm": ("bptt", "rate"), "step_mode": ("s", "m"), "backbone": ("resnet18", "vgg13")}
NAMED = ("data", *_ORDER, "timesteps")
# All settings but method and seed; "settings" holds those without a column of their own as JSON.
COMBINATION = ("data", "modality", *_ORDER, "timesteps", "settings")
# What a method decides; everything else in a request must agree with the baseline's.
_OF_THE_METHOD = ("method", "seed", "controller", "sensing")
_DRAWN = ("steps", "train_loss", "validation_loss")

Row = dict[str, Any]
Infer = Callable[[pd.DataFrame], Inference]


# Which trainings are compared


@dataclass(frozen=True)
class Matched:
    """The trainings of a study in order, a row each: its `COMBINATION` and the number of that,
    `place`; method and seed; endpoints; the `result` they are of. `settings` are those of each
    method that has a controller; its name carries them where the study has several.

    The trainings of each combination's best constant factor stand there twice: by their method, and
    again `named` `BEST`.
    """

    rows: pd.DataFrame
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def every(self) -> pd.DataFrame:
        """Every training once."""
        return self.rows[self.rows.named == self.rows.method]

    @property
    def methods(self) -> list[str]:
        """Every method's name: the baseline, AHSAR, its ablations, frozen, fixed factors rising."""
        return sorted({*self.rows.method}, key=rank_of)

    def against(self, rival: str) -> pd.DataFrame:
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
        name = _base(result)
        if name in CONTROLLED:
            own = _settings(result)
            name += f" {_said(own)}" if own and several else ""
            settings[name] = own
        of = {**_combination(result), "method": name, "seed": result.seed}
        rows.append({**of, "named": name, "result": result})
    rows.sort(key=lambda row: (_rank_of(row), rank_of(row["method"]), row["seed"]))
    frame = pd.DataFrame(rows, dtype=object)
    frame["place"] = frame.groupby([*COMBINATION], sort=False).ngroup()
    for row in frame[frame.duplicated(["place", "method", "seed"])].itertuples():
        first, second = frame.result[row.Index - 1], row.result
        raise DataError(
            f"cells {first.key} and {second.key} are the same training ({row.method}, seed "
            f"{row.seed}) made twice, by two versions perhaps; remove one of their folders"
        )
    places = []
    for _, own in frame.groupby("place"):
        own = own.join(_numbers(own))
        best = best_fixed(own)
        own["best_fixed"] = own.method == best
        places += [own, own[own.best_fixed].assign(named=BEST)]
    return Matched(pd.concat(places, ignore_index=True), settings)


def _numbers(own: pd.DataFrame) -> pd.DataFrame:
    """The endpoints of the trainings of one combination; `late` are those that never reached the
    baseline's accuracy.
    """
    last = {one.seed: one.history[-1] for one in own.result[own.method == BASELINE]}
    targets = target_accuracies({seed: row["validation_accuracy"] for seed, row in last.items()})
    found = []
    for one in own.result:
        numbers = {**secondary(one), **primary(one, targets.get(one.seed)), **controlled(one)}
        late = (numbers["steps"] or 0) > one.history[-1]["steps"]
        found.append({**numbers, "late": late})
    return pd.DataFrame(found, index=own.index, dtype=object)


def best_fixed(own: pd.DataFrame) -> str | None:
    """The constant factor with the lowest area under the validation NLL, its mean over seeds, of a
    combination's rows; the baseline is the factor 1. None without another factor.

    Only factors with as many seeds as any of them are compared. Nothing of a test set is read.
    """
    areas = {
        name: [*areas]
        for name, areas in own.groupby("method", sort=False).validation_area
        if factor_of(name) is not None
    }
    if not {*areas} - {BASELINE}:
        return None
    most = max(map(len, areas.values()))
    whole = {name: float(np.mean(own)) for name, own in areas.items() if len(own) == most}
    return min(whole, key=whole.__getitem__)


def log_ratios(pairs: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Logarithms of an endpoint over the rival's, a row for each combination, a column for each
    seed, NaN for a missing pair. Raises `DataError` for values that have no ratio.
    """
    both = pairs.dropna(subset=[endpoint, f"{endpoint}.rival"])
    logs = []
    for row in both.to_dict("records"):
        one, other = row[endpoint], row[f"{endpoint}.rival"]
        if one <= 0 or other <= 0:
            raise DataError(
                f"the {PRIMARY[endpoint]} of {row['method']} and {row['method.rival']}, seed "
                f"{row['seed']}: {one} and {other} have no ratio; expected numbers above 0"
            )
        logs.append(math.log(one / other))
    return both.assign(log=logs).pivot(index="place", columns="seed", values="log")


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
    return _rank(base_of(name), (BASELINE, *CONTROLLED, FROZEN)), factor_of(name) or 0.0, name


def _rank(name: str, known: Sequence[str]) -> int:
    return [*known, name].index(name)


def _rank_of(row: Row) -> tuple[Any, ...]:
    """Sorts combinations as the paper's tables do."""
    ranks = [_rank(row[part], known) for part, known in _ORDER.items()]
    return row["data"], *ranks, *(row[part] for part in COMBINATION[2:])


def combination_of(row: Row) -> tuple[Any, ...]:
    """What a row is of."""
    return tuple(row[part] for part in COMBINATION)


def names_of(rows: Iterable[Row], parts: Sequence[str] = NAMED) -> dict[tuple[Any, ...], str]:
    """One line for each combination, of `parts` and of further settings, where several combinations
    agree in all `NAMED` parts and differ in them.
    """
    found = {combination_of(row): row for row in rows}
    settings = {one: json.loads(row["settings"]) for one, row in found.items()}
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one, own in settings.items():
        alike.setdefault(one[:-1], []).append(own)
    differing = {
        name
        for those in alike.values()
        for name in set().union(*those)
        if any(own.get(name) != those[0].get(name) for own in those)
    }

    def line(one: tuple[Any, ...], row: Row) -> str:
        texts = [
            f"T={row[part]}" if part == "timesteps" else TITLES.get(row[part], row[part])
            for part in parts
        ]
        further = [f"{name}={settings[one].get(name)}" for name in sorted(differing)]
        return ", ".join([*texts, *further])

    return {one: line(one, row) for one, row in found.items()}


def _combination(result: CellResult) -> Row:
    request = result.request
    rest = {name: request[name] for name in request if name not in (*_OF_THE_METHOD, *NAMED)}
    settings = json.dumps({**rest, "threads": result.threads}, sort_keys=True)
    own = {**request, "modality": result.modality, "settings": settings}
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


# What is found


def claim_rows(study: Matched, infer: Infer) -> list[Row]:
    """AHSAR against each rival on each primary endpoint: the pooled log ratio, AHSAR's value over
    the rival's; below 0 AHSAR is faster. Claims for which the study has pairs, Holm's correction
    over those with a p-value.
    """
    rows: list[Row] = []
    for rival, name in RIVALS.items():
        pairs = study.against(name)
        for endpoint in PRIMARY:
            logs = log_ratios(pairs[pairs.named == AHSAR], endpoint)
            if logs.size:
                row = {"rival": rival, "endpoint": endpoint, **_pooled(infer(logs))}
                rows.append({**row, "p_holm": None, "verdict": "not shown"})
    tested = [row for row in rows if row["p"] is not None]
    for row, p_holm in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p_holm
        if p_holm < SIGNIFICANT:
            row["verdict"] = "faster" if row["log_ratio"] < 0 else "slower"
    return rows


def _pooled(found: Inference) -> Row:
    counts = {"combinations": found.combinations, "pairs": found.pairs, "p": found.p_value}
    return {**_log_ratio(found), **counts}


def _log_ratio(found: Inference | None, prefix: str = "") -> Row:
    names = {"log_ratio": "estimate", "low": "low", "high": "high"}
    return {f"{prefix}{key}": getattr(found, name, None) for key, name in names.items()}


def search_rows(study: Matched, infer: Infer) -> list[Row]:
    """Settings of the controller and other methods by the log ratio of the area under the
    validation NLL to the matched baseline's, the best first, and the same ratio to AHSAR at its
    defaults where the study has it. On validation data alone.

    Empty unless a method stands in the study with several settings of its controller.
    """
    if len({*map(base_of, study.settings)}) == len(study.settings):
        return []
    rivals = {name: study.against(name) for name in (BASELINE, AHSAR)}
    rows = []
    for method in study.methods:
        found = {}
        for rival, pairs in rivals.items():
            logs = log_ratios(pairs[pairs.named == method], OBJECTIVE)
            found[rival] = infer(logs) if logs.size and rival != method else None
        if (beside := found[BASELINE]) is not None:
            defaults = _log_ratio(found[AHSAR], "defaults.")
            rows.append({"method": method, **_pooled(beside), **defaults})
    return sorted(rows, key=lambda row: (row["log_ratio"], row["method"]))


def _arms(rows: pd.DataFrame) -> Iterable[tuple[Row, pd.DataFrame]]:
    """The rows of each method in each combination, and what they are of."""
    for _, own in rows.groupby(["place", "named"], sort=False):
        (of, *_) = own[[*COMBINATION, "method"]].to_dict("records")
        yield of, own


def endpoint_rows(study: Matched) -> list[Row]:
    """The primary endpoints of each method over the matched baseline's."""
    pairs = study.against(BASELINE)
    rows = []
    for of, own in _arms(pairs[(pairs.named == pairs.method) & (pairs.method != BASELINE)]):
        row = {**of, "best_fixed": bool(own.best_fixed.iloc[0])}
        for endpoint in PRIMARY:
            logs = log_ratios(own, endpoint)
            row |= _log_ratio(student(logs.to_numpy()[0]), f"{endpoint}.")
        never = {"never_reached": int(own.late.sum())}
        never["baseline_never_reached"] = int(own["late.rival"].sum())
        rows.append({**row, "seeds": len(own), **never})
    return rows


def value_rows(study: Matched) -> list[Row]:
    """Means over all seeds of every method's own values."""
    rows = []
    for of, own in _arms(study.every):
        row = {**of, "best_fixed": bool(own.best_fixed.iloc[0]), "seeds": len(own)}
        rows.append({**row, **_means(own, [*secondary(own.result.iloc[0]), *PRIMARY])})
    return rows


def controller_rows(study: Matched) -> list[Row]:
    """What the controller did, of the baseline, frozen scales and controllers: means over seeds,
    and the spread of rates over the matched baseline's.
    """
    pairs = study.against(BASELINE)
    rows = []
    for of, own in _arms(study.every):
        name = of["method"]
        if factor_of(name) is not None and name != BASELINE:
            continue
        both = pairs[(pairs.place == own.place.iloc[0]) & (pairs.named == name)]
        spreads = zip(both.log_rate_spread, both["log_rate_spread.rival"], strict=True)
        logs = [float(np.log(a / b)) for a, b in spreads if a and b and name != BASELINE]
        beside = _log_ratio(student(logs) if logs else None, "spread.")
        rows.append(
            {**of, "seeds": len(own), **_means(own, controlled(own.result.iloc[0])), **beside}
        )
    return rows


def _means(own: pd.DataFrame, names: Iterable[str]) -> Row:
    return {name: mean_of(own[name]) for name in names}


def delta_rows(study: Matched) -> list[Row]:
    """Differences from the matched baseline in percentage points, with Student's interval over
    seeds and the paper's own figure: of controllers, frozen, and each combination's best fixed
    factor.
    """
    rows = []
    pairs = study.against(BASELINE)
    for of, own in _arms(pairs[pairs.named.map(factor_of).isna()]):
        results = [*zip(own.result, own["result.rival"], strict=True)]
        both = [(secondary(ours, theirs), secondary(theirs, ours)) for ours, theirs in results]
        for quantity, table in PAPER.items():
            values = [(one[quantity], other[quantity]) for one, other in both]
            points = [100 * (a - b) for a, b in values if a is not None and b is not None]
            if not points:
                continue
            found = student(points)
            numbers = {
                "delta_points": found.estimate,
                "low": found.low,
                "high": found.high,
                "seeds": len(points),
                "epochs": max(len(ours.history) for ours, _ in results),
                "paper_points": paper_table(table).get(tuple(of[one] for one in PRINTED)),
            }
            place = {part: of[part] for part in COMBINATION}
            named = {"row": own.named.iloc[0], "method": of["method"], "quantity": quantity}
            rows.append({**place, **named, **numbers})
    return rows


@cache
def paper_table(name: str) -> dict[tuple[Any, ...], float]:
    """A table of the paper by `PRINTED`: differences from the baseline in percentage points."""
    file = resources.files("ahsar_eval.study").joinpath("paper", f"{name}.csv")
    names = {title: name for name, title in TITLES.items()}
    found = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        *setting, timesteps = (names.get(row[part], row[part]) for part in PRINTED)
        found[(*setting, int(timesteps))] = float(row["delta_percent"])
    return found


def course_rows(study: Matched) -> list[Row]:
    """How the baseline, AHSAR (at each of its settings), frozen and the best fixed factor converge:
    a row for each combination, method, seed and epoch, with the losses that a figure draws.
    """
    shared = [part for part in ("data", "timesteps") if study.rows[part].nunique() == 1]
    parts = [part for part in NAMED if part not in shared]
    panels = names_of(study.rows[[*COMBINATION]].to_dict("records"), parts)
    rows = []
    for of, own in _arms(study.rows):
        name = own.named.iloc[0]
        if base_of(name) in (BASELINE, AHSAR, FROZEN):
            title = title_of(name)
        elif name == BEST and of["method"] != BASELINE:
            title = BEST_FIXED
        else:
            continue
        for result in own.result:
            named = {"panel": panels[combination_of(of)], "method": title, "seed": result.seed}
            rows += [{**named, **{one: row[one] for one in _DRAWN}} for row in result.history]
    return rows
