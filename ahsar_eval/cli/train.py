"""`ahsar-eval train`: a checkpoint from a set, by backpropagation through time."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import announce, parse_shape, prepare_torch
from ahsar_eval.cli.data_options import data_options
from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions


@click.command(short_help="Train a baseline, AHSAR, an ablation or a fixed threshold factor.")
@click.option("--data", "data_name", default="digits", show_default=True, metavar="NAME", help="A set with labels (ahsar-eval data list).")
@click.option(
    "--backbone", default="vgg13", show_default=True, help="vgg13, resnet18, or package.module:function for a network of your own."
)
@click.option("--model", metavar="PACKAGE.MODULE:FUNCTION", help="The same as --backbone package.module:function.")
@click.option("--width", default=1.0, show_default=True, help="Channel factor; 1 is the paper's.")
@click.option("--method", default="ahsar", show_default=True, help="ahsar, baseline, ahsar-no-rt, ahsar-no-dh, ahsar-no-gain or fixed:S.")
@click.option("--timesteps", default=6, show_default=True, metavar="T")
@click.option("--step-mode", type=click.Choice(["s", "m"]), default="m", show_default=True, help="Step by step, or all steps in one call.")
@click.option("--epochs", default=50, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--weight-decay", default=5e-4, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--input-shape", metavar="C,H,W", help="The network's input (default: the set's own shape).")
@click.option(
    "--hold-out",
    default=0.1,
    show_default=True,
    help="Fraction of the training samples held out for selection and gain, where the set has no such split.",
)
@click.option(
    "--frames", default="count", show_default=True, help="Event sets: T slices of equal count or time, or the duration of a frame, 1ms."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=int, help="Threads for torch on the CPU; the result is deterministic for a seed and a thread count.")
@click.option(
    "--out",
    default="checkpoint.pt",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The checkpoint; its history goes beside it as .csv.",
)
@data_options
def train(
    data_name: str,
    backbone: str,
    model: str | None,
    width: float,
    method: str,
    timesteps: int,
    step_mode: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    input_shape: str | None,
    hold_out: float,
    frames: str,
    device: str,
    threads: int | None,
    out: Path,
    data: "DataOptions",
) -> None:
    """Train with the paper's recipe: Adam, cosine schedule, cross-entropy of the time-mean logits.

    A hold-out of the training set chooses the epoch and drives AHSAR's gain; the test split is never opened. A training that was
    stopped continues when the same command is given again. Small sets want --batch-size 32 to 64: batch norm's running variances
    need some hundred steps to converge.

    \b
    ahsar-eval train --data digits --backbone vgg13 --width 0.25 --method ahsar --epochs 12 --batch-size 64 --out ahsar.pt
    """
    from ahsar_eval.files import check_folder_writable

    if out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a folder; name a file, such as {out / 'checkpoint.pt'}")
    check_folder_writable(out.parent)
    prepare_torch(device, threads)
    from ahsar_eval.checkpoints import save_checkpoint
    from ahsar_eval.data import EventSet, View, channel_statistics, split_of, training_sets
    from ahsar_eval.data.events.frames import parse_framing
    from ahsar_eval.files import write_text
    from ahsar_eval.models import ModelSpec
    from ahsar_eval.report import csv_text
    from ahsar_eval.training import Recipe, parse_method
    from ahsar_eval.training import train as run_training

    recipe = Recipe(parse_method(method), epochs, batch_size, learning_rate, weight_decay, seed, device)
    train_set, validation_set = training_sets(data_name, hold_out=hold_out, seed=seed, options=data)
    shape = parse_shape(input_shape) or train_set.shape
    if shape is None:
        raise UsageError(f"{data_name} has images of several sizes; give the network's input with --input-shape C,H,W")
    framing = parse_framing(frames)
    view = View(shape, timesteps, framing)
    train_split, validation_split = split_of(train_set, view), split_of(validation_set, view)
    # Frames of events are mostly zero and stay so: a network of events is given the counts as they are.
    mean, std = ((0.0,), (1.0,)) if isinstance(train_set, EventSet) else channel_statistics(train_split)
    spec = ModelSpec(
        model or backbone,
        shape,
        len(train_set.classes),
        width=width,
        step_mode=step_mode,
        timesteps=timesteps,
        mean=mean,
        std=std,
        framing=framing,
    )
    stem = out.with_suffix("") if out.suffix in (".pt", ".pth") else out  # a name may hold other dots: ahsar-w0.25
    history_file, resume_file = Path(f"{stem}.history.csv"), Path(f"{stem}.resume")
    if resume_file.is_file():
        click.echo(f"continuing the training that {resume_file} was left by", err=True)

    def say(history: list[dict[str, Any]]) -> None:
        write_text(history_file, csv_text(history))
        row = history[-1]
        regulated = f"  gain {row['gain']:.3f}" if "gain" in row else ""
        click.echo(
            f"epoch {row['epoch']:3d}/{epochs}  loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:.4f}  "
            f"hold-out loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.4f}  "
            f"rate {row['mean_rate']:.3f}{regulated}  {row['seconds']:.1f} s",
            err=True,
        )

    checkpoint, history = run_training(spec, train_split, validation_split, recipe, resume_file=resume_file, on_epoch=say)
    facts: dict[str, Any] = {"hold_out": hold_out, **({"division": train_set.division} if train_set.division else {})}
    checkpoint = replace(checkpoint, provenance={**checkpoint.provenance, **facts})
    save_checkpoint(checkpoint, out)
    write_text(history_file, csv_text(history))
    resume_file.unlink(missing_ok=True)
    click.echo(
        f"best epoch {checkpoint.provenance['best_epoch']}, hold-out accuracy {checkpoint.provenance['validation_accuracy']:.4f}", err=True
    )
    announce([out, history_file])
