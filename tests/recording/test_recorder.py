"""The recorder: counts by hand and by direct hooks, and results that no batch size, order,
precision or step mode changes.
"""

import sys
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer, neuron
from torch import nn

from ahsar_eval.data import ImageSet, Split, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import ModelError, RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet, build, is_neuron
from ahsar_eval.recording import Recording, Seen, record
from ahsar_eval.recording.graph import discover
from ahsar_eval.recording.layout import linear_by_rows

BACKBONES = ["vgg13", "resnet18"]


def split_from(images: torch.Tensor) -> Split:
    """A split of given images [N, C, H, W]."""
    shape = (images.shape[1], images.shape[2], images.shape[3])
    labels = np.arange(len(images)) % 10
    return split_of(
        ImageSet(
            "given",
            "all",
            labels,
            (),
            "given",
            "given",
            lambda indices: list(images[indices]),
            shape,
        ),
        shape,
    )


def some_digits(count: int) -> Split:
    return split_of(subset(open_set("digits", "test"), np.arange(count), "test"), (1, 16, 16))


def lively(backbone: str, step_mode: str = "m", timesteps: int = 3, seed: int = 0) -> SpikingNet:
    """A small network whose random weights let spikes flow through every layer."""
    net = build(
        ModelSpec(backbone, (1, 16, 16), 10, width=1 / 16, step_mode=step_mode, timesteps=timesteps)
    )
    maker = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.backbone.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=maker) / parameter[0].numel() ** 0.5
                )
            elif name.endswith("weight"):
                parameter.copy_(torch.rand(parameter.shape, generator=maker) + 0.8)
            else:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=maker) + 0.3)
        for name, buffer in net.backbone.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=maker))
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=maker) + 0.5)
    return net


def one_neuron(step_mode: str = "m", timesteps: int = 4) -> SpikingNet:
    """Pixels straight into IF neurons (threshold 1, soft reset), then a linear layer of 3 outputs
    per neuron.
    """
    backbone = nn.Sequential(
        layer.Flatten(step_mode=step_mode),
        neuron.IFNode(v_reset=None, step_mode=step_mode),
        layer.Linear(2, 3, step_mode=step_mode),
    )
    return SpikingNet(
        backbone,
        ModelSpec("tests:one_neuron", (1, 1, 2), 3, step_mode=step_mode, timesteps=timesteps),
    )


def assert_same(found: Recording, expected: Recording) -> None:
    """Every number of two recordings is the same, bit for bit."""
    assert found.logits.dtype == expected.logits.dtype
    assert np.array_equal(found.logits, expected.logits), "logits differ"
    assert np.array_equal(found.labels, expected.labels)
    assert [layer.name for layer in found.layers] == [layer.name for layer in expected.layers]
    for a, b in zip(found.layers, expected.layers, strict=True):
        assert np.array_equal(a.spikes, b.spikes), f"spikes of {a.name} differ"
        assert np.array_equal(a.rate_map, b.rate_map), f"rate map of {a.name} differs"
    for c, d in zip(found.synapses, expected.synapses, strict=True):
        assert (c.name, c.kind, c.source, c.dense_operations, c.charged_steps) == (
            d.name,
            d.kind,
            d.source,
            d.dense_operations,
            d.charged_steps,
        )
        assert np.array_equal(c.operations, d.operations), f"operations of {c.name} differ"
    for e, f in zip(found.traces, expected.traces, strict=True):
        assert (e.index, e.label) == (f.index, f.label)
        assert np.array_equal(e.image, f.image)
        assert np.array_equal(e.logits, f.logits)
        assert all(np.array_equal(e.spikes[name], f.spikes[name]) for name in f.spikes), (
            f"trace of sample {e.index} differs"
        )


def hook_count(net: SpikingNet) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()
    )


