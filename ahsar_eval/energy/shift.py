"""What a shift of the data costs: energy, SynOps, rate and accuracy against the set as it is.

A shifted set holds the clean set's samples in its order, so that every change is paired by sample:
sample i against sample i, of one network or of two, layer by layer (docs/energy.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ahsar_eval.energy.result import EnergyResult, PerSample, Samples, label_of

Maybe = Mapping[str, PerSample | None]  # samples by quantity, where there are any
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

    def change(self) -> Change:
        """The value with its interval; none from a single sample, or where nothing varies, which
        would claim certainty.
        """
        samples = len(self.errors)
        spread = float(self.errors.std(ddof=1)) if samples > 1 else 0.0
        if spread <= 1e-12 * max(1.0, abs(self.value)):
            return Change(self.value)
        half = half_width(spread, samples)
        return Change(self.value, self.value - half, self.value + half)


def half_width(spread: float, samples: int) -> float:
    """Half the 95 % interval of a mean over at least two `samples` with the standard deviation
    `spread`, by Student's t.
    """
    from scipy.special import stdtrit  # a call without an interval does not wait for it

    return float(stdtrit(samples - 1, 0.975)) * spread / samples**0.5


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


def terms_of(clean: Maybe, shifted: Maybe) -> dict[str, Terms]:
    """The change of every one of `QUANTITIES` that both have and that is defined."""
    found: dict[str, Terms] = {}
    for name in QUANTITIES:
        before, after = clean.get(name), shifted.get(name)
        if before is not None and after is not None:
            of = difference_terms if name == "accuracy" else relative_terms
            if terms := of(before, after):
                found[name] = terms
    return found


def changes_of(clean: Maybe, shifted: Maybe) -> dict[str, Change]:
    """The same with their intervals."""
    return {name: terms.change() for name, terms in terms_of(clean, shifted).items()}


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
    layers: tuple[Mapping[str, Any], ...]
    adaptation: str = ""


def under_shift(result: EnergyResult, clean: EnergyResult) -> ShiftedEnergy:
    """A network on a shifted set against itself on the set as it is, sample i against sample i."""
    return ShiftedEnergy(
        **{name: result.row[name] for name in ("checkpoint", "thresholds", "profile", "data")},
        set=result.split["set"],
        shift=result.split["shift"] or "",
        severities=(result.split["severity"],),
        members=1,
        samples=result.samples,
        changes=changes_of(clean.samples, result.samples),
        layers=tuple(_layers(result, clean)),
        adaptation=result.row.get("adaptation", ""),
    )


def _layers(result: EnergyResult, clean: EnergyResult) -> Iterator[dict[str, Any]]:
    """Layers with weights, then spiking layers, each in network order.

    A change of energy has no interval: results hold it as a mean.
    """
    for kind, part, feeding, rate in (
        ("synapses", "layers", "source", "input_rate"),
        ("neurons", "neurons", "name", "rate"),
    ):
        for one, was in zip(result.row[part], clean.row[part], strict=True):
            changes = {}
            if was["energy_pj"] and one["energy_pj"] is not None:
                changes["energy_pj"] = Change(one["energy_pj"] / was["energy_pj"] - 1)
            before, after = (
                {"synops": of.synops.get(one["name"]), "rate": of.spikes.get(one[feeding])}
                for of in (clean, result)
            )
            yield {
                "name": one["name"],
                "kind": kind,
                "rate": one[rate],
                "acs": one.get("acs"),
                "energy_pj": one["energy_pj"],
                "changes": changes | changes_of(before, after),
            }


def with_means(shifted: Sequence[ShiftedEnergy], clean: Samples, name: str) -> list[ShiftedEnergy]:
    """`shifted` of one network with the mean of each shift over several severities, and over the
    shifts of the set `name`, whatever their number of severities.
    """
    found, each_shift = list(shifted), []
    shifts: dict[str, list[ShiftedEnergy]] = {}
    for one in shifted:
        shifts.setdefault(f"{one.set}:{one.shift}", []).append(one)
    for shift, own in shifts.items():
        if len(own) > 1:
            severities = sorted(one.severities[0] for one in own)
            first, last = severities[0], severities[-1]
            whole = severities == list(range(first, last + 1))
            told = f"{first}–{last}" if whole else ",".join(map(str, severities))
            own = [mean_under_shift(own, clean, f"{shift}:{told}")]
            found += own
        each_shift += own
    if len(shifts) > 1:
        found.append(mean_under_shift(each_shift, clean, f"{name}, {len(shifts)} shifts"))
    return found


def mean_under_shift(members: Sequence[ShiftedEnergy], clean: Samples, data: str) -> ShiftedEnergy:
    """The mean over several shifted sets of one network, called `data`: every sample is first
    averaged over the sets, so the interval is by sample, not by image of every set as if they were
    independent.
    """
    samples = {
        quantity: np.mean([one.samples[quantity] for one in members], axis=0)
        for quantity in QUANTITIES
        if all(quantity in one.samples for one in members)
    }
    return replace(
        members[0],
        data=data,
        shift=members[0].shift if len({one.shift for one in members}) == 1 else "",
        severities=tuple(sorted({severity for one in members for severity in one.severities})),
        members=sum(one.members for one in members),
        samples=samples,
        changes=changes_of(clean, samples),
        layers=(),
    )


def contrasts_of(
    first: ShiftedEnergy, second: ShiftedEnergy, clean: Sequence[Samples]
) -> list[dict[str, Any]]:
    """How much more each quantity changes in the second network (b) than in the first (a), under
    the same shift on the same samples, as flat rows: `difference` is b − a by sample, `low` and
    `high` the ends of its interval. `clean` is of each network.
    """
    both = zip(clean, (first, second), strict=True)
    of_a, of_b = (terms_of(was, one.samples) for was, one in both)
    rows = []
    for quantity in (name for name in QUANTITIES if name in of_a and name in of_b):
        a, b = of_a[quantity], of_b[quantity]
        difference = Terms(b.value - a.value, b.errors - a.errors).change()
        rows.append(
            {
                "first": label_of(vars(first)),
                "second": label_of(vars(second)),
                **{name: getattr(first, name) for name in ("profile", "data", "set", "shift")},
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
