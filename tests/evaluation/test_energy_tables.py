"""Energy as tables and rows: what is bold, how changes are written, what every row of a file says
of itself; other tools' counts, where nothing is rounded that is exact.
"""

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from grids import best_of, body_of, header_of

from ahsar_eval.data import open_split
from ahsar_eval.energy.conventions import REASONS
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.energy.result import EnergyResult
from ahsar_eval.energy.shift import under_shift, with_means
from ahsar_eval.evaluation.energy_records import NetworkEnergy, point_of, records_of
from ahsar_eval.evaluation.energy_tables import ENERGY, per_inference, with_honest_best
from ahsar_eval.networks.checkpoints import network_of
from ahsar_eval.recording import Geometry, LayerActivity, Recording, SynapseActivity, record
from ahsar_eval.recording.activity import NeuronModel
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Table

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
        "set": "letters",
        "shift": shift,
        "severity": severity,
        "labels_preserved": True,
        "label_space": "letters",
        "modality": "image",
    }
    plain = Geometry("Linear", (1,), (1,), (1, 1), (), (), 1, False, False, 1)
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
            SynapseActivity("conv1", "analog", "input", np.full(len(right), 90), 100, 1, plain),
            SynapseActivity("conv2", "spikes", "lif", np.array(synops), 10, 4, plain),
        ),
    )


def result(
    synops: list[int],
    right: list[bool],
    checkpoint: str,
    profile: str = "45nm-fp32",
    **options: Any,
) -> EnergyResult:
    return estimate(recorded(synops, right), profile_of(profile), checkpoint=checkpoint, **options)


THRIFTY = result([40, 20], [True, True], "thrifty")
WASTEFUL = result([80, 60], [True, False], "wasteful")


def network(clean: EnergyResult, **found: Any) -> NetworkEnergy:
    """A network on the set as it is alone."""
    source = SimpleNamespace(identity="letters")
    plan: Any = SimpleNamespace(id_split=SimpleNamespace(source=source))
    return NetworkEnergy(plan, clean, **found)


def named(one: EnergyResult, name: str) -> EnergyResult:
    """The same of a network of another `name`, with {} where its own stands."""
    return replace(one, row={**one.row, "checkpoint": name.format(one.row["checkpoint"])})


def shown(*networks: NetworkEnergy | EnergyResult, **options: Any) -> Results:
    made = [network(one) if isinstance(one, EnergyResult) else one for one in networks]
    records, arrays = records_of([[one] for one in made])
    return Results(ENERGY, records, FACTS, ["of the set"], arrays=arrays, **options)


def compared(name: str, place: int, profile: str = "45nm-fp32") -> NetworkEnergy:
    """A network on the set as it is and under fog at two severities, and at two scales; the next
    `place` spikes more.
    """

    def priced(recording: Recording, **options: Any) -> EnergyResult:
        return estimate(recording, profile_of(profile), checkpoint=name, **options)

    base = recorded([40 + 40 * place, 20], [True, place == 0])
    clean, found = priced(base), []
    for severity in (1, 2):
        foggy = recorded([30 + 40 * place, 25 * severity], [True, False], "fog", severity)
        found.append(under_shift(priced(foggy), clean))
    other = priced(recorded([200, 200], [True, False]), thresholds="scale 0.5")
    return network(
        clean,
        shifted=with_means(found, clean.samples, "letters"),
        curve=[point_of(clean, None, True), point_of(other, 0.5, False)],
    )


A, B = compared("a", 0), compared("b", 1)


def table(results: Results, title: str, *, detail: bool = False) -> Table:
    (found,) = [one for one in results.tables(detail=detail) if one.title.startswith(title)]
    return found


def rows_of(found: Table) -> list[list[str]]:
    return [row for row in body_of(found) if row != ["---"]]


