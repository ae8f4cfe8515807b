"""Spikes per synapse per inference, beside the points at which published studies found spiking
networks to break even with ANNs.
"""

from dataclasses import dataclass

from ahsar_eval.recording import Recording, SynapseActivity
from ahsar_eval.recording.activity import AVERAGE_POOL

SPIKES_PER_SYNAPSE, RATE = "spikes per synapse per inference", "spikes per neuron and step"

_DAMPFHOFFER = (
    "M. Dampfhoffer et al., Are SNNs really more energy-efficient than ANNs? An "
    "in-depth "
    "hardware-aware study, IEEE TETCI 7(3), 2023"
)
_YAN = (
    "Z. Yan et al., Reconsidering the energy efficiency of spiking neural networks, "
    "arXiv:2409.08290, 2024"
)


@dataclass(frozen=True)
class Point:
    """A published break-even point: below `limit` the spiking network was found to need less energy
    than `against`.
    """

    quantity: str
    limit: float
    against: str
    source: str
    timesteps: int | None = None  # the number of steps it holds for


BREAK_EVEN_POINTS = (
    Point(
        SPIKES_PER_SYNAPSE,
        0.15,
        "the most efficient ANN hardware considered (non-leaky neurons)",
        _DAMPFHOFFER,
    ),
    Point(
        SPIKES_PER_SYNAPSE,
        1.38,
        "the least efficient ANN hardware considered (non-leaky neurons)",
        _DAMPFHOFFER,
    ),
    Point(
        RATE,
        0.057,
        "a 3-bit ANN, on typical neuromorphic hardware (earlier versions of the paper: 0.064)",
        _YAN,
        5,
    ),
)


@dataclass(frozen=True)
class BreakEven:
    """One published break-even point and where a run stands: `below` is None where the run cannot
    be compared, and `reason` says why.
    """

    quantity: str
    limit: float
    against: str
    source: str
    value: float | None
    below: bool | None
    reason: str = ""


def synapses_of(recording: Recording, synapse: SynapseActivity) -> int | None:
    """Connections that spikes can take through a layer: its own, times the window of an average
    pooling that is folded into it.

    None where that window is not known.
    """
    if synapse.kind != "pooled spikes":
        return synapse.dense_operations
    pools = [
        operator
        for operator in recording.operators
        if operator.kind == AVERAGE_POOL and synapse.name in operator.folded_into
    ]
    return synapse.dense_operations * pools[0].window if pools else None


def mean_rate(recording: Recording) -> float | None:
    """Spikes per neuron and step over all spiking layers and samples; None without a
    spiking layer."""
    neurons = sum(layer.neurons for layer in recording.layers)
    spikes = sum(int(layer.spikes.sum()) for layer in recording.layers)
    return spikes / (neurons * recording.timesteps * len(recording)) if neurons else None


def break_even(
    spikes_per_synapse: float | None, rate: float | None, timesteps: int
) -> tuple[BreakEven, ...]:
    """Where a run stands against every published point."""
    found = []
    for point in BREAK_EVEN_POINTS:
        value = spikes_per_synapse if point.quantity == SPIKES_PER_SYNAPSE else rate
        reason = (
            ""
            if value is not None
            else "no layer receives spikes through a known number of synapses"
        )
        if point.timesteps is not None and point.timesteps != timesteps:
            reason = f"it holds for T = {point.timesteps}, and the run has T = {timesteps}"
        below = None if reason or value is None else value < point.limit
        found.append(
            BreakEven(
                point.quantity, point.limit, point.against, point.source, value, below, reason
            )
        )
    return tuple(found)
