"""ResNet-18 in its CIFAR form, the sum before the second LIF of each block (docs/method.md, section
8).
"""

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.networks.neurons import lif
from ahsar_eval.networks.spec import ModelSpec
from ahsar_eval.networks.vgg import scaled

_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
SMALLEST_SIDE = 1


class BasicBlock(nn.Module):
    """conv–BN–LIF–conv–BN, plus the shortcut, then LIF; the shortcut is 1×1 convolution and BN
    where the shape changes.
    """

    def __init__(self, channels: int, width: int, stride: int, spec: ModelSpec) -> None:
        super().__init__()
        mode = spec.step_mode
        self.conv1 = layer.Conv2d(
            channels, width, 3, stride=stride, padding=1, bias=False, step_mode=mode
        )
        self.bn1 = layer.BatchNorm2d(width, step_mode=mode)
        self.lif1 = lif(spec)
        self.conv2 = layer.Conv2d(width, width, 3, padding=1, bias=False, step_mode=mode)
        self.bn2 = layer.BatchNorm2d(width, step_mode=mode)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module(
                "conv", layer.Conv2d(channels, width, 1, stride=stride, bias=False, step_mode=mode)
            )
            self.shortcut.add_module("bn", layer.BatchNorm2d(width, step_mode=mode))
        self.lif2 = lif(spec)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes in, spikes out; the leading axes are the step mode's."""
        out = self.bn2(self.conv2(self.lif1(self.bn1(self.conv1(x)))))
        spikes: Tensor = self.lif2(out + self.shortcut(x))
        return spikes


class ResNet18(nn.Module):
    """Stem, four stages of two basic blocks, global average, one linear; 17 LIF layers."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        mode = spec.step_mode
        width = scaled(_STAGES[0][0], spec.width)
        self.conv = layer.Conv2d(
            spec.input_shape[0], width, 3, padding=1, bias=False, step_mode=mode
        )
        self.bn = layer.BatchNorm2d(width, step_mode=mode)
        self.lif = lif(spec)
        self._units: dict[str, tuple[str, ...]] = {"stem": ("lif",)}
        self.stages = nn.Sequential()
        channels = width
        for number, (base, stride) in enumerate(_STAGES, start=1):
            width = scaled(base, spec.width)
            stage = nn.Sequential()
            for index in (1, 2):
                stage.add_module(
                    f"block{index}", BasicBlock(channels, width, stride if index == 1 else 1, spec)
                )
                prefix = f"stages.stage{number}.block{index}"
                self._units[f"stage{number}.block{index}"] = (f"{prefix}.lif1", f"{prefix}.lif2")
                channels = width
            self.stages.add_module(f"stage{number}", stage)
        self.average = layer.AdaptiveAvgPool2d(1, step_mode=mode)
        self.flatten = layer.Flatten(step_mode=mode)
        self.linear = layer.Linear(channels, spec.classes, step_mode=mode)

    def units(self) -> dict[str, tuple[str, ...]]:
        """Block → its LIF layers: the stem and each residual block (docs/method.md, section 3)."""
        return dict(self._units)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] → logits [T, N, K] in multi-step mode, [N, C, H, W] → [N, K] in
        single-step mode.
        """
        spikes = self.stages(self.lif(self.bn(self.conv(x))))
        logits: Tensor = self.linear(self.flatten(self.average(spikes)))
        return logits
