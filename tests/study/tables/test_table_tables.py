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
from ahsar_eval.results.document import Table, texts_of
from ahsar_eval.results.tables import csv_text, json_text
from ahsar_eval.study.controller_table import observed
from ahsar_eval.study.deltas import delta_tables, deltas
from ahsar_eval.study.endpoint_tables import primary_table
from ahsar_eval.study.figures import convergence_courses, course_order, save_study_figures
from ahsar_eval.study.matching import matched
from ahsar_eval.study.results import CellFailure, CellResult
from ahsar_eval.study.search import search_lines, search_table
from ahsar_eval.study.statistics import student
from ahsar_eval.study.tables import StudyTables, study_tables
from ahsar_eval.study.texts import counts, number, p_text, ratio, ratio_span, signed, signed_span

Cell = Callable[..., CellResult]
FACTS: dict[str, Any] = {
    "command": "c",
    "time": "t",
    "threads": 1,
    "versions": {},
    "checkpoints": [],
}


@pytest.fixture(scope="module")
def made(study: list[CellResult]) -> StudyTables:
    return study_tables(study, replicates=499)


def table(made: StudyTables, start: str) -> Table:
    (found,) = [one for one in made.tables if one.title.startswith(start)]
    return found


def of_cells(found: Table) -> list[list[str]]:
    return [list(row) for row in found.body if len(row) > 1]


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
    found = {one.quantity: one for one in deltas(matched(made))}
    assert found["accuracy"].mean == pytest.approx(3.0)
    assert found["shifted_accuracy"].mean == pytest.approx(15.0)
    assert found["auroc"].mean == pytest.approx(10.0)
    assert found["fpr95"].mean == pytest.approx(-15.0)
    assert found["shifted_auroc"].mean == 0.0
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx(
        (3 - 12.706, 3 + 12.706), abs=1e-3
    )  # t(1) of 2 and 4
    assert (found["accuracy"].seeds, found["accuracy"].epochs, found["accuracy"].paper) == (
        2,
        3,
        1.06,
    )


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
    study = matched(made)
    found = delta_tables(study, deltas(study))[0]
    assert found.title.startswith("Table 1: Δ top-1 accuracy")
    assert found.header[:4] == ["paradigm", "step mode", "backbone", "method"]
    assert found.header[4::3] == ["Δ event T=6", "Δ rgb T=6", "Δ rgb T=8", "seeds"]
    assert found.header[-2:] == ["seeds", "epochs"]
    rows = of_cells(found)
    assert [row[:4] for row in rows] == [
        ["BPTT", "m", "VGGNet-13", "AHSAR"],
        ["", "", "", "AHSAR(no RT)"],
        ["", "", "", "frozen"],
        ["", "", "", "best fixed (its factor)"],
        ["Rate", "s", "ResNet-18", "AHSAR"],
        ["", "", "", "AHSAR(no RT)"],
        ["", "", "", "frozen"],
        ["", "", "", "best fixed (1)"],
    ]
    assert rows[0][4:] == [
        "+2.10",
        "+0.83 … +3.37",
        "+0.43",
        "+2.10",
        "+0.83 … +3.37",
        "+1.06",
        "+2.10",
        "+0.83 … +3.37",
        "+1.85",
        "2",
        "3",
    ]
    assert rows[1][6::3] == ["+0.20", "+0.61", "+1.42"]
    assert rows[3][4::3] == ["+3.15 (0.8)", "+3.15 (0.8)", "0.00 (1)", "2"]
    assert rows[4][4:] == [
        "+2.00",
        "–",
        "+1.15",
        "+2.00",
        "–",
        "+1.37",
        "+2.00",
        "–",
        "+1.95",
        "1",
        "3",
    ]  # one seed: no interval
    assert list(found.body).count(["---"]) == 1


def test_columns_are_named_by_their_set_where_a_modality_has_two(cell: Cell) -> None:
    study = matched(
        [
            cell(method, data=data)
            for method in ("baseline", "ahsar")
            for data in ("digits", "mnist")
        ]
    )
    assert delta_tables(study, deltas(study))[0].header[4::3] == [
        "Δ rgb digits T=6",
        "Δ rgb mnist T=6",
        "seeds",
    ]


