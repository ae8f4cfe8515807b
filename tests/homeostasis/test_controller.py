"""The controller on small SpikingJelly networks: what it writes, senses, keeps, leaves alone and
refuses.
"""

import copy
import io
import json
import math
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import Loop, Watch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis import (
    Ahsar,
    Homeostasis,
    HomeostaticParams,
    controller,
    named_neurons,
    read_thresholds,
    write_thresholds,
)
from ahsar_eval.homeostasis.dynamics import GainState
from ahsar_eval.homeostasis.thresholds import spike_count, surrogate_rate
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.recording.engine import looped_neurons

T = 4
STRONG = HomeostaticParams(
    beta=0.1, gamma=0.2, diffusion=0.1, rate_momentum=0.5
)  # rates are followed fast, so that a mistake shows


def lif(step_mode: str, threshold: float = 0.5) -> nn.Module:
    return neuron.LIFNode(
        tau=2.0,
        v_threshold=threshold,
        v_reset=None,
        surrogate_function=surrogate.Sigmoid(4.0),
        step_mode=step_mode,
    )


def conv_net(step_mode: str, seed: int = 0) -> nn.Sequential:
    """Three spiking layers behind convolutions, batch norm and a linear layer: two LIF, one IF with
    a threshold of its own.
    """
    torch.manual_seed(seed)
    net = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, step_mode=step_mode),
        layer.BatchNorm2d(4, step_mode=step_mode),
        lif(step_mode),
        layer.Conv2d(4, 3, 3, padding=1, step_mode=step_mode),
        layer.BatchNorm2d(3, step_mode=step_mode),
        lif(step_mode, 0.8),
        layer.Flatten(step_mode=step_mode),
        layer.Linear(3 * 36, 10, step_mode=step_mode),
        neuron.IFNode(v_threshold=0.2, step_mode=step_mode),
    )
    return net


LAYERS = ("2", "5", "8")
BASE = {"2": 0.5, "5": 0.8, "8": 0.2}


def images(step: int) -> Tensor:
    """[T, N, 1, 6, 6], other images at every step."""
    return torch.rand(T, 5, 1, 6, 6, generator=torch.Generator().manual_seed(100 + step)) * 3


def run(net: nn.Module, x: Tensor, step_mode: str) -> Tensor:
    """One optimisation step's forward."""
    functional.reset_net(net)
    return net(x) if step_mode == "m" else torch.stack([net(now) for now in x])


def attach(net: nn.Module, step_mode: str, **options: Any) -> Ahsar:
    return Ahsar(net, timesteps=T if step_mode == "s" else None, **{"params": STRONG, **options})


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# What it writes


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_thresholds_are_those_of_the_planned_tick(step_mode):
    net = conv_net(step_mode)
    ahsar, ticks = attach(net, step_mode), T if step_mode == "s" else 3
    assert ahsar.state.ticks == ticks
    loop, seen = Loop(3, STRONG, ticks, step_mode), set()
    for step in range(6):
        if step == 3:  # the gain multiplies all factors from here on
            ahsar.epoch_end(1.0)
            ahsar.state = replace(ahsar.state, gain=GainState(log_gain=0.2))
            loop.gain = math.exp(0.2)
        watch = Watch(net)
        run(net, images(step), step_mode)
        factors = loop.planned()
        for index, name in enumerate(LAYERS):
            expected = [BASE[name] * row[index] for row in factors]
            assert watch.thresholds[name] == pytest.approx(expected, rel=1e-12), (
                f"step {step}, layer {name}"
            )
            seen.update(watch.thresholds[name])
        loop.sensed([watch.rate(name) for name in LAYERS], factors)
        assert ahsar.state.state == pytest.approx(loop.c, abs=1e-12), f"state after step {step}"
        assert list((ahsar.rates or {}).values()) == pytest.approx(loop.smoothed, rel=1e-12), (
            f"smoothed rate after step {step}"
        )
        assert ahsar.state.ema_scale == pytest.approx(loop.ema, rel=1e-12), (
            f"EMA scale after step {step}"
        )
    assert len(seen) > 12, "the thresholds did move"


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_first_step_does_not_move_the_state_and_the_second_does(step_mode):
    net = conv_net(step_mode)
    ahsar = attach(net, step_mode)
    assert ahsar.rates is None
    run(net, images(0), step_mode)
    assert (ahsar.state.state == 0).all()
    assert ahsar.rates is not None
    assert ahsar.scales == {"2": 1.0, "5": 1.0, "8": 1.0}
    run(net, images(1), step_mode)
    assert (ahsar.state.state != 0).all()


