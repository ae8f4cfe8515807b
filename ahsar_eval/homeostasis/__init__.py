"""AHSAR, the homeostatic controller: parameters, state, equations, and the class that attaches them
to a network.
"""

from ahsar_eval.homeostasis.controller import Ahsar, HomeostasisWarning
from ahsar_eval.homeostasis.gain import GainState, update_gain
from ahsar_eval.homeostasis.params import HomeostaticParams, check_stable, closed_loop_limit
from ahsar_eval.homeostasis.state import Homeostasis, HomeostaticState
from ahsar_eval.homeostasis.thresholds import named_neurons, read_thresholds, write_thresholds

__all__ = [
    "Ahsar",
    "GainState",
    "Homeostasis",
    "HomeostasisWarning",
    "HomeostaticParams",
    "HomeostaticState",
    "check_stable",
    "closed_loop_limit",
    "named_neurons",
    "read_thresholds",
    "update_gain",
    "write_thresholds",
]
