"""What all figures share: type and colours, checks of what is drawn, and files that appear whole or
not at all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError, OutputError
from ahsar_eval.files import written_whole

if TYPE_CHECKING:
    from pandas import DataFrame

SINGLE_IN = 3.5  # widths of a paper's columns, inches
DOUBLE_IN = 7.16
TALLEST_IN = 9.0
TEXT_PT = 7.0
INK = "#262626"  # seaborn's, of axes and text
PALE = "#b4b4b4"  # what others are compared with: ID samples, chance
SUFFIXES = (".png", ".pdf", ".svg")

# Of seaborn's colour-blind safe palette, first those whose lightness differs most: they must be
# told apart in grey, too.
_COLOURS = (0, 1, 2, 4, 3, 9, 5, 7)
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.4)), (0, (1, 1.1)), (0, (5, 1.4, 1, 1.4)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

Colour = tuple[float, float, float]


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
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "ahsar-eval",  # the same figure is the same file
    }
    with matplotlib.style.context(sns.axes_style("ticks") | settings, after_reset=True):
        yield


def looks(checkpoints: Sequence[str]) -> dict[str, Look]:
    """A look for each checkpoint by its place; give every figure of a paper the same list and the
    looks agree.
    """
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    return {
        name: Look(
            tuple(palette[_COLOURS[i % len(_COLOURS)]]),
            _LINES[(i + i // 8) % len(_LINES)],
            _MARKERS[i % len(_MARKERS)],
        )
        for i, name in enumerate(dict.fromkeys(checkpoints))
    }


def shades(colour: Colour, count: int) -> list[Colour]:
    """`count` shades of one hue from light to dark."""
    import seaborn as sns

    if count == 1:
        return [colour]
    light = [1 - 0.4 * (1 - part) for part in colour]
    return list(sns.blend_palette([light, colour, [0.55 * part for part in colour]], count))


def vectors(
    what: str, arrays: Mapping[str, ArrayLike], *, least: int = 1, gaps: bool = False
) -> list[NDArray[np.float64]]:
    """The arrays as float64 vectors of one length ≥ `least`. Raises `DataError`, also for NaN
    (unless `gaps`) and infinity.
    """
    found = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    shapes = {array.shape for array in found.values()}
    if len(shapes) > 1 or any(array.ndim != 1 or len(array) < least for array in found.values()):
        told = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
        raise DataError(f"{what} has {told}; expected vectors of one length of at least {least}")
    for name, array in found.items():
        wrong = np.isinf(array) if gaps else ~np.isfinite(array)
        if wrong.any():
            raise DataError(
                f"{what} has {array[wrong][0]} in {name} at {int(np.flatnonzero(wrong)[0])}; "
                "expected finite numbers"
            )
    return list(found.values())


def drawable(kind: str, panels: Sequence[Any], keys: Iterable[tuple[str, ...]]) -> None:
    """That there is something to draw, and each thing once. Raises `DataError`."""
    if not panels:
        raise DataError(f"there is no {kind} to draw; give at least one")
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise DataError(f"the {kind} of {' on '.join(repeated[0])} was given twice; give it once")


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
    target = check_suffix(path)
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


def check_suffix(path: str | Path) -> Path:
    """The path of a figure that can be written. Raises `OutputError` for a suffix other than .png,
    .pdf and .svg.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"cannot write {str(path)!r}: a figure is PNG, PDF or SVG; name a file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    return target
