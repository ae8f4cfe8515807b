"""The scores by name: what each needs, how it is fitted, and those that are a formula on logits
z [N, T, K]; [N] float64, higher means more out of distribution (docs/ood.md).

All formulas start from log-softmax in float64. The largest class of a sample is taken by log1p of
the others, so that what a saturated softmax still says is kept: 1 − max p is exact to the smallest
float64 (logits that differ by about 700), and nothing gives NaN.
"""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ahsar_eval.errors import DataError, close_to
from ahsar_eval.ood import detectors
from ahsar_eval.ood.detectors import ScoreFunction
from ahsar_eval.ood.metrics import Scores, check_finite
from ahsar_eval.plugins import Registry
from ahsar_eval.recording import FEATURES, ODIN_TEMPERATURE, SPIKE_COUNTS, Recording, is_perturbed

Logits = NDArray[np.floating[Any]]
GEN_GAMMA, GEN_CLASSES = 0.1, 100  # Liu et al. 2023, section 4.1


def predictive_entropy(logits: Logits) -> Scores:
    """H(softmax(mean_t z_t)) in nats, [N], from logits [N, T, K] (paper 5.2; docs/ood.md)."""
    return _entropy(_log_softmax(_mean(logits)))


def entropy_of_mean_softmax(logits: Logits) -> Scores:
    """H(mean_t softmax z_t) in nats, [N], from logits [N, T, K]."""
    steps = _log_softmax(_float64(logits))
    return _entropy(scipy.special.logsumexp(steps, axis=1) - np.log(steps.shape[1]))


def mean_entropy(logits: Logits) -> Scores:
    """mean_t H(softmax z_t) in nats, [N], from logits [N, T, K]."""
    return _entropy(_log_softmax(_float64(logits))).mean(axis=1)


def mutual_information(logits: Logits) -> Scores:
    """H(mean_t softmax z_t) − mean_t H(softmax z_t) in nats, [N], from logits [N, T, K]: how far
    the steps disagree, never below 0.

    Entropy is concave, so that only rounding can put the difference below 0, where it is cut. 0
    everywhere where T = 1.
    """
    return np.maximum(entropy_of_mean_softmax(logits) - mean_entropy(logits), 0.0)


def maximum_softmax(logits: Logits, temperature: float = 1.0) -> Scores:
    """1 − max softmax(mean_t z_t / T), [N] in [0, 1 − 1/K], from logits [N, T, K] (Hendrycks and
    Gimpel 2017, with the sign turned).

    Taken as the sum of the other classes' probabilities, which tells saturated samples apart where
    max p is 1 in floating point.
    """
    return np.exp(_without_largest(_log_softmax(_mean(logits) / temperature)))


def maximum_logit(logits: Logits) -> Scores:
    """−max_k mean_t z_tk, [N], from logits [N, T, K] (Hendrycks et al. 2022)."""
    return -_mean(logits).max(axis=1)


def energy(logits: Logits) -> Scores:
    """−logsumexp(mean_t z_t), [N], from logits [N, T, K] (Liu et al. 2020 at temperature 1)."""
    return -scipy.special.logsumexp(np.sort(_mean(logits), axis=1), axis=1)


def generalized_entropy(logits: Logits) -> Scores:
    """Σ p^γ (1 − p)^γ over the 100 most probable classes, γ = 0.1, p = softmax(mean_t z_t), [N],
    from logits [N, T, K] (Liu et al. 2023, section 4.1).
    """
    logs = _log_softmax(_mean(logits))
    complements = np.log1p(-np.exp(np.minimum(logs, np.log(0.5))))  # below one half nothing cancels
    largest = logs.argmax(axis=1)[:, None]
    np.put_along_axis(complements, largest, _without_largest(logs)[:, None], axis=1)
    terms = np.exp(GEN_GAMMA * (logs + complements))
    if logs.shape[1] > GEN_CLASSES:
        kept = np.argpartition(logs, -GEN_CLASSES, axis=1)[:, -GEN_CLASSES:]
        terms = np.take_along_axis(terms, kept, axis=1)
    return _sum(terms)


