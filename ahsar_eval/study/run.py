"""Running a study: which cell is next, what became of those that ran, and how far it is."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ahsar_eval.data import DataOptions
from ahsar_eval.provenance import command_line
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.grid import Cell, Study
from ahsar_eval.study.job import Ended, Failure, Job
from ahsar_eval.study.workers import Workers

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
    running: tuple[Cell, ...]
    left: int
    seconds_to_go: float | None
    finished: tuple[tuple[Cell, str | None], ...] = ()


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
    run = _Run(
        study, cells, folder, workers, replace(data, opened={})
    )  # what this process opened does not travel
    touched = time.monotonic()
    try:
        run.find_done()
        on_change(run.state())
        while run.waiting or run.running:
            before = {*run.done, *run.failed}
            run.start_what_can()
            run.gather()
            ended = [
                cell
                for cell in cells
                if cell.key not in before and (cell.key in run.done or cell.key in run.failed)
            ]
            on_change(run.state(ended))
            if time.monotonic() - touched > _TOUCH_SECONDS:
                folder.touch()
                touched = time.monotonic()
        return run.state()
    finally:
        workers.close()
        for key in list(folder.held):
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
    tries: dict[str, int] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    seconds: dict[tuple[object, ...], list[float]] = field(
        default_factory=dict
    )  # of cells that are done, by kind of cell
    since: float = field(default_factory=time.time)

    def find_done(self) -> None:
        for cell in self.cells:
            if not self._found_done(cell):
                self.waiting.append(cell)

    def start_what_can(self) -> None:
        """Start cells while workers are free: those whose source is done and that no other process
        works on.
        """
        for cell in list(self.waiting):
            if self.workers.free < 1:
                return
            if cell.source in self.failed:
                self._fail(
                    cell,
                    Failure(
                        f"the cell whose scales it takes failed ({cell.source})", "SourceFailed"
                    ),
                )
            elif cell.source is None or cell.source in self.done:
                self._start(cell)

    def gather(self) -> None:
        """Keep what ended."""
        if not self.running:
            if self.waiting:
                time.sleep(_LOOK_SECONDS)  # for what another process works on
            return
        for ended in self.workers.ended(_LOOK_SECONDS):
            self._keep(self.running.pop(ended.key), ended)

    def state(self, ended: Sequence[Cell] = ()) -> State:
        return State(
            total=len(self.cells),
            done=len(self.done),
            failed={cell: self.failed[cell.key] for cell in self.cells if cell.key in self.failed},
            running=tuple(self.running.values()),
            left=len(self.waiting),
            seconds_to_go=self._seconds_to_go(),
            finished=tuple((cell, self.failed.get(cell.key)) for cell in ended),
        )

    def _start(self, cell: Cell) -> None:
        if cell.key not in self.folder.held:  # held already where its worker died
            elsewhere = self.folder.failure(cell.key, since=self.since)
            if elsewhere is not None:
                self.waiting.remove(cell)
                self.failed[cell.key] = elsewhere
                return
            if not self.folder.take(cell.key):
                return
            if self._found_done(cell):  # by another process, meanwhile
                self.waiting.remove(cell)
                self.folder.release(cell.key)
                return
        source = None if cell.source is None else self.folder.checkpoint(cell.source)
        if cell.source is not None and source is None:
            lost = (
                "the checkpoint whose scales it takes is gone from "
                f"{self.folder.cell(cell.source)}; remove that folder and run again"
            )
            self._fail(cell, Failure(lost, "SourceLost"))
            return
        self.waiting.remove(cell)
        self.running[cell.key] = cell
        self.begun[cell.key] = time.monotonic()
        self.tries[cell.key] = self.tries.get(cell.key, 0) + 1
        self.workers.start(
            Job(
                key=cell.key,
                study=self.study.name,
                request=cell.request.to_dict(),
                threads=cell.threads,
                ood=cell.ood,
                data=self.data,
                source=source,
                command=command_line(),
            )
        )

    def _keep(self, cell: Cell, ended: Ended) -> None:
        if ended.result is not None:
            self.folder.keep_result(cell.key, ended.result, ended.files)
            self._found_done(cell)
            self.folder.release(cell.key)
        elif ended.failure is not None:
            self._fail(cell, ended.failure)
        elif self.tries[cell.key] < self.workers.tries:
            self.waiting.insert(0, cell)
        else:
            self._fail(
                cell,
                Failure(
                    f"the worker that ran it was ended by {ended.died}, more than once",
                    "WorkerDied",
                ),
            )

    def _fail(self, cell: Cell, failure: Failure) -> None:
        self.folder.keep_failure(cell.key, cell.request.to_dict(), cell.threads, failure)
        self.failed[cell.key] = failure.error
        if cell in self.waiting:
            self.waiting.remove(cell)
        self.folder.release(cell.key)

    def _found_done(self, cell: Cell) -> bool:
        result = self.folder.result(cell.key)
        if result is None:
            return False
        self.done.add(cell.key)
        self.seconds.setdefault(_kind(cell), []).append(sum(result["seconds"].values()))
        return True

    def _seconds_to_go(self) -> float | None:
        known = [seconds for some in self.seconds.values() for seconds in some]
        if not known:
            return None
        mean = sum(known) / len(known)

        def expected(cell: Cell) -> float:
            own = self.seconds.get(_kind(cell))
            return mean if own is None else sum(own) / len(own)

        now = time.monotonic()
        left = sum(
            max(expected(cell) - (now - self.begun[cell.key]), 0.0)
            for cell in self.running.values()
        )
        return (left + sum(map(expected, self.waiting))) / self.workers.size


def _kind(cell: Cell) -> tuple[object, ...]:
    """What decides how long a cell takes, as far as is known before it ran."""
    request = cell.request
    return (request.data, request.backbone, request.paradigm, request.timesteps)
