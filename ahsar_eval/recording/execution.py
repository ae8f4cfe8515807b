"""How a recording runs its network: by which engine and in which precision, in which order in
memory, and whether the compiled path gives what SpikingJelly's own operations give.

Only what modules' forwards do is exchanged, on the modules themselves, and put back afterwards:
whoever watches them sees the same calls with the same tensors, but for convolutions that have
applied the norm behind them. A convolution applies the batch norm that alone takes its output
(`engine.Convolution`), the norm passes that on, and spiking layers run in loops
(`engine.looped_neurons`); everything else runs as it is. So any network can be compiled, in part
at least: no graph is traced, and a forward with branches of its own stays as it is. Some samples
run on both paths, and spikes and logits are compared.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.data import Batch, Split
from ahsar_eval.errors import AhsarError, AhsarWarning, UsageError
from ahsar_eval.networks import (
    BACKBONES,
    SpikingNet,
    exchanged,
    is_neuron,
    loop_constants,
)
from ahsar_eval.recording.activity import Counts, Recording
from ahsar_eval.recording.engine import (
    BF16,
    FP32,
    TF32,
    Convolution,
    joins,
    looped_neurons,
    why_not,
)
from ahsar_eval.recording.graph import Graph, discover
from ahsar_eval.recording.layout import can_lie_channels_last, channels_last
from ahsar_eval.recording.spiking import find_neurons

REFERENCE, COMPILED = "reference", "compiled"
# What the provenance says of the reference.
BY_REFERENCE: Mapping[str, Any] = {"engine": REFERENCE, "precision": FP32}

_FEWEST = 64  # samples: below, a check of the compiled path costs more than it saves
# Samples checked of a large set, of a small one, and the share of those between.
_MOST_CHECKED, _FEWEST_CHECKED, _CHECKED_SHARE = 16, 4, 1 / 64
# Matrix products of a single row take another route through the BLAS and differ in the last bit.
_SMALLEST_BATCH = 2
# Of a layer's spikes may differ, where a machine rounds sums in another order and a potential lies
# on the threshold.
_MOST_SPIKES = 0.005
_MOST_LOGITS = 1e-4
_BOUND = (
    f"at most {_MOST_SPIKES:.1%} and none may be, and logits by {_MOST_LOGITS:g} where all spikes "
    "are the same"
)


def check_execution(engine: str, precision: str, device: str) -> None:
    """That a network can run this way. Raises `UsageError`."""
    known = {
        "engine": (engine, (COMPILED, REFERENCE)),
        "precision": (precision, (FP32, BF16, TF32)),
    }
    for name, (given, choices) in known.items():
        if given not in choices:
            raise UsageError(f"the {name} is {given!r}; expected one of {', '.join(choices)}")
    if precision != FP32 and engine == REFERENCE:
        raise UsageError(
            f"the reference runs in fp32, and {precision} was asked for; use the compiled engine "
            "(--engine compiled)"
        )
    if precision == TF32 and torch.device(device).type != "cuda":
        raise UsageError(
            f"tf32 is a number format of NVIDIA GPUs, and the device is {device}; use bf16 or fp32 "
            "(--precision)"
        )


def warn_of_slow_bf16(precision: str, device: str) -> None:
    """Say so where bf16 was asked for of a processor that has no products of it: they are made of
    those of fp32.
    """
    if precision == BF16 and torch.device(device).type == "cpu" and not _multiplies_bf16():
        warnings.warn(
            "this processor has no products in bf16 (AVX512_BF16 or AMX), without which bf16 takes "
            "up to 6 times as long as fp32; use --precision fp32",
            AhsarWarning,
            stacklevel=1,
        )


def _multiplies_bf16() -> bool:
    """Whether the processor does, and oneDNN may use it; True where nothing is known."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if not any(kind in allowed for kind in ("BF16", "FP16", "AMX", "ALL", "DEFAULT")):
        return False
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    flags = re.search(r"^(?:flags|Features)\s*:(.*)", described, re.M)
    return flags is None or not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags[1].split())


class NotAsPlannedError(AhsarError):
    """The batch norm `norm` was given something else than what its convolution had made for it: the
    compiled form does not hold.
    """

    def __init__(self, norm: str) -> None:
        super().__init__(
            f"batch norm {norm!r} took something else than the output of the convolution before it"
        )
        self.norm = norm


