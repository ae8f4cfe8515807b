"""What all figures share: type and colours, names and numbers cut to their room, checks of what is
drawn, and files that appear whole or not at all.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from operator import itemgetter
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import seaborn as sns
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import EngFormatter
from pandas import DataFrame

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.files import written_whole
from ahsar_eval.results import FIGURES
from ahsar_eval.results.table import Row

SINGLE_IN = 3.5  # widths of a paper's columns, inches
DOUBLE_IN = 7.16
TALLEST_IN = 9.0
TEXT_PT = 7.0
INK = "#262626"  # seaborn's, of axes and text
PALE = "#b4b4b4"  # what others are compared with: ID samples, chance
RIM: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.4}
UNSEEN = "\u200b"

# Of seaborn's colour-blind safe palette, first those whose lightness differs most: they must be
# told apart in grey, too.
_COLOURS = (0, 1, 2, 4, 3, 9, 5, 7)
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.4)), (0, (1, 1.1)), (0, (5, 1.4, 1, 1.4)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_UNDATED: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}

Colour = tuple[float, float, float]
# How each checkpoint is drawn in every figure, as matplotlib's properties of a line: label, color,
# and the linestyle and marker that tell it apart without colour.
Looks = dict[str, dict[str, Any]]


class Drawn(NamedTuple):
    """A figure: the stem of its file, its pages, and the numbers they show: a frame, arrays by
    name, or None.
    """

    stem: str
    pages: Sequence[Any]
    numbers: Any

    def save(self, path: str | Path) -> list[Path]:
        """Write the pages as PNG, PDF or SVG by suffix, and beside them the numbers: a frame as
        CSV, arrays as NAME.arrays.npz. All files appear, or none.

        One page is `path` itself, several are NAME-1, NAME-2, …; returns the pages and then the
        file of numbers. Raises `OutputError`.
        """
        target, numbers = Path(path), self.numbers
        suffix = target.suffix.lower()
        if suffix not in FIGURES:
            raise OutputError(
                f"cannot write {str(path)!r}: a figure is PNG, PDF or SVG; name a file that ends "
                f"in {', '.join(FIGURES)}"
            )
        files = [target]
        if len(self.pages) > 1:
            files = [target.with_stem(f"{target.stem}-{i + 1}") for i in range(len(self.pages))]
        if numbers is not None:
            # Arrays have a suffix of their own: NAME.npz may be the set they were made from.
            files.append(
                target.with_suffix(".csv" if isinstance(numbers, DataFrame) else ".arrays.npz")
            )
        with styled(), ExitStack() as stack:
            places = [stack.enter_context(written_whole(file)) for file in files]
            for page, place in zip(self.pages, places, strict=False):
                page.savefig(place, metadata=_UNDATED.get(suffix))
            if isinstance(numbers, DataFrame):
                numbers.to_csv(places[-1], index=False, lineterminator="\n")
            elif numbers is not None:
                np.savez_compressed(places[-1], **numbers)
        return files


def styled() -> AbstractContextManager[None]:
    """Draw and save within this: paper.mplstyle over seaborn's ticks; what a user has set for
    figures of their own does not matter.
    """
    paper = Path(__file__).with_name("paper.mplstyle")
    layers = [sns.axes_style("ticks"), paper, {"font.size": TEXT_PT}]
    return matplotlib.style.context(layers, after_reset=True)


def looks(checkpoints: Iterable[str]) -> Looks:
    """A look for each checkpoint by its place; give every figure of a paper the same list and the
    looks agree.
    """
    palette = sns.color_palette("colorblind")
    return {
        name: {
            # Matplotlib leaves labels that begin with an underscore out of legends; nobody sees the
            # sign before it.
            "label": UNSEEN * name.startswith("_") + name,
            "color": palette[_COLOURS[i % len(_COLOURS)]],
            "linestyle": _LINES[(i + i // 8) % len(_LINES)],
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        for i, name in enumerate(dict.fromkeys(checkpoints))
    }


def shades(colour: Colour, count: int) -> list[Colour]:
    """`count` shades of one hue from light to dark."""
    if count == 1:
        return [colour]
    light = [1 - 0.4 * (1 - part) for part in colour]
    return list(sns.blend_palette([light, colour, [0.55 * part for part in colour]], count))


def grouped(rows: Iterable[Row], *keys: str) -> dict[Any, list[Row]]:
    """Rows by their value under a key, or by the tuple of those under several, as they appear."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(itemgetter(*keys)(row), []).append(row)
    return found


# --- text in the room it has


@lru_cache(maxsize=4096)
def text_width(text: str) -> float:
    """Printed width of a line of text in inches, in the type of `styled`."""
    if not text.strip():
        return 0.0
    type_ = FontProperties(family="DejaVu Sans")
    return float(TextPath((0, 0), text, size=TEXT_PT, prop=type_).get_extents().width) / 72


def elided(text: str, room: float) -> str:
    """The text, its middle left out where it is wider than `room` inches: names differ at their
    ends.
    """
    text = " ".join(text.split())
    if text_width(text) <= room:
        return text

    def shortened(kept: int) -> str:
        return text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]

    fit = bisect(range(1, len(text)), room, key=lambda kept: text_width(shortened(kept)))
    return shortened(max(1, fit))


def elided_names(names: Iterable[str], room: float) -> dict[str, str]:
    """Each name with its `elided` form; where two would read the same, with what they do not share,
    and last of all numbered.
    """
    each = list(dict.fromkeys(names))
    wide = [name for name in each if text_width(name) > room]
    short = [elided(name, room) for name in wide]
    if len(set(short)) < len(wide):
        start = len(commonprefix(wide))  # noqa: RUF071  letters are meant
        end = len(commonprefix([name[start:][::-1] for name in wide]))  # noqa: RUF071
        differ = [name[start : len(name) - end] for name in wide]
        short = [elided(f"{'…' * bool(start)}{one}{'…' * bool(end)}", room) for one in differ]
    if len(set(short)) < len(wide):
        short = [f"{i} {elided(name, room - 0.15)}" for i, name in enumerate(wide, start=1)]
    return {name: name for name in each} | dict(zip(wide, short, strict=True))


def short_number(value: float, place: int | None = None) -> str:
    """A tick's number: 0.25, −3, 2 M."""
    small = f"{value + 0.0:.4g}".replace("-", "−")  # −0 is 0
    return small if abs(value) < 1e4 else three_digits(value)


def three_digits(value: float, unit: str = "") -> str:
    """A number with its unit: 98.3 k, 12.3 µJ."""
    return str(EngFormatter(unit)(float(f"{value:.3g}")))


def energy_unit(most_pj: float) -> tuple[str, float]:
    """The unit in which the largest energy has one to three digits before the point, and the pJ in
    one of it.
    """
    step = int(np.clip(np.log10(max(most_pj, 1.0)) // 3, 0, 4))
    return ("pJ", "nJ", "µJ", "mJ", "J")[step], 1000.0**step


def drawable(kind: str, keys: Sequence[Any]) -> None:
    """That there is something to draw, and each thing once: names, or (checkpoint, set). Raises
    `DataError`.
    """
    if not keys:
        raise DataError(f"there is no {kind} to draw; give at least one")
    key, count = Counter(keys).most_common(1)[0]
    if count > 1:
        name = key if isinstance(key, str) else " on ".join(key)
        raise DataError(f"the {kind} of {name} was given twice; give it once")
