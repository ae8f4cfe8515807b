"""Networks of SpikingJelly's model zoo, its tutorial and its conversion, and neurons beyond IF and
LIF, small, as they come: logits of the plain forward, spikes that hooks see, operations counted by
unit weights, for any batch.

In float64 no order of summation tips a potential over its threshold: every count is equal.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import ann2snn, functional, layer, neuron
from spikingjelly.activation_based.examples.memopt.models import CIFAR10DVSVGG, VGGBlock
from spikingjelly.activation_based.model import (
    masnn,
    maxformer,
    ms_resnet,
    parametric_lif_net,
    qkformer,
    sew_resnet,
    snas_net,
    spike_dhs,
    spike_driven_transformer,
    spikformer,
    spiking_resnet,
    spiking_vgg,
    spiking_vggws_ottt,
)
from torch import Tensor, nn

import ahsar_eval as ae
from ahsar_eval.errors import RecordingError
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


def vgg(norm: bool) -> nn.Module:
    """Its classifier has 120 million weights: replaced, as for small images."""
    narrow = [8, "M", 8, 8, "M"]
    made: Any = spiking_vgg.SpikingVGG.__new__(spiking_vgg.SpikingVGG)
    nn.Module.__init__(made)
    made.features = made.make_layers(narrow, norm, neuron=neuron.IFNode)
    made.avgpool = layer.AdaptiveAvgPool2d((2, 2))
    made.classifier = nn.Sequential(
        layer.Linear(32, 16), neuron.IFNode(), layer.Dropout(), layer.Linear(16, K)
    )
    net: nn.Module = made
    return net


def ottt_vgg() -> nn.Module:
    made = spiking_vggws_ottt.OTTTSpikingVGG
    net: nn.Module = made([8, "A", 8], num_classes=K, spiking_neuron=neuron.OTTTLIFNode)
    net.classifier[2] = layer.Linear(8, K)  # type: ignore[index, operator]
    for module in net.modules():
        if isinstance(module, layer.WSConv2d):
            nn.init.constant_(module.gain, 4.0)
    return net


def cifar10_dvs_vgg() -> nn.Module:
    made: Any = CIFAR10DVSVGG()
    options = {"tau": 1.333, "decay_input": False, "step_mode": "m"}
    made.features = nn.Sequential(
        VGGBlock(2, 8, 3, 1, 1, **options),
        VGGBlock(8, 8, 3, 1, 1, True, **options),
        VGGBlock(8, 8, 3, 1, 1, **options),
        layer.AvgPool2d(2, step_mode="m"),
    )
    made.classifier = nn.Sequential(nn.Dropout(0.25), nn.Linear(128, K))
    net: nn.Module = made
    return net


def snas(kind: str) -> nn.Module:
    """Two cells with feedback or without, in a loop over time; its 128 channels are 4."""
    args = SimpleNamespace(
        timestep=T, second_avgpooling=4, dataset="cifar10", celltype=kind, threshold=1.0, tau=4 / 3
    )
    ways = np.array([[0, 3, 4, 2], [2, 0, 1, 3], [2, 0, 0, 4], [2, 3, 2, 0]])
    empty = np.zeros_like(ways)  # connections without weights, to be replaced
    made: Any = snas_net.SNASNet(SimpleNamespace(**{**vars(args), "celltype": "forward"}), empty)
    cell = snas_net.Neuronal_Cell if kind == "forward" else snas_net.Neuronal_Cell_backward
    made.cell1, made.cell2 = cell(args, 4, 4, ways), cell(args, 4, 4, ways)

    def spiking() -> nn.Module:
        return neuron.LIFNode(tau=4 / 3)

    made.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    made.downconv1 = nn.Sequential(nn.BatchNorm2d(4), spiking(), nn.Conv2d(4, 4, 3, padding=1))
    made.last_act = nn.Sequential(nn.BatchNorm2d(4), spiking())
    made.classifier = nn.Sequential(
        layer.Dropout(0.5), nn.Linear(16, 16, bias=False), spiking(), nn.Linear(16, 10 * K)
    )
    made.neuron_init = lambda: snas_net.SNASNet.neuron_init(made)
    net: nn.Module = made
    return net


class Csnn(nn.Module):
    """The network of SpikingJelly's tutorial on convolutions, written as there."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.conv_fc = nn.Sequential(
            *(layer.Conv2d(1, channels, 3, padding=1, bias=False), layer.BatchNorm2d(channels)),
            *(neuron.IFNode(), layer.MaxPool2d(2, 2)),
            *(layer.Conv2d(channels, channels, 3, padding=1, bias=False),),
            *(layer.BatchNorm2d(channels), neuron.IFNode(), layer.MaxPool2d(2, 2)),
            *(layer.Flatten(), layer.Linear(channels * 7 * 7, channels * 16, bias=False)),
            *(neuron.IFNode(), layer.Linear(channels * 16, K, bias=False), neuron.IFNode()),
        )
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        rate: Tensor = self.conv_fc(x.unsqueeze(0).repeat(T, 1, 1, 1, 1)).mean(0)
        return rate


