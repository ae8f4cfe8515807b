"""Energy by hand: operations at their price, dense layers charged once or at every step, and what
is not counted or priced listed.

The first recording says nothing of shapes and neurons: its synaptic operations are all that can be
counted. The second says everything.
"""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.energy.account import Account, select
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.estimate import estimate as result_of
from ahsar_eval.energy.profiles import PROFILES, Profile, profile_of
from ahsar_eval.energy.result import NOT_INCLUDED
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    SynapseActivity,
    Uncounted,
)

PRICES = {
    "45nm-fp32": (4.6, 0.9),
    "45nm-fp16": (1.5, 0.4),
    "45nm-int32": (3.2, 0.1),
    "45nm-int8": (0.23, 0.03),
}

UNKNOWN = NeuronModel("MyNode", False, "", False)
PLAIN = Geometry("Linear", (1,), (1,), (1, 1), (), (), 1, False, False, 1)


def hand_made(*, charged_steps: int = 1, **changes: Any) -> Recording:
    """Two samples, three steps: an analog convolution of 100 MACs, spikes into a convolution,
    pooled spikes into a linear layer.
    """
    described = {
        "name": "letters",
        "identity": "i",
        "severity": 0,
        "labels_preserved": True,
        "label_space": "letters",
    }
    base = Recording(
        split=described,
        spec={"timesteps": 3},
        thresholds={"lif1": 1.0, "lif2": 0.5},
        logits=np.array([[[1, 0]] * 3, [[1, 0]] * 3], dtype=np.float32),
        labels=np.array([0, 1]),
        layers=(
            LayerActivity("lif1", (2, 2), np.array([6, 2]), np.full((2, 2), 1 / 3), UNKNOWN),
            LayerActivity("lif2", (5,), np.array([0, 3]), np.full(5, 0.1), UNKNOWN),
        ),
        synapses=(
            SynapseActivity(
                "conv1", "analog", "input", np.array([80, 60]), 100, charged_steps, PLAIN
            ),
            SynapseActivity("conv2", "spikes", "lif1", np.array([54, 18]), 36, 3, PLAIN),
            SynapseActivity("linear", "pooled spikes", "lif2", np.array([0, 30]), 50, 3, PLAIN),
        ),
    )
    return replace(base, **changes)


NOT_DESCRIBED = tuple(
    {"name": name, "reason": "no rule counts the updates of a MyNode"} for name in ("lif1", "lif2")
)


@pytest.mark.parametrize("name", PRICES)
def test_hand_count_under_every_profile(name):
    mac, ac = PRICES[name]
    result = estimate(hand_made(), profile_of(name), checkpoint="mine")
    conv1, conv2, linear = rows(result.layers)
    assert (conv1.acs, conv1.macs, conv1.effective_macs, conv1.macs_all_steps) == (0, 100, 70, 300)
    assert (conv2.acs, conv2.macs, conv2.effective_macs, conv2.macs_all_steps) == (36, 0, 0, 0)
    assert (linear.acs, linear.macs) == (15, 0)
    assert [layer.energy_pj for layer in rows(result.layers)] == pytest.approx(
        [100 * mac, 36 * ac, 15 * ac], abs=1e-12
    )
    assert (result.total_acs, result.total_macs) == (51, 100)
    assert result.total_energy_pj == pytest.approx(100 * mac + 51 * ac, abs=1e-12)
    # Sample energies differ by their spikes alone: 54 and 18 + 30 accumulations.
    assert result.total_energy_std_pj == pytest.approx(
        np.std([54 * ac, 48 * ac], ddof=1), abs=1e-12
    )


def test_prices_of_the_profiles_are_those_of_the_source():
    assert {name: (PROFILES[name].mac_pj, PROFILES[name].ac_pj) for name in PRICES} == PRICES
    assert all(
        profile.name == name and profile.source and profile.includes
        for name, profile in PROFILES.items()
    )


def test_a_static_image_is_charged_once_and_a_changing_input_at_every_step():
    once, always = (
        estimate(hand_made(charged_steps=steps), profile_of("45nm-fp32"), checkpoint="m")
        for steps in (1, 3)
    )
    assert (once.total_macs, always.total_macs) == (100, 300)
    assert once.layers[0]["macs_all_steps"] == always.layers[0]["macs_all_steps"] == 300
    assert always.total_energy_pj - once.total_energy_pj == pytest.approx(200 * 4.6)


