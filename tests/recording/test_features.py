"""What a recording keeps when asked: features, read-out and spike counts, by hand, for each place a
read-out can have.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from ahsar_eval.data import ImageSet, Split, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.checkpoints import Checkpoint, network_of
from ahsar_eval.networks.neurons import IntegrateAndFire, Integration
from ahsar_eval.recording import (
    FEATURES,
    SPIKE_COUNTS,
    Recording,
    RecordingStore,
    describe,
    load_recording,
    record,
    save_recording,
)
from ahsar_eval.recording.runner import Runner

BOTH = (FEATURES, SPIKE_COUNTS)


def split_from(images: Any) -> Split:
    pixels = torch.as_tensor(images, dtype=torch.float32)[:, None, None]
    shape = (1, 1, pixels.shape[3])
    labels = np.zeros(len(pixels), dtype=np.int64)
    return split_of(
        ImageSet(
            "given",
            "all",
            labels,
            (),
            "given",
            "given",
            lambda indices: list(pixels[indices]),
            shape,
        ),
        shape,
    )


def some_digits(count: int, role: str = "test") -> Split:
    return split_of(subset(open_set("digits", role), np.arange(count), role), (1, 16, 16))


def net_of(
    *modules: nn.Module, inputs: int = 2, classes: int = 3, step_mode: str = "m", timesteps: int = 4
) -> SpikingNet:
    spec = ModelSpec("tests:net", (1, 1, inputs), classes, step_mode=step_mode, timesteps=timesteps)
    return SpikingNet(nn.Sequential(layer.Flatten(step_mode=step_mode), *modules), spec)


def linear(
    inputs: int, outputs: int, step_mode: str = "m", *, bias: bool = True, weight: Any = None
) -> nn.Module:
    made = layer.Linear(inputs, outputs, bias=bias, step_mode=step_mode)
    if weight is not None:
        with torch.no_grad():
            made.weight.copy_(torch.as_tensor(weight))
    return made


def fires(step_mode: str = "m") -> nn.Module:
    return neuron.IFNode(v_reset=None, step_mode=step_mode)


def assert_same(found: Recording, expected: Recording) -> None:
    for name in ("logits", "features", "spike_counts"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b), name
    assert found.readout is not None
    assert expected.readout is not None
    assert np.array_equal(found.readout.weight, expected.readout.weight)


# By hand


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_features_and_counts_by_hand(step_mode):
    # An IF neuron fed 0.5 fires at steps 2 and 4, fed 1.0 at every step, fed 0.25 once.
    weight = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    net = net_of(
        fires(step_mode), linear(2, 3, step_mode, bias=False, weight=weight), step_mode=step_mode
    )
    recording = record(
        net, split_from([[0.5, 1.0], [0.25, 0.0], [0.0, 0.5]]), batch_size=2, extras=BOTH
    )
    assert recording.features is not None
    assert recording.spike_counts is not None
    assert recording.readout is not None
    assert recording.features.tolist() == [[0.5, 1.0], [0.25, 0.0], [0.0, 0.5]]
    assert recording.features.dtype == np.float32
    assert recording.spike_counts.tolist() == [[2, 4], [1, 0], [0, 2]]
    assert recording.spike_counts.dtype == np.uint8
    assert recording.readout.weight.tolist() == weight
    assert recording.readout.bias.tolist() == [0, 0, 0]
    assert recording.extras == set(BOTH)


def test_the_readout_makes_the_time_mean_logits():
    torch.manual_seed(0)
    recording = record(
        net_of(fires(), linear(2, 3)), split_from([[0.5, 1.0], [0.3, 0.9]]), extras=(FEATURES,)
    )
    assert recording.features is not None
    assert recording.readout is not None
    again = recording.features @ recording.readout.weight.T + recording.readout.bias
    assert np.allclose(again, recording.logits.mean(axis=1), rtol=0, atol=1e-6)
    assert recording.readout.bias.any()
    assert recording.spike_counts is None


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_the_mean_is_taken_in_float64(step_mode):
    """The mean of one number seven times is that number; sums in float32 miss it by a bit."""
    pixels = np.random.default_rng(0).random((20, 2), dtype=np.float32)
    net = net_of(linear(2, 3, step_mode), step_mode=step_mode, timesteps=7)
    assert np.array_equal(
        np.asarray(record(net, split_from(pixels), extras=(FEATURES,)).features), pixels
    )


def test_nothing_is_kept_that_was_not_asked_for():
    recording = record(net_of(fires(), linear(2, 3)), split_from([[0.5, 1.0]]))
    assert (recording.features, recording.readout, recording.spike_counts, recording.extras) == (
        None,
        None,
        None,
        frozenset(),
    )


def test_more_than_255_steps_take_a_wider_type():
    net = net_of(fires(), linear(2, 3), timesteps=300)
    counts = record(net, split_from([[1.0, 0.5]]), extras=(SPIKE_COUNTS,)).spike_counts
    assert counts is not None
    assert counts.dtype == np.uint16
    assert counts.tolist() == [[300, 150]]


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize(
    ("gain", "counts", "dtype"), [(1.0, [[4, 2]], np.uint8), (400.0, [[1600, 800]], np.uint16)]
)
def test_neurons_that_fire_several_times_a_step(step_mode, gain, counts, dtype):
    several = IntegrateAndFire(Integration(gain), 1.0, several=True, step_mode=step_mode)
    recording = record(
        net_of(several, linear(2, 3, step_mode), step_mode=step_mode),
        split_from([[1.0, 0.5]]),
        extras=BOTH,
    )
    assert recording.spike_counts is not None
    assert recording.features is not None
    assert recording.spike_counts.dtype == dtype
    assert recording.spike_counts.tolist() == counts
    assert recording.features.tolist() == [[counts[0][0] / 4, counts[0][1] / 4]]


# Where the read-out stands


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_spiking_output_layer_leaves_no_readout_and_the_hidden_layer_is_counted(step_mode):
    hidden = linear(2, 2, step_mode, bias=False, weight=[[1.0, 0.0], [0.0, 1.0]])
    out = linear(2, 3, step_mode, bias=False, weight=[[2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    net = net_of(hidden, fires(step_mode), out, fires(step_mode), step_mode=step_mode)
    recording = record(net, split_from([[0.5, 1.0], [0.25, 0.25]]), extras=BOTH)
    assert recording.readout is None
    assert recording.features is not None
    assert recording.spike_counts is not None
    assert recording.features.tolist() == [[0.5, 1.0], [0.25, 0.25]]
    assert recording.spike_counts.tolist() == [[2, 4], [1, 1]]


class MeanOverTime(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(0)


@pytest.mark.parametrize("place", ["behind the read-out", "before the read-out"])
def test_a_network_that_averages_over_time_itself_keeps_its_readout(place):
    last = (
        [linear(2, 3), MeanOverTime()]
        if place == "behind the read-out"
        else [MeanOverTime(), nn.Linear(2, 3)]
    )
    recording = record(
        net_of(fires(), *last),
        split_from([[0.5, 1.0], [0.25, 0.0], [1.0, 0.0]]),
        batch_size=2,
        extras=BOTH,
    )
    assert recording.logits.shape == (3, 1, 3)
    assert recording.features is not None
    assert recording.spike_counts is not None
    assert recording.features.tolist() == [[0.5, 1.0], [0.25, 0.0], [1.0, 0.0]]
    assert recording.spike_counts.tolist() == [[2, 4], [1, 0], [4, 0]]
    assert recording.readout is not None


def test_what_changes_the_logits_behind_the_last_layer_leaves_no_readout():
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    recording = record(
        net_of(fires(), linear(2, 3), Doubled()), split_from([[0.5, 1.0]]), extras=(FEATURES,)
    )
    assert recording.features is not None
    assert recording.readout is None


def test_a_convolution_that_reads_out_has_flat_features_and_no_readout():
    backbone = nn.Sequential(
        neuron.IFNode(step_mode="m"),
        layer.Conv2d(1, 3, 1, step_mode="m"),
        layer.AdaptiveAvgPool2d(1, step_mode="m"),
        nn.Flatten(2),
    )
    net = SpikingNet(backbone, ModelSpec("tests:net", (1, 1, 2), 3, timesteps=2))
    recording = record(net, split_from([[1.0, 0.0]]), extras=BOTH)
    assert recording.features is not None
    assert recording.features.tolist() == [[1.0, 0.0]]
    assert recording.readout is None


def test_a_network_without_what_is_asked_for_says_so():
    with pytest.raises(RecordingError, match="no spiking layer before its last layer with weights"):
        record(net_of(linear(2, 3), fires()), split_from([[1.0, 0.0]]), extras=(SPIKE_COUNTS,))
    with pytest.raises(RecordingError, match="no linear or convolutional layer"):
        record(net_of(fires(), inputs=3), split_from([[1.0, 0.0, 1.0]]), extras=(FEATURES,))
    with pytest.raises(
        RecordingError, match="can keep features and spike counts, and 'feature' was asked for"
    ):
        record(net_of(fires(), linear(2, 3)), split_from([[1.0, 0.0]]), extras=("feature",))


# Nothing but network and split decides the result


@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
def test_batch_size_order_and_step_mode_change_no_bit(
    backbone, make_tiny: Callable[..., Checkpoint]
):
    checkpoint = make_tiny(backbone, timesteps=3)
    split = some_digits(9)
    expected = record(network_of(checkpoint), split, extras=BOTH)
    assert expected.features is not None
    assert expected.spike_counts is not None
    assert expected.features.std(axis=0).max() > 0
    assert expected.spike_counts.sum(axis=1).tolist() == expected.layers[-1].spikes.tolist()
    assert expected.spike_counts.shape == (9, expected.layers[-1].neurons)
    shuffled = np.random.default_rng(0).permutation(9)
    for step_mode in ("m", "s"):
        net = network_of(replace(checkpoint, spec=replace(checkpoint.spec, step_mode=step_mode)))
        assert_same(record(net, split, batch_size=1, extras=BOTH), expected)
        assert_same(record(net, split, batch_size=4, order=shuffled, extras=BOTH), expected)


def test_extras_change_nothing_else_and_leave_no_hook(make_tiny: Callable[..., Checkpoint]):
    net, split = network_of(make_tiny()), some_digits(5)
    plain, full = record(net, split, trace=(2,)), record(net, split, trace=(2,), extras=BOTH)
    assert np.array_equal(plain.logits, full.logits)
    assert all(
        np.array_equal(a.spikes, b.spikes) for a, b in zip(plain.layers, full.layers, strict=True)
    )
    assert all(
        np.array_equal(a.operations, b.operations)
        for a, b in zip(plain.synapses, full.synapses, strict=True)
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


# Stored and found again


def test_extras_are_read_as_they_were_written(tmp_path: Path):
    torch.manual_seed(0)
    recording = record(
        net_of(fires(), linear(2, 3)), split_from([[0.5, 1.0], [0.3, 0.9]]), extras=BOTH
    )
    save_recording(recording, tmp_path / "one.npz")
    found = load_recording(tmp_path / "one.npz")
    assert_same(found, recording)
    assert found.readout is not None
    assert recording.readout is not None
    assert np.array_equal(found.readout.bias, recording.readout.bias)
    save_recording(
        replace(recording, features=None, readout=None, spike_counts=None), tmp_path / "plain.npz"
    )
    assert load_recording(tmp_path / "plain.npz").extras == frozenset()


def test_the_runner_records_again_only_what_is_missing(
    make_tiny: Callable[..., Checkpoint], tmp_path: Path
):
    runner, split = Runner(make_tiny(), store=RecordingStore(tmp_path)), some_digits(4)
    passes = []
    for extras, trace in [
        ((), (1,)),
        ((FEATURES,), ()),
        ((FEATURES,), (1,)),
        ((), ()),
        ((SPIKE_COUNTS,), ()),
        (BOTH, (1,)),
    ]:
        found = runner.recording(split, trace=trace, extras=extras)
        assert set(extras) <= found.extras
        passes.append(runner.recorded)
    assert passes == [1, 2, 2, 2, 3, 3], "a pass for the trace, one for features, one for counts"
    assert runner.recording(split).extras == set(BOTH), "the union is kept"
    assert [trace.index for trace in runner.recording(split).traces] == [1]


# What a recording says of its shift


@pytest.mark.parametrize(
    ("shift", "family"),
    [
        (None, ""),
        ("gaussian_noise", "noise"),
        ("fog", "weather"),
        ("speckle_noise", "extra"),
        ("rotation", "ours"),
    ],
)
def test_the_family_of_a_shift(shift, family):
    split = split_of(open_set("digits", "test"), (1, 16, 16), shift, 3 if shift else 0)
    assert describe(split)["family"] == family


def test_shifts_of_events_are_one_family():
    split = replace(split_from([[1.0, 0.0]]), shift="event_drop", severity=2, modality="events")
    assert describe(split)["family"] == "events"
