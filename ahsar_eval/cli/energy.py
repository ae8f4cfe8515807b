"""`ahsar-eval energy`: every operation of an inference and its energy, under shift and over
threshold scales, beside other counters.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    FORMATS,
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
from ahsar_eval.cli.energy_options import energy_options

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions
    from ahsar_eval.results.results import Results


@click.command(
    short_help=(
        "Operations and pJ per inference, layer by layer, also under shift and as other tools "
        "count."
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
        "Print also layers under shift, ledgers by layer and break-even points (JSON and CSV hold "
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
    settings: Mapping[str, Any],
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

    from ahsar_eval.evaluation.energy import EnergyRequest, energy_results, plan
    from ahsar_eval.results.text import terminal_width

    request = EnergyRequest(
        data_or_trained_on(data_name, runners), seed=seed, data=data, **settings
    )
    plans = [plan(request, runner) for runner in runners]
    for made in plans:
        warn_if_trained_on(made.runner, made.clean)
    said = set_notes([split for made in plans for split in made.splits])
    found: list[Results] = []

    def make(marks: Mapping[str, str]) -> dict[str, dict[str, str]]:
        results = energy_results(request, plans, said=said)
        found.append(replace(results, facts={**results.facts, **marks}))
        return texts_of(found[0], detail)

    asked = {
        "command": "energy",
        "request": asdict(replace(request, data=None)),  # type: ignore[arg-type]
        "settings": [detail, terminal_width(), said],
        "plans": [made.runner.asked(made.splits) for made in plans],
    }
    texts = finished_texts(runners, asked, make, anew=figures is not None)
    write_results(out, "energy", **texts["written"])
    emit(form, **texts["shown"])
    if figures is not None:
        from ahsar_eval.plots.energy import save_energy_figures

        announce(save_energy_figures(found[0], figures, figure_format))


def texts_of(results: "Results", detail: bool) -> dict[str, dict[str, str]]:
    """Every form of results: as it is written, and as it is shown on this terminal."""
    import sys

    from ahsar_eval.results.text import terminal_width

    written = {form: results.to(form, detail=detail) for form in FORMATS}
    table = results.to_text(detail=detail, width=terminal_width(), colour=sys.stdout.isatty())
    return {"written": written, "shown": {**written, "table": table}}
