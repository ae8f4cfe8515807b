"""The conventions against the counters themselves, run on the same network and batches: NeuroBench,
SpikingJelly, and syops by its rule.

Networks are like those of the energy reference: three convolutions with spiking layers, max or
average pooling or an SEW addition, a linear read-out; four steps, analog images.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import permutations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import parametric_lif_net, sew_resnet, spiking_vgg
from spikingjelly.activation_based.op_counter import (
    ACCounter,
    DispatchCounterMode,
    MACCounter,
    SynOpCounter,
)
from torch import Tensor, nn

from ahsar_eval.data import ImageSet, Split, open_split, split_of
from ahsar_eval.data.split import View, subset
from ahsar_eval.energy.conventions import (
    CONVENTIONS,
    REFERENCE,
    reconcile,
    totals,
)
from ahsar_eval.networks import ModelSpec, SpikingNet, is_neuron
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.recording import Recording, record

T, SIDE = 4, 8


def lif(**options: Any) -> Callable[[], nn.Module]:
    return lambda: neuron.LIFNode(
        **{
            "tau": 1.25,
            "decay_input": False,
            "v_reset": None,
            "v_threshold": 0.5,
            "step_mode": "m",
            **options,
        }
    )


NEURONS: dict[str, Callable[[], nn.Module]] = {
    "soft reset": lif(),
    "hard reset, input decays": lif(tau=2.0, decay_input=True, v_reset=0.0, v_threshold=0.3),
    "integrate and fire": lambda: neuron.IFNode(v_threshold=0.6, step_mode="m"),
    "learned leak, reset elsewhere than zero": lambda: neuron.ParametricLIFNode(
        v_reset=-0.1, v_threshold=0.3, step_mode="m"
    ),
}


class Sew(nn.Module):
    """Spikes added to the spikes of a branch: 0, 1 or 2."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + x


class Membrane(Sew):
    """A membrane shortcut: analog values added before the spiking layer, in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        y += x
        return y


class OverTime(nn.Module):
    """[T, N, K] → [N, K]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


