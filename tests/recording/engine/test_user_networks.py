"""What networks of users do that ours do not: the compiled path answers as SpikingJelly alone
would, or leaves them to it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn
from user_networks import Plain, by_both, first, network, said

from ahsar_eval.recording import Recording, record
from ahsar_eval.recording.engine import Convolution, why_not
from ahsar_eval.recording.layout import channels_last

SAMPLES = 70


def alone(net: Any) -> tuple[np.ndarray, dict[str, int]]:
    """Logits [N, T, K] and spikes of each layer by SpikingJelly's own forward, nothing
    exchanged."""
    counts: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        return lambda module, inputs, out: counts.update(
            {name: counts.get(name, 0) + int(out.sum())}
        )

    handles = [
        m.register_forward_hook(count(name))
        for name, m in net.backbone.named_modules()
        if isinstance(m, neuron.BaseNode)
    ]
    with torch.no_grad(), channels_last(net.backbone):
        functional.reset_net(net.backbone)
        logits = net(first(SAMPLES).tensors(np.arange(SAMPLES))).transpose(0, 1)
        functional.reset_net(net.backbone)
    for handle in handles:
        handle.remove()
    return logits.numpy(), counts


def seeded(make: Callable[[], Any]) -> Any:
    """The same network at every call."""
    torch.manual_seed(1)
    return make()


def check_answers(make: Callable[[], Any]) -> Recording:
    """Both paths give what SpikingJelly gives alone, and the second is the compiled one."""
    logits, counts = alone(seeded(make))
    assert sum(counts.values()) > 0
    with said():
        reference, fast = (
            record(seeded(make), first(SAMPLES), engine="reference"),
            record(seeded(make), first(SAMPLES), batch_size=32),
        )
    for found in (reference, fast):
        assert np.allclose(found.logits, logits, atol=1e-5), found.provenance["engine"]
        assert {one.name: int(one.spikes.sum()) for one in found.layers} == counts, (
            found.provenance["engine"]
        )
    assert fast.provenance["engine"] == "compiled", fast.provenance.get("engine_reason")
    return fast


# A batch norm that takes something else than its convolution's output


def test_containers_show_the_norm_the_same_memory_in_another_shape():
    class Contained(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = (
                layer.SeqToANNContainer(nn.Conv2d(1, 16, 3)),
                layer.SeqToANNContainer(nn.BatchNorm2d(16)),
            )
            self.conv2, self.bn2 = (
                layer.SeqToANNContainer(nn.Conv2d(16, 64, 3)),
                layer.SeqToANNContainer(nn.BatchNorm2d(64)),
            )

    fast = check_answers(lambda: network(Contained()))
    assert fast.provenance["left"] == {}


def test_a_norm_that_takes_a_copy_is_left_alone_and_the_rest_is_compiled():
    class Copied(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.bn1 = layer.SeqToANNContainer(
                nn.BatchNorm2d(16)
            )  # flattens what one image stands for at all steps: a copy

    fast = check_answers(lambda: network(Copied()))
    assert fast.provenance["by_events"] == ["conv2"]
    assert fast.provenance["left"] == {
        "bn1.0": (
            "batch norm 'bn1.0' took something else than the output of the convolution before it"
        )
    }


def test_a_norm_of_two_convolutions():
    class Shared(Plain):
        def __init__(self) -> None:
            super().__init__(channels=64)
            self.bn2 = self.bn1

    check_answers(lambda: network(Shared()))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_hook_that_changes_what_a_convolution_gave(in_place):
    def made() -> Any:
        net = network(Plain())
        net.backbone.conv2.register_forward_hook(
            lambda module, inputs, out: out.mul_(0.5) if in_place else out * 0.5
        )
        return net

    fast = check_answers(made)
    assert fast.provenance["left"] == {
        "bn2": "batch norm 'bn2' took something else than the output of the convolution before it"
    }


def test_a_later_batch_that_is_changed_in_place_runs_on_the_reference():
    class Changing(Plain):
        def normalised(self, x: Tensor) -> Tensor:
            if x.shape[1] == SAMPLES % 32:  # the last batch alone
                x.mul_(0.5)
            return self.bn2(x)

    with said() as lines:
        reference, fast = by_both(
            seeded(lambda: network(Changing())), first(SAMPLES), batch_size=32
        )
    assert np.allclose(reference.logits, fast.logits, atol=1e-5)
    assert fast.provenance["engine"] == "reference"
    assert len(lines) == 1


@pytest.mark.parametrize(
    "other",
    [
        torch.clone,
        lambda y: y[:, :, :32],
        lambda y: torch.stack([y, y])[0],
        lambda y: y.chunk(2, 2)[1],
    ],
)
def test_what_else_takes_a_convolutions_output_sees_it_before_the_norm(other):
    class Twice(Plain):
        def normalised(self, x: Tensor) -> Tensor:
            beside = other(x)
            return self.bn2(x) + beside.flatten(2).mean(-1)[:, :, None, None, None]

    check_answers(lambda: network(Twice()))


def test_statistics_that_a_hook_fits_to_every_batch_are_used():
    def made() -> Any:
        net = network(Plain())

        def adapt(norm: Any, inputs: tuple[Tensor, ...]) -> None:
            norm.running_mean.copy_(inputs[0].amax((0, 1, 3, 4)) * 0.2)

        net.backbone.bn2.register_forward_pre_hook(adapt)
        return net

    logits, _ = alone(seeded(made))
    with said():
        whole = record(seeded(made), first(SAMPLES), batch_size=SAMPLES)
    assert np.allclose(whole.logits, logits, atol=1e-5)


def test_statistics_that_a_hook_writes_between_convolution_and_norm_are_used():
    def made() -> Any:
        net = network(Plain())
        wanted = net.backbone.bn2.running_mean * 3

        def write(norm: Any, inputs: tuple[Tensor, ...]) -> None:
            norm.running_mean.copy_(wanted)

        net.backbone.bn2.register_forward_pre_hook(write)
        return net

    fast = check_answers(made)
    assert fast.provenance["left"] == {
        "bn2": "batch norm 'bn2' took something else than the output of the convolution before it"
    }


def test_weights_that_change_between_batches_are_used():
    def made() -> Any:
        net, calls = network(Plain()), []

        def grow(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls.append(1)
            with torch.no_grad():
                net.backbone.conv2.weight.mul_(
                    1.5 if len(calls) == 7 else 1.0
                )  # after discoveries and checks, between batches

        net.backbone.register_forward_pre_hook(grow)
        return net

    with said():
        fast = record(seeded(made), first(SAMPLES), batch_size=32)
    early, late = (seeded(lambda: network(Plain())) for _ in range(2))
    late.backbone.conv2.weight.data *= 1.5
    wanted = [record(net, first(SAMPLES), engine="reference").logits for net in (early, late)]
    assert fast.provenance["engine"] == "compiled"
    assert np.allclose(fast.logits[:32], wanted[0][:32], atol=1e-5)
    assert np.allclose(fast.logits[32:], wanted[1][32:], atol=1e-5)


# Spiking layers that are not what their type says


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_hook_that_silences_neurons_is_counted(in_place, step_mode):
    def made() -> Any:
        net = network(Plain(step_mode), step_mode)
        mask = (torch.arange(64) % 2 == 0).float().view(64, 1, 1)
        net.backbone.lif2.register_forward_hook(
            lambda module, inputs, out: out.mul_(mask) if in_place else out * mask
        )
        return net

    fast = check_answers(made)
    silent = fast.layers[1].rate_map[1::2]
    assert silent.max() == 0


def test_a_method_of_an_instance_is_called():
    def made() -> Any:
        net = network(Plain())
        lif = net.backbone.lif2
        lif.multi_step_forward = lambda x: type(lif).multi_step_forward(lif, 0.5 * x)
        return net

    assert check_answers(made).provenance["left"] == {
        "lif2": "there is no loop for a LIFNode of its kind"
    }


class Strict(surrogate.Sigmoid):  # type: ignore[misc]
    """Fires above the threshold, not at it."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0.05).to(x)


