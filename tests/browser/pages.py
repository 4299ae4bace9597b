"""Pages to open: of the shop, of many pods, and of names that want to be more than text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from podwall.api import Cluster
from podwall.check.registry import check
from podwall.cli.outside import outside_ends
from podwall.draw import policy_picture
from podwall.model.policy import PolicyKey
from podwall.page import Content, Drawing, Subject, render_html

SHOP = "examples/shop"

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--\u2028\u202e'\"&amp;"
"""A name that is markup, ends scripts and turns the direction of writing."""

_WORDS_OF_THE_PAGE = frozenset(
    {"kind", "severity", "tone", "families", "cells", "told", "live", "svg", "isolates"}
)


def subject_of(cluster: Cluster) -> Subject:
    """What ``podwall report`` makes a page of."""

    def draw(key: PolicyKey) -> Drawing:
        picture = policy_picture(cluster.snapshot, [key])
        return Drawing("policy", picture.title, picture.description, picture.svg())

    return Subject(
        title="The shop",
        source=SHOP,
        snapshot=cluster.snapshot,
        settings=cluster.settings,
        ruleset_of=cluster.ruleset,
        findings=tuple(check(cluster.snapshot, {})),
        outside=tuple(outside_ends(cluster.snapshot)),
        draw=lambda key: iter((draw(key),)),
    )


def write(home: Path, content: Content) -> str:
    """The address of a file with a page."""
    path = home / "report.html"
    path.write_text(render_html(content), encoding="utf-8")
    return path.as_uri()


def made_hostile(content: Content) -> Content:
    """The same page with a hostile end to every text that a cluster could have put there."""
    return msgspec.convert(_hostile(msgspec.to_builtins(content)), Content)


def _hostile(value: Any) -> Any:
    match value:
        case str():
            return f"{value}{EVIL}"
        case dict():
            return {
                name: each if name in _WORDS_OF_THE_PAGE else _hostile(each)
                for name, each in value.items()
            }
        case [int(), int(), str()]:
            return value  # A line of an explanation: its last word is a tone.
        case list() | tuple():
            return [_hostile(each) for each in value]
        case _:
            return value
