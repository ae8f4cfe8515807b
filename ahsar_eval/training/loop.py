"""Training by backpropagation through time with surrogate gradients, the whole loop on one page (paper 5.1).

Adam, learning rate 1e-3, weight decay 5e-4, cosine schedule, cross-entropy of the time-mean logits. One hold-out of the training set
serves the gain and the choice of the epoch; the test set is never opened. An epoch's order and randomness depend on (seed, epoch) alone,
so a run resumed after a kill ends with the same bits as one that was never stopped (same thread count).
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ahsar_eval.checkpoints import Checkpoint, network_identity
from ahsar_eval.data import Split
from ahsar_eval.errors import AhsarError, UsageError
from ahsar_eval.homeostasis import Ahsar, Homeostasis, read_thresholds, write_thresholds
from ahsar_eval.models import ModelSpec, SpikingNet, build
from ahsar_eval.progress import progress
from ahsar_eval.provenance import provenance, versions
from ahsar_eval.recording import Recording, record
from ahsar_eval.training.methods import Method
from ahsar_eval.training.resume import Progress, load_progress, save_progress


@dataclass(frozen=True)
class Recipe:
    """What one training is, apart from network and data. Raises `UsageError` for a value that cannot work."""

    method: Method
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise UsageError(f"epochs = {self.epochs}, batch size = {self.batch_size}; expected at least 1 epoch and a batch of at least 2")
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise UsageError(
                f"learning rate {self.learning_rate} or weight decay {self.weight_decay} is unusable; expected 1e-3 and 5e-4 or the like"
            )
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"the seed is {self.seed}; expected a whole number from 0 to 2147483647")


class TrainingDivergedError(AhsarError):
    """The loss is no longer finite."""


def train(
    spec: ModelSpec,
    train_split: Split,
    validation_split: Split,
    recipe: Recipe,
    *,
    resume_file: Path | None = None,
    on_epoch: Callable[[list[dict[str, Any]]], None] | None = None,
) -> tuple[Checkpoint, list[dict[str, Any]]]:
    """Train the network of `spec`; returns the checkpoint of the best epoch and one row of history per epoch.

    The best epoch has the highest hold-out accuracy, then the lowest hold-out loss. `on_epoch` is given the history so far. With
    `resume_file`, progress is written there after every epoch and a later call with the same request continues from it; the caller
    removes it once the checkpoint is saved. Raises `TrainingDivergedError`, or `UsageError` when the file belongs to another request.
    """
    torch.manual_seed(recipe.seed)
    net = build(spec).to(recipe.device)
    base = read_thresholds(net.backbone)
    write_thresholds(net.backbone, base, dict.fromkeys(base, recipe.method.fixed_scale))
    params = recipe.method.params
    ahsar = None if params is None else Ahsar(net.backbone, timesteps=spec.timesteps, params=params, units=net.units())
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    request = describe_request(spec, train_split, validation_split, recipe, network_identity(net))
    done = load_progress(resume_file, request, net, optimizer, ahsar) or Progress()

    try:
        for epoch in range(done.epochs + 1, recipe.epochs + 1):
            started = time.perf_counter()
            rate = _learning_rate(recipe, epoch)
            loss, accuracy = _train_epoch(net, train_split, optimizer, recipe, epoch, rate, ahsar)

            net.eval()  # the controller now writes base × EMA scale before every forward
            held_out = record(net, validation_split, batch_size=recipe.batch_size, device=recipe.device)
            validation_loss, validation_accuracy = loss_and_accuracy(held_out)
            if ahsar is not None:
                ahsar.epoch_end(validation_loss)
            row = {
                "epoch": epoch,
                "learning_rate": rate,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "seconds": round(time.perf_counter() - started, 3),
                **_activity(held_out, ahsar),
            }
            homeostasis = None if ahsar is None else ahsar.snapshot()
            done = done.with_epoch(row, net.backbone.state_dict(), homeostasis)
            save_progress(resume_file, request, done, net, optimizer, homeostasis)
            if on_epoch is not None:
                on_epoch(done.history)
    finally:
        if ahsar is not None:
            ahsar.detach()

    facts = {key: value for key, value in request.items() if key not in ("spec", "threads", "versions")}
    best = next(row for row in done.history if row["epoch"] == done.best_epoch)
    checkpoint = Checkpoint(
        spec=spec,
        weights=done.best_weights,
        homeostasis=None if done.best_homeostasis is None else Homeostasis.from_dict(done.best_homeostasis),
        fixed_scale=recipe.method.fixed_scale,
        provenance=provenance(
            **facts, best_epoch=done.best_epoch, validation_accuracy=best["validation_accuracy"], validation_loss=best["validation_loss"]
        ),
    )
    return checkpoint, done.history


def _train_epoch(
    net: SpikingNet,
    split: Split,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    epoch: int,
    learning_rate: float,
    ahsar: Ahsar | None,
) -> tuple[float, float]:
    """One pass over the training split; mean loss and accuracy over its samples."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)  # dropout and the like, should the network have them
    order = np.random.Generator(np.random.Philox(key=[recipe.seed, epoch])).permutation(len(split))
    if len(order) % recipe.batch_size == 1:
        order = order[:-1]  # batch norm cannot learn from a single sample
    net.train()
    seen, loss_sum, correct = 0, 0.0, 0
    total = -(-len(order) // recipe.batch_size)
    bar = progress(split.batches(recipe.batch_size, order), f"epoch {epoch}/{recipe.epochs}", total=total)
    for batch in bar:
        x, y = batch.x.to(recipe.device), batch.y.to(recipe.device)
        net.reset()
        logits = net(x).mean(0)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen += len(y)
        loss_sum += float(loss.detach()) * len(y)
        correct += int((logits.argmax(1) == y).sum())
        if not math.isfinite(loss_sum):
            raise TrainingDivergedError(f"the training loss is {loss_sum} in epoch {epoch}; lower the learning rate (--learning-rate)")
        shown = {"loss": f"{loss_sum / seen:.3f}", "accuracy": f"{correct / seen:.3f}"}
        if ahsar is not None and ahsar.rates is not None:
            shown["rate"] = f"{np.mean(list(ahsar.rates.values())):.3f}"
        bar.set_postfix(shown)
    net.reset()
    return loss_sum / seen, correct / seen


def _learning_rate(recipe: Recipe, epoch: int) -> float:
    """Cosine from the recipe's rate to 0 over the epochs, constant within one."""
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs))