def test_settings_that_a_set_or_backbone_brings_along_make_no_column(cell: Cell) -> None:
    places = [
        {"data": "digits", "batch_size": 64, "input_shape": [1, 16, 16]},
        {"data": "digits-dvs", "modality": "event", "batch_size": 32, "input_shape": [2, 17, 17]},
        {"data": "digits", "batch_size": 128, "backbone": "resnet18"},
    ]
    study = matched([cell(method, **place) for method in ("baseline", "ahsar") for place in places])
    (found,) = [
        one for one in delta_tables(study, deltas(study)) if one.title.startswith("Table 1")
    ]
    assert found.header[4::3] == ["Δ event T=6", "Δ rgb T=6", "seeds"]
    rows = of_cells(found)
    assert [row[4::3] for row in rows] == [["–", "0.00", "1"], ["0.00", "0.00", "1"]]
    assert [row[2] for row in rows] == ["ResNet-18", "VGGNet-13"]
    two = matched(
        [
            cell(method, learning_rate=rate)
            for method in ("baseline", "ahsar")
            for rate in (0.01, 0.001)
        ]
    )
    assert delta_tables(two, deltas(two))[0].header[4::3] == [
        "Δ rgb T=6 learning_rate=0.001",
        "Δ rgb T=6 learning_rate=0.01",
        "seeds",
    ]


