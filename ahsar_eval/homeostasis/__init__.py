"""AHSAR, the homeostatic controller: parameters, state, equations, and the class that attaches them
to a network.
"""

from ahsar_eval.homeostasis.adapting import Adapted
from ahsar_eval.homeostasis.controller import (
    Ahsar,
    HomeostasisWarning,
    controllers_of,
    replayed_by_controllers,
)
from ahsar_eval.homeostasis.dynamics import Homeostasis, HomeostaticParams
from ahsar_eval.homeostasis.regulation import RegulationParams, SetPoints
from ahsar_eval.homeostasis.thresholds import (
    counted_spikes,
    is_readout,
    named_neurons,
    plain_thresholds,
    read_thresholds,
    threshold_of,
    write_thresholds,
)

__all__ = [
    "Adapted",
    "Ahsar",
    "Homeostasis",
    "HomeostasisWarning",
    "HomeostaticParams",
    "RegulationParams",
    "SetPoints",
    "controllers_of",
    "counted_spikes",
    "is_readout",
    "named_neurons",
    "plain_thresholds",
    "read_thresholds",
    "replayed_by_controllers",
    "threshold_of",
    "write_thresholds",
]
