"""Changes of paired values, with intervals: sample i against sample i, of one network or of two
(docs/energy.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PerSample = NDArray[np.float64]

METHOD = (
    "mean paired difference by sample, 95 %, Student's t; of a relative change by the delta "
    "method "
    "for a ratio of means"
)


@dataclass(frozen=True)
class Change:
    """How much a quantity changes, and the ends of the 95 % interval by sample; None where the data
    give no interval.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """A change and what each sample adds to its error, [N]; the terms sum to 0, and those of two
    networks on the same samples subtract.
    """

    value: float
    errors: PerSample

    def change(self) -> Change:
        """The value with its interval."""
        return Change(self.value, *_interval(self.value, self.errors))

    def beyond(self, other: "Terms") -> Change:
        """This change minus `other`'s, on the same samples."""
        difference = self.value - other.value
        return Change(difference, *_interval(difference, self.errors - other.errors))


def difference_terms(clean: PerSample, shifted: PerSample) -> Terms:
    """Mean of shifted − clean, of paired values [N]."""
    value = float(shifted.mean() - clean.mean())
    return Terms(value, shifted - clean - value)


def relative_terms(clean: PerSample, shifted: PerSample) -> Terms | None:
    """(mean shifted − mean clean) / mean clean of paired values [N], a fraction; None where the
    clean mean is 0.

    The error is that of a ratio of means of paired samples: with r the ratio, of the mean of
    (shiftedᵢ − r cleanᵢ) / mean clean (Cochran, Sampling Techniques, 1977, equation 6.4).
    """
    mean = float(clean.mean()) if len(clean) else 0.0
    if mean == 0:
        return None
    ratio = float(shifted.mean()) / mean
    return Terms(ratio - 1, (shifted - ratio * clean) / mean)


def relative_change(clean: NDArray[np.generic], shifted: NDArray[np.generic]) -> Change | None:
    """The change of `relative_terms` with its interval."""
    found = relative_terms(
        np.asarray(clean, dtype=np.float64), np.asarray(shifted, dtype=np.float64)
    )
    return None if found is None else found.change()


def _interval(
    value: float, terms: PerSample, confidence: float = 0.95
) -> tuple[float | None, float | None]:
    """Ends around `value`; none from a single sample, or where nothing varies, which would claim
    certainty.
    """
    samples = len(terms)
    spread = float(terms.std(ddof=1)) if samples > 1 else 0.0
    if spread <= 1e-12 * max(1.0, abs(value)):
        return None, None
    from scipy.special import stdtrit  # a plain call, which has no interval, does not wait for it

    half = float(stdtrit(samples - 1, 0.5 + confidence / 2)) * spread / samples**0.5
    return value - half, value + half
