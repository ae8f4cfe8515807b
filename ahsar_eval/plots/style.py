"""What all figures share: sizes for a paper, type, the look of each checkpoint, and files that
appear whole or not at all.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.errors import OutputError
from ahsar_eval.files import written_whole

if TYPE_CHECKING:
    from pandas import DataFrame

SINGLE_IN = 3.5  # widths of a paper's columns, inches
DOUBLE_IN = 7.16
TALLEST_IN = 9.0
TEXT_PT = 7.0
INK = "#222222"
PALE = "#b4b4b4"  # what others are compared with: ID samples, chance
SUFFIXES = (".png", ".pdf", ".svg")

# Of seaborn's colour-blind safe palette, first those whose lightness differs most: they must be
# told apart in grey, too.
_COLOURS = (0, 1, 2, 4, 3, 9, 5, 7)
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.4)), (0, (1, 1.1)), (0, (5, 1.4, 1, 1.4)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Look:
    """How one checkpoint is drawn in every figure: its colour, and the line and marker that tell it
    apart without colour.
    """

    colour: tuple[float, float, float]
    line: Any
    marker: str


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save within this: 7 pt type embedded as TrueType, thin lines, seaborn's ticks."""
    import matplotlib
    import seaborn as sns

    settings: Any = {
        # One family that comes with matplotlib: text measured here is as wide on every machine.
        "font.family": ["DejaVu Sans"],
        "font.size": TEXT_PT,
        "axes.labelsize": TEXT_PT,
        "axes.titlesize": TEXT_PT,
        "xtick.labelsize": TEXT_PT,
        "ytick.labelsize": TEXT_PT,
        "legend.fontsize": TEXT_PT,
        "legend.title_fontsize": TEXT_PT,
        "text.parse_math": False,  # names are the user's: a dollar sign is a dollar sign
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.1,
        "lines.markersize": 3.5,
        "hatch.linewidth": 0.5,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.0,
        "ytick.major.size": 2.0,
        "xtick.major.pad": 2.5,
        "ytick.major.pad": 1.5,
        "savefig.dpi": 300,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "ahsar-eval",  # the same figure is the same file
    }
    with matplotlib.rc_context(sns.axes_style("ticks") | settings):
        yield


@contextmanager
def embedded_type() -> Iterator[None]:
    """Save within this: text of a PDF is TrueType and text of an SVG is text. Matplotlib looks when
    it saves, not when it draws.
    """
    import matplotlib

    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        yield


def looks(checkpoints: Sequence[str]) -> dict[str, Look]:
    """A look for each checkpoint by its place; give every figure of a paper the same list and the
    looks agree.
    """
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    return {
        name: Look(
            tuple(palette[_COLOURS[place % len(_COLOURS)]]),
            _LINES[(place + place // 8) % len(_LINES)],
            _MARKERS[place % len(_MARKERS)],
        )
        for place, name in enumerate(checkpoints)
    }


def ordered(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """The names of `wanted`, then those of `present` that it lacks, each once."""
    return list(dict.fromkeys([*wanted, *present]))


def shades(colour: tuple[float, float, float], count: int) -> list[tuple[float, float, float]]:
    """`count` shades of one hue from light to dark."""
    found = []
    for place in range(count):
        toward = (
            -0.6 + 1.05 * place / (count - 1) if count > 1 else 0.0
        )  # below 0 toward white, above it toward black
        target = 1.0 if toward < 0 else 0.0
        red, green, blue = (part + (target - part) * abs(toward) for part in colour)
        found.append((red, green, blue))
    return found


def save_pages(figures: Sequence[Any], path: str | Path, table: "DataFrame") -> list[Path]:
    """Write the pages as PNG, PDF or SVG by suffix and what they show beside them as CSV; all files
    appear, or none.

    One page is `path` itself, several are NAME-1, NAME-2, …; returns the pages and then NAME.csv.
    Raises `OutputError`.
    """
    target = check_suffix(path)
    pages = (
        [target]
        if len(figures) == 1
        else [target.with_stem(f"{target.stem}-{number + 1}") for number in range(len(figures))]
    )
    beside = target.with_suffix(".csv")
    undated: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with styled(), ExitStack() as stack:
        temporary = [stack.enter_context(written_whole(one)) for one in (beside, *pages)]
        table.to_csv(temporary[0], index=False, lineterminator="\n")
        for figure, place in zip(figures, temporary[1:], strict=True):
            figure.savefig(place, metadata=undated.get(target.suffix.lower()))
    return [*pages, beside]


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
