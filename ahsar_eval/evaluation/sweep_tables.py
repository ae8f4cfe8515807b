"""How a threshold sweep is shown: where each network works and would be best, every scale, every
layer, and the trainings at each scale.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Row, Table

_ACCURACY = Column("accuracy", "accuracy")
_GATE, _SLOPE = Column("gate", "G"), Column("slope", "−∂r/∂θ")
_RATIO = Column("ratio", "G / (−∂r/∂θ)")
SUMMARY = [
    Column("checkpoint", "checkpoint"),
    Column("scale", "own factor"),
    Column("range", "range over layers"),
    _ACCURACY,
    Column("best_accuracy", "best accuracy"),
    Column("best_nll", "lowest NLL"),
    Column("rate_falls", "rate falls in s"),
    _RATIO,
    Column("correlation", "correlation"),
]
LAYERS = [
    Column("checkpoint", "checkpoint"),
    Column("layer", "layer"),
    Column("threshold", "θ"),
    Column("rate", "r"),
    _GATE,
    _SLOPE,
    Column("density", "p(θ)"),
    _RATIO,
]
TRAININGS = [
    Column("trained_at", "trained at"),
    Column("seeds", "seeds"),
    Column("epochs", "epochs"),
    Column("mean_train_loss", "mean training loss"),
    Column("last_train_loss", "last training loss"),
    Column("mean_validation_loss", "mean hold-out NLL"),
    Column("last_validation_loss", "last hold-out NLL"),
    Column("best_validation_accuracy", "best hold-out accuracy"),
    Column("last_mean_rate", "mean rate"),
    Column("diverged", "diverged"),
]


def _tables(results: Results, detail: bool) -> list[Table]:
    points = results.records["point"]
    names = list(dict.fromkeys(row["checkpoint"] for row in points))
    networks = [[row for row in points if row["checkpoint"] == name] for name in names]
    tables = []
    if points:
        title = f"Threshold sweep on {points[0]['set']} ({points[0]['role']})"
        tables = [Table(title, SUMMARY, [_summary(rows) for rows in networks])]
    tables += [_scale_table(rows) for rows in networks]
    if detail and points:
        layers = [{**row, "ratio": _ratio(row)} for row in results.records["layer"] if row["own"]]
        title = "Layers at the network's own thresholds"
        tables.append(Table(title, LAYERS, layers, names=("checkpoint",)))
    return [*tables, *([_training_table(results)] if results.records["epoch"] else [])]


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    (own,), scales = [row for row in rows if row["own"]], at_one_factor(rows)
    gates, slopes = (np.array([row[name] for row in scales]) for name in ("gate", "slope"))
    varies = len(scales) > 2 and gates.std() and slopes.std()
    found: dict[str, Any] = {
        "range": None if _is_uniform(own) else f"{own['scale_low']:.3f}–{own['scale_high']:.3f}",
        "rate_falls": rate_falls(scales),
        "ratio": _ratio(own),
        "correlation": float(np.corrcoef(gates, slopes)[0, 1]) if varies else None,
    }
    for metric in ("accuracy", "nll"):
        best = best_point(scales, metric)
        found[f"best_{metric}"] = best and f"{best[metric]:.3f} at {best['scale']:g}"
    return {**own, **found}


def at_one_factor(rows: Sequence[Row]) -> list[Row]:
    """The points of a network at one factor on every threshold, ascending."""
    return sorted(filter(_is_uniform, rows), key=lambda row: row["scale"])


def _is_uniform(row: Row) -> bool:
    return row["scale_low"] == row["scale_high"]


def best_point(scales: Sequence[Row], metric: str) -> Row | None:
    """The scale of highest accuracy or lowest NLL, of equal ones the one nearest to 1; None without
    labels.
    """
    sign = -1 if metric == "accuracy" else 1
    known = [row for row in scales if row[metric] is not None]
    return min(known, key=lambda row: (sign * row[metric], abs(row["scale"] - 1)), default=None)


def rate_falls(scales: Sequence[Row]) -> str:
    """'yes', or the first scale at which the mean rate does not fall."""
    for before, after in pairwise(scales):
        if after["mean_rate"] >= before["mean_rate"] > 0:
            return f"not at {after['scale']:g}"
    return "yes"


def _ratio(row: Row) -> float | None:
    return row["gate"] / row["slope"] if row["slope"] > 0 else None


def _scale_table(rows: Sequence[Row]) -> Table:
    """A network at every scale; its own thresholds first where they are no single factor."""
    (own,), scales = [row for row in rows if row["own"]], at_one_factor(rows)
    sets = [key for key in own if key.startswith("auroc ") and f"{key}_low" in own]
    columns = [
        Column("s", "s"),
        Column("accuracy", "accuracy", interval=True),
        Column("nll", "NLL"),
        Column("mean_rate", "mean rate"),
        Column("energy_pj", "nJ per inference", ",.2f", divide=1000),
        *(Column(key, key.replace("auroc", "AUROC,", 1), interval=True) for key in sets),
        _GATE,
        _SLOPE,
    ]
    shown: list[Row] = []
    for row in scales if _is_uniform(own) else [own, *scales]:
        scale = f"{row['scale']:g}" if _is_uniform(row) else f"{row['scale']:.3f}"
        after_own = bool(shown) and not _is_uniform(shown[-1])
        shown.append({**row, "s": f"{scale} (own)" if row["own"] else scale, "rule": after_own})
    return Table(own["checkpoint"], columns, shown)


def _training_table(results: Results) -> Table:
    """A line per scale, and AHSAR's: means over seeds; the means over epochs are the areas under
    the curves, per epoch.
    """
    asked = results.facts["trainings"]
    rows = [
        _trained(method, [one for one in asked if one["method"] == method], results)
        for method in dict.fromkeys(one["method"] for one in asked)
    ]
    how = "{backbone} on {data}, {paradigm}, step mode {step_mode}".format(**asked[0])
    return Table(f"Trained at each scale: {how}", TRAININGS, rows)


def _trained(method: str, asked: Sequence[Mapping[str, Any]], results: Results) -> dict[str, Any]:
    epochs = [row for row in results.records["epoch"] if row["method"] == method]
    runs = [[row for row in epochs if row["seed"] == one["seed"]] for one in asked]
    whole = [rows for rows in runs if not rows[0]["diverged"]]
    factor = f"AHSAR ({np.mean([rows[0]['scale'] for rows in runs]):.3f})" if whole else "AHSAR"
    names = {"baseline": "1 (baseline)", "ahsar": factor}

    def mean(over_epochs: Any, key: str) -> float | None:
        values = [float(over_epochs([row[key] for row in rows])) for rows in whole]
        return float(np.mean(values)) if values else None

    def last(values: Sequence[float]) -> float:
        return values[-1]

    losses = ("train_loss", "validation_loss")
    return {
        "trained_at": names.get(method, method.partition(":")[2]),
        "seeds": len(runs),
        "epochs": asked[0]["epochs"],
        **{f"mean_{key}": mean(np.mean, key) for key in losses},
        **{f"last_{key}": mean(last, key) for key in (*losses, "mean_rate")},
        "best_validation_accuracy": mean(max, "validation_accuracy"),
        "diverged": len(runs) - len(whole) or "",
        "rule": method == "ahsar",
    }


def _notes(results: Results) -> list[str]:
    """What a reader must know to read these tables."""
    points, epochs = results.records["point"], results.records["epoch"]
    notes = []
    if points:
        notes = [
            "s is a factor on every base threshold; own: the thresholds the network is used with, "
            "by the mean of their factors over layers.",
            "G = E[ψ′(u − θ)] and −∂r/∂θ are per unit of a layer's own θ with its input held, "
            "unweighted means over layers; along s each layer's input changes, too. −∂r/∂θ by "
            f"central difference at θ(1 ± {points[0]['gate_step']:g}), the reset's answer to θ "
            "included; p(θ), in files, is the share of membranes within that range of θ, divided "
            "by its width. Ratio: at the network's own thresholds; correlation: over all scales.",
        ]
    if any(row["role"] != "validation" for row in points):
        notes.append(
            "Nothing is chosen here: a scale that is best on this set must be judged on another; "
            "choose with --on validation."
        )
    if any(row["accuracy"] is None for row in points):
        notes.append("– : no accuracy, for labels are unknown or of other classes.")
    if epochs:
        notes.append(
            "Trained at: one factor on every threshold throughout training and evaluation; AHSAR: "
            "mean factor over layers of its best epochs. The mean over epochs of a loss is the "
            "area under its curve, per epoch; losses are of training and hold-out samples."
        )
    ended = {(row["method"], row["seed"]): row["diverged"] for row in epochs if row["diverged"]}
    return notes + [f"{method}, seed {seed}: {why}." for (method, seed), why in ended.items()]


def _content(results: Results) -> dict[str, Any]:
    def plain(name: str) -> list[dict[str, Any]]:
        return [{key: row[key] for key in row if key != "row"} for row in results.records[name]]

    points = {"points": results.records["point"], "layers": plain("layer")}
    return {**points, "trainings": plain("epoch"), "notes": results.notes}


SWEEP = Kind(
    "sweep",
    axes=["row", "checkpoint", "set", "role", "own", "scale", "layer", "method", "seed", "epoch"],
    tables=_tables,
    notes=_notes,
    content=_content,
    listed=("point", "layer", "epoch"),
)
