"""Options of `ahsar-eval energy` beyond sets and checkpoints, checked and handed on as
one value."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.errors import UsageError

if TYPE_CHECKING:
    from ahsar_eval.data import Split
    from ahsar_eval.energy import Choices, Profile

Command = TypeVar("Command", bound=Callable[..., Any])
# Values stand here as text: --help must not import what computes with them (a test compares the
# two).
CHOICE_VALUES = {
    "first_layer": ("once", "every-step"),
    "macs": ("dense", "effective"),
    "average_pooling": ("folded", "dense", "effective"),
    "batch_norm": ("folded", "counted"),
    "event_frames": ("analog", "replayed"),
}
_CHOICE_HELP = {
    "first_layer": "Charge a layer that a static image meets once, or at every step.",
    "macs": "Of analog inputs: every position with a weight, or only inputs that are not zero.",
    "average_pooling": (
        "Before weights: folded into them, or values that are multiplied (dense or where not zero)."
    ),
    "batch_norm": "Behind a layer with weights: folded into it, or counted apart.",
    "event_frames": "Frames of event counts: analog values, or every event replayed as a spike.",
}
CONVENTION_NAMES = ("ahsar-eval", "neurobench", "spikingjelly", "syops", "rate-flops")
HUB = CONVENTION_NAMES[0]
EVERY_PAIR = "all"
MOST_SCALES = 100


@dataclass(frozen=True)
class EnergySettings:
    """What was asked for: prices, choices, shifts, threshold scales, other counters' totals and the
    ledgers between them.
    """

    profiles: "tuple[Profile, ...]"
    choices: "Choices"
    shifts: tuple[str, ...]
    scales: tuple[float, ...]
    conventions: tuple[str, ...]
    ledgers: tuple[tuple[str, str], ...]
    memory: bool

    @property
    def is_plain(self) -> bool:
        """Whether results alone are asked for, in the form that JSON and CSV have for them."""
        return not (self.shifts or self.scales or self.conventions or self.ledgers)

    def asked(self) -> dict[str, Any]:
        """What of it makes a request."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "memory"
        }


def energy_options(command: Command) -> Command:
    """--profile, --shift, --scales, the choices, --memory, --convention and --explain, handed to
    the command as `settings`.
    """
    options = [
        click.option(
            "--profile",
            "profiles",
            multiple=True,
            metavar="NAME|FILE.toml",
            help="Energy per operation: 45nm-fp32 (default), 45nm-fp16, 45nm-int32, 45nm-int8, a "
            "chip (loihi, truenorth, spinnaker-45, …: "
            "docs/energy.md) or a file of your own; may be repeated.",
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
                type=click.Choice(values),
                default=values[0],
                show_default=True,
                help=_CHOICE_HELP[name],
            )
            for name, values in CHOICE_VALUES.items()
        ),
        click.option(
            "--memory",
            is_flag=True,
            help="Also energy with memory access (Lemaire et al. 2022), for profiles that price "
            "it.",
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
            help=f"Walk from one convention's totals to another's, step by step; alone: from {HUB} "
            "to each.",
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
        from ahsar_eval.energy import Choices

        chosen = Choices(**{name: rest.pop(name) for name in CHOICE_VALUES})
        if scales is not None and (rest.get("scale") is not None or rest.get("no_replay")):
            raise UsageError(
                "--scales runs the network at each of them, and --scale or --no-replay at one; "
                "give one of the two"
            )
        named = tuple(name for text in conventions for name in text.split(","))
        settings = EnergySettings(
            profiles=chosen_profiles(profiles, memory),
            choices=chosen,
            shifts=tuple(name for text in shifts for name in shift_names(text)),
            scales=() if scales is None else scale_values(scales),
            conventions=chosen_conventions(named),
            ledgers=chosen_ledgers(explain, named),
            memory=memory,
        )
        return command(*arguments, settings=settings, **rest)

    return functools.reduce(lambda inner, option: option(inner), reversed(options), wrapped)  # type: ignore[return-value]


def shift_names(text: str) -> list[str]:
    """What stands between commas; a path keeps its own."""
    return (
        [text]
        if text.startswith(("folder:", "npz:", "events:"))
        else [name.strip() for name in text.split(",")]
    )


def event_notes(splits: "list[Split]", choices: "Choices") -> list[str]:
    """How frames of events are charged, where there are any. Raises `UsageError` where there are
    none to replay.
    """
    taken = choices.event_frames
    if not any(split.modality == "events" for split in splits):
        if taken == "replayed":
            raise UsageError(
                f"--event-frames replayed is for event recordings, and {splits[0].source.name} "
                "holds images; leave it out"
            )
        return []
    return [
        f"Frames of events: {taken}, for {choices.reasons()['event_frames']} (--event-frames; "
        "--input-kind goes before it)."
    ]


def chosen_profiles(names: tuple[str, ...], memory: bool) -> "tuple[Profile, ...]":
    """The profiles by name or file, the default without one. Raises `UsageError`, also where
    --memory has nothing to price it.
    """
    from ahsar_eval.energy import profile_of

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
        raise UsageError(f"--scales is {text!r}; {form}") from None
    if is_range and len(numbers) != 3:
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
        numbers = [low + place * step for place in range(int(count) + 1)]
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
    from ahsar_eval.energy.conventions import convention_of

    if "all" in names:
        return CONVENTION_NAMES
    for name in names:
        convention_of(name)
        if names.count(name) > 1:
            raise UsageError(f"the convention {name} was named twice; name it once")
    return names


def chosen_ledgers(
    explain: str | None, conventions: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Pairs to walk between: the one given, or from ours to each convention named (to all without
    any). Raises `UsageError`.
    """
    if explain is None:
        return ()
    if explain == EVERY_PAIR:
        named = [name for name in chosen_conventions(conventions) if name != HUB]
        return tuple((HUB, name) for name in named or CONVENTION_NAMES[1:])
    start, colon, end = explain.partition(":")
    if not colon or not start or not end:
        raise UsageError(
            f"--explain {explain} names no two conventions; expected START:END, such as "
            f"{HUB}:neurobench, or nothing behind it"
        )
    from ahsar_eval.energy.ledger import pair_of

    pair = pair_of(explain)
    if start == end:
        raise UsageError(f"--explain {explain} walks from a convention to itself; name two")
    return (pair,)
