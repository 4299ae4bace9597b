"""Take the screenshots of the documentation: ``python -m tests.browser.pictures``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from podwall.api import Cluster
from podwall.page import build
from tests.browser.chromium import Window, find_chromium, running
from tests.browser.pages import SHOP, subject_of, write

HOME = Path("docs/img")

CELL = "cell=shop/deployment/cart>data/statefulset/cache"

SHOTS = {
    "page-light": ("light", 1180, 760, CELL),
    "page-dark": ("dark", 1180, 760, f"port=6379/tcp&{CELL}"),
    "page-narrow": ("light", 400, 760, "find=cache-0"),
}
"""By name: theme, width, height, and what is looked at."""


def main() -> None:
    """Write all of them."""
    program = find_chromium()
    if program is None:
        raise SystemExit("there is no Chromium; scripts/browser finds or fetches one")
    with tempfile.TemporaryDirectory() as home, running(program) as browser:
        address = write(Path(home), build(subject_of(Cluster.load([SHOP]))))
        for name, (theme, width, height, fragment) in SHOTS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if theme == "dark" else "light",
            )
            Window(context.new_page()).open(address, fragment).screenshot(path=HOME / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
