"""Recordings of networks that adapt: set points beside hooks, episodes and streams beside a loop
over plain forwards, and what no batch size, engine, error or store may change.

Weights are sixteenths and images eighths, so that sums are exact in any order.
"""

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from ahsar_eval.data import DataOptions, Split, open_split
from ahsar_eval.data.split import pooled
from ahsar_eval.errors import HomeostasisError, RecordingError, UsageError
from ahsar_eval.homeostasis.regulation import RegulationParams, SetPoint, SetPoints
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.checkpoints import network_of
from ahsar_eval.recording import record
from ahsar_eval.recording.adaptation import (
    Adaptation,
    check_adaptation,
    measure_set_points,
    record_adapted,
)
from ahsar_eval.recording.runner import RecordingStore, Runner

T, K, N, SHAPE = 3, 4, 23, (1, 6, 6)
PARAMS = RegulationParams(
    beta=0.5, gamma=0.05, bound=0.8, floor=1e-3, repeats=4, stream_beta=0.4, tau=0.5
)


class Tokens(nn.Module):
    """Rows of an image [T, N, C, H, W] as tokens [T, N, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(2)


class Pooled(nn.Module):
    """The mean over four tokens of eight [T, N, H, D], which takes no rounding."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :4, :].mean(-2)


def leaky() -> Any:
    return neuron.LIFNode(v_reset=None, decay_input=False, v_threshold=0.75)


def convolutional() -> list[Any]:
    last = [neuron.IFNode(v_reset=0.0), layer.Linear(6, K)]
    first = [layer.Conv2d(1, 4, 3, padding=1), leaky(), layer.Flatten(), layer.Linear(144, 6)]
    return first + last


def dense() -> list[Any]:
    return [layer.Flatten(), layer.Linear(36, 16), leaky(), layer.Linear(16, K)]


def tokens() -> list[Any]:
    return [Tokens(), layer.Linear(6, 5), leaky(), Pooled(), layer.Linear(5, K)]


NETWORKS: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "multi-step": (convolutional, "m"),
    "single-step": (convolutional, "s"),
    "dense": (dense, "m"),
    "tokens": (tokens, "m"),
}


def network(name: str = "multi-step") -> SpikingNet:
    make, mode = NETWORKS[name]
    torch.manual_seed(4)
    backbone: Any = nn.Sequential(*make())
    functional.set_step_mode(backbone, mode)
    for weight in backbone.parameters():
        weight.data = (torch.randn(weight.shape) * 8).round() / 16
    net = SpikingNet(backbone, ModelSpec("own:net", SHAPE, K, timesteps=T, step_mode=mode))
    net.find_calls()
    return net.eval()


@pytest.fixture
def split(split_from: Callable[[Tensor], Split]) -> Split:
    """Images of unlike contrast."""
    draw = torch.Generator().manual_seed(2)
    images = torch.rand((N, *SHAPE), generator=draw) * torch.linspace(0.3, 1, N).view(-1, 1, 1, 1)
    return split_from((images * 8).round() / 8)


def layers_of(net: SpikingNet) -> dict[str, Any]:
    kinds = (neuron.LIFNode, neuron.IFNode)
    return {name: m for name, m in net.backbone.named_modules() if isinstance(m, kinds)}


def axis_of(x: Tensor) -> int:
    """Of channels in [T, N, …]: first of an image, last of tokens and of a row."""
    return 2 if x.dim() == 5 else x.dim() - 1


