"""A whole OOD evaluation: which sets and scores, what is fitted on what, one recording per network
and set, rows from all of them.

Shared by the commands `ood` and `compare`; `ahsar_eval.ood` holds the statistics and sees no
network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ahsar_eval.data import SHIFTS, SampleSet, Split, group_of, parse, split_of, training_sets_of
from ahsar_eval.data.catalogue import USER_SETS, open_set, roles_of
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.evaluation.adapting import (
    REGULATED_SIGNAL,
    adapted_facts,
    adapting_notes,
    effort_notes,
    regulates,
)
from ahsar_eval.evaluation.inputs import (
    Plan,
    expanded,
    listed_ways,
    own_split,
    plan_of,
    set_notes,
)
from ahsar_eval.evaluation.ood_tables import OOD, range_of
from ahsar_eval.evaluation.requests import Request, check_once, check_replicates, listed_names
from ahsar_eval.evaluation.requirements import check_sets, checked, gated
from ahsar_eval.ood import (
    SCORES,
    Evaluation,
    Resamples,
    Row,
    ScoredSet,
    ScoreFunction,
    evaluate,
    fit_scores,
    needs_of,
    outcomes,
    scored,
    with_corruption_errors,
    with_means,
)
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import Recording, describe
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results

# The 15 corruptions of the benchmark, and all 19 with those its authors meant for validation
# (Hendrycks and Dietterich 2019).
CORRUPTIONS = {
    "15 corruptions": tuple(
        name
        for name, shift in SHIFTS.own.items()
        if shift.family in ("noise", "blur", "weather", "digital")
    ),
    "19 corruptions": tuple(name for name, shift in SHIFTS.own.items() if shift.family != "ours"),
}
PROFILE = "45nm-fp32"  # prices what adaptation changes
Asked = TypeVar("Asked", bound=Request)


@dataclass(frozen=True)
class NetworkResult:
    """What one network gave: the rows, and the scored sets for figures; `plan` names the scores
    that it has, and why others were left out. Where adaptation is asked for, `costs` holds the
    energy of an inference on each set, and how far the network adapted to it.
    """

    plan: Plan
    rows: tuple[Row, ...]
    id_set: ScoredSet
    others: tuple[ScoredSet, ...]
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def requested(request: Asked) -> Asked:
    """`request` with near and far expanded and the scores of "all" named. Raises `UsageError` and
    `DataError` for sets that are not known.
    """
    if not request.ood_names:
        raise UsageError("no OOD set was named; give at least one with --ood")
    check_once(request.ood_names, "OOD set")
    one_pass = [name for name, score in SCORES.items() if not score.second_pass]
    scores = listed_names(request.scores, one_pass, "score", " but odin") or ("entropy",)
    held = request.data_name if isinstance(request.data_name, SampleSet) else None
    known = str(request.id_space or getattr(held, "name", request.data_name))
    names = expanded(request.ood_names, known)
    for one in (request.data_name, *names):
        if isinstance(one, str):
            parse(one, held)
    checked(request, ("ood",))
    everything = "all" in map(str.strip, request.scores)
    return replace(request, ood_names=names, scores=scores, optional=everything)


def check(request: Request) -> None:
    """Raises `DataError` for an unknown score, `UsageError` for settings that give no interval."""
    needs_of(request.scores)
    check_once(request.scores, "score")
    stepping = [name for name in request.scores if SCORES[name].second_pass]
    if stepping and listed_ways(request.adapt):
        raise UsageError(
            f"{stepping[0]} steps against the gradient of one fixed network, and --adapt changes "
            "the network with its samples; leave one of the two out"
        )
    if request.fit_name is not None and not any(SCORES[n].fitted_on for n in request.scores):
        raise UsageError(
            f"--fit {request.fit_name} says what scores are fitted on, and none of these is "
            "fitted; leave it out"
        )
    if not 0 < request.tpr < 1:
        raise UsageError(
            f"the TPR is {request.tpr:g}; expected a number between 0 and 1, such as 0.95"
        )
    check_replicates(request.replicates)
    if not 0 <= request.seed < 2**31:
        raise UsageError(
            f"the seed is {request.seed}; expected a whole number from 0 to 2147483647"
        )


def statistics_of(request: Request) -> Evaluation:
    """TPR and bootstrap; all networks meet the same draws."""
    replicates = request.replicates if request.intervals else 0
    by_class = "class" in request.by
    return Evaluation(request.tpr, Resamples(replicates, request.seed), by_class=by_class)


def plan(request: Request, runner: Runner) -> Plan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass. A score that cannot be fitted is left out where the request says
    so; never is anything of a test split fitted on.

    Raises `DataError` and `UsageError`.
    """
    check(request)
    id_split = own_split(request, runner)
    space = request.id_space or id_split.source.label_space
    made = plan_of(request, runner, id_split, request.ood_names, space)
    check_sets(checked(request, ("ood",)), made, space)
    scores, left_out = list(request.scores), []
    fitting: dict[str, Split] = {}
    for part in ("training", "validation"):
        needing = [name for name in scores if SCORES[name].fitted_on == part]
        if not needing:
            continue
        try:
            found = _set_to_fit(part, needing, request, runner, made.splits)
            fitting[part] = split_of(found, runner.view)
        except (DataError, UsageError) as error:
            if not request.optional:
                raise
            left_out.append(_left_out(needing, runner, error))
            scores = [name for name in scores if name not in needing]
    return replace(made, scores=tuple(scores), fitting=fitting, left_out=tuple(left_out))


