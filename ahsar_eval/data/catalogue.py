"""Sets by name, and the specification grammar: `name`, `name:shift`, `name:shift:severity`, `name:all`."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ahsar_eval.data.adapt import to_shape
from ahsar_eval.data.digits import digits
from ahsar_eval.data.folder import folder
from ahsar_eval.data.npz import npz
from ahsar_eval.data.photo_patches import photo_patches
from ahsar_eval.data.shifts import ALIASES, SEVERITIES, SHIFTS, shifted
from ahsar_eval.data.split import ImageSet, Indices, Split
from ahsar_eval.errors import DataError

SETS: dict[str, Callable[[str], ImageSet]] = {"digits": digits, "photo-patches": photo_patches}
FILE_SETS: dict[str, Callable[[str, str], ImageSet]] = {"folder": folder, "npz": npz}


@dataclass(frozen=True)
class SetSpec:
    """A parsed specification: the set's name or path spec, and the (shift, severity) pairs it stands for; (None, 0) is the set as it is."""

    name: str
    variants: tuple[tuple[str | None, int], ...]


def known_sets() -> str:
    """The names a user can type, for messages and help."""
    return ", ".join([*SETS, *(f"{kind}:PATH" for kind in FILE_SETS)])


def parse(text: str) -> SetSpec:
    """Read `name`, `name:shift` (severities 1 to 5), `name:shift:severity` or `name:all` (every shift, every severity).

    A path after `folder:` or `npz:` may hold colons. Raises `DataError` for an unknown set, shift or severity, listing those known.
    """
    head, *rest = text.split(":")
    variants: tuple[tuple[str | None, int], ...] = ((None, 0),)
    if head in FILE_SETS:
        if not rest or not rest[0]:
            raise DataError(f"{text!r} names no file; expected {head}:PATH")
        path, tail = _path_and_tail(rest)
        name = f"{head}:{path}"
    elif head in SETS:
        name, tail = head, rest
    else:
        raise DataError(f"unknown set {head!r}; known are {known_sets()}, each optionally followed by :shift, :shift:severity or :all")
    if tail:
        variants = _variants(tail, text)
    return SetSpec(name, variants)


def _path_and_tail(parts: list[str]) -> tuple[str, list[str]]:
    """Split a path from a trailing shift: only a known shift name (or all) ends the path."""
    if len(parts) >= 3 and _shift_name(parts[-2]) in SHIFTS:
        return ":".join(parts[:-2]), parts[-2:]
    if len(parts) >= 2 and (_shift_name(parts[-1]) in SHIFTS or parts[-1] == "all"):
        return ":".join(parts[:-1]), parts[-1:]
    return ":".join(parts), []


def _shift_name(text: str) -> str:
    name = text.replace("-", "_")
    return ALIASES.get(name, name)


def _variants(tail: list[str], text: str) -> tuple[tuple[str | None, int], ...]:
    if tail == ["all"]:
        return tuple((shift, severity) for shift in SHIFTS for severity in SEVERITIES)
    shift = _shift_name(tail[0])
    if shift not in SHIFTS:
        raise DataError(f"unknown shift {tail[0]!r} in {text!r}; known are {', '.join(SHIFTS)} and all")
    if len(tail) == 1:
        return tuple((shift, severity) for severity in SEVERITIES)
    if len(tail) > 2 or tail[1] not in map(str, SEVERITIES):
        raise DataError(f"severity {':'.join(tail[1:])!r} in {text!r} is none; expected a whole number from 1 to 5")
    return ((shift, int(tail[1])),)


def open_set(name: str, role: str = "test") -> ImageSet:
    """The set of a plain name or `folder:` / `npz:` path, at its own size. Raises `DataError`."""
    head, _, path = name.partition(":")
    if head in FILE_SETS:
        return FILE_SETS[head](path, role)
    if head not in SETS:
        raise DataError(f"unknown set {head!r}; known are {known_sets()}")
    return SETS[head](role)


def open_splits(text: str, shape: tuple[int, int, int], *, seed: int = 0, role: str = "test") -> list[Split]:
    """Every split a specification stands for, brought to a network's input `shape` (C, H, W). Raises `DataError`."""
    spec = parse(text)
    if not 0 <= seed < 2**31:
        raise DataError(f"the seed is {seed}; expected a whole number from 0 to 2147483647")
    source = open_set(spec.name, role)
    return [split_of(source, shape, shift, severity, seed) for shift, severity in spec.variants]


def split_of(source: ImageSet, shape: tuple[int, int, int], shift: str | None = None, severity: int = 0, seed: int = 0) -> Split:
    """A set brought to a network's input `shape` (C, H, W), and shifted where a shift is named."""
    adapt, adaptation = to_shape(shape, source.name)
    return Split(
        source=source,
        shape=shape,
        adapt=adapt,
        adaptation="none" if source.shape == shape else adaptation,
        shift=shift,
        severity=severity,
        seed=seed,
        labels_preserved=shift is None or SHIFTS[shift].labels_preserved,
        corrupt=None if shift is None else _corruption(shift, severity, seed),
    )


def open_split(text: str, shape: tuple[int, int, int], *, seed: int = 0, role: str = "test") -> Split:
    """The one split a specification stands for. Raises `DataError` also where it stands for several."""
    splits = open_splits(text, shape, seed=seed, role=role)
    if len(splits) != 1:
        raise DataError(
            f"{text!r} stands for {len(splits)} splits and one is needed here; name a severity, as in {parse(text).name}:contrast:3"
        )
    return splits[0]


def _corruption(shift: str, severity: int, seed: int) -> Callable[[Tensor, Indices], Tensor]:
    return lambda images, indices: shifted(images, shift, severity, seed, indices)
