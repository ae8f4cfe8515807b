"""Figures; the only place that imports matplotlib and seaborn. Here: which ones the results of each
evaluation have.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ahsar_eval.errors import UsageError, close_to
from ahsar_eval.plots import ood
from ahsar_eval.plots.convergence import convergence
from ahsar_eval.plots.energy import ENERGY_FIGURES
from ahsar_eval.plots.pictures import raster
from ahsar_eval.plots.style import Drawn, save_pages
from ahsar_eval.plots.sweep import threshold_sweep
from ahsar_eval.results.results import Results

FIGURES: dict[str, Mapping[str, Callable[[Results], list[Drawn]]]] = {
    "ood": {
        "scores": ood.score_histograms,
        "roc": ood.roc,
        "severity": ood.severity_curves,
        "reliability": ood.reliability_diagrams,
        "risk-coverage": ood.risk_coverage_curves,
    },
    "energy": ENERGY_FIGURES,
    "sweep": {"threshold_sweep": threshold_sweep},
    "raster": {"raster": raster},
    "study": {"convergence": convergence},
}


def plot(results: Results, name: str = "", out: str | Path | None = None) -> Any:
    """Draw the figure `name`, or the first there is, and `save` it to `out` where that is given.

    Returns the first page as a matplotlib figure. Raises `UsageError` for a figure that these
    results do not have, `OutputError` where it cannot be written.
    """
    drawn = _drawn(results, name)
    if out is not None:
        _write(drawn, Path(out))
    return drawn[0][1][0]


def save(results: Results, out: str | Path, name: str = "") -> list[Path]:
    """Write the figure `name`, or the first there is, and beside it the numbers drawn; several, one
    for each score, are written as NAME-1, NAME-2, …. Returns the files. Raises as `plot`.
    """
    return _write(_drawn(results, name), Path(out))


def _drawn(results: Results, name: str) -> list[Drawn]:
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
    drawn = figures[name](results)
    if not drawn:
        raise UsageError(f"there is nothing to draw in the figure {name} of these results")
    return drawn


def _write(drawn: list[Drawn], out: Path) -> list[Path]:
    written: list[Path] = []
    for i, (_, pages, numbers) in enumerate(drawn):
        ending = f"-{i + 1}" if len(drawn) > 1 else ""
        written += save_pages(pages, out.with_stem(out.stem + ending), numbers)
    return written


def save_all(results: Results, folder: str | Path, form: str = "pdf") -> list[Path]:
    """Write every figure of the results, and beside each the numbers drawn, to `folder`; what there
    is nothing to draw for is left out. Returns the files. Raises `OutputError`.
    """
    return [
        file
        for draw in FIGURES.get(results.kind.name, {}).values()
        for stem, pages, numbers in draw(results)
        for file in save_pages(pages, Path(folder) / f"{stem}.{form}", numbers)
    ]
