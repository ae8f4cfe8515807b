"""`ahsar-eval sweep`: one factor on all thresholds, from a checkpoint evaluated at each to a
training at each.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.common import (
    announce,
    check_out,
    checkpoint_options,
    data_or_trained_on,
    emit,
    make_runners,
    output_options,
    parse_shape,
    prepare_torch,
    set_notes,
    warn_if_trained_on,
    write_results,
)
from ahsar_eval.cli.data_options import data_options
from ahsar_eval.cli.sweep_options import (
    TRAINING_ONLY,
    check_given,
    seed_values,
    training_fields,
    training_options,
)
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.energy_request import chosen_profiles, scale_values

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions
    from ahsar_eval.evaluation.sweep import SweepRequest
    from ahsar_eval.training.at_scales import TrainedSweep

SCALES = "0.1:2:0.05"  # the paper's, section 3


@click.command(
    short_help=(
        "Rate, gate, accuracy, energy and AUROC over the scale of all thresholds; "
        "trainings "
        "at each."
    )
)
@checkpoint_options
@click.option(
    "--data",
    "data_name",
    metavar="NAME",
    help="The set to run; default: the one the checkpoint was trained on.",
)
@click.option(
    "--ood",
    "ood_names",
    multiple=True,
    metavar="NAME",
    help="A set whose AUROC of predictive entropy is swept; may be repeated.",
)
@click.option(
    "--on",
    type=click.Choice(["test", "validation"]),
    default="test",
    show_default=True,
    help="The test split, or what the training held out: choose a scale there.",
)
@click.option(
    "--scales",
    default=SCALES,
    show_default=True,
    metavar="A,B,…|LOW:HIGH:STEP",
    help="Factors on every threshold.",
)
@click.option(
    "--profile",
    default="45nm-fp32",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="Energy per operation (docs/energy.md).",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=int,
    help="Seed of the shifts' randomness and of the bootstrap.",
)
@click.option(
    "--bootstrap",
    "replicates",
    default=1000,
    show_default=True,
    type=int,
    metavar="B",
    help="Replicates of the bootstrap.",
)
@training_options
@click.option(
    "--detail",
    is_flag=True,
    help="Print also every layer's rate, gate and −∂r/∂θ (JSON and CSV hold them at each scale).",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw the sheet: Figure 2 and section 3 of the paper.",
)
@click.option(
    "--figure-format",
    type=click.Choice(["pdf", "png", "svg"]),
    default="pdf",
    show_default=True,
    help="Of the sheet.",
)
@data_options
@output_options
@click.pass_context
def sweep(
    context: click.Context,
    /,
    checkpoints: tuple[str, ...],
    data_name: str | None,
    ood_names: tuple[str, ...],
    on: str,
    scales: str,
    profile: str,
    seed: int,
    replicates: int,
    train: bool,
    seeds: str,
    detail: bool,
    figures: Path | None,
    figure_format: str,
    form: str,
    out: Path | None,
    data: "DataOptions",
    **options: Any,
) -> None:
    """One factor s on every threshold: what it does to a trained network, and why.

    At each s: accuracy, NLL, mean rate, energy, AUROC, and in every layer the rate r, the mean
    surrogate gate G and −∂r/∂θ with the layer's input held (paper, section 3), beside the
    thresholds that the network comes with. With --train a network is trained at each s, with AHSAR
    and the baseline beside them, into OUT/trainings; those two are then swept. What is recorded or
    trained is not made again.

    \b
    ahsar-eval sweep --ood photo-patches --figures results
    ahsar-eval sweep my.pt --on validation --scales 0.5:1.5:0.1 --format csv
    ahsar-eval sweep --train --data digits --width 0.25 --scales 0.4:1.6:0.2 --out results
    """
    given = check_given(context, train)
    factors = scale_values(scales)
    for folder in (out, figures):
        check_out(folder)
    if replicates < 100:
        raise UsageError(
            f"{replicates} bootstrap replicates give no interval; expected at least 100"
        )
    for name in ood_names:
        if ood_names.count(name) > 1:
            raise UsageError(f"the OOD set {name} was named twice; name it once")
    from ahsar_eval.evaluation.sweep import SweepRequest, plan, run
    from ahsar_eval.provenance import provenance
    from ahsar_eval.recording import describe
    from ahsar_eval.report.sweep_report import sweep_texts
    from ahsar_eval.training import TrainingRequest

    (prices,) = chosen_profiles((profile,))
    request = SweepRequest(
        data_name or TrainingRequest.data, factors, prices, ood_names, on, seed, replicates, data
    )
    trained = None
    if train:
        if checkpoints:
            raise UsageError(
                f"--train makes its own networks, and {checkpoints[0]} was named; sweep it with a "
                "command of its own"
            )
        if out is None:
            raise UsageError(
                "--train leaves a checkpoint of every training; name the folder with --out"
            )
        prepare_torch(options["device"], options["threads"])
        asked = training_fields(given, data_name, parse_shape(options["input_shape"]))
        data_name = request.data_name
        trained = _trained(asked, request, seed_values(seeds), out / "trainings")
        checkpoints = tuple(
            str(path)
            for method in ("baseline", "ahsar")
            for path in trained.checkpoints(method)[:1]
        )
        if not checkpoints:
            raise UsageError(
                "neither the baseline's training nor AHSAR's came to an end, so there is nothing "
                "to sweep; see --learning-rate"
            )
        options |= {"timesteps": None, "frames": None, "input_shape": None, "backbone": None}
    runners = make_runners(
        checkpoints,
        data_name=data_name,
        data=data,
        **{name: value for name, value in options.items() if name not in TRAINING_ONLY},
    )

    request = replace(request, data_name=data_or_trained_on(data_name, runners))
    plans = [plan(request, runner) for runner in runners]
    for made in plans:
        warn_if_trained_on(made.runner, made.id_split)
    found = [run(request, made) for made in plans]
    facts = provenance(
        seed=seed,
        on=on,
        scales=list(factors),
        profile=prices.name,
        bootstrap_replicates=replicates,
        trainings=[] if trained is None else [one.request.to_dict() for one in trained.runs],
        checkpoints=[
            {
                "name": made.runner.checkpoint.name,
                "sha256": made.runner.checkpoint.sha256,
                "method": made.runner.checkpoint.method,
                "thresholds": made.runner.thresholds,
                "engine": made.runner.engine,
                "precision": made.runner.precision,
                "id": describe(made.id_split),
                "ood": [describe(split) for split in made.others],
            }
            for made in plans
        ],
    )
    notes = set_notes([split for made in plans for split in (made.id_split, *made.others)])
    if out is not None:
        write_results(
            out, "sweep", **sweep_texts(found, trained, notes=notes, facts=facts, detail=True)
        )
    emit(form, **sweep_texts(found, trained, notes=notes, facts=facts, detail=detail, colour=True))
    if figures is not None:
        from ahsar_eval.report.sweep_figures import save_sweep_figure

        announce(save_sweep_figure(found, trained, figures, figure_format))


def _trained(
    asked: dict[str, Any], swept: "SweepRequest", seeds: tuple[int, ...], folder: Path
) -> "TrainedSweep":
    """Every training, said as it starts; what the sweep after them would refuse is refused before
    the first.
    """
    from ahsar_eval.evaluation.sweep import check_plan
    from ahsar_eval.training import TrainingRequest, prepare
    from ahsar_eval.training.at_scales import sweep_requests, train_sweep

    requests = sweep_requests(TrainingRequest(**asked), swept.scales, seeds)
    check_plan(swept, prepare(requests[0], swept.data).spec)

    def say(request: TrainingRequest, place: int) -> None:
        click.echo(
            f"training {place + 1} of {len(requests)}: {request.method}, seed {request.seed}",
            err=True,
        )

    return train_sweep(requests, folder, swept.data, on_start=say)
