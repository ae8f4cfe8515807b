"""Energy with memory after Lemaire et al. 2022: computation, addressing and memory access by the
capacity of each memory.

The article counts by formulas: a spike reaches ⌈Hk/S⌉·⌈Wk/S⌉ positions of every output channel,
also at borders, and reads and writes Hk·Wk potentials of each. θ are the spikes of one inference.
"""

import math
from dataclasses import dataclass

import numpy as np

from ahsar_eval.energy.accesses import input_spikes
from ahsar_eval.energy.account import adds_bias, bias_steps, charged_steps, is_replayed
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import MemoryPrices, Profile
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import LayerActivity, Recording, SynapseActivity
from ahsar_eval.recording.activity import Geometry

SOURCE = (
    "E. Lemaire et al., An analytical estimation of spiking neural networks energy "
    "efficiency, "
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
_MEMORIES = {
    "read_input": "input",
    "read_weights": "weights",
    "read_bias": "weights",
    "read_potentials": "potentials",
    "write_potentials": "potentials",
    "write_output": "output",
}


@dataclass(frozen=True)
class LemaireLayer:
    """One layer per inference (mean over samples), a layer with weights or a spiking layer; counts
    and energies of the model's parts.

    `counts`: acs, macs, address_acs, address_macs, and the accesses read_input, read_weights,
    read_bias, read_potentials, write_potentials, write_output. `by_memory_pj` prices the accesses
    as input, weights (with biases), potentials and output.
    """

    name: str
    kind: str  # synapses, neurons
    counts: dict[str, float]
    computation_pj: float
    addressing_pj: float
    memory_pj: float
    energy_pj: float
    by_memory_pj: dict[str, float]


@dataclass(frozen=True)
class LemaireResult:
    """The model's energy per inference: `total_pj` = `computation_pj` + `addressing_pj` +
    `memory_pj`; layers with weights, then neurons.

    `access_bits` is the width that the profile's memory prices are read as, `word_bits` that of a
    weight, potential or message. `uncounted` are layers that the model does not cover or that the
    recording does not describe, with the reason.
    """

    layers: tuple[LemaireLayer, ...]
    computation_pj: float
    addressing_pj: float
    memory_pj: float
    total_pj: float
    by_memory_pj: dict[str, float]
    access_bits: int
    word_bits: int
    uncounted: tuple[dict[str, str], ...]
    notes: tuple[str, ...] = _NOTES
    source: str = SOURCE


def lemaire(
    recording: Recording,
    profile: Profile,
    *,
    choices: Choices | None = None,
    access_bits: int | None = None,
    messages: int = MESSAGES,
) -> LemaireResult:
    """Lemaire's energy per inference at the profile's prices.

    `access_bits` is how many bits one priced access carries: None is the profile's own width
    (Horowitz's caches: 64), 32 reads the same figures per 32 bits, as SpikingJelly's
    LemaireEnergyProfiler does. `messages` is the capacity of a queue of spikes. Of `choices` only
    the first layer's and the frames of events matter. Raises `UsageError` for a profile without
    prices of memory, MAC or AC.
    """
    choices = choices or Choices()
    prices, word = profile.memory_pj, profile.word_bits
    if prices is None or word is None or profile.mac_pj is None or profile.ac_pj is None:
        raise UsageError(
            f"the profile {profile.name} has no price of memory access, MAC or AC; Lemaire's model "
            "needs all of them"
        )
    width = prices.width_bits if access_bits is None else access_bits
    if width < 1:
        raise UsageError(f"an access of {width} bits is no access; expected 1 or more")
    pricing = _Pricing(profile.mac_pj, profile.ac_pj, prices, word, width)
    layers, uncounted = [], []
    for synapse in recording.synapses:
        found = _synapse(recording, synapse, choices, pricing, messages)
        if isinstance(found, str):
            uncounted.append({"name": synapse.name, "reason": found})
        else:
            layers.append(found)
    for layer in recording.layers:
        if layer.model is None or not layer.model.known:
            reason = (
                "the recording does not hold its neuron model"
                if layer.model is None
                else f"no rule counts a {layer.model.type}"
            )
            uncounted.append({"name": layer.name, "reason": reason})
        else:
            layers.append(_neurons(recording, layer, layer.model.leaky, pricing, messages))
    parts = {
        part: sum(getattr(layer, part) for layer in layers)
        for part in ("computation_pj", "addressing_pj", "memory_pj")
    }
    memories = {
        memory: sum(layer.by_memory_pj.get(memory, 0.0) for layer in layers)
        for memory in dict.fromkeys(_MEMORIES.values())
    }
    return LemaireResult(
        layers=tuple(layers),
        **parts,
        total_pj=sum(parts.values()),
        by_memory_pj=memories,
        access_bits=width,
        word_bits=word,
        uncounted=tuple(uncounted),
    )


@dataclass(frozen=True)
class _Pricing:
    mac_pj: float
    ac_pj: float
    memory: MemoryPrices
    word_bits: int
    access_bits: int

    def layer(
        self, name: str, kind: str, counts: dict[str, float], words: dict[str, int]
    ) -> LemaireLayer:
        """Price `counts`; `words` is the capacity of each access's memory in words."""
        computation = counts.get("acs", 0) * self.ac_pj + counts.get("macs", 0) * self.mac_pj
        addressing = (
            counts.get("address_acs", 0) * self.ac_pj + counts.get("address_macs", 0) * self.mac_pj
        )
        memories: dict[str, float] = {}
        for access, capacity in words.items():
            per_word = (
                self.memory.access_pj(capacity * self.word_bits / 8)
                * self.word_bits
                / self.access_bits
            )
            memories[_MEMORIES[access]] = (
                memories.get(_MEMORIES[access], 0.0) + counts[access] * per_word
            )
        memory = sum(memories.values())
        return LemaireLayer(
            name,
            kind,
            counts,
            computation,
            addressing,
            memory,
            computation + addressing + memory,
            memories,
        )


def _synapse(
    recording: Recording,
    synapse: SynapseActivity,
    choices: Choices,
    pricing: _Pricing,
    messages: int,
) -> LemaireLayer | str:
    shape = synapse.geometry
    if shape is None:
        return "the recording does not hold its geometry"
    if shape.transposed:
        return f"the model has no equation for a {shape.type}"
    biases = (
        shape.output_elements * bias_steps(recording, synapse, choices)
        if adds_bias(recording, synapse, choices)
        else 0
    )
    parameters = shape.weight_count + (_outputs_with_bias(shape) if biases else 0)
    if synapse.kind == "analog" and not is_replayed(recording, synapse, choices):
        steps = charged_steps(recording, synapse, choices)
        return pricing.layer(synapse.name, "synapses", *_values(shape, steps, biases, parameters))
    arriving = input_spikes(recording, synapse)
    if arriving is None:
        return "the recording does not hold the spikes that it receives"
    spikes = float(np.asarray(arriving).mean())
    reads = spikes * shape.outputs_per_group * math.prod(shape.kernel)
    counts = {
        "acs": spikes * shape.outputs_per_group * _positions(shape) + biases,
        "macs": 0.0,
        "address_acs": reads,
        "address_macs": 2 * spikes
        if shape.kernel
        else 0.0,  # row and column of the first output; a linear layer has neither
        "read_input": spikes,
        "read_weights": reads,
        "read_bias": float(biases),
        "read_potentials": reads,
        "write_potentials": reads,
    }
    words = {"read_input": messages, "read_weights": parameters, "read_bias": parameters}
    words |= dict.fromkeys(("read_potentials", "write_potentials"), shape.output_elements)
    return pricing.layer(synapse.name, "synapses", counts, words)


def _values(
    shape: Geometry, steps: int, biases: int, parameters: int
) -> tuple[dict[str, float], dict[str, int]]:
    """A layer on values: the article's equations of a formal network, for every step that is
    charged.
    """
    if shape.kernel:
        addresses = (
            shape.input_elements
            + shape.output_elements
            + shape.outputs[0] * math.prod(shape.kernel)
        )
        inputs = shape.padded_operations
    else:
        addresses, inputs = shape.padded_operations, shape.input_elements
    counts = {
        "acs": float(biases),
        "macs": float(shape.padded_operations * steps),
        "address_acs": float(addresses * steps),
        "address_macs": 0.0,
        "read_input": float(inputs * steps),
        "read_weights": float(shape.padded_operations * steps),
        "read_bias": float(biases),
        "write_output": float(shape.output_elements * steps),
    }
    words = {
        "read_input": shape.input_elements,
        "read_weights": parameters,
        "read_bias": parameters,
    }
    return counts, words | {"write_output": shape.output_elements}


def _neurons(
    recording: Recording, layer: LayerActivity, leaky: bool, pricing: _Pricing, messages: int
) -> LemaireLayer:
    spikes, updates = float(layer.spikes.mean()), float(layer.neurons * recording.timesteps)
    counts = {
        "acs": spikes,  # the reset
        "macs": updates if leaky else 0.0,
        "address_acs": 0.0,
        "address_macs": 0.0,
        "read_potentials": updates,
        "write_potentials": updates,
        "write_output": spikes,
    }
    words = dict.fromkeys(("read_potentials", "write_potentials"), layer.neurons)
    return pricing.layer(layer.name, "neurons", counts, words | {"write_output": messages})


def _positions(shape: Geometry) -> int:
    return math.prod(
        math.ceil(kernel / stride)
        for kernel, stride in zip(shape.kernel, shape.stride, strict=True)
    )


def _outputs_with_bias(shape: Geometry) -> int:
    """Number of biases: one per output channel, or per output of a linear layer."""
    return shape.outputs[0] if shape.kernel else shape.outputs[-1]
