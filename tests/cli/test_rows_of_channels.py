"""Every command on Spiking Heidelberg Digits: 700 channels and no image, with a small network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic
import tonic_files
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

from ahsar_eval.cli.main import run
from ahsar_eval.data import DataOptions, open_split
from ahsar_eval.data.split import View
from ahsar_eval.evaluation import verbs as ae
from ahsar_eval.networks.checkpoints import load_checkpoint

TRANSFORMS = ("DropEvent(p=0.2)", "TimeJitter(std=1000)")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    tonic_files.write_shd(root)
    tonic_files.write_ssc(root)
    return root


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    out = root / "shd.pt"
    train = "train --data tonic:SHD --backbone mlp:64 --timesteps 4 --frames time --epochs 2"
    train += f" --batch-size 8 --learning-rate 0.03 --data-root {root} --out {out}"
    texts = [part for text in TRANSFORMS for part in ("--event-transform", text)]
    assert run([*train.split(), *texts]) == 0
    return out


def test_a_training_says_its_transforms_and_learns(trained, root):
    checkpoint = load_checkpoint(trained)
    assert checkpoint.spec.input_shape == (1, 1, 700)
    assert list(checkpoint.provenance["event_transform"]) == list(TRANSFORMS)
    net = ae.load(trained)
    recording = ae.record(net, tonic_object(root))
    assert (recording.logits.mean(1).argmax(1) == recording.labels).mean() > 0.8


def tonic_object(root: Path) -> Any:
    (root / "SHD" / "shd_test.h5.zip").touch()  # which tonic wants to see
    return tonic.datasets.SHD(str(root), train=False)


def test_ood_of_a_set_and_every_shift(trained, root, command):
    ood = ["ood", trained, "--id", "tonic:SHD", "--data-root", root, "--format", "json"]
    found = command(*ood, "--ood", "tonic:SSC", "--ood", "tonic:SHD:all", "--bootstrap", 100)
    assert found.code == 0, found.err
    held = json.loads(found.out)
    sets = [row["ood"] for row in held["rows"]]
    assert (len(sets), sets[0]) == (51, "tonic:SSC")
    assert "polarity_flip, threshold_mismatch left out" in found.out
    # The object is the same set: its recordings are found.
    result = ae.ood(ae.load(trained), id=tonic_object(root), ood="id:event_drop:3", replicates=100)
    (row,) = result.records["rows"]
    (same,) = (one for one in held["rows"] if one["ood"] == "tonic:SHD:event_drop:3")
    assert row["auroc"] == same["auroc"]
    refused = command(*ood, "--ood", "tonic:SHD:polarity_flip:2")
    assert (refused.code, refused.out) == (2, "")
    assert "polarity_flip is a shift of two polarities and tonic:SHD has one" in refused.err


def test_energy_sweep_and_raster(trained, root, command, tmp_path):
    of = [trained, "--data", "tonic:SHD", "--data-root", root]
    energy = command("energy", *of, "--shift", "event_drop:5")
    assert energy.code == 0, energy.err
    assert "linear1" in energy.out
    assert "event_drop" in energy.out
    sweep = command("sweep", *of, "--scales", "0.5,1")
    assert sweep.code == 0, sweep.err
    raster = command("raster", *of, "--scales", "1", "--out", tmp_path / "r.png")
    assert raster.code == 0, raster.err
    with np.load(tmp_path / "r.arrays.npz") as arrays:
        image = arrays["image_0"]
        assert arrays["spikes_0_0"].shape == (4, 64)
        assert arrays["map_0_0"].shape == (8, 8)
    # Channels over time, as ON events.
    split = open_split("tonic:SHD", View((1, 1, 700), 4, "time"), options=DataOptions(root=root))
    frames = split.tensors(np.array([0]))[:, 0, 0, 0].numpy()
    assert image.shape == (2, 700, 4)
    assert np.array_equal(image[1], frames.T)
    assert not image[0].any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("info tonic:SHD", "1x1x700"),
        ("info tonic:SSC --role validation", "word 0, word 1, word 2"),
        ("prepare tonic:SHD --timesteps 4", "test        12"),
        ("show tonic:SHD --samples 2", "wrote"),
        ("show tonic:SHD:event_drop --samples 2 --size 70,20", "wrote"),
        ("list", "tonic:NAME"),
    ],
)
def test_data_commands(root, command, tmp_path, words, said):
    out = ["--out", tmp_path / "sheet.png"] if words.startswith("show") else []
    found = command("data", *words.split(), "--data-root", root, *out)
    assert found.code == 0, found.err
    assert said in found.out + found.err
    assert not out or (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_network_of_ones_own_takes_channels_as_a_vector(root):
    torch.manual_seed(0)
    module = nn.Sequential(
        layer.Linear(700, 16, step_mode="m"),
        neuron.LIFNode(step_mode="m"),
        layer.Linear(16, 2, step_mode="m"),
    )
    given = tonic_object(root)
    net = ae.wrap(module, timesteps=5, classes=2, frames="time")
    recording = ae.record(net, given)
    view = View((1, 1, 700), 5, "time")
    frames = open_split("tonic:SHD", view, options=DataOptions(root=root)).tensors(np.arange(12))
    with torch.no_grad():
        logits = module.eval()(frames[:, :, 0, 0])
    assert np.allclose(recording.logits.transpose(1, 0, 2), logits.numpy(), atol=1e-5)
    assert ae.energy(net, given).records
