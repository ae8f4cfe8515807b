"""Quality of predictions by hand count; its bootstrap replicates against the samples physically
repeated.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood import bootstrap
from ahsar_eval.ood.bootstrap import Images, Resamples
from ahsar_eval.ood.evaluate import calibration, selective
from ahsar_eval.ood.metrics import outcomes
from ahsar_eval.ood.rows import QUALITY

CLASSES = 3
RESAMPLED = tuple(name for name in QUALITY if not name.startswith("ece"))


@dataclass(frozen=True)
class Given(Resamples):
    """Replicates whose multiplicities are written down: `rows` [B, images]."""

    rows: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 1), dtype=np.uint8))

    def multiplicities(self, images: Images, start: int, stop: int) -> NDArray[np.uint8]:
        return (
            self.rows[start:stop]
            if images.members is None
            else self.rows[start:stop, images.members]
        )


def given_rows(rows: Any) -> Given:
    return Given(replicates=len(rows), rows=np.array(rows, dtype=np.uint8))


def quality(samples: Any, images: Any = None, resamples: Any = None) -> dict[str, Any]:
    """What is said of logits, labels and uncertainty; every sample once unless told otherwise."""
    logits, labels, uncertainty = samples
    judged = outcomes(logits, labels)
    images = images or Images("own", len(labels))
    resamples = resamples or given_rows(np.ones((1, len(labels))))
    return calibration(judged, images, resamples) | selective(
        uncertainty, ~judged.correct, images, resamples
    )


def assert_equals_repeated(found, samples, multiplicities):
    """Every replicate of `found` is the quality of the samples repeated as often as
    `multiplicities` [B, N] says, or NaN; what is not defined for all is not for any.
    """
    assert set(QUALITY) - set(found) <= {"misclassification_auroc"}
    assert not any(found[name].replicates is not None for name in ("ece", "ece_equal_mass"))
    for replicate, times in enumerate(multiplicities):
        repeated = [np.repeat(values, times, axis=0) for values in samples]
        expected = quality(repeated) if times.any() else {}
        for name in RESAMPLED:
            wanted = expected[name].value if name in expected else np.nan
            drawn = found[name].replicates[replicate] if name in found else np.nan
            assert drawn == pytest.approx(wanted, abs=1e-12, rel=1e-12, nan_ok=True), name


@st.composite
def samples(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Logits, labels and uncertainty: spread, tied or saturated."""
    n = draw(st.integers(1, 25))
    value = draw(
        st.sampled_from(
            [
                st.floats(-5, 5, width=32),
                st.sampled_from([0.0, 0.5, 1.0]),
                st.sampled_from([0.0, 40.0, 1e4]),
            ]
        )
    )
    doubt = draw(st.sampled_from([st.floats(0, 1), st.sampled_from([0.0, 0.5]), st.just(0.25)]))
    logits = draw(arrays(np.float32, (n, 2, CLASSES), elements=value))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, CLASSES - 1)))
    return logits, labels, draw(arrays(np.float64, n, elements=doubt))


def made(
    n: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 2, CLASSES)).astype(np.float32)
    labels = np.where(
        rng.random(n) < 0.6, logits.mean(axis=1).argmax(axis=1), rng.integers(0, CLASSES, n)
    )
    return logits, labels, rng.integers(0, 20, n) / 20


def test_four_predictions_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.62, 0.38], [0.64, 0.36]])
    doubt = np.array([0.1, 0.2, 0.4, 0.4])
    found = quality((np.log(probabilities)[:, None], np.array([0, 1, 1, 0]), doubt))
    values = {name: estimate.value for name, estimate in found.items()}
    assert values.pop("accuracy") == 3 / 4
    assert values == pytest.approx(
        {
            "nll": -np.log(0.9 * 0.8 * 0.38 * 0.64) / 4,
            "brier": 2 * (0.1**2 + 0.2**2 + 0.62**2 + 0.36**2) / 4,
            # .62 and .64 are both in (9/15, 10/15], and one of them is right
            "ece": (0.1 + 0.2 + (0.62 + 0.64 - 1)) / 4,
            "ece_equal_mass": (0.1 + 0.2 + 0.62 + 0.36) / 4,  # each sample is a bin
            "misclassification_auroc": 2.5 / 3,
            "aurc": (0.5 / 3 + 1 / 4) / 4,
        },
        abs=1e-15,
    )
    assert found["accuracy"].method == "Wilson"