def test_what_a_layer_receives_is_said():
    result = estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="mine")
    conv1, conv2, linear = rows(result.layers)
    assert [(layer.name, layer.input, layer.source) for layer in rows(result.layers)] == [
        ("conv1", "analog", "input"),
        ("conv2", "spikes", "lif1"),
        ("linear", "pooled spikes", "lif2"),
    ]
    assert (conv1.input_spikes, conv1.input_rate) == (None, None)
    assert (conv2.input_spikes, conv2.input_rate) == (4, 8 / (2 * 3 * 4))
    assert (linear.input_spikes, linear.input_rate) == (1.5, 3 / (2 * 3 * 5))
    assert [(n.name, n.neurons, n.spikes, n.threshold) for n in rows(result.neurons)] == [
        ("lif1", 4, 4, 1.0),
        ("lif2", 5, 1.5, 0.5),
    ]


def test_uncounted_layers_are_listed_and_not_priced():
    listed = (Uncounted("attention", "no rule counts a MultiheadAttention"),)
    result = estimate(hand_made(uncounted=listed), profile_of("45nm-fp32"), checkpoint="mine")
    assert result.uncounted == [
        {"name": "attention", "reason": "no rule counts a MultiheadAttention"},
        *NOT_DESCRIBED,
    ]
    assert "attention" not in {layer.name for layer in rows(result.layers)}
    assert (
        result.total_energy_pj
        == estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="mine").total_energy_pj
    )
    assert result.not_included == NOT_INCLUDED


def test_accuracy_stands_beside_the_energy_where_there_are_labels():
    assert estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="m").accuracy == 0.5
    for labels, accuracy in (([0, -1], 1.0), ([-1, 1], 0.0)):  # of those that are known
        found = hand_made(labels=np.array(labels))
        assert estimate(found, profile_of("45nm-fp32"), checkpoint="m").accuracy == accuracy
    assert (
        estimate(
            hand_made(labels=np.array([-1, -1])), profile_of("45nm-fp32"), checkpoint="m"
        ).accuracy
        is None
    )


def test_json_carries_the_required_keys_and_totals_are_sums():
    content = json.loads(
        json.dumps(estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="mine").record)
    )
    assert set(content) >= {
        "checkpoint",
        "data",
        "profile",
        "layers",
        "total_energy_pj",
        "uncounted",
    }
    assert (content["checkpoint"], content["data"], content["profile"]) == (
        "mine",
        "letters",
        "45nm-fp32",
    )
    assert all(
        set(layer) >= {"name", "input", "macs", "acs", "energy_pj"} for layer in content["layers"]
    )
    for total, part in (
        ("total_energy_pj", "energy_pj"),
        ("total_acs", "acs"),
        ("total_macs", "macs"),
    ):
        assert content[total] == sum(layer[part] for layer in content["layers"])


def test_an_unknown_profile_is_refused_with_those_known():
    with pytest.raises(
        UsageError,
        match=(
            r"unknown energy profile '45nm' \(did you mean 45nm-int8\?\); known are 45nm-fp32, "
            "45nm-fp16, 45nm-int32, 45nm-int8"
        ),
    ):
        profile_of("45nm")


def test_one_sample_has_no_spread():
    one = hand_made()
    short = replace(
        one,
        labels=one.labels[:1],
        logits=one.logits[:1],
        layers=tuple(replace(layer, spikes=layer.spikes[:1]) for layer in one.layers),
        synapses=tuple(
            replace(synapse, operations=synapse.operations[:1]) for synapse in one.synapses
        ),
    )
    result = estimate(short, profile_of("45nm-fp32"), checkpoint="mine")
    assert (result.total_energy_std_pj, result.n) == (0.0, 1)


# A recording that describes everything

CONV = Geometry("Conv2d", (1, 4, 4), (2, 4, 4), (2, 1, 3, 3), (3, 3), (1, 1), 1, False, True, 288)
LINEAR = Geometry("Linear", (8,), (5,), (5, 8), (), (), 1, False, True, 40)


