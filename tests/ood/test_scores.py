"""Scores that are a formula on logits: by hand, against SciPy, mpmath and pytorch-ood, and where a
softmax saturates; the table of all.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ahsar_eval.data import Split, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import DataError
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.ood.scores import (
    SCORES,
    energy,
    entropy_of_mean_softmax,
    fit_scores,
    fitted_temperature,
    generalized_entropy,
    maximum_logit,
    maximum_softmax,
    mean_entropy,
    mutual_information,
    needs_of,
    predictive_entropy,
)
from ahsar_eval.recording import Recording, RecordingStore
from ahsar_eval.recording.runner import Runner

LOGITS = arrays(np.float64, (4, 3, 5), elements=st.floats(-30, 30))
# Sixty-fourths, so that the mean over four steps is exact and an error is the formula's own.
EXACT = arrays(
    np.int64,
    (2, 4, 5),
    elements=st.integers(-64000, 64000) | st.sampled_from([-640000, 0, 64, 640000]),
).map(lambda z: z / 64)
FORMULAS: list[Callable[..., Any]] = [
    *(predictive_entropy, entropy_of_mean_softmax, mean_entropy, mutual_information),
    *(maximum_softmax, maximum_logit, energy, generalized_entropy),
]


def test_entropy_by_hand():
    # Time-mean logits log 1, log 2, log 1 give probabilities 1/4, 1/2, 1/4 and an entropy of 1.5
    # log 2.
    logits = np.array([[[-1.0, np.log(2) + 3, 0.5], [1.0, np.log(2) - 3, -0.5]]])
    assert predictive_entropy(logits) == pytest.approx([1.5 * np.log(2)], abs=1e-15)


def test_it_is_the_entropy_of_the_mean_logits_and_no_other_mean():
    logits = np.array([[[4.0, 0.0], [0.0, 4.0]]])  # undecided on average, certain at every step
    assert predictive_entropy(logits) == pytest.approx([np.log(2)], abs=1e-15)
    each_step = scipy.stats.entropy(scipy.special.softmax(logits, axis=2), axis=2).mean(axis=1)
    assert each_step[0] < 0.1


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_uniform_logits_give_log_k(classes):
    for level in (0.0, -3.5, 1e4):
        assert predictive_entropy(np.full((3, 2, classes), level)) == pytest.approx(
            np.log(classes), abs=1e-12
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saturated_softmax_gives_zero_and_no_nan(dtype):
    logits = np.full((2, 3, 10), -1e4, dtype=dtype)
    logits[:, :, 4] = 1e4
    with np.errstate(all="raise", under="ignore"):
        found = predictive_entropy(logits)
    assert found.tolist() == [0.0, 0.0]


def test_entropy_is_computed_in_float64_whatever_the_logits_are():
    logits = np.random.default_rng(0).normal(scale=8, size=(50, 6, 10)).astype(np.float32)
    found = predictive_entropy(logits)
    assert found.dtype == np.float64
    assert np.array_equal(found, predictive_entropy(logits.astype(np.float64)))


@given(LOGITS)
def test_equal_to_scipy(logits):
    expected = scipy.stats.entropy(scipy.special.softmax(logits.mean(axis=1), axis=1), axis=1)
    assert predictive_entropy(logits) == pytest.approx(expected, abs=1e-12)


@given(LOGITS, st.floats(-100, 100))
def test_adding_a_constant_to_all_logits_changes_nothing(logits, constant):
    assert predictive_entropy(logits + constant) == pytest.approx(
        predictive_entropy(logits), abs=1e-10
    )


@given(LOGITS)
def test_between_zero_and_log_k(logits):
    found = predictive_entropy(logits)
    assert (found >= 0).all()
    assert (found <= np.log(5) + 1e-12).all()


@given(LOGITS, st.permutations(range(5)), st.permutations(range(3)))
def test_the_order_of_classes_and_of_steps_changes_nothing(logits, classes, steps):
    assert predictive_entropy(logits[:, steps][:, :, classes]) == pytest.approx(
        predictive_entropy(logits), abs=1e-10
    )


# All formulas by hand


def test_every_formula_by_hand():
    # Step 1 gives probabilities 1/4, 3/4 and step 2 the reverse; the mean logits are equal.
    logits = np.log([[[1.0, 3.0], [3.0, 1.0]]])
    quarters = 2 * np.log(2) - 0.75 * np.log(3)
    assert predictive_entropy(logits) == pytest.approx([np.log(2)], abs=1e-15)
    assert entropy_of_mean_softmax(logits) == pytest.approx([np.log(2)], abs=1e-15)
    assert mean_entropy(logits) == pytest.approx([quarters], abs=1e-15)
    assert mutual_information(logits) == pytest.approx([np.log(2) - quarters], abs=1e-15)
    assert maximum_softmax(logits[:, :1]) == pytest.approx([0.25], abs=1e-15)
    assert maximum_softmax(2 * logits[:, :1], temperature=2) == pytest.approx([0.25], abs=1e-15)
    assert maximum_logit(logits) == pytest.approx([-np.log(3) / 2], abs=1e-15)
    assert energy(logits[:, :1]) == pytest.approx([-np.log(4)], abs=1e-15)
    assert generalized_entropy(logits[:, :1]) == pytest.approx([2 * (3 / 16) ** 0.1], abs=1e-15)


def test_the_three_entropies_are_three():
    logits = np.random.default_rng(0).normal(scale=3, size=(1000, 4, 10))
    forms = [predictive_entropy(logits), entropy_of_mean_softmax(logits), mean_entropy(logits)]
    assert np.corrcoef(forms[0], forms[1]).min() < 0.9
    assert (forms[1] > forms[2]).all()
    assert np.array_equal(mutual_information(logits), forms[1] - forms[2])


def test_steps_that_agree_share_no_information_and_rounding_shows_none():
    logits = np.repeat(np.random.default_rng(0).normal(scale=5, size=(2000, 1, 10)), 3, axis=1)
    found = mutual_information(logits)
    assert (entropy_of_mean_softmax(logits) < mean_entropy(logits)).any(), "no rounding to cut"
    assert found.min() == 0
    assert found.max() < 1e-14


def test_gen_takes_the_most_probable_classes_only():
    logits = np.random.default_rng(0).normal(scale=4, size=(20, 1, 130))
    p = np.sort(scipy.special.softmax(logits[:, 0], axis=1), axis=1)[:, -100:]
    assert generalized_entropy(logits) == pytest.approx(
        (p**0.1 * (1 - p) ** 0.1).sum(axis=1), rel=1e-12
    )


# Against mpmath, SciPy and pytorch-ood


def exact_entropies(logits: np.ndarray) -> tuple[list[Any], ...]:
    """The three entropies to 60 digits."""
    with mpmath.workdps(60):

        def softmax(row: list[Any]) -> list[Any]:
            top = max(row)
            grown = [mpmath.exp(z - top) for z in row]
            return [g / sum(grown) for g in grown]

        def entropy(p: list[Any]) -> Any:
            return -sum((q * mpmath.log(q) for q in p if q > 0), mpmath.mpf(0))

        samples = [[[mpmath.mpf(float(z)) for z in step] for step in sample] for sample in logits]
        means = [
            [sum(column) / len(sample) for column in zip(*sample, strict=True)]
            for sample in samples
        ]
        steps = [[softmax(step) for step in sample] for sample in samples]
        mixed = [
            [sum(column) / len(sample) for column in zip(*sample, strict=True)] for sample in steps
        ]
        return (
            [float(entropy(softmax(mean))) for mean in means],
            [float(entropy(p)) for p in mixed],
            [float(sum(map(entropy, sample)) / len(sample)) for sample in steps],
        )


@given(EXACT)
def test_entropies_are_exact_to_1e_12_wherever_logits_lie(logits):
    with np.errstate(all="raise", under="ignore"):
        found = [predictive_entropy(logits), entropy_of_mean_softmax(logits), mean_entropy(logits)]
    for values, expected in zip(found, exact_entropies(logits), strict=True):
        assert np.abs(values - expected).max() <= 1e-12
    assert (mutual_information(logits) >= 0).all()


@pytest.mark.parametrize(
    "logits",
    [
        [[50.0, 0, 0]],
        [[700.0, 0, 0]],
        [[40.0, 40, 0]],
        [[7.0, 7, 7]],
        [[-1e4, -1e4, -1e4]],
        [[1e4, -1e4, 0]],
        [[36.0, 0, 0], [0, 36.0, 0]],
    ],
)
def test_saturated_tied_and_constant_logits_to_1e_12_of_their_own_size(logits):
    z = np.array([logits])
    for found, expected in zip(
        (predictive_entropy, entropy_of_mean_softmax, mean_entropy), exact_entropies(z), strict=True
    ):
        assert found(z) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("function", FORMULAS)
def test_no_finite_logits_give_nan(function):
    largest = float(np.finfo(np.float32).max)
    rows = [
        [largest, -largest, 0],
        [largest] * 3,
        [-largest] * 3,
        [0, 0, 0],
        [1e4, 1e4, -1e4],
        [1e-45, 0, 0],
        [800, 0, -800],
    ]
    with np.errstate(all="raise", under="ignore"):
        found = function(np.array([[row] for row in rows], dtype=np.float32))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("function", [maximum_softmax, generalized_entropy, predictive_entropy])
def test_saturated_samples_are_still_told_apart(function):
    gaps = np.array([30.0, 40, 50, 100, 300, 700])
    logits = np.zeros((len(gaps), 1, 3))
    logits[:, 0, 0] = gaps
    found = function(logits)
    assert (np.diff(found) < 0).all(), "a larger gap is a surer sample"
    assert maximum_softmax(logits) == pytest.approx(2 * np.exp(-gaps), rel=1e-12)


@given(LOGITS)
def test_formulas_equal_scipy(logits):
    steps = scipy.special.softmax(logits, axis=2)
    mean = logits.mean(axis=1)
    p = scipy.special.softmax(mean, axis=1)
    assert entropy_of_mean_softmax(logits) == pytest.approx(
        scipy.stats.entropy(steps.mean(axis=1), axis=1), abs=1e-12
    )
    assert mean_entropy(logits) == pytest.approx(
        scipy.stats.entropy(steps, axis=2).mean(axis=1), abs=1e-12
    )
    assert maximum_softmax(logits) == pytest.approx(1 - p.max(axis=1), abs=1e-12)
    assert energy(logits) == pytest.approx(-scipy.special.logsumexp(mean, axis=1), abs=1e-12)


@given(arrays(np.float64, (4, 3, 5), elements=st.floats(-4, 4)))
def test_formulas_equal_pytorch_ood(logits):
    from pytorch_ood.detector import GEN, EnergyBased, MaxLogit, MaxSoftmax

    z = torch.from_numpy(logits.mean(axis=1))
    assert maximum_softmax(logits) - 1 == pytest.approx(MaxSoftmax.score(z).numpy(), abs=1e-12)
    assert maximum_logit(logits) == pytest.approx(MaxLogit.score(z).numpy(), abs=1e-12)
    assert energy(logits) == pytest.approx(EnergyBased.score(z).numpy(), abs=1e-12)
    # It averages over the classes, and clamps at 1e-7, which these logits do not reach.
    assert generalized_entropy(logits) / 5 == pytest.approx(
        GEN.score(z, gamma=0.1, M=100).numpy(), abs=1e-12
    )


@given(LOGITS, st.permutations(range(5)))
def test_every_formula_ignores_the_order_of_classes(logits, classes):
    for function in FORMULAS:
        assert function(logits[:, :, classes]) == pytest.approx(function(logits), abs=1e-10)


# Temperature


def some_validation(
    seed: int = 0, n: int = 400, scale: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(0, 5, n)
    return scale * (drawn.normal(size=(n, 5)) + 2 * np.eye(5)[labels]), labels


def test_temperature_by_hand():
    # Two classes, logits (log 9, 0) for all: three in four right, so that the best probability is
    # 3/4 and 9^(1/T) = 3.
    logits = np.tile([np.log(9), 0.0], (4, 1))
    assert fitted_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2.0, rel=1e-14)


@pytest.mark.parametrize("scale", [1e-6, 0.3, 3.0, 1e6])
def test_temperature_equals_a_minimum_found_on_a_grid(scale):
    logits, labels = some_validation()
    found = fitted_temperature(scale * logits, labels)
    assert found == pytest.approx(scale * fitted_temperature(logits, labels), rel=1e-9)

    def loss(t: float) -> float:
        return -float(
            scipy.special.log_softmax(scale * logits / t, axis=1)[
                np.arange(len(labels)), labels
            ].mean()
        )

    assert all(loss(found) <= loss(found * factor) for factor in np.geomspace(0.2, 5, 101))
    assert loss(found) < loss(found * 1.01)


def test_temperature_is_where_pytorch_ood_is_going():
    from pytorch_ood.detector import TemperatureScaling

    logits, labels = some_validation(n=150, scale=1.2)
    detector = TemperatureScaling(None)
    for _ in range(20):  # its 50 iterations stop short of the optimum
        detector.fit_logits(torch.from_numpy(logits), torch.from_numpy(labels))
    assert fitted_temperature(logits, labels) == pytest.approx(detector.t.item(), rel=1e-3)


def test_a_temperature_that_runs_away_is_refused():
    logits, _ = some_validation()
    right = logits.argmax(axis=1)
    with pytest.raises(
        DataError,
        match=(
            r"the 400 samples of the validation split: the true class always has the largest "
            r"logit, so that it runs to 0"
        ),
    ):
        fitted_temperature(logits, right)
    with pytest.raises(
        DataError,
        match="the true classes' logits are not above the others', it runs to infinity",
    ):
        fitted_temperature(logits, logits.argmin(axis=1))


# The table of all scores


def some(name: str, role: str, count: int, shape: tuple[int, int, int]) -> Split:
    return split_of(subset(open_set(name, role), np.arange(count), role), shape)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A shipped network's recordings: training, validation, ID and OOD in one pass each, and the
    second pass of the last two.
    """
    needs = needs_of(SCORES)
    runner = Runner(
        load_checkpoint("digits-vgg13-ahsar"),
        store=RecordingStore(tmp_path_factory.mktemp("store")),
    )
    shape = runner.checkpoint.spec.input_shape
    splits = {
        "training": some("digits", "train", 400, shape),
        "validation": some("digits", "validation", 180, shape),
        "id": some("digits", "test", 150, shape),
        "ood": some("photo-patches", "test", 100, shape),
    }
    found: dict[str, Any] = {
        name: runner.recording(split, extras=needs.extras) for name, split in splits.items()
    }
    found["one pass over each set"] = runner.recorded
    for name in ("id", "ood"):
        found[f"{name} again"] = runner.recording(splits[name], extras=needs.extras)
        found[f"{name} odin"] = runner.recording(runner.perturbed(splits[name]))
    found["with odin"] = runner.recorded
    other = Runner(runner.checkpoint, batch_size=7)
    found["ood in batches of 7"] = other.recording(splits["ood"], extras=needs.extras)
    found["ood odin in batches of 7"] = other.recording(other.perturbed(splits["ood"]))
    found["scores"] = fit_scores(SCORES, found)
    return found


