"""Figures of OOD results: they draw the numbers of the results, lie beside them as CSV, and fit a
paper whatever the names are.
"""

import re
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from ood_results import ID, results
from page_layout import box_of as box_of_text
from page_layout import check_layout, headings, texts, words
from scipy.stats import binomtest

from ahsar_eval.errors import DataError, OutputError, UsageError
from ahsar_eval.ood import reliability, risk_coverage, roc_curve
from ahsar_eval.plots import drawn, plot, save_all
from ahsar_eval.plots.bins import FEW_VALUES, score_edges, shown_range
from ahsar_eval.plots.ood import oracle_risk
from ahsar_eval.plots.style import (
    TALLEST_IN,
    Drawn,
    elided,
    elided_names,
    looks,
    samples_said,
    shades,
    short_number,
    styled,
    text_width,
)

HASHED = (2, 4, 3, 9, 5)  # of the palette: those of names that say no method
LONG = (
    "runs/2024-11-02/cifar10-vgg13-T8-homeostatic-lr0.001-wd5e-4-{}_$x$_best-on-holdout"
    "-of-a-study-with-a-long-name-{}"
)


score_histograms = partial(drawn, name="scores")
roc = partial(drawn, name="roc")
severity_curves = partial(drawn, name="severity")
reliability_diagrams = partial(drawn, name="reliability")
risk_coverage_curves = partial(drawn, name="risk-coverage")


def pages(found) -> list[Any]:
    ((_, figures, _),) = found
    return figures


def table(found) -> pd.DataFrame:
    ((_, _, numbers),) = found
    return numbers


def histograms(names, sets):
    return pages(score_histograms(results(names, sets)))


def severe_histograms(names, sets):
    return pages(score_histograms(results(names, [], shifts=sets)))


def rocs(names, sets):
    return pages(roc(results(names, sets)))


def severities(names, sets):
    return pages(severity_curves(results(names, [], shifts=sets, labels=sets[:-1])))


def reliabilities(names, sets):
    return pages(reliability_diagrams(results(names, sets, labels=sets)))


def risks(names, sets):
    return pages(risk_coverage_curves(results(names, sets, labels=sets)))


KINDS = [histograms, severe_histograms, rocs, severities, reliabilities, risks]


def panels(figure, label: str):
    return [axes for axes in figure.axes if axes.get_label() == label]


def panel(figures, label: str):
    (found,) = [axes for figure in figures for axes in panels(figure, label)]
    return found


