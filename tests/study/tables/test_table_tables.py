"""The tables of a study: the paper's layout, signs and units, what is said of gaps, and every form
they are printed in.
"""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ahsar_eval.errors import DataError
from ahsar_eval.files import csv_text
from ahsar_eval.plots.convergence import convergence, convergence_points
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Table
from ahsar_eval.study.comparisons import student
from ahsar_eval.study.folder import CellResult, StudyCells
from ahsar_eval.study.matching import controlled
from ahsar_eval.study.tables import p_text, ratio, results_of

Cell = Callable[..., CellResult]


def results(
    cells: list[CellResult],
    failed: list[dict[str, Any]] | None = None,
    missing: list[str] | None = None,
    replicates: int = 99,
) -> Results:
    return results_of(StudyCells(cells, failed or [], missing or []), "made-up", replicates)


@pytest.fixture(scope="module")
def made(study: list[CellResult]) -> Results:
    return results(study, replicates=499)


def table(made: Results, start: str) -> Table:
    (found,) = [one for one in made.tables() if one.title.startswith(start)]
    return found


def header(found: Table) -> list[str]:
    return list(found.grid().header)


def of_cells(found: Table) -> list[list[str]]:
    return [list(row.cells) for row in found.grid().rows]


def headings(found: Table) -> list[str]:
    return [line.cells[0] for line in found.grid().lines if line.heading]


def scored(accuracy: float) -> dict[str, Any]:
    return {"set": "digits", "accuracy": accuracy, "nll": 0.3, "mean_rate": 0.2}


def sets(accuracy: float, auroc: float, fpr95: float) -> list[dict[str, Any]]:
    return [
        {"set": "x", "kind": "shift", "auroc": 0.5, "fpr95": 0.9, "accuracy": accuracy},
        {"set": "y", "kind": "other", "auroc": auroc, "fpr95": fpr95, "accuracy": None},
    ]


def test_differences_are_percentage_points_against_the_matched_baseline(cell: Cell) -> None:
    made = [
        cell("baseline", 0, id=scored(0.90), ood=sets(0.5, 0.80, 0.5)),
        cell("baseline", 1, id=scored(0.80), ood=sets(0.6, 0.70, 0.4)),
        cell("baseline", 2, id=scored(0.10), ood=sets(0.1, 0.10, 0.9)),  # no partner
        cell("ahsar", 0, id=scored(0.92), ood=sets(0.6, 0.85, 0.4)),
        cell("ahsar", 1, id=scored(0.84), ood=sets(0.8, 0.85, 0.2)),
    ]
    found = {one["quantity"]: one for one in results(made).records["deltas"]}
    assert found["accuracy"]["delta_points"] == pytest.approx(3.0)
    assert found["shifted_accuracy"]["delta_points"] == pytest.approx(15.0)
    assert found["auroc"]["delta_points"] == pytest.approx(10.0)
    assert found["fpr95"]["delta_points"] == pytest.approx(-15.0)
    assert found["shifted_auroc"]["delta_points"] == 0.0
    own = found["accuracy"]
    assert (own["low"], own["high"]) == pytest.approx((3 - 12.706, 3 + 12.706), abs=1e-3)
    # t(1) of 2 and 4
    assert (own["seeds"], own["epochs"], own["paper_points"]) == (2, 3, 1.06)