def test_ticks_use_the_rate_of_the_step_before():
    ahsars = []
    for last in (images(1), torch.zeros_like(images(1))):
        net = conv_net("m")
        ahsar = attach(net, "m")
        run(net, images(0), "m")
        run(net, last, "m")
        ahsars.append(ahsar)
    one, other = ahsars
    assert (one.state.state == other.state.state).all(), (
        "the state after step 2 may know the rate of step 1 only"
    )
    assert one.rates != other.rates


def test_writing_twice_changes_nothing():
    net = conv_net("m")
    base = read_thresholds(net)
    factors = {"2": 1.25, "5": 0.5, "8": 2.0}
    write_thresholds(net, base, factors)
    once = read_thresholds(net)
    write_thresholds(net, base, factors)
    assert read_thresholds(net) == once == {"2": 0.625, "5": 0.4, "8": 0.4}
    with pytest.raises(
        HomeostasisError,
        match="no spiking layer '9'; the network has: 2, 5, 8",
    ):
        write_thresholds(net, base, {"9": 1.0})


# What it senses


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_sensed_rate_is_the_mean_of_the_spikes_exactly(step_mode):
    net = conv_net(step_mode)
    ahsar, watch = attach(net, step_mode), Watch(net)
    run(net, images(0), step_mode)
    expected = {name: watch.rate(name) for name in LAYERS}
    assert ahsar.rates == expected
    assert min(expected.values()) > 0, "a silent network shows nothing"


def test_block_rate_is_the_unweighted_mean_of_its_layers():
    net = conv_net("m")
    ahsar, watch = attach(net, "m", units={"first": ("2", "5"), "last": ("8",)}), Watch(net)
    assert ahsar.state.ticks == 2
    run(net, images(0), "m")
    rates = [watch.rate(name) for name in LAYERS]
    assert ahsar.rates == pytest.approx(
        {"first": (rates[0] + rates[1]) / 2, "last": rates[2]}, rel=1e-15
    )
    for step in range(1, 4):
        run(net, images(step), "m")
    now = read_thresholds(net)
    assert now["2"] / BASE["2"] == pytest.approx(now["5"] / BASE["5"], rel=1e-15), (
        "layers of one unit share its factor"
    )


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_surrogate_rate_is_the_sigmoid_at_the_mean_current(step_mode):
    net = conv_net(step_mode)
    ahsar = attach(net, step_mode, sensing="surrogate")
    for step in range(
        3
    ):  # in the third step the thresholds of step mode s differ from call to call
        before, watch = ahsar.state.smoothed_rate, Watch(net)
        run(net, images(step), step_mode)
        for index, name in enumerate(LAYERS):
            calls = watch.currents[name]
            current = calls[0] if step_mode == "m" else torch.stack(calls)
            node = dict(net.named_modules())[name]
            theta = float(np.mean(watch.thresholds[name]))
            rate = float(
                torch.sigmoid(
                    node.surrogate_function.alpha * (current.double().mean(0) - theta)
                ).mean()
            )
            expected = rate if before is None else 0.5 * before[index] + 0.5 * rate
            assert ahsar.state.smoothed_rate is not None
            assert ahsar.state.smoothed_rate[index] == pytest.approx(expected, rel=1e-6), (
                f"step {step}, layer {name}"
            )


def test_spike_count_by_hand_in_every_layout_and_precision():
    assert float(spike_count(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))) == 3
    for shape in ((3, 301), (2, 3, 301), (2, 3, 7, 43), (2, 3, 2, 7, 43)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.bool):
            counted = spike_count(torch.ones(shape, dtype=dtype))
            assert (float(counted), counted.dtype) == (math.prod(shape), torch.float64), (
                f"{shape}, {dtype}"
            )


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((1_100_003,), (0,)),
        ((300, 4099), (1, 0)),
        ((3, 10, 41_000), (0, 2, 1)),
        ((3, 10, 20, 41, 50), (0, 1, 2, 3, 4)),
        ((3, 10, 20, 41, 50), (0, 1, 3, 4, 2)),
        ((3, 10, 20, 41, 50), (4, 1, 0, 2, 3)),
    ],
)
def test_large_tensors_are_counted_exactly_in_every_order_in_memory(shape, order):
    spikes = np.random.default_rng(0).random([shape[axis] for axis in order], np.float32) < 0.3
    counted = spike_count(torch.from_numpy(spikes).float().permute(*np.argsort(order).tolist()))
    assert float(counted) == np.count_nonzero(spikes)


