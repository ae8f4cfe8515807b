"""What every test shares: a cache, a seed, one thread, small checkpoints, and the command line
called in-process.
"""

import copy
import functools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from ahsar_eval.cli.main import run
from ahsar_eval.data import open_split
from ahsar_eval.homeostasis import Ahsar
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import Checkpoint, save_checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile("tests", deadline=None, database=None, derandomize=True)
settings.load_profile("tests")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Recordings of this session go to a folder of its own, and nothing of the user's cache is
    read.
    """
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("AHSAR_EVAL_CACHE")
    os.environ["AHSAR_EVAL_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["AHSAR_EVAL_CACHE"]
    else:
        os.environ["AHSAR_EVAL_CACHE"] = before


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that every.txt names run with all others alone. A line that names none, where its file
    was read, is an error.
    """
    lines = Path(__file__).with_name("every.txt").read_text(encoding="utf-8").splitlines()
    named = {line for line in lines if line and not line.startswith("#")}
    names = {item: item.nodeid.removeprefix("tests/") for item in items}
    met = set()
    for item, name in names.items():
        if found := {line for line in named if name.startswith(line)}:
            item.add_marker(pytest.mark.every)
            met |= found
    read = {name.partition("::")[0] for name in names.values()}
    whole = not any("::" in argument for argument in config.args)
    if whole and (stale := sorted(line for line in named - met if line.partition("::")[0] in read)):
        raise pytest.UsageError(
            f"tests/every.txt names tests that are not there: {', '.join(stale)}"
        )


def seed_all() -> None:
    """What is drawn without a seed of its own is the same in every run, alone or after
    other tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before the fixtures of sessions and modules."""
    seed_all()


@pytest.fixture(autouse=True)
def _as_wide_as_the_output_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """No width of a terminal is known; a test that needs one sets it."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _seeded_and_one_thread() -> None:
    """Results are the same for one thread count; a test that changes it changes it for itself
    alone.
    """
    seed_all()
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the clone."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the clone; a test that asks for it is skipped where it is
    absent.
    """
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {os.path.relpath(folder, REPOSITORY)} is not there")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process: `command("ood", "--id", "digits")` gives an
    `Outcome`."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def tiny_checkpoint(
    backbone: str = "vgg13", *, regulated: bool = False, **changes: Any
) -> Checkpoint:
    """A checkpoint of 1/16 width, not trained, whose batch norms have seen digits, so that spikes
    reach every layer.

    `regulated` adds a controller whose state has moved. `changes` go to the specification. Each
    kind is made once; its weights are copied.
    """
    with torch.random.fork_rng(devices=[]):
        made = _tiny_checkpoint(backbone, regulated, **changes)
    weights = {name: tensor.clone() for name, tensor in made.weights.items()}
    return replace(
        made,
        weights=weights,
        homeostasis=copy.deepcopy(made.homeostasis),
        provenance=dict(made.provenance),
    )


@functools.cache
def _tiny_checkpoint(backbone: str, regulated: bool, **changes: Any) -> Checkpoint:
    spec = ModelSpec(
        **{
            "backbone": backbone,
            "input_shape": (1, 16, 16),
            "classes": 10,
            "width": 0.0625,
            "timesteps": 2,
            **changes,
        }
    )
    torch.manual_seed(3)
    net = build(spec)
    controller = (
        Ahsar(net.backbone, timesteps=spec.timesteps, units=net.units()) if regulated else None
    )
    split = open_split("digits", spec.input_shape, role="train")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of the last batch: a few forwards are enough
    net.train()
    with torch.no_grad():
        for batch in split.batches(64, np.arange(192)):
            net.reset()
            net(batch.x)
    net.reset()
    homeostasis = None
    if controller is not None:
        homeostasis = controller.snapshot()
        # Scales far enough from 1 that replaying them or not shows in every number.
        scales = np.linspace(0.75, 1.25, len(homeostasis.units))
        homeostasis = replace(homeostasis, ema_scale=scales)
        controller.detach()
    weights = {name: tensor.detach().clone() for name, tensor in net.backbone.state_dict().items()}
    facts = {
        "method": "ahsar" if regulated else "baseline",
        "data": "digits",
        "seed": 3,
        "command": "ahsar-eval train",
    }
    return Checkpoint(spec, weights, homeostasis, provenance=facts)


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Checkpoint]:
    """`tiny_checkpoint`, for tests that want one of their own kind."""
    return tiny_checkpoint


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a small baseline and of the same network with a controller: small-baseline.pt and
    small-ahsar.pt.
    """
    folder = tmp_path_factory.mktemp("checkpoints")
    files = folder / "small-baseline.pt", folder / "small-ahsar.pt"
    for file, regulated in zip(files, (False, True), strict=True):
        save_checkpoint(tiny_checkpoint(regulated=regulated), file)
    return files


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four test digits of each class with their labels in an archive, for commands that need a set
    but not a large one.
    """
    split = open_split("digits", (1, 16, 16))
    members = np.sort(
        np.concatenate([np.flatnonzero(split.labels == digit)[:4] for digit in range(10)])
    )
    file = tmp_path_factory.mktemp("sets") / "few.npz"
    np.savez(file, x=split.tensors(members)[0].numpy(), y=split.labels[members])
    return file
