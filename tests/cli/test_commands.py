"""The commands end to end: what they print in every format, what they write, and what they do not
compute twice.
"""

import csv
import io
import json
import textwrap
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import ahsar_eval.recording
from ahsar_eval.cli import main as cli_main
from ahsar_eval.errors import AhsarWarning
from ahsar_eval.networks import build
from ahsar_eval.networks.checkpoints import default_pair, load_checkpoint, save_checkpoint

OOD_KEYS = {
    *("checkpoint", "id", "ood", "severity", "score", "n_id", "n_ood"),
    *("auroc", "fpr_at_95_tpr", "accuracy_id", "accuracy_ood"),
}
ENERGY_KEYS = {"checkpoint", "data", "profile", "layers", "total_energy_pj", "uncounted"}
LAYER_KEYS = {"name", "input", "macs", "acs", "energy_pj"}


pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


@pytest.fixture
def passes(monkeypatch):
    """Every pass a command makes: the split's name and how many samples it has."""
    made = []
    original = ahsar_eval.recording.record

    def counted(net, split, **options):
        made.append((split.name, len(split)))
        return original(net, split, **options)

    monkeypatch.setattr("ahsar_eval.recording.runner.record", counted)
    return made


@pytest.fixture
def sets(few_digits):
    """--id and --ood for small sets: forty digits, the same with less contrast."""
    return ["--id", f"npz:{few_digits}", "--ood", f"npz:{few_digits}:contrast:5"]


def json_of(outcome):
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


# ood


def test_ood_json_of_several_checkpoints(command, tiny_pair, few_digits):
    found = json_of(
        command(
            *("ood", *tiny_pair, "--id", f"npz:{few_digits}", "--ood", "photo-patches"),
            *("--ood", f"npz:{few_digits}:rotation", "--format", "json"),
        )
    )
    rows = found["rows"]
    assert [(row["checkpoint"], row["severity"]) for row in rows] == [
        (name, severity) for name in ("small-baseline", "small-ahsar") for severity in range(6)
    ]
    for row in rows:
        assert set(row) >= OOD_KEYS
        assert row["thresholds"] in ("base", "replay")
        assert (row["n_id"], row["score"]) == (40, "entropy")
        assert all(
            0 <= row[name] <= 1
            for name in ("auroc", "fpr_at_95_tpr", "accuracy_id", "mean_rate_id")
        )
        assert (row["accuracy_ood"] is None) == (row["ood"] == "photo-patches")
        assert row["n_ood"] == (520 if row["ood"] == "photo-patches" else 40)
    facts = found["provenance"]
    assert set(facts) >= {"command", "versions", "threads", "time", "seed", "checkpoints"}
    assert [entry["id"]["name"] for entry in facts["checkpoints"]] == [found["rows"][0]["id"]] * 2
    assert len(facts["checkpoints"][0]["ood"]) == 6
    assert [entry["sha256"] for entry in facts["checkpoints"]] == [
        load_checkpoint(file).sha256 for file in tiny_pair
    ]


def test_ood_tables_put_checkpoints_side_by_side(command, tiny_pair, sets):
    for form in ("table", "markdown"):
        done = command("ood", *tiny_pair, *sets, "--format", form)
        assert (done.code, done.err) == (0, "")
        assert "small-baseline" in done.out
        assert "small-ahsar" in done.out
        assert ":contrast:5" in done.out
        assert "out-of-distribution positive" in done.out
        assert ("|" in done.out) == (form == "markdown")


def test_ood_csv_has_the_numbers_of_the_json(command, tiny_pair, sets):
    rows = json_of(command("ood", *tiny_pair, *sets, "--format", "json"))["rows"]
    read = list(
        csv.DictReader(io.StringIO(command("ood", *tiny_pair, *sets, "--format", "csv").out))
    )
    assert [line["checkpoint"] for line in read] == [row["checkpoint"] for row in rows]
    for line, row in zip(read, rows, strict=True):
        assert set(line) == set(row)
        for name, value in row.items():
            assert line[name] == (
                "" if value is None else repr(value) if isinstance(value, float) else str(value)
            )


