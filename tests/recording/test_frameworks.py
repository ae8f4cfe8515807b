"""Networks of snnTorch, Norse and sinabs, as they are and by the NIR files that their exporters
write: what is recorded is what the framework itself computes.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ahsar_eval as ae
from ahsar_eval.errors import ModelError

T, K, N, SIDE = 6, 10, 3, 8
pytestmark = [
    pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
IMAGES = np.random.default_rng(0).random((N, 1, SIDE, SIDE)).astype(np.float32)
Own = Callable[[Any, Tensor], Tensor]  # the framework's own run: network, images → [T, N, K]


def lively(net: Any) -> Any:
    torch.manual_seed(0)
    for parameter in net.parameters():
        if parameter.dim() > 1 and parameter.requires_grad:
            parameter.data = 3 * nn.init.kaiming_uniform_(torch.empty(parameter.shape), a=5**0.5)
    return net.eval()


def layers(*neurons: nn.Module, flat: int = 1) -> list[nn.Module]:
    """Two layers with weights, the neurons behind each."""
    weights = [nn.Linear(SIDE * SIDE, 64), nn.Linear(64, K)]
    pairs = [part for pair in zip(weights, neurons, strict=False) for part in pair]
    return [nn.Flatten(flat), *pairs, *weights[len(neurons) :]]


# snnTorch


def snntorch_net(kind: str = "Leaky", output: bool = False, **more: Any) -> nn.Module:
    snn = pytest.importorskip("snntorch")
    made = getattr(snn, kind)(beta=0.9, init_hidden=True, **more)
    last = snn.Leaky(beta=0.9, init_hidden=True, output=output)
    return nn.Sequential(*layers(made, last))


class SnnTorchTutorial(nn.Module):
    """As snnTorch's tutorials have it: a loop, lists of spikes and potentials."""

    def __init__(self) -> None:
        super().__init__()
        snn = pytest.importorskip("snntorch")
        self.fc1, self.lif1 = nn.Linear(SIDE * SIDE, 64), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(64, K), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, potentials = [], []
        for _ in range(T):
            spk1, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            potentials.append(mem2)
        return torch.stack(spikes), torch.stack(potentials)


def by_step(net: Any, x: Tensor) -> Tensor:
    pytest.importorskip("snntorch.utils").reset(net)
    outs = [net(x) for _ in range(T)]
    return torch.stack([out[0] if isinstance(out, tuple) else out for out in outs])


# Norse


def norse_cells(read_out: bool = True) -> nn.Module:
    norse = pytest.importorskip("norse.torch")
    parts = [norse.LIFCell(), norse.LICell()] if read_out else [norse.LIFCell()]
    return norse.SequentialState(*layers(*parts))


def norse_lifted(recurrent: bool = False) -> nn.Module:
    norse = pytest.importorskip("norse.torch")
    flatten, first, second = (norse.Lift(part) for part in layers())
    if recurrent:
        return norse.SequentialState(flatten, norse.LIFRecurrent(SIDE * SIDE, 64), second)
    return norse.SequentialState(flatten, first, norse.LIF(), second, norse.LI())


class NorseLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = norse_cells()

    def forward(self, x: Tensor) -> Tensor:
        return looped(self.layers, x)


def with_state(net: Any, x: Tensor) -> Tensor:
    return looped(net, x.expand(T, *x.shape))


def looped(layers: Any, x: Tensor) -> Tensor:
    """As Norse's tutorials have it: a loop over time that carries the state."""
    state, outs = None, []
    for step in x:
        out, state = layers(step, state)
        outs.append(out)
    return torch.stack(outs)


# sinabs


def sinabs_net(kind: str, last: bool = True, **more: Any) -> nn.Module:
    sl = pytest.importorskip("sinabs.layers")
    made = getattr(sl, kind)(**more)
    return nn.Sequential(*layers(*([made, sl.IAF()] if last else [made]), flat=2))


def sinabs_convolutions() -> nn.Module:
    sl = pytest.importorskip("sinabs.layers")
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        sl.IAFSqueeze(batch_size=1, min_v_mem=-1.0),
        sl.SumPool2d(2),
        nn.Flatten(),
        nn.Linear(36, K),
        sl.IAFSqueeze(batch_size=1, min_v_mem=-1.0),
    )