def plainly(
    net: SpikingNet, x: Tensor, divisors: dict[str, Any] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Logits [N, T, K] of the plain forward, and spikes [T, N, …] by hooks of this test, which
    divide the current of each channel.
    """
    seen: dict[str, list[Tensor]] = {name: [] for name in layers_of(net)}

    def divides(name: str, inputs: Any) -> Any:
        current, by = inputs[0], (divisors or {}).get(name)
        if by is None:
            return None
        shape = [1] * current.dim()
        single = net.spec.step_mode == "s"
        axis = axis_of(current[None]) - 1 if single else axis_of(current)
        shape[axis] = len(by)
        return current / torch.tensor(by, dtype=torch.float64).float().view(shape)

    handles = []
    for name, module in layers_of(net).items():
        handles += [
            module.register_forward_pre_hook(lambda m, i, name=name: divides(name, i)),
            module.register_forward_hook(lambda m, i, o, name=name: seen[name].append(o.clone())),
        ]
    net.reset()
    with torch.no_grad():
        logits = net(x).transpose(0, 1).numpy()
    net.reset()
    for handle in handles:
        handle.remove()
    single = net.spec.step_mode == "s"
    return logits, {name: torch.stack(out) if single else out[0] for name, out in seen.items()}


def rates_by_sample(spikes: Tensor) -> Any:
    """[N, C] of spikes [T, N, …]."""
    moved = spikes.movedim(axis_of(spikes), 0).movedim(2, 1).double()
    return moved.flatten(2).mean(2).T.numpy()


def digits(count: int, shift: str = "") -> Split:
    return open_split(f"digits{shift}", (1, 16, 16), options=DataOptions(limit=count))


# set points


@pytest.mark.parametrize("batch_size", [4, 64])
@pytest.mark.parametrize("name", NETWORKS)
def test_set_points_are_what_hooks_see(split: Split, name: str, batch_size: int) -> None:
    net = network(name)
    points = measure_set_points(net, split, network="mine", batch_size=batch_size)
    _, spikes = plainly(net, split.tensors(np.arange(N)))
    assert list(points.layers) == list(spikes)
    for name, point in points.layers.items():
        own = rates_by_sample(spikes[name])
        shape = tuple(spikes[name].shape[2:])
        assert (point.shape, point.axis) == (shape, axis_of(spikes[name]) - 2)
        np.testing.assert_allclose(point.rates, own.mean(0), rtol=1e-14)
        np.testing.assert_allclose(point.spread, own.std(0), rtol=1e-12)
        assert point.layer_rate == pytest.approx(own.mean(), rel=1e-14)
        assert point.layer_spread == pytest.approx(own.mean(1).std(), rel=1e-12)
        assert len(point.rates) > 1
        assert 0 < point.rates.max() < 1
        assert len(np.unique(point.rates)) > 1
    assert points.network == "mine"
    assert points.data["n"] == N
    assert points.data["identity"] == split.source.identity


def test_a_network_without_spikes_has_no_set_points(split: Split) -> None:
    backbone = nn.Sequential(layer.Flatten(), layer.Linear(36, K))
    functional.set_step_mode(backbone, "m")
    net = SpikingNet(backbone, ModelSpec("own:net", SHAPE, K, timesteps=T))
    with pytest.raises(HomeostasisError, match="no spiking layer whose rates"):
        measure_set_points(net, split)


def elsewhere(net: SpikingNet, split: Split) -> SetPoints:
    """Set points that a network has to move for."""
    points = measure_set_points(net, split)
    draw = np.random.default_rng(1)
    layers = {
        name: replace(
            one,
            rates=one.rates * draw.uniform(0.4, 1.6, len(one.rates)),
            layer_rate=one.layer_rate * 1.3,
        )
        for name, one in points.layers.items()
    }
    return replace(points, layers=layers)


# episodes and streams, beside a loop


class Loop:
    """The regulator in plain numbers on plain forwards."""

    def __init__(self, net: SpikingNet, mode: str, points: SetPoints) -> None:
        self.net, self.mode, self.points = net, mode, points
        self.c = {
            name: np.zeros(1 if mode == "layer" else len(p.rates))
            for name, p in points.layers.items()
        }

    def run(self, x: Tensor) -> tuple[Any, dict[str, Any]]:
        own = {name: one.v_threshold for name, one in layers_of(self.net).items()}
        factors = {name: np.exp(c) for name, c in self.c.items()}
        if self.mode == "channel":
            return plainly(self.net, x, factors)
        for name, one in layers_of(self.net).items():
            one.v_threshold = own[name] * float(factors[name][0])
        found = plainly(self.net, x)
        for name, one in layers_of(self.net).items():
            one.v_threshold = own[name]
        return found

    def step(self, spikes: dict[str, Any], beta: float, samples: float) -> None:
        p = PARAMS
        for name, point in self.points.layers.items():
            rates, target, spread = rates_by_sample(spikes[name]).mean(0), point.rates, point.spread
            if self.mode == "layer":
                rates = rates.mean(keepdims=True)
                target, spread = np.array([point.layer_rate]), np.array([point.layer_spread])
            target = np.maximum(target, p.floor)
            c = self.c[name] * (1 - p.gamma)
            c = c + beta * np.log(np.maximum(rates, p.floor) / target)
            of_layer = (point.layer_spread / max(point.layer_rate, p.floor)) ** 2 / samples
            of_channel = (spread / target) ** 2 / samples
            mean, pull = c.mean(), beta / p.tau**2
            c = mean / (1 + pull * of_layer) + (c - mean) / (1 + pull * of_channel)
            self.c[name] = np.clip(c, -p.bound, p.bound)


def agrees(found: Any, loop: Loop, logits: Any) -> None:
    assert np.array_equal(found.logits, logits)
    state = found.provenance["adaptation"]["state"]["regulation"]
    assert state["mode"] == loop.mode
    assert list(state["state"]) == list(loop.c)
    for name, c in loop.c.items():
        np.testing.assert_allclose(state["state"][name], c, rtol=0, atol=1e-12)
        assert np.abs(c).max() > 0.05


@pytest.mark.parametrize("mode", ["layer", "channel"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_episode_is_that_of_a_loop(split: Split, name: str, mode: str) -> None:
    net = network(name)
    points, of = elsewhere(net, split), pooled(split, 9, seed=3)
    assert of.pool is not None
    loop, pool = Loop(net, mode, points), of.pool.tensors(np.arange(9))
    for _ in range(PARAMS.repeats):
        loop.step(loop.run(pool)[1], PARAMS.beta, 9)
    logits, spikes = loop.run(of.tensors(np.arange(len(of))))
    found = record_adapted(net, of, Adaptation((mode,), points, params=PARAMS), batch_size=5)
    agrees(found, loop, logits)
    for one in found.layers:
        fired = spikes[one.name].transpose(0, 1).flatten(1).sum(1)
        assert one.spikes.tolist() == fired.long().tolist()
    told = found.provenance["adaptation"]
    assert (told["n"], told["passes"], told["steps"]) == (9, 36, 4)
    layers = [np.mean(c**2) for c in loop.c.values()]
    assert told["effort"] == pytest.approx(np.sqrt(np.mean(layers)), abs=1e-12)
    assert told["at_bound"] == np.mean(np.abs(np.concatenate([*loop.c.values()])) >= 0.8)
    assert told["thresholds"] == sum(map(len, loop.c.values()))


@pytest.mark.parametrize("first", ["predict", "adapt"])
@pytest.mark.parametrize("mode", ["layer", "channel"])
@pytest.mark.parametrize("name", ["multi-step", "single-step"])
def test_a_stream_is_that_of_a_loop(split: Split, name: str, mode: str, first: str) -> None:
    """Batches of 8, 8 and 7 samples; one step each, as a mean over 4 of them."""
    net = network(name)
    points, logits = elsewhere(net, split), np.empty((N, T, K), np.float32)
    loop, efforts = Loop(net, mode, points), []
    order = np.random.Generator(np.random.Philox(6)).permutation(N)
    for part in (order[:8], order[8:16], order[16:]):
        x = split.tensors(part)
        out, spikes = loop.run(x)
        loop.step(spikes, PARAMS.stream_beta, len(part) * 4)
        logits[part] = out if first == "predict" else loop.run(x)[0]
        layers = [np.mean(c**2) for c in loop.c.values()]
        efforts.append(float(np.sqrt(np.mean(layers))))
    how = Adaptation((mode,), points, "online", batch=8, first=first, seed=6, params=PARAMS)
    found = record_adapted(net, split, how, batch_size=3)
    agrees(found, loop, logits)
    told = found.provenance["adaptation"]
    assert told["efforts"] == pytest.approx(efforts, abs=1e-12)
    assert told["passes"] == (0 if first == "predict" else N)


# what changes nothing


def same(one: Any, other: Any, but: tuple[str, ...] = ("provenance",)) -> None:
    """Two values of a recording, to the bit."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for field in fields(one):
            if field.name not in but:
                same(getattr(one, field.name), getattr(other, field.name), but)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b, but)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            same(value, other[key], but)
    else:
        assert one == other