def test_without_a_checkpoint_the_shipped_pair_is_used(command, few_digits):
    found = json_of(
        command(
            "ood",
            "--id",
            f"npz:{few_digits}",
            "--ood",
            f"npz:{few_digits}:inversion:5",
            "--format",
            "json",
        )
    )
    assert [row["checkpoint"] for row in found["rows"]] == list(default_pair("digits"))
    assert all(row["accuracy_id"] > 0.8 for row in found["rows"])


def test_scale_replaces_the_replay_and_no_replay_is_scale_one(command, tiny_pair, sets):
    base = ["ood", tiny_pair[1], *sets, "--format", "json"]
    replayed, plain, one, low = (
        json_of(command(*base, *more))["rows"][0]
        for more in ([], ["--no-replay"], ["--scale", "1"], ["--scale", "0.5"])
    )
    assert plain == one
    assert [row["thresholds"] for row in (replayed, plain, low)] == [
        "replay",
        "scale 1",
        "scale 0.5",
    ]
    assert len({row["mean_rate_id"] for row in (replayed, plain, low)}) == 3
    assert low["mean_rate_id"] > plain["mean_rate_id"]
    # A baseline has nothing to replay.
    assert (
        json_of(command("ood", tiny_pair[0], *sets, "--format", "json"))["rows"][0]["auroc"]
        == json_of(command("ood", tiny_pair[0], *sets, "--no-replay", "--format", "json"))["rows"][
            0
        ]["auroc"]
    )


def test_two_files_of_one_name_are_told_apart_by_their_paths(
    command, tiny_pair, sets, make_tiny, tmp_path
):
    other = tmp_path / "other" / tiny_pair[0].name
    save_checkpoint(make_tiny(v_threshold=0.7), other)
    rows = json_of(command("ood", tiny_pair[0], other, *sets, "--format", "json"))["rows"]
    assert [row["checkpoint"] for row in rows] == [str(tiny_pair[0]), str(other)]


def test_the_seed_decides_a_random_shift_and_nothing_else(command, tiny_pair, few_digits):
    noisy = [
        "ood",
        tiny_pair[0],
        "--id",
        f"npz:{few_digits}",
        "--ood",
        f"npz:{few_digits}:gaussian_noise:5",
        "--format",
        "json",
        "--no-cache",
    ]
    one, again, two = (json_of(command(*noisy, "--seed", seed))["rows"][0] for seed in (1, 1, 2))
    assert one == again
    assert one["accuracy_id"] == two["accuracy_id"]
    assert one["auroc"] != two["auroc"]


def test_out_writes_json_csv_markdown_and_latex(command, tiny_pair, sets, tmp_path):
    for name, arguments in {
        "ood": ["ood", tiny_pair[0], *sets],
        "energy": ["energy", tiny_pair[0], "--data", sets[1]],
    }.items():
        out = tmp_path / "deep" / name
        printed = command(*arguments, "--out", out, "--format", "json")
        assert (printed.code, printed.err) == (0, "")
        assert sorted(path.name for path in out.iterdir()) == [
            f"{name}.{form}" for form in ("csv", "json", "md", "tex")
        ]
        assert json.loads((out / f"{name}.json").read_text()) == json.loads(printed.out)
        assert list(csv.DictReader((out / f"{name}.csv").open()))
        assert (out / f"{name}.md").read_text().count("|") > 10


# energy


