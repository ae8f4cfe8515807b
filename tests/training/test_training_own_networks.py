"""Training networks of anyone: the controller counts optimisation steps whatever way they run their
time steps, factors stay out of the weights, and rates run where they can.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_nets import NETWORKS, SHAPE, K, T, lively
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError, ModelError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.training.loop import train_to_file
from ahsar_eval.training.request import TrainingRequest, prepare

SOURCE = """
import torch
from foreign_nets import NETWORKS, K, several
from spikingjelly.activation_based import layer, neuron
from torch import nn


class ByChannel(neuron.SimpleBaseNode):
    def __init__(self):
        super().__init__()
        del self.v_threshold
        self.register_buffer("v_threshold", torch.linspace(0.5, 2, 64))

    def neuronal_charge(self, x):
        self.v = 0.5 * self.v + x


def by_channel():
    return several(layer.Flatten(), layer.Linear(64, 64), ByChannel(), nn.Linear(64, K))


def own_neurons():
    return NETWORKS["own neurons, time first"][0]()


def __getattr__(name):
    return NETWORKS[name.replace("_", " ")][0]
"""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that trains a network for one epoch of five steps and reads its file."""
    digits = load_digits()
    images, labels = (digits.images[:300] / 16).astype(np.float32), digits.target[:300]
    np.savez(tmp_path / "d.npz", x=images, y=labels)
    (tmp_path / "own_training_nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(network: str, **asked: Any) -> tuple[Any, Any]:
        request = TrainingRequest(
            data=f"npz:{tmp_path / 'd.npz'}",
            backbone=f"own_training_nets:{network.replace(' ', '_')}",
            **{"timesteps": T, "epochs": 1, "batch_size": 54, "method": "ahsar", **asked},
        )
        out = tmp_path / "net.pt"
        train_to_file(prepare(request), out)
        checkpoint = load_checkpoint(out)
        return checkpoint, network_of(checkpoint, model=request.backbone)

    return run


@pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")
@pytest.mark.parametrize(
    ("network", "step_mode", "structure"),
    [
        ("single-step", "s", ("s", T)),
        ("a loop over one image", "m", ("s", T)),
        ("batch first to the end", "m", ("m", 1)),
        ("an image repeated inside", "m", ("m", 1)),
    ],
)
def test_the_controller_counts_the_steps_of_the_optimizer(trained, network, step_mode, structure):
    checkpoint, _ = trained(network, step_mode=step_mode)
    held = checkpoint.homeostasis
    assert (held.steps, held.step_mode, held.ticks) == (5, *structure)


@pytest.mark.parametrize("method", ["fixed:0.5", "ahsar", "baseline"])
def test_a_factor_on_thresholds_in_buffers_stays_out_of_the_weights(trained, method):
    checkpoint, net = trained("by_channel", method=method)
    theta = torch.linspace(0.5, 2, 64)
    assert torch.equal(checkpoint.weights["2.v_threshold"], theta)
    if method == "ahsar":
        assert checkpoint.homeostasis.base_thresholds == {"2": theta.double().tolist()}
        factor = checkpoint.homeostasis.replayed_scales()["2"]
    else:
        factor = checkpoint.fixed_scale
    assert torch.allclose(net.backbone[2].v_threshold, theta * factor, rtol=1e-6)
    assert read_thresholds(net.backbone) == pytest.approx({"2": 1.25 * factor})


def test_a_factor_that_no_layer_takes_is_refused(trained):
    with pytest.raises(HomeostasisError, match=r"no layer with a v_threshold that the factor 0.5"):
        trained("own_neurons", method="fixed:0.5")


def rate_based(name: str) -> tuple[Tensor, list[Tensor]]:
    """Logits and gradients of one step of rate-based backpropagation."""
    backbone = lively(NETWORKS[name][0]())
    for one in backbone.modules():
        if isinstance(one, nn.Linear):
            nn.init.zeros_(one.bias)
    spec = ModelSpec("own:net", SHAPE, K, timesteps=T, paradigm="rate")
    net = SpikingNet(backbone, spec)
    net.find_calls()
    net.train()
    logits = net(torch.rand(1, 7, *SHAPE, generator=torch.Generator().manual_seed(0)) * 4).mean(0)
    logits.square().sum().backward()  # type: ignore[no-untyped-call]
    return logits.detach(), [one.grad for one in net.parameters() if one.grad is not None]


@pytest.mark.parametrize(
    "name",
    [
        "multi-step, mean over time",
        "batch first outside, time first inside",
        "batch first to the end",
    ],
)
def test_rate_based_gradients_are_those_of_the_network_called_time_first(name):
    (logits, gradients), (same, others) = rate_based("multi-step"), rate_based(name)
    assert torch.allclose(logits, same, rtol=1e-6)
    assert len(gradients) == 4
    for one, other in zip(gradients, others, strict=True):
        assert float(one.abs().max()) > 0
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["an image repeated inside", "a loop over one image"])
def test_rate_based_backpropagation_is_refused_where_time_is_inside(name):
    with pytest.raises(
        ModelError, match=r"makes the time steps of an image itself, .*train it with bptt"
    ):
        rate_based(name)
