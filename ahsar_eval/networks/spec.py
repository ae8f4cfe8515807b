"""What a network is, as a value: enough to build it again without the code that trained it."""

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from ahsar_eval.errors import ModelError

PARADIGMS = ("bptt", "rate")
STEP_MODES = ("s", "m")


@dataclass(frozen=True)
class ModelSpec:
    """Specification of a spiking network (docs/method.md, sections 6 and 8).

    `backbone` is a name of the catalogue ('vgg13', 'resnet18') or 'package.module:function' for a
    user's network. `input_shape` is (C, H, W). `mean` and `std`, one number per channel, normalise
    an image in [0, 1] before the first layer; they belong to the network, so that every set shown
    to it is normalised as its training set was. `framing` says how event recordings become frames
    (`ahsar_eval.data.events.frames`). Raises `ModelError` for a value outside its range.
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

    def __post_init__(self) -> None:
        if self.paradigm not in PARADIGMS:
            raise ModelError(
                f"paradigm is {self.paradigm!r}; expected one of {', '.join(PARADIGMS)}"
            )
        if self.step_mode not in STEP_MODES:
            raise ModelError(
                f"step mode is {self.step_mode!r}; expected s (step by step) or m (all steps in "
                "one call)"
            )
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise ModelError(
                f"input shape is {self.input_shape}; expected channels, height and width, each at "
                "least 1"
            )
        if self.input_shape[0] not in (1, 2, 3):
            raise ModelError(
                f"the input has {self.input_shape[0]} channels; expected 1 (grey), 2 (event "
                "polarities) or 3 (colour)"
            )
        if self.classes < 2:
            raise ModelError(f"the number of classes is {self.classes}; expected at least 2")
        if self.timesteps < 1:
            raise ModelError(f"timesteps is {self.timesteps}; expected at least 1")
        if not (math.isfinite(self.width) and self.width > 0):
            raise ModelError(
                f"width is {self.width}; expected a positive number (1 is the paper's)"
            )
        if not (math.isfinite(self.v_threshold) and self.v_threshold > 0):
            raise ModelError(f"v_threshold is {self.v_threshold}; expected a positive number")
        if not self.tau > 1:
            raise ModelError(f"tau is {self.tau}; expected more than 1")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) not in (1, self.input_shape[0]) or not all(map(math.isfinite, values)):
                raise ModelError(
                    f"{name} is {values}; expected one finite number, or one per channel "
                    f"({self.input_shape[0]})"
                )
        if min(self.std) <= 0:
            raise ModelError(f"std is {self.std}; expected positive numbers")
        if re.fullmatch(r"count|time|[1-9][0-9]{0,17}us(@0)?", self.framing) is None:
            raise ModelError(
                f"framing is {self.framing!r}; expected count, time, or the microseconds of one "
                "frame, such as 1000us or 1000us@0"
            )

    @property
    def is_user_network(self) -> bool:
        """Whether `backbone` names a user's function rather than a network of the catalogue."""
        return ":" in self.backbone

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field."""
        return {
            **dataclasses.asdict(self),
            "input_shape": list(self.input_shape),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelSpec":
        """Inverse of `to_dict`. Raises `ModelError` for an unknown, missing or mistyped field."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {"framing": "count", **values}  # what checkpoints meant before the field was there
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise ModelError(
                f"the model specification differs from the expected fields in {', '.join(odd)}; "
                "made by another version?"
            )
        try:
            return cls(
                **{
                    **values,
                    "input_shape": tuple(int(n) for n in values["input_shape"]),
                    "mean": tuple(map(float, values["mean"])),
                    "std": tuple(map(float, values["std"])),
                }
            )
        except (TypeError, ValueError) as error:
            raise ModelError(f"the model specification is malformed: {error}") from error
