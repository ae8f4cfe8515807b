"""How a recording runs its network: by which engine and in which precision, in which order in
memory, and whether the compiled path gives what SpikingJelly's own operations give.

Only what modules' forwards do is exchanged, on the modules themselves, and put back afterwards:
whoever watches them sees the same calls with the same tensors, but for convolutions that have
applied the norm behind them. A convolution applies the batch norm that alone takes its output
(`engine.convolutions`), the norm passes that on, and spiking layers run in loops
(`engine.neurons`); everything else runs as it is. So any network can be compiled, in part at least:
no graph is traced, and a forward with branches of its own stays as it is. Some samples run on both
paths, and spikes and logits are compared.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.data import Split
from ahsar_eval.errors import AhsarError, AhsarWarning, ModelError, UsageError
from ahsar_eval.networks import (
    BACKBONES,
    SpikingNet,
    after,
    before,
    exchanged,
    hooked,
    is_neuron,
    loop_constants,
)
from ahsar_eval.recording.activity import NORMALISATION
from ahsar_eval.recording.engine import (
    BF16,
    FP32,
    TF32,
    Convolution,
    can_lie_channels_last,
    channels_last,
    joins,
    looped_neurons,
    why_not,
)
from ahsar_eval.recording.graph import Graph, discover

REFERENCE, COMPILED = "reference", "compiled"
_ENGINES, _PRECISIONS = (COMPILED, REFERENCE), (FP32, BF16, TF32)
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
_NOT_KNOWN = (
    "it has convolutions that are not known to be right with images channels last in memory"
)
_NOT_FOLLOWED = (
    "it cannot run, or its tensors cannot be followed, with images that lie channels last in memory"
)


def check_execution(engine: str, precision: str, device: str) -> None:
    """That a network can run this way. Raises `UsageError`."""
    if engine not in _ENGINES:
        raise UsageError(f"the engine is {engine!r}; expected {' or '.join(_ENGINES)}")
    if precision not in _PRECISIONS:
        raise UsageError(f"the precision is {precision!r}; expected {', '.join(_PRECISIONS)}")
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
    on_cpu = precision == BF16 and torch.device(device).type == "cpu"
    if on_cpu and not multiplies_bf16(Path("/proc/cpuinfo")):
        warnings.warn(
            "this processor has no products in bf16 (AVX512_BF16 or AMX), without which bf16 takes "
            "up to 6 times as long as fp32; use --precision fp32",
            AhsarWarning,
            stacklevel=1,
        )


def multiplies_bf16(cpuinfo: Path) -> bool:
    """Whether the processor that Linux describes in this file does, and oneDNN may use it; True
    where nothing is known.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if not any(kind in allowed for kind in ("BF16", "FP16", "AMX")) and (
        allowed not in ("ALL", "DEFAULT")
    ):
        return False
    flags = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return not flags or not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags[0].split())


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

    `norms` names, by layer with weights, the normalisation that alone takes its output. `precision`
    is that of the products in convolutions.
    """

    def __init__(self, net: SpikingNet, norms: Mapping[str, str], precision: str = FP32) -> None:
        self.net = net
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
                joined = norm if isinstance(norm, nn.BatchNorm2d) and joins(norm) else None
                if joined is not None:
                    self.passing[norms[name]] = name
                self.convolutions[name] = Convolution(module, joined, precision)
            elif is_neuron(module) and loop_constants(module) is None:
                self.left[name] = f"there is no loop for a {type(module).__name__} of its kind"

    @property
    def by_events(self) -> tuple[str, ...]:
        """Convolutions that visit what is not zero, and that alone."""
        return tuple(name for name, held in self.convolutions.items() if held.by_events)

    def leave(self, error: NotAsPlannedError) -> None:
        """Let a batch norm run as it is."""
        self.convolutions[self.passing.pop(error.norm)].norm = None
        self.left[error.norm] = str(error)

    def decide(self, densities: Mapping[str, float]) -> None:
        """Choose how each convolution runs by the share of its input that is not zero."""
        for name, convolution in self.convolutions.items():
            convolution.decide(densities.get(name, 1.0))

    def begin_batch(self) -> None:
        """Forget what belongs to the batch before: to be called before every batch."""
        for convolution in self.convolutions.values():
            convolution.forget()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The network computes this way while the block runs."""
        module_of = self.net.backbone.get_submodule
        forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {
            module_of(norm): _passing(norm, self.convolutions[source])
            for norm, source in self.passing.items()
        }
        forwards |= {convolution.module: convolution for convolution in self.convolutions.values()}
        try:
            with exchanged(forwards), looped_neurons(self.net.backbone):
                yield
        finally:
            self.begin_batch()


def _passing(name: str, source: Convolution) -> Callable[[Tensor], Tensor]:
    def passed(x: Tensor) -> Tensor:
        if not source.gave(x):
            raise NotAsPlannedError(name)
        return x

    return passed


