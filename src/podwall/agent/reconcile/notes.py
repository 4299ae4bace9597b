"""What this node's own object says about how well new pods are protected."""

from __future__ import annotations

from collections.abc import Iterable

from podwall.agent.reconcile.words import plain
from podwall.cluster.events import Applied, Deleted, Event, Kind, NodeKey, Remaining, Replaced
from podwall.model.objects import Node
from podwall.model.settings import Settings


class OwnNode:
    """Follows the object of one node."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._key = NodeKey(name)
        self._settings = settings
        self._known = False
        self._node: Node | None = None

    def take(self, events: Iterable[Event]) -> bool:
        """Take in events; whether the notes may be others now."""
        before = (self._known, self._node)
        for event in events:
            match event:
                case Applied(Node() as node) if node.name == self._key.name:
                    self._node = node
                case Deleted(key) if key == self._key:
                    self._node = None
                case Remaining(Kind.NODE, keys):
                    self._known = True
                    if self._key not in keys:
                        self._node = None
                case Replaced(Kind.NODE, objects):
                    self._known = True
                    mine = [each for each in objects if isinstance(each, Node)]
                    self._node = next((each for each in mine if each.name == self._key.name), None)
                case _:
                    pass
        return before != (self._known, self._node)

    def notes(self) -> tuple[str, ...]:
        """Sentences for the status; none if all is well, or nothing is known yet (S48)."""
        if not self._known or not self._settings.close_unknown_pods:
            return ()
        name = plain(self._key.name, 253)
        if self._node is None:
            return (
                f"the API server knows no node {name!r}: if this node has another name "
                "(node-name), its pods are not enforced; if it is yet to come, it has no pod "
                "range, and a new pod is open until it is known",
            )
        if not self._node.pod_cidrs:
            return (
                f"node {name} has no pod range (spec.podCIDRs is empty): "
                "a new pod is open until it is known",
            )
        return ()
