"""Operations without weights: what is found, under which name and shape, what is measured of it,
and what is listed.
"""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import base, functional, layer, neuron
from spikingjelly.activation_based.layer.attention import SpikingSelfAttention
from spikingjelly.activation_based.model import sew_resnet, spiking_resnet
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import OperatorActivity, Recording, record

T = 3


class Mixed(nn.Module):
    """One of everything: normalisation behind a layer with weights and not, poolings, sums of
    values and of spikes, products, a mean.
    """

    def __init__(self, step_mode: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = layer.Conv2d(1, 4, 3, padding=1, bias=False, step_mode=step_mode)
        self.bn = layer.BatchNorm2d(4, step_mode=step_mode)
        self.lif1 = neuron.LIFNode(v_threshold=0.3, step_mode=step_mode)
        self.lif2 = neuron.LIFNode(v_threshold=0.4, step_mode=step_mode)
        self.pool = layer.AvgPool2d(2, step_mode=step_mode)
        self.most = layer.MaxPool2d(3, 2, 1, step_mode=step_mode)
        self.alone = layer.BatchNorm2d(4, affine=False, step_mode=step_mode)
        self.conv2 = layer.Conv2d(4, 4, 1, step_mode=step_mode)
        self.lif3 = neuron.LIFNode(v_threshold=0.2, step_mode=step_mode)
        self.linear = layer.Linear(4, 2, step_mode=step_mode)
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        values = self.bn(self.conv(x))
        first, second = self.lif1(values), self.lif2(values)
        summed = first + second
        pooled = self.conv2(self.pool(first))
        joined = self.alone(pooled + 0.5 * self.most(summed))
        joined += 1.0
        spikes = self.lif3(joined)
        logits: Tensor = self.linear(spikes.mean((-2, -1)))
        return logits


def recorded(
    net: nn.Module,
    given: Any,
    shape: tuple[int, int, int],
    classes: int = 2,
    step_mode: str = "m",
    batch_size: int = 3,
) -> Recording:
    return record(
        SpikingNet(net, ModelSpec("tests:net", shape, classes, timesteps=T, step_mode=step_mode)),
        given,
        batch_size=batch_size,
    )


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_everything_between_layers_is_found(split_from, step_mode):
    recording = recorded(
        Mixed(step_mode), split_from(images(5, 1, 4, 4)), (1, 4, 4), step_mode=step_mode
    )
    found = {operator.name: operator for operator in recording.operators}
    facts = {name: (o.kind, o.inputs, o.outputs, o.steps, o.window) for name, o in found.items()}
    assert facts == {
        "bn": ("normalisation", 64, 64, T, 1),
        "Mixed: addition 1": ("addition", 64, 64, T, 1),
        "pool": ("average pool", 64, 16, T, 4),
        "most": ("max pool", 64, 16, T, 9),
        "Mixed: product 1": ("product", 16, 16, T, 1),
        "Mixed: addition 2": ("addition", 16, 16, T, 1),
        "alone": ("normalisation", 16, 16, T, 1),
        "Mixed: addition 3": ("addition", 16, 16, T, 1),
        "Mixed: mean 1": ("mean", 16, 4, T, 4),
    }
    assert (found["bn"].behind, found["bn"].channels, found["bn"].affine) == ("conv", 4, True)
    assert (found["alone"].behind, found["alone"].affine) == (None, False)
    assert found["pool"].folded_into == ("conv2",)
    assert found["Mixed: addition 1"].operand_kinds == ("spikes", "spikes")
    assert (
        found["Mixed: addition 2"].operand_kinds == found["Mixed: addition 3"].operand_kinds == ()
    )
    assert recording.uncounted == ()


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_sum_of_spikes_knows_the_spikes_of_both(split_from, step_mode, batch_size):
    recording = recorded(
        Mixed(step_mode),
        split_from(images(5, 1, 4, 4)),
        (1, 4, 4),
        step_mode=step_mode,
        batch_size=batch_size,
    )
    summed = next(
        operator for operator in recording.operators if operator.name == "Mixed: addition 1"
    )
    spikes = {layer.name: layer.spikes.tolist() for layer in recording.layers}
    assert [operand.nonzero.sum(1).tolist() for operand in summed.operands] == [
        spikes["lif1"],
        spikes["lif2"],
    ]
    assert spikes["lif1"] != spikes["lif2"]
    assert all(operand.binary.all() for operand in summed.operands)
    assert summed.operands[0].nonzero.shape == (5, T if step_mode == "s" else 1)


class Begins(base.MemoryModule):  # type: ignore[misc, unused-ignore]
    """A step whose first has no potential to add to, before a sum of spikes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.v: Any
        self.register_memory("v", None)
        self.first, self.last = nn.Linear(16, 6), nn.Linear(6, 2)
        self.lif1, self.lif2 = (neuron.LIFNode(v_threshold=v) for v in (0.1, 0.2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.flatten(1))
        self.v = y if self.v is None else 0.5 * self.v + y
        logits: Tensor = self.last(self.lif1(self.v) + self.lif2(self.v))
        return logits


def test_what_the_first_step_lacks_is_not_counted_in_it(split_from):
    found = recorded(Begins(), split_from(images(5, 1, 4, 4)), (1, 4, 4), step_mode="s")
    assert {one.name: (one.outputs, one.steps) for one in found.operators} == {
        "Begins: addition 1": (6, T),  # of spikes
        "Begins: product 1": (6, T - 1),
        "Begins: addition 2": (6, T - 1),
    }
    fired = [one.nonzero.sum(1).tolist() for one in found.operators[0].operands]
    assert fired == [layer.spikes.tolist() for layer in found.layers]
    assert fired[0] != fired[1]


class Repeated(nn.Module):
    """Sums, products and poolings of spikes, twice of one place in a step, and a function without a
    rule: of one step in a call, or of all in a loop of the network's own.
    """

    def __init__(self, loops: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loops = loops
        self.conv = layer.Conv2d(1, 5, 3, padding=1, bias=False)
        self.lif1, self.lif2 = (neuron.LIFNode(v_threshold=v) for v in (0.1, 0.2))
        self.most, self.again = layer.MaxPool2d(2), layer.MaxPool2d(2)
        self.linear = layer.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        if not self.loops:
            return self.step(x)
        total = torch.zeros(x.shape[1], 2)
        for step in x:
            total = total + self.step(step)
        return total

    def step(self, x: Tensor) -> Tensor:
        values = self.conv(x)
        first, second = self.lif1(values), self.lif2(values)
        q, k = first.flatten(-2), second.flatten(-2)
        y = self.most(first + second)
        for _ in range(2):
            y = 0.5 * y + self.again(second)
        weights = torch.softmax(q.transpose(-1, -2) @ k, -1)
        pooled = F.avg_pool2d(first.flatten(0, -4), 2).reshape(y.shape)
        out: Tensor = self.linear(pooled.flatten(-3)) + y.flatten(-3).mean(-1, keepdim=True)
        return out * weights.flatten(-2).mean(-1, keepdim=True)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_loop_over_time_has_one_row_for_each_place_with_all_steps_counted(split_from, batch_size):
    given = split_from(images(5, 1, 4, 4))
    whole, looped = (
        recorded(Repeated(loops), given, (1, 4, 4), step_mode=mode, batch_size=batch_size)
        for loops, mode in ((False, "s"), (True, "m"))
    )
    assert [layer.spikes.tolist() for layer in looped.layers] == [
        layer.spikes.tolist() for layer in whole.layers
    ]
    assert looped.uncounted == whole.uncounted
    assert [one.name for one in whole.uncounted] == ["Repeated: softmax 1"]
    *own, total = looped.operators
    assert (total.name, total.kind, total.outputs, total.steps) == (
        "Repeated: addition 5",
        "addition",
        2,
        T,
    )
    assert [one.name for one in own] == [one.name for one in whole.operators]
    for one, other in zip(own, whole.operators, strict=True):
        assert replace(one, operands=(), coincidences=None) == replace(
            other, operands=(), coincidences=None
        )
        assert len(one.operands) == len(other.operands)
        for a, b in zip(one.operands, other.operands, strict=True):
            assert all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
        assert np.array_equal(np.asarray(one.coincidences), np.asarray(other.coincidences))
    assert [one.name for one in own if one.operands] == [
        "Repeated: addition 1",
        "most",
        "again",
        "Repeated: matmul 1",
    ]
    assert [one.folded_into for one in own if one.kind == "average pool"] == [("linear",)]


class Attention(nn.Module):
    """Images of 2 channels and 4x3 as 8 channels and 3 tokens, through SpikingJelly's
    self-attention: products between spikes.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.lif = neuron.LIFNode(v_threshold=0.2, step_mode="m")
        self.attention = SpikingSelfAttention(8, num_heads=2)
        self.linear = layer.Linear(8, 2, step_mode="m")
        for module in self.attention.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.uniform_(module.bias, 0.2, 1.2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(
            self.attention(self.lif(x.reshape(*x.shape[:2], 8, 3))).mean(-1)
        )
        return logits


@pytest.mark.parametrize("batch_size", [1, 4])
def test_products_between_spikes_are_measured(split_from, batch_size):
    given = images(4, 2, 4, 3)

    net = Attention()
    found = recorded(net, split_from(given), (2, 4, 3), batch_size=batch_size)
    products = [operator for operator in found.operators if operator.kind == "matmul"]
    assert [(o.inputs, o.outputs, o.window) for o in products] == [(24, 32, 3), (32, 24, 4)]

    seen: list[tuple[Tensor, ...]] = []
    original = SpikingSelfAttention._ssa_kernel_torch

    def watched(qkv: Tensor, scale: float) -> Tensor:
        q, k, v = qkv.flatten(2, 3).chunk(3, dim=2)
        seen.append((v, k.transpose(-2, -1), v @ k.transpose(-2, -1), q))
        return original(qkv, scale)

    SpikingSelfAttention._ssa_kernel_torch = staticmethod(watched)
    try:
        spiking = SpikingNet(net, ModelSpec("tests:net", (2, 4, 3), 2, timesteps=T)).eval()
        with torch.no_grad():
            spiking.reset()
            spiking(given[None])
    finally:
        SpikingSelfAttention._ssa_kernel_torch = staticmethod(original)
    v, k, vk, q = (value.double() for value in seen[0])
    first, second = products
    for place, operand in enumerate((v, k)):
        counts = first.operands[place]
        assert counts.nonzero[:, 0].tolist() == (operand != 0).sum((0, 2, 3, 4)).tolist()
        assert counts.fan_out_ops[:, 0].tolist() == [4 * n for n in counts.nonzero[:, 0]]
    assert first.coincidences is not None
    assert first.coincidences[:, 0].tolist() == vk.sum((0, 2, 3, 4)).tolist()
    assert vk.max() > 1, "several spikes meet, or the second product shows nothing"
    assert second.operand_kinds == ("integer spikes", "spikes")
    assert second.operands[1].fan_out_ops[:, 0].tolist() == [
        4 * int((q[:, n] != 0).sum()) for n in range(4)
    ]


def test_residual_networks_of_the_model_zoo(split_from):
    def built(make: Any, **options: Any) -> dict[str, OperatorActivity]:
        torch.manual_seed(0)
        net = make(spiking_neuron=neuron.IFNode, num_classes=2, **options)
        functional.set_step_mode(net, "m")
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.bias, 0.0, 0.8)
        found = recorded(net, split_from(images(3, 3, 32, 32)), (3, 32, 32))
        return {
            operator.name: operator for operator in found.operators if operator.kind == "addition"
        }

    plain, sew = built(spiking_resnet.spiking_resnet18), built(sew_resnet.sew_resnet18, cnf="ADD")
    blocks = [f"layer{stage}.{block}: addition 1" for stage in range(1, 5) for block in range(2)]
    assert list(plain) == list(sew) == blocks
    assert {operator.operand_kinds for operator in plain.values()} == {()}, (
        "sums of values, in place"
    )
    # A stage's first block adds the spikes of two layers; its second adds spikes to that sum.
    assert [set(sew[name].operand_kinds) for name in blocks] == [
        {"spikes"},
        {"spikes", "integer spikes"},
    ] * 4


class Listed(Mixed):
    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(super().forward(torch.tanh(x)), -1)


def test_functions_without_a_rule_are_listed(split_from):
    recording = recorded(Listed("m"), split_from(images(3, 1, 4, 4)), (1, 4, 4))
    assert {listed.name: listed.reason for listed in recording.uncounted} == {
        "Listed: tanh 1": "no rule counts the function tanh",
        "Listed: softmax 1": "no rule counts the function softmax",
    }


class Fickle(Mixed):
    """Adds spikes of other shapes from the second batch on."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 2:
            first = self.lif1(self.bn(self.conv(x)))
            _ = first[..., :2] + first[..., 2:]
        return super().forward(x)


def test_a_network_that_changes_what_it_adds_is_refused(split_from):
    with pytest.raises(RecordingError, match="was not seen before"):
        recorded(Fickle("m"), split_from(images(6, 1, 4, 4)), (1, 4, 4), batch_size=2)
