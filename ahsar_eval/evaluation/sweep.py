"""A trained checkpoint at many threshold scales: accuracy, NLL, rate, energy, AUROC, and rate, gate
and −∂r/∂θ of every layer.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ahsar_eval.data import (
    DataOptions,
    Split,
    check_distinct,
    expand_groups,
    open_split,
    open_splits,
    parse,
    split_of,
    training_sets_of,
)
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.errors import DataError, OutputError, RecordingError, UsageError
from ahsar_eval.files import write_text
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import Checkpoint, mean_factor, replayed_scales
from ahsar_eval.ood import (
    Estimate,
    Evaluation,
    Fitting,
    Resamples,
    Row,
    evaluate,
    fit_scores,
    scored,
)
from ahsar_eval.progress import progress
from ahsar_eval.recording import key_of_parts
from ahsar_eval.recording.gate import STEP, NetworkGate, check_gated, measure_gate
from ahsar_eval.recording.runner import Runner

SWEPT_ON = ("test", "validation")
_SCORE = "entropy"


@dataclass(frozen=True)
class SweepRequest:
    """What is asked of every checkpoint: a set, threshold scales, OOD sets, prices.

    `on` is "test", or "validation": the samples that the checkpoint's own training held out.
    `replicates` is B of the bootstrap.
    """

    data_name: str
    scales: tuple[float, ...]
    profile: Profile
    ood_names: tuple[str, ...] = ()
    on: str = "test"
    seed: int = 0
    replicates: int = 1000
    data: DataOptions = field(default_factory=DataOptions)


@dataclass(frozen=True)
class SweepPlan:
    """One network and every split it will see."""

    runner: Runner
    id_split: Split
    others: tuple[Split, ...]


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """One network at one setting of its thresholds: factors on its base thresholds from `low` to
    `high`, `scale` their mean over layers.

    `own` marks the thresholds that the network is used with. `rate` is spikes per neuron and step,
    the unweighted mean over layers; `auroc` has predictive entropy's for each OOD set. Accuracy and
    NLL are None without labels that mean what the network's classes do.
    """

    checkpoint: str
    scale: float
    low: float
    high: float
    own: bool
    accuracy: Estimate | None
    nll: Estimate | None
    rate: Estimate
    energy_pj: float
    auroc: Mapping[str, Estimate]
    gate: NetworkGate

    @property
    def is_uniform(self) -> bool:
        """Whether one factor stands on every layer."""
        return self.low == self.high


@dataclass(frozen=True, eq=False)
class NetworkSweep:
    """What one network gave: `points` at one factor each, ascending, and its `own` working point,
    which is one of them where it has a single factor.
    """

    plan: SweepPlan
    points: tuple[SweepPoint, ...]
    own: SweepPoint


def plan(request: SweepRequest, runner: Runner) -> SweepPlan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass.

    Raises `DataError` and `UsageError`.
    """
    if runner.scale is not None:
        raise UsageError(
            f"a sweep starts from a network's own thresholds, and {runner.checkpoint.name} was "
            "given a scale; leave it out"
        )
    if request.on not in SWEPT_ON:
        raise UsageError(
            f"a sweep on {request.on!r} is not known; expected {' or '.join(SWEPT_ON)}"
        )
    held_out = request.on == "validation"
    id_split = (
        _hold_out(request, runner)
        if held_out
        else open_split(request.data_name, runner.view, seed=request.seed, options=request.data)
    )
    classes = runner.checkpoint.spec.classes
    if id_split.source.classes and len(id_split.source.classes) != classes:
        raise DataError(
            f"{runner.checkpoint.name} tells {classes} classes apart and {request.data_name} has "
            f"{len(id_split.source.classes)}; "
            "choose the set it was trained on"
        )
    others: list[Split] = []
    for name in expand_groups(request.ood_names, request.data_name):
        spec = parse(name)
        if (
            held_out and spec.name == request.data_name
        ):  # its shifts are those of the samples that it is compared with
            source = id_split.source
            found = [
                split_of(source, runner.view, shift, severity, request.seed, request.data)
                for shift, severity in spec.variants
            ]
        else:
            found = open_splits(
                name,
                runner.view,
                seed=request.seed,
                options=request.data,
                id_space=id_split.source.label_space,
            )
        others += found
    check_distinct(id_split, others)
    check_gated(runner.network)
    return SweepPlan(runner, id_split, tuple(others))


