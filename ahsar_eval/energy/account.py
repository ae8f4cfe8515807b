"""Every operation and memory access of a recording, per layer and sample: exact integers, the same
for any batch size (docs/energy.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.energy.regulation import regulation_operations, uncounted_of
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import (
    LayerActivity,
    OperatorActivity,
    Recording,
    SynapseActivity,
    Uncounted,
)
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    PRODUCT,
)


@dataclass(frozen=True)
class Entry:
    """One line of an account: `counts` [N] operations of one kind that one layer does, per sample
    over all T steps, and their price in pJ: None is no price, `covered` that the price of an AC
    already holds it. Parts are synapses, neurons, bias, normalisation, residual, pooling, products
    and, where thresholds move at test time, regulation; operations ac, mac, add, multiply, compare,
    write, update, log and exp. Counts are whole but for shares of a regulator's steps.
    """

    layer: str
    part: str
    operation: str
    detail: str
    counts: NDArray[np.int64] | NDArray[np.float64]
    price_pj: float | None
    covered: bool

    @property
    def mean(self) -> float:
        """Operations per inference, mean over samples."""
        return float(self.counts.mean())

    @property
    def energy_pj(self) -> float | None:
        """Mean over samples; None without a price."""
        return None if self.price_pj is None else self.mean * self.price_pj


def select(entries: Iterable[Entry], **wanted: str) -> list[Entry]:
    """The entries whose `layer`, `part`, `operation` and `detail` are these."""
    return [
        entry
        for entry in entries
        if all(getattr(entry, name) == value for name, value in wanted.items())
    ]


def dense_operations(operator: OperatorActivity) -> list[tuple[str, str, str, int]]:
    """Part, operation, detail and count of what an operation without weights does with values, of
    one sample and step; nothing for a kind without a rule.
    """
    kind, outputs = operator.kind, operator.outputs
    joined = outputs * (operator.window - 1)
    if kind == NORMALISATION:
        return [
            ("normalisation", "multiply", "scale", outputs),
            ("normalisation", "add", "shift", outputs),
        ]
    if kind in (AVERAGE_POOL, MEAN):
        divided = [] if operator.type == "sum" else [("pooling", "multiply", kind, outputs)]
        return [("pooling", "add", kind, joined), *divided]
    return {
        MAX_POOL: [("pooling", "compare", kind, joined)],
        ADDITION: [("residual", "add", "elements", outputs)],
        PRODUCT: [("products", "multiply", "elements", outputs)],
        MATMUL: [("products", "mac", "dense", outputs * operator.window)],
    }.get(kind, [])


class Account:
    """Everything that a recording's network did, under `choices`: `entries` in network order, at
    the prices of `profile`, and `uncounted`, what has no rule or lacks what its rule needs;
    `spiking` and `weighted` are its spiking layers and its layers with weights by name.

    Layers with weights: ACs for spikes, MACs for values, and their bias. Spiking layers, per neuron
    and step: a multiplication where they leak, an addition, a comparison; an addition or a write
    per spike for the reset. Where a chip publishes the price of a neuron's update, with a spike
    (active) and without, updates stand in two lines in place of these; a neuron that fires several
    times in a step is active once. Then what runs between them, and what regulates thresholds.
    Raises `UsageError` where frames of events are to be replayed and are no whole counts.
    """

    def __init__(self, recording: Recording, profile: Profile, choices: Choices) -> None:
        self.recording, self.profile, self.choices = recording, profile, choices
        self.spiking = {layer.name: layer for layer in recording.layers}
        self.weighted = {synapse.name: synapse for synapse in recording.synapses}
        self.entries: list[Entry] = []
        self.uncounted = [*recording.uncounted]
        for synapse in recording.synapses:
            self._count_synapses(synapse)
            if self.adds_bias(synapse):
                detail = "bias" if synapse.geometry.bias else "folded"
                counts = synapse.geometry.output_elements * self.charged_steps(synapse)
                self._add(synapse.name, "bias", "add", detail, counts)
        for layer in recording.layers:
            self._count_neurons(layer)
        for operator in recording.operators:
            self._count_operator(operator)
        for name, operation, detail, each in regulation_operations(recording):
            self._add(name, "regulation", operation, detail, each)
        if reason := uncounted_of(recording):
            self._leave_out("norms that adapt", reason)

    # --- what the choices say of a layer

    def charged_steps(self, synapse: SynapseActivity) -> int:
        """For how many steps the product of a layer is charged, and its bias with it: fewer than T
        where a product is held.
        """
        every_step = self.choices.first_layer == "every-step" or self.is_replayed(synapse)
        return synapse.steps(self.recording.timesteps) if every_step else synapse.charged_steps

    def is_replayed(self, synapse: SynapseActivity) -> bool:
        """Whether a layer's input are frames of events that the choices replay.

        Raises `UsageError` where their values are no whole numbers.
        """
        frames = (synapse.kind, synapse.source, self.recording.split.get("modality", "events"))
        if self.choices.event_frames != "replayed" or frames != ("analog", "input", "events"):
            return False
        if synapse.replayed is None:
            raise UsageError(
                f"the frames that {synapse.name} receives are no whole counts of events in every "
                "sample, so that no event can be replayed; use --event-frames analog, or frames of "
                "the sensor's own size"
            )
        return True

    def takes_values(self, synapse: SynapseActivity) -> bool:
        """Whether a layer multiplies (MACs) rather than accumulates (ACs)."""
        if synapse.kind == "analog":
            return not self.is_replayed(synapse)
        return synapse.kind == "pooled spikes" and self.choices.average_pooling != "folded"

    def adds_bias(self, synapse: SynapseActivity) -> bool:
        """Whether a layer ends in one addition per output: its own bias, or what a batch norm that
        is folded into it leaves (one for both).
        """
        return synapse.geometry.bias or any(
            one.kind == NORMALISATION and one.behind == synapse.name and self.is_folded(one)
            for one in self.recording.operators
        )

    def is_folded(self, operator: OperatorActivity) -> bool:
        """Whether an average or constant factor of spikes, or a batch norm (a fixed scale and shift
        at inference), is taken up by a layer with weights under the choices.
        """
        if operator.kind == NORMALISATION:
            fixed = "BatchNorm" in operator.type
            return (
                fixed and self.choices.batch_norm == "folded" and operator.behind in self.weighted
            )
        folds = self.choices.average_pooling == "folded"
        return folds and any(name in self.weighted for name in operator.folded_into)

    def arriving(self, synapse: SynapseActivity) -> NDArray[np.int64] | None:
        """[N] spikes that arrive at a layer over all steps, before any folded pooling; None where
        the recording does not hold them.
        """
        if (layer := self.spiking.get(synapse.source)) is not None:
            return layer.spikes.astype(np.int64)
        seen = synapse.seen
        if synapse.kind == "pooled spikes":
            return None
        return None if seen is None else np.rint(seen.total.sum(1)).astype(np.int64)

    # --- counting

    def _add(
        self, layer: str, part: str, operation: str, detail: str, counts: Any, price: str = ""
    ) -> None:
        """An entry of the counts of each sample [N], or one count of every sample; `price` names
        its price, where it is not called as the operation.
        """
        kind = np.float64 if isinstance(counts, float) else np.int64
        filled: Any = np.full(len(self.recording), counts, dtype=kind)
        covered = part in self.profile.covers
        pj = None if covered else self.profile.price(price or operation)
        self.entries.append(Entry(layer, part, operation, detail, filled, pj, covered))

    def _leave_out(self, name: str, reason: str) -> None:
        self.uncounted.append(Uncounted(name, reason))

    def _count_synapses(self, synapse: SynapseActivity) -> None:
        """ACs or MACs of one layer with weights."""
        kind, steps, choices = synapse.kind, self.charged_steps(synapse), self.choices
        counted: tuple[str, str, Any]
        if self.is_replayed(synapse):
            counted = "ac", "replayed", synapse.replayed
        elif not self.takes_values(synapse):
            counted = "ac", "folded" if kind == "pooled spikes" else kind, synapse.operations
        elif (choices.macs if kind == "analog" else choices.average_pooling) == "dense":
            counted = "mac", "dense", synapse.dense_operations * steps
        elif kind == "analog":
            # A static image has the same non-zero inputs at every step: the product is exact.
            effective = synapse.operations.astype(np.int64) * (steps // synapse.charged_steps)
            counted = "mac", "effective", effective
        elif synapse.seen is not None:
            counted = "mac", "effective", synapse.seen.fan_out_ops.sum(1)
        else:
            reason = (
                "the recording does not hold which pooled values are zero, so effective MACs are "
                "not known"
            )
            return self._leave_out(synapse.name, reason)
        self._add(synapse.name, "synapses", *counted)

    def _count_neurons(self, layer: LayerActivity) -> None:
        """Updates and resets of one spiking layer."""
        name, model = layer.name, layer.model
        updates = layer.neurons * self.recording.timesteps
        if not model.known:
            return self._leave_out(name, f"no rule counts the updates of a {model.type}")
        single: list[tuple[str, str, Any]] = [
            ("add", "integrate", updates),
            ("compare", "compare", updates),
        ]
        if model.leaky:
            single.insert(0, ("multiply", "leak", updates))
        if model.reset in ("subtract", "set"):
            single.append(("add" if model.reset == "subtract" else "write", "reset", layer.spikes))
        else:
            reason = f"how a {model.type} resets is not known; its other updates are counted"
            self._leave_out(name, reason)
        if self.profile.neuron_active_pj is None or "neurons" in self.profile.covers:
            for operation, detail, counts in single:
                self._add(name, "neurons", operation, detail, counts)
        else:
            active = np.minimum(layer.spikes, updates)
            self._add(name, "neurons", "update", "active", active, "neuron_active")
            self._add(name, "neurons", "update", "inactive", updates - active, "neuron_inactive")

    def _count_operator(self, operator: OperatorActivity) -> None:
        """One operation without weights: batch norms, residual additions, poolings, means,
        products, and products of two activities.
        """
        name, kind, steps = operator.name, operator.kind, operator.steps
        if self.is_folded(operator):
            return
        operands = list(zip(operator.operand_kinds, operator.operands, strict=False))
        spiking = [operand for operand_kind, operand in operands if operand_kind == "spikes"]
        if kind == NORMALISATION:
            if "BatchNorm" not in operator.type:
                reason = (
                    f"the statistics that a {operator.type} takes of every sample have no rule; "
                    "its scale and shift are counted"
                )
                self._leave_out(name, reason)
            behind = self.weighted.get(operator.behind or "")
            if behind and behind.kind == "analog" and self.choices.first_layer == "once":
                # A product that is held is held normalised.
                steps = min(steps, behind.charged_steps)
        elif kind == ADDITION and len(spiking) == len(operator.operands) == 2:
            left, right = (np.rint(operand.total.sum(1)) for operand in spiking)
            return self._add(name, "residual", "add", "spikes", left + right)
        elif kind == MATMUL and operator.operand_kinds == ("spikes", "spikes"):
            # Two spikes meet: one accumulation.
            if operator.coincidences is None:
                reason = "the recording does not hold how often its spikes meet"
                return self._leave_out(name, reason)
            met = operator.coincidences.sum(1)
            return self._add(name, "products", "ac", "coincidences", met)
        elif kind == MATMUL and spiking:
            # A spike meets a value, which is accumulated wherever the spike reaches.
            return self._add(name, "products", "ac", "spikes", spiking[0].fan_out_ops.sum(1))
        counted = dense_operations(operator)
        if not counted:
            self._leave_out(name, f"no rule counts a {kind}")
        for part, operation, detail, each in counted:
            self._add(name, part, operation, detail, each * steps)

    def accesses(self) -> list[dict[str, Any]]:
        """Memory accesses of an event-driven chip per inference, mean over samples, without prices:
        layer, operation (read, write or address), detail (weights, bias, potentials, input or
        output) and count.

        A synaptic operation reads a weight, reads and writes a potential and needs one address; a
        spike is read once where it arrives and written once where it leaves. A multiply-accumulate
        reads a weight and an input and needs one address; its sum is written once per output and
        step. A bias is read where it is added. A neuron's update reads and writes its potential.
        """
        found: list[tuple[str, dict[str, Any]]] = []
        for synapse in self.recording.synapses:
            name, values = synapse.name, self.takes_values(synapse)
            outputs = synapse.geometry.output_elements * self.charged_steps(synapse)
            for one in select(self.entries, part="synapses", layer=name):
                counts = one.counts
                own: dict[str, Any] = {
                    "read input": counts if values else self.arriving(synapse),
                    "read weights": counts,
                    "address weights": counts,
                }
                if not values:
                    own |= {"read potentials": counts, "write potentials": counts}
                own["write output"] = outputs if values else None
                own["read bias"] = outputs if self.adds_bias(synapse) else None
                found.append((name, own))
        for layer in self.recording.layers:
            if select(self.entries, part="neurons", layer=layer.name):
                updates = layer.neurons * self.recording.timesteps
                own = {"read potentials": updates, "write potentials": updates}
                found.append((layer.name, own | {"write output": layer.spikes}))
        return [
            {"layer": name, "operation": verb, "detail": detail, "count": float(np.mean(counts))}
            for name, own in found
            for access, counts in own.items()
            if counts is not None
            for verb, detail in [access.split()]
        ]
