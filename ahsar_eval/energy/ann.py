"""What a spiking network is compared with: the ANN of the same topology (dense, every layer once, a
ReLU for every neuron, priced alike), and the points at which published studies break even.
"""

from collections.abc import Sequence
from typing import Any

from ahsar_eval.energy.account import Account, dense_operations
from ahsar_eval.files import table_beside
from ahsar_eval.recording import Recording, SynapseActivity
from ahsar_eval.recording.activity import AVERAGE_POOL, MEAN, NORMALISATION

RATE = "spikes per neuron and step"
# Below a limit the spiking network was found to need less energy than what stands behind it.
BREAK_EVEN_POINTS = table_beside(__file__, "break_even.toml")["points"]
RATE_STEPS = 5  # the study of rates is of T = 5


def ann_energy(
    account: Account, spiking_pj: float, unpriced: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """The ANN's operations per inference under the profile and the choices of the spiking network's
    `account` (macs, adds, multiplies, compares), its energy and `ratio` = spiking network / ANN
    (below 1: the spiking network is cheaper).

    `energy_pj` is None where the profile lacks a price that the ANN needs, `ratio` also where
    synaptic operations of the spiking network are unpriced; `reason` says so. Where it names other
    unpriced operations, the ratio leaves them out.

    Dense multiply-accumulates of every layer and matmul once, one addition per bias, one comparison
    per neuron (ReLU), and residual additions, poolings and unfolded batch norms once. An average
    pooling is not folded: behind a ReLU there are values, and folding would multiply the MACs by
    the window. A mean over time has no counterpart. `spiking_pj` is the spiking network's total,
    `unpriced` the (part, operation) that it leaves out.
    """
    recording, profile = account.recording, account.profile
    counts = {
        "mac": sum(synapse.dense_operations for synapse in recording.synapses),
        "add": sum(
            synapse.geometry.output_elements
            for synapse in recording.synapses
            if account.adds_bias(synapse)
        ),
        "multiply": 0,
        "compare": sum(layer.neurons for layer in recording.layers),
    }
    for operator in recording.operators:
        over_time = operator.kind == MEAN and operator.steps < recording.timesteps
        folded = operator.kind == NORMALISATION and account.is_folded(operator)
        if not over_time and not folded:
            for _, operation, _, count in dense_operations(operator):
                counts[operation] += count
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
    return {
        "macs": counts["mac"],
        "adds": counts["add"],
        "multiplies": counts["multiply"],
        "compares": counts["compare"],
        "energy_pj": energy,
        "ratio": ratio,
        "number_format": profile.number_format,
        "reason": reason,
    }


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
) -> list[dict[str, Any]]:
    """Where a run stands against every published point: `below` is None where it cannot be
    compared, and `reason` says why.
    """
    found = []
    for point in BREAK_EVEN_POINTS:
        of_rate = point["quantity"] == RATE
        value, reason = rate if of_rate else spikes_per_synapse, ""
        if of_rate and timesteps != RATE_STEPS:
            reason = f"it holds for T = {RATE_STEPS}, and the run has T = {timesteps}"
        elif value is None:
            reason = "no layer receives spikes through a known number of synapses"
        below = None if reason or value is None else value < point["limit"]
        found.append({**point, "value": value, "below": below, "reason": reason})
    return found
