"""Checkpoints: nothing lost in a file, thresholds replayed as stored, and what ships."""

import hashlib
import json
import re
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ahsar_eval.data import DataOptions, View, open_set, open_split, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import CheckpointError
from ahsar_eval.files import shipped
from ahsar_eval.homeostasis import named_neurons, read_thresholds
from ahsar_eval.networks.checkpoints import (
    FORMAT,
    Checkpoint,
    base_thresholds,
    find_checkpoint,
    load_checkpoint,
    network_of,
    replayed_scales,
    save_checkpoint,
    set_points_of,
)
from ahsar_eval.recording import record

SHIPPED = (
    "cifar10-jpeg-resnet18-ahsar",
    "cifar10-jpeg-resnet18-baseline",
    "cifar10-jpeg-vgg13-ahsar",
    "cifar10-jpeg-vgg13-baseline",
    "digits-dvs-vgg13-ahsar",
    "digits-dvs-vgg13-baseline",
    "digits-resnet18-ahsar",
    "digits-resnet18-baseline",
    "digits-vgg13-ahsar",
    "digits-vgg13-baseline",
    "n-mnist-vgg13-ahsar",
    "n-mnist-vgg13-baseline",
)

SHIPPED_FILES = shipped("checkpoints", ".pt")


@pytest.mark.parametrize("backbone", ["vgg13", "resnet18"])
@pytest.mark.parametrize("regulated", [False, True])
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_save_and_load_give_back_everything_exactly(
    backbone, regulated, step_mode, make_tiny, tmp_path
):
    before = replace(
        make_tiny(backbone, regulated=regulated, step_mode=step_mode), fixed_scale=0.1 + 0.2
    )
    save_checkpoint(before, tmp_path / "one.pt")
    after = load_checkpoint(tmp_path / "one.pt")
    assert after.spec == before.spec
    assert after.fixed_scale == before.fixed_scale
    assert after.provenance == before.provenance
    assert list(after.weights) == list(before.weights)
    for name, tensor in before.weights.items():
        assert after.weights[name].dtype == tensor.dtype
        assert torch.equal(after.weights[name], tensor)
    if before.homeostasis is None:
        assert after.homeostasis is None
    else:
        assert after.homeostasis is not None
        assert after.homeostasis.to_dict() == before.homeostasis.to_dict()
        assert after.homeostasis.units == before.homeostasis.units
        assert np.array_equal(after.homeostasis.state, before.homeostasis.state)
        assert after.homeostasis.state.dtype == np.float64
    assert after.name == "one"
    assert after.sha256 == hashlib.sha256((tmp_path / "one.pt").read_bytes()).hexdigest()


def test_when_it_was_made_is_nothing_to_the_identity_of_what_was_never_saved(make_tiny):
    tiny = make_tiny()
    later = replace(tiny, provenance={**tiny.provenance, "time": "2031-01-01T00:00:00+00:00"})
    name, *_ = tiny.weights
    other = replace(tiny, weights={**tiny.weights, name: tiny.weights[name] + 1})
    assert tiny.identity == later.identity != other.identity


def test_saved_networks_compute_the_same(make_tiny, tmp_path):
    before = make_tiny(regulated=True)
    save_checkpoint(before, tmp_path / "one.pt")
    split = open_split("digits", (1, 16, 16)).only(3)
    one, other = (
        record(network_of(c), split) for c in (before, load_checkpoint(tmp_path / "one.pt"))
    )
    assert np.array_equal(one.logits, other.logits)
    assert one.thresholds == other.thresholds


def test_a_checkpoint_holds_plain_content_only(make_tiny, tmp_path):
    save_checkpoint(make_tiny(regulated=True), tmp_path / "one.pt")
    content = torch.load(tmp_path / "one.pt", weights_only=True)
    assert content["format"] == FORMAT
    assert set(content) == {
        "format",
        "version",
        "spec",
        "weights",
        "homeostasis",
        "fixed_scale",
        "provenance",
    }
    assert all(type(tensor) is torch.Tensor for tensor in content["weights"].values())
    json.dumps({key: value for key, value in content.items() if key != "weights"})


def test_evaluation_runs_at_base_times_the_stored_scale(make_tiny):
    checkpoint = make_tiny(regulated=True, v_threshold=0.8)
    stored = checkpoint.homeostasis
    net = network_of(checkpoint)
    expected: dict[str, float] = {}
    for unit, scale in zip(stored.units.values(), stored.ema_scale, strict=True):
        expected |= {layer: 0.8 * float(scale) for layer in unit}
    assert read_thresholds(net.backbone) == expected
    assert not net.training
    assert base_thresholds(checkpoint, net) == dict.fromkeys(expected, 0.8)


def test_a_scale_replaces_the_replay_in_every_layer(make_tiny):
    checkpoint = make_tiny(regulated=True, v_threshold=0.8)
    for scale in (0.25, 1.0, 3.0):
        assert set(read_thresholds(network_of(checkpoint, scale=scale).backbone).values()) == {
            0.8 * scale
        }


