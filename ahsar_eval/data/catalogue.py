"""Sets by name, and the specification grammar: `name`, `name:shift`, `name:shift:severity`,
`name:all`; near and far out-of-distribution groups by one name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ahsar_eval.data.sets import ENTRIES, STORED, DataOptions, Entry, function_at
from ahsar_eval.data.shifts import ALIASES, EVENT_SHIFTS, SEVERITIES, SHIFTS
from ahsar_eval.errors import DataError, close_to
from ahsar_eval.files import table_beside
from ahsar_eval.plugins import Registry

if TYPE_CHECKING:
    from ahsar_eval.data.split import AnySet, SampleSet, Shape, Split, View

SETS = Registry("sets", Entry, ENTRIES)
# Corrupted images that lie in files: there are shifted ones only.
STORED_SETS = [name for name, known in STORED.items() if known.corrupted]
# Groups by ID set and name, overlapping classes by label space of the ID set and of the other one.
_NEAR = table_beside(__file__, "groups.toml")
GROUPS, OVERLAPS = _NEAR["groups"], _NEAR["overlaps"]
# What opens a path.
FILE_SETS = {
    "folder": "user_sets.folder",
    "npz": "user_sets.npz",
    "events": "events.own.event_folder",
    "tonic": "events.tonic_sets.open_tonic",
}
EVENT_FILES = ("events", "tonic")
USER_SETS = [kind for kind in FILE_SETS if kind != "tonic"]  # which need not have splits


@dataclass(frozen=True)
class SetSpec:
    """A parsed specification: the set's name or path spec, and the (shift, severity) pairs it
    stands for; (None, 0) is the set as it is.
    """

    name: str
    variants: tuple[tuple[str | None, int], ...]


def known_sets() -> str:
    """The names a user can type, for messages and help."""
    return ", ".join([*SETS, *(_expected(kind) for kind in FILE_SETS)])


def _expected(kind: str) -> str:
    """What stands behind the colon."""
    return f"{kind}:{'NAME' if kind == 'tonic' else 'PATH'}"


def roles_of(name: str) -> Sequence[str]:
    """The splits of a set; of files of the user's own those that they can have. Raises `DataError`
    for a class that tonic does not have.
    """
    head, _, path = name.partition(":")
    if head == "tonic":
        found: Sequence[str] = function_at("events.tonic_sets.roles_of")(path)
        return found
    return SETS[name].roles if name in SETS else ("train", "test")


def parse(text: str, held: "SampleSet | None" = None) -> SetSpec:
    """Read `name`, `name:shift` (severities 1 to 5), `name:shift:severity` or `name:all` (every
    shift, every severity).

    A path after `folder:`, `npz:` or `events:` may hold colons; a class of tonic has none. `held`
    is a set in memory, known by its own name, too. Raises `DataError` for an unknown set, shift or
    severity, listing those known.
    """
    if held is not None and f"{text}:".startswith(f"{held.name}:"):
        from ahsar_eval.data.split import EventSet

        known = _shifts_of("events" if isinstance(held, EventSet) else "npz")
        tail = text.removeprefix(held.name).split(":")[1:]
        return SetSpec(held.name, _variants(tail, text, known))
    head, *tail = text.split(":")
    shifts, name = _shifts_of(head), head
    if head in FILE_SETS:
        if not tail or not tail[0]:
            what = "class" if head == "tonic" else "file"
            raise DataError(f"{text!r} names no {what}; expected {_expected(head)}")
        path, tail = (tail[0], tail[1:]) if head == "tonic" else _path_and_tail(tail)
        if tail and head != "tonic" and _shift_name(tail[0]) not in (*shifts, "all"):
            kind = "images" if head == "events" else "event recordings"
            raise DataError(
                f"{tail[0]} in {text!r} is a shift of {kind}; known are {', '.join(shifts)}"
            )
        name = f"{head}:{path}"
    elif head in ("near", "far"):
        raise DataError(
            f"{text!r} is no set: near and far stand for OpenOOD's groups, after --ood and without "
            "a shift; name a set"
        )
    elif head not in SETS:
        raise DataError(
            f"{_unknown(head)}, each optionally followed by :shift, :shift:severity or :all"
        )
    if head in STORED_SETS and not tail:
        tail = ["all"]  # there is nothing but shifted images in it
    return SetSpec(name, _variants(tail, text, shifts))


def _unknown(head: str) -> str:
    meant = close_to(head, [*SETS, *FILE_SETS])
    return f"unknown set {head!r}{meant}; known are {known_sets()}"


def _shifts_of(head: str) -> tuple[str, ...]:
    """Names of the shifts that a set can take: of events, of images, or those stored in
    its files."""
    if head in STORED_SETS:
        return tuple(name for name, shift in SHIFTS.own.items() if shift.family != "ours")
    events = head in EVENT_FILES or (head in SETS and SETS[head].modality == "events")
    return tuple(EVENT_SHIFTS if events else SHIFTS)


def _path_and_tail(parts: list[str]) -> tuple[str, list[str]]:
    """Split a path from a trailing shift: only a known shift name (or all) ends the path."""
    for length in (2, 1):
        path, tail = parts[:-length], parts[-length:]
        if path and (_shift_name(tail[0]) in (*SHIFTS, *EVENT_SHIFTS) or tail == ["all"]):
            return ":".join(path), tail
    return ":".join(parts), []


def _shift_name(text: str) -> str:
    name = text.replace("-", "_")
    return ALIASES.get(name, name)


def _variants(
    tail: list[str], text: str, shifts: tuple[str, ...]
) -> tuple[tuple[str | None, int], ...]:
    if not tail:
        return ((None, 0),)
    shift = _shift_name(tail[0])
    if tail != ["all"] and shift not in shifts:
        raise DataError(
            f"unknown shift {tail[0]!r} in {text!r}{close_to(tail[0], shifts)}; known are "
            f"{', '.join(shifts)} and all"
        )
    if len(tail) == 1:
        named = shifts if tail == ["all"] else (shift,)
        return tuple((shift, severity) for shift in named for severity in SEVERITIES)
    if len(tail) > 2 or tail[1] not in map(str, SEVERITIES):
        raise DataError(
            f"severity {':'.join(tail[1:])!r} in {text!r} is none; expected a whole number from 1 "
            "to 5"
        )
    return ((shift, int(tail[1])),)


def open_set(name: str, role: str = "test", options: DataOptions | None = None) -> "SampleSet":
    """The set of a plain name, a `folder:`, `npz:` or `events:` path or a `tonic:` class, at its
    own size. Raises `DataError`.
    """
    options = options or DataOptions()
    if (name, role) not in options.opened:
        head, _, path = name.partition(":")
        if head in FILE_SETS:
            found = function_at(FILE_SETS[head])(path, role, options)
        elif head in SETS:
            found = SETS[head].open(role, options)
        else:
            raise DataError(_unknown(head))
        options.opened[name, role] = found
    return options.opened[name, role]


def open_splits(
    text: "str | SampleSet",
    view: "View | Shape",
    *,
    seed: int = 0,
    role: str = "test",
    options: DataOptions | None = None,
    id_space: str | None = None,
    held: "SampleSet | None" = None,
) -> "list[Split]":
    """Every split a specification, or a set in memory, stands for, brought to what a network takes;
    shifts of the set `held` in memory go by its name. Raises `DataError`.

    `name:all` leaves out shifts that images of the network's channels, or events of one polarity,
    cannot take. Where
    `id_space` is the label space of the ID set, classes that overlap with it are left out by a
    documented list (groups.toml).
    """
    from ahsar_eval.data.split import EventSet, limited, split_of

    if not isinstance(text, str):
        return [split_of(text, view)]
    spec, options = parse(text, held), options or DataOptions()
    if not 0 <= seed < 2**31:
        raise DataError(f"the seed is {seed}; expected a whole number from 0 to 2147483647")
    if spec.name in STORED_SETS:
        from ahsar_eval.data.array_files import cifar_c

        # The corrupted images are files: nothing is drawn, no seed counts.
        return [
            replace(
                split_of(
                    limited(cifar_c(spec.name, str(shift), severity, options), options.limit), view
                ),
                shift=shift,
                severity=severity,
            )
            for shift, severity in spec.variants
        ]
    if held is not None and held.name == spec.name and spec.variants[0][0] is not None:
        source = held
    else:
        source = open_set(spec.name, role, options)
        if id_space is not None:
            source = without_overlap(source, id_space)
        source = limited(source, options.limit)
    channels, _, _ = view if isinstance(view, tuple) else view.shape
    events, left_out = isinstance(source, EventSet), list[str]()
    if text.endswith(":all"):
        shifts = EVENT_SHIFTS if events else SHIFTS
        left_out = [name for name, known in shifts.items() if not known.takes(channels)]
        why = "its events have one polarity" if events else f"the network takes {channels} channels"
        said = f"{', '.join(left_out)} left out, for {why}"
        source = replace(source, said=(*source.said, said)) if left_out else source
    return [
        split_of(source, view, shift, severity, seed, options)
        for shift, severity in spec.variants
        if shift not in left_out
    ]


def open_split(
    text: "str | SampleSet",
    view: "View | Shape",
    *,
    seed: int = 0,
    role: str = "test",
    options: DataOptions | None = None,
) -> "Split":
    """The one split a specification, or a set in memory, stands for. Raises `DataError` also where
    it stands for several.
    """
    splits = open_splits(text, view, seed=seed, role=role, options=options)
    if isinstance(text, str) and len(splits) != 1:
        first = splits[0]
        raise DataError(
            f"{text!r} stands for {len(splits)} splits and one is needed here; name a severity, as "
            f"in {first.source.name}:{first.shift}:3"
        )
    return splits[0]


def expand_groups(names: Iterable[str], id_name: str) -> list[str]:
    """`names` with `near` and `far` replaced by the sets of OpenOOD's groups for the ID set
    `id_name`, each set once.

    Raises `DataError` where there is no such group for that ID set.
    """
    found: list[str] = []
    for name in names:
        group = name in ("near", "far")
        if group and id_name not in GROUPS:
            raise DataError(
                f"there is no {name} group for {id_name}; groups are known for "
                f"{' and '.join(GROUPS)}: name the sets"
            )
        found += GROUPS[id_name][name] if group else [name]
    return list(dict.fromkeys(found))


def group_of(name: str, id_name: str) -> str:
    """'near' or 'far' for an unshifted set of OpenOOD's groups for the ID set `id_name` (a name or
    label space), '' for any other.
    """
    groups = GROUPS.get(id_name, {})
    return next((group for group, names in groups.items() if name in names), "")


def without_overlap(source: "AnySet", id_name: str) -> "AnySet":
    """`source` without the images whose class the ID set has, too; the note says how many were
    removed.

    `id_name` is the ID set's name or label space (cifar10, cifar100). A set that has no listed
    class comes back as it is.
    """
    import numpy as np

    from ahsar_eval.data.split import noted, subset

    if source.label_space == "tiny-imagenet" and id_name.partition(":")[0] in ("folder", "npz"):
        unknown = "no class removed: whether the ID set has some of these is not known (--id-space)"
        return noted(source, unknown)
    listed = OVERLAPS.get(id_name, {}).get(source.label_space, {})
    shared = [number for number, wnid in enumerate(source.classes) if wnid in listed]
    kept = np.flatnonzero(~np.isin(source.labels, shared))
    removed = len(source) - len(kept)
    if not removed:
        return source
    if not len(kept):
        raise DataError(
            f"every image of {source.name} is of a class that {id_name} has, too; choose another "
            "set"
        )
    return noted(
        subset(source, kept),
        f"{removed:,} of {len(source):,} images removed, of {len(shared)} classes that {id_name} "
        "has, too",
    )
