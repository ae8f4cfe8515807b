"""One pass of a network over a split, counted exactly."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data import Batch, Split
from ahsar_eval.data.randomness import seeded
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, hooked
from ahsar_eval.networks.behaviour import ROUNDING
from ahsar_eval.process import freed_memory_kept, progress
from ahsar_eval.provenance import provenance
from ahsar_eval.recording.activity import (
    FEATURES,
    SPIKE_COUNTS,
    Counts,
    Recording,
    describe,
)
from ahsar_eval.recording.engine import FP32, looped_neurons, products_in
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
from ahsar_eval.recording.graph import Graph
from ahsar_eval.recording.layout import channels_last, layout_of, linear_by_rows
from ahsar_eval.recording.tally import Tally

Done = TypeVar("Done")
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
    check_trace(split, trace)
    if batch_size < 1:
        raise RecordingError(f"the batch size is {batch_size}; expected at least 1")
    count = len(split)
    if order is not None and not np.array_equal(np.sort(order), np.arange(count)):
        raise RecordingError(
            f"the order is no permutation of the samples 0 to {count - 1} of {split.name}; every "
            "sample is recorded once"
        )
    with prepared(
        net,
        split,
        batch_size=batch_size,
        device=device,
        input_kinds=input_kinds,
        extras=extras,
        engine=engine,
        precision=precision,
    ) as session:
        found = session.run(lambda: session.counted(split, order, trace))
    return session.signed(found, split)


def check_trace(split: Split, trace: Iterable[int]) -> None:
    """Raise `RecordingError` for an empty split, and for a sample that it has not."""
    if not len(split):
        raise RecordingError(f"{split.name} has no sample; nothing can be recorded")
    for index in trace:
        if not 0 <= index < len(split):
            raise RecordingError(
                f"sample {index} is not in {split.name}, which has samples 0 to {len(split) - 1}"
            )


@contextmanager
def prepared(
    net: SpikingNet,
    split: Split,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    input_kinds: Mapping[str, str] | None = None,
    extras: Collection[str] = (),
    engine: str = COMPILED,
    precision: str = FP32,
) -> "Iterator[Session]":
    """`net` in evaluation mode, its structure pinned and the engine chosen and checked on samples
    of `split`, while the block runs. Arguments and errors are those of `record`.
    """
    check_execution(engine, precision, device)
    backbone = net.backbone
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
        probe = split.tensors(np.arange(min(2, len(split)))).to(device, net.dtype)
        # Samples and time steps must be told apart by their number.
        number = 1 if net.calls.alone else 3 if net.spec.timesteps == 2 else 2
        rows = torch.arange(number) % probe.shape[1]
        graph, unfit = discovered(net, probe[:, rows], input_kinds)
        check_extras(graph, extras)
        memory = layout_of(backbone, where=not unfit)["memory"]
        stack.enter_context(channels_last(backbone, where=not unfit))
        stack.enter_context(linear_by_rows(backbone))
        session = Session(net, graph, batch_size, device, tuple(extras), memory)

        def alone(batch: Batch, of: Graph) -> Recording:
            return session.counting([batch], of, batch.y.numpy(), range(len(batch.y)), split.name)

        if engine == COMPILED and unfit:
            session.ran = on_reference(unfit)
        elif engine == COMPILED:
            session.fast, session.ran = checked(net, graph, split, precision, alone)
        yield session


@dataclass
class Session:
    """A network that is ready to run samples, counted or not; `fast` is the compiled path, where it
    holds, and `ran` what the provenance says of it.
    """

    net: SpikingNet
    graph: Graph
    batch_size: int
    device: str
    extras: tuple[str, ...]
    memory: str
    fast: Compiled | None = None
    ran: dict[str, Any] = field(default_factory=lambda: dict(BY_REFERENCE))

    def run(self, work: Callable[[], Done]) -> Done:
        """Do `work` by the chosen engine; from its beginning on the reference where it turns out
        that the compiled form does not hold.
        """
        backbone = self.net.backbone
        try:
            with looped_neurons(backbone) if self.fast is None else self.fast.running():
                return work()
        except NotAsPlannedError as error:
            self.fast, self.ran = None, on_reference(str(error))
            with looped_neurons(backbone):
                return work()

    def counted(
        self, split: Split, order: Counts | None = None, trace: Collection[int] = ()
    ) -> Recording:
        """One counted pass over a split, in this order, with the full spikes of some samples."""
        batches = split.batches(self.batch_size, order)
        total = -(-len(split) // self.batch_size)
        shown = progress(batches, f"recording {split.name}", total=total)
        return self.counting(shown, self.graph, split.labels, trace, split.name)

    def counting(
        self,
        batches: Iterable[Batch],
        of: Graph,
        labels: Counts,
        traced: Collection[int],
        name: str,
    ) -> Recording:
        """What these batches of the split `name` do, of what a graph holds."""
        tally = self.tally(len(labels), traced, of)
        with hooked(tally.hooks()):
            for batch in batches:
                tally.run(batch, name)
        return tally.recording(labels)

    def tally(self, count: int, traced: Collection[int] = (), of: Graph | None = None) -> Tally:
        """Counters of a pass over `count` samples."""
        of = of or self.graph
        return Tally(self.net, of, count, trace=traced, device=self.device, extras=self.extras)

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """Logits [T, N, K] of a batch [T or 1, N, C, H, W] whose first sample has this index;
        nothing is counted.
        """
        net, samples = self.net, x.shape[1]
        x = x.to(self.device, net.dtype)
        net.reset()
        with seeded(first) if net.draws else nullcontext():
            logits: Tensor = net(x if net.calls.alone else padded(x))[:, :samples]
        return logits

    def plainly(self) -> AbstractContextManager[None]:
        """Within `run`: convolutions and norms run as SpikingJelly's own while the block runs."""
        return nullcontext() if self.fast is None else self.fast.paused()

    def signed(self, found: Recording, split: Split) -> Recording:
        """A recording with what is said of its split, and of how it ran."""
        kind = str(self.net.dtype).removeprefix("torch.")
        how = {"batch_size": self.batch_size, "device": self.device, "memory": self.memory}
        made_by = {**found.provenance, **provenance(dtype=kind, **how, **self.ran)}
        return replace(found, split=describe(split), provenance=made_by)


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
