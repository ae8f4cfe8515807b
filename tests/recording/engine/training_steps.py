"""Training steps whose gradients are compared with float64, layer by layer; a process of its own
runs this, for each instruction set.

    python training_steps.py WIDTH …

prints one JSON object: what was trained → the largest error of a convolution's gradient by weight,
and by input, relative to its largest. Each is recomputed in float64 from the very input and output
gradient that the layer met in its step: a spike that flips by rounding would make gradients of
whole networks incomparable.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.network import PARADIGMS
from ahsar_eval.training.loop import training_form

STEPS, SAMPLES = 2, 6


def error(found: Tensor, exact: Tensor) -> float:
    """Of a gradient, relative to the largest of its entries; infinite where it is not finite."""
    worst = float((found.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-30))
    return worst if worst == worst else float("inf")


@contextmanager
def watched(net: nn.Module) -> Iterator[dict[nn.Conv2d, list[tuple[Tensor, Tensor, Tensor]]]]:
    """Inside, (input, output gradient, input gradient) of every call of each
    convolution is kept."""
    calls: dict[nn.Conv2d, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def backward(module: Any, given: Any, came: Any) -> None:
        x = inputs[module].pop()
        calls.setdefault(module, []).append((x, came[0].detach(), given[0].detach()))

    inputs: dict[nn.Module, list[Tensor]] = {}
    handles = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_full_backward_hook(backward))
            handles.append(
                module.register_forward_pre_hook(
                    lambda m, x: inputs.setdefault(m, []).append(x[0].detach())
                )
            )
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def step(spec: ModelSpec) -> float:
    """The largest error of any convolution's gradients in one training step of a
    network of chance."""
    torch.manual_seed(0)
    net = build(spec).train()
    x = torch.rand(1, SAMPLES, *spec.input_shape).requires_grad_()
    with watched(net), torch.no_grad():
        net(x)  # statistics of the batch norms
    net.reset()
    worst = 0.0
    with training_form(net), watched(net) as calls:
        F.cross_entropy(net(x).mean(0), torch.arange(SAMPLES) % spec.classes).backward()
    for module, found in calls.items():
        by_weight = torch.zeros_like(module.weight, dtype=torch.float64)
        for given, came, by_input in found:
            flat_x, flat_y = (t.double().flatten(0, -4) for t in (given, came))
            exact = torch.ops.aten.convolution_backward(
                flat_y, flat_x, module.weight.detach().double(), None, module.stride, module.padding, module.dilation,
                False, [0, 0], module.groups, [True, True, False],
            )  # fmt: skip
            by_weight += exact[1]
            worst = max(worst, error(by_input.flatten(0, -4), exact[0]))
        assert module.weight.grad is not None
        worst = max(worst, error(module.weight.grad, by_weight))
    assert len(calls) == sum(isinstance(m, nn.Conv2d) for m in net.modules()), (
        "a convolution was not seen"
    )
    return worst


def lone() -> list[float]:
    """Errors of three backward passes of one convolution: 1x1, stride 2, 4 to 8 channels, its input
    channels last.
    """
    torch.manual_seed(0)
    net = nn.Conv2d(4, 8, 1, stride=2, bias=False)
    net.weight.data = net.weight.data.as_strided((8, 4, 1, 1), (4, 1, 4, 4))  # channels last
    x = torch.randn(384, 4, 16, 16).contiguous(memory_format=torch.channels_last)
    came = torch.randn(384, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    exact = torch.ops.aten.convolution_backward(
        came.double(),
        x.double(),
        net.weight.detach().double(),
        None,
        [2, 2],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [False, True, False],
    )[1]
    found: list[float] = []
    for _ in range(3):
        net.weight.grad = None
        with layout(net):
            net(x).backward(came)
        assert net.weight.grad is not None
        found.append(error(net.weight.grad, exact))
    return found


def layout(net: nn.Module) -> Any:
    from ahsar_eval.recording.layout import channels_last

    return channels_last(net, training=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    results: dict[str, Any] = {"lone": max(lone())}
    for width in map(float, sys.argv[1:]):
        for backbone in ("vgg13", "resnet18"):
            for paradigm in PARADIGMS:
                spec = ModelSpec(
                    backbone,
                    (2, 16, 16),
                    10,
                    width=width,
                    timesteps=STEPS,
                    paradigm=paradigm,
                    step_mode="m",
                )
                results[f"{backbone} {width:g} {paradigm}"] = step(spec)
    print(json.dumps(results))
