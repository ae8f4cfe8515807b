"""The threshold sweep: one network at many scales, on the test set and the hold-out, kept, and a
training at each scale.
"""

import csv
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ahsar_eval.data import DataOptions, open_split
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.errors import DataError, RecordingError, UsageError
from ahsar_eval.evaluation.inputs import Plan
from ahsar_eval.evaluation.requests import SweepRequest
from ahsar_eval.evaluation.sweep import SWEEP, best_point, evaluation, gate_on, plan, rate_falls
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint
from ahsar_eval.ood import auroc, predictive_entropy
from ahsar_eval.recording import RecordingStore
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results
from ahsar_eval.training.at_scales import sweep_requests, train_sweep
from ahsar_eval.training.loop import TrainingDivergedError, train_to_file
from ahsar_eval.training.request import TrainingRequest

PROFILE = profile_of("45nm-fp32")


@pytest.fixture
def asked(few_digits):
    return SweepRequest(
        f"npz:{few_digits}", scales=(0.5, 1.0, 2.0), profile=PROFILE, replicates=100
    )


def runner_of(checkpoint: Checkpoint, folder=None) -> Runner:
    return Runner(checkpoint, store=RecordingStore(folder))


def run_one(request: SweepRequest, planned: Plan) -> Results:
    return evaluation(request, [planned])


def own_of(found: Results) -> dict[str, Any]:
    (own,) = [row for row in found.records["point"] if row["own"]]
    return dict(own)


def scales_of(found: Results) -> list[float]:
    """The factors of the points at one factor on every threshold, ascending."""
    rows = [row for row in found.records["point"] if row["scale_low"] == row["scale_high"]]
    return sorted(row["scale"] for row in rows)


def thresholds_of(found: Results, *, own: bool) -> list[float]:
    return [row["threshold"] for row in found.records["layer"] if row["own"] == own]


@pytest.mark.parametrize("regulated", [False, True])
def test_a_point_is_what_its_recording_says(make_tiny, asked, regulated):
    runner = runner_of(replace(make_tiny(regulated=regulated), name="tiny"))
    asked = replace(asked, ood_names=("photo-patches",))
    planned = plan(asked, runner)
    found = run_one(asked, planned)
    assert scales_of(found) == [0.5, 1.0, 2.0]
    other = runner.at_scale(0.5)
    recording, patches = (other.recording(split) for split in (planned.id_split, *planned.others))
    (point,) = [row for row in found.records["point"] if row["scale"] == 0.5]
    assert (point["row"], point["own"]) == ("scale", False)
    assert (point["scale_low"], point["scale_high"]) == (0.5, 0.5)
    assert point["accuracy"] == (recording.predictions == recording.labels).mean()
    assert (
        point["accuracy_low"] < point["accuracy"] < point["accuracy_high"] or not point["accuracy"]
    )
    assert point["mean_rate"] == pytest.approx(
        np.mean([recording.rate(layer) for layer in recording.layers]), rel=1e-12
    )
    assert point["rate"] == pytest.approx(point["mean_rate"], rel=1e-12)
    assert (
        point["energy_pj"] == estimate(recording, PROFILE, checkpoint="tiny").row["total_energy_pj"]
    )
    expected = auroc(predictive_entropy(recording.logits), predictive_entropy(patches.logits))
    assert point["auroc photo-patches"] == pytest.approx(expected, rel=1e-12)
    layers = [row for row in found.records["layer"] if row["scale"] == 0.5]
    assert {row["threshold"] for row in layers} == {0.5}
    for name in ("rate", "gate", "slope", "density"):
        assert point[name] == pytest.approx(np.mean([row[name] for row in layers]), rel=1e-12)
    assert [fact["name"] for fact in found.facts["checkpoints"]] == ["tiny"]
    assert [fact["name"] for fact in found.facts["checkpoints"][0]["ood"]] == ["photo-patches"]


