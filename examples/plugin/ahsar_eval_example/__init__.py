"""A score, a shift, a set and an energy profile for ahsar-eval, one of each."""

import numpy as np
import torch

from ahsar_eval.data import DataOptions, Entry, ImageSet
from ahsar_eval.data.shifts import Shift
from ahsar_eval.files import sha256_of
from ahsar_eval.ood.scores import Score


def fit_margin(fitted_on):
    """1 − the distance of the two largest softmax probabilities: 1 where the network cannot
    choose."""

    def margin(recording):
        mean = recording.logits.astype(np.float64).mean(axis=1)
        probabilities = np.exp(mean - mean.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        second, first = np.sort(probabilities, axis=1)[:, -2:].T
        return 1 - (first - second)

    return margin


def stripes(images, every, draws):
    """Every eighth row is black, at higher severities every sixth to second."""
    return images * (torch.arange(images.shape[2]) % every != 0).view(1, 1, -1, 1)


def checkerboards(role: str, options: DataOptions) -> ImageSet:
    """Sixteen checkerboards 16×16, grey, whose fields grow; no labels."""
    places = np.arange(16)
    boards = [((places[:, None] // n + places // n) % 2).astype(np.float32) for n in range(1, 17)]
    images = torch.from_numpy(np.stack(boards)[:, None])
    return ImageSet(
        name="checkerboards",
        role="all",
        labels=np.full(16, -1),
        classes=(),
        identity=sha256_of(images.numpy().tobytes()),
        label_space="checkerboards",
        fetch=lambda indices: list(images[indices]),
        shape=(1, 16, 16),
    )


MARGIN = Score("softmax margin", fit_margin)
STRIPES = Shift(stripes, (8, 6, 4, 3, 2), "ours")
CHECKERBOARDS = Entry(checkerboards, "checkerboards of sixteen sizes", roles=("test",))
DESK_LAMP = {
    "unit": "pJ",
    "node": "none",
    "number_format": "fp32",
    "includes": "every accumulation and multiplication at a price made up for this example",
    "obtained": "published calculation",
    "source": "nobody; an example of a plugin",
    "mac_pj": 10.0,
    "ac_pj": 1.0,
}
