"""A whole energy evaluation: what was asked, checked as far as no network is needed; which sets and
threshold scales; one recording per network and set, results from all of them.

`ahsar_eval.energy` holds the counts, prices and statistics and sees no network.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ahsar_eval.data import SETS, Split
from ahsar_eval.data.catalogue import FILE_SETS, STORED_SETS
from ahsar_eval.energy.choices import EVENT_FRAMES, Choices
from ahsar_eval.energy.conventions import convention_of, reconcile, totals
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import Profile, profile_of
from ahsar_eval.energy.result import EnergyResult
from ahsar_eval.energy.shift import under_shift, with_means
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.adapting import adapting_notes
from ahsar_eval.evaluation.energy_records import NetworkEnergy, point_of, records_of
from ahsar_eval.evaluation.energy_tables import ENERGY
from ahsar_eval.evaluation.inputs import Plan, own_split, plan_of, set_notes
from ahsar_eval.evaluation.requests import (
    CONVENTIONS,
    EnergyRequest,
    check_once,
    listed_names,
    scale_values,
)
from ahsar_eval.evaluation.requirements import check_sets, checked, gated
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results


def requested(request: EnergyRequest) -> EnergyRequest:
    """`request` with profiles by name or file opened, scales as numbers, and shifts and conventions
    one by one. Raises `UsageError`.
    """
    conventions = listed_names(request.conventions, CONVENTIONS, "convention")
    for name in conventions:
        convention_of(name)
    pairs_of(request.explain, conventions)
    checked(request, ("energy",))
    scales = () if request.scales is None else request.scales
    return replace(
        request,
        profiles=chosen_profiles(request.profiles, request.memory),
        shifts=tuple(name for text in request.shifts for name in shift_names(text)),
        # An empty text is a mistake, an empty list is none.
        scales=scale_values(scales) if isinstance(scales, str) or len(scales) else (),
        conventions=conventions,
    )


def shift_names(text: str) -> list[str]:
    """What stands between commas; a path keeps its own."""
    if text.partition(":")[0] in FILE_SETS:
        return [text]
    return [name.strip() for name in text.split(",")]


def chosen_profiles(names: Sequence[str | Profile], memory: bool = False) -> tuple[Profile, ...]:
    """The profiles by name or file. Raises `UsageError`, also where there is nothing to price
    `memory`.
    """
    found = tuple(name if isinstance(name, Profile) else profile_of(name) for name in names)
    check_once([profile.name for profile in found], "profile")
    for profile in found:
        if memory and profile.memory_pj is None:
            raise UsageError(
                f"--memory needs a profile that prices memory access, and {profile.name} does not; "
                "leave one of the two out"
            )
    return found


def pairs_of(explain: str | None, conventions: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs to reconcile: the one given, or from ours to each convention named (to all without
    any). Raises `UsageError`.
    """
    if explain is None:
        return []
    ours, *others = CONVENTIONS
    if explain == "all":
        named = [name for name in conventions if name != ours]
        return [(ours, name) for name in named or others]
    start, _, end = explain.partition(":")
    if not start or not end:
        raise UsageError(
            f"--explain {explain} names no two conventions; expected START:END, such as "
            f"{ours}:neurobench, or nothing behind it"
        )
    for name in (start, end):
        convention_of(name)
    if start == end:
        raise UsageError(f"--explain {explain} walks from a convention to itself; name two")
    return [(start, end)]


