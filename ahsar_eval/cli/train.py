"""`ahsar-eval train`: a checkpoint from a set, by backpropagation through time or rate-based."""

from dataclasses import replace
from pathlib import Path

import click

from ahsar_eval.cli.commands import Command, announce, own_options, takes
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError
from ahsar_eval.files import check_folder_writable
from ahsar_eval.training.request import TrainingRequest, prepare


@click.command(
    cls=Command, short_help="Train a baseline, AHSAR, an ablation, or fixed or frozen thresholds."
)
@takes(request=TrainingRequest, data=DataOptions, but=("limit",))
@own_options("train")
def train(
    request: TrainingRequest,
    data: DataOptions,
    threads: int | None = None,
    out: Path = Path("checkpoint.pt"),
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
    from ahsar_eval.evaluation.inputs import prepare_torch
    from ahsar_eval.training.files import History, TrainingFiles
    from ahsar_eval.training.loop import train_to_file
    from ahsar_eval.training.ranks import joined

    if out.is_dir():
        raise UsageError(
            f"--out {str(out)!r} is a folder; name a file, such as {out / 'checkpoint.pt'}"
        )
    check_folder_writable(out.parent)
    prepare_torch(request.device, threads)
    with joined(request.device) as (ranks, device):
        request = replace(request, device=device)
        prepared, files = prepare(request, data), TrainingFiles(out)

        def say(history: History) -> None:
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
        checkpoint, _ = train_to_file(
            prepared,
            out,
            on_epoch=say if ranks.is_first else None,
            on_log=lambda target, place: click.echo(f"log for {target}: {place}", err=True),
        )
        if ranks.is_first:
            found = checkpoint.provenance
            click.echo(
                f"best epoch {found['best_epoch']}, hold-out accuracy "
                f"{found['validation_accuracy']:.4f}",
                err=True,
            )
            announce([out, files.history])
