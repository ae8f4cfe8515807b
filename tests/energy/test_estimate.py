"""Energy by hand: operations at their price, dense layers charged once or at every step, and what is not counted listed."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ahsar_eval.energy import NOT_INCLUDED, PROFILES, estimate, profile_of
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import LayerActivity, Recording, SynapseActivity, Uncounted

PRICES = {"45nm-fp32": (4.6, 0.9), "45nm-fp16": (1.5, 0.4), "45nm-int32": (3.2, 0.1), "45nm-int8": (0.23, 0.03)}


def hand_made(*, charged_steps: int = 1, **changes: Any) -> Recording:
    """Two samples, three steps: an analog convolution of 100 MACs, spikes into a convolution, pooled spikes into a linear layer."""
    described = {"name": "letters", "identity": "i", "severity": 0, "labels_preserved": True, "label_space": "letters"}
    base = Recording(
        split=described,
        spec={"timesteps": 3},
        thresholds={"lif1": 1.0, "lif2": 0.5},
        logits=np.array([[[1, 0]] * 3, [[1, 0]] * 3], dtype=np.float32),
        labels=np.array([0, 1]),
        layers=(
            LayerActivity("lif1", (2, 2), np.array([6, 2]), np.full((2, 2), 1 / 3)),
            LayerActivity("lif2", (5,), np.array([0, 3]), np.full(5, 0.1)),
        ),
        synapses=(
            SynapseActivity("conv1", "analog", "input", np.array([80, 60]), 100, charged_steps),
            SynapseActivity("conv2", "spikes", "lif1", np.array([54, 18]), 36, 3),
            SynapseActivity("linear", "pooled spikes", "lif2", np.array([0, 30]), 50, 3),
        ),
    )
    return replace(base, **changes)


@pytest.mark.parametrize("name", PROFILES)
def test_hand_count_under_every_profile(name):
    mac, ac = PRICES[name]
    result = estimate(hand_made(), profile_of(name), checkpoint="mine")
    conv1, conv2, linear = result.layers
    assert (conv1.acs, conv1.macs, conv1.effective_macs, conv1.macs_all_steps) == (0, 100, 70, 300)
    assert (conv2.acs, conv2.macs, conv2.effective_macs, conv2.macs_all_steps) == (36, 0, 0, 0)
    assert (linear.acs, linear.macs) == (15, 0)
    assert [layer.energy_pj for layer in result.layers] == pytest.approx([100 * mac, 36 * ac, 15 * ac], abs=1e-12)
    assert (result.total_acs, result.total_macs) == (51, 100)
    assert result.total_energy_pj == pytest.approx(100 * mac + 51 * ac, abs=1e-12)
    # Sample energies differ by their spikes alone: 54 and 18 + 30 accumulations.
    assert result.total_energy_std_pj == pytest.approx(np.std([54 * ac, 48 * ac], ddof=1), abs=1e-12)


def test_prices_of_the_profiles_are_those_of_the_source():
    assert {name: (profile.mac_pj, profile.ac_pj) for name, profile in PROFILES.items()} == PRICES
    assert all(profile.name == name and profile.source and profile.includes for name, profile in PROFILES.items())


def test_a_static_image_is_charged_once_and_a_changing_input_at_every_step():
    once, always = (estimate(hand_made(charged_steps=steps), profile_of("45nm-fp32"), checkpoint="m") for steps in (1, 3))
    assert (once.total_macs, always.total_macs) == (100, 300)
    assert once.layers[0].macs_all_steps == always.layers[0].macs_all_steps == 300
    assert always.total_energy_pj - once.total_energy_pj == pytest.approx(200 * 4.6)


def test_what_a_layer_receives_is_said():
    result = estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="mine")
    conv1, conv2, linear = result.layers
    assert [(layer.name, layer.input, layer.source) for layer in result.layers] == [
        ("conv1", "analog", "input"),
        ("conv2", "spikes", "lif1"),
        ("linear", "pooled spikes", "lif2"),
    ]
    assert (conv1.input_spikes, conv1.input_rate) == (None, None)
    assert (conv2.input_spikes, conv2.input_rate) == (4, 8 / (2 * 3 * 4))
    assert (linear.input_spikes, linear.input_rate) == (1.5, 3 / (2 * 3 * 5))
    assert [(n.name, n.neurons, n.spikes, n.threshold) for n in result.neurons] == [("lif1", 4, 4, 1.0), ("lif2", 5, 1.5, 0.5)]


def test_uncounted_layers_are_listed_and_not_priced():
    listed = (Uncounted("attention", "no rule counts a MultiheadAttention"),)
    result = estimate(hand_made(uncounted=listed), profile_of("45nm-fp32"), checkpoint="mine")
    assert result.uncounted == ({"name": "attention", "reason": "no rule counts a MultiheadAttention"},)
    assert "attention" not in {layer.name for layer in result.layers}
    assert result.total_energy_pj == estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="mine").total_energy_pj
    assert result.not_included == NOT_INCLUDED


def test_accuracy_stands_beside_the_energy_where_there_are_labels():
    assert estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="m").accuracy == 0.5
    assert estimate(hand_made(labels=np.array([0, -1])), profile_of("45nm-fp32"), checkpoint="m").accuracy is None


def test_json_carries_the_required_keys_and_totals_are_sums():
    content = json.loads(json.dumps(estimate(hand_made(), profile_of("45nm-fp32"), checkpoint="mine").to_dict()))
    assert set(content) >= {"checkpoint", "data", "profile", "layers", "total_energy_pj", "uncounted"}
    assert (content["checkpoint"], content["data"], content["profile"]) == ("mine", "letters", "45nm-fp32")
    assert all(set(layer) >= {"name", "input", "macs", "acs", "energy_pj"} for layer in content["layers"])
    for total, part in (("total_energy_pj", "energy_pj"), ("total_acs", "acs"), ("total_macs", "macs")):
        assert content[total] == sum(layer[part] for layer in content["layers"])


def test_an_unknown_profile_is_refused_with_those_known():
    with pytest.raises(UsageError, match="unknown energy profile 'loihi'; known are 45nm-fp32, 45nm-fp16, 45nm-int32, 45nm-int8"):
        profile_of("loihi")


def test_one_sample_has_no_spread():
    one = hand_made()
    short = replace(
        one,
        labels=one.labels[:1],
        logits=one.logits[:1],
        layers=tuple(replace(layer, spikes=layer.spikes[:1]) for layer in one.layers),
        synapses=tuple(replace(synapse, operations=synapse.operations[:1]) for synapse in one.synapses),
    )
    result = estimate(short, profile_of("45nm-fp32"), checkpoint="mine")
    assert (result.total_energy_std_pj, result.n) == (0.0, 1)
