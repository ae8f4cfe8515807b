"""Text cut to the room it has: names are the user's and as long as they like."""

from collections.abc import Sequence
from functools import lru_cache

from ahsar_eval.plots.style import TEXT_PT


@lru_cache(maxsize=4096)
def text_width(text: str) -> float:
    """Printed width of a line of text in inches, in the type of `styled`."""
    from matplotlib.textpath import TextPath

    return (
        float(TextPath((0, 0), text, size=TEXT_PT).get_extents().width) / 72
        if text.strip()
        else 0.0
    )


def elided(text: str, room: float) -> str:
    """The text, its middle left out where it is wider than `room` inches: names differ at their
    ends.
    """
    text = " ".join(text.split())
    if text_width(text) <= room:
        return text
    low, high = (
        1,
        len(text),
    )  # characters kept: `low` fits (or is the least there is), `high` does not
    while high - low > 1:
        kept = (low + high) // 2
        low, high = (kept, high) if text_width(_shortened(text, kept)) <= room else (low, kept)
    return _shortened(text, low)


def _shortened(text: str, kept: int) -> str:
    return text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]


def in_two_lines(text: str, room: float) -> str:
    """The text broken before its unit where it is wider than `room` inches, each line `elided`."""
    if text_width(text) <= room:
        return text
    first, bracket, unit = text.partition(" (")
    return "\n".join(elided(part, room) for part in (first, "(" + unit if bracket else "") if part)


def elided_names(names: Sequence[str], room: float) -> dict[str, str]:
    """Each name with its `elided` form; where two would read the same, with what they do not share,
    and last of all numbered.
    """
    each = list(dict.fromkeys(names))
    short = [elided(name, room) for name in each]
    if len(set(short)) < len(each):
        start = _shared(each)
        end = min(_shared([name[::-1] for name in each]), min(map(len, each)) - start)
        short = [
            elided("…" * bool(start) + name[start : len(name) - end] + "…" * bool(end), room)
            for name in each
        ]
    if len(set(short)) < len(each):
        short = [
            f"{number} {elided(name, room - 0.15)}" for number, name in enumerate(each, start=1)
        ]
    return dict(zip(each, short, strict=True))


def _shared(names: Sequence[str]) -> int:
    """Letters that all names begin with."""
    letters = zip(*names, strict=False)  # up to the end of the shortest
    return next(
        (place for place, those in enumerate(letters) if len(set(those)) > 1), min(map(len, names))
    )
