"""A training at each fixed threshold scale, with AHSAR and the baseline beside them: convergence by
epoch. What is done is kept.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError
from ahsar_eval.files import write_text
from ahsar_eval.networks.checkpoints import (
    load_checkpoint,
    mean_factor,
    network_of,
    replayed_scales,
)
from ahsar_eval.training.files import TrainingFiles, read_history
from ahsar_eval.training.loop import TrainingDivergedError, train_to_file
from ahsar_eval.training.request import TrainingRequest, prepare

_ASKED = ".request.json"
_UNSCALED = 1.0  # a training at this factor is the baseline's
_KEPT = "epoch train_loss train_accuracy validation_loss validation_accuracy mean_rate".split()


@dataclass(frozen=True)
class TrainedRun:
    """One training: `history` has a row of numbers per epoch; the `factors` on the thresholds that
    it ended with, a layer each.

    `diverged` says why a training ended early; its history then holds the epochs before, and its
    factors are those it was asked for.
    """

    request: TrainingRequest
    checkpoint: Path
    factors: tuple[float, ...]
    history: tuple[Mapping[str, float], ...]
    diverged: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every epoch, flat; a training that ended before its first epoch has one row that says
        so.
        """
        of = {
            "checkpoint": self.checkpoint.name,
            "method": self.request.method,
            "seed": self.request.seed,
            "scale": mean_factor(self.factors),
            "scale_low": min(self.factors),
            "scale_high": max(self.factors),
            "diverged": self.diverged,
        }
        return [
            {**of, **{name: row[name] for name in _KEPT if name in row}} for row in self.history
        ] or [of]


def sweep_requests(
    base: TrainingRequest, scales: Sequence[float], seeds: Sequence[int]
) -> list[TrainingRequest]:
    """`base` at every fixed scale, then with AHSAR, for every seed; the baseline stands at 1.
    Raises `UsageError`.
    """
    if not seeds:
        raise UsageError("a sweep of trainings has no seed; name at least one")
    for scale in scales:
        if float(f"{scale:g}") != scale:
            raise UsageError(
                f"a training at {scale!r} would be written as fixed:{scale:g}; give scales of at "
                "most six digits"
            )
    ascending = sorted({*scales, _UNSCALED})
    methods = ["baseline" if scale == _UNSCALED else f"fixed:{scale:g}" for scale in ascending]
    fixed = [
        replace(base, method=method, seed=seed, controller={})
        for method in methods
        for seed in seeds
    ]
    return fixed + [replace(base, method="ahsar", seed=seed) for seed in seeds]


def train_sweep(
    requests: Sequence[TrainingRequest],
    folder: Path,
    options: DataOptions | None = None,
    *,
    on_start: Callable[[TrainingRequest, int], None] | None = None,
) -> list[TrainedRun]:
    """Train what is not in `folder` yet: METHOD-seedN.pt, its history as .history.csv, and what was
    asked as .request.json.

    A training that was stopped continues. One that diverges is part of the result. `on_start` is
    told of each training that is made and its place among `requests`. Raises `UsageError` where the
    folder holds trainings of another kind, before any is made.
    """
    places = [
        (request, folder / f"{request.method.replace(':', '-')}-seed{request.seed}.pt")
        for request in requests
    ]
    for request, file in places:
        _check_same(request, file)
    _ = prepare(requests[0], options)
    runs = []
    for i, (request, file) in enumerate(places):
        diverged = ""
        if not file.is_file():
            if on_start is not None:
                on_start(request, i)
            asked = json.dumps(_asked(request), indent=2, sort_keys=True)
            write_text(file.with_suffix(_ASKED), f"{asked}\n")
            try:
                train_to_file(prepare(request, options), file)
            except TrainingDivergedError as error:
                diverged = str(error)
        runs.append(_finished(request, file, diverged))
    return runs


def _finished(request: TrainingRequest, file: Path, diverged: str) -> TrainedRun:
    factors = [float(request.method.partition(":")[2] or _UNSCALED)]
    if not diverged:
        checkpoint = load_checkpoint(file)
        factors = list(replayed_scales(checkpoint, network_of(checkpoint)).values())
    written = TrainingFiles(file).history
    rows = [] if diverged and not written.is_file() else read_history(written)
    history = tuple({name: float(value) for name, value in row.items()} for row in rows)
    return TrainedRun(request, file, tuple(factors), history, diverged)


def _asked(request: TrainingRequest) -> dict[str, Any]:
    """What decides a training's numbers beside the versions of packages."""
    return {"request": request.to_dict(), "threads": torch.get_num_threads()}


def _check_same(request: TrainingRequest, file: Path) -> None:
    """That what lies in the folder was asked for in the same words. Raises `UsageError`."""
    asked_file = file.with_suffix(_ASKED)
    if not file.is_file() and not asked_file.is_file():
        return
    try:
        asked = json.loads(asked_file.read_text(encoding="utf-8"))
        before, now = (
            {**one["request"], "threads": one["threads"]} for one in (asked, _asked(request))
        )
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(
            f"{file} is there and {asked_file.name} does not say what it was trained with; choose "
            "another folder"
        ) from None
    odd = [f"{name} {before.get(name)!r}" for name in now if before.get(name) != now[name]]
    if odd:
        raise UsageError(
            f"{file} was trained with {', '.join(odd)}, not as asked now; choose another folder, "
            "or remove it"
        )
