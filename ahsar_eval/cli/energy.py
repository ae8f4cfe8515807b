"""`ahsar-eval energy`: every operation of an inference and its energy, under shift and over
threshold scales, beside other counters.
"""

from dataclasses import replace

import click

from ahsar_eval.cli.options import Command, option, takes
from ahsar_eval.cli.output import Output, checkpoints, figure_options, output_options
from ahsar_eval.evaluation.requests import CONVENTIONS, EnergyRequest, NetworkOptions, Thresholds


@click.command(
    cls=Command,
    short_help=(
        "Operations and pJ per inference, layer by layer, also under shift and as other tools "
        "count."
    ),
)
@checkpoints
@takes(EnergyRequest, "request")
@option(
    "--explain",
    group="energy",
    is_flag=False,
    flag_value="all",
    metavar="[START:END]",
    help=(
        "Walk from one convention's totals to another's, step by step; alone: from "
        f"{CONVENTIONS[0]} to each."
    ),
)
@takes(NetworkOptions, "network")
@takes(Thresholds, "thresholds")
@figure_options("Draw energy by layer, severities, samples, Pareto fronts.")
@output_options
def energy(
    checkpoints: tuple[str, ...],
    request: EnergyRequest,
    explain: str | None,
    network: NetworkOptions,
    thresholds: Thresholds,
    output: Output,
) -> None:
    """Energy per inference from exact counts.

    \b
    ahsar-eval energy
    ahsar-eval energy my.pt --data digits:contrast:5 --format csv
    ahsar-eval energy my.pt --shift contrast --shift fog:3 --scales 0.5:2:0.25 --figures results
    ahsar-eval energy my.pt --convention all --explain neurobench:spikingjelly
    """
    from ahsar_eval.evaluation.energy import energy_results, planned

    request = replace(request, explain=explain)
    plans, request = planned(checkpoints, request, network, thresholds)
    asked = {"command": "energy", "request": request}
    output.give(lambda: energy_results(request, plans), plans, asked)
