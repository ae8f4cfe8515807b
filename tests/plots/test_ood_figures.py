"""Figures of OOD results: they draw the arrays they are given, lie beside them as CSV, and fit a
paper whatever the names are.
"""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ahsar_eval.plots.fitting import elided, elided_names, text_width
from ahsar_eval.plots.risk_coverage import oracle_risk
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.text import Annotation
from page_layout import check_layout, texts

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.plots import (
    Band,
    HistogramPanel,
    OodScores,
    ReliabilityPanel,
    RiskCurve,
    RocCurve,
    SeverityCurve,
    reliability_figures,
    risk_coverage_figures,
    roc_figures,
    save_reliability,
    save_risk_coverage,
    save_roc,
    save_score_histograms,
    save_severity_curves,
    score_histogram_figures,
    severity_figures,
)
from ahsar_eval.plots.bins import FEW_VALUES, score_edges, shown_range
from ahsar_eval.plots.layout import short_number
from ahsar_eval.plots.style import TALLEST_IN, looks, shades, styled

NOTHING: Any = None
LONG = (
    "runs/2024-11-02/cifar10-vgg13-T8-homeostatic-lr0.001-wd5e-4-{}_$x$_best-on-holdout"
    "-of-a-study-with-a-long-name-{}"
)


def scores(seed: int, n: int = 60, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 1.0, n) + shift


def roc(checkpoint: str = "a", ood: str = "x", shift: float = 1.0, seed: int = 0) -> RocCurve:
    inside, outside = scores(seed), scores(seed + 1, shift=shift)
    cuts = np.unique(np.concatenate([inside, outside]))[::-1]
    fpr, tpr = (
        np.array([0.0, *((one >= cut).mean() for cut in cuts)]) for one in (inside, outside)
    )
    return RocCurve(checkpoint, ood, fpr, tpr, float(np.trapezoid(tpr, fpr)))


def histogram(checkpoint: str = "a", ood: str = "x", severities: int = 1) -> HistogramPanel:
    others = [
        OodScores(scores(k + 1, shift=k), 0.5 + 0.05 * k, 1.5 + k, k + (severities > 1))
        for k in range(severities)
    ]
    return HistogramPanel(checkpoint, ood, scores(0), others)


def band(values: np.ndarray) -> Band:
    return Band(values, values - 0.02, values + 0.03)


def severity(
    checkpoint: str = "a", shift: str = "fog", *, labels: bool = True, top: float = 0.3
) -> SeverityCurve:
    steps = np.arange(6)
    auroc = Band(
        np.array([0.5, 0.6, 0.7, 0.8, 0.85, 0.9]),
        np.array([np.nan, 0.55, 0.6, 0.7, 0.8, 0.85]),
        np.full(6, np.nan),
    )
    return SeverityCurve(
        checkpoint,
        shift,
        steps,
        band(1 - 0.1 * steps) if labels else None,
        auroc,
        band(0.2 + 0.1 * steps),
        band(top - 0.01 * steps),
    )


def reliability(checkpoint: str = "a", data: str = "x") -> ReliabilityPanel:
    nan = np.nan
    accuracy, confidence = np.array([nan, 0.5, 0.25, 1.0]), np.array([nan, 0.4, 0.7, 0.9])
    return ReliabilityPanel(
        checkpoint,
        data,
        np.linspace(0, 1, 5),
        confidence,
        accuracy,
        np.array([0, 2, 4, 30]),
        0.123,
        0.0456,
    )


def risk(checkpoint: str = "a", data: str = "x", seed: int = 0) -> RiskCurve:
    wrong = np.random.default_rng(seed).random(40) < np.linspace(0, 0.6, 40)
    kept = np.arange(1, 41)
    return RiskCurve(checkpoint, data, kept / 40, np.cumsum(wrong) / kept, 0.1234)


def histograms(names, sets):
    return score_histogram_figures(
        [histogram(c, s) for s in sets for c in names], score="predictive entropy (nats)"
    )


def severe_histograms(names, sets):
    return score_histogram_figures(
        [histogram(c, s, 5) for s in sets for c in names], score="predictive entropy (nats)"
    )


def rocs(names, sets):
    return roc_figures([roc(c, s, 1 + k / 4, k) for s in sets for k, c in enumerate(names)])


