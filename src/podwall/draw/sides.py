"""One side of some pods: the rules of a direction as rows, from the other ends to the wall.

Both sides are laid out as if they were on the left, with distances from the pods outwards; what is
on the right is the mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from podwall.draw.cards import (
    PAD_X,
    PAD_Y,
    Card,
    Line,
    Strip,
    draw_card,
    draw_line,
    height_of,
    width_for,
    wrapped,
)
from podwall.draw.crowd import plural
from podwall.draw.metrics import Style
from podwall.draw.scene import Box, Canvas, Ink, Look, Sign
from podwall.draw.view import Gate, PeerView, PlaceView, PortView, RuleView, SideView
from podwall.model.policy import Direction

WALL = 12.0
_WALL_GAP = 9.0
_ARROW = 34.0
_BUS = 24.0
_ROW_GAP = 16.0
_CARD_GAP = 8.0
_INSET = 8.0
_SIDE_PAD = 12.0
_PEERS = (150.0, 232.0)
_PORTS = (74.0, 178.0)
_TITLE_ROOM = _PEERS[1] - 2 * _INSET - 2 * PAD_X - 1


class Columns(msgspec.Struct, frozen=True):
    """How wide the columns of one side are; ports are nearer to the pods than peers."""

    peers: float
    ports: float

    @classmethod
    def of(cls, sides: Sequence[SideView]) -> Columns:
        """Wide enough for what stands in them, within reason."""
        rules = [rule for side in sides for rule in side.rules]
        peers = [width_for(_rest_card(each).lines) for each in sides if each.rest]
        for rule in rules:
            for place in _places(rule):
                inset = 2 * _INSET if place.title else 0
                cards = [width_for(_peer_card(each).lines) + inset for each in place.peers]
                peers += [*cards, width_for(_head(place))]
        ports = [width_for(_ports_card(each).lines) for each in rules]
        return cls(
            min(max(peers, default=0.0), _PEERS[1]) if peers else _PEERS[0],
            min(max(*ports, _PORTS[0]), _PORTS[1]) if ports else 0.0,
        )

    @property
    def near(self) -> float:
        """From the frame around the pods to the nearer edge of the peers."""
        return _ARROW + (self.ports + _BUS if self.ports else 0)

    @property
    def width(self) -> float:
        """From the frame around the pods to the far edge of the peers."""
        return self.near + self.peers


class Row(msgspec.Struct, frozen=True):
    """A rule, measured."""

    rule: RuleView
    ports: Card
    height: float


class SideLayout(msgspec.Struct, frozen=True):
    """A side, measured."""

    side: SideView
    columns: Columns
    direction: Direction
    rows: tuple[Row, ...]

    @property
    def height(self) -> float:
        """With some room above and below."""
        parts = [each.height for each in self.rows]
        parts += [_more_card(self.side).height] if self.side.more_rules else []
        parts += [height_of(_rest_card(self.side))] if self.side.rest else []
        return sum(parts) + _ROW_GAP * max(0, len(parts) - 1) + 2 * _SIDE_PAD


class _More(msgspec.Struct, frozen=True):
    line: Line
    height: float


def side_layout(side: SideView, columns: Columns, direction: Direction) -> SideLayout:
    """Measure one side."""
    rows: list[Row] = []
    for rule in side.rules:
        ports = _ports_card(rule)
        heights = [_place_height(each) for each in _places(rule)]
        peers = sum(heights) + _CARD_GAP * (len(heights) - 1)
        rows.append(Row(rule, ports, max(peers, height_of(ports))))
    return SideLayout(side, columns, direction, tuple(rows))


def draw_side(canvas: Canvas, layout: SideLayout, subject: Box, edge: float) -> None:
    """Draw a side beside ``subject``; ``edge`` is that of the frame around it."""
    _Side(canvas, layout, subject, edge).draw()


class _Side:
    def __init__(self, canvas: Canvas, layout: SideLayout, subject: Box, edge: float) -> None:
        self._canvas = canvas
        self._layout = layout
        self._columns = layout.columns
        self._subject = subject
        self._edge = edge
        self._left = layout.direction is Direction.INGRESS
        self._gaps: list[float] = []

    def draw(self) -> None:
        """Rows from the top, what is said of everybody else last, then the wall around the gaps."""
        side = self._layout.side
        y = self._subject.y + _SIDE_PAD + (self._subject.height - self._layout.height) / 2
        for row in self._layout.rows:
            self._row(row, y)
            y += row.height + _ROW_GAP
        if side.more_rules:
            more = _more_card(side)
            x = self._x(self._columns.near, self._columns.peers)
            box = self._canvas.box((x, y, self._columns.peers, more.height), Look.PLAIN)
            draw_line(self._canvas, box.id, more.line, (x + PAD_X, y), self._columns.peers - PAD_X)
            y += more.height + _ROW_GAP
        if side.rest:
            self._rest(y)
        self._wall()

    def _x(self, out: float, width: float) -> float:
        """The left edge of what is ``out`` from the frame and ``width`` wide."""
        return self._edge - out - width if self._left else self._edge + out

    def _at(self, out: float) -> float:
        return self._edge - out if self._left else self._edge + out

    @property
    def _pods(self) -> float:
        """The edge of the pods."""
        return self._subject.x if self._left else self._subject.right

    def _row(self, row: Row, y: float) -> None:
        middle = y + row.height / 2
        places = list(_places(row.rule))
        heights = [_place_height(each) for each in places]
        top = middle - (sum(heights) + _CARD_GAP * (len(places) - 1)) / 2
        boxes: list[Box] = []
        for place, height in zip(places, heights, strict=True):
            x = self._x(self._columns.near, self._columns.peers)
            boxes.append(self._place(place, (x, top)))
            top += height + _CARD_GAP
        if row.rule.broken:
            return
        tall = height_of(row.ports)
        ports = draw_card(
            self._canvas,
            row.ports,
            (self._x(_ARROW, self._columns.ports), middle - tall / 2),
            self._columns.ports,
            radius=9,
        )
        self._wires(boxes, ports, middle, audited=row.rule.audited)

    def _wires(self, boxes: Sequence[Box], ports: Box, middle: float, *, audited: bool) -> None:
        ink = Ink.AUDIT if audited else Ink.ALLOW
        bus = self._at(_ARROW + self._columns.ports + _BUS / 2)
        near = self._at(self._columns.near)
        away = self._at(_ARROW + self._columns.ports)
        for box in boxes:
            points = [(near, box.middle), (bus, box.middle), (bus, middle), (away, middle)]
            if abs(box.middle - middle) < 1:
                points = [(near, middle), (away, middle)]
            if not self._left:
                points.reverse()
            self._canvas.wire(points, ink, (box.id, ports.id), head=not self._left, dashed=audited)
        last = [(self._at(_ARROW), middle), (self._pods, middle)]
        if not self._left:
            last.reverse()
        self._gaps.append(middle)
        self._canvas.wire(
            last, ink, (ports.id, self._subject.id), head=self._left, dashed=audited, heavy=True
        )

    def _place(self, place: PlaceView, at: tuple[float, float]) -> Box:
        x, y = at
        if not place.title:
            return draw_card(self._canvas, _peer_card(place.peers[0]), at, self._columns.peers)
        height = _place_height(place)
        frame = self._canvas.box((x, y, self._columns.peers, height), Look.FRAME, radius=8)
        y += PAD_Y - 2
        for line in _head(place):
            draw_line(self._canvas, frame.id, line, (x + PAD_X, y), frame.width - 2 * PAD_X)
            y += line.style.line
        y += 3
        for peer in place.peers:
            card = _peer_card(peer)
            draw_card(
                self._canvas, card, (x + _INSET, y), frame.width - 2 * _INSET, parent=frame.id
            )
            y += height_of(card) + _CARD_GAP
        return frame

    def _rest(self, y: float) -> None:
        gate = self._layout.side.gate
        card = _rest_card(self._layout.side)
        x = self._x(self._columns.near, self._columns.peers)
        box = draw_card(self._canvas, card, (x, y), self._columns.peers)
        near = self._at(self._columns.near)
        if gate is Gate.CLOSED:
            stop = self._edge + (-17 if self._left else 17)
            self._canvas.wire(
                [(near, box.middle), (stop, box.middle)],
                Ink.DENY,
                (box.id, self._subject.id),
                dashed=True,
            )
            left = self._edge - 15 if self._left else self._edge + 3
            self._canvas.mark(Sign.CROSS, (left, box.middle - 6), 12, Ink.DENY)
            return
        points = [(near, box.middle), (self._pods, box.middle)]
        if not self._left:
            points.reverse()
        audited = gate is Gate.AUDITED
        ink = Ink.AUDIT if audited else Ink.ALLOW
        if audited:
            self._gaps.append(box.middle)
        self._canvas.wire(
            points, ink, (box.id, self._subject.id), head=True, dashed=True, heavy=not audited
        )

    def _wall(self) -> None:
        gate = self._layout.side.gate
        if gate is Gate.OPEN:
            return
        look = Look.WALL if gate is Gate.CLOSED else Look.AUDIT
        x = self._subject.x - WALL if self._left else self._subject.right
        top = self._subject.y
        for gap in (*sorted(self._gaps), None):
            bottom = self._subject.bottom if gap is None else gap - _WALL_GAP
            if bottom - top > 1:
                rect = (x, top, WALL, bottom - top)
                self._canvas.box(rect, look, self._subject.parent or 0, radius=0)
            top = self._subject.bottom if gap is None else gap + _WALL_GAP


def _places(rule: RuleView) -> Iterator[PlaceView]:
    """Where the peers are, what was left out of them, and that a rule is not understood."""
    if rule.broken:
        view = PeerView("allows nobody", f"{rule.title}: not understood", "broken")
        yield PlaceView((view,))
        return
    yield from rule.places
    if rule.more_peers:
        yield PlaceView((PeerView(f"and {plural(rule.more_peers, 'more peer')}", "", "more"),))


def _head(place: PlaceView) -> tuple[Line, ...]:
    room = _PEERS[1] - 2 * PAD_X - 1
    lines = wrapped(place.title, Style.CAPTION, Ink.INK, None, room)
    if place.note:
        lines.append(Line(place.note, Style.SMALL, Ink.MUTED))
    return tuple(lines)


def _place_height(place: PlaceView) -> float:
    cards = [height_of(_peer_card(each)) for each in place.peers]
    if not place.title:
        return cards[0]
    head = sum(each.style.line for each in _head(place))
    return PAD_Y + 1 + head + sum(cards) + _CARD_GAP * (len(cards) - 1) + _INSET


_SIGNS = {"pods": Sign.POD, "block": Sign.NET, "any": Sign.WORLD, "broken": Sign.WARNING}


def _peer_card(peer: PeerView) -> Card:
    sign = _SIGNS.get(peer.kind)
    ink = Ink.AUDIT if peer.kind == "broken" else Ink.MUTED if peer.kind == "more" else Ink.INK
    lines = wrapped(peer.title, Style.HEAD if sign else Style.BODY, ink, sign, _TITLE_ROOM)
    if peer.note:
        lines.append(Line(peer.note, Style.SMALL, Ink.AUDIT if peer.missing else Ink.MUTED))
    lines += [Line(f"not {each.text}", Style.SMALL, Ink.DENY) for each in peer.holes]
    if peer.more_holes:
        text = f"nor {plural(peer.more_holes, 'more block')} in it"
        lines.append(Line(text, Style.SMALL, Ink.DENY))
    holes = tuple((each.first, each.last, each.text) for each in peer.holes)
    look = {"broken": Look.WARNING, "more": Look.REST}.get(peer.kind, Look.CARD)
    return Card(tuple(lines), look, Strip(holes) if holes else None)


def _ports_card(rule: RuleView) -> Card:
    head = Line(rule.title + (" · audit" if rule.audited else ""), Style.SMALL, Ink.MUTED)
    if rule.audited:
        head = Line(rule.title, Style.SMALL, Ink.AUDIT, Sign.EYE)
    lines = [head]
    for port in rule.ports:
        lines += _port_lines(port)
    if rule.more_ports:
        lines.append(Line(f"and {rule.more_ports} more", Style.SMALL, Ink.MUTED))
    return Card(tuple(lines), Look.AUDIT if rule.audited else Look.PORTS)


def _port_lines(port: PortView) -> Iterator[Line]:
    yield Line(port.title, Style.HEAD)
    if port.note:
        yield Line(port.note, Style.SMALL, Ink.MUTED)


def _rest_card(side: SideView) -> Card:
    match side.gate:
        case Gate.OPEN:
            head = Line(side.rest, Style.HEAD, Ink.ALLOW, Sign.WORLD)
            look = Look.OPEN
        case Gate.AUDITED:
            head = Line(side.rest, Style.BODY, Ink.AUDIT, Sign.EYE)
            look = Look.AUDIT
        case Gate.CLOSED:
            head = Line(side.rest, Style.BODY, Ink.MUTED, Sign.CROSS)
            look = Look.REST
    return Card((head, Line(side.rest_note, Style.SMALL, Ink.MUTED)), look)


def _more_card(side: SideView) -> _More:
    line = Line(f"and {plural(side.more_rules, 'more rule')}", Style.BODY, Ink.MUTED)
    return _More(line, line.style.line)
