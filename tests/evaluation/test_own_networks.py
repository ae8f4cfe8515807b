"""Sweeps, rasters and factors on networks of anyone: whatever way they are called, with thresholds
by channel, without any, and with a controller on them.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from foreign_nets import NETWORKS, SHAPE, Does, K, LoopedSpikes, T, dense, lively, several
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import ahsar_eval as ae
from ahsar_eval.errors import AhsarWarning, HomeostasisError, ModelError, RecordingError
from ahsar_eval.homeostasis import Ahsar, named_neurons, read_thresholds
from ahsar_eval.networks.calls import Calls

N = 11
pytestmark = pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")
DATA = np.random.default_rng(0).random((N, *SHAPE)).astype(np.float32), np.arange(N) % K
ALWAYS = ("single-step", "batch first to the end", "a loop over one image", "containers")
OF_THEIR_OWN = [name for name in NETWORKS if not [*named_neurons(NETWORKS[name][0]())]]


def wrapped(net: Any, **more: Any) -> Any:
    return ae.wrap(net, timesteps=T, classes=K, no_cache=True, engine="reference", **more)


def rate_at(net: Any, calls: Calls, name: str, factor: float) -> float:
    """Mean spikes of a layer at a factor on its threshold, by a hook of this test's own."""
    net, seen = copy.deepcopy(net), []
    node = dict(net.named_modules())[name]
    node.v_threshold *= factor
    node.register_forward_hook(lambda m, i, o: seen.append(o.double().flatten()))
    for image in torch.as_tensor(DATA[0]).to(next(net.parameters()).dtype):
        functional.reset_net(net)
        with torch.no_grad():
            calls.run(net, image.expand(T, 2, *SHAPE))  # two equal ones beside each other
    return float(torch.cat(seen).mean())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.every)
        for name in NETWORKS
        if name not in OF_THEIR_OWN
    ],
)
def test_sweep_and_raster_whatever_way_a_network_is_called(name):
    make, calls, _ = NETWORKS[name]
    net = lively(make())
    (spiking,) = named_neurons(net)
    swept = ae.sweep(wrapped(net), DATA, scales=[0.5], replicates=100)
    drawn = ae.raster(wrapped(net), DATA, layer="0", scales=[0.5, 1.0])
    found = {row["scale"]: row for row in swept.records["layer"]}
    for scale in (0.5, 1.0):
        rate = rate_at(net, Calls.parse(calls), spiking, scale)
        tolerance = 1e-2 if name == "half precision" else 1e-9
        assert found[scale]["rate"] == pytest.approx(rate, rel=tolerance)
        assert found[scale]["threshold"] == scale
    assert [row["factor"] for row in drawn.records["panel"]] == [0.5, 1.0]
    spikes = [array for part, array in drawn.arrays.items() if part.endswith("/spikes")]
    assert {len(array) for array in spikes} == {T}


@pytest.mark.parametrize("name", OF_THEIR_OWN[:1] + OF_THEIR_OWN[-1:])
def test_neurons_without_a_threshold_are_drawn_and_take_no_factor(name):
    net = wrapped(lively(NETWORKS[name][0]()))
    (panel,) = ae.raster(net, DATA, layer="0", scales=[1]).records["panel"]
    assert (panel["factor"], panel["threshold"]) == (None, None)
    assert panel["rate"] > 0
    with pytest.raises(HomeostasisError, match=r"no layer with a v_threshold that the factor 0.5"):
        ae.raster(net, DATA, layer="0", scales=[0.5])
    with pytest.raises(HomeostasisError, match=r"no layer with a v_threshold that the factor 2"):
        ae.record(wrapped(lively(NETWORKS[name][0]()), scale=2), DATA)
    with pytest.raises(RecordingError, match="no spiking layer of SpikingJelly"):
        ae.sweep(net, DATA, scales=[1])


def test_a_raster_of_neurons_without_a_threshold_has_its_panel(tmp_path):
    net = wrapped(lively(NETWORKS[OF_THEIR_OWN[0]][0]()))
    ae.raster(net, DATA, layer="0", scales=[1]).plot("raster", tmp_path / "figure.png")
    drawn = np.load(tmp_path / "figure.arrays.npz")
    assert np.isnan(drawn["threshold_0_0"])
    assert drawn["rate_0_0"] > 0


def test_a_layer_that_takes_no_factor_beside_one_that_does_is_named():
    net = lively(several(*list(dense())[:3], nn.Linear(64, 64), LoopedSpikes(0), nn.Linear(64, K)))
    with pytest.warns(AhsarWarning, match=r"factor 0.5 is not put on layers .*v_threshold \(4\)"):
        ae.record(wrapped(net, scale=0.5), DATA)


