"""The threshold sweep: one network at many scales, on the test set and the hold-out, kept, and a
training at each scale.
"""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ahsar_eval.report.sweep_figures import convergence_of
from ahsar_eval.report.sweep_report import best_point, rate_falls, trained_notes, trained_table

from ahsar_eval.data import open_split
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.errors import DataError, RecordingError, UsageError
from ahsar_eval.evaluation.sweep import SweepRequest, gate_on, plan, run
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint
from ahsar_eval.ood import auroc, predictive_entropy
from ahsar_eval.recording import RecordingStore
from ahsar_eval.recording.runner import Runner
from ahsar_eval.training import TrainingDivergedError, TrainingRequest, train_to_file
from ahsar_eval.training.at_scales import TrainedSweep, sweep_requests, train_sweep

PROFILE = profile_of("45nm-fp32")


@pytest.fixture
def asked(few_digits):
    return SweepRequest(f"npz:{few_digits}", (0.5, 1.0, 2.0), PROFILE, replicates=100)


def runner_of(checkpoint: Checkpoint, folder=None) -> Runner:
    return Runner(checkpoint, store=RecordingStore(folder))


@pytest.mark.parametrize("regulated", [False, True])
def test_a_point_is_what_its_recording_says(make_tiny, asked, regulated):
    runner = runner_of(replace(make_tiny(regulated=regulated), name="tiny"))
    asked = replace(asked, ood_names=("photo-patches",))
    planned = plan(asked, runner)
    found = run(asked, planned)
    assert [point.scale for point in found.points] == [0.5, 1.0, 2.0]
    other = runner.at_scale(0.5)
    recording, patches = (other.recording(split) for split in (planned.id_split, *planned.others))
    point = found.points[0]
    assert (point.low, point.high, point.own) == (0.5, 0.5, False)
    assert point.accuracy is not None
    assert point.accuracy.value == (recording.predictions == recording.labels).mean()
    assert point.rate.value == pytest.approx(
        np.mean([recording.rate(layer) for layer in recording.layers]), rel=1e-12
    )
    assert point.gate.mean("rate") == pytest.approx(point.rate.value, rel=1e-12)
    assert point.energy_pj == estimate(recording, PROFILE, checkpoint="tiny").total_energy_pj
    expected = auroc(predictive_entropy(recording.logits), predictive_entropy(patches.logits))
    assert point.auroc["photo-patches"].value == pytest.approx(expected, rel=1e-12)
    assert {layer.threshold for layer in point.gate.layers} == {0.5}


def test_the_own_point_of_a_controller_is_its_replayed_scales(make_tiny, asked):
    checkpoint = make_tiny(regulated=True)
    found = run(asked, plan(asked, runner_of(checkpoint)))
    assert checkpoint.homeostasis is not None
    factors = list(checkpoint.homeostasis.replayed_scales().values())
    assert (found.own.low, found.own.high) == (min(factors), max(factors)) == (0.75, 1.25)
    assert found.own.scale == pytest.approx(np.mean(factors))
    assert [layer.threshold for layer in found.own.gate.layers] == factors
    assert found.own.own
    assert found.own not in found.points


def test_the_own_point_of_a_fixed_factor_is_one_of_the_points_and_recorded_once(
    make_tiny, asked, monkeypatch
):
    recorded: list[str] = []
    monkeypatch.setattr("ahsar_eval.recording.runner.record", _counting(recorded))
    found = run(asked, plan(asked, runner_of(make_tiny())))
    assert found.own is found.points[1]
    assert found.own.scale == 1.0
    assert len(recorded) == 3
    between = run(asked, plan(asked, runner_of(replace(make_tiny(), fixed_scale=0.8))))
    assert [point.scale for point in between.points] == [0.5, 0.8, 1.0, 2.0]
    assert between.own is between.points[1]


def _counting(calls):
    from ahsar_eval.recording import record

    def counted(net, split, **options):
        calls.append(split.name)
        return record(net, split, **options)

    return counted


def test_a_second_call_makes_no_pass_and_gives_the_same(make_tiny, asked, tmp_path, monkeypatch):
    first = run(asked, plan(asked, runner_of(make_tiny(), tmp_path)))

    def never(*arguments, **options):
        raise AssertionError("a pass was made")

    monkeypatch.setattr("ahsar_eval.recording.runner.record", never)
    monkeypatch.setattr("ahsar_eval.evaluation.sweep.measure_gate", never)
    again = run(asked, plan(asked, runner_of(make_tiny(), tmp_path)))
    assert [vars(point) for point in again.points] == [vars(point) for point in first.points]
    assert [point.gate.layers[0].threshold for point in again.points] == [
        0.5,
        1.0,
        2.0,
    ]  # each its own
    with pytest.raises(AssertionError, match="a pass was made"):
        run(replace(asked, scales=(0.6,)), plan(asked, runner_of(make_tiny(), tmp_path)))


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
        "digits", (1.0,), PROFILE, ("digits:contrast:2", "photo-patches"), on="validation"
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
        plan(SweepRequest("digits", (1.0,), PROFILE, on="validation"), runner_of(make_tiny()))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"on": "train"}, UsageError, "a sweep on 'train' is not known"),
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
    found = run(patches, plan(patches, runner_of(make_tiny())))
    assert (found.own.accuracy, found.own.nll) == (None, None)
    assert best_point(found, "accuracy") is None
    known = replace(make_tiny(), provenance={"label_space": "letters"})
    assert run(asked, plan(replace(asked, scales=()), runner_of(known))).own.accuracy is None


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


