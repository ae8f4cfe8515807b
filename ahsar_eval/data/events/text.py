"""Recordings as text: an event a line, in columns that a line above names, or whose order is
stated.

The first line that is no comment decides separator and columns; pandas reads the rest. Besides
names, two first lines of tools are known: `%geometry:WIDTH,HEIGHT` (Metavision) and `WIDTH HEIGHT`
(rpg_e2vid).
"""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.binary import MOST_EVENTS, beginning, refuse_too_many
from ahsar_eval.data.events.stream import KEYS, Column, Decoded, Sensor, keys_of, on_off
from ahsar_eval.errors import DataError

_VALUE = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|true|false|on|off|nan|inf", re.I)
_MOST_COLUMNS = 100
_ON, _OFF = ["ON", "On", "on"], ["OFF", "Off", "off"]


@dataclass(frozen=True)
class _Layout:
    """Of a text: `skip` lines before the first event, places of t, x, y and p in a line, and what
    the lines above say of unit and sensor (height, width).
    """

    encoding: str
    skip: int
    separator: str
    comment: str
    decimal: str
    places: list[int]
    unit: str
    sensor: Sensor | None


def stated_in_text(path: Path) -> Sensor | None:
    """(height, width) where the lines above the events state it, None where they do not. Raises
    `DataError` for what is no text.
    """
    return _sensor(*_lines(path)[1:])


def read_text(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """Columns t, x, y and p (`stream.KEYS`) separated by commas, semicolons, tabs or spaces, in any
    order and among others; lines of # or % are comments.

    `form` states the order of a text without names: a letter for each column, - for one that is
    none of the four. A name may state the unit of time: t_us, timestamp [ms]. Raises `DataError`.
    """
    import pandas as pd

    layout = _layout(path, form)
    with open(path, encoding=layout.encoding) as reader:
        for _ in range(layout.skip):
            reader.readline()
        try:
            table = pd.read_csv(
                reader,
                sep=layout.separator,
                header=None,
                comment=layout.comment,
                decimal=layout.decimal,
                skipinitialspace=True,
                true_values=_ON,
                false_values=_OFF,
                nrows=MOST_EVENTS + 1,
                low_memory=False,
            )
        except (pd.errors.ParserError, ValueError) as error:
            raise DataError(
                f"is no table ({str(error).strip().rstrip('.')}); expected the same columns in "
                "each line"
            ) from error
    refuse_too_many(len(table))
    columns: dict[str, Column] = {}
    for key, place in zip("txyp", layout.places, strict=True):
        numbers = pd.to_numeric(table[place], errors="coerce")
        if len(bad := np.flatnonzero(numbers.isna())):
            raise DataError(
                f"has {str(table[place].iloc[bad[0]])!r} as {key} of event {bad[0] + 1}; expected "
                "a number"
            )
        columns[key] = numbers.to_numpy()
    t, x, y, p = columns.values()
    return Decoded(t, x, y, on_off(p), layout.sensor, unit=layout.unit)


def _lines(path: Path) -> tuple[str, list[str], list[str]]:
    """The encoding of a text; comments and blank lines at its beginning; the lines after them, as
    far as its beginning goes.
    """
    data = beginning(path)
    encoding = (
        "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    )
    text = data.decode(encoding, "replace")
    if "\0" in text:
        raise DataError("is no text; expected lines of columns t, x, y and p; is it misnamed?")
    lines = re.split(r"\r\n|\r|\n", text)
    first = next((i for i, line in enumerate(lines) if not _is_comment(line)), len(lines))
    return encoding, lines[:first], [line for line in lines[first:] if not _is_comment(line)]


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith(("#", "%", "//"))


def _sensor(comments: list[str], lines: list[str]) -> Sensor | None:
    found = re.search(r"geometry\W+(\d{1,5})[,x](\d{1,5})", "\n".join(comments), re.I)
    if found is None and len(lines) > 1 and len(_cells(lines[1])) >= 4:
        found = re.fullmatch(r"(\d{1,5})[\s,;]+(\d{1,5})", lines[0].strip())
    return (int(found[2]), int(found[1])) if found else None


def _layout(path: Path, form: str) -> _Layout:
    encoding, comments, lines = _lines(path)
    sensor = _sensor(comments, lines)
    skip = len(comments)
    if lines and re.fullmatch(r"\d+[\s,;]+\d+", lines[0].strip()) and sensor:
        lines, skip = lines[1:], skip + 1
    if not lines:
        raise DataError("holds no line of columns; expected t, x, y and p of an event in each")
    first, cells = lines[0].strip(), _cells(lines[0])
    if len(cells) > _MOST_COLUMNS:
        raise DataError(
            f"has {len(cells):,} columns in its first line; expected at most {_MOST_COLUMNS}, one "
            "event a line"
        )
    values = [bool(_VALUE.fullmatch(cell)) for cell in cells]
    names = cells if not all(values) else _cells(comments[-1].strip("#%/ ")) if comments else []
    if not all(values):
        skip += 1
        events = [len(_cells(line)) for line in lines[1:2]]
        if events and events[0] != len(cells):
            raise DataError(
                f"names {len(cells)} columns ({first[:60]!r}) and has {events[0]} in the line "
                "after it; expected as many"
            )
    unit = ""
    places: list[int] = []
    if len(names) == len(cells) and any(map(str.isalpha, "".join(names))):
        try:
            unit, places = _named(names)
        except DataError:
            if not form and not all(values):
                raise
    if not places and form and len(cells) >= len(form):
        places = [form.index(key) for key in "txyp"]
    if not places:
        known = f"--columns states {len(form)} columns ({form})" if form else "no line names them"
        raise DataError(
            f"has the first line {first[:60]!r} and {known}; state the order of its columns, such "
            "as --columns txyp (- for a column that is none of these)"
        )
    body = "\n".join(lines[:100])
    separator = _separator(first)
    return _Layout(
        encoding,
        skip,
        separator,
        "%" if any(line.lstrip().startswith("%") for line in comments) else "#",
        "," if separator in ";\t" and re.search(r"\d,\d", body) else ".",
        places,
        unit,
        sensor,
    )


def _separator(line: str) -> str:
    return next((mark for mark in ";\t," if mark in line), r"\s+")


def _cells(line: str) -> list[str]:
    """The cells of a line, without empty ones at its end."""
    separator = _separator(line)
    cells = re.split(separator, line.strip() if separator == r"\s+" else line)
    while len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [cell.strip().strip("\"'") for cell in cells]


def _named(names: list[str]) -> tuple[str, list[int]]:
    """The unit that the name of t states, "" for none, and the places of t, x, y and p. Raises
    `DataError` where one is missing or doubled.
    """
    unit, plain = "", []
    for name in names:
        bare = name.lower()
        match = re.fullmatch(r"(\w+?)[\s_]*[\[(]?(s|ms|us|µs|μs|ns)[\])]?", bare)
        if bare not in KEYS[0].split() and match and match[1] in KEYS[0].split():
            bare, unit = match[1], match[2].replace("µ", "u").replace("μ", "u")
        plain.append(bare)
    return unit, [plain.index(key) for key in keys_of(plain)]
