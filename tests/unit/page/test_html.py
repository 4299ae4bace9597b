"""The file: self-contained, and whatever a manifest holds stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.page import Content, render_html
from podwall.page.html import script_safe

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u2028'\"&"


def content(title: str = "a page", live: bool = False) -> Content:
    return Content(
        *(title, EVIL, ("IPv4",), 0, (), (), (), ((),), (EVIL,), (), (), {}, (), (EVIL,), ()),
        live=live,
    )


def parts(page: str, tag: str) -> list[tuple[str, str]]:
    return re.findall(rf"<{tag}([^>]*)>(.*?)</{tag}>", page, re.DOTALL)


def test_hostile_texts_open_and_close_no_element() -> None:
    page = render_html(content(EVIL))
    assert "<img" not in page
    assert len(parts(page, "script")) == 2
    [(_, data), _] = parts(page, "script")
    assert json.loads(data)["source"] == EVIL


def test_the_policy_names_the_script_and_the_style_by_hash_and_nothing_else() -> None:
    page = render_html(content())
    [(_, style)] = parts(page, "style")
    script = parts(page, "script")[1][1]
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert found
    for text in (style, script):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"&#x27;sha256-{digest}&#x27;" in found[1]
    assert "default-src &#x27;none&#x27;" in found[1]
    assert "connect-src &#x27;none&#x27;" in found[1]
    assert "unsafe" not in found[1]


def test_nothing_is_loaded_from_anywhere() -> None:
    page = render_html(content())
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(
    "word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "write("]
)
def test_the_scripts_never_make_markup_of_texts(word: str) -> None:
    assert word not in parts(render_html(content()), "script")[1][1]


@given(st.text())
def test_any_text_survives_in_its_block(text: str) -> None:
    safe = script_safe(json.dumps(text))
    assert json.loads(safe) == text
    assert not set("<>&\u2028\u2029") & set(safe)
