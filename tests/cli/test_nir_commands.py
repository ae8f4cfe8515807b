"""The commands on networks of other tools: NIR files, and state dicts of the
rate-based-backpropagation code.
"""

import itertools
import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ahsar_eval.networks import checkpoints

h5py = pytest.importorskip("h5py")
nir = pytest.importorskip("nir")


@pytest.fixture(scope="module")
def digits_nir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network on images of 1x16x16: convolution–IF, sum pooling, linear–IF, with weights
    that let spikes through.
    """
    draw = np.random.default_rng(0)
    nodes = {
        "input": nir.Input(np.array([1, 16, 16])),
        "conv": nir.Conv2d(
            input_shape=(16, 16),
            weight=draw.normal(0.2, 0.4, (2, 1, 3, 3)).astype(np.float32),
            stride=(2, 2),
            padding=(1, 1),
            dilation=1,
            groups=1,
            bias=np.zeros(2, dtype=np.float32),
        ),
        "spikes": nir.IF(
            r=np.ones((2, 8, 8), dtype=np.float32),
            v_threshold=np.full((2, 8, 8), 0.7, dtype=np.float32),
        ),
        "pool": nir.SumPool2d(
            kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])
        ),
        "flat": nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1),
        "linear": nir.Affine(
            draw.normal(0.05, 0.2, (10, 32)).astype(np.float32), np.zeros(10, dtype=np.float32)
        ),
        "out": nir.IF(r=np.ones(10, dtype=np.float32), v_threshold=np.ones(10, dtype=np.float32)),
        "output": nir.Output(np.array([10])),
    }
    path = tmp_path_factory.mktemp("nir") / "small.nir"
    nir.write(
        path, nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(nodes)), type_check=False)
    )
    return path


def test_a_nir_file_is_calibrated_and_adapts(command, digits_nir, tmp_path):
    file, words = tmp_path / "points.json", ("--timesteps", 4, "--limit", 12)
    refused = command("calibrate", digits_nir, *words, "--out", file)
    assert "small does not say which set it was trained on; name one" in refused.err
    made = command("calibrate", digits_nir, *words, "--on", "digits", "--out", file)
    assert made.code == 0, made.err
    layers = json.loads(file.read_text())["layers"]
    shapes = {name: (one["shape"], one["axis"]) for name, one in layers.items()}
    assert shapes == {"spikes": ([2, 8, 8], 0), "out": ([10], 0)}
    adapting = ("--adapt", "channel", "--adapt-samples", 4, "--set-points", file)
    sets = ("--id", "digits", "--ood", "photo-patches", "--bootstrap", 100)
    done = command("ood", digits_nir, *words, *sets, *adapting)
    assert done.code == 0, done.err
    assert "channel, episodic" in done.out


def test_inspect_shows_what_a_nir_file_holds(command, digits_nir):
    shown = command("inspect", digits_nir)
    assert shown.code == 0, shown.err
    assert "nir (reset zero, one spike per neuron and step, dt 1)" in shown.out, (
        "nir 1.0.5 and later writes v_reset = 0"
    )
    assert "SumPool2d" in shown.out
    assert "timesteps" not in shown.out, "which the file does not hold"
    content = json.loads(command("inspect", digits_nir, "--format", "json").out)
    assert [entry["base"] for entry in content["thresholds"]] == pytest.approx([0.7, 1.0])
    assert content["spec"]["input_shape"] == [1, 16, 16]
    assert content["parameters"] == 18 + 2 + 320 + 10


def test_energy_counts_a_nir_network(command, digits_nir, few_digits):
    shared = (
        "energy",
        digits_nir,
        "--data",
        f"npz:{few_digits}",
        "--timesteps",
        5,
        "--reset",
        "subtract",
        "--format",
        "json",
    )
    one = json.loads(command(*shared).out)
    many = json.loads(command(*shared, "--spikes-per-step", "many").out)
    assert [(layer["name"], layer["input"], layer["source"]) for layer in one["layers"]] == [
        ("conv", "analog", "input"),
        ("linear", "pooled spikes", "spikes"),
    ]
    for found in (one, many):
        assert found["layers"][1]["acs"] == pytest.approx(10 * found["neurons"][0]["spikes"]), (
            "every pooled spike reaches ten neurons"
        )
    assert many["neurons"][0]["spikes"] > one["neurons"][0]["spikes"] > 0


def test_ood_and_raster_take_a_nir_network(command, digits_nir, few_digits, tmp_path):
    found = command(
        "ood",
        digits_nir,
        "--id",
        f"npz:{few_digits}",
        "--ood",
        "digits:inversion:3",
        "--timesteps",
        4,
        "--format",
        "json",
    )
    assert found.code == 0, found.err
    (row,) = json.loads(found.out)["rows"]
    assert 0 <= row["auroc"] <= 1
    drawn = command(
        *(
            "raster",
            digits_nir,
            "--data",
            f"npz:{few_digits}",
            "--timesteps",
            4,
            "--reset",
            "subtract",
            "--spikes-per-step",
            "many",
        ),
        *("--scales", "0.5,1", "--layer", "spikes", "--out", tmp_path / "r.png"),
    )
    assert drawn.code == 0, drawn.err
    with np.load(tmp_path / "r.arrays.npz") as arrays:
        assert arrays["spikes_0_0"].max() > 1, (
            "the panel of half the threshold keeps how many spikes fit a step"
        )
        assert arrays["spikes_0_0"].dtype == np.int64
        assert float(arrays["rate_0_0"]) == pytest.approx(arrays["spikes_0_0"].mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "a NIR file does not say how many time steps its network runs; give --timesteps T"),
        (("--timesteps", 4, "--frames", "1 fortnight"), "framing '1 fortnight' is unknown"),
        (("--timesteps", 4, "--dt", 0), "dt is 0.0; expected a positive number"),
        (
            ("--timesteps", 4, "--spikes-per-step", "many"),
            "several spikes per step need a reset that subtracts the threshold",
        ),
        (
            ("--timesteps", 4, "--input-shape", "1,8,8"),
            "the file takes inputs of shape (1, 16, 16), and --input-shape is (1, 8, 8)",
        ),
        (
            ("--timesteps", 4, "--layout", "rate-bp"),
            "--layout and --backbone say together",
        ),
        (
            ("--timesteps", 4, "--backbone", "vgg13"),
            "--layout and --backbone say together",
        ),
    ],
)
def test_what_is_missing_is_asked_for_in_one_sentence(command, digits_nir, options, message):
    outcome = command("energy", digits_nir, "--data", "digits", *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_damaged_nir_file_gives_one_sentence(command, digits_nir, tmp_path):
    (tmp_path / "cut.nir").write_bytes(digits_nir.read_bytes()[:3000])
    for name in ("inspect", "energy"):
        outcome = command(
            name, tmp_path / "cut.nir", *(("--data", "digits") if name == "energy" else ())
        )
        assert outcome.code == 2
        assert "is no readable NIR file: it is truncated, or of another kind" in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize("steps", [100, pytest.param(300, marks=pytest.mark.every)])
def test_the_third_party_network_runs_on_real_events(command, shared_data, tmp_path, steps):
    """Ten N-MNIST recordings against two gestures, frames of 1 ms."""
    with zipfile.ZipFile(shared_data / "nmnist_1100" / "NMNIST_1100.zip") as archive:
        tests = sorted(
            name for name in archive.namelist() if "Test/" in name and name.endswith(".bin")
        )
        train = sorted(
            name for name in archive.namelist() if "Train/" in name and name.endswith(".bin")
        )
        archive.extractall(tmp_path / "NMNIST", [*tests[::10], *train[::100]])
    with zipfile.ZipFile(
        shared_data / "dvs128gesture_10clips" / "dvs128gesture_10clips.zip"
    ) as archive:
        archive.extractall(
            tmp_path / "dvs128gesture_10clips",
            [name for name in archive.namelist() if name.startswith("events_np/")][:2],
        )
    network = shared_data / "snn_checkpoints" / "nir_cnn_nmnist.nir"
    events = ("--timesteps", steps, "--frames", "1ms@0", "--data-root", tmp_path)
    asked = command("energy", network, "--data", "n-mnist", *events[:2], *events[4:])
    assert asked.code == 2
    assert "give --frames, such as --frames 1ms@0" in asked.err
    found = command("ood", network, "--id", "n-mnist", "--ood", f"folder:{tmp_path}", *events)
    assert found.code == 2, "images are no event recordings"
    ids = command("energy", network, "--data", "n-mnist", *events, "--format", "json")
    assert ids.code == 0, ids.err
    content: dict[str, Any] = json.loads(ids.out)
    assert content["n"] == len(tests[::10])
    assert content["accuracy"] >= 0.9
    kinds = [layer["input"] for layer in content["layers"]]
    assert kinds == ["analog", "spikes", "pooled spikes", "pooled spikes", "spikes"]
    separated = command(
        "ood", network, "--id", "n-mnist", "--ood", "dvs-gesture", *events, "--format", "json"
    )
    assert separated.code == 0, separated.err
    (row,) = json.loads(separated.out)["rows"]
    assert row["n_ood"] == 2


def test_a_public_state_dict_is_evaluated(command, few_digits, tmp_path):
    """VGG-13 of the public layout at a sixteenth of its width."""
    state: dict[str, torch.Tensor] = {}
    text = (Path(checkpoints.__file__).parent / "rate_bp_keys.toml").read_text(encoding="utf-8")
    keys = tomllib.loads(text)["vgg13"]
    widths = dict(
        zip(
            keys,
            np.repeat([4, 4, 8, 8, 16, 16, 32, 32, 32, 32], 2).tolist(),
            strict=False,
        )
    )
    before = 1
    for theirs, ours in keys.items():
        width = widths.get(theirs, 10)
        if ".conv" in ours:
            state[f"{theirs}.weight"] = torch.randn(
                width, before, 3, 3, generator=torch.Generator().manual_seed(width)
            )
            state[f"{theirs}.bias"] = torch.zeros(width)
            before = width
        elif ".bn" in ours:
            state |= {
                f"{theirs}.{name}": torch.ones(width) for name in ("weight", "bias", "running_var")
            }
            state |= {
                f"{theirs}.running_mean": torch.zeros(width),
                f"{theirs}.num_batches_tracked": torch.tensor(1),
            }
        else:
            state |= {
                f"{theirs}.weight": torch.randn(10, before),
                f"{theirs}.bias": torch.zeros(10),
            }
    torch.save({"best_acc": 50.0, "best_net": state}, tmp_path / "model_weights.pth")
    data = (
        "--data",
        f"npz:{few_digits}",
        "--timesteps",
        2,
        "--classes",
        10,
        "--input-shape",
        "1,16,16",
    )
    plain = command("energy", tmp_path / "model_weights.pth", *data)
    assert plain.code == 2
    assert "--layout rate-bp --backbone NAME" in plain.err
    found = command(
        "energy",
        tmp_path / "model_weights.pth",
        *data,
        "--layout",
        "rate-bp",
        "--backbone",
        "vgg13",
        "--format",
        "json",
    )
    assert found.code == 0, found.err
    assert len(json.loads(found.out)["layers"]) == 11
