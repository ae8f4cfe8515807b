"""Logs for those who watch a training: TensorBoard, Weights & Biases, MLflow, or a tidy CSV of its
layers. All numbers are the history's (training/files.py); none is computed here.

A training that was stopped continues its logs. What that takes stands in NAME.logs.resume beside
the progress: for each target its key (a file's name, or the id of a run) and how many epochs it
has. Epochs that the history has beyond those are logged first.
"""

import contextlib
import importlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ahsar_eval.errors import AhsarWarning, UsageError, close_to
from ahsar_eval.files import csv_text, write_text

if TYPE_CHECKING:
    from ahsar_eval.training.files import History, TrainingFiles

_PARTS = ("train_", "validation_", "rate.", "scale.")  # of the history's columns
_PROJECT = "ahsar-eval"
_NEW = {"key": "", "epochs": 0}


@dataclass(frozen=True)
class Start:
    """What a log begins with: the checkpoint's path without its suffix, the request's fields, and
    of a log to continue its key and its number of epochs.
    """

    stem: Path
    settings: Mapping[str, Any]
    key: str = ""
    epochs: int = 0

    def path(self, name: str) -> Path:
        """Where the log lies: that of `key`, or `name` behind the stem with the first number that
        makes it new.
        """
        if self.key:
            return self.stem.with_name(self.key)
        part, dot, suffix = name.partition(".")
        path, i = Path(f"{self.stem}.{name}"), 1
        while path.exists():
            i += 1
            path = Path(f"{self.stem}.{part}-{i}{dot}{suffix}")
        return path


