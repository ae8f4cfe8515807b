"""Weights as people save them: read without running anything, found under their wrappers, refused
where they are damaged, ambiguous or another network's.
"""

import argparse
import collections
import os
import random
import struct
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ahsar_eval.errors import AhsarWarning, CheckpointError
from ahsar_eval.files import shipped
from ahsar_eval.networks import ModelSpec
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, network_of
from ahsar_eval.networks.weights import Found, fitted, found_in, read_file, unread_in

SOURCE = """
from torch import nn
from spikingjelly.activation_based import functional, layer, neuron

def net():
    made = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), neuron.LIFNode(),
        layer.Flatten(), layer.Linear(64, 3),
    )
    functional.set_step_mode(made, "m")
    return made
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of a user's network own_weights:net."""
    (tmp_path / "own_weights.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "own_weights", raising=False)
    return tmp_path


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Identity(), nn.Identity()
    )
    made.append(nn.Linear(64, 3))
    return made.state_dict()


def asked() -> ModelSpec:
    return ModelSpec("own_weights:net", (1, 4, 4), 3, timesteps=2)


def loaded(file: Path, **more: Any) -> Checkpoint:
    return load_checkpoint(file, external_spec=asked, **more)


def under(prefix: str, weights: dict[str, Any] | None = None) -> dict[str, Any]:
    return {prefix + name: x for name, x in (weights or state()).items()}


