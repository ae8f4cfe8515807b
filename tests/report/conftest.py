"""Reports that the tests of this folder look at, each made once: of shipped networks on digits with
a stranger and a shift, adapting too; and of a live module whose classes have hostile names.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import ahsar_eval as ae
from ahsar_eval.data import DataOptions
from ahsar_eval.data.given import as_set
from ahsar_eval.report.page import Report
from ahsar_eval.report.verb import report as report_of

HOSTILE = "</script><img src=x onerror=\"document.title='run'\">"
SETS = ("photo-patches", "digits:contrast", "digits:gaussian_blur:2")


@pytest.fixture(scope="session")
def report() -> Report:
    nets = [ae.load(name) for name in ("digits-vgg13-baseline", "digits-vgg13-ahsar")]
    return report_of(
        nets,
        "digits",
        list(SETS),
        adapt="channel",
        adapt_samples=12,
        options=DataOptions(limit=60),
        replicates=200,
        traces=2,
        examples=4,
    )


@pytest.fixture(scope="session")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `report` as a file."""
    return report.save(tmp_path_factory.mktemp("page") / "report.html")[0]


def hostile_report() -> Report:
    """Three classes, one of a name that ends a script, of 40 noisy images and as many strangers."""
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Flatten(step_mode="m"),
        layer.Linear(16, 12, step_mode="m"),
        neuron.LIFNode(step_mode="m"),
        layer.Linear(12, 3, step_mode="m"),
    )
    draws = np.random.default_rng(0)
    images = draws.random((40, 1, 4, 4), dtype=np.float32)
    known = as_set((images, np.arange(40) % 3), "known")
    known = dataclasses.replace(known, classes=("a", HOSTILE, "c"))
    strange = as_set((draws.random((40, 1, 4, 4), dtype=np.float32) / 3, -np.ones(40, int)), "far")
    wrapped = ae.wrap(net, timesteps=3, classes=3, name=HOSTILE)
    return report_of(wrapped, known, [strange], replicates=100, traces=1)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_report().save(tmp_path_factory.mktemp("hostile") / "report.html")[0]
