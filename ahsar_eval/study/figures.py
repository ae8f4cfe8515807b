"""The figure of a study: how its trainings converge, from the histories of their seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.plots.convergence import Convergence, save_convergence
from ahsar_eval.plots.panels import Band
from ahsar_eval.study.claims import BEST_FIXED, best_fixed
from ahsar_eval.study.endpoints import column
from ahsar_eval.study.matching import AHSAR, BASELINE, FROZEN, Matched, matched, names_of, title_of
from ahsar_eval.study.results import CellResult


def save_study_figures(
    results: Sequence[CellResult], folder: Path, form: str = "pdf"
) -> list[Path]:
    """Write convergence.`form` (pdf, png or svg) and its points as CSV to `folder`; returns the
    paths. Raises `OutputError`.

    Nothing is written where no method of the figure has a result.
    """
    courses = convergence_courses(results)
    return (
        save_convergence(
            courses, Path(folder) / f"convergence.{form}", methods=course_order(results)
        )
        if courses
        else []
    )


def convergence_courses(results: Sequence[CellResult]) -> list[Convergence]:
    """A course for the baseline, AHSAR, frozen and the best fixed factor of every combination:
    means and ranges over seeds.

    Where AHSAR has several settings, each is drawn. Raises `DataError` where seeds of a method have
    other steps, or there is nothing.
    """
    study = matched(results)
    names, courses = names_of(study.combinations, short=True), []
    for combination in study.combinations:
        best = best_fixed(study, combination)
        wanted = {
            BASELINE: BASELINE,
            **{name: title_of(name) for name in study.methods if study.bases[name] == AHSAR},
            FROZEN: FROZEN,
        }
        lines = [(title, name) for name, title in wanted.items()]
        if best is not None and best != BASELINE:
            lines.append((BEST_FIXED, best))
        for title, method in lines:
            seeds = study.seeds(combination, method)
            if seeds:
                courses.append(_course(title, names[combination], seeds))
    return courses


def course_order(results: Sequence[CellResult]) -> list[str]:
    """The order that decides how courses look: the same for a study that is still running as for
    the whole.
    """
    study: Matched = matched(results)
    return [
        BASELINE,
        title_of(AHSAR),
        FROZEN,
        BEST_FIXED,
        *(title_of(name) for name in study.methods if study.bases[name] == AHSAR),
    ]


def _course(title: str, panel: str, seeds: Mapping[int, CellResult]) -> Convergence:
    each = [column(result, "steps") for result in seeds.values()]
    if any(not np.array_equal(steps, each[0]) for steps in each):
        raise DataError(
            f"{title} on {panel} has seeds with other numbers of optimisation steps; draw studies "
            "of one length"
        )
    ends = each[0]
    middles = ends - np.diff(ends, prepend=0.0) / 2
    bands = []
    for name in ("train_loss", "validation_loss"):
        values = np.stack([column(result, name) for result in seeds.values()])
        nothing = np.full(len(ends), np.nan)
        bands.append(
            Band(
                values.mean(0),
                *((values.min(0), values.max(0)) if len(values) > 1 else (nothing, nothing)),
            )
        )
    return Convergence(title, panel, middles, bands[0], ends, bands[1])
