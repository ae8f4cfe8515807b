"""Figures of an OOD evaluation: scores as histograms and as ROC, what a growing shift does, and
whether a network is right where it is sure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat

from ahsar_eval.errors import DataError
from ahsar_eval.files import table_beside
from ahsar_eval.ood import SCORES, reliability, risk_coverage, roc_curve
from ahsar_eval.plots.bins import score_edges, shown_range
from ahsar_eval.plots.pages import draw_lines, panel_pages, root_scale, severity_pages, split
from ahsar_eval.plots.style import (
    INK,
    PALE,
    RIM,
    Drawn,
    Looks,
    drawable,
    grouped,
    looks,
    number_range,
    samples_said,
    shades,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

# What an axis says where the score is not what its name says, or has a unit.
AXES = table_beside(__file__, "words.toml")["scores"]
# Quantities over severity, by the metric of a row.
QUANTITIES = {
    "accuracy": "accuracy",
    "auroc": "auroc",
    "entropy": "mean_score",
    "rate": "mean_rate",
}
_RED = "#c0392b"
_HALVES = (0, 0.5, 1)
FEW_SAMPLES = 10  # of a bin that is drawn pale


# --- how well scores tell an OOD set from the ID set


def score_histograms(results: Results) -> Iterator[Drawn]:
    """A histogram of the ID set and of an OOD set, or of every severity of a shift, in each panel;
    thresholds at which the TPR asked for is reached.

    Drawn: ood, checkpoint, kind (id, ood), severity, n, auroc, threshold, low, high, probability of
    each bin.
    """
    for stem, rows in _by_score(results, "scores"):
        parts = [part for own in _by_shift(rows) for part in _histograms(results, own)]
        yield from _drawn(
            *(results, stem, "histogram", rows, parts),
            partial(_draw_histogram, tpr=rows[0]["tpr"]),
            heights=(0.5,),
            x=axis_of(rows[0]["score"]),
            y="probability, √ scale",
            note=_aurocs,
            same_x=True,
        )


def _histograms(results: Results, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The bins of one panel: of the ID set and of each of the rows."""
    first = rows[0]
    several = first["shift"] is not None and len(rows) > 1
    panel = f"{first['set']}:{first['shift']}" if several else first["ood"]
    inside = _array(results, first, first["score"], first["id"])
    outside = [_array(results, row, row["score"]) for row in rows]
    curves = [roc_curve(inside, scores) for scores in outside]  # refuses what is not finite
    edges = score_edges([inside, *outside])

    def bins(scores: NDArray[np.float64], **facts: Any) -> dict[str, Any]:
        held = np.histogram(scores, edges)[0] / len(scores)
        ends = {"low": edges[:-1], "high": edges[1:], "probability": held}
        return {"ood": panel, "checkpoint": first["label"], **facts, **ends}

    alone = {"kind": "id", "severity": 0, "n": len(inside)}
    yield bins(inside, **alone, auroc=np.nan, threshold=np.nan)
    for row, scores, (_, reached, thresholds) in zip(rows, outside, curves, strict=True):
        threshold = float(thresholds[np.argmax(reached >= row["tpr"])])
        facts = {"kind": "ood", "severity": row["severity"], "n": len(scores)}
        yield bins(scores, **facts, auroc=row["auroc"], threshold=threshold)


def _aurocs(own: DataFrame) -> str:
    """What stands over a panel: the AUROC, or those of all severities."""
    values = own[own.kind == "ood"].groupby("severity", sort=False).auroc.first()
    if len(values) == 1:
        return f"AUROC {values.iloc[0]:.3f}"
    return "AUROC\n" + " ".join(f"{value:.2f}".removeprefix("0") for value in values)


