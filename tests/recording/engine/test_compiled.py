"""The compiled path: the same answers as SpikingJelly's own operations, what it leaves alone, and
when the reference runs instead.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from user_networks import Plain, by_both, first, network, said, spread

from ahsar_eval.data import View, open_split
from ahsar_eval.errors import AhsarWarning, UsageError
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.ood import auroc, predictive_entropy
from ahsar_eval.recording import record
from ahsar_eval.recording.engine import Convolution
from ahsar_eval.recording.execution import Difference, samples_to_check
from ahsar_eval.recording.layout import channels_last
from ahsar_eval.recording.runner import Runner

EMBEDDED = [
    f"{data}-{backbone}-{method}"
    for data, backbone in (("digits", "vgg13"), ("digits", "resnet18"), ("digits-dvs", "vgg13"))
    for method in ("baseline", "ahsar")
]

# The same answers


@pytest.mark.parametrize("samples", [100, pytest.param(None, marks=pytest.mark.every)])
@pytest.mark.parametrize("name", EMBEDDED)
def test_shipped_checkpoints_answer_the_same_on_their_test_set(name, samples):
    """On samples from all over it, and on all of it."""
    checkpoint = load_checkpoint(name)
    assert checkpoint.trained_on is not None
    spec = checkpoint.spec
    split = open_split(checkpoint.trained_on, View(spec.input_shape, spec.timesteps, spec.framing))
    shifted = f"{checkpoint.trained_on}:{'gaussian_noise' if split.modality == 'image' else 'event_drop'}:3"
    found = []
    for other in (split, open_split(shifted, View(spec.input_shape, spec.timesteps, spec.framing))):
        reference, fast = by_both(network_of(checkpoint), spread(other, samples or len(other)))
        assert fast.provenance["engine"] == "compiled"
        assert fast.provenance["by_events"], "some convolution runs by events"
        assert (reference.predictions == fast.predictions).mean() >= 0.999
        for before, after in zip(reference.layers, fast.layers, strict=True):
            assert after.spikes.sum() == pytest.approx(before.spikes.sum(), rel=1e-3), before.name
        found.append((reference, fast))
    entropies = [[predictive_entropy(recording.logits) for recording in pair] for pair in found]
    areas = [auroc(entropies[0][path], entropies[1][path]) for path in (0, 1)]
    assert areas[1] == pytest.approx(areas[0], abs=1e-3)


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
def test_untrained_networks_answer_the_same_in_both_step_modes(backbone, step_mode, make_tiny):
    net = network_of(make_tiny(backbone, step_mode=step_mode))
    reference, fast = by_both(net, first(80), batch_size=33, trace=(7,))
    assert fast.provenance["engine"] == "compiled"
    assert fast.provenance["by_events"]
    assert np.allclose(reference.logits, fast.logits, atol=1e-5)
    for before, after in zip(reference.layers, fast.layers, strict=True):
        assert np.array_equal(before.spikes, after.spikes), before.name
        assert np.array_equal(before.rate_map, after.rate_map), before.name
        assert np.array_equal(
            reference.trace(7).spikes[before.name], fast.trace(7).spikes[before.name]
        ), before.name
    for one, other in zip(reference.synapses, fast.synapses, strict=True):
        assert np.array_equal(one.operations, other.operations), one.name
    assert reference.uncounted == fast.uncounted
    assert [operator.name for operator in reference.operators] == [
        operator.name for operator in fast.operators
    ]


def test_batch_size_and_order_change_no_bit_of_a_compiled_recording(make_tiny):
    net, split = network_of(make_tiny("resnet18")), first(70)
    whole = record(net, split)
    assert whole.provenance["engine"] == "compiled"
    other = record(net, split, batch_size=9, order=np.random.default_rng(0).permutation(70))
    assert np.array_equal(whole.logits, other.logits)
    assert all(
        np.array_equal(a.spikes, b.spikes) for a, b in zip(whole.layers, other.layers, strict=True)
    )


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_network_of_a_user_is_compiled_too(step_mode):
    net = network(Plain(step_mode), step_mode)
    reference, fast = by_both(net, first(64))
    assert fast.provenance["engine"] == "compiled"
    assert fast.provenance["by_events"] == ["conv2"]
    assert fast.provenance["left"] == {}
    assert fast.provenance["engine_difference"]["samples"] == 4  # of 64
    assert np.allclose(reference.logits, fast.logits, atol=1e-5)
    assert np.array_equal(reference.layers[1].spikes, fast.layers[1].spikes)
    assert reference.layers[1].spikes.sum() > 0


def test_nothing_of_the_network_is_changed_afterwards():
    net = network(Plain())
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    record(net, first(64))
    for name, module in net.named_modules():
        assert "forward" not in vars(module), name
        assert not module._forward_hooks, name
        assert not module._forward_pre_hooks, name
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
        assert tensor.is_contiguous(), name


def test_weights_lie_channels_last_inside_alone_and_as_they_lay_afterwards():
    net = network(Plain())
    own = net.backbone.conv2.weight.data.contiguous(memory_format=torch.channels_last)
    net.backbone.conv2.weight.data = own
    with channels_last(net):
        assert net.backbone.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert net.backbone.conv2.weight.data_ptr() == own.data_ptr(), (
        "what lay like that before is not touched"
    )
    net = network(Plain())

    def fail() -> None:
        with channels_last(net):
            assert not net.backbone.conv2.weight.is_contiguous()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert net.backbone.conv2.weight.is_contiguous()
    with channels_last(net, where=False):
        assert net.backbone.conv2.weight.is_contiguous()


# When the reference runs


def test_a_network_that_computes_something_else_later_runs_on_the_reference():
    class Changing(Plain):
        calls = 0

        def normalised(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.bn2(
                x * 1.0 if self.calls > 5 else x
            )  # after three looks at it and both runs of the check

    with said() as lines:
        fast = record(network(Changing()), first(64))
    assert fast.provenance["engine"] == "reference"
    (line,) = [str(one.message) for one in lines if issubclass(one.category, AhsarWarning)]
    assert line == (
        "the network runs on the reference path: batch norm 'bn2' took something else than the "
        "output of the convolution before it"
    )
    expected = record(network(Plain()), first(64), engine="reference")
    assert np.allclose(fast.logits, expected.logits, atol=1e-5)


def test_a_path_that_gives_something_else_is_found_by_the_check(monkeypatch):
    real = Convolution._of_events
    monkeypatch.setattr(Convolution, "_of_events", lambda self, x: real(self, x) + 0.05)
    with said() as lines:
        found = record(network(Plain()), first(64))
    assert found.provenance["engine"] == "reference"
    assert "of the spikes of lif2" in found.provenance["engine_reason"]
    assert found.provenance["engine_reason"].endswith(
        "; at most 0.5% and none may be, and logits by 0.0001 where all spikes are the same"
    )
    assert [str(one.message).split(":")[0] for one in lines] == [
        "the network runs on the reference path"
    ]
    expected = record(network(Plain()), first(64), engine="reference")
    assert np.array_equal(found.logits, expected.logits)


def test_a_changed_prediction_alone_is_enough():
    held = Difference(16, 0.005, "lif", 0.1, 0)
    assert held.holds
    assert not Difference(16, 0.005, "lif", 0.1, 1).holds
    assert not Difference(16, 0.0051, "lif", 0.1, 0).holds


def test_where_all_spikes_are_the_same_logits_must_be():
    assert Difference(16, 0.0, "lif", 1e-4, 0).holds
    assert not Difference(16, 0.0, "lif", 1.1e-4, 0).holds


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (lambda: network(Plain()).double(), "conv1: its weights are float64 on cpu, not float32 on "
                                            "the CPU"),
    ],
)  # fmt: skip
def test_a_network_with_nothing_to_compile_says_so_in_one_line(net, reason):
    with said() as lines:
        found = record(net(), first(64))
    assert (found.provenance["engine"], found.provenance["engine_reason"]) == ("reference", reason)
    assert [str(one.message) for one in lines] == [
        f"the network runs on the reference path: {reason}"
    ]


def test_a_network_without_convolutions_is_the_same_on_both_paths():
    net = nn.Sequential(layer.Flatten(), neuron.LIFNode(), layer.Linear(256, 10))
    functional.set_step_mode(net, "m")
    with said() as lines:
        found = record(network(net), first(64))
    assert found.provenance["engine_reason"] == "it has no convolutions"
    assert not lines


def test_what_is_left_as_it_is_is_listed_and_the_rest_is_compiled():
    module = Plain()
    module.conv1 = layer.Conv2d(1, 16, 3, padding=1, padding_mode="circular", step_mode="m")
    module.lif1 = neuron.ParametricLIFNode(step_mode="m", v_threshold=0.3)
    reference, fast = by_both(network(module), first(64))
    assert fast.provenance["engine"] == "compiled"
    assert fast.provenance["left"] == {
        "conv1": "its padding is circular (1, 1)",
        "lif1": "there is no loop for a ParametricLIFNode of its kind",
    }
    assert np.allclose(reference.logits, fast.logits, atol=1e-5)


def test_derived_layers_keep_what_they_compute():
    class Doubled(layer.BatchNorm2d):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    class Derived(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.conv2 = layer.WSConv2d(16, 64, 3, step_mode="m")  # standardises its weights
            self.bn1 = Doubled(16, step_mode="m")

    reference, fast = by_both(network(Derived()), first(64))
    assert fast.provenance["engine"] == "compiled"
    assert fast.provenance["left"] == {"conv2": "its class WSConv2d may compute something else"}
    assert np.array_equal(reference.logits, fast.logits)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_network_that_writes_into_what_it_is_given_still_answers_the_same(step_mode):
    class Writing(Plain):
        def forward(self, x: Tensor) -> Tensor:
            x = self.bn1(self.conv1(x))
            x += 0.1
            return self.fc(self.flat(self.pool(self.lif2(self.bn2(self.conv2(self.lif1(x)))))))

    with said() as lines:
        reference, fast = by_both(network(Writing(step_mode), step_mode), first(64))
    assert np.allclose(reference.logits, fast.logits, atol=1e-5)
    if step_mode == "m":  # one image stands for all steps
        assert fast.provenance["engine_reason"].startswith(
            "it fails on the compiled one: tests:net failed on an input of shape"
        )
        assert len(lines) == 1
    else:
        assert fast.provenance["engine"] == "compiled"


def test_few_samples_run_on_the_reference_without_a_word():
    with said() as lines:
        found = record(network(Plain()), first(63))
    assert not lines
    assert found.provenance["engine"] == "reference"
    assert found.provenance["engine_reason"] == "63 samples are too few to pay for a check"


# Precision


def test_bf16_says_how_far_it_is_from_fp32():
    net, split = network(Plain()), first(20)
    exact = record(net, split)
    with said() as lines:
        coarse = record(net, split, precision="bf16")
    assert coarse.provenance["precision"] == "bf16"
    (line,) = [str(one.message) for one in lines]
    assert line.startswith("digits in bf16: on 16 samples ")
    assert coarse.provenance["engine_difference"]["logits"] > 0
    assert coarse.logits.dtype == np.float32
    assert not np.array_equal(coarse.logits, exact.logits)
    assert np.corrcoef(coarse.logits.ravel(), exact.logits.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("count", "places"),
    [
        (1, [0]),
        (3, [0, 1, 2]),
        (64, [0, 16, 32, 48]),  # a 64th is one, and four are the fewest
        (320, [0, 64, 128, 192, 256]),
        (1024, list(range(0, 1024, 64))),
        (10_000, list(range(0, 10_000, 625))),  # never more than 16
    ],
)
def test_the_check_looks_at_samples_all_over_the_set(count, places):
    assert samples_to_check(count).tolist() == places


def test_a_network_that_falls_back_to_the_reference_is_not_said_to_have_run_in_bf16():
    with said() as lines:
        found = record(network(Plain()).double(), first(20), precision="bf16")
    assert (found.provenance["engine"], found.provenance["precision"]) == ("reference", "fp32")
    assert [str(one.message).split(":")[0] for one in lines] == [
        "the network runs on the reference path"
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "fast"}, "the engine is 'fast'; expected one of compiled, reference"),
        ({"precision": "int8"}, "the precision is 'int8'; expected one of fp32, bf16, tf32"),
        (
            {"engine": "reference", "precision": "bf16"},
            "the reference runs in fp32, and bf16 was asked for; use the compiled engine",
        ),
        (
            {"precision": "tf32"},
            "tf32 is a number format of NVIDIA GPUs, and the device is cpu; use bf16 or fp32",
        ),
    ],
)
def test_what_cannot_run_is_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        record(network(Plain()), first(3), **settings)


def test_recordings_of_another_engine_or_precision_are_other_recordings():
    runners = [Runner(load_checkpoint("digits-vgg13-ahsar"), engine=engine, precision=precision) for engine, precision in
               (("compiled", "fp32"), ("reference", "fp32"), ("compiled", "bf16"))]  # fmt: skip
    assert len({runner.key(first(20)) for runner in runners}) == 3


def test_densities_are_shares_of_what_is_not_zero(monkeypatch):
    """The first convolution meets images of which a sixteenth is not zero."""
    decided: list[float] = []
    monkeypatch.setattr(Convolution, "decide", lambda self, density: decided.append(density))
    split = replace(first(70), load=lambda index: torch.eye(16).expand(1, len(index), 1, 16, 16))
    record(network(Plain()), split)
    assert decided[0] == 1 / 16
