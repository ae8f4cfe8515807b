"""What was required, for a reader: the table, what is to be said of it, and a sentence where it is
not met.
"""

import functools
from collections.abc import Sequence

from ahsar_eval.errors import RequirementError
from ahsar_eval.evaluation.requirements import ESTIMATE, INTERVAL
from ahsar_eval.results.table import NONE, Row, Table, read_columns


def requirement_tables(records: Sequence[Row]) -> list[Table]:
    """What was required, of which network, what was measured, and whether it is met; no table where
    nothing was."""
    several = len({row["profile"] for row in records} - {None}) > 1
    rows = []
    for row in records:
        text = functools.partial(_text, row)
        ends = [row["low"], row["high"]]
        estimate = " (estimate)" if row["decided_on"] == ESTIMATE else ""
        profile = f", {row['profile']}" if several and row["profile"] else ""
        rows.append(
            {
                "requirement": row["requirement"],
                "network": f"{row['label']}{profile}",
                "value": text(row["value"]),
                "interval": NONE if None in ends else NONE.join(map(text, ends)),
                "decided": text(row["bound"]) + estimate,
                "met": "yes" if row["passed"] else "NO",
            }
        )
    columns = read_columns(__file__, "requirements")["decided"]
    return [Table("Requirements", columns, rows, names=("requirement",), ruled=False)] * bool(rows)


def _text(row: Row, value: float | None) -> str:
    """A number of a record with as many digits as tell it from what is needed."""
    if value is None:
        return NONE
    needed, size = row["needed"], max(abs(value), abs(row["needed"]))
    least = 4 if size < 10 else 2 if size < 1e4 else 0
    for digits in range(least, 17):
        text = f"{value:,.{digits}f}"
        if value == needed or text != f"{needed:,.{digits}f}":
            break
    return text


def told(row: Row) -> str:
    """A requirement that is not met, for a sentence."""
    by = f"{row['requirement']} by {row['label']}"
    if row["bound"] is None:
        return f"{by} (not decided: {row['why']})"
    number = f"{_text(row, row['bound'])}{' ' * bool(row['unit'])}{row['unit']}"
    if row["decided_on"] == ESTIMATE:
        return f"{by} (estimate {number})"
    end = "low" if row["comparison"].startswith(">") else "high"
    return f"{by} ({end} end of the interval {number})"


def requirement_notes(records: Sequence[Row]) -> list[str]:
    """How requirements were decided, and what is to be said of single ones."""
    on = {row["decided_on"] for row in records}
    notes = []
    if INTERVAL in on:
        notes.append(
            "Requirements are decided on the end of the 95 % interval that speaks against them: "
            "the lower one for >= and >, the upper one for <= and <."
        )
    if any(row["profile"] and row["decided_on"] == INTERVAL for row in records):
        notes.append("Interval of an energy or a count: of the mean over samples, Student's t.")
    notes += [
        f"{row['requirement']}, {row['label']}: {row['why']}." for row in records if row["why"]
    ]
    return notes


def check_met(records: Sequence[Row]) -> None:
    """That every requirement is met. Raises `RequirementError`, which names those that are not."""
    missed = [row for row in records if not row["passed"]]
    if missed:
        named = "; ".join(map(told, missed[:3]))
        more = f"; and {len(missed) - 3} more" if missed[3:] else ""
        are = "is" if len(missed) == 1 else "are"
        which = f"{len(missed)} of {len(records)} requirements {are}"
        which = "the requirement is" if len(records) == 1 else which
        raise RequirementError(f"{which} not met: {named}{more}")
