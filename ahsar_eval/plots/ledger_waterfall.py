"""A walk from one convention's count to another's: a bar for each step, multiply-accumulates and
accumulates side by side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.errors import DataError
from ahsar_eval.plots.energy_axis import count_text
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    elided,
    elided_names,
    empty_page,
    header_height,
    header_legend,
    heading,
    outer_labels,
    places,
    short_number,
    text_width,
)
from ahsar_eval.plots.style import DOUBLE_IN, INK, PALE, drawable, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame

Count = int | Fraction
OPERATIONS = {"macs": "MACs", "acs": "ACs"}
_TOTAL, _MORE, _LESS = "#555555", "#cc6677", "#332288"  # not the colours of networks
_ROW_IN = 0.15
_NAMES_IN = 2.3


@dataclass(frozen=True)
class WaterfallStep:
    """One reason why two conventions differ, and how many MACs and ACs it adds (below 0: takes
    away).
    """

    name: str
    macs: Count
    acs: Count


@dataclass(frozen=True)
class Waterfall:
    """From convention `start` to convention `end` on one checkpoint: totals as (MACs, ACs) and the
    steps between, exact numbers.
    """

    checkpoint: str
    start: str
    end: str
    start_macs: Count
    start_acs: Count
    steps: Sequence[WaterfallStep]
    end_macs: Count
    end_acs: Count

    def rows(self, operation: str) -> list[tuple[str, Count, Count]]:
        """(name, from, to) of each bar of one of `OPERATIONS`: the totals from 0, each step from
        where the last one ended.
        """
        amounts = [getattr(step, operation) for step in self.steps]
        reached = list(accumulate(amounts, initial=getattr(self, f"start_{operation}")))
        steps = [
            (step.name, before, after)
            for step, before, after in zip(self.steps, reached, reached[1:], strict=False)
        ]
        return [
            (self.start, 0, reached[0]),
            *steps,
            (self.end, 0, getattr(self, f"end_{operation}")),
        ]


def waterfall_figures(walks: Sequence[Waterfall], *, per: str = "per inference") -> list[Any]:
    """Pages of waterfalls as matplotlib figures: a row per checkpoint, MACs and ACs beside one
    another, the amount at every bar.

    `per` says what the counts are of. Raises `DataError` where a walk does not end at its end, or a
    total is negative.
    """
    _check(walks)
    with styled():
        return list(_pages(walks, per))


def save_waterfall(
    walks: Sequence[Waterfall], path: str | Path, *, per: str = "per inference"
) -> list[Path]:
    """Write the waterfalls (PNG, PDF or SVG by suffix) and their bars as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(waterfall_figures(walks, per=per), path, waterfall_table(walks))


def waterfall_table(walks: Sequence[Waterfall]) -> "DataFrame":
    """The bars drawn, one a line: checkpoint, operation, bar, name, from, to, amount; fractions as
    decimals.
    """
    import pandas as pd

    rows = []
    for walk in walks:
        for operation in OPERATIONS:
            for number, (name, before, after) in enumerate(walk.rows(operation)):
                kind = (
                    "start" if number == 0 else "end" if number == len(walk.steps) + 1 else "step"
                )
                amounts = {
                    "from": _plain(before),
                    "to": _plain(after),
                    "amount": _plain(after - before),
                }
                rows.append(
                    {
                        "checkpoint": walk.checkpoint,
                        "operation": operation,
                        "bar": kind,
                        "name": name,
                        **amounts,
                    }
                )
    return pd.DataFrame(rows, dtype=object)  # exact integers


def _plain(count: Count) -> int | float:
    return int(count) if Fraction(count).denominator == 1 else float(count)


