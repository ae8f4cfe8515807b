"""Data: sets by name or path, their splits in one layout, and reproducible shifts."""

from ahsar_eval.data.catalogue import SETS, known_sets, open_set, open_split, open_splits, parse
from ahsar_eval.data.entry import DataOptions, Entry
from ahsar_eval.data.events.corruptions import EVENT_SHIFTS
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.groups import expand as expand_groups
from ahsar_eval.data.groups import group_of
from ahsar_eval.data.holdout import channel_statistics, training_sets, training_sets_of
from ahsar_eval.data.shifts import SEVERITIES, SHIFTS, shifted
from ahsar_eval.data.split import Batch, EventSet, ImageSet, SampleSet, Split, check_distinct
from ahsar_eval.data.views import View, split_of

__all__ = [
    "EVENT_SHIFTS",
    "SETS",
    "SEVERITIES",
    "SHIFTS",
    "Batch",
    "DataOptions",
    "Entry",
    "EventSet",
    "Events",
    "ImageSet",
    "SampleSet",
    "Split",
    "View",
    "channel_statistics",
    "check_distinct",
    "expand_groups",
    "group_of",
    "known_sets",
    "open_set",
    "open_split",
    "open_splits",
    "parse",
    "shifted",
    "split_of",
    "training_sets",
    "training_sets_of",
]