def test_the_own_point_of_a_controller_is_its_replayed_scales(make_tiny, asked):
    checkpoint = make_tiny(regulated=True)
    found = run_one(asked, plan(asked, runner_of(checkpoint)))
    assert checkpoint.homeostasis is not None
    factors = list(checkpoint.homeostasis.replayed_scales().values())
    own = own_of(found)
    assert own["row"] == "own"
    assert (own["scale_low"], own["scale_high"]) == (min(factors), max(factors)) == (0.75, 1.25)
    assert own["scale"] == pytest.approx(np.mean(factors))
    assert thresholds_of(found, own=True) == factors
    assert len(found.records["point"]) == 4


def test_the_own_point_of_a_fixed_factor_is_one_of_the_points_and_recorded_once(
    make_tiny, asked, monkeypatch
):
    recorded: list[str] = []
    monkeypatch.setattr("ahsar_eval.recording.runner.record", _counting(recorded))
    found = run_one(asked, plan(asked, runner_of(make_tiny())))
    assert scales_of(found) == [0.5, 1.0, 2.0]
    assert own_of(found)["scale"] == 1.0
    assert len(recorded) == 3
    between = run_one(asked, plan(asked, runner_of(replace(make_tiny(), fixed_scale=0.8))))
    assert scales_of(between) == [0.5, 0.8, 1.0, 2.0]
    assert own_of(between)["scale"] == 0.8


def _counting(calls):
    from ahsar_eval.recording import record

    def counted(net, split, **options):
        calls.append(split.name)
        return record(net, split, **options)

    return counted


def test_a_second_call_makes_no_pass_and_gives_the_same(make_tiny, asked, tmp_path, monkeypatch):
    first = run_one(asked, plan(asked, runner_of(make_tiny(), tmp_path)))

    def never(*arguments, **options):
        raise AssertionError("a pass was made")

    monkeypatch.setattr("ahsar_eval.recording.runner.record", never)
    monkeypatch.setattr("ahsar_eval.evaluation.sweep.measure_gate", never)
    again = run_one(asked, plan(asked, runner_of(make_tiny(), tmp_path)))
    assert again.records == first.records
    assert thresholds_of(again, own=False) == [0.5] * 10 + [2.0] * 10  # each its own
    with pytest.raises(AssertionError, match="a pass was made"):
        run_one(replace(asked, scales=(0.6,)), plan(asked, runner_of(make_tiny(), tmp_path)))


def test_a_damaged_gate_is_measured_again(make_tiny, asked, tmp_path):
    runner = runner_of(make_tiny(), tmp_path)
    split = plan(asked, runner).id_split
    whole = gate_on(runner, split)
    (file,) = tmp_path.glob("*.gate.json")
    for text in ("", "{", "[]", "{}", json.dumps({"layers": [{"name": "a"}]})):
        file.write_text(text)
        assert gate_on(runner, split) == whole
    assert json.loads(file.read_text()) == whole.to_dict() | {
        "layers": [vars(layer) for layer in whole.layers]
    }


@pytest.mark.parametrize("name", ["digits-vgg13-baseline", "digits-vgg13-ahsar"])
def test_the_mean_rate_of_a_trained_network_falls_as_thresholds_rise(name):
    """Of the network as a whole, on real digits; a single layer's need not."""
    runner = Runner(load_checkpoint(name), batch_size=60)
    split = open_split("digits", runner.view)
    few = replace(split, source=replace(split.source, labels=split.source.labels[:60]))
    rates = []
    for scale in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
        recording = runner.at_scale(scale).recording(few)
        rates.append(float(np.mean([recording.rate(layer) for layer in recording.layers])))
    assert (np.diff(rates) < 0).all()


# --- the hold-out
# --------------------------------------------------------------------------------------------------


def test_on_validation_the_held_out_samples_and_their_shifts_are_seen():
    checkpoint = load_checkpoint("digits-vgg13-baseline")
    asked = SweepRequest(
        "digits",
        ("digits:contrast:2", "photo-patches"),
        scales=(1.0,),
        profile=PROFILE,
        on="validation",
    )
    made = plan(asked, runner_of(checkpoint))
    assert made.id_split.identity == checkpoint.provenance["validation_identity"]
    assert [split.source.role for split in made.others] == ["validation", "all"]
    assert made.others[0].source.identity == made.id_split.source.identity
    assert (made.others[0].shift, made.others[0].severity) == ("contrast", 2)


