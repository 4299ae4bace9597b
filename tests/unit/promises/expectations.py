"""Expectations from text, as the tests write them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from podwall.api import Promises, read_promises
from podwall.promises.model import Promise

HEAD = "apiVersion: podwall.dev/v1\nkind: Expectations\nexpectations:\n"


def read(directory: Path, text: str, head: str = HEAD) -> Promises:
    """What is read from a file with some promises, written as a YAML list."""
    path = directory / "expectations.yaml"
    path.write_text(head + dedent(text).lstrip("\n"))
    return read_promises([str(path)])


def promises(directory: Path, text: str) -> tuple[Promise, ...]:
    """The promises in a text without mistakes."""
    found = read(directory, text)
    assert found.diagnostics == ()
    return found.promises


def mistakes(directory: Path, text: str, head: str = HEAD) -> list[str]:
    """What is said about a text, without the directory."""
    found = read(directory, text, head)
    return [str(each).removeprefix(f"{directory}/") for each in found.diagnostics]
