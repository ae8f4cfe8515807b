"""Logs of trainings: what each target is given, read back by its own reader where that is there;
continued, failing and missing ones.
"""

import csv
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ahsar_eval.training.loop as loop
from ahsar_eval.cli.main import run as run_command
from ahsar_eval.errors import AhsarWarning, UsageError
from ahsar_eval.networks.checkpoints import Checkpoint
from ahsar_eval.study.grid import study_of
from ahsar_eval.training.files import History, TrainingFiles
from ahsar_eval.training.logs import TARGETS, Logs, Start, scalars
from ahsar_eval.training.loop import train_to_file
from ahsar_eval.training.ranks import Ranks
from ahsar_eval.training.request import TrainingRequest, prepare

SMALL: dict[str, Any] = {
    "width": 1 / 16,
    "timesteps": 2,
    "epochs": 2,
    "batch_size": 64,
    "samples": 128,
}
EVERY = tuple(TARGETS)


def row(epoch: int, loss: float = 0.0) -> dict[str, Any]:
    """An epoch, whose numbers say which one and which training it is of."""
    return {
        "epoch": epoch,
        "train_loss": epoch + loss,
        "validation_accuracy": 0.5,
        "mean_rate": 0.25,
        "gain": 1.5,
        "scale.block 1": 0.75,
        "rate.features.lif": 0.125,
    }


# Names


def test_names_are_those_of_the_field():
    given = {"epoch": 3, "steps": 6, "train_accuracy": 0.5, "seconds": 1.5, "rate.": 0.1}
    assert scalars(row(1)) == {
        "train/loss": 1,
        "validation/accuracy": 0.5,
        "mean_rate": 0.25,
        "gain": 1.5,
        "scale/block 1": 0.75,
        "rate/features.lif": 0.125,
    }
    assert scalars(given) == {"steps": 6, "train/accuracy": 0.5, "seconds": 1.5, "rate": 0.1}


def test_targets_stand_alone_or_with_commas_each_once():
    text: dict[str, Any] = {"log": "csv"}
    assert TrainingRequest().log == ()
    assert TrainingRequest(**text).log == ("csv",), "one text stands for a tuple of one"
    assert TrainingRequest(log=("csv, tensorboard", "csv")).log == ("csv", "tensorboard")
    with pytest.raises(UsageError, match=r"log is 'tensrboard' \(did you mean tensorboard\?\)"):
        TrainingRequest(log=("csv,tensrboard",))


def test_who_watches_decides_no_number_and_no_cell_of_a_study():
    watched = TrainingRequest(log=("csv",))
    assert watched.to_dict() == TrainingRequest().to_dict()
    text = "name = 'x'\n[training]\nmethod = 'baseline'\n"
    (plain,), (logged,) = (
        study_of(text + more, "x").cells() for more in ("", "log = ['csv', 'tensorboard']\n")
    )
    assert plain.key == logged.key
    assert logged.request.log == ("csv", "tensorboard")


# Of a training


@pytest.fixture(autouse=True, scope="module")
def event_files_in_order():
    """TensorBoard reads the files of one second and process by a number that stands in their names
    without leading zeros; trainings do not end so soon.
    """
    from tensorboard.summary.writer import event_file_writer

    event_file_writer._global_uid = event_file_writer.AtomicCounter(10**6)


def of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {
        tag: [(one.step, one.value) for one in read.Scalars(tag)] for tag in read.Tags()["scalars"]
    }


