"""Random numbers of images: Philox against published vectors and plain Python, the distributions
against scipy, and what they depend on.
"""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from ahsar_eval.data import kernels
from ahsar_eval.data.randomness import Draws, generators

# probability below which a distribution is another one; seeds are fixed, so that nothing fails by
# chance
SMALLEST = 1e-4
ONES = 0xFFFFFFFF
# Counter, key and outcome of philox4x32-10 in Random123's table of known answers.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def draws(
    seed: int = 0, shift: str = "fog", severity: int = 3, indices: object = range(4)
) -> Draws:
    return Draws(seed, shift, severity, np.array(indices, dtype=np.int64))


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Salmon et al. 2011, section 4, on Python's own integers."""
    a, b, c, d = counter
    for round_number in range(10):
        key0, key1 = (
            (key[0] + round_number * 0x9E3779B9) & ONES,
            (key[1] + round_number * 0xBB67AE85) & ONES,
        )
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            (second >> 32) ^ b ^ key0,
            second & ONES,
            (first >> 32) ^ d ^ key1,
            first & ONES,
        )
    return a, b, c, d


def plain_uniform(source: Draws, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """What `uniform` gives on its call `number`: word w of block b lies at place w · blocks + b,
    its upper 24 bits over 2²⁴.
    """
    count = int(np.prod(shape))
    blocks = -(-count // 4)
    out = np.empty((len(source.indices), 4 * blocks))
    for n, index in enumerate(source.indices.tolist()):
        for block in range(blocks):
            for word, bits in enumerate(
                philox((block, number, index & ONES, index >> 32), source.key)
            ):
                out[n, word * blocks + block] = (bits >> 8) / 2**24
    return out[:, :count].reshape(-1, *shape)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, expected):
    assert philox(counter, key) == expected, "the oracle of this file is wrong"
    assert tuple(map(int, kernels.philox(*map(np.uint64, (*key, *counter))))) == expected


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (3, 5, 7), (4, 4)])
def test_uniform_numbers_are_philox_in_their_layout(shape):
    source = draws(seed=11, indices=[0, 5, 2**32 + 3])
    for number in range(3):
        assert np.array_equal(source.uniform(*shape).numpy(), plain_uniform(source, number, shape))


@given(
    seed=st.integers(0, 2**31 - 1),
    severity=st.integers(1, 5),
    indices=st.lists(st.integers(0, 2**62), min_size=1, max_size=4),
    count=st.integers(1, 13),
)
def test_uniform_numbers_are_philox_for_any_index(seed, severity, indices, count):
    source = draws(seed, "snow", severity, indices)
    assert np.array_equal(source.uniform(count).numpy(), plain_uniform(source, 0, (count,)))


def test_the_key_is_a_hash_of_seed_shift_and_severity():
    digest = hashlib.sha256(b"7|fog|2").digest()
    assert draws(7, "fog", 2).key == (
        int.from_bytes(digest[:4], "little"),
        int.from_bytes(digest[4:8], "little"),
    )