class Attention(nn.Module):
    """Products of spikes: q kᵀ v over [T, N, C, H, W] tokens, as in spikformer, without softmax."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.q, self.k, self.v = (
            layer.Conv2d(8, 8, 1, bias=False, step_mode="m") for _ in range(3)
        )
        self.q_lif, self.k_lif, self.v_lif, self.out_lif = make(), make(), make(), make()

    def forward(self, x: Tensor) -> Tensor:
        start = x.dim() - 2
        q, k, v = (
            spike(conv(x)).flatten(start)
            for spike, conv in ((self.q_lif, self.q), (self.k_lif, self.k), (self.v_lif, self.v))
        )
        attended = (q.transpose(-1, -2) @ k) @ v.transpose(-1, -2)
        return self.out_lif((attended * 0.125).transpose(-1, -2).reshape(x.shape))


def stage(
    make: Callable[[], nn.Module], name: str, channels: int, *, norm: bool, **options: Any
) -> list[tuple[str, nn.Module]]:
    convolution = layer.Conv2d(
        channels, 8, **{"kernel_size": 3, "padding": 1, "bias": False, "step_mode": "m", **options}
    )
    normalised = [(f"bn{name}", layer.BatchNorm2d(8, step_mode="m"))] if norm else []
    return [(f"conv{name}", convolution), *normalised, (f"lif{name}", make())]


def backbone(
    kind: str,
    make: Callable[[], nn.Module],
    *,
    norm: bool = True,
    channels: int = 3,
    **options: Any,
) -> nn.Module:
    if kind == "perceptron":
        hidden, last = (
            layer.Linear(channels * SIDE * SIDE, 16, step_mode="m"),
            layer.Linear(16, 10, step_mode="m"),
        )
        return nn.Sequential(
            OrderedDict(flatten=nn.Flatten(2), hidden=hidden, lif=make(), linear=last)
        )

    def pool(name: str) -> list[tuple[str, nn.Module]]:
        made = layer.AvgPool2d if kind.startswith("average") else layer.MaxPool2d
        return [(f"pool{name}", made(2, step_mode="m"))]

    first = stage(make, "1", channels, norm=norm, bias=options.get("bias", False))
    second, third = (stage(make, name, 8, norm=norm, **options) for name in "23")
    if kind in ("SEW", "membrane"):
        cut = -1 if kind == "membrane" else None
        block = {"SEW": Sew, "membrane": Membrane}[kind](nn.Sequential(OrderedDict(second[:cut])))
        parts = [
            *(first[:cut] if kind == "membrane" else first),
            ("block", block),
            *([] if cut is None else [("after", make())]),
            *pool("2"),
            *third,
        ]
    elif kind == "attention":
        parts = [*first, *pool("1"), ("attention", Attention(make)), *third]
    else:
        parts = [*first, *pool("1"), *second, *pool("2"), *third]
    if kind.endswith("to one"):
        parts.append(("last_pool", layer.AdaptiveAvgPool2d(1, step_mode="m")))
    net = nn.Sequential(OrderedDict(parts))
    functional.set_step_mode(net, "m")
    with torch.no_grad():
        features = net.eval()(torch.rand(T, 2, channels, SIDE, SIDE)).flatten(2).shape[2]
    functional.reset_net(net)
    net.add_module("flatten", layer.Flatten(step_mode="m"))
    net.add_module(
        "linear", layer.Linear(features, 10, bias=bool(options.get("bias", False)), step_mode="m")
    )
    if kind.endswith("over time"):
        net.add_module("over_time", OverTime())
    return net


def images(count: int, channels: int = 3) -> Tensor:
    """Analog images; every third is dark, so that some calls of small batches are all zeros."""
    made = torch.rand(count, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 0.2
    made = made.clamp(min=0)
    made[2::3] *= torch.rand(1, generator=torch.Generator().manual_seed(1)) * 0.05
    made[1::5] = 0
    return made


def split_from(x: Tensor) -> Split:
    """A still set of these images."""
    shape = (int(x.shape[1]), SIDE, SIDE)
    labels = np.zeros(len(x), dtype=np.int64)
    return split_of(
        ImageSet(
            "given", "all", labels, (), "given", "given", lambda indices: list(x[indices]), shape
        ),
        shape,
    )


def network(
    kind: str,
    neurons: str = "soft reset",
    *,
    fresh: bool = False,
    step_mode: str = "m",
    dead_weights: bool = False,
    gain: float = 1.0,
    **options: Any,
) -> SpikingNet:
    """`fresh`: batch norm as it is initialised, else with the statistics of images and weights of
    its own.

    A small `gain` of the first layer keeps those behind it quiet for some steps.
    """
    torch.manual_seed(1)
    built = backbone(kind, NEURONS[neurons], **options)
    channels = int(options.get("channels", 3))
    for name, parameter in built.named_parameters():
        if parameter.dim() > 1:
            scale = gain if name == "conv1.weight" else 1.0
            nn.init.normal_(parameter, 0.04 * scale, 0.35 * scale)
            if dead_weights:
                with torch.no_grad():
                    parameter[torch.rand(parameter.shape) < 0.3] = 0
    if not fresh:
        for module in built.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.2, 0.6)
        built.train()
        with torch.no_grad():
            for _ in range(3):
                functional.reset_net(built)
                built(images(12, channels).expand(T, -1, -1, -1, -1))
        functional.reset_net(built)
    functional.set_step_mode(built, step_mode)
    # In float64 a batch of one cannot tip a potential over its threshold by another order of
    # summation.
    return (
        SpikingNet(
            built,
            ModelSpec("tests:net", (channels, SIDE, SIDE), 10, step_mode=step_mode, timesteps=T),
        )
        .eval()
        .double()
    )


def forward(net: SpikingNet, x: Tensor) -> Tensor:
    """One pass of the backbone over still images, as `SpikingNet` runs it."""
    functional.reset_net(net.backbone)
    steps = x.double().expand(T, *x.shape)
    with torch.no_grad():
        return net.calls.run(net.backbone, steps)


class AsNeuroBenchCalls(nn.Module):
    """What NeuroBench wraps: a module that runs the backbone."""

    def __init__(self, net: SpikingNet) -> None:
        super().__init__()
        self.backbone = net.backbone
        self.run = lambda x: forward(net, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def spikingjelly_totals(net: SpikingNet, x: Tensor, batch_size: int) -> dict[str, int]:
    counters = {"macs": MACCounter(), "acs": ACCounter(), "SynOps": SynOpCounter()}
    for part in np.array_split(np.arange(len(x)), range(batch_size, len(x), batch_size)):
        with DispatchCounterMode(list(counters.values())):
            forward(net, x[part])
    return {name: counter.get_total() for name, counter in counters.items()}


def neurobench_totals(net: SpikingNet, x: Tensor, batch_size: int) -> dict[str, int]:
    workload, models = (
        pytest.importorskip("neurobench.metrics.workload"),
        pytest.importorskip("neurobench.models"),
    )
    model, metric = models.TorchModel(AsNeuroBenchCalls(net)), workload.SynapticOperations()
    model.register_hooks()
    for part in np.array_split(np.arange(len(x)), range(batch_size, len(x), batch_size)):
        model.reset_hooks()
        with torch.no_grad():
            predictions = model(x[part])
            # Its own hooks see the layers again while it counts: state must not be in the way of a
            # network run twice.
            metric(model, predictions, (x[part], None))
    model.cleanup_hooks()
    return {"macs": metric.MAC, "acs": metric.AC, "Dense": metric.total_synops}


def syops_totals(
    net: SpikingNet, x: Tensor, batch_size: int, *, analog: bool = True
) -> dict[str, Fraction]:
    """The rule of syops/ops.py on the tensors of the run, by module type; exact means instead of
    its float32 ones.

    `analog` takes what enters spiking layers and normalisations as analog, whatever its values.
    """
    found = {"macs": Fraction(0), "acs": Fraction(0)}

    def rate(value: Tensor) -> Fraction | None:
        spiking = len(value.unique()) <= 2 and float(value.max()) <= 1 and float(value.min()) >= 0
        return Fraction(float(value.double().sum())) / value.numel() if spiking else None

    def add(operations: int, share: Fraction | None) -> None:
        found["macs" if share is None else "acs"] += operations * (1 if share is None else share)

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        value, output = inputs[0], out
        if net.spec.step_mode == "m" and not isinstance(module, nn.Linear):
            value, output = value.flatten(0, 1), out.flatten(0, 1)
        if isinstance(module, nn.Conv2d):
            positions = value.shape[0] * prod(output.shape[2:])
            products = (
                prod(module.kernel_size)
                * module.in_channels
                * (module.out_channels // module.groups)
                * positions
            )
            add(
                products + (module.out_channels * positions if module.bias is not None else 0),
                rate(value),
            )
        elif isinstance(module, nn.Linear):
            add(
                value.numel() * out.shape[-1] + (out.shape[-1] if module.bias is not None else 0),
                rate(value),
            )
        elif isinstance(module, nn.MaxPool2d):
            add(value.numel(), rate(value))
        elif isinstance(module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
            add(value.numel(), None)
        elif isinstance(module, nn.BatchNorm2d):
            add(2 * value.numel(), None if analog else rate(value))
        elif is_neuron(module):
            share = None if analog else rate(value)
            found["acs"] += value.numel() * (1 if share is None else share)
            found["macs"] += (
                value.numel()
                if isinstance(module, (neuron.LIFNode, neuron.ParametricLIFNode))
                else 0
            )

    handles = [module.register_forward_hook(hook) for module in net.backbone.modules()]
    for part in np.array_split(np.arange(len(x)), range(batch_size, len(x), batch_size)):
        forward(net, x[part])
    for handle in handles:
        handle.remove()
    return found


def recorded(net: SpikingNet, x: Tensor) -> Recording:
    recording = record(net, split_from(x), batch_size=5)
    assert all(layer.spikes.sum() > 0 for layer in recording.layers), (
        "a silent layer would show nothing"
    )
    return recording


NETWORKS: dict[str, dict[str, Any]] = {
    "max pooling": {"kind": "max"},
    "average pooling": {"kind": "average"},
    "SEW addition": {"kind": "SEW"},
    "membrane shortcut": {"kind": "membrane"},
    "average to one": {"kind": "average to one"},
    "mean over time": {"kind": "max over time"},
    "attention": {"kind": "attention"},
    "attention of few spikes": {"kind": "attention", "fresh": True},
    "no norm, biases": {"kind": "max", "norm": False, "bias": True},
    "norm and biases": {"kind": "average", "bias": True},
    "groups": {"kind": "max", "groups": 2},
    "stride": {"kind": "average", "stride": 2},
    "dilation": {"kind": "SEW", "dilation": 2, "padding": 2},
    "perceptron, biases": {"kind": "perceptron"},
    "zero weights": {"kind": "average", "dead_weights": True},
    **{name: {"kind": "SEW", "neurons": name} for name in NEURONS if name != "soft reset"},
    "fresh norm, silent steps": {
        "kind": "max",
        "fresh": True,
        "gain": 0.15,
        "neurons": "integrate and fire",
    },
    "fresh norm, hard reset": {"kind": "SEW", "fresh": True, "neurons": "hard reset, input decays"},
    "fresh norm, soft reset": {"kind": "average", "fresh": True},
}
STEP_BY_STEP = (
    "max pooling",
    "average pooling",
    "SEW addition",
    "membrane shortcut",
    "average to one",
    "attention",
    "norm and biases",
    "zero weights",
    "hard reset, input decays",
    "fresh norm, silent steps",
)
CASES = {
    **{f"{name}, multi-step": {**options, "step_mode": "m"} for name, options in NETWORKS.items()},
    **{f"{name}, single-step": {**NETWORKS[name], "step_mode": "s"} for name in STEP_BY_STEP},
}
SAMPLES = 4  # in batches of three the last one is alone
RULED = [
    *(
        f"{name}, {mode}"
        for name in ("max pooling", "average pooling", "SEW addition", "norm and biases")
        for mode in ("multi-step", "single-step")
    ),
    *(f"{name}, multi-step" for name in ("average to one", "no norm, biases", "groups", "stride")),
]


@cache
def run_of(case: str) -> tuple[SpikingNet, Tensor, Recording]:
    net, x = network(**CASES[case]), images(SAMPLES)
    return net, x, recorded(net, x)


def counted(found: dict[str, Any]) -> dict[str, int]:
    """Of `totals`, as the peers' own counters are named."""
    return {"macs": found["macs_total"], "acs": found["acs_total"], **found["extra_total"]}


