"""The shell sessions in the documentation: find them, run them, compare or rewrite them.

A fenced block of the language ``console`` is a session: lines that start with ``$ `` are commands,
what follows each is what it printed. Words after ``console`` say how it is run:

``kernel``  as root of a private kernel (own user, network and mount namespace)
``loose``   what is printed depends on the machine: only the exit statuses are checked
``kubectl`` it runs the real kubectl, and only where ``scripts/kubectl`` has fetched it

A command must end with status 0, unless the next one is ``echo $?``, which shows it. All sessions
of a file share one directory, which begins with a copy of ``examples``, and one place for labs.

``python -m tests.e2e.doc_blocks FILE…`` runs the sessions and writes down what they print.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from podwall.dataplane.command import command_environment

ROOT = Path(__file__).resolve().parents[2]

_KUBECTL = ROOT / "build" / "kubectl"

_FENCE = re.compile(r"^```console([ a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_END = "\x1e"
_VARYING = (
    (re.compile(r"\b\d+(\.\d+)? (ms|s)\b"), r"N \2"),
    (re.compile(r'"seconds": [0-9.e-]+'), '"seconds": N'),
)
_PRIVATE = ("unshare", "--map-root-user", "--net", "--mount", "bash", "-c")
_ENTER = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec bash "$0"'


class Command(NamedTuple):
    """A command and what is printed below it."""

    line: str
    printed: str


class Session(NamedTuple):
    """A fenced block: how it is run, its commands, and where it stands in the file's text."""

    words: frozenset[str]
    commands: tuple[Command, ...]
    start: int
    end: int


class Outcome(NamedTuple):
    """What a command really printed, and its exit status."""

    printed: str
    status: int


def documents() -> list[Path]:
    """Every file of the project that may have sessions."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def sessions(text: str) -> Iterator[Session]:
    """The sessions of a file that can be run here, in order."""
    for block in _FENCE.finditer(text):
        if "kubectl" in block[1].split() and not _KUBECTL.exists():
            continue
        parts = re.split(r"^\$ (.*)\n", block[2], flags=re.MULTILINE)[1:]
        commands = tuple(map(Command, parts[::2], parts[1::2]))
        yield Session(frozenset(block[1].split()), commands, block.start(2), block.end(2))


def run(session: Session, directory: Path) -> list[Outcome]:
    """Run the commands of a session in one shell."""
    script = directory / ".session"
    lines = [
        f"{each.line}\n(s=$?; printf '{_END}%d{_END}' $s; exit $s)" for each in session.commands
    ]
    script.write_text("\n".join(lines), encoding="utf-8")
    start = (*_PRIVATE, _ENTER) if "kernel" in session.words else ("bash",)
    done = subprocess.run(
        (*start, str(script)),
        cwd=directory,
        env=_environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    *parts, rest = done.stdout.decode().split(_END)
    assert len(parts) == 2 * len(session.commands), f"the shell ended early: {parts} {rest}"
    return [
        Outcome(text, int(status)) for text, status in zip(parts[::2], parts[1::2], strict=True)
    ]


def _environment(directory: Path) -> Mapping[str, str]:
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", ""), str(_KUBECTL))
    programs = os.pathsep.join(places)
    env = command_environment({**os.environ, "PATH": programs})
    env.pop("COLUMNS", None)
    return {**env, "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": str(directory / ".runtime")}


def workplace(directory: Path) -> Path:
    """Lay out the directory in which the sessions of one file run."""
    shutil.copytree(ROOT / "examples", directory / "examples")
    (directory / ".runtime").mkdir(mode=0o700)
    return directory


def close(directory: Path) -> None:
    """End the labs that sessions left up."""
    argv = (sys.executable, "-m", "podwall", "lab", "down")
    subprocess.run(argv, env=_environment(directory), check=True, stdout=subprocess.DEVNULL)


def failures(session: Session, outcomes: list[Outcome]) -> Iterator[str]:
    """Commands that ended otherwise than the file lets a reader expect."""
    shown = [each.line == "echo $?" for each in session.commands[1:]] + [False]
    for command, outcome, is_shown in zip(session.commands, outcomes, shown, strict=True):
        if outcome.status and not is_shown:
            yield f"$ {command.line}\nended with status {outcome.status}:\n{outcome.printed}"


def readable(text: str) -> str:
    """What a command printed, as it stands in a file: no blanks at the ends of lines."""
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip("\n").split("\n")) if text else ""


def comparable(text: str) -> str:
    """``text`` without what differs from run to run: durations."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return readable(text)


def rewrite(path: Path) -> None:
    """Run the sessions of a file and write down what they print now."""
    text = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        directory = workplace(Path(name))
        pieces: list[str] = []
        position = 0
        for session in sessions(text):
            outcomes = run(session, directory)
            for failure in failures(session, outcomes):
                sys.stderr.write(f"{path}: {failure}")
            pieces.append(text[position : session.start])
            for command, outcome in zip(session.commands, outcomes, strict=True):
                same = comparable(command.printed) == comparable(outcome.printed)
                printed = command.printed if same else readable(outcome.printed)
                pieces.append(f"$ {command.line}\n{printed}")
            position = session.end
        close(directory)
    path.write_text("".join([*pieces, text[position:]]), encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:] or map(str, documents()):
        rewrite(Path(argument))
