"""Rows from scored sets made by hand: what each holds, which interval it gets, and what must be
absent.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from ahsar_eval.ood import (
    METRICS,
    SEPARATION,
    Evaluation,
    Resamples,
    evaluate,
    scored,
    separation,
)
from ahsar_eval.ood.bootstrap import Images, percentile_interval, separation_replicates
from ahsar_eval.ood.metrics import auroc_interval
from ahsar_eval.ood.rows import QUALITY
from ahsar_eval.recording import LayerActivity, NeuronModel, Recording

HOW = Evaluation(resamples=Resamples(200, 3))
FEW = {"replicates": 200}


def rows_of(id_set, *others, how=HOW, **names):
    return evaluate(id_set, others, how, **{"checkpoint": "mine", **names})


def test_a_row_of_an_independent_set(make_set):
    inside, outside = (
        make_set("letters"),
        make_set("birds", n=25, offset=1, label_space="birds", classes=["owl", "wren", "rook"]),
    )
    alone, row = rows_of(inside, outside, thresholds="scale 0.5")
    ours, theirs = inside.scores["entropy"], outside.scores["entropy"]
    assert (row.checkpoint, row.thresholds, row.label) == ("mine", "scale 0.5", "mine (scale 0.5)")
    assert (row.id, row.ood, row.kind, row.group, row.severity, row.shift) == (
        "letters",
        "birds",
        "set",
        "",
        0,
        None,
    )
    assert (row.n_id, row.n_ood, row.score, row.distinct_scores, row.same_images) == (
        40,
        25,
        "entropy",
        65,
        False,
    )
    expected = separation(ours, theirs)
    assert {name: row.metrics[name].value for name in SEPARATION} == {
        name: getattr(expected, name) for name in SEPARATION
    }
    assert row.metrics["auroc"].value == pytest.approx(
        roc_auc_score([0] * 40 + [1] * 25, [*ours, *theirs]), abs=1e-12
    )
    delong = auroc_interval(ours, theirs)
    assert (row.metrics["auroc"].low, row.metrics["auroc"].high, row.metrics["auroc"].method) == (
        delong.low,
        delong.high,
        "DeLong",
    )
    assert row.metrics["fpr_at_tpr"].method == "bootstrap"
    drawn = separation_replicates(
        ours, theirs, Images("letters", 40), Images("birds", 25), HOW.resamples
    )
    interval = percentile_interval(expected.fpr_at_tpr, drawn["fpr_at_tpr"])
    assert (row.metrics["fpr_at_tpr"].low, row.metrics["fpr_at_tpr"].high) == (
        interval.low,
        interval.high,
    )
    assert not set(QUALITY) & set(row.metrics)  # birds have no letters
    assert row.id_metrics == alone.metrics
    assert row.metrics["mean_rate"].value == pytest.approx(outside.rates.mean(), abs=1e-12)
    assert row.metrics["mean_score"].value == pytest.approx(theirs.mean(), abs=1e-12)


def test_the_set_itself_is_a_row_without_separation(make_set):
    inside = make_set("letters")
    (alone,) = rows_of(inside)
    assert (alone.kind, alone.ood, alone.n_ood) == ("id", "letters", 0)
    assert not set(SEPARATION) & set(alone.metrics)
    right = int((inside.logits.astype(np.float64).mean(1).argmax(1) == inside.labels).sum())
    wilson = binomtest(right, 40).proportion_ci(0.95, method="wilson")
    accuracy = alone.metrics["accuracy"]
    assert accuracy.method == "Wilson"
    assert (accuracy.value, accuracy.low, accuracy.high) == pytest.approx(
        (right / 40, wilson.low, wilson.high), abs=1e-12
    )
    assert set(QUALITY) <= set(alone.metrics)
    assert {name for name in alone.metrics if alone.metrics[name].low is None} == {
        "ece",
        "ece_equal_mass",
    }
    flat = alone.to_dict()
    assert flat["accuracy"] == accuracy.value
    assert not {"accuracy_ood", "accuracy_id", "auroc"} & set(flat)


def test_wrong_predictions_are_what_the_score_should_find(make_set):
    inside = make_set("letters")
    (alone,) = rows_of(inside)
    wrong = inside.logits.mean(axis=1).argmax(axis=1) != inside.labels
    assert alone.metrics["misclassification_auroc"].value == pytest.approx(
        roc_auc_score(wrong, inside.scores["entropy"]), abs=1e-12
    )
    assert alone.metrics["aurc"].value == pytest.approx(
        np.mean(np.cumsum(wrong[np.argsort(inside.scores["entropy"])]) / np.arange(1, 41)),
        abs=1e-12,
    )


def test_a_shift_of_the_id_set_is_drawn_with_it(make_set):
    inside, shifted = make_set("letters"), make_set("letters:fog:3")
    _, row = rows_of(inside, shifted)
    assert (row.same_images, row.group, row.shift, row.severity, row.set_name) == (
        True,
        "shift",
        "fog",
        3,
        "letters",
    )
    assert row.metrics["auroc"].method == "cluster bootstrap"
    drawn = separation_replicates(
        inside.scores["entropy"],
        shifted.scores["entropy"],
        inside.images,
        inside.images,
        HOW.resamples,
    )
    assert np.array_equal(row.metrics["auroc"].replicates, drawn["auroc"])
    independent = separation_replicates(
        inside.scores["entropy"],
        shifted.scores["entropy"],
        inside.images,
        Images("others", 40),
        HOW.resamples,
    )
    assert not np.array_equal(row.metrics["auroc"].replicates, independent["auroc"])
    assert set(QUALITY) <= set(row.metrics)


def test_stored_copies_count_as_the_same_images_only_where_their_labels_agree(make_set):
    inside = make_set("cifar10")
    copies = make_set("cifar10-c:fog:3", images="cifar10-c", copies_of="cifar10")
    assert rows_of(inside, copies)[1].same_images
    assert np.array_equal(
        rows_of(inside, copies)[1].metrics["auroc"].replicates,
        rows_of(inside, replace(copies, images=inside.images))[1].metrics["auroc"].replicates,
    )
    assert not rows_of(inside, make_set("cifar10-c:fog:3", images="cifar10-c", copies_of="mnist"))[
        1
    ].same_images
    assert rows_of(copies, make_set("cifar10"))[1].same_images  # whichever of the two is the ID set
    shuffled = make_set(
        "cifar10-c:fog:3", images="cifar10-c", copies_of="cifar10", labels=np.roll(copies.labels, 1)
    )
    assert not rows_of(inside, shuffled)[1].same_images


def test_rows_stand_in_the_order_given_for_each_score(make_set):
    def twice(some):
        return replace(
            some, scores={"entropy": some.scores["entropy"], "msp": -some.scores["entropy"]}
        )

    rows = rows_of(twice(make_set("a")), twice(make_set("b", offset=1)), twice(make_set("c")))
    assert [(row.score, row.ood) for row in rows] == [
        (s, n) for s in ("entropy", "msp") for n in ("a", "b", "c")
    ]
    assert rows[1].metrics["auroc"].value == pytest.approx(
        1 - rows[4].metrics["auroc"].value, abs=1e-12
    )


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(
            {"label_space": "birds", "classes": ["owl", "wren", "rook"]}, id="other classes"
        ),
        pytest.param({"label_space": "birds", "classes": ["0", "1", "2"]}, id="numbers"),
        pytest.param({"labels_preserved": False}, id="a shift that changes the class"),
        pytest.param({"labels": [-1, -1, -1, -1]}, id="no label"),
        pytest.param({"labels": [0, 1, 3, 2]}, id="a label the network has no class for"),
    ],
)
def test_accuracy_is_absent_where_labels_do_not_correspond(make_set, odd):
    alone, row = rows_of(make_set("letters"), make_set("other", n=4, **odd))
    assert not set(QUALITY) & set(row.metrics)
    assert not row.labels_preserved
    assert {"accuracy_ood", "nll", "ece"} <= {
        name for name, value in row.to_dict().items() if value is None
    }
    assert row.to_dict()["accuracy_id"] == alone.metrics["accuracy"].value
    assert row.metrics["auroc"].value is not None


def test_accuracy_is_that_of_the_samples_with_a_label(make_set):
    labels = np.where(np.arange(40) % 4 == 0, -1, np.arange(40) % 3)
    whole, part = make_set("letters"), make_set("letters:fog:3", labels=labels)
    known = np.flatnonzero(labels >= 0)
    (_, row), (_, cut) = rows_of(whole, part), rows_of(whole, part.only(known))
    said = part.logits.mean(axis=1, dtype=np.float64).argmax(axis=1)
    assert row.metrics["accuracy"].value == np.mean(said[known] == labels[known])
    assert (row.n_ood, cut.n_ood) == (40, 30)
    for name in QUALITY:  # the same numbers, intervals and draws as of these samples alone
        one, other = row.metrics[name], cut.metrics[name]
        assert (one.value, one.low, one.high) == (other.value, other.low, other.high)
        if one.replicates is not None:
            assert np.array_equal(one.replicates, other.replicates, equal_nan=True)
    assert row.metrics["auroc"].value != cut.metrics["auroc"].value


def test_an_unlabelled_in_distribution_set_has_no_accuracy(make_set):
    alone, row = rows_of(make_set("letters", labels=np.full(40, -1)), make_set("other"))
    assert "accuracy" not in alone.metrics
    assert row.to_dict()["accuracy_id"] is None


def test_what_is_not_defined_is_absent_and_never_a_number(make_set):
    perfect = make_set("letters", right=1.0)
    perfect = replace(
        perfect,
        logits=(50 * np.eye(3)[perfect.labels][:, None, :]).repeat(2, axis=1).astype(np.float32),
    )
    (alone,) = rows_of(perfect)
    assert alone.metrics["accuracy"].value == 1
    assert "misclassification_auroc" not in alone.metrics
    far = replace(make_set("b"), scores={"entropy": perfect.scores["entropy"] + 100})
    row = rows_of(perfect, far)[1]
    assert (row.metrics["auroc"].value, row.metrics["auroc"].low, row.metrics["auroc"].method) == (
        1.0,
        None,
        "",
    )


def test_by_class_each_class_stands_against_the_whole_id_set(make_set):
    inside, shifted = make_set("letters"), make_set("letters:fog:3")
    rows = rows_of(inside, shifted, how=replace(HOW, by_class=True))
    said = shifted.logits.mean(axis=1, dtype=np.float64).argmax(axis=1)
    assert [(row.kind, row.class_name) for row in rows] == [
        ("id", ""),
        ("set", ""),
        ("class", "a"),
        ("class", "b"),
        ("class", "c"),
    ]
    for label, row in enumerate(rows[2:]):
        members = shifted.labels == label
        expected = separation(inside.scores["entropy"], shifted.scores["entropy"][members])
        assert (row.n_id, row.n_ood, row.metrics["auroc"].value) == (
            40,
            int(members.sum()),
            expected.auroc,
        )
        assert row.metrics["accuracy"].value == np.mean(said[members] == label)
        assert row.same_images
        assert np.isfinite(row.metrics["auroc"].replicates).all()
    # The class's images are drawn as the whole set's draws have them.
    weights = HOW.resamples.multiplicities(inside.images, 0, 200)
    right = (said == shifted.labels) & (shifted.labels == 1)
    expected_accuracy = (weights * right).sum(1) / (weights * (shifted.labels == 1)).sum(1)
    assert rows[3].metrics["accuracy"].replicates == pytest.approx(expected_accuracy, abs=1e-12)


def test_samples_without_a_label_are_no_class_and_stay_the_images_they_are(make_set):
    labels = np.where(np.arange(40) < 30, np.arange(40) % 3, -1)
    some = make_set("letters:fog:3", labels=labels)
    rows = rows_of(make_set("letters"), some, how=replace(HOW, by_class=True))
    assert [row.class_name for row in rows if row.kind == "class"] == ["a", "b", "c"]
    part = some.only(np.array([9, 3]))
    assert part.images.members.tolist() == [9, 3]
    assert part.labels.tolist() == [0, 0]


def test_a_row_is_flat_and_has_every_metric(make_set):
    inside, other = make_set("letters"), make_set("letters:fog:3")
    flat = rows_of(inside, other)[1].to_dict()
    for metric in METRICS:
        name = {
            "accuracy": "accuracy_ood",
            "mean_score": "mean_score_ood",
            "mean_rate": "mean_rate_ood",
        }.get(metric, metric)
        if "corruption" not in metric:
            assert {name, f"{name}_low", f"{name}_high", f"{name}_interval"} <= set(flat)
    assert list(flat)[:10] == [
        *("checkpoint", "thresholds", "id", "ood", "kind", "group", "shift", "severity", "class"),
        "members",
    ]
    assert (flat["class"], flat["members"]) == ("", 1)
    assert flat["fpr_at_95_tpr"] == flat["fpr_at_tpr"]
    other_tpr = rows_of(inside, other, how=replace(HOW, tpr=0.8))[1]
    assert "fpr_at_95_tpr" not in other_tpr.to_dict()
    scores = inside.scores["entropy"], other.scores["entropy"]
    assert other_tpr.metrics["fpr_at_tpr"].value == separation(*scores, 0.8).fpr_at_tpr
    drawn = separation_replicates(*scores, inside.images, inside.images, HOW.resamples, 0.8)
    assert np.array_equal(other_tpr.metrics["fpr_at_tpr"].replicates, drawn["fpr_at_tpr"])


def recording(layers=(), n=2, **split):
    described = {
        "name": "a",
        "identity": "a",
        "set_identity": "s",
        "severity": 0,
        "labels_preserved": True,
        "label_space": "x",
        **split,
    }
    return Recording(
        described,
        {"timesteps": 2},
        {},
        np.zeros((n, 2, 3), np.float32),
        np.zeros(n, np.int64),
        tuple(layers),
        (),
    )


def test_sample_rates_weigh_layers_and_not_neurons():
    model = NeuronModel("LIFNode", True, "subtract", True)
    layers = (
        LayerActivity(
            "small", (2,), np.array([4, 4]), np.ones(2), model
        ),  # 4 spikes / (2 steps · 2 neurons) = 1
        LayerActivity(
            "large", (10, 2), np.array([10, 0]), np.zeros((10, 2)), model
        ),  # 10 / 40 and 0
    )
    rates = scored(recording(layers), {}).rates
    assert rates is not None
    assert rates.tolist() == [(1 + 0.25) / 2, 0.5]
    assert scored(recording(), {}).rates is None, "a rate over no layer is unknown"


def test_a_scored_recording_knows_its_images():
    assert scored(recording(), {"x": np.zeros(2)}).images.key == "s"
    assert scored(recording(copies_of="cifar10"), {"x": np.zeros(2)}).images.key == "cifar10"