BATCHES = pytest.mark.parametrize("batch_size", [1, 3])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("case", CASES)
def test_spikingjelly_s_counters(case, batch_size):
    net, x, recording = run_of(case)
    found = totals(recording, "spikingjelly", batch_size)
    assert counted(found) == spikingjelly_totals(net, x, batch_size)


@BATCHES
@pytest.mark.parametrize("case", CASES)
def test_neurobench_s_effective_operations(case, batch_size):
    net, x, recording = run_of(case)
    found = totals(recording, "neurobench", batch_size)
    assert counted(found) == neurobench_totals(net, x, batch_size)


@BATCHES
@pytest.mark.parametrize("case", RULED)
def test_syops_by_its_rule(case, batch_size):
    net, x, recording = run_of(case)
    found, expected = totals(recording, "syops", batch_size), syops_totals(net, x, batch_size)
    assert found["macs_total"] == expected["macs"]
    assert float(Fraction(found["acs_total"])) == pytest.approx(float(expected["acs"]), rel=1e-12)


def test_syops_on_lit_images_needs_no_word_about_what_enters_neurons():
    """Where no call of a spiking layer or a batch norm is all zeros, its rule takes them for analog
    itself.
    """
    net = network("max", bias=True)
    x = images(4).clamp(min=0.01)
    found = totals(recorded(net, x), "syops", 2)
    expected = syops_totals(net, x, 2, analog=False)
    assert found["macs_total"] == expected["macs"]
    assert float(Fraction(found["acs_total"])) == pytest.approx(float(expected["acs"]), rel=1e-12)


