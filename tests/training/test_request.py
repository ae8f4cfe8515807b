"""A training asked for by names: what it becomes, what is refused, the files it leaves, and the
command that takes the same names.
"""

import json
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

import ahsar_eval.training.loop as loop
from ahsar_eval.data import DataOptions, channel_statistics, split_of, training_sets
from ahsar_eval.data.training_data import Augmentation
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.files import csv_text
from ahsar_eval.homeostasis import HomeostaticParams
from ahsar_eval.networks import ModelSpec
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.training.files import TrainingFiles
from ahsar_eval.training.loop import train, train_to_file
from ahsar_eval.training.request import Recipe, TrainingRequest, parse_method, prepare

SMALL: dict[str, Any] = {
    "width": 1 / 16,
    "timesteps": 2,
    "epochs": 2,
    "batch_size": 64,
    "samples": 128,
}

# Names and values


def test_defaults_are_the_commands():
    from ahsar_eval.cli.train import train as command

    defaults = {option.name: option.default for option in command.params}
    for entry in fields(TrainingRequest):
        value = getattr(TrainingRequest(), entry.name)
        assert defaults[entry.name] == value or entry.name in (
            "input_shape",
            "samples",
            "controller",
        ), entry.name


def test_a_request_survives_json():
    request = TrainingRequest(
        data="cifar10",
        method="ahsar-no-dh",
        input_shape=(3, 16, 16),
        samples=500,
        controller={"beta": 0.2, "use_gain": False},
    )
    assert TrainingRequest(**json.loads(json.dumps(request.to_dict()))) == request
    assert TrainingRequest(**TrainingRequest().to_dict()) == TrainingRequest()


def test_whole_numbers_are_kept_as_what_the_field_is():
    request = TrainingRequest(width=1, controller={"beta": 1}, input_shape=[1, 16, 16])
    assert (request.width, type(request.width)) == (1.0, float)
    assert type(request.controller["beta"]) is float
    assert (
        request.to_dict()
        == TrainingRequest(width=1.0, controller={"beta": 1.0}, input_shape=(1, 16, 16)).to_dict()
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"width": "1"}, "width is '1'; expected a number"),
        ({"width": True}, "width is True; expected a number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected a positive number"),
        ({"width": float("inf")}, "width is inf; expected a positive number"),
        ({"epochs": 2.5}, r"epochs is 2\.5; expected a whole number"),
        ({"epochs": True}, "epochs is True; expected a whole number"),
        ({"data": 3}, "data is 3; expected a text"),
        (
            {"input_shape": [1, 16]},
            r"input_shape is \[1, 16\]; expected three whole numbers, channels, height and width",
        ),
        ({"input_shape": "1,16"}, "input_shape is '1,16'; expected three whole numbers"),
        ({"input_shape": "1,x,16"}, "input_shape is '1,x,16'; expected three whole numbers"),
        ({"samples": 1}, "samples is 1; expected at least 2, or none for all"),
        ({"samples": "all"}, "samples is 'all'; expected a whole number"),
        ({"paradigm": "rates"}, r"paradigm is 'rates' .*; expected bptt or rate"),
        ({"step_mode": "x"}, "step_mode is 'x'.*; expected s or m"),
        ({"augment": "cutout"}, "augment is 'cutout'; expected one of auto, none, crop, "),
        ({"precision": "fp8"}, "precision is 'fp8'.*; expected fp32 or bf16 or fp16"),
        ({"sensing": "eyes"}, "sensing is 'eyes'.*; expected spikes or surrogate"),
        ({"hold_out": 1.0}, r"hold_out is 1\.0; expected a fraction between 0 and 1"),
        (
            {"method": "ahsar2"},
            "unknown method 'ahsar2'; known are ahsar, baseline, .*, fixed:S, frozen:CKPT",
        ),
        ({"method": "frozen:"}, "method 'frozen:' names no checkpoint; expected frozen:CKPT"),
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"batch_size": 1}, "batch_size is 1; expected at least 2"),
        ({"learning_rate": 0}, r"learning_rate is 0\.0; expected a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; expected a positive number"),
        ({"weight_decay": float("nan")}, "weight_decay is nan; expected 0 or more"),
        ({"weight_decay": -1}, r"weight_decay is -1\.0; expected 0 or more"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"precision": "fp16"}, "precision is 'fp16'; expected bf16 or fp32 without a GPU"),
        ({"width": 0}, r"width is 0\.0; expected a positive number"),
        ({"timesteps": 0}, "timesteps is 0; expected at least 1"),
        ({"input_shape": [5, 16, 16]}, r"input_shape is \(5, 16, 16\); expected channels"),
        ({"input_shape": [1, 0, 16]}, r"input_shape is \(1, 0, 16\); expected channels"),
        (
            {"controller": {"betta": 0.2}},
            r"controller: unknown setting 'betta' \(did you mean beta\?\); known are beta, gamma, ",
        ),
        ({"controller": {"beta": "much"}}, "controller: beta is 'much'; expected a number"),
        ({"controller": {"use_gain": 1}}, "controller: use_gain is 1; expected True or False"),
        ({"controller": {"alpha": 2}}, r"controller: alpha is 2\.0; expected 0 < alpha < 1"),
        (
            {"controller": {1: 0.2}},
            r"controller is \{1: 0\.2\}; expected parameters by name, each once",
        ),
        (
            {"controller": 0.2},
            r"controller is 0\.2; expected parameters by name, each once, such as beta = 0\.2",
        ),
        (
            {"controller": {"beta": 0.2}, "method": "baseline"},
            "method 'baseline' has no controller; leave beta out, or choose ahsar",
        ),
        (
            {"controller": {"beta": 0.2}, "method": "fixed:0.8"},
            "method 'fixed:0.8' has no controller; leave beta out",
        ),
        (
            {"controller": {"beta": 0.2}, "method": "frozen:x"},
            "method 'frozen:x' has no controller; leave beta out",
        ),
    ],
)
def test_bad_values_are_refused(values, text):
    with pytest.raises(UsageError, match=text):
        TrainingRequest(**values)


