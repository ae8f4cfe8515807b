"""The sheet of a threshold sweep: draws the numbers of the results, fits a paper whatever the names,
and lies beside its points as CSV.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from page_layout import check_layout, texts, words

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.plots import drawn, plot
from ahsar_eval.plots.style import TALLEST_IN, looks, shades
from ahsar_eval.plots.sweep import CONVERGENCE, GATES
from ahsar_eval.results.results import Kind, Results

threshold_sweep = partial(drawn, name="threshold_sweep")
LONG = (
    "runs/2024-11-02/cifar10-vgg13-T8-homeostatic-lr0.001-wd5e-4-{}_$x$_best-on-holdout"
    "-of-a-study-with-a-long-name-{}"
)
SCALES = np.round(np.linspace(0.1, 2.0, 39), 2)
TRAINED = np.round(np.arange(0.2, 2.01, 0.2), 1)
KIND = Kind("sweep", axes=(), tables=lambda results, detail: [], notes=lambda results: [])


def swept(
    checkpoint: str = "a",
    sets: Sequence[str] = ("x",),
    *,
    layers: int = 10,
    regulated: bool = True,
    top: float = 3e6,
) -> Results:
    """One network at `SCALES`; its own thresholds are from 0.8 to 1.1 times its base, or 1."""
    points: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    low, high = (0.8, 1.1) if regulated else (1.0, 1.0)
    own = (low + high) / 2
    for scale in [own, *(one for one in SCALES if regulated or one != own)]:
        is_own = not points
        falling, accuracy = 0.5 * np.exp(-scale), 0.9 - 0.4 * (scale - 1) ** 2
        ends = (low, high) if is_own else (scale, scale)
        point: dict[str, Any] = {"checkpoint": checkpoint, "own": is_own, "scale": scale}
        point |= {"set": "digits", "n": 100}
        point |= {"row": "own" if is_own else "scale", "scale_low": ends[0], "scale_high": ends[1]}
        point |= {
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.02,
            "accuracy_high": accuracy + 0.02,
        }
        point |= {"mean_rate": falling, "mean_rate_low": falling, "mean_rate_high": falling}
        point["energy_pj"] = top * falling
        for name in sets:
            point |= {f"auroc {name}": accuracy}
            point |= {f"auroc {name}_low": accuracy - 0.05, f"auroc {name}_high": accuracy + 0.05}
        gates = {name: falling * (1 + 0.05 * (layers - 1)) for name in GATES}
        points.append({**point, **gates})
        for n in range(layers):
            of = {"checkpoint": checkpoint, "own": is_own, "scale": scale, "layer": f"layer{n}"}
            rows.append({**of, **{name: falling * (1 + 0.1 * n) for name in GATES}})
    return Results(KIND, {"point": points, "layer": rows, "epoch": []}, {})


def trained(epochs: int = 6, seeds: int = 1) -> Results:
    """Trainings at `TRAINED`, and AHSAR's at factors from 0.8 to 1."""
    rows: list[dict[str, Any]] = []
    asked = []
    for method in (*(f"fixed:{scale:g}" for scale in TRAINED if scale != 1), "baseline", "ahsar"):
        scale = {"baseline": 1.0, "ahsar": 0.9}.get(method) or float(method[6:])
        low, high = (0.8, 1.0) if method == "ahsar" else (scale, scale)
        for seed in range(seeds):
            asked.append({"method": method, "seed": seed, "epochs": epochs})
            for epoch in range(1, epochs + 1):
                loss = np.exp(1 - epoch) * (1 + (scale - 1) ** 2) + seed
                row = {"method": method, "seed": seed, "scale": scale, "epoch": float(epoch)}
                row |= {"scale_low": low, "scale_high": high, "diverged": "", "train_loss": loss}
                row |= {"validation_loss": loss + 0.1, "validation_accuracy": 1 - 0.3 * loss}
                rows.append(row)
    return Results(KIND, {"point": [], "layer": [], "epoch": rows}, {"trainings": asked})