def severities(names, sets):
    return severity_figures(
        [
            severity(c, s, labels=s != sets[-1], top=0.3 + k / 10)
            for s in sets
            for k, c in enumerate(names)
        ]
    )


def reliabilities(names, sets):
    return reliability_figures([reliability(c, s) for s in sets for c in names])


def risks(names, sets):
    return risk_coverage_figures([risk(c, s, k) for s in sets for k, c in enumerate(names)])


KINDS = [histograms, severe_histograms, rocs, severities, reliabilities, risks]
SAVERS = [
    (save_score_histograms, histogram),
    (save_roc, roc),
    (save_severity_curves, severity),
    (save_reliability, reliability),
    (save_risk_coverage, risk),
]


def panels(figure, label: str):
    return [axes for axes in figure.axes if axes.get_label() == label]


def panel(figures, label: str):
    (found,) = [axes for figure in figures for axes in panels(figure, label)]
    return found


def drawn_line(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


# --- pages
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (["a"], ["x"]),
        (
            ["digits-vgg13-baseline", "digits-vgg13-ahsar"],
            ["photo-patches", "digits:gaussian_noise:3"],
        ),
        ([LONG.format(k, k) for k in range(4)], [LONG.format("set", k) for k in range(3)]),
    ],
)
def test_text_fits_the_page_and_meets_no_other(kind, names, sets):
    for figure in kind(names, sets):
        check_layout(figure)


@pytest.mark.parametrize(
    ("kind", "count"), [(histograms, 20), (rocs, 20), (severities, 6), (reliabilities, 4)]
)
def test_many_sets_go_on_pages_that_hold_each_once(kind, count):
    sets = [f"set{number}" for number in range(count)]
    figures = kind(["a", "b"], sets)
    assert len(figures) > 1
    assert all(figure.get_size_inches()[1] <= TALLEST_IN for figure in figures)
    found = [
        text.get_text() for figure in figures for text in texts(figure) if text.get_text() in sets
    ]
    assert sorted(found) == sorted(sets)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_names_read_the_same(kind):
    names = [LONG.format(k, "end") for k in range(3)]
    (figure,) = kind(names, ["x"])
    shown = [
        text.get_text()
        for text in texts(figure)
        if text.get_text() in names or re.fullmatch(r"…\d…", text.get_text())
    ]
    assert len(shown) == len(set(shown)) == 3


def test_a_dollar_in_a_name_is_a_dollar():
    (figure,) = rocs(["cost $x_1$ of"], ["$y$"])
    assert {"cost $x_1$ of", "$y$"} <= {text.get_text() for text in texts(figure)}
    assert all(not text.get_parse_math() for text in texts(figure))


