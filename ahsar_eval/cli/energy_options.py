"""Options of `ahsar-eval energy` beyond sets and checkpoints, checked and handed on as what makes a
request.
"""

import functools
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.energy.choices import CHOICES, Choices
from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.energy.profiles import Profile

Command = TypeVar("Command", bound=Callable[..., Any])
_CHOICE_HELP = {
    "first_layer": "Charge a layer that a static image meets once, or at every step.",
    "macs": "Of analog inputs: every position with a weight, or only inputs that are not zero.",
    "average_pooling": (
        "Before weights: folded into them, or values that are multiplied (dense or where not zero)."
    ),
    "batch_norm": "Behind a layer with weights: folded into it, or counted apart.",
    "event_frames": "Frames of event counts: analog values, or every event replayed as a spike.",
}
# Names stand here as text: --help must not import what computes with them (a test compares the
# two).
CONVENTION_NAMES = ("ahsar-eval", "neurobench", "spikingjelly", "syops", "rate-flops")
REFERENCE = CONVENTION_NAMES[0]
EVERY_PAIR = "all"
MOST_SCALES = 100


def energy_options(command: Command) -> Command:
    """--profile, --shift, --scales, the choices, --memory, --convention and --explain, handed to
    the command as `settings`: keywords of an `EnergyRequest`.
    """
    options = [
        click.option(
            "--profile",
            "profiles",
            multiple=True,
            metavar="NAME|FILE.toml",
            help=(
                "Energy per operation: 45nm-fp32 (default), 45nm-fp16, 45nm-int32, 45nm-int8, a "
                "chip (loihi, truenorth, spinnaker-45, …: docs/energy.md) or a file of your own; "
                "may be repeated."
            ),
        ),
        click.option(
            "--shift",
            "shifts",
            multiple=True,
            metavar="NAME",
            help="Also on a shift of the set: contrast, contrast:5, all; may be repeated.",
        ),
        click.option(
            "--scales",
            metavar="A,B,…|LOW:HIGH:STEP",
            help="Also at these threshold scales: accuracy against energy.",
        ),
        *(
            click.option(
                f"--{name.replace('_', '-')}",
                type=click.Choice(list(values)),
                default=next(iter(values)),
                show_default=True,
                help=_CHOICE_HELP[name],
            )
            for name, values in CHOICES.items()
        ),
        click.option(
            "--memory",
            is_flag=True,
            help=(
                "Also energy with memory access (Lemaire et al. 2022), for profiles that price it."
            ),
        ),
        click.option(
            "--convention",
            "conventions",
            multiple=True,
            metavar="NAME",
            help="Also the totals that another counter gives for the same run: "
            f"{', '.join(CONVENTION_NAMES)}; or all.",
        ),
        click.option(
            "--explain",
            is_flag=False,
            flag_value=EVERY_PAIR,
            metavar="[START:END]",
            help=(
                "Walk from one convention's totals to another's, step by step; alone: from "
                f"{REFERENCE} to each."
            ),
        ),
    ]

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        profiles: tuple[str, ...],
        shifts: tuple[str, ...],
        scales: str | None,
        memory: bool,
        conventions: tuple[str, ...],
        explain: str | None,
        **rest: Any,
    ) -> Any:
        choices = Choices(**{name: rest.pop(name) for name in CHOICES})
        if scales is not None and (rest.get("scale") is not None or rest.get("no_replay")):
            raise UsageError(
                "--scales runs the network at each of them, and --scale or --no-replay at one; "
                "give one of the two"
            )
        named = tuple(name for text in conventions for name in text.split(","))
        settings = {
            "profiles": chosen_profiles(profiles, memory),
            "choices": choices,
            "shifts": tuple(name for text in shifts for name in shift_names(text)),
            "scales": () if scales is None else scale_values(scales),
            "conventions": chosen_conventions(named),
            "ledgers": chosen_pairs(explain, named),
            "memory": memory,
        }
        return command(*arguments, settings=settings, **rest)

    return functools.reduce(lambda inner, option: option(inner), reversed(options), wrapped)  # type: ignore[return-value]


def shift_names(text: str) -> list[str]:
    """What stands between commas; a path keeps its own."""
    if text.startswith(("folder:", "npz:", "events:")):
        return [text]
    return [name.strip() for name in text.split(",")]


def chosen_profiles(names: tuple[str, ...], memory: bool) -> "tuple[Profile, ...]":
    """The profiles by name or file, the default without one. Raises `UsageError`, also where
    --memory has nothing to price it.
    """
    from ahsar_eval.energy.profiles import profile_of

    found = tuple(profile_of(name) for name in names or ("45nm-fp32",))
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


def chosen_conventions(names: tuple[str, ...]) -> tuple[str, ...]:
    """Conventions by name; all for 'all'. Raises `UsageError`."""
    from ahsar_eval.energy.conventions.reconciliation import convention_of

    if "all" in names:
        return CONVENTION_NAMES
    for name in names:
        convention_of(name)
        if names.count(name) > 1:
            raise UsageError(f"the convention {name} was named twice; name it once")
    return names


def chosen_pairs(explain: str | None, conventions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs to reconcile: the one given, or from ours to each convention named (to all without
    any). Raises `UsageError`.
    """
    if explain is None:
        return ()
    if explain == EVERY_PAIR:
        named = [name for name in chosen_conventions(conventions) if name != REFERENCE]
        return tuple((REFERENCE, name) for name in named or CONVENTION_NAMES[1:])
    start, _, end = explain.partition(":")
    if not start or not end:
        raise UsageError(
            f"--explain {explain} names no two conventions; expected START:END, such as "
            f"{REFERENCE}:neurobench, or nothing behind it"
        )
    from ahsar_eval.energy.conventions.reconciliation import pair_of

    pair = pair_of(explain)
    if start == end:
        raise UsageError(f"--explain {explain} walks from a convention to itself; name two")
    return (pair,)
