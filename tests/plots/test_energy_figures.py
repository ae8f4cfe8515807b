"""Figures of energy: they draw the numbers they are given, lie beside them as CSV, and fit a paper
whatever the names are.
"""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from page_layout import check_layout, texts

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.plots.bar_bands import MOST_NETWORKS, bands_by_page, totals_height
from ahsar_eval.plots.energy_axis import count_text, decimal_ticks, energy_text, energy_unit
from ahsar_eval.plots.energy_bars import PARTS, EnergyBars, energy_bar_figures, save_energy_bars
from ahsar_eval.plots.energy_distribution import (
    FEW_SAMPLES,
    QUANTILES,
    EnergySamples,
    energy_distribution_figures,
    save_energy_distribution,
)
from ahsar_eval.plots.energy_severity import (
    TITLES,
    EnergySeverity,
    energy_severity_figures,
    save_energy_severity,
)
from ahsar_eval.plots.ledger_waterfall import (
    Waterfall,
    WaterfallStep,
    save_waterfall,
    waterfall_figures,
)
from ahsar_eval.plots.panels import Band
from ahsar_eval.plots.pareto import ScaleCurve, Setting, pareto_figures, save_pareto
from ahsar_eval.plots.style import DOUBLE_IN, SINGLE_IN, TALLEST_IN, looks, styled

NOTHING: Any = None
NOT_A_NUMBER: Any = float("nan")
NAN = np.full(6, np.nan)
LONG = (
    "runs/2024-11-02/cifar10-vgg13-T8-homeostatic-lr0.001-wd5e-4-{}_$x$_best-on-holdout"
    "-of-a-study-with-a-long-name-{}"
)
FEW_LAYERS = [f"features.conv{number}" for number in range(9)] + ["linear"]
MANY_LAYERS = [
    "stem.conv",
    *(f"stages.stage{s}.block{b}.conv{c}" for s in range(1, 6) for b in (1, 2) for c in (1, 2)),
]


def bars(
    checkpoint: str = "a", layers: list[str] = FEW_LAYERS, *, seed: int = 0, scale: float = 1e5
) -> EnergyBars:
    rng = np.random.default_rng(seed)
    analog = np.arange(len(layers)) == 0
    parts = {
        name: rng.gamma(2.0, scale * 0.1, len(layers))
        for name in ("neurons", "bias", "residual", "pooling", "products")
    }
    return EnergyBars(
        checkpoint,
        layers,
        {
            "ac": np.where(analog, 0.0, rng.gamma(2.0, scale, len(layers))),
            "mac": np.where(analog, 3e5, 0.0),
            **parts,
        },
    )


def band(values: Any) -> Band:
    return Band(values, 0.98 * values, 1.03 * values)


def severity(
    checkpoint: str = "a", shift: str = "fog", *, labels: bool = True, grows: float = 0.1
) -> EnergySeverity:
    steps = np.arange(6)
    grown: Any = 1 + grows * steps
    accuracy = band(0.9 - 0.1 * steps) if labels else None
    return EnergySeverity(
        checkpoint,
        shift,
        steps,
        accuracy,
        band(0.2 * grown),
        band(4e6 * grown),
        Band(grown, NAN, NAN),
    )


def curve(
    checkpoint: str = "a", points: int = 5, *, cheaper: float = 1.0, common: bool = True
) -> ScaleCurve:
    """Scales from 0.5; energy falls and accuracy first rises with the scale, so that all from the
    best one on are on the front.
    """
    scales = 0.5 + 0.25 * np.arange(points)
    accuracy = 0.9 - 0.1 * (scales - 1) ** 2
    settings = [
        Setting(
            float(s),
            float(3e6 * cheaper / s),
            float(a),
            own=bool(s == 1),
            front=bool(s >= 1),
            common_front=common and bool(s >= 1),
        )
        for s, a in zip(scales, accuracy, strict=True)
    ]
    return ScaleCurve(checkpoint, settings)


def samples(
    checkpoint: str = "a", data: str = "x", n: int = 100, *, clean: bool = False, seed: int = 0
) -> EnergySamples:
    return EnergySamples(checkpoint, data, np.random.default_rng(seed).gamma(20.0, 1e5, n), clean)


def walk(checkpoint: str = "a") -> Waterfall:
    steps = [
        WaterfallStep("padding", 28_288, 0),
        WaterfallStep("neurons", Fraction(7, 2), 69_161),
        WaterfallStep("pooling", 0, -49_631),
        WaterfallStep("nothing", 0, 0),
    ]
    return Waterfall(
        checkpoint,
        "ahsar-eval",
        "spikingjelly",
        203_136,
        98_289,
        steps,
        Fraction(462_855, 2),
        117_819,
    )