def densities(compiled: Compiled, run: Callable[[], object]) -> dict[str, float]:
    """The share of each convolution's input that is not zero while `run` runs."""
    counts: dict[str, tuple[int, int]] = {}

    def count(name: str, x: Tensor) -> None:
        nonzero, size = counts.get(name, (0, 0))
        counts[name] = nonzero + int(torch.count_nonzero(x)), size + x.numel()

    convolutions = compiled.convolutions.items()
    with hooked(before(held.module, partial(count, name)) for name, held in convolutions):
        run()
    return {name: nonzero / max(1, size) for name, (nonzero, size) in counts.items()}


def discovered(
    net: SpikingNet, probe: Tensor, input_kinds: Mapping[str, str] | None
) -> tuple[Graph, str]:
    """The structure of `net`, and why it cannot run with weights that lie channels last; '' where
    it can.

    A network of a user may view a tensor as another shape, which then fails, or copies it, so that
    spikes are not recognised behind it.
    """
    if net.spec.backbone in BACKBONES or all(weight.dim() != 4 for weight in net.parameters()):
        with channels_last(net.backbone):
            return discover(net, probe, input_kinds), ""
    graph = discover(net, probe, input_kinds)
    if not can_lie_channels_last(net.backbone):
        return graph, _NOT_KNOWN
    try:
        with channels_last(net.backbone):
            return graph, "" if discover(net, probe, input_kinds).alike(graph) else _NOT_FOLLOWED
    except (AhsarError, RuntimeError):
        return graph, _NOT_FOLLOWED


def checked(
    net: SpikingNet, graph: Graph, split: Split, dtype: torch.dtype, precision: str
) -> tuple[Compiled | None, dict[str, Any]]:
    """The compiled path where it pays and holds, and what the provenance says of it."""
    if len(split) < _FEWEST and precision == FP32:
        reason = f"{len(split)} samples are too few to pay for a check"
        return None, {**BY_REFERENCE, "engine_reason": reason}
    fast = Compiled(net, joined_norms(graph), precision)
    if not fast.convolutions:
        reasons = [f"{name}: {reason}" for name, reason in fast.left.items()]
        return None, on_reference([*reasons, "it has no convolutions"][0])
    samples = split.tensors(samples_to_check(len(split), precision))
    samples = samples.to(next(net.buffers()).device, dtype)
    try:
        difference = compare(fast, padded(samples), graph.neurons)
    except (RuntimeError, ModelError) as error:
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
    return {name: provenance[name] for name in names if name in provenance}


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


def samples_to_check(count: int, precision: str = FP32) -> NDArray[np.int64]:
    """Which of `count` samples run on both paths: spread over all of them, so that a set that is
    sorted by class is not judged by one.

    In fp32 a share of a small set, so that the check pays; what a coarser format changes is told
    from more.
    """
    number = min(count, _MOST_CHECKED)
    if precision == FP32:
        number = min(number, max(_FEWEST_CHECKED, round(count * _CHECKED_SHARE)))
    return np.arange(number) * count // number


def compare(fast: Compiled, x: Tensor, layers: Iterable[str]) -> Difference:
    """Run `x` [T or 1, N, C, H, W] as the network is, decide by its activity how to run it faster,
    and compare both: what the spiking `layers` emit and what comes out. A batch norm that turns out
    to take something else than its convolution's output runs as it is.
    """
    runs: list[tuple[dict[str, Tensor], Tensor]] = []
    fast.decide(densities(fast, lambda: runs.append(_run(fast, x, layers))))
    while len(runs) < 2:
        try:
            with fast.running():
                runs.append(_run(fast, x, layers))
        except NotAsPlannedError as error:
            fast.leave(error)
    (expected, reference), (found, logits) = runs
    shares = {
        name: float((found[name] - spikes).abs().sum() / spikes.abs().sum().clamp(min=1))
        for name, spikes in expected.items()
    }
    worst = max(shares, key=lambda name: shares[name], default="")
    ours, theirs = logits.double().mean(0), reference.double().mean(0)
    largest = theirs.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return Difference(
        samples=x.shape[1],
        spikes=shares.get(worst, 0.0),
        layer=worst,
        logits=float((ours - theirs).abs().max() / largest),
        predictions=int((ours.argmax(-1) != theirs.argmax(-1)).sum()),
    )


def _run(fast: Compiled, x: Tensor, layers: Iterable[str]) -> tuple[dict[str, Tensor], Tensor]:
    """What the spiking `layers` emit, and the logits."""
    emitted: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, x: Tensor, out: Tensor) -> None:
        emitted[name].append(out.detach().float())

    module_of = fast.net.backbone.get_submodule
    hooks = (after(module_of(name), partial(keep, name)) for name in layers)
    fast.begin_batch()
    fast.net.reset()
    try:
        with hooked(hooks), torch.no_grad():
            logits = fast.net(x)
    finally:
        fast.net.reset()
    return {name: torch.stack(outs) for name, outs in emitted.items()}, logits


def joined_norms(graph: Graph) -> dict[str, str]:
    """Layer with weights → the normalisation that alone takes its output."""
    norms = [o.activity for o in graph.operators if o.activity.kind == NORMALISATION]
    return {norm.behind: norm.name for norm in norms if norm.behind is not None}


def padded(x: Tensor) -> Tensor:
    """`x` [T, N, …], a single sample twice."""
    return torch.cat([x, x], dim=1) if x.shape[1] < _SMALLEST_BATCH else x
