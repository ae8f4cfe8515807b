"""What an account leaves open, as named choices: every number says which of them it was made under
(docs/energy.md gives the reason of each default).
"""

from dataclasses import dataclass, fields
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.options import option

# What each treatment of frames of events rests on.
EVENT_FRAMES = {
    "analog": "frames hold event counts, which the network was trained to take as values",
    "replayed": (
        "a count of k is k events, one synaptic operation per output each, as on hardware fed by "
        "the sensor"
    ),
}


def _choice(help: str, *values: str) -> Any:
    return option(help, values[0], group="energy", choices=values)


@dataclass(frozen=True)
class Choices:
    """One value of each choice. Raises `UsageError` for a value that is not there."""

    # As many papers do, and a chip without a buffer for the product: every step.
    first_layer: str = _choice(
        "Charge a layer that a static image meets once, or at every step.", "once", "every-step"
    )
    macs: str = _choice(
        "Of analog inputs: every position with a weight, or only inputs that are not zero.",
        "dense",
        "effective",
    )
    # Not folded, pooled spikes are fractions, so the layer behind them multiplies; the pooling is
    # counted, too.
    average_pooling: str = _choice(
        "Before weights: folded into them, or values that are multiplied (dense or where not "
        "zero).",
        "folded",
        "dense",
        "effective",
    )
    # Folded, one bias addition is left; counted, a multiplication and an addition per element.
    batch_norm: str = _choice(
        "Behind a layer with weights: folded into it, or counted apart.", "folded", "counted"
    )
    event_frames: str = _choice(
        "Frames of event counts: analog values, or every event replayed as a spike.", *EVENT_FRAMES
    )

    def __post_init__(self) -> None:
        for field in fields(self):
            value, known = getattr(self, field.name), field.metadata["choices"]
            if value not in known:
                name = field.name.replace("_", " ")
                raise UsageError(f"{name} is {value!r}; expected {' or '.join(known)}")
