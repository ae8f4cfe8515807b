"""A split whose inputs a network has pushed towards its own prediction: the first half of ODIN
(Liang et al. 2018, equation 2).

    x̂ = x − ε · sign(∂L/∂x),  L = cross-entropy(mean_t z_t / T, predicted class)

ε is in the units of the input before the network normalises it: [0, 1] for images, values of a
frame for events. The result is not clipped, as in the authors' code. The gradient runs through the
surrogate functions of the spiking layers.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data import Split
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, emits_whole_spikes
from ahsar_eval.recording.execution import padded
from ahsar_eval.recording.layout import linear_by_rows

ODIN_EPSILON = 0.0014
ODIN_TEMPERATURE = 1000.0
_MARK = "pushed by odin"
_PROBE = 8  # samples on which a gradient must appear


def against_prediction(
    net: SpikingNet,
    split: Split,
    *,
    identity: str,
    batch_size: int,
    device: str = "cpu",
    epsilon: float = ODIN_EPSILON,
) -> Split:
    """`split` with ODIN's step taken against `net`, batch by batch as it is read; the network must
    be the caller's own copy.

    `identity` names the network and its thresholds: the tensors depend on them, and so does the new
    split's identity. It depends on `batch_size` too: that rounding moves no sign of a gradient is
    not proven. Raises `RecordingError` for a network without a gradient from its logits to its
    input, there at once or when the first samples are read.
    """
    for name, module in net.backbone.named_modules():
        if emits_whole_spikes(module):
            raise RecordingError(
                f"layer {name!r} may fire several times in a step, which has no gradient; ODIN "
                "cannot serve this network, use --spikes-per-step one or another score"
            )
    net.eval().requires_grad_(False).to(device)
    checked = False

    def load(indices: NDArray[np.int64]) -> Tensor:
        nonlocal checked
        if not checked:
            first = split.tensors(np.arange(min(_PROBE, len(split)), dtype=np.int64))
            if not bool((input_gradient(net, first, device) != 0).any()):
                raise RecordingError(_no_gradient(net))
            checked = True
        x = split.tensors(indices)
        return x - epsilon * input_gradient(net, x, device).sign()

    text = (
        f"{_MARK}, {epsilon:g} at T={ODIN_TEMPERATURE:g}, {batch_size} at a time, against "
        f"{identity[:16]}"
    )
    return replace(split, load=load, adaptation=f"{split.adaptation}; {text}")


def is_perturbed(split: Mapping[str, Any]) -> bool:
    """Whether a recording's split (`Recording.split`) was pushed by `against_prediction`."""
    return _MARK in str(split["adaptation"])


def input_gradient(net: SpikingNet, x: Tensor, device: str = "cpu") -> Tensor:
    """∂L/∂x of each sample on its own, of `x` [T or 1, N, C, H, W] and on the CPU; the state of
    `net` is reset before and after.

    Raises `RecordingError` where the logits do not depend on the input by any gradient.
    """
    net.reset()
    with torch.enable_grad(), linear_by_rows(net.backbone):
        given = padded(x).detach().to(device, net.dtype).requires_grad_()
        logits = net(given).double().mean(0) / ODIN_TEMPERATURE
        # A sum, so that no sample's gradient is scaled by the size of its batch.
        loss = F.cross_entropy(logits, logits.argmax(1), reduction="sum")
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, given, allow_unused=True)
    net.reset()
    if gradient is None:
        raise RecordingError(_no_gradient(net))
    if not bool(torch.isfinite(gradient).all()):
        raise RecordingError(
            "the gradient of the logits by the input is not finite (NaN or Inf); ODIN cannot serve "
            "this network; use another score"
        )
    return gradient[:, : x.shape[1]].to("cpu", x.dtype)


def _no_gradient(net: SpikingNet) -> str:
    return (
        f"no gradient leads from the logits of {net.spec.backbone} to its input; ODIN needs "
        "spiking layers with a surrogate function; use another score"
    )
