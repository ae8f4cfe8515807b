"""Lemaire's model by hand on a three-layer network, and against SpikingJelly's profiler where the
two coincide.

Where they differ the difference is stated as a number: the width of an access (the profiler reads
64-bit figures per 32 bits), a static image (the profiler computes its layer at every step), the
product of that layer (the profiler does not write it), the addresses of a linear layer on values,
pooled spikes (to the profiler values), and the addition that a folded batch norm leaves.
"""

import warnings
from collections import OrderedDict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.op_counter.analytical_energy import (
    LemaireEnergyConfig,
    LemaireEnergyProfiler,
    LemaireEnergyReport,
)
from torch import nn

from ahsar_eval.data import ImageSet, Split, split_of
from ahsar_eval.energy.account import Account
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.lemaire import lemaire as lemaire_of
from ahsar_eval.energy.profiles import PROFILES, Profile
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    Recording,
    SynapseActivity,
    record,
)

INT32 = PROFILES["45nm-int32"]
assert INT32.memory_pj is not None
# The same figures per 32 bits, as SpikingJelly's LemaireEnergyProfiler reads them.
NARROW = replace(INT32, memory_pj=replace(INT32.memory_pj, width_bits=32))
T = 3


def lemaire(
    recording: Recording, profile: Profile, choices: Choices | None = None
) -> SimpleNamespace:
    found = lemaire_of(Account(recording, profile, choices or Choices()))
    assert found is not None
    layers = [SimpleNamespace(**layer) for layer in found["layers"]]
    return SimpleNamespace(**{**found, "layers": layers})


def hand_made() -> Recording:
    """One sample, T = 4: an image into a convolution (IF), a strided convolution (LIF), a linear
    layer; biases everywhere.

    conv1 1×6×6 → 2×6×6, 3×3 padded; conv2 2×6×6 → 4×2×2, 3×3 with stride 2; linear 16 → 5. Spikes:
    50, 10.
    """
    conv1 = Geometry(
        "Conv2d", (1, 6, 6), (2, 6, 6), (2, 1, 3, 3), (3, 3), (1, 1), 1, False, True, 648
    )
    conv2 = Geometry(
        "Conv2d", (2, 6, 6), (4, 2, 2), (4, 2, 3, 3), (3, 3), (2, 2), 1, False, True, 288
    )
    linear = Geometry("Linear", (16,), (5,), (5, 16), (), (), 1, False, True, 80)
    return Recording(
        split={"name": "letters"},
        spec={"timesteps": 4},
        thresholds={"if1": 1.0, "lif2": 1.0},
        logits=np.zeros((1, 4, 5), dtype=np.float32),
        labels=np.array([0]),
        layers=(
            LayerActivity(
                "if1",
                (2, 6, 6),
                np.array([50]),
                np.zeros((2, 6, 6)),
                NeuronModel("IFNode", False, "subtract", True),
            ),
            LayerActivity(
                "lif2",
                (4, 2, 2),
                np.array([10]),
                np.zeros((4, 2, 2)),
                NeuronModel("LIFNode", True, "subtract", True),
            ),
        ),
        synapses=(
            SynapseActivity("conv1", "analog", "input", np.array([512]), 512, 1, conv1),
            SynapseActivity("conv2", "spikes", "if1", np.array([1500]), 288, 4, conv2),
            SynapseActivity("linear", "spikes", "lif2", np.array([50]), 80, 4, linear),
        ),
    )


COUNTS = {
    "conv1": {  # values, once: 2·6·6·1·9 products, each with a read of its input and weight
        "acs": 72, "macs": 648, "address_acs": 36 + 72 + 18, "address_macs": 0,
        "read_input": 648, "read_weights": 648, "read_bias": 72, "write_output": 72,
    },
    # 50 spikes: ⌈3/2⌉² = 4 positions of 4 channels each, 9 · 4 potentials read and written
    "conv2": {
        "acs": 50 * 16 + 4 * 16, "macs": 0, "address_acs": 50 * 36, "address_macs": 100,
        "read_input": 50, "read_weights": 1800, "read_bias": 64, "read_potentials": 1800, "write_potentials": 1800,
    },
    "linear": {
        "acs": 10 * 5 + 4 * 5, "macs": 0, "address_acs": 50, "address_macs": 0,
        "read_input": 10, "read_weights": 50, "read_bias": 20, "read_potentials": 50, "write_potentials": 50,
    },
    "if1": {
        "acs": 50, "macs": 0, "address_acs": 0, "address_macs": 0, "read_potentials": 288, "write_potentials": 288, "write_output": 50,
    },
    "lif2": {
        "acs": 10, "macs": 64, "address_acs": 0, "address_macs": 0, "read_potentials": 64, "write_potentials": 64, "write_output": 10,
    },
}  # fmt: skip

