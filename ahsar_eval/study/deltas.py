"""The paper's Tables 1, 2 and 4: differences from the matched baseline at matched seeds, in
percentage points, in its own layout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ahsar_eval.results.document import Table
from ahsar_eval.study.claims import best_fixed
from ahsar_eval.study.endpoints import secondary
from ahsar_eval.study.matching import (
    BASELINE,
    Combination,
    Matched,
    factor_of,
    further_settings,
    title_of,
)
from ahsar_eval.study.paper import BACKBONES, PARADIGMS, paper_value
from ahsar_eval.study.statistics import student
from ahsar_eval.study.texts import counts, signed, signed_span

BEST = "best fixed"
_Column = tuple[int, str, int, str]


@dataclass(frozen=True)
class DeltaTable:
    """One of the paper's tables: what is compared, which of the paper's it stands beside, and its
    digits.
    """

    quantity: str
    title: str
    paper: str
    digits: int = 2


TABLES = (
    DeltaTable(
        "accuracy", "Table 1: Δ top-1 accuracy on the ID set, percentage points", "accuracy"
    ),
    DeltaTable(
        "shifted_accuracy",
        "Table 2: Δ top-1 accuracy, mean over the shifted sets, percentage points",
        "shifted_accuracy",
    ),
    DeltaTable(
        "auroc", "Table 4: Δ AUROC by entropy, mean over the other sets, percentage points", "auroc"
    ),
    DeltaTable(
        "fpr95",
        "Table 4: Δ FPR@95TPR by entropy, mean over the other sets, percentage points",
        "fpr95",
    ),
    DeltaTable(
        "shifted_auroc",
        "Table 4, shifts: Δ AUROC by entropy, mean over the shifted sets, percentage points",
        "auroc",
    ),
    DeltaTable(
        "shifted_fpr95",
        "Table 4, shifts: Δ FPR@95TPR by entropy, mean over the shifted sets, percentage points",
        "fpr95",
    ),
)


@dataclass(frozen=True)
class Delta:
    """A method's difference from the baseline in one combination, in percentage points, with the
    paper's own figure where it has one.
    """

    combination: Combination
    row: str  # what the table's row is: a method, or BEST
    method: str
    quantity: str
    mean: float
    low: float | None
    high: float | None
    seeds: int
    epochs: int
    paper: float | None

    def as_row(self) -> dict[str, Any]:
        """One line for CSV and JSON."""
        one = self.combination
        return {
            **settings_of(one),
            "row": self.row,
            "method": self.method,
            "quantity": self.quantity,
            "delta_points": self.mean,
            "low": self.low,
            "high": self.high,
            "seeds": self.seeds,
            "epochs": self.epochs,
            "paper_points": self.paper,
        }


def settings_of(one: Combination) -> dict[str, Any]:
    """A combination's columns in CSV and JSON."""
    return {
        "data": one.data,
        "modality": one.modality,
        "paradigm": one.paradigm,
        "step_mode": one.step_mode,
        "backbone": one.backbone,
        "timesteps": one.timesteps,
        "settings": one.rest,
    }


def deltas(study: Matched) -> list[Delta]:
    """Every difference of the paper's tables: controllers, frozen, each combination's best fixed
    factor; nothing without a pair.
    """
    found = []
    for combination in study.combinations:
        best = best_fixed(study, combination)
        rows = [(name, name) for name in study.methods if factor_of(name) is None] + (
            [(BEST, best)] if best else []
        )
        for row, method in rows:
            pairs = study.pairs(combination, method)
            both = {
                seed: (secondary(ours, theirs), secondary(theirs, ours))
                for seed, (ours, theirs) in pairs.items()
            }
            for table in TABLES:
                found += _delta(
                    combination,
                    row,
                    method,
                    table,
                    both,
                    [len(ours.history) for ours, _ in pairs.values()],
                )
    return found


def delta_tables(study: Matched, found: Sequence[Delta]) -> list[Table]:
    """The tables that have at least one difference, rows and columns as the paper sets them."""
    tables = []
    for table in TABLES:
        own = [delta for delta in found if delta.quantity == table.quantity]
        if own:
            tables.append(_table(table, own, study.methods))
    return tables


