"""`ahsar-eval compare`: the paired difference of two networks, or of two methods over matched
seeds, with interval and p-value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    check_out,
    checkpoint_settings,
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
from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.evaluation.ood import Plan, Request


@click.command(
    short_help="Paired differences of two networks: every metric with interval and p-value."
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@checkpoint_settings
@precision_option
@data_options
@evaluation_options
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME[,NAME]",
    help="What is compared: auroc, fpr_at_tpr, accuracy, mean_rate; or all.",
)
@scale_options
@output_options
def compare(
    first: str,
    second: str,
    request: "Request",
    by: tuple[str, ...],
    metrics: tuple[str, ...],
    scale: float | None,
    no_replay: bool,
    form: str,
    out: Path | None,
    **options: Any,
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
    from ahsar_eval.ood import METRICS
    from ahsar_eval.report.compare_report import SHOWN

    wanted = [name.strip() for text in metrics for name in text.split(",")] or list(SHOWN)
    known = [
        name for name in METRICS if name != "relative_corruption_error"
    ]  # a comparison has no third checkpoint to be relative to
    wanted = known if wanted == ["all"] else wanted
    for name in wanted:
        if name == "all":
            raise UsageError("--metric all stands for every metric; name no other beside it")
        if name not in known:
            raise UsageError(f"unknown metric {name!r}; known are {', '.join(known)} and all")
        if wanted.count(name) > 1:
            raise UsageError(f"the metric {name} was named twice; name it once")
    groups = [[name for name in text.split(",") if name] for text in (first, second)]
    if len(groups[0]) != len(groups[1]) or not groups[0]:
        raise UsageError(
            f"A names {len(groups[0])} checkpoints and B {len(groups[1])}; expected as many of "
            "each: they are compared seed by seed"
        )
    check_out(out)
    plans = planned((*groups[0], *groups[1]), request, scale, no_replay, **options)
    a, b = plans[: len(groups[0])], plans[len(groups[0]) :]
    for group in (a, b):
        hashes = [plan.runner.checkpoint.sha256 for plan in group]
        if len(set(hashes)) < len(hashes):
            raise UsageError(
                "two checkpoints of one side are the same file; seeds must be trainings of their "
                "own"
            )
    b, matched = _by_seed(a, b)

    def make(marks: Mapping[str, str]) -> dict[str, dict[str, str]]:
        return {"written": _texts(request, a, b, matched, by, wanted, marks)}

    asked = asked_of(
        [*a, *b],
        request,
        command="compare",
        by=by,
        metrics=wanted,
        matched=matched,
        sides=[len(a), len(b)],
    )
    texts = finished_texts([plan.runner for plan in (*a, *b)], asked, make)["written"]
    write_results(out, "compare", **texts)
    emit(form, **texts)


def _texts(
    request: "Request",
    a: "list[Plan]",
    b: "list[Plan]",
    matched: str,
    by: tuple[str, ...],
    wanted: list[str],
    marks: Mapping[str, str],
) -> dict[str, str]:
    """Every form of what the networks of `b` have over those of `a`, pair by pair."""
    from ahsar_eval.evaluation.ood import run, summarised
    from ahsar_eval.ood import differences
    from ahsar_eval.report.compare_report import compare_notes, compare_tables
    from ahsar_eval.results.document import texts_of
    from ahsar_eval.results.tables import csv_text, json_text

    results = [run(request, plan) for plan in (*a, *b)]
    rows, said = zip(*(summarised([result]) for result in results), strict=True)
    pairs = list(zip(rows[: len(a)], rows[len(a) :], strict=True))
    # A score that one network cannot have is compared for none (the notes list it).
    scores = set.intersection(*({row.score for row in one} for one in rows))
    shown = [
        ([row for row in _shown(one, by) if row.score in scores], _shown(other, by))
        for one, other in pairs
    ]
    found = differences(shown, request.how.resamples, wanted)
    if not found:
        raise UsageError(
            f"nothing to compare: none of {', '.join(wanted)} is defined on these sets"
        )
    names = [plan.runner.checkpoint.name for plan in a], [plan.runner.checkpoint.name for plan in b]
    notes = [
        *compare_notes(found, *names, seed=request.seed, replicates=request.replicates),
        *([matched] if matched else []),
        *dict.fromkeys(note for notes_of_one in said for note in notes_of_one),
        *set_notes([split for plan in a for split in (plan.id_split, *plan.others)]),
    ]
    facts = facts_of([result.plan for result in results], request, notes, marks)
    values = [one.to_dict() for one in found]
    tables = compare_tables(found, tpr=request.tpr)
    return {
        **texts_of(tables, notes, facts, colour=True),
        "csv": csv_text(values),
        "json": json_text(
            {"a": names[0], "b": names[1], "differences": values, "provenance": facts}
        ),
    }


def _shown(rows: "list[Any]", by: tuple[str, ...]) -> "list[Any]":
    """Without --by severity a shift at several severities is one line, as in `ahsar-eval ood`."""
    from ahsar_eval.report.ood_report import shown

    return (
        [row for row in rows if row.kind == "id"]
        + shown(rows, set(by))
        + [row for row in rows if "corruption_error" in row.metrics]
    )


def _by_seed(a: "list[Plan]", b: "list[Plan]") -> "tuple[list[Plan], str]":
    """B's plans in the order of A's seeds, and what was done about it."""
    if len(a) == 1:
        return b, ""
    of_a, of_b = (
        [plan.runner.checkpoint.provenance.get("seed") for plan in group] for group in (a, b)
    )
    if None not in of_a and len(set(of_a)) == len(a) and set(of_a) == set(of_b):
        return [
            b[of_b.index(seed)] for seed in of_a
        ], f"Matched by seed: {', '.join(map(str, of_a))}."
    return b, "Matched in the order given: the checkpoints do not tell their seeds apart."
