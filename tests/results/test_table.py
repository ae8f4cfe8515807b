"""Tables: numbers in full beneath, what a reader sees of them, and tables no wider than asked."""

import csv
import html
import io
import json
import math
import re
from dataclasses import replace

import pytest
from grids import best_of, body_of, header_of, table_of
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.errors import UsageError
from ahsar_eval.results import FORMATS
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Table, signed, text_rows, with_best
from ahsar_eval.results.text import DROPPED, html_table, markdown_table, paragraphs, text_table

SECTIONED = [
    ["# near"],
    ["a", "0.9"],
    ["# far and farther than any other"],
    ["b", "0.8"],
    ["c", "0.7"],
]


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        (Column("x", "x"), 0.12345, "0.123"),
        (Column("x", "x"), None, "–"),
        (Column("x", "x"), 3, "3"),
        (Column("x", "x"), "text", "text"),
        (Column("x", "x"), math.nan, "nan"),
        (Column("x", "x", ",.1f"), 1234, "1,234.0"),
        (Column("x", "x", ","), 1234, "1,234"),
        (Column("x", "nJ", ",.2f", divide=1000), 1_234_567.0, "1,234.57"),
        (Column("x", "x", "+.2f"), -0.5, "−0.50"),
        (Column("x", "x", "+.2f"), -0.001, "0.00"),
        (Column("x", "x", lambda value: f"<{value}>"), 7, "<7>"),
    ],
)
def test_a_cell_is_rounded_and_absence_is_a_dash(column, value, text):
    assert column.text(value) == text


def test_intervals_stand_behind_their_numbers():
    row = {"x": 0.5, "x_low": 0.4, "x_high": 0.6, "y": -0.5, "y_low": -1, "y_high": 0.25, "z": 1.0}
    columns = [
        Column("x", "X", interval=True),
        Column("y", "Y", "+.2f", interval=True),
        Column("z", "Z", interval=True),
    ]
    table = Table("", columns, [row])
    assert header_of(table) == ["X", "95 % interval", "Y", "95 % interval", "Z", "95 % interval"]
    (line,) = body_of(table)
    assert line == ["0.500", "0.400–0.600", "−0.50", "−1 … +0.25", "1.000", "–"]
    assert list(table.grid(intervals=False).header) == ["X", "Y", "Z"]


@pytest.mark.parametrize(
    ("text", "said"), [("+0.10", "+0.10"), ("-0.10", "−0.10"), ("-0.0 %", "0.0 %")]
)
def test_signs_by_hand(text, said):
    assert signed(text) == said


ROWS = [
    {"group": group, "set": name, "n": str(n), "net": net, "auroc": auroc, "ece": ece}
    for group, name, n, net, auroc, ece in [
        ("near", "svhn", 26032, "a", 0.9001, 0.1),
        ("near", "svhn", 26032, "b", 0.9004, 0.1),
        ("far", "mnist", 10, "a", 0.5, None),
        ("far", "dtd", 10, "a", 0.5, 0.3),
    ]
]
COLUMNS = [Column("set", "set"), Column("n", "n"), Column("net", "network")]
NUMBERS = [Column("auroc", "AUROC", better=1, interval=True), Column("ece", "ECE", better=-1)]


def sets(**changes):
    table = Table("", [*COLUMNS, *NUMBERS], ROWS, names=("set", "n"), section="group")
    return replace(table, **changes)


def test_a_name_is_said_once_and_ruled_off_and_a_section_is_a_heading():
    assert body_of(sets()) == [
        ["# near"],
        ["svhn", "26032", "a", "0.900", "–", "0.100"],
        ["", "", "b", "0.900", "–", "0.100"],
        ["---"],
        ["# far"],
        ["mnist", "10", "a", "0.500", "–", "–"],
        ["---"],
        ["dtd", "10", "a", "0.500", "–", "0.300"],
    ]
    assert ["---"] not in body_of(sets(section="", ruled=False))
    assert [line.cells[0] for line in sets().grid(stacked=True).lines if line.heading] == [
        *("near", "svhn, n = 26032"),
        *("far", "mnist, n = 10", "dtd, n = 10"),
    ]
    (first, second) = body_of(Table("", COLUMNS, [ROWS[0], {**ROWS[2], "rule": True}]))[::2]
    assert (first[0], second[0]) == ("svhn", "mnist")


