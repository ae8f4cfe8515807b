"""Two processes that share every batch train the network of one process that sees the whole
batches.
"""

import functools
import math
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

import ahsar_eval.training.loop as loop
from ahsar_eval.data import Split, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import ModelSpec, SpikingNet, build
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, network_of, save_checkpoint
from ahsar_eval.training.loop import train
from ahsar_eval.training.ranks import Ranks, joined, present_ranks
from ahsar_eval.training.request import Recipe, parse_method

SHAPE = (1, 16, 16)
BATCH, SAMPLES = 33, 103  # shares of 17 and 16, and a last batch of 4
History = list[dict[str, Any]]
CASES = [("bptt", "m"), ("bptt", "s"), ("rate", "m"), ("rate", "s")]


def as_it_is(module: nn.Module, mode: bool = True) -> nn.Module:
    """What `train` is replaced by."""
    return module


def with_frozen_norms(spec: ModelSpec) -> SpikingNet:
    """A network in float64 whose batch norms do not look at the batch: nothing then depends on how
    a batch is divided.
    """
    net = build(spec).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 4.0)  # spikes reach every layer
            module.eval()
            module.train = functools.partial(as_it_is, module)  # type: ignore[method-assign, assignment]
    return net


def digits(count: int, role: str) -> Split:
    split = split_of(subset(open_set("digits", role), np.arange(count), role), SHAPE)
    return replace(split, load=lambda indices: split.load(indices).double())


def trained(
    paradigm: str, step_mode: str, file: Path | None = None, stop_after: int | None = None
) -> tuple[Checkpoint, History]:
    spec = ModelSpec(
        "vgg13",
        SHAPE,
        10,
        width=1 / 16,
        paradigm=paradigm,
        step_mode=step_mode,
        timesteps=2,
        mean=(0.3,),
        std=(0.35,),
    )

    def stop(history: History) -> None:
        if history[-1]["epoch"] == stop_after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build", with_frozen_norms)
        recipe = Recipe(parse_method("ahsar"), epochs=2, batch_size=BATCH, seed=1, augment="crop")
        return train(
            spec,
            digits(SAMPLES, "train"),
            digits(40, "validation"),
            recipe,
            resume_file=file,
            on_epoch=stop,
        )


def one_rank(rank: int, folder: str) -> None:
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        for paradigm, step_mode in CASES:
            checkpoint, history = trained(paradigm, step_mode)
            save_checkpoint(checkpoint, Path(folder, f"{paradigm}-{step_mode}-{rank}.pt"))
            torch.save(history, Path(folder, f"{paradigm}-{step_mode}-{rank}.history"))
        file = Path(folder, "stopped.resume")
        with pytest.raises(KeyboardInterrupt):
            trained("bptt", "m", file, stop_after=1)
        distributed.barrier()
        save_checkpoint(trained("bptt", "m", file)[0], Path(folder, f"resumed-{rank}.pt"))
        with pytest.raises(
            UsageError,
            match=(
                r"the number of epochs done differs over the ranks \(2, 0\); give all of them "
                r"the same folder"
            ),
        ):
            trained("bptt", "m", file if rank == 0 else None)
        with pytest.raises(
            UsageError,
            match=(
                "103 training samples in batches of 3 are too few for 2 processes; expected at "
                "least 4 of each"
            ),
        ):
            loop._check_shares(SAMPLES, 3, present_ranks())
    finally:
        distributed.destroy_process_group()


def second_rank(_: int, folder: str) -> None:
    torch.set_num_threads(1)
    one_rank(1, folder)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """Everything in one pair of processes: this one is rank 0."""
    folder = tmp_path_factory.mktemp("training-ranks")
    second = spawn(second_rank, args=(str(folder),), nprocs=1, join=False)
    one_rank(0, str(folder))
    second.join()
    return folder


def assert_same_weights(
    one: Checkpoint, other: Checkpoint, rtol: float = 0.0, atol: float = 0.0
) -> None:
    assert list(one.weights) == list(other.weights)
    for name, tensor in one.weights.items():
        try:
            torch.testing.assert_close(tensor, other.weights[name], rtol=rtol, atol=atol)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize(("paradigm", "step_mode"), CASES)
def test_two_ranks_train_what_one_process_trains(two_ranks, paradigm, step_mode):
    whole, history = trained(paradigm, step_mode)
    found = [load_checkpoint(two_ranks / f"{paradigm}-{step_mode}-{rank}.pt") for rank in (0, 1)]
    assert_same_weights(found[0], found[1])
    assert found[0].homeostasis is not None
    assert found[1].homeostasis is not None
    assert found[0].homeostasis.to_dict() == found[1].homeostasis.to_dict(), (
        "the ranks hold one controller"
    )
    thresholds = [
        read_thresholds(network_of(checkpoint).backbone) for checkpoint in (whole, found[0])
    ]
    assert set(thresholds[0].values()) != {1.0}
    assert thresholds[1] == pytest.approx(thresholds[0], rel=1e-6)
    assert_same_weights(whole, found[0], rtol=1e-6, atol=1e-9)
    for row, shared in zip(
        history, torch.load(two_ranks / f"{paradigm}-{step_mode}-0.history"), strict=True
    ):
        assert list(row) == list(shared)
        for name in set(row) - {"seconds"}:
            assert shared[name] == pytest.approx(row[name], rel=1e-6, abs=1e-12), name


def test_stopped_training_of_two_ranks_resumes_to_the_same_weights(two_ranks):
    for rank in (0, 1):
        assert_same_weights(
            load_checkpoint(two_ranks / "bptt-m-0.pt"),
            load_checkpoint(two_ranks / f"resumed-{rank}.pt"),
        )


# One rank by hand


def test_shares_of_a_batch_are_all_of_it():
    index = np.arange(7)
    assert [Ranks(rank, 3).share(index).tolist() for rank in range(3)] == [
        [0, 1, 2],
        [3, 4],
        [5, 6],
    ]
    assert Ranks().share(index) is index


def test_a_process_alone_joins_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (ranks, device):
        assert (ranks, device) == (Ranks(0, 1), "cpu")
        assert not distributed.is_initialized()


def test_one_gpu_for_all_processes_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(
            UsageError,
            match="--device is cuda:0 and 2 processes train together; give --device cuda",
        ),
        joined("cuda:0"),
    ):
        pass
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(
            UsageError,
            match="process 1 of this machine has no GPU, as there are 1; start fewer processes",
        ),
        joined("cuda"),
    ):
        pass


def test_torchrun_trains_to_its_end(tmp_path):
    out = tmp_path / "shared.pt"
    arguments = (
        "train --data digits --width 0.0625 --timesteps 2 --samples 200 --epochs 2 "
        "--batch-size "
        f"64 --threads 1 --out {out}"
    )
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "ahsar_eval",
    ]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *arguments.split()],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("epoch   1/2") == 1, "one process speaks for all"
    checkpoint = load_checkpoint(out)
    assert checkpoint.provenance["ranks"] == 2
    assert checkpoint.homeostasis is not None
    assert checkpoint.homeostasis.steps == checkpoint.provenance["best_epoch"] * math.ceil(200 / 64)
    assert all(
        torch.isfinite(tensor).all()
        for tensor in checkpoint.weights.values()
        if tensor.is_floating_point()
    )
    assert not out.with_suffix(".resume").exists()
    network_of(checkpoint)
