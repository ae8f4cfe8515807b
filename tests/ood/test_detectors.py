"""Detectors on features: by hand, against scikit-learn and pytorch-ood in float64, and what must not
change them; where features are dead, alike or few.
"""

import functools
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from ahsar_eval.data import open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import AhsarWarning, DataError
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.ood.detectors import fit_knn, fit_mahalanobis, fit_vim, principal_dimensions
from ahsar_eval.recording import Readout, Recording
from ahsar_eval.recording.runner import Runner

fit_relative_mahalanobis = functools.partial(fit_mahalanobis, relative=True)
DETECTORS: dict[str, Any] = {
    "knn": fit_knn,
    "mahalanobis": fit_mahalanobis,
    "relative-mahalanobis": fit_relative_mahalanobis,
    "vim": fit_vim,
}
CLASSES = 4


def recording(features: Any, labels: Any = None, readout: Readout | None = None) -> Recording:
    """A recording of features alone, in float64 so that none is rounded; what a detector does not
    read is empty.
    """
    given: Any = np.asarray(features, dtype=np.float64)
    return Recording(
        split={"name": "made", "adaptation": "none"},
        spec={"timesteps": 1},
        thresholds={},
        logits=np.zeros((len(given), 1, CLASSES), dtype=np.float32),
        labels=np.zeros(len(given), dtype=np.int64) if labels is None else np.asarray(labels),
        layers=(),
        synapses=(),
        features=given,
        readout=readout,
    )


def some_readout(width: int, seed: int = 0, bias: float = 1.0) -> Readout:
    drawn = np.random.default_rng(seed)
    return Readout(drawn.normal(size=(CLASSES, width)), bias * (1 + drawn.random(CLASSES)))


def rates(
    n: int = 300, width: int = 12, seed: int = 0, kind: str = "plain"
) -> tuple[np.ndarray, np.ndarray]:
    """Features like those of spiking networks: rates of T = 6 steps, one mean per class, with what
    makes covariances singular.
    """
    drawn = np.random.default_rng([seed, n])
    labels = np.arange(n) % CLASSES
    means = np.random.default_rng(seed).random((CLASSES, width))
    found = drawn.binomial(6, means[labels]) / 6
    if kind == "dead":
        found[:, ::3] = 0.0
    if kind == "alike":
        found[:, 1] = found[:, 0]
        found[:, 2] = 1 - found[:, 0]
    if kind == "graded":
        found *= np.geomspace(1, 1e-3, width)
    return found.astype(np.float32).astype(np.float64), labels


# By hand


def test_mahalanobis_by_hand():
    # Two classes around (0, 0) and (10, 0); within them x varies by 1, y by 4 (variances of ±1 and
    # ±2).
    corners = np.array([[1, 2], [1, -2], [-1, 2], [-1, -2]])
    known = recording(
        np.concatenate([corners, corners + np.array([10, 0])]), [0, 0, 0, 0, 1, 1, 1, 1]
    )
    score = fit_mahalanobis(known)
    assert score(recording([[0, 0], [3, 0], [0, 4], [12, 2], [5, 0]])) == pytest.approx(
        [0, 9, 4, 5, 25], rel=1e-14, abs=1e-14
    )
    # One Gaussian of all: mean (5, 0), x varies by 26 and y by 4.
    relative = fit_relative_mahalanobis(known)
    assert relative(recording([[0, 0], [5, 0], [12, 2]])) == pytest.approx(
        [-25 / 26, 25, 5 - 49 / 26 - 1], rel=1e-14
    )


def test_knn_by_hand():
    # Directions at 0°, 1°, …, 59° of any length: the 50th nearest to 0° is 49° away, to 90° it is
    # the one at 10°.
    angles = np.deg2rad(np.arange(60))
    known = recording(
        np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 61)[:, None]
    )
    found = fit_knn(known)(recording([[3.0, 0.0], [0.0, 0.5], [0.0, 0.0]]))
    assert found == pytest.approx(
        [2 * np.sin(np.deg2rad(49 / 2)), 2 * np.sin(np.deg2rad(80 / 2)), 1.0], rel=1e-14
    )


