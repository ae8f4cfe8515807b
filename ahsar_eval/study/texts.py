"""Numbers as a table of a study prints them: signs, intervals, ratios, p-values; a dash for what is
not there.
"""

import math
from collections.abc import Iterable

DASH = "–"


def signed(value: float | None, digits: int = 2) -> str:
    """A difference: +0.64, −1.20; 0.00 without a sign."""
    if value is None:
        return DASH
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if not text.strip("+−0.") else text


def signed_span(low: float | None, high: float | None, digits: int = 2) -> str:
    """The interval of a difference; a dash between signs would be misread."""
    return (
        DASH if low is None or high is None else f"{signed(low, digits)} … {signed(high, digits)}"
    )


def ratio(log_value: float | None) -> str:
    """A ratio from its logarithm."""
    return DASH if log_value is None else _ratio(log_value)


def ratio_span(low: float | None, high: float | None) -> str:
    """The interval of a ratio from those of its logarithm."""
    return DASH if low is None or high is None else f"{_ratio(low)} … {_ratio(high)}"


def p_text(value: float | None) -> str:
    """A p-value; small ones as a bound."""
    return DASH if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def counts(values: Iterable[int]) -> str:
    """Whole numbers: 5, or 3–5 where they differ; a dash for none."""
    found = sorted(set(values))
    return DASH if not found else str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def number(value: float | None, digits: int = 3) -> str:
    """A number as it is."""
    return (
        DASH
        if value is None or not math.isfinite(value)
        else f"{value:,.{digits}f}".replace("-", "−")
    )


def _ratio(log_value: float) -> str:
    value = math.exp(min(log_value, 50.0))
    return f"{value:.3f}" if value < 1000 else "> 1,000"
