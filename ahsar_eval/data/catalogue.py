"""Sets by name, and the specification grammar: `name`, `name:shift`, `name:shift:severity`,
`name:all`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ahsar_eval.data.entry import DataOptions, Entry
from ahsar_eval.data.events.corruptions import EVENT_SHIFTS
from ahsar_eval.data.events.named import EVENT_SETS
from ahsar_eval.data.images.layouts import CIFAR_C, CIFAR_C_CORRUPTIONS
from ahsar_eval.data.images.named import IMAGE_SETS
from ahsar_eval.data.later import later
from ahsar_eval.data.shifts import ALIASES, SEVERITIES, SHIFTS
from ahsar_eval.errors import DataError

if TYPE_CHECKING:
    from ahsar_eval.data.events.digits_dvs import digits_dvs
    from ahsar_eval.data.events.folder import event_folder
    from ahsar_eval.data.groups import without_overlap
    from ahsar_eval.data.images.cifar_files import cifar_c
    from ahsar_eval.data.images.digits import digits
    from ahsar_eval.data.images.folder import folder
    from ahsar_eval.data.images.npz import npz
    from ahsar_eval.data.images.photo_patches import photo_patches
    from ahsar_eval.data.split import SampleSet, Split
    from ahsar_eval.data.views import View, split_of

    Shape = View | tuple[int, int, int]
else:
    digits_dvs = later("ahsar_eval.data.events.digits_dvs").digits_dvs
    event_folder = later("ahsar_eval.data.events.folder").event_folder
    without_overlap = later("ahsar_eval.data.groups").without_overlap
    cifar_c = later("ahsar_eval.data.images.cifar_files").cifar_c
    digits = later("ahsar_eval.data.images.digits").digits
    folder = later("ahsar_eval.data.images.folder").folder
    npz = later("ahsar_eval.data.images.npz").npz
    photo_patches = later("ahsar_eval.data.images.photo_patches").photo_patches
    split_of = later("ahsar_eval.data.views").split_of

EMBEDDED = {
    "digits": Entry(
        lambda role, options: digits(role),
        "1,797 handwritten digits (UCI), 16x16 grey; in scikit-learn",
        roles=("train", "validation", "test"),
    ),
    "photo-patches": Entry(
        lambda role, options: photo_patches(role),
        "520 colour patches 32x32 of two photographs; in scikit-learn",
        roles=("all",),
    ),
    "digits-dvs": Entry(
        lambda role, options: digits_dvs(role),
        "the digits before a simulated event camera, 34x34",
        modality="events",
        roles=("train", "validation", "test"),
    ),
}
SETS: dict[str, Entry] = {**EMBEDDED, **IMAGE_SETS, **EVENT_SETS}
STORED_SETS = CIFAR_C  # corrupted images that lie in files
FILE_SETS: "dict[str, Callable[[str, str], SampleSet]]" = {
    "folder": folder,
    "npz": npz,
    "events": event_folder,
}


@dataclass(frozen=True)
class SetSpec:
    """A parsed specification: the set's name or path spec, and the (shift, severity) pairs it
    stands for; (None, 0) is the set as it is.
    """

    name: str
    variants: tuple[tuple[str | None, int], ...]


def known_sets() -> str:
    """The names a user can type, for messages and help."""
    return ", ".join([*SETS, *(f"{kind}:PATH" for kind in FILE_SETS)])


def parse(text: str) -> SetSpec:
    """Read `name`, `name:shift` (severities 1 to 5), `name:shift:severity` or `name:all` (every
    shift, every severity).

    A path after `folder:`, `npz:` or `events:` may hold colons. Raises `DataError` for an unknown
    set, shift or severity, listing those known.
    """
    head, *rest = text.split(":")
    if head in FILE_SETS:
        shifts = _shifts_of(head)
        if not rest or not rest[0]:
            raise DataError(f"{text!r} names no file; expected {head}:PATH")
        path, tail = _path_and_tail(rest, shifts)
        others = tuple(EVENT_SHIFTS if head != "events" else SHIFTS)
        foreign = _path_and_tail(rest, others)[1]
        if not tail and foreign and foreign != ["all"]:
            kind = "images" if head == "events" else "event recordings"
            raise DataError(
                f"{foreign[0]} in {text!r} is a shift of {kind}; known are {', '.join(shifts)}"
            )
        name = f"{head}:{path}"
    elif head in SETS:
        shifts, name, tail = _shifts_of(head), head, rest
    elif head in ("near", "far"):
        raise DataError(
            f"{text!r} is no set: near and far stand for OpenOOD's groups, after --ood and without "
            "a shift; name a set"
        )
    else:
        raise DataError(
            f"unknown set {head!r}{_close(head)}; known are {known_sets()}, each optionally "
            "followed by :shift, :shift:severity or :all"
        )
    if head in STORED_SETS and not tail:
        tail = ["all"]  # there is nothing but shifted images in it
    return SetSpec(name, _variants(tail, text, shifts) if tail else ((None, 0),))


def _close(head: str) -> str:
    import difflib

    near = difflib.get_close_matches(head, [*SETS, *FILE_SETS], n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _shifts_of(head: str) -> tuple[str, ...]:
    """Names of the shifts that a set can take: of events, of images, or those stored in
    its files."""
    if head in STORED_SETS:
        return tuple(shift for shift in SHIFTS if shift in CIFAR_C_CORRUPTIONS)
    events = head == "events" or (head in SETS and SETS[head].modality == "events")
    return tuple(EVENT_SHIFTS if events else SHIFTS)


def _path_and_tail(parts: list[str], shifts: tuple[str, ...]) -> tuple[str, list[str]]:
    """Split a path from a trailing shift: only a known shift name (or all) ends the path."""
    if len(parts) >= 3 and _shift_name(parts[-2]) in shifts:
        return ":".join(parts[:-2]), parts[-2:]
    if len(parts) >= 2 and (_shift_name(parts[-1]) in shifts or parts[-1] == "all"):
        return ":".join(parts[:-1]), parts[-1:]
    return ":".join(parts), []


def _shift_name(text: str) -> str:
    name = text.replace("-", "_")
    return ALIASES.get(name, name)


def _variants(
    tail: list[str], text: str, shifts: tuple[str, ...]
) -> tuple[tuple[str | None, int], ...]:
    if tail == ["all"]:
        return tuple((shift, severity) for shift in shifts for severity in SEVERITIES)
    shift = _shift_name(tail[0])
    if shift not in shifts:
        raise DataError(
            f"unknown shift {tail[0]!r} in {text!r}; known are {', '.join(shifts)} and all"
        )
    if len(tail) == 1:
        return tuple((shift, severity) for severity in SEVERITIES)
    if len(tail) > 2 or tail[1] not in map(str, SEVERITIES):
        raise DataError(
            f"severity {':'.join(tail[1:])!r} in {text!r} is none; expected a whole number from 1 "
            "to 5"
        )
    return ((shift, int(tail[1])),)


def open_set(name: str, role: str = "test", options: DataOptions | None = None) -> "SampleSet":
    """The set of a plain name or `folder:`, `npz:` or `events:` path, at its own size. Raises
    `DataError`.
    """
    options = options or DataOptions()
    if (name, role) not in options.opened:
        head, _, path = name.partition(":")
        if head not in FILE_SETS and head not in SETS:
            raise DataError(f"unknown set {head!r}{_close(head)}; known are {known_sets()}")
        options.opened[name, role] = (
            FILE_SETS[head](path, role) if head in FILE_SETS else SETS[head].open(role, options)
        )
    return options.opened[name, role]


def open_splits(
    text: str,
    view: "Shape",
    *,
    seed: int = 0,
    role: str = "test",
    options: DataOptions | None = None,
    id_space: str | None = None,
) -> "list[Split]":
    """Every split a specification stands for, brought to what a network takes. Raises `DataError`.

    `name:all` leaves out the shifts of colours where the network takes grey images. Where
    `id_space` is the label space of the ID set, classes that overlap with it are left out by a
    documented list (`ahsar_eval.data.groups`).
    """
    spec = parse(text)
    if not 0 <= seed < 2**31:
        raise DataError(f"the seed is {seed}; expected a whole number from 0 to 2147483647")
    if spec.name in STORED_SETS:
        return [
            _stored(spec.name, str(shift), severity, view, options or DataOptions())
            for shift, severity in spec.variants
        ]
    source = open_set(spec.name, role, options)
    if id_space is not None:
        source = without_overlap(source, id_space)
    shape = view if isinstance(view, tuple) else view.shape
    everything = text.endswith(":all")
    return [
        split_of(source, view, shift, severity, seed, options)
        for shift, severity in spec.variants
        if not (everything and shape[0] != 3 and shift in SHIFTS and SHIFTS[shift].colour_only)
    ]


def open_split(
    text: str,
    view: "Shape",
    *,
    seed: int = 0,
    role: str = "test",
    options: DataOptions | None = None,
) -> "Split":
    """The one split a specification stands for. Raises `DataError` also where it stands for
    several.
    """
    splits = open_splits(text, view, seed=seed, role=role, options=options)
    if len(splits) != 1:
        shift = parse(text).variants[0][0]
        raise DataError(
            f"{text!r} stands for {len(splits)} splits and one is needed here; name a severity, as "
            f"in {parse(text).name}:{shift}:3"
        )
    return splits[0]


def _stored(name: str, shift: str, severity: int, view: "Shape", options: DataOptions) -> "Split":
    """One corruption and severity of a set whose corrupted images are files: nothing is drawn, no
    seed counts.
    """
    return replace(
        split_of(replace(cifar_c(name, shift, severity, options), name=name), view),
        shift=shift,
        severity=severity,
    )
