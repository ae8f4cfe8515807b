"""`ahsar-eval calibrate`: where set points go, what is said of them, and that --adapt finds them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ahsar_eval.files import sha256_of_file
from ahsar_eval.homeostasis import SetPoints
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, save_checkpoint

FEW = ("--limit", 12)


@pytest.fixture
def mine(tiny_pair, tmp_path) -> Path:
    """A checkpoint of one's own, without set points."""
    return Path(shutil.copy(tiny_pair[1], tmp_path / "mine.pt"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Three pictures without a class."""
    (folder := tmp_path / "pictures").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def test_set_points_go_beside_the_checkpoint_where_they_are_found(command, mine):
    done = command("calibrate", mine, *FEW)
    assert done.code == 0, done.err
    file = mine.with_name("mine.setpoints.json")
    assert done.err.strip().endswith(f"wrote {file}")
    assert done.out.strip().endswith("of 12 samples of digits (train)")
    points = SetPoints.load(file)
    (row,) = (line.split() for line in done.out.splitlines() if "features.lif1_1" in line)
    one = points.layers["features.lif1_1"]
    told = [f"{x:.4f}" for x in (one.layer_rate, one.layer_spread, *np.sort(one.rates)[[0, -1]])]
    assert row[1:] == ["4", "0", *told]
    assert sum("lif" in line for line in done.out.splitlines()) == len(points.layers) == 10
    words = ("--ood", "photo-patches", "--limit", 20, "--adapt", "layer", "--adapt-samples", 8)
    found = command("ood", mine, *words, "--bootstrap", 100)
    assert found.code == 0, found.err
    moved = mine.rename(mine.with_name("ours.pt"))
    said = command("ood", moved, *words)
    assert "needs set points" in said.err
    named = command("ood", moved, *words, "--bootstrap", 100, "--set-points", file)
    assert named.code == 0, named.err
    assert named.out.replace("ours", "mine") == found.out
    assert (
        command("ood", moved, *words, "--bootstrap", 100, "--set-points", file).out == named.out
    ), "kept"


def test_what_is_there_is_not_replaced_unasked(command, mine, tmp_path):
    assert command("calibrate", mine, *FEW).code == 0
    file = tmp_path / "mine.setpoints.json"
    before = file.read_text()
    refused = command("calibrate", mine, "--limit", 5)
    assert (refused.code, file.read_text()) == (2, before)
    assert f"mine has set points already ({file}); give --overwrite" in refused.err
    assert command("calibrate", mine, "--limit", 5, "--overwrite").code == 0
    assert SetPoints.load(file).data["n"] == 5
    other = tmp_path / "new" / "points.json"
    assert command("calibrate", mine, *FEW, "--out", other).code == 0
    assert other.read_text() == before
    again = command("calibrate", mine, *FEW, "--out", other)
    assert f"it is there already ({other})" in again.err


def test_a_shipped_checkpoint_has_them(command):
    refused = command("calibrate", "digits-vgg13-ahsar")
    assert refused.code == 2
    assert "digits-vgg13-ahsar has set points already" in refused.err


def test_those_in_a_checkpoint_come_first_and_it_says_so(command, mine, tmp_path):
    points = SetPoints.load(_made(command, mine))
    (tmp_path / "mine.setpoints.json").unlink()
    save_checkpoint(replace(load_checkpoint(mine), set_points=replace(points, network="")), mine)
    refused = command("calibrate", mine, *FEW, "--overwrite")
    assert "mine holds set points of its own, of 12 samples of digits (train); give" in refused.err
    file = tmp_path / "others.json"
    assert command("calibrate", mine, *FEW, "--out", file).code == 0
    loaded = load_checkpoint(mine)
    assert loaded.set_points is not None
    assert loaded.set_points.network == loaded.sha256
    assert SetPoints.load(file).to_dict() == loaded.set_points.to_dict()


def _made(command, mine: Path) -> Path:
    assert command("calibrate", mine, *FEW).code == 0
    return mine.with_name("mine.setpoints.json")


def test_pictures_without_classes_will_do(command, mine, pictures):
    done = command("calibrate", mine, "--on", f"folder:{pictures}")
    assert done.code == 0, done.err
    assert f"of 3 samples of folder:{pictures} (all)" in done.out
    refused = command(
        *("ood", mine, "--id", "digits", "--ood", f"folder:{pictures}", "--adapt", "layer"),
        *("--adapt-samples", 1),
    )
    assert "a set that is evaluated" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--on", "digits:fog:2"), "digits:fog:2 names a shift"),
        (("--on", "digit"), "digit"),
        (("--out", "/proc/nowhere/points.json"), "cannot write"),
        (("--out", "."), "it is a folder; name a file"),
        (("--scale", 2), "No such option"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words, said, command, mine):
    refused = command("calibrate", mine, *words)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert not mine.with_name("mine.setpoints.json").exists()


def test_weights_of_others(command, mine, tmp_path):
    """A state dict needs a set that its network knows."""
    torch.save(load_checkpoint(mine).weights, tmp_path / "plain.pt")
    module = "calibrated_network"
    (tmp_path / f"{module}.py").write_text(
        "from ahsar_eval.networks import ModelSpec, build\n"
        "def network():\n"
        "    return build(ModelSpec('vgg13', (1, 16, 16), 10, width=1 / 16, timesteps=2)).backbone\n"
    )
    words = ("--model", f"{module}:network", "--timesteps", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        shape = ("--input-shape", "1,16,16", "--classes", 10)
        refused = command("calibrate", tmp_path / "plain.pt", *words, *shape)
        assert "plain does not say which set it was trained on; name one" in refused.err
        done = command("calibrate", tmp_path / "plain.pt", *words, "--on", "digits", *FEW)
        assert done.code == 0, done.err
    points = SetPoints.load(tmp_path / "plain.setpoints.json")
    assert points.network == sha256_of_file(tmp_path / "plain.pt")


def test_inspect_shows_them(command, mine):
    assert "set points: none (ahsar-eval calibrate" in command("inspect", mine).out
    assert json.loads(command("inspect", mine, "--format", "json").out)["set_points"] is None
    points = SetPoints.load(_made(command, mine))
    told = command("inspect", mine).out
    assert "set points in the file beside it: 12 samples of digits (train)" in told
    one = points.layers["features.lif3_2"]
    assert f"{one.layer_rate:.4f}  {one.layer_spread:.4f}" in told
    held = json.loads(command("inspect", mine, "--format", "json").out)["set_points"]
    assert (held["n"], held["layers"][5]["layer"]) == (12, "features.lif3_2")
    assert held["layers"][5]["rate"] == one.layer_rate
    checkpoint: Checkpoint = load_checkpoint(mine)
    save_checkpoint(replace(checkpoint, set_points=points), mine)
    assert "set points in it: 12 samples" in command("inspect", mine).out
    weights = {name: tensor + 1 for name, tensor in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=weights), mine)
    assert "set points: none; " in command("inspect", mine).out, "those of other weights"
