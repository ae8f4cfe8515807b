"""Networks as people write them: set points are the rates of their recordings, and what adapts does
so alike whatever the batch, or is refused by name.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from foreign_nets import NETWORKS, SHAPE, K, T, lively
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from ahsar_eval.data import ImageSet, Split, split_of
from ahsar_eval.data.split import pooled
from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.regulation import RegulationParams
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import record
from ahsar_eval.recording.adaptation import (
    Adaptation,
    check_adaptation,
    measure_set_points,
    record_adapted,
)

pytestmark = pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")
N = 11
PARAMS = RegulationParams(beta=0.5, bound=1.0, repeats=2, stream_beta=0.5)


def images() -> Split:
    x = torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(0))
    labels = np.arange(N) % K
    source = ImageSet(
        "given", "all", labels, (), "given", "given", lambda indices: list(x[indices]), SHAPE
    )
    return split_of(source, SHAPE)


def network(backbone: nn.Module) -> SpikingNet:
    net = SpikingNet(backbone, ModelSpec("own:net", SHAPE, K, timesteps=T))
    net.find_calls()
    return net.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_set_points_are_rates_and_no_batch_changes_what_adapts(name: str) -> None:
    net, split = network(lively(NETWORKS[name][0]())), images()
    points = measure_set_points(net, split)
    assert measure_set_points(net, split, batch_size=3).to_dict() == points.to_dict()
    plain = record(net, split)
    assert [one.name for one in plain.layers] == list(points.layers) != []
    for layer in plain.layers:
        point, own = points.layers[layer.name], layer.spikes / (layer.neurons * T)
        assert (point.layer_rate, point.layer_spread) == pytest.approx((own.mean(), own.std()))
        by_channel = np.moveaxis(layer.rate_map, point.axis, 0).reshape(len(point.rates), -1)
        assert point.rates == pytest.approx(by_channel.mean(1))
    lower = replace(
        points,
        layers={
            name: replace(one, rates=one.rates * 0.5, layer_rate=one.layer_rate * 0.5)
            for name, one in points.layers.items()
        },
    )
    of = pooled(split, 4, seed=0)
    threshold = any(isinstance(m, (neuron.LIFNode, neuron.IFNode)) for m in net.modules())
    for mode, protocol in (("layer", "episodic"), ("channel", "online")):
        how = Adaptation((mode,), lower, protocol, batch=4, params=PARAMS)
        if not threshold:
            with pytest.raises(HomeostasisError, match=r"no v_threshold|a v_threshold that"):
                record_adapted(net, of, how)
            continue
        found = [record_adapted(net, of, how, batch_size=size) for size in (64, 3)]
        assert np.array_equal(found[0].logits, found[1].logits)
        told = [one.provenance["adaptation"] for one in found]
        assert told[0] == told[1]
        assert told[0]["effort"] > 0.01
        fewer, before = (one.layers[0].spikes.sum() for one in (found[0], record(net, of)))
        assert mode == "channel" or fewer < before


class Own(nn.Module):
    """Neurons of nobody's framework, whose potential of the last call is no other batch's."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.v_threshold = threshold
        self.v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.v = x if self.v is None else 0.5 * self.v + x
        spikes = (self.v >= self.v_threshold).float()
        self.v = self.v * (1 - spikes)
        return spikes


def test_neurons_that_no_reset_reaches_are_tried_from_rest() -> None:
    torch.manual_seed(1)
    net = network(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), Own(0.25), nn.Linear(64, K)))
    split = pooled(images(), 4, seed=0)
    points = measure_set_points(net, split)
    assert points.layers["2"].layer_rate > 0
    higher = {"2": replace(points.layers["2"], rates=points.layers["2"].rates + 0.2)}
    how = Adaptation(("channel",), replace(points, layers=higher), params=PARAMS)
    net(split.tensors(np.arange(5)))
    check_adaptation(net, how)
    found = record_adapted(net, split, how)
    assert found.layers[0].spikes.sum() > record(net, split).layers[0].spikes.sum()


class Reads(nn.Module):
    """Logits are the potentials of neurons that never fire."""

    def __init__(self) -> None:
        super().__init__()
        self.net = lively(NETWORKS["single-step"][0]())
        self.out = neuron.LIFNode(v_threshold=float("inf"))

    def forward(self, x: Tensor) -> Any:
        self.out(self.net(x))
        return self.out.v


def test_a_read_out_is_not_regulated() -> None:
    net, split = network(Reads()), images()
    points = measure_set_points(net, split)
    assert list(points.layers) == ["net.2"]
