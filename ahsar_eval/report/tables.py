"""Rows as text: a table for the eye, Markdown, CSV and JSON. Numbers in CSV and JSON are complete; a table rounds."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ahsar_eval.errors import UsageError

FORMATS = ("table", "json", "csv", "markdown")
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


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """A table with columns aligned by what they hold: text to the left, numbers to the right. `---` alone in a row draws a rule."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        leading=0,
        pad_edge=False,
        title_style="bold",
    )
    body = [row for row in rows if list(row) != ["---"]]
    for place, name in enumerate(header):
        numeric = _all_numbers(body, place)
        table.add_column(Text(name), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        if list(row) == ["---"]:
            table.add_section()
        else:
            table.add_row(*(Text(text) for text in row))
    target = io.StringIO()
    # Names are the user's: nothing in them is a colour, a link or an emoji.
    Console(file=target, width=10_000, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines()).strip("\n")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a GitHub table; rules between sections are left out."""
    from tabulate import tabulate

    body = [[text.replace("|", "\\|") for text in row] for row in rows if list(row) != ["---"]]
    align = ["right" if _all_numbers(body, place) else "left" for place in range(len(header))]
    return str(tabulate(body, headers=list(header), tablefmt="github", colalign=align if body else None, disable_numparse=True))


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV with full precision; None is an empty cell."""
    target = io.StringIO()
    header = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(target, fieldnames=header, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: repr(value) if isinstance(value, float) else value for name, value in row.items()} for row in rows)
    return target.getvalue()


def json_text(content: Any) -> str:
    """Indented JSON; a number that is not finite is refused, not written as NaN."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)


def check_format(name: str) -> str:
    """A known output format. Raises `UsageError`."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return name


def _is_number(text: str) -> bool:
    return not text or (text[0] in "0123456789–-+." and not any(letter.isalpha() for letter in text))


def _all_numbers(body: Sequence[Sequence[str]], place: int) -> bool:
    return any(row[place] for row in body) and all(_is_number(row[place]) for row in body)