def test_a_fixed_factor_is_replayed_and_a_baseline_runs_at_its_base(make_tiny):
    fixed = replace(make_tiny(), fixed_scale=0.5)
    assert set(read_thresholds(network_of(fixed).backbone).values()) == {0.5}
    assert set(read_thresholds(network_of(fixed, scale=1.0).backbone).values()) == {1.0}
    assert set(read_thresholds(network_of(make_tiny()).backbone).values()) == {1.0}


def test_a_controller_of_a_part_leaves_the_other_layers_at_their_base(make_tiny):
    checkpoint = make_tiny(regulated=True)
    stored = checkpoint.homeostasis
    kept = {
        unit: layers for number, (unit, layers) in enumerate(stored.units.items()) if number < 2
    }
    part = replace(stored, units=kept, state=stored.state[:2], ema_scale=stored.ema_scale[:2])
    partial = replace(checkpoint, homeostasis=part)
    scales = replayed_scales(partial, network_of(partial))
    regulated = {layer for layers in kept.values() for layer in layers}
    assert {layer for layer, scale in scales.items() if scale != 1.0} == regulated


def test_a_controller_of_another_network_is_refused_by_its_layer(make_tiny):
    foreign = make_tiny("resnet18", regulated=True).homeostasis
    with pytest.raises(
        CheckpointError, match="has a threshold scale for layer 'lif', which its network lacks"
    ):
        network_of(replace(make_tiny(), homeostasis=foreign))


def changed(checkpoint: Checkpoint, path, **content):
    """Save with parts of the file's content replaced; a part that is `...` is left out."""
    save_checkpoint(checkpoint, path)
    stored = torch.load(path, weights_only=True) | content
    torch.save({key: value for key, value in stored.items() if value is not ...}, path)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"version": 3},
            "the version is 3; this version of ahsar-eval reads 1 and 2; update ahsar-eval",
        ),
        ({"version": 2}, "lacks a part of a checkpoint .KeyError: 'layer_scales'"),
        ({"spec": ...}, "lacks a part of a checkpoint .KeyError: 'spec'"),
        ({"homeostasis": ...}, "lacks a part of a checkpoint .KeyError: 'homeostasis'"),
        ({"weights": {}}, "holds no weights"),
        (
            {"weights": {"x": 3}},
            "holds 'x' of type int among its weights; expected tensors by name",
        ),
        (
            {"spec": {"backbone": "vgg13"}},
            "the model specification is malformed .KeyError: 'input_shape'",
        ),
        ({"homeostasis": {"units": {}}}, "the stored controller is malformed"),
        ({"fixed_scale": "much"}, "lacks a part of a checkpoint"),
        ({"provenance": 5}, "lacks a part of a checkpoint"),
    ],
)
def test_a_file_with_a_part_missing_or_odd_is_refused_by_that_part(
    content, message, make_tiny, tmp_path
):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(changed(make_tiny(), tmp_path / "one.pt", **content))


def test_a_controller_that_is_not_finite_is_refused(make_tiny, tmp_path):
    checkpoint = make_tiny(regulated=True)
    stored = checkpoint.homeostasis.to_dict()
    stored["ema_scale"] = [float("nan"), *stored["ema_scale"][1:]]
    with pytest.raises(
        CheckpointError,
        match=r"the stored controller is damaged; expected one finite number per unit",
    ):
        load_checkpoint(changed(checkpoint, tmp_path / "one.pt", homeostasis=stored))


def test_a_name_that_is_neither_a_file_nor_shipped_lists_the_shipped_ones(tmp_path):
    with pytest.raises(
        CheckpointError,
        match=(
            r"no checkpoint 'nowhere.pt': it is no file, and none of the shipped ones "
            r".*digits-vgg13-ahsar"
        ),
    ):
        find_checkpoint("nowhere.pt")
    with pytest.raises(CheckpointError, match="it is no file, and none of the shipped ones"):
        find_checkpoint(tmp_path)