def of_csv(file: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    with open(file, newline="") as reader:
        for one in csv.DictReader(reader):
            point = int(one["epoch"]), float(one["value"])
            found.setdefault(f"{one['quantity']}/{one['of']}", []).append(point)
    return found


def expected(history: History) -> dict[str, list[tuple[int, float]]]:
    """Of the history alone: its columns by the names of logs, epoch and number."""
    names = {
        column: column.replace("train_", "train/", 1)
        .replace("validation_", "validation/", 1)
        .replace("rate.", "rate/", 1)
        .replace("scale.", "scale/", 1)
        for column in history[0]
        if column != "epoch"
    }
    return {
        name: [(one["epoch"], one[column]) for one in history] for column, name in names.items()
    }


def in_single(found: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(step, float(np.float32(value))) for step, value in points]
        for name, points in found.items()
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[Path, Checkpoint, History]:
    out = tmp_path_factory.mktemp("watched") / "w0.06.pt"
    request = TrainingRequest(**SMALL, log=("tensorboard,csv",))
    return out, *train_to_file(prepare(request), out)


def test_tensorboard_reads_the_numbers_of_the_history(watched):
    out, _, history = watched
    found = of_tensorboard(out.with_name("w0.06.tensorboard"))
    assert found == in_single(expected(history))
    assert [step for step, _ in found["rate/features.lif1_1"]] == [1, 2]
    assert {"train/loss", "validation/loss", "validation/accuracy", "gain", "seconds"} <= set(found)


def test_the_csv_has_rates_and_scales_of_every_epoch_and_layer(watched):
    out, _, history = watched
    whole = expected(history)
    layers = {name: whole[name] for name in whole if name.startswith(("rate/", "scale/"))}
    assert of_csv(out.with_name("w0.06.log.csv")) == layers
    assert len(layers) == 15, "ten layers and five blocks"


def test_what_continues_logs_is_gone_when_the_training_is_over(watched):
    out, _, _ = watched
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "w0.06.history.csv",
        "w0.06.log.csv",
        "w0.06.pt",
        "w0.06.tensorboard",
    ]


def test_logs_change_no_bit_of_a_training(watched, tmp_path):
    _, checkpoint, history = watched
    plain, rows = train_to_file(prepare(TrainingRequest(**SMALL)), tmp_path / "plain.pt")
    assert list(plain.weights) == list(checkpoint.weights)
    for name, tensor in plain.weights.items():
        assert torch.equal(tensor, checkpoint.weights[name]), name
    one, other = (
        [{name: value for name, value in one.items() if name != "seconds"} for one in found]
        for found in (rows, history)
    )
    assert one == other
    assert plain.homeostasis is not None
    assert checkpoint.homeostasis is not None
    assert plain.homeostasis.to_dict() == checkpoint.homeostasis.to_dict()
    differ = {
        name
        for name, value in plain.provenance.items()
        if checkpoint.provenance[name] != value and name not in ("time", "command")
    }
    assert differ == set()


def test_a_stopped_training_continues_its_logs(watched, tmp_path):
    out = tmp_path / "again.pt"
    request = TrainingRequest(**SMALL, log=("tensorboard", "csv"))

    def stop(history: History) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_to_file(prepare(request), out, on_epoch=stop)
    first = of_csv(tmp_path / "again.log.csv")
    assert {len(points) for points in first.values()} == {1}, "live: there after the first epoch"
    places: dict[str, str] = {}
    _, history = train_to_file(prepare(request), out, on_log=places.__setitem__)
    assert places == {
        "tensorboard": str(tmp_path / "again.tensorboard"),
        "csv": str(tmp_path / "again.log.csv"),
    }
    assert of_tensorboard(Path(places["tensorboard"])) == in_single(expected(history))
    assert {len(points) for points in of_csv(Path(places["csv"])).values()} == {2}
    assert not TrainingFiles(out).logs.exists()


def test_of_several_ranks_the_first_alone_logs(monkeypatch, tmp_path):
    asked: list[Any] = []

    def look(targets: Any, *_: Any) -> Any:
        asked.append(targets)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "logs_of", look)
    prepared = prepare(TrainingRequest(**SMALL, log=("csv",)))
    for rank in (0, 1):
        monkeypatch.setattr(loop, "present_ranks", lambda rank=rank: Ranks(rank, 2))
        with pytest.raises(KeyboardInterrupt):
            train_to_file(prepared, tmp_path / "x.pt")
    assert asked == [("csv",), ()]


# Libraries that stand for the real ones: they keep what they are told.


