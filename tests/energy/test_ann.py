"""The ANN of the same topology by hand: once through every layer, a ReLU per neuron, the same
prices.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ahsar_eval.energy import ann
from ahsar_eval.energy.account import Account
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import PROFILES
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    SynapseActivity,
)

CONV = Geometry("Conv2d", (1, 4, 4), (2, 4, 4), (2, 1, 3, 3), (3, 3), (1, 1), 1, False, False, 288)
LINEAR = Geometry("Linear", (8,), (5,), (5, 8), (), (), 1, False, True, 40)
INT32 = PROFILES["45nm-int32"]


def operator(
    name: str, kind: str, type_name: str, inputs: int, outputs: int, **changes: object
) -> OperatorActivity:
    return OperatorActivity(name, kind, type_name, inputs, outputs, 3, **changes)  # type: ignore[arg-type]


def ann_energy(*given: Any, **options: Any) -> SimpleNamespace:
    return SimpleNamespace(**ann.ann_energy(*given, **options))


def hand_made(*more: OperatorActivity) -> Recording:
    """conv (200 MACs, batch norm), LIF of 32, average pool 32 → 8, linear 8 → 5 with a
    bias; T = 3."""
    return Recording(
        split={"name": "letters"},
        spec={"timesteps": 3},
        thresholds={"lif": 1.0},
        logits=np.zeros((1, 3, 5), dtype=np.float32),
        labels=np.array([0]),
        layers=(
            LayerActivity(
                "lif",
                (2, 4, 4),
                np.array([9]),
                np.zeros((2, 4, 4)),
                NeuronModel("LIFNode", True, "subtract", True),
            ),
        ),
        synapses=(
            SynapseActivity("conv", "analog", "input", np.array([150]), 200, 1, CONV),
            SynapseActivity("linear", "pooled spikes", "lif", np.array([45]), 40, 3, LINEAR),
        ),
        operators=(
            operator("bn", "normalisation", "BatchNorm2d", 32, 32, behind="conv"),
            operator("pool", "average pool", "AvgPool2d", 32, 8, window=4, folded_into=("linear",)),
            *more,
        ),
    )


def test_the_ann_by_hand():
    found = ann_energy(Account(hand_made(), INT32, Choices()), spiking_pj=500.0)
    macs, adds, multiplies, compares = (
        240,
        32 + 5 + 24,
        8,
        32,
    )  # batch norm as a bias, linear's bias, pool; pool; ReLU
    assert (found.macs, found.adds, found.multiplies, found.compares) == (
        macs,
        adds,
        multiplies,
        compares,
    )
    energy = 240 * 3.2 + 61 * 0.1 + 8 * 3.1 + 32 * 0.1
    assert found.energy_pj == pytest.approx(energy, rel=1e-12)
    assert found.ratio == pytest.approx(500 / energy, rel=1e-12)
    assert (found.number_format, found.reason) == ("int32", "")


def test_a_counted_batch_norm_multiplies_in_the_ann_too():
    found = ann_energy(Account(hand_made(), INT32, Choices(batch_norm="counted")), spiking_pj=1.0)
    assert (found.adds, found.multiplies) == (61, 40)


def test_what_runs_between_layers_runs_once_and_a_mean_over_time_not_at_all():
    more = (
        operator("add", "addition", "add", 8, 8),
        operator("max", "max pool", "MaxPool2d", 32, 8, window=4),
        operator("gap", "mean", "mean", 32, 2, window=16),
        operator("sum", "mean", "sum", 32, 2, window=16),
        replace(operator("time", "mean", "mean", 15, 5, window=3), steps=1),
        operator("gate", "product", "mul", 8, 8),
        operator("qk", "matmul", "matmul", 16, 16, window=4),
    )
    found = ann_energy(Account(hand_made(*more), INT32, Choices()), spiking_pj=1.0)
    assert (found.macs, found.adds, found.multiplies, found.compares) == (
        240 + 64,
        61 + 8 + 30 + 30,
        8 + 2 + 8,
        32 + 24,
    )


@pytest.mark.parametrize("name", ["45nm-fp32", "45nm-fp16", "45nm-int32", "45nm-int8"])
def test_the_number_format_is_the_spiking_network_s(name):
    profile = PROFILES[name]
    found = ann_energy(Account(hand_made(), profile, Choices()), spiking_pj=1.0)
    prices = [profile.price(operation) or 0 for operation in ("mac", "add", "multiply", "compare")]
    assert found.energy_pj == pytest.approx(np.dot(prices, [240, 61, 8, 32]), rel=1e-12)
    assert found.number_format == profile.number_format


def test_a_chip_without_a_price_of_a_mac_prices_no_ann():
    found = ann_energy(Account(hand_made(), PROFILES["loihi"], Choices()), spiking_pj=1.0)
    assert (found.energy_pj, found.ratio) == (None, None)
    assert found.reason == "the profile loihi has no price for mac, add, multiply, compare"


def test_a_ratio_is_not_taken_where_synaptic_operations_are_unpriced_and_says_what_else_it_leaves_out():
    hidden = ann_energy(
        Account(hand_made(), INT32, Choices()), spiking_pj=1.0, unpriced=(("synapses", "mac"),)
    )
    assert hidden.energy_pj is not None
    assert (hidden.ratio, hidden.reason) == (
        None,
        "the spiking network's energy leaves out synapses (mac)",
    )
    partly = ann_energy(
        Account(hand_made(), INT32, Choices()),
        spiking_pj=1.0,
        unpriced=(("neurons", "write"), ("neurons", "write")),
    )
    assert partly.ratio is not None
    assert partly.reason == "the spiking network's energy leaves out neurons (write)"
