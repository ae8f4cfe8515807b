"""Spikes per synapse by hand, and where a run stands against the published break-even points."""

import numpy as np
import pytest

from ahsar_eval.energy.ann import (
    BREAK_EVEN_POINTS,
    RATE,
    break_even,
    synapses_of,
)
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    SynapseActivity,
)

PLAIN = Geometry("Linear", (1,), (1,), (1, 1), (), (), 1, False, False, 1)
LIF = NeuronModel("LIFNode", True, "subtract", True)


def recording(*layers: LayerActivity, pool: OperatorActivity | None = None) -> Recording:
    return Recording(
        split={"name": "letters"},
        spec={"timesteps": 5},
        thresholds={},
        logits=np.zeros((2, 5, 2), dtype=np.float32),
        labels=np.array([0, 1]),
        layers=layers,
        synapses=(),
        operators=() if pool is None else (pool,),
    )


def synapse(kind: str) -> SynapseActivity:
    return SynapseActivity("conv", kind, "lif", np.array([12, 18]), 30, 5, PLAIN)


def test_rates_weigh_layers_alike_or_by_their_neurons_and_are_unknown_without_one():
    layers = (
        LayerActivity("a", (3,), np.array([6, 9]), np.zeros(3), LIF),
        LayerActivity("b", (1, 2), np.array([1, 4]), np.zeros((1, 2)), LIF),
    )
    found, silent = recording(*layers), recording()
    assert found.rate_per_neuron == 20 / (5 * 5 * 2)
    assert found.mean_rate == pytest.approx((15 / 3 + 5 / 2) / (2 * 5 * 2))
    assert found.sample_rates == pytest.approx([(2 + 0.5) / 10, (3 + 2) / 10])
    assert (silent.rate_per_neuron, silent.mean_rate, silent.sample_rates) == (None, None, None)


def test_synapses_of_a_folded_pooling_are_those_of_both():
    pool = OperatorActivity(
        "pool", "average pool", "AvgPool2d", 16, 4, 5, window=4, folded_into=("conv",)
    )
    assert synapses_of(recording(), synapse("spikes")) == 30
    assert synapses_of(recording(pool=pool), synapse("pooled spikes")) == 120
    assert synapses_of(recording(), synapse("pooled spikes")) is None


def test_the_published_points_carry_their_source():
    assert [(point["quantity"], point["limit"]) for point in BREAK_EVEN_POINTS] == [
        ("spikes per synapse per inference", 0.15),
        ("spikes per synapse per inference", 1.38),
        (RATE, 0.057),
    ]
    assert all("20" in point["source"] for point in BREAK_EVEN_POINTS)


@pytest.mark.parametrize(
    ("value", "rate", "below"),
    [
        (0.1, 0.05, [True, True, True]),
        (0.15, 0.057, [False, True, False]),
        (1.38, 0.2, [False, False, False]),
        (None, None, [None] * 3),
    ],
)
def test_a_run_is_below_a_point_or_not(value, rate, below):
    assert [point["below"] for point in break_even(value, rate, 5)] == below
    assert [point["value"] for point in break_even(value, rate, 5)] == [value, value, rate]


def test_a_point_for_another_number_of_steps_is_not_compared():
    first, _, yan = break_even(0.1, 0.01, 6)
    assert (yan["below"], yan["reason"], yan["value"]) == (
        None,
        "it holds for T = 5, and the run has T = 6",
        0.01,
    )
    assert (first["below"], first["reason"]) == (True, "")
    assert (
        break_even(None, 0.01, 5)[0]["reason"]
        == "no layer receives spikes through a known number of synapses"
    )
