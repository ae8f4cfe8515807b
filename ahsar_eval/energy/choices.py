"""What an account leaves open, as named choices: every number says which of them it was made under
(docs/energy.md).
"""

from dataclasses import asdict, dataclass
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.options import option

# Choice → its values, the default first, each with its reason.
CHOICES: dict[str, dict[str, str]] = {
    "first_layer": {
        "once": (
            "a static image gives the same product at every step, so hardware that holds it "
            "computes it once"
        ),
        "every-step": (
            "the image is fed again at every step, as many papers and a chip without a "
            "buffer for the product do"
        ),
    },
    "macs": {
        "dense": (
            "hardware for analog values does not skip zeros, and an ANN beside it is counted "
            "the same way"
        ),
        "effective": "only inputs that are not zero, as on hardware that skips them",
    },
    "average_pooling": {
        "folded": (
            "a mean and the weights behind it are one linear map, so every spike is an "
            "accumulation through the product of both"
        ),
        "dense": (
            "pooled spikes are fractions, so the layer behind them multiplies at every "
            "position; the pooling is counted, too"
        ),
        "effective": "as dense, without the pooled values that are zero",
    },
    "batch_norm": {
        "folded": (
            "at inference it is a fixed scale and shift, which the layer before it takes "
            "up; "
            "one bias addition is left"
        ),
        "counted": (
            "one multiplication and one addition per element and step, as on hardware that "
            "keeps it apart"
        ),
    },
    "event_frames": {
        "analog": "frames hold event counts, which the network was trained to take as values",
        "replayed": (
            "a count of k is k events, one synaptic operation per output each, as on "
            "hardware fed by the sensor"
        ),
    },
}


def _choice(name: str, help: str) -> Any:
    values = tuple(CHOICES[name])
    return option(help, values[0], group="energy", choices=values)


@dataclass(frozen=True)
class Choices:
    """One value of each choice; the defaults and every reason stand in `CHOICES`. Raises
    `UsageError` for a value that is not there.
    """

    first_layer: str = _choice(
        "first_layer", "Charge a layer that a static image meets once, or at every step."
    )
    macs: str = _choice(
        "macs",
        "Of analog inputs: every position with a weight, or only inputs that are not zero.",
    )
    average_pooling: str = _choice(
        "average_pooling",
        "Before weights: folded into them, or values that are multiplied (dense or where not "
        "zero).",
    )
    batch_norm: str = _choice(
        "batch_norm", "Behind a layer with weights: folded into it, or counted apart."
    )
    event_frames: str = _choice(
        "event_frames",
        "Frames of event counts: analog values, or every event replayed as a spike.",
    )

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if value not in CHOICES[name]:
                raise UsageError(
                    f"{name.replace('_', ' ')} is {value!r}; expected {' or '.join(CHOICES[name])}"
                )

    def to_dict(self) -> dict[str, str]:
        """JSON-ready mapping, choice → value."""
        return asdict(self)

    def reasons(self) -> dict[str, str]:
        """Choice → the reason of the value that was chosen."""
        return {name: CHOICES[name][value] for name, value in self.to_dict().items()}