class Told(types.ModuleType):
    """A module whose calls are kept in `calls`, and the points of its runs in `points`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.calls: list[tuple[str, Any]] = []
        self.points: dict[str, dict[str, list[tuple[int, float]]]] = {}


@pytest.fixture
def wandb(monkeypatch) -> Told:
    module = Told("wandb")

    class Run:
        url = None

        def __init__(self, **given: Any) -> None:
            module.calls.append(("init", given))
            self.id = given.get("id") or f"run{len(module.points)}"
            self.points = module.points.setdefault(self.id, {})

        def log(self, values: dict[str, float], step: int, commit: bool) -> None:
            assert commit, "else an epoch is seen when the next one is logged"
            for name, value in values.items():
                points = self.points.setdefault(name, [])
                if not points or step > points[-1][0]:  # as the real one does
                    points.append((step, value))

        def finish(self, exit_code: int) -> None:
            module.calls.append(("finish", exit_code))

    vars(module).update(init=lambda **given: Run(**given), Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch) -> Told:
    module, entities = Told("mlflow"), Told("mlflow.entities")
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)  # type: ignore[attr-defined]
    entities.Param = lambda key, value: (key, value)  # type: ignore[attr-defined]

    class Client:
        def __init__(self, tracking_uri: str) -> None:
            module.calls.append(("uri", tracking_uri))

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str, artifact_location: str | None) -> str:
            module.calls.append(("experiment", name))
            return "7"

        def create_run(self, experiment: str, run_name: str) -> Any:
            run = f"run{len(module.points)}"
            module.points[run] = {}
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run))

        def update_run(self, run: str, status: str) -> None:
            module.calls.append(("status", status))

        def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
            if params:
                module.calls.append(("params", dict(params)))
            for key, value, step in metrics:  # a step given twice is kept twice
                module.points[run].setdefault(key, []).append((step, value))

        def get_metric_history(self, run: str, key: str) -> list[Any]:
            points = module.points[run].get(key, [])
            return [types.SimpleNamespace(step=step) for step, _ in points]

        def set_terminated(self, run: str, status: str) -> None:
            module.calls.append(("status", status))

    module.MlflowClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return module


def test_weights_and_biases_is_given_the_request_and_every_epoch(wandb, tmp_path):
    out = tmp_path / "x.pt"
    request = TrainingRequest(**SMALL, log=("wandb",))
    _, history = train_to_file(prepare(request), out)
    assert wandb.points == {"run0": expected(history)}
    (_, begun), ended = wandb.calls
    assert begun["config"] == request.to_dict()
    assert (begun["name"], begun["dir"]) == ("x", str(tmp_path / "x.wandb"))
    assert begun["reinit"] == "create_new", "a run of the caller's own goes on"
    assert "resume" not in begun
    assert ended == ("finish", 0)


def test_mlflow_is_given_the_request_and_every_epoch(mlflow, tmp_path):
    request = TrainingRequest(**SMALL, log=("mlflow",))
    _, history = train_to_file(prepare(request), tmp_path / "x.pt")
    assert mlflow.points == {"run0": expected(history)}
    told = dict(mlflow.calls)
    assert told["uri"] == f"sqlite:///{tmp_path}/x.mlflow/mlflow.db"
    assert told["params"] == {name: str(value) for name, value in request.to_dict().items()}
    assert told["status"] == "FINISHED"


def test_mlflow_is_spared_letters_that_it_refuses(mlflow, tmp_path):
    logs = Logs(["mlflow"], TrainingFiles(tmp_path / "x.pt"), {"seed": 1})
    logs.begin([{"epoch": 1, "rate.a+b": 0.5, "rate.": 0.25}])
    assert mlflow.points == {"run0": {"rate/a_b": [(1, 0.5)], "rate": [(1, 0.25)]}}


def test_a_server_that_is_named_is_asked(mlflow, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    Logs(["mlflow"], TrainingFiles(tmp_path / "x.pt"), {"seed": 1}).begin([])
    assert ("uri", "http://host:5000") in mlflow.calls
    assert [path.name for path in tmp_path.iterdir()] == ["x.logs.resume"], "no file of MLflow's"


# Continued logs


def points_in(folder: Path, target: str, modules: dict[str, Told]) -> Any:
    """What a target has of the first log of `x.pt`: train/loss, or of the CSV the layer's rate."""
    if target == "tensorboard":
        return of_tensorboard(folder / "x.tensorboard").get("train/loss", [])
    if target == "csv":
        return of_csv(folder / "x.log.csv").get("rate/features.lif", [])
    *_, last = modules[target].points.values()  # a run without an epoch is not continued
    return last.get("train/loss", [])


def sessions(folder: Path, target: str, stops: list[tuple[int, int]]) -> None:
    """Trainings of five epochs each killed (none is closed) after `logged` epochs, with `kept`
    of them in its progress.
    """
    kept = 0
    for logged, next_kept in [*stops, (5, 5)]:
        history = [row(1 + i) for i in range(kept)]
        logs = Logs([target], TrainingFiles(folder / "x.pt"), {"seed": 1})
        logs.begin(list(history))
        while len(history) < logged:
            history.append(row(1 + len(history)))
            logs.write(list(history))
        kept = next_kept


