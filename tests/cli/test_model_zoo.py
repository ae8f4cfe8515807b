"""SpikingJelly's own networks through `energy --model`, as a user with a plain state dict would run
them.
"""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ahsar_eval.networks import load_user_network

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")

ZOO = """
    from spikingjelly.activation_based import functional, neuron, surrogate
    from spikingjelly.activation_based.model import sew_resnet, spikformer, spiking_resnet, spiking_vgg

    OPTIONS = {"surrogate_function": surrogate.ATan(), "detach_reset": True, "num_classes": 10}

    def multi_step(net):
        functional.set_step_mode(net, "m")
        return net

    def resnet():
        return multi_step(spiking_resnet.spiking_resnet18(spiking_neuron=neuron.IFNode, **OPTIONS))

    def sew():
        return multi_step(sew_resnet.sew_resnet18(spiking_neuron=neuron.IFNode, cnf="ADD", **OPTIONS))

    def vgg():
        return multi_step(spiking_vgg.spiking_vgg11_bn(spiking_neuron=neuron.LIFNode, **OPTIONS))

    def transformer():
        return spikformer.spikformer_ti(T=2, num_classes=10, img_size_h=32, img_size_w=32)
"""
# Layers with weights, parameters, and kinds of what they receive; of the transformer also products
# between activities.
NETWORKS = {
    "resnet": (21, 11_181_642, {"analog", "spikes", "pooled spikes"}),
    "sew": (21, 11_181_642, {"analog", "spikes", "integer spikes"}),
    "vgg": (11, 128_812_810, {"analog", "spikes"}),
    "transformer": (22, 4_145_962, {"analog", "spikes", "integer spikes"}),
}


# The classifier of vgg holds 100 million of its weights, and takes most of the time of all four.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.every) if name == "vgg" else name for name in NETWORKS],
)
def test_a_network_of_the_model_zoo(name, command):
    Path("own_zoo.py").write_text(textwrap.dedent(ZOO))
    maker = np.random.default_rng(0)
    np.savez(
        "few.npz", images=maker.random((3, 3, 32, 32), dtype=np.float32), labels=np.array([0, 1, 2])
    )
    torch.manual_seed(0)
    net = load_user_network(f"own_zoo:{name}")
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.bias, 0.0, 3.0)  # so that spikes reach every layer
    torch.save(net.state_dict(), "own.pt")
    layers, parameters, kinds = NETWORKS[name]
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    del net
    arguments = [
        "--model",
        f"own_zoo:{name}",
        "--timesteps",
        2,
        "--classes",
        10,
        "--input-shape",
        "3,32,32",
        "--no-cache",
    ]
    done = command(
        "energy", "own.pt", "--data", "npz:few.npz", *arguments, "--explain", "--format", "json"
    )
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    Path("own.pt").unlink()
    (result,) = found["results"]
    assert len(result["layers"]) == layers
    assert {layer["input"] for layer in result["layers"]} >= kinds
    assert result["uncounted"] == []
    active = [neuron["spikes"] > 0 for neuron in result["neurons"]]
    assert all(active) if name in ("resnet", "sew") else active[0], (
        "the others fall silent in their depth, as they come"
    )
    assert result["total_energy_pj"] > result["synaptic_energy_pj"] > 0
    assert len(found["ledger"]) > 0
    matmuls = [operator for operator in result["operators"] if operator["part"] == "products"]
    assert bool(matmuls) == (name == "transformer")
