"""Training with surrogate gradients, through time or rate-based as the network does it, the whole
loop on one page (paper 5.1).

Adam, learning rate 1e-3, weight decay 5e-4, cosine schedule, cross-entropy of the time-mean logits.
One hold-out of the training set serves the gain and the choice of the epoch; the test set is never
opened. An epoch's order and randomness depend on (seed, epoch) alone, so a run resumed after a kill
ends with the same bits as one that was never stopped (same thread count).
"""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F

from ahsar_eval.data import Split, View
from ahsar_eval.data.training_data import Augmentation, in_epoch
from ahsar_eval.errors import AhsarError, AhsarWarning, ModelError, UsageError
from ahsar_eval.files import csv_text, held_alone, write_text
from ahsar_eval.homeostasis import (
    Ahsar,
    Homeostasis,
    named_neurons,
    plain_thresholds,
    write_thresholds,
)
from ahsar_eval.homeostasis.regulation import SetPoints
from ahsar_eval.homeostasis.thresholds import check_any
from ahsar_eval.networks import ModelSpec, SpikingNet, build, hooked, network_identity
from ahsar_eval.networks.behaviour import Behaviour
from ahsar_eval.networks.checkpoints import Checkpoint, network_of, save_checkpoint
from ahsar_eval.process import freed_memory_kept, progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import Recording, record
from ahsar_eval.recording.adaptation import measure_set_points
from ahsar_eval.recording.engine import looped_neurons
from ahsar_eval.recording.execution import warn_of_slow_bf16
from ahsar_eval.recording.layout import bf16_where_right, channels_last, layout_of
from ahsar_eval.training.files import (
    History,
    Progress,
    TrainingFiles,
    describe_request,
    history_row,
    load_progress,
    save_progress,
)
from ahsar_eval.training.logs import logs_of
from ahsar_eval.training.ranks import Ranks, present_ranks
from ahsar_eval.training.request import Prepared, Recipe

SMALLEST_SHARE = 2  # samples: batch norm cannot learn from one
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
HALVES = tuple(_TYPES.values())


class TrainingDivergedError(AhsarError):
    """The loss is no longer finite."""


