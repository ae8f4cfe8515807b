"""Recordings of networks as people write them: logits are the plain forward's, spikes those that a
hook sees, operations a count by unit weights; whatever the batch.
"""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foreign_nets import NETWORKS, Does, Integrates, K, LoopedSpikes, T, dense, lively, several
from spikingjelly.activation_based import encoding, functional, layer, neuron
from torch import nn

import ahsar_eval as ae
from ahsar_eval.data import ImageSet, split_of
from ahsar_eval.errors import AhsarWarning, DataError, ModelError, RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.behaviour import Behaviour
from ahsar_eval.networks.calls import Calls
from ahsar_eval.networks.checkpoints import Checkpoint
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner

N = 11
pytestmark = pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")


def data(channels: int = 1, side: int = 8) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    return draw.random((N, channels, side, side)).astype(np.float32), np.arange(N) % K


def recorded(net: Any, batch_size: int = 64, **more: Any) -> Recording:
    wrapped = ae.wrap(net, timesteps=T, classes=K, batch_size=batch_size, no_cache=True, **more)
    found: Recording = ae.record(wrapped, data(net.channels if hasattr(net, "channels") else 1))
    return found


def by_hand(net: Any, calls: Calls, watched: dict[str, nn.Module]) -> tuple[Any, dict[str, Any]]:
    """Logits over time and what went into and came out of modules, a sample at a time."""
    seen: dict[str, list[Any]] = {name: [] for name in watched}
    handles = [
        module.register_forward_hook(
            lambda m, i, o, name=name: seen[name].append(
                (i[0].detach(), (o[0] if isinstance(o, tuple) else o).detach())
            )
        )
        for name, module in watched.items()
    ]
    logits = []
    for image in torch.as_tensor(data()[0]):
        functional.reset_net(net)
        for module in net.modules():
            if "v" in vars(module) and not hasattr(module, "reset"):
                module.v = None
        steps = image.expand(T, 1, *image.shape).to(next(net.parameters()).dtype)
        with torch.no_grad():
            logits.append(calls.run(net, steps)[:, 0])
    for handle in handles:
        handle.remove()
    return torch.stack(logits), seen


@pytest.mark.parametrize("name", NETWORKS)
def test_a_recording_is_the_plain_forward_whatever_the_batch(name):
    make, calls, _ = NETWORKS[name]
    net = lively(make())
    first = recorded(net, 64)
    for size in (1, 3):
        other = recorded(net, size)
        assert np.array_equal(other.logits, first.logits)
        assert [list(one.spikes) for one in other.layers] == [list(x.spikes) for x in first.layers]
        assert [list(one.operations) for one in other.synapses] == [
            list(one.operations) for one in first.synapses
        ]
    modules = dict(net.named_modules())
    names = [*(one.name for one in first.layers), *(one.name for one in first.synapses)]
    watched = {name: modules[name] for name in names}
    logits, seen = by_hand(net, Calls.parse(calls), watched)
    half = net is not None and next(net.parameters()).dtype is torch.float16
    tolerance = 0.02 if half else 1e-5
    assert np.allclose(first.logits, logits, atol=tolerance * float(logits.abs().max()))
    assert first.layers, "no spiking layer was found"
    for one in first.layers:
        assert sum(float(out.sum()) for _, out in seen[one.name]) == one.spikes.sum(), one.name
    for synapse in first.synapses:
        if synapse.kind == "spikes":
            ones = torch.ones(modules[synapse.name].weight.shape, dtype=torch.float64)
            met = sum(float(F.linear(x.double(), ones).sum()) for x, _ in seen[synapse.name])
            assert met == synapse.operations.sum(), synapse.name


def test_own_neurons_are_counted_and_their_updates_have_no_rule():
    net = lively(nn.Sequential(nn.Flatten(2), nn.Linear(64, 32), LoopedSpikes(0), nn.Linear(32, K)))
    found = recorded(net)
    (spiking,) = found.layers
    assert (spiking.name, spiking.shape, spiking.model.known) == ("2", (32,), False)
    energy = ae.energy(ae.wrap(net, timesteps=T, classes=K, no_cache=True), data())
    assert "2 (no rule counts the updates of a LoopedSpikes)" in energy.to_text()