def test_a_factor_on_a_threshold_that_the_network_writes_is_refused():
    def forward(net: Any, x: Tensor) -> Any:
        net[2].v_threshold = 0.5
        return net(x)

    net, asked = lively(Does(dense(), forward)), lively(dense())
    asked.load_state_dict(net.net.state_dict())
    found = ae.record(wrapped(net), DATA)
    assert np.array_equal(found.logits, ae.record(wrapped(asked, scale=0.5), DATA).logits)
    for refused in (
        lambda: ae.record(wrapped(net, scale=2), DATA),
        lambda: ae.raster(wrapped(net), DATA, layer="0", scales=[0.5]),
    ):
        with pytest.raises(HomeostasisError, match=r"writes the threshold of layer 'net.2' while"):
            refused()


class Packed(nn.Linear):
    """A layer with more than tensors in its state, as quantised ones."""

    def get_extra_state(self) -> Any:
        return {"scale": 0.5}


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (dense().to("meta"), "'1.weight' as a meta tensor"),
        (nn.Sequential(dense(), Packed(K, K)), "'1._extra_state' as a dict"),
    ],
)
def test_a_live_network_without_numbers_is_refused(net, told):
    with pytest.raises(ModelError, match=f"holds {told}"):
        ae.record(wrapped(net), DATA)


class ByChannel(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """Leaky neurons, each with a threshold of its own in a buffer."""

    v: Any
    v_threshold: Any

    def __init__(self, thresholds: Tensor) -> None:
        super().__init__()
        del self.v_threshold
        self.register_buffer("v_threshold", thresholds)

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = 0.5 * self.v + x


THETA = torch.linspace(0.5, 2, 64)


def by_channel() -> Any:
    torch.manual_seed(0)
    return lively(
        several(
            layer.Flatten(), layer.Linear(64, 64), ByChannel(THETA.clone()), layer.Linear(64, K)
        )
    )


def test_thresholds_by_channel_are_swept_as_a_whole():
    net, runs = by_channel(), Calls.parse("TN/TN")
    for scale in (0.5, 1.0, 2.0):
        rate = rate_at(net, runs, "2", scale)
        found = ae.record(wrapped(net, scale=scale), DATA)
        assert found.rate(found.layers[0]) == pytest.approx(rate, rel=1e-12)
        assert found.thresholds == pytest.approx({"2": 1.25 * scale})
    assert torch.equal(net[2].v_threshold, THETA), "the network itself was changed"
    scales = [0.5, 2.0]
    shown = ae.energy(wrapped(net), DATA, scales=scales).records["scale"]
    assert [row["scale"] for row in shown if not row["own"]] == scales


def test_the_slope_of_thresholds_by_channel_is_the_mean_over_neurons_of_their_own():
    """Against a network with a layer for each of two thresholds."""
    torch.manual_seed(0)
    halves = torch.tensor([0.5, 2.0]).repeat_interleave(32)
    found = ae.sweep(wrapped(one_by_one(halves)), DATA, scales=[1], replicates=100).records[
        "layer"
    ][0]
    alone = [one_by_one(torch.full((64,), theta), i) for i, theta in enumerate((0.5, 2.0))]
    parts = [ae.sweep(wrapped(net), DATA, scales=[1], replicates=100) for net in alone]
    rows = [part.records["layer"][0] for part in parts]
    for quantity in ("rate", "gate", "slope", "density"):
        mean = np.mean([row[quantity] for row in rows])
        assert found[quantity] == pytest.approx(mean, rel=1e-6), quantity
    assert found["threshold"] == 1.25


def one_by_one(thresholds: Tensor, keep: int | None = None) -> Any:
    """One neuron for a pixel; with `keep` the pixels of that half stand for both."""
    take = torch.arange(64)
    if keep is not None:
        take = torch.arange(32 * keep, 32 * keep + 32).repeat(2)
    weights = torch.eye(64)[take] * 2
    net = several(
        layer.Flatten(), layer.Linear(64, 64, bias=False), ByChannel(thresholds), nn.Linear(64, K)
    )
    net[1].weight.data = weights
    return net.eval()


def test_a_network_with_a_controller_on_it_is_run_as_that_replays_and_scaled_from_its_base():
    net = lively(dense())
    plain = {
        scale: ae.record(wrapped(copy.deepcopy(net), scale=scale), DATA).layers[0].spikes
        for scale in (0.5, 1.0, 2.0)
    }
    with Ahsar(net) as ahsar:
        net.train()
        net(torch.rand(T, 3, *SHAPE))
        functional.reset_net(net)
        ahsar.resume(replace(ahsar.snapshot(), ema_scale=np.array([2.0])))
        before = ahsar.state_dict()
        for scale in (None, 0.5, 1.0):
            found = ae.record(wrapped(net, scale=scale), DATA)
            assert found.thresholds == {"2": scale or 2.0}
            assert np.array_equal(found.layers[0].spikes, plain[scale or 2.0])
        (own, *_) = ae.sweep(wrapped(net), DATA, scales=[0.5], replicates=100).records["point"]
        assert (own["own"], own["scale"]) == (True, 2.0)
        assert (ahsar.state_dict(), net.training) == (before, True)
        assert net[2]._forward_hooks, "the controller is still on the network"
    assert read_thresholds(net) == {"2": 1.0}
