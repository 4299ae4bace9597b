"""Objects of one kind that is none of a cluster's, in files that may hold manifests as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from podwall.manifest.diagnostic import Diagnostic
from podwall.manifest.document import Document, Unreadable
from podwall.manifest.objects import Entry, entries
from podwall.manifest.reading import read_documents
from podwall.manifest.sources import Source, read_sources
from podwall.model.decode import Path, Problem, Severity, path_text


class Foreign(NamedTuple):
    """One object: its data, and where it stands."""

    data: dict[str, Any]
    file: str
    document: Document
    entry: Entry

    def line(self, path: Path) -> int:
        """The line of a path in the object."""
        return self.document.locate((*self.entry.path, *path))

    def diagnostic(self, problem: Problem) -> Diagnostic:
        """A problem of the object, as a mistake in its file."""
        return Diagnostic(
            problem.severity,
            self.file,
            self.line(problem.path),
            problem.found,
            problem.expected,
            self.entry.shown_kind,
            "",
            path_text(problem.path),
        )


def read_objects(
    paths: Sequence[str], kind: str, *, stdin: BinaryIO | None = None
) -> Iterator[Foreign | Diagnostic]:
    """The objects of ``kind`` in files, directories and ``-``; and what could not be read.

    A field that stands twice in one of them is an error, since the first would not count.
    """
    for source in read_sources(paths, stdin):
        if isinstance(source, Diagnostic):
            yield source
            continue
        for document in read_documents(source.text):
            if isinstance(document, Unreadable):
                yield _wrong(source, document.line, document.found, document.expected)
            elif document.data is not None:
                yield from _objects(source, document, kind)


def _objects(source: Source, document: Document, kind: str) -> Iterator[Foreign | Diagnostic]:
    for entry in entries(document.data):
        if not isinstance(entry, Entry):
            yield _wrong(source, document.locate(entry.path), entry.found, entry.expected)
        elif entry.kind == kind:
            found = Foreign(entry.data, source.name, document, entry)
            yield found
            for path in document.repeated:
                if path[: len(entry.path)] == entry.path:
                    text, hint = "the field is there more than once", "the last one counts"
                    yield found.diagnostic(Problem(path[len(entry.path) :], text, hint))


def _wrong(source: Source, line: int, found: str, expected: str) -> Diagnostic:
    return Diagnostic(Severity.ERROR, source.name, line, found, expected)
