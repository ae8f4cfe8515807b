"""The ANN of the same topology: dense, every layer once, a ReLU for every neuron, priced like the
spiking network.
"""

from dataclasses import dataclass

from ahsar_eval.energy.account import adds_bias
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.operators import is_folded
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.recording import Recording
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    PRODUCT,
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


def ann_energy(
    recording: Recording,
    profile: Profile,
    choices: Choices,
    *,
    spiking_pj: float,
    unpriced: tuple[tuple[str, str], ...] = (),
) -> AnnEnergy:
    """The ANN's operations per inference under the spiking network's `profile` and `choices`.

    Dense multiply-accumulates of every layer and matmul once, one addition per bias, one comparison
    per neuron (ReLU), and residual additions, poolings and unfolded batch norms once. A mean over
    time has no counterpart. `spiking_pj` is the spiking network's total, `unpriced` the (part,
    operation) that it leaves out.
    """
    macs = sum(synapse.dense_operations for synapse in recording.synapses)
    adds = sum(
        synapse.geometry.output_elements
        for synapse in recording.synapses
        if synapse.geometry is not None and adds_bias(recording, synapse, choices)
    )
    multiplies, compares = 0, sum(layer.neurons for layer in recording.layers)
    for operator in recording.operators:
        over_time = operator.kind == MEAN and operator.steps < recording.timesteps
        if operator.kind == NORMALISATION and not is_folded(recording, operator, choices):
            adds, multiplies = adds + operator.outputs, multiplies + operator.outputs
        elif operator.kind in (AVERAGE_POOL, MEAN) and not over_time:
            # Not folded: behind a ReLU there are values, and folding would multiply the MACs by the
            # window.
            adds += (operator.window - 1) * operator.outputs
            multiplies += 0 if operator.type == "sum" else operator.outputs
        elif operator.kind == MAX_POOL:
            compares += (operator.window - 1) * operator.outputs
        elif operator.kind == ADDITION:
            adds += operator.outputs
        elif operator.kind == PRODUCT:
            multiplies += operator.outputs
        elif operator.kind == MATMUL:
            macs += operator.outputs * operator.window
    counts = {"mac": macs, "add": adds, "multiply": multiplies, "compare": compares}
    missing = [
        operation
        for operation, count in counts.items()
        if count and profile.price(operation) is None
    ]
    energy = (
        None
        if missing
        else sum(count * (profile.price(operation) or 0.0) for operation, count in counts.items())
    )
    reason = f"the profile {profile.name} has no price for {_listed(missing)}" if missing else ""
    ratio = None if energy is None or energy == 0 else spiking_pj / energy
    if unpriced and not reason:
        left_out = _listed(sorted({f"{part} ({operation})" for part, operation in unpriced}))
        if any(part in ("synapses", "products") for part, _ in unpriced):
            ratio = None
        reason = f"the spiking network's energy leaves out {left_out}"
    return AnnEnergy(macs, adds, multiplies, compares, energy, ratio, profile.number_format, reason)


def _listed(names: list[str]) -> str:
    return ", ".join(names)
