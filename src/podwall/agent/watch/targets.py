"""What is watched: a kind, the path of its collection, and which of its objects."""

from __future__ import annotations

import msgspec

from podwall.cluster.events import Kind
from podwall.errors import InputError
from podwall.model.decode import shown
from podwall.model.decode.names import NAME_RULE, is_name

_CORE = "/api/v1"
_NETWORKING = "/apis/networking.k8s.io/v1"
_COLLECTIONS = {
    Kind.POD: (_CORE, "pods"),
    Kind.NAMESPACE: (_CORE, "namespaces"),
    Kind.NODE: (_CORE, "nodes"),
    Kind.POLICY: (_NETWORKING, "networkpolicies"),
}


class Target(msgspec.Struct, frozen=True):
    """Objects of one kind: those of the collection at ``path`` that ``field_selector`` selects."""

    kind: Kind
    path: str
    field_selector: str = ""

    def query(self, **words: str) -> dict[str, str]:
        """The query of a request: ``words`` but the empty ones, and the selector."""
        found = {**words, "fieldSelector": self.field_selector}
        return {key: value for key, value in found.items() if value}


def target(kind: Kind, *, namespace: str = "", name: str = "") -> Target:
    """All objects of a kind, those of one namespace, or the one of a name.

    Raises:
        InputError: ``namespace`` or ``name`` is no name.
    """
    for each in (namespace, name):
        if each and not is_name(each):
            raise InputError(f"{shown(each)} is not a name, {NAME_RULE}")
    root, plural = _COLLECTIONS[kind]
    where = f"/namespaces/{namespace}" if namespace else ""
    return Target(kind, f"{root}{where}/{plural}", f"metadata.name={name}" if name else "")


def targets(node_name: str) -> tuple[Target, ...]:
    """What an agent on the node ``node_name`` watches.

    Raises:
        InputError: it is no name.
    """
    if not is_name(node_name):
        raise InputError(f"{shown(node_name)} is not the name of a node, {NAME_RULE}")
    return (
        target(Kind.NODE, name=node_name),
        target(Kind.NAMESPACE),
        target(Kind.POLICY),
        target(Kind.POD),
    )
