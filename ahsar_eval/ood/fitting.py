"""What scores are fitted on, and what every fitted score checks of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.formulas import Scores
from ahsar_eval.recording import Recording

ScoreFunction = Callable[[Recording], Scores]


@dataclass(frozen=True)
class Fitting:
    """Recordings of the ID set's training and validation split, each None where there is none;
    never of a test split.
    """

    training: Recording | None = None
    validation: Recording | None = None
    training_name: str = "the training split"  # for messages

    def of(self, score: str, split: str) -> Recording:
        """The recording of `split`, "training" or "validation". Raises `DataError` where there is
        none.
        """
        recording = self.training if split == "training" else self.validation
        if recording is None:
            raise DataError(
                f"{score} is fitted on the {split} split of the ID set, and there is none; choose "
                "another score, or name a set"
            )
        return recording


def checked_labels(score: str, recording: Recording, name: str) -> NDArray[np.int64]:
    """Labels of a recording that a score is fitted on, [N]. Raises `DataError` where there is no
    sample or one has no label.
    """
    labels = recording.labels
    if not len(labels):
        raise DataError(f"{score} is fitted on {name}, which has no sample; give a larger set")
    if (labels < 0).any():
        raise DataError(
            f"{score} is fitted on labels, and sample {int(np.flatnonzero(labels < 0)[0])} of "
            f"{name} has none; give a labelled set"
        )
    return labels


def features_of(score: str, recording: Recording) -> Scores:
    """Features of a recording in float64, [N, D]. Raises `DataError` where they were
    not recorded."""
    if recording.features is None:
        raise DataError(
            f"{score} needs the features of {recording.split['name']}, which were not recorded; "
            "record with extras=('features',)"
        )
    return recording.features.astype(np.float64)


def same_width(score: str, features: Scores, width: int, recording: Recording) -> Scores:
    """`features` [N, D] of a recording to be scored. Raises `DataError` where D is not the `width`
    that was fitted.
    """
    if features.shape[1] != width:
        raise DataError(
            f"{score} was fitted on {width} numbers a sample and {recording.split['name']} has "
            f"{features.shape[1]}; "
            "score recordings of the network it was fitted on"
        )
    return features
