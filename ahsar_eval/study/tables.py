"""A study's results: the rows of its comparisons, and the tables and notes that `study table`
prints of them, Tables 1, 2 and 4 in the paper's layout.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ahsar_eval.errors import DataError
from ahsar_eval.provenance import provenance
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Row, Table
from ahsar_eval.study.cell_results import (
    PRIMARY,
    SILENT,
    CellResult,
    StudyCells,
    load_cells,
    secondary,
)
from ahsar_eval.study.comparisons import (
    AHSAR,
    BASELINE,
    BEST,
    BEST_FIXED,
    NAMED,
    PRINTED,
    SIGNIFICANT,
    TITLES,
    Matched,
    base_of,
    claim_rows,
    combination_of,
    controller_rows,
    course_rows,
    delta_rows,
    endpoint_rows,
    factor_of,
    matched,
    names_of,
    search_rows,
    title_of,
    value_rows,
)
from ahsar_eval.study.statistics import REPLICATES, pooled


def study_results(folder: str | Path, *, replicates: int = REPLICATES, seed: int = 0) -> Results:
    """What a study's folder holds so far; what is missing of it is said in a note.

    Raises `DataError` without any result, for one that cannot be used, and where two are of the
    same training.
    """
    found = load_cells(folder)
    code = sorted({str(cell.provenance.get("code", "unknown")) for cell in found.done})
    facts = {"study": str(folder), "cells": len(found.done), "code_of_cells": code, "seed": seed}
    return results_of(found, provenance(**facts, checkpoints=[]), replicates=replicates, seed=seed)


def results_of(
    cells: StudyCells, facts: Mapping[str, Any], *, replicates: int = REPLICATES, seed: int = 0
) -> Results:
    """The comparisons of a study's cells. Raises as `study_results`."""
    if not cells.done:
        raise DataError(
            f"the study has no result yet ({len(cells.failed)} cells failed); run it first, or "
            "look at why they failed"
        )
    study = matched(cells.done)
    infer = functools.partial(pooled, replicates=replicates, seed=seed)
    records: dict[str, Sequence[Row]] = {
        "claims": claim_rows(study, infer),
        "endpoints": endpoint_rows(study),
        "deltas": delta_rows(study),
        "values": value_rows(study),
        "controller": controller_rows(study),
        "cells": [_cell_row(result) for result in cells.done],
        "failed": [
            {**{name: one[name] for name in ("key", "kind", "error")}, **_plain(one["request"])}
            for one in cells.failed
        ],
        "search": search_rows(study, infer),
        "courses": course_rows(study),
    }
    said = [*_incomplete(study, cells), *_reading(study, replicates, seed, bool(records["claims"]))]
    return Results(STUDY, {name: rows for name, rows in records.items() if rows}, facts, said)


def _cell_row(result: CellResult) -> Row:
    """One training: its request and its secondary endpoints."""
    facts = {"key": result.key, "modality": result.modality, "threads": result.threads}
    return {**facts, **_plain(result.request), "best_epoch": result.best_epoch, **secondary(result)}


def _plain(request: Mapping[str, Any]) -> Row:
    """A request's values as cells of a CSV file hold them."""
    plain = dict(request)
    for name, value in request.items():
        if isinstance(value, Mapping):
            plain[name] = " ".join(f"{part}={number}" for part, number in sorted(value.items()))
        elif isinstance(value, (list, tuple)):
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


def _title(name: str) -> str:
    return TITLES.get(name, name)


_METHOD, _SEEDS = Column("title", "method"), Column("seeds", "seeds")
_COUNTED = [Column("combinations", "combinations"), Column("pairs", "pairs")]
_CLAIMS = [
    Column("rival", "claim", lambda rival: f"AHSAR against {rival}"),
    Column("endpoint", "endpoint", PRIMARY.__getitem__),
    Column("log_ratio", "ratio", ratio, interval=True),
    *_COUNTED,
    Column("p", "p", p_text),
    Column("p_holm", "p (Holm)", p_text),
    Column("verdict", "AHSAR is"),
]
_PRIMARY = [
    _METHOD,
    _SEEDS,
    Column("train_area.log_ratio", "training loss", ratio, interval=True),
    Column("validation_area.log_ratio", "validation NLL", ratio, interval=True),
    Column("steps.log_ratio", "steps", ratio, interval=True),
    Column("never", "never / baseline"),
]
_VALUES = [
    _METHOD,
    _SEEDS,
    Column("accuracy", "accuracy"),
    Column("shifted_accuracy", "shifted accuracy"),
    Column("auroc", "AUROC"),
    Column("fpr95", "FPR@95TPR"),
    Column("shifted_auroc", "AUROC, shifts"),
    Column("shifted_fpr95", "FPR@95TPR, shifts"),
    Column("nll", "NLL"),
    Column("mean_rate", "mean rate"),
    Column("energy_nj", "energy, nJ", ",.1f"),
    Column("train_area", "area, training loss"),
    Column("validation_area", "area, validation NLL"),
    Column("steps", "steps to the target", ",.0f"),
]
_CONTROLLER = [
    _METHOD,
    _SEEDS,
    Column("log_rate_spread", "spread of log rates"),
    Column("spread.log_ratio", "to the baseline's", ratio, interval=True),
    Column("saturated_fraction", "saturated"),
    Column("largest_deviation", "largest |s − 1|"),
    Column("diffusion_to_reaction", "diffusion / reaction", ",.2f"),
    Column("relaxation_to_reaction", "relaxation / reaction", ",.2f"),
    Column("gain", "gain"),
    Column("last_rate", "last layer's rate", ",.4f"),
    Column("silent_layers", "silent layers", ",.1f"),
]
_SEARCH = [
    Column("title", "method and settings"),
    Column("mean", "mean log ratio", "+.4f"),
    Column("log_ratio", "ratio", ratio, interval=True),
    Column("p", "p, each alone", p_text),
    Column("defaults.log_ratio", "to AHSAR's defaults", ratio, interval=True),
    *_COUNTED,
]
_POINTS = [
    *(Column(part, part.replace("_", " "), _title) for part in PRINTED[:3]),
    _METHOD,
    Column("delta_points", "Δ, % points", "+.2f", interval=True),
    Column("paper_points", "paper", "+.2f"),
    _SEEDS,
    Column("epochs", "epochs"),
]
_DELTAS = {
    "accuracy": "Table 1: Δ top-1 accuracy on the ID set",
    "shifted_accuracy": "Table 2: Δ top-1 accuracy, mean over the shifted sets",
    "auroc": "Table 4: Δ AUROC by entropy, mean over the other sets",
    "fpr95": "Table 4: Δ FPR@95TPR by entropy, mean over the other sets",
    "shifted_auroc": "Table 4, shifts: Δ AUROC by entropy, mean over the shifted sets",
    "shifted_fpr95": "Table 4, shifts: Δ FPR@95TPR by entropy, mean over the shifted sets",
}


