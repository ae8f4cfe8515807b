"""Energy as flat rows and JSON-ready mappings, every number complete: results, shifts, comparisons
and curves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ahsar_eval.energy import EnergyResult
from ahsar_eval.energy.curve import accuracy_per_uj
from ahsar_eval.energy.paired import Change
from ahsar_eval.energy.shift import QUANTITIES, Contrast, ShiftedEnergy
from ahsar_eval.evaluation.energy import EnergyStudy
from ahsar_eval.report.energy_report import mean_rate


def energy_csv_rows(results: Sequence[EnergyResult]) -> list[dict[str, Any]]:
    """One flat row per layer with weights and checkpoint."""
    return [
        {
            **origin_of(result),
            "layer": layer.name,
            "input": layer.input,
            "source": layer.source,
            "input_rate": layer.input_rate,
            "input_spikes": layer.input_spikes,
            "acs": layer.acs,
            "macs": layer.macs,
            "effective_macs": layer.effective_macs,
            "macs_all_steps": layer.macs_all_steps,
            "energy_pj": layer.energy_pj,
            "synaptic_pj": layer.synaptic_pj,
            "other_pj": layer.other_pj,
            "synops_per_synapse": layer.synops_per_synapse,
        }
        for result in results
        for layer in result.layers
    ]


def result_rows(results: Sequence[EnergyResult]) -> list[dict[str, Any]]:
    """Spiking layers, operations without weights, every line of the account and the totals, flat;
    layers with weights stand elsewhere.
    """
    rows: list[dict[str, Any]] = []
    for result in results:
        origin = origin_of(result)
        rows += [
            {
                "row": "neurons",
                **origin,
                "layer": one.name,
                "neurons": one.neurons,
                "threshold": one.threshold,
                "spikes": one.spikes,
                "rate": one.rate,
                "neuron_updates": one.updates,
                "energy_pj": one.energy_pj,
            }
            for one in result.neurons
        ]
        rows += [
            {
                "row": "operations",
                **origin,
                "layer": one.name,
                "part": one.part,
                "count": one.operations,
                "energy_pj": one.energy_pj,
            }
            for one in result.operators
        ]
        rows += [
            {
                "row": "account",
                **origin,
                "layer": one.layer,
                "part": one.part,
                "operation": one.operation,
                "detail": one.detail,
                "count": one.count,
                "energy_pj": one.energy_pj,
            }
            for one in result.parts
        ]
        rows.append(
            {
                "row": "total",
                **origin,
                **_summary(result),
                "energy_std_pj": result.total_energy_std_pj,
                **{f"energy_quantile_{at}_pj": value for at, value in result.quantiles_pj.items()},
            }
        )
    return rows


def shift_dicts(study: EnergyStudy) -> list[dict[str, Any]]:
    """The networks under every shift, JSON-ready: changes with their intervals, and
    every layer's."""
    return [
        {
            **_of_shifted(one),
            "changes": _changes(one.changes),
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "rate": layer.rate,
                    "acs": layer.synops,
                    "energy_pj": layer.energy_pj,
                    "changes": _changes(layer.changes),
                }
                for layer in one.layers
            ],
        }
        for one in study.shifted
    ]


def shift_rows(study: EnergyStudy) -> list[dict[str, Any]]:
    """The same, flat: a row per network and shift, and one per layer."""
    rows = [{"row": "shift", **_of_shifted(one), **_flat(one.changes)} for one in study.shifted]
    rows += [
        {
            "row": "shift layer",
            **origin_of(one),
            "shift": one.shift,
            "severity": one.severities[0],
            "layer": layer.name,
            "kind": layer.kind,
            "rate": layer.rate,
            "acs": layer.synops,
            "energy_pj": layer.energy_pj,
            **_flat(layer.changes),
        }
        for one in study.shifted
        for layer in one.layers
    ]
    return [*rows, *({"row": "contrast", **contrast} for contrast in contrast_dicts(study))]


def contrast_dicts(study: EnergyStudy) -> list[dict[str, Any]]:
    """The changes of two networks compared, flat and JSON-ready."""

    def flat(one: Contrast) -> dict[str, Any]:
        names = ("first", "second", "profile", "data", "shift")
        return {
            **{name: getattr(one, name) for name in names},
            "severity": one.severities[0] if len(one.severities) == 1 else None,
            "members": one.members,
            "quantity": one.quantity,
            "a": one.a,
            "b": one.b,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
        }

    return [flat(one) for one in study.contrasts]


def scale_dicts(study: EnergyStudy) -> list[dict[str, Any]]:
    """The points of the curves, flat and JSON-ready."""
    return [
        {
            **origin_of(point.result),
            "scale": point.scale,
            "own": point.own,
            **_summary(point.result),
            "front": point.front,
            "joint_front": point.joint_front,
        }
        for point in study.curve
    ]


def _of_shifted(one: ShiftedEnergy) -> dict[str, Any]:
    """The values of one network on one shifted set, or of a mean, without the changes."""
    return {
        **origin_of(one),
        "kind": "set" if one.members == 1 else "mean",
        "shift": one.shift or None,
        "severity": one.severities[0] if one.members == 1 else None,
        "members": one.members,
        "n": one.n,
        "accuracy": one.accuracy,
        "mean_rate": one.rate,
        "total_acs": one.synops,
        "total_energy_pj": one.energy_pj,
        "energy_std_pj": float(one.samples.energy_pj.std(ddof=1)) if one.n > 1 else 0.0,
    }


def _summary(result: EnergyResult) -> dict[str, Any]:
    return {
        "n": result.n,
        "accuracy": result.accuracy,
        "mean_rate": mean_rate(result),
        "total_acs": result.total_acs,
        "total_macs": result.total_macs,
        "total_energy_pj": result.total_energy_pj,
        "accuracy_per_uj": accuracy_per_uj(result),
    }


def _changes(changes: Mapping[str, Change]) -> dict[str, dict[str, float | None]]:
    return {
        name: {"value": one.value, "low": one.low, "high": one.high}
        for name, one in changes.items()
    }


def _flat(changes: Mapping[str, Change]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name in QUANTITIES:
        if name in changes:
            word = name.removesuffix("_pj")
            flat |= {
                f"{word}_change": changes[name].value,
                f"{word}_change_low": changes[name].low,
                f"{word}_change_high": changes[name].high,
            }
    return flat


def origin_of(result: Any) -> dict[str, Any]:
    """What a flat row is of."""
    return {name: getattr(result, name) for name in ("checkpoint", "thresholds", "data", "profile")}
