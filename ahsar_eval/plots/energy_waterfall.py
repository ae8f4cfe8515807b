"""From one counter's totals to another's: a bar for each step, multiply-accumulates and
accumulates side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from ahsar_eval.plots.energy_axis import count_text
from ahsar_eval.plots.layout import (
    LINE_IN,
    Cell,
    Grid,
    elided_names,
    heading,
    legend_space,
    page_by_page,
    places,
    short_number,
    text_width,
)
from ahsar_eval.plots.style import DOUBLE_IN, INK, PALE

OPERATIONS = {"macs": "MACs", "acs": "ACs"}
_COLOURS = {"total": "#555555", "added": "#cc6677", "taken away": "#332288"}  # not of networks
_ROW_IN = 0.15
_NAMES_IN = 2.3

Bar = tuple[str, str, Fraction, Fraction]  # start, step or end; name, from, to


def waterfall_pages(bars: Mapping[tuple[str, str], Sequence[Bar]], per: str) -> Iterator[Any]:
    """Pages as matplotlib figures: a row per network, MACs and ACs beside one another, the amount
    at every bar. `bars` by (network, operation), totals from 0, each step from where the last
    ended; `per` says what the counts are of.
    """
    networks = list(dict.fromkeys(name for name, _ in bars))
    names = [name for own in bars.values() for _, name, _, _ in own]
    room = min(_NAMES_IN, max(map(text_width, names)))
    short, most = elided_names(names, room), max(map(len, bars.values()))
    several = len(networks) > 1
    space = {"left": room + 0.14, "right": 0.12, "gap": 0.2, "below": 0.2, "bottom": 0.2}
    space |= {"above": 0.2 + LINE_IN * several, "legend": legend_space((), 3, DOUBLE_IN)}
    grid = Grid(1, 2, DOUBLE_IN, (most * _ROW_IN,), **space)
    cells = {
        (name, operation): Cell(page, row, column)
        for name, (page, row) in zip(
            networks, places(len(networks), grid.rows_that_fit), strict=True
        )
        for column, operation in enumerate(OPERATIONS)
    }
    titles = elided_names(networks, DOUBLE_IN - room - 0.4)
    for figure, panels in page_by_page(grid, cells, x=per):
        for (name, operation), (axes,) in panels.items():
            own, first = bars[name, operation], operation == next(iter(OPERATIONS))
            axes.set_label(f"{name} {operation}")
            _draw(axes, own, grid.panel_width)
            axes.set_ylim(most - 0.5, -0.5)
            axes.set_yticks(range(len(own)), [short[bar[1]] if first else "" for bar in own])
            axes.tick_params(axis="y", length=0)
            heading(axes, OPERATIONS[operation])
            if several and first:
                heading(axes, titles[name], line=1, room=grid.width - grid.left)
        yield figure


def _kind(bar: Bar) -> str:
    kind, _, before, after = bar
    return "total" if kind != "step" else "added" if after > before else "taken away"


def _draw(axes: Any, bars: Sequence[Bar], width: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    reached = [float(end) for _, _, before, after in bars for end in (before, after)]
    low, high = min(reached), max(reached)
    written = [count_text(after - before, signed=kind == "step") for kind, _, before, after in bars]
    room = (max(map(text_width, written)) + 0.08) / width
    span = (high - low) / (1 - room) or 1.0
    beside = {"xytext": (3, 0), "textcoords": "offset points", "va": "center_baseline"}
    for i, (_, _, before, after) in enumerate(bars):
        left, size = min(float(before), float(after)), abs(float(after - before))
        kind = _kind(bars[i])
        look = {"color": _COLOURS[kind], "linewidth": 0, "label": kind if size else ""}
        axes.barh(i, size, left=left, height=0.7, **look)
        axes.annotate(written[i], (left + size, i), ha="left", **beside)
        if i + 1 < len(bars):  # where the next bar starts
            ends = [i - 0.35, i + 1.35]
            axes.plot([float(after)] * 2, ends, color=PALE, linewidth=0.6, zorder=0.5)
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
