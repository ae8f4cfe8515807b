"""A whole OOD evaluation: which sets and scores, what is fitted on what, one recording per network
and set, rows from all of them.

Shared by the commands `ood` and `compare`; `ahsar_eval.ood` holds the statistics and sees no
network.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ahsar_eval.data import (
    EVENT_SHIFTS,
    SHIFTS,
    EventSet,
    SampleSet,
    Split,
    check_distinct,
    expand_groups,
    group_of,
    open_splits,
    parse,
    split_of,
    training_sets_of,
)
from ahsar_eval.data.catalogue import FILE_SETS, SETS, open_set
from ahsar_eval.errors import DataError, UsageError, close_to
from ahsar_eval.evaluation.networks import load_networks
from ahsar_eval.evaluation.ood_tables import OOD, range_of
from ahsar_eval.evaluation.requests import (
    NetworkOptions,
    Request,
    Thresholds,
    check_replicates,
)
from ahsar_eval.evaluation.sets import (
    check_classes,
    check_named_once,
    named_or_given,
    set_notes,
    trained_on,
    warn_if_trained_on,
)
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
from ahsar_eval.recording import describe
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results

ALL_SCORES = "all"
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


def requested(request: Request) -> Request:
    """`request` with near and far expanded and the scores of "all" named, checked as far as no
    network is needed. Raises `UsageError` and `DataError`.
    """
    if not request.ood_names:
        raise UsageError("no OOD set was named; give at least one with --ood")
    check_named_once(request.ood_names)
    scores = [name.strip() for text in request.scores for name in text.split(",")]
    everything = ALL_SCORES in scores
    if everything:
        if len(scores) > 1:
            raise UsageError("--score all stands for every score but odin; name no other beside it")
        scores = [name for name, score in SCORES.items() if not score.second_pass]
    others: list[str | SampleSet] = []
    for one in request.ood_names:
        own = getattr(request.id_name, "name", request.id_name)
        known = str(request.id_space or own)
        others += expand_groups((one,), known) if isinstance(one, str) else [one]
    others = [one for i, one in enumerate(others) if not _is_in(one, others[:i])]
    for text in (request.id_name, *others):
        if isinstance(text, str) and not _is_shift_of(text, request.id_name):
            parse(text)
    asked = replace(
        request,
        ood_names=tuple(others),
        scores=tuple(scores) or ("entropy",),
        optional=everything,
    )
    check(asked)
    return asked


def _is_in(name: str | SampleSet, others: Sequence[str | SampleSet]) -> bool:
    return isinstance(name, str) and any(isinstance(one, str) and one == name for one in others)


def check(request: Request) -> None:
    """Raises `DataError` for an unknown score, `UsageError` for settings that give no interval."""
    needs_of(request.scores)
    for name in request.scores:
        if request.scores.count(name) > 1:
            raise UsageError(f"the score {name} was named twice; name it once")
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


def _space_of(request: Request, id_split: Split) -> str:
    """Whose classes the ID set has: what was said, else its own label space."""
    return request.id_space or id_split.source.label_space


def statistics_of(request: Request) -> Evaluation:
    """TPR and bootstrap; one for all networks, which meet the same draws."""
    replicates = request.replicates if request.intervals else 0
    return _statistics(request.tpr, replicates, request.seed, request.by_class)


@functools.lru_cache(maxsize=1)
def _statistics(tpr: float, replicates: int, seed: int, by_class: bool) -> Evaluation:
    return Evaluation(tpr, Resamples(replicates, seed), by_class=by_class)


def _is_shift_of(text: str, given: str | SampleSet) -> bool:
    """Whether `text` is a shift of a set in memory, such as "id:fog:3"."""
    return isinstance(given, SampleSet) and text.startswith(f"{given.name}:")


@dataclass(frozen=True)
class Plan:
    """One network, its scores and the splits it will see; `training` and `validation` only where a
    score is fitted on them.

    `left_out` says which scores were asked for and cannot be had, and why.
    """

    runner: Runner
    id_split: Split
    others: tuple[Split, ...]
    scores: tuple[str, ...]
    training: Split | None = None
    validation: Split | None = None
    left_out: tuple[str, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """What decides its results beside how the network runs and on which splits, JSON-ready."""
        return {"scores": self.scores, "left_out": self.left_out}

    @property
    def splits(self) -> list[Split]:
        """Every split that is recorded for it."""
        return [
            split
            for split in (self.id_split, *self.others, self.training, self.validation)
            if split is not None
        ]


@dataclass(frozen=True)
class NetworkResult:
    """What one network gave: the rows, and the scored sets for figures; `plan` names the scores
    that it has.
    """

    plan: Plan
    rows: tuple[Row, ...]
    id_set: ScoredSet
    others: tuple[ScoredSet, ...]
    left_out: tuple[str, ...] = ()


def plan(request: Request, runner: Runner) -> Plan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass.

    Raises `DataError` and `UsageError`.
    """
    check(request)
    id_split = named_or_given(request.id_name, request, runner)
    check_classes(runner, id_split, id_split.name, "ID set")
    space = _space_of(request, id_split)
    others = [
        split for name in request.ood_names for split in _opened(name, request, runner, space)
    ]
    check_distinct(id_split, others)
    warn_if_trained_on(runner, id_split)
    made = _with_fitting_splits(Plan(runner, id_split, tuple(others), request.scores), request)
    _ = runner.network
    return made


