"""Figures of an OOD evaluation: scores as histograms and as ROC, what a growing shift does, and
whether a network is right where it is sure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood import SCORES, reliability, risk_coverage, roc_curve
from ahsar_eval.plots.bins import score_edges, shown_range
from ahsar_eval.plots.layout import (
    LINE_IN,
    Cell,
    Grid,
    Signs,
    columns_for,
    elided_names,
    extent,
    header_height,
    heading,
    line_handle,
    line_signs,
    lines_above,
    numbers_legend,
    page_by_page,
    places,
    root_scale,
    split,
    text_width,
    tidy_ticks,
    unit_ticks,
    width_for,
    with_margin,
    wrapped,
)
from ahsar_eval.plots.severity import severity_pages
from ahsar_eval.plots.style import INK, PALE, Look, drawable, looks, shades, styled, vectors
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from pandas import DataFrame

Drawn = tuple[str, list[Any], "DataFrame"]  # file stem, pages, the numbers drawn
Draw = Callable[[list[Any], "DataFrame", Mapping[str, Look]], None]  # a panel's rows into axes

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
    return _of_each_score(results, "scores", "histogram", _histograms)


def roc(results: Results) -> list[Drawn]:
    """A panel per OOD set, a line per checkpoint through every vertex, a mark on the first that
    reaches the TPR asked for. Drawn: ood, checkpoint, auroc, vertex, fpr, tpr, marked.
    """
    return _of_each_score(results, "roc", "ROC curve", _rocs)


def _of_each_score(
    results: Results,
    stem: str,
    kind: str,
    draw: Callable[[Results, list[Row]], "tuple[list[Any], DataFrame]"],
) -> list[Drawn]:
    rows = [row for row in results.records["rows"] if row["kind"] == "set"]
    scores = list(dict.fromkeys(row["score"] for row in rows)) or [""]
    drawn = []
    for score in scores:
        own = [row for row in rows if row["score"] == score]
        drawable(kind, own, [(row["label"], row["ood"]) for row in own])
        with styled():
            drawn.append((f"{stem}-{score}" if len(scores) > 1 else stem, *draw(results, own)))
    return drawn


def _histograms(results: Results, rows: list[Row]) -> "tuple[list[Any], DataFrame]":
    parts = []
    for (checkpoint, name, shift), own in _by_shift(rows).items():
        panel = f"{name}:{shift}" if shift is not None and len(own) > 1 else own[0]["ood"]
        what = f"the histogram of {checkpoint} on {panel}"
        inside, *outside = [
            _array(results, checkpoint, of, own[0]["score"])
            for of in (own[0]["id"], *(row["ood"] for row in own))
        ]
        vectors(what, {"the ID scores": inside})
        edges = score_edges([inside, *outside])
        facts = [("id", 0, np.nan, np.nan)]
        for row, scores in zip(own, outside, strict=True):
            vectors(what, {"the OOD scores": scores})
            _, reached, thresholds = roc_curve(inside, scores)
            threshold = float(thresholds[np.argmax(reached >= row["tpr"])])
            facts.append(("ood", row["severity"], row["auroc"], threshold))
        for (kind, severity, auroc, threshold), scores in zip(
            facts, [inside, *outside], strict=True
        ):
            part = {
                "ood": panel,
                "checkpoint": checkpoint,
                "kind": kind,
                "severity": severity,
                "n": len(scores),
                "auroc": auroc,
                "threshold": threshold,
                "low": edges[:-1],
                "high": edges[1:],
                "probability": np.histogram(scores, edges)[0] / len(scores),
            }
            parts.append(part)
    table = _frame(parts)
    look = _looks(results, table)
    pages = panel_pages(
        table,
        look,
        _histogram_signs(table, look, rows[0]["tpr"]),
        _draw_histogram,
        lambda width: (1.6 if width > 2 else 0.62 if len(look) > 1 else 0.85,),
        x=_axis(rows[0]["score"]),
        y="probability, √ scale",
        note=_auroc_text,
        **_APART,
    )
    return pages, table


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


def _draw_histogram(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
    (axes,), colour = stack, look[own.checkpoint.iloc[0]].colour
    inside, *others = split(own, ["kind", "severity"]).values()
    edges = np.array([*inside.low, inside.high.iloc[-1]])
    axes.stairs(inside.probability, edges, fill=True, color=PALE, linewidth=0)
    for part, shade in zip(others, shades(colour, len(others)), strict=True):
        threshold, held = part.threshold.iloc[0], part.probability
        if len(others) == 1:
            axes.stairs(held, edges, fill=True, color=shade, alpha=0.3, linewidth=0)
            axes.axvline(threshold, **_THRESHOLD)
        else:
            over = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            axes.plot(threshold, 1.0, color=shade, **_TRIANGLE, **over)
        axes.stairs(held, edges, color=shade, linewidth=1.0, baseline=None)
    low, high = shown_range(edges)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    tidy_ticks(axes.xaxis)
    root_scale(axes.yaxis, 1.05 * own.probability.max())


def _histogram_signs(table: "DataFrame", look: Mapping[str, Look], tpr: float) -> Signs:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    panels = split(table[table.kind == "ood"], ["ood", "checkpoint"]).values()
    severities = [list(own.severity.unique()) for own in panels]
    colours = [one.colour for one in look.values()]
    signs: list[tuple[Any, str]] = [(Patch(facecolor=PALE), "ID")]
    if any(len(one) == 1 for one in severities):
        filled = [Patch(facecolor=(*one, 0.3), edgecolor=one, linewidth=1.0) for one in colours]
        signs.append((tuple(filled), "OOD"))
        signs.append((Line2D([], [], **_THRESHOLD), f"threshold, TPR {tpr:g}"))
    most = max(severities, key=len)
    if len(most) > 1:
        # Each checkpoint's panels have its own hue.
        hue = colours[0] if len(colours) == 1 else (0.5, 0.5, 0.5)
        steps = tuple(Patch(facecolor=shade) for shade in shades(hue, len(most)))
        signs.append((steps, f"severity {most[0]} … {most[-1]}, light to dark"))
        dark = shades(hue, 2)[-1]
        signs.append((Line2D([], [], color=dark, **_TRIANGLE), "threshold of each severity"))
    return signs


def _rocs(results: Results, rows: list[Row]) -> "tuple[list[Any], DataFrame]":
    from matplotlib.lines import Line2D

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
    table = _frame(parts)
    mark = Line2D([], [], color=INK, marker="o", **_RIMMED)
    pages = panel_pages(
        table,
        _looks(results, table),
        [(mark, f"TPR ≥ {rows[0]['tpr']:g}")],
        _draw_rocs,
        lambda width: (width,),
        x="false-positive rate",
        y="true-positive rate",
        number="AUROC",
        shared=True,
        below=0.06,
    )
    return pages, table


def _draw_rocs(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
    (axes,) = stack
    for name, part in split(own, "checkpoint").items():
        one, at = look[name], part[part.marked]
        axes.plot(part.fpr, part.tpr, color=one.colour, linestyle=one.line, label=name)
        axes.plot(at.fpr, at.tpr, color=one.colour, marker=one.marker, clip_on=False, **_RIMMED)
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
        "rate": "mean firing rate (spikes per step)",
    }
    with styled():
        pages = severity_pages(
            table,
            list(_looks(results, table)),
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
    from matplotlib.patches import Patch

    rows = _labelled(results)
    if not rows:
        return []
    drawable("reliability diagram", rows, [(row["label"], row["ood"]) for row in rows])
    parts = []
    for row in rows:
        confidence, correct = (
            _array(results, row["label"], row["ood"], name) for name in ("confidence", "correct")
        )
        bins = reliability(confidence, correct)
        errors = {name: row[name] for name in ("ece", "ece_equal_mass")}
        edges = {"low": bins.edges[:-1], "high": bins.edges[1:]}
        held = {"confidence": bins.confidence, "accuracy": bins.accuracy, "count": bins.count}
        parts.append({"data": row["ood"], "checkpoint": row["label"], **errors, **edges, **held})
    table = _frame(parts)
    look = _looks(results, table)
    with styled():
        filled = tuple(Patch(facecolor=one.colour, alpha=0.75) for one in look.values())
        signs = [
            (filled, "accuracy"),
            (Patch(**_GAP), "gap to the mean confidence"),
            (Patch(facecolor=PALE), "samples, √ scale"),
            (Patch(alpha=0), "ECE: equal width · equal mass"),
        ]
        pages = panel_pages(
            table,
            look,
            signs,
            _draw_reliability,
            lambda width: (min(width, 1.9), 0.32),
            x="confidence",
            y="accuracy",
            note=lambda own, _: f"ECE {own.ece.iloc[0]:.3f} · {own.ece_equal_mass.iloc[0]:.3f}",
            **_APART | {"gap": 0.36, "between": 0.11},
        )
    return [("reliability", pages, table)]


def _draw_reliability(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
    diagram, counts = stack
    edges, held = [*own.low, own.high.iloc[-1]], own[own["count"] > 0]
    filled = {"fill": True, "linewidth": 0}
    colour = look[own.checkpoint.iloc[0]].colour
    diagram.stairs(own.accuracy.fillna(0), edges, color=colour, alpha=0.75, **filled)
    gap = {"x": held.low, "width": held.high - held.low, "bottom": held.accuracy, "align": "edge"}
    diagram.bar(height=held.confidence - held.accuracy, **gap, **_GAP)
    diagram.plot([0, 1], [0, 1], color=INK, linewidth=0.6)
    diagram.set(xlim=(0, 1), ylim=(0, 1))
    diagram.tick_params(labelbottom=False)
    counts.set_label(f"{diagram.get_label()} samples")
    counts.stairs(own["count"], edges, color=PALE, **filled)
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
    from matplotlib.lines import Line2D

    rows = _labelled(results)
    if not rows:
        return []
    drawable("risk–coverage curve", rows, [(row["label"], row["ood"]) for row in rows])
    parts = []
    for row in rows:
        scores, correct = (
            _array(results, row["label"], row["ood"], name) for name in (row["score"], "correct")
        )
        coverage, risk = risk_coverage(scores, ~correct)
        named = {"data": row["ood"], "checkpoint": row["label"], "aurc": row["aurc"]}
        best = oracle_risk(coverage, risk)
        parts.append({**named, "coverage": coverage, "risk": risk, "oracle_risk": best})
    table = _frame(parts)
    with styled():
        oracle = Line2D([], [], color=INK, **_ORACLE)
        pages = panel_pages(
            table,
            _looks(results, table),
            [(oracle, "oracle: all errors left out first")],
            _draw_risks,
            lambda width: (0.72 * width,),
            x="coverage (fraction of samples kept)",
            y="selective risk",
            number="AURC",
            **_APART,
        )
    return [("risk-coverage", pages, table)]


def oracle_risk(coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least risk [n] at each coverage c [n], ascending to 1, for the same accuracy: all errors
    left out first, max(0, 1 − (1 − risk at 1) / c).
    """
    return np.maximum(0.0, 1 - (1 - risk[-1]) / coverage)


