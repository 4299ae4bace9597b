"""What commands print: results on standard output, everything else on standard error.

Colour appears on a terminal only (and never when ``NO_COLOR`` is set); with ``-o json`` standard
output holds one JSON document and nothing else.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from podwall.manifest import Diagnostic, Severity


class Status(enum.IntEnum):
    """Exit statuses of all commands."""

    OK = 0
    DIFFERENT = 1
    UNUSABLE = 2
    FAILED = 3


class _Output(Console):
    """A console that leaves to :mod:`podwall.cli.main` what a reader that has gone means."""

    def on_broken_pipe(self) -> None:
        # Rich would end the program with status 1, which says that there is a difference.
        raise BrokenPipeError


def out() -> Console:
    """Where results go."""
    width = None if sys.stdout.isatty() else 120
    return _Output(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Where messages and progress go."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """Print one JSON document, indented, keys in the order given."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(text.decode() + "\n")


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print what is wrong with the input, one line each, on standard error."""
    console = err()
    for each in diagnostics:
        error = each.severity is Severity.ERROR
        console.print(
            Text.assemble(
                ("error: " if error else "warning: ", "bold red" if error else "yellow"),
                str(each),
            )
        )


def print_error(message: str) -> None:
    """Print the one thing that made a command fail."""
    err().print(Text.assemble(("error: ", "bold red"), message))


def print_note(message: str) -> None:
    """Print something worth knowing on standard error."""
    err().print(Text(message, style="dim"))


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, if that is a terminal; call it with (done, total)."""
    console = err()
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
