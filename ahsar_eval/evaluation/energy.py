"""A whole energy evaluation: which sets, which threshold scales, one recording per network and set,
results from all of them.

`ahsar_eval.energy` holds the counts, prices and statistics and sees no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ahsar_eval.data import (
    EVENT_SHIFTS,
    SETS,
    SHIFTS,
    DataOptions,
    Split,
    open_split,
    open_splits,
    parse,
)
from ahsar_eval.data.catalogue import STORED_SETS
from ahsar_eval.energy import Choices, EnergyResult, Profile, estimate
from ahsar_eval.energy.conventions import ConventionTotals, totals
from ahsar_eval.energy.curve import ScalePoint, with_fronts
from ahsar_eval.energy.ledger import Ledger, ledger
from ahsar_eval.energy.shift import (
    Contrast,
    Samples,
    ShiftedEnergy,
    contrasts_of,
    mean_under_shift,
    samples_of,
    under_shift,
)
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner


@dataclass(frozen=True)
class EnergyRequest:
    """What is asked of every checkpoint: a set, shifts of it, threshold scales, prices and choices.

    `shifts` are specifications as a user types them: `contrast`, `contrast:5`, `all`, each also
    with the set's name before it. `conventions` are counters whose totals of the same run are
    wanted, `ledgers` pairs of them to walk between.
    """

    data_name: str
    profiles: tuple[Profile, ...]
    choices: Choices = field(default_factory=Choices)
    shifts: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    conventions: tuple[str, ...] = ()
    ledgers: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    data: DataOptions = field(default_factory=DataOptions)


@dataclass(frozen=True)
class EnergyPlan:
    """One network and every split it will see."""

    runner: Runner
    clean: Split
    shifted: tuple[Split, ...] = ()


@dataclass(frozen=True, eq=False)
class NetworkEnergy:
    """What one network gave: the recording of the set as it is; results, shifts and scales, a tuple
    of each per profile.
    """

    plan: EnergyPlan
    recording: Recording
    clean: tuple[EnergyResult, ...]
    shifted: tuple[tuple[ShiftedEnergy, ...], ...]
    curve: tuple[tuple[ScalePoint, ...], ...]
    conventions: tuple[ConventionTotals, ...] = ()
    ledgers: tuple[Ledger, ...] = ()


@dataclass(frozen=True, eq=False)
class EnergyStudy:
    """Everything found under one profile, networks in the order given.

    `clean` has one result per network. `shifted` has, network by network, every shift and severity
    in the order asked for, then the means of a shift over its severities and of all shifts.
    `contrasts` are there where exactly two networks met the same samples. `curve` has, network by
    network, the scales ascending and the network's own setting. `conventions` and `ledgers` have a
    tuple per network, the same under every profile.
    """

    profile: str
    clean: tuple[EnergyResult, ...]
    shifted: tuple[ShiftedEnergy, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    curve: tuple[ScalePoint, ...] = ()
    conventions: tuple[tuple[ConventionTotals, ...], ...] = ()
    ledgers: tuple[tuple[Ledger, ...], ...] = ()


def plan(request: EnergyRequest, runner: Runner) -> EnergyPlan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass.

    Raises `DataError` and `UsageError`.
    """
    clean = open_split(request.data_name, runner.view, seed=request.seed, options=request.data)
    if request.shifts and clean.shift is not None:
        raise UsageError(
            f"{request.data_name} is a shifted set already, and a shift is compared with the set "
            "as it is; name that one"
        )
    shifted: list[Split] = []
    for text in request.shifts:
        for split in open_splits(
            _specification(text, request), runner.view, seed=request.seed, options=request.data
        ):
            if split.identity in {other.identity for other in shifted}:
                raise UsageError(f"the shift {split.name} was named twice; name it once")
            _check_same_samples(split, clean)
            shifted.append(split)
    _ = runner.network
    return EnergyPlan(runner, clean, tuple(shifted))


def run(request: EnergyRequest, planned: EnergyPlan) -> NetworkEnergy:
    """Record what is not recorded yet and price it; one pass over each set and scale serves all
    profiles.
    """
    runner = planned.runner

    def results(recording: Recording, of: Runner) -> tuple[EnergyResult, ...]:
        return tuple(
            estimate(
                recording,
                profile,
                checkpoint=runner.checkpoint.name,
                thresholds=of.thresholds,
                label_space=runner.checkpoint.provenance.get("label_space"),
                choices=request.choices,
            )
            for profile in request.profiles
        )

    recording = runner.recording(planned.clean)
    clean = results(recording, runner)
    shifted: list[tuple[ShiftedEnergy, ...]] = []
    for split in planned.shifted:
        found = runner.recording(split)
        pairs = zip(results(found, runner), clean, strict=True)
        shifted.append(
            tuple(under_shift(result, found, before, recording) for result, before in pairs)
        )
    curve = (
        [tuple(ScalePoint(result.checkpoint, own_scale(runner), True, result) for result in clean)]
        if request.scales
        else []
    )
    for scale in request.scales:
        if scale == own_scale(runner):
            continue  # the network's own thresholds: recorded already
        other = runner.at_scale(scale)
        points = results(other.recording(planned.clean), other)
        curve.append(
            tuple(ScalePoint(result.checkpoint, scale, False, result) for result in points)
        )
    return NetworkEnergy(
        plan=planned,
        recording=recording,
        clean=clean,
        shifted=tuple(zip(*shifted, strict=True)),
        curve=tuple(zip(*curve, strict=True)),
        conventions=tuple(
            totals(recording, name, runner.batch_size) for name in request.conventions
        ),
        ledgers=tuple(
            ledger(recording, start, end, runner.batch_size) for start, end in request.ledgers
        ),
    )


