"""Amounts that cannot be negative, checked, and the units they are drawn and written in."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.layout import LINE_IN, Grid, elided, short_number, text_width, tidy_ticks
from ahsar_eval.plots.style import vectors

_ENERGY = ("pJ", "nJ", "µJ", "mJ", "J")
_WIDE_RANGE = 8.0
_COUNT = ("", " k", " M", " G", " T", " P")


def amounts(
    what: str, arrays: Mapping[str, ArrayLike], *, least: int = 1, gaps: bool = False
) -> list[NDArray[np.float64]]:
    """The arrays as `vectors` gives them. Raises `DataError`, also for a number below 0."""
    found = vectors(what, arrays, least=least, gaps=gaps)
    for name, array in zip(arrays, found, strict=True):
        if (array < 0).any():
            raise DataError(
                f"{what} has {array[array < 0][0]:g} in {name} at {int(np.argmax(array < 0))}; "
                "expected numbers of 0 or more"
            )
    return found


def energy_unit(most_pj: float) -> tuple[str, float]:
    """The unit in which the largest energy has one to three digits before the point, and the pJ in
    one of it.
    """
    step = 0
    while step + 1 < len(_ENERGY) and most_pj >= 1000.0 ** (step + 1):
        step += 1
    return _ENERGY[step], 1000.0**step


def energy_text(energy_pj: float) -> str:
    """An energy with three digits and its unit: 12.3 µJ."""
    unit, of = energy_unit(_rounded(energy_pj))
    return f"{_three_digits(_rounded(energy_pj) / of)} {unit}"


def count_text(count: int | float | Fraction, *, signed: bool = False) -> str:
    """A count with three digits: 98.3 k; `signed` with its sign: +1.20 M. Below 1000 whole numbers
    are whole.
    """
    size = _rounded(abs(float(count)))
    sign = ("−" if count < 0 else "+" if signed and count > 0 else "") if size else ""
    if size < 1000:
        return sign + (
            f"{abs(float(count)):.0f}" if float(count).is_integer() else _three_digits(size)
        )
    step = 0
    while step + 1 < len(_COUNT) and size >= 1000.0 ** (step + 1):
        step += 1
    return f"{sign}{_three_digits(size / 1000.0**step)}{_COUNT[step]}"


def _rounded(value: float) -> float:
    """To three digits, so that 999.9 is written in the next unit."""
    return float(f"{value:.3g}")


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    before = len(str(int(value))) if value >= 1 else 1
    return f"{value:.{max(0, 3 - before)}f}" if value >= 0.01 else f"{value:.2e}"


def energy_label(unit: str, note: str, width: float, left: float, right: float) -> list[str]:
    """What an axis of energy says, in one line or two: the unit and a note, centred between margins
    `left` and `right` of the page.
    """
    middle = (left + width - right) / 2
    room = 2 * min(middle, width - middle) - 0.1
    said = f"energy per inference ({unit})"
    whole = f"{said}, {note}" if note else said
    return [whole] if not note or text_width(whole) <= room else [said, elided(note, room)]


def draw_energy_label(figure: Any, grid: Grid, lines: Sequence[str]) -> None:
    """The label under the panels; the page's `bottom` has room for one line and `LINE_IN` more for
    each further one.
    """
    middle = (grid.left + grid.width - grid.right) / 2 / grid.width
    for place, line in enumerate(reversed(lines)):
        figure.text(middle, (0.05 + place * LINE_IN) / grid.height, line, ha="center", va="bottom")


def limit_energies(axes: Any, energies: Sequence[float]) -> None:
    """An x axis with room about the energies; logarithmic where they are further apart than a
    factor of 8.
    """
    low, high = min(energies), max(energies)
    if low > 0 and high / low > _WIDE_RANGE:
        low, high = low / (high / low) ** 0.07, high * (high / low) ** 0.07
        axes.set_xscale("log")
        ticks = decimal_ticks(low, high)
        axes.set_xticks(ticks, [short_number(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(low, high)
        return
    margin = 0.07 * (high - low) or 0.07 * high or 1.0
    axes.set_xlim(low - margin, high + margin)
    tidy_ticks(axes.xaxis, 6)


def decimal_ticks(low: float, high: float) -> list[float]:
    """Round numbers between the limits of a logarithmic axis, at most eight where so few can be
    had: 1, 2, 5, 10, … or fewer a decade.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [
            tick
            for power in decades
            for digit in digits
            if low <= (tick := float(f"{digit}e{power}")) <= high
        ]
        if len(found) <= 8:
            break
    return found
