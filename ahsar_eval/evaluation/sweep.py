"""A trained checkpoint at many threshold scales: accuracy, NLL, rate, energy, AUROC, and rate, gate
and −∂r/∂θ of every layer; and how that is shown.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ahsar_eval.data import Split, split_of, training_sets_of
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.errors import OutputError, UsageError
from ahsar_eval.evaluation.adapting import adapted_facts, adapting_notes
from ahsar_eval.evaluation.energy import chosen_profiles
from ahsar_eval.evaluation.inputs import (
    Plan,
    expanded,
    own_split,
    plan_of,
    set_notes,
)
from ahsar_eval.evaluation.requests import SweepRequest, check_once, check_replicates, scale_values
from ahsar_eval.files import table_beside, write_text
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import Checkpoint, mean_factor, replayed_scales
from ahsar_eval.ood import Evaluation, Resamples, evaluate, fit_scores, scored
from ahsar_eval.process import progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import key_of_parts
from ahsar_eval.recording.gate import QUANTITIES, STEP, NetworkGate, check_gated, measure_gate
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Row, Table, read_columns


def requested(request: SweepRequest) -> SweepRequest:
    """`request` with its profile opened and scales as numbers, checked as far as no network is
    needed. Raises `UsageError`.
    """
    check_replicates(request.replicates)
    check_once(request.ood_names, "OOD set")
    (profile,) = chosen_profiles((request.profile,))
    return replace(request, scales=scale_values(request.scales), profile=profile)


def plan(request: SweepRequest, runner: Runner) -> Plan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass.

    Raises `DataError` and `UsageError`.
    """
    if runner.scale is not None:
        raise UsageError(
            "a run at several scales starts from a network's own thresholds, and "
            f"{runner.checkpoint.name} was given a scale; leave one of the two out"
        )
    held_out = request.on == "validation"
    id_split = _hold_out(request, runner) if held_out else own_split(request, runner)
    names = expanded(request.ood_names, id_split.source.name)
    made = plan_of(request, runner, id_split, names, id_split.source.label_space)
    check_gated(runner.network)
    runner.check_scales(request.scales)
    return made


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
            f"{request.data_name}; sweep it on the test set, or name the set it was trained on"
        )
    return split


def check_plan(request: SweepRequest, spec: ModelSpec) -> None:
    """Refuse now what `plan` will refuse of a network of `spec` that is still to be trained. Raises
    as `plan`.
    """
    untrained = Checkpoint(spec=spec, weights=build(spec).backbone.state_dict(), homeostasis=None)
    plan(replace(request, on="test"), Runner(untrained))


def evaluation(
    request: SweepRequest,
    plans: Sequence[Plan],
    epochs: Sequence[Row] = (),
    trainings: Sequence[Mapping[str, Any]] = (),
) -> Results:
    """Record what is not recorded yet at every scale and at each network's own thresholds; a second
    call finds it all in the store.

    Records "point" (a network at one setting; `row` is "own" or "scale", and `own` marks the
    thresholds that it is used with, whose factors lie from `scale_low` to `scale_high` with mean
    `scale`), "layer" (each layer of each point) and the `epochs` of `trainings` that were made
    before. A network that adapts at test time has one point (`row` is "adapted"), whose factors are
    those that it ended with on the ID set, and no layers: gate and −∂r/∂θ are of fixed thresholds.
    Accuracy and NLL are None without labels that mean what the network's classes do;
    `mean_rate` is spikes per neuron and step, the unweighted mean over layers.
    """
    points: list[Row] = []
    layers: list[Row] = []
    for planned in plans:
        runner = planned.runner
        if runner.adaptation:
            points.append(_adapted_point(request, planned))
            continue
        own = list(replayed_scales(runner.checkpoint, runner.network).values())
        others = [one for one in request.scales if {one} != set(own)]
        for scale in progress([None, *others], f"scales of {runner.checkpoint.name}", unit="scale"):
            at = runner if scale is None else runner.at_scale(scale)
            point = _point(request, planned, at, own if scale is None else [scale])
            gate = gate_on(at, planned.id_split)
            means = {name: gate.mean(name) for name in QUANTITIES}
            points.append({**point, **means, "gate_step": gate.step})
            of = {name: point[name] for name in ("checkpoint", "own", "scale")}
            for layer in gate.layers:
                numbers = {key: value for key, value in vars(layer).items() if key != "name"}
                layers.append({**of, "layer": layer.name, **numbers})
    checkpoints = [one.facts("id", "ood") for one in plans]
    for facts in checkpoints:
        del facts["ran"]  # of one of many passes
    origin = provenance(
        seed=request.seed,
        on=request.on,
        scales=list(request.scales),
        profile=request.profile.name,
        bootstrap_replicates=request.replicates,
        trainings=list(trainings),
        checkpoints=checkpoints,
    )
    records = {"point": points, "layer": layers, "epoch": epochs}
    return Results(SWEEP, records, origin, said=[*adapting_notes(plans), *set_notes(plans)])