def bar_pages(names, sets):
    return energy_bar_figures(
        [bars(name, MANY_LAYERS if k % 2 else FEW_LAYERS, seed=k) for k, name in enumerate(names)],
        note="45nm-fp32",
    )


def severity_pages(names, sets):
    return energy_severity_figures(
        [
            severity(c, s, labels=s != sets[-1], grows=k / 10)
            for s in sets
            for k, c in enumerate(names)
        ],
        bands="all",
    )


def pareto_pages(names, sets):
    return pareto_figures(
        [curve(name, 4 + k, cheaper=1 + 0.1 * k, common=k == 0) for k, name in enumerate(names)],
        note="45nm-fp32",
    )


def distribution_pages(names, sets):
    every = ["clean", *sets]
    return energy_distribution_figures(
        [samples(c, s, clean=s == "clean", seed=k) for s in every for k, c in enumerate(names)]
    )


def waterfall_pages(names, sets):
    return waterfall_figures(
        [
            replace(
                walk(name), steps=[replace(s, name=f"{s.name} {sets[0]}") for s in walk().steps]
            )
            for name in names
        ]
    )


KINDS = [bar_pages, severity_pages, pareto_pages, distribution_pages, waterfall_pages]
SAVERS: list[Any] = [
    (save_energy_bars, bars),
    (save_energy_severity, severity),
    (save_pareto, curve),
    (save_energy_distribution, samples),
    (save_waterfall, walk),
]


def panel(figures, label: str):
    (found,) = [axes for figure in figures for axes in figure.axes if axes.get_label() == label]
    return found


def drawn_line(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def words(figures) -> list[str]:
    return [text.get_text() for figure in figures for text in texts(figure)]


# --- pages
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (["a"], ["x"]),
        (
            ["digits-vgg13-baseline", "digits-vgg13-ahsar"],
            ["digits:gaussian_noise:3", "digits:fog:5"],
        ),
        ([LONG.format(k, k) for k in range(4)], [LONG.format("set", k) for k in range(3)]),
    ],
)
def test_text_fits_the_page_and_meets_no_other(kind, names, sets):
    for figure in kind(names, sets):
        check_layout(figure)


@pytest.mark.parametrize(
    ("kind", "names", "pages"), [(severity_pages, ["a"], 4), (distribution_pages, list("abcd"), 2)]
)
def test_nineteen_shifts_go_on_pages_that_hold_each_once(kind, names, pages):
    shifts = [f"shift{number}" for number in range(19)]
    figures = kind(names, shifts)
    assert len(figures) == pages
    assert all(figure.get_size_inches()[1] <= TALLEST_IN for figure in figures)
    assert sorted(word for word in words(figures) if word in shifts) == sorted(shifts)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_names_read_the_same(kind):
    names = [LONG.format(k, "end") for k in range(3)]
    figures = kind(names, ["x"])
    if kind is bar_pages:
        shown = [
            [label.get_text() for label in panel(figures, "total").get_yticklabels()],
            [panel(figures, n).texts[0].get_text() for n in names],
        ]
    elif kind is waterfall_pages:
        shown = [[panel(figures, f"{name} macs").texts[-1].get_text() for name in names]]
    else:
        shown = [[text.get_text() for text in figures[0].legends[0].get_texts()[:3]]]
    for three in shown:
        assert len(set(three)) == 3
        assert all("…" in short or short in names for short in three)


@pytest.mark.parametrize("kind", [severity_pages, pareto_pages, distribution_pages])
def test_a_checkpoint_looks_the_same_in_every_figure(kind):
    with styled():
        first, second = (to_hex(look.colour) for look in looks(["a", "b"]).values())
    figures = kind(["a", "b"], ["x"])
    drawn = {
        to_hex(line.get_color())
        for figure in figures
        for axes in figure.axes
        for line in axes.lines
    }
    assert {first, second} <= drawn
    alone = {
        severity_pages: lambda: energy_severity_figures([severity("b")], checkpoints=["a", "b"]),
        pareto_pages: lambda: pareto_figures([curve("b")], checkpoints=["a", "b"]),
        distribution_pages: lambda: energy_distribution_figures(
            [samples("b")], checkpoints=["a", "b"]
        ),
    }[kind]()
    drawn = {to_hex(line.get_color()) for axes in alone[0].axes for line in axes.lines}
    assert second in drawn
    assert first not in drawn