# pJ per 32-bit word of a memory of so many words of 4 bytes: half of the 64-bit access, which rises
# to 10 pJ at 8 KiB.
WORD = {words: 0.5 * 10 * words * 4 / 8192 for words in (16, 20, 36, 72, 76, 85, 5, 1000)}


def test_counts_by_hand():
    found = lemaire(hand_made(), INT32)
    assert {row.name: row.counts for row in found.layers} == COUNTS
    assert [row.kind for row in found.layers] == ["synapses"] * 3 + ["neurons"] * 2
    assert found.uncounted == []


def test_energy_by_hand():
    """A convolution's equation of the article as a whole: AC 0.1 pJ, MAC 3.2 pJ, memories by their
    size in words of 32 bits.
    """
    found = lemaire(hand_made(), INT32)
    assert (found.access_bits, found.word_bits) == (64, 32)
    acs = 72 + 864 + 70 + 50 + 10
    macs = 648 + 64
    assert found.computation_pj == pytest.approx(acs * 0.1 + macs * 3.2, rel=1e-12)
    assert found.addressing_pj == pytest.approx((126 + 1800 + 50) * 0.1 + 100 * 3.2, rel=1e-12)
    queues = 50 + 10 + 50 + 10  # spikes read and written, queues of 1000 messages
    inputs = 648 * WORD[36] + (50 + 10) * WORD[1000]
    outputs = 72 * WORD[72] + (50 + 10) * WORD[1000]
    weights = (648 + 72) * WORD[20] + (1800 + 64) * WORD[76] + (50 + 20) * WORD[85]
    potentials = 2 * (1800 * WORD[16] + 50 * WORD[5] + 288 * WORD[72] + 64 * WORD[16])
    assert queues == 120
    expected = {"input": inputs, "weights": weights, "potentials": potentials, "output": outputs}
    assert found.by_memory_pj == pytest.approx(expected, rel=1e-12)
    assert found.memory_pj == pytest.approx(sum(expected.values()), rel=1e-12)
    assert found.total_pj == pytest.approx(
        found.computation_pj + found.addressing_pj + found.memory_pj, rel=1e-12
    )
    for row in found.layers:
        assert row.energy_pj == pytest.approx(
            row.computation_pj + row.addressing_pj + row.memory_pj, rel=1e-12
        )
        assert row.memory_pj == pytest.approx(sum(row.by_memory_pj.values()), rel=1e-12)


def test_the_article_s_own_equation_of_a_convolution_with_its_neurons():
    """AC = θ_in·⌈Hk/S⌉·⌈Wk/S⌉·C_out + T·N_out + θ_out; MAC = T·N_out; potentials θ_in·C_out·Hk·Wk +
    T·N_out, read and written.
    """
    rows = {row.name: row.counts for row in lemaire(hand_made(), INT32).layers}
    together = {
        key: rows["conv2"].get(key, 0) + rows["lif2"].get(key, 0)
        for key in {*rows["conv2"], *rows["lif2"]}
    }
    theta_in, theta_out, outputs = 50, 10, 16
    assert together["acs"] == theta_in * 2 * 2 * 4 + 4 * outputs + theta_out
    assert together["macs"] == 4 * outputs
    assert (
        together["read_potentials"]
        == together["write_potentials"]
        == theta_in * 4 * 9 + 4 * outputs
    )
    assert (together["read_input"], together["write_output"], together["read_bias"]) == (
        theta_in,
        theta_out,
        4 * outputs,
    )


def test_an_image_fed_at_every_step_costs_its_layer_every_time():
    once, always = (
        lemaire(hand_made(), INT32, choices=Choices(first_layer=value)).layers[0].counts
        for value in ("once", "every-step")
    )
    assert {key: 4 * count for key, count in once.items()} == always


