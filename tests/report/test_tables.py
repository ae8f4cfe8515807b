"""Rows as text: CSV and JSON keep every digit, tables round, and nothing that is not a number is written as one."""

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.energy import estimate, profile_of
from ahsar_eval.errors import UsageError
from ahsar_eval.ood import OodRow
from ahsar_eval.report import FORMATS, cell, check_format, csv_text, json_text, markdown_table, text_table
from ahsar_eval.report.ood_report import HEADER, ood_notes, ood_table


def ood_row(checkpoint: str = "a", ood: str = "b", **changes: object) -> OodRow:
    values: dict[str, object] = {
        **{"checkpoint": checkpoint, "thresholds": "replay", "id": "digits", "ood": ood, "severity": 0, "score": "entropy"},
        **{"n_id": 450, "n_ood": 520, "auroc": 0.91234, "auroc_low": 0.9, "auroc_high": 0.925, "fpr_at_95_tpr": 0.2},
        **{"accuracy_id": 0.97, "accuracy_ood": None, "accuracy_ood_low": None, "accuracy_ood_high": None},
        **{"mean_rate_id": 0.1, "mean_rate_ood": 0.2, "distinct_scores": 970},
        **changes,
    }
    return OodRow(**values)  # type: ignore[arg-type]


def test_a_cell_rounds_and_shows_absence_as_a_dash():
    assert [cell(value) for value in (0.12345, None, 3, "text", math.nan)] == ["0.123", "–", "3", "text", "nan"]
    assert cell(0.5, digits=1) == "0.5"


def test_text_table_aligns_text_left_and_numbers_right():
    lines = text_table(["set", "n"], [["digits", "7"], ["---"], ["x", "1,234"]], title="sets").splitlines()
    assert lines[0] == "sets"
    body = [line for line in lines if line.startswith(("digits", "x"))]
    assert body[0].split() == ["digits", "7"]
    assert body[1].split() == ["x", "1,234"]
    assert len(body[0]) == len(body[1])
    assert all(line == line.rstrip() for line in lines)


def test_a_wide_table_is_not_cut():
    header = [f"column {number} of a wide table" for number in range(30)]
    text = text_table(header, [[f"value{number}" for number in range(30)]])
    assert all(name in text for name in header)
    assert "…" not in text


def test_markdown_is_a_github_table_without_rules_between_sections():
    lines = markdown_table(["set", "AUROC"], [["a|b", "0.900"], ["---"], ["c", "–"]]).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    assert "a\\|b" in lines[2]
    assert "0.900" in lines[2]  # not reformatted to 0.9


@given(
    st.lists(st.fixed_dictionaries({"a": st.floats(allow_nan=False, allow_infinity=False), "b": st.none() | st.text('xy,"\n', max_size=4)}))
)
def test_csv_gives_back_every_digit_and_every_text(rows):
    read = list(csv.DictReader(io.StringIO(csv_text(rows))))
    assert [float(row["a"]) for row in read] == [row["a"] for row in rows]
    assert [row["b"] for row in read] == [row["b"] or "" for row in rows]


def test_csv_has_the_columns_of_all_rows():
    assert csv_text([{"a": 1}, {"b": 0.1, "a": None}]) == "a,b\n1,\n,0.1\n"


def test_json_keeps_digits_and_refuses_what_is_no_number():
    content = {"x": 0.1 + 0.2, "y": None, "name": "größer"}
    assert json.loads(json_text(content)) == content
    assert "größer" in json_text(content)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            json_text({"x": bad})


def test_known_formats_and_the_refusal_of_others():
    assert [check_format(name) for name in FORMATS] == ["table", "json", "csv", "markdown"]
    with pytest.raises(UsageError, match="unknown format 'xml'; known are table, json, csv, markdown"):
        check_format("xml")


def test_checkpoints_stand_side_by_side_under_each_set():
    rows = [ood_row(c, o, auroc=v) for c, o, v in [("a", "x", 0.1), ("a", "y", 0.2), ("b", "x", 0.3), ("b", "y", 0.4)]]
    body = ood_table(rows)
    columns = [HEADER.index(name) for name in ("OOD set", "checkpoint", "AUROC")]
    assert [[line[column] for column in columns] for line in body if line != ["---"]] == [
        ["x", "a", "0.100"],
        ["", "b", "0.300"],
        ["y", "a", "0.200"],
        ["", "b", "0.400"],
    ]
    assert all(len(line) == len(HEADER) for line in body if line != ["---"])


def test_a_scale_in_place_of_the_replay_is_said():
    (line,) = ood_table([ood_row(thresholds="scale 0.5")])
    assert line[HEADER.index("checkpoint")] == "a (scale 0.5)"


def test_an_absent_accuracy_is_a_dash_and_a_present_one_has_its_interval():
    (absent,) = ood_table([ood_row()])
    (present,) = ood_table([ood_row(accuracy_ood=0.9, accuracy_ood_low=0.85, accuracy_ood_high=0.95)])
    place = HEADER.index("accuracy")
    assert absent[place : place + 2] == ["–", "–"]
    assert present[place : place + 2] == ["0.900", "0.850–0.950"]


def test_notes_say_the_convention_the_ties_and_the_missing_labels():
    notes = " ".join(ood_notes([ood_row(), ood_row(ood="digits:contrast:1", accuracy_ood=0.9, distinct_scores=12)]))
    assert "out-of-distribution positive" in notes
    assert "of 970 scores on digits:contrast:1, 12 are distinct" in notes
    assert "labels of that set do not correspond" in notes
    assert "AUROC may fall while its accuracy rises" in notes
    assert "accuracy 0.9700" in notes


def test_energy_tables_end_with_the_total_and_list_what_is_uncounted(make_tiny):
    from ahsar_eval.checkpoints import network_of
    from ahsar_eval.data import open_split
    from ahsar_eval.recording import record
    from ahsar_eval.report.energy_report import LAYER_HEADER, TOTAL_HEADER, energy_csv_rows, energy_notes, layer_table, total_table

    checkpoint = make_tiny()
    split = open_split("digits", (1, 16, 16)).only(0)
    result = estimate(record(network_of(checkpoint), split), profile_of("45nm-fp32"), checkpoint="tiny")
    body = layer_table(result)
    assert all(len(line) == len(LAYER_HEADER) for line in body if line != ["---"])
    assert body[-1][0] == "total"
    assert body[-1][-1] == f"{result.total_energy_pj:,.1f}"
    (total,) = total_table([result])
    assert len(total) == len(TOTAL_HEADER)
    assert total[0] == "tiny"
    assert sum(line["energy_pj"] for line in energy_csv_rows([result])) == result.total_energy_pj
    assert energy_notes([result])[-1] == "Uncounted layers of tiny: none."


def test_names_are_shown_as_they_are():
    table = text_table(["set [b]", "n"], [["digits:fog:3", "1"], ["w/im[red]x[/b]", "2"]], title="[i]:snow:")
    for name in ("digits:fog:3", "w/im[red]x[/b]", "[i]:snow:", "set [b]"):
        assert name in table
