"""`ahsar-eval study`: a grid of trainings and evaluations from a file, run side by side, and its
tables.
"""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ahsar_eval.cli.commands import PATH, Command, Group, Output, own_options, takes
from ahsar_eval.data import DataOptions
from ahsar_eval.errors import AhsarError, UsageError
from ahsar_eval.evaluation.requests import check_replicates
from ahsar_eval.files import csv_text, write_text
from ahsar_eval.process import progress
from ahsar_eval.study.workers import RunRequest, workers_for

if TYPE_CHECKING:
    from tqdm import tqdm

    from ahsar_eval.study.run import Run


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
@own_options("study run")
@takes(request=RunRequest)
def run(file: str, out: Path, request: RunRequest) -> None:
    """Train and evaluate every cell of a study; each is written when it is done.

    The same command continues a study that was stopped, and tries failed cells again. Failed cells
    are listed at the end (exit code 1) and do not stop the others.

    \b
    ahsar-eval study run digits --out runs/digits
    ahsar-eval study run my.toml --out runs/my --workers 4 --data-root data
    """
    from ahsar_eval.evaluation.inputs import prepare_torch
    from ahsar_eval.study.folder import StudyFolder
    from ahsar_eval.study.grid import read_study
    from ahsar_eval.study.run import run_study

    read = read_study(file)
    cells = read.cells(request.data, device=request.device)
    folder, device = StudyFolder(out), cells[0].request.device  # the same for all: it is no axis
    if request.address is None:
        prepare_torch(device, None)
    workers = workers_for(request, device, read.threads, len(cells), folder.cell)
    bar: tqdm[None] = progress((), read.name, len(cells), "cell")
    with contextlib.closing(workers), bar:

        def tell(now: "Run") -> None:
            for cell, error in now.news.items() if request.verbose else ():
                said = f"done: {cell}" if error is None else f"failed: {cell}: {error}"
                with bar.external_write_mode():
                    click.echo(f"{time.strftime('%H:%M:%S')} {said}", err=True)
            bar.n = len(now.done)
            bar.set_postfix(running=len(now.running), failed=len(now.failed))

        folder.begin(read.text, {cell.key for cell in cells})
        bar.initial = len(folder.done())
        end = run_study(read, cells, folder, workers, data=request.data, on_change=tell)
    for cell, error in end.failed.items():
        click.echo(f"failed: {cell} ({cell.key}): {error}", err=True)
    if end.failed:
        raise CellsFailedError(
            f"{len(end.failed)} of {len(cells)} cells failed, {len(end.done)} are done; mend the "
            "cause and give the same command again"
        )
    click.echo(
        f"{len(cells)} of {len(cells)} cells are done; ahsar-eval study table {out} makes the "
        "tables",
        err=True,
    )


@study.command(short_help="The cells of a study, what they cost, and what is done.")
@click.argument("file", metavar="FILE.toml|NAME")
@own_options("study show")
@takes(data=DataOptions)
def show(file: str, data: DataOptions, out: Path | None = None, device: str | None = None) -> None:
    """Cells by axis, optimisation steps of a training, and with --out how far a run is."""
    from ahsar_eval.study.folder import StudyFolder
    from ahsar_eval.study.grid import read_study
    from ahsar_eval.study.run import overview

    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {str(out)!r} is a file; name the folder that study run writes to")
    read = read_study(file)
    folder = None if out is None else StudyFolder(out)
    click.echo(overview(read, read.cells(data, device=device), data, folder))


@study.command(
    cls=Command,
    short_help="The paper's Tables 1, 2 and 4 from a study's results, with intervals and claims.",
)
@click.argument("folder", type=PATH, metavar="DIR")
@own_options("study table")
@takes(output=Output)
def table(folder: Path, output: Output, replicates: int | None = None, seed: int = 0) -> None:
    """Differences from the matched baseline at matched seeds, beside the paper's; DIR is what study
    run wrote to.

    --out writes study.json, .md and .tex, and a CSV for each kind of line, study.csv being the
    paper's differences.
    """
    if replicates is not None:
        check_replicates(replicates)
    if seed < 0:
        raise UsageError(f"--seed is {seed}; expected 0 or more")
    from ahsar_eval.study.comparisons import REPLICATES
    from ahsar_eval.study.tables import study_results

    made = study_results(folder, replicates=replicates or REPLICATES, seed=seed)
    output.show(made)
    if output.out is not None:
        for kind, lines in made.kind.content(made).items():
            if kind != "deltas":
                write_text(output.out / f"study-{kind}.csv", csv_text(lines))
