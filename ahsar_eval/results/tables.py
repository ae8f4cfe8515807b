"""Rows as text: a table for the eye, Markdown, CSV and JSON. Numbers in CSV and JSON are complete;
a table rounds.

The body of a table is a list of rows of cells. Two rows are not cells: `["---"]` is a rule, and one
cell that starts with `# `, as in `["# near"]`, is the heading of the rows below it. Cells to set
bold are named `best`, as (row, column) from 0; rules and headings are not counted as rows.
"""

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.files import csv_text as csv_text

FORMATS = ("table", "json", "csv", "markdown", "latex")
Best = Collection[tuple[int, int]]
Row = Mapping[str, Any]


def cell(value: Any, digits: int = 3) -> str:
    """A value for a reader: rounded numbers, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}" if math.isfinite(value) else str(value)
    return str(value)


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval for a reader; a dash for None."""
    return "–" if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    *,
    best: Best = (),
    colour: bool = False,
) -> str:
    """A table with columns aligned by what they hold: text to the left, numbers to the right.

    With `colour` the cells of `best`, the headings and the title are bold by ANSI escapes; without
    it nothing is. Raises `DataError` where `best` names a cell that is not there.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text.assemble((title, "bold")) if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        leading=0,
        pad_edge=False,
        header_style="none",
        title_style="none",
    )
    bold = bold_cells(header, rows, best)
    for place, name in enumerate(header):
        table.add_column(
            Text(name), justify="right" if all_numbers(rows, place) else "left", no_wrap=True
        )
    headings = []
    counted = -1
    for row in rows:
        heading = heading_of(row)
        if is_rule(row):
            table.add_section()
        elif heading is not None:
            headings.append(heading)
            table.add_row(_HEADING)  # its place is kept: a heading is wider than its column
        else:
            counted += 1
            table.add_row(
                *(
                    Text.assemble((text, "bold" if (counted, place) in bold else ""))
                    for place, text in enumerate(row)
                )
            )
    target = io.StringIO()
    # Names are the user's: nothing in them is a colour, a link or an emoji.
    console = Console(
        file=target,
        width=10_000,
        color_system="standard" if colour else None,
        force_terminal=colour,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(table)
    lines = [line.rstrip() for line in target.getvalue().splitlines()]
    following = iter(headings)
    lines = [_emphasised(next(following), colour) if line == _HEADING else line for line in lines]
    return "\n".join(lines).strip("\n")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, best: Best = ()) -> str:
    """The same as a GitHub table: `best` and headings are bold, rules between sections are left
    out.

    Raises `DataError` where `best` names a cell that is not there.
    """
    from tabulate import tabulate

    bold = bold_cells(header, rows, best)
    body = []
    counted = -1
    for row in rows:
        heading = heading_of(row)
        escaped = [text.replace("|", "\\|") for text in (row if heading is None else [heading])]
        if heading is not None:
            body.append([f"**{escaped[0]}**", *[""] * (len(header) - 1)])
        elif not is_rule(row):
            counted += 1
            body.append(
                [
                    f"**{text}**" if (counted, place) in bold else text
                    for place, text in enumerate(escaped)
                ]
            )
    align = ["right" if all_numbers(rows, place) else "left" for place in range(len(header))]
    return str(
        tabulate(
            body,
            headers=list(header),
            tablefmt="github",
            colalign=align if body else None,
            disable_numparse=True,
        )
    )


def is_rule(row: Sequence[str]) -> bool:
    """Whether a row of a body is a rule."""
    return list(row) == ["---"]


def heading_of(row: Sequence[str]) -> str | None:
    """The text of a row that is a heading; None for a row of cells."""
    return row[0][2:] if len(row) == 1 and row[0].startswith("# ") else None


def bold_cells(
    header: Sequence[str], rows: Sequence[Sequence[str]], best: Best
) -> set[tuple[int, int]]:
    """`best` as a set. Raises `DataError` where it names a cell that is not there."""
    rows_of_cells = sum(not is_rule(row) and heading_of(row) is None for row in rows)
    for row, column in best:
        if not (0 <= row < rows_of_cells and 0 <= column < len(header)):
            raise DataError(
                f"the cell ({row}, {column}) is to be bold; expected a row below {rows_of_cells} "
                f"and a column below {len(header)}, "
                "rules and headings not counted"
            )
    return set(best)


def all_numbers(rows: Sequence[Sequence[str]], place: int) -> bool:
    """Whether a column holds numbers and dashes alone, and at least one: it is then set to the
    right.
    """
    cells = [row[place] for row in rows if not is_rule(row) and heading_of(row) is None]
    return any(cells) and all(_is_number(text) for text in cells)


def json_text(content: Any) -> str:
    """Indented JSON; a number that is not finite is refused, not written as NaN."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)


def check_format(name: str) -> str:
    """A known output format. Raises `UsageError`."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return name


def _is_number(text: str) -> bool:
    return not text or (
        text[0] in "0123456789–-−+±.<>" and not any(letter.isalpha() for letter in text)
    )


_HEADING = "\ue000"  # a letter for private use: no name is it


def _emphasised(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour and text else text