# --- files
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("save", "make"), SAVERS)
def test_a_figure_and_its_numbers_are_written_and_the_same_ones_are_the_same_files(
    save, make, tmp_path
):
    written = save([make()], tmp_path / "sub" / "figure.svg")
    assert written == [tmp_path / "sub" / "figure.svg", tmp_path / "sub" / "figure.csv"]
    assert sorted(path.name for path in written[0].parent.iterdir()) == ["figure.csv", "figure.svg"]
    assert "<text" in written[0].read_text(), "text of an SVG stays text"
    assert len(pd.read_csv(written[1])) >= 1
    again = save([make()], tmp_path / "again" / "figure.svg")
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]


def test_a_failure_while_drawing_leaves_nothing(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        save_energy_bars([bars()], tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


# --- bars by layer
# --------------------------------------------------------------------------------------------------


def stacked(axes) -> dict[str, list[tuple[float, float, float]]]:
    """Part → (row, start, length) of each of its bars."""
    return {
        bar.get_label(): [
            (patch.get_y() + patch.get_height() / 2, patch.get_x(), patch.get_width())
            for patch in bar
        ]
        for bar in axes.containers
    }


def test_bars_stack_every_part_of_every_layer_from_the_left():
    one = EnergyBars(
        "a",
        ["conv", "fc"],
        {"mac": np.array([4.6e6, 0]), "ac": np.array([0, 9e5]), "neurons": np.array([2e5, 1e5])},
    )
    axes = panel(energy_bar_figures([one]), "a")
    found = stacked(axes)
    assert list(found) == ["ac", "mac", "neurons"], "parts that no network has are left out"
    assert np.allclose(found["ac"], [(0, 0, 0), (1, 0, 0.9)])
    assert np.allclose(found["mac"], [(0, 0, 4.6), (1, 0.9, 0)])
    assert np.allclose(found["neurons"], [(0, 4.6, 0.2), (1, 0.9, 0.1)])
    assert axes.get_ylim() == (1.5, -0.5), "the first layer is on top"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc"]


def test_totals_are_the_sum_of_the_layers_with_their_number():
    pair = [bars("a", seed=1), bars("b", seed=2, scale=2e5)]
    figures = energy_bar_figures(pair, note="45nm-fp32")
    axes = panel(figures, "total")
    for place, one in enumerate(pair):
        lengths = [parts[place][2] for parts in stacked(axes).values()]
        assert sum(lengths) == pytest.approx(one.total_pj / 1e6)
        assert one.total_pj == pytest.approx(
            sum(np.sum(values) for values in one.energy_pj.values())
        )
    assert {energy_text(one.total_pj) for one in pair} <= set(words(figures))
    assert "energy per inference (µJ), 45nm-fp32" in words(figures)


def test_a_long_note_stands_in_a_line_of_its_own():
    note = "a profile with a long name (no price: MACs, bias, normalisation, residual, pooling)"
    for figure in (
        *energy_bar_figures([bars()], note=note),
        *pareto_figures([curve()], note=note),
        *energy_distribution_figures([samples("a", "a set with a long name")], note=note),
    ):
        check_layout(figure)
        assert "energy per inference (µJ)" in words([figure])
        assert any(word.startswith("a profile") for word in words([figure]))


def test_networks_share_one_scale_and_the_names_of_equal_layers():
    (figure,) = energy_bar_figures([bars("a", seed=1), bars("b", seed=2, scale=3e5)])
    first, second = panel([figure], "a"), panel([figure], "b")
    assert first.get_xlim() == second.get_xlim()
    assert first.bbox.width == pytest.approx(second.bbox.width)
    assert first.bbox.height == pytest.approx(second.bbox.height)
    assert [label.get_text() for label in first.get_yticklabels()] == FEW_LAYERS
    assert not any(label.get_text() for label in second.get_yticklabels())


def test_two_networks_take_both_columns_of_a_paper_where_one_would_cut_their_names():
    for names, width in (
        (("short", "names"), SINGLE_IN),
        (("digits-resnet18-baseline", "digits-resnet18-ahsar"), DOUBLE_IN),
    ):
        (figure,) = energy_bar_figures([bars(name, MANY_LAYERS) for name in names])
        assert figure.get_size_inches()[0] == width
        assert words([figure]).count(names[0]) == 2, "over the panel and beside the total"


def test_networks_with_other_layers_stand_below_with_names_of_their_own():
    (figure,) = energy_bar_figures([bars("a"), bars("r", MANY_LAYERS), bars("b")])
    first, second, other = (panel([figure], name) for name in "abr")
    assert first.bbox.y0 == pytest.approx(second.bbox.y0)
    assert other.bbox.y1 < first.bbox.y0
    assert [label.get_text() for label in other.get_yticklabels()] == MANY_LAYERS
    assert first.bbox.height / len(FEW_LAYERS) == pytest.approx(
        other.bbox.height / len(MANY_LAYERS)
    ), "bars are equally thick"


def test_the_numbers_of_the_bars_lie_beside_them(tmp_path):
    pair = [bars("a", seed=1), bars("b", MANY_LAYERS, seed=2)]
    table = pd.read_csv(
        save_energy_bars(pair, tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    for one in pair:
        for name in PARTS:
            own = table[(table.checkpoint == one.checkpoint) & (table.part == name)]
            assert list(own.layer) == one.layers
            assert np.array_equal(own.energy_pj, one.part(name))


def test_five_networks_with_the_same_layers_are_four_and_one():
    figures = energy_bar_figures([bars(name) for name in "abcde"])
    first, *others = (panel(figures, name) for name in "abcde")
    assert [axes.bbox.y0 == pytest.approx(first.bbox.y0) for axes in others] == [
        True,
        True,
        True,
        False,
    ]


def test_parts_differ_in_grey_from_what_stands_beside_them():
    greys = [np.dot(to_rgb(part.colour), [0.299, 0.587, 0.114]) for part in PARTS.values()]
    assert all(abs(one - other) > 0.12 for one, other in pairwise(greys))


@given(st.lists(st.integers(1, 130), min_size=1, max_size=8), st.integers(1, 3))
def test_every_layer_of_every_network_is_on_a_page_once(lengths, modulus):
    names = [
        [f"{number % modulus} {layer}" for layer in range(length)]
        for number, length in enumerate(lengths)
    ]
    pages = bands_by_page(names, 8.0)
    found = sorted(
        (network, row)
        for page in pages
        for band in page
        for network in band.networks
        for row in band.rows
    )
    assert found == [
        (network, row) for network, length in enumerate(lengths) for row in range(length)
    ]
    for page in pages:
        assert (
            sum(band.height for band in page)
            + totals_height(sum(len(band.networks) for band in page))
            <= 8.0 + 1e-9
        )
        for one in page:
            assert len(one.networks) <= MOST_NETWORKS
            assert len({tuple(names[number]) for number in one.networks}) == 1


# --- severity
# --------------------------------------------------------------------------------------------------


def test_energy_severity_draws_values_and_bands(tmp_path):
    curves = [severity("a"), severity("b", grows=-0.05)]
    figures = energy_severity_figures(curves, bands="95 % interval")
    for quantity in ("accuracy", "rate", "synops"):
        axes = panel(figures, f"fog {quantity}")
        for one, line, area in zip(curves, axes.lines, axes.collections, strict=True):
            drawn = getattr(one, quantity)
            assert np.array_equal(
                line.get_xydata(), np.stack([one.severities, drawn.value], axis=1)
            )
            corners = {tuple(point) for point in area.get_paths()[0].vertices}
            assert corners >= {
                (s, end)
                for s, *ends in zip(one.severities, drawn.low, drawn.high, strict=True)
                for end in ends
            }
    assert "severity (0: clean); bands: 95 % interval" in words(figures)
    table = pd.read_csv(
        save_energy_severity(curves, tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    own = table[(table.checkpoint == "b") & (table.quantity == "synops")]
    for column in ("value", "low", "high"):
        assert np.array_equal(own[column], getattr(curves[1].synops, column))
    assert list(dict.fromkeys(table.quantity)) == list(TITLES)


def test_energy_is_drawn_beside_the_line_of_the_clean_set_and_without_intervals_has_no_band():
    axes = panel(energy_severity_figures([severity(grows=0.2)]), "fog energy")
    clean, line = axes.lines
    assert set(clean.get_ydata()) == {1.0}
    assert np.allclose(line.get_ydata(), 1 + 0.2 * np.arange(6))
    assert not axes.collections
    only = Band(np.full(6, 0.9), NAN, NAN)
    bare = replace(severity(), accuracy=None, rate=only, synops=only)
    assert "severity (0: clean)" in words(energy_severity_figures([bare], bands="95 % interval")), (
        "no band, no word of bands"
    )


def test_a_row_of_severities_has_one_scale_and_unkept_labels_are_said():
    curves = [
        severity("a", f"shift{number}", labels=number != 6, grows=number / 10)
        for number in range(7)
    ]
    figures = energy_severity_figures(curves)
    assert len(figures) == 2
    for quantity in TITLES:
        assert (
            len(
                {
                    axes.get_ylim()
                    for figure in figures
                    for axes in figure.axes
                    if axes.get_label().endswith(quantity) and axes.lines
                }
            )
            == 1
        )
    assert [text.get_text() for text in panel(figures, "shift6 accuracy").texts] == [
        "shift6",
        "no labels to compare",
    ]
    assert not panel(figures, "shift6 accuracy").lines
    low, high = panel(figures, "shift6 energy").get_ylim()
    assert low < 1
    assert high > 4


# --- accuracy against energy
# --------------------------------------------------------------------------------------------------


def test_a_network_is_a_line_over_its_scales_with_its_front_filled_and_its_setting_ringed():
    settings = [*curve().settings, Setting(None, 2.5e6, 0.8, own=False, front=False)]
    axes = panel(pareto_figures([ScaleCurve("a", settings)]), "pareto")
    line = drawn_line(axes, "a")
    assert np.allclose(
        line.get_xydata(), [(s.energy_pj / 1e6, s.accuracy) for s in settings[:-1]]
    ), "what has no scale is on no line"
    filled, hollow = drawn_line(axes, "a, on its front"), drawn_line(axes, "a, beaten")
    assert np.allclose(
        filled.get_xydata(), [(s.energy_pj / 1e6, s.accuracy) for s in settings if s.front]
    )
    assert np.allclose(
        hollow.get_xydata(), [(s.energy_pj / 1e6, s.accuracy) for s in settings if not s.front]
    )
    assert hollow.get_markerfacecolor() == "white"
    assert filled.get_markerfacecolor() == line.get_color()
    assert np.allclose(drawn_line(axes, "a, own").get_xydata(), [(3.0, 0.9)])


def test_the_common_front_is_a_stair_through_its_points_to_the_right_edge():
    beaten = curve("b", cheaper=2.0, common=False)
    axes = panel(pareto_figures([curve("a"), beaten]), "pareto")
    stair = drawn_line(axes, "front of all")
    on = sorted((s.energy_pj / 1e6, s.accuracy) for s in curve().settings if s.common_front)
    assert np.allclose(stair.get_xydata(), [*on, (axes.get_xlim()[1], 0.9)])
    assert stair.get_drawstyle() == "steps-post"
    assert stair.get_zorder() < drawn_line(axes, "b").get_zorder()


def test_scales_are_named_beside_their_points_where_there_is_room():
    (figure,) = pareto_figures(
        [ScaleCurve("a", [*curve().settings, Setting(None, 2.5e6, 0.8, own=True)])]
    )
    found = {
        text.get_text(): text.xy
        for text in panel([figure], "pareto").texts
        if text.get_text()[0] in "×o"
    }
    assert {"×0.5", "×0.75", "×1", "own"} <= set(found)
    assert np.allclose(found["×1"], (3.0, 0.9))
    assert np.allclose(found["own"], (2.5, 0.8))
    crowd = ScaleCurve(
        "a", [Setting(1 + k / 1000, 1e6 + k, 0.5 + k / 1e6, common_front=True) for k in range(40)]
    )
    (figure,) = pareto_figures([ScaleCurve("far", [Setting(1.0, 3e6, 0.9)]), crowd])
    assert (
        1
        <= sum(text.get_text().startswith("×1.0") for text in panel([figure], "pareto").texts)
        < 10
    ), "labels without room are left out"
    check_layout(figure)


@pytest.mark.parametrize(("own", "other"), [(1.0, 1.1), (1.1, 1.0)])
def test_the_setting_that_is_used_is_named_first_where_a_label_stands_best(own, other):
    places = [(0.5, 1e6, 0.5), (1.0, 3e6, 0.9), (1.1, 3.215e6, 0.9), (2.0, 4e6, 0.5)]
    settings = [
        Setting(scale, energy, accuracy, own=scale == own, common_front=scale == 1)
        for scale, energy, accuracy in places
    ]
    offsets = {
        text.get_text(): text.xyann
        for text in panel(pareto_figures([ScaleCurve("a", settings)]), "pareto").texts
    }
    across, up = offsets[f"×{own:g}"]
    assert (across, up > 0) == (0, True)
    assert offsets.get(f"×{other:g}", (1, 0))[0] != 0, "there was room for one above"


def test_energies_far_apart_stand_on_a_logarithmic_axis():
    wide = ScaleCurve(
        "a", [Setting(1.0, 1e6, 0.5, common_front=True), Setting(2.0, 5e7, 0.9, common_front=True)]
    )
    assert panel(pareto_figures([wide]), "pareto").get_xscale() == "log"
    assert panel(pareto_figures([curve()]), "pareto").get_xscale() == "linear"
    assert (
        panel(
            pareto_figures(
                [ScaleCurve("a", [Setting(1.0, 0.0, 0.5, common_front=True), *wide.settings[1:]])]
            ),
            "pareto",
        ).get_xscale()
        == "linear"
    )


def test_the_numbers_of_the_curves_lie_beside_them(tmp_path):
    curves = [curve("a"), ScaleCurve("b", [Setting(None, 1.5e6, 0.25, own=True)])]
    table = pd.read_csv(save_pareto(curves, tmp_path / "x.svg")[-1], float_precision="round_trip")
    every = [(one.checkpoint, s) for one in curves for s in one.settings]
    assert list(table.checkpoint) == [name for name, _ in every]
    assert np.array_equal(table.energy_pj, [s.energy_pj for _, s in every])
    assert np.array_equal(
        table.scale, [np.nan if s.scale is None else s.scale for _, s in every], equal_nan=True
    )
    for mark in ("own", "front", "common_front"):
        assert list(table[mark]) == [getattr(s, mark) for _, s in every]


# --- samples
# --------------------------------------------------------------------------------------------------


def test_a_box_is_the_quartiles_and_its_line_the_outer_quantiles(tmp_path):
    one = samples(n=1000)
    axes = panel(energy_distribution_figures([one]), "distribution")
    low, first, median, third, high = (
        np.quantile(one.energy_pj, [0.05, 0.25, 0.5, 0.75, 0.95]) / 1e6
    )
    (box,) = axes.containers[0]
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((first, third))
    assert tuple(drawn_line(axes, "x a range").get_xdata()) == pytest.approx((low, high))
    assert tuple(drawn_line(axes, "x a median").get_xdata()) == pytest.approx((median, median))
    assert drawn_line(axes, "x a mean").get_xdata()[0] == pytest.approx(one.energy_pj.mean() / 1e6)
    left, right = axes.get_xlim()
    assert left < low < high < right
    table = pd.read_csv(
        save_energy_distribution([one], tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    assert np.array_equal(
        table[[f"quantile_{level:g}_pj" for level in QUANTILES]].iloc[0], one.quantiles
    )
    assert (table.n[0], table.mean_pj[0]) == (1000, one.energy_pj.mean())


@pytest.mark.parametrize("n", [1, 10, FEW_SAMPLES])
def test_few_samples_are_drawn_one_by_one(n):
    one = samples(n=n)
    axes = panel(energy_distribution_figures([one]), "distribution")
    assert np.allclose(drawn_line(axes, "x a samples").get_xdata(), one.energy_pj / 1e6)
    assert not axes.containers
    left, right = axes.get_xlim()
    assert left < one.energy_pj.min() / 1e6
    assert one.energy_pj.max() / 1e6 < right


def test_the_clean_set_stands_first_and_its_medians_cross_all_sets():
    made = [
        samples("a", "fog", seed=1),
        samples("b", "fog", seed=2),
        samples("a", "digits", clean=True),
        samples("b", "digits", clean=True, seed=3),
    ]
    figures = energy_distribution_figures(made)
    axes = panel(figures, "distribution")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["digits (clean)", "fog"]
    medians = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert medians == pytest.approx([np.median(one.energy_pj) / 1e6 for one in made if one.clean])
    rows = [
        float(np.mean(drawn_line(axes, f"{data} {name} median").get_ydata()))
        for data in ("digits", "fog")
        for name in "ab"
    ]
    assert rows == sorted(rows), "networks in one order in every row"
    assert rows[1] < 0.5 < rows[2]


# --- ledgers
# --------------------------------------------------------------------------------------------------


def test_each_step_starts_where_the_last_one_ended():
    axes = panel(waterfall_figures([walk()]), "a acs")
    found = [
        (bar.get_label(), patch.get_x(), patch.get_x() + patch.get_width())
        for bar in axes.containers
        for patch in bar
    ]
    assert found == [
        ("ahsar-eval", 0, 98_289),
        ("padding", 98_289, 98_289),
        ("neurons", 98_289, 167_450),
        ("pooling", 117_819, 167_450),
        ("nothing", 117_819, 117_819),
        ("spikingjelly", 0, 117_819),
    ]
    added, taken = (axes.containers[place].patches[0].get_facecolor() for place in (2, 3))
    assert added != taken
    names = [
        label.get_text() for label in panel(waterfall_figures([walk()]), "a macs").get_yticklabels()
    ]
    assert names == ["ahsar-eval", "padding", "neurons", "pooling", "nothing", "spikingjelly"]
    assert [text.get_text() for text in axes.texts if text.get_text() != "ACs"] == [
        "98.3 k",
        "0",
        "+69.2 k",
        "−49.6 k",
        "0",
        "118 k",
    ]


def test_the_steps_of_a_ledger_lie_beside_it_exactly(tmp_path):
    large = replace(walk(), start_acs=10**15 + 1, end_acs=10**15 + 1 + 19_530)
    table = pd.read_csv(save_waterfall([large], tmp_path / "x.svg")[-1], dtype=str)
    own = table[table.operation == "acs"]
    assert list(own["amount"]) == [
        str(10**15 + 1),
        "0",
        "69161",
        "-49631",
        "0",
        str(10**15 + 19_531),
    ]
    assert list(own.bar) == ["start", "step", "step", "step", "step", "end"]
    assert list(table[table.operation == "macs"]["amount"])[2] == "3.5"


def test_a_walk_that_does_not_add_up_is_refused_for_each_operation():
    with pytest.raises(
        DataError, match="reaches 117819 ACs where its end is 117820; expected steps that add up"
    ):
        waterfall_figures([replace(walk(), end_acs=117_820)])
    with pytest.raises(DataError, match="reaches 462855/2 MACs where its end is 231427"):
        waterfall_figures([replace(walk(), end_macs=231_427)])


@given(st.integers(0, 10**12), st.lists(st.integers(-(10**12), 10**12), max_size=6))
def test_steps_in_any_order_and_below_zero_can_be_drawn(start, amounts):
    end = start + sum(amounts)
    steps = [WaterfallStep(f"s{number}", amount, 0) for number, amount in enumerate(amounts)]
    one = Waterfall("a", "p", "q", start, 0, steps, end, 0)
    if end < 0:
        with pytest.raises(DataError, match="expected 0 or more"):
            waterfall_figures([one])
        return
    rows = one.rows("macs")
    assert [after - before for _, before, after in rows] == [start, *amounts, end]
    assert all(earlier[2] == later[1] for earlier, later in pairwise(rows[:-1]))


# --- refusals
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "content", "message"),
    [
        (energy_bar_figures, [], "there is no energy bar to draw"),
        (energy_severity_figures, [], "there is no energy severity curve to draw"),
        (pareto_figures, [], "there is no accuracy–energy curve to draw"),
        (energy_distribution_figures, [], "there is no energy distribution to draw"),
        (waterfall_figures, [], "there is no ledger to draw"),
        (energy_bar_figures, [bars(), bars()], "the energy bar of a was given twice"),
        (
            energy_bar_figures,
            [EnergyBars("a", [], {"ac": np.zeros(0)})],
            r"has layers \[0\], ac \[0\]; expected vectors",
        ),
        (
            energy_bar_figures,
            [EnergyBars("a", ["x"], {})],
            r"have the parts \[\]; expected some of ac, mac",
        ),
        (
            energy_bar_figures,
            [EnergyBars("a", ["x"], {"ac": np.ones(1), "acs": np.ones(1)})],
            r"have the parts \['ac', 'acs'\]",
        ),
        (
            energy_bar_figures,
            [EnergyBars("a", ["x", "x"], {"ac": np.ones(2)})],
            "name a layer twice",
        ),
        (
            energy_bar_figures,
            [EnergyBars("a", ["x", "y"], {"ac": np.ones(3)})],
            r"layers \[2\], ac \[3\]; expected vectors of one length",
        ),
        (
            energy_bar_figures,
            [EnergyBars("a", ["x"], {"ac": np.array([-1.0])})],
            "has -1 in ac at 0; expected numbers of 0 or more",
        ),
        (
            energy_bar_figures,
            [EnergyBars("a", ["x"], {"ac": np.array([np.nan])})],
            "has nan in ac at 0; expected finite numbers",
        ),
        (
            energy_severity_figures,
            [severity(), severity()],
            "the energy severity curve of a on fog was given twice",
        ),
        (
            energy_severity_figures,
            [replace(severity(), rate=NOTHING)],
            "has no rate; only accuracy may be missing",
        ),
        (
            energy_severity_figures,
            [replace(severity(), severities=np.arange(6)[::-1])],
            r"\[5, 4, 3, 2, 1, 0\]; expected them ascending",
        ),
        (
            energy_severity_figures,
            [replace(severity(), energy=Band(NAN, NAN, NAN))],
            "has nan in energy at 0; expected finite",
        ),
        (
            energy_severity_figures,
            [replace(severity(), synops=band(-np.ones(6)))],
            "has -1 in synops at 0",
        ),
        (
            energy_severity_figures,
            [replace(severity(), rate=Band(np.ones(6), NAN, np.full(6, np.inf)))],
            "has inf in the high end of rate",
        ),
        (
            energy_severity_figures,
            [replace(severity(), rate=Band(np.ones(6), -np.ones(6), NAN))],
            "has -1 in the low end of rate",
        ),
        (
            energy_severity_figures,
            [replace(severity(), rate=band(np.ones(5)))],
            r"severities \[6\], rate \[5\]",
        ),
        (pareto_figures, [curve(), curve()], "the accuracy–energy curve of a was given twice"),
        (pareto_figures, [ScaleCurve("a", [])], r"has energy \[0\], accuracy \[0\]"),
        (pareto_figures, [ScaleCurve("a", [Setting(1.0, np.inf, 0.5)])], "has inf in energy at 0"),
        (pareto_figures, [ScaleCurve("a", [Setting(1.0, -2.0, 0.5)])], "has -2 in energy at 0"),
        (pareto_figures, [ScaleCurve("a", [Setting(-1.0, 2.0, 0.5)])], "has -1 in scales at 0"),
        (
            pareto_figures,
            [ScaleCurve("a", [Setting(1.0, 2.0, 50.0)])],
            r"has the accuracy 50; expected fractions in \[0, 1\]",
        ),
        (
            pareto_figures,
            [ScaleCurve("a", [Setting(1.0, 2.0, 0.5)] * 2)],
            "expected them ascending, each once",
        ),
        (
            pareto_figures,
            [curve(common=False)],
            "no point of the accuracy–energy curves is on the common front",
        ),
        (
            pareto_figures,
            [
                ScaleCurve(
                    "a",
                    [
                        Setting(1.0, 2.0, 0.5, common_front=True),
                        Setting(2.0, 3.0, 0.4, common_front=True),
                    ],
                )
            ],
            "falls where energy grows",
        ),
        (
            energy_distribution_figures,
            [samples(), samples()],
            "the energy distribution of a on x was given twice",
        ),
        (
            energy_distribution_figures,
            [EnergySamples("a", "x", np.zeros(0))],
            r"of a on x has the energies \[0\]",
        ),
        (
            energy_distribution_figures,
            [EnergySamples("a", "x", np.array([1, np.inf]))],
            "has inf in the energies at 1",
        ),
        (
            energy_distribution_figures,
            [EnergySamples("a", "x", np.array([1, -3.5]))],
            "has -3.5 in the energies at 1",
        ),
        (waterfall_figures, [walk(), walk()], "the ledger of a was given twice"),
        (
            waterfall_figures,
            [replace(walk(), start_macs=-1)],
            "has a total of -1 MACs; expected 0 or more",
        ),
        (
            waterfall_figures,
            [replace(walk(), end_acs=NOT_A_NUMBER)],
            "has nan ACs in spikingjelly; expected whole numbers or fractions",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(draw, content, message):
    with pytest.raises(DataError, match=message):
        draw(content)


# --- names and numbers
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy_pj", "text"),
    [
        (0.0, "0 pJ"),
        (0.5, "0.50 pJ"),
        (999.0, "999 pJ"),
        (999.6, "1.00 nJ"),
        (1.234e4, "12.3 nJ"),
        (8.34e6, "8.34 µJ"),
        (2e9, "2.00 mJ"),
        (5e15, "5000 J"),
    ],
)
def test_energies_are_written_with_three_digits_and_a_unit(energy_pj, text):
    assert energy_text(energy_pj) == text


@given(st.floats(1e-3, 1e15))
def test_the_unit_leaves_one_to_three_digits_before_the_point(energy_pj):
    unit, of = energy_unit(energy_pj)
    assert unit in ("pJ", "nJ", "µJ", "mJ", "J")
    assert energy_pj / of < 1000 or unit == "J"
    assert energy_pj / of >= 1 or unit == "pJ"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7, "+7"),
        (-7, "−7"),
        (Fraction(7, 2), "+3.50"),
        (999_999, "+1.00 M"),
        (98_289, "+98.3 k"),
        (-(10**9), "−1.00 G"),
    ],
)
def test_counts_are_written_with_three_digits_and_a_sign(count, text):
    assert count_text(count, signed=True) == text
    assert count_text(count) == text.removeprefix("+")


@given(st.floats(1e-6, 1e6), st.floats(8, 1e6))
def test_a_logarithmic_axis_has_a_few_round_ticks(low, ratio):
    ticks = decimal_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 8
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert ticks == sorted(ticks)
