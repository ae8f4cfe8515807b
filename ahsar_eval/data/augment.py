"""Transforms of training batches: crop, flip, Cutout for images; flip and roll for frames of
events.

Which of them happens to a sample is a function of (seed, epoch, sample index) alone: batch size,
order and a resumed training change nothing, and all time steps of a sample are treated alike.
torchvision's transforms draw once for a batch, or sample by sample from a global generator, and
neither can give that; the pixels are moved by one indexing of the whole batch instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.randomness import Draws
from ahsar_eval.data.split import Indices

_CIFAR_SIDE, _CROP_PADDING, _HOLE = 32, 4, 16  # pixels; other sides scale them
_DVS_SIDE, _ROLL = 48, 5


def cropped(x: Tensor, draws: Draws, fill: Tensor) -> Tensor:
    """A window of the image's own size from the image padded by black, 4 pixels at a side of 32 (He
    et al. 2015, section 4.2).
    """
    height, width = x.shape[-2:]
    tall, wide = (_scaled(_CROP_PADDING, side, _CIFAR_SIDE) for side in (height, width))
    rows = draws.integers(0, 2 * tall + 1, 1) + torch.arange(height)
    columns = draws.integers(0, 2 * wide + 1, 1) + torch.arange(width)
    return _taken(F.pad(x, (wide, wide, tall, tall)), rows, columns)


def flipped(x: Tensor, draws: Draws, fill: Tensor) -> Tensor:
    """Left and right exchanged in half of the samples."""
    return torch.where((draws.uniform(1) < 0.5).view(1, -1, 1, 1, 1), x.flip(-1), x)


def with_hole(x: Tensor, draws: Draws, fill: Tensor) -> Tensor:
    """Cutout (DeVries and Taylor 2017): a square around a random pixel, 16 at a side of 32, clipped
    by the border, becomes `fill`.
    """
    inside = _near(draws, x.shape[-2])[:, :, None] & _near(draws, x.shape[-1])[:, None, :]
    return torch.where(inside[None, :, None], fill.to(x).view(-1, 1, 1), x)


def rolled(x: Tensor, draws: Draws, fill: Tensor) -> Tensor:
    """Shifted by up to 5 pixels at a side of 48 in both directions; what leaves at one border
    enters at the other.
    """
    lines = []
    for side in x.shape[-2:]:
        most = _scaled(_ROLL, side, _DVS_SIDE)
        lines.append((torch.arange(side) - draws.integers(-most, most + 1, 1)) % side)
    return _taken(x, *lines)


Transform = Callable[[Tensor, Draws, Tensor], Tensor]

# A set of the catalogue names what it calls for (`Entry.augment`); `train --augment` may name any.
AUGMENTATIONS: dict[str, tuple[Transform, ...]] = {
    "crop": (cropped,),
    "crop-flip": (cropped, flipped),
    "crop-flip-cutout": (cropped, flipped, with_hole),
    "roll": (rolled,),
    "flip-roll": (flipped, rolled),
}


@dataclass(frozen=True)
class Augmentation:
    """The transforms of one training: `Augmentation(name, seed, mean)(x, epoch, indices)`; the name
    'none' gives x as it is.

    `mean` has one number, or one per channel, in the units of the batches: what Cutout fills with.
    """

    name: str
    seed: int
    mean: Sequence[float] = (0.0,)

    def __call__(self, x: Tensor, epoch: int, indices: Indices) -> Tensor:
        """A batch [T, N, C, H, W] of the samples `indices` [N] in `epoch`, transformed; the given
        one is left as it is.
        """
        if self.name == "none":
            return x
        draws = Draws(self.seed, f"training:{self.name}", epoch, indices)
        for transform in AUGMENTATIONS[self.name]:
            x = transform(x, draws, torch.tensor(self.mean))
        return x


def _scaled(pixels: int, side: int, at_side: int) -> int:
    return (2 * pixels * side + at_side) // (2 * at_side)  # to the nearest, halves up


def _near(draws: Draws, side: int) -> Tensor:
    """Whether each place of a line lies in the hole, [N, side]: as many places before its centre as
    from it on, as in the authors' code.
    """
    half = _scaled(_HOLE, side, _CIFAR_SIDE) // 2
    centre, places = draws.integers(0, side, 1), torch.arange(side)
    return (places >= centre - half) & (places < centre + half)


def _taken(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x [T, N, C, …, …] at the rows [N, H] and columns [N, W] of each sample."""
    samples = torch.arange(x.shape[1])[:, None, None]
    taken = x.permute(1, 3, 4, 0, 2)[
        samples, rows[:, :, None], columns[:, None, :]
    ]  # [N, H, W, T, C]
    return taken.permute(3, 0, 4, 1, 2).contiguous()
