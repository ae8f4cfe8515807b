"""Rate, gate and −∂r/∂θ of layers with their input held: by pencil, against the Ornstein–Uhlenbeck
membrane, and what must always hold.
"""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import ndtr
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.data import open_split
from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import ModelSpec, SpikingNet, surrogate_derivative
from ahsar_eval.networks.checkpoints import network_of
from ahsar_eval.networks.neurons import IntegrateAndFire, Integration
from ahsar_eval.recording import record
from ahsar_eval.recording.gate import QUANTITIES, NetworkGate, measure_gate


class Held(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """A neuron whose membrane is its input: what came before leaves no trace, so that r = P(u ≥ θ)
    exactly.
    """

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = x


def net_of(layer: nn.Module, timesteps: int, pixels: int, step_mode: str) -> SpikingNet:
    """`pixels` neurons that see one pixel each, and a read-out."""
    spec = ModelSpec("tests:small", (1, 1, pixels), 2, timesteps=timesteps, step_mode=step_mode)
    torch.manual_seed(0)
    return SpikingNet(
        nn.Sequential(layer, nn.Flatten(1 if step_mode == "s" else 2), nn.Linear(pixels, 2)), spec
    )


def lif(
    step_mode: str, *, v_reset: float | None = None, theta: float = 1.0, tau: float = 2.0
) -> nn.Module:
    return neuron.LIFNode(tau, False, theta, v_reset, surrogate.Sigmoid(4.0), True, step_mode)


def if_(step_mode: str, *, v_reset: float | None = None, theta: float = 1.0) -> nn.Module:
    return neuron.IFNode(theta, v_reset, surrogate.Sigmoid(4.0), True, step_mode)


def sigmoid_gate(x: float) -> float:
    s = 1 / (1 + math.exp(-4 * x))
    return 4 * s * (1 - s)


# --- by pencil
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize(("v_reset", "second"), [(None, 0.5), (0.0, 0.0)])
def test_two_neurons_over_two_steps_by_pencil(step_mode, v_reset, second, split_from_frames):
    # θ = 1, λ = 1/2, h = 0.1. Neuron A is shown 2, 0; neuron B 0.95, 0.
    # A: u = 2 fires; soft reset leaves 1, hard reset 0; u = 0.5 or 0. B: u = 0.95, 0.475, never
    # fires.
    # At 0.9 A fires at 2 (leaves 1.1 → 0.55) and B at 0.95 (leaves 0.05 → 0.025): 2 spikes. At 1.1
    # A alone fires: 1 spike.
    frames = torch.tensor([[2.0, 0.95], [0.0, 0.0]]).view(2, 1, 1, 1, 2)
    found = measure_gate(
        net_of(lif(step_mode, v_reset=v_reset), 2, 2, step_mode),
        split_from_frames(frames),
        step=0.1,
    )
    (layer,) = found.layers
    assert (layer.name, layer.threshold, found.samples, found.step) == ("0", 1.0, 1, 0.1)
    assert layer.rate == 1 / 4
    assert layer.slope == pytest.approx((2 - 1) / 4 / 0.2, rel=1e-12)
    assert layer.density == pytest.approx(
        1 / 4 / 0.2, rel=1e-12
    )  # of the four membranes 0.95 lies between 0.9 and 1.1
    expected = [sigmoid_gate(u - 1) for u in (2.0, second, 0.95, 0.475)]
    assert layer.gate == pytest.approx(sum(expected) / 4, rel=1e-6)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_the_reset_answers_to_the_threshold_too(step_mode, split_from_frames):
    # IF, soft reset, h = 1/2, shown 1.5 twice: at θ = 1 u = 1.5 (leaves 0.5) and 2.0, both fire, as
    # at 1/2; at 3/2 1.5 and 1.5 fire.
    # Shown 1.2 twice: at 1 u = 1.2 and 1.4, both fire, as at 1/2; at 3/2 1.2 does not and 2.4 does.
    net = net_of(if_(step_mode), 2, 1, step_mode)
    (twice,) = measure_gate(
        net, split_from_frames(torch.full((2, 1, 1, 1, 1), 1.5)), step=0.5
    ).layers
    assert (twice.rate, twice.slope) == (1.0, 0.0)
    (once,) = measure_gate(
        net, split_from_frames(torch.full((2, 1, 1, 1, 1), 1.2)), step=0.5
    ).layers
    assert once.rate == 1.0
    assert once.slope == pytest.approx((2 - 1) / 2 / 1.0)


def test_the_derivative_is_that_of_the_backward_pass():
    distance = torch.tensor([0.0, 1.0])
    found = surrogate_derivative(surrogate.Sigmoid(4.0), distance)
    assert found.tolist() == pytest.approx([1.0, 0.0706508], rel=1e-5)
    assert not distance.requires_grad
    box = surrogate_derivative(surrogate.Rect(alpha=1.0), torch.tensor([-0.4, 0.0, 0.6]))
    assert box.tolist() == [1.0, 1.0, 0.0]


def test_networks_numbers_are_means_over_layers(split_from_frames):
    spec = ModelSpec("tests:small", (1, 1, 2), 2, timesteps=1, step_mode="m")
    net = SpikingNet(
        nn.Sequential(Held(1.0, step_mode="m"), Held(0.5, step_mode="m"), nn.Flatten(2)), spec
    )
    found = measure_gate(net, split_from_frames(torch.tensor([1.0, 0.2]).view(1, 1, 1, 1, 2)))
    assert [layer.rate for layer in found.layers] == [0.5, 0.5]
    assert [layer.threshold for layer in found.layers] == [1.0, 0.5]
    for name in QUANTITIES:
        assert found.mean(name) == sum(getattr(layer, name) for layer in found.layers) / 2


# --- the membrane of the paper
# --------------------------------------------------------------------------------------------------

MEAN, DEVIATION = 0.3, 0.63


def gate_by_quadrature(theta: float) -> float:
    """E[4σ(4(U − θ))(1 − σ(4(U − θ)))] for U ~ N(μ, σ_U²)."""
    density = lambda u: (  # noqa: E731
        math.exp(-0.5 * ((u - MEAN) / DEVIATION) ** 2) / (DEVIATION * math.sqrt(2 * math.pi))
    )
    value, _ = integrate.quad(
        lambda u: sigmoid_gate(u - theta) * density(u),
        MEAN - 10 * DEVIATION,
        MEAN + 10 * DEVIATION,
        points=[theta],
    )
    return float(value)


def normal_density(theta: float) -> float:
    return math.exp(-0.5 * ((theta - MEAN) / DEVIATION) ** 2) / (DEVIATION * math.sqrt(2 * math.pi))


def ornstein_uhlenbeck(samples: int, steps: int, *, tau: float = 5.0, seed: int = 0) -> Tensor:
    """[steps, samples, 1, 1, 1] of dU = −(U − μ)/τ dt + σ dW with σ²τ/2 = σ_U², stepped by its
    exact law, from the stationary one.
    """
    rng = np.random.default_rng(seed)
    kept = math.exp(-1 / tau)
    noise = DEVIATION * math.sqrt(1 - kept**2)
    u = [rng.normal(MEAN, DEVIATION, samples)]
    for _ in range(steps - 1):
        u.append(MEAN + kept * (u[-1] - MEAN) + noise * rng.normal(size=samples))
    return torch.tensor(np.array(u), dtype=torch.float32).view(steps, samples, 1, 1, 1)


@pytest.mark.parametrize(("theta", "ratio"), [(0.5, 0.84), (1.0, 1.00), (1.5, 1.46)])
def test_the_ratios_of_method_10(theta, ratio):
    assert gate_by_quadrature(theta) / normal_density(theta) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("theta", [0.5, 1.0, 1.5])
def test_simulated_membranes_match_the_ornstein_uhlenbeck_law(theta, split_from_frames):
    frames = ornstein_uhlenbeck(40_000, 10)
    net = net_of(Held(theta, None, surrogate.Sigmoid(4.0), True, "m"), 10, 1, "m")
    (layer,) = measure_gate(net, split_from_frames(frames), batch_size=8000).layers
    # 400 000 membranes of correlation time 5: about 40 000 independent ones.
    assert layer.rate == pytest.approx(ndtr((MEAN - theta) / DEVIATION), abs=0.006)
    assert layer.gate == pytest.approx(gate_by_quadrature(theta), rel=0.012)
    assert layer.slope == pytest.approx(normal_density(theta), rel=0.05)
    assert layer.density == pytest.approx(layer.slope, rel=1e-4)  # no history: the two are one


# --- what must always hold
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lif, if_])
@pytest.mark.parametrize("v_reset", [None, 0.0])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=8)
def test_both_step_modes_agree_to_the_last_bit(make, v_reset, seed):
    rng = np.random.default_rng(seed)
    frames = torch.from_numpy(rng.integers(0, 4, (4, 5, 1, 1, 3))).float()
    found = [
        measure_gate(
            net_of(make(mode, v_reset=v_reset, theta=2.0), 4, 3, mode),
            frames_of(frames),
            batch_size=2,
        )
        for mode in ("s", "m")
    ]
    assert found[0] == found[1]
    assert 0 < found[0].layers[0].rate < 1


