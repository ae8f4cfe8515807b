"""Everything that `ahsar-eval energy` found, in every form: tables for a reader, flat rows and one
JSON for files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ahsar_eval.energy import EnergyResult
from ahsar_eval.evaluation.energy import EnergyStudy
from ahsar_eval.report.energy_report import energy_notes, energy_tables, network_of
from ahsar_eval.report.energy_rows import (
    contrast_dicts,
    energy_csv_rows,
    result_rows,
    scale_dicts,
    shift_dicts,
    shift_rows,
)
from ahsar_eval.report.energy_shift_report import scale_table, shift_tables, study_notes
from ahsar_eval.report.ledger_report import (
    convention_notes,
    convention_rows,
    convention_table,
    ledger_notes,
    ledger_rows,
    ledger_tables,
)
from ahsar_eval.results.document import Table, texts_of
from ahsar_eval.results.tables import csv_text, json_text

MEMORY_HEADER = [
    "checkpoint",
    "nJ computation",
    "nJ addressing",
    "nJ memory",
    "nJ input",
    "nJ weights",
    "nJ potentials",
    "nJ output",
    "nJ total",
]


def energy_texts(
    studies: Sequence[EnergyStudy],
    *,
    notes: Sequence[str],
    facts: Mapping[str, Any],
    plain: bool,
    memory: bool = False,
    detail: bool = False,
    colour: bool = False,
) -> dict[str, str]:
    """One study per profile as "table", "markdown", "latex", "csv" and "json".

    `plain`: results alone were asked for, and JSON is one object or a list of them; otherwise it is
    a mapping of lists. Every row of the CSV says in `row` what it is. `notes` are of the sets.
    """
    tables, said = [], []
    for number, study in enumerate(studies):
        tables += energy_tables(study.clean, detail=detail)
        if memory:
            tables.append(memory_table(study.clean))
        tables += shift_tables(study, detail=detail)
        curve = scale_table(study)
        tables += [curve] if curve is not None else []
        said += [
            *energy_notes(study.clean),
            *(_memory_notes(study.clean) if memory else []),
            *study_notes(study),
        ]
        if number == 0:  # counts, whatever their price
            tables += _convention_tables(study, detail=detail)
    said += [note for one in studies[0].conventions for note in convention_notes(one)]
    said += [note for one in studies[0].ledgers for note in ledger_notes(one)]
    rows, content = _whole(studies, facts)
    if plain:
        content = _plain(studies, facts)
    return {
        **texts_of(tables, [*dict.fromkeys(said), *notes], facts, colour=colour),
        "csv": csv_text(rows),
        "json": json_text(content),
    }


def memory_table(results: Sequence[EnergyResult]) -> Table:
    """Energy with memory access by Lemaire's model, of results under a profile that prices it."""
    body = []
    for result in results:
        found = result.memory
        if found is not None:
            parts = (
                found.computation_pj,
                found.addressing_pj,
                found.memory_pj,
                *(found.by_memory_pj[name] for name in _MEMORIES),
                found.total_pj,
            )
            body.append([network_of(result), *(f"{part / 1000:,.2f}" for part in parts)])
    return Table(
        f"With memory access (Lemaire et al. 2022), per inference, {results[0].profile}",
        MEMORY_HEADER,
        body,
    )


_MEMORIES = ("input", "weights", "potentials", "output")


def _memory_notes(results: Sequence[EnergyResult]) -> list[str]:
    notes = []
    for result in results:
        if result.memory is not None:
            found = result.memory
            notes.append(
                f"Memory: {found.source}; words of {found.word_bits} bits, an access carries "
                f"{found.access_bits}."
            )
            notes += found.notes
            notes.append(
                "Its computation follows the article's equations (borders reach as far as the "
                "middle), so it differs from the account's."
            )
            if found.uncounted:
                listed = "; ".join(
                    f"{entry['name']} ({entry['reason']})" for entry in found.uncounted
                )
                notes.append(f"Outside the memory model, of {result.checkpoint}: {listed}.")
    return notes


def _convention_tables(study: EnergyStudy, *, detail: bool) -> list[Table]:
    tables = []
    for result, totals, ledgers in zip(study.clean, study.conventions, study.ledgers, strict=True):
        of = f"{network_of(result)} on {result.data}"
        if totals:
            tables.append(convention_table(totals, f"{of}, by convention, per inference"))
        tables += ledger_tables(ledgers, detail=detail, of=of)
    return tables


def _plain(studies: Sequence[EnergyStudy], facts: Mapping[str, Any]) -> Any:
    content = [
        {**result.to_dict(), "provenance": facts} for study in studies for result in study.clean
    ]
    return content[0] if len(content) == 1 else content


def _whole(
    studies: Sequence[EnergyStudy], facts: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], Any]:
    first = studies[0]
    results = [result for study in studies for result in study.clean]
    named = [
        {"checkpoint": result.checkpoint, "thresholds": result.thresholds, "data": result.data}
        for result in first.clean
    ]
    rows: list[dict[str, Any]] = [{"row": "layer", **row} for row in energy_csv_rows(results)]
    rows += result_rows(results)
    for study in studies:
        rows += [*shift_rows(study), *({"row": "scale", **row} for row in scale_dicts(study))]
    for facts_of_one, totals, ledgers in zip(named, first.conventions, first.ledgers, strict=True):
        rows += convention_rows(totals, row="convention", **facts_of_one)
        rows += ledger_rows(ledgers, row="ledger", **facts_of_one)
    content = {
        "results": [result.to_dict() for result in results],
        "shifts": [row for study in studies for row in shift_dicts(study)],
        "contrasts": [row for study in studies for row in contrast_dicts(study)],
        "scales": [row for study in studies for row in scale_dicts(study)],
        "conventions": [
            {**one, **found.to_dict()}
            for one, totals in zip(named, first.conventions, strict=True)
            for found in totals
        ],
        "ledger": [
            {**one, **found.to_dict()}
            for one, ledgers in zip(named, first.ledgers, strict=True)
            for found in ledgers
        ],
        "provenance": facts,
    }
    return rows, content