def test_tables_have_the_papers_layout_and_its_figures_beside_ours(cell: Cell) -> None:
    made = []
    for modality, data, timesteps in (
        ("rgb", "digits", 6),
        ("event", "digits-dvs", 6),
        ("rgb", "digits", 8),
    ):
        for method, extra in (
            ("baseline", 0.0),
            ("ahsar", 0.02),
            ("ahsar-no-rt", 0.01),
            ("frozen:ahsar", 0.015),
            ("fixed:0.8", 0.03),
        ):
            where = {"modality": modality, "data": data, "timesteps": timesteps}
            better = (
                {"validation": [1.0, 0.5, 0.2]} if method == "fixed:0.8" and timesteps == 6 else {}
            )
            made += [
                cell(method, s, id=scored(0.8 + extra * (1 + s / 10)), **where, **better)
                for s in (0, 1)
            ]
            made += [
                cell(
                    method,
                    0,
                    id=scored(0.8 + extra),
                    paradigm="rate",
                    step_mode="s",
                    backbone="resnet18",
                    **where,
                )
            ]
    found = table(results(made), "Table 1")
    assert found.title.startswith("Table 1: Δ top-1 accuracy")
    assert header(found)[:4] == ["paradigm", "step mode", "backbone", "method"]
    assert header(found)[4:] == ["Δ, % points", "95 % interval", "paper", "seeds", "epochs"]
    assert headings(found) == ["event, digits-dvs, T=6", "rgb, digits, T=6", "rgb, digits, T=8"]
    rows = of_cells(found)
    assert [row[:4] for row in rows[:8]] == [
        ["BPTT", "m", "VGGNet-13", "AHSAR"],
        ["", "", "", "AHSAR(no RT)"],
        ["", "", "", "frozen"],
        ["", "", "", "best fixed (0.8)"],
        ["rate", "s", "ResNet-18", "AHSAR"],
        ["", "", "", "AHSAR(no RT)"],
        ["", "", "", "frozen"],
        ["", "", "", "best fixed (1)"],
    ]
    assert rows[0][4:] == ["+2.10", "+0.83 … +3.37", "+0.43", "2", "3"]
    assert [rows[i][6] for i in (0, 8, 16)] == ["+0.43", "+1.06", "+1.85"]  # of AHSAR
    assert [rows[i][6] for i in (1, 9, 17)] == ["+0.20", "+0.61", "+1.42"]
    assert [rows[i][3:5] for i in (3, 11, 19)] == [
        ["best fixed (0.8)", "+3.15"],
        ["best fixed (0.8)", "+3.15"],
        ["best fixed (1)", "0.00"],
    ]
    assert rows[4][4:] == ["+2.00", "–", "+1.15", "1", "3"]  # one seed: no interval
    assert [line.cells for line in found.grid().lines].count(()) == 3 + 2, (
        "a rule between backbones and one above each section but the first"
    )


def test_settings_that_a_set_or_backbone_brings_along_make_no_section(cell: Cell) -> None:
    settings = [
        {"data": "digits", "batch_size": 64, "input_shape": [1, 16, 16]},
        {"data": "digits-dvs", "modality": "event", "batch_size": 32, "input_shape": [2, 17, 17]},
        {"data": "digits", "batch_size": 128, "backbone": "resnet18"},
    ]
    found = table(
        results([cell(method, **one) for method in ("baseline", "ahsar") for one in settings]),
        "Table 1",
    )
    assert headings(found) == ["event, digits-dvs, T=6", "rgb, digits, T=6"]
    assert [row[2] for row in of_cells(found)] == ["VGGNet-13", "ResNet-18", "VGGNet-13"]
    two = results(
        [
            cell(method, learning_rate=rate)
            for method in ("baseline", "ahsar")
            for rate in (0.01, 0.001)
        ]
    )
    assert headings(table(two, "Table 1")) == [
        "rgb, digits, T=6, learning_rate=0.001",
        "rgb, digits, T=6, learning_rate=0.01",
    ]


def test_everything_that_a_study_says_is_there(made: Results) -> None:
    assert [one.title.split(",")[0].split(":")[0] for one in made.tables()] == [
        "Claims",
        "Primary endpoints",
        "Table 1",
        "Table 2",
        "Table 4",
        "Table 4",
        "Table 4",
        "Table 4",
        "Values",
        "The controller at the end of training",
    ]
    assert {name: len(lines) for name, lines in made.records.items()} == {
        "claims": 9,
        "endpoints": 8 * 6,
        "deltas": 8 * 5 * 6,
        "values": 8 * 7,
        "controller": 8 * 5,
        "cells": 168,
        "courses": 8 * 4 * 3 * 6,  # the baseline, AHSAR, frozen, the best factor; seeds, epochs
    }


def test_claims_say_who_is_faster(made: Results) -> None:
    claimed = table(made, "Claims")
    rows = claimed.grid().rows
    assert [row.cells[-1] for row in rows[:6]] == ["faster"] * 3 + ["slower"] * 3
    assert rows[0].cells[:2] == ["AHSAR against baseline", "area under the training loss"]
    for shown, row in zip(rows, made.records["claims"], strict=True):
        assert shown.cells[2] == f"{np.exp(row['log_ratio']):.3f}"
        assert shown.cells[3] == f"{np.exp(row['low']):.3f} … {np.exp(row['high']):.3f}"
        bold = [claimed.grid().header[i] for i in sorted(shown.bold)]
        significant = row["p_holm"] < 0.05
        assert bold == (["p (Holm)", "AHSAR is"] if significant else [])
        assert (row["verdict"] != "not shown") == significant


