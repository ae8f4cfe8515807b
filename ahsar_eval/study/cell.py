"""One cell, from names to numbers: trained, saved, read again and evaluated. Runs wherever the
package is installed.
"""

import functools
import json
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ahsar_eval.data import DataOptions
from ahsar_eval.errors import AhsarError, AhsarWarning, DataError
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.provenance import code_digest, provenance
from ahsar_eval.study.folder import CHECKPOINT, SOURCE
from ahsar_eval.study.job import Ended, Failure, Job
from ahsar_eval.study.measures import (
    check_sets_are_there,
    check_test_set_is_apart,
    controller_of,
    measure,
)
from ahsar_eval.study.results import FORMAT, VERSION
from ahsar_eval.training.files import TrainingFiles, train_to_file
from ahsar_eval.training.history import read_history
from ahsar_eval.training.request import TrainingRequest, prepare


def attempt(job: Job, folder: Path) -> Ended:
    """Run a job in `folder`; an error becomes a failure that can be reported."""
    try:
        result = run_cell(job, folder)
        _check_finite(result)
        return Ended(job.key, result=result)
    except AhsarError as error:
        return Ended(job.key, failure=Failure(" ".join(str(error).split()), type(error).__name__))
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Ended(job.key, failure=Failure(said, type(error).__name__, traceback.format_exc()))


def run_cell(job: Job, folder: Path) -> dict[str, Any]:
    """Train, save to `folder` and evaluate; gives the cell's result, JSON-ready.

    A training that was stopped continues from what it left in `folder`, one that had ended is not
    repeated. The test split is opened when the training is over. Raises what `prepare`, `train` and
    `measure` raise.
    """
    torch.set_num_threads(job.threads)
    request = TrainingRequest.from_dict(job.request)
    options = _first_of(job.data)
    check_sets_are_there((request.data, *job.ood), options)
    folder.mkdir(parents=True, exist_ok=True)
    files = TrainingFiles(folder / CHECKPOINT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", AhsarWarning)
        if files.resume.is_file() or not files.checkpoint.is_file():
            check_test_set_is_apart(request.data, options)
            _train(request, job, files, options)
        started = time.perf_counter()
        model = request.backbone if ":" in request.backbone else None
        found = measure(
            files.checkpoint, request.data, job.ood, options, device=request.device, model=model
        )
    seconds = time.perf_counter() - started
    checkpoint = load_checkpoint(files.checkpoint)
    # Read from the file in any case, so that a cell evaluated after a restart has the same numbers.
    history = read_history(files.history)
    trained = checkpoint.provenance
    return {
        "format": FORMAT,
        "version": VERSION,
        "key": job.key,
        "study": job.study,
        "request": request.to_dict(),
        "threads": job.threads,
        "modality": found.modality,
        "history": history,
        "best_epoch": trained["best_epoch"],
        "n_train": trained["n_train"],
        "n_validation": trained["n_validation"],
        "id": found.own,
        "ood": found.others,
        "controller": controller_of(checkpoint),
        "seconds": {
            "training": round(sum(row["seconds"] for row in history), 3),
            "evaluation": round(seconds, 3),
        },
        "provenance": provenance(
            code=code_digest(),
            checkpoint=replace(
                checkpoint, sha256=""
            ).identity,  # of its content: the file also holds the time of day
            train_identity=trained["train_identity"],
            validation_identity=trained["validation_identity"],
            evaluated=found.identities,
            layer_scales=dict(checkpoint.layer_scales),
            warnings=list(dict.fromkeys(" ".join(str(one.message).split()) for one in caught)),
        )
        | {"command": job.command},
    }


def _check_finite(result: dict[str, Any]) -> None:
    try:
        json.dumps(result, allow_nan=False)
    except ValueError:
        raise DataError(
            "a number of the result is not finite, as after a training that diverged; lower the "
            "learning rate"
        ) from None


def _train(request: TrainingRequest, job: Job, files: TrainingFiles, options: DataOptions) -> None:
    if job.source is None:
        train_to_file(prepare(request, options), files.checkpoint)
        return
    source = files.checkpoint.parent / SOURCE
    source.write_bytes(job.source)
    prepared = prepare(replace(request, method=f"frozen:{source}"), options)
    # By the method's name in the grid: where the source's file lay says nothing, and differs from
    # machine to machine.
    method = replace(prepared.recipe.method, name=request.method)
    prepared = replace(prepared, request=request, recipe=replace(prepared.recipe, method=method))
    train_to_file(prepared, files.checkpoint)
    source.unlink()


@functools.lru_cache(maxsize=1)
def _first_of(options: DataOptions) -> DataOptions:
    """The first of equal options that this process met: the sets opened with them stay open for the
    next cell.
    """
    return options
