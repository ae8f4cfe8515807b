"""Networks by name or as live modules, ready to be run: one `Runner` for each."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from ahsar_eval.data import DataOptions, SampleSet, open_set, parse
from ahsar_eval.data.split import parse_framing
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.requests import NetworkOptions, Thresholds
from ahsar_eval.files import cache_folder
from ahsar_eval.networks import BACKBONES, ModelSpec, NirSettings, load_user_network, step_modes
from ahsar_eval.networks.checkpoints import DEFAULT_PAIR, Checkpoint, load_checkpoint
from ahsar_eval.provenance import MOST_THREADS
from ahsar_eval.recording import RecordingStore
from ahsar_eval.recording.execution import check_execution, warn_of_slow_bf16
from ahsar_eval.recording.runner import Runner


def load_networks(
    names: Sequence[str],
    options: NetworkOptions | None = None,
    thresholds: Thresholds | None = None,
    *,
    data_name: str | None = None,
    data: DataOptions | None = None,
) -> list[Runner]:
    """One runner per checkpoint; the shipped pair where none is named.

    `data_name` is the set that tells shape and classes where a plain state dict does not. Raises
    kinds of `AhsarError`.
    """
    options, thresholds = options or NetworkOptions(), thresholds or Thresholds()
    if options.batch_size < 1:
        raise UsageError(f"--batch-size is {options.batch_size}; expected at least 1")
    scale = chosen_scale(thresholds)
    prepare_torch(options.device, options.threads)
    check_execution(options.engine, options.precision, options.device)
    warn_of_slow_bf16(options.precision, options.device)
    _check_layout(options)
    external = None
    if options.model is not None or options.backbone is not None:
        external = functools.partial(_external_spec, options, data_name, data)
    shape, framing = parse_shape(options.input_shape), _framing(options.frames)
    more = options.reset, options.spikes_per_step, options.dt
    nir = NirSettings(options.timesteps, framing, shape, *more)
    runners = []
    for name in names or DEFAULT_PAIR:
        if not str(name).endswith(".nir") and more != (None, "one", 1.0):
            raise UsageError(
                f"--spikes-per-step, --reset and --dt are for NIR files, and {name} is none; leave "
                "them out"
            )
        checkpoint = load_checkpoint(name, external_spec=external, layout=options.layout, nir=nir)
        if options.frames is not None and external is None and not checkpoint.is_nir:
            raise UsageError(
                f"--frames is for networks that do not say it, and {name} takes "
                f"{checkpoint.spec.framing}; leave it out"
            )
        runners.append(_runner(checkpoint, options, scale))
    if len({runner.checkpoint.name for runner in runners}) < len(runners):
        # Files of one name in several folders: the given paths tell them apart.
        if len(set(names)) < len(names):
            raise UsageError("a checkpoint was named twice; name each once")
        runners = [
            replace(runner, checkpoint=replace(runner.checkpoint, name=str(given)))
            for runner, given in zip(runners, names, strict=True)
        ]
    return runners


def _runner(checkpoint: Checkpoint, options: NetworkOptions, scale: float | None) -> Runner:
    folder = None if options.no_cache else options.cache or cache_folder("recordings")
    return Runner(
        checkpoint,
        scale=scale,
        model=options.model,
        store=RecordingStore(folder),
        input_kinds=dict(_kind(text) for text in options.input_kinds),
        batch_size=options.batch_size,
        device=options.device,
        engine=options.engine,
        precision=options.precision,
    )


def chosen_scale(thresholds: Thresholds) -> float | None:
    """The factor on every base threshold; None replays. Raises `UsageError`."""
    scale = thresholds.scale
    if scale is not None and thresholds.no_replay:
        raise UsageError(
            "--scale and --no-replay were both given; --no-replay is --scale 1, choose one"
        )
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"--scale is {scale}; expected a positive number")
    return 1.0 if thresholds.no_replay else scale


def prepare_torch(device: str, threads: int | None) -> None:
    """Check the device and set the thread count. Raises `UsageError`."""
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


def _check_layout(options: NetworkOptions) -> None:
    layout, backbone = options.layout, options.backbone
    if layout is not None and (backbone is None or options.model is not None):
        raise UsageError(
            f"--layout {layout} fills a network of this package; name it with --backbone, without "
            "--model"
        )
    if backbone is not None and layout is None:
        raise UsageError(
            f"--backbone {backbone} says what a state dict of another layout fills; name that with "
            "--layout"
        )


def _kind(text: str) -> tuple[str, str]:
    layer, equals, kind = text.partition("=")
    if not equals:
        raise UsageError(
            f"--input-kind {text!r} is incomplete; expected LAYER=KIND, such as conv1=analog"
        )
    return layer, kind


def _external_spec(
    options: NetworkOptions, data_name: str | None, data: DataOptions | None
) -> ModelSpec:
    """The specification of a plain state dict: from the options, and from the ID set for what they
    leave out.
    """
    model = options.model or str(options.backbone)
    modes = {"m"} if model in BACKBONES else step_modes(load_user_network(model))
    if options.timesteps is None:
        raise UsageError(
            "a plain state dict does not say how many time steps its network runs; give "
            "--timesteps T"
        )
    shape, classes = parse_shape(options.input_shape), options.classes
    if shape is None or classes is None:
        if data_name is None:
            raise UsageError(
                "a plain state dict needs --input-shape, --classes and --timesteps, or an ID set "
                "that tells the first two"
            )
        source = open_set(parse(data_name).name, options=data)
        shape = shape or shape_of(source)
        classes = classes or len(source.classes)
    return ModelSpec(
        backbone=model,
        input_shape=shape,
        classes=classes,
        step_mode=_one_step_mode(model, modes),
        timesteps=options.timesteps,
        mean=_numbers("--mean", options.mean, (0.0,)),
        std=_numbers("--std", options.std, (1.0,)),
        framing=_framing(options.frames) or "count",
    )


def shape_of(source: SampleSet) -> tuple[int, int, int]:
    """C, H, W of a set. Raises `UsageError` where its samples have several."""
    if source.shape is None:
        raise UsageError(
            f"{source.name} has images of several sizes; give the network's with --input-shape "
            "C,H,W"
        )
    return source.shape


def _one_step_mode(name: str, modes: set[str]) -> str:
    if len(modes) > 1:
        raise UsageError(
            f"{name} mixes the step modes {' and '.join(sorted(modes))}; set one with "
            "functional.set_step_mode"
        )
    return next(iter(modes), "m")


def _framing(frames: str | None) -> str | None:
    """--frames in the form a specification keeps. Raises `DataError`."""
    return None if frames is None else parse_framing(frames)


@dataclass(frozen=True)
class LiveNetwork:
    """A module of the user's, still without a shape where `input_shape` is None: a set gives it."""

    module: nn.Module
    name: str
    timesteps: int
    classes: int
    input_shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    framing: str = "count"
    options: NetworkOptions = field(default_factory=NetworkOptions)
    scale: float | None = None

    def on(self, source: SampleSet) -> Runner:
        """Ready to run samples like those of `source`. The module itself is never changed: a copy
        runs. Raises kinds of `AhsarError`."""
        kind = type(self.module)
        spec = ModelSpec(
            backbone=f"{kind.__module__}:{kind.__qualname__}",
            input_shape=self.input_shape or shape_of(source),
            classes=self.classes,
            step_mode=_one_step_mode(self.name, step_modes(self.module)),
            timesteps=self.timesteps,
            mean=self.mean,
            std=self.std,
            framing=self.framing,
        )
        weights = {
            name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()
        }
        checkpoint = Checkpoint(spec, weights, name=self.name, module=self.module)
        return _runner(checkpoint, self.options, chosen_scale(Thresholds(self.scale)))


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