# Networks as they come, and as people write them


class Around(nn.Module):
    def __init__(self, net: nn.Module, do: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.do = net, do

    def forward(self, x: Tensor) -> Tensor:
        return self.do(self.net, x)


def in_steps(net: Any, x: Tensor) -> Tensor:
    """A loop of the network's own, in which functions add and average."""
    functional.reset_net(net)
    total = torch.zeros(len(x), 10, dtype=x.dtype)
    for _ in range(T):
        first = net.lif1(net.bn1(net.conv1(x)))
        second = net.lif2(net.bn2(net.conv2(first)))
        pooled = nn.functional.avg_pool2d(first + second, 2).flatten(1)
        total = total + net.linear(nn.functional.pad(pooled, (0, 64 * 8 - pooled.shape[1])))
    return total / T


def vgg() -> nn.Module:
    made: Any = spiking_vgg.SpikingVGG.__new__(spiking_vgg.SpikingVGG)
    nn.Module.__init__(made)
    made.features = made.make_layers([4, "M", 4], True, neuron=neuron.IFNode)
    made.avgpool = layer.AdaptiveAvgPool2d((1, 1))
    made.classifier = nn.Sequential(layer.Linear(4, 8), neuron.IFNode(), layer.Linear(8, 10))
    net: nn.Module = made
    return net


def sew() -> nn.Module:
    made: nn.Module = sew_resnet.SEWResNet(
        sew_resnet.BasicBlock,
        [1, 1, 1, 1],
        num_classes=10,
        spiking_neuron=neuron.IFNode,
        cnf="ADD",
    )
    return made


def gesture() -> nn.Module:
    made: nn.Module = parametric_lif_net.DVSGestureNet(4, neuron.ParametricLIFNode)
    return made


def small(kind: str, step_mode: str = "m") -> nn.Module:
    made = backbone(kind, NEURONS["soft reset"])
    functional.set_step_mode(made, step_mode)
    return made


def head_behind_the_mean(net: Any, x: Tensor) -> Tensor:
    out: Tensor = net.linear(net[:-1](x).mean(0))
    return out


def own_loop() -> nn.Module:
    steps = [
        (name, module)
        for stage_of in (stage(NEURONS["soft reset"], "1", 3, norm=True),
                         stage(NEURONS["soft reset"], "2", 8, norm=True))
        for name, module in stage_of
    ]  # fmt: skip
    made = nn.Sequential(OrderedDict(steps))
    made.add_module("linear", layer.Linear(512, 10, bias=False))
    functional.set_step_mode(made, "s")
    return Around(made, in_steps)


# network, shape of its images, classes, what it takes and gives
PEOPLE: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], int, str]] = {
    "spiking VGG": (vgg, (3, SIDE, SIDE), 10, "TN/TN"),
    "SEW resnet": (sew, (3, 2 * SIDE, 2 * SIDE), 10, "TN/TN"),
    "DVSGestureNet": (gesture, (2, 128, 128), 11, "TN/TN"),
    "time inside": (
        lambda: Around(small("max"), lambda net, x: net(x.unsqueeze(0).repeat(T, 1, 1, 1, 1))),
        (3, SIDE, SIDE),
        10,
        "N/TN",
    ),
    "batch first": (
        lambda: Around(small("SEW"), lambda net, x: net(x.transpose(0, 1)).transpose(0, 1)),
        (3, SIDE, SIDE),
        10,
        "NT/NT",
    ),
    "a loop over time": (
        lambda: Around(small("average", "s"), lambda net, x: torch.stack([net(one) for one in x])),
        (3, SIDE, SIDE),
        10,
        "TN/TN",
    ),
    "a loop over time with functions in it": (own_loop, (3, SIDE, SIDE), 10, "N/N"),
    "a head behind the mean over time": (
        lambda: Around(small("max"), head_behind_the_mean),
        (3, SIDE, SIDE),
        10,
        "TN/N",
    ),
}


