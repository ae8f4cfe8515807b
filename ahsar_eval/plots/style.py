"""What all figures share: type and colours, names and numbers cut to their room, checks of what is
drawn, and files that appear whole or not at all.
"""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from itertools import cycle
from operator import itemgetter
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import matplotlib.style
import numpy as np
import seaborn as sns
from matplotlib.colors import to_hex
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

OTHERS = ("#332288", "#cc6677", "#117733", "#88ccee", "#882255", "#999933")  # not of networks

# Of seaborn's colour-blind safe palette, first those whose lightness differs most: they must be
# told apart in grey, too. Each method has the colour of its place.
_COLOURS = (0, 1, 2, 4, 3, 9, 5, 7)
_METHODS = ("baseline", "ahsar", "frozen", "fixed", "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain")
_SAID = re.compile(  # fixed:0.8, best fixed factor, frozen:ahsar, AHSAR(no RT), …-ahsar-2.pt
    r"(?<![a-z0-9])(baseline|frozen|fixed|ahsar(?:[^a-z0-9]no[^a-z0-9](?:rt|dh|gain))?)"
    r"(?:[:_ -]?[\d.]+|:ahsar\S*| factor|\))?(?:\.pt)?$"
)
_HASHED = range(2, 7)  # neither those of the pair nor grey
_SHADES = 3
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


def looks(names: Iterable[str]) -> Looks:
    """A look for each name, the same in every figure and whatever the order of the names.

    The last part of a name that says how a network was trained gives its colour, else a hash of
    the name. Of two that would look the same, the first in sorted order keeps its colour: a second
    and third network of one method are a darker and a lighter shade of it, others take the next
    colour. "NAME (…)", the network NAME with other thresholds, is a shade of NAME's colour. Lines
    and markers differ, too.
    """
    each = list(dict.fromkeys(names))
    palette = sns.color_palette("colorblind")
    places = _places({parted(name)[0] for name in each})
    lines, markers, variants = Counter[int](), Counter[int](), Counter[str]()
    found: Looks = {}
    for name in sorted(each, key=lambda name: (_order(parted(name)[0]), name)):
        network, _ = parted(name)
        slot, shade = places[network]
        variant = 0 if name == network else variants[network] + 1
        variants[network] = variant
        colour = _shade(_shade(palette[_COLOURS[slot]], shade, 0.55), variant, 0.7)
        found[name] = {
            # Matplotlib leaves labels that begin with an underscore out of legends; nobody sees the
            # sign before it.
            "label": UNSEEN * name.startswith("_") + name,
            "color": colour,
            "linestyle": _LINES[_least_used(lines, slot + variant, len(_LINES))],
            "marker": _MARKERS[_least_used(markers, slot + variant, len(_MARKERS))],
        }
    return {name: found[name] for name in each}


def parted(name: str) -> tuple[str, str]:
    """The network of "NAME (thresholds)", and "(thresholds)" or ""."""
    found = re.fullmatch(r"(.*\S) (\([^()]*\))", name, re.DOTALL)
    return (found[1], found[2]) if found else (name, "")


def _method(network: str) -> str:
    """Which of `_METHODS` the last part of a name says, or ""."""
    found = _SAID.search(network.lower())
    return re.sub(r"[^a-z]+", "-", found[1]) if found else ""


def _order(network: str) -> tuple[bool, str]:
    """Methods choose their colours first, then networks of other names."""
    return not _method(network), network


def _places(networks: Iterable[str]) -> dict[str, tuple[int, int]]:
    """The colour (index in `_COLOURS`) and the shade of it that each network has."""
    places: dict[str, tuple[int, int]] = {}
    for network in sorted(networks, key=_order):
        method, count = _method(network), len(_COLOURS)
        slot = _METHODS.index(method) if method else _HASHED[crc32(network.encode()) % len(_HASHED)]
        near = [(slot, shade) for shade in range(_SHADES if method else 0)]
        others = (((slot + k) % count, shade) for shade in range(_SHADES) for k in range(count))
        free = (place for place in (*near, *others) if place not in places.values())
        places[network] = next(free, (slot, 0))
    return places


def _shade(colour: Colour, i: int, part: float) -> Colour:
    """The colour itself, `part` of it over black, `part` of it over white, and again."""
    part = part if i % _SHADES else 1.0
    ground = 1 - part if i % _SHADES == 2 else 0.0
    red, green, blue = (ground + part * each for each in colour)
    return red, green, blue


def _least_used(used: Counter[int], start: int, count: int) -> int:
    """The first of `count` from `start` on that was used least, counted as used."""
    i = min(((start + k) % count for k in range(count)), key=used.__getitem__)
    used[i] += 1
    return i


def other_looks(names: Iterable[str]) -> Looks:
    """A look by its place for each of what is no network: statistics, quantities. Their colours
    are not those of networks.
    """
    return {
        name: {"label": name, "color": colour, "linestyle": line, "marker": marker}
        for name, colour, line, marker in zip(names, OTHERS, cycle(_LINES), _MARKERS, strict=False)
    }


def shades(colour: Colour, count: int) -> list[Colour]:
    """`count` shades of one hue from light to dark."""
    if count == 1:
        return [colour]
    light = [1 - 0.4 * (1 - part) for part in colour]
    return list(sns.blend_palette([light, colour, [0.55 * part for part in colour]], count))


def colours(names: Iterable[str]) -> dict[str, str]:
    """The colour of each network's `looks` as #rrggbb."""
    return {name: to_hex(look["color"]) for name, look in looks(names).items()}


def rate_colours(count: int) -> list[int]:
    """The colours of rate maps from none to the most, red, green and blue of each in 0 … 255."""
    colours = matplotlib.colormaps["magma"](np.linspace(0, 1, count))[:, :3]
    return [round(255 * part) for part in colours.ravel().tolist()]


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


def samples_said(sets: Iterable[tuple[str, int]], kind: str = "set") -> str:
    """Of which sets, and of how many samples, a figure is: set digits, n = 200."""
    each = list(dict.fromkeys(sets))
    if len(each) > 2:
        return f"{len(each)} {kind}s, n = {number_range(n for _, n in each)}"
    return "; ".join(f"{kind} {elided(name, 1.5)}, n = {n}" for name, n in each)


def number_range(numbers: Iterable[int]) -> str:
    """The ends of several numbers: 100 to 200."""
    ends = sorted(set(numbers))
    return str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"


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