def drawn_line(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def note_over(axes) -> str:
    return axes.get_title(loc="right").strip()


def legend_texts(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


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


def test_a_long_legend_takes_no_more_than_the_page():
    names, sets = [LONG.format(k, k) for k in range(9)], [f"set{k}" for k in range(14)]
    for figure in rocs(names, sets):
        check_layout(figure)


@pytest.mark.parametrize(
    ("kind", "count"), [(histograms, 20), (rocs, 20), (severities, 9), (reliabilities, 4)]
)
def test_many_sets_go_on_pages_that_hold_each_once(kind, count):
    sets = [f"set{number}" for number in range(count)]
    figures = kind(["a", "b"], sets)
    assert len(figures) > 1
    assert all(figure.get_size_inches()[1] <= TALLEST_IN for figure in figures)
    found = [word.removesuffix(" · AUROC") for figure in figures for word in words(figure)]
    assert sorted(word for word in found if word in sets) == sorted(sets)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_names_read_the_same(kind):
    names = [LONG.format(k, "end") for k in range(3)]
    (figure,) = kind(names, ["x"])
    shown = [word for word in words(figure) if word in names or re.fullmatch(r"…\d…", word)]
    # Where each network has its own column, each set's row has the names once.
    assert len(set(shown)) == 3
    assert len(shown) == 3


def test_a_dollar_in_a_name_is_a_dollar():
    (figure,) = rocs(["cost $x_1$ of"], ["$y$"])
    assert {"cost $x_1$ of", "$y$ · AUROC"} <= set(words(figure))
    assert all(not text.get_parse_math() for text in texts(figure))


# --- files
# --------------------------------------------------------------------------------------------------

EVERY = ["scores", "roc", "severity", "reliability", "risk-coverage"]


def test_every_figure_and_its_numbers_are_written(tmp_path):
    written = save_all(results(["a", "b"], ["x"], shifts=["fog"]), tmp_path / "sub", "svg")
    assert written == [
        tmp_path / "sub" / f"{name}.{suffix}" for name in EVERY for suffix in ("svg", "csv")
    ]
    assert sorted(written) == sorted((tmp_path / "sub").iterdir())
    for figure, numbers in zip(written[::2], written[1::2], strict=True):
        assert "<text" in figure.read_text(), "text of an SVG stays text"
        assert len(pd.read_csv(numbers)) > 3


def test_a_figure_with_nothing_to_draw_is_not_written_and_refused_by_name(tmp_path):
    found = results(["a"], ["x"])
    written = save_all(replace(found, arrays=without(found, "correct")), tmp_path)
    assert [path.name for path in written[::2]] == ["scores.pdf", "roc.pdf"]
    with pytest.raises(UsageError, match="nothing to draw in the figure severity of these results"):
        plot(found, "severity")
    with pytest.raises(UsageError, match="have no figure 'pareto'"):
        plot(found, "pareto")


def without(found, name: str) -> dict[str, Any]:
    return {key: array for key, array in found.arrays.items() if not key.endswith(f"/{name}")}


def test_one_figure_of_each_score(tmp_path):
    one, other = results(), results(score="energy")
    both = one + other
    written = save_all(replace(both, arrays=without(both, "correct")), tmp_path, "svg")
    assert [path.stem for path in written[::2]] == [
        f"{name}-{score}" for name in ("scores", "roc") for score in ("entropy", "energy")
    ]
    figure = both.plot("roc", tmp_path / "mine" / "x.svg")
    assert panels(figure, "x")
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == ["x-1.csv", "x-1.svg", "x-2.csv", "x-2.svg"]


def test_the_first_figure_is_the_one_that_is_not_named():
    assert panels(results().plot(), "x a")


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF")]
)
def test_files_by_suffix(suffix, start, tmp_path):
    plot(results(), "roc", tmp_path / f"figure{suffix}")
    content = (tmp_path / f"figure{suffix}").read_bytes()
    assert content.startswith(start)
    assert b"/Type3" not in content
    assert suffix != ".pdf" or b"/FontFile2" in content, "type is embedded as TrueType"


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_the_same_results_make_the_same_file(suffix, tmp_path):
    for name in "ab":
        plot(results(), "roc", tmp_path / name / f"x{suffix}")
    first, second = ((tmp_path / name / f"x{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert b"CreationDate" not in first
    assert b"<dc:date>" not in first


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.csv"])
def test_another_suffix_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(
        OutputError,
        match=r"a figure is PNG, PDF or SVG; name a file that ends in \.png, \.pdf, \.svg",
    ):
        plot(results(), "roc", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_several_pages_are_numbered_and_all_appear_or_none(tmp_path):
    ((_, figures, numbers),) = severity_curves(
        results(["a"], [], shifts=[f"shift{number}" for number in range(7)])
    )
    (tmp_path / "x-2.svg").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        Drawn("x", figures, numbers).save(tmp_path / "x.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["x-2.svg"]
    (tmp_path / "x-2.svg").rmdir()
    assert [path.name for path in Drawn("x", figures, numbers).save(tmp_path / "x.svg")] == [
        "x-1.svg",
        "x-2.svg",
        "x.csv",
    ]


def test_a_failure_while_drawing_leaves_nothing(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        plot(results(), "roc", tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_figures_belong_to_no_window_and_neither_change_nor_follow_the_settings():
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before, numbers = dict(matplotlib.rcParams), plt.get_fignums()
        rocs(["a"], ["x"])
        assert dict(matplotlib.rcParams) == before
        assert plt.get_fignums() == numbers
        matplotlib.rcParams["xtick.labelsize"] = matplotlib.rcParams["axes.labelsize"] = 20
        (figure,) = rocs(["a"], ["x"])
        check_layout(figure)


# --- looks
# --------------------------------------------------------------------------------------------------


def test_checkpoints_differ_by_colour_and_without_it():
    with styled():
        found = list(looks([f"c{number}" for number in range(8)]).values())
    assert len({look["color"] for look in found}) == 8
    assert len({look["marker"] for look in found}) == 8
    assert len({str(look["linestyle"]) for look in found[:4]}) == 4


def test_a_checkpoint_looks_the_same_in_every_figure():
    found = results(["a", "b"], ["x"], shifts=["fog"])
    with styled():
        colour = to_hex(looks(["a", "b"])["b"]["color"])
    # The first network is in the results, and has nothing to draw in these figures.
    for name in ("rows", "id"):
        own = [row for row in found.records[name] if row["label"] == "b" or name == "id"]
        found = replace(found, records={**found.records, name: own})
    found = replace(found, arrays={k: v for k, v in found.arrays.items() if k[0] == "b"})
    drawn = [drawn_line(panel(pages(roc(found)), "x"), "b").get_color()]
    drawn.append(drawn_line(panel(pages(risk_coverage_curves(found)), ID), "b").get_color())
    drawn.append(panel(pages(severity_curves(found)), "fog rate").lines[0].get_color())
    histogram = panel(pages(score_histograms(found)), "x b")
    diagram = panel(pages(reliability_diagrams(found)), f"{ID} b")
    drawn += [histogram.patches[1].get_edgecolor()[:3], diagram.patches[0].get_facecolor()[:3]]
    assert {to_hex(one) for one in drawn} == {colour}
    alone = drawn_line(panel(pages(roc(results(["b"]))), "x"), "b").get_color()
    assert to_hex(alone) == colour, "alone, and beside others"


def test_colours_are_those_of_the_names_whatever_their_order():
    """A table by hand: seaborn's palette, and the CRC-32 of a name."""
    palette = [to_hex(one) for one in sns.color_palette("colorblind")]
    expected = {
        "digits-vgg13-baseline": palette[0],
        "runs/AHSAR.pt": palette[1],
        "frozen:ahsar": palette[2],
        "best fixed factor": palette[4],
        "x-ahsar-no-rt": palette[3],
        "pilot": palette[HASHED[crc32(b"pilot") % 5]],
    }
    for names in (list(expected), list(expected)[::-1], *([name] for name in expected)):
        assert {name: to_hex(look["color"]) for name, look in looks(names).items()} == {
            name: expected[name] for name in names
        }
        assert list(looks(names)) == names


@pytest.mark.parametrize("name", ["fixed:0.8", "fixed-0.5", "fixed"])
def test_fixed_factors_have_one_hue(name):
    assert looks([name])[name]["color"] == looks(["fixed"])["fixed"]["color"]


@settings(max_examples=40)
@given(
    st.lists(
        st.text("ab-", min_size=1, max_size=3)
        | st.sampled_from(["a-ahsar", "b-ahsar", "c-ahsar", "d-ahsar", "a-baseline"])
        | st.sampled_from(["a-ahsar (channel, episodic)", "b-ahsar (scale 0.5)", "a (scale 2)"]),
        unique=True,
        max_size=12,
    ),
    st.randoms(),
)
def test_looks_do_not_depend_on_the_order_of_names(names, random):
    turned = random.sample(names, len(names))
    assert looks(names) == looks(turned)
    found = looks(names).values()
    assert len({(one["color"], str(one["linestyle"]), one["marker"]) for one in found}) == len(
        names
    )


def test_of_equal_colours_the_first_name_keeps_its_own_and_others_have_shades_or_free_ones():
    pair = looks(["vgg-ahsar", "resnet-ahsar", "vgg-baseline"])
    assert pair["resnet-ahsar"]["color"] == looks(["ahsar"])["ahsar"]["color"]
    ratio = np.divide(pair["vgg-ahsar"]["color"], pair["resnet-ahsar"]["color"])
    np.testing.assert_allclose(ratio, 0.55)
    free = [
        name
        for name in map(str, range(200))
        if looks([name])[name] == looks(["0"])["0"] | {"label": name}
    ]
    both = looks(free[:2])
    assert both[free[0]]["color"] == looks(["0"])["0"]["color"] != both[free[1]]["color"]


def test_other_thresholds_of_a_network_are_a_shade_of_it_and_lines_differ():
    adapted, scaled = "x-ahsar (channel, episodic)", "x-ahsar (scale 0.5)"
    found = looks(["x-ahsar", adapted, scaled, "x-baseline"])
    ratio = np.divide(found[adapted]["color"], found["x-ahsar"]["color"])
    np.testing.assert_allclose(ratio, 0.7)
    assert found[adapted]["color"] == looks([adapted])[adapted]["color"], "also without it"
    assert len({one["color"] for one in found.values()}) == 4
    assert len({str(one["linestyle"]) for one in found.values()}) == 4


def test_the_legend_has_every_label_once_with_all_its_looks():
    figure = pages(roc(results(["a", "b"], ["x", "y"])))[0]
    assert legend_texts(figure) == ["a", "b", "marker: TPR ≥ 0.95"]
    (figure,) = pages(score_histograms(results(["a", "b"], ["x"], shifts=["fog"])))
    assert legend_texts(figure) == [
        *("ID", "OOD", "threshold, TPR 0.95"),
        *("threshold of each severity", "severity 1 … 5, light to dark"),
    ]
    handles = figure.legends[0].legend_handles
    assert len(handles) == 5


def test_the_legend_shows_each_curve_with_its_own_marker():
    names = ["a", "b", "x-ahsar", "x-baseline"]
    (figure,) = pages(roc(results(names, ["x"])))
    handles = figure.legends[0].legend_handles[:4]
    assert [handle.get_marker() for handle in handles] == [
        look["marker"] for look in looks(names).values()
    ]
    assert len({handle.get_marker() for handle in handles}) == 4
    for line, handle in zip(figure.axes[0].lines, handles, strict=False):
        assert line.get_marker() == handle.get_marker()


def test_shades_run_from_light_to_dark():
    with styled():
        lightness = [sum(shade) for shade in shades((0.2, 0.4, 0.6), 5)]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 5
    assert shades((0.2, 0.4, 0.6), 1) == [(0.2, 0.4, 0.6)]


# --- ROC
# --------------------------------------------------------------------------------------------------


def test_roc_draws_every_vertex_and_marks_the_first_that_recalls_enough(tmp_path):
    found = results(["a", "b"])
    axes = panel(pages(roc(found)), "x")
    plot(found, "roc", tmp_path / "x.svg")
    numbers = pd.read_csv(tmp_path / "x.csv", float_precision="round_trip")
    for name in "ab":
        sets = (found.arrays[f"{name}/{ood}/entropy"] for ood in (ID, "x"))
        fpr, tpr, _ = roc_curve(*sets)
        vertices = np.stack([fpr, tpr], axis=1)
        line = drawn_line(axes, name)
        assert np.array_equal(line.get_xydata(), vertices)
        at = next(i for i, rate in enumerate(tpr) if rate >= 0.95)
        assert line.get_markevery() == [at]
        own = numbers[numbers.checkpoint == name]
        assert np.array_equal(own[["fpr", "tpr"]], vertices)
        assert list(own.vertex[own.marked]) == [at]
        assert set(own.auroc) == {0.5}
    assert axes.get_aspect() == 1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.500", "0.500"]


def test_another_tpr_is_marked_and_named():
    found = results(tpr=0.5)
    (figure,) = pages(roc(found))
    line = drawn_line(panel([figure], "x"), "a")
    _, tpr, _ = roc_curve(found.arrays[f"a/{ID}/entropy"], found.arrays["a/x/entropy"])
    (at,) = line.get_markevery()
    assert line.get_ydata()[at] == tpr[tpr >= 0.5][0]
    assert "marker: TPR ≥ 0.5" in legend_texts(figure)
    (figure,) = pages(score_histograms(found))
    assert "threshold, TPR 0.5" in legend_texts(figure)


@pytest.mark.parametrize("above", [1.0, -2.0, 0.0])
@pytest.mark.parametrize("draw", [roc, risk_coverage_curves])
def test_numbers_stand_over_their_panel_and_hide_nothing(draw, above):
    names = [f"net{k}" for k in range(5)]
    (figure,) = pages(draw(results(names, ["full", "free"], labels=["full", "free"], above=above)))
    check_layout(figure)
    for axes in figure.axes:
        box = axes.get_legend().get_window_extent()
        assert len(axes.get_legend().get_texts()) == len(names)
        assert box.y0 >= axes.bbox.y1
        assert not any(box.overlaps(other.bbox) for other in figure.axes)
    assert legend_texts(figure)[: len(names)] == names


# --- histograms
# --------------------------------------------------------------------------------------------------


def test_histograms_draw_probabilities_on_common_edges_with_the_threshold(tmp_path):
    found = results()
    inside, outside = found.arrays[f"a/{ID}/entropy"], found.arrays["a/x/entropy"]
    edges = score_edges([inside, outside])
    axes = panel(pages(score_histograms(found)), "x a")
    of_id, outline, filled = axes.patches
    for patch, values in ((of_id, inside), (filled, outside), (outline, outside)):
        assert np.array_equal(patch.get_data().edges, edges)
        held = np.histogram(values, edges)[0] / 60
        assert np.array_equal(patch.get_data().values, held)
        assert patch.get_data().values.sum() == pytest.approx(1, abs=1e-12)
    _, tpr, thresholds = roc_curve(inside, outside)
    reached = thresholds[np.argmax(tpr >= 0.95)]
    (threshold,) = axes.lines
    assert set(threshold.get_xdata()) == {reached}
    assert note_over(axes) == "AUROC 0.500"
    plot(found, "scores", tmp_path / "x.svg")
    numbers = pd.read_csv(tmp_path / "x.csv", float_precision="round_trip")
    for kind, values in (("id", inside), ("ood", outside)):
        own = numbers[numbers.kind == kind]
        assert np.array_equal(own.probability, np.histogram(values, edges)[0] / 60)
        assert np.array_equal([*own.low, own.high.iloc[-1]], edges)
    assert set(numbers[numbers.kind == "ood"].threshold) == {reached}


@pytest.mark.parametrize("shifts", [[], ["fog"]])
def test_all_histograms_of_a_score_have_one_range(shifts):
    found = results(["a", "b"], ["x"], shifts=shifts)
    figures = pages(score_histograms(found))
    limits = {axes.get_xlim() for figure in figures for axes in figure.axes}
    assert len(limits) == 1
    ((low, high),) = limits
    numbers = table(score_histograms(found))
    held = numbers[numbers.probability > 0.02]
    assert low <= held.low.min()
    assert held.high.max() <= high


@pytest.mark.parametrize("kind", [histograms, severities, reliabilities])
def test_heads_of_columns_stand_apart_from_the_first_row(kind):
    for figure in kind(["a", "b"], ["x", "y"]):
        figure.draw_without_rendering()
        line = figure.axes[0].title.get_fontsize() * figure.dpi / 72
        heads = [box_of_text(axes.title) for axes in figure.axes if axes.title.get_text()]
        (name,) = [text for text in figure.axes[0].texts if text.get_text().strip() in ("x", ID)]
        assert min(head.y0 for head in heads) - box_of_text(name).y1 > 0.9 * line


def test_a_head_with_other_thresholds_has_two_lines_where_it_is_wide():
    names = ["digits-vgg13-ahsar", "digits-vgg13-ahsar (channel, episodic)"]
    (figure,) = histograms(names, ["x"])
    check_layout(figure)
    assert {names[0], names[1].replace(" (", "\n(")} <= set(words(figure))


def test_severities_are_lines_from_light_to_dark_over_the_filled_id_set():
    ((_, (figure,), numbers),) = score_histograms(results(["a"], [], shifts=["fog"], severities=3))
    axes = panel([figure], f"{ID}:fog a")
    inside, *lines = axes.patches
    assert inside.get_fill()
    assert not any(line.get_fill() for line in lines)
    assert len(lines) == 3
    lightness = [sum(line.get_edgecolor()[:3]) for line in lines]
    assert lightness == sorted(lightness, reverse=True)
    thresholds = numbers[numbers.kind == "ood"].groupby("severity").threshold.first()
    assert [float(mark.get_xdata()[0]) for mark in axes.lines] == list(thresholds)
    assert len(set(thresholds)) == 3
    assert note_over(axes) == "AUROC\n.55 .60 .65"
    assert "severity 1 … 3, light to dark" in legend_texts(figure)
    assert list(dict.fromkeys(numbers.severity)) == [0, 1, 2, 3]


def test_one_severity_of_a_shift_is_a_set():
    (figure,) = pages(score_histograms(results(["a"], [], shifts=["fog"], severities=1)))
    assert panels(figure, f"{ID}:fog:1 a")


def test_scores_of_one_value_can_be_drawn():
    found = results(["a"], ["x", "y"])
    found.arrays.update(  # type: ignore[attr-defined]
        {
            f"a/{ood}/entropy": np.full(5, value)
            for ood, value in ((ID, 2.0), ("x", 2.0), ("y", 0.0))
        }
    )
    numbers = table(score_histograms(found))
    assert list(numbers[numbers.ood == "x"].probability) == [1.0, 1.0]


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
    found = results(["a", "b"], [], shifts=["fog"])
    figures = pages(severity_curves(found))
    plot(found, "severity", tmp_path / "x.svg")
    numbers = pd.read_csv(tmp_path / "x.csv", float_precision="round_trip")
    for quantity, key in (
        ("accuracy", "accuracy"),
        ("entropy", "mean_score"),
        ("rate", "mean_rate"),
    ):
        axes = panel(figures, f"fog {quantity}")
        for name, line, area in zip("ab", axes.lines, axes.collections, strict=True):
            rows = [
                *((row, key) for row in found.records["id"] if row["label"] == name),
                *((row, f"{key}_ood") for row in found.records["rows"] if row["label"] == name),
            ]
            points = [(row["severity"], row[k]) for row, k in rows]
            assert np.array_equal(line.get_xydata(), points)
            assert {tuple(point) for point in area.get_paths()[0].vertices} >= {
                (float(row["severity"]), row[f"{k}_{end}"])
                for row, k in rows
                for end in ("low", "high")
            }
            own = numbers[(numbers.checkpoint == name) & (numbers.quantity == quantity)]
            assert list(own.value) == [value for _, value in points]
            assert list(own.low) == [row[f"{k}_low"] for row, k in rows]
            assert list(own.high) == [row[f"{k}_high"] for row, k in rows]


def test_auroc_starts_at_severity_one_beside_the_line_of_chance():
    figures = pages(severity_curves(results(["a"], [], shifts=["fog"])))
    axes = panel(figures, "fog auroc")
    chance, line = axes.lines
    assert set(chance.get_ydata()) == {0.5}
    assert np.isnan(line.get_ydata()[0])
    assert list(line.get_ydata()[1:]) == pytest.approx([0.55, 0.6, 0.65, 0.7, 0.75])
    assert axes.get_xlim() == panel(figures, "fog rate").get_xlim()


def test_every_axis_has_at_least_three_ticks():
    found = results(["a", "b"], [], shifts=["fog"])
    for rows in found.records.values():
        for row in rows:
            for end in ("", "_low", "_high"):
                accuracy = 1.0 - 0.19 * row["severity"]  # 0.05 to 1: steps of 0.5 have two ticks
                row[f"accuracy_ood{end}" if row["severity"] else f"accuracy{end}"] = accuracy
    for axes in pages(severity_curves(found))[0].axes:
        low, high = axes.get_ylim()
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3, axes.get_label()


def test_severities_ascend_whatever_the_order_of_the_rows():
    found = results(["a"], [], shifts=["fog"])
    turned = {**found.records, "rows": found.records["rows"][::-1]}
    assert table(severity_curves(replace(found, records=turned))).equals(
        table(severity_curves(found))
    )


def test_a_shift_that_keeps_no_labels_says_so():
    figures = pages(severity_curves(results(["a"], [], shifts=["fog", "swap"], labels=["fog"])))
    assert [
        text.get_text()
        for text in panel(figures, "swap accuracy").texts
        if "label" in text.get_text()
    ] == ["labels not kept"]
    assert not panel(figures, "swap accuracy").lines
    assert not [text for text in panel(figures, "fog accuracy").texts if "label" in text.get_text()]


def test_only_shifts_of_the_id_set_at_several_severities_are_curves():
    assert severity_curves(results(["a"], ["x"], shifts=["fog"], severities=1)) == []
    found = results(["a"], [], shifts=["fog"])
    others = [{**row, "same_images": False} for row in found.records["rows"]]
    assert severity_curves(replace(found, records={**found.records, "rows": others})) == []


def test_a_row_has_one_scale_over_all_shifts_and_pages():
    names = ["a", "b", "c"]
    shifts = [f"shift{number}" for number in range(7)]
    figures = pages(severity_curves(results(names, [], shifts=shifts)))
    assert len(figures) == 2
    limits = {
        axes.get_ylim()
        for figure in figures
        for axes in figure.axes
        if axes.get_label().endswith("rate")
    }
    assert len(limits) == 1
    low, high = limits.pop()
    assert low <= 0.25 - 0.02
    assert high >= 0.5 + 0.03


# --- reliability
# --------------------------------------------------------------------------------------------------


def test_reliability_draws_accuracy_gap_and_counts(tmp_path):
    found = results()
    confidence = np.array([0.4, 0.4, *[0.7] * 4, *[0.95] * 30])
    correct = np.array([True, False, True, *[False] * 3, *[True] * 30])
    found.arrays[f"a/{ID}/confidence"], found.arrays[f"a/{ID}/correct"] = confidence, correct  # type: ignore[index]
    bins = reliability(confidence, correct)
    figures = pages(reliability_diagrams(found))
    axes = panel(figures, f"{ID} a")
    places = [int(np.searchsorted(bins.edges, one)) - 1 for one in (0.4, 0.7, 0.95)]
    between = [(0.4, 0.5), (0.25, 0.7), (0.95, 1.0)]  # accuracy and confidence
    expected = [(bins.edges[i], 1 / 15, *ends) for i, ends in zip(places, between, strict=True)]
    gaps = [patch for patch in axes.patches if patch.get_hatch()]
    assert np.allclose(sorted(map(box_of, gaps)), expected)
    bars = [patch for patch in axes.patches if not patch.get_hatch()]
    heights = [bins.accuracy[i] for i in places]
    expected = [(bins.edges[i], 1 / 15, 0, h) for i, h in zip(places, heights, strict=True)]
    assert np.allclose(sorted(map(box_of, bars)), expected)
    (counts,) = panel(figures, f"{ID} a samples").patches
    assert [counts.get_data().values[i] for i in places] == [2, 4, 30]
    assert note_over(panel(figures, f"{ID} a")) == "ECE 0.123 · 0.046"
    plot(found, "reliability", tmp_path / "x.svg")
    numbers = pd.read_csv(tmp_path / "x.csv", float_precision="round_trip")
    for column in ("confidence", "accuracy", "count"):
        assert np.array_equal(numbers[column], getattr(bins, column), equal_nan=True)
    assert np.array_equal(numbers.low, bins.edges[:-1])
    assert set(numbers.ece_equal_mass) == {0.0456}


@pytest.mark.parametrize("draw", [reliability_diagrams, risk_coverage_curves])
def test_sets_with_labels_are_drawn_and_of_a_shift_the_largest_severity(draw):
    numbers = table(draw(results(["a", "b"], ["x"], shifts=["fog", "swap"], labels=["fog"])))
    order = numbers[["checkpoint", "data"]].drop_duplicates().to_numpy().tolist()
    assert order == [[name, data] for name in "ab" for data in (ID, f"{ID}:fog:5")]


def box_of(bar) -> tuple[float, ...]:
    """Left end, width, lower and upper end."""
    ends = sorted([bar.get_y(), bar.get_y() + bar.get_height()])
    return (bar.get_x(), bar.get_width(), *ends)


def test_bins_of_few_samples_are_pale_and_every_bin_has_wilsons_interval():
    found = results()
    confidence = np.repeat([0.4, 0.7, 0.95], [9, 10, 30])
    correct = np.arange(49) % 3 > 0
    found.arrays[f"a/{ID}/confidence"], found.arrays[f"a/{ID}/correct"] = confidence, correct  # type: ignore[index]
    ((_, figures, numbers),) = reliability_diagrams(found)
    axes = panel(figures, f"{ID} a")
    alphas = [(bar.get_x() < 0.5, bar.get_alpha()) for bar in axes.patches if not bar.get_hatch()]
    assert sorted(alphas) == [(False, 0.75), (False, 0.75), (True, 0.2)], "9 samples, 10, 30"
    words = legend_texts(figures[0])
    assert {"accuracy of fewer than 10 samples", "Wilson's 95 % interval"} <= set(words)
    (whiskers,) = axes.collections
    drawn = [segment[:, 1] for segment in whiskers.get_segments()]
    for (low, high), held in zip(drawn, (correct[:9], correct[9:19], correct[19:]), strict=True):
        expected = binomtest(int(held.sum()), len(held)).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    empty = numbers["count"] == 0
    assert numbers.accuracy_low.isna().equals(empty)
    np.testing.assert_allclose(numbers.accuracy_high[~empty], [high for _, high in drawn])


# --- risk–coverage
# --------------------------------------------------------------------------------------------------


def test_risk_coverage_draws_curves_and_oracle(tmp_path):
    found = results(["a", "b"])
    axes = panel(pages(risk_coverage_curves(found)), ID)
    plot(found, "risk-coverage", tmp_path / "x.svg")
    numbers = pd.read_csv(tmp_path / "x.csv", float_precision="round_trip")
    oracles = [line for line in axes.lines if line.get_linestyle() == ":"]
    for name, best in zip("ab", oracles, strict=True):
        curve = risk_coverage(
            found.arrays[f"{name}/{ID}/entropy"], ~found.arrays[f"{name}/{ID}/correct"]
        )
        assert np.array_equal(drawn_line(axes, name).get_xydata(), np.stack(curve, axis=1))
        least = oracle_risk(*curve)
        assert np.array_equal(best.get_xydata(), np.stack([curve[0], least], axis=1))
        own = numbers[numbers.checkpoint == name]
        assert np.array_equal(own[["coverage", "risk"]], np.stack(curve, axis=1))
        assert np.array_equal(own.oracle_risk, least)
        assert set(own.aurc) == {0.1234}


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_oracle_is_the_risk_with_all_errors_last(wrong):
    kept = np.arange(1, len(wrong) + 1)
    best = oracle_risk(kept / len(wrong), np.cumsum(wrong) / kept)
    assert best == pytest.approx(np.cumsum(sorted(wrong)) / kept, abs=1e-12)


def test_a_network_that_is_never_wrong_can_be_drawn_and_small_areas_keep_two_digits():
    found = results(["a", "b"])
    for name, area in zip("ab", (0.0, 0.00402), strict=True):
        found.arrays[f"{name}/{ID}/correct"] = np.ones(60, dtype=bool)  # type: ignore[index]
        (alone,) = [row for row in found.records["id"] if row["label"] == name]
        alone["aurc"] = area  # type: ignore[index]
    axes = panel(pages(risk_coverage_curves(found)), ID)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.000", "0.0040"]


# --- refusals
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [roc, score_histograms])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(DataError, match="there is no comparison with an OOD set to draw"):
        draw(results(["a"], []))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (roc, "the ROC curve of a on x was given twice"),
        (score_histograms, "the histogram of a on x was given twice"),
        (reliability_diagrams, f"the reliability diagram of a on {ID} was given twice"),
        (risk_coverage_curves, f"the risk–coverage curve of a on {ID} was given twice"),
    ],
)
def test_the_same_results_twice_are_refused(draw, message):
    with pytest.raises(DataError, match=message):
        draw(results() + results())


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        (
            f"a/{ID}/entropy",
            np.array([1, np.nan]),
            "in-distribution score is not finite in sample 1",
        ),
        ("a/x/entropy", np.array([np.inf]), "out-of-distribution score is not finite in sample 0"),
        (f"a/{ID}/entropy", np.zeros(0), r"in-distribution scores have shape \(0,\); expected"),
    ],
)
def test_scores_that_cannot_be_drawn_are_refused_in_one_sentence(key, array, message):
    found = results()
    found.arrays[key] = array  # type: ignore[index]
    with pytest.raises(DataError, match=f"the {message}"):
        score_histograms(found)


def test_results_without_the_numbers_of_samples_are_refused():
    found = results()
    bare = replace(found, arrays={f"a/{ID}/entropy": found.arrays[f"a/{ID}/entropy"]})
    with pytest.raises(DataError, match="hold no entropy of the samples of x under a"):
        roc(bare)


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
        (2e6, "2 M"),
        (1e4, "10 k"),
        (-2.5e4, "−25 k"),
        (1e-5, "1e−05"),
        (0.1 + 0.2, "0.3"),
    ],
)
def test_ticks_are_short(value, text):
    assert short_number(value) == text


