"""A training that leaves files: the checkpoint, its history beside it, and its progress until both
are there.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ahsar_eval.files import csv_text, held_alone, write_text
from ahsar_eval.networks.checkpoints import Checkpoint, save_checkpoint
from ahsar_eval.training.loop import train
from ahsar_eval.training.ranks import present_ranks
from ahsar_eval.training.request import Prepared


class TrainingFiles:
    """Where a training that writes the checkpoint `checkpoint` puts its history, while it runs its
    progress, and a lock.
    """

    def __init__(self, checkpoint: Path) -> None:
        stem = checkpoint  # a name may hold other dots: ahsar-w0.25
        if checkpoint.suffix in (".pt", ".pth"):
            stem = checkpoint.with_suffix("")
        self.checkpoint = checkpoint
        self.history = Path(f"{stem}.history.csv")
        self.resume = Path(f"{stem}.resume")
        self.lock = Path(f"{stem}.lock")


def train_to_file(
    prepared: Prepared, out: Path, *, on_epoch: Callable[[list[dict[str, Any]]], None] | None = None
) -> tuple[Checkpoint, list[dict[str, Any]]]:
    """Train, and write the checkpoint `out` and its history; returns both as `train` does.

    A training that was stopped continues from the progress beside `out`, which goes when the
    checkpoint is there. An older checkpoint at `out` keeps its history until then. Of several ranks
    the first one writes. Raises what `train` raises, `OutputError`, and `UsageError` while another
    training writes there.
    """
    files, first = TrainingFiles(out), present_ranks().is_first
    replaces = out.exists()

    def keep(history: list[dict[str, Any]]) -> None:
        if first and not replaces:
            write_text(files.history, csv_text(history))
        if on_epoch is not None:
            on_epoch(history)

    with contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(held_alone(files.lock, f"another training writes {out}"))
        splits = prepared.train_split, prepared.validation_split
        checkpoint, history = train(
            prepared.spec, *splits, prepared.recipe, resume_file=files.resume, on_epoch=keep
        )
        checkpoint = replace(checkpoint, provenance={**checkpoint.provenance, **prepared.facts})
        if first:
            save_checkpoint(checkpoint, out)
            write_text(files.history, csv_text(history))
            files.resume.unlink(missing_ok=True)
    return checkpoint, history
