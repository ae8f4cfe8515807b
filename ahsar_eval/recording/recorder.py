"""One pass of a network over a split, counted exactly."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.data import Batch, Split
from ahsar_eval.data.randomness import seeded
from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import SpikingNet, after, before, hooked
from ahsar_eval.networks.behaviour import ROUNDING
from ahsar_eval.process import freed_memory_kept, progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording.activity import (
    FEATURES,
    SPIKE_COUNTS,
    Counts,
    Recording,
    SpikeTrace,
    describe,
)
from ahsar_eval.recording.counters import (
    NeuronCounter,
    OpCounter,
    ReadoutCounter,
    SynapseCounter,
    declare,
)
from ahsar_eval.recording.engine import FP32, looped_neurons, products_in
from ahsar_eval.recording.execution import (
    BY_REFERENCE,
    COMPILED,
    NotAsPlannedError,
    check_execution,
    checked,
    discovered,
    on_reference,
    padded,
)
from ahsar_eval.recording.graph import Graph
from ahsar_eval.recording.layout import channels_last, layout_of, linear_by_rows
from ahsar_eval.recording.operations import FunctionCalls
from ahsar_eval.recording.passes import Pass
from ahsar_eval.recording.tensors import Origin, Tensors, key_of

_INDEPENDENT = 4  # samples that are run beside others and beside copies of themselves


@freed_memory_kept()
def record(
    net: SpikingNet,
    split: Split,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    trace: Sequence[int] = (),
    order: Counts | None = None,
    input_kinds: Mapping[str, str] | None = None,
    extras: Collection[str] = (),
    engine: str = COMPILED,
    precision: str = FP32,
) -> Recording:
    """Run `net` (thresholds as they are written) in evaluation mode over `split` and count what it
    does.

    Neuron state is reset before every batch. The result does not depend on `batch_size` or on
    `order` (a permutation of 0 … N−1), bit for bit, on one machine with one thread count. `trace`
    names the samples whose full spikes are kept. `input_kinds` declares the input of layers that
    cannot be traced to spikes ('spikes', 'integer spikes' or 'analog'). `extras` names what else is
    kept: 'features' (with the read-out) and 'spike counts'. Raises `RecordingError` for logits that
    are not finite (naming the sample), an input that is not what was pinned, extras that the
    network does not have, or an empty split.

    `engine` is 'compiled', the network in less time where a check on some samples finds what
    SpikingJelly's own operations give, or 'reference', those operations. Why the reference ran
    although 'compiled' was asked for, and how far the two were apart, stands in the provenance. On
    a CPU both run with weights that lie channels last (docs/engine.md). `precision` is that of the
    products in convolutions: 'fp32', or 'bf16' and 'tf32' (on a GPU), whose difference to fp32 on
    some samples is measured and said.
    """
    count = len(split)
    if count == 0:
        raise RecordingError(f"{split.name} has no sample; nothing can be recorded")
    if batch_size < 1:
        raise RecordingError(f"the batch size is {batch_size}; expected at least 1")
    for index in trace:
        if not 0 <= index < count:
            raise RecordingError(
                f"sample {index} is not in {split.name}, which has samples 0 to {count - 1}"
            )
    if order is not None and not np.array_equal(np.sort(order), np.arange(count)):
        raise RecordingError(
            f"the order is no permutation of the samples 0 to {count - 1} of {split.name}; every "
            "sample is recorded once"
        )
    check_execution(engine, precision, device)
    dtype, backbone = net.dtype, net.backbone
    with (
        net.evaluating(device),
        torch.inference_mode(False),
        torch.no_grad(),
        products_in(FP32, torch.device(device).type),
        ExitStack() as stack,
    ):
        # The same two samples whatever the order, so that what is pinned depends on nothing but the
        # network and the split.
        if net.found is not None:
            check_independence(net, split, device)
            batch_size = 1 if net.alone else batch_size
        probe = split.tensors(np.arange(min(2, count))).to(device, dtype)
        # Samples and time steps must be told apart by their number.
        number = 1 if net.calls.alone else 3 if net.spec.timesteps == 2 else 2
        rows = torch.arange(number) % probe.shape[1]
        graph, unfit = discovered(net, probe[:, rows], input_kinds)
        check_extras(graph, extras)
        memory = layout_of(backbone, where=not unfit)["memory"]
        stack.enter_context(channels_last(backbone, where=not unfit))
        stack.enter_context(linear_by_rows(backbone))

        def counted(
            batches: Iterable[Batch], of: Graph, labels: Counts, traced: Collection[int]
        ) -> Recording:
            tally = Tally(net, of, len(labels), trace=traced, device=device, extras=extras)
            with hooked(tally.hooks()):
                for batch in batches:
                    tally.run(batch, split.name)
            return tally.recording(labels)

        def alone(batch: Batch, of: Graph) -> Recording:
            return counted([batch], of, batch.y.numpy(), range(len(batch.y)))

        def whole() -> Recording:
            batches = split.batches(batch_size, order)
            total = -(-count // batch_size)
            shown = progress(batches, f"recording {split.name}", total=total)
            return counted(shown, graph, split.labels, trace)

        fast, ran = None, dict(BY_REFERENCE)
        if engine == COMPILED and unfit:
            ran = on_reference(unfit)
        elif engine == COMPILED:
            fast, ran = checked(net, graph, split, precision, alone)
        try:
            with looped_neurons(backbone) if fast is None else fast.running():
                found = whole()
        except NotAsPlannedError as error:
            ran = on_reference(str(error))
            with looped_neurons(backbone):
                found = whole()
    kind = str(dtype).removeprefix("torch.")
    said = provenance(dtype=kind, batch_size=batch_size, device=device, memory=memory, **ran)
    return replace(found, split=describe(split), provenance=said)


def check_independence(net: SpikingNet, split: Split, device: str) -> None:
    """Raise `RecordingError` where a sample's logits depend on those beside it: on some samples of
    a user's network, each beside others and beside copies of itself at the same place of a batch.
    """
    if net.alone:
        return
    index = np.arange(min(_INDEPENDENT, len(split))) * len(split) // min(_INDEPENDENT, len(split))
    x = padded(split.tensors(index).to(device, net.dtype))

    def means(batch: Tensor) -> Tensor:
        net.reset()
        return net(batch).mean(0).double()

    whole = means(x)
    largest = float(whole.abs().max()) or 1.0
    for place, sample in enumerate(index):
        alone = means(x[:, place : place + 1].expand_as(x))[place]
        apart = (whole[place] - alone).abs()
        if float(apart.max()) > ROUNDING * largest:
            k = int(apart.argmax())
            raise RecordingError(
                f"logit {k} of sample {sample} of {split.name} is {float(whole[place, k]):.6g} "
                f"beside other samples and {float(alone[k]):.6g} beside copies of itself; a "
                "sample's output must not depend on the batch: are time and batch axes exchanged "
                "(--calls), does a module keep state that reset_net does not reach, or is a batch "
                "norm in training mode?"
            )
    net.reset()


def check_extras(graph: Graph, extras: Collection[str]) -> None:
    """Raise `RecordingError` for an extra that is none, or that the network does not have."""
    needs = {
        FEATURES: (
            graph.readout,
            "linear or convolutional layer; features are the input of the last of them",
        ),
        SPIKE_COUNTS: (
            graph.hidden,
            "spiking layer before its last layer with weights; spike counts by neuron are those of "
            "such a layer",
        ),
    }
    for name in extras:
        if name not in needs:
            raise RecordingError(
                f"a recording can keep {' and '.join(needs)}, and {name!r} was asked for"
            )
        if needs[name][0] is None:
            raise RecordingError(f"the network has no {needs[name][1]}")


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