def test_the_checkpoint_of_frozen_is_not_opened_by_its_name_alone():
    assert (
        TrainingRequest(method="frozen:ahsar").method == "frozen:ahsar"
    )  # in a study, the name of another cell's method


# What it becomes


def test_prepared_is_what_a_user_would_put_together():
    request = TrainingRequest(
        width=0.25, step_mode="s", timesteps=3, method="fixed:0.9", epochs=4, batch_size=32, seed=7
    )
    prepared = prepare(request)
    train_set, validation_set = training_sets("digits", hold_out=0.1, seed=7)
    mean, std = channel_statistics(split_of(train_set, (1, 16, 16)))
    assert prepared.spec == ModelSpec(
        "vgg13", (1, 16, 16), 10, width=0.25, step_mode="s", timesteps=3, mean=mean, std=std
    )
    assert prepared.recipe == Recipe(parse_method("fixed:0.9"), 4, 32, seed=7)
    assert prepared.train_split.identity == split_of(train_set, (1, 16, 16)).identity
    assert prepared.validation_split.identity == split_of(validation_set, (1, 16, 16)).identity
    assert prepared.facts == {"hold_out": 0.1}


def test_controller_paradigm_precision_and_sensing_arrive():
    request = TrainingRequest(
        paradigm="rate",
        method="ahsar-no-rt",
        precision="bf16",
        sensing="surrogate",
        controller={"beta": 0.07},
    )
    prepared = prepare(request)
    assert prepared.spec.paradigm == "rate"
    assert prepared.recipe.method.params == replace(HomeostaticParams(beta=0.07), gamma=0.0)
    assert (prepared.recipe.precision, prepared.recipe.sensing) == ("bf16", "surrogate")


def test_augmentation_is_the_sets_own_unless_it_is_named(tmp_path):
    file = tmp_path / "x.npz"
    np.savez(
        file,
        x=np.random.default_rng(0).random((40, 3, 16, 16), dtype=np.float32),
        y=np.arange(40) % 2,
    )
    for request, expected in [
        (TrainingRequest(), "none"),
        (TrainingRequest(augment="crop-flip"), "crop-flip"),
        (TrainingRequest(data=f"npz:{file}"), "none"),
        (TrainingRequest(data="digits-dvs", augment="roll", timesteps=2), "roll"),
    ]:
        assert prepare(request).recipe.augment == expected


@pytest.mark.parametrize(
    ("data", "augment", "expected"),
    [
        ("cifar10", "auto", "crop-flip-cutout"),
        ("cifar10-dvs", "auto", "flip-roll"),
        ("n-mnist", "auto", "roll"),
        ("cifar10", "none", "none"),
        ("mnist", "auto", "none"),
    ],
)
def test_augmentation_of_named_sets(data, augment, expected):
    assert TrainingRequest(data=data, augment=augment).augmentation == expected