@freed_memory_kept()
def train(
    spec: ModelSpec,
    train_split: Split,
    validation_split: Split,
    recipe: Recipe,
    *,
    resume_file: Path | None = None,
    on_start: Callable[[History], None] | None = None,
    on_epoch: Callable[[History], None] | None = None,
) -> tuple[Checkpoint, History]:
    """Train the network of `spec`; returns the checkpoint of the best epoch and one row of history
    per epoch.

    The best epoch has the highest hold-out accuracy, then the lowest hold-out loss. `on_start` is
    given the epochs done before, `on_epoch` the history so far. With
    `resume_file`, progress is written there after every epoch and a later call with the same
    request continues from it; the caller removes it once the checkpoint is saved. Raises
    `TrainingDivergedError`, or `UsageError` when the file belongs to another request.
    """
    ranks = present_ranks()
    _check_shares(len(train_split), recipe.batch_size, ranks)
    warn_of_slow_bf16(recipe.precision, recipe.device)
    torch.manual_seed(recipe.seed)
    net = build(spec)
    if spec.is_user_network:
        net.find_calls()
        if net.spec.step_mode != spec.step_mode:
            raise ModelError(
                f"{spec.backbone} runs in step mode {net.spec.step_mode} and {spec.step_mode} was "
                "asked for; set it in that function "
                "(spikingjelly.activation_based.functional.set_step_mode) or ask for its own"
            )
    net = net.to(recipe.device)
    base, buffers = plain_thresholds(net.backbone), _threshold_buffers(net.backbone)
    check_any(base, recipe.method.fixed_scale)
    write_thresholds(net.backbone, base, recipe.method.factors(base))
    ahsar, params = None, recipe.method.params
    if params is not None:
        ahsar = Ahsar(
            net.backbone,
            timesteps=spec.timesteps,
            params=params,
            units=net.units(),
            sensing=recipe.sensing,
        )
    optimizer = torch.optim.Adam(
        net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    # Keeps small gradients of fp16 from vanishing; the others' exponents reach as far as fp32's.
    scaler = GradScaler(torch.device(recipe.device).type, enabled=recipe.precision == "fp16")
    request = describe_request(
        spec, train_split, validation_split, recipe, network_identity(net), ranks.size
    )
    parts: dict[str, Any] = {"weights": net.backbone, "optimizer": optimizer, "scaler": scaler}
    parts |= {} if ahsar is None else {"homeostasis": ahsar}
    done = (resume_file and load_progress(resume_file, request, parts)) or Progress()
    ranks.check_equal(len(done.history))

    try:
        if on_start is not None:
            on_start(done.history)
        for epoch in range(len(done.history) + 1, recipe.epochs + 1):
            started = time.perf_counter()
            with training_form(net):
                steps, loss, accuracy = _train_epoch(
                    net, train_split, optimizer, scaler, recipe, epoch, ahsar, ranks
                )
            ranks.average_buffers(net.backbone)

            net.eval()  # the controller now writes base × EMA scale before every forward
            found = _validate(net, validation_split, recipe) if ranks.is_first else None
            validation_loss, validation_accuracy, rates = ranks.from_first(found)
            if ahsar is not None:
                ahsar.epoch_end(validation_loss)
            trained = {
                "epoch": epoch,
                "steps": steps * epoch,
                "learning_rate": optimizer.param_groups[0]["lr"],
                "train_loss": loss,
                "train_accuracy": accuracy,
                "validation_loss": validation_loss,
                "validation_accuracy": validation_accuracy,
                "seconds": round(time.perf_counter() - started, 3),
            }
            row = history_row(trained, rates, ahsar)
            done = done.with_epoch(row, net.backbone.state_dict(), ahsar)
            if ranks.is_first and resume_file is not None:
                save_progress(resume_file, request, done, parts)
            if on_epoch is not None:
                on_epoch(done.history)
    finally:
        if ahsar is not None:
            ahsar.detach()

    elsewhere = ("spec", "threads", "versions", "layer_scales")
    best, stored = done.best, done.best_homeostasis
    facts = provenance(
        **{key: value for key, value in request.items() if key not in elsewhere},
        best_epoch=best["epoch"],
        validation_accuracy=best["validation_accuracy"],
        validation_loss=best["validation_loss"],
        layout=layout_of(net.backbone, where=spec.step_mode == "m"),
    )
    checkpoint = Checkpoint(
        spec,
        {**done.best_weights, **buffers},
        None if stored is None else Homeostasis.from_dict(stored),
        recipe.method.fixed_scale,
        facts,
        layer_scales=dict(recipe.method.layer_scales),
    )
    measured = None
    if ranks.is_first:
        measured = _set_points(checkpoint, net.found, validation_split, recipe)
    return replace(checkpoint, set_points=ranks.from_first(measured)), done.history


def train_to_file(
    prepared: Prepared,
    out: Path,
    *,
    on_epoch: Callable[[History], None] | None = None,
    on_log: Callable[[str, str], None] | None = None,
) -> tuple[Checkpoint, History]:
    """Train, and write the checkpoint `out`, its history and the logs asked for; returns both as
    `train` does. `on_log` is told target and place of each log when the training starts.

    A training that was stopped continues from the progress beside `out`, which goes when the
    checkpoint is there. An older checkpoint at `out` keeps its history until then. Of several ranks
    the first one writes. Raises what `train` raises, `OutputError`, and `UsageError` while another
    training writes there.
    """
    files, first = TrainingFiles(out), present_ranks().is_first
    replaces = out.exists()

    def keep(history: History) -> None:
        if first and not replaces:
            write_text(files.history, csv_text(history))
        logs.write(history)
        if on_epoch is not None:
            on_epoch(history)

    request, taken = prepared.request, f"another training writes {out}"
    with (
        held_alone(files.lock, taken) if first else contextlib.nullcontext(),
        logs_of(request.log if first else (), files, request.to_dict(), on_log) as logs,
    ):
        checkpoint, history = train(
            prepared.spec,
            prepared.train_split,
            prepared.validation_split,
            prepared.recipe,
            resume_file=files.resume,
            on_start=logs.begin,
            on_epoch=keep,
        )
        checkpoint = replace(checkpoint, provenance={**checkpoint.provenance, **prepared.facts})
        if first:
            save_checkpoint(checkpoint, out)
            write_text(files.history, csv_text(history))
            files.resume.unlink(missing_ok=True)
            files.logs.unlink(missing_ok=True)
    return checkpoint, history


def _train_epoch(
    net: SpikingNet,
    split: Split,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
    recipe: Recipe,
    epoch: int,
    ahsar: Ahsar | None,
    ranks: Ranks,
) -> tuple[int, float, float]:
    """One pass over the training split; number of steps, mean loss and accuracy over its samples
    (of all ranks).
    """
    # Cosine from the recipe's rate to 0 over the epochs, constant within one.
    angle = math.pi * (epoch - 1) / recipe.epochs
    (group,) = optimizer.param_groups
    group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(angle))
    # For dropout and the like, should the network have them: every rank draws its own.
    torch.manual_seed(recipe.seed * 1_000_003 + epoch + ranks.rank * 2**52)
    order = np.random.Generator(np.random.Philox(key=[recipe.seed, epoch])).permutation(len(split))
    order = order[: epoch_samples(len(order), recipe.batch_size, ranks.size)]
    view = View(split.shape, net.spec.timesteps, net.spec.framing)
    split = in_epoch(split, view, recipe.event_transform, recipe.seed, epoch)
    augmented = Augmentation(recipe.augment, recipe.seed, net.spec.mean)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    net.train()
    seen, loss_sum, correct = 0, 0.0, 0
    wholes = np.split(order, range(recipe.batch_size, len(order), recipe.batch_size))
    bar = progress(wholes, f"epoch {epoch}/{recipe.epochs}", total=len(wholes))
    for whole in bar:
        batch = next(split.batches(len(whole), ranks.share(whole)))
        x = augmented(batch.x, epoch, batch.index.numpy()).to(recipe.device)
        y = batch.y.to(recipe.device)
        net.reset()
        with autocast(net, recipe.precision, recipe.device):
            logits = net(x)
        logits = (logits.float() if logits.dtype in HALVES else logits).mean(0)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss * (len(y) / len(whole))).backward()  # type: ignore[no-untyped-call]
        hits = (logits.argmax(1) == y).sum().double()
        sums = torch.stack([loss.detach().double() * len(y), hits])
        batch_loss, batch_correct = ranks.step_sums(parameters, sums).tolist()
        scaler.step(optimizer)
        scaler.update()
        seen += len(whole)
        loss_sum += batch_loss
        correct += int(batch_correct)
        if not math.isfinite(loss_sum):
            raise TrainingDivergedError(
                f"the training loss is {loss_sum} in epoch {epoch}; lower the learning rate "
                "(--learning-rate)"
            )
        shown = {"loss": f"{loss_sum / seen:.3f}", "accuracy": f"{correct / seen:.3f}"}
        if ahsar is not None and ahsar.rates is not None:
            shown["rate"] = f"{np.mean(list(ahsar.rates.values())):.3f}"
        bar.set_postfix(shown)
    net.reset()
    return len(wholes), loss_sum / seen, correct / seen


