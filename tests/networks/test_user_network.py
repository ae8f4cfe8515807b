"""Networks of the user's own by `package.module:function`, and what is said when they
do not work."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from ahsar_eval.errors import ModelError, UsageError
from ahsar_eval.evaluation.inputs import load_networks
from ahsar_eval.evaluation.requests import NetworkOptions
from ahsar_eval.networks import ModelSpec, build, load_user_network

SOURCE = """
from spikingjelly.activation_based import layer, neuron
from torch import nn

def small():
    return nn.Sequential(layer.Flatten(step_mode="m"), layer.Linear(4, 3, step_mode="m"), neuron.IFNode(step_mode="m"))

def step_by_step():
    return nn.Sequential(layer.Flatten(), layer.Linear(4, 3), neuron.IFNode())

class Averaging(nn.Sequential):
    def forward(self, x):
        return super().forward(x).mean(0)

def averages_over_time():
    return Averaging(*small())

def two_outputs():
    return nn.Sequential(layer.Flatten(step_mode="m"), layer.Linear(4, 2, step_mode="m"))

def broken():
    raise RuntimeError("no weights here")

def needs_arguments(width):
    return small()

def a_number():
    return 3

not_a_function = None
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `own_nets` in the current folder."""
    (tmp_path / "own_nets").mkdir()
    (tmp_path / "own_nets" / "__init__.py").write_text("")
    (tmp_path / "own_nets" / "nets.py").write_text(SOURCE)
    (tmp_path / "own_nets" / "unparsable.py").write_text("def small(:\n")
    (tmp_path / "own_nets" / "lacks.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "own_nets" / "stumbles.py").write_text("import math\nmath.no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import sys

    for name in [name for name in sys.modules if name.startswith("own_nets")]:
        monkeypatch.delitem(sys.modules, name)


def spec(function: str, **changes: object) -> ModelSpec:
    return ModelSpec(f"own_nets.nets:{function}", (1, 2, 2), 3, timesteps=2, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("function", "step_mode"), [("small", "m"), ("step_by_step", "s")])
def test_a_network_of_the_user_s_own_runs(function, step_mode):
    net = build(spec(function, step_mode=step_mode))
    assert net(torch.rand(1, 5, 1, 2, 2)).shape == (2, 5, 3)
    assert net.units() is None, "a network without units is regulated layer by layer"


def test_a_network_may_average_over_time_itself():
    assert build(spec("averages_over_time"))(torch.rand(1, 5, 1, 2, 2)).shape == (1, 5, 3)


def test_the_current_folder_is_importable(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "own_net_here.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path))  # sys.path is put back after the test
    assert load_user_network("own_net_here:small") is not None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "own_nets.nowhere:small",
            r"own_nets.nowhere:small failed with ModuleNotFoundError: .*expected package.module:function",
        ),
        (
            "own_nets.lacks:small",
            r"own_nets.lacks:small failed with ModuleNotFoundError: .*a_package_that_is_not_there",
        ),
        ("own_nets.unparsable:small", r"own_nets.unparsable:small failed with SyntaxError"),
        (
            "own_nets.stumbles:small",
            r"own_nets.stumbles:small failed with AttributeError: .*no_such_thing",
        ),
        (
            "own_nets.nets:large",
            r"failed with AttributeError: module 'own_nets.nets' has no attribute 'large'",
        ),
        (
            "own_nets.nets:not_a_function",
            r"failed with TypeError: 'NoneType' object is not callable",
        ),
        (
            "own_nets.nets:broken",
            r"own_nets.nets:broken failed with RuntimeError: no weights here; expected package",
        ),
        (
            "own_nets.nets:needs_arguments",
            r"failed with TypeError: .*a function without arguments",
        ),
        (
            "own_nets.nets:a_number",
            r"own_nets.nets:a_number returned int; expected a torch.nn.Module",
        ),
        ("own_nets.nets:", r"failed with .*; expected package.module:function"),
        (":small", r"failed with .*; expected package.module:function"),
        ("small", r"failed with .*; expected package.module:function"),
    ],
)
def test_a_network_that_cannot_be_made_says_why(reference, message):
    with pytest.raises(ModelError, match=message):
        load_user_network(reference)


def test_logits_of_another_shape_are_refused_with_both_shapes():
    net = build(spec("two_outputs"))
    with pytest.raises(
        ModelError, match=r"output has shape \(2, 5, 2\); expected logits \[T, N, K\] = \[2, 5, 3\]"
    ):
        net(torch.rand(1, 5, 1, 2, 2))


def test_what_the_options_leave_out_of_a_plain_state_dict_the_set_tells():
    """The given shape stands, also where pictures of several sizes tell none."""
    own = "own_nets.nets:small"
    torch.save(load_user_network(own).state_dict(), "own.pt")
    for name, side in (("ant", 2), ("bee", 3), ("cat", 2)):
        Path("pictures", name).mkdir(parents=True)
        Image.new("L", (side, side)).save(Path("pictures", name, "1.png"))
    options = NetworkOptions(model=own, timesteps=2, input_shape="1,2,2", no_cache=True)
    (runner,) = load_networks(["own.pt"], options, "folder:pictures")
    assert (runner.checkpoint.spec.input_shape, runner.checkpoint.spec.classes) == ((1, 2, 2), 3)
    for name in ("ant", "bee"):  # of one size: that is what the set tells
        Path("alike", name).mkdir(parents=True)
        Image.new("L", (2, 2)).save(Path("alike", name, "1.png"))
    options = NetworkOptions(model=own, timesteps=2, classes=3, no_cache=True)
    (runner,) = load_networks(["own.pt"], options, "folder:alike")
    assert runner.checkpoint.spec.input_shape == (1, 2, 2)
    with pytest.raises(UsageError, match="has images of several sizes; give the network's with"):
        load_networks(
            ["own.pt"], NetworkOptions(model=own, timesteps=2, classes=3), "folder:pictures"
        )
