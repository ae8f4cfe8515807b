"""Every operation by hand on a three-layer network, each rule between layers on its own, and the
same counts for any batch.
"""

from collections import OrderedDict
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import layer, neuron
from torch import nn

from ahsar_eval.data import ImageSet, Split, split_of
from ahsar_eval.energy.account import Account, select
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import PROFILES
from ahsar_eval.errors import UsageError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Recording,
    Seen,
    SynapseActivity,
    Uncounted,
    record,
)
from ahsar_eval.recording.counting import fan_out

PARTS = ("synapses", "neurons", "bias", "normalisation", "residual", "pooling", "products")
OPERATIONS = ("ac", "mac", "add", "multiply", "compare", "write")
T = 2


def account(recording: Recording, choices: Choices | None = None) -> Account:
    """Under a profile that leaves the updates of neurons in single operations."""
    return Account(recording, PROFILES["45nm-fp32"], choices or Choices())


CONV1 = Geometry("Conv2d", (1, 4, 4), (2, 4, 4), (2, 1, 3, 3), (3, 3), (1, 1), 1, False, False, 288)
CONV2 = Geometry("Conv2d", (2, 2, 2), (3, 1, 1), (3, 2, 2, 2), (2, 2), (1, 1), 1, False, True, 24)
LINEAR = Geometry("Linear", (3,), (2,), (2, 3), (), (), 1, False, False, 6)


def seen(*, nonzero: list[int], uses: list[int], total: list[float]) -> Seen:
    """Two samples in one column; what counters judge by does not matter here."""
    column = lambda values, kind: np.array(values, dtype=kind)[:, None]  # noqa: E731
    flags, numbers = np.ones((2, 1), bool), np.zeros((2, 1), np.float32)
    return Seen(
        16,
        column(nonzero, np.int64),
        column(uses, np.int64),
        column(total, float),
        numbers,
        numbers,
        flags,
        flags,
        flags,
    )


def operator(kind: str, **changes: Any) -> OperatorActivity:
    """An operation of 12 inputs and 3 outputs per step."""
    return OperatorActivity(
        **{
            "name": "it",
            "kind": kind,
            "type": kind,
            "inputs": 12,
            "outputs": 3,
            "steps": T,
            "window": 4,
            **changes,
        }
    )


NORM = operator(
    "normalisation", name="bn", type="BatchNorm2d", inputs=32, outputs=32, window=1, behind="conv1"
)
POOL = operator(
    "average pool", name="pool", type="AvgPool2d", inputs=32, outputs=8, folded_into=("conv2",)
)


def hand_made(**changes: Any) -> Recording:
    """Two samples, two steps: an image into a convolution with batch norm, IF, average pool,
    convolution, LIF with a hard reset, linear.

    The first convolution has 10 · 10 valid products per channel (3·4 − 2 per axis) and two
    channels; every pooled element reaches the three outputs of the second.
    """
    base = Recording(
        split={
            "name": "letters",
            "modality": "image",
            "labels_preserved": True,
            "label_space": "letters",
        },
        spec={"timesteps": T},
        thresholds={"if1": 1.0, "lif2": 1.0},
        logits=np.zeros((2, T, 2), dtype=np.float32),
        labels=np.array([0, 1]),
        layers=(
            LayerActivity(
                "if1",
                (2, 4, 4),
                np.array([5, 7]),
                np.zeros((2, 4, 4)),
                NeuronModel("IFNode", False, "subtract", True),
            ),
            LayerActivity(
                "lif2",
                (3, 1, 1),
                np.array([2, 1]),
                np.zeros((3, 1, 1)),
                NeuronModel("LIFNode", True, "set", True),
            ),
        ),
        synapses=(
            SynapseActivity("conv1", "analog", "input", np.array([150, 120]), 200, 1, CONV1),
            SynapseActivity(
                "conv2",
                "pooled spikes",
                "if1",
                np.array([15, 21]),
                24,
                T,
                CONV2,
                seen(nonzero=[4, 6], uses=[12, 18], total=[1.25, 1.75]),
            ),
            SynapseActivity(
                "linear",
                "spikes",
                "lif2",
                np.array([4, 2]),
                6,
                T,
                LINEAR,
                seen(nonzero=[2, 1], uses=[4, 2], total=[2, 1]),
            ),
        ),
        operators=(NORM, POOL),
    )
    return replace(base, **changes)


