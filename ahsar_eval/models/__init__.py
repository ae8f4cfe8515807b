"""Networks: specification, the two backbones of the paper, neurons, and the time axis around them."""

from ahsar_eval.models.catalogue import BACKBONES, build, load_user_network, step_modes
from ahsar_eval.models.neurons import emits_binary_spikes, is_neuron
from ahsar_eval.models.spec import PARADIGMS, STEP_MODES, ModelSpec
from ahsar_eval.models.stepping import SpikingNet

__all__ = [
    "BACKBONES",
    "PARADIGMS",
    "STEP_MODES",
    "ModelSpec",
    "SpikingNet",
    "build",
    "emits_binary_spikes",
    "is_neuron",
    "load_user_network",
    "step_modes",
]
