"""From a specification to a network: the two backbones of the paper (docs/method.md, section 8),
and networks of the user's own.
"""

import importlib
import inspect
import marshal
import math
import os
import sys
from collections import OrderedDict
from pathlib import Path

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.files import sha256_of, sha256_of_file
from ahsar_eval.networks.behaviour import uncompiled
from ahsar_eval.networks.network import ModelSpec, SpikingNet

_VGG13 = ((64, 64), (128, 128), (256, 256), (512, 512, 512), (512,))  # channels of each group
_RESNET18 = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
Units = dict[str, tuple[str, ...]]  # block → its LIF layers (docs/method.md, section 3)


def _layers(
    channels: int, width: int, spec: ModelSpec, side: int = 3, stride: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution, batch norm and LIF."""
    convolution = layer.Conv2d(channels, width, side, stride=stride, padding=side // 2, bias=False)
    return convolution, layer.BatchNorm2d(width), _lif(spec)


def _lif(spec: ModelSpec) -> nn.Module:
    lif: nn.Module = neuron.LIFNode(
        tau=spec.tau,
        decay_input=spec.decay_input,
        v_threshold=spec.v_threshold,
        v_reset=spec.v_reset,
        detach_reset=spec.detach_reset,
        surrogate_function=surrogate.Sigmoid(spec.surrogate_alpha),
    )
    return lif


def _scaled(channels: int, spec: ModelSpec) -> int:
    """Number of channels at a width factor, at least one."""
    return max(1, round(channels * spec.width))


class Backbone(nn.Sequential):
    """A chain of parts by name, then global average and one linear; `units` are what a controller
    regulates. [T, N, C, H, W] → logits [T, N, K] in multi-step mode, [N, C, H, W] → [N, K] in
    single-step mode.
    """

    def __init__(
        self, parts: dict[str, nn.Module], units: Units, channels: int, classes: int
    ) -> None:
        linear = layer.Linear(channels, classes)
        head = {"average": layer.AdaptiveAvgPool2d(1), "flatten": layer.Flatten(), "linear": linear}
        super().__init__(OrderedDict(parts | head))
        self.units = units


def vgg13(spec: ModelSpec) -> Backbone:
    """Ten blocks of 3×3 convolution, batch norm and LIF in five groups, average pooling by 2
    between the groups: 64,64,A,128,128,A,256,256,A,512,512,512,A,512. A unit is a group.
    """
    channels, features, units = spec.input_shape[0], nn.Sequential(), Units()
    for group, widths in enumerate(_VGG13, start=1):
        if group > 1:
            features.add_module(f"pool{group - 1}", layer.AvgPool2d(2))
        names = [f"{group}_{index}" for index in range(1, len(widths) + 1)]
        for name, base in zip(names, widths, strict=True):
            width = _scaled(base, spec)
            made = _layers(channels, width, spec)
            for kind, module in zip(("conv", "bn", "lif"), made, strict=True):
                features.add_module(f"{kind}{name}", module)
            channels = width
        units[f"group{group}"] = tuple(f"features.lif{name}" for name in names)
    return Backbone({"features": features}, units, channels, spec.classes)


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


def resnet18(spec: ModelSpec) -> Backbone:
    """The CIFAR form: stem, four stages of two basic blocks; 17 LIF layers, the sum before the
    second one of each block. A unit is the stem or a block.
    """
    channels = _scaled(_RESNET18[0][0], spec)
    stem = _layers(spec.input_shape[0], channels, spec)
    stages, units = nn.Sequential(), Units(stem=("lif",))
    for number, (base, stride) in enumerate(_RESNET18, start=1):
        width, stage = _scaled(base, spec), nn.Sequential()
        for block in (1, 2):
            made = BasicBlock(channels, width, stride if block == 1 else 1, spec)
            stage.add_module(f"block{block}", made)
            name = f"stage{number}.block{block}"
            units[name] = (f"stages.{name}.lif1", f"stages.{name}.lif2")
            channels = width
        stages.add_module(f"stage{number}", stage)
    parts = dict(zip(("conv", "bn", "lif"), stem, strict=True)) | {"stages": stages}
    return Backbone(parts, units, channels, spec.classes)


_MOST_UNITS = 2**16


def mlp(spec: ModelSpec) -> nn.Sequential:
    """Fully connected layers of LIF neurons, of the sizes that the name holds ('mlp:256,128' has
    two), then one linear. A unit is a layer.
    """
    texts = spec.backbone.partition(":")[2].split(",")
    if not all(text.isdecimal() and 0 < int(text) <= _MOST_UNITS for text in texts):
        raise ModelError(
            f"the backbone is {spec.backbone!r}; expected mlp: and the sizes of its layers, each "
            f"from 1 to {_MOST_UNITS}, such as mlp:256,128"
        )
    parts: dict[str, nn.Module] = {"flatten": layer.Flatten()}
    inputs = math.prod(spec.input_shape)
    for number, text in enumerate(texts, start=1):
        size = _scaled(int(text), spec)
        parts |= {f"linear{number}": layer.Linear(inputs, size), f"lif{number}": _lif(spec)}
        inputs = size
    return nn.Sequential(OrderedDict(parts, linear=layer.Linear(inputs, spec.classes)))


# Name → what builds it, and the smallest side that its poolings leave something of.
BACKBONES = {
    "vgg13": (vgg13, 2 ** (len(_VGG13) - 1)),
    "resnet18": (resnet18, 1),
    "mlp": (mlp, 1),
}


def build(spec: ModelSpec) -> SpikingNet:
    """The network of `spec` with fresh weights. Raises `ModelError` for an unknown backbone or an
    input it cannot take.
    """
    if spec.is_user_network:
        network = load_user_network(spec.backbone)
        return SpikingNet(network, spec)
    name = spec.backbone.partition(":")[0]
    if name not in BACKBONES:
        raise ModelError(
            f"no backbone {spec.backbone!r}; known are {', '.join(BACKBONES)} (mlp:256,128), or "
            "package.module:function for a network of your own"
        )
    (made, smallest), (_, height, width) = BACKBONES[name], spec.input_shape
    if min(height, width) < smallest:
        raise ModelError(
            f"{spec.backbone} cannot take images of {height}x{width}: its poolings need a side of "
            f"at least {smallest}; use larger images or another backbone"
        )
    network = made(spec)
    functional.set_step_mode(network, spec.step_mode)
    return SpikingNet(network, spec)


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
    return uncompiled(network)


def network_identity(net: SpikingNet) -> str:
    """Hash of a user network's code, '' for the catalogue: a changed network must not find an old
    recording.

    Covers the source files of the function's module and of every class in the network, the compiled
    methods of classes that stand in no file, such as a notebook's, and the printed structure.
    """
    if not net.spec.is_user_network:
        return ""
    kinds = dict.fromkeys(map(type, net.backbone.modules()))
    names = {net.spec.backbone.partition(":")[0], *(kind.__module__ for kind in kinds)}
    parts: list[str | bytes] = [repr(net.backbone)]
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        parts += [name, sha256_of_file(file) if file and Path(file).is_file() else ""]
        for kind in kinds:
            if file is None and kind.__module__ == name:
                methods = filter(inspect.isfunction, vars(kind).values())
                parts += [marshal.dumps(method.__code__) for method in methods]
    return sha256_of(*parts)