def _draw_histogram(look: Looks, own: DataFrame, axes: Any, tpr: float) -> None:
    inside, *others = split(own, ["kind", "severity"]).values()
    edges = np.array([*inside.low, inside.high.iloc[-1]])
    axes.stairs(inside.probability, edges, fill=True, color=PALE, linewidth=0, label="ID")
    first, last = (others[place].severity.iloc[0] for place in (0, -1))
    several = f"severity {first} … {last}, light to dark" if len(others) > 1 else ""
    colours = shades(look[own.checkpoint.iloc[0]]["color"], len(others))
    for part, shade in zip(others, colours, strict=True):
        axes.stairs(part.probability, edges, color=shade, linewidth=1.0, baseline=None)
        threshold = part.threshold.iloc[0]
        if several:
            axes.plot(
                *(threshold, 1.0, "v"),
                color=shade,
                label="threshold of each severity",
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
            axes.fill_between([], [], color=shade, linewidth=0, label=several)
        else:
            axes.stairs(
                part.probability, edges, fill=True, color=shade, alpha=0.3, linewidth=0, label="OOD"
            )
            said, dashed = f"threshold, TPR {tpr:g}", (0, (3, 1.5))
            axes.axvline(threshold, label=said, color=INK, linestyle=dashed, linewidth=0.8)
    axes.set_xlim(*shown_range(edges))
    root_scale(axes, 1.05 * own.probability.max())


def roc(results: Results) -> Iterator[Drawn]:
    """A panel per OOD set, a line per checkpoint through every vertex, a mark on the first that
    reaches the TPR asked for. Drawn: ood, checkpoint, auroc, vertex, fpr, tpr, marked.
    """
    for stem, rows in _by_score(results, "roc"):
        parts = []
        for row in rows:
            sets = (_array(results, row, row["score"], row[of]) for of in ("id", "ood"))
            fpr, tpr, _ = roc_curve(*sets)
            vertex = np.arange(len(fpr))
            marked = vertex == np.argmax(tpr >= row["tpr"])
            named = {"ood": row["ood"], "checkpoint": row["label"], "auroc": row["auroc"]}
            parts.append({**named, "vertex": vertex, "fpr": fpr, "tpr": tpr, "marked": marked})
        yield from _drawn(
            *(results, stem, "ROC curve", rows, parts),
            partial(_draw_rocs, tpr=rows[0]["tpr"]),
            heights=(1.0,),
            x="false-positive rate",
            y="true-positive rate",
            number="AUROC",
        )


def _draw_rocs(look: Looks, own: DataFrame, axes: Any, tpr: float) -> None:
    for _, curve in split(own, "checkpoint").items():
        at = list(np.flatnonzero(curve.marked))
        draw_lines(axes, curve, look, "fpr", "tpr", markevery=at, clip_on=False, **RIM)
    axes.plot([], [], linestyle="", label=f"marker: TPR ≥ {tpr:g}")
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.6, zorder=0.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=_HALVES, yticks=_HALVES)


def _by_score(results: Results, stem: str) -> Iterator[tuple[str, list[Row]]]:
    """The rows of sets by score, with the stem of the figure's file."""
    rows = [row for row in results.records["rows"] if row["kind"] == "set"]
    scores = grouped(rows, "score")
    drawable("comparison with an OOD set", list(scores))
    for score, own in scores.items():
        yield f"{stem}-{score}" if len(scores) > 1 else stem, own


# --- what a shift does as it grows


def severity_curves(results: Results) -> Iterator[Drawn]:
    """Accuracy, AUROC, mean score and mean rate over the severity of each shift of the ID set at
    several; 0 is the ID set as it is, whose AUROC against itself says nothing and is left out.

    Drawn: shift, checkpoint, quantity, severity, value, low, high; nothing where there is none.
    """
    clean, rows = _of_first_score(results)
    alone = {row["label"]: row for row in clean}
    shifted = [row for row in rows if row["same_images"] and row["shift"]]
    grown = [own for own in _by_shift(shifted) if len(own) > 1]
    parts = []
    for own in grown:
        shift, checkpoint = own[0]["shift"], own[0]["label"]
        points = [alone[checkpoint], *sorted(own, key=lambda row: row["severity"])]
        for quantity, metric in QUANTITIES.items():
            part = {"shift": shift, "checkpoint": checkpoint, "quantity": quantity}
            part["severity"] = [row["severity"] for row in points]
            for column, end in {"value": "", "low": "_low", "high": "_high"}.items():
                names = f"{metric}_ood{end}", f"{metric}{end}"
                part[column] = [row.get(names[0], row.get(names[1])) for row in points]
            if quantity != "accuracy" or None not in part["value"]:  # else labels are not kept
                parts.append(part)
    if parts:
        drawable("severity curve", [(own[0]["label"], own[0]["shift"]) for own in grown])
        table = _frame(parts).astype(dict.fromkeys(("value", "low", "high"), float))
        score = clean[0]["score"]
        heads = {
            "accuracy": "accuracy",
            "auroc": "AUROC",
            "entropy": "mean entropy (nats)" if score == "entropy" else f"mean {axis_of(score)}",
            "rate": "rate (spikes per step)",
        }
        x, chance = "severity (0: the ID set as it is)", {"auroc": 0.5}
        how: Any = {"heads": heads, "lines": chance, "x": x, "said": _said(results)}
        pages = severity_pages(table, _looks(results), **how)
        yield Drawn("severity", pages, table)


