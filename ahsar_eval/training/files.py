"""What a training leaves: its history, one row per epoch, and until the checkpoint is there its
progress, so that a kill costs at most one epoch.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data import Split
from ahsar_eval.errors import UsageError
from ahsar_eval.files import written_whole
from ahsar_eval.homeostasis import Ahsar
from ahsar_eval.networks import ModelSpec
from ahsar_eval.provenance import versions
from ahsar_eval.training.request import Recipe

History = list[dict[str, Any]]  # a row for each epoch

# Columns that every history has.
CURVES = ("epoch", "steps", "train_loss", "validation_loss", "validation_accuracy")
_SMALLEST_RATE = 1e-4  # of a silent layer in `log_rate_spread`, as the controller's rate_floor


class TrainingFiles:
    """Where a training that writes the checkpoint `checkpoint` puts its history, while it runs its
    progress, and a lock.
    """

    def __init__(self, checkpoint: Path) -> None:
        stem = checkpoint  # a name may hold other dots: ahsar-w0.25
        if checkpoint.suffix in (".pt", ".pth"):
            stem = checkpoint.with_suffix("")
        self.checkpoint, self.stem = checkpoint, stem
        self.history = Path(f"{stem}.history.csv")
        self.resume = Path(f"{stem}.resume")
        self.logs = Path(f"{stem}.logs.resume")  # by what logs are continued (training/logs.py)
        self.lock = Path(f"{stem}.lock")


def history_row(
    trained: dict[str, Any], rates: dict[str, float], ahsar: Ahsar | None
) -> dict[str, Any]:
    """The columns of one epoch: `trained`, the hold-out's `rates` by layer, and what the controller
    does.

    `log_rate_spread` is the standard deviation of log rate over layers; `reaction`, `relaxation`
    and `diffusion` are the root mean squares over units of β·deviation, γ(c − c₀) and D·Λ·c in the
    epoch's last tick (docs/method.md, section 2).
    """
    values = np.array(list(rates.values()))
    spread = float(np.std(np.log(np.maximum(values, _SMALLEST_RATE)))) if len(values) else 0.0
    row = {**trained, "mean_rate": float(np.mean(values)), "log_rate_spread": spread}
    if ahsar is not None:
        row |= {"gain": ahsar.gain, "saturated_fraction": ahsar.saturated_fraction}
        row |= ahsar.last_tick
        row |= {f"scale.{unit}": scale for unit, scale in ahsar.scales.items()}
    return row | {f"rate.{layer}": rate for layer, rate in rates.items()}


def read_history(file: Path) -> History:
    """The rows of a history as `train` writes it, numbers as numbers; a column that a row does not
    have is left out.

    Raises `UsageError` for a file that is none.
    """
    try:
        with open(file, newline="", encoding="utf-8") as reader:
            rows = [
                {
                    name: int(text) if text.lstrip("-").isdigit() else float(text)
                    for name, text in row.items()
                    if text != ""
                }
                for row in csv.DictReader(reader)
            ]
        for name in CURVES:
            if not all(name in row for row in rows):
                raise ValueError(f"a row has no {name}")
        return rows
    except (OSError, csv.Error, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{file} is no readable history ({error}); remove the checkpoint beside it and train "
            "again"
        ) from None


# Progress


@dataclass(frozen=True)
class Progress:
    """Epochs done, their history, and the best of them so far."""

    history: History = field(default_factory=list)
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)
    best_homeostasis: dict[str, Any] | None = None

    @property
    def best(self) -> dict[str, Any]:
        """The row of the best epoch, once there is one: the first of the highest hold-out accuracy
        and then the lowest hold-out loss.
        """
        return max(
            self.history, key=lambda row: (row["validation_accuracy"], -row["validation_loss"])
        )

    def with_epoch(
        self, row: dict[str, Any], weights: Mapping[str, Tensor], ahsar: Ahsar | None
    ) -> "Progress":
        """Add an epoch, which may be the best."""
        done = replace(self, history=[*self.history, row])
        if done.best is not row:
            return done
        copied = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        return Progress(done.history, copied, None if ahsar is None else ahsar.state_dict())


def save_progress(
    file: Path, request: Mapping[str, Any], done: Progress, parts: Mapping[str, Any]
) -> None:
    """Write progress and the states of `parts` (network, optimiser, …) beside the checkpoint to
    come, whole or not at all. Raises `OutputError`.
    """
    states = {name: part.state_dict() for name, part in parts.items()}
    with written_whole(file) as temporary:
        torch.save({**vars(done), **states, "request": dict(request)}, temporary)


def load_progress(
    file: Path, request: Mapping[str, Any], parts: Mapping[str, Any]
) -> Progress | None:
    """Continue where `file` stopped: gives `parts` their states. None where there is no file.

    Raises `UsageError` when the file is damaged or was left by a training with another request,
    naming what differs.
    """
    if not file.is_file():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        stored = dict(content["request"])
        done = Progress(**{entry.name: content[entry.name] for entry in fields(Progress)})
    except Exception as error:
        raise UsageError(
            f"{file} cannot be read as a training's progress ({type(error).__name__}); remove it "
            "to start again"
        ) from error
    names = stored.keys() | request.keys()
    different = sorted(name for name in names if stored.get(name) != request.get(name))
    if different:
        raise UsageError(
            f"{file} was left by a training that differs in {', '.join(different)}; repeat that "
            "command to resume it, choose another --out, or remove the file to start again"
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(content[name])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{file} lacks a part of a training's progress ({name}); remove it to start again"
        ) from error
    return done


def describe_request(
    spec: ModelSpec,
    train_split: Split,
    validation_split: Split,
    recipe: Recipe,
    network_source: str,
    ranks: int,
) -> dict[str, Any]:
    """Everything that decides a training's result, JSON-ready: a resumed run must match it."""
    method, source = recipe.method, train_split.source
    return {
        **vars(recipe),
        # Of several ranks each has a GPU.
        "device": recipe.device if ranks == 1 else torch.device(recipe.device).type,
        "spec": spec.to_dict(),
        "method": method.name,
        "frozen_from": method.source,
        "layer_scales": dict(method.layer_scales),
        "params": method.params and method.params.to_dict(),
        "data": source.name,
        "train_identity": train_split.identity,
        "train_set_identity": source.origin or source.identity,
        "validation_identity": validation_split.identity,
        "n_train": len(train_split),
        "n_validation": len(validation_split),
        "classes": list(source.classes),
        "label_space": source.label_space,
        "ranks": ranks,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "network_source": network_source,
    }
