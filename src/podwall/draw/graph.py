"""A picture as nodes and edges, for programs that make their own layout."""

from __future__ import annotations

import enum

import msgspec


class Shape(enum.Enum):
    """What a node stands for."""

    PODS = "pods"
    PLACE = "place"
    REST = "rest"
    CODE = "code"
    NOTE = "note"


class Node(msgspec.Struct, frozen=True):
    """A node; ``id`` is a letter and a number, ``lines`` are what it says."""

    id: str
    lines: tuple[str, ...]
    shape: Shape = Shape.PLACE
    cluster: str = ""


class Kind(enum.Enum):
    """What an edge means."""

    ALLOWED = "allowed"
    DENIED = "denied"
    AUDITED = "audited"
    PLAIN = "plain"


class Edge(msgspec.Struct, frozen=True):
    """An edge from node to node."""

    source: str
    target: str
    label: str = ""
    kind: Kind = Kind.PLAIN


class Graph(msgspec.Struct, frozen=True):
    """Nodes in order, each in a cluster or in none, and edges."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class GraphMaker:
    """Collects nodes, gives them ids, and keeps equal nodes of one cluster from being two."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._edges: dict[Edge, None] = {}

    def node(
        self, *lines: str, shape: Shape = Shape.PLACE, cluster: str = "", own: object = None
    ) -> str:
        """The id of the node that says ``lines``; ``own`` tells it from others that say so."""
        key = (lines, shape, cluster, own)
        if key not in self._nodes:
            self._nodes[key] = Node(f"n{len(self._nodes) + 1}", lines, shape, cluster)
        return self._nodes[key].id

    def edge(self, source: str, target: str, label: str = "", kind: Kind = Kind.PLAIN) -> None:
        """Add an edge, once."""
        self._edges.setdefault(Edge(source, target, label, kind))

    def graph(self) -> Graph:
        """What was collected."""
        return Graph(tuple(self._nodes.values()), tuple(self._edges))