def _adapted_point(request: SweepRequest, planned: Plan) -> dict[str, Any]:
    """A network as it adapts from its own thresholds, those of the ID set first."""
    runner = planned.runner
    assert runner.adaptation is not None
    runner.left = None  # a stream without reset begins with the ID set
    recording = runner.recording(planned.id_split)
    state = recording.provenance["adaptation"]["state"]["regulation"] or {"state": {}}
    moved = {name: float(np.exp(c).mean()) for name, c in state["state"].items()}
    own = replayed_scales(runner.checkpoint, runner.network)
    factors = [factor * moved.get(name, 1.0) for name, factor in own.items()]
    runner.left = None
    point = _point(request, planned, runner, factors)
    told = {"row": "adapted", "own": False, "adaptation": runner.adaptation.told()}
    unmeasured = dict.fromkeys((*QUANTITIES, "gate_step"))
    return {**point, **told, **unmeasured, **adapted_facts(recording)}


def _point(
    request: SweepRequest, planned: Plan, runner: Runner, factors: list[float]
) -> dict[str, Any]:
    split, name, own = planned.id_split, runner.checkpoint.name, runner is planned.runner
    entropy = fit_scores(["entropy"])["entropy"]
    recordings = [runner.recording(one) for one in planned.splits]
    sets = [scored(one, {"entropy": entropy(one)}) for one in recordings]
    how = Evaluation(resamples=Resamples(request.replicates, request.seed))
    rows = evaluate(sets[0], sets[1:], how, checkpoint=name, thresholds=runner.thresholds)
    alone, *compared = (row.to_dict() for row in rows)
    energy = estimate(recordings[0], request.profile, checkpoint=name)
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
        **_with_ends(alone, "accuracy"),
        **_with_ends(alone, "nll"),
        **_with_ends(alone, "mean_rate"),
        "energy_pj": energy.row["total_energy_pj"],
    }
    for row in compared:
        point |= _with_ends(row, "auroc", f"auroc {row['ood']}")
    return point


def _with_ends(of: Row, metric: str, name: str = "") -> Row:
    """A number of a row beside the ends of its interval."""
    return {f"{name or metric}{end}": of.get(f"{metric}{end}") for end in ("", "_low", "_high")}


def gate_on(runner: Runner, split: Split) -> NetworkGate:
    """Rate, gate and −∂r/∂θ on `split`, from the recordings' folder where the same was measured
    before.
    """
    folder = runner.store.folder
    key = key_of_parts({"recording": runner.key(split), "gate": STEP})
    file = Path(folder or ".", f"{key}.gate.json")
    if folder is not None:  # a damaged file is as good as none
        with contextlib.suppress(KeyError, OSError, ValueError, TypeError):
            return NetworkGate.from_dict(json.loads(file.read_text(encoding="utf-8")))
    measured = measure_gate(
        runner.network, split, batch_size=runner.batch_size, device=runner.device
    )
    if folder is not None:
        with contextlib.suppress(OutputError):  # the store has said so already
            write_text(file, json.dumps(measured.to_dict()))
    return measured