def test_primary_endpoints_are_ratios_with_students_interval(
    study: list[CellResult], made: Results
) -> None:
    primary = table(made, "Primary")
    assert headings(primary)[0] == "digits, BPTT, s, ResNet-18, T=6"
    rows = of_cells(primary)
    by_key = {
        (r.method, r.seed): r
        for r in study
        if (r.request["paradigm"], r.request["step_mode"], r.request["backbone"])
        == ("bptt", "s", "resnet18")
    }
    logs = []
    for seed in range(3):
        ours, theirs = (
            np.mean([row["train_loss"] for row in by_key[method, seed].history])
            for method in ("ahsar", "baseline")
        )
        logs.append(float(np.log(ours / theirs)))
    found = student(logs)
    assert found.low is not None
    assert found.high is not None
    span = f"{ratio(found.low)} … {ratio(found.high)}"
    assert rows[0][:4] == ["AHSAR", "3", ratio(found.estimate), span]
    assert [row[0] for row in rows[:6]] == [
        "AHSAR",
        "AHSAR(no RT)",
        "AHSAR(no DH)",
        "frozen",
        "fixed:0.8 *",
        "fixed:1.2",
    ]
    assert made.records["endpoints"][0]["train_area.log_ratio"] == pytest.approx(found.estimate)
    missed = [
        int(row["never_reached"])
        for row in made.records["endpoints"]
        if row["method"] == "fixed:1.2"
    ]
    assert missed == [3] * 8


def test_values_are_means_over_all_seeds(study: list[CellResult], made: Results) -> None:
    row = next(
        one
        for one in made.records["values"]
        if one["method"] == "baseline" and one["backbone"] == "vgg13"
    )
    own = [
        result.id["accuracy"]
        for result in study
        if result.method == "baseline"
        and all(result.request[name] == row[name] for name in ("paradigm", "step_mode", "backbone"))
    ]
    assert row["accuracy"] == pytest.approx(np.mean(own))
    assert len(own) == row["seeds"] == 3
    assert "energy, nJ" in header(table(made, "Values"))


def test_the_controller_is_read_from_its_history(cell: Cell) -> None:
    found = controlled(cell("ahsar"))
    assert found == {
        "log_rate_spread": 0.1,
        "saturated_fraction": 0.0,
        "largest_deviation": pytest.approx(0.2),
        "diffusion_to_reaction": pytest.approx(0.25),
        "relaxation_to_reaction": pytest.approx(0.5),
        "gain": 1.1,
        "last_rate": 0.0005,
        "silent_layers": 1.0,
    }
    plain = controlled(cell("baseline"))
    assert plain["log_rate_spread"] == 0.2
    assert [name for name, value in plain.items() if value is not None] == [
        "log_rate_spread",
        "last_rate",
        "silent_layers",
    ]
    assert set(controlled(cell("baseline", id=scored(0.9))).values()) == {0.2, None}


def test_the_controllers_table_stands_beside_the_baseline(made: Results) -> None:
    rows = of_cells(table(made, "The controller"))
    assert [row[0] for row in rows[:5]] == [
        "baseline",
        "AHSAR",
        "AHSAR(no RT)",
        "AHSAR(no DH)",
        "frozen",
    ]
    assert rows[0][2:5] == ["0.200", "–", "–"]
    assert rows[1] == [
        "AHSAR",
        "3",
        "0.100",
        "0.500",
        "–",
        "0.000",
        "0.200",
        "0.25",
        "0.50",
        "1.100",
        "0.0005",
        "1.0",
    ]


def searched(cell: Cell) -> list[CellResult]:
    settings: list[tuple[dict[str, float], float]] = [
        ({}, 1.0),
        ({"beta": 0.2}, 0.8),
        ({"beta": 0.3}, 1.2),
    ]
    found = []
    for backbone in ("vgg13", "resnet18"):
        for seed in range(3):
            luck = 1 + 0.05 * seed + 0.1 * (backbone == "vgg13")
            found.append(
                cell(
                    "baseline",
                    seed,
                    validation=[2 * luck, luck],
                    train=[2.0, 1.0],
                    backbone=backbone,
                )
            )
            for place, (controller, factor) in enumerate(settings):
                area = luck * factor * (1 + 0.01 * ((seed + place) % 3))
                found.append(
                    cell(
                        "ahsar",
                        seed,
                        validation=[2 * area, area],
                        train=[2.0, 1.0],
                        backbone=backbone,
                        controller=controller,
                    )
                )
    return found