def _left_out(names: Sequence[str], runner: Runner, error: Exception) -> str:
    return f"Left out for {runner.checkpoint.name}, {', '.join(names)}: {error}."


def _set_to_fit(
    part: str, names: Sequence[str], request: Request, runner: Runner, evaluated: Sequence[Split]
) -> SampleSet:
    """The set that the scores `names` are fitted on: "training", or "validation", what the
    network's training held out of it; none of the `evaluated`.
    """
    fitted = " and ".join(names)
    given = isinstance(request.data_name, SampleSet)
    own = request.data_name.name if given else parse(request.data_name).name
    name = request.fit_name or own
    if request.fit_name is None and (
        given or name.partition(":")[0] in USER_SETS or "train" not in roles_of(name)
    ):
        raise UsageError(
            f"{fitted} must be fitted on training data, and {name} has no training split; name a "
            "set with --fit"
        )
    if parse(name).variants != ((None, 0),):
        raise UsageError(f"--fit {name} names a shift; scores are fitted on a set as it is")
    facts = runner.checkpoint.provenance
    training = open_set(name, "train", request.data)
    known, held_out = facts.get("train_set_identity"), False
    if known and len(training) and (training.labels >= 0).all():
        rest, validation = training_sets_of(facts, name, request.data)
        # Only a training that is known to have held out these samples makes them a validation set
        # of this network.
        held_out = (
            known == rest.identity
            or facts.get("train_identity") == split_of(rest, runner.view).identity
        )
        training = rest if held_out else training
    for source in (split.source for split in evaluated):
        own_samples = source.identity in (training.identity, training.origin)
        if own_samples or source.origin == training.identity:
            raise UsageError(
                f"{fitted} must not be fitted on {source.name}, a set that is evaluated; name "
                "other data with --fit"
            )
    if part == "training":
        return training
    if not held_out:
        raise UsageError(
            f"{fitted} is fitted on samples held out of the training, and "
            f"{runner.checkpoint.name} does not say which those of {name} were; leave it out, or "
            "use a checkpoint that ahsar-eval train made on that set"
        )
    return validation


