"""Contact sheets: what a set and its shifts look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.files import written_whole
from ahsar_eval.plots.style import embedded_type


@dataclass(frozen=True)
class SheetRow:
    """One row of pictures under a label; `pictures` [n, C, H, W] in [0, 1], or counts of events
    where C is 2 (OFF, ON).

    `full` [n] is the count that is shown in full colour: that of the clean recording, so that added
    and lost events can be seen.
    """

    label: str
    pictures: NDArray[np.float32]
    full: NDArray[np.float32]


def sheet_figure(rows: Sequence[SheetRow], *, title: str, captions: Sequence[str] = ()) -> Any:
    """A matplotlib figure: the rows below one another, `captions` above the columns of the first.
    Events: red ON, blue OFF, white none.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = max(len(row.pictures) for row in rows)
    height, width = rows[0].pictures.shape[-2:]
    side = 0.9
    with plt.rc_context({"font.size": 8}):
        figure, grid = plt.subplots(
            len(rows),
            columns,
            figsize=(side * columns + 1.5, side * height / width * len(rows) + 0.55),
            dpi=200,
            squeeze=False,
            layout="constrained",
        )
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        for line, row in zip(grid, rows, strict=True):
            for place, axes in enumerate(line):
                axes.set(xticks=[], yticks=[])
                if place >= len(row.pictures):
                    axes.axis("off")
                    continue
                axes.imshow(
                    _colours(row.pictures[place], float(row.full[place])),
                    vmin=0,
                    vmax=1,
                    interpolation="nearest",
                    cmap="gray",
                )
                for spine in axes.spines.values():
                    spine.set_linewidth(0.3)
            line[0].set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=7)
        for axes, caption in zip(grid[0], captions, strict=False):
            axes.set_title(caption, fontsize=6, pad=2)
        figure.suptitle(title, fontsize=8, x=0.01, ha="left")
    return figure


def save_sheet(
    rows: Sequence[SheetRow], path: str | Path, *, title: str, captions: Sequence[str] = ()
) -> Path:
    """Write the sheet as PNG, PDF or SVG by suffix. Raises `OutputError`."""
    import matplotlib.pyplot as plt

    figure = sheet_figure(rows, title=title, captions=captions)
    try:
        with embedded_type(), written_whole(path) as temporary:
            figure.savefig(temporary)
    finally:
        plt.close(figure)
    return Path(path)


def _colours(picture: NDArray[np.float32], full: float) -> NDArray[np.float32]:
    if picture.shape[0] == 1:
        return picture[0]
    if picture.shape[0] == 2:
        off, on = np.sqrt(
            picture / (full or 1.0)
        )  # a few busy pixels would hide all others on a linear scale
        return np.clip(np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1), 0, 1)
    return np.clip(picture.transpose(1, 2, 0), 0, 1)
