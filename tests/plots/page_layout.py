"""What holds for every page of figures: no text leaves it or lies over another or over a bar, and
the legend hides no panel.
"""

from itertools import combinations

import numpy as np
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from ahsar_eval.plots.style import DOUBLE_IN, SINGLE_IN, TALLEST_IN


def texts(figure) -> list[Text]:
    """Every text that is printed; matplotlib also keeps labels of ticks that lie
    outside the axes."""
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._right_title]
        if axes.get_legend() is not None:
            found += [axes.get_legend().get_title(), *axes.get_legend().get_texts()]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [
                axis.label,
                *(tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high),
            ]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def words(figure) -> list[str]:
    """Every text, without blank lines about it; those below the page line by line."""
    below = figure._supxlabel
    found = [text.get_text().strip() for text in texts(figure) if text is not below]
    return found + (below.get_text().split("\n") if below else [])


def headings(axes) -> list[str]:
    """What stands over axes: names, and a note at the right."""
    names = [text for text in axes.texts if isinstance(text, Annotation)]
    found = [text.get_text().strip() for text in (*names, axes.title, axes._right_title)]
    return [text for text in found if text]


def box_of(text: Text) -> Bbox:
    """What a text covers, without the blank lines that keep its place over or under another."""
    box, lines = text.get_window_extent(), text.get_text().split("\n")
    above = next(i for i, line in enumerate(lines) if line.strip())
    below = next(i for i, line in enumerate(reversed(lines)) if line.strip())
    height = box.height / len(lines)
    return Bbox.from_extents(box.x0, box.y0 + below * height, box.x1, box.y1 - above * height)


def check_apart(figure) -> None:
    """No text leaves the page or lies over another or over a picture, and no axes overlap; names of
    rows may be of any size of type.
    """
    figure.draw_without_rendering()
    page, boxes = figure.bbox, []
    for text in texts(figure):
        box = box_of(text)
        assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, f"{text} leaves the page"
        assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, f"{text} leaves the page"
        boxes.append((text.get_text(), box.shrunk(0.9, 0.8)))
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), f"{one!r} lies over {other!r}"
    for axes in figure.axes:
        assert not any(box.overlaps(axes.bbox.shrunk(0.98, 0.98)) for _, box in boxes)
    for first, second in combinations(figure.axes, 2):
        assert not first.bbox.overlaps(second.bbox)


def check_layout(figure) -> None:
    """No text leaves the page or lies over another or over a bar, panels lie apart, and the legend
    hides none.
    """
    width, height = figure.get_size_inches()
    assert width in (SINGLE_IN, DOUBLE_IN)
    assert height <= TALLEST_IN
    figure.draw_without_rendering()
    assert {text.get_fontsize() for text in texts(figure)} == {7.0}
    page, boxes = figure.bbox, []
    for text in texts(figure):
        box, name = box_of(text), text.get_text()
        assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, f"{name!r} leaves the page"
        assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, f"{name!r} leaves the page"
        boxes.append((name, box.shrunk(0.9, 0.9)))
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.overlaps(second), f"{one!r} lies over {other!r}"
    bars = [
        patch.get_window_extent()
        for axes in figure.axes
        for bar in axes.containers
        for patch in bar
        if patch.get_width()
    ]
    left, low, right, high = (
        np.array([bar.shrunk(0.98, 0.9).extents for bar in bars]).reshape(-1, 4).T
    )
    for name, box in boxes:
        over = (left < box.x1) & (box.x0 < right) & (low < box.y1) & (box.y0 < high)
        assert not over.any(), f"{name!r} lies over a bar"
    for first, second in combinations(figure.axes, 2):
        assert not first.bbox.overlaps(second.bbox)
    (legend,) = figure.legends
    assert all(legend.get_window_extent().y0 >= axes.bbox.y1 for axes in figure.axes), (
        "the legend hides data"
    )
