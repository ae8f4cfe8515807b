"""Training transforms: by hand, against torch's own padding and rolling, and the same for a sample
whatever batch it stands in.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data import SETS
from ahsar_eval.data.randomness import Draws
from ahsar_eval.data.training_data import (
    AUGMENTATIONS,
    Augmentation,
    cropped,
    flipped,
    rolled,
    with_hole,
)

FILL = torch.zeros(1)
INDICES = np.arange(5, 70)


class Given(Draws):
    """Draws that are handed out in order, in place of random ones."""

    draws: list[Tensor]

    def __init__(self, *draws: list[int] | list[float]) -> None:
        super().__init__(0, "", 0, INDICES)
        object.__setattr__(self, "draws", [torch.tensor(values) for values in draws])

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        drawn = self.draws.pop(0)[:, None]
        assert bool(((low <= drawn) & (drawn < high)).all()), f"{drawn} is not in [{low}, {high})"
        return drawn

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return self.draws.pop(0)[:, None]


def numbered(steps: int, samples: int, channels: int, height: int, width: int) -> Tensor:
    return torch.arange(1.0, 1 + steps * samples * channels * height * width).view(
        steps, samples, channels, height, width
    )


def test_crop_by_hand():
    x = numbered(2, 3, 2, 32, 32)
    found = cropped(
        x, Given([0, 4, 8], [4, 4, 1]), FILL
    )  # offsets into the padded image: rows, columns
    padded = F.pad(x, (4, 4, 4, 4))
    for sample, (row, column) in enumerate([(0, 4), (4, 4), (8, 1)]):
        assert torch.equal(
            found[:, sample], padded[:, sample, :, row : row + 32, column : column + 32]
        )
    assert torch.equal(found[:, 1], x[:, 1]), "the middle is the image itself"


def test_flip_by_hand():
    x = numbered(2, 3, 1, 2, 4)
    found = flipped(x, Given([0.2, 0.5, 0.49]), FILL)
    assert torch.equal(found[:, [0, 2]], x[:, [0, 2]].flip(-1))
    assert torch.equal(found[:, 1], x[:, 1])


def test_hole_by_hand():
    x = torch.ones(1, 3, 2, 32, 32)
    fill = torch.tensor([0.25, 0.5])
    found = with_hole(x, Given([16, 0, 31], [16, 0, 20]), fill)
    for sample, (rows, columns) in enumerate(
        [((8, 24), (8, 24)), ((0, 8), (0, 8)), ((23, 32), (12, 28))]
    ):
        expected = torch.ones(2, 32, 32)
        expected[:, slice(*rows), slice(*columns)] = fill[:, None, None]
        assert torch.equal(found[0, sample], expected), f"sample {sample}"


def test_roll_by_hand():
    x = numbered(2, 3, 2, 48, 48)
    found = rolled(x, Given([5, 0, -5], [-3, 0, 5]), FILL)
    for sample, shifts in enumerate([(5, -3), (0, 0), (-5, 5)]):
        assert torch.equal(found[:, sample], torch.roll(x[:, sample], shifts, dims=(-2, -1)))


@pytest.mark.parametrize(
    ("transform", "side", "reach"),
    [
        (cropped, 32, 4),
        (cropped, 64, 8),
        (cropped, 16, 2),
        (cropped, 28, 4),
        (rolled, 48, 5),
        (rolled, 128, 13),
        (rolled, 34, 4),
    ],
)
def test_reach_scales_with_the_side(transform, side, reach):
    bounds: list[tuple[int, int]] = []

    class Bounds(Given):
        def integers(self, low: int, high: int, *shape: int) -> Tensor:
            bounds.append((low, high - 1))
            return torch.zeros(1, 1, dtype=torch.int64)

    transform(torch.zeros(1, 1, 1, side, side), Bounds(), FILL)
    assert bounds == [(0, 2 * reach) if transform is cropped else (-reach, reach)] * 2


def test_hole_scales_with_the_side():
    found = with_hole(torch.ones(1, 1, 1, 96, 64), Given([48], [32]), FILL)
    assert int((found == 0).sum()) == 48 * 32


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_sample_is_treated_alike_in_any_batch_and_step(name):
    augment = Augmentation(name, 3, (0.5,))
    image = torch.rand(1, 1, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    x = image.expand(3, len(INDICES), 2, 32, 32)
    whole = augment(x, 4, INDICES)
    assert torch.equal(whole[0], whole[2]), "all time steps alike"
    assert len({sample.numpy().tobytes() for sample in whole[0]}) > len(
        INDICES
    ) // 2 or name.endswith("flip"), "samples differ"
    order = np.random.default_rng(0).permutation(len(INDICES))
    for part in (order[:7], order[7:]):
        assert torch.equal(augment(x[:, part], 4, INDICES[part]), whole[:, part])
    assert not torch.equal(augment(x, 5, INDICES), whole), "another epoch"
    assert not torch.equal(Augmentation(name, 4, (0.5,))(x, 4, INDICES), whole), "another seed"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_given_batch_stays_as_it_is(name):
    x = torch.rand(2, len(INDICES), 2, 20, 16)
    before = x.clone()
    found = Augmentation(name, 0)(x, 1, INDICES)
    assert torch.equal(x, before)
    assert found.shape == x.shape
    assert found.is_contiguous()


@given(st.integers(0, 2**31 - 1), st.integers(1, 300), st.integers(1, 40), st.integers(1, 40))
def test_roll_and_flip_only_move_pixels(seed, epoch, height, width):
    x = torch.rand(1, 4, 1, height, width)
    found = Augmentation("flip-roll", seed)(x, epoch, np.arange(4))
    assert torch.equal(found.flatten(2).sort().values, x.flatten(2).sort().values)


def test_draws_are_uniform():
    x = torch.zeros(1, 8000, 1, 32, 32)
    x[..., 16, 10] = 1
    found = Augmentation("crop-flip", 0)(x, 1, np.arange(8000))
    places = found[0, :, 0].flatten(1).argmax(1)
    rows, columns = np.bincount(places // 32, minlength=32), np.bincount(places % 32, minlength=32)
    assert (np.flatnonzero(rows) == np.arange(12, 21)).all()
    assert (np.flatnonzero(columns) == [*range(6, 15), *range(17, 26)]).all(), (
        "the place itself, and its mirror image"
    )
    for counts, expected in ((rows[12:21], 8000 / 9), (columns[columns > 0], 8000 / 18)):
        assert np.sum((counts - expected) ** 2 / expected) < 45, (
            counts
        )  # chi-square, at most 17 degrees of freedom: p > 2e-4


def test_none_gives_the_batch_itself():
    x = torch.rand(1, 2, 1, 4, 4)
    assert Augmentation("none", 0)(x, 1, np.arange(2)) is x


def test_the_catalogue_names_known_augmentations_and_spares_digits():
    called = {name: entry.augment for name, entry in SETS.items()}
    assert set(called.values()) <= {"", *AUGMENTATIONS}
    assert {called[name] for name in ("digits", "digits-dvs", "mnist", "usps")} == {""}
    assert called["cifar10"] == called["cifar100"] == "crop-flip-cutout"
    assert called["cifar10-dvs"] == "flip-roll"
    assert called["n-mnist"] == called["dvs-gesture"] == "roll", (
        "a mirrored digit or gesture is another one"
    )