class Compiled:
    """A network, what of it is exchanged, and why the rest is not.

    `precision` is that of the products in convolutions.
    """

    def __init__(self, net: SpikingNet, graph: Graph, precision: str = FP32) -> None:
        self.net = net
        # Layer with weights → the normalisation that alone takes its output.
        norms = {o.activity.behind: o.activity.name for o in graph.operators}
        self.convolutions: dict[str, Convolution] = {}
        self.passing: dict[str, str] = {}  # batch norm → the convolution that applies it
        self.left: dict[str, str] = {}  # module → why it runs as it is
        modules = dict(net.backbone.named_modules())
        for name, module in modules.items():
            if isinstance(module, nn.Conv2d):
                if reason := why_not(module, precision):
                    self.left[name] = reason
                    continue
                norm = modules.get(norms.get(name, ""))
                joined = norm if joins(norm) else None
                if joined is not None:
                    self.passing[norms[name]] = name
                self.convolutions[name] = Convolution(module, joined, precision)
            elif is_neuron(module) and loop_constants(module) is None:
                self.left[name] = f"there is no loop for a {type(module).__name__} of its kind"

    @property
    def by_events(self) -> tuple[str, ...]:
        """Convolutions that visit what is not zero, and that alone."""
        return tuple(name for name, held in self.convolutions.items() if held.by_events)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The network computes this way while the block runs."""
        module_of = self.net.backbone.get_submodule
        forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {
            convolution.module: convolution for convolution in self.convolutions.values()
        }
        for norm, source in self.passing.items():
            forwards[module_of(norm)] = partial(_passed, norm, self.convolutions[source])
        try:
            with exchanged(forwards), looped_neurons(self.net.backbone):
                yield
        finally:
            for convolution in self.convolutions.values():
                convolution.forget()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within `running`: convolutions and norms compute as they are while the block runs."""
        part = self.net.backbone.get_submodule
        modules = [one.module for one in self.convolutions.values()] + [*map(part, self.passing)]
        held: dict[nn.Module, Any] = {one: vars(one).pop("forward") for one in modules}
        try:
            yield
        finally:
            for module, forward in held.items():
                module.forward = forward


def _passed(norm: str, source: Convolution, x: Tensor) -> Tensor:
    if not source.gave(x):
        raise NotAsPlannedError(norm)
    return x


def discovered(
    net: SpikingNet, probe: Tensor, input_kinds: Mapping[str, str] | None
) -> tuple[Graph, str]:
    """The structure of `net`, and why it cannot run with weights that lie channels last; '' where
    it can.

    A network of a user may view a tensor as another shape, which then fails, or copies it, so that
    spikes are not recognised behind it.
    """
    find_neurons(net, probe)
    find = partial(discover, net, probe, input_kinds)
    if not (net.calls.by_step or (net.calls.takes == "TN" and net.calls.gives != "NT")):
        return find(), f"it is called as {net.calls.told()}"
    if net.spec.backbone in BACKBONES or all(weight.dim() != 4 for weight in net.parameters()):
        with channels_last(net.backbone):
            return find(), ""
    graph = find()
    if not can_lie_channels_last(net.backbone):
        reason = "it has convolutions that are not known to be right"
        return graph, f"{reason} with images channels last in memory"
    with suppress(AhsarError, RuntimeError), channels_last(net.backbone):
        if find() == graph:
            return graph, ""
    reason = "it cannot run, or its tensors cannot be followed,"
    return graph, f"{reason} with images that lie channels last in memory"


def checked(
    net: SpikingNet,
    graph: Graph,
    split: Split,
    precision: str,
    run: Callable[[Batch, Graph], Recording],
) -> tuple[Compiled | None, dict[str, Any]]:
    """The compiled path where it pays and holds, and what the provenance says of it; `run` records
    a batch with all its spikes, and counts what a graph holds.
    """
    if len(split) < _FEWEST and precision == FP32:
        reason = f"{len(split)} samples are too few to pay for a check"
        return None, {**BY_REFERENCE, "engine_reason": reason}
    fast = Compiled(net, graph, precision)
    if not fast.convolutions:
        reasons = [f"{name}: {reason}" for name, reason in fast.left.items()]
        if not reasons:  # both paths are one
            return None, {**BY_REFERENCE, "engine_reason": "it has no convolutions"}
        return None, on_reference(reasons[0])
    index = samples_to_check(len(split), precision)
    chosen = next(split.batches(len(index), index))
    batch = replace(chosen, index=torch.arange(len(index)))
    try:
        difference = compare(fast, graph, partial(run, batch))
    except (RuntimeError, AhsarError) as error:
        return None, on_reference(f"it fails on the compiled one: {str(error).splitlines()[0]}")
    if precision != FP32:
        say_how_far(split.name, precision, difference)
    elif not difference.holds:
        return None, on_reference(f"{difference.sentence()}; {_BOUND}")
    return fast, {
        "engine": COMPILED,
        "precision": precision,
        "engine_difference": asdict(difference),
        "by_events": list(fast.by_events),
        "left": dict(fast.left),
    }