class Writer(Protocol):
    """One log. `key` is what it is continued by, `place` what a user is told."""

    key: str
    place: str

    def __init__(self, start: Start) -> None: ...

    def write(self, history: "History", done: int) -> None:
        """Log the epochs of `history` from index `done` on, so that they can be seen at once."""

    def close(self, *, completed: bool) -> None:
        """End the log of a training that came to its end, or did not."""


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch under the names that logs have: train/loss, rate/LAYER, gain."""
    return {_name(column): value for column, value in row.items() if column != "epoch"}


def _name(column: str) -> str:
    for part in _PARTS:
        if column.startswith(part):  # a network that is itself a neuron has the layer ""
            return f"{part[:-1]}/{column.removeprefix(part)}".rstrip("/")
    return column


class LayersCsv:
    """NAME.log.csv, a row for each epoch, quantity (rate, scale) and layer or unit it is of;
    written whole after every epoch.
    """

    def __init__(self, start: Start) -> None:
        path = start.path("log.csv")
        self.key, self.place, self._path = path.name, str(path), path
        if not path.exists():
            write_text(path, "epoch,quantity,of,value\n")

    def write(self, history: "History", done: int) -> None:
        """Epochs made again replace those of before."""
        rows = [
            {"epoch": row["epoch"], "quantity": quantity, "of": of, "value": value}
            for row in history
            for quantity, dot, of, value in ((*name.partition("."), row[name]) for name in row)
            if dot
        ]
        write_text(self._path, csv_text(rows))

    def close(self, *, completed: bool) -> None:
        """Nothing is open."""


class TensorBoard:
    """An event file in the folder NAME.tensorboard; values are float32 there."""

    def __init__(self, start: Start) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = start.path("tensorboard")
        self.key, self.place = path.name, str(path)
        # TensorBoard forgets what an earlier event file of this folder says of later epochs.
        again = start.epochs + 1 if start.key else None
        self._writer: Any = SummaryWriter(str(path), purge_step=again)  # type: ignore[no-untyped-call]

    def write(self, history: "History", done: int) -> None:
        """The step is the epoch."""
        for row in history[done:]:
            for name, value in scalars(row).items():
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()

    def close(self, *, completed: bool) -> None:
        """TensorBoard does not know how a training ended."""
        self._writer.close()


class WeightsAndBiases:
    """A run of the project WANDB_PROJECT, else ahsar-eval; its files lie below NAME.wandb."""

    def __init__(self, start: Start) -> None:
        import wandb

        folder = Path(f"{start.stem}.wandb")
        folder.mkdir(parents=True, exist_ok=True)
        again = {"id": start.key, "resume": "allow"} if start.epochs else {}
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=start.stem.name,
            dir=str(folder),
            config=dict(start.settings),
            reinit="create_new",  # a caller's own run goes on beside it
            settings=wandb.Settings(console="off"),
            **again,
        )
        self.key, self.place = self._run.id, str(self._run.url or folder)

    def write(self, history: "History", done: int) -> None:
        """The step is the epoch; Weights & Biases itself drops steps that it has."""
        for row in history[done:]:
            self._run.log(scalars(row), step=row["epoch"], commit=True)

    def close(self, *, completed: bool) -> None:
        """A training that was stopped is shown as failed until it is continued."""
        self._run.finish(exit_code=0 if completed else 1)


class MLflow:
    """A run on the server MLFLOW_TRACKING_URI, else in NAME.mlflow/mlflow.db, an SQLite file."""

    def __init__(self, start: Start) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        uri, folder = os.environ.get("MLFLOW_TRACKING_URI"), Path(f"{start.stem}.mlflow").resolve()
        if not uri:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        self.place, self._metric, self._client = uri, Metric, MlflowClient(tracking_uri=uri)
        self._known: set[int] = set()
        if start.epochs:
            self.key = start.key
            self._client.update_run(self.key, status="RUNNING")
            logged = self._client.get_metric_history(self.key, "train/loss")
            self._known = {metric.step for metric in logged}
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        known = self._client.get_experiment_by_name(name)
        if known is None:
            artifacts = None if folder.as_posix() not in uri else (folder / "artifacts").as_uri()
            experiment = self._client.create_experiment(name, artifact_location=artifacts)
        else:
            experiment = known.experiment_id
        self.key = self._client.create_run(experiment, run_name=start.stem.name).info.run_id
        params = [Param(name, str(value)[:500]) for name, value in start.settings.items()]
        self._client.log_batch(self.key, params=params)

    def write(self, history: "History", done: int) -> None:
        """The step is the epoch; MLflow would keep a step twice, so that those it has are left."""
        now = int(1000 * time.time())
        for row in history[done:]:
            if row["epoch"] not in self._known:
                named = {re.sub(r"[^\w\-. /]", "_", name): v for name, v in scalars(row).items()}
                metrics = [self._metric(name, v, now, row["epoch"]) for name, v in named.items()]
                self._client.log_batch(self.key, metrics=metrics)

    def close(self, *, completed: bool) -> None:
        """A training that was stopped is shown as killed until it is continued."""
        self._client.set_terminated(self.key, "FINISHED" if completed else "KILLED")


# Target → writer; a target's package and extra have its name, "csv" needs none.
TARGETS: dict[str, type[Writer]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "csv": LayersCsv,
}


def read_targets(given: Sequence[str]) -> tuple[str, ...]:
    """Targets, each once, from names that may stand with commas between them. Raises `UsageError`
    for one that is not known.
    """
    names = [name.strip() for text in given for name in text.split(",")]
    for name in names:
        if name not in TARGETS:
            raise UsageError(
                f"log is {name!r}{close_to(name, TARGETS)}; expected {', '.join(TARGETS)}, or "
                "several of them with commas between"
            )
    return tuple(dict.fromkeys(names))


def check_installed(targets: Sequence[str]) -> None:
    """Import what the targets need. Raises `UsageError` that says what to install."""
    for target in targets:
        try:
            if target != "csv":
                importlib.import_module(target)
        except ImportError:
            raise UsageError(
                f"--log {target} needs the package {target}, which is not installed; install it "
                f"with pip install 'ahsar-eval[{target}]'"
            ) from None


class Logs:
    """All logs of one training, whose history they are given after every epoch.

    A log that fails once the training runs is warned of and left out; the training goes on.
    """

    def __init__(
        self,
        targets: Sequence[str],
        files: "TrainingFiles",
        settings: Mapping[str, Any],
        on_open: Callable[[str, str], None] | None = None,
    ) -> None:
        self._targets, self._files, self._settings = targets, files, settings
        self._on_open = on_open
        self._open: dict[str, Writer] = {}
        self._state: dict[str, dict[str, Any]] = {}  # by target: "key" and "epochs"

    def begin(self, history: "History") -> None:
        """Open the logs of a training that has these epochs, and log those that are missing. Raises
        `UsageError` for one that cannot be opened.
        """
        if not self._targets:
            return
        with contextlib.suppress(OSError, ValueError):
            self._state = json.loads(self._files.logs.read_text(encoding="utf-8"))
        for target in self._targets:
            before = self._state.get(target, _NEW)
            if before["epochs"] and not history:  # of a training whose progress was removed
                before = _NEW
            epochs = min(before["epochs"], len(history))
            start = Start(self._files.stem, self._settings, before["key"], epochs)
            try:
                writer = TARGETS[target](start)
            except Exception as error:
                raise UsageError(
                    f"--log {target} cannot begin ({_reason(error)}); mend that, or leave it out"
                ) from error
            self._open[target] = writer
            self._state[target] = {"key": writer.key, "epochs": epochs}
            if self._on_open is not None:
                self._on_open(target, writer.place)
        self.write(history)

    def write(self, history: "History") -> None:
        """Log what is new."""
        for target, writer in list(self._open.items()):
            try:
                if len(history) > self._state[target]["epochs"]:
                    writer.write(history, self._state[target]["epochs"])
                self._state[target]["epochs"] = len(history)
                write_text(self._files.logs, json.dumps(self._state))
            except Exception as error:
                del self._open[target]
                with contextlib.suppress(Exception):
                    writer.close(completed=False)
                warnings.warn(
                    f"--log {target} failed in epoch {len(history)} ({_reason(error)}); the "
                    "training goes on without it",
                    AhsarWarning,
                    stacklevel=2,
                )

    def close(self, *, completed: bool) -> None:
        """Close what is open; a failure is warned of."""
        for target, writer in self._open.items():
            try:
                writer.close(completed=completed)
            except Exception as error:
                said = f"--log {target} could not be closed ({_reason(error)})"
                warnings.warn(said, AhsarWarning, stacklevel=2)
        self._open.clear()


@contextlib.contextmanager
def logs_of(
    targets: Sequence[str],
    files: "TrainingFiles",
    settings: Mapping[str, Any],
    on_open: Callable[[str, str], None] | None = None,
) -> Iterator[Logs]:
    """The logs of the training that the block runs, closed when it ends; `on_open` is told target
    and place of each.
    """
    logs, completed = Logs(targets, files, settings, on_open), False
    try:
        yield logs
        completed = True
    finally:
        logs.close(completed=completed)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