def _opened(name: str | SampleSet, request: Request, runner: Runner, space: str) -> list[Split]:
    """The splits that one of the OOD sets stands for."""
    if isinstance(name, SampleSet):
        return [split_of(name, runner.view)]
    if _is_shift_of(name, request.id_name):
        shifts = _shifts_of(name, request.id_name)
        return [
            split_of(request.id_name, runner.view, *shift, request.seed, request.data)
            for shift in shifts
        ]
    return open_splits(name, runner.view, seed=request.seed, options=request.data, id_space=space)


def _shifts_of(text: str, given: SampleSet) -> Sequence[tuple[str | None, int]]:
    """The shifts that "id:fog:3" names of a set in memory. Raises `DataError`."""
    known = EVENT_SHIFTS if isinstance(given, EventSet) else SHIFTS
    shift, _, severity = text.removeprefix(f"{given.name}:").partition(":")
    if shift not in known and shift != "all":
        raise DataError(
            f"unknown shift {shift!r} in {text!r}{close_to(shift, known)}; known are "
            f"{', '.join(known)} and all"
        )
    stand_in = "events:x" if isinstance(given, EventSet) else "npz:x"
    try:
        return parse(":".join([stand_in, shift, *([severity] if severity else [])])).variants
    except DataError as error:
        raise DataError(str(error).replace(stand_in, given.name)) from None


def run(request: Request, planned: Plan) -> NetworkResult:
    """Record what is not recorded yet, score it and compare it. One pass over each set serves all
    scores but those that say otherwise.
    """
    runner, needs = planned.runner, needs_of(planned.scores)
    fitting = {}
    if planned.training is not None:
        fitting["training"] = runner.recording(planned.training, extras=needs.extras)
    if planned.validation is not None:
        fitting["validation"] = runner.recording(planned.validation)
    scorers: dict[str, ScoreFunction] = {}
    left_out = list(planned.left_out)
    for name in planned.scores:
        try:
            scorers |= fit_scores([name], fitting)
        except DataError as error:
            if not request.optional:
                raise
            left_out.append(_left_out([name], runner, error))
    space = _space_of(request, planned.id_split)

    def scored_set(split: Split, trace: tuple[int, ...] = ()) -> ScoredSet:
        recording = runner.recording(split, trace=trace, extras=needs.extras)
        perturbed = runner.recording(runner.perturbed(split)) if needs.second_pass else recording
        values = {
            name: score(perturbed if name in needs.second_pass else recording)
            for name, score in scorers.items()
        }
        return scored(
            recording, values, group_of(split.source.name, space) if split.shift is None else ""
        )

    # The traced sample lets `raster` draw the same pass without another.
    id_set = scored_set(planned.id_split, trace=(0,))
    others = tuple(scored_set(split) for split in planned.others)
    rows = evaluate(
        id_set,
        others,
        statistics_of(request),
        checkpoint=runner.checkpoint.name,
        thresholds=runner.thresholds,
    )
    return NetworkResult(
        replace(planned, scores=tuple(scorers)), tuple(rows), id_set, others, tuple(left_out)
    )