def check_plan(request: SweepRequest, spec: ModelSpec) -> None:
    """Refuse now what `plan` will refuse of a network of `spec` that is still to be trained. Raises
    as `plan`.
    """
    untrained = Checkpoint(spec=spec, weights=build(spec).backbone.state_dict(), homeostasis=None)
    plan(replace(request, on="test"), Runner(untrained))


def run(request: SweepRequest, planned: SweepPlan) -> NetworkSweep:
    """Record what is not recorded yet at every scale and at the network's own thresholds; a second
    call finds it all in the store.
    """
    factors = list(replayed_scales(planned.runner.checkpoint, planned.runner.network).values())
    own = _point(request, planned, planned.runner, factors, own=True)
    points = [own] if own.is_uniform else []
    for scale in progress(
        request.scales, f"scales of {planned.runner.checkpoint.name}", unit="scale"
    ):
        if not own.is_uniform or scale != own.scale:
            points.append(_point(request, planned, planned.runner.at_scale(scale), [scale]))
    return NetworkSweep(planned, tuple(sorted(points, key=lambda point: point.scale)), own)


def _point(
    request: SweepRequest,
    planned: SweepPlan,
    runner: Runner,
    factors: list[float],
    *,
    own: bool = False,
) -> SweepPoint:
    score = fit_scores([_SCORE], Fitting())[_SCORE]
    recording = runner.recording(planned.id_split)
    sets = [
        scored(one, {_SCORE: score(one)})
        for one in (recording, *(runner.recording(split) for split in planned.others))
    ]
    how = Evaluation(resamples=Resamples(request.replicates, request.seed))
    alone, *compared = evaluate(
        sets[0], sets[1:], how, checkpoint=runner.checkpoint.name, thresholds=runner.thresholds
    )
    return SweepPoint(
        checkpoint=runner.checkpoint.name,
        scale=mean_factor(factors),
        low=min(factors),
        high=max(factors),
        own=own,
        accuracy=_of_classes(alone, "accuracy", runner, planned.id_split.source.label_space),
        nll=_of_classes(alone, "nll", runner, planned.id_split.source.label_space),
        rate=alone.metrics["mean_rate"],
        energy_pj=estimate(
            recording, request.profile, checkpoint=runner.checkpoint.name
        ).total_energy_pj,
        auroc={row.ood: row.metrics["auroc"] for row in compared},
        gate=gate_on(runner, planned.id_split),
    )


def _of_classes(row: Row, metric: str, runner: Runner, label_space: str) -> Estimate | None:
    """A metric of labels where they are known and mean what the network's classes do."""
    known = runner.checkpoint.provenance.get("label_space")
    return row.metrics.get(metric) if known in (None, label_space) else None


def gate_on(runner: Runner, split: Split) -> NetworkGate:
    """Rate, gate and −∂r/∂θ on `split`, from the recordings' folder where the same was measured
    before.
    """
    store = runner.store
    file = (
        None
        if store.folder is None
        else store.folder
        / f"{key_of_parts({'recording': runner.key(split), 'gate': STEP})}.gate.json"
    )
    if file is not None and file.is_file():
        with contextlib.suppress(
            RecordingError, OSError, ValueError, TypeError
        ):  # a damaged file is as good as none
            return NetworkGate.from_dict(json.loads(file.read_text(encoding="utf-8")))
    measured = measure_gate(
        runner.network, split, batch_size=runner.batch_size, device=runner.device
    )
    if file is not None:
        with contextlib.suppress(OutputError):  # the store has said so already
            write_text(file, json.dumps(measured.to_dict()))
    return measured


def _hold_out(request: SweepRequest, runner: Runner) -> Split:
    """The samples that the checkpoint's training held out. Raises `UsageError` where it does not
    say which those were.
    """
    facts = runner.checkpoint.provenance
    _, validation = training_sets_of(facts, request.data_name, request.data)
    split = split_of(validation, runner.view)
    if facts.get("validation_identity") != split.identity:
        raise UsageError(
            f"{runner.checkpoint.name} does not say that its training held out these samples of "
            f"{request.data_name}; sweep it on the test "
            "set, or name the set it was trained on"
        )
    return split
