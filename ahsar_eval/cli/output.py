"""How what was found reaches the user: printed in one form, written as files, drawn."""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ahsar_eval.cli.options import completed, option, takes
from ahsar_eval.errors import UsageError
from ahsar_eval.options import option as field

if TYPE_CHECKING:
    from ahsar_eval.results.results import Results

Function = TypeVar("Function", bound=Callable[..., Any])
FORMATS = ("table", "json", "csv", "markdown", "latex")
FIGURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Output:
    """What is printed, written and drawn."""

    form: str = field("What is printed.", "table", group="output", flag="--format", choices=FORMATS)
    detail: bool = field(
        "Print every table (files hold them all in any case).", False, group="output"
    )
    out: Path | None = field(
        "Also write JSON, CSV, Markdown and LaTeX to this folder.", group="output", metavar="DIR"
    )
    figures: Path | None = None
    figure_format: str = "pdf"

    def check_folders(self) -> None:
        """That results can be written where they are to go. Raises `OutputError`."""
        from ahsar_eval.files import check_folder_writable

        for folder in (self.out, self.figures):
            if folder is not None:
                check_folder_writable(folder)

    def give(
        self, make: "Callable[[], Results]", plans: Sequence[Any], asked: Mapping[str, Any]
    ) -> None:
        """Print, write and draw what `make` finds, or what answered the same question before.

        `plans` have a `runner`, the `splits` it sees and perhaps more that is `asked` of it; with
        `asked` they are everything that decides a character of the output. Raises `OutputError`.
        """
        from ahsar_eval.evaluation.finished import finished

        found: list[Results] = []

        def texts(marks: Mapping[str, str]) -> dict[str, dict[str, str]]:
            results = make()
            found.append(results)
            marked = dataclasses.replace(results, facts={**results.facts, **marks})
            return self._texts(marked)

        runners = [plan.runner for plan in plans]
        # A coarser format than fp32 is measured and said each time; figures need the arrays.
        anew = self.figures is not None or any(one.precision != "fp32" for one in runners)
        key = {
            **{name: _plain(value) for name, value in asked.items()},
            "plans": [
                {**getattr(plan, "asked", {}), **plan.runner.asked(plan.splits)} for plan in plans
            ],
            "output": [self.detail, self._width, self._colour],
        }
        self._say(finished(None if anew else runners[0].store.folder, key, texts), found)

    def show(self, results: "Results") -> None:
        """Print, write and draw results. Raises `OutputError`."""
        self._say(self._texts(results), [results])

    def _say(self, texts: Mapping[str, Mapping[str, str]], found: "Sequence[Results]") -> None:
        if self.out is not None:
            from ahsar_eval.results.results import write_forms

            write_forms(self.out, texts["name"]["name"], texts["written"])
        click.echo({**texts["written"], **texts["shown"]}[self.form].rstrip("\n"))
        if self.figures is not None:
            from ahsar_eval.plots.of_results import save_all

            announce(save_all(found[0], self.figures, self.figure_format))

    @property
    def _width(self) -> int | None:
        from ahsar_eval.results.text import terminal_width

        return terminal_width()

    @property
    def _colour(self) -> bool:
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def _texts(self, results: "Results") -> dict[str, dict[str, str]]:
        written = {
            "json": results.to_json(),
            "csv": results.to_csv(),
            "markdown": results.to_markdown(),
            "latex": results.to_latex(),
        }
        shown = {
            "table": results.to_text(detail=self.detail, width=self._width, colour=self._colour),
            "markdown": results.to_markdown(detail=self.detail),
            "latex": results.to_latex(detail=self.detail),
        }
        return {"written": written, "shown": shown, "name": {"name": results.kind.name}}


def output_options(command: Function) -> Function:
    """--format, --detail and --out, handed to the command as `output` with --figures."""

    def checked(*arguments: Any, output: Output, **values: Any) -> Any:
        drawn = {name: values.pop(name) for name in ("figures", "figure_format") if name in values}
        output = dataclasses.replace(output, **drawn)
        output.check_folders()
        return command(*arguments, output=output, **values)

    return takes(Output, "output")(functools.wraps(command)(checked))  # type: ignore[return-value]


def figure_options(help: str) -> Callable[[Function], Function]:
    """--figures and --figure-format."""

    def decorate(command: Function) -> Function:
        shape = click.Choice(["pdf", "png", "svg"])
        command = option(
            "--figure-format",
            type=shape,
            default="pdf",
            show_default=True,
            help="Of the files below --figures.",
        )(command)
        return option("--figures", type=click.Path(path_type=Path), metavar="DIR", help=help)(
            command
        )

    return decorate


def checkpoints(command: Function) -> Function:
    """CKPT …, completed with the names of shipped ones and with files."""
    return click.argument(
        "checkpoints",
        nargs=-1,
        metavar="[CKPT]...",
        shell_complete=lambda context, _, begun: completed("checkpoint", begun, context),
    )(command)


def check_figure(out: Path) -> None:
    """That a figure can be written: a suffix it can have and a folder that takes files. Raises
    `UsageError` or `OutputError`.
    """
    from ahsar_eval.files import check_folder_writable

    if out.suffix.lower() not in FIGURES:
        raise UsageError(
            f"--out is {str(out)!r}; expected a name that ends in {', '.join(FIGURES)}"
        )
    check_folder_writable(out.parent)


def announce(paths: Sequence[Path]) -> None:
    """Say on standard error what was written."""
    for path in paths:
        click.echo(f"wrote {path}", err=True)


def _plain(value: Any) -> Any:
    """A request as JSON can hold it: its data options are in the identity of every split."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return {name: one for name, one in dataclasses.asdict(value).items() if name != "data"}
