"""How long nothing comes into a spiking layer, against a look at every value."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import record
from ahsar_eval.recording.counters import NeuronCounter
from ahsar_eval.recording.passes import Pass

T = 4


class Chain(nn.Module):
    """Neurons that need several steps to fire, so that zeros reach the deeper layers first; no bias
    anywhere.
    """

    def __init__(self, step_mode: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = layer.Conv2d(1, 2, 3, padding=1, bias=False, step_mode=step_mode)
        self.lif1 = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode=step_mode)
        self.linear1 = layer.Linear(2 * 36, 8, bias=False, step_mode=step_mode)
        self.lif2 = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode=step_mode)
        self.linear2 = layer.Linear(8, 3, bias=False, step_mode=step_mode)
        self.start = 2 if step_mode == "m" else 1

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.lif1(self.conv(x)).flatten(self.start)
        logits: Tensor = self.linear2(self.lif2(3 * self.linear1(spikes)))
        return logits


@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_silent_steps_are_counted_by_sample(split_from, step_mode, batch_size):
    images = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [0, 0.1, 0.5, 1, 2, 5, 0.2]
    ).view(7, 1, 1, 1)
    # Most of a sample zero: a glance at a few elements does not settle it.
    images[6, :, :, 1:] = 0
    net = Chain(step_mode)
    seen: dict[str, list[Tensor]] = {"lif1": [], "lif2": []}
    spiking = SpikingNet(
        net, ModelSpec("tests:net", (1, 6, 6), 3, timesteps=T, step_mode=step_mode)
    ).eval()
    handles = [
        net.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: seen[name].append(inputs[0].clone())
        )
        for name in seen
    ]
    with torch.no_grad():
        spiking.reset()
        spiking(images[None])
    for handle in handles:
        handle.remove()
    recording = record(spiking, split_from(images), batch_size=batch_size)
    for recorded in recording.layers:
        x = seen[recorded.name][0] if step_mode == "m" else torch.stack(seen[recorded.name])
        active = (x != 0).flatten(2).any(2)  # [T, N]
        expected = [next((step for step in range(T) if active[step, n]), T) for n in range(7)]
        assert recorded.silent_steps is not None
        assert recorded.silent_steps.tolist() == expected
    deep = recording.layers[1].silent_steps
    assert deep is not None
    assert len(set(deep.tolist())) > 2, "the samples fall silent alike, and the test shows little"


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 500]), st.booleans())
def test_inputs_that_come_and_go(seed, size, single_step):
    """Few values that are not zero, anywhere in a large input, in some steps only."""
    maker = torch.Generator().manual_seed(seed)
    x = (torch.rand(T, 5, size, generator=maker) < 0.8 / size).float() * (
        torch.rand(T, 5, 1, generator=maker) < 0.6
    )
    mode = "s" if single_step else "m"
    shared = Pass(ModelSpec("tests:net", (1, 1, size), 2, timesteps=T, step_mode=mode), 4)
    counter = NeuronCounter(shared, "lif", neuron.LIFNode(step_mode=mode), (size,))
    shared.begin_batch(np.arange(4), 5)
    for shared.step, part in enumerate(x if single_step else (x,)):
        counter.took(part)
        counter.gave(torch.zeros_like(part))
    shared.write()
    active = (x != 0).any(2)
    assert counter.silent_steps[:, 0].tolist() == [
        next((step for step in range(T) if active[step, n]), T) for n in range(4)
    ]
