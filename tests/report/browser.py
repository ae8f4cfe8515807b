"""A headless Chromium for tests that look at pages: the system's own, driven by playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SEEN = "one => one.checkVisibility() && one.getClientRects().length > 0"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable() -> str:
    """The browser of this machine; a test that asks for it is skipped where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """A browser."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = executable()
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A page that is open, and everything that it asked for or complained of."""

    def __init__(self, browser: Any, file: Path, **how: Any) -> None:
        width = how.pop("width", 1280)
        context = browser.new_context(viewport={"width": width, "height": 900}, **how)
        self.page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda one: self.requests.append(one.url))
        self.page.on("console", lambda one: self.complaints.append(one.text))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.goto(file.as_uri())

    def shown(self, selector: str) -> list[Any]:
        """The elements of a selector that are visible."""
        found = self.page.evaluate_handle(
            f"[...document.querySelectorAll({selector!r})].filter({SEEN})"
        )
        return [one.as_element() for one in found.get_properties().values()]

    def texts(self, selector: str) -> list[str]:
        """What the visible ones say."""
        told: list[str] = self.page.evaluate(
            f"[...document.querySelectorAll({selector!r})].filter({SEEN}).map(one => one.innerText)"
        )
        return told
