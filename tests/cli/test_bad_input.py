"""Everything a user can get wrong: one clear sentence, exit code 2 (130 for Ctrl-C), nothing
half-written, nothing executed.
"""

import errno
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ahsar_eval.networks.checkpoints import FORMAT, save_checkpoint

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


def tree(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
    }


def said(err: str) -> str:
    """The one line that a refusal prints, without the program's name."""
    assert "Traceback" not in err
    # A disk that is full for the result is full for the cache too, which is said in a line of its
    # own.
    lines = [
        line
        for line in err.splitlines()
        if not line.startswith("ahsar-eval: warning: recordings are not kept: ")
    ]
    assert len(lines) == 1, err
    assert lines[0].startswith("ahsar-eval: ")
    return lines[0].removeprefix("ahsar-eval: ")


@pytest.fixture
def refused(command, tmp_path) -> Callable[..., str]:
    """`refused("ood", …, because=[texts])`: the command ends with 2, prints one line that holds the
    texts, and leaves nothing behind.
    """

    def check(*arguments: object, because: str | list[str]) -> str:
        before = tree(tmp_path)
        done = command(*arguments)
        message = said(done.err)
        for text in [because] if isinstance(because, str) else because:
            assert text in message
        assert done.code == 2
        assert done.out == ""
        assert tree(tmp_path) == before
        return message

    return check


@pytest.fixture
def good(tiny_pair) -> Path:
    """A checkpoint that works."""
    return tiny_pair[0]


@pytest.fixture
def digits(few_digits) -> str:
    """A small set that works."""
    return f"npz:{few_digits}"


COMMANDS: dict[str, list[str]] = {
    "inspect": [],
    "energy": ["--data", "digits"],
    "ood": ["--id", "digits", "--ood", "photo-patches", "--out", "results"],
    "raster": ["--data", "digits"],
}
every_command = pytest.mark.parametrize("name", COMMANDS)


def with_file(name: str, file: object) -> list[object]:
    return [name, file, *COMMANDS[name]]


# Files that are no checkpoint


