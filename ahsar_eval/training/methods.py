"""What one training is, apart from network and data: its recipe, and the methods a network can be
trained with: AHSAR, its ablations, the baseline, a fixed factor, and AHSAR's own scales frozen.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ahsar_eval.data.training_data import AUGMENTATIONS
from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis import HomeostaticParams
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.recording.execution import warn_of_slow_bf16
from ahsar_eval.training.precision import PRECISIONS

METHODS = tuple("ahsar baseline ahsar-no-rt ahsar-no-dh ahsar-no-gain fixed:S frozen:CKPT".split())
_ABLATIONS: dict[str, dict[str, Any]] = {
    "ahsar": {},
    "ahsar-no-rt": {"gamma": 0.0},
    "ahsar-no-dh": {"diffusion": 0.0},
    "ahsar-no-gain": {"use_gain": False},
}


@dataclass(frozen=True)
class Method:
    """`params` None means no controller; `fixed_scale`, or `layer_scales` by layer, multiplies
    thresholds in training and evaluation.
    """

    name: str
    params: HomeostaticParams | None
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
            if layer in scales and layer in layers:
                continue
            raise UsageError(
                f"method {self.name!r}: the checkpoint's scales do not fit the network, as only "
                f"one of the two has a spiking layer {layer!r}; name a checkpoint of the same "
                "backbone"
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


def check_parameters(text: str, names: Iterable[str]) -> None:
    """Refuse a parameter of the controller that the ablation `text` itself decides. Raises
    `UsageError`.
    """
    for name in names:
        if name in _ABLATIONS.get(text, {}):
            raise UsageError(
                f"method {text!r} is AHSAR at {name} = {_ABLATIONS[text][name]!r}; leave {name} "
                "out, or choose ahsar"
            )


def parse_method(text: str, params: HomeostaticParams | None = None) -> Method:
    """Read a method's name. Raises `UsageError` that lists the known ones, and `CheckpointError`
    for what frozen:CKPT names.
    """
    if check_method(text):
        return Method(text, replace(params or HomeostaticParams(), **_ABLATIONS[text]))
    if text.startswith("fixed:"):
        return Method(text, None, _factor(text))
    return _frozen(text) if text.startswith("frozen:") else Method(text, None)


def _factor(text: str) -> float:
    try:
        scale = float(text.removeprefix("fixed:"))
    except ValueError:
        scale = math.nan
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(
            f"method {text!r} has no usable factor; expected fixed:S with a positive number S, "
            "such as fixed:0.8"
        )
    return scale


def _frozen(text: str) -> Method:
    """The scales that the evaluation of an AHSAR checkpoint replays, as constants of another
    training.
    """
    checkpoint = load_checkpoint(text.removeprefix("frozen:"))
    if checkpoint.homeostasis is None:
        raise UsageError(
            f"method {text!r}: {checkpoint.name} was trained without a controller "
            f"({checkpoint.method}), so it has no scales to freeze; name a checkpoint of ahsar"
        )
    scales = checkpoint.homeostasis.replayed_scales()
    return Method(text, None, layer_scales=scales, source=checkpoint.sha256)


@dataclass(frozen=True)
class Recipe:
    """What one training is, apart from network and data. Raises `UsageError` for a value that
    cannot work.
    """

    method: Method
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    seed: int = 0
    device: str = "cpu"
    augment: str = "none"  # of `data.training_data.AUGMENTATIONS`
    # Of the forward and backward passes; weights, thresholds and validation are fp32.
    precision: str = "fp32"
    sensing: str = "spikes"  # how the controller senses rates

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise UsageError(
                f"epochs = {self.epochs}, batch size = {self.batch_size}; expected at least 1 "
                "epoch and a batch of at least 2"
            )
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise UsageError(
                f"learning rate {self.learning_rate} or weight decay {self.weight_decay} is "
                "unusable; expected 1e-3 and 5e-4 or the like"
            )
        if not 0 <= self.seed < 2**31:
            raise UsageError(
                f"the seed is {self.seed}; expected a whole number from 0 to 2147483647"
            )
        if self.augment not in ("none", *AUGMENTATIONS):
            raise UsageError(
                f"no augmentation {self.augment!r}; known are none, {', '.join(AUGMENTATIONS)}"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        if self.precision == "fp16" and torch.device(self.device).type != "cuda":
            raise UsageError(
                f"precision fp16 needs a GPU and the device is {self.device}; use bf16, or "
                "--device cuda"
            )
        warn_of_slow_bf16(self.precision, self.device)
