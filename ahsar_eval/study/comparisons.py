"""What a study finds, as rows of complete numbers: claims, endpoints and differences against the
matched baseline, values of every method, its controller, and the search for its parameters.

Claims were named before anything was run: AHSAR against three rivals on three endpoints, Holm's
correction over all.
"""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import holm
from ahsar_eval.study.endpoints import PRIMARY, controlled, mean_of, secondary
from ahsar_eval.study.matching import (
    AHSAR,
    BASELINE,
    BEST,
    FROZEN,
    NAMED,
    TITLES,
    Arm,
    Matched,
    base_of,
    factor_of,
    names_of,
    title_of,
)
from ahsar_eval.study.statistics import Inference, student

BEST_FIXED = "best fixed factor"
RIVALS = {BASELINE: BASELINE, BEST_FIXED: BEST, FROZEN: FROZEN}
OBJECTIVE = "validation_area"  # of a search
SIGNIFICANT = 0.05
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

Row = dict[str, Any]
Infer = Callable[[Sequence[Mapping[int, float]]], Inference | None]


def log_ratios(ours: Arm | None, theirs: Arm | None, endpoint: str) -> dict[int, float]:
    """Logarithms of a method's endpoint over another's, by matched seed; none where one is not
    there. Raises `DataError` for values that have no ratio.
    """
    if ours is None or theirs is None:
        return {}
    found = {}
    for seed, own in ours.endpoints.items():
        one, other = own[endpoint], theirs.endpoints.get(seed, {}).get(endpoint)
        if one is None or other is None:
            continue
        if one <= 0 or other <= 0:
            raise DataError(
                f"the {PRIMARY[endpoint]} of {ours.method} and {theirs.method}, seed {seed}: {one} "
                f"and {other} have no ratio; expected numbers above 0"
            )
        found[seed] = math.log(one / other)
    return found


def claim_rows(study: Matched, infer: Infer) -> list[Row]:
    """AHSAR against each rival on each primary endpoint: the pooled log ratio, AHSAR's value over
    the rival's; below 0 AHSAR is faster. Claims for which the study has pairs, Holm's correction
    over those with a p-value.
    """
    rows: list[Row] = []
    for rival, name in RIVALS.items():
        for endpoint in PRIMARY:
            both = [(arms.get(AHSAR), arms.get(name)) for arms in study.arms.values()]
            found = infer([log_ratios(ours, theirs, endpoint) for ours, theirs in both])
            if found is not None:
                row = {"rival": rival, "endpoint": endpoint, **_pooled(found)}
                rows.append({**row, "p_holm": None, "verdict": "not shown"})
    tested = [row for row in rows if row["p"] is not None]
    for row, p_holm in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p_holm
        if p_holm < SIGNIFICANT:
            row["verdict"] = "faster" if row["log_ratio"] < 0 else "slower"
    return rows


def _pooled(found: Inference) -> Row:
    return {
        **_log_ratio(found),
        "combinations": found.combinations,
        "pairs": found.pairs,
        "p": found.p_value,
    }


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
    rows = []
    for method in study.methods:
        found, beside = (
            infer(
                [
                    log_ratios(arms.get(method), arms.get(other), OBJECTIVE)
                    for arms in study.arms.values()
                    if other != method
                ]
            )
            for other in (BASELINE, AHSAR)
        )
        if found is not None:
            rows.append({"method": method, **_pooled(found), **_log_ratio(beside, "defaults.")})
    return sorted(rows, key=lambda row: (row["log_ratio"], row["method"]))


