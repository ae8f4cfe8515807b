"""The same networks in less time: loops in place of a spiking layer's tensor operations, events in place of dense products."""

from ahsar_eval.engine.check import (
    BOUND,
    COMPILED,
    ENGINES,
    PRECISIONS,
    REFERENCE,
    Difference,
    check_execution,
    compare,
    samples_to_check,
)
from ahsar_eval.engine.compiled import Compiled, NotAsPlannedError
from ahsar_eval.engine.convolutions import FP32, float32_products
from ahsar_eval.engine.layout import channels_last
from ahsar_eval.engine.neurons import looped_neurons

__all__ = [
    "BOUND",
    "COMPILED",
    "ENGINES",
    "FP32",
    "PRECISIONS",
    "REFERENCE",
    "Compiled",
    "Difference",
    "NotAsPlannedError",
    "channels_last",
    "check_execution",
    "compare",
    "float32_products",
    "looped_neurons",
    "samples_to_check",
]