def _delta(
    combination: Combination,
    row: str,
    method: str,
    table: DeltaTable,
    both: Mapping[int, tuple[Mapping[str, float | None], Mapping[str, float | None]]],
    epochs: Sequence[int],
) -> list[Delta]:
    values = [
        100 * (ours - theirs)
        for one, other in both.values()
        if (ours := one[table.quantity]) is not None
        and (theirs := other[table.quantity]) is not None
    ]
    if not values:
        return []
    result = student(values)
    one = combination
    paper = paper_value(
        table.paper, one.paradigm, one.step_mode, one.backbone, method, one.modality, one.timesteps
    )
    return [
        Delta(
            one,
            row,
            method,
            table.quantity,
            result.estimate,
            result.low,
            result.high,
            len(values),
            max(epochs),
            paper,
        )
    ]


def _table(table: DeltaTable, found: Sequence[Delta], methods: Sequence[str]) -> Table:
    column_of, columns = _columns(list({delta.combination for delta in found}))
    places = {one: (column_of[one], rows_key(one)) for one in column_of}
    rows = [name for name in methods if factor_of(name) is None] + [BEST]
    header = ["paradigm", "step mode", "backbone", "method"]
    for name in columns.values():
        header += [f"Δ {name}", "95 % interval", "paper"]
    body: list[Sequence[str]] = []
    for group in sorted(
        {rows_key(one): one.place[1:4] for one in places}.items(), key=lambda item: item[1]
    ):
        key, first = group[0], True
        if body:
            body.append(["---"])
        for row in rows:
            own = {
                places[delta.combination][0]: delta
                for delta in found
                if delta.row == row and places[delta.combination][1] == key
            }
            if not own:
                continue
            names = (
                [
                    PARADIGMS.get(key[0], key[0]).replace(" [36]", ""),
                    key[1],
                    BACKBONES.get(key[2], key[2]),
                ]
                if first
                else ["", "", ""]
            )
            body.append(
                [
                    *names,
                    _shown(row, list(own.values())),
                    *_cells(table, columns, own, row),
                    *_sizes(own.values()),
                ]
            )
            first = False
    return Table(table.title, [*header, "seeds", "epochs"], body)


def _cells(
    table: DeltaTable, columns: Mapping[Any, str], own: Mapping[Any, Delta], row: str
) -> list[str]:
    several = row == BEST and len({delta.method for delta in own.values()}) > 1
    cells = []
    for column in columns:
        delta = own.get(column)
        if delta is None:
            cells += [signed(None)] * 3
            continue
        named = f" ({factor_of(delta.method):g})" if several else ""
        cells += [
            signed(delta.mean, table.digits) + named,
            signed_span(delta.low, delta.high, table.digits),
            signed(delta.paper, table.digits),
        ]
    return cells


def _shown(row: str, own: Sequence[Delta]) -> str:
    if row != BEST:
        return title_of(row)
    factors = {factor_of(delta.method) for delta in own}
    return f"{BEST} ({factors.pop():g})" if len(factors) == 1 else f"{BEST} (its factor)"


def _sizes(own: Any) -> list[str]:
    own = list(own)
    return [counts(delta.seeds for delta in own), counts(delta.epochs for delta in own)]


def rows_key(one: Combination) -> tuple[str, str, str]:
    """What makes a row of the paper's tables."""
    return (one.paradigm, one.step_mode, one.backbone)


def _columns(
    combinations: Sequence[Combination],
) -> tuple[dict[Combination, _Column], dict[_Column, str]]:
    """Column of each combination, and headings: event T=6 as the paper has it, with the set where a
    modality has several, events first.
    """
    further = further_settings(combinations)
    columns = {
        one: (
            ("event", "rgb").index(one.modality),
            one.data,
            one.timesteps,
            ", ".join(further[one]),
        )
        for one in combinations
    }
    headings = {}
    for one, column in sorted(columns.items(), key=lambda item: item[1]):
        several = len({other.data for other in combinations if other.modality == one.modality}) > 1
        headings[column] = " ".join(
            [one.modality, *[one.data] * several, f"T={one.timesteps}", *further[one]]
        )
    return columns, headings


def compared(study: Matched, combination: Combination) -> list[str]:
    """Methods of a combination that have a pair with its baseline, the baseline itself not."""
    return [name for name in study.methods if name != BASELINE and study.pairs(combination, name)]
