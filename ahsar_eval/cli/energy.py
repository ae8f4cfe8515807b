"""`ahsar-eval energy`: every operation of an inference and its energy, under shift and over
threshold scales, beside other counters.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    announce,
    check_out,
    checkpoint_options,
    chosen_scale,
    data_or_trained_on,
    emit,
    finished_texts,
    make_runners,
    output_options,
    precision_option,
    scale_options,
    set_notes,
    warn_if_trained_on,
    write_results,
)
from ahsar_eval.cli.data_options import data_options
from ahsar_eval.cli.energy_options import energy_options, event_notes

if TYPE_CHECKING:
    from ahsar_eval.cli.energy_options import EnergySettings
    from ahsar_eval.data import DataOptions
    from ahsar_eval.evaluation.energy import EnergyPlan, EnergyStudy


@click.command(
    short_help=(
        "Operations and pJ per inference, layer by layer, also under shift and as other "
        "tools count."
    )
)
@checkpoint_options
@precision_option
@click.option(
    "--data",
    "data_name",
    metavar="NAME",
    help="The set to run (test split); default: the one the checkpoint was trained on.",
)
@energy_options
@click.option(
    "--seed", default=0, show_default=True, type=int, help="Seed of a shift's randomness."
)
@click.option(
    "--detail",
    is_flag=True,
    help=(
        "Print also layers under shift, ledgers by layer and break-even points (JSON and CSV "
        "hold "
        "them all)."
    ),
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw energy by layer, severities, samples, Pareto fronts.",
)
@click.option(
    "--figure-format",
    type=click.Choice(["pdf", "png", "svg"]),
    default="pdf",
    show_default=True,
    help="Of the files below --figures.",
)
@scale_options
@data_options
@output_options
def energy(
    checkpoints: tuple[str, ...],
    data_name: str | None,
    settings: "EnergySettings",
    seed: int,
    detail: bool,
    figures: Path | None,
    figure_format: str,
    scale: float | None,
    no_replay: bool,
    form: str,
    out: Path | None,
    data: "DataOptions",
    **options: Any,
) -> None:
    """Energy per inference from exact counts.

    \b
    ahsar-eval energy
    ahsar-eval energy my.pt --data digits:contrast:5 --format csv
    ahsar-eval energy my.pt --shift contrast --shift fog:3 --scales 0.5:2:0.25 --figures results
    ahsar-eval energy my.pt --convention all --explain neurobench:spikingjelly
    """
    for folder in (out, figures):
        check_out(folder)
    runners = make_runners(
        checkpoints, data_name=data_name, data=data, scale=chosen_scale(scale, no_replay), **options
    )

    from ahsar_eval.evaluation.energy import EnergyRequest, plan, run, studies
    from ahsar_eval.provenance import provenance

    request = EnergyRequest(
        data_or_trained_on(data_name, runners), seed=seed, data=data, **settings.asked()
    )
    plans = [plan(request, runner) for runner in runners]
    splits = [split for made in plans for split in (made.clean, *made.shifted)]
    notes = event_notes(splits, settings.choices)
    for made in plans:
        warn_if_trained_on(made.runner, made.clean)
    notes = [*set_notes(splits), *notes]

    found: list[EnergyStudy] = []

    def make(marks: Mapping[str, str]) -> dict[str, dict[str, str]]:
        found.extend(studies([run(request, made) for made in plans]))
        facts = {**provenance(seed=seed, checkpoints=[_facts_of(made) for made in plans]), **marks}
        from ahsar_eval.report.energy_document import energy_texts

        texts = functools.partial(
            energy_texts,
            found,
            notes=notes,
            facts=facts,
            plain=settings.is_plain,
            memory=settings.memory,
            detail=detail,
        )
        return {"written": texts(), "shown": texts(colour=True)}

    asked = {
        "command": "energy",
        "request": asdict(replace(request, data=None)),  # type: ignore[arg-type]
        "settings": [settings.is_plain, settings.memory, detail, notes],
        "plans": [made.runner.asked([made.clean, *made.shifted]) for made in plans],
    }
    texts = finished_texts([made.runner for made in plans], asked, make, anew=figures is not None)
    write_results(out, "energy", **texts["written"])
    emit(form, **texts["shown"])
    if figures is not None:
        _draw(found, figures, figure_format)


def _facts_of(made: "EnergyPlan") -> dict[str, Any]:
    from ahsar_eval.recording import describe

    shifts = {"shifts": [describe(split) for split in made.shifted]} if made.shifted else {}
    return {**made.runner.facts(), "data": describe(made.clean), **shifts}


def _draw(found: "list[EnergyStudy]", figures: Path, figure_format: str) -> None:
    from ahsar_eval.report.energy_figures import save_energy_figures, save_ledger_figures
    from ahsar_eval.report.energy_report import network_of

    for study in found:
        announce(
            save_energy_figures(
                study, figures / study.profile if len(found) > 1 else figures, figure_format
            )
        )
    walks = {
        network_of(result): ledgers
        for result, ledgers in zip(found[0].clean, found[0].ledgers, strict=True)
        if ledgers
    }
    announce(save_ledger_figures(walks, figures, figure_format))
