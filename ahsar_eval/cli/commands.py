"""What commands are made of: options from the fields of requests, shown in groups, and the one way
in which results reach the user: printed in one form, written as files, drawn.

What is printed is kept under the hash of all that made it: a command that is asked the same again,
of the same recordings, needs neither statistics nor tables. Only the command line and the time are
filled in anew: texts are kept with marks in their places.
"""

import contextlib
import dataclasses
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.cli.completion import completed
from ahsar_eval.errors import OutputError, UsageError
from ahsar_eval.files import check_folder_writable, sha256_of, table_beside, write_text
from ahsar_eval.options import GROUPS, described, kind_of
from ahsar_eval.process import QUIET, VERBOSE, set_verbosity
from ahsar_eval.results import FIGURES, FILES

if TYPE_CHECKING:
    from ahsar_eval.evaluation.inputs import Plan
    from ahsar_eval.results.results import Results

Texts = Mapping[str, Mapping[str, str]]  # by use (shown, written) and form
# Of the command line and the time in texts that are kept: no other text holds these.
MARKS = {
    "command": "4c0e9bd1c15f52a1d3ea4f8a7b3e6d90",
    "time": "d27f9b0c84e1432bb5f06a39178c5e2f",
}
Function = TypeVar("Function", bound=Callable[..., Any])


class Option(click.Option):
    """An option that stands below a heading of the help."""

    def __init__(self, *words: Any, group: str = "output", completes: str = "", **settings: Any):
        if completes:
            settings["shell_complete"] = lambda context, _, begun: completed(
                completes, begun, context
            )
        super().__init__(*words, **{"show_default": True, **settings})
        self.group = group


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
                    callback=functools.partial(_verbosity, level),
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