def test_energy_json_of_one_and_of_several(command, tiny_pair, few_digits):
    arguments = ["--data", f"npz:{few_digits}", "--format", "json"]
    one = json_of(command("energy", tiny_pair[0], *arguments))
    several = json_of(command("energy", *tiny_pair, *arguments))
    assert [found["checkpoint"] for found in several] == ["small-baseline", "small-ahsar"]
    assert several[0]["total_energy_pj"] == one["total_energy_pj"] != several[1]["total_energy_pj"]
    for found in (one, *several):
        assert set(found) >= ENERGY_KEYS
        assert found["uncounted"] == []
        assert found["profile"] == "45nm-fp32"
        assert all(set(layer) >= LAYER_KEYS for layer in found["layers"])
        rows = [*found["layers"], *found["neurons"], *found["operators"]]
        assert found["total_energy_pj"] == pytest.approx(
            sum(row["energy_pj"] for row in rows), rel=1e-12
        )
        assert found["total_energy_pj"] == pytest.approx(
            sum(found["totals_by_part"].values()), rel=1e-12
        )
        assert [layer["input"] for layer in found["layers"]][:2] == ["analog", "spikes"]
        first = found["layers"][0]
        # 3×3 on 16×16 with zero padding touches 46² positions of the 48² a full border would: 4
        # output channels, charged once.
        assert first["macs"] == 46 * 46 * 4
        assert first["synaptic_pj"] == pytest.approx(46 * 46 * 4 * 4.6)
        assert first["other_pj"] == pytest.approx(16 * 16 * 4 * 0.9), (
            "the batch norm folded into it leaves one addition per output"
        )


def test_energy_in_every_other_format(command, tiny_pair, few_digits):
    for form in ("table", "csv", "markdown"):
        done = command("energy", *tiny_pair, "--data", f"npz:{few_digits}", "--format", form)
        assert (done.code, done.err) == (0, "")
        assert "features.conv1_1" in done.out
        assert "small-ahsar" in done.out
    assert "Uncounted" in command("energy", tiny_pair[0], "--data", f"npz:{few_digits}").out


def test_energy_profile_is_a_price_and_no_count(command, tiny_pair, few_digits):
    arguments = ["energy", tiny_pair[0], "--data", f"npz:{few_digits}", "--format", "json"]
    fp32, int8 = (
        json_of(command(*arguments)),
        json_of(command(*arguments, "--profile", "45nm-int8")),
    )
    assert (fp32["total_acs"], fp32["total_macs"]) == (int8["total_acs"], int8["total_macs"])
    assert int8["synaptic_energy_pj"] == pytest.approx(
        0.03 * int8["total_acs"] + 0.23 * int8["total_macs"]
    )
    assert fp32["synaptic_energy_pj"] == pytest.approx(
        0.9 * fp32["total_acs"] + 4.6 * fp32["total_macs"]
    )


def test_energy_runs_on_the_set_a_checkpoint_was_trained_on(command, tiny_pair):
    assert json_of(command("energy", tiny_pair[0], "--format", "json"))["data"] == "digits"


# The cache


def test_energy_and_raster_after_ood_make_no_second_pass(
    command, tiny_pair, few_digits, passes, tmp_path
):
    cache = ["--cache", tmp_path / "cache"]
    name = f"npz:{few_digits}"
    assert (
        command(
            "ood",
            *tiny_pair,
            "--id",
            name,
            "--ood",
            "photo-patches",
            "--ood",
            f"{name}:contrast:1",
            *cache,
        ).code
        == 0
    )
    assert passes == 2 * [(name, 40), ("photo-patches", 520), (f"{name}:contrast:1", 40)]
    passes.clear()
    assert command("energy", *tiny_pair, "--data", name, *cache).code == 0
    assert (
        command(
            "raster",
            tiny_pair[1],
            "--layer",
            5,
            "--data",
            name,
            "--sample",
            0,
            "--scales",
            "ahsar",
            *cache,
        ).code
        == 0
    )
    assert (
        command(
            "ood", *tiny_pair, "--id", name, "--ood", "photo-patches", "--batch-size", 3, *cache
        ).code
        == 0
    )
    assert passes == []
    assert (
        command("raster", *tiny_pair, "--layer", 5, "--data", name, "--sample", 0, *cache).code == 0
    )
    assert {count for _, count in passes} == {
        1
    }  # other threshold scales need the one sample, never the set again


