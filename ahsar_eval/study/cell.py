"""One cell, from names to numbers: trained, saved, read again and evaluated. Runs wherever the
package is installed.

What is measured of a checkpoint are the numbers of `ahsar-eval ood` and `ahsar-eval energy`,
without their intervals.
"""

import functools
import json
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ahsar_eval.data import SETS, DataOptions, parse
from ahsar_eval.data.catalogue import FILE_SETS, open_set, roles_of
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.errors import AhsarError, AhsarWarning, DataError
from ahsar_eval.evaluation import ood as evaluation
from ahsar_eval.evaluation.requests import Request
from ahsar_eval.homeostasis import Homeostasis
from ahsar_eval.homeostasis.dynamics import saturated_fraction
from ahsar_eval.networks.checkpoints import load_checkpoint
from ahsar_eval.provenance import code_digest, provenance
from ahsar_eval.recording import Recording, RecordingStore
from ahsar_eval.recording.runner import Runner
from ahsar_eval.study.folder import CHECKPOINT, SOURCE
from ahsar_eval.study.workers import Ended, Job
from ahsar_eval.training.files import TrainingFiles, read_history
from ahsar_eval.training.loop import train_to_file
from ahsar_eval.training.request import TrainingRequest, prepare

SCORE = "entropy"  # paper 5.2
PROFILE = "45nm-fp32"
SEED = 0  # of the shifts: every cell meets the same shifted samples


def attempt(job: Job, folder: Path) -> Ended:
    """Run a job in `folder`; an error becomes a failure that can be reported."""
    try:
        result = run_cell(job, folder)
        try:
            json.dumps(result, allow_nan=False)
        except ValueError:
            raise DataError(
                "a number of the result is not finite, as after a training that diverged; lower "
                "the learning rate"
            ) from None
        return Ended(result=result)
    except Exception as error:
        failure = {"error": " ".join(str(error).split()), "kind": type(error).__name__}
        if not isinstance(error, AhsarError):
            failure["error"] = f"{failure['kind']}: {failure['error']}"
            failure["traceback"] = traceback.format_exc()
        return Ended(failure=failure)