def _pages(walks: Sequence[Waterfall], per: str) -> Iterator[Any]:
    handles, labels = _signs(walks)
    names = list(dict.fromkeys(name for walk in walks for name, _, _ in walk.rows("macs")))
    room = min(_NAMES_IN, max(map(text_width, names)))
    short = elided_names(names, room)
    bars = max(len(walk.steps) for walk in walks) + 2
    several = len(walks) > 1

    def grid_of(rows: int) -> Grid:
        measures = {
            "left": room + 0.14,
            "right": 0.12,
            "gap": 0.2,
            "above": 0.2 + LINE_IN * several,
            "below": 0.2,
            "bottom": 0.2,
        }
        return Grid(
            rows,
            2,
            DOUBLE_IN,
            (bars * _ROW_IN,),
            header_height(labels, DOUBLE_IN - 0.1),
            **measures,
        )

    spots = places(len(walks), grid_of(1).rows_that_fit)
    titles = elided_names([walk.checkpoint for walk in walks], DOUBLE_IN - room - 0.4)
    for page in range(spots[-1][0] + 1):
        here = [walk for walk, (its_page, _) in zip(walks, spots, strict=True) if its_page == page]
        grid = grid_of(len(here))
        figure = empty_page(grid)
        for row, walk in enumerate(here):
            for column, operation in enumerate(OPERATIONS):
                (axes,) = add_cell(figure, grid, row, column)
                axes.set_label(f"{walk.checkpoint} {operation}")
                _draw(axes, walk.rows(operation), grid.panel_width)
                axes.set_ylim(bars - 0.5, -0.5)
                axes.set_yticks(
                    range(len(walk.steps) + 2),
                    [short[name] if column == 0 else "" for name, _, _ in walk.rows(operation)],
                )
                axes.tick_params(axis="y", length=0)
                heading(axes, OPERATIONS[operation])
                if several and column == 0:
                    heading(axes, titles[walk.checkpoint], line=1, room=grid.width - grid.left)
        header_legend(figure, grid, handles, labels)
        outer_labels(figure, grid, x=elided(f"operations {per}", grid.width))
        yield figure


def _draw(axes: Any, rows: Sequence[tuple[str, Count, Count]], width: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    last = len(rows) - 1
    reached = [float(end) for _, before, after in rows for end in (before, after)]
    low, high = min(reached), max(reached)
    written = [
        count_text(after - before, signed=0 < place < last)
        for place, (_, before, after) in enumerate(rows)
    ]
    room = (max(map(text_width, written)) + 0.08) / width
    span = (high - low) / (1 - room) or 1.0
    for place, (_, before, after) in enumerate(rows):
        total = place in (0, last)
        colour = _TOTAL if total else _MORE if after > before else _LESS
        left, size = min(float(before), float(after)), abs(float(after - before))
        axes.barh(
            place, size, left=left, height=0.7, color=colour, linewidth=0, label=rows[place][0]
        )
        right = left + size
        axes.annotate(
            written[place],
            (right, place),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center_baseline",
        )
        if place < last:  # where the next bar starts
            axes.plot(
                [float(after)] * 2,
                [place - 0.35, place + 1.35],
                color=PALE,
                linewidth=0.6,
                zorder=0.5,
            )
    axes.set_xlim(low - 0.02 * span * (low < 0), low + span)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(float(value))))


def _tick(value: float) -> str:
    """A round number as a count: 50 k."""
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{short_number(value / 10**power)} {letter}"
    return short_number(value)


def _signs(walks: Sequence[Waterfall]) -> tuple[list[Any], list[str]]:
    from matplotlib.patches import Patch

    changes = [amount for walk in walks for step in walk.steps for amount in (step.macs, step.acs)]
    signs = [
        (_TOTAL, "total"),
        *[(_MORE, "added")] * any(one > 0 for one in changes),
        *[(_LESS, "taken away")] * any(one < 0 for one in changes),
    ]
    return [Patch(facecolor=colour, linewidth=0) for colour, _ in signs], [
        text for _, text in signs
    ]


def _check(walks: Sequence[Waterfall]) -> None:
    drawable("ledger", walks, [(walk.checkpoint,) for walk in walks])
    for walk in walks:
        what = f"the ledger of {walk.checkpoint} from {walk.start} to {walk.end}"
        for operation, title in OPERATIONS.items():
            rows = walk.rows(operation)
            for name, before, after in rows:
                if not isinstance(after - before, int | Fraction):
                    raise DataError(
                        f"{what} has {after - before} {title} in {name}; expected whole numbers or "
                        "fractions"
                    )
            start, (_, _, reached), (_, _, end) = rows[0][2], rows[-2], rows[-1]
            if start < 0 or end < 0:
                raise DataError(
                    f"{what} has a total of {min(start, end)} {title}; expected 0 or more"
                )
            if reached != end:
                raise DataError(
                    f"{what} reaches {reached} {title} where its end is {end}; expected steps that "
                    "add up"
                )
