"""The regulator on neurons: a divided current gives the spikes of a multiplied threshold, to the
bit; where it does not, the layer is refused by name; counts, and no trace of it afterwards.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.regulation import CHANNEL, LAYER, Regulation
from ahsar_eval.homeostasis.regulator import (
    Channels,
    Regulator,
    check_divisible,
    rates_of,
    set_points_from,
)
from ahsar_eval.networks.neurons import IntegrateAndFire, Integration

T, N, C = 9, 24, 5
POWERS = np.array([-2, -1, 0, 1, 2])
SHAPES = {"image": ((C, 4, 4), 0), "token": ((6, C), 1), "vector": ((C,), 0)}


def node(kind: str, *, threshold: float = 1.0, mode: str = "m", **how: Any) -> Any:
    made = getattr(neuron, kind)(v_threshold=threshold, **how)
    made.step_mode = mode
    return made.eval()


def currents(shape: tuple[int, ...], kind: torch.dtype = torch.float32) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn((T, N, *shape), generator=draw, dtype=kind) * 1.5 + 0.5


def run(layer: Any, x: Tensor) -> Tensor:
    """Spikes [T, N, …] from rest, in either step mode."""
    functional.reset_net(layer)
    with torch.no_grad():
        if layer.step_mode == "m":
            return layer(x)
        return torch.stack([layer(step).clone() for step in x])


def divided(layer: Any, x: Tensor, channels: Channels, factors: Any) -> Tensor:
    """Spikes where the regulator divides the current of each channel by its factor."""
    held = nn.Sequential(layer)
    with Regulator(held, {"0": channels}, CHANNEL) as regulator:
        regulator.write(Regulation(CHANNEL, {"0": np.log(factors)}))
        return run(layer, x)


def multiplied(make: Callable[[float], Any], x: Tensor, axis: int, factors: Any) -> Tensor:
    """Spikes where each channel runs through neurons of its own, at their threshold times its
    factor.
    """
    parts = x.split(1, dim=2 + axis)
    return torch.cat([run(make(f), part) for f, part in zip(factors, parts, strict=True)], 2 + axis)


EXACT = [
    ("IFNode", {}),
    ("LIFNode", {"decay_input": True}),
    ("LIFNode", {"decay_input": False, "tau": 1.25}),
    ("ParametricLIFNode", {"decay_input": True}),
    ("ParametricLIFNode", {"decay_input": False, "init_tau": 3.0}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("reset", [None, 0.0])
@pytest.mark.parametrize(("kind", "how"), EXACT)
def test_powers_of_two_are_exact(
    kind: str, how: dict[str, Any], reset: float | None, mode: str, static: bool, shape: str
) -> None:
    (of, axis), factors = SHAPES[shape], 2.0**POWERS
    x = currents(of)
    if static:
        x = x[:1].expand(T, *x.shape[1:])

    def make(factor: float) -> Any:
        return node(kind, threshold=0.7 * factor, mode=mode, v_reset=reset, **how)

    found = divided(make(1.0), x, Channels(of, axis), factors)
    expected = multiplied(make, x, axis, factors)
    assert torch.equal(found, expected)
    moved = (found != run(make(1.0), x)).movedim(2 + axis, 0).flatten(1).any(1)
    assert moved.tolist() == (factors != 1).tolist()


@pytest.mark.parametrize("reset", [None, 0.0])
@pytest.mark.parametrize(("kind", "how"), EXACT)
def test_any_factor_gives_the_spikes_of_its_threshold(
    kind: str, how: dict[str, Any], reset: float | None
) -> None:
    """In double precision no potential of these lies on its threshold."""
    x, factors = currents((C, 4, 4), torch.float64), np.exp([-1.2, -0.3, 0.01, 0.7, 1.1])

    def make(factor: float) -> Any:
        return node(kind, threshold=0.7 * factor, v_reset=reset, **how).double()

    found = divided(make(1.0), x, Channels((C, 4, 4)), factors)
    assert torch.equal(found, multiplied(make, x, 0, factors))


def test_a_static_current_is_divided_once() -> None:
    """It stays one step that is shown T times, as the counters of operations know it."""
    layer, seen = node("IFNode"), []
    x = currents((C,))[:1].expand(T, N, C)
    with Regulator(nn.Sequential(layer), {"0": Channels((C,))}, CHANNEL) as regulator:
        regulator.write(Regulation(CHANNEL, {"0": np.log(2.0**POWERS)}))
        handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        run(layer, x)
        handle.remove()
    assert seen[0].stride(0) == 0
    assert torch.equal(seen[0], x / torch.from_numpy(2.0**POWERS).float())


def test_a_factor_of_one_leaves_the_very_tensor() -> None:
    layer, seen = node("IFNode"), []
    x = currents((C,))
    with Regulator(nn.Sequential(layer), {"0": Channels((C,))}, CHANNEL) as regulator:
        regulator.write(Regulation(CHANNEL, {"0": np.zeros(C)}))
        handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        run(layer, x)
        handle.remove()
    assert seen[0] is x


# which neurons are covered


class Adaptive(neuron.AdaptBaseNode):  # type: ignore[misc, unused-ignore]
    """Leaky neurons whose adaptation current grows by b at each spike."""

    def single_step_functional_forward(self, inputs: Any, states: Any, **_: Any) -> Any:
        (x,), (v, w) = inputs, states
        v = v + (x - v - w) / 2
        spike = (v >= self.v_threshold).to(x)
        return (spike,), (v * (1 - spike), 0.5 * w + self.b * spike)


class Own(nn.Module):
    """Neurons of nobody's framework, their potential in an attribute, their threshold given."""

    v: Tensor

    def __init__(self, threshold: Any, rest: float = 0.0) -> None:
        super().__init__()
        self.v_threshold, self.rest = threshold, rest
        self.reset()

    def reset(self) -> None:
        self.v = torch.tensor(self.rest)

    def forward(self, x: Tensor) -> Tensor:
        v = self.rest + 0.5 * (self.v - self.rest) + x
        spikes = (v >= self.v_threshold).float()
        self.v = torch.where(spikes > 0, self.rest, v)
        return spikes