def test_low_energy_is_bold_only_where_nothing_is_more_accurate():
    def bold(*places: tuple[float | None, float]) -> list[set[str]]:
        rows = [{"data": "x", "accuracy": right, "total_energy_pj": pj} for right, pj in places]
        return [set(row["bold"]) for row in with_honest_best(rows)]

    both, none = {"accuracy", "total_energy_pj"}, set[str]()
    assert bold((1.0, 5.0), (0.5, 9.0)) == [both, none]
    assert bold((0.0, 1.0), (1.0, 5.0)) == [none, {"accuracy"}]
    assert bold((1.0, 5.0)) == [none]
    assert bold((1.0, 5.0), (0.5, 9.0), (None, 1.0)) == [none] * 3
    totals = table(shown(WASTEFUL, THRIFTY), "per inference on letters (n = 2), 45nm-fp32")
    header = header_of(totals)
    assert best_of(totals) == {(1, header.index("accuracy")), (1, header.index("nJ"))}


def test_the_layers_of_a_network_add_up_to_its_total():
    layers, neurons = shown(THRIFTY).tables()[:2]
    *rows, _, total = body_of(layers)
    assert [row[0] for row in rows] == ["conv1", "conv2", "spiking layers"]
    number = {name: at for at, name in enumerate(header_of(layers))}

    def column(row: list[str], name: str) -> float:
        text = row[number[name]]
        return 0.0 if text == "–" else float(text.replace(",", ""))

    for name in ("SynOps (AC)", "MACs", "pJ synapses", "pJ total"):
        assert sum(column(row, name) for row in rows) == pytest.approx(column(total, name))
    # 100 MACs, 30 SynOps; 40 updates of a leak (3.7), an addition and a comparison (0.9 each), 3
    # resets.
    assert column(total, "pJ synapses") == pytest.approx(460 + 27)
    assert column(rows[-1], "pJ total") == pytest.approx(40 * 5.5 + 3 * 0.9)
    one, _, every = body_of(neurons)
    assert one == ["lif", "10", "1.000", "0.075", "3.0", "40", "222.7"]
    assert every == ["total", "10", "–", "–", "3.0", "40", "222.7"]


def test_rows_of_a_recorded_network_sum_to_its_total_and_what_is_uncounted_is_listed(make_tiny):
    split = open_split("digits", (1, 16, 16)).only(0)
    recording = record(network_of(make_tiny()), split)
    priced = estimate(recording, profile_of("45nm-fp32"), checkpoint="tiny")
    found = SimpleNamespace(**priced.row)
    made = shown(priced)
    assert body_of(made.tables()[0])[-1][-1] == f"{found.total_energy_pj:,.1f}"
    weights = sum(row["energy_pj"] for row in made.records["layer"])
    assert weights == pytest.approx(found.totals_by_part["synapses"] + found.totals_by_part["bias"])
    others = [*made.records["neurons"], *made.records.get("operations", ())]
    every = weights + sum(row["energy_pj"] for row in others)
    assert every == pytest.approx(found.total_energy_pj)
    assert "Uncounted layers of tiny: none." in made.notes


def test_operations_stand_side_by_side():
    rows = body_of(table(shown(THRIFTY, WASTEFUL), "operations per inference"))
    assert rows[0] == ["synapses: mac, dense", "100.0", "100.0"]
    assert ["synapses: ac, spikes", "30.0", "70.0"] in rows
    assert ["neurons: compare", "40.0", "40.0"] in rows
    added = {"layer": "add", "part": "residual", "operation": "add", "detail": "spikes"}
    parts = [*WASTEFUL.row["parts"], {**added, "count": 5.0, "energy_pj": None}]
    more = replace(WASTEFUL, row={**WASTEFUL.row, "parts": parts})
    rows = body_of(table(shown(THRIFTY, more), "operations per inference"))
    assert rows[-1] == ["residual: add, spikes", "–", "5.0"]


def test_what_a_profile_does_not_price_is_said_with_its_amount():
    unpriced = shown(result([40, 20], [True, True], "net", "loihi")).notes
    (note,) = [note for note in unpriced if note.startswith("Not priced by loihi")]
    assert "in no sum of net: 100 mac of synapses, dense" in note
    assert not any("Not priced" in note for note in shown(THRIFTY).notes)


