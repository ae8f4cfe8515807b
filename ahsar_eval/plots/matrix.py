"""Panels of sets by checkpoints: a row per set and a column per checkpoint; the sets of a single
checkpoint stand side by side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ahsar_eval.plots.fitting import elided_names
from ahsar_eval.plots.layout import (
    LINE_IN,
    Cell,
    Grid,
    columns_for,
    heading,
    places,
    width_for,
    wrapped,
)


@dataclass(frozen=True)
class MatrixPage:
    """One page: its grid and where each panel on it stands."""

    grid: Grid
    spots: dict[tuple[str, str], Cell]
    lines: int
    several: bool
    titles: dict[str, str]  # the names of the sets as they fit

    def spot(self, data: str, checkpoint: str) -> Cell | None:
        """Where a panel stands; None where it stands on another page."""
        return self.spots.get((data, checkpoint))

    def label(self, axes: Any, spot: Cell, data: str, checkpoint: str) -> None:
        """Name the panel over its axes: the set once a row, the checkpoint once a column."""
        if not self.several:
            heading(axes, self.titles[data], line=self.lines)
            return
        if spot.column == 0:
            heading(axes, self.titles[data], line=self.lines, room=self.grid.width)
        if spot.row == 0:
            heading(axes, checkpoint, side="center", line=self.lines + 1)


@dataclass(frozen=True)
class Matrix:
    """The order of sets and checkpoints, and how many columns they take."""

    sets: Sequence[str]
    checkpoints: Sequence[str]
    columns: int
    width: float

    @classmethod
    def of(cls, sets: Sequence[str], checkpoints: Sequence[str]) -> "Matrix":
        """The arrangement for these sets and checkpoints."""
        columns = len(checkpoints) if len(checkpoints) > 1 else columns_for(len(sets))
        return cls(sets, checkpoints, columns, width_for(columns))

    def grid(
        self,
        heights: tuple[float, ...],
        lines: int,
        rows: int = 1,
        /,
        *,
        header: float,
        gap: float,
        between: float = 0.0,
    ) -> Grid:
        """Sizes of a page of so many rows; `lines` of numbers stand over each panel, under the name
        of the set.
        """
        named = LINE_IN * (len(self.checkpoints) > 1)  # the checkpoints' names over the first row
        return Grid(
            rows,
            self.columns,
            self.width,
            heights,
            header + named,
            gap=gap,
            between=between,
            above=0.08 + LINE_IN * (lines + 1),
            below=0.19,
            bottom=0.19,
        )

    def pages(
        self, heights: tuple[float, ...], lines: int, **measures: float
    ) -> Iterator[MatrixPage]:
        """Every page with the spots of its panels; measures as for `grid`."""
        fit = self.grid(heights, lines, **measures).rows_that_fit
        if len(self.checkpoints) > 1:
            rows = places(len(self.sets), fit)
            spots = {
                (data, name): Cell(*place, column)
                for data, place in zip(self.sets, rows, strict=True)
                for column, name in enumerate(self.checkpoints)
            }
        else:
            cells = wrapped(len(self.sets), self.columns, fit)
            spots = {
                (data, self.checkpoints[0]): cell
                for data, cell in zip(self.sets, cells, strict=True)
            }
        for page in range(max(cell.page for cell in spots.values()) + 1):
            here = {key: cell for key, cell in spots.items() if cell.page == page}
            count = max(cell.row for cell in here.values()) + 1
            grid = self.grid(heights, lines, count, **measures)
            several = len(self.checkpoints) > 1
            room = grid.width - grid.left - grid.right if several else grid.panel_width
            yield MatrixPage(grid, here, lines, several, elided_names(self.sets, room))
