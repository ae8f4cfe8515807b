"""A recording reduced to what a comparison needs: logits, labels, scores and rates per sample, and
which images the samples are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.ood.bootstrap import Images
from ahsar_eval.ood.metrics import Scores
from ahsar_eval.recording import Recording, predicted_classes


@dataclass(frozen=True)
class ScoredSet:
    """A set as one network sees it, N samples: `logits` [N, T, K], `labels` [N] (−1 unknown), mean
    `rates` [N], `scores` name → [N].
    """

    split: Mapping[str, Any]  # as a recording describes it
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    rates: NDArray[np.float64]
    scores: Mapping[str, Scores]
    images: Images

    @property
    def name(self) -> str:
        """The specification a user would type."""
        return str(self.split["name"])

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Class of the largest time-mean logit, [N]."""
        return predicted_classes(self.logits)

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, members: NDArray[np.int64]) -> "ScoredSet":
        """The samples at `members`; they stay the images they are."""
        places = members if self.images.members is None else self.images.members[members]
        return replace(
            self,
            logits=self.logits[members],
            labels=self.labels[members],
            rates=self.rates[members],
            scores={name: scores[members] for name, scores in self.scores.items()},
            images=replace(self.images, members=places),
        )


def scored(recording: Recording, scores: Mapping[str, Scores], group: str = "") -> ScoredSet:
    """`recording` with its scores, name → [N]; `group` is near, far or ''."""
    split = {**recording.split, "group": group}
    key = str(split.get("copies_of") or split.get("set_identity") or split["identity"])
    return ScoredSet(
        split,
        recording.logits,
        recording.labels,
        sample_rates(recording),
        dict(scores),
        Images(key, len(recording)),
    )


def sample_rates(recording: Recording) -> NDArray[np.float64]:
    """Spikes per neuron and time step of each sample, [N]: the unweighted mean over the spiking
    layers; 0 without one.
    """
    rates = recording.sample_rates
    return np.zeros(len(recording)) if rates is None else rates


def labels_correspond(some: ScoredSet, id_set: ScoredSet) -> bool:
    """Whether the labels of `some` mean what those of the ID set do, and all of them are known:
    only then is there an accuracy.
    """
    split = some.split
    same = split["label_space"] == id_set.split["label_space"] and split["labels_preserved"]
    return bool(same and (some.labels >= 0).all() and (some.labels < some.logits.shape[2]).all())


def on_images_of(id_set: ScoredSet, some: ScoredSet) -> ScoredSet:
    """`some` with the ID set's images as its own where one of the two is a set of stored corrupted
    copies of the other.

    Copies must agree with the ID set in number and labels; where they do not, their order is not
    known to be the same.
    """
    pairs = [
        (one.split.get("copies_of"), other.split.get("set"))
        for one, other in ((some, id_set), (id_set, some))
    ]
    if any(declared and declared == known for declared, known in pairs) and np.array_equal(
        some.labels, id_set.labels
    ):
        return replace(some, images=id_set.images)
    return some
