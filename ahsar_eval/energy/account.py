"""Every operation of a recording, per layer and sample: exact integers, the same for any batch size
(docs/energy.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.operators import is_batch_norm, operator_entries
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import LayerActivity, Recording, SynapseActivity, Uncounted
from ahsar_eval.recording.activity import NORMALISATION, OperatorActivity

PARTS = ("synapses", "neurons", "bias", "normalisation", "residual", "pooling", "products")
OPERATIONS = ("ac", "mac", "add", "multiply", "compare", "write")

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Entry:
    """One line of an account: `counts` [N] operations of one kind that one layer does, per sample
    over all T steps.
    """

    layer: str
    part: str
    operation: str
    detail: str
    counts: Counts


@dataclass(frozen=True)
class Account:
    """Everything counted, in network order, and what has no rule or lacks what its rule needs."""

    entries: tuple[Entry, ...]
    uncounted: tuple[Uncounted, ...]

    def total(
        self, *, part: str | None = None, operation: str | None = None, layer: str | None = None
    ) -> int:
        """Σ counts over all samples of the entries that fit."""
        fitting = self.select(part=part, operation=operation, layer=layer)
        return sum(int(entry.counts.sum()) for entry in fitting)

    def select(
        self, *, part: str | None = None, operation: str | None = None, layer: str | None = None
    ) -> tuple[Entry, ...]:
        """The entries that fit."""
        wanted = (("part", part), ("operation", operation), ("layer", layer))
        return tuple(
            entry
            for entry in self.entries
            if all(value in (None, getattr(entry, name)) for name, value in wanted)
        )


def account(recording: Recording, choices: Choices | None = None) -> Account:
    """Count what a recording's network did, per sample, under `choices`.

    Layers with weights: ACs for spikes, MACs for values, and their bias. Spiking layers, per neuron
    and step: a multiplication where they leak, an addition, a comparison; an addition or a write
    per spike for the reset. Then what runs between them (`energy.operators`). A layer whose
    geometry or neuron model the recording does not hold is listed in `uncounted` for what needs it.
    Raises `UsageError` where frames of events are to be replayed and are no whole counts.
    """
    choices = choices or Choices()
    entries: list[Entry] = []
    uncounted = list(recording.uncounted)
    for synapse in recording.synapses:
        entries += _synaptic(recording, synapse, choices, uncounted)
        entries += _bias(recording, synapse, choices, uncounted)
    for layer in recording.layers:
        entries += _neurons(recording, layer, uncounted)
    for operator in recording.operators:
        found = operator_entries(recording, operator, choices, uncounted)
        entries += [
            Entry(operator.name, part, operation, detail, counts)
            for part, operation, detail, counts in found
        ]
    return Account(tuple(entries), tuple(uncounted))


def constant(recording: Recording, value: int) -> Counts:
    """The same count for every sample, [N]."""
    return np.full(len(recording), value, dtype=np.int64)


def charged_steps(recording: Recording, synapse: SynapseActivity, choices: Choices) -> int:
    """For how many steps the values of a layer with analog input are charged."""
    return recording.timesteps if choices.first_layer == "every-step" else synapse.charged_steps


def is_replayed(recording: Recording, synapse: SynapseActivity, choices: Choices) -> bool:
    """Whether a layer's input are frames of events that the choices replay, and whose values are
    whole numbers.
    """
    return (
        choices.event_frames == "replayed"
        and _takes_event_frames(recording, synapse)
        and synapse.replayed is not None
    )


def takes_values(recording: Recording, synapse: SynapseActivity, choices: Choices) -> bool:
    """Whether a layer multiplies (MACs) rather than accumulates (ACs)."""
    if synapse.kind == "analog":
        return not is_replayed(recording, synapse, choices)
    return synapse.kind == "pooled spikes" and choices.average_pooling != "folded"


def norm_behind(recording: Recording, name: str) -> OperatorActivity | None:
    """The batch norm that takes the output of a layer with weights directly, if there is one."""
    norms: Iterable[OperatorActivity] = (
        operator for operator in recording.operators if operator.kind == NORMALISATION
    )
    return next((norm for norm in norms if norm.behind == name and is_batch_norm(norm)), None)


def adds_bias(recording: Recording, synapse: SynapseActivity, choices: Choices) -> bool:
    """Whether a layer ends in one addition per output: its own bias, or what a folded batch norm
    leaves (one for both).
    """
    own = synapse.geometry is not None and synapse.geometry.bias
    return own or (
        choices.batch_norm == "folded" and norm_behind(recording, synapse.name) is not None
    )


def bias_steps(recording: Recording, synapse: SynapseActivity, choices: Choices) -> int:
    """For how many steps a layer adds its bias: a product that is held is held with it."""
    held = synapse.kind == "analog" and not is_replayed(recording, synapse, choices)
    return charged_steps(recording, synapse, choices) if held else recording.timesteps


def _takes_event_frames(recording: Recording, synapse: SynapseActivity) -> bool:
    return (
        synapse.kind == "analog"
        and synapse.source == "input"
        and recording.split.get("modality", "events") == "events"
    )


def _synaptic(
    recording: Recording, synapse: SynapseActivity, choices: Choices, uncounted: list[Uncounted]
) -> list[Entry]:
    name = synapse.name
    if (
        choices.event_frames == "replayed"
        and _takes_event_frames(recording, synapse)
        and synapse.replayed is None
    ):
        raise UsageError(
            f"the frames that {name} receives are no whole counts of events in every sample, so "
            "that no event can be replayed; "
            "use --event-frames analog, or frames of the sensor's own size"
        )
    if not takes_values(recording, synapse, choices):
        if synapse.kind == "analog":
            return [
                Entry(
                    name, "synapses", "ac", "replayed", np.asarray(synapse.replayed, dtype=np.int64)
                )
            ]
        detail = "folded" if synapse.kind == "pooled spikes" else synapse.kind
        return [Entry(name, "synapses", "ac", detail, synapse.operations.astype(np.int64))]
    if synapse.kind == "analog":
        steps = charged_steps(recording, synapse, choices)
        if choices.macs == "dense":
            return [
                Entry(
                    name,
                    "synapses",
                    "mac",
                    "dense",
                    constant(recording, synapse.dense_operations * steps),
                )
            ]
        # A static image has the same non-zero inputs at every step, so that the product is exact.
        return [
            Entry(
                name,
                "synapses",
                "mac",
                "effective",
                synapse.operations.astype(np.int64) * (steps // synapse.charged_steps),
            )
        ]
    if choices.average_pooling == "dense":
        return [
            Entry(
                name,
                "synapses",
                "mac",
                "dense",
                constant(recording, synapse.dense_operations * recording.timesteps),
            )
        ]
    if synapse.seen is None:
        uncounted.append(
            Uncounted(
                name,
                "the recording does not hold which pooled values are zero, so effective MACs are "
                "not known",
            )
        )
        return []
    return [
        Entry(name, "synapses", "mac", "effective", synapse.seen.fan_out_ops.sum(1, dtype=np.int64))
    ]


def _bias(
    recording: Recording, synapse: SynapseActivity, choices: Choices, uncounted: list[Uncounted]
) -> list[Entry]:
    if synapse.geometry is None:
        uncounted.append(
            Uncounted(
                synapse.name, "the recording does not hold its geometry, so its bias is not counted"
            )
        )
        return []
    if not adds_bias(recording, synapse, choices):
        return []
    steps = bias_steps(recording, synapse, choices)
    detail = "bias" if synapse.geometry.bias else "folded"
    return [
        Entry(
            synapse.name,
            "bias",
            "add",
            detail,
            constant(recording, synapse.geometry.output_elements * steps),
        )
    ]


def _neurons(recording: Recording, layer: LayerActivity, uncounted: list[Uncounted]) -> list[Entry]:
    model = layer.model
    if model is None:
        uncounted.append(
            Uncounted(
                layer.name,
                "the recording does not hold its neuron model, so its updates are not counted",
            )
        )
        return []
    if not model.known:
        uncounted.append(Uncounted(layer.name, f"no rule counts the updates of a {model.type}"))
        return []
    updates = constant(recording, layer.neurons * recording.timesteps)
    entries = [Entry(layer.name, "neurons", "multiply", "leak", updates)] if model.leaky else []
    entries += [
        Entry(layer.name, "neurons", "add", "integrate", updates),
        Entry(layer.name, "neurons", "compare", "compare", updates),
    ]
    if model.reset in ("subtract", "set"):
        operation = "add" if model.reset == "subtract" else "write"
        return [
            *entries,
            Entry(layer.name, "neurons", operation, "reset", layer.spikes.astype(np.int64)),
        ]
    uncounted.append(
        Uncounted(
            layer.name, f"how a {model.type} resets is not known; its other updates are counted"
        )
    )
    return entries