@pytest.mark.parametrize("name", SCORES)
def test_every_score_of_the_table(name, recordings):
    function, suffix = recordings["scores"][name], " odin" if SCORES[name].second_pass else ""
    for kind in ("id", "ood"):
        recording: Recording = recordings[kind + suffix]
        values = function(recording)
        assert values.shape == (len(recording),)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
        assert len(np.unique(values)) > 20, "a score that cannot rank"
    batched = function(recordings[f"ood{suffix} in batches of 7"])
    assert np.array_equal(batched, function(recordings["ood" + suffix])), (
        "the batch size shows in the score"
    )


def test_one_pass_over_each_set_serves_all_scores_but_those_that_say_so(recordings):
    assert recordings["one pass over each set"] == 4
    assert recordings["with odin"] == 6
    assert needs_of(SCORES).second_pass == ("odin",)


def test_needs_are_those_of_the_scores_named():
    assert needs_of(["entropy", "odin"]) == needs_of(["odin", "msp"])
    assert needs_of(["entropy"]).extras == frozenset()
    assert needs_of(["knn", "scp"]).extras == frozenset({"features", "spike counts"})
    assert {name: score.fitted_on for name, score in SCORES.items() if score.fitted_on} == {
        "msp-temperature": "validation",
        **dict.fromkeys(("knn", "mahalanobis", "relative-mahalanobis", "vim", "scp"), "training"),
    }


