"""The sheet of a threshold sweep: draws the numbers it is given, fits a paper whatever the names,
and lies beside its points as CSV.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ahsar_eval.plots.severity_grid import Band
from ahsar_eval.plots.sweep_content import (
    CONVERGENCE,
    GATES,
    ConvergenceSweep,
    ThresholdSweep,
    WorkingPoint,
)
from ahsar_eval.plots.threshold_sweep import save_threshold_sweep, threshold_sweep_figures
from page_layout import check_layout, texts

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.plots.style import TALLEST_IN

LONG = (
    "runs/2024-11-02/cifar10-vgg13-T8-homeostatic-lr0.001-wd5e-4-{}_$x$_best-on-holdout"
    "-of-a-study-with-a-long-name-{}"
)
SCALES = np.linspace(0.1, 2.0, 39)


def swept(
    checkpoint: str = "a",
    sets: tuple[str, ...] = ("x",),
    *,
    layers: int = 10,
    regulated: bool = True,
    top: float = 3e6,
) -> ThresholdSweep:
    falling = 0.5 * np.exp(-SCALES)
    accuracy = 0.9 - 0.4 * (SCALES - 1) ** 2
    curves = {
        "accuracy": Band(accuracy, accuracy - 0.02, accuracy + 0.02),
        "rate": Band(falling, falling, falling),
    }
    curves["energy"] = Band(top * falling, np.full(39, np.nan), np.full(39, np.nan))
    curves |= {f"AUROC, {name}": Band(accuracy, accuracy - 0.05, accuracy + 0.05) for name in sets}
    spread = 1 + 0.1 * np.arange(layers)
    gates = {name: np.outer(falling, spread) for name in GATES}
    low, high = (0.8, 1.1) if regulated else (1.0, 1.0)
    own = WorkingPoint(
        (low + high) / 2,
        low,
        high,
        {name: float(band.value[17]) for name, band in curves.items()},
        dict.fromkeys(GATES, 0.2),
    )
    return ThresholdSweep(
        checkpoint, SCALES, curves, [f"layer{n}" for n in range(layers)], gates, own
    )


def trained(epochs: int = 6, *, regulated: bool = True) -> ConvergenceSweep:
    scales = np.arange(0.2, 2.01, 0.2)
    decay = np.outer(np.exp(-np.arange(epochs)), 1 + (scales - 1) ** 2)
    values = {
        "train_loss": decay,
        "validation_loss": decay + 0.1,
        "validation_accuracy": 1 - 0.3 * decay,
    }
    beside = {name: array[:, 4] for name, array in values.items()} if regulated else None
    return ConvergenceSweep(scales, values, beside, 0.9, 0.8, 1.0)


def panel(figures, label: str):
    (found,) = [axes for figure in figures for axes in figure.axes if axes.get_label() == label]
    return found


def line_of(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (["a"], ()),
        (["digits-vgg13-baseline", "digits-vgg13-ahsar"], ("photo-patches", "digits:contrast:3")),
        ([LONG.format(k, k) for k in range(3)], tuple(LONG.format("set", k) for k in range(4))),
    ],
)
@pytest.mark.parametrize("convergence", [None, trained()])
def test_text_fits_the_page_and_meets_no_other(names, sets, convergence):
    figures = threshold_sweep_figures(
        [swept(name, sets, regulated=bool(k)) for k, name in enumerate(names)], convergence
    )
    for figure in figures:
        check_layout(figure)


def test_what_does_not_fit_one_page_goes_on_the_next():
    figures = threshold_sweep_figures(
        [swept(f"net{k}", tuple(f"set{n}" for n in range(9))) for k in range(6)], trained()
    )
    assert len(figures) > 1
    for figure in figures:
        check_layout(figure)
        assert figure.get_size_inches()[1] <= TALLEST_IN
    labels = [axes.get_label() for figure in figures for axes in figure.axes]
    assert len(labels) == len(set(labels)) == 12 + 6 + 3


def test_trainings_alone_make_a_sheet():
    (figure,) = threshold_sweep_figures([], trained())
    check_layout(figure)
    assert [axes.get_label() for axes in figure.axes] == list(CONVERGENCE)


def test_the_numbers_given_are_the_numbers_drawn():
    one, other = swept("a", regulated=False), swept("b", top=5e6)
    figures = threshold_sweep_figures([one, other], trained())
    for sweep in (one, other):
        line = line_of(panel(figures, "accuracy"), sweep.checkpoint)
        np.testing.assert_allclose(
            line.get_xydata(), np.column_stack([SCALES, sweep.curves["accuracy"].value])
        )
        ring = line_of(panel(figures, "accuracy"), f"{sweep.checkpoint}, own")
        np.testing.assert_allclose(
            ring.get_xydata(), [[sweep.own.scale, sweep.own.curves["accuracy"]]]
        )
        gates = panel(figures, f"gate {sweep.checkpoint}")
        for name, values in sweep.gates.items():
            np.testing.assert_allclose(line_of(gates, name).get_ydata(), values.mean(axis=1))
            np.testing.assert_allclose(
                line_of(gates, f"{name}, own").get_xydata(), [[sweep.own.scale, 0.2]]
            )
        assert len(gates.lines) == 3 * (10 + 1 + 1)
    energy = panel(figures, "energy")  # in µJ, the unit of the largest
    np.testing.assert_allclose(line_of(energy, "b").get_ydata(), other.curves["energy"].value / 1e6)
    assert "energy per inference (µJ)" in [text.get_text() for text in energy.texts]
    loss = panel(figures, "train_loss")
    for epoch in range(6):
        np.testing.assert_allclose(
            line_of(loss, f"epoch {epoch + 1}").get_ydata(), trained().values["train_loss"][epoch]
        )
        np.testing.assert_allclose(
            line_of(loss, f"AHSAR, epoch {epoch + 1}").get_xydata(), [[0.9, np.exp(-epoch) * 1.0]]
        )
    assert loss.get_yscale() == "log"


def test_the_range_of_factors_is_a_band_only_where_there_is_one():
    figures = threshold_sweep_figures([swept("a", regulated=False), swept("b")])
    for label, bands in (("gate a", 0), ("gate b", 1), ("rate", 1)):
        found = [patch for patch in panel(figures, label).patches if patch.get_alpha() == 0.16]
        assert len(found) == bands, label
    (band,) = [patch for patch in panel(figures, "gate b").patches if patch.get_alpha() == 0.16]
    assert (
        band.get_extents().transformed(panel(figures, "gate b").transData.inverted()).intervalx
    ) == pytest.approx([0.8, 1.1])
    words = [text.get_text() for text in texts(figures[0])]
    assert "range of its factors over layers" in words
    alone = [
        text.get_text() for text in texts(threshold_sweep_figures([swept("a", regulated=False)])[0])
    ]
    assert "range of its factors over layers" not in alone


def test_a_training_that_ended_early_leaves_a_gap():
    found = trained()
    found.values["train_loss"][3:, 0] = np.nan
    (figure,) = threshold_sweep_figures([], found)
    assert np.isnan(line_of(panel([figure], "train_loss"), "epoch 4").get_ydata()[0])
    check_layout(figure)


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_written_with_their_points_and_the_same_ones_are_the_same_files(suffix, tmp_path):
    written = save_threshold_sweep([swept("a")], tmp_path / f"sheet{suffix}", trained())
    assert written == [tmp_path / f"sheet{suffix}", tmp_path / "sheet.csv"]
    again = save_threshold_sweep([swept("a")], tmp_path / f"again{suffix}", trained())
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in again]
    table = pd.read_csv(written[-1])
    counts = table.groupby("part").size().to_dict()
    assert counts == {
        "curve": 4 * 40,
        "network": 3 * 40,
        "layer": 3 * 10 * 39,
        "training": 3 * 6 * 11,
    }
    chosen = table[
        (table.part == "layer") & (table.layer == "layer3") & (table.quantity == "slope")
    ]
    np.testing.assert_allclose(chosen.value, swept("a").gates["slope"][:, 3])
    own = table[table.own & (table.part == "curve") & (table.quantity == "accuracy")].iloc[0]
    assert (own.scale_low, own.scale, own.scale_high) == pytest.approx((0.8, 0.95, 1.1))
    with pytest.raises(OutputError, match="a figure is PNG, PDF or SVG"):
        save_threshold_sweep([swept("a")], tmp_path / "sheet.txt")


NAN = float("nan")
WRONG: list[tuple[Any, str]] = [
    (lambda s: [], "there is no threshold sweep to draw"),
    (lambda s: [s, s], "was given twice"),
    (lambda s: [replace(s, scales=SCALES[::-1])], "expected them ascending"),
    (lambda s: [replace(s, scales=SCALES[:5])], "expected vectors of one length"),
    (lambda s: [replace(s, gates={"rate": s.gates["rate"]})], r"expected rate, gate, slope"),
    (
        lambda s: [replace(s, gates={**s.gates, "slope": s.gates["slope"][:, :2]})],
        r"has slope of shape \[39, 2\]; expected",
    ),
    (
        lambda s: [replace(s, gates={**s.gates, "gate": np.full((39, 10), NAN)})],
        "expected finite numbers",
    ),
    (lambda s: [replace(s, own=replace(s.own, scale=3.0))], "a factor within its range"),
    (lambda s: [replace(s, own=replace(s.own, gates={}))], "an own setting that is incomplete"),
    (
        lambda s: [replace(s, curves={"rate": Band(np.full(39, NAN), SCALES, SCALES)})],
        "expected finite numbers",
    ),
]


@pytest.mark.parametrize(("spoil", "words"), WRONG)
def test_numbers_that_do_not_fit_are_refused(spoil, words):
    with pytest.raises(DataError, match=words):
        threshold_sweep_figures(spoil(swept()))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: replace(c, scales=c.scales[:3]), r"expected \[epochs, 3\]"),
        (lambda c: replace(c, scales=c.scales[::-1]), "expected them ascending"),
        (
            lambda c: replace(c, values={"train_loss": c.values["train_loss"]}),
            "has values of the shapes",
        ),
        (
            lambda c: replace(c, regulated={name: np.zeros(2) for name in CONVERGENCE}),
            r"AHSAR's \[epochs\]",
        ),
    ],
)
def test_trainings_that_do_not_fit_are_refused(spoil, words):
    with pytest.raises(DataError, match=words):
        threshold_sweep_figures([], spoil(trained()))
