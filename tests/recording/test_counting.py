"""Sums are exact integers, also past 2²⁴, in every precision a network may run in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ahsar_eval.recording.counting import FanOut, SpikeCounts, fan_out

DTYPES = [torch.float32, torch.float64]


def exact_weighted(counts, reached):
    """Σ counts · fan-out per sample in 64-bit integers."""
    left, right = (
        counts.flatten(1).double().numpy().astype(np.int64),
        reached.flatten().numpy().astype(np.int64),
    )
    return (left * right).sum(1).tolist()


def test_sums_by_hand():
    counts = torch.tensor([[[1.0, 2], [0, 3]], [[0, 0], [1, 0]]])
    reached = torch.tensor([[4.0, 6], [6, 9]], dtype=torch.float64)
    assert SpikeCounts(counts, 3).per_sample().tolist() == [6.0, 1.0]
    assert SpikeCounts(counts, 3).weighted(FanOut(reached)).tolist() == [4 + 12 + 27, 6]
    assert SpikeCounts(counts, 3).over_samples().tolist() == [[1.0, 2], [1, 3]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_paper_s_widest_layer_is_exact_past_float32(dtype):
    """512 channels of 32×32 neurons that fire at all 6 steps into 512 channels of 3×3: 14 billion
    operations a sample.
    """
    counts = torch.full((2, 512, 32, 32), 6, dtype=dtype)
    counts[1, 100, 3, 5] = 5  # one spike fewer than the first sample
    reached = fan_out(nn.Conv2d(512, 512, 3, padding=1), (512, 32, 32))
    assert reached.max() == 4608
    whole = 6 * 512 * 512 * (3 * 32 - 2) ** 2
    assert whole > 2**24
    assert [int(value) for value in SpikeCounts(counts, 6).weighted(FanOut(reached))] == [
        whole,
        whole - 4608,
    ]
    assert [int(value) for value in SpikeCounts(counts, 6).per_sample()] == [
        6 * 512 * 1024,
        6 * 512 * 1024 - 1,
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_odd_sum_past_2_to_the_24_keeps_its_last_bit(dtype):
    counts = torch.full((1, 2**22 + 1), 5, dtype=dtype)
    assert int(SpikeCounts(counts, 5).per_sample()[0]) == 5 * (2**22 + 1)
    assert int(
        SpikeCounts(counts, 5).weighted(FanOut(torch.full((2**22 + 1,), 3.0, dtype=torch.float64)))[
            0
        ]
    ) == 15 * (2**22 + 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_neuron_s_sum_over_many_samples_keeps_its_last_bit(dtype):
    counts = torch.full((2**18 + 1, 1), 67, dtype=dtype)
    assert int(SpikeCounts(counts, 67).over_samples()[0]) == 67 * (2**18 + 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_are_summed_exactly(dtype):
    """A half-precision sum would be rounded beyond 2,048 and overflow beyond 65,504."""
    counts = torch.full((1, 8, 101, 101), 3, dtype=dtype)
    assert int(SpikeCounts(counts, 3).per_sample()[0]) == 3 * 8 * 101 * 101
    reached = fan_out(nn.Conv2d(8, 2, 3, padding=1), (8, 101, 101))
    assert int(SpikeCounts(counts, 3).weighted(FanOut(reached))[0]) == 3 * int(reached.sum())
    assert int(SpikeCounts(torch.full((3001, 1), 3, dtype=dtype), 3).over_samples()[0]) == 9003


@pytest.mark.parametrize(
    ("reached", "form"),
    [
        (torch.full((3, 2, 2), 7.0), "per_position"),
        (torch.full((12,), 7.0), "full"),
        (torch.tensor([[1.0, 2], [3, 4]]).expand(3, 2, 2), "per_position"),
        (torch.arange(12.0).reshape(3, 2, 2), "full"),
    ],
)
def test_each_form_of_a_map_gives_the_same_sum(reached, form):
    reach = FanOut(reached.double().clone())
    assert (reach.of_channel is not None) == (form != "full"), (
        "channels with one map are added before the product"
    )
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 7, (4, *reached.shape), generator=generator).float()
    assert SpikeCounts(counts, 6).weighted(reach).tolist() == exact_weighted(
        counts, reached.double()
    )


@given(
    channels=st.integers(1, 5),
    side=st.integers(1, 6),
    samples=st.integers(1, 4),
    largest=st.integers(1, 2**20),
    seed=st.integers(0, 2**16),
    alike=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=100, deadline=None)
def test_any_counts_are_summed_exactly(channels, side, samples, largest, seed, alike, dtype):
    rng = np.random.default_rng(seed)
    counts = torch.from_numpy(rng.integers(0, largest + 1, (samples, channels, side, side))).to(
        dtype
    )
    reached = (
        torch.from_numpy(rng.integers(0, 5000, (1 if alike else channels, side, side)))
        .double()
        .expand(channels, side, side)
        .clone()
    )
    integers = counts.double().numpy().astype(np.int64)
    assert SpikeCounts(counts, largest).per_sample().tolist() == integers.sum((1, 2, 3)).tolist()
    assert SpikeCounts(counts, largest).over_samples().tolist() == integers.sum(0).tolist()
    assert SpikeCounts(counts, largest).weighted(FanOut(reached)).tolist() == exact_weighted(
        counts, reached
    )
