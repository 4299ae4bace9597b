"""A graph as a Mermaid flowchart.

Labels stand in quotes; what Mermaid would read as more than text is written as its number, which
also keeps it from reading Markdown or HTML in a label.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwall.draw.graph import Graph, Kind, Node, Shape
from podwall.draw.metrics import ELLIPSIS, clean

MOST = 120
"""Longest line of a label, in characters."""

_PLAIN = frozenset(" ./:=,()-+@")
_SHAPES = {
    Shape.PODS: ('[["', '"]]'),
    Shape.PLACE: ('["', '"]'),
    Shape.REST: ('("', '")'),
    Shape.CODE: ('["', '"]'),
    Shape.NOTE: ('>"', '"]'),
}
_LINKS = {Kind.ALLOWED: "-->", Kind.PLAIN: "-->", Kind.DENIED: "-.-x", Kind.AUDITED: "-.->"}


def render_mermaid(graph: Graph) -> str:
    """The text of the flowchart, left to right."""
    return "".join(f"{line}\n" for line in _lines(graph))


def _lines(graph: Graph) -> Iterator[str]:
    yield "flowchart LR"
    clusters = dict.fromkeys(each.cluster for each in graph.nodes)
    for number, cluster in enumerate(clusters):
        inside = [each for each in graph.nodes if each.cluster == cluster]
        if cluster:
            yield f'  subgraph c{number}["{mermaid_text(cluster)}"]'
        yield from (f"    {_node(each)}" for each in inside)
        if cluster:
            yield "  end"
    for edge in graph.edges:
        label = f'|"{mermaid_text(edge.label)}"|' if edge.label else ""
        yield f"  {edge.source} {_LINKS[edge.kind]}{label} {edge.target}"
    rest = [each.id for each in graph.nodes if each.shape is Shape.REST]
    if rest:
        yield "  classDef rest stroke-dasharray: 5 4"
        yield f"  class {','.join(rest)} rest"


def _node(node: Node) -> str:
    before, after = _SHAPES[node.shape]
    return node.id + before + "<br/>".join(map(mermaid_text, node.lines)) + after


def mermaid_text(text: str) -> str:
    """``text`` as part of a label."""
    shown = clean(text)
    if len(shown) > MOST:
        shown = shown[: MOST - 1] + ELLIPSIS
    return "".join(each if each.isalnum() or each in _PLAIN else f"#{ord(each)};" for each in shown)