# --- tables

COLUMNS = read_columns(__file__, "sweep")
OVER_EPOCHS = table_beside(__file__, "columns.toml")["over_epochs"]


def _tables(results: Results, detail: bool) -> list[Table]:
    points = results.records["point"]
    networks = [(own, at_one_factor(points, own["checkpoint"])) for own in points if own["own"]]
    tables = []
    if points:
        title = f"Threshold sweep on {points[0]['set']} ({points[0]['role']})"
        tables = [Table(title, COLUMNS["summary"], [_summary(*network) for network in networks])]
    adapted = [row for row in points if row["row"] == "adapted"]
    tables += [_scale_table(*network, adapted) for network in networks]
    if detail and points:
        layers = [{**row, "ratio": _ratio(row)} for row in results.records["layer"] if row["own"]]
        title = "Layers at the network's own thresholds"
        tables.append(Table(title, COLUMNS["layers"], layers, names=("checkpoint",)))
    return [*tables, *([_training_table(results)] if results.records["epoch"] else [])]


def _summary(own: Row, scales: Sequence[Row]) -> dict[str, Any]:
    gates, slopes = (np.array([row[name] for row in scales]) for name in ("gate", "slope"))
    varies = len(scales) > 2 and gates.std() and slopes.std()
    found: dict[str, Any] = {
        "range": None if _is_uniform(own) else f"{own['scale_low']:.3f}–{own['scale_high']:.3f}",
        "rate_falls": rate_falls(scales),
        "ratio": _ratio(own),
        "correlation": float(np.corrcoef(gates, slopes)[0, 1]) if varies else None,
    }
    for metric in ("accuracy", "nll"):
        best = best_point(scales, metric)
        found[f"best_{metric}"] = best and f"{best[metric]:.3f} at {best['scale']:g}"
    return {**own, **found}


def at_one_factor(points: Sequence[Row], name: str) -> list[Row]:
    """The points of the network `name` at one factor on every threshold, ascending."""
    named = [row for row in points if row["checkpoint"] == name and row["row"] != "adapted"]
    own = [row for row in named if _is_uniform(row)]
    return sorted(own, key=itemgetter("scale"))


def _is_uniform(row: Row) -> bool:
    return row["scale_low"] == row["scale_high"]


def best_point(scales: Sequence[Row], metric: str) -> Row | None:
    """The scale of highest accuracy or lowest NLL, of equal ones the one nearest to 1; None without
    labels.
    """
    sign = -1 if metric == "accuracy" else 1
    known = [row for row in scales if row[metric] is not None]
    return min(known, key=lambda row: (sign * row[metric], abs(row["scale"] - 1)), default=None)


def rate_falls(scales: Sequence[Row]) -> str:
    """'yes', or the first scale at which the mean rate does not fall."""
    for before, after in pairwise(scales):
        if (after["mean_rate"] or 0) >= (before["mean_rate"] or 0) > 0:
            return f"not at {after['scale']:g}"
    return "yes"


def _ratio(row: Row) -> float | None:
    return row["gate"] / row["slope"] if row["slope"] > 0 else None


def _scale_table(own: Row, scales: Sequence[Row], adapted: Sequence[Row] = ()) -> Table:
    """A network at every scale; its own thresholds first where they are no single factor, and last
    as it is where it adapts.
    """
    aurocs = [
        Column(key, key.replace("auroc", "AUROC,", 1), interval=True)
        for key in own
        if key.startswith("auroc ") and f"{key}_low" in own
    ]
    shown: list[Row] = []
    for row in scales if _is_uniform(own) else [own, *scales]:
        scale = f"{row['scale']:g}" if _is_uniform(row) else f"{row['scale']:.3f}"
        after_own = bool(shown) and not _is_uniform(shown[-1])
        shown.append({**row, "s": f"{scale} (own)" if row["own"] else scale, "rule": after_own})
    mine = [row for row in adapted if row["checkpoint"] == own["checkpoint"]]
    for i, row in enumerate(mine):
        shown.append({**row, "s": f"{row['scale']:.3f} ({row['adaptation']})", "rule": not i})
    return Table(own["checkpoint"], [*COLUMNS["scales"], *aurocs, *COLUMNS["layers"][4:6]], shown)


