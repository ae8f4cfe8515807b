"""Studies on worker processes: one killed in the middle, the whole killed in the middle, the same
numbers in the end; Ray the same.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.run import run_study
from ahsar_eval.study.workers import (
    Job,
    LocalWorkers,
    RayWorkers,
    default_count,
    visible_gpus,
)

PATIENCE_SECONDS = 400


def until(true, what):
    """Wait for something that another process does."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()):
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.005)
    return found


def is_alive(pid):
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def in_training(folder):
    """Cells of a study's folder that are in the middle of their training."""
    return [file.parent for file in folder.glob("cells/*/checkpoint.resume")]


def process_of(workers):
    """The process of the only worker, once it was started."""
    (worker,) = workers.workers
    return worker.running and worker.running[0]


def bptt(study):
    """A baseline, a controller and its frozen scales."""
    return [cell for cell in study.cells() if cell.request.paradigm == "bptt"]


# Local workers


def test_a_worker_killed_in_its_training_loses_nothing(small, small_results, tmp_path, timeless):
    folder = StudyFolder(tmp_path)
    workers = LocalWorkers(1, 1, folder.cell)
    killed = []

    def kill():
        until(lambda: in_training(tmp_path), "a training")
        process = process_of(workers)
        killed.append(process.pid)
        process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    end = run_study(small, bptt(small), folder, workers, data=DataOptions())
    thread.join()
    assert (len(end.done), end.failed) == (3, {})
    assert len(killed) == 1
    assert not is_alive(killed[0])
    assert not process_of(workers).is_alive()
    assert timeless(folder) == {cell.key: small_results[cell.key] for cell in bptt(small)}


def test_a_cell_whose_worker_died_twice_has_failed(small, tmp_path):
    workers = LocalWorkers(1, 1, StudyFolder(tmp_path).cell)
    cell = bptt(small)[0]
    try:
        future = workers.submit(Job(cell, "small", DataOptions()))
        first = until(lambda: process_of(workers), "a worker")
        first.kill()
        until(lambda: process_of(workers) is not first, "another worker")
        process_of(workers).kill()
        only = future.result(PATIENCE_SECONDS)
    finally:
        workers.close()
    assert (only.result, only.failure["kind"]) == (None, "WorkerDied")
    assert only.failure["error"] == (
        "the worker that ran it was ended by SIGKILL, as when the memory is used up, more than once"
    )


def test_a_worker_is_told_its_threads_before_anything_that_reads_them_is_loaded():
    found = "import sys, ahsar_eval.study.workers; print({'numpy', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.skipif(
    not os.path.exists("/proc/self/task"), reason="only /proc lists the children of a process"
)
def test_a_study_killed_half_way_is_completed_by_the_same_command_with_the_same_results(
    small_text, small_results, tmp_path, command, timeless
):
    (tmp_path / "small.toml").write_text(small_text)
    arguments = [
        "study",
        "run",
        str(tmp_path / "small.toml"),
        "--out",
        str(tmp_path / "out"),
        "--workers",
    ]
    study = subprocess.Popen(
        [sys.executable, "-m", "ahsar_eval", *arguments, "1"], stderr=subprocess.PIPE, text=True
    )
    folder = StudyFolder(tmp_path / "out")
    try:
        until(lambda: folder.done() and in_training(folder.root), "the second training")
        children = [
            int(pid)
            for pid in Path(f"/proc/{study.pid}/task/{study.pid}/children").read_text().split()
        ]
        os.kill(study.pid, signal.SIGKILL)
    finally:
        study.kill()
        study.communicate()
    done = {key: (folder.cell(key) / "result.json").read_bytes() for key in folder.done()}
    assert 0 < len(done) < 5
    assert list(folder.root.glob("cells/*/running")), "nobody could take it away"
    until(lambda: not any(map(is_alive, children)), "the end of the workers")
    again = command(*arguments, "0")
    assert again.code == 0, again.err
    assert again.err.strip().endswith(
        f"5 of 5 cells are done; ahsar-eval study table {tmp_path / 'out'} makes the tables"
    )
    assert timeless(folder) == small_results
    for key, content in done.items():
        assert (folder.cell(key) / "result.json").read_bytes() == content, (
            "what was done was done again"
        )
    assert not list(folder.root.glob("cells/*/running"))
    assert not list(folder.root.glob("cells/*/*.resume"))


