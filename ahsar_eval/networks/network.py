"""What a network is, as a value: enough to build it again without the code that trained it; and a
backbone with its time axis: the only place where a static image is repeated and where step modes
and paradigms differ.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import AhsarError, ModelError, UsageError, misread
from ahsar_eval.networks.behaviour import Behaviour, behaviour_of
from ahsar_eval.networks.calls import TAKES, Calls
from ahsar_eval.options import checked

Shape = tuple[int, ...]  # of a tensor, without the axes that are said to lead
PARADIGMS = ("bptt", "rate")
STEP_MODES = ("s", "m")


def check_fields(holder: object, *checks: tuple[str, bool, str]) -> None:
    """Raise `ModelError` for the first field that does not hold: name, whether it does, and what is
    expected of it.
    """
    for name, holds, expected in checks:
        if not holds:
            raise ModelError(f"{name} is {getattr(holder, name)!r}; expected {expected}")


@dataclass(frozen=True)
class ModelSpec:
    """Specification of a spiking network (docs/method.md, sections 6 and 8).

    `backbone` is a name of the catalogue ('vgg13', 'resnet18', 'mlp:256,128') or
    'package.module:function' for a user's network. `input_shape` is (C, H, W); with `vector` a
    user's network takes what one channel and one row hold as a vector, (W,). `mean` and `std`, one
    number per channel, normalise an image in [0, 1] before the first layer; they belong to the
    network, so that every set shown to it is normalised as its training set was. `framing` says how
    event recordings become frames (`ahsar_eval.data.split.parse_framing`). Raises `ModelError` for
    a value outside its range.
    """

    backbone: str
    input_shape: tuple[int, int, int]
    classes: int
    width: float = 1.0
    paradigm: str = "bptt"
    step_mode: str = "m"
    timesteps: int = 6
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    tau: float = 1.25  # decay factor λ = 1 − 1/τ = 0.2
    v_threshold: float = 1.0
    v_reset: float | None = None  # None is soft reset: the threshold is subtracted
    decay_input: bool = False
    detach_reset: bool = True
    surrogate_alpha: float = 4.0
    # how event recordings become T frames: count, time, or the duration of one frame, 1000us or
    # 1000us@0
    framing: str = "count"
    vector: bool = False
    calls: str = ""  # what a user's network takes and gives (`calls.Calls`); '' by its step mode

    def __post_init__(self) -> None:
        channels = next(iter(self.input_shape), 0)
        per_channel = [
            len(values) in (1, channels) and all(map(math.isfinite, values))
            for values in (self.mean, self.std)
        ]
        check_fields(
            self,
            ("paradigm", self.paradigm in PARADIGMS, f"one of {', '.join(PARADIGMS)}"),
            (
                "step_mode",
                self.step_mode in STEP_MODES,
                "s (step by step) or m (all steps in one call)",
            ),
            (
                "input_shape",
                len(self.input_shape) == 3 and channels in (1, 2, 3) and min(self.input_shape) > 0,
                "channels (1 grey, 2 event polarities, 3 colours), height and width from 1",
            ),
            ("classes", self.classes >= 2, "at least 2"),
            ("timesteps", self.timesteps >= 1, "at least 1"),
            ("width", 0 < self.width < math.inf, "a positive number (1 is the paper's)"),
            ("v_threshold", 0 < self.v_threshold < math.inf, "a positive number"),
            ("tau", self.tau > 1, "more than 1"),
            ("mean", per_channel[0], "one finite number, or one per channel"),
            (
                "std",
                per_channel[1] and min(self.std) > 0,
                "one positive finite number, or one per channel",
            ),
            (
                "framing",
                re.fullmatch(r"count|time|[1-9][0-9]{0,17}us(@0)?", self.framing) is not None,
                "count, time, or the microseconds of one frame, such as 1000us or 1000us@0",
            ),
        )

    @property
    def is_user_network(self) -> bool:
        """Whether `backbone` names a user's function rather than a network of the catalogue."""
        return ":" in self.backbone and not self.backbone.startswith("mlp:")

    @property
    def sample_shape(self) -> Shape:
        """Of what the network takes of a sample and step."""
        return self.input_shape[2:] if self.vector else self.input_shape

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field."""
        values = asdict(self)
        for name in ("calls", "vector"):  # of no network of the catalogue
            if not values[name]:
                del values[name]
        return {
            n: list(value) if isinstance(value, tuple) else value for n, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelSpec":
        """Inverse of `to_dict`. Raises `ModelError` for an unknown, missing or mistyped field."""
        what = "the model specification is malformed"
        with misread(ModelError, what, "made by another version?"):
            # as checkpoints meant before these were fields
            given = {"framing": "count", "calls": "", "vector": False, **values}
            try:
                read = {field.name: checked(field, given[field.name]) for field in fields(cls)}
            except UsageError as error:
                raise ModelError(f"{what}: {error}") from error
            return cls(**{**given, **read})


@dataclass(frozen=True)
class NirSettings:
    """What a NIR file does not say and its user must: T, how events become frames, and how the
    equations run in steps.

    `input_shape` (C, H, W) is needed only where the file has none, or a flat one. `reset` is
    'subtract' or 'zero' for a file that does not decide it, or 'late': the threshold is subtracted
    in the next step, after its leak. `spikes_per_step` 'many' lets a neuron fire as often in one
    step as its potential holds thresholds. `dt` is the length of a step in the unit of the file's
    time constants τ; what leaks in it is dt/τ ('euler'), or 1 − exp(−dt/τ) ('exact'). No potential
    goes below `v_min`.
    """

    timesteps: int | None = None
    framing: str | None = None
    input_shape: tuple[int, int, int] | None = None
    reset: str | None = None
    spikes_per_step: str = "one"
    dt: float = 1.0
    integration: str = "euler"
    v_min: float | None = None


class SpikingNet(nn.Module):
    """A spiking backbone under one call, [T, N, C, H, W] → logits [T, N, K], whatever its step mode
    and paradigm.

    Input with T = 1 is a static image, shown at every one of `spec.timesteps` steps; any other T
    must equal `spec.timesteps`. Images in [0, 1] are normalised with the specification's mean and
    std. In training mode with gradients on, a specification of the paradigm "rate" runs rate-based
    backpropagation; everywhere else a network spikes. Raises `ModelError` when input or logits have
    another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.spec = spec
        self.found: Behaviour | None = None
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    def reset(self) -> None:
        """Forget membrane potentials: to be called before every batch."""
        functional.reset_net(self.backbone)
        if self.found is not None and self.found.kept is not None:
            self.found.kept.put_back()

    def find_calls(self) -> Behaviour:
        """Find by calling the backbone, as it is now, how it is called, and do so from here on.
        Raises `ModelError`.
        """
        spec, training = self.spec, self.training
        self.eval()
        find = partial(
            behaviour_of,
            self.backbone,
            timesteps=spec.timesteps,
            classes=spec.classes,
            calls=spec.calls,
        )
        try:
            found = replace(find(shape=spec.sample_shape), vector=spec.vector)
        except ModelError as error:
            if spec.vector or spec.input_shape[:-1] != (1, 1):
                raise ModelError(f"{spec.backbone}: {error}") from error
            try:  # what one row holds, as a vector
                found = find(shape=spec.input_shape[2:])
            except ModelError:
                raise ModelError(f"{spec.backbone}: {error}") from error
            found = replace(found, vector=True)
        self.train(training)
        if found.inside not in (None, spec.timesteps):
            raise ModelError(
                f"{spec.backbone} makes {found.inside} time steps of an image itself, and T is "
                f"{spec.timesteps}; give --timesteps {found.inside}"
            )
        self._runs(found)
        return found

    def calls_like(self, found: Behaviour) -> None:
        """Call the backbone as `found` of another copy of it."""
        kept = None if found.kept is None else found.kept.of(self.backbone)
        self._runs(replace(found, kept=kept))

    def _runs(self, found: Behaviour) -> None:
        mode = "s" if found.calls.by_step else "m"
        self.spec = replace(self.spec, calls=str(found.calls), step_mode=mode, vector=found.vector)
        self.found = found

    @property
    def alone(self) -> bool:
        """Whether samples run one by one: no batch holds two."""
        return self.draws or self.calls.alone

    @property
    def draws(self) -> bool:
        """Whether its forward draws random numbers."""
        return self.found is not None and self.found.chance

    @property
    def gives_steps(self) -> bool:
        """Whether it gives an output for every time step."""
        return self.spec.timesteps == 1 or self.calls.by_step or self.calls.gives != "N"

    @property
    def calls(self) -> Calls:
        """What the backbone takes and gives."""
        if self.found is not None:
            return self.found.calls
        return Calls("step", "N") if self.spec.step_mode == "s" else Calls("TN", "TN")

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights; float32 where it has none."""
        kinds = (weight.dtype for weight in self.parameters() if weight.is_floating_point())
        return next(kinds, torch.float32)

    @contextmanager
    def evaluating(self, device: str) -> Iterator[None]:
        """In evaluation mode on `device` while the block runs; its state is forgotten before and
        after.
        """
        were_training = {module: module.training for module in self.modules()}
        self.reset()
        try:
            self.eval().to(device)
            yield
        finally:
            self.reset()
            for module, training in were_training.items():
                module.training = training

    def units(self) -> dict[str, tuple[str, ...]] | None:
        """The units a controller regulates: blocks in multi-step mode, layers (None) in single-step
        mode.
        """
        blocks = getattr(self.backbone, "units", None)
        return blocks if self.spec.step_mode == "m" and isinstance(blocks, dict) else None

    def _spiking(self, x: Tensor) -> Tensor:
        """Logits of all time steps as the backbone gives them, [T, N, K] or [N, K]."""
        if self.calls.takes == "N" and len(x) > 1:
            raise ModelError(
                f"{self.spec.backbone} takes one image and makes the time steps itself; the frames "
                f"of an event recording, here {len(x)}, cannot be shown to it"
            )
        steps = x.expand(self.spec.timesteps, *x.shape[1:])
        network = partial(self._called, self.backbone)
        if not self.calls.alone or x.shape[1] == 1:
            return self.calls.run(network, steps)
        rows = []
        for sample in torch.split(steps, 1, dim=1):
            self.reset()
            rows.append(self.calls.run(network, sample))
        return torch.cat(rows, 1)

    def _rate_based(self, x: Tensor) -> Tensor:
        """The same values, whose gradient is that of one pass over rates (rate-based
        backpropagation, docs/method.md).
        """
        from ahsar_eval.networks.rate_pass import Passes

        if self.calls.takes == "N":
            raise ModelError(
                f"{self.spec.backbone} makes the time steps of an image itself, and rate-based "
                "backpropagation runs one pass over rates in their place; train it with bptt"
            )
        passes = Passes(self.backbone, 1 if self.spec.step_mode == "m" else self.spec.timesteps)
        with passes.spikes(), torch.no_grad():
            logits = self._spiking(x)
        with passes.rates():
            # Not `backbone(…)`: hooks on the network, such as a controller's, count steps, and this
            # is no further one. In single-step mode the step just past has left its potentials and
            # its input: the rate pass takes the latter.
            rates = partial(self._called, self.backbone.forward)
            if self.calls.takes == "step":
                mean = rates(x[-1])
            else:
                mean = self.calls.run(rates, x.mean(0, keepdim=True))
        return logits + (mean - mean.detach())

    def _called(self, call: Callable[..., Any], x: Tensor, *state: Any) -> Any:
        if not self.spec.is_user_network:
            return call(x)
        try:
            return call(x, *state)
        except (AhsarError, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if reason.startswith("Inference tensors"):
                raise ModelError(
                    f"{self.spec.backbone} runs in torch.inference_mode, in which what is written "
                    "into tensors cannot be followed; take it off the forward (gradients are off "
                    "in any case)"
                ) from error
            raise ModelError(
                f"{self.spec.backbone} failed on an input of shape {tuple(x.shape)}: {reason}; it "
                f"is called with {TAKES[self.calls.takes]}"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Logits [T, N, K]; a multi-step backbone that averages over time itself gives T = 1."""
        spec, shape = self.spec, tuple(x.shape)
        if shape[2:] != tuple(spec.input_shape) or shape[0] not in (1, spec.timesteps):
            raise ModelError(
                f"the input has shape {shape}; expected [T, N, C, H, W] = [1 or {spec.timesteps}, "
                f"N, {', '.join(map(str, spec.input_shape))}]"
            )
        x = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        if spec.vector:
            x = x.flatten(2)
        rate_based = spec.paradigm == "rate" and self.training and torch.is_grad_enabled()
        logits = self._rate_based(x) if rate_based else self._spiking(x)
        logits = logits[None] if logits.dim() == 2 else logits
        if logits.dim() != 3 or logits.shape[1:] != (x.shape[1], spec.classes):
            raise ModelError(
                f"the network's output has shape {tuple(logits.shape)}; expected logits [T, N, K] "
                f"= [{spec.timesteps}, {x.shape[1]}, {spec.classes}]"
            )
        return logits
