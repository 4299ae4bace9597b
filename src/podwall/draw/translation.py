"""The picture of a translation: each part of a policy, the set that it became, the rule that asks.

Three columns: the policy as YAML on the left, sets in the middle, and on the right the exact text
of the kernel's rules. What needs no set has a dashed place in the middle, so that every part can be
followed from left to right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.ipset.render import member_text
from podwall.dataplane.iptables.render import render_rule
from podwall.draw.cards import PAD_X, Card, Line, draw_card, draw_line, height_of
from podwall.draw.crowd import plural
from podwall.draw.graph import Graph, GraphMaker, Shape
from podwall.draw.metrics import Style, clean, width_of, wrap
from podwall.draw.picture import Picture
from podwall.draw.scene import Box, Canvas, Ink, Look, Scene, Sign
from podwall.draw.tracing import (
    DirectionTrail,
    Placed,
    RuleTrail,
    has_ports,
    in_order,
    makes,
    names_ports,
    sets_of,
    trail,
)
from podwall.draw.yamlwords import peer_lines, port_lines, selector_lines
from podwall.errors import InputError
from podwall.model.net import Family
from podwall.model.policy import AnyPeer, Direction, IPBlock, Peer, Policy, PolicyKey
from podwall.ruleset.ir import (
    AddressPort,
    FamilyRules,
    IPSet,
    MatchAddress,
    Member,
    Net,
    Ruleset,
)

_MARGIN = 28.0
_COLUMNS = (276.0, 272.0, 420.0)
_GAP = 64.0
_STACK_GAP = 10.0
_LANE_PAD = 12.0
_LANE_HEAD = 28.0
_MOST_MEMBERS = 4
_MOST_RULES = 8
_MOST_PEERS = 8
_MOST_LANES = 12
_MOST_LINES = 9
_OPTION = re.compile(r" (?=-[a-z] )")

_KINDS = {Direction.INGRESS: "Ingress", Direction.EGRESS: "Egress"}
_WORDS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}


def translation_picture(
    snapshot: Snapshot,
    ruleset: Ruleset,
    key: PolicyKey,
    *,
    family: Family | None = None,
    where: str = "",
) -> Picture:
    """What became of one policy in the ruleset of one node, in one address family.

    Without ``family`` it is the one in which the node has rules of the policy, IPv4 if both.
    ``where`` is the node, for the title. The rules are those of one profile chain; other chains
    that hold them too are counted.

    Raises:
        InputError: ``snapshot`` has no such policy.
    """
    if key not in snapshot.policies:
        raise InputError(f"there is no policy {clean(str(key))}")
    policy = snapshot.policies[key]
    families = [family] if family else list(Family)
    trails = {each: _trails(snapshot, ruleset.family(each), policy) for each in families}
    chosen = next((each for each in families if any(t.profiles for t in trails[each])), families[0])
    lanes = _lanes(policy, ruleset.family(chosen), trails[chosen])
    title = f"{key} in the kernel" + (f" of {where}" if where else "") + f", IPv{chosen.value}"
    shown = lanes[:_MOST_LANES]
    scene = _draw(title, shown, len(lanes) - len(shown))
    return Picture(title, _describe(shown), scene, _graph(shown))


def _trails(snapshot: Snapshot, rules: FamilyRules, policy: Policy) -> list[DirectionTrail]:
    return [trail(snapshot, rules, policy, each) for each in Direction if each in policy.isolates]


class _Lane(msgspec.Struct, frozen=True):
    """A part of the policy and what became of it: three stacks of cards, and who is joined."""

    title: str
    stacks: tuple[tuple[Card, ...], tuple[Card, ...], tuple[Card, ...]]
    joins: tuple[tuple[int, int, int], ...]

    @property
    def height(self) -> float:
        stacks = [_stack_height(each) for each in self.stacks]
        return max(stacks) + _LANE_HEAD + _LANE_PAD


def _stack_height(cards: Sequence[Card]) -> float:
    return sum(map(height_of, cards)) + _STACK_GAP * max(0, len(cards) - 1)


def _lanes(policy: Policy, rules: FamilyRules, trails: Sequence[DirectionTrail]) -> list[_Lane]:
    lanes: list[_Lane] = []
    for each in trails:
        lanes.append(_subject_lane(policy, rules, each))
        lanes += [_rule_lane(rules, each, rule) for rule in each.rules]
    return lanes


def _subject_lane(policy: Policy, rules: FamilyRules, found: DirectionTrail) -> _Lane:
    """Which pods are led to the profile, and what becomes of what no rule allowed."""
    yaml = [*selector_lines("podSelector", policy.subject), "policyTypes:"]
    yaml.append(f"- {_KINDS[found.direction]}")
    title = f"{found.direction.value}: who is isolated"
    if found.last is None:
        why = "no pod of this node is isolated by it"
        if policy.is_audited:
            why = "audited, and of no consequence to any pod of this node"
        return _Lane(title, ((_yaml(yaml),), (_note(why),), ()), ((0, 0, 0),))
    pods = [_pod_text(each) for each in found.dispatch]
    addresses = [Line("pods of this node", Style.SMALL, Ink.MUTED)]
    addresses += [Line(each, Style.CODE) for each in pods[:_MOST_MEMBERS]]
    addresses += _more(len(pods) - _MOST_MEMBERS, "pod")
    first = [each for each in found.dispatch if _leads_to(each, found.profiles[0])]
    cards = [_rule_card(rules, first[0])] if first else []
    if len(found.dispatch) > 1:
        text = f"and {plural(len(found.dispatch) - 1, 'rule')} like it, for other pods"
        if len(found.profiles) > 1:
            text += f"; {plural(len(found.profiles) - 1, 'more chain')} with other policies besides"
        cards.append(_note(text))
    joins = [(0, 0, 0), (1, 0, 0)]
    rest = "what no rule allowed" if not policy.is_audited else "what no audited rule allows"
    joins += [(0, 0, 1), (1, 1, len(cards))]
    cards.append(_rule_card(rules, found.last))
    middle = (Card(tuple(addresses), Look.REST), _note(rest))
    return _Lane(title, ((_yaml(yaml),), middle, tuple(cards)), tuple(joins))


def _leads_to(placed: Placed, chain: str) -> bool:
    return getattr(placed.rule.target, "chain", None) == chain


def _pod_text(placed: Placed) -> str:
    for match in placed.rule.matches:
        if isinstance(match, MatchAddress):
            address = str(match.cidr).partition("/")[0]
            return f"{address} {placed.note.removeprefix('pod ')}"
    return placed.note


def _rule_lane(rules: FamilyRules, found: DirectionTrail, trail_of: RuleTrail) -> _Lane:
    """A rule of the policy: peers and ports, sets, kernel rules."""
    rule = trail_of.rule
    peers = in_order(rule)[:_MOST_PEERS]
    left = [_peer_card(each, _WORDS[found.direction], rules.family) for each in peers]
    left += [_note(f"and {plural(len(rule.peers) - len(peers), 'more peer')}")] * (
        len(rule.peers) > len(peers)
    )
    middle = [_set_card(each) for each in trail_of.sets]
    placed = trail_of.placed[:_MOST_RULES]
    right = [_rule_card(rules, each) for each in placed]
    if len(trail_of.placed) > len(placed):
        right.append(_note(f"and {plural(len(trail_of.placed) - len(placed), 'more rule')}"))
    joins = [
        (0, index, number)
        for index, peer in enumerate(peers)
        for number, ipset in enumerate(trail_of.sets)
        if makes(peer, ipset)
    ]
    joins += [
        (1, number, index)
        for number, ipset in enumerate(trail_of.sets)
        for index, each in enumerate(placed)
        if ipset.name in sets_of(each.rule)
    ]
    joins += _without_set(trail_of, left, middle, placed)
    if not trail_of.placed and not middle:
        middle.append(_note("no rule here" if rule.peers and rule.ports else "not understood"))
        joins.append((0, 0, 0))
    if not left:
        left.append(_note("nothing of it was understood"))
    title = f"{found.direction.value}[{rule.id.index}]"
    return _Lane(title, (tuple(left), tuple(middle), tuple(right)), tuple(joins))


def _without_set(
    found: RuleTrail, left: list[Card], middle: list[Card], placed: Sequence[Placed]
) -> list[tuple[int, int, int]]:
    """Add what goes straight into the rules: any address, and the numbers of ports."""
    joins: list[tuple[int, int, int]] = []
    free = [index for index, each in enumerate(placed) if not sets_of(each.rule)]
    if AnyPeer() in found.rule.peers and free:
        middle.insert(0, _note("any address needs no set"))
        joins = [(0, 0, 0), *((1, 0, index) for index in free)]
    if not names_ports(found.rule):
        return joins
    named = [
        number
        for number, each in enumerate(found.sets)
        if any(each.name in sets_of(one.rule) and not has_ports(one.rule) for one in placed)
    ]
    left.append(_yaml(port_lines(found.rule.ports)))
    ports = len(left) - 1
    joins += [(0, ports, number) for number in named]
    told = [index for index, each in enumerate(placed) if has_ports(each.rule)]
    if told:
        middle.append(_note("port numbers stand in the rules"))
        joins += [(0, ports, len(middle) - 1)]
        joins += [(1, len(middle) - 1, index) for index in told]
    return joins


def _yaml(lines: Sequence[str]) -> Card:
    return Card(tuple(map(_yaml_line, lines)), Look.CARD)


def _yaml_line(text: str) -> Line:
    """Indented by its place, not by spaces, which not every program keeps."""
    bare = text.lstrip(" ")
    indent = width_of(" " * (len(text) - len(bare)), Style.CODE)
    return Line(bare, Style.CODE, indent=indent)


def _note(text: str) -> Card:
    room = _COLUMNS[1] - 2 * PAD_X - 1
    lines = wrap(text, room, Style.SMALL, most=3)
    return Card(tuple(Line(each, Style.SMALL, Ink.MUTED) for each in lines), Look.REST)


def _peer_card(peer: Peer, word: str, family: Family) -> Card:
    lines = peer_lines(peer)
    if not lines:
        return _yaml([f"# no {word}: any address"])
    card = _yaml([f"{word}:", *lines])
    if isinstance(peer, IPBlock) and peer.cidr.family is not family:
        note = Line(f"nothing in IPv{family.value}", Style.SMALL, Ink.MUTED)
        return Card((*card.lines, note), Look.REST)
    return card


def _set_card(ipset: IPSet) -> Card:
    members = sorted(ipset.members, key=_member_order)
    kind = f"{ipset.type.value}, {plural(len(members), 'member')}"
    lines = [Line(ipset.name, Style.CODE_HEAD), Line(kind, Style.SMALL, Ink.MUTED)]
    for each in members[:_MOST_MEMBERS]:
        hole = _is_hole(each)
        text = member_text(ipset, each) + (" nomatch" if hole else "")
        sign = Sign.CROSS if hole else None
        lines.append(Line(text, Style.CODE, Ink.DENY if hole else Ink.INK, sign))
    lines += _more(len(members) - _MOST_MEMBERS, "member")
    return Card(tuple(lines), Look.PORTS)


def _member_order(member: Member) -> tuple[bool, int, int, int]:
    """By address, holes last."""
    match member:
        case Net(cidr, nomatch):
            return nomatch, cidr.value, cidr.prefix, 0
        case AddressPort(address, protocol, port):
            return False, address.value, protocol, port
        case _:
            return False, member.value, 0, 0


def _is_hole(member: object) -> bool:
    return isinstance(member, Net) and member.nomatch


def _more(count: int, word: str) -> list[Line]:
    if count <= 0:
        return []
    return [Line(f"and {plural(count, f'more {word}')}", Style.SMALL, Ink.MUTED)]


def _rule_card(rules: FamilyRules, placed: Placed) -> Card:
    room = _COLUMNS[2] - 2 * PAD_X - 1
    text = f"-A {placed.chain} {render_rule(rules.family, placed.rule)}"
    head = Line(f"rule {placed.number} of {placed.chain}", Style.CAPTION, Ink.MUTED)
    pieces = wrap(_OPTION.split(text), room, Style.CODE, most=_MOST_LINES)
    return Card((head, *(Line(each, Style.CODE) for each in pieces)), Look.SUBJECT)


def _draw(title: str, lanes: Sequence[_Lane], left_out: int) -> Scene:
    canvas = Canvas()
    width = sum(_COLUMNS) + 2 * _GAP + 2 * _LANE_PAD
    draw_line(canvas, 0, Line(title, Style.TITLE), (_MARGIN, 22), width)
    y = 22 + Style.TITLE.line
    text = "each part of the policy, the set that it became, and the rule that asks"
    draw_line(canvas, 0, Line(text, Style.BODY, Ink.MUTED), (_MARGIN, y), width)
    y += Style.BODY.line + 14
    for x, caption in zip(_starts(), ("THE POLICY", "IPSET", "IPTABLES"), strict=True):
        draw_line(canvas, 0, Line(caption, Style.CAPTION, Ink.MUTED), (x, y), 200)
    y += Style.CAPTION.line + 6
    for lane in lanes:
        y = _draw_lane(canvas, lane, y, width) + 14
    if left_out:
        more = Line(f"and {plural(left_out, 'more part')} of the policy", Style.BODY, Ink.MUTED)
        draw_line(canvas, 0, more, (_MARGIN, y), width)
        y += more.style.line + 8
    return canvas.scene(width + 2 * _MARGIN, y + _MARGIN - 14)


def _starts() -> list[float]:
    first = _MARGIN + _LANE_PAD
    second = first + _COLUMNS[0] + _GAP
    return [first, second, second + _COLUMNS[1] + _GAP]


def _draw_lane(canvas: Canvas, lane: _Lane, y: float, width: float) -> float:
    frame = canvas.box((_MARGIN, y, width, lane.height), Look.FRAME, radius=10)
    head = Line(lane.title, Style.HEAD)
    draw_line(canvas, frame.id, head, (_MARGIN + _LANE_PAD, y + 6), width - 2 * _LANE_PAD)
    boxes: list[list[Box]] = []
    for x, column, cards in zip(_starts(), _COLUMNS, lane.stacks, strict=True):
        space = lane.height - _LANE_HEAD - _LANE_PAD - _stack_height(cards)
        top = y + _LANE_HEAD + space / 2
        stack: list[Box] = []
        for card in cards:
            stack.append(draw_card(canvas, card, (x, top), column, parent=frame.id))
            top += height_of(card) + _STACK_GAP
        boxes.append(stack)
    for column, source, target in lane.joins:
        if source < len(boxes[column]) and target < len(boxes[column + 1]):
            _join(canvas, boxes[column][source], boxes[column + 1][target])
    return y + lane.height


def _join(canvas: Canvas, source: Box, target: Box) -> None:
    points = [(source.right, source.middle), (target.x, target.middle)]
    canvas.wire(points, Ink.ACCENT, (source.id, target.id), head=True, curved=True)


def _text(card: Card) -> tuple[str, ...]:
    return tuple(each.text for each in card.lines)


def _describe(lanes: Sequence[_Lane]) -> str:
    parts = [
        f"{lane.title}: {plural(len(lane.stacks[0]), 'part')} of the policy, "
        f"sets {', '.join(_text(each)[0] for each in lane.stacks[1]) or 'none'}, "
        f"{plural(len(lane.stacks[2]), 'rule')}"
        for lane in lanes
    ]
    return ("; ".join(parts) + ".")[:2000]


def _graph(lanes: Sequence[_Lane]) -> Graph:
    maker = GraphMaker()
    for lane in lanes:
        nodes = [
            [
                maker.node(*_text(card), shape=Shape.CODE, cluster=lane.title, own=(column, index))
                for index, card in enumerate(cards)
            ]
            for column, cards in enumerate(lane.stacks)
        ]
        for column, source, target in lane.joins:
            if source < len(nodes[column]) and target < len(nodes[column + 1]):
                maker.edge(nodes[column][source], nodes[column + 1][target])
    return maker.graph()
