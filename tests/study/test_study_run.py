"""Which cell runs when, and what becomes of each way to end; workers here are none, they answer at
once.
"""

import json
from collections import deque

import pytest

from ahsar_eval.data import DataOptions
from ahsar_eval.study import run as run_module
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.run import State, run_study
from ahsar_eval.study.study_file import study_of
from ahsar_eval.study.workers import Ended, Failure, Job

STUDY = study_of(
    'name = "x"\n[grid]\nmethod = ["frozen:ahsar", "baseline", "ahsar"]\nseed = [0, 1]', "x.toml"
)
CELLS = STUDY.cells()
BY_KEY = {cell.key: cell for cell in CELLS}


def name(key):
    request = BY_KEY[key].request
    return f"{request.method} {request.seed}"


class Answers:
    """Workers that answer as they are told: `told` gives, by a cell's name, what happens at each
    try; without it, a result.
    """

    def __init__(self, size=2, tries=2, **told):
        self.size, self.tries = size, tries
        self.told = {
            key.replace("__", ":").replace("_", " "): deque(value) for key, value in told.items()
        }
        self.running: deque[Job] = deque()
        self.started: list[str] = []
        self.sources: dict[str, bytes | None] = {}
        self.closed = False

    @property
    def free(self):
        return self.size - len(self.running)

    def start(self, job):
        assert self.free > 0
        self.started.append(name(job.cell.key))
        self.sources[name(job.cell.key)] = job.source
        self.running.append(job)

    def ended(self, timeout_seconds):
        job = self.running.popleft()
        answers = self.told.get(name(job.cell.key))
        answer = answers.popleft() if answers else None
        if isinstance(answer, BaseException):
            raise answer
        if answer == "dies":
            return [Ended(job.cell.key, died="SIGKILL")]
        if answer is not None:
            return [Ended(job.cell.key, failure=Failure(answer, "DataError"))]
        result = {
            "format": "ahsar-eval study cell",
            "key": job.cell.key,
            "seconds": {"training": 8.0, "evaluation": 2.0},
        }
        return [
            Ended(job.cell.key, result=result, files={"checkpoint.pt": name(job.cell.key).encode()})
        ]

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
    assert (end.total, end.done, end.failed, end.left) == (6, 6, {}, 0)
    assert folder.done() == sorted(BY_KEY)


def test_a_second_run_has_nothing_to_do(folder):
    run(folder, Answers())
    again = Answers()
    assert run(folder, again).done == 6
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
    assert (end.done, end.left) == (4, 0)
    kinds = {
        name(file.parent.name): json.loads(file.read_text())["kind"]
        for file in folder.root.glob("cells/*/failure.json")
    }
    assert kinds == {"ahsar 0": "DataError", "frozen:ahsar 0": "SourceFailed"}
    again = Answers()
    assert (run(folder, again).done, again.started) == (6, ["ahsar 0", "frozen:ahsar 0"])
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
    assert end.done == 5


def test_a_cell_whose_worker_died_is_run_once_more(folder):
    workers = Answers(baseline_0=["dies"])
    assert run(folder, workers).done == 6
    assert workers.started.count("baseline 0") == 2


def test_a_cell_whose_worker_died_twice_has_failed(folder):
    workers = Answers(baseline_0=["dies", "dies"])
    end = run(folder, workers)
    assert list(end.failed.values()) == [
        "the worker that ran it was ended by SIGKILL, more than once"
    ]
    assert (workers.started.count("baseline 0"), end.done) == (2, 5)


def test_workers_that_start_anew_themselves_are_asked_once(folder):
    workers = Answers(tries=1, baseline_0=["dies"])
    assert len(run(folder, workers).failed) == 1
    assert workers.started.count("baseline 0") == 1


def test_an_interrupt_closes_the_workers_and_keeps_what_is_done(folder):
    workers = Answers(size=1, baseline_1=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, CELLS, folder, workers, data=DataOptions())
    assert workers.closed
    assert not list(folder.root.glob("cells/*/running"))
    done = {name(key) for key in folder.done()}
    assert done == {"baseline 0", "ahsar 0", "frozen:ahsar 0"}
    again = Answers()
    assert run(folder, again).done == 6
    assert not done & set(again.started)


def test_cells_of_another_process_are_waited_for(folder):
    other = StudyFolder(folder.root)
    assert other.take(CELLS[2].key)  # ahsar 0

    def finish(state):
        if state.done < 4 or CELLS[2].key not in other.held:
            return  # all but it and the cell that takes its scales
        result = {
            "format": "ahsar-eval study cell",
            "key": CELLS[2].key,
            "seconds": {"training": 1.0},
        }
        other.keep_result(CELLS[2].key, result, {"checkpoint.pt": b"theirs"})
        other.release(CELLS[2].key)

    workers = Answers()
    end = run(folder, workers, on_change=finish)
    assert (end.done, "ahsar 0" in workers.started) == (6, False)
    assert workers.sources["frozen:ahsar 0"] == b"theirs"


def test_a_cell_that_fails_in_another_process_has_failed(folder):
    other = StudyFolder(folder.root)
    assert other.take(CELLS[1].key)

    def fail(state):
        if state.done < 5 or CELLS[1].key not in other.held:
            return
        other.keep_failure(CELLS[1], Failure("it broke there", "DataError"))
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
            other.keep_failure(CELLS[1], Failure("it broke there", "DataError"))
            other.release(key)
        return take(key, **since)

    monkeypatch.setattr(folder, "take", take_late)
    workers = Answers()
    end = run(folder, workers)
    assert list(end.failed.values()) == ["it broke there"]
    assert name(CELLS[1].key) not in workers.started
    assert folder.failure(CELLS[1].key) == "it broke there"


def test_progress_counts_cells_and_estimates_what_is_left(folder):
    states: list[State] = []
    run(folder, Answers(size=2, baseline_0=["it broke"]), on_change=states.append)
    assert (states[0].done, states[0].left, states[0].running, states[0].seconds_to_go) == (
        0,
        6,
        (),
        None,
    )
    for state in states:
        assert state.done + len(state.failed) + len(state.running) + state.left == state.total == 6
    ended = [(name(cell.key), error) for state in states for cell, error in state.finished.items()]
    assert sorted(ended) == sorted(
        (name(key), "it broke" if name(key) == "baseline 0" else None) for key in BY_KEY
    )
    # One of the first two failed, the other is done in 10 s; then four are left for two workers,
    # some of them begun just now.
    first = next(state for state in states if state.done == 1)
    assert first.seconds_to_go == pytest.approx((len(first.running) + first.left) * 10 / 2, abs=0.5)
    assert states[-1].seconds_to_go == 0
