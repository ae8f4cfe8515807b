"""Means over sets by hand count: what belongs together, and intervals that know what the members
share.
"""

from dataclasses import replace

import numpy as np
import pytest

from ahsar_eval.ood import Evaluation, Resamples, evaluate, with_corruption_errors, with_means
from ahsar_eval.ood.bootstrap import percentile_interval

HOW = Evaluation(resamples=Resamples(150, 1))


@pytest.fixture(scope="module")
def rows(make_set):
    """A network on two near sets, one far set, one of neither, a shift at three severities and
    another at one.
    """
    others = [
        make_set("n1", offset=0.2, group="near", label_space="x", classes=["owl", "wren", "rook"]),
        make_set(
            "n2", offset=0.4, group="near", label_space="x", classes=["owl", "wren", "rook"], n=30
        ),
        make_set("f1", offset=2, group="far", label_space="x", classes=["owl", "wren", "rook"]),
        make_set("odd", offset=3, label_space="x", classes=["owl", "wren", "rook"]),
        *(
            make_set(f"letters:fog:{severity}", offset=severity / 5, right=0.9 - severity / 10)
            for severity in (1, 2, 4)
        ),
        make_set("letters:snow:5"),
    ]
    return evaluate(make_set("letters"), others, HOW, checkpoint="mine")


def named(rows, name):
    (found,) = [row for row in rows if row.kind == "mean" and row.ood == name]
    return found


def test_which_means_there_are(rows):
    found = with_means(rows)
    assert found[: len(rows)] == rows
    means = [(row.ood, row.members) for row in found[len(rows) :]]
    fog = tuple(f"letters:fog:{severity}" for severity in (1, 2, 4))
    # One far set and one severity of snow are no mean; f1 and odd are not near.
    assert means == [
        ("near", ("n1", "n2")),
        ("letters:fog", fog),
        ("letters, 2 shifts", (*fog, "letters:snow:5")),
    ]


def test_a_shift_of_a_near_set_is_no_near_set(make_set):
    others = [make_set(name, group="near") for name in ("n1", "n2", "n1:fog:1")]
    found = with_means(evaluate(make_set("letters"), others, HOW, checkpoint="m"))
    assert named(found, "near").members == ("n1", "n2")


def test_a_mean_is_unweighted_and_its_interval_that_of_the_averaged_replicates(rows):
    near = named(with_means(rows), "near")
    one, two = [row for row in rows if row.group == "near"]
    assert (near.n_ood, near.group, near.kind, near.scores) == (70, "near", "mean", None)
    for metric in ("auroc", "fpr_at_tpr", "mean_rate"):
        assert near.metrics[metric].value == pytest.approx(
            (one.metrics[metric].value + two.metrics[metric].value) / 2, abs=1e-12
        )
        drawn = (one.metrics[metric].replicates + two.metrics[metric].replicates) / 2
        assert np.array_equal(near.metrics[metric].replicates, drawn)
        interval = percentile_interval(near.metrics[metric].value, drawn)
        assert (near.metrics[metric].low, near.metrics[metric].high) == (
            interval.low,
            interval.high,
        )
    assert "accuracy" not in near.metrics


def test_a_mean_over_shifts_weighs_shifts_and_not_severities(rows):
    found = with_means(rows)
    fog, snow = named(found, "letters:fog"), next(row for row in rows if row.shift == "snow")
    both = named(found, "letters, 2 shifts")
    for metric in ("auroc", "accuracy", "ece"):
        assert both.metrics[metric].value == pytest.approx(
            (fog.metrics[metric].value + snow.metrics[metric].value) / 2, abs=1e-12
        )
    assert np.array_equal(
        both.metrics["auroc"].replicates,
        (fog.metrics["auroc"].replicates + snow.metrics["auroc"].replicates) / 2,
    )
    assert both.metrics["ece"].low is None


def test_only_sets_with_the_same_images_make_a_cluster_bootstrap(make_set):
    others = [make_set("letters:fog:1"), make_set("letters:fog:2", images="others")]
    rows = evaluate(make_set("letters"), others, HOW, checkpoint="m")
    mean = named(with_means(rows), "letters:fog")
    assert (mean.same_images, mean.metrics["auroc"].method) == (False, "bootstrap")
    same = named(with_means([*rows[:2], replace(rows[2], same_images=True)]), "letters:fog")
    assert (same.same_images, same.metrics["auroc"].method) == (True, "cluster bootstrap")