def told(found: Any) -> Any:
    return found.provenance["adaptation"]


@pytest.mark.parametrize("modes", [("layer",), ("channel",), ("channel", "batchnorm"), ("tent",)])
@pytest.mark.parametrize("protocol", ["episodic", "online"])
def test_results_do_not_depend_on_the_running_batch(
    make_tiny: Any, modes: tuple[str, ...], protocol: str
) -> None:
    """Neither logits and counters nor the state that is left, bit for bit."""
    checkpoint = make_tiny()
    net = network_of(checkpoint)
    split = pooled(digits(40), 11, seed=0)
    points = elsewhere(net, split)
    how = Adaptation(modes, points, protocol, batch=8, seed=1, params=PARAMS)
    found = [record_adapted(net, split, how, batch_size=size) for size in (1, 5, 64)]
    for other in found[1:]:
        same(found[0], other)
        assert told(found[0]) == told(other)
    plain = record(net, split)
    assert not np.array_equal(plain.logits, found[0].logits)


def test_the_batch_of_a_stream_and_its_seed_are_part_of_it(split: Split) -> None:
    net = network()
    points = elsewhere(net, split)
    how = Adaptation(("channel",), points, "online", batch=8, seed=1, params=PARAMS)
    first = record_adapted(net, split, how)
    same(record_adapted(net, split, how), first)
    for other in (replace(how, batch=5), replace(how, seed=2), replace(how, first="adapt")):
        found = record_adapted(net, split, other)
        assert not np.array_equal(found.logits, first.logits)