def test_notes_name_profile_choices_and_what_is_left_out():
    said = " ".join(shown(THRIFTY, WASTEFUL).notes)
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
    assert "Bold" not in " ".join(shown(THRIFTY).notes)
    assert said.endswith("of the set")


def test_break_even_points_come_with_the_detail():
    titles = [
        [one.title for one in shown(THRIFTY).tables(detail=detail)] for detail in (False, True)
    ]
    assert set(titles[1]) - set(titles[0]) == {"published break-even points"}
    points = rows_of(table(shown(THRIFTY), "published break-even points", detail=True))
    limits = [tuple(row[3:]) for row in points]
    assert limits[:2] == [("0.150", "3.000", "no"), ("1.380", "3.000", "no")]
    assert limits[2][2] == "–"  # it holds for five steps, and there are four


def test_the_shift_table_goes_from_clean_over_severities_to_their_mean():
    found = table(shown(A, B), "Energy under shift")
    assert [(row[0], row[1]) for row in rows_of(found)] == [
        *[("letters", "a"), ("", "b"), ("letters:fog:1", "a"), ("", "b")],
        *[("letters:fog:2", "a"), ("", "b"), ("letters:fog:1–2", "a"), ("", "b")],
    ]
    # a is right as often as b on fog, and cheaper; b is never bold for its energy.
    best = best_of(found)
    accuracy, energy = (header_of(found).index(name) for name in ("accuracy", "nJ"))
    assert {(2, accuracy), (2, energy)} <= best
    assert not any(row in (3, 5, 7) and column == energy for row, column in best)


def test_changes_stand_with_their_intervals():
    found = table(shown(A, B), "Change under shift, %")
    header, rows = header_of(found), rows_of(found)
    at = header.index("SynOps")
    assert header[at + 1] == "95 % interval"
    assert [row[at] for row in rows[:2]] == ["−8.3", "−5.0"]  # 30, 25 of 40, 20; 70, 25 of 80, 20
    assert rows[0][at + 1].startswith("−")
    assert " … +" in rows[0][at + 1]
    assert all(len(row) == len(header) for row in rows)


def test_the_changes_of_two_networks_are_compared():
    contrasts = table(shown(A, B), "Change of B against change of A")
    assert contrasts.title == "Change of B against change of A; A: a, B: b"
    # its severities come with the detail
    assert [row[0] for row in rows_of(contrasts) if row[0]] == ["letters:fog:1–2"]
    accuracy = next(row for row in rows_of(contrasts) if row[1] == "accuracy")
    assert accuracy[2:5] == ["−0.500", "0.000", "+0.500"]
    detailed = rows_of(table(shown(A, B), "Change of B against change of A", detail=True))
    assert [row[0] for row in detailed if row[0]] == [
        "letters:fog:1",
        "letters:fog:2",
        "letters:fog:1–2",
    ]
    synops = next(row for row in detailed if row[1] == "SynOps")
    assert synops[2:5] == ["−8.3 %", "−5.0 %", "+3.3 points"]


def test_layers_under_shift_come_with_the_detail():
    titles = [one.title for one in shown(A).tables(detail=True) if "under shift" in one.title]
    assert titles == ["Energy under shift", "Change under shift, %", "Layers of a under shift"]
    body = rows_of(table(shown(A), "Layers of a under shift", detail=True))
    assert [row[0] for row in body] == ["conv1", "", "", "conv2", "", "", "lif", "", ""]
    assert [row[1] for row in body[:3]] == ["letters", "letters:fog:1", "letters:fog:2"]
    assert [row[5] for row in body[3:6]] == ["30.0", "27.5", "40.0"]
    assert [row[9] for row in body[3:6]] == ["–", "−8.3", "+33.3"]