@pytest.mark.parametrize(("labels", "accuracy"), [([0, 0, 0], 1.0), ([1, 2, 1], 0.0)])
def test_one_kind_of_prediction_has_no_misclassification_auroc(labels, accuracy):
    logits, doubt = np.tile([3.0, 0.0, 0.0], (3, 1, 1)), np.array([0.1, 0.2, 0.3])
    rows = given_rows([[1, 0, 2], [3, 0, 0]])
    found = quality((logits, np.array(labels), doubt), Images("three", 3), rows)
    assert found["accuracy"].value == accuracy
    assert "misclassification_auroc" not in found
    assert found["aurc"].value == pytest.approx(1 - accuracy, abs=1e-15)
    for name in set(RESAMPLED) - {"misclassification_auroc"}:
        assert np.isfinite(found[name].replicates).all()


@settings(max_examples=150)
@given(samples(), st.data())
def test_any_replicate_is_the_quality_of_the_samples_repeated(found, data):
    rows = data.draw(
        arrays(np.uint8, (3, len(found[1])), elements=st.sampled_from([0, 0, 1, 2, 7]))
    )
    rows = np.concatenate([rows, np.ones((1, len(found[1])), dtype=np.uint8)])
    drawn = quality(found, Images("own", len(found[1])), given_rows(rows))
    assert_equals_repeated(drawn, found, rows)


@pytest.mark.parametrize("members", [None, np.arange(400) // 4, np.arange(400)[::-1] // 2 + 50])
def test_drawn_replicates_are_the_quality_of_the_samples_drawn(members):
    images = Images("drawn", 400 if members is None else 300, members)
    resamples = Resamples(6, seed=3)
    found = quality(made(400), images, resamples)
    assert_equals_repeated(found, made(400), resamples.multiplicities(images, 0, 6))


def test_the_size_of_the_pieces_changes_nothing(monkeypatch):
    rows = np.random.default_rng(2).integers(0, 4, (9, 50), dtype=np.uint8)
    whole = quality(made(50), Images("few", 50), given_rows(rows))
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 100)  # two replicates at a time
    pieces = quality(made(50), Images("few", 50), given_rows(rows))
    for name in RESAMPLED:
        assert np.array_equal(whole[name].replicates, pieces[name].replicates, equal_nan=True)


def test_replicates_spread_as_the_mean_of_draws_does():
    logits, labels, _ = made(1000)
    found = quality(made(1000), Images("thousand", 1000), Resamples(2000))
    judged = outcomes(logits, labels)
    for name, values in (
        ("accuracy", judged.correct),
        ("nll", judged.negative_log_likelihood),
        ("brier", judged.brier),
    ):
        drawn, expected = found[name].replicates, values.std() / np.sqrt(1000)
        assert drawn is not None
        assert drawn.mean() == pytest.approx(found[name].value, abs=4 * expected / np.sqrt(2000))
        assert drawn.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * 2000))


def test_the_order_of_samples_changes_nothing():
    order = np.random.default_rng(1).permutation(200)
    ours, shuffled = quality(made(200)), quality([values[order] for values in made(200)])
    for name in RESAMPLED:
        assert shuffled[name].value == pytest.approx(ours[name].value, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": np.array([0, 1, -1, 0])},
            "sample 2 has the label -1, expected a class from 0 to 2",
        ),
        ({"labels": np.array([0, 3, 1, 0])}, "sample 1 has the label 3"),
        (
            {"uncertainty": np.array([0.0, np.nan, 0.0, 0.0])},
            "the uncertainty is not finite in sample 1",
        ),
        ({"uncertainty": np.zeros(5)}, r"numbers of shape \(5,\) for outcomes of \(4,\)"),
        (
            {"logits": np.full((4, 2, 3), np.nan)},
            "the distance of two logits is not finite in sample 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    logits, labels, uncertainty = made(4)
    given_values = {"logits": logits, "labels": labels, "uncertainty": uncertainty, **change}
    with pytest.raises(DataError, match=message):
        quality(given_values.values())
