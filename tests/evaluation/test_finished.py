"""Finished results: what is kept is what would be made, and nothing is served that something has
changed since.
"""

import dataclasses
import functools
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import ahsar_eval
from ahsar_eval import provenance
from ahsar_eval.cli.commands import MARKS, Output, finished
from ahsar_eval.evaluation.inputs import Plan
from ahsar_eval.evaluation.requests import Request

PACKAGE = Path(ahsar_eval.__file__).parent


def texts(content: str = "t", **marks: str) -> dict[str, dict[str, str]]:
    return {
        "shown": {
            "table": content,
            "json": json.dumps(marks),
            "latex": f"% {marks['command']}",
            "markdown": marks["command"],
        }
    }


def made(content: str) -> dict[str, dict[str, str]]:
    return texts(content, **MARKS)


@pytest.mark.parametrize("change", [{"scores": ("energy",)}, {"left_out": ("vim: why",)}])
def test_scores_and_what_was_left_out_decide_what_is_served(tmp_path, monkeypatch, change):
    keys = []

    def seen(folder, key, make):
        keys.append(json.loads(json.dumps(key)))
        return {"written": {}, "shown": {"table": "t"}, "name": {"name": "ood"}}

    monkeypatch.setattr("ahsar_eval.cli.commands.finished", seen)
    runner: Any = SimpleNamespace(
        precision="fp32", store=SimpleNamespace(folder=tmp_path), asked=lambda splits: {"n": 1}
    )
    unused: Any = None
    plan = Plan(runner, unused, (), ("entropy",))
    for one in (plan, plan, dataclasses.replace(plan, **change)):
        Output().give(lambda: unused, [one], {"command": "ood", "request": Request("digits")})
    first, same, changed = keys
    assert first == same
    assert changed != first


def test_the_second_time_nothing_is_made_and_command_and_time_are_those_of_now(
    tmp_path, monkeypatch
):
    calls = []

    def make():
        calls.append(MARKS)
        return texts(**MARKS)

    monkeypatch.setattr(sys, "argv", ["ahsar-eval", "ood", 'a "b"\n\\c'])
    first = finished(tmp_path, {"a": 1}, make)
    typed = shlex.join(sys.argv)
    assert json.loads(first["shown"]["json"])["command"] == typed
    assert json.loads(first["shown"]["json"])["time"].endswith("+00:00")
    assert first["shown"]["markdown"] == typed
    assert first["shown"]["latex"] == "% " + " ".join(typed.split()), "a comment is one line"
    monkeypatch.setattr(sys, "argv", ["ahsar-eval", "energy"])
    second = finished(tmp_path, {"a": 1}, make)
    assert len(calls) == 1
    assert second["shown"]["markdown"] == "ahsar-eval energy"
    assert finished(tmp_path, {"a": 2}, make)["shown"]["table"] == "t"
    assert finished(None, {"a": 1}, make)
    assert len(calls) == 3


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"marks": {}}', b"\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, damage):
    finished(tmp_path, {}, lambda: texts("first", **MARKS))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)
    assert finished(tmp_path, {}, lambda: texts("second", **MARKS))["shown"]["table"] == "second"
    assert finished(tmp_path, {}, lambda: texts("third", **MARKS))["shown"]["table"] == "second"


def test_a_folder_that_cannot_be_written_keeps_nothing_and_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    for content in ("first", "second"):
        found = finished(tmp_path / "file" / "folder", {}, functools.partial(made, content))
        assert found["shown"]["table"] == content


def test_each_byte_of_the_code_that_records_changes_the_digest(tmp_path):
    """And each of the package that of finished results: one byte is put to the end of every file in
    turn.
    """
    copy = tmp_path / "package"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "py.typed"))

    def digest(parts: tuple[str, ...]) -> str:
        return provenance._digest.__wrapped__(parts, copy)

    recording, whole = digest(provenance.RECORDING_CODE), digest(("",))
    unseen = []
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        name = file.relative_to(copy).as_posix()
        records = name.split("/")[0] in provenance.RECORDING_CODE
        if (digest(provenance.RECORDING_CODE) != recording) != records or digest(("",)) == whole:
            unseen.append(name)
        file.write_bytes(content)
    assert unseen == []
    assert (digest(provenance.RECORDING_CODE), digest(("",))) == (recording, whole)


