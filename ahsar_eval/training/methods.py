"""The methods a network can be trained with: AHSAR, its ablations, the baseline, and a fixed threshold factor."""

import math
from dataclasses import dataclass, replace

from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis import HomeostaticParams


@dataclass(frozen=True)
class Method:
    """`params` None means no controller; `fixed_scale` multiplies every threshold in training and evaluation."""

    name: str
    params: HomeostaticParams | None
    fixed_scale: float = 1.0


METHODS = ("ahsar", "baseline", "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain", "fixed:S")


def parse_method(text: str, params: HomeostaticParams | None = None) -> Method:
    """Read a method's name. Raises `UsageError` that lists the known ones."""
    params = params or HomeostaticParams()
    controllers = {
        "ahsar": params,
        "ahsar-no-rt": replace(params, gamma=0.0),
        "ahsar-no-dh": replace(params, diffusion=0.0),
        "ahsar-no-gain": replace(params, use_gain=False),
    }
    if text in controllers:
        return Method(text, controllers[text])
    if text == "baseline":
        return Method(text, None)
    if text.startswith("fixed:"):
        try:
            scale = float(text.removeprefix("fixed:"))
        except ValueError:
            scale = math.nan
        if math.isfinite(scale) and scale > 0:
            return Method(text, None, scale)
        raise UsageError(f"method {text!r} has no usable factor; expected fixed:S with a positive number S, such as fixed:0.8")
    raise UsageError(f"unknown method {text!r}; known are {', '.join(METHODS)}")