def run(
    request: Request,
    planned: Plan,
    traced: Sequence[int] = (0,),
    seen: Callable[[Split, Recording], None] | None = None,
) -> NetworkResult:
    """Record what is not recorded yet, score it and compare it. One pass over each set serves all
    scores but those that say otherwise. What scores are fitted on is recorded without adaptation; a
    stream without reset begins with the ID set.

    Of the ID set's samples `traced` all spikes are kept: `raster` then draws the same pass.
    Every recording that is scored is also `seen`, which is how others take from it what they need.
    """
    runner, needs = planned.runner, needs_of(planned.scores)
    runner.left = None
    plain = runner.adapted(None) if runner.adaptation else runner
    fitting = {
        part: plain.recording(split, extras=needs.extras if part == "training" else ())
        for part, split in planned.fitting.items()
    }
    scorers: dict[str, ScoreFunction] = {}
    left_out = list(planned.left_out)
    for name in planned.scores:
        try:
            if SCORES[name].over_time and not runner.network.gives_steps:
                raise DataError(
                    f"{name} is taken over time steps, and {runner.checkpoint.name} gives one "
                    "output for all of them, a sum or mean over time; choose another score"
                )
            scorers |= fit_scores([name], fitting)
        except DataError as error:
            if not request.optional:
                raise
            left_out.append(_left_out([name], runner, error))
    space = request.id_space or planned.id_split.source.label_space

    costs: dict[str, Mapping[str, Any]] = {}

    def scored_set(split: Split, trace: tuple[int, ...] = ()) -> ScoredSet:
        recording = runner.recording(split, trace=trace, extras=needs.extras)
        if seen is not None:
            seen(split, recording)
        perturbed = runner.recording(runner.perturbed(split)) if needs.second_pass else recording
        values = {
            name: score(perturbed if name in needs.second_pass else recording)
            for name, score in scorers.items()
        }
        if listed_ways(request.adapt):
            priced = estimate(recording, profile_of(PROFILE), checkpoint=runner.checkpoint.name)
            energy = {"energy_pj": priced.row["total_energy_pj"], "profile": PROFILE}
            costs[split.name] = energy | adapted_facts(recording)
        group = group_of(split.source.name, space) if split.shift is None else ""
        return scored(recording, values, group)

    id_set = scored_set(planned.id_split, trace=tuple(traced))
    others = tuple(scored_set(split) for split in planned.others)
    rows = evaluate(
        id_set,
        others,
        statistics_of(request),
        checkpoint=runner.checkpoint.name,
        thresholds=runner.thresholds,
    )
    done = replace(planned, scores=tuple(scorers), left_out=tuple(left_out))
    return NetworkResult(done, tuple(rows), id_set, others, costs)


def evaluation(request: Request, plans: Sequence[Plan]) -> Results:
    """Run what was planned for every network.

    Arrays are named label/set/score and, where all labels are known and correspond,
    label/set/confidence and label/set/correct, [N] each. Raises `UsageError` where the baseline is
    none of the networks.
    """
    reference = reference_of(request.baseline, plans)  # refused now, not when all is recorded
    return results_of(request, [run(request, one) for one in plans], reference)


def results_of(
    request: Request, networks: Sequence[NetworkResult], reference: tuple[str, str] | None = None
) -> Results:
    """What was found of all networks together, as `evaluation` gives it."""
    plans = [network.plan for network in networks]
    rows, notes = summarised(networks, reference)
    severities = {row.ood: row.severity for row in rows if row.kind == "set"}
    arrays: dict[str, Any] = {}
    for network in networks:
        judged = {row.ood for row in network.rows if "accuracy" in row.metrics}
        for some in (network.id_set, *network.others):
            found: dict[str, Any] = dict(some.scores)
            if some.name in judged and (some.labels >= 0).all():
                judgement = outcomes(some.logits, some.labels)
                found |= {"confidence": judgement.confidence, "correct": judgement.correct}
            label = f"{network.rows[0].label}/{some.name}"
            arrays |= {f"{label}/{name}": values for name, values in found.items()}
    lists = {"rows": ("set", "class"), "means": ("mean",), "id": ("id",)}
    records = {
        name: [record_of(row, severities) for row in rows if row.kind in kinds]
        for name, kinds in lists.items()
    }
    if listed_ways(request.adapt):
        records["test_time"] = [one for network in networks for one in cost_records(network)]
    results = Results(
        OOD,
        records,
        provenance_of(request, plans),
        said=[*notes, *network_notes(networks), *set_notes(plans)],
        by=request.by,
        arrays=arrays,
    )
    return gated(results, request)


