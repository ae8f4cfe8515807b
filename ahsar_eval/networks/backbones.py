"""From a specification to a network: the two backbones of the paper (docs/method.md, section 8),
and networks of the user's own.
"""

import importlib
import marshal
import os
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.files import sha256_of, sha256_of_file
from ahsar_eval.networks.network import ModelSpec, SpikingNet
from ahsar_eval.networks.neurons import is_neuron

_VGG13 = ((64, 64), (128, 128), (256, 256), (512, 512, 512), (512,))  # channels of each group
_RESNET18 = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
Units = dict[str, tuple[str, ...]]  # block → its LIF layers (docs/method.md, section 3)


def _layers(
    channels: int, width: int, spec: ModelSpec, side: int = 3, stride: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm and LIF."""
    convolution = layer.Conv2d(channels, width, side, stride=stride, padding=side // 2, bias=False)
    lif = neuron.LIFNode(
        tau=spec.tau,
        decay_input=spec.decay_input,
        v_threshold=spec.v_threshold,
        v_reset=spec.v_reset,
        detach_reset=spec.detach_reset,
        surrogate_function=surrogate.Sigmoid(spec.surrogate_alpha),
    )
    return convolution, layer.BatchNorm2d(width), lif


def _scaled(channels: int, spec: ModelSpec) -> int:
    """Number of channels at a width factor, at least one."""
    return max(1, round(channels * spec.width))


class VGG13(nn.Sequential):
    """Ten blocks of 3×3 convolution, batch norm and LIF in five groups, average pooling by 2
    between the groups: 64,64,A,128,128,A,256,256,A,512,512,512,A,512; global average, one linear.
    """

    smallest_side = 2 ** (len(_VGG13) - 1)

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        channels = spec.input_shape[0]
        self.features = nn.Sequential()
        self.units: Units = {}  # each group of convolutions between two poolings
        for group, widths in enumerate(_VGG13, start=1):
            if group > 1:
                self.features.add_module(f"pool{group - 1}", layer.AvgPool2d(2))
            neurons = []
            for index, base in enumerate(widths, start=1):
                name, width = f"{group}_{index}", _scaled(base, spec)
                made = _layers(channels, width, spec)
                for kind, module in zip(("conv", "bn", "lif"), made, strict=True):
                    self.features.add_module(f"{kind}{name}", module)
                neurons.append(f"features.lif{name}")
                channels = width
            self.units[f"group{group}"] = tuple(neurons)
        self.average = layer.AdaptiveAvgPool2d(1)
        self.flatten = layer.Flatten()
        self.linear = layer.Linear(channels, spec.classes)


class BasicBlock(nn.Module):
    """conv–BN–LIF–conv–BN, plus the shortcut, then LIF; the shortcut is 1×1 convolution and BN
    where the shape changes.
    """

    def __init__(self, channels: int, width: int, stride: int, spec: ModelSpec) -> None:
        super().__init__()
        self.conv1, self.bn1, self.lif1 = _layers(channels, width, spec, stride=stride)
        self.conv2, self.bn2, lif2 = _layers(width, width, spec)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            conv, bn, _ = _layers(channels, width, spec, 1, stride)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, bn=bn))
        self.lif2 = lif2

    def forward(self, x: Tensor) -> Tensor:
        """Spikes in, spikes out; the leading axes are the step mode's."""
        out = self.bn2(self.conv2(self.lif1(self.bn1(self.conv1(x)))))
        spikes: Tensor = self.lif2(out + self.shortcut(x))
        return spikes


class ResNet18(nn.Sequential):
    """The CIFAR form: stem, four stages of two basic blocks, global average, one linear; 17 LIF
    layers, the sum before the second one of each block.
    """

    smallest_side = 1

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        channels = _scaled(_RESNET18[0][0], spec)
        self.conv, self.bn, self.lif = _layers(spec.input_shape[0], channels, spec)
        self.units: Units = {"stem": ("lif",)}  # and each residual block
        self.stages = nn.Sequential()
        for number, (base, stride) in enumerate(_RESNET18, start=1):
            width, stage = _scaled(base, spec), nn.Sequential()
            for block in (1, 2):
                made = BasicBlock(channels, width, stride if block == 1 else 1, spec)
                stage.add_module(f"block{block}", made)
                prefix = f"stages.stage{number}.block{block}"
                self.units[f"stage{number}.block{block}"] = (f"{prefix}.lif1", f"{prefix}.lif2")
                channels = width
            self.stages.add_module(f"stage{number}", stage)
        self.average = layer.AdaptiveAvgPool2d(1)
        self.flatten = layer.Flatten()
        self.linear = layer.Linear(channels, spec.classes)


BACKBONES: dict[str, type[VGG13] | type[ResNet18]] = {"vgg13": VGG13, "resnet18": ResNet18}


def build(spec: ModelSpec) -> SpikingNet:
    """The network of `spec` with fresh weights. Raises `ModelError` for an unknown backbone or an
    input it cannot take.
    """
    if spec.is_user_network:
        network = load_user_network(spec.backbone)
        for mode in step_modes(network) - {spec.step_mode}:
            raise ModelError(
                f"{spec.backbone} runs in step mode {mode} and {spec.step_mode} was asked for; "
                "set it in that function (spikingjelly.activation_based.functional.set_step_mode) "
                "or ask for its own"
            )
        return SpikingNet(network, spec)
    if spec.backbone not in BACKBONES:
        raise ModelError(
            f"no backbone {spec.backbone!r}; known are {', '.join(BACKBONES)}, or "
            "package.module:function for a network of your own"
        )
    made, (_, height, width) = BACKBONES[spec.backbone], spec.input_shape
    if min(height, width) < made.smallest_side:
        raise ModelError(
            f"{spec.backbone} cannot take images of {height}x{width}: its poolings need a side of "
            f"at least {made.smallest_side}; use larger images or another backbone"
        )
    network = made(spec)
    functional.set_step_mode(network, spec.step_mode)
    return SpikingNet(network, spec)


def step_modes(network: nn.Module) -> set[str]:
    """Step modes of a network's spiking layers, 's' and 'm'."""
    return {str(module.step_mode) for module in network.modules() if is_neuron(module)}


def load_user_network(reference: str) -> nn.Module:
    """Call `package.module:function` and return its module; the current folder is importable, as
    for `python -m`.

    Raises `ModelError` when the module or function is missing, fails, or returns something that is
    no `torch.nn.Module`.
    """
    module_name, _, function_name = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        network = getattr(importlib.import_module(module_name), function_name)()
    except Exception as error:
        raise ModelError(
            f"{reference} failed with {type(error).__name__}: {error}; expected "
            "package.module:function, importable from here: a function without arguments that "
            "returns the network"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{reference} returned {type(network).__name__}; expected a torch.nn.Module"
        )
    return network


def network_identity(net: SpikingNet) -> str:
    """Hash of a user network's code, '' for the catalogue: a changed network must not find an old
    recording.

    Covers the source files of the function's module and of every class in the network, and the
    network's printed structure.
    """
    if not net.spec.is_user_network:
        return ""
    names = {
        net.spec.backbone.partition(":")[0],
        *(type(module).__module__ for module in net.backbone.modules()),
    }
    sources = []
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        sources += [name, sha256_of_file(file) if file and Path(file).is_file() else ""]
    typed = [code for module in net.backbone.modules() for code in _typed_code(type(module))]
    return sha256_of(*sources, *typed, repr(net.backbone))


def _typed_code(kind: type) -> Iterator[bytes]:
    """The compiled methods of a class that stands in no file, such as a notebook's."""
    if getattr(sys.modules.get(kind.__module__), "__file__", None) is not None:
        return
    for name, method in sorted(vars(kind).items()):
        if isinstance(method, types.FunctionType):
            yield name.encode()
            yield marshal.dumps(method.__code__)
