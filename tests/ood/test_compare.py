"""Paired differences: by hand, by the tests they rest on, and over seeds."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

from ahsar_eval.errors import DataError
from ahsar_eval.ood import Estimate, Evaluation, Resamples, differences, evaluate, with_means
from ahsar_eval.ood.bootstrap import holm, over_seeds, p_value, percentile_interval
from ahsar_eval.ood.metrics import paired_auroc

HOW = Evaluation(resamples=Resamples(300, 5))


def compared(*asked):
    return [SimpleNamespace(**record) for record in differences(*asked)]


BIRDS = {"label_space": "birds", "classes": ["owl", "wren", "rook"]}


def network(make_set, seed, offset=1.0, names=("birds", "letters:fog:3")):
    sets = [
        make_set(name, seed=seed, offset=offset, **({} if ":" in name else BIRDS)) for name in names
    ]
    return evaluate(make_set("letters", seed=seed), sets, HOW, checkpoint=f"network {seed}")


def one(found, ood, metric):
    (difference,) = [each for each in found if (each.ood, each.metric) == (ood, metric)]
    return difference


def test_one_pair_uses_the_paired_tests(make_set):
    a, b = network(make_set, 1), network(make_set, 2, offset=2)
    found = compared([(a, b)], HOW.resamples, ("auroc", "fpr_at_tpr", "accuracy", "mean_rate"))
    birds = one(found, "birds", "auroc")
    expected, p = paired_auroc(*a[1].scores, *b[1].scores)
    assert (birds.method, birds.p_value, birds.low, birds.high) == (
        "paired DeLong",
        p,
        expected.low,
        expected.high,
    )
    assert (birds.a, birds.b, birds.seeds) == (
        a[1].metrics["auroc"].value,
        b[1].metrics["auroc"].value,
        1,
    )
    assert birds.difference == pytest.approx(expected.value, abs=1e-12)
    fog = one(found, "letters:fog:3", "auroc")
    drawn = b[2].metrics["auroc"].replicates - a[2].metrics["auroc"].replicates
    interval = percentile_interval(fog.difference, drawn)
    assert (fog.method, fog.low, fog.high, fog.p_value) == (
        "paired cluster bootstrap",
        interval.low,
        interval.high,
        p_value(drawn),
    )
    assert one(found, "birds", "fpr_at_tpr").method == "paired bootstrap"
    assert one(found, "letters", "accuracy").kind == "id"
    assert not [
        each
        for each in found
        if (each.ood, each.metric) in (("birds", "accuracy"), ("letters", "auroc"))
    ]


def test_p_values_are_corrected_over_the_whole_table(make_set):
    found = compared(
        [(network(make_set, 1), network(make_set, 2, offset=2))],
        HOW.resamples,
        ("auroc", "mean_rate"),
    )
    p_values = [each.p_value for each in found if each.p_value is not None]
    assert len(p_values) == len(found)
    assert [each.p_holm for each in found] == holm(p_values)
    assert found[0].p_holm != found[0].p_value


def test_what_does_not_depend_on_the_score_is_compared_once(make_set):
    def twice(seed):
        some = [make_set(name, seed=seed) for name in ("letters", "letters:fog:3")]
        some = [
            replace(
                each, scores={"entropy": each.scores["entropy"], "msp": each.scores["entropy"] ** 2}
            )
            for each in some
        ]
        return evaluate(some[0], some[1:], HOW, checkpoint="m")

    found = compared(
        [(twice(1), twice(2))], HOW.resamples, ("auroc", "accuracy", "mean_rate", "aurc")
    )
    assert [(each.score, each.metric) for each in found if each.kind == "set"] == [
        *(("entropy", metric) for metric in ("auroc", "accuracy", "mean_rate", "aurc")),
        *(("msp", metric) for metric in ("auroc", "aurc")),
    ]


def test_a_network_does_not_differ_from_itself(make_set):
    rows = network(make_set, 1)
    found = compared([(rows, rows)], HOW.resamples)
    assert {each.metric for each in found if each.p_value is None} == {
        "ece",
        "ece_equal_mass",
    }  # no bootstrap says something of these
    for each in (each for each in found if each.p_value is not None):
        assert (each.difference, each.low, each.high, each.p_value) == (0, None, None, 1)


@pytest.mark.parametrize(("value", "drawn"), [(0.7, 0.7), (0.7, 0.5)])
def test_a_difference_whose_replicates_do_not_vary_has_no_p_value(make_set, value, drawn):
    row = network(make_set, 1)[0]
    a, b = (
        replace(row, metrics={"mean_rate": Estimate(v, replicates=np.full(300, r))})
        for v, r in ((0.5, 0.5), (value, drawn))
    )
    (found,) = compared([([a], [b])], HOW.resamples)
    assert (found.low, found.high, found.p_value) == (None, None, None)
    assert found.difference == pytest.approx(0.2)


def test_several_seeds_are_drawn_before_images(make_set):
    pairs = [
        (network(make_set, seed), network(make_set, seed + 10, offset=1.5)) for seed in range(3)
    ]
    found = one(compared(pairs, HOW.resamples, ("auroc",)), "birds", "auroc")
    assert (found.seeds, found.method) == (3, "bootstrap over seeds and images")
    assert found.a == pytest.approx(
        np.mean([a[1].metrics["auroc"].value for a, _ in pairs]), abs=1e-12
    )
    drawn = over_seeds(
        np.stack(
            [b[1].metrics["auroc"].replicates - a[1].metrics["auroc"].replicates for a, b in pairs]
        ),
        HOW.resamples,
    )
    own = np.array([b[1].metrics["auroc"].value - a[1].metrics["auroc"].value for a, b in pairs])
    between = own.var(ddof=1) / 3
    freedom = 2 * (drawn.var(ddof=1) / between) ** 2
    half = scipy.stats.t.ppf(0.975, freedom) * drawn.std(ddof=1)
    assert (found.low, found.high) == pytest.approx(
        (own.mean() - half, own.mean() + half), abs=1e-12
    )
    assert found.p_value == pytest.approx(
        2 * scipy.stats.t.sf(abs(own.mean()) / drawn.std(ddof=1), freedom), rel=1e-9
    )


def test_means_are_compared_too(make_set):
    names = ("letters:fog:1", "letters:fog:2")
    a, b = (with_means(network(make_set, seed, names=names)) for seed in (1, 2))
    assert [each.ood for each in compared([(a, b)], HOW.resamples, ("auroc",))] == [
        *names,
        "letters:fog",
    ]


def test_sets_only_one_of_them_saw_are_left_out_and_seeds_must_agree(make_set):
    a, b = network(make_set, 1), network(make_set, 2, names=("birds",))
    assert {each.ood for each in compared([(a, b)], HOW.resamples)} == {"letters", "birds"}
    with pytest.raises(
        DataError, match="the seeds were evaluated on different sets; evaluate all on the same"
    ):
        compared([(a, a), (b, b)], HOW.resamples)


def test_a_difference_is_json_ready(make_set):
    import json

    found = differences([(network(make_set, 1), network(make_set, 2))], HOW.resamples)
    assert json.loads(json.dumps(found, allow_nan=False))
    assert list(found[0])[:6] == ["id", "ood", "kind", "group", "class", "score"]
