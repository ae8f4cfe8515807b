"""What one part of a network does, counted call by call: the spikes of a spiking layer and how long
nothing came into it; operations of a layer with weights, the values it meets, events to replay; the
operands of an operation between layers; the input of the read-out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import counted_spikes
from ahsar_eval.networks import (
    Shape,
    SpikingNet,
    emits_binary_spikes,
    emits_whole_spikes,
    is_found_neuron,
)
from ahsar_eval.recording.activity import (
    MATMUL,
    Counts,
    Floats,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Readout,
    Seen,
    SynapseActivity,
)
from ahsar_eval.recording.counting import (
    MOST_SPIKES,
    FanOut,
    Received,
    SpikeCounts,
    kind_by_value,
    nothing_seen,
    seen_spikes,
    summed_over_first,
)
from ahsar_eval.recording.graph import KINDS, MEASURED, Synapse
from ahsar_eval.recording.operations import Operator
from ahsar_eval.recording.passes import Axes, Pass, per_sample
from ahsar_eval.recording.tensors import INPUT, sums_of

# Of Σ|w·f|: above the rounding of a float32 product, below anything that is not the read-out's
# output.
_TOLERANCE = 1e-3


class NeuronCounter:
    """Spikes of one spiking layer whose neurons have `shape`; those of each neuron and sample,
    [N, L], where they are `kept`.
    """

    def __init__(
        self,
        shared: Pass,
        name: str,
        module: nn.Module,
        shape: Shape,
        *,
        kept: bool = False,
        axes: Axes | None = None,
    ) -> None:
        self.shared, self.name, self.module, self.shape = shared, name, module, shape
        self.axes = axes or shared.axes
        self.binary, self.whole = emits_binary_spikes(module), emits_whole_spikes(module)
        # What its outputs may be, where its type does not say so.
        self.unsure: tuple[str, ...] = () if self.binary or self.whole else KINDS[:1]
        if is_found_neuron(module) and self.whole:
            self.unsure = KINDS[:2]
        self.spikes, self.silent_steps = shared.zeros(), shared.zeros()
        self.map = torch.zeros(shape, dtype=torch.float64, device=shared.device)
        self.by_neuron: NDArray[Any] | None = None
        if kept:
            # Below 2³¹ where a neuron fires several times in a step, at most T elsewhere.
            kind = np.min_scalar_type(MOST_SPIKES if self.whole else shared.spec.timesteps)
            self.by_neuron = shared.zeros(self.map.numel(), kind)

    def took(self, x: Tensor) -> None:
        """Count the steps, from the first, in which all that comes in is zero: a counter of
        framework calls sees fewer additions while potentials are still zero.
        """
        shared, held = self.shared, self.axes.steps
        self.at = shared.turn(self)
        if self.at == 0:  # [real] which samples are silent still, and for how long they were
            self.waiting = torch.ones(shared.real, dtype=torch.bool, device=x.device)
            self.silent = torch.zeros(shared.real, dtype=torch.int64, device=x.device)
        for step in shared.each_step_of(x, held, self.axes.batch_first):
            if not bool(self.waiting.any()):
                return
            self.waiting &= ~(step[: shared.real] != 0).flatten(1).any(1)
            self.silent += self.waiting

    def gave(self, out: Tensor) -> SpikeCounts | None:
        """Note what one call gave. Spikes over all T steps, [real, *shape], once the last step has
        been seen; None before.
        """
        shared, axes = self.shared, self.axes
        steps = shared.steps_of(out, self.shape, axes.steps, axes.batch_first)
        if (few := self.unsure) and kind_by_value(out) not in few:
            raise RecordingError(
                f"spiking layer {self.name!r} now emits values other than "
                f"{'whole numbers' if self.whole else '0 and 1'}; its spikes cannot be counted"
            )
        kind = torch.int64 if self.whole else torch.bool
        for row, kept in shared.traced.items():
            kept.setdefault(self.name, []).extend(steps[:, row].to(kind).cpu().numpy())
        dtype = out.dtype if out.is_floating_point() else torch.int32  # true + true is not two
        dtype = torch.float64 if self.whole else dtype
        if axes.calls == 1:
            sums = counted_spikes(self.module, out)
            self.total = summed_over_first(steps, 2, dtype) if sums is out else sums
        elif self.at == 0:
            self.total = steps.sum(0, dtype=dtype)
        else:
            self.total += steps.sum(0, dtype=dtype) if len(steps) > 1 else steps[0]
        if self.at < axes.calls - 1:
            return None
        total = self.total[: shared.real]
        if self.whole and not bool((total < MOST_SPIKES).all()):
            raise RecordingError(
                f"spiking layer {self.name!r} emits more spikes than can be counted; its "
                "thresholds are too small for its input"
            )
        counts = SpikeCounts(total, float("inf") if self.whole else shared.spec.timesteps)
        shared.store(self.spikes, counts.per_sample())
        shared.store(self.silent_steps, self.silent)
        self.map += counts.over_samples()
        if self.by_neuron is not None:
            self.by_neuron[shared.index] = total.flatten(1).cpu().to(torch.int64).numpy()
        return counts

    def activity(self, model: NeuronModel) -> LayerActivity:
        """What the layer, one of such neurons, did when every sample has passed."""
        rates = self.map / (self.shared.count * self.shared.spec.timesteps)
        return LayerActivity(
            self.name,
            self.shape,
            self.spikes[:, 0],
            rates.cpu().numpy(),
            model,
            self.silent_steps[:, 0],
        )

    def spike_counts(self) -> NDArray[Any] | None:
        """Spikes over all T of each neuron, [N, L], in the smallest unsigned type that holds T."""
        if self.by_neuron is None:
            return None
        largest = max(int(self.by_neuron.max(initial=0)), self.shared.spec.timesteps)
        return self.by_neuron.astype(np.min_scalar_type(largest), copy=False)


class SynapseCounter:
    """Operations of one layer with weights, and what it received.

    A layer that meets the zeros and ones of one spiking layer is counted from that layer's spikes
    (`fed`); every other one is measured where it meets its input (`met`).
    """

    def __init__(
        self, shared: Pass, net: SpikingNet, synapse: Synapse, axes: Axes | None = None
    ) -> None:
        self.shared, self.synapse, self.kind = shared, synapse, synapse.kind
        self.axes = axes or shared.axes
        self.is_fed = synapse.source not in (MEASURED, INPUT)
        self.fan_out = FanOut(synapse.fan_out, shared.device)
        self.own_fan_out = FanOut(synapse.own_fan_out, shared.device)
        nonzero = synapse.nonzero_fan_out
        self.nonzero_fan_out = None if nonzero is None else FanOut(nonzero, shared.device)
        self.steps = self.axes.calls * self.axes.steps
        self.elements = self.steps * synapse.geometry.input_elements
        self.operations, self.nonzero_operations = shared.zeros(), shared.zeros()
        values = self.kind == "analog" and not synapse.static
        self.replayed = shared.zeros() if values else None
        columns = 1 if synapse.static else self.axes.calls
        self.seen: Seen | None = nothing_seen(
            shared, columns, self.elements, pruned=nonzero is not None
        )
        direct = self.is_fed and not synapse.pool
        if direct and emits_binary_spikes(net.backbone.get_submodule(synapse.source)):
            self.seen = None  # 0 and 1 alone in every call: nothing need be measured

    def fed(self, counts: SpikeCounts) -> None:
        """Count the layer from the spikes over all steps of the spiking layer that feeds it."""
        self.shared.store(self.operations, counts.weighted(self.fan_out))
        if self.seen is None and self.nonzero_fan_out is not None:
            self.shared.store(self.nonzero_operations, counts.weighted(self.nonzero_fan_out))

    def met(self, x: Tensor) -> None:
        """Measure what the layer meets in one call, and count its operations where nothing else
        does.
        """
        if self.seen is None:
            return
        synapse, shared, axes = self.synapse, self.shared, self.axes
        at, inputs = shared.turn(self), synapse.geometry.inputs
        steps = shared.steps_of(x, inputs, axes.steps, axes.batch_first)[:, : shared.real]
        if synapse.static:  # counted once, at its first step
            if at == 0:
                self.first_input = steps[0]
            if synapse.source == MEASURED and not bool((steps == self.first_input).all()):
                raise RecordingError(
                    f"layer {synapse.name!r} was found to receive the same values at every time "
                    f"step and now does not; {declare(synapse.name)}"
                )
            if at > 0:
                return
            steps = steps[:1]
        else:
            gathered = shared.gathered(self, at, axes.calls, steps)
            if gathered is None:
                return
            # Calls of single steps stand in columns of their own.
            steps = gathered.flatten(0, 1)[None] if axes.calls > 1 else gathered
        received = Received(steps, shared)
        sums = None
        if synapse.divisor is not None:
            rows = steps.flatten(0, 1)
            sums = sums_of(rows.reshape(len(rows), *inputs), synapse.divisor)
            if sums is None:
                raise RecordingError(
                    f"layer {synapse.name!r} was found to receive averages of spikes and now "
                    f"receives other values; {declare(synapse.name, 'analog')}"
                )
        elif self.kind != "analog" and not self.is_fed:
            if not bool(received.whole.all()):
                raise RecordingError(
                    f"layer {synapse.name!r} was found to receive {synapse.kind} and now receives "
                    f"other values; {declare(synapse.name, 'analog')}"
                )
            if self.kind == "spikes" and not received.all_binary:
                self.kind = "integer spikes"
        repeats = self.steps if synapse.static else 1
        operations = received.note(self.seen, self.own_fan_out, self.nonzero_fan_out, repeats)
        if self.replayed is not None and bool(received.whole.all()):
            shared.store(self.replayed, received.weighted(self.own_fan_out))
        else:
            self.replayed = None
        if sums is not None:
            operations = Received(sums.reshape(steps.shape), shared).weighted(self.own_fan_out)
            shared.store(self.operations, operations)
        elif not self.is_fed:
            if self.kind != "analog" and not received.all_binary:
                operations = received.weighted(self.own_fan_out)
            shared.store(self.operations, operations)

    def activity(self, spikes: Mapping[str, Counts]) -> SynapseActivity:
        """Work of the layer. `spikes` [N, 1] by spiking layer."""
        synapse, seen = self.synapse, self.seen
        if seen is None:
            through = None if self.nonzero_fan_out is None else self.nonzero_operations
            seen = seen_spikes(self.elements, spikes[synapse.source], self.operations, through)
        return SynapseActivity(
            name=synapse.name,
            kind=self.kind,
            source=synapse.source,
            operations=self.operations[:, 0],
            dense_operations=synapse.dense_operations,
            charged_steps=1 if synapse.static else self.steps,
            geometry=synapse.geometry,
            seen=seen,
            replayed=None if self.replayed is None else self.replayed[:, 0],
            calls=self.axes.calls,
            gain=synapse.gain,
        )


def declare(name: str, kind: str = "…") -> str:
    """What to do where a layer's input is not what was found of it."""
    declared = f"input_kinds={{{name!r}: {kind!r}}}, --input-kind {name}={kind}"
    return f"declare its input kind ({declared})"


