"""Where cells run on this machine: in this process, or in worker processes that live as long as the
study.

Processes are spawned: a fork would copy torch's thread pools half. A worker takes one job after
another, so that importing and compiling cost once. It never outlives the study: a thread in it
waits for the end of its parent.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol

from ahsar_eval.study.job import Ended, Job

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_PATIENCE_SECONDS = 5.0


class Workers(Protocol):
    """Where jobs run: `start` one while `free` is not 0, and ask for those that have `ended`;
    `close` ends what still runs.

    `tries` is how often a job is started anew here where its worker died, beyond what the workers
    see to themselves.
    """

    tries: int

    @property
    def size(self) -> int: ...  # noqa: D102

    @property
    def free(self) -> int: ...  # noqa: D102

    def start(self, job: Job) -> None: ...  # noqa: D102

    def ended(self, timeout_seconds: float) -> list[Ended]: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


class InProcess:
    """One cell at a time in this process; `folder_of` says where a cell's files go."""

    tries = 1
    size = 1

    def __init__(self, folder_of: Callable[[str], Path]) -> None:
        self.folder_of = folder_of
        self.waiting: deque[Job] = deque()

    @property
    def free(self) -> int:
        """1 while nothing waits."""
        return 1 - len(self.waiting)

    def start(self, job: Job) -> None:
        """Take a job; it is run when it is asked for."""
        self.waiting.append(job)

    def ended(self, timeout_seconds: float) -> list[Ended]:
        """Run the job that waits."""
        from ahsar_eval.study.cell import attempt

        return [
            attempt(job, self.folder_of(job.key))
            for job in [self.waiting.popleft() for _ in range(len(self.waiting))]
        ]

    def close(self) -> None:
        """Forget what waits."""
        self.waiting.clear()


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    gpu: str | None
    job: Job | None = None


class LocalWorkers:
    """`count` worker processes with `threads` threads each; with `gpus`, each sees one of them, in
    turn.

    `folder_of` says where a cell's files go. A process is started when there is a job for it, and
    anew where one died.
    """

    tries = 2

    def __init__(
        self, count: int, threads: int, folder_of: Callable[[str], Path], gpus: Sequence[str] = ()
    ) -> None:
        self.size, self.threads, self.folder_of = count, threads, folder_of
        self.places = [gpus[place % len(gpus)] if gpus else None for place in range(count)]
        self.workers: list[_Worker] = []

    @property
    def free(self) -> int:
        """How many more jobs can start now."""
        return self.size - sum(worker.job is not None for worker in self.workers)

    def start(self, job: Job) -> None:
        """Give a job to an idle worker, or to a new one."""
        worker = next((one for one in self.workers if one.job is None), None) or self._hire()
        worker.job = job
        with contextlib.suppress(OSError):  # it died while it was idle: seen by its sentinel
            worker.pipe.send((job, str(self.folder_of(job.key))))

    def ended(self, timeout_seconds: float) -> list[Ended]:
        """Jobs that ended, and those whose worker died; waits for one as long as said."""
        ready = set(
            wait(
                [
                    part
                    for worker in self.workers
                    for part in (worker.pipe, worker.process.sentinel)
                ],
                timeout_seconds,
            )
        )
        found = []
        for worker in [one for one in self.workers if {one.pipe, one.process.sentinel} & ready]:
            ended = None
            with contextlib.suppress(EOFError, OSError):
                if worker.pipe.poll():
                    ended = worker.pipe.recv()
            if ended is not None:
                found.append(ended)
                worker.job = None
                continue
            worker.process.join()
            self.workers.remove(worker)
            worker.pipe.close()
            if worker.job is not None:
                found.append(Ended(worker.job.key, died=_cause(worker.process.exitcode)))
        return found

    def close(self) -> None:
        """End all workers; a training among them keeps the progress of its last epoch."""
        for worker in self.workers:
            worker.pipe.close()  # an idle one reads the end
            if worker.job is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(_PATIENCE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers.clear()

    def _hire(self) -> _Worker:
        taken = [worker.gpu for worker in self.workers]
        gpu = min(self.places, key=lambda place: (taken.count(place), self.places.index(place)))
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        variables = dict.fromkeys(_THREAD_VARIABLES, str(self.threads)) | (
            {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        )
        with _environment(variables):  # before the libraries are loaded, which read them once
            process.start()
        theirs.close()
        worker = _Worker(process, ours, gpu)
        self.workers.append(worker)
        return worker


def default_count(threads: int) -> int:
    """As many workers of `threads` threads as this process may use cores for, at least one."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, cores // threads)


def visible_gpus() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them, one each."""
    import torch

    named = [
        name.strip()
        for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if name.strip()
    ]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def _serve(pipe: Connection) -> None:
    """What a worker does: one job after another, until its parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches every process of the terminal; the parent decides
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # what it holds is put away
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # progress bars of several workers would overwrite each other
    from tqdm import tqdm

    from ahsar_eval.study.cell import attempt

    tqdm.set_lock(
        threading.RLock()
    )  # not one of several processes, which a killed worker would leave behind
    while True:
        try:
            job, folder = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(job, Path(folder)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = (
            signal.Signals(-exit_code).name
            if -exit_code in set(signal.Signals)
            else f"signal {-exit_code}"
        )
        return f"{name}, as when the memory is used up" if name == "SIGKILL" else name
    return f"exit code {exit_code}"


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