YES, NO_RESET, NO_EQUATION = "", r"it resets to -?[0-9.]+", "its equation"
NO_THRESHOLD, NOT_TRIED = "has no v_threshold", "cannot be tried at another threshold"
TABLE = neuron.FewSpikeTable([1.0] * 3, [1.0] * 3, [1.0] * 3)
# Every class of the module → what is said of it as it is made there, with a reset to 0 and by
# subtraction where it has the choice.
JUDGED: dict[str, tuple[Callable[..., Any], str]] = {
    # v ← a·v + b·x, perhaps through a rectifier, by one threshold or ± the same
    "IFNode": (neuron.IFNode, YES),
    "LIFNode": (neuron.LIFNode, YES),
    "ParametricLIFNode": (neuron.ParametricLIFNode, YES),
    "KLIFNode": (neuron.KLIFNode, YES),
    "CUBALIFNode": (neuron.CUBALIFNode, YES),
    "SimpleIFNode": (neuron.SimpleIFNode, YES),
    "OTTTLIFNode": (neuron.OTTTLIFNode, YES),
    "SLTTLIFNode": (neuron.SLTTLIFNode, YES),
    "RAFNode": (neuron.RAFNode, YES),
    "TernaryIFNode": (neuron.TernaryIFNode, YES),
    "TernaryLIFNode": (neuron.TernaryLIFNode, YES),
    "ActivationAwareIFNode": (neuron.ActivationAwareIFNode, YES),
    "SimpleLIFNode": (lambda **how: neuron.SimpleLIFNode(2.0, True, v_reset=0.0), YES),
    "ILIFNode": (lambda **how: neuron.ILIFNode(), YES),
    # at rest its norm of potentials only scales them
    "MPBNLIFNode": (lambda **how: neuron.MPBNLIFNode(out_features=C, **how), YES),
    # squares and exponentials of potentials
    "QIFNode": (neuron.QIFNode, NO_EQUATION),
    "EIFNode": (neuron.EIFNode, NO_EQUATION),
    "IzhikevichNode": (neuron.IzhikevichNode, NO_EQUATION),
    # a sigmoid of potentials; a constant leak; a start at half the threshold; quantised
    # potentials; a graded output
    "ComplementaryLIFNode": (lambda **how: neuron.ComplementaryLIFNode(), NO_EQUATION),
    "GatedLIFNode": (lambda **how: neuron.GatedLIFNode(T=12), NO_EQUATION),
    "HalfThresholdIFNode": (lambda **how: neuron.HalfThresholdIFNode(), NO_EQUATION),
    "DSRIFNode": (lambda **how: neuron.DSRIFNode(), NO_EQUATION),
    "DSRLIFNode": (lambda **how: neuron.DSRLIFNode(), NO_EQUATION),
    "LIAFNode": (lambda **how: neuron.LIAFNode(torch.relu, False, **how), NO_EQUATION),
    # no threshold that could be another
    "PSN": (lambda **how: neuron.PSN(T), NO_THRESHOLD),
    "MaskedPSN": (lambda **how: neuron.MaskedPSN(2, T), NO_THRESHOLD),
    "SlidingPSN": (lambda **how: neuron.SlidingPSN(2), NO_THRESHOLD),
    "STBIFNode": (lambda **how: neuron.STBIFNode(1.0, 4), NO_THRESHOLD),
    "NonSpikingIFNode": (lambda **how: neuron.NonSpikingIFNode(), NO_THRESHOLD),
    "NonSpikingLIFNode": (lambda **how: neuron.NonSpikingLIFNode(), NO_THRESHOLD),
    "NonSpikingBaseNode": (lambda **how: neuron.NonSpikingBaseNode(), NO_THRESHOLD),
    "FewSpikeNode": (lambda **how: neuron.FewSpikeNode(TABLE), NO_THRESHOLD),
    "HGNode": (lambda **how: neuron.HGNode([TABLE] * 2, [0.5]), NO_THRESHOLD),
    "OutlierAwareThresholdNode": (
        lambda **how: neuron.OutlierAwareThresholdNode(TABLE, TABLE, 1.0),
        NO_THRESHOLD,
    ),
    "FlexSN": (lambda **how: neuron.FlexSN(lambda x, v: (x, v), 1), NO_THRESHOLD),
}
# Bases of others, and those of reinforcement learning, which take inputs of other axes.
NOT_JUDGED = {
    *("BaseNode", "SimpleBaseNode", "AdaptBaseNode", "MPBNBaseNode", "FewSpikeTable"),
    *("ILCBaseNode", "ILCIFNode", "ILCLIFNode", "ILCCUBALIFNode"),
    *("NoisyBaseNode", "NoisyCUBALIFNode", "NoisyILCBaseNode", "NoisyILCCUBALIFNode"),
    *("NoisyNonSpikingBaseNode", "NoisyNonSpikingIFNode"),
}


