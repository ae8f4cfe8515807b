"""What is evaluated: networks by name or as live modules, one `Runner` each, and the sets they
meet; and what a reader must know of them.
"""

import contextlib
import functools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.data import (
    SETS,
    DataOptions,
    ImageSet,
    SampleSet,
    Split,
    check_distinct,
    expand_groups,
    open_set,
    open_split,
    open_splits,
    parse,
    split_of,
)
from ahsar_eval.data.classes import Classes, beside, in_classes_of
from ahsar_eval.data.sets import classes_of
from ahsar_eval.data.split import parse_framing, pooled
from ahsar_eval.errors import AhsarWarning, ModelError, UsageError
from ahsar_eval.evaluation.requests import Adapting, NetworkOptions, check_once
from ahsar_eval.files import cache_folder
from ahsar_eval.homeostasis import replayed_by_controllers
from ahsar_eval.homeostasis.regulation import SetPoints
from ahsar_eval.networks import BACKBONES, ModelSpec, NirSettings, load_user_network, step_mode_of
from ahsar_eval.networks.checkpoints import (
    Checkpoint,
    default_pair,
    load_checkpoint,
    set_points_of,
)
from ahsar_eval.provenance import MOST_THREADS
from ahsar_eval.recording import RecordingStore, describe
from ahsar_eval.recording.adaptation import EPISODIC, Adaptation, check_adaptation
from ahsar_eval.recording.execution import check_execution, warn_of_slow_bf16
from ahsar_eval.recording.runner import Runner

_OF_NIR = ("reset", "spikes_per_step", "dt", "integration", "v_min")  # options of NIR files alone
_LOOKED_AT = 64  # images of a folder, to learn their size
_SMALL = 32  # pixels of a side; below it lengths of shifts are fractions of a pixel
_HALF_LEVEL = 0.5 / 255


@dataclass(frozen=True)
class Plan:
    """One network and the splits it will see: the set it knows, or is run on, and `others`, which
    are OOD sets or shifts; and in `fitting` the "training" and "validation" split, where one of its
    `scores` is fitted on them.

    `left_out` says which scores were asked for and cannot be had, and why.
    """

    runner: Runner
    id_split: Split
    others: tuple[Split, ...] = ()
    scores: tuple[str, ...] = ()
    fitting: Mapping[str, Split] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def splits(self) -> list[Split]:
        """Every split that is recorded for it."""
        return [self.id_split, *self.others, *self.fitting.values()]

    def facts(self, own: str, others: str = "") -> dict[str, Any]:
        """What results say of the checkpoint, and of its sets under these names."""
        found = {**self.runner.facts(), own: describe(self.id_split)}
        return found | ({others: [describe(one) for one in self.others]} if others else {})


def planned(
    evaluation: ModuleType, networks: Sequence["Network"], request: Any
) -> tuple[list[Plan], Any]:
    """A plan for each network, and the request with what was left open in it; whatever can be
    refused is refused here, before the first pass. Raises kinds of `AhsarError`.

    `evaluation` has `requested`, which completes the request, and `plan`.
    """
    if request.data_name == "":
        known = {one.checkpoint.trained_on for one in networks if isinstance(one, Runner)}
        if len(known) != 1 or None in known:
            raise UsageError(
                "the checkpoints do not say one set they were trained on; name it with "
                "--data (ood and compare: --id)"
            )
        request = replace(request, data_name=_there(str(known.pop()), request.data))
    request = evaluation.requested(request)
    runners = [ready(one, request.data_name, request.data) for one in networks]
    plans = [evaluation.plan(request, runner) for runner in runners]
    if isinstance(request, Adapting):
        check_adapting(request)
    if isinstance(request, Adapting) and request.adapt:
        plans = [one for plan in plans for one in adapting(request, plan)]
    return plans, request


