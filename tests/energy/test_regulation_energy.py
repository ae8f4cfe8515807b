"""What regulation costs in an inference: counted by hand, shared by the samples of a stream, nothing
in an episode, and never priced at zero.
"""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from ahsar_eval.energy.account import Account, select
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import PROFILES
from ahsar_eval.energy.regulation import step_operations
from ahsar_eval.energy.result import with_fronts

FP32 = PROFILES["45nm-fp32"]
PARAMS = {"tau": 0.3, "gamma": 0.0}


@pytest.fixture
def made(handmade):
    found = handmade.Made(seed=1, samples=10, steps=2, step_mode="m").recording
    return replace(found, split={"name": "made", "labels_preserved": False})


def adapting(recording, modes=("channel",), state=(("lif0", 3), ("lif1", 1)), **changes):
    """The recording as one of a network that adapted online in batches of four."""
    regulation = {"state": {name: [0.1] * count for name, count in state}} if state else None
    facts = {
        **{"modes": list(modes), "protocol": "online", "batch": 4, "first": "predict"},
        **{"n": len(recording), "passes": 0, "params": PARAMS, "thresholds": 4, "left_out": []},
        "state": {"regulation": regulation, "norms": {}},
    }
    return replace(recording, provenance={"adaptation": {**facts, **changes}})


def entries(recording, **wanted):
    return select(Account(recording, FP32, Choices()).entries, part="regulation", **wanted)


def test_a_step_by_hand():
    # One threshold: count → rate, rate → threshold are products; the floor and two bounds compared.
    bare = {"multiply": 2, "compare": 3, "log": 1, "exp": 1, "write": 1, "add": 1, "mac": 1}
    assert step_operations({"tau": inf, "gamma": 0.0}, 1) == bare
    assert step_operations({"tau": inf, "gamma": 0.1}, 1) == {**bare, "mac": 2}
    # Drawn to the mean of its layer: sum and distance, a pull; two products for the layer.
    drawn = step_operations(PARAMS, 5)
    assert drawn == {
        **{"multiply": 12, "compare": 15, "log": 5, "exp": 5, "write": 5, "add": 15, "mac": 10}
    }


def test_a_counter_adds_one_for_each_spike_of_a_regulated_layer(made):
    counters = {one.layer: one.counts for one in entries(adapting(made), detail="counters")}
    assert list(counters) == ["lif0", "lif1"]  # not the third, which has no set point
    for layer in made.layers[:2]:
        np.testing.assert_array_equal(counters[layer.name], layer.spikes)
    # Adapted to first, counters run in a pass of their own.
    assert not entries(adapting(made, first="adapt"), detail="counters")


def test_steps_are_shared_by_the_samples_of_the_stream(made):
    # Ten samples in batches of four: three steps, of three thresholds and of one.
    (writes, others) = entries(adapting(made), operation="write")
    assert (writes.layer, writes.mean, others.layer) == ("lif0", pytest.approx(0.9), "lif1")
    assert others.mean == pytest.approx(0.3)
    assert writes.counts.sum() == pytest.approx(9)
    (alone,) = entries(adapting(made, batch=100), operation="write", layer="lif0")
    assert alone.mean == pytest.approx(0.3)


@pytest.mark.parametrize("how", [{"protocol": "episodic"}, {"modes": ("batchnorm",), "state": ()}])
def test_nothing_regulates_while_an_episode_is_evaluated_or_without_a_regulator(made, how):
    assert not entries(adapting(made, **how))


def test_the_energy_of_regulation_is_part_of_the_total_and_the_rest_stays(made):
    plain = estimate(made, FP32, checkpoint="net").row
    regulated = estimate(adapting(made, passes=20), FP32, checkpoint="net")
    row, own = regulated.row, regulated.row["regulation"]
    spikes = sum(float(layer.spikes.mean()) for layer in made.layers[:2])
    # Three steps for ten samples; 4 thresholds in two layers.
    each = {"add": 4 * 3, "mac": 4 * 2, "multiply": 4 * 2 + 2 * 2, "compare": 4 * 3}
    law = sum(count * (FP32.price(name) or 0) for name, count in each.items()) * 3 / 10
    assert own["energy_pj"] == pytest.approx(spikes * 0.9 + law)
    assert row["total_energy_pj"] == pytest.approx(plain["total_energy_pj"] + own["energy_pj"])
    assert regulated.samples["energy_pj"].mean() == pytest.approx(row["total_energy_pj"])
    assert own["once_pj"] == pytest.approx(20 * row["total_energy_pj"])
    assert row["totals_by_part"]["regulation"] == pytest.approx(own["energy_pj"])
    assert row["adaptation"] == "channel, online"
    assert {name: row[name] for name in ("layers", "total_acs", "total_macs")} == {
        name: plain[name] for name in ("layers", "total_acs", "total_macs")
    }


def test_what_has_no_price_is_listed_with_its_count(made):
    row = estimate(adapting(made), FP32, checkpoint="net").row
    listed = {
        (one["operation"], one["detail"]): one["count"]
        for one in row["unpriced"]
        if one["part"] == "regulation"
    }
    share = pytest.approx(4 * 3 / 10)
    assert listed == {("log", "law"): share, ("exp", "law"): share, ("write", "threshold"): share}
    # A chip with the price of a synaptic operation alone: all of it is listed, none of it is zero.
    chip = estimate(adapting(made), PROFILES["odin"], checkpoint="net").row
    assert chip["regulation"]["energy_pj"] is None
    assert {one["operation"] for one in chip["unpriced"] if one["part"] == "regulation"} == {
        *("add", "mac", "multiply", "compare", "log", "exp", "write")
    }


@pytest.mark.parametrize(("mode", "told"), [("batchnorm", False), ("tent", True)])
def test_statistics_of_norms_are_listed_as_not_counted(made, mode, told):
    def reasons(recording):
        account = Account(recording, FP32, Choices())
        return [one.reason for one in account.uncounted if one.name == "norms that adapt"]

    (reason,) = reasons(adapting(made, modes=("channel", mode)))
    assert ("gradient" in reason) == told
    assert not reasons(adapting(made, modes=(mode,), protocol="episodic"))
    assert not reasons(adapting(made))


def test_without_adaptation_nothing_is_said_of_it(made):
    assert not entries(made)
    row = estimate(made, FP32, checkpoint="net").row
    assert not {"adaptation", "regulation"} & row.keys()


def test_a_network_that_adapts_has_a_front_of_its_own():
    plain = {"checkpoint": "a", "scale": 1.0, "accuracy": 0.9, "total_energy_pj": 1.0}
    adapted = {**plain, "adaptation": "channel, online", "accuracy": 0.8, "total_energy_pj": 2.0}
    found = with_fronts([plain, adapted])
    assert [(row["front"], row["joint_front"]) for row in found] == [(True, True), (True, False)]