def test_every_neuron_of_spikingjelly_is_judged() -> None:
    kinds = {name for name, kind in vars(neuron).items() if inspect.isclass(kind)}
    assert kinds == {*JUDGED, *NOT_JUDGED}


def judged(layer: nn.Module, said: str, shape: tuple[int, ...] = (C,)) -> None:
    if not said:
        return check_divisible("block.3", layer, shape)
    named = rf"layer 'block\.3' \({type(layer).__name__}\)"
    with pytest.raises(HomeostasisError, match=named) as refused:
        check_divisible("block.3", layer, shape)
    assert refused.match(said)
    assert "--adapt channel" in str(refused.value)
    return None


@pytest.mark.parametrize("name", JUDGED)
def test_neurons_are_covered_or_refused_by_name(name: str) -> None:
    make, said = JUDGED[name]
    shape = (C, 2, 2) if name == "GatedLIFNode" else (C,)
    takes_reset = inspect.isclass(make) or name == "MPBNLIFNode"
    for reset in (0.0, None) if takes_reset else (0.0,):
        layer = make(v_reset=reset) if takes_reset else make()
        judged(layer, said, shape)
    if takes_reset:  # a reset to anything else is that of none, however small
        for reset in (-0.1, -0.001):
            judged(make(v_reset=reset), NO_RESET)


