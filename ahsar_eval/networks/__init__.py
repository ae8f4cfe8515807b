"""Networks: specification, the two backbones of the paper, neurons, and the time axis
around them."""

from ahsar_eval.networks.catalogue import BACKBONES, build, load_user_network, step_modes
from ahsar_eval.networks.neurons import (
    LoopConstants,
    emits_binary_spikes,
    emits_whole_spikes,
    exchanged,
    hooked,
    is_neuron,
    leave_sums,
    loop_constants,
    neuron_equation,
    surrogate_derivative,
)
from ahsar_eval.networks.nir_file import is_nir
from ahsar_eval.networks.nir_graph import (
    RESETS,
    SPIKES_PER_STEP,
    NirPlan,
    NirSettings,
    build_nir,
    read_plan,
)
from ahsar_eval.networks.rate_bp_keys import RATE_BP_KEYS, from_rate_bp, width_of_rate_bp
from ahsar_eval.networks.spec import PARADIGMS, STEP_MODES, ModelSpec
from ahsar_eval.networks.stepping import SpikingNet

__all__ = [
    "BACKBONES",
    "PARADIGMS",
    "RATE_BP_KEYS",
    "RESETS",
    "SPIKES_PER_STEP",
    "STEP_MODES",
    "LoopConstants",
    "ModelSpec",
    "NirPlan",
    "NirSettings",
    "SpikingNet",
    "build",
    "build_nir",
    "emits_binary_spikes",
    "emits_whole_spikes",
    "exchanged",
    "from_rate_bp",
    "hooked",
    "is_neuron",
    "is_nir",
    "leave_sums",
    "load_user_network",
    "loop_constants",
    "neuron_equation",
    "read_plan",
    "step_modes",
    "surrogate_derivative",
    "width_of_rate_bp",
]
