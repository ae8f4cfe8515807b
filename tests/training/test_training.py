"""The training loop on a handful of digits: history, determinism, resuming to the same bits, and
what a checkpoint replays.
"""

import csv
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ahsar_eval.training.loop as loop
from ahsar_eval.data import Split, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import AhsarWarning, HomeostasisError, UsageError
from ahsar_eval.homeostasis import HomeostasisWarning, named_neurons, read_thresholds
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, network_of, save_checkpoint
from ahsar_eval.recording import record
from ahsar_eval.training.loop import TrainingDivergedError, loss_and_accuracy, train
from ahsar_eval.training.request import Recipe, parse_method

SHAPE = (1, 16, 16)
BATCH = 25
History = list[dict[str, Any]]


def spec(step_mode: str = "m") -> ModelSpec:
    return ModelSpec(
        "vgg13", SHAPE, 10, width=1 / 16, step_mode=step_mode, timesteps=2, mean=(0.3,), std=(0.35,)
    )


def digits(count: int, role: str) -> Split:
    source = open_set("digits", role)
    return split_of(subset(source, np.arange(count), role), SHAPE)


TRAIN, VALIDATION = digits(100, "train"), digits(40, "validation")


def recipe(method: str, **settings: Any) -> Recipe:
    return Recipe(parse_method(method), **{"epochs": 2, "batch_size": BATCH, "seed": 3, **settings})


def run(method: str, step_mode: str = "m", **settings: Any) -> tuple[Checkpoint, History]:
    return train(spec(step_mode), TRAIN, VALIDATION, recipe(method, **settings))


def timeless(history: History) -> History:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def assert_same_run(one: tuple[Checkpoint, History], other: tuple[Checkpoint, History]) -> None:
    assert timeless(one[1]) == timeless(other[1])
    assert list(one[0].weights) == list(other[0].weights)
    for name, tensor in one[0].weights.items():
        assert torch.equal(tensor, other[0].weights[name]), f"{name} differs"
    contents = [
        None if run[0].homeostasis is None else run[0].homeostasis.to_dict() for run in (one, other)
    ]
    assert contents[0] == contents[1], "the controllers differ"


# What a training leaves


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("method", ["baseline", "ahsar"])
def test_two_epochs_leave_two_finite_rows(method, step_mode, tmp_path):
    rows: History = []
    checkpoint, history = train(
        spec(step_mode),
        TRAIN,
        VALIDATION,
        recipe(method),
        on_epoch=lambda history: rows.append(history[-1]),
    )
    assert rows == history
    assert [row["epoch"] for row in history] == [1, 2]
    for row in history:
        assert all(math.isfinite(value) for value in row.values()), row
        assert 0 <= row["validation_accuracy"] <= 1
        assert sum(name.startswith("rate.") for name in row) == 10
        assert ("gain" in row) == (method == "ahsar")
        scales = sum(name.startswith("scale.") for name in row)
        assert scales == (0 if method == "baseline" else 5 if step_mode == "m" else 10), (
            "units: blocks in m, layers in s"
        )
    assert (checkpoint.homeostasis is not None) == (method == "ahsar")
    assert checkpoint.method == method
    save_checkpoint(checkpoint, tmp_path / "c.pt")
    again = load_checkpoint(tmp_path / "c.pt")
    assert all(
        torch.equal(again.weights[name], tensor) for name, tensor in checkpoint.weights.items()
    )
    assert again.set_points is not None
    assert checkpoint.set_points is not None
    assert again.set_points.to_dict()["layers"] == checkpoint.set_points.to_dict()["layers"]


@pytest.mark.parametrize("method", ["ahsar", "fixed:0.8"])
def test_set_points_are_the_rates_of_the_best_epoch_on_the_hold_out(method):
    """The rates of the layers stand in the history, too, from the pass that chose the epoch."""
    checkpoint, history = run(method, epochs=3)
    points, best = checkpoint.set_points, checkpoint.provenance["best_epoch"]
    assert points is not None
    rates = {name: one.layer_rate for name, one in points.layers.items()}
    assert rates == pytest.approx({name: history[best - 1][f"rate.{name}"] for name in rates})
    assert len(rates) == 10
    assert len({row["rate.features.lif1_1"] for row in history}) == 3, "epochs differ"
    source = VALIDATION.source
    assert dict(points.data) == {
        "name": source.name,
        "role": "validation",
        "n": 40,
        "identity": source.identity,
        "origin": source.origin,
    }


