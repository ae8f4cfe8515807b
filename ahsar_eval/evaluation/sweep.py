"""A trained checkpoint at many threshold scales: accuracy, NLL, rate, energy, AUROC, and rate, gate
and −∂r/∂θ of every layer.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ahsar_eval.data import (
    SampleSet,
    Split,
    check_distinct,
    expand_groups,
    open_splits,
    parse,
    split_of,
    training_sets_of,
)
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.errors import OutputError, UsageError
from ahsar_eval.evaluation.energy_request import chosen_profiles, scale_values
from ahsar_eval.evaluation.networks import load_networks
from ahsar_eval.evaluation.requests import NetworkOptions, SweepRequest, check_replicates
from ahsar_eval.evaluation.sets import (
    check_classes,
    check_named_once,
    named_or_given,
    set_notes,
    trained_on,
    warn_if_trained_on,
)
from ahsar_eval.evaluation.sweep_tables import SWEEP
from ahsar_eval.files import write_text
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import Checkpoint, mean_factor, replayed_scales
from ahsar_eval.ood import (
    Estimate,
    Evaluation,
    Resamples,
    evaluate,
    fit_scores,
    scored,
)
from ahsar_eval.process import progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import describe, key_of_parts, same_classes
from ahsar_eval.recording.gate import QUANTITIES, STEP, NetworkGate, check_gated, measure_gate
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

SWEPT_ON = ("test", "validation")
_SCORE = "entropy"


@dataclass(frozen=True)
class SweepPlan:
    """One network and every split it will see."""

    runner: Runner
    id_split: Split
    others: tuple[Split, ...]

    @property
    def splits(self) -> list[Split]:
        """Every split that is recorded for it."""
        return [self.id_split, *self.others]


def requested(request: SweepRequest) -> SweepRequest:
    """`request` with its profile opened and scales as numbers, checked as far as no network is
    needed. Raises `UsageError`.
    """
    scales = request.scales
    scales = scale_values(scales) if isinstance(scales, str) else tuple(sorted(scales))
    check_replicates(request.replicates)
    check_named_once(request.ood_names)
    (profile,) = chosen_profiles((request.profile,))
    return replace(request, scales=scales, profile=profile)


def planned(
    checkpoints: Sequence[str], request: SweepRequest, network: NetworkOptions
) -> tuple[list[SweepPlan], SweepRequest]:
    """A plan for each checkpoint by name, and the request with what was left open in it; whatever
    can be refused is refused here, before the first pass. Raises kinds of `AhsarError`.
    """
    name = request.data_name or None
    runners = load_networks(checkpoints, network, data_name=name, data=request.data)
    request = replace(request, data_name=name or trained_on(runners))
    return [plan(request, runner) for runner in runners], request


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
    if held_out:
        id_split = _hold_out(request, runner)
    else:
        id_split = named_or_given(request.data_name, request, runner)
    name = getattr(request.data_name, "name", request.data_name)
    check_classes(runner, id_split, name, "set")
    others = [
        split for one in request.ood_names for split in _compared(one, request, runner, id_split)
    ]
    check_distinct(id_split, others)
    check_gated(runner.network)
    warn_if_trained_on(runner, id_split)
    return SweepPlan(runner, id_split, tuple(others))


def _compared(
    given: str | SampleSet, request: SweepRequest, runner: Runner, id_split: Split
) -> list[Split]:
    """The sets that a name stands for; shifts of a hold-out are those of the same samples."""
    how = (request.seed, request.data)
    if isinstance(given, SampleSet):
        return [split_of(given, runner.view)]
    found: list[Split] = []
    for name in expand_groups((given,), str(request.data_name)):
        spec = parse(name)
        if request.on == "validation" and spec.name == request.data_name:
            found += [split_of(id_split.source, runner.view, *one, *how) for one in spec.variants]
        else:
            space = id_split.source.label_space
            found += open_splits(
                name, runner.view, seed=request.seed, options=request.data, id_space=space
            )
    return found


def check_plan(request: SweepRequest, spec: ModelSpec) -> None:
    """Refuse now what `plan` will refuse of a network of `spec` that is still to be trained. Raises
    as `plan`.
    """
    untrained = Checkpoint(spec=spec, weights=build(spec).backbone.state_dict(), homeostasis=None)
    plan(replace(request, on="test"), Runner(untrained))


def run(
    request: SweepRequest,
    plans: Sequence[SweepPlan],
    epochs: Sequence[Row] = (),
    trainings: Sequence[Mapping[str, Any]] = (),
) -> Results:
    """Record what is not recorded yet at every scale and at each network's own thresholds; a second
    call finds it all in the store.

    Records "point" (a network at one setting; `row` is "own" or "scale", and `own` marks the
    thresholds that it is used with, whose factors lie from `scale_low` to `scale_high` with mean
    `scale`), "layer" (each layer of each point) and the `epochs` of `trainings` that were made
    before. Accuracy and NLL are None without labels that mean what the network's classes do;
    `mean_rate` is spikes per neuron and step, the unweighted mean over layers.
    """
    points: list[Row] = []
    layers: list[Row] = []
    for planned in plans:
        runner = planned.runner
        own = list(replayed_scales(runner.checkpoint, runner.network).values())
        others = [one for one in sorted(request.scales) if {one} != set(own)]
        for scale in progress([None, *others], f"scales of {runner.checkpoint.name}", unit="scale"):
            at = runner if scale is None else runner.at_scale(scale)
            point = _point(request, planned, at, own if scale is None else [scale])
            gate = gate_on(at, planned.id_split)
            means = {name: gate.mean(name) for name in QUANTITIES}
            points.append({**point, **means, "gate_step": gate.step})
            of = {name: point[name] for name in ("checkpoint", "own", "scale")}
            for layer in gate.layers:
                numbers = {name: getattr(layer, name) for name in ("threshold", *QUANTITIES)}
                layers.append({"row": "layer", **of, "layer": layer.name, **numbers})
    facts = provenance(
        seed=request.seed,
        on=request.on,
        scales=list(request.scales),
        profile=request.profile.name,
        bootstrap_replicates=request.replicates,
        trainings=list(trainings),
        checkpoints=[_said_of(planned) for planned in plans],
    )
    records: dict[str, Sequence[Row]] = {
        "point": points,
        "layer": layers,
        "epoch": [{"row": "epoch", **row} for row in epochs],
    }
    said = set_notes([split for planned in plans for split in planned.splits])
    return Results(SWEEP, records, facts, said=said)


def _point(
    request: SweepRequest, planned: SweepPlan, runner: Runner, factors: list[float]
) -> dict[str, Any]:
    split, name, own = planned.id_split, runner.checkpoint.name, runner is planned.runner
    score = fit_scores([_SCORE])[_SCORE]
    recording = runner.recording(split)
    others = [runner.recording(other) for other in planned.others]
    sets = [scored(one, {_SCORE: score(one)}) for one in (recording, *others)]
    how = Evaluation(resamples=Resamples(request.replicates, request.seed))
    alone, *compared = evaluate(
        sets[0], sets[1:], how, checkpoint=name, thresholds=runner.thresholds
    )
    # Labels that are known and mean what the network's classes do.
    known = same_classes(runner.checkpoint.provenance, describe(split))
    found = alone.metrics if known else {}
    point = {
        "row": "own" if own else "scale",
        "checkpoint": name,
        "set": split.name,
        "role": split.source.role,
        "n": len(split),
        "own": own,
        "scale": mean_factor(factors),
        "scale_low": min(factors),
        "scale_high": max(factors),
        **_with_interval("accuracy", found.get("accuracy")),
        **_with_interval("nll", found.get("nll")),
        **_with_interval("mean_rate", alone.metrics["mean_rate"]),
        "energy_pj": estimate(recording, request.profile, checkpoint=name).total_energy_pj,
    }
    for row in compared:
        point |= _with_interval(f"auroc {row.ood}", row.metrics["auroc"])
    return point


def _with_interval(name: str, found: Estimate | None) -> dict[str, float | None]:
    value, low, high = (None, None, None) if found is None else (found.value, found.low, found.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _said_of(planned: SweepPlan) -> dict[str, Any]:
    """What the results say of a checkpoint and of its sets."""
    facts = {name: fact for name, fact in planned.runner.facts().items() if name != "ran"}
    sets = [describe(split) for split in planned.others]
    return {**facts, "id": describe(planned.id_split), "ood": sets}


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
            KeyError, OSError, ValueError, TypeError
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