def adapting(request: Any, plan: Plan) -> list[Plan]:
    """`plan`, and beside it the same network with each way to adapt at test time that is asked for.
    In episodes all of them leave out the samples that are adapted to. Raises `UsageError` and
    `HomeostasisError`.
    """
    runner = plan.runner
    points = set_points_of(runner.checkpoint, request.set_points)
    ways = []
    for modes in listed_ways(request.adapt):
        way = Adaptation(
            modes,
            points,
            request.protocol,
            request.adapt_batch,
            request.adapt_first,
            request.adapt_seed,
        )
        if request.adapt_start is not None:
            way = replace(way, start=state_left(request.adapt_start, runner.adapted(way)))
        if way.regulating:
            check_set_points(points, plan)
        if way.regulating and runner.scale is not None:
            raise UsageError(
                f"set points hold for a network's own thresholds, and {runner.checkpoint.name} was "
                "given a scale, which --adapt would undo; leave one of the two out"
            )
        ways.append(way)
    if request.protocol == EPISODIC:
        number, seed = request.adapt_samples, request.adapt_seed
        others = tuple(pooled(one, number, seed) for one in plan.others)
        plan = replace(plan, id_split=pooled(plan.id_split, number, seed), others=others)
    for way in ways:
        check_adaptation(runner.network, way)
    return [plan, *(replace(plan, runner=runner.adapted(way)) for way in ways)]


def check_adapting(request: Adapting) -> None:
    """That nothing is said of how networks adapt where none does. Raises `UsageError`."""
    said = [
        each.name
        for each in fields(Adapting)
        if each.name != "adapt" and getattr(request, each.name) != each.default
    ]
    if said and not request.adapt:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in said)
        raise UsageError(
            f"{options} {'say' if len(said) > 1 else 'says'} how networks adapt, and none does; "
            "name a way with --adapt, or leave it out"
        )


def state_left(file: str | Path, runner: Runner) -> Mapping[str, Any]:
    """Where a stream of results in a JSON `file` left the same network, adapting the same way.
    Raises `UsageError`.
    """
    assert runner.adaptation is not None
    if not runner.adaptation.streams:
        raise UsageError(
            "--adapt-start goes on from where a stream ended, and the protocol is episodic; leave "
            "it out, or give --protocol online or continual"
        )
    try:
        text = Path(file).read_text(encoding="utf-8")
        known = json.loads(text)["provenance"]["checkpoints"]
        left = {(one["sha256"], one["thresholds"]): one.get("adaptation_state") for one in known}
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file} holds no results of ahsar-eval; expected the JSON that --out wrote of a stream"
        ) from error
    found: Any = left.get((runner.checkpoint.sha256, runner.thresholds))
    if found is None:
        raise UsageError(
            f"{file} says of no stream where it left {runner.checkpoint.name} "
            f"({runner.thresholds}); name results of that network, adapting the same way"
        )
    return dict(found)


