"""Mixed precision: matrix products in 16 bits, membrane potentials, thresholds, weights and
checkpoints in 32.
"""

from typing import Any

import numpy as np
import pytest
import torch

from ahsar_eval.data import open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis import named_neurons
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.training.loop import autocast, train
from ahsar_eval.training.request import Recipe, TrainingRequest, parse_method

SHAPE = (1, 16, 16)


def spec(paradigm: str = "bptt", step_mode: str = "m") -> ModelSpec:
    return ModelSpec(
        "vgg13",
        SHAPE,
        10,
        width=1 / 8,
        paradigm=paradigm,
        step_mode=step_mode,
        timesteps=4,
        mean=(0.3,),
        std=(0.35,),
    )


def digits(count: int, role: str) -> Any:
    return split_of(subset(open_set("digits", role), np.arange(count), role), SHAPE)


def spikes_of(
    precision: str, x: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[str, set[torch.dtype]]]:
    torch.manual_seed(0)
    net = build(spec())
    spikes: dict[str, torch.Tensor] = {}
    types: dict[str, set[torch.dtype]] = {"membrane": set(), "spikes": set(), "current": set()}

    def keep(name: str, module: Any, inputs: Any, output: torch.Tensor) -> None:
        spikes[name] = output.detach()
        for what, tensor in (("membrane", module.v), ("spikes", output), ("current", inputs[0])):
            types[what].add(tensor.dtype)

    for name, neuron in named_neurons(net).items():
        neuron.register_forward_hook(
            lambda module, inputs, output, name=name: keep(name, module, inputs, output)
        )
    hooks = [len(neuron._forward_pre_hooks) for neuron in named_neurons(net).values()]
    with autocast(net, precision, "cpu"):
        logits = net(x)
    assert logits.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert [len(neuron._forward_pre_hooks) for neuron in named_neurons(net).values()] == hooks, (
        "nothing is left on the network"
    )
    return spikes, types


def test_membranes_and_spikes_are_of_full_precision_and_close():
    x = digits(64, "train").tensors(np.arange(64))
    exact, _ = spikes_of("fp32", x)
    mixed, types = spikes_of("bf16", x)
    assert types == {name: {torch.float32} for name in ("membrane", "spikes", "current")}
    differing = [float((mixed[name] != exact[name]).float().mean()) for name in exact]
    assert 0.0 < differing[0] < 0.005, (
        "bf16 was used, and few currents of the first layer lie so close to the threshold that it "
        "shows"
    )
    # Spiking layers amplify any difference (noise of 1e-3 on the input does as much): deeper, the
    # rates must agree, not every spike.
    rates = [[float(layer.mean()) for layer in spikes.values()] for spikes in (exact, mixed)]
    assert rates[1] == pytest.approx(rates[0], rel=0.04)


@pytest.mark.parametrize(
    ("paradigm", "step_mode"), [("bptt", "m"), ("bptt", "s"), ("rate", "m"), ("rate", "s")]
)
def test_every_parameter_gets_a_gradient_of_full_precision(paradigm, step_mode):
    x, y = (
        digits(64, "train").tensors(np.arange(64)),
        torch.from_numpy(open_set("digits", "train").labels[:64]),
    )
    found: list[dict[str, torch.Tensor]] = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        net = build(spec(paradigm, step_mode)).train()
        with autocast(net, precision, "cpu"):
            assert precision == "fp32" or not torch.is_autocast_cache_enabled(), (
                "older versions of torch lose gradients by it"
            )
            logits = net(x)
        torch.nn.functional.cross_entropy(logits.float().mean(0), y).backward()
        found.append(
            {
                name: parameter.grad
                for name, parameter in net.named_parameters()
                if parameter.grad is not None
            }
        )
        assert len(found[-1]) == len(list(net.parameters()))
        assert {gradient.dtype for gradient in found[-1].values()} == {torch.float32}
    exact, mixed = found
    assert (
        torch.nn.functional.cosine_similarity(
            mixed["backbone.linear.bias"], exact["backbone.linear.bias"], dim=0
        )
        > 0.99
    )
    assert all(bool(gradient.any()) for gradient in mixed.values())
    # the first layers' gradients change by as much with any noise
    deep = "backbone.features.conv5_1.weight"
    assert float(mixed[deep].norm()) == pytest.approx(float(exact[deep].norm()), rel=0.1)


@pytest.mark.parametrize("paradigm", ["bptt", "rate"])
def test_training_in_bf16_learns_and_leaves_full_precision(paradigm):
    plan = Recipe(
        parse_method("ahsar"), epochs=5, batch_size=25, learning_rate=5e-3, precision="bf16"
    )
    checkpoint, history = train(
        spec(paradigm), digits(100, "train"), digits(40, "validation"), plan
    )
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert {tensor.dtype for tensor in checkpoint.weights.values()} == {torch.float32, torch.int64}
    assert checkpoint.provenance["precision"] == "bf16"


def test_full_precision_runs_as_without():
    x = digits(8, "train").tensors(np.arange(8))
    torch.manual_seed(0)
    net = build(spec())
    plain = net(x)
    net.reset()
    with autocast(net, "fp32", "cpu"):
        assert torch.equal(net(x), plain)


def test_fp16_on_a_processor_is_refused():
    with pytest.raises(
        UsageError, match="precision is 'fp16'; expected bf16 or fp32 without a GPU"
    ):
        TrainingRequest(precision="fp16")
    assert TrainingRequest(precision="fp16", device="cuda").precision == "fp16"