def _draw_risks(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
    (axes,) = stack
    for name, part in split(own, "checkpoint").items():
        line = {"color": look[name].colour, "clip_on": False}
        axes.plot(part.coverage, part.risk, linestyle=look[name].line, label=name, **line)
        axes.plot(part.coverage, part.oracle_risk, **line, **_ORACLE)
    axes.set(xlim=(0, 1), ylim=(0, 1.03 * own[["risk", "oracle_risk"]].to_numpy().max() or 1))
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


# --- panels of sets


def panel_pages(
    table: "DataFrame",
    look: Mapping[str, Look],
    signs: Signs,
    draw: Draw,
    heights: Callable[[float], tuple[float, ...]],
    *,
    x: str,
    y: str,
    note: "Callable[[DataFrame, float], str] | None" = None,
    number: str = "",
    shared: bool = False,
    above: bool = False,
    **measures: Any,
) -> list[Any]:
    """Pages of panels, each drawn from its rows of `table`, whose first column names the set.

    With a `note`, which stands over each panel, there is one for each checkpoint on each set: a
    row per set and a column per checkpoint, the sets of a single checkpoint side by side. With a
    `number`, a column of the table, there is one for each set, with a line and its number for each
    checkpoint: in a corner that no line reaches, or where one panel has no such corner `above` all.
    `heights` gives those of a panel's axes by its width; where axes are `shared`, outer ones alone
    have tick labels; `measures` as for `Grid`.
    """
    of, checkpoints = table.columns[0], list(look)
    sets = list(table[of].unique())
    panels = split(table, [of, "checkpoint"] if note else [of])
    several = note is not None and len(look) > 1
    columns = len(look) if several else columns_for(len(sets))
    width = width_for(columns)
    said = [*line_signs(look, width), *signs] if number else signs
    header = header_height([text for _, text in said], width - 0.1) + LINE_IN * several
    grid = Grid(1, columns, width, (), header, **measures)
    room = grid.panel_width
    notes = {key: note(own, room) for key, own in panels.items()} if note else {}
    lines = lines_above(max(len(own.checkpoint.unique()) for own in panels.values())) * above
    if any(text_width(key[0]) + text_width(text) + 0.1 > room for key, text in notes.items()):
        lines = 1  # the name of the set stands over the note
    grid = replace(grid, heights=heights(room), above=0.08 + LINE_IN * (lines + 1))
    if several:
        rows = dict(zip(sets, places(len(sets), grid.rows_that_fit), strict=True))
        cells = {key: Cell(*rows[key[0]], checkpoints.index(key[1])) for key in panels}
    else:
        cells = dict(zip(panels, wrapped(len(panels), columns, grid.rows_that_fit), strict=True))
    titles = elided_names(sets, width - grid.left - grid.right if several else room)
    short = elided_names(checkpoints, room)
    pages = []
    for figure, here in page_by_page(grid, cells, said, x, y):
        pages.append(figure)
        taken = {(cells[key].row, cells[key].column) for key in here}
        for key, stack in here.items():
            axes, own, row, column = stack[0], panels[key], cells[key].row, cells[key].column
            axes.set_label(" ".join(key))
            draw(stack, own, look)
            if note:
                heading(axes, notes[key], side="right")
            if not several or column == 0:
                heading(axes, titles[key[0]], line=lines, room=width if several else None)
            if several and row == 0:
                heading(axes, short[key[1]], side="center", line=lines + 1)
            if shared:
                below = (row + 1, column) not in taken
                axes.tick_params(labelbottom=below, labelleft=column == 0)
            if number:
                values = own.groupby("checkpoint", sort=False)[number.lower()].first()
                numbers = [(line_handle(look[name]), _rounded(one)) for name, one in values.items()]
                if not numbers_legend(axes, numbers, number, above=above):
                    return panel_pages(
                        table,
                        look,
                        signs,
                        draw,
                        heights,
                        x=x,
                        y=y,
                        number=number,
                        shared=shared,
                        above=True,
                        **measures,
                    )
    return pages


def _rounded(value: float) -> str:
    """Three decimals, or two digits of a number so small that they would all be 0."""
    return f"{value:.3f}" if value >= 0.1 or value == 0 else f"{value:#.2g}".replace("e-0", "e−")


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