def how_it_ran(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Of a recording's provenance what `checked` said."""
    names = "engine precision memory engine_reason engine_difference by_events left".split()
    found = {name: provenance[name] for name in names if name in provenance}
    adapted = dict(provenance.get("adaptation", {}))
    adapted.pop("state", None)  # a number for each threshold
    return {**found, "adaptation": adapted} if adapted else found


@dataclass(frozen=True)
class Difference:
    """Of the compiled path to the reference on `samples` samples.

    `spikes` is the largest share of a layer's spikes that are not the same, `layer` which one's,
    `logits` the largest difference of a logit of the time mean, as a share of the largest,
    `predictions` how many are another class.
    """

    samples: int
    spikes: float
    layer: str
    logits: float
    predictions: int

    @property
    def holds(self) -> bool:
        """Whether it is small enough for the compiled path to stand in for the reference: where
        every spike is the same, logits may differ by rounding alone.
        """
        rounding = self.spikes > 0 or self.logits <= _MOST_LOGITS
        return self.spikes <= _MOST_SPIKES and self.predictions == 0 and rounding

    def sentence(self) -> str:
        """What was found, for a reader."""
        return (
            f"on {self.samples} samples {self.spikes:.2%} of the spikes of "
            f"{self.layer or 'a layer'} and {self.predictions} predictions "
            f"are other than the reference's, logits by up to {self.logits:.2g} of the largest"
        )


def say_how_far(name: str, precision: str, difference: Difference) -> None:
    """What a coarser format changes, said to the user: when a split `name` is recorded, and when
    such a recording is found again.
    """
    warnings.warn(f"{name} in {precision}: {difference.sentence()}", AhsarWarning, stacklevel=3)


def on_reference(reason: str) -> dict[str, Any]:
    """What the provenance says of a network that the compiled path cannot run; said to the user,
    too.
    """
    warnings.warn(f"the network runs on the reference path: {reason}", AhsarWarning, stacklevel=3)
    return {**BY_REFERENCE, "engine_reason": reason}


def samples_to_check(count: int, precision: str = FP32) -> Counts:
    """Which of `count` samples run on both paths: spread over all of them, so that a set that is
    sorted by class is not judged by one.

    In fp32 a share of a small set, so that the check pays; what a coarser format changes is told
    from more.
    """
    number = min(count, _MOST_CHECKED)
    if precision == FP32:
        number = min(number, max(_FEWEST_CHECKED, round(count * _CHECKED_SHARE)))
    return np.arange(number) * count // number


def compare(fast: Compiled, graph: Graph, run: Callable[[Graph], Recording]) -> Difference:
    """Record some samples as the network is, decide by what its convolutions meet how to run it
    faster, and compare both: what the spiking layers emit and what comes out, so that the second
    run counts nothing else of the `graph`. A batch norm that turns out to take something else than
    its convolution's output runs as it is.
    """
    reference, spikes_alone = run(graph), replace(graph, synapses=(), operators=())
    for synapse in reference.synapses:
        if synapse.name in fast.convolutions and synapse.seen is not None:
            nonzero, size = int(synapse.seen.nonzero.sum()), synapse.seen.elements * len(reference)
            fast.convolutions[synapse.name].decide(nonzero / max(1, size))
    while True:
        try:
            with fast.running():
                found = run(spikes_alone)
            break
        except NotAsPlannedError as error:  # that norm runs as it is
            fast.convolutions[fast.passing.pop(error.norm)].norm = None
            fast.left[error.norm] = str(error)
    shares = {}
    for name, fired in ((layer.name, layer.spikes.sum()) for layer in reference.layers):
        pairs = zip(found.traces, reference.traces, strict=True)
        other = sum(np.abs(a.spikes[name].astype(int) - b.spikes[name]).sum() for a, b in pairs)
        shares[name] = float(np.float32(other) / np.float32(max(1, fired)))
    worst = max(shares, key=shares.__getitem__, default="")
    ours, theirs = (one.logits.mean(axis=1, dtype=np.float64) for one in (found, reference))
    largest = max(float(np.abs(theirs).max()), float(np.finfo(np.float32).tiny))
    return Difference(
        samples=len(reference),
        spikes=shares.get(worst, 0.0),
        layer=worst,
        logits=float(np.abs(ours - theirs).max()) / largest,
        predictions=int((found.predictions != reference.predictions).sum()),
    )


def padded_rows(samples: int) -> int:
    """How many rows a batch of so many samples runs as."""
    return max(samples, _SMALLEST_BATCH)


def padded(x: Tensor) -> Tensor:
    """`x` [T, N, …], a single sample twice."""
    return torch.cat([x, x], dim=1) if x.shape[1] < _SMALLEST_BATCH else x