def test_a_metric_that_one_member_lacks_has_no_mean(rows, make_set):
    other = evaluate(
        make_set("letters"),
        [make_set("letters:fog:1"), make_set("letters:fog:2", labels_preserved=False)],
        HOW,
        checkpoint="m",
    )
    mean = named(with_means(other), "letters:fog")
    assert "accuracy" not in mean.metrics
    assert not mean.labels_preserved
    assert "auroc" in mean.metrics


def test_checkpoints_are_not_mixed(rows, make_set):
    again = evaluate(
        make_set("letters", seed=9),
        [make_set("n1", seed=9, group="near"), make_set("n2", seed=9, group="near")],
        HOW,
        checkpoint="b",
    )
    means = [row for row in with_means([*rows, *again]) if row.ood == "near"]
    assert [row.checkpoint for row in means] == ["mine", "b"]
    assert means[0].metrics["auroc"].value == named(with_means(rows), "near").metrics["auroc"].value


@pytest.fixture(scope="module")
def corrupted(make_set):
    """Two networks under two corruptions at all severities; a third corruption lacks one."""
    names = [
        f"letters:{shift}:{severity}"
        for shift in ("fog", "snow", "frost")
        for severity in range(1, 6)
    ][:-1]

    def rows_of(checkpoint, seed, right):
        sets = [make_set(name, seed=seed, right=right - 0.1 * int(name[-1])) for name in names]
        return evaluate(make_set("letters", seed=seed), sets, HOW, checkpoint=checkpoint)

    return [*rows_of("base", 1, 0.9), *rows_of("mine", 2, 1.0)]


def test_mean_corruption_error_and_its_ratio_to_a_baseline(corrupted):
    found, notes = with_corruption_errors(
        corrupted, {"2 corruptions": ("fog", "snow")}, ("base", "replay")
    )
    assert notes == []
    base, mine = found[len(corrupted) :]

    def errors(checkpoint, shift):
        return [
            1 - row.metrics["accuracy"].value
            for row in corrupted
            if (row.checkpoint, row.shift) == (checkpoint, shift)
        ]

    assert (mine.ood, mine.kind, len(mine.members)) == ("letters, 2 corruptions", "mean", 10)
    assert mine.metrics["corruption_error"].value == pytest.approx(
        np.mean(errors("mine", "fog") + errors("mine", "snow")), abs=1e-12
    )
    ratios = [sum(errors("mine", shift)) / sum(errors("base", shift)) for shift in ("fog", "snow")]
    assert mine.metrics["relative_corruption_error"].value == pytest.approx(
        np.mean(ratios), abs=1e-12
    )
    assert "relative_corruption_error" not in base.metrics  # of itself it would be 1
    error = mine.metrics["corruption_error"]
    assert error.low is not None
    assert error.high is not None
    assert error.low < error.value < error.high
    assert mine.to_dict()["corruption_error"] == mine.metrics["corruption_error"].value


def test_corruption_errors_are_of_one_score_and_of_labels_that_are_kept(corrupted):
    twice = [*corrupted, *(replace(row, score="msp", ood="other") for row in corrupted)]
    found, _ = with_corruption_errors(twice, {"1": ("fog",)})
    assert {(row.score, row.members[0]) for row in found[len(twice) :]} == {
        ("entropy", "letters:fog:1")
    }
    lost = [
        replace(row, labels_preserved=(row.shift, row.severity) != ("fog", 2)) for row in corrupted
    ]
    found, notes = with_corruption_errors(lost, {"1": ("fog",)})
    assert found == lost
    assert notes[0] == "No mean over 1 for base on letters: not measured: fog:2."


def test_a_list_that_is_not_whole_gives_no_number_and_says_what_is_missing(corrupted):
    found, notes = with_corruption_errors(
        corrupted, {"3 corruptions": ("fog", "snow", "frost"), "others": ("rain", "hail", "fog")}
    )
    assert found == corrupted
    assert notes == [
        f"No mean over 3 corruptions for {name} on letters: not measured: frost:5."
        for name in ("base", "mine")
    ]


def test_of_a_list_of_which_half_is_there_nothing_is_said(corrupted):
    """Whoever names two corruptions of a list of four did not ask for the list; with three of five
    most of it is there.
    """
    lists = {"4": ("fog", "snow", "rain", "hail"), "5": ("fog", "snow", "frost", "rain", "hail")}
    found, notes = with_corruption_errors(corrupted, lists)
    assert found == corrupted
    assert notes == [
        f"No mean over 5 for {name} on letters: not measured: frost:5, rain, hail."
        for name in ("base", "mine")
    ]
