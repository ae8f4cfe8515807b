"""The energy result as a reader wants it: one line per layer, checkpoints side by side in the totals."""

from collections.abc import Sequence
from typing import Any

from ahsar_eval.energy import EnergyResult
from ahsar_eval.report.tables import cell

LAYER_HEADER = ["layer", "input", "rate in", "spikes in", "SynOps (AC)", "MACs", "pJ"]
TOTAL_HEADER = ["checkpoint", "data", "n", "accuracy", "mean rate", "SynOps (AC)", "MACs", "nJ per inference", "± sd over samples"]
NEURON_HEADER = ["spiking layer", "neurons", "threshold", "rate", "spikes"]


def layer_table(result: EnergyResult) -> list[list[str]]:
    """Body of the per-layer table, with a total."""
    body = [
        [
            layer.name,
            layer.input,
            cell(layer.input_rate),
            "–" if layer.input_spikes is None else f"{layer.input_spikes:,.1f}",
            f"{layer.acs:,.1f}",
            f"{layer.macs:,.0f}",
            f"{layer.energy_pj:,.1f}",
        ]
        for layer in result.layers
    ]
    spikes = sum(neuron.spikes for neuron in result.neurons)
    total = ["total", "", "–", f"{spikes:,.1f}", f"{result.total_acs:,.1f}", f"{result.total_macs:,.0f}", f"{result.total_energy_pj:,.1f}"]
    return [*body, ["---"], total]


def neuron_table(result: EnergyResult) -> list[list[str]]:
    """Body of the table of spiking layers."""
    return [[n.name, f"{n.neurons:,}", cell(n.threshold), cell(n.rate), f"{n.spikes:,.1f}"] for n in result.neurons]


def total_table(results: Sequence[EnergyResult]) -> list[list[str]]:
    """Body of the table of totals, one line per checkpoint."""
    return [
        [
            result.checkpoint if result.thresholds in ("replay", "base") else f"{result.checkpoint} ({result.thresholds})",
            result.data,
            str(result.n),
            cell(result.accuracy),
            cell(sum(neuron.rate for neuron in result.neurons) / max(1, len(result.neurons))),
            f"{result.total_acs:,.0f}",
            f"{result.total_macs:,.0f}",
            f"{result.total_energy_pj / 1000:,.2f}",
            f"{result.total_energy_std_pj / 1000:,.2f}",
        ]
        for result in results
    ]


def energy_notes(results: Sequence[EnergyResult]) -> list[str]:
    """What a reader must know to read the numbers."""
    first = results[0]
    notes = [
        f"Profile {first.profile}: {first.profile_includes}. Source: {first.profile_source}.",
        "SynOps: every spike times the outputs it reaches, exact at borders. Pooled spikes: the average pooling is folded into the layer. "
        "MACs: dense, padding excluded; a static image is charged once (JSON and CSV also give it at every step).",
        f"Not included: {', '.join(first.not_included)}.",
    ]
    for result in results:
        listed = "; ".join(f"{entry['name']} ({entry['reason']})" for entry in result.uncounted) or "none"
        notes.append(f"Uncounted layers of {result.checkpoint}: {listed}.")
    return notes


def energy_csv_rows(results: Sequence[EnergyResult]) -> list[dict[str, Any]]:
    """One flat row per layer and checkpoint."""
    return [
        {
            "checkpoint": result.checkpoint,
            "thresholds": result.thresholds,
            "data": result.data,
            "profile": result.profile,
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
        }
        for result in results
        for layer in result.layers
    ]