def planned(
    checkpoints: Sequence[str],
    request: Request,
    network: NetworkOptions,
    thresholds: Thresholds | None = None,
) -> tuple[list[Plan], Request]:
    """A plan for each checkpoint by name, and the request with what was left open in it; whatever
    can be refused is refused here, before the first pass. Raises kinds of `AhsarError`.
    """
    if request.id_name:
        request = requested(request)
    name = request.id_name or None
    runners = load_networks(checkpoints, network, thresholds, data_name=name, data=request.data)
    if not request.id_name:
        request = requested(replace(request, id_name=trained_on(runners, "--id")))
    return [plan(request, runner) for runner in runners], request


def evaluation(request: Request, plans: Sequence[Plan], *, baseline: str | None = None) -> Results:
    """Run what was planned for every network. Raises as `run` and `results_of`."""
    reference_of(baseline, plans)  # refused now, not when all is recorded
    networks = [run(request, one) for one in plans]
    return results_of(request, networks, baseline=baseline)


def results_of(
    request: Request,
    networks: Sequence[NetworkResult],
    *,
    baseline: str | None = None,
) -> Results:
    """Everything found of all networks. `baseline` names the checkpoint that corruption errors are
    relative to.

    Arrays are named label/set/score, label/set/confidence and label/set/correct, [N] each. Raises
    `UsageError` where the baseline is none of those evaluated.
    """
    rows, notes = summarised(networks, baseline)
    severities = {row.ood: row.severity for row in rows if row.kind == "set"}
    records = {
        name: [record_of(row, severities) for row in rows if row.kind in kinds]
        for name, kinds in _LISTS.items()
    }
    splits = [split for one in networks for split in (one.plan.id_split, *one.plan.others)]
    return Results(
        OOD,
        records,
        provenance_of(request, networks),
        said=[*notes, *set_notes(splits)],
        by=request.by,
        arrays={name: array for one in networks for name, array in _arrays(one)},
    )


_LISTS = {"rows": ("set", "class"), "means": ("mean",), "id": ("id",)}


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


def _arrays(network: NetworkResult) -> Iterator[tuple[str, NDArray[Any]]]:
    """Scores of every sample and, where the labels correspond, confidence and correctness."""
    label = network.rows[0].label
    judged = {row.ood for row in network.rows if "accuracy" in row.metrics}
    for some in (network.id_set, *network.others):
        for score, values in some.scores.items():
            yield f"{label}/{some.name}/{score}", values
        if some.name in judged:
            found = outcomes(some.logits, some.labels)
            yield f"{label}/{some.name}/confidence", found.confidence
            yield f"{label}/{some.name}/correct", found.correct


def provenance_of(request: Request, networks: Sequence[NetworkResult]) -> dict[str, Any]:
    """Settings, checkpoints with their hashes, every split with its identity, versions, command."""
    plans = [network.plan for network in networks]
    return provenance(
        seed=request.seed,
        scores=list(request.scores),
        tpr=request.tpr,
        bootstrap_replicates=request.replicates if request.intervals else 0,
        checkpoints=[
            {
                **plan.runner.facts(),
                "id": describe(plan.id_split),
                "ood": [describe(split) for split in plan.others],
                "scores": list(plan.scores),
                "fitted_on": [describe(one) for one in (plan.training, plan.validation) if one],
            }
            for plan in plans
        ],
    )


def summarised(
    results: Sequence[NetworkResult], baseline: str | None = None
) -> tuple[list[Row], list[str]]:
    """All rows with their means and corruption errors, and notes. `baseline` names the checkpoint
    that corruption errors are relative to.

    Raises `UsageError` where it is none of those evaluated.
    """
    reference = reference_of(baseline, [result.plan for result in results])
    rows = [row for result in results for row in result.rows]
    found, notes = with_corruption_errors(with_means(rows), CORRUPTIONS, reference)
    if reference is not None and not any(
        "relative_corruption_error" in row.metrics for row in found
    ):
        notes.append(
            f"Nothing is relative to {baseline}: that takes all severities of the 15 corruptions "
            "of the ID set, and another checkpoint."
        )
    fitted = dict.fromkeys(note for result in results for note in _fitted(result.plan))
    return found, [*fitted, *(note for result in results for note in result.left_out), *notes]