def described(*, reset: str = "subtract", **changes: Any) -> Recording:
    """Two samples, five steps: an image into conv (200 MACs, bias), LIF of 32, average pool of 2×2,
    linear 8 → 5 with a bias, LIF, sum.

    Spikes of the first layer 40 and 60, each through the pooling to five outputs; of the second 3
    and 5.
    """
    base = Recording(
        split={
            "name": "letters",
            "modality": "image",
            "labels_preserved": True,
            "label_space": "letters",
        },
        spec={"timesteps": 5},
        thresholds={"lif1": 1.0, "lif2": 0.5},
        logits=np.array([[[1, 0]] * 5, [[1, 0]] * 5], dtype=np.float32),
        labels=np.array([0, 1]),
        layers=(
            LayerActivity(
                "lif1",
                (2, 4, 4),
                np.array([40, 60]),
                np.zeros((2, 4, 4)),
                NeuronModel("LIFNode", True, reset, True),
            ),
            LayerActivity(
                "lif2",
                (5,),
                np.array([3, 5]),
                np.zeros(5),
                NeuronModel("LIFNode", True, reset, True),
            ),
        ),
        synapses=(
            SynapseActivity("conv", "analog", "input", np.array([150, 120]), 200, 1, CONV),
            SynapseActivity("linear", "pooled spikes", "lif1", np.array([200, 300]), 40, 5, LINEAR),
        ),
        operators=(
            OperatorActivity(
                "pool", "average pool", "AvgPool2d", 32, 8, 5, window=4, folded_into=("linear",)
            ),
            OperatorActivity("skip", "addition", "add", 5, 5, 5),
            OperatorActivity("qk", "matmul", "matmul", 6, 6, 5, window=2),
        ),
    )
    return replace(base, **changes)


def estimate(*given: Any, **options: Any) -> SimpleNamespace:
    """The record, and the samples beside it."""
    found = result_of(*given, **options)
    assert not {"samples", "synops", "spikes", "split"} & found.row.keys()
    return SimpleNamespace(**found.row, samples=found.samples, record=found.row)


def rows(found: Any) -> list[SimpleNamespace]:
    return [SimpleNamespace(**row) for row in found]


def of(result: SimpleNamespace, layer: str) -> dict[tuple[str, str], Any]:
    return {
        (part["operation"], part["detail"]): (part["count"], part["energy_pj"])
        for part in result.parts
        if part["layer"] == layer
    }


def test_everything_counted_is_priced_by_hand():
    result = estimate(described(), profile_of("45nm-int32"), checkpoint="mine")
    ac, mac, multiply = 0.1, 3.2, 3.1
    conv, linear = rows(result.layers)
    assert (conv.synaptic_pj, conv.other_pj) == pytest.approx(
        (200 * mac, 32 * ac)
    )  # the bias once, with its product
    assert (linear.synaptic_pj, linear.other_pj) == pytest.approx((250 * ac, 25 * ac))
    for layer in rows(result.layers):
        assert layer.energy_pj == pytest.approx(
            (layer.synaptic_pj or 0) + (layer.other_pj or 0), rel=1e-12
        )
    lif1, lif2 = rows(result.neurons)
    assert (lif1.updates, lif2.updates) == (160, 25)
    assert lif1.energy_pj == pytest.approx(
        160 * (multiply + 2 * ac) + 50 * ac
    )  # a comparison is priced as an addition
    assert lif2.energy_pj == pytest.approx(25 * (multiply + 2 * ac) + 4 * ac)
    skip, product = rows(result.operators)
    assert (skip.name, skip.part, skip.operations) == ("skip", "residual", 25)
    assert (product.name, product.part, product.operations) == ("qk", "products", 60)
    assert (skip.energy_pj, product.energy_pj) == pytest.approx((25 * ac, 60 * mac))
    every = rows([*result.layers, *result.neurons, *result.operators])
    assert result.total_energy_pj == pytest.approx(
        sum(row.energy_pj or 0 for row in every), rel=1e-12
    )
    assert result.synaptic_energy_pj == pytest.approx(200 * mac + 250 * ac)
    assert result.totals_by_part == pytest.approx(
        {
            "synapses": 200 * mac + 250 * ac,
            "bias": 57 * ac,
            "neurons": 185 * (multiply + 2 * ac) + 54 * ac,
            "residual": 25 * ac,
            "products": 60 * mac,
        }
    )
    assert (result.total_acs, result.total_macs) == (250, 260)  # the matmul's, too
    assert of(result, "lif1") == {
        ("multiply", "leak"): (160, pytest.approx(496)),
        ("add", "integrate"): (160, pytest.approx(16)),
        ("compare", "compare"): (160, pytest.approx(16)),
        ("add", "reset"): (50, pytest.approx(5)),
    }
    assert (result.uncounted, result.unpriced) == ([], [])