def test_what_changes_a_recording_is_recorded_again(
    command, tiny_pair, few_digits, passes, tmp_path, make_tiny
):
    base = ["energy", "--cache", tmp_path / "cache", "--data", f"npz:{few_digits}"]
    shifted = [
        "energy",
        "--cache",
        tmp_path / "cache",
        "--data",
        f"npz:{few_digits}:gaussian_noise:1",
    ]
    save_checkpoint(make_tiny(timesteps=3), tmp_path / "longer.pt")
    file = tmp_path / "changing.pt"
    save_checkpoint(make_tiny(), file)
    for arguments, expected in [
        ([*base, tiny_pair[0]], 1),
        ([*base, tiny_pair[0]], 0),
        ([*base, tiny_pair[0], "--seed", 1], 0),  # nothing random in it
        ([*base, tiny_pair[0], "--scale", 0.5], 1),
        ([*base, tiny_pair[1]], 1),
        ([*base, tmp_path / "longer.pt"], 1),
        ([*shifted, tiny_pair[0]], 1),
        ([*shifted, tiny_pair[0], "--seed", 1], 1),
        ([*shifted, tiny_pair[0], "--seed", 1], 0),
        ([*base, tiny_pair[0], "--no-cache"], 1),
        ([*base, file], 1),
    ]:
        passes.clear()
        assert command(*arguments).code == 0
        assert len(passes) == expected, arguments
    weights = dict(make_tiny().weights)
    weights["linear.bias"] = weights["linear.bias"] + 1  # nothing but one tensor of the file
    save_checkpoint(replace(make_tiny(), weights=weights), file)
    passes.clear()
    assert command(*base, file).code == 0
    assert len(passes) == 1


def test_cached_and_fresh_results_are_identical(command, tiny_pair, sets, tmp_path):
    for arguments in (["ood", *tiny_pair, *sets], ["energy", *tiny_pair, "--data", sets[1]]):
        texts = [
            command(*arguments, "--format", "csv", *more).out
            for more in (
                ["--cache", tmp_path / "c"],
                ["--cache", tmp_path / "c"],
                ["--no-cache"],
                ["--no-cache", "--batch-size", 7],
            )
        ]
        assert texts[0]
        assert len(set(texts)) == 1


def test_a_damaged_recording_is_made_again(command, tiny_pair, few_digits, passes, tmp_path):
    arguments = [
        "energy",
        tiny_pair[0],
        "--data",
        f"npz:{few_digits}",
        "--cache",
        tmp_path / "c",
        "--format",
        "csv",
    ]
    first = command(*arguments).out
    (file,) = (tmp_path / "c").glob("*.npz")
    file.write_bytes(file.read_bytes()[:1000])
    (finished,) = (tmp_path / "c").glob("*.json")
    finished.unlink()
    assert command(*arguments).out == first
    assert len(passes) == 2


# raster


@pytest.mark.parametrize(
    "suffix",
    ["png", *(pytest.param(one, marks=pytest.mark.every) for one in ("pdf", "svg", "gif"))],
)
def test_raster_writes_the_figure_and_its_arrays(suffix, command, tiny_pair, few_digits, tmp_path):
    out = tmp_path / "new" / f"figure.{suffix}"
    done = command(
        "raster",
        *tiny_pair,
        "--layer",
        5,
        "--data",
        f"npz:{few_digits}",
        "--sample",
        7,
        "--out",
        out,
    )
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [f"wrote {out}", f"wrote {out.with_suffix('.arrays.npz')}"]
    assert out.stat().st_size > 5_000
    with np.load(out.with_suffix(".arrays.npz")) as arrays:
        scales = {place: float(arrays[f"scale_1_{place}"]) for place in range(5)}
        assert [scales[place] for place in range(4)] == [0.25, 0.5, 1, 2]
        assert np.isnan(scales[4])
        assert "scale_0_4" not in arrays  # the baseline has no replayed scales to show
        for place in range(4):
            assert float(arrays[f"threshold_1_{place}"]) == scales[place]
        stored = load_checkpoint(tiny_pair[1]).homeostasis
        assert stored is not None
        assert float(arrays["threshold_1_4"]) == stored.replayed_scales()["features.lif3_2"]
        assert str(arrays["layer_1"]) == "layer 5 (features.lif3_2)"
        rates = [float(arrays[f"rate_1_{place}"]) for place in range(5)]
        assert rates == [arrays[f"spikes_1_{place}"].mean() for place in range(5)]
        assert rates[0] > 0


