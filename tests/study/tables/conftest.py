"""Made-up results of cells in the format that a study writes, for tests that read them."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from ahsar_eval.study.folder import CellResult, read_result

SETS = (
    {"set": "photo-patches", "kind": "other", "n": 90},
    {"set": "digits:contrast:3", "kind": "shift", "n": 90},
)
SPEEDS = {
    "baseline": 1.0,
    "ahsar": 1.1,
    "ahsar-no-rt": 1.05,
    "ahsar-no-dh": 1.02,
    "fixed:0.8": 1.2,
    "fixed:1.2": 0.8,
    "frozen:ahsar": 1.05,
}


def cell_content(
    method: str = "baseline",
    seed: int = 0,
    *,
    train: list[float] | None = None,
    validation: list[float] | None = None,
    accuracies: list[float] | None = None,
    steps: int = 10,
    key: str = "",
    **changes: Any,
) -> dict[str, Any]:
    """The content of a result.json: three epochs unless the lists say otherwise. `changes` replace
    a field, or go to the request.
    """
    train = train or [2.0, 1.0, 0.5]
    validation = validation or train
    accuracies = accuracies or [0.5, 0.7, 0.9][: len(train)]
    fields = {
        name: changes.pop(name) for name in ("modality", "id", "ood", "threads") if name in changes
    }
    request = {
        "data": "digits",
        "backbone": "vgg13",
        "width": 0.25,
        "paradigm": "bptt",
        "step_mode": "m",
        "timesteps": 6,
    }
    request |= {
        "method": method,
        "epochs": len(train),
        "seed": seed,
        "controller": {},
        "sensing": "spikes",
        "learning_rate": 1e-3,
    }
    request |= changes
    controlled = method.startswith("ahsar")
    moved = {"gain": 1.1, "saturated_fraction": 0.0, "scale.a": 1.2, "scale.b": 0.9}
    moved |= {"reaction": 0.04, "relaxation": 0.02, "diffusion": 0.01}
    history = [
        {
            "epoch": epoch + 1,
            "steps": steps * (epoch + 1),
            "train_loss": train[epoch],
            "validation_loss": validation[epoch],
            "validation_accuracy": accuracies[epoch],
            "mean_rate": 0.2,
            "log_rate_spread": 0.1 if controlled else 0.2,
            **(moved if controlled else {}),
        }
        for epoch in range(len(train))
    ]
    own = fields.get(
        "id",
        {
            "set": "digits",
            "accuracy": 0.9,
            "nll": 0.3,
            "mean_rate": 0.2,
            "rates": {"a": 0.2, "b": 0.0005},
        },
    )
    ood = [
        {**one, "auroc": 0.8, "fpr95": 0.5, "accuracy": {"shift": 0.6}.get(str(one["kind"]))}
        for one in SETS
    ]
    scales = {
        "gain": 1.1,
        "scale": {"a": 1.2, "b": 0.9},
        "ema_scale": {"a": 1.1, "b": 0.95},
        "saturated_fraction": 0.0,
    }
    return {
        "format": "ahsar-eval study cell",
        "version": 1,
        "key": key or f"{method}-{seed}",
        "study": "made-up",
        "request": request,
        "threads": fields.get("threads", 1),
        "modality": fields.get("modality", "rgb"),
        "history": history,
        "best_epoch": len(train),
        "n_train": 100,
        "n_validation": 20,
        "id": {**own, "energy_nj": 10.0},
        "ood": fields.get("ood", ood),
        "controller": scales if controlled else None,
        "seconds": {"training": 1.0, "evaluation": 0.5},
        "provenance": {},
    }


def cell_of(*arguments: Any, **changes: Any) -> CellResult:
    """`cell_content` as it is read."""
    return read_result(cell_content(*arguments, **changes), "made-up")


@pytest.fixture(scope="session")
def content() -> Callable[..., dict[str, Any]]:
    """`cell_content`."""
    return cell_content


@pytest.fixture(scope="session")
def cell() -> Callable[..., CellResult]:
    """`cell_of`."""
    return cell_of


@pytest.fixture(scope="session")
def study() -> list[CellResult]:
    """Two paradigms, step modes and backbones with three seeds (168 cells); AHSAR is 10 % faster,
    fixed:0.8 20 %, fixed:1.2 slower.
    """
    axes = {
        "paradigm": ("bptt", "rate"),
        "step_mode": ("s", "m"),
        "backbone": ("vgg13", "resnet18"),
    }
    settings = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return [
        _course(np.random.default_rng([place, number, seed]), method, seed, one)
        for place, one in enumerate(settings)
        for number, method in enumerate(SPEEDS)
        for seed in range(3)
    ]


def _course(
    rng: np.random.Generator, method: str, seed: int, setting: dict[str, str]
) -> CellResult:
    losses = 2.3 * np.exp(
        -np.arange(1, 7) * SPEEDS[method] * (1 + 0.03 * rng.standard_normal()) / 3
    )
    held_out = losses * (1 + 0.02 * rng.standard_normal(6)) + 0.05
    accuracies = np.clip(1 - held_out / 2.6, 0, 1)
    tested: dict[str, Any] = {
        "set": "digits",
        "accuracy": 0.9 + 0.02 * rng.random(),
        "nll": 0.3,
        "mean_rate": 0.2 / SPEEDS[method],
    }
    tested["rates"] = {"a": 0.2, "b": 0.1, "c": 0.0005 if method == "ahsar" else 0.05}
    sets: list[dict[str, Any]] = [
        {
            **one,
            "auroc": 0.8 + 0.05 * rng.random(),
            "fpr95": 0.5 - 0.05 * rng.random(),
            "accuracy": None,
        }
        for one in SETS
    ]
    sets[1]["accuracy"] = 0.5 + 0.1 * rng.random()
    curves = {
        "train": losses.tolist(),
        "validation": held_out.tolist(),
        "accuracies": accuracies.tolist(),
    }
    return cell_of(method, seed, **curves, **setting, id=tested, ood=sets)
