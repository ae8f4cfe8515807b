"""What a shift of the data costs: energy, SynOps, rate and accuracy against the set as it is.

A shifted set holds the clean set's samples in its order, so that every change is paired by sample:
sample i against sample i, of one network or of two, layer by layer (docs/energy.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.account import account
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.result import EnergyResult
from ahsar_eval.errors import DataError
from ahsar_eval.recording import Recording

PerSample = NDArray[np.float64]
# One network on one set, sample by sample, [N] each, by quantity: without "rate" where there is no
# spiking layer, without "accuracy" (1 where it is right) where there are no labels.
Samples = Mapping[str, PerSample]

# Accuracy changes by a difference of fractions; the others by a fraction of their clean mean.
QUANTITIES = ("energy_pj", "synops", "rate", "accuracy")
METHOD = (
    "mean paired difference by sample, 95 %, Student's t; of a relative change by the delta method "
    "for a ratio of means"
)


@dataclass(frozen=True)
class Change:
    """How much a quantity changes, and the ends of the 95 % interval by sample; None where the data
    give no interval.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """A change and what each sample adds to its error, [N]; the terms sum to 0, and those of two
    networks on the same samples subtract.
    """

    value: float
    errors: PerSample

    def __sub__(self, other: "Terms") -> "Terms":
        return Terms(self.value - other.value, self.errors - other.errors)

    def change(self) -> Change:
        """The value with its interval; none from a single sample, or where nothing varies, which
        would claim certainty.
        """
        samples = len(self.errors)
        spread = float(self.errors.std(ddof=1)) if samples > 1 else 0.0
        if spread <= 1e-12 * max(1.0, abs(self.value)):
            return Change(self.value)
        from scipy.special import stdtrit  # a call without an interval does not wait for it

        half = float(stdtrit(samples - 1, 0.975)) * spread / samples**0.5
        return Change(self.value, self.value - half, self.value + half)


def difference_terms(clean: PerSample, shifted: PerSample) -> Terms:
    """Mean of shifted − clean, of paired values [N]."""
    value = float(shifted.mean() - clean.mean())
    return Terms(value, shifted - clean - value)


def relative_terms(clean: PerSample, shifted: PerSample) -> Terms | None:
    """(mean shifted − mean clean) / mean clean of paired values [N], a fraction; None where the
    clean mean is 0.

    The error is that of a ratio of means of paired samples: with r the ratio, of the mean of
    (shiftedᵢ − r cleanᵢ) / mean clean (Cochran, Sampling Techniques, 1977, equation 6.4).
    """
    mean = float(clean.mean()) if len(clean) else 0.0
    if mean == 0:
        return None
    ratio = float(shifted.mean()) / mean
    return Terms(ratio - 1, (shifted - ratio * clean) / mean)


def relative_change(clean: NDArray[np.generic], shifted: NDArray[np.generic]) -> Change | None:
    """The change of `relative_terms` with its interval."""
    both = (np.asarray(values, dtype=np.float64) for values in (clean, shifted))
    found = relative_terms(*both)
    return None if found is None else found.change()


def terms_of(quantity: str, clean: Samples, shifted: Samples) -> Terms | None:
    """The change of one of `QUANTITIES`; None where one of the two has none."""
    if quantity not in clean or quantity not in shifted:
        return None
    of = difference_terms if quantity == "accuracy" else relative_terms
    return of(clean[quantity], shifted[quantity])


def changes_of(clean: Samples, shifted: Samples) -> dict[str, Change]:
    """The change of every quantity that both have and that is defined."""
    found = {quantity: terms_of(quantity, clean, shifted) for quantity in QUANTITIES}
    return {quantity: terms.change() for quantity, terms in found.items() if terms is not None}


@dataclass(frozen=True, eq=False)
class ShiftedEnergy:
    """One network under one shift at one severity, or the mean over several of them, and the
    changes against the clean set.

    `data` is the name of the shifted set, or of a mean; `set` that of the clean one. `shift` is ''
    for a mean over shifts. `layers` are flat: name, kind (synapses: rate of what comes in; neurons:
    its own rate), rate, acs, energy_pj (None for what a layer has not) and `changes`, those that
    the layer has and that are not 0 when clean.
    """

    checkpoint: str
    thresholds: str
    profile: str
    data: str
    set: str
    shift: str
    severities: tuple[int, ...]
    members: int
    samples: Samples
    changes: Mapping[str, Change]
    layers: tuple[Mapping[str, Any], ...] = ()


