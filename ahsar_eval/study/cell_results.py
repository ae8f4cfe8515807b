"""Results of a study as its cells wrote them (`cell.run_cell`), checked when they are read, and
what is compared of a training: three primary endpoints of its speed, and secondary ones of the
network it ends with.

Histories give, at the end of each epoch e, the optimisation steps n_e done, the training loss L_e
of that epoch (mean over its samples), and loss and accuracy on the hold-out with the thresholds
that evaluation uses. No endpoint reads a test set but the secondary ones.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.training.files import CURVES
from ahsar_eval.training.request import check_method

FORMAT = "ahsar-eval study cell"
VERSION = 1
# Named before anything was run; each is better when smaller, and compared as a ratio.
PRIMARY = {
    "train_area": "area under the training loss",
    "validation_area": "area under the validation NLL",
    "steps": "steps to the baseline's final validation accuracy",
}
SILENT = 1e-3  # spikes per neuron and step, on the test set


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
    from ahsar_eval.study.grid import read_study

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


# Endpoints


def train_area(steps: ArrayLike, losses: ArrayLike) -> float:
    """Mean of the training loss over optimisation steps, from epoch means: Σ (n_e − n_{e−1}) L_e /
    n_E, n_0 = 0. `steps` [E] rise from above 0.
    """
    return float(np.average(np.asarray(losses), weights=np.diff(steps, prepend=0.0)))


def validation_area(steps: ArrayLike, losses: ArrayLike) -> float:
    """Mean of the validation NLL over optimisation steps: trapezoids between epoch ends.

    Before the end of the first epoch nothing is measured: its value holds from step 0 on, so that
    what the first epoch achieved counts for its own length. A made-up start, such as ln K, would be
    the same for every method and only pull ratios towards 1. (n_1 V_1 + Σ_{e>1} (n_e − n_{e−1})(V_e
    + V_{e−1})/2) / n_E.
    """
    ends, values = (np.asarray(each, dtype=np.float64) for each in (steps, losses))
    area = ends[0] * values[0] + float(np.sum(np.diff(ends) * (values[1:] + values[:-1]) / 2))
    return float(area / ends[-1])


def steps_to(target: float, steps: ArrayLike, accuracies: ArrayLike) -> float:
    """Optimisation steps until the validation accuracy first is `target` or more, linear between
    epoch ends.

    Reached at the end of the first epoch it counts that epoch's steps: nothing is measured before.
    Never reached it counts one epoch of mean length beyond the last, n_E (1 + 1/E): worse than any
    training that did, by no more than is known.
    """
    ends, values = (np.asarray(each, dtype=np.float64) for each in (steps, accuracies))
    reached = np.flatnonzero(values >= target)
    if not len(reached):
        return float(ends[-1] * (1 + 1 / len(ends)))
    i = int(reached[0])
    if i == 0:
        return float(ends[0])
    part = (target - values[i - 1]) / (values[i] - values[i - 1])
    return float(ends[i - 1] + part * (ends[i] - ends[i - 1]))


def target_accuracies(finals: Mapping[int, float]) -> dict[int, float]:
    """The accuracy to reach at each seed: the mean of the baseline's final validation accuracies at
    the other seeds.

    `finals` by seed. With its own final value as the target a baseline would always arrive, and by
    luck of its last epoch early or at all, where its rival need not: a training with no effect
    would look slower (docs/study.md has the simulation). One seed alone has only its own.
    """
    others = {seed: [finals[other] for other in finals if other != seed] for seed in finals}
    return {seed: float(np.mean(others[seed] or [finals[seed]])) for seed in finals}


def primary(result: CellResult, target: float | None) -> dict[str, float | None]:
    """The primary endpoints by name; steps are None without a target."""
    steps, train, validation, accuracies = (
        [row[name] for row in result.history]
        for name in ("steps", "train_loss", "validation_loss", "validation_accuracy")
    )
    return {
        "train_area": train_area(steps, train),
        "validation_area": validation_area(steps, validation),
        "steps": None if target is None else steps_to(target, steps, accuracies),
    }


def secondary(result: CellResult, beside: CellResult | None = None) -> dict[str, float | None]:
    """The secondary endpoints by name; None for what was not evaluated. Means over the sets of a
    kind are unweighted.

    `beside` another result only sets count that were evaluated for both.
    """
    known = {row["set"] for row in (beside or result).ood}

    def mean(kind: str, name: str) -> float | None:
        # Which sets have the number is a matter of the set, the same for every method.
        own = [row for row in result.ood if row["kind"] == kind and row["set"] in known]
        return mean_of(row.get(name) for row in own)

    return {
        "accuracy": result.id["accuracy"],
        "shifted_accuracy": mean("shift", "accuracy"),
        "auroc": mean("other", "auroc"),
        "fpr95": mean("other", "fpr95"),
        "shifted_auroc": mean("shift", "auroc"),
        "shifted_fpr95": mean("shift", "fpr95"),
        "nll": result.id["nll"],
        "mean_rate": result.id["mean_rate"],
        "energy_nj": result.id.get("energy_nj"),
    }


def controlled(result: CellResult) -> dict[str, float | None]:
    """What one training says of its controller and rates; None where it says nothing (no
    controller, or no such column).

    The spread is that of the last epoch on the hold-out. Scales, saturation and gain are of the
    last epoch; the largest |s − 1| is over all epochs and units. The three terms are compared by
    their means over epochs of the root mean square of each epoch's last tick.
    """
    last = result.history[-1]
    own = last if result.controller else {}
    units = [name for name in own if name.startswith("scale.")]
    scales = [abs(row[unit] - 1) for row in result.history for unit in units if unit in row]
    rates = list((result.id.get("rates") or {}).values())
    reaction, diffusion, relaxation = (
        mean_of(row.get(name) for row in result.history)
        for name in ("reaction", "diffusion", "relaxation")
    )
    return {
        "log_rate_spread": last.get("log_rate_spread"),
        "saturated_fraction": own.get("saturated_fraction"),
        "largest_deviation": max(scales, default=None),
        "diffusion_to_reaction": _over(diffusion, reaction),
        "relaxation_to_reaction": _over(relaxation, reaction),
        "gain": own.get("gain"),
        "last_rate": rates[-1] if rates else None,
        "silent_layers": sum(rate < SILENT for rate in rates) if rates else None,
    }


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; None for none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