MODULE = "the names of its tensors are read without 'module.'"
COMPILED = "the names of its tensors are read without '_orig_mod.'"
ARGS = argparse.Namespace(T=4, tau=2.0)
SAVED: dict[str, tuple[Any, list[str]]] = {
    "a state dict": (state(), []),
    "SpikingJelly's scripts": (
        {"net": state(), "optimizer": {"state": {0: torch.ones(2)}}, "epoch": 3, "args": ARGS},
        ["args is left unread (a argparse.Namespace)"],
    ),
    "a training loop": (
        {"epoch": 3, "model_state_dict": state(), "optimizer_state_dict": {"state": {}}, "loss": 1},
        [],
    ),
    "model_state": ({"model_state": state()}, []),
    "weights": ({"weights": state()}, []),
    "a record in a record": ({"state": {"model": state()}}, []),
    "with its epoch": ((state(), 3), []),
    "in a list": ({"models": [state()], "losses": [0.5]}, []),
    "parallel": (under("module."), [MODULE]),
    "compiled": (under("_orig_mod."), [COMPILED]),
    "compiled, then parallel": (
        under("module._orig_mod."),
        ["the names of its tensors are read without 'module._orig_mod.'"],
    ),
    "a compiled part": (
        {name.replace("0.", "0._orig_mod.", 1): x for name, x in state().items()},
        [COMPILED],
    ),
    "Lightning": (
        {
            "state_dict": {**under("model."), "criterion.weight": torch.ones(3)},
            "hyper_parameters": {"given": types.SimpleNamespace(a=1)},
            "pytorch-lightning_version": "2.5",
        },
        [
            "the names of its tensors are read without 'model.'",
            "tensors left aside: criterion.weight (1)",
            "hyper_parameters.given is left unread (a types.SimpleNamespace)",
        ],
    ),
    "averaged": (
        {"n_averaged": torch.tensor(3), **under("module.")},
        [MODULE, "tensors left aside: n_averaged (1)"],
    ),
    "an average that is the same": ({"model": state(), "ema": state()}, []),
    "thop": ({**state(), "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)}, []),
    "no counts of batches": (
        {name: x for name, x in state().items() if "num_batches" not in name},
        [],
    ),
    "records of other types": (
        {
            "model": state(),
            "best": np.float64(0.9),
            "log": collections.defaultdict(list, loss=[1.0]),
            "at": Path("here"),
        },
        ["best is left unread (a numpy._core.multiarray.scalar)"]
        if np.lib.NumpyVersion(np.__version__) >= "2.0.0"
        else ["best is left unread (a numpy.core.multiarray.scalar)"],
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_weights_are_found_as_people_save_them(name, own):
    content, said = SAVED[name]
    torch.save(content, own / "one.pt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint = loaded(own / "one.pt")
    taken = checkpoint.weights
    assert set(taken) == set(state())
    assert all(torch.equal(taken[n], x) for n, x in state().items())
    noted = checkpoint.provenance.get("weights", [])
    assert noted[: len(said)] == said
    told = [str(one.message) for one in caught if issubclass(one.category, AhsarWarning)]
    assert told == ([f"one.pt: {'; '.join(noted)}"] if noted else [])
    net = network_of(checkpoint, model="own_weights:net")
    assert torch.equal(net.backbone.state_dict()["4.weight"], state()["4.weight"])


def test_safetensors_and_files_of_before_pytorch_1_6(own):
    save_file(state(), own / "one.safetensors")
    torch.save(state(), own / "old.pt", _use_new_zipfile_serialization=False)
    for file in ("one.safetensors", "old.pt"):
        assert all(torch.equal(loaded(own / file).weights[n], x) for n, x in state().items())
    whole = (own / "one.safetensors").read_bytes()
    (own / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: it is no safetensors file"):
        loaded(own / "cut.safetensors")


def test_a_network_inside_another_takes_the_names_that_it_has_inside(own):
    needed = under("net.")
    found = fitted([Found("", state())], needed)
    assert set(found.weights) == set(needed)
    assert found.done == ("the names of its tensors are read with 'net.' before them",)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"model": state(), "ema": state(1)}, ["model", "ema"]),
        ({"state_dict": under("model."), "state_dict_ema": state(1)}, ["state_dict_ema"]),
        ({**under("student."), **under("teacher.", state(1))}, ["student", "teacher"]),
        ({"net": {**under("a."), **under("b.", state(1))}}, ["net.a", "net.b"]),
        ({"folds": [state(), state(1)]}, ["folds.0", "folds.1"]),
    ],
)
def test_of_several_that_fit_a_key_chooses(content, keys, own):
    torch.save(content, own / "two.pt")
    with pytest.raises(CheckpointError, match=r"holds several weights that fit the network, under"):
        loaded(own / "two.pt")
    taken = {}
    for key in keys:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            taken[key] = loaded(own / "two.pt", key=key).weights["4.weight"]
    seeds = {"ema": 1, "state_dict_ema": 1, "teacher": 1, "net.b": 1, "folds.1": 1}
    for key, weight in taken.items():
        assert torch.equal(weight, state(seeds.get(key, 0))["4.weight"]), key
    with pytest.raises(CheckpointError, match="holds no weights under 'other'; it does under"):
        loaded(own / "two.pt", key="other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("4.bias"), r"it lacks 1 of the network's \(4\.bias"),
        (
            lambda s: s.update({"head.weight": s.pop("4.weight")}),
            r"lacks 1 .*\(4\.weight, nearest to it head\.weight\); it has 1 that the network lacks "
            r"\(head\.weight, nearest to it 4\.weight\)",
        ),
        (
            lambda s: s.update({"0.weight": torch.zeros(8, 1, 3, 3)}),
            r"0\.weight has the shape \(8, 1, 3, 3\) in it and \(4, 1, 3, 3\) in the network",
        ),
        (
            lambda s: s.update({"4.weight": torch.full((3, 64), torch.nan)}),
            r"not finite \(NaN or Inf\) in '4\.weight'",
        ),
    ],
)
def test_what_does_not_fit_shows_the_nearest_names(change, message, own):
    weights = state()
    change(weights)
    torch.save({"net": weights}, own / "one.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        loaded(own / "one.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("sparse_coo", lambda x: x.to_sparse()),
        ("qint8", lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)),
        ("float8_e4m3fn", lambda x: x.to(torch.float8_e4m3fn)),
        ("meta", lambda x: x.to("meta")),
        ("complex64", lambda x: x.to(torch.complex64)),
    ],
)
@pytest.mark.parametrize("own_format", [False, True])
def test_tensors_that_cannot_be_evaluated_are_named(kind, change, own_format, own, make_tiny):
    if own_format:
        content = torch.load(
            shipped("checkpoints", ".pt")["digits-vgg13-baseline"], weights_only=True
        )
        content["weights"]["linear.weight"] = change(content["weights"]["linear.weight"])
    else:
        content = {**state(), "4.weight": change(state()["4.weight"])}
    torch.save(content, own / "odd.pt")
    with pytest.raises(CheckpointError, match=rf"holds '(4|linear)\.weight' as a {kind}"):
        loaded(own / "odd.pt")


