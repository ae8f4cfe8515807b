"""The verb `report`, as `ahsar-eval report`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ahsar_eval.data import DataOptions
from ahsar_eval.evaluation.requests import ReportRequest
from ahsar_eval.evaluation.verbs import Networks, evaluated, not_of
from ahsar_eval.report import run
from ahsar_eval.report.page import Report, check_page


def report(
    networks: Networks,
    id: Any = None,
    ood: Any = None,
    *,
    out: str | Path | None = None,
    score: str | Sequence[str] = ("entropy",),
    options: DataOptions | None = None,
    **settings: Any,
) -> Report:
    """Everything about networks on one page, as `ahsar-eval report`: robustness, comparison,
    energy, spikes, samples, calibration, and what makes it again.

    `id`, `ood`, `score` and `settings` are as for `ood`; beside them `profile`, `traces`,
    `examples` and `title` of `ReportRequest`. With `out` the page is written there, and its JSON
    beside it.
    Raises kinds of `AhsarError`.
    """
    not_of("report", settings, "metrics", "by")
    if out is not None:
        check_page(Path(out))
    asked = {"scores": score, **settings}
    found = reported(lambda: evaluated(run, ReportRequest, networks, id, options, asked, ood, "id"))
    if out is not None:
        found.save(out)
    return found


def reported(make: Callable[[], run.Found]) -> Report:
    """The page of what `make` finds, with what is warned of on the way."""
    kept: list[str] = []
    with run.warnings_kept(kept):
        found = make()
    return Report(replace(found, warned=tuple(dict.fromkeys(kept))))