def test_everything_that_a_study_says_is_there(made: StudyTables) -> None:
    assert [one.title.split(",")[0].split(":")[0] for one in made.tables] == [
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
    assert {name: len(lines) for name, lines in made.rows.items()} == {
        "claims": 9,
        "endpoints": 8 * 6,
        "deltas": 8 * 5 * 6,
        "values": 8 * 7,
        "controller": 8 * 5,
        "cells": 168,
    }


def test_claims_say_who_is_faster(made: StudyTables) -> None:
    claimed = table(made, "Claims")
    assert [row[-1] for row in claimed.body[:6]] == ["faster"] * 3 + ["slower"] * 3
    assert {(row, column) for row in range(6) for column in (7, 8)} <= claimed.best
    for place, row in enumerate(made.rows["claims"]):
        assert claimed.body[place][2] == f"{np.exp(row['log_ratio']):.3f}"
        assert (
            (row["p_holm"] < 0.05)
            == ((place, 8) in claimed.best)
            == (row["verdict"] != "not shown")
        )


def test_primary_endpoints_are_ratios_with_students_interval(
    study: list[CellResult], made: StudyTables
) -> None:
    primary = table(made, "Primary")
    assert list(primary.body[0]) == ["# digits, BPTT, s, ResNet-18, T=6"]
    first = primary.body[1]
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
    assert first[:4] == ["AHSAR", "3", ratio(found.estimate), ratio_span(found.low, found.high)]
    assert [row[0] for row in primary.body[1:7]] == [
        "AHSAR",
        "AHSAR(no RT)",
        "AHSAR(no DH)",
        "frozen",
        "fixed:0.8 *",
        "fixed:1.2",
    ]
    assert made.rows["endpoints"][0]["train_area.log_ratio"] == pytest.approx(found.estimate)
    missed = [
        int(row["never_reached"]) for row in made.rows["endpoints"] if row["method"] == "fixed:1.2"
    ]
    assert missed == [3] * 8


def test_values_are_means_over_all_seeds(study: list[CellResult], made: StudyTables) -> None:
    row = next(
        one
        for one in made.rows["values"]
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
    assert "energy, nJ" in table(made, "Values").header


def test_the_controller_is_read_from_its_history(cell: Cell) -> None:
    found = observed(cell("ahsar"))
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
    plain = observed(cell("baseline"))
    assert plain["log_rate_spread"] == 0.2
    assert [name for name, value in plain.items() if value is not None] == [
        "log_rate_spread",
        "last_rate",
        "silent_layers",
    ]
    assert set(observed(cell("baseline", id=scored(0.9))).values()) == {0.2, None}


def test_the_controllers_table_stands_beside_the_baseline(made: StudyTables) -> None:
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
    results = searched(cell)
    found = search_table(results, replicates=299)
    assert [row[0] for row in found.body] == ["AHSAR beta=0.2", "AHSAR", "AHSAR beta=0.3"]
    expected = np.log(0.8) + np.mean(np.log([1.01, 1.02, 1.0]))
    assert found.body[0][1:3] == [signed(expected, 4), f"{np.exp(expected):.3f}"]
    assert found.body[0][-2:] == ["2", "6"]
    made = study_tables(results, replicates=299)
    assert made.tables[-1] == found
    assert [row["method"] for row in made.rows["search"]] == [
        "ahsar beta=0.2",
        "ahsar",
        "ahsar beta=0.3",
    ]
    assert made.tables[0].title.startswith("Claims")  # of the defaults
    others = study_tables(
        [one for one in results if one.method == "baseline" or one.request["controller"]],
        replicates=99,
    )
    assert not any(one.title.startswith("Claims") for one in others.tables)
    assert any(note.startswith("No claims") for note in others.notes)


def test_a_setting_is_compared_with_the_defaults_pair_by_pair(cell: Cell) -> None:
    """Against the baseline both settings differ by seed alike; against each other the
    seeds cancel."""
    areas = {0: 1.0, 1: 2.0, 2: 4.0}
    results = [cell("baseline", seed, train=[3.0, 3.0]) for seed in areas]
    results += [cell("ahsar", seed, train=[area, area]) for seed, area in areas.items()]
    results += [
        cell("ahsar", seed, train=[0.5 * area, 0.5 * area], controller={"beta": 0.2})
        for seed, area in areas.items()
    ]
    rows = {row["method"]: row for row in search_lines(matched(results))[1]}
    assert rows["ahsar beta=0.2"]["defaults.log_ratio"] == pytest.approx(math.log(0.5))
    assert rows["ahsar beta=0.2"]["log_ratio"] == pytest.approx(
        np.mean(np.log(np.array([0.5, 1.0, 2.0]) / 3))
    )
    assert rows["ahsar"]["defaults.log_ratio"] is None


def test_who_never_arrived_is_counted_at_matched_seeds(cell: Cell) -> None:
    """Targets: .6 of the baseline at seed 0 is the mean of .9 and .3, and so on; the method has
    seed 0 alone.
    """
    results = [
        cell("baseline", seed, accuracies=[0.1, 0.1, final])
        for seed, final in ((0, 0.3), (1, 0.9), (2, 0.3))
    ]
    results.append(cell("ahsar", 0, accuracies=[0.1, 0.1, 0.2]))
    (row,) = primary_table(matched(results))[1]
    assert (row["seeds"], row["never_reached"], row["baseline_never_reached"]) == (1, 1, 1)


def test_one_setting_for_all_is_said_and_is_no_search(cell: Cell) -> None:
    made = study_tables(
        [
            cell(),
            cell("ahsar", controller={"beta": 0.2}),
            cell("ahsar-no-rt", controller={"beta": 0.2}),
        ],
        replicates=99,
    )
    assert "Every controller has beta 0.2." in made.notes
    assert "search" not in made.rows


def test_what_is_missing_is_said(study: list[CellResult], cell: Cell) -> None:
    broken = CellFailure(
        "k", cell("ahsar", 7).request, "the training loss is nan", "TrainingDivergedError"
    )
    some = [
        one
        for one in study
        if not (one.method == "baseline" and one.seed == 2 and one.request["backbone"] == "vgg13")
    ]
    found = study_tables(
        some, [broken], missing=["digits rate m vgg13 ahsar T=6 seed 9"], replicates=99
    )
    said = " ".join(found.notes)
    assert "1 cells failed: digits bptt m vgg13 ahsar seed 7 (the training loss is nan)." in said
    assert "1 cells have no result yet: digits rate m vgg13 ahsar T=6 seed 9." in said
    assert f"{4 * 6} trainings have no baseline" in said
    assert found.rows["failed"][0]["error"] == "the training loss is nan"
    assert of_cells(table(found, "Table 1"))[0][-2:] == ["3", "6"]
    vgg = next(row for row in of_cells(table(found, "Table 1")) if row[2] == "VGGNet-13")
    assert vgg[-2:] == ["2", "6"]


def test_little_is_enough(cell: Cell) -> None:
    alone = study_tables([cell("ahsar")], replicates=99)
    assert [one.title.split(",")[0] for one in alone.tables] == [
        "Values",
        "The controller at the end of training",
    ]
    assert any(note.startswith("No baseline") for note in alone.notes)
    pair = study_tables([cell("ahsar"), cell()], replicates=99)
    assert pair.rows["claims"][0]["p"] is None
    assert "One combination: its claims are of other seeds, and of no other setting." in pair.notes
    with pytest.raises(DataError, match=r"no result yet \(0 cells failed\)"):
        study_tables([])


def test_every_form_of_the_tables(made: StudyTables) -> None:
    texts = texts_of(made.tables, made.notes, FACTS)
    assert "Table 1: Δ top-1 accuracy on the ID set" in texts["table"]
    assert texts["markdown"].count("\n### ") == len(made.tables) - 1
    assert texts["latex"].count(r"\begin{table}") == len(made.tables)
    assert json.loads(json_text(made.rows)) == made.rows
    for lines in made.rows.values():
        assert len(list(csv.DictReader(io.StringIO(csv_text(lines))))) == len(lines)


def test_the_same_results_give_the_same_tables(study: list[CellResult], made: StudyTables) -> None:
    again = study_tables(study[::-1], replicates=499)
    assert again.tables == made.tables
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
    first, second = convergence_courses(made)
    assert (first.method, first.panel, second.method) == (
        "baseline",
        "BPTT, m, VGGNet-13",
        "best fixed factor",
    )
    assert (first.training_steps.tolist(), first.validation_steps.tolist()) == (
        [5.0, 15.0],
        [10.0, 20.0],
    )
    assert first.training_loss.value.tolist() == [3.0, 1.5]
    assert (first.training_loss.low.tolist(), first.training_loss.high.tolist()) == (
        [2.0, 1.0],
        [4.0, 2.0],
    )
    assert first.validation_nll.value.tolist() == [4.0, 1.5]
    (alone,) = convergence_courses(made[:1])
    assert np.isnan(alone.training_loss.low).all()
    assert course_order(made)[:4] == ["baseline", "AHSAR", "frozen", "best fixed factor"]
    with pytest.raises(DataError, match="other numbers of optimisation steps"):
        convergence_courses([cell("baseline", 0), cell("baseline", 1, steps=11)])


def test_the_figure_lies_beside_its_points(cell: Cell, tmp_path: Path) -> None:
    made = [cell(method, seed) for method in ("baseline", "ahsar") for seed in (0, 1)]
    assert [path.name for path in save_study_figures(made, tmp_path, "svg")] == [
        "convergence.svg",
        "convergence.csv",
    ]
    assert save_study_figures([cell("ahsar-no-rt")], tmp_path) == []


def test_numbers_for_readers() -> None:
    assert [signed(value) for value in (0.5, -0.5, 0.001, -0.001, None)] == [
        "+0.50",
        "−0.50",
        "0.00",
        "0.00",
        "–",
    ]
    assert signed(0.004, 3) == "+0.004"
    assert signed_span(-1.0, 2.0) == "−1.00 … +2.00"
    assert (
        signed_span(None, 2.0)
        == ratio_span(0.0, None)
        == ratio(None)
        == p_text(None)
        == number(None)
        == "–"
    )
    assert [ratio(value) for value in (0.0, -0.105, 8.0)] == ["1.000", "0.900", "> 1,000"]
    assert ratio_span(-0.105, 0.0) == "0.900 … 1.000"
    assert [p_text(value) for value in (0.0004, 0.03)] == ["< 0.001", "0.030"]
    assert [counts(values) for values in ([5, 5], [3, 5, 4], [])] == ["5", "3–5", "–"]
    assert [number(value, 1) for value in (1234.56, -1.0, float("nan"))] == ["1,234.6", "−1.0", "–"]
