"""Which convolutions may lie channels last, what is done to the others, and that gradients are
right on every instruction set.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer
from torch import nn

from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.recording.layout import (
    bf16_where_right,
    can_lie_channels_last,
    channels_last,
    layout_of,
    right_in_bf16,
    safe_to_run,
    safe_to_train,
)

LAST, CONTIGUOUS = torch.channels_last, torch.contiguous_format
STEPS = Path(__file__).with_name("training_steps.py")
CAPABILITIES = [
    "DEFAULT",
    "AVX2",
    "AVX512",
]  # of a processor, as PyTorch names them, from the oldest
ISAS = {
    "SSE41": "DEFAULT",
    "AVX2": "AVX2",
    "AVX512_CORE": "AVX512",
    "DEFAULT": "DEFAULT",
}  # of oneDNN → the processor that has it


@pytest.mark.parametrize(
    ("convolution", "trains"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), False),  # as reported
        (nn.Conv2d(7, 64, 1, stride=2), False),
        (nn.Conv2d(8, 8, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1, stride=(1, 3)), False),
        (nn.Conv2d(32, 32, 1, stride=2, groups=32), False),  # a channel of input to each kernel
        (nn.Conv2d(4, 8, 1), True),
        (nn.Conv2d(4, 8, 3, stride=2), True),
        (nn.Conv2d(4, 8, (1, 3), stride=2), True),
        (layer.Conv2d(2, 8, 1, stride=2, step_mode="m"), False),
    ],
)
def test_a_strided_1x1_kernel_of_few_channels_is_not_trained_channels_last(convolution, trains):
    assert safe_to_train(convolution) == trains
    assert safe_to_run(convolution), "its forward pass is right"


@pytest.mark.parametrize(
    "convolution",
    [nn.Conv2d(64, 64, 13), nn.Conv2d(64, 64, 7, stride=6), nn.Conv2d(64, 64, 3, dilation=4)],
)
def test_what_was_not_surveyed_is_not_known(convolution):
    assert not safe_to_run(convolution)
    assert not safe_to_train(convolution)
    assert not can_lie_channels_last(nn.Sequential(nn.Conv2d(1, 64, 3), convolution))


def test_a_weight_that_is_no_convolution_s_keeps_all_contiguous():
    assert not can_lie_channels_last(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.ConvTranspose2d(64, 1, 3))
    )
    first = nn.Conv2d(1, 64, 3)
    own = nn.Sequential(first)
    own.kernel = nn.Parameter(torch.zeros(8, 4, 1, 1))  # for F.conv2d, perhaps
    assert not can_lie_channels_last(own)
    with channels_last(own, training=True), channels_last(own):
        assert first.weight.is_contiguous()
    assert layout_of(own) == {"memory": "contiguous"}
    assert can_lie_channels_last(nn.Sequential(layer.WSConv2d(16, 64, 3), nn.Linear(3, 3)))


class Orders(nn.Conv2d):
    """Keeps in which order its input and its weight lay in the last call, by strides: those of
    sides of 1 count, too.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen: Any = x.stride(), self.weight.stride()
        return super().forward(x)


@pytest.mark.parametrize("where", [True, False])
@pytest.mark.parametrize(("side", "wide"), [(6, 1), (1, 1), (6, 4)])
def test_a_suspect_takes_contiguous_memory_whatever_comes_and_gets_back_its_own(where, side, wide):
    suspect = Orders(4, 8, 1, stride=2)
    suspect.weight.data = suspect.weight.data.as_strided(
        suspect.weight.shape, (4, 1, 4, 4)
    )  # channels last
    own = tuple(suspect.weight.stride())
    first = nn.Conv2d(4, 4, 3, padding=1)
    net = nn.Sequential(first, suspect)
    values = suspect.weight.detach().clone()
    x = torch.randn(wide, 4, side, side)
    x = x.as_strided(x.shape, torch.empty(x.shape).contiguous(memory_format=LAST).stride())
    with channels_last(net, where, training=True):
        net(x)
        assert suspect.seen == ((4 * side * side, side * side, side, 1), (4, 1, 1, 1))
        assert first.weight.is_contiguous(memory_format=LAST if where else CONTIGUOUS)
    assert suspect.weight.stride() == own
    assert torch.equal(suspect.weight, values)
    assert first.weight.is_contiguous()
    suspect(x)
    assert suspect.seen[0] == x.stride(), "no hook is left"
    assert layout_of(net, where) == (
        {"memory": "channels last", "contiguous": ["1"]} if where else {"memory": "contiguous"}
    )


