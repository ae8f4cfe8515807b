"""What a user asks of a training, by names only, and what it becomes once its sets are opened: the
method (AHSAR, its ablations, the baseline, a fixed factor, AHSAR's own scales frozen), the recipe.

Nothing heavy is imported at the top, for `--help` reads the fields of a request.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.data import SETS, DataOptions, parse
from ahsar_eval.errors import HomeostasisError, ModelError, UsageError
from ahsar_eval.options import checked, described, made
from ahsar_eval.training.logs import check_installed, read_targets

if TYPE_CHECKING:
    from ahsar_eval.data import Split
    from ahsar_eval.homeostasis import HomeostaticParams
    from ahsar_eval.networks import ModelSpec

METHODS = tuple("ahsar baseline ahsar-no-rt ahsar-no-dh ahsar-no-gain fixed:S frozen:CKPT".split())
_ABLATIONS: dict[str, dict[str, Any]] = {
    "ahsar": {},
    "ahsar-no-rt": {"gamma": 0.0},
    "ahsar-no-dh": {"diffusion": 0.0},
    "ahsar-no-gain": {"use_gain": False},
}


@dataclass(frozen=True)
@described(__file__, "request.toml", group="training")
class TrainingRequest:
    """One training by names; `to_dict` is JSON-ready (docs/training.md says what each field means).

    `input_shape` may be a text 'C,H,W', `controller` texts 'NAME=VALUE'; they are kept as numbers.
    `log` names who watches (training/logs.py) and decides nothing. Raises `UsageError` for a value
    of another kind, a name that is not known, or controller parameters where there is no
    controller.
    """

    data: str = "digits"
    backbone: str = "vgg13"
    width: float = 1.0
    paradigm: str = "bptt"
    step_mode: str = "m"
    timesteps: int = 6
    method: str = "ahsar"
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    seed: int = 0
    input_shape: Any = None
    hold_out: float = 0.1
    samples: int | None = None
    frames: str = "count"
    augment: str = "auto"
    event_transform: tuple[str, ...] = ()
    precision: str = "fp32"
    sensing: str = "spikes"
    controller: Any = ()
    device: str = "cpu"
    log: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        read = {"input_shape": _read_shape, "controller": _read_controller}
        for entry in fields(self):
            given = getattr(self, entry.name)
            value: Any = read[entry.name](given) if entry.name in read else checked(entry, given)
            object.__setattr__(self, entry.name, value)
        object.__setattr__(self, "log", read_targets(self.log))
        self._check_ranges()
        if self.event_transform:
            from ahsar_eval.data.events.transforms import canonical

            texts = tuple(map(canonical, self.event_transform))
            object.__setattr__(self, "event_transform", texts)
        controlled = check_method(self.method)
        if self.controller and not controlled:
            raise UsageError(
                f"method {self.method!r} has no controller; leave {', '.join(self.controller)} "
                "out, or choose ahsar"
            )
        for name, value in _ABLATIONS.get(self.method, {}).items():
            if name in self.controller:
                raise UsageError(
                    f"method {self.method!r} is AHSAR at {name} = {value!r}; leave {name} out, or "
                    "choose ahsar"
                )
        self._check_network()

    def _check_ranges(self) -> None:
        from ahsar_eval.data.training_data import AUGMENTATIONS

        augmentations = ("auto", "none", *AUGMENTATIONS)
        on_gpu = self.device.split(":")[0] == "cuda"
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a positive number, as 1e-3"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more, as 5e-4"),
            "seed": (0 <= self.seed < 2**31, "a whole number from 0 to 2147483647"),
            "hold_out": (0 < self.hold_out < 1, "a fraction between 0 and 1"),
            "samples": (self.samples is None or self.samples >= 2, "at least 2, or none for all"),
            "augment": (self.augment in augmentations, f"one of {', '.join(augmentations)}"),
            "precision": (on_gpu or self.precision != "fp16", "bf16 or fp32 without a GPU"),
        }
        for name, (fits, expected) in rules.items():
            if not fits:
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    def _check_network(self) -> None:
        """What the network refuses is known before a set is opened."""
        from ahsar_eval.networks import ModelSpec

        shape = self.input_shape or (1, 1, 1)
        try:
            ModelSpec(self.backbone, shape, 2, width=self.width, timesteps=self.timesteps)
        except ModelError as error:
            raise UsageError(str(error)) from error

    @property
    def params(self) -> "HomeostaticParams":
        """The controller's parameters: the defaults with those given."""
        from ahsar_eval.homeostasis import HomeostaticParams

        return HomeostaticParams(**self.controller)

    @property
    def augmentation(self) -> str:
        """The transforms of training batches: those asked for, or what the set calls for."""
        if self.augment != "auto":
            return self.augment
        known = SETS.get(parse(self.data).name)  # files of the user's own may hold anything
        return (known and known.augment) or "none"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field that decides a number, which `log` does not; without
        event transforms where there are none.
        """
        told = {**asdict(self), "input_shape": self.input_shape and list(self.input_shape)}
        del told["log"]
        transforms = list(told.pop("event_transform"))
        return told | ({"event_transform": transforms} if transforms else {})


def _read_shape(given: Any) -> tuple[int, int, int] | None:
    """Raises `UsageError` for what is neither three whole numbers nor a text of them."""
    read = given
    if given is None:
        return None
    if isinstance(given, str):
        read = [int(part) if part.strip().isdecimal() else part for part in given.split(",")]
    if not (isinstance(read, (list, tuple)) and [type(one) for one in read] == [int] * 3):
        raise UsageError(
            f"input_shape is {given!r}; expected three whole numbers, channels, height and width, "
            "such as 1,28,28"
        )
    channels, height, width = read
    return channels, height, width


def _read_controller(given: Any) -> dict[str, float | bool]:
    """Raises `UsageError` for what is no parameter of the controller, has another kind or is
    outside its range.
    """
    from ahsar_eval.homeostasis import HomeostaticParams

    pairs = given
    if isinstance(given, (list, tuple)):
        pairs = {name: _value(text) for name, _, text in (str(one).partition("=") for one in given)}
    if not isinstance(pairs, Mapping) or len(pairs) < len(given) or {*map(type, pairs)} - {str}:
        raise UsageError(
            f"controller is {given!r}; expected parameters by name, each once, such as beta = 0.2"
        )
    try:
        params = made(HomeostaticParams, **pairs)
    except (HomeostasisError, UsageError) as error:
        raise UsageError(f"controller: {error}") from error
    return {name: getattr(params, name) for name in pairs}


def _value(text: str) -> float | bool | str:
    """The number or truth value that a text says; else the text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


