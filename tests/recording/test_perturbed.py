"""ODIN's step: by hand, against pytorch-ood, and what it must leave alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from ahsar_eval.data import ImageSet, Split, View, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, network_of
from ahsar_eval.networks.neurons import IntegrateAndFire, Integration
from ahsar_eval.ood.scores import fit_scores
from ahsar_eval.recording import ODIN_EPSILON, RecordingStore, against_prediction, is_perturbed
from ahsar_eval.recording.perturbed import input_gradient
from ahsar_eval.recording.runner import Runner


def some(
    count: int,
    name: str = "digits",
    shape: tuple[int, int, int] = (1, 16, 16),
    timesteps: int | None = None,
) -> Split:
    return split_of(
        subset(open_set(name, "test"), np.arange(count), "test"), View(shape, timesteps)
    )


def net_of(*modules: nn.Module, classes: int = 2) -> SpikingNet:
    return SpikingNet(
        nn.Sequential(layer.Flatten(step_mode="m"), *modules),
        ModelSpec("tests:net", (1, 1, 2), classes, timesteps=3),
    )


def split_from(images: list[list[float]]) -> Split:
    pixels = torch.tensor(images)[:, None, None]
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
            (1, 1, 2),
        ),
        (1, 1, 2),
    )


# By hand


def test_a_step_towards_the_predicted_class_by_hand():
    """Logits (x₀, x₁): raising the larger input and lowering the other makes the prediction surer,
    whatever T is.
    """
    same = layer.Linear(2, 2, bias=False, step_mode="m")
    with torch.no_grad():
        same.weight.copy_(torch.eye(2))
    split = split_from([[0.75, 0.25], [0.25, 0.5], [1.0, 0.0]])
    pushed = against_prediction(
        net_of(same), split, identity="net", batch_size=2, epsilon=0.125
    ).tensors(np.arange(3))
    assert pushed.flatten(1).shape == (1, 6)
    assert pushed[0, :, 0, 0].tolist() == [[0.875, 0.125], [0.125, 0.625], [1.125, -0.125]], (
        "not clipped to [0, 1]"
    )


def test_each_sample_has_a_gradient_of_its_own_size():
    torch.manual_seed(0)
    net = net_of(layer.Linear(2, 2, step_mode="m"))
    x = split_from([[0.75, 0.25], [0.25, 0.5], [1.0, 0.0]]).tensors(np.arange(3))
    whole = input_gradient(net, x)
    assert whole.shape == x.shape
    assert torch.allclose(
        torch.cat([input_gradient(net, x[:, n : n + 1]) for n in range(3)], dim=1),
        whole,
        rtol=1e-6,
        atol=0,
    )


def test_charge_left_by_others_is_forgotten():
    torch.manual_seed(0)
    net = net_of(neuron.LIFNode(step_mode="m"), layer.Linear(2, 2, step_mode="m")).eval()
    x = split_from([[0.75, 0.25], [0.25, 0.5]]).tensors(np.arange(2))
    expected = input_gradient(net, x)
    net(3 * x)
    assert torch.equal(input_gradient(net, x), expected)


# Against pytorch-ood


@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_images_and_scores_equal_pytorch_ood(
    backbone, step_mode, make_tiny: Callable[..., Checkpoint]
):
    from pytorch_ood.detector import ODIN, odin_preprocessing

    checkpoint = make_tiny(backbone, mean=(0.3,), std=(0.4,))
    checkpoint = replace(checkpoint, spec=replace(checkpoint.spec, step_mode=step_mode))
    net, split, runner = network_of(checkpoint), some(12), Runner(checkpoint, batch_size=5)

    def model(images: torch.Tensor) -> torch.Tensor:
        net.reset()
        return net(images[None]).mean(0)

    images = split.tensors(np.arange(12))[0]
    expected = odin_preprocessing(model, images, eps=ODIN_EPSILON)
    pushed = runner.perturbed(split)
    found = pushed.tensors(np.arange(12))[0]
    assert not torch.equal(found, images)
    assert torch.equal(found, expected)
    scores = fit_scores(["odin"])["odin"](runner.recording(pushed))
    oracle = 1 + ODIN(model).predict(images).double().numpy()
    assert scores == pytest.approx(oracle, abs=1e-6)
    assert np.ptp(scores) > 1e-5, "the scores would agree with any"


def test_event_frames_are_pushed_frame_by_frame():
    from pytorch_ood.detector import odin_preprocessing

    checkpoint = load_checkpoint("digits-dvs-vgg13-baseline")
    spec = checkpoint.spec
    net, split = network_of(checkpoint), some(3, "digits-dvs", spec.input_shape, spec.timesteps)

    def model(samples: torch.Tensor) -> torch.Tensor:
        net.reset()
        return net(samples.transpose(0, 1)).mean(0)

    frames = split.tensors(np.arange(3))
    expected = odin_preprocessing(model, frames.transpose(0, 1), eps=ODIN_EPSILON).transpose(0, 1)
    found = Runner(checkpoint).perturbed(split).tensors(np.arange(3))
    assert found.shape == (spec.timesteps, 3, *spec.input_shape)
    assert torch.equal(found, expected)


# What it leaves alone, and what it is called


def test_network_counts_and_split_are_left_alone(make_tiny: Callable[..., Checkpoint]):
    runner, split = Runner(make_tiny()), some(5)
    net = runner.network.train()
    before = runner.recording(split)
    pushed = runner.perturbed(split)
    recording = runner.recording(pushed)
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    again = runner.recording(split)
    assert np.array_equal(again.logits, before.logits)
    assert all(
        np.array_equal(a.rate_map, b.rate_map)
        for a, b in zip(again.layers, before.layers, strict=True)
    )
    for counted in recording.layers:  # the passes that made the input are not counted
        assert counted.rate_map.mean() == pytest.approx(recording.rate(counted), rel=1e-12)
    assert split.tensors(np.arange(5)).max() <= 1


def test_thresholds_are_those_written(make_tiny: Callable[..., Checkpoint]):
    runner, split = Runner(make_tiny()), some(8)
    at_three = runner.at_scale(3.0)
    pushed, others = (one.perturbed(split) for one in (runner, at_three))
    assert pushed.identity != others.identity
    net = network_of(runner.checkpoint, scale=3.0)
    x = split.tensors(np.arange(8))
    assert torch.equal(
        others.tensors(np.arange(8)), x - ODIN_EPSILON * input_gradient(net, x).sign()
    )
    assert not torch.equal(others.tensors(np.arange(8)), pushed.tensors(np.arange(8)))


def test_no_charge_is_left_from_batch_to_batch(make_tiny: Callable[..., Checkpoint]):
    pushed = Runner(make_tiny(timesteps=3)).perturbed(some(8))
    first = pushed.tensors(np.arange(4))
    pushed.tensors(np.arange(4, 8))
    assert torch.equal(pushed.tensors(np.arange(4)), first)


def test_the_name_says_what_was_done(make_tiny: Callable[..., Checkpoint], tmp_path: Path):
    runner, split = Runner(make_tiny(), store=RecordingStore(tmp_path)), some(4)
    pushed = runner.perturbed(split)
    assert "odin, 0.0014 at T=1000, 64 at a time" in pushed.adaptation
    assert (pushed.name, len(pushed)) == (split.name, 4)
    ids = {
        one.identity
        for one in (
            split,
            pushed,
            replace(runner, batch_size=3).perturbed(split),
            Runner(make_tiny("resnet18")).perturbed(split),
        )
    }
    assert len(ids) == 4
    plain, second = runner.recording(split), runner.recording(pushed)
    assert runner.recorded == 2
    assert not is_perturbed(plain.split)
    assert is_perturbed(second.split)
    assert np.array_equal(runner.recording(runner.perturbed(split)).logits, second.logits)
    assert runner.recorded == 2, "the second pass is found again"


def test_one_sample_alone_is_pushed_as_it_is_among_others(make_tiny: Callable[..., Checkpoint]):
    pushed = Runner(make_tiny()).perturbed(some(6))
    assert torch.equal(pushed.only(4).tensors(np.arange(1)), pushed.tensors(np.arange(6))[:, 4:5])


# Refusals


class Step(nn.Module):
    """Spikes without a surrogate: no gradient, or one of 0."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "zero":
            return torch.floor(x)
        return (x >= 0.5).float() if self.kind == "cut" else x.detach() * self.scale

    scale = 1.0


