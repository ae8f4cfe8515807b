"""Energy with memory after Lemaire et al. 2022: computation, addressing and memory access by the
capacity of each memory.

The article counts by formulas: a spike reaches ⌈Hk/S⌉·⌈Wk/S⌉ positions of every output channel,
also at borders, and reads and writes Hk·Wk potentials of each. θ are the spikes of one inference.
"""

import math
from typing import Any

from ahsar_eval.energy.account import Account
from ahsar_eval.recording import LayerActivity, SynapseActivity

SOURCE = (
    "E. Lemaire et al., An analytical estimation of spiking neural networks energy efficiency, "
    "ICONIP 2022, arXiv:2210.13107"
)
MESSAGES = 1000  # capacity of each queue of spikes, as in the article's experiments
_NOTES = (
    "A memory beyond the profile's largest is priced as that one: a lower bound for large layers.",
    "Pooling, residual additions and batch norms on their own are outside the model; spikes are "
    "those before a folded average pooling.",
    "A static image's layer is computed once by the article's equations for values; holding its "
    "product for T steps is not priced.",
)
MEMORIES = ("input", "weights", "potentials", "output")

Counts = dict[str, float]  # of computation, of addresses, and of accesses (read_… and write_…)
Work = tuple[Counts, dict[str, int]]  # and the capacity of each memory in words


def lemaire(account: Account) -> dict[str, Any] | None:
    """Lemaire's energy per inference (mean over samples) at its profile's prices; None for a
    profile without prices of memory, MAC or AC, and without a layer with weights.

    `total_pj` = `computation_pj` + `addressing_pj` + `memory_pj`; `by_memory_pj` prices the
    accesses as input, weights (with biases), potentials and output. The same of each of `layers`,
    layers with weights, then neurons, as `energy_pj` with their `counts`: acs, macs, address_acs,
    address_macs, and the accesses read_input, read_weights, read_bias, read_potentials,
    write_potentials, write_output.
    `uncounted` are layers that the model does not cover or that the recording does not describe,
    with the reason. `access_bits` is how many bits one priced access carries. Of the account's
    choices only the first layer's and the frames of events matter.
    """
    recording, profile = account.recording, account.profile
    prices, word, mac_pj, ac_pj = (
        profile.memory_pj,
        profile.word_bits,
        profile.mac_pj,
        profile.ac_pj,
    )
    if prices is None or word is None or mac_pj is None or ac_pj is None or not recording.synapses:
        return None
    layers: list[dict[str, Any]] = []
    uncounted = []
    found = [
        *((layer.name, "synapses", _synapse(account, layer)) for layer in recording.synapses),
        *((layer.name, "neurons", _neurons(account, layer)) for layer in recording.layers),
    ]
    for name, kind, work in found:
        if isinstance(work, str):
            uncounted.append({"name": name, "reason": work})
            continue
        counts, capacities = work
        memories: dict[str, float] = {}
        for what, count in counts.items():
            memory = what.partition("_")[2].replace("bias", "weights")
            if memory in capacities:
                access_pj = prices.access_pj(capacities[memory] * word / 8)
                per_word = access_pj * word / prices.width_bits
                memories[memory] = memories.get(memory, 0.0) + count * per_word
        energies = {
            "computation_pj": counts["acs"] * ac_pj + counts["macs"] * mac_pj,
            "addressing_pj": counts["address_acs"] * ac_pj + counts["address_macs"] * mac_pj,
            "memory_pj": sum(memories.values()),
        }
        layers.append(
            {
                "name": name,
                "kind": kind,
                "counts": {what: float(count) for what, count in counts.items()},
                **energies,
                "energy_pj": sum(energies.values()),
                "by_memory_pj": memories,
            }
        )
    parts = {
        part: sum(layer[part] for layer in layers)
        for part in ("computation_pj", "addressing_pj", "memory_pj")
    }
    return {
        "layers": layers,
        **parts,
        "total_pj": sum(parts.values()),
        "by_memory_pj": {
            memory: sum(layer["by_memory_pj"].get(memory, 0.0) for layer in layers)
            for memory in MEMORIES
        },
        "access_bits": prices.width_bits,
        "word_bits": word,
        "uncounted": uncounted,
        "notes": _NOTES,
        "source": SOURCE,
    }


def _synapse(account: Account, synapse: SynapseActivity) -> Work | str:
    """What a layer with weights does, or why that is not known."""
    shape = synapse.geometry
    if shape.transposed:
        return f"the model has no equation for a {shape.type}"
    # One bias per output channel, or per output of a linear layer.
    biases, parameters, outputs = 0, shape.weight_count, shape.output_elements
    steps = account.charged_steps(synapse)
    if account.adds_bias(synapse):
        biases = outputs * steps
        parameters += shape.outputs[0] if shape.kernel else shape.outputs[-1]
    if synapse.kind == "analog" and not account.is_replayed(synapse):
        # The article's equations of a formal network, for every step that is charged.
        products = inputs = addresses = shape.padded_operations
        if shape.kernel:
            kernels = shape.outputs[0] * math.prod(shape.kernel)
            addresses = shape.input_elements + outputs + kernels
        else:
            inputs = shape.input_elements
        return {
            "acs": biases,
            "macs": products * steps,
            "address_acs": addresses * steps,
            "address_macs": 0,
            "read_input": inputs * steps,
            "read_weights": products * steps,
            "read_bias": biases,
            "write_output": outputs * steps,
        }, {"input": shape.input_elements, "weights": parameters, "output": outputs}
    arriving = account.arriving(synapse)
    if arriving is None:
        return "the recording does not hold the spikes that it receives"
    spikes = float(arriving.mean())
    positions = math.prod(
        math.ceil(kernel / stride)
        for kernel, stride in zip(shape.kernel, shape.stride, strict=True)
    )
    reads = spikes * shape.outputs_per_group * math.prod(shape.kernel)
    return {
        "acs": spikes * shape.outputs_per_group * positions + biases,
        "macs": 0,
        "address_acs": reads,
        # Row and column of the first output; a linear layer has neither.
        "address_macs": 2 * spikes if shape.kernel else 0,
        "read_input": spikes,
        "read_weights": reads,
        "read_bias": biases,
        "read_potentials": reads,
        "write_potentials": reads,
    }, {"input": MESSAGES, "weights": parameters, "potentials": outputs}


def _neurons(account: Account, layer: LayerActivity) -> Work | str:
    """What a spiking layer does, or why that is not known."""
    if not layer.model.known:
        return f"no rule counts a {layer.model.type}"
    spikes, updates = float(layer.spikes.mean()), layer.neurons * account.recording.timesteps
    return {
        "acs": spikes,  # the reset
        "macs": updates if layer.model.leaky else 0,
        "address_acs": 0,
        "address_macs": 0,
        "read_potentials": updates,
        "write_potentials": updates,
        "write_output": spikes,
    }, {"potentials": layer.neurons, "output": MESSAGES}