def test_the_curve_marks_front_and_own_setting():
    found = table(shown(A, B), "Accuracy and energy over the scale")
    scale, front = (header_of(found).index(name) for name in ("threshold scale", "Pareto front"))
    assert [(row[0], row[scale], row[front]) for row in rows_of(found)] == [
        *[("a", "0.5", ""), ("", "replayed (own)", "all networks")],
        *[("b", "0.5", ""), ("", "replayed (own)", "yes")],
    ]
    assert not any(one.title.startswith("Accuracy and") for one in shown(THRIFTY).tables())
    assert any("Nothing is chosen here" in note for note in shown(A).notes)
    alone = table(shown(A), "Accuracy and energy over the scale")
    assert [row[front] for row in body_of(alone)] == ["", "yes"]


def test_a_missing_accuracy_is_a_dash_and_a_note():
    lost = [
        replace(one, samples={k: v for k, v in one.samples.items() if k != "accuracy"})
        for one in A.shifted
    ]
    found = shown(replace(A, shifted=lost))
    rows = rows_of(table(found, "Energy under shift"))
    assert [row[2] for row in rows] == ["1.000", "–", "–", "–"]
    assert any(note.startswith("– : no accuracy") for note in found.notes)
    assert not any(note.startswith("– : no accuracy") for note in shown(A).notes)


def test_plain_json_is_one_result_or_a_list_and_the_csv_sums_to_the_total():
    one, two = shown(THRIFTY), shown(THRIFTY, WASTEFUL)
    alone = json.loads(one.to_json())
    assert alone["checkpoint"] == "thrifty"
    assert alone["provenance"]["command"] == "ahsar-eval energy"
    assert [each["checkpoint"] for each in json.loads(two.to_json())] == ["thrifty", "wasteful"]
    assert "per_sample_pj" not in alone
    rows = list(csv.DictReader(io.StringIO(two.to_csv())))
    layers = [(row["checkpoint"], row["layer"]) for row in rows if row["row"] == "layer"]
    assert layers == [
        (name, layer) for name in ("thrifty", "wasteful") for layer in ("conv1", "conv2")
    ]
    for name in ("thrifty", "wasteful"):
        own = [row for row in rows if row["checkpoint"] == name]
        (total,) = [float(row["total_energy_pj"]) for row in own if row["row"] == "total"]
        summed = sum(
            float(row["energy_pj"] or 0)
            for row in own
            if row["row"] in ("layer", "neurons", "operations")
        )
        assert summed == pytest.approx(total, rel=1e-12)


def test_with_shifts_every_row_says_what_it_is_and_numbers_are_complete():
    made = shown(A, B)
    content = json.loads(made.to_json())
    lists = ["results", "shifts", "contrasts", "scales", "conventions", "ledger", "provenance"]
    assert list(content) == lists
    assert [(one["data"], one["kind"], one["severity"]) for one in content["shifts"][:3]] == [
        ("letters:fog:1", "set", 1),
        ("letters:fog:2", "set", 2),
        ("letters:fog:1–2", "mean", None),
    ]
    assert {(one["set"], one["shift"]) for one in content["shifts"]} == {("letters", "fog")}
    synops = A.shifted[0].changes["synops"]
    assert content["shifts"][0]["changes"]["synops"]["value"] == synops.value
    assert [layer["name"] for layer in content["shifts"][0]["layers"]] == ["conv1", "conv2", "lif"]
    assert content["shifts"][2]["layers"] == []
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    kinds = {row["row"] for row in rows}
    assert kinds == {
        *("layer", "neurons", "account", "total", "shift", "shift layer", "contrast", "scale")
    }
    shift = next(row for row in rows if row["row"] == "shift")
    assert float(shift["synops_change"]) == synops.value
    assert float(shift["synops_change_high"]) == synops.high
    layers = [
        row for row in rows if row["row"] in ("layer", "neurons") and row["checkpoint"] == "a"
    ]
    total = next(row for row in rows if row["row"] == "total" and row["checkpoint"] == "a")
    assert sum(float(row["energy_pj"]) for row in layers) == pytest.approx(
        float(total["total_energy_pj"])
    )
    frame = made.frame
    assert set(frame.of) == kinds
    changed = frame[(frame.of == "shift") & (frame.metric == "synops_change")]
    assert changed.iloc[0][["value", "high", "n"]].tolist() == [synops.value, synops.high, 2]


