"""The commands `report`, one page about networks, and `demo`, that page of what ships with the
package.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ahsar_eval.cli.commands import Command, Texts, announce, own_options, takes
from ahsar_eval.cli.evaluations import checkpoints, plan_all
from ahsar_eval.cli.gate import Gate
from ahsar_eval.data import DataOptions
from ahsar_eval.evaluation.requests import NetworkOptions, ReportRequest

# What the demonstration shows: sets that ship with the package, the shipped pair trained for them.
DEMO = ReportRequest(
    data_name="cifar10-mini",
    ood_names=("photo-patches", "cifar10-mini:fog", "cifar10-mini:contrast"),
    data=DataOptions(limit=300),
    title="A VGG-13 and AHSAR on CIFAR-10",
)
# Options that say of a network what the shipped ones say themselves.
OF_OTHER_NETWORKS = [
    field.name
    for field in fields(NetworkOptions)
    if field.name not in ("device", "batch_size", "engine", "threads", "cache", "no_cache")
]


@click.command(
    cls=Command,
    short_help="One page about networks: robustness, energy, spikes, samples, calibration.",
)
@checkpoints
@takes(request=ReportRequest, gate=Gate, network=NetworkOptions, but=("metrics", "by"))
@own_options("report")
def report(
    checkpoints: tuple[str, ...],
    request: ReportRequest,
    gate: Gate,
    network: NetworkOptions,
    out: Path = Path("report.html"),
) -> None:
    """Everything about networks on one page of HTML that needs no network, and the same numbers as
    JSON beside it: verdict, shifts and other sets, differences, energy, spikes, samples that say
    most, calibration, and what makes it again.

    The sets are those of `ahsar-eval ood`; recordings are shared with all other commands.

    \b
    ahsar-eval report --id digits --ood photo-patches --ood digits:rotation
    ahsar-eval report a.pt b.pt --id cifar10 --ood cifar10:all --ood near --out report.html
    ahsar-eval report my.pt --ood svhn --require "accuracy>=0.9" --junit gate.xml
    """
    gate.judged("report", request, lambda: _write(checkpoints, request, network, out))


@click.command(cls=Command, short_help="The page of what ships with the package, in a minute.")
@takes(network=NetworkOptions, but=OF_OTHER_NETWORKS)
@own_options("demo")
def demo(network: NetworkOptions, out: Path = Path("demo.html")) -> None:
    """The page that `report` makes, of the shipped networks on shipped samples of CIFAR-10."""
    _write((), DEMO, network, out)


def _write(
    checkpoints: tuple[str, ...], request: ReportRequest, network: NetworkOptions, out: Path
) -> Texts:
    """Make the page and say in a few lines what stands on it, and where it lies; its JSON."""
    from ahsar_eval.report import run
    from ahsar_eval.report.page import check_page
    from ahsar_eval.report.verb import reported

    check_page(out)

    def found() -> Any:
        plans, asked = plan_all(run, checkpoints, request, network)
        return run.evaluation(asked, plans)

    made = reported(found)
    files = made.save(out)
    click.echo(made.summary)
    announce(files)
    return {"written": {"json": made.json}}
