"""Options several commands share, and how they become runners."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.errors import AhsarWarning, UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import DataOptions, Split
    from ahsar_eval.networks import ModelSpec
    from ahsar_eval.recording.runner import Runner

Command = TypeVar("Command", bound=Callable[..., Any])
FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
FORMATS = ["table", "json", "csv", "markdown", "latex"]


def checkpoint_options(command: Command) -> Command:
    """CKPT …, and how the networks run."""
    return click.argument("checkpoints", nargs=-1, metavar="[CKPT]...")(
        checkpoint_settings(command)
    )


def precision_option(command: Command) -> Command:
    """--precision."""
    return click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16", "tf32"]),
        default="fp32",
        show_default=True,
        help=(
            "Of products in convolutions; the difference of bf16 and tf32 (GPU) to fp32 is "
            "measured and printed."
        ),
    )(command)


def checkpoint_settings(command: Command) -> Command:
    """How networks run: --model and its companions, --device, --batch-size, cache."""
    options = [
        click.option(
            "--model",
            metavar="PACKAGE.MODULE:FUNCTION",
            help=(
                "Your own SpikingJelly network: a function that returns the module the "
                "checkpoint "
                "fills."
            ),
        ),
        click.option(
            "--timesteps", type=int, help="T for a plain state dict or a NIR file.", metavar="T"
        ),
        click.option(
            "--layout",
            type=click.Choice(["rate-bp"]),
            help=(
                "Names of a plain state dict's tensors: the public rate-based backpropagation "
                "code's."
            ),
        ),
        click.option(
            "--backbone",
            type=click.Choice(["vgg13", "resnet18"]),
            help="The network a state dict with --layout fills.",
        ),
        click.option(
            "--spikes-per-step",
            type=click.Choice(["one", "many"]),
            default="one",
            show_default=True,
            help="Of a neuron of a NIR file: one, or as many as its potential holds thresholds.",
        ),
        click.option(
            "--frames",
            help=(
                "How a NIR file's or a plain state dict's network takes events: count, time, or "
                "the duration of a frame: 1ms, 1ms@0."
            ),
        ),
        click.option(
            "--reset",
            type=click.Choice(["subtract", "zero"]),
            help="After a spike, for a NIR file that does not say.",
        ),
        click.option(
            "--dt",
            type=float,
            default=1.0,
            show_default=True,
            help="Length of a step in the time unit of a NIR file.",
        ),
        click.option(
            "--classes",
            type=int,
            help="Classes of a plain state dict (default: the ID set's).",
            metavar="K",
        ),
        click.option(
            "--input-shape",
            help="C,H,W for a plain state dict (default: the ID set's) or a NIR file without.",
            metavar="C,H,W",
        ),
        click.option(
            "--mean",
            help="Normalisation of a plain state dict: one number or one per channel (default: 0).",
        ),
        click.option("--std", help="The same for its standard deviation (default: 1)."),
        click.option(
            "--input-kind",
            "input_kinds",
            multiple=True,
            metavar="LAYER=KIND",
            help="Declare a layer's input: spikes, integer spikes or analog.",
        ),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N."),
        click.option(
            "--batch-size",
            default=64,
            show_default=True,
            type=int,
            help=(
                "Samples per forward pass; on a CPU no result depends on it but what other tools "
                "count (energy --convention)."
            ),
        ),
        click.option(
            "--engine",
            type=click.Choice(["compiled", "reference"]),
            default="compiled",
            show_default=True,
            help=(
                "How networks run: in less time, where a check on some samples finds no "
                "difference, or as SpikingJelly runs them."
            ),
        ),
        click.option(
            "--threads", type=int, help="Threads for torch on the CPU (default: torch's)."
        ),
        click.option(
            "--cache",
            type=click.Path(path_type=Path),
            help="Folder of recordings (default: AHSAR_EVAL_CACHE or the user's cache).",
        ),
        click.option(
            "--no-cache", is_flag=True, help="Neither look for earlier recordings nor keep these."
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def scale_options(command: Command) -> Command:
    """--scale and --no-replay."""
    options = [
        click.option(
            "--scale",
            type=float,
            metavar="S",
            help="v_th = S x base in every layer, in place of the replayed scales.",
        ),
        click.option("--no-replay", is_flag=True, help="The same as --scale 1: base thresholds."),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def output_options(command: Command) -> Command:
    """--format and --out."""
    options = [
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            default="table",
            show_default=True,
            help="What is printed.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Also write JSON, CSV, Markdown and LaTeX to this folder.",
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def chosen_scale(scale: float | None, no_replay: bool) -> float | None:
    """--scale S and --no-replay as one number; None replays. Raises `UsageError`."""
    import math

    if scale is not None and no_replay:
        raise UsageError(
            "--scale and --no-replay were both given; --no-replay is --scale 1, choose one"
        )
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"--scale is {scale}; expected a positive number")
    return 1.0 if no_replay else scale


def prepare_torch(device: str, threads: int | None) -> None:
    """Check the device and set the thread count. Raises `UsageError`."""
    import torch

    from ahsar_eval.provenance import MOST_THREADS

    if threads is not None:
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(
                f"--threads is {threads}; expected 1 to {MOST_THREADS}, at best as many as there "
                "are cores"
            )
        torch.set_num_threads(threads)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device {device!r} cannot be used ({str(error).splitlines()[0].rstrip('.')}); use "
            "--device cpu"
        ) from error


def make_runners(
    checkpoints: tuple[str, ...],
    *,
    data_name: str | None,
    data: "DataOptions",
    scale: float | None = None,
    model: str | None,
    timesteps: int | None,
    classes: int | None,
    input_shape: str | None,
    mean: str | None,
    std: str | None,
    layout: str | None = None,
    backbone: str | None = None,
    spikes_per_step: str = "one",
    reset: str | None = None,
    dt: float = 1.0,
    frames: str | None = None,
    input_kinds: tuple[str, ...],
    device: str,
    engine: str = "compiled",
    precision: str = "fp32",
    batch_size: int,
    threads: int | None,
    cache: Path | None,
    no_cache: bool,
) -> "list[Runner]":
    """One runner per checkpoint; the shipped pair where none is named. Raises
    `AhsarError` kinds."""
    if batch_size < 1:
        raise UsageError(f"--batch-size is {batch_size}; expected at least 1")
    from ahsar_eval.recording.execution import check_execution, warn_of_slow_bf16

    prepare_torch(device, threads)
    check_execution(engine, precision, device)
    warn_of_slow_bf16(precision, device)
    from ahsar_eval.files import cache_folder
    from ahsar_eval.networks import NirSettings
    from ahsar_eval.networks.checkpoints import DEFAULT_PAIR, load_checkpoint
    from ahsar_eval.recording import RecordingStore
    from ahsar_eval.recording.runner import Runner

    external = None
    if layout is not None and (backbone is None or model is not None):
        raise UsageError(
            f"--layout {layout} fills a network of this package; name it with --backbone, without "
            "--model"
        )
    if backbone is not None and layout is None:
        raise UsageError(
            f"--backbone {backbone} says what a state dict of another layout fills; name that with "
            "--layout"
        )
    if model is not None or backbone is not None:
        framing = _framing(frames) or "count"
        external = functools.partial(
            _external_spec,
            model or str(backbone),
            timesteps,
            classes,
            input_shape,
            mean,
            std,
            data_name,
            data,
            framing,
        )
    nir = NirSettings(
        timesteps, _framing(frames), parse_shape(input_shape), reset, spikes_per_step, dt
    )
    store = RecordingStore(None if no_cache else cache or cache_folder("recordings"))
    kinds = dict(_kind(text) for text in input_kinds)
    runners = []
    for name in checkpoints or DEFAULT_PAIR:
        if not str(name).endswith(".nir") and (
            spikes_per_step != "one" or reset is not None or dt != 1.0
        ):
            raise UsageError(
                f"--spikes-per-step, --reset and --dt are for NIR files, and {name} is none; leave "
                "them out"
            )
        checkpoint = load_checkpoint(name, external_spec=external, layout=layout, nir=nir)
        if frames is not None and external is None and checkpoint.nir is None:
            raise UsageError(
                f"--frames is for networks that do not say it, and {name} takes "
                f"{checkpoint.spec.framing}; leave it out"
            )
        execution: dict[str, Any] = {
            "batch_size": batch_size,
            "device": device,
            "engine": engine,
            "precision": precision,
        }
        runners.append(
            Runner(
                checkpoint, scale=scale, model=model, store=store, input_kinds=kinds, **execution
            )
        )
    names = [runner.checkpoint.name for runner in runners]
    if len(set(names)) < len(names):
        # Files of one name in several folders: the given paths tell them apart.
        from dataclasses import replace

        runners = [
            replace(r, checkpoint=replace(r.checkpoint, name=given))
            for r, given in zip(runners, checkpoints, strict=True)
        ]
        if len(set(checkpoints)) < len(checkpoints):
            raise UsageError("a checkpoint was named twice; name each once")
    return runners


def warn_if_trained_on(runner: "Runner", split: "Split") -> None:
    """Say so when a network is evaluated on images it was trained on."""
    import warnings

    if runner.checkpoint.provenance.get("train_set_identity") in (
        split.source.identity,
        split.source.origin,
    ):
        warnings.warn(
            f"{split.name} holds the samples {runner.checkpoint.name} was trained on; its numbers "
            "say nothing of unseen ones",
            AhsarWarning,
            stacklevel=2,
        )
    division = runner.checkpoint.provenance.get("division")
    family = str(runner.checkpoint.trained_on).removesuffix("-random")
    if (
        division
        and family == split.source.name.removesuffix("-random")
        and division != split.source.division
    ):
        warnings.warn(
            f"{runner.checkpoint.name} was trained on {family} divided {division}, and "
            f"{split.name} is divided otherwise: it holds "
            "samples of that training; name the same set and --split-seed",
            AhsarWarning,
            stacklevel=2,
        )


def set_notes(splits: "list[Split]") -> list[str]:
    """What a reader must know of the sets: how event recordings were divided and framed, what was
    left out, and shifts without effect.
    """
    notes = []
    for split in splits:
        source = split.source
        if split.modality == "events":
            notes.append(f"{source.name}: {source.note}; {split.adaptation}.")
        elif "removed" in source.note:
            notes.append(f"{source.name}: {source.note}.")
        if split.shift == "time_scale" and "equal" in split.adaptation:
            notes.append(
                f"{split.name} changes nothing: frames of equal count or time do not see how long "
                "a recording lasts."
            )
    return list(dict.fromkeys(notes))


def data_or_trained_on(data_name: str | None, runners: "list[Runner]") -> str:
    """The set named, or the one all checkpoints were trained on. Raises `UsageError` where there is
    none.
    """
    if data_name is not None:
        return data_name
    known = {runner.checkpoint.trained_on for runner in runners}
    if len(known) != 1 or None in known:
        raise UsageError(
            "the checkpoints do not say one set they were trained on; name it with --data"
        )
    return str(known.pop())


def _kind(text: str) -> tuple[str, str]:
    layer, equals, kind = text.partition("=")
    if not equals:
        raise UsageError(
            f"--input-kind {text!r} is incomplete; expected LAYER=KIND, such as conv1=analog"
        )
    return layer, kind


def _external_spec(
    model: str,
    timesteps: int | None,
    classes: int | None,
    input_shape: str | None,
    mean: str | None,
    std: str | None,
    data_name: str | None,
    data: "DataOptions",
    framing: str,
) -> "ModelSpec":
    """The specification of a plain state dict: from the options, and from the ID set for what they
    leave out.
    """
    from ahsar_eval.data import open_set, parse
    from ahsar_eval.networks import BACKBONES, ModelSpec, load_user_network, step_modes

    modes = {"m"} if model in BACKBONES else step_modes(load_user_network(model))
    if len(modes) > 1:
        raise UsageError(
            f"{model} mixes the step modes {' and '.join(sorted(modes))}; set one with "
            "functional.set_step_mode"
        )
    if timesteps is None:
        raise UsageError(
            "a plain state dict does not say how many time steps its network runs; give "
            "--timesteps T"
        )
    shape = parse_shape(input_shape)
    if shape is None or classes is None:
        if data_name is None:
            raise UsageError(
                "a plain state dict needs --input-shape, --classes and --timesteps, or an ID set "
                "that tells the first two"
            )
        source = open_set(parse(data_name).name, options=data)
        shape = shape or source.shape
        classes = classes or len(source.classes)
        if shape is None:
            raise UsageError(
                f"{data_name} has images of several sizes; give the network's with --input-shape "
                "C,H,W"
            )
    return ModelSpec(
        backbone=model,
        input_shape=shape,
        classes=classes,
        step_mode=modes.pop() if modes else "m",
        timesteps=timesteps,
        mean=_numbers("--mean", mean, (0.0,)),
        std=_numbers("--std", std, (1.0,)),
        framing=framing,
    )


def _framing(frames: str | None) -> str | None:
    """--frames in the form a specification keeps; None where it was not given. Raises
    `DataError`."""
    from ahsar_eval.data.events.frames import parse_framing

    return None if frames is None else parse_framing(frames)


def parse_shape(text: str | None) -> tuple[int, int, int] | None:
    """'1,16,16' as numbers; None for None. Raises `UsageError`."""
    if text is None:
        return None
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--input-shape is {text!r}; expected three whole numbers C,H,W such as 1,16,16"
        ) from None
    return channels, height, width


def _numbers(option: str, text: str | None, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    try:
        return otherwise if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{option} is {text!r}; expected one number, or one per channel, separated by commas"
        ) from None


def check_figure(out: Path) -> None:
    """That a figure can be written: a suffix of `FIGURE_SUFFIXES` and a folder that takes files.
    Raises `UsageError` or `OutputError`.
    """
    from ahsar_eval.files import check_folder_writable

    if out.suffix.lower() not in FIGURE_SUFFIXES:
        raise UsageError(
            f"--out is {str(out)!r}; expected a name that ends in {', '.join(FIGURE_SUFFIXES)}"
        )
    check_folder_writable(out.parent)


def check_out(out: Path | None) -> None:
    """That results can be written to the folder `out`. Raises `OutputError`."""
    if out is not None:
        from ahsar_eval.files import check_folder_writable

        check_folder_writable(out)


def finished_texts(
    runners: "Sequence[Runner]",
    asked: Mapping[str, Any],
    make: "Callable[[Mapping[str, str]], dict[str, dict[str, str]]]",
    *,
    anew: bool = False,
) -> dict[str, dict[str, str]]:
    """The texts that answer `asked`, from the cache where they were made before (see
    `ahsar_eval.evaluation.finished`).

    `anew` makes them again. So does a coarser format than fp32, whose difference is measured and
    said each time.
    """
    import os

    from ahsar_eval.evaluation.finished import finished

    folder = runners[0].store.folder
    if anew or any(runner.precision != "fp32" for runner in runners):
        folder = None
    terminal = [sys.stdout.isatty(), os.environ.get("NO_COLOR")]
    return finished(folder, {**asked, "terminal": terminal}, make)


def emit(form: str, *, table: str, markdown: str, csv: str, json: str, latex: str) -> None:
    """Print the one form that was asked for."""
    click.echo(
        {"table": table, "markdown": markdown, "csv": csv, "json": json, "latex": latex}[
            form
        ].rstrip("\n")
    )


def write_results(
    out: Path | None, name: str, *, markdown: str, csv: str, json: str, latex: str, table: str = ""
) -> None:
    """Write `name`.json, .csv, .md and .tex to the folder `out`; the table for the terminal is no
    file. Raises `OutputError`.
    """
    if out is None:
        return
    from ahsar_eval.files import write_text

    for suffix, text in ((".json", json), (".csv", csv), (".md", markdown), (".tex", latex)):
        write_text(out / f"{name}{suffix}", text if text.endswith("\n") else text + "\n")


def announce(paths: list[Path]) -> None:
    """Say on standard error what was written."""
    for path in paths:
        click.echo(f"wrote {path}", err=True)
