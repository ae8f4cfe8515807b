"""Rate-based backpropagation: the four reset rules, what equals BPTT and what must not, memory,
statistics, and what is refused.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.errors import ModelError
from ahsar_eval.homeostasis import Ahsar, HomeostaticParams, read_thresholds, write_thresholds
from ahsar_eval.networks import ModelSpec, SpikingNet, build
from ahsar_eval.networks.rate_pass import Passes, _NormOfRates

NO_LEAK = (
    1 + 2**-52
)  # the smallest tau SpikingJelly takes: a decay factor of 2e-16, nothing beside rounding
SHAPE = (1, 16, 16)


def spec(paradigm: str = "rate", **settings: Any) -> ModelSpec:
    return ModelSpec(
        **{
            "backbone": "vgg13",
            "input_shape": SHAPE,
            "classes": 10,
            "width": 1 / 16,
            "paradigm": paradigm,
            **settings,
        }
    )


def net_of(of: ModelSpec) -> SpikingNet:
    torch.manual_seed(0)
    net = build(of).double()
    net.train()
    return net


def image(samples: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, samples, *SHAPE, dtype=torch.float64, generator=generator)
    return x, torch.arange(samples) % 10


def gradient(net: SpikingNet, x: Tensor, y: Tensor) -> Tensor:
    """All gradients as one vector: by tensor the comparison is ill-posed, some true gradients are
    zero.
    """
    net.reset()
    net.zero_grad()
    F.cross_entropy(net(x).mean(0), y).backward()  # type: ignore[no-untyped-call]
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
            for p in net.parameters()
        ]
    )


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


# One neuron against autograd through the unrolled one


def unrolled(module: Any, x: Tensor, steps: int, thresholds: list[float]) -> Tensor:
    """r̄ of SpikingJelly's own equations under a constant input, differentiable."""
    v: Any = torch.full_like(x, module.v_reset or 0.0)
    total = torch.zeros_like(x)
    for threshold in thresholds[:steps]:
        u = (
            v + x
            if isinstance(module, neuron.IFNode)
            else functional.lif_charge(x, v, module.tau, module.decay_input, module.v_reset)
        )
        s = module.surrogate_function(u - threshold)
        v = functional.voltage_reset(u, s, threshold, module.v_reset, module.detach_reset)
        total = total + s
    return total / steps


