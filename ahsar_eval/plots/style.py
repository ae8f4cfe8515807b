"""What all figures share: type and colours, names and numbers cut to their room, checks of what is
drawn, and files that appear whole or not at all.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.files import written_whole
from ahsar_eval.results import FIGURES

if TYPE_CHECKING:
    from pandas import DataFrame

SINGLE_IN = 3.5  # widths of a paper's columns, inches
DOUBLE_IN = 7.16
TALLEST_IN = 9.0
TEXT_PT = 7.0
INK = "#262626"  # seaborn's, of axes and text
PALE = "#b4b4b4"  # what others are compared with: ID samples, chance

# Of seaborn's colour-blind safe palette, first those whose lightness differs most: they must be
# told apart in grey, too.
_COLOURS = (0, 1, 2, 4, 3, 9, 5, 7)
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.4)), (0, (1, 1.1)), (0, (5, 1.4, 1, 1.4)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

Colour = tuple[float, float, float]
Drawn = tuple[str, list[Any], Any]  # file stem, pages, and the numbers drawn


@dataclass(frozen=True)
class Look:
    """How one checkpoint is drawn in every figure: its colour, and the line and marker that tell it
    apart without colour.
    """

    colour: Colour
    line: Any
    marker: str


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save within this: 7 pt type embedded as TrueType, thin lines, seaborn's ticks; what
    a user has set for figures of their own does not matter.
    """
    import matplotlib.style
    import seaborn as sns

    settings: Any = {
        # One family that comes with matplotlib: text measured here is as wide on every machine.
        "font.family": ["DejaVu Sans"],
        "font.size": TEXT_PT,
        **dict.fromkeys(("axes.titlesize", "figure.labelsize", "figure.titlesize"), TEXT_PT),
        "text.parse_math": False,  # names are the user's: a dollar sign is a dollar sign
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.1,
        "lines.markersize": 3.5,
        "hatch.linewidth": 0.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.0,
        "ytick.major.size": 2.0,
        "xtick.major.pad": 2.5,
        "ytick.major.pad": 1.5,
        "axes.titlepad": 3.0,
        "axes.formatter.useoffset": False,
        "legend.frameon": False,
        "legend.borderpad": 0.0,
        "legend.borderaxespad": 0.3,
        "legend.handlelength": 2.6,
        "legend.handletextpad": 0.5,
        "legend.columnspacing": 1.2,
        "legend.labelspacing": 0.25,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "ahsar-eval",  # the same figure is the same file
    }
    with matplotlib.style.context(sns.axes_style("ticks") | settings, after_reset=True):
        yield


def looks(checkpoints: Iterable[str], drawn: Iterable[str] | None = None) -> dict[str, Look]:
    """A look for each checkpoint by its place, of those `drawn` alone; give every figure of a paper
    the same list and the looks agree.
    """
    import seaborn as sns

    palette, every = sns.color_palette("colorblind"), dict.fromkeys(checkpoints)
    shown = every.keys() if drawn is None else every.keys() & set(drawn)
    return {
        name: Look(
            tuple(palette[_COLOURS[i % len(_COLOURS)]]),
            _LINES[(i + i // 8) % len(_LINES)],
            _MARKERS[i % len(_MARKERS)],
        )
        for i, name in enumerate(every)
        if name in shown
    }


def shades(colour: Colour, count: int) -> list[Colour]:
    """`count` shades of one hue from light to dark."""
    import seaborn as sns

    if count == 1:
        return [colour]
    light = [1 - 0.4 * (1 - part) for part in colour]
    return list(sns.blend_palette([light, colour, [0.55 * part for part in colour]], count))


# --- text in the room it has


@lru_cache(maxsize=4096)
def text_width(text: str) -> float:
    """Printed width of a line of text in inches, in the type of `styled`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

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
        start = _shared(wide)
        end = min(_shared([name[::-1] for name in wide]), min(map(len, wide)) - start)
        differ = [name[start : len(name) - end] for name in wide]
        short = [elided(f"{'…' * bool(start)}{one}{'…' * bool(end)}", room) for one in differ]
    if len(set(short)) < len(wide):
        short = [f"{i} {elided(name, room - 0.15)}" for i, name in enumerate(wide, start=1)]
    return {name: name for name in each} | dict(zip(wide, short, strict=True))


def _shared(names: Sequence[str]) -> int:
    """Letters that all names begin with."""
    letters = zip(*names, strict=False)  # up to the end of the shortest
    return sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, letters))


def short_number(value: float, place: int | None = None) -> str:
    """A tick's number: 0.25, −3, 2 M."""
    small = f"{value + 0.0:.4g}".replace("-", "−")  # −0 is 0
    return small if abs(value) < 1e4 else three_digits(value)


def three_digits(value: float, unit: str = "") -> str:
    """A number with its unit: 98.3 k, 12.3 µJ."""
    from matplotlib.ticker import EngFormatter

    return str(EngFormatter(unit)(float(f"{value:.3g}")))


def energy_unit(most_pj: float) -> tuple[str, float]:
    """The unit in which the largest energy has one to three digits before the point, and the pJ in
    one of it.
    """
    step = int(np.clip(np.log10(max(most_pj, 1.0)) // 3, 0, 4))
    return ("pJ", "nJ", "µJ", "mJ", "J")[step], 1000.0**step


# --- checks and files


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


def save_pages(
    figures: Sequence[Any],
    path: str | Path,
    drawn: "DataFrame | Mapping[str, NDArray[Any]] | None" = None,
) -> list[Path]:
    """Write the pages as PNG, PDF or SVG by suffix, and beside them what they show: a frame as CSV,
    arrays as NAME.arrays.npz. All files appear, or none.

    One page is `path` itself, several are NAME-1, NAME-2, …; returns the pages and then the file of
    numbers. Raises `OutputError`.
    """
    target = Path(path)
    if target.suffix.lower() not in FIGURES:
        raise OutputError(
            f"cannot write {str(path)!r}: a figure is PNG, PDF or SVG; name a file that ends in "
            f"{', '.join(FIGURES)}"
        )
    pages = [target]
    if len(figures) > 1:
        pages = [target.with_stem(f"{target.stem}-{i + 1}") for i in range(len(figures))]
    undated: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    beside: list[Path] = []
    with styled(), ExitStack() as stack:
        if isinstance(drawn, Mapping):
            numbers: dict[str, Any] = dict(drawn)
            # A suffix of its own: NAME.npz may be the set that the figure was made from.
            beside.append(target.with_suffix(".arrays.npz"))
            np.savez_compressed(stack.enter_context(written_whole(beside[0])), **numbers)
        elif drawn is not None:
            beside.append(target.with_suffix(".csv"))
            file = stack.enter_context(written_whole(beside[0]))
            drawn.to_csv(file, index=False, lineterminator="\n")
        places = [stack.enter_context(written_whole(page)) for page in pages]
        for figure, place in zip(figures, places, strict=True):
            figure.savefig(place, metadata=undated.get(target.suffix.lower()))
    return [*pages, *beside]