@pytest.mark.parametrize("name", [name for name, (_, said) in JUDGED.items() if not said])
def test_what_is_covered_has_the_spikes_of_its_threshold(name: str) -> None:
    """Beside neurons that were made at other thresholds, at factors of 2 and for each channel."""
    make, x, factors = JUDGED[name][0], currents((C,)), 2.0**POWERS

    def at(factor: float) -> Any:
        layer = make().eval()
        if isinstance(layer.v_threshold, Tensor):
            layer.v_threshold = layer.v_threshold * factor
        else:
            layer.v_threshold *= factor
        return layer

    def one(factor: float) -> Tensor:
        return run(at(factor), x)

    found = divided(make().eval(), x, Channels((C,)), factors)
    expected = torch.stack([one(f)[..., i] for i, f in enumerate(factors)], -1)
    assert torch.equal(found, expected)
    assert found.any()


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: Adaptive(v_reset=0.0, b=0.0), YES),
        (lambda: Adaptive(v_reset=0.0, b=0.5), NO_EQUATION),
        (lambda: Adaptive(v_reset=0.0, b=0.001), NO_EQUATION),
        (lambda: neuron.ActivationAwareIFNode(v_offset=0.1), NO_EQUATION),
        (lambda: neuron.ActivationAwareIFNode(torch.rand(C) + 0.1), YES),
        (lambda: neuron.LIFNode(v_threshold=0.0), YES),
        (lambda: neuron.LIFNode(v_threshold=1e-4, v_reset=1e-5), NO_RESET),
    ],
)
def test_neurons_with_something_of_their_own(layer: Any, said: str, mode: str) -> None:
    made = layer()
    made.step_mode = mode
    judged(made, said)


def unlike(value: float) -> Tensor:
    """Of one channel."""
    return torch.tensor([0.0] * (C - 1) + [value])


@pytest.mark.parametrize("decay", [None, 0.5])
@pytest.mark.parametrize("threshold", [1.0, torch.linspace(0.2, 1, C)])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_nodes_of_nir_are_covered(
    decay: float | None, threshold: Any, late: bool, several: bool
) -> None:
    charge = Integration(0.5, decay)
    for synapse in (None, Integration(1.0, 0.1)):
        node = IntegrateAndFire(charge, threshold, several=several, late=late, synapse=synapse)
        judged(node, YES)
    judged(IntegrateAndFire(charge, threshold, 0.0), YES)
    judged(IntegrateAndFire(charge, threshold, unlike(0.0)), YES)


@pytest.mark.parametrize("size", [0.3, 0.01, 0.001])
def test_nodes_of_nir_that_do_not_divide_are_refused(size: float) -> None:
    plain = Integration(1.0, 0.5)
    for layer in (
        IntegrateAndFire(Integration(1.0, 0.5, size), 1.0),
        IntegrateAndFire(Integration(1.0, 0.5, unlike(size)), 1.0),
        IntegrateAndFire(plain, 1.0, synapse=Integration(1.0, 0.5, size)),
        IntegrateAndFire(plain, 1.0, size),
        IntegrateAndFire(plain, 1.0, unlike(-size)),
        IntegrateAndFire(plain, 1.0, v_min=-size),
    ):
        judged(layer, NO_EQUATION)


def test_learnt_thresholds_are_covered() -> None:
    """They are divided by, not written."""
    own = Own(nn.Parameter(torch.rand(C) + 0.2))
    before = own.v_threshold.detach().clone()
    judged(own, YES)
    assert torch.equal(own.v_threshold, before)
    assert own.v_threshold.requires_grad
    # exp(a) is its threshold, and v_threshold none
    judged(neuron.MPBNLIFNode(out_features=C, learnable_vth=True), NO_EQUATION)