def test_a_hold_out_that_the_checkpoint_does_not_know_is_refused(make_tiny):
    with pytest.raises(
        UsageError, match="does not say that its training held out these samples of digits"
    ):
        plan(
            SweepRequest("digits", scales=(1.0,), profile=PROFILE, on="validation"),
            runner_of(make_tiny()),
        )


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data_name": "digits", "ood_names": ("digits",)}, UsageError, "is the ID set itself"),
        (
            {"data_name": "digits", "ood_names": ("digits:contrast", "digits:contrast:2")},
            UsageError,
            "contrast:2 was named twice",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused_before_a_pass(make_tiny, asked, changes, error, words):
    with pytest.raises(error, match=words):
        plan(replace(asked, **changes), runner_of(make_tiny()))


def test_a_set_of_other_classes_is_refused_and_one_without_labels_has_no_accuracy(make_tiny, asked):
    with pytest.raises(
        DataError, match="tells 7 classes apart and digits has 10; choose the set it was trained on"
    ):
        plan(replace(asked, data_name="digits"), runner_of(make_tiny(classes=7)))
    patches = replace(asked, data_name="photo-patches", scales=(1.0,))
    found = run_one(patches, plan(patches, runner_of(make_tiny())))
    assert (own_of(found)["accuracy"], own_of(found)["nll"]) == (None, None)
    assert best_point(found.records["point"], "accuracy") is None
    assert "– : no accuracy, for labels are unknown or of other classes." in found.notes
    known = runner_of(replace(make_tiny(), provenance={"label_space": "letters"}))
    few = replace(asked, data_name="digits", scales=(), data=DataOptions(limit=8))
    found = run_one(few, plan(few, known))
    assert own_of(found)["accuracy"] is None
    assert any("digits: no accuracy: its classes (0, 1, 2, 3, …)" in one for one in found.notes)


def test_a_network_without_a_gate_is_refused_before_a_pass(make_tiny, asked):
    runner = runner_of(make_tiny())
    runner.network.backbone.features.lif1_1.surrogate_function = None  # type: ignore[union-attr]
    with pytest.raises(
        RecordingError, match=r"layer 'features\.lif1_1' fires without a surrogate function"
    ):
        plan(asked, runner)


def test_a_network_at_a_scale_of_its_own_is_refused(make_tiny, asked):
    with pytest.raises(UsageError, match="starts from a network's own thresholds"):
        plan(asked, runner_of(make_tiny()).at_scale(0.5))


# --- what the summary says
# --------------------------------------------------------------------------------------------------


def points(accuracies, rates) -> list[dict[str, Any]]:
    return [
        {"scale": scale, "accuracy": accuracy, "nll": 1 - accuracy, "mean_rate": rate}
        for scale, accuracy, rate in zip((0.5, 1.0, 2.0), accuracies, rates, strict=True)
    ]


def test_the_best_point_and_where_the_rate_does_not_fall():
    one = points((0.9, 0.9, 0.8), (0.3, 0.2, 0.1))
    for metric in ("accuracy", "nll"):
        best = best_point(one, metric)
        assert best is not None
        assert best["scale"] == 1.0  # of equal ones the one nearest to 1
    assert best_point(points((0.8, 0.9, 0.95), (0.3, 0.2, 0.1)), "nll") == {
        **{"scale": 2.0, "accuracy": 0.95, "mean_rate": 0.1},
        "nll": pytest.approx(0.05),
    }
    assert rate_falls(one) == "yes"
    assert rate_falls(points((0.9, 0.9, 0.8), (0.3, 0.3, 0.1))) == "not at 1"
    assert rate_falls(points((0.9, 0.9, 0.8), (0.3, 0.2, 0.21))) == "not at 2"
    assert rate_falls(points((0.9, 0.9, 0.8), (0.3, 0.0, 0.0))) == "yes"  # silent ones stay silent
    assert best_point([{**row, "accuracy": None} for row in one], "accuracy") is None


@pytest.mark.parametrize("width", [80, 100])
def test_tables_are_no_wider_than_the_terminal(make_tiny, asked, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    asked = replace(asked, ood_names=("photo-patches",))
    runners = [
        runner_of(replace(make_tiny(regulated=regulated), name=f"digits-vgg13-{regulated}"))
        for regulated in (False, True)
    ]
    found = evaluation(asked, [plan(asked, runner) for runner in runners])
    text = found.to("table", detail=True)
    assert max(map(len, text.splitlines())) <= width
    for words in ("Threshold sweep on npz:", "1 (own)", "0.988 (own)", "0.750–1.250", "p(θ)"):
        assert words in text
    assert "AUROC, photo-patches" in text


# --- trainings
# --------------------------------------------------------------------------------------------------

SMALL = TrainingRequest(
    data="digits", width=0.0625, timesteps=2, epochs=2, batch_size=64, samples=128
)


def test_every_scale_and_seed_is_asked_for_once_and_the_baseline_stands_at_one():
    base = replace(SMALL, controller={"beta": 0.2})
    found = sweep_requests(base, (2.0, 0.5, 1.0), (0, 1))
    assert [(one.method, one.seed) for one in found] == [
        (method, seed)
        for method in ("fixed:0.5", "baseline", "fixed:2", "ahsar")
        for seed in (0, 1)
    ]
    assert [dict(one.controller) for one in found] == [{}] * 6 + [{"beta": 0.2}] * 2
    assert [one.method for one in sweep_requests(base, (0.5,), (0,))] == [
        "fixed:0.5",
        "baseline",
        "ahsar",
    ]
    with pytest.raises(UsageError, match="has no seed"):
        sweep_requests(base, (0.5,), ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Trainings at 0.5 and 1, and AHSAR's."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("trainings")
    train_sweep(sweep_requests(SMALL, (0.5,), (0,)), place)
    return place


def test_trainings_leave_files_and_are_not_made_again(folder):
    requests = sweep_requests(SMALL, (0.5,), (0,))
    made = []
    found = train_sweep(
        requests, folder, on_start=lambda request, place: made.append(request.method)
    )
    assert made == []
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}-seed0{suffix}"
        for name in ("fixed-0.5", "baseline", "ahsar")
        for suffix in (".pt", ".history.csv", ".request.json")
    )
    assert [run.rows[0]["scale"] for run in found[:2]] == [0.5, 1.0]
    assert found[-1].checkpoint == folder / "ahsar-seed0.pt"
    for trained in found:
        with open(trained.checkpoint.with_suffix(".history.csv"), newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert [float(row["train_loss"]) for row in rows] == [
            row["train_loss"] for row in trained.history
        ]
        assert len(rows) == 2
    regulated = found[-1]
    homeostasis = load_checkpoint(regulated.checkpoint).homeostasis
    assert homeostasis is not None
    factors = list(homeostasis.replayed_scales().values())
    told = regulated.rows[0]
    assert (told["scale_low"], told["scale_high"]) == (min(factors), max(factors))
    assert told["scale"] == pytest.approx(np.mean(factors))


def test_one_more_scale_trains_one_more(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    made = []
    found = train_sweep(
        sweep_requests(SMALL, (0.5, 2.0), (0,)),
        tmp_path / "copy",
        on_start=lambda request, place: made.append((request.method, place)),
    )
    assert made == [("fixed:2", 2)]
    assert len(found) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 3}, "was trained with epochs 2, not as asked now"),
        ({"width": 0.125}, r"width 0\.0625"),
    ],
)
def test_a_folder_of_other_trainings_is_refused(folder, changes, words):
    with pytest.raises(UsageError, match=words):
        train_sweep(sweep_requests(replace(SMALL, **changes), (0.5,), (0,)), folder)


