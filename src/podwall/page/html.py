"""One HTML file out of the content, the style and the scripts: nothing is loaded from anywhere.

The content security policy names the scripts and the style by their hashes, so whatever a manifest
smuggles in cannot run, should it ever get as far. The content is JSON in a block that is no script,
and with every ``<`` written as an escape it cannot end the block.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib import resources

import msgspec

from podwall.page.content import Content

SCRIPTS = (
    "dom.js",
    "data.js",
    "state.js",
    "matrix.js",
    "details.js",
    "policies.js",
    "find.js",
    "live.js",
    "main.js",
)
"""The scripts, in the order in which they need each other."""

_CONTENT = "@CONTENT@"


def render_html(content: Content) -> str:
    """The page as one document."""
    frame = _frame(content.live)
    return frame.replace("@TITLE@", html.escape(content.title)).replace(
        _CONTENT, script_safe(msgspec.json.encode(content).decode()), 1
    )


def script_safe(text: str) -> str:
    """JSON that can stand in a script block: nothing in it can end the block or begin a comment."""
    return (
        text.replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


@cache
def security_policy(live: bool) -> str:
    """The content security policy of a page; one that is ``live`` may ask its own server."""
    parts = {
        "default-src": "'none'",
        "script-src": _hash_of(_script()),
        "style-src": _hash_of(_style()),
        "img-src": "blob:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


@cache
def _frame(live: bool) -> str:
    """The document without its content and its title."""
    frame = _asset("page.html")
    for mark, text in (
        ("@POLICY@", html.escape(security_policy(live), quote=True)),
        ("@STYLE@", _style()),
        ("@SCRIPT@", _script()),
    ):
        frame = frame.replace(mark, text, 1)
    return frame


def _asset(name: str) -> str:
    return resources.files("podwall.page").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    return _asset("page.css")


@cache
def _script() -> str:
    """All scripts as one, with a scope of its own."""
    return '(() => {\n"use strict";\n' + "\n".join(map(_asset, SCRIPTS)) + "\n})();\n"


def _hash_of(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