def test_measuring_them_draws_no_random_number_and_changes_no_bit(monkeypatch):
    with_them, state = run("ahsar"), torch.get_rng_state()
    monkeypatch.setattr(loop, "_set_points", lambda *_: None)
    without = run("ahsar")
    assert_same_run(with_them, without)
    assert torch.equal(torch.get_rng_state(), state)
    assert without[0].set_points is None


def test_a_training_is_not_lost_where_they_cannot_be_measured(monkeypatch):
    def fails(*_: Any, **__: Any) -> None:
        raise HomeostasisError("the network has no spiking layer")

    monkeypatch.setattr(loop, "measure_set_points", fails)
    with pytest.warns(AhsarWarning, match="no set points for --adapt: the network has no spiking"):
        checkpoint, history = run("baseline", epochs=1)
    assert (checkpoint.set_points, len(history)) == (None, 1)


def test_learning_rate_falls_as_a_cosine():
    history = run("baseline", epochs=4)[1]
    expected = [1e-3 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)]
    assert [row["learning_rate"] for row in history] == pytest.approx(expected)


def test_training_learns():
    history = run("ahsar", epochs=6, learning_rate=5e-3)[1]
    assert history[-1]["train_loss"] < 0.9 * history[0]["train_loss"]


@pytest.mark.parametrize("method", ["ahsar", "fixed:0.8"])
def test_checkpoint_is_of_the_best_epoch_and_replays_what_the_hold_out_saw(method):
    checkpoint, history = run(method, epochs=4, learning_rate=5e-3)
    best = max(history, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
    assert checkpoint.provenance["best_epoch"] == best["epoch"]
    replayed = record(network_of(checkpoint), VALIDATION, batch_size=BATCH)
    assert loss_and_accuracy(replayed) == (best["validation_loss"], best["validation_accuracy"])
    if checkpoint.homeostasis is not None:
        assert set(checkpoint.homeostasis.replayed_scales().values()) != {1.0}
        steps = best["epoch"] * math.ceil(len(TRAIN) / BATCH)
        assert checkpoint.homeostasis.steps == steps, (
            "the controller is the best epoch's, not the last one's"
        )


@pytest.mark.parametrize(
    ("step_mode", "order"), [("m", torch.channels_last), ("s", torch.contiguous_format)]
)
def test_order_in_memory_is_the_fast_one(step_mode, order, monkeypatch):
    found: dict[bool, set[bool]] = {True: set(), False: set()}
    forward = torch.nn.Conv2d.forward

    def noted(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        if self.in_channels > 1:  # with one channel the orders are the same
            found[self.training].add(
                self.weight.is_contiguous(
                    memory_format=order if self.training else torch.channels_last
                )
            )
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", noted)
    checkpoint = run("ahsar", step_mode)[0]
    assert found[True] == {True}
    assert found[False] == {True}, "validation runs as an evaluation of the checkpoint will"
    assert all(tensor.is_contiguous() for tensor in checkpoint.weights.values())


def test_loss_and_accuracy_by_hand():
    class Two:
        logits = np.log(
            np.array([[[1.0, 3.0], [1.0, 3.0]], [[9.0, 1.0], [1.0, 9.0]]], dtype=np.float32)
        )  # [N, T, K]
        labels = np.array([1, 1])

    loss, accuracy = loss_and_accuracy(Two())  # type: ignore[arg-type]
    assert loss == pytest.approx((-math.log(3 / 4) - math.log(1 / 2)) / 2, rel=1e-6)
    assert accuracy == 0.5, "a tie goes to the first class"


def test_test_split_is_never_opened(monkeypatch):
    def refuse(*_: Any) -> None:
        raise AssertionError("the training opened a set by itself")

    monkeypatch.setattr("ahsar_eval.data.catalogue.open_set", refuse)
    run("ahsar", epochs=1)


# Methods


def test_ablations_and_their_marks():
    with pytest.warns(
        HomeostasisWarning, match="for gamma = 0.0 and 5 ticks"
    ):  # without relaxation the defaults stand near the limit
        no_rt = run("ahsar-no-rt")[0].homeostasis
    no_dh, no_gain = (run(name)[0].homeostasis for name in ("ahsar-no-dh", "ahsar-no-gain"))
    assert no_rt is not None
    assert no_dh is not None
    assert no_gain is not None
    assert no_rt.params.gamma == 0
    assert no_rt.state.mean() == pytest.approx(0, abs=1e-12), (
        "without relaxation the mean state is conserved"
    )
    assert no_dh.params.diffusion == 0
    assert (no_gain.params.gamma, no_gain.params.diffusion) == (0.1, 0.05)


def test_gain_moves_unless_it_is_ablated():
    assert [row["gain"] for row in run("ahsar-no-gain", epochs=3)[1]] == [1.0, 1.0, 1.0]
    gains = [row["gain"] for row in run("ahsar", epochs=3)[1]]
    assert gains[0] == 1.0
    assert gains[2] != 1.0


def test_fixed_factor_holds_in_training_and_evaluation(monkeypatch):
    seen: dict[bool, set[float]] = {True: set(), False: set()}

    def watched(of: ModelSpec) -> Any:
        net = build(of)
        for node in named_neurons(net.backbone).values():
            node.register_forward_hook(lambda node, *_: seen[node.training].add(node.v_threshold))
        return net

    monkeypatch.setattr(loop, "build", watched)
    checkpoint = run("fixed:0.8", epochs=1)[0]
    assert seen == {True: {0.8}, False: {0.8}}
    assert checkpoint.homeostasis is None
    assert set(read_thresholds(network_of(checkpoint).backbone).values()) == {0.8}, (
        "0.8 times the base threshold of 1"
    )
    assert set(read_thresholds(network_of(checkpoint, scale=1.0).backbone).values()) == {1.0}


def test_fixed_factor_of_one_is_the_baseline():
    one, other = run("fixed:1"), run("baseline")
    assert_same_run(one, other)


# Determinism and resuming


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_two_runs_give_the_same_bits(step_mode):
    torch.manual_seed(1)
    one = run("ahsar", step_mode)
    torch.manual_seed(2)  # what happened before a run does not matter
    assert_same_run(one, run("ahsar", step_mode))
    other = run("ahsar", step_mode, seed=4)
    assert timeless(one[1]) != timeless(other[1]), "another seed is another run"


def break_after(epoch: int) -> Callable[[History], None]:
    def on_epoch(history: History) -> None:
        if history[-1]["epoch"] == epoch:
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.parametrize(
    ("method", "step_mode"), [("baseline", "m"), ("ahsar", "m"), ("ahsar", "s"), ("fixed:0.8", "m")]
)
def test_resumed_training_ends_with_the_same_bits(method, step_mode, tmp_path):
    whole = run(method, step_mode, epochs=3)
    file, plan = tmp_path / "run.resume", recipe(method, epochs=3)
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(
                spec(step_mode),
                TRAIN,
                VALIDATION,
                plan,
                resume_file=file,
                on_epoch=break_after(stop),
            )
    rows: History = []
    resumed = train(
        spec(step_mode),
        TRAIN,
        VALIDATION,
        plan,
        resume_file=file,
        on_epoch=lambda history: rows.append(history[-1]),
    )
    assert [row["epoch"] for row in rows] == [3], "epochs done are not done again"
    assert_same_run(whole, resumed)


def test_finished_training_keeps_its_progress_until_the_checkpoint_is_saved(tmp_path):
    file = tmp_path / "run.resume"
    first = train(spec(), TRAIN, VALIDATION, recipe("ahsar"), resume_file=file)
    assert file.is_file(), "a kill before the checkpoint is on disk must not cost the training"
    rows: History = []
    second = train(
        spec(),
        TRAIN,
        VALIDATION,
        recipe("ahsar"),
        resume_file=file,
        on_epoch=lambda history: rows.append(history[-1]),
    )
    assert rows == [], "nothing is trained again"
    assert first[1] == second[1]
    assert_same_run(first, second)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed"),
        ({"epochs": 5}, "epochs"),
        ({"learning_rate": 2e-3, "weight_decay": 0.0}, "learning_rate, weight_decay"),
        ({"method": "ahsar"}, "method, params"),
        ({"method": "fixed:0.9"}, "method"),
    ],
)
def test_progress_of_another_recipe_is_refused(change, named, tmp_path):
    file = tmp_path / "run.resume"
    train(spec(), TRAIN, VALIDATION, recipe("baseline", epochs=1), resume_file=file)
    before = file.read_bytes()
    other = recipe(**{"method": "baseline", "epochs": 1, **change})
    with pytest.raises(
        UsageError,
        match=rf"was left by a training that differs in {named}; repeat that command to resume it",
    ):
        train(spec(), TRAIN, VALIDATION, other, resume_file=file)
    assert file.read_bytes() == before, "the refused progress stays as it was"


