"""What a release says of itself agrees: version, date, citation, changelog, release notes."""

import re
import tomllib
from pathlib import Path

import pytest

import ahsar_eval

ROOT = Path(__file__).parent.parent


def test_the_changelog_has_the_version_with_its_date_and_room_for_the_next():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[(.*?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    assert sections[0] == ("Unreleased", "")
    version, date = sections[1]
    assert version == ahsar_eval.__version__
    assert date
    notes = ROOT / "docs" / f"release-notes-{version}.md"
    assert version in notes.read_text(encoding="utf-8").splitlines()[0]


def test_the_citation_agrees_with_version_and_date():
    yaml = pytest.importorskip("yaml", reason="CITATION.cff is read with PyYAML")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "type"} <= set(cited)
    assert cited["version"] == ahsar_eval.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{cited['version']}] - {cited['date-released']}\n" in changelog
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["authors"] == project["authors"]
    assert project["license"].startswith(cited["license"])
    (paper,) = cited["references"]
    assert paper["url"] == project["urls"]["Paper"]
    assert paper["title"] in (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    assert all({"family-names", "given-names"} == set(author) for author in paper["authors"])
