"""The controller in every way a network may run its time steps: in each, what is an optimisation
step, what a tick, and that thresholds, rates and states are those of the plain Python loop.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import Loop, Watch
from foreign_nets import Does
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ahsar_eval.errors import AhsarWarning, HomeostasisError
from ahsar_eval.homeostasis import (
    Ahsar,
    HomeostaticParams,
    named_neurons,
    read_thresholds,
)

T, N, D = 4, 5, 12
PARAMS = HomeostaticParams(beta=0.1, gamma=0.2, diffusion=0.1, rate_momentum=0.5)


def lif(threshold: float = 0.5) -> nn.Module:
    return neuron.LIFNode(2.0, True, threshold, None, surrogate.Sigmoid(4.0))


def stack(mode: str = "s") -> nn.Sequential:
    """Three spiking layers behind linear ones."""
    torch.manual_seed(0)
    net = nn.Sequential()
    for threshold in (0.5, 0.8, 0.2):
        net.append(layer.Linear(D, D))
        net.append(lif(threshold))
    for weight in net.parameters():
        weight.data *= 2
    functional.set_step_mode(net, mode)
    return net


def frames(step: int) -> Tensor:
    """[T, N, D], others at every optimisation step."""
    return torch.rand(T, N, D, generator=torch.Generator().manual_seed(100 + step)) * 3


def over_time(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net(step) for step in x])


class Encoded(nn.Module):
    """An encoder that runs once, on the first frame, and a loop over the rest."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.net = encoder, stack()
        torch.manual_seed(2)
        for weight in encoder.parameters():
            weight.data = torch.randn(weight.shape) / 3

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x[0])
        return torch.stack([self.net(seen) for _ in x])


