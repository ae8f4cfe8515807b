"""What a shift does as it grows: accuracy, AUROC, mean uncertainty and mean firing rate over
severity, below one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.checks import drawable, vectors
from ahsar_eval.plots.layout import extent
from ahsar_eval.plots.severity_grid import (
    Band,
    Rows,
    bands_of,
    severity_pages,
    severity_points,
    with_margin,
)
from ahsar_eval.plots.style import save_pages, styled

QUANTITIES = ("accuracy", "auroc", "entropy", "rate")


@dataclass(frozen=True)
class SeverityCurve:
    """One checkpoint under one shift at `severities` [S], ascending; 0 is the ID set as it is.
    `accuracy` None: labels are not kept.

    AUROC is drawn from severity 1: the ID set against itself is 0.5 by definition.
    """

    checkpoint: str
    shift: str
    severities: NDArray[np.int64]
    accuracy: Band | None
    auroc: Band
    entropy: Band
    rate: Band

    def drawn(self, quantity: str) -> Band | None:
        """The band of one of `QUANTITIES` as it is drawn; None where labels are not kept."""
        band: Band | None = getattr(self, quantity)
        if band is None:
            return None
        kept = (
            np.asarray(self.severities) > 0
            if quantity == "auroc"
            else np.ones(len(self.severities), dtype=bool)
        )
        value, low, high = (
            np.where(kept, np.asarray(part, dtype=np.float64), np.nan)
            for part in (band.value, band.low, band.high)
        )
        return Band(value, low, high)


def severity_figures(
    curves: Sequence[SeverityCurve],
    *,
    entropy: str = "mean predictive entropy (nats)",
    rate: str = "mean firing rate (spikes per step)",
    checkpoints: Sequence[str] = (),
) -> list[Any]:
    """Pages of severity curves as matplotlib figures: a column per shift, a row per quantity with
    one scale over all pages.

    `entropy` and `rate` label their rows; `checkpoints` is the order that decides the looks. Raises
    `DataError` for bands that do not fit.
    """
    _check(curves)
    with styled():
        titles = {"accuracy": "accuracy", "auroc": "AUROC", "entropy": entropy, "rate": rate}
        first = min(int(one) for curve in curves for one in curve.severities)
        below = "severity (0: the ID set as it is)" if first == 0 else "severity"
        limits = {quantity: _limits(quantity, curves) for quantity in QUANTITIES}
        return list(
            severity_pages(curves, Rows(titles, limits, {"auroc": 0.5}, below), checkpoints)
        )


def save_severity_curves(
    curves: Sequence[SeverityCurve],
    path: str | Path,
    *,
    entropy: str = "mean predictive entropy (nats)",
    rate: str = "mean firing rate (spikes per step)",
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the curves (PNG, PDF or SVG by suffix) and their points as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(
        severity_figures(curves, entropy=entropy, rate=rate, checkpoints=checkpoints),
        path,
        severity_points(curves, QUANTITIES),
    )


def _limits(quantity: str, curves: Sequence[SeverityCurve]) -> tuple[float, float]:
    low, high = extent(
        [part for band in bands_of(curves, quantity) for part in (band.value, band.low, band.high)]
    )
    if quantity == "auroc":
        low, high = min(low, 0.5), max(high, 0.5)
    if quantity == "rate" or (quantity == "entropy" and low >= 0):
        low = 0.0 if low < 0.5 * high else low
    return with_margin(low, high)


def _check(curves: Sequence[SeverityCurve]) -> None:
    drawable("severity curve", curves, [(curve.checkpoint, curve.shift) for curve in curves])
    for curve in curves:
        what = f"the severity curve of {curve.checkpoint} under {curve.shift}"
        for quantity in QUANTITIES:
            band = getattr(curve, quantity)
            if band is None and quantity != "accuracy":
                raise DataError(f"{what} has no {quantity}; only accuracy may be missing")
            if band is not None:
                arrays = {
                    "severities": curve.severities,
                    quantity: band.value,
                    "low": band.low,
                    "high": band.high,
                }
                severities = vectors(what, arrays, gaps=True)[0]
                if np.isnan(severities).any() or (np.diff(severities) <= 0).any():
                    raise DataError(
                        f"{what} has the severities {list(curve.severities)}; expected them "
                        "ascending"
                    )
