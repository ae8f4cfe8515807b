"""Contact sheets: what a set and its shifts look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.style import save_pages, styled

_SIDE_IN = 0.9  # of a picture


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


def save_sheet(
    rows: Sequence[SheetRow], path: str | Path, *, title: str, captions: Sequence[str] = ()
) -> Path:
    """Write the rows below one another as PNG, PDF or SVG by suffix, `captions` above the columns
    of the first. Events: red ON, blue OFF, white none. Raises `OutputError`.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = max(len(row.pictures) for row in rows)
    height, width = rows[0].pictures.shape[-2:]
    size = (_SIDE_IN * columns + 1.5, _SIDE_IN * height / width * len(rows) + 0.55)
    spaces: Any = {"w_pad": 0.01, "h_pad": 0.01, "wspace": 0.01, "hspace": 0.01}
    with styled():
        figure = Figure(size, dpi=200, layout=ConstrainedLayoutEngine(**spaces))
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for line, row in zip(grid, rows, strict=True):
            for i, axes in enumerate(line):
                axes.spines[:].set_linewidth(0.3)
                if i < len(row.pictures):
                    draw_picture(axes, row.pictures[i], float(row.full[i]))
                else:
                    axes.axis("off")
            line[0].set_ylabel(row.label, rotation=0, ha="right", va="center")
        for axes, caption in zip(grid[0], captions, strict=False):
            axes.set_title(caption, fontsize="small", pad=2)
        figure.suptitle(title, x=0.01, ha="left", fontsize="large")
    return save_pages([figure], path)[0]


def draw_picture(axes: Any, picture: NDArray[np.float32], full: float) -> None:
    """Grey, colours, or events, whose count `full` is shown in full colour."""
    shown = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    if len(picture) == 2:
        # On a linear scale a few busy pixels would hide all others.
        off, on = np.sqrt(picture / (full or 1.0))
        shown = np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