@cache
def run_of_people(name: str) -> tuple[SpikingNet, Tensor, Recording]:
    make, shape, classes, calls = PEOPLE[name]
    torch.manual_seed(1)
    built = make()
    if calls[0] != "N" and "loop" not in name:
        functional.set_step_mode(built, "m")
    for module in built.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.04, 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.2, 0.9)
    net = SpikingNet(built, ModelSpec("tests:net", shape, classes, timesteps=T)).eval().double()
    assert str(net.find_calls().calls) == calls
    x = torch.rand(SAMPLES, *shape, generator=torch.Generator().manual_seed(0))
    split = split_of(
        ImageSet(
            *("given", "all", np.zeros(SAMPLES, np.int64), (), "given", "given"),
            lambda indices: list(x[indices]),
            shape,
        ),
        shape,
    )
    return net, x, record(net, split, batch_size=5)


@BATCHES
@pytest.mark.parametrize("name", PEOPLE)
def test_peers_on_networks_as_people_write_them(name, batch_size):
    net, x, recording = run_of_people(name)
    assert sum(layer.spikes.sum() for layer in recording.layers)
    jelly = totals(recording, "spikingjelly", batch_size)
    assert counted(jelly) == spikingjelly_totals(net, x, batch_size)
    bench = totals(recording, "neurobench", batch_size)
    assert counted(bench) == neurobench_totals(net, x, batch_size)
    for start, end in permutations(CONVENTIONS, 2):
        reconcile(recording, start, end, batch_size)