@pytest.mark.parametrize("modes", [("channel",), ("layer", "batchnorm"), ("tent",)])
def test_a_stream_that_resumes_is_one_longer_stream(make_tiny: Any, modes: Any) -> None:
    """Its state through JSON; the second half in the order that the long one has."""
    net = network_of(make_tiny())
    split = digits(24)
    points = elsewhere(net, split)
    order = np.random.Generator(np.random.Philox(3)).permutation(24)
    drawn = np.random.Generator(np.random.Philox(3)).permutation(12)
    how = Adaptation(modes, points, "continual", batch=4, seed=3, params=PARAMS)
    whole = record_adapted(net, split, how)
    state, logits = None, np.empty_like(whole.logits)
    for half in (order[:12], order[12:]):
        members = np.empty(12, np.int64)
        members[drawn] = half
        found = record_adapted(net, split.at(members), how, start=state)
        state = json.loads(json.dumps(told(found)["state"]))
        logits[members] = found.logits
    assert np.array_equal(logits, whole.logits)
    assert state == told(whole)["state"]


@pytest.mark.parametrize("modes", [("channel",), ("channel", "tent"), ("layer", "batchnorm")])
def test_the_state_of_another_network_or_mode_is_refused(make_tiny: Any, modes: Any) -> None:
    net = network_of(make_tiny())
    split = pooled(digits(12), 4, seed=0)
    points = elsewhere(net, split)
    how = Adaptation(modes, points, params=replace(PARAMS, repeats=1))
    state = json.loads(json.dumps(told(record_adapted(net, split, how))["state"]))
    damaged: list[Any] = [{}, 3, {**state, "regulation": None}]
    for part in ("state", "norms"):
        held = state["regulation"]["state"] if part == "state" else state["norms"]
        for name in list(held)[:1]:
            for values in (
                {},
                {"other": held[name]},
                {**held, name: [0.0] * 99},
                {**held, name: {}},
            ):
                changed = json.loads(json.dumps(state))
                if part == "state":
                    changed["regulation"]["state"] = values
                else:
                    changed["norms"] = values
                damaged.append(changed)
    for one in damaged:
        with pytest.raises(HomeostasisError, match=r"no state of (an adaptation|a regulator)"):
            record_adapted(net, split, how, start=one)
    record_adapted(net, split, how, start=state)


# engines and counting


@pytest.fixture(scope="module")
def lively(make_tiny: Any) -> tuple[SpikingNet, Split, SetPoints]:
    """Convolutions, norms and enough samples for the compiled engine."""
    net = network_of(make_tiny())
    split = pooled(digits(90), 20, seed=0)
    return net, split, elsewhere(net, split)


