"""Energy as tables and rows: what is bold, how changes are written, what every row of a file says
of itself.
"""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ahsar_eval.energy import PartEnergy, estimate, profile_of
from ahsar_eval.energy.curve import ScalePoint, with_fronts
from ahsar_eval.energy.shift import contrasts_of, mean_under_shift, samples_of, under_shift
from ahsar_eval.evaluation.energy import EnergyStudy
from ahsar_eval.recording import LayerActivity, Recording, SynapseActivity
from ahsar_eval.recording.activity import NeuronModel
from ahsar_eval.report.energy_document import energy_texts, memory_table
from ahsar_eval.report.energy_report import (
    LAYER_HEADER,
    TOTAL_HEADER,
    best_cells,
    energy_notes,
    energy_tables,
    layer_table,
    merits,
    operation_table,
)
from ahsar_eval.report.energy_shift_report import (
    SCALE_HEADER,
    SHIFT_HEADER,
    scale_table,
    shift_tables,
    study_notes,
)
from ahsar_eval.results.tables import csv_text

FACTS = {
    "command": "ahsar-eval energy",
    "time": "now",
    "threads": 1,
    "versions": {},
    "checkpoints": [],
}
RIGHT, WRONG = [[1, 0]], [[0, 1]]


def recorded(
    synops: list[int], right: list[bool], shift: str | None = None, severity: int = 0
) -> Recording:
    """Four steps: 100 MACs on values, spikes behind them; every label is 0."""
    name = "letters" if shift is None else f"letters:{shift}:{severity}"
    split = {
        "name": name,
        "shift": shift,
        "severity": severity,
        "labels_preserved": True,
        "label_space": "letters",
        "modality": "image",
    }
    return Recording(
        split=split,
        spec={"timesteps": 4},
        thresholds={"lif": 1.0},
        logits=np.array([RIGHT if each else WRONG for each in right], dtype=np.float32),
        labels=np.zeros(len(right), dtype=np.int64),
        layers=(
            LayerActivity(
                "lif",
                (10,),
                np.array(synops) // 10,
                np.full(10, 0.2),
                NeuronModel("LIFNode", True, "subtract", True),
            ),
        ),
        synapses=(
            SynapseActivity("conv1", "analog", "input", np.full(len(right), 90), 100, 1),
            SynapseActivity("conv2", "spikes", "lif", np.array(synops), 10, 4),
        ),
    )


def result(
    synops: list[int],
    right: list[bool],
    checkpoint: str,
    profile: str = "45nm-fp32",
    **options: Any,
) -> Any:
    return estimate(recorded(synops, right), profile_of(profile), checkpoint=checkpoint, **options)


THRIFTY = result([40, 20], [True, True], "thrifty")
WASTEFUL = result([80, 60], [True, False], "wasteful")
WRONG_BUT_CHEAP = result([10, 10], [False, False], "silent")


def study(*names: str, shift: bool = True, profile: str = "45nm-fp32") -> EnergyStudy:
    """Networks of which every next one spikes more, on the set as it is and under fog at two
    severities.
    """
    clean, shifted, before, curves = [], [], [], []
    for place, name in enumerate(names):
        base, kinds = recorded([40 + 40 * place, 20], [True, place == 0]), (1, 2)
        clean.append(estimate(base, profile_of(profile), checkpoint=name))
        before.append(samples_of(clean[-1], base))
        found = []
        for severity in kinds:
            foggy = recorded([30 + 40 * place, 25 * severity], [True, False], "fog", severity)
            found.append(
                under_shift(
                    estimate(foggy, profile_of(profile), checkpoint=name), foggy, clean[-1], base
                )
            )
        shifted.append([*found, mean_under_shift(found, before[-1], "letters:fog:1–2")])
        other = result([200, 200], [True, False], name, profile, thresholds="scale 0.5")
        curves.append(
            [ScalePoint(name, None, True, clean[-1]), ScalePoint(name, 0.5, False, other)]
        )
    contrasts = (
        [
            found
            for a, b in zip(*shifted, strict=True)
            for found in contrasts_of(a, b, (before[0], before[1]))
        ]
        if len(names) == 2
        else []
    )
    return EnergyStudy(
        profile=profile,
        clean=tuple(clean),
        shifted=tuple(one for of_one in shifted for one in of_one) if shift else (),
        contrasts=tuple(contrasts) if shift else (),
        curve=tuple(with_fronts(curves)) if shift else (),
        conventions=((),) * len(names),
        ledgers=((),) * len(names),
    )


