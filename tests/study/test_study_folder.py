"""A study's folder: what is written, what is believed, and who may work on a cell."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from ahsar_eval.errors import OutputError, UsageError
from ahsar_eval.study.folder import StudyFolder, _taken
from ahsar_eval.study.grid import Cell
from ahsar_eval.study.workers import Ended
from ahsar_eval.training.request import TrainingRequest

CELL = Cell("a", TrainingRequest(seed=3), 2)
ASKED = {
    "format": "ahsar-eval study cell",
    "version": 1,
    "key": "a",
    "request": TrainingRequest(seed=3).to_dict(),
    "threads": 2,
}
RESULT = {"seconds": {"training": 1.0}}


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "study")


def test_a_result_is_done_and_comes_back(folder):
    assert (folder.is_done("a"), folder.done()) == (False, [])
    folder.keep(CELL, Ended(RESULT, files={"checkpoint.pt": b"weights"}))
    assert (folder.is_done("a"), folder.done()) == (True, ["a"])
    assert json.loads((folder.cell("a") / "result.json").read_text()) == ASKED | RESULT
    assert (folder.cell("a") / "checkpoint.pt").read_bytes() == b"weights"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({**ASKED, "key": "b"})])
def test_a_damaged_result_is_none(folder, content):
    folder.keep(CELL, Ended(RESULT))
    (folder.cell("a") / "result.json").write_text(content)
    assert not folder.is_done("a")


def test_a_failure_says_why_and_a_result_takes_its_place(folder):
    folder.keep(CELL, Ended(failure={"error": "it broke", "kind": "DataError"}))
    failed = json.loads((folder.cell("a") / "failure.json").read_text())
    assert failed == ASKED | {"error": "it broke", "kind": "DataError"}
    assert folder.failure("a") == "it broke"
    assert folder.failure("a", since=time.time() + 60) is None
    folder.keep(CELL, Ended(RESULT))
    assert folder.failure("a") is None


def test_beginning_keeps_the_study_and_refuses_results_of_another(folder):
    folder.begin("name = 'x'", ["a", "b"])
    assert (folder.root / "study.toml").read_text() == "name = 'x'"
    folder.keep(CELL, Ended(RESULT))
    folder.begin("name = 'y'", ["a"])
    assert (folder.root / "study.toml").read_text() == "name = 'y'"
    with pytest.raises(
        UsageError,
        match=(
            r"holds 1 results of cells that this study does not have, a among them.*name "
            r"another "
            r"--out"
        ),
    ):
        folder.begin("name = 'z'", ["b"])
    assert (folder.root / "study.toml").read_text() == "name = 'y'"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        StudyFolder(tmp_path / "file").begin("", [])
    with pytest.raises(OutputError):
        StudyFolder(tmp_path / "file" / "below").begin("", [])


def test_a_cell_is_worked_on_by_one(folder):
    other = StudyFolder(folder.root)
    assert folder.take("a")
    assert folder.holder("a") == f"process {os.getpid()} on {socket.gethostname()}"
    assert {*folder.held} == {"a"}
    assert not other.take("a")
    assert other.take("b")
    folder.release("a")
    assert (folder.holder("a"), folder.held) == (None, {})
    assert other.take("a")


TAKES = """
import sys, time
from pathlib import Path
from ahsar_eval.study.folder import StudyFolder
folder = StudyFolder(Path(sys.argv[1]))
print(folder.take("a"), flush=True)
time.sleep(600)
"""


def test_the_lock_of_a_process_that_is_gone_is_taken_over(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", TAKES, str(folder.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert folder.holder("a") == f"process {process.pid} on {socket.gethostname()}"
        assert not folder.take("a")
    finally:
        process.kill()
        process.communicate()
    assert (folder.cell("a") / "running").is_file()
    assert folder.holder("a") is None
    assert folder.take("a")
    assert folder.holder("a") == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_lock_that_was_taken_away_meanwhile_holds_nothing(folder):
    assert folder.take("a")
    file = folder.cell("a") / "running"
    with open(file) as late:  # opened before the file goes, locked after
        folder.release("a")
        assert not _taken(late, file)
        assert folder.take("a")
        assert not _taken(late, file)


def test_taking_forgets_the_failure_and_removes_what_was_left_half_written(folder):
    folder.keep(CELL, Ended(failure={"error": "it broke", "kind": "DataError"}))
    (folder.cell("a") / ".checkpoint.abc.tmp.pt").write_bytes(b"half")
    (folder.cell("a") / "checkpoint.resume").write_bytes(b"progress")
    assert folder.take("a")
    assert sorted(file.name for file in folder.cell("a").iterdir()) == [
        "checkpoint.resume",
        "running",
    ]


def test_a_cell_that_failed_since_then_is_not_taken(folder):
    folder.keep(CELL, Ended(failure={"error": "it broke", "kind": "DataError"}))
    assert not folder.take("a", failed_since=time.time() - 60)
    assert (folder.holder("a"), folder.failure("a")) == (None, "it broke")
    assert folder.take("a", failed_since=time.time() + 60)
