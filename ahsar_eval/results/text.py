"""Tables as text for a terminal, as wide as it is; Markdown and HTML."""

import html
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ahsar_eval.results.table import Column, Grid, Line, Table

_GAP = "  "
_LEAST = 8
_PROSE = 28  # a column of sentences may become as narrow as this before a table is cut in blocks
DROPPED = "Intervals do not fit this width: widen the terminal, or see --format csv."


def terminal_width() -> int | None:
    """Columns of the terminal, or what COLUMNS says; None where output goes to a file."""
    if os.environ.get("COLUMNS") or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def text_table(table: Table, width: int | None = None, *, colour: bool = False) -> str:
    """A table with columns aligned by what they hold: text to the left, numbers to the right.

    Where it is wider than `width`, the names of its rows go above them, then sentences wrap, then
    intervals are left out, which is said; what is still too wide is cut into blocks of columns,
    each with the names. With `colour` title, headings and best cells are bold by ANSI escapes.
    """
    lines = textwrap.wrap(table.title, width) if width else [table.title]
    title = [_bold(line, colour) for line in lines if line]
    intervals = any(column.interval for column in table.columns)
    for with_intervals, stacked in ((True, False), (True, True), (False, False), (False, True)):
        grid = table.grid(intervals=with_intervals, stacked=stacked)
        widths = _widths(grid, width)
        if widths is not None:
            said = [] if with_intervals or not intervals else [DROPPED]
            return "\n".join([*title, *_drawn(grid, widths, colour), *said])
    blocks = _blocks(table, width or 0)
    if len(blocks) > 1:
        return "\n".join(
            [*title, "\n\n".join(text_table(one, width, colour=colour) for one in blocks)]
        )
    grid = table.grid(intervals=False, stacked=True)
    return "\n".join([*title, *_drawn(grid, _squeezed(grid, width or 0), colour)])


def paragraphs(notes: Sequence[str], width: int | None = None) -> str:
    """Sentences below tables, each from a new line and no wider than `width`."""
    if width is None:
        return "\n".join(notes)
    return "\n".join(textwrap.fill(note, width, subsequent_indent="  ") for note in notes)


def _widths(grid: Grid, width: int | None) -> list[int] | None:
    """The width of each column, sentences made narrower where that helps; None where it does not
    fit."""
    widths = _natural_widths(grid)
    if width is None or _whole(widths) <= width:
        return widths
    prose = {i for i in range(len(widths)) if any(" " in row.cells[i] for row in grid.rows)}
    widths = _narrowed(widths, width, {i: _PROSE for i in prose})
    return widths if _whole(widths) <= width else None


def _squeezed(grid: Grid, width: int) -> list[int]:
    """Widths at which texts break within words, for a table that fits in no other way."""
    texts = [i for i in range(len(grid.header)) if not grid.is_number(i)]
    return _narrowed(_natural_widths(grid), width, dict.fromkeys(texts, _LEAST))


def _natural_widths(grid: Grid) -> list[int]:
    from rich.cells import cell_len

    texts = [grid.header, *(row.cells for row in grid.rows)]
    return [max(cell_len(text[i]) for text in texts) for i in range(len(grid.header))]


