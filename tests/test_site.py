"""The site of docs/: it builds strictly, asks nothing of a network, shows every setting, and its
pages that lie elsewhere are there."""

import dataclasses
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ahsar_eval.evaluation import requests

pytest.importorskip("mkdocs", reason="the site needs the extra docs, which is not installed")
for plugin in ("material", "mkdocstrings", "mkdocs_jupyter"):
    pytest.importorskip(plugin, reason="the site needs the extra docs, which is not installed")

ROOT = Path(__file__).parent.parent


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = build(ROOT, out)
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sources(HTMLParser):
    """What a page loads: scripts, style sheets, pictures and fonts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        if tag in ("script", "img", "iframe") and held.get("src"):
            self.found.add(str(held["src"]))
        if tag == "link" and held.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.found.add(str(held["href"]))


def test_pages_load_only_what_lies_beside_them(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        for source in Sources(page).found - {""}:
            if source.startswith("data:") or page.name == "404.html":
                continue
            assert (page.parent / source).is_file(), f"{page.name} loads {source}"


def test_every_page_of_the_docs_is_built(site, hooks):
    for page in (ROOT / "docs").rglob("*.md"):
        built = (site / page.relative_to(ROOT / "docs")).with_suffix(".html")
        assert built.is_file(), f"{page} has no page"
    for source, page in hooks.PAGES.items():
        assert (ROOT / source).exists()
        assert (site / page).with_suffix(".html").is_file(), f"{source} has no page"
    assert "From a checkpoint to a table" in (site / "notebook.html").read_text(encoding="utf-8")
    assert not (site / "hooks.py").exists()


@pytest.mark.parametrize(
    "request_type",
    ["NetworkOptions", "Adapting", "Request", "EnergyRequest", "MonitorRequest", "SweepRequest"],
)
def test_the_reference_has_every_setting_of(request_type, site, hooks):
    text = (site / "api.html").read_text(encoding="utf-8")
    for field in dataclasses.fields(getattr(requests, request_type)):
        if field.metadata.get("help"):
            setting, option = hooks.row(field)[:2]
            for cell in (setting, option):
                assert f"<td><code>{cell[1:-1]}</code></td>" in text


def test_the_reference_has_every_public_name(site):
    import ahsar_eval

    text = (site / "api.html").read_text(encoding="utf-8")
    anchors = {one.rpartition(".")[2] for one in re.findall(r'id="(ahsar_eval\.[\w.]+)"', text)}
    assert set(ahsar_eval.__all__) - {"__version__", "DataOptions"} <= anchors
    assert "DataOptions" in text


def test_a_row_escapes_what_would_end_its_cell(hooks):
    field: Any = dataclasses.field(
        default="a", metadata={"help": "one|two <b> *x*", "flag": "--own"}
    )
    field.name = "setting"
    assert hooks.row(field) == ["`setting`", "`--own`", "`'a'`", r"one\|two \<b> \*x\*"]
    field = dataclasses.field(default=None, metadata={"help": "what"})
    field.name = "two_words"
    assert hooks.row(field) == ["`two_words`", "`--two-words`", "", "what"]


def test_settings_are_called_as_the_verbs_call_them(hooks):
    """Each name of a table is an argument of a verb, or a field that `**settings` reaches."""
    from ahsar_eval.evaluation import verbs

    taken = {
        name for verb in (verbs.ood, verbs.energy) for name in inspect.signature(verb).parameters
    }
    assert set(hooks.ARGUMENTS) <= taken


def test_lines_that_name_a_parameter_are_a_list_and_pages_are_links(hooks):
    docstring = "One line: of prose (docs/ood.md).\n\nx: what\n    it is.\ny: other."
    assert hooks.listed(docstring) == (
        "One line: of prose ([ood](ood.md)).\n\n- `x`: what\n    it is.\n- `y`: other."
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](ood.md#nowhere)", "#nowhere"),
        ("![a](nowhere.png)", "nowhere.png"),
    ],
)
def test_what_leads_nowhere_ends_the_build(line, said, tmp_path):
    """The validation of mkdocs.yml, on a small site of its own: links, anchors, pictures."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    small = text[: text.index("\nnav:")] + text[text.index("\nvalidation:") :]
    (tmp_path / "mkdocs.yml").write_text(small, encoding="utf-8")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "ood.md", tmp_path / "docs")
    (tmp_path / "docs" / "monitor.md").write_text("# Monitor\n", encoding="utf-8")
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{line}\n", encoding="utf-8")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert said in built.stderr