@pytest.mark.parametrize("protocol", ["episodic", "online"])
@pytest.mark.parametrize("modes", [("layer",), ("channel",), ("batchnorm",), ("channel", "tent")])
def test_both_engines_have_the_same_spikes(lively: Any, modes: Any, protocol: str) -> None:
    net, split, points = lively
    how = Adaptation(modes, points, protocol, batch=16, params=replace(PARAMS, repeats=2))
    plain = record(net, split, engine="reference")
    slow = record_adapted(net, split, how, engine="reference")
    fast = record_adapted(net, split, how, engine="compiled")
    assert (fast.provenance["engine"], slow.provenance["engine"]) == ("compiled", "reference")
    same(fast.layers, slow.layers)
    same(fast.synapses, slow.synapses)
    same(fast.operators, slow.operators)
    np.testing.assert_allclose(fast.logits, slow.logits, rtol=0, atol=1e-5)
    for found in (slow, fast):  # the counters see what they see without
        for held in ("operators", "synapses", "layers"):
            pairs = zip(getattr(found, held), getattr(plain, held), strict=True)
            for one, other in pairs:
                counts = ("operations", "seen", "spikes", "rate_map", "silent_steps", "operands")
                same(one, other, (*counts, "coincidences", "replayed"))
        assert [one.dense_operations for one in found.synapses] == [
            one.dense_operations for one in plain.synapses
        ]
        same(found.synapses[0], plain.synapses[0])  # what the image meets
        assert found.uncounted == plain.uncounted
        assert found.thresholds.keys() == plain.thresholds.keys()
        assert not np.array_equal(found.layers[-1].spikes, plain.layers[-1].spikes)


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("protocol", ["episodic", "online"])
@pytest.mark.parametrize("mode", ["layer", "channel"])
def test_factors_of_one_are_the_recording_itself(
    lively: Any, mode: str, protocol: str, engine: str
) -> None:
    net, split, points = lively
    still = replace(PARAMS, bound=1e-30, repeats=1)
    how = Adaptation((mode,), points, protocol, batch=30, params=still)
    found = record_adapted(net, split, how, engine=engine, trace=(2,), extras=("features",))
    plain = record(net, split, engine=engine, trace=(2,), extras=("features",))
    assert any(any(c) for c in told(found)["state"]["regulation"]["state"].values())
    same(found, plain)


# the network afterwards


def facts(net: SpikingNet) -> Any:
    """Everything that an adaptation could leave behind."""
    modules = dict(net.named_modules())
    hooks = {
        (name, kind): list(value)
        for name, module in modules.items()
        for kind, value in vars(module).items()
        if "_hooks" in kind
    }
    states = {n: (value.clone(), value.stride()) for n, value in net.state_dict().items()}
    return {
        "hooks": hooks,
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "training": {name: module.training for name, module in modules.items()},
        "momentum": {name: getattr(module, "momentum", None) for name, module in modules.items()},
        "asked": {name: p.requires_grad for name, p in net.named_parameters()},
        "thresholds": {
            name: getattr(module, "v_threshold", None) for name, module in modules.items()
        },
        "tensors": {name: id(p) for name, p in net.named_parameters()},
        "states": {name: (value.tolist(), strides) for name, (value, strides) in states.items()},
        "grads": {
            name: None if p.grad is None else (id(p.grad), p.grad.tolist())
            for name, p in net.named_parameters()
        },
    }


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("protocol", ["episodic", "online"])
@pytest.mark.parametrize("modes", [("layer",), ("channel",), ("channel", "batchnorm"), ("tent",)])
def test_the_network_is_as_it_was(lively: Any, modes: Any, protocol: str, fails: bool) -> None:
    """In training, some weights frozen, some with a gradient; also after an error on the way."""
    net, split, points = lively
    net.train()
    weights = list(net.parameters())
    weights[0].requires_grad_(False)
    for weight in weights[1:5]:
        weight.grad = torch.ones_like(weight)
    next(iter(layers_of(net).values())).v_threshold = threshold = 0.9
    before = facts(net)
    calls: list[int] = []

    def load(indices: Any) -> Tensor:
        calls.append(len(indices))
        if fails and sum(calls) > 60:
            raise OSError("torn")
        return split.load(indices)

    how = Adaptation(modes, points, protocol, batch=16, params=replace(PARAMS, repeats=1))
    torn = replace(split, load=load)
    try:
        if fails:
            with pytest.raises(OSError, match="torn"):
                record_adapted(net, torn, how, batch_size=16)
        else:
            record_adapted(net, torn, how, batch_size=16)
        after = facts(net)
        for name, value in before.items():
            assert after[name] == value, name
        assert next(iter(layers_of(net).values())).v_threshold is threshold
    finally:
        net.eval().requires_grad_(True)
        net.zero_grad()
        next(iter(layers_of(net).values())).v_threshold = 1.0