def test_a_surrogate_of_the_user_fires_as_it_says():
    def made() -> Any:
        net = network(Plain())
        net.backbone.lif1.surrogate_function = Strict()
        return net

    assert check_answers(made).provenance["left"] == {
        "lif1": "there is no loop for a LIFNode of its kind"
    }


def test_a_potential_that_all_samples_begin_with_is_broadcast():
    def made() -> Any:
        net = network(Plain())
        net.backbone.lif2.set_reset_value(
            "v", torch.linspace(-0.2, 0.2, 64).view(1, 64, 1, 1).expand(1, 64, 12, 12).clone()
        )
        return net

    check_answers(made)


# Numbers


def test_products_are_float32_whatever_torch_was_told():
    seen = []

    class Watching(Plain):
        def normalised(self, x: Tensor) -> Tensor:
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return self.bn2(x)

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        for engine in ("reference", "compiled"):
            record(network(Watching()), first(SAMPLES), engine=engine)
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (
            True,
            True,
        )
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    assert set(seen) == {(False, False)}


def test_a_caller_in_inference_mode_is_answered_the_same():
    outside = record(seeded(lambda: network(Plain())), first(SAMPLES))
    with torch.inference_mode():
        inside = record(seeded(lambda: network(Plain())), first(SAMPLES))
        net = seeded(lambda: network(Plain()))
    built_inside = record(net, first(SAMPLES))
    for found in (inside, built_inside):
        assert np.allclose(found.logits, outside.logits, atol=1e-5)
        assert [int(one.spikes.sum()) for one in found.layers] == [
            int(one.spikes.sum()) for one in outside.layers
        ]


def test_weights_that_are_not_finite_are_multiplied_by_zero_too():
    module = nn.Conv2d(4, 16, 3)
    assert why_not(module, "fp32") == ""
    module.weight.data[0, 0, 0, 0] = float("inf")
    assert why_not(module, "fp32") == "its weights are not all finite"


def test_more_channels_than_an_event_can_name_run_dense():
    for channels, by_events in ((65_535, True), (65_536, False)):
        made = Convolution(nn.Conv2d(channels, 16, 1, bias=False), None)
        made.decide(0.0)
        assert made.by_events is by_events, channels
