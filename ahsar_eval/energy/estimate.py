"""From a recording to energy: every counted operation at a price (docs/energy.md)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ahsar_eval.energy.accesses import accesses
from ahsar_eval.energy.account import Account, account, takes_values
from ahsar_eval.energy.ann import ann_energy
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.intensity import break_even, mean_rate, synapses_of
from ahsar_eval.energy.lemaire import LemaireResult, lemaire
from ahsar_eval.energy.pricing import PricedEntry, energy_of, priced, unpriced_lines
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.energy.result import (
    Access,
    EnergyResult,
    LayerEnergy,
    NeuronActivity,
    OperatorEnergy,
    PartEnergy,
)
from ahsar_eval.recording import LayerActivity, Recording, SynapseActivity

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def estimate(
    recording: Recording,
    profile: Profile,
    *,
    checkpoint: str,
    thresholds: str = "replay",
    label_space: str | None = None,
    choices: Choices | None = None,
) -> EnergyResult:
    """Energy per inference of a recording under `profile` and `choices` (None: the defaults).

    `label_space` is what the network's classes mean, where that is known. Everything that `account`
    counts is priced where the profile has a price, and listed in `unpriced` where it has none;
    layers without a rule are in `uncounted`. Nothing is priced at zero.
    """
    choices = choices or Choices()
    counted = account(recording, choices)
    lines = priced(recording, counted, profile)
    layers = tuple(
        _layer(recording, synapse, counted, lines, choices) for synapse in recording.synapses
    )
    neurons = tuple(_neurons(recording, layer, lines) for layer in recording.layers)
    operators = tuple(
        _operator(operator.name, lines)
        for operator in recording.operators
        if _of(lines, operator.name)
    )
    per_sample = np.zeros(len(recording))
    for line in lines:
        if line.price_pj is not None:
            per_sample += line.counts * line.price_pj
    rows: tuple[LayerEnergy | NeuronActivity | OperatorEnergy, ...] = (
        *layers,
        *neurons,
        *operators,
    )
    total = sum(row.energy_pj or 0.0 for row in rows)
    unpriced = unpriced_lines(lines)
    fed = [
        (layer.acs, synapses_of(recording, synapse))
        for layer, synapse in zip(layers, recording.synapses, strict=True)
        if _is_fed(layer)
    ]
    known = [(acs, synapses) for acs, synapses in fed if synapses]
    intensity = (
        sum(acs for acs, _ in known) / sum(synapses for _, synapses in known) if known else None
    )
    parts = {
        part: sum(line.energy_pj or 0.0 for line in lines if line.part == part)
        for part in _priced_parts(lines)
    }
    without_price = tuple(
        (line.part, line.operation)
        for line in lines
        if line.price_pj is None and not line.covered and line.counts.any()
    )
    return EnergyResult(
        checkpoint=checkpoint,
        thresholds=thresholds,
        data=str(recording.split["name"]),
        n=len(recording),
        timesteps=recording.timesteps,
        profile=profile.name,
        profile_includes=profile.includes,
        profile_source=profile.source,
        layers=layers,
        neurons=neurons,
        total_acs=sum(layer.acs for layer in layers) + _products(lines, "ac"),
        total_macs=sum(layer.macs for layer in layers) + _products(lines, "mac"),
        total_energy_pj=total,
        total_energy_std_pj=float(per_sample.std(ddof=1)) if len(recording) > 1 else 0.0,
        accuracy=_accuracy(recording, label_space),
        uncounted=tuple(
            {"name": listed.name, "reason": listed.reason} for listed in counted.uncounted
        ),
        per_sample_pj=per_sample,
        synaptic_energy_pj=parts.get("synapses", 0.0),
        totals_by_part=parts,
        quantiles_pj={str(level): float(np.quantile(per_sample, level)) for level in _QUANTILES},
        choices=choices.to_dict(),
        operators=operators,
        parts=tuple(
            PartEnergy(
                line.layer,
                line.part,
                line.operation,
                line.detail,
                float(line.counts.mean()),
                line.energy_pj,
            )
            for line in lines
        ),
        accesses=tuple(
            Access(entry.layer, entry.operation, entry.detail, float(entry.counts.mean()))
            for entry in accesses(recording, counted, choices)
        ),
        unpriced=unpriced,
        synops_per_synapse=intensity,
        rate_per_neuron=mean_rate(recording),
        ann=ann_energy(recording, profile, choices, spiking_pj=total, unpriced=without_price),
        break_even=break_even(intensity, mean_rate(recording), recording.timesteps),
        memory=_memory(recording, profile, choices),
        profile_node=profile.node,
        profile_format=profile.number_format,
        profile_obtained=profile.obtained,
    )


def _of(lines: Sequence[PricedEntry], layer: str, *parts: str) -> list[PricedEntry]:
    return [line for line in lines if line.layer == layer and (not parts or line.part in parts)]


def _layer(
    recording: Recording,
    synapse: SynapseActivity,
    counted: Account,
    lines: Sequence[PricedEntry],
    choices: Choices,
) -> LayerEnergy:
    fed_by = next((layer for layer in recording.layers if layer.name == synapse.source), None)
    synaptic, others = _of(lines, synapse.name, "synapses"), _of(lines, synapse.name, "bias")
    acs, macs = (
        sum(float(line.counts.mean()) for line in synaptic if line.operation == kind)
        for kind in ("ac", "mac")
    )
    values = takes_values(recording, synapse, choices)
    effective = (
        synapse.operations
        if synapse.kind == "analog" or synapse.seen is None
        else synapse.seen.fan_out_ops.sum(1)
    )
    synapses = synapses_of(recording, synapse) if not values else None
    return LayerEnergy(
        name=synapse.name,
        input=synapse.kind,
        source=synapse.source,
        input_spikes=None if fed_by is None else float(fed_by.spikes.mean()),
        input_rate=None if fed_by is None else recording.rate(fed_by),
        acs=acs,
        macs=macs,
        effective_macs=float(effective.mean()) if values else 0.0,
        macs_all_steps=float(synapse.dense_operations * recording.timesteps) if values else 0.0,
        energy_pj=energy_of([*synaptic, *others]),
        synaptic_pj=energy_of(synaptic),
        other_pj=energy_of(others) if others or synapse.geometry is None else 0.0,
        synops_per_synapse=acs / synapses if synapses else None,
    )


def _is_fed(layer: LayerEnergy) -> bool:
    return layer.synops_per_synapse is not None


def _neurons(
    recording: Recording, layer: LayerActivity, lines: Sequence[PricedEntry]
) -> NeuronActivity:
    return NeuronActivity(
        name=layer.name,
        neurons=layer.neurons,
        spikes=float(layer.spikes.mean()),
        rate=recording.rate(layer),
        threshold=float(recording.thresholds[layer.name]),
        updates=layer.neurons * recording.timesteps,
        energy_pj=energy_of(_of(lines, layer.name, "neurons")),
    )


def _operator(name: str, lines: Sequence[PricedEntry]) -> OperatorEnergy:
    own = _of(lines, name)
    every = sum(float(line.counts.mean()) for line in own)
    return OperatorEnergy(
        name, own[0].part, every, energy_of(own), _products(own, "ac"), _products(own, "mac")
    )


def _products(lines: Sequence[PricedEntry], operation: str) -> float:
    return sum(
        float(line.counts.mean())
        for line in lines
        if line.part == "products" and line.operation == operation
    )


def _priced_parts(lines: Sequence[PricedEntry]) -> list[str]:
    return list(dict.fromkeys(line.part for line in lines if line.price_pj is not None))


def _accuracy(recording: Recording, label_space: str | None) -> float | None:
    labelled = not bool((recording.labels < 0).any()) and bool(recording.split["labels_preserved"])
    if not labelled or label_space not in (None, recording.split["label_space"]):
        return None
    return float((recording.predictions == recording.labels).mean())


def _memory(recording: Recording, profile: Profile, choices: Choices) -> LemaireResult | None:
    described: Any = any(synapse.geometry is not None for synapse in recording.synapses)
    complete = None not in (profile.memory_pj, profile.word_bits, profile.mac_pj, profile.ac_pj)
    return lemaire(recording, profile, choices=choices) if described and complete else None
