"""`ahsar-eval compare`: the paired difference of two networks, or of two methods over matched
seeds, with interval and p-value.
"""

import click

from ahsar_eval.cli.options import Command, option, takes
from ahsar_eval.cli.output import Output, output_options
from ahsar_eval.evaluation.requests import NetworkOptions, Request, Thresholds


@click.command(
    cls=Command,
    short_help="Paired differences of two networks: every metric with interval and p-value.",
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@takes(Request, "request")
@takes(NetworkOptions, "network")
@takes(Thresholds, "thresholds")
@option(
    "--metric",
    "metrics",
    group="statistics",
    multiple=True,
    metavar="NAME[,NAME]",
    help="What is compared: auroc, fpr_at_tpr, accuracy, mean_rate; or all.",
)
@output_options
def compare(
    first: str,
    second: str,
    request: Request,
    network: NetworkOptions,
    thresholds: Thresholds,
    metrics: tuple[str, ...],
    output: Output,
) -> None:
    """What B has over A on the same images: B − A of each metric, its 95 % interval and p-value,
    corrected over the table (Holm).

    A and B are checkpoints, or as many of each as there are seeds, with commas between them. Seeds
    are matched by what the checkpoints say of their seed, else by their order. The sets are those
    of `ahsar-eval ood`.

    \b
    ahsar-eval compare digits-vgg13-baseline digits-vgg13-ahsar --id digits --ood photo-patches
    ahsar-eval compare base0.pt,base1.pt,base2.pt ahsar0.pt,ahsar1.pt,ahsar2.pt --ood near
    """
    from ahsar_eval.evaluation.compare import check_lengths, check_metrics, comparison, matched
    from ahsar_eval.evaluation.ood import planned

    wanted = check_metrics([name.strip() for text in metrics for name in text.split(",")])
    a, b = ([name for name in text.split(",") if name] for text in (first, second))
    check_lengths(a, b)  # refused now, not when all are loaded
    plans, request = planned((*a, *b), request, network, thresholds)
    of_a, of_b = plans[: len(a)], plans[len(a) :]
    ordered, said = matched(of_a, of_b)
    output.give(
        lambda: comparison(request, of_a, ordered, wanted, said=said),
        [*of_a, *ordered],
        {"command": "compare", "request": request, "metrics": wanted, "matched": said},
    )
