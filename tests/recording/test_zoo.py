"""Networks of SpikingJelly's model zoo and neurons beyond IF and LIF, small, as they come: logits of
the plain forward, spikes that hooks see, operations counted by unit weights in float64, for any batch.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import (
    parametric_lif_net,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
)
from torch import Tensor, nn

import ahsar_eval as ae
from ahsar_eval.networks.calls import Calls

T, K, N = 4, 10, 3
pytestmark = pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")


def behind_one_layer(node: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer.Flatten(), layer.Linear(64, 64), node, layer.Linear(64, K))


def resnet(cnf: str | None) -> nn.Module:
    if cnf is None:
        kind, made = spiking_resnet, spiking_resnet.SpikingResNet
        more: dict[str, Any] = {}
    else:
        kind, made, more = sew_resnet, sew_resnet.SEWResNet, {"cnf": cnf}
    net: nn.Module = made(
        kind.BasicBlock, [1, 1, 1, 1], num_classes=K, spiking_neuron=neuron.IFNode, **more
    )
    return net


TRANSFORMER = {"T": T, "num_classes": K, "embed_dims": 32}
PLIF = {"channels": 8, "spiking_neuron": neuron.ParametricLIFNode}
# network, channels and side of its images, what it takes and gives
ZOO: dict[str, tuple[Any, int, int, str]] = {
    "spiking resnet": (lambda: resnet(None), 3, 16, "TN/TN"),
    "SEW resnet, ADD": (lambda: resnet("ADD"), 3, 16, "TN/TN"),
    "SEW resnet, IAND": (lambda: resnet("IAND"), 3, 16, "TN/TN"),
    "SEW resnet, AND": (lambda: resnet("AND"), 3, 16, "TN/TN"),
    "spikformer": (
        lambda: spikformer.Spikformer(
            img_size_h=32, img_size_w=32, patch_size=16, num_heads=2, depths=1, **TRANSFORMER
        ),
        3,
        32,
        "TN/TN",
    ),
    "spike-driven transformer": (
        lambda: spike_driven_transformer.SpikeDrivenTransformer(
            num_heads=2, depths=1, **TRANSFORMER
        ),
        3,
        32,
        "TN/N",
    ),
    "QKFormer": (
        lambda: qkformer.QKFormer(num_heads=(1, 2, 2), depths=(1, 1, 1), **TRANSFORMER),
        3,
        32,
        "TN/N",
    ),
    "PLIF net of MNIST": (lambda: parametric_lif_net.MNISTNet(**PLIF), 1, 28, "TN/TN"),
    "PLIF net of Fashion-MNIST": (
        lambda: parametric_lif_net.FashionMNISTNet(**PLIF),
        1,
        28,
        "TN/TN",
    ),
    "KLIF": (lambda: behind_one_layer(neuron.KLIFNode()), 1, 8, "TN/TN"),
    "QIF": (lambda: behind_one_layer(neuron.QIFNode()), 1, 8, "TN/TN"),
    "EIF": (lambda: behind_one_layer(neuron.EIFNode()), 1, 8, "TN/TN"),
    "Izhikevich": (lambda: behind_one_layer(neuron.IzhikevichNode()), 1, 8, "TN/TN"),
    "PSN": (lambda: behind_one_layer(neuron.PSN(T=T)), 1, 8, "TN/TN"),
    "masked PSN": (lambda: behind_one_layer(neuron.MaskedPSN(k=2, T=T)), 1, 8, "TN/TN"),
    "sliding PSN": (lambda: behind_one_layer(neuron.SlidingPSN(k=2)), 1, 8, "TN/TN"),
    "compiled": (lambda: torch.compile(behind_one_layer(neuron.LIFNode())), 1, 8, "TN/TN"),
    "bfloat16": (lambda: behind_one_layer(neuron.LIFNode()).bfloat16(), 1, 8, "TN/TN"),
}


def lively(net: Any) -> Any:
    """Random weights under which neurons fire, statistics of norms that are not 0 and 1."""
    torch.manual_seed(0)
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if getattr(module, "running_var", None) is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.3)
        elif isinstance(weight, Tensor) and weight.dim() > 1 and weight.shape != (T, T):
            drawn = nn.init.kaiming_uniform_(torch.empty(weight.shape), a=5**0.5)
            weight.data = (3 * drawn).to(weight.dtype)
    return net.eval()


def by_unit_weights(module: Any, x: Tensor) -> float:
    """Outputs that every spike of `x` reaches."""
    x = x.double()
    if isinstance(module, nn.Linear):
        return float(x.sum()) * module.out_features
    axes = len(module.kernel_size)
    convolve: Any = F.conv1d if axes == 1 else F.conv2d
    settings = (module.stride, module.padding, module.dilation, module.groups)
    ones = torch.ones_like(module.weight, dtype=torch.float64)
    return float(convolve(x.reshape(-1, *x.shape[-axes - 1 :]), ones, None, *settings).sum())


EVERY = ("spiking resnet", "SEW resnet, IAND", "SEW resnet, AND", "QKFormer")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.every) if n in EVERY else n for n in ZOO]
)
def test_a_network_of_the_zoo_is_recorded_as_it_runs(name):
    make, channels, side, calls = ZOO[name]
    net = make()
    functional.set_step_mode(net, "m")
    net = lively(net)
    images = np.random.default_rng(0).random((N, channels, side, side)).astype(np.float32)
    found, alone = (
        ae.record(
            ae.wrap(net, timesteps=T, classes=K, batch_size=size, no_cache=True),
            (images, np.arange(N)),
        )
        for size in (64, 1)
    )
    assert found.spec["calls"] == calls
    assert np.array_equal(found.logits, alone.logits)
    for one, other in zip(
        (*found.layers, *found.synapses), (*alone.layers, *alone.synapses), strict=True
    ):
        counted = "spikes" if hasattr(one, "spikes") else "operations"
        assert np.array_equal(getattr(one, counted), getattr(other, counted)), one.name

    net = getattr(net, "_orig_mod", net)
    modules = {n.replace("_orig_mod.", ""): module for n, module in net.named_modules()}
    met: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for one in (*found.layers, *found.synapses):
        modules[one.name].register_forward_hook(
            lambda _, taken, out, name=one.name: met[name].append((taken[0].detach(), out.detach()))
        )
    x = torch.as_tensor(images).to(next(net.parameters()).dtype)
    with torch.no_grad():
        logits = Calls.parse(calls).run(net, x.expand(T, *x.shape)).transpose(0, 1).float()
    largest = float(logits.abs().max())
    # Convolutions lie channels last in a recording: sums are rounded in another order.
    assert np.allclose(
        found.logits, logits, atol=0.02 * largest if name == "bfloat16" else 1e-4 * largest
    )
    assert found.layers
    for spiking in found.layers:
        fired = sum(float(out.double().sum()) for _, out in met[spiking.name])
        assert abs(fired - spiking.spikes.sum()) <= 1e-3 * fired, spiking.name
    for synapse in found.synapses:
        if synapse.kind in ("spikes", "integer spikes"):
            reached = sum(by_unit_weights(modules[synapse.name], x) for x, _ in met[synapse.name])
            assert abs(reached - synapse.operations.sum()) <= 1e-3 * reached, synapse.name