# --- files
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("save", "make"), SAVERS)
def test_a_figure_and_its_arrays_are_written(save, make, tmp_path):
    written = save([make()], tmp_path / "sub" / "figure.svg")
    assert written == [tmp_path / "sub" / "figure.svg", tmp_path / "sub" / "figure.csv"]
    assert sorted(path.name for path in written[0].parent.iterdir()) == ["figure.csv", "figure.svg"]
    assert "<text" in written[0].read_text(), "text of an SVG stays text"
    assert len(pd.read_csv(written[1])) > 3


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF")]
)
def test_files_by_suffix(suffix, start, tmp_path):
    content = save_roc([roc()], tmp_path / f"figure{suffix}")[0].read_bytes()
    assert content.startswith(start)
    assert b"/Type3" not in content
    assert suffix != ".pdf" or b"/FontFile2" in content, "type is embedded as TrueType"


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_the_same_arrays_make_the_same_file(suffix, tmp_path):
    first, second = (
        save_roc([roc()], tmp_path / name / f"x{suffix}")[0].read_bytes() for name in "ab"
    )
    assert first == second
    assert b"CreationDate" not in first
    assert b"<dc:date>" not in first


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.csv"])
def test_another_suffix_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(
        OutputError,
        match=r"a figure is PNG, PDF or SVG; name a file that ends in \.png, \.pdf, \.svg",
    ):
        save_roc([roc()], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_several_pages_are_numbered_and_all_appear_or_none(tmp_path):
    curves = [severity("a", f"shift{number}") for number in range(7)]
    (tmp_path / "x-2.svg").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        save_severity_curves(curves, tmp_path / "x.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["x-2.svg"]
    (tmp_path / "x-2.svg").rmdir()
    assert [path.name for path in save_severity_curves(curves, tmp_path / "x.svg")] == [
        "x-1.svg",
        "x-2.svg",
        "x.csv",
    ]


def test_a_failure_while_drawing_leaves_nothing(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        save_roc([roc()], tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_figures_belong_to_no_window_and_leave_the_settings_alone():
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before, numbers = dict(matplotlib.rcParams), plt.get_fignums()
        rocs(["a"], ["x"])
        assert dict(matplotlib.rcParams) == before
        assert plt.get_fignums() == numbers


# --- looks
# --------------------------------------------------------------------------------------------------


def test_checkpoints_differ_by_colour_and_without_it():
    with styled():
        found = list(looks([f"c{number}" for number in range(8)]).values())
    assert len({look.colour for look in found}) == 8
    assert len({look.marker for look in found}) == 8
    assert len({str(look.line) for look in found[:4]}) == 4


def test_a_checkpoint_looks_the_same_in_every_figure():
    names = ["a", "b"]
    with styled():
        colour = to_hex(looks(names)["b"].colour)
    (roc_,) = roc_figures([roc("b")], checkpoints=names)
    (risk_,) = risk_coverage_figures([risk("b")], checkpoints=names)
    (severity_,) = severity_figures([severity("b")], checkpoints=names)
    (histogram_,) = score_histogram_figures([histogram("b")], checkpoints=names)
    (reliability_,) = reliability_figures([reliability("b")], checkpoints=names)
    drawn = [
        roc_.axes[0].lines[0].get_color(),
        risk_.axes[0].lines[0].get_color(),
        severity_.axes[0].lines[0].get_color(),
    ]
    drawn += [
        histogram_.axes[0].patches[1].get_facecolor()[:3],
        reliability_.axes[0].patches[0].get_facecolor()[:3],
    ]
    assert {to_hex(one) for one in drawn} == {colour}
    first = roc_figures([roc("b")])[0].axes[0].lines[0].get_color()
    assert to_hex(first) != colour, (
        "without the list the first checkpoint drawn has the first colour"
    )


def test_shades_run_from_light_to_dark():
    lightness = [sum(shade) for shade in shades((0.2, 0.4, 0.6), 5)]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 5
    assert shades((0.2, 0.4, 0.6), 1) == [(0.2, 0.4, 0.6)]


# --- ROC
# --------------------------------------------------------------------------------------------------


def test_roc_draws_every_vertex_and_marks_the_first_that_recalls_enough(tmp_path):
    curves = [roc("a"), roc("b", shift=2.0, seed=5)]
    axes = panel(roc_figures(curves), "x")
    for curve in curves:
        assert np.array_equal(
            drawn_line(axes, curve.checkpoint).get_xydata(),
            np.stack([curve.fpr, curve.tpr], axis=1),
        )
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
    for mark, curve in zip(marks, curves, strict=True):
        at = next(place for place, rate in enumerate(curve.tpr) if rate >= 0.95)
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (curve.fpr[at], curve.tpr[at])
    assert axes.get_aspect() == 1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{curve.auroc:.3f}" for curve in curves
    ]
    table = pd.read_csv(save_roc(curves, tmp_path / "x.svg")[-1], float_precision="round_trip")
    for curve in curves:
        own = table[table.checkpoint == curve.checkpoint]
        assert np.array_equal(own[["fpr", "tpr"]], np.stack([curve.fpr, curve.tpr], axis=1))
        assert set(own.auroc) == {curve.auroc}
        assert list(own.vertex[own.marked]) == [int(np.argmax(curve.tpr >= 0.95))]


def test_another_tpr_is_marked_and_named():
    curve = RocCurve("a", "x", np.array([0, 0, 0.5, 1]), np.array([0, 0.5, 0.8, 1.0]), 0.7)
    (figure,) = roc_figures([curve], tpr=0.8)
    (mark,) = [line for line in panel([figure], "x").lines if len(line.get_xdata()) == 1]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (0.5, 0.8)
    assert "TPR ≥ 0.8" in [text.get_text() for text in figure.legends[0].get_texts()]


def inner_legend_meets_a_line(axes) -> bool:
    box = axes.get_legend().get_window_extent(axes.figure.canvas.get_renderer())
    return any(
        line.get_path().transformed(line.get_transform()).intersects_bbox(box, filled=False)
        for line in axes.lines
    )


@pytest.mark.parametrize("shifts", [(1.0, 2.0), (-2.0, -3.0), (0.0, 0.0)])
def test_numbers_stand_in_a_corner_no_line_reaches(shifts):
    (figure,) = roc_figures(
        [roc(name, shift=shift) for name, shift in zip("ab", shifts, strict=True)]
    )
    axes = panel([figure], "x")
    assert not inner_legend_meets_a_line(axes)
    assert axes.bbox.contains(*axes.get_legend().get_window_extent().p0)


def test_where_lines_reach_every_corner_the_numbers_stand_above_all_panels():
    over, under = np.array([0, 0.1, 1]), np.array([0, 0.7, 1])
    curves = [
        RocCurve("a", "full", over, under, 0.8),
        RocCurve("b", "full", under, over, 0.2),
        roc("a", "free", 2.0),
    ]
    (figure,) = roc_figures(curves)
    for name in ("full", "free"):
        axes = panel([figure], name)
        assert axes.get_legend().get_window_extent(figure.canvas.get_renderer()).y0 >= axes.bbox.y1


# --- histograms
# --------------------------------------------------------------------------------------------------


def test_histograms_draw_probabilities_on_common_edges_with_the_threshold(tmp_path):
    one = histogram()
    axes = panel(score_histogram_figures([one]), "x a")
    inside, filled, outline = axes.patches
    for patch, values in (
        (inside, one.id_scores),
        (filled, one.others[0].scores),
        (outline, one.others[0].scores),
    ):
        assert np.array_equal(patch.get_data().edges, one.edges)
        assert np.allclose(
            patch.get_data().values, np.histogram(values, one.edges)[0] / 60, rtol=0, atol=0
        )
        assert patch.get_data().values.sum() == pytest.approx(1, abs=1e-12)
    (threshold,) = axes.lines
    assert set(threshold.get_xdata()) == {1.5}
    assert "AUROC 0.500" in [text.get_text() for text in axes.texts]
    table = pd.read_csv(
        save_score_histograms([one], tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    for kind, values in (("id", one.id_scores), ("ood", one.others[0].scores)):
        own = table[table.kind == kind]
        assert np.array_equal(own.probability, np.histogram(values, one.edges)[0] / 60)
        assert np.array_equal([*own.low, own.high.iloc[-1]], one.edges)
    assert set(table[table.kind == "ood"].threshold) == {1.5}


def test_severities_are_lines_from_light_to_dark_over_the_filled_id_set(tmp_path):
    one = histogram(severities=3)
    (figure,) = score_histogram_figures([one])
    axes = panel([figure], "x a")
    inside, *lines = axes.patches
    assert inside.get_fill()
    assert not any(line.get_fill() for line in lines)
    assert len(lines) == 3
    lightness = [sum(line.get_edgecolor()[:3]) for line in lines]
    assert lightness == sorted(lightness, reverse=True)
    assert [float(mark.get_xdata()[0]) for mark in axes.lines] == [1.5, 2.5, 3.5]
    assert "AUROC .50 .55 .60" in [text.get_text() for text in axes.texts]
    assert "severity 1 … 3, light to dark" in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]
    table = pd.read_csv(save_score_histograms([one], tmp_path / "x.svg")[-1])
    assert list(dict.fromkeys(table.severity)) == [0, 1, 2, 3]


def test_scores_of_one_value_can_be_drawn(tmp_path):
    one = HistogramPanel("a", "x", np.full(5, 2.0), [OodScores(np.full(3, 2.0), 0.5, 2.0)])
    assert list(one.probability(one.id_scores)) == [1.0]
    save_score_histograms(
        [one, replace(one, ood="y", id_scores=np.zeros(5), others=[OodScores(np.zeros(2), 0.5)])],
        tmp_path / "x.svg",
    )


def test_few_values_have_a_bin_each_and_evenly_spaced_ones_touch():
    edges = score_edges([np.array([0, 0.25, 0.5]), np.array([0.75, 1.0, 1.0])])
    assert edges == pytest.approx([-0.125, 0.125, 0.375, 0.625, 0.875, 1.125])
    lone = score_edges([np.array([0, 0.1, 0.2]), np.array([9.0])])
    assert len(np.histogram([0, 0.1, 0.2, 9.0], lone)[0].nonzero()[0]) == 4
    assert lone[-1] - lone[-2] < 0.3, "a lone value is no plateau"


def test_counts_make_no_comb():
    rng = np.random.default_rng(0)
    inside, outside = (rng.poisson(mean, 4000) / 8 for mean in (300, 340))
    edges = score_edges([inside, outside])
    assert len(np.unique(np.concatenate([inside, outside]))) > FEW_VALUES
    held = [
        len(np.unique((inside * 8).round()[(inside >= low) & (inside < high)]))
        for low, high in pairwise(edges)
    ]
    per_bin = np.diff(edges) * 8
    assert np.allclose(per_bin, round(per_bin[0]))
    middle = held[len(held) // 4 : len(held) // 2]
    assert set(middle) == {round(per_bin[0])}, (
        "every bin has room for as many counts as its neighbours"
    )


def test_a_far_tail_is_held_by_the_last_bin_and_not_drawn_in_full():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=999), [1e6]])
    edges = score_edges([values, rng.normal(size=1000)])
    assert edges[-1] == 1e6
    low, high = shown_range(edges)
    assert low == edges[0]
    assert edges[-2] < high < 10
    assert np.histogram(values, edges)[0].sum() == 1000


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.floats(-1e9, 1e9) | st.integers(0, 300).map(float), min_size=1, max_size=120),
        min_size=1,
        max_size=3,
    ),
)
def test_edges_ascend_and_hold_every_score(sets):
    arrays = [np.array(one) for one in sets]
    edges = score_edges(arrays)
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 2 * FEW_VALUES + 1
    for one in arrays:
        assert np.histogram(one, edges)[0].sum() == len(one)
    low, high = shown_range(edges)
    assert edges[0] <= low < high <= edges[-1]


