"""`ahsar-eval study`: a grid of trainings and evaluations from a file, run side by side, and its
tables.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.options import Command, Group, option, takes
from ahsar_eval.cli.output import Output, figure_options, output_options
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import AhsarError, UsageError
from ahsar_eval.evaluation.requests import check_replicates

if TYPE_CHECKING:
    from ahsar_eval.study.run import State
    from ahsar_eval.study.workers import Workers


class CellsFailedError(AhsarError):
    """Some cells of a study failed; the others are done."""

    exit_code = 1


@click.group(
    cls=Group,
    short_help="Run a grid of trainings with their evaluations, and make the paper's tables of it.",
)
def study() -> None:
    """A study is a TOML file, or the name of one that ships: digits, paper, search, smoke."""


@study.command(short_help="Run every cell that has no result yet.")
@click.argument("file", metavar="FILE.toml|NAME")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the cells go; run again to continue.",
)
@click.option(
    "--workers",
    type=int,
    metavar="N",
    help="Processes side by side (default: cores / threads, or one per GPU); 0: in this one.",
)
@click.option(
    "--ray",
    "address",
    metavar="ADDRESS|local",
    help="Run on a cluster of Ray; local starts one here.",
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, or cuda: workers are spread over the GPUs (default: the file's).",
)
@click.option("--verbose", is_flag=True, help="A line on standard error for every cell that ends.")
@takes(DataOptions, "data")
def run(
    file: str,
    out: Path,
    workers: int | None,
    address: str | None,
    device: str | None,
    verbose: bool,
    data: DataOptions,
) -> None:
    """Train and evaluate every cell of a study; each is written when it is done.

    The same command continues a study that was stopped, and tries failed cells again. Failed cells
    are listed at the end (exit code 1) and do not stop the others.

    \b
    ahsar-eval study run digits --out runs/digits
    ahsar-eval study run my.toml --out runs/my --workers 4 --data-root data
    """
    if workers is not None and address is not None:
        raise UsageError(
            "--workers and --ray were both given; on a cluster Ray decides, leave --workers out"
        )
    if workers is not None and workers < 0:
        raise UsageError(
            f"--workers is {workers}; expected a number of processes, or 0 for this one"
        )
    from ahsar_eval.study.folder import StudyFolder
    from ahsar_eval.study.run import run_study
    from ahsar_eval.study.study_file import read_study

    read = read_study(file)
    cells = read.cells(data, device=device)
    folder, device = StudyFolder(out), cells[0].request.device  # the same for all: it is no axis
    if address is None:
        from ahsar_eval.evaluation.networks import prepare_torch

        prepare_torch(device, None)
    chosen = _workers(workers, address, device, read.threads, len(cells), folder.cell)
    display = _Display(verbose)
    try:
        folder.begin(read.text, {cell.key for cell in cells})
        end = run_study(read, cells, folder, chosen, data=data, on_change=display)
    finally:
        chosen.close()
        display.clear()
    for cell, error in end.failed.items():
        click.echo(f"failed: {cell} ({cell.key}): {error}", err=True)
    if end.failed:
        raise CellsFailedError(
            f"{len(end.failed)} of {end.total} cells failed, {end.done} are done; mend the cause "
            "and give the same command again"
        )
    click.echo(
        f"{end.done} of {end.total} cells are done; ahsar-eval study table {out} makes the tables",
        err=True,
    )


@study.command(short_help="The cells of a study, what they cost, and what is done.")
@click.argument("file", metavar="FILE.toml|NAME")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Also what is done there."
)
@click.option(
    "--device", metavar="DEVICE", help="As for study run: a cell of another device is another cell."
)
@takes(DataOptions, "data")
def show(file: str, out: Path | None, device: str | None, data: DataOptions) -> None:
    """Cells by axis, optimisation steps of a training, and with --out how far a run is."""
    from ahsar_eval.study.folder import StudyFolder
    from ahsar_eval.study.run import overview
    from ahsar_eval.study.study_file import read_study

    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a file; name the folder that study run writes to")
    read = read_study(file)
    folder = None if out is None else StudyFolder(out)
    click.echo(overview(read, read.cells(data, device=device), data, folder))


@study.command(
    cls=Command,
    short_help="The paper's Tables 1, 2 and 4 from a study's results, with intervals and claims.",
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@option(
    "--bootstrap",
    "replicates",
    group="statistics",
    type=int,
    metavar="B",
    help="Replicates of the bootstrap over cells and seeds.",
)
@option(
    "--seed",
    group="statistics",
    default=0,
    show_default=True,
    type=int,
    help="Seed of the bootstrap.",
)
@figure_options("Draw the curves of training and validation loss.")
@output_options
def table(folder: Path, replicates: int | None, seed: int, output: Output) -> None:
    """Differences from the matched baseline at matched seeds, beside the paper's; DIR is what study
    run wrote to.

    --out writes study.json, .md and .tex, and a CSV for each kind of line, study.csv being the
    paper's differences.
    """
    if replicates is not None:
        check_replicates(replicates)
    if seed < 0:
        raise UsageError(f"--seed is {seed}; expected 0 or more")
    from ahsar_eval.files import csv_text, write_text
    from ahsar_eval.study.statistics import REPLICATES
    from ahsar_eval.study.tables import study_results

    made = study_results(folder, replicates=replicates or REPLICATES, seed=seed)
    output.show(made)
    if output.out is not None:
        for kind, lines in made.kind.content(made).items():
            if kind != "deltas":
                write_text(output.out / f"study-{kind}.csv", csv_text(lines))


def _workers(
    count: int | None, address: str | None, device: str, threads: int, cells: int, folder_of: Any
) -> "Workers":
    """Where the cells run. Raises `UsageError`."""
    from ahsar_eval.study import workers

    on_gpus = device.split(":")[0] == "cuda"
    if address is not None:
        return workers.RayWorkers(address, threads, gpu=on_gpus)
    if count == 0:
        return workers.InProcess(folder_of)
    gpus = workers.visible_gpus() if device == "cuda" else []
    wanted = count or (len(gpus) if on_gpus else workers.default_count(threads))
    return workers.LocalWorkers(max(1, min(wanted, cells)), threads, folder_of, gpus)


class _Display:
    """How far a study is: a line that is written over on a terminal, a line for each cell with
    `verbose`, else nothing.
    """

    def __init__(self, verbose: bool) -> None:
        self.verbose, self.live = verbose, sys.stderr.isatty()
        self.width = 0

    def __call__(self, state: "State") -> None:
        self.clear()
        for cell, error in state.finished.items() if self.verbose else ():
            said = f"done: {cell}" if error is None else f"failed: {cell}: {error}"
            click.echo(f"{time.strftime('%H:%M:%S')} {said}", err=True)
        if not self.live:
            return
        line = (
            f"{state.done} of {state.total} cells done, {len(state.running)} running, "
            f"{state.left} left"
        )
        if state.failed:
            line += f", {len(state.failed)} failed"
        if state.seconds_to_go is not None:
            line += f", about {_duration(state.seconds_to_go)} to go"
        click.echo(line, err=True, nl=False)
        self.width = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self.width:
            click.echo(f"\r{' ' * self.width}\r", err=True, nl=False)
            self.width = 0


def _duration(seconds: float) -> str:
    """'45 s', '12 min' or '3 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