def lines(
    recording: Recording, choices: Choices | None = None
) -> dict[tuple[str, str, str, str], list[int]]:
    counted = account(recording, choices)
    found = {
        (entry.layer, entry.part, entry.operation, entry.detail): entry.counts.tolist()
        for entry in counted.entries
    }
    assert len(found) == len(counted.entries)
    assert all(
        entry.counts.dtype == np.int64 and entry.part in PARTS and entry.operation in OPERATIONS
        for entry in counted.entries
    )
    return found


def total(counted: Account, **wanted: str) -> int:
    return sum(int(entry.counts.sum()) for entry in select(counted.entries, **wanted))


BY_HAND = {
    ("conv1", "synapses", "mac", "dense"): [200, 200],  # once: the image does not change
    ("conv1", "bias", "add", "folded"): [
        32,
        32,
    ],  # what the batch norm leaves, once with its product
    ("conv2", "synapses", "ac", "folded"): [15, 21],
    ("conv2", "bias", "add", "bias"): [6, 6],  # 3 outputs · 2 steps
    ("linear", "synapses", "ac", "spikes"): [4, 2],
    ("if1", "neurons", "add", "integrate"): [64, 64],  # 32 neurons · 2 steps
    ("if1", "neurons", "compare", "compare"): [64, 64],
    ("if1", "neurons", "add", "reset"): [5, 7],
    ("lif2", "neurons", "multiply", "leak"): [6, 6],
    ("lif2", "neurons", "add", "integrate"): [6, 6],
    ("lif2", "neurons", "compare", "compare"): [6, 6],
    ("lif2", "neurons", "write", "reset"): [2, 1],
}


def test_every_operation_by_hand():
    assert lines(hand_made()) == BY_HAND
    counted = account(hand_made())
    assert counted.uncounted == []
    assert total(counted, operation="ac") == 42
    assert total(counted, part="neurons", layer="if1") == 268
    assert total(counted) == sum(sum(counts) for counts in BY_HAND.values())


@pytest.mark.parametrize(
    ("choice", "gone", "instead"),
    [
        (
            {"first_layer": "every-step"},
            [("conv1", "synapses", "mac", "dense"), ("conv1", "bias", "add", "folded")],
            {
                ("conv1", "synapses", "mac", "dense"): [400, 400],
                ("conv1", "bias", "add", "folded"): [64, 64],
            },
        ),
        (
            {"macs": "effective"},
            [("conv1", "synapses", "mac", "dense")],
            {("conv1", "synapses", "mac", "effective"): [150, 120]},
        ),
        (
            {"macs": "effective", "first_layer": "every-step"},
            [("conv1", "synapses", "mac", "dense"), ("conv1", "bias", "add", "folded")],
            {
                ("conv1", "synapses", "mac", "effective"): [300, 240],
                ("conv1", "bias", "add", "folded"): [64, 64],
            },
        ),
        (
            {"average_pooling": "dense"},
            [("conv2", "synapses", "ac", "folded")],
            {
                ("conv2", "synapses", "mac", "dense"): [48, 48],
                ("pool", "pooling", "add", "average pool"): [
                    48,
                    48,
                ],  # 3 per output, 8 outputs, 2 steps
                ("pool", "pooling", "multiply", "average pool"): [16, 16],
            },
        ),
        (
            {"average_pooling": "effective"},
            [("conv2", "synapses", "ac", "folded")],
            {
                ("conv2", "synapses", "mac", "effective"): [12, 18],
                ("pool", "pooling", "add", "average pool"): [48, 48],
                ("pool", "pooling", "multiply", "average pool"): [16, 16],
            },
        ),
        (
            {"batch_norm": "counted"},
            [("conv1", "bias", "add", "folded")],
            {
                ("bn", "normalisation", "multiply", "scale"): [32, 32],
                ("bn", "normalisation", "add", "shift"): [32, 32],
            },
        ),
        (
            {"batch_norm": "counted", "first_layer": "every-step"},
            [("conv1", "bias", "add", "folded"), ("conv1", "synapses", "mac", "dense")],
            {
                ("conv1", "synapses", "mac", "dense"): [400, 400],
                ("bn", "normalisation", "multiply", "scale"): [64, 64],
                ("bn", "normalisation", "add", "shift"): [64, 64],
            },
        ),
        ({"event_frames": "replayed"}, [], {}),  # an image is no event
    ],
    ids=str,
)
def test_each_choice_changes_its_lines_and_no_other(choice, gone, instead):
    kept = {line: counts for line, counts in BY_HAND.items() if line not in gone}
    assert lines(hand_made(), Choices(**choice)) == {**kept, **instead}


