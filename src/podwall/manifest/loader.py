"""Loads manifests: every document of every source, all mistakes at once.

Objects that are declared twice are an error; the later one counts, as it would after
``kubectl apply``. Workloads whose pods are part of the input (a dump of a cluster has both) make
none.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from podwall.cluster.podnames import generated_name
from podwall.errors import InputError
from podwall.manifest.diagnostic import Diagnostic, UnusableInput, sort_diagnostics
from podwall.manifest.document import Document, Unreadable
from podwall.manifest.kinds import Standing, classify
from podwall.manifest.manifests import Manifests, Origin
from podwall.manifest.objects import Entry, entries
from podwall.manifest.reading import read_documents
from podwall.manifest.sources import Source, read_sources
from podwall.manifest.workloads import (
    DEFAULT_MAX_REPLICAS,
    Workload,
    decode_workload,
)
from podwall.model.decode import (
    Decoded,
    Path,
    Severity,
    decode_namespace,
    decode_node,
    decode_pod,
    decode_policy,
    make_namespace,
    path_text,
)
from podwall.model.objects import Namespace, Node, Pod, PodKey
from podwall.model.policy import Policy, PolicyKey


def load(
    paths: Sequence[str],
    *,
    stdin: BinaryIO | None = None,
    default_namespace: str = "default",
    max_replicas: int = DEFAULT_MAX_REPLICAS,
) -> Manifests:
    """Read manifests from files, directories and, for ``-``, from ``stdin``.

    What is wrong is in ``Manifests.diagnostics``, and callers decide what to do with the rest.
    Objects without a namespace are in ``default_namespace``; a workload makes at most
    ``max_replicas`` pods.

    Raises:
        InputError: there are no paths.
        UnusableInput: none of the paths could be read.
    """
    if not paths:
        raise InputError("no manifests: name files, directories, or - for standard input")
    loader = _Loader(default_namespace, max_replicas)
    with _collector_paused():
        for source in read_sources(paths, stdin):
            loader.add(source)
        return loader.finish()


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Parsing makes millions of objects and no garbage; collecting meanwhile doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Loader:
    """Collects the objects of one run."""

    def __init__(self, default_namespace: str, max_replicas: int) -> None:
        self._default_namespace = default_namespace
        self._max_replicas = max_replicas
        self._sources = 0
        self._diagnostics: list[Diagnostic] = []
        self._skipped: dict[str, int] = {}
        self._declared: dict[tuple[str, object], Origin] = {}
        self._pods: dict[PodKey, Pod] = {}
        self._workloads: dict[tuple[str, PodKey], Workload] = {}
        self._namespaces: dict[str, Namespace] = {}
        self._policies: dict[PolicyKey, Policy] = {}
        self._nodes: dict[str, Node] = {}

    def add(self, source: Source | Diagnostic) -> None:
        """Read all documents of a source."""
        if isinstance(source, Diagnostic):
            self._diagnostics.append(source)
            return
        self._sources += 1
        for document in read_documents(source.text):
            if isinstance(document, Unreadable):
                self._report(source.name, document.line, document.found, document.expected)
            elif document.data is not None:
                self._add_document(source.name, document)

    def _add_document(self, file: str, document: Document) -> None:
        found: list[Entry] = []
        for entry in entries(document.data):
            if isinstance(entry, Entry):
                self._add_entry(file, document, entry)
                found.append(entry)
            else:
                self._report(file, document.locate(entry.path), entry.found, entry.expected)
        for path in dict.fromkeys(document.repeated):
            self._report_repeated(file, document, path, found)

    def _add_entry(self, file: str, document: Document, entry: Entry) -> None:
        sort = classify(entry.kind, entry.api_version)
        origin = Origin(file, document, entry.path)
        if sort.found:
            severity = Severity.ERROR if sort.fatal else Severity.WARNING
            self._report_at(origin, entry, (sort.field,), sort.found, sort.expected, severity)
        if sort.standing is Standing.SKIP:
            self._skipped[entry.shown_kind] = self._skipped.get(entry.shown_kind, 0) + 1
            return
        decoded = self._decode(sort.kind, _with_name(entry.data))
        for problem in decoded.problems:
            self._report_at(
                origin, entry, problem.path, problem.found, problem.expected, problem.severity
            )
        if decoded.value is not None:
            self._keep(sort.kind, decoded.value, origin, entry)

    def _decode(self, kind: str, data: dict[str, Any]) -> Decoded[Any]:
        namespace = self._default_namespace
        match kind:
            case "Pod":
                return decode_pod(data, default_namespace=namespace)
            case "NetworkPolicy":
                return decode_policy(data, default_namespace=namespace)
            case "Namespace":
                return decode_namespace(data)
            case "Node":
                return decode_node(data)
            case _:
                return decode_workload(
                    kind, data, default_namespace=namespace, max_replicas=self._max_replicas
                )

    def _keep(self, kind: str, value: Any, origin: Origin, entry: Entry) -> None:
        key: Any
        match value:
            case Pod():
                key = value.key
                self._pods[key] = value
            case Policy():
                key = value.key
                self._policies[key] = value
            case Namespace():
                key = value.name
                self._namespaces[key] = value
            case Node():
                key = value.name
                self._nodes[key] = value
            case _:
                key = value.key
                self._workloads[kind, key] = value
        earlier = self._declared.get((kind, key))
        if earlier is not None:
            self._report_at(origin, entry, (), f"already declared at {earlier}", "this one counts")
        self._declared[kind, key] = origin

    def finish(self) -> Manifests:
        """Add what follows from everything together: workloads' pods and undeclared namespaces."""
        if not self._sources:
            raise UnusableInput(self._diagnostics)
        pods = {**self._made_pods(), **self._pods}
        used = {key.namespace for key in pods} | {key.namespace for key in self._policies}
        used |= {workload.key.namespace for workload in self._workloads.values()}
        namespaces = dict(self._namespaces)
        undeclared = tuple(sorted(used - namespaces.keys()))
        for name in undeclared:
            namespaces[name] = make_namespace(name)
        return Manifests(
            pods=tuple(pods.values()),
            namespaces=tuple(namespaces.values()),
            policies=tuple(self._policies.values()),
            nodes=tuple(self._nodes.values()),
            diagnostics=sort_diagnostics(self._diagnostics),
            skipped=dict(sorted(self._skipped.items())),
            origins={key: self._declared["NetworkPolicy", key] for key in self._policies},
            undeclared=undeclared,
        )

    def _made_pods(self) -> dict[PodKey, Pod]:
        """Pods of the workloads that have none in the input, and whose owner makes none."""
        covered = {(pod.key.namespace, pod.workload) for pod in self._pods.values()}
        covered |= {(each.key.namespace, each.display) for each in self._workloads.values()}
        pods: dict[PodKey, Pod] = {}
        present = {(pod.key.namespace, pod.workload) for pod in self._pods.values()}
        for workload in self._workloads.values():
            namespace = workload.key.namespace
            made_elsewhere = (namespace, workload.display) in present
            owned = bool(workload.owner) and (namespace, workload.owner) in covered
            if not made_elsewhere and not owned:
                pods.update((pod.key, pod) for pod in workload.pods)
        return pods

    def _report_repeated(
        self, file: str, document: Document, path: Path, found: Iterable[Entry]
    ) -> None:
        line = document.locate(path)
        for entry in found:
            if path[: len(entry.path)] == entry.path:
                where = path_text(path[len(entry.path) :])
                text, hint = "the field is there more than once", "the last one counts"
                self._report(file, line, text, hint, entry=entry, path=where)
                return
        self._report(file, line, "the field is there more than once", "", path=path_text(path))

    def _report_at(
        self,
        origin: Origin,
        entry: Entry,
        path: Path,
        found: str,
        expected: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        line = origin.line(path)
        where = path_text(path)
        self._report(origin.file, line, found, expected, entry=entry, path=where, severity=severity)

    def _report(
        self,
        file: str,
        line: int,
        found: str,
        expected: str = "",
        *,
        entry: Entry | None = None,
        path: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        kind = entry.shown_kind if entry else ""
        name = entry.shown_name(self._default_namespace) if entry else ""
        self._diagnostics.append(
            Diagnostic(severity, file, line, found, expected, kind, name, path)
        )


def _with_name(data: dict[str, Any]) -> dict[str, Any]:
    """An object that leaves its name to the API server (``generateName``) gets one here."""
    meta = data.get("metadata")
    if not isinstance(meta, dict) or meta.get("name") is not None:
        return data
    stem = meta.get("generateName")
    if not isinstance(stem, str):
        return data
    name = generated_name(stem, f"{meta.get('namespace')} {stem}")
    return {**data, "metadata": {**meta, "name": name}}
