"""State dicts of the public rate-based-backpropagation layout, against that layout built from plain
SpikingJelly modules.
"""

import tomllib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from ahsar_eval.errors import CheckpointError
from ahsar_eval.networks import ModelSpec, build, checkpoints
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of

RATE_BP_KEYS: dict[str, dict[str, str]] = tomllib.loads(
    (Path(checkpoints.__file__).parent / "rate_bp_keys.toml").read_text(encoding="utf-8")
)
T, SIDE, NARROW = (
    3,
    16,
    16,
)  # a sixteenth of the public width, at which nothing but the number of channels changes


def lif() -> nn.Module:
    return neuron.LIFNode(tau=1.25, decay_input=False, v_threshold=1.0, v_reset=None, step_mode="m")


def conv(before: int, after: int, size: int = 3, stride: int = 1, bias: bool = False) -> nn.Module:
    return layer.Conv2d(
        before, after, size, stride=stride, padding=size // 2, bias=bias, step_mode="m"
    )


class PublicVGG13(nn.Module):
    """`feature`: 64 64 A 128 128 A 256 256 A 512 512 512 A 512 AA as convolution with bias, batch
    norm, LIF; `classifier`: one linear.
    """

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        channels, modules = 3, []
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 512, 0, 512):
            if width == 0:
                modules.append(layer.AvgPool2d(2, 2, step_mode="m"))
                continue
            modules += [
                conv(channels, width // NARROW, bias=bias),
                layer.BatchNorm2d(width // NARROW, step_mode="m"),
                lif(),
            ]
            channels = width // NARROW
        self.feature = nn.Sequential(*modules, layer.AdaptiveAvgPool2d((1, 1), step_mode="m"))
        self.classifier = nn.Sequential(nn.Linear(channels, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.feature(x).flatten(2))
        return logits


class PublicBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.spike1 = (
            conv(before, after, stride=stride),
            layer.BatchNorm2d(after, step_mode="m"),
            lif(),
        )
        self.conv2, self.bn2, self.spike2 = (
            conv(after, after),
            layer.BatchNorm2d(after, step_mode="m"),
            lif(),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                conv(before, after, 1, stride), layer.BatchNorm2d(after, step_mode="m")
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.spike2(
            self.bn2(self.conv2(self.spike1(self.bn1(self.conv1(x))))) + self.shortcut(x)
        )
        return out


class PublicResNet18(nn.Module):
    """`conv0`, `layer1` to `layer4` of two blocks each, `classifier`."""

    def __init__(self) -> None:
        super().__init__()
        width = 64 // NARROW
        self.conv0 = nn.Sequential(conv(3, width), layer.BatchNorm2d(width, step_mode="m"), lif())
        for stage, stride in enumerate((1, 2, 2, 2), start=1):
            after = 64 // NARROW * 2 ** (stage - 1)
            self.add_module(
                f"layer{stage}",
                nn.Sequential(PublicBlock(width, after, stride), PublicBlock(after, after, 1)),
            )
            width = after
        self.avg_pool = layer.AdaptiveAvgPool2d((1, 1), step_mode="m")
        self.classifier = nn.Sequential(nn.Linear(width, 10))

    def forward(self, x: Tensor) -> Tensor:
        for name in ("conv0", "layer1", "layer2", "layer3", "layer4", "avg_pool"):
            x = self.get_submodule(name)(x)
        logits: Tensor = self.classifier(x.flatten(2))
        return logits


IMAGES = torch.rand(
    4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64
)


def lively(net: nn.Module) -> nn.Module:
    """Weights drawn, and statistics of the images, so that spikes flow through every layer and
    depend on the image.
    """
    maker = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.dim() > 1:
                tensor.copy_(torch.randn(tensor.shape, generator=maker) / tensor[0].numel() ** 0.5)
            elif name.endswith(("bias", "weight")):
                tensor.copy_(
                    0.3 * torch.randn(tensor.shape, generator=maker)
                    + (0.3 if name.endswith("bias") else 1.0)
                )
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(IMAGES.float().expand(T, -1, -1, -1, -1))
    functional.reset_net(net)
    return net.eval()


def spec_of(backbone: str) -> ModelSpec:
    return ModelSpec(backbone, (3, SIDE, SIDE), 10, timesteps=T)


def saved(tmp_path: Path, content: Any) -> Path:
    torch.save(content, tmp_path / "public.pth")
    return tmp_path / "public.pth"


def loaded(path: Path, backbone: str) -> Any:
    return load_checkpoint(path, external_spec=lambda: spec_of(backbone), layout="rate-bp")


def both(
    net: nn.Module, path: Path, backbone: str, precision: torch.dtype
) -> tuple[Tensor, Tensor]:
    images = IMAGES[None].to(precision)
    functional.reset_net(net)
    with torch.no_grad():
        theirs = net.to(precision)(images.expand(T, -1, -1, -1, -1))
        ours = network_of(loaded(path, backbone)).to(precision)(images)
    return ours, theirs


@pytest.mark.parametrize(
    ("backbone", "make"), [("vgg13", lambda: PublicVGG13(bias=False)), ("resnet18", PublicResNet18)]
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_logits_equal_the_public_network_s_bit_for_bit(tmp_path, backbone, make, wrapped):
    net = lively(make())
    state = net.state_dict()
    # Their training script saves the best epoch beside its accuracy and the optimizer.
    path = saved(
        tmp_path,
        {"best_acc": 93.1, "best_epoch": 3, "best_net": state, "optimizer": {}}
        if wrapped
        else state,
    )
    ours, theirs = both(net, path, backbone, torch.float32)
    assert torch.equal(ours, theirs)
    assert ours.std(dim=1).max() > 0.01, "logits that do not depend on the image would show nothing"
    assert loaded(path, backbone).spec.width == 1 / NARROW


def test_the_biases_of_the_vgg_move_into_its_batch_norms(tmp_path):
    net = lively(PublicVGG13())
    state = net.state_dict()
    assert min(float(state[f"feature.{place}.bias"].abs().max()) for place in (0, 3, 31)) > 0.3
    ours, theirs = both(net, saved(tmp_path, state), "vgg13", torch.float64)
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6), (
        "float32 rounding of the moved statistics, and no spike that differs"
    )
    # Without the biases the network is another one.
    bare = {
        name: torch.zeros_like(t)
        if name.startswith("feature") and name.endswith("bias") and t.dim() == 1
        else t
        for name, t in state.items()
    }
    for place in (1, 4, 32):
        bare[f"feature.{place}.bias"] = state[f"feature.{place}.bias"]
    other = both(net, saved(tmp_path, bare), "vgg13", torch.float64)[0]
    assert not torch.allclose(other, theirs, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("backbone", list(RATE_BP_KEYS))
def test_the_map_covers_every_tensor_of_ours_once(backbone):
    net = build(spec_of(backbone)).backbone
    modules = [name.rpartition(".")[0] for name in net.state_dict()]
    assert sorted(RATE_BP_KEYS[backbone].values()) == sorted(OrderedDict.fromkeys(modules))


def test_a_public_width_is_ours(tmp_path):
    net = build(ModelSpec("vgg13", (3, SIDE, SIDE), 10))
    assert tuple(net.backbone.state_dict()["features.conv5_1.weight"].shape) == (512, 512, 3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("feature.14.weight"),
            r"it lacks 1 of the network's \(features\.conv3_1\.weight, nearest to it features\.conv",
        ),
        (
            lambda s: s.pop("feature.32.running_var"),
            r"it lacks 1 of the network's \(features\.bn5_1\.running_var",
        ),
        (
            lambda s: s.update({"feature.35.weight": torch.zeros(2)}),
            r"it has feature\.35\.weight, which a vgg13 of the layout rate-bp lacks",
        ),
        (
            lambda s: s.update({"feature.0.bias": torch.zeros(3)}),
            r"it has a bias features\.conv1_1\.bias of shape \(3,\), which the batch norm behind it",
        ),
        (
            lambda s: s.update({"feature.0.bias": torch.full((4,), torch.nan)}),
            r"not finite \(NaN or Inf\) in 'features\.bn1_1\.running_mean'",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    state = lively(PublicVGG13()).state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=message) as caught:
        network_of(loaded(saved(tmp_path, state), "vgg13"))
    assert "\n" not in str(caught.value)


def test_misshapen_tensors_and_other_networks_are_refused(tmp_path):
    state = lively(PublicVGG13()).state_dict()
    state["feature.3.weight"] = torch.zeros(4, 4, 5, 5)
    with pytest.raises(
        CheckpointError,
        match=r"features\.conv1_2\.weight has the shape \(4, 4, 5, 5\) in it and \(4, 4, 3, 3\) in the",
    ):
        network_of(loaded(saved(tmp_path, state), "vgg13"))
    with pytest.raises(
        CheckpointError,
        match=r"it has feature\.0\.weight, which a resnet18 of the layout rate-bp lacks",
    ):
        loaded(saved(tmp_path, state), "resnet18")
    with pytest.raises(
        CheckpointError,
        match=r"the layout rate-bp is known for vgg13, resnet18, and the backbone is 'own:net'",
    ):
        loaded(saved(tmp_path, state), "own:net")


def test_the_width_does_not_depend_on_the_order_of_the_file(tmp_path):
    state = dict(reversed(lively(PublicVGG13()).state_dict().items()))
    assert loaded(saved(tmp_path, state), "vgg13").spec.width == 4 / 64