def test_what_a_run_is_compared_with_stands_beside_it():
    result = estimate(described(), profile_of("45nm-int32"), checkpoint="mine")
    # Five outputs behind 32 inputs: the folded pooling makes 160 synapses.
    assert result.layers[0]["synops_per_synapse"] is None
    assert result.layers[1]["synops_per_synapse"] == result.synops_per_synapse == 250 / 160
    assert result.rate_per_neuron == 108 / (2 * 5 * 37)
    assert [point["below"] for point in result.break_even] == [False, False, False]
    assert result.ann is not None
    ann = SimpleNamespace(**result.ann)
    assert (ann.macs, ann.adds, ann.compares) == (
        200 + 40 + 12,
        32 + 5 + 24 + 5,
        37,
    )
    assert ann.energy_pj is not None
    assert ann.ratio == pytest.approx(result.total_energy_pj / ann.energy_pj, rel=1e-12)
    assert result.memory is not None
    assert result.memory["total_pj"] > result.memory["computation_pj"] > 0
    assert {
        (one["layer"], one["operation"], one["detail"]): one["count"] for one in result.accesses
    }[("linear", "read", "weights")] == 250


def test_memory_is_for_profiles_that_price_it_and_networks_with_weights():
    assert estimate(described(), profile_of("loihi"), checkpoint="m").memory is None
    bare = described(synapses=(), operators=())
    assert estimate(bare, profile_of("45nm-fp32"), checkpoint="m").memory is None


def test_a_chip_prices_what_it_published_and_lists_the_rest():
    result = estimate(described(), profile_of("tianjic"), checkpoint="mine")
    conv, linear = rows(result.layers)
    assert (conv.macs, conv.energy_pj, conv.synaptic_pj) == (200, None, None)
    assert linear.energy_pj == linear.synaptic_pj == pytest.approx(250 * 1.54)
    assert [neuron.energy_pj for neuron in rows(result.neurons)] == [None, None]
    assert result.total_energy_pj == pytest.approx(250 * 1.54)
    assert result.totals_by_part == {"synapses": pytest.approx(250 * 1.54)}
    reason = "the profile has no price for it"
    assert result.unpriced == [
        {
            "part": "synapses",
            "operation": "mac",
            "detail": "dense",
            "count": 200,
            "layers": ["conv"],
            "reason": reason,
        },
        {
            "part": "bias",
            "operation": "add",
            "detail": "bias",
            "count": 57,
            "layers": ["conv", "linear"],
            "reason": reason,
        },
        {
            "part": "neurons",
            "operation": "multiply",
            "detail": "leak",
            "count": 185,
            "layers": ["lif1", "lif2"],
            "reason": reason,
        },
        {
            "part": "neurons",
            "operation": "add",
            "detail": "integrate",
            "count": 185,
            "layers": ["lif1", "lif2"],
            "reason": reason,
        },
        {
            "part": "neurons",
            "operation": "compare",
            "detail": "compare",
            "count": 185,
            "layers": ["lif1", "lif2"],
            "reason": reason,
        },
        {
            "part": "neurons",
            "operation": "add",
            "detail": "reset",
            "count": 54,
            "layers": ["lif1", "lif2"],
            "reason": reason,
        },
        {
            "part": "residual",
            "operation": "add",
            "detail": "elements",
            "count": 25,
            "layers": ["skip"],
            "reason": reason,
        },
        {
            "part": "products",
            "operation": "mac",
            "detail": "dense",
            "count": 60,
            "layers": ["qk"],
            "reason": reason,
        },
    ]
    assert result.ann is not None
    ann = SimpleNamespace(**result.ann)
    assert ann.ratio is None


