"""What the documentation shows is what the commands print, and its Python examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.doc_blocks import (
    ROOT,
    close,
    comparable,
    documents,
    failures,
    run,
    sessions,
    workplace,
)

TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in documents()}
WITH_SESSIONS = [name for name, text in TEXTS.items() if any(sessions(text))]

_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.kernel
@pytest.mark.parametrize("name", WITH_SESSIONS)
def test_commands_in_the_documentation_print_what_it_shows(name: str, tmp_path: Path) -> None:
    directory = workplace(tmp_path / "clone")
    try:
        for session in sessions(TEXTS[name]):
            outcomes = run(session, directory)
            assert not list(failures(session, outcomes))
            if "loose" not in session.words:
                shown = [(each.line, comparable(each.printed)) for each in session.commands]
                printed = [
                    (each.line, comparable(outcome.printed))
                    for each, outcome in zip(session.commands, outcomes, strict=True)
                ]
                assert printed == shown, "run 'make docs' to write down what is printed now"
    finally:
        close(directory)


def test_python_examples_in_the_documentation_pass(tmp_path: Path) -> None:
    directory = workplace(tmp_path / "clone")
    examples = [
        code
        for name, text in TEXTS.items()
        if name.startswith("docs/")
        for code in _PYTHON.findall(text)
    ]
    assert examples
    for number, code in enumerate(examples):
        (directory / f"test_example_{number}.py").write_text(code, encoding="utf-8")
    argv = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", TEXTS)
def test_links_in_the_documentation_lead_somewhere(name: str) -> None:
    for target, anchor in _LINK.findall(TEXTS[name]):
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{name} links to {target}"
        if anchor:
            anchors = {_anchor(each) for each in _HEADING.findall(path.read_text(encoding="utf-8"))}
            assert anchor in anchors, f"{name} links to #{anchor} of {path.name}"


def _anchor(heading: str) -> str:
    """How a heading is called in links."""
    return re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")
