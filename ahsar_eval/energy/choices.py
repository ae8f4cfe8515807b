"""What an account leaves open, as named choices: every number says which of them it was made under
(docs/energy.md).
"""

from dataclasses import asdict, dataclass

from ahsar_eval.errors import UsageError

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


@dataclass(frozen=True)
class Choices:
    """One value of each choice; the defaults and every reason stand in `CHOICES`. Raises
    `UsageError` for a value that is not there.
    """

    first_layer: str = "once"
    macs: str = "dense"
    average_pooling: str = "folded"
    batch_norm: str = "folded"
    event_frames: str = "analog"

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
