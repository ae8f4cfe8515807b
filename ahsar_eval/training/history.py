"""One row per epoch: what a training did, and how it is read again."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ahsar_eval.homeostasis import Ahsar

# Columns that every history has.
CURVES = ("epoch", "steps", "train_loss", "validation_loss", "validation_accuracy")
_SMALLEST_RATE = 1e-4  # of a silent layer in `log_rate_spread`, as the controller's rate_floor


def history_row(
    trained: dict[str, Any], rates: dict[str, float], ahsar: Ahsar | None
) -> dict[str, Any]:
    """The columns of one epoch: `trained`, the hold-out's `rates` by layer, and what the controller
    does.

    `log_rate_spread` is the standard deviation of log rate over layers; `reaction`, `relaxation`
    and `diffusion` are the root mean squares over units of β·deviation, γ(c − c₀) and D·Λ·c in the
    epoch's last tick (docs/method.md, section 2).
    """
    values = np.array(list(rates.values()))
    spread = float(np.std(np.log(np.maximum(values, _SMALLEST_RATE)))) if len(values) else 0.0
    row = {**trained, "mean_rate": float(np.mean(values)), "log_rate_spread": spread}
    if ahsar is not None:
        row |= {"gain": ahsar.gain, "saturated_fraction": ahsar.saturated_fraction}
        row |= ahsar.last_tick
        row |= {f"scale.{unit}": scale for unit, scale in ahsar.scales.items()}
    return row | {f"rate.{layer}": rate for layer, rate in rates.items()}


def read_history(file: Path) -> list[dict[str, int | float]]:
    """The rows of a history as `train` writes it, numbers as numbers; a column that a row does not
    have is left out.

    Raises `ValueError` for a cell that is no number.
    """
    with open(file, newline="", encoding="utf-8") as reader:
        return [
            {name: _number(text) for name, text in row.items() if text != ""}
            for row in csv.DictReader(reader)
        ]


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
