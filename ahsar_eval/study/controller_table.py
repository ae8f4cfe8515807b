"""What the controller did: are rates regulated, do scales saturate, does diffusion undo the
reaction, is the deep end silent?
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ahsar_eval.results.document import Table
from ahsar_eval.study.deltas import settings_of
from ahsar_eval.study.matching import BASELINE, Matched, factor_of, names_of, title_of
from ahsar_eval.study.results import CellResult
from ahsar_eval.study.statistics import student
from ahsar_eval.study.texts import number, ratio, ratio_span

SILENT = 1e-3  # spikes per neuron and step, on the test set

_COLUMNS: Mapping[str, tuple[str, int]] = {
    "log_rate_spread": ("spread of log rates", 3),
    "saturated_fraction": ("saturated", 3),
    "largest_deviation": ("largest |s − 1|", 3),
    "diffusion_to_reaction": ("diffusion / reaction", 2),
    "relaxation_to_reaction": ("relaxation / reaction", 2),
    "gain": ("gain", 3),
    "last_rate": ("last layer's rate", 4),
    "silent_layers": ("silent layers", 1),
}


def controller_table(study: Matched) -> tuple[Table, list[dict[str, Any]]]:
    """A line for each combination and method that is the baseline, frozen, or has a controller;
    means over seeds, and the same as rows.
    """
    names = names_of(study.combinations)
    body: list[Sequence[str]] = []
    rows = []
    for combination in study.combinations:
        lines = []
        for method in study.methods:
            results = study.seeds(combination, method)
            if not results or (factor_of(method) is not None and method != BASELINE):
                continue
            each = [observed(result) for result in results.values()]
            means = {name: _mean([one[name] for one in each]) for name in _COLUMNS}
            logs = _spread_ratios(study.pairs(combination, method)) if method != BASELINE else []
            beside = student(logs) if logs else None
            found = (
                (None, None, None) if beside is None else (beside.estimate, beside.low, beside.high)
            )
            rows.append(
                {**settings_of(combination), "method": method, "seeds": len(results), **means}
                | dict(zip(("spread.log_ratio", "spread.low", "spread.high"), found, strict=True))
            )
            cells = [number(means[name], digits) for name, (_, digits) in _COLUMNS.items()]
            lines.append(
                [
                    title_of(method),
                    f"{len(results)}",
                    cells[0],
                    ratio(found[0]),
                    ratio_span(*found[1:]),
                    *cells[1:],
                ]
            )
        if any(line[0] != title_of(BASELINE) for line in lines):
            body += [[f"# {names[combination]}"], *lines]
    titles = [title for title, _ in _COLUMNS.values()]
    header = ["method", "seeds", titles[0], "to the baseline's", "95 % interval", *titles[1:]]
    return Table("The controller at the end of training, means over seeds", header, body), rows


def observed(result: CellResult) -> dict[str, float | None]:
    """What one training says of its controller and rates; None where it says nothing (no
    controller, or no such column).

    The spread is that of the last epoch on the hold-out. Scales, saturation and gain are of the
    last epoch; the largest |s − 1| is over all epochs and units. The three terms are compared by
    their means over epochs of the root mean square of each epoch's last tick.
    """
    last = result.history[-1]
    rates = [float(rate) for rate in (result.id.get("rates") or {}).values()]
    scales = [
        abs(float(value) - 1)
        for row in result.history
        for name, value in row.items()
        if name.startswith("scale.") and value is not None
    ]
    reaction = _mean([row.get("reaction") for row in result.history])
    parts = {
        name: _mean([row.get(name) for row in result.history])
        for name in ("diffusion", "relaxation")
    }
    return {
        "log_rate_spread": _number(last.get("log_rate_spread")),
        "saturated_fraction": _number(last.get("saturated_fraction"))
        if result.controller
        else None,
        "largest_deviation": max(scales) if scales and result.controller else None,
        **{
            f"{name}_to_reaction": value / reaction if value is not None and reaction else None
            for name, value in parts.items()
        },
        "gain": _number(last.get("gain")) if result.controller else None,
        "last_rate": rates[-1] if rates else None,
        "silent_layers": float(sum(rate < SILENT for rate in rates)) if rates else None,
    }


def _spread_ratios(pairs: Mapping[int, tuple[CellResult, CellResult]]) -> list[float]:
    spreads = [
        (observed(ours)["log_rate_spread"], observed(theirs)["log_rate_spread"])
        for ours, theirs in pairs.values()
    ]
    return [float(np.log(one / other)) for one, other in spreads if one and other]


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _mean(values: Sequence[Any]) -> float | None:
    kept = [float(value) for value in values if value is not None and value != ""]
    return float(np.mean(kept)) if kept else None
