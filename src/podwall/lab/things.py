"""The objects of manifests as they are written, for an API server to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import msgspec

from podwall.lab.apiserver.resources import BY_KIND
from podwall.manifest.diagnostic import Diagnostic
from podwall.manifest.document import Unreadable
from podwall.manifest.objects import Entry, entries
from podwall.manifest.reading import read_documents
from podwall.manifest.sources import read_sources


class Things(msgspec.Struct, frozen=True):
    """Objects that the lab's API server serves, and how many there are of other kinds."""

    served: tuple[dict[str, Any], ...] = ()
    others: Mapping[str, int] = {}

    @property
    def node_labels(self) -> dict[str, dict[str, str]]:
        """The labels of the Nodes among them, by name."""
        found: dict[str, dict[str, str]] = {}
        for each in self.served:
            metadata = each.get("metadata")
            if each["kind"] == "Node" and isinstance(metadata, dict):
                labels = metadata.get("labels")
                mine = labels if isinstance(labels, dict) else {}
                found[str(metadata.get("name"))] = {str(k): str(v) for k, v in mine.items()}
        return found


def read_things(paths: Sequence[str], stdin: BinaryIO | None) -> Things:
    """Read manifests; what is no object is left out, for whoever loads manifests complains."""
    served: list[dict[str, Any]] = []
    others: Counter[str] = Counter()
    for source in read_sources(paths, stdin):
        if isinstance(source, Diagnostic):
            continue
        for document in read_documents(source.text):
            if isinstance(document, Unreadable) or document.data is None:
                continue
            for entry in entries(document.data):
                if not isinstance(entry, Entry):
                    continue
                if (entry.api_version, entry.kind) in BY_KIND:
                    whole = {"apiVersion": entry.api_version, "kind": entry.kind}
                    served.append({**entry.data, **whole})
                else:
                    others[entry.shown_kind] += 1
    return Things(tuple(served), dict(sorted(others.items())))
