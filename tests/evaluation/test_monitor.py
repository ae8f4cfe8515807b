"""Whether a batch is shifted: statistics by hand, AUROC by scikit-learn, alarms, and what is refused
in one sentence.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from spikingjelly.activation_based import layer, neuron
from torch import nn

import ahsar_eval as ae
from ahsar_eval.data import DataOptions, open_split
from ahsar_eval.errors import AhsarError
from ahsar_eval.evaluation.calibration import calibrated
from ahsar_eval.evaluation.monitor import STATISTICS, _alarms, batches_of
from ahsar_eval.evaluation.requests import batch_sizes
from ahsar_eval.homeostasis.regulation import SetPoint, SetPoints
from ahsar_eval.ood import ScoredSet
from ahsar_eval.ood.bootstrap import Images
from ahsar_eval.recording.runner import Runner

STEPS = 4


def integrators(name: str = "net"):
    """Two channels of neurons that add their input of every step and fire at 1; the mean spikes of
    each are the logits.
    """
    fires = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
    pooled = layer.AdaptiveAvgPool2d(1, step_mode="m")
    net = nn.Sequential(fires, pooled, layer.Flatten(step_mode="m"))
    return ae.wrap(net, timesteps=STEPS, classes=2, input_shape=(2, 4, 4), name=name)


def images(*values: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Samples of two flat channels: one of 1/k fires every k steps."""
    flat = np.array(values, np.float32).reshape(-1, 2, 1, 1) * np.ones((4, 4), np.float32)
    return flat, np.zeros(len(values), np.int64)


POINTS = SetPoints(
    {"0": SetPoint(np.array([0.5, 0.25]), np.array([0.1, 0.05]), 0.375, 0.05, (2, 4, 4))}
)


def test_statistics_of_two_channels_by_hand():
    """Four samples alike, so that every batch of two is the same: rates 1 and ½ against ½ and ¼,
    each twice its set point; spreads are a fifth of both.
    """
    known, other = images(*[(0.5, 0.25)] * 4), images(*[(1.0, 0.5)] * 4)
    found = ae.monitor(
        integrators(), known, [other], batch=2, set_points=POINTS, replicates=100, draws=2
    )
    own, far = (
        {name: found.arrays[f"net/{of}/2/{name}"] for name in STATISTICS} for of in ("id", "ood")
    )
    assert far["rates"] == pytest.approx([math.log(2)] * 2, rel=1e-12)
    assert far["judged"] == pytest.approx([math.log(2) / (0.2 / math.sqrt(2))] * 2, rel=1e-12)
    p = 1 / (1 + math.exp(0.5))  # of mean logits 1 and ½
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert far["entropy"] == pytest.approx([entropy] * 2, rel=1e-6)
    assert (own["rates"] == 0).all()
    assert (own["judged"] == 0).all()
    assert (own["effort"] == 0).all()
    assert (far["effort"] > 0).all()
    (row,) = found.records["rows"]
    assert (row["auroc_effort"], row["auroc_rates"], row["batches"]) == (1.0, 1.0, 2)
    assert row["auroc_rates_low"] is None


@pytest.fixture(scope="module")
def tiny(make_tiny):
    """A network with set points on digits of its training."""
    runner = Runner(replace(make_tiny(), name="tiny"))
    options = DataOptions(limit=100)
    points = calibrated(runner, "digits", options)
    return Runner(replace(runner.checkpoint, set_points=points))


@pytest.fixture(scope="module")
def found(tiny):
    """Digits against shifts of them and photographs, at two sizes of batches."""
    return ae.monitor(
        tiny,
        "digits",
        ["digits:contrast:2", "digits:fog:2", "digits:fog:4", "digits:contrast:4", "photo-patches"],
        batch=(4, 2),
        draws=4,
        false_alarms=0.25,
        replicates=100,
        options=DataOptions(limit=16),
    )


def test_auroc_is_scikit_learns_of_the_statistics(found):
    assert len(found.records["rows"]) == 5 * 2
    for row in found.records["rows"]:
        for name in STATISTICS:
            inside, outside = (
                found.arrays[f"tiny/{of}/{row['batch']}/{name}"] for of in ("digits", row["ood"])
            )
            assert (len(inside), len(outside)) == (row["id_batches"], row["batches"]) == (4, 4)
            truth = np.repeat([0, 1], [len(inside), len(outside)])
            auroc = roc_auc_score(truth, np.concatenate([inside, outside]))
            assert row[f"auroc_{name}"] == pytest.approx(auroc, abs=1e-12)
            assert row[f"mean_{name}"] == pytest.approx(outside.mean(), rel=1e-12)
            if row[f"auroc_{name}_low"] is not None:
                kind = "cluster bootstrap" if row["same_images"] else "DeLong"
                assert row[f"auroc_{name}_interval"].startswith(kind)
                low, high = (row[f"auroc_{name}_{end}"] for end in ("low", "high"))
                assert low <= auroc <= high


def test_means_are_over_severities_over_shifts_and_over_shifts_of_one_severity(found):
    rows = {(row["ood"], row["batch"]): row for row in found.records["rows"]}
    means = {(row["ood"], row["batch"]): row for row in found.records["means"]}
    of = {
        "digits:fog": ("digits:fog:2", "digits:fog:4"),
        "digits, 2 shifts": [f"digits:{name}:{s}" for name in ("fog", "contrast") for s in (2, 4)],
        "digits, 2 shifts, severity 4": ("digits:fog:4", "digits:contrast:4"),
    }
    for name, members in of.items():
        for key in ("auroc_effort", "alarms_judged"):
            expected = np.mean([rows[member, 2][key] for member in members])
            assert means[name, 2][key] == pytest.approx(expected, abs=1e-12)
    assert {name for name, _ in means} == {
        *of,
        "digits:contrast",
        "digits, 2 shifts, severity 2",
    }