def texts(*studies: EnergyStudy, **options: Any) -> dict[str, str]:
    return energy_texts(
        studies, **{"notes": ["of the set"], "facts": FACTS, "plain": False, **options}
    )


def test_low_energy_is_bold_only_where_nothing_is_more_accurate():
    assert merits([THRIFTY, WASTEFUL]) == [(True, True), (False, False)]
    assert merits([WRONG_BUT_CHEAP, THRIFTY]) == [(False, False), (True, False)]
    assert merits([THRIFTY]) == [(False, False)]
    assert merits([THRIFTY, WASTEFUL, replace(WASTEFUL, accuracy=None)]) == [(False, False)] * 3
    accuracy, energy = TOTAL_HEADER.index("accuracy"), TOTAL_HEADER.index("nJ per inference")
    assert best_cells([WASTEFUL, THRIFTY]) == {(1, accuracy), (1, energy)}
    assert best_cells([WRONG_BUT_CHEAP, THRIFTY]) == {(1, accuracy)}


def test_the_layers_of_a_network_add_up_to_its_total():
    *rows, _, total = layer_table(THRIFTY)
    assert [row[0] for row in rows] == ["conv1", "conv2", "spiking layers"]
    number = {name: place for place, name in enumerate(LAYER_HEADER)}

    def column(row: list[str], name: str) -> float:
        text = row[number[name]]
        return 0.0 if text == "–" else float(text.replace(",", ""))

    for name in ("SynOps (AC)", "MACs", "neuron updates", "pJ synapses", "pJ neurons", "pJ total"):
        assert sum(column(row, name) for row in rows) == pytest.approx(column(total, name))
    # 100 MACs, 30 SynOps; 40 updates of a leak (3.7), an addition and a comparison (0.9 each), 3
    # resets.
    assert column(total, "pJ synapses") == pytest.approx(460 + 27)
    assert column(total, "pJ neurons") == pytest.approx(40 * 5.5 + 3 * 0.9)
    assert column(total, "neuron updates") == 40


def test_operations_stand_side_by_side():
    rows = operation_table([THRIFTY, WASTEFUL])
    assert rows[0] == ["synapses: mac, dense", "100.0", "100.0"]
    assert ["synapses: ac, spikes", "30.0", "70.0"] in rows
    assert ["neurons: compare", "40.0", "40.0"] in rows
    more = replace(
        WASTEFUL, parts=(*WASTEFUL.parts, PartEnergy("add", "residual", "add", "spikes", 5.0, None))
    )
    assert operation_table([THRIFTY, more])[-1] == ["residual: add, spikes", "–", "5.0"]


def test_what_a_profile_does_not_price_is_said_with_its_amount():
    unpriced = result([40, 20], [True, True], "net", "loihi")
    (note,) = [note for note in energy_notes([unpriced]) if note.startswith("Not priced by loihi")]
    assert "in no sum of net: 100 mac of synapses, dense" in note
    assert not any("Not priced" in note for note in energy_notes([THRIFTY]))


def test_notes_name_profile_choices_and_what_is_left_out():
    said = " ".join(energy_notes([THRIFTY, WASTEFUL]))
    for words in (
        "Profile 45nm-fp32 (45 nm",
        "first layer once, MACs dense",
        "Not included: memory access",
        "Uncounted layers of wasteful",
    ):
        assert words in said
    assert (
        "Bold: the highest accuracy; the lowest energy only where no other network is more accurate"
        in said
    )
    assert "Bold" not in " ".join(energy_notes([THRIFTY]))


def test_break_even_points_come_with_the_detail():
    titles = [
        [table.title for table in energy_tables([THRIFTY], detail=detail)]
        for detail in (False, True)
    ]
    assert set(titles[1]) - set(titles[0]) == {"published break-even points"}
    (table,) = [
        table
        for table in energy_tables([THRIFTY], detail=True)
        if table.title == "published break-even points"
    ]
    limits = [(row[3], row[4], row[5]) for row in table.body]
    assert limits[:2] == [("0.150", "3.000", "no"), ("1.380", "3.000", "no")]
    assert limits[2][2] == "–"  # it holds for five steps, and there are four


