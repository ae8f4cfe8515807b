"""Every operation and memory access of a recording, per layer and sample: exact integers, the same
for any batch size (docs/energy.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.choices import Choices
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

    @property
    def mean(self) -> float:
        """Operations per inference, mean over samples."""
        return float(self.counts.mean())


@dataclass(frozen=True)
class Account:
    """Everything counted, in network order, and what has no rule or lacks what its rule needs."""

    entries: tuple[Entry, ...]
    uncounted: tuple[Uncounted, ...]

    def select(self, **wanted: str) -> tuple[Entry, ...]:
        """The entries whose `layer`, `part`, `operation` and `detail` are these."""
        return tuple(
            entry
            for entry in self.entries
            if all(getattr(entry, name) == value for name, value in wanted.items())
        )

    def total(self, **wanted: str) -> int:
        """Σ counts over all samples of the entries that `select` gives."""
        return sum(int(entry.counts.sum()) for entry in self.select(**wanted))


Line = Entry | Uncounted


def account(recording: Recording, choices: Choices | None = None) -> Account:
    """Count what a recording's network did, per sample, under `choices`.

    Layers with weights: ACs for spikes, MACs for values, and their bias. Spiking layers, per neuron
    and step: a multiplication where they leak, an addition, a comparison; an addition or a write
    per spike for the reset. Then what runs between them. A layer whose geometry or neuron model the
    recording does not hold is listed in `uncounted` for what needs it. Raises `UsageError` where
    frames of events are to be replayed and are no whole counts.
    """
    rules = Rules(recording, choices or Choices())
    lines: list[Line] = []
    for synapse in recording.synapses:
        lines += [rules.synaptic(synapse), *rules.bias(synapse)]
    for layer in recording.layers:
        lines += rules.neurons(layer)
    for operator in recording.operators:
        lines += rules.between(operator)
    return Account(
        tuple(line for line in lines if isinstance(line, Entry)),
        (*recording.uncounted, *(line for line in lines if isinstance(line, Uncounted))),
    )


@dataclass(frozen=True)
class Rules:
    """What is counted of a recording's network under `choices`."""

    recording: Recording
    choices: Choices

    def each(self, count: int) -> Counts:
        """The same count for every sample, [N]."""
        return np.full(len(self.recording), count, dtype=np.int64)

    def charged_steps(self, synapse: SynapseActivity) -> int:
        """For how many steps the values of a layer with analog input are charged."""
        every_step = self.choices.first_layer == "every-step"
        return self.recording.timesteps if every_step else synapse.charged_steps

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
        if synapse.geometry is not None and synapse.geometry.bias:
            return True
        return any(
            one.kind == NORMALISATION and one.behind == synapse.name and self.is_folded(one)
            for one in self.recording.operators
        )

    def bias_steps(self, synapse: SynapseActivity) -> int:
        """For how many steps a layer adds its bias: a product that is held is held with it."""
        held = synapse.kind == "analog" and not self.is_replayed(synapse)
        return self.charged_steps(synapse) if held else self.recording.timesteps

    def is_folded(self, operator: OperatorActivity) -> bool:
        """Whether an average pooling or a batch norm (a fixed scale and shift at inference) is
        taken up by a layer with weights under the choices.
        """
        names = {synapse.name for synapse in self.recording.synapses}
        if operator.kind == NORMALISATION:
            fixed = "BatchNorm" in operator.type
            return fixed and self.choices.batch_norm == "folded" and operator.behind in names
        pools = operator.kind == AVERAGE_POOL and self.choices.average_pooling == "folded"
        return pools and not names.isdisjoint(operator.folded_into)

    def synaptic(self, synapse: SynapseActivity) -> Line:
        """ACs or MACs of one layer with weights."""

        def entry(operation: str, detail: str, counts: NDArray[np.generic] | None) -> Entry:
            return Entry(synapse.name, "synapses", operation, detail, np.asarray(counts, np.int64))

        steps = self.charged_steps(synapse)
        if self.is_replayed(synapse):
            return entry("ac", "replayed", synapse.replayed)
        if not self.takes_values(synapse):
            detail = "folded" if synapse.kind == "pooled spikes" else synapse.kind
            return entry("ac", detail, synapse.operations)
        if synapse.kind == "analog":
            if self.choices.macs == "dense":
                return entry("mac", "dense", self.each(synapse.dense_operations * steps))
            # A static image has the same non-zero inputs at every step: the product is exact.
            effective = synapse.operations.astype(np.int64) * (steps // synapse.charged_steps)
            return entry("mac", "effective", effective)
        if self.choices.average_pooling == "dense":
            dense = synapse.dense_operations * self.recording.timesteps
            return entry("mac", "dense", self.each(dense))
        if synapse.seen is None:
            reason = (
                "the recording does not hold which pooled values are zero, so effective MACs are "
                "not known"
            )
            return Uncounted(synapse.name, reason)
        return entry("mac", "effective", synapse.seen.fan_out_ops.sum(1))

    def bias(self, synapse: SynapseActivity) -> Iterator[Line]:
        """The additions of its bias."""
        shape = synapse.geometry
        if shape is None:
            reason = "the recording does not hold its geometry, so its bias is not counted"
            yield Uncounted(synapse.name, reason)
        elif self.adds_bias(synapse):
            counts = self.each(shape.output_elements * self.bias_steps(synapse))
            yield Entry(synapse.name, "bias", "add", "bias" if shape.bias else "folded", counts)

    def neurons(self, layer: LayerActivity) -> Iterator[Line]:
        """Updates and resets of one spiking layer."""
        name, model = layer.name, layer.model
        updates = self.each(layer.neurons * self.recording.timesteps)
        if model is None:
            reason = "the recording does not hold its neuron model, so its updates are not counted"
            yield Uncounted(name, reason)
            return
        if not model.known:
            yield Uncounted(name, f"no rule counts the updates of a {model.type}")
            return
        if model.leaky:
            yield Entry(name, "neurons", "multiply", "leak", updates)
        yield Entry(name, "neurons", "add", "integrate", updates)
        yield Entry(name, "neurons", "compare", "compare", updates)
        if model.reset in ("subtract", "set"):
            operation = "add" if model.reset == "subtract" else "write"
            yield Entry(name, "neurons", operation, "reset", layer.spikes.astype(np.int64))
        else:
            reason = f"how a {model.type} resets is not known; its other updates are counted"
            yield Uncounted(name, reason)

    def between(self, operator: OperatorActivity) -> Iterator[Line]:
        """One operation without weights: batch norms, residual additions, poolings, means,
        products, and products of two activities.
        """
        kind, outputs = operator.kind, operator.outputs * operator.steps

        def entry(
            part: str, operation: str, detail: str, counts: int | NDArray[np.generic]
        ) -> Entry:
            filled = self.each(counts) if isinstance(counts, int) else np.asarray(counts, np.int64)
            return Entry(operator.name, part, operation, detail, filled)

        if self.is_folded(operator):
            return
        if kind == NORMALISATION:
            if "BatchNorm" not in operator.type:
                reason = (
                    f"the statistics that a {operator.type} takes of every sample have no rule; "
                    "its scale and shift are counted"
                )
                yield Uncounted(operator.name, reason)
            for synapse in self.recording.synapses:
                held = synapse.kind == "analog" and self.choices.first_layer == "once"
                if synapse.name == operator.behind and held:
                    # A product that is held is held normalised.
                    outputs = operator.outputs * min(operator.steps, synapse.charged_steps)
            yield entry("normalisation", "multiply", "scale", outputs)
            yield entry("normalisation", "add", "shift", outputs)
        elif kind in (AVERAGE_POOL, MEAN):
            yield entry("pooling", "add", kind, (operator.window - 1) * outputs)
            if operator.type != "sum":
                yield entry("pooling", "multiply", kind, outputs)
        elif kind == MAX_POOL:
            yield entry("pooling", "compare", kind, (operator.window - 1) * outputs)
        elif kind == ADDITION:
            if operator.operand_kinds == ("spikes", "spikes") and len(operator.operands) == 2:
                spikes = [np.rint(operand.total.sum(1)) for operand in operator.operands]
                yield entry("residual", "add", "spikes", spikes[0] + spikes[1])
            else:
                yield entry("residual", "add", "elements", outputs)
        elif kind == PRODUCT:
            yield entry("products", "multiply", "elements", outputs)
        elif kind == MATMUL:
            # Two spikes meet: one accumulation; a spike meets a value: the value is accumulated
            # wherever the spike reaches; else MACs.
            both = zip(operator.operand_kinds, operator.operands, strict=False)
            spiking = [operand for operand_kind, operand in both if operand_kind == "spikes"]
            if operator.operand_kinds != ("spikes", "spikes"):
                if spiking:
                    yield entry("products", "ac", "spikes", spiking[0].fan_out_ops.sum(1))
                else:
                    yield entry("products", "mac", "dense", outputs * operator.window)
            elif operator.coincidences is not None:
                yield entry("products", "ac", "coincidences", operator.coincidences.sum(1))
            else:
                reason = "the recording does not hold how often its spikes meet"
                yield Uncounted(operator.name, reason)
        else:
            yield Uncounted(operator.name, f"no rule counts a {kind}")

    def accesses(self, counted: Account) -> Iterator[Entry]:
        """Reads, writes and address computations of an event-driven chip, per layer and sample,
        without prices, as entries of the part 'memory'.

        A synaptic operation reads a weight, reads and writes a potential and needs one address; a
        spike is read once where it arrives and written once where it leaves. A multiply-accumulate
        reads a weight and an input and needs one address; its sum is written once per output and
        step. A bias is read where it is added. A neuron's update reads and writes its potential.
        """

        def entry(operation: str, detail: str, counts: Counts) -> Entry:
            return Entry(name, "memory", operation, detail, counts)

        for synapse in self.recording.synapses:
            name = synapse.name
            for found in counted.select(part="synapses", layer=name):
                values = self.takes_values(synapse)
                arriving = found.counts if values else self.arriving(synapse)
                if arriving is not None:
                    yield entry("read", "input", arriving)
                yield entry("read", "weights", found.counts)
                yield entry("address", "weights", found.counts)
                if not values:
                    yield entry("read", "potentials", found.counts)
                    yield entry("write", "potentials", found.counts)
                if synapse.geometry is not None:
                    steps = self.bias_steps(synapse)
                    outputs = self.each(synapse.geometry.output_elements * steps)
                    if values:
                        yield entry("write", "output", outputs)
                    if self.adds_bias(synapse):
                        yield entry("read", "bias", outputs)
        for layer in self.recording.layers:
            name = layer.name
            if counted.select(part="neurons", layer=name):
                updates = self.each(layer.neurons * self.recording.timesteps)
                yield entry("read", "potentials", updates)
                yield entry("write", "potentials", updates)
                yield entry("write", "output", layer.spikes.astype(np.int64))

    def arriving(self, synapse: SynapseActivity) -> Counts | None:
        """[N] spikes that arrive at a layer over all steps, before any folded pooling; None where
        the recording does not hold them.
        """
        for layer in self.recording.layers:
            if layer.name == synapse.source:
                return layer.spikes.astype(np.int64)
        seen = synapse.seen
        return None if seen is None else np.rint(seen.total.sum(1)).astype(np.int64)
