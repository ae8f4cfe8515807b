"""Functions and modules used by keyword, twice, for several takers, in other forms: counted,
listed, or refused.
"""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.energy.account import Account, select
from ahsar_eval.energy.ann import synapses_of
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import PROFILES
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import Recording, record

T = 3


class Base(nn.Module):
    """conv–BN–LIF twice over, side by side, and a linear read-out of what `between` makes of their
    spikes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = layer.Conv2d(1, 4, 3, padding=1, bias=False, step_mode="m")
        self.bn = layer.BatchNorm2d(4, step_mode="m")
        self.lif1 = neuron.LIFNode(v_threshold=0.3, step_mode="m")
        self.lif2 = neuron.LIFNode(v_threshold=0.4, step_mode="m")
        self.pool = layer.AvgPool2d(2, step_mode="m")
        self.most = layer.MaxPool2d(3, 1, 1, step_mode="m")
        self.linear = nn.LazyLinear(2)
        self.conv2 = layer.Conv2d(4, 4, 1, step_mode="m")
        self.conv3 = layer.Conv2d(4, 4, 1, step_mode="m")
        self.lif3 = neuron.LIFNode(v_threshold=0.2, step_mode="m")
        self.options = options

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        values = self.bn(self.conv(x))
        logits: Tensor = self.linear(self.between(self.lif1(values), self.lif2(values)).flatten(2))
        return logits


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def recorded(
    net: nn.Module, split_from: Any, *, batch_size: int = 3, timesteps: int = T, **arguments: Any
) -> Recording:
    spiking = SpikingNet(net, ModelSpec("tests:net", (1, 4, 4), 2, timesteps=timesteps)).eval()
    with torch.no_grad():
        spiking(images()[None])  # so that a lazy layer has its shape
    return record(spiking, split_from(images()), batch_size=batch_size, **arguments)


def listed(recording: Recording) -> dict[str, str]:
    """What is uncounted, but for the layers of `Base` that a network leaves out."""
    return {one.name: one.reason for one in recording.uncounted if one.reason != "it did not run"}


def facts(recording: Recording) -> dict[str, tuple[str, int, int]]:
    return {
        o.name.split(": ")[-1]: (o.kind, o.outputs, o.window)
        for o in recording.operators
        if o.name != "bn"
    }


def pooled(function: Any, *arguments: Any, **options: Any) -> Tensor:
    """A functional pooling of [T, N, C, H, W]."""
    x = options.pop("input", None)
    if x is None:
        x, *arguments = arguments  # type: ignore[assignment]
        return function(x.flatten(0, 1), *arguments, **options).unflatten(0, x.shape[:2])
    return function(input=x.flatten(0, 1), **options).unflatten(0, x.shape[:2])


def made(between: Any) -> type[Base]:
    return type("Made", (Base,), {"between": between})


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        (lambda self, a, b: torch.add(input=a, other=b), {"addition 1": ("addition", 64, 1)}),
        (lambda self, a, b: a.add(other=b), {"addition 1": ("addition", 64, 1)}),
        (lambda self, a, b: torch.mean(input=a, dim=-1), {"mean 1": ("mean", 16, 4)}),
        (lambda self, a, b: torch.matmul(input=a, other=b), {"matmul 1": ("matmul", 64, 4)}),
        (
            lambda self, a, b: pooled(F.avg_pool2d, input=a, kernel_size=3, stride=2, padding=1),
            {"average pool 1": ("average pool", 16, 9)},
        ),
        (
            lambda self, a, b: pooled(F.avg_pool2d, a, (3, 1)),
            {"average pool 1": ("average pool", 16, 3)},
        ),
        (lambda self, a, b: pooled(F.max_pool2d, a, 3, 2, 1), {"max pool 1": ("max pool", 16, 9)}),
        (
            lambda self, a, b: pooled(F.adaptive_avg_pool2d, a, 2),
            {"average pool 1": ("average pool", 16, 4)},
        ),
    ],
)
def test_functions_in_every_form_are_found(split_from, between, expected):
    recording = recorded(made(between)(), split_from)
    assert facts(recording) == expected
    assert listed(recording) == {}


def test_spikes_added_by_keyword_are_spikes(split_from):
    found = [
        next(o for o in recorded(made(between)(), split_from).operators if o.kind == "addition")
        for between in (
            lambda self, a, b: a + b,
            lambda self, a, b: torch.add(input=a, other=b),
            lambda self, a, b: a.add(other=b),
        )
    ]
    assert {operator.operand_kinds for operator in found} == {("spikes", "spikes")}
    assert (
        len({tuple(map(tuple, operator.operands[1].nonzero.tolist())) for operator in found}) == 1
    )


@pytest.mark.parametrize(
    ("between", "name"),
    [
        (lambda self, a, b: torch.inner(a, b[0, 0, 0]), "inner"),
        (lambda self, a, b: torch.linalg.matmul(a, b), "linalg_matmul"),
        (lambda self, a, b: torch.maximum(a, b), "maximum"),
        (lambda self, a, b: torch.where(a > 0, b, a), "where"),
        (lambda self, a, b: F.softplus(a), "softplus"),
        (lambda self, a, b: a.square(), "square"),
        (lambda self, a, b: a.clamp(0, 1), "clamp"),
        (lambda self, a, b: F.softmax(a, dim=-1), "softmax"),
    ],
)
def test_whatever_computes_without_a_rule_is_listed(split_from, between, name):
    assert set(listed(recorded(made(between)(), split_from)).values()) == {
        f"no rule counts the function {name}"
    }


def test_moving_values_about_is_no_work(split_from):
    def moved(self, a, b):
        x = torch.cat([a, b.clone()], dim=2).permute(0, 1, 2, 4, 3).contiguous()
        x = F.pad(x[..., 1:].repeat(1, 1, 1, 1, 2), (1, 1)).reshape(*x.shape[:2], -1)
        return (
            torch.stack([x, x], dim=2)
            .to(torch.float64)
            .float()
            .expand_as(torch.stack([x, x], dim=2))
        )

    recording = recorded(made(moved)(), split_from)
    assert (facts(recording), listed(recording)) == ({}, {})


def test_a_matrix_of_weights_is_a_layer_and_no_activity(split_from):
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(
                torch.rand(6, 4)
            )  # 6 is T times the two samples that are looked at first

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w.T + torch.matmul(self.w.T[:, :4], x).sum()

    class Net(made(lambda self, a, b: self.weighted(a))):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weighted = Weighted()

    recording = recorded(Net(), split_from)
    assert listed(recording)["weighted"] == "no rule counts a Weighted"
    assert not [operator for operator in recording.operators if operator.kind == "matmul"]


class Adder(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


def test_what_is_used_twice_is_counted_twice(split_from):
    def forward(self, a, b):
        return self.pool(self.most(self.most(self.adder(self.adder(a, b), a))))[..., :1]

    base: Any = made(forward)

    class Twice(base):
        def __init__(self) -> None:
            super().__init__()
            self.adder = Adder()

    found = {
        o.name: o for o in recorded(Twice(), split_from, input_kinds={"linear": "analog"}).operators
    }
    assert [name for name in found if name != "bn"] == [
        "adder: addition 1",
        "adder: addition 2",
        "most",
        "most (use 2)",
        "pool",
    ]
    assert found["adder: addition 1"].operand_kinds == ("spikes", "spikes")
    sums, again = (operand.nonzero.sum() for operand in found["adder: addition 2"].operands)
    assert sums > again == found["adder: addition 1"].operands[0].nonzero.sum(), (
        "the second use meets the first one's sum"
    )


def test_one_pooling_may_serve_maps_of_several_sizes(split_from):
    recording = recorded(made(lambda self, a, b: self.pool(self.pool(a)))(), split_from)
    assert facts(recording) == {
        "pool": ("average pool", 16, 4),
        "pool (use 2)": ("average pool", 4, 4),
    }


def test_a_pooling_or_norm_that_others_need_is_not_folded(split_from):
    def taken_twice(self, a, b):
        p = self.pool(a)
        return self.lif3(self.conv2(p)) + p

    shared = recorded(made(taken_twice)(), split_from, input_kinds={"linear": "analog"})
    alone = recorded(made(lambda self, a, b: self.lif3(self.conv2(self.pool(a))))(), split_from)
    pools = [next(o for o in found.operators if o.name == "pool") for found in (shared, alone)]
    assert [pool.folded_into for pool in pools] == [(), ("conv2",)]
    costs = [
        sum(
            int(entry.counts.sum())
            for entry in select(
                Account(found, PROFILES["45nm-fp32"], Choices()).entries, layer="pool"
            )
        )
        for found in (shared, alone)
    ]
    assert costs == [5 * T * 16 * 4, 0]  # three additions and a multiplication per output

    class Normed(made(lambda self, a, b: a)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            values = self.conv(x)
            return self.linear(self.lif1(self.bn(values) + values).flatten(2))

    (norm,) = [o for o in recorded(Normed(), split_from).operators if o.kind == "normalisation"]
    assert norm.behind is None


def test_a_pooling_before_two_layers_is_folded_into_both(split_from):
    def feeding_two(self, a, b):
        p = self.pool(a)
        return torch.cat([self.lif3(self.conv2(p)), self.conv3(p)], 2)

    recording = recorded(made(feeding_two)(), split_from, input_kinds={"linear": "analog"})
    (pool,) = [o for o in recording.operators if o.name == "pool"]
    assert pool.folded_into == ("conv2", "conv3")
    layers = {synapse.name: synapse for synapse in recording.synapses}
    assert (
        synapses_of(recording, layers["conv2"])
        == synapses_of(recording, layers["conv3"])
        == 4 * 4 * 4 * 4
    )


def test_features_change_nothing_else(split_from):
    class Heads(made(lambda self, a, b: a)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.linear = nn.Linear(64, 2), nn.Linear(64, 2), nn.Identity()
            self.fire1, self.fire2 = (
                neuron.LIFNode(v_threshold=0.05, step_mode="m") for _ in range(2)
            )

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.lif1(self.bn(self.conv(x))).flatten(2)
            summed: Tensor = self.fire1(self.one(hidden)) + self.fire2(self.two(hidden))
            return summed

    plain, more = (recorded(Heads(), split_from, extras=extras) for extras in ((), ("features",)))
    for one, other in zip(plain.operators, more.operators, strict=True):
        assert one.operand_kinds == other.operand_kinds
        assert [o.nonzero.tolist() for o in one.operands] == [
            o.nonzero.tolist() for o in other.operands
        ]
    assert [o.operand_kinds for o in plain.operators if o.kind == "addition"] == [
        ("spikes", "spikes")
    ]


@pytest.mark.parametrize("timesteps", [1, 2, 3])
def test_samples_and_steps_of_equal_number_are_told_apart(split_from, timesteps):
    class SampleFirst(made(lambda self, a, b: a)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 8)

        def forward(self, x: Tensor) -> Tensor:
            inner = self.inner(self.lif1(self.bn(self.conv(x))).flatten(2).transpose(0, 1))
            return self.linear(inner.transpose(0, 1))

    recordings = [
        recorded(SampleFirst(), split_from, batch_size=size, timesteps=timesteps)
        for size in (1, 2, 5)
    ]
    assert all(list(listed(found)) == [] for found in recordings)
    (inner,) = (one for one in recordings[0].synapses if one.name == "inner")
    assert inner.operations.sum() == 8 * recordings[0].layers[0].spikes.sum()
    for found in recordings[1:]:
        assert [s.operations.tolist() for s in found.synapses] == [
            s.operations.tolist() for s in recordings[0].synapses
        ]


def test_a_layer_called_by_keyword_is_refused_in_a_sentence(split_from):
    class Keyword(made(lambda self, a, b: a)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return self.linear(input=self.lif1(self.conv(x)).flatten(2))

    with pytest.raises(
        RecordingError, match="layer 'linear' is called with keyword arguments alone"
    ):
        recorded(Keyword(), split_from)
