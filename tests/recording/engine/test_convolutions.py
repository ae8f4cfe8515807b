"""Convolutions that visit what is not zero: by hand, against a sum in the documented order to the
bit, and against torch.
"""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.recording.engine import BF16, FP32, Convolution, joins, why_not

LEAST = 16  # output channels that are visited by events at all


def by_events(module: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> Convolution:
    made = Convolution(module, norm)
    made.decide(0.0)
    assert made.by_events
    return made


def plain(module: nn.Conv2d, norm: nn.BatchNorm2d | None, x: Tensor) -> Tensor:
    """What both layers give, in float64."""
    flat = x.double().reshape(-1, *x.shape[-3:])
    bias = None if module.bias is None else module.bias.double()
    settings = (module.stride, module.padding, module.dilation, module.groups)
    out = F.conv2d(flat, module.weight.double(), bias, *settings)  # type: ignore[arg-type]
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = (norm.weight.double(), norm.bias.double()) if norm.affine else (None, None)
        out = F.batch_norm(
            out,
            norm.running_mean.double(),
            norm.running_var.double(),
            weight,
            bias,
            False,
            0.0,
            norm.eps,
        )
    return out.reshape(*x.shape[:-3], *out.shape[1:])


def lively(channels: int, affine: bool = True, seed: int = 0) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, affine=affine).eval()
    drawn = torch.Generator().manual_seed(seed)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_(generator=drawn)
    norm.running_var.uniform_(0.2, 2, generator=drawn)
    if affine:
        norm.weight.data.uniform_(0.5, 2, generator=drawn)
        norm.bias.data.normal_(generator=drawn)
    return norm


def spikes(*shape: int, rate: float = 0.2, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


# By hand


def test_one_event_brings_the_weights_turned_around_it():
    module = nn.Conv2d(1, LEAST, 3, padding=1, bias=False)
    kernel = torch.arange(9.0).view(3, 3)
    module.weight.data = kernel.expand(LEAST, 1, 3, 3) * torch.arange(1.0, LEAST + 1).view(
        -1, 1, 1, 1
    )
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = 1
    out = by_events(module)(x)
    expected = torch.zeros(4, 4)
    expected[0:3, 1:4] = torch.tensor([[8.0, 7, 6], [5, 4, 3], [2, 1, 0]])
    for channel in range(LEAST):
        assert torch.equal(out[0, channel], (channel + 1) * expected), f"channel {channel}"


def test_no_event_leaves_bias_and_norm():
    module: Any = nn.Conv2d(2, LEAST, 1)
    norm: Any = nn.BatchNorm2d(LEAST, eps=0.0).eval()
    module.bias.data.fill_(3.0)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(0.25)
    norm.weight.data.fill_(10.0)
    norm.bias.data.fill_(-1.0)
    assert torch.equal(
        by_events(module, norm)(torch.zeros(1, 2, 2, 2)),
        torch.full((1, LEAST, 2, 2), (3 - 1) / 0.5 * 10 - 1),
    )


# Oracles


@st.composite
def cases(draw: st.DrawFn) -> tuple[nn.Conv2d, nn.BatchNorm2d | None, Tensor, str]:
    """A convolution of any form with or without bias and norm, and an input of spikes, of their
    means over windows, or of any values.
    """
    side = st.integers(1, 3)
    kernel, stride, dilation = (draw(st.tuples(side, side)) for _ in range(3))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    inputs, outputs = draw(st.integers(1, 20)), LEAST * draw(st.sampled_from([1, 2, 3, 4, 8]))
    torch.manual_seed(draw(st.integers(0, 100)))
    module = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=draw(st.booleans()))
    norm = draw(st.sampled_from([None, lively(outputs), lively(outputs, affine=False)]))
    least = [dilated * (length - 1) + 1 for dilated, length in zip(dilation, kernel, strict=True)]
    shape = (
        draw(st.integers(1, 11)),
        inputs,
        least[0] + draw(st.integers(0, 4)),
        least[1] + draw(st.integers(0, 4)),
    )
    kind = draw(st.sampled_from(["spikes", "means", "any"]))
    x = spikes(*shape, rate=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])))
    x = (
        x * torch.randint(1, 5, shape) / 4
        if kind == "means"
        else x * torch.randn(shape)
        if kind == "any"
        else x
    )
    if draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return module, norm, x, kind


@given(cases())
@hypothesis_settings(max_examples=120)
def test_every_form_gives_what_torch_gives_in_float64(case):
    module, norm, x, _ = case
    with torch.no_grad():
        found, expected = by_events(module, norm)(x), plain(module, norm, x)
    assert found.shape == expected.shape
    assert torch.allclose(
        found.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max() + 1)
    )


