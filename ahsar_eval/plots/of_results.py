"""Which figures the results of each evaluation have."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.plots import ood
from ahsar_eval.plots.convergence import convergence
from ahsar_eval.plots.energy import ENERGY_FIGURES
from ahsar_eval.plots.raster import raster
from ahsar_eval.plots.style import save_pages
from ahsar_eval.plots.sweep import threshold_sweep
from ahsar_eval.results.results import Results

# Files without suffix, pages, and the numbers drawn; none where there is nothing to draw.
Drawn = list[tuple[str, Any, Any]]

FIGURES: dict[str, Mapping[str, Callable[[Results], Drawn]]] = {
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
    """Draw the figure `name`, or the first there is, and write it and the numbers drawn to `out`
    where that is given; several, one for each score, are written as NAME-1, NAME-2, ….

    Returns the first page as a matplotlib figure. Raises `UsageError` for a figure that these
    results do not have, `OutputError` where it cannot be written.
    """
    figures = FIGURES.get(results.kind.name, {})
    name = name or next(iter(figures), "")
    drawn = figures[name](results) if name in figures else []
    if not drawn:
        raise UsageError(
            f"these results have no figure {name!r}; results of {results.kind.name} may have "
            f"{', '.join(figures) or 'none'}"
        )
    if out is not None:
        for i, (_, pages, numbers) in enumerate(drawn):
            ending = f"-{i + 1}" if len(drawn) > 1 else ""
            save_pages(pages, Path(out).with_stem(Path(out).stem + ending), numbers)
    return drawn[0][1][0]


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