# The cases show what they are for


def test_batch_size_moves_both_counters_and_not_ours():
    _, _, recording = run_of("average pooling, multi-step")
    for name, convention in CONVENTIONS.items():
        found = {
            (found["macs_total"], found["acs_total"])
            for found in (totals(recording, name, size) for size in (1, 64))
        }
        assert (len(found) > 1) == convention.judges_calls, name


def test_every_step_of_every_walk_is_shown_by_some_network():
    shown = {
        (name, step["name"])
        for case in CASES
        for name in ("neurobench", "spikingjelly", "rate-flops", "syops")
        for batch_size in (1, 3)
        for step in reconcile(run_of(case)[2], REFERENCE, name, batch_size)["steps"]
    }
    expected = {
        (name, step) for name, convention in CONVENTIONS.items() for step in convention.steps
    }
    assert expected - shown == {("neurobench", "layers without a rule")}, (
        "only transposed convolutions are missing here"
    )


def test_layers_are_quiet_at_first_where_a_norm_is_fresh():
    quiet = {
        int(steps)
        for layer in run_of("fresh norm, silent steps, multi-step")[2].layers
        for steps in np.asarray(layer.silent_steps)
    }
    assert {0, T} < quiet, "from the start, all the time, and for some steps"


# Shipped checkpoints

# Those whose data are embedded.
CHECKPOINTS = sorted((Path(__file__).resolve().parents[2] / "checkpoints").glob("digits*.pt"))


@pytest.mark.parametrize("file", CHECKPOINTS, ids=lambda file: file.stem)
def test_shipped_checkpoints(file):
    checkpoint = load_checkpoint(file)
    net, spec = network_of(checkpoint), checkpoint.spec
    whole = open_split(
        checkpoint.provenance["data"], View(spec.input_shape, spec.timesteps, spec.framing)
    )
    split = replace(whole, source=subset(whole.source, np.arange(5), whole.source.role))
    recording = record(net, split)
    for start, end in permutations(CONVENTIONS, 2):
        reconcile(recording, start, end, 3)

    x = (split.tensors(np.arange(5)) - net.mean) / net.std
    counters = {"macs": MACCounter(), "acs": ACCounter(), "SynOps": SynOpCounter()}
    for part in (slice(0, 3), slice(3, 5)):
        net.reset()
        with torch.no_grad(), DispatchCounterMode(list(counters.values())):
            net.backbone(x[:, part].expand(spec.timesteps, *x[:, part].shape[1:]))
    found = totals(recording, "spikingjelly", 3)
    assert counted(found) == {name: counter.get_total() for name, counter in counters.items()}
