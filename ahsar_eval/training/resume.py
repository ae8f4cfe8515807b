"""What a training leaves after every epoch, so that a kill costs at most one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ahsar_eval.data import Split
from ahsar_eval.errors import UsageError
from ahsar_eval.files import written_whole
from ahsar_eval.homeostasis import Ahsar, Homeostasis
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.provenance import versions
from ahsar_eval.training.methods import Recipe


@dataclass(frozen=True)
class Progress:
    """Epochs done, their history, and the best of them so far."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)
    best_homeostasis: dict[str, Any] | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs done."""
        return len(self.history)

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best epoch; None before the first one."""
        return next((row for row in self.history if row["epoch"] == self.best_epoch), None)

    def with_epoch(
        self, row: dict[str, Any], weights: Mapping[str, Tensor], homeostasis: Homeostasis | None
    ) -> "Progress":
        """Add an epoch; it becomes the best when its hold-out accuracy is higher, or equal at a
        lower hold-out loss.
        """
        if self.best is None or _rank(row) > _rank(self.best):
            copied = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
            stored = None if homeostasis is None else homeostasis.to_dict()
            return Progress([*self.history, row], row["epoch"], copied, stored)
        return replace(self, history=[*self.history, row])


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["validation_accuracy"], -row["validation_loss"]


def save_progress(
    file: Path | None,
    request: Mapping[str, Any],
    done: Progress,
    net: SpikingNet,
    optimizer: torch.optim.Optimizer,
    homeostasis: Homeostasis | None,
    scaler: GradScaler,
) -> None:
    """Write progress beside the checkpoint to come, whole or not at all. Raises `OutputError`."""
    if file is None:
        return
    content = {
        **vars(done),
        "request": dict(request),
        "weights": net.backbone.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "homeostasis": None if homeostasis is None else homeostasis.to_dict(),
    }
    with written_whole(file) as temporary:
        torch.save(content, temporary)


def load_progress(
    file: Path | None,
    request: Mapping[str, Any],
    net: SpikingNet,
    optimizer: torch.optim.Optimizer,
    ahsar: Ahsar | None,
    scaler: GradScaler,
) -> Progress | None:
    """Continue where `file` stopped: fills network, optimiser, gradient scaler and controller. None
    where there is no file.

    Raises `UsageError` when the file is damaged or was left by a training with another request,
    naming what differs.
    """
    if file is None or not file.is_file():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        stored = dict(content["request"])
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
        done = Progress(**{entry.name: content[entry.name] for entry in fields(Progress)})
        net.backbone.load_state_dict(content["weights"])
        optimizer.load_state_dict(content["optimizer"])
        scaler.load_state_dict(content["scaler"])
        if ahsar is not None:
            ahsar.load_state_dict(content["homeostasis"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{file} lacks a part of a training's progress ({type(error).__name__}); remove it to "
            "start again"
        ) from error
    return done


def describe_request(
    spec: ModelSpec,
    train_split: Split,
    validation_split: Split,
    recipe: Recipe,
    network_source: str = "",
    ranks: int = 1,
) -> dict[str, Any]:
    """Everything that decides a training's result, JSON-ready: a resumed run must match it."""
    method, source = recipe.method, train_split.source
    device = recipe.device if ranks == 1 else torch.device(recipe.device).type  # a GPU for each
    return {
        **vars(recipe),
        "device": device,
        "spec": spec.to_dict(),
        "method": method.name,
        "frozen_from": method.source,
        "layer_scales": dict(method.layer_scales),
        "params": None if method.params is None else method.params.to_dict(),
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
