"""A view in words, and as a graph: for those who cannot see a picture, and for other programs."""

from __future__ import annotations

from collections.abc import Iterator

from podwall.draw.graph import Graph, GraphMaker, Kind, Shape
from podwall.draw.view import Gate, GroupView, PeerView, PolicyView, RuleView, SideView
from podwall.model.policy import Direction

MOST = 2000
"""Longest description, in characters."""


def describe(view: PolicyView) -> str:
    """What a picture says, in sentences."""
    text = " ".join(_sentences(view))
    return text if len(text) <= MOST else text[: MOST - 1].rstrip() + "…"


def _sentences(view: PolicyView) -> Iterator[str]:
    yield f"{view.subtitle[0].upper()}{view.subtitle[1:]}."
    for frame in view.frames:
        for group in frame.groups:
            who = f"{group.title} ({group.note}) in {frame.title}"
            yield f"{who}: {_side(group.ingress, 'from')}; {_side(group.egress, 'to')}."
    yield from (f"Not understood: {each}." for each in view.problems)


def _side(side: SideView, word: str) -> str:
    way = "ingress" if word == "from" else "egress"
    if side.gate is Gate.OPEN:
        return f"{way} is not restricted"
    rules = [
        f"{word} {' or '.join(map(_peer, _peers(each)))} on {_ports(each)}"
        for each in side.rules
        if not each.broken
    ]
    said = f"{way} {', '.join(rules)}" if rules else f"no {way}"
    return f"{said}; {side.rest} {side.rest_note}" if side.rest else said


def _peers(rule: RuleView) -> list[PeerView]:
    return [peer for place in rule.places for peer in place.peers]


def _peer(peer: PeerView) -> str:
    holes = ", ".join(each.text for each in peer.holes)
    return f"{peer.title} except {holes}" if holes else peer.title


def _ports(rule: RuleView) -> str:
    more = [f"{rule.more_ports} more"] if rule.more_ports else []
    return ", ".join([*(each.title for each in rule.ports), *more])


def graph_of(view: PolicyView) -> Graph:
    """Groups, their other ends, and an edge for each rule and peer."""
    maker = GraphMaker()
    for frame in view.frames:
        for number, group in enumerate(frame.groups):
            lines = (group.title, group.note, *group.pods)
            own = (frame.title, number)
            pods = maker.node(*lines, shape=Shape.PODS, cluster=frame.title, own=own)
            for direction in Direction:
                _add_side(maker, pods, group, direction)
    for each in (*view.problems, view.left_out):
        if each:
            maker.node(each, shape=Shape.NOTE)
    return maker.graph()


def _add_side(maker: GraphMaker, pods: str, group: GroupView, direction: Direction) -> None:
    side = group.ingress if direction is Direction.INGRESS else group.egress
    for rule in side.rules:
        if rule.broken:
            continue
        kind = Kind.AUDITED if rule.audited else Kind.ALLOWED
        for place in rule.places:
            for peer in place.peers:
                lines = (_peer(peer), peer.note) if peer.note else (_peer(peer),)
                other = maker.node(*lines, cluster=place.title, own=direction)
                _edge(maker, (other, pods), direction, _ports(rule), kind)
        if rule.more_peers:
            other = maker.node(f"and {rule.more_peers} more peers", own=(rule.whole, direction))
            _edge(maker, (other, pods), direction, _ports(rule), kind)
    if side.rest:
        other = maker.node(side.rest, side.rest_note, shape=Shape.REST, own=(pods, direction))
        kind = {Gate.OPEN: Kind.ALLOWED, Gate.CLOSED: Kind.DENIED, Gate.AUDITED: Kind.AUDITED}[
            side.gate
        ]
        _edge(maker, (other, pods), direction, "", kind)
    if side.more_rules:
        note = maker.node(f"and {side.more_rules} more rules", own=(pods, direction))
        _edge(maker, (note, pods), direction, "", Kind.ALLOWED)


def _edge(
    maker: GraphMaker, ends: tuple[str, str], direction: Direction, label: str, kind: Kind
) -> None:
    other, pods = ends
    if direction is Direction.INGRESS:
        maker.edge(other, pods, label, kind)
    else:
        maker.edge(pods, other, label, kind)
