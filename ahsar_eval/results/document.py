"""Tables as text in every form, with where their numbers come from: checkpoint hashes, split
identities, seed, versions, command.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ahsar_eval.results.latex import latex_table
from ahsar_eval.results.tables import markdown_table, text_table

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
    tables: Sequence[Table], notes: Sequence[str], facts: Mapping[str, Any], *, colour: bool = False
) -> dict[str, str]:
    """`tables` and notes as "table" (for a terminal), "markdown" and "latex"; `colour` allows bold
    where the output is a terminal.
    """
    origin = origin_lines(facts)
    plain = [
        text_table(
            table.header,
            table.body,
            title=table.title,
            best=table.best,
            colour=colour and _is_terminal(),
        )
        for table in tables
    ]
    marked = [
        (f"### {table.title}\n\n" if table.title else "")
        + markdown_table(table.header, table.body, best=table.best)
        for table in tables
    ]
    typeset = [
        latex_table(
            table.header,
            table.body,
            best=table.best,
            caption=table.title or None,
            comments=origin if place == 0 else (),
        )
        for place, table in enumerate(tables)
    ]
    listed = "\n".join(f"- {note}" for note in notes)
    folded = (
        "<details><summary>Provenance</summary>\n\n```\n"
        + "\n".join(origin)
        + "\n```\n\n</details>"
    )
    return {
        "table": "\n\n".join([*plain, "\n".join(notes)]),
        "markdown": "\n\n".join([*marked, listed, folded]),
        "latex": "\n\n".join([*typeset, "\n".join(f"% {note}" for note in notes)]),
    }


def origin_lines(facts: Mapping[str, Any]) -> list[str]:
    """Provenance for a reader, a line each."""
    lines = [
        f"command: {facts['command']}",
        f"time: {facts['time']}, seed: {facts.get('seed', 'none')}, threads: {facts['threads']}",
    ]
    lines.append(
        "versions: " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    )
    sets: dict[str, str] = {}
    for checkpoint in facts["checkpoints"]:
        lines.append(
            f"checkpoint: {checkpoint['name']}, sha256 {checkpoint['sha256']}, thresholds: "
            f"{checkpoint['thresholds']}"
        )
        for part in ("id", "data", "ood", "shifts", "fitted_on"):
            found = checkpoint.get(part, ())
            for split in [found] if isinstance(found, Mapping) else found:
                sets[f"{split['name']} ({split['role']})"] = split["identity"]
    return lines + [f"split: {name}, identity {identity}" for name, identity in sets.items()]


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
