"""Tables of the primary endpoints, of the claims, and of every method's own values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ahsar_eval.results.document import Table
from ahsar_eval.study.claims import BEST_FIXED, Claim, best_fixed, log_ratios, primary_endpoints
from ahsar_eval.study.deltas import compared, settings_of
from ahsar_eval.study.endpoints import (
    PRIMARY,
    column,
    final_accuracies,
    secondary,
    steps_to,
    target_accuracies,
)
from ahsar_eval.study.matching import BASELINE, Combination, Matched, names_of, title_of
from ahsar_eval.study.statistics import student
from ahsar_eval.study.texts import number, p_text, ratio, ratio_span

SIGNIFICANT = 0.05
_SHORT = {"train_area": "training loss", "validation_area": "validation NLL", "steps": "steps"}


def primary_table(study: Matched) -> tuple[Table, list[dict[str, Any]]]:
    """Ratios of the primary endpoints to the matched baseline's, a line for each method, and the
    same as rows.
    """
    values, names = primary_endpoints(study), names_of(study.combinations)
    header = ["method", "seeds"]
    for endpoint in PRIMARY:
        header += [f"{_SHORT[endpoint]}: ratio", "95 % interval"]
    body: list[Sequence[str]] = []
    rows = []
    for combination in study.combinations:
        methods, best, missed = (
            compared(study, combination),
            best_fixed(study, combination),
            never_reached(study, combination),
        )
        lines = []
        for method in methods:
            cells, row = (
                [],
                {**settings_of(combination), "method": method, "best_fixed": method == best},
            )
            for endpoint in PRIMARY:
                result = student(
                    list(log_ratios(values[combination], method, BASELINE, endpoint).values())
                )
                cells += [ratio(result.estimate), ratio_span(result.low, result.high)]
                row |= {
                    f"{endpoint}.log_ratio": result.estimate,
                    f"{endpoint}.low": result.low,
                    f"{endpoint}.high": result.high,
                }
            seeds = len(study.pairs(combination, method))
            never, by_baseline = (
                len(missed[one] & {*study.pairs(combination, method)}) for one in (method, BASELINE)
            )
            row |= {"seeds": seeds, "never_reached": never, "baseline_never_reached": by_baseline}
            rows.append(row)
            lines.append(
                [
                    title_of(method) + (" *" if method == best else ""),
                    f"{seeds}",
                    *cells,
                    f"{never} / {by_baseline}",
                ]
            )
        body += [[f"# {names[combination]}"], *lines] if lines else []
    return Table(
        "Primary endpoints, ratio to the matched baseline (below 1: faster)",
        [*header, "never reached / by the baseline"],
        body,
    ), rows


def never_reached(study: Matched, combination: Combination) -> dict[str, set[int]]:
    """The seeds at which each method never reached the accuracy that its steps are counted to."""
    targets = target_accuracies(final_accuracies(study.seeds(combination, BASELINE)))
    return {
        method: {
            seed
            for seed, result in study.seeds(combination, method).items()
            if seed in targets
            and not steps_to(
                targets[seed], column(result, "steps"), column(result, "validation_accuracy")
            ).reached
        }
        for method in study.cells[combination]
    }


def claims_table(found: Sequence[Claim]) -> tuple[Table, list[dict[str, Any]]]:
    """The claims with Holm's correction, those below 0.05 in bold, and the same as rows."""
    body, rows, bold = [], [], set()
    for place, claim in enumerate(found):
        result = claim.result
        verdict = "not shown"
        if claim.p_holm is not None and claim.p_holm < SIGNIFICANT:
            verdict = "faster" if result.estimate < 0 else "slower"
            bold |= {(place, 7), (place, 8)}
        body.append(
            [
                f"AHSAR against {claim.rival}",
                PRIMARY[claim.endpoint],
                ratio(result.estimate),
                ratio_span(result.low, result.high),
                f"{result.combinations}",
                f"{result.pairs}",
                p_text(result.p_value),
                p_text(claim.p_holm),
                verdict,
            ]
        )
        rows.append(
            {
                "rival": claim.rival,
                "endpoint": claim.endpoint,
                "log_ratio": result.estimate,
                "low": result.low,
                "high": result.high,
                "combinations": result.combinations,
                "pairs": result.pairs,
                "p": result.p_value,
                "p_holm": claim.p_holm,
                "verdict": verdict,
            }
        )
    header = [
        "claim",
        "endpoint",
        "ratio",
        "95 % interval",
        "combinations",
        "pairs",
        "p",
        "p (Holm)",
        "AHSAR is",
    ]
    return Table(
        "Claims, over all combinations and seeds (ratio below 1: AHSAR is faster)",
        header,
        body,
        frozenset(bold),
    ), rows


def value_table(study: Matched) -> tuple[Table, list[dict[str, Any]]]:
    """Means over all seeds of every method's own values, and the same as rows; columns without a
    number are left out.
    """
    areas, names = primary_endpoints(study), names_of(study.combinations)
    rows = []
    for combination in study.combinations:
        best = best_fixed(study, combination)
        for method in study.methods:
            results = study.seeds(combination, method)
            if not results:
                continue
            each = [
                {**secondary(result), **areas[combination][method][seed]}
                for seed, result in results.items()
            ]
            means = {name: _mean([one[name] for one in each]) for name in _VALUES}
            rows.append(
                {
                    **settings_of(combination),
                    "method": method,
                    "best_fixed": method == best,
                    "seeds": len(results),
                    **means,
                }
            )
    shown = [name for name in _VALUES if any(row[name] is not None for row in rows)]
    body: list[Sequence[str]] = []
    for combination in study.combinations:
        body.append([f"# {names[combination]}"])
        for row in rows:
            if all(row[name] == value for name, value in settings_of(combination).items()):
                star = " *" if row["best_fixed"] else ""
                body.append(
                    [
                        title_of(str(row["method"])) + star,
                        f"{row['seeds']}",
                        *(number(row[name], _VALUES[name][1]) for name in shown),
                    ]
                )
    return Table(
        "Values, means over seeds", ["method", "seeds", *(_VALUES[name][0] for name in shown)], body
    ), rows


_VALUES: Mapping[str, tuple[str, int]] = {
    "accuracy": ("accuracy", 3),
    "shifted_accuracy": ("shifted accuracy", 3),
    "auroc": ("AUROC", 3),
    "fpr95": ("FPR@95TPR", 3),
    "shifted_auroc": ("AUROC, shifts", 3),
    "shifted_fpr95": ("FPR@95TPR, shifts", 3),
    "nll": ("NLL", 3),
    "mean_rate": ("mean rate", 3),
    "energy_nj": ("energy, nJ", 1),
    "train_area": ("area, training loss", 3),
    "validation_area": ("area, validation NLL", 3),
    "steps": ("steps to the target", 0),
}


def _mean(values: Sequence[float | None]) -> float | None:
    kept = [value for value in values if value is not None]
    return float(np.mean(kept)) if kept else None


STARRED = (
    f"*: the {BEST_FIXED} of its combination, the lowest mean area under the validation NLL "
    "(the "
    "baseline is the factor 1)"
)
