"""Options of `ahsar-eval sweep --train`: those of `train`, where they do not already say how a
network runs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ahsar_eval.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])
# Options with a meaning for trainings, by the field of a training request; the first ones also say
# how a network runs.
_SHARED = ("backbone", "timesteps", "frames", "batch_size", "device")
TRAINING_ONLY = (
    "width",
    "paradigm",
    "step_mode",
    "epochs",
    "learning_rate",
    "weight_decay",
    "hold_out",
    "samples",
    "augment",
    "precision",
    "sensing",
)
# What says how checkpoints of other tools run.
_FOREIGN = (
    "model",
    "layout",
    "spikes_per_step",
    "reset",
    "dt",
    "classes",
    "mean",
    "std",
    "input_kinds",
)


def training_options(command: Command) -> Command:
    """--train, --seeds and the settings of a training; --backbone, --timesteps, --frames,
    --input-shape, --batch-size are others' too.
    """
    options = [
        click.option(
            "--train",
            is_flag=True,
            help=(
                "Also train at each scale, with the options below and --backbone, --timesteps, "
                "--batch-size."
            ),
        ),
        click.option(
            "--seeds",
            default="0",
            show_default=True,
            metavar="A,B,…",
            help="Seeds of the trainings.",
        ),
        click.option(
            "--width", type=float, help="Channel factor of the trainings (default: 1, the paper's)."
        ),
        click.option(
            "--paradigm",
            type=click.Choice(["bptt", "rate"]),
            help="Of the trainings (default: bptt).",
        ),
        click.option(
            "--step-mode", type=click.Choice(["s", "m"]), help="Of the trainings (default: m)."
        ),
        click.option("--epochs", type=int, help="Of the trainings (default: 50)."),
        click.option("--learning-rate", type=float, help="Of the trainings (default: 1e-3)."),
        click.option("--weight-decay", type=float, help="Of the trainings (default: 5e-4)."),
        click.option(
            "--hold-out",
            type=float,
            help="Fraction of the training samples held out (default: 0.1).",
        ),
        click.option(
            "--samples", type=int, metavar="N", help="Use a fixed part of the training samples."
        ),
        click.option(
            "--augment",
            help="Transforms of training batches: auto (default), none, or a name as for train.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "bf16", "fp16"]),
            help="Of the trainings (default: fp32).",
        ),
        click.option(
            "--sensing",
            type=click.Choice(["spikes", "surrogate"]),
            help="What AHSAR senses (default: spikes).",
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def check_given(context: click.Context, train: bool) -> dict[str, Any]:
    """The options the user gave, by name. Raises `UsageError` for those of trainings without
    --train, and of other tools with it.
    """
    given = {name: value for name, value in context.params.items() if _was_given(context, name)}
    for name in (*TRAINING_ONLY, "seeds"):
        if name in given and not train:
            raise UsageError(
                f"--{name.replace('_', '-')} is of trainings; add --train, or leave it out"
            )
    for name in _FOREIGN:
        if name in given and train:
            option = "input-kind" if name == "input_kinds" else name.replace("_", "-")
            raise UsageError(
                f"--{option} is for checkpoints that are there already; leave it or --train out"
            )
    return given


def training_fields(
    given: Mapping[str, Any], data_name: str | None, shape: tuple[int, int, int] | None
) -> dict[str, Any]:
    """Fields of a training request from the options given; what was not given keeps the request's
    default.
    """
    found = {name: given[name] for name in (*_SHARED, *TRAINING_ONLY) if name in given}
    if data_name is not None:
        found["data"] = data_name
    return found if shape is None else {**found, "input_shape": shape}


def seed_values(text: str) -> tuple[int, ...]:
    """Seeds from 'A,B,…'. Raises `UsageError`."""
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds is {text!r}; expected whole numbers such as 0,1,2") from None
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds is {text!r}, which names a seed twice; name each once")
    return seeds


def _was_given(context: click.Context, name: str) -> bool:
    from click.core import ParameterSource

    return context.get_parameter_source(name) == ParameterSource.COMMANDLINE