class Batches(nn.Sequential):
    """Linear layers over time, neurons in containers: the net of `stack`, multi-step."""

    def __init__(self, contain: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__(*(contain(m) if hasattr(m, "v_threshold") else m for m in stack()))


def recurrent(node: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    contained = layer.LinearRecurrentContainer(node, D, D, step_mode="m")
    contained.rc.weight.data *= 4
    return contained


def added(node: nn.Module) -> nn.Module:
    return layer.ElementWiseRecurrentContainer(node, torch.add, step_mode="m")


def mixture() -> nn.Sequential:
    """A multi-step layer, one in a container, one in single-step mode that runs in a loop."""
    net = stack()
    functional.set_step_mode(net[:2], "m")
    net[3] = layer.MultiStepContainer(net[3])
    last = Does(net[5], over_time)
    net[5] = last
    return net


def once(net: Any, x: Tensor) -> Any:
    return net(x)


# network, the call that makes an optimisation step, timesteps, what it is found to be
WAYS: dict[str, tuple[Callable[[], nn.Module], Any, int | None, tuple[str, int]]] = {
    "multi-step": (lambda: stack("m"), once, None, ("m", 3)),
    "multi-step, T given": (lambda: stack("m"), once, T, ("m", 3)),
    "single-step, T calls": (stack, over_time, T, ("s", T)),
    "a loop in forward": (lambda: Does(stack(), over_time), once, T, ("s", T)),
    "a loop in forward, T found": (lambda: Does(stack(), over_time), once, None, ("s", T)),
    "a loop over one image": (
        lambda: Does(stack(), lambda n, x: torch.stack([n(x[0]) for _ in range(T)])),
        *(once, T, ("s", T)),
    ),
    "an image repeated for multi-step layers": (
        lambda: Does(stack("m"), lambda n, x: n(x[0].expand(T, N, D)).mean(0)),
        *(once, None, ("m", 3)),
    ),
    "an encoder before the loop": (lambda: Encoded(nn.Linear(D, D)), once, T, ("s", T)),
    "containers": (lambda: Batches(layer.MultiStepContainer), once, None, ("m", 3)),
    "containers, T given": (lambda: Batches(layer.MultiStepContainer), once, T, ("m", 3)),
    "recurrent containers": (lambda: Batches(recurrent), once, None, ("m", 3)),
    "elementwise recurrent containers": (lambda: Batches(added), once, T, ("m", 3)),
    "one container for all": (
        lambda: layer.MultiStepContainer(*stack()),
        *(once, T, ("s", T)),
    ),
    "a mixture of step modes": (mixture, once, None, ("m", 3)),
    "a mixture, T given": (mixture, once, T, ("m", 3)),
}


def same(one: Ahsar, other: Ahsar) -> bool:
    """All but the names of layers."""
    kept = ("state", "smoothed_rate", "ema_scale", "gain", "step_mode", "ticks", "steps")
    first, second = one.state_dict(), other.state_dict()
    return all(json.dumps(first[name]) == json.dumps(second[name]) for name in kept)


@pytest.mark.parametrize("way", WAYS)
def test_steps_ticks_thresholds_and_rates_are_those_of_the_plain_loop(way):
    make, call, timesteps, structure = WAYS[way]
    net = make()
    ahsar = Ahsar(net, timesteps=timesteps, params=PARAMS)
    loop, moved = Loop(3, PARAMS, structure[1], structure[0]), set()
    for step in range(5):
        watch = Watch(net)
        functional.reset_net(net)
        call(net, frames(step))
        assert ahsar.state.steps == step + 1
        factors = loop.planned()
        for unit, (name, base) in enumerate(ahsar.state.base_thresholds.items()):
            seen = watch.thresholds[name]
            planned = [base * row[unit] for row in factors]
            wanted = planned if structure[0] == "s" else planned * len(seen)
            assert seen == pytest.approx(wanted, rel=1e-12), f"step {step}, layer {name}"
            moved.update(seen)
        loop.sensed([watch.rate(name) for name in ahsar.layers], factors)
        assert ahsar.state.smoothed_rate == pytest.approx(loop.smoothed, rel=1e-12)
        assert ahsar.state.state == pytest.approx(loop.c, abs=1e-12)
        assert ahsar.state.ema_scale == pytest.approx(loop.ema, rel=1e-12)
    assert (ahsar.state.step_mode, ahsar.state.ticks) == structure
    assert len(moved) > 8, "the thresholds did move"
    assert min((ahsar.rates or {}).values()) > 0
    net.eval()
    watch = Watch(net)
    functional.reset_net(net)
    call(net, frames(9))
    for unit, (name, base) in enumerate(ahsar.state.base_thresholds.items()):
        assert set(watch.thresholds[name]) == {base * ahsar.state.ema_scale[unit]}
    ahsar.detach()
    assert list(read_thresholds(net).values()) == [0.5, 0.8, 0.2]


@pytest.mark.parametrize("sensing", ["spikes", "surrogate"])
@pytest.mark.parametrize("given", [T, None])
def test_a_loop_inside_is_the_loop_outside_to_the_bit(sensing, given):
    outside, inside = stack(), Does(stack(), over_time)
    one = Ahsar(outside, timesteps=T, params=PARAMS, sensing=sensing)
    other = Ahsar(inside, timesteps=given, params=PARAMS, sensing=sensing)
    for step in range(5):
        functional.reset_net(outside)
        functional.reset_net(inside)
        first, second = over_time(outside, frames(step)), inside(frames(step))
        assert torch.equal(first, second), f"spikes of step {step}"
        first.sum().backward()  # type: ignore[no-untyped-call]
        second.sum().backward()
        if given is None and sensing == "surrogate":  # the current is divided in another order
            assert other.state.smoothed_rate == pytest.approx(one.state.smoothed_rate, rel=1e-6)
            break
        assert same(one, other), f"step {step}"
    for a, b in zip(outside.parameters(), inside.parameters(), strict=True):
        assert a.grad is not None
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("way", WAYS)
def test_surrogate_sensing_is_the_sigmoid_at_the_mean_current(way):
    make, call, timesteps, _ = WAYS[way]
    net = make()
    ahsar = Ahsar(net, timesteps=timesteps, params=PARAMS, sensing="surrogate")
    for step in range(2):
        before, watch = ahsar.state.smoothed_rate, Watch(net)
        functional.reset_net(net)
        call(net, frames(step))
        for unit, name in enumerate(ahsar.layers):
            calls = watch.currents[name]
            current = (calls[0] if len(calls) == 1 else torch.stack(calls)).double().mean(0)
            theta = float(np.mean(watch.thresholds[name]))
            rate = float(torch.sigmoid(4.0 * (current - theta)).mean())
            wanted = rate if before is None else 0.5 * before[unit] + 0.5 * rate
            assert ahsar.state.smoothed_rate is not None
            assert ahsar.state.smoothed_rate[unit] == pytest.approx(wanted, rel=1e-6), name


def test_an_encoder_that_spikes_once_is_written_with_the_first_time_step():
    net = Encoded(nn.Sequential(nn.Linear(D, D), lif(0.3)))
    ahsar = Ahsar(net, timesteps=T, params=PARAMS)
    loop = Loop(4, PARAMS, T, "s")
    for step in range(3):
        watch = Watch(net)
        functional.reset_net(net)
        net(frames(step))
        factors = loop.planned()
        assert watch.thresholds["encoder.1"] == pytest.approx([0.3 * factors[0][0]], rel=1e-12)
        assert watch.thresholds["net.5"] == pytest.approx(
            [0.2 * row[3] for row in factors], rel=1e-12
        )
        loop.sensed([watch.rate(name) for name in ahsar.layers], factors)
    assert (ahsar.state.step_mode, ahsar.state.ticks, ahsar.state.steps) == ("s", T, 3)


def test_a_layer_shared_by_two_places_of_a_step_does_not_end_it():
    node = lif()
    net = nn.Sequential(nn.Linear(D, D), node, nn.Linear(D, D), lif(), nn.Linear(D, D), node)
    ahsar = Ahsar(net, timesteps=2, params=PARAMS)
    for step in range(2):
        functional.reset_net(net)
        over_time(net, frames(step)[:2])
        assert ahsar.state.steps == step + 1


class Integrates(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """A neuron whose threshold may be a tensor."""

    v: Any

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x


@pytest.mark.parametrize("infinite", [float("inf"), torch.full((3,), float("inf"))])
def test_a_read_out_is_left_alone(infinite):
    net = nn.Sequential(*stack(), layer.Linear(D, 3), Integrates(infinite, None))
    functional.set_step_mode(net, "m")
    with Ahsar(net, params=PARAMS) as ahsar:
        net(frames(0))
        assert ahsar.layers == ("1", "3", "5")
        assert net[7].v_threshold is infinite


# What contradicts


@pytest.mark.parametrize(
    ("make", "call", "timesteps", "text"),
    [
        (stack, over_time, None, "timesteps is None; in single-step mode the controller needs T"),
        (
            lambda: Does(stack(), lambda n, x: over_time(n, x[:3])),
            *(once, T, r"layer 'net.1' ran 3 time steps in one call .* timesteps is 4; give the"),
        ),
        (
            lambda: Batches(layer.MultiStepContainer),
            *(once, 3, r"ran 4 time steps in one call of the network, and timesteps is 3"),
        ),
        (
            lambda: stack("m"),
            lambda net, x: [net(step[None]) for step in x],
            *(T, r"ran 1 time steps in one call of the network, and timesteps is 4"),
        ),
        (
            lambda: Encoded(lif()),
            lambda net, x: net(x[:3]),
            *(T, r"ran 3 time steps in one call of the network, and timesteps is 4"),
        ),
        # A neuron that takes time for samples.
        (
            lambda: nn.Sequential(*list(stack("m"))[:5], lif()),
            *(once, T, r"layer '1' ran 4 time steps and '5' 1; what a time step is cannot be told"),
        ),
        (
            lambda: Does(
                nn.ModuleList([lif(), lif()]), lambda n, x: (n[0](x[0]), over_time(n[1], x))
            ),
            *(once, T, r"ran 4 time steps and 'net.0' 1; what a time step is cannot be told"),
        ),
    ],
)
def test_what_ran_against_what_was_said_is_one_sentence_and_leaves_no_step(
    make, call, timesteps, text
):
    net = make()
    for one in named_neurons(net).values():
        one.v_threshold = 0.5  # type: ignore[assignment]
    ahsar = Ahsar(net, timesteps=timesteps, params=PARAMS)
    for _ in range(2):
        functional.reset_net(net)
        with pytest.raises(HomeostasisError, match=text):
            call(net, frames(0))
    assert ahsar.state.steps == 0
    ahsar.detach()
    assert set(read_thresholds(net).values()) == {0.5}


@pytest.mark.parametrize("timesteps", [0, -1])
def test_timesteps_below_one_are_refused(timesteps):
    with pytest.raises(HomeostasisError, match=f"timesteps is {timesteps}; expected T"):
        Ahsar(stack(), timesteps=timesteps)


@pytest.mark.filterwarnings("ignore:the network was not reset")
@pytest.mark.parametrize("steps", [3, 5])
def test_a_loop_of_other_length_than_timesteps_is_found_by_the_reset(steps):
    """Four batches of three calls are twelve: no remainder at the end of an epoch tells."""
    net = stack()
    Ahsar(net, timesteps=T, params=PARAMS)
    x = torch.rand(steps, N, D)
    over_time(net, x)
    functional.reset_net(net)
    with pytest.raises(
        HomeostasisError, match=f"the network was reset after {steps % T} of 4 time steps"
    ):
        over_time(net, x)


@pytest.mark.parametrize(
    ("mode", "timesteps", "call"),
    [("s", 1, over_time), ("s", 2, over_time), ("m", None, lambda n, x: [n(s[None]) for s in x])],
)
def test_calls_that_go_on_from_the_step_before_are_said_once(mode, timesteps, call):
    net = stack(mode)
    Ahsar(net, timesteps=timesteps, params=PARAMS)
    with pytest.warns(AhsarWarning, match=rf"not reset .* \(it is {timesteps}\)") as warned:
        call(net, frames(0))
    assert len(warned) == 1


def test_a_network_that_resets_itself_in_its_forward_is_no_matter(recwarn):
    def fresh(inner: Any, x: Tensor) -> Tensor:
        functional.reset_net(inner)
        return over_time(inner, x)

    net = Does(stack(), fresh)
    ahsar = Ahsar(net, timesteps=T, params=PARAMS)
    for step in range(3):
        net(frames(step))
    assert ahsar.state.steps == 3
    assert not recwarn


def test_a_loop_that_ends_early_later_on_is_refused():
    net = Does(stack(), over_time)
    ahsar = Ahsar(net, params=PARAMS)
    net(frames(0))
    functional.reset_net(net)
    with pytest.raises(
        HomeostasisError,
        match=r"ran 3 time steps one by one, and calls before it ran 4 time steps one by one",
    ):
        net(frames(1)[:3])
    assert ahsar.state.steps == 1


def test_multi_step_networks_may_see_another_number_of_steps_in_each_batch():
    net = stack("m")
    ahsar = Ahsar(net, params=PARAMS)
    for steps in (4, 2):
        functional.reset_net(net)
        net(frames(0)[:steps])
    assert ahsar.state.steps == 2


# Several forwards, and forwards that are repeated


def test_each_of_two_views_is_a_step():
    net = Does(stack(), over_time)
    ahsar = Ahsar(net, timesteps=T, params=PARAMS)
    for view in range(2):
        functional.reset_net(net)
        net(frames(view))
    assert ahsar.state.steps == 2


class Pieces(nn.Module):
    """Layers one by one, each run again in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.net, self.reentrant = stack("m"), reentrant

    def forward(self, x: Tensor) -> Tensor:
        for one in self.net:
            x = checkpoint(one, x, use_reentrant=self.reentrant)  # type: ignore[no-untyped-call]
            functional.reset_net(one)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_activation_checkpointing_in_multi_step_mode_counts_once(reentrant, whole):
    plain, pieces = Pieces(False), Pieces(reentrant)
    plain.forward = lambda x: [x := one(x) for one in plain.net][-1]  # type: ignore[method-assign]
    one, other = Ahsar(plain, params=PARAMS), Ahsar(pieces, params=PARAMS)
    if whole:
        pieces.forward = lambda x: [x := each(x) for each in pieces.net][-1]  # type: ignore[method-assign]
    for step in range(3):
        functional.reset_net(plain)
        functional.reset_net(pieces)
        x = frames(step).requires_grad_()
        expected = plain(x)
        if whole:

            def call(x: Tensor) -> Any:
                functional.reset_net(pieces)
                return pieces(x)

            found = checkpoint(call, x, use_reentrant=reentrant)  # type: ignore[no-untyped-call]
        else:
            found = pieces(x)
        expected.sum().backward()
        found.sum().backward()
        assert same(one, other)
    for a, b in zip(plain.parameters(), pieces.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]


def test_checkpointing_is_refused_where_the_repeated_run_finds_other_thresholds():
    looped = Does(
        stack(), lambda n, x: torch.stack([checkpoint(n, s, use_reentrant=False) for s in x])
    )  # type: ignore[no-untyped-call]
    Ahsar(looped, timesteps=T, params=PARAMS)
    x = frames(0).requires_grad_()
    with pytest.raises(HomeostasisError, match="where its threshold is no longer that of its time"):
        looped(x).sum().backward()
    pieces = Pieces(False)
    Ahsar(pieces, params=PARAMS)
    both = pieces(frames(0).requires_grad_()).sum() + pieces(frames(1).requires_grad_()).sum()
    with pytest.raises(HomeostasisError, match="call backward after every forward"):
        both.backward()


# Keeping and resuming


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_controller_continues_to_the_bit(way):
    make, call, timesteps, _ = WAYS[way]
    net = make()
    ahsar = Ahsar(net, timesteps=timesteps, params=PARAMS)
    for step in range(3):
        functional.reset_net(net)
        call(net, frames(step))
    other = make()
    resumed = Ahsar(other, timesteps=timesteps)
    resumed.load_state_dict(json.loads(json.dumps(ahsar.state_dict())))
    for step in range(3, 6):
        functional.reset_net(net)
        functional.reset_net(other)
        first, second = call(net, frames(step)), call(other, frames(step))
        assert torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    assert ahsar.state_dict() == resumed.state_dict()


def test_a_snapshot_of_another_number_of_time_steps_is_refused():
    net = Does(stack(), over_time)
    ahsar = Ahsar(net, params=PARAMS)
    net(frames(0))
    kept = ahsar.state_dict()
    with pytest.raises(HomeostasisError, match="step mode s with 4 ticks; this network has 3 in"):
        Ahsar(Does(stack(), over_time), timesteps=3).load_state_dict(kept)
    functional.reset_net(net)
    other = copy.deepcopy(net)
    with pytest.raises(HomeostasisError, match="ran 3 time steps one by one"):
        other(frames(0)[:3])
