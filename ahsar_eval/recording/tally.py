"""Counters of one recording, and the hooks that fill them batch by batch."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.data import Batch
from ahsar_eval.data.randomness import seeded
from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import SpikingNet, after, before
from ahsar_eval.recording.activity import (
    FEATURES,
    SPIKE_COUNTS,
    Counts,
    Recording,
    SpikeTrace,
)
from ahsar_eval.recording.counters import (
    NeuronCounter,
    OpCounter,
    ReadoutCounter,
    SynapseCounter,
    declare,
)
from ahsar_eval.recording.execution import padded
from ahsar_eval.recording.graph import Graph
from ahsar_eval.recording.operations import FunctionCalls
from ahsar_eval.recording.passes import Pass
from ahsar_eval.recording.tensors import Origin, Tensors, key_of


class Tally:
    """Counters of one recording, and the hooks that fill them batch by batch."""

    def __init__(
        self,
        net: SpikingNet,
        graph: Graph,
        count: int,
        *,
        trace: Iterable[int] = (),
        device: str = "cpu",
        extras: Collection[str] = (),
    ) -> None:
        self.net, self.graph, self.wanted = net, graph, [*trace]
        self.shared = shared = Pass(net.spec, count, device)
        self.modules = modules = dict(net.backbone.named_modules())
        hidden = graph.hidden if SPIKE_COUNTS in extras else None
        self.neurons = {
            name: NeuronCounter(
                *(shared, name, modules[name], shape),
                kept=name == hidden,
                axes=graph.axes.get(name),
            )
            for name, shape in graph.neurons.items()
        }
        self.synapses = [
            SynapseCounter(shared, net, synapse, graph.axes.get(synapse.name))
            for synapse in graph.synapses
        ]
        self.operators = [OpCounter(shared, operator) for operator in graph.operators]
        measured = [counter for counter in self.operators if counter.operands]
        self.by_call = {call: one for one in measured for call in one.operator.called}
        self.readout = None
        if FEATURES in extras and graph.readout is not None:
            axes = graph.axes.get(graph.readout, shared.axes)
            self.readout = ReadoutCounter(shared, net, graph.readout, axes)
        self.hidden = None if hidden is None else self.neurons[hidden]
        self.logits: NDArray[Any] = np.empty((count, 0, 0), dtype=np.float32)
        self.traces: dict[int, SpikeTrace] = {}
        self.functions = FunctionCalls(self._on_call, self.by_call)
        self.tensors = Tensors()

    def run(self, batch: Batch, split_name: str) -> None:
        """Forward one batch and put its counts where its samples belong."""
        index = batch.index.numpy()
        x = batch.x.to(self.shared.device, self.net.dtype)
        x = x if self.net.calls.alone else padded(x)
        traced = np.flatnonzero(np.isin(index, self.wanted)).tolist()
        self.shared.begin_batch(index, x.shape[1], traced)
        self.tensors.forget()
        self.net.reset()
        self.functions.inside = 1  # until the network begins: what normalises its input is not its
        drawn = seeded(int(index[0])) if self.net.draws else nullcontext()
        with drawn, self.functions if self.by_call else nullcontext():
            logits = self.net(x)[:, : len(index)].transpose(0, 1)
        finite = torch.isfinite(logits).flatten(1).all(1)
        if not bool(finite.all()):
            bad = int(index[int((~finite).nonzero()[0])])
            raise RecordingError(
                f"the logits of sample {bad} of {split_name} are not finite (NaN or Inf); the "
                "network's weights or its input overflow; check the checkpoint"
            )
        values = (logits if logits.dtype == torch.float64 else logits.float()).cpu().numpy()
        if self.logits.shape[1] == 0:
            self.logits = np.empty((len(self.logits), *values.shape[1:]), dtype=values.dtype)
        self.logits[index] = values
        self.shared.write()
        for row, spikes in self.shared.traced.items():
            self.traces[int(index[row])] = SpikeTrace(
                index=int(index[row]),
                image=batch.x[:, row].float().numpy(),
                label=int(batch.y[row]),
                logits=logits[row].float().cpu().numpy(),
                spikes={name: np.stack(steps) for name, steps in spikes.items()},
            )

    def recording(self, labels: Counts) -> Recording:
        """What was counted, when every sample has passed."""
        spikes = {name: counter.spikes for name, counter in self.neurons.items()}
        readout = self.readout
        return Recording(
            split={},
            spec=self.net.spec.to_dict(),
            thresholds=read_thresholds(self.net.backbone),
            logits=self.logits,
            labels=labels,
            layers=tuple(c.activity(self.graph.models[name]) for name, c in self.neurons.items()),
            synapses=tuple(counter.activity(spikes) for counter in self.synapses),
            traces=tuple(self.traces[index] for index in sorted(self.traces)),
            uncounted=self.graph.uncounted,
            features=None if readout is None else readout.features,
            readout=None if readout is None else readout.layer(self.logits),
            spike_counts=None if self.hidden is None else self.hidden.spike_counts(),
            operators=tuple(counter.activity(spikes) for counter in self.operators),
        )

    def hooks(self) -> Iterator[RemovableHandle]:
        """Count whatever runs while they are on."""

        def quietly(watch: Callable[..., None], *tensors: Tensor) -> None:
            with self.functions.paused():  # what counts is not the network's
                watch(*tensors)

        yield before(self.net.backbone, self._on_pass)
        for neuron in self.neurons.values():
            yield before(neuron.module, partial(self._on_neuron, neuron))
            yield after(neuron.module, partial(self._on_spikes, neuron))
        for counter in self.operators:
            if counter.operands and not counter.operator.called:  # a pooling
                pooling = self.modules[counter.operator.activity.name]
                yield before(pooling, partial(quietly, counter.met))
        for module in self.modules.values():
            if isinstance(module, nn.Flatten):
                yield after(module, self.tensors.laid_flat)
        for name in {counter.synapse.pool for counter in self.synapses if counter.is_fed} - {""}:
            yield after(self.modules[name], partial(self.tensors.pooled, name))
        for synapse in self.synapses:
            module = self.modules[synapse.synapse.name]
            yield before(module, partial(quietly, partial(self._on_synapse, synapse)))
        if self.readout is not None:
            yield before(self.modules[self.readout.name], partial(quietly, self.readout.met))

    def _on_pass(self, x: Tensor) -> None:
        """Before the network's forward: function calls are numbered from the first step's."""
        self.shared.step += 1
        self.functions.inside = 0
        if self.shared.step == 0:
            self.functions.call = 0

    def _on_neuron(self, neuron: NeuronCounter, x: Tensor) -> None:
        self.functions.inside += 1
        neuron.took(x)

    def _on_spikes(self, neuron: NeuronCounter, x: Tensor, out: Tensor) -> None:
        self.tensors.origins[key_of(out)] = Origin(neuron.name, neuron.shape)
        counts = neuron.gave(out)
        for counter in self.synapses:
            if counts is not None and counter.synapse.source == neuron.name:
                counter.fed(counts)
        self.functions.inside -= 1

    def _on_synapse(self, counter: SynapseCounter, x: Tensor) -> None:
        synapse, origin = counter.synapse, self.tensors.origin(x)
        found = None if origin is None else (origin.source, origin.pool)
        if counter.is_fed and found != (synapse.source, synapse.pool):
            raise RecordingError(
                f"layer {synapse.name!r} was found to receive the spikes of {synapse.source!r} and "
                f"now receives something else; {declare(synapse.name)}"
            )
        counter.met(x)

    def _on_call(
        self, name: str, call: int, values: tuple[Any, ...], size: Any, out: Any, keywords: Any
    ) -> None:
        self.by_call[call].met(*(value for value in values if isinstance(value, Tensor)), out=out)
