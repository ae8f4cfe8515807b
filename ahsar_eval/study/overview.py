"""What a study would do, and what of it is done, as text."""

import functools
import json
import math
from collections import Counter
from collections.abc import Sequence

from ahsar_eval.data import DataOptions, training_sets
from ahsar_eval.errors import AhsarError
from ahsar_eval.results.tables import text_table
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.grid import Cell, Study
from ahsar_eval.training.loop import epoch_samples
from ahsar_eval.training.request import TrainingRequest


def overview(
    study: Study, cells: Sequence[Cell], data: DataOptions, folder: StudyFolder | None = None
) -> str:
    """Cells by axis, sets, steps of a training, and with a `folder` what is done there; opens
    training sets, trains nothing.
    """
    parts = [
        f"{study.name}: {len(cells)} cells, a training and its evaluation each, {study.threads} "
        f"thread{'s' * (study.threads > 1)}."
    ]
    rows = []
    for axis in study.axes:
        counted = Counter(_shown(getattr(cell.request, axis)) for cell in cells)
        rows += [
            [axis if place == 0 else "", value, str(count)]
            for place, (value, count) in enumerate(counted.items())
        ]
    if rows:
        parts.append(text_table(["axis", "value", "cells"], rows))
    trained = [
        [text, cost, str(count)] for (text, cost), count in Counter(_costs(cells, data)).items()
    ]
    parts.append(text_table(["training", "steps", "cells"], trained))
    others = {cell.request.data: ", ".join(cell.ood) or "nothing else" for cell in cells}
    parts.append(
        "\n".join(
            f"{name} is evaluated on its test split and on: {listed}."
            for name, listed in others.items()
        )
    )
    if folder is not None:
        parts.append(_progress(cells, folder))
    return "\n\n".join(parts)


def steps_of(request: TrainingRequest, samples: int) -> int:
    """Optimisation steps of a training on `samples` samples."""
    return request.epochs * math.ceil(
        epoch_samples(samples, request.batch_size) / request.batch_size
    )


def _costs(cells: Sequence[Cell], data: DataOptions) -> list[tuple[str, str]]:
    @functools.cache
    def samples(name: str, hold_out: float, part: int | None) -> int | str:
        try:
            return len(training_sets(name, hold_out=hold_out, samples=part, options=data)[0])
        except AhsarError as error:
            return f"unknown: {error}"

    found = []
    for cell in cells:
        request = cell.request
        count = samples(request.data, request.hold_out, request.samples)
        what = f"{request.data}, batch {request.batch_size}, {request.epochs} epochs"
        if isinstance(count, int):
            found.append((f"{what}, {count:,} samples", f"{steps_of(request, count):,}"))
        else:
            found.append((what, count))
    return found


def _progress(cells: Sequence[Cell], folder: StudyFolder) -> str:
    done = [cell for cell in cells if folder.result(cell.key) is not None]
    holders = {cell: folder.holder(cell.key) for cell in cells if cell not in done}
    failed = {
        cell: error
        for cell in cells
        if cell not in done and (error := folder.failure(cell.key)) is not None
    }
    running = {cell: holder for cell, holder in holders.items() if holder is not None}
    left = len(cells) - len(done) - len({*failed, *running})
    lines = [
        f"{folder.root}: {len(done)} done, {len(running)} running, {len(failed)} failed, {left} "
        "left."
    ]
    lines += [f"running: {cell} ({cell.key}), {holder}" for cell, holder in running.items()]
    lines += [f"failed: {cell} ({cell.key}): {error}" for cell, error in failed.items()]
    return "\n".join(lines)


def _shown(value: object) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)
