"""Results of a study as its cells wrote them, checked when they are read; `cell.run_cell` writes
them.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.training.history import CURVES
from ahsar_eval.training.methods import check_method

FORMAT = "ahsar-eval study cell"
VERSION = 1


# Whether a value is right, and what is expected.
_Rule = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _one_of(*known: Any) -> _Rule:
    return (lambda value: value in known), " or ".join(map(str, known))


_TEXT: _Rule = (lambda value: isinstance(value, str)), "a text"
_WHOLE: _Rule = (lambda value: type(value) is int), "a whole number"
_NUMBER: _Rule = _is_number, "a finite number"
_FRACTION: _Rule = (lambda value: _is_number(value) and 0 <= value <= 1), "a fraction from 0 to 1"
_LIST: _Rule = (lambda value: isinstance(value, list)), "a list"
_NAMED: _Rule = (lambda value: isinstance(value, Mapping)), "names with values"
# What must be right, by the paths to it (see `_found`).
_FILE = [(_one_of(FORMAT), "format"), (_one_of(VERSION), "version"), (_TEXT, "key")]
_FAILURE = [*_FILE, (_TEXT, "error kind"), (_NAMED, "request")]
_RESULT = [
    *_FILE,
    (_one_of("rgb", "event"), "modality"),
    (_one_of("shift", "other"), "ood.[].kind"),
    (_NAMED, "seconds? provenance?"),
    (_TEXT, "study request.data request.backbone request.paradigm request.step_mode"),
    (_TEXT, "request.method ood.[].set"),
    (_WHOLE, "threads best_epoch n_train n_validation"),
    (_WHOLE, "request.timesteps request.epochs request.seed"),
    (_NUMBER, " ".join(["history.[].*", *(f"history.[].{name}" for name in CURVES)])),
    (_NUMBER, "id.nll id.energy_nj? id.rates?.*"),
    (_NUMBER, "controller?.gain controller?.scale.* controller?.ema_scale.*"),
    (_FRACTION, "history.[].validation_accuracy"),
    (_FRACTION, "history.[].mean_rate? history.[].saturated_fraction?"),
    (_FRACTION, "id.accuracy id.mean_rate controller?.saturated_fraction"),
    (_FRACTION, "ood.[].auroc? ood.[].fpr95? ood.[].accuracy?"),
]


@dataclass(frozen=True)
class CellResult:
    """What comparisons read of one training: mappings as they stand in the file, checked."""

    key: str
    request: Mapping[str, Any]
    threads: int
    modality: str
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    id: Mapping[str, Any]
    ood: Sequence[Mapping[str, Any]]
    controller: Mapping[str, Any] | None
    provenance: Mapping[str, Any]

    @property
    def method(self) -> str:
        """The method's name, as in the request."""
        return str(self.request["method"])

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.request["seed"])


@dataclass(frozen=True)
class StudyCells:
    """What a folder of a study holds: cells done; the files of those that failed, with key,
    request, error and kind; and, in words, the cells of its study.toml without either.
    """

    done: Sequence[CellResult]
    failed: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()


def load_cells(folder: str | Path) -> StudyCells:
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
    for cell in sorted(cells.iterdir()):
        if (file := cell / "result.json").is_file():
            done.append(read_result(_json(file), str(file)))
        elif (file := cell / "failure.json").is_file():
            failed.append(checked(_json(file), _FAILURE, str(file)))
    there = {_asked(one.request) for one in done} | {_asked(one["request"]) for one in failed}
    asked = _asked_in(Path(folder) / "study.toml")
    if asked is None:
        return StudyCells(done, failed)
    # Others failed under an earlier form of the file.
    failed = [one for one in failed if _asked(one["request"]) in asked]
    return StudyCells(done, failed, [name for one, name in asked.items() if one not in there])


def _asked_in(file: Path) -> dict[str, str] | None:
    """Request → name for the cells of a study's file: compared by requests, for keys change with
    versions and options.
    """
    if not file.is_file():
        return None
    from ahsar_eval.study.study_file import read_study

    return {_asked(cell.request.to_dict()): str(cell) for cell in read_study(file).cells()}


def _asked(request: Mapping[str, Any]) -> str:
    return json.dumps({**request, "device": ""}, sort_keys=True)


def _json(file: Path) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{str(file)!r} cannot be read as JSON ({error}); remove it and run the study again"
        ) from error
    if isinstance(content, dict) and content.get("key") != file.parent.name:
        raise DataError(
            f"{str(file)!r} is of cell {content.get('key')}, not of its folder; remove that folder "
            "and run the study again"
        )
    return content


def read_result(content: Any, source: str) -> CellResult:
    """A result from the content of its file. Raises `DataError`, which names `source`, for a field
    that is missing or impossible.
    """
    found = {"controller": None, "provenance": {}, **checked(content, _RESULT, source)}
    return CellResult(**{entry.name: found[entry.name] for entry in fields(CellResult)})


def checked(content: Any, rules: Sequence[tuple[_Rule, str]], source: str) -> Any:
    """The content of a file that fits its rules. Raises `DataError`, which names `source`."""
    try:
        for (fits, expected), paths in rules:
            for path in paths.split():
                for where, value in _found(content, path.split("."), ""):
                    if not fits(value):
                        raise ValueError(f"has {value!r} for {where}: expected {expected}")
        if rules is _RESULT:
            _check_training(content)
        return content
    except ValueError as error:
        raise DataError(f"{source!r} {error}; remove it and run the study again") from error


def _found(value: Any, path: Sequence[str], where: str) -> list[tuple[str, Any]]:
    """What stands in `value` where `path` leads, and where that is: [] is each of a list, * each of
    some names, and a name with ? may be missing. Raises `ValueError` where it leads nowhere.
    """
    if not path:
        return [(where, value)]
    name = path[0].removesuffix("?")
    fits, expected = _LIST if name == "[]" else _NAMED
    if not fits(value):
        raise ValueError(f"has {value!r} for {where or 'its content'}: expected {expected}")
    if name == "[]":
        inner = [(f"{where}[{i}]", one) for i, one in enumerate(value)]
    else:
        names = value if name == "*" else [name]
        inner = [(f"{where}.{one}".removeprefix("."), value.get(one)) for one in names]
    if path[0] != name and value.get(name) is None:
        return []
    return [found for at, one in inner for found in _found(one, path[1:], at)]


def _check_training(content: Mapping[str, Any]) -> None:
    """What no field says alone: a known method, steps that grow, the best of the epochs."""
    try:
        check_method(content["request"]["method"])
    except UsageError as error:
        said = str(error).replace("; ", ": ")
        raise ValueError(f"has an impossible request: {said}") from error
    steps = [0, *(row["steps"] for row in content["history"])]
    if steps != sorted(set(steps)):
        raise ValueError(f"has {steps[1:]} steps at the ends of its epochs: expected them to grow")
    best, last = content["best_epoch"], len(content["history"])
    if not 1 <= best <= last:
        raise ValueError(f"has best_epoch {best} of {last} epochs")
