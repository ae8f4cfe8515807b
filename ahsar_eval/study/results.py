"""Results of a study as its cells wrote them, checked when they are read; `cell.run_cell` writes
them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.training.history import CURVES
from ahsar_eval.training.methods import check_method

FORMAT = "ahsar-eval study cell"
VERSION = 1
MODALITIES = ("rgb", "event")
KINDS = ("shift", "other")

_REQUEST = {
    "data": str,
    "backbone": str,
    "paradigm": str,
    "step_mode": str,
    "timesteps": int,
    "method": str,
    "epochs": int,
    "seed": int,
}
_FRACTIONS = (
    "accuracy",
    "auroc",
    "fpr95",
    "mean_rate",
    "saturated_fraction",
    "validation_accuracy",
)


@dataclass(frozen=True)
class CellResult:
    """One training with what was evaluated of it; mappings as they stand in the file, numbers
    checked.
    """

    key: str
    study: str
    request: Mapping[str, Any]
    threads: int
    modality: str
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    n_train: int
    n_validation: int
    id: Mapping[str, Any]
    ood: Sequence[Mapping[str, Any]]
    controller: Mapping[str, Any] | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method's name, as in the request."""
        return str(self.request["method"])

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.request["seed"])

    @classmethod
    def from_dict(cls, content: Any, source: str) -> "CellResult":
        """A result from the content of its file. Raises `DataError`, which names `source`, for a
        field that is missing or impossible.
        """
        read = _Reader(source)
        read.head(content)
        request = read.mapping(content, "request")
        for name, kind in _REQUEST.items():
            read.of(request, name, kind, "request.")
        try:
            check_method(request["method"])
        except UsageError as error:
            read.refuse(f"has the method {request['method']!r} ({error})")
        modality = read.of(content, "modality", str)
        if modality not in MODALITIES:
            read.refuse(f"has the modality {modality!r}; expected {' or '.join(MODALITIES)}")
        found = cls(
            key=read.of(content, "key", str),
            study=read.of(content, "study", str),
            request=request,
            threads=read.of(content, "threads", int),
            modality=modality,
            history=read.history(content),
            best_epoch=read.of(content, "best_epoch", int),
            n_train=read.of(content, "n_train", int),
            n_validation=read.of(content, "n_validation", int),
            id=read.own(content),
            ood=read.sets(content),
            controller=read.controller(content),
            seconds=read.mapping(content, "seconds") if "seconds" in content else {},
            provenance=read.mapping(content, "provenance") if "provenance" in content else {},
        )
        if not 1 <= found.best_epoch <= len(found.history):
            read.refuse(f"has best_epoch {found.best_epoch} of {len(found.history)} epochs")
        return found


@dataclass(frozen=True)
class CellFailure:
    """One training that failed, and why."""

    key: str
    request: Mapping[str, Any]
    error: str
    kind: str

    @classmethod
    def from_dict(cls, content: Any, source: str) -> "CellFailure":
        """A failure from the content of its file. Raises `DataError`, which names `source`."""
        read = _Reader(source)
        read.head(content)
        request = read.mapping(content, "request")
        return cls(
            read.of(content, "key", str),
            request,
            read.of(content, "error", str),
            read.of(content, "kind", str),
        )


@dataclass(frozen=True)
class StudyResults:
    """What a folder of a study holds: cells done, cells failed, and, in words, the cells of its
    study.toml without either.
    """

    done: tuple[CellResult, ...]
    failed: tuple[CellFailure, ...]
    missing: tuple[str, ...]


def load_results(folder: str | Path) -> StudyResults:
    """Read every cell of a study's folder, in the order of their keys. A cell with a result is
    done, whatever failed before.

    Raises `DataError` for a folder without cells and for a file that cannot be used, `UsageError`
    for a study.toml that is none.
    """
    cells = Path(folder) / "cells"
    if not cells.is_dir():
        raise DataError(
            f"{str(folder)!r} holds no study: there is no folder 'cells' in it; name the folder "
            "that study run wrote to"
        )
    done, failed = [], []
    for place in sorted(one for one in cells.iterdir() if one.is_dir()):
        found: CellResult | CellFailure
        if (file := place / "result.json").is_file():
            found = CellResult.from_dict(_read(file), str(file))
            done.append(found)
        elif (file := place / "failure.json").is_file():
            found = CellFailure.from_dict(_read(file), str(file))
            failed.append(found)
        else:
            continue
        if found.key != place.name:
            raise DataError(
                f"{str(file)!r} is of cell {found.key}, not of its folder; remove that folder and "
                "run the study again"
            )
    asked = _cells_of(Path(folder) / "study.toml")
    if asked is None:
        return StudyResults(tuple(done), tuple(failed), ())
    there = {_asked(one.request) for one in done} | {_asked(one.request) for one in failed}
    still_asked = [
        one for one in failed if _asked(one.request) in asked
    ]  # others failed under an earlier form of the file
    return StudyResults(
        tuple(done),
        tuple(still_asked),
        tuple(name for request, name in asked.items() if request not in there),
    )