def converted() -> nn.Module:
    """An ANN as SpikingJelly converts it: called step by step."""
    ann = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(8 * 25, K)),
    )
    shown = [(torch.rand(8, 1, 28, 28), torch.zeros(8))]
    recipe = ann2snn.RateCodingRecipe(dataloader=shown, mode="max")
    net: nn.Module = ann2snn.FXConverter(recipe=recipe, device="cpu").convert(ann.eval())
    return net


SMALL = {
    "T": T,
    "num_classes": K,
    "layers": (1, 1, 1),
    "base_channels": 8,
    "stem_kernel_size": 3,
    "stem_stride": 1,
}
TRANSFORMER = {"T": T, "num_classes": K, "embed_dims": 32}
PLIF = {"channels": 8, "spiking_neuron": neuron.ParametricLIFNode}
DVS = {"channels": 4, "spiking_neuron": neuron.LIFNode}
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
    "PLIF net of N-MNIST": (lambda: parametric_lif_net.NMNISTNet(**PLIF), 2, 34, "TN/TN"),
    "PLIF net of CIFAR-10": (lambda: parametric_lif_net.CIFAR10Net(**PLIF), 3, 32, "TN/TN"),
    "PLIF net of CIFAR10-DVS": (lambda: parametric_lif_net.CIFAR10DVSNet(**DVS), 2, 128, "TN/TN"),
    "DVSGestureNet": (lambda: parametric_lif_net.DVSGestureNet(**DVS), 2, 128, "TN/TN"),
    "CIFAR10DVSVGG": (cifar10_dvs_vgg, 2, 16, "NT/TN"),
    "spiking VGG": (lambda: vgg(False), 3, 8, "TN/TN"),
    "spiking VGG, batch norm": (lambda: vgg(True), 3, 8, "TN/TN"),
    "OTTT spiking VGG": (ottt_vgg, 3, 8, "step/N"),
    "MS resnet": (lambda: ms_resnet.MSResNet(**SMALL), 3, 16, "TN/N"),
    "Max resnet": (lambda: ms_resnet.MaxResNet(**SMALL), 3, 16, "TN/N"),
    "MaxFormer": (lambda: maxformer.MaxFormer(depths=(1, 1, 1), **TRANSFORMER), 3, 32, "TN/N"),
    "MaxFormer of CIFAR": (
        lambda: maxformer.MaxFormer(depths=(1, 1, 1), cifar=True, **TRANSFORMER),
        3,
        16,
        "TN/N",
    ),
    "SNASNet": (lambda: snas("forward"), 3, 16, "N/N"),
    "SNASNet with feedback": (lambda: snas("backward"), 3, 16, "N/N"),
    "CSNN of the tutorial": (Csnn, 1, 28, "N/N"),
    "ANN2SNN": (converted, 1, 28, "step/N"),
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


STEP_BY_STEP = ("step/N", "N/N")
# Layers behind averages of spikes: how many each is over.
FOLDED = {
    "spiking resnet": {"fc": 1},
    "spikformer": {"head": 4},
    "CIFAR10DVSVGG": {"features.1.proj_bn.1": 4, "classifier.1": 4},
    "OTTT spiking VGG": {"features.4": 4, "classifier.2": 16},
    "MS resnet": {"head": 4},
    "Max resnet": {"head": 16},
    "SNASNet": {"classifier.1": 16},
    "SNASNet with feedback": {"classifier.1": 16},
    "ANN2SNN": {"4": 4, "9": 4},
}


def gain_before(net: Any, name: str, layer: str) -> float:
    """The constant that multiplies the spikes before a layer."""
    if name == "ANN2SNN":
        scaler = net.spiking_0.scaler1 if layer == "4" else net.spiking_1.scaler1
        return float(scaler.scale)
    return 2.74 if name == "OTTT spiking VGG" else 1.0


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
            weight.data = (5 * drawn).to(weight.dtype)
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


