"""What a shift changes layer by layer (docs/energy.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ahsar_eval.energy.account import account
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.paired import Change, PerSample, relative_change
from ahsar_eval.energy.result import EnergyResult
from ahsar_eval.recording import Recording


@dataclass(frozen=True)
class LayerUnderShift:
    """A layer with weights (`kind` synapses: rate of what comes in) or a spiking layer (neurons:
    its own rate), and its changes.

    None for a quantity that the layer has not. `changes` holds those of `QUANTITIES` that the layer
    has and that are not 0 when clean.
    """

    name: str
    kind: str
    rate: float | None
    synops: float | None
    energy_pj: float | None
    changes: Mapping[str, Change]


def synops_by_layer(result: EnergyResult, recording: Recording) -> dict[str, PerSample]:
    """Accumulations that spikes drive, layer by layer and sample by sample, [N]; their sum's mean
    is the result's `total_acs`.
    """
    found: dict[str, PerSample] = {}
    for entry in account(recording, Choices(**result.choices)).entries:
        if entry.operation == "ac":
            found[entry.layer] = found.get(entry.layer, np.zeros(len(recording))) + entry.counts
    return found


def layers_under_shift(
    result: EnergyResult,
    recording: Recording,
    synops: Mapping[str, PerSample],
    clean: EnergyResult,
    clean_recording: Recording,
    synops_before: Mapping[str, PerSample],
) -> tuple[LayerUnderShift, ...]:
    """Layers with weights, then spiking layers, each in network order; SynOps by layer as
    `synops_by_layer` gives them.

    A change of energy has no interval: results hold it as a mean.
    """
    own = {layer.name: layer for layer in recording.layers}
    before = {layer.name: layer for layer in clean_recording.layers}
    found = []
    for layer, was in zip(result.layers, clean.layers, strict=True):
        changes: dict[str, Change | None] = {"energy_pj": _ratio(was.energy_pj, layer.energy_pj)}
        if layer.acs or was.acs:
            changes["synops"] = relative_change(synops_before[layer.name], synops[layer.name])
        if layer.source in own and layer.source in before:
            changes["rate"] = relative_change(before[layer.source].spikes, own[layer.source].spikes)
        found.append(
            _layer(layer.name, "synapses", layer.input_rate, layer.acs, layer.energy_pj, changes)
        )
    for neuron, neuron_was in zip(result.neurons, clean.neurons, strict=True):
        changes = {
            "energy_pj": _ratio(neuron_was.energy_pj, neuron.energy_pj),
            "rate": relative_change(before[neuron.name].spikes, own[neuron.name].spikes),
        }
        found.append(_layer(neuron.name, "neurons", neuron.rate, None, neuron.energy_pj, changes))
    return tuple(found)


def _layer(
    name: str,
    kind: str,
    rate: float | None,
    synops: float | None,
    energy_pj: float | None,
    changes: Mapping[str, Change | None],
) -> LayerUnderShift:
    return LayerUnderShift(
        name,
        kind,
        rate,
        synops,
        energy_pj,
        {what: change for what, change in changes.items() if change is not None},
    )


def _ratio(before: float | None, after: float | None) -> Change | None:
    return Change(after / before - 1) if before and after is not None else None
