"""A whole evaluation: what is opened and refused before the first pass, what is fitted on what, and
how many passes are made.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import ahsar_eval.recording
from ahsar_eval.data import SHIFTS, DataOptions, open_split, split_of, training_sets
from ahsar_eval.data.split import subset
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.inputs import Plan, set_notes, warn_if_trained_on
from ahsar_eval.evaluation.ood import CORRUPTIONS, plan, reference_of, run, summarised
from ahsar_eval.evaluation.requests import Request
from ahsar_eval.networks import ModelSpec
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint
from ahsar_eval.ood import SCORES
from ahsar_eval.ood.scores import maximum_softmax
from ahsar_eval.recording import RecordingStore
from ahsar_eval.recording.runner import Runner

ONE_PASS = tuple(name for name, score in SCORES.items() if not score.second_pass)


@pytest.fixture
def few(tmp_path):
    """Twenty test digits and eighty training digits as archives, with labels."""
    files = []
    for role, count in (("test", 20), ("train", 80)):
        split = open_split("digits", (1, 16, 16), role=role)
        file = tmp_path / f"{role}.npz"
        np.savez(file, x=split.tensors(np.arange(count))[0].numpy(), y=split.labels[:count])
        files.append(f"npz:{file}")
    return files


@pytest.fixture
def forwards(monkeypatch):
    """Samples that went through a network while recording, by split name and role."""
    seen: dict[tuple[str, str], int] = {}
    original = ahsar_eval.recording.tally.Tally.run

    def counted(self, batch, split_name):
        seen[split_name] = seen.get(split_name, 0) + len(batch.y)
        return original(self, batch, split_name)

    monkeypatch.setattr("ahsar_eval.recording.tally.Tally.run", counted)
    return seen


def test_all_scores_but_odin_make_one_pass_over_each_set_of_a_shipped_checkpoint(forwards):
    runner = Runner(load_checkpoint("digits-vgg13-ahsar"))
    request = Request("digits", ("digits:rotation:3",), scores=ONE_PASS, replicates=100)
    result = run(request, plan(request, runner))
    # digits is read three times: its test, training and validation split. A few samples of each
    # are run again by the check of the compiled engine.
    for name, samples in {"digits": 450 + 1167 + 180, "digits:rotation:3": 450}.items():
        assert samples <= forwards[name] < 1.05 * samples
    assert runner.recorded == 4
    assert [row.score for row in result.rows if row.kind == "set"] == list(ONE_PASS)
    assert all(
        np.isfinite(scores).all()
        for some in (result.id_set, *result.others)
        for scores in some.scores.values()
    )


def test_odin_makes_a_second_pass_and_says_so(few, forwards, make_tiny):
    runner = Runner(make_tiny())
    request = Request(few[0], (f"{few[0]}:contrast:5",), scores=("entropy", "odin"), replicates=100)
    result = run(request, plan(request, runner))
    assert sum(forwards.values()) == 4 * 20
    assert not np.array_equal(
        result.id_set.scores["odin"], maximum_softmax(result.id_set.logits, 1000)
    )


def test_a_formula_on_logits_opens_no_training_data(few, make_tiny):
    made = plan(Request(few[0], ("photo-patches",), scores=("entropy", "msp")), Runner(make_tiny()))
    assert made.fitting == {}


def test_what_is_fitted_is_the_training_split_the_network_saw(make_tiny):
    checkpoint = make_tiny()
    training, validation = training_sets("digits")
    known = replace(
        checkpoint, provenance={**checkpoint.provenance, "train_set_identity": training.identity}
    )
    made = plan(
        Request("digits", ("photo-patches",), scores=("knn", "msp-temperature")), Runner(known)
    )
    assert {part: split.source.identity for part, split in made.fitting.items()} == {
        "training": training.identity,
        "validation": validation.identity,
    }
    assert made.id_split.source.role == "test"


def warned(checkpoint, facts, split):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_if_trained_on(Runner(replace(checkpoint, provenance=facts)), split)
    return [str(one.message).partition(";")[0] for one in found]


def test_samples_of_the_training_are_known_whole_and_in_part(make_tiny):
    training, test = (open_split("digits", (1, 16, 16), role=role) for role in ("train", "test"))
    part = replace(training, source=subset(training.source, np.arange(5)))
    tiny = replace(make_tiny(), name="mine")
    facts = {"train_set_identity": training.source.identity}
    for split in (training, part):
        assert warned(tiny, facts, split) == ["digits holds the samples mine was trained on"]
    assert warned(tiny, facts, test) == []


@pytest.mark.parametrize(
    ("name", "division", "said"),
    [
        ("digits", "by name", False),
        ("digits", "at random", True),
        ("digits-random", "at random", True),
        ("letters", "at random", False),  # of another family, and divided as that is
    ],
)
def test_another_division_of_the_set_of_the_training_is_said(make_tiny, name, division, said):
    test = open_split("digits", (1, 16, 16))
    test = replace(test, source=replace(test.source, name=name, division=division))
    tiny = replace(make_tiny(), name="mine")
    found = warned(tiny, {"data": "digits", "division": "by name"}, test)
    words = f"mine was trained on digits divided by name, and {name} is divided otherwise"
    assert [words in one for one in found] == [True] * said


def test_the_hold_out_of_a_set_without_a_validation_split_is_known_by_what_was_trained_on(
    few, make_tiny
):
    name, tiny = few[1], make_tiny()
    training, validation = training_sets(name, hold_out=0.2, seed=3, samples=60)
    facts = {"train_set_identity": training.origin, "hold_out": 0.2, "seed": 3, "samples": 60}
    facts["train_identity"] = split_of(training, Runner(tiny).view).identity
    request = Request(
        "digits", ("photo-patches",), scores=("msp-temperature", "knn"), fit_name=name
    )
    made = plan(request, Runner(replace(tiny, provenance=facts)))
    assert {part: split.source.identity for part, split in made.fitting.items()} == {
        "training": training.identity,
        "validation": validation.identity,
    }
    with pytest.raises(UsageError, match=r"does not say which those of npz:.* were"):
        plan(request, Runner(replace(tiny, provenance={**facts, "seed": 4})))


def test_temperature_needs_a_known_hold_out(make_tiny):
    with pytest.raises(
        UsageError,
        match=(
            "msp-temperature is fitted on samples held out of the training, and checkpoint does "
            "not say"
        ),
    ):
        plan(
            Request("digits", ("photo-patches",), scores=("msp-temperature",)),
            Runner(replace(make_tiny(), name="checkpoint")),
        )


def test_detectors_are_never_fitted_on_the_set_that_is_evaluated(few, make_tiny):
    request = Request(few[0], ("photo-patches",), scores=("knn",))
    with pytest.raises(
        UsageError,
        match=(
            r"knn must be fitted on training data, and npz:.* has no training split; name a set "
            r"with --fit"
        ),
    ):
        plan(request, Runner(make_tiny()))
    with pytest.raises(
        UsageError,
        match=(
            r"knn must not be fitted on npz:.*, a set that is evaluated; name other data with "
            r"--fit"
        ),
    ):
        plan(replace(request, fit_name=few[0]), Runner(make_tiny()))
    with pytest.raises(
        UsageError,
        match=(
            r"knn must not be fitted on npz:.*, a set that is evaluated; name other data with "
            r"--fit"
        ),
    ):
        plan(Request("digits", (few[1],), scores=("knn",), fit_name=few[1]), Runner(make_tiny()))
    with pytest.raises(
        UsageError,
        match=(
            "--fit digits says what scores are fitted on, and none of these is fitted; leave it out"
        ),
    ):
        plan(Request(few[0], ("photo-patches",), fit_name="digits"), Runner(make_tiny()))
    with pytest.raises(
        UsageError, match="--fit digits:fog:3 names a shift; scores are fitted on a set as it is"
    ):
        plan(replace(request, fit_name="digits:fog:3"), Runner(make_tiny()))
    made = plan(replace(request, fit_name=few[1]), Runner(make_tiny()))
    (fitted_on,) = made.fitting.values()
    assert (fitted_on.name, len(fitted_on)) == (few[1], 80)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": ("entropy", "fog")}, "unknown score 'fog'; known are entropy, "),
        ({"scores": ("entropy", "entropy")}, "the score entropy was named twice; name it once"),
        ({"tpr": 1.0}, "the TPR is 1; expected a number between 0 and 1, such as 0.95"),
        ({"tpr": float("nan")}, "the TPR is nan; expected a number between 0 and 1"),
        ({"replicates": 99}, "99 bootstrap replicates give no interval; expected at least 100"),
        ({"seed": -1}, "the seed is -1; expected a whole number from 0 to 2147483647"),
        (
            {"ood_names": ("digits",)},
            "the OOD set digits is the ID set itself; choose another, or a shift of it",
        ),
        (
            {"ood_names": ("digits:fog:1", "digits:fog")},
            "the set digits:fog:1 was named twice; name it once",
        ),
    ],
)
def test_what_can_be_refused_is_refused_before_the_first_pass(changes, said, make_tiny, forwards):
    with pytest.raises((DataError, UsageError), match=said.replace("(", r"\(")):
        plan(
            Request(**{"data_name": "digits", "ood_names": ("photo-patches",), **changes}),
            Runner(make_tiny()),
        )
    assert forwards == {}


def test_the_corruptions_are_the_15_of_the_benchmark_and_the_19_of_its_files():
    assert (len(CORRUPTIONS["15 corruptions"]), len(CORRUPTIONS["19 corruptions"])) == (15, 19)
    extra = set(CORRUPTIONS["19 corruptions"]) - set(CORRUPTIONS["15 corruptions"])
    assert extra == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}
    assert {name for name, shift in SHIFTS.items() if shift.family == "ours"}.isdisjoint(
        CORRUPTIONS["19 corruptions"]
    )


@pytest.fixture
def one_layer(tmp_path, monkeypatch):
    """The weights of a network of one linear layer and ten neurons, `one_layer_net:network`: it is
    shown 90 shifted sets.
    """
    (tmp_path / "one_layer_net.py").write_text(
        "from spikingjelly.activation_based import layer, neuron\nfrom torch import nn\ndef "
        "network():\n"
        "    return nn.Sequential(layer.Flatten(step_mode='m'), layer.Linear(256, 10, "
        "step_mode='m'), neuron.IFNode(step_mode='m'))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return {
        "1.weight": torch.randn(10, 256, generator=torch.Generator().manual_seed(1)) / 16,
        "1.bias": torch.full((10,), 0.1),
    }


def test_corruption_errors_of_every_corruption_and_a_baseline_that_is_there(few, one_layer):
    spec = ModelSpec("one_layer_net:network", (1, 16, 16), 10, timesteps=2)
    runners = [
        Runner(Checkpoint(spec, one_layer, fixed_scale=scale, name=name), model=spec.backbone)
        for name, scale in (("base", 1.0), ("mine", 0.8))
    ]
    names = tuple(
        f"{few[0]}:{name}" for name in CORRUPTIONS["19 corruptions"] if name != "saturate"
    )
    request = Request(few[0], names, replicates=100)
    results = [run(request, plan(request, runner)) for runner in runners]
    plans = [result.plan for result in results]
    reference = reference_of("base", plans)
    rows, notes = summarised(results, reference)
    found = {
        (row.checkpoint, row.ood.rpartition(", ")[2]): row
        for row in rows
        if "corruption_error" in row.metrics
    }
    assert set(found) == {("base", "15 corruptions"), ("mine", "15 corruptions")}
    # Without saturate, which a network of grey images cannot be shown, there is no mean over 19,
    # and a note says why.
    notes = [note for note in notes if "19" in note]
    assert notes == [
        f"No mean over 19 corruptions for {name} on {few[0]}: not measured: saturate."
        for name in ("base", "mine")
    ]
    errors = [
        1 - row.metrics["accuracy"].value
        for row in results[1].rows
        if row.kind == "set" and row.shift in CORRUPTIONS["15 corruptions"]
    ]
    assert found["mine", "15 corruptions"].metrics["corruption_error"].value == pytest.approx(
        np.mean(errors), abs=1e-12
    )
    assert found["mine", "15 corruptions"].metrics["relative_corruption_error"].value is not None
    with pytest.raises(
        UsageError,
        match="the baseline nobody is none of the checkpoints; expected one of base, mine",
    ):
        reference_of("nobody", plans)
    alone = [result for result in results if result.plan.runner.checkpoint.name == "base"]
    assert any(
        note.startswith("Nothing is relative to base: ") for note in summarised(alone, reference)[1]
    )


def test_what_scores_were_fitted_on_is_said(few, make_tiny):
    request = Request(
        few[0], ("photo-patches",), scores=("knn", "scp"), fit_name=few[1], replicates=100
    )
    result = run(request, plan(request, Runner(make_tiny())))
    assert summarised([result, result])[1] == [f"knn, scp: fitted on {few[1]} (all, 80 samples)."]


def test_what_is_said_of_a_set_is_said_by_the_set_that_is_open_now(tmp_path, few):
    """Recordings are found by the bytes of their samples, whatever a file was called before."""

    def rows(id_name, ood_name):
        store = RecordingStore(tmp_path / "cache")
        runner = Runner(load_checkpoint("digits-vgg13-ahsar"), store=store)
        request = Request(f"npz:{id_name}", (f"npz:{ood_name}",), replicates=100)
        return runner, run(request, plan(request, runner)).rows

    known, other = (tmp_path / name for name in ("test.npz", "train.npz"))
    runner, first = rows(known, f"{known}:contrast:3")
    assert runner.recorded == 2
    known.rename(tmp_path / "renamed.npz")
    known = tmp_path / "renamed.npz"
    runner, again = rows(known, f"{known}:contrast:3")
    assert runner.recorded == 0
    assert [row.metrics for row in again] == [row.metrics for row in first]
    assert [row.ood for row in again] == [f"npz:{known}", f"npz:{known}:contrast:3"]
    assert "accuracy" in again[1].metrics, "the shift keeps the labels"
    # Another set under the first one's old name does not take over its classes.
    other.rename(tmp_path / "test.npz")
    _, swapped = rows(known, tmp_path / "test.npz")
    assert "accuracy" in swapped[0].metrics
    assert "accuracy" not in swapped[1].metrics


def test_a_limit_takes_the_same_samples_of_a_set_and_its_shifts(few):
    options = DataOptions(limit=8)
    request = Request(few[0], (f"{few[0]}:contrast:3", "photo-patches"), data=options)
    made = plan(request, Runner(load_checkpoint("digits-vgg13-ahsar")))
    result = run(request, made)
    assert [row.n_ood for row in result.rows] == [0, 8, 8]
    assert result.rows[1].same_images
    whole = open_split(few[0], (1, 16, 16)).labels
    order = np.random.Generator(np.random.Philox(0)).permutation(20)[:8]
    assert made.id_split.labels.tolist() == whole[np.sort(order)].tolist()
    notes = set_notes([made])
    assert notes == [
        f"{few[0]}: the first 8 of a fixed shuffle of 20 samples (--limit).",
        f"{few[0]}: labels 0 to 8 are taken as numbers of the classes of digits-vgg13-ahsar, for "
        "the set names none.",
        "photo-patches: the first 8 of a fixed shuffle of 520 samples (--limit).",
    ]
    with pytest.raises(UsageError, match="--limit is 0; expected at least 1 sample"):
        DataOptions(limit=0).check()


def test_a_shift_that_changes_nothing_is_told(make_tiny, tmp_path):
    """At 8x8 the disk of defocus_blur is narrower than a pixel; contrast moves every value."""
    images = np.random.default_rng(0).random((6, 8, 8))
    np.savez(tmp_path / "small.npz", x=images, y=np.arange(6))
    name = f"npz:{tmp_path / 'small.npz'}"
    shifts = [f"{name}:{shift}" for shift in ("defocus_blur:3", "contrast:1", "gaussian_blur:2")]
    clean, *others = (open_split(one, (1, 8, 8)) for one in (name, *shifts))
    made = Plan(Runner(make_tiny()), clean, tuple(others))
    told = [
        note.partition(" changes nothing")[0] for note in set_notes([made]) if "nothing" in note
    ]
    assert told == [shifts[0], shifts[2]]
    for split in others:  # and so it is, in all samples
        moved = (split.tensors(np.arange(6)) - clean.tensors(np.arange(6))).abs().max()
        assert (moved < 1 / 510) == (split.name in told)
