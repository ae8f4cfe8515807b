"""Method frozen:CKPT: AHSAR's own final scales as constants, in training, in the checkpoint and in
what reads it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ahsar_eval.training.loop as loop
from ahsar_eval.data import open_set, split_of
from ahsar_eval.data.split import Split, subset
from ahsar_eval.errors import CheckpointError, UsageError
from ahsar_eval.homeostasis import named_neurons, read_thresholds
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import (
    Checkpoint,
    load_checkpoint,
    network_of,
    replayed_scales,
    save_checkpoint,
)
from ahsar_eval.training.loop import train
from ahsar_eval.training.request import Recipe, parse_method

SHAPE = (1, 16, 16)
SPEC = ModelSpec("vgg13", SHAPE, 10, width=1 / 16, timesteps=2, mean=(0.3,), std=(0.35,))


def digits(count: int, role: str) -> Split:
    return split_of(subset(open_set("digits", role), np.arange(count), role), SHAPE)


def run(method: str, spec: ModelSpec = SPEC, **settings: Any) -> Checkpoint:
    recipe = Recipe(parse_method(method), **{"epochs": 1, "batch_size": 25, **settings})
    return train(spec, digits(50, "train"), digits(20, "validation"), recipe)[0]


@pytest.fixture(scope="module")
def source(tiny_pair) -> Path:
    """A checkpoint with a controller whose EMA scales lie far from 1."""
    return tiny_pair[1]


@pytest.fixture(scope="module")
def scales(source) -> dict[str, float]:
    return replayed_scales(load_checkpoint(source), build(SPEC))


@pytest.fixture(scope="module")
def frozen(source) -> Checkpoint:
    return run(f"frozen:{source}")


def test_scales_hold_from_the_first_step_on(source, scales, monkeypatch):
    seen: list[dict[str, float]] = []

    def watched(of: ModelSpec) -> Any:
        net = build(of)
        net.register_forward_pre_hook(lambda *_: seen.append(read_thresholds(net.backbone)))
        return net

    monkeypatch.setattr(loop, "build", watched)
    run(f"frozen:{source}")
    assert len(seen) > 2
    assert all(thresholds == scales for thresholds in seen), "base thresholds are 1"
    assert scales["features.lif1_1"] == 0.75
    assert scales["features.lif5_1"] == 1.25


def test_checkpoint_carries_the_scales_and_replays_them(frozen, scales, source, tmp_path):
    assert frozen.homeostasis is None
    assert frozen.layer_scales == scales
    assert frozen.replays
    assert frozen.provenance["frozen_from"] == load_checkpoint(source).sha256
    assert "layer_scales" not in frozen.provenance
    save_checkpoint(frozen, tmp_path / "frozen.pt")
    again = load_checkpoint(tmp_path / "frozen.pt")
    assert again.layer_scales == scales
    assert again.method == f"frozen:{source}"
    assert read_thresholds(network_of(again).backbone) == scales
    assert set(read_thresholds(network_of(again, scale=1.0).backbone).values()) == {1.0}
    assert replayed_scales(again, network_of(again)) == scales


def test_scales_are_part_of_the_identity(frozen):
    other = replace(frozen, layer_scales={**frozen.layer_scales, "features.lif1_1": 0.7})
    assert len({frozen.identity, other.identity, replace(frozen, layer_scales={}).identity}) == 3


def test_frozen_scales_of_one_train_as_the_baseline(source, frozen, monkeypatch):
    baseline = run("baseline")
    method = replace(
        parse_method(f"frozen:{source}"), layer_scales=dict.fromkeys(frozen.layer_scales, 1.0)
    )
    ones, _ = train(
        SPEC, digits(50, "train"), digits(20, "validation"), Recipe(method, epochs=1, batch_size=25)
    )
    for name, tensor in baseline.weights.items():
        assert torch.equal(tensor, ones.weights[name]), name
    assert not torch.equal(baseline.weights["linear.weight"], frozen.weights["linear.weight"])


def test_other_step_mode_of_the_same_backbone_fits(source, scales):
    assert run(f"frozen:{source}", replace(SPEC, step_mode="s")).layer_scales == scales


def test_scales_of_another_backbone_are_refused(source):
    with pytest.raises(
        UsageError,
        match=(
            r"the checkpoint's scales do not fit the network, as only one of the two has a "
            r"spiking layer "
        ),
    ):
        run(f"frozen:{source}", replace(SPEC, backbone="resnet18"))


def test_a_layer_without_a_scale_is_refused(source):
    method = parse_method(f"frozen:{source}")
    fewer = {
        layer: scale for layer, scale in method.layer_scales.items() if layer != "features.lif3_2"
    }
    with pytest.raises(
        UsageError,
        match=(
            r"only one of the two has a spiking layer 'features\.lif3_2'; name a checkpoint of "
            r"the same"
        ),
    ):
        replace(method, layer_scales=fewer).factors(named_neurons(build(SPEC).backbone))


def test_a_checkpoint_without_a_controller_is_refused(tiny_pair):
    with pytest.raises(
        UsageError,
        match=(
            r"small-baseline was trained without a controller \(baseline\), so it has no scales "
            r"to freeze"
        ),
    ):
        parse_method(f"frozen:{tiny_pair[0]}")


def test_shipped_names_are_read():
    method = parse_method("frozen:digits-vgg13-ahsar")
    assert method.params is None
    assert len(method.layer_scales) == 10
    assert method.source == load_checkpoint("digits-vgg13-ahsar").sha256


def test_progress_of_other_scales_is_refused(source, tmp_path):
    file = tmp_path / "run.resume"
    copied = tmp_path / "ahsar.pt"
    copied.write_bytes(source.read_bytes())
    arguments = (SPEC, digits(50, "train"), digits(20, "validation"))

    def stop(history: list[dict[str, Any]]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            *arguments,
            Recipe(parse_method(f"frozen:{copied}"), epochs=2, batch_size=25),
            resume_file=file,
            on_epoch=stop,
        )
    content = load_checkpoint(copied)
    assert content.homeostasis is not None
    moved = replace(content.homeostasis, ema_scale=content.homeostasis.ema_scale * 1.01)
    save_checkpoint(replace(content, homeostasis=moved), copied)
    with pytest.raises(UsageError, match="differs in frozen_from, layer_scales;"):
        train(
            *arguments,
            Recipe(parse_method(f"frozen:{copied}"), epochs=2, batch_size=25),
            resume_file=file,
        )


# The file


def test_version_is_that_of_older_toolkits_unless_there_are_scales(frozen, tmp_path):
    for layer_scales, version in ((frozen.layer_scales, 2), ({}, 1)):
        file = tmp_path / f"{version}.pt"
        save_checkpoint(replace(frozen, layer_scales=layer_scales), file)
        content = torch.load(file, weights_only=True)
        assert content["version"] == version
        assert ("layer_scales" in content) == (version == 2)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ({"features.lif1_1": -1.0}, r"has a threshold factor of -1\.0; expected a positive number"),
        (
            {"features.lif1_1": float("nan")},
            "has a threshold factor of nan; expected a positive number",
        ),
        ({"features.lif1_1": "much"}, "lacks a part of a checkpoint"),
        ([1.0], "lacks a part of a checkpoint"),
    ],
)
def test_damaged_scales_are_refused(stored, text, frozen, tmp_path):
    file = tmp_path / "damaged.pt"
    save_checkpoint(frozen, file)
    torch.save({**torch.load(file, weights_only=True), "layer_scales": stored}, file)
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(file)


def test_scales_of_layers_the_network_lacks_are_refused(frozen):
    with pytest.raises(
        CheckpointError,
        match=r"has a threshold scale for layer 'features\.lif9', which its network lacks",
    ):
        network_of(replace(frozen, layer_scales={"features.lif9": 1.1}))


def test_inspect_shows_them(frozen, scales, command, tmp_path):
    file = tmp_path / "frozen.pt"
    save_checkpoint(frozen, file)
    shown = command("inspect", file)
    assert shown.code == 0, shown.err
    assert "controller: none; thresholds frozen at the scales above" in shown.out
    assert "0.750000" in shown.out
    content = json.loads(command("inspect", file, "--format", "json").out)
    assert {row["layer"]: row["scale"] for row in content["thresholds"]} == scales


def test_frozen_scales_are_a_replay_to_whoever_evaluates(frozen):
    """Not "base", and no one factor for all layers."""
    from ahsar_eval.evaluation.energy import own_scale
    from ahsar_eval.recording.runner import Runner

    assert Runner(frozen).thresholds == "replay"
    assert own_scale(Runner(frozen)) is None
    assert Runner(replace(frozen, layer_scales={})).thresholds == "base"


@pytest.mark.parametrize("method", ["baseline", "ahsar", "fixed:0.8", "frozen"])
def test_inspect_shows_the_thresholds_that_evaluation_runs_with(method, source, tmp_path, command):
    checkpoint = run(f"frozen:{source}" if method == "frozen" else method)
    save_checkpoint(checkpoint, tmp_path / "c.pt")
    shown = json.loads(command("inspect", tmp_path / "c.pt", "--format", "json").out)["thresholds"]
    assert {one["layer"]: one["effective"] for one in shown} == pytest.approx(
        read_thresholds(network_of(checkpoint).backbone)
    )
    assert {one["base"] for one in shown} == {1.0}