def test_knn_is_exactly_0_among_its_own_kind():
    """Fifty of one direction: neither what cancels in ‖x‖² − 2xy + ‖y‖² nor the rounding of their
    lengths is left over; a thousandth off it is no longer 0.
    """
    alike = recording(np.outer(np.arange(1, 51) / 7, [0.3, 0.4, 0.1]))
    score = fit_knn(alike)
    assert score(alike).tolist() == [0.0] * 50
    assert score(recording([[0.3, 0.4, 0.101]]))[0] == pytest.approx(1.92e-3, rel=1e-2)


def test_vim_by_hand():
    # Logits 2x and −2x; x and y vary most, so that d = 2 of 4 leaves z and w: residual √(z² + w²).
    weight = np.zeros((2, 4))
    weight[:, 0] = 2, -2
    known = np.array(list(itertools.product([3, -3], [2, -2], [0.3, -0.3], [0.4, -0.4])))
    score = fit_vim(recording(known, readout=Readout(weight, np.zeros(2))))
    # All residuals are 0.5 and all largest logits 6: the scale is 12.
    given = np.array([[0, 5, 0.6, 0.8], [3, 0, 0, 0]])
    assert score(recording(given)) == pytest.approx(
        [12 * 1.0 - np.log(2), -np.log(np.exp(6) + np.exp(-6))], rel=1e-14
    )


@pytest.mark.parametrize(
    ("width", "d"), [(2, 1), (64, 32), (767, 383), (768, 512), (2047, 512), (2048, 1000)]
)
def test_the_rule_of_vim_for_its_dimensions(width, d):
    assert principal_dimensions(np.linspace(1, 2, width)) == d


def test_vim_halves_the_rank_where_features_span_little():
    variances = np.zeros(64)
    variances[-32:] = 1.0
    assert principal_dimensions(variances) == 16
    variances[-33] = 1e-3
    assert principal_dimensions(variances) == 32
    with pytest.raises(
        DataError, match="span at least 2 dimensions, and the training set's span 1"
    ):
        principal_dimensions(np.array([0.0, 0.0, 1.0]))


# Against independent code


@pytest.mark.parametrize("kind", ["plain", "dead", "alike", "graded"])
def test_mahalanobis_equals_scikit_learn(kind):
    (known, labels), (given, _) = rates(kind=kind), rates(50, seed=1, kind=kind)
    score, relative = (
        fit(recording(known, labels)) for fit in (fit_mahalanobis, fit_relative_mahalanobis)
    )
    found, found_relative = score(recording(given)), relative(recording(given))
    # Features that say the same again change nothing; scikit-learn would invert the rounding by
    # which they differ.
    kept = [0, *range(3, 12)] if kind == "alike" else slice(None)
    known, given = known[:, kept], given[:, kept]
    means = np.stack([known[labels == label].mean(axis=0) for label in range(CLASSES)])
    shared = EmpiricalCovariance(assume_centered=True).fit(known - means[labels])
    distances = np.stack([shared.mahalanobis(given - mean) for mean in means]).min(axis=0)
    assert found == pytest.approx(distances, rel=1e-8)
    background = EmpiricalCovariance().fit(known)
    assert found_relative == pytest.approx(
        distances - background.mahalanobis(given), rel=1e-7, abs=1e-7
    )


@pytest.mark.parametrize("kind", ["plain", "dead", "alike", "graded"])
def test_knn_equals_scikit_learn(kind):
    (known, _), (given, _) = rates(kind=kind), rates(50, seed=1, kind=kind)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (known, given)]
    tree = NearestNeighbors(n_neighbors=50, algorithm="kd_tree").fit(unit[0])
    expected = tree.kneighbors(unit[1])[0][:, -1]
    assert fit_knn(recording(known))(recording(given)) == pytest.approx(expected, rel=1e-12)


def vim_in_float64(known: np.ndarray, given: np.ndarray, readout: Readout, d: int) -> np.ndarray:
    """Wang et al. 2022, equations 5 to 8, by a principal component analysis."""
    origin = -np.linalg.pinv(readout.weight) @ readout.bias
    doubled = np.concatenate(
        [known - origin, origin - known]
    )  # of mean 0, so that the analysis is about the origin
    rest = PCA(svd_solver="full").fit(doubled).components_[d:]
    logits = known @ readout.weight.T + readout.bias
    scale = logits.max(axis=1).mean() / np.linalg.norm((known - origin) @ rest.T, axis=1).mean()
    energy = scipy.special.logsumexp(given @ readout.weight.T + readout.bias, axis=1)
    return scale * np.linalg.norm((given - origin) @ rest.T, axis=1) - energy


