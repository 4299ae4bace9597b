"""``podwall ui`` with a browser open on it: files change, break and are mended, and it follows."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE, Window
from tests.browser.pages import SHOP

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed-by-the-test, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: another, namespace: data}
spec: {containers: [{name: main, image: main}]}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHOP, tmp_path / "shop"))


class Served:
    """A running ``podwall ui``."""

    def __init__(self, files: Path) -> None:
        command = [sys.executable, "-m", "podwall", "ui", str(files)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C: the exit status, and what it said on standard error."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=PATIENCE / 1000)
        return self.process.returncode, said


@pytest.fixture
def served(files: Path) -> Iterator[Served]:
    found = Served(files)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.communicate()


def test_the_page_follows_its_files_and_keeps_what_is_looked_at(
    window: Window, served: Served, files: Path
) -> None:
    page = window.open(served.url, "namespace=shop&find=cart")
    page.locator("td[data-row]").last.click()
    opened = page.text_content("#details-head")
    policies = page.locator("details.policy")
    before = policies.count()

    (files / "closed.yaml").write_text(POLICY, encoding="utf-8")
    expect(policies).to_have_count(before + 1, timeout=PATIENCE)
    assert page.input_value("#find") == "cart"
    assert page.input_value("#filter-namespace") == "shop"
    assert page.text_content("#details-head") == opened

    (files / "more.yaml").write_text(POD, encoding="utf-8")
    expect(page.locator("#summary")).to_contain_text("15 pods", timeout=PATIENCE)
    assert page.text_content("#details-head") == opened
    assert page.locator('td[aria-selected="true"]').count() == 1

    (files / "closed.yaml").write_text("kind: [", encoding="utf-8")
    banner = page.locator("#banner")
    expect(banner).to_contain_text("closed.yaml", timeout=PATIENCE)
    expect(banner).to_contain_text("the last good state")
    assert policies.count() == before + 1

    late = page.context.new_page()
    late.goto(served.url)
    expect(late.locator("#banner")).to_contain_text("closed.yaml", timeout=PATIENCE)
    late.close()

    page.locator("#filter-label").press_sequentially("ro")
    (files / "closed.yaml").unlink()
    expect(policies).to_have_count(before, timeout=PATIENCE)
    expect(banner).to_be_hidden()
    page.keyboard.type("le")
    assert page.input_value("#filter-label") == "role"


def test_pictures_and_explanations_of_other_ports_come_on_demand(
    window: Window, served: Served
) -> None:
    page = window.open(served.url)
    page.locator('td[aria-label^="shop/deployment/cart to data/statefulset/cache: "]').click()
    page.fill("#ask-port", "6380/tcp")
    page.click("text=Explain")
    answer = page.locator(".ask .connection > summary")
    expect(answer).to_contain_text("denied 6380/tcp")
    page.fill("#ask-port", "nonsense")
    page.click("text=Explain")
    expect(page.locator(".ask .wrong")).to_contain_text("nonsense")
    assert len(window.complaints) == 1  # The browser tells of the refusal (422).
    window.complaints.clear()
    page.locator("details.policy > summary").first.click()
    page.locator(".bar").get_by_text("translation").click()
    page.wait_for_function("document.querySelector('.frame img').naturalWidth > 100")


def test_two_windows_follow_and_an_interrupt_ends_it_cleanly(
    window: Window, served: Served, files: Path
) -> None:
    first = window.open(served.url)
    second = window.page.context.new_page()
    second.goto(served.url)
    (files / "closed.yaml").write_text(POLICY, encoding="utf-8")
    for page in (first, second):
        expect(page.locator("details.policy", has_text="closed-by-the-test")).to_have_count(
            1, timeout=PATIENCE
        )
    status, said = served.interrupt()
    assert status == 130
    assert "Traceback" not in said
    for page in (first, second):
        expect(page.locator("#banner")).to_contain_text("no longer refreshed", timeout=PATIENCE)
    window.complaints.clear()  # The browser tells that its server has gone.
