"""A study's results: the rows of its comparisons, and the tables and notes that `study table`
prints of them, Tables 1, 2 and 4 in the paper's layout.
"""

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ahsar_eval.errors import DataError
from ahsar_eval.files import table_beside
from ahsar_eval.provenance import provenance
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Row, Table, read_columns
from ahsar_eval.study.comparisons import (
    BEST_FIXED,
    REPLICATES,
    SIGNIFICANT,
    claim_rows,
    controller_rows,
    course_rows,
    delta_rows,
    endpoint_rows,
    pooled,
    search_rows,
    value_rows,
)
from ahsar_eval.study.folder import CellResult, StudyCells, load_cells
from ahsar_eval.study.matching import (
    AHSAR,
    BASELINE,
    BEST,
    NAMED,
    PRIMARY,
    SILENT,
    TITLES,
    Matched,
    base_of,
    combination_of,
    factor_of,
    matched,
    names_of,
    secondary,
    title_of,
)


def study_results(folder: str | Path, *, replicates: int = REPLICATES, seed: int = 0) -> Results:
    """What a study's folder holds so far; what is missing of it is said in a note.

    Raises `DataError` without any result, for one that cannot be used, and where two are of the
    same training.
    """
    return results_of(load_cells(folder), str(folder), replicates, seed)


def results_of(cells: StudyCells, folder: str, replicates: int, seed: int = 0) -> Results:
    """The comparisons of a study's cells. Raises as `study_results`."""
    if not cells.done:
        raise DataError(
            f"the study has no result yet ({len(cells.failed)} cells failed); run it first, or "
            "look at why they failed"
        )
    study = matched(cells.done)
    infer = functools.partial(pooled, replicates=replicates, seed=seed)
    found: dict[str, Iterable[Row]] = {
        "claims": claim_rows(study, infer),
        "endpoints": endpoint_rows(study),
        "deltas": delta_rows(study),
        "values": value_rows(study),
        "controller": controller_rows(study),
        "cells": map(_cell_row, cells.done),
        "failed": (
            {**{name: one[name] for name in ("key", "kind", "error")}, **_plain(one["request"])}
            for one in cells.failed
        ),
        "search": search_rows(study, infer),
        "courses": course_rows(study),
    }
    records = {name: rows for name, each in found.items() if (rows := [*each])}
    facts = provenance(
        study=folder,
        cells=len(cells.done),
        code_of_cells=sorted({str(one.provenance.get("code", "unknown")) for one in cells.done}),
        seed=seed,
        checkpoints=[],
    )
    claimed = "claims" in records
    said = [*_incomplete(study, cells), *_reading(study, replicates, seed, claimed)]
    return Results(STUDY, records, facts, said)


def _cell_row(result: CellResult) -> Row:
    """One training: its request and its secondary endpoints."""
    facts = {"key": result.key, "modality": result.modality, "threads": result.threads}
    return {**facts, **_plain(result.request), "best_epoch": result.best_epoch, **secondary(result)}


def _plain(request: Mapping[str, Any]) -> Row:
    """A request's values as cells of a CSV file hold them."""
    plain = dict(request)
    for name, value in request.items():
        if isinstance(value, dict):
            plain[name] = " ".join(f"{part}={number}" for part, number in sorted(value.items()))
        elif isinstance(value, list):
            plain[name] = "×".join(map(str, value))
    return plain


# Tables


def ratio(log_value: float) -> str:
    """A ratio from its logarithm."""
    value = math.exp(min(log_value, 50.0))
    return f"{value:.3f}" if value < 1000 else "> 1,000"


