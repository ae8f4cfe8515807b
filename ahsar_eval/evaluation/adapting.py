"""What a reader must know of networks that adapt at test time: what adapts to which samples, how
far it went, and what it means for the numbers beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ahsar_eval.energy.result import network_of
from ahsar_eval.evaluation.inputs import Plan
from ahsar_eval.homeostasis.regulation import CHANNEL, LAYER
from ahsar_eval.recording import Recording
from ahsar_eval.recording.adaptation import (
    BATCHNORM,
    CONTINUAL,
    PREDICT,
    TENT,
    Adaptation,
)

_FEW = 6  # sets whose numbers stand in a note one by one
_MODES = {
    LAYER: "the threshold of each layer goes for the layer's mean rate{points}",
    CHANNEL: "a threshold of each channel goes for the channel's mean rate{points}",
    BATCHNORM: "batch norms take the statistics of these samples",
    TENT: "batch norms take their statistics and go down the entropy of their predictions",
}


def label_of(plan: Plan) -> str:
    """What tables call the network of a plan."""
    runner = plan.runner
    return network_of({"checkpoint": runner.checkpoint.name, "thresholds": runner.thresholds})


def side_of(plan: Plan) -> str:
    """The checkpoint, and of a network that adapts also how."""
    return label_of(plan) if plan.runner.adaptation else plan.runner.checkpoint.name


def adapting_notes(plans: Sequence[Plan]) -> list[str]:
    """What adapts, by which protocol and on which samples; where nothing does, samples that are
    left out all the same.
    """
    notes = []
    pool = plans[0].id_split.pool if plans else None
    if pool is not None and not any(plan.runner.adaptation for plan in plans):
        notes.append(
            f"{len(pool):,} samples of each set are left out, those that networks would adapt to "
            "(--adapt none, --adapt-samples)."
        )
    for plan in plans:
        way = plan.runner.adaptation
        if way is not None:
            modes = "; ".join(_MODES[mode].format(points=_points(way)) for mode in way.modes)
            notes += [_protocol_note(way, plan), f"{side_of(plan)}: {modes}."]
    return list(dict.fromkeys(notes))


def _points(way: Adaptation) -> str:
    known = {} if way.set_points is None else way.set_points.data
    if "name" not in known:
        return ""
    return f" on {known['name']} ({known['role']}, {known['n']:,} samples)"


def _protocol_note(way: Adaptation, plan: Plan) -> str:
    if not way.streams:
        pool = plan.id_split.pool
        number = 0 if pool is None else len(pool)
        return (
            f"Protocol episodic: {number:,} unlabelled samples of each set, drawn by seed "
            f"{way.seed}, adapt; the others are evaluated, also without adaptation."
        )
    order = "predicted, then adapted to" if way.first == PREDICT else "adapted to, then predicted"
    start = "each set begins with the network as it is"
    if way.protocol == CONTINUAL:
        start = "the ID set comes first, then the others in the order given, without a reset"
    if way.start is not None:
        start += "; it begins where an earlier stream ended (--adapt-start)"
    return (
        f"Protocol {way.protocol}: samples come in an order drawn by seed {way.seed}, in batches "
        f"of {way.batch}, {order}; {start}."
    )


def adapted_facts(recording: Recording) -> dict[str, Any]:
    """How far a recording's network adapted: `passes`, and of regulators `effort` (the root mean
    square of the logarithms of factors) and the fraction `at_bound`; empty where nothing adapts.
    """
    facts = recording.provenance.get("adaptation") or {}
    found = {name: facts[name] for name in ("passes", "effort", "at_bound") if name in facts}
    return found | {"left_out": ", ".join(facts["left_out"])} if facts.get("left_out") else found


def effort_notes(label: str, sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How far the thresholds of a network moved on each of `sets`, where they reached the bound,
    and layers that were left out.
    """
    efforts = {name: one["effort"] for name, one in sets.items() if "effort" in one}
    if not efforts:
        return []
    first, *others = efforts.items()
    told = [f"{first[1]:.3f} on {first[0]}"]
    if len(others) <= _FEW:
        told += [f"{effort:.3f} on {name}" for name, effort in others]
    else:
        values = [effort for _, effort in others]
        told.append(f"{min(values):.3f} to {max(values):.3f} on {len(values)} others")
    bound = [f"{100 * one['at_bound']:.2g} % on {n}" for n, one in sets.items() if one["at_bound"]]
    more = f" and {len(bound) - _FEW} more sets" if len(bound) > _FEW else ""
    reached = f"; at the bound: {', '.join(bound[:_FEW])}{more}" if bound else ""
    notes = [f"{label}, effort (root mean square of log factors): {', '.join(told)}{reached}."]
    left_out = next(iter(sets.values())).get("left_out")
    if left_out:
        notes.append(f"{label}: not regulated, without a v_threshold: {left_out}.")
    return notes


REGULATED_SIGNAL = (
    "Regulation brings rates back, and with them goes the signal that detectors read: on shifts "
    "that a network adapts to, AUROC falls and FPR rises towards chance by design; on other sets "
    "they move either way. Read accuracy on shifts; detect with the network without adaptation."
)


def regulates(plans: Sequence[Plan]) -> bool:
    """Whether thresholds of a network move at test time."""
    return any(one.runner.adaptation and one.runner.adaptation.regulating for one in plans)
