"""What a network does on each sample of an uncounted pass, and where a regulator comes to for each
of many batches.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ahsar_eval.data import open_split
from ahsar_eval.data.split import pooled
from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.regulation import RegulationParams
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.checkpoints import network_of
from ahsar_eval.recording import record
from ahsar_eval.recording.adaptation import (
    Adaptation,
    measure_set_points,
    record_adapted,
    watch,
)

SIZE = 3


@pytest.fixture(scope="module")
def watched(make_tiny):
    """A network, ten digits, the adaptation to other digits' rates, and what `watch` found."""
    net = network_of(make_tiny())
    split = open_split("digits", (1, 16, 16)).at(np.arange(0, 450, 45))
    known = open_split("digits", (1, 16, 16), role="train").at(np.arange(60))
    adaptation = Adaptation(("channel",), measure_set_points(net, known))
    batches = {SIZE: [np.array([7, 1, 4]), np.array([0, 9, 2])], 1: [np.array([5])]}
    return net, split, adaptation, batches, watch(net, split, batches, adaptation, batch_size=4)


def test_counts_are_those_of_hooks_and_logits_those_of_a_recording(watched):
    net, split, _, _, (found, _) = watched
    spikes: dict[str, torch.Tensor] = {}
    modules = dict(net.backbone.named_modules())
    handles = [
        modules[name].register_forward_hook(
            lambda module, inputs, out, name=name: spikes.update({name: out})
        )
        for name in found.counts
    ]
    with torch.no_grad():
        net.reset()
        net(split.tensors(np.arange(len(split))))
    for handle in handles:
        handle.remove()
    assert len(found.counts) == 10
    for name, (counts, places) in found.counts.items():
        out = spikes[name]  # [T, N, C, H, W]
        expected = out.sum(dim=(0, 3, 4)) if out.dim() == 5 else out.sum(dim=0)
        assert np.array_equal(counts, expected.numpy())
        assert places == out[:, 0].numel() // out.shape[2]
        rates = found.rates(np.array([2, 3]))[name]
        assert rates == pytest.approx(counts[2:4].sum(0) / (2 * places), rel=1e-12)
    assert np.array_equal(found.logits, record(net, split).logits)


def test_a_regulator_comes_to_where_an_episode_does(watched):
    """The samples of a batch as the pool of an episode, by the recorder of such."""
    net, split, adaptation, batches, (_, reached) = watched
    assert {size: len(states) for size, states in reached.items()} == {SIZE: 2, 1: 1}
    for members, state in zip(batches[SIZE], reached[SIZE], strict=True):
        other = replace(pooled(split, SIZE, 0), pool=split.at(members))
        said = record_adapted(net, other, adaptation).provenance["adaptation"]
        assert state.effort == said["effort"] > 0
        assert state.steps == RegulationParams().repeats


def test_the_order_in_a_batch_and_other_batches_change_nothing(watched):
    net, split, adaptation, batches, (_, reached) = watched
    other = {SIZE: [batches[SIZE][1], batches[SIZE][0][::-1]]}
    _, again = watch(net, split, other, adaptation)
    assert [one.effort for one in again[SIZE]] == [one.effort for one in reached[SIZE][::-1]]


def test_the_network_is_afterwards_as_it_was(watched):
    net, split, adaptation, batches, (found, _) = watched
    with torch.no_grad():
        before = {name: value.clone() for name, value in net.backbone.state_dict().items()}
        watch(net, split, batches, replace(adaptation, modes=("layer",)))
    assert all(torch.equal(value, before[n]) for n, value in net.backbone.state_dict().items())
    again, _ = watch(net, split, {}, adaptation)
    assert np.array_equal(again.logits, found.logits)


def test_a_network_that_does_not_spike_is_refused(watched):
    _, split, adaptation, batches, _ = watched
    spec = ModelSpec(backbone="a:b", input_shape=(1, 16, 16), classes=256, timesteps=2)
    net = SpikingNet(nn.Flatten(2), spec)
    with pytest.raises(HomeostasisError, match="no spiking layer whose rates"):
        watch(net, split, batches, adaptation)