def test_a_search_is_sorted_by_its_objective(cell: Cell) -> None:
    cells = searched(cell)
    made = results(cells, replicates=299)
    rows = of_cells(made.tables()[-1])
    assert made.tables()[-1].title.startswith("Search")
    assert [row[0] for row in rows] == ["AHSAR beta=0.2", "AHSAR", "AHSAR beta=0.3"]
    expected = np.log(0.8) + np.mean(np.log([1.01, 1.02, 1.0]))
    assert rows[0][1:3] == [f"−{-expected:.4f}", f"{np.exp(expected):.3f}"]
    assert rows[0][-2:] == ["2", "6"]
    assert [row["method"] for row in made.records["search"]] == [
        "ahsar beta=0.2",
        "ahsar",
        "ahsar beta=0.3",
    ]
    assert made.tables()[0].title.startswith("Claims")  # of the defaults
    others = results(
        [one for one in cells if one.method == "baseline" or one.request["controller"]]
    )
    assert not any(one.title.startswith("Claims") for one in others.tables())
    assert any(note.startswith("No claims") for note in others.notes)


def test_a_setting_is_compared_with_the_defaults_pair_by_pair(cell: Cell) -> None:
    """Against the baseline both settings differ by seed alike; against each other the
    seeds cancel."""
    areas = {0: 1.0, 1: 2.0, 2: 4.0}
    cells = [cell("baseline", seed, train=[3.0, 3.0]) for seed in areas]
    cells += [cell("ahsar", seed, train=[area, area]) for seed, area in areas.items()]
    cells += [
        cell("ahsar", seed, train=[0.5 * area, 0.5 * area], controller={"beta": 0.2})
        for seed, area in areas.items()
    ]
    rows = {row["method"]: row for row in results(cells).records["search"]}
    assert rows["ahsar beta=0.2"]["defaults.log_ratio"] == pytest.approx(math.log(0.5))
    assert rows["ahsar beta=0.2"]["log_ratio"] == pytest.approx(
        np.mean(np.log(np.array([0.5, 1.0, 2.0]) / 3))
    )
    assert rows["ahsar"]["defaults.log_ratio"] is None


def test_who_never_arrived_is_counted_at_matched_seeds(cell: Cell) -> None:
    """Targets: .6 of the baseline at seed 0 is the mean of .9 and .3, and so on; the method has
    seed 0 alone.
    """
    cells = [
        cell("baseline", seed, accuracies=[0.1, 0.1, final])
        for seed, final in ((0, 0.3), (1, 0.9), (2, 0.3))
    ]
    in_time = cell("ahsar-no-rt", 0, accuracies=[0.1, 0.1, float(np.mean([0.9, 0.3]))])
    made = results([*cells, cell("ahsar", 0, accuracies=[0.1, 0.1, 0.2]), in_time])
    row, other = made.records["endpoints"]
    assert (other["seeds"], other["never_reached"], other["baseline_never_reached"]) == (1, 0, 1)
    assert of_cells(table(made, "Primary"))[0][-1] == "1 / 1"
    assert (row["seeds"], row["never_reached"], row["baseline_never_reached"]) == (1, 1, 1)


def test_one_setting_for_all_is_said_and_is_no_search(cell: Cell) -> None:
    made = results(
        [
            cell(),
            cell("ahsar", controller={"beta": 0.2}),
            cell("ahsar-no-rt", controller={"beta": 0.2}),
        ]
    )
    assert "Every controller has beta 0.2." in made.notes
    assert "search" not in made.records


def test_what_is_missing_is_said(study: list[CellResult], cell: Cell) -> None:
    broken = {
        "key": "k",
        "request": cell("ahsar", 7).request,
        "error": "the training loss is nan",
        "kind": "TrainingDivergedError",
    }
    some = [
        one
        for one in study
        if not (one.method == "baseline" and one.seed == 2 and one.request["backbone"] == "vgg13")
    ]
    found = results(some, [broken], ["digits rate m vgg13 ahsar T=6 seed 9"])
    said = " ".join(found.notes)
    assert "1 cells failed: digits bptt m vgg13 ahsar seed 7 (the training loss is nan)." in said
    assert "1 cells have no result yet: digits rate m vgg13 ahsar T=6 seed 9." in said
    assert f"{4 * 6} trainings have no baseline" in said
    assert found.records["failed"][0]["error"] == "the training loss is nan"
    assert of_cells(table(found, "Table 1"))[0][-2:] == ["3", "6"]
    vgg = next(row for row in of_cells(table(found, "Table 1")) if row[2] == "VGGNet-13")
    assert vgg[-2:] == ["2", "6"]