def test_figures_import_no_plotting_library_before_they_draw():
    import subprocess
    import sys

    code = "import sys, ahsar_eval.plots; print([m for m in ('matplotlib', 'seaborn', 'pandas') if m in sys.modules])"
    repository = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_its_id_set_and_samples(kind):
    for figure in kind(["a", "b"], ["x"]):
        assert f"ID set {ID}, n = 60; other sets n = 60" in words(figure)


def test_sets_of_several_sizes_are_said_by_their_range():
    assert samples_said([("a", 5), ("a", 5)]) == "set a, n = 5"
    assert samples_said([("a", 5), ("b", 7)], "ID set") == "ID set a, n = 5; ID set b, n = 7"
    assert samples_said([("a", 9), ("b", 7), ("c", 8)]) == "3 sets, n = 7 to 9"


def test_headings_stand_over_their_panels():
    (figure,) = histograms(["one", "two"], ["x", "y"])
    found = [word for axes in figure.axes for word in headings(axes)]
    assert found == ["x", "one", "AUROC 0.500", "two", "AUROC 0.500", "y", *["AUROC 0.500"] * 2]


@pytest.mark.parametrize("kind", [rocs, severities, risks])
def test_a_name_that_begins_with_an_underscore_stands_in_the_legend(kind):
    for figure in kind(["_best", "other"], ["far", "near"]):
        (legend,) = figure.legends
        assert {"_best", "other"} <= {text.get_text() for text in legend.get_texts()}
