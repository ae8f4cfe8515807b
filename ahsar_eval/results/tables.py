"""To be replaced by results.table and results.results: cells and spans of ready texts."""

import json
import math
from collections.abc import Sequence
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.files import csv_text as csv_text
from ahsar_eval.results.table import text_rows
from ahsar_eval.results.text import text_table as drawn

FORMATS = ("table", "json", "csv", "markdown", "latex")


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> str:
    """Ready texts as a table."""
    return drawn(text_rows(title, header, rows))


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


def json_text(content: Any) -> str:
    """Indented JSON; a number that is not finite is refused, not written as NaN."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)


def check_format(name: str) -> str:
    """A known output format. Raises `UsageError`."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return name