def test_a_bias_and_a_batch_norm_leave_one_addition_and_a_bias_alone_one_too():
    with_bias = replace(hand_made().synapses[0], geometry=replace(CONV1, bias=True))
    both = hand_made(synapses=(with_bias, *hand_made().synapses[1:]))
    assert lines(both)[("conv1", "bias", "add", "bias")] == [32, 32]
    assert not [line for line in lines(both) if line[:2] == ("conv1", "bias") and line[3] != "bias"]
    alone = replace(both, operators=(POOL,))
    assert lines(alone)[("conv1", "bias", "add", "bias")] == [32, 32]
    none = hand_made(operators=(POOL,))
    assert not [line for line in lines(none) if line[:2] == ("conv1", "bias")]


def test_frames_of_events_are_values_or_replayed():
    synapse = replace(hand_made().synapses[0], charged_steps=T, replayed=np.array([310, 290]))
    frames = hand_made(
        synapses=(synapse, *hand_made().synapses[1:]),
        split={**hand_made().split, "modality": "events"},
    )
    assert lines(frames)[("conv1", "synapses", "mac", "dense")] == [400, 400]
    replayed = lines(frames, Choices(event_frames="replayed"))
    assert replayed[("conv1", "synapses", "ac", "replayed")] == [310, 290]
    assert ("conv1", "synapses", "mac", "dense") not in replayed
    assert replayed[("conv1", "bias", "add", "folded")] == [64, 64]
    # Frames that are no whole counts cannot be replayed.
    resized = replace(frames, synapses=(replace(synapse, replayed=None), *frames.synapses[1:]))
    with pytest.raises(
        UsageError,
        match="the frames that conv1 receives are no whole counts of events in every sample",
    ):
        account(resized, Choices(event_frames="replayed"))
    assert lines(resized)[("conv1", "synapses", "mac", "dense")] == [400, 400]
    # An image is no event, whole numbers or not.
    image = replace(frames, split=hand_made().split)
    counted = account(image, Choices(event_frames="replayed"))
    assert select(counted.entries, layer="conv1", operation="mac")


