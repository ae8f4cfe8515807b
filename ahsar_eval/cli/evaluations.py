"""The commands that evaluate networks: `ood`, `compare`, `energy`, `monitor`, `raster` and `sweep`.
What each is asked are the fields of its request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.commands import Command, Output, announce, check_figure, own_options, takes
from ahsar_eval.cli.completion import completed
from ahsar_eval.cli.train import train as training
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.requests import (
    EnergyRequest,
    MonitorRequest,
    NetworkOptions,
    RasterRequest,
    Request,
    SweepRequest,
)
from ahsar_eval.training.request import TrainingRequest, prepare

if TYPE_CHECKING:
    from ahsar_eval.evaluation.inputs import Plan
    from ahsar_eval.training.at_scales import TrainedRun

# Fields of a training request that also say how a network runs, those of trainings alone, whose
# options are those of `train`, and what says how checkpoints of other tools run.
_SHARED = "backbone timesteps frames batch_size device input_shape".split()
TRAINING_ONLY = (
    "width paradigm step_mode epochs learning_rate weight_decay hold_out samples augment "
    "event_transform precision sensing"
).split()
_EXTERNAL = (
    "model layout spikes_per_step reset dt integration v_min classes mean std input_kinds"
).split()

# CKPT …, completed with the names of shipped ones and with files.
checkpoints = click.argument(
    "checkpoints",
    nargs=-1,
    metavar="[CKPT]...",
    shell_complete=lambda context, _, begun: completed("checkpoint", begun, context),
)


def _planned(
    evaluation: ModuleType, checkpoints: Sequence[str], request: Any, network: NetworkOptions
) -> "tuple[list[Plan], Any]":
    """A plan for each checkpoint, and the request with what was left open in it."""
    from ahsar_eval.evaluation.inputs import load_networks, planned

    networks = load_networks(checkpoints, network, request.data_name or None, request.data)
    return planned(evaluation, networks, request)


def _give(
    evaluation: ModuleType,
    command: str,
    checkpoints: Sequence[str],
    request: Any,
    network: NetworkOptions,
    output: Output,
    *more: Any,
) -> None:
    """Evaluate the checkpoints, with `more` than the request says, and give the results."""
    plans, asked = _planned(evaluation, checkpoints, request, network)
    key = {"command": command, "request": asked, "more": more}
    output.give(lambda: evaluation.evaluation(asked, plans, *more), plans, key)


@click.command(
    cls=Command,
    short_help="AUROC, FPR and more of predictive entropy or other scores, calibration, shifts.",
)
@checkpoints
@takes(request=Request, network=NetworkOptions, output=Output, but=("metrics",))
def ood(
    checkpoints: tuple[str, ...],
    request: Request,
    network: NetworkOptions,
    output: Output,
) -> None:
    """Compare an ID set with OOD sets by predictive entropy (paper 5.2) or other scores, with
    intervals.

    A NAME is a set (ahsar-eval data list), folder:PATH, npz:PATH, events:PATH or tonic:NAME,
    optionally with :shift, :shift:severity (1 to 5) or :all; :shift alone is all five severities.
    near and far are OpenOOD's groups for cifar10 and cifar100. Named sets are read from
    --data-root; of tiny-imagenet, the classes that overlap with cifar10 or cifar100 are left out
    where that is the ID set.

    \b
    ahsar-eval ood --id digits --ood photo-patches --ood digits:rotation --score entropy,energy
    ahsar-eval ood my.pt --id folder:photos/test --ood npz:other.npz --out results
    """
    from ahsar_eval.evaluation import ood as evaluation

    _give(evaluation, "ood", checkpoints, request, network, output)


@click.command(
    cls=Command,
    short_help="Paired differences of two networks: every metric with interval and p-value.",
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", default="")
@takes(
    request=Request,
    network=NetworkOptions,
    output=Output,
    but=("baseline", "figures", "figure_format"),
)
def compare(
    first: str,
    second: str,
    request: Request,
    network: NetworkOptions,
    output: Output,
) -> None:
    """What B has over A on the same images: B − A of each metric, its 95 % interval and p-value,
    corrected over the table (Holm).

    A and B are checkpoints, or as many of each as there are seeds, with commas between them. Seeds
    are matched by what the checkpoints say of their seed, else by their order. The sets are those
    of `ahsar-eval ood`. With --adapt both adapt at test time; without B it is A, adapting.

    \b
    ahsar-eval compare digits-vgg13-baseline digits-vgg13-ahsar --id digits --ood photo-patches
    ahsar-eval compare digits-vgg13-baseline --adapt channel --ood digits:contrast
    ahsar-eval compare base0.pt,base1.pt,base2.pt ahsar0.pt,ahsar1.pt,ahsar2.pt --ood near
    """
    from ahsar_eval.evaluation import compare as evaluation

    if not (second or request.adapt):
        context = click.get_current_context()
        raise click.MissingParameter(ctx=context, param_hint="'B'", param_type="argument")
    a, b = ([name for name in text.split(",") if name] for text in (first, second))
    evaluation.check_lengths(a, b, request.adapt)
    _give(evaluation, "compare", (*a, *b), request, network, output, len(a))


@click.command(
    cls=Command,
    short_help=(
        "Operations and pJ per inference, layer by layer, also under shift and as other tools "
        "count."
    ),
)
@checkpoints
@takes(request=EnergyRequest, network=NetworkOptions, output=Output)
def energy(
    checkpoints: tuple[str, ...],
    request: EnergyRequest,
    network: NetworkOptions,
    output: Output,
) -> None:
    """Energy per inference from exact counts.

    \b
    ahsar-eval energy
    ahsar-eval energy my.pt --data digits:contrast:5 --format csv
    ahsar-eval energy my.pt --shift contrast --shift fog:3 --scales 0.5:2:0.25 --figures results
    ahsar-eval energy my.pt --convention all --explain neurobench:spikingjelly
    """
    from ahsar_eval.evaluation import energy as evaluation

    if request.scales and (network.scale is not None or network.no_replay):
        raise UsageError("--scales starts from a network's own thresholds; leave --scale out")
    _give(evaluation, "energy", checkpoints, request, network, output)


@click.command(
    cls=Command,
    short_help="AUROC of “this batch is shifted” by thresholds' effort, by rates and by entropy.",
)
@checkpoints
@takes(
    request=MonitorRequest,
    network=NetworkOptions,
    output=Output,
    but=("scale", "no_replay"),
)
def monitor(
    checkpoints: tuple[str, ...],
    request: MonitorRequest,
    network: NetworkOptions,
    output: Output,
) -> None:
    """Tell batches of shifted samples from those of the ID set, by what a chip can count: how far
    thresholds must move until rates are again what they were in training (effort), and how far
    rates are from that (rates, judged); beside them the entropy of predictions.

    The sets are those of `ahsar-eval ood`; the network needs set points (ahsar-eval calibrate),
    which shipped ones have.

    \b
    ahsar-eval monitor digits-vgg13-baseline --id digits --ood digits:contrast:3 --ood photo-patches
    ahsar-eval monitor my.pt --id folder:photos/test --ood npz:other.npz --batch 8,32,128
    ahsar-eval monitor --id cifar10-mini --ood cifar10-mini:fog --false-alarms 0.05
    """
    from ahsar_eval.evaluation import monitor as evaluation

    plans, asked = _planned(evaluation, checkpoints, request, network)
    points = evaluation.points_key(asked, plans)
    key = {"command": "monitor", "request": replace(asked, set_points=()), "set_points": points}
    output.give(lambda: evaluation.evaluation(asked, plans), plans, key)


@click.command(
    cls=Command,
    short_help="Spike rasters and firing-rate maps at several threshold scales (Figure 4).",
)
@checkpoints
@takes(request=RasterRequest, network=NetworkOptions, but=("scale", "no_replay"))
@own_options("raster")
def raster(
    checkpoints: tuple[str, ...],
    request: RasterRequest,
    network: NetworkOptions,
    out: Path = Path("raster.png"),
) -> None:
    """One column per threshold factor, applied to every layer, and one for AHSAR's replayed scales:
    raster above, rate map below.

    Every column shows the same sample and neurons, and the maps share one colour scale.

    \b
    ahsar-eval raster --layer 5
    ahsar-eval raster my.pt --layer lif1 --scales 0.5,1,ahsar --out figure.pdf
    """
    check_figure(out)
    from ahsar_eval.evaluation import raster as evaluation
    from ahsar_eval.plots import save

    plans, asked = _planned(evaluation, checkpoints, request, network)
    announce(save(evaluation.evaluation(asked, plans), out))


@click.command(
    cls=Command,
    short_help="Rate, gate, accuracy, energy and AUROC over the scale of all thresholds; trainings "
    "at each.",
)
@checkpoints
@takes(
    request=SweepRequest,
    network=NetworkOptions,
    output=Output,
    but=("precision", "scale", "no_replay"),
)
@own_options("sweep")
@click.pass_context
def sweep(
    context: click.Context,
    /,
    checkpoints: tuple[str, ...],
    request: SweepRequest,
    network: NetworkOptions,
    output: Output,
    train: bool = False,
    seeds: str = "0",
    **training_options: Any,
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
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    }
    unfit, why = [*TRAINING_ONLY, "seeds"], "is of trainings; add --train, or leave it out"
    if train:
        unfit, why = _EXTERNAL, "is for checkpoints that are there already; leave out it or --train"
    for parameter in context.command.params:
        if parameter.name in unfit and parameter.name in given:
            raise UsageError(f"{parameter.opts[0]} {why}")
    from ahsar_eval.evaluation import sweep as evaluation

    trained: list[TrainedRun] = []
    if train:
        if checkpoints:
            raise UsageError(
                f"--train makes its own networks, and {checkpoints[0]} was named; sweep it with a "
                "command of its own"
            )
        if output.out is None:
            raise UsageError(
                "--train leaves a checkpoint of every training; name the folder with --out"
            )
        folder = output.out / "trainings"
        request, trained = _trained(given, evaluation.requested(request), network, seeds, folder)
        checkpoints = _ended(trained)
        network = replace(network, timesteps=None, frames=None, input_shape=None, backbone=None)
    epochs = [row for one in trained for row in one.rows]
    asked = [one.request.to_dict() for one in trained]
    _give(evaluation, "sweep", checkpoints, request, network, output, epochs, asked)


# What a training is asked has its options in `train`; of them only those count that are given.
sweep.params += [one for one in training.params if one.name in TRAINING_ONLY]


def _trained(
    given: Mapping[str, Any],
    request: SweepRequest,
    network: NetworkOptions,
    seeds: str,
    folder: Path,
) -> "tuple[SweepRequest, list[TrainedRun]]":
    """Every training, said as it starts, and the request with the set they were made on; what the
    sweep after them would refuse is refused before the first.
    """
    from ahsar_eval.evaluation.inputs import prepare_torch
    from ahsar_eval.evaluation.sweep import check_plan
    from ahsar_eval.training.at_scales import sweep_requests, train_sweep

    prepare_torch(network.device, network.threads)
    base = TrainingRequest(**training_fields(given, request.data_name))
    request = replace(request, data_name=base.data)
    requests = sweep_requests(base, request.scales, seed_values(seeds))
    check_plan(request, prepare(requests[0], request.data).spec)

    def say(one: TrainingRequest, i: int) -> None:
        of = f"{one.method}, seed {one.seed}"
        click.echo(f"training {i + 1} of {len(requests)}: {of}", err=True)

    return request, train_sweep(requests, folder, request.data, on_start=say)


def _ended(trained: "Sequence[TrainedRun]") -> tuple[str, ...]:
    """The first checkpoints of the baseline and of AHSAR whose trainings came to their end. Raises
    `UsageError` where none did.
    """
    found = {one.request.method: str(one.checkpoint) for one in trained[::-1] if not one.diverged}
    names = tuple(found[name] for name in ("baseline", "ahsar") if name in found)
    if not names:
        raise UsageError(
            "neither the baseline's training nor AHSAR's came to an end, so there is nothing to "
            "sweep; see --learning-rate"
        )
    return names


def training_fields(given: Mapping[str, Any], data_name: str | None) -> dict[str, Any]:
    """Fields of a training request from the options given; what was not given keeps the request's
    default.
    """
    found = {name: given[name] for name in (*_SHARED, *TRAINING_ONLY) if name in given}
    return {**found, "data": data_name} if data_name else found


def seed_values(text: str) -> tuple[int, ...]:
    """Seeds from 'A,B,…'. Raises `UsageError`."""
    try:
        seeds = tuple(map(int, text.split(",")))
    except ValueError:
        raise UsageError(f"--seeds is {text!r}; expected whole numbers such as 0,1,2") from None
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds is {text!r}, which names a seed twice; name each once")
    return seeds