class Makes:
    """Pickled as a call that leaves a folder behind."""

    def __init__(self, function: Any, folder: Path) -> None:
        self.how = function, (str(folder),)

    def __reduce__(self) -> Any:
        return self.how


@pytest.mark.parametrize("function", [os.mkdir, os.makedirs, Path.mkdir, exec, eval, getattr])
@pytest.mark.parametrize("beside", [False, True])
def test_nothing_in_a_file_runs(function, beside, own):
    trap = Makes(function, own / "made")
    torch.save({"net": state(), "args": trap} if beside else trap, own / "trap.pt")
    why = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = loaded(own / "trap.pt")
        assert "args is left unread" in checkpoint.provenance["weights"][0]
        assert torch.equal(checkpoint.weights["4.bias"], state()["4.bias"])
    except CheckpointError as error:
        why = str(error)
    assert not why or "asks to run code" in why or "is no checkpoint" in why
    assert not (own / "made").exists()


def test_a_checkpoint_of_ours_holds_no_objects(own):
    content = torch.load(shipped("checkpoints", ".pt")["digits-vgg13-baseline"], weights_only=True)
    torch.save({**content, "provenance": {"who": argparse.Namespace(a=1)}}, own / "one.pt")
    with pytest.raises(
        CheckpointError, match=r"provenance\.who in it asks to run code .*Namespace"
    ):
        loaded(own / "one.pt")


def test_a_module_in_place_of_its_weights_is_named(own):
    torch.save({"net": nn.Linear(2, 2), "epoch": 1}, own / "one.pt")
    with pytest.raises(
        CheckpointError,
        match=r"holds no weights \(net is a torch\.nn\.modules\.linear\.Linear.*save the state_dict",
    ):
        loaded(own / "one.pt")


def test_a_torchscript_archive_is_named(own):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(own / "one.pt"))
    with pytest.raises(
        CheckpointError, match=r"one\.pt: it is a TorchScript archive, which is code"
    ):
        loaded(own / "one.pt")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_a_flipped_bit_in_a_tensor_is_found(tmp_path_factory, number):
    draw, folder = random.Random(number), tmp_path_factory.mktemp("flip")
    torch.save({"net": state()}, folder / "one.pt")
    whole = bytearray((folder / "one.pt").read_bytes())
    members = [m for m in zipfile.ZipFile(folder / "one.pt").infolist() if "/data/" in m.filename]
    member = draw.choice(members)
    lengths = whole[member.header_offset + 26 : member.header_offset + 30]  # of name and extra
    start = member.header_offset + 30 + sum(struct.unpack("<HH", lengths))
    whole[start + draw.randrange(member.file_size)] ^= 1 << draw.randrange(8)
    (folder / "one.pt").write_bytes(whole)
    with pytest.raises(CheckpointError, match="is not what its checksum says; copy it again"):
        read_file(folder / "one.pt")


def test_a_file_without_checksums_is_read(own):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state(), own / "one.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(loaded(own / "one.pt").weights["4.bias"], state()["4.bias"])


def test_sets_are_found_wherever_they_stand():
    content = {
        "a": {"b": {"w": torch.ones(1)}},
        "v": torch.ones(1),
        "n": 3,
        5: {"w": torch.ones(1)},
    }
    assert [one.key for one in found_in(content)] == ["", "a.b"]
    assert list(unread_in(content)) == []