def test_bounds_are_kept_and_a_range_is_scaled():
    numbers = draws().uniform(5000, low=-3.0, high=7.0)
    assert numbers.dtype == torch.float32
    assert float(numbers.min()) >= -3
    assert float(numbers.max()) < 7
    assert torch.allclose(numbers, draws().uniform(5000) * 10 - 3, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_uniform_numbers_pass_kolmogorov_and_smirnov(seed):
    numbers = draws(seed, indices=range(20)).uniform(1001).flatten().numpy()
    assert stats.kstest(numbers, "uniform").pvalue > SMALLEST


@pytest.mark.parametrize("seed", range(4))
def test_normal_numbers_pass_kolmogorov_and_smirnov(seed):
    numbers = draws(seed, indices=range(20)).normal(1001)
    assert stats.kstest(numbers.flatten().numpy(), "norm").pvalue > SMALLEST
    assert abs(correlation(numbers[:, :500], numbers[:, 501:])) < 0.05, (
        "the two halves of Box and Muller's pairs hang together"
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [0.3, 5.0, 9.99, 10.0, 50.0, 499.0])
def test_poisson_counts_pass_chi_square(rate, seed):
    counts = (
        draws(seed, "shot_noise", indices=range(40))
        .poisson(torch.full((40, 5000), rate))
        .flatten()
        .numpy()
        .astype(int)
    )
    law = stats.poisson(np.float32(rate))
    low, high = int(law.ppf(2e-3)), int(law.ppf(1 - 2e-3))
    found = np.bincount(counts.clip(low, high) - low, minlength=high - low + 1)
    share = law.pmf(np.arange(low, high + 1))
    share[0], share[-1] = law.cdf(low), law.sf(high - 1)
    assert stats.chisquare(found, share * counts.size).pvalue > SMALLEST
    assert counts.mean() == pytest.approx(rate, abs=5 * (rate / counts.size) ** 0.5)


def test_poisson_of_nothing_is_nothing_and_of_no_number_is_none():
    rates = torch.tensor([[0.0, -1.0, float("nan"), 200.0]])
    counts = draws(indices=[0]).poisson(rates)[0]
    assert counts[:2].tolist() == [0, 0]
    assert torch.isnan(counts[2]), "a missing value became a number"
    assert counts[3] > 0


def test_a_rate_does_not_move_another_value_s_fate():
    rates = torch.linspace(0, 300, 900).view(1, -1)
    changed = rates.clone()
    changed[0, 400] = 7.0
    first, second = (draws(indices=[3]).poisson(which)[0] for which in (rates, changed))
    others = torch.arange(900) != 400
    assert torch.equal(first[others], second[others])


def test_integers_are_all_reached_equally_often():
    numbers = draws(indices=range(20)).integers(-2, 3, 1000)
    assert numbers.dtype == torch.int64
    values, counts = np.unique(numbers.numpy(), return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert stats.chisquare(counts).pvalue > SMALLEST


BASE: dict[str, Any] = {"seed": 0, "shift": "fog", "severity": 3, "indices": range(30)}


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"shift": "snow"},
        {"severity": 4},
        {"indices": range(30, 60)},
        {"indices": range(2**32, 2**32 + 30)},
    ],
)
def test_other_seeds_shifts_severities_and_samples_draw_other_numbers(other):
    first, second = draws(**BASE).uniform(1000), draws(**(BASE | other)).uniform(1000)
    assert abs(correlation(first, second)) < 5 / first.numel() ** 0.5
    assert len(set(first.flatten().tolist()) & set(second.flatten().tolist())) < 200, (
        "numbers come again (beyond chance)"
    )


def test_each_call_draws_anew_and_calls_are_counted_per_batch():
    source = draws(indices=range(30))
    first, second = source.uniform(1000), source.uniform(1000)
    assert abs(correlation(first, second)) < 5 / first.numel() ** 0.5
    again = draws(indices=range(30))
    assert torch.equal(again.uniform(1000), first)
    assert torch.equal(again.uniform(1000), second)


@pytest.mark.parametrize("kind", ["uniform", "normal", "integers", "poisson"])
def test_a_sample_s_numbers_do_not_depend_on_its_batch(kind):
    """Widths of no round size: what a vector unit does at the end of an array must not show."""
    members = np.array([2**40 + 1, 3, 0, 77, 2**32 + 3, 8, 5])

    def numbers(indices: np.ndarray) -> Tensor:
        source = draws(5, indices=indices)
        if kind == "poisson":
            return source.poisson(torch.linspace(0, 60, 203).expand(len(indices), -1))
        return source.integers(0, 9, 203) if kind == "integers" else getattr(source, kind)(7, 29)

    whole = numbers(members)
    for cut in ([0], [6], [4, 2], [6, 5, 4, 3, 2, 1, 0], [1, 3, 5]):
        assert torch.equal(numbers(members[cut]), whole[cut])


def test_generators_of_recordings_depend_on_all_four():
    four = np.array([4])
    made = [
        generators(*which, four)[0].random(8).tolist()
        for which in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2))
    ]
    made.append(generators(0, "a", 1, np.array([4, 5]))[1].random(8).tolist())
    assert len({tuple(numbers) for numbers in made}) == 5
    assert generators(0, "a", 1, np.array([3, 4]))[1].random(8).tolist() == made[0]