def frames_of(frames: Tensor):
    from ahsar_eval.data import ImageSet, split_of

    shape = (frames.shape[2], frames.shape[3], frames.shape[4])
    labels = np.zeros(frames.shape[1], dtype=np.int64)
    source = ImageSet(
        "given",
        "all",
        labels,
        (),
        "given",
        "given",
        lambda indices: list(frames[0, indices]),
        shape,
    )
    return replace(split_of(source, shape), load=lambda indices: frames[:, indices])


@given(seed=st.integers(0, 10**6), theta=st.floats(0.2, 3.0), step=st.floats(0.01, 0.5))
@settings(max_examples=15)
def test_without_a_trace_of_before_the_slope_is_the_density_and_not_negative(seed, theta, step):
    frames = torch.from_numpy(
        np.random.default_rng(seed).normal(theta, 1.0, (2, 40, 1, 1, 2))
    ).float()
    (layer,) = measure_gate(
        net_of(Held(theta, step_mode="m"), 2, 2, "m"), frames_of(frames), step=step
    ).layers
    assert layer.slope >= 0
    assert layer.slope == pytest.approx(
        layer.density, abs=1.01 / 160 / (2 * step * theta)
    )  # a membrane exactly at an end counts in one


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8)
def test_numbers_do_not_depend_on_the_batch_size(seed):
    frames = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (3, 7, 1, 1, 2))).float()
    net = net_of(lif("m", theta=2.0), 3, 2, "m")
    one, other = (
        measure_gate(net, frames_of(frames), batch_size=size) for size in (7, 2)
    )  # 7 = 3 · 2 + 1
    for name in ("rate", "slope", "density"):
        assert getattr(one.layers[0], name) == getattr(other.layers[0], name)
    assert one.layers[0].gate == pytest.approx(other.layers[0].gate, rel=1e-12)


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
def test_rates_are_those_of_a_recording_and_the_network_is_left_as_it_was(
    make_tiny, backbone, step_mode
):
    checkpoint = make_tiny(backbone, regulated=True, step_mode=step_mode)
    net = network_of(checkpoint)
    split = open_split("digits", checkpoint.spec.input_shape)
    split = replace(split, source=replace(split.source, labels=split.source.labels[:20]))
    net.train()
    before = copy.deepcopy(net.state_dict())
    thresholds = read_thresholds(net.backbone)
    found = measure_gate(net, split, batch_size=8)
    recording = record(net, split)
    assert [layer.name for layer in found.layers] == [layer.name for layer in recording.layers]
    for layer in found.layers:
        assert layer.rate == recording.rate(recording.layer(layer.name))
        assert layer.threshold == recording.thresholds[layer.name]
    assert found.mean("rate") > 0
    assert net.training
    assert read_thresholds(net.backbone) == thresholds
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_hooks_go_where_a_pass_fails(split_from_frames):
    net = net_of(lif("m"), 2, 2, "m")
    layers = net.backbone
    assert isinstance(layers, nn.Sequential)
    layers[2] = nn.Linear(5, 2)  # does not fit
    with pytest.raises(Exception, match="shape"):
        measure_gate(net, split_from_frames(torch.zeros(2, 3, 1, 1, 2)))
    assert not layers[0]._forward_hooks


