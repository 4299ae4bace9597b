"""What a run's input holds: typed objects, where they stand, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from podwall.manifest.diagnostic import Diagnostic
from podwall.manifest.document import Document
from podwall.model.decode import Path, Severity
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy, PolicyKey


class Origin(msgspec.Struct, frozen=True, eq=False):
    """Where an object stands: its file, and the document and path that it was read from."""

    file: str
    document: Document
    path: Path

    def line(self, path: Path = ()) -> int:
        """The line of a field of the object, for example of ``("spec", "ingress", 0)``."""
        return self.document.locate((*self.path, *path))

    def __str__(self) -> str:
        return f"{self.file}:{self.line()}"


class Manifests(msgspec.Struct, frozen=True):
    """Everything that was read, in the order of the input.

    ``namespaces`` end with those that are used but declared nowhere (S18), and ``undeclared`` names
    these. ``skipped`` counts the objects of kinds that do not matter here. ``origins`` tells where
    each policy stands.
    """

    pods: tuple[Pod, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    policies: tuple[Policy, ...] = ()
    nodes: tuple[Node, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    skipped: Mapping[str, int] = {}
    origins: Mapping[PolicyKey, Origin] = {}
    undeclared: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that make the input unusable."""
        return tuple(each for each in self.diagnostics if each.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that do not."""
        return tuple(each for each in self.diagnostics if each.severity is Severity.WARNING)

    @property
    def has_errors(self) -> bool:
        """Whether anything is wrong that makes the input unusable (exit status 2)."""
        return any(each.severity is Severity.ERROR for each in self.diagnostics)
