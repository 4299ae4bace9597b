"""One browser for all of these tests, a fresh window for each, and the page of examples/shop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from podwall.api import Cluster
from podwall.page import Content, build
from tests.browser.chromium import Window, find_chromium, running
from tests.browser.pages import SHOP, subject_of, write


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium; scripts/browser finds or fetches one")
    with running(program) as found:
        yield found


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    """Afterwards the page has complained of nothing, and asked nobody else for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    found = Window(context.new_page())
    yield found
    context.close()
    assert found.complaints == []
    assert [
        each
        for each in found.requests
        if not each.startswith(("about:", "blob:", "file:", "http://127.0.0.1:"))
    ] == []


@pytest.fixture(scope="package")
def shop() -> Cluster:
    return Cluster.load([SHOP])


@pytest.fixture(scope="package")
def content(shop: Cluster) -> Content:
    return build(subject_of(shop))


@pytest.fixture(scope="package")
def shop_page(content: Content, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the file that ``podwall report examples/shop`` would write."""
    return write(tmp_path_factory.mktemp("page"), content)
