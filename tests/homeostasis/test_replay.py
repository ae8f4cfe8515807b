"""Replay against an oracle: a threshold factor is the same as batch norm's weight and bias divided
by it.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ahsar_eval.homeostasis import Ahsar, named_neurons, read_thresholds, write_thresholds
from ahsar_eval.networks import ModelSpec, SpikingNet, build

LAYERS = 10
T = 4


def vgg(v_reset: float | None, step_mode: str = "m") -> SpikingNet:
    """VGG-13 at width 1/16 whose batch norms have statistics, weights and biases worth dividing."""
    torch.manual_seed(0)
    net = build(
        ModelSpec(
            "vgg13",
            (1, 16, 16),
            10,
            width=1 / 16,
            timesteps=T,
            step_mode=step_mode,
            v_reset=v_reset,
        )
    )
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2.0)
                module.bias.uniform_(-0.3, 0.8)
                module.momentum = 0.9  # three batches are enough for the running statistics
        for step in range(3):
            net.reset()
            net(images(step))
    return net.eval()


def images(seed: int = 9) -> Tensor:
    return torch.randn(T, 6, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def spikes_of(net: SpikingNet) -> dict[str, Tensor]:
    """Layer → its spikes, in the order of the calls."""
    found: dict[str, list[Tensor]] = {name: [] for name in named_neurons(net.backbone)}
    handles = [
        node.register_forward_hook(
            lambda _, inputs, output, name=name: found[name].append(output.clone())
        )
        for name, node in named_neurons(net.backbone).items()
    ]
    with torch.no_grad():
        net.reset()
        net(images())
    for handle in handles:
        handle.remove()
    return {name: torch.stack(spikes) for name, spikes in found.items()}


def folded(net: SpikingNet, factors: dict[str, float]) -> SpikingNet:
    """A copy with base thresholds whose batch norms are divided by the factor of the layer behind
    them.
    """
    other = copy.deepcopy(net)
    modules = dict(other.backbone.named_modules())
    with torch.no_grad():
        for name, factor in factors.items():
            norm = modules[name.replace("lif", "bn")]
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight.div_(factor)
            norm.bias.div_(factor)
    return other


def thresholded(net: SpikingNet, factors: dict[str, float]) -> SpikingNet:
    other = copy.deepcopy(net)
    write_thresholds(other.backbone, read_thresholds(other.backbone), factors)
    return other


NETS = {reset: vgg(reset) for reset in (None, 0.0)}


def assert_same_spikes(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert list(one) == list(other)
    assert len(one) == LAYERS
    for name in one:
        assert torch.equal(one[name], other[name]), f"spikes of {name} differ"


@pytest.mark.parametrize("v_reset", [None, 0.0], ids=["soft", "hard"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_one_factor_on_all_thresholds(v_reset, factor):
    net = NETS[v_reset]
    factors = dict.fromkeys(named_neurons(net.backbone), factor)
    scaled = spikes_of(thresholded(net, factors))
    assert_same_spikes(scaled, spikes_of(folded(net, factors)))
    plain = spikes_of(net)
    assert any(not torch.equal(plain[name], scaled[name]) for name in plain), (
        "the factor must matter for the comparison to say anything"
    )
    assert min(float(spikes.mean()) for spikes in plain.values()) > 0.01, "every layer spikes"


@given(st.lists(st.integers(-2, 2), min_size=LAYERS, max_size=LAYERS), st.sampled_from([None, 0.0]))
@settings(max_examples=15, deadline=None)
def test_powers_of_two_layer_by_layer_are_exact(exponents, v_reset):
    net = NETS[v_reset]
    factors = {
        name: 2.0**exponent
        for name, exponent in zip(named_neurons(net.backbone), exponents, strict=True)
    }
    assert_same_spikes(spikes_of(thresholded(net, factors)), spikes_of(folded(net, factors)))


@pytest.mark.parametrize("v_reset", [None, 0.0], ids=["soft", "hard"])
def test_other_factors_agree_but_for_rounding(v_reset):
    net = NETS[v_reset]
    for index, name in enumerate(
        named_neurons(net.backbone)
    ):  # one layer at a time, or a single flip would spread to all behind it
        factors = {name: (0.7, 1.3)[index % 2]}
        one, other = spikes_of(thresholded(net, factors)), spikes_of(folded(net, factors))
        assert float((one[name] != other[name]).double().mean()) < 1e-3, name


def test_dividing_by_the_inverse_factor_is_noticed():
    net = NETS[None]
    factors = {"features.lif2_1": 2.0}
    one, other = (
        spikes_of(thresholded(net, factors)),
        spikes_of(folded(net, {"features.lif2_1": 0.5})),
    )
    assert not torch.equal(one["features.lif2_1"], other["features.lif2_1"])


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_controller_in_evaluation_equals_the_divided_batch_norms(step_mode):
    net = vgg(None, step_mode)
    regulated = copy.deepcopy(net)
    ahsar = Ahsar(regulated.backbone, timesteps=T, units=regulated.units())
    scales = np.array([2.0 ** (index % 3 - 1) for index in range(len(ahsar.state.units))])
    snapshot = ahsar.snapshot()
    ahsar.resume(replace(snapshot, ema_scale=scales, state=np.full(len(scales), 0.7)))
    factors = ahsar.snapshot().replayed_scales()
    assert sorted(set(factors.values())) == [0.5, 1.0, 2.0]
    assert_same_spikes(spikes_of(regulated), spikes_of(folded(net, factors)))
