"""What a report asks: one pass of every network over every set, and from it everything that `ood`,
`compare` and `energy` find.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ahsar_eval.data import Split
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.energy.result import EnergyResult
from ahsar_eval.energy.shift import under_shift, with_means
from ahsar_eval.errors import AhsarWarning, UsageError
from ahsar_eval.evaluation import compare, energy, ood
from ahsar_eval.evaluation.energy_records import NetworkEnergy
from ahsar_eval.evaluation.inputs import Plan
from ahsar_eval.evaluation.requests import CONVENTIONS, EnergyRequest, ReportRequest, Request
from ahsar_eval.evaluation.requirements import (
    INTERVAL,
    METRICS,
    check_sets,
    checked,
    decided,
)
from ahsar_eval.ood import ScoredSet, differences, with_holm
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results

KINDS = ("ood", "energy")  # of results that requirements are decided by
COMPARED = ("accuracy", "auroc")
MOST_TRACES = 12


@dataclass(frozen=True, eq=False)
class Network:
    """What one network gave: its rows and scored sets, the recording of the ID set, the energy of
    an inference on every set, pJ, and all about it on the shifts of the ID set.
    """

    result: ood.NetworkResult
    recording: Recording
    energies: Mapping[str, float]
    priced: Sequence[EnergyResult] = ()

    @property
    def label(self) -> str:
        """What tables and the page call it."""
        return self.result.rows[0].label

    @property
    def plan(self) -> Plan:
        """Its network and its sets."""
        return self.result.plan

    @property
    def judged(self) -> set[str]:
        """Names of the sets whose labels it can be judged by."""
        return {row.ood for row in self.result.rows if "accuracy" in row.metrics}

    @property
    def shifted(self) -> list[ScoredSet]:
        """Of each shift of the ID set the largest severity."""
        largest: dict[Any, ScoredSet] = {}
        for some in self.result.others:
            if some.name in self._shifts:
                key = some.split["set"], some.split["shift"]
                before = largest.setdefault(key, some)
                if int(some.split["severity"]) > int(before.split["severity"]):
                    largest[key] = some
        return list(largest.values())

    @property
    def others(self) -> list[ScoredSet]:
        """The sets that are no shifts of the ID set."""
        return [some for some in self.result.others if some.name not in self._shifts]

    @property
    def _shifts(self) -> set[str]:
        return {row.ood for row in self.result.rows if row.group == "shift"}


@dataclass(frozen=True, eq=False)
class Found:
    """Everything that a report tells: networks in the order given, each followed by itself with
    what adapts at test time; OOD results and energy results of all; differences from the first
    (`against`), p-values corrected over all of them; what was required and whether it is met; and
    what was warned of on the way.
    """

    request: ReportRequest
    networks: Sequence[Network]
    ood: Results
    energy: Results
    comparison: Sequence[Mapping[str, Any]] = ()
    requirements: Sequence[Mapping[str, Any]] = ()
    warned: Sequence[str] = ()


def requested(request: ReportRequest) -> ReportRequest:
    """`request` as `ood` completes it, with its profile opened. Raises `UsageError` and
    `DataError`.
    """
    for name, value, most in (
        ("traces", request.traces, MOST_TRACES),
        ("examples", request.examples, 100),
    ):
        if not 0 <= value <= most:
            raise UsageError(f"--{name} is {value}; expected a whole number from 0 to {most}")
    checked(request, KINDS)
    (profile,) = energy.chosen_profiles((request.profile,))
    made = ood.requested(_unbound(request))
    return replace(made, profile=profile, require=request.require, on=request.on)


def _unbound(request: ReportRequest) -> ReportRequest:
    """`request` without requirements: those of energy are none of `ood`."""
    return replace(request, require=(), on=INTERVAL)


def plan(request: ReportRequest, runner: Runner) -> Plan:
    """What `ood` plans; every set that is required something of is there, of an energy the ID set
    or a shift of it. Raises `DataError` and `UsageError`.
    """
    made, asked = ood.plan(_unbound(request), runner), checked(request, KINDS)
    space = request.id_space or made.id_split.source.label_space or ""
    of_energy = [one for one in asked if "ood" not in METRICS[one.metric].keys]
    check_sets([one for one in asked if one not in of_energy], made, space)
    shifts = tuple(split for split in made.others if energy.same_samples(split, made.id_split))
    check_sets(of_energy, replace(made, others=shifts), space)
    return made


@contextmanager
def warnings_kept(kept: list[str]) -> Iterator[None]:
    """Warnings of this package are shown as always, and `kept`: a reader of the page must know
    them, too.
    """
    show = warnings.showwarning

    def shown(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if issubclass(category, AhsarWarning):
            kept.append(" ".join(str(message).split()))
        show(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", AhsarWarning)
        warnings.showwarning = shown
        yield


def evaluation(request: ReportRequest, plans: Sequence[Plan]) -> Found:
    """Record what is not recorded yet, each set once for all sections, and gather what was found.
    Raises `UsageError` where the baseline is none of the networks.
    """
    reference = ood.reference_of(request.baseline, plans)
    networks = [_network(request, one) for one in plans]
    results = [network.result for network in networks]
    asked = of_kind(_unbound(request), Request)
    energies = energy.requested(
        EnergyRequest(
            data_name=request.data_name,
            profiles=(request.profile,),
            conventions=CONVENTIONS,
            explain="all",
            seed=request.seed,
            data=request.data,
        )
    )
    priced = [_priced(energies, one) for one in networks]
    found = Found(
        request,
        networks,
        ood.results_of(asked, results, reference),
        energy.results_of(energies, [_alone(one.plan) for one in networks], priced),
        compared(request, networks),
    )
    of_both = {"ood": found.ood, "energy": found.energy}
    return replace(found, requirements=decided(checked(request, KINDS), of_both))


def _priced(request: EnergyRequest, network: Network) -> list[NetworkEnergy]:
    """Energy of a network on the ID set, and on its shifts against that."""
    (found,) = energy.run(request, _alone(network.plan), network.recording)
    name = network.result.id_set.name
    shifted = [under_shift(one, found.clean) for one in network.priced]
    return [replace(found, shifted=with_means(shifted, found.clean.samples, name))]


def of_kind(request: Any, kind: type) -> Any:
    """The part of a request that another kind of request holds, too."""
    return kind(**{one.name: getattr(request, one.name) for one in fields(kind)})


def _alone(plan: Plan) -> Plan:
    """A plan of the ID set without others."""
    return replace(plan, others=(), fitting={})


def _network(request: ReportRequest, plan: Plan) -> Network:
    """One network over all its sets. Only the recording of the ID set is kept as a whole."""
    energies: dict[str, float] = {}
    shifted: list[EnergyResult] = []
    known: list[Recording] = []
    profile: Profile = request.profile

    def seen(split: Split, recording: Recording) -> None:
        name, thresholds = plan.runner.checkpoint.name, plan.runner.thresholds
        priced = estimate(recording, profile, checkpoint=name, thresholds=thresholds)
        energies[split.name] = float(priced.row["total_energy_pj"])
        if split is plan.id_split:
            known.append(recording)
        elif energy.same_samples(split, plan.id_split):
            shifted.append(priced)

    traced = traced_samples(len(plan.id_split), request.traces)
    result = ood.run(of_kind(request, Request), plan, traced, seen)
    # A stored recording may hold traces that something else asked for.
    asked = tuple(one for one in known[0].traces if one.index in traced)
    return Network(result, replace(known[0], traces=asked), energies, shifted)


def traced_samples(samples: int, traces: int) -> tuple[int, ...]:
    """Samples whose spikes are shown: so many, evenly spaced over the set."""
    places = np.linspace(0, samples - 1, min(traces, samples)).round().astype(int)
    return tuple(dict.fromkeys(places.tolist()))


def compared(request: ReportRequest, networks: Sequence[Network]) -> list[dict[str, Any]]:
    """Differences in accuracy and AUROC of every network from the first, or the baseline, and of
    one that adapts from itself without: `against` which, interval and p-value, corrected by Holm's
    method over all that are shown.
    """
    plain = [one for one in networks if one.plan.runner.adaptation is None]
    first = next(
        (one for one in plain if one.plan.runner.checkpoint.name == request.baseline), plain[0]
    )
    resamples = ood.statistics_of(request).resamples
    found: list[dict[str, Any]] = []
    for one in networks:
        own = one.plan.runner
        other = first
        if own.adaptation is not None:
            other = next(each for each in plain if each.plan.runner.checkpoint is own.checkpoint)
        if other is one:
            continue
        pair = _lines_of(other), _lines_of(one)
        found += [
            {"label": one.label, "against": other.label, **record}
            for record in differences([pair], resamples, COMPARED)
        ]
    return with_holm(found)


def _lines_of(network: Network) -> list[Any]:
    """What is compared of a network: by the first score, a shift as the mean of its severities."""
    rows = compare.visible_rows(ood.summarised([network.result])[0], ())
    return [row for row in rows if row.score == rows[0].score]