# pools


def test_a_pool_and_the_rest_are_the_set(split: Split) -> None:
    of = pooled(split, 7, seed=0)
    assert of.pool is not None
    images = split.tensors(np.arange(N))
    seen = torch.cat([of.pool.tensors(np.arange(7)), of.tensors(np.arange(N - 7))], 1)
    found = [int((images[0] == one).flatten(1).all(1).nonzero()[0]) for one in seen[0]]
    assert sorted(found) == list(range(N))
    assert found[:7] == sorted(found[:7])
    assert found[7:] == sorted(found[7:])
    assert (of.pool.labels == -1).all()
    assert np.array_equal(of.labels, split.labels[found[7:]])
    assert "without the 7 samples, drawn by seed 0" in of.source.note
    assert of.pool.pool is None


def test_pools_are_drawn_by_their_seed(split: Split) -> None:
    drawn = [pooled(split, 7, seed) for seed in (0, 0, 1)]
    assert drawn[0].identity == drawn[1].identity != drawn[2].identity
    pools = [one.pool.identity for one in drawn if one.pool]
    assert pools[0] == pools[1] != pools[2]


@pytest.mark.parametrize("samples", [0, -1, N, N + 1])
def test_a_pool_leaves_something(split: Split, samples: int) -> None:
    with pytest.raises(UsageError, match=rf"^{samples} samples to adapt to were asked for.*has 23"):
        pooled(split, samples, seed=0)


@pytest.mark.parametrize("modes", [("layer",), ("channel",), ("channel", "batchnorm"), ("tent",)])
def test_a_pool_of_one_sample(make_tiny: Any, modes: Any) -> None:
    """It is counted once, though it runs as two; and the same for any batch size."""
    net = network_of(make_tiny())
    split = pooled(digits(12), 1, seed=0)
    assert split.pool is not None
    points = elsewhere(net, split)
    how = Adaptation(modes, points, params=replace(PARAMS, repeats=1))
    found = record_adapted(net, split, how)
    assert (told(found)["n"], len(found)) == (1, 11)
    same(found, record_adapted(net, split, how, batch_size=1))
    if len(modes) == 1 and modes != ("tent",):
        plain = measure_set_points(net, split.pool)
        loop = Loop(net, modes[0], points)
        spikes = plainly(net, torch.cat([split.pool.tensors(np.arange(1))] * 2, 1))[1]
        loop.step(spikes, PARAMS.beta, 1)
        for name, c in told(found)["state"]["regulation"]["state"].items():
            np.testing.assert_allclose(c, loop.c[name], rtol=0, atol=1e-12)
        assert all(one.layer_spread == 0 for one in plain.layers.values())