def cost_records(network: NetworkResult) -> list[dict[str, Any]]:
    """Accuracy, mean rate and energy of a network on every set, and how far it adapted to it."""
    first = network.rows[0].score
    found = []
    for row in network.rows:
        if row.kind in ("id", "set") and row.score == first:
            told = row.to_dict()
            facts = ("checkpoint", "thresholds", "id", "ood", "shift", "severity")
            of_set = "" if row.kind == "id" else "_ood"
            metrics = {
                f"{name}{end}": told[f"{name}{of_set}{end}"]
                for name in ("accuracy", "mean_rate")
                for end in ("", "_low", "_high")
            }
            named = {name: told[name] for name in facts} | {"set": row.set_name}
            n = row.n_ood or row.n_id
            found.append({"label": row.label, **named, "n": n, **metrics, **network.costs[row.ood]})
    return found


def network_notes(networks: Sequence[NetworkResult]) -> list[str]:
    """What adapts, how far each network did, and what regulation does to detection."""
    plans = [network.plan for network in networks]
    efforts = [note for one in networks for note in effort_notes(one.rows[0].label, one.costs)]
    return [*adapting_notes(plans), *efforts, *([REGULATED_SIGNAL] if regulates(plans) else [])]


def record_of(row: Row, severities: Mapping[str, int]) -> dict[str, Any]:
    """A comparison as a flat record; a mean over one shift says over which severities."""
    own = [severities[name] for name in row.members] if row.shift is not None else []
    return {
        **row.to_dict(),
        "label": row.label,
        "set": row.set_name,
        "labels_preserved": row.labels_preserved,
        "severities": range_of(own) if own else None,
    }


def provenance_of(request: Request, plans: Sequence[Plan]) -> dict[str, Any]:
    """Settings, checkpoints with their hashes, every split with its identity, versions, command."""
    return provenance(
        seed=request.seed,
        scores=list(request.scores),
        tpr=request.tpr,
        bootstrap_replicates=request.replicates if request.intervals else 0,
        checkpoints=[
            {
                **plan.facts("id", "ood"),
                "scores": list(plan.scores),
                "fitted_on": [describe(one) for one in plan.fitting.values()],
            }
            for plan in plans
        ],
    )


def summarised(
    results: Sequence[NetworkResult], reference: tuple[str, str] | None = None
) -> tuple[list[Row], list[str]]:
    """All rows with their means and corruption errors, those relative to `reference` (a checkpoint
    and its thresholds); and notes of what was fitted on which split, and what left out.
    """
    rows = with_means([row for result in results for row in result.rows])
    found, notes = with_corruption_errors(rows, CORRUPTIONS, reference)
    if reference and not any("relative_corruption_error" in row.metrics for row in found):
        notes.append(
            f"Nothing is relative to {reference[0]}: that takes all severities of the 15 "
            "corruptions of the ID set, and another checkpoint."
        )
    plans = [result.plan for result in results]
    fitted = []
    for plan in plans:
        for part, split in plan.fitting.items():
            names = [name for name in plan.scores if SCORES[name].fitted_on == part]
            if names:
                fitted.append(
                    f"{', '.join(names)}: fitted on {split.name} ({split.source.role}, "
                    f"{len(split)} samples)."
                )
    left_out = [note for plan in plans for note in plan.left_out]
    return found, [*dict.fromkeys(fitted), *left_out, *notes]


def reference_of(baseline: str | None, plans: Sequence[Plan]) -> tuple[str, str] | None:
    """Name and thresholds of the checkpoint `baseline`. Raises `UsageError` where it is none of
    those planned.
    """
    if baseline is None:
        return None
    thresholds = {
        plan.runner.checkpoint.name: plan.runner.thresholds
        for plan in plans
        if plan.runner.adaptation is None
    }
    if baseline not in thresholds:
        raise UsageError(
            f"the baseline {baseline} is none of the checkpoints; expected one of "
            f"{', '.join(thresholds)}"
        )
    return baseline, thresholds[baseline]
