"""Hooks of the site (mkdocs.yml): pages whose files lie outside docs/, links to them, and tables of
the settings that Python and the command line share."""

import dataclasses
import importlib
import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# What lies outside docs/ → its page. Markdown and notebooks are pages; the rest is shown as code.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "checkpoints/README.md": "shipped-checkpoints.md",
    "sets/README.md": "shipped-sets.md",
    "examples/notebook.ipynb": "notebook.ipynb",
    "examples/plain_spikingjelly.py": "examples/plain-spikingjelly.md",
    "examples/plugin": "examples/plugin.md",
    "ahsar_eval/data/groups.toml": "examples/groups.md",
}
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(?=[)#])")
PAGE = re.compile(r"docs/([\w-]+)\.md")  # as docstrings and helps name a page
SETTINGS = re.compile(r"<!-- settings: ([\w.]+)\.(\w+) -->")


FIELDS = "__dataclass_fields__"
# Options that the verbs take as arguments of this name, whatever the field is called.
ARGUMENTS = ("id", "ood", "data", "score", "profile", "shift")


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose files lie outside docs/."""
    for source, page in PAGES.items():
        if source.endswith(".ipynb"):  # mkdocs-jupyter wants a file that lies in a folder
            folder, urls = str((ROOT / source).parent), config.use_directory_urls
            file = File(page, folder, config.site_dir, urls)
        elif source.endswith(".md"):
            file = File.generated(config, page, abs_src_path=str(ROOT / source))
        else:
            file = File.generated(config, page, content=shown(source))
        files.append(file)
    return files


def shown(source: str) -> str:
    """A page of the code in a file, or in every file of a folder."""
    path = ROOT / source
    inside = (one for one in sorted(path.rglob("*")) if one.suffix in (".py", ".toml"))
    parts = [f"# {source}"]
    for file in [path] if path.is_file() else inside:
        name = str(file.relative_to(ROOT))
        parts += [] if name == source else [f"## {name}"]
        parts.append(f"```{file.suffix[1:]}\n{file.read_text(encoding='utf-8')}```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files outside docs/ to their pages, and write the tables of settings."""
    source = next((s for s, p in PAGES.items() if p == page.file.src_uri), None)
    written = ROOT / (source or f"docs/{page.file.src_uri}")

    def led(found: re.Match[str]) -> str:
        target = os.path.normpath(written.parent / found[1])
        inside = os.path.relpath(target, ROOT)
        to = PAGES.get(inside) or inside.removeprefix("docs/")
        return os.path.relpath(to, os.path.dirname(page.file.src_uri) or ".")

    return SETTINGS.sub(settings, LINK.sub(led, markdown))


def settings(found: re.Match[str]) -> str:
    """The table of a request's own settings: name, option, default, meaning."""
    module, name = found[1], found[2]
    request = getattr(importlib.import_module(module), name)
    inherited = {field for base in request.__mro__[1:] for field in vars(base).get(FIELDS, ())}
    rows = ["| setting | option | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(request):
        if field.name not in inherited and field.metadata.get("help"):
            rows.append(f"| {' | '.join(row(field))} |")
    return "\n".join(rows)


def row(field: dataclasses.Field[Any]) -> list[str]:
    """A line of the table, with what would end a cell or begin a tag escaped."""
    option = field.metadata.get("flag", "--" + field.name.replace("_", "-"))
    given = field.default not in (dataclasses.MISSING, None, "", ())
    default = f"`{field.default!r}`" if given else ""
    text = re.sub(r"[|<*_`\[\]]", r"\\\g<0>", field.metadata["help"])
    name = option[2:] if option[2:] in ARGUMENTS else field.name
    return [f"`{name}`", f"`{option}`", default, PAGE.sub(r"[\1](\1.md)", text)]


class Listed(griffe.Extension):
    """Docstrings as the reference shows them: lines of `name: what it is` are a list."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)


def listed(docstring: str) -> str:
    """A docstring whose paragraphs of `name: what it is` are lists, and which links to pages."""
    parts = []
    for part in docstring.split("\n\n"):
        if re.match(r"\w+: ", part):
            part = re.sub(r"^(\w+): ", r"- `\1`: ", part, flags=re.M)
        parts.append(PAGE.sub(r"[\1](\1.md)", part))
    return "\n\n".join(parts)
