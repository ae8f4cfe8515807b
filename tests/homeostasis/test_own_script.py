"""Homeostasis at test time in a script of the user's own: `Ahsar.measure`, `adapt` and what puts a
network back.
"""

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import ahsar_eval as ae
from ahsar_eval.data import open_set
from ahsar_eval.data.split import limited, pooled, split_of
from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis import Ahsar, RegulationParams, SetPoints, read_thresholds
from ahsar_eval.networks.checkpoints import network_of
from ahsar_eval.recording.adaptation import Adaptation, record_adapted
from ahsar_eval.recording.runner import Runner

T = 4
ONE_STEP = RegulationParams(beta=0.3, repeats=1, tau=math.inf)


def bare(mode: str = "m") -> nn.Sequential:
    """Neurons alone, so that a batch is their current: [T, N, C]."""
    return nn.Sequential(neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode=mode))


def deep(mode: str = "m") -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(1, 3, 3, padding=1),
        layer.BatchNorm2d(3),
        neuron.LIFNode(v_threshold=0.4, v_reset=None),
        layer.Flatten(),
        layer.Linear(48, 5),
        neuron.IFNode(v_threshold=0.3, v_reset=0.0),
    )
    functional.set_step_mode(net, mode)
    return net


def images(seed: int, gain: float = 1.0, samples: int = 6) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(T, samples, 1, 4, 4, generator=draw) * 2 * gain


def constant(*currents: float, samples: int = 2) -> Tensor:
    return torch.tensor(currents, dtype=torch.float64).expand(T, samples, len(currents))


# By hand


def test_set_points_by_hand():
    # Thresholds of 1: a current of 0.5 fires at steps 2 and 4, one of 0.25 at step 4, 1 at each.
    samples = torch.cat([constant(0.5, 0.25, samples=1), constant(1.0, 0.25, samples=1)], dim=1)
    points = Ahsar(bare().double()).measure([samples])
    one = points.layers["0"]
    assert one.rates.tolist() == [0.75, 0.25]
    assert one.spread.tolist() == [0.25, 0.0]
    assert (one.layer_rate, one.layer_spread) == (0.5, 0.125)
    assert (one.shape, one.axis, points.data["n"]) == ((2,), 0, 2)


def test_what_an_earlier_run_left_is_reset_and_nothing_is_left():
    net = bare().double().eval()
    ahsar = Ahsar(net)
    net(constant(0.125))  # a potential of 0.5, with which 0.25 would fire twice
    assert ahsar.measure([constant(0.25)] * 2).layers["0"].rates.tolist() == [0.25]
    assert net[0].v == 0.0


def test_another_set_point_is_what_it_goes_for_then():
    net = bare().double().eval()
    ahsar = Ahsar(net)
    known, other = ahsar.measure([constant(0.5)]), ahsar.measure([constant(0.25)])
    ahsar.adapt([constant(0.25)], known, params=ONE_STEP)
    before = ahsar.adaptation_state()
    ahsar.adapt([constant(0.25)], other, params=ONE_STEP)
    after = ahsar.adaptation_state()
    assert before is not None
    assert after is not None
    assert after["set_points"] == other.to_dict()
    # 0.25 divided by exp(−0.2) still fires once in four steps, which is what is asked for now.
    assert after["state"] == before["state"]


def test_one_step_by_hand():
    ahsar = Ahsar(bare().double())
    points = ahsar.measure([constant(0.5, 0.25)])
    done = ahsar.adapt([constant(0.25, 0.25)], points, params=ONE_STEP)
    state = ahsar.adaptation_state()
    assert state is not None
    assert state["state"]["0"] == pytest.approx([-0.3 * math.log(2), 0.0], rel=1e-12)
    assert done.rates_before == {"0": 0.25}
    assert (done.samples, done.steps, done.at_bound) == (2, 1, 0.0)
    assert done.effort == pytest.approx(0.3 * math.log(2) / math.sqrt(2), rel=1e-12)


# Against a loop in NumPy