# By hand


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_spikes_operations_and_maps_by_hand(step_mode):
    # An IF neuron fed 0.5 fires at steps 2 and 4, fed 1.0 at every step, fed 0 never.
    images = torch.tensor([[[[0.5, 1.0]]], [[[0.0, 0.5]]], [[[0.0, 0.0]]]])
    recording = record(one_neuron(step_mode), split_from(images), trace=(0,), batch_size=2)
    (spiking,), (linear,) = recording.layers, recording.synapses
    assert spiking.spikes.tolist() == [6, 2, 0]
    assert spiking.neurons == 2
    assert spiking.rate_map.tolist() == [2 / 12, 6 / 12], (
        "mean spikes per neuron over 3 samples and 4 steps"
    )
    assert (linear.kind, linear.source, linear.charged_steps) == ("spikes", spiking.name, 4)
    assert linear.operations.tolist() == [18, 6, 0], "every spike reaches 3 outputs"
    assert linear.dense_operations == 6
    assert recording.trace(0).spikes[spiking.name].tolist() == [
        [False, True],
        [True, True],
        [False, True],
        [True, True],
    ]


def test_a_static_image_into_weights_is_charged_once():
    net = SpikingNet(
        nn.Sequential(
            layer.Conv2d(1, 2, 3, padding=1, bias=False, step_mode="m"),
            neuron.IFNode(step_mode="m"),
            layer.Flatten(step_mode="m"),
            layer.Linear(18, 2, step_mode="m"),
        ),
        ModelSpec("tests:net", (1, 3, 3), 2, timesteps=4),
    )
    image = torch.tensor([[0.0, 0.5, 0], [0, 0.25, 0], [0, 0, 1]])
    first = record(net, split_from(image.expand(2, 1, 3, 3))).synapses[0]
    assert (first.kind, first.source, first.charged_steps) == ("analog", "input", 1)
    assert first.dense_operations == 2 * 49
    assert first.operations.tolist() == [2 * (6 + 9 + 4)] * 2, (
        "non-zero pixels at an edge, the middle and a corner"
    )


# Against direct hooks


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_spikes_and_traces_equal_a_direct_hook(backbone, step_mode):
    net, split = lively(backbone, step_mode), some_digits(9)
    seen: dict[str, list[torch.Tensor]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, out: torch.Tensor) -> None:
            seen.setdefault(name, []).append(out.clone())

        return hook

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in net.backbone.named_modules()
        if is_neuron(module)
    ]
    net.eval()
    net.reset()
    with torch.no_grad():
        logits = net(split.tensors(np.arange(9))).transpose(0, 1).numpy()
        by_hooks = {name: list(outs) for name, outs in seen.items()}
        net.reset()
        with linear_by_rows(
            net.backbone
        ):  # as a recording does: the last bits of a plain product may depend on the number of rows
            same = net(split.tensors(np.arange(9))).transpose(0, 1).numpy()
    for handle in handles:
        handle.remove()
    seen = by_hooks
    recording = record(net, split, batch_size=4, trace=(8, 2))
    assert np.array_equal(recording.logits, same)
    assert np.allclose(recording.logits, logits, rtol=1e-5, atol=1e-5)
    assert len(recording.layers) == len(seen)
    for spiking in recording.layers:
        direct = (
            torch.stack(seen[spiking.name]) if step_mode == "s" else seen[spiking.name][0]
        )  # [T, N, *shape]
        assert (
            spiking.spikes.tolist() == direct.transpose(0, 1).flatten(1).sum(1).long().tolist()
        ), spiking.name
        assert int(spiking.spikes.sum()) > 0, f"{spiking.name} is silent: the test shows nothing"
        for sample in (2, 8):
            assert np.array_equal(
                recording.trace(sample).spikes[spiking.name], direct[:, sample].bool().numpy()
            ), spiking.name
        assert np.allclose(
            spiking.rate_map, direct.double().mean((0, 1)).numpy(), rtol=0, atol=1e-15
        )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_mean_of_a_rate_map_is_the_rate(backbone):
    recording = record(lively(backbone), some_digits(5))
    for spiking in recording.layers:
        assert spiking.rate_map.mean() == pytest.approx(recording.rate(spiking), rel=1e-12)
        assert spiking.rate_map.shape == spiking.shape