def run_cell(job: Job, folder: Path) -> dict[str, Any]:
    """Train, save to `folder` and evaluate; gives what the cell's result says beside the request,
    JSON-ready.

    A training that was stopped continues from what it left in `folder`, one that had ended is not
    repeated. The test split is opened when the training is over. Raises what `prepare`, `train` and
    `measure` raise.
    """
    torch.set_num_threads(job.cell.threads)
    request, options = job.cell.request, _first_of(job.data)
    check_sets_are_there((request.data, *job.cell.ood), options)
    folder.mkdir(parents=True, exist_ok=True)
    files = TrainingFiles(folder / CHECKPOINT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", AhsarWarning)
        if files.resume.is_file() or not files.checkpoint.is_file():
            _train(job, files, options)
        started = time.perf_counter()
        found = measure(files.checkpoint, request, job.cell.ood, options)
    seconds = time.perf_counter() - started
    # Read from the file in any case, so that a cell evaluated after a restart has the same numbers.
    history = read_history(files.history)
    checkpoint = load_checkpoint(files.checkpoint)
    trained = checkpoint.provenance
    # Identity of its content: the file also holds the time of day.
    identity = replace(checkpoint, sha256="").identity
    said = dict.fromkeys(" ".join(str(one.message).split()) for one in caught)
    origin = provenance(
        code=code_digest(),
        checkpoint=identity,
        train_identity=trained["train_identity"],
        validation_identity=trained["validation_identity"],
        evaluated=found.pop("identities"),
        layer_scales=dict(checkpoint.layer_scales),
        warnings=list(said),
    )
    training = sum(row["seconds"] for row in history)
    return {
        "study": job.study,
        "history": history,
        **{name: trained[name] for name in ("best_epoch", "n_train", "n_validation")},
        **found,
        "controller": _controller(checkpoint.homeostasis),
        "seconds": {"training": round(training, 3), "evaluation": round(seconds, 3)},
        "provenance": {**origin, "command": job.command},
    }


def check_sets_are_there(names: Sequence[str], options: DataOptions) -> None:
    """Refuse sets whose files are not below the data root, without reading them: known before the
    training, not after it.

    Raises `DataError`.
    """
    for text in names:
        name = parse(text).name
        kind, _, path = name.partition(":")
        if kind == "tonic":
            roles_of(name)
        elif kind in FILE_SETS:
            if not Path(path).expanduser().exists():
                raise DataError(f"{name} is not there; check the path")
        elif not (
            SETS[name].is_there(options.root) or (options.download and SETS[name].can_download)
        ):
            raise DataError(
                f"{name} is not complete in {options.root}; ahsar-eval data info {name} says what "
                "to place there"
            )


def _train(job: Job, files: TrainingFiles, options: DataOptions) -> None:
    """Raises `DataError` for a set without a test split of its own, as one undivided folder is; the
    test split is not opened.
    """
    request = job.cell.request
    if open_set(request.data, "train", options).role == "all":
        raise DataError(
            f"{request.data} is not divided into training and test samples, so that a network "
            "would be tested on what it was trained on; name a set that is (ahsar-eval data list)"
        )
    source = files.checkpoint.with_name(SOURCE)
    if job.source is not None:
        source.write_bytes(job.source)
    frozen = source if job.source else None
    train_to_file(prepare(request, options, frozen=frozen), files.checkpoint)
    source.unlink(missing_ok=True)


def measure(
    file: Path, request: TrainingRequest, ood: Sequence[str], options: DataOptions
) -> dict[str, Any]:
    """Everything a study asks of the checkpoint `file`, trained as `request` says, on the test
    split of its set ("id") and on the sets `ood`.

    Every number is that of `ahsar-eval ood` and `ahsar-eval energy` with their defaults; no
    recording is kept. Raises `DataError` and `UsageError`.
    """
    asked = Request(
        request.data, tuple(ood), scores=(SCORE,), seed=SEED, intervals=False, data=options
    )
    checkpoint = load_checkpoint(file)
    model = request.backbone if checkpoint.spec.is_user_network else None
    runner = Runner(checkpoint, model=model, device=request.device, store=_InMemory())
    planned = evaluation.plan(asked, runner)
    own, *others = evaluation.run(asked, planned).rows
    recording = runner.recording(planned.id_split)
    energy = estimate(recording, profile_of(PROFILE), checkpoint=runner.checkpoint.name).row
    splits = (planned.id_split, *planned.others)
    return {
        "modality": "event" if planned.id_split.modality == "events" else "rgb",
        "id": {
            "set": own.ood,
            "n": own.n_id,
            **{name: own.metrics[name].value for name in ("accuracy", "nll", "mean_rate")},
            "rates": {layer.name: recording.rate(layer) for layer in recording.layers},
            "energy_nj": energy["total_energy_pj"] / 1000,
            "synops": energy["total_acs"],
        },
        "ood": [
            {
                "set": row.ood,
                "kind": "shift" if row.same_images else "other",
                "n": row.n_ood,
                "auroc": row.metrics["auroc"].value,
                "fpr95": row.metrics["fpr_at_tpr"].value,
                "accuracy": row.metrics["accuracy"].value if "accuracy" in row.metrics else None,
            }
            for row in others
        ],
        "identities": {split.name: split.identity for split in splits},
    }


class _InMemory(RecordingStore):
    """Recordings of one cell; none of them is written."""

    def __init__(self) -> None:
        super().__init__(None)
        self.kept: dict[str, Recording] = {}

    def find(self, key: str) -> Recording | None:
        return self.kept.get(key)

    def keep(self, key: str, recording: Recording) -> None:
        self.kept[key] = recording


def _controller(held: Homeostasis | None) -> dict[str, Any] | None:
    """What a checkpoint's controller had come to, by unit; None where there is none."""
    if held is None:
        return None
    told = held.to_dict()
    return {
        "gain": held.gain.gain,
        **{name: dict(zip(held.units, told[name], strict=True)) for name in ("scale", "ema_scale")},
        "saturated_fraction": saturated_fraction(held.state, held.params),
    }


@functools.lru_cache(maxsize=1)
def _first_of(options: DataOptions) -> DataOptions:
    """The first of equal options that this process met: the sets opened with them stay open for the
    next cell.
    """
    return options