def test_the_shift_table_goes_from_clean_over_severities_to_their_mean():
    table, contrasts = shift_tables(study("a", "b"))
    cells = [row for row in table.body if row != ["---"]]
    assert [(row[0], row[1]) for row in cells] == [
        *[("letters", "a"), ("", "b"), ("letters:fog:1", "a"), ("", "b")],
        *[("letters:fog:2", "a"), ("", "b"), ("letters:fog:1–2", "a"), ("", "b")],
    ]
    change, span = SHIFT_HEADER.index("SynOps, change"), SHIFT_HEADER.index("SynOps, change") + 1
    assert [row[change] for row in cells[:4]] == [
        "–",
        "–",
        "−8.3 %",
        "−5.0 %",
    ]  # 30, 25 of 40, 20; 70, 25 of 80, 20
    assert cells[2][span].startswith("−")
    assert " … +" in cells[2][span]
    assert all(len(row) == len(SHIFT_HEADER) for row in cells)
    # a is right as often as b on fog, and cheaper; b is never bold for its energy.
    assert (2, 2) in table.best
    assert (2, 5) in table.best
    assert not any(row in (3, 5, 7) and column == 5 for row, column in table.best)
    assert contrasts.title == "Change of B against change of A; A: a, B: b"
    assert [row[0] for row in contrasts.body if row[0]] == [
        "letters:fog:1–2"
    ]  # its severities come with the detail
    accuracy = next(row for row in contrasts.body if row[1] == "accuracy")
    assert accuracy[2:5] == ["−0.500", "0.000", "+0.500"]
    detailed = shift_tables(study("a", "b"), detail=True)[1]
    assert [row[0] for row in detailed.body if row[0] not in ("", "---")] == [
        "letters:fog:1",
        "letters:fog:2",
        "letters:fog:1–2",
    ]
    synops = next(row for row in detailed.body if row[1:2] == ["SynOps"])
    assert synops[2:5] == ["−8.3 %", "−5.0 %", "+3.3 points"]


def test_layers_under_shift_come_with_the_detail():
    tables = shift_tables(study("a"), detail=True)
    assert [table.title for table in tables] == ["Energy under shift", "Layers of a under shift"]
    body = [row for row in tables[1].body if row != ["---"]]
    assert [row[0] for row in body] == ["conv1", "", "", "conv2", "", "", "lif", "", ""]
    assert [row[1] for row in body[:3]] == ["letters", "letters:fog:1", "letters:fog:2"]
    assert [row[5] for row in body[3:6]] == ["30.0", "27.5", "40.0"]
    assert [row[9] for row in body[3:6]] == ["–", "−8.3 %", "+33.3 %"]


def test_the_curve_marks_front_and_own_setting():
    table = scale_table(study("a", "b"))
    assert table is not None
    scale, front = SCALE_HEADER.index("threshold scale"), SCALE_HEADER.index("Pareto front")
    cells = [row for row in table.body if row != ["---"]]
    assert [(row[0], row[scale], row[front]) for row in cells] == [
        *[("a", "0.5", ""), ("", "replayed (own)", "all networks")],
        *[("b", "0.5", ""), ("", "replayed (own)", "yes")],
    ]
    assert scale_table(study("a", shift=False)) is None
    assert "Nothing is chosen here" in study_notes(study("a"))[-1]
    alone = scale_table(study("a"))
    assert alone is not None
    assert [row[front] for row in alone.body] == ["", "yes"]


def test_a_missing_accuracy_is_a_dash_and_a_note():
    found = study("a")
    lost = replace(
        found,
        shifted=tuple(
            replace(one, samples=replace(one.samples, accuracy=None)) for one in found.shifted
        ),
    )
    (table,) = shift_tables(lost)
    assert [row[2] for row in table.body if row != ["---"]] == ["1.000", "–", "–", "–"]
    assert any(note.startswith("– : no accuracy") for note in study_notes(lost))
    assert not any(note.startswith("– : no accuracy") for note in study_notes(found))


