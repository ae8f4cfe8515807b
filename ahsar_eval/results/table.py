"""Tables before they are drawn: columns declared once, rows as mappings, every number in full.

A `Column` says under which key a number stands in rows, CSV and JSON, and how a reader sees it. A
`Table` draws itself as a `Grid` of texts, from which text, Markdown, LaTeX and HTML are made.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ahsar_eval.files import table_beside

Row = Mapping[str, Any]
NONE = "–"
INTERVAL = "95 % interval"


@dataclass(frozen=True)
class Column:
    """A number, or a text, of every row.

    `format` is a format specification for numbers (one that starts with + shows −), "p" for
    p-values, or a function of the value; None is a dash and text is itself. `divide` brings the
    number to the unit of the title (1000 for pJ in nJ). With `interval` the row's `key_low` and
    `key_high` follow in a column of their own. `better` is 1 where more is better, −1 where less
    is, 0 where neither is.
    """

    key: str
    title: str
    format: str | Callable[[Any], str] = ".3f"
    better: int = 0
    interval: bool = False
    divide: float = 1

    def text(self, value: Any) -> str:
        """A value of this column for a reader."""
        if value is None:
            return NONE
        if callable(self.format):
            return self.format(value)
        if self.format == "p":
            return "< 0.001" if value < 0.001 else f"{value:.3f}"
        if isinstance(value, (str, bool)) or not math.isfinite(value):
            return str(value)
        is_signed = self.format.startswith("+")
        is_whole = isinstance(value, int) and "," not in self.format
        shown = value if self.divide == 1 else value / self.divide
        text = format(shown, "+" * is_signed if is_whole else self.format)
        text = text.rstrip("%")  # the title says percent
        return signed(text) if is_signed else text

    def ends(self, row: Row) -> str:
        """The interval of the row's value for a reader."""
        low, high = row.get(f"{self.key}_low"), row.get(f"{self.key}_high")
        if low is None or high is None:
            return NONE
        # Between signs a dash would be misread.
        between = " … " if callable(self.format) or self.format.startswith("+") else NONE
        return f"{self.text(low)}{between}{self.text(high)}"


@functools.cache
def read_columns(module: str, kind: str) -> dict[str, list[Column]]:
    """The columns of each table of `kind`, from the file columns.toml beside the file `module`."""
    return {
        table: [
            Column(key, **({"title": said} if isinstance(said, str) else said))
            for key, said in columns.items()
        ]
        for table, columns in table_beside(module, "columns.toml")[kind].items()
    }


def signed(text: str) -> str:
    """'-1.2' as '−1.2'; a zero has no sign."""
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("+-")
    return text.replace("-", "−")


@dataclass(frozen=True)
class Line:
    """A row of texts, those at the places `bold` in bold; with `heading` one text over the rows
    below it; without cells a rule."""

    cells: Sequence[str] = ()
    bold: frozenset[int] = frozenset()
    heading: bool = False


@dataclass(frozen=True)
class Grid:
    """A table as texts."""

    header: Sequence[str]
    lines: Sequence[Line]

    @property
    def rows(self) -> list[Line]:
        """The lines that are rows."""
        return [line for line in self.lines if line.cells and not line.heading]

    @property
    def numbers(self) -> list[bool]:
        """Which columns hold numbers and dashes alone, and at least one: they are set to the
        right."""
        columns = [[row.cells[i] for row in self.rows] for i in range(len(self.header))]
        return [
            any(cells) and all(not text or _looks_like_a_number(text) for text in cells)
            for cells in columns
        ]


def _looks_like_a_number(text: str) -> bool:
    return text[0] in "0123456789–-−+±.<>" and not any(letter.isalpha() for letter in text)


@dataclass(frozen=True)
class Table:
    """A title, columns and rows.

    Rows that follow each other with equal values of `names` (keys of columns) are of one thing:
    named once and, where `ruled`, ruled off from the next. A new value of the key `section` is a
    heading. Of a row, "bold" holds the keys of what is best, "rule" asks for a rule above it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    names: Sequence[str] = ()
    section: str = ""
    ruled: bool = True

    def grid(self, *, intervals: bool = True, stacked: bool = False) -> Grid:
        """As texts; narrower without `intervals`, or with names `stacked` above their rows."""
        stacked = stacked and bool(self.names)
        shown = [one for one in self.columns if not (stacked and one.key in self.names)]
        lines: list[Line] = []
        before: Row = {}
        for row in self.rows:
            new = not before or any(before.get(key) != row.get(key) for key in self.names)
            if self.section and before.get(self.section) != row[self.section]:
                new = True
                lines += [Line()] * bool(before) + [Line([row[self.section]], heading=True)]
            elif before and (row.get("rule") or (self.names and self.ruled and new)):
                lines.append(Line())
            if stacked and new:
                lines.append(Line([self._name(row)], heading=True))
            lines.append(self._line(row, shown, new, intervals))
            before = row
        titles = [
            (one.title, INTERVAL) if one.interval and intervals else (one.title,) for one in shown
        ]
        return Grid([title for pair in titles for title in pair], lines)

    def only(self, keys: Sequence[str]) -> "Table":
        """The same with the columns `keys` alone."""
        return replace(self, columns=[column for column in self.columns if column.key in keys])

    def _name(self, row: Row) -> str:
        texts = []
        for column in self.columns:
            if column.key in self.names:
                text = column.text(row.get(column.key))
                texts.append(f"{column.title} = {text}" if len(column.title) == 1 else text)
        return ", ".join(texts)

    def _line(self, row: Row, shown: Sequence[Column], new: bool, intervals: bool) -> Line:
        cells: list[str] = []
        bold = set()
        for column in shown:
            if column.key in row.get("bold", ()):
                bold.add(len(cells))
            said = new or column.key not in self.names
            cells.append(column.text(row.get(column.key)) if said else "")
            if column.interval and intervals:
                cells.append(column.ends(row))
        return Line(cells, frozenset(bold))


def text_rows(title: str, titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of ready texts, whose columns have no keys of their own."""
    columns = [Column(name, name) for name in titles]
    return Table(title, columns, [dict(zip(titles, row, strict=True)) for row in rows])


def with_best(
    rows: Sequence[Row],
    columns: Sequence[Column],
    same: Sequence[str],
    unless: Callable[[Row, str], bool] = lambda row, key: False,
) -> list[Row]:
    """`rows` with "bold" for the best value of each column that has a better, among the rows of
    equal `same`; nothing is best alone, nor where `unless(row, key)`."""

    def is_best(row: Row, column: Column) -> bool:
        values = [
            one[column.key] * column.better
            for one in rows
            if one.get(column.key) is not None and all(one.get(key) == row.get(key) for key in same)
        ]
        own = row.get(column.key)
        return own is not None and len(values) > 1 and own * column.better == max(values)

    judged = [column for column in columns if column.better]
    return [
        {
            **row,
            "bold": {
                column.key
                for column in judged
                if not unless(row, column.key) and is_best(row, column)
            },
        }
        for row in rows
    ]
