"""What an account leaves open, as named choices: every number says which of them it was made under
(docs/energy.md gives the reason of each default).
"""

from dataclasses import dataclass, fields

from ahsar_eval.errors import UsageError
from ahsar_eval.options import described

# What each treatment of frames of events rests on.
EVENT_FRAMES = {
    "analog": "frames hold event counts, which the network was trained to take as values",
    "replayed": (
        "a count of k is k events, one synaptic operation per output each, as on hardware fed by "
        "the sensor"
    ),
}


@dataclass(frozen=True)
@described(__file__, "choices.toml", group="energy")
class Choices:
    """One value of each choice. Raises `UsageError` for a value that is not there."""

    # As many papers do, and a chip without a buffer for the product: every step.
    first_layer: str = "once"
    macs: str = "dense"
    # Not folded, pooled spikes are fractions, so the layer behind them multiplies; the pooling is
    # counted, too.
    average_pooling: str = "folded"
    # Folded, one bias addition is left; counted, a multiplication and an addition per element.
    batch_norm: str = "folded"
    event_frames: str = "analog"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, known = getattr(self, field.name), field.metadata["choices"]
            if value not in known:
                name = field.name.replace("_", " ")
                raise UsageError(f"{name} is {value!r}; expected {' or '.join(known)}")