def test_a_part_of_the_samples_is_stratified_fixed_and_nested():
    whole = prepare(TrainingRequest()).train_split
    parts = {
        count: prepare(TrainingRequest(samples=count, seed=seed)).train_split
        for count, seed in ((100, 0), (200, 1))
    }
    for count, part in parts.items():
        assert len(part) == count
        shares, expected = Counter(part.labels.tolist()), Counter(whole.labels.tolist())
        for label, found in shares.items():
            assert abs(found - count * expected[label] / len(whole)) < 1
    pixels = [
        {image.numpy().tobytes() for image in part.tensors(np.arange(len(part)))[0]}
        for part in parts.values()
    ]
    assert pixels[0] < pixels[1], "a larger part holds the smaller one, whatever the seed"
    assert prepare(TrainingRequest(samples=len(whole))).train_split.identity == whole.identity
    with pytest.raises(
        DataError,
        match=rf"samples is 5000 and digits has {len(whole)} to train on; ask for at most as many",
    ):
        prepare(TrainingRequest(samples=5000))


def test_the_hold_out_is_taken_from_the_same_part_at_every_seed(few_digits):
    """Where a set has no validation split: training samples and hold-out together are one part,
    whichever seed divides it.
    """
    seen, held = [], []
    for seed in (0, 1):
        made = prepare(
            TrainingRequest(
                data=f"npz:{few_digits}",
                input_shape=(1, 16, 16),
                samples=30,
                hold_out=0.3,
                seed=seed,
            )
        )
        both = [
            {image.numpy().tobytes() for image in split.tensors(np.arange(len(split)))[0]}
            for split in (made.train_split, made.validation_split)
        ]
        assert len(made.train_split) + len(made.validation_split) == 30
        seen.append(both[0] | both[1])
        held.append(both[1])
    assert seen[0] == seen[1]
    assert held[0] != held[1]


def test_what_the_sets_and_the_network_refuse_is_passed_on():
    with pytest.raises(DataError, match="unknown set 'nothing'"):
        prepare(TrainingRequest(data="nothing"))
    with pytest.raises(UsageError, match="epochs is 0; expected at least 1"):
        prepare(TrainingRequest(epochs=0))
    with pytest.raises(UsageError, match="precision is 'fp16'; expected bf16"):
        prepare(TrainingRequest(precision="fp16"))