def _training_table(results: Results) -> Table:
    """A line per scale, and AHSAR's: means over seeds; the means over epochs are the areas under
    the curves, per epoch.
    """
    import pandas as pd

    asked = results.facts["trainings"]
    epochs: Any = pd.DataFrame(results.records["epoch"])
    rows: list[Row] = []
    for method, runs in epochs.groupby("method", sort=False):
        whole = runs[runs["diverged"] == ""]
        factor = whole.drop_duplicates("seed")["scale"].mean()
        ours = f"AHSAR ({factor:.3f})" if len(whole) else "AHSAR"
        names = {"baseline": "1 (baseline)", "ahsar": ours}
        taken = {name: tuple(of) for name, of in OVER_EPOCHS.items()}
        found = whole.groupby("seed").agg(**taken).mean().to_dict() if len(whole) else {}
        rows.append(
            {
                **found,
                "trained_at": names.get(method, method.partition(":")[2]),
                "seeds": runs["seed"].nunique(),
                "epochs": asked[0]["epochs"],
                "diverged": runs["seed"].nunique() - whole["seed"].nunique() or "",
                "rule": method == "ahsar",
            }
        )
    how = "{backbone} on {data}, {paradigm}, step mode {step_mode}".format(**asked[0])
    return Table(f"Trained at each scale: {how}", COLUMNS["trainings"], rows)


def _notes(results: Results) -> list[str]:
    """What a reader must know to read these tables."""
    points, epochs = results.records["point"], results.records["epoch"]
    notes = []
    if points:
        notes = [
            "s is a factor on every base threshold; own: the thresholds the network is used with, "
            "by the mean of their factors over layers.",
            "G = E[ψ′(u − θ)] and −∂r/∂θ are per unit of a layer's own θ with its input held, "
            "unweighted means over layers; along s each layer's input changes, too. −∂r/∂θ by "
            f"central difference at θ(1 ± {points[0]['gate_step']:g}), the reset's answer to θ "
            "included; p(θ), in files, is the share of membranes within that range of θ, divided "
            "by its width. Ratio: at the network's own thresholds; correlation: over all scales.",
        ]
    if any(row["row"] == "adapted" for row in points):
        notes.append(
            "Behind s, what adapts: the network's own thresholds, which move at test time; s is "
            "their mean factor at the end of the ID set. G and −∂r/∂θ are of thresholds that stay, "
            "and are not measured there (–)."
        )
    if any(row["role"] != "validation" for row in points):
        notes.append(
            "Nothing is chosen here: a scale that is best on this set must be judged on another; "
            "choose with --on validation."
        )
    if any(row["accuracy"] is None for row in points):
        notes.append("– : no accuracy, for labels are unknown or of other classes.")
    if epochs:
        notes.append(
            "Trained at: one factor on every threshold throughout training and evaluation; AHSAR: "
            "mean factor over layers of its best epochs. The mean over epochs of a loss is the "
            "area under its curve, per epoch; losses are of training and hold-out samples."
        )
    ended = {(row["method"], row["seed"]): row["diverged"] for row in epochs if row["diverged"]}
    return notes + [f"{method}, seed {seed}: {why}." for (method, seed), why in ended.items()]


SWEEP = Kind(
    "sweep",
    axes="row checkpoint set role own scale layer method seed epoch".split(),
    tables=_tables,
    notes=_notes,
    content=lambda results: {
        "points": results.records["point"],
        "layers": results.records["layer"],
        "trainings": results.records["epoch"],
        "notes": results.notes,
    },
    listed=("point", "layer", "epoch"),
    lists_named=True,
)
