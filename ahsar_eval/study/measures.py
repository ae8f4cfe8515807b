"""What a study measures of a checkpoint: the numbers of `ahsar-eval ood` and `ahsar-eval energy`,
without their intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ahsar_eval.data import SETS, DataOptions, parse
from ahsar_eval.data.catalogue import FILE_SETS, open_set
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.errors import DataError
from ahsar_eval.evaluation import ood as evaluation
from ahsar_eval.homeostasis import Homeostasis
from ahsar_eval.homeostasis.dynamics import saturated_fraction, scale_of
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint
from ahsar_eval.ood import fit_scores, scored, separation
from ahsar_eval.ood.calibration import outcomes
from ahsar_eval.ood.scored import ScoredSet, labels_correspond, on_images_of
from ahsar_eval.recording.runner import Runner

SCORE = "entropy"  # paper 5.2
PROFILE = "45nm-fp32"
SEED = 0  # of the shifts: every cell meets the same shifted samples


@dataclass(frozen=True)
class Measures:
    """`own` for the set the network knows, `others` for each other set in the order given:
    JSON-ready, as a cell's result holds them.
    """

    modality: str  # rgb or event
    own: dict[str, Any]
    others: list[dict[str, Any]]
    identities: dict[str, str]  # of the splits, by name


def check_sets_are_there(names: Sequence[str], options: DataOptions) -> None:
    """Refuse sets whose files are not below the data root, without reading them: known before the
    training, not after it.

    Raises `DataError`.
    """
    for text in names:
        name = parse(text).name
        kind, _, path = name.partition(":")
        if kind in FILE_SETS:
            if not Path(path).expanduser().exists():
                raise DataError(f"{name} is not there; check the path")
        elif not (
            SETS[name].is_there(options.root) or (options.download and SETS[name].can_download)
        ):
            raise DataError(
                f"{name} is not complete in {options.root}; ahsar-eval data info {name} says what "
                "to place there"
            )


def check_test_set_is_apart(name: str, options: DataOptions) -> None:
    """Refuse a set without a test split of its own, as one undivided folder is; the test split is
    not opened. Raises `DataError`.
    """
    if open_set(name, "train", options).role == "all":
        raise DataError(
            f"{name} is not divided into training and test samples, so that a network would be "
            "tested on what it was trained on; "
            "name a set that is (ahsar-eval data list)"
        )


def measure(
    file: Path,
    data: str,
    ood: Sequence[str],
    options: DataOptions,
    *,
    device: str = "cpu",
    model: str | None = None,
) -> Measures:
    """Everything a study asks of the checkpoint `file` on the test split of `data` and on the sets
    `ood`.

    Every number is that of `ahsar-eval ood` and `ahsar-eval energy` with their defaults; no
    recording is kept. `model` names the code of a user's own network. Raises `DataError` and
    `UsageError`.
    """
    runner = Runner(load_checkpoint(file), model=model, device=device)
    planned = evaluation.plan(
        evaluation.Request(data, tuple(ood), scores=(SCORE,), seed=SEED, data=options), runner
    )
    score = fit_scores([SCORE])[SCORE]
    recording = runner.recording(planned.id_split)
    own = scored(recording, {SCORE: score(recording)})
    judged = outcomes(own.logits, own.labels)
    energy = estimate(
        recording,
        profile_of(PROFILE),
        checkpoint=runner.checkpoint.name,
        thresholds=runner.thresholds,
        label_space=runner.checkpoint.provenance.get("label_space"),
    )
    others = []
    for split in planned.others:
        passed = runner.recording(split)
        others.append(_separated(own, on_images_of(own, scored(passed, {SCORE: score(passed)}))))
    return Measures(
        modality="event" if planned.id_split.modality == "events" else "rgb",
        own={
            "set": own.name,
            "n": len(own),
            "accuracy": float(judged.correct.mean()),
            "nll": float(judged.negative_log_likelihood.mean()),
            "mean_rate": float(own.rates.mean()),
            "rates": {layer.name: recording.rate(layer) for layer in recording.layers},
            "energy_nj": energy.total_energy_pj / 1000,
            "synops": energy.total_acs,
        },
        others=others,
        identities={split.name: split.identity for split in (planned.id_split, *planned.others)},
    )


def _separated(own: ScoredSet, other: ScoredSet) -> dict[str, Any]:
    found = separation(own.scores[SCORE], other.scores[SCORE])
    judged = outcomes(other.logits, other.labels) if labels_correspond(other, own) else None
    return {
        "set": other.name,
        "kind": "shift" if other.images.key == own.images.key else "other",
        "n": len(other),
        "auroc": found.auroc,
        "fpr95": found.fpr_at_tpr,
        "accuracy": None if judged is None else float(judged.correct.mean()),
    }


def controller_of(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """What the checkpoint's controller had come to, by unit; None where there is none."""
    held: Homeostasis | None = checkpoint.homeostasis
    if held is None:
        return None
    return {
        "gain": held.state.gain.gain,
        "scale": dict(
            zip(held.units, scale_of(held.state.state, held.params).tolist(), strict=True)
        ),
        "ema_scale": dict(zip(held.units, held.state.ema_scale.tolist(), strict=True)),
        "saturated_fraction": saturated_fraction(held.state.state, held.params),
    }