def plan(request: EnergyRequest, runner: Runner) -> Plan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass.

    Raises `DataError` and `UsageError`.
    """
    clean = own_split(request, runner)
    if request.shifts and clean.shift is not None:
        raise UsageError(
            f"{request.data_name} is a shifted set already, and a shift is compared with the set "
            "as it is; name that one"
        )
    made = plan_of(request, runner, clean, [_shift_of(text, clean) for text in request.shifts])
    for split in made.others:
        _check_same_samples(split, clean)
    frame_notes(made.splits, request.choices)
    check_sets(checked(request, ("energy",)), made)
    runner.check_scales(request.scales or ())
    return made


def _shift_of(text: str, clean: Split) -> str:
    """A shift as the user typed it, as a specification of the set. Raises `UsageError` for another
    set.
    """
    name, head = clean.source.name, text.partition(":")[0]
    # Corrupted copies lie in files; whether they are of this set shows when they are open.
    if head in STORED_SETS or text.startswith(f"{name}:"):
        return text
    if text == name or head in (*SETS, *FILE_SETS):
        raise UsageError(
            f"--shift {text} is no shift of {name}; name one alone, such as contrast, contrast:5 "
            "or all"
        )
    return f"{name}:{text}"


def _check_same_samples(split: Split, clean: Split) -> None:
    """That sample i of both is the same one. Raises `UsageError`."""
    if not same_samples(split, clean):
        raise UsageError(
            f"{split.name} does not hold the samples of {clean.name} in their order, so nothing "
            "can be compared; name a shift of it"
        )


def same_samples(split: Split, clean: Split) -> bool:
    """Whether sample i of both is the same one: a shift of it, or stored copies in its order."""
    source = clean.source
    if split.source.identity == source.identity:
        return len(split) == len(clean)
    copies = split.source.copies_of == source.name
    return copies and np.array_equal(split.labels, clean.labels)


def frame_notes(splits: Sequence[Split], choices: Choices) -> list[str]:
    """How frames of events are charged, where there are any. Raises `UsageError` where there are
    none to replay.
    """
    taken = choices.event_frames
    if any(split.modality == "events" for split in splits):
        return [
            f"Frames of events: {taken}, for {EVENT_FRAMES[taken]} (--event-frames; "
            "--input-kind goes before it)."
        ]
    if taken == "replayed":
        raise UsageError(
            f"--event-frames replayed is for event recordings, and {splits[0].source.name} "
            "holds images; leave it out"
        )
    return []


def own_scale(runner: Runner) -> float | None:
    """The one factor that a network's own thresholds are of its base thresholds; None where each
    layer has its own.
    """
    if runner.scale is not None:
        return runner.scale
    return None if runner.checkpoint.scales else runner.checkpoint.fixed_scale


def evaluation(request: EnergyRequest, plans: Sequence[Plan]) -> Results:
    """Record what is not recorded yet and price it; one pass over each set and scale serves all
    profiles. Records and arrays are those of `records_of`.
    """
    return results_of(request, plans, [run(request, one) for one in plans])


def results_of(
    request: EnergyRequest, plans: Sequence[Plan], found: Sequence[Sequence[NetworkEnergy]]
) -> Results:
    """What was `found` of all networks together, as `evaluation` gives it."""
    records, arrays = records_of(found)
    checkpoints = [one.facts("data", "shifts" if one.others else "") for one in plans]
    results = Results(
        kind=ENERGY,
        records=records,
        facts=provenance(seed=request.seed, checkpoints=checkpoints),
        said=[
            *adapting_notes(plans),
            *set_notes(plans),
            *frame_notes(plans[0].splits, request.choices),
        ],
        by=("memory",) if request.memory else (),
        arrays=arrays,
    )
    return gated(results, request)


def run(
    request: EnergyRequest, planned: Plan, recording: Recording | None = None
) -> list[NetworkEnergy]:
    """Record what is not recorded yet of one network and price it under every profile; `recording`
    is that of its own set, where it is at hand. One that adapts has its own point among the scales
    alone: what it regulates is what a scale would set.
    """
    runner, own_set = planned.runner, planned.id_split
    runner.left = None  # a stream without reset begins with the set as it is

    def priced(recording: Recording, of: Runner) -> list[EnergyResult]:
        return [
            estimate(
                recording,
                profile,
                checkpoint=runner.checkpoint.name,
                thresholds=of.thresholds,
                choices=request.choices,
            )
            for profile in request.profiles
        ]

    recording, size = recording or runner.recording(own_set), runner.batch_size
    own = None if runner.adaptation else own_scale(runner)
    clean = priced(recording, runner)
    shifted = [
        list(map(under_shift, priced(runner.recording(split), runner), clean))
        for split in planned.others
    ]
    points = [(own, True, clean)] if request.scales else []
    for scale in () if runner.adaptation else request.scales:
        if scale != own:  # the network's own thresholds: recorded already
            other = runner.at_scale(scale)
            points.append((scale, False, priced(other.recording(own_set), other)))
    pairs = pairs_of(request.explain, request.conventions)
    counted = {
        "conventions": [totals(recording, name, size) for name in request.conventions],
        "ledgers": [reconcile(recording, *pair, size) for pair in pairs],
    }
    return [
        NetworkEnergy(
            planned,
            one,
            with_means([found[i] for found in shifted], one.samples, own_set.name),
            [point_of(found[i], scale, is_own) for scale, is_own, found in points],
            **counted,
        )
        for i, one in enumerate(clean)
    ]