def test_a_group_s_spike_reaches_its_own_group_alone():
    base = hand_made()
    shape = base.synapses[1].geometry
    grouped = replace(
        base.synapses[1],
        geometry=replace(shape, weights=(4, 1, 3, 3), groups=2, padded_operations=144),
    )
    counts = lemaire(replace(base, synapses=(grouped,)), INT32).layers[0].counts
    assert (counts["acs"], counts["read_weights"], counts["address_acs"]) == (
        50 * 2 * 4 + 64,
        50 * 2 * 9,
        50 * 2 * 9,
    )


def test_without_a_bias_nothing_is_added_and_the_memory_of_weights_is_smaller():
    base = hand_made()
    shape = base.synapses[2].geometry
    bare = replace(base.synapses[2], geometry=replace(shape, bias=False))
    row = lemaire(replace(base, synapses=(bare,)), INT32).layers[0]
    assert (row.counts["acs"], row.counts["read_bias"]) == (50, 0)
    assert row.by_memory_pj["weights"] == pytest.approx(50 * 0.5 * 10 * 80 * 4 / 8192, rel=1e-12)


def test_a_linear_layer_on_tokens_holds_one_bias_per_feature_and_adds_it_to_each_token():
    base = hand_made()
    shape = base.synapses[2].geometry
    tokens = replace(shape, inputs=(3, 16), outputs=(3, 5), padded_operations=240)
    row = lemaire(replace(base, synapses=(replace(base.synapses[2], geometry=tokens),)), INT32)
    counts, by_memory = row.layers[0].counts, row.layers[0].by_memory_pj
    assert (counts["read_weights"], counts["read_bias"]) == (50, 4 * 3 * 5)
    # 5·16 weights and 5 biases, however many tokens there are
    assert by_memory["weights"] == pytest.approx((50 + 60) * WORD[85], rel=1e-12)


def test_what_the_model_does_not_describe_is_listed():
    base = hand_made()
    shape = base.synapses[1].geometry
    odd = replace(
        base,
        synapses=(
            replace(
                base.synapses[1], geometry=replace(shape, transposed=True, type="ConvTranspose2d")
            ),
            replace(base.synapses[2], source="measured"),
        ),
        layers=(replace(base.layers[1], model=NeuronModel("MyNode", False, "", False)),),
    )
    found = lemaire(odd, INT32)
    assert found.layers == []
    assert found.total_pj == 0
    assert [entry["reason"] for entry in found.uncounted] == [
        "the model has no equation for a ConvTranspose2d",
        "the recording does not hold the spikes that it receives",
        "no rule counts a MyNode",
    ]


def test_a_profile_without_memory_and_a_network_without_weights_have_no_such_energy():
    assert lemaire_of(Account(hand_made(), PROFILES["loihi"], Choices())) is None
    assert lemaire_of(Account(hand_made(), replace(INT32, ac_pj=None), Choices())) is None
    assert lemaire_of(Account(replace(hand_made(), synapses=()), INT32, Choices())) is None


# SpikingJelly's profiler


def split(count: int, *, binary: bool) -> Split:
    values = torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    pictures = (values < 0.4).float() if binary else values
    name = "binary" if binary else "noise"
    images = ImageSet(
        name,
        "all",
        np.zeros(count, dtype=np.int64),
        (),
        name,
        name,
        lambda i: list(pictures[i]),
        (2, 8, 8),
    )
    return split_of(images, (2, 8, 8))


def network(*, pool: nn.Module | None = None, norm: bool = False, **convolution: Any) -> SpikingNet:
    """Convolution–IF, strided convolution–LIF, linear; random weights that keep spikes flowing."""
    torch.manual_seed(4)
    options: dict[str, Any] = {"kernel_size": 3, "padding": 1, "stride": 2, **convolution}
    side = 8 if pool is None else 4
    with torch.no_grad():
        features = nn.Conv2d(4, 4, **options)(torch.zeros(1, 4, side, side)).numel()
    spiking: dict[str, Any] = {"v_reset": None, "step_mode": "m"}
    steps = {
        "first": layer.Conv2d(2, 4, 3, padding=1, step_mode="m"),
        "if1": neuron.IFNode(v_threshold=0.3, **spiking),
        **({} if pool is None else {"pool": pool}),
        "second": layer.Conv2d(4, 4, step_mode="m", **options),
        **({"norm": layer.BatchNorm2d(4, step_mode="m")} if norm else {}),
        "lif2": neuron.LIFNode(tau=1.25, decay_input=False, v_threshold=0.2, **spiking),
        "flatten": layer.Flatten(step_mode="m"),
        "last": layer.Linear(features, 5, step_mode="m"),
    }
    for name in ("first", "second", "last"):
        nn.init.normal_(steps[name].weight, 0.05, 0.3)
    return SpikingNet(
        nn.Sequential(OrderedDict(steps)), ModelSpec("tests:net", (2, 8, 8), 5, timesteps=T)
    )


