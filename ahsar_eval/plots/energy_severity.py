"""What a shift costs as it grows: accuracy, mean firing rate, synaptic operations and energy over
severity, below one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.energy_axis import amounts
from ahsar_eval.plots.layout import extent, with_margin
from ahsar_eval.plots.panels import Band, severity_pages
from ahsar_eval.plots.style import drawable, ordered, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame

TITLES = {
    "accuracy": "accuracy",
    "rate": "mean firing rate (spikes per step)",
    "synops": "SynOps per inference",
    "energy": "energy (relative to clean)",
}


@dataclass(frozen=True)
class EnergySeverity:
    """One checkpoint under one shift at `severities` [S], ascending; 0 is the clean set. `accuracy`
    None: labels are not kept.

    `rate` are mean spikes per neuron and time step, `synops` per inference, `energy` multiples of
    the clean set's.
    """

    checkpoint: str
    shift: str
    severities: NDArray[np.int64]
    accuracy: Band | None
    rate: Band
    synops: Band
    energy: Band

    def drawn(self, quantity: str) -> Band | None:
        """The band of one of `TITLES`; None where labels are not kept."""
        found: Band | None = getattr(self, quantity)
        return found


def energy_severity_figures(
    curves: Sequence[EnergySeverity], *, bands: str = "", checkpoints: Sequence[str] = ()
) -> list[Any]:
    """Pages of severity curves as matplotlib figures: a column per shift, a row per quantity with
    one scale over all pages.

    `bands` says what the bands are; `checkpoints` is the order that decides the looks. Raises
    `DataError` for numbers that do not fit, are negative or not finite.
    """
    _check(curves)
    with styled():
        every = [band for quantity in TITLES for band in bands_of(curves, quantity)]
        below = (
            "severity (0: clean)"
            if min(int(one) for curve in curves for one in curve.severities) == 0
            else "severity"
        )
        if bands and any(np.isfinite(band.low).any() for band in every):
            below = f"{below}; bands: {bands}"
        limits = {quantity: _limits(quantity, curves) for quantity in TITLES}
        return severity_pages(
            severity_points(curves, list(TITLES)),
            ordered(checkpoints, [curve.checkpoint for curve in curves]),
            titles=TITLES,
            limits=limits,
            lines={"energy": 1.0},
            below=below,
            missing="no labels to compare",
        )


def bands_of(curves: Sequence[EnergySeverity], quantity: str) -> list[Band]:
    """The bands of a quantity that are drawn."""
    return [band for curve in curves if (band := curve.drawn(quantity)) is not None]


def severity_points(curves: Sequence[EnergySeverity], quantities: Sequence[str]) -> "DataFrame":
    """The points drawn, one a line: shift, checkpoint, quantity, severity, value, low, high; empty
    where there is none.
    """
    import pandas as pd

    parts = []
    for curve in curves:
        for quantity in quantities:
            band = curve.drawn(quantity)
            if band is not None:
                named = {"shift": curve.shift, "checkpoint": curve.checkpoint}
                points = {"quantity": quantity, "severity": curve.severities, **vars(band)}
                parts.append(pd.DataFrame(named | points))
    return pd.concat(parts, ignore_index=True)


def save_energy_severity(
    curves: Sequence[EnergySeverity],
    path: str | Path,
    *,
    bands: str = "",
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the curves (PNG, PDF or SVG by suffix) and their points as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(
        energy_severity_figures(curves, bands=bands, checkpoints=checkpoints),
        path,
        severity_points(curves, list(TITLES)),
    )


def _limits(quantity: str, curves: Sequence[EnergySeverity]) -> tuple[float, float]:
    parts = [
        part for band in bands_of(curves, quantity) for part in (band.value, band.low, band.high)
    ]
    low, high = extent([np.asarray(part, dtype=np.float64) for part in parts])
    if quantity == "energy":
        low, high = min(low, 1.0), max(high, 1.0)
    elif quantity != "accuracy" and low < 0.5 * high:
        low = 0.0
    return with_margin(low, high)


def _check(curves: Sequence[EnergySeverity]) -> None:
    drawable("energy severity curve", curves, [(curve.checkpoint, curve.shift) for curve in curves])
    for curve in curves:
        what = f"the energy severity curve of {curve.checkpoint} under {curve.shift}"
        for quantity in TITLES:
            band = curve.drawn(quantity)
            if band is None:
                if quantity != "accuracy":
                    raise DataError(f"{what} has no {quantity}; only accuracy may be missing")
                continue
            severities, _ = amounts(what, {"severities": curve.severities, quantity: band.value})
            amounts(
                what,
                {
                    quantity: band.value,
                    f"the low end of {quantity}": band.low,
                    f"the high end of {quantity}": band.high,
                },
                gaps=True,
            )
            if (np.diff(severities) <= 0).any():
                raise DataError(
                    f"{what} has the severities {[int(one) for one in severities]}; expected them "
                    "ascending"
                )