# --- severity
# --------------------------------------------------------------------------------------------------


def test_severity_curves_draw_values_and_bands(tmp_path):
    curves = [severity("a"), severity("b", top=0.5)]
    figures = severity_figures(curves)
    for quantity in ("accuracy", "entropy", "rate"):
        axes = panel(figures, f"fog {quantity}")
        for curve, line, area in zip(curves, axes.lines, axes.collections, strict=True):
            drawn = getattr(curve, quantity)
            assert np.array_equal(
                line.get_xydata(), np.stack([curve.severities, drawn.value], axis=1)
            )
            assert {tuple(point) for point in area.get_paths()[0].vertices} >= {
                (float(s), end)
                for s, low, high in zip(curve.severities, drawn.low, drawn.high, strict=True)
                for end in (low, high)
            }
    table = pd.read_csv(
        save_severity_curves(curves, tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    own = table[(table.checkpoint == "b") & (table.quantity == "rate")]
    for column in ("value", "low", "high"):
        assert np.array_equal(own[column], getattr(curves[1].rate, column))


def test_auroc_starts_at_severity_one_beside_the_line_of_chance():
    axes = panel(severity_figures([severity()]), "fog auroc")
    chance, line = axes.lines
    assert set(chance.get_ydata()) == {0.5}
    assert np.isnan(line.get_ydata()[0])
    assert list(line.get_ydata()[1:]) == [0.6, 0.7, 0.8, 0.85, 0.9]
    assert axes.get_xlim() == panel(severity_figures([severity()]), "fog rate").get_xlim()


def test_a_shift_that_keeps_no_labels_says_so():
    figures = severity_figures([severity(shift="fog"), severity(shift="swap", labels=False)])
    assert [
        text.get_text()
        for text in panel(figures, "swap accuracy").texts
        if "label" in text.get_text()
    ] == ["labels not kept"]
    assert not panel(figures, "swap accuracy").lines
    assert not [text for text in panel(figures, "fog accuracy").texts if "label" in text.get_text()]


def test_a_row_has_one_scale_over_all_shifts_and_pages():
    figures = severity_figures(
        [severity("a", f"shift{number}", top=number / 10 + 0.1) for number in range(7)]
    )
    assert len(figures) == 2
    limits = {
        axes.get_ylim()
        for figure in figures
        for axes in figure.axes
        if axes.get_label().endswith("rate")
    }
    assert len(limits) == 1
    low, high = limits.pop()
    assert low <= 0.1 - 0.05 - 0.02
    assert high >= 0.7 + 0.03


# --- reliability
# --------------------------------------------------------------------------------------------------


def test_reliability_draws_accuracy_gap_and_counts(tmp_path):
    one = reliability()
    figures = reliability_figures([one])
    bars, *gaps = panel(figures, "x a").patches
    assert list(bars.get_data().values) == [0, 0.5, 0.25, 1.0]
    assert np.array_equal(bars.get_data().edges, one.edges)
    shaded = [
        (gap.get_x(), gap.get_width(), *sorted([gap.get_y(), gap.get_y() + gap.get_height()]))
        for gap in gaps
    ]
    expected = [
        (0.25, 0.25, 0.4, 0.5),
        (0.5, 0.25, 0.25, 0.7),
        (0.75, 0.25, 0.9, 1.0),
    ]  # between accuracy and confidence
    assert np.allclose(shaded, expected)
    assert all(gap.get_hatch() for gap in gaps)
    (counts,) = panel(figures, "x a samples").patches
    assert list(counts.get_data().values) == [0, 2, 4, 30]
    assert "ECE 0.123 · 0.046" in [text.get_text() for text in panel(figures, "x a").texts]
    table = pd.read_csv(
        save_reliability([one], tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    for column in ("confidence", "accuracy", "count"):
        assert np.array_equal(table[column], getattr(one, column), equal_nan=True)
    assert np.array_equal(table.low, one.edges[:-1])


# --- risk–coverage
# --------------------------------------------------------------------------------------------------


def test_risk_coverage_draws_curves_and_oracle(tmp_path):
    curves = [risk("a"), risk("b", seed=1)]
    axes = panel(risk_coverage_figures(curves), "x")
    for curve, best in zip(curves, axes.lines[1::2], strict=True):
        assert np.array_equal(
            drawn_line(axes, curve.checkpoint).get_xydata(),
            np.stack([curve.coverage, curve.risk], axis=1),
        )
        assert np.array_equal(
            best.get_xydata(), np.stack([curve.coverage, oracle_risk(curve)], axis=1)
        )
        assert best.get_linestyle() == ":"
    table = pd.read_csv(
        save_risk_coverage(curves, tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    own = table[table.checkpoint == "b"]
    assert np.array_equal(
        own[["coverage", "risk"]], np.stack([curves[1].coverage, curves[1].risk], axis=1)
    )
    assert np.array_equal(own.oracle_risk, oracle_risk(curves[1]))
    assert set(own.aurc) == {0.1234}


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_oracle_is_the_risk_with_all_errors_last(wrong):
    kept = np.arange(1, len(wrong) + 1)
    curve = RiskCurve("a", "x", kept / len(wrong), np.cumsum(wrong) / kept, 0.1)
    assert oracle_risk(curve) == pytest.approx(np.cumsum(sorted(wrong)) / kept, abs=1e-12)


def test_a_network_that_is_never_wrong_can_be_drawn_and_small_areas_keep_two_digits():
    never = RiskCurve("a", "x", np.array([0.5, 1.0]), np.zeros(2), 0.0)
    seldom = replace(never, checkpoint="b", aurc=0.00402)
    axes = panel(risk_coverage_figures([never, seldom]), "x")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.000", "0.0040"]


# --- refusals
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "content", "message"),
    [
        (roc_figures, [], "there is no ROC curve to draw"),
        (score_histogram_figures, [], "there is no histogram to draw"),
        (severity_figures, [], "there is no severity curve to draw"),
        (reliability_figures, [], "there is no reliability diagram to draw"),
        (risk_coverage_figures, [], "there is no risk–coverage curve to draw"),
        (roc_figures, [roc(), roc()], "the ROC curve of a on x was given twice"),
        (
            roc_figures,
            [replace(roc(), fpr=np.array([0, 1.0]))],
            r"the ROC curve of a on x has fpr \[2\], tpr",
        ),
        (
            roc_figures,
            [replace(roc(), fpr=roc().fpr[::-1])],
            "the fpr of a on x does not rise from 0 to 1",
        ),
        (
            roc_figures,
            [replace(roc(), tpr=roc().tpr * 0.9)],
            "the tpr of a on x does not rise from 0 to 1",
        ),
        (score_histogram_figures, [replace(histogram(), others=[])], "has no OOD scores"),
        (
            score_histogram_figures,
            [replace(histogram(), id_scores=np.array([1, np.nan]))],
            "has nan in the ID scores at 1",
        ),
        (
            score_histogram_figures,
            [replace(histogram(), others=[OodScores(np.array([np.inf]), 1.0)])],
            "has inf in the OOD scores at 0",
        ),
        (
            score_histogram_figures,
            [replace(histogram(), others=[OodScores(np.ones(2), 1.0, np.inf)])],
            "has the threshold inf",
        ),
        (
            score_histogram_figures,
            [replace(histogram(), id_scores=np.zeros(0))],
            r"has the ID scores \[0\]; expected vectors",
        ),
        (
            severity_figures,
            [replace(severity(), rate=band(np.zeros(5)))],
            r"has severities \[6\], rate \[5\]",
        ),
        (
            severity_figures,
            [replace(severity(), severities=np.arange(6)[::-1])],
            "expected them ascending",
        ),
        (
            severity_figures,
            [replace(severity(), rate=NOTHING)],
            "has no rate; only accuracy may be missing",
        ),
        (
            reliability_figures,
            [replace(reliability(), edges=np.linspace(0, 1, 4))],
            "has 4 edges for 4 bins; expected 5",
        ),
        (
            reliability_figures,
            [replace(reliability(), edges=np.linspace(0, 2, 5))],
            r"expected them ascending in \[0, 1\]",
        ),
        (
            reliability_figures,
            [replace(reliability(), accuracy=np.full(4, np.nan))],
            "a bin with samples but without accuracy",
        ),
        (
            reliability_figures,
            [replace(reliability(), count=np.zeros(4, dtype=np.int64))],
            "or no samples",
        ),
        (
            risk_coverage_figures,
            [replace(risk(), coverage=np.linspace(0, 1, 40))],
            "does not ascend from above 0 to 1",
        ),
        (
            risk_coverage_figures,
            [replace(risk(), risk=np.full(40, 1.5))],
            "has risks from 1.5 to 1.5; expected fractions",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(draw, content, message):
    with pytest.raises(DataError, match=message):
        draw(content)


@pytest.mark.parametrize("tpr", [0.0, 1.1])
def test_a_tpr_outside_its_range_is_refused(tpr):
    with pytest.raises(DataError, match=r"expected a number in \(0, 1\]"):
        roc_figures([roc()], tpr=tpr)


# --- names and numbers
# --------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.text("abcdefgWi_-:/", min_size=1, max_size=60), st.floats(0.2, 3))
def test_a_name_that_is_too_wide_loses_its_middle(name, room):
    with styled():
        short = elided(name, room)
        assert text_width(short) <= room
        assert (short == name) == (text_width(name) <= room)
    if short != name:
        start, end = short.split("…")
        assert name.startswith(start)
        assert name.endswith(end)


def test_names_that_would_read_the_same_show_where_they_differ_or_a_number():
    long = "x" * 80
    with styled():
        assert elided_names(["a", "b"], 1.0) == {"a": "a", "b": "b"}
        assert list(elided_names([f"{long}-one-{long}", f"{long}-two-{long}"], 1.0).values()) == [
            "…one…",
            "…two…",
        ]
        assert list(elided_names([f"{long}1{long}2{long}", f"{long}2{long}1{long}"], 1.0).values())[
            1
        ].startswith(("2 ", "…2"))
        assert (
            elided_names([long, long + "x"], 1.0)[long]
            != elided_names([long, long + "x"], 1.0)[long + "x"]
        )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"),
        (-3.0, "−3"),
        (-0.0, "0"),
        (2e6, "2e6"),
        (1e4, "10000"),
        (1e-5, "1e−5"),
        (0.1 + 0.2, "0.3"),
    ],
)
def test_ticks_are_short(value, text):
    assert short_number(value) == text


def test_figures_import_no_plotting_library_before_they_draw():
    import subprocess
    import sys

    code = (
        "import sys, ahsar_eval.plots; print([m for m in ('matplotlib', 'seaborn', 'pandas', "
        "'scipy') if m in sys.modules])"
    )
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True
    )
    assert done.stdout.strip() == "[]"


def test_headings_stand_over_their_panels():
    (figure,) = histograms(["one", "two"], ["x", "y"])
    found = {
        text.get_text()
        for axes in figure.axes
        for text in axes.texts
        if isinstance(text, Annotation)
    }
    assert {"one", "two", "x", "y", "AUROC 0.500"} == found
