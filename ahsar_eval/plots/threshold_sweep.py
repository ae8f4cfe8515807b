"""The paper's Figure 2 and its section 3 on one sheet: what a network does as one factor scales all
its thresholds, and why.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.plots.fitting import elided_names
from ahsar_eval.plots.legends import legend_room, line_handle
from ahsar_eval.plots.style import DOUBLE_IN, looks, ordered, save_pages, styled
from ahsar_eval.plots.sweep_content import (
    CONVERGENCE,
    ConvergenceSweep,
    ThresholdSweep,
    check_sweeps,
)
from ahsar_eval.plots.sweep_pages import sweep_pages
from ahsar_eval.plots.sweep_panels import (
    convergence_row,
    curve_rows,
    epoch_signs,
    gate_rows,
    gate_signs,
    own_signs,
)

if TYPE_CHECKING:
    from pandas import DataFrame

_AT_SCALE = "factor s on every threshold"


def threshold_sweep_figures(
    sweeps: Sequence[ThresholdSweep],
    convergence: ConvergenceSweep | None = None,
    *,
    checkpoints: Sequence[str] = (),
) -> list[Any]:
    """Pages of matplotlib figures: a panel per curve, a panel of r, G and −∂r/∂θ per checkpoint,
    and the convergence of trainings.

    A ring is where a network works, a band the range of its factors over layers. `checkpoints` is
    the order that decides the looks. Raises `DataError` for numbers that do not fit or are not
    finite.
    """
    check_sweeps(sweeps, convergence)
    with styled():
        look = looks(ordered(checkpoints, [sweep.checkpoint for sweep in sweeps]))
        shown = [sweep.checkpoint for sweep in sweeps]
        short = elided_names(shown, legend_room(DOUBLE_IN))
        signs: list[tuple[Any, str]] = [(line_handle(look[name]), short[name]) for name in shown]
        rows = [*curve_rows(sweeps, look), *gate_rows(sweeps, look)]
        signs += [*own_signs(sweeps), *gate_signs()] if sweeps else []
        if convergence is not None:
            rows.append(convergence_row(convergence))
            signs += epoch_signs(convergence)
        return sweep_pages(rows, signs, _AT_SCALE)


def save_threshold_sweep(
    sweeps: Sequence[ThresholdSweep],
    path: str | Path,
    convergence: ConvergenceSweep | None = None,
    *,
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the sheet (PNG, PDF or SVG by suffix) and its points as CSV; returns the paths. Raises
    `OutputError`.
    """
    figures = threshold_sweep_figures(sweeps, convergence, checkpoints=checkpoints)
    return save_pages(figures, path, sweep_points(sweeps, convergence))


def sweep_points(
    sweeps: Sequence[ThresholdSweep], convergence: ConvergenceSweep | None = None
) -> "DataFrame":
    """The points drawn, one a line: part (curve, network, layer, training), checkpoint, layer,
    quantity, epoch, own, scale with its range over layers, value, low, high; empty where there is
    none.
    """
    import pandas as pd

    parts = []
    for sweep in sweeps:
        one = {
            "checkpoint": sweep.checkpoint,
            "own": False,
            "scale": sweep.scales,
            "scale_low": sweep.scales,
            "scale_high": sweep.scales,
        }
        own = sweep.own
        at_own = {
            "checkpoint": sweep.checkpoint,
            "own": True,
            "scale": own.scale,
            "scale_low": own.low,
            "scale_high": own.high,
        }
        for name, band in sweep.curves.items():
            parts.append(
                {
                    "part": "curve",
                    **one,
                    "quantity": name,
                    "value": band.value,
                    "low": band.low,
                    "high": band.high,
                }
            )
        for name, values in sweep.gates.items():
            parts.append({"part": "network", **one, "quantity": name, "value": values.mean(axis=1)})
            parts += [
                {"part": "layer", **one, "layer": layer, "quantity": name, "value": v}
                for layer, v in zip(sweep.layers, values.T, strict=True)
            ]
        for part, found in (("curve", own.curves), ("network", own.gates)):
            parts += [
                {"part": part, **at_own, "quantity": name, "value": np.array([value])}
                for name, value in found.items()
            ]
    if convergence is not None:
        for name in CONVERGENCE:
            for epoch, values in enumerate(convergence.values[name], start=1):
                c = convergence.scales
                parts.append(
                    {
                        "part": "training",
                        "own": False,
                        "scale": c,
                        "scale_low": c,
                        "scale_high": c,
                        "quantity": name,
                        "epoch": epoch,
                        "value": values,
                    }
                )
            for epoch, value in enumerate((convergence.regulated or {}).get(name, ()), start=1):
                at = {
                    "scale": convergence.scale,
                    "scale_low": convergence.low,
                    "scale_high": convergence.high,
                }
                parts.append(
                    {
                        "part": "training",
                        "checkpoint": "ahsar",
                        "own": True,
                        **at,
                        "quantity": name,
                        "epoch": epoch,
                        "value": np.array([value]),
                    }
                )
    columns = [
        "part",
        "checkpoint",
        "layer",
        "quantity",
        "epoch",
        "own",
        "scale",
        "scale_low",
        "scale_high",
        "value",
        "low",
        "high",
    ]
    table = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True).reindex(
        columns=columns
    )
    return table.astype({"epoch": "Int64"})