def _cells_of(file: Path) -> dict[str, str] | None:
    """Request → name for the cells of a study's file: compared by requests, for keys change with
    versions and options.
    """
    if not file.is_file():
        return None
    from ahsar_eval.study.study_file import read_study

    return {_asked(cell.request.to_dict()): str(cell) for cell in read_study(file).cells()}


def _asked(request: Mapping[str, Any]) -> str:
    return json.dumps(
        {name: value for name, value in request.items() if name != "device"}, sort_keys=True
    )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{str(file)!r} cannot be read as JSON ({error}); remove it and run the study again"
        ) from error


@dataclass(frozen=True)
class _Reader:
    """Checks of one file's content; every refusal is one sentence that names the file."""

    source: str

    def refuse(self, what: str) -> NoReturn:
        raise DataError(
            f"{self.source!r} {what.replace('; ', ': ')}; remove it and run the study again"
        )

    def head(self, content: Any) -> None:
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            self.refuse(f"is no result of a study: its format is not {FORMAT!r}")
        if content.get("version") != VERSION:
            self.refuse(
                f"has version {content.get('version')!r} of the format; this package reads version "
                f"{VERSION}"
            )

    def of(self, content: Mapping[str, Any], name: str, kind: type, within: str = "") -> Any:
        value = content.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.refuse(
                f"has {value!r} for {within}{name}; expected "
                f"{'a whole number' if kind is int else 'a text'}"
            )
        return value

    def mapping(self, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = content.get(name)
        if not isinstance(value, Mapping):
            self.refuse(f"has {value!r} for {name}; expected names with values")
        return value

    def numbers(
        self,
        content: Mapping[str, Any],
        names: Sequence[str],
        within: str,
        *,
        gaps: Sequence[str] = (),
    ) -> Mapping[str, Any]:
        for name in names:
            value = content.get(name)
            if value is None and name in gaps:
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not math.isfinite(value)
            ):
                self.refuse(f"has {value!r} for {within}{name}; expected a finite number")
            if name in _FRACTIONS and not 0 <= value <= 1:
                self.refuse(f"has {value!r} for {within}{name}; expected a fraction from 0 to 1")
        return content

    def own(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self.numbers(
            self.mapping(content, "id"),
            ("accuracy", "nll", "mean_rate", "energy_nj"),
            "id.",
            gaps=("energy_nj",),
        )
        if "rates" in found:
            rates = self.mapping(found, "rates")
            self.numbers(rates, list(rates), "id.rates.")
        return found

    def history(self, content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        rows = content.get("history")
        if (
            not isinstance(rows, list)
            or not rows
            or not all(isinstance(row, Mapping) for row in rows)
        ):
            self.refuse("has no history; expected a row for each epoch")
        steps = 0
        for row in rows:
            self.numbers(row, [*dict.fromkeys((*CURVES, *row))], "history.")
            if row["steps"] <= steps:
                self.refuse(
                    f"has {row['steps']} steps at the end of epoch {row['epoch']} after {steps}; "
                    "expected them to grow"
                )
            steps = row["steps"]
        return rows

    def sets(self, content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        rows = content.get("ood")
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            self.refuse("has no list of OOD sets; expected one, empty where none was asked for")
        for row in rows:
            self.of(row, "set", str, "ood.")
            if row.get("kind") not in KINDS:
                self.refuse(
                    f"has the kind {row.get('kind')!r} for {row['set']}; expected "
                    f"{' or '.join(KINDS)}"
                )
            self.numbers(
                row,
                ("auroc", "fpr95", "accuracy"),
                f"{row['set']}: ",
                gaps=("accuracy", "auroc", "fpr95"),
            )
        return rows

    def controller(self, content: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if content.get("controller") is None:
            return None
        found = self.mapping(content, "controller")
        self.numbers(found, ("gain", "saturated_fraction"), "controller.")
        for name in ("scale", "ema_scale"):
            scales = self.mapping(found, name)
            self.numbers(scales, list(scales), f"controller.{name}.")
        return found