class Payload:
    """An object whose unpickling makes a folder: what an attacker would put into a checkpoint."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


def plain_pickle(content: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(content))


def old_pickle(content: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(content, protocol=0))


def torch_zip(content: object, file: Path) -> None:
    torch.save(content, file)


def torch_legacy(content: object, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [plain_pickle, old_pickle, torch_zip, torch_legacy])
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "among the weights"])
def test_a_pickle_that_would_execute_is_not_executed(write, inside, refused, tmp_path):
    sentinel = tmp_path / "executed"
    payload: object = Payload(sentinel)
    if inside:
        payload = {"format": FORMAT, "version": 1, "weights": {"conv": payload}}
    file = tmp_path / "evil.pt"
    write(payload, file)
    because = ["evil.pt: it asks to run code when it is opened", "mkdir", "not opened further"]
    if write is plain_pickle or (write is old_pickle and inside):  # torch does not read so far
        because = ["evil.pt: it is no checkpoint", "expected a file written by torch.save"]
    for name in COMMANDS:
        refused(*with_file(name, file), because=because)
        assert not sentinel.exists()
    # The payload is live: a loader that trusts the file runs it.
    if write in (plain_pickle, old_pickle):
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert sentinel.exists()


def test_a_whole_module_is_refused(refused, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    refused(
        "inspect",
        tmp_path / "module.pt",
        because=[
            "asks to run code when it is opened",
            "torch.nn.modules.linear.Linear",
            "save a state_dict",
        ],
    )


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9, 0.999])
@every_command
def test_a_truncated_file(kept, name, good, refused, tmp_path):
    content = good.read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: int(len(content) * kept)])
    refused(
        *with_file(name, tmp_path / "cut.pt"),
        because=["cut.pt: it is no checkpoint: it is truncated", "copy it again"],
    )


@every_command
def test_an_empty_file(name, refused, tmp_path):
    (tmp_path / "empty.pt").touch()
    refused(
        *with_file(name, tmp_path / "empty.pt"),
        because="empty.pt: it is no checkpoint: it is truncated",
    )


@pytest.mark.parametrize(
    "text", ["epoch,loss\n1,0.5\n", "hello", "{}", "größer\n", "x" * 10_000, "cos\n"]
)
def test_a_text_file(text, refused, tmp_path):
    (tmp_path / "notes.pt").write_text(text)
    refused(
        "inspect",
        tmp_path / "notes.pt",
        because=["notes.pt: it is no checkpoint", "of another kind", "torch.save"],
    )


def test_a_name_of_two_lines_still_gives_one(refused, tmp_path):
    (tmp_path / "two\nlines.pt").touch()
    refused("inspect", tmp_path / "two\nlines.pt", because="two lines.pt: it is no checkpoint")


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes(seed, refused, tmp_path):
    (tmp_path / "noise.pt").write_bytes(np.random.default_rng(seed).bytes(2000))
    refused("inspect", tmp_path / "noise.pt", because="noise.pt: it is no checkpoint")


def test_an_archive_of_something_else(refused, tmp_path):
    np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    refused(
        "inspect",
        tmp_path / "arrays.npz",
        because=["arrays.npz: it is no checkpoint", "of another kind"],
    )


def test_a_tensor_and_a_list_instead_of_a_mapping(refused, tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    refused(
        "inspect",
        tmp_path / "tensor.pt",
        because="tensor.pt: it holds a Tensor; expected a checkpoint",
    )
    torch.save([1, 2], tmp_path / "list.pt")
    refused(
        "inspect", tmp_path / "list.pt", because="list.pt: it holds a list; expected a checkpoint"
    )


def test_a_file_that_is_not_there_and_a_folder(refused, tmp_path):
    refused(
        "inspect",
        "nowhere.pt",
        because=["no checkpoint 'nowhere.pt'", "none of the shipped ones", "digits-vgg13-ahsar"],
    )
    refused("inspect", tmp_path, because="it is no file, and none of the shipped ones")


# State dicts and weights that do not fit


def test_a_foreign_state_dict_needs_its_network(refused, tmp_path, digits):
    torch.save({"conv.weight": torch.zeros(3, 1, 3, 3)}, tmp_path / "foreign.pt")
    refused(
        *("ood", tmp_path / "foreign.pt", "--id", digits, "--ood", "photo-patches"),
        because=[
            "foreign.pt: it is no checkpoint of ahsar-eval, and a plain state dict",
            "--model package.module:function",
        ],
    )
    torch.save({"epoch": 3, "args": "x"}, tmp_path / "other.pt")
    refused("inspect", tmp_path / "other.pt", because="other.pt: it holds no weights")


def changed_weights(make_tiny: Any, file: Path, **changes: torch.Tensor | None) -> Path:
    """A checkpoint with some weights replaced; None removes one. Names are written with __ for a
    dot.
    """
    checkpoint = make_tiny()
    weights = dict(checkpoint.weights)
    for name, tensor in changes.items():
        if tensor is None:
            del weights[name.replace("__", ".")]
        else:
            weights[name.replace("__", ".")] = tensor
    save_checkpoint(replace(checkpoint, weights=weights), file)
    return file


@every_command
def test_a_missing_layer_is_named_by_its_leaf(name, make_tiny, refused, tmp_path):
    file = changed_weights(make_tiny, tmp_path / "lacking.pt", features__bn3_1__running_var=None)
    refused(
        *with_file(name, file),
        because=[
            "lacking does not fit the network vgg13",
            "it lacks 1 of the network's (features.bn3_1.running_var, nearest to it features.bn",
        ],
    )


def test_an_unexpected_leaf_is_named(make_tiny, refused, tmp_path):
    file = changed_weights(make_tiny, tmp_path / "more.pt", features__extra__weight=torch.zeros(1))
    refused(
        "inspect",
        file,
        because=[
            "more does not fit the network vgg13",
            "it has 1 that the network lacks (features.extra.weight",
        ],
    )


@every_command
def test_a_wrong_shape_names_both(name, make_tiny, refused, tmp_path):
    file = changed_weights(make_tiny, tmp_path / "shape.pt", linear__weight=torch.zeros(7, 32))
    refused(
        *with_file(name, file),
        because=[
            "shape does not fit the network vgg13",
            "linear.weight has the shape (7, 32) in it and (10, 32) in the network",
        ],
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@every_command
def test_nan_and_inf_in_weights_name_the_tensor(bad, name, make_tiny, refused, tmp_path):
    bias = torch.zeros(10)
    bias[4] = bad
    file = changed_weights(make_tiny, tmp_path / "diverged.pt", linear__bias=bias)
    refused(
        *with_file(name, file),
        because=[
            "diverged.pt: it has a value that is not finite (NaN or Inf) in 'linear.bias'",
            "diverged",
        ],
    )


@pytest.mark.parametrize("name", ["energy", "ood", "raster"])
def test_logits_that_overflow_name_the_sample(name, make_tiny, refused, tmp_path, digits):
    largest = torch.finfo(torch.float32).max
    file = changed_weights(
        make_tiny,
        tmp_path / "large.pt",
        linear__weight=torch.full((10, 32), largest),
        linear__bias=torch.full((10,), largest),
    )
    arguments = [digits if text == "digits" else text for text in with_file(name, file)]
    refused(
        *arguments,
        because=["the logits of sample ", "are not finite (NaN or Inf)", "check the checkpoint"],
    )


NAN_NETWORK = """
    from spikingjelly.activation_based import layer, neuron
    from torch import nn

    class Root(nn.Module):
        def forward(self, x):
            return (x - 2).sqrt()

    def network():
        return nn.Sequential(layer.Flatten(step_mode="m"), neuron.IFNode(step_mode="m"), layer.Linear(256, 10, step_mode="m"), Root())