def _threshold_buffers(backbone: nn.Module) -> dict[str, Tensor]:
    """Thresholds that are buffers, before any scaling, by their names in the state dict: factors
    are kept beside the weights, not in them.
    """
    found = dict(backbone.named_buffers())
    names = [f"{layer}.v_threshold".lstrip(".") for layer in named_neurons(backbone)]
    return {name: found[name].detach().cpu().clone() for name in names if name in found}


def _validate(
    net: SpikingNet, split: Split, recipe: Recipe
) -> tuple[float, float, dict[str, float]]:
    """Loss, accuracy and rates on the hold-out, in fp32: what evaluation will replay."""
    held_out = record(net, split, batch_size=recipe.batch_size, device=recipe.device)
    rates = {layer.name: held_out.rate(layer) for layer in held_out.layers}
    return *loss_and_accuracy(held_out), rates


def _set_points(
    checkpoint: Checkpoint, found: Behaviour | None, split: Split, recipe: Recipe
) -> SetPoints | None:
    """Rates on the hold-out of the network that evaluation will run, which homeostasis at test time
    goes for; None where it cannot be measured, which is said. No random number of the caller's is
    drawn.
    """
    with torch.random.fork_rng(devices=[]):
        net = network_of(checkpoint, model=checkpoint.spec.backbone, behaviour=found)
        try:
            return measure_set_points(
                net, split, batch_size=recipe.batch_size, device=recipe.device
            )
        except AhsarError as error:
            warnings.warn(f"no set points for --adapt: {error}", AhsarWarning, stacklevel=2)
    return None


