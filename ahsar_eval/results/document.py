"""To be replaced by results.table and results.results: tables as text, with where numbers come
from: checkpoint hashes, split identities, seed, versions, command.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ahsar_eval.results.latex import latex_table
from ahsar_eval.results.results import origin_lines
from ahsar_eval.results.table import Column
from ahsar_eval.results.table import Table as Columned
from ahsar_eval.results.text import markdown_table, text_table

RULE = ["---"]
SECTIONS = {
    "id": "the ID set",
    "near": "near",
    "far": "far",
    "": "other sets",
    "shift": "shifts of the ID set",
}


@dataclass(frozen=True)
class Table:
    """A table before it is drawn: `best` holds (row, column) of the cells in bold, rules and
    headings not counted.
    """

    title: str
    header: Sequence[str]
    body: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()


def sectioned(
    title: str,
    header: Sequence[str],
    lines: Sequence[Any],
    *,
    name: Callable[[Any], str],
    cells: Callable[[Any, Sequence[Any]], tuple[Sequence[str], Collection[int]]],
    headings: bool,
    rules: bool,
) -> Table:
    """A table of `lines` by their `group` (see `SECTIONS`), those of one `name` together and the
    name said once.

    `cells(line, same)` gives the texts behind the name and which of them are bold, `same` being the
    lines of that name. `headings` stand over the sections, `rules` between names.
    """
    body: list[Sequence[str]] = []
    best: set[tuple[int, int]] = set()
    number = 0
    for section in SECTIONS:
        own = [line for line in lines if line.group == section]
        if own and headings:
            body += [*([RULE] if body else []), [f"# {SECTIONS[section]}"]]
        for place, shown in enumerate(dict.fromkeys(map(name, own))):
            if rules and place:
                body.append(RULE)
            same = [line for line in own if name(line) == shown]
            for line in same:
                texts, bold = cells(line, same)
                body.append([shown if line is same[0] else "", *texts])
                best |= {(number, 1 + at) for at in bold}
                number += 1
    return Table(title, header, body, frozenset(best))


def texts_of(
    tables: Sequence[Table],
    notes: Sequence[str],
    facts: Mapping[str, Any],
    *,
    colour: bool = False,
) -> dict[str, str]:
    """`tables` and notes as "table" (for a terminal), "markdown" and "latex"; `colour` allows bold
    where the output is a terminal.
    """
    origin = origin_lines(facts)
    made = [_columned(table) for table in tables]
    plain = [text_table(table, colour=colour and _is_terminal()) for table in made]
    typeset = [
        latex_table(table, comments=origin if i == 0 else ()) for i, table in enumerate(made)
    ]
    listed = "\n".join(f"- {note}" for note in notes)
    folded = (
        "<details><summary>Provenance</summary>\n\n```\n"
        + "\n".join(origin)
        + "\n```\n\n</details>"
    )
    return {
        "table": "\n\n".join([*plain, "\n".join(notes)]),
        "markdown": "\n\n".join([*map(markdown_table, made), listed, folded]),
        "latex": "\n\n".join([*typeset, "\n".join(f"% {note}" for note in notes)]),
    }


def _columned(table: Table) -> Columned:
    """The same with columns; a heading is a section of the rows below it."""
    columns = [Column(str(i), title) for i, title in enumerate(table.header)]
    rows: list[dict[str, Any]] = []
    section, rule, number = "", False, 0
    for cells in table.body:
        if list(cells) == RULE:
            rule = True
        elif len(cells) == 1 and cells[0].startswith("# "):
            section, rule = cells[0][2:], False
        else:
            bold = {str(i) for i in range(len(cells)) if (number, i) in table.best}
            row = {str(i): text for i, text in enumerate(cells)}
            rows.append({**row, "section": section, "rule": rule, "bold": bold})
            rule, number = False, number + 1
    return Columned(table.title, columns, rows, section="section" if section else "")


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
