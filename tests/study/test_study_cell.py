"""One cell: trained, saved, evaluated with the numbers of the other commands, and picked up where
it stopped.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from ahsar_eval.data import SETS, DataOptions
from ahsar_eval.errors import DataError
from ahsar_eval.files import csv_text
from ahsar_eval.networks.checkpoints import find_checkpoint, load_checkpoint
from ahsar_eval.study import cell as cell_module
from ahsar_eval.study.cell import attempt, measure, run_cell
from ahsar_eval.study.folder import read_result
from ahsar_eval.study.workers import Job
from ahsar_eval.training.files import read_history
from ahsar_eval.training.loop import train_to_file
from ahsar_eval.training.request import TrainingRequest


def job_of(cell, options=None, source=None, **request):
    changed = replace(cell, request=replace(cell.request, **request))
    return Job(changed, "small", options or DataOptions(), source)


def of_method(study, method, paradigm="bptt"):
    return next(
        one
        for one in study.cells()
        if (one.request.method, one.request.paradigm) == (method, paradigm)
    )


def without_times(result):
    history = [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in result["history"]
    ]
    asked = ("format", "version", "key", "request", "threads")  # as the folder writes them
    left_out = ("seconds", "provenance", *asked)
    kept = {name: value for name, value in result.items() if name not in left_out}
    return kept | {"history": history, "checkpoint": result["provenance"]["checkpoint"]}


# Numbers


def test_every_number_is_that_of_the_other_commands_to_the_last_bit(few_digits, tmp_path, command):
    noise = np.random.Generator(np.random.Philox(0)).random((30, 1, 16, 16), dtype=np.float32)
    np.savez(tmp_path / "noise.npz", x=noise)
    data, ood = (
        f"npz:{few_digits}",
        (
            f"npz:{tmp_path / 'noise.npz'}",
            f"npz:{few_digits}:rotation:3",
            f"npz:{few_digits}:inversion:5",
        ),
    )
    request = TrainingRequest(data=data)
    found = measure(find_checkpoint("digits-vgg13-ahsar"), request, ood, DataOptions())
    named = [part for name in ood for part in ("--ood", name)]
    cache = ("--cache", tmp_path / "cache", "--format", "json")
    said = json.loads(
        command("ood", "digits-vgg13-ahsar", "--id", data, *named, "--bootstrap", 100, *cache).out
    )
    (own,) = said["id"]
    assert [found["id"][name] for name in ("accuracy", "nll", "mean_rate", "n")] == [
        own[name] for name in ("accuracy", "nll", "mean_rate", "n_id")
    ]
    rows = {row["ood"]: row for row in said["rows"] if row["kind"] == "set"}
    assert [one["set"] for one in found["ood"]] == list(ood)
    for one in found["ood"]:
        row = rows[one["set"]]
        assert (one["auroc"], one["fpr95"], one["accuracy"]) == (
            row["auroc"],
            row["fpr_at_tpr"],
            row["accuracy_ood"],
        )
        assert (one["n"], one["kind"]) == (row["n_ood"], "shift" if row["same_images"] else "other")
    assert [one["kind"] for one in found["ood"]] == ["other", "shift", "shift"]
    assert [one["accuracy"] is None for one in found["ood"]] == [True, False, False]
    energy = json.loads(command("energy", "digits-vgg13-ahsar", "--data", data, *cache).out)
    assert (found["id"]["energy_nj"], found["id"]["synops"]) == (
        energy["total_energy_pj"] / 1000,
        energy["total_acs"],
    )
    assert found["id"]["rates"] == {layer["name"]: layer["rate"] for layer in energy["neurons"]}
    assert found["modality"] == "rgb"


def test_a_set_that_is_not_divided_cannot_be_tested_on(few_digits, tmp_path, small):
    cell = of_method(small, "baseline")
    with pytest.raises(
        DataError, match=r"npz:.* is not divided into training and test samples, so that a network"
    ):
        run_cell(job_of(replace(cell, ood=()), data=f"npz:{few_digits}"), tmp_path)
    assert not list(tmp_path.glob("*.pt")), "refused before the training"


def test_a_history_comes_back_as_it_was(tmp_path):
    rows = [
        {
            "epoch": 1,
            "steps": 18,
            "learning_rate": 1e-3,
            "train_loss": 0.1 + 0.2,
            "validation_loss": 2.0,
            "validation_accuracy": 1e-9,
            "seconds": 3.0,
            "rate.a": 0.0,
        },
        {
            "epoch": 2,
            "steps": 36,
            "learning_rate": 1e-17,
            "train_loss": 5e-324,
            "validation_loss": -1.5,
            "validation_accuracy": 0.0,
            "seconds": -0.0,
            "gain": 1.0,
        },
    ]
    (tmp_path / "history.csv").write_text(csv_text(rows))
    back = read_history(tmp_path / "history.csv")
    assert back == rows
    assert [type(value) for value in back[0].values()] == [int, int, *[float] * 6]


# A cell


def test_a_result_holds_what_the_tables_read(small, small_results):
    cell = of_method(small, "ahsar")
    result = small_results[cell.key]
    read = read_result(result, "result")
    assert (read.key, result["study"], read.threads, read.request) == (
        cell.key,
        "small",
        1,
        cell.request.to_dict(),
    )
    assert (result["n_train"], result["n_validation"]) == (40, 180)
    assert [(row["epoch"], row["steps"]) for row in read.history] == [
        (epoch, 2 * epoch) for epoch in range(1, 5)
    ]
    assert read.id["n"] == 450
    assert [(one["kind"], one["n"]) for one in read.ood] == [("shift", 450)]
    assert read.controller is not None
    assert list(read.controller["scale"]) == list(read.controller["ema_scale"])
    row = read.history[read.best_epoch - 1]
    assert (read.controller["gain"], read.controller["saturated_fraction"]) == (
        row["gain"],
        row["saturated_fraction"],
    )
    assert read.controller["scale"] == {
        unit: row[f"scale.{unit}"] for unit in read.controller["scale"]
    }
    assert small_results[of_method(small, "baseline").key]["controller"] is None
    assert len({result["provenance"]["checkpoint"] for result in small_results.values()}) == 5, (
        "five different networks"
    )


def test_a_frozen_cell_is_trained_at_the_scales_of_its_source(small, small_results, tmp_path):
    source, frozen = of_method(small, "ahsar"), of_method(small, "frozen:ahsar")
    run_cell(job_of(source), tmp_path / "source")
    job = job_of(frozen, source=(tmp_path / "source" / "checkpoint.pt").read_bytes())
    result = run_cell(job, tmp_path / "frozen")
    checkpoint = load_checkpoint(tmp_path / "frozen" / "checkpoint.pt")
    controller = load_checkpoint(tmp_path / "source" / "checkpoint.pt").homeostasis
    assert controller is not None
    assert dict(checkpoint.layer_scales) == controller.replayed_scales()
    assert set(checkpoint.layer_scales.values()) != {1.0}
    assert (checkpoint.method, result["controller"]) == ("frozen:ahsar", None)
    assert small_results[frozen.key]["request"]["method"] == "frozen:ahsar"
    assert without_times(result) == without_times(small_results[frozen.key] | {"seconds": 0})
    assert sorted(file.name for file in (tmp_path / "frozen").iterdir()) == [
        "checkpoint.history.csv",
        "checkpoint.pt",
    ]


def test_a_training_that_stopped_goes_on_and_ends_with_the_same_bits(
    small, small_results, tmp_path, monkeypatch
):
    cell = of_method(small, "ahsar", "rate")
    epochs = []

    def stopped(prepared, out):
        def stop(history):
            epochs.append(len(history))
            if len(epochs) == 2:
                raise KeyboardInterrupt

        return train_to_file(prepared, out, on_epoch=stop)

    monkeypatch.setattr(cell_module, "train_to_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_cell(job_of(cell), tmp_path)
    assert (tmp_path / "checkpoint.resume").is_file()
    result = run_cell(job_of(cell), tmp_path)
    assert epochs == [1, 2, 3, 4]
    assert without_times(result) == without_times(small_results[cell.key] | {"seconds": 0})


def test_a_training_that_ended_is_not_repeated_and_no_recording_goes_to_the_users_cache(
    small, small_results, tmp_path, monkeypatch
):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))
    cell = of_method(small, "baseline")
    run_cell(job_of(cell), tmp_path)
    assert not list((tmp_path / "cache").rglob("*.npz"))
    monkeypatch.setattr(cell_module, "train_to_file", None)
    assert without_times(run_cell(job_of(cell), tmp_path)) == without_times(
        small_results[cell.key] | {"seconds": 0}
    )


def test_the_test_split_is_opened_when_the_training_is_over(tmp_path, monkeypatch, small):
    happened = []
    entry = SETS["digits"]

    def opened(role, options):
        happened.append(role)
        return entry.open(role, options)

    def trained(prepared, out):
        found = train_to_file(prepared, out)
        happened.append("trained")
        return found

    monkeypatch.setitem(SETS.own, "digits", replace(entry, open=opened))
    monkeypatch.setattr(cell_module, "train_to_file", trained)
    cell = replace(small.cells()[0], ood=("digits:fog:1",))
    options = DataOptions(split_seed=77)  # of its own, so that nothing is open yet
    run_cell(job_of(cell, options, samples=20, epochs=1), tmp_path)
    assert happened == ["train", "validation", "trained", "test"]


# What cannot work


def test_a_set_that_is_missing_is_refused_before_the_training(small, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_module, "train_to_file", None)
    cell = of_method(small, "baseline")
    empty = DataOptions(root=tmp_path)
    with pytest.raises(
        DataError,
        match=r"mnist is not complete in .*; ahsar-eval data info mnist says what to place there",
    ):
        run_cell(job_of(replace(cell, ood=("mnist:fog:3",)), empty), tmp_path)
    with pytest.raises(DataError, match=r"npz:nothing.npz is not there; check the path"):
        run_cell(job_of(replace(cell, ood=("npz:nothing.npz:fog:3",))), tmp_path)


def test_an_error_becomes_a_failure_in_one_line(small, tmp_path, monkeypatch):
    cell = of_method(small, "baseline")
    ended = attempt(job_of(cell, samples=5000), tmp_path)
    assert ended.result is None
    assert {*ended.failure} == {"error", "kind"}
    assert ended.failure["kind"] == "DataError"
    assert ended.failure["error"].startswith("samples is 5000 and digits has ")

    def broken(prepared, out):
        raise ZeroDivisionError("this\nhas two lines")

    monkeypatch.setattr(cell_module, "train_to_file", broken)
    failure = attempt(job_of(cell), tmp_path).failure
    assert (failure["error"], failure["kind"]) == (
        "ZeroDivisionError: this has two lines",
        "ZeroDivisionError",
    )
    assert "in broken" in failure["traceback"]


def test_a_result_that_is_not_finite_is_a_failure(small, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_module, "run_cell", lambda job, folder: {"id": {"nll": float("nan")}})
    failure = attempt(job_of(small.cells()[0]), tmp_path).failure
    assert failure["error"].startswith("a number of the result is not finite")