def test_raster_shows_the_sample_that_was_asked_for(command, tiny_pair, few_digits):
    images = np.load(few_digits)["x"]
    for sample in (0, 39):
        done = command(
            *("raster", tiny_pair[0], "--layer", "features.lif1_1", "--scales", "1"),
            *("--data", f"npz:{few_digits}", "--sample", sample, "--out", "one.png"),
        )
        assert done.code == 0
        assert np.array_equal(np.load("one.arrays.npz")["image_0"], images[sample])


def test_raster_of_a_sample_is_the_same_alone_and_from_the_whole_set(
    command, tiny_pair, few_digits, tmp_path
):
    arguments = [
        "raster",
        tiny_pair[1],
        "--layer",
        3,
        "--scales",
        "ahsar",
        "--data",
        f"npz:{few_digits}:gaussian_noise:5",
    ]
    assert command(*arguments, "--no-cache", "--out", "alone.png").code == 0
    cache = ["--cache", tmp_path / "c"]
    name = f"npz:{few_digits}:gaussian_noise:5"
    assert command("ood", tiny_pair[1], "--id", name, "--ood", "photo-patches", *cache).code == 0
    assert command(*arguments, *cache, "--out", "whole.png").code == 0
    with np.load("alone.arrays.npz") as alone, np.load("whole.arrays.npz") as whole:
        assert np.array_equal(alone["spikes_0_0"], whole["spikes_0_0"])
        assert np.array_equal(alone["image_0"], whole["image_0"])


# inspect, data


def test_inspect_shows_specification_thresholds_controller_and_provenance(command, tiny_pair):
    found = json_of(command("inspect", tiny_pair[1], "--format", "json"))
    stored = load_checkpoint(tiny_pair[1])
    assert stored.homeostasis is not None
    assert found["spec"] == stored.spec.to_dict()
    assert found["sha256"] == stored.sha256
    assert found["homeostasis"] == stored.homeostasis.to_dict()
    assert found["provenance"] == stored.provenance
    for entry in found["thresholds"]:
        assert entry["effective"] == entry["base"] * entry["scale"]
        assert entry["scale"] == stored.homeostasis.replayed_scales()[entry["layer"]]
    done = command("inspect", tiny_pair[1])
    assert (done.code, done.err) == (0, "")
    for part in (
        "vgg13",
        "features.lif5_1",
        "0.750000",
        "1.250000",
        "EMA scale",
        "ahsar-eval train",
    ):
        assert part in done.out


def test_inspect_of_a_baseline_says_that_it_has_no_controller(command, tiny_pair):
    assert "controller: none" in command("inspect", tiny_pair[0]).out
    assert json_of(command("inspect", tiny_pair[0], "--format", "json"))["homeostasis"] is None


@pytest.mark.parametrize("name", ["digits-vgg13-baseline", "digits-resnet18-ahsar"])
def test_inspect_of_a_shipped_checkpoint(name, command):
    done = command("inspect", name)
    assert (done.code, done.err) == (0, "")
    assert name in done.out


