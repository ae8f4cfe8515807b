"""`ahsar-eval sweep`: one factor on all thresholds, from a checkpoint evaluated at each to a
training at each.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.cli.common import (
    announce,
    check_out,
    checkpoint_options,
    data_or_trained_on,
    make_runners,
    output_options,
    parse_shape,
    prepare_torch,
    set_notes,
    warn_if_trained_on,
)
from ahsar_eval.cli.data_options import data_options
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.energy_request import chosen_profiles, scale_values

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions
    from ahsar_eval.evaluation.sweep import SweepRequest
    from ahsar_eval.training.at_scales import TrainedRun

Command = TypeVar("Command", bound=Callable[..., Any])
SCALES = "0.1:2:0.05"  # the paper's, section 3

# Options of `train` with a meaning for trainings, by the field of a training request. The shared
# ones also say how a network runs.
_SHARED = ("backbone", "timesteps", "frames", "batch_size", "device")
TRAINING_ONLY: dict[str, tuple[Any, str]] = {
    "width": (float, "Channel factor of the trainings (default: 1, the paper's)."),
    "paradigm": (click.Choice(["bptt", "rate"]), "Of the trainings (default: bptt)."),
    "step_mode": (click.Choice(["s", "m"]), "Of the trainings (default: m)."),
    "epochs": (int, "Of the trainings (default: 50)."),
    "learning_rate": (float, "Of the trainings (default: 1e-3)."),
    "weight_decay": (float, "Of the trainings (default: 5e-4)."),
    "hold_out": (float, "Fraction of the training samples held out (default: 0.1)."),
    "samples": (int, "Use a fixed part of the training samples."),
    "augment": (
        str,
        "Transforms of training batches: auto (default), none, or a name as for train.",
    ),
    "precision": (click.Choice(["fp32", "bf16", "fp16"]), "Of the trainings (default: fp32)."),
    "sensing": (click.Choice(["spikes", "surrogate"]), "What AHSAR senses (default: spikes)."),
}
# What says how checkpoints of other tools run.
_EXTERNAL = (
    *("model", "layout", "spikes_per_step", "reset", "dt", "classes", "mean", "std"),
    "input_kinds",
)


def _option(name: str) -> str:
    """'--step-mode' for step_mode."""
    return "--input-kind" if name == "input_kinds" else f"--{name.replace('_', '-')}"


def training_options(command: Command) -> Command:
    """--train, --seeds and the settings of a training; --backbone, --timesteps, --frames,
    --input-shape, --batch-size are others' too.
    """
    options = [
        click.option(
            "--train",
            is_flag=True,
            help="Also train at each scale, with the options below and --backbone, --timesteps, "
            "--batch-size.",
        ),
        click.option(
            "--seeds",
            default="0",
            show_default=True,
            metavar="A,B,…",
            help="Seeds of the trainings.",
        ),
    ]
    for name, (kind, text) in TRAINING_ONLY.items():
        shown = "N" if name == "samples" else None
        options.append(click.option(_option(name), type=kind, metavar=shown, help=text))
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


@click.command(
    short_help="Rate, gate, accuracy, energy and AUROC over the scale of all thresholds; trainings "
    "at each."
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
    from ahsar_eval.training import TrainingRequest

    (prices,) = chosen_profiles((profile,))
    request = SweepRequest(
        data_name or TrainingRequest.data, factors, prices, ood_names, on, seed, replicates, data
    )
    trained: list[TrainedRun] = []
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
        ended: dict[str, str] = {}
        for one in trained:
            if not one.diverged:
                ended.setdefault(one.request.method, str(one.checkpoint))
        checkpoints = tuple(ended[name] for name in ("baseline", "ahsar") if name in ended)
        if not checkpoints:
            raise UsageError(
                "neither the baseline's training nor AHSAR's came to an end, so there is nothing "
                "to sweep; see --learning-rate"
            )
        options |= dict.fromkeys(("timesteps", "frames", "input_shape", "backbone"))
    how = {name: value for name, value in options.items() if name not in TRAINING_ONLY}
    runners = make_runners(checkpoints, data_name=data_name, data=data, **how)
    request = replace(request, data_name=data_or_trained_on(data_name, runners))
    plans = [plan(request, runner) for runner in runners]
    for made in plans:
        warn_if_trained_on(made.runner, made.id_split)
    results = run(
        request,
        plans,
        [row for one in trained for row in one.rows],
        [one.request.to_dict() for one in trained],
    )
    said = set_notes([split for made in plans for split in (made.id_split, *made.others)])
    results = replace(results, said=said)
    if out is not None:
        results.save(out)
    click.echo(results.to(form, detail=detail).rstrip("\n"))
    if figures is not None:
        from ahsar_eval.plots.of_results import save_all

        announce(save_all(results, figures, figure_format))


def _trained(
    asked: dict[str, Any], swept: "SweepRequest", seeds: tuple[int, ...], folder: Path
) -> "list[TrainedRun]":
    """Every training, said as it starts; what the sweep after them would refuse is refused before
    the first.
    """
    from ahsar_eval.evaluation.sweep import check_plan
    from ahsar_eval.training import TrainingRequest, prepare
    from ahsar_eval.training.at_scales import sweep_requests, train_sweep

    requests = sweep_requests(TrainingRequest(**asked), swept.scales, seeds)
    check_plan(swept, prepare(requests[0], swept.data).spec)

    def say(request: TrainingRequest, i: int) -> None:
        of = f"{request.method}, seed {request.seed}"
        click.echo(f"training {i + 1} of {len(requests)}: {of}", err=True)

    return train_sweep(requests, folder, swept.data, on_start=say)


def check_given(context: click.Context, train: bool) -> dict[str, Any]:
    """The options the user gave, by name. Raises `UsageError` for those of trainings without
    --train, and of other tools with it.
    """
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    }
    for name in (*TRAINING_ONLY, "seeds"):
        if name in given and not train:
            raise UsageError(f"{_option(name)} is of trainings; add --train, or leave it out")
    for name in _EXTERNAL:
        if name in given and train:
            raise UsageError(
                f"{_option(name)} is for checkpoints that are there already; leave it or --train "
                "out"
            )
    return given


def training_fields(
    given: Mapping[str, Any], data_name: str | None, shape: tuple[int, int, int] | None
) -> dict[str, Any]:
    """Fields of a training request from the options given; what was not given keeps the request's
    default.
    """
    found = {name: given[name] for name in (*_SHARED, *TRAINING_ONLY) if name in given}
    beside = {"data": data_name, "input_shape": shape}
    return found | {name: value for name, value in beside.items() if value is not None}


def seed_values(text: str) -> tuple[int, ...]:
    """Seeds from 'A,B,…'. Raises `UsageError`."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds is {text!r}; expected whole numbers such as 0,1,2") from None
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds is {text!r}, which names a seed twice; name each once")
    return seeds
