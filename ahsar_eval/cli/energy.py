"""`ahsar-eval energy`: synaptic operations, multiply-accumulates and energy per inference."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    check_out,
    checkpoint_options,
    chosen_scale,
    data_or_trained_on,
    emit,
    make_runners,
    output_options,
    scale_options,
    set_notes,
    warn_if_trained_on,
    write_results,
)
from ahsar_eval.cli.data_options import data_options

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions


@click.command(short_help="Spikes, SynOps, MACs and pJ per inference, layer by layer.")
@checkpoint_options
@click.option("--data", "data_name", metavar="NAME", help="The set to run (test split); default: the one the checkpoint was trained on.")
@click.option(
    "--profile",
    default="45nm-fp32",
    show_default=True,
    metavar="NAME",
    help="Energy per operation: 45nm-fp32, 45nm-fp16, 45nm-int32 or 45nm-int8.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of a shift's randomness.")
@scale_options
@data_options
@output_options
def energy(
    checkpoints: tuple[str, ...],
    data_name: str | None,
    profile: str,
    seed: int,
    scale: float | None,
    no_replay: bool,
    form: str,
    out: Path | None,
    data: "DataOptions",
    **options: Any,
) -> None:
    """Energy per inference from exact spike counts.

    \b
    ahsar-eval energy
    ahsar-eval energy my.pt --data digits:contrast:5 --format csv
    """
    from ahsar_eval.energy import estimate, profile_of

    prices = profile_of(profile)
    check_out(out)
    runners = make_runners(checkpoints, data_name=data_name, data=data, scale=chosen_scale(scale, no_replay), **options)
    name = data_or_trained_on(data_name, runners)

    from ahsar_eval.data import open_split

    splits = [open_split(name, runner.view, seed=seed, options=data) for runner in runners]
    results = []
    for runner, split in zip(runners, splits, strict=True):
        warn_if_trained_on(runner, split)
        recording = runner.recording(split)
        results.append(
            estimate(
                recording,
                prices,
                checkpoint=runner.checkpoint.name,
                thresholds=runner.thresholds,
                label_space=runner.checkpoint.provenance.get("label_space"),
            )
        )

    from ahsar_eval.provenance import provenance
    from ahsar_eval.recording import describe
    from ahsar_eval.report import csv_text, json_text
    from ahsar_eval.report.document import Table, texts_of
    from ahsar_eval.report.energy_report import (
        LAYER_HEADER,
        NEURON_HEADER,
        TOTAL_HEADER,
        energy_csv_rows,
        energy_notes,
        layer_table,
        neuron_table,
        total_table,
    )

    facts = provenance(
        seed=seed,
        checkpoints=[
            {
                "name": r.checkpoint.name,
                "sha256": r.checkpoint.sha256,
                "method": r.checkpoint.method,
                "thresholds": r.thresholds,
                "data": describe(split),
            }
            for r, split in zip(runners, splits, strict=True)
        ],
    )
    notes = [*energy_notes(results), *set_notes(splits)]
    if any(split.modality == "events" for split in splits):
        notes.append(
            "Frames of events meet the first layer as values and are charged as dense MACs at every step; "
            "--input-kind LAYER='integer spikes' counts them as SynOps, for frames at the sensor's own size."
        )
    tables = []
    for result in results:
        title = f"{result.checkpoint} on {result.data}, thresholds: {result.thresholds}"
        tables += [Table(title, LAYER_HEADER, layer_table(result)), Table("", NEURON_HEADER, neuron_table(result))]
    tables.append(Table("per inference", TOTAL_HEADER, total_table(results)))
    content = [{**result.to_dict(), "provenance": facts} for result in results]
    texts = {
        **texts_of(tables, notes, facts),
        "csv": csv_text(energy_csv_rows(results)),
        "json": json_text(content[0] if len(content) == 1 else content),
    }
    write_results(out, "energy", **texts)
    emit(form, **texts)