def test_what_a_score_lacks_is_said(recordings):
    recording = recordings["id"]
    with pytest.raises(DataError, match="unknown score 'magic'; known are entropy, "):
        fit_scores(["magic"])
    with pytest.raises(
        DataError, match="knn is fitted on the training split of the ID set, and there is none"
    ):
        fit_scores(["entropy", "knn"])
    with pytest.raises(
        DataError,
        match="msp-temperature is fitted on the validation split of the ID set, and there is none",
    ):
        fit_scores(["msp-temperature"], {"training": recording})
    with pytest.raises(
        DataError,
        match=(
            r"odin is read off a second pass, and digits is the first; record "
            r"Runner.perturbed\(split\)"
        ),
    ):
        recordings["scores"]["odin"](recording)


def test_a_score_that_is_not_finite_names_its_sample(recordings, monkeypatch):
    (name, score), *_ = SCORES.items()
    values = np.zeros(len(recordings["id"]))
    values[2] = np.nan
    monkeypatch.setitem(
        SCORES.own, name, type(score)(score.title, lambda fitting: lambda recording: values)
    )
    with pytest.raises(
        DataError, match="the entropy score of digits is not finite in sample 2; expected numbers"
    ):
        fit_scores([name])[name](recordings["id"])


def test_a_fit_without_labels_is_refused(recordings):
    unlabelled = replace(recordings["training"], labels=np.full(len(recordings["training"]), -1))
    for name in ("mahalanobis", "relative-mahalanobis"):
        with pytest.raises(
            DataError,
            match=f"{name} is fitted on labels, and sample 0 of digits has none",
        ):
            fit_scores([name], {"training": unlabelled})
    with pytest.raises(DataError, match="msp-temperature is fitted on labels"):
        fit_scores(["msp-temperature"], {"validation": unlabelled})
    foreign = replace(unlabelled, labels=np.full(len(unlabelled), 12))
    with pytest.raises(
        DataError,
        match="has a class 12 where the network tells 10 apart; give the set it was trained on",
    ):
        fit_scores(["msp-temperature"], {"validation": foreign})


@pytest.mark.parametrize("formula", FORMULAS)
def test_logits_in_another_order_of_classes_tie_to_the_last_bit(formula):
    drawn = np.random.default_rng(0)
    logits = drawn.integers(0, 7, size=(200, 6, 10)) / 6
    assert np.array_equal(formula(logits), formula(logits[:, :, drawn.permutation(10)]))