def _verbosity(level: int, context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        set_verbosity(level)


option = functools.partial(click.option, cls=Option)  # `click.option` with a group
PATH = click.Path(path_type=Path)
_OWN = table_beside(__file__, "options.toml")


def takes(but: Sequence[str] = (), **requests: type) -> Callable[[Function], Function]:
    """The options of all fields of `requests` `but` some; each request is handed to the command as
    one value under its name.
    """

    def decorate(command: Function) -> Function:
        @functools.wraps(command)
        def wrapped(*arguments: Any, **values: Any) -> Any:
            made = {name: _taken(request, values, but) for name, request in requests.items()}
            return command(*arguments, **made, **values)

        options = [one for request in requests.values() for one in _options(request, but)]
        return functools.reduce(lambda inner, one: one(inner), reversed(options), wrapped)  # type: ignore[return-value]

    return decorate


def own_options(words: str) -> Callable[[Function], Function]:
    """The options of the command `words` that are parameters of its own, of their kind and
    default; `options.toml` has what is said of each.
    """

    def decorate(command: Function) -> Function:
        known = inspect.signature(command).parameters
        for name, said in reversed(_OWN[words].items()):
            command = _option(name, known[name].annotation, known[name].default, said)(command)
        return command

    return decorate


def _options(request: type, but: Sequence[str] = ()) -> Iterator[Callable[[Any], Any]]:
    for field in dataclasses.fields(request):
        if "nested" in field.metadata:
            yield from _options(field.metadata["nested"])
        elif "help" in field.metadata and field.name not in but:
            yield _option(field.name, field.type, field.default, field.metadata)


def _taken(request: type, values: dict[str, Any], but: Sequence[str] = ()) -> Any:
    """A request of the values of its fields, which are taken out of `values`; checked, where it can
    check itself."""
    own: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        if "nested" in field.metadata:
            own[field.name] = _taken(field.metadata["nested"], values)
        elif "help" in field.metadata and field.name not in but:
            own[field.name] = values.pop(field.name)
    made = request(**{name: value for name, value in own.items() if value is not None})
    if hasattr(made, "check"):
        made.check()
    return made


def _option(
    name: str, hint: Any, default: Any, told: Mapping[str, Any]
) -> Callable[[Function], Function]:
    """An option of what is told of a field, as of `click.option`; `choices` and a `range` limit
    its values.
    """
    said, kind = dict(told), kind_of(hint)
    types: dict[Any, Any] = {Any: str, Path: PATH}
    if "choices" in said:
        types[kind] = click.Choice(said.pop("choices"))
    if "range" in said:
        types[kind] = click.IntRange(*said.pop("range"))
    if default not in (dataclasses.MISSING, inspect.Parameter.empty):
        said["default"] = default
    flag = said.pop("flag", f"--{name.replace('_', '-')}")
    settings = {
        "show_default": default != "",
        "multiple": isinstance(default, tuple),
        "is_flag": kind is bool,
        "type": types.get(kind, kind),
    }
    return option(flag, name, **settings, **said)


# --- output


@dataclass(frozen=True)
@described(__file__, "options.toml", group="output")
class Output:
    """What is printed, written and drawn."""

    form: str = "table"
    detail: bool = False
    out: Path | None = None
    figures: Path | None = None
    figure_format: str = "pdf"

    def check(self) -> None:
        """That results can be written where they are to go. Raises `OutputError`."""
        for folder in (self.out, self.figures):
            if folder is not None:
                check_folder_writable(folder)

    def give(
        self, make: "Callable[[], Results]", plans: "Sequence[Plan]", asked: Mapping[str, Any]
    ) -> Texts:
        """Print, write and draw what `make` finds, or what answered the same question before; the
        texts of it.

        `plans` say which network runs on which splits; with `asked`, which names the "command",
        and the "request", they are everything that decides a character of the output. Raises
        `OutputError`.
        """
        from ahsar_eval.results.text import terminal_width

        found = functools.cache(make)

        def texts() -> Texts:
            return self._texts(dataclasses.replace(found(), facts={**found().facts, **MARKS}))

        runners = [plan.runner for plan in plans]
        # A coarser format than fp32 is measured and said each time; figures need the arrays.
        anew = self.figures is not None or any(one.precision != "fp32" for one in runners)
        # The options of a request's data are in the identity of every split, and the set points
        # themselves in the keys of what they change.
        request = dataclasses.asdict(asked["request"]) | dict.fromkeys(
            ("data", "set_points", "adapt_start")
        )
        key = {
            **asked,
            "request": request,
            "plans": [
                {
                    "scores": plan.scores,
                    "left_out": plan.left_out,
                    **plan.runner.asked(plan.splits),
                }
                for plan in plans
            ],
            "output": [self.detail, terminal_width(), self._colour],
        }
        kept = finished(None if anew else runners[0].store.folder, key, texts)
        self._say(asked["command"], kept, found)
        return kept

    def show(self, results: "Results") -> None:
        """Print, write and draw results. Raises `OutputError`."""
        self._say(results.kind.name, self._texts(results), lambda: results)

    def _say(self, name: str, texts: Texts, found: "Callable[[], Results]") -> None:
        if self.out is not None:
            from ahsar_eval.results.results import write_forms

            write_forms(self.out, name, texts["written"])
        click.echo({**texts["written"], **texts["shown"]}[self.form].rstrip("\n"))
        if self.figures is not None:
            from ahsar_eval.plots import save_all

            announce(save_all(found(), self.figures, self.figure_format))

    @property
    def _colour(self) -> bool:
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def _texts(self, results: "Results") -> Texts:
        """Every form, for whichever is asked for when the same is asked again."""
        written = {form: results.to(form, detail=True) for form in FILES}
        shown = {
            form: results.to(form, detail=self.detail, colour=self._colour)
            for form in ("table", "markdown", "latex")
        }
        return {"written": written, "shown": shown}


def finished(folder: Path | None, parts: Mapping[str, Any], make: Callable[[], Texts]) -> Texts:
    """The texts of `parts` that are kept in `folder`, else what `make` makes of them, kept.

    `parts` is JSON-ready and holds everything that can change a character, but for the versions
    and the code of this package, which are added here. `make` writes `MARKS` for the "command" and
    the "time". A file that cannot be read is as good as none, and so is a folder that cannot be
    written.
    """
    from ahsar_eval.provenance import package_digest, provenance

    now = provenance()
    key = sha256_of(json.dumps([parts, now["versions"], package_digest()], sort_keys=True))
    file, kept = Path(folder or ".", f"{key}.json"), None
    if folder is not None:
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(file.read_text(encoding="utf-8"))
    if not (isinstance(kept, dict) and "shown" in kept):
        kept = make()
        if folder is not None:
            with contextlib.suppress(OutputError):  # recordings, which lie there too, say so
                write_text(file, json.dumps(kept))
    spelled = {
        "json": json.dumps(now["command"], ensure_ascii=False)[1:-1],
        "latex": " ".join(now["command"].split()),  # a comment ends with its line
    }

    return {
        use: {
            form: text.replace(MARKS["command"], spelled.get(form, now["command"])).replace(
                MARKS["time"], now["time"]
            )
            for form, text in texts.items()
        }
        for use, texts in kept.items()
    }


def check_figure(out: Path, *more: str) -> None:
    """That a figure can be written: a suffix it can have, one of all figures or `more`, and a
    folder that takes files. Raises `UsageError` or `OutputError`.
    """
    known = (*FIGURES, *more)
    if out.suffix.lower() not in known:
        raise UsageError(f"--out is {str(out)!r}; expected a name that ends in {', '.join(known)}")
    check_folder_writable(out.parent)


def announce(paths: Sequence[Path]) -> None:
    """Say on standard error what was written."""
    for path in paths:
        click.echo(f"wrote {path}", err=True)