def test_progress_of_other_data_or_network_is_refused(tmp_path):
    file, plan = tmp_path / "run.resume", recipe("baseline", epochs=1)
    train(spec(), TRAIN, VALIDATION, plan, resume_file=file)
    with pytest.raises(UsageError, match="differs in n_train, train_identity"):
        train(spec(), digits(90, "train"), VALIDATION, plan, resume_file=file)
    with pytest.raises(UsageError, match="differs in spec"):
        train(spec("s"), TRAIN, VALIDATION, plan, resume_file=file)


@pytest.mark.parametrize("content", [b"", b"not a progress", b"PK\x03\x04 cut off"])
def test_damaged_progress_is_refused(content, tmp_path):
    file = tmp_path / "run.resume"
    file.write_bytes(content)
    with pytest.raises(
        UsageError,
        match=r"run\.resume cannot be read as a training's progress .*; remove it to start again",
    ):
        train(spec(), TRAIN, VALIDATION, recipe("baseline"), resume_file=file)


def test_diverged_training_stops(monkeypatch):
    monkeypatch.setattr(
        "torch.nn.functional.cross_entropy", lambda logits, labels: logits.sum() * math.nan
    )
    with pytest.raises(
        TrainingDivergedError, match=r"the training loss is nan in epoch 1; lower the learning rate"
    ):
        run("baseline")


