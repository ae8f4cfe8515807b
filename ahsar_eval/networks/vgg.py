"""VGGNet-13 of the paper: 64,64,A,128,128,A,256,256,A,512,512,512,A,512, global average, one linear
(docs/method.md, section 8).
"""

from collections import OrderedDict

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.networks.neurons import lif
from ahsar_eval.networks.spec import ModelSpec

_GROUPS = ((64, 64), (128, 128), (256, 256), (512, 512, 512), (512,))
SMALLEST_SIDE = 16  # four poolings by 2


class VGG13(nn.Module):
    """Ten blocks of 3×3 convolution, batch norm and LIF in five groups, average pooling by 2
    between the groups.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        mode = spec.step_mode
        channels = spec.input_shape[0]
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        self._units: dict[str, tuple[str, ...]] = {}
        for group, widths in enumerate(_GROUPS, start=1):
            if group > 1:
                modules[f"pool{group - 1}"] = layer.AvgPool2d(2, step_mode=mode)
            for index, base in enumerate(widths, start=1):
                width = scaled(base, spec.width)
                modules[f"conv{group}_{index}"] = layer.Conv2d(
                    channels, width, 3, padding=1, bias=False, step_mode=mode
                )
                modules[f"bn{group}_{index}"] = layer.BatchNorm2d(width, step_mode=mode)
                modules[f"lif{group}_{index}"] = lif(spec)
                channels = width
            self._units[f"group{group}"] = tuple(
                f"features.lif{group}_{index}" for index in range(1, len(widths) + 1)
            )
        self.features = nn.Sequential(modules)
        self.average = layer.AdaptiveAvgPool2d(1, step_mode=mode)
        self.flatten = layer.Flatten(step_mode=mode)
        self.linear = layer.Linear(channels, spec.classes, step_mode=mode)

    def units(self) -> dict[str, tuple[str, ...]]:
        """Block → its LIF layers: each group of convolutions between two poolings (docs/method.md,
        section 3).
        """
        return dict(self._units)

    def forward(self, x: Tensor) -> Tensor:
        """[T, N, C, H, W] → logits [T, N, K] in multi-step mode, [N, C, H, W] → [N, K] in
        single-step mode.
        """
        logits: Tensor = self.linear(self.flatten(self.average(self.features(x))))
        return logits


def scaled(channels: int, width: float) -> int:
    """Number of channels at a width factor, at least one."""
    return max(1, round(channels * width))