def profiled(net: SpikingNet, images: Split, sample: int) -> LemaireEnergyReport:
    """SpikingJelly's report of one sample: its memories grow with the batch, so samples are run one
    by one.
    """
    net.eval()
    net.reset()
    profiler = LemaireEnergyProfiler(config=LemaireEnergyConfig(strict=False))
    profiler.bind_model(net.backbone)
    x = images.tensors(np.array([sample])).expand(T, -1, -1, -1, -1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it warns of Flatten and of pooling, which it leaves out
        with profiler:
            net.backbone(x)
    net.reset()
    return profiler.get_report()


def ours(
    net: SpikingNet, images: Split, profile: Profile = INT32, **options: Any
) -> tuple[SimpleNamespace, int]:
    binary = images.name == "binary"
    recording = record(net, images, input_kinds={"first": "spikes"} if binary else None)
    assert all(found.spikes.sum() > 0 for found in recording.layers), (
        "a silent layer would show nothing"
    )
    return lemaire(recording, profile, **options), len(images)


def summed(result: SimpleNamespace, key: str) -> float:
    return sum(row.counts.get(key, 0) for row in result.layers)


COINCIDING: dict[str, dict[str, Any]] = {
    "plain": {},
    "no stride": {"stride": 1},
    "groups": {"groups": 2},
    "no bias": {"bias": False},
    "uneven": {"stride": (1, 2), "padding": (0, 1)},
    "max pool": {"pool": layer.MaxPool2d(2, step_mode="m")},
}


@pytest.mark.parametrize("options", COINCIDING.values(), ids=COINCIDING)
def test_on_spikes_the_two_models_coincide(options):
    """Per 32-bit access every count and every energy is the profiler's."""
    net, images = network(**options), split(2, binary=True)
    found, count = ours(net, images, NARROW)
    reports = [profiled(net, images, sample) for sample in range(count)]
    mean = {key: sum(report.counts[key] for report in reports) / count for key in reports[0].counts}
    assert summed(found, "acs") == mean["ac"]
    assert summed(found, "macs") == mean["mac"]
    assert summed(found, "address_acs") == mean["acc_addr"]
    assert summed(found, "address_macs") == mean["mac_addr"]
    assert 4 * summed(found, "read_input") == mean["read_in_bytes"]
    assert 4 * summed(found, "write_output") == mean["write_out_bytes"]
    assert (
        4 * (summed(found, "read_weights") + summed(found, "read_bias"))
        == mean["read_params_bytes"]
    )
    assert 4 * summed(found, "read_potentials") == mean["read_potential_bytes"]
    assert 4 * summed(found, "write_potentials") == mean["write_potential_bytes"]
    energy = {
        key: sum(report.breakdown_pj[key] for report in reports) / count
        for key in reports[0].breakdown_pj
    }
    assert found.computation_pj == pytest.approx(energy["ops_pj"], rel=1e-9)
    assert found.addressing_pj == pytest.approx(energy["addressing_pj"], rel=1e-9)
    assert found.by_memory_pj["input"] + found.by_memory_pj["output"] == pytest.approx(
        energy["inout_pj"], rel=1e-9
    )
    assert found.by_memory_pj["weights"] == pytest.approx(energy["params_pj"], rel=1e-9)
    assert found.by_memory_pj["potentials"] == pytest.approx(energy["potential_pj"], rel=1e-9)
    assert found.total_pj == pytest.approx(
        sum(report.total_pj for report in reports) / count, rel=1e-9
    )


def test_difference_one_a_64_bit_figure_read_per_32_bits_doubles_the_memory_and_nothing_else():
    net, images = network(), split(2, binary=True)
    wide, _ = ours(net, images)
    narrow, count = ours(net, images, NARROW)
    assert wide.memory_pj * 2 == pytest.approx(narrow.memory_pj, rel=1e-12)
    total = sum(profiled(net, images, sample).total_pj for sample in range(count)) / count
    assert total - wide.total_pj == pytest.approx(wide.memory_pj, rel=1e-9)


def test_difference_two_a_static_image_is_computed_once_here_and_at_every_step_there():
    net, images = network(), split(1, binary=False)
    found, _ = ours(net, images, NARROW)
    report = profiled(net, images, 0)
    once = {row.name: row.counts for row in found.layers}["first"]
    assert once["macs"] == 8 * 8 * 4 * 2 * 9
    assert report.counts["mac"] - summed(found, "macs") == (T - 1) * once["macs"]
    assert report.counts["ac"] - summed(found, "acs") == (T - 1) * once["acs"]
    # Kernel addresses are counted once per call there, inputs and outputs at every step.
    assert report.counts["acc_addr"] - summed(found, "address_acs") == (T - 1) * (128 + 256)
    assert (
        report.counts["read_in_bytes"] - 4 * summed(found, "read_input")
        == 4 * (T - 1) * once["read_input"]
    )
    parameters = once["read_weights"] + once["read_bias"]
    difference = 4 * (T - 1) * parameters
    assert (
        report.counts["read_params_bytes"]
        - 4 * (summed(found, "read_weights") + summed(found, "read_bias"))
        == difference
    )


def test_difference_three_the_product_of_a_layer_on_values_is_written_here_alone():
    net, images = network(), split(1, binary=False)
    found, _ = ours(net, images)
    report = profiled(net, images, 0)
    assert {row.name: row.counts for row in found.layers}["first"]["write_output"] == 256
    assert 4 * (summed(found, "write_output") - 256) == report.counts["write_out_bytes"]


def test_difference_four_a_linear_layer_on_values_addresses_every_weight_here():
    torch.manual_seed(5)
    steps = {
        "flatten": layer.Flatten(step_mode="m"),
        "first": layer.Linear(128, 6, step_mode="m"),
        "if1": neuron.IFNode(v_threshold=0.3, v_reset=None, step_mode="m"),
        "last": layer.Linear(6, 5, step_mode="m"),
    }
    nn.init.normal_(steps["first"].weight, 0.1, 0.1)
    backbone = nn.Sequential(OrderedDict(steps))
    net, images = (
        SpikingNet(backbone, ModelSpec("tests:net", (2, 8, 8), 5, timesteps=T)),
        split(1, binary=False),
    )
    found, _ = ours(net, images, choices=Choices(first_layer="every-step"))
    report = profiled(net, images, 0)
    assert summed(found, "address_acs") - report.counts["acc_addr"] == T * (128 * 6 - (128 + 6))
    assert summed(found, "macs") == report.counts["mac"]


def test_difference_five_pooled_spikes_are_values_there_and_spikes_here():
    net, images = network(pool=layer.AvgPool2d(2, step_mode="m")), split(1, binary=True)
    found, _ = ours(net, images)
    report = profiled(net, images, 0)
    rows = {row.name: row.counts for row in found.layers}
    dense = T * 2 * 2 * 4 * 4 * 9  # 4×4 pooled, stride 2: 2×2 positions, 4 · 4 channels, 9 weights
    assert report.counts["mac"] - summed(found, "macs") == dense
    biases = T * 16
    assert rows["second"]["acs"] > biases
    assert summed(found, "acs") - report.counts["ac"] == rows["second"]["acs"] - biases


def test_difference_six_a_folded_batch_norm_leaves_an_addition_here_and_is_left_out_there():
    net, images = network(norm=True, bias=False), split(1, binary=True)
    found, _ = ours(net, images)
    report = profiled(net, images, 0)
    outputs = T * 4 * 4 * 4
    assert summed(found, "acs") - report.counts["ac"] == outputs
    assert (
        4 * (summed(found, "read_weights") + summed(found, "read_bias"))
        - report.counts["read_params_bytes"]
        == 4 * outputs
    )
