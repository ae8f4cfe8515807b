"""Tables as the lists that tests compare: header, body and the cells in bold."""

from collections.abc import Collection, Sequence

from ahsar_eval.results.table import Column, Table


def table_of(
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    best: Collection[tuple[int, int]] = (),
    title: str = "",
) -> Table:
    """A table from rows of texts, ["---"] (a rule) and ["# …"] (a heading)."""
    columns = [Column(str(i), text) for i, text in enumerate(header)]
    rows: list[dict[str, object]] = []
    section, rule = "", False
    for cells in body:
        if cells[0] == "---" or cells[0].startswith("# "):
            rule = len(cells) == 1 and cells[0] == "---"
            section = section if rule else cells[0][2:]
            continue
        bold = {str(at) for row, at in best if row == len(rows)}
        texts = {str(i): text for i, text in enumerate(cells)}
        rows.append({**texts, "section": section, "rule": rule, "bold": bold})
        rule = False
    return Table(title, columns, rows, section="section" if section else "")


def header_of(table: Table) -> list[str]:
    return list(table.grid().header)


def body_of(table: Table) -> list[list[str]]:
    """Rows of cells; ["---"] for a rule and ["# …"] for a heading."""
    lines = table.grid().lines
    return [
        [f"# {line.cells[0]}"] if line.heading else list(line.cells) or ["---"] for line in lines
    ]


def best_of(table: Table) -> set[tuple[int, int]]:
    """(row, column) of the cells in bold, rules and headings not counted."""
    return {(i, at) for i, row in enumerate(table.grid().rows) for at in row.bold}
