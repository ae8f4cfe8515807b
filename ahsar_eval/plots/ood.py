"""Figures of an OOD evaluation: scores as histograms and as ROC, what a growing shift does, and
whether a network is right where it is sure.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood import SCORES, reliability, risk_coverage, roc_curve
from ahsar_eval.plots.bins import score_edges, shown_range
from ahsar_eval.plots.layout import (
    extent,
    root_scale,
    split,
    text_width,
    tidy_ticks,
    unit_ticks,
    with_margin,
)
from ahsar_eval.plots.panels import panel_pages, severity_pages
from ahsar_eval.plots.style import INK, PALE, Look, drawable, looks, shades, styled, vectors
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from pandas import DataFrame

Drawn = tuple[str, list[Any], "DataFrame"]  # file stem, pages, the numbers drawn

# What an axis says where the score is not what its name says, or has a unit.
AXES = {
    "entropy": "predictive entropy (nats)",
    "entropy-of-mean-softmax": "entropy of the mean softmax (nats)",
    "mean-entropy": "mean entropy over time (nats)",
    "mutual-information": "mutual information over time (nats)",
    "msp": "1 − MSP",
    "msp-temperature": "1 − MSP, temperature-scaled",
    "odin": "1 − MSP of ODIN",
    "max-logit": "−max logit",
    "energy": "−logsumexp of the logits",
    "knn": "distance to the 50th neighbour",
    "mahalanobis": "squared Mahalanobis distance",
    "relative-mahalanobis": "relative squared Mahalanobis distance",
    "scp": "distance of spike counts (spikes)",
}
# Quantities over severity, by the metric of a row.
QUANTITIES = {
    "accuracy": "accuracy",
    "auroc": "auroc",
    "entropy": "mean_score",
    "rate": "mean_rate",
}
_RED = "#c0392b"
_GAP: dict[str, Any] = {"facecolor": (_RED, 0.18), "edgecolor": _RED, "linewidth": 0.5}
_GAP |= {"hatch": "//////"}
_ORACLE: dict[str, Any] = {"linestyle": ":", "linewidth": 0.7}
_ORACLE |= {"label": "oracle: all errors left out first"}
_THRESHOLD: dict[str, Any] = {"color": INK, "linestyle": (0, (3, 1.5)), "linewidth": 0.8}
_TRIANGLE: dict[str, Any] = {"linestyle": "", "marker": "v", "markersize": 3.2}
_RIMMED: dict[str, Any] = {"linestyle": "", "markeredgecolor": "white", "markeredgewidth": 0.4}
# Space where each panel has tick labels of its own.
_APART: dict[str, Any] = {"gap": 0.42, "below": 0.19, "bottom": 0.19}


# --- how well scores tell an OOD set from the ID set


def score_histograms(results: Results) -> list[Drawn]:
    """A histogram of the ID set and of an OOD set, or of every severity of a shift, in each panel;
    thresholds at which the TPR asked for is reached.

    Drawn: ood, checkpoint, kind (id, ood), severity, n, auroc, threshold, low, high, probability of
    each bin. Raises `DataError` for scores that are not finite.
    """
    drawn = []
    for stem, rows in _by_score(results, "scores"):
        panels = _by_shift(rows).values()
        parts = [part for own in panels for part in _histogram_parts(results, own)]
        low = 0.62 if len({row["label"] for row in rows}) > 1 else 0.85
        drawn += _drawn(
            results,
            stem,
            "histogram",
            rows,
            parts,
            draw=partial(_draw_histogram, tpr=rows[0]["tpr"]),
            heights=lambda width, low=low: (1.6 if width > 2 else low,),
            x=_axis(rows[0]["score"]),
            y="probability, √ scale",
            note=_auroc_text,
            **_APART,
        )
    return drawn


def roc(results: Results) -> list[Drawn]:
    """A panel per OOD set, a line per checkpoint through every vertex, a mark on the first that
    reaches the TPR asked for. Drawn: ood, checkpoint, auroc, vertex, fpr, tpr, marked.
    """
    drawn = []
    for stem, rows in _by_score(results, "roc"):
        parts = []
        for row in rows:
            inside, outside = (
                _array(results, row["label"], row[of], row["score"]) for of in ("id", "ood")
            )
            fpr, tpr, _ = roc_curve(inside, outside)
            vertex = np.arange(len(fpr))
            marked = vertex == np.argmax(tpr >= row["tpr"])
            named = {"ood": row["ood"], "checkpoint": row["label"], "auroc": row["auroc"]}
            parts.append({**named, "vertex": vertex, "fpr": fpr, "tpr": tpr, "marked": marked})
        drawn += _drawn(
            results,
            stem,
            "ROC curve",
            rows,
            parts,
            draw=partial(_draw_rocs, tpr=rows[0]["tpr"]),
            heights=lambda width: (width,),
            x="false-positive rate",
            y="true-positive rate",
            number="AUROC",
            shared=True,
            below=0.06,
        )
    return drawn


def _by_score(results: Results, stem: str) -> list[tuple[str, list[Row]]]:
    """The rows of sets by score, with the stem of the figure's file."""
    rows = [row for row in results.records["rows"] if row["kind"] == "set"]
    scores = list(dict.fromkeys(row["score"] for row in rows))
    drawable("comparison with an OOD set", scores, [])
    return [
        (
            f"{stem}-{score}" if len(scores) > 1 else stem,
            [row for row in rows if row["score"] == score],
        )
        for score in scores
    ]