@pytest.mark.parametrize(("kind", "d"), [("plain", 6), ("dead", 6), ("alike", 6), ("graded", 6)])
def test_vim_equals_a_principal_component_analysis(kind, d):
    (known, _), (given, _) = rates(kind=kind), rates(50, seed=1, kind=kind)
    readout = some_readout(known.shape[1])
    expected = vim_in_float64(known, given, readout, d)
    found = fit_vim(recording(known, readout=readout))(recording(given))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())


def test_vim_is_right_where_variances_meet_at_the_split():
    """One rate varies a thousand times as far as those on both sides of the split, which float32
    would mix.
    """
    known, _ = rates(400, 32, seed=3)
    known[:, 0] *= 1000
    given, _ = rates(60, 32, seed=4)
    readout = some_readout(32, bias=0.0)
    readout.weight[:, 0] /= 1000
    expected = vim_in_float64(known, given, readout, 16)
    found = fit_vim(recording(known, readout=readout))(recording(given))
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-8 * np.abs(expected).max())


def test_more_classes_than_features_leave_vim_its_bias():
    known, _ = rates(200, 3)
    readout = Readout(
        np.random.default_rng(5).normal(size=(CLASSES, 3)), np.array([3.0, 1.0, -2.0, 4.0])
    )
    given, _ = rates(20, 3, seed=2)
    expected = vim_in_float64(known, given, readout, 1)
    assert fit_vim(recording(known, readout=readout))(recording(given)) == pytest.approx(
        expected, rel=1e-10, abs=1e-10
    )


# Against pytorch-ood, made to compute in float64


def varying_directions(known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Axes [D, r] along which features vary within classes, by a singular value decomposition: it
    would invert the rounding of the others. Far apart, so that its ridge of 1e-6 is nothing.
    """
    means = np.stack([known[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    _, lengths, axes = np.linalg.svd(known - means[labels], full_matrices=False)
    kept = lengths > 1e-6 * lengths[0]
    return 1e6 * axes[kept].T / lengths[kept]


def by_pytorch_ood(name: str, known: Recording, given: Recording, d: int) -> np.ndarray:
    """Scores [N] of `given` by the detector fitted on `known`. Its Mahalanobis distance is half of
    ours, and its scatter matrices are not divided by N.
    """
    from pytorch_ood.detector import KNN, RMD, Mahalanobis, ViM

    x, new = (np.asarray(each.features, dtype=np.float64) for each in (known, given))
    if "mahalanobis" in name:
        axes = varying_directions(x, known.labels)
        x, new = x @ axes, new @ axes
        factor, detector = len(x), RMD(None)
        if name == "mahalanobis":
            factor, detector = 2 * len(x), Mahalanobis(None)
    else:
        assert known.readout is not None
        weight, bias = map(torch.from_numpy, (known.readout.weight, known.readout.bias))
        factor, detector = 1, KNN(None, k=50) if name == "knn" else ViM(None, d, weight, bias)
    detector.fit_features(torch.from_numpy(x), torch.from_numpy(known.labels))
    return factor * detector.predict_features(torch.from_numpy(new)).numpy()


@pytest.fixture
def torch_in_float64(monkeypatch):
    """New tensors hold float64, and so do those that pytorch-ood makes float."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("torch_in_float64")
@pytest.mark.parametrize("kind", ["plain", "graded", "dead", "alike"])
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_equals_pytorch_ood(name, kind):
    known, given = (
        recording(*rates(kind=kind), some_readout(12)),
        recording(rates(50, 12, 1, kind)[0]),
    )
    expected = by_pytorch_ood(name, known, given, 6)
    assert DETECTORS[name](known)(given) == pytest.approx(expected, rel=1e-8, abs=1e-7)


@pytest.fixture(scope="module")
def shipped() -> list[Recording]:
    """Recordings of a shipped network: of the training split, ID and OOD."""
    runner = Runner(load_checkpoint("digits-resnet18-baseline"))
    shape = runner.checkpoint.spec.input_shape
    return [
        runner.recording(
            split_of(subset(open_set(name, role), np.arange(count), role), shape),
            extras=("features",),
        )
        for name, role, count in (
            ("digits", "train", 300),
            ("digits", "test", 60),
            ("photo-patches", "test", 60),
        )
    ]


@pytest.mark.usefixtures("torch_in_float64")
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_equals_pytorch_ood_on_shipped_networks(name, shipped):
    training, *others = shipped
    score = DETECTORS[name](training)
    for other in others:
        expected = by_pytorch_ood(name, training, other, 32)
        assert score(other) == pytest.approx(expected, rel=1e-8, abs=1e-8 * np.abs(expected).max())


# Properties


def orthogonal(seed: int, width: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


@pytest.mark.parametrize("name", DETECTORS)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["plain", "dead", "alike", "graded"]),
    width=st.integers(2, 20),
)
@settings(max_examples=20)
def test_scores_are_finite_and_do_not_depend_on_the_company(name, seed, kind, width):
    known, labels = rates(80, max(width, 4), seed, kind)
    score = DETECTORS[name](recording(known, labels, some_readout(known.shape[1], seed, bias=20.0)))
    given, _ = rates(15, max(width, 4), seed + 1)
    whole = score(recording(given))
    assert np.isfinite(whole).all()
    # The neighbour that is found among several at one distance may depend on the company.
    tolerance = 1e-14 if name == "knn" else 0.0
    for part in (slice(0, 1), slice(3, 10), slice(None, None, -1)):
        assert score(recording(given[part])) == pytest.approx(whole[part], rel=tolerance, abs=0)