def test_the_best_point_and_where_the_rate_does_not_fall(make_tiny, asked):
    found = run(asked, plan(asked, runner_of(make_tiny())))

    def with_values(accuracies, rates):
        points = [
            replace(
                point,
                accuracy=replace(point.rate, value=accuracy),
                nll=replace(point.rate, value=1 - accuracy),
                rate=replace(point.rate, value=rate),
            )
            for point, accuracy, rate in zip(found.points, accuracies, rates, strict=True)
        ]
        return replace(found, points=tuple(points))

    one = with_values((0.9, 0.9, 0.8), (0.3, 0.2, 0.1))
    for metric in ("accuracy", "nll"):
        best = best_point(one, metric)
        assert best is not None
        assert best.scale == 1.0  # of equal ones the one nearest to 1
    assert rate_falls(one) == "yes"
    assert rate_falls(with_values((0.9, 0.9, 0.8), (0.3, 0.3, 0.1))) == "not at 1"
    assert rate_falls(with_values((0.9, 0.9, 0.8), (0.3, 0.2, 0.21))) == "not at 2"
    assert (
        rate_falls(with_values((0.9, 0.9, 0.8), (0.3, 0.0, 0.0))) == "yes"
    )  # silent networks stay silent
    assert (
        best_point(
            replace(found, points=tuple(replace(p, accuracy=None) for p in found.points)),
            "accuracy",
        )
        is None
    )


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
    assert [run.scale for run in found.runs[:2]] == [0.5, 1.0]
    assert found.checkpoints("ahsar") == [folder / "ahsar-seed0.pt"]
    for trained in found.runs:
        with open(trained.checkpoint.with_suffix(".history.csv"), newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert [float(row["train_loss"]) for row in rows] == [
            row["train_loss"] for row in trained.history
        ]
        assert len(rows) == 2
    regulated = found.runs[-1]
    homeostasis = load_checkpoint(regulated.checkpoint).homeostasis
    assert homeostasis is not None
    factors = list(homeostasis.replayed_scales().values())
    assert (regulated.low, regulated.high) == (min(factors), max(factors))
    assert regulated.scale == pytest.approx(np.mean(factors))
    assert not regulated.is_fixed


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
    assert len(found.runs) == 4


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
        for row in found.runs[0].history
    ]
    assert drop == [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in whole.runs[0].history
    ]
    assert [bool(trained.diverged) for trained in found.runs] == [False, True, False]
    assert found.runs[1].history == ()
    assert found.checkpoints("baseline") == []
    assert trained_notes(found)[1] == "baseline, seed 0: the training loss is nan in epoch 1."
    line = next(line for line in trained_table(found).body if line[0] == "1 (baseline)")
    assert line[1:] == ["1", "2", *["–"] * 6, "1"]
    drawn = convergence_of(found)
    assert np.isnan(drawn.values["train_loss"][:, 1]).all()
    assert np.isfinite(drawn.values["train_loss"][:, 0]).all()


def test_seeds_are_averaged(folder):
    found = train_sweep(sweep_requests(SMALL, (0.5,), (0,)), folder)

    def moved(trained, by):
        history = tuple({**row, "train_loss": row["train_loss"] + by} for row in trained.history)
        return replace(trained, request=replace(trained.request, seed=1), history=history)

    both = TrainedSweep((*found.runs, *(moved(trained, 1.0) for trained in found.runs)))
    one, two = convergence_of(found), convergence_of(both)
    np.testing.assert_allclose(two.values["train_loss"], one.values["train_loss"] + 0.5)
    assert one.regulated is not None
    assert two.regulated is not None
    np.testing.assert_allclose(two.regulated["train_loss"], one.regulated["train_loss"] + 0.5)
    np.testing.assert_array_equal(two.scales, [0.5, 1.0])
    first, line = trained_table(found).body[0], trained_table(both).body[0]
    assert line[:2] == ["0.5", "2"]
    assert float(line[3]) == pytest.approx(float(first[3]) + 0.5, abs=2e-3)