def test_plain_json_is_one_result_or_a_list_and_the_csv_sums_to_the_total():
    one, two = (texts(study(*names, shift=False), plain=True) for names in (("a",), ("a", "b")))
    assert json.loads(one["json"])["checkpoint"] == "a"
    assert [found["checkpoint"] for found in json.loads(two["json"])] == ["a", "b"]
    assert "per_sample_pj" not in json.loads(one["json"])
    rows = list(csv.DictReader(io.StringIO(two["csv"])))
    layers = [(row["checkpoint"], row["layer"]) for row in rows if row["row"] == "layer"]
    assert layers == [("a", "conv1"), ("a", "conv2"), ("b", "conv1"), ("b", "conv2")]
    for name in ("a", "b"):
        own = [row for row in rows if row["checkpoint"] == name]
        (total,) = [float(row["total_energy_pj"]) for row in own if row["row"] == "total"]
        summed = sum(
            float(row["energy_pj"] or 0)
            for row in own
            if row["row"] in ("layer", "neurons", "operations")
        )
        assert summed == pytest.approx(total, rel=1e-12)


def test_with_shifts_every_row_says_what_it_is_and_numbers_are_complete():
    found = study("a", "b")
    made = texts(found)
    content = json.loads(made["json"])
    assert list(content) == [
        "results",
        "shifts",
        "contrasts",
        "scales",
        "conventions",
        "ledger",
        "provenance",
    ]
    assert [(one["data"], one["kind"], one["severity"]) for one in content["shifts"][:3]] == [
        ("letters:fog:1", "set", 1),
        ("letters:fog:2", "set", 2),
        ("letters:fog:1–2", "mean", None),
    ]
    assert (
        content["shifts"][0]["changes"]["synops"]["value"]
        == found.shifted[0].changes["synops"].value
    )
    assert [layer["name"] for layer in content["shifts"][0]["layers"]] == ["conv1", "conv2", "lif"]
    assert content["shifts"][2]["layers"] == []
    rows = list(csv.DictReader(io.StringIO(made["csv"])))
    kinds = {row["row"] for row in rows}
    assert kinds == {
        "layer",
        "neurons",
        "account",
        "total",
        "shift",
        "shift layer",
        "contrast",
        "scale",
    }
    shift = next(row for row in rows if row["row"] == "shift")
    assert float(shift["synops_change"]) == found.shifted[0].changes["synops"].value
    assert float(shift["synops_change_high"]) == found.shifted[0].changes["synops"].high
    layers = [
        row for row in rows if row["row"] in ("layer", "neurons") and row["checkpoint"] == "a"
    ]
    total = next(row for row in rows if row["row"] == "total" and row["checkpoint"] == "a")
    assert sum(float(row["energy_pj"]) for row in layers) == pytest.approx(
        float(total["total_energy_pj"])
    )


def test_several_profiles_stand_below_one_another():
    made = texts(study("a", shift=False), study("a", shift=False, profile="45nm-int8"), plain=True)
    assert [found["profile"] for found in json.loads(made["json"])] == ["45nm-fp32", "45nm-int8"]
    assert "n = 2), 45nm-fp32" in made["table"]
    assert "n = 2), 45nm-int8" in made["table"]
    assert made["table"].count("Not included") == 1  # a note that holds for both is said once


def test_every_form_holds_the_shift_table():
    made = texts(study("a", "b"))
    assert "Energy under shift" in made["table"]
    assert "### Energy under shift" in made["markdown"]
    assert "letters:fog:1--2" in made["latex"]
    assert made["table"].rstrip().endswith("of the set")


def test_memory_is_a_table_of_its_own():
    table = memory_table([THRIFTY])
    assert table.title.endswith("45nm-fp32")
    assert "With memory access" in texts(study("a", shift=False), plain=True, memory=True)["table"]
    assert "With memory access" not in texts(study("a", shift=False), plain=True)["table"]


def test_csv_text_of_mixed_rows_leaves_cells_empty():
    assert csv_text([{"row": "a", "x": 1}, {"row": "b", "y": None}]) == "row,x,y\na,1,\nb,,\n"
