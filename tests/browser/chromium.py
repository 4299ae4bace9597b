"""Where a headless Chromium is, and a page in it that watches what it should never do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FETCHED = Path("build/browser/chromium")
AXE = Path("build/axe/axe.min.js")
PATIENCE = 20_000
"""Milliseconds that a browser may take for one thing on a busy machine."""

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_chromium() -> Path | None:
    """The program that tests use; ``scripts/browser`` finds the same or fetches one."""
    if FETCHED.exists():
        return FETCHED.resolve()
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return None if found is None else Path(found)


@contextmanager
def running(program: Path) -> Iterator[Browser]:
    """A browser; without its own sandbox, since tests run as root and open only our own page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """Opens addresses, and notes what no page of ours may do.

    Attributes:
        page: the page in the browser.
        complaints: errors of scripts, and everything that the console printed.
        requests: what the page asked for.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, address: str, fragment: str = "") -> Page:
        """Open an address; with another fragment too it is loaded anew."""
        self.page.goto("about:blank")
        self.page.goto(f"{address}#{fragment}" if fragment else address)
        return self.page
