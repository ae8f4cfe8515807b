"""One pass of a network over a split, counted exactly."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.data import SHIFTS, Batch, Split
from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import SpikingNet, after, before, hooked
from ahsar_eval.process import freed_memory_kept, progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording.activity import Recording, SpikeTrace
from ahsar_eval.recording.counting import Pass
from ahsar_eval.recording.engine import (
    FP32,
    channels_last,
    float32_products,
    layout_of,
    linear_by_rows,
    looped_neurons,
)
from ahsar_eval.recording.execution import (
    BY_REFERENCE,
    COMPILED,
    Compiled,
    NotAsPlannedError,
    check_execution,
    checked,
    discovered,
    on_reference,
    padded,
)
from ahsar_eval.recording.extras import ExtraTally, check_extras
from ahsar_eval.recording.graph import Graph, copies_in_order
from ahsar_eval.recording.layer_counters import NeuronCounter, SynapseCounter
from ahsar_eval.recording.op_counter import OpCounter
from ahsar_eval.recording.op_tracer import Key, key_of


@freed_memory_kept()
def record(
    net: SpikingNet,
    split: Split,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    trace: Sequence[int] = (),
    order: NDArray[np.int64] | None = None,
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
    check_extras(extras)
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
        float32_products(),
        ExitStack() as stack,
    ):
        # The same two samples whatever the order, so that what is pinned depends on nothing but the
        # network and the split.
        probe = split.tensors(np.arange(min(2, count))).to(device, dtype)
        if net.spec.timesteps == 2:  # samples and time steps must be told apart by their number
            three = [probe, probe[:, :1]] if probe.shape[1] == 2 else [probe] * 3
            probe = torch.cat(three, dim=1)
        graph, unfit = discovered(net, padded(probe), input_kinds)
        memory = layout_of(backbone, where=not unfit)["memory"]
        stack.enter_context(channels_last(backbone, where=not unfit))
        stack.enter_context(linear_by_rows(backbone))
        fast, ran = None, dict(BY_REFERENCE)
        if engine == COMPILED and unfit:
            ran = on_reference(unfit)
        elif engine == COMPILED:
            fast, ran = checked(net, graph, split, dtype, precision)

        def counted(fast: Compiled | None) -> Tally:
            tally = Tally(net, graph, count, trace=trace, device=device, extras=extras, fast=fast)
            batches, total = split.batches(batch_size, order), -(-count // batch_size)
            with tally.hooked(), looped_neurons(backbone) if fast is None else fast.running():
                for batch in progress(batches, f"recording {split.name}", total=total):
                    tally.run(batch, dtype, split.name)
            return tally

        try:
            tally = counted(fast)
        except NotAsPlannedError as error:
            ran = on_reference(str(error))
            tally = counted(None)
    spikes = {name: counter.spikes for name, counter in tally.neurons.items()}
    return Recording(
        split=describe(split),
        spec=net.spec.to_dict(),
        thresholds=read_thresholds(backbone),
        logits=tally.logits,
        labels=split.labels,
        layers=tuple(counter.activity() for counter in tally.neurons.values()),
        synapses=tuple(counter.activity(spikes) for counter in tally.synapses),
        traces=tuple(tally.traces[index] for index in sorted(tally.traces)),
        uncounted=graph.uncounted,
        provenance=provenance(
            batch_size=batch_size,
            device=device,
            dtype=str(dtype).removeprefix("torch."),
            memory=memory,
            **ran,
        ),
        features=tally.extras.features,
        readout=tally.extras.readout(tally.logits),
        spike_counts=tally.extras.spike_counts,
        operators=tally.operators.activities(spikes),
    )


def describe(split: Split) -> dict[str, Any]:
    """What a recording keeps of its split, JSON-ready; `family` is that of the corruption, 'events'
    for every shift of event recordings.
    """
    source, family = split.source, ""
    if split.shift is not None:
        known = split.modality == "image" and split.shift in SHIFTS
        family = SHIFTS[split.shift].family if known else "events"
    return {
        "name": split.name,
        "set": source.name,
        "role": source.role,
        "shift": split.shift,
        "family": family,
        "severity": split.severity,
        "seed": split.seed if split.shift else None,
        "identity": split.identity,
        "set_identity": source.identity,
        "n": len(source),
        "adaptation": split.adaptation,
        "modality": split.modality,
        "labels_preserved": split.labels_preserved,
        "label_space": source.label_space,
        "classes": list(source.classes),
        "note": source.note,
        "copies_of": source.copies_of,
    }


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
        fast: Compiled | None = None,
    ) -> None:
        self.net, self.fast, self.wanted = net, fast, set(trace)
        self.shared = shared = Pass(net.spec, count, device)
        self.modules = modules = dict(net.backbone.named_modules())
        self.neurons = {
            name: NeuronCounter(shared, name, modules[name], shape)
            for name, shape in graph.neurons.items()
        }
        self.synapses = [SynapseCounter(shared, net, synapse) for synapse in graph.synapses]
        self.operators = OpCounter(shared, graph.operators)
        self.extras = ExtraTally(shared, net, graph, extras)
        self.logits: NDArray[Any] = np.empty((count, 0, 0), dtype=np.float32)
        self.traces: dict[int, SpikeTrace] = {}
        # Spikes by the tensor that holds them: their layer, and the poolings since.
        self.sources: dict[Key, tuple[str, tuple[str, ...]]] = {}

    def run(self, batch: Batch, dtype: torch.dtype, split_name: str) -> None:
        """Forward one batch and put its counts where its samples belong."""
        index = batch.index.numpy()
        x = padded(batch.x.to(self.shared.device, dtype))
        self.shared.begin_batch(index, x.shape[1])
        self.sources.clear()
        traced = [row for row, sample in enumerate(index) if int(sample) in self.wanted]
        for neuron in self.neurons.values():
            neuron.begin_batch(traced)
        for synapse in self.synapses:
            synapse.begin_batch()
        self.operators.begin_batch()
        self.extras.begin_batch()
        if self.fast is not None:
            self.fast.begin_batch()
        self.net.reset()
        with self.operators.watching():
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
        self.extras.end_batch()
        self.shared.write()
        for row in traced:
            kept = {name: neuron.traced[row] for name, neuron in self.neurons.items()}
            self.traces[int(index[row])] = SpikeTrace(
                index=int(index[row]),
                image=batch.x[:, row].float().numpy(),
                label=int(batch.y[row]),
                logits=logits[row].float().cpu().numpy(),
                spikes={name: np.stack(steps) for name, steps in kept.items() if steps},
            )

    def hooked(self) -> AbstractContextManager[None]:
        """Count whatever runs in the block."""
        return hooked(self._hooks())

    def _hooks(self) -> Iterator[RemovableHandle]:
        operators = self.operators
        yield before(self.net.backbone, operators.on_pass)
        for neuron in self.neurons.values():
            yield before(neuron.module, operators.on_neuron)
            yield before(neuron.module, neuron.silence.look)
            yield after(neuron.module, partial(self._on_neuron, neuron))
            yield after(neuron.module, operators.on_neuron_done)
        for name, operator in operators.pools.items():
            yield before(self.modules[name], partial(operators.on_pool, operator))
        for module in self.modules.values():
            if isinstance(module, nn.Flatten):
                yield after(module, self._on_flattening)
        for name in {pool for counter in self.synapses for pool in counter.synapse.path}:
            yield after(self.modules[name], partial(self._on_pool, name))
        for counter in self.synapses:
            yield before(self.modules[counter.synapse.name], partial(self._on_synapse, counter))
        if self.extras.readout_name is not None:
            yield before(self.modules[self.extras.readout_name], self._on_readout)

    def _on_neuron(self, neuron: NeuronCounter, x: Tensor, out: Tensor) -> None:
        self.sources[key_of(out)] = (neuron.name, ())
        counts = neuron.emitted(out)
        if counts is None:
            return
        if neuron.name == self.extras.counted_layer:
            self.extras.on_counts(counts.counts)
        for counter in self.synapses:
            if counter.synapse.source == neuron.name:
                counter.fed(counts)

    def _on_pool(self, name: str, x: Tensor, out: Tensor) -> None:
        if (source := self.sources.get(key_of(x))) is not None:
            self.sources[key_of(out)] = (source[0], (*source[1], name))

    def _on_flattening(self, x: Tensor, out: Tensor) -> None:
        source = self.sources.get(key_of(x))
        if source is not None and copies_in_order(x, out):
            self.sources[key_of(out)] = source

    def _on_synapse(self, counter: SynapseCounter, x: Tensor) -> None:
        name, source = counter.synapse.name, counter.synapse.source
        if counter.is_fed and self.sources.get(key_of(x)) != (source, counter.synapse.path):
            raise RecordingError(
                f"layer {name!r} was found to receive the spikes of {source!r} and now receives "
                f"something else; declare its input kind (input_kinds={{{name!r}: …}}, "
                f"--input-kind {name}=…)"
            )
        with self.operators.functions.paused():
            counter.met(x)

    def _on_readout(self, x: Tensor) -> None:
        with self.operators.functions.paused():
            self.extras.on_readout(x)