def endpoint_rows(study: Matched) -> list[Row]:
    """The primary endpoints of each method over the matched baseline's."""
    rows = []
    for arm in study.every:
        if arm.method == BASELINE or not arm.pairs:
            continue
        arms = study.arms[arm.combination]
        row = {**arm.row, "best_fixed": arms.get(BEST) is arm}
        for endpoint in PRIMARY:
            logs = log_ratios(arm, arms[BASELINE], endpoint)
            row |= _log_ratio(student([*logs.values()]), f"{endpoint}.")
        row["seeds"] = len(arm.pairs)
        for name, one, i in (("never", arm, 0), ("baseline_never", arms[BASELINE], 1)):
            ends = {pair[i].seed: pair[i].history[-1]["steps"] for pair in arm.pairs}
            late = [seed for seed, end in ends.items() if one.endpoints[seed]["steps"] > end]
            row[f"{name}_reached"] = len(late)
        rows.append(row)
    return rows


def value_rows(study: Matched) -> list[Row]:
    """Means over all seeds of every method's own values."""
    rows = []
    for arm in study.every:
        each = [{**secondary(one), **arm.endpoints[seed]} for seed, one in arm.results.items()]
        best = study.arms[arm.combination].get(BEST) is arm
        rows.append({**arm.row, "best_fixed": best, "seeds": len(each), **_means(each)})
    return rows


def controller_rows(study: Matched) -> list[Row]:
    """What the controller did, of the baseline, frozen scales and controllers: means over seeds,
    and the spread of rates over the matched baseline's.
    """
    rows = []
    for arm in study.every:
        if factor_of(arm.method) is not None and arm.method != BASELINE:
            continue
        each = [controlled(result) for result in arm.results.values()]
        pairs = arm.pairs if arm.method != BASELINE else []
        spreads = [[controlled(one)["log_rate_spread"] for one in pair] for pair in pairs]
        logs = [float(np.log(one / other)) for one, other in spreads if one and other]
        beside = _log_ratio(student(logs) if logs else None, "spread.")
        rows.append({**arm.row, "seeds": len(each), **_means(each), **beside})
    return rows


def _means(each: Sequence[Mapping[str, float | None]]) -> Row:
    return {name: mean_of(one[name] for one in each) for name in each[0]}


def delta_rows(study: Matched) -> list[Row]:
    """Differences from the matched baseline in percentage points, with Student's interval over
    seeds and the paper's own figure: of controllers, frozen, and each combination's best fixed
    factor.
    """
    rows = []
    for arms in study.arms.values():
        for name, arm in arms.items():
            if factor_of(name) is not None:
                continue
            both = [
                (secondary(ours, theirs), secondary(theirs, ours)) for ours, theirs in arm.pairs
            ]
            for quantity, table in PAPER.items():
                values = [(one[quantity], other[quantity]) for one, other in both]
                points = [100 * (a - b) for a, b in values if a is not None and b is not None]
                if not points:
                    continue
                found = student(points)
                rows.append(
                    {
                        **asdict(arm.combination),
                        "row": name,
                        "method": arm.method,
                        "quantity": quantity,
                        "delta_points": found.estimate,
                        "low": found.low,
                        "high": found.high,
                        "seeds": len(points),
                        "epochs": max(len(ours.history) for ours, _ in arm.pairs),
                        "paper_points": paper_table(table).get(
                            tuple(arm.row[one] for one in PRINTED)
                        ),
                    }
                )
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
    shared = [
        part
        for part in ("data", "timesteps")
        if len({getattr(one, part) for one in study.arms}) == 1
    ]
    panels = names_of(study.arms, [part for part in NAMED if part not in shared])
    rows = []
    for arms in study.arms.values():
        lines = (BASELINE, AHSAR, FROZEN)
        drawn = {title_of(name): arm for name, arm in arms.items() if base_of(name) in lines}
        if BEST in arms and arms[BEST].method != BASELINE:
            drawn[BEST_FIXED] = arms[BEST]
        for title, arm in drawn.items():
            for seed, result in arm.results.items():
                named = {"panel": panels[arm.combination], "method": title, "seed": seed}
                rows += [{**named, **{one: row[one] for one in _DRAWN}} for row in result.history]
    return rows


_DRAWN = ("steps", "train_loss", "validation_loss")