def own_scale(runner: Runner) -> float | None:
    """The one factor that a network's own thresholds are of its base thresholds; None where each
    layer has its own.
    """
    if runner.scale is not None:
        return runner.scale
    return None if runner.checkpoint.has_scales else runner.checkpoint.fixed_scale


def studies(networks: Sequence[NetworkEnergy]) -> list[EnergyStudy]:
    """All networks together, one study for each profile: with means over shifts, contrasts of two
    networks and joint fronts.
    """
    return [_study(networks, place) for place in range(len(networks[0].clean))]


def _study(networks: Sequence[NetworkEnergy], place: int) -> EnergyStudy:
    clean = tuple(network.clean[place] for network in networks)
    before = (
        [
            samples_of(result, network.recording)
            for result, network in zip(clean, networks, strict=True)
        ]
        if networks[0].shifted
        else []
    )
    shifted = [
        _with_means(network.shifted[place], samples, network.plan.clean.name)
        for network, samples in zip(networks, before, strict=False)
    ]
    return EnergyStudy(
        profile=clean[0].profile,
        clean=clean,
        shifted=tuple(one for of_network in shifted for one in of_network),
        contrasts=tuple(_contrasts(networks, shifted, before)),
        curve=tuple(with_fronts([network.curve[place] for network in networks if network.curve])),
        conventions=tuple(network.conventions for network in networks),
        ledgers=tuple(network.ledgers for network in networks),
    )


def _with_means(shifted: Sequence[ShiftedEnergy], clean: Samples, name: str) -> list[ShiftedEnergy]:
    """`shifted` with the mean of each shift over several severities, and over the shifts, whatever
    their number of severities.
    """
    found, each_shift = list(shifted), []
    shifts = list(dict.fromkeys(_without_severity(one) for one in shifted))
    for shift in shifts:
        own = [one for one in shifted if _without_severity(one) == shift]
        means = [mean_under_shift(own, clean, f"{shift}:{_range(own)}")] if len(own) > 1 else []
        found += means
        each_shift += means or own
    if len(shifts) > 1:
        found.append(mean_under_shift(each_shift, clean, f"{name}, {len(shifts)} shifts"))
    return found


def _without_severity(one: ShiftedEnergy) -> str:
    return one.data.rpartition(":")[0]


def _range(members: Sequence[ShiftedEnergy]) -> str:
    severities = sorted(one.severities[0] for one in members)
    whole = severities == list(range(severities[0], severities[-1] + 1))
    return f"{severities[0]}–{severities[-1]}" if whole else ",".join(map(str, severities))


def _contrasts(
    networks: Sequence[NetworkEnergy],
    shifted: Sequence[Sequence[ShiftedEnergy]],
    clean: Sequence[Samples],
) -> list[Contrast]:
    if len(networks) != 2 or not shifted:
        return []
    sources = {network.plan.clean.source.identity for network in networks}
    lists = [[one.data for one in of_network] for of_network in shifted]
    if len(sources) > 1:
        return []
    twins = {one.data: one for one in shifted[1]}
    return [
        contrast
        for one in shifted[0]
        if one.data in twins
        and lists[0].count(one.data) == lists[1].count(one.data) == 1
        and one.members == twins[one.data].members
        for contrast in contrasts_of(one, twins[one.data], (clean[0], clean[1]))
    ]


def _specification(text: str, request: EnergyRequest) -> str:
    """A shift as the user typed it, as a specification of the request's set. Raises `UsageError`
    for another set or an unknown shift.
    """
    name = parse(request.data_name).name
    if text in STORED_SETS or text.partition(":")[0] in STORED_SETS:
        # corrupted copies that lie in files; whether they are of this set shows when they are open
        return text
    head = text.partition(":")[0]
    if text == name or text.startswith(f"{name}:"):
        whole = text
    elif head in SETS or head in ("folder", "npz", "events"):
        raise UsageError(
            f"--shift {text} is of another set than {name}; name a shift alone, such as contrast, "
            "contrast:5 or all"
        )
    else:
        whole = f"{name}:{text}"
    events = name.startswith("events:") or (name in SETS and SETS[name].modality == "events")
    spec = parse(whole)
    if spec.name != name or spec.variants == ((None, 0),):
        known = ", ".join(EVENT_SHIFTS if events else SHIFTS)
        raise UsageError(
            f"--shift {text} names no shift; known are {known} and all, each optionally followed "
            "by :1 to :5"
        )
    return whole


def _check_same_samples(split: Split, clean: Split) -> None:
    """That sample i of both is the same one. Raises `UsageError`."""
    source = clean.source
    if split.source.identity == source.identity:
        return
    if split.source.copies_of == source.name and np.array_equal(split.labels, clean.labels):
        return
    raise UsageError(
        f"{split.name} does not hold the samples of {clean.name} in their order, so nothing can be "
        "compared; name a shift of it"
    )
