"""Tables as text: for a terminal, as wide as it is; Markdown, HTML, and LaTeX with booktabs."""

import html
import itertools
import os
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

from ahsar_eval.results.table import Grid, Line, Table

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
    for with_intervals, stacked in itertools.product((True, False), (False, True)):
        grid = table.grid(intervals=with_intervals, stacked=stacked)
        widths = _widths(grid, width)
        if widths is not None:
            said = [] if with_intervals or not intervals else [DROPPED]
            return "\n".join([*title, *_drawn(grid, widths, colour), *said])
    blocks = _blocks(table, width or 0)
    if len(blocks) > 1:
        drawn = "\n\n".join(text_table(one, width, colour=colour) for one in blocks)
        return "\n".join([*title, drawn])
    squeezed = _widths(grid, width, within_words=True) or []  # of the narrowest there was
    return "\n".join([*title, *_drawn(grid, squeezed, colour)])


def paragraphs(notes: Sequence[str], width: int | None = None) -> str:
    """Sentences below tables, each from a new line and no wider than `width`."""
    if width is None:
        return "\n".join(notes)
    return "\n".join(textwrap.fill(note, width, subsequent_indent="  ") for note in notes)


def _widths(grid: Grid, width: int | None, *, within_words: bool = False) -> list[int] | None:
    """The width of each column, sentences made narrower where that helps; None where it does not
    fit. Where texts may break `within_words`, the narrowest there can be.
    """
    from rich.cells import cell_len

    columns = [[row.cells[i] for row in grid.rows] for i in range(len(grid.header))]
    widths = [
        max(map(cell_len, [title, *cells]))
        for title, cells in zip(grid.header, columns, strict=True)
    ]
    narrow = {  # what can be made narrower, and how far
        i: _LEAST if within_words else _PROSE
        for i, is_number in enumerate(grid.numbers)
        if (not is_number if within_words else any(" " in text for text in columns[i]))
    }
    while width is not None and _whole(widths) > width:
        wide = [i for i, least in narrow.items() if widths[i] > least]
        if not wide:
            return widths if within_words else None
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _whole(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _drawn(grid: Grid, widths: Sequence[int], colour: bool) -> list[str]:
    from rich.cells import cell_len

    right = grid.numbers

    def row(line: Line) -> list[str]:
        cells = [
            textwrap.wrap(text, width, break_on_hyphens=False) if cell_len(text) > width else [text]
            for text, width in zip(line.cells, widths, strict=True)
        ]
        drawn = []
        for texts in itertools.zip_longest(*cells, fillvalue=""):
            aligned = []
            for i, text in enumerate(texts):
                space = " " * (widths[i] - cell_len(text))
                shown = _bold(text, colour and i in line.bold)
                aligned.append(space + shown if right[i] else shown + space)
            drawn.append(_GAP.join(aligned).rstrip())
        return drawn

    lines = [*row(Line(grid.header)), "─" * _whole(widths)]
    for line in grid.lines:
        if line.heading:
            lines.append(_bold(line.cells[0], colour))
        else:
            lines += row(line) if line.cells else [""]
    return lines


def _blocks(table: Table, width: int) -> list[Table]:
    """Tables of fewer columns, each with the names and, so that the rows of one name can be told
    apart, the texts behind them; one column at least stands in each.
    """
    keys = [one.key for one in table.columns]
    names = list(dict.fromkeys([keys[0], *(key for key in keys if key in table.names)]))
    rest = [key for key in keys if key not in names]
    while rest and table.names and all(isinstance(row.get(rest[0]), str) for row in table.rows):
        names.append(rest.pop(0))
    blocks: list[list[str]] = []
    for key in rest:
        wider = [*(blocks[-1] if blocks else names), key]
        if blocks and _widths(table.only(wider).grid(stacked=True), width) is not None:
            blocks[-1] = wider
        else:
            blocks.append([*names, key])
    return [replace(table.only(block), title="") for block in blocks]


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour and text else text


# --- Markdown and HTML


def markdown_table(table: Table) -> str:
    """A GitHub table: best cells and headings are bold, rules between rows are left out."""
    drawn = _tabulated(table, "github", "**{}**", lambda text: text.replace("|", "\\|"))
    return (f"### {table.title}\n\n" if table.title else "") + drawn


def html_table(table: Table) -> str:
    """A table element, every text escaped; numbers to the right, best cells and headings in
    bold.
    """
    title = f"<h4>{html.escape(table.title)}</h4>\n" if table.title else ""
    return title + _tabulated(table, "unsafehtml", "<b>{}</b>", html.escape)


def _tabulated(table: Table, form: str, bold: str, escape: Callable[[str], str]) -> str:
    from tabulate import tabulate

    grid = table.grid()
    body = [
        [
            bold.format(escape(text)) if line.heading or i in line.bold else escape(text)
            for i, text in enumerate(line.cells)
        ]
        for line in grid.lines
        if line.cells
    ]
    align = ["right" if is_number else "left" for is_number in grid.numbers]
    header = list(map(escape, grid.header))
    return str(
        tabulate(body, header, form, colalign=align if body else None, disable_numparse=True)
    )


# --- LaTeX

# What a letter is written as.
_WRITTEN = r"""
\ \textbackslash{}   { \{   } \}   $ \$   & \&   % \%   # \#   _ \_   ~ \textasciitilde{}
^ \textasciicircum{}   < \textless{}   > \textgreater{}   | \textbar{}   " {\char34}   ' {'}
` {`}   – --   — ---   ‐ -   ‑ -   … \ldots{}   ’ '   ‘ `   “ ``   ” ''
− $-$   ± $\pm$   × $\times$   · $\cdot$   ÷ $\div$   ≤ $\leq$   ≥ $\geq$   ≠ $\neq$   ≈ $\approx$
→ $\rightarrow$   ← $\leftarrow$   ↑ $\uparrow$   ↓ $\downarrow$   ∞ $\infty$   √ $\surd$
Δ $\Delta$   α $\alpha$   β $\beta$   γ $\gamma$   δ $\delta$   ε $\varepsilon$   θ $\theta$
κ $\kappa$   λ $\lambda$   μ $\mu$   µ $\mu$   π $\pi$   ρ $\rho$   σ $\sigma$   τ $\tau$   ¹ $^1$
² $^2$   ³ $^3$   ° $^\circ$
""".split()
_ESCAPES = dict(zip(_WRITTEN[::2], _WRITTEN[1::2], strict=True))


def latex_table(table: Table, comments: Sequence[str] = ()) -> str:
    r"""A tabular of booktabs: columns of numbers to the right, rules and headings kept, best cells
    bold; with a title a whole table, captioned.

    All text is escaped; `comments` stand above as LaTeX comments. It needs `\usepackage{booktabs}`
    and compiles under pdfLaTeX for names in Latin letters, under LuaLaTeX and XeLaTeX for all that
    the font has.
    """
    grid = table.grid()
    alignment = "".join("r" if is_number else "l" for is_number in grid.numbers)
    body: list[str] = []
    for line in grid.lines:
        after_rule = not body or body[-1] == r"\midrule"
        if line.heading:
            text = escaped(line.cells[0])
            body += [] if after_rule else [r"\addlinespace"]
            body.append(rf"\multicolumn{{{len(grid.header)}}}{{l}}{{\textit{{{text}}}}} \\")
        elif line.cells:
            body.append(_latex_row(line))
        elif not after_rule:
            body.append(r"\midrule")
    top = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", _latex_row(Line(grid.header))]
    lines = [*top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    if table.title:
        caption = rf"\caption{{{escaped(table.title)}}}"
        lines = [r"\begin{table}[t]", r"\centering", caption, *lines, r"\end{table}"]
    above = [f"% {_one_line(comment)}" for comment in [*comments, r"needs \usepackage{booktabs}"]]
    return "\n".join([*above, *lines])


def _latex_row(line: Line) -> str:
    cells = [escaped(text) for text in line.cells]
    cells = [rf"\textbf{{{text}}}" if i in line.bold else text for i, text in enumerate(cells)]
    # After a row or a rule LaTeX takes [ and * for an argument.
    cells[0] = re.sub(r"^([\[*])", r"{\1}", cells[0])
    return " & ".join(cells) + r" \\"


def escaped(text: str) -> str:
    """Text as LaTeX that prints it: special characters escaped, dashes and signs as their commands,
    no ligature made by accident: '--' in a name is two hyphens, not a dash.
    """
    joined = ("--", ",,", "''", "``", "?`", "!`")
    written = ""
    for letter in _one_line(text):
        code = _ESCAPES.get(letter, letter)
        written += "{}" * (written[-1:] + code[:1] in joined) + code
    return written


def _one_line(text: str) -> str:
    """The text on one line, its accents composed, without control and invisible characters."""
    kept = ""
    for letter in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(letter)
        kept += " " if kind in ("Cc", "Cs", "Zl", "Zp") else letter * (kind != "Cf")
    return " ".join(kept.split())
