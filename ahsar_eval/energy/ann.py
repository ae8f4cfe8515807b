"""What a spiking network is compared with: the ANN of the same topology (dense, every layer once, a
ReLU for every neuron, priced alike), and the points at which published studies break even.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ahsar_eval.energy.account import Rules
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.recording import Recording, SynapseActivity
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    PRODUCT,
)

SPIKES_PER_SYNAPSE, RATE = "spikes per synapse per inference", "spikes per neuron and step"
_DAMPFHOFFER = (
    "M. Dampfhoffer et al., Are SNNs really more energy-efficient than ANNs? An in-depth "
    "hardware-aware study, IEEE TETCI 7(3), 2023"
)
_YAN = (
    "Z. Yan et al., Reconsidering the energy efficiency of spiking neural networks, "
    "arXiv:2409.08290, 2024"
)


class Point(NamedTuple):
    """A published break-even point: below `limit` the spiking network was found to need less energy
    than `against`, for `timesteps` steps where the study says so.
    """

    quantity: str
    limit: float
    against: str
    source: str
    timesteps: int | None = None


_EFFICIENT = "the most efficient ANN hardware considered (non-leaky neurons)"
_INEFFICIENT = "the least efficient ANN hardware considered (non-leaky neurons)"
_LOW_BIT = "a 3-bit ANN, on typical neuromorphic hardware (earlier versions of the paper: 0.064)"
BREAK_EVEN_POINTS = (
    Point(SPIKES_PER_SYNAPSE, 0.15, _EFFICIENT, _DAMPFHOFFER),
    Point(SPIKES_PER_SYNAPSE, 1.38, _INEFFICIENT, _DAMPFHOFFER),
    Point(RATE, 0.057, _LOW_BIT, _YAN, 5),
)


@dataclass(frozen=True)
class AnnEnergy:
    """Operations of one inference of the ANN, its energy, and `ratio` = spiking network / ANN
    (below 1: the spiking network is cheaper).

    `energy_pj` is None where the profile lacks a price that the ANN needs, `ratio` also where
    synaptic operations of the spiking network are unpriced; `reason` says so. Where it names other
    unpriced operations, the ratio leaves them out.
    """

    macs: int
    adds: int
    multiplies: int
    compares: int
    energy_pj: float | None
    ratio: float | None
    number_format: str
    reason: str = ""


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


def ann_energy(
    recording: Recording,
    profile: Profile,
    choices: Choices,
    *,
    spiking_pj: float,
    unpriced: Sequence[tuple[str, str]] = (),
) -> AnnEnergy:
    """The ANN's operations per inference under the spiking network's `profile` and `choices`.

    Dense multiply-accumulates of every layer and matmul once, one addition per bias, one comparison
    per neuron (ReLU), and residual additions, poolings and unfolded batch norms once. A mean over
    time has no counterpart. `spiking_pj` is the spiking network's total, `unpriced` the (part,
    operation) that it leaves out.
    """
    rules = Rules(recording, choices)
    counts = {
        "mac": sum(synapse.dense_operations for synapse in recording.synapses),
        "add": sum(
            synapse.geometry.output_elements
            for synapse in recording.synapses
            if synapse.geometry is not None and rules.adds_bias(synapse)
        ),
        "multiply": 0,
        "compare": sum(layer.neurons for layer in recording.layers),
    }
    for operator in recording.operators:
        kind, outputs = operator.kind, operator.outputs
        over_time = kind == MEAN and operator.steps < recording.timesteps
        if kind == NORMALISATION and not rules.is_folded(operator):
            counts["add"] += outputs
            counts["multiply"] += outputs
        elif kind in (AVERAGE_POOL, MEAN) and not over_time:
            # Not folded: behind a ReLU there are values, and folding would multiply the MACs by the
            # window.
            counts["add"] += (operator.window - 1) * outputs
            counts["multiply"] += 0 if operator.type == "sum" else outputs
        elif kind == MAX_POOL:
            counts["compare"] += (operator.window - 1) * outputs
        elif kind == MATMUL:
            counts["mac"] += outputs * operator.window
        elif kind in (ADDITION, PRODUCT):
            counts["add" if kind == ADDITION else "multiply"] += outputs
    prices = {operation: profile.price(operation) for operation in counts}
    missing = [
        operation for operation, count in counts.items() if count and prices[operation] is None
    ]
    energy = None if missing else sum(n * (prices[name] or 0.0) for name, n in counts.items())
    ratio, reason = spiking_pj / energy if energy else None, ""
    if missing:
        reason = f"the profile {profile.name} has no price for {', '.join(missing)}"
    elif unpriced:
        left_out = sorted({f"{part} ({operation})" for part, operation in unpriced})
        reason = f"the spiking network's energy leaves out {', '.join(left_out)}"
        if any(part in ("synapses", "products") for part, _ in unpriced):
            ratio = None
    return AnnEnergy(
        macs=counts["mac"],
        adds=counts["add"],
        multiplies=counts["multiply"],
        compares=counts["compare"],
        energy_pj=energy,
        ratio=ratio,
        number_format=profile.number_format,
        reason=reason,
    )


def synapses_of(recording: Recording, synapse: SynapseActivity) -> int | None:
    """Connections that spikes can take through a layer: its own, times the window of an average
    pooling that is folded into it.

    None where that window is not known.
    """
    if synapse.kind != "pooled spikes":
        return synapse.dense_operations
    for operator in recording.operators:
        if operator.kind == AVERAGE_POOL and synapse.name in operator.folded_into:
            return synapse.dense_operations * operator.window
    return None


def break_even(
    spikes_per_synapse: float | None, rate: float | None, timesteps: int
) -> tuple[BreakEven, ...]:
    """Where a run stands against every published point."""
    found = []
    for point in BREAK_EVEN_POINTS:
        steps = point.timesteps
        value = spikes_per_synapse if point.quantity == SPIKES_PER_SYNAPSE else rate
        reason = ""
        if steps is not None and steps != timesteps:
            reason = f"it holds for T = {steps}, and the run has T = {timesteps}"
        elif value is None:
            reason = "no layer receives spikes through a known number of synapses"
        below = None if reason or value is None else value < point.limit
        found.append(BreakEven(*point[:4], value, below, reason))
    return tuple(found)
