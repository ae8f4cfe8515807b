"""Every figure of an energy evaluation, drawn from its results, and of the ledgers between
conventions.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from ahsar_eval.energy import EnergyResult
from ahsar_eval.energy.conventions import Number
from ahsar_eval.energy.ledger import Ledger
from ahsar_eval.energy.paired import Change
from ahsar_eval.energy.shift import ShiftedEnergy
from ahsar_eval.evaluation.energy import EnergyStudy
from ahsar_eval.plots.energy_bars import EnergyBars, save_energy_bars
from ahsar_eval.plots.energy_distribution import EnergySamples, save_energy_distribution
from ahsar_eval.plots.energy_severity import EnergySeverity, save_energy_severity
from ahsar_eval.plots.ledger_waterfall import Waterfall, WaterfallStep, save_waterfall
from ahsar_eval.plots.panels import Band
from ahsar_eval.plots.pareto import ScaleCurve, Setting, save_pareto
from ahsar_eval.report.energy_report import mean_rate, network_of
from ahsar_eval.report.layer_rows import layer_energies

BANDS = "95 % interval of the change"


def save_energy_figures(study: EnergyStudy, folder: Path, form: str = "pdf") -> list[Path]:
    """Write energy by layer, under shift, sample by sample, and accuracy against energy to
    `folder`; all networks share a figure.

    Beside each figure lie the drawn numbers as CSV. A figure for which there is nothing to draw (no
    shift at several severities, no threshold scales, no labels) is not written. Returns what was.
    Raises `OutputError`, and `DataError` for two networks of one name.
    """
    labels = [network_of(result) for result in study.clean]  # one colour for each in every figure
    note = price_note(study.clean)
    bars = [
        EnergyBars(label, *layer_energies(result))
        for label, result in zip(labels, study.clean, strict=True)
    ]
    written = save_energy_bars(bars, folder / f"energy_layers.{form}", note=note)
    named = {result.checkpoint: label for label, result in zip(labels, study.clean, strict=True)}
    growing = [curve for result in study.clean for curve in _severity_curves(study, result)]
    if growing:
        written += save_energy_severity(
            growing, folder / f"energy_severity.{form}", bands=BANDS, checkpoints=labels
        )
    curves = [
        ScaleCurve(label, _settings(study, result))
        for label, result in zip(labels, study.clean, strict=True)
    ]
    curves = [curve for curve in curves if curve.settings]
    if any(len(curve.settings) > 1 for curve in curves):
        written += save_pareto(
            curves, folder / f"energy_pareto.{form}", note=note, checkpoints=labels
        )
    samples = [
        EnergySamples(network_of(result), result.data, result.per_sample_pj, clean=True)
        for result in study.clean
    ]
    samples += [
        EnergySamples(named[one.checkpoint], one.data, one.samples.energy_pj)
        for one in _strongest(study.shifted)
    ]
    return written + save_energy_distribution(
        samples, folder / f"energy_distribution.{form}", note=note, checkpoints=labels
    )


def save_ledger_figures(
    ledgers: Mapping[str, Sequence[Ledger]], folder: Path, form: str = "pdf"
) -> list[Path]:
    """Write a waterfall for each pair of conventions to `folder`, all networks (the keys) in one;
    returns what was written.

    Raises `OutputError`.
    """
    pairs = dict.fromkeys(
        (one.start.convention, one.end.convention) for each in ledgers.values() for one in each
    )
    written: list[Path] = []
    for start, end in pairs:
        own = {
            label: one
            for label, each in ledgers.items()
            for one in each
            if (one.start.convention, one.end.convention) == (start, end)
        }
        sizes = sorted({one.start.batch_size for one in own.values()})
        per = f"per inference, in batches of {', '.join(map(str, sizes))}"
        walks = [_walk(label, one) for label, one in own.items()]
        written += save_waterfall(walks, folder / f"energy_ledger_{start}_{end}.{form}", per=per)
    return written


def price_note(results: Sequence[EnergyResult]) -> str:
    """The profile, and what was counted that it has no price for."""
    lines = [
        line for result in results for line in result.unpriced if "no price" in str(line["reason"])
    ]
    missing = dict.fromkeys(
        f"{line['operation'].upper()}s" if line["part"] == "synapses" else str(line["part"])
        for line in lines
    )
    return results[0].profile + (f" (no price: {', '.join(missing)})" if missing else "")


def _severity_curves(study: EnergyStudy, clean: EnergyResult) -> list[EnergySeverity]:
    """A curve for each shift at several severities; its first point is the clean set."""
    shifts: dict[str, list[ShiftedEnergy]] = {}
    for one in _single(study.shifted):
        if one.checkpoint == clean.checkpoint and "energy_pj" in one.changes:
            shifts.setdefault(_without_severity(one), []).append(one)
    names = [members[0].shift for members in shifts.values()]
    curves = []
    for head, found in shifts.items():
        members = sorted(found, key=lambda one: one.severities[0])
        if len(members) > 1:
            curves.append(
                EnergySeverity(
                    checkpoint=network_of(clean),
                    shift=members[0].shift if names.count(members[0].shift) == 1 else head,
                    severities=np.array([0, *(one.severities[0] for one in members)]),
                    accuracy=_accuracy(members, clean.accuracy),
                    rate=_relative(
                        members, "rate", mean_rate(clean), [one.rate for one in members]
                    ),
                    synops=_relative(
                        members, "synops", clean.total_acs, [one.synops for one in members]
                    ),
                    energy=_relative(
                        members,
                        "energy_pj",
                        1.0,
                        [1 + one.changes["energy_pj"].value for one in members],
                    ),
                )
            )
    return curves


def _single(shifted: Sequence[ShiftedEnergy]) -> list[ShiftedEnergy]:
    """Without the means over several sets."""
    return [one for one in shifted if one.members == 1]


def _without_severity(one: ShiftedEnergy) -> str:
    return one.data.rpartition(":")[0]


def _strongest(shifted: Sequence[ShiftedEnergy]) -> list[ShiftedEnergy]:
    """Of each network and shift the largest severity."""
    found: dict[tuple[str, str], ShiftedEnergy] = {}
    for one in _single(shifted):
        key = (one.checkpoint, _without_severity(one))
        if key not in found or one.severities[0] > found[key].severities[0]:
            found[key] = one
    return list(found.values())


def _accuracy(members: Sequence[ShiftedEnergy], clean: float | None) -> Band | None:
    values = [one.accuracy for one in members if one.accuracy is not None]
    if clean is None or len(values) < len(members):
        return None
    return _band(
        clean,
        values,
        [one.changes.get("accuracy") for one in members],
        lambda change: min(clean + change, 1.0),
    )


def _relative(
    members: Sequence[ShiftedEnergy], quantity: str, clean: float, values: Sequence[float]
) -> Band:
    return _band(
        clean,
        values,
        [one.changes.get(quantity) for one in members],
        lambda change: clean * (1 + change),
    )


def _band(
    clean: float,
    values: Sequence[float],
    changes: Sequence[Change | None],
    after: Callable[[float], float],
) -> Band:
    """The clean value and those of the severities, with the ends of each change's interval, which
    cannot fall below 0.

    `after` is the value that a change leads to. The clean set does not differ from itself, so its
    band is a point.
    """
    intervals = [
        (None, None) if change is None else (change.low, change.high) for change in changes
    ]
    ends = np.array(
        [
            [np.nan if end is None else max(0.0, after(end)) for end in interval]
            for interval in intervals
        ]
    )
    first = np.full((1, 2), clean if np.isfinite(ends).any() else np.nan)
    low, high = np.concatenate([first, ends]).T
    return Band(np.array([clean, *values]), low, high)


def _settings(study: EnergyStudy, clean: EnergyResult) -> list[Setting]:
    return [
        Setting(
            point.scale,
            point.result.total_energy_pj,
            point.result.accuracy,
            point.own,
            point.front,
            point.joint_front,
        )
        for point in study.curve
        if point.checkpoint == clean.checkpoint and point.result.accuracy is not None
    ]


def _walk(label: str, found: Ledger) -> Waterfall:
    samples = found.start.samples

    def mean(total: Number) -> Fraction:
        return Fraction(total) / samples

    return Waterfall(
        checkpoint=label,
        start=found.start.convention,
        end=found.end.convention,
        start_macs=mean(found.start.macs),
        start_acs=mean(found.start.acs),
        steps=[
            WaterfallStep(step.name, mean(step.macs), mean(step.acs))
            for step in found.steps
            if step.macs or step.acs
        ],
        end_macs=mean(found.end.macs),
        end_acs=mean(found.end.acs),
    )
