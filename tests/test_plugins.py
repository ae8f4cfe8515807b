"""The example of a plugin, installed beside the package: its score, shift, set and profile are known
to every command; what is broken is left out and said.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ahsar_eval import plugins as module
from ahsar_eval.errors import AhsarWarning
from ahsar_eval.plugins import plugin_digest, plugins

EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin"


@pytest.fixture
def installed(tmp_path):
    """A folder to put on the path in which the example stands as pip would install it."""
    place = tmp_path / "site"
    record = place / "ahsar_eval_example-0.1.0.dist-info"
    record.mkdir(parents=True)
    (place / "ahsar_eval_example").symlink_to(EXAMPLE / "ahsar_eval_example")
    record.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: ahsar-eval-example\nVersion: 0.1.0\n"
    )
    groups = entry_points_of((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [f"[{group}]\n{name} = {value}\n" for group, name, value in groups]
    record.joinpath("entry_points.txt").write_text("".join(lines))
    return place


def entry_points_of(text: str) -> list[tuple[str, str, str]]:
    import tomllib

    groups = tomllib.loads(text)["project"]["entry-points"]
    return [(group, *pair) for group, held in groups.items() for pair in held.items()]


def run(place: Path, *words: object, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ahsar_eval", *map(str, words)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(place), *sys.path]),
            "AHSAR_EVAL_CACHE": str(cache),
        },
        timeout=300,
        check=False,
    )


def test_what_the_example_adds_is_known_to_the_commands(installed, tmp_path, few_digits):
    words = ("digits-vgg13-ahsar", "--format", "json", "--threads", 1)
    done = run(
        installed,
        *("ood", *words, "--id", f"npz:{few_digits}", "--ood", "checkerboards"),
        *("--ood", f"npz:{few_digits}:stripes:5", "--score", "margin", "--bootstrap", 100),
        cache=tmp_path / "cache",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["ood"], row["n_ood"]) for row in rows] == [
        *(("checkerboards", 16), (f"npz:{few_digits}:stripes:5", 40))
    ]
    assert {row["score"] for row in rows} == {"margin"}
    assert rows[1]["accuracy_ood"] < rows[1]["accuracy_id"]
    priced = run(
        installed,
        *("energy", *words, "--data", f"npz:{few_digits}", "--profile", "desk-lamp"),
        cache=tmp_path / "cache",
    )
    assert priced.returncode == 0, priced.stderr
    result = json.loads(priced.stdout)
    assert result["profile"] == "desk-lamp"
    ac = sum(layer["acs"] for layer in result["layers"])
    assert result["total_acs"] == pytest.approx(ac)
    assert "stripes" in run(installed, "data", "list", cache=tmp_path).stdout


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, "ahsar_eval.scores")


def test_what_cannot_be_loaded_is_left_out_and_said(monkeypatch):
    entries = [
        entry("good", "math:pi"),
        entry("missing", "no_such_module:x"),
        entry("wrong", "math:sin"),
    ]
    monkeypatch.setattr(module, "_entries", lambda kind: entries if kind == "scores" else [])
    with pytest.warns(AhsarWarning) as said:
        assert plugins("scores", float) == {"good": 3.141592653589793}
    texts = [str(warning.message) for warning in said]
    assert texts[0].startswith("the score missing of the package no_such_module cannot be loaded")
    assert texts[1].endswith("is a builtin_function_or_method; expected a float")


def test_the_code_of_a_plugin_is_in_the_digest(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "added.py"
    file.write_text("x = 1\n")
    monkeypatch.setattr(
        module, "_entries", lambda kind: [entry("x", "added:x")] if kind == "scores" else []
    )
    digests = []
    for text in ("x = 1\n", "x = 2\n"):
        file.write_text(text)
        plugin_digest.cache_clear()
        digests.append(plugin_digest())
    assert len(set(digests)) == 2
    plugin_digest.cache_clear()
    monkeypatch.setattr(module, "_entries", lambda kind: [])
    assert plugin_digest() == ""
    plugin_digest.cache_clear()