NEURONS: dict[str, Callable[..., Any]] = {
    "LIF": lambda **k: neuron.LIFNode(tau=1.25, decay_input=False, **k),
    "LIF decay input": lambda **k: neuron.LIFNode(tau=2.0, decay_input=True, **k),
    "IF": lambda **k: neuron.IFNode(**k),
}
SURROGATES = {"sigmoid": surrogate.Sigmoid(4.0), "atan": surrogate.ATan(2.0)}


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize("reset", [None, 0.0, -0.3], ids=["soft", "hard", "hard to -0.3"])
@pytest.mark.parametrize("detached", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("surrogate_name", SURROGATES)
def test_gate_equals_autograd_through_the_unrolled_neuron(
    kind, reset, detached, mode, surrogate_name
):
    steps, theta = 6, [0.7, 0.9, 1.3, 0.7, 1.1, 0.8] if mode == "s" else [0.7] * 6
    module = NEURONS[kind](
        v_threshold=0.7,
        v_reset=reset,
        detach_reset=detached,
        surrogate_function=SURROGATES[surrogate_name],
        step_mode=mode,
    )
    x = torch.linspace(-1, 2, 200, dtype=torch.float64)[:, None].requires_grad_()
    expected = torch.autograd.grad(unrolled(module, x, steps, theta).sum(), x)[0]
    passes = Passes(module, 1 if mode == "m" else steps)
    with passes.spikes(), torch.no_grad():
        if mode == "m":
            module(x.expand(steps, *x.shape))
        else:
            for threshold in theta:
                write_thresholds(module, {"": 1.0}, {"": threshold})
                module(x)
    with passes.rates():
        rate = module.forward(x[None] if mode == "m" else x)
        found = torch.autograd.grad(rate.sum(), x)[0]
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(
        rate.detach().view_as(x), unrolled(module, x, steps, theta).detach(), rtol=0, atol=0
    )


def test_gate_by_hand():
    """Two steps, threshold ½, soft reset: u = .4, then .4 + .2·.4 = .48; no spike; e = ½·(g(−.1) +
    (1 + .2)·g(−.02)).
    """
    module = neuron.LIFNode(
        tau=1.25,
        decay_input=False,
        v_threshold=0.5,
        v_reset=None,
        detach_reset=True,
        surrogate_function=surrogate.Sigmoid(4.0),
        step_mode="m",
    )
    x = torch.full((1, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
    passes = Passes(module, 1)
    with passes.spikes(), torch.no_grad():
        module(x.expand(2, 1, 1))
    with passes.rates():
        found = torch.autograd.grad(module.forward(x).sum(), x)[0].item()

    def g(z: float) -> float:
        p = 1 / (1 + math.exp(-4 * z))
        return 4 * p * (1 - p)

    assert found == pytest.approx((g(-0.1) + 1.2 * g(-0.02)) / 2, rel=1e-12)


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize("reset", [None, 0.0])
@pytest.mark.parametrize("mode", ["m", "s"])
def test_spike_pass_leaves_the_spikes_and_potentials_of_the_layer_itself(kind, reset, mode):
    plain = NEURONS[kind](
        v_threshold=0.7,
        v_reset=reset,
        detach_reset=True,
        surrogate_function=surrogate.Sigmoid(4.0),
        step_mode=mode,
    )
    watched = copy.deepcopy(plain)
    x = torch.randn(6, 5, 40, generator=torch.Generator().manual_seed(2))
    passes = Passes(watched, 1 if mode == "m" else 6)
    with torch.no_grad(), passes.spikes():
        one = watched(x) if mode == "m" else torch.stack([watched(now) for now in x])
    with torch.no_grad():
        other = plain(x) if mode == "m" else torch.stack([plain(now) for now in x])
    assert torch.equal(one, other)
    assert torch.equal(watched.v, plain.v)
    assert "forward" not in vars(watched), "the layer is as it was"


# Whole networks


@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
@pytest.mark.parametrize(
    ("timesteps", "tau"), [(1, 1.25), (6, NO_LEAK)], ids=["one step", "no leak"]
)
def test_gradient_equals_bptt_where_time_has_no_effect(backbone, mode, threshold, timesteps, tau):
    settings = {
        "backbone": backbone,
        "step_mode": mode,
        "timesteps": timesteps,
        "tau": tau,
        "v_threshold": threshold,
    }
    x, y = image()
    rate, bptt = (
        gradient(net_of(spec(paradigm, **settings)), x, y) for paradigm in ("rate", "bptt")
    )
    assert float(bptt.norm()) > 1e-3
    assert relative(rate, bptt) < 1e-10


@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
@pytest.mark.parametrize("mode", ["m", "s"])
def test_gradient_points_the_way_of_bptt_with_a_leak(backbone, mode):
    x, y = image()
    rate, bptt = (
        gradient(net_of(spec(p, backbone=backbone, step_mode=mode, timesteps=6)), x, y)
        for p in ("rate", "bptt")
    )
    cosine = float(F.cosine_similarity(rate, bptt, dim=0))
    assert 0.2 < cosine < 0.99, "an approximation, neither the gradient itself nor nothing like it"


class _Plain(nn.Module):
    """Convolutions, poolings and a residual sum without batch norm."""

    def __init__(self, mode: str, tau: float) -> None:
        super().__init__()

        def lif() -> nn.Module:
            return neuron.LIFNode(
                tau=tau,
                decay_input=False,
                v_reset=None,
                detach_reset=True,
                surrogate_function=surrogate.Sigmoid(4.0),
                step_mode=mode,
            )

        self.conv1, self.lif1 = layer.Conv2d(1, 6, 3, padding=1, step_mode=mode), lif()
        self.pool = layer.AvgPool2d(2, step_mode=mode)
        self.conv2, self.lif2 = layer.Conv2d(6, 6, 3, padding=1, step_mode=mode), lif()
        self.flatten, self.linear = (
            layer.Flatten(step_mode=mode),
            layer.Linear(6 * 64, 10, step_mode=mode),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.lif1(4 * self.conv1(x)))
        return self.linear(self.flatten(self.lif2(3 * self.conv2(x) + x)))


def plain(mode: str, tau: float) -> SpikingNet:
    torch.manual_seed(0)
    net = SpikingNet(_Plain(mode, tau), spec(step_mode=mode, timesteps=6)).double()
    net.train()
    return net


@pytest.mark.parametrize("tau", [1.25, 2.0, 5.0])
def test_step_modes_agree_on_a_static_image_without_batch_norm(tau):
    x, y = image()
    one, other = (gradient(plain(mode, tau), x, y) for mode in "ms")
    assert float(one.norm()) > 1e-3
    assert relative(one, other) < 1e-10


@pytest.mark.parametrize(("timesteps", "tau"), [(1, 1.25), (6, NO_LEAK)])
def test_step_modes_agree_with_batch_norm_where_all_steps_are_equal(timesteps, tau):
    x, y = image()
    one, other = (
        gradient(net_of(spec(step_mode=mode, timesteps=timesteps, tau=tau)), x, y) for mode in "ms"
    )
    assert relative(one, other) < 1e-10


def test_step_modes_differ_with_batch_norm_and_a_leak():
    x, y = image()
    one, other = (gradient(net_of(spec(step_mode=mode, timesteps=6)), x, y) for mode in "ms")
    assert relative(one, other) > 1e-3


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
def test_logits_are_those_of_the_spiking_network(mode, backbone):
    x, _ = image()
    frames = torch.rand(3, 4, *SHAPE, dtype=torch.float64)
    for shown in (x, frames):
        one, other = (
            net_of(spec(p, backbone=backbone, step_mode=mode, timesteps=3))
            for p in ("rate", "bptt")
        )
        assert torch.equal(one(shown).detach(), other(shown).detach())
    net = net_of(spec(step_mode=mode, timesteps=3)).eval()
    assert torch.equal(net(x), net_of(spec("bptt", step_mode=mode, timesteps=3)).eval()(x)), (
        "in evaluation it only spikes"
    )


def test_events_in_single_step_mode_are_passed_with_the_last_frame():
    """Without neurons nothing hides which input the rate pass takes."""
    linear = layer.Linear(4, 10, bias=False, step_mode="s")
    net = SpikingNet(
        nn.Sequential(nn.Flatten(), linear),
        replace(spec(step_mode="s", timesteps=3), input_shape=(1, 2, 2)),
    ).double()
    x = torch.rand(3, 2, 1, 2, 2, dtype=torch.float64)
    net(x).mean(0).sum().backward()
    torch.testing.assert_close(linear.weight.grad, x[-1].flatten(1).sum(0).expand(10, 4))


# Batch norm


def by_autograd(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    """reference: values of μ and σ² given, gradient of the batch's own straight through."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    own_variance, own_mean = torch.var_mean(x, axes, correction=0)
    mean = mean + own_mean - own_mean.detach()
    variance = variance + own_variance - own_variance.detach()
    return (x - mean.view(shape)) / torch.sqrt(variance + eps).view(shape) * weight.view(
        shape
    ) + bias.view(shape)


@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 4),
    channels=st.integers(1, 3),
    side=st.integers(1, 3),
)
def test_norm_of_rates_equals_autograd(seed, samples, channels, side):
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    inputs = [numbers(samples, channels, side, side), numbers(channels), numbers(channels)]
    mean, variance = numbers(channels), numbers(channels) ** 2
    upstream = numbers(samples, channels, side, side)
    found: list[Tensor] = []
    expected: list[Tensor] = []
    functions: list[tuple[Any, list[Tensor]]] = [
        (_NormOfRates.apply, found),
        (by_autograd, expected),
    ]
    for function, into in functions:
        leaves = [value.clone().requires_grad_() for value in inputs]
        value = function(*leaves, mean, variance, 1e-5)
        into += [value.detach(), *torch.autograd.grad((value * upstream).sum(), leaves)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_norm_without_weights_in_a_network():
    norm = layer.BatchNorm2d(1, affine=False, step_mode="s")
    net = SpikingNet(
        nn.Sequential(norm, nn.Flatten(), nn.Linear(256, 10)), spec(step_mode="s", timesteps=2)
    ).double()
    x, y = image()
    net.zero_grad()
    F.cross_entropy(net(x).mean(0), y).backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("mode", "times"), [("m", 1), ("s", 6)])
def test_running_statistics_move_in_the_spike_pass_alone(mode, times):
    x, y = image()
    net, spiking = (
        net_of(spec(step_mode=mode, timesteps=6)),
        net_of(spec("bptt", step_mode=mode, timesteps=6)),
    )
    for one in (net, spiking):
        gradient(one, x, y)
    for (name, found), (_, expected) in zip(
        net.named_buffers(), spiking.named_buffers(), strict=True
    ):
        torch.testing.assert_close(
            found,
            expected,
            rtol=1e-12,
            atol=1e-15,
            msg=f"{name} differs from that of the spiking network",
        )
        if name.endswith("num_batches_tracked"):
            assert int(found) == times


def test_norm_takes_the_mean_of_its_steps_where_the_public_code_takes_the_last_one():
    """docs/method.md: in single-step mode the public code's "running" statistics are the last
    step's, with eps added twice.
    """
    norm = layer.BatchNorm2d(1, step_mode="s").double()
    steps = [
        torch.full((2, 1, 1, 1), base, dtype=torch.float64)
        + torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1) * base
        for base in (1.0, 3.0)
    ]
    passes = Passes(norm, 2)
    with passes.spikes(), torch.no_grad():
        for x in steps:
            norm(x)
    with passes.rates():
        found = norm.forward(steps[-1])
    mean, variance, eps = (1 + 3) / 2, (1 + 9) / 2, norm.eps
    torch.testing.assert_close(
        found.detach(), (steps[-1] - mean) / math.sqrt(variance + eps), rtol=1e-12, atol=0
    )
    public = (steps[-1] - 3) / math.sqrt((9 + eps) + eps)
    assert float((found.detach() - public).abs().max()) > 0.1


def test_frozen_norm_is_a_fixed_map_in_both_passes():
    x, y = image()
    nets = [net_of(spec(p, timesteps=6, tau=NO_LEAK)) for p in ("rate", "bptt")]
    for net in nets:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(0.1)  # type: ignore[union-attr]
                module.eval()
    one, other = (gradient(net, x, y) for net in nets)
    assert relative(one, other) < 1e-10
    assert all(
        int(value) == 0
        for name, value in nets[0].named_buffers()
        if name.endswith("num_batches_tracked")
    )


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_momentum_of_the_layer_is_honoured(momentum):
    found = []
    for watched in (True, False):
        norm = layer.BatchNorm1d(3, momentum=momentum, step_mode="m")
        for seed in range(3):
            x = torch.randn(4, 5, 3, 7, generator=torch.Generator().manual_seed(seed))
            passes = Passes(norm, 1)
            with torch.no_grad():
                if watched:
                    with passes.spikes():
                        norm(x)
                else:
                    norm(x)
        found.append(norm.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], msg=f"{name} differs")


# Memory


def saved_bytes(net: SpikingNet, x: Tensor) -> int:
    """Bytes of distinct storages kept for the backward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    net.reset()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = net(x)
    assert logits.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("mode", ["m", "s"])
def test_memory_for_the_backward_pass_does_not_grow_with_time(mode):
    x, _ = image(8)
    rate = [saved_bytes(net_of(spec(step_mode=mode, timesteps=t)), x) for t in (6, 10, 20)]
    bptt = [saved_bytes(net_of(spec("bptt", step_mode=mode, timesteps=t)), x) for t in (6, 20)]
    assert rate[0] == rate[1] == rate[2]
    assert bptt[1] > 2.5 * bptt[0]
    assert rate[0] < bptt[0] / 2


# The controller


@pytest.mark.parametrize("sensing", ["spikes", "surrogate"])
@pytest.mark.parametrize(("mode", "ticks"), [("m", 5), ("s", 3)])
def test_controller_takes_one_step_for_one_batch(mode, ticks, sensing):
    params = HomeostaticParams(rate_momentum=0.3)
    x, y = image()
    states = []
    for paradigm in ("rate", "bptt"):
        net = net_of(spec(paradigm, step_mode=mode, timesteps=3))
        with Ahsar(
            net.backbone, timesteps=3, params=params, units=net.units(), sensing=sensing
        ) as ahsar:
            assert ahsar.state.ticks == ticks
            for _ in range(3):
                gradient(net, x, y)
            states.append(ahsar.state)
    one, other = states
    assert one.steps == other.steps == 3
    assert one.state.tolist() == other.state.tolist(), "the same spikes move it alike"
    assert any(one.state)


def test_threshold_of_each_step_is_the_controllers():
    """A controller that moves thresholds between the steps of a batch: the gates follow (tested by
    neuron above), and so do the spikes.
    """
    x, y = image()
    net = net_of(spec(step_mode="s", timesteps=4))
    with Ahsar(net.backbone, timesteps=4, params=HomeostaticParams(beta=0.3)) as ahsar:
        gradient(net, x, y)
        gradient(net, x, y)
        assert len(set(ahsar.scales.values())) > 1
    assert set(read_thresholds(net.backbone).values()) == {1.0}


# What is refused


def refused(*modules: nn.Module, mode: str = "s") -> str:
    net = SpikingNet(nn.Sequential(*modules), spec(step_mode=mode, timesteps=2))
    with pytest.raises(ModelError) as found:
        net(torch.rand(1, 2, *SHAPE))
    assert all("forward" not in vars(module) for module in net.modules()), (
        "a refused network is left as it was"
    )
    return str(found.value)


def test_layers_without_a_rule_are_named():
    head = [nn.Flatten(), nn.Linear(256, 10)]
    assert "no rule for layer '2' (ParametricLIFNode), which is no LIFNode or IFNode" in refused(
        *head, neuron.ParametricLIFNode()
    )
    assert "no rule for layer '2' (LIFNode), which is no LIFNode or IFNode" in refused(
        *head, neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False))
    )
    assert "no rule for layer '2' (Dropout), which would drop other units" in refused(
        *head, layer.Dropout(0.5)
    )
    assert "no rule for layer '0' (SyncBatchNorm), which is no BatchNorm1d" in refused(
        nn.SyncBatchNorm(1), *head
    )


def test_layer_with_a_forward_of_its_own_is_named():
    lif = neuron.LIFNode()
    lif.forward = lambda x: x
    with pytest.raises(ModelError, match=r"layer '0' .*, which has a forward of its own"):
        Passes(nn.Sequential(lif), 1)
    assert "forward" in vars(lif), "it is not taken away"


@pytest.mark.parametrize("mode", ["m", "s"])
def test_one_value_per_channel_is_refused_as_bptt_refuses_it(mode):
    norm = layer.BatchNorm2d(2, step_mode=mode)
    before = norm.state_dict()["running_var"].clone()
    x = torch.rand(*([1] if mode == "m" else []), 1, 2, 1, 1)
    with (
        pytest.raises(ModelError, match="was given one value per channel"),
        Passes(norm, 1).spikes(),
        torch.no_grad(),
    ):
        norm(x)
    assert torch.equal(norm.running_var, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_gradient_of_the_slope_survives_means_far_from_zero(kind):
    """Sums in half precision, or of what cancels, would lose it: the mean is 30 standard
    deviations.
    """
    generator = torch.Generator().manual_seed(3)
    x = (30 + torch.randn(16, 2, 8, 8, dtype=torch.float64, generator=generator)).to(kind)
    dy = torch.randn(16, 2, 8, 8, dtype=torch.float64, generator=generator).to(kind)
    variance, mean = torch.var_mean(x.double(), [0, 2, 3], correction=0)
    found = []
    for exact in (False, True):
        values, upstream = (part.double() if exact else part for part in (x, dy))
        weight = torch.ones(2, dtype=torch.float64 if exact else torch.float32, requires_grad=True)
        scale = (mean, variance) if exact else (mean.float(), variance.float())
        y = _NormOfRates.apply(values, weight, None, *scale, 1e-5)
        found.append(torch.autograd.grad((y * upstream).sum(), weight)[0].double())
    torch.testing.assert_close(
        found[0], found[1], rtol=2e-3 if kind == torch.bfloat16 else 1e-5, atol=1e-3
    )


def test_layer_used_twice_is_named():
    class Twice(nn.Module):
        def __init__(self, mode: str) -> None:
            super().__init__()
            self.lif, self.flatten = neuron.LIFNode(step_mode=mode), layer.Flatten(step_mode=mode)
            self.linear = layer.Linear(256, 10, step_mode=mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.flatten(self.lif(self.lif(x))))

    with pytest.raises(
        ModelError,
        match=(
            r"layer 'lif' ran 2 times in 1 call of the network; .* for every use; train it with "
            r"bptt"
        ),
    ):
        SpikingNet(Twice("m"), spec(timesteps=2))(torch.rand(1, 2, *SHAPE))
    with pytest.raises(ModelError, match="layer 'lif' ran 4 times in 2 calls of the network"):
        SpikingNet(Twice("s"), spec(step_mode="s", timesteps=2))(torch.rand(1, 2, *SHAPE))


def test_dropout_that_drops_nothing_is_no_obstacle():
    net = SpikingNet(
        nn.Sequential(nn.Dropout(0.0), nn.Flatten(), nn.Linear(256, 10)),
        spec(step_mode="s", timesteps=2),
    )
    assert net(torch.rand(1, 2, *SHAPE)).requires_grad


def test_training_without_gradient_only_spikes():
    x, _ = image()
    net = net_of(spec(timesteps=2))
    with torch.no_grad():
        assert not net(x).requires_grad


def test_evaluation_is_differentiated_through_time():
    """Scores that need a gradient to the input (ODIN) see the spiking network, whatever it was
    trained with.
    """
    found = []
    for paradigm in ("rate", "bptt"):
        x = image()[0].requires_grad_()
        net_of(spec(paradigm, timesteps=3)).eval()(x).sum().backward()
        found.append(x.grad)
    assert found[0] is not None
    assert found[1] is not None
    assert torch.equal(found[0], found[1])
