"""The figure of adaptation over severity: means over shifts of the numbers recorded, a line for each
way to adapt, and pages that fit.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ood_results import results
from page_layout import check_layout, words

from ahsar_eval.errors import UsageError
from ahsar_eval.plots import drawn, plot
from ahsar_eval.plots.style import looks

WAY = " (channel, episodic)"
SLOPES = {"contrast": 0.1, "fog": 0.2}


def made(ways=("base", "channel, episodic"), networks=("net",), missing=(), labels=True):
    """Accuracy, rate and energy that fall linearly with severity, by a slope of each shift."""
    rows = []
    for network in networks:
        for i, thresholds in enumerate(ways):
            named = {"checkpoint": network, "thresholds": thresholds, "id": "digits"}
            named |= {"set": "digits", "n": 60}
            places: list[Any] = [("digits", None, 0)]
            places += [
                (f"digits:{shift}:{severity}", shift, severity)
                for shift in SLOPES
                for severity in range(1, 6)
                if (shift, severity) not in missing
            ]
            for ood, shift, severity in places:
                fall = severity * SLOPES.get(shift, 0.0) / (1 + i)
                numbers = {
                    "accuracy": 1 - fall / 2 if labels else None,
                    "mean_rate": 0.2 - fall / 10,
                }
                numbers |= {"energy_pj": 1e6 * (2 - fall)}
                place = {"ood": ood, "shift": shift, "severity": severity}
                rows.append({**named, **place, **numbers})
    base = results(("net",), ("x",))
    return replace(base, records={**base.records, "test_time": rows})


def figure(found):
    ((stem, pages, table),) = drawn(found, "test_time")
    assert stem == "test_time"
    return pages, table


def test_means_are_over_shifts_and_both_networks_are_drawn():
    pages, table = figure(made())
    for i, way in enumerate(("without adaptation", "channel (episodic)")):
        own = table[(table.adaptation == way) & (table["shift"] == "mean")]
        for quantity, first, part in (("accuracy", 1, 0.5), ("mean_rate", 0.2, 0.1)):
            values = own[own.quantity == quantity].sort_values("severity").value
            np.testing.assert_allclose(values, first - np.arange(6) * 0.15 * part / (1 + i))
        energy = own[own.quantity == "energy_pj"].sort_values("severity").value  # pJ, not as drawn
        np.testing.assert_allclose(energy, 1e6 * (2 - np.arange(6) * 0.15 / (1 + i)))
    (page,) = pages
    check_layout(page)
    assert {"without adaptation", "channel (episodic)", "one shift"} <= set(words(page))
    assert "energy per inference (µJ)" in words(page)
    lines = page.axes[2].get_lines()
    drawn_means = [line.get_ydata() for line in lines if line.get_label() == "without adaptation"]
    np.testing.assert_allclose(drawn_means[0], 2 - np.arange(6) * 0.15)


def test_a_network_has_the_look_that_it_has_in_other_figures():
    pages, _ = figure(made(networks=("x-baseline", "x-ahsar")))
    names = [f"x-{method}{way}" for method in ("baseline", "ahsar") for way in ("", WAY)]
    expected = looks(names)
    drawn_looks = [
        (line.get_color(), line.get_marker())
        for axes in (pages[0].axes[0], pages[0].axes[3])
        for line in axes.get_lines()
        if line.get_label() in ("without adaptation", "channel (episodic)")
    ]
    assert drawn_looks == [(expected[one]["color"], expected[one]["marker"]) for one in names]
    assert "ID set digits, n = 60" in words(pages[0])


def test_a_severity_that_one_shift_lacks_has_no_mean():
    _, table = figure(made(missing=[("fog", 5)]))
    mean = table[(table["shift"] == "mean") & (table.quantity == "accuracy")]
    assert sorted(mean.severity.unique()) == [0, 1, 2, 3, 4]
    assert 5 in table[table["shift"] == "contrast"].severity.to_numpy()


def test_without_labels_accuracy_is_left_out_and_networks_have_rows_of_their_own():
    pages, table = figure(made(networks=("one", "two"), labels=False))
    assert set(table.quantity) == {"mean_rate", "energy_pj"}
    assert set(table.data) == {"one on digits", "two on digits"}
    check_layout(pages[0])
    assert len(pages[0].axes) == 4 or "labels not kept" in words(pages[0])


def test_a_single_shift_is_its_own_mean():
    pages, _ = figure(made(missing=[("fog", severity) for severity in range(1, 6)]))
    assert "one shift" not in words(pages[0])


@pytest.mark.parametrize("missing", [None, [(s, v) for s in SLOPES for v in range(2, 6)]])
def test_there_is_nothing_to_draw_without_adaptation_or_severities(missing):
    found = results() if missing is None else made(missing=missing)
    with pytest.raises(UsageError, match="nothing to draw in the figure test_time"):
        plot(found, "test_time")
