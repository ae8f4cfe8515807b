"""Synaptic operations equal two independent counters, as integers: SpikingJelly's SynOpCounter and
NeuroBench's Effective_ACs.

The images are exactly 0 or 1, so every layer with weights receives binary values, on which the two
agree (docs/energy.md).
"""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter
from torch import Tensor, nn

from ahsar_eval.data import ImageSet, Split, split_of
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import Recording, record

T = 3
N = 6
LAYERS = ["first", "second", "third", "last"]


def binary_split(shape: tuple[int, int, int]) -> Split:
    images = (torch.rand(N, *shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    return split_of(
        ImageSet(
            "binary",
            "all",
            np.zeros(N, dtype=np.int64),
            (),
            "binary",
            "binary",
            lambda i: list(images[i]),
            shape,
        ),
        shape,
    )


def network(step_mode: str, side: int = 8, **convolution: object) -> SpikingNet:
    """conv–LIF, conv with the options under test–LIF, linear–LIF, linear; random weights that keep
    spikes flowing.
    """
    options = {"kernel_size": 3, "bias": True, **convolution}
    second = layer.Conv2d(4, 6, step_mode=step_mode, **options)
    with torch.no_grad():
        features = nn.Conv2d(4, 6, **options)(torch.zeros(1, 4, side, side)).numel()  # type: ignore[arg-type]
    torch.manual_seed(1)
    backbone = nn.Sequential(
        OrderedDict(
            first=layer.Conv2d(2, 4, 3, padding=1, step_mode=step_mode),
            lif1=neuron.LIFNode(
                tau=1.25, decay_input=False, v_reset=None, v_threshold=0.4, step_mode=step_mode
            ),
            second=second,
            lif2=neuron.LIFNode(
                tau=1.25, decay_input=False, v_reset=None, v_threshold=0.3, step_mode=step_mode
            ),
            flatten=layer.Flatten(step_mode=step_mode),
            third=layer.Linear(features, 10, step_mode=step_mode),
            lif3=neuron.LIFNode(
                tau=1.25, decay_input=False, v_reset=None, v_threshold=0.1, step_mode=step_mode
            ),
            last=layer.Linear(10, 5, step_mode=step_mode),
        )
    )
    for name in LAYERS:
        nn.init.normal_(backbone.get_parameter(f"{name}.weight"), 0.03, 0.3)
    return SpikingNet(
        backbone, ModelSpec("tests:net", (2, side, side), 5, step_mode=step_mode, timesteps=T)
    )


OPTIONS: dict[str, dict[str, object]] = {
    "plain": {},
    "padding": {"padding": 1},
    "wide padding": {"padding": 3},
    "stride": {"stride": 2, "padding": 1},
    "stride beyond the kernel": {"kernel_size": 1, "stride": 3},
    "groups": {"groups": 2, "padding": 1},
    "dilation": {"dilation": 2, "padding": 2},
    "uneven": {"kernel_size": (3, 1), "stride": (1, 2), "padding": (0, 1)},
    "all": {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 2, "groups": 2},
}


def recorded(net: SpikingNet) -> Recording:
    """Every layer's spikes counted, the binary image's too."""
    recording = record(
        net, binary_split(net.spec.input_shape), batch_size=4, input_kinds={"first": "spikes"}
    )
    assert [found.kind for found in recording.synapses] == ["spikes"] * 4
    assert all(found.operations.sum() > 0 for found in recording.synapses), (
        "a silent layer would show nothing"
    )
    return recording


def spikingjelly_counts(net: SpikingNet) -> dict[str, int]:
    """SynOps per layer over all samples and steps. Under inference_mode this counter would see no
    operation at all.
    """
    counter = SynOpCounter()
    net.eval()
    net.reset()
    with torch.no_grad(), DispatchCounterMode([counter]):
        net(binary_split(net.spec.input_shape).tensors(np.arange(N)))
    totals = {scope: sum(counts.values()) for scope, counts in counter.get_counts().items()}
    found = {
        name: total
        for scope, total in totals.items()
        for name in LAYERS
        if scope.endswith(f"backbone.{name}")
    }
    assert sum(found.values()) == counter.get_total(), (
        "an operation outside the four layers was counted"
    )
    return found


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_operations_equal_spikingjelly_s_counter(options, step_mode):
    net = network(step_mode, **options)
    expected = spikingjelly_counts(net)
    assert {found.name: int(found.operations.sum()) for found in recorded(net).synapses} == expected


class StepByStep(nn.Module):
    """[N, T, C, H, W] → logits, one call of every layer per time step, as NeuroBench expects of a
    plain torch network.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: Tensor) -> Tensor:
        functional.reset_net(self.backbone)
        return torch.stack(
            [self.backbone(batch[:, step]) for step in range(batch.shape[1])], 1
        ).mean(1)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_operations_equal_neurobench_s_effective_acs(options):
    synaptic = pytest.importorskip("neurobench.metrics.workload")
    models = pytest.importorskip("neurobench.models")
    net = network("s", **options)
    recording = recorded(net)
    model = models.TorchModel(StepByStep(net.backbone))
    model.register_hooks()
    images = binary_split(net.spec.input_shape).tensors(np.arange(N))[0]
    batch = images[:, None].expand(-1, T, -1, -1, -1)
    metric = synaptic.SynapticOperations()
    with torch.no_grad():
        predictions = model(batch)
        found = metric(model, predictions, (batch, None))
    model.cleanup_hooks()
    net.reset()
    assert found["Effective_MACs"] == 0
    assert sum(int(synapse.operations.sum()) for synapse in recording.synapses) == metric.AC
    assert found["Dense"] * N == N * T * sum(
        synapse.dense_operations for synapse in recording.synapses
    ), "dense operations, padding excluded"


def test_operations_per_sample_equal_the_counter_one_sample_at_a_time():
    net = network("m", padding=1)
    images, recording = binary_split(net.spec.input_shape).tensors(np.arange(N))[0], recorded(net)
    net.eval()
    for sample in range(N):
        counter = SynOpCounter()
        net.reset()
        with torch.no_grad(), DispatchCounterMode([counter]):
            net(images[None, sample : sample + 1])
        assert counter.get_total() == sum(
            int(found.operations[sample]) for found in recording.synapses
        ), f"sample {sample}"


def test_an_analog_image_keeps_the_spiking_layers_counts():
    """The undeclared first layer is analog, charged once; the layers behind it do not change."""
    net = network("m", padding=1)
    expected = spikingjelly_counts(net)
    recording = record(net, binary_split(net.spec.input_shape))
    assert recording.synapses[0].kind == "analog"
    assert T * int(recording.synapses[0].operations.sum()) == expected["first"]
    assert {found.name: int(found.operations.sum()) for found in recording.synapses[1:]} == {
        name: expected[name] for name in LAYERS[1:]
    }
