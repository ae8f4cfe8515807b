"""Rows as text: CSV and JSON keep every digit, tables round, and nothing that is not a number is
written as one.
"""

import csv
import io
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.results.latex import latex_table
from ahsar_eval.results.tables import (
    FORMATS,
    cell,
    check_format,
    csv_text,
    json_text,
    markdown_table,
    text_table,
)


def test_a_cell_rounds_and_shows_absence_as_a_dash():
    assert [cell(value) for value in (0.12345, None, 3, "text", math.nan)] == [
        "0.123",
        "–",
        "3",
        "text",
        "nan",
    ]
    assert cell(0.5, digits=1) == "0.5"


def test_text_table_aligns_text_left_and_numbers_right():
    lines = text_table(
        ["set", "n"], [["digits", "7"], ["---"], ["x", "1,234"]], title="sets"
    ).splitlines()
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
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.floats(allow_nan=False, allow_infinity=False),
                "b": st.none() | st.text('xy,"\n', max_size=4),
            }
        )
    )
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
    assert [check_format(name) for name in FORMATS] == ["table", "json", "csv", "markdown", "latex"]
    with pytest.raises(
        UsageError, match="unknown format 'xml'; known are table, json, csv, markdown, latex"
    ):
        check_format("xml")


def test_names_are_shown_as_they_are():
    table = text_table(
        ["set [b]", "n"], [["digits:fog:3", "1"], ["w/im[red]x[/b]", "2"]], title="[i]:snow:"
    )
    for name in ("digits:fog:3", "w/im[red]x[/b]", "[i]:snow:", "set [b]"):
        assert name in table


SECTIONED = [
    [
        "# near",
    ],
    ["a", "0.9"],
    ["---"],
    ["# far and farther than any other"],
    ["b", "0.8"],
    ["c", "0.7"],
]


def without_escapes(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)


def test_a_heading_is_a_line_of_its_own_that_widens_no_column():
    text = text_table(["set", "AUROC"], SECTIONED)
    lines = text.splitlines()
    assert [line for line in lines if line.startswith(("near", "far"))] == [
        "near",
        "far and farther than any other",
    ]
    assert (
        lines.index("near")
        < lines.index("a       0.9")
        < lines.index("far and farther than any other")
        < lines.index("b       0.8")
    )
    assert "#" not in text


def test_a_heading_does_not_make_a_column_of_numbers_text():
    assert text_table(["n", "x"], [["# near"], ["1", "a"], ["1,000", "b"]]).splitlines()[-2:] == [
        "    1   a",
        "1,000   b",
    ]


def test_best_cells_are_bold_where_colour_is_allowed_and_nowhere_else():
    plain = text_table(["set", "AUROC"], SECTIONED, title="t", best={(1, 1)})
    coloured = text_table(["set", "AUROC"], SECTIONED, title="t", best={(1, 1)}, colour=True)
    assert "\x1b" not in plain
    assert without_escapes(coloured) == plain
    assert re.findall("\x1b\\[1m(.*?)\x1b\\[0m", coloured) == [
        "t",
        "near",
        "far and farther than any other",
        "0.8",
    ]
    assert all(line == line.rstrip() for line in coloured.splitlines())


def test_markdown_headings_and_best_cells_are_bold():
    lines = markdown_table(
        ["set", "AUROC"], [*SECTIONED, ["x|y", "–"]], best={(0, 1), (3, 0)}
    ).splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert cells == [
        *[["**near**", ""], ["a", "**0.9**"], ["**far and farther than any other**", ""]],
        *[["b", "0.8"], ["c", "0.7"], ["**x\\|y**", "–"]],
    ]


@pytest.mark.parametrize("cell", [(3, 0), (0, 2), (-1, 0), (0, -1)])
@pytest.mark.parametrize("form", [text_table, markdown_table, latex_table])
def test_a_bold_cell_that_is_not_there_is_refused(form, cell):
    with pytest.raises(
        DataError, match=r"is to be bold; expected a row below 3 and a column below 2"
    ):
        form(["set", "AUROC"], SECTIONED, best={cell})


def test_signs_of_numbers_keep_a_column_a_column_of_numbers():
    lines = text_table(
        ["name", "d"], [["a", "−0.01"], ["b", "±10.25"], ["c", "<0.001"]]
    ).splitlines()
    assert lines[-3:] == ["a       −0.01", "b      ±10.25", "c      <0.001"]
