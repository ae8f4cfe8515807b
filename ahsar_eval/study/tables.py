"""Everything `study table` prints: the claims, the primary endpoints, the paper's tables, values,
the controller, a search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ahsar_eval.errors import DataError
from ahsar_eval.results.document import Table
from ahsar_eval.study.claims import BEST_FIXED, claims
from ahsar_eval.study.controller_table import SILENT, controller_table
from ahsar_eval.study.deltas import delta_tables, deltas
from ahsar_eval.study.endpoint_tables import (
    SIGNIFICANT,
    STARRED,
    claims_table,
    primary_table,
    value_table,
)
from ahsar_eval.study.endpoints import secondary
from ahsar_eval.study.matching import AHSAR, BASELINE, CONTROLLED, Matched, matched
from ahsar_eval.study.results import CellFailure, CellResult
from ahsar_eval.study.search import is_search, search_lines
from ahsar_eval.study.statistics import REPLICATES


@dataclass(frozen=True)
class StudyTables:
    """Tables for a reader, notes below them, and the complete numbers: `rows` by name, each a list
    of lines for JSON and CSV.
    """

    tables: list[Table]
    notes: list[str]
    rows: dict[str, list[dict[str, Any]]]


def study_tables(
    results: Sequence[CellResult],
    failed: Sequence[CellFailure] = (),
    *,
    missing: Sequence[str] = (),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> StudyTables:
    """The tables of a study from what is there of it; what is not is said in a note.

    `missing` are cells without a result, in words. Raises `DataError` without any result, or where
    two are of the same training.
    """
    if not results:
        raise DataError(
            f"the study has no result yet ({len(failed)} cells failed); run it first, or look at "
            "why they failed"
        )
    study = matched(results)
    made_claims = claims(study, replicates=replicates, seed=seed)
    differences = deltas(study)
    claimed, claim_rows = claims_table(made_claims)
    endpoints, endpoint_rows = primary_table(study)
    values, value_rows = value_table(study)
    controller, controller_rows = controller_table(study)
    tables = [claimed, endpoints, *delta_tables(study, differences), values, controller]
    rows = {
        "claims": claim_rows,
        "endpoints": endpoint_rows,
        "deltas": [delta.as_row() for delta in differences],
        "values": value_rows,
        "controller": controller_rows,
        "cells": [_cell_row(result) for result in results],
        "failed": [
            {"key": one.key, "kind": one.kind, "error": one.error, **_plain(one.request)}
            for one in failed
        ],
    }
    if is_search(study):
        table, rows["search"] = search_lines(study, replicates=replicates, seed=seed)
        tables.append(table)
    notes = [
        *_incomplete(study, failed, missing),
        *_reading(study, replicates, seed, bool(made_claims)),
    ]
    return StudyTables(
        [table for table in tables if table.body],
        notes,
        {name: lines for name, lines in rows.items() if lines},
    )


def _cell_row(result: CellResult) -> dict[str, Any]:
    """One training as a line: its request and its secondary endpoints."""
    facts = {"key": result.key, "modality": result.modality, "threads": result.threads}
    return {**facts, **_plain(result.request), "best_epoch": result.best_epoch, **secondary(result)}


def _plain(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request's values as cells of a CSV file hold them."""
    return {
        name: (
            " ".join(f"{part}={number}" for part, number in sorted(value.items()))
            if isinstance(value, Mapping)
            else "×".join(map(str, value))
            if isinstance(value, (list, tuple))
            else value
        )
        for name, value in request.items()
    }


def _incomplete(study: Matched, failed: Sequence[CellFailure], missing: Sequence[str]) -> list[str]:
    notes = []
    if failed:
        shown = "; ".join(f"{_named(one.request)} ({one.error})" for one in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        notes.append(
            f"Incomplete: {len(failed)} cells failed: {shown}{more}. Their pairs are left out; "
            "where a method makes trainings fail, "
            "what is left flatters it."
        )
    if missing:
        shown = "; ".join(missing[:3]) + (
            f"; and {len(missing) - 3} more" if len(missing) > 3 else ""
        )
        notes.append(f"Incomplete: {len(missing)} cells have no result yet: {shown}.")
    alone = sum(
        seed not in study.cells[one].get(BASELINE, {})
        for one in study.combinations
        for each in study.cells[one].values()
        for seed in each
    )
    if alone:
        notes.append(
            f"{alone} trainings have no baseline of the same settings and seed, and are in no "
            "difference or ratio."
        )
    if not any(BASELINE in study.cells[one] for one in study.combinations):
        notes.append("No baseline: nothing can be compared.")
    if AHSAR not in study.methods and any(study.bases[name] == AHSAR for name in study.methods):
        notes.append(
            "No claims: they are about AHSAR's default parameters, and the study has several other "
            "settings of them."
        )
    return notes


def _reading(study: Matched, replicates: int, seed: int, claimed: bool) -> list[str]:
    sets = sorted({f"{one.modality}: {one.data}" for one in study.combinations})
    notes = [
        f"Sets: {', '.join(sets)}. The paper's are CIFAR-10 (rgb) and CIFAR-10-DVS (event), 50 "
        "epochs; it names neither the sets behind "
        "its OOD tables nor its seeds, and its figures stand here for comparison of size and sign "
        "alone.",
        "Intervals of one combination: Student's t over its seeds, 95 %; – : fewer than 2 seeds, "
        "none between which it "
        "varies, too few for an interval, or not measured.",
        "Primary endpoints, named before anything was run: mean over optimisation steps of the "
        "training loss and of the validation NLL, "
        "and steps to the baseline's final validation accuracy, the mean of its other seeds. Never "
        "reached: counted as one epoch beyond "
        "the last.",
        f"{STARRED}.",
    ]
    if claimed:
        notes.append(
            "Claims: means over combinations and seeds of the log ratio; combinations and seeds "
            "are drawn with replacement, a drawn seed "
            f"in every combination ({replicates:,} replicates, seed {seed}), and replicates "
            "compared by Student ratios; "
            "p = (1 + exceeding) / (replicates + 1), two-sided; Holm over all claims, bold below "
            f"{SIGNIFICANT:g}. The {BEST_FIXED} is chosen once, on the same validation data, which "
            "favours it."
        )
        if len(study.combinations) == 1:
            notes.append("One combination: its claims are of other seeds, and of no other setting.")
        elif len(study.combinations) < 4:
            notes.append(
                f"{len(study.combinations)} combinations say little of others: intervals are wide, "
                "and may still be too narrow."
            )
    settings = {name: one for name, one in study.settings.items() if one}
    if settings and len({repr(sorted(one.items())) for one in study.settings.values()}) == 1:
        said = ", ".join(
            f"{name} {value}" for name, value in sorted(next(iter(settings.values())).items())
        )
        notes.append(f"Every controller has {said}.")
    if any(name in CONTROLLED for name in study.bases.values()):
        notes.append(
            "Controller: spread is the standard deviation over layers of the log rate on the "
            "hold-out after the last epoch; largest "
            "|s − 1| over all epochs and units; terms by their root mean squares; silent: below "
            f"{SILENT:g} spikes per neuron and step on the test set."
        )
    return notes


def _named(request: Mapping[str, Any]) -> str:
    return (
        " ".join(
            str(request.get(name))
            for name in ("data", "paradigm", "step_mode", "backbone", "method")
        )
        + f" seed {request.get('seed')}"
    )
