"""Text in, documents out: splits a file at ``---`` lines and tries the right parser on each piece.

A mistake costs the piece that it is in, and no more: ``---`` at the start of a line ends a document
whatever state the parser is in, so the rest of the file can be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from podwall.manifest.document import Document, Unreadable
from podwall.manifest.json_text import read_json
from podwall.manifest.yaml_text import read_yaml

_MARKER = "---"
_JSON_START = re.compile(r"\s*(?:\{\s*[\"}]|\[\s*[\]\[{\"])")
_BLANK_PIECE = re.compile(r"(?:[ \t\r]*(?:[#%][^\n]*)?(?:\n|\Z))*\Z")
_SMALL = 1_000_000


def read_documents(text: str) -> Iterator[Document | Unreadable]:
    """All documents of a file in order; empty ones have the data ``None``."""
    for piece, first_line in _split(text):
        if len(piece) < _SMALL and _BLANK_PIECE.match(piece):
            continue
        if _JSON_START.match(piece):
            yield from _read_json_or_yaml(piece, first_line)
        else:
            yield from read_yaml(piece, first_line)


def _split(text: str) -> Iterator[tuple[str, int]]:
    """Pieces between document markers, with the line that each begins on."""
    line = 1
    start = len(_MARKER) if _is_marker(text, 0) else 0
    search = 0
    while (newline := text.find("\n" + _MARKER, search)) >= 0:
        search = newline + 1
        if _is_marker(text, search):
            yield text[start:search], line
            line += text.count("\n", start, search)
            start = search + len(_MARKER)
    yield text[start:], line


def _is_marker(text: str, position: int) -> bool:
    end = position + len(_MARKER)
    return text.startswith(_MARKER, position) and text[end : end + 1] in ("", " ", "\t", "\r", "\n")


def _read_json_or_yaml(piece: str, first_line: int) -> Iterator[Document | Unreadable]:
    """YAML in braces looks like JSON until it does not; of two complaints JSON's is the clearer."""
    documents = list(read_json(piece, first_line))
    if len(piece) < _SMALL and any(isinstance(each, Unreadable) for each in documents):
        as_yaml = list(read_yaml(piece, first_line))
        if not any(isinstance(each, Unreadable) for each in as_yaml):
            documents = as_yaml
    yield from documents
