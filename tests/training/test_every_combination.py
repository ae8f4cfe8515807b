"""Combinations of data, paradigm, step mode, backbone and method train one epoch, and their
checkpoints evaluate.

Every run trains a cover in which each pair of values occurs; `-m ""` trains every combination.
"""

import itertools
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ahsar_eval.data import DataOptions, Split, View, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.networks.network import PARADIGMS, STEP_MODES
from ahsar_eval.recording import record
from ahsar_eval.training.loop import loss_and_accuracy, train_to_file
from ahsar_eval.training.request import METHODS, TrainingRequest, prepare

SAMPLES, HELD_OUT, T = 128, 24, 2
SHAPES = {"digits": (1, 16, 16), "n-mnist": (2, 16, 16), "digits-dvs": (2, 17, 17)}
Trained = Callable[[TrainingRequest], Path]
Combination = tuple[str, ...]
VALUES = (
    ("images", "events"),
    PARADIGMS,
    STEP_MODES,
    ("vgg13", "resnet18"),
    tuple(name.replace("S", "0.8") for name in METHODS),
)


def pairs(combination: Combination) -> set[tuple[tuple[int, str], ...]]:
    """Every two values of a combination, each with its place."""
    return set(itertools.combinations(enumerate(combination), 2))


def pairwise_cover(values: tuple[tuple[str, ...], ...]) -> list[Combination]:
    """Combinations in which every two values of different places meet; the one with most new pairs
    is taken next, of equals the first.
    """
    every = list(itertools.product(*values))
    missing = set[tuple[tuple[int, str], ...]]().union(*map(pairs, every))
    cover = []
    while missing:
        cover.append(max(every, key=lambda combination: len(pairs(combination) & missing)))
        missing -= pairs(cover[-1])
    return cover


COVER = pairwise_cover(VALUES)


def test_a_cover_by_hand():
    # Of two values in three places there are 4 pairs in each of 3 pairs of places; 4 of the 8
    # combinations hold them all.
    assert pairwise_cover((("a", "b"), ("c", "d"), ("e", "f"))) == [
        ("a", "c", "e"),
        ("a", "d", "f"),
        ("b", "c", "f"),
        ("b", "d", "e"),
    ]


def test_the_cover_holds_every_pair_of_values():
    for one, other in itertools.combinations(range(len(VALUES)), 2):
        met = {(combination[one], combination[other]) for combination in COVER}
        assert met == set(itertools.product(VALUES[one], VALUES[other]))
    assert len(COVER) < len(list(itertools.product(*VALUES))) / 5


@pytest.fixture(scope="module")
def options(repository, tmp_path_factory) -> DataOptions:
    """Sets are opened once for all combinations; real recordings of N-MNIST where they lie beside
    the clone.
    """
    root = tmp_path_factory.mktemp("data")
    archive = repository.parent / "shared" / "data" / "nmnist_1100" / "NMNIST_1100.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(root / "NMNIST")
    return DataOptions(root=root)


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory) -> Trained:
    """Train a request, once, on 128 samples: the file of its checkpoint."""
    files: dict[str, Path] = {}

    def train_once(request: TrainingRequest) -> Path:
        name = str(request.to_dict())
        if name not in files:
            files[name] = tmp_path_factory.mktemp("one") / "checkpoint.pt"
            prepared = prepare(request, options)
            few = part(prepared.validation_split.source, request, options)
            train_to_file(replace(prepared, validation_split=few), files[name])
        return files[name]

    return train_once


def part(source, request: TrainingRequest, options: DataOptions) -> Split:
    """A few samples of a set as the request's network sees them."""
    few = subset(source, np.arange(min(HELD_OUT, len(source))), source.role)
    return split_of(few, View(SHAPES[request.data], request.timesteps, "count"), options=options)


@pytest.mark.filterwarnings(
    "ignore::ahsar_eval.homeostasis.HomeostasisWarning"
)  # of ahsar-no-rt, near the closed loop's limit
@pytest.mark.parametrize(
    ("kind", "paradigm", "step_mode", "backbone", "method"),
    [
        pytest.param(*one, marks=() if one in COVER else pytest.mark.every)
        for one in itertools.product(*VALUES)
    ],
)
def test_combination_trains_and_evaluates(
    kind, paradigm, step_mode, backbone, method, trained, options
):
    events = "n-mnist" if (options.root / "NMNIST").is_dir() else "digits-dvs"
    request = TrainingRequest(
        data="digits" if kind == "images" else events,
        backbone=backbone,
        width=1 / 16,
        paradigm=paradigm,
        step_mode=step_mode,
        timesteps=T,
        method="ahsar",
        epochs=1,
        batch_size=64,
        samples=SAMPLES,
        input_shape=SHAPES["digits" if kind == "images" else events],
    )
    if method.startswith("frozen:"):
        source = trained(request)
        method = f"frozen:{source}"
    checkpoint = load_checkpoint(trained(replace(request, method=method)))
    assert checkpoint.method == method
    assert (checkpoint.spec.paradigm, checkpoint.spec.step_mode, checkpoint.spec.backbone) == (
        paradigm,
        step_mode,
        backbone,
    )
    # Where the set has no validation split, a tenth of each class of the samples is held out.
    assert (
        0.88 * SAMPLES
        < checkpoint.provenance["n_train"]
        <= (SAMPLES if request.data != "n-mnist" else 0.93 * SAMPLES)
    )

    net = network_of(checkpoint)
    factors = set(read_thresholds(net.backbone).values())
    if method == "baseline":
        assert factors == {1.0}
    elif method == "fixed:0.8":
        assert factors == {0.8}
    elif method.startswith("frozen:"):
        assert read_thresholds(net.backbone) == read_thresholds(
            network_of(load_checkpoint(source)).backbone
        )
    else:
        assert checkpoint.homeostasis is not None
        assert checkpoint.homeostasis.steps == SAMPLES // request.batch_size
    seen = record(
        net, part(open_set(request.data, "test", options), request, options), batch_size=64
    )
    loss, accuracy = loss_and_accuracy(seen)
    assert np.isfinite(loss)
    assert 0 <= accuracy <= 1
