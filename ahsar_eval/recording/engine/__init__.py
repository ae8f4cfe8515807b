"""The same networks in less time: loops in place of a spiking layer's tensor operations, events in
place of dense products.
"""

from ahsar_eval.recording.engine.compiled import Compiled, NotAsPlannedError, densities
from ahsar_eval.recording.engine.convolutions import BF16, FP32, TF32, float32_products
from ahsar_eval.recording.engine.layout import (
    bf16_where_right,
    can_lie_channels_last,
    channels_last,
    layout_of,
    linear_by_rows,
    training_layout,
)
from ahsar_eval.recording.engine.neurons import looped_neurons

__all__ = [
    "BF16",
    "FP32",
    "TF32",
    "Compiled",
    "NotAsPlannedError",
    "bf16_where_right",
    "can_lie_channels_last",
    "channels_last",
    "densities",
    "float32_products",
    "layout_of",
    "linear_by_rows",
    "looped_neurons",
    "training_layout",
]