def test_a_direction_in_which_no_class_varies_counts_for_nothing():
    known, labels = rates(kind="dead")
    score = fit_mahalanobis(recording(known, labels))
    given, _ = rates(20, seed=1, kind="dead")
    louder = given.copy()
    louder[:, ::3] = 1.0
    assert score(recording(louder)) == pytest.approx(score(recording(given)), rel=1e-9)


@pytest.mark.parametrize("name", ["mahalanobis", "relative-mahalanobis"])
def test_classes_may_have_gaps(name):
    known, labels = rates()
    given = recording(rates(20, seed=1)[0])
    gapped = DETECTORS[name](recording(known, np.array([0, 3, 7, 9])[labels]))
    assert np.array_equal(gapped(given), DETECTORS[name](recording(known, labels))(given))


SEEDS = st.integers(0, 1000)


@pytest.mark.parametrize("name", DETECTORS)
@given(seed=SEEDS, kind=st.sampled_from(["plain", "dead", "alike", "graded"]))
@settings(max_examples=15)
def test_the_order_of_the_training_samples_changes_nothing(name, seed, kind):
    known, labels = rates(100, 8, seed, kind)
    given, readout = recording(rates(15, 8, seed + 1)[0]), some_readout(8, seed, bias=20.0)
    order = np.random.default_rng(seed).permutation(100)
    found, shuffled = (
        DETECTORS[name](recording(x, y, readout))(given)
        for x, y in ((known, labels), (known[order], labels[order]))
    )
    assert shuffled == pytest.approx(found, rel=1e-9, abs=1e-9 * max(1, np.abs(found).max()))


@pytest.mark.parametrize("name", ["mahalanobis", "relative-mahalanobis"])
@given(seed=SEEDS, kind=st.sampled_from(["plain", "graded"]))
@settings(max_examples=15)
def test_no_affine_map_changes_a_mahalanobis_distance(name, seed, kind):
    drawn = np.random.default_rng(seed)
    (known, labels), (given, _) = rates(100, 6, seed, kind), rates(15, 6, seed + 1, kind)
    turn, step = orthogonal(seed, 6) * np.geomspace(0.3, 3, 6), drawn.normal(size=6)
    found, mapped = (
        DETECTORS[name](recording(of(known), labels))(recording(of(given)))
        for of in (lambda x: x, lambda x: x @ turn + step)
    )
    assert mapped == pytest.approx(found, abs=1e-6 * np.abs(found).max())