def test_a_chip_s_neuron_update_stands_in_for_its_operations():
    """Loihi: 81 pJ where a neuron spikes, 52 pJ where it does not, in every step."""
    result = estimate(described(), profile_of("loihi"), checkpoint="mine")
    lif1, lif2 = rows(result.neurons)
    assert lif1.energy_pj == pytest.approx(50 * 81 + 110 * 52)
    assert lif2.energy_pj == pytest.approx(4 * 81 + 21 * 52)
    assert of(result, "lif2") == {
        ("update", "active"): (4, pytest.approx(324)),
        ("update", "inactive"): (21, pytest.approx(1092)),
    }
    assert result.total_energy_pj == pytest.approx(250 * 23.6 + 54 * 81 + 131 * 52)
    assert "neurons" not in {entry["part"] for entry in result.unpriced}


def test_a_neuron_that_fires_several_times_in_a_step_is_active_once():
    busy = replace(described().layers[1], spikes=np.array([100, 0]))
    result = estimate(
        described(layers=(described().layers[0], busy)), profile_of("loihi"), checkpoint="mine"
    )
    assert of(result, "lif2") == {
        ("update", "active"): (12.5, pytest.approx(12.5 * 81)),
        ("update", "inactive"): (12.5, pytest.approx(650)),
    }


def test_what_an_all_in_figure_holds_is_said_and_not_priced_twice():
    result = estimate(described(), profile_of("truenorth"), checkpoint="mine")
    assert result.total_energy_pj == pytest.approx(250 * 26)
    reasons = {entry["part"]: entry["reason"] for entry in result.unpriced}
    held = "the price of a synaptic operation already holds it"
    assert (reasons["neurons"], reasons["bias"]) == (held, held)
    assert reasons["synapses"] == reasons["residual"] == "the profile has no price for it"


def test_a_part_that_another_price_holds_is_not_priced_even_where_it_could_be():
    loihi = replace(profile_of("loihi"), add_pj=1.0, covers=("neurons", "bias"))
    result = estimate(described(), loihi, checkpoint="mine")
    assert result.total_energy_pj == pytest.approx(250 * 23.6 + 25 * 1.0)
    assert [neuron.energy_pj for neuron in rows(result.neurons)] == [None, None]


def test_what_is_unpriced_but_never_happened_is_not_listed():
    silent = tuple(
        replace(layer, spikes=np.zeros(2, dtype=np.int64))
        for layer in described(reset="set").layers
    )
    result = estimate(described(layers=silent), profile_of("45nm-int32"), checkpoint="mine")
    assert result.unpriced == []
    assert result.ann is not None
    ann = SimpleNamespace(**result.ann)
    assert ann.reason == ""


def test_accumulations_of_a_product_of_spikes_are_in_the_total():
    met = replace(
        described().operators[2],
        operand_kinds=("spikes", "spikes"),
        coincidences=np.array([[7], [9]]),
    )
    result = estimate(
        described(operators=(*described().operators[:2], met)),
        profile_of("45nm-int32"),
        checkpoint="mine",
    )
    assert (result.total_acs, result.total_macs) == (258, 200)
    assert result.operators[1]["energy_pj"] == pytest.approx(0.8)


def test_accuracy_needs_labels_that_mean_what_the_classes_mean():
    same, other = (
        estimate(
            hand_made(), profile_of("45nm-fp32"), checkpoint="m", network={"label_space": space}
        )
        for space in ("letters", "digits")
    )
    assert (same.accuracy, other.accuracy) == (0.5, None)


def test_a_reset_that_writes_has_no_price_and_is_listed():
    result = estimate(described(reset="set"), profile_of("45nm-int32"), checkpoint="mine")
    assert [(entry["operation"], entry["count"], entry["layers"]) for entry in result.unpriced] == [
        ("write", 54, ["lif1", "lif2"])
    ]
    assert of(result, "lif1")[("write", "reset")] == (50, None)
    assert result.ann is not None
    ann = SimpleNamespace(**result.ann)
    assert ann.ratio is not None
    assert ann.reason == "the spiking network's energy leaves out neurons (write)"


