"""Data: sets by name or path, their splits in one layout, and reproducible shifts.

`import ahsar_eval.data` imports no torch and no NumPy: what needs them is loaded at its first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ahsar_eval.data.catalogue import (
    SETS,
    expand_groups,
    group_of,
    known_sets,
    open_set,
    open_split,
    open_splits,
    parse,
)
from ahsar_eval.data.sets import DataOptions, Entry
from ahsar_eval.data.shifts import EVENT_SHIFTS, SEVERITIES, SHIFTS, shifted

if TYPE_CHECKING:
    from ahsar_eval.data.events.stream import Events
    from ahsar_eval.data.split import (
        Batch,
        EventSet,
        ImageSet,
        SampleSet,
        Split,
        View,
        check_distinct,
        split_of,
    )
    from ahsar_eval.data.training_data import channel_statistics, training_sets, training_sets_of

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
    "events.stream": ["Events"],
    "training_data": ["channel_statistics", "training_sets", "training_sets_of"],
    "split": [
        *("Batch", "EventSet", "ImageSet", "SampleSet", "Split", "View"),
        *("check_distinct", "split_of"),
    ],
}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            return getattr(importlib.import_module(f"ahsar_eval.data.{module}"), name)
    raise AttributeError(f"module 'ahsar_eval.data' has no attribute {name!r}")
