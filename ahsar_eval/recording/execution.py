"""How a recording runs its network: by which engine, in which order in memory, and why."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ahsar_eval.data import Split
from ahsar_eval.errors import AhsarError, AhsarWarning, ModelError
from ahsar_eval.networks import BACKBONES, SpikingNet
from ahsar_eval.recording.engine import (
    BOUND,
    COMPILED,
    FP32,
    REFERENCE,
    Compiled,
    Difference,
    can_lie_channels_last,
    channels_last,
    compare,
    samples_to_check,
)
from ahsar_eval.recording.wiring import Wiring, discover
from ahsar_eval.recording.work import NORMALISATION

BY_REFERENCE: Mapping[str, Any] = {
    "engine": REFERENCE,
    "precision": FP32,
}  # what the provenance says of it
_FEWEST = 64  # samples: below, a check of the compiled path costs more than it saves
# matrix products of a single row take another route through the BLAS and differ in the last bit
_SMALLEST_BATCH = 2


NOT_KNOWN = "it has convolutions that are not known to be right with images channels last in memory"
NOT_FOLLOWED = (
    "it cannot run, or its tensors cannot be followed, with images that lie channels last in memory"
)


def discovered(
    net: SpikingNet, probe: Tensor, input_kinds: Mapping[str, str] | None
) -> tuple[Wiring, str]:
    """The structure of `net`, and why it cannot run with weights that lie channels last; '' where
    it can.

    A network of a user may view a tensor as another shape, which then fails, or copies it, so that
    spikes are not recognised behind it.
    """
    if net.spec.backbone in BACKBONES or all(
        parameter.dim() != 4 for parameter in net.parameters()
    ):
        with channels_last(net.backbone):
            return discover(net, probe, input_kinds), ""
    wiring = discover(net, probe, input_kinds)
    if not can_lie_channels_last(net.backbone):
        return wiring, NOT_KNOWN
    try:
        with channels_last(net.backbone):
            return wiring, "" if discover(net, probe, input_kinds).alike(wiring) else NOT_FOLLOWED
    except (AhsarError, RuntimeError):
        return wiring, NOT_FOLLOWED


def checked(
    net: SpikingNet, wiring: Wiring, split: Split, dtype: torch.dtype, precision: str
) -> tuple[Compiled | None, dict[str, Any]]:
    """The compiled path where it pays and holds, and what the provenance says of it."""
    if len(split) < _FEWEST and precision == FP32:
        return None, {
            **BY_REFERENCE,
            "engine_reason": f"{len(split)} samples are too few to pay for a check",
        }
    fast = Compiled(net, joined_norms(wiring), precision)
    if not fast.convolutions:
        return None, on_reference(
            next(
                (f"{name}: {reason}" for name, reason in fast.left.items()),
                "it has no convolutions",
            )
        )
    samples = split.tensors(samples_to_check(len(split), precision)).to(
        next(net.buffers()).device, dtype
    )
    try:
        difference = compare(fast, padded(samples), wiring.neurons)
    except (RuntimeError, ModelError) as error:
        return None, on_reference(f"it fails on the compiled one: {str(error).splitlines()[0]}")
    if precision != FP32:
        say_how_far(split.name, precision, difference)
    elif not difference.holds:
        return None, on_reference(f"{difference.sentence()}; {BOUND}")
    return fast, {
        "engine": COMPILED,
        "precision": precision,
        "engine_difference": difference.to_dict(),
        "by_events": list(fast.by_events),
        "left": dict(fast.left),
    }


def how_it_ran(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Of a recording's provenance what `checked` said."""
    names = (
        "engine",
        "precision",
        "memory",
        "engine_reason",
        "engine_difference",
        "by_events",
        "left",
    )
    return {name: provenance[name] for name in names if name in provenance}


def say_how_far(name: str, precision: str, difference: Difference) -> None:
    """What a coarser format changes, said to the user: when a split `name` is recorded, and when
    such a recording is found again.
    """
    warnings.warn(f"{name} in {precision}: {difference.sentence()}", AhsarWarning, stacklevel=3)


def joined_norms(wiring: Wiring) -> dict[str, str]:
    """Layer with weights → the normalisation that alone takes its output."""
    norms = [
        operator.found for operator in wiring.operators if operator.found.kind == NORMALISATION
    ]
    return {norm.behind: norm.name for norm in norms if norm.behind is not None}


def on_reference(reason: str) -> dict[str, Any]:
    """What the provenance says of a network that the compiled path cannot run; said to the user,
    too.
    """
    warnings.warn(f"the network runs on the reference path: {reason}", AhsarWarning, stacklevel=3)
    return {**BY_REFERENCE, "engine_reason": reason}


def padded(x: Tensor) -> Tensor:
    """`x` [T, N, …], a single sample twice."""
    return torch.cat([x, x], dim=1) if x.shape[1] < _SMALLEST_BATCH else x
