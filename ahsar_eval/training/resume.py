"""What a training leaves after every epoch, so that a kill costs at most one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from ahsar_eval.training.recipe import Recipe


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

    def with_epoch(
        self, row: dict[str, Any], weights: Mapping[str, Tensor], homeostasis: Homeostasis | None
    ) -> "Progress":
        """Add an epoch; it becomes the best when its hold-out accuracy is higher, or equal at a
        lower hold-out loss.
        """
        best = next((old for old in self.history if old["epoch"] == self.best_epoch), None)
        history = [*self.history, row]
        if best is None or _merit(row) > _merit(best):
            copied = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
            return Progress(
                history,
                row["epoch"],
                copied,
                None if homeostasis is None else homeostasis.to_dict(),
            )
        return replace(self, history=history)


def _merit(row: Mapping[str, Any]) -> tuple[float, float]:
    return (row["validation_accuracy"], -row["validation_loss"])


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
        "request": dict(request),
        "history": done.history,
        "best_epoch": done.best_epoch,
        "best_weights": dict(done.best_weights),
        "best_homeostasis": done.best_homeostasis,
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
    different = sorted(
        name for name in stored.keys() | request.keys() if stored.get(name) != request.get(name)
    )
    if different:
        raise UsageError(
            f"{file} was left by a training that differs in {', '.join(different)}; repeat that "
            "command to resume it, "
            "choose another --out, or remove the file to start again"
        )
    try:
        done = Progress(
            content["history"],
            content["best_epoch"],
            content["best_weights"],
            content["best_homeostasis"],
        )
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
    settings = {name: value for name, value in vars(recipe).items() if name != "method"}
    if ranks > 1:
        settings["device"] = torch.device(recipe.device).type  # each rank has a GPU of its own
    return {
        "spec": spec.to_dict(),
        "method": recipe.method.name,
        "frozen_from": recipe.method.source,
        "layer_scales": dict(recipe.method.layer_scales),
        "params": None if recipe.method.params is None else recipe.method.params.to_dict(),
        **settings,
        "data": train_split.source.name,
        "train_identity": train_split.identity,
        "train_set_identity": train_split.source.origin or train_split.source.identity,
        "validation_identity": validation_split.identity,
        "n_train": len(train_split),
        "n_validation": len(validation_split),
        "classes": list(train_split.source.classes),
        "label_space": train_split.source.label_space,
        "ranks": ranks,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "network_source": network_source,
    }
