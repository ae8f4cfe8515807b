"""Rows from hand-made recordings: what each field holds, and where an accuracy must be absent."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from ahsar_eval.errors import DataError
from ahsar_eval.ood import accuracy, auroc_interval, evaluate, mean_rate, predictive_entropy
from ahsar_eval.recording import LayerActivity, Recording

STEPS = 2


def recording(name: str, *, n: int = 8, seed: int = 0, spikes: int = 3, labels: Any = None, **split: Any) -> Recording:
    """`n` samples with random logits of three classes over two steps, and one layer of four neurons that spiked `spikes` times a sample."""
    described = {"name": name, "identity": name, "severity": 0, "labels_preserved": True, "label_space": "letters", **split}
    layer = LayerActivity("lif", (4,), np.full(n, spikes), np.full((4,), spikes / (4 * STEPS)))
    logits = np.random.default_rng(seed).normal(size=(n, STEPS, 3)).astype(np.float32)
    return Recording(
        split=described,
        spec={"timesteps": STEPS},
        thresholds={"lif": 1.0},
        logits=logits,
        labels=np.zeros(n, dtype=np.int64) if labels is None else np.asarray(labels),
        layers=(layer,),
        synapses=(),
    )


def test_every_field_of_a_row():
    inside = recording("letters", n=8, seed=1, spikes=2)
    outside = recording("letters:contrast:4", n=5, seed=2, spikes=4, severity=4)
    (row,) = evaluate(inside, [outside], checkpoint="mine", thresholds="scale 0.5")
    id_scores, ood_scores = predictive_entropy(inside.logits), predictive_entropy(outside.logits)
    expected = auroc_interval(id_scores, ood_scores)
    right = int((outside.logits.mean(1).argmax(1) == 0).sum())
    wilson = binomtest(right, 5).proportion_ci(0.95, method="wilson")
    assert (row.checkpoint, row.thresholds, row.id, row.ood, row.severity) == ("mine", "scale 0.5", "letters", "letters:contrast:4", 4)
    assert (row.score, row.n_id, row.n_ood) == ("entropy", 8, 5)
    assert row.auroc == pytest.approx(roc_auc_score([0] * 8 + [1] * 5, [*id_scores, *ood_scores]), abs=1e-12)
    assert (row.auroc, row.auroc_low, row.auroc_high) == (expected.value, expected.low, expected.high)
    assert row.fpr_at_95_tpr == float((id_scores >= ood_scores.min()).mean())  # 95 % of five samples is all five
    assert row.accuracy_id == (inside.logits.mean(1).argmax(1) == 0).mean()
    assert row.accuracy_ood == right / 5
    assert row.accuracy_ood_low == pytest.approx(wilson.low)
    assert row.accuracy_ood_high == pytest.approx(wilson.high)
    assert (row.mean_rate_id, row.mean_rate_ood) == (2 / 8, 4 / 8)
    assert row.distinct_scores == 13
    assert set(row.to_dict()) >= {
        *("checkpoint", "id", "ood", "severity", "score", "n_id", "n_ood"),
        *("auroc", "fpr_at_95_tpr", "accuracy_id", "accuracy_ood"),
    }


def test_one_row_for_each_other_recording_in_order():
    rows = evaluate(recording("a"), [recording(name, seed=n) for n, name in enumerate("bcd", start=1)], checkpoint="x")
    assert [row.ood for row in rows] == ["b", "c", "d"]
    assert {row.thresholds for row in rows} == {"replay"}


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"label_space": "birds"}, id="another label space"),
        pytest.param({"labels_preserved": False}, id="a shift that changes the class"),
        pytest.param({"labels": [0, 1, 2, 0, -1, 0, 0, 0]}, id="a sample without a label"),
    ],
)
def test_accuracy_is_absent_where_labels_do_not_correspond(odd):
    (row,) = evaluate(recording("a"), [recording("b", seed=1, **odd)], checkpoint="x")
    assert (row.accuracy_ood, row.accuracy_ood_low, row.accuracy_ood_high) == (None, None, None)
    assert row.accuracy_id is not None
    assert 0 <= row.auroc <= 1


def test_accuracy_of_an_unlabelled_in_distribution_set_is_absent():
    unlabelled = recording("a", labels=np.full(8, -1))
    assert accuracy(unlabelled, unlabelled) is None
    (row,) = evaluate(unlabelled, [recording("b", seed=1)], checkpoint="x")
    assert row.accuracy_id is None


def test_accuracy_counts_the_largest_mean_logit():
    labelled = recording("a", labels=[0, 1, 2, 0, 1, 2, 0, 1], seed=4)
    found = accuracy(labelled, labelled)
    assert found is not None
    assert found.value == np.mean(labelled.logits.astype(np.float64).mean(1).argmax(1) == [0, 1, 2, 0, 1, 2, 0, 1])


def test_the_in_distribution_set_itself_is_refused():
    with pytest.raises(DataError, match="the OOD set again is the ID set itself; choose another, or a shift of it"):
        evaluate(recording("a"), [recording("b", seed=1), recording("again", identity="a")], checkpoint="x")


def test_an_unknown_score_is_refused_with_those_known():
    with pytest.raises(DataError, match="unknown score 'energy'; known are entropy"):
        evaluate(recording("a"), [recording("b")], checkpoint="x", score="energy")


def test_tied_scores_are_counted():
    same = recording("a", seed=1)
    twin = recording("b", seed=1)
    (row,) = evaluate(same, [twin], checkpoint="x")
    assert row.distinct_scores == 8
    assert row.auroc == 0.5


def test_mean_rate_weighs_layers_and_not_neurons():
    layers = (
        LayerActivity("small", (2,), np.array([4, 4]), np.ones(2)),  # 8 spikes / (2 samples · 2 steps · 2 neurons) = 1
        LayerActivity("large", (10, 2), np.array([10, 0]), np.zeros((10, 2))),  # 10 / (2 · 2 · 20) = 0.125
    )
    base = recording("a", n=2)
    both = Recording(base.split, base.spec, base.thresholds, base.logits, base.labels, layers, ())
    assert mean_rate(both) == (1 + 0.125) / 2