# Methods


@dataclass(frozen=True)
class Method:
    """`params` None means no controller; `fixed_scale`, or `layer_scales` by layer, multiplies
    thresholds in training and evaluation.
    """

    name: str
    params: "HomeostaticParams | None"
    fixed_scale: float = 1.0
    layer_scales: Mapping[str, float] = field(default_factory=dict)  # of frozen:CKPT, else empty
    source: str = ""  # SHA-256 of the file that `layer_scales` were read from

    def factors(self, layers: Iterable[str]) -> dict[str, float]:
        """Layer → the constant factor on its threshold. Raises `UsageError` when frozen scales are
        those of other layers.
        """
        layers = list(layers)
        scales = self.layer_scales or dict.fromkeys(layers, self.fixed_scale)
        for layer in (*scales, *layers):
            if layer not in scales or layer not in layers:
                raise UsageError(
                    f"method {self.name!r}: the checkpoint's scales do not fit the network, as "
                    f"only one of the two has a spiking layer {layer!r}; name a checkpoint of the "
                    "same backbone"
                )
        return {layer: scales[layer] for layer in layers}


def check_method(text: str) -> bool:
    """Whether the method has a controller. Raises `UsageError` for an unknown one; the checkpoint
    of frozen:CKPT is not opened.
    """
    if text.startswith("fixed:"):
        _factor(text)
    elif text == "frozen:":
        raise UsageError(
            f"method {text!r} names no checkpoint; expected frozen:CKPT, a file or a shipped name"
        )
    elif not (text in _ABLATIONS or text == "baseline" or text.startswith("frozen:")):
        raise UsageError(f"unknown method {text!r}; known are {', '.join(METHODS)}")
    return text in _ABLATIONS


def parse_method(text: str, params: "HomeostaticParams | None" = None) -> Method:
    """Read a method's name. Raises `UsageError` that lists the known ones, and `CheckpointError`
    for what frozen:CKPT names.
    """
    from ahsar_eval.homeostasis import HomeostaticParams

    if check_method(text):
        return Method(text, replace(params or HomeostaticParams(), **_ABLATIONS[text]))
    if not text.startswith("frozen:"):
        return Method(text, None, 1.0 if text == "baseline" else _factor(text))
    # The scales that the evaluation of an AHSAR checkpoint replays, as constants of another
    # training.
    from ahsar_eval.networks.checkpoints import load_checkpoint

    checkpoint = load_checkpoint(text.removeprefix("frozen:"))
    if checkpoint.homeostasis is None:
        raise UsageError(
            f"method {text!r}: {checkpoint.name} was trained without a controller "
            f"({checkpoint.method}), so it has no scales to freeze; name a checkpoint of ahsar"
        )
    scales = checkpoint.homeostasis.replayed_scales()
    return Method(text, None, layer_scales=scales, source=checkpoint.sha256)