@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize(
    "stops",
    [
        [(2, 2)],  # killed between two epochs
        [(2, 3)],  # between an epoch's progress and its log: it is logged when it continues
        [(0, 0), (1, 1), (4, 5)],
        [(3, 2)],  # the progress is older than the log, as after a file was put back
        [(2, 2), (2, 2)],
    ],
)
def test_every_epoch_stands_once_in_a_continued_log(target, stops, wandb, mlflow, tmp_path):
    sessions(tmp_path, target, stops)
    found = points_in(tmp_path, target, {"wandb": wandb, "mlflow": mlflow})
    values = [0.125] * 5 if target == "csv" else [1, 2, 3, 4, 5]
    assert found == list(zip(range(1, 6), values, strict=True))
    assert not (tmp_path / "x.tensorboard-2").exists()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-1, 1)), max_size=4))
def test_so_it_does_wherever_trainings_are_killed(tmp_path_factory, stops):
    folder, seen, kills = tmp_path_factory.mktemp("killed"), 0, []
    for logged, more in stops:
        seen = max(logged, seen)
        kills.append((seen, min(5, max(1, seen + more))))
        seen = kills[-1][1]
    sessions(folder, "tensorboard", kills)
    assert points_in(folder, "tensorboard", {}) == [(i, i) for i in range(1, 6)]


def test_epochs_made_again_replace_those_of_before(tmp_path):
    files = TrainingFiles(tmp_path / "x.pt")
    first = Logs(["tensorboard", "csv"], files, {})
    first.begin([])
    first.write([row(1), row(2)])
    again = Logs(["tensorboard", "csv"], files, {})
    again.begin([row(1)])
    again.write([row(1), {**row(2, loss=0.5), "rate.features.lif": 0.75}])
    assert of_tensorboard(tmp_path / "x.tensorboard")["train/loss"] == [(1, 1.0), (2, 2.5)]
    assert of_csv(tmp_path / "x.log.csv")["rate/features.lif"] == [(1, 0.125), (2, 0.75)]


def test_a_run_is_continued_by_its_id_and_shown_as_running(wandb, mlflow, tmp_path):
    files = TrainingFiles(tmp_path / "x.pt")
    for history in ([row(1)], [row(1), row(2)]):
        logs = Logs(["wandb", "mlflow"], files, {"seed": 1})
        logs.begin(history)
        logs.close(completed=len(history) == 2)
    assert wandb.calls[2][1]["id"] == "run0"
    assert wandb.calls[2][1]["resume"] == "allow"
    assert [code for what, code in wandb.calls if what == "finish"] == [1, 0]
    statuses = [said for what, said in mlflow.calls if what == "status"]
    assert statuses == ["KILLED", "RUNNING", "FINISHED"]