def test_an_interrupt_ends_a_study_with_130_and_its_workers_leave_their_progress(
    small_text, tmp_path
):
    (tmp_path / "small.toml").write_text(small_text.replace("epochs = 4", "epochs = 1000"))
    arguments = [
        sys.executable,
        "-m",
        "ahsar_eval",
        "study",
        "run",
        str(tmp_path / "small.toml"),
        "--out",
        str(tmp_path / "out"),
    ]
    study = subprocess.Popen(
        [*arguments, "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background job ignores it, and so would its children
    )
    try:
        until(lambda: list(tmp_path.glob("out/cells/*/checkpoint.history.csv")), "the first epoch")
        os.killpg(study.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        said = study.communicate(timeout=PATIENCE_SECONDS)[1]
    finally:
        study.kill()
    assert study.returncode == 130
    assert said.strip() == (
        "ahsar-eval: interrupted; nothing was left half-written (a training resumes with the "
        "same command)"
    )
    (cell,) = in_training(tmp_path / "out")
    assert (cell / "checkpoint.history.csv").is_file()
    assert not (cell / "running").exists()


def test_gpus_are_shared_out_one_by_one():
    workers = LocalWorkers(4, 1, Path, gpus=["2", "5"])
    seen = [worker.variables["CUDA_VISIBLE_DEVICES"] for worker in workers.workers]
    assert seen == ["2", "5", "2", "5"]
    workers.close()


def test_as_many_workers_as_cores_hold_their_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert [default_count(threads) for threads in (1, 2, 4, 8)] == [6, 3, 1, 1]


def test_visible_gpus_are_those_that_the_environment_names(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1")
    assert visible_gpus() == ["3", "1"]


# Ray


def test_ray_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError,
        match=(
            r"--ray needs Ray, which is not installed; install it with pip install "
            r"'ahsar-eval\[cluster\]'"
        ),
    ):
        RayWorkers("local", 1)


def test_a_cluster_loses_nothing_when_a_worker_is_killed_in_its_training(
    small, small_results, tmp_path, monkeypatch, timeless
):
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    scratch = Path(
        tempfile.mkdtemp(prefix="ahsar")
    )  # Ray makes sockets below it, whose paths must be short
    monkeypatch.setenv("TMPDIR", str(scratch))  # of the workers of the cluster that is started now
    small_one = functools.partial(ray.init, num_cpus=2, object_store_memory=80_000_000)
    monkeypatch.setattr(ray, "init", small_one)
    workers = RayWorkers("local", 1)
    killed = []

    def kill():
        resume = until(lambda: list(scratch.glob("ahsar-eval-*/checkpoint.resume")), "a training")[
            0
        ]
        killed.append(int((resume.parent / "running").read_text()))
        os.kill(killed[0], signal.SIGKILL)

    folder = StudyFolder(tmp_path / "out")
    thread = threading.Thread(target=kill)
    thread.start()
    try:
        assert workers.size == 2
        end = run_study(small, bptt(small), folder, workers, data=DataOptions())
        thread.join()
    finally:
        workers.close()
        left = list(scratch.glob("ahsar-eval-*"))
        shutil.rmtree(scratch, ignore_errors=True)
    assert (len(end.done), end.failed) == (3, {})
    assert killed
    assert not is_alive(killed[0])
    assert timeless(folder) == {cell.key: small_results[cell.key] for cell in bptt(small)}
    assert not left, "workers put away what they wrote"
    assert not workers.ray.is_initialized()


def test_a_cluster_that_does_not_answer_is_one_sentence():
    pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    with pytest.raises(
        UsageError,
        match=r"no cluster of Ray at 'nonsense'.*; give its address, or local to start one here",
    ):
        RayWorkers("nonsense", 1)


def test_a_host_and_port_where_nothing_answers_is_refused_at_once(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    monkeypatch.setattr(ray, "init", lambda **settings: pytest.fail("Ray would wait for minutes"))
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        with pytest.raises(UsageError, match=f"no cluster of Ray at '{address}'"):
            RayWorkers(address, 1)


def test_a_job_can_travel(small):
    import pickle

    job = Job(small.cells()[0], "small", DataOptions())
    assert pickle.loads(pickle.dumps(job)) == job