def _factor(text: str) -> float:
    scale = _value(text.removeprefix("fixed:"))
    if not (isinstance(scale, float) and 0 < scale < math.inf):
        raise UsageError(
            f"method {text!r} has no usable factor; expected fixed:S with a positive number S, "
            "such as fixed:0.8"
        )
    return scale


# What a request becomes


@dataclass(frozen=True)
class Recipe:
    """What one training is, apart from network and data; a request says what may stand here."""

    method: Method
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    seed: int = 0
    device: str = "cpu"
    augment: str = "none"  # of `data.training_data.AUGMENTATIONS`
    event_transform: tuple[str, ...] = ()  # of tonic, on the recordings before they are framed
    # Of the forward and backward passes; weights, thresholds and validation are fp32.
    precision: str = "fp32"
    sensing: str = "spikes"  # how the controller senses rates


@dataclass(frozen=True)
class Prepared:
    """A request with its sets opened: what `train` takes, and `facts` about the data for the
    checkpoint's provenance.
    """

    request: TrainingRequest
    spec: "ModelSpec"
    train_split: "Split"
    validation_split: "Split"
    recipe: Recipe
    facts: dict[str, Any]


def prepare(
    request: TrainingRequest, options: DataOptions | None = None, *, frozen: Path | None = None
) -> Prepared:
    """Open the sets of a request and make network specification and recipe; nothing is trained.

    With `frozen` the scales of frozen:NAME are those of that checkpoint, whose place says nothing
    of the training. Raises `UsageError`, `DataError` or `ModelError` for what cannot work,
    `CheckpointError` for the source of `frozen:CKPT`.
    """
    from ahsar_eval.data import EventSet, View, channel_statistics, split_of
    from ahsar_eval.data.classes import check_counted_from_zero
    from ahsar_eval.data.split import parse_framing
    from ahsar_eval.data.training_data import training_sets_of
    from ahsar_eval.networks import ModelSpec

    check_installed(request.log)
    named = request.method if frozen is None else f"frozen:{frozen}"
    method = replace(parse_method(named, request.params), name=request.method)
    known = {**vars(request), "method": method, "augment": request.augmentation}
    recipe = Recipe(**{entry.name: known[entry.name] for entry in fields(Recipe)})
    train_set, validation_set = training_sets_of(vars(request), request.data, options)
    shape = request.input_shape or train_set.shape
    if shape is None:
        raise UsageError(
            f"{request.data} has images of several sizes; give the network's input with "
            "--input-shape C,H,W"
        )
    labels = train_set.labels, validation_set.labels
    check_counted_from_zero(request.data, train_set.classes, *labels)
    if shape[1] == 1 and recipe.augment != "none":
        raise UsageError(
            f"augment {recipe.augment} moves pixels of images and {request.data} is a row of "
            f"{shape[2]} channels; leave it out, or name transforms of events (--event-transform)"
        )
    if request.event_transform:
        if not isinstance(train_set, EventSet):
            raise UsageError(
                f"event_transform is of event recordings and {request.data} holds images; leave it "
                "out"
            )
        from ahsar_eval.data.events.transforms import check_transforms

        check_transforms(request.event_transform, train_set)
    framing = parse_framing(request.frames)
    view = View(shape, request.timesteps, framing)
    train_split, validation_split = split_of(train_set, view), split_of(validation_set, view)
    # Frames of events are mostly zero and stay so: a network of events is given the counts as they
    # are.
    statistics: dict[str, Any] = {}
    if not isinstance(train_set, EventSet):
        statistics["mean"], statistics["std"] = channel_statistics(train_split)
    spec = ModelSpec(
        request.backbone,
        shape,
        len(train_set.classes),
        request.width,
        request.paradigm,
        request.step_mode,
        request.timesteps,
        framing=framing,
        **statistics,
    )
    facts: dict[str, Any] = {"hold_out": request.hold_out}
    if train_set.division:
        facts["division"] = train_set.division
    if request.samples is not None:
        facts["samples"] = request.samples
    return Prepared(request, spec, train_split, validation_split, recipe, facts)