"""


@pytest.mark.parametrize("name", ["energy", "ood", "raster"])
def test_nan_in_the_logits_of_finite_weights(name, refused, tmp_path, digits, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("own_nan.py").write_text(textwrap.dedent(NAN_NETWORK))
    torch.save({"2.weight": torch.zeros(10, 256), "2.bias": torch.zeros(10)}, tmp_path / "own.pt")
    arguments = [
        digits if text == "digits" else text for text in with_file(name, tmp_path / "own.pt")
    ]
    refused(
        *arguments,
        "--model",
        "own_nan:network",
        "--timesteps",
        2,
        because="the logits of sample 0 of npz:",
    )


# Sets


@pytest.mark.parametrize("option", ["--id", "--ood"])
def test_an_unknown_set_lists_those_known(option, good, refused):
    names = {"--id": "digits", "--ood": "photo-patches"} | {option: "cifra10"}
    arguments = [text for pair in names.items() for text in pair]
    refused(
        "ood",
        good,
        *arguments,
        "--out",
        "results",
        because=[
            "unknown set 'cifra10'",
            "digits, photo-patches",
            "folder:PATH, npz:PATH, events:PATH",
        ],
    )


def test_an_unknown_set_in_the_other_commands(good, refused):
    for arguments in (
        ["energy", good, "--data", "mnits"],
        ["raster", good, "--data", "mnits"],
        ["train", "--data", "mnits"],
        ["data", "info", "mnits"],
    ):
        refused(*arguments, because=["unknown set 'mnits'", "digits, photo-patches"])


def test_an_unknown_shift_lists_those_known(good, refused):
    for text in ("digits:mist", "digits:mist:3"):
        refused(
            "ood",
            good,
            "--id",
            "digits",
            "--ood",
            text,
            because=["unknown shift 'mist'", "gaussian_noise", "inversion"],
        )


@pytest.mark.parametrize("severity", ["6", "0", "-1", "1.5", "high", "3:4", ""])
def test_a_severity_that_is_none(severity, good, refused):
    refused(
        *("ood", good, "--id", "digits", "--ood", f"digits:contrast:{severity}"),
        because=[f"severity '{severity}'", "expected a whole number from 1 to 5"],
    )


@pytest.mark.parametrize("out", [[], ["--out", "results"]])
def test_an_ood_set_equal_to_the_id_set(
    out, good, refused, digits, few_digits, tmp_path, monkeypatch
):
    monkeypatch.delattr(
        "ahsar_eval.recording.runner.record"
    )  # refused before the first pass, not after it
    refused(
        "ood",
        good,
        "--id",
        "digits",
        "--ood",
        "photo-patches",
        "--ood",
        "digits",
        *out,
        because="the OOD set digits is the ID set itself",
    )
    refused(
        "ood",
        good,
        "--id",
        digits,
        "--ood",
        digits,
        *out,
        because="is the ID set itself; choose another, or a shift of it",
    )
    shutil.copy(few_digits, tmp_path / "copy.npz")  # another name for the same images
    refused(
        "ood",
        good,
        "--id",
        digits,
        "--ood",
        f"npz:{tmp_path / 'copy.npz'}",
        *out,
        because="is the ID set itself",
    )


def test_a_set_named_twice(good, refused):
    refused(
        "ood",
        good,
        "--id",
        "digits",
        "--ood",
        "photo-patches",
        "--ood",
        "photo-patches",
        because="photo-patches was named twice; name it once",
    )


def test_several_splits_where_one_is_needed(good, refused):
    refused(
        "energy",
        good,
        "--data",
        "digits:contrast",
        because=["'digits:contrast' stands for 5 splits and one is needed", "digits:contrast:3"],
    )


def test_an_empty_folder_and_one_without_images(good, refused, tmp_path):
    (tmp_path / "empty" / "class").mkdir(parents=True)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    for name in ("empty", "texts"):
        refused(
            "ood",
            good,
            "--id",
            "digits",
            "--ood",
            f"folder:{tmp_path / name}",
            because=[f"{name} holds no image file", "add some"],
        )
        refused(
            "energy", good, "--data", f"folder:{tmp_path / name}", because="holds no image file"
        )


def test_a_folder_that_is_none(good, refused, tmp_path):
    refused(
        "energy",
        good,
        "--data",
        "folder:nowhere",
        because=["folder:nowhere is no folder (nothing is there)"],
    )
    (tmp_path / "file").touch()
    refused(
        "energy",
        good,
        "--data",
        f"folder:{tmp_path / 'file'}",
        because="is no folder (a file is there)",
    )
    refused("energy", good, "--data", "folder:", because="names no file; expected folder:PATH")


def test_a_file_that_is_no_image(good, refused, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"not an image")
    refused(
        "energy",
        good,
        "--data",
        f"folder:{tmp_path / 'images'}",
        because=["broken.png cannot be read as an image", "replace or remove it"],
    )


def test_an_id_set_of_more_classes(good, refused, tmp_path):
    np.savez(
        tmp_path / "more.npz", x=np.zeros((6, 16, 16), np.float32), y=np.array([0, 1, 2, 0, 1, 11])
    )
    refused(
        *(
            "ood",
            good,
            "--id",
            f"npz:{tmp_path / 'more.npz'}",
            "--ood",
            "photo-patches",
            "--out",
            "results",
        ),
        because=[
            "small-baseline tells 10 classes apart",
            "more.npz has labels up to 11; expected 0 to 9",
            "choose the set it was trained on",
        ],
    )


def test_an_archive_that_would_execute_is_not_executed(good, refused, tmp_path):
    sentinel = tmp_path / "executed"
    np.savez(tmp_path / "evil.npz", x=np.array([Payload(sentinel)], dtype=object))
    refused(
        "energy",
        good,
        "--data",
        f"npz:{tmp_path / 'evil.npz'}",
        because="cannot be read as a NumPy archive without executable content",
    )
    assert not sentinel.exists()


def test_pixels_that_are_not_finite(good, refused, tmp_path):
    images = np.zeros((4, 16, 16), np.float32)
    images[2, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", x=images)
    refused("energy", good, "--data", f"npz:{tmp_path / 'nan.npz'}", because="sample 2 of npz:")


def test_images_smaller_than_a_backbone_can_take_name_the_minimum(refused, tmp_path):
    np.savez(tmp_path / "small.npz", x=np.zeros((40, 8, 8), np.float32), y=np.arange(40) % 4)
    refused(
        *(
            "train",
            "--data",
            f"npz:{tmp_path / 'small.npz'}",
            "--backbone",
            "vgg13",
            "--width",
            0.0625,
            "--out",
            "mine.pt",
        ),
        because=["vgg13 cannot take images of 8x8", "a side of at least 16"],
    )


def test_training_on_a_set_without_labels_or_on_a_shift(refused):
    refused("train", "--data", "photo-patches", because=["photo-patches has no labels"])
    refused(
        "train",
        "--data",
        "digits:contrast:1",
        because="names a shift; networks are trained on a set as it is",
    )


# Options


def test_an_unknown_layer_lists_the_layers(good, refused, digits):
    for layer in ("lif9", "99", "features.conv1_1"):
        refused(
            *("raster", good, "--data", digits, "--layer", layer),
            because=[f"no spiking layer '{layer}'", "0 features.lif1_1", "9 features.lif5_1"],
        )


@pytest.mark.parametrize("scales", ["a", "1,,2", "0", "-1", "nan", "inf", "1;2", ""])
def test_scales_that_are_none(scales, good, refused):
    refused(
        "raster",
        good,
        "--scales",
        scales,
        because=["--scales is ", "different positive numbers"],
    )


def test_replayed_scales_of_a_network_without_a_controller(good, refused, digits):
    refused(
        "raster",
        good,
        "--data",
        digits,
        "--scales",
        "ahsar",
        because=["has no controller", "name factors in --scales"],
    )


@pytest.mark.parametrize("sample", [-1, 40, 10**9])
def test_a_sample_out_of_range(sample, good, refused, digits):
    refused(
        "raster",
        good,
        "--data",
        digits,
        "--sample",
        sample,
        because=[f"sample {sample} is not in npz:", "samples 0 to 39"],
    )


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "npz"])
def test_a_suffix_no_figure_has(suffix, good, refused):
    refused(
        "raster",
        good,
        "--out",
        f"figure.{suffix}",
        because=[f"--out is 'figure.{suffix}'", ".png, .pdf, .svg"],
    )
    refused(
        "raster", good, "--out", "figure", because="expected a name that ends in .png, .pdf, .svg"
    )


@pytest.mark.parametrize("scale", ["-1", "0", "nan", "inf", "1e400"])
@pytest.mark.parametrize("name", ["energy", "ood"])
def test_a_scale_that_is_no_positive_number(scale, name, good, refused):
    refused(
        *with_file(name, good),
        "--scale",
        scale,
        because=["--scale is ", "expected a positive number"],
    )


def test_scale_with_no_replay(good, refused):
    refused(
        *with_file("ood", good),
        "--scale",
        2,
        "--no-replay",
        because="--scale and --no-replay were both given; --no-replay is --scale 1, choose one",
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta:x"])
@pytest.mark.parametrize("name", ["energy", "ood", "raster"])
def test_a_device_that_cannot_be_used(device, name, good, refused):
    refused(
        *with_file(name, good),
        "--device",
        device,
        because=[f"device '{device}' cannot be used", "use --device cpu"],
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_cuda_device_that_is_absent(good, refused):
    for arguments in (with_file("ood", good), ["train", "--data", "digits"]):
        refused(
            *arguments,
            "--device",
            "cuda",
            because=["device 'cuda' cannot be used", "use --device cpu"],
        )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--batch-size", 0, "--batch-size is 0; expected at least 1"),
        ("--batch-size", -3, "--batch-size is -3; expected at least 1"),
        ("--threads", 0, "--threads is 0; expected 1 to 256"),
        ("--seed", -1, "the seed is -1; expected a whole number from 0 to 2147483647"),
        ("--seed", "x", "'x' is not a valid integer"),
        ("--input-kind", "conv", "--input-kind 'conv' is incomplete; expected LAYER=KIND"),
        (
            "--input-kind",
            "linear=loud",
            "input kind 'loud' of layer 'linear' is unknown; expected one of spikes, integer "
            "spikes, analog",
        ),
        (
            "--input-kind",
            "nowhere=analog",
            "an input kind is declared for 'nowhere', and the network has no such layer",
        ),
    ],
)
def test_numbers_and_kinds_out_of_range(option, value, message, good, refused, digits):
    for arguments in (
        ["ood", good, "--id", digits, "--ood", "photo-patches"],
        ["energy", good, "--data", digits],
        ["raster", good, "--data", digits],
    ):
        refused(*arguments, option, value, because=message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", 0], "epochs is 0; expected at least 1"),
        (
            ["--batch-size", 0],
            "batch_size is 0; expected at least 2",
        ),
        (["--seed", -1], "seed is -1; expected a whole number from 0 to 2147483647"),
        (["--threads", 0], "--threads is 0; expected 1 to 256"),
        (
            ["--threads", 100000],
            "--threads is 100000; expected 1 to 256, at best as many as there are cores",
        ),
        (["--method", "ashar"], "unknown method 'ashar'; known are ahsar, baseline"),
        (["--method", "fixed:0"], "has no usable factor; expected fixed:S"),
        (["--backbone", "vgg"], "no backbone 'vgg'; known are vgg13, resnet18"),
        (["--width", 0], "width is 0.0; expected a positive number"),
        (["--timesteps", 0], "timesteps is 0; expected at least 1"),
        (["--learning-rate", "nan"], "learning_rate is nan; expected a positive number"),
        (["--input-shape", "16"], "input_shape is '16'; expected three whole numbers"),
        (["--step-mode", "x"], "'x' is not one of 's', 'm'"),
        (["--out", "."], "'.' is a folder; name a file"),
    ],
)
def test_training_options_out_of_range(options, message, refused):
    refused("train", "--data", "digits", *options, because=message)


def test_an_unknown_profile_lists_those_known(good, refused):
    refused(
        "energy",
        good,
        "--profile",
        "45nm",
        "--out",
        "results",
        because=["unknown energy profile '45nm'", "45nm-fp32, 45nm-fp16"],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "No such command 'evaluate'"),
        (["ood", "--idd", "digits"], "No such option"),
        (["ood", "--id", "digits"], "no OOD set was named; give at least one with --ood"),
        (["ood", "--ood", "digits"], "the OOD set digits is the ID set itself"),
        (["inspect"], "Missing argument 'CKPT'"),
        (["energy", "--format", "xml"], "'xml' is not one of 'table', 'json', 'csv', 'markdown'"),
        (["--nonsense"], "No such option"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_an_unknown_command_or_option(arguments, message, refused):
    refused(*arguments, because=message)


def test_a_checkpoint_named_twice(good, refused):
    refused(
        "ood",
        good,
        good,
        "--id",
        "digits",
        "--ood",
        "photo-patches",
        because="was named twice; name it once",
    )


def test_checkpoints_of_different_sets_ask_for_one(make_tiny, good, refused, tmp_path):
    save_checkpoint(replace(make_tiny(), provenance={}), tmp_path / "unknown.pt")
    refused("energy", good, tmp_path / "unknown.pt", because="name it with --data")


# Networks of the user's own


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        ("", "own_bad_0", ["own_bad_0 failed with", "expected package.module:function"]),
        ("", "own_nowhere:network", "own_nowhere:network failed with ModuleNotFoundError"),
        ("", "own_bad_1:network", "module 'own_bad_1' has no attribute 'network'"),
        (
            "def network():\n    return 3\n",
            "own_bad_2:network",
            "own_bad_2:network returned int; expected a torch.nn.Module",
        ),
        (
            "def network():\n    raise ValueError('mine')\n",
            "own_bad_3:network",
            "own_bad_3:network failed with ValueError: mine",
        ),
        ("1 / 0\n", "own_bad_4:network", "own_bad_4:network failed with ZeroDivisionError"),
        ("def network(:\n", "own_bad_5:network", "own_bad_5:network failed with SyntaxError"),
    ],
)
def test_a_model_that_cannot_be_built(
    source, reference, message, refused, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path(reference.partition(":")[0].replace("nowhere", "elsewhere") + ".py").write_text(source)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "foreign.pt")
    refused(
        "energy", tmp_path / "foreign.pt", "--data", digits, "--model", reference, because=message
    )


# Places that cannot be written

RUN_ALL = """
import contextlib, io, json, os, sys
import torch
from ahsar_eval.cli.main import run
torch.set_num_threads(1)
folder, steps = sys.argv[1], json.loads(sys.argv[2])
found = []
for step in steps:
    if step == ["fill"]:
        with contextlib.suppress(OSError), open(os.path.join(folder, "filler"), "wb", buffering=0) as writer:
            while True:
                writer.write(bytes(512))
        continue
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(step)
    left = sorted(os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    found.append([code, out.getvalue(), err.getvalue(), left])
print(json.dumps(found))
"""


def run_all(
    prefix: list[str], folder: Path, steps: list[list[object]]
) -> list[tuple[int, str, str, list[str]]]:
    """Run commands one after the other in one process that `prefix` starts; after each, what lies
    in `folder`.
    """
    words = json.dumps([[str(word) for word in step] for step in steps])
    done = subprocess.run(
        [*prefix, sys.executable, "-c", RUN_ALL, str(folder), words],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [tuple(found) for found in json.loads(done.stdout.splitlines()[-1])]


def works(*command_line: str) -> bool:
    try:
        return subprocess.run(command_line, capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False


def writing_commands(good: Path, digits: str, folder: Path) -> list[list[object]]:
    small = [
        "--width",
        0.0625,
        "--timesteps",
        1,
        "--epochs",
        1,
        "--batch-size",
        16,
        "--hold-out",
        0.2,
        "--threads",
        1,
    ]
    return [
        ["ood", good, "--id", digits, "--ood", f"{digits}:contrast:5", "--out", folder / "results"],
        ["energy", good, "--data", digits, "--out", folder / "results"],
        ["raster", good, "--data", digits, "--out", folder / "figure.png"],
        ["train", "--data", digits, *small, "--out", folder / "mine.pt"],
    ]


def test_no_permission_to_write(good, digits, tmp_path):
    prefix: list[str] = []
    if os.geteuid() == 0:
        # File modes do not stop the superuser: the process gives up the capability that passes them
        # by.
        prefix = ["setpriv", "--bounding-set=-dac_override", "--"]
        if not works(*prefix, "true"):
            pytest.skip(
                "running as root, and setpriv cannot drop the capability to ignore file modes"
            )
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    steps = writing_commands(good, digits, folder)
    steps.append(
        ["energy", good, "--data", digits, "--cache", folder / "cache", "--format", "json"]
    )
    *written, cached = run_all(prefix, folder, steps)
    for code, out, err, left in written:
        assert code == 2
        assert "Permission denied; choose another place" in said(err)
        assert "cannot write " in said(err)
        assert str(folder) in said(err)
        assert (out, left) == ("", [])
    # A cache that cannot be written is no reason to lose the result.
    code, out, err, left = cached
    assert (code, left) == (0, [])
    assert err.startswith("ahsar-eval: warning: recordings are not kept: cannot write ")
    assert len(err.splitlines()) == 1
    assert json.loads(out)["n"] == 40


MOUNT = 'mount -t tmpfs -o "$2" tmpfs "$1" && shift 2 && exec "$@"'


def mounted(options: str, folder: Path) -> list[str]:
    """The words that start a command under a small file system of its own at `folder`."""
    prefix = ["unshare", "--mount", "sh", "-c", MOUNT, "sh", str(folder), options]
    if not works(*prefix, "true"):
        pytest.skip("no permission to mount a small file system")
    return prefix


def test_a_disk_that_becomes_full_and_one_that_is(good, digits, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    prefix = mounted("size=64k", folder)
    commands = writing_commands(good, digits, folder)
    *_, raster, train = commands
    found = run_all(prefix, folder, [train, raster, ["fill"], *commands])
    for code, out, err, left in found[
        :2
    ]:  # there is room to begin with, and not for a network or a figure
        assert code == 2
        assert "cannot write " in said(err)
        assert re.search("No space left on device|the disk may be full", said(err))
        assert (out, left) == ("", [])
    for code, out, err, left in found[2:]:
        assert code == 2
        assert "No space left on device; choose another place" in said(err)
        assert (out, left) == ("", [str(folder / "filler")])


def test_a_read_only_file_system(good, digits, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir()
    prefix = mounted("size=64k,ro", folder)
    for code, out, err, left in run_all(prefix, folder, writing_commands(good, digits, folder)):
        assert code == 2
        assert "Read-only file system; choose another place" in said(err)
        assert (out, left) == ("", [])


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def os_with(**replaced: Callable[..., None]) -> SimpleNamespace:
    """`os` for one module: patched in place, the just-in-time compiler's cache would meet the fault
    as well.
    """
    return SimpleNamespace(**{**vars(os), **replaced})


def failing_stream(words: str) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(words)

    return fail


TORCH_FAILURES = {
    "system": full,
    "end of file": failing_stream(
        "[enforce fail at inline_container.cc:672] . unexpected pos 51072 vs 50968"
    ),
    "stream": failing_stream("basic_ios::clear: iostream error"),
    "record": failing_stream("PytorchStreamWriter failed writing file data/0: file write failed"),
}


@pytest.mark.parametrize("failure", TORCH_FAILURES.values(), ids=TORCH_FAILURES)
def test_a_disk_full_as_torch_reports_it(failure, command, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", failure)
    before = tree(tmp_path)
    done = command(*writing_commands(Path(), digits, Path())[-1])
    assert done.code == 2
    *epochs, last = done.err.splitlines()
    assert all(line.startswith("epoch ") for line in epochs)
    assert "cannot write " in said(last)
    assert re.search("No space left on device|the disk may be full", said(last))
    assert tree(tmp_path) == before


def test_a_disk_full_while_results_or_figures_are_written(
    command, good, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("ahsar_eval.files.os", os_with(replace=full))
    before = tree(tmp_path)
    for arguments in writing_commands(good, digits, Path("new"))[:3]:
        done = command(*arguments)
        assert done.code == 2
        assert "No space left on device; choose another place" in said(done.err)
        assert {name for name in tree(tmp_path) if (tmp_path / name).is_file()} == {
            name for name in before if (tmp_path / name).is_file()
        }


def test_a_file_where_the_folder_of_results_should_be(good, refused, digits):
    Path("results").write_text("mine")
    refused(
        "energy",
        good,
        "--data",
        digits,
        "--out",
        "results",
        because="a part of the path is a file, not a folder",
    )
    refused(
        "raster",
        good,
        "--data",
        digits,
        "--out",
        "results/figure.png",
        because="a part of the path is a file, not a folder",
    )
    assert Path("results").read_text() == "mine"


def test_a_folder_where_the_figure_should_be(good, refused, digits):
    Path("figure.png").mkdir()
    refused(
        "raster",
        good,
        "--data",
        digits,
        "--out",
        "figure.png",
        because="it is a folder; name a file",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_to_a_full_disk():
    with open("/dev/full", "w") as writer:
        done = subprocess.run(
            [sys.executable, "-m", "ahsar_eval", "completion", "bash"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert "No space left on device" in said(done.stderr)


def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ahsar_eval", "completion", "bash"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert done.returncode in (0, 1)
    assert done.stderr == ""


# Ctrl-C


def started(
    *arguments: object, code: str = "from ahsar_eval.cli.main import main; main()"
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # a shell may have it ignored for its jobs
    )


def interrupted(err: str) -> str:
    # A terminal has shown ^C by then: an empty line may come before the message.
    return said(err.lstrip("\n"))


def test_ctrl_c_during_training_leaves_what_it_resumes_from(command, digits):
    arguments = writing_commands(Path(), digits, Path("new"))[-1]
    arguments[arguments.index("--epochs") + 1] = 100_000
    process = started(*arguments)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("epoch   1/100000  loss ")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    *epochs, last = [line for line in err.splitlines() if line]
    assert process.returncode == 130
    assert all(line.startswith("epoch ") for line in epochs)
    assert "interrupted; nothing was left half-written" in said(last)
    assert out == ""
    assert list(tree(Path("new"))) == ["mine.history.csv", "mine.resume"]
    torch.load("new/mine.resume", weights_only=True)


SLOW = """
import time
import ahsar_eval.recording.recorder as recorder
def slow(items, *rest, **options):
    print("recording", flush=True)
    for item in items:
        yield item
        time.sleep(600)
recorder.progress = slow
from ahsar_eval.cli.main import main
main()
"""


def test_ctrl_c_during_an_evaluation_leaves_nothing(good, digits, tmp_path):
    before = tree(tmp_path)
    process = started(
        *(
            "ood",
            good,
            "--id",
            digits,
            "--ood",
            "photo-patches",
            "--out",
            "results",
            "--batch-size",
            8,
            "--cache",
            tmp_path / "cache",
        ),
        code=SLOW,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "recording\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted; nothing was left half-written" in interrupted(err)
    assert out == ""
    assert tree(tmp_path) == before


def interrupt(*_: object, **__: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("ahsar_eval.results.results.csv_text", interrupt),
        ("ahsar_eval.files.os", os_with(replace=interrupt)),
    ],
)
def test_ctrl_c_at_the_last_moment_leaves_nothing(
    place, fault, command, good, digits, monkeypatch, tmp_path
):
    monkeypatch.setattr(place, fault)
    before = tree(tmp_path)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = command("energy", good, "--data", digits, "--out", "results", "--no-cache")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert done.code == 130
    assert "interrupted" in interrupted(done.err)
    assert {name for name in tree(tmp_path) if "." in name} == set(before) - {"here"}


def test_labels_counted_from_one_are_not_trained_as_one_class_more(refused, tmp_path):
    x = np.random.default_rng(0).random((40, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "from_one.npz", x=x, y=1 + np.arange(40) % 4)
    refused(
        *("train", "--data", f"npz:{tmp_path / 'from_one.npz'}", "--epochs", 1),
        because="has labels from 1 to 4, counted from 1; expected 0 to 3: subtract 1",
    )
