"""What operations receive, call by call: every number against a plain loop over the tensors that a
hook sees.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import Recording, Seen, record
from ahsar_eval.recording.counting import FanOut, Received, nothing_seen
from ahsar_eval.recording.passes import Pass

T, N = 3, 5
POOLS: dict[str, dict[str, Any]] = {
    "avg": {"kernel_size": 2},
    "avg3": {"kernel_size": 3, "stride": 1, "padding": 1},
}


class Net(nn.Module):
    """conv–LIF–(pool)–conv–LIF–(sum with the first spikes)–linear; the second convolution may have
    zero weights.
    """

    def __init__(
        self, step_mode: str, pool: str | None, *, residual: bool = False, zeros: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv1 = layer.Conv2d(1, 3, 3, padding=1, step_mode=step_mode)
        self.lif1 = neuron.LIFNode(tau=1.5, v_threshold=0.3, step_mode=step_mode)
        maximum = layer.MaxPool2d(2, step_mode=step_mode)
        self.pool = (
            nn.Identity()
            if pool is None
            else maximum
            if pool == "max"
            else layer.AvgPool2d(**POOLS[pool], step_mode=step_mode)
        )
        self.conv2 = layer.Conv2d(3, 3, 3, padding=1, step_mode=step_mode)
        self.lif2 = neuron.LIFNode(tau=1.5, v_threshold=0.2, step_mode=step_mode)
        self.linear = layer.Linear(
            3 * (4 if pool in ("avg", "max") else 16), 2, step_mode=step_mode
        )
        self.residual, self.step_mode = residual, step_mode
        if zeros:
            with torch.no_grad():
                self.conv2.weight[0, 1] = 0
                self.linear.weight[1, ::2] = 0

    def forward(self, x: Tensor) -> Tensor:
        first = self.pool(self.lif1(self.conv1(x)))
        second = self.lif2(self.conv2(first))
        joined = first + second if self.residual else second
        logits: Tensor = self.linear(joined.flatten(2 if self.step_mode == "m" else 1))
        return logits


def images() -> Tensor:
    return torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def recorded_and_seen(
    net: Net, given_split: Any, batch_size: int
) -> tuple[Recording, dict[str, Tensor]]:
    """A recording, and by layer with weights its inputs [T, N, …] from hooks of this test."""
    spiking = SpikingNet(
        net, ModelSpec("tests:net", (1, 4, 4), 2, timesteps=T, step_mode=net.step_mode)
    ).eval()
    inputs: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda module, given, name=name: inputs.setdefault(name, []).append(given[0].clone())
        )
        for name, module in net.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad():
        spiking.reset()
        spiking(images()[None])
    for handle in handles:
        handle.remove()
    seen = {
        name: found[0] if net.step_mode == "m" else torch.stack(found)
        for name, found in inputs.items()
    }
    # Whether sums of pooled spikes and spikes are whole numbers depends on the two samples that are
    # looked at first.
    declared = {"linear": "analog"} if net.residual and isinstance(net.pool, nn.AvgPool2d) else {}
    return record(spiking, given_split, batch_size=batch_size, input_kinds=declared), seen


def reached(module: nn.Module, x: Tensor, *, live: bool = False) -> int:
    """Σ over the elements of x that are not zero of the outputs they reach, by running the layer
    with weights of one.
    """
    own: Tensor = module.weight  # type: ignore[assignment]
    weights = (own != 0).double() if live else torch.ones_like(own, dtype=torch.float64)
    ones = (x != 0).double()
    if isinstance(module, nn.Linear):
        return int((ones @ weights.T).sum())
    return int(torch.nn.functional.conv2d(ones, weights, padding=1).sum())


def check(seen: Seen, calls: list[list[Tensor]], module: nn.Module, repeats: int = 1) -> None:
    """`calls[n]` are what sample n meets in each call."""
    for sample, own in enumerate(calls):
        for column, x in enumerate(own):
            values = sorted(set(x.flatten().tolist()))
            two = len(values) <= 2
            assert seen.nonzero[sample, column] == int((x != 0).sum()) * repeats
            assert seen.fan_out_ops[sample, column] == reached(module, x) * repeats
            assert math.isclose(
                seen.total[sample, column], float(x.double().sum()) * repeats, rel_tol=1e-6
            )
            assert (seen.low[sample, column], seen.high[sample, column]) == (
                values[0],
                values[-1],
            ) or seen.binary[sample, column]
            assert seen.two_valued[sample, column] == two or (seen.binary[sample, column] and two)
            assert seen.signed[sample, column] == set(values).issubset({-1, 0, 1})
            assert seen.whole[sample, column] == all(
                value >= 0 and value == int(value) for value in values
            )
            assert seen.binary[sample, column] == set(values).issubset({0, 1})
            if seen.nonzero_fan_out_ops is not None:
                assert (
                    seen.nonzero_fan_out_ops[sample, column]
                    == reached(module, x, live=True) * repeats
                )


@pytest.mark.parametrize("batch_size", [1, 2, N])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("pool", [None, "avg", "avg3", "max"])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_every_layer_against_its_own_inputs(split_from, step_mode, pool, residual, batch_size):
    net = Net(step_mode, pool, residual=residual, zeros=residual)
    recording, inputs = recorded_and_seen(net, split_from(images()), batch_size)
    for synapse in recording.synapses:
        x, seen = inputs[synapse.name], synapse.seen
        assert seen is not None
        assert synapse.geometry is not None
        assert seen.elements == T * synapse.geometry.input_elements == x[:, 0].numel()
        module = net.get_submodule(synapse.name)
        assert (seen.nonzero_fan_out_ops is not None) == (residual and synapse.name != "conv1")
        static = synapse.charged_steps == 1
        if static:
            check(seen, [[x[0, n : n + 1]] for n in range(N)], module, repeats=T)
        elif seen.nonzero.shape[1] == T:
            check(seen, [[x[t, n : n + 1] for t in range(T)] for n in range(N)], module)
        else:
            check(seen, [[x[:, n]] for n in range(N)], module)
    kinds = {synapse.name: synapse.kind for synapse in recording.synapses}
    assert (
        kinds["conv2"]
        == {None: "spikes", "avg": "pooled spikes", "avg3": "pooled spikes", "max": "spikes"}[pool]
    )


def test_columns_are_calls_where_values_decide(split_from):
    shapes = {}
    for step_mode in ("m", "s"):
        recording, _ = recorded_and_seen(
            Net(step_mode, "avg", residual=True), split_from(images()), 2
        )
        shapes[step_mode] = {
            s.name: s.seen.nonzero.shape for s in recording.synapses if s.seen is not None
        }
    assert shapes["m"] == dict.fromkeys(("conv1", "conv2", "linear"), (N, 1))
    assert shapes["s"] == {"conv1": (N, 1), "conv2": (N, T), "linear": (N, T)}


def batch_of_three(each_step: bool) -> Pass:
    mode = "s" if each_step else "m"
    shared = Pass(ModelSpec("tests:net", (1, 1, 1), 2, timesteps=2, step_mode=mode), 3)
    shared.begin_batch(np.arange(3), 3)
    return shared


VALUES = st.sampled_from([0.0, 1.0, -1.0, 0.25, 2.0, 0.5, 1e-30, -3.0])


@settings(max_examples=60)
@given(st.lists(VALUES, min_size=24, max_size=24), st.booleans())
def test_any_values(values, each_step):
    x = torch.tensor(values).reshape(2, 3, 4)
    shared = batch_of_three(each_step)
    columns = 2 if each_step else 1
    seen = nothing_seen(shared, columns, 8)
    fan_out = FanOut(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    given = torch.zeros(3, dtype=torch.float64)
    for shared.step, call in enumerate(x.split(2 // columns)):
        given += Received(call, shared).note(seen, fan_out)
    shared.write()
    assert given.tolist() == seen.fan_out_ops.sum(1).tolist()
    for sample in range(3):
        for column in range(columns):
            own = x[column : column + 1, sample] if each_step else x[:, sample]
            found = set(own.flatten().tolist())
            assert seen.nonzero[sample, column] == int((own != 0).sum())
            assert seen.fan_out_ops[sample, column] == int(
                ((own != 0).double() @ torch.arange(1.0, 5.0, dtype=torch.float64)).sum()
            )
            assert np.isclose(seen.total[sample, column], own.double().sum())
            assert (seen.low[sample, column], seen.high[sample, column]) == (
                np.float32(min(found)),
                np.float32(max(found)),
            )
            assert seen.two_valued[sample, column] == (len(found) <= 2)
            assert seen.signed[sample, column] == (found <= {0.0, 1.0, -1.0})
            assert seen.whole[sample, column] == all(
                value >= 0 and value == int(value) for value in found
            )
            assert seen.binary[sample, column] == (found <= {0.0, 1.0})


@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("odd", [0.5, 3.0, -1.0])
def test_one_odd_value_among_many_is_seen(odd, each_step):
    """Large enough that most elements are beyond the first glance; sample 1 holds one value that is
    neither 0 nor 1, at any place.
    """
    for place in (0, 1, 4094, 4095, 1027):
        x = (torch.rand(2, 3, 4096, generator=torch.Generator().manual_seed(place)) < 0.2).float()
        x[1, 1, place] = odd
        for part in x.split(1 if each_step else 2):
            received = Received(part, batch_of_three(each_step))
            is_odd = [False, odd in part, False]
            assert (~received.two_valued()).tolist() == is_odd
            assert (~received.integral).tolist() == ([False] * 3 if odd != 0.5 else is_odd)
            assert received.nonzero().sum() == (part != 0).sum()


def test_replayed_counts_are_values_times_fan_out(split_from_frames):
    frames = torch.randint(
        0, 4, (T, N, 1, 4, 4), generator=torch.Generator().manual_seed(2)
    ).float()
    net = Net("m", None)
    spiking = SpikingNet(net, ModelSpec("tests:net", (1, 4, 4), 2, timesteps=T)).eval()
    first = record(spiking, split_from_frames(frames)).synapses[0]
    ones = torch.ones(3, 1, 3, 3, dtype=torch.float64)
    expected = [
        int(torch.nn.functional.conv2d(frames[:, n].double(), ones, padding=1).sum())
        for n in range(N)
    ]
    assert first.kind == "analog"
    assert first.replayed is not None
    assert first.replayed.tolist() == expected
    halves = record(spiking, split_from_frames(frames / 2)).synapses[0]
    assert halves.replayed is None, "half an event is none"
