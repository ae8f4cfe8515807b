"""The threshold sweep as a reader wants it, and everything it measured as flat rows and
one JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ahsar_eval.evaluation.sweep import NetworkSweep, SweepPoint
from ahsar_eval.ood import Estimate
from ahsar_eval.recording.gate import QUANTITIES
from ahsar_eval.report.energy_report import nano
from ahsar_eval.results.document import RULE, Table, texts_of
from ahsar_eval.results.tables import cell, csv_text, json_text, span
from ahsar_eval.training.at_scales import TrainedRun, TrainedSweep

SUMMARY_HEADER = [
    "checkpoint",
    "own factor",
    "range over layers",
    "accuracy",
    "best accuracy",
    "at s",
    "lowest NLL",
    "at s",
    "rate falls in s",
    "G / (−∂r/∂θ)",
    "correlation",
]
LAYER_HEADER = ["checkpoint", "layer", "θ", "r", "G", "−∂r/∂θ", "p(θ)", "G / (−∂r/∂θ)"]
TRAINED_HEADER = [
    "trained at",
    "seeds",
    "epochs",
    "mean training loss",
    "last training loss",
    "mean hold-out NLL",
    "last hold-out NLL",
    "best hold-out accuracy",
    "mean rate",
    "diverged",
]


def sweep_texts(
    sweeps: Sequence[NetworkSweep],
    trained: TrainedSweep | None,
    *,
    notes: Sequence[str],
    facts: Mapping[str, Any],
    detail: bool = False,
    colour: bool = False,
) -> dict[str, str]:
    """The sweep as "table", "markdown", "latex", "csv" and "json"; `detail` adds the layers at each
    network's own thresholds.

    Every row of the CSV says in `row` what it is: own, scale, layer or epoch. `notes` are of the
    sets.
    """
    tables = [
        summary_table(sweeps),
        *(_scale_table(sweep) for sweep in sweeps),
        *([_layer_table(sweeps)] if detail else []),
    ]
    tables += [] if trained is None else [trained_table(trained)]
    said = [*sweep_notes(sweeps), *([] if trained is None else trained_notes(trained)), *notes]
    points = [
        {"row": row, **point_dict(sweep, point)} for sweep in sweeps for row, point in _rows(sweep)
    ]
    layers = [one for sweep in sweeps for _, point in _rows(sweep) for one in layer_dicts(point)]
    epochs = [] if trained is None else [one for run in trained.runs for one in epoch_dicts(run)]
    rows = [
        *points,
        *({"row": "layer", **one} for one in layers),
        *({"row": "epoch", **one} for one in epochs),
    ]
    content = {
        "points": points,
        "layers": layers,
        "trainings": epochs,
        "notes": said,
        "provenance": facts,
    }
    return {
        **texts_of(tables, said, facts, colour=colour),
        "csv": csv_text(rows),
        "json": json_text(content),
    }


def summary_table(sweeps: Sequence[NetworkSweep]) -> Table:
    """A line per network: where it works, where it would be best on this set, and whether G follows
    −∂r/∂θ.
    """
    body = []
    for sweep in sweeps:
        own, gates, slopes = (
            sweep.own,
            *(
                np.array([point.gate.mean(name) for point in sweep.points])
                for name in ("gate", "slope")
            ),
        )
        accuracy, nll = best_point(sweep, "accuracy"), best_point(sweep, "nll")
        body.append(
            [
                own.checkpoint,
                cell(own.scale),
                "–" if own.is_uniform else span(own.low, own.high),
                _value(own.accuracy),
                _value(None if accuracy is None else accuracy.accuracy),
                "–" if accuracy is None else f"{accuracy.scale:g}",
                _value(None if nll is None else nll.nll),
                "–" if nll is None else f"{nll.scale:g}",
                rate_falls(sweep),
                cell(_ratio(own.gate.mean("gate"), own.gate.mean("slope"))),
                cell(
                    float(np.corrcoef(gates, slopes)[0, 1])
                    if len(gates) > 2 and gates.std() and slopes.std()
                    else None
                ),
            ]
        )
    return Table(
        f"Threshold sweep on {sweeps[0].plan.id_split.name} "
        f"({sweeps[0].plan.id_split.source.role})",
        SUMMARY_HEADER,
        body,
    )


def best_point(sweep: NetworkSweep, metric: str) -> SweepPoint | None:
    """The scale of highest accuracy or lowest NLL, of equal ones the one nearest to 1; None without
    labels.
    """
    sign = -1 if metric == "accuracy" else 1
    known = [
        (sign * estimate.value, abs(point.scale - 1), point)
        for point in sweep.points
        if (estimate := getattr(point, metric)) is not None
    ]
    return min(known, key=lambda one: one[:2])[2] if known else None


def rate_falls(sweep: NetworkSweep) -> str:
    """'yes', or the first scale at which the mean rate does not fall."""
    rates = [point.rate.value for point in sweep.points]
    risen = next(
        (
            point.scale
            for point, before, after in zip(sweep.points[1:], rates, rates[1:], strict=False)
            if after >= before > 0
        ),
        None,
    )
    return "yes" if risen is None else f"not at {risen:g}"


def trained_table(trained: TrainedSweep) -> Table:
    """A line per scale, and AHSAR's: means over seeds; the means over epochs are the areas under
    the curves, per epoch.
    """
    body: list[Sequence[str]] = []
    for method in dict.fromkeys(run.request.method for run in trained.runs):
        runs = [run for run in trained.runs if run.request.method == method]
        whole = [run for run in runs if not run.diverged and run.history]
        factors = (
            f"{np.mean([run.scale for run in runs]):.3f}" if method == "ahsar" and whole else ""
        )
        name = {
            "baseline": "1 (baseline)",
            "ahsar": f"AHSAR ({factors})" if factors else "AHSAR",
        }.get(method, method.partition(":")[2])
        if method == "ahsar":
            body.append(RULE)
        loss, nll = (
            [[row[key] for row in run.history] for run in whole]
            for key in ("train_loss", "validation_loss")
        )
        best = [max(row["validation_accuracy"] for row in run.history) for run in whole]
        rate = [run.history[-1]["mean_rate"] for run in whole]
        ends = [_mean([float(np.mean(one)) for one in loss]), _mean([one[-1] for one in loss])]
        ends += [
            _mean([float(np.mean(one)) for one in nll]),
            _mean([one[-1] for one in nll]),
            _mean(best),
            _mean(rate),
        ]
        diverged = sum(bool(run.diverged) for run in runs)
        body.append(
            [
                name,
                str(len(runs)),
                str(runs[0].request.epochs),
                *map(cell, ends),
                str(diverged) if diverged else "",
            ]
        )
    request = trained.runs[0].request
    return Table(
        f"Trained at each scale: {request.backbone} on {request.data}, {request.paradigm}, step "
        f"mode {request.step_mode}",
        TRAINED_HEADER,
        body,
    )


def sweep_notes(sweeps: Sequence[NetworkSweep]) -> list[str]:
    """What a reader must know to read these tables."""
    notes = [
        "s is a factor on every base threshold; own: the thresholds the network is used with, by "
        "the mean of their factors over layers.",
        "G = E[ψ′(u − θ)] and −∂r/∂θ are per unit of a layer's own θ with its input held, "
        "unweighted means over layers; along s each "
        "layer's input changes, too. −∂r/∂θ by central difference at θ(1 ± "
        f"{sweeps[0].own.gate.step:g}), the reset's answer to θ "
        "included; p(θ), in files, is the share of membranes within that range of θ, divided by "
        "its width. Ratio: at the network's own "
        "thresholds; correlation: over all scales.",
    ]
    if sweeps[0].plan.id_split.source.role != "validation":
        notes.append(
            "Nothing is chosen here: a scale that is best on this set must be judged on another; "
            "choose with --on validation."
        )
    if any(point.accuracy is None for sweep in sweeps for point in sweep.points):
        notes.append("– : no accuracy, for labels are unknown or of other classes.")
    return notes


def trained_notes(trained: TrainedSweep) -> list[str]:
    """What a reader must know of the trainings."""
    notes = [
        "Trained at: one factor on every threshold throughout training and evaluation; AHSAR: mean "
        "factor over layers of its best epochs. "
        "The mean over epochs of a loss is the area under its curve, per epoch; losses are of "
        "training and hold-out samples."
    ]
    return notes + [
        f"{run.request.method}, seed {run.request.seed}: {run.diverged}."
        for run in trained.runs
        if run.diverged
    ]


def point_dict(sweep: NetworkSweep, point: SweepPoint) -> dict[str, Any]:
    """One setting, flat: every number with its interval."""
    out: dict[str, Any] = {
        "checkpoint": point.checkpoint,
        "set": sweep.plan.id_split.name,
        "role": sweep.plan.id_split.source.role,
        "n": len(sweep.plan.id_split),
        "own": point.own,
        "scale": point.scale,
        "scale_low": point.low,
        "scale_high": point.high,
    }
    for name, estimate in (
        ("accuracy", point.accuracy),
        ("nll", point.nll),
        ("mean_rate", point.rate),
    ):
        out |= _with_interval(name, estimate)
    out["energy_pj"] = point.energy_pj
    for name, estimate in point.auroc.items():
        out |= _with_interval(f"auroc {name}", estimate)
    return {
        **out,
        **{name: point.gate.mean(name) for name in QUANTITIES},
        "gate_step": point.gate.step,
    }


def layer_dicts(point: SweepPoint) -> list[dict[str, Any]]:
    """Every layer of one setting, flat."""
    return [
        {
            "checkpoint": point.checkpoint,
            "own": point.own,
            "scale": point.scale,
            "layer": layer.name,
            "threshold": layer.threshold,
            **{name: getattr(layer, name) for name in QUANTITIES},
        }
        for layer in point.gate.layers
    ]


def epoch_dicts(run: TrainedRun) -> list[dict[str, Any]]:
    """Every epoch of one training, flat; a training that ended before its first epoch has one row
    that says so.
    """
    asked = {
        "checkpoint": run.checkpoint.name,
        "method": run.request.method,
        "seed": run.request.seed,
        "scale": run.scale,
        "scale_low": run.low,
        "scale_high": run.high,
        "diverged": run.diverged,
    }
    kept = (
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "mean_rate",
    )
    return [
        {**asked, **{name: row[name] for name in kept if name in row}} for row in run.history
    ] or [asked]


def _rows(sweep: NetworkSweep) -> list[tuple[str, SweepPoint]]:
    """Its own setting, then every scale."""
    return [
        ("own", sweep.own),
        *(("scale", point) for point in sweep.points if point is not sweep.own),
    ]


def _scale_table(sweep: NetworkSweep) -> Table:
    sets = list(sweep.own.auroc)
    header = ["s", "accuracy", "95 % interval", "NLL", "mean rate", "nJ per inference"]
    header += [title for name in sets for title in (f"AUROC, {name}", "95 % interval")] + [
        "G",
        "−∂r/∂θ",
    ]
    points = sweep.points if sweep.own.is_uniform else [sweep.own, *sweep.points]
    body: list[Sequence[str]] = []
    for point in points:
        scale = f"{point.scale:g}" if point.is_uniform else f"{point.scale:.3f}"
        body.append(
            [
                f"{scale} (own)" if point.own else scale,
                _value(point.accuracy),
                _span(point.accuracy),
                _value(point.nll),
                cell(point.rate.value),
                nano(point.energy_pj),
                *(
                    text
                    for name in sets
                    for text in (_value(point.auroc[name]), _span(point.auroc[name]))
                ),
                cell(point.gate.mean("gate")),
                cell(point.gate.mean("slope")),
            ]
        )
        if point.own and not point.is_uniform:
            body.append(RULE)
    return Table(sweep.own.checkpoint, header, body)


def _layer_table(sweeps: Sequence[NetworkSweep]) -> Table:
    body: list[Sequence[str]] = []
    for sweep in sweeps:
        body += [RULE] if body else []
        for place, layer in enumerate(sweep.own.gate.layers):
            numbers = (
                layer.threshold,
                layer.rate,
                layer.gate,
                layer.slope,
                layer.density,
                _ratio(layer.gate, layer.slope),
            )
            body.append(
                [sweep.own.checkpoint if place == 0 else "", layer.name, *map(cell, numbers)]
            )
    return Table("Layers at the network's own thresholds", LAYER_HEADER, body)


def _value(estimate: Estimate | None) -> str:
    return cell(None if estimate is None else estimate.value)


def _span(estimate: Estimate | None) -> str:
    return "–" if estimate is None else span(estimate.low, estimate.high)


def _with_interval(name: str, estimate: Estimate | None) -> dict[str, Any]:
    ends = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _ratio(gate: float, slope: float) -> float | None:
    return gate / slope if slope > 0 else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