def test_other_threads_and_a_lost_request_are_refused(folder, tmp_path):
    import shutil

    torch.set_num_threads(2)
    with pytest.raises(UsageError, match="was trained with threads 1"):
        train_sweep(sweep_requests(SMALL, (0.5,), (0,)), folder)
    torch.set_num_threads(1)
    copied = shutil.copytree(folder, tmp_path / "copy")
    (copied / "baseline-seed0.request.json").unlink()
    with pytest.raises(UsageError, match="does not say what it was trained with"):
        train_sweep(sweep_requests(SMALL, (0.5,), (0,)), copied)


@pytest.mark.parametrize("column", ["steps", "validation_loss"])
def test_a_history_without_a_column_is_refused(folder, tmp_path, column):
    import shutil

    copied = shutil.copytree(folder, tmp_path / "copy")
    file = copied / "ahsar-seed0.history.csv"
    file.write_text(file.read_text().replace(column, "other", 1))
    with pytest.raises(
        UsageError,
        match=rf"ahsar-seed0\.history\.csv is no readable history \(a row has no {column}\)",
    ):
        train_sweep(sweep_requests(SMALL, (0.5,), (0,)), copied)


def test_a_stopped_training_continues_and_one_that_diverges_is_said(folder, tmp_path, monkeypatch):
    requests = sweep_requests(SMALL, (0.5,), (0,))
    whole = train_sweep(requests, folder)

    class StoppedError(Exception):
        pass

    def stops(prepared, out, *, on_epoch=None):
        def after_one(history):
            raise StoppedError

        return train_to_file(prepared, out, on_epoch=after_one)

    monkeypatch.setattr("ahsar_eval.training.at_scales.train_to_file", stops)
    with pytest.raises(StoppedError):
        train_sweep(requests, tmp_path)
    assert [path.name for path in tmp_path.glob("*.resume")] == ["fixed-0.5-seed0.resume"]

    def diverges(prepared, out, *, on_epoch=None):
        if prepared.request.method == "baseline":
            raise TrainingDivergedError("the training loss is nan in epoch 1")
        return train_to_file(prepared, out, on_epoch=on_epoch)

    monkeypatch.setattr("ahsar_eval.training.at_scales.train_to_file", diverges)
    found = train_sweep(requests, tmp_path)
    drop = [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in found[0].history
    ]
    assert drop == [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in whole[0].history
    ]
    assert [bool(trained.diverged) for trained in found] == [False, True, False]
    assert found[1].history == ()
    assert found[1].rows == [
        {
            **{"checkpoint": "baseline-seed0.pt", "method": "baseline", "seed": 0},
            **{"scale": 1.0, "scale_low": 1.0, "scale_high": 1.0},
            "diverged": "the training loss is nan in epoch 1",
        }
    ]
    assert found[0].rows[1]["epoch"] == 2
    results = shown(found)
    assert "baseline, seed 0: the training loss is nan in epoch 1." in results.notes
    (table,) = results.tables()
    assert table.title == "Trained at each scale: vgg13 on digits, bptt, step mode m"
    cells = {row.cells[0]: row.cells[1:] for row in table.grid().rows}
    assert cells["1 (baseline)"] == ["1", "2", *["–"] * 6, "1"]
    assert cells["0.5"][:2] == ["1", "2"]
    assert cells["0.5"][-1] == ""
    assert {"AHSAR", "AHSAR (1.000)"} & {name[:13] for name in cells}


