"""Networks: specification, the two backbones of the paper, neurons, and the time axis
around them."""

from ahsar_eval.networks.backbones import (
    BACKBONES,
    build,
    load_user_network,
    network_identity,
)
from ahsar_eval.networks.behaviour import uncompiled
from ahsar_eval.networks.calls import step_mode_of
from ahsar_eval.networks.network import (
    ModelSpec,
    NirSettings,
    Shape,
    SpikingNet,
)
from ahsar_eval.networks.neurons import (
    LoopConstants,
    after,
    before,
    emits_binary_spikes,
    emits_whole_spikes,
    exchanged,
    exchanged_where,
    hooked,
    is_found_neuron,
    is_neuron,
    leave_sums,
    loop_constants,
    neuron_equation,
    spikes_in,
    spiking_found,
    surrogate_derivative,
)

__all__ = [
    "BACKBONES",
    "LoopConstants",
    "ModelSpec",
    "NirSettings",
    "Shape",
    "SpikingNet",
    "after",
    "before",
    "build",
    "emits_binary_spikes",
    "emits_whole_spikes",
    "exchanged",
    "exchanged_where",
    "hooked",
    "is_found_neuron",
    "is_neuron",
    "leave_sums",
    "load_user_network",
    "loop_constants",
    "network_identity",
    "neuron_equation",
    "spikes_in",
    "spiking_found",
    "step_mode_of",
    "surrogate_derivative",
    "uncompiled",
]