# What it leaves


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A request, its file, and what training it returned."""
    out = tmp_path_factory.mktemp("request") / "ahsar-w0.06.pt"
    request = TrainingRequest(**SMALL)
    return request, out, *train_to_file(prepare(request), out)


def test_files_are_the_checkpoint_and_the_history(trained):
    _, out, checkpoint, history = trained
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "ahsar-w0.06.history.csv",
        "ahsar-w0.06.pt",
    ]
    assert TrainingFiles(out).history.read_text() == csv_text(history), "as the reports write CSV"
    again = load_checkpoint(out)
    assert all(
        torch.equal(again.weights[name], tensor) for name, tensor in checkpoint.weights.items()
    )
    assert again.provenance == json.loads(json.dumps(dict(checkpoint.provenance)))
    assert (again.provenance["samples"], again.provenance["hold_out"]) == (128, 0.1)


def test_it_is_the_training_of_the_loop(trained):
    request, _, checkpoint, history = trained
    prepared = prepare(request)
    other, rows = train(
        prepared.spec, prepared.train_split, prepared.validation_split, prepared.recipe
    )
    assert all(
        torch.equal(other.weights[name], tensor) for name, tensor in checkpoint.weights.items()
    )
    timeless = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
        for rows in (history, rows)
    ]
    assert timeless[0] == timeless[1]


def test_a_stopped_training_resumes_from_its_file(trained, tmp_path):
    request, _, checkpoint, _ = trained
    out = tmp_path / "again.pt"

    def stop(history: list[dict[str, Any]]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_to_file(prepare(request), out, on_epoch=stop)
    files = TrainingFiles(out)
    assert files.resume.is_file()
    assert files.history.read_text().count("\n") == 2, "one row, and the names"
    seen: list[int] = []
    resumed, _ = train_to_file(
        prepare(request), out, on_epoch=lambda history: seen.append(history[-1]["epoch"])
    )
    assert seen == [2]
    assert not files.resume.exists()
    assert all(
        torch.equal(resumed.weights[name], tensor) for name, tensor in checkpoint.weights.items()
    )


def test_an_older_checkpoint_keeps_its_history_until_it_is_replaced(trained, tmp_path):
    request, out, _, history = trained
    files = TrainingFiles(tmp_path / "old.pt")
    files.checkpoint.write_bytes(out.read_bytes())
    files.history.write_text("old")
    seen = []

    def look(history: list[dict[str, Any]]) -> None:
        seen.append(files.history.read_text())

    train_to_file(prepare(request), files.checkpoint, on_epoch=look)
    assert seen == ["old", "old"]
    assert files.history.read_text().count("\n") == 1 + len(history)


def test_two_trainings_do_not_write_the_same_file(trained, tmp_path):
    request = trained[0]
    out = tmp_path / "one.pt"

    def another(history: list[dict[str, Any]]) -> None:
        with pytest.raises(
            UsageError,
            match=r"another training writes .*one\.pt at this moment; wait until it ends",
        ):
            train_to_file(prepare(request), out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_to_file(prepare(request), out, on_epoch=another)
    assert TrainingFiles(out).resume.is_file()
    assert not TrainingFiles(out).lock.exists()
    train_to_file(prepare(request), out)


def test_names_of_the_files_keep_their_dots(tmp_path):
    assert TrainingFiles(tmp_path / "w0.25").resume == tmp_path / "w0.25.resume"
    assert TrainingFiles(tmp_path / "w0.25.pth").history == tmp_path / "w0.25.history.csv"


# Columns of the history


def test_columns_tell_what_the_controller_did(trained):
    history = trained[-1]
    assert list(history[0])[:13] == [
        *(
            "epoch",
            "steps",
            "learning_rate",
            "train_loss",
            "train_accuracy",
            "validation_loss",
            "validation_accuracy",
            "seconds",
        ),
        *("mean_rate", "log_rate_spread", "gain", "saturated_fraction", "reaction"),
    ]
    assert [row["steps"] for row in history] == [2, 4]
    last = history[-1]
    rates = np.array([value for name, value in last.items() if name.startswith("rate.")])
    assert last["log_rate_spread"] == pytest.approx(np.std(np.log(np.maximum(rates, 1e-4))))
    assert min(last["reaction"], last["relaxation"], last["diffusion"]) > 0


def test_terms_of_the_last_tick_by_hand(monkeypatch):
    """State before and after the last tick are seen from outside: their difference is reaction −
    relaxation − diffusion.
    """
    from ahsar_eval.homeostasis import dynamics

    calls: list[tuple[Any, ...]] = []
    tick = dynamics.tick

    def watched(*arguments: Any) -> Any:
        calls.append(arguments)
        return tick(*arguments)

    monkeypatch.setattr(dynamics, "tick", watched)
    prepared = prepare(TrainingRequest(**{**SMALL, "epochs": 1, "step_mode": "s"}))
    row = train(prepared.spec, prepared.train_split, prepared.validation_split, prepared.recipe)[1][
        -1
    ]
    state, deviations = calls[-1][:2]
    neighbours = np.array(
        [
            sum(state[k] - state[j] for j in (k - 1, k + 1) if 0 <= j < len(state))
            for k in range(len(state))
        ]
    )
    for name, term in (
        ("reaction", 0.1 * deviations),
        ("relaxation", 0.1 * state),
        ("diffusion", 0.05 * neighbours),
    ):
        assert row[name] == pytest.approx(np.sqrt(np.mean(term**2)), rel=1e-12), name
    assert len(calls) == prepared.spec.timesteps, (
        "the ticks of the second of two steps; in the first the state does not move"
    )


def test_baseline_has_no_columns_of_a_controller():
    prepared = prepare(TrainingRequest(**{**SMALL, "epochs": 1, "method": "baseline"}))
    row = train(prepared.spec, prepared.train_split, prepared.validation_split, prepared.recipe)[1][
        0
    ]
    assert {"steps", "log_rate_spread"} <= set(row)
    assert not {"gain", "reaction", "relaxation", "diffusion"} & set(row)


# Augmentation in the loop


def test_batches_are_augmented_by_epoch_and_sample(monkeypatch):
    seen: list[tuple[int, list[int]]] = []

    class Watched(Augmentation):
        def __call__(self, x: torch.Tensor, epoch: int, indices: Any) -> torch.Tensor:
            seen.append((epoch, indices.tolist()))
            return super().__call__(x, epoch, indices)

    monkeypatch.setattr(loop, "Augmentation", Watched)
    prepared = prepare(TrainingRequest(**SMALL, augment="crop"))
    assert prepared.recipe.augment == "crop"
    train(prepared.spec, prepared.train_split, prepared.validation_split, prepared.recipe)
    for epoch in (1, 2):
        assert sorted(index for of, indices in seen if of == epoch for index in indices) == list(
            range(128)
        )


def test_augmented_training_resumes_to_the_same_bits(tmp_path):
    prepared = prepare(TrainingRequest(**SMALL, augment="crop-flip-cutout"))
    whole, _ = train(
        prepared.spec, prepared.train_split, prepared.validation_split, prepared.recipe
    )
    plain = prepare(TrainingRequest(**SMALL))
    assert not torch.equal(
        whole.weights["linear.weight"],
        train(plain.spec, plain.train_split, plain.validation_split, plain.recipe)[0].weights[
            "linear.weight"
        ],
    )
    file = tmp_path / "run.resume"

    def stop(history: list[dict[str, Any]]) -> None:
        raise KeyboardInterrupt

    arguments = (prepared.spec, prepared.train_split, prepared.validation_split)
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, prepared.recipe, resume_file=file, on_epoch=stop)
    with pytest.raises(UsageError, match="was left by a training that differs in augment;"):
        train(*arguments, plain.recipe, resume_file=file)
    resumed, _ = train(*arguments, prepared.recipe, resume_file=file)
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())


# The command


def test_the_command_takes_the_same_names(command, tmp_path):
    out = tmp_path / "one.pt"
    small = (
        "--data digits --width 0.0625 --timesteps 2 --epochs 1 --batch-size 64 --threads 1 "
        "--samples 128"
    )
    names = "--paradigm rate --step-mode s --augment crop --precision bf16 --sensing surrogate"
    parameters = ("--controller", "beta=0.05", "--controller", "use_gain=false")
    found = command("train", *small.split(), *names.split(), *parameters, "--out", out)
    assert found.code == 0, found.err
    assert "best epoch 1, hold-out accuracy" in found.err
    checkpoint = load_checkpoint(out)
    assert (checkpoint.spec.paradigm, checkpoint.spec.step_mode) == ("rate", "s")
    assert checkpoint.homeostasis is not None
    assert checkpoint.homeostasis.params == HomeostaticParams(beta=0.05, use_gain=False)
    assert checkpoint.homeostasis.sensing == "surrogate"
    kept = checkpoint.provenance
    assert (
        kept["augment"],
        kept["precision"],
        kept["sensing"],
        kept["samples"],
        kept["n_train"],
    ) == (
        "crop",
        "bf16",
        "surrogate",
        128,
        128,
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--controller", "beta"),
            "controller: beta is ''; expected a number",
        ),
        (("--controller", "beta=x"), "controller: beta is 'x'; expected a number"),
        (
            ("--controller", "beta=1", "--controller", "beta=2"),
            "controller is ('beta=1', 'beta=2'); expected parameters by name, each once",
        ),
        (("--controller", "betta=1"), "controller: unknown setting 'betta'"),
        (
            ("--controller", "beta=0.1", "--method", "baseline"),
            "method 'baseline' has no controller",
        ),
        (("--augment", "mixup"), "augment is 'mixup'; expected one of auto, none, crop"),
        (("--precision", "fp16"), "precision is 'fp16'; expected bf16 or fp32 without a GPU"),
        (("--samples", "1"), "samples is 1; expected at least 2"),
        (
            ("--method", "frozen:digits-vgg13-baseline"),
            "digits-vgg13-baseline was trained without a controller (baseline)",
        ),
        (("--method", "frozen:nowhere.pt"), "no checkpoint 'nowhere.pt'"),
    ],
)
def test_the_command_refuses_in_one_sentence(options, text, command, tmp_path):
    found = command("train", *options, "--out", tmp_path / "x.pt")
    assert found.code == 2
    assert text in found.err
    assert found.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_options_of_data_are_used(tmp_path):
    with pytest.raises(DataError, match=f"mnist is not complete in {tmp_path}"):
        prepare(TrainingRequest(data="mnist"), DataOptions(root=tmp_path))


@pytest.mark.parametrize("field", ["epochs", "width", "method", "device", "data"])
def test_none_is_refused_where_a_value_is_needed(field):
    nothing: dict[str, Any] = {field: None}
    with pytest.raises(UsageError, match=f"{field} is None; expected"):
        TrainingRequest(**nothing)


def test_whole_numbers_of_numpy_become_plain_ones():
    given: Any = np.int64(2)
    assert type(TrainingRequest(epochs=given).epochs) is int