def synops_by_layer(result: EnergyResult, recording: Recording) -> dict[str, PerSample]:
    """Accumulations that spikes drive, layer by layer and sample by sample, [N]; their sum's mean
    is the result's `total_acs`.
    """
    found: dict[str, PerSample] = {}
    for entry in account(recording, Choices(**result.choices)).select(operation="ac"):
        found[entry.layer] = found.get(entry.layer, np.zeros(len(recording))) + entry.counts
    return found


def samples_of(
    result: EnergyResult, recording: Recording, synops: Mapping[str, PerSample] | None = None
) -> Samples:
    """`result` sample by sample, with the recording that it was estimated from; `synops` by layer
    where they are at hand.

    Raises `DataError` where the two do not belong together.
    """
    if len(result.per_sample_pj) != len(recording):
        raise DataError(
            f"a result of {len(result.per_sample_pj)} samples came with a recording of "
            f"{len(recording)}; expected its own"
        )
    by_layer = synops or synops_by_layer(result, recording)
    samples = {
        "energy_pj": np.asarray(result.per_sample_pj, dtype=np.float64),
        "synops": sum(by_layer.values(), start=np.zeros(len(recording))),
    }
    if recording.sample_rates is not None:
        samples["rate"] = recording.sample_rates
    if result.accuracy is not None:
        samples["accuracy"] = (recording.predictions == recording.labels).astype(np.float64)
    return samples


def under_shift(
    result: EnergyResult, recording: Recording, clean: EnergyResult, clean_recording: Recording
) -> ShiftedEnergy:
    """A network on a shifted set against itself on the set as it is, sample i against sample i.

    Raises `DataError` where the two sets have different numbers of samples, or the results are of
    different networks or profiles.
    """
    for what, one, other in (
        ("checkpoints", result.checkpoint, clean.checkpoint),
        ("thresholds", result.thresholds, clean.thresholds),
        ("profiles", result.profile, clean.profile),
        ("numbers of samples", len(recording), len(clean_recording)),
    ):
        if one != other:
            raise DataError(
                f"{result.data} and {clean.data} have different {what}, {one} and {other}; "
                "expected the same of both"
            )
    synops, synops_before = (
        synops_by_layer(*pair) for pair in ((result, recording), (clean, clean_recording))
    )
    samples = samples_of(result, recording, synops)
    layers = _layers(result, recording, synops, clean, clean_recording, synops_before)
    return ShiftedEnergy(
        checkpoint=result.checkpoint,
        thresholds=result.thresholds,
        profile=result.profile,
        data=result.data,
        set=str(recording.split["set"]),
        shift=str(recording.split["shift"] or ""),
        severities=(int(recording.split["severity"]),),
        members=1,
        samples=samples,
        changes=changes_of(samples_of(clean, clean_recording, synops_before), samples),
        layers=tuple(layers),
    )


def _layers(
    result: EnergyResult,
    recording: Recording,
    synops: Mapping[str, PerSample],
    clean: EnergyResult,
    clean_recording: Recording,
    synops_before: Mapping[str, PerSample],
) -> Iterator[dict[str, Any]]:
    """Layers with weights, then spiking layers, each in network order.

    A change of energy has no interval: results hold it as a mean.
    """
    spikes = {
        layer.name: (was.spikes, layer.spikes)
        for layer, was in zip(recording.layers, clean_recording.layers, strict=True)
    }
    for kind in ("synapses", "neurons"):
        weights = kind == "synapses"
        both = (result.layers, clean.layers) if weights else (result.neurons, clean.neurons)
        for layer, was in zip(*both, strict=True):
            changes: dict[str, Change | None] = {}
            if was.energy_pj and layer.energy_pj is not None:
                changes["energy_pj"] = Change(layer.energy_pj / was.energy_pj - 1)
            if weights and (layer.acs or was.acs):
                before = synops_before[layer.name]
                changes["synops"] = relative_change(before, synops[layer.name])
            if (feeding := layer.source if weights else layer.name) in spikes:
                changes["rate"] = relative_change(*spikes[feeding])
            yield {
                "name": layer.name,
                "kind": kind,
                "rate": layer.input_rate if weights else layer.rate,
                "acs": layer.acs if weights else None,
                "energy_pj": layer.energy_pj,
                "changes": {name: change for name, change in changes.items() if change is not None},
            }


