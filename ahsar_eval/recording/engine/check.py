"""Whether the compiled path gives what SpikingJelly's own operations give: some samples on both,
spikes and logits compared.
"""

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.errors import AhsarWarning, UsageError
from ahsar_eval.recording.engine.compiled import Compiled, NotAsPlannedError, densities
from ahsar_eval.recording.engine.convolutions import BF16, FP32, TF32

REFERENCE, COMPILED = "reference", "compiled"
ENGINES = (COMPILED, REFERENCE)
PRECISIONS = (FP32, BF16, TF32)
CHECKED_SAMPLES, FEWEST_CHECKED, CHECKED_SHARE = (
    16,
    4,
    1 / 64,
)  # of a large set, of a small one, and of those between
# of a layer's may differ, where a machine rounds sums in another order and a potential lies on the
# threshold
MOST_SPIKES = 0.005
MOST_LOGITS = 1e-4
BOUND = (
    f"at most {MOST_SPIKES:.1%} and none may be, and logits by {MOST_LOGITS:g} where all "
    "spikes "
    "are the same"
)


def samples_to_check(count: int, precision: str = FP32) -> NDArray[np.int64]:
    """Which of `count` samples run on both paths: spread over all of them, so that a set that is
    sorted by class is not judged by one.

    In fp32 a share of a small set, so that the check pays; what a coarser format changes is told
    from more.
    """
    enough = (
        max(FEWEST_CHECKED, round(count * CHECKED_SHARE)) if precision == FP32 else CHECKED_SAMPLES
    )
    number = min(count, CHECKED_SAMPLES, enough)
    return np.arange(number) * count // number


def check_execution(engine: str, precision: str, device: str) -> None:
    """That a network can run this way. Raises `UsageError`."""
    if engine not in ENGINES:
        raise UsageError(f"the engine is {engine!r}; expected {' or '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"the precision is {precision!r}; expected {', '.join(PRECISIONS)}")
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
    if (
        precision == BF16
        and torch.device(device).type == "cpu"
        and not multiplies_bf16(Path("/proc/cpuinfo"))
    ):
        warnings.warn(
            "this processor has no products in bf16 (AVX512_BF16 or AMX), without which bf16 takes "
            "up to 6 times as long as fp32; "
            "use --precision fp32",
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
    flags = next(
        (
            line.partition(":")[2].split()
            for line in lines
            if line.startswith(("flags", "Features"))
        ),
        None,
    )
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    held = not (
        allowed in ("ALL", "DEFAULT") or any(kind in allowed for kind in ("BF16", "FP16", "AMX"))
    )
    return not held and (flags is None or not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags))


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
        same = self.spikes > 0 or self.logits <= MOST_LOGITS
        return self.spikes <= MOST_SPIKES and self.predictions == 0 and same

    def sentence(self) -> str:
        """What was found, for a reader."""
        return (
            f"on {self.samples} samples {self.spikes:.2%} of the spikes of "
            f"{self.layer or 'a layer'} and {self.predictions} predictions "
            f"are other than the reference's, logits by up to {self.logits:.2g} of the largest"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def compare(fast: Compiled, x: Tensor, layers: Iterable[str]) -> Difference:
    """Run `x` [T or 1, N, C, H, W] as the network is, decide by its activity how to run it faster,
    and compare both: what the spiking `layers` emit and what comes out. A batch norm that turns out
    to take something else than its convolution's output runs as it is.
    """
    modules = {name: fast.net.backbone.get_submodule(name) for name in layers}
    runs: list[tuple[dict[str, Tensor], Tensor]] = []
    fast.decide(densities(fast, lambda: runs.append(_run(fast, x, modules))))
    while len(runs) < 2:
        try:
            with fast.running():
                runs.append(_run(fast, x, modules))
        except NotAsPlannedError as error:
            fast.leave(error)
    (expected, reference), (found, logits) = runs
    shares = {
        name: float((found[name] - spikes).abs().sum() / spikes.abs().sum().clamp(min=1))
        for name, spikes in expected.items()
    }
    worst = max(shares, key=lambda name: shares[name], default="")
    ours, theirs = logits.double().mean(0), reference.double().mean(0)
    return Difference(
        samples=x.shape[1],
        spikes=shares.get(worst, 0.0),
        layer=worst,
        logits=float(
            (ours - theirs).abs().max()
            / theirs.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        ),
        predictions=int((ours.argmax(-1) != theirs.argmax(-1)).sum()),
    )


def _run(
    fast: Compiled, x: Tensor, modules: dict[str, nn.Module]
) -> tuple[dict[str, Tensor], Tensor]:
    seen: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, out: seen[name].append(out.detach().float())

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    fast.begin_batch()
    fast.net.reset()
    try:
        with torch.no_grad():
            logits = fast.net(x)
    finally:
        fast.net.reset()
        for handle in handles:
            handle.remove()
    return {name: torch.stack(outs) for name, outs in seen.items()}, logits
