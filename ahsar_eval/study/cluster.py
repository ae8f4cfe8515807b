"""Where cells run on a cluster: each a task of Ray, which starts it anew where its worker or
machine is lost.

Nothing is shared but the package and, below the same data root, the data: the files of a cell come
back with its result. Ray is imported when a cluster is asked for; its usage statistics and
dashboard are off (docs.ray.io, "Usage Stats Collection", "ray.init").
"""

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.study.folder import CHECKPOINT, RUNNING
from ahsar_eval.study.job import Ended, Job

LOCAL = "local"
_PATIENCE_SECONDS = 10.0
_RETRIES = 2  # of a task whose worker died


class RayWorkers:
    """Tasks of `threads` cores each, with `gpu` one GPU each, on the cluster at `address` or one
    started here ("local").

    Raises `UsageError` where Ray is not installed or no cluster answers. `settings` go to
    `ray.init` of a local one.
    """

    tries = 1

    def __init__(
        self,
        address: str,
        threads: int,
        *,
        gpu: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
        try:
            import ray
        except ImportError:
            raise UsageError(
                "--ray needs Ray, which is not installed; install it with pip install "
                "'ahsar-eval[cluster]'"
            ) from None
        self.ray = ray
        if address != LOCAL:
            _check_answers(address)
        own = (
            {"include_dashboard": False, **(settings or {})}
            if address == LOCAL
            else {"address": address}
        )
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, ValueError, RuntimeError) as error:
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
            num_cpus=threads, num_gpus=int(gpu), max_retries=_RETRIES
        )
        self.running: dict[Any, str] = {}

    @property
    def size(self) -> int:
        """How many jobs the cluster has room for as it is now."""
        return max(1, int(self.ray.cluster_resources().get(self.resource, 0) // self.each))

    @property
    def free(self) -> int:
        """How many more jobs can start now."""
        return self.size - len(self.running)

    def start(self, job: Job) -> None:
        """Hand a job to the cluster."""
        self.running[self.task.remote(job, self.name)] = job.key

    def ended(self, timeout_seconds: float) -> list[Ended]:
        """Jobs that ended, and those that Ray gave up; waits for one as long as said."""
        ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=timeout_seconds)
        found = []
        for task in ready:
            key = self.running.pop(task)
            try:
                found.append(self.ray.get(task))
            except self.ray.exceptions.RayError as error:
                found.append(
                    Ended(
                        key, died=f"{type(error).__name__} ({' '.join(str(error).split())[:200]})"
                    )
                )
        return found

    def close(self) -> None:
        """Stop what runs and leave the cluster; a local one ends."""
        for task in self.running:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.cancel(task, force=True)
        self.running.clear()
        self.ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse a host and port where nothing answers: Ray itself would wait for minutes. Raises
    `UsageError`.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a name that Ray knows
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no cluster of Ray at {address!r} ({error}); give its address, or local to start one "
            "here"
        ) from error


def run_remotely(job: Job, name: str) -> Ended:
    """Run a job in a folder of this machine's own, and send its files along with the result."""
    from ahsar_eval.study.cell import attempt
    from ahsar_eval.training.files import TrainingFiles

    folder = Path(tempfile.gettempdir()) / f"{name}-{job.key}"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / RUNNING).write_text(f"{os.getpid()}\n")  # for whoever looks which process this is
    ended = attempt(job, folder)
    written = TrainingFiles(folder / CHECKPOINT)
    files = {
        file.name: file.read_bytes()
        for file in (written.checkpoint, written.history)
        if file.is_file()
    }
    shutil.rmtree(folder, ignore_errors=True)
    return ended if ended.result is None else replace(ended, files=files)