def listed_ways(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Modes of each way to adapt, from "channel,channel+batchnorm"; "none" is always there. Raises
    `UsageError`.
    """
    names = [name.strip() for text in texts for name in text.split(",")]
    check_once(names, "way to adapt")
    return [tuple(name.split("+")) for name in names if name != "none"]


def check_set_points(points: SetPoints | None, plan: Plan) -> None:
    """That set points were not measured on a set that is evaluated, on a part of it, or on what it
    is a part of, by what sets say of themselves. Raises `UsageError`.
    """
    known = {} if points is None else points.data
    for split in (plan.id_split, *plan.others):
        source = split.source
        same = {source.identity, source.origin} & {known.get("identity"), known.get("origin")}
        names = (source.name, str(known.get("name")))
        part = any(a in SETS and SETS[a].part_of == b for a, b in (names, names[::-1]))
        if (part or same - {"", None}) and known.get("role") == source.role:
            raise UsageError(
                f"the set points of {plan.runner.checkpoint.name} were measured on "
                f"{known['name']}, a set that is evaluated; measure them on training data "
                "(ahsar-eval calibrate --on NAME)"
            )


def _there(name: str, options: DataOptions) -> str:
    """`name`, the set of a training; where its files are not there, the set that ships with the
    package and holds some of its test samples, which is said.
    """
    _, _, path = name.partition(":")
    known = SETS.get(name)
    there = known.is_there(options.root) if known else Path(path).expanduser().exists()
    part = next((one for one in SETS if SETS[one].part_of == name), None)
    if there or part is None:
        return name
    warnings.warn(
        f"{name}, which the checkpoints were trained on, is not there; {part} stands in, some of "
        "its test samples (another set: --data, of ood and compare --id)",
        AhsarWarning,
        stacklevel=2,
    )
    return part


def own_split(request: Any, runner: Runner) -> Split:
    """The one set that `request` names, or gives, as `runner`'s network takes it, with the labels
    of its classes. Raises `DataError`.
    """
    split = open_split(request.data_name, runner.view, seed=request.seed, options=request.data)
    return in_classes_of(split, classes_of_network(runner, split), request.data.labels_match)


def classes_of_network(runner: Runner, split: Split) -> Classes:
    """What is known of the classes that a network tells apart: those of the set of `split` where
    that is a part of what it was trained on.
    """
    facts, checkpoint, source = runner.checkpoint.provenance, runner.checkpoint, split.source
    space = facts.get("label_space")
    if source.name in SETS and SETS[source.name].part_of == checkpoint.trained_on:
        space = source.label_space
        return Classes(checkpoint.name, checkpoint.spec.classes, space, tuple(source.classes))
    names = tuple(map(str, facts.get("classes") or classes_of(str(space))))
    return Classes(checkpoint.name, checkpoint.spec.classes, space, names)


def plan_of(
    request: Any,
    runner: Runner,
    id_split: Split,
    names: Iterable[str | SampleSet],
    id_space: str | None = None,
) -> Plan:
    """`id_split` and the sets `names` beside it, as `runner`'s network takes them, and the network
    built. Shifts of the set of `id_split` are shifts of its samples. Raises `DataError` and
    `UsageError`.
    """
    how = {"seed": request.seed, "options": request.data, "id_space": id_space}
    classes = classes_of_network(runner, id_split)
    others = [
        beside(split, id_split, classes, request.data.labels_match)
        for one in names
        for split in open_splits(one, runner.view, held=id_split.source, **how)
    ]
    check_distinct(id_split, others)
    warn_if_trained_on(runner, id_split)
    _ = runner.network
    return Plan(runner, id_split, tuple(others))


# --- networks


def load_networks(
    names: Sequence[str],
    options: NetworkOptions | None = None,
    data_name: str | None = None,
    data: DataOptions | None = None,
) -> list[Runner]:
    """One runner per checkpoint; the shipped pair of the set `data_name` where none is named.

    `data_name` also tells shape and classes where a plain state dict does not. Raises kinds of
    `AhsarError`.
    """
    options = options or NetworkOptions()
    if options.batch_size < 1:
        raise UsageError(f"--batch-size is {options.batch_size}; expected at least 1")
    if options.frames is not None:
        options = replace(options, frames=parse_framing(options.frames))
    prepare_torch(options.device, options.threads)
    check_execution(options.engine, options.precision, options.device)
    warn_of_slow_bf16(options.precision, options.device)
    if (options.layout is None) != (options.backbone is None) or (options.layout and options.model):
        raise UsageError(
            "--layout and --backbone say together which network of this package a plain state dict "
            "of another tool fills; give both, without --model, or none"
        )
    external = None
    if options.model is not None or options.backbone is not None:
        external = functools.partial(_external_spec, options, data_name, data)
    of_nir = {name: getattr(options, name) for name in _OF_NIR}
    shape = parse_shape(options.input_shape)
    nir = NirSettings(options.timesteps, options.frames, shape, **of_nir)
    runners = []
    for name in names or default_pair(data_name):
        asked = [f for f, value in of_nir.items() if value != getattr(NetworkOptions, f)]
        if asked and not str(name).endswith(".nir"):
            options_of = " and ".join(f"--{field.replace('_', '-')}" for field in asked)
            raise UsageError(
                f"{options_of} {'is' if len(asked) == 1 else 'are'} for NIR files, and {name} is "
                "none; leave it out"
            )
        checkpoint = load_checkpoint(
            name, external_spec=external, layout=options.layout, key=options.key, nir=nir
        )
        if options.frames is not None and external is None and not checkpoint.is_nir:
            raise UsageError(
                f"--frames is for networks that do not say it, and {name} takes "
                f"{checkpoint.spec.framing}; leave it out"
            )
        if options.calls is not None:
            if not checkpoint.spec.is_user_network:
                raise UsageError(
                    f"--calls is for networks of your own, and {name} holds none; leave it out"
                )
            checkpoint = replace(checkpoint, spec=replace(checkpoint.spec, calls=options.calls))
        runners.append(_runner(checkpoint, options))
    if len({runner.checkpoint.name for runner in runners}) < len(runners):
        # Files of one name in several folders: the given paths tell them apart.
        check_once(names, "checkpoint")
        runners = [
            replace(runner, checkpoint=replace(runner.checkpoint, name=str(given)))
            for runner, given in zip(runners, names, strict=True)
        ]
    return runners


def _runner(checkpoint: Checkpoint, options: NetworkOptions) -> Runner:
    if options.scale is not None and options.no_replay:
        raise UsageError(
            "--scale and --no-replay were both given; --no-replay is --scale 1, choose one"
        )
    scale = 1.0 if options.no_replay else options.scale
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"--scale is {scale}; expected a positive number")
    kinds = [text.partition("=") for text in options.input_kinds]
    for layer, equals, _ in kinds:
        if not equals:
            raise UsageError(
                f"--input-kind {layer!r} is incomplete; expected LAYER=KIND, such as conv1=analog"
            )
    folder = None if options.no_cache else options.cache or cache_folder("recordings")
    return Runner(
        checkpoint,
        scale=scale,
        model=options.model,
        store=RecordingStore(folder),
        input_kinds={layer: kind for layer, _, kind in kinds},
        batch_size=options.batch_size,
        device=options.device,
        engine=options.engine,
        precision=options.precision,
    )


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


def _external_spec(
    options: NetworkOptions, data_name: str | None, data: DataOptions | None
) -> ModelSpec:
    """The specification of a plain state dict: from the options, and from the ID set for what they
    leave out.
    """
    model = options.model or str(options.backbone)
    shape, classes = parse_shape(options.input_shape), options.classes
    step_mode = "m" if model in BACKBONES else step_mode_of(load_user_network(model))
    if options.timesteps is None or (data_name is None and None in (shape, classes)):
        raise UsageError(
            "a plain state dict says neither time steps, input shape nor classes; give --timesteps "
            "T, and --input-shape and --classes or an ID set that tells them"
        )
    if shape is None or classes is None:
        source = open_set(parse(str(data_name)).name, options=data)
        shape, classes = shape or shape_of(source), classes or len(source.classes)
    per_channel = "one number, or one per channel, separated by commas"
    return ModelSpec(
        backbone=model,
        input_shape=shape,
        classes=classes,
        step_mode=step_mode,
        calls=options.calls or "",
        timesteps=options.timesteps,
        mean=_numbers("--mean", options.mean, float, per_channel),
        std=_numbers("--std", options.std, float, per_channel),
        framing=options.frames or "count",
    )


def shape_of(source: SampleSet) -> tuple[int, int, int]:
    """C, H, W of a set; of files that do not say it beforehand that of `_LOOKED_AT` of them, evenly
    spaced, where these agree. Raises `UsageError` where they do not.
    """
    if source.shape is not None:
        return source.shape
    members = np.unique(np.linspace(0, len(source) - 1, _LOOKED_AT).astype(np.int64))
    found = {tuple(map(int, one.shape)) for one in source.fetch(members)}
    if isinstance(source, ImageSet) and len(found) == 1:
        channels, height, width = next(iter(found))
        return channels, height, width
    raise UsageError(
        f"{source.name} has images of several sizes; give the network's with --input-shape C,H,W"
    )


@dataclass(frozen=True)
class LiveNetwork:
    """A module of the user's; `spec` are fields of its specification, whose "input_shape" a set
    gives where it is None.
    """

    module: nn.Module
    name: str
    spec: Mapping[str, Any]
    options: NetworkOptions

    def on(self, source: SampleSet) -> Runner:
        """Ready to run samples like those of `source`. The module itself is never changed: a copy
        runs. Raises kinds of `AhsarError`."""
        plain = getattr(self.module, "_orig_mod", self.module)
        kind = type(plain)
        spec = ModelSpec(
            backbone=f"{kind.__module__}:{kind.__qualname__}",
            step_mode=step_mode_of(self.module),
            calls=self.options.calls or "",
            **{**self.spec, "input_shape": self.spec["input_shape"] or shape_of(source)},
        )
        weights = {}
        for name, tensor in self.module.state_dict().items():
            if not isinstance(tensor, Tensor) or tensor.device.type == "meta":
                found = f"a {type(tensor).__name__}, as quantised layers have"
                if isinstance(tensor, Tensor):
                    found = "a meta tensor, without values"
                raise ModelError(
                    f"{self.name} holds {name!r} as {found}; expected weights that are numbers: "
                    "load them, or give the network before it was quantised"
                )
            weights[name] = tensor.detach().clone()
        scales = replayed_by_controllers(plain)
        checkpoint = Checkpoint(
            spec, weights, name=self.name, module=self.module, layer_scales=scales
        )
        return _runner(checkpoint, self.options)


Network = Runner | LiveNetwork


def ready(network: Network, data: str | SampleSet, options: DataOptions | None = None) -> Runner:
    """`network` ready to run samples like those of `data`."""
    if isinstance(network, Runner):
        return network
    source = open_set(parse(data).name, options=options) if isinstance(data, str) else data
    return network.on(source)


def parse_shape(text: str | None) -> tuple[int, int, int] | None:
    """'1,16,16' as numbers; None for None. Raises `UsageError`."""
    if text is None:
        return None
    channels, height, width = _numbers(
        "--input-shape", text, int, "three whole numbers C,H,W such as 1,16,16", count=3
    )
    return channels, height, width


def _numbers(
    option: str, text: str, kind: Callable[[str], Any], expected: str, count: int | None = None
) -> tuple[Any, ...]:
    parts = text.split(",")
    with contextlib.suppress(ValueError):
        if len(parts) == (count or len(parts)):
            return tuple(map(kind, parts))
    raise UsageError(f"{option} is {text!r}; expected {expected}")


# --- what several evaluations ask and check


def expanded(names: Iterable[str | SampleSet], id_name: str) -> tuple[str | SampleSet, ...]:
    """OOD sets with near and far replaced by their sets, each once. Raises `DataError` where the ID
    set has no such groups.
    """
    every = [
        name
        for one in names
        for name in (expand_groups((one,), id_name) if isinstance(one, str) else (one,))
    ]
    return tuple({one if isinstance(one, str) else id(one): one for one in every}.values())


def warn_if_trained_on(runner: Runner, split: Split) -> None:
    """Say so when a network is evaluated on samples it was trained on."""
    facts, name, source = runner.checkpoint.provenance, runner.checkpoint.name, split.source
    if facts.get("train_set_identity") in (source.identity, source.origin):
        warnings.warn(
            f"{split.name} holds the samples {name} was trained on; its numbers say nothing of "
            "unseen ones",
            AhsarWarning,
            stacklevel=2,
        )
    division = facts.get("division")
    family = str(runner.checkpoint.trained_on).removesuffix("-random")
    same_family = family == source.name.removesuffix("-random")
    if division and same_family and division != source.division:
        warnings.warn(
            f"{name} was trained on {family} divided {division}, and {split.name} is divided "
            "otherwise: it holds samples of that training; name the same set and --split-seed",
            AhsarWarning,
            stacklevel=2,
        )


def set_notes(plans: Iterable[Plan]) -> list[str]:
    """How event recordings were divided and framed, what was decided in reading a set and what was
    not read or left out, and shifts without effect."""
    notes = []
    for split in (split for one in plans for split in (one.id_split, *one.others)):
        note = split.source.note
        if split.modality == "events":
            told = "; ".join(filter(None, [note, split.adaptation]))
            notes.append(f"{split.source.name}: {told}.")
        elif "removed" in note or "(--limit)" in note:
            clauses = note.split("; ")
            told = note if "removed" in note else next(c for c in clauses if "(--limit)" in c)
            notes.append(f"{split.source.name}: {told}.")
        notes += [f"{split.source.name}: {remark}." for remark in split.source.remarks]
        if split.remark:
            notes.append(f"{split.source.name}: {split.remark}")
        if split.shift == "time_scale" and "equal" in split.adaptation:
            notes.append(
                f"{split.name} changes nothing: frames of equal count or time do not see how long "
                "a recording lasts."
            )
        elif _without_effect(split):
            _, height, width = split.shape
            notes.append(
                f"{split.name} changes nothing: in the samples looked at, of {height}x{width} "
                "pixels, no value moves by half a grey level."
            )
    return list(dict.fromkeys(notes))


def _without_effect(split: Split) -> bool:
    """Whether a shift leaves images as they are, as kernels narrower than a pixel do: shown by four
    samples of small images, the only ones where that happens.
    """
    shape = split.shape
    applied = split.shift is not None and not split.source.copies_of
    if not applied or split.modality == "events" or min(shape[1:]) >= _SMALL:
        return False
    members = np.unique(np.linspace(0, len(split) - 1, 4).astype(np.int64))
    moved = split.tensors(members) - split_of(split.source, shape).tensors(members)
    return float(moved.abs().max()) < _HALF_LEVEL