def test_several_profiles_stand_below_one_another():
    both = [network(each.clean) for each in (A, compared("a", 0, "45nm-int8"))]
    records, arrays = records_of([both])
    made = Results(ENERGY, records, FACTS, arrays=arrays)
    assert [each["profile"] for each in json.loads(made.to_json())] == ["45nm-fp32", "45nm-int8"]
    text = made.to_text()
    assert "n = 2), 45nm-fp32" in text
    assert "n = 2), 45nm-int8" in text
    assert text.count("Not included") == 1  # a note that holds for both is said once


def test_every_form_holds_the_shift_table():
    made = shown(A, B)
    assert "Energy under shift" in made.to_text()
    assert "### Energy under shift" in made.to_markdown()
    assert "letters:fog:1--2" in made.to_latex()
    assert made.to_text().rstrip().endswith("of the set")


@pytest.mark.parametrize("width", [80, 100])
def test_no_table_is_wider_than_the_terminal(width):
    name = "digits-resnet18-{}"
    found = [named(one.clean, name) for one in (A, B)]
    priced = [shown(network(one)) for one in found]
    other = shown(A, B, by=("memory",))
    ledger = shown(network(THRIFTY, ledgers=[STEPS], conventions=[SYOPS]))
    for made in (*priced, other, ledger):
        text = made.to_text(detail=True, width=width)
        assert max(map(len, text.splitlines())) <= width


def test_memory_is_a_table_of_its_own():
    title = "With memory access (Lemaire et al. 2022), nJ per inference, 45nm-fp32"
    assert table(shown(THRIFTY, by=("memory",)), title).title == title
    assert "With memory access" not in shown(THRIFTY).to_text()


# --- other tools' counts


def total(macs: int | str, acs: int | str) -> dict[str, int | str]:
    return {"macs_total": macs, "acs_total": acs}


def totals(name: str, macs: int, acs: int | str, **options: Any) -> dict[str, Any]:
    return {
        "convention": name,
        "samples": 4,
        "batch_size": 2,
        "macs_per_inference": macs / 4,
        "acs_per_inference": float(Fraction(acs) / 4),
        **total(macs, acs),
        "extra_total": {},
        "layers": [
            {"layer": "conv", "part": "synapses", **total(macs, 0)},
            {"layer": "linear", "part": "synapses", **total(0, acs)},
        ],
        "notes": [],
        **options,
    }


def step(name: str, layer: str, macs: int, acs: int | str) -> dict[str, Any]:
    numbers = total(macs, acs)
    return {
        "name": name,
        "reason": REASONS[name],
        **numbers,
        "layers": [{"layer": layer, **numbers}],
    }


OURS = totals("ahsar-eval", 4000, 33)
SYOPS = totals("syops", 9000, "65/2", extra_total={"SynOps": 8}, notes=["By its rule."])
STEPS = {
    "start": OURS,
    "end": SYOPS,
    "steps": [
        step("steps of the first layer", "conv", 4000, 0),
        step("products on padding", "conv", 1000, 0),
        step("mean rates", "linear", 0, "-1/2"),
    ],
}
SAME = {"start": OURS, "end": OURS, "steps": []}


def counted(*found: dict[str, Any], ledgers: tuple[dict[str, Any], ...] = ()) -> Results:
    return shown(network(THRIFTY, conventions=[*found], ledgers=[*ledgers]))


def test_a_line_per_convention_per_inference():
    assert body_of(table(counted(OURS, SYOPS), "thrifty on letters, by convention")) == [
        ["ahsar-eval", "1,000", "8.2", "–"],
        ["syops", "2,250", "8.1", "SynOps 2"],
    ]


