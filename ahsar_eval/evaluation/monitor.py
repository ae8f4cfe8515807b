"""Is a batch of samples shifted? By how far a regulator must move thresholds for it, beside what is
had without moving anything: the rates, and the entropy of predictions (docs/monitor.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data import Split, group_of
from ahsar_eval.data.split import shuffled
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.inputs import (
    Plan,
    check_set_points,
    expanded,
    own_split,
    plan_of,
    set_notes,
)
from ahsar_eval.evaluation.ood import record_of
from ahsar_eval.evaluation.ood_tables import name_of, sectioned, shown
from ahsar_eval.evaluation.requests import (
    MonitorRequest,
    batch_sizes,
    check_once,
    check_replicates,
)
from ahsar_eval.files import sha256_of
from ahsar_eval.homeostasis.deviation import judged_deviations, rate_deviations
from ahsar_eval.homeostasis.regulation import SetPoints, overall
from ahsar_eval.networks.checkpoints import set_points_of
from ahsar_eval.ood import (
    Evaluation,
    Resamples,
    ScoredSet,
    evaluate,
    predictive_entropy,
    with_means,
)
from ahsar_eval.ood import Row as Comparison
from ahsar_eval.ood.bootstrap import Images
from ahsar_eval.ood.metrics import proportion_interval
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import describe
from ahsar_eval.recording.adaptation import Adaptation, SampleCounts, check_adaptation, watch
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Row, Table, read_columns

STATISTICS = ("effort", "rates", "judged", "entropy")
COLUMNS = read_columns(__file__, "monitor")
Members = NDArray[np.int64]


def requested(request: MonitorRequest) -> MonitorRequest:
    """`request` with near and far expanded and sizes of batches as numbers, checked as far as no
    network is needed. Raises `UsageError` and `DataError`.
    """
    if not request.ood_names:
        raise UsageError("no OOD set was named; give at least one with --ood")
    check_once(request.ood_names, "OOD set")
    check_replicates(request.replicates)
    if request.draws < 2:
        raise UsageError(f"--draws is {request.draws}; expected at least 2 batches of each set")
    rate = request.false_alarms
    if rate is not None and not 0 < rate < 1:
        raise UsageError(
            f"--false-alarms is {rate:g}; expected a rate between 0 and 1, such as 0.05"
        )
    known = request.data_name
    names = expanded(request.ood_names, str(getattr(known, "name", known)))
    return replace(request, ood_names=names, batch=batch_sizes(request.batch))


def plan(request: MonitorRequest, runner: Runner) -> Plan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass. Raises `DataError`, `UsageError` and `HomeostasisError`.
    """
    if runner.scale is not None:
        raise UsageError(
            f"set points hold for a network's own thresholds, and {runner.checkpoint.name} was "
            "given a scale; leave it out"
        )
    id_split = own_split(request, runner)
    space = id_split.source.label_space
    made = plan_of(request, runner, id_split, request.ood_names, space)
    points = points_of(request, runner)
    check_set_points(points, made)
    check_adaptation(runner.network, Adaptation((request.regulate,), points))
    size = max(request.batch)
    for split in made.splits:
        least = 4 if split is id_split and request.false_alarms is not None else 2
        count = min(request.draws, len(split) // size)
        if count < least:
            raise UsageError(
                f"{split.name} gives {count} batch{'es' * (count != 1)} of {size} samples (it has "
                f"{len(split):,}, and --draws is {request.draws}); expected at least {least}: "
                "choose a smaller --batch"
            )
    return made


def points_of(request: MonitorRequest, runner: Runner) -> SetPoints:
    """The set points of `runner`'s network. Raises `UsageError` where there are none, and
    `HomeostasisError` for those of another network.
    """
    checkpoint = runner.checkpoint
    points = set_points_of(checkpoint, request.set_points)
    if points is None:
        raise UsageError(
            f"{checkpoint.name} has no set points, the rates that it has on data it knows; make "
            "them with ahsar-eval calibrate (--set-points)"
        )
    return points


def batches_of(split: Split, size: int, draws: int, seed: int) -> list[Members]:
    """At most `draws` batches of `size` samples of a shuffled set, none of which shares a sample
    with another. Sets of one length have batches at the same places.
    """
    order = shuffled(len(split), seed)
    count = min(draws, len(split) // size)
    return [order[i * size : (i + 1) * size] for i in range(count)]


def statistics_of(
    counts: SampleCounts, members: Members, effort: float, points: SetPoints, adaptation: Adaptation
) -> dict[str, float]:
    """What is had of one batch, by the names of `STATISTICS`."""
    mode, floor = adaptation.regulating, adaptation.params.floor
    apart = rate_deviations(counts.rates(members), points, mode, floor)
    judged = judged_deviations(apart, points, mode, len(members), floor)
    entropy = predictive_entropy(counts.logits[np.sort(members)])
    return {
        "effort": effort,
        "rates": overall(apart.values()),
        "judged": overall(judged.values()),
        "entropy": float(entropy.mean()),
    }


def watched(
    request: MonitorRequest, planned: Plan, split: Split, points: SetPoints
) -> dict[int, ScoredSet]:
    """Size of batches → those of `split`, each a sample with its statistics as scores."""
    runner = planned.runner
    adaptation = Adaptation((request.regulate,), points)
    batches = {n: batches_of(split, n, request.draws, request.seed) for n in request.batch}
    counts, reached = watch(
        runner.network,
        split,
        batches,
        adaptation,
        batch_size=runner.batch_size,
        device=runner.device,
        input_kinds=runner.input_kinds,
        engine=runner.engine,
        precision=runner.precision,
    )
    space = planned.id_split.source.label_space
    group = group_of(split.source.name, space) if split.shift is None else ""
    said = {**describe(split), "group": group}
    key = str(said.get("copies_of") or said.get("set_identity") or said["identity"])
    found = {}
    for size, each in batches.items():
        values = [
            statistics_of(counts, members, state.effort, points, adaptation)
            for members, state in zip(each, reached[size], strict=True)
        ]
        found[size] = ScoredSet(
            said,
            logits=np.zeros((len(each), 1, 1), np.float32),  # a batch has no label
            labels=np.full(len(each), -1),
            rates=None,
            scores={name: np.array([one[name] for one in values]) for name in STATISTICS},
            images=Images(f"{key} in batches of {size}", len(each)),
        )
    return found


def evaluation(request: MonitorRequest, plans: Sequence[Plan]) -> Results:
    """Watch every network on every set, and tell the batches of each from those of the ID set.

    Records "rows" (a set at one size of batches), "means" (over shifts, severities, near and far)
    and "id" (the ID set itself). Arrays are named label/set/size/statistic, [batches] each.
    """
    records: dict[str, list[Row]] = {"rows": [], "means": [], "id": []}
    arrays: dict[str, Any] = {}
    known = [points_of(request, planned.runner) for planned in plans]
    for planned, points in zip(plans, known, strict=True):
        runner = planned.runner
        splits = (planned.id_split, *planned.others)
        sets = [watched(request, planned, split, points) for split in splits]
        for size in request.batch:
            own = [one[size] for one in sets]
            for name, rows in _compared(request, runner, own).items():
                records[name] += [{**row, "batch": size} for row in rows]
            arrays |= {
                f"{runner.checkpoint.name}/{one.name}/{size}/{name}": values
                for one in own
                for name, values in one.scores.items()
            }
    facts = provenance(
        seed=request.seed,
        batch=list(request.batch),
        draws=request.draws,
        regulate=request.regulate,
        false_alarms=request.false_alarms,
        bootstrap_replicates=request.replicates,
        checkpoints=[
            {**one.facts("id", "ood"), "set_points": dict(points.data)}
            for one, points in zip(plans, known, strict=True)
        ],
    )
    return Results(MONITOR, records, facts, said=set_notes(plans), arrays=arrays)


def _compared(
    request: MonitorRequest, runner: Runner, sets: Sequence[ScoredSet]
) -> dict[str, list[Row]]:
    """Records of the batches of one size: the ID set's, those of `sets` behind it, and means."""
    how = Evaluation(resamples=Resamples(request.replicates, request.seed))
    named = {"checkpoint": runner.checkpoint.name, "thresholds": runner.thresholds}
    rows = list(_with_severities(evaluate(sets[0], sets[1:], how, **named)))
    severities = {row.ood: row.severity for row in rows if row.kind == "set"}
    alarms = {} if request.false_alarms is None else _alarms(sets, request.false_alarms)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        told = record_of(row, severities)
        one = found.setdefault(
            (row.kind, row.ood),
            {
                **{key: told[key] for key in _FACTS},
                "name": name_of(told),
                "id_batches": row.n_id,
                "batches": row.n_ood or row.n_id,
            },
        )
        for end in ("", "_low", "_high", "_interval"):
            if row.kind != "id":
                one[f"auroc_{row.score}{end}"] = told[f"auroc{end}"]
        one[f"mean_{row.score}"] = told["mean_score" if row.kind == "id" else "mean_score_ood"]
        names = row.members or (row.id if row.kind == "id" else row.ood,)
        one |= _mean_of([alarms[name, row.score] for name in names] if alarms else [])
    kinds = {"rows": "set", "means": "mean", "id": "id"}
    return {
        name: [one for (own, _), one in found.items() if own == kind]
        for name, kind in kinds.items()
    }


_FACTS = (
    *("checkpoint", "thresholds", "label", "id", "ood", "set", "kind", "group"),
    *("shift", "severity", "severities", "members", "same_images"),
)


def _with_severities(rows: Sequence[Comparison]) -> Iterator[Comparison]:
    """`rows` with their means, and with those over the shifts of one severity, where there are
    several of both.
    """
    yield from with_means(rows)
    shifted = [row for row in rows if row.kind == "set" and row.shift is not None]
    levels = sorted({row.severity for row in shifted})
    for severity in levels if len(levels) > 1 else ():
        for mean in with_means([row for row in shifted if row.severity == severity]):
            if mean.kind == "mean":
                name = f"{mean.ood}, severity {severity}"
                yield replace(mean, ood=name, severity=severity)


def _alarms(sets: Sequence[ScoredSet], rate: float) -> dict[tuple[str, str], dict[str, Any]]:
    """(set, statistic) → which fraction of its batches raise an alarm, with Wilson's interval.

    The threshold is the least that at most `rate` of the first half of the ID batches exceed; the
    ID set and shifts of it are judged by their other half, sets of other samples by all.
    """
    found = {}
    half = len(sets[0]) // 2
    for name, values in sets[0].scores.items():
        falling = np.sort(values[:half])[::-1]
        threshold = float(falling[int(rate * half)])
        for i, one in enumerate(sets):
            same = one.images.key == sets[0].images.key
            judged = one.scores[name][half if same else 0 :]
            raised = proportion_interval(int((judged > threshold).sum()), len(judged))
            found[one.name, name] = {
                f"alarms_{name}": raised.value,
                f"alarms_{name}_low": raised.low,
                f"alarms_{name}_high": raised.high,
                "judged_batches": len(judged),
            } | ({f"threshold_{name}": threshold} if i == 0 else {})
    return found


def _mean_of(alarms: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of one set what there is; of several the mean rates alone."""
    if len(alarms) < 2:
        return alarms[0] if alarms else {}
    keys = [f"alarms_{name}" for name in STATISTICS]
    return {key: float(np.mean([one[key] for one in alarms])) for key in keys if key in alarms[0]}


def points_key(request: MonitorRequest, plans: Sequence[Plan]) -> list[str]:
    """Hash of the set points of each network: part of what decides its results."""
    return [sha256_of(str(points_of(request, one.runner).to_dict())) for one in plans]


# --- tables


def _tables(results: Results, detail: bool) -> list[Table]:
    """Per network AUROC by set and size of batches, and alarms where they were asked for; with
    `detail` each severity of a shift, and the means of the statistics.
    """
    by = ("severity",) if detail else ()
    compared = [*results.records["rows"], *results.records["means"]]
    tables = []
    for label in dict.fromkeys(row["label"] for row in compared):
        own = [row for row in compared if row["label"] == label]
        rows = sectioned([row for row in shown(own, by) if detail or not _of_one_severity(row)])
        itself = sectioned([row for row in results.records["id"] if row["label"] == label])
        for row in (*rows, *itself):
            row["n"] = row["batch"]
        for row in rows:
            values = {f"auroc_{name}": row[f"auroc_{name}"] for name in STATISTICS}
            row["bold"] = {key for key, value in values.items() if value == max(values.values())}
        title = f"AUROC of “this batch of n samples is shifted”, {label}"
        tables.append(_table(title, COLUMNS["separated"], rows))
        if results.facts["false_alarms"] is not None:
            title = f"Batches that raise an alarm, {label}"
            tables.append(_table(title, COLUMNS["alarms"], [*itself, *rows]))
        if detail:
            title = f"Means over batches, {label}"
            tables.append(_table(title, COLUMNS["means"], [*itself, *rows]))
    return tables


def _of_one_severity(row: Row) -> bool:
    return row["kind"] == "mean" and row["severity"] > 0 and row["shift"] is None


def _table(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    return Table(title, columns, rows, names=("name",), section="section", ruled=False)


def _notes(results: Results) -> list[str]:
    """What a reader must know to read these tables."""
    facts, rows = results.facts, [*results.records["rows"], *results.records["means"]]
    notes = [
        "effort: how far a regulator moves thresholds for the batch (root mean square of c over "
        f"{facts['regulate']}s); rates: the same of log r − log r*, nothing moved; judged: that in "
        "units of what chance adds for n samples; entropy: mean predictive entropy, the only one "
        "that takes logits.",
        f"Batches: n samples each, none in two of one size, drawn by seed {facts['seed']}, at most "
        f"{facts['draws']} of a set. Of a shift of the ID set they show the same images.",
    ]
    used = dict.fromkeys(row[f"auroc_{name}_interval"] for row in rows for name in STATISTICS)
    kinds = ", ".join(kind for kind in used if kind)
    counts = [row["batches"] for row in results.records["rows"]]
    between = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
    notes.append(
        f"Intervals (95 %) are over {between} batches of each set: {kinds or 'none'}; "
        f"{facts['bootstrap_replicates']} replicates. – : the data give none, as where all batches "
        "are told apart."
    )
    for one in facts["checkpoints"]:
        known = one["set_points"]
        notes.append(
            f"Set points of {one['name']}: {known['name']} ({known['role']}, {known['n']:,} "
            "samples)."
        )
    if facts["false_alarms"] is not None:
        notes.append(
            f"Alarms: above the least threshold that at most {facts['false_alarms']:g} of half of "
            "the ID batches exceed; the ID set's own rate, and that of its shifts, is of the other "
            "half."
        )
    return notes


MONITOR = Kind(
    "monitor",
    axes=(*_FACTS, "name", "batch"),
    tables=_tables,
    notes=_notes,
    n="batches",
    aside=("id_batches", "judged_batches"),
    listed=("rows", "means", "id"),
)
