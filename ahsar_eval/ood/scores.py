"""The scores by name, what each of them needs, and how they are fitted. Higher means more out of
distribution (docs/ood.md).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood import detectors, formulas
from ahsar_eval.ood.detectors import Fitting, ScoreFunction
from ahsar_eval.ood.metrics import Scores
from ahsar_eval.ood.spike_patterns import fit_spike_patterns
from ahsar_eval.recording import FEATURES, ODIN_TEMPERATURE, SPIKE_COUNTS, Recording, is_perturbed


@dataclass(frozen=True)
class Score:
    """A score: its name in a table, how it is fitted, and what that takes.

    `extras` is what its recordings must hold, `fitted_on` the split of the ID set it is fitted on
    ('' for a formula on logits), `second_pass` what it costs beyond one forward pass over each set
    ('' for nothing).
    """

    title: str
    fit: Callable[[Fitting], ScoreFunction]
    extras: frozenset[str] = frozenset()
    fitted_on: str = ""
    second_pass: str = ""


@dataclass(frozen=True)
class Needs:
    """What several scores take together; those of `second_pass` are read off a recording of
    `Runner.perturbed(split)`.
    """

    extras: frozenset[str]
    second_pass: tuple[str, ...]


def _formula(title: str, function: Callable[[formulas.Logits], Scores]) -> Score:
    return Score(title, lambda fitting: lambda recording: function(recording.logits))


def _fit_msp_temperature(fitting: Fitting) -> ScoreFunction:
    """MSP at the temperature that calibrates the validation split, never a test set (Guo et al.
    2017). Raises `DataError` where no temperature is best.
    """
    validation = fitting.of("msp-temperature", "validation", labelled=True)
    logits, highest = validation.logits.mean(axis=1, dtype=np.float64), validation.labels.max()
    if highest >= logits.shape[1]:
        raise DataError(
            f"msp-temperature is fitted on labels, and the validation split has a class {highest} "
            f"where the network tells {logits.shape[1]} apart; give the set it was trained on"
        )
    temperature = formulas.fitted_temperature(logits, validation.labels)
    return lambda recording: formulas.maximum_softmax(recording.logits, temperature)


def _odin(recording: Recording) -> Scores:
    if not is_perturbed(recording.split):
        raise DataError(
            f"odin is read off a second pass, and {recording.split['name']} is the first; record "
            "Runner.perturbed(split)"
        )
    return formulas.maximum_softmax(recording.logits, ODIN_TEMPERATURE)


def _by_distance(
    title: str, fit: Callable[[Fitting], ScoreFunction], extra: str = FEATURES
) -> Score:
    return Score(title, fit, frozenset({extra}), "training")


SCORES: dict[str, Score] = {
    "entropy": _formula("predictive entropy", formulas.predictive_entropy),
    "entropy-of-mean-softmax": _formula(
        "entropy of the mean softmax", formulas.entropy_of_mean_softmax
    ),
    "mean-entropy": _formula("mean entropy over time", formulas.mean_entropy),
    "mutual-information": _formula("mutual information over time", formulas.mutual_information),
    "msp": _formula("MSP", formulas.maximum_softmax),
    "max-logit": _formula("max logit", formulas.maximum_logit),
    "energy": _formula("energy", formulas.energy),
    "gen": _formula("GEN", formulas.generalized_entropy),
    "msp-temperature": Score(
        "MSP, temperature-scaled", _fit_msp_temperature, fitted_on="validation"
    ),
    "odin": Score(
        "ODIN",
        lambda fitting: _odin,
        second_pass="a gradient by the input and a second forward pass over each set",
    ),
    "knn": _by_distance("KNN", detectors.fit_knn),
    "mahalanobis": _by_distance("Mahalanobis", detectors.fit_mahalanobis),
    "relative-mahalanobis": _by_distance(
        "relative Mahalanobis", detectors.fit_relative_mahalanobis
    ),
    "vim": _by_distance("ViM", detectors.fit_vim),
    "scp": _by_distance("SCP", fit_spike_patterns, SPIKE_COUNTS),
}


def needs_of(names: Collection[str]) -> Needs:
    """What the scores `names` take together, before any pass is made. Raises `DataError` for an
    unknown score.
    """
    for name in names:
        if name not in SCORES:
            raise DataError(f"unknown score {name!r}; known are {', '.join(SCORES)}")
    return Needs(
        extras=frozenset().union(*(SCORES[name].extras for name in names)),
        second_pass=tuple(name for name in names if SCORES[name].second_pass),
    )


def fit_scores(names: Collection[str], fitting: Fitting | None = None) -> dict[str, ScoreFunction]:
    """Each score as a function of a recording to [N] float64, fitted where it has to be.

    Raises `DataError` for an unknown score or one whose split `fitting` lacks, and where a fit has
    no solution; the functions raise it for a recording without what they need, and for a score that
    is not finite, naming the sample.
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
        spoilt = np.flatnonzero(~np.isfinite(values))
        if len(spoilt):
            raise DataError(
                f"the {name} score of sample {spoilt[0]} of {recording.split['name']} is "
                f"{values[spoilt[0]]}; expected a finite number"
            )
        return values

    return score
