"""The figure of convergence draws the arrays it is given, lies beside them as CSV, and fits a paper
whatever the names are.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from page_layout import check_layout

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.plots.convergence import Convergence, convergence_figures, save_convergence
from ahsar_eval.plots.panels import Band
from ahsar_eval.plots.style import looks

ENDS = np.arange(1.0, 7) * 30
LONG = "a-method-with-a-rather-long-name-that-someone-may-have-given-it-{}-in-a-study"


def course(
    method: str = "a", panel: str = "BPTT, s, VGGNet-13", *, speed: float = 1.0, band: bool = True
) -> Convergence:
    losses = 2.3 * np.exp(-np.arange(1, 7) * speed / 2)
    nothing = np.full(6, np.nan)
    low, high = (losses * 0.9, losses * 1.1) if band else (nothing, nothing)
    return Convergence(
        method,
        panel,
        ENDS - 15,
        Band(losses, low, high),
        ENDS,
        Band(losses + 0.1, low + 0.1, high + 0.1),
    )


def panel(figure: Any, label: str) -> Any:
    (axes,) = [axes for axes in figure.axes if axes.get_label() == label]
    return axes


def test_lines_and_bands_are_the_arrays(tmp_path: Path) -> None:
    courses = [course("a"), course("b", speed=1.3)]
    (figure,) = convergence_figures(courses)
    for quantity, steps in (("training_loss", ENDS - 15), ("validation_nll", ENDS)):
        axes = panel(figure, f"BPTT, s, VGGNet-13 {quantity}")
        for line, one in zip(axes.lines, courses, strict=True):
            assert line.get_xdata().tolist() == steps.tolist()
            assert line.get_ydata().tolist() == one.course(quantity)[1].value.tolist()
        assert len(axes.collections) == 2
        assert axes.get_yscale() == "log"
        outline = axes.collections[0].get_paths()[0].vertices
        assert outline[:, 1].max() == courses[0].course(quantity)[1].high.max()
    table = pd.read_csv(
        save_convergence(courses, tmp_path / "x.svg")[-1], float_precision="round_trip"
    )
    own = table[(table.method == "b") & (table.quantity == "validation_nll")]
    assert own.value.tolist() == courses[1].validation_nll.value.tolist()
    assert own.steps.tolist() == ENDS.tolist()
    assert own.low.tolist() == courses[1].validation_nll.low.tolist()
    assert list(table) == ["panel", "method", "quantity", "steps", "value", "low", "high"]


def test_a_single_seed_has_no_band() -> None:
    (figure,) = convergence_figures([course(band=False)])
    assert not any(axes.collections for axes in figure.axes)


def test_one_scale_over_all_panels_and_the_given_order_of_looks() -> None:
    courses = [course("b", f"panel {number}", speed=0.5 + number / 3) for number in range(4)]
    (figure,) = convergence_figures(courses, methods=["a", "b"])
    for quantity in ("training_loss", "validation_nll"):
        own = [axes for axes in figure.axes if axes.get_label().endswith(quantity)]
        assert len({axes.get_ylim() for axes in own}) == 1
        low, high = own[0].get_ylim()
        for one in courses:
            band = one.course(quantity)[1]
            assert low < band.low.min() <= band.high.max() < high
    assert figure.axes[0].lines[0].get_color() == looks(["a", "b"])["b"].colour


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
    for figure in convergence_figures(courses):
        check_layout(figure)


def test_wide_and_narrow_ranges_have_ticks() -> None:
    flat = Band(np.full(6, 1.0), np.full(6, 0.99), np.full(6, 1.01))
    for made in (
        course(speed=4.0),
        replace(course(), training_loss=flat),
        replace(course(), training_loss=Band(*(np.full(6, 2.0),) * 3)),
    ):
        (figure,) = convergence_figures([made])
        check_layout(figure)
        axes = figure.axes[0]
        low, high = axes.get_ylim()
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 1


def test_several_pages_and_files(tmp_path: Path) -> None:
    many = [course("a", f"panel {number}") for number in range(13)]
    names = [path.name for path in save_convergence(many, tmp_path / "x.svg")]
    assert names == ["x-1.svg", "x-2.svg", "x.csv"]
    for suffix in (".png", ".pdf"):
        one, beside = save_convergence([course()], tmp_path / f"y{suffix}")
        assert one.stat().st_size > 1000
        assert beside.name == "y.csv"
    with pytest.raises(OutputError):
        save_convergence([course()], tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("courses", "message"),
    [
        ([], "there is no convergence to draw"),
        ([course(), course()], "was given twice"),
        ([replace(course(), training_steps=ENDS[:3])], r"has steps \[3\], training loss \[6\]"),
        ([replace(course(), validation_steps=ENDS[::-1])], "steps that do not rise"),
        (
            [replace(course(), training_loss=Band(np.full(6, np.nan), ENDS, ENDS))],
            "a gap in its training loss",
        ),
        (
            [replace(course(), validation_nll=Band(ENDS * 0, ENDS, ENDS))],
            "has a validation NLL that is not above 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(courses: list[Convergence], message: str) -> None:
    with pytest.raises(DataError, match=message):
        convergence_figures(courses)