def test_the_best_is_marked_by_its_full_value_among_its_peers_and_never_alone():
    marked = sets(rows=with_best(ROWS, NUMBERS, ("set",)))
    assert best_of(marked) == {(0, 5), (1, 3), (1, 5)}, "equals share it; one network has no peer"
    none = with_best(ROWS, NUMBERS, ("set",), unless=lambda row, key: key == "auroc")
    assert best_of(sets(rows=none)) == {(0, 5), (1, 5)}


def test_text_to_the_left_and_numbers_to_the_right():
    table = table_of(["set", "n"], [["digits", "7"], ["---"], ["x", "1,234"]], title="sets")
    assert text_table(table).splitlines() == [
        "sets",
        "set         n",
        "─────────────",
        "digits      7",
        "",
        "x       1,234",
    ]
    dashes = text_table(table_of(["a", "d"], [["a", "−0.01"], ["b", "±10.25"], ["c", "<0.001"]]))
    assert dashes.splitlines()[-3:] == ["a   −0.01", "b  ±10.25", "c  <0.001"]


def test_a_heading_is_a_line_of_its_own_that_widens_no_column():
    lines = text_table(table_of(["set", "AUROC"], SECTIONED)).splitlines()
    assert lines[2:] == [
        *("near", "a      0.9", "", "far and farther than any other", "b      0.8", "c      0.7")
    ]


def test_names_are_shown_as_they_are():
    body = [["digits:fog:3", "1"], ["w/im[red]x[/b]", "2"]]
    text = text_table(table_of(["set [b]", "n"], body, title="[i]:snow:"))
    for name in ("digits:fog:3", "w/im[red]x[/b]", "[i]:snow:", "set [b]"):
        assert name in text


def test_best_cells_are_bold_where_colour_is_allowed_and_nowhere_else():
    table = table_of(["set", "AUROC"], SECTIONED, {(1, 1)}, "t")
    plain, coloured = text_table(table), text_table(table, colour=True)
    assert "\x1b" not in plain
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain
    bold = re.findall("\x1b\\[1m(.*?)\x1b\\[0m", coloured)
    assert bold == ["t", "near", "far and farther than any other", "0.8"]


def test_a_narrow_table_names_above_then_wraps_then_drops_intervals_then_is_cut():
    widths = {width: text_table(sets(), width).splitlines() for width in (60, 45, 40, 24)}
    for width, lines in widths.items():
        assert max(map(len, lines)) <= max(width, len(DROPPED)), lines
    assert widths[60][0].split() == "set n network AUROC 95 % interval ECE".split()
    assert widths[45][0].split() == "network AUROC 95 % interval ECE".split()
    assert "svhn, n = 26032" in widths[45]
    assert widths[24][-1] == DROPPED
    prose = text_rows("", ["a", "note"], [["x", "many words " * 8], ["y", "few words"]])
    lines = text_table(prose, 50).splitlines()
    assert max(map(len, lines)) <= 50
    assert " ".join(" ".join(lines[2:-1]).split()) == "x " + "many words " * 7 + "many words"


def test_a_table_that_is_as_wide_as_it_may_be_stays_as_it_is():
    whole = text_table(sets())
    width = max(map(len, whole.splitlines()))
    assert text_table(sets(), width) == whole
    assert text_table(sets(), width - 1) != whole


def test_a_block_holds_as_many_columns_as_stand_below_the_names():
    keys = ["AAAAAAAA", "BBBBBBBB", "CCCCCCCC", "DDDDDDDD", "EEEEEEEE", "FFFFFFFF"]
    name = "a name of twenty-seven letters"
    columns = [Column("set", "set"), *(Column(key, key) for key in keys)]
    table = Table("", columns, [{"set": name} | dict.fromkeys(keys, 0.5)], names=("set",))
    # three columns of eight and two gaps; beside the name there would be room for none
    lines = text_table(table, 30).splitlines()
    assert [line.split() for line in lines if "A" * 8 in line or "D" * 8 in line] == [
        keys[:3],
        keys[3:],
    ]
    assert lines.count(name) == 2


NAMES = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=12)
NUMBER = st.none() | st.floats(-1e6, 1e6)