def test_a_training_begun_again_leaves_the_log_of_the_one_before(tmp_path):
    """Its progress was removed, and so were not its logs."""
    for _ in range(2):
        logs = Logs(["tensorboard", "csv"], TrainingFiles(tmp_path / "x.pt"), {})
        logs.begin([])
        logs.write([row(1)])
    names = ["x.log-2.csv", "x.log.csv", "x.logs.resume", "x.tensorboard", "x.tensorboard-2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert of_tensorboard(tmp_path / "x.tensorboard-2")["train/loss"] == [(1, 1.0)]


def test_files_of_a_users_own_are_left_alone(tmp_path):
    (tmp_path / "x.log.csv").write_text("mine")
    (tmp_path / "x.tensorboard").write_text("mine")
    logs = Logs(["tensorboard", "csv"], TrainingFiles(tmp_path / "x.pt"), {})
    logs.begin([row(1)])
    assert (
        (tmp_path / "x.log.csv").read_text() == (tmp_path / "x.tensorboard").read_text() == "mine"
    )
    assert of_csv(tmp_path / "x.log-2.csv")["rate/features.lif"] == [(1, 0.125)]
    assert json.loads((tmp_path / "x.logs.resume").read_text()) == {
        "tensorboard": {"key": "x.tensorboard-2", "epochs": 1},
        "csv": {"key": "x.log-2.csv", "epochs": 1},
    }


# Missing and failing ones


@pytest.mark.parametrize("target", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_said_in_one_sentence(target, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, target, None)
    out = tmp_path / "x.pt"
    code = run_command(["train", "--epochs", "1", "--log", f"csv,{target}", "--out", str(out)])
    said = capsys.readouterr().err
    assert code == 2
    assert said == (
        f"ahsar-eval: --log {target} needs the package {target}, which is not installed; install "
        f"it with pip install 'ahsar-eval[{target}]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_library_is_imported_unasked(monkeypatch):
    for target in ("tensorboard", "wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, target, None)
    assert prepare(TrainingRequest(**SMALL, log=("csv",))).request.log == ("csv",)


def test_a_log_that_cannot_begin_is_refused_before_the_first_epoch(wandb, tmp_path):
    (tmp_path / "x.wandb").write_text("a file")
    request = TrainingRequest(**SMALL, log=("csv", "wandb"))
    epochs: list[History] = []
    with pytest.raises(UsageError, match=r"--log wandb cannot begin \(FileExistsError: .*mend"):
        train_to_file(prepare(request), tmp_path / "x.pt", on_epoch=epochs.append)
    assert epochs == []


class Failing:
    """A log whose second epoch cannot be written."""

    def __init__(self, start: Start) -> None:
        self.key, self.place = "key", "place"

    def write(self, history: History, done: int) -> None:
        if len(history) == 2:
            raise OSError(28, "No space left on device")

    def close(self, *, completed: bool) -> None:
        raise RuntimeError("and it cannot be closed")


def test_a_log_that_fails_is_warned_of_once_and_the_training_goes_on(monkeypatch, tmp_path):
    monkeypatch.setitem(TARGETS, "tensorboard", Failing)
    request = TrainingRequest(**{**SMALL, "epochs": 3}, log=("tensorboard", "csv"))
    with pytest.warns(AhsarWarning) as caught:
        _, history = train_to_file(prepare(request), tmp_path / "x.pt")
    (one,) = [str(one.message) for one in caught if "--log" in str(one.message)]
    assert one == (
        "--log tensorboard failed in epoch 2 (OSError: [Errno 28] No space left on device); the "
        "training goes on without it"
    )
    assert len(history) == 3
    assert (tmp_path / "x.pt").is_file()
    found = of_csv(tmp_path / "x.log.csv")
    assert {len(points) for points in found.values()} == {3}, "the other log goes on"


def test_a_log_that_cannot_be_closed_is_warned_of(monkeypatch, tmp_path):
    monkeypatch.setitem(TARGETS, "tensorboard", Failing)
    logs = Logs(["tensorboard"], TrainingFiles(tmp_path / "x.pt"), {})
    logs.begin([row(1)])
    with pytest.warns(AhsarWarning, match=r"could not be closed \(RuntimeError: and it cannot be"):
        logs.close(completed=True)


# The real libraries, where they are installed


def test_the_real_mlflow_keeps_every_epoch_once(tmp_path, monkeypatch):
    pytest.importorskip("mlflow.store.tracking.sqlalchemy_store", reason="mlflow is not installed")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sessions(tmp_path, "mlflow", [(2, 3), (3, 2)])
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/x.mlflow/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'ahsar-eval'")
    (run,) = client.search_runs([experiment.experiment_id])
    for name, value in scalars(row(1)).items():
        points = client.get_metric_history(run.info.run_id, name)
        of = {"train/loss": range(1, 6)}.get(name, [value] * 5)
        assert sorted((one.step, one.value) for one in points) == list(zip(range(1, 6), of))  # noqa: B905
    assert (run.info.run_name, run.data.params) == ("x", {"seed": "1"})


def test_the_real_wandb_writes_a_run_of_the_same_id_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    mine = wandb.init(project="mine", dir=str(tmp_path))
    for history in ([row(1)], [row(1), row(2)]):
        logs = Logs(["wandb"], TrainingFiles(tmp_path / "x.pt"), {"seed": 1})
        logs.begin(history)
        logs.close(completed=len(history) == 2)
    assert wandb.run is mine, "the caller's own run goes on"
    mine.finish()
    files = list((tmp_path / "x.wandb" / "wandb").glob("offline-run-*/run-*.wandb"))
    key = json.loads((tmp_path / "x.logs.resume").read_text())["wandb"]["key"]
    assert {file.name for file in files} == {f"run-{key}.wandb"}
    content = b"".join(file.read_bytes() for file in files)
    assert b"rate/features.lif" in content
