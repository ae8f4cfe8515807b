"""What a user asks of a training, by names only, and what it becomes once its sets are opened."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ahsar_eval.data import (
    SETS,
    DataOptions,
    EventSet,
    Split,
    View,
    channel_statistics,
    parse,
    split_of,
    training_sets,
)
from ahsar_eval.data.split import parse_framing
from ahsar_eval.data.training_data import AUGMENTATIONS
from ahsar_eval.errors import HomeostasisError, ModelError, UsageError
from ahsar_eval.homeostasis import SENSING, HomeostaticParams
from ahsar_eval.networks import PARADIGMS, STEP_MODES, ModelSpec
from ahsar_eval.training.methods import Method, Recipe, check_method, check_parameters, parse_method
from ahsar_eval.training.precision import PRECISIONS

_CHOICES = {
    "paradigm": PARADIGMS,
    "step_mode": STEP_MODES,
    "augment": ("auto", "none", *AUGMENTATIONS),
    "precision": PRECISIONS,
    "sensing": SENSING,
}


@dataclass(frozen=True)
class TrainingRequest:
    """One training by names; `to_dict` is JSON-ready and `from_dict` reads it again
    (docs/training.md says what each field means).

    Raises `UsageError` for a value of another kind, a name that is not known, or controller
    parameters where there is no controller.
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
    input_shape: tuple[int, int, int] | None = None
    hold_out: float = 0.1
    # A fixed stratified part of the training samples, the hold-out taken from it.
    samples: int | None = None
    frames: str = "count"
    augment: str = "auto"  # auto: what the set calls for
    precision: str = "fp32"
    sensing: str = "spikes"
    # Parameters of `HomeostaticParams` by name.
    controller: Mapping[str, float | bool] = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = _read_value(entry.name, entry.type, getattr(self, entry.name))
            object.__setattr__(self, entry.name, value)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        if not 0 < self.hold_out < 1:
            raise UsageError(f"hold_out is {self.hold_out}; expected a fraction between 0 and 1")
        if self.samples is not None and self.samples < 2:
            raise UsageError(f"samples is {self.samples}; expected at least 2, or none for all")
        controlled = check_method(self.method)
        if self.controller and not controlled:
            raise UsageError(
                f"method {self.method!r} has no controller; leave {', '.join(self.controller)} "
                "out, or choose ahsar"
            )
        check_parameters(self.method, self.controller)
        # What recipe and network refuse is known before a set is opened.
        _ = self.params
        self.recipe(parse_method("baseline"), "none")
        any_shape = self.input_shape or (1, 1, 1)
        try:
            ModelSpec(self.backbone, any_shape, 2, width=self.width, timesteps=self.timesteps)
        except ModelError as error:
            raise UsageError(str(error)) from error

    @property
    def params(self) -> HomeostaticParams:
        """The controller's parameters: the defaults with those given. Raises `UsageError` for a
        value outside its range.
        """
        try:
            return HomeostaticParams(**self.controller)  # type: ignore[arg-type]
        except HomeostasisError as error:
            raise UsageError(f"controller: {error}") from error

    def recipe(self, method: Method, augment: str) -> Recipe:
        """The training apart from network and data. Raises `UsageError` for a value that cannot
        work.
        """
        own = {entry.name: getattr(self, entry.name) for entry in fields(Recipe)}
        return Recipe(**{**own, "method": method, "augment": augment})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field."""
        shape = None if self.input_shape is None else list(self.input_shape)
        return {**asdict(self), "input_shape": shape, "controller": dict(self.controller)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingRequest":
        """Inverse of `to_dict`; a field that is missing has its default. Raises `UsageError` for an
        unknown one.
        """
        known = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in known:
                raise UsageError(f"a training has no field {name!r}; known are {', '.join(known)}")
        return cls(**values)


@dataclass(frozen=True)
class Prepared:
    """A request with its sets opened: what `train` takes, and `facts` about the data for the
    checkpoint's provenance.
    """

    request: TrainingRequest
    spec: ModelSpec
    train_split: Split
    validation_split: Split
    recipe: Recipe
    facts: dict[str, Any]


def prepare(request: TrainingRequest, options: DataOptions | None = None) -> Prepared:
    """Open the sets of a request and make network specification and recipe; nothing is trained.

    Raises `UsageError`, `DataError` or `ModelError` for what cannot work, `CheckpointError` for the
    source of `frozen:CKPT`.
    """
    recipe = request.recipe(parse_method(request.method, request.params), _augmentation(request))
    data, hold_out, seed = request.data, request.hold_out, request.seed
    train_set, validation_set = training_sets(
        data, hold_out=hold_out, seed=seed, samples=request.samples, options=options
    )
    shape = request.input_shape or train_set.shape
    if shape is None:
        raise UsageError(
            f"{data} has images of several sizes; give the network's input with --input-shape C,H,W"
        )
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
    facts: dict[str, Any] = {"hold_out": hold_out}
    if train_set.division:
        facts["division"] = train_set.division
    if request.samples is not None:
        facts["samples"] = request.samples
    return Prepared(request, spec, train_split, validation_split, recipe, facts)


def _augmentation(request: TrainingRequest) -> str:
    if request.augment != "auto":
        return request.augment
    known = SETS.get(parse(request.data).name)  # files of the user's own may hold anything
    return (known.augment if known is not None else "") or "none"


def _read_value(name: str, kind: Any, value: Any) -> Any:
    """A field's value as it is kept. Raises `UsageError` when it is of another kind."""
    if name == "controller":
        return _read_controller(value)
    if value is None and name in ("input_shape", "samples"):
        return None
    if name == "input_shape":
        fits = isinstance(value, (list, tuple)) and len(value) == 3 and all(map(_is_whole, value))
        expected = "three whole numbers: channels, height, width"
    elif kind is float:
        fits, expected = _is_number(value) and math.isfinite(value), "a finite number"
    elif kind is str:
        fits, expected = isinstance(value, str), "a text"
    else:
        fits, expected = _is_whole(value), "a whole number"
    if not fits:
        raise UsageError(f"{name} is {value!r}; expected {expected}")
    return tuple(value) if name == "input_shape" else float(value) if kind is float else value


def _read_controller(value: Any) -> dict[str, float | bool]:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"controller is {value!r}; expected parameters by name, such as beta = 0.2"
        )
    kinds = {entry.name: type(entry.default) for entry in fields(HomeostaticParams)}
    read: dict[str, float | bool] = {}
    for name, given in value.items():
        if name not in kinds:
            raise UsageError(
                f"the controller has no parameter {name!r}; known are {', '.join(kinds)}"
            )
        kind, expected = kinds[name], "true or false" if kinds[name] is bool else "a number"
        if not (isinstance(given, bool) if kind is bool else _is_number(given)):
            raise UsageError(f"the controller's {name} is {given!r}; expected {expected}")
        read[name] = given if kind is bool else float(given)
    return read


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float)
