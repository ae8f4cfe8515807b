"""Memory accesses by layer, without prices: what an event-driven chip reads and writes for the
counted operations.
"""

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.account import Account, Entry, adds_bias, bias_steps, constant, takes_values
from ahsar_eval.energy.choices import Choices
from ahsar_eval.recording import Recording, SynapseActivity


def accesses(recording: Recording, counted: Account, choices: Choices) -> tuple[Entry, ...]:
    """Reads, writes and address computations per layer and sample, as entries of the part 'memory'.

    A synaptic operation reads a weight, reads and writes a potential and needs one address; a spike
    is read once where it arrives and written once where it leaves. A multiply-accumulate reads a
    weight and an input and needs one address; its sum is written once per output and step. A bias
    is read where it is added. A neuron's update reads and writes its potential.
    """
    found: list[Entry] = []
    for synapse in recording.synapses:
        operations = counted.select(part="synapses", layer=synapse.name)
        if not operations:
            continue
        name, done = synapse.name, operations[0].counts
        values = takes_values(recording, synapse, choices)
        arriving = done if values else input_spikes(recording, synapse)
        if arriving is not None:
            found.append(Entry(name, "memory", "read", "input", arriving))
        found.append(Entry(name, "memory", "read", "weights", done))
        found.append(Entry(name, "memory", "address", "weights", done))
        if not values:
            found += [Entry(name, "memory", way, "potentials", done) for way in ("read", "write")]
        if synapse.geometry is not None:
            outputs = constant(
                recording,
                synapse.geometry.output_elements * bias_steps(recording, synapse, choices),
            )
            if values:
                found.append(Entry(name, "memory", "write", "output", outputs))
            if adds_bias(recording, synapse, choices):
                found.append(Entry(name, "memory", "read", "bias", outputs))
    for layer in recording.layers:
        if counted.select(part="neurons", layer=layer.name):
            updates = constant(recording, layer.neurons * recording.timesteps)
            found += [
                Entry(layer.name, "memory", way, "potentials", updates) for way in ("read", "write")
            ]
            found.append(
                Entry(layer.name, "memory", "write", "output", layer.spikes.astype(np.int64))
            )
    return tuple(found)


def input_spikes(recording: Recording, synapse: SynapseActivity) -> NDArray[np.int64] | None:
    """[N] spikes that arrive at a layer over all steps, before any folded pooling; None where the
    recording does not hold them.
    """
    fed_by = next((layer for layer in recording.layers if layer.name == synapse.source), None)
    if fed_by is not None:
        return fed_by.spikes.astype(np.int64)
    return None if synapse.seen is None else np.rint(synapse.seen.total.sum(1)).astype(np.int64)
