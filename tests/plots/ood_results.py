"""Results of an OOD evaluation made up for figures: rows and arrays as an evaluation gives them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ahsar_eval.results.results import Kind, Results

KIND = Kind("ood", axes=(), tables=lambda results, detail: [], notes=lambda results: [])
ID = "digits"


def scores(seed: int, n: int = 60, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 1.0, n) + shift


def estimate(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - 0.02, f"{name}_high": value + 0.03}


def results(
    names: Sequence[str] = ("a",),
    sets: Sequence[str] = ("x",),
    *,
    shifts: Sequence[str] = (),
    severities: int = 5,
    labels: Sequence[str] | None = None,
    score: str = "entropy",
    tpr: float = 0.95,
    above: float = 1.0,
) -> Results:
    """`sets` without labels, and `severities` of each of `shifts` of the ID set; `labels` are the
    sets and shifts that keep them, default all shifts.
    """
    kept = set(shifts) if labels is None else set(labels)
    rows: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for k, name in enumerate(names):
        common = {"label": name, "id": ID, "score": score, "tpr": tpr, "set": ID, "shift": None}
        common["n_id"] = 60
        members: list[tuple[str, str, str | None, int]] = [(one, one, None, 0) for one in sets]
        members += [(f"{ID}:{s}:{v}", ID, s, v) for s in shifts for v in range(1, severities + 1)]
        for i, (ood, held, shift, severity) in enumerate([(ID, ID, None, 0), *members]):
            is_id = i == 0
            values = scores(100 * k + i, shift=0 if is_id else above + k / 4 + severity / 5)
            arrays[f"{name}/{ood}/{score}"] = values
            end = "" if is_id else "_ood"
            row: dict[str, Any] = {**common, "ood": ood, "set": held, "shift": shift}
            row |= {"severity": severity, "kind": "id" if is_id else "set"}
            row |= {"same_images": shift is not None, "n_ood": 0 if is_id else 60}
            row |= estimate(f"mean_score{end}", 0.2 + 0.1 * severity)
            row |= estimate(f"mean_rate{end}", 0.3 + k / 10 - 0.01 * severity)
            row |= {} if is_id else estimate("auroc", 0.5 + 0.05 * severity)
            known = is_id or shift in kept or ood in kept
            row |= estimate(f"accuracy{end}", 0.9 - 0.1 * severity)
            row |= {"ece": 0.123, "ece_equal_mass": 0.0456, "aurc": 0.1234}
            if known:
                rng = np.random.default_rng(i)
                arrays[f"{name}/{ood}/confidence"] = 1 - 0.6 * rng.random(60)
                arrays[f"{name}/{ood}/correct"] = rng.random(60) > 0.1 + values / 20
            else:
                row |= dict.fromkeys(
                    (f"accuracy{end}", f"accuracy{end}_low", f"accuracy{end}_high")
                )
            (alone if is_id else rows).append(row)
    return Results(KIND, {"rows": rows, "means": [], "id": alone}, {}, arrays=arrays)