@pytest.mark.parametrize(
    ("convolution", "sides", "right"),
    [
        (nn.Conv2d(8, 8, 3, stride=2, padding=1), (2, 2), True),
        (
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            (1, 1),
            False,
        ),  # eight of nine taps meet padding alone
        (nn.Conv2d(8, 8, 3, padding=1), (1, 1), True),
        (nn.Conv2d(8, 8, 1, stride=2), (4, 4), False),
        (nn.Conv2d(8, 8, 1), (4, 4), True),
        (nn.Conv2d(8, 8, 2, stride=2), (12, 3), False),
        (nn.Conv2d(8, 8, 3, padding=1), (12, 3), True),
        (nn.Conv2d(8, 8, 3, stride=2, padding=1), (12, 3), False),
        (nn.Conv2d(8, 8, 5, stride=3, padding=2), (2, 2), False),
        (nn.Conv2d(8, 8, 3), (8, 8), True),
        (nn.Conv2d(8, 8, 3, stride=2), (8, 8), False),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=3), (8, 8), False),
        (nn.Conv2d(8, 8, 3, stride=2, padding=1, dilation=2), (8, 8), False),
        (nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), (8, 8), False),
        (nn.Conv2d(8, 8, (3, 1), stride=2, padding=1), (8, 8), False),
        (nn.Conv2d(8, 8, 13, padding=6), (16, 16), False),
    ],
)
def test_products_in_bf16_are_taken_where_they_are_known_to_be_right(convolution, sides, right):
    x = torch.randn(3, 8, *sides)
    with torch.no_grad():
        exact = convolution(x)
        with torch.autocast("cpu", torch.bfloat16), bf16_where_right(convolution):
            found = convolution(x)
    assert right_in_bf16(convolution, *sides) == right
    assert found.dtype == (torch.bfloat16 if right else torch.float32)
    assert torch.allclose(found.float(), exact, atol=0.05) if right else torch.equal(found, exact)
    assert "forward" not in vars(convolution)


def test_no_shipped_checkpoint_has_a_suspect(repository):
    """So none was trained by the kernels that are wrong."""
    files = sorted((repository / "checkpoints").glob("*.pt"))
    for file in files:
        assert layout_of(network_of(load_checkpoint(file)).backbone) == {
            "memory": "channels last"
        }, file.name
    assert len(files) == 12


def errors(isa: str, *widths: float) -> dict[str, float]:
    """What training_steps.py prints in a process whose oneDNN keeps to an instruction set."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(STEPS), *map(str, widths)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, (
        f"by {isa} the training steps ended with {done.returncode}: {done.stderr[-400:]}"
    )
    return dict(json.loads(done.stdout))


def check(isa: str, *widths: float) -> None:
    here = torch.backends.cpu.get_cpu_capability()
    if CAPABILITIES.index(ISAS[isa]) > CAPABILITIES.index(here):
        pytest.skip(f"this processor has {here}, not what {isa} needs")
    found = errors(isa, *widths)
    assert len(found) == 1 + 4 * len(widths)
    assert {name: worst for name, worst in found.items() if worst > 1e-5} == {}


@pytest.mark.parametrize("isa", ISAS)
def test_gradients_of_training_steps_are_those_of_float64(isa):
    check(isa, 1 / 16, 1 / 8, 1 / 4)


@pytest.mark.every
@pytest.mark.parametrize("isa", ISAS)
def test_gradients_of_wide_networks_are_those_of_float64(isa):
    check(isa, 1 / 2, 1)
