"""Figures; the only place that imports matplotlib and seaborn. Here: which ones the results of each
evaluation have.
"""

import pkgutil
from pathlib import Path
from typing import Any

from ahsar_eval.errors import UsageError, close_to
from ahsar_eval.files import table_beside
from ahsar_eval.results import ANIMATION
from ahsar_eval.results import FIGURES as FORMS
from ahsar_eval.results.results import Results

# Kind of results → name → function of results, whose module is imported for the first figure.
FIGURES = table_beside(__file__, "figures.toml")


def drawn(results: Results, name: str) -> list[Any]:
    """The figure `name` of these results, one for each score or profile; none where there is
    nothing to draw.
    """
    place = FIGURES[results.kind.name][name]
    return list(pkgutil.resolve_name(f"{__name__}.{place}")(results))


def plot(results: Results, name: str = "", out: str | Path | None = None) -> Any:
    """Draw the figure `name`, or the first there is, and `save` it to `out` where that is given.

    Returns the first page as a matplotlib figure. Raises `UsageError` for a figure that these
    results do not have, `OutputError` where it cannot be written.
    """
    animated = out is not None and _is_animation(results, out)
    found = _found(results, name)
    if out is not None:
        _ = save(results, out) if animated else _write(found, Path(out))
    return found[0].pages[0]


def save(results: Results, out: str | Path, name: str = "") -> list[Path]:
    """Write the figure `name`, or the first there is, and beside it the numbers drawn; several, one
    for each score, are written as NAME-1, NAME-2, …. Of a raster .gif is its animation. Returns the
    files. Raises as `plot`.
    """
    if not _is_animation(results, out):
        return _write(_found(results, name), Path(out))
    from ahsar_eval.plots.animation import save_animation

    return save_animation(results, out)


def _is_animation(results: Results, out: str | Path) -> bool:
    """Whether `out` is a GIF. Raises `UsageError` where these results have no animation."""
    if Path(out).suffix.lower() != ANIMATION:
        return False
    if results.kind.name != "raster":
        raise UsageError(
            f"{str(out)!r} is a GIF, and results of {results.kind.name} have no animation, which "
            f"a raster has; name a file that ends in {', '.join(FORMS)}"
        )
    return True


def _found(results: Results, name: str) -> list[Any]:
    kind, figures = results.kind.name, FIGURES.get(results.kind.name, {})
    if not figures:
        raise UsageError(
            f"results of {kind} have no figure; known are those of {', '.join(FIGURES)}"
        )
    name = name or next(iter(figures))
    if name not in figures:
        raise UsageError(
            f"results of {kind} have no figure {name!r}{close_to(name, figures)}; known are "
            f"{', '.join(figures)}"
        )
    found = drawn(results, name)
    if not found:
        raise UsageError(f"there is nothing to draw in the figure {name} of these results")
    return found


def _write(found: list[Any], out: Path) -> list[Path]:
    written: list[Path] = []
    for i, figure in enumerate(found):
        ending = f"-{i + 1}" if len(found) > 1 else ""
        written += figure.save(out.with_stem(out.stem + ending))
    return written


def save_all(results: Results, folder: str | Path, form: str = "pdf") -> list[Path]:
    """Write every figure of the results, and beside each the numbers drawn, to `folder`; what there
    is nothing to draw for is left out. Returns the files. Raises `OutputError`.
    """
    return [
        file
        for name in FIGURES.get(results.kind.name, {})
        for figure in drawn(results, name)
        for file in figure.save(Path(folder) / f"{figure.stem}.{form}")
    ]