@pytest.mark.parametrize("kind", ["zero", "cut", "detached"])
def test_a_network_without_a_gradient_says_so(kind):
    said = (
        r"no gradient leads from the logits of tests:net to its input; ODIN needs .*; use "
        r"another "
        r"score"
    )
    net, split = net_of(Step(kind), layer.Linear(2, 2, step_mode="m")), split_from([[1.0, 0.0]])
    if kind != "zero":
        with pytest.raises(RecordingError, match=said):  # the weights do have a gradient
            input_gradient(net, split.tensors(np.arange(1)))
    with pytest.raises(RecordingError, match=said):
        against_prediction(net, split, identity="net", batch_size=2).tensors(np.arange(1))


def test_neurons_that_fire_several_times_a_step_are_refused_at_once():
    several = IntegrateAndFire(Integration(1.0), 1.0, several=True, step_mode="m")
    with pytest.raises(
        RecordingError,
        match=(
            r"layer '1' may fire several times in a step, which has no gradient; "
            r".*--spikes-per-step one"
        ),
    ):
        against_prediction(
            net_of(several, layer.Linear(2, 2, step_mode="m")),
            split_from([[1.0, 0.0]]),
            identity="net",
            batch_size=2,
        )


def test_a_gradient_that_is_not_finite_is_refused():
    net = net_of(neuron.IFNode(step_mode="m"), layer.Linear(2, 2, step_mode="m"))
    with torch.no_grad():
        net.backbone.get_parameter("2.weight").fill_(float("nan"))
    with pytest.raises(
        RecordingError, match="the gradient of the logits by the input is not finite"
    ):
        against_prediction(net, split_from([[1.0, 0.0]]), identity="net", batch_size=2).tensors(
            np.arange(1)
        )
