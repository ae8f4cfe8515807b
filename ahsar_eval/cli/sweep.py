"""`ahsar-eval sweep`: one factor on all thresholds, from a checkpoint evaluated at each to a
training at each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.options import Command, asked_for, takes
from ahsar_eval.cli.output import Output, checkpoints, figure_options, output_options
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.requests import NetworkOptions, SweepRequest, Trainings

if TYPE_CHECKING:
    from ahsar_eval.training.at_scales import TrainedRun

# Fields of a training request that also say how a network runs, those of trainings alone, and what
# says how checkpoints of other tools run.
_SHARED = ("backbone", "timesteps", "frames", "batch_size", "device")
TRAINING_ONLY = tuple(one.name for one in fields(Trainings) if one.name not in ("train", "seeds"))
_EXTERNAL = (
    *("model", "layout", "spikes_per_step", "reset", "dt", "classes", "mean", "std"),
    "input_kinds",
)


@click.command(
    cls=Command,
    short_help="Rate, gate, accuracy, energy and AUROC over the scale of all thresholds; trainings "
    "at each.",
)
@checkpoints
@takes(SweepRequest, "request")
@takes(Trainings, "trainings")
@takes(NetworkOptions, "network", but=("precision",))
@figure_options("Draw the sheet: Figure 2 and section 3 of the paper.")
@output_options
@click.pass_context
def sweep(
    context: click.Context,
    /,
    checkpoints: tuple[str, ...],
    request: SweepRequest,
    trainings: Trainings,
    network: NetworkOptions,
    output: Output,
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
    given = check_given(asked_for(context), trainings.train)
    from ahsar_eval.evaluation.sweep import planned, requested, run

    request = requested(request)
    trained: list[TrainedRun] = []
    if trainings.train:
        if checkpoints:
            raise UsageError(
                f"--train makes its own networks, and {checkpoints[0]} was named; sweep it with a "
                "command of its own"
            )
        if output.out is None:
            raise UsageError(
                "--train leaves a checkpoint of every training; name the folder with --out"
            )
        request, trained = _trained(given, request, network, trainings, output.out / "trainings")
        checkpoints = ended(trained)
        network = replace(network, timesteps=None, frames=None, input_shape=None, backbone=None)
    plans, request = planned(checkpoints, request, network)
    epochs = [row for one in trained for row in one.rows]
    asked = [one.request.to_dict() for one in trained]
    key = {"command": "sweep", "request": request}
    output.give(
        lambda: run(request, plans, epochs, asked), plans, {**key, "trainings": [asked, epochs]}
    )


def _trained(
    given: Mapping[str, Any],
    request: SweepRequest,
    network: NetworkOptions,
    trainings: Trainings,
    folder: Path,
) -> "tuple[SweepRequest, list[TrainedRun]]":
    """Every training, said as it starts, and the request with the set they were made on; what the
    sweep after them would refuse is refused before the first.
    """
    from ahsar_eval.evaluation.networks import parse_shape, prepare_torch
    from ahsar_eval.evaluation.sweep import check_plan
    from ahsar_eval.training.at_scales import sweep_requests, train_sweep
    from ahsar_eval.training.request import TrainingRequest, prepare

    prepare_torch(network.device, network.threads)
    asked = training_fields(given, request.data_name, parse_shape(network.input_shape))
    base = TrainingRequest(**asked)
    request = replace(request, data_name=base.data)
    requests = sweep_requests(base, request.scales, seed_values(trainings.seeds))
    check_plan(request, prepare(requests[0], request.data).spec)

    def say(one: TrainingRequest, i: int) -> None:
        of = f"{one.method}, seed {one.seed}"
        click.echo(f"training {i + 1} of {len(requests)}: {of}", err=True)

    return request, train_sweep(requests, folder, request.data, on_start=say)


def ended(trained: "Sequence[TrainedRun]") -> tuple[str, ...]:
    """The first checkpoints of the baseline and of AHSAR whose trainings came to their end. Raises
    `UsageError` where none did.
    """
    found: dict[str, str] = {}
    for one in trained:
        if not one.diverged:
            found.setdefault(one.request.method, str(one.checkpoint))
    names = tuple(found[name] for name in ("baseline", "ahsar") if name in found)
    if not names:
        raise UsageError(
            "neither the baseline's training nor AHSAR's came to an end, so there is nothing to "
            "sweep; see --learning-rate"
        )
    return names


def check_given(given: Mapping[str, Any], train: bool) -> Mapping[str, Any]:
    """The options the user gave. Raises `UsageError` for those of trainings without --train, and of
    other tools with it.
    """
    for name in (*TRAINING_ONLY, "seeds"):
        if name in given and not train:
            raise UsageError(
                f"--{name.replace('_', '-')} is of trainings; add --train, or leave it out"
            )
    for name in _EXTERNAL:
        if name in given and train:
            option = "input-kind" if name == "input_kinds" else name
            raise UsageError(
                f"--{option.replace('_', '-')} is for checkpoints that are there already; leave it "
                "or --train out"
            )
    return given


def training_fields(
    given: Mapping[str, Any], data_name: str | None, shape: tuple[int, int, int] | None
) -> dict[str, Any]:
    """Fields of a training request from the options given; what was not given keeps the request's
    default.
    """
    found = {name: given[name] for name in (*_SHARED, *TRAINING_ONLY) if name in given}
    beside = {"data": data_name or None, "input_shape": shape}
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
