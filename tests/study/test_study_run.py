"""Which cell runs when, and what becomes of each way to end; workers here are none, they answer at
once.
"""

import json
from collections import deque
from concurrent.futures import Future
from typing import Any

import pytest

from ahsar_eval.data import DataOptions
from ahsar_eval.study import run as run_module
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.grid import study_of
from ahsar_eval.study.run import Run, run_study
from ahsar_eval.study.workers import Ended

STUDY = study_of(
    'name = "x"\n[grid]\nmethod = ["frozen:ahsar", "baseline", "ahsar"]\nseed = [0, 1]', "x.toml"
)
CELLS = STUDY.cells()
BY_KEY = {cell.key: cell for cell in CELLS}


def name(key):
    request = BY_KEY[key].request
    return f"{request.method} {request.seed}"


class Answer(Future[Ended]):
    """What a job will have ended as; it runs until somebody has asked for that."""

    def __init__(self, running):
        super().__init__()
        self.of = running
        running.append(self)

    def result(self, timeout=None):
        self.of.remove(self)
        return super().result(timeout)


class Answers:
    """Workers that answer as they are told: `told` gives, by a cell's name, what happens at each
    try; without it, a result.
    """

    def __init__(self, size=2, **told):
        self.size = size
        self.told = {
            key.replace("__", ":").replace("_", " "): deque(value) for key, value in told.items()
        }
        self.running: list[Answer] = []
        self.started: list[str] = []
        self.sources: dict[str, bytes | None] = {}
        self.closed = False

    def submit(self, job):
        assert len(self.running) < self.size
        key = name(job.cell.key)
        self.started.append(key)
        self.sources[key] = job.source
        answers = self.told.get(key)
        answer = answers.popleft() if answers else None
        future = Answer(self.running)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(Ended(failure={"error": answer, "kind": "DataError"}))
        else:
            result = {"seconds": {"training": 8.0, "evaluation": 2.0}}
            future.set_result(Ended(result, files={"checkpoint.pt": key.encode()}))
        return future

    def close(self):
        self.closed = True
        del self.size  # nothing is known of workers that are gone


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_LOOK_SECONDS", 0.01)
    return StudyFolder(tmp_path)


def run(folder, workers, **more):
    end = run_study(STUDY, CELLS, folder, workers, data=DataOptions(), **more)
    assert workers.closed
    assert not list(folder.root.glob("cells/*/running")), "no lock is left"
    return end


def test_every_cell_runs_once_and_frozen_cells_after_their_source_with_its_checkpoint(folder):
    workers = Answers()
    end = run(folder, workers)
    assert sorted(workers.started) == sorted(map(name, BY_KEY))
    for seed in (0, 1):
        assert workers.started.index(f"ahsar {seed}") < workers.started.index(
            f"frozen:ahsar {seed}"
        )
        assert workers.sources[f"frozen:ahsar {seed}"] == f"ahsar {seed}".encode()
    assert workers.sources["baseline 0"] is None
    assert (len(end.done), end.failed, end.waiting, end.running) == (6, {}, [], {})
    assert folder.done() == sorted(BY_KEY)


def test_a_second_run_has_nothing_to_do(folder):
    run(folder, Answers())
    again = Answers()
    assert len(run(folder, again).done) == 6
    assert again.started == []


def test_a_damaged_result_is_made_again(folder):
    run(folder, Answers())
    (folder.cell(CELLS[1].key) / "result.json").write_text("{")
    again = Answers()
    run(folder, again)
    assert again.started == [name(CELLS[1].key)]


def test_a_failed_cell_and_what_depends_on_it_are_reported_and_the_rest_is_done(folder):
    end = run(folder, Answers(ahsar_0=["it broke"]))
    assert {name(cell.key): error for cell, error in end.failed.items()} == {
        "ahsar 0": "it broke",
        "frozen:ahsar 0": f"the cell whose scales it takes failed ({CELLS[2].key})",
    }
    assert (len(end.done), end.waiting) == (4, [])
    kinds = {
        name(file.parent.name): json.loads(file.read_text())["kind"]
        for file in folder.root.glob("cells/*/failure.json")
    }
    assert kinds == {"ahsar 0": "DataError", "frozen:ahsar 0": "SourceFailed"}
    again = Answers()
    assert (len(run(folder, again).done), again.started) == (6, ["ahsar 0", "frozen:ahsar 0"])
    assert not list(folder.root.glob("cells/*/failure.json"))


