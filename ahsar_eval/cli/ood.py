"""`ahsar-eval ood`: separation of a set the network knows from sets it does not, and accuracy under shift."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    checkpoint_options,
    chosen_scale,
    emit,
    make_runners,
    output_options,
    scale_options,
    set_notes,
    warn_if_trained_on,
    write_results,
)
from ahsar_eval.cli.data_options import data_options, view_of
from ahsar_eval.errors import DataError, UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions


@click.command(short_help="AUROC and FPR@95TPR of predictive entropy, and accuracy under shift.")
@checkpoint_options
@click.option("--id", "id_name", required=True, metavar="NAME", help="The set the network knows (test split).")
@click.option("--ood", "ood_names", required=True, multiple=True, metavar="NAME", help="A set it does not know; may be repeated.")
@click.option(
    "--id-space",
    type=click.Choice(["cifar10", "cifar100"]),
    help="Whose classes the ID set has, where its name does not say: for near, far, and classes of tiny-imagenet that overlap.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of the shifts' randomness.")
@scale_options
@data_options
@output_options
def ood(
    checkpoints: tuple[str, ...],
    id_name: str,
    ood_names: tuple[str, ...],
    id_space: str | None,
    seed: int,
    scale: float | None,
    no_replay: bool,
    form: str,
    out: Path | None,
    data: "DataOptions",
    **options: Any,
) -> None:
    """Compare an ID set with OOD sets by predictive entropy (paper 5.2).

    A NAME is a set (ahsar-eval data list), folder:PATH, npz:PATH or events:PATH, optionally with :shift, :shift:severity (1 to 5) or
    :all; :shift alone is all five severities. near and far are OpenOOD's groups for cifar10 and cifar100. Named sets are read from
    --data-root; of tiny-imagenet, the classes that overlap with cifar10 or cifar100 are left out where that is the ID set.

    \b
    ahsar-eval ood --id digits --ood photo-patches --ood digits:rotation
    ahsar-eval ood my.pt --id folder:photos/test --ood npz:other.npz --out results
    """
    from ahsar_eval.data import expand_groups, parse

    for name in ood_names:
        if ood_names.count(name) > 1:
            raise UsageError(f"the OOD set {name} was named twice; name it once")
    ood_names = tuple(expand_groups(ood_names, id_space or id_name))
    for name in (id_name, *ood_names):
        parse(name)
    if out is not None:
        from ahsar_eval.files import check_folder_writable

        check_folder_writable(out)
    runners = make_runners(checkpoints, data_name=id_name, data=data, scale=chosen_scale(scale, no_replay), **options)

    from ahsar_eval.data import open_split, open_splits
    from ahsar_eval.ood import evaluate

    planned = []
    for runner in runners:  # everything that can be refused is refused before the first forward pass
        spec = runner.checkpoint.spec
        view = view_of(spec)
        id_split = open_split(id_name, view, seed=seed, options=data)
        if id_split.source.classes and len(id_split.source.classes) != spec.classes:
            raise DataError(
                f"{runner.checkpoint.name} tells {spec.classes} classes apart and {id_name} has {len(id_split.source.classes)}; "
                "choose the ID set it was trained on"
            )
        others = [
            split
            for name in ood_names
            for split in open_splits(name, view, seed=seed, options=data, id_space=id_space or id_split.source.label_space)
        ]
        for place, split in enumerate(others):
            if split.identity == id_split.identity:
                raise UsageError(f"the OOD set {split.name} is the ID set itself; choose another, or a shift of it")
            if split.identity in {other.identity for other in others[:place]}:
                raise UsageError(f"the OOD set {split.name} was named twice; name it once")
        warn_if_trained_on(runner, id_split)
        _ = runner.network
        planned.append((runner, id_split, others))

    rows = []
    for runner, id_split, others in planned:
        # The traced sample lets `raster` draw the same pass without another.
        id_recording = runner.recording(id_split, trace=(0,))
        rows += evaluate(
            id_recording, [runner.recording(split) for split in others], checkpoint=runner.checkpoint.name, thresholds=runner.thresholds
        )

    from ahsar_eval.provenance import provenance
    from ahsar_eval.recording import describe
    from ahsar_eval.report import csv_text, json_text, markdown_table, text_table
    from ahsar_eval.report.ood_report import HEADER, ood_notes, ood_table

    body = ood_table(rows)
    notes = [*ood_notes(rows), *set_notes([split for _, id_split, others in planned for split in (id_split, *others)])]
    facts = provenance(
        seed=seed,
        checkpoints=[
            {
                "name": runner.checkpoint.name,
                "sha256": runner.checkpoint.sha256,
                "method": runner.checkpoint.method,
                "thresholds": runner.thresholds,
                "id": describe(id_split),
                "ood": [describe(split) for split in others],
            }
            for runner, id_split, others in planned
        ],
        notes=notes,
    )
    texts = {
        "markdown": markdown_table(HEADER, body) + "\n\n" + "\n".join(f"- {note}" for note in notes),
        "csv": csv_text([row.to_dict() for row in rows]),
        "json": json_text({"rows": [row.to_dict() for row in rows], "provenance": facts}),
    }
    write_results(out, "ood", **texts)
    emit(form, table=text_table(HEADER, body) + "\n\n" + "\n".join(notes), **texts)