SPIKES = seen(nonzero=[3, 4], uses=[30, 40], total=[3, 4])
MORE = seen(nonzero=[5, 1], uses=[55, 11], total=[5, 1])
RULES: dict[str, tuple[OperatorActivity, dict[tuple[str, str, str], list[int]]]] = {
    "a batch norm on its own": (
        operator("normalisation", type="BatchNorm2d"),
        {("normalisation", "multiply", "scale"): [6, 6], ("normalisation", "add", "shift"): [6, 6]},
    ),
    "a batch norm behind what has no weights": (
        operator("normalisation", type="BatchNorm2d", behind="elsewhere"),
        {("normalisation", "multiply", "scale"): [6, 6], ("normalisation", "add", "shift"): [6, 6]},
    ),
    "an average pool that feeds no weights": (
        operator("average pool"),
        {
            ("pooling", "add", "average pool"): [18, 18],
            ("pooling", "multiply", "average pool"): [6, 6],
        },
    ),
    "a mean": (
        operator("mean", type="mean"),
        {("pooling", "add", "mean"): [18, 18], ("pooling", "multiply", "mean"): [6, 6]},
    ),
    "a sum": (operator("mean", type="sum"), {("pooling", "add", "mean"): [18, 18]}),
    "a max pool": (operator("max pool"), {("pooling", "compare", "max pool"): [18, 18]}),
    "an addition of values": (operator("addition"), {("residual", "add", "elements"): [6, 6]}),
    "an addition of spikes": (
        operator("addition", operand_kinds=("spikes", "spikes"), operands=(SPIKES, MORE)),
        {("residual", "add", "spikes"): [8, 5]},
    ),
    "an addition of sums of spikes": (
        operator("addition", operand_kinds=("spikes", "integer spikes"), operands=(SPIKES, MORE)),
        {("residual", "add", "elements"): [6, 6]},
    ),
    "a product": (operator("product"), {("products", "multiply", "elements"): [6, 6]}),
    "a matmul of spikes": (
        operator(
            "matmul",
            operand_kinds=("spikes", "spikes"),
            operands=(SPIKES, MORE),
            coincidences=np.array([[2], [1]]),
        ),
        {("products", "ac", "coincidences"): [2, 1]},
    ),
    "a matmul of values and spikes": (
        operator("matmul", operand_kinds=("analog", "spikes"), operands=(SPIKES, MORE)),
        {("products", "ac", "spikes"): [55, 11]},
    ),
    "a matmul of sums and spikes": (
        operator("matmul", operand_kinds=("spikes", "integer spikes"), operands=(SPIKES, MORE)),
        {("products", "ac", "spikes"): [30, 40]},
    ),
    "a matmul of spikes behind sums": (
        operator("matmul", operand_kinds=("integer spikes", "spikes"), operands=(SPIKES, MORE)),
        {("products", "ac", "spikes"): [55, 11]},
    ),
    "a matmul of sums and values": (
        operator("matmul", operand_kinds=("integer spikes", "analog"), operands=(SPIKES, MORE)),
        {("products", "mac", "dense"): [24, 24]},
    ),
    "a matmul of values": (
        operator("matmul"),
        {("products", "mac", "dense"): [24, 24]},
    ),  # 3 outputs · 4 products · 2 steps
}


@pytest.mark.parametrize(("found", "expected"), RULES.values(), ids=RULES)
def test_each_rule_between_layers(found, expected):
    counted = account(hand_made(operators=(found,), synapses=(), layers=()))
    assert {
        (entry.part, entry.operation, entry.detail): entry.counts.tolist()
        for entry in counted.entries
    } == expected
    assert counted.uncounted == []


def test_a_normalisation_by_the_sample_s_own_statistics_is_counted_in_part_and_listed():
    counted = account(
        hand_made(operators=(operator("normalisation", type="LayerNorm", behind="linear"),))
    )
    assert total(counted, part="normalisation") == 24
    assert select(counted.entries, part="bias", layer="linear") == []  # no weights take it up
    reason = (
        "the statistics that a LayerNorm takes of every sample have no rule; its scale and "
        "shift "
        "are counted"
    )
    assert counted.uncounted == [Uncounted("it", reason)]


def test_what_a_rule_lacks_is_listed_and_never_guessed():
    base = hand_made()
    bare = replace(
        base,
        synapses=tuple(replace(synapse, seen=None) for synapse in base.synapses),
        layers=(replace(base.layers[1], model=NeuronModel("MyNode", False, "", False)),),
        operators=(
            operator("fourier"),
            operator(
                "matmul", name="qk", operand_kinds=("spikes", "spikes"), operands=(SPIKES, MORE)
            ),
        ),
        uncounted=(Uncounted("attention", "no rule counts it"),),
    )
    counted = account(bare, Choices(average_pooling="effective"))
    assert [(entry.layer, entry.part) for entry in counted.entries] == [
        ("conv1", "synapses"),
        ("conv2", "bias"),
        ("linear", "synapses"),
    ]
    assert [(listed.name, listed.reason) for listed in counted.uncounted] == [
        ("attention", "no rule counts it"),
        (
            "conv2",
            "the recording does not hold which pooled values are zero, so effective MACs are not "
            "known",
        ),
        ("lif2", "no rule counts the updates of a MyNode"),
        ("it", "no rule counts a fourier"),
        ("qk", "the recording does not hold how often its spikes meet"),
    ]


