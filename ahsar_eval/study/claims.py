"""The claims of a study, named before anything was run: AHSAR against three rivals on three
endpoints, Holm's correction over all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood import holm
from ahsar_eval.study.endpoints import PRIMARY, final_accuracies, primary, target_accuracies
from ahsar_eval.study.matching import AHSAR, BASELINE, FROZEN, Combination, Matched, factor_of
from ahsar_eval.study.statistics import REPLICATES, Inference, pooled, table_of

BEST_FIXED = "best fixed factor"
RIVALS = (BASELINE, BEST_FIXED, FROZEN)


@dataclass(frozen=True)
class Claim:
    """AHSAR against one rival on one primary endpoint: the pooled log ratio, AHSAR's value over the
    rival's; below 0 AHSAR is faster.
    """

    rival: str
    endpoint: str
    result: Inference
    p_holm: float | None


def primary_endpoints(
    study: Matched,
) -> dict[Combination, dict[str, dict[int, dict[str, float | None]]]]:
    """The primary endpoints of every result by combination, method and seed."""
    found: dict[Combination, dict[str, dict[int, dict[str, float | None]]]] = {}
    for combination in study.combinations:
        targets = target_accuracies(final_accuracies(study.seeds(combination, BASELINE)))
        found[combination] = {
            method: {
                seed: primary(result, targets.get(seed))
                for seed, result in study.seeds(combination, method).items()
            }
            for method in study.cells[combination]
        }
    return found


def best_fixed(study: Matched, combination: Combination) -> str | None:
    """The constant factor with the lowest area under the validation NLL, its mean over seeds; the
    baseline is the factor 1.

    Only factors with as many seeds as any of them are compared. None where the combination has no
    fixed:S. Nothing of a test set is read.
    """
    names = [
        method
        for method in study.methods
        if factor_of(method) is not None and method in study.cells[combination]
    ]
    if not any(method != BASELINE for method in names):
        return None
    most = max(len(study.cells[combination][method]) for method in names)
    areas = {}
    for method in names:
        results = study.seeds(combination, method)
        if len(results) == most:
            areas[method] = float(
                np.mean([primary(result, None)["validation_area"] for result in results.values()])
            )
    return min(areas, key=lambda method: areas[method])


def rival_in(study: Matched, combination: Combination, rival: str) -> str | None:
    """The method that stands for one of `RIVALS` in a combination; None where it has none."""
    if rival == BEST_FIXED:
        return best_fixed(study, combination)
    return rival if rival in study.cells[combination] else None


def log_ratios(
    endpoints: Mapping[str, Mapping[int, Mapping[str, float | None]]],
    method: str,
    against: str,
    endpoint: str,
) -> dict[int, float]:
    """Logarithms of a method's endpoint over another's, by matched seed; `endpoints` are those of
    one combination.
    """
    found = {}
    for seed, ours in endpoints.get(method, {}).items():
        theirs = endpoints.get(against, {}).get(seed)
        if theirs is not None and ours[endpoint] is not None and theirs[endpoint] is not None:
            found[seed] = _log_ratio(
                ours[endpoint],
                theirs[endpoint],
                f"the {PRIMARY[endpoint]} of {method} and {against}, seed {seed}",
            )
    return found


def claims(study: Matched, *, replicates: int = REPLICATES, seed: int = 0) -> list[Claim]:
    """Every claim for which the study has pairs, Holm's correction over those with a p-value; none
    without AHSAR.
    """
    values = primary_endpoints(study)
    found: list[tuple[str, str, Inference]] = []
    for rival in RIVALS:
        for endpoint in PRIMARY:
            rows = []
            for combination in study.combinations:
                against = rival_in(study, combination, rival)
                if against is not None:
                    rows.append(log_ratios(values[combination], AHSAR, against, endpoint))
            kept = [row for row in rows if row]
            if kept:
                found.append(
                    (rival, endpoint, pooled(table_of(kept), replicates=replicates, seed=seed))
                )
    return _corrected(found)


def _corrected(found: Sequence[tuple[str, str, Inference]]) -> list[Claim]:
    tested = [result.p_value for _, _, result in found if result.p_value is not None]
    adjusted = iter(holm(tested))
    return [
        Claim(rival, endpoint, result, None if result.p_value is None else next(adjusted))
        for rival, endpoint, result in found
    ]


def _log_ratio(ours: float | None, theirs: float | None, what: str) -> float:
    if not ours or not theirs or ours < 0 or theirs < 0:
        raise DataError(f"{what}: {ours} and {theirs} have no ratio; expected numbers above 0")
    return math.log(ours / theirs)
