"""What a layer with weights meets where it is measured: operations, values by call, events to
replay; filled batch by batch.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, emits_binary_spikes
from ahsar_eval.recording.activity import SynapseActivity
from ahsar_eval.recording.counting import Counts, FanOut, Pass, Received, nothing_seen, seen_spikes
from ahsar_eval.recording.graph import INPUT, MEASURED, Synapse
from ahsar_eval.recording.op_counter import sample_shape


class SynapseCounter:
    """Operations of one layer with weights, and what it received.

    A layer that meets the zeros and ones of one spiking layer is counted from that layer's spikes
    (`fed`); every other one is measured where it meets its input (`met`).
    """

    def __init__(self, shared: Pass, net: SpikingNet, synapse: Synapse) -> None:
        self.shared, self.synapse, self.kind = shared, synapse, synapse.kind
        self.is_fed = synapse.source not in (MEASURED, INPUT)
        # 0 and 1 alone in every call, by what feeds it: nothing need be measured.
        meets_plain_spikes = (
            self.is_fed
            and not synapse.path
            and emits_binary_spikes(net.backbone.get_submodule(synapse.source))
        )
        self.fan_out = FanOut(synapse.fan_out, shared.device)
        self.own_fan_out = self.fan_out
        if synapse.path:
            self.own_fan_out = FanOut(synapse.own_fan_out, shared.device)
        self.nonzero_fan_out = None
        if synapse.nonzero_fan_out is not None:
            self.nonzero_fan_out = FanOut(synapse.nonzero_fan_out, shared.device)
        self.steps = shared.spec.timesteps
        self.elements = self.steps * synapse.geometry.input_elements
        self.at_once = shared.calls == 1 or synapse.static  # all of a pass in one call
        self.operations = shared.zeros()
        self.nonzero_operations = shared.zeros()
        self.replayed = shared.zeros() if self.kind == "analog" and not synapse.static else None
        self.seen = None
        if not meets_plain_spikes:
            columns = 1 if self.at_once else shared.calls
            pruned = self.nonzero_fan_out is not None
            self.seen = nothing_seen(shared.count, columns, self.elements, pruned=pruned)
        self.kept: Tensor | None = None  # inputs of all steps in single-step mode
        self.begin_batch()

    def begin_batch(self) -> None:
        """Forget the batch before."""
        self.calls = 0
        self.first_input: Tensor | None = None

    def fed(self, counts: Counts) -> None:
        """Count the layer from the spikes over all steps of the spiking layer that feeds it."""
        stores = self.shared.stores
        stores.append((self.operations, 0, counts.weighted(self.fan_out)))
        if self.seen is None and self.nonzero_fan_out is not None:
            stores.append((self.nonzero_operations, 0, counts.weighted(self.nonzero_fan_out)))

    def met(self, x: Tensor) -> None:
        """Measure what the layer meets in one call, and count its operations where nothing else
        does.
        """
        shape = sample_shape(x, self.shared.spec, self.shared.padded)
        if shape is None:
            raise RecordingError(
                f"layer {self.synapse.name!r} receives an input of shape {tuple(x.shape)} that was "
                "not seen before"
            )
        steps = x.reshape(-1, self.shared.padded, *shape)
        if self.seen is None or (self.synapse.static and self._is_repeated(steps)):
            return
        received = self._received(steps[:1] if self.synapse.static else steps)
        if received is None:
            return
        if not self.is_fed and self.kind != "analog":
            self._check_spikes(received)
        operations = received.note(
            self.seen,
            0,
            self.own_fan_out,
            self.nonzero_fan_out,
            repeats=self.steps if self.synapse.static else 1,
        )
        if self.replayed is not None and bool(received.whole.all()):
            self.shared.stores.append((self.replayed, 0, received.weighted(self.own_fan_out)))
        else:
            self.replayed = None
        if not self.is_fed:
            if self.kind != "analog" and not received.all_binary:
                operations = received.weighted(self.own_fan_out)
            self.shared.stores.append((self.operations, 0, operations))

    def activity(self, spikes: Mapping[str, NDArray[np.int64]]) -> SynapseActivity:
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
        )

    def _is_repeated(self, steps: Tensor) -> bool:
        """Whether a static input was counted in an earlier call. Raises `RecordingError` where it
        is no longer the same at every step.
        """
        earlier = self.first_input
        self.first_input = steps[0] if earlier is None else earlier
        if self.synapse.source == MEASURED and not bool((steps == self.first_input).all()):
            name = self.synapse.name
            raise RecordingError(
                f"layer {name!r} was found to receive the same values at every time step and now "
                f"does not; declare its input kind (input_kinds={{{name!r}: …}}, --input-kind "
                f"{name}=…)"
            )
        return earlier is not None

    def _received(self, steps: Tensor) -> Received | None:
        """All that the layer receives in a pass: at once in multi-step mode, with the last step in
        single-step mode; None before.
        """
        if self.at_once:
            return Received(steps, self.shared)
        shape = (self.steps, *steps.shape[1:])
        if self.kept is None or self.kept.shape != shape or self.kept.dtype != steps.dtype:
            self.kept = steps.new_empty(shape)
        # A copy: what comes later may be written into the same tensor.
        self.kept[self.calls] = steps[0]
        self.calls += 1
        if self.calls < self.steps:
            return None
        return Received(self.kept, self.shared, each_step=True)

    def _check_spikes(self, received: Received) -> None:
        if not bool(received.whole.all()):
            name = self.synapse.name
            raise RecordingError(
                f"layer {name!r} was found to receive {self.synapse.kind} and now receives other "
                f"values; declare its input kind (input_kinds={{{name!r}: 'analog'}}, "
                f"--input-kind {name}=analog)"
            )
        if self.kind == "spikes" and not received.all_binary:
            self.kind = "integer spikes"
