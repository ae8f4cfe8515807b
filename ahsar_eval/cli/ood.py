"""`ahsar-eval ood`: separation of a set the network knows from sets it does not, and accuracy under
shift.
"""

import click

from ahsar_eval.cli.options import Command, option, takes
from ahsar_eval.cli.output import Output, checkpoints, figure_options, output_options
from ahsar_eval.evaluation.requests import NetworkOptions, Request, Thresholds


@click.command(
    cls=Command,
    short_help="AUROC, FPR and more of predictive entropy or other scores, calibration, shifts.",
)
@checkpoints
@takes(Request, "request")
@takes(NetworkOptions, "network")
@takes(Thresholds, "thresholds")
@option(
    "--baseline",
    group="statistics",
    metavar="NAME",
    help="Of the checkpoints, the one that mean corruption errors are relative to.",
)
@figure_options("Draw histograms, ROC, severities, reliability, risk.")
@output_options
def ood(
    checkpoints: tuple[str, ...],
    request: Request,
    network: NetworkOptions,
    thresholds: Thresholds,
    baseline: str | None,
    output: Output,
) -> None:
    """Compare an ID set with OOD sets by predictive entropy (paper 5.2) or other scores, with
    intervals.

    A NAME is a set (ahsar-eval data list), folder:PATH, npz:PATH or events:PATH, optionally with
    :shift, :shift:severity (1 to 5) or :all; :shift alone is all five severities. near and far are
    OpenOOD's groups for cifar10 and cifar100. Named sets are read from --data-root; of
    tiny-imagenet, the classes that overlap with cifar10 or cifar100 are left out where that is the
    ID set.

    \b
    ahsar-eval ood --id digits --ood photo-patches --ood digits:rotation --score entropy,energy
    ahsar-eval ood my.pt --id folder:photos/test --ood npz:other.npz --out results
    """
    from ahsar_eval.evaluation.ood import evaluation, planned

    plans, request = planned(checkpoints, request, network, thresholds)
    output.give(
        lambda: evaluation(request, plans, baseline=baseline),
        plans,
        {"command": "ood", "request": request, "baseline": baseline},
    )
