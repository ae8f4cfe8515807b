"""Running a study: what it would do, which cell is next, what became of those that ran, and how far
it is.
"""

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ahsar_eval.data import DataOptions, training_sets
from ahsar_eval.errors import AhsarError
from ahsar_eval.provenance import command_line
from ahsar_eval.results.table import text_rows
from ahsar_eval.results.text import paragraphs, terminal_width, text_table
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.grid import Cell, Study
from ahsar_eval.study.workers import Failure, Job, Workers
from ahsar_eval.training.loop import epoch_samples
from ahsar_eval.training.request import TrainingRequest

_LOOK_SECONDS = 1.0
_TOUCH_SECONDS = 60.0


@dataclass(frozen=True)
class State:
    """How far a study is: cells `done` (those of earlier runs among them), `failed` with the
    reason, `running`, and `left` to start.

    `seconds_to_go` is None before the first cell is done. `finished` are the cells that ended since
    the last state, with the reason where they failed.
    """

    total: int
    done: int
    failed: Mapping[Cell, str]
    running: Sequence[Cell]
    left: int
    seconds_to_go: float | None
    finished: Mapping[Cell, str | None] = field(default_factory=dict)


def run_study(
    study: Study,
    cells: Sequence[Cell],
    folder: StudyFolder,
    workers: Workers,
    *,
    data: DataOptions,
    on_change: Callable[[State], None] = lambda state: None,
) -> State:
    """Run every cell that has no result yet; gives the last state, in which every cell is done or
    failed.

    Cells that another process works on in the same folder are waited for. A cell that failed in an
    earlier run is tried again. However this ends, workers are closed and what is done stays done.
    Raises `OutputError`.
    """
    # What this process opened does not travel.
    run = _Run(study, cells, folder, workers, replace(data, opened={}))
    touched = time.monotonic()
    try:
        run.waiting = [cell for cell in cells if not run.found_done(cell)]
        run.finished.clear()
        on_change(run.state())
        while run.waiting or run.running:
            run.start_what_can()
            run.gather()
            on_change(run.state())
            if time.monotonic() - touched > _TOUCH_SECONDS:
                folder.touch()
                touched = time.monotonic()
        return run.state()
    finally:
        workers.close()
        for key in [*folder.held]:
            folder.release(key)


@dataclass
class _Run:
    study: Study
    cells: Sequence[Cell]
    folder: StudyFolder
    workers: Workers
    data: DataOptions
    waiting: list[Cell] = field(default_factory=list)
    running: dict[str, Cell] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    finished: dict[Cell, str | None] = field(default_factory=dict)  # since the last state
    tries: dict[str, int] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    seconds: dict[object, list[float]] = field(default_factory=dict)  # of cells done, by kind
    since: float = field(default_factory=time.time)

    def start_what_can(self) -> None:
        """Start cells while workers are free: those whose source is done and that no other process
        works on.
        """
        for cell in [*self.waiting]:
            if self.workers.free < 1:
                return
            if cell.source in self.failed:
                said = f"the cell whose scales it takes failed ({cell.source})"
                self._fail(cell, Failure(said, "SourceFailed"))
            elif cell.source is None or cell.source in self.done:
                self._start(cell)

    def gather(self) -> None:
        """Keep what ended."""
        if not self.running:
            if self.waiting:
                time.sleep(_LOOK_SECONDS)  # for what another process works on
            return
        for ended in self.workers.ended(_LOOK_SECONDS):
            cell = self.running.pop(ended.key)
            if ended.result is not None:
                self.folder.keep_result(cell.key, ended.result, ended.files)
                self.found_done(cell)
                self.folder.release(cell.key)
            elif ended.failure is not None:
                self._fail(cell, ended.failure)
            elif self.tries[cell.key] < self.workers.tries:
                self.waiting.insert(0, cell)
            else:
                said = f"the worker that ran it was ended by {ended.died}, more than once"
                self._fail(cell, Failure(said, "WorkerDied"))

    def state(self) -> State:
        """How far it is now."""
        finished, self.finished = self.finished, {}
        return State(
            total=len(self.cells),
            done=len(self.done),
            failed={cell: self.failed[cell.key] for cell in self.cells if cell.key in self.failed},
            running=tuple(self.running.values()),
            left=len(self.waiting),
            seconds_to_go=self._seconds_to_go(),
            finished=finished,
        )

    def found_done(self, cell: Cell) -> bool:
        """Whether a cell has a result; it then counts as done."""
        result = self.folder.result(cell.key)
        if result is None:
            return False
        self.done.add(cell.key)
        self.finished[cell] = None
        self.seconds.setdefault(_kind(cell), []).append(sum(result["seconds"].values()))
        return True

    def _start(self, cell: Cell) -> None:
        if cell.key not in self.folder.held:  # held already where its worker died
            if not self.folder.take(cell.key, failed_since=self.since):
                elsewhere = self.folder.failure(cell.key, since=self.since)
                if elsewhere is not None:
                    self._failed(cell, elsewhere)
                return
            if self.found_done(cell):  # by another process, meanwhile
                self.waiting.remove(cell)
                self.folder.release(cell.key)
                return
        source = None if cell.source is None else self.folder.checkpoint(cell.source)
        if cell.source is not None and source is None:
            said = (
                "the checkpoint whose scales it takes is gone from "
                f"{self.folder.cell(cell.source)}; remove that folder and run again"
            )
            self._fail(cell, Failure(said, "SourceLost"))
            return
        self.waiting.remove(cell)
        self.running[cell.key] = cell
        self.begun[cell.key] = time.monotonic()
        self.tries[cell.key] = self.tries.get(cell.key, 0) + 1
        self.workers.start(Job(cell, self.study.name, self.data, source, command_line()))

    def _fail(self, cell: Cell, failure: Failure) -> None:
        self.folder.keep_failure(cell, failure)
        self._failed(cell, failure.error)
        self.folder.release(cell.key)

    def _failed(self, cell: Cell, error: str) -> None:
        self.failed[cell.key] = self.finished[cell] = error
        if cell in self.waiting:
            self.waiting.remove(cell)

    def _seconds_to_go(self) -> float | None:
        every = [seconds for some in self.seconds.values() for seconds in some]
        if not every:
            return None

        def expected(cell: Cell) -> float:
            known = self.seconds.get(_kind(cell), every)
            return sum(known) / len(known)

        now = time.monotonic()
        running = self.running.values()
        left = [max(expected(cell) - (now - self.begun[cell.key]), 0.0) for cell in running]
        return sum([*left, *map(expected, self.waiting)]) / self.workers.size


