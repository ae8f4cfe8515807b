"""Where cells run: in this process, in worker processes that live as long as the study, or on a
cluster.

Processes are spawned: a fork would copy torch's thread pools half. A worker takes one job after
another, so that importing and compiling cost once. It never outlives the study: a thread in it
waits for the end of its parent.
"""

import contextlib
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.data import DataOptions
from ahsar_eval.errors import UsageError
from ahsar_eval.options import described, nested

if TYPE_CHECKING:
    from ahsar_eval.study.grid import Cell

_THREADED = ("OMP", "MKL", "OPENBLAS", "NUMBA")  # libraries that read a number of threads
_PATIENCE_SECONDS = 5.0
_TRIES = 2  # of a cell whose worker died
_MOST_TASKS = 10_000  # of a cluster at once; a thread waits for each


@dataclass(frozen=True)
@described(__file__, "run.toml", group="output")
class RunRequest:
    """What `study run` is asked beside the study: where its cells run, with which data."""

    workers: int | None = None
    address: str | None = None
    device: str | None = None
    verbose: bool = False
    data: DataOptions = nested(DataOptions)

    def check(self) -> None:
        """Raises `UsageError` for a negative number, and for one beside a cluster."""
        if self.workers is not None and self.address is not None:
            raise UsageError(
                "--workers and --ray were both given; on a cluster Ray decides, leave --workers out"
            )
        if self.workers is not None and self.workers < 0:
            raise UsageError(
                f"--workers is {self.workers}; expected a number of processes, or 0 for this one"
            )


@dataclass(frozen=True)
class Job:
    """A cell to be run: plain data, so that it can travel to another process or machine. `source`
    is the checkpoint file that frozen:NAME takes.
    """

    cell: "Cell"
    study: str
    data: DataOptions
    source: bytes | None = None
    command: str = ""


@dataclass(frozen=True)
class Ended:
    """How a job ended: with a `result`, or with a `failure`: the "error" in one sentence, its
    "kind", and for an error that nobody foresaw the "traceback".

    `files` are those a worker without the study's folder sends along, name → bytes.
    """

    result: Mapping[str, Any] | None = None
    failure: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def failed(kind: str, error: str) -> Ended:
    """A cell that failed, and why, in one sentence."""
    return Ended(failure={"error": error, "kind": kind})


def _died(cause: str) -> Ended:
    return failed("WorkerDied", f"the worker that ran it was ended by {cause}, more than once")


def workers_for(
    request: RunRequest, device: str, threads: int, cells: int, folder_of: Callable[[str], Path]
) -> "Workers":
    """The workers that are asked for, each with `threads` threads; `folder_of` says where a cell's
    files go. Raises `UsageError`.
    """
    on_gpus = device.split(":")[0] == "cuda"
    if request.address is not None:
        return RayWorkers(request.address, threads, gpu=on_gpus)
    if request.workers == 0:
        return InProcess(folder_of)
    gpus = visible_gpus() if device == "cuda" else []
    wanted = request.workers or (len(gpus) if on_gpus else default_count(threads))
    return LocalWorkers(max(1, min(wanted, cells)), threads, folder_of, gpus)


@dataclass(frozen=True)
class InProcess:
    """One cell at a time in this process; `folder_of` says where a cell's files go."""

    folder_of: Callable[[str], Path]
    size: int = 1

    def submit(self, job: Job) -> Future[Ended]:
        """Run a job."""
        from ahsar_eval.study.cell import attempt

        future: Future[Ended] = Future()
        future.set_result(attempt(job, self.folder_of(job.cell.key)))
        return future

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class _Worker:
    """A process with `variables` in its environment that runs one job after another; `running` once
    there was a job for it.
    """

    variables: Mapping[str, str]
    running: tuple[SpawnProcess, Connection] | None = None

    def ready(self) -> tuple[SpawnProcess, Connection]:
        """The process and the pipe to it; started where there is none, or it died."""
        if self.running is None or not self.running[0].is_alive():
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self.variables), daemon=True)
            process.start()
            theirs.close()
            self.running = process, ours
        return self.running


class LocalWorkers:
    """`size` worker processes with `threads` threads each; with `gpus`, each sees one of them, in
    turn. A thread of this process waits for each.

    `folder_of` says where a cell's files go.
    """

    def __init__(
        self, size: int, threads: int, folder_of: Callable[[str], Path], gpus: Sequence[str] = ()
    ) -> None:
        self.size, self.folder_of = size, folder_of
        shared = {f"{library}_NUM_THREADS": str(threads) for library in _THREADED}
        seen = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(size)]
        self.workers = [_Worker({**shared, **one}) for one in seen]
        self.idle = self.workers[::-1]  # the last is taken, so one that runs before a new one
        self.waiting = ThreadPoolExecutor(size)
        self.starting, self.closed = threading.Lock(), False

    def submit(self, job: Job) -> Future[Ended]:
        """Give a job to an idle worker."""
        return self.waiting.submit(self._run, job, self.idle.pop())

    def _run(self, job: Job, worker: _Worker) -> Ended:
        try:
            for _ in range(_TRIES):
                with self.starting:
                    if self.closed:
                        raise CancelledError
                    process, pipe = worker.ready()
                with contextlib.suppress(EOFError, OSError):
                    pipe.send((job, self.folder_of(job.cell.key)))
                    return pipe.recv()
                process.join()
            return _died(_cause(process.exitcode or 0))
        finally:
            self.idle.append(worker)

    def close(self) -> None:
        """End all workers; a training among them keeps the progress of its last epoch."""
        with self.starting:
            self.closed = True
        processes = [worker.running[0] for worker in self.workers if worker.running]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_PATIENCE_SECONDS)
            process.kill()
            process.join()
        self.waiting.shutdown()