def test_whatever_a_recording_imports_is_in_its_digest():
    """The ground apart, which only says, writes and hashes."""
    script = (
        "import sys, ahsar_eval.recording.runner; assert 'numba' not in sys.modules; import "
        "ahsar_eval.recording.kernels, ahsar_eval.data.kernels; "
        "print(*{m.split('.')[1] for m in sys.modules if m.startswith('ahsar_eval.')})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    ground = {"errors", "files", "progress", "provenance"}
    assert set(done.stdout.split()) - ground == {
        part.removesuffix(".py") for part in provenance.RECORDING_CODE
    }


def test_the_processor_and_its_limits_are_part_of_a_recording_s_key(monkeypatch):
    for name in provenance._LIMITS:
        monkeypatch.delenv(name, raising=False)
    plain = provenance.processor.__wrapped__()
    assert plain.endswith(f", {torch.backends.cpu.get_cpu_capability()}")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert provenance.processor.__wrapped__() == f"{plain}, ONEDNN_MAX_CPU_ISA=AVX2"


COMMANDS = {
    "ood": ["ood", "FIRST", "--id", "SET", "--ood", "photo-patches"],
    "compare": ["compare", "FIRST", "SECOND", "--id", "SET", "--ood", "photo-patches"],
    "energy": ["energy", "FIRST", "--data", "SET", "--shift", "contrast:3"],
}
# An option more, that changes what is printed or recorded.
OTHERS = {
    "ood": [
        *(
            ["--detail"],
            ["--by", "class"],
            ["--seed", "1"],
            ["--bootstrap", "200"],
            ["--tpr", "0.9"],
            ["--scale", "0.9"],
            ["--score", "gen"],
        ),
        *(
            ["--ood", "digits:blur:3"],
            ["--baseline", "small-baseline"],
            ["--engine", "reference"],
            ["--threads", "2"],
            ["SECOND"],
        ),
    ],
    "compare": [
        ["--metric", "auroc"],
        ["--seed", "1"],
        ["--no-replay"],
        ["--by", "severity"],
        ["--score", "gen,energy"],
    ],
    "energy": [
        *(
            ["--detail"],
            ["--memory", "--profile", "45nm-int8"],
            ["--profile", "45nm-int8"],
            ["--macs", "effective"],
            ["--shift", "fog:1"],
        ),
        *(["--convention", "syops"], ["--explain"], ["--scales", "0.5,1"], ["--batch-size", "32"]),
    ],
}


def words_of(
    name: str, tiny_pair: tuple[Path, Path], few_digits: Path, more: list[str]
) -> list[object]:
    meant: dict[str, object] = {
        "SET": f"npz:{few_digits}",
        "FIRST": tiny_pair[0],
        "SECOND": tiny_pair[1],
    }
    return [meant.get(word, word) for word in [*COMMANDS[name], *more]]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_kept_is_what_is_made(name, command, tiny_pair, few_digits, tmp_path, monkeypatch):
    words = words_of(name, tiny_pair, few_digits, ["--cache", str(tmp_path / "cache")])

    def plain(*more: str) -> str:
        outcome = command(*words, *more)
        assert outcome.code == 0, outcome.err
        return "\n".join(line for line in outcome.out.splitlines() if '"time"' not in line)

    fresh = [
        plain("--no-cache", *form) for form in ((), ("--format", "json"), ("--format", "latex"))
    ]
    assert fresh[0] == plain()
    # From here on whatever makes results is broken.
    monkeypatch.setattr("ahsar_eval.evaluation.ood.run", None)
    monkeypatch.setattr("ahsar_eval.evaluation.energy.run", None)
    assert fresh[:2] == [plain(), plain("--format", "json")]
    assert fresh[2].splitlines()[3:] == plain("--format", "latex").splitlines()[3:]
    with pytest.raises(TypeError):
        plain("--seed", "3")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_options_are_answered_alike(name, command, tiny_pair, few_digits, monkeypatch):
    asked: list[str] = []

    def remember(folder, parts, make):
        asked.append(json.dumps(parts, sort_keys=True))
        return {
            use: dict.fromkeys(("table", "markdown", "csv", "json", "latex"), "")
            for use in ("shown", "written")
        }

    monkeypatch.setattr("ahsar_eval.cli.commands.finished", remember)
    for more in ([], *OTHERS[name], []):
        assert command(*words_of(name, tiny_pair, few_digits, ["--threads", "1", *more])).code == 0
    assert asked[0] == asked[-1]
    assert len(set(asked)) == 1 + len(OTHERS[name])


def test_another_file_under_the_same_name_is_another_result(
    command, make_tiny, few_digits, tmp_path
):
    from ahsar_eval.networks.checkpoints import save_checkpoint

    file, words = (
        tmp_path / "net.pt",
        ["--id", f"npz:{few_digits}", "--ood", "photo-patches", "--cache", tmp_path / "cache"],
    )
    answers = []
    for scale in (1.0, 0.8, 1.0):
        save_checkpoint(dataclasses.replace(make_tiny(), fixed_scale=scale), file)
        answers.append(command("ood", file, *words).out)
    assert answers[0] == answers[2] != answers[1]
