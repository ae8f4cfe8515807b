"""From a recording to energy: synaptic operations and multiply-accumulates at a price each (docs/energy.md)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ahsar_eval.energy.profiles import Profile
from ahsar_eval.recording import Recording

NOT_INCLUDED = (
    "neuron updates",
    "batch norm (folded into the layer before it)",
    "biases",
    "residual additions",
    "pooling (average pooling is folded into the layer behind it)",
    "memory access",
)


@dataclass(frozen=True)
class LayerEnergy:
    """One layer with weights, per inference: mean over the set's samples. `input` is the kind of what it receives.

    `macs` are dense: every position with a weight, padding excluded, once for a static image. `effective_macs` leaves out zero inputs.
    `macs_all_steps` charges a static image at every step, as many papers do.
    """

    name: str
    input: str
    source: str
    input_spikes: float | None
    input_rate: float | None
    acs: float
    macs: float
    effective_macs: float
    macs_all_steps: float
    energy_pj: float


@dataclass(frozen=True)
class NeuronActivity:
    """One spiking layer, per inference: mean spikes, and spikes per neuron and time step."""

    name: str
    neurons: int
    spikes: float
    rate: float
    threshold: float


@dataclass(frozen=True)
class EnergyResult:
    """Energy of one checkpoint on one set, pJ per inference, with what was not counted."""

    checkpoint: str
    thresholds: str
    data: str
    n: int
    timesteps: int
    profile: str
    profile_includes: str
    profile_source: str
    layers: tuple[LayerEnergy, ...]
    neurons: tuple[NeuronActivity, ...]
    total_acs: float
    total_macs: float
    total_energy_pj: float
    total_energy_std_pj: float  # over samples
    accuracy: float | None
    uncounted: tuple[dict[str, str], ...]
    not_included: tuple[str, ...] = NOT_INCLUDED

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return asdict(self)


def estimate(
    recording: Recording, profile: Profile, *, checkpoint: str, thresholds: str = "replay", label_space: str | None = None
) -> EnergyResult:
    """Energy per inference of a recording under `profile`. `label_space` is what the network's classes mean, where that is known.

    A layer that receives spikes costs one accumulation per synaptic operation; a layer that receives analog values costs its dense
    multiply-accumulates. Layers without a rule are listed in `uncounted`, never priced at zero.
    """
    layers, per_sample = [], np.zeros(len(recording))
    activity = {layer.name: layer for layer in recording.layers}
    for synapse in recording.synapses:
        fed_by = activity.get(synapse.source)
        dense = float(synapse.dense_operations)
        acs = float(synapse.operations.mean()) if synapse.is_spiking else 0.0
        macs = 0.0 if synapse.is_spiking else dense * synapse.charged_steps
        if synapse.is_spiking:
            per_sample += synapse.operations * profile.ac_pj
        else:
            per_sample += macs * profile.mac_pj
        layers.append(
            LayerEnergy(
                name=synapse.name,
                input=synapse.kind,
                source=synapse.source,
                input_spikes=None if fed_by is None else float(fed_by.spikes.mean()),
                input_rate=None if fed_by is None else recording.rate(fed_by),
                acs=acs,
                macs=macs,
                effective_macs=0.0 if synapse.is_spiking else float(synapse.operations.mean()),
                macs_all_steps=0.0 if synapse.is_spiking else dense * recording.timesteps,
                energy_pj=acs * profile.ac_pj + macs * profile.mac_pj,
            )
        )
    labelled = not bool((recording.labels < 0).any()) and bool(recording.split["labels_preserved"])
    labelled = labelled and label_space in (None, recording.split["label_space"])
    return EnergyResult(
        checkpoint=checkpoint,
        thresholds=thresholds,
        data=str(recording.split["name"]),
        n=len(recording),
        timesteps=recording.timesteps,
        profile=profile.name,
        profile_includes=profile.includes,
        profile_source=profile.source,
        layers=tuple(layers),
        neurons=tuple(
            NeuronActivity(
                name=layer.name,
                neurons=layer.neurons,
                spikes=float(layer.spikes.mean()),
                rate=recording.rate(layer),
                threshold=float(recording.thresholds[layer.name]),
            )
            for layer in recording.layers
        ),
        total_acs=sum(layer.acs for layer in layers),
        total_macs=sum(layer.macs for layer in layers),
        total_energy_pj=sum(layer.energy_pj for layer in layers),
        total_energy_std_pj=float(per_sample.std(ddof=1)) if len(recording) > 1 else 0.0,
        accuracy=float((recording.predictions == recording.labels).mean()) if labelled else None,
        uncounted=tuple({"name": listed.name, "reason": listed.reason} for listed in recording.uncounted),
    )