def _whole(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _narrowed(widths: Sequence[int], width: int, least: Mapping[int, int]) -> list[int]:
    """`widths` with the widest columns of `least` narrowed first, none below what stands there."""
    found = list(widths)
    while _whole(found) > width:
        i = max(least, key=lambda i: found[i] if found[i] > least[i] else 0, default=None)
        if i is None or found[i] <= least[i]:
            break
        found[i] -= 1
    return found


def _drawn(grid: Grid, widths: Sequence[int], colour: bool) -> list[str]:
    right = [grid.is_number(i) for i in range(len(widths))]
    lines = [*_row(Line(grid.header), widths, right, False)]
    lines.append("─" * _whole(widths))
    for line in grid.lines:
        if line.heading:
            lines.append(_bold(line.cells[0], colour))
        else:
            lines += _row(line, widths, right, colour) if line.cells else [""]
    return [line.rstrip() for line in lines]


def _row(line: Line, widths: Sequence[int], right: Sequence[bool], colour: bool) -> list[str]:
    from rich.cells import cell_len

    cells = [
        textwrap.wrap(text, width, break_on_hyphens=False) if cell_len(text) > width else [text]
        for text, width in zip(line.cells, widths, strict=True)
    ]
    drawn = []
    for part in range(max(map(len, cells))):
        texts = []
        for i, wrapped in enumerate(cells):
            text = wrapped[part] if part < len(wrapped) else ""
            space = " " * (widths[i] - cell_len(text))
            text = _bold(text, colour and i in line.bold)
            texts.append(space + text if right[i] else text + space)
        drawn.append(_GAP.join(texts))
    return drawn


def _blocks(table: Table, width: int) -> list[Table]:
    """Tables of fewer columns, each with the names; one column at least stands in each."""
    columns = list(table.columns)
    names = [one.key for one in columns if one.key in table.names] or [columns[0].key]
    if columns[0].key not in names:
        names = [columns[0].key, *names]
    # What tells the rows of one name apart stands in each block, too.
    rest = [one for one in columns if one.key not in names]
    while rest and table.names and _is_text(rest[0], table):
        names.append(rest.pop(0).key)
    blocks: list[list[str]] = []
    for column in rest:
        wider = [*(blocks[-1] if blocks else []), column.key]
        if blocks and _fits(table.only([*names, *wider]), width):
            blocks[-1] = wider
        else:
            blocks.append([column.key])
    return [replace(table.only([*names, *keys]), title="") for keys in blocks]


def _fits(table: Table, width: int) -> bool:
    return _widths(table.grid(stacked=True), width) is not None


def _is_text(column: Column, table: Table) -> bool:
    return all(isinstance(row.get(column.key), str) for row in table.rows)


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour and text else text


def markdown_table(table: Table) -> str:
    """A GitHub table: best cells and headings are bold, rules between rows are left out."""
    from tabulate import tabulate

    grid = table.grid()
    body = []
    for line in grid.lines:
        escaped = [text.replace("|", "\\|") for text in line.cells]
        if line.heading:
            body.append([f"**{escaped[0]}**", *[""] * (len(grid.header) - 1)])
        elif line.cells:
            body.append([f"**{t}**" if i in line.bold else t for i, t in enumerate(escaped)])
    align = ["right" if grid.is_number(i) else "left" for i in range(len(grid.header))]
    drawn = tabulate(
        body, grid.header, "github", colalign=align if body else None, disable_numparse=True
    )
    return (f"### {table.title}\n\n" if table.title else "") + str(drawn)


def html_table(table: Table) -> str:
    """A table element, every text escaped; numbers to the right, best cells in bold."""
    grid = table.grid()
    aligned = ["right" if grid.is_number(i) else "left" for i in range(len(grid.header))]

    def row(cells: Sequence[str], tag: str, bold: frozenset[int] = frozenset()) -> str:
        drawn = []
        for i, text in enumerate(cells):
            inner = html.escape(text)
            inner = f"<b>{inner}</b>" if i in bold else inner
            drawn.append(f'<{tag} style="text-align:{aligned[i]}">{inner}</{tag}>')
        return f"<tr>{''.join(drawn)}</tr>"

    lines = [f"<caption>{html.escape(table.title)}</caption>"] if table.title else []
    lines.append(f"<thead>{row(grid.header, 'th')}</thead><tbody>")
    for line in grid.lines:
        if line.heading:
            text = html.escape(line.cells[0])
            lines.append(
                f'<tr><th colspan="{len(grid.header)}" style="text-align:left">{text}</th></tr>'
            )
        elif line.cells:
            lines.append(row(line.cells, "td", line.bold))
    return "<table>\n" + "\n".join([*lines, "</tbody>"]) + "\n</table>"