def test_surrogate_rate_needs_a_numeric_alpha():
    with pytest.raises(
        HomeostasisError,
        match=(
            "surrogate sensing needs a surrogate function with a numeric alpha; Identity has none"
        ),
    ):
        surrogate_rate(torch.zeros(2), 1.0, nn.Identity())


# Evaluation


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_evaluation_replays_the_ema_scale_and_moves_nothing(step_mode):
    net = conv_net(step_mode)
    ahsar = attach(net, step_mode)
    for step in range(4):
        run(net, images(step), step_mode)
    net.eval()
    before, watch = ahsar.state_dict(), Watch(net)
    for step in range(2):
        run(net, images(step), step_mode)
    ema = dict(zip(LAYERS, ahsar.state.ema_scale.tolist(), strict=True))
    for name in LAYERS:
        assert set(watch.thresholds[name]) == {BASE[name] * ema[name]}
    assert len(set(ema.values())) == 3
    assert same(before, ahsar.state_dict()), "evaluation moved the controller"
    assert ahsar.snapshot().replayed_scales() == ema
    net.train()
    run(net, images(5), step_mode)
    assert not same(before, ahsar.state_dict()), "training goes on after evaluation"


def test_evaluation_in_between_leaves_training_as_it_was():
    found = []
    for evaluate in (False, True):
        net = conv_net("s")
        ahsar = attach(net, "s")
        for step in range(4):
            net.train()
            run(net, images(step), "s")
            if evaluate:
                net.eval()
                run(net, images(9), "s")
        found.append(ahsar.state_dict())
    assert same(*found)


# What it leaves alone


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_parameters_and_state_dict_are_unchanged(step_mode):
    net = conv_net(step_mode)
    parameters, content = list(net.named_parameters()), list(net.state_dict())
    ahsar = attach(net, step_mode)
    run(net, images(0), step_mode)
    run(net, images(1), step_mode)
    assert [(name, id(p)) for name, p in net.named_parameters()] == [
        (name, id(p)) for name, p in parameters
    ]
    assert list(net.state_dict()) == content
    assert all(type(value) is float for value in read_thresholds(net).values())
    assert not any(isinstance(value, Tensor) for value in ahsar.state_dict().values())


def assert_untouched(net: nn.Module) -> None:
    for name, module in net.named_modules():
        assert not module._forward_hooks, f"hook left on {name!r}"
        assert not module._forward_pre_hooks, f"pre-hook left on {name!r}"
    assert read_thresholds(net) == BASE


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_detach_leaves_no_hook_and_the_base_thresholds(step_mode):
    net = conv_net(step_mode)
    ahsar = attach(net, step_mode)
    for step in range(3):
        run(net, images(step), step_mode)
    assert read_thresholds(net) != BASE
    ahsar.detach()
    assert_untouched(net)
    ahsar.detach()  # again does no harm
    attach(net, step_mode).detach()  # and the network can be regulated again
    assert_untouched(net)


def break_off_with_controller(net: nn.Module) -> None:
    with attach(net, "m"):
        run(net, images(0), "m")
        run(net, images(1), "m")
        assert read_thresholds(net) != BASE
        raise RuntimeError("in between")