def test_a_neuron_of_unknown_reset_is_counted_without_it_and_listed():
    odd = replace(hand_made().layers[0], model=NeuronModel("MyNode", True, "", True))
    counted = account(hand_made(layers=(odd,)))
    assert {entry.detail for entry in select(counted.entries, layer="if1")} == {
        "leak",
        "integrate",
        "compare",
    }
    assert counted.uncounted == [
        Uncounted("if1", "how a MyNode resets is not known; its other updates are counted")
    ]


def test_memory_accesses_by_hand():
    found = {
        (one["layer"], one["operation"], one["detail"]): one["count"]
        for one in account(hand_made()).accesses()
    }
    assert found == {
        ("conv1", "read", "input"): 200,
        ("conv1", "read", "weights"): 200,
        ("conv1", "address", "weights"): 200,
        ("conv1", "write", "output"): 32,
        ("conv1", "read", "bias"): 32,
        ("conv2", "read", "input"): 6,  # the spikes before the folded pooling
        ("conv2", "read", "weights"): 18,
        ("conv2", "address", "weights"): 18,
        ("conv2", "read", "potentials"): 18,
        ("conv2", "write", "potentials"): 18,
        ("conv2", "read", "bias"): 6,
        ("linear", "read", "input"): 1.5,
        ("linear", "read", "weights"): 3,
        ("linear", "address", "weights"): 3,
        ("linear", "read", "potentials"): 3,
        ("linear", "write", "potentials"): 3,
        ("if1", "read", "potentials"): 64,
        ("if1", "write", "potentials"): 64,
        ("if1", "write", "output"): 6,
        ("lif2", "read", "potentials"): 6,
        ("lif2", "write", "potentials"): 6,
        ("lif2", "write", "output"): 1.5,
    }


@pytest.mark.parametrize("name", vars(Choices()))
def test_an_unknown_choice_is_refused(name):
    with pytest.raises(
        UsageError, match=f"{name.replace('_', ' ')} is 'sometimes'; expected .+ or .+"
    ):
        Choices(**{name: "sometimes"})


# Recorded networks

SHAPE = (2, 8, 8)


def images(count: int) -> Split:
    values = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(3))
    return split_of(
        ImageSet(
            "noise",
            "all",
            np.zeros(count, dtype=np.int64),
            (),
            "noise",
            "noise",
            lambda i: list(values[i]),
            SHAPE,
        ),
        SHAPE,
    )


