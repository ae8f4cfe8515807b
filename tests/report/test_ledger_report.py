"""Conventions and ledgers as tables and rows: what a reader sees sums up, and nothing is rounded
where numbers are exact.
"""

from fractions import Fraction

import pytest

from ahsar_eval.energy.conventions import Amount, ConventionTotals, LayerTotals
from ahsar_eval.energy.ledger import Ledger, Step
from ahsar_eval.report.ledger_report import (
    convention_notes,
    convention_rows,
    convention_table,
    ledger_notes,
    ledger_rows,
    ledger_tables,
    per_inference,
)
from ahsar_eval.results.document import RULE, texts_of


def hub() -> ConventionTotals:
    rows = (LayerTotals("synapses", "conv", 4000, 0), LayerTotals("synapses", "linear", 0, 33))
    return ConventionTotals("ahsar-eval", 4000, 33, {}, rows, (), 4, 2)


def syops() -> ConventionTotals:
    rows = (
        LayerTotals("synapses", "conv", 9000, 0),
        LayerTotals("synapses", "linear", 0, Fraction(65, 2)),
    )
    return ConventionTotals(
        "syops", 9000, Fraction(65, 2), {"SynOps": 8}, rows, ("By its rule.",), 4, 2
    )


def walk() -> Ledger:
    steps = (
        Step("first layer at every step", "the image again", 4000, 0, (Amount("conv", 4000, 0),)),
        Step("padding", "borders", 1000, 0, (Amount("conv", 1000, 0),)),
        Step("pooling", "there is none", 0, 0),
        Step(
            "rates instead of exact counts",
            "means",
            0,
            Fraction(-1, 2),
            (Amount("linear", 0, Fraction(-1, 2)),),
        ),
    )
    return Ledger(hub(), syops(), steps)


def test_a_line_per_convention_per_inference():
    table = convention_table([hub(), syops()])
    assert table.body == [
        ["ahsar-eval", "1,000", "8.2", "–"],
        ["syops", "2,250", "8.1", "SynOps 2"],
    ]


def test_a_ledger_is_start_steps_and_end_without_those_that_change_nothing():
    walk().check()
    (table,) = ledger_tables([walk()], of="net.pt on digits")
    assert table.title == "From ahsar-eval to syops, per inference (net.pt on digits)"
    assert [line if line == RULE else line[:3] for line in table.body] == [
        ["ahsar-eval", "1,000", "8.2"],
        RULE,
        ["first layer at every step", "+1,000", "0"],
        ["padding", "+250", "0"],
        ["rates instead of exact counts", "0", "-0.1"],
        RULE,
        ["syops", "2,250", "8.1"],
    ]
    assert all(len(line) == len(table.header) for line in table.body if line != RULE)


def test_detail_adds_the_layers():
    _, layers = ledger_tables([walk()], detail=True)
    assert [list(line) for line in layers.body] == [
        ["first layer at every step", "conv", "+1,000", "0"],
        ["padding", "conv", "+250", "0"],
        ["rates instead of exact counts", "linear", "0", "-0.1"],
    ]


def test_two_conventions_that_agree_are_two_lines():
    (table,) = ledger_tables([Ledger(hub(), hub(), ())], detail=True)
    assert [line[:1] for line in table.body] == [["ahsar-eval"], ["---"], ["ahsar-eval"]]


@pytest.mark.parametrize(
    ("number", "signed", "text"),
    [
        (8, False, "2"),
        (9, False, "2.2"),
        (9, True, "+2.2"),
        (-9, True, "-2.2"),
        (0, True, "0"),
        (Fraction(1, 3), False, "0.1"),
        (4000000, False, "1,000,000"),
    ],
)
def test_means_over_four_samples(number, signed, text):
    assert per_inference(number, 4, signed=signed) == text


def test_rows_are_exact_and_carry_the_facts():
    rows = convention_rows([syops()], checkpoint="net.pt")
    assert [(row["layer"], row["part"], row["macs_total"], row["acs_total"]) for row in rows] == [
        ("total", "", 9000, "65/2"),
        ("conv", "synapses", 9000, 0),
        ("linear", "synapses", 0, "65/2"),
        ("total", "SynOps", 0, 8),
    ]
    assert all(
        (row["checkpoint"], row["convention"], row["samples"], row["batch_size"])
        == ("net.pt", "syops", 4, 2)
        for row in rows
    )
    assert rows[0]["acs_per_inference"] == 8.125


def test_rows_of_a_ledger_sum_to_its_end():
    rows = ledger_rows([walk()], checkpoint="net.pt")
    totals = [row for row in rows if row["layer"] == "total"]
    assert [row["step"] for row in totals] == [
        "start",
        "first layer at every step",
        "padding",
        "rates instead of exact counts",
        "end",
    ]
    for column in ("macs_total", "acs_total"):
        assert sum(Fraction(row[column]) for row in totals[:-1]) == Fraction(totals[-1][column])
    assert {row["layer"] for row in rows} == {"total", "conv", "linear"}
    assert len({tuple(row) for row in rows}) == 1, "every row has the same columns"


def test_notes_say_the_rule_the_source_and_what_the_batch_size_decides():
    notes = convention_notes([hub(), syops()])
    assert notes[0].startswith("ahsar-eval (docs/energy.md): ")
    assert notes[1].endswith("By its rule.")
    told = " ".join(ledger_notes([walk()]))
    assert "batches of 2" in told
    assert "syops" in told
    assert "ahsar-eval:" not in told
    assert "batches" not in " ".join(ledger_notes([Ledger(hub(), hub(), ())]))
    assert ledger_notes([]) == []


def test_every_form_can_be_written():
    facts = {"command": "c", "time": "t", "threads": 1, "versions": {}, "checkpoints": []}
    tables = [convention_table([hub(), syops()]), *ledger_tables([walk()], detail=True)]
    found = texts_of(tables, ledger_notes([walk()]), facts)
    assert all("+1,000" in found[form] for form in ("table", "markdown", "latex"))