def test_no_more_is_kept_for_more_samples(split_from_frames, monkeypatch):
    """Between batches nothing but numbers and one batch's membranes is alive."""
    import gc

    alive = []
    net = net_of(lif("m"), 2, 50, "m")
    whole = SpikingNet.forward

    def counted(self, x):
        gc.collect()
        alive.append(sum(thing.numel() for thing in gc.get_objects() if type(thing) is Tensor))
        return whole(self, x)

    monkeypatch.setattr(SpikingNet, "forward", counted)
    measure_gate(net, split_from_frames(torch.zeros(2, 20, 1, 1, 50)), batch_size=5)
    assert len(alive) == 4
    assert max(alive[1:]) == min(alive[1:])


# --- what is refused
# --------------------------------------------------------------------------------------------------


class Remembering(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """Keeps more than its membrane."""

    def __init__(self, step_mode: str) -> None:
        super().__init__(step_mode=step_mode)
        self.register_memory("w", 0.0)

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = x - self.w


class Chance(Held):
    """Fires by chance as well."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (
            lambda: IntegrateAndFire(Integration(1.0), 1.0, several=True, step_mode="m"),
            "without a surrogate function",
        ),
        (
            lambda: IntegrateAndFire(Integration(1.0), torch.ones(2), step_mode="m"),
            "thresholds of their own each",
        ),
        (lambda: Remembering("m"), "remembers more than its membrane"),
        (lambda: Chance(1.0, step_mode="m"), "answers more than its input"),
        (lambda: nn.Identity(), "no spiking layer"),
    ],
)
def test_layers_without_a_gate_are_refused(layer, words, split_from_frames):
    frames = torch.rand(2, 40, 1, 1, 2)
    with pytest.raises(RecordingError, match=words):
        measure_gate(net_of(layer(), 2, 2, "m"), split_from_frames(frames))


@pytest.mark.parametrize("step", [0.0, 1.0, -0.1, float("nan")])
def test_a_step_outside_its_range_is_refused(step, split_from_frames):
    with pytest.raises(RecordingError, match="the step of the finite difference is"):
        measure_gate(
            net_of(lif("m"), 2, 2, "m"), split_from_frames(torch.zeros(2, 3, 1, 1, 2)), step=step
        )


def test_an_empty_split_is_refused(split_from_frames):
    with pytest.raises(RecordingError, match="has no sample"):
        measure_gate(net_of(lif("m"), 2, 2, "m"), split_from_frames(torch.zeros(2, 0, 1, 1, 2)))


def test_a_gate_as_text_and_back(split_from_frames):
    found = measure_gate(net_of(lif("m"), 2, 2, "m"), split_from_frames(torch.rand(2, 3, 1, 1, 2)))
    assert NetworkGate.from_dict(found.to_dict()) == found
    wrong: list[Any] = [
        {},
        {**found.to_dict(), "layers": [{"name": "a"}]},
        [],
    ]
    for broken in wrong:
        with pytest.raises((KeyError, TypeError)):
            NetworkGate.from_dict(broken)