EVERY = (
    *("spiking resnet", "SEW resnet, IAND", "SEW resnet, AND", "QKFormer", "MaxFormer"),
    *("PLIF net of Fashion-MNIST", "PLIF net of N-MNIST", "PLIF net of CIFAR10-DVS"),
    *("Max resnet", "SNASNet"),
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.every) if n in EVERY else n for n in ZOO]
)
def test_a_network_of_the_zoo_is_recorded_as_it_runs(name):
    torch.manual_seed(0)
    make, channels, side, calls = ZOO[name]
    net, half = make(), name == "bfloat16"
    if calls not in STEP_BY_STEP:
        functional.set_step_mode(net, "m")
    net = lively(net) if half else lively(net).double()
    classes = 11 if name == "DVSGestureNet" else K
    images = np.random.default_rng(0).random((N, channels, side, side)).astype(np.float32)
    found, *others = (
        ae.record(
            ae.wrap(net, timesteps=T, classes=classes, batch_size=size, no_cache=True),
            (images, np.arange(N)),
        )
        for size in (64, 1, 3)[: 2 if name in EVERY else 3]
    )
    assert found.spec["calls"] == calls
    for other in others:
        assert np.array_equal(found.logits, other.logits)
        for a, b in zip(
            (*found.layers, *found.synapses), (*other.layers, *other.synapses), strict=True
        ):
            counted = "spikes" if hasattr(a, "spikes") else "operations"
            assert np.array_equal(getattr(a, counted), getattr(b, counted)), a.name

    net = getattr(net, "_orig_mod", net)
    modules = {n.replace("_orig_mod.", ""): module for n, module in net.named_modules()}
    met: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for one in (*found.layers, *found.synapses):
        modules[one.name].register_forward_hook(
            lambda _, taken, out, name=one.name: met[name].append(
                (taken[0].detach(), (out[0] if isinstance(out, list) else out).detach())
            )
        )
    x = torch.as_tensor(images).to(next(net.parameters()).dtype)
    functional.reset_net(net)
    with torch.no_grad():
        logits = Calls.parse(calls).run(net, x.expand(T, *x.shape)).transpose(0, 1)
    largest = float(logits.abs().max())
    assert largest > 0
    # Convolutions lie channels last in a recording: sums are rounded in another order.
    near = np.allclose(found.logits, logits.double(), atol=(0.02 if half else 1e-12) * largest)
    assert near
    assert found.layers
    for spiking in found.layers:
        fired = sum(float(out.double().sum()) for _, out in met[spiking.name])
        assert fired == spiking.spikes.sum(), spiking.name
    for synapse in found.synapses:
        if synapse.kind in ("spikes", "integer spikes"):
            reached = sum(by_unit_weights(modules[synapse.name], x) for x, _ in met[synapse.name])
            assert reached == synapse.operations.sum(), synapse.name
        elif synapse.kind == "pooled spikes":
            cell = FOLDED[name][synapse.name]
            reached = sum(by_unit_weights(modules[synapse.name], x) for x, _ in met[synapse.name])
            spikes = reached * cell / gain_before(net, name, synapse.name)
            assert round(spikes) == synapse.operations.sum() > 0, synapse.name
            assert abs(spikes - round(spikes)) < 1e-3
    folded = {one.name for one in found.synapses if one.kind == "pooled spikes"}
    assert folded == set(FOLDED.get(name, ()))


def test_weights_shared_within_a_step_are_a_clear_no():
    net = masnn.AttMSResNet(reduction_c=2, **SMALL)
    with pytest.raises(RecordingError, match=r"layer 'layer1.0.attention.ca.sharedMLP.0' runs 2"):
        ae.record(
            ae.wrap(lively(net), timesteps=T, classes=K, no_cache=True),
            (np.ones((N, 3, 16, 16), np.float32), np.arange(N)),
        )


@pytest.mark.every
def test_of_two_outputs_the_one_that_can_be_the_logits_is_taken():
    """SpikeDHS gives its logits and those of an auxiliary head, or None."""
    args = {"fea_step": 3, "fea_num_layers": 8, "fea_block_multiplier": 3}
    net = spike_dhs.SpikeDHS(3, SimpleNamespace(fea_filter_multiplier=4, **args))
    net.classifier = spike_dhs.SpikingLinear(48, 100, spiking=False)
    functional.set_step_mode(net, "m")
    net, images = lively(net).double(), np.ones((N, 3, 32, 32), np.float32)
    found = ae.record(ae.wrap(net, timesteps=6, classes=100, no_cache=True), (images, np.arange(N)))
    functional.reset_net(net)
    with torch.no_grad():
        logits, other = net(torch.as_tensor(images).double().expand(6, *images.shape))
    assert other is None
    assert found.spec["calls"] == "TN/N:0"
    assert np.allclose(found.logits[:, 0], logits, atol=1e-12 * float(logits.abs().max()))