class OpCounter:
    """Operands of one operation between layers whose work depends on values; of all others nothing
    is measured.
    """

    def __init__(self, shared: Pass, operator: Operator) -> None:
        self.shared, self.operator, shapes = shared, operator, operator.shapes
        self.calls = shared.calls * operator.calls
        is_matmul = bool(shapes) and operator.activity.kind == MATMUL
        # How many outputs each element of an operand reaches in a product.
        reached = (shapes[1][-1], shapes[0][-2]) if is_matmul else (0,) * len(shapes)
        self.operands = [
            (
                nothing_seen(shared, self.calls, shared.spec.timesteps * math.prod(shape)),
                FanOut(torch.full(shape, number, dtype=torch.float64), shared.device),
            )
            for shape, number in zip(shapes, reached, strict=True)
        ]
        self.coincidences = shared.zeros(self.calls) if is_matmul else None

    def met(self, *operands: Tensor, out: Tensor | None = None) -> None:
        """Measure what the operation meets in one call, which gives `out`."""
        shared, shapes, calls = self.shared, self.operator.shapes, self.operator.calls
        held = max(1, self.operator.activity.steps // self.calls)  # not every step runs it
        at, batch_first = shared.turn(self), self.operator.batch_first

        def whole(place: object, x: Tensor, shape: Shape) -> Tensor | None:
            """With what all calls of the pass met at this place, once the last of them is there."""
            steps = shared.steps_of(x, shape, held, batch_first)[:, : shared.real]
            gathered = shared.gathered((self, place), at, calls, steps)
            return gathered if gathered is None or calls == 1 else gathered.flatten(0, 1)[None]

        binary = torch.ones(calls * shared.real, dtype=torch.bool, device=shared.device)
        for i, (x, shape) in enumerate(zip(operands, shapes, strict=True)):
            if (gathered := whole(i, x, shape)) is not None:
                received = Received(gathered, shared)
                received.note(*self.operands[i])
                binary &= received.binary
        if self.coincidences is None or out is None:
            return
        products = whole("out", out, tuple(out.shape[out.dim() - len(shapes[0]) :]))
        if products is not None and bool(binary.any()):
            # Zeros and ones alone: the product's elements count where both operands spike.
            counted = products.double().sum(0).flatten(1).sum(1) * binary
            shared.store(self.coincidences, counted)

    def activity(self, spikes: Mapping[str, Counts]) -> OperatorActivity:
        """The operation. `spikes` [N, 1] by spiking layer."""
        activity = replace(self.operator.activity, calls=self.calls)
        fed = self.operator.spikes_of
        operands = tuple(seen for seen, _ in self.operands)
        if fed is not None:
            size = activity.inputs * activity.steps
            operands = (seen_spikes(size, spikes[fed], 0 * spikes[fed]),)
        if not operands:
            return activity
        kinds = tuple(map(_kind_of, operands))
        return replace(
            activity, operands=operands, operand_kinds=kinds, coincidences=self.coincidences
        )


def _kind_of(operand: Seen) -> str:
    """The widest kind over all samples and calls."""
    if operand.binary.all():
        return "spikes"
    return "integer spikes" if operand.whole.all() else "analog"


@dataclass(eq=False)
class ReadoutCounter:
    """The time mean of the input of the last layer with weights, `features` [N, D]."""

    shared: Pass
    net: SpikingNet
    name: str
    axes: Axes
    features: Floats | None = None

    def met(self, x: Tensor) -> None:
        """Before the read-out runs: add its input, summed over the steps in float64 in their order,
        whatever the step mode.
        """
        shared, rows = self.shared, self.shared.padded
        found = per_sample(x, shared.spec, rows)  # one step where the network averages over time
        if found is None:
            raise RecordingError(
                f"the last layer with weights, {self.name!r}, receives an input of shape "
                f"{tuple(x.shape)}, which has no sample axis; features cannot be kept"
            )
        x, at = x.detach(), shared.turn(self)
        steps = shared.steps_of(x, found[1], found[0], self.axes.batch_first)
        if at == 0:
            self.sum = torch.zeros_like(steps[0], dtype=torch.float64)
        for step in steps:
            self.sum += step
        if at == self.axes.calls - 1:
            number = len(steps) * self.axes.calls
            mean = (self.sum[: shared.real] / number).flatten(1).float().cpu().numpy()
            if self.features is None:
                self.features = np.empty((shared.count, mean.shape[1]), dtype=np.float32)
            self.features[shared.index] = mean

    def layer(self, logits: NDArray[Any]) -> Readout | None:
        """Weight and bias of the last layer with weights where it is linear and the time-mean
        `logits` [N, T, K] are its output.

        None where something else makes the logits: a spiking layer behind it, a convolution, a
        second branch.
        """
        layer, features = self.net.backbone.get_submodule(self.name), self.features
        if features is None or not isinstance(layer, nn.Linear):
            return None
        weight = layer.weight.detach().double().cpu().numpy()
        if weight.shape != (logits.shape[2], features.shape[1]):
            return None
        own = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        bias = own.double().cpu().numpy()
        tolerance = max(_TOLERANCE, 4 * torch.finfo(layer.weight.dtype).eps)
        for start in range(0, len(logits), 4096):
            rows = slice(start, start + 4096)
            given = features[rows].astype(np.float64)
            off = np.abs(given @ weight.T + bias - logits[rows].mean(axis=1, dtype=np.float64))
            if (off > tolerance * (np.abs(given) @ np.abs(weight).T + np.abs(bias))).any():
                return None
        return Readout(weight, bias)
