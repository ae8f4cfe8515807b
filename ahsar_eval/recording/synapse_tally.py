"""What layers with weights meet where it is measured: operations, values by call, events to replay;
one set, filled batch by batch.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, emits_binary_spikes
from ahsar_eval.recording.activity import SynapseActivity
from ahsar_eval.recording.counting import Counts, Reach
from ahsar_eval.recording.values import Received, SeenTally, Store, seen_spikes
from ahsar_eval.recording.wiring import INPUT, MEASURED, Synapse, Wiring, sample_shape
from ahsar_eval.recording.work import Seen


class SynapseTally:
    """Operations of every layer with weights, [N], and what each received.

    A layer that meets the zeros and ones of one spiking layer is counted from that layer's spikes
    (`fed`); every other one is measured where it meets its input (`met`).
    """

    def __init__(self, net: SpikingNet, wiring: Wiring, count: int, device: str) -> None:
        self.net, self.synapses, self.steps = net, wiring.synapses, net.spec.timesteps
        self.single_step = net.spec.step_mode == "s"
        self.operations = {
            synapse.name: np.zeros((count, 1), np.int64) for synapse in wiring.synapses
        }
        self.reach = {
            synapse.name: Reach.of(synapse.reached, device) for synapse in wiring.synapses
        }
        self.live = {
            s.name: Reach.of(s.live, device) for s in wiring.synapses if s.live is not None
        }
        self.own = {
            s.name: Reach.of(s.own, device) if s.path else self.reach[s.name]
            for s in wiring.synapses
        }
        self.kinds = {synapse.name: synapse.kind for synapse in wiring.synapses}
        self.seen = {
            synapse.name: self._seen_tally(synapse, count)
            for synapse in wiring.synapses
            if not self._meets_plain_spikes(synapse)
        }
        self.live_operations = {name: np.zeros((count, 1), np.int64) for name in self.live}
        self.replayed: dict[str, NDArray[np.int64] | None] = {
            s.name: np.zeros((count, 1), np.int64)
            for s in wiring.synapses
            if s.kind == "analog" and not s.static
        }
        self.scratch: dict[tuple[torch.Size, torch.dtype], Tensor] = {}
        self.kept_steps: dict[str, dict[tuple[torch.Size, torch.dtype], Tensor]] = {}
        self.begin_batch(0, 0)

    def begin_batch(self, real: int, padded: int) -> None:
        """A batch of `real` samples, which run as `padded` rows."""
        self.real, self.padded = real, padded
        self.calls: dict[str, int] = {}
        self.first_inputs: dict[str, Tensor] = {}
        self.found_operations: dict[str, Tensor] = {}
        self.found_replays: dict[str, Tensor] = {}
        self.found_values: list[Store] = []

    def found(self) -> list[Store]:
        """What the batch adds: to be written where its samples belong."""
        return [
            *((self.operations[name], 0, values) for name, values in self.found_operations.items()),
            *self.found_values,
            *(
                (array, 0, values)
                for name, values in self.found_replays.items()
                if (array := self.replayed[name]) is not None
            ),
        ]

    def fed(self, synapse: Synapse, counts: Counts) -> None:
        """Count a layer from the spikes over all steps of the spiking layer that feeds it."""
        name = synapse.name
        self.found_operations[name] = counts.weighted(self.reach[name])
        if name in self.live and name not in self.seen:
            self.found_values.append(
                (self.live_operations[name], 0, counts.weighted(self.live[name]))
            )

    def met(self, synapse: Synapse, x: Tensor) -> None:
        """Measure what a layer meets in one call, and count its operations where
        nothing else does."""
        steps = self._as_steps(synapse, x)
        if synapse.source in (MEASURED, INPUT):
            self._measure(synapse, steps)
        elif synapse.name in self.seen and (received := self._received(synapse, steps)) is not None:
            self._see(synapse, received)

    def activities(self, spikes: dict[str, NDArray[np.int64]]) -> tuple[SynapseActivity, ...]:
        """Work of each layer with weights, in the order they ran. `spikes` [N] by spiking layer."""
        return tuple(
            SynapseActivity(
                name=synapse.name,
                kind=self.kinds[synapse.name],
                source=synapse.source,
                operations=self.operations[synapse.name][:, 0],
                dense_operations=synapse.dense_operations,
                charged_steps=1 if synapse.static else self.steps,
                geometry=synapse.geometry,
                seen=self._seen(synapse, spikes),
                replayed=None
                if (found := self.replayed.get(synapse.name)) is None
                else found[:, 0],
            )
            for synapse in self.synapses
        )

    def _seen(self, synapse: Synapse, spikes: dict[str, NDArray[np.int64]]) -> Seen:
        if synapse.name in self.seen:
            return self.seen[synapse.name].seen()
        live = self.live_operations.get(synapse.name)
        elements = self.steps * synapse.geometry.input_elements
        uses = self.operations[synapse.name][:, 0]
        return seen_spikes(
            elements, spikes[synapse.source], uses, None if live is None else live[:, 0]
        )

    def _as_steps(self, synapse: Synapse, x: Tensor) -> Tensor:
        """The input of a layer with weights as [S, P, *shape]."""
        shape = sample_shape(x, self.net, self.padded)
        if shape is None:
            raise RecordingError(
                f"layer {synapse.name!r} receives an input of shape {tuple(x.shape)} that was not "
                "seen before"
            )
        return x.reshape(-1, self.padded, *shape)

    def _measure(self, synapse: Synapse, steps: Tensor) -> None:
        """Count the operations of a layer where it meets its input, step by step or all steps at
        once.
        """
        if synapse.static:
            first = self.first_inputs.setdefault(synapse.name, steps[0])
            if synapse.source == MEASURED and not bool((steps == first).all()):
                raise RecordingError(
                    f"layer {synapse.name!r} was found to receive the same values at every time "
                    "step and now does not; "
                    f"declare its input kind (input_kinds={{{synapse.name!r}: …}}, --input-kind "
                    f"{synapse.name}=…)"
                )
            if synapse.name in self.found_operations:
                return
            steps = steps[:1]
        received = self._received(synapse, steps)
        if received is None:
            return
        if synapse.kind != "analog":
            self._check_spikes(synapse, received)
        uses = self._see(synapse, received)
        if synapse.kind != "analog" and not received.all_binary:
            uses = self._by_value(synapse, received)
        self.found_operations[synapse.name] = uses

    def _received(self, synapse: Synapse, steps: Tensor) -> Received | None:
        """All that a layer receives in a pass: at once in multi-step mode, with the last step in
        single-step mode; None before.
        """
        if not self.single_step or synapse.static:
            return Received(steps, self.real, self.scratch)
        call = self.calls[f"seen {synapse.name}"] = self.calls.get(f"seen {synapse.name}", 0) + 1
        key = (torch.Size((self.steps, *steps.shape[1:])), steps.dtype)
        kept = self.kept_steps.setdefault(synapse.name, {})
        if key not in kept:
            kept[key] = steps.new_empty(key[0])
        kept[key][call - 1] = steps[
            0
        ]  # a copy: what comes later may be written into the same tensor
        return (
            Received(kept[key], self.real, self.scratch, each_step=True)
            if call == self.steps
            else None
        )

    def _by_value(self, synapse: Synapse, received: Received) -> Tensor:
        """Σ values · fan-out, [real]. Untraced integers have no bound known beforehand: they are
        summed in float64.
        """
        values = received.values()
        return (
            Counts(values.flatten(0, 1), float("inf"))
            .weighted(self.own[synapse.name])
            .reshape(values.shape[:2])
            .sum(0)
        )

    def _check_spikes(self, synapse: Synapse, received: Received) -> None:
        if not bool(received.whole.all()):
            raise RecordingError(
                f"layer {synapse.name!r} was found to receive {synapse.kind} and now receives "
                "other values; declare its input kind "
                f"(input_kinds={{{synapse.name!r}: 'analog'}}, --input-kind {synapse.name}=analog)"
            )
        if self.kinds[synapse.name] == "spikes" and not received.all_binary:
            self.kinds[synapse.name] = "integer spikes"

    def _see(self, synapse: Synapse, received: Received) -> Tensor:
        """Note what a layer receives in a pass; Σ over what is not zero of the outputs it reaches,
        [real].
        """
        name, tally = synapse.name, self.seen[synapse.name]
        steps = 1 if len(received.low) > 1 else len(received.steps)
        self.found_values += tally.measured(received, 0, steps, self.own[name], self.live.get(name))
        if self.replayed.get(name) is not None:
            if bool(received.whole.all()):
                self.found_replays[name] = self._by_value(synapse, received)
            else:
                self.replayed[name] = None
        return tally.met.sum(0)

    def _meets_plain_spikes(self, synapse: Synapse) -> bool:
        """Whether every call of a layer meets 0 and 1 alone by what feeds it, so that nothing need
        be measured.
        """
        return (
            synapse.source not in (MEASURED, INPUT)
            and not synapse.path
            and emits_binary_spikes(self.net.backbone.get_submodule(synapse.source))
        )

    def _seen_tally(self, synapse: Synapse, count: int) -> SeenTally:
        columns = self.steps if self.single_step and not synapse.static else 1
        elements = self.steps * synapse.geometry.input_elements
        return SeenTally(
            count,
            columns,
            elements,
            live=synapse.live is not None,
            repeats=self.steps if synapse.static else 1,
        )
