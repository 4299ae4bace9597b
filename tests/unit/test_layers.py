"""What import contracts cannot see: calls that start programs, and calls that read the world.

The contracts themselves are in ``pyproject.toml``; ``make check`` holds them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "podwall"
MODULES = sorted(SOURCE.rglob("*.py"))
STARTS = {"fork", "forkpty", "popen", "posix_spawn", "posix_spawnp", "startfile", "system"}
REPLACES = ("exec", "spawn")
PURE = (
    "model",
    "cluster",
    "policy",
    "ruleset",
    "check",
    "draw",
    "explain",
    "learn",
    "promises",
    "whatif",
)


def _calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_lab_forks_and_no_shell_is_started(path: Path) -> None:
    found = {
        call
        for call in _calls(path)
        if call.startswith("os.") and (call[3:] in STARTS or call[3:].startswith(REPLACES))
    }
    in_lab = path.relative_to(SOURCE).parts[0] == "lab"
    allowed = {"os.fork", "os.execvpe"} if in_lab else set()
    assert found <= allowed


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(SOURCE).parts[0] in PURE],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_pure_modules_open_and_print_nothing(path: Path) -> None:
    forbidden = {"open", "print", "input", "exec", "eval", "compile", "__import__"}
    assert forbidden.isdisjoint(_calls(path))


def test_no_program_is_started_through_a_shell() -> None:
    tree = ast.parse((SOURCE / "dataplane" / "command.py").read_text(encoding="utf-8"))
    words = [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    assert "stdin" in words
    assert "shell" not in words