def _kind(cell: Cell) -> object:
    """What decides how long a cell takes, as far as is known before it ran."""
    request = cell.request
    return request.data, request.backbone, request.paradigm, request.timesteps


def overview(
    study: Study, cells: Sequence[Cell], data: DataOptions, folder: StudyFolder | None = None
) -> str:
    """Cells by axis, sets, steps of a training, and with a `folder` what is done there; opens
    training sets, trains nothing.
    """
    width = terminal_width()
    threads = f"{study.threads} thread{'s' * (study.threads > 1)}"
    parts = [f"{study.name}: {len(cells)} cells, a training and its evaluation each, {threads}."]
    rows = []
    for axis in study.axes:
        counted = Counter(_said(getattr(cell.request, axis)) for cell in cells)
        rows += [(axis, *one) for one in counted.items()]
    axes = replace(text_rows("", ("axis", "value", "cells"), rows), names=("axis",), ruled=False)
    trained = text_rows("", ("training", "steps", "cells"), _costs(cells, data))
    tables = [table for table in (axes, trained) if table.rows]
    parts += [text_table(table, width) for table in tables]
    others = {cell.request.data: ", ".join(cell.ood) or "nothing else" for cell in cells}
    parts.append(
        paragraphs(
            [
                f"{name} is evaluated on its test split and on: {said}."
                for name, said in others.items()
            ],
            width,
        )
    )
    if folder is not None:
        parts.append(paragraphs(_progress(cells, folder), width))
    return "\n\n".join(parts)


def steps_of(request: TrainingRequest, samples: int) -> int:
    """Optimisation steps of a training on `samples` samples."""
    size = request.batch_size
    return request.epochs * math.ceil(epoch_samples(samples, size) / size)


def _costs(cells: Sequence[Cell], data: DataOptions) -> list[tuple[str, str, int]]:
    """Each kind of training, its steps, and how many cells are of it."""

    @functools.cache
    def samples(name: str, hold_out: float, part: int | None) -> int | str:
        try:
            return len(training_sets(name, hold_out=hold_out, samples=part, options=data)[0])
        except AhsarError as error:
            return f"unknown: {error}"

    found: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        request = cell.request
        count = samples(request.data, request.hold_out, request.samples)
        what = f"{request.data}, batch {request.batch_size}, {request.epochs} epochs"
        if isinstance(count, int):
            found[f"{what}, {count:,} samples", f"{steps_of(request, count):,}"] += 1
        else:
            found[what, count] += 1
    return [(*cost, count) for cost, count in found.items()]


def _progress(cells: Sequence[Cell], folder: StudyFolder) -> list[str]:
    done, running, failed = 0, [], []
    for cell in cells:
        named = f"{cell} ({cell.key})"
        if folder.result(cell.key) is not None:
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