def together(*parts: Results) -> Results:
    """Several networks, and trainings where the last part has them."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return Results(KIND, whole.records, parts[-1].facts)


def sheet(*parts: Results) -> list[Any]:
    ((stem, figures, _),) = threshold_sweep(together(*parts))
    assert stem == "threshold_sweep"
    return figures


def points(*parts: Results) -> pd.DataFrame:
    ((_, _, table),) = threshold_sweep(together(*parts))
    return table


def panel(figures, label: str):
    (found,) = [axes for figure in figures for axes in figure.axes if axes.get_label() == label]
    return found


def line_of(axes, label: str):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def rings(axes):
    return [line for line in axes.lines if line.get_marker() == "o"]


@pytest.mark.parametrize(
    ("names", "sets"),
    [
        (["a"], ()),
        (["digits-vgg13-baseline", "digits-vgg13-ahsar"], ("photo-patches", "digits:contrast:3")),
        ([LONG.format(k, k) for k in range(3)], tuple(LONG.format("set", k) for k in range(4))),
    ],
)
@pytest.mark.parametrize("convergence", [False, True])
def test_text_fits_the_page_and_meets_no_other(names, sets, convergence):
    networks = [swept(name, sets, regulated=bool(k)) for k, name in enumerate(names)]
    for figure in sheet(*networks, *([trained()] if convergence else [])):
        check_layout(figure)


def test_what_does_not_fit_one_page_goes_on_the_next():
    networks = [swept(f"net{k}", tuple(f"set{n}" for n in range(9))) for k in range(6)]
    figures = sheet(*networks, trained())
    assert len(figures) > 1
    for figure in figures:
        check_layout(figure)
        assert figure.get_size_inches()[1] <= TALLEST_IN
    labels = [axes.get_label() for figure in figures for axes in figure.axes]
    assert len(labels) == len(set(labels)) == 12 + 6 + 3


def test_a_method_has_one_colour_in_sweeps_and_trainings():
    figures = sheet(swept("x-baseline", regulated=False), swept("x-ahsar"), trained())
    expected = looks(["ahsar", "fixed"])
    accuracy, loss = panel(figures, "accuracy"), panel(figures, "validation_loss")
    assert line_of(accuracy, "x-ahsar").get_color() == expected["ahsar"]["color"]
    middle = 3  # of six epochs from light to dark
    squares = [line for line in loss.lines if line.get_marker() == "s"]
    fixed = [line for line in loss.lines if len(line.get_xdata()) == 10]
    for lines, method in ((squares, "ahsar"), (fixed, "fixed")):
        shade = shades(expected[method]["color"], 6)[middle]
        assert to_rgb(lines[middle].get_color()) == pytest.approx(shade)


def test_trainings_alone_make_a_sheet():
    (figure,) = sheet(trained())
    check_layout(figure)
    assert [axes.get_label() for axes in figure.axes] == list(CONVERGENCE)


def test_the_numbers_of_the_results_are_the_numbers_drawn():
    one, other = swept("a", regulated=False), swept("b", top=5e6)
    figures = sheet(one, other, trained())
    for network, name in ((one, "a"), (other, "b")):
        rows = network.records["point"]
        uniform = sorted(
            (row for row in rows if row["scale_low"] == row["scale_high"]),
            key=lambda row: row["scale"],
        )
        assert len(uniform) == 39
        line = line_of(panel(figures, "accuracy"), name)
        expected = [(row["scale"], row["accuracy"]) for row in uniform]
        np.testing.assert_array_equal(line.get_xydata(), expected)
        ring = rings(panel(figures, "accuracy"))["ab".index(name)]
        np.testing.assert_array_equal(ring.get_xydata(), [[rows[0]["scale"], rows[0]["accuracy"]]])
        gates = panel(figures, f"gate {name}")
        for gate, title in GATES.items():
            means = [row[gate] for row in uniform]
            np.testing.assert_allclose(line_of(gates, title).get_ydata(), means, rtol=1e-12)
        expected = [(rows[0]["scale"], rows[0][gate]) for gate in GATES]
        np.testing.assert_array_equal([r.get_xydata()[0] for r in rings(gates)], expected)
        assert len(gates.lines) == 3 * (10 + 1 + 1) + 1
        drawn = {tuple(line.get_ydata()) for line in gates.lines}
        layers = [row for row in network.records["layer"] if row["layer"] == "layer3"]
        at = {row["scale"]: row["gate"] for row in layers if not row["own"] or name == "a"}
        assert tuple(at[row["scale"]] for row in uniform) in drawn
    energy = panel(figures, "energy")  # in µJ, the unit of the largest
    in_unit = [row["energy_pj"] / 1e6 for row in other.records["point"][1:]]
    np.testing.assert_allclose(line_of(energy, "b").get_ydata(), in_unit)
    assert "energy per inference (µJ)" in [text.get_text() for text in energy.texts]
    loss = panel(figures, "train_loss")
    fixed = [line for line in loss.lines if len(line.get_xdata()) == 10]
    squares = [line for line in loss.lines if line.get_marker() == "s"]
    for epoch, (line, square) in enumerate(zip(fixed, squares, strict=True)):
        expected = np.exp(-epoch) * (1 + (TRAINED - 1) ** 2)
        np.testing.assert_allclose(line.get_xydata(), np.stack([TRAINED, expected], axis=1))
        np.testing.assert_allclose(square.get_xydata(), [[0.9, np.exp(-epoch) * 1.01]])
    labels = [line.get_label() for line in (fixed[0], fixed[-1], squares[0], squares[-1])]
    assert labels == [
        *("trained at s, epoch 1", "trained at s, epoch 6"),
        *("AHSAR, epoch 1", "AHSAR, epoch 6"),
    ]
    assert len(fixed) == 6
    assert loss.get_yscale() == "log"


def test_rate_and_energy_are_drawn_from_zero():
    figures = sheet(swept("a"))
    for name in ("mean rate (spikes per step)", "energy"):
        low, _ = panel(figures, name).get_ylim()
        assert low < 0
    assert panel(figures, "accuracy").get_ylim()[0] > 0


def test_the_sheet_says_of_which_set_it_is():
    assert "set digits, n = 100" in words(sheet(swept("a"))[0])
    said = words(sheet(swept("a"), trained(seeds=2))[0])
    assert "set digits, n = 100; trainings: 2 seeds each" in said


def test_a_network_without_labels_has_no_accuracy():
    found = swept("a")
    for row in found.records["point"]:
        row["accuracy"] = None  # type: ignore[index]
    assert "accuracy" not in [axes.get_label() for figure in sheet(found) for axes in figure.axes]
    both = sheet(found, swept("b"))
    assert panel(both, "accuracy").lines[0].get_label() == "b"
    assert len(rings(panel(both, "accuracy"))) == 1


def test_the_range_of_factors_is_a_band_only_where_there_is_one():
    figures = sheet(swept("a", regulated=False), swept("b"))
    for label, bands in (("gate a", 0), ("gate b", 1), ("accuracy", 1)):
        found = [patch for patch in panel(figures, label).patches if patch.get_alpha() == 0.16]
        assert len(found) == bands, label
    (band,) = [patch for patch in panel(figures, "gate b").patches if patch.get_alpha() == 0.16]
    assert (
        band.get_extents().transformed(panel(figures, "gate b").transData.inverted()).intervalx
    ) == pytest.approx([0.8, 1.1])
    words = [text.get_text() for text in texts(figures[0])]
    assert "range of its factors over layers" in words
    alone = [text.get_text() for text in texts(sheet(swept("a", regulated=False))[0])]
    assert "range of its factors over layers" not in alone


def test_a_training_that_ended_early_leaves_a_gap():
    found = trained()
    rows = [
        row for row in found.records["epoch"] if (row["scale"], row["epoch"] > 3) != (0.2, True)
    ]
    early = Results(KIND, {**found.records, "epoch": rows}, found.facts)
    (figure,) = sheet(early)
    fixed = [line for line in panel([figure], "train_loss").lines if len(line.get_xdata()) == 10]
    assert [bool(np.isnan(line.get_ydata()[0])) for line in fixed] == [False] * 3 + [True] * 3
    assert not any(np.isnan(line.get_ydata()[1:]).any() for line in fixed)
    check_layout(figure)


def test_seeds_are_averaged_and_one_that_ended_early_ends_the_mean():
    one, two = points(trained()), points(trained(seeds=2))
    loss = one.quantity == "train_loss"
    np.testing.assert_allclose(two.value[loss], one.value[loss] + 0.5)
    assert len(one) == len(two)
    found = trained(seeds=2)
    rows = [
        row for row in found.records["epoch"] if (row["method"], row["seed"]) != ("baseline", 1)
    ]
    ended = {**found.records["epoch"][0], "method": "baseline", "seed": 1, "scale": 1.0}
    ended |= {"scale_low": 1.0, "scale_high": 1.0, "diverged": "nan"}
    del ended["epoch"]
    early = points(Results(KIND, {**found.records, "epoch": [*rows, ended]}, found.facts))
    assert early.value[(early.scale == 1) & ~early.own].isna().all()
    assert early.value[early.scale != 1].notna().all()


def test_a_controller_whose_training_diverged_is_not_drawn():
    found = trained()
    for row in found.records["epoch"]:
        if row["method"] == "ahsar":
            row["diverged"] = "the training loss is nan in epoch 1"  # type: ignore[index]
    assert not points(found).own.any()
    check_layout(sheet(found)[0])


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_files_are_written_with_their_points_and_the_same_ones_are_the_same_files(suffix, tmp_path):
    found = together(swept("a"), trained())
    plot(found, "threshold_sweep", tmp_path / f"sheet{suffix}")
    plot(found, "threshold_sweep", tmp_path / f"again{suffix}")
    for end in (suffix, ".csv"):
        assert (tmp_path / f"sheet{end}").read_bytes() == (tmp_path / f"again{end}").read_bytes()
    table = pd.read_csv(tmp_path / "sheet.csv")
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
    np.testing.assert_allclose(chosen.value, 0.5 * np.exp(-SCALES) * 1.3)
    own = table[table.own & (table.part == "curve") & (table.quantity == "accuracy")].iloc[0]
    assert (own.scale_low, own.scale, own.scale_high) == pytest.approx((0.8, 0.95, 1.1))
    with pytest.raises(OutputError, match="a figure is PNG, PDF or SVG"):
        plot(found, "threshold_sweep", tmp_path / "sheet.txt")


def test_nothing_to_draw_and_the_same_network_twice_are_refused():
    with pytest.raises(DataError, match="there is no threshold sweep to draw"):
        threshold_sweep(Results(KIND, {"point": [], "layer": [], "epoch": []}, {}))
    with pytest.raises(DataError, match="the threshold sweep of a was given twice"):
        sheet(swept("a"), swept("a"))
