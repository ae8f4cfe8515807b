"""The commands `study run`, `study show` and `study table`: what they print, and their
exit codes."""

import json

import pytest

from ahsar_eval.study.grid import study_of

ONE = """
name = "one"
[training]
width = 0.0625
input_shape = [1, 16, 16]
timesteps = 1
epochs = 1
batch_size = 20
method = "baseline"
[grid]
samples = [60, 5000]
"""


@pytest.fixture
def one(tmp_path):
    """A study of two cells, one of which cannot be trained: its set has fewer samples."""
    (tmp_path / "one.toml").write_text(ONE)
    return tmp_path / "one.toml", tmp_path / "out"


def test_a_failed_cell_is_reported_and_the_others_are_done(one, command):
    file, out = one
    shown = command("study", "show", file, "--out", out)
    assert shown.code == 0
    assert f"{out}: 0 done, 0 running, 0 failed, 2 left." in shown.out
    assert [line.split() for line in shown.out.splitlines() if line.startswith("samples")] == [
        ["samples", "60", "1"]
    ]
    assert [
        line.split()[-2:]
        for line in shown.out.splitlines()
        if line.startswith("digits, batch 20, 1 epochs, 60")
    ] == [["3", "1"]]
    assert "unknown: samples is 5000 and digits has" in shown.out

    ran = command("study", "run", file, "--out", out, "--workers", 0, "--verbose")
    failed, good = sorted(
        study_of(ONE, "one.toml").cells(), key=lambda cell: -(cell.request.samples or 0)
    )
    assert (ran.code, ran.out) == (1, "")
    *_, reported, end = ran.err.splitlines()
    assert reported.startswith(f"failed: {failed} ({failed.key}): samples is 5000 and digits has ")
    assert end == (
        "ahsar-eval: 1 of 2 cells failed, 1 are done; mend the cause and give the same command "
        "again"
    )
    assert sum(f"done: {good}" in line for line in ran.err.splitlines()) == 1

    shown = command("study", "show", file, "--out", out)
    assert f"{out}: 1 done, 0 running, 1 failed, 0 left." in shown.out
    assert f"failed: {failed} ({failed.key}): samples is 5000 and digits has " in shown.out

    again = command("study", "run", file, "--out", out, "--workers", 0)
    assert again.code == 1
    assert again.err.splitlines()[0].startswith("failed: "), (
        "quiet, where standard error is no terminal"
    )

    table = command(
        "study", "table", out, "--bootstrap", 100, "--format", "json", "--out", out / "tables"
    )
    assert table.code == 0, table.err
    assert len(json.loads(table.out)["cells"]) == len(json.loads(table.out)["failed"]) == 1
    assert {file.name for file in (out / "tables").iterdir()} >= {
        "study.json",
        "study.csv",
        "study.md",
        "study.tex",
        "study-cells.csv",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("nothing", "--out", "x"),
            "no study 'nothing': no such file, and none of the shipped ones",
        ),
        (
            ("smoke", "--out", "x", "--workers", "-1"),
            "--workers is -1; expected a number of processes, or 0 for this one",
        ),
        (
            ("smoke", "--out", "x", "--workers", "1", "--ray", "local"),
            "--workers and --ray were both given",
        ),
        (
            ("smoke", "--out", "x", "--device", "cdua", "--workers", "0"),
            "device 'cdua' cannot be used",
        ),
        (("smoke", "--out", "x", "--ray", "127.0.0.1:1"), "no cluster of Ray at '127.0.0.1:1'"),
        (("smoke",), "Missing option '--out'"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(arguments, said, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = command("study", "run", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_a_folder_without_a_study_has_no_table(tmp_path, command):
    ran = command("study", "table", tmp_path)
    assert ran.code == 2
    assert "holds no study" in ran.err


def test_a_file_is_no_folder_of_a_study_and_a_seed_is_not_negative(one, tmp_path, command):
    shown = command("study", "show", one[0], "--out", one[0])
    assert shown.code == 2
    assert "is a file; name the folder that study run writes to" in shown.err
    table = command("study", "table", tmp_path, "--seed", "-1")
    assert table.code == 2
    assert "--seed is -1; expected 0 or more" in table.err