def fitted_temperature(logits: Scores, labels: NDArray[np.int64]) -> float:
    """The T > 0 that minimises the negative log-likelihood of softmax(z / T), from time-mean logits
    z [N, K] and labels [N] (Guo et al. 2017, section 4.2).

    The likelihood is concave in β = 1/T with slope mean(z_y − E_p[z]), whose root is bracketed and
    then found to the last bits of float64. Raises `DataError` where there is none: T runs to 0
    where the true class has the largest logit in every sample, and to infinity where the true
    classes' logits are no larger than the others' on average.
    """
    values = logits - logits.max(axis=1, keepdims=True)
    true = values[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        """Of the negative log-likelihood by β; it never falls."""
        expected = (scipy.special.softmax(inverse * values, axis=1) * values).sum(axis=1)
        return float(np.mean(expected - true))

    def refused(why: str) -> DataError:
        return DataError(
            f"no temperature is best for the {len(labels)} samples of the validation split: {why}; "
            "leave msp-temperature out, msp ranks without one"
        )

    if not (true < 0).any():
        raise refused("the true class always has the largest logit, so that it runs to 0")
    if slope(0.0) >= 0:
        raise refused("the true classes' logits are not above the others', it runs to infinity")
    start = 1.0 / float(np.abs(values).mean())
    high = next(end for end in start * 2.0 ** np.arange(900) if slope(end) > 0)
    root = scipy.optimize.brentq(slope, 0.0, high, xtol=1e-300, rtol=8.9e-16, maxiter=1000)
    return 1.0 / float(root)


def _float64(logits: Logits) -> Scores:
    # a mean over time adds up in the order of memory
    return np.ascontiguousarray(logits, dtype=np.float64)


def _mean(logits: Logits) -> Scores:
    return _float64(logits).mean(axis=1)


def _log_softmax(values: Scores) -> Scores:
    """Along the last axis; the largest entry by log1p of the others, so that its distance from 0 is
    kept when the rest is tiny.
    """
    shifted = values - values.max(axis=-1, keepdims=True)
    others = np.exp(shifted)
    np.put_along_axis(others, values.argmax(axis=-1)[..., None], 0.0, axis=-1)
    return shifted - np.log1p(_sum(others)[..., None])


def _without_largest(logs: Scores) -> Scores:
    """log(1 − max p) of log-probabilities [N, K]: log of the sum of the others."""
    others = logs.copy()
    np.put_along_axis(others, logs.argmax(axis=1)[:, None], -np.inf, axis=1)
    return scipy.special.logsumexp(np.sort(others, axis=1), axis=1)


def _entropy(logs: Scores) -> Scores:
    """−Σ p log p over the last axis; 0 · (−inf) is 0 in the limit: a class of probability zero adds
    nothing.
    """
    probabilities = np.exp(logs)
    with np.errstate(invalid="ignore"):
        return 0.0 - _sum(np.where(probabilities > 0, probabilities * logs, 0.0))


def _sum(terms: Scores) -> Scores:
    """Over the last axis in order of size: samples whose logits differ in the order of classes
    alone, as counts may, tie to the bit.
    """
    return np.sort(terms, axis=-1).sum(axis=-1)


@dataclass(frozen=True)
class Score:
    """A score: its name in a table, how it is fitted, and what that takes.

    `fit` is given the recording of the split of the ID set that it is `fitted_on`, None of '' (a
    formula on logits); `labelled` where that must have labels; `over_time` where logits of every
    time step must be there. `extra` is what its recordings must
    hold ('' for logits alone), `second_pass` what it costs beyond one forward pass over each set
    ('' for nothing).
    """

    title: str
    fit: Callable[[Any], ScoreFunction]
    extra: str = ""
    fitted_on: str = ""
    second_pass: str = ""
    labelled: bool = False
    over_time: bool = False


@dataclass(frozen=True)
class Needs:
    """What several scores take together; those of `second_pass` are read off a recording of
    `Runner.perturbed(split)`.
    """

    extras: frozenset[str]
    second_pass: tuple[str, ...]


def _formula(title: str, function: Callable[[Logits], Scores], *, over_time: bool = False) -> Score:
    return Score(title, lambda _: lambda recording: function(recording.logits), over_time=over_time)


def _fit_msp_temperature(validation: Recording) -> ScoreFunction:
    """MSP at the temperature that calibrates the validation split, never a test set (Guo et al.
    2017). Raises `DataError` where no temperature is best.
    """
    logits, highest = validation.logits.mean(axis=1, dtype=np.float64), validation.labels.max()
    if highest >= logits.shape[1]:
        raise DataError(
            f"msp-temperature is fitted on labels, and the validation split has a class {highest} "
            f"where the network tells {logits.shape[1]} apart; give the set it was trained on"
        )
    temperature = fitted_temperature(logits, validation.labels)
    return lambda recording: maximum_softmax(recording.logits, temperature)


def _odin(recording: Recording) -> Scores:
    if not is_perturbed(recording.split):
        raise DataError(
            f"odin is read off a second pass, and {recording.split['name']} is the first; record "
            "Runner.perturbed(split)"
        )
    return maximum_softmax(recording.logits, ODIN_TEMPERATURE)


SCORES = Registry(
    "scores",
    Score,
    {
        "entropy": _formula("predictive entropy", predictive_entropy),
        "entropy-of-mean-softmax": _formula(
            "entropy of the mean softmax", entropy_of_mean_softmax, over_time=True
        ),
        "mean-entropy": _formula("mean entropy over time", mean_entropy, over_time=True),
        "mutual-information": _formula(
            "mutual information over time", mutual_information, over_time=True
        ),
        "msp": _formula("MSP", maximum_softmax),
        "max-logit": _formula("max logit", maximum_logit),
        "energy": _formula("energy", energy),
        "gen": _formula("GEN", generalized_entropy),
        "msp-temperature": Score(
            "MSP, temperature-scaled", _fit_msp_temperature, fitted_on="validation", labelled=True
        ),
        "odin": Score(
            "ODIN",
            lambda _: _odin,
            second_pass="a gradient by the input and a second forward pass over each set",
        ),
        "knn": Score("KNN", detectors.fit_knn, FEATURES, "training"),
        "mahalanobis": Score(
            "Mahalanobis", detectors.fit_mahalanobis, FEATURES, "training", labelled=True
        ),
        "relative-mahalanobis": Score(
            "relative Mahalanobis",
            functools.partial(detectors.fit_mahalanobis, relative=True),
            *(FEATURES, "training"),
            labelled=True,
        ),
        "vim": Score("ViM", detectors.fit_vim, FEATURES, "training"),
        "scp": Score("SCP", detectors.fit_spike_patterns, SPIKE_COUNTS, "training"),
    },
)


def needs_of(names: Collection[str]) -> Needs:
    """What the scores `names` take together, before any pass is made. Raises `DataError` for an
    unknown score.
    """
    for name in names:
        if name not in SCORES:
            raise DataError(
                f"unknown score {name!r}{close_to(name, SCORES)}; known are {', '.join(SCORES)}"
            )
    return Needs(
        extras=frozenset(SCORES[name].extra for name in names) - {""},
        second_pass=tuple(name for name in names if SCORES[name].second_pass),
    )


def fit_scores(
    names: Collection[str], fitted_on: Mapping[str, Recording] | None = None
) -> dict[str, ScoreFunction]:
    """Each score as a function of a recording to [N] float64, fitted where it has to be on the
    recording of the ID set's "training" or "validation" split; never of a test split.

    Raises `DataError` for an unknown score or one whose split is not there or has no labels, and
    where a fit has no solution; the functions raise it for a recording without what they need, and
    for a score that is not finite, naming the sample.
    """
    needs_of(names)
    return {name: _fitted(name, SCORES[name], fitted_on or {}) for name in names}


def _fitted(name: str, made: Score, fitted_on: Mapping[str, Recording]) -> ScoreFunction:
    known = fitted_on.get(made.fitted_on)
    if made.fitted_on and known is None:
        raise DataError(
            f"{name} is fitted on the {made.fitted_on} split of the ID set, and there is none; "
            "choose another score, or name a set"
        )
    if made.labelled and known is not None and (known.labels < 0).any():
        raise DataError(
            f"{name} is fitted on labels, and sample {(known.labels < 0).argmax()} of "
            f"{known.split['name']} has none; give a labelled set"
        )
    function = made.fit(known)

    def score(recording: Recording) -> Scores:
        values = np.asarray(function(recording), dtype=np.float64)
        whose = f"the {name} score of {recording.split['name']}"
        if values.shape != (len(recording),):
            raise DataError(f"{whose} has shape {values.shape} for {len(recording)} samples")
        check_finite(whose, values)
        return values

    return score