def test_last_batch_of_a_single_sample_is_left_out():
    # step mode s: in m, batch norm sees all time steps at once and would not complain
    history = train(spec("s"), digits(51, "train"), VALIDATION, recipe("baseline", epochs=1))[1]
    assert math.isfinite(history[0]["train_loss"])


# The command, killed


COMMAND = (
    "train --data digits --width 0.0625 --timesteps 2 --epochs 4 --samples 256 --batch-size "
    "64 "
    "--threads 1 --seed 5 --out"
)


def history_of(checkpoint: Path) -> list[dict[str, str]]:
    with open(checkpoint.with_suffix(".history.csv"), newline="") as reader:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(reader)
        ]


@pytest.fixture(scope="module")
def killed_and_whole(tmp_path_factory) -> tuple[Path, Path]:
    """Checkpoints of a training killed after its second epoch and then resumed, and of one never
    stopped.
    """
    folder = tmp_path_factory.mktemp("killed")
    killed, whole = folder / "killed.pt", folder / "whole.pt"
    resume = killed.with_suffix(".resume")
    command = [sys.executable, "-m", "ahsar_eval", *COMMAND.split()]
    process = subprocess.Popen(
        [*command, str(killed)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   2/4"):
            assert resume.is_file(), "the progress is on disk when the epoch is announced"
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    assert not killed.exists()

    from ahsar_eval.cli.main import run as run_command

    threads = torch.get_num_threads()
    try:
        for out in (killed, whole):
            assert run_command([*COMMAND.split(), str(out)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert not resume.exists(), "a training that has ended leaves no progress behind"
    return killed, whole


def test_killed_training_resumes_to_the_same_weights(killed_and_whole):
    killed, whole = (load_checkpoint(path) for path in killed_and_whole)
    assert list(killed.weights) == list(whole.weights)
    for name, tensor in killed.weights.items():
        assert torch.equal(tensor, whole.weights[name]), f"{name} differs"
    assert killed.homeostasis is not None
    assert whole.homeostasis is not None
    assert killed.homeostasis.to_dict() == whole.homeostasis.to_dict()
    assert killed.provenance["best_epoch"] == whole.provenance["best_epoch"]


def test_killed_training_resumes_to_the_same_history(killed_and_whole):
    killed, whole = (history_of(path) for path in killed_and_whole)
    assert [row["epoch"] for row in killed] == ["1", "2", "3", "4"]
    assert killed == whole


def test_progress_without_a_part_is_refused_in_one_sentence(tmp_path):
    file, plan = tmp_path / "run.resume", recipe("baseline", epochs=1)
    train(spec(), TRAIN, VALIDATION, plan, resume_file=file)
    content = torch.load(file, weights_only=True)
    torch.save(content | {"weights": None}, file)
    with pytest.raises(UsageError, match="lacks a part of a training's progress"):
        train(spec(), TRAIN, VALIDATION, plan, resume_file=file)
