"""The documentation says what is true: its commands parse, its links lead somewhere, its example
runs.
"""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

import ahsar_eval
from ahsar_eval.cli.main import cli

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "checkpoints" / "README.md",
    ROOT / "sets" / "README.md",
]


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def documented_commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"^    (ahsar-eval [^#\n]*)", text, flags=re.MULTILINE)
        found += re.findall(r"`(ahsar-eval [a-z]+ [^`\n]*)`", text)
    return sorted({command for command in found if "…" not in command})


@pytest.mark.parametrize("command", documented_commands())
def test_documented_command_parses(command):
    words = shlex.split(command.replace("BACKBONE", "vgg13").replace("METHOD", "ahsar"))[1:]
    name, arguments = words[0], words[1:]
    assert name in cli.commands, (
        f"the documentation names the command {name!r}, which does not exist"
    )
    # Parsing checks option names, values and required options; nothing runs.
    bare = not arguments and name in ("ood", "inspect")
    if not bare:
        cli.commands[name].make_context(name, arguments)


def test_the_documentation_has_commands():
    assert len(documented_commands()) >= 6


LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """What headings are called: in small letters, hyphens for spaces, without punctuation; and the
    objects that the reference shows."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    named = {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}
    return named | set(re.findall(r"^::: (\S+)$", text, re.M))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        to = page.parent / target if target else page
        assert to.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(to), f"{page.name}: {target} has no #{anchor}"


def test_example_runs_and_learns(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["plain_spikingjelly.py", "--epochs", "2"])
    result = runpy.run_path(str(ROOT / "examples" / "plain_spikingjelly.py"))["main"]()
    assert result > 0.6, f"two epochs reached an accuracy of {result} only"
    assert "gain" in capsys.readouterr().out


def spiking(inputs: int) -> nn.Module:
    """A network that takes [T, N, C, H, W] with `inputs` = C·H·W and gives [T, N, 10]."""
    torch.manual_seed(0)
    parts = [layer.Flatten(), layer.Linear(inputs, 16), neuron.LIFNode(), layer.Linear(16, 10)]
    for part in parts:
        part.step_mode = "m"
    return nn.Sequential(*parts)


def test_the_live_module_of_the_readme_is_evaluated(monkeypatch, tmp_path):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"`(ae\.ood\(.*?)`", text)
    space = {"ae": ahsar_eval, "net": spiking(3 * 32 * 32)}
    (known,) = eval(f"{line[:-1]}, replicates=100)", space).records["id"]
    assert known["n_id"] == 1000


def test_the_controller_of_the_readme_is_attached_and_adapts():
    """Its lines one after the other, with a training step where the loop of the reader would be."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    torch.manual_seed(1)
    known = [torch.rand(4, 8, 1, 4, 4) for _ in range(2)]
    space: dict[str, Any] = {"net": spiking(16), "hold_out": known, "validation_loss": 1.0}
    space["shifted"] = [2 * batch for batch in known]
    for line in block.splitlines():
        exec(line, space)
        if line.startswith("ahsar = "):
            space["net"].train()(known[0])
            functional.reset_net(space["net"].eval())
    assert space["points"].data["n"] == 16
    assert space["ahsar"].adaptation_state()


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)


@pytest.mark.parametrize(
    "page", [pytest.param("index.md", marks=pytest.mark.every), "guide/python.md", "test-time.md"]
)
def test_the_first_example_of_a_page_runs(page, monkeypatch, tmp_path):
    """On the first samples of each set, in a folder of its own."""
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    few = "options=ae.DataOptions(limit=40), replicates=100"
    code = re.sub(r"ae\.ood\(net, ", rf"\g<0>{few}, ", blocks(page)[0])
    assert few in code
    exec(code.replace("adapt_samples=64", "adapt_samples=16"), {})


def test_the_script_of_the_guide_trains_and_adapts(monkeypatch, tmp_path):
    """Its lines with a training step where the loop of the reader stands, then those of test time;
    the last of the first block, which detaches, at the end.
    """
    monkeypatch.chdir(tmp_path)
    _, train, adapt = blocks("guide/python.md")
    *lines, last = train.splitlines()
    assert last.startswith("ahsar.detach()")
    known = [torch.rand(4, 8, 1, 4, 4) for _ in range(2)]
    space: dict[str, Any] = {"torch": torch, "net": spiking(16), "hold_out": known, "x": known[0]}
    space |= {"shifted": known, "epochs": 2, "validation_loss": 1.0, "reset": functional.reset_net}
    exec("\n".join(lines).replace("...  #", "net(x); reset(net)  #"), space)
    exec(f"{adapt}\n{last}", space)
    assert (tmp_path / "mine.pt").is_file()
    assert (tmp_path / "adapted.pt").is_file()


def test_notebook_runs(tmp_path, monkeypatch):
    """Every code cell of the example, one after the other, in one name space."""
    import ast

    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path))
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    space: dict[str, object] = {}
    shown = []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body[-1]
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, "notebook", "exec"), space)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), space))
    assert "<table>" in shown[0]._repr_html_()
    assert len(shown) >= 4


GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))


def commands_with_output() -> list[str]:
    """The commands of the guide whose output stands below them and is a table."""
    text = "".join(page.read_text(encoding="utf-8") for page in GUIDE)
    shown = re.findall(r"^    (ahsar-eval [^#\n]*)\n\n```\n(.*?)^```", text, re.M | re.S)
    return [command for command, output in shown if "───" in output]


@pytest.mark.parametrize("shown", commands_with_output())
def test_tables_of_the_guide_are_as_wide_as_the_terminal(shown, command, tmp_path, monkeypatch):
    words = [*shlex.split(shown)[1:], "--cache", str(tmp_path), "--limit", "50"]
    words += ["--adapt-samples", "16"] if "--adapt" in shown else []
    for width in (100, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        done = command(*words)
        assert done.code == 0, done.err
        wide = [line for line in done.out.splitlines() if len(line) > width]
        assert not wide, f"wider than {width}: {wide[:3]}"


def test_the_guide_shows_tables_that_fit_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in GUIDE)
    blocks = re.findall(r"\n\n```\n(.*?)\n```\n", text, re.S)
    tables = [block for block in blocks if "───" in block]
    wide = [line for block in tables for line in block.splitlines() if len(line) > 100]
    assert not wide, wide[:3]
    assert len(commands_with_output()) >= 6


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert not [line for line in lines if len(line) > 160]


def commands_of_the_gate() -> list[str]:
    """Those of its page, in the workflow, too."""
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    joined = re.sub(r" \\\n\s*", " ", text)
    return re.findall(r"^ {4,}(ahsar-eval .*)$", joined, re.M)


@pytest.mark.parametrize("shown", commands_of_the_gate())
def test_commands_of_the_gate_run(shown, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = shown.count("--require")
    done = command(*shlex.split(shown)[1:], "--limit", "20", "--format", "json")
    assert done.code in (0, 1), done.err
    found = json.loads(done.out)["requirements"]
    assert len(found) == asked > 0
    assert done.code == 1 - all(row["passed"] for row in found)
    for report in tmp_path.glob("*.xml"):
        assert len(ElementTree.parse(report).findall("testsuite/testcase")) == asked
    assert len(list(tmp_path.glob("*.xml"))) == shown.count("--junit")
    assert len(commands_of_the_gate()) == 4