def test_rates_are_those_of_a_recording(tiny):
    """The first batch's, from the spikes that a counted pass finds by layer."""
    split = open_split("digits", tiny.view, options=DataOptions(limit=16))
    (members, *_) = batches_of(split, 6, 2, 0)
    recording = tiny.recording(split.at(members))
    points, apart = tiny.checkpoint.set_points.layers, []
    alone = ae.monitor(
        tiny,
        "digits",
        "digits:fog:2",
        batch=6,
        draws=2,
        regulate="layer",
        replicates=100,
        options=DataOptions(limit=16),
    )
    for one in recording.layers:
        if one.name in points:
            rate = max(recording.rate(one), 1e-4)
            apart.append(math.log(rate / max(points[one.name].layer_rate, 1e-4)) ** 2)
    assert len(apart) == 10
    value = alone.arrays["tiny/digits/6/rates"][0]
    assert value == pytest.approx(math.sqrt(np.mean(apart)), rel=1e-9)


def scored_by(values: list[float], key: str) -> ScoredSet:
    return ScoredSet(
        {"name": key},
        np.zeros((len(values), 1, 1), np.float32),
        np.full(len(values), -1),
        None,
        {"effort": np.array(values)},
        Images(key.partition(":")[0], len(values)),
    )


def test_alarms_by_hand():
    """Of 9, 1, 8, 2 a quarter may exceed the threshold: 8. The ID set and its shift are judged by
    their other half, another set by all of it.
    """
    sets = [
        scored_by([9, 1, 8, 2, 8.5, 8, 1, 1], "known"),
        scored_by([9, 9, 9, 9, 1, 9, 9, 1], "known:fog"),
        scored_by([9, 9, 1], "other"),
    ]
    found = {name: one for (name, _), one in _alarms(sets, 0.25).items()}
    assert found["known"]["threshold_effort"] == 8
    raised = {name: (one["alarms_effort"], one["judged_batches"]) for name, one in found.items()}
    assert raised == {"known": (0.25, 4), "known:fog": (0.5, 4), "other": (2 / 3, 3)}


@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 5))
def test_batches_share_no_sample_and_lie_at_the_same_places(size, draws, seed):
    some: Any = range(97)
    batches = batches_of(some, size, draws, seed)
    members = np.concatenate(batches)
    assert len(set(members)) == len(members) == size * min(draws, 97 // size)
    assert all(len(one) == size for one in batches)
    assert np.array_equal(members, np.concatenate(batches_of(some, size, draws, seed)))


def test_tables_notes_and_files(found, tmp_path):
    text = found.to_text(width=200)
    assert "AUROC of “this batch of n samples is shifted”, tiny" in text
    assert "digits:fog:2,4" in text
    assert "severity 4" not in text
    assert "Batches that raise an alarm, tiny" in text
    assert "Set points of tiny: digits (train, " in text
    assert "severity 4" in found.to_text(detail=True)
    assert len(found.save(tmp_path)) == 4
    frame = found.frame
    own = frame[(frame.metric == "auroc_effort") & (frame.ood == "photo-patches")]
    assert list(own.batch) == [2, 4]
    assert list(own.n) == [4, 4]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"ood": []}, "no OOD set was named"),
        ({"batch": 30}, r"digits gives 1 batch of 30 samples .*; expected at least 2"),
        ({"batch": 14, "false_alarms": 0.1}, r"gives 3 batches of 14 .*; expected at least 4"),
        ({"batch": "8,x"}, "expected different whole numbers"),
        ({"batch": (8, 8)}, "expected different whole numbers"),
        ({"draws": 1}, "expected at least 2 batches"),
        ({"false_alarms": 1.5}, "expected a rate between 0 and 1"),
        (
            {"set_points": replace(POINTS, network="another")},
            "the set points of another network than tiny",
        ),
        (
            {"set_points": POINTS, "batch": 2},
            "the set points hold none; make them for this network",
        ),
        ({"regulate": "neuron"}, "expected channel or layer"),
        ({"replicates": 10}, "give no interval"),
        ({"seed": -1}, "expected a whole number from 0"),
        ({"id": "digits", "ood": "digits"}, "is the ID set itself"),
    ],
)
def test_what_cannot_be_had_is_refused(tiny, asked, words):
    settings = {"id": "digits", "ood": "photo-patches", "options": DataOptions(limit=48), **asked}
    with pytest.raises(AhsarError, match=words):
        ae.monitor(tiny, **settings)


def test_networks_without_set_points_or_at_a_scale_are_refused(tiny):
    known, other = images(*[(0.5, 0.25)] * 4), images(*[(1.0, 0.5)] * 4)
    with pytest.raises(AhsarError, match="net has no set points"):
        ae.monitor(integrators(), known, [other], batch=2)
    with pytest.raises(AhsarError, match="was given a scale; leave it out"):
        ae.monitor(tiny.at_scale(0.5), "digits", "photo-patches")


def test_set_points_of_an_evaluated_set_are_refused(tiny):
    split = open_split("digits", tiny.view, options=DataOptions(limit=48))
    points = calibrated(tiny, split.source)
    with pytest.raises(AhsarError, match="measured on digits, a set that is evaluated"):
        ae.monitor(
            tiny,
            "digits",
            "photo-patches",
            set_points=points,
            options=DataOptions(limit=48),
        )


def test_sizes_of_batches():
    assert batch_sizes("32,8") == batch_sizes((8, 32)) == batch_sizes([32, 8]) == (8, 32)
    assert batch_sizes(np.int64(8)) == batch_sizes(8) == (8,)
