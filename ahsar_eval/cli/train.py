"""`ahsar-eval train`: a checkpoint from a set, by backpropagation through time or rate-based."""

import functools
from pathlib import Path
from typing import Any

import click

from ahsar_eval.cli.options import Command, takes
from ahsar_eval.cli.options import option as of_group
from ahsar_eval.cli.output import announce
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError

option = functools.partial(of_group, group="training")


@click.command(
    cls=Command, short_help="Train a baseline, AHSAR, an ablation, or fixed or frozen thresholds."
)
@option(
    "--data",
    "data_name",
    default="digits",
    show_default=True,
    metavar="NAME",
    help="A set with labels (ahsar-eval data list).",
)
@option(
    "--backbone",
    default="vgg13",
    show_default=True,
    help="vgg13, resnet18, or package.module:function for a network of your own.",
)
@option(
    "--model",
    metavar="PACKAGE.MODULE:FUNCTION",
    help="The same as --backbone package.module:function.",
)
@option("--width", default=1.0, show_default=True, help="Channel factor; 1 is the paper's.")
@option(
    "--method",
    default="ahsar",
    show_default=True,
    help="ahsar, baseline, ahsar-no-rt, ahsar-no-dh, ahsar-no-gain, fixed:S (a constant factor on "
    "every threshold) or frozen:CKPT "
    "(the scales that an AHSAR checkpoint replays, constant).",
)
@option(
    "--paradigm",
    type=click.Choice(["bptt", "rate"]),
    default="bptt",
    show_default=True,
    help="Backpropagation through time, or rate-based: one backward pass, whose memory does not "
    "grow with T.",
)
@option("--timesteps", default=6, show_default=True, metavar="T")
@option(
    "--step-mode",
    type=click.Choice(["s", "m"]),
    default="m",
    show_default=True,
    help="Step by step, or all steps in one call.",
)
@option("--epochs", default=50, show_default=True)
@option("--batch-size", default=128, show_default=True)
@option("--learning-rate", default=1e-3, show_default=True)
@option("--weight-decay", default=5e-4, show_default=True)
@option("--seed", default=0, show_default=True)
@option(
    "--input-shape", metavar="C,H,W", help="The network's input (default: the set's own shape)."
)
@option(
    "--hold-out",
    default=0.1,
    show_default=True,
    help="Fraction of the training samples held out for selection and gain, where the set has no "
    "such split.",
)
@option(
    "--frames",
    default="count",
    show_default=True,
    help="Event sets: T slices of equal count or time, or the duration of a frame, 1ms.",
)
@option(
    "--samples",
    type=int,
    metavar="N",
    help="Use N training samples only, the same for every seed; the hold-out is taken from them, "
    "unless the set has its own.",
)
@option(
    "--augment",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Transforms of training batches: auto (what the set calls for), none, crop, crop-flip, "
    "crop-flip-cutout, roll or flip-roll.",
)
@option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of matrix products in training; membrane potentials, weights and validation stay fp32. "
    "fp16 needs a GPU.",
)
@option(
    "--sensing",
    type=click.Choice(["spikes", "surrogate"]),
    default="spikes",
    show_default=True,
    help="How the controller senses rates: spike counts, or the surrogate at the mean input "
    "current.",
)
@option(
    "--controller",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the controller, such as beta=0.2 (repeatable; docs/method.md, Defaults, "
    "lists them).",
)
@option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@option(
    "--threads",
    type=int,
    help="Threads for torch on the CPU; the result is deterministic for a seed and a thread count.",
)
@option(
    "--out",
    default="checkpoint.pt",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The checkpoint; its history goes beside it as .csv.",
)
@takes(DataOptions, "data", but=("limit",))
def train(
    data_name: str,
    backbone: str,
    model: str | None,
    input_shape: str | None,
    controller: tuple[str, ...],
    device: str,
    threads: int | None,
    out: Path,
    data: DataOptions,
    **settings: Any,
) -> None:
    """Train with the paper's recipe: Adam, cosine schedule, cross-entropy of the time-mean logits.

    A hold-out of the training set chooses the epoch and drives AHSAR's gain; the test split is
    never opened. A training that was stopped continues when the same command is given again. Small
    sets want --batch-size 32 to 64: batch norm's running variances need some hundred steps to
    converge. Several processes train together under torchrun, the batch divided among them
    (docs/training.md).

    \b
    ahsar-eval train --data digits --width 0.25 --epochs 12 --batch-size 64 --out ahsar.pt
    """
    from ahsar_eval.files import check_folder_writable

    if out.is_dir():
        raise UsageError(
            f"--out {str(out)!r} is a folder; name a file, such as {out / 'checkpoint.pt'}"
        )
    check_folder_writable(out.parent)
    from ahsar_eval.evaluation.networks import parse_shape, prepare_torch

    prepare_torch(device, threads)
    from ahsar_eval.training import TrainingFiles, TrainingRequest, joined, prepare, train_to_file

    with joined(device) as (ranks, own_device):
        request = TrainingRequest(
            data=data_name,
            backbone=model or backbone,
            input_shape=parse_shape(input_shape),
            controller=_parameters(controller),
            device=own_device,
            **settings,  # options of the fields' own names
        )
        prepared = prepare(request, data)
        files = TrainingFiles(out)

        def say(history: list[dict[str, Any]]) -> None:
            row = history[-1]
            regulated = f"  gain {row['gain']:.3f}" if "gain" in row else ""
            click.echo(
                f"epoch {row['epoch']:3d}/{request.epochs}  loss {row['train_loss']:.4f}  accuracy "
                f"{row['train_accuracy']:.4f}  "
                f"hold-out loss {row['validation_loss']:.4f}  accuracy "
                f"{row['validation_accuracy']:.4f}  "
                f"rate {row['mean_rate']:.3f}{regulated}  {row['seconds']:.1f} s",
                err=True,
            )

        if ranks.is_first and files.resume.is_file():
            click.echo(f"continuing the training that {files.resume} was left by", err=True)
        checkpoint, _ = train_to_file(prepared, out, on_epoch=say if ranks.is_first else None)
        if ranks.is_first:
            found = checkpoint.provenance
            click.echo(
                f"best epoch {found['best_epoch']}, hold-out accuracy "
                f"{found['validation_accuracy']:.4f}",
                err=True,
            )
            announce([out, files.history])


def _parameters(texts: tuple[str, ...]) -> dict[str, float | bool]:
    """NAME=VALUE, several times, as a mapping; what the names may be is the controller's to say.
    Raises `UsageError`.
    """
    read: dict[str, float | bool] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name in read:
            raise UsageError(
                f"--controller {text!r} is no parameter, or names one twice; expected NAME=VALUE, "
                "such as beta=0.2"
            )
        if value in ("true", "false"):
            read[name] = value == "true"
            continue
        try:
            read[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--controller {text!r} has no number; expected NAME=VALUE, such as beta=0.2"
            ) from None
    return read
