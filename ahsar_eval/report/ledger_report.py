"""Conventions side by side, and the ledger that walks from one to another, as tables
and flat rows."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ahsar_eval.energy.conventions import CONVENTIONS, ConventionTotals, Number, json_number
from ahsar_eval.energy.ledger import Ledger
from ahsar_eval.results.document import RULE, Table

CONVENTION_HEADER = ["convention", "MACs", "ACs", "beside them"]
LEDGER_HEADER = ["step", "MACs", "ACs", "why"]
DETAIL_HEADER = ["step", "layer", "MACs", "ACs"]


def per_inference(number: Number, samples: int, *, signed: bool = False) -> str:
    """A total over `samples` as a mean per inference, one digit behind the point where it does not
    come out even.
    """
    mean = Fraction(number) / samples
    digits = ",.0f" if mean.denominator == 1 else ",.1f"
    return format(float(mean), f"+{digits}" if signed and mean else digits)


def convention_table(
    totals: Sequence[ConventionTotals], title: str = "What each convention gives, per inference"
) -> Table:
    """One line per convention for the same run."""
    body = [
        [
            found.convention,
            per_inference(found.macs, found.samples),
            per_inference(found.acs, found.samples),
            ", ".join(
                f"{name} {per_inference(value, found.samples)}"
                for name, value in found.extra.items()
            )
            or "–",
        ]
        for found in totals
    ]
    return Table(title, CONVENTION_HEADER, body)


def ledger_tables(ledgers: Sequence[Ledger], *, detail: bool = False, of: str = "") -> list[Table]:
    """A table per ledger: its start, every step that changes something, its end. `detail` adds the
    steps layer by layer.

    `of` is what the numbers are of (a checkpoint, a set), for the titles.
    """
    tables = []
    for ledger in ledgers:
        samples, named = (
            ledger.start.samples,
            f"From {ledger.start.convention} to {ledger.end.convention}",
        )
        title = f"{named}, per inference{f' ({of})' if of else ''}"
        ends = [
            [
                end.convention,
                per_inference(end.macs, samples),
                per_inference(end.acs, samples),
                CONVENTIONS[end.convention].source,
            ]
            for end in (ledger.start, ledger.end)
        ]
        walked = [
            [
                step.name,
                per_inference(step.macs, samples, signed=True),
                per_inference(step.acs, samples, signed=True),
                step.reason,
            ]
            for step in ledger.changes
        ]
        tables.append(
            Table(
                title, LEDGER_HEADER, [ends[0], RULE, *walked, *([RULE] if walked else []), ends[1]]
            )
        )
        if detail and walked:
            lines: list[list[str]] = []
            for step in ledger.changes:
                for place, amount in enumerate(step.layers):
                    macs, acs = (
                        per_inference(number, samples, signed=True)
                        for number in (amount.macs, amount.acs)
                    )
                    lines.append([step.name if place == 0 else "", amount.layer, macs, acs])
            tables.append(Table(f"{named}, layer by layer", DETAIL_HEADER, lines))
    return tables


def convention_notes(totals: Sequence[ConventionTotals]) -> list[str]:
    """What each convention counts, and what a reader must know of this run."""
    notes = []
    for found in totals:
        convention = CONVENTIONS[found.convention]
        notes.append(
            " ".join([f"{convention.name} ({convention.source}): {convention.rule}.", *found.notes])
        )
    return notes


def ledger_notes(ledgers: Sequence[Ledger]) -> list[str]:
    """How to read the ledgers."""
    if not ledgers:
        return []
    notes = [
        "Ledger: start + steps = end exactly, for every layer; each step is counted on its own; "
        "steps that change nothing are left out."
    ]
    judging = {
        end.convention: end.batch_size for ledger in ledgers for end in (ledger.start, ledger.end)
    }
    judging = {name: size for name, size in judging.items() if CONVENTIONS[name].judges_calls}
    if judging:
        size = next(iter(judging.values()))
        notes.append(
            f"{', '.join(judging)}: MAC or AC is decided by the values of a whole call, so the "
            f"numbers hold for batches of {size} "
            "consecutive samples; at another batch size they differ."
        )
    return notes


def convention_rows(totals: Sequence[ConventionTotals], **facts: Any) -> list[dict[str, Any]]:
    """Flat rows: one per convention and layer, and one for the whole (layer 'total'); totals exact,
    over all samples.

    `facts` (checkpoint, data, …) come first in every row.
    """
    rows = []
    for found in totals:
        shared = {
            **facts,
            "convention": found.convention,
            "samples": found.samples,
            "batch_size": found.batch_size,
        }
        lines = [
            ("total", "", found.macs, found.acs),
            *((row.layer, row.part, row.macs, row.acs) for row in found.per_layer),
        ]
        for layer, part, macs, acs in lines:
            rows.append(
                {**shared, "layer": layer, "part": part, **_numbers(macs, acs, found.samples)}
            )
        for name, value in found.extra.items():
            rows.append(
                {**shared, "layer": "total", "part": name, **_numbers(0, value, found.samples)}
            )
    return rows


def ledger_rows(ledgers: Sequence[Ledger], **facts: Any) -> list[dict[str, Any]]:
    """Flat rows: start, every step that changes something (layer 'total' and each layer), end;
    totals exact, over all samples.
    """
    rows = []
    for ledger in ledgers:
        start, end = ledger.start, ledger.end
        shared = {
            **facts,
            "start": start.convention,
            "end": end.convention,
            "samples": start.samples,
            "batch_size": start.batch_size,
        }
        lines: list[tuple[str, str, Number, Number]] = [("start", "total", start.macs, start.acs)]
        for step in ledger.changes:
            lines.append((step.name, "total", step.macs, step.acs))
            lines += [(step.name, *amount) for amount in step.layers]
        lines.append(("end", "total", end.macs, end.acs))
        rows += [
            {**shared, "step": name, "layer": layer, **_numbers(macs, acs, start.samples)}
            for name, layer, macs, acs in lines
        ]
    return rows


def _numbers(macs: Number, acs: Number, samples: int) -> dict[str, Any]:
    return {
        "macs_per_inference": float(Fraction(macs) / samples),
        "acs_per_inference": float(Fraction(acs) / samples),
        "macs_total": json_number(macs),
        "acs_total": json_number(acs),
    }
