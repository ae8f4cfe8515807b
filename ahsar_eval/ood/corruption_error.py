"""Mean corruption error over severities 1 to 5 (Hendrycks and Dietterich 2019), plain or relative
to a baseline (docs/ood.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError

SEVERITIES = (1, 2, 3, 4, 5)
Key = tuple[str, int]  # corruption and severity


@dataclass(frozen=True)
class CorruptionError:
    """The mean corruption error, or None with the `reason`; `missing` names what was not measured:
    a corruption, or `corruption:severity`.

    `missing_from_baseline` does so for the baseline.
    """

    value: float | None
    missing: tuple[str, ...] = ()
    missing_from_baseline: tuple[str, ...] = ()
    reason: str = ""


def mean_corruption_error(
    errors: Mapping[Key, float],
    corruptions: Sequence[str],
    baseline: Mapping[Key, float] | None = None,
) -> CorruptionError:
    """Mean corruption error of the error rates `errors` at (corruption, severity), fractions, over
    the named `corruptions`.

    Without a baseline the unweighted mean of all corruptions × 5 severities, in [0, 1]. With the
    error rates of a `baseline` the mean over corruptions of Σ_s E / Σ_s E_baseline (Hendrycks and
    Dietterich 2019; 1 is as good as the baseline). Nothing is averaged over a part: where a
    severity was not measured, or the baseline makes no error in a corruption, the value is None.
    Other keys of the mappings are left out of account. Raises `DataError` for no or repeated
    corruptions and for a rate outside [0, 1].
    """
    _check_corruptions(corruptions)
    for rates in (errors, baseline or {}):
        for (corruption, severity), rate in rates.items():
            if not 0 <= rate <= 1:
                raise DataError(
                    f"the error rate of {corruption}:{severity} is {rate}; expected a fraction in "
                    "[0, 1]"
                )
    missing = _missing(errors, corruptions)
    missing_from_baseline = () if baseline is None else _missing(baseline, corruptions)
    if missing or missing_from_baseline:
        lacking = [f"not measured: {', '.join(missing)}"] if missing else []
        lacking += (
            [f"not measured of the baseline: {', '.join(missing_from_baseline)}"]
            if missing_from_baseline
            else []
        )
        return CorruptionError(None, missing, missing_from_baseline, "; ".join(lacking))
    if baseline is not None:
        faultless = [
            name
            for name in corruptions
            if not any(baseline[name, severity] for severity in SEVERITIES)
        ]
        if faultless:
            return CorruptionError(
                None, reason=f"the baseline makes no error in {', '.join(faultless)}"
            )
    return CorruptionError(float(_mean(errors, corruptions, baseline)))


def corruption_error_replicates(
    errors: Mapping[Key, NDArray[np.float64]],
    corruptions: Sequence[str],
    baseline: Mapping[Key, NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """`mean_corruption_error` in each bootstrap replicate, [B], from the error rates [B] at each
    (corruption, severity).

    NaN where a rate is, or where the baseline makes no error in a corruption. Raises `DataError`
    where a rate is missing, or for no or repeated corruptions.
    """
    _check_corruptions(corruptions)
    missing = _missing(errors, corruptions) + (
        () if baseline is None else _missing(baseline, corruptions)
    )
    if missing:
        raise DataError(
            "replicates of the corruption error need all 5 severities of each corruption; missing "
            f"are {', '.join(missing)}"
        )
    return np.asarray(_mean(errors, corruptions, baseline))


def _mean(
    errors: Mapping[Key, object], corruptions: Sequence[str], baseline: Mapping[Key, object] | None
) -> NDArray[np.float64]:
    """The mean over all but the last axis; 0/0 and x/0 are NaN."""
    mine = _summed(errors, corruptions)
    if baseline is None:
        return mine.mean(axis=0) / len(SEVERITIES)
    theirs = _summed(baseline, corruptions)
    return (mine / np.where(theirs > 0, theirs, np.nan)).mean(axis=0)


def _summed(rates: Mapping[Key, object], corruptions: Sequence[str]) -> NDArray[np.float64]:
    """The sum over severities, [corruptions, …]."""
    return np.array(
        [[rates[name, severity] for severity in SEVERITIES] for name in corruptions],
        dtype=np.float64,
    ).sum(axis=1)


def _missing(rates: Mapping[Key, object], corruptions: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for name in corruptions:
        absent = [severity for severity in SEVERITIES if (name, severity) not in rates]
        names += (
            [name]
            if len(absent) == len(SEVERITIES)
            else [f"{name}:{severity}" for severity in absent]
        )
    return tuple(names)


def _check_corruptions(corruptions: Sequence[str]) -> None:
    if isinstance(corruptions, str) or not corruptions or len(set(corruptions)) != len(corruptions):
        raise DataError(
            f"the corruptions are {corruptions!r}; expected at least one name, none of them twice"
        )
