"""The training set and its hold-out: what is trained on, and what the gain and the choice of the
epoch look at.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.random import Generator, Philox

from ahsar_eval.data.catalogue import SETS, open_set, parse
from ahsar_eval.data.entry import DataOptions
from ahsar_eval.data.split import Indices, SampleSet, Split, subset
from ahsar_eval.errors import DataError

_PART_SEED = 20_26  # of `samples`: the same part of a set for every training


def training_sets(
    name: str,
    *,
    hold_out: float = 0.1,
    seed: int = 0,
    samples: int | None = None,
    options: DataOptions | None = None,
) -> tuple[SampleSet, SampleSet]:
    """Training and validation set of `name`; none of them is the test set.

    An embedded set has a fixed validation split. Elsewhere a fraction `hold_out` of every class is
    taken from the training images, chosen by `seed`. With `samples`, all of this is done with a
    stratified part of so many training images, the same part whatever the seed, and a larger part
    holds each smaller one. Raises `DataError` for a shifted, unlabelled or too small set.
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
    if name in SETS and "validation" in SETS[name].roles:
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
    means = tuple(round(float(value), 4) for value in mean)
    return means, tuple(max(round(float(value), 4), 1e-4) for value in std)


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
