"""The methods a network can be trained with: AHSAR, its ablations, the baseline, a fixed factor,
and AHSAR's own scales frozen.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis import HomeostaticParams
from ahsar_eval.networks.checkpoints import load_checkpoint

METHODS = (
    "ahsar",
    "baseline",
    "ahsar-no-rt",
    "ahsar-no-dh",
    "ahsar-no-gain",
    "fixed:S",
    "frozen:CKPT",
)
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
        if not self.layer_scales:
            return dict.fromkeys(layers, self.fixed_scale)
        odd = [
            layer
            for layer in (*self.layer_scales, *layers)
            if (layer in self.layer_scales) != (layer in layers)
        ]
        if odd:
            raise UsageError(
                f"method {self.name!r}: the checkpoint's scales do not fit the network, as only "
                "one of the two has a spiking layer "
                f"{odd[0]!r}; name a checkpoint of the same backbone"
            )
        return {layer: self.layer_scales[layer] for layer in layers}


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
            f"({checkpoint.method}), so it has no scales to freeze; "
            "name a checkpoint of ahsar"
        )
    return Method(
        text, None, layer_scales=checkpoint.homeostasis.replayed_scales(), source=checkpoint.sha256
    )
