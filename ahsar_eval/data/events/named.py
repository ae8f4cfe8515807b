"""Event sets by name, found below the data root: `EVENT_SETS`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.data.entry import Entry
from ahsar_eval.data.events.layouts import BY_NAME, LAYOUTS, Layout
from ahsar_eval.data.later import later

if TYPE_CHECKING:
    from ahsar_eval.data.events.stored import open_named
else:
    open_named = later("ahsar_eval.data.events.stored").open_named


def _entry(
    name: str, note: str, layout: str | None = None, *, random: bool = False, augment: str = ""
) -> Entry:
    opened = partial(open_named, name, layout=layout, random=random)
    known = LAYOUTS[layout or name]
    return Entry(
        lambda role, options: opened(role, options),
        note,
        is_there=partial(_is_there, known),
        modality="events",
        files=known.files,
        places=known.folders,
        augment=augment,
    )


def _is_there(known: Layout, root: Path) -> bool:
    spelled = {folder.lower() for folder in known.folders}
    return root.is_dir() and any(
        path.name.lower() in spelled and path.is_dir() for path in root.iterdir()
    )


EVENT_SETS: dict[str, Entry] = {
    "cifar10-dvs": _entry(
        "cifar10-dvs",
        f"CIFAR-10 images moved before a DVS128, 128x128; split {BY_NAME}",
        augment="flip-roll",
    ),
    "cifar10-dvs-random": _entry(
        "cifar10-dvs-random",
        "CIFAR10-DVS, a tenth of each class drawn by the split seed as test",
        "cifar10-dvs",
        random=True,
        augment="flip-roll",
    ),
    "n-mnist": _entry(
        "n-mnist", "MNIST digits seen by a moving ATIS in three saccades, 34x34", augment="roll"
    ),  # a mirrored digit is none
    "dvs-gesture": _entry(
        "dvs-gesture", "11 hand and arm gestures before a DVS128, 128x128", augment="roll"
    ),  # left and right hand are classes
    "n-caltech101": _entry(
        "n-caltech101",
        "Caltech101 images seen by a moving ATIS, 240x180; split by file name, as none is official",
        augment="flip-roll",
    ),
    "asl-dvs": _entry(
        "asl-dvs",
        "24 letters of American sign language, DAVIS240C, 240x180; split by file name, as none is "
        "official",
        augment="roll",
    ),  # one hand signs
    "pokerdvs": _entry(
        "pokerdvs", "4 suits of poker cards, 35x35, 68 recordings", augment="flip-roll"
    ),  # suits are symmetric
    "st-mnist": _entry(
        "st-mnist",
        "digits written on a tactile sensor of 10x10; split by file name, as none is official",
    ),
    "n-cars": _entry(
        "n-cars", "cars and background, windows of an ATIS of at most 120x100", augment="flip-roll"
    ),
}
