"""The figure of convergence draws the means of the results it is given, lies beside them as CSV, and
fits a paper whatever the names are.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from page_layout import check_layout, words

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.plots import drawn
from ahsar_eval.plots.convergence import convergence_points
from ahsar_eval.plots.style import looks
from ahsar_eval.results.results import Kind, Results

ENDS = [30 * epoch for epoch in range(1, 7)]
convergence = partial(drawn, name="convergence")
LONG = "a-method-with-a-rather-long-name-that-someone-may-have-given-it-{}-in-a-study"
STUDY = Kind("study", (), tables=lambda results, detail: [], notes=lambda results: [])


def course(
    method: str = "a",
    panel: str = "BPTT, s, VGGNet-13",
    *,
    speed: float = 1.0,
    seeds: tuple[float, ...] = (0.9, 1.1),
    spread: float = 1.0,
    shift: float = 0.1,
) -> list[dict[str, Any]]:
    """A row for each seed and epoch; a seed is the factor on its losses."""
    losses = 2.3 * np.exp(-np.arange(1, 7) * speed / 2) * spread + (1 - spread)
    return [
        {
            "panel": panel,
            "method": method,
            "seed": number,
            "steps": end,
            "train_loss": float(factor * loss),
            "validation_loss": float(factor * loss + shift),
        }
        for number, factor in enumerate(seeds)
        for end, loss in zip(ENDS, losses, strict=True)
    ]


def results(*courses: list[dict[str, Any]]) -> Results:
    rows = [row for one in courses for row in one]
    return Results(STUDY, {"courses": rows} if rows else {}, {})


def convergence_figures(made: Results) -> list[Any]:
    ((stem, pages, points),) = convergence(made)
    assert stem == "convergence"
    pd.testing.assert_frame_equal(points, convergence_points(made))
    return pages


def save_convergence(made: Results, path: Path) -> list[Path]:
    return [file for figure in convergence(made) for file in figure.save(path)]


def panel(figure: Any, label: str) -> Any:
    (axes,) = [axes for axes in figure.axes if axes.get_label() == label]
    return axes


def test_lines_and_bands_are_means_and_ranges_over_seeds(tmp_path: Path) -> None:
    made = results(course("a"), course("b", speed=1.3))
    points = convergence_points(made)
    (figure,) = convergence_figures(made)
    for quantity, column, steps in (
        ("training_loss", "train_loss", [end - 15 for end in ENDS]),
        ("validation_nll", "validation_loss", ENDS),
    ):
        axes = panel(figure, f"BPTT, s, VGGNet-13 {quantity}")
        assert [line.get_xdata().tolist() for line in axes.lines] == [steps] * 2
        for line, method in zip(axes.lines, ("a", "b"), strict=True):
            rows = [row for row in made.records["courses"] if row["method"] == method]
            seeds = np.array([row[column] for row in rows]).reshape(2, 6)
            own = points[(points.method == method) & (points.quantity == quantity)]
            assert line.get_ydata().tolist() == own.value.tolist() == seeds.mean(0).tolist()
            assert (own.low.tolist(), own.high.tolist()) == (
                seeds.min(0).tolist(),
                seeds.max(0).tolist(),
            )
        assert len(axes.collections) == 2
        assert axes.get_yscale() == "log"
        outline = axes.collections[0].get_paths()[0].vertices
        band = points[(points.method == "a") & (points.quantity == quantity)]
        assert (outline[:, 1].min(), outline[:, 1].max()) == (band.low.min(), band.high.max())
    table = pd.read_csv(
        save_convergence(made, tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    assert list(table) == ["panel", "method", "quantity", "steps", "value", "low", "high"]
    pd.testing.assert_frame_equal(table, points, check_exact=True)


def test_a_single_seed_has_no_band() -> None:
    (figure,) = convergence_figures(results(course(seeds=(1.0,))))
    assert not any(axes.collections for axes in figure.axes)
    assert "1 seed" in words(figure)


def test_the_figure_says_of_which_set_and_how_many_seeds_it_is() -> None:
    made = results(course())
    whole = Results(STUDY, {**made.records, "deltas": [{"data": "digits"}]}, {})
    (figure,) = convergence_figures(whole)
    assert "hold-out of digits; mean and range of 2 seeds" in words(figure)
    assert "mean and range of 2 seeds" in words(convergence_figures(made)[0])


def test_one_scale_over_all_panels_and_the_same_look_in_every_study() -> None:
    names = ["baseline", "AHSAR", "frozen", "best fixed factor"]
    made = results(
        *(course("frozen", f"panel {number}", speed=0.5 + number / 3) for number in range(4))
    )
    points = convergence_points(made)
    (figure,) = convergence_figures(made)
    for quantity in ("training_loss", "validation_nll"):
        own = [axes for axes in figure.axes if axes.get_label().endswith(quantity)]
        assert len({axes.get_ylim() for axes in own}) == 1
        low, high = own[0].get_ylim()
        drawn = points[points.quantity == quantity]
        assert low < drawn.low.min() <= drawn.high.max() < high
    assert figure.axes[0].lines[0].get_color() == looks(names)["frozen"]["color"]


NAMES = {
    "short": ["baseline", "AHSAR", "frozen", "best fixed factor"],
    "long": [LONG.format(k) for k in range(6)],
}


@pytest.mark.parametrize(
    ("panels", "names"),
    [
        *((1, "short"), (2, "long"), (3, "short"), (13, "long")),
        *(
            pytest.param(*one, marks=pytest.mark.every)
            for one in ((1, "long"), (2, "short"), (3, "long"), (13, "short"))
        ),
    ],
)
def test_pages_fit_a_paper(panels: int, names: str) -> None:
    courses = [
        course(
            name,
            f"digits, rate, m, ResNet-18, T={number}, learning_rate=0.00{number}",
            speed=1 + k / 9,
        )
        for number in range(panels)
        for k, name in enumerate(NAMES[names])
    ]
    for figure in convergence_figures(results(*courses)):
        check_layout(figure)


def test_wide_and_narrow_ranges_have_ticks() -> None:
    for made in (
        course(speed=4.0),
        course(spread=0.0, seeds=(0.99, 1.01)),
        course(spread=0.0, seeds=(2.0,), shift=0.0),
    ):
        (figure,) = convergence_figures(results(made))
        check_layout(figure)
        axes = figure.axes[0]
        low, high = axes.get_ylim()
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 1


def test_several_pages_and_files(tmp_path: Path) -> None:
    many = results(*(course("a", f"panel {number}") for number in range(13)))
    names = [path.name for path in save_convergence(many, tmp_path / "x.svg")]
    assert names == ["x-1.svg", "x-2.svg", "x.csv"]
    for suffix in (".png", ".pdf"):
        one, beside = save_convergence(results(course()), tmp_path / f"y{suffix}")
        assert one.stat().st_size > 1000
        assert beside.name == "y.csv"
    with pytest.raises(OutputError):
        save_convergence(results(course()), tmp_path / "x.jpg")
    assert save_convergence(results(), tmp_path / "none.svg") == []


def test_what_cannot_be_drawn_is_refused() -> None:
    assert convergence(results()) == []
    longer = [{**row, "seed": 9, "steps": row["steps"] + 1} for row in course(seeds=(1.0,))]
    with pytest.raises(
        DataError, match=r"a on BPTT.* has seeds with other numbers of optimisation"
    ):
        convergence_figures(results(course(), longer))
    for name, said in (("train_loss", "training loss"), ("validation_loss", "validation NLL")):
        for seeds in (course(), course(seeds=(1.0,))):
            none = [{**row, name: 0.0} if row["steps"] == 60 else row for row in seeds]
            with pytest.raises(
                DataError, match=rf"of a on BPTT.* has a {said} that is not above 0"
            ):
                convergence_figures(results(none))
