"""The same networks in less time: loops in place of a spiking layer's tensor operations, events in
place of dense products.
"""

from ahsar_eval.recording.engine.check import (
    BOUND,
    COMPILED,
    ENGINES,
    PRECISIONS,
    REFERENCE,
    Difference,
    check_execution,
    compare,
    samples_to_check,
    warn_of_slow_bf16,
)
from ahsar_eval.recording.engine.compiled import Compiled, NotAsPlannedError
from ahsar_eval.recording.engine.convolutions import FP32, float32_products
from ahsar_eval.recording.engine.layout import (
    bf16_where_right,
    can_lie_channels_last,
    channels_last,
    layout_of,
    training_layout,
)
from ahsar_eval.recording.engine.neurons import looped_neurons
from ahsar_eval.recording.engine.rows import linear_by_rows

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
    "bf16_where_right",
    "can_lie_channels_last",
    "channels_last",
    "check_execution",
    "compare",
    "float32_products",
    "layout_of",
    "linear_by_rows",
    "looped_neurons",
    "samples_to_check",
    "training_layout",
    "warn_of_slow_bf16",
]
