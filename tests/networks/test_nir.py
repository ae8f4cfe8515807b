"""NIR files as networks: equations by hand, a third party's network against a simulation of its
own, and files that are refused.
"""

import dataclasses
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from spikingjelly.activation_based import functional
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data import ImageSet, Split
from ahsar_eval.errors import CheckpointError, RecordingError
from ahsar_eval.homeostasis import read_thresholds, write_thresholds
from ahsar_eval.networks import (
    ModelSpec,
    NirSettings,
    SpikingNet,
    emits_binary_spikes,
    emits_whole_spikes,
    is_neuron,
    network_identity,
)
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, network_of, save_checkpoint
from ahsar_eval.networks.neurons import IntegrateAndFire, Integration
from ahsar_eval.networks.nir_network import SumPool2d
from ahsar_eval.recording import Recording, RecordingStore, record
from ahsar_eval.recording.runner import Runner

h5py = pytest.importorskip("h5py")
nir = pytest.importorskip("nir")

THREE_STEPS = NirSettings(timesteps=3, framing="count")


def full(shape: tuple[int, ...], value: float) -> NDArray[np.float32]:
    return np.full(shape, value, dtype=np.float32)


def drawn(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def spiking(shape: tuple[int, ...], threshold: float = 1.0, r: float = 1.0) -> Any:
    return nir.IF(r=full(shape, r), v_threshold=full(shape, threshold))


def conv(weight: NDArray[np.float32], **options: Any) -> Any:
    given = {
        "stride": 1,
        "padding": 1,
        "dilation": 1,
        "groups": 1,
        "bias": np.zeros(len(weight), dtype=np.float32),
        **options,
    }
    return nir.Conv2d(input_shape=given.pop("input_shape", (4, 4)), weight=weight, **given)


def altered(node: Any, **fields: Any) -> Any:
    """A node with values that nir itself would not take."""
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def chain(
    *nodes: Any, shape: tuple[int, ...] = (1, 4, 4), classes: int = 2
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Nodes 0, 1, … between an Input and an Output."""
    named = {
        "input": nir.Input(np.array(shape)),
        **{str(n): node for n, node in enumerate(nodes)},
        "output": nir.Output(np.array([classes])),
    }
    names = list(named)
    return named, list(itertools.pairwise(names))


def written(
    path: Path, nodes: dict[str, Any], edges: list[tuple[str, str]], *, resets: bool = False
) -> Path:
    """A NIR file; without `resets` as writers before v_reset made them."""
    nir.write(path, nir.NIRGraph(nodes=nodes, edges=edges, type_check=False))
    if not resets:
        with h5py.File(path, "r+") as file:
            found: list[str] = []
            file.visit(lambda name: found.append(name) if name.endswith("/v_reset") else None)
            for name in found:
                del file[name]
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SpikingNet]:
    """The network of a chain of nodes with the given input shape and settings."""

    def build(
        *nodes: Any,
        resets: bool = False,
        shape: tuple[int, ...] = (1, 4, 4),
        classes: int = 2,
        **changes: Any,
    ) -> SpikingNet:
        settings = dataclasses.replace(THREE_STEPS, **changes)
        return network_of(
            load_checkpoint(
                written(
                    tmp_path / "n.nir", *chain(*nodes, shape=shape, classes=classes), resets=resets
                ),
                nir=settings,
            )
        )

    return build


def in_mode(checkpoint: Checkpoint, step_mode: str) -> SpikingNet:
    net = network_of(checkpoint)
    functional.set_step_mode(net.backbone, step_mode)
    return SpikingNet(net.backbone, dataclasses.replace(net.spec, step_mode=step_mode))


def ran(net: SpikingNet, x: Tensor) -> Tensor:
    net.reset()
    with torch.no_grad():
        return net(x)


def split_from(x: Tensor, labels: NDArray[np.int64] | None = None) -> Split:
    """A split of given frames [T, N, C, H, W]."""
    shape = (x.shape[2], x.shape[3], x.shape[4])
    labels = np.zeros(x.shape[1], dtype=np.int64) if labels is None else labels
    source = ImageSet("given", "all", labels, (), "given", "given", lambda indices: [], shape)
    return Split(source, shape, lambda indices: x[:, torch.from_numpy(indices)], "none")


EYE = nir.Linear(np.eye(16, dtype=np.float32))
FLATTEN = nir.Flatten({"input": np.array([1, 4, 4])}, 0, -1)


# By hand


FLAT = (nir.Flatten({"input": np.array([1, 1, 2])}, 0, -1), nir.Linear(np.eye(2, dtype=np.float32)))
INPUT = torch.tensor([[0.75, 2.5]]).view(1, 1, 1, 1, 2)  # shown at every step


@pytest.mark.parametrize(
    ("neuron", "settings", "expected"),
    [
        # 0.75 charges to .75, 1.5 (fires, .5 left), 1.25 (fires); 2.5 fires at every step with 1.5,
        # 3, 4.5 left.
        (nir.IF(r=full((2,), 1), v_threshold=full((2,), 1)), {}, [[0, 1], [1, 1], [1, 1]]),
        # To zero after a spike: .75, 1.5 (fires), .75; 2.5 each time.
        (
            nir.IF(r=full((2,), 1), v_threshold=full((2,), 1)),
            {"reset": "zero"},
            [[0, 1], [1, 1], [0, 1]],
        ),
        # Several: .75, 1.5 → 1, 1.25 → 1; 2.5 → 2, 3.0 → 3, 2.5 → 2.
        (
            nir.IF(r=full((2,), 1), v_threshold=full((2,), 1)),
            {"spikes_per_step": "many"},
            [[0, 2], [1, 3], [1, 2]],
        ),
        # r · dt = 2 · 0.5.
        (nir.IF(r=full((2,), 2), v_threshold=full((2,), 1)), {"dt": 0.5}, [[0, 1], [1, 1], [1, 1]]),
        # Thresholds 0.5 and 3: .75 leaves .25, then 1.0 leaves .5, 1.25; 2.5, then 5.0 leaves 2,
        # 4.5.
        (
            nir.IF(r=full((2,), 1), v_threshold=np.array([0.5, 3], dtype=np.float32)),
            {},
            [[1, 0], [1, 1], [1, 1]],
        ),
        # v ← v + ½(0.5 − v) + ½ · 2 · x: 1.0 (fires at 1, → 0), 1.0; 2.75 → 1.75, 0.875 + 2.75 …
        (
            nir.LIF(
                tau=full((2,), 2),
                r=full((2,), 2),
                v_leak=full((2,), 0.5),
                v_threshold=full((2,), 1),
            ),
            {},
            [[1, 1], [1, 1], [1, 1]],
        ),
    ],
)
def test_equations_by_hand(make, neuron, settings, expected):
    assert ran(make(*FLAT, neuron, shape=(1, 1, 2), **settings), INPUT)[:, 0].tolist() == expected


def test_potentials_by_hand(make):
    # LI: v ← v + ½(0.5 − v) + ½ · 2 · x, which never fires.
    leaky = nir.LI(tau=full((2,), 2), r=full((2,), 2), v_leak=full((2,), 0.5))
    assert ran(make(*FLAT, leaky, shape=(1, 1, 2)), INPUT)[:, 0].tolist() == [
        [1.0, 2.75],
        [1.5, 4.125],
        [1.75, 4.8125],
    ]
    # A step as long as the time constant forgets everything: v ← 0.5 + 2 · x.
    forgetful = nir.LI(tau=full((2,), 1), r=full((2,), 2), v_leak=full((2,), 0.5))
    assert ran(make(*FLAT, forgetful, shape=(1, 1, 2)), INPUT)[:, 0].tolist() == [[2.0, 5.5]] * 3
    plain = nir.I(r=full((2,), 2))
    assert ran(make(*FLAT, plain, shape=(1, 1, 2)), INPUT)[:, 0].tolist() == [
        [1.5, 5.0],
        [3.0, 10.0],
        [4.5, 15.0],
    ]


def test_a_leaking_neuron_that_fires_now_and_then(make):
    # v ← v + ¼(0 − v) + ¼ · 4 · x with x = 0.5: 0.5, 0.875, 1.15625 (fires), .6171875 …, and to
    # 0.25 after a spike where the file says so.
    wiring = (
        nir.Flatten({"input": np.array([1, 1, 2])}, 0, -1),
        nir.Linear(np.array([[0.5, 0], [0, 0.5]], dtype=np.float32)),
    )
    constants = {
        "tau": full((2,), 4),
        "r": full((2,), 4),
        "v_leak": full((2,), 0),
        "v_threshold": full((2,), 1),
    }
    ones, six = torch.ones(1, 1, 1, 1, 2), {"shape": (1, 1, 2), "timesteps": 6}
    assert ran(make(*wiring, nir.LIF(**constants), **six), ones)[:, 0, 0].tolist() == [
        0,
        0,
        1,
        0,
        0,
        1,
    ]
    # 0.25: 0.6875, 1.015625 fires every second step from there.
    resetting = nir.LIF(**constants, v_reset=np.array([0.25, 0], dtype=np.float32))
    out = ran(make(*wiring, resetting, resets=True, **six), ones)[:, 0]
    assert out[:, 0].tolist() == [0, 0, 1, 0, 1, 0]
    assert out[:, 1].tolist() == [0, 0, 1, 0, 0, 1]


CUBA = {"tau_syn": full((2,), 2), "tau_mem": full((2,), 4), "r": full((2,), 4)}
LEAK = {"v_leak": full((2,), 0)}
LIF = {"tau": full((2,), 2), "r": full((2,), 2), "v_threshold": full((2,), 1)}


@pytest.mark.parametrize(
    ("neuron", "settings", "expected"),
    [
        # i ← i − ½i + ½ · 2 · x: .75, 1.125, 1.3125; v ← v − ¼v + i: .75, 1.6875, 2.578125.
        (
            nir.CubaLI(**CUBA, **LEAK, w_in=np.float32(2)),
            {},
            [[0.75, 2.5], [1.6875, 5.625], [2.578125, 8.59375]],
        ),
        # i ← ½i + ½x: .375, .5625, .65625; v: .375, .84375, 1.2890625 fires; 1.25, then
        # .1875 + 1.875 and .796875 + 2.1875 with the threshold off each time.
        (
            nir.CubaLIF(**CUBA, **LEAK, v_threshold=full((2,), 1)),
            {},
            [[0, 1], [0, 1], [1, 1]],
        ),
        # v ← ½v + x, the threshold off a step later: .75, 1.125 fires, .5625 + .75 − 1; 2.5 fires,
        # 1.25 + 2.5 − 1 fires, 1.375 + 2.5 − 1 fires.
        (nir.LIF(**LIF, **LEAK), {"reset": "late"}, [[0, 1], [1, 1], [0, 1]]),
        # At once: .75, 1.125 fires, .0625 + .75.
        (nir.LIF(**LIF, **LEAK), {"reset": "subtract"}, [[0, 1], [1, 1], [0, 1]]),
        # Two steps of log 2 in a time constant of 2 leave a half each.
        (
            nir.LI(tau=full((2,), 2), r=full((2,), 2), **LEAK),
            {"dt": 2 * np.log(2), "integration": "exact"},
            [[0.75, 2.5], [1.125, 3.75], [1.3125, 4.375]],
        ),
    ],
)
def test_further_equations_by_hand(make, neuron, settings, expected):
    out = ran(make(*FLAT, neuron, shape=(1, 1, 2), **settings), INPUT)[:, 0]
    assert out.numpy() == pytest.approx(np.array(expected), rel=1e-6)


def test_a_read_out_with_a_synapse_is_recorded(make):
    read_out = nir.CubaLI(**CUBA, **LEAK, w_in=np.float32(2))
    net = make(*FLAT, nir.LIF(**LIF, **LEAK), nir.Linear(np.eye(2)), read_out, shape=(1, 1, 2))
    found = record(net, split_from(INPUT))
    assert np.array_equal(found.logits[0], ran(net, INPUT)[:, 0].numpy())
    assert found.synapses[-1].operations.tolist() == (2 * found.layers[0].spikes).tolist()


@pytest.mark.parametrize(
    ("neuron", "settings", "known"),
    [
        (nir.LIF(**LIF, **LEAK), {}, True),
        (nir.LIF(**LIF, **LEAK), {"reset": "late"}, True),
        (nir.LIF(**LIF, **LEAK), {"v_min": -1.0}, False),
        (nir.CubaLIF(**CUBA, **LEAK, v_threshold=full((2,), 1)), {}, False),
    ],
)
def test_updates_that_no_rule_covers_are_not_priced_as_a_leaky_neurons(
    make, neuron, settings, known
):
    net = make(*FLAT, neuron, shape=(1, 1, 2), **settings)
    (layer,) = record(net, split_from(INPUT)).layers
    assert layer.model.known is known


def test_a_threshold_is_taken_off_late_after_the_leak():
    late = IntegrateAndFire(Integration(1.0, 0.5), 1.0, late=True)
    seen = []
    for x in (1.5, 0.5, 0.0):
        late(torch.tensor([x]))
        seen.append(float(late.v))
    # 1.5 fires; .75 + .5 − 1; .125
    assert seen == [1.5, 0.25, 0.125]


def test_no_potential_goes_below_the_least():
    bounded = IntegrateAndFire(Integration(1.0), 1.0, v_min=-1.0)
    bounded(torch.tensor([-3.0, 0.5]))
    assert torch.as_tensor(bounded.v).tolist() == [-1.0, 0.5]
    assert bounded(torch.tensor([2.0, 0.0])).tolist() == [1.0, 0.0]
    assert "v_min=-1.0" in repr(bounded)
    assert "v_min" not in repr(IntegrateAndFire(Integration(1.0), 1.0))


# Recurrent graphs


W = np.array([[0.0, -0.5], [0.25, 0.0]], dtype=np.float32)
BIAS = np.array([0.125, -0.25], dtype=np.float32)


def stepwise(x: NDArray[np.float64], steps: int, feedback: Callable[[Any], Any]) -> list[Any]:
    """IF neurons that are given x and what `feedback` makes of their spikes of the step before."""
    v, spikes, out = np.zeros(2), np.zeros(2), []
    for _ in range(steps):
        v = v + x + feedback(spikes)
        spikes = (v >= 1).astype(float)
        v = v - spikes
        out.append(spikes.tolist())
    return out


@pytest.mark.parametrize("nested", [False, True])
def test_spikes_come_back_in_the_next_step(tmp_path, nested):
    neurons, path = spiking((2,)), tmp_path / "r.nir"
    if nested:  # as exporters write recurrent layers
        inner = {
            "input": nir.Input(np.array([2])),
            "lif": neurons,
            "w_rec": nir.Affine(W, BIAS),
            "output": nir.Output(np.array([2])),
        }
        edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
        written(path, *chain(*FLAT, nir.NIRGraph(inner, edges), shape=(1, 1, 2)))
    else:
        named, edges = chain(*FLAT, neurons, shape=(1, 1, 2))
        named["back"] = nir.Affine(W, BIAS)
        written(path, named, [*edges, ("2", "back"), ("back", "2")])
    checkpoint = load_checkpoint(path, nir=NirSettings(timesteps=9))
    x = np.array([0.75, 0.625])
    expected = stepwise(x, 9, lambda spikes: W @ spikes + BIAS)
    images = torch.tensor(x, dtype=torch.float32).view(1, 1, 1, 1, 2).repeat(1, 5, 1, 1, 1)
    assert ran(network_of(checkpoint), images)[:, 0].tolist() == expected

    # Products with the spikes that came back: those of all steps but the last, each of two outputs.
    found = record(network_of(checkpoint), split_from(images))
    back = next(s for s in found.synapses if s.name in ("back", "2_w_rec"))
    assert back.kind == "spikes"
    assert back.operations.tolist() == [2 * np.sum(expected[:-1])] * 5
    assert found.layers[0].spikes.tolist() == [np.sum(expected)] * 5


def test_a_layer_far_behind_leads_back(tmp_path):
    # 2 (IF) → 3 (Linear) → 4 (IF) → 5 (Linear) → 2, of the step before.
    named, edges = chain(
        *FLAT, spiking((2,)), nir.Linear(2 * W), spiking((2,), 0.25), shape=(1, 1, 2)
    )
    named["5"] = nir.Linear(-W)
    path = written(tmp_path / "r.nir", named, [*edges, ("4", "5"), ("5", "2")])
    x, out = np.array([0.75, 0.625]), []
    v, u, last = np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(9):
        v = v + x - W @ last
        fired = (v >= 1).astype(float)
        v = v - fired
        u = u + 2 * W @ fired
        last = (u >= 0.25).astype(float)
        u = u - 0.25 * last
        out.append(last.tolist())
    assert np.sum(out) > 0
    net = network_of(load_checkpoint(path, nir=NirSettings(timesteps=9)))
    images = torch.tensor(x, dtype=torch.float32).view(1, 1, 1, 1, 2)
    assert ran(net, images)[:, 0].tolist() == out
    assert ran(net, images)[:, 0].tolist() == out  # nothing is left of the first run


def test_a_layer_that_leads_back_and_forward_is_refused(tmp_path):
    named, edges = chain(*FLAT, spiking((2,)), nir.Linear(W), shape=(1, 1, 2))
    refused(
        written(tmp_path / "r.nir", named, [*edges, ("3", "2")]),
        r"node '3' closes a cycle, and it is in one without neurons or feeds forward, too",
    )


def test_an_input_with_a_batch_of_one_in_its_shape(tmp_path):
    named, edges = chain(nir.Linear(np.eye(2, dtype=np.float32)), spiking((2,)), shape=(1, 2))
    path = written(tmp_path / "b.nir", named, edges)
    net = network_of(load_checkpoint(path, nir=NirSettings(3, input_shape=(1, 1, 2))))
    assert ran(net, INPUT)[:, 0].tolist() == [[0, 1], [1, 1], [1, 1]]


def test_negative_potentials_give_no_spikes():
    layer = IntegrateAndFire(Integration(1.0), 1.0, several=True)
    assert layer(torch.tensor([-2.5, 2.5])).tolist() == [0, 2]
    assert torch.as_tensor(layer.v).tolist() == [-2.5, 0.5]


# What the file says of resets


@pytest.mark.parametrize(
    ("reset", "asked", "expected"),
    [
        (None, None, "subtract"),  # the equations of NIR before it had v_reset
        (None, "zero", "zero"),
        (0.0, None, "zero"),
        (0.0, "subtract", "subtract"),  # nir writes zeros unless told otherwise
        (0.5, None, "potential"),
    ],
)
def test_where_a_reset_comes_from(tmp_path, reset, asked, expected):
    neuron = (
        spiking((2,))
        if reset is None
        else nir.IF(r=full((2,), 1), v_threshold=full((2,), 1), v_reset=full((2,), reset))
    )
    path = written(
        tmp_path / "n.nir", *chain(*FLAT, neuron, shape=(1, 1, 2)), resets=reset is not None
    )
    loaded = load_checkpoint(path, nir=dataclasses.replace(THREE_STEPS, reset=asked))
    assert loaded.provenance["reset"] == expected
    assert f"reset {expected}, one spike per neuron and step" in loaded.spec.backbone
    assert not loaded.spec.is_user_network


# Every kind of node, in both step modes


def everything(tmp_path: Path) -> Path:
    """Convolutions with and without groups, both poolings, a residual sum, a sub-graph, scale, LIF
    with constants per neuron.
    """
    per_neuron = np.random.default_rng(9).uniform(0.2, 0.7, (3,)).astype(np.float32)
    inner = nir.NIRGraph(
        nodes={
            "in": nir.Input(np.array([4, 2, 2])),
            "spikes": spiking((4, 2, 2), 0.2),
            "out": nir.Output(np.array([4, 2, 2])),
        },
        edges=[("in", "spikes"), ("spikes", "out")],
        type_check=False,
    )
    nodes = {
        "input": nir.Input(np.array([2, 8, 8])),
        "first": conv(drawn(1, 4, 2, 3, 3), stride=(2, 2), bias=drawn(2, 4), input_shape=(8, 8)),
        "lif.1": nir.LIF(
            tau=full((4, 4, 4), 3),
            r=full((4, 4, 4), 3),
            v_leak=full((4, 4, 4), 0.05),
            v_threshold=full((4, 4, 4), 0.4),
        ),
        "grouped": conv(drawn(3, 4, 2, 3, 3), padding="same", groups=2),
        "second": spiking((4, 4, 4), 0.3),
        "pool": nir.SumPool2d(
            kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])
        ),
        "narrow": conv(drawn(4, 4, 4, 2, 2), padding="valid", dilation=(2, 2)),
        "inner": inner,
        "flat": nir.Flatten({"input": np.array([4, 2, 2])}, 0, -1),
        "average": nir.AvgPool2d(
            kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])
        ),
        "scale": nir.Scale(full((4, 2, 2), 0.5)),
        "linear": nir.Affine(drawn(5, 3, 16) + np.float32(0.1), drawn(6, 3)),
        "last": nir.IF(r=full((3,), 1), v_threshold=per_neuron),
        "output": nir.Output(np.array([3])),
    }
    edges = [
        ("input", "first"),
        ("first", "lif.1"),
        ("lif.1", "grouped"),
        ("grouped", "second"),
        ("lif.1", "second"),
    ]
    edges += [("second", "pool"), ("second", "narrow"), ("second", "average"), ("average", "scale")]
    edges += [
        ("pool", "inner"),
        ("narrow", "inner"),
        ("scale", "inner"),
        ("inner", "flat"),
        ("flat", "linear"),
        ("linear", "last"),
    ]
    return written(tmp_path / "everything.nir", nodes, [*edges, ("last", "output")])


def simulated(x: Tensor, *, several: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """The network of `everything`, written out: logits [T, N, 3] and spikes per layer
    and sample."""
    per_neuron = torch.from_numpy(
        np.random.default_rng(9).uniform(0.2, 0.7, (3,)).astype(np.float32)
    )
    weights = {
        seed: torch.from_numpy(drawn(seed, *shape))
        for seed, shape in {1: (4, 2, 3, 3), 3: (4, 2, 3, 3), 4: (4, 4, 2, 2)}.items()
    }
    linear, bias = (
        torch.from_numpy(drawn(5, 3, 16) + np.float32(0.1)),
        torch.from_numpy(drawn(6, 3)),
    )
    v: dict[str, Any] = dict.fromkeys(("lif_1", "second", "inner_spikes", "last"), 0.0)
    counts: dict[str, Any] = dict.fromkeys(v, 0)

    def fire(name: str, threshold: Any) -> Tensor:
        s = (
            torch.floor(v[name] / threshold).clamp(min=0)
            if several
            else (v[name] >= threshold).float()
        )
        v[name] = v[name] - threshold * s
        counts[name] = counts[name] + s.flatten(1).sum(1)
        return s

    out = []
    for step in x:
        current = F.conv2d(step, weights[1], torch.from_numpy(drawn(2, 4)), stride=2, padding=1)
        v["lif_1"] = v["lif_1"] + (1 / 3) * (0.05 - v["lif_1"]) + (1 / 3) * 3 * current
        first = fire("lif_1", 0.4)
        v["second"] = v["second"] + F.conv2d(first, weights[3], padding=1, groups=2) + first
        second = fire("second", 0.3)
        sums = F.avg_pool2d(second, 2) * 4
        v["inner_spikes"] = (
            v["inner_spikes"]
            + sums
            + F.conv2d(second, weights[4], dilation=2)
            + F.avg_pool2d(second, 2) * 0.5
        )
        v["last"] = v["last"] + F.linear(fire("inner_spikes", 0.2).flatten(1), linear, bias)
        out.append(fire("last", per_neuron))
    return torch.stack(out), counts


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("spikes", ["one", "many"])
def test_every_node_equals_the_network_written_out(tmp_path, step_mode, spikes):
    settings = NirSettings(12, "1000us", spikes_per_step=spikes)
    net = in_mode(load_checkpoint(everything(tmp_path), nir=settings), step_mode)
    x = torch.rand(12, 5, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 2
    expected, counts = simulated(x, several=spikes == "many")
    assert expected.max() > 1 or spikes == "one"
    # The order of a sum of three decides its last bits, so potentials and with them single spikes
    # may differ; here none does.
    assert torch.equal(ran(net, x), expected)
    recording = record(net, split_from(x), batch_size=3)
    assert {layer.name: layer.spikes.tolist() for layer in recording.layers} == {
        name: count.long().tolist() for name, count in counts.items()
    }
    assert all(int(layer.spikes.sum()) > 0 for layer in recording.layers)
    assert [listed.name for listed in recording.uncounted] == ["scale"], (
        "a product with numbers is listed, not priced at zero"
    )


def test_names_thresholds_and_kinds_of_the_modules(tmp_path):
    net = network_of(load_checkpoint(everything(tmp_path), nir=NirSettings(2, "count")))
    neurons = [name for name, module in net.backbone.named_modules() if is_neuron(module)]
    assert neurons == ["lif_1", "second", "inner_spikes", "last"], (
        "in the order they run; a dot is no part of a module's name"
    )
    assert read_thresholds(net.backbone) == pytest.approx(
        {"lif_1": 0.4, "second": 0.3, "inner_spikes": 0.2, "last": 1.0}
    )
    assert all(emits_binary_spikes(net.backbone.get_submodule(name)) for name in neurons)
    assert not any(emits_whole_spikes(net.backbone.get_submodule(name)) for name in neurons)
    assert isinstance(net.backbone.get_submodule("pool"), SumPool2d)


def test_a_factor_scales_thresholds_that_differ_between_neurons(make):
    neuron = nir.IF(r=full((2,), 1), v_threshold=np.array([0.5, 3], dtype=np.float32))
    net = make(*FLAT, neuron, shape=(1, 1, 2))
    write_thresholds(net.backbone, {"2": 1.0}, {"2": 2.0})
    assert net.backbone.get_submodule("2").threshold.tolist() == [1, 6]  # type: ignore[union-attr, operator]
    # Thresholds 1 and 6: .75, 1.5, 1.25 and 2.5, 5, 7.5.
    assert ran(net, INPUT)[:, 0].tolist() == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    "options",
    [
        {"stride": (2, 1), "padding": (0, 2)},
        {"padding": "same", "dilation": (2, 2)},
        {"padding": "valid"},
        {"groups": 2, "padding": 0},
        {"dilation": (1, 2), "padding": 3, "stride": 3},
    ],
)
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_convolutions_equal_torch(tmp_path, options, step_mode):
    weight = drawn(0, 2, 2 // options.get("groups", 1), 3, 2)
    there = F.conv2d(torch.zeros(1, 2, 5, 6), torch.from_numpy(weight), **options)
    size = there[0].numel()
    nodes = (
        conv(weight, bias=drawn(1, 2), input_shape=(5, 6), **options),
        nir.Flatten({"input": np.array(there.shape[1:])}, 0, -1),
    )
    eye = nir.Linear(np.eye(size, dtype=np.float32))
    path = written(tmp_path / "c.nir", *chain(*nodes, eye, shape=(2, 5, 6), classes=size))
    net = in_mode(load_checkpoint(path, nir=NirSettings(1, "count")), step_mode)
    x = torch.rand(1, 3, 2, 5, 6)
    expected = F.conv2d(x[0], torch.from_numpy(weight), torch.from_numpy(drawn(1, 2)), **options)
    assert torch.allclose(ran(net, x)[0], expected.flatten(1), atol=1e-6)


# Shapes


def renamed_shape(path: Path, **stored: list[int]) -> Path:
    with h5py.File(path, "r+") as file:
        del file["node/nodes/input/shape"]
        for name, value in stored.items():
            file["node/nodes/input"][name] = np.array(value)
    return path


def test_the_input_shape_is_found_under_its_older_name(tmp_path):
    path = written(tmp_path / "n.nir", *chain(FLATTEN, EYE, classes=16))
    assert load_checkpoint(
        renamed_shape(path, input_type=[1, 4, 4]), nir=THREE_STEPS
    ).spec.input_shape == (1, 4, 4)


def test_an_input_shape_left_out_is_asked_for(tmp_path):
    flat = renamed_shape(written(tmp_path / "f.nir", *chain(FLATTEN, EYE, classes=16)))
    refused(
        flat,
        r"the file has no input shape; say what images or frames it takes with --input-shape C,H,W",
    )
    assert load_checkpoint(
        flat, nir=dataclasses.replace(THREE_STEPS, input_shape=(1, 4, 4))
    ).spec.input_shape == (1, 4, 4)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_flattening_some_axes(tmp_path, step_mode):
    # (2, 3, 4) → (6, 4) → (24): the axes are those of one sample.
    halves = (
        nir.Flatten({"input": np.array([2, 3, 4])}, 0, 1),
        nir.Scale(np.arange(24, dtype=np.float32).reshape(6, 4)),
    )
    rest = nir.Flatten({"input": np.array([6, 4])}, 0, -1)
    path = written(tmp_path / "n.nir", *chain(*halves, rest, shape=(2, 3, 4), classes=24))
    net = in_mode(load_checkpoint(path, nir=THREE_STEPS), step_mode)
    assert ran(net, torch.ones(1, 2, 2, 3, 4))[0, 1].tolist() == list(range(24))


def test_a_flat_input_takes_images_row_by_row(tmp_path):
    path = written(
        tmp_path / "n.nir", *chain(nir.Linear(np.eye(6, dtype=np.float32)), shape=(6,), classes=6)
    )
    net = network_of(
        load_checkpoint(path, nir=dataclasses.replace(THREE_STEPS, input_shape=(1, 2, 3)))
    )
    x = torch.arange(6.0).view(1, 1, 1, 2, 3)
    assert ran(net, x)[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(
        CheckpointError,
        match=(
            r"has inputs of shape \(6,\); say what images or frames it takes with --input-shape "
            r"C,H,W"
        ),
    ):
        load_checkpoint(path, nir=THREE_STEPS)
    with pytest.raises(
        CheckpointError,
        match=r"takes inputs of shape \(6,\), and --input-shape is \(1, 2, 2\); leave it out",
    ):
        load_checkpoint(path, nir=dataclasses.replace(THREE_STEPS, input_shape=(1, 2, 2)))


# The recorder and whole numbers


def with_sums(tmp_path: Path) -> Path:
    """IF on the pixels, sum pooling, convolution–IF, linear–IF: thresholds so low that many spikes
    fit a step.
    """
    nodes = (
        conv(np.ones((1, 1, 1, 1), dtype=np.float32), padding=0),
        spiking((1, 4, 4), 0.3),
        nir.SumPool2d(
            kernel_size=np.array([3, 3]), stride=np.array([2, 2]), padding=np.array([1, 1])
        ),
        conv(np.abs(drawn(0, 2, 1, 3, 3)), input_shape=(2, 2)),
        spiking((2, 2, 2), 0.4),
        nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        nir.Affine(drawn(1, 3, 8), np.zeros(3, dtype=np.float32)),
        spiking((3,), 0.2),
    )
    return written(tmp_path / "sums.nir", *chain(*nodes, classes=3))


def whole_numbers(x: Tensor) -> dict[str, Tensor]:
    """Spikes [T, N, …] of the two inner layers of `with_sums`, several a step, and the synaptic
    operations of the layers behind them.
    """
    weight, v, w = torch.from_numpy(np.abs(drawn(0, 2, 1, 3, 3))), torch.zeros(()), torch.zeros(())
    first, second, third, fourth = [], [], [], []
    for step in x:
        v = v + step
        spikes = torch.floor(v / 0.3)
        v = v - 0.3 * spikes
        pooled = F.avg_pool2d(spikes, 3, 2, 1) * 9
        pooled = pooled.round()
        w = w + F.conv2d(pooled, weight, padding=1)
        after = torch.floor(w / 0.4)
        w = w - 0.4 * after
        first.append(spikes)
        second.append(after)
        third.append(
            F.conv2d(pooled.double(), torch.ones_like(weight).double(), padding=1).flatten(1).sum(1)
        )
        fourth.append(after.double().flatten(1).sum(1) * 3)
    return {
        "1": torch.stack(first),
        "4": torch.stack(second),
        "3": torch.stack(third).sum(0),
        "6": torch.stack(fourth).sum(0),
    }


FRAMES = torch.rand(7, 5, 1, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_several_spikes_are_counted_exactly(tmp_path, step_mode):
    settings = NirSettings(7, "count", spikes_per_step="many")
    net = in_mode(load_checkpoint(with_sums(tmp_path), nir=settings), step_mode)
    expected = whole_numbers(FRAMES)
    assert expected["1"].max() > 2
    recording = record(net, split_from(FRAMES), batch_size=2, trace=(3,))
    for layer in recording.layers[:2]:
        spikes = expected[layer.name]
        assert layer.spikes.tolist() == spikes.transpose(0, 1).flatten(1).sum(1).long().tolist()
        assert np.allclose(layer.rate_map, spikes.double().mean((0, 1)).numpy(), rtol=0, atol=1e-15)
        assert np.array_equal(recording.trace(3).spikes[layer.name], spikes[:, 3].long().numpy()), (
            "a trace keeps how many"
        )
    synapses = {synapse.name: synapse for synapse in recording.synapses}
    assert (synapses["3"].kind, synapses["3"].source) == ("pooled spikes", "1")
    assert (synapses["6"].kind, synapses["6"].source) == ("integer spikes", "4")
    for name in ("3", "6"):
        assert synapses[name].operations.tolist() == expected[name].long().tolist()
    # The output layer's spikes are the logits.
    assert recording.layers[2].spikes.tolist() == recording.logits.sum((1, 2)).astype(int).tolist()


def test_sums_of_whole_numbers_are_counted_where_they_meet_weights(tmp_path):
    """Two poolings in a row cannot be folded: the integers are measured at the layer, and the count
    is the same.
    """
    net = network_of(
        load_checkpoint(with_sums(tmp_path), nir=NirSettings(7, "count", spikes_per_step="many"))
    )
    traced = record(net, split_from(FRAMES))
    measured = record(net, split_from(FRAMES), input_kinds={"3": "integer spikes"})
    assert [s.source for s in measured.synapses if s.name == "3"] == ["measured"]
    for one, other in zip(traced.synapses, measured.synapses, strict=True):
        assert one.operations.tolist() == other.operations.tolist()


def test_whole_numbers_survive_the_store(tmp_path):
    net = network_of(
        load_checkpoint(with_sums(tmp_path), nir=NirSettings(7, "count", spikes_per_step="many"))
    )
    made, store = record(net, split_from(FRAMES), trace=(1,)), RecordingStore(tmp_path)
    store.keep("key", made)
    found = store.find("key")
    assert found is not None
    for name, spikes in made.trace(1).spikes.items():
        assert found.trace(1).spikes[name].dtype == np.int64
        assert np.array_equal(found.trace(1).spikes[name], spikes)


@pytest.mark.parametrize("spikes", ["one", "many"])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_batch_size_and_order_change_no_bit(tmp_path, spikes, step_mode):
    net = in_mode(
        load_checkpoint(everything(tmp_path), nir=NirSettings(7, "count", spikes_per_step=spikes)),
        step_mode,
    )
    frames = torch.rand(7, 9, 2, 8, 8, generator=torch.Generator().manual_seed(2)) * 2
    expected = record(net, split_from(frames))
    for arguments in (
        {"batch_size": 1},
        {"batch_size": 4, "order": np.random.default_rng(0).permutation(9)},
    ):
        found = record(net, split_from(frames), **arguments)
        assert np.array_equal(found.logits, expected.logits)
        for one, other in zip(found.layers, expected.layers, strict=True):
            assert np.array_equal(one.spikes, other.spikes)
            assert np.array_equal(one.rate_map, other.rate_map)


def test_more_spikes_than_can_be_counted_are_refused(tmp_path):
    loaded = load_checkpoint(
        with_sums(tmp_path), nir=NirSettings(7, "count", spikes_per_step="many")
    )
    with pytest.raises(
        RecordingError,
        match=r"layer '1' emits more spikes than can be counted; its thresholds are too small",
    ):
        record(network_of(loaded, scale=1e-12), split_from(FRAMES))


def test_settings_are_part_of_a_recordings_key(tmp_path):
    path, split = with_sums(tmp_path), split_from(FRAMES)
    settings = [
        NirSettings(7, "count"),
        NirSettings(7, "count", reset="zero"),
        NirSettings(7, "count", spikes_per_step="many"),
        NirSettings(7, "count", reset="late"),
        NirSettings(7, "count", v_min=-1.0),
        NirSettings(7, "count", v_min=-2.0),
        NirSettings(7, "count", integration="exact"),
    ]
    settings += [NirSettings(7, "count", dt=0.5), NirSettings(8, "count"), NirSettings(7, "time")]
    keys = [Runner(load_checkpoint(path, nir=setting)).key(split) for setting in settings]
    assert len(set(keys)) == len(settings)


# The network that others made


@pytest.fixture(scope="module")
def third_party(shared_data: Path) -> Path:
    return shared_data / "snn_checkpoints" / "nir_cnn_nmnist.nir"


@pytest.fixture(scope="module")
def n_mnist(shared_data: Path) -> tuple[Tensor, NDArray[np.int64]]:
    """The 100 test recordings as 300 slices of 1 ms from time 0, [300, 100, 2, 34, 34], and their
    labels.
    """
    frames, labels = [], []
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        for name in sorted(
            name for name in archive.namelist() if "Test/" in name and name.endswith(".bin")
        ):
            x, y, high, middle, low = (
                np.frombuffer(archive.read(name), dtype=np.uint8).reshape(-1, 5).astype(np.int64).T
            )
            step = (((high & 127) << 16) + (middle << 8) + low) // 1000
            seen = step < 300
            frame = np.zeros((300, 2, 34, 34), dtype=np.float32)
            np.add.at(frame, (step[seen], high[seen] >> 7, y[seen], x[seen]), 1)
            frames.append(frame)
            labels.append(int(Path(name).parent.name))
    return torch.from_numpy(np.stack(frames, 1)), np.array(labels)


def third_party_simulated(
    path: Path, x: Tensor, *, several: bool = False, hard: bool = False
) -> tuple[Tensor, dict[str, list[int]]]:
    """The network of README written out from the arrays of the file: class by counts [N], and
    spikes per layer and sample.
    """
    with h5py.File(path) as file:
        weight = {
            name: torch.from_numpy(node["weight"][()])
            for name, node in file["node/nodes"].items()
            if "weight" in node
        }
    v: dict[str, Any] = dict.fromkeys(("1", "3", "6", "10", "12"), 0.0)
    counts: dict[str, Any] = dict.fromkeys(v, 0)

    def fire(name: str, current: Tensor) -> Tensor:
        v[name] = v[name] + current
        s = torch.floor(v[name]).clamp(min=0) if several else (v[name] >= 1).float()
        v[name] = v[name] * (1 - s) if hard else v[name] - s
        counts[name] = counts[name] + s.flatten(1).sum(1)
        return s

    total = torch.zeros(())
    with torch.no_grad():
        for step in x:
            s = fire(
                "3",
                F.conv2d(
                    fire("1", F.conv2d(step, weight["0"], stride=2, padding=1)),
                    weight["2"],
                    padding=1,
                ),
            )
            s = fire(
                "6", F.conv2d(s.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)), weight["5"], padding=1)
            )
            s = fire("10", s.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5)).flatten(1) @ weight["9"].T)
            total = total + fire("12", s @ weight["11"].T)
    return total.argmax(1), {name: count.long().tolist() for name, count in counts.items()}


def third_party_recorded(
    path: Path, x: Tensor, labels: NDArray[np.int64], **settings: Any
) -> Recording:
    net = network_of(load_checkpoint(path, nir=NirSettings(len(x), "1000us", **settings)))
    return record(net, split_from(x, labels), batch_size=50)


@pytest.mark.parametrize(
    ("spikes", "steps", "every", "correct"),
    [
        # A third of the time of 15 recordings of all classes; and all of all 100.
        ("one", 100, 7, 13),
        ("many", 100, 7, 14),
        pytest.param("one", 300, 1, 98, marks=pytest.mark.every),
        pytest.param("many", 300, 1, 100, marks=pytest.mark.every),
    ],
)
def test_the_third_party_network_reaches_its_accuracy(
    third_party, n_mnist, spikes, steps, every, correct
):
    x, labels = n_mnist[0][:steps, ::every], n_mnist[1][::every]
    recording = third_party_recorded(third_party, x, labels, spikes_per_step=spikes)
    assert int((recording.predictions == labels).sum()) == correct
    expected, counts = third_party_simulated(third_party, x, several=spikes == "many")
    assert recording.predictions.tolist() == expected.tolist()
    assert {layer.name: layer.spikes.tolist() for layer in recording.layers} == counts


@pytest.mark.parametrize(
    ("steps", "every"), [(60, 10), pytest.param(300, 1, marks=pytest.mark.every)]
)
def test_the_third_party_network_is_right_for_the_wrong_reason_when_reset_to_zero(
    third_party, n_mnist, steps, every
):
    """100 of 100 too, with far fewer spikes: the accuracy alone does not tell the resets apart, the
    counts do.
    """
    x, labels = n_mnist[0][:steps, ::every], n_mnist[1][::every]
    recording = third_party_recorded(third_party, x, labels, reset="zero")
    assert recording.predictions.tolist() == labels.tolist()
    zero, subtract = (
        third_party_simulated(third_party, x, hard=True)[1],
        third_party_simulated(third_party, x)[1],
    )
    assert {layer.name: layer.spikes.tolist() for layer in recording.layers} == zero
    assert sum(zero["10"]) < 0.5 * sum(subtract["10"])


# Files that are refused


def refused(path: Path, match: str, **changes: Any) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        load_checkpoint(path, nir=dataclasses.replace(THREE_STEPS, **changes))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


POOLED = nir.SumPool2d(
    kernel_size=np.array([8, 8]), stride=np.array([1, 1]), padding=np.array([0, 0])
)
BAD_NODES: dict[str, tuple[tuple[Any, ...], str]] = {
    "unknown": (
        (nir.Delay(full((1, 4, 4), 1)),),
        r"node '0' of type 'Delay', which is not mapped; known are Input, Output, Conv2d",
    ),
    "synaptic currents": (
        (nir.CubaLIF(*(full((1, 4, 4), 0.5 + n) for n in range(5))),),
        r"has a time constant of 0\.5, shorter than a step of 1; .*--integration exact",
    ),
    "channels": (
        (conv(drawn(0, 2, 3, 3, 3)),),
        r"node '0' \(Conv2d\) does not take \(1, 4, 4\): Invalid channel dimensions",
    ),
    "bias": (
        (conv(drawn(0, 2, 1, 3, 3), bias=np.zeros(3, dtype=np.float32)),),
        r"does not take \(1, 4, 4\): .*bias: copying a param with shape torch.Size\(\[3\]\)",
    ),
    "side": (
        (conv(drawn(0, 2, 1, 3, 3), input_shape=(5, 5)),),
        r"does not take \(1, 4, 4\): the file says \(5, 5\)",
    ),
    "stride": (
        (altered(conv(drawn(0, 2, 1, 3, 3)), stride=(0, 0)),),
        r"has a stride of \[0, 0\]; expected 2 whole numbers from 1",
    ),
    "same": (
        (conv(drawn(0, 2, 1, 3, 3), stride=2, padding="same"),),
        r"padding='same' is not supported for strided convolutions",
    ),
    "kernel": (
        (conv(drawn(0, 2, 1, 9, 9), padding=0),),
        r"Calculated output size per channel: \[-4, -4\]. Output size is too small",
    ),
    "window": ((POOLED,), r"node '0' \(SumPool2d\) .* Calculated output size: \(1x-3x-3\)"),
    "padding": (
        (
            nir.AvgPool2d(
                kernel_size=np.array([2, 2]), stride=np.array([1, 1]), padding=np.array([2, 2])
            ),
        ),
        r"pad should be at most half of effective kernel size",
    ),
    "neurons": (
        (spiking((1, 4, 5)),),
        r"node '0' \(IF\) does not take \(1, 4, 4\): it has a r of shape \(1, 4, 5\)",
    ),
    "threshold": ((spiking((1, 4, 4), 0.0),), r"has a v_threshold of 0; expected positive numbers"),
    "linear": (
        (nir.Linear(np.eye(3, dtype=np.float32)),),
        r"node '0' \(Linear\) does not take \(1, 4, 4\): expected 1 axes",
    ),
    "time constant": (
        (
            nir.LIF(
                full((1, 4, 4), 0.02), full((1, 4, 4), 1), full((1, 4, 4), 0), full((1, 4, 4), 1)
            ),
        ),
        r"has a time constant of 0\.02, shorter than a step of 1; say how long a step is with --dt",
    ),
    "not finite": (
        (conv(np.full((2, 1, 3, 3), np.nan, dtype=np.float32)),),
        r"not finite \(NaN or Inf\) in 'weight' of node '0'",
    ),
    "output": ((FLATTEN, EYE), r"the output is said to have shape \(2,\), and \(16,\) reaches it"),
}


@pytest.mark.parametrize(("nodes", "message"), BAD_NODES.values(), ids=BAD_NODES)
def test_a_node_that_does_not_fit_is_named(tmp_path, nodes, message):
    refused(written(tmp_path / "bad.nir", *chain(*nodes)), message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([("1", "0")], r"outputs of different shapes meet in node '0' \(\(1, 4, 4\), \(16,\)\)"),
        ([("1", "1")], r"node '1' closes a cycle, and it is in one without neurons"),
        ([("0", "1")], r"an edge to node '1' is there twice"),
        ([("input", "1")], r"outputs of different shapes meet in node '1'"),
        (
            [("output", "1")],
            r"node 'output' is fed by 1 nodes and feeds 1; .*the output alone feeds none",
        ),
        ([("lost", "1")], r"has an edge 'lost' to '1' and no node 'lost'"),
    ],
)
def test_a_graph_that_is_no_feed_forward_network_is_refused(tmp_path, more, message):
    nodes, edges = chain(FLATTEN, EYE, classes=16)
    nir.write(tmp_path / "g.nir", nir.NIRGraph(nodes=nodes, edges=edges, type_check=False))
    with h5py.File(tmp_path / "g.nir", "r+") as file:
        stored = [*edges, *more]
        del file["node/edges"]
        file["node"].create_dataset(
            "edges", data=np.array(stored, dtype=object), dtype=h5py.string_dtype()
        )
    refused(tmp_path / "g.nir", message)


def test_loose_ends_are_refused(tmp_path):
    nodes, edges = chain(FLATTEN, EYE, classes=16)
    refused(
        written(tmp_path / "a.nir", nodes | {"2": EYE}, [*edges, ("0", "2")]),
        r"node '2' is fed by 1 nodes and feeds 0; .*the output alone feeds none",
    )
    refused(
        written(tmp_path / "b.nir", nodes | {"2": EYE}, [*edges, ("2", "output")]),
        r"node '2' is fed by 0 nodes and feeds 1; the input alone is fed by none",
    )
    two = nodes | {"other": nir.Output(np.array([16]))}
    refused(
        written(tmp_path / "c.nir", two, [*edges, ("0", "other")]),
        r"the graph has 2 Output nodes; expected one",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"timesteps": None},
            r"does not say how many time steps its network runs; give --timesteps T",
        ),
        ({"timesteps": 0}, r"timesteps is 0; expected at least 1"),
        (
            {"framing": None},
            r"does not say how events become frames; give --frames, such as --frames 1ms",
        ),
        ({"dt": 0.0}, r"dt is 0.0; expected a positive number"),
        ({"reset": "soft"}, r"reset is 'soft'; expected subtract or zero or late"),
        ({"integration": "rk4"}, r"integration is 'rk4'; expected euler or exact"),
        ({"v_min": float("nan")}, r"v_min is nan; expected a finite number"),
        (
            {"reset": "zero", "spikes_per_step": "many"},
            r"several spikes per step need a reset that subtracts the threshold",
        ),
        (
            {"input_shape": (2, 9, 9)},
            r"takes inputs of shape \(2, 8, 8\), and --input-shape is \(2, 9, 9\); leave it out",
        ),
    ],
)
def test_settings_that_are_missing_or_do_not_fit(tmp_path, changes, message):
    refused(everything(tmp_path), message, **changes)


def test_a_reset_of_the_files_own_is_not_overruled(tmp_path):
    neuron = nir.IF(r=full((2,), 1), v_threshold=full((2,), 1), v_reset=full((2,), 0.5))
    path = written(tmp_path / "n.nir", *chain(*FLAT, neuron, shape=(1, 1, 2)), resets=True)
    refused(
        path,
        r"the file has reset potentials of its own, and --reset was given; leave it out",
        reset="subtract",
    )
    refused(path, r"use --spikes-per-step one", spikes_per_step="many")


def test_images_need_no_framing(tmp_path):
    assert load_checkpoint(with_sums(tmp_path), nir=NirSettings(7)).spec.framing == "count"


# Hostile files


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """A sound file, open for harm."""
    path = with_sums(tmp_path)
    with h5py.File(path, "r+") as file:
        yield path, file


def test_a_link_out_of_the_file_is_not_followed(hostile, tmp_path):
    path, file = hostile
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["weight"] = drawn(1, 3, 8)
    del file["node/nodes/6/weight"]
    file["node/nodes/6/weight"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/weight")
    file.close()
    refused(path, r"points elsewhere with the link 'weight'; expected a plain NIR file")


def test_values_kept_in_another_file_are_not_read(hostile, tmp_path):
    path, file = hostile
    (tmp_path / "secret.raw").write_bytes(bytes(96))
    del file["node/nodes/6/weight"]
    file["node/nodes/6"].create_dataset(
        "weight", (3, 8), "<f4", external=[(str(tmp_path / "secret.raw"), 0, 96)]
    )
    del file["node/nodes/6/bias"]
    layout = h5py.VirtualLayout((3,), "<f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "weight", shape=(3,))
    file["node/nodes/6"].create_virtual_dataset("bias", layout)
    file.close()
    refused(path, r"keeps the values of '(bias|weight)' in another file")


def test_a_group_inside_itself_ends(hostile):
    path, file = hostile
    file["node/nodes/6/more"] = file["node"]
    file.close()
    refused(path, r"nested too deeply, or inside themselves")


def test_a_claim_of_many_values_is_not_believed(hostile):
    path, file = hostile
    del file["node/nodes/6/weight"]
    file["node/nodes/6"].create_dataset(
        "weight", (2**20, 2**20), "<f4", chunks=(1024, 1024), compression="gzip"
    )
    file.close()
    refused(path, r"claims more than 1 GiB of values")


def test_odd_types_and_texts_are_refused(hostile):
    path, file = hostile
    del file["node/nodes/6/weight"]
    file["node/nodes/6/weight"] = "a text"
    file.close()
    refused(path, r"node '6' has 'weight' of type <U6; expected numbers")


def test_a_type_that_is_no_text_is_refused(hostile):
    path, file = hostile
    del file["node/nodes/6/type"]
    file["node/nodes/6/type"] = np.zeros(2)
    file.close()
    refused(path, r"node '6' of type '\[0\. 0\.\]', which is not mapped")


def test_a_missing_entry_is_named(hostile):
    path, file = hostile
    del file["node/nodes/6/bias"]
    file.close()
    refused(path, r"node '6' is no Affine of NIR: it lacks or adds \['bias'\]")


def test_a_graph_that_lies_in_another_file_is_not_followed(hostile, tmp_path):
    path, file = hostile
    file.close()
    with h5py.File(tmp_path / "link.nir", "w") as link:
        link["node"] = h5py.ExternalLink(str(path), "/node")
    refused(tmp_path / "link.nir", r"points elsewhere with the link 'node'")


def test_an_unexpected_entry_is_refused(hostile):
    path, file = hostile
    file["node/nodes/6/code"] = "import os"
    file.close()
    refused(path, r"node '6' is no Affine of NIR: it lacks or adds \['code'\]")


@pytest.mark.parametrize("left", [0, 7, 100, 2000, -50])
def test_truncated_files_are_refused(tmp_path, left):
    path = with_sums(tmp_path)
    path.write_bytes(path.read_bytes()[:left])
    refused(path, r"is no readable NIR file: it is truncated, or of another kind")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.nir").write_text("conv1\n")
    refused(tmp_path / "text.nir", r"is no readable NIR file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    refused(tmp_path / "other.h5", r"holds no NIRGraph as its node")
    nir.write(tmp_path / "node.nir", EYE)
    refused(tmp_path / "node.nir", r"holds no NIRGraph as its node")


def test_a_nir_network_is_not_saved_as_a_checkpoint(tmp_path):
    loaded = load_checkpoint(with_sums(tmp_path), nir=THREE_STEPS)
    with pytest.raises(
        CheckpointError,
        match=r"sums is the network of a NIR file, which holds all of it; copy that file",
    ):
        save_checkpoint(loaded, tmp_path / "saved.pt")
    assert not (tmp_path / "saved.pt").exists()


def test_an_input_shape_left_out_is_that_of_the_convolution_behind(tmp_path):
    weight = drawn(0, 2, 1, 3, 3)
    nodes = conv(weight, bias=drawn(1, 2), input_shape=(4, 4), padding=1)
    flat = nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1)
    path = written(tmp_path / "c.nir", *chain(nodes, flat, shape=(1, 4, 4), classes=32))
    assert load_checkpoint(renamed_shape(path), nir=THREE_STEPS).spec.input_shape == (1, 4, 4)
    # Of three groups each kernel sees one of the three channels.
    nodes = conv(drawn(0, 3, 1, 3, 3), bias=drawn(1, 3), groups=3)
    flat = nir.Flatten({"input": np.array([3, 4, 4])}, 0, -1)
    path = written(tmp_path / "g.nir", *chain(nodes, flat, shape=(3, 4, 4), classes=48))
    assert load_checkpoint(renamed_shape(path), nir=THREE_STEPS).spec.input_shape == (3, 4, 4)


def test_an_input_shape_left_out_is_that_of_the_neurons_behind(tmp_path):
    path = written(tmp_path / "n.nir", *chain(spiking((1, 4, 4)), FLATTEN, EYE, classes=16))
    assert load_checkpoint(renamed_shape(path), nir=THREE_STEPS).spec.input_shape == (1, 4, 4)


def test_constants_of_the_dynamics_are_part_of_a_networks_identity():
    class Net(torch.nn.Module):
        def __init__(self, gain: float) -> None:
            super().__init__()
            self.spikes = IntegrateAndFire(Integration(gain, 0.5), 1.0, step_mode="m")

        def forward(self, x):
            return self.spikes(x).flatten(2)

    one, other = (SpikingNet(Net(gain), ModelSpec("own:net", (1, 2, 2), 4)) for gain in (1.0, 0.25))
    assert network_identity(one) != network_identity(other)
