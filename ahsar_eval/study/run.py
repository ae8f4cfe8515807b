"""Running a study: what it would do, which cell is next, what became of those that ran, and how far
it is.
"""

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from ahsar_eval.data import DataOptions, training_sets
from ahsar_eval.errors import AhsarError
from ahsar_eval.provenance import command_line
from ahsar_eval.results.table import Table, text_rows
from ahsar_eval.results.text import paragraphs, terminal_width, text_table
from ahsar_eval.study.folder import CHECKPOINT, StudyFolder
from ahsar_eval.study.grid import Cell, Study
from ahsar_eval.study.workers import Ended, Job, Workers, failed
from ahsar_eval.training.loop import epoch_samples
from ahsar_eval.training.request import TrainingRequest

_LOOK_SECONDS = 1.0


@dataclass
class Run:
    """How far a study is: cells `waiting` to be started, `running` and `done` (those of earlier
    runs among them) by key, `failed` with the reason; `news` are those that ended since it was last
    told, with the reason where they failed.
    """

    study: str
    folder: StudyFolder
    workers: Workers
    data: DataOptions
    waiting: list[Cell] = field(default_factory=list)
    running: dict[Future[Ended], Cell] = field(default_factory=dict)
    done: dict[str, Cell] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    news: dict[Cell, str | None] = field(default_factory=dict)
    since: float = field(default_factory=time.time)

    def start_what_can(self) -> None:
        """Start cells while workers are free: those whose source is done and that no other process
        works on.
        """
        for cell in [*self.waiting]:
            if len(self.running) >= self.workers.size:
                return
            if cell.source in {one.key for one in self.failed}:
                said = f"the cell whose scales it takes failed ({cell.source})"
                self._keep(cell, failed("SourceFailed", said))
            elif cell.source is None or cell.source in self.done:
                self._start(cell)

    def gather(self) -> None:
        """Keep what ended."""
        if not self.running:
            if self.waiting:
                time.sleep(_LOOK_SECONDS)  # for what another process works on
            return
        for future in wait(self.running, _LOOK_SECONDS, FIRST_COMPLETED).done:
            self._keep(self.running.pop(future), future.result())

    def found_done(self, cell: Cell) -> bool:
        """Whether a cell has a result; it then counts as done."""
        there = self.folder.is_done(cell.key)
        if there:
            self._ended(cell)
        return there

    def _start(self, cell: Cell) -> None:
        if not self.folder.take(cell.key, failed_since=self.since):
            if elsewhere := self.folder.failure(cell.key, since=self.since):
                self._ended(cell, elsewhere)
            return
        if self.found_done(cell):  # by another process, meanwhile
            return
        source = None
        if cell.source is not None:
            trained = self.folder.cell(cell.source)
            try:
                source = (trained / CHECKPOINT).read_bytes()
            except OSError:
                said = (
                    f"the checkpoint whose scales it takes is gone from {trained}; remove that "
                    "folder and run again"
                )
                self._keep(cell, failed("SourceLost", said))
                return
        self.waiting.remove(cell)
        job = Job(cell, self.study, self.data, source, command_line())
        self.running[self.workers.submit(job)] = cell

    def _keep(self, cell: Cell, ended: Ended) -> None:
        self.folder.keep(cell, ended)
        self._ended(cell, ended.failure.get("error"))

    def _ended(self, cell: Cell, error: str | None = None) -> None:
        self.news[cell] = error
        if error is None:
            self.done[cell.key] = cell
        else:
            self.failed[cell] = error
        if cell in self.waiting:
            self.waiting.remove(cell)
        self.folder.release(cell.key)


def run_study(
    study: Study,
    cells: Sequence[Cell],
    folder: StudyFolder,
    workers: Workers,
    *,
    data: DataOptions,
    on_change: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Run every cell that has no result yet; in the end every cell is done or failed. `on_change`
    is told how far it is.

    Cells that another process works on in the same folder are waited for. A cell that failed in an
    earlier run is tried again. However this ends, workers are closed and what is done stays done.
    Raises `OutputError`.
    """
    # What this process opened does not travel.
    run = Run(study.name, folder, workers, replace(data, opened={}))
    try:
        run.waiting = [cell for cell in cells if not run.found_done(cell)]
        run.news.clear()
        on_change(run)
        while run.waiting or run.running:
            run.start_what_can()
            run.gather()
            on_change(run)
            run.news.clear()
        return run
    finally:
        workers.close()
        for key in [*folder.held]:
            folder.release(key)


def overview(
    study: Study, cells: Sequence[Cell], data: DataOptions, folder: StudyFolder | None = None
) -> str:
    """Cells by axis, sets, steps of a training, and with a `folder` what is done there; opens
    training sets, trains nothing.
    """
    width = terminal_width()
    threads = f"{study.threads} thread{'s' * (study.threads > 1)}"
    axes = _counted(
        ("axis", "value"),
        ((axis, _said(getattr(cell.request, axis))) for axis in study.axes for cell in cells),
    )
    trained = _counted(("training", "steps"), _costs(cells, data))
    tables = [replace(axes, names=("axis",), ruled=False), trained]
    others = {cell.request.data: ", ".join(cell.ood) or "nothing else" for cell in cells}
    evaluated = [
        f"{name} is evaluated on its test split and on: {said}." for name, said in others.items()
    ]
    parts = [
        f"{study.name}: {len(cells)} cells, a training and its evaluation each, {threads}.",
        *(text_table(table, width) for table in tables if table.rows),
        paragraphs(evaluated, width),
    ]
    if folder is not None:
        parts.append(paragraphs(_progress(cells, folder), width))
    return "\n\n".join(parts)


def _counted(titles: Sequence[str], each: Iterable[tuple[str, str]]) -> Table:
    """How many cells there are of each kind."""
    rows = [(*kind, count) for kind, count in Counter(each).items()]
    return text_rows("", (*titles, "cells"), rows)


def steps_of(request: TrainingRequest, samples: int) -> int:
    """Optimisation steps of a training on `samples` samples."""
    size = request.batch_size
    return request.epochs * math.ceil(epoch_samples(samples, size) / size)


def _costs(cells: Sequence[Cell], data: DataOptions) -> Iterator[tuple[str, str]]:
    """The kind of each cell's training, and its steps."""

    @functools.cache
    def samples(name: str, hold_out: float, part: int | None) -> int | str:
        try:
            return len(training_sets(name, hold_out=hold_out, samples=part, options=data)[0])
        except AhsarError as error:
            return f"unknown: {error}"

    for request in (cell.request for cell in cells):
        count = samples(request.data, request.hold_out, request.samples)
        what = f"{request.data}, batch {request.batch_size}, {request.epochs} epochs"
        if isinstance(count, int):
            what, count = f"{what}, {count:,} samples", f"{steps_of(request, count):,}"
        yield what, count


def _progress(cells: Sequence[Cell], folder: StudyFolder) -> list[str]:
    done, running, failed = 0, [], []
    for cell in cells:
        named = f"{cell} ({cell.key})"
        if folder.is_done(cell.key):
            done += 1
        elif (holder := folder.holder(cell.key)) is not None:
            running.append(f"running: {named}, {holder}")
        elif (error := folder.failure(cell.key)) is not None:
            failed.append(f"failed: {named}: {error}")
    left = len(cells) - done - len(running) - len(failed)
    counted = f"{done} done, {len(running)} running, {len(failed)} failed, {left} left."
    return [f"{folder.root}: {counted}", *running, *failed]


def _said(value: object) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)