def test_a_network_without_a_spiking_layer_has_no_rate():
    net = lively(Does(nn.Linear(64, K), lambda n, x: n((x.flatten(2) > 0.5).float())))
    found = recorded(net)
    assert (found.layers, found.mean_rate) == ((), None)
    results = ae.ood(ae.wrap(net, timesteps=T, classes=K, no_cache=True), data(), [1 - data()[0]])
    assert results.records["id"][0]["mean_rate"] is None
    assert "mean firing rate unknown" in results.to_text()


def test_a_read_out_with_an_infinite_threshold_is_no_spiking_layer():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense()
            self.out = neuron.LIFNode(v_threshold=float("inf"), store_v_seq=True, step_mode="m")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.out(self.net(x))
            seen: torch.Tensor = self.out.v_seq
            return seen

    found = recorded(lively(Net()))
    assert [one.name for one in found.layers] == ["net.2"]
    assert "inf" not in str(found.thresholds)
    assert (
        "out",
        "its threshold is infinite: it is a read-out, and no rule counts its updates",
    ) in [(one.name, one.reason) for one in found.uncounted]


def test_a_threshold_that_is_a_tensor_is_kept_and_shown():
    class Learnable(neuron.LIFNode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            del self.v_threshold
            self.register_parameter("v_threshold", nn.Parameter(torch.tensor(0.7)))

    def made(node: nn.Module) -> Any:
        return lively(several(layer.Flatten(), layer.Linear(64, 64), node, layer.Linear(64, K)))

    learned = made(Learnable())
    constant = made(neuron.LIFNode(v_threshold=float(torch.tensor(0.7))))
    constant.load_state_dict(
        {name: x for name, x in learned.state_dict().items() if "threshold" not in name}
    )
    one, other = recorded(learned), recorded(constant)
    assert one.thresholds == pytest.approx({"2": 0.7})
    assert np.array_equal(one.logits, other.logits)
    with pytest.raises(Exception, match="'2' is a parameter, which an optimizer may change"):
        recorded(learned, scale=0.5)


def test_a_subclass_that_changes_nothing_is_its_base():
    class Same(neuron.LIFNode):  # type: ignore[misc]
        """The same."""

    class Doubled(neuron.LIFNode):  # type: ignore[misc]
        def neuronal_charge(self, x: torch.Tensor) -> None:
            super().neuronal_charge(2 * x)

    models = {}
    for kind in (neuron.LIFNode, Same, Doubled):
        torch.manual_seed(3)
        net = several(layer.Flatten(), layer.Linear(64, 64), kind(), layer.Linear(64, K))
        found = recorded(lively(net))
        models[kind] = found.layers[0].model, found.synapses[1].source
    assert models[Same][0].known
    assert models[Same][1] == models[neuron.LIFNode][1] == "2"
    assert not models[Doubled][0].known
    assert models[Doubled][1] == "measured"


# --- average pooling, wherever it happens


class Pools(nn.Module):
    """Spikes of 4×8×8, pooled by `pool`, and a layer with weights behind."""

    def __init__(self, pool: Any, weighted: nn.Module, add: bool = False) -> None:
        super().__init__()
        self.conv = layer.Conv2d(1, 4, 3, padding=1, step_mode="m")
        self.lif, self.pool = neuron.LIFNode(step_mode="m"), pool
        self.other = neuron.LIFNode(v_threshold=0.5, step_mode="m") if add else None
        self.weighted, self.head = weighted, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        charge = self.conv(x)
        self.spikes = spikes = self.lif(charge)
        if self.other is not None:
            self.spikes = spikes = spikes + self.other(charge)
        out: torch.Tensor = self.weighted(self.pool(spikes))
        return out.flatten(2)[..., :K] if out.dim() > 3 else out


def flat(x: torch.Tensor, how: Any) -> torch.Tensor:
    pooled: torch.Tensor = how(x.flatten(0, 1))
    return pooled.view(*x.shape[:2], *pooled.shape[1:])


POOLS: dict[str, tuple[Any, Any]] = {
    "a module": (lambda: layer.AvgPool2d(2, step_mode="m"), lambda s: F.avg_pool2d(s, 2) * 4),
    "a function": (
        lambda: Fn(lambda x: flat(x, lambda y: F.avg_pool2d(y, 2))),
        lambda s: F.avg_pool2d(s, 2) * 4,
    ),
    "a function, by keyword": (
        lambda: Fn(
            lambda x: flat(x, lambda y: F.avg_pool2d(y, kernel_size=3, stride=2, padding=1))
        ),
        lambda s: F.avg_pool2d(s, 3, 2, 1) * 9,
    ),
    "padding that does not count": (
        lambda: Fn(lambda x: flat(x, lambda y: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False))),
        lambda s: F.avg_pool2d(s, 3, 2, 1, divisor_override=1),
    ),
    "adaptive, windows of several sizes": (
        lambda: layer.AdaptiveAvgPool2d(3, step_mode="m"),
        lambda s: adaptive_sums(s, 3),
    ),
    "adaptive, a function": (
        lambda: Fn(lambda x: flat(x, lambda y: F.adaptive_avg_pool2d(y, 4))),
        lambda s: F.avg_pool2d(s, 2) * 4,
    ),
    "twice": (
        lambda: Fn(lambda x: flat(x, lambda y: F.avg_pool2d(F.avg_pool2d(y, 2), 2))),
        lambda s: F.avg_pool2d(s, 4) * 16,
    ),
    "a mean over axes": (
        lambda: Fn(lambda x: x.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean((-1, -3))),
        lambda s: F.avg_pool2d(s, 2) * 4,
    ),
    "times a number": (lambda: Fn(lambda x: 0.3 * x), lambda s: s),
    "divided": (lambda: Fn(lambda x: x / 3), lambda s: s),
    "times a parameter": (lambda: Gain(), lambda s: s),
    "times a parameter, pooled, less than nothing": (
        lambda: nn.Sequential(Gain(), layer.AvgPool2d(2, step_mode="m"), Fn(lambda x: x * -1.5)),
        lambda s: F.avg_pool2d(s, 2) * 4,
    ),
}


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.74))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x


