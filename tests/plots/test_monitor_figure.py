"""The figure of `monitor`: draws the numbers of the results, in a panel per set, shift and mean."""

from functools import partial
from typing import Any

import pytest
from page_layout import check_layout, words

from ahsar_eval.errors import DataError
from ahsar_eval.plots import drawn, plot
from ahsar_eval.plots.monitor import COLUMNS, TITLES
from ahsar_eval.results.results import Kind, Results

KIND = Kind("monitor", axes=(), tables=lambda results, detail: [], notes=lambda results: [])
figure = partial(drawn, name="monitor")


def row(name: str, batch: int, label: str = "a", **more: Any) -> dict[str, Any]:
    """A set, or a mean; its AUROCs rise with the size of the batch."""
    found: dict[str, Any] = {
        "label": label,
        "name": name,
        "set": name,
        "shift": None,
        "severity": 0,
    }
    found |= {"batch": batch, "kind": "set", **more}
    for i, statistic in enumerate(TITLES):
        value = 1 - 0.5 / (batch + i)
        found |= {f"auroc_{statistic}": value, f"auroc_{statistic}_low": value - 0.1}
        found[f"auroc_{statistic}_high"] = min(1.0, value + 0.1)
    return found


def watched(labels: tuple[str, ...] = ("a",), shifts: int = 2, sizes=(1, 8, 32)) -> Results:
    """Photographs, and shifts of digits at two severities with their means."""
    rows, means = [], []
    for label in labels:
        for n in sizes:
            rows.append(row("photo-patches", n, label))
            for k in range(shifts):
                of = {"set": "digits", "shift": f"shift{k}"}
                for severity in (1, 3):
                    name = f"digits:shift{k}:{severity}"
                    rows.append(row(name, n, label, severity=severity, **of))
                means.append(row(f"digits:shift{k}:1,3", n, label, kind="mean", **of))
            means.append(row(f"mean of digits, {shifts} shifts", n, label, kind="mean"))
    alone = [{**row("digits", n, labels[0]), "id": "digits", "id_batches": 90 // n} for n in sizes]
    return Results(KIND, {"rows": rows, "means": means, "id": alone}, {})


def test_a_panel_for_each_mean_set_and_shift():
    ((stem, pages, numbers),) = figure(watched())
    assert stem == "monitor"
    assert list(numbers.columns) == COLUMNS
    names = ["mean of digits, 2 shifts", "photo-patches"]
    names += ["digits:shift0:1,3", "digits:shift1:1,3"]
    assert list(numbers.name.unique()) == names
    assert len(numbers) == 4 * 4 * 3
    own = numbers[(numbers.name == "photo-patches") & (numbers.statistic == TITLES["judged"])]
    assert list(own.value) == pytest.approx([1 - 0.5 / (n + 2) for n in (1, 8, 32)])
    (page,) = pages
    lines = [line for line in page.axes[0].lines if len(line.get_xdata()) == 3]
    assert [line.get_label() for line in lines] == list(TITLES.values())
    assert list(lines[2].get_ydata()) == pytest.approx(list(own.value))
    assert "ID set digits, batches: 90 of 1, 11 of 8, 2 of 32" in words(page)
    assert {"samples in a batch", "AUROC", "32", *TITLES.values()} <= set(words(page))


@pytest.mark.parametrize(
    ("labels", "shifts", "sizes"),
    [
        (("a",), 15, (1, 8, 32)),
        (("a", "b" * 70), 3, (1, 8, 32, 128)),
        (("a",), 1, (8,)),
    ],
)
def test_pages_fit_a_paper(labels, shifts, sizes):
    for page in figure(watched(labels, shifts, sizes))[0].pages:
        check_layout(page)


def test_all_panels_have_one_scale():
    ((_, pages, _),) = figure(watched(("a", "b")))
    limits = {tuple(axes.get_ylim()) for page in pages for axes in page.axes}
    assert len(limits) == 1
    ((low, high),) = limits
    assert low < 0.4
    assert high == 1.02


def test_what_stands_there_twice_is_refused():
    with pytest.raises(DataError, match="was given twice"):
        figure(watched(("a", "a")))


def test_the_first_figure_of_the_kind():
    assert plot(watched()).axes
