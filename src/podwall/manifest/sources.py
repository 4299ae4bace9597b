"""Paths in, texts out: files, directories and standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from podwall.manifest.diagnostic import Diagnostic
from podwall.model.decode import Severity, escaped

STDIN = "-"
_STDIN_NAME = "<stdin>"
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 512 * 1024 * 1024


class Source(NamedTuple):
    """One file's text, and its name as messages show it."""

    name: str
    text: str


def read_sources(paths: Sequence[str], stdin: BinaryIO | None) -> Iterator[Source | Diagnostic]:
    """Read everything that ``paths`` name, each file once; what fails is a diagnostic.

    A directory stands for its ``*.yaml``, ``*.yml`` and ``*.json`` files, those of subdirectories
    included, in the order of their names. Names that begin with a dot are left out below it.
    """
    seen: set[str] = set()
    for path in paths:
        if path == STDIN:
            if STDIN not in seen:
                seen.add(STDIN)
                yield _read_stream(stdin or sys.stdin.buffer, _STDIN_NAME)
            continue
        for each in _files(path):
            if isinstance(each, Diagnostic):
                yield each
            elif (identity := _identity(each)) not in seen:
                seen.add(identity)
                yield _read_file(each)


def _identity(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # reading it will say what is wrong with it
        return path


def _files(path: str) -> Iterator[str | Diagnostic]:
    try:
        if not os.path.isdir(path):
            yield path
            return
        found = list(_walk(path))
    except (OSError, ValueError) as error:
        yield _unreadable(path, error)
        return
    if not found:
        wanted = "expected *.yaml, *.yml or *.json"
        yield Diagnostic(
            Severity.ERROR, _shown(path), 0, "the directory holds no manifests", wanted
        )
    yield from found


def _walk(directory: str) -> Iterator[str | Diagnostic]:
    faults: list[Diagnostic] = []

    def remember(error: OSError) -> None:
        faults.append(_unreadable(str(error.filename), error))

    for folder, folders, files in os.walk(directory, onerror=remember):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.join(folder, name)
    yield from faults


def _read_file(path: str) -> Source | Diagnostic:
    try:
        with open(path, "rb") as stream:
            return _read_stream(stream, _shown(path))
    except (OSError, ValueError) as error:
        return _unreadable(path, error)


def _read_stream(stream: BinaryIO, name: str) -> Source | Diagnostic:
    try:
        content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        return _unreadable(name, error)
    if len(content) > _MAX_BYTES:
        limit = f"expected at most {_MAX_BYTES // 1024 // 1024} MiB"
        return Diagnostic(Severity.ERROR, name, 0, "the file is too large", limit)
    try:
        return Source(name, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} is not UTF-8"
        return Diagnostic(Severity.ERROR, name, line, found, "expected text in UTF-8")


def _unreadable(path: str, error: Exception) -> Diagnostic:
    reason = getattr(error, "strerror", None) or str(error)
    return Diagnostic(Severity.ERROR, _shown(path), 0, f"it cannot be read: {reason}")


def _shown(path: str) -> str:
    return escaped(path)