@given(
    st.lists(st.tuples(NAMES, NAMES, NUMBER, NUMBER, NUMBER), min_size=1, max_size=6),
    st.integers(30, 130),
)
def test_no_number_is_lost_at_any_width(values, width):
    keys = ("set", "net", "x", "y", "z")
    rows = [dict(zip(keys, value, strict=True)) for value in values]
    columns = [Column("set", "set"), Column("net", "net")]
    columns += [Column(key, key.upper() * 9, interval=True) for key in "xyz"]
    table = Table("", columns, rows, names=("set",))
    lines = text_table(table, width).splitlines()
    assert all(len(line) <= width for line in lines if line != DROPPED)
    whole = re.findall(r"\S+", "\n".join(lines))
    for row in rows:
        for column in columns[2:]:
            assert column.text(row[column.key]) in whole


def test_notes_wrap_below():
    assert paragraphs(["a b", "c"]) == "a b\nc"
    assert paragraphs(["one two three", "four"], 8) == "one two\n  three\nfour"


def test_markdown_headings_and_best_cells_are_bold_and_rules_are_left_out():
    table = table_of(["set", "AUROC"], [*SECTIONED, ["---"], ["x|y", "–"]], {(0, 1), (3, 0)}, "T")
    title, _, *lines = markdown_table(table).splitlines()
    assert title == "### T"
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert cells == [
        *[["**near**", ""], ["a", "**0.9**"], ["**far and farther than any other**", ""]],
        *[["b", "0.8"], ["c", "0.7"], ["**x\\|y**", "–"]],
    ]


def test_html_escapes_every_text():
    evil = "</td><script>x</script>"
    drawn = html_table(table_of([evil, "n"], [[f"# {evil}"], [evil, "1"]], {(0, 1)}, evil))
    assert "<script>" not in drawn
    assert drawn.count(html.escape(evil)) == 4
    assert "<b>1</b>" in drawn


KIND = Kind(
    "test",
    axes=("net", "set"),
    tables=lambda results, detail: [Table("", COLUMNS[2:], results.records["rows"])],
    notes=lambda results: ["a note"],
)
FACTS = {
    **{"command": "test", "time": "now", "threads": 1, "versions": {}, "checkpoints": []},
    "seed": 0,
}


def results(rows, **more):
    return Results(KIND, {"rows": rows}, FACTS, **more)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.floats(allow_nan=False, allow_infinity=False),
                "b": st.none() | st.text('xy,"\n', max_size=4),
            }
        )
    )
)
def test_csv_and_json_give_back_every_digit_and_every_text(rows):
    found = results(rows)
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["a"]) for row in read] == [row["a"] for row in rows]
    assert [row["b"] for row in read] == [row["b"] or "" for row in rows]
    assert json.loads(found.to_json())["rows"] == rows


def test_json_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="not JSON compliant"):
        results([{"x": math.nan}]).to_json()


def test_the_frame_has_one_number_a_row_with_its_interval():
    rows = [
        {"net": "a", "set": "x", "n": 5, "auroc": 0.5, "auroc_low": 0.4, "auroc_high": 0.6}
        | {"auroc_interval": "DeLong", "ece": None, "rate": 0.25, "kept": True}
    ]
    frame = results(rows).frame
    assert frame.columns.tolist() == [
        *("of", "net", "set", "metric", "value", "low", "high", "method", "n")
    ]
    assert frame[["metric", "value", "low", "high", "method"]].values.tolist()[0] == [
        *("auroc", 0.5, 0.4, 0.6, "DeLong")
    ]
    assert frame.metric.tolist() == ["auroc", "rate"]
    assert (frame.n == 5).all()


def test_results_of_one_kind_add_up_and_others_do_not():
    both = results([{"net": "a"}], said=["x"]) + results([{"net": "b"}], said=["x", "y"])
    assert [row["net"] for row in both.records["rows"]] == ["a", "b"]
    assert both.notes == ["a note", "x", "y"]
    with pytest.raises(UsageError, match="results of kind test and of kind other do not"):
        both + Results(replace(KIND, name="other"), {}, FACTS)


def test_every_form_is_there_and_others_are_refused(tmp_path):
    found = results([{"net": "a"}])
    assert all(found.to(form) for form in FORMATS)
    assert str(found) == found.to("table")
    assert "<table>" in found._repr_html_()
    names = [file.name for file in found.save(tmp_path)]
    assert names == ["test.json", "test.csv", "test.md", "test.tex"]
    assert (tmp_path / "test.csv").read_text() == found.to_csv()
    with pytest.raises(UsageError, match="unknown format 'xml'; known are table, json, csv"):
        found.to("xml")