def test_with_block_detaches_on_an_exception():
    net = conv_net("m")
    with pytest.raises(RuntimeError, match="in between"):
        break_off_with_controller(net)
    assert_untouched(net)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_gradients_are_those_of_thresholds_set_by_hand(step_mode):
    net = conv_net(step_mode)
    by_hand = copy.deepcopy(net)
    attach(net, step_mode)
    for step in range(3):
        run(net, images(step), step_mode)
    watch = Watch(net)
    run(net, images(7), step_mode).mean(0).square().sum().backward()  # type: ignore[no-untyped-call]

    functional.reset_net(by_hand)
    nodes, x = named_neurons(by_hand), images(7)

    def write(call: int) -> None:
        for name, node in nodes.items():
            node.v_threshold = watch.thresholds[name][call]  # type: ignore[assignment]

    if step_mode == "m":
        write(0)
        out = by_hand(x)
    else:
        steps = []
        for call in range(T):
            write(call)
            steps.append(by_hand(x[call]))
        out = torch.stack(steps)
    out.mean(0).square().sum().backward()  # type: ignore[no-untyped-call]
    for (name, regulated), fixed in zip(net.named_parameters(), by_hand.parameters(), strict=True):
        assert regulated.grad is not None
        assert fixed.grad is not None
        assert torch.equal(regulated.grad, fixed.grad), f"gradient of {name}"
    weight = net[0].weight.grad
    assert isinstance(weight, Tensor)
    assert weight.abs().max() > 0


# Selection and refusals


def test_select_regulates_the_named_layers_only():
    net = conv_net("m")
    ahsar, watch = attach(net, "m", select=["5", "2"]), Watch(net)
    assert ahsar.layers == ("2", "5"), "in definition order"
    for step in range(3):
        run(net, images(step), "m")
    assert set(watch.thresholds["8"]) == {BASE["8"]}
    assert watch.thresholds["2"][-1] != BASE["2"]


def test_select_within_units():
    net = conv_net("m")
    assert attach(net, "m", units={"a": ("2", "5"), "b": ("8",)}, select=["5"]).state.units == {
        "a": ("5",)
    }


def test_network_that_is_a_single_neuron():
    ahsar = Ahsar(lif("m"))
    assert ahsar.state.units == {"neuron": ("",)}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"select": ["9"]}, r"no spiking layer '9'; the network has: 2, 5, 8"),
        ({"units": {"a": ("2", "conv")}}, r"no spiking layer 'conv'; the network has: 2, 5, 8"),
        (
            {"units": {"a": ("2", "5"), "b": ("5", "8")}},
            r"layer '5' is in more than one unit; name each layer once",
        ),
        ({"units": {"a": ("2", "2")}}, r"layer '2' is in more than one unit"),
        ({"units": {"a": ("2",), "b": ()}}, r"has no spiking layer to regulate .*or an empty unit"),
        ({"units": {}}, r"has no spiking layer to regulate .*or an empty unit"),
        ({"select": []}, r"has no spiking layer to regulate .*or an empty unit"),
        ({"sensing": "potential"}, r"sensing is 'potential'; expected one of spikes, surrogate"),
        (
            {"params": HomeostaticParams(gamma=1.9, diffusion=0.1)},
            r"unstable controller: gamma = 1\.9, D = 0\.1 on L = 3 units",
        ),
    ],
)
def test_unusable_request_is_refused_and_leaves_no_trace(options, text):
    net = conv_net("m")
    with pytest.raises(HomeostasisError, match=text):
        attach(net, "m", **options)
    assert_untouched(net)
    attach(net, "m").detach()


