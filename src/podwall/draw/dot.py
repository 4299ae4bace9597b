"""A graph in the language of Graphviz. Labels are plain quoted strings, never HTML."""

from __future__ import annotations

from collections.abc import Iterator

from podwall.draw.graph import Edge, Graph, Kind, Node, Shape
from podwall.draw.metrics import ELLIPSIS, clean

MOST = 160
"""Longest line of a label, in characters."""

_SHAPES = {
    Shape.PODS: 'shape=component style="filled" fillcolor="#eaf4ff"',
    Shape.PLACE: "shape=box",
    Shape.REST: 'shape=box style="dashed,rounded"',
    Shape.CODE: 'shape=box fontname="monospace"',
    Shape.NOTE: "shape=note",
}
_EDGES = {
    Kind.ALLOWED: 'color="#116329"',
    Kind.PLAIN: "",
    Kind.DENIED: 'color="#a40e26" style=dashed arrowhead=tee',
    Kind.AUDITED: 'color="#7d4e00" style=dashed',
}


def render_dot(graph: Graph, title: str) -> str:
    """The text of the graph, left to right."""
    return "".join(f"{line}\n" for line in _lines(graph, title))


def _lines(graph: Graph, title: str) -> Iterator[str]:
    yield "digraph podwall {"
    yield f'  graph [rankdir=LR label={dot_text(title)} labelloc=t fontname="sans-serif"]'
    yield '  node [fontname="sans-serif" fontsize=11]'
    yield '  edge [fontname="sans-serif" fontsize=10]'
    clusters = dict.fromkeys(each.cluster for each in graph.nodes)
    for number, cluster in enumerate(clusters):
        if cluster:
            yield f"  subgraph cluster_{number} {{"
            yield f"    label={dot_text(cluster)}"
        yield from (f"    {_node(each)}" for each in graph.nodes if each.cluster == cluster)
        if cluster:
            yield "  }"
    yield from map(_edge, graph.edges)
    yield "}"


def _node(node: Node) -> str:
    return f"{node.id} [label={dot_text(*node.lines)} {_SHAPES[node.shape]}]"


def _edge(edge: Edge) -> str:
    words = [f"label={dot_text(edge.label)}"] if edge.label else []
    words += [_EDGES[edge.kind]] if _EDGES[edge.kind] else []
    return f"  {edge.source} -> {edge.target}" + (f" [{' '.join(words)}]" if words else "")


def dot_text(*lines: str) -> str:
    """``lines`` as one quoted string; a backslash is one, and begins nothing."""
    return '"' + "\\n".join(map(_dot_line, lines)) + '"'


def _dot_line(line: str) -> str:
    shown = clean(line)
    if len(shown) > MOST:
        shown = shown[: MOST - 1] + ELLIPSIS
    # Graphviz reads entities in labels, so an ampersand has to be one itself.
    return shown.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
