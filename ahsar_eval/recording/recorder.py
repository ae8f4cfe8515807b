"""One pass of a network over a split, counted exactly."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.data import SHIFTS, Batch, Split
from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.homeostasis.sensing import counted_spikes
from ahsar_eval.memory import freed_memory_kept
from ahsar_eval.networks import SpikingNet, emits_binary_spikes, emits_whole_spikes
from ahsar_eval.progress import progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording.activity import LayerActivity, Recording, SpikeTrace
from ahsar_eval.recording.counting import MOST_SPIKES, Counts
from ahsar_eval.recording.engine import (
    COMPILED,
    FP32,
    Compiled,
    NotAsPlannedError,
    channels_last,
    check_execution,
    float32_products,
    layout_of,
    linear_by_rows,
    looped_neurons,
)
from ahsar_eval.recording.execution import BY_REFERENCE, checked, discovered, on_reference, padded
from ahsar_eval.recording.extras import ExtraTally, check_extras
from ahsar_eval.recording.neuron_models import neuron_model
from ahsar_eval.recording.operator_tally import OperatorTally
from ahsar_eval.recording.silence import SilenceTally
from ahsar_eval.recording.synapse_tally import SynapseTally
from ahsar_eval.recording.values import Store
from ahsar_eval.recording.wiring import (
    INPUT,
    MEASURED,
    Key,
    Synapse,
    Wiring,
    copies_in_order,
    key_of,
)


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
    were_training = {module: module.training for module in net.modules()}
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    try:
        net.eval().to(device)
        with torch.inference_mode(False), torch.no_grad(), float32_products(), ExitStack() as stack:
            # The same two samples whatever the order, so that what is pinned depends on nothing but
            # the network and the split.
            probe = split.tensors(np.arange(min(2, count))).to(device, dtype)
            if net.spec.timesteps == 2:  # samples and time steps must be told apart by their number
                probe = torch.cat(
                    [probe, probe[:, :1]] if probe.shape[1] == 2 else [probe] * 3, dim=1
                )
            wiring, unfit = discovered(net, padded(probe), input_kinds)
            memory = layout_of(net.backbone, where=not unfit)["memory"]
            stack.enter_context(channels_last(net.backbone, where=not unfit))
            stack.enter_context(linear_by_rows(net.backbone))
            fast, ran = None, dict(BY_REFERENCE)
            if engine == COMPILED and unfit:
                ran = on_reference(unfit)
            elif engine == COMPILED:
                fast, ran = checked(net, wiring, split, dtype, precision)

            def counted(fast: Compiled | None) -> Tally:
                tally = Tally(
                    net, wiring, count, trace=trace, device=device, extras=extras, fast=fast
                )
                with (
                    tally.hooked(),
                    looped_neurons(net.backbone) if fast is None else fast.running(),
                ):
                    for batch in progress(
                        split.batches(batch_size, order),
                        f"recording {split.name}",
                        total=-(-count // batch_size),
                    ):
                        tally.run(batch, dtype, split.name)
                return tally

            try:
                tally = counted(fast)
            except NotAsPlannedError as error:
                ran = on_reference(str(error))
                tally = counted(None)
    finally:
        net.reset()
        for module, training in were_training.items():
            module.training = training
    return Recording(
        split=describe(split),
        spec=net.spec.to_dict(),
        thresholds=read_thresholds(net.backbone),
        logits=tally.logits,
        labels=split.labels,
        layers=tally.layers(),
        synapses=tally.synapses.activities(tally.spikes),
        traces=tally.traces(),
        uncounted=wiring.uncounted,
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
        operators=tally.operators.activities(tally.spikes),
    )


def describe(split: Split) -> dict[str, Any]:
    """What a recording keeps of its split, JSON-ready."""
    source = split.source
    return {
        "name": split.name,
        "set": source.name,
        "role": source.role,
        "shift": split.shift,
        "family": _family(split),
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


def _family(split: Split) -> str:
    """The family of corruptions a shift belongs to; 'events' for every shift of event recordings,
    '' without a shift.
    """
    if split.shift is None:
        return ""
    return (
        SHIFTS[split.shift].family
        if split.modality == "image" and split.shift in SHIFTS
        else "events"
    )


class Tally:
    """Counters of one recording, and the hooks that fill them batch by batch."""

    def __init__(
        self,
        net: SpikingNet,
        wiring: Wiring,
        count: int,
        *,
        trace: Iterable[int],
        device: str,
        extras: Collection[str] = (),
        fast: Compiled | None = None,
    ) -> None:
        spec = net.spec
        self.fast = fast
        self.net, self.wiring, self.steps = net, wiring, spec.timesteps
        self.single_step = spec.step_mode == "s"
        self.logits: NDArray[Any] = np.empty((count, 0, 0), dtype=np.float32)
        self.spikes = {name: np.zeros(count, dtype=np.int64) for name in wiring.neurons}
        self.maps = {
            name: torch.zeros(shape, dtype=torch.float64, device=device)
            for name, shape in wiring.neurons.items()
        }
        self.modules = {name: module for name, module in net.backbone.named_modules()}
        self.synapses = SynapseTally(net, wiring, count, device)
        self.operators = OperatorTally(net, wiring, count)
        self.silence = SilenceTally(wiring.neurons, count, 1 if self.single_step else self.steps)
        self.wanted = sorted({int(index) for index in trace})
        self.kept: dict[int, dict[str, Any]] = {}
        self.buffers: dict[tuple[str, torch.Size, torch.dtype], Tensor] = {}
        self.extras = ExtraTally(net, wiring, count, extras)
        self._begin_batch(0, 0, {})

    def run(self, batch: Batch, precision: torch.dtype, split_name: str) -> None:
        """Forward one batch and put its counts where its samples belong."""
        index = batch.index.numpy()
        traced = {
            row: int(sample) for row, sample in enumerate(index) if int(sample) in self.wanted
        }
        x = padded(batch.x.to(self.maps_device(), precision))
        self._begin_batch(len(index), x.shape[1], traced)
        self.extras.begin_batch(index, x.shape[1])
        self.synapses.begin_batch(len(index), x.shape[1])
        self.operators.begin_batch(len(index), x.shape[1])
        self.silence.begin_batch(len(index), x.shape[1])
        if self.fast is not None:
            self.fast.begin_batch()
        self.net.reset()
        with self.operators.watching():
            logits = self.net(x)[:, : self.real].transpose(0, 1)
        finite = torch.isfinite(logits).flatten(1).all(1)
        if not bool(finite.all()):
            bad = int(index[int((~finite).nonzero()[0])])
            raise RecordingError(
                f"the logits of sample {bad} of {split_name} are not finite (NaN or Inf); the "
                "network's weights or its input overflow; "
                "check the checkpoint"
            )
        values = (logits if logits.dtype == torch.float64 else logits.float()).cpu().numpy()
        if self.logits.shape[1] == 0:
            self.logits = np.empty((len(self.logits), *values.shape[1:]), dtype=values.dtype)
        self.logits[index] = values
        self.extras.end_batch()
        self._store(index)
        for row, sample in traced.items():
            self.kept[sample] = {
                "image": batch.x[:, row].float().numpy(),
                "label": int(batch.y[row]),
                "logits": logits[row].float().cpu().numpy(),
                "spikes": {
                    name: np.stack(steps) for name, steps in self.traced_spikes[row].items()
                },
            }

    def _store(self, index: NDArray[np.int64]) -> None:
        """Write the batch's counts where its samples belong: one transfer for all of them, as
        float64, which holds each exactly.
        """
        stores: list[Store] = [
            *(
                (self.spikes[name][:, None], 0, values)
                for name, values in self.found_spikes.items()
            ),
            *self.synapses.found(),
            *self.operators.found,
            *self.silence.found(),
        ]
        if stores:
            rows = torch.stack([values.double() for *_, values in stores]).cpu().numpy()
            for (array, column, _), values in zip(stores, rows, strict=True):
                array[index, column] = values

    def maps_device(self) -> torch.device:
        """Where the network runs."""
        return next(iter(self.maps.values())).device if self.maps else torch.device("cpu")

    # One batch

    def _begin_batch(self, real: int, padded: int, traced: dict[int, int]) -> None:
        self.real, self.padded = real, padded
        self.found_spikes: dict[str, Tensor] = {}
        self.keys: dict[Key, tuple[str, tuple[str, ...]]] = {}
        self.calls: dict[str, int] = {}
        self.traced_spikes: dict[int, dict[str, list[NDArray[Any]]]] = {row: {} for row in traced}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Count whatever runs in the block."""
        handles: list[RemovableHandle] = []
        try:
            handles.append(self.net.backbone.register_forward_pre_hook(self.operators.on_pass))
            for name in self.wiring.neurons:
                handles.append(
                    self.modules[name].register_forward_pre_hook(self.operators.on_neuron)
                )
                handles.append(
                    self.modules[name].register_forward_pre_hook(self.silence.on_neuron(name))
                )
                handles.append(
                    self.modules[name].register_forward_hook(
                        self._on_neuron(name, self.wiring.fed_by(name))
                    )
                )
                handles.append(
                    self.modules[name].register_forward_hook(self.operators.on_neuron_done)
                )
            for pool in self.operators.pools:
                handles.append(
                    self.modules[pool].register_forward_pre_hook(self.operators.on_pool(pool))
                )
            for module in self.modules.values():
                if isinstance(module, nn.Flatten):
                    handles.append(module.register_forward_hook(self._on_flattening))
            for pool in {pool for synapse in self.wiring.synapses for pool in synapse.path}:
                handles.append(self.modules[pool].register_forward_hook(self._on_pool(pool)))
            for synapse in self.wiring.synapses:
                watch = (
                    self._on_met(synapse)
                    if synapse.source in (MEASURED, INPUT)
                    else self._on_fed(synapse)
                )
                handles.append(self.modules[synapse.name].register_forward_pre_hook(watch))
            if self.extras.readout_name is not None:
                handles.append(
                    self.modules[self.extras.readout_name].register_forward_pre_hook(
                        self._on_readout
                    )
                )
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _on_neuron(self, name: str, fed: list[Synapse]) -> Callable[..., None]:
        binary, whole = (
            emits_binary_spikes(self.modules[name]),
            emits_whole_spikes(self.modules[name]),
        )

        def count(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            self.keys[key_of(out)] = (name, ())
            shape = self.wiring.neurons[name]
            steps = out.reshape(-1, self.padded, *shape)
            if not binary and not whole and not bool(((out == 0) | (out == 1)).all()):
                raise RecordingError(
                    f"spiking layer {name!r} now emits values other than 0 and 1; its spikes "
                    "cannot be counted"
                )
            for row, layers in self.traced_spikes.items():
                layers.setdefault(name, []).extend(
                    steps[:, row].to(torch.int64 if whole else torch.bool).cpu().numpy()
                )
            done = self._accumulated(name, out, steps, wide=whole)
            if done is None:
                return
            if whole and not bool((done < MOST_SPIKES).all()):
                raise RecordingError(
                    f"spiking layer {name!r} emits more spikes than can be counted; its thresholds "
                    "are too small for its input"
                )
            if name == self.extras.counted_layer:
                self.extras.on_counts(done)
            counts = Counts(done, float("inf") if whole else self.steps)
            self.found_spikes[name] = counts.per_sample()
            self.maps[name] += counts.over_samples()
            for synapse in fed:
                self.synapses.fed(synapse, counts)

        return count

    def _on_readout(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        with self.operators.paused():
            self.extras.on_readout(module, inputs)

    def _on_pool(self, name: str) -> Callable[..., None]:
        def follow(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            origin = self.keys.get(key_of(inputs[0]))
            if origin is not None:
                self.keys[key_of(out)] = (origin[0], (*origin[1], name))

        return follow

    def _on_flattening(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        origin = self.keys.get(key_of(inputs[0]))
        if origin is not None and copies_in_order(inputs[0], out):
            self.keys[key_of(out)] = origin

    def _on_fed(self, synapse: Synapse) -> Callable[..., None]:
        met = self._on_met(synapse)

        def check(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self.keys.get(key_of(inputs[0])) != (synapse.source, synapse.path):
                raise RecordingError(
                    f"layer {synapse.name!r} was found to receive the spikes of {synapse.source!r} "
                    "and now receives something else; "
                    f"declare its input kind (input_kinds={{{synapse.name!r}: …}}, --input-kind "
                    f"{synapse.name}=…)"
                )
            met(module, inputs)

        return check

    def _on_met(self, synapse: Synapse) -> Callable[..., None]:
        def measure(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            with self.operators.paused():
                self.synapses.met(synapse, inputs[0])

        return measure

    def _accumulated(
        self, name: str, out: Tensor, steps: Tensor, *, wide: bool = False
    ) -> Tensor | None:
        """Counts over all T steps, [real, *shape], once the last step has been seen; None before.
        `wide` sums in float64.

        Buffers outlive the batch: fresh memory for every layer and batch costs more than the sums.
        In multi-step mode one buffer serves all layers of a shape in turn, since what is counted is
        used before the next layer runs.
        """
        sums = out if self.single_step else counted_spikes(self.modules[name], out)
        if sums is not out:
            return sums[: self.real]
        if not self.single_step:
            total = self._buffer("", steps, wide)
            return torch.sum(steps, 0, dtype=total.dtype, out=total)[: self.real]
        self.calls[name] = self.calls.get(name, 0) + 1
        total = self._buffer(name, steps, wide)
        if self.calls[name] == 1:
            total.copy_(steps[0])
        else:
            total += steps[0]
        return total[: self.real] if self.calls[name] == self.steps else None

    def _buffer(self, name: str, steps: Tensor, wide: bool) -> Tensor:
        dtype = (
            torch.float64 if wide else steps.dtype if steps.is_floating_point() else torch.int32
        )  # true + true is true, not two
        key = (name, steps.shape[1:], dtype)
        if key not in self.buffers:
            self.buffers[key] = torch.empty(steps.shape[1:], dtype=dtype, device=steps.device)
        return self.buffers[key]

    # The whole pass

    def layers(self) -> tuple[LayerActivity, ...]:
        """Activity of each spiking layer, in the order they ran."""
        scale = len(self.logits) * self.steps
        return tuple(
            LayerActivity(
                name,
                shape,
                self.spikes[name],
                (self.maps[name] / scale).cpu().numpy(),
                neuron_model(self.modules[name], shape),
                self.silence.steps(name),
            )
            for name, shape in self.wiring.neurons.items()
        )

    def traces(self) -> tuple[SpikeTrace, ...]:
        """Full spikes of the samples asked for."""
        return tuple(SpikeTrace(index=index, **self.kept[index]) for index in self.wanted)