def test_network_without_spiking_layer_is_refused():
    with pytest.raises(
        HomeostasisError,
        match=r"Sequential has no spiking layer to regulate \(a submodule with a v_threshold",
    ):
        Ahsar(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


def test_second_controller_on_the_same_layer_is_refused():
    net = conv_net("m")
    first = Ahsar(net, select=["2"])
    with pytest.raises(
        HomeostasisError,
        match=r"layer '2' is regulated by another controller already; detach that one first",
    ):
        Ahsar(net)
    Ahsar(net, select=["5"]).detach()  # another layer is free
    first.detach()
    Ahsar(net).detach()


def test_leaving_a_step_part_way_is_refused_until_it_is_abandoned():
    net = conv_net("s")
    ahsar = attach(net, "s")
    run(net, images(0), "s")
    before = ahsar.state_dict()
    functional.reset_net(net)
    net(images(1)[0])
    net(images(1)[1])
    with pytest.raises(HomeostasisError, match=r"epoch_end was called after 2 of 4 time steps"):
        ahsar.epoch_end(1.0)
    net.eval()
    with pytest.raises(
        HomeostasisError,
        match=(
            r"switched to evaluation after 2 of 4 time steps of an optimisation step; give the "
            r"controller"
        ),
    ):
        net(images(1)[2])
    ahsar.abandon_step()
    net(images(1)[2])
    assert same(before, ahsar.state_dict()), "an abandoned step leaves nothing"
    net.train()
    watch = Watch(net)
    run(net, images(2), "s")
    assert ahsar.state.steps == 2
    assert ahsar.state.smoothed_rate is not None
    sensed = 0.5 * np.array(before["smoothed_rate"]) + 0.5 * np.array(
        [watch.rate(name) for name in LAYERS]
    )
    assert ahsar.state.smoothed_rate == pytest.approx(sensed, rel=1e-12), (
        "no spike of the abandoned step is counted"
    )


def test_exception_inside_a_multi_step_forward_leaves_nothing():
    net = conv_net("m")
    ahsar = attach(net, "m")
    run(net, images(0), "m")
    before = ahsar.state_dict()
    handle = net[7].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(net, images(1), "m")
    handle.remove()
    assert same(before, ahsar.state_dict())
    watch = Watch(net)
    run(net, images(2), "m")
    expected = 0.5 * np.array(before["smoothed_rate"]) + 0.5 * np.array(
        [watch.rate(name) for name in LAYERS]
    )
    assert list((ahsar.rates or {}).values()) == pytest.approx(expected, rel=1e-12)


def test_layer_that_does_not_run_is_named():
    net = nn.Sequential(layer.Linear(4, 4, step_mode="m"), lif("m"))
    net[1].add_module("spare", lif("m"))
    Ahsar(net)
    with pytest.raises(
        HomeostasisError,
        match=r"layer '1\.spare' did not run in this forward; select only layers that run",
    ):
        net(torch.rand(T, 2, 4))


# Keeping and resuming


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("medium", ["json", "torch"])
def test_resumed_controller_continues_bit_identically(step_mode, medium):
    net = conv_net(step_mode)
    ahsar = attach(net, step_mode)
    for step in range(3):
        run(net, images(step), step_mode)
    ahsar.epoch_end(2.0)
    for step in range(3, 5):  # in the middle of an epoch, so that its energy sum counts too
        run(net, images(step), step_mode)

    kept = ahsar.state_dict()
    if medium == "json":
        read = json.loads(json.dumps(kept))
    else:
        buffer = io.BytesIO()
        torch.save(kept, buffer)
        buffer.seek(0)
        read = torch.load(buffer, weights_only=True)
    assert same(read, kept)

    other = conv_net(step_mode, seed=1)
    other.load_state_dict(net.state_dict())
    resumed = attach(other, step_mode, params=HomeostaticParams())
    resumed.load_state_dict(read)
    assert same(resumed.state_dict(), kept)
    for step in range(5, 8):
        assert torch.equal(
            run(net, images(step), step_mode), run(other, images(step), step_mode)
        ), f"spikes of step {step}"
    for one in (ahsar, resumed):
        one.epoch_end(1.0)
    assert same(ahsar.state_dict(), resumed.state_dict())
    assert ahsar.gain == resumed.gain != 1.0


def test_snapshot_of_another_network_is_refused():
    kept = attach(conv_net("m"), "m").state_dict()
    with pytest.raises(
        HomeostasisError,
        match=(
            r"the snapshot regulates 3 units in step mode m with 3 ticks; this network has 2 in "
            r"step mode m"
        ),
    ):
        attach(conv_net("m"), "m", select=["2", "5"]).load_state_dict(kept)
    # Whether layers in single-step mode run layer by layer is seen in the first call.
    net = conv_net("s")
    attach(net, "s").load_state_dict(kept | {"smoothed_rate": [0.1] * 3})
    with pytest.raises(
        HomeostasisError,
        match=r"ran one time step, and calls before it ran otherwise \(step mode m, 3 ticks\)",
    ):
        net(images(0)[0])
    ahsar = attach(net := conv_net("s"), "s")
    net(images(0)[0])
    with pytest.raises(
        HomeostasisError,
        match=r"has 3 in step mode s with 4, or other layers; resume the same network",
    ):
        ahsar.load_state_dict(kept)


def damaged(**changes: Any) -> dict[str, Any]:
    net = conv_net("m")
    ahsar = attach(net, "m")
    run(net, images(0), "m")
    return {**ahsar.state_dict(), **changes}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": [0.0, 0.0]}, r"damaged; expected one finite number per unit"),
        ({"smoothed_rate": 0.1}, r"damaged"),
        ({"ema_scale": [1.0, math.nan, 1.0]}, r"damaged"),
        ({"ema_scale": [1.0, 0.0, 1.0]}, r"damaged; .* thresholds and EMA scales above 0"),
        ({"smoothed_rate": [0.1, math.inf, 0.1]}, r"damaged"),
        ({"energy_sum": math.nan}, r"damaged"),
        ({"gain": {"gain": 1.0}}, r"malformed \(TypeError"),
        ({"gain": {"log_gain": math.nan}}, r"damaged"),
        ({"gain": {"log_gain": "x"}}, r"malformed"),
        ({"base_thresholds": {"2": 0.5, "5": math.nan, "8": 0.2}}, r"damaged"),
        ({"base_thresholds": {"2": 0.5, "5": -0.1, "8": 0.2}}, r"damaged"),
        ({"base_thresholds": {"2": 0.5, "5": 0.8}}, r"malformed \(KeyError: '8'"),
        ({"params": {"beta": 0.1}}, r"malformed \(KeyError: 'gamma'"),
        (
            {"params": {**asdict(STRONG), "betta": 1.0}},
            r"malformed \(TypeError: .*unexpected keyword argument 'betta'",
        ),
        ({"units": ["2"]}, r"malformed \(AttributeError"),
    ],
)
def test_damaged_snapshot_is_refused(changes, text):
    with pytest.raises(HomeostasisError, match=text):
        Homeostasis.from_dict(damaged(**changes))