class Fn(nn.Module):
    def __init__(self, do: Any) -> None:
        super().__init__()
        self.do = do

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.do(x)
        return out


def adaptive_sums(s: torch.Tensor, size: int) -> torch.Tensor:
    ends = [(i * 8 // size, -(-(i + 1) * 8 // size)) for i in range(size)]
    rows = [[s[..., a:b, c:d].sum((-1, -2)) for c, d in ends] for a, b in ends]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@pytest.mark.parametrize("add", [False, True], ids=["spikes", "a sum of spikes"])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("dense_behind", [False, True], ids=["convolution", "linear"])
def test_every_spike_is_charged_the_outputs_that_its_cell_reaches(name, add, dense_behind):
    pool, sums = POOLS[name]
    side = int(sums(torch.zeros(1, 4, 8, 8)).shape[-1])
    weighted: Any = layer.Conv2d(4, 3, 3, padding=1, bias=False, step_mode="m")
    if dense_behind:
        weighted = nn.Sequential(
            layer.Flatten(step_mode="m"), layer.Linear(4 * side * side, K, step_mode="m")
        )
    elif side < 2:
        pytest.skip("one cell")
    net = lively(Pools(pool(), weighted, add))
    functional.reset_net(net)
    x = torch.as_tensor(data()[0])
    with torch.no_grad():
        net(x.expand(T, *x.shape))
    cells = sums(net.spikes.flatten(0, 1).double())
    if dense_behind:
        wanted = float(cells.sum()) * K
    else:
        wanted = float(
            F.conv2d(cells, torch.ones(3, 4, 3, 3, dtype=torch.float64), padding=1).sum()
        )
    functional.reset_net(net)
    found = recorded(net)
    last = found.synapses[-1]
    assert last.kind == "pooled spikes"
    assert last.operations.sum() == round(wanted)
    folded = [one for one in found.operators if one.kind in ("average pool", "mean", "product")]
    assert folded
    assert {one.folded_into for one in folded} == {(last.name,)}


# --- what cannot be recorded, and what is said


def test_a_head_behind_the_mean_over_time_is_counted_once():
    net = lively(
        Does(nn.ModuleList([dense()[:3], nn.Linear(64, K)]), lambda n, x: n[1](n[0](x).mean(0)))
    )
    (_, head) = recorded(net).synapses
    assert (head.name, head.charged_steps, head.dense_operations) == ("net.1", 1, 640)


def test_a_sum_over_time_has_no_entropies_over_time():
    net = ae.wrap(
        lively(NETWORKS["multi-step, sum over time"][0]()), timesteps=T, classes=K, no_cache=True
    )
    sets = data(), [1 - data()[0]]
    with pytest.raises(
        DataError, match="mean-entropy is taken over time steps, and Does gives one"
    ):
        ae.ood(net, *sets, scores="mean-entropy")
    found = ae.ood(net, *sets, scores="all")
    told = found.to_text()
    assert "mean-entropy is taken over time steps" in told
    assert {row["score"] for row in found.records["id"]} >= {"entropy", "msp"}
    assert "mutual-information" not in {row["score"] for row in found.records["id"]}


def test_chance_is_seeded_by_sample_and_said():
    net = lively(several(encoding.PoissonEncoder(), layer.Flatten(), layer.Linear(64, K), mode="s"))
    with pytest.warns(AhsarWarning, match="draws random numbers: samples run one by one"):
        first = recorded(net)
    assert np.array_equal(first.logits, recorded(net, 3).logits)


def test_state_in_an_attribute_does_not_leak_and_is_said():
    net = lively(several(layer.Flatten(), layer.Linear(64, K), Integrates(), mode="s"))
    with pytest.warns(
        AhsarWarning, match="keeps state that reset_net does not reach .Integrates '2': v"
    ):
        first = recorded(net)
    assert np.array_equal(first.logits, recorded(net, 3).logits)


def test_how_a_network_is_called_is_found_once_for_all_threshold_scales(monkeypatch):
    own, x = [layer.Flatten(), layer.Linear(64, 64), neuron.LIFNode()], torch.as_tensor(data()[0])
    net = lively(several(*own, layer.Linear(64, K), Integrates(), mode="s"))
    spec = ModelSpec("tests:net", (1, 8, 8), K, timesteps=T)
    split = split_of(
        ImageSet("x", "all", data()[1], (), "x", "x", lambda i: list(x[i]), (1, 8, 8)), (1, 8, 8)
    )
    checkpoint = Checkpoint(spec, net.state_dict(), module=net)

    def alone(scale: float) -> Recording:
        return Runner(checkpoint, scale=scale).recording(split)

    expected = {scale: alone(scale) for scale in (0.5, 2.0)}
    searched, search = [], SpikingNet.find_calls

    def counted(net: SpikingNet) -> Behaviour:
        searched.append(net.spec.backbone)
        return search(net)

    monkeypatch.setattr(SpikingNet, "find_calls", counted)
    runner = Runner(checkpoint)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = {scale: runner.at_scale(scale).recording(split) for scale in (0.5, 2.0)}
        runner.recording(runner.perturbed(split))
    assert searched == ["tests:net"]
    assert sum("keeps state" in str(one.message) for one in said) == 1
    for scale, one in found.items():
        assert np.array_equal(one.logits, expected[scale].logits), "state is put back in each"
        assert one.thresholds == expected[scale].thresholds
        assert one.spec == expected[scale].spec


def test_dependence_that_only_real_samples_show_is_refused_with_both_numbers():
    def centred(net: Any, x: torch.Tensor) -> torch.Tensor:
        """Mixes samples that are exact 64ths, as the set's and not the trial's are."""
        exact = bool((x * 64 == (x * 64).round()).all())
        out: torch.Tensor = net(x - x.mean(1, keepdim=True) if exact else x)
        return out

    net = lively(Does(dense(), centred))
    images = np.random.default_rng(0).integers(0, 65, (N, 1, 8, 8)).astype(np.float32) / 64
    with pytest.raises(
        RecordingError, match=r"logit \d of sample 0 .* beside other samples and .* beside copies"
    ):
        ae.record(ae.wrap(net, timesteps=T, classes=K, no_cache=True), (images, np.arange(N) % K))


def test_an_image_network_refuses_frames_and_other_numbers_of_steps():
    net = lively(NETWORKS["a loop over one image"][0]())
    with pytest.raises(
        Exception, match="makes 4 time steps of an image itself, and T is 6; give --timesteps 4"
    ):
        ae.record(ae.wrap(net, timesteps=6, classes=K, no_cache=True), data())


class InInferenceMode(nn.Sequential):
    @torch.inference_mode()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        return out


def test_inference_mode_is_a_clear_no():
    with pytest.raises(ModelError, match=r"runs in torch\.inference_mode, .* take it off"):
        recorded(lively(InInferenceMode(*dense())))


def test_a_hook_that_makes_spikes_other_values_is_seen():
    net = lively(dense())
    net[2].register_forward_hook(lambda module, _, out: 0.5 * out)
    found = recorded(net)
    assert found.layers == ()
    assert [one.name for one in found.uncounted] == ["2"]
    assert found.synapses[-1].kind == "analog"


def test_several_inputs_are_a_clear_no():
    class Two(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    with pytest.raises(Exception, match=r"takes 2 inputs \(x, y\); expected one"):
        recorded(Two())


# --- snnTorch, as its tutorials write networks


def of_snntorch(kind: str) -> Any:
    snn = pytest.importorskip("snntorch")

    class Stepped(nn.Module):
        """A loop over time, potentials handed on."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 64), nn.Linear(64, K)
            self.leaky, self.out = snn.Leaky(beta=0.9), snn.Leaky(beta=0.9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner, outer, given = self.leaky.init_leaky(), self.out.init_leaky(), []
            for step in x:
                spikes, inner = self.leaky(self.first(step.flatten(1)), inner)
                spikes, outer = self.out(self.last(spikes), outer)
                given.append(outer if kind == "potentials" else spikes)
            return torch.stack(given)

    if kind != "hidden state":
        return lively(Stepped())
    leaky = snn.Leaky(beta=0.9, init_hidden=True)
    return lively(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), leaky, nn.Linear(64, K)))


@pytest.mark.parametrize(
    ("kind", "calls"), [("spikes", "TN/TN"), ("potentials", "TN/TN"), ("hidden state", "step/N")]
)
def test_networks_of_snntorch_run_as_they_are(kind, calls):
    net = of_snntorch(kind)
    found, alone = recorded(net, 64), recorded(net, 1)
    assert found.spec["calls"] == calls
    assert np.array_equal(found.logits, alone.logits)
    neurons = {n: m for n, m in net.named_modules() if type(m).__name__ == "Leaky"}
    assert [one.name for one in found.layers] == list(neurons)
    fired: dict[str, float] = dict.fromkeys(neurons, 0.0)

    def add(name: str, out: Any) -> None:
        fired[name] += float((out[0] if isinstance(out, tuple) else out).sum())

    for name, module in neurons.items():
        module.register_forward_hook(lambda _, i, out, name=name: add(name, out))
    x = torch.as_tensor(data()[0])
    if kind == "hidden state":
        net[2].reset_hidden()
    with torch.no_grad():
        logits = Calls.parse(calls).run(net, x.expand(T, *x.shape)).transpose(0, 1)
    assert np.allclose(found.logits, logits, atol=1e-5 * float(logits.abs().max()))
    assert {one.name: one.spikes.sum() for one in found.layers} == fired
    spiking = {one.name: one.spikes.sum() for one in found.layers}
    assert found.synapses[1].operations.sum() == K * next(iter(spiking.values()))


# --- code of the batch-first convention, as TET has it: layers see [N·T, …]


class Merged(nn.Module):
    """Layers on [N·T, …] of [N, T, …]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers(x.flatten(0, 1))
        return out.view(*x.shape[:2], *out.shape[1:])


def batch_first(repeat: bool) -> Any:
    inner = nn.Sequential(
        Merged(nn.Conv2d(1, T, 3, padding=1), nn.BatchNorm2d(T)),  # as many channels as steps
        LoopedSpikes(1),
        Merged(nn.AvgPool2d(2)),
        Merged(nn.Conv2d(T, 8, 3, padding=1, bias=False)),
        LoopedSpikes(1),
        nn.Flatten(2),
        Merged(nn.Linear(128, K)),
    )
    if not repeat:
        return lively(inner)
    return lively(Does(inner, lambda n, x: n(x.unsqueeze(1).repeat(1, T, 1, 1, 1))))


@pytest.mark.parametrize("repeat", [False, True])
def test_samples_and_steps_in_one_axis_are_told_apart(repeat):
    net = batch_first(repeat)
    found, others = recorded(net, 64), [recorded(net, size) for size in (1, T)]
    for other in others:
        assert np.array_equal(other.logits, found.logits)
        for one, again in zip(found.synapses, other.synapses, strict=True):
            assert np.array_equal(one.operations, again.operations), one.name
        for spiking, fired_again in zip(found.layers, other.layers, strict=True):
            assert np.array_equal(spiking.spikes, fired_again.spikes)
    modules, fired = dict(net.named_modules()), {}
    for spiking in found.layers:
        modules[spiking.name].register_forward_hook(
            lambda _, i, out, name=spiking.name: fired.update({name: out.sum((1, 2, 3, 4))})
        )
    x = torch.as_tensor(data()[0])
    with torch.no_grad():
        net(x if repeat else x[:, None].expand(-1, T, -1, -1, -1))
    for spiking in found.layers:
        assert spiking.spikes.tolist() == fired[spiking.name].tolist()
    (_, pooled, head) = found.synapses
    assert (pooled.kind, head.operations.sum()) == (
        "pooled spikes",
        K * found.layers[1].spikes.sum(),
    )


def test_a_threshold_for_each_channel_is_kept_and_shown_by_its_mean():
    node = neuron.SimpleLIFNode(tau=2.0, decay_input=True)
    node.v_threshold = torch.linspace(0.5, 1.5, 64)
    net = lively(several(layer.Flatten(), layer.Linear(64, 64), node, layer.Linear(64, K)))
    found, alone = recorded(net, 64), recorded(net, 1)
    assert found.thresholds == pytest.approx({"2": 1.0})
    assert np.array_equal(found.logits, alone.logits)
    assert found.layers[0].spikes.sum() > 0


class Fires(nn.Module):
    """Neurons of nobody's framework that may fire several times in a step; `odd` where an input
    is above 6.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.floor(x.clamp(min=0)) + 0.5 * self.odd * (x > 6).any()

    def __init__(self, odd: bool = False) -> None:
        super().__init__()
        self.odd = odd


def brightening(most: float) -> tuple[Any, Any]:
    """One pixel; two dim samples, then brighter ones."""
    values = np.array([0.06, 0.08, *np.linspace(0.1, most, 9)], np.float32)
    return values.reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8), np.float32), np.arange(11) % K


def firing(odd: bool = False) -> Any:
    net = several(layer.Flatten(), layer.Linear(64, 64, bias=False), Fires(odd), nn.Linear(64, K))
    net[1].weight.data = 7.6 * torch.eye(64)
    return net.eval()


def test_neurons_that_fire_several_times_for_some_samples_alone():
    data_ = brightening(0.7)
    found = ae.record(ae.wrap(firing(), timesteps=T, classes=K, no_cache=True), data_)
    spikes = np.floor(np.float32(7.6) * data_[0]).sum((1, 2, 3)) * T
    assert found.layers[0].spikes.tolist() == spikes.tolist()
    assert spikes[0] == 0
    assert spikes.max() == 5 * 64 * T
    assert found.synapses[-1].operations.tolist() == (spikes * K).tolist()


def test_neurons_that_give_other_than_whole_numbers_later_are_refused():
    wrapped = ae.wrap(firing(odd=True), timesteps=T, classes=K, no_cache=True)
    assert ae.record(wrapped, brightening(0.7)).layers
    with pytest.raises(RecordingError, match="now emits values other than whole numbers"):
        ae.record(wrapped, brightening(1.0))


def test_a_recurrent_layer_that_is_silent_at_first_is_not_taken_for_one_behind_the_image():
    net = lively(
        several(
            nn.Flatten(-3),
            nn.Linear(64, 32),
            layer.LinearRecurrentContainer(neuron.LIFNode(), 32, 32),
            nn.Linear(32, K),
        )
    )
    images = np.random.default_rng(0).random((N, 1, 8, 8)).astype(np.float32)
    images[:2] /= 100
    found = ae.record(ae.wrap(net, timesteps=T, classes=K, no_cache=True), (images, np.arange(N)))
    (spiking,) = found.layers
    assert spiking.spikes[:2].sum() == 0 < spiking.spikes.sum()
    recurrent = next(s for s in found.synapses if s.name == "2.rc")
    # What came in and its own spikes of the step before, at every step.
    assert recurrent.seen is not None
    assert (recurrent.seen.nonzero.sum(1) >= 32 * T).all()
    assert recurrent.seen.nonzero[2:].sum() > 32 * T * (N - 2)
