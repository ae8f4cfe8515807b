"""A whole OOD evaluation: which sets and scores, what is fitted on what, one recording per network
and set, rows from all of them.

Shared by the commands `ood` and `compare`; `ahsar_eval.ood` holds the statistics and sees no
network.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ahsar_eval.data import (
    SHIFTS,
    DataOptions,
    SampleSet,
    Split,
    check_distinct,
    group_of,
    open_split,
    open_splits,
    parse,
    training_sets_of,
)
from ahsar_eval.data.catalogue import FILE_SETS, SETS, open_set
from ahsar_eval.data.views import split_of
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.ood import (
    SCORES,
    Evaluation,
    Fitting,
    Resamples,
    Row,
    ScoredSet,
    ScoreFunction,
    evaluate,
    fit_scores,
    needs_of,
    scored,
    with_corruption_errors,
    with_means,
)
from ahsar_eval.recording.runner import Runner

# The 15 corruptions of the benchmark, and all 19 with those its authors meant for validation
# (Hendrycks and Dietterich 2019).
CORRUPTIONS = {
    "15 corruptions": tuple(
        name
        for name, shift in SHIFTS.items()
        if shift.family in ("noise", "blur", "weather", "digital")
    ),
    "19 corruptions": tuple(name for name, shift in SHIFTS.items() if shift.family != "ours"),
}


@dataclass(frozen=True)
class Request:
    """What is asked of every checkpoint. `ood_names` are specifications after the expansion of near
    and far.

    `fit_name` is the set whose training split detectors are fitted on (default: the ID set's own).
    `replicates` is the number B of bootstrap replicates; without `intervals` none is drawn. With
    `optional`, scores that a network cannot have (no training split, no hold-out, not installed, no
    solution) are left out and listed instead of refused.
    """

    id_name: str
    ood_names: tuple[str, ...]
    scores: tuple[str, ...] = ("entropy",)
    id_space: str | None = None
    fit_name: str | None = None
    seed: int = 0
    tpr: float = 0.95
    replicates: int = 1000
    intervals: bool = True
    by_class: bool = False
    optional: bool = False
    data: DataOptions = field(default_factory=DataOptions)

    def check(self) -> None:
        """Raises `DataError` for a score that is unknown or not installed, `UsageError` for
        settings that give no interval.
        """
        if not self.optional:
            needs_of(self.scores)
        for name in self.scores:
            if self.scores.count(name) > 1:
                raise UsageError(f"the score {name} was named twice; name it once")
        if self.fit_name is not None and not any(SCORES[name].fitted_on for name in self.scores):
            raise UsageError(
                f"--fit {self.fit_name} says what scores are fitted on, and none of these is "
                "fitted; leave it out"
            )
        if not 0 < self.tpr < 1:
            raise UsageError(
                f"the TPR is {self.tpr:g}; expected a number between 0 and 1, such as 0.95"
            )
        if self.replicates < 100:
            raise UsageError(
                f"{self.replicates} bootstrap replicates give no interval; expected at least 100"
            )
        if not 0 <= self.seed < 2**31:
            raise UsageError(
                f"the seed is {self.seed}; expected a whole number from 0 to 2147483647"
            )

    def space_of(self, id_split: Split) -> str:
        """Whose classes the ID set has: what was said, else its own label space."""
        return self.id_space or id_split.source.label_space

    @functools.cached_property
    def how(self) -> Evaluation:
        """The statistics part; one for all networks, which meet the same draws."""
        resamples = Resamples(self.replicates if self.intervals else 0, self.seed)
        return Evaluation(self.tpr, resamples, by_class=self.by_class)


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
    request.check()
    spec = runner.checkpoint.spec
    id_split = open_split(request.id_name, runner.view, seed=request.seed, options=request.data)
    if id_split.source.classes and len(id_split.source.classes) != spec.classes:
        raise DataError(
            f"{runner.checkpoint.name} tells {spec.classes} classes apart and {request.id_name} "
            f"has {len(id_split.source.classes)}; "
            "choose the ID set it was trained on"
        )
    space = request.space_of(id_split)
    others = [
        split
        for name in request.ood_names
        for split in open_splits(
            name, runner.view, seed=request.seed, options=request.data, id_space=space
        )
    ]
    check_distinct(id_split, others)
    made = _with_fitting_splits(Plan(runner, id_split, tuple(others), request.scores), request)
    _ = runner.network
    return made


def run(request: Request, planned: Plan) -> NetworkResult:
    """Record what is not recorded yet, score it and compare it. One pass over each set serves all
    scores but those that say otherwise.
    """
    runner, needs = planned.runner, needs_of(planned.scores)
    fitting = Fitting(
        training=None
        if planned.training is None
        else runner.recording(planned.training, extras=needs.extras),
        validation=None if planned.validation is None else runner.recording(planned.validation),
        training_name="" if planned.training is None else planned.training.name,
    )
    scorers: dict[str, ScoreFunction] = {}
    left_out = list(planned.left_out)
    for name in planned.scores:
        try:
            scorers |= fit_scores([name], fitting)
        except DataError as error:
            if not request.optional:
                raise
            left_out.append(_left_out([name], runner, error))
    space = request.space_of(planned.id_split)

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
        id_set, others, request.how, checkpoint=runner.checkpoint.name, thresholds=runner.thresholds
    )
    return NetworkResult(
        replace(planned, scores=tuple(scorers)), tuple(rows), id_set, others, tuple(left_out)
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
    for part in ("package", "training", "validation"):
        needing = [
            name
            for name in names
            if (SCORES[name].package if part == "package" else SCORES[name].fitted_on == part)
        ]
        if not needing:
            continue
        try:
            if part == "package":
                needs_of(needing)
            else:
                found[part] = split_of(_set_to_fit(part, needing, made, request), made.runner.view)
        except (DataError, UsageError) as error:
            if not request.optional:
                raise
            left_out.append(_left_out(needing, made.runner, error))
            names = [name for name in names if name not in needing]
    training, validation = found.get("training"), found.get("validation")
    return replace(
        made,
        scores=tuple(names),
        left_out=tuple(left_out),
        training=training,
        validation=validation,
    )


def _left_out(names: Sequence[str], runner: Runner, error: Exception) -> str:
    return f"Left out for {runner.checkpoint.name}, {', '.join(names)}: {error}."


def _set_to_fit(part: str, names: Sequence[str], made: Plan, request: Request) -> SampleSet:
    """The set that the scores `names` are fitted on: "training", or "validation", what the
    network's training held out of it.
    """
    fitted = " and ".join(names)
    name = request.fit_name or parse(request.id_name).name
    if request.fit_name is None and (
        name.partition(":")[0] in FILE_SETS or "train" not in SETS[name].roles
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