def test_neurons_of_nobodys_framework_are_tried_too() -> None:
    judged(Own(0.5), YES)
    judged(Own(torch.rand(C)), YES)
    judged(Own(1), YES)
    judged(Own(0.5, rest=0.01), NO_EQUATION)
    held: Any = nn.Sequential(nn.Linear(C, C), Own(0.5))
    held.v_threshold = 0.5
    judged(held, NO_EQUATION)  # not the one that fires: its threshold changes nothing


def test_half_precision_is_tried_in_single() -> None:
    """Halving is not exact where halves are smallest."""
    judged(neuron.ParametricLIFNode().half(), YES)
    judged(neuron.ParametricLIFNode().bfloat16(), YES)


def test_a_trial_changes_nothing() -> None:
    layer = neuron.ParametricLIFNode(step_mode="m").train()
    calls: list[int] = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    run(layer, currents((C,)))
    before, v = len(calls), layer.v.clone()
    check_divisible("a", layer, (C,))
    assert len(calls) == before
    assert torch.equal(layer.v, v)
    assert layer.training
    assert (layer.v_threshold, layer.w.requires_grad) == (1.0, True)


# counting


class Fires(nn.Module):
    """Gives what it is told to, as neurons do."""

    v_threshold = 1.0

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.step_mode = mode

    def forward(self, x: Tensor) -> Any:
        return (x, "state") if self.step_mode == "s" else x


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("shape", SHAPES)
def test_spikes_of_each_sample_and_channel_are_counted(shape: str, mode: str) -> None:
    of, axis = SHAPES[shape]
    spikes = (currents(of) > 0.5).float()
    net = nn.Sequential(Fires(mode))
    with Regulator(net, {"0": Channels(of, axis)}, "none") as regulator:
        regulator.senses = True
        for x in [spikes] if mode == "m" else spikes:
            net(x)
        counts, places = regulator.taken(2)["0"]
        assert regulator.taken() == {}
    dims = tuple(i for i in range(spikes.dim()) if i not in (1, 2 + axis))
    assert np.array_equal(counts, spikes.sum(dims)[:2].numpy())
    assert (counts.dtype, places) == (np.float64, T * math.prod(of) // C)


def test_samples_may_come_before_time() -> None:
    spikes = (currents((C,)) > 0.5).float().transpose(0, 1)
    net = nn.Sequential(Fires("m"))
    channels = Channels((C,), 0, batch_first=True)
    with Regulator(net, {"0": channels}, "none", samples=lambda *_: N) as regulator:
        regulator.senses = True
        net(spikes.contiguous())
        counts, places = regulator.taken()["0"]
    assert np.array_equal(counts, spikes.sum(1).numpy())
    assert places == T


def test_rates_and_set_points_of_batches_of_unlike_size() -> None:
    layers = {"a": Channels((2, 5))}
    batches = [
        {"a": (np.array([[1.0, 5.0], [3.0, 3.0]]), 10)},
        {"a": (np.array([[2.0, 4.0]]), 10)},
    ]
    assert rates_of(batches)["a"] == pytest.approx([0.2, 0.4])
    point = set_points_from(batches, layers)["a"]
    assert point.rates == pytest.approx([0.2, 0.4])
    assert point.spread == pytest.approx(np.array([0.2, 0.2]) / math.sqrt(6))
    assert (point.shape, point.axis) == ((2, 5), 0)


# thresholds of layers, and what is left behind


def two_layers() -> Any:
    torch.manual_seed(0)
    fires = node("IFNode"), node("LIFNode", threshold=0.1)
    return nn.Sequential(nn.Linear(C, C), fires[0], nn.Linear(C, C), fires[1])


LAYERS = {"1": Channels((C,)), "3": Channels((C,))}


def test_a_layers_threshold_is_its_own_times_the_factor() -> None:
    net = two_layers()
    with Regulator(net, LAYERS, LAYER) as regulator:
        for c in (0.5, -0.2):
            regulator.write(Regulation(LAYER, {"1": np.array([c]), "3": np.array([0.0])}))
            assert net[1].v_threshold == pytest.approx(math.exp(c))
            assert net[3].v_threshold == 0.1
    assert (net[1].v_threshold, net[3].v_threshold) == (1.0, 0.1)


@pytest.mark.parametrize("mode", ["none", LAYER, CHANNEL])
def test_nothing_is_left_behind_even_after_an_error(mode: str) -> None:
    net, x = two_layers(), currents((C,))
    expected, own = net(x), [net[1].v_threshold, net[3].v_threshold]
    functional.reset_net(net)
    keys = [set(vars(module)) for module in net.modules()]
    state = {"1": np.full(1 if mode == LAYER else C, 0.4)}
    others = []

    def adapts() -> None:
        with Regulator(net, LAYERS, mode) as regulator:
            if mode != "none":
                regulator.write(Regulation(mode, state))
            regulator.senses = True
            others.append(net(x))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapts()
    assert torch.equal(others[0], expected) == (mode == "none")
    functional.reset_net(net)
    assert torch.equal(net(x), expected)
    assert [net[1].v_threshold, net[3].v_threshold] == own
    assert [set(vars(module)) for module in net.modules()] == keys
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._forward_hooks_with_kwargs
        assert not module._forward_pre_hooks_with_kwargs


def test_a_layer_that_is_not_covered_leaves_no_hook_on_those_before_it() -> None:
    net = nn.Sequential(node("IFNode"), neuron.QIFNode())
    layers = {"0": Channels((C,)), "1": Channels((C,))}
    with pytest.raises(HomeostasisError, match=r"layer '1' \(QIFNode\)"):
        Regulator(net, layers, CHANNEL)
    assert not net[0]._forward_hooks
    assert not net[0]._forward_pre_hooks


def test_a_learnt_threshold_is_not_written() -> None:
    net = nn.Sequential(Own(nn.Parameter(torch.tensor(0.5))))
    with pytest.raises(HomeostasisError, match="threshold of layer '0' is a parameter"):
        Regulator(net, {"0": Channels((C,))}, LAYER)


@pytest.mark.parametrize(
    ("mode", "state"),
    [(CHANNEL, {"9": np.zeros(C)}), (CHANNEL, {"1": np.zeros(2)}), (LAYER, {"1": np.zeros(2)})],
)
def test_the_state_of_another_network_is_refused(mode: str, state: dict[str, Any]) -> None:
    with (
        Regulator(two_layers(), LAYERS, mode) as regulator,
        pytest.raises(HomeostasisError, match="is it another network's"),
    ):
        regulator.write(Regulation(mode, state))


def test_a_call_by_keywords_alone_is_refused() -> None:
    net = nn.Sequential(node("IFNode"))
    with Regulator(net, {"0": Channels((C,))}, CHANNEL) as regulator:
        regulator.write(Regulation(CHANNEL, {"0": np.ones(C)}))
        with pytest.raises(HomeostasisError, match="'0' is called with keyword arguments alone"):
            net[0](x=currents((C,)))


def test_an_own_surrogate_is_left_alone() -> None:
    """The division takes part in the gradient, as the network's own operations do."""
    layer = neuron.LIFNode(surrogate_function=surrogate.ATan(), step_mode="m")
    x = currents((C,)).requires_grad_()
    held = nn.Sequential(layer)
    with Regulator(held, {"0": Channels((C,))}, CHANNEL) as regulator:
        regulator.write(Regulation(CHANNEL, {"0": np.log(2.0**POWERS)}))
        held(x).sum().backward()
    found = x.grad
    functional.reset_net(held)
    y = (x.detach() / torch.from_numpy(2.0**POWERS).float()).requires_grad_()
    held(y).sum().backward()
    assert found is not None
    assert y.grad is not None
    assert torch.allclose(found, y.grad / torch.from_numpy(2.0**POWERS).float())