def p_text(value: float) -> str:
    """A p-value; small ones as a bound."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


_SECTIONS = ("modality", "data", "timesteps")  # of the paper's tables, here one below another
_FORMATS: dict[str, Callable[[Any], str]] = {
    "claim": lambda rival: f"AHSAR against {rival}",
    "endpoint": PRIMARY.__getitem__,
    "ratio": ratio,
    "p": p_text,
    "title": lambda name: TITLES.get(name, name),
}


def study_tables(results: Results, detail: bool = False) -> list[Table]:
    """Claims, primary endpoints, the paper's tables, values, the controller, a search: those that
    have a row.
    """
    shown = {name: _shown(results, name) for name in results.records}
    shown["deltas"] = sorted(
        shown.get("deltas", ()), key=lambda row: [row[part] for part in (*_SECTIONS, "of")]
    )
    controllers = shown.get("controller", [])
    controlled = {row["of"] for row in controllers if row["method"] != BASELINE}
    shown["controller"] = [row for row in controllers if row["of"] in controlled]
    tables = []
    for layout in table_beside(__file__, "tables.toml")["tables"]:
        of, quantity = layout.pop("records"), layout.pop("quantity", None)
        rows = [row for row in shown.get(of, ()) if row.get("quantity") == quantity]
        columns = [
            replace(column, format=_FORMATS.get(str(column.format), column.format))
            for column in read_columns(__file__, "study")[of]
            if of != "values" or any(row[column.key] is not None for row in rows)
        ]
        tables.append(Table(columns=columns, rows=rows, **layout))
    return [table for table in tables if table.rows]


def _shown(results: Results, records: str) -> list[Row]:
    """Records with what a table shows beside their numbers."""
    parts = _SECTIONS if records == "deltas" else NAMED
    names = names_of(results.records["values"], parts)
    value = "delta_points" if records == "deltas" else "log_ratio"
    found: list[Row] = []
    for row in results.records[records]:
        shown = {re.sub("(low|high)$", rf"{value}_\1", key): row[key] for key in row}
        shown["mean"] = row.get("log_ratio")
        if "settings" in row:
            shown["of"] = names[combination_of(row)]
        if "method" in row:
            shown["title"] = title_of(row["method"]) + " *" * row.get("best_fixed", False)
        if row.get("row") == BEST:
            shown["title"] = f"{BEST} ({factor_of(row['method']):g})"
        if "never_reached" in row:
            shown["never"] = f"{row['never_reached']} / {row['baseline_never_reached']}"
        if row.get("verdict", "not shown") != "not shown":
            shown["bold"] = {"p_holm", "verdict"}
        found.append(shown)
    return found


# Notes


def _incomplete(study: Matched, cells: StudyCells) -> list[str]:
    failed = [
        " ".join(str(one["request"].get(name)) for name in (*NAMED[:-1], "method"))
        + f" seed {one['request'].get('seed')} ({one['error']})"
        for one in cells.failed
    ]
    pairs = study.against(BASELINE)
    alone = len(study.every) - sum(pairs.named == pairs.method)
    several = AHSAR not in study.methods and AHSAR in map(base_of, study.methods)
    notes = {
        f"Incomplete: {len(failed)} cells failed: {_first(failed)}. Their pairs are left out; "
        "where a method makes trainings fail, what is left flatters it.": failed,
        f"Incomplete: {len(cells.missing)} cells have no result yet: "
        f"{_first(cells.missing)}.": cells.missing,
        f"{alone} trainings have no baseline of the same settings and seed, and are in no "
        "difference or ratio.": alone,
        "No baseline: nothing can be compared.": BASELINE not in study.methods,
        "No claims: they are about AHSAR's default parameters, and the study has several other "
        "settings of them.": several,
    }
    return [note for note, holds in notes.items() if holds]


def _first(named: Sequence[str]) -> str:
    more = [f"and {len(named) - 3} more"] if len(named) > 3 else []
    return "; ".join([*named[:3], *more])


def _reading(study: Matched, replicates: int, seed: int, claimed: bool) -> list[str]:
    rows = study.rows
    sets = sorted({*(rows.modality + ": " + rows.data)})
    combinations = rows.place.nunique()
    notes = [
        f"Sets: {', '.join(sets)}. The paper's are CIFAR-10 (rgb) and CIFAR-10-DVS (event), 50 "
        "epochs; it names neither the sets behind its OOD tables nor its seeds, and its figures "
        "stand here for comparison of size and sign alone.",
        "Intervals of one combination: Student's t over its seeds, 95 %; – : fewer than 2 seeds, "
        "none between which it varies, too few for an interval, or not measured.",
        "Primary endpoints, named before anything was run: mean over optimisation steps of the "
        "training loss and of the validation NLL, and steps to the baseline's final validation "
        "accuracy, the mean of its other seeds. Never reached: counted as one epoch beyond the "
        "last; how many of the method's and of the baseline's seeds is under never / baseline.",
        f"*: the {BEST_FIXED} of its combination, the lowest mean area under the validation NLL "
        "(the baseline is the factor 1).",
    ]
    if claimed:
        notes.append(
            "Claims: means over combinations and seeds of the log ratio; combinations and seeds "
            "are drawn with replacement, a drawn seed in every combination "
            f"({replicates:,} replicates, seed {seed}), and replicates compared by Student ratios; "
            "p = (1 + exceeding) / (replicates + 1), two-sided; Holm over all claims, bold below "
            f"{SIGNIFICANT:g}. The {BEST_FIXED} is chosen once, on the same validation data, which "
            "favours it."
        )
        if combinations == 1:
            notes.append("One combination: its claims are of other seeds, and of no other setting.")
        elif combinations < 4:
            notes.append(
                f"{combinations} combinations say little of others: intervals are wide, and "
                "may still be too narrow."
            )
    settings = [sorted(one.items()) for one in study.settings.values()]
    if settings and settings[0] and all(one == settings[0] for one in settings):
        said = ", ".join(f"{name} {value}" for name, value in settings[0])
        notes.append(f"Every controller has {said}.")
    if settings:
        notes.append(
            "Controller: spread is the standard deviation over layers of the log rate on the "
            "hold-out after the last epoch; largest |s − 1| over all epochs and units; terms by "
            f"their root mean squares; silent: below {SILENT:g} spikes per neuron and step on the "
            "test set."
        )
    return notes


STUDY = Kind(
    "study",
    axes=(*NAMED, "modality", "settings", "rival", "endpoint", "quantity", "row", "method", "seed"),
    tables=study_tables,
    notes=lambda results: [],
    n="seeds",
    content=lambda results: {
        one: rows for one, rows in results.records.items() if one != "courses"
    },
    listed=("deltas",),
)
