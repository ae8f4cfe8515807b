"""Data: sets by name or path, their splits in one layout, and reproducible shifts."""

from ahsar_eval.data.catalogue import SETS, known_sets, open_set, open_split, open_splits, parse, split_of
from ahsar_eval.data.holdout import channel_statistics, training_sets
from ahsar_eval.data.shifts import SEVERITIES, SHIFTS, shifted
from ahsar_eval.data.split import Batch, ImageSet, Split

__all__ = [
    "SETS",
    "SEVERITIES",
    "SHIFTS",
    "Batch",
    "ImageSet",
    "Split",
    "channel_statistics",
    "known_sets",
    "open_set",
    "open_split",
    "open_splits",
    "parse",
    "shifted",
    "split_of",
    "training_sets",
]