def test_start_steps_and_end_stand_below_one_another():
    found = table(counted(ledgers=(STEPS,)), "From ahsar-eval to syops")
    assert found.title == "From ahsar-eval to syops, per inference (thrifty on letters)"
    assert [line[:3] for line in body_of(found)] == [
        ["ahsar-eval", "1,000", "8.2"],
        ["---"],
        ["steps of the first layer", "+1,000", "0"],
        ["products on padding", "+250", "0"],
        ["mean rates", "0", "-0.1"],
        ["---"],
        ["syops", "2,250", "8.1"],
    ]


def test_detail_adds_the_layers():
    title = "From ahsar-eval to syops, layer by layer"
    assert body_of(table(counted(ledgers=(STEPS,)), title, detail=True)) == [
        ["steps of the first layer", "conv", "+1,000", "0"],
        ["products on padding", "conv", "+250", "0"],
        ["mean rates", "linear", "0", "-0.1"],
    ]


def test_two_conventions_that_agree_are_two_lines():
    (found,) = [
        one for one in counted(ledgers=(SAME,)).tables(detail=True) if one.title.startswith("From")
    ]
    assert [line[:1] for line in body_of(found)] == [["ahsar-eval"], ["---"], ["ahsar-eval"]]


@pytest.mark.parametrize(
    ("number", "signed", "text"),
    [
        (8, False, "2"),
        (9, False, "2.2"),
        (9, True, "+2.2"),
        (-9, True, "-2.2"),
        (0, True, "0"),
        ("1/3", False, "0.1"),
        (4000000, False, "1,000,000"),
    ],
)
def test_means_over_four_samples(number, signed, text):
    both = {"macs_total": number, "acs_total": number, "samples": 4}
    assert per_inference(both, sign=signed) == {"macs": text, "acs": text}


def test_rows_are_exact_and_carry_the_facts():
    rows = counted(SYOPS).records["convention"]
    assert [(row["layer"], row["part"], row["macs_total"], row["acs_total"]) for row in rows] == [
        ("total", "", 9000, "65/2"),
        ("conv", "synapses", 9000, 0),
        ("linear", "synapses", 0, "65/2"),
        ("total", "SynOps", 0, 8),
    ]
    facts = ("checkpoint", "convention", "samples", "batch_size")
    assert all([row[name] for name in facts] == ["thrifty", "syops", 4, 2] for row in rows)
    assert rows[0]["acs_per_inference"] == 8.125


def test_rows_of_a_ledger_sum_to_its_end():
    rows = counted(ledgers=(STEPS,)).records["ledger"]
    totals = [row for row in rows if row["layer"] == "total"]
    assert [row["step"] for row in totals] == [
        "start",
        "steps of the first layer",
        "products on padding",
        "mean rates",
        "end",
    ]
    for column in ("macs_total", "acs_total"):
        assert sum(Fraction(row[column]) for row in totals[:-1]) == Fraction(totals[-1][column])
    assert {row["layer"] for row in rows} == {"total", "conv", "linear"}
    assert len({tuple(row) for row in rows}) == 1, "every row has the same columns"


def test_notes_say_the_rule_the_source_and_what_the_batch_size_decides():
    notes = counted(OURS, SYOPS).notes
    assert any(note.startswith("ahsar-eval (docs/energy.md): ") for note in notes)
    assert any(note.endswith("By its rule.") for note in notes)
    told = " ".join(counted(ledgers=(STEPS,)).notes)
    assert "batches of 2" in told
    assert "syops:" in told
    assert "ahsar-eval:" not in told
    assert "batches" not in " ".join(counted(ledgers=(SAME,)).notes)
    assert "Ledger" not in " ".join(counted(OURS).notes)


def test_every_form_of_the_steps_can_be_written():
    found = counted(OURS, SYOPS, ledgers=(STEPS,))
    assert all(
        "+1,000" in text for text in (found.to_text(), found.to_markdown(), found.to_latex())
    )
