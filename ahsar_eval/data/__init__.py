"""Data: sets by name or path, their splits in one layout, and reproducible shifts.

`import ahsar_eval.data` imports no torch and no NumPy: what needs them is loaded at its first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ahsar_eval.data.catalogue import SETS, known_sets, open_set, open_split, open_splits, parse
from ahsar_eval.data.entry import DataOptions, Entry
from ahsar_eval.data.shifts import EVENT_SHIFTS, SEVERITIES, SHIFTS, shifted

if TYPE_CHECKING:
    from ahsar_eval.data.events.stream import Events
    from ahsar_eval.data.groups import expand as expand_groups
    from ahsar_eval.data.groups import group_of
    from ahsar_eval.data.holdout import channel_statistics, training_sets, training_sets_of
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

_LATER = {
    "Batch": "split.Batch",
    "EventSet": "split.EventSet",
    "Events": "events.stream.Events",
    "ImageSet": "split.ImageSet",
    "SampleSet": "split.SampleSet",
    "Split": "split.Split",
    "View": "views.View",
    "channel_statistics": "holdout.channel_statistics",
    "check_distinct": "split.check_distinct",
    "expand_groups": "groups.expand",
    "group_of": "groups.group_of",
    "split_of": "views.split_of",
    "training_sets": "holdout.training_sets",
    "training_sets_of": "holdout.training_sets_of",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'ahsar_eval.data' has no attribute {name!r}")
    module, _, attribute = _LATER[name].rpartition(".")
    return getattr(importlib.import_module(f"ahsar_eval.data.{module}"), attribute)