def shown(found) -> Results:
    """Trainings without a network that is swept."""
    rows = [{"row": "epoch", **row} for one in found for row in one.rows]
    facts = {"trainings": [one.request.to_dict() for one in found]}
    return Results(SWEEP, {"point": [], "layer": [], "epoch": rows}, facts)


def test_the_table_of_trainings_has_means_over_seeds_of_the_areas_under_curves(folder):
    found = train_sweep(sweep_requests(SMALL, (0.5,), (0,)), folder)
    moved = [
        replace(
            one,
            request=replace(one.request, seed=1),
            history=tuple({**row, "train_loss": row["train_loss"] + 1} for row in one.history),
        )
        for one in found
    ]
    (table,) = shown([*found, *moved]).tables()
    for row, one in zip(table.rows, found, strict=True):
        losses = [line["train_loss"] for line in one.history]
        assert row["seeds"] == 2
        assert row["mean_train_loss"] == pytest.approx(np.mean(losses) + 0.5)
        assert row["last_train_loss"] == pytest.approx(losses[-1] + 0.5)
        assert row["best_validation_accuracy"] == pytest.approx(
            max(line["validation_accuracy"] for line in one.history)
        )
        assert row["last_mean_rate"] == pytest.approx(one.history[-1]["mean_rate"])
