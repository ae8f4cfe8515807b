"""`ahsar-eval ood`: separation of a set the network knows from sets it does not, and accuracy under
shift.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    announce,
    check_out,
    checkpoint_options,
    emit,
    finished_texts,
    output_options,
    precision_option,
    scale_options,
    set_notes,
    write_results,
)
from ahsar_eval.cli.data_options import data_options
from ahsar_eval.cli.evaluation_options import asked_of, evaluation_options, facts_of, planned

if TYPE_CHECKING:
    from ahsar_eval.evaluation.ood import NetworkResult, Request


KINDS = {
    "rows": ("set", "class"),
    "means": ("mean",),
    "id": ("id",),
}  # lists of the JSON, by kind of row


@click.command(
    short_help=(
        "AUROC, FPR and more of predictive entropy or other scores, accuracy and "
        "calibration under shift."
    )
)
@checkpoint_options
@precision_option
@data_options
@evaluation_options
@click.option(
    "--baseline",
    metavar="NAME",
    help="Of the checkpoints, the one that mean corruption errors are relative to.",
)
@click.option(
    "--detail", is_flag=True, help="Print every metric (files hold them all in any case)."
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw histograms, ROC, severities, reliability, risk.",
)
@click.option(
    "--figure-format",
    type=click.Choice(["pdf", "png", "svg"]),
    default="pdf",
    show_default=True,
    help="Of the files below --figures.",
)
@scale_options
@output_options
def ood(
    checkpoints: tuple[str, ...],
    request: "Request",
    by: tuple[str, ...],
    baseline: str | None,
    detail: bool,
    figures: Path | None,
    figure_format: str,
    scale: float | None,
    no_replay: bool,
    form: str,
    out: Path | None,
    **options: Any,
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
    ahsar-eval ood my.pt --id folder:photos/test --ood npz:other.npz --out results --figures results
    """
    for folder in (out, figures):
        check_out(folder)
    plans = planned(checkpoints, request, scale, no_replay, **options)

    from ahsar_eval.evaluation.ood import reference_of, run

    reference_of(baseline, plans)  # refused now, not when all is recorded

    results: list[NetworkResult] = []

    def make(marks: Mapping[str, str]) -> dict[str, dict[str, str]]:
        results.extend(run(request, plan) for plan in plans)
        return _texts(results, request, by, baseline, detail, marks)

    asked = asked_of(plans, request, command="ood", by=by, baseline=baseline, detail=detail)
    texts = finished_texts([plan.runner for plan in plans], asked, make, anew=figures is not None)
    write_results(out, "ood", **texts["written"])
    emit(form, **texts["shown"])
    if figures is not None:
        from ahsar_eval.report.ood_figures import save_ood_figures

        announce(save_ood_figures(results, figures, figure_format))


def _texts(
    results: "list[NetworkResult]",
    request: "Request",
    by: tuple[str, ...],
    baseline: str | None,
    detail: bool,
    marks: Mapping[str, str],
) -> dict[str, dict[str, str]]:
    """Every form of what was found: as it is written, with all metrics, and as it is shown."""
    from ahsar_eval.evaluation.ood import summarised
    from ahsar_eval.report.ood_report import ood_notes, ood_tables
    from ahsar_eval.results.document import texts_of
    from ahsar_eval.results.tables import csv_text, json_text

    rows, notes = summarised(results, baseline)
    plans = [result.plan for result in results]
    notes = [
        *ood_notes(rows, seed=request.seed, replicates=request.replicates),
        *notes,
        *set_notes([split for plan in plans for split in (plan.id_split, *plan.others)]),
    ]
    facts = facts_of(plans, request, notes, marks)
    flat = {
        kind: [row.to_dict() for row in rows if row.kind in kinds] for kind, kinds in KINDS.items()
    }
    whole, short = ood_tables(rows, by=by, detail=True), ood_tables(rows, by=by, detail=detail)
    written = {
        **texts_of(whole, notes, facts),
        "csv": csv_text([*flat["rows"], *flat["means"]]),
        "json": json_text({**flat, "provenance": facts}),
    }
    return {"written": written, "shown": {**written, **texts_of(short, notes, facts, colour=True)}}
