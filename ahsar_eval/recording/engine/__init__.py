"""The same networks in less time: loops in place of a spiking layer's tensor operations, events in
place of dense products.
"""

from ahsar_eval.recording.engine.convolutions import (
    BF16,
    FP32,
    TF32,
    Convolution,
    float32_products,
    joins,
    why_not,
)
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
    "Convolution",
    "bf16_where_right",
    "can_lie_channels_last",
    "channels_last",
    "float32_products",
    "joins",
    "layout_of",
    "linear_by_rows",
    "looped_neurons",
    "training_layout",
    "why_not",
]