def test_a_checkpoint_that_is_gone_fails_the_cells_that_take_its_scales_and_no_others(folder):
    run(folder, Answers())
    (source,) = [cell for cell in CELLS if name(cell.key) == "ahsar 0"]
    (taker,) = [cell for cell in CELLS if name(cell.key) == "frozen:ahsar 0"]
    (folder.cell(source.key) / "checkpoint.pt").unlink()
    (folder.cell(taker.key) / "result.json").unlink()
    end = run(folder, Answers())
    assert {name(cell.key) for cell in end.failed} == {"frozen:ahsar 0"}
    assert "the checkpoint whose scales it takes is gone from " in end.failed[taker]
    assert len(end.done) == 5


def test_an_interrupt_closes_the_workers_and_keeps_what_is_done(folder):
    workers: Any = Answers(size=1, baseline_1=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, CELLS, folder, workers, data=DataOptions())
    assert workers.closed
    assert not list(folder.root.glob("cells/*/running"))
    done = {name(key) for key in folder.done()}
    assert done == {"baseline 0", "ahsar 0", "frozen:ahsar 0"}
    again = Answers()
    assert len(run(folder, again).done) == 6
    assert not done & set(again.started)


def test_cells_of_another_process_are_waited_for(folder):
    other = StudyFolder(folder.root)
    assert other.take(CELLS[2].key)  # ahsar 0

    def finish(state):
        if len(state.done) < 4 or CELLS[2].key not in other.held:
            return  # all but it and the cell that takes its scales
        result = {"seconds": {"training": 1.0}}
        other.keep(CELLS[2], Ended(result, files={"checkpoint.pt": b"theirs"}))
        other.release(CELLS[2].key)

    workers = Answers()
    end = run(folder, workers, on_change=finish)
    assert (len(end.done), "ahsar 0" in workers.started) == (6, False)
    assert workers.sources["frozen:ahsar 0"] == b"theirs"


def test_a_cell_that_fails_in_another_process_has_failed(folder):
    other = StudyFolder(folder.root)
    assert other.take(CELLS[1].key)

    def fail(state):
        if len(state.done) < 5 or CELLS[1].key not in other.held:
            return
        other.keep(CELLS[1], Ended(failure={"error": "it broke there", "kind": "DataError"}))
        other.release(CELLS[1].key)

    workers = Answers()
    end = run(folder, workers, on_change=fail)
    assert list(end.failed.values()) == ["it broke there"]
    assert name(CELLS[1].key) not in workers.started


def test_a_failure_just_before_the_lock_is_taken_is_not_run_again(folder, monkeypatch):
    other, take = StudyFolder(folder.root), folder.take
    assert other.take(CELLS[1].key)

    def take_late(key, **since):
        if key in other.held:  # it fails after this process looked, and lets go
            other.keep(CELLS[1], Ended(failure={"error": "it broke there", "kind": "DataError"}))
            other.release(key)
        return take(key, **since)

    monkeypatch.setattr(folder, "take", take_late)
    workers = Answers()
    end = run(folder, workers)
    assert list(end.failed.values()) == ["it broke there"]
    assert name(CELLS[1].key) not in workers.started
    assert folder.failure(CELLS[1].key) == "it broke there"


def test_every_change_is_told(folder):
    counts: list[tuple[int, ...]] = []
    ended: list[tuple[str, str | None]] = []

    def told(now: Run) -> None:
        counts.append((len(now.done), len(now.failed), len(now.running), len(now.waiting)))
        ended.extend((name(cell.key), error) for cell, error in now.news.items())

    run(folder, Answers(size=2, baseline_0=["it broke"]), on_change=told)
    assert (counts[0], counts[-1]) == ((0, 0, 0, 6), (5, 1, 0, 0))
    assert all(sum(each) == 6 for each in counts)
    assert sorted(ended) == sorted(
        (name(key), "it broke" if name(key) == "baseline 0" else None) for key in BY_KEY
    )