def _histogram_parts(results: Results, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The bins of one panel: of the ID set and of each of the rows."""
    first = rows[0]
    several = first["shift"] is not None and len(rows) > 1
    panel = f"{first['set']}:{first['shift']}" if several else first["ood"]
    what = f"the histogram of {first['label']} on {panel}"
    inside, *outside = [
        _array(results, first["label"], of, first["score"])
        for of in (first["id"], *(row["ood"] for row in rows))
    ]
    vectors(what, {"the ID scores": inside})
    for scores in outside:
        vectors(what, {"the OOD scores": scores})
    edges = score_edges([inside, *outside])
    of = {"ood": panel, "checkpoint": first["label"]}

    def bins(scores: NDArray[np.float64], **facts: Any) -> dict[str, Any]:
        held = np.histogram(scores, edges)[0] / len(scores)
        return {**of, **facts, "low": edges[:-1], "high": edges[1:], "probability": held}

    alone = {"kind": "id", "severity": 0, "n": len(inside)}
    yield bins(inside, **alone, auroc=np.nan, threshold=np.nan)
    for row, scores in zip(rows, outside, strict=True):
        _, reached, thresholds = roc_curve(inside, scores)
        threshold = float(thresholds[np.argmax(reached >= row["tpr"])])
        facts = {"kind": "ood", "severity": row["severity"], "n": len(scores)}
        yield bins(scores, **facts, auroc=row["auroc"], threshold=threshold)


def _auroc_text(own: "DataFrame", room: float) -> str:
    """AUROC as it stands over a panel: of several severities all, or where there is no room the
    first and last.
    """
    values = list(own[own.kind == "ood"].groupby("severity", sort=False).auroc.first())
    if len(values) == 1:
        return f"AUROC {values[0]:.3f}"
    short = [f"{value:.2f}".removeprefix("0") for value in values]
    every = f"AUROC {' '.join(short)}"
    return every if text_width(every) <= room else f"AUROC {short[0]} … {short[-1]}"


def _draw_histogram(
    stack: list[Any], own: "DataFrame", look: Mapping[str, Look], tpr: float
) -> None:
    (axes,), colour = stack, look[own.checkpoint.iloc[0]].colour
    inside, *others = split(own, ["kind", "severity"]).values()
    edges = np.array([*inside.low, inside.high.iloc[-1]])
    axes.stairs(inside.probability, edges, fill=True, color=PALE, linewidth=0, label="ID")
    for part, shade in zip(others, shades(colour, len(others)), strict=True):
        threshold = part.threshold.iloc[0]
        axes.stairs(part.probability, edges, color=shade, linewidth=1.0, baseline=None)
        if len(others) == 1:
            filled = {"fill": True, "alpha": 0.3, "linewidth": 0, "label": "OOD"}
            axes.stairs(part.probability, edges, color=shade, **filled)
            axes.axvline(threshold, label=f"threshold, TPR {tpr:g}", **_THRESHOLD)
        else:
            first, last = others[0].severity.iloc[0], others[-1].severity.iloc[0]
            said = f"severity {first} … {last}, light to dark"
            axes.fill_between([], [], color=shade, linewidth=0, label=said)
            mark = {"transform": axes.get_xaxis_transform(), "clip_on": False, **_TRIANGLE}
            said = "threshold of each severity" if part is others[-1] else ""
            axes.plot(threshold, 1.0, color=shade, label=said, **mark)
    low, high = shown_range(edges)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    tidy_ticks(axes.xaxis)
    root_scale(axes.yaxis, 1.05 * own.probability.max())


def _draw_rocs(stack: list[Any], own: "DataFrame", look: Mapping[str, Look], tpr: float) -> None:
    (axes,) = stack
    for name, part in split(own, "checkpoint").items():
        line = {"color": look[name].colour, "linestyle": look[name].line, "label": name}
        axes.plot(part.fpr, part.tpr, **line)
    for name, at in split(own[own.marked], "checkpoint").items():
        mark = {"color": look[name].colour, "marker": look[name].marker, "clip_on": False}
        axes.plot(at.fpr, at.tpr, label=f"TPR ≥ {tpr:g}", **mark, **_RIMMED)
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.6, zorder=0.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    unit_ticks(axes.xaxis, axes.yaxis)


# --- what a shift does as it grows


def severity_curves(results: Results) -> list[Drawn]:
    """Accuracy, AUROC, mean score and mean rate over the severity of each shift of the ID set at
    several; 0 is the ID set as it is, whose AUROC against itself says nothing and is left out.

    Drawn: shift, checkpoint, quantity, severity, value, low, high; empty where there is none.
    """
    score = next(iter(results.records["id"]), {}).get("score", "")
    alone = {row["label"]: row for row in results.records["id"] if row["score"] == score}
    rows = [row for row in results.records["rows"] if row["kind"] == "set"]
    rows = [row for row in rows if row["score"] == score and row["same_images"] and row["shift"]]
    grown = {key: own for key, own in _by_shift(rows).items() if len(own) > 1}
    if not grown:
        return []
    drawable("severity curve", list(grown), [(label, shift) for label, _, shift in grown])
    parts = []
    for (checkpoint, _, shift), own in grown.items():
        own = [alone[checkpoint], *sorted(own, key=lambda row: row["severity"])]
        for quantity, metric in QUANTITIES.items():
            keys = [f"{metric}_ood" if f"{metric}_ood" in row else metric for row in own]
            value, low, high = (
                np.array(
                    [row.get(key + end) for row, key in zip(own, keys, strict=True)], np.float64
                )
                for end in ("", "_low", "_high")
            )
            if quantity == "accuracy" and np.isnan(value).any():
                continue  # labels are not kept
            named = {"shift": shift, "checkpoint": checkpoint, "quantity": quantity}
            points = {"severity": [row["severity"] for row in own], "value": value}
            parts.append({**named, **points, "low": low, "high": high})
    table = _frame(parts)
    titles = {
        "accuracy": "accuracy",
        "auroc": "AUROC",
        "entropy": "mean entropy (nats)" if score == "entropy" else f"mean {_axis(score)}",
        "rate": "rate (spikes per step)",
    }
    with styled():
        pages = severity_pages(
            table,
            [row["label"] for row in results.records["id"]],
            titles=titles,
            limits={quantity: _limits(table, quantity) for quantity in titles},
            lines={"auroc": 0.5},
            below="severity (0: the ID set as it is)",
        )
    return [("severity", pages, table)]


def _limits(table: "DataFrame", quantity: str) -> tuple[float, float]:
    own = table[table.quantity == quantity]
    low, high = extent([own[column].to_numpy() for column in ("value", "low", "high")])
    if quantity == "auroc":
        low, high = min(low, 0.5), max(high, 0.5)
    if quantity == "rate" or (quantity == "entropy" and low >= 0):
        low = 0.0 if low < 0.5 * high else low
    return with_margin(low, high)


# --- whether a network is right where it is sure


def reliability_diagrams(results: Results) -> list[Drawn]:
    """How often a network is right where it claims a confidence, of the ID set and of the largest
    severity of each shift that keeps the labels; the number of samples below each diagram.

    Drawn: data, checkpoint, ece, ece_equal_mass, low, high, confidence, accuracy, count of a bin.
    """
    rows, parts = _labelled(results), []
    for row in rows:
        confidence, correct = (
            _array(results, row["label"], row["ood"], name) for name in ("confidence", "correct")
        )
        bins = dict(vars(reliability(confidence, correct)))
        edges = bins.pop("edges")
        errors = {name: row[name] for name in ("ece", "ece_equal_mass")}
        of = {"data": row["ood"], "checkpoint": row["label"], **errors}
        parts.append({**of, "low": edges[:-1], "high": edges[1:], **bins})
    return _drawn(
        results,
        "reliability",
        "reliability diagram",
        rows,
        parts,
        draw=_draw_reliability,
        heights=lambda width: (min(width, 1.9), 0.32),
        x="confidence",
        y="accuracy",
        note=lambda own, _: f"ECE {own.ece.iloc[0]:.3f} · {own.ece_equal_mass.iloc[0]:.3f}",
        **_APART | {"gap": 0.36, "between": 0.11},
    )


def _draw_reliability(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
    diagram, counts = stack
    edges, held = [*own.low, own.high.iloc[-1]], own[own["count"] > 0]
    filled = {"fill": True, "linewidth": 0}
    share = {"color": look[own.checkpoint.iloc[0]].colour, "alpha": 0.75, "label": "accuracy"}
    diagram.stairs(own.accuracy.fillna(0), edges, **share, **filled)
    gap = {"x": held.low, "width": held.high - held.low, "bottom": held.accuracy, "align": "edge"}
    gap["label"] = "gap to the mean confidence"
    diagram.bar(height=held.confidence - held.accuracy, **gap, **_GAP)
    diagram.plot([0, 1], [0, 1], color=INK, linewidth=0.6)
    diagram.set(xlim=(0, 1), ylim=(0, 1))
    diagram.tick_params(labelbottom=False)
    counts.set_label(f"{diagram.get_label()} samples")
    counts.stairs(own["count"], edges, color=PALE, label="samples, √ scale", **filled)
    counts.plot([], [], linestyle="", label="ECE: equal width · equal mass")
    counts.set_xlim(0, 1)
    unit_ticks(diagram.xaxis, diagram.yaxis, counts.xaxis)
    most = int(own["count"].max())
    root_scale(counts.yaxis, most, (0, most))
    counts.set_yticklabels(["0", str(most)])


def risk_coverage_curves(results: Results) -> list[Drawn]:
    """The error among the samples that are kept when the most uncertain are left to someone else,
    of the sets of the reliability diagrams; dotted the least there can be at the same accuracy.

    Drawn: data, checkpoint, aurc, coverage, risk, oracle_risk.
    """
    rows, parts = _labelled(results), []
    for row in rows:
        scores, correct = (
            _array(results, row["label"], row["ood"], name) for name in (row["score"], "correct")
        )
        coverage, risk = risk_coverage(scores, ~correct)
        of = {"data": row["ood"], "checkpoint": row["label"], "aurc": row["aurc"]}
        best = oracle_risk(coverage, risk)
        parts.append({**of, "coverage": coverage, "risk": risk, "oracle_risk": best})
    return _drawn(
        results,
        "risk-coverage",
        "risk–coverage curve",
        rows,
        parts,
        draw=_draw_risks,
        heights=lambda width: (0.72 * width,),
        x="coverage (fraction of samples kept)",
        y="selective risk",
        number="AURC",
        **_APART,
    )


def oracle_risk(coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least risk [n] at each coverage c [n], ascending to 1, for the same accuracy: all errors
    left out first, max(0, 1 − (1 − risk at 1) / c).
    """
    return np.maximum(0.0, 1 - (1 - risk[-1]) / coverage)


def _draw_risks(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
    (axes,) = stack
    for curve in ("risk", "oracle_risk"):
        for name, part in split(own, "checkpoint").items():
            line = {"linestyle": look[name].line, "label": name} if curve == "risk" else _ORACLE
            axes.plot(part.coverage, part[curve], color=look[name].colour, clip_on=False, **line)
    highest = own[["risk", "oracle_risk"]].to_numpy().max()
    axes.set(xlim=(0, 1), ylim=(0, 1.03 * highest or 1))
    unit_ticks(axes.xaxis)
    tidy_ticks(axes.yaxis)


def _labelled(results: Results) -> list[Row]:
    """The ID set's row, and of each shift that keeps the labels that of its largest severity; by
    the first score.
    """
    found = []
    for alone in results.records["id"]:
        if alone["score"] != results.records["id"][0]["score"]:
            continue
        rows = [
            row
            for row in (alone, *results.records["rows"])
            if row["kind"] in ("id", "set")
            and row["score"] == alone["score"]
            and row["label"] == alone["label"]
            and f"{row['label']}/{row['ood']}/correct" in results.arrays
        ]
        found += [max(own, key=lambda row: row["severity"]) for own in _by_shift(rows).values()]
    return found


# --- what figures share


def _drawn(
    results: Results,
    stem: str,
    kind: str,
    rows: Sequence[Row],
    parts: Sequence[Mapping[str, Any]],
    **how: Any,
) -> list[Drawn]:
    """The figure of these rows, from parts of the table of numbers drawn; none without rows."""
    if not rows:
        return []
    drawable(kind, rows, [(row["label"], row["ood"]) for row in rows])
    table = _frame(parts)
    look = _looks(results, table)
    if "note" in how:
        how |= {"across": "checkpoint", "columns": dict(zip(look, look, strict=True))}
    with styled():
        return [(stem, panel_pages(table, look, **how), table)]


def _by_shift(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Rows by checkpoint, set without its shift, and shift: the severities of a shift together."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault((row["label"], row["set"], row["shift"]), []).append(row)
    return found


def _array(results: Results, checkpoint: str, data: str, name: str) -> NDArray[Any]:
    """A named array of one checkpoint on one set. Raises `DataError` where there is none."""
    key = f"{checkpoint}/{data}/{name}"
    if key not in results.arrays:
        raise DataError(
            f"these results hold no {name} of the samples of {data} under {checkpoint}; draw the "
            "figures of an evaluation that was just made"
        )
    return results.arrays[key]


def _looks(results: Results, table: "DataFrame") -> dict[str, Look]:
    """The looks of the checkpoints drawn: those that they have in every figure of the results."""
    every = looks([row["label"] for row in results.records["id"]])
    return {name: every[name] for name in every if name in set(table.checkpoint)}


def _axis(score: str) -> str:
    return AXES.get(score, SCORES[score].title)


def _frame(parts: Sequence[Mapping[str, Any]]) -> "DataFrame":
    import pandas as pd

    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