@pytest.mark.parametrize("name", PROFILES)
def test_the_mean_of_the_samples_is_the_total_and_the_quantiles_are_of_them(name):
    result = estimate(described(), profile_of(name), checkpoint="mine")
    assert result.samples["energy_pj"].shape == (2,)
    assert result.samples["energy_pj"].mean() == pytest.approx(result.total_energy_pj, rel=1e-9)
    assert result.total_energy_pj == pytest.approx(sum(result.totals_by_part.values()), rel=1e-9)
    assert result.total_energy_pj == pytest.approx(
        sum(part["energy_pj"] or 0 for part in result.parts), rel=1e-9
    )
    assert result.total_energy_std_pj == pytest.approx(
        result.samples["energy_pj"].std(ddof=1), rel=1e-12
    )
    low, high = sorted(result.samples["energy_pj"])
    expected = {
        level: low + float(level) * (high - low)
        for level in ("0.05", "0.25", "0.5", "0.75", "0.95")
    }
    assert result.quantiles_pj == pytest.approx(expected, rel=1e-12)


def test_a_sample_s_energy_by_hand():
    result = estimate(described(), profile_of("loihi"), checkpoint="mine")
    first = 200 * 23.6 + 43 * 81 + (185 - 43) * 52
    second = 300 * 23.6 + 65 * 81 + (185 - 65) * 52
    assert result.samples["energy_pj"] == pytest.approx([first, second], rel=1e-12)


def test_choices_change_the_price_and_are_said():
    choices = Choices(first_layer="every-step", average_pooling="dense")
    result = estimate(described(), profile_of("45nm-int32"), checkpoint="mine", choices=choices)
    assert result.choices == vars(choices)
    conv, linear = rows(result.layers)
    assert (conv.macs, conv.macs_all_steps, conv.synaptic_pj) == pytest.approx((1000, 1000, 3200))
    assert (linear.acs, linear.macs, linear.macs_all_steps, linear.synops_per_synapse) == (
        0,
        200,
        200,
        None,
    )
    assert result.synops_per_synapse is None
    assert [operator.name for operator in rows(result.operators)] == ["pool", "skip", "qk"]
    assert result.operators[0]["energy_pj"] == pytest.approx(5 * (24 * 0.1 + 8 * 3.1))


def test_json_holds_every_part_but_not_the_samples():
    content = json.loads(
        json.dumps(estimate(described(), profile_of("45nm-int32"), checkpoint="mine").record)
    )
    assert not {"samples", "synops", "spikes"} & set(content)
    assert set(content["quantiles_pj"]) == {"0.05", "0.25", "0.5", "0.75", "0.95"}
    assert set(content["parts"][0]) == {
        "layer",
        "part",
        "operation",
        "detail",
        "count",
        "energy_pj",
    }
    assert set(content["ann"]) >= {"macs", "energy_pj", "ratio"}
    assert set(content["break_even"][0]) >= {"quantity", "limit", "source", "value", "below"}
    assert content["memory"]["layers"][0]["counts"]["macs"] == 288
    rows = [*content["layers"], *content["neurons"], *content["operators"]]
    assert content["total_energy_pj"] == pytest.approx(
        sum(row["energy_pj"] for row in rows), rel=1e-12
    )


@given(
    spikes=st.lists(st.integers(0, 10**6), min_size=2, max_size=2),
    operations=st.lists(st.integers(0, 10**9), min_size=2, max_size=2),
    prices=st.lists(st.floats(0, 1e4), min_size=6, max_size=6),
)
def test_energy_is_the_account_times_the_prices(spikes, operations, prices):
    base = described()
    recording = replace(
        base,
        layers=(replace(base.layers[0], spikes=np.array(spikes)), base.layers[1]),
        synapses=(base.synapses[0], replace(base.synapses[1], operations=np.array(operations))),
    )
    names = ("mac", "ac", "multiply", "add", "compare", "write")
    profile = Profile(
        "p",
        "pJ",
        "1 nm",
        "int8",
        "all",
        "measured",
        "a test",
        **{f"{n}_pj": p for n, p in zip(names, prices, strict=True)},
    )
    result, counted = (
        estimate(recording, profile, checkpoint="mine"),
        Account(recording, profile, Choices()),
    )
    expected = (
        sum(
            sum(int(entry.counts.sum()) for entry in select(counted.entries, operation=name))
            * price
            for name, price in zip(names, prices, strict=True)
        )
        / 2
    )
    assert result.total_energy_pj == pytest.approx(expected, rel=1e-9)
    assert result.samples["energy_pj"].mean() == pytest.approx(expected, rel=1e-9)