# what does not go together


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"modes": ()}, "--adapt is ''"),
        ({"modes": ("none",)}, "--adapt is 'none'; expected none, layer"),
        ({"modes": ("channel", "channel")}, "--adapt is"),
        ({"modes": ("layer", "channel")}, "exclude each other"),
        ({"modes": ("batchnorm", "tent")}, "exclude each other"),
        ({"modes": ("channel",), "set_points": None}, "needs set points"),
        ({"protocol": "daily"}, "the protocol is 'daily'; expected one of episodic"),
        ({"first": "last"}, "the order is 'last'; expected one of predict"),
        ({"batch": 0}, "the stream's batch is 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(how: Any, said: str) -> None:
    sound: dict[str, Any] = {"modes": ("channel",), "set_points": SetPoints({})}
    with pytest.raises(UsageError, match=said):
        Adaptation(**{**sound, **how})


def test_an_episode_needs_a_pool(split: Split) -> None:
    with pytest.raises(RecordingError, match="given has no samples to adapt to; an episode needs"):
        record_adapted(network(), split, Adaptation(("batchnorm",)))


def test_set_points_of_another_network_are_refused(split: Split) -> None:
    net, of = network(), pooled(split, 5, seed=0)
    points = measure_set_points(net, split)
    first, *rest = points.layers
    known = points.layers[first]
    smaller = SetPoint(known.rates[:2], known.spread[:2], 0.1, 0.1, (2, 6, 6))
    for layers in (
        {},
        {name: points.layers[name] for name in rest},
        {**points.layers, first: smaller},
    ):
        how = Adaptation(("channel",), replace(points, layers=layers))
        with pytest.raises(
            HomeostasisError, match=rf"layer '{first}' has neurons of shape \(4, 6, 6\)"
        ):
            record_adapted(net, of, how)


@pytest.mark.parametrize("where", ["check", "record"])
def test_a_layer_that_is_not_covered_is_refused_by_name(split: Split, where: str) -> None:
    net = network()
    points = measure_set_points(net, split)
    backbone: Any = net.backbone
    backbone[1].v_reset = -0.25
    how = Adaptation(("channel",), points, "online")
    refuses = (
        partial(record_adapted, net, split) if where == "record" else partial(check_adaptation, net)
    )
    with pytest.raises(HomeostasisError, match=r"layer '1' \(LIFNode\).*it resets to -0\.25"):
        refuses(how)
    record_adapted(net, split, replace(how, modes=("layer",)))


# stored


def test_adapted_recordings_are_found_again_and_never_mixed(make_tiny: Any, tmp_path: Path) -> None:
    checkpoint = replace(make_tiny(), name="tiny")
    runner = Runner(checkpoint, store=RecordingStore(tmp_path))
    whole = digits(20)
    split = pooled(whole, 4, seed=0)
    points = measure_set_points(runner.network, whole)
    other = elsewhere(runner.network, whole)
    base = Adaptation(("channel",), points, params=replace(PARAMS, repeats=1))
    stream = replace(base, protocol="online", batch=8)
    kinds = [
        None,
        base,
        replace(base, modes=("layer",)),
        replace(base, modes=("batchnorm",)),
        replace(base, modes=("tent",)),
        replace(base, modes=("channel", "batchnorm")),
        replace(base, set_points=other),
        replace(base, params=replace(PARAMS, repeats=2)),
        stream,
        replace(stream, seed=1),
        replace(stream, batch=4),
        replace(stream, first="adapt"),
        replace(stream, protocol="continual"),
    ]
    keys, found = [], []
    for kind in kinds:
        one = runner.adapted(kind)
        keys.append(one.key(split))
        found.append(one.recording(split))
        assert one.recorded == 1
    assert len(set(keys)) == len(kinds)
    for kind, before in zip(kinds, found, strict=True):
        again = Runner(checkpoint, store=RecordingStore(tmp_path), adaptation=kind)
        stored = again.recording(split)
        same(stored, before)
        assert again.recorded == 0
        assert stored.provenance.get("adaptation") == before.provenance.get("adaptation")
    seeds = [runner.adapted(base).key(pooled(whole, 4, seed=s)) for s in (0, 1)]
    assert len({*keys, *seeds}) == len(kinds) + 1
    assert told(found[1])["set_points"] == dict(points.data)
    assert all("adaptation" not in one.provenance for one in found[:1])


def test_an_episode_leaves_a_set_without_a_pool_as_it_is(make_tiny: Any, tmp_path: Path) -> None:
    runner = Runner(replace(make_tiny(), name="tiny"), store=RecordingStore(tmp_path))
    split = digits(12)
    plain = runner.recording(split)
    one = runner.adapted(Adaptation(("batchnorm",)))
    assert one.key(split) == runner.key(split)
    same(one.recording(split), plain)
    assert one.recorded == 0
    stream = runner.adapted(Adaptation(("batchnorm",), protocol="online"))
    assert stream.key(split) != runner.key(split)


def test_a_continual_stream_carries_its_state_from_set_to_set(
    make_tiny: Any, tmp_path: Path
) -> None:
    checkpoint = replace(make_tiny(), name="tiny")
    sets = [
        digits(12),
        digits(12, ":contrast:3"),
    ]
    runner = Runner(checkpoint, store=RecordingStore(tmp_path))
    points = measure_set_points(runner.network, sets[0])
    how = Adaptation(("channel", "tent"), points, "continual", batch=4, params=PARAMS)
    for passes in (2, 0):
        one = runner.adapted(how)
        found = [one.recording(split) for split in sets]
        assert one.recorded == passes
        by_hand = record_adapted(one.network, sets[1], how, start=told(found[0])["state"])
        same(found[1], by_hand)
        assert told(found[1])["state"] == told(by_hand)["state"]
    alone = runner.adapted(how)
    assert not np.array_equal(alone.recording(sets[1]).logits, found[1].logits)
    assert alone.recorded == 1
