"""What a shift of the data costs: energy, SynOps, rate and accuracy against the set as it is,
sample by sample, layer by layer.

A shifted set holds the clean set's samples in its order, so that every change is paired by sample
(docs/energy.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ahsar_eval.energy.layer_changes import LayerUnderShift, layers_under_shift, synops_by_layer
from ahsar_eval.energy.paired import Change, PerSample, Terms, difference_terms, relative_terms
from ahsar_eval.energy.result import EnergyResult
from ahsar_eval.errors import DataError
from ahsar_eval.recording import Recording

# Quantities of a network on a set. Accuracy changes by a difference of fractions; the others by a
# fraction of their clean mean.
QUANTITIES = ("energy_pj", "synops", "rate", "accuracy")


@dataclass(frozen=True, eq=False)
class Samples:
    """One network on one set, sample by sample, [N] each: energy, SynOps, mean rate, and 1 where it
    is right (None without labels).
    """

    energy_pj: PerSample
    synops: PerSample
    rate: PerSample
    accuracy: PerSample | None

    def __len__(self) -> int:
        return len(self.energy_pj)

    def mean(self, quantity: str) -> float | None:
        """Mean of one of `QUANTITIES` over the samples; None where there is none."""
        values: PerSample | None = getattr(self, quantity)
        return None if values is None else float(values.mean())


@dataclass(frozen=True)
class Contrast:
    """How much more one quantity changes under a shift in the second network than in the first:
    `difference` is b − a, by sample.
    """

    first: str
    second: str
    profile: str
    data: str
    shift: str
    severities: tuple[int, ...]
    members: int
    quantity: str
    a: float
    b: float
    difference: Change


@dataclass(frozen=True, eq=False)
class ShiftedEnergy:
    """One network under one shift at one severity, or the mean over several of them, and the
    changes against the clean set.

    `data` is the set's name, or what a mean is of; `shift` is '' for a mean over shifts. `result`
    is None for a mean.
    """

    checkpoint: str
    thresholds: str
    profile: str
    data: str
    shift: str
    severities: tuple[int, ...]
    members: int
    samples: Samples
    changes: Mapping[str, Change]
    layers: tuple[LayerUnderShift, ...] = ()
    result: EnergyResult | None = None

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def energy_pj(self) -> float:
        """Mean energy per inference."""
        return float(self.samples.energy_pj.mean())

    @property
    def synops(self) -> float:
        """Mean SynOps per inference."""
        return float(self.samples.synops.mean())

    @property
    def rate(self) -> float:
        """Mean rate over the spiking layers, spikes per neuron and step."""
        return float(self.samples.rate.mean())

    @property
    def accuracy(self) -> float | None:
        """Accuracy; None where labels are unknown or not kept."""
        return self.samples.mean("accuracy")


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
    layers = [layer.spikes / (layer.neurons * recording.timesteps) for layer in recording.layers]
    right = (
        (recording.predictions == recording.labels).astype(np.float64)
        if result.accuracy is not None
        else None
    )
    return Samples(
        energy_pj=np.asarray(result.per_sample_pj, dtype=np.float64),
        synops=sum(
            (synops or synops_by_layer(result, recording)).values(), start=np.zeros(len(recording))
        ),
        rate=np.mean(layers, axis=0) if layers else np.zeros(len(recording)),
        accuracy=right,
    )


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
        synops_by_layer(result, recording),
        synops_by_layer(clean, clean_recording),
    )
    samples, before = (
        samples_of(result, recording, synops),
        samples_of(clean, clean_recording, synops_before),
    )
    return ShiftedEnergy(
        checkpoint=result.checkpoint,
        thresholds=result.thresholds,
        profile=result.profile,
        data=result.data,
        shift=str(recording.split["shift"] or ""),
        severities=(int(recording.split["severity"]),),
        members=1,
        samples=samples,
        changes=changes_of(before, samples),
        layers=layers_under_shift(result, recording, synops, clean, clean_recording, synops_before),
        result=result,
    )


def mean_under_shift(members: Sequence[ShiftedEnergy], clean: Samples, data: str) -> ShiftedEnergy:
    """The mean over several shifted sets of one network, called `data`: every sample is first
    averaged over the sets.

    So the interval is by sample, not by image of every set as if they were independent. Raises
    `DataError` for none, or several networks.
    """
    networks = {(one.checkpoint, one.thresholds, one.profile, one.n) for one in members}
    if len(networks) != 1:
        raise DataError(
            f"a mean over shifts was asked for over {len(networks)} networks, profiles or sets; "
            "expected one"
        )
    first = members[0]
    shifts = {one.shift for one in members}
    right = [one.samples.accuracy for one in members if one.samples.accuracy is not None]
    samples = Samples(
        energy_pj=np.mean([one.samples.energy_pj for one in members], axis=0),
        synops=np.mean([one.samples.synops for one in members], axis=0),
        rate=np.mean([one.samples.rate for one in members], axis=0),
        accuracy=np.mean(right, axis=0) if len(right) == len(members) else None,
    )
    return ShiftedEnergy(
        checkpoint=first.checkpoint,
        thresholds=first.thresholds,
        profile=first.profile,
        data=data,
        shift=first.shift if len(shifts) == 1 else "",
        severities=tuple(sorted({severity for one in members for severity in one.severities})),
        members=sum(one.members for one in members),
        samples=samples,
        changes=changes_of(clean, samples),
    )


def changes_of(clean: Samples, shifted: Samples) -> dict[str, Change]:
    """The change of every quantity that both have and that is defined."""
    return {
        quantity: found.change()
        for quantity in QUANTITIES
        if (found := _terms(clean, shifted, quantity)) is not None
    }


def contrasts_of(
    first: ShiftedEnergy, second: ShiftedEnergy, clean: tuple[Samples, Samples]
) -> list[Contrast]:
    """How much more each quantity changes in the second network than in the first, on the same
    samples; `clean` is of each network.

    Raises `DataError` where the two are not under the same shift, severities and profile.
    """
    places = [(one.shift, one.severities, one.profile, one.n) for one in (first, second)]
    if places[0] != places[1]:
        raise DataError(
            f"changes under {first.data} and {second.data} cannot be compared; expected the same "
            "shift, severities and samples"
        )
    found = []
    for quantity in QUANTITIES:
        a, b = (
            _terms(whole, one.samples, quantity)
            for whole, one in zip(clean, (first, second), strict=True)
        )
        if a is None or b is None:
            continue
        found.append(
            Contrast(
                first=first.checkpoint,
                second=second.checkpoint,
                profile=first.profile,
                data=first.data,
                shift=first.shift,
                severities=first.severities,
                members=first.members,
                quantity=quantity,
                a=a.value,
                b=b.value,
                difference=b.beyond(a),
            )
        )
    return found


def _terms(clean: Samples, shifted: Samples, quantity: str) -> Terms | None:
    before, after = getattr(clean, quantity), getattr(shifted, quantity)
    if before is None or after is None:
        return None
    return (
        difference_terms(before, after) if quantity == "accuracy" else relative_terms(before, after)
    )
