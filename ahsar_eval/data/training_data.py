"""What training sees: the training set and its hold-out, which the gain and the choice of the epoch
look at, and the transforms of its batches: crop, flip, Cutout for images; flip and roll for frames;
tonic's for event recordings.

Which transform happens to a sample is a function of (seed, epoch, sample index) alone: batch size,
order and a resumed training change nothing, and all time steps of a sample are treated alike.
torchvision's transforms draw once for a batch, or sample by sample from a global generator, and
neither can give that; the pixels are moved by one indexing of the whole batch instead.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.catalogue import open_set, parse, roles_of
from ahsar_eval.data.randomness import Draws
from ahsar_eval.data.sets import DataOptions
from ahsar_eval.data.split import EventSet, Indices, SampleSet, Split, View, in_time, subset
from ahsar_eval.errors import DataError

_PART_SEED = 20_26  # of `samples`: the same part of a set for every training
_CIFAR_SIDE, _CROP_PADDING, _HOLE = 32, 4, 16  # pixels; other sides scale them
_DVS_SIDE, _ROLL = 48, 5


def training_sets(
    name: str,
    *,
    hold_out: float = 0.1,
    seed: int = 0,
    samples: int | None = None,
    options: DataOptions | None = None,
) -> tuple[SampleSet, SampleSet]:
    """Training and validation set of `name`; none of them is the test set.

    An embedded set, and tonic's SSC, have a fixed validation split. Elsewhere a fraction `hold_out`
    of every class is taken from the training images, chosen by `seed`. With `samples`, all of this
    is done with a stratified part of so many training images, the same part whatever the seed, and
    a larger part holds each smaller one. Raises `DataError` for a shifted, unlabelled or too small
    set.
    """
    if parse(name).variants != ((None, 0),):
        raise DataError(f"{name!r} names a shift; networks are trained on a set as it is")
    whole = open_set(name, "train", options)
    if not len(whole) or int(whole.labels.min()) < 0:
        raise DataError(
            f"{name} has no labels; a network can only be trained on a labelled set (folder:PATH "
            "with one sub-folder per class)"
        )
    if samples is not None:
        whole = _part(whole, samples)
    if "validation" in roles_of(name):
        return whole, open_set(name, "validation", options)
    if not 0 < hold_out < 1:
        raise DataError(f"the hold-out is {hold_out}; expected a fraction between 0 and 1")
    held = _stratified(whole.labels, hold_out, seed)
    rest = np.setdiff1d(np.arange(len(whole)), held)
    if len(held) == 0 or len(rest) < 2:
        raise DataError(
            f"{name} has {len(whole)} samples, too few to hold out {hold_out:g} of every class; "
            "add some or raise --hold-out"
        )
    return subset(whole, rest, "train"), subset(whole, held, "validation")


def training_sets_of(
    facts: Mapping[str, Any], name: str, options: DataOptions | None = None
) -> tuple[SampleSet, SampleSet]:
    """Training and validation set of `name` as the training with these facts (a checkpoint's
    provenance) divided it. Raises `DataError`.
    """
    said = {key: facts[key] for key in ("hold_out", "seed", "samples") if key in facts}
    return training_sets(name, options=options, **said)


def in_epoch(split: Split, view: View, transforms: Sequence[str], seed: int, epoch: int) -> Split:
    """`split` with its event recordings transformed by tonic as `epoch` sees them; as it is where
    there is no transform (`events.transforms`).
    """
    if not transforms or not isinstance(split.source, EventSet):
        return split
    from ahsar_eval.data.events.frames import framed
    from ahsar_eval.data.events.transforms import transformed

    changed = functools.partial(transformed, texts=transforms, seed=seed, epoch=epoch)
    return replace(split, load=in_time(framed(split.source, view, changed)[0]))


def channel_statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of what the network will see of a training split,
    rounded to four digits.
    """
    count, total, squares = 0, np.zeros(split.shape[0]), np.zeros(split.shape[0])
    for batch in split.batches(512):
        pixels = batch.x.flatten(0, 1).double().transpose(0, 1).flatten(1).numpy()
        count += pixels.shape[1]
        total += pixels.sum(1)
        squares += (pixels**2).sum(1)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    means = tuple(round(value, 4) for value in mean.tolist())
    return means, tuple(max(round(value, 4), 1e-4) for value in std.tolist())


def _part(source: SampleSet, samples: int) -> SampleSet:
    if samples > len(source):
        raise DataError(
            f"samples is {samples} and {source.name} has {len(source)} to train on; ask for at "
            "most as many"
        )
    if samples == len(source):
        return source
    order, classes = _shuffled(source.labels, _PART_SEED)
    place = np.empty(len(source))  # how far into its own class a sample stands, in (0, 1)
    for members in classes:
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = order[np.argsort(place[order], kind="stable")[:samples]]
    return subset(source, np.sort(chosen), "train")


def _stratified(labels: Indices, fraction: float, seed: int) -> Indices:
    parts = [
        members[: max(1, round(fraction * len(members)))] if len(members) > 1 else members[:0]
        for members in _shuffled(labels, seed)[1]
    ]
    return np.sort(np.concatenate(parts))


def _shuffled(labels: Indices, seed: int) -> tuple[Indices, list[Indices]]:
    """All samples in an order drawn by `seed`, and those of each class in that order."""
    order = Generator(Philox(key=[seed, 0])).permutation(len(labels))
    return order, [order[labels[order] == label] for label in np.unique(labels)]


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