def reference_of(baseline: str | None, plans: Sequence[Plan]) -> tuple[str, str] | None:
    """Name and thresholds of the checkpoint `baseline`. Raises `UsageError` where it is none of
    those planned.
    """
    if baseline is None:
        return None
    runners = {plan.runner.checkpoint.name: plan.runner for plan in plans}
    if baseline not in runners:
        raise UsageError(
            f"the baseline {baseline} is none of the checkpoints; expected one of "
            f"{', '.join(runners)}"
        )
    return baseline, runners[baseline].thresholds


def _fitted(made: Plan) -> list[str]:
    """On what its scores were fitted, a sentence for each split."""
    notes = []
    for part, split in (("training", made.training), ("validation", made.validation)):
        names = [name for name in made.scores if SCORES[name].fitted_on == part]
        if split is not None and names:
            notes.append(
                f"{', '.join(names)}: fitted on {split.name} ({split.source.role}, {len(split)} "
                "samples)."
            )
    return notes


def _with_fitting_splits(made: Plan, request: Request) -> Plan:
    """`made` with the training split and the hold-out that its scores are fitted on, as far as any
    is; never anything of a test split.
    """
    found: dict[str, Split] = {}
    left_out = []
    names = list(made.scores)
    for part in ("training", "validation"):
        needing = [name for name in names if SCORES[name].fitted_on == part]
        if not needing:
            continue
        try:
            found[part] = split_of(_set_to_fit(part, needing, made, request), made.runner.view)
        except (DataError, UsageError) as error:
            if not request.optional:
                raise
            left_out.append(_left_out(needing, made.runner, error))
            names = [name for name in names if name not in needing]
    made = replace(made, scores=tuple(names), left_out=tuple(left_out))
    return replace(made, training=found.get("training"), validation=found.get("validation"))


def _left_out(names: Sequence[str], runner: Runner, error: Exception) -> str:
    return f"Left out for {runner.checkpoint.name}, {', '.join(names)}: {error}."


def _set_to_fit(part: str, names: Sequence[str], made: Plan, request: Request) -> SampleSet:
    """The set that the scores `names` are fitted on: "training", or "validation", what the
    network's training held out of it.
    """
    fitted = " and ".join(names)
    given = isinstance(request.id_name, SampleSet)
    own = request.id_name.name if given else parse(request.id_name).name
    name = request.fit_name or own
    if request.fit_name is None and (
        given or name.partition(":")[0] in FILE_SETS or "train" not in SETS[name].roles
    ):
        raise UsageError(
            f"{fitted} must be fitted on training data, and {name} has no training split; name a "
            "set with --fit"
        )
    if parse(name).variants != ((None, 0),):
        raise UsageError(f"--fit {name} names a shift; scores are fitted on a set as it is")
    facts = made.runner.checkpoint.provenance
    training = open_set(name, "train", request.data)
    known, held_out = facts.get("train_set_identity"), False
    if known and len(training) and (training.labels >= 0).all():
        rest, validation = training_sets_of(facts, name, request.data)
        # Only a training that is known to have held out these samples makes them a validation set
        # of this network.
        held_out = (
            known == rest.identity
            or facts.get("train_identity") == split_of(rest, made.runner.view).identity
        )
        training = rest if held_out else training
    for split in (made.id_split, *made.others):
        if (
            split.source.identity in (training.identity, training.origin)
            or split.source.origin == training.identity
        ):
            raise UsageError(
                f"{fitted} must not be fitted on {split.source.name}, a set that is evaluated; "
                "name other data with --fit"
            )
    if part == "training":
        return training
    if not held_out:
        raise UsageError(
            f"{fitted} is fitted on samples held out of the training, and "
            f"{made.runner.checkpoint.name} does not say which those of "
            f"{name} were; leave it out, or use a checkpoint that ahsar-eval train made on that set"
        )
    return validation