@given(seed=SEEDS)
@settings(max_examples=15)
def test_knn_sees_directions_alone(seed):
    drawn, turn = np.random.default_rng(seed), orthogonal(seed, 6)
    known, given = rates(60, 6, seed)[0], rates(15, 6, seed + 1)[0]
    found, mapped = (
        fit_knn(recording(of(known)))(recording(of(given)))
        for of in (lambda x: x, lambda x: x @ turn * drawn.uniform(0.01, 100, (len(x), 1)))
    )
    assert mapped == pytest.approx(found, rel=1e-9, abs=1e-12)


@given(seed=SEEDS)
@settings(max_examples=15)
def test_vim_does_not_depend_on_the_axes_or_on_what_the_bias_takes_back(seed):
    known, given = rates(60, 8, seed)[0], rates(15, 8, seed + 1)[0]
    readout, turn = some_readout(8, seed, bias=20.0), orthogonal(seed, 8)
    found = fit_vim(recording(known, readout=readout))(recording(given))
    turned = Readout(readout.weight @ turn, readout.bias)
    assert fit_vim(recording(known @ turn, readout=turned))(
        recording(given @ turn)
    ) == pytest.approx(found, rel=1e-8, abs=1e-8)
    step = readout.weight.T @ np.random.default_rng(seed).normal(size=CLASSES)
    moved = Readout(readout.weight, readout.bias - readout.weight @ step)
    assert fit_vim(recording(known + step, readout=moved))(
        recording(given + step)
    ) == pytest.approx(found, rel=1e-8, abs=1e-8)


@given(seed=SEEDS, kind=st.sampled_from(["plain", "dead", "alike", "graded"]))
@settings(max_examples=15)
def test_training_samples_lie_as_far_from_their_mean_as_features_have_directions(seed, kind):
    """The mean of squared distances to the one class mean is the rank of the covariance, and with
    one class the background is that class.
    """
    features, _ = rates(100, 9, seed, kind)
    known = recording(features)
    directions = np.linalg.matrix_rank(features - features.mean(axis=0), tol=1e-5)
    assert fit_mahalanobis(known)(known).mean() == pytest.approx(directions, rel=1e-9)
    assert np.abs(fit_relative_mahalanobis(known)(known)).max() < 1e-8


# Warnings and refusals


@pytest.mark.parametrize("name", ["mahalanobis", "relative-mahalanobis"])
def test_too_few_samples_for_a_covariance_are_said(name):
    drawn = np.random.default_rng(0)
    few, many = (recording(drawn.random((n, 12)), np.arange(n) % CLASSES) for n in (16, 17))
    with pytest.warns(
        AhsarWarning,
        match=f"{name} is fitted on 16 samples whose features vary in 12 directions; it needs",
    ):
        DETECTORS[name](few)
    with warnings.catch_warnings(action="error"):
        DETECTORS[name](many)


def test_what_cannot_be_fitted_is_said():
    known, labels = rates(49)
    with pytest.raises(
        DataError,
        match="distance to the 50th nearest training sample, and made has 49; give a larger set",
    ):
        fit_knn(recording(known))
    for fit in (fit_mahalanobis, fit_relative_mahalanobis):
        with pytest.raises(DataError, match="do not vary within any class"):
            fit(recording(np.eye(CLASSES)[labels], labels))
    with pytest.raises(DataError, match="vim needs the weights of a linear read-out"):
        fit_vim(recording(known, labels))
    with pytest.raises(DataError, match=r"ratio is -.*expected a positive number"):
        fit_vim(recording(known, labels, Readout(-np.ones((CLASSES, 12)), np.zeros(CLASSES))))
    spoilt = known.copy()
    spoilt[7, 3] = np.nan
    for fit in DETECTORS.values():
        with pytest.raises(DataError, match="a feature of made is not finite in sample 7"):
            fit(recording(spoilt, labels, some_readout(12)))
    bare = Recording(
        {"name": "made"},
        {"timesteps": 1},
        {},
        np.zeros((3, 1, 2), dtype=np.float32),
        np.zeros(3, dtype=np.int64),
        (),
        (),
    )
    for fit in DETECTORS.values():
        with pytest.raises(
            DataError,
            match=r"the features of made were not recorded; record with extras=\('features',\)",
        ):
            fit(bare)
