"""Pictures in a real browser: texts lie in their boxes with its fonts, not just by our tables."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from podwall.api import Cluster
from podwall.draw import Picture
from podwall.draw.scene import Box, Label
from tests.unit.draw.gallery import EXAMPLES, pictures_of

_FONTS = ("Liberation Sans, Liberation Mono", "DejaVu Sans, DejaVu Sans Mono", "")
"""Fonts to read a picture in; the last is what the picture asks for."""

_WIDTHS = "els => els.map(el => { const b = el.getBBox(); return [b.x, b.x + b.width]; })"


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    found = [EXAMPLES[0], EXAMPLES[1], next(each for each in EXAMPLES if "hostile" in each.name)]
    return [
        picture
        for path in found
        for picture in pictures_of(Cluster.load([str(path)]).snapshot, most=3)
    ]


@pytest.mark.parametrize("fonts", _FONTS, ids=["liberation", "dejavu", "default"])
def test_every_text_lies_in_its_box(browser: Browser, pictures: list[Picture], fonts: str) -> None:
    page = browser.new_page()
    checked = 0
    for picture in pictures:
        page.set_content(picture.svg())
        for number, family in enumerate(filter(None, fonts.split(", "))):
            words = ("text", "text.pw-code, text.pw-code-head")[number]
            css = f".pw {words.replace(', text', ', .pw text')} {{ font-family: '{family}' }}"
            page.add_style_tag(content=css)
        labels = [each for each in picture.scene.items if isinstance(each, Label)]
        boxes = {each.id: each for each in picture.scene.items if isinstance(each, Box)}
        spans = page.eval_on_selector_all("text", _WIDTHS)
        for label, (left, right) in zip(labels, spans, strict=True):
            box = boxes[label.box]
            assert left >= box.x - 0.5, label
            assert right <= box.right + 0.5, label
            checked += 1
    page.close()
    assert checked > 500


def test_several_pictures_in_one_page_keep_their_styles_to_themselves(
    browser: Browser, pictures: list[Picture]
) -> None:
    page = browser.new_page(color_scheme="dark")
    one, other = pictures[0].svg("light", "a"), pictures[1].svg("auto", "b")
    page.set_content(f"<p class='card'>mine</p>{one}{other}")

    def fill(words: str) -> str:
        read = "el => getComputedStyle(el).fill"
        return str(page.eval_on_selector(words, read))

    assert fill("rect.a-page") == "rgb(255, 255, 255)"
    assert fill("rect.b-page") == "rgb(13, 17, 23)"
    assert page.eval_on_selector_all("[id]", "els => els.map(el => el.id)") == [
        "a-title",
        "a-desc",
        "b-title",
        "b-desc",
    ]
    page.close()
