"""Options made from the fields of requests, shown in groups; how they become a request again, and
the names that complete them.
"""

import dataclasses
import functools
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ahsar_eval.options import GROUPS, kind_of
from ahsar_eval.process import QUIET, VERBOSE, set_verbosity

Function = TypeVar("Function", bound=Callable[..., Any])


class Option(click.Option):
    """An option that stands below a heading of the help."""

    def __init__(self, *words: Any, group: str = "output", completes: str = "", **settings: Any):
        super().__init__(*words, **settings)
        self.group, self.completes = group, completes

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of what it takes that begin so."""
        if not self.completes:
            return super().shell_complete(ctx, incomplete)
        return completed(self.completes, incomplete, ctx)


class Command(click.Command):
    """A command whose help shows its options in groups; every one can be --quiet or --verbose."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        for flag, level, said in (
            ("--quiet", QUIET, "Say nothing but results and errors."),
            ("--verbose", VERBOSE, "Say what is run, found in the cache and how long it took."),
        ):
            if any(flag in parameter.opts for parameter in self.params):
                continue
            self.params.append(
                Option(
                    [flag],
                    is_flag=True,
                    expose_value=False,
                    callback=_sets_verbosity(level),
                    group="running",
                    help=said,
                )
            )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of each group below its name."""
        for group in GROUPS:
            lines = [
                line
                for parameter in self.get_params(ctx)
                if isinstance(parameter, click.Option)
                and getattr(parameter, "group", "output") == group
                and (line := parameter.get_help_record(ctx)) is not None
            ]
            if lines:
                with formatter.section(group.capitalize()):
                    formatter.write_dl(lines)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def _sets_verbosity(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    def chosen(context: click.Context, parameter: click.Parameter, given: bool) -> None:
        if given:
            set_verbosity(level)

    return chosen


def option(*words: str, group: str = "output", **settings: Any) -> Callable[[Function], Function]:
    """`click.option` with a group."""
    return click.option(*words, cls=Option, group=group, **settings)


def takes(request: type, into: str, but: Sequence[str] = ()) -> Callable[[Function], Function]:
    """The options of all fields of a request `but` some, handed to the command as one value
    `into`."""

    def decorate(command: Function) -> Function:
        @functools.wraps(command)
        def wrapped(*arguments: Any, **values: Any) -> Any:
            return command(*arguments, **{into: _taken(request, values, but)}, **values)

        made = reversed(_options(request, but))
        return functools.reduce(lambda inner, one: one(inner), made, wrapped)  # type: ignore[return-value]

    return decorate


def asked_for(context: click.Context) -> dict[str, Any]:
    """The values that the user gave, by parameter: what has its default is left out."""
    given = click.core.ParameterSource.COMMANDLINE
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) == given
    }


def _options(request: type, but: Sequence[str] = ()) -> list[Callable[[Any], Any]]:
    found = []
    for field in dataclasses.fields(request):
        if "nested" in field.metadata:
            found += _options(field.metadata["nested"])
        elif "help" in field.metadata and field.name not in but:
            found.append(_option(field, kind_of(field)))
    return found


def _taken(request: type, values: dict[str, Any], but: Sequence[str] = ()) -> Any:
    """A request of the values of its fields, which are taken out of `values`; checked, where it can
    check itself."""
    own: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        if "nested" in field.metadata:
            own[field.name] = _taken(field.metadata["nested"], values)
        elif "help" in field.metadata and field.name not in but:
            value = values.pop(field.name)
            if value is not None or field.default_factory is dataclasses.MISSING:
                own[field.name] = value
    made = request(**own)
    if hasattr(made, "check"):
        made.check()
    return made


def _option(field: dataclasses.Field[Any], kind: type) -> Callable[[Function], Function]:
    said: Mapping[str, Any] = field.metadata
    default = None if field.default is dataclasses.MISSING else field.default
    settings: dict[str, Any] = {name: said[name] for name in ("help", "group", "completes")}
    settings |= {"default": default, "show_default": default not in (None, "", ())}
    if kind is bool:
        settings |= {"is_flag": True, "show_default": False}
    elif said["choices"]:
        settings["type"] = click.Choice(said["choices"])
    else:
        plain = str if kind is Any else kind
        settings["type"] = click.Path(path_type=Path) if kind is Path else plain
        settings["metavar"] = said["metavar"] or None
    settings["multiple"] = isinstance(default, tuple)
    flag = said["flag"] or f"--{field.name.replace('_', '-')}"
    return option(flag, field.name, **settings)


# --- completion

PACKAGE = Path(__file__).parent.parent
SCORES = (
    "entropy entropy-of-mean-softmax mean-entropy mutual-information msp max-logit energy gen "
    "msp-temperature odin knn mahalanobis relative-mahalanobis vim scp all"
).split()


def completed(kind: str, begun: str, context: click.Context) -> list[CompletionItem]:
    """What can stand where `begun` does: names of the `kind`, and files where those may."""
    names = [name for name in NAMES[kind](begun, context) if name.startswith(begun)]
    files = [CompletionItem(begun, type="file")] if kind in ("checkpoint", "profile") else []
    return [*map(CompletionItem, names), *files]


def _sets(begun: str, context: click.Context) -> Iterable[str]:
    """Sets; behind a colon the shifts of that one."""
    from ahsar_eval.data import EVENT_SHIFTS, SETS, SHIFTS
    from ahsar_eval.data.catalogue import FILE_SETS

    name, colon, _ = begun.partition(":")
    if not colon:
        return [*SETS, *(f"{kind}:" for kind in FILE_SETS), "near", "far"]
    events = name in SETS and SETS[name].modality == "events"
    return [f"{name}:{shift}" for shift in (*(EVENT_SHIFTS if events else SHIFTS), "all")]


def _shifts(begun: str, context: click.Context) -> Iterable[str]:
    from ahsar_eval.data import EVENT_SHIFTS, SHIFTS

    return [*SHIFTS, *EVENT_SHIFTS, "all"]


def _checkpoints(begun: str, context: click.Context) -> Iterable[str]:
    folders = PACKAGE / "_checkpoints", PACKAGE.parent / "checkpoints"
    return sorted(path.stem for folder in folders for path in folder.glob("*.pt"))


def _profiles(begun: str, context: click.Context) -> Iterable[str]:
    text = (PACKAGE / "energy" / "profiles.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text))


def _layers(begun: str, context: click.Context) -> Iterable[str]:
    """Spiking layers of the first checkpoint that is named; for these alone a network is built."""
    from ahsar_eval.homeostasis import read_thresholds
    from ahsar_eval.networks.checkpoints import DEFAULT_PAIR, load_checkpoint
    from ahsar_eval.networks.checkpoints import network_of as built

    names = context.params.get("checkpoints") or DEFAULT_PAIR
    return list(read_thresholds(built(load_checkpoint(names[0])).backbone))


NAMES: dict[str, Any] = {
    "set": _sets,
    "shift": _shifts,
    "score": lambda begun, context: SCORES,
    "checkpoint": _checkpoints,
    "profile": _profiles,
    "layer": _layers,
}