def loss_and_accuracy(recording: Recording) -> tuple[float, float]:
    """Cross-entropy of the time-mean logits (float64) and top-1 accuracy of a labelled recording."""
    logits = torch.from_numpy(recording.logits).double().mean(1)
    labels = torch.from_numpy(recording.labels)
    return float(F.cross_entropy(logits, labels)), float((logits.argmax(1) == labels).double().mean())


def _activity(held_out: Recording, ahsar: Ahsar | None) -> dict[str, Any]:
    """Columns of the history: the hold-out's rates, and what the controller does."""
    rates = {f"rate.{layer.name}": held_out.rate(layer) for layer in held_out.layers}
    row: dict[str, Any] = {"mean_rate": float(np.mean(list(rates.values())))}
    if ahsar is not None:
        row |= {"gain": ahsar.gain, "saturated_fraction": ahsar.saturated_fraction}
        row |= {f"scale.{unit}": scale for unit, scale in ahsar.scales.items()}
    return row | rates


def describe_request(
    spec: ModelSpec, train_split: Split, validation_split: Split, recipe: Recipe, network_source: str = ""
) -> dict[str, Any]:
    """Everything that decides a training's result, JSON-ready: a resumed run must match it."""
    settings = {name: value for name, value in asdict(recipe).items() if name != "method"}
    return {
        "spec": spec.to_dict(),
        "method": recipe.method.name,
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
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "network_source": network_source,
    }
