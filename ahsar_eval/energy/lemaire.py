"""Energy with memory after Lemaire et al. 2022: computation, addressing and memory access by the
capacity of each memory.

The article counts by formulas: a spike reaches ⌈Hk/S⌉·⌈Wk/S⌉ positions of every output channel,
also at borders, and reads and writes Hk·Wk potentials of each. θ are the spikes of one inference.
"""

import math
from dataclasses import dataclass

from ahsar_eval.energy.account import Rules
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import LayerActivity, Recording, SynapseActivity

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
_MEMORIES = {
    "read_input": "input",
    "read_weights": "weights",
    "read_bias": "weights",
    "read_potentials": "potentials",
    "write_potentials": "potentials",
    "write_output": "output",
}
MEMORIES = ("input", "weights", "potentials", "output")

Counts = dict[str, float]  # by operation or access
Words = dict[str, int]  # by access


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
    rules = Rules(recording, choices or Choices())
    prices, word, mac_pj, ac_pj = (
        profile.memory_pj,
        profile.word_bits,
        profile.mac_pj,
        profile.ac_pj,
    )
    if prices is None or word is None or mac_pj is None or ac_pj is None:
        raise UsageError(
            f"the profile {profile.name} has no price of memory access, MAC or AC; Lemaire's model "
            "needs all of them"
        )
    width = prices.width_bits if access_bits is None else access_bits
    if width < 1:
        raise UsageError(f"an access of {width} bits is no access; expected 1 or more")

    def layer_of(name: str, kind: str, counts: Counts, words: Words) -> LemaireLayer:
        computation = counts["acs"] * ac_pj + counts["macs"] * mac_pj
        addressing = counts["address_acs"] * ac_pj + counts["address_macs"] * mac_pj
        memories: dict[str, float] = {}
        for access, capacity in words.items():
            per_word = prices.access_pj(capacity * word / 8) * word / width
            held = memories.get(_MEMORIES[access], 0.0)
            memories[_MEMORIES[access]] = held + counts[access] * per_word
        memory = sum(memories.values())
        total = computation + addressing + memory
        return LemaireLayer(name, kind, counts, computation, addressing, memory, total, memories)

    layers, uncounted = [], []
    for synapse in recording.synapses:
        found = _synapse(rules, synapse, messages)
        if isinstance(found, str):
            uncounted.append({"name": synapse.name, "reason": found})
        else:
            layers.append(layer_of(synapse.name, "synapses", *found))
    for layer in recording.layers:
        if layer.model is None:
            reason = "the recording does not hold its neuron model"
        elif not layer.model.known:
            reason = f"no rule counts a {layer.model.type}"
        else:
            found = _neurons(layer, layer.model.leaky, recording.timesteps, messages)
            layers.append(layer_of(layer.name, "neurons", *found))
            continue
        uncounted.append({"name": layer.name, "reason": reason})
    parts = {
        part: sum(getattr(layer, part) for layer in layers)
        for part in ("computation_pj", "addressing_pj", "memory_pj")
    }
    memories = {
        memory: sum(layer.by_memory_pj.get(memory, 0.0) for layer in layers) for memory in MEMORIES
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


def _synapse(rules: Rules, synapse: SynapseActivity, messages: int) -> tuple[Counts, Words] | str:
    """Counts of a layer with weights and the capacity of each access's memory in words, or why
    there are none.
    """
    shape = synapse.geometry
    if shape is None:
        return "the recording does not hold its geometry"
    if shape.transposed:
        return f"the model has no equation for a {shape.type}"
    # One bias per output channel, or per output of a linear layer.
    biases, parameters = 0, shape.weight_count
    if rules.adds_bias(synapse):
        biases = shape.output_elements * rules.bias_steps(synapse)
        parameters += shape.outputs[0] if shape.kernel else shape.outputs[-1]
    words = {"read_weights": parameters, "read_bias": parameters}
    if synapse.kind == "analog" and not rules.is_replayed(synapse):
        # The article's equations of a formal network, for every step that is charged.
        steps = rules.charged_steps(synapse)
        products = inputs = addresses = shape.padded_operations
        if shape.kernel:
            kernels = shape.outputs[0] * math.prod(shape.kernel)
            addresses = shape.input_elements + shape.output_elements + kernels
        else:
            inputs = shape.input_elements
        counts = {
            "acs": float(biases),
            "macs": float(products * steps),
            "address_acs": float(addresses * steps),
            "address_macs": 0.0,
            "read_input": float(inputs * steps),
            "read_weights": float(products * steps),
            "read_bias": float(biases),
            "write_output": float(shape.output_elements * steps),
        }
        held = {"read_input": shape.input_elements, **words, "write_output": shape.output_elements}
        return counts, held
    arriving = rules.arriving(synapse)
    if arriving is None:
        return "the recording does not hold the spikes that it receives"
    spikes = float(arriving.mean())
    positions = math.prod(
        math.ceil(kernel / stride)
        for kernel, stride in zip(shape.kernel, shape.stride, strict=True)
    )
    reads = spikes * shape.outputs_per_group * math.prod(shape.kernel)
    counts = {
        "acs": spikes * shape.outputs_per_group * positions + biases,
        "macs": 0.0,
        "address_acs": reads,
        # Row and column of the first output; a linear layer has neither.
        "address_macs": 2 * spikes if shape.kernel else 0.0,
        "read_input": spikes,
        "read_weights": reads,
        "read_bias": float(biases),
        "read_potentials": reads,
        "write_potentials": reads,
    }
    potentials = dict.fromkeys(("read_potentials", "write_potentials"), shape.output_elements)
    return counts, {"read_input": messages, **words, **potentials}


def _neurons(
    layer: LayerActivity, leaky: bool, timesteps: int, messages: int
) -> tuple[Counts, Words]:
    spikes, updates = float(layer.spikes.mean()), float(layer.neurons * timesteps)
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
    return counts, {**words, "write_output": messages}
