"""A study of small trainings on forty digits, and its results as one process made them."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock

from ahsar_eval.data import DataOptions
from ahsar_eval.study.folder import StudyFolder
from ahsar_eval.study.grid import Study, study_of
from ahsar_eval.study.run import run_study
from ahsar_eval.study.workers import InProcess

EPOCHS = 4


@pytest.fixture(scope="session")
def small_text() -> str:
    """A study file: a baseline, a controller under both paradigms and its frozen scales, `EPOCHS`
    short epochs each.
    """
    return f"""
name = "small"
[training]
width = 0.0625
input_shape = [1, 16, 16]
timesteps = 2
epochs = {EPOCHS}
batch_size = 20
samples = 40
learning_rate = 5e-3
[grid]
data = ["digits"]
paradigm = ["bptt", "rate"]
method = ["baseline", "ahsar", "frozen:ahsar"]
[[leave_out]]
paradigm = "rate"
method = "baseline"
[data.digits]
ood = ["digits:contrast:3"]
"""


@pytest.fixture(scope="session")
def small(small_text: str) -> Study:
    """The same, read."""
    return study_of(small_text, "small.toml")


@pytest.fixture(scope="session")
def small_results(
    small: Study, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Key → result of every cell of `small`, without times, from a run in one process that nothing
    disturbed.

    Where tests are shared out to several processes, the first that asks makes it for all.
    """
    base = tmp_path_factory.getbasetemp()
    folder = StudyFolder(
        (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small-study"
    )
    cells = small.cells()
    with FileLock(f"{folder.root}.lock"):
        end = run_study(small, cells, folder, InProcess(folder.cell), data=DataOptions())
    assert len(end.done) == len(cells) == 5, end.failed
    return results_of(folder)


def results_of(folder: StudyFolder) -> dict[str, dict[str, Any]]:
    """Key → result without what tells the time of day, how long something took, and the command."""
    found = {}
    for key in folder.done():
        assert folder.is_done(key)
        result = json.loads((folder.cell(key) / "result.json").read_text())
        assert all(seconds >= 0 for seconds in result.pop("seconds").values())
        for row in result["history"]:
            assert row.pop("seconds") >= 0
        assert {"time", "command"} <= set(result["provenance"])
        found[key] = result | {
            "provenance": {
                name: value
                for name, value in result["provenance"].items()
                if name not in ("time", "command")
            }
        }
    return found


@pytest.fixture(scope="session")
def timeless() -> Callable[[StudyFolder], dict[str, dict[str, Any]]]:
    """`results_of`."""
    return results_of