# --- whether a network is right where it is sure


def reliability_diagrams(results: Results) -> Iterator[Drawn]:
    """How often a network is right where it claims a confidence, of the ID set and of the largest
    severity of each shift that keeps the labels, with Wilson's intervals; the number of samples
    below each diagram, bins of few samples pale.

    Drawn: data, checkpoint, ece, ece_equal_mass, low, high, confidence, accuracy, count of a bin,
    accuracy_low, accuracy_high.
    """
    rows, parts = _labelled(results), []
    for row in rows:
        confidence, correct = (_array(results, row, name) for name in ("confidence", "correct"))
        bins = reliability(confidence, correct)
        named = {"data": row["ood"], "checkpoint": row["label"]}
        named |= {name: row[name] for name in ("ece", "ece_equal_mass")}
        ends = {"low": bins.edges[:-1], "high": bins.edges[1:]}
        held = {name: getattr(bins, name) for name in ("confidence", "accuracy", "count")}
        interval = dict(zip(("accuracy_low", "accuracy_high"), bins.intervals, strict=True))
        parts.append(named | ends | held | interval)
    return _drawn(
        *(results, "reliability", "reliability diagram", rows, parts, _draw_reliability),
        heights=(1.0, 0.25),
        x="confidence",
        y="accuracy",
        note=_eces,
    )


def _eces(own: DataFrame) -> str:
    return f"ECE {own.ece.iloc[0]:.3f} · {own.ece_equal_mass.iloc[0]:.3f}"


def _draw_reliability(look: Looks, own: DataFrame, diagram: Any, counts: Any) -> None:
    edges, held = [*own.low, own.high.iloc[-1]], own[own["count"] > 0]
    colour = look[own.checkpoint.iloc[0]]["color"]
    for few, bins in sorted(split(held.assign(few=held["count"] < FEW_SAMPLES), "few").items()):
        bar = {"width": bins.high - bins.low, "align": "edge"}
        share = {"color": colour, "alpha": 0.2 if few else 0.75, "linewidth": 0}
        said = f"accuracy of fewer than {FEW_SAMPLES} samples" if few else "accuracy"
        diagram.bar(bins.low, bins.accuracy, label=said, **bar, **share)
        gap = {"bottom": bins.accuracy, "facecolor": (_RED, 0.05 if few else 0.18)}
        gap |= {"edgecolor": (_RED, 0.3 if few else 1.0), "linewidth": 0.5, "hatch": "//////"}
        said = "" if few else "gap to the mean confidence"
        diagram.bar(bins.low, bins.confidence - bins.accuracy, label=said, **bar, **gap)
    middles, ends = (held.low + held.high) / 2, (held.accuracy_low, held.accuracy_high)
    diagram.vlines(middles, *ends, color=INK, linewidth=0.7, label="Wilson's 95 % interval")
    diagram.plot([0, 1], [0, 1], color=INK, linewidth=0.6)
    diagram.set(xlim=(0, 1), ylim=(0, 1), xticks=_HALVES, yticks=_HALVES)
    counts.set_label(f"{diagram.get_label()} samples")
    counts.stairs(own["count"], edges, fill=True, color=PALE, linewidth=0, label="samples, √ scale")
    counts.plot([], [], linestyle="", label="ECE: equal width · equal mass")
    root_scale(counts, own["count"].max())
    counts.set(xlim=(0, 1), xticks=_HALVES, yticks=(0, own["count"].max()))