def fired(x: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Spikes [T, N, C] of integrate-and-fire neurons, thresholds of 1, reset by subtraction."""
    v, spikes = np.zeros(x.shape[1:]), []
    for current in x:
        v = v + current / divisor
        spikes.append((v >= 1.0).astype(float))
        v = v - spikes[-1]
    return np.stack(spikes)


@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("mode", ["channel", "layer"])
def test_several_steps_are_those_of_a_plain_loop(mode, step_mode):
    draw = np.random.default_rng(0)
    known, shifted = draw.random((T, 40, 3)), draw.random((T, 40, 3)) * [0.7, 1.5, 0.9]
    params = RegulationParams(beta=0.25, gamma=0.1, bound=0.3, repeats=5, tau=math.inf)

    def mean(spikes: np.ndarray) -> np.ndarray:
        rates = spikes.mean(axis=(0, 1))
        return rates.mean(keepdims=True) if mode == "layer" else rates

    goal, c = mean(fired(known, np.ones(3))), np.zeros(1 if mode == "layer" else 3)
    for _ in range(params.repeats):
        rates = mean(fired(shifted, np.exp(c) * np.ones(3)))
        c = np.clip(c + 0.25 * (np.log(rates) - np.log(goal)) - 0.1 * c, -0.3, 0.3)

    net = bare(step_mode).double().eval()
    ahsar = Ahsar(net, timesteps=T)

    def forward(x: Tensor) -> None:
        _ = net(x) if step_mode == "m" else [net(now) for now in x]

    batches = torch.from_numpy(shifted).split(16, dim=1)  # of 16, 16 and 8 samples
    points = ahsar.measure([(torch.from_numpy(known), "labels")], forward=forward)
    done = ahsar.adapt(batches, points, mode, params=params, forward=forward)
    state = ahsar.adaptation_state()
    assert state is not None
    assert state["state"]["0"] == pytest.approx(c, rel=1e-9)
    assert done.rates_after["0"] == pytest.approx(
        fired(shifted, np.exp(c) * np.ones(3)).mean(), abs=1e-12
    )
    assert done.at_bound == np.mean(np.abs(c) == 0.3)
    forward(torch.from_numpy(shifted))  # the network stays adapted
    expected = np.exp(c[0]) if mode == "layer" else 1.0
    assert read_thresholds(net)["0"] == pytest.approx(expected, rel=1e-12)


def test_measures_and_adapts_as_recordings_do(make_tiny):
    """The same numbers by the two ways to the regulator: hooks of a script, and a recording."""
    checkpoint, view = make_tiny(regulated=True), (1, 16, 16)
    known = limited(open_set("digits", "train"), 20)
    points = ae.calibrate(Runner(checkpoint), known)
    net = network_of(checkpoint)
    ahsar = Ahsar(net.backbone)

    def forward(x: Tensor) -> None:
        net(x)

    whole = split_of(known, view)
    own = ahsar.measure((batch.x for batch in whole.batches(8)), forward=forward)
    assert own.layers.keys() == points.layers.keys()
    for name, one in own.layers.items():
        assert one.rates.tolist() == points.layers[name].rates.tolist()
        assert one.spread == pytest.approx(points.layers[name].spread, abs=1e-12)
        assert (one.shape, one.axis) == (points.layers[name].shape, points.layers[name].axis)

    split = pooled(split_of(limited(open_set("digits"), 24), view, "contrast", 3), 16, 0)
    recorded = record_adapted(network_of(checkpoint), split, Adaptation(("channel",), points))
    state = recorded.provenance["adaptation"]["state"]["regulation"]
    assert split.pool is not None
    ahsar.adapt([batch.x for batch in split.pool.batches(16)], own, forward=forward)
    found = ahsar.adaptation_state()
    assert found is not None
    for name, c in state["state"].items():
        assert found["state"][name] == pytest.approx(c, abs=1e-9), name
        assert any(c), f"nothing moved in {name}"


# What it keeps and puts back


@pytest.mark.parametrize("mode", ["channel", "layer"])
def test_nothing_is_left_of_it(mode):
    net = deep()
    net.train()
    net(images(0))
    functional.reset_net(net)
    net[1].eval()  # a part that is frozen
    modes = {name: part.training for name, part in net.named_modules()}
    before, x = copy.deepcopy(net).eval()(images(1)), images(1, 0.5)
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules()]
    own = [net[2].v_threshold, net[5].v_threshold]
    ahsar = Ahsar(net)
    done = ahsar.adapt([x], ahsar.measure([images(1)]), mode)
    assert done.rates_before != done.rates_after
    assert {name: part.training for name, part in net.named_modules()} == modes
    assert torch.is_grad_enabled()
    net.eval()
    assert not torch.equal(net(images(1)), before)
    functional.reset_net(net)
    ahsar.detach()
    after = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules()]
    assert after == hooks
    assert [net[2].v_threshold, net[5].v_threshold] == own
    assert torch.equal(net(images(1)), before)


def test_it_comes_on_top_of_the_ema_scale():
    net = deep()
    ahsar = Ahsar(net)
    for step in range(3):
        net.train()(images(step))
        functional.reset_net(net)
    net.eval()
    ema = ahsar.snapshot().replayed_scales()
    assert set(ema.values()) != {1.0}
    points, trained = ahsar.measure([images(1)]), json.dumps(ahsar.state_dict())
    ahsar.adapt([images(1, 0.6)], points, "layer")
    state = ahsar.adaptation_state()
    assert state is not None
    net(images(1))
    for name, base in (("2", 0.4), ("5", 0.3)):
        expected = base * ema[name] * math.exp(state["state"][name][0])
        assert read_thresholds(net)[name] == pytest.approx(expected, rel=1e-12)
    assert json.dumps(ahsar.state_dict()) == trained, "the state of the training has moved"
    ahsar.end_adaptation()
    functional.reset_net(net)
    net(images(1))
    assert read_thresholds(net)["2"] == pytest.approx(0.4 * ema["2"], rel=1e-12)


def test_it_goes_on_from_where_it_stands():
    states = []
    for parts in ([4], [1, 3]):
        ahsar = Ahsar(deep().eval())
        points: SetPoints | None = ahsar.measure([images(1)])
        for repeats in parts:
            ahsar.adapt([images(1, 0.5)], points, params=RegulationParams(repeats=repeats))
            points = None  # those that it is adapted with
        states.append(ahsar.adaptation_state())
    assert states[0] == states[1]


@pytest.mark.parametrize("mode", ["channel", "layer"])
def test_its_state_is_saved_and_resumed(mode, tmp_path):
    net = deep().eval()
    ahsar = Ahsar(net)
    ahsar.measure([images(1)]).save(tmp_path / "points.json")
    ahsar.adapt([images(1, 0.5)], tmp_path / "points.json", mode)
    saved, out = json.loads(json.dumps(ahsar.adaptation_state())), net(images(2))
    other = deep().eval()
    resumed = Ahsar(other)
    resumed.load_adaptation_state(saved)
    moved = [read_thresholds(one) for one in (other, net)]
    assert moved[0] == moved[1], "before the first forward"
    assert torch.equal(other(images(2)), out)
    assert resumed.adaptation_state() == saved
    functional.reset_net(other)
    copied = copy.deepcopy(other)
    assert torch.equal(copied(images(2)), out), "a copy of the network has its own"
    for one in (ahsar, resumed):
        one.adapt([images(3, 0.5)], mode=mode)
    assert resumed.adaptation_state() == ahsar.adaptation_state()


def test_channels_behind_a_linear_layer_are_its_features():
    net = nn.Sequential(layer.Linear(3, 4), neuron.IFNode())  # of each of four tokens
    functional.set_step_mode(net, "m")
    x = torch.rand(T, 2, 4, 3) * torch.tensor([1.0, 1, 1, 1]).reshape(4, 1)
    one = Ahsar(net).measure([x]).layers["1"]
    assert (one.shape, one.axis) == ((4, 4), 1)
    functional.reset_net(net)
    assert one.rates.tolist() == pytest.approx(net.eval()(x).mean((0, 1, 2)).tolist())


# What is refused


def adapted() -> tuple[nn.Sequential, Ahsar, SetPoints]:
    net = deep().eval()
    ahsar = Ahsar(net)
    points = ahsar.measure([images(1)])
    ahsar.adapt([images(1, 0.5)], points)
    return net, ahsar, points


def test_training_on_is_refused_until_it_has_ended():
    net, ahsar, _ = adapted()
    with pytest.raises(
        HomeostasisError, match=r"adapted and was called in training mode.*eval\(\)"
    ):
        net.train()(images(0))
    functional.reset_net(net)
    ahsar.end_adaptation()
    net(images(0))
    assert ahsar.state.steps == 1


def test_what_does_not_go_together_is_refused():
    net, ahsar, points = adapted()
    with pytest.raises(HomeostasisError, match="adapted by channel, and layer was asked for"):
        ahsar.adapt([images(1)], points, "layer")
    with pytest.raises(HomeostasisError, match="expected channel or layer"):
        ahsar.adapt([images(1)], points, "batchnorm")
    with pytest.raises(HomeostasisError, match="call end_adaptation first"):
        ahsar.measure([images(1)])
    with pytest.raises(HomeostasisError, match=r"which an evaluation of it does not take along"):
        ae.record(ae.wrap(net, timesteps=T, classes=5), np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(HomeostasisError, match=r"state of a regulator|no state of an adaptation"):
        ahsar.load_adaptation_state({"mode": "channel"})
    assert ahsar.adaptation_state() is not None, "a state that is none changes nothing"


def test_what_is_missing_is_refused():
    ahsar = Ahsar(deep().eval())
    with pytest.raises(HomeostasisError, match=r"no set points were given; Ahsar\.measure"):
        ahsar.adapt([images(1)])
    with pytest.raises(HomeostasisError, match="there was no batch to run"):
        ahsar.measure([])
    points = ahsar.measure([images(1)])
    for fault, named in (
        (SetPoints({"2": points.layers["2"]}), "no set point of layer '5'"),
        (SetPoints({**points.layers, "2": points.layers["5"]}), r"'2' has neurons of shape \(3,"),
    ):
        with pytest.raises(HomeostasisError, match=named):
            ahsar.adapt([images(1)], fault)
        assert ahsar.adaptation_state() is None


def test_a_pass_of_too_few_time_steps_is_refused():
    ahsar = Ahsar(deep("s").eval(), timesteps=T)
    with pytest.raises(HomeostasisError, match=r"ran 1 time steps of layer '2'.*timesteps=4; give"):
        ahsar.measure([images(1)[0]])


def test_within_an_optimisation_step_it_is_refused():
    net = deep("s")
    ahsar = Ahsar(net, timesteps=T)
    net(images(1)[0])
    with pytest.raises(HomeostasisError, match="measure was called after 1 of 4 time steps"):
        ahsar.measure([images(1)])


def test_neurons_that_the_mode_does_not_cover_leave_nothing_behind():
    net: Any = nn.Sequential(neuron.IFNode(v_reset=-0.5, step_mode="m")).eval()
    ahsar = Ahsar(net)
    points = ahsar.measure([constant(0.5).float()])
    hooks = [len(net[0]._forward_hooks), len(net[0]._forward_pre_hooks)]
    with pytest.raises(HomeostasisError, match=r"layer '0' \(IFNode\).*it resets to -0\.5"):
        ahsar.adapt([constant(0.5).float()], points)
    assert [len(net[0]._forward_hooks), len(net[0]._forward_pre_hooks)] == hooks
    assert ahsar.adapt([constant(0.5).float()], points, "layer").effort == 0


def test_hooks_on_a_layer_are_not_copied_when_it_is_tried():
    class Lasting:
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("it holds a file")

        def __call__(self, *_: Any) -> None: ...

    net = deep().eval()
    net[2].register_forward_hook(Lasting())
    ahsar = Ahsar(net)
    assert ahsar.adapt([images(1, 0.5)], ahsar.measure([images(1)])).effort > 0