def test_data_lists_sets_and_shifts_and_describes_one(command, few_digits):
    listed = command("data", "list")
    assert (listed.code, listed.err) == (0, "")
    for part in (
        "digits",
        "photo-patches",
        "folder:PATH",
        "npz:PATH",
        "gaussian_noise",
        "inversion",
    ):
        assert part in listed.out
    described = command("data", "info", f"npz:{few_digits}")
    assert (described.code, described.err) == (0, "")
    assert "1x16x16" in described.out
    assert "1,167" in command("data", "info", "digits", "--role", "train").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, command):
    done = command("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "_AHSAR_EVAL_COMPLETE" in done.out


# train


@pytest.fixture
def training(few_digits):
    """The smallest training there is: forty images, one epoch, 1/16 of the width."""
    return [
        *(
            "train",
            "--data",
            f"npz:{few_digits}",
            "--width",
            0.0625,
            "--timesteps",
            2,
            "--epochs",
            1,
        ),
        *("--batch-size", 16, "--hold-out", 0.2, "--threads", 1),
    ]


@pytest.mark.parametrize(
    ("method", "backbone", "step_mode"),
    [("baseline", "vgg13", "m"), ("ahsar", "resnet18", "s"), ("fixed:0.5", "vgg13", "s")],
)
def test_train_writes_a_checkpoint_and_its_history(
    method, backbone, step_mode, command, training, tmp_path
):
    out = tmp_path / "new" / "mine.pt"
    done = command(
        *training,
        "--method",
        method,
        "--backbone",
        backbone,
        "--step-mode",
        step_mode,
        "--out",
        out,
    )
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[0].startswith("epoch   1/1  loss ")
    assert done.err.splitlines()[-2:] == [
        f"wrote {out}",
        f"wrote {out.with_suffix('.history.csv')}",
    ]
    assert sorted(path.name for path in out.parent.iterdir()) == ["mine.history.csv", "mine.pt"]
    stored = load_checkpoint(out)
    assert (stored.method, stored.spec.backbone, stored.spec.step_mode) == (
        method,
        backbone,
        step_mode,
    )
    assert stored.spec.classes == 10
    assert (stored.homeostasis is not None) == (method == "ahsar")
    assert stored.fixed_scale == (0.5 if method == "fixed:0.5" else 1.0)
    assert stored.provenance["seed"] == 0
    assert stored.provenance["threads"] == 1
    (row,) = csv.DictReader(out.with_suffix(".history.csv").open())
    assert row["epoch"] == "1"
    assert float(row["train_loss"]) > 0
    assert "gain" in row or method != "ahsar"


def test_what_was_trained_can_be_evaluated(command, training, few_digits):
    assert command(*training, "--method", "ahsar", "--out", "mine.pt").code == 0
    outcome = command("energy", "mine.pt", "--format", "json")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert found["data"] == f"npz:{few_digits}"  # the set it was trained on, without being told


# A network of the user's own

OWN = """
    from spikingjelly.activation_based import layer, neuron
    from torch import nn

    def network():
        return nn.Sequential(
            layer.Conv2d(1, 4, 3, stride=2, padding=1, bias=False, step_mode="{mode}"),
            neuron.LIFNode(step_mode="{mode}", v_threshold=0.5),
            layer.Flatten(step_mode="{mode}"),
            layer.Linear(4 * 8 * 8, 10, step_mode="{mode}"),
        )
"""


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("wrapper", [None, "state_dict"])
def test_a_plain_state_dict_with_the_users_own_network(mode, wrapper, command, sets, tmp_path):
    from pathlib import Path

    module = f"own_network_{mode}_{'wrapped' if wrapper else 'plain'}"
    Path(f"{module}.py").write_text(textwrap.dedent(OWN.format(mode=mode)))
    from ahsar_eval.networks import load_user_network

    torch.manual_seed(0)
    weights = load_user_network(f"{module}:network").state_dict()
    torch.save({wrapper: weights, "epoch": 3} if wrapper else weights, "own.pt")
    options = ["--model", f"{module}:network", "--timesteps", 3]
    (row,) = json_of(command("ood", "own.pt", *sets, *options, "--format", "json"))["rows"]
    assert set(row) >= OOD_KEYS
    assert (row["checkpoint"], row["n_id"]) == ("own", 40)
    energy = json_of(command("energy", "own.pt", "--data", sets[1], *options, "--format", "json"))
    assert [(layer["name"], layer["input"]) for layer in energy["layers"]] == [
        ("0", "analog"),
        ("3", "spikes"),
    ]
    assert energy["timesteps"] == 3
    assert (
        command(
            "raster", "own.pt", "--data", sets[1], *options, "--scales", "0.5,1", "--out", "own.png"
        ).code
        == 0
    )
    assert float(np.load("own.arrays.npz")["threshold_0_0"]) == 0.25


def test_a_checkpoint_trained_on_the_users_own_network_asks_for_its_code(
    command, training, tmp_path
):
    from pathlib import Path

    Path("own_trained.py").write_text(textwrap.dedent(OWN.format(mode="m")))
    assert (
        command(
            *training, "--backbone", "own_trained:network", "--method", "ahsar", "--out", "own.pt"
        ).code
        == 0
    )
    refused = command("inspect", "own.pt")
    assert refused.code == 2
    assert (
        "holds a network of your own; name its code again with --model own_trained:network"
        in refused.err
    )
    done = command("inspect", "own.pt", "--model", "own_trained:network")
    assert (done.code, done.err) == (0, "")


def test_a_changed_network_does_not_find_the_old_recording(
    command, sets, passes, tmp_path, monkeypatch
):
    from pathlib import Path
    from sys import modules

    Path("own_changing.py").write_text(textwrap.dedent(OWN.format(mode="m")))
    from ahsar_eval.networks import load_user_network

    torch.save(load_user_network("own_changing:network").state_dict(), "own.pt")
    arguments = [
        "energy",
        "own.pt",
        "--data",
        sets[1],
        "--model",
        "own_changing:network",
        "--timesteps",
        2,
        "--cache",
        tmp_path / "c",
    ]
    assert command(*arguments).code == 0
    assert command(*arguments).code == 0
    assert len(passes) == 1
    Path("own_changing.py").write_text(
        textwrap.dedent(OWN.format(mode="m")).replace("v_threshold=0.5", "v_threshold=0.25")
    )
    monkeypatch.delitem(modules, "own_changing")
    import importlib

    importlib.invalidate_caches()
    assert command(*arguments).code == 0
    assert len(passes) == 2


def test_own_networks_of_the_catalogue_build_from_their_specification(tiny_pair):
    stored = load_checkpoint(tiny_pair[0])
    assert set(build(stored.spec).backbone.state_dict()) == set(stored.weights)


def test_a_warning_is_one_line_without_a_code_location(command, training):
    outcome = command(*training, "--method", "ahsar-no-rt", "--out", "mine.pt")
    assert outcome.code == 0
    warned = [line for line in outcome.err.splitlines() if "warning" in line.lower()]
    assert len(warned) == 1, outcome.err
    assert warned[0].startswith("ahsar-eval: warning: beta = 0.1 gives the closed loop a gain")


def test_a_sentence_is_said_once_whatever_libraries_do_to_warnings(monkeypatch, capsys):
    def twice(**_: object) -> None:
        for _i in range(2):
            with warnings.catch_warnings():  # Python forgets what it has shown
                pass
            warnings.warn("true of both sets", AhsarWarning, stacklevel=1)

    monkeypatch.setattr(cli_main.cli, "main", twice)
    assert [cli_main.run([]), cli_main.run([])] == [0, 0]
    assert capsys.readouterr().err == "ahsar-eval: warning: true of both sets\n" * 2


def test_evaluating_on_the_training_images_is_said(command, training, few_digits):
    assert command(*training, "--method", "baseline", "--out", "mine.pt").code == 0
    seen = command("ood", "mine.pt", "--id", f"npz:{few_digits}", "--ood", "photo-patches")
    assert seen.code == 0
    assert "holds the samples mine was trained on" in seen.err
    unseen = command("ood", "mine.pt", "--id", "digits", "--ood", "photo-patches")
    assert unseen.err == ""


def test_a_network_of_the_other_step_mode_is_refused(command, sets, tmp_path):
    from pathlib import Path

    Path("own_step_mode.py").write_text(textwrap.dedent(OWN.format(mode="s")))
    refused = command(
        "train",
        "--data",
        "digits",
        "--backbone",
        "own_step_mode:network",
        "--step-mode",
        "m",
        "--epochs",
        "1",
    )
    assert refused.code == 2
    assert "own_step_mode:network runs in step mode s and m was asked for" in refused.err


def test_a_failing_network_is_named_with_its_input(command, sets):
    from pathlib import Path

    source = textwrap.dedent(OWN.format(mode="m")).replace("4 * 8 * 8", "17")
    Path("own_failing.py").write_text(source)
    refused = command(
        "train",
        "--data",
        "digits",
        "--backbone",
        "own_failing:network",
        "--timesteps",
        2,
        "--epochs",
        1,
    )
    assert refused.code == 2
    assert "own_failing:network: the network cannot be called so that its output" in refused.err
    assert "[N, T, C, H, W]: RuntimeError, mat1 and mat2 shapes cannot be multiplied" in refused.err
    assert "Traceback" not in refused.err


def test_the_controller_saved_beside_a_plain_state_dict_is_replayed(command, sets):
    from pathlib import Path

    from spikingjelly.activation_based import functional

    from ahsar_eval.homeostasis import Ahsar
    from ahsar_eval.networks import load_user_network

    Path("own_regulated.py").write_text(textwrap.dedent(OWN.format(mode="m")))
    net = load_user_network("own_regulated:network")
    ahsar = Ahsar(net)
    for _ in range(3):
        functional.reset_net(net)
        net.train()
        net(torch.rand(3, 8, 1, 16, 16))
    torch.save({"net": net.state_dict(), "ahsar": ahsar.state_dict()}, "mine.pt")
    options = ["--model", "own_regulated:network", "--timesteps", 3]
    (row,) = json_of(command("ood", "mine.pt", *sets, *options, "--format", "json"))["rows"]
    assert row["thresholds"] == "replay"
    energy = json_of(command("energy", "mine.pt", "--data", sets[1], *options, "--format", "json"))
    assert energy["neurons"][0]["threshold"] == pytest.approx(
        0.5 * float(ahsar.state.ema_scale[0]), rel=1e-12
    )


def test_a_plain_state_dict_needs_its_time_steps(command, sets):
    from pathlib import Path

    from ahsar_eval.networks import load_user_network

    Path("own_steps.py").write_text(textwrap.dedent(OWN.format(mode="m")))
    torch.save(load_user_network("own_steps:network").state_dict(), "mine.pt")
    refused = command("ood", "mine.pt", *sets, "--model", "own_steps:network")
    assert refused.code == 2
    assert "give --timesteps T" in refused.err


def test_the_figure_does_not_overwrite_the_data_it_was_made_from(
    command, tiny_pair, few_digits, tmp_path
):
    data = tmp_path / "few.npz"
    data.write_bytes(few_digits.read_bytes())
    assert (
        command(
            "raster",
            tiny_pair[0],
            "--scales",
            "1",
            "--data",
            f"npz:{data}",
            "--out",
            tmp_path / "few.png",
        ).code
        == 0
    )
    assert data.read_bytes() == few_digits.read_bytes()


def test_energy_takes_labels_without_names_as_class_numbers_and_says_so(command, tmp_path):
    np.savez(
        tmp_path / "other.npz",
        x=np.random.default_rng(0).random((12, 16, 16)).astype(np.float32),
        y=np.arange(12) % 10,
    )
    found = json_of(
        command(
            "energy",
            "digits-vgg13-baseline",
            "--data",
            f"npz:{tmp_path / 'other.npz'}",
            "--format",
            "json",
        )
    )
    assert found["accuracy"] is not None
    told = command("energy", "digits-vgg13-baseline", "--data", f"npz:{tmp_path / 'other.npz'}")
    assert "labels 0 to 9 are taken as numbers of the classes" in " ".join(told.out.split())


def test_a_baseline_keeps_the_place_of_the_replayed_setting(
    command, tiny_pair, few_digits, tmp_path
):
    arguments = [
        "--scales",
        "ahsar,1",
        "--data",
        f"npz:{few_digits}",
        "--out",
        tmp_path / "two.png",
    ]
    assert command("raster", *tiny_pair, *arguments).code == 0
    with np.load(tmp_path / "two.arrays.npz") as arrays:
        assert "scale_0_0" not in arrays, "the baseline has no replayed setting"
        assert [float(arrays[name]) for name in ("scale_0_1", "scale_1_1")] == [1.0, 1.0]
        assert np.isnan(arrays["scale_1_0"])
