"""What `energy` was asked, checked as far as no network is needed: names become profiles, scales,
conventions and shifts of the set.

Nothing heavy is imported before something is asked.
"""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from ahsar_eval.data import EVENT_SHIFTS, SETS, SHIFTS, parse
from ahsar_eval.data.catalogue import STORED_SETS
from ahsar_eval.energy.profiles import Profile, profile_of
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.requests import CONVENTIONS, EnergyRequest, Thresholds

EVERY_PAIR = "all"
MOST_SCALES = 100


def requested(request: EnergyRequest, thresholds: Thresholds | None = None) -> EnergyRequest:
    """`request` with profiles by name or file opened, scales as numbers, and shifts and conventions
    one by one. Raises `UsageError`.
    """
    at, scales = thresholds or Thresholds(), request.scales
    if scales is not None and (at.scale is not None or at.no_replay):
        raise UsageError(
            "--scales runs the network at each of them, and --scale or --no-replay at one; give "
            "one of the two"
        )
    named = [name for text in request.conventions for name in text.split(",")]
    pairs_of(request.explain, named)
    return replace(
        request,
        profiles=chosen_profiles(request.profiles, request.memory),
        shifts=tuple(name for text in request.shifts for name in shift_names(text)),
        scales=scale_values(scales) if isinstance(scales, str) else tuple(sorted(scales or ())),
        conventions=chosen_conventions(named),
    )


def shift_names(text: str) -> list[str]:
    """What stands between commas; a path keeps its own."""
    if text.startswith(("folder:", "npz:", "events:")):
        return [text]
    return [name.strip() for name in text.split(",")]


def chosen_profiles(names: Sequence[str | Profile], memory: bool = False) -> tuple[Profile, ...]:
    """The profiles by name or file. Raises `UsageError`, also where there is nothing to price
    `memory`.
    """
    found = tuple(name if isinstance(name, Profile) else profile_of(name) for name in names)
    for profile in found:
        if sum(other.name == profile.name for other in found) > 1:
            raise UsageError(f"the profile {profile.name} was named twice; name it once")
        if memory and profile.memory_pj is None:
            raise UsageError(
                f"--memory needs a profile that prices memory access, and {profile.name} does not; "
                "leave one of the two out"
            )
    return found


def scale_values(text: str) -> tuple[float, ...]:
    """Threshold scales from 'A,B,…', or from 'LOW:HIGH:STEP' with both ends; ascending. Raises
    `UsageError`.
    """
    form = "expected scales such as 0.5,1,2 or LOW:HIGH:STEP such as 0.5:2:0.25"
    is_range = ":" in text
    try:
        numbers = [Decimal(part.strip()) for part in text.split(":" if is_range else ",")]
    except InvalidOperation:
        numbers = []
    if not numbers or (is_range and len(numbers) != 3):
        raise UsageError(f"--scales is {text!r}; {form}")
    if not all(number.is_finite() and number > 0 for number in numbers):
        raise UsageError(f"--scales {text} holds a number that is not positive; {form}")
    if is_range:
        low, high, step = numbers
        if high < low:
            raise UsageError(f"--scales {text} ends below its start; {form}")
        count = (high - low) / step
        if count >= MOST_SCALES:
            raise UsageError(
                f"--scales {text} are more than {MOST_SCALES} scales, and each is a pass over the "
                "set; take a larger step"
            )
        if count != int(count):
            raise UsageError(
                f"--scales {text} does not reach {high} from {low} in steps of {step}; choose a "
                "step that divides the range"
            )
        numbers = [low + i * step for i in range(int(count) + 1)]
    if len(numbers) > MOST_SCALES:
        raise UsageError(
            f"--scales names {len(numbers)} scales, and each is a pass over the set; expected at "
            f"most {MOST_SCALES}"
        )
    values = [float(number) for number in numbers]
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"--scales {text} names {value:g} twice; name it once")
        if not 0 < value < float("inf"):
            raise UsageError(
                f"--scales {text} holds a number beyond what a threshold can be; {form}"
            )
    return tuple(sorted(values))


def chosen_conventions(names: Sequence[str]) -> tuple[str, ...]:
    """Conventions by name; all for 'all'. Raises `UsageError`."""
    from ahsar_eval.energy.conventions import convention_of

    if "all" in names:
        return CONVENTIONS
    for name in names:
        convention_of(name)
        if names.count(name) > 1:
            raise UsageError(f"the convention {name} was named twice; name it once")
    return tuple(names)


def pairs_of(explain: str | None, conventions: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs to reconcile: the one given, or from ours to each convention named (to all without
    any). Raises `UsageError`.
    """
    if explain is None:
        return []
    ours, *others = CONVENTIONS
    if explain == EVERY_PAIR:
        named = [name for name in chosen_conventions(conventions) if name != ours]
        return [(ours, name) for name in named or others]
    start, _, end = explain.partition(":")
    if not start or not end:
        raise UsageError(
            f"--explain {explain} names no two conventions; expected START:END, such as "
            f"{ours}:neurobench, or nothing behind it"
        )
    from ahsar_eval.energy.conventions import convention_of

    for name in (start, end):
        convention_of(name)
    if start == end:
        raise UsageError(f"--explain {explain} walks from a convention to itself; name two")
    return [(start, end)]


def shift_of(text: str, data_name: str) -> str:
    """A shift as the user typed it, as a specification of the set. Raises `UsageError` for another
    set or an unknown shift.
    """
    name, head = parse(data_name).name, text.partition(":")[0]
    if text in STORED_SETS or head in STORED_SETS:
        # corrupted copies that lie in files; whether they are of this set shows when they are open
        return text
    if text == name or text.startswith(f"{name}:"):
        whole = text
    elif head in SETS or head in ("folder", "npz", "events"):
        raise UsageError(
            f"--shift {text} is of another set than {name}; name a shift alone, such as contrast, "
            "contrast:5 or all"
        )
    else:
        whole = f"{name}:{text}"
    spec = parse(whole)
    if spec.name != name or spec.variants == ((None, 0),):
        events = name.startswith("events:") or (name in SETS and SETS[name].modality == "events")
        known: Any = EVENT_SHIFTS if events else SHIFTS
        raise UsageError(
            f"--shift {text} names no shift; known are {', '.join(known)} and all, each optionally "
            "followed by :1 to :5"
        )
    return whole
