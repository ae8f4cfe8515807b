"""What tests of commands share."""

import pytest


@pytest.fixture
def _in_an_empty_folder(tmp_path, monkeypatch):
    """The command runs in a folder that holds nothing."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
