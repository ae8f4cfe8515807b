"""Words beside points, where there is room that no line, point or other word takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
_HORIZONTAL = {0: "center", 1: "left", -1: "right"}
_VERTICAL = {0: "center_baseline", 1: "bottom", -1: "top"}


@dataclass(frozen=True)
class PointLabel:
    """What to write beside the point (x, y), whose marker is `size_pt` wide; a label of lower
    `rank` is placed first.
    """

    x: float
    y: float
    text: str
    colour: tuple[float, float, float]
    size_pt: float
    rank: int


def label_points(
    axes: Any, labels: Sequence[PointLabel], lines: Sequence[Any], *, pale: Sequence[Any] = ()
) -> None:
    """Write each label where it fits inside the axes, whose limits are final, and leave the others
    out.

    No label crosses `lines`; the `pale` ones are crossed where there is no other room.
    """
    from matplotlib.transforms import Bbox

    renderer, pixels = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
    crossed, avoided = (
        [line.get_path().transformed(line.get_transform()) for line in some]
        for some in (lines, [*lines, *pale])
    )
    taken = []
    for label in labels:
        x, y = axes.transData.transform((label.x, label.y))
        half = label.size_pt * pixels / 2
        taken.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
    for label in sorted(labels, key=lambda label: label.rank):
        for paths, (across, up) in product((avoided, crossed), _DIRECTIONS):
            away = (0.5 * label.size_pt + 1.4) * (0.75 if across and up else 1)
            text = axes.annotate(
                label.text,
                (label.x, label.y),
                xytext=(across * away, up * away),
                textcoords="offset points",
                ha=_HORIZONTAL[across],
                va=_VERTICAL[up],
                color=tuple(
                    0.75 * part for part in label.colour
                ),  # a pale line is no colour for type
                zorder=4,
            )
            box = text.get_window_extent(renderer)
            within = all(axes.bbox.contains(*corner) for corner in (box.p0, box.p1))
            if (
                within
                and not any(map(box.overlaps, taken))
                and not any(path.intersects_bbox(box, filled=False) for path in paths)
            ):
                taken.append(box)
                break
            text.remove()
