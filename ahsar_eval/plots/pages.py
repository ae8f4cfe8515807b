"""Pages of panels at the widths of a paper. Matplotlib's constrained layout finds a place for every
text; names are the user's, as long as they like, and cut to the room they have.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import lcm
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.artist import getp
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.ticker import AutoLocator, LogLocator, MaxNLocator, NullLocator, ScalarFormatter
from pandas import DataFrame, Series

from ahsar_eval.plots.style import (
    DOUBLE_IN,
    PALE,
    SINGLE_IN,
    TALLEST_IN,
    UNSEEN,
    Looks,
    elided_names,
    parted,
    short_number,
    styled,
    text_width,
)

_LINE_IN = 0.13  # height of a line of text
_LETTERS_PER_IN = 15
_LEGEND_IN = 0.5  # kept free for legend and x label of a page; a larger legend makes axes lower
_BESIDE_IN = 0.45  # tick labels of a panel and the gap to its neighbour
_BETWEEN_IN = 0.065  # above and below a band
STEPS = (1, 2, 5, 10)  # between ticks
_MOST_LOOKS = 5  # as many as a legend's sample has room for


@dataclass(frozen=True)
class Panel:
    """One cell of a page, whose axes, from the top, are given to `draw`.

    `note` stands over them at the right, `title` over it at the left, and where the panel is in the
    first row of a page `head` in the middle over both. Axes with one name in `x_as`, or in `y_as`,
    have one scale, also over pages.
    """

    name: str
    draw: Callable[..., None]
    title: str = ""
    note: str = ""
    head: str = ""
    x_as: str = ""
    y_as: str = ""


@dataclass(frozen=True)
class Band:
    """Panels side by side, None where there is none; `heights` in inches are those of the axes of
    each, from the top.
    """

    panels: Sequence[Panel | None]
    heights: tuple[float, ...]

    def lines(self, part: str) -> int:
        """Lines of text that the longest `part` of the panels takes."""
        texts = [getattr(panel, part) for panel in self.panels if panel]
        return max(text.count("\n") + bool(text) for text in texts)

    @property
    def height(self) -> float:
        """Inches with the texts above and the tick labels below."""
        around = 1.5 + self.lines("note") + self.lines("title") + 0.4 * len(self.heights)
        return sum(self.heights) + _LINE_IN * around + _BETWEEN_IN


def draw_pages(
    bands: Iterable[Band], width: float, x: str, y: str = "", said: str = ""
) -> list[Any]:
    """Bands below one another on as many pages as they need, as matplotlib figures that belong to
    no window: a legend over each of everything drawn that has a label, `x` below, `y` at the left;
    `said` is a line below `x`: of which set and how many samples the page is.
    """
    pages: list[list[Band]] = [[]]
    for band in bands:
        filled = sum(one.height for one in [*pages[-1], band])
        if pages[-1] and filled > TALLEST_IN - _LEGEND_IN:
            pages.append([])
        pages[-1].append(band)
    scales: dict[tuple[str, str, int], list[Any]] = {}
    with styled():
        below = "\n".join(fill(line, int(width * _LETTERS_PER_IN)) for line in (x, said) if line)
        figures = [_page(page, width, below, y, scales) for page in pages]
        for (limits, name, _), several in scales.items():
            ends = [getp(axes, limits) for axes in several]
            for axes in several if name else ():
                axes.set(**{limits: (np.min(ends), np.max(ends))})
        for figure in figures:
            for axes in figure.axes:
                axes.spines[["top", "right"]].set_visible(False)
                _tidy_ticks(axes.xaxis)
                _tidy_ticks(axes.yaxis)
            # Axes with an aspect find their places in two passes; the second is the drawing's.
            figure.get_layout_engine().execute(figure)
    return figures


def _page(
    bands: Sequence[Band],
    width: float,
    below: str,
    y: str,
    scales: dict[tuple[str, str, int], list[Any]],
) -> Any:
    heights = [height for band in bands for height in band.heights]
    columns = lcm(*(len(band.panels) for band in bands))
    figure: Any = Figure((width, TALLEST_IN), dpi=300, layout="constrained")
    FigureCanvasAgg(figure)  # measures text
    figure.get_layout_engine().set(h_pad=_BETWEEN_IN)
    grid, top = figure.add_gridspec(len(heights), columns, height_ratios=heights), 0
    for band in bands:
        span, rows = columns // len(band.panels), range(top, top + len(band.heights))
        top = rows.stop
        notes, titles = band.lines("note"), band.lines("title")
        for column, panel in enumerate(band.panels):
            if panel is None:
                continue
            across = slice(column * span, (column + 1) * span)
            stack = [figure.add_subplot(grid[row, across], label=panel.name) for row in rows]
            for i, axes in enumerate(stack):
                axes.tick_params(labelbottom=axes is stack[-1])
                scales.setdefault(("xlim", panel.x_as, i), []).append(axes)
                scales.setdefault(("ylim", panel.y_as, i), []).append(axes)
            panel.draw(*stack)
            # A name may be wider than its panel: the note alone, under blank lines, takes room.
            blank = notes + titles - 1 - panel.note.count("\n")
            stack[0].set_title("\n" * blank + (panel.note or " "), loc="right")
            if panel.title:
                name = panel.title + "\n" * notes
                over = {"xytext": (0, 3), "textcoords": "offset points", "annotation_clip": False}
                over |= {"xycoords": "axes fraction"}
                stack[0].annotate(name, (0, 1), **over).set_in_layout(False)
            if panel.head and band is bands[0]:
                gap = _head_gap(band)
                stack[0].set_title(panel.head + "\n" * (notes + titles + gap))
    figure.supxlabel(below)
    figure.supylabel(y)
    above = _legend(figure).get_window_extent().height / figure.dpi
    lines = bands[0].lines("head") + _head_gap(bands[0]) + below.count("\n") + 2
    height = above + sum(band.height for band in bands) + lines * _LINE_IN
    figure.set_figheight(min(height, TALLEST_IN))
    return figure


def _head_gap(band: Band) -> int:
    """Blank lines that keep the heads of columns apart from the name of the first row."""
    return int(bool(band.lines("head") and band.lines("title")))


def _tidy_ticks(axis: Any) -> None:
    """Few ticks, at least three, with short numbers; on a logarithmic axis 1, 2, 5, 10, … or fewer
    a decade.
    """
    logarithmic = axis.get_scale() == "log"
    if logarithmic:
        low, high = axis.get_view_interval()
        decades = np.log10(high / low)
        digits = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3.5 else (1,)
        axis.set_major_locator(LogLocator(subs=digits, numticks=10))
        axis.set_minor_locator(NullLocator())
    elif isinstance(axis.get_major_locator(), AutoLocator):
        axis.get_major_locator().set_params(nbins=5, steps=STEPS, min_n_ticks=3)
    if logarithmic or isinstance(axis.get_major_formatter(), ScalarFormatter):
        axis.set_major_formatter(short_number)


def _legend(figure: Any) -> Any:
    """A legend over the page, in as many columns as fit, of everything drawn that has a label; one
    that is drawn in several looks has them side by side, at most `_MOST_LOOKS`.
    """
    drawn: dict[str, dict[str, Any]] = {}
    for axes in figure.axes:
        for label, handle in _labelled(axes):
            drawn.setdefault(label, {}).setdefault(_look_of(handle), handle)
    names = elided_names(drawn, figure.get_figwidth() - 0.6).values()
    handles = [tuple(each.values())[:_MOST_LOOKS] for each in drawn.values()]
    several = {tuple: HandlerTuple(ndivide=None, pad=0)}
    for columns in range(max(1, len(names)), 0, -1):
        legend = figure.legend(
            handles, names, loc="outside upper left", handler_map=several, ncols=columns
        )
        if legend.get_window_extent().width < 0.98 * figure.bbox.width:
            break
        if columns > 1:
            legend.remove()
    return legend


def _labelled(axes: Any) -> Iterator[tuple[str, Any]]:
    """What is drawn in the axes and has a label, under it."""
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        yield label.removeprefix(UNSEEN), handle


def _look_of(handle: Any) -> str:
    """What tells two looks of one label apart: colours."""
    one = handle[0] if isinstance(handle, tuple) else handle  # a container of bars
    if isinstance(one, Line2D):
        return str((one.get_color(), one.get_markeredgecolor()))
    return str((one.get_facecolor(), one.get_edgecolor()))


# --- pages of one table


def panel_pages(
    table: DataFrame,
    draw: Callable[..., None],
    *,
    heights: Sequence[float],
    x: str,
    y: str = "",
    across: str = "",
    heads: Mapping[str, str] | None = None,
    note: Callable[[DataFrame], str] | None = None,
    number: str = "",
    shared: bool = False,
    same_x: bool = False,
    missing: str = "",
    said: str = "",
) -> list[Any]:
    """Pages of panels, each drawn from its rows of `table`, whose first column names the set, by
    `draw(rows, *axes)`.

    There is a row per set and a column per value of the table's column `across`, under its `heads`;
    sets of a single one stand side by side, as they do where nothing is `across`. `heights` are
    those of a panel's axes, as parts of its width. `note` gives what stands over a panel; `number`
    is a column with one number for each line of a panel, which stand over it. Columns that are
    `shared` have one scale of y each, and all one of x, which all panels have with `same_x`, too;
    `missing` is said in a panel without rows, `said` below the page.
    """
    of, heads = table.columns[0], heads or {}
    panels = split(table, [of, across] if across else [of])
    sets, several = list(table[of].unique()), len(heads) > 1
    count = len(heads) if several else columns_for(len(sets))
    width = width_for(count)
    room = width / count - _BESIDE_IN
    names = elided_names(sets, (width - _BESIDE_IN if several else room) - text_width(number) - 0.1)
    short, per_line = _short_heads(heads.values(), room - 0.1), max(1, int(room / 0.62))

    def panel(key: tuple[str, ...]) -> Panel:
        own, name, column = panels.get(key), key[0], key[-1] if several else ""
        title = "" if several and column != next(iter(heads)) else names[name]
        texts = {"title": title, "head": short[heads[column]] if several else ""}
        if own is None:
            return Panel(" ".join(key), partial(say, text=missing), **texts)
        if number:
            values = own.groupby("checkpoint", sort=False)[number.lower()].first()
            rows = -(-len(values) // per_line)
            rows += rows // 3  # a legend's lines are higher
            texts |= {"title": f"{title} · {number}", "note": " " + "\n" * (rows - 1)}
        elif note:
            texts["note"] = note(own)

        def fill(*stack: Any) -> None:
            draw(own, *stack)
            if number:
                _numbers_legend(stack[0], values, per_line)

        scales = {"x_as": "x"} if shared or same_x else {}
        scales |= {"y_as": column or "y"} if shared else {}
        return Panel(" ".join(key), fill, **texts, **scales)

    keys = product(sets, heads) if several else panels
    each = [panel(key) if missing or key in panels else None for key in keys]
    bands = [Band(row, tuple(room * h for h in heights)) for row in in_rows(each, count)]
    return draw_pages(bands, width, x, y, said)


def _short_heads(names: Iterable[str], room: float) -> dict[str, str]:
    """Heads of columns: what stands in brackets behind a name that is too wide has its own line."""
    parts = {name: parted(name) if text_width(name) > room else (name, "") for name in names}
    each = elided_names([network for network, _ in parts.values()], room)
    more = elided_names([ending for _, ending in parts.values()], room)
    return {
        name: f"{each[network]}\n{more[ending]}".rstrip("\n")
        for name, (network, ending) in parts.items()
    }


def _numbers_legend(axes: Any, values: "Series[float]", per_line: int) -> None:
    """The numbers of the lines over the axes, where they hide nothing."""
    lines = dict(_labelled(axes))
    texts = [  # two digits of one so small that three decimals would all be 0
        f"{value:.3f}" if value >= 0.1 or value == 0 else f"{value:#.2g}".replace("-0", "−")
        for value in values
    ]
    axes.legend(
        [lines[name] for name in values.index],
        texts,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=per_line,
        handlelength=1.8,
        columnspacing=0.8,
    )


def severity_pages(
    table: DataFrame,
    look: Looks,
    *,
    heads: Mapping[str, str],
    lines: Mapping[str, float],
    x: str,
    missing: str = "labels not kept",
    said: str = "",
) -> list[Any]:
    """Quantities over severity: a row per shift, a column per quantity with one scale in all rows.

    `table` has a point a row: shift, checkpoint, quantity, severity (ascending), value, low, high.
    `heads` are of each quantity; at the value in `lines` a pale line crosses it. `x` stands under
    the severities and `said` below, `missing` where no checkpoint has the quantity.
    """

    def draw(own: DataFrame, axes: Any) -> None:
        if own.quantity.iloc[0] in lines:
            axes.axhline(lines[own.quantity.iloc[0]], color=PALE, linewidth=0.6, zorder=0.5)
        draw_lines(axes, own, look, "severity", markersize=3, clip_on=False)
        axes.set_xticks(own.severity.unique())

    return panel_pages(
        table,
        draw,
        heights=(0.7,),
        x=x,
        across="quantity",
        heads=heads,
        shared=True,
        missing=missing,
        said=said,
    )


def columns_for(panels: int) -> int:
    """Columns for a number of panels that are set one after another."""
    return panels if panels < 5 else 3 if panels in (5, 6) else 4


def width_for(columns: int) -> float:
    """A single column of a paper for up to two panels side by side, both columns for more."""
    return SINGLE_IN if columns < 3 else DOUBLE_IN


def in_rows(panels: Sequence[Panel | None], columns: int) -> list[list[Panel | None]]:
    """Panels set one after another in rows of `columns`, None where the last has none."""
    padded = [*panels, *[None] * (-len(panels) % columns)]
    return [padded[i : i + columns] for i in range(0, len(padded), columns)]


def split(table: DataFrame, by: str | list[str]) -> dict[Any, DataFrame]:
    """The rows of each value of the columns `by`, in the order of their appearance."""
    return dict(iter(table.groupby(by, sort=False)))


# --- axes


def draw_lines(
    axes: Any,
    table: DataFrame,
    look: Looks,
    x: str,
    y: str = "value",
    by: str = "checkpoint",
    **line: Any,
) -> None:
    """A line of the column `y` over the column `x` for each name in the column `by`, and where
    there are intervals the band between `low` and `high`.
    """
    for name, own in split(table, by).items():
        if "low" in own and own.low.notna().any():
            colour = look[name]["color"]
            axes.fill_between(own[x], own.low, own.high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(own[x], own[y], **look[name] | line)


def say(axes: Any, text: str) -> None:
    """A text in the middle of axes that show nothing else."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """A row of y for each name, from above; the first column of panels alone says them."""
    shown = names if axes.get_subplotspec().is_first_col() else [""] * len(names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), shown)
    axes.tick_params(axis="y", length=0)


def is_wide(values: "Series[float]") -> bool:
    """Whether a logarithmic axis shows the numbers better: all positive, and far apart."""
    return bool(0 < 8 * values.min() < values.max())


def root_scale(axes: Any, most: float) -> None:
    """A square-root scale of y from 0 to `most`: what is rare stays visible beside what is
    common.
    """
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    axes.set_ylim(0, most)
    axes.yaxis.set_major_locator(MaxNLocator(3, steps=STEPS, min_n_ticks=3))