@given(cases())
@hypothesis_settings(max_examples=40)
def test_spikes_are_summed_in_the_documented_order_to_the_bit(case):
    module, _, x, kind = case
    x = (x != 0).float() if kind != "spikes" else x
    module.bias = None
    with torch.no_grad():
        found = by_events(module)(x)
        up, along = (int(side) for side in module.padding)  # type: ignore[arg-type]
        padded = F.pad(x, (along, along, up, up))
        expected = torch.zeros_like(found)
        for dy in range(module.kernel_size[0]):
            for dx in range(module.kernel_size[1]):
                rows = dy * module.dilation[0] + torch.arange(found.shape[2]) * module.stride[0]
                columns = dx * module.dilation[1] + torch.arange(found.shape[3]) * module.stride[1]
                window = padded[:, :, rows][..., columns]
                for channel in range(module.in_channels):
                    expected += window[:, channel : channel + 1] * module.weight[
                        :, channel, dy, dx
                    ].view(1, -1, 1, 1)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_is_rounded_as_torch_rounds_it(affine):
    module, norm = nn.Conv2d(8, 64, 3, padding=1, bias=False), lively(64, affine)
    x = spikes(4, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        alone, together = by_events(module)(x), by_events(module, norm)(x)
        expected = norm(alone)
    assert torch.allclose(together, expected, rtol=0, atol=1e-6)
    # Where the processor has no fused product the last bit may be another; most are equal
    # everywhere.
    assert float((together != expected).float().mean()) < 0.5


def test_batch_and_threads_change_no_bit():
    module, norm = nn.Conv2d(24, 96, 3, padding=1), lively(96)
    x = spikes(19, 24, 9, 9)  # three groups of images that share weights in the cache
    with torch.no_grad():
        whole = by_events(module, norm)(x)
        assert torch.equal(
            torch.cat([by_events(module, norm)(x[n : n + 1]) for n in range(19)]), whole
        )
        torch.set_num_threads(2)
        assert torch.equal(by_events(module, norm)(x), whole)


def test_what_is_not_a_number_stays_seen():
    module = nn.Conv2d(1, LEAST, 1)
    x = torch.zeros(1, 1, 1, 2)
    x[..., 1] = float("nan")
    with torch.no_grad():
        out = by_events(module)(x)
    assert bool(out[..., 0].isfinite().all())
    assert bool(out[..., 1].isnan().all())


# Steps


def test_a_static_image_is_taken_once_in_both_step_modes(monkeypatch):
    module, norm = layer.Conv2d(3, 8, 3, step_mode="m"), lively(8)
    calls: list[int] = []
    real = F.conv2d

    def noted(*arguments: Any) -> Tensor:
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(F, "conv2d", noted)
    image = torch.rand(2, 3, 6, 6)
    with torch.no_grad():
        expected = norm(real(image, module.weight, module.bias))
        found = Convolution(module, norm)(image.expand(5, *image.shape))
        assert found.shape == (5, *expected.shape)
        assert all(torch.equal(step, expected) for step in found)
        assert len(calls) == 1
        alone = Convolution(module, norm)
        assert all(torch.equal(alone(image), expected) for _ in range(5))
        assert len(calls) == 2
        image.mul_(2)
        assert not torch.equal(alone(image), expected), (
            "the same memory with other content is another image"
        )
        alone.forget()
        alone(image)
        assert len(calls) == 4


def test_steps_that_differ_are_all_taken():
    module = layer.Conv2d(4, LEAST, 3, step_mode="m")
    x = spikes(3, 2, 4, 6, 6)
    with torch.no_grad():
        for made in (by_events(module), Convolution(module, None)):
            assert torch.allclose(made(x).double(), plain(module, None, x), atol=1e-5)


# Which


@pytest.mark.parametrize(
    ("outputs", "kernel", "density", "chosen"),
    [
        (64, 3, 0.6, True),
        (64, 3, 0.61, False),
        (96, 3, 0.5, True),
        (96, 3, 0.51, False),
        (48, 3, 0.15, True),
        (48, 3, 0.16, False),
        (64, 1, 0.25, True),
        (64, 1, 0.26, False),
        (40, 3, 0.0, False),
    ],
)
def test_events_are_visited_where_that_is_faster(outputs, kernel, density, chosen):
    made = Convolution(nn.Conv2d(8, outputs, kernel), None)
    made.decide(density)
    assert made.by_events == chosen
    made.decide(1.0)
    assert not made.by_events, "a later decision replaces the one before"


def test_groups_and_other_precisions_run_dense():
    grouped = Convolution(nn.Conv2d(64, 64, 3, groups=2), None)
    coarse = Convolution(nn.Conv2d(64, 64, 3), None, BF16)
    for made in (grouped, coarse):
        made.decide(0.0)
        assert not made.by_events
    x = spikes(2, 64, 5, 5)
    with torch.no_grad():
        assert torch.equal(grouped(x), grouped.module(x))
        found, exact = coarse(x), coarse.module(x)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert torch.allclose(found, exact, atol=0.02)


def test_what_must_run_as_it_is_is_said():
    class Own(nn.Conv2d):
        pass

    assert why_not(nn.Conv2d(1, 2, 1), FP32) == ""
    assert why_not(layer.Conv2d(1, 2, 1), FP32) == ""
    assert why_not(Own(1, 2, 1), FP32) == "its class Own may compute something else"
    assert (
        why_not(nn.Conv2d(1, 2, 1).double(), FP32)
        == "its weights are float64 on cpu, not float32 on the CPU"
    )
    assert (
        why_not(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), FP32)
        == "its padding is circular (1, 1)"
    )
    assert why_not(nn.Conv2d(1, 2, 3, padding="same"), FP32) == "its padding is zeros same"


def test_a_norm_joins_only_where_it_is_a_fixed_map():
    assert joins(nn.BatchNorm2d(2).eval())
    assert not joins(nn.BatchNorm2d(2).train())
    assert not joins(nn.BatchNorm2d(2, track_running_stats=False).eval())
    assert not joins(nn.GroupNorm(1, 2).eval())