def study_tables(results: Results, detail: bool = False) -> list[Table]:
    """Claims, primary endpoints, the paper's tables, values, the controller, a search: those that
    have a row.
    """
    every = results.records["values"]

    def rows(name: str, parts: Sequence[str] = NAMED) -> list[Row]:
        names = names_of(every, parts)
        return [_shown(row, names) for row in results.records.get(name, ())]

    controllers = rows("controller")
    controlled = {row["of"] for row in controllers if row["method"] != BASELINE}
    values = [one for one in _VALUES if any(row[one.key] is not None for row in rows("values"))]
    # The columns of the paper's tables, here one below another.
    deltas = sorted(
        rows("deltas", ("modality", "data", "timesteps")),
        key=lambda row: (row["modality"], row["data"], row["timesteps"], row["of"]),
    )
    by_set = [
        Table(title, _POINTS, own, names=PRINTED[:3], section="of")
        for quantity, title in _DELTAS.items()
        if (own := [row for row in deltas if row["quantity"] == quantity])
    ]
    claims = "Claims, over all combinations and seeds (ratio below 1: AHSAR is faster)"
    primary = "Primary endpoints, ratio to the matched baseline (below 1: faster)"
    controller = "The controller at the end of training, means over seeds"
    search = "Search: area under the validation NLL over the baseline's, the best first"
    controllers = [row for row in controllers if row["of"] in controlled]
    tables = [
        Table(claims, _CLAIMS, rows("claims"), names=("rival",)),
        Table(primary, _PRIMARY, rows("endpoints"), section="of"),
        *by_set,
        Table("Values, means over seeds", values, rows("values"), section="of"),
        Table(controller, _CONTROLLER, controllers, section="of"),
        Table(search, _SEARCH, rows("search")),
    ]
    return [table for table in tables if table.rows]


def _shown(row: Row, names: Mapping[tuple[Any, ...], str]) -> Row:
    """A record with what a table shows beside its numbers."""
    shown = {**row, "mean": row.get("log_ratio")}
    for key in row:
        if key.endswith(("low", "high")):
            prefix, dot, end = key.rpartition(".")
            shown[f"{prefix}{dot}log_ratio_{end}"] = shown[f"delta_points_{end}"] = row[key]
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
    return shown


# Notes


def _incomplete(study: Matched, cells: StudyCells) -> list[str]:
    notes = []
    if cells.failed:
        named = ("data", "paradigm", "step_mode", "backbone", "method")
        failed = [
            " ".join(str(one["request"].get(name)) for name in named)
            + f" seed {one['request'].get('seed')} ({one['error']})"
            for one in cells.failed
        ]
        notes.append(
            f"Incomplete: {len(failed)} cells failed: {_first(failed)}. Their pairs are left out; "
            "where a method makes trainings fail, what is left flatters it."
        )
    if cells.missing:
        notes.append(
            f"Incomplete: {len(cells.missing)} cells have no result yet: {_first(cells.missing)}."
        )
    pairs = study.against(BASELINE)
    alone = len(study.every) - sum(pairs.named == pairs.method)
    if alone:
        notes.append(
            f"{alone} trainings have no baseline of the same settings and seed, and are in no "
            "difference or ratio."
        )
    if BASELINE not in study.methods:
        notes.append("No baseline: nothing can be compared.")
    if AHSAR not in study.methods and AHSAR in map(base_of, study.methods):
        notes.append(
            "No claims: they are about AHSAR's default parameters, and the study has several other "
            "settings of them."
        )
    return notes


def _first(named: Sequence[str]) -> str:
    more = [f"and {len(named) - 3} more"] if len(named) > 3 else []
    return "; ".join([*named[:3], *more])


def _reading(study: Matched, replicates: int, seed: int, claimed: bool) -> list[str]:
    rows = study.rows
    sets = sorted({f"{row.modality}: {row.data}" for row in rows.itertuples()})
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