def risk_coverage_curves(results: Results) -> Iterator[Drawn]:
    """The error among the samples that are kept when the most uncertain are left to someone else,
    of the sets of the reliability diagrams; dotted the least there can be at the same accuracy.

    Drawn: data, checkpoint, aurc, coverage, risk, oracle_risk.
    """
    rows, parts = _labelled(results), []
    for row in rows:
        scores, correct = (_array(results, row, name) for name in (row["score"], "correct"))
        coverage, risk = risk_coverage(scores, ~correct)
        of = {"data": row["ood"], "checkpoint": row["label"], "aurc": row["aurc"]}
        best = oracle_risk(coverage, risk)
        parts.append({**of, "coverage": coverage, "risk": risk, "oracle_risk": best})
    return _drawn(
        *(results, "risk-coverage", "risk–coverage curve", rows, parts, _draw_risks),
        heights=(0.72,),
        x="coverage (fraction of samples kept)",
        y="selective risk",
        number="AURC",
    )


def oracle_risk(coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least risk [n] at each coverage c [n], ascending to 1, for the same accuracy: all errors
    left out first, max(0, 1 − (1 − risk at 1) / c).
    """
    return np.maximum(0.0, 1 - (1 - risk[-1]) / coverage)


def _draw_risks(look: Looks, own: DataFrame, axes: Any) -> None:
    draw_lines(axes, own, look, "coverage", "risk", marker="", clip_on=False)
    draw_lines(
        *(axes, own, look, "coverage", "oracle_risk"),
        marker="",
        clip_on=False,
        linestyle=":",
        linewidth=0.7,
        label="oracle: all errors left out first",
    )
    highest = own[["risk", "oracle_risk"]].to_numpy().max()
    axes.set(xlim=(0, 1), ylim=(0, 1.03 * highest or 1), xticks=_HALVES)


def _labelled(results: Results) -> list[Row]:
    """The ID set's row, and of each shift that keeps the labels that of its largest severity; by
    the first score.
    """
    clean, sets = _of_first_score(results)
    return [
        max(own, key=lambda row: row["severity"])
        for alone in clean
        for own in _by_shift(
            [
                row
                for row in (alone, *sets)
                if row["label"] == alone["label"]
                and f"{row['label']}/{row['ood']}/correct" in results.arrays
            ]
        )
    ]


# --- what figures share


def _drawn(
    results: Results,
    stem: str,
    kind: str,
    rows: Sequence[Row],
    parts: Sequence[Mapping[str, Any]],
    draw: Callable[..., None],
    **how: Any,
) -> Iterator[Drawn]:
    """The figure of these rows, from parts of the table of numbers drawn; none without rows."""
    if rows:
        drawable(kind, [(row["label"], row["ood"]) for row in rows])
        table = _frame(parts)
        if "note" in how:
            how |= {"across": "checkpoint", "heads": {name: name for name in table.checkpoint}}
        how |= {"said": _said(results)}
        yield Drawn(stem, panel_pages(table, partial(draw, _looks(results)), **how), table)


def _said(results: Results) -> str:
    """The ID set and its samples, and those of the others."""
    inside = samples_said([(row["id"], row["n_id"]) for row in results.records["id"]], "ID set")
    rows = [row for row in results.records["rows"] if row["kind"] == "set"]
    others = number_range(row["n_ood"] for row in rows)
    return f"{inside}; other sets n = {others}" if rows else inside


def _of_first_score(results: Results) -> list[list[Row]]:
    """The rows of the ID set and those of other sets, by the score that was asked for first."""
    both = [results.records[name] for name in ("id", "rows")]
    scores = [row["score"] for row in both[0]]
    return [
        [row for row in rows if row["kind"] != "class" and row["score"] == scores[0]]
        for rows in both
    ]


def _by_shift(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows by checkpoint, set without its shift, and shift: the severities of a shift together."""
    return list(grouped(rows, "label", "set", "shift").values())


def _array(results: Results, row: Row, name: str, data: str = "") -> NDArray[Any]:
    """A named array of a row's checkpoint on its OOD set, or on another. Raises `DataError` where
    there is none.
    """
    key = f"{row['label']}/{data or row['ood']}/{name}"
    if key not in results.arrays:
        raise DataError(
            f"these results hold no {name} of the samples of {data or row['ood']} under "
            f"{row['label']}; draw the figures of an evaluation that was just made"
        )
    return results.arrays[key]


def _looks(results: Results) -> Looks:
    return looks(row["label"] for row in results.records["id"])


def axis_of(score: str) -> str:
    """What an axis says of a score, with its unit where it has one."""
    return AXES.get(score, SCORES[score].title)


def _frame(parts: Sequence[Mapping[str, Any]]) -> DataFrame:
    return concat([DataFrame(part) for part in parts], ignore_index=True)
