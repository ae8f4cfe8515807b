"""Recordings: one counted pass of a network over a split, saved and found again."""

from ahsar_eval.recording.activity import (
    FEATURES,
    SPIKE_COUNTS,
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Readout,
    Recording,
    Seen,
    SpikeTrace,
    SynapseActivity,
    Uncounted,
    describe,
    same_classes,
)
from ahsar_eval.recording.perturbed import (
    ODIN_EPSILON,
    ODIN_TEMPERATURE,
    against_prediction,
    is_perturbed,
)
from ahsar_eval.recording.recorder import record
from ahsar_eval.recording.runner import (
    RecordingStore,
    key_of_parts,
    load_recording,
    save_recording,
)

__all__ = [
    "FEATURES",
    "ODIN_EPSILON",
    "ODIN_TEMPERATURE",
    "SPIKE_COUNTS",
    "Geometry",
    "LayerActivity",
    "NeuronModel",
    "OperatorActivity",
    "Readout",
    "Recording",
    "RecordingStore",
    "Seen",
    "SpikeTrace",
    "SynapseActivity",
    "Uncounted",
    "against_prediction",
    "describe",
    "is_perturbed",
    "key_of_parts",
    "load_recording",
    "record",
    "same_classes",
    "save_recording",
]