def test_snapshot_lacking_a_part_is_refused():
    content = damaged()
    del content["energy_sum"]
    with pytest.raises(
        HomeostasisError, match=r"malformed \(KeyError: 'energy_sum'\); save it again"
    ):
        Homeostasis.from_dict(content)


def test_saturated_fraction_of_the_controller():
    ahsar = Ahsar(conv_net("m"))
    ahsar.state = replace(ahsar.state, state=np.array([3.0, 0.1, -3.0]))
    assert ahsar.saturated_fraction == pytest.approx(2 / 3)
    ahsar.detach()


def test_a_deep_copy_of_a_regulated_network_carries_its_own_controller():
    net = conv_net("m").train()
    with Ahsar(net) as ahsar:
        twin = copy.deepcopy(net).train()
        twin(torch.rand(4, 8, 1, 6, 6))
        assert ahsar.state.steps == 0, "the copy's forward moved the original's controller"
        (hook,) = twin._forward_hooks.values()
        controller: Any = hook
        assert controller.__self__.state.steps == 1, "the copy's own controller did not move"


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("paradigm", ["bptt", "rate"])
def test_sums_left_by_a_loop_or_the_rate_pass_give_the_rates_of_the_spikes(
    step_mode, paradigm, monkeypatch
):
    def trained(counted: bool) -> tuple[Any, list[int]]:
        sizes: list[int] = []
        if not counted:
            monkeypatch.setattr(controller, "counted_spikes", lambda neuron, output: output)

        def noted(spikes: Tensor) -> Tensor:
            sizes.append(spikes.numel())
            return spike_count(spikes)

        monkeypatch.setattr(controller, "spike_count", noted)
        torch.manual_seed(0)
        net = build(
            ModelSpec(
                "vgg13",
                (1, 16, 16),
                10,
                width=1 / 16,
                timesteps=3,
                step_mode=step_mode,
                paradigm=paradigm,
            )
        ).train()
        ahsar = Ahsar(net.backbone, timesteps=3, units=net.units())
        with looped_neurons(net.backbone) if paradigm == "bptt" else nullcontext():
            for seed in range(2):
                net.reset()
                net(
                    torch.rand(1, 8, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 3
                ).sum().backward()
        return ahsar.state_dict(), sizes

    (ours, fewer), (plain, all_of_them) = trained(True), trained(False)
    assert ours == plain
    assert sum(fewer) * (3 if step_mode == "m" else 1) == sum(all_of_them)