def default_count(threads: int) -> int:
    """As many workers of `threads` threads as this process may use cores for, at least one."""
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, cores // threads)


def visible_gpus() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them, one each."""
    import torch

    named = map(str.strip, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))
    return [name for name in named if name] or [*map(str, range(torch.cuda.device_count()))]


def _serve(pipe: Connection, variables: Mapping[str, str]) -> None:
    """What a worker does: one job after another, until its parent is gone."""
    os.environ.update(variables)  # before the libraries are loaded, which read them once
    # Ctrl-C reaches every process of the terminal; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What it holds is put away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Progress bars of several workers would overwrite each other.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    from tqdm import tqdm

    from ahsar_eval.study.cell import attempt

    # Not one of several processes, which a killed worker would leave behind.
    tqdm.set_lock(threading.RLock())
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(attempt(*pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _cause(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "SIGKILL, as when the memory is used up"
    return f"exit code {exit_code}" if exit_code >= 0 else f"signal {-exit_code}"


# A cluster: each cell a task of Ray, which starts it anew where its worker or machine is lost.
# Nothing is shared but the package and, below the same data root, the data: the files of a cell
# come back with its result. Ray is imported when a cluster is asked for; its usage statistics and
# dashboard are off (docs.ray.io, "Usage Stats Collection", "ray.init").

LOCAL = "local"


class RayWorkers:
    """Tasks of `threads` cores each, with `gpu` one GPU each, on the cluster at `address` or one
    started here ("local").

    Raises `UsageError` where Ray is not installed or no cluster answers.
    """

    def __init__(self, address: str, threads: int, *, gpu: bool = False) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
        try:
            import ray
        except ImportError:
            raise UsageError(
                "--ray needs Ray, which is not installed; install it with pip install "
                "'ahsar-eval[cluster]'"
            ) from None
        self.ray = ray
        own = {"include_dashboard": False} if address == LOCAL else {"address": address}
        try:
            _check_answers(address)
            ray.init(log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, OverflowError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(
                f"no cluster of Ray at {address!r} ({said}); give its address, or local to start "
                "one here"
            ) from error
        # A name that nobody can guess, and the same when a task is started anew: it then finds how
        # far the training was.
        self.name = f"ahsar-eval-{secrets.token_hex(8)}"
        self.resource, self.each = ("GPU", 1) if gpu else ("CPU", threads)
        self.task = ray.remote(run_remotely).options(
            num_cpus=threads, num_gpus=int(gpu), max_retries=_TRIES
        )
        self.running: set[Any] = set()
        self.waiting = ThreadPoolExecutor(_MOST_TASKS)

    @property
    def size(self) -> int:
        """How many jobs the cluster has room for as it is now."""
        return max(1, int(self.ray.cluster_resources().get(self.resource, 0) // self.each))

    def submit(self, job: Job) -> Future[Ended]:
        """Hand a job to the cluster."""
        task = self.task.remote(job, self.name)
        self.running.add(task)
        return self.waiting.submit(self._outcome, task)

    def _outcome(self, task: Any) -> Ended:
        """How a task ended, also where Ray gave it up."""
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            said = " ".join(str(error).split())[:200]
            return _died(f"{type(error).__name__} ({said})")
        finally:
            self.running.remove(task)

    def close(self) -> None:
        """Stop what runs and leave the cluster; a local one ends."""
        for task in [*self.running]:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.cancel(task, force=True)
        self.waiting.shutdown()
        self.ray.shutdown()


# Where jobs run, at most `size` of them: `submit` one, and it will have `Ended`; `close` ends what
# still runs. A job whose worker died is started anew, once at least.
Workers = InProcess | LocalWorkers | RayWorkers


def _check_answers(address: str) -> None:
    """Raises `OSError` or `OverflowError` for a host and port where nothing answers: Ray itself
    would wait for minutes.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():  # else local, auto, or a name that Ray knows
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_SECONDS).close()


def run_remotely(job: Job, name: str) -> Ended:
    """Run a job in a folder of this machine's own, and send its files along with the result."""
    from ahsar_eval.study.cell import attempt
    from ahsar_eval.study.folder import RUNNING

    folder = Path(tempfile.gettempdir()) / f"{name}-{job.cell.key}"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / RUNNING).write_text(f"{os.getpid()}\n")  # for whoever looks which process this is
    ended = attempt(job, folder)
    if ended.result is not None:
        written = [  # and the history, and logs, which may be folders
            file
            for one in folder.glob("checkpoint.*")
            for file in (one, *one.rglob("*"))
            if file.is_file()
        ]
        names = [file.relative_to(folder).as_posix() for file in written]
        contents = [file.read_bytes() for file in written]
        ended = replace(ended, files=dict(zip(names, contents, strict=True)))
    shutil.rmtree(folder, ignore_errors=True)
    return ended