def with_means(shifted: Sequence[ShiftedEnergy], clean: Samples, name: str) -> list[ShiftedEnergy]:
    """`shifted` of one network with the mean of each shift over several severities, and over the
    shifts of the set `name`, whatever their number of severities.
    """
    found, each_shift = list(shifted), []
    shifts = list(dict.fromkeys((one.set, one.shift) for one in shifted))
    for shift in shifts:
        own = [one for one in shifted if (one.set, one.shift) == shift]
        if len(own) > 1:
            severities = sorted(one.severities[0] for one in own)
            first, last = severities[0], severities[-1]
            whole = severities == list(range(first, last + 1))
            told = f"{first}–{last}" if whole else ",".join(map(str, severities))
            own = [mean_under_shift(own, clean, f"{':'.join(shift)}:{told}")]
            found += own
        each_shift += own
    if len(shifts) > 1:
        found.append(mean_under_shift(each_shift, clean, f"{name}, {len(shifts)} shifts"))
    return found


def mean_under_shift(members: Sequence[ShiftedEnergy], clean: Samples, data: str) -> ShiftedEnergy:
    """The mean over several shifted sets of one network, called `data`: every sample is first
    averaged over the sets.

    So the interval is by sample, not by image of every set as if they were independent. Raises
    `DataError` for none, or several networks.
    """
    networks = {
        (one.checkpoint, one.thresholds, one.profile, len(one.samples["energy_pj"]))
        for one in members
    }
    if len(networks) != 1:
        raise DataError(
            f"a mean over shifts was asked for over {len(networks)} networks, profiles or sets; "
            "expected one"
        )
    shifts = {one.shift for one in members}
    samples = {
        quantity: np.mean([one.samples[quantity] for one in members], axis=0)
        for quantity in QUANTITIES
        if all(quantity in one.samples for one in members)
    }
    return replace(
        members[0],
        data=data,
        shift=members[0].shift if len(shifts) == 1 else "",
        severities=tuple(sorted({severity for one in members for severity in one.severities})),
        members=sum(one.members for one in members),
        samples=samples,
        changes=changes_of(clean, samples),
        layers=(),
    )


def contrasts_of(
    first: ShiftedEnergy, second: ShiftedEnergy, clean: Sequence[Samples]
) -> list[dict[str, Any]]:
    """How much more each quantity changes in the second network (b) than in the first (a), on the
    same samples, as flat rows: `difference` is b − a by sample, `low` and `high` the ends of its
    interval. `clean` is of each network.

    Raises `DataError` where the two are not under the same shift, severities and profile.
    """
    both = (first, second)
    at = [(one.shift, one.severities, one.profile, len(one.samples["energy_pj"])) for one in both]
    if at[0] != at[1]:
        raise DataError(
            f"changes under {first.data} and {second.data} cannot be compared; expected the same "
            "shift, severities and samples"
        )
    rows = []
    for quantity in QUANTITIES:
        a, b = (terms_of(quantity, was, one.samples) for one, was in zip(both, clean, strict=True))
        if a is not None and b is not None:
            difference = (b - a).change()
            rows.append(
                {
                    "first": first.checkpoint,
                    "second": second.checkpoint,
                    "profile": first.profile,
                    "data": first.data,
                    "set": first.set,
                    "shift": first.shift,
                    "severity": first.severities[0] if len(first.severities) == 1 else None,
                    "members": first.members,
                    "quantity": quantity,
                    "a": a.value,
                    "b": b.value,
                    "difference": difference.value,
                    "low": difference.low,
                    "high": difference.high,
                }
            )
    return rows
