"""Recordings: one counted pass of a network over a split, saved and found again."""

from ahsar_eval.recording.activity import LayerActivity, Recording, SpikeTrace, SynapseActivity, Uncounted
from ahsar_eval.recording.recorder import describe, record
from ahsar_eval.recording.store import RecordingStore, key_of_parts, load_recording, save_recording

__all__ = [
    "LayerActivity",
    "Recording",
    "RecordingStore",
    "SpikeTrace",
    "SynapseActivity",
    "Uncounted",
    "describe",
    "key_of_parts",
    "load_recording",
    "record",
    "save_recording",
]
