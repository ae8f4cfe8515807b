"""The scores by name, what each of them needs, and how they are fitted. Higher means more out of
distribution (docs/ood.md).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood import detectors
from ahsar_eval.ood.fitting import Fitting, ScoreFunction
from ahsar_eval.ood.formulas import (
    Logits,
    Scores,
    energy,
    entropy_of_mean_softmax,
    generalized_entropy,
    maximum_logit,
    maximum_softmax,
    mean_entropy,
    mutual_information,
    predictive_entropy,
)
from ahsar_eval.ood.spike_patterns import fit_spike_patterns
from ahsar_eval.ood.temperature import fit_msp_temperature
from ahsar_eval.recording import FEATURES, ODIN_TEMPERATURE, SPIKE_COUNTS, Recording, is_perturbed

__all__ = [
    "SCORES",
    "Fitting",
    "Needs",
    "Score",
    "ScoreFunction",
    "Scores",
    "fit_scores",
    "needs_of",
    "predictive_entropy",
]


@dataclass(frozen=True)
class Score:
    """A score: its name in a table, how it is fitted, and what that takes.

    `extras` is what its recordings must hold, `fitted_on` the split of the ID set it is fitted on
    ('' for a formula on logits), `second_pass` what it costs beyond one forward pass over each set
    ('' for nothing), `package` the package it is imported from.
    """

    title: str
    fit: Callable[[Fitting], ScoreFunction]
    source: str
    extras: frozenset[str] = frozenset()
    fitted_on: str = ""
    second_pass: str = ""
    package: str = ""


@dataclass(frozen=True)
class Needs:
    """What several scores take together."""

    extras: frozenset[str]
    training: bool
    validation: bool
    second_pass: tuple[
        str, ...
    ]  # the scores that are read off a recording of `Runner.perturbed(split)`


def _formula(function: Callable[[Logits], Scores]) -> Callable[[Fitting], ScoreFunction]:
    return lambda fitting: lambda recording: function(recording.logits)


def _odin(recording: Recording) -> Scores:
    if not is_perturbed(recording.split):
        raise DataError(
            f"odin is read off a second pass, and {recording.split['name']} is the first; record "
            "Runner.perturbed(split)"
        )
    return maximum_softmax(recording.logits, ODIN_TEMPERATURE)


_FEATURES = frozenset({FEATURES})
_DETECTORS = "pytorch_ood"

SCORES: dict[str, Score] = {
    "entropy": Score("predictive entropy", _formula(predictive_entropy), "paper 5.2"),
    "entropy-of-mean-softmax": Score(
        "entropy of the mean softmax", _formula(entropy_of_mean_softmax), "paper 5.2, softmax first"
    ),
    "mean-entropy": Score(
        "mean entropy over time", _formula(mean_entropy), "paper 5.2, entropy first"
    ),
    "mutual-information": Score(
        "mutual information over time",
        _formula(mutual_information),
        "Depeweg et al. 2018, over time steps",
    ),
    "msp": Score("MSP", _formula(maximum_softmax), "Hendrycks and Gimpel 2017"),
    "max-logit": Score("max logit", _formula(maximum_logit), "Hendrycks et al. 2022"),
    "energy": Score("energy", _formula(energy), "Liu et al. 2020"),
    "gen": Score("GEN", _formula(generalized_entropy), "Liu et al. 2023"),
    "msp-temperature": Score(
        "MSP, temperature-scaled", fit_msp_temperature, "Guo et al. 2017", fitted_on="validation"
    ),
    "odin": Score(
        "ODIN",
        lambda fitting: _odin,
        "Liang et al. 2018",
        second_pass="a gradient by the input and a second forward pass over each set",
    ),
    "knn": Score(
        "KNN", detectors.fit_knn, "Sun et al. 2022", _FEATURES, "training", package=_DETECTORS
    ),
    "mahalanobis": Score(
        "Mahalanobis",
        detectors.fit_mahalanobis,
        "Lee et al. 2018",
        _FEATURES,
        "training",
        package=_DETECTORS,
    ),
    "relative-mahalanobis": Score(
        "relative Mahalanobis",
        detectors.fit_relative_mahalanobis,
        "Ren et al. 2021",
        _FEATURES,
        "training",
        package=_DETECTORS,
    ),
    "vim": Score(
        "ViM", detectors.fit_vim, "Wang et al. 2022", _FEATURES, "training", package=_DETECTORS
    ),
    "scp": Score(
        "SCP",
        fit_spike_patterns,
        "Martínez-Seras et al. 2023",
        frozenset({SPIKE_COUNTS}),
        "training",
    ),
}


def needs_of(names: Collection[str]) -> Needs:
    """What the scores `names` take together, before any pass is made.

    Raises `DataError` for an unknown score, and for one whose package is not installed.
    """
    for name in names:
        if name not in SCORES:
            raise DataError(f"unknown score {name!r}; known are {', '.join(SCORES)}")
        if SCORES[name].package and find_spec(SCORES[name].package) is None:
            raise DataError(
                f"{name} comes with pytorch-ood, which is not installed; install it with pip "
                "install 'ahsar-eval[detectors]'"
            )
    chosen = [SCORES[name] for name in names]
    return Needs(
        extras=frozenset().union(*(score.extras for score in chosen)),
        training=any(score.fitted_on == "training" for score in chosen),
        validation=any(score.fitted_on == "validation" for score in chosen),
        second_pass=tuple(name for name in names if SCORES[name].second_pass),
    )


def fit_scores(names: Collection[str], fitting: Fitting | None = None) -> dict[str, ScoreFunction]:
    """Each score as a function of a recording to [N] float64, fitted where it has to be.

    Raises `DataError` for an unknown score, one whose package is not installed or whose split
    `fitting` lacks, and where a fit has no solution; the functions raise it for a recording without
    what they need, and for a score that is not finite, naming the sample.
    """
    fitting = fitting or Fitting()
    needs_of(names)
    for name in names:
        if SCORES[name].fitted_on:
            fitting.of(name, SCORES[name].fitted_on)
    return {name: _checked(name, SCORES[name].fit(fitting)) for name in names}


def _checked(name: str, function: ScoreFunction) -> ScoreFunction:
    def score(recording: Recording) -> Scores:
        values = np.asarray(function(recording), dtype=np.float64)
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(
                f"the {name} score of sample {bad} of {recording.split['name']} is {values[bad]}; "
                "expected a finite number"
            )
        return values

    return score