# Nothing but network and split decides the result


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_batch_size_order_and_step_mode_change_no_bit(backbone, precision):
    split = some_digits(65)
    shuffled = np.random.default_rng(0).permutation(65)
    expected = record(lively(backbone).to(precision), split, batch_size=64, trace=(0, 30, 64))
    assert expected.logits.dtype == (np.float32 if precision == torch.float32 else np.float64)
    assert all(spiking.spikes.sum() > 0 for spiking in expected.layers), (
        "a silent layer would show nothing"
    )
    for step_mode in ("m", "s"):
        net = lively(backbone, step_mode).to(precision)
        assert_same(record(net, split, batch_size=7, trace=(64, 0, 30)), expected)
        assert_same(record(net, split, batch_size=7, order=shuffled, trace=(0, 30, 64)), expected)
    assert_same(record(net, split, batch_size=64, trace=(0, 30, 64)), expected)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_batches_of_one_change_no_bit(backbone, precision):
    split = some_digits(5)
    for step_mode in ("m", "s"):
        net = lively(backbone, step_mode).to(precision)
        assert_same(
            record(net, split, batch_size=1, trace=(4,)),
            record(net, split, batch_size=64, trace=(4,)),
        )


@pytest.mark.parametrize(
    ("backbone", "width", "side"),
    [("vgg13", 0.125, 16), ("resnet18", 0.125, 16), ("vgg13", 1.0, 32)],
)
def test_batch_size_changes_no_bit_at_widths_in_use(backbone, width, side):
    torch.manual_seed(1)
    net = build(ModelSpec(backbone, (1, side, side), 10, width=width, timesteps=2))
    images = torch.rand(9, 1, side, side, generator=torch.Generator().manual_seed(2))
    labels, shape = np.zeros(9, dtype=np.int64), (1, side, side)
    source = ImageSet(
        "random",
        "all",
        labels,
        (),
        "random",
        "random",
        lambda indices: list(images[indices]),
        shape,
    )
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = (
                1.0  # the statistics of these images, so that spikes reach every layer
            )
    net.train()
    with torch.no_grad():
        net.reset()
        net(images[None])
    net.reset()
    split = split_of(source, (1, side, side))
    expected = record(net, split, batch_size=9)
    assert all(spiking.spikes.sum() > 0 for spiking in expected.layers), (
        "a silent layer would show nothing"
    )
    for batch_size in (1, 7):
        assert_same(record(net, split, batch_size=batch_size), expected)


@given(
    batch_size=st.integers(1, 12), seed=st.integers(0, 1000), step_mode=st.sampled_from(["s", "m"])
)
@settings(max_examples=25, deadline=None)
def test_any_batch_size_and_order(batch_size, seed, step_mode):
    images = torch.from_numpy(np.random.default_rng(3).random((11, 1, 1, 2), dtype=np.float32))
    torch.manual_seed(1)
    net = one_neuron(step_mode)
    order = np.random.default_rng(seed).permutation(11)
    assert_same(
        record(net, split_from(images), batch_size=batch_size, order=order, trace=(3,)),
        record(net, split_from(images), trace=(3,)),
    )


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_batches_of_equal_size_do_not_leak_state(step_mode):
    """0.5 charges the neuron half way: a second image of 0.5 fires at the first step only if the
    first one's charge was kept.
    """
    images = torch.full((6, 1, 1, 2), 0.5)
    net = one_neuron(step_mode, timesteps=3)  # an odd number of steps leaves half a charge behind
    recording = record(net, split_from(images), batch_size=2)
    assert recording.layers[0].spikes.tolist() == [2] * 6, (
        "one spike per neuron at step 2, for every sample alike"
    )
    again = record(net, split_from(images), batch_size=2)
    assert_same(again, recording)


