"""Thresholds of every kind: scaled as a whole, put back as they were, kept in a snapshot; or
refused in a sentence.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import Loop, Watch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis import (
    Ahsar,
    HomeostaticParams,
    named_neurons,
    plain_thresholds,
    read_thresholds,
    write_thresholds,
)

T, N, C = 4, 5, 6
PARAMS = HomeostaticParams(beta=0.1, gamma=0.2, diffusion=0.1, rate_momentum=0.5)


class Leaky(neuron.SimpleBaseNode):  # type: ignore[misc, unused-ignore]
    """A neuron whose threshold is what it was given, a buffer where `buffer`."""

    v: Any
    v_threshold: Any

    def __init__(self, threshold: Any, *, buffer: bool = False) -> None:
        super().__init__(1.0, None, surrogate.Sigmoid(4.0), True, "m")
        del self.v_threshold
        if buffer:
            self.register_buffer("v_threshold", threshold)
        else:
            self.v_threshold = threshold

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = 0.5 * self.v + x


def net(first: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Linear(C, C), first, nn.Linear(C, C), neuron.LIFNode(v_threshold=0.3, step_mode="m")
    )
    for weight in made.parameters():
        weight.data *= 2 if weight.dim() else 1
    return made


def frames(step: int) -> Tensor:
    return torch.rand(T, N, C, generator=torch.Generator().manual_seed(step)) * 3


def train(one: nn.Module, steps: int) -> None:
    for step in range(steps):
        functional.reset_net(one)
        one(frames(step))


BY_CHANNEL = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.1])
KINDS: dict[str, tuple[Any, bool]] = {
    "float": (0.5, False),
    "int": (1, False),
    "float32": (np.float32(0.7), False),
    "0-dimensional tensor": (torch.tensor(0.7), False),
    "0-dimensional buffer": (torch.tensor(0.7), True),
    "by channel": (BY_CHANNEL, False),
    "by channel, a buffer": (BY_CHANNEL, True),
    "by channel, bfloat16": (BY_CHANNEL.bfloat16(), True),
    "by channel, whole numbers": (torch.tensor([1, 1, 2, 1, 3, 1]), True),
    "by neuron": (BY_CHANNEL + torch.rand(N, C, generator=torch.Generator().manual_seed(1)), False),
}


def tensor(value: Any) -> Tensor:
    return torch.as_tensor(value).double()


@pytest.mark.parametrize("kind", KINDS)
def test_a_threshold_is_scaled_as_a_whole_and_put_back_to_the_bit(kind):
    value, buffer = KINDS[kind]
    given = value.clone() if isinstance(value, Tensor) else value
    one = net(Leaky(given, buffer=buffer))
    parameters, names = [*map(id, one.parameters())], [*one.state_dict()]
    ahsar = Ahsar(one, params=PARAMS)
    loop, moved = Loop(2, PARAMS, 2, "m"), False
    for step in range(4):
        watch = Watch(one)
        functional.reset_net(one)
        one(frames(step))
        factor = loop.planned()[0][0]
        now, wanted = tensor(one[1].v_threshold), tensor(value) * factor
        assert now.shape == wanted.shape
        assert torch.allclose(now, wanted, rtol=0.004 if "bfloat16" in kind else 1e-6, atol=0)
        moved |= not torch.equal(now, tensor(value))
        loop.sensed([watch.rate(name) for name in ahsar.layers], [[factor, 1.0]])
        assert ahsar.state.smoothed_rate == pytest.approx(loop.smoothed)
    assert moved
    assert ([*map(id, one.parameters())], [*one.state_dict()]) == (parameters, names)

    kept = json.loads(json.dumps(ahsar.state_dict()))
    assert kept["base_thresholds"]["1"] == tensor(value).tolist()
    other = net(Leaky(given, buffer=buffer))
    with Ahsar(other, params=PARAMS) as resumed:
        resumed.load_state_dict(kept)
        for each in (one, other):
            each.eval()
            functional.reset_net(each)
            each(frames(9))
        replayed = net(Leaky(value, buffer=buffer))
        write_thresholds(replayed, plain_thresholds(replayed), ahsar.snapshot().replayed_scales())
        for each in (other, replayed):
            assert torch.equal(tensor(one[1].v_threshold), tensor(each[1].v_threshold))
    ahsar.detach()
    for each in (one, other):
        restored: Any = each[1].v_threshold
        assert type(restored) is type(given)
        if isinstance(restored, Tensor):
            assert restored.dtype == value.dtype
        assert torch.equal(tensor(restored), tensor(value))


def test_channels_of_their_own_thresholds_are_layers_of_one_unit():
    """One layer with thresholds by channel, and a layer for each channel, in the same unit."""

    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(Leaky(float(x)) for x in BY_CHANNEL)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([part(x[..., i : i + 1]) for i, part in enumerate(self.parts)], -1)

    whole, parts = net(Leaky(BY_CHANNEL)), net(Split())
    one = Ahsar(whole, params=PARAMS)
    units = {"1": tuple(f"1.parts.{i}" for i in range(C)), "3": ("3",)}
    other = Ahsar(parts, params=PARAMS, units=units)
    for step in range(4):
        functional.reset_net(whole)
        functional.reset_net(parts)
        assert torch.equal(whole(frames(step)), parts(frames(step)))
    assert one.state.state == pytest.approx(other.state.state, rel=1e-12)


def test_surrogate_sensing_takes_every_channel_at_its_own_threshold():
    one = net(Leaky(BY_CHANNEL))
    ahsar, watch = Ahsar(one, params=PARAMS, sensing="surrogate"), Watch(one)
    one(frames(0))
    current = watch.currents["1"][0].double().mean(0)
    wanted = torch.sigmoid(4.0 * (current - BY_CHANNEL.double())).mean()
    assert ahsar.state.smoothed_rate is not None
    assert ahsar.state.smoothed_rate[0] == pytest.approx(float(wanted), rel=1e-6)


def test_a_network_that_moves_on_takes_its_thresholds_along():
    one = net(Leaky(BY_CHANNEL.clone(), buffer=True))
    ahsar = Ahsar(one, params=PARAMS)
    train(one, 2)
    one.double()
    functional.reset_net(one)
    one(frames(2).double())
    assert one[1].v_threshold.dtype is torch.float64
    ahsar.detach()
    assert torch.equal(one[1].v_threshold, BY_CHANNEL.double())


class Learned(Leaky):
    def __init__(self) -> None:
        super().__init__(1.0)
        del self.v_threshold
        self.v_threshold = nn.Parameter(torch.tensor(0.7))


class Computed(Leaky):
    def __init__(self) -> None:
        neuron.SimpleBaseNode.__init__(self, step_mode="m")

    @property
    def v_threshold(self) -> float:
        return 0.7

    @v_threshold.setter
    def v_threshold(self, value: float) -> None:
        pass


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Learned, "'1' is a parameter, which an optimizer may change, and a factor can be put on"),
        (lambda: Leaky(torch.ones(C, requires_grad=True)), "'1' is a parameter"),
        (Computed, "'1' is computed by a property"),
        (lambda: Leaky([0.5]), "'1' is a list, and a factor"),
        (lambda: Leaky(0.0), "layer '1' has a threshold of 0.0; expected finite positive ones"),
        (lambda: Leaky(torch.tensor([1.0, -0.5])), "layer '1' has a threshold of -0.5"),
        (lambda: Leaky(torch.tensor([1.0, torch.inf])), "layer '1' has a threshold of inf"),
    ],
)
def test_thresholds_that_cannot_be_regulated_are_refused(make, text):
    one = net(make())
    with pytest.raises(HomeostasisError, match=text):
        Ahsar(one, params=PARAMS)
    with Ahsar(one, params=PARAMS, select=["3"]) as ahsar:  # the others may be
        functional.reset_net(one[3])
        assert ahsar.layers == ("3",)


def test_what_takes_no_factor_is_read_and_may_stay():
    one = net(Learned())
    held = one[1].v_threshold
    assert read_thresholds(one) == pytest.approx({"1": 0.7, "3": 0.3})
    write_thresholds(one, plain_thresholds(one), {"1": 1.0, "3": 0.5})
    assert one[1].v_threshold is held
    assert one[3].v_threshold == 0.15
    with pytest.raises(HomeostasisError, match="'1' is a parameter"):
        write_thresholds(one, plain_thresholds(one), {"1": 0.5})


def test_a_base_of_another_shape_is_refused():
    kept = Ahsar(net(Leaky(BY_CHANNEL))).state_dict()
    other = net(Leaky(BY_CHANNEL[:1]))
    text = r"base threshold of layer '1' has shape \(6,\) and the network's own \(1,\)"
    with pytest.raises(HomeostasisError, match=text):
        Ahsar(other).load_state_dict(kept)
    with pytest.raises(HomeostasisError, match=text):
        write_thresholds(other, kept["base_thresholds"], {"1": 1.0})
    assert named_neurons(other)


def test_a_module_without_a_threshold_is_no_unit():
    one = net(Leaky(0.5))
    one.append(nn.Identity())
    one[4].v_threshold = None  # type: ignore[assignment]
    assert [*named_neurons(one)] == ["1", "3"]