def converted() -> nn.Module:
    from_torch = pytest.importorskip("sinabs.from_torch")
    ann = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(36, K),
    )
    made: nn.Module = from_torch.from_model(lively(ann), batch_size=1, add_spiking_output=True)
    return made


def forget(net: Any) -> None:
    for module in net.modules():
        if hasattr(module, "reset_states"):
            module.reset_states()


def samples_first(net: Any, x: Tensor) -> Tensor:
    forget(net)
    out: Tensor = net(x[:, None].repeat(1, T, 1, 1, 1))
    return out.transpose(0, 1)


def one_by_one(net: Any, x: Tensor) -> Tensor:
    outs = []
    for image in x:
        forget(net)
        outs.append(net(image[None].repeat(T, 1, 1, 1)))
    return torch.stack(outs, 1)


# network, how it is found to be called, the framework's own run, and names of its spiking layers
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, Own, list[str]]] = {
    "snnTorch": (snntorch_net, "step/N", by_step, ["2", "4"]),
    "snnTorch, currents": (
        lambda: snntorch_net("Synaptic", alpha=0.8),
        "step/N",
        by_step,
        ["2", "4"],
    ),
    "snnTorch, recurrent": (
        lambda: snntorch_net("RLeaky", linear_features=64),
        "step/N",
        by_step,
        ["2", "4"],
    ),
    "snnTorch, spikes and potentials": (
        lambda: snntorch_net(output=True),
        "step/N:0",
        by_step,
        ["2", "4"],
    ),
    "snnTorch, a loop": (
        SnnTorchTutorial,
        "N/TN:1",
        lambda net, x: net(x)[1],
        ["lif1", "lif2"],
    ),
    "Norse, cells": (norse_cells, "state/N", with_state, ["2"]),
    "Norse, a loop": (NorseLoop, "TN/TN", lambda net, x: net(x.expand(T, *x.shape)), ["layers.2"]),
    "Norse, all steps": (
        norse_lifted,
        "TN/TN:0",
        lambda net, x: net(x.expand(T, *x.shape))[0],
        ["2"],
    ),
    "Norse, recurrent": (
        lambda: norse_lifted(recurrent=True),
        "TN/TN:0",
        lambda net, x: net(x.expand(T, *x.shape))[0],
        ["1"],
    ),
    "sinabs": (lambda: sinabs_net("IAF"), "NT/NT", samples_first, ["2", "4"]),
    "sinabs, leaky": (
        lambda: sinabs_net("LIF", last=False, tau_mem=5.0),
        "NT/NT",
        samples_first,
        ["2"],
    ),
    "sinabs, recurrent": (
        lambda: sinabs_net("LIFRecurrent", tau_mem=5.0, rec_connect=nn.Linear(64, 64)),
        "NT/NT",
        samples_first,
        ["2", "4"],
    ),
    "sinabs, convolutions": (sinabs_convolutions, "flat/flat", one_by_one, ["1", "5"]),
    "sinabs, converted": (
        converted,
        "flat/flat",
        one_by_one,
        ["spiking_model.1", "spiking_model.spike_output"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_recorded_as_its_framework_runs_it(name):
    make, calls, own, spiking = NETWORKS[name]
    net = lively(make())
    asked = calls if ":" in calls and "TN:0" not in calls else None
    found, *others = (
        ae.record(
            ae.wrap(net, timesteps=T, classes=K, calls=asked, batch_size=size, no_cache=True),
            (IMAGES, np.arange(N)),
        )
        for size in (64, 1, 2)
    )
    met: dict[str, list[float]] = defaultdict(list)
    given: dict[str, list[Tensor]] = defaultdict(list)
    for layer, module in net.named_modules():
        if layer in spiking:
            module.register_forward_hook(
                lambda _, taken, out, layer=layer: met[layer].append(
                    float((out[0] if isinstance(out, tuple) else out).double().sum())
                )
            )
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.register_forward_pre_hook(
                lambda _, taken, layer=layer: given[layer].append(taken[0].detach())
            )
    with torch.no_grad():
        logits = own(net, torch.as_tensor(IMAGES)).transpose(0, 1)
    assert found.spec["calls"] == calls
    assert found.logits.tolist() == logits.tolist()
    assert {layer.name: layer.spikes.sum() for layer in found.layers} == {
        layer: sum(met[layer]) for layer in spiking
    }
    assert sum(map(sum, met.values())) > 0
    for synapse in found.synapses:
        if "spikes" in synapse.kind:
            module = net.get_submodule(synapse.name)
            # A spike reaches what the average of four, as which it arrives, reaches.
            cell = 4 if any(isinstance(m, nn.AvgPool2d) for m in net.modules()) else 1
            ones = [cell * reached(module, x) for x in given[synapse.name]]
            assert synapse.operations.sum() == sum(ones), synapse.name
    for other in others:
        assert np.array_equal(found.logits, other.logits)
        for a, b in zip(found.layers, other.layers, strict=True):
            assert np.array_equal(a.spikes, b.spikes)


def reached(module: Any, x: Tensor) -> float:
    """Σ values · outputs that each reaches, by weights of one in float64."""
    with torch.no_grad():
        ones = torch.ones_like(module.weight, dtype=torch.float64)
        if isinstance(module, nn.Linear):
            return float(nn.functional.linear(x.double(), ones).sum())
        return float(nn.functional.conv2d(x.double(), ones, None, module.stride).sum())


def test_several_outputs_that_may_be_the_logits_are_asked_about():
    net = lively(SnnTorchTutorial())
    with pytest.raises(ModelError, match=r"2 outputs .* --calls :0 or :1$"):
        ae.record(ae.wrap(net, timesteps=T, classes=K), (IMAGES, np.arange(N)))
    spikes, potentials = (
        ae.record(
            ae.wrap(net, timesteps=T, classes=K, calls=f":{which}", no_cache=True),
            (IMAGES, np.arange(N)),
        )
        for which in (0, 1)
    )
    assert set(np.unique(spikes.logits)) == {0, 1}
    assert len(np.unique(potentials.logits)) > 100
    assert potentials.spec["calls"] == "N/TN:1"


def test_products_inside_a_neuron_are_said_not_to_be_counted():
    net = lively(norse_lifted(recurrent=True))
    found = ae.record(ae.wrap(net, timesteps=T, classes=K, no_cache=True), (IMAGES, np.arange(N)))
    assert ("1", "no rule counts the products with its own weights") in [
        (one.name, one.reason) for one in found.uncounted
    ]


def test_a_module_that_cannot_be_copied_is_named():
    class Uncopied(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("not me")

        def __reduce__(self) -> Any:
            raise RuntimeError("nor here")

    with pytest.raises(ModelError, match=r"Sequential cannot be copied \(.*not me\)"):
        ae.record(
            ae.wrap(nn.Sequential(nn.Flatten(2), Uncopied(64, K)), timesteps=T, classes=K),
            (IMAGES, np.arange(N)),
        )


# By NIR, as the exporters write it


def vector(value: float, *shape: int) -> Tensor:
    return torch.full(shape, value)


def leaky(size: int, kind: str = "Leaky", **more: Any) -> nn.Module:
    snn = pytest.importorskip("snntorch")
    common = {"beta": vector(0.9, size), "threshold": vector(1.0, size), "init_hidden": True}
    made: nn.Module = getattr(snn, kind)(**common, **more)
    return made


def exported_by_snntorch(kind: str, resets: Any = None, **more: Any) -> tuple[Any, Any]:
    export, resets = pytest.importorskip("snntorch.export_nir"), resets or {}
    neurons = leaky(32, kind, **more, **resets), leaky(K, **resets)
    net = nn.Sequential(nn.Linear(64, 32), neurons[0], nn.Linear(32, K), neurons[1])
    graph = export.export_to_nir(lively(net), torch.rand(1, 64), ignore_dims=[0])
    return graph, lambda x: by_step(net, x.flatten(1))


def exported_by_norse() -> tuple[Any, Any]:
    norse = pytest.importorskip("norse.torch")
    fires = norse.LIFBoxParameters(
        **{name: vector(0.0, 32) for name in ("v_leak", "v_reset")},
        tau_mem_inv=vector(100.0, 32),
        v_th=vector(0.5, 32),
    )
    reads = norse.LIBoxParameters(tau_mem_inv=vector(100.0, K), v_leak=vector(0.0, K))
    net = norse.SequentialState(
        nn.Linear(64, 32), norse.LIFBoxCell(fires), nn.Linear(32, K), norse.LIBoxCell(reads)
    )
    return norse.to_nir(lively(net), torch.rand(1, 64)), lambda x: with_state(net, x.flatten(1))


def exported_by_sinabs(leaks: bool) -> tuple[Any, Any]:
    sl, sinabs_nir = pytest.importorskip("sinabs.layers"), pytest.importorskip("sinabs.nir")
    if not leaks:
        net = lively(sinabs_convolutions())
        graph = sinabs_nir.to_nir(net, torch.rand(1, 1, SIDE, SIDE))
        graph.infer_types()
        return graph, lambda x: one_by_one(net, x)
    one = {"batch_size": 1, "norm_input": True}
    net = lively(
        nn.Sequential(
            nn.Linear(64, 32),
            sl.LIFSqueeze(tau_mem=vector(5.0, 32), spike_threshold=vector(1.0, 32), **one),
            nn.Linear(32, K),
            sl.ExpLeakSqueeze(tau_mem=vector(5.0, K), **one),
        )
    )
    graph = sinabs_nir.to_nir(net, torch.rand(1, 64))
    return graph, lambda x: torch.stack([one_by_one_flat(net, row) for row in x.flatten(1)], 1)


def one_by_one_flat(net: Any, row: Tensor) -> Tensor:
    forget(net)
    out: Tensor = net(row.expand(T, -1))
    return out


LATE = {"dt": 1e-4, "reset": "late"}
SEVERAL = {"reset": "subtract", "spikes_per_step": "many"}
EXPORTED: dict[str, tuple[Callable[[], tuple[Any, Any]], dict[str, Any], int]] = {
    "snnTorch": (lambda: exported_by_snntorch("Leaky"), LATE, 2),
    "snnTorch, at once": (
        lambda: exported_by_snntorch("Leaky", {"reset_mechanism": "zero", "reset_delay": False}),
        {"dt": 1e-4, "reset": None},
        2,
    ),
    "snnTorch, currents": (
        lambda: exported_by_snntorch("Synaptic", alpha=vector(0.8, 32)),
        LATE,
        2,
    ),
    "snnTorch, recurrent": (lambda: exported_by_snntorch("RLeaky", linear_features=32), LATE, 2),
    "snnTorch, recurrent with currents": (
        lambda: exported_by_snntorch("RSynaptic", alpha=vector(0.8, 32), linear_features=32),
        LATE,
        2,
    ),
    # Its exporter writes dt · τ for time constants.
    "Norse": (exported_by_norse, {"dt": 1e-6}, 1),
    "sinabs": (lambda: exported_by_sinabs(False), {**SEVERAL, "v_min": -1.0}, 2),
    "sinabs, leaky": (
        lambda: exported_by_sinabs(True),
        {**SEVERAL, "integration": "exact"},
        1,
    ),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_network_computes_what_its_framework_does(name, tmp_path):
    nir = pytest.importorskip("nir")
    make, settings, spiking = EXPORTED[name]
    graph, own = make()
    nir.write(tmp_path / "net.nir", graph)
    shape = f"1,{SIDE},{SIDE}"
    net = ae.load(tmp_path / "net.nir", timesteps=T, input_shape=shape, no_cache=True, **settings)
    found = ae.record(net, (IMAGES, np.arange(N)))
    with torch.no_grad():
        logits = own(torch.as_tensor(IMAGES)).transpose(0, 1).numpy()
    assert np.abs(logits).max() > 0.1
    assert np.abs(found.logits - logits).max() <= 1e-6 * np.abs(logits).max()
    assert len(found.layers) == spiking
    assert not found.uncounted