class Residual(nn.Module):
    """Two convolutions whose spikes are added (SEW), an average pool, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        spiking: Any = {"tau": 1.25, "decay_input": False, "v_reset": None, "step_mode": "m"}
        self.first = layer.Conv2d(2, 4, 3, padding=1, bias=False, step_mode="m")
        self.norm = layer.BatchNorm2d(4, step_mode="m")
        self.lif1 = neuron.LIFNode(v_threshold=0.3, **spiking)
        self.second = layer.Conv2d(4, 4, 3, padding=1, step_mode="m")
        self.lif2 = neuron.LIFNode(v_threshold=0.1, **spiking)
        self.rest = nn.Sequential(
            OrderedDict(
                pool=layer.AvgPool2d(2, step_mode="m"),
                flatten=layer.Flatten(step_mode="m"),
                last=layer.Linear(64, 5, step_mode="m"),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        early = self.lif1(self.norm(self.first(x)))
        late = self.lif2(self.second(early))
        return self.rest(late + early)


def residual() -> SpikingNet:
    torch.manual_seed(1)
    return SpikingNet(Residual(), ModelSpec("tests:net", SHAPE, 5, timesteps=3))


def test_a_recorded_network_by_hand():
    recording = record(residual(), images(4))
    early, late = (found.spikes for found in recording.layers)
    assert early.min() > 0
    assert late.min() > 0
    found = {key: np.array(counts) for key, counts in lines(recording).items()}
    fixed = {
        ("first", "synapses", "mac", "dense"): 22
        * 22
        * 2
        * 4,  # (3·8 − 2)² positions, 2 · 4 channels
        ("first", "bias", "add", "folded"): 256,
        ("second", "bias", "add", "bias"): 3 * 256,
        ("rest.last", "bias", "add", "bias"): 3 * 5,
        **{
            (name, "neurons", *kind): 3 * 256
            for name in ("lif1", "lif2")
            for kind in (("multiply", "leak"), ("add", "integrate"))
        },
        **{(name, "neurons", "compare", "compare"): 3 * 256 for name in ("lif1", "lif2")},
    }
    for line, expected in fixed.items():
        assert (found.pop(line) == expected).all(), line
    assert (found.pop(("lif1", "neurons", "add", "reset")) == early).all()
    assert (found.pop(("lif2", "neurons", "add", "reset")) == late).all()
    added = [line for line in found if line[1:] == ("residual", "add", "spikes")]
    assert (found.pop(added[0]) == early + late).all()
    # What is left are the SynOps, checked against other counters in tests/recording, and what the
    # pooling before the last layer is.
    assert {line[:3] for line in found} <= {
        ("second", "synapses", "ac"),
        ("rest.last", "synapses", "ac"),
        ("rest.last", "synapses", "mac"),
        ("rest.pool", "pooling", "add"),
        ("rest.pool", "pooling", "multiply"),
    }


@pytest.mark.parametrize(
    "choices",
    [Choices(), Choices("every-step", "effective", "effective", "counted", "replayed")],
    ids=["default", "other"],
)
def test_counts_do_not_depend_on_the_batch(choices):
    net, split = residual(), images(7)
    together = account(record(net, split, batch_size=7), choices)
    for size in (1, 3):
        apart = account(record(net, split, batch_size=size), choices)
        assert [
            (entry.layer, entry.part, entry.operation, entry.detail) for entry in apart.entries
        ] == [
            (entry.layer, entry.part, entry.operation, entry.detail) for entry in together.entries
        ]
        assert all(
            (one.counts == other.counts).all()
            for one, other in zip(apart.entries, together.entries, strict=True)
        )


@pytest.mark.parametrize(("side", "percent"), [(32, 96), (16, 92), (8, 84), (4, 69), (2, 44)])
def test_borders_cost_the_naive_formula_the_published_share(side, percent):
    """Uniform spikes into a 3×3 convolution with padding 1: exact over rate × FLOPs × T is ((3H −
    2)/3H)².
    """
    convolution = nn.Conv2d(3, 5, 3, padding=1)
    exact = int(fan_out(convolution, (3, side, side)).sum())
    naive = side * side * 3 * 5 * 9
    assert Fraction(exact, naive) == Fraction(3 * side - 2, 3 * side) ** 2
    assert round(100 * exact / naive) == percent


@given(
    counts=st.lists(st.integers(0, 2**40), min_size=2, max_size=2),
    steps=st.integers(1, 50),
    neurons=st.integers(1, 2**20),
)
def test_counts_stay_exact_integers_at_any_size(counts, steps, neurons):
    spiking = LayerActivity(
        "n",
        (neurons,),
        np.array(counts),
        np.zeros(1),
        NeuronModel("LIFNode", True, "subtract", True),
    )
    recording = hand_made(
        spec={"timesteps": steps},
        layers=(spiking,),
        synapses=(),
        operators=(),
        thresholds={"n": 1.0},
    )
    assert total(account(recording)) == 3 * 2 * neurons * steps + sum(counts)
