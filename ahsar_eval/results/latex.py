"""Tables for a paper: LaTeX with booktabs, every name escaped, where the numbers come from in
comments.
"""

import re
import unicodedata
from collections.abc import Sequence

from ahsar_eval.errors import DataError
from ahsar_eval.results.table import Grid, Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",  # babel may have made it active
    "'": "{'}",
    "`": "{`}",
    "–": "--",
    "—": "---",
    "‐": "-",
    "‑": "-",
    "…": r"\ldots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
} | {
    sign: f"${code}$"
    for sign, code in {
        "−": "-",
        "±": r"\pm",
        "×": r"\times",
        "·": r"\cdot",
        "÷": r"\div",
        "≤": r"\leq",
        "≥": r"\geq",
        "≠": r"\neq",
        "≈": r"\approx",
        "→": r"\rightarrow",
        "←": r"\leftarrow",
        "↑": r"\uparrow",
        "↓": r"\downarrow",
        "∞": r"\infty",
        "√": r"\surd",
        "Δ": r"\Delta",
        "α": r"\alpha",
        "β": r"\beta",
        "γ": r"\gamma",
        "δ": r"\delta",
        "ε": r"\varepsilon",
        "θ": r"\theta",
        "κ": r"\kappa",
        "λ": r"\lambda",
        "μ": r"\mu",
        "µ": r"\mu",
        "π": r"\pi",
        "ρ": r"\rho",
        "σ": r"\sigma",
        "τ": r"\tau",
        "¹": "^1",
        "²": "^2",
        "³": "^3",
        "°": r"^\circ",
    }.items()
}


def latex_table(
    table: Table,
    *,
    label: str | None = None,
    notes: Sequence[str] = (),
    comments: Sequence[str] = (),
) -> str:
    r"""A tabular of booktabs: columns of numbers to the right, rules and headings kept, best cells
    bold.

    All text is escaped; `label` is not, and may hold letters, digits and `:._-`. `comments` stand
    above as LaTeX comments, `notes` below in small type. With a title or a label it is a whole
    table, without both a tabular for one. It needs `\usepackage{booktabs}` and compiles under
    pdfLaTeX for names in Latin letters, under LuaLaTeX and XeLaTeX for all that the font has.
    Raises `DataError` for such a label.
    """
    if label is not None and not re.fullmatch(r"[A-Za-z0-9:._-]+", label):
        raise DataError(
            f"the label {label!r} is not one LaTeX takes; expected letters, digits and :._- alone"
        )
    grid = table.grid()
    columns = range(len(grid.header))
    lines = [f"% {_one_line(comment)}" for comment in [*comments, r"needs \usepackage{booktabs}"]]
    alignment = "".join("r" if grid.is_number(i) else "l" for i in columns)
    drawn = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    drawn += [_row([escaped(name) for name in grid.header]), r"\midrule", *_body(grid)]
    drawn += [r"\bottomrule", r"\end{tabular}"]
    if notes:
        small = [rf"{escaped(note)}\par" for note in notes]
        drawn += ["", r"\par\smallskip", r"{\footnotesize", *small, "}"]
    if not table.title and label is None:
        return "\n".join([*lines, *drawn])
    above = [r"\begin{table}[t]", r"\centering"]
    if table.title:
        above.append(rf"\caption{{{escaped(table.title)}}}")
    if label is not None:
        above.append(rf"\label{{{label}}}")
    return "\n".join([*lines, *above, *drawn, r"\end{table}"])


def escaped(text: str) -> str:
    """Text as LaTeX that prints it: special characters escaped, dashes and signs as their commands,
    no ligature made by accident.
    """
    letters = [_ESCAPES.get(letter, letter) for letter in _one_line(text)]
    return "".join(
        ("{}" if _joins(before, letter) else "") + letter
        for before, letter in zip(["", *letters], letters, strict=False)
    )


def _joins(before: str, letter: str) -> bool:
    """Whether TeX would print the two as one: '--' in a name is two hyphens, not a dash; so with
    pairs of commas and quotes, ?` and !`.
    """
    return before[-1:] + letter[:1] in ("--", ",,", "''", "``", "?`", "!`")


def _body(grid: Grid) -> list[str]:
    lines: list[str] = []
    for line in grid.lines:
        if line.heading:
            if lines and lines[-1] != r"\midrule":
                lines.append(r"\addlinespace")
            text = escaped(line.cells[0])
            lines.append(rf"\multicolumn{{{len(grid.header)}}}{{l}}{{\textit{{{text}}}}} \\")
        elif line.cells:
            cells = [escaped(text) for text in line.cells]
            lines.append(
                _row([rf"\textbf{{{t}}}" if i in line.bold else t for i, t in enumerate(cells)])
            )
        elif lines and lines[-1] != r"\midrule":
            lines.append(r"\midrule")
    return lines


def _row(cells: Sequence[str]) -> str:
    # After a row or a rule LaTeX takes [ and * for an argument.
    first = "{" + cells[0][:1] + "}" + cells[0][1:] if cells[0][:1] in ("[", "*") else cells[0]
    return " & ".join([first, *cells[1:]]) + r" \\"


def _one_line(text: str) -> str:
    """The text on one line, its accents composed, without control and invisible characters."""
    kinds = (
        (letter, unicodedata.category(letter)) for letter in unicodedata.normalize("NFC", text)
    )
    kept = "".join(
        " " if kind in ("Cc", "Cs", "Zl", "Zp") else letter
        for letter, kind in kinds
        if kind != "Cf"
    )
    return " ".join(kept.split())