def test_charge_left_by_others_is_forgotten():
    net = one_neuron(timesteps=3)
    net.eval()
    with torch.no_grad():
        net(torch.full((1, 2, 1, 1, 2), 0.5))
    assert record(net, split_from(torch.full((2, 1, 1, 2), 0.5))).layers[0].spikes.tolist() == [
        2,
        2,
    ]


def test_half_precision_is_counted_exactly():
    net, images = one_neuron().to(torch.bfloat16), torch.ones(3, 1, 1, 2)
    recording = record(net, split_from(images))
    assert recording.layers[0].spikes.tolist() == [8, 8, 8]
    assert recording.logits.dtype == np.float32


# The network is left as it was


def test_hooks_are_removed_after_a_pass():
    net = lively("vgg13")
    record(net, some_digits(3))
    assert hook_count(net) == 0


def test_hooks_are_removed_and_training_restored_after_an_exception():
    net = lively("vgg13").train()
    with torch.no_grad():
        net.backbone.get_parameter("linear.bias").fill_(float("nan"))
    with pytest.raises(RecordingError):
        record(net, some_digits(3))
    assert hook_count(net) == 0
    assert net.training


class Stumbling(nn.Module):
    """Fails at the call-th forward pass."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.call -= 1
        if self.call == 0:
            raise ValueError("stumbled")
        return x


@pytest.mark.parametrize("call", [1, 2])
def test_hooks_are_removed_when_the_network_itself_fails(call):
    """The first call is the discovery pass, the second the first batch."""
    net = one_neuron()
    net.backbone.add_module("3", Stumbling(call))
    with pytest.raises(ModelError, match="stumbled"):
        record(net, split_from(torch.ones(2, 1, 1, 2)))
    assert hook_count(net) == 0


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_restored(training):
    net = lively("vgg13").train(training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    record(net, some_digits(3))
    assert all(module.training == training for module in net.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items()), (
        "the pass changed batch-norm statistics"
    )


def test_a_frozen_layer_stays_frozen():
    net = lively("vgg13").train()
    frozen = net.backbone.get_submodule("features.bn1_1").eval()
    record(net, some_digits(3))
    assert not frozen.training
    assert net.backbone.training


# Refusals


def test_nan_weights_name_the_sample():
    net = lively("vgg13")
    with torch.no_grad():
        net.backbone.get_parameter("linear.weight")[3, :] = float("nan")
    with pytest.raises(
        RecordingError, match=r"logits of sample 0 of digits are not finite.*check the checkpoint"
    ):
        record(net, some_digits(3))


def test_the_one_sample_whose_logits_overflow_is_named():
    net = SpikingNet(
        nn.Sequential(layer.Flatten(step_mode="m"), layer.Linear(2, 3, step_mode="m")),
        ModelSpec("tests:net", (1, 1, 2), 3, timesteps=2),
    )
    with torch.no_grad():
        net.backbone.get_parameter("1.weight").fill_(3e38)
    images = torch.zeros(9, 1, 1, 2)
    images[6] = 1.0
    with pytest.raises(RecordingError, match="sample 6 of given"):
        record(net, split_from(images), batch_size=2)
    with pytest.raises(RecordingError, match="sample 6 of given"):
        record(net, split_from(images), batch_size=4, order=np.arange(9)[::-1].copy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trace": (3,)}, r"sample 3 is not in given, which has samples 0 to 2"),
        ({"trace": (-1,)}, r"sample -1 is not in given, which has samples 0 to 2"),
        ({"batch_size": 0}, r"the batch size is 0; expected at least 1"),
        ({"order": np.array([0, 1])}, r"no permutation of the samples 0 to 2"),
        ({"order": np.array([0, 1, 1])}, r"no permutation of the samples 0 to 2"),
        ({"order": np.array([0, 1, 3])}, r"no permutation of the samples 0 to 2"),
    ],
)
def test_bad_requests_are_refused(arguments, message):
    with pytest.raises(RecordingError, match=message):
        record(one_neuron(), split_from(torch.ones(3, 1, 1, 2)), **arguments)


def test_an_empty_split_is_refused():
    with pytest.raises(RecordingError, match="given has no sample"):
        record(one_neuron(), split_from(torch.ones(0, 1, 1, 2)))


def test_an_unknown_layer_or_trace_lists_the_known():
    recording = record(one_neuron(), split_from(torch.ones(2, 1, 1, 2)), trace=(1,))
    assert recording.layer(0) is recording.layer("0") is recording.layers[0]
    with pytest.raises(RecordingError, match="the network has 0 1"):
        recording.layer("conv9")
    with pytest.raises(
        RecordingError, match=r"sample 0 were not recorded \(kept: 1\); record with trace=\(0,\)"
    ):
        recording.trace(0)


# What it holds


def test_only_logits_labels_and_counters_grow_with_the_set():
    def sizes(recording: Recording) -> dict[str, int]:
        per_sample = {
            "logits",
            "labels",
            "spikes",
            "operations",
            "silent_steps",
            "replayed",
            *(field.name for field in fields(Seen)),
        }
        per_sample -= {"elements"}
        found: dict[str, int] = {}
        seen = [synapse.seen for synapse in recording.synapses]
        for part in (recording, *recording.layers, *recording.synapses, *seen):
            for name, value in vars(part).items():
                if value is None or name in ("layers", "synapses", "traces", "operators", "seen"):
                    continue
                size = (
                    value.nbytes
                    if isinstance(value, np.ndarray)
                    else len(str(value))
                    if name != "provenance"
                    else 0
                )
                kind = "grows" if name in per_sample else "fixed"
                found[kind] = found.get(kind, 0) + (
                    size if name != "split" else sys.getsizeof(value)
                )
        return found

    few, many = (
        sizes(record(lively("vgg13"), some_digits(6))),
        sizes(record(lively("vgg13"), some_digits(24))),
    )
    assert many["fixed"] == few["fixed"], (
        "something else than logits, labels and counters grows with the number of samples"
    )
    # 10 classes × 3 steps float32 logits, a label; each of 10 spiking layers: spikes, silent steps;
    # each of 11 layers with weights:
    # its operations and what it receives: three numbers of 8 bytes, two of 4, three flags.
    each = 10 * 3 * 4 + 8 + 10 * 2 * 8 + 11 * (8 + 3 * 8 + 2 * 4 + 3)
    assert (few["grows"], many["grows"]) == (6 * each, 24 * each)


def test_a_trace_keeps_image_label_and_logits():
    split = some_digits(5)
    recording = record(lively("vgg13"), split, trace=list(np.array([3])))
    kept = recording.trace(3)
    assert type(kept.index) is int
    assert np.array_equal(kept.image[0], split.tensors(np.array([3]))[0][0].numpy())
    assert kept.label == split.labels[3]
    assert np.array_equal(kept.logits, recording.logits[3])


def test_predictions_are_the_largest_mean_logit():
    recording = record(lively("resnet18"), some_digits(12))
    assert (
        recording.predictions.tolist()
        == recording.logits.astype(np.float64).mean(1).argmax(1).tolist()
    )


def test_thresholds_are_those_written():
    net = lively("vgg13")
    neurons = [module for module in net.backbone.modules() if is_neuron(module)]
    for number, module in enumerate(neurons):
        module.v_threshold = 1.0 + number / 10  # type: ignore[assignment]
    recording = record(net, some_digits(3))
    assert list(recording.thresholds.values()) == [1.0 + number / 10 for number in range(10)]
    assert [layer.name for layer in recording.layers] == list(recording.thresholds)


def test_discovery_leaves_no_charge_and_no_hook():
    net = one_neuron(timesteps=3)
    discover(net.eval(), torch.full((1, 2, 1, 1, 2), 0.5))
    assert hook_count(net) == 0
    with torch.no_grad():
        fresh = net(torch.full((1, 2, 1, 1, 2), 0.5))
        net.reset()
        assert torch.equal(fresh, net(torch.full((1, 2, 1, 1, 2), 0.5)))