def test_little_is_enough(cell: Cell) -> None:
    alone = results([cell("ahsar")])
    assert [one.title.split(",")[0] for one in alone.tables()] == [
        "Values",
        "The controller at the end of training",
    ]
    assert any(note.startswith("No baseline") for note in alone.notes)
    pair = results([cell("ahsar"), cell()])
    assert pair.records["claims"][0]["p"] is None
    assert "One combination: its claims are of other seeds, and of no other setting." in pair.notes
    with pytest.raises(DataError, match=r"no result yet \(0 cells failed\)"):
        results([])


def test_every_form_of_the_tables(made: Results, tmp_path: Path) -> None:
    assert "Table 1: Δ top-1 accuracy on the ID set" in made.to_text()
    assert made.to_markdown().count("### ") == len(made.tables())
    assert made.to_latex().count(r"\begin{table}") == len(made.tables())
    shown = json.loads(made.to_json())
    provenance = shown.pop("provenance")
    assert provenance["notes"] == made.notes
    assert shown == {name: rows for name, rows in made.records.items() if name != "courses"}
    assert made.to_csv() == csv_text(made.records["deltas"])
    assert len(made.frame) > 168
    assert {file.name for file in made.save(tmp_path)} == {
        *("study.json", "study.csv", "study.md", "study.tex")
    }
    for lines in made.records.values():
        assert len(list(csv.DictReader(io.StringIO(csv_text(lines))))) == len(lines)


@pytest.mark.parametrize("width", [100, 80])
def test_no_table_is_wider_than_the_terminal(made: Results, cell: Cell, width: int) -> None:
    for one in (made, results(searched(cell))):
        assert max(map(len, one.to_text(width=width).splitlines())) <= width


def test_the_same_results_give_the_same_tables(study: list[CellResult], made: Results) -> None:
    again = results(study[::-1], replicates=499)
    assert again.to_text() == made.to_text()
    assert again.notes == made.notes


def test_courses_are_means_and_ranges_over_seeds(cell: Cell) -> None:
    made = [
        cell("baseline", 0, train=[4.0, 2.0], validation=[3.0, 1.0]),
        cell("baseline", 1, train=[2.0, 1.0], validation=[5.0, 2.0]),
    ]
    made += [
        cell("fixed:0.8", 0, train=[1.0, 1.0]),
        cell("fixed:0.8", 1, train=[1.0, 1.0]),
        cell("ahsar-no-rt", 0, train=[1.0, 1.0]),
    ]
    points = convergence_points(results(made))
    assert list(points) == ["panel", "method", "quantity", "steps", "value", "low", "high"]
    assert set(points.panel) == {"BPTT, m, VGGNet-13"}
    assert list(dict.fromkeys(points.method)) == ["baseline", "best fixed factor"]
    first = points[points.method == "baseline"].set_index("quantity")
    training, validation = first.loc["training_loss"], first.loc["validation_nll"]
    assert (training.steps.tolist(), validation.steps.tolist()) == ([5.0, 15.0], [10.0, 20.0])
    assert training.value.tolist() == [3.0, 1.5]
    assert (training.low.tolist(), training.high.tolist()) == ([2.0, 1.0], [4.0, 2.0])
    assert validation.value.tolist() == [4.0, 1.5]
    assert np.isnan(convergence_points(results(made[:1])).low).all()
    several = results([cell("ahsar", controller={"beta": beta}) for beta in (0.1, 0.2)])
    assert set(convergence_points(several).method) == {"AHSAR beta=0.1", "AHSAR beta=0.2"}
    two_times = [cell("baseline", timesteps=steps, data=f"d{steps}") for steps in (4, 6)]
    panels = {"d4, BPTT, m, VGGNet-13, T=4", "d6, BPTT, m, VGGNet-13, T=6"}
    assert set(convergence_points(results(two_times)).panel) == panels
    with pytest.raises(DataError, match="other numbers of optimisation steps"):
        convergence_points(results([cell("baseline", 0), cell("baseline", 1, steps=11)]))


def test_a_study_without_a_method_of_the_figure_has_none(cell: Cell) -> None:
    ((stem, pages, points),) = list(convergence(results([cell(), cell("ahsar")])))
    assert (stem, len(pages), set(points.method)) == ("convergence", 1, {"baseline", "AHSAR"})
    assert list(convergence(results([cell("ahsar-no-rt")]))) == []


def test_numbers_for_readers() -> None:
    assert [p_text(value) for value in (0.0004, 0.03)] == ["< 0.001", "0.030"]
    assert [ratio(value) for value in (0.0, -0.105, 8.0)] == ["1.000", "0.900", "> 1,000"]