def test_a_file_comes_before_a_shipped_name(make_tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, file = next(iter(SHIPPED_FILES.items()))
    assert find_checkpoint(name) == file
    save_checkpoint(make_tiny(), tmp_path / name)
    assert find_checkpoint(name).resolve() == tmp_path / name


# What ships


def test_six_pairs_ship():
    assert list(SHIPPED_FILES) == list(SHIPPED)


def test_sums_are_those_of_the_files():
    folder = SHIPPED_FILES[SHIPPED[0]].parent
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{64}) [ *](\S+)", line) for line in lines]
    listed = {match[2]: match[1] for match in matches if match}
    assert len(listed) == len(lines)
    assert set(listed) == {f"{name}{end}" for name in SHIPPED for end in (".pt", ".setpoints.json")}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_set_points_are_of_the_shipped_network(name):
    checkpoint = load_checkpoint(name)
    points = set_points_of(checkpoint)
    assert points is not None
    assert points.network == hashlib.sha256(SHIPPED_FILES[name].read_bytes()).hexdigest()
    net, shapes = network_of(checkpoint), {}
    for layer, neuron in named_neurons(net.backbone).items():
        neuron.register_forward_hook(
            lambda m, i, out, layer=layer: shapes.update({layer: tuple(out.shape[2:])})
        )
    with torch.no_grad():
        net(torch.zeros(1, 1, *checkpoint.spec.input_shape))
    assert {layer: one.shape for layer, one in points.layers.items()} == shapes
    facts = checkpoint.provenance
    assert points.data["role"] == "validation"
    assert points.data["name"].rpartition("/")[2] == str(facts["data"]).rpartition("/")[2]
    for one in points.layers.values():
        assert one.axis == 0
        assert one.rates.max() <= 1
        assert one.layer_rate == pytest.approx(one.rates.mean(), rel=1e-9)
        assert one.layer_spread > 0


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_says_how_it_was_made(name):
    torch.load(SHIPPED_FILES[name], weights_only=True)
    checkpoint = load_checkpoint(name)
    facts = checkpoint.provenance
    data, backbone, method = name.rsplit("-", 2)
    assert facts["command"].startswith("ahsar-eval train ")
    for part in (f"--backbone {backbone}", f"--method {method}", f"--seed {facts['seed']}"):
        assert part in facts["command"]
    assert isinstance(facts["seed"], int)
    assert (facts["method"], checkpoint.spec.backbone) == (method, backbone)
    assert facts["data"] == ("folder:cifar10_jpeg" if data == "cifar10-jpeg" else data)
    assert not re.search(r"(^|[\s:=])/", facts["command"]), "no path of the machine that trained it"
    assert set(facts["versions"]) >= {"torch", "spikingjelly", "ahsar-eval"}
    assert (checkpoint.homeostasis is not None) == (method == "ahsar")


@pytest.fixture(scope="module")
def recordings(shared_data, tmp_path_factory):
    """A data root with the real recordings of N-MNIST that lie beside the clone."""
    root = tmp_path_factory.mktemp("data")
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as packed:
        packed.extractall(root / "NMNIST")
    return root


@pytest.fixture(scope="module")
def photographs(shared_data, tmp_path_factory):
    """Twenty test images of each class of CIFAR-10, JPEG, that lie beside the clone."""
    root = tmp_path_factory.mktemp("photographs")
    taken: Counter[str] = Counter()
    with tarfile.open(shared_data / "cifar10_jpeg" / "test10000_jpegs.tar.xz") as archive:
        for member in archive:
            if member.isfile() and (label := Path(member.name).parent.name) and taken[label] < 20:
                taken[label] += 1
                archive.extract(member, root, filter="data")
    assert list(taken.values()) == [20] * 10
    return root / "test"


# Accuracy of the networks of photographs on those, less some points for a part of the test set and
# for another machine's rounding.
OF_PHOTOGRAPHS = {"vgg13": 0.68, "resnet18": 0.4}


@pytest.mark.parametrize("samples", [150, pytest.param(None, marks=pytest.mark.every)])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_checkpoint_knows_its_set(name, samples, request):
    """On samples from all over it, and on all of it."""
    checkpoint = load_checkpoint(name)
    spec = checkpoint.spec
    assert checkpoint.trained_on is not None
    data, options = checkpoint.trained_on, None
    least = 0.95 if name.endswith("baseline") else 0.9
    if data == "n-mnist":
        options = DataOptions(root=request.getfixturevalue("recordings"))
    elif data.startswith("folder:"):
        data, least = (
            f"folder:{request.getfixturevalue('photographs')}",
            OF_PHOTOGRAPHS[spec.backbone],
        )
    view = View(spec.input_shape, spec.timesteps, spec.framing)
    source = open_set(data, options=options)
    members = np.linspace(0, len(source) - 1, min(samples or len(source), len(source))).astype(
        np.int64
    )
    recording = record(
        network_of(checkpoint),
        split_of(subset(source, members, source.role), view, options=options),
    )
    assert (recording.predictions == recording.labels).mean() >= least


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.endswith("ahsar")])
def test_a_shipped_controller_moved_and_is_replayed(name):
    checkpoint = load_checkpoint(name)
    assert checkpoint.homeostasis is not None
    net = network_of(checkpoint)
    scales = replayed_scales(checkpoint, net)
    assert read_thresholds(net.backbone) == {
        layer: float(base) * scales[layer]  # type: ignore[arg-type]
        for layer, base in base_thresholds(checkpoint, net).items()
    }
    assert any(abs(scale - 1) > 0.01 for scale in scales.values())
    assert checkpoint.homeostasis.steps > 0
