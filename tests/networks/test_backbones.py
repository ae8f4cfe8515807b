"""The two backbones and their specification (docs/method.md, section 8)."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks import (
    ModelSpec,
    SpikingNet,
    build,
    emits_binary_spikes,
    is_neuron,
)

LIFS = {"vgg13": 10, "resnet18": 17, "mlp:256,128": 2}


def spec(backbone: str = "vgg13", **changes: object) -> ModelSpec:
    return replace(ModelSpec(backbone, (3, 32, 32), 10, width=1 / 16, timesteps=2), **changes)  # type: ignore[arg-type]


def neurons(net: SpikingNet) -> list[Any]:
    return [module for module in net.backbone.modules() if is_neuron(module)]


def channels(net: SpikingNet) -> list[int]:
    return [
        module.out_channels
        for module in net.backbone.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]


@pytest.mark.parametrize("backbone", LIFS)
def test_number_of_spiking_layers(backbone):
    assert len(neurons(build(spec(backbone)))) == LIFS[backbone]


@pytest.mark.parametrize("backbone", LIFS)
def test_neuron_constants_are_the_paper_s(backbone):
    for lif in neurons(build(ModelSpec(backbone, (3, 32, 32), 10))):
        assert type(lif) is neuron.LIFNode
        assert (lif.tau, lif.v_threshold, lif.v_reset) == (1.25, 1.0, None)
        assert (lif.decay_input, lif.detach_reset, lif.step_mode) == (False, True, "m")
        assert type(lif.surrogate_function).__name__ == "Sigmoid"
        assert lif.surrogate_function.alpha == 4.0


def test_one_neuron_by_hand():
    """λ = 0.2, θ = 1, soft reset: input 0.9 at each of 4 steps gives v = 0.9, 1.08 → spike and
    0.08, 0.916, 1.0832 → spike.
    """
    (lif, *_) = neurons(build(spec()))
    assert lif(torch.full((4, 1), 0.9)).flatten().tolist() == [0, 1, 0, 1]
    assert lif.v.item() == pytest.approx(0.0832, abs=1e-6)


@pytest.mark.parametrize("backbone", LIFS)
def test_surrogate_gradient_is_4_sigma_prime_of_4_u(backbone):
    (lif, *_) = neurons(build(spec(backbone)))
    u = torch.tensor([-0.5, 0.0, 0.3], requires_grad=True)
    lif.surrogate_function(u).sum().backward()
    sigma = torch.sigmoid(4 * u.detach())
    assert u.grad is not None
    assert torch.allclose(u.grad, 4 * sigma * (1 - sigma), atol=1e-6)


def test_vgg13_layers():
    net = build(spec(width=1.0))
    assert channels(net) == [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    kinds = [type(module).__name__ for module in net.backbone.get_submodule("features").children()]
    pooled_after = [
        sum(kind == "LIFNode" for kind in kinds[:place])
        for place, kind in enumerate(kinds)
        if kind == "AvgPool2d"
    ]
    assert pooled_after == [2, 4, 6, 9], (
        "average pools stand after 64,64 | 128,128 | 256,256 | 512,512,512"
    )


def test_resnet18_layers():
    net = build(spec("resnet18", width=1.0))
    assert channels(net) == [64] + [64] * 4 + [128] * 4 + [256] * 4 + [512] * 4
    strides = [
        module.stride[0]
        for module in net.backbone.modules()
        if isinstance(module, nn.Conv2d) and module.stride != (1, 1)
    ]
    assert strides == [2, 2] * 3, (
        "three stages halve the image, in the first block and its shortcut"
    )


@pytest.mark.parametrize("place", ["stage1.block1", "stage2.block1"])
def test_a_block_adds_its_shortcut_before_the_second_neuron(place):
    """The shortcut is the input itself, or 1×1 convolution and batch norm where the
    shape changes."""
    seen: dict[str, torch.Tensor] = {}
    net = build(spec("resnet18")).eval()
    block = net.backbone.get_submodule(f"stages.{place}")
    block.register_forward_pre_hook(lambda module, inputs: seen.update(block=inputs[0]))
    block.get_submodule("lif2").register_forward_pre_hook(
        lambda module, inputs: seen.update(lif2=inputs[0])
    )
    block.get_submodule("bn2").register_forward_hook(
        lambda module, inputs, out: seen.update(bn2=out.clone())
    )
    with torch.no_grad():
        for name in ("conv", "stages.stage1.block1.conv1", "stages.stage1.block2.conv1"):
            net.backbone.get_submodule(name).get_parameter("weight").fill_(0.5)
        net(torch.rand(1, 2, 3, 32, 32))
        shortcut = (
            seen["block"]
            if place == "stage1.block1"
            else block.get_submodule("shortcut")(seen["block"])
        )
    assert shortcut.abs().sum() > 0, "nothing came through the shortcut: the test shows nothing"
    assert torch.equal(seen["lif2"], seen["bn2"] + shortcut)


def test_resnet18_has_the_known_number_of_parameters():
    def block(into: int, out: int, shortcut: bool) -> int:
        return 9 * into * out + 9 * out * out + 4 * out + shortcut * (into * out + 2 * out)

    stages = sum(
        block(into, out, into != out) + block(out, out, False)
        for into, out in ((64, 64), (64, 128), (128, 256), (256, 512))
    )
    by_hand = 9 * 3 * 64 + 2 * 64 + stages + 512 * 10 + 10
    assert by_hand == 11_173_962
    assert (
        sum(parameter.numel() for parameter in build(spec("resnet18", width=1.0)).parameters())
        == by_hand
    )


def test_vgg13_number_of_parameters():
    widths = [3, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    by_hand = sum(9 * a * b + 2 * b for a, b in pairwise(widths)) + 512 * 10 + 10
    assert sum(parameter.numel() for parameter in build(spec(width=1.0)).parameters()) == by_hand


@pytest.mark.parametrize(
    ("width", "expected"), [(0.5, [32, 64]), (1 / 8, [8, 16]), (2.0, [128, 256]), (0.001, [1, 1])]
)
def test_width_scales_channels_and_keeps_one(width, expected):
    found = channels(build(spec("resnet18", width=width)))
    assert [found[0], found[5]] == expected


@pytest.mark.parametrize("backbone", LIFS)
@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 48, 48), (3, 32, 20)])
def test_logits_have_time_samples_and_classes(backbone, step_mode, shape):
    net = build(
        spec(backbone, input_shape=shape, step_mode=step_mode, timesteps=3, classes=7)
    ).eval()
    with torch.no_grad():
        for steps in (1, 3):
            net.reset()
            assert net(torch.rand(steps, 2, *shape)).shape == (3, 2, 7)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_static_image_is_shown_at_every_step_and_frames_one_by_one(step_mode, steps):
    seen: list[torch.Tensor] = []
    net = build(spec(step_mode=step_mode, timesteps=3)).eval()
    net.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.rand(steps, 2, 3, 32, 32)
    with torch.no_grad():
        net(x)
    shown = torch.stack(seen) if step_mode == "s" else seen[0]
    assert torch.equal(shown, x.expand(3, -1, -1, -1, -1))


def test_images_are_normalised_per_channel():
    seen: list[torch.Tensor] = []
    net = build(spec(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))).eval()
    net.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(torch.full((1, 1, 3, 32, 32), 0.6))
    assert torch.allclose(seen[0][0, 0, :, 0, 0], torch.tensor([1.0, 1.6, 2.4]))


def test_vgg13_refuses_sides_its_poolings_cannot_take():
    with pytest.raises(
        ModelError, match=r"vgg13 cannot take images of 16x15: .* side of at least 16"
    ):
        build(spec(input_shape=(1, 16, 15)))
    assert build(spec(input_shape=(1, 16, 16))) is not None
    assert build(spec("resnet18", input_shape=(1, 4, 4))) is not None


def test_an_unknown_backbone_lists_the_known():
    with pytest.raises(
        ModelError,
        match=r"no backbone 'vgg16'; known are vgg13, resnet18, mlp \(mlp:256,128\), or package.module:function",
    ):
        build(spec("vgg16"))


@pytest.mark.parametrize(
    ("backbone", "sizes"), [("vgg13", [2, 2, 2, 3, 1]), ("resnet18", [1] + [2] * 8)]
)
def test_blocks_hold_every_spiking_layer_once(backbone, sizes):
    net = build(spec(backbone))
    units = net.units()
    assert units is not None
    assert [len(layers) for layers in units.values()] == sizes
    names = [name for name, module in net.backbone.named_modules() if is_neuron(module)]
    assert sorted(layer for layers in units.values() for layer in layers) == sorted(names)


@pytest.mark.parametrize("backbone", LIFS)
def test_single_step_networks_regulate_layers_not_blocks(backbone):
    assert build(spec(backbone, step_mode="s")).units() is None


def test_fully_connected_layers_have_the_sizes_of_their_name():
    net = build(spec("mlp:64,32", input_shape=(1, 1, 700), width=0.5)).backbone
    assert [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)] == [
        (700, 32),
        (32, 16),
        (16, 10),
    ]
    assert not spec("mlp:64").is_user_network


@pytest.mark.parametrize(
    "name", ["mlp", "mlp:", "mlp:0", "mlp:64,", "mlp:-1", "mlp:1e3", "mlp:65537"]
)
def test_sizes_of_layers_that_are_none(name):
    with pytest.raises(ModelError, match=r"expected mlp: and the sizes of its layers, each from 1"):
        build(spec(name))


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 3, 32, 16), (3, 1, 3, 32, 32)])
def test_input_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(
        ModelError,
        match=r"the input has shape \(.*expected \[T, N, C, H, W\] = \[1 or 2, N, 3, 32, 32\]",
    ):
        build(spec())(torch.zeros(shape))


def test_which_neurons_emit_spikes():
    assert emits_binary_spikes(neuron.LIFNode())
    assert emits_binary_spikes(neuron.IFNode())
    assert emits_binary_spikes(neuron.ParametricLIFNode())
    # A surrogate of its own: SpikingJelly's default argument is one object shared by every neuron
    # of the process.
    relaxed = neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False))
    assert not emits_binary_spikes(relaxed), "in its smooth mode a neuron emits real numbers"
    assert not is_neuron(nn.ReLU())


# The specification


def test_a_specification_survives_the_round_trip():
    original = spec(
        "resnet18", mean=(0.1, 0.2, 0.3), v_reset=0.0, step_mode="s", width=0.37, paradigm="rate"
    )
    assert ModelSpec.from_dict(original.to_dict()) == original


def test_a_missing_or_unknown_field_is_named():
    values = spec().to_dict()
    with pytest.raises(ModelError, match="unexpected keyword argument 'colour'"):
        ModelSpec.from_dict({**values, "colour": 1})
    del values["tau"]
    with pytest.raises(ModelError, match=r"malformed .KeyError: 'tau'"):
        ModelSpec.from_dict(values)


@pytest.mark.parametrize(
    "change", [{"input_shape": 3}, {"mean": ["a"]}, {"timesteps": "6"}, {"width": None}]
)
def test_a_mistyped_field_is_refused(change):
    with pytest.raises(ModelError, match="malformed"):
        ModelSpec.from_dict({**spec().to_dict(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paradigm": "stdp"}, "paradigm is 'stdp'; expected one of bptt, rate"),
        ({"step_mode": "x"}, "step_mode is 'x'; expected s"),
        (
            {"input_shape": (3, 32)},
            r"input_shape is \(3, 32\); expected channels .*, height and width",
        ),
        ({"input_shape": (3, 0, 32)}, "height and width from 1"),
        ({"input_shape": (4, 32, 32)}, r"input_shape is \(4, 32, 32\); expected channels .1 grey"),
        ({"classes": 1}, "classes is 1; expected at least 2"),
        ({"timesteps": 0}, "timesteps is 0; expected at least 1"),
        ({"width": 0.0}, "width is 0.0; expected a positive number"),
        ({"width": float("nan")}, "width is nan"),
        ({"v_threshold": -1.0}, "v_threshold is -1.0; expected a positive number"),
        ({"tau": 1.0}, "tau is 1.0; expected more than 1"),
        (
            {"mean": (0.1, 0.2)},
            r"mean is \(0.1, 0.2\); expected one finite number, or one per channel",
        ),
        ({"std": (float("inf"),)}, "std is"),
        ({"std": (0.0,)}, "expected one positive finite number"),
    ],
)
def test_values_out_of_range_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        spec(**change)
