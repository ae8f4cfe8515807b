"""Every figure of an OOD evaluation, drawn from its scored sets and rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.evaluation.ood import NetworkResult
from ahsar_eval.ood import (
    SCORES,
    Row,
    ScoredSet,
    outcomes,
    reliability,
    risk_coverage,
    roc_curve,
)
from ahsar_eval.plots import (
    Band,
    HistogramPanel,
    OodScores,
    ReliabilityPanel,
    RiskCurve,
    RocCurve,
    SeverityCurve,
    save_reliability,
    save_risk_coverage,
    save_roc,
    save_score_histograms,
    save_severity_curves,
)

Sets = list[tuple[Row, ScoredSet]]
Vertices = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]  # FPR, TPR, thresholds
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


def save_ood_figures(
    results: Sequence[NetworkResult], folder: Path, form: str = "pdf"
) -> list[Path]:
    """Write score histograms and ROC for each score, severity curves, reliability diagrams and
    risk–coverage curves to `folder`.

    Beside each figure lie the drawn numbers as CSV. A figure for which there is nothing to draw (no
    shift at several severities, no labels) is not written. Returns what was. Raises `OutputError`.
    """
    scores = list(dict.fromkeys(row.score for result in results for row in result.rows))
    tpr = results[0].rows[0].tpr
    labels = list(
        dict.fromkeys(result.rows[0].label for result in results)
    )  # one colour for each in every figure
    written: list[Path] = []
    for score in scores:
        tail = f"-{score}" if len(scores) > 1 else ""
        compared = [(result, _sets(result, score)) for result in results]
        rocs = [
            {
                row.ood: roc_curve(result.id_set.scores[score], some.scores[score])
                for row, some in sets
            }
            for result, sets in compared
        ]
        panels = [
            panel
            for (result, sets), found in zip(compared, rocs, strict=True)
            for panel in _histograms(result, sets, found, tpr)
        ]
        written += save_score_histograms(
            panels,
            folder / f"scores{tail}.{form}",
            score=AXES.get(score, SCORES[score].title),
            tpr=tpr,
            checkpoints=labels,
        )
        curves = [
            RocCurve(row.label, row.ood, *found[row.ood][:2], row.metrics["auroc"].value)
            for (_, sets), found in zip(compared, rocs, strict=True)
            for row, _ in sets
        ]
        written += save_roc(curves, folder / f"roc{tail}.{form}", tpr=tpr, checkpoints=labels)
    first = scores[0]
    growing = [curve for result in results for curve in _severity_curves(result, first)]
    if growing:
        axis = (
            "mean entropy (nats)"
            if first == "entropy"
            else f"mean {AXES.get(first, SCORES[first].title)}"
        )
        written += save_severity_curves(
            growing, folder / f"severity.{form}", entropy=axis, checkpoints=labels
        )
    labelled = [pair for result in results for pair in _labelled(result, first)]
    if labelled:
        diagrams = [_reliability(row, some) for row, some in labelled]
        written += save_reliability(diagrams, folder / f"reliability.{form}", checkpoints=labels)
        risks = [_risk(row, some) for row, some in labelled]
        written += save_risk_coverage(risks, folder / f"risk-coverage.{form}", checkpoints=labels)
    return written


def _sets(result: NetworkResult, score: str) -> Sets:
    rows = [row for row in result.rows if row.kind == "set" and row.score == score]
    return list(zip(rows, result.others, strict=True))


def _histograms(
    result: NetworkResult, sets: Sets, curves: Mapping[str, Vertices], tpr: float
) -> list[HistogramPanel]:
    """A panel for each set, the severities of one shift in one; `curves` has the ROC of each."""
    panels: dict[str, list[OodScores]] = {}
    names = [row.ood if row.shift is None else f"{row.set_name}:{row.shift}" for row, _ in sets]
    for name, (row, some) in zip(names, sets, strict=True):
        _, reached, thresholds = curves[row.ood]
        threshold = float(thresholds[int(np.argmax(reached >= tpr))])
        one = OodScores(some.scores[row.score], row.metrics["auroc"].value, threshold, row.severity)
        panels.setdefault(name if names.count(name) > 1 else row.ood, []).append(one)
    first = sets[0][0]
    return [
        HistogramPanel(first.label, name, result.id_set.scores[first.score], others)
        for name, others in panels.items()
    ]


def _severity_curves(result: NetworkResult, score: str) -> list[SeverityCurve]:
    """A curve for each shift of the ID set at several severities; its first point is the ID set as
    it is.
    """
    rows = [
        row
        for row in result.rows
        if row.kind == "set" and row.score == score and row.shift is not None and row.same_images
    ]
    (alone,) = [row for row in result.rows if row.kind == "id" and row.score == score]
    curves = []
    for name, shift in dict.fromkeys((row.set_name, str(row.shift)) for row in rows):
        members = sorted(
            (row for row in rows if (row.set_name, row.shift) == (name, shift)),
            key=lambda row: row.severity,
        )
        if len(members) < 2:
            continue
        whole = [alone, *members]
        kept = all("accuracy" in row.metrics for row in whole)
        curves.append(
            SeverityCurve(
                checkpoint=alone.label,
                shift=shift,
                severities=np.array([row.severity for row in whole]),
                accuracy=_band(whole, "accuracy") if kept else None,
                auroc=_band(whole, "auroc"),
                entropy=_band(whole, "mean_score"),
                rate=_band(whole, "mean_rate"),
            )
        )
    return curves


def _band(rows: Sequence[Row], metric: str) -> Band:
    def values(end: Callable[[Row], float | None]) -> NDArray[np.float64]:
        return np.array(
            [np.nan if (number := end(row)) is None else number for row in rows], dtype=np.float64
        )

    return Band(
        values(lambda row: row.value(metric)),
        values(lambda row: row.metrics[metric].low if metric in row.metrics else None),
        values(lambda row: row.metrics[metric].high if metric in row.metrics else None),
    )


def _labelled(result: NetworkResult, score: str) -> Sets:
    """The ID set, and of each shift that keeps the labels its largest severity."""
    (alone,) = [row for row in result.rows if row.kind == "id" and row.score == score]
    found: Sets = [(alone, result.id_set)] if "accuracy" in alone.metrics else []
    sets = [(row, some) for row, some in _sets(result, score) if "accuracy" in row.metrics]
    for name, shift in dict.fromkeys((row.set_name, row.shift) for row, _ in sets):
        members = [(row, some) for row, some in sets if (row.set_name, row.shift) == (name, shift)]
        found.append(max(members, key=lambda pair: pair[0].severity))
    return found


def _reliability(row: Row, some: ScoredSet) -> ReliabilityPanel:
    judged = outcomes(some.logits, some.labels)
    bins = reliability(judged.confidence, judged.correct)
    return ReliabilityPanel(
        checkpoint=row.label,
        data=row.ood,
        edges=bins.edges,
        confidence=bins.confidence,
        accuracy=bins.accuracy,
        count=bins.count,
        ece=row.metrics["ece"].value,
        ece_equal_mass=row.metrics["ece_equal_mass"].value,
    )


def _risk(row: Row, some: ScoredSet) -> RiskCurve:
    coverage, risk = risk_coverage(some.scores[row.score], some.predictions != some.labels)
    return RiskCurve(row.label, row.ood, coverage, risk, row.metrics["aurc"].value)