@contextlib.contextmanager
def training_form(net: SpikingNet) -> Iterator[None]:
    """A network in the form in which a training step is fastest (docs/performance.md), the same but
    for rounding.

    On the CPU and all steps at once the convolutions' weights lie channels last, which activations
    follow, but where that is not known to give the right gradient; under BPTT spiking layers run in
    loops, where the rate pass has its own (networks/rate_pass.py).
    """
    loops = looped_neurons if net.spec.paradigm == "bptt" else contextlib.nullcontext
    with channels_last(net, net.spec.step_mode == "m", training=True), loops(net.backbone):
        yield


@contextlib.contextmanager
def autocast(net: nn.Module, precision: str, device: str) -> Iterator[None]:
    """Run forward passes of `net` in the block in `precision`: convolutions and linear layers in 16
    bits; nothing happens for fp32.

    The input of every spiking layer is brought back to fp32, so that its membrane potential, its
    threshold and the place where it fires stay those of fp32; 0 and 1 are exact in any of them.
    """
    if precision == "fp32":
        yield
        return
    # Without the cache of cast weights: before torch 2.11, one that is filled in a pass without
    # gradients, such as the spike pass of rate-based backpropagation, leaves the next pass without
    # them (pytorch issue 112583).
    kind, neurons = torch.device(device).type, named_neurons(net).values()
    with (
        hooked(neuron.register_forward_pre_hook(_in_full_precision) for neuron in neurons),
        torch.autocast(kind, _TYPES[precision], cache_enabled=False),
        bf16_where_right(net),
    ):
        yield


def _in_full_precision(neuron: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value
        for value in inputs
    )


def epoch_samples(samples: int, batch_size: int, ranks: int = 1) -> int:
    """How many of the samples one epoch trains on: all, but for a last batch of which some rank
    could not learn.
    """
    last = samples % batch_size
    return samples if last >= SMALLEST_SHARE * ranks else samples - last


def _check_shares(samples: int, batch_size: int, ranks: Ranks) -> None:
    """Every rank's batch norms must see at least two samples. Raises `UsageError`."""
    needed = SMALLEST_SHARE * ranks.size
    if min(samples, batch_size) < needed:
        raise UsageError(
            f"{samples} training samples in batches of {batch_size} are too few for {ranks.size} "
            f"process{'es' * (ranks.size > 1)}; expected at least {needed} of each"
        )


def loss_and_accuracy(recording: Recording) -> tuple[float, float]:
    """Cross-entropy of the time-mean logits (float64) and top-1 accuracy of a labelled
    recording."""
    logits = torch.from_numpy(recording.logits).double().mean(1)
    labels = torch.from_numpy(recording.labels)
    accuracy = (logits.argmax(1) == labels).double().mean()
    return float(F.cross_entropy(logits, labels)), float(accuracy)
