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

# Where those names lie that need torch and NumPy.
_LATER = ("split", "training_data", "events.stream")


def __getattr__(name: str) -> Any:
    for module in _LATER if name in __all__ else ():
        found = importlib.import_module(f"ahsar_eval.data.{module}")
        if hasattr(found, name):
            return getattr(found, name)
    raise AttributeError(f"module 'ahsar_eval.data' has no attribute {name!r}")
