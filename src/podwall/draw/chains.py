"""The picture of the chains: the way of a packet from the hooks to a verdict.

Each chain is a box with its rules by number, as the kernel walks them; a rule that leads to another
chain is joined to it. With counters a rule says how many packets met it, and a bar, on a
logarithmic scale, shows where the traffic goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from podwall.dataplane.counters import CountedRule
from podwall.dataplane.iptables.render import render_rule
from podwall.draw.cards import PAD_X, PAD_Y, Line, draw_line
from podwall.draw.crowd import plural
from podwall.draw.flowing import ChainRow, ChainView, Column, columns_of, goal_of, goals_of
from podwall.draw.graph import Graph, GraphMaker, Kind, Shape
from podwall.draw.metrics import Style, clean, width_of, wrap
from podwall.draw.picture import Picture
from podwall.draw.rulewords import match_words, target_words
from podwall.draw.scene import Box, Canvas, Ink, Look, Scene
from podwall.model.net import Family
from podwall.ruleset.ir import ChainRole, Drop, FamilyRules, Reject, Return, Ruleset
from podwall.ruleset.names import DENY_CHAIN

Counters = Mapping[str, Sequence[CountedRule]]
"""By chain, in the order of its rules."""

_MARGIN = 28.0
_GAP = 18.0
_LANE = 7.0
_TEXT = (150.0, 292.0)
_NUMBER = 26.0
_HOOK = 98.0
_MOST_LANES = 14


def chains_picture(
    ruleset: Ruleset,
    counters: Counters | None = None,
    *,
    family: Family = Family.V4,
    where: str = "",
) -> Picture:
    """The chains of one family as the kernel holds them; ``where`` is the node, for the title.

    ``counters`` are those of that family; a chain of which the kernel holds another number of rules
    is drawn without. Of many chains and rules the first are drawn, and the others counted.
    """
    rules = ruleset.family(family)
    columns = columns_of(rules)
    of = f" of {where}" if where else ""
    title = f"chains{of}, IPv{family.value}"
    layout = _Layout(rules, columns, counters or {}, title)
    return Picture(title, _describe(columns), layout.scene(), _graph(columns))


def _describe(columns: Sequence[Column]) -> str:
    parts = [
        f"{column.title}: {', '.join(each.chain.name for each in column.chains)}"
        + (f" and {column.left_out} more" if column.left_out else "")
        for column in columns
    ]
    return f"The way of a packet through the chains. {'; '.join(parts)}."


class _Row(msgspec.Struct, frozen=True):
    """A rule, measured."""

    row: ChainRow
    lines: tuple[Line, ...]
    share: float = 0
    title: str = ""

    @property
    def height(self) -> float:
        return sum(each.style.line for each in self.lines) + (11 if self.share else 6)


class _Layout:
    def __init__(
        self, rules: FamilyRules, columns: Sequence[Column], counters: Counters, title: str
    ) -> None:
        self._rules = rules
        self._columns = columns
        self._title = title
        self._counters = {
            name: counted
            for name, counted in counters.items()
            if name in rules.chains and len(counted) == len(rules.chains[name].rules)
        }
        self._most = max(
            (each.packets for counted in self._counters.values() for each in counted), default=0
        )
        self._canvas = Canvas()
        self._boxes: dict[str, Box] = {}
        self._rows: list[tuple[Box, str, int]] = []

    def scene(self) -> Scene:
        draw_line(self._canvas, 0, Line(self._title, Style.TITLE), (_MARGIN, 22), 900)
        text = "from the hooks on the left to a verdict on the right"
        if self._most:
            text += "; bars are packets, on a logarithmic scale"
        head = Line(text, Style.BODY, Ink.MUTED)
        draw_line(self._canvas, 0, head, (_MARGIN, 22 + Style.TITLE.line), 900)
        top = 22 + Style.TITLE.line + 32
        x, bottom = _MARGIN + _HOOK, top
        for index, column in enumerate(self._columns):
            measured = [[self._measure(each, row) for row in each.rows] for each in column.chains]
            width = self._width(column, measured)
            caption = Line(column.title.upper(), Style.CAPTION, Ink.MUTED)
            draw_line(self._canvas, 0, caption, (x, top), width)
            y = top + 24
            for view, rows in zip(column.chains, measured, strict=True):
                y = self._chain(view, rows, (x, y), width, index) + _GAP
            if column.left_out:
                more = Line(f"and {plural(column.left_out, 'more chain')}", Style.BODY, Ink.MUTED)
                draw_line(self._canvas, 0, more, (x, y), width)
                y += more.style.line
            bottom = max(bottom, y)
            x += width + self._gap(index)
        self._wires()
        right = max((each.right for each in self._boxes.values()), default=500)
        return self._canvas.scene(max(right + _MARGIN, 560), bottom + 10)

    def _measure(self, view: ChainView, row: ChainRow) -> _Row:
        if row.rule is None:
            return _Row(row, (Line(f"and {row.left_out} more rules", Style.SMALL, Ink.MUTED),))
        lines = [
            Line(each, Style.CODE)
            for each in wrap(clean(match_words(row.rule)), _TEXT[1], Style.CODE)
        ]
        target = row.rule.target
        ink = Ink.ACCENT
        if isinstance(target, Return):
            ink = Ink.ALLOW
        elif isinstance(target, Drop | Reject) or goal_of(row.rule) == DENY_CHAIN:
            ink = Ink.DENY
        lines += self._target(row, Line(target_words(target), Style.CODE_HEAD, ink))
        share = 0.0
        counted = self._counters.get(view.chain.name)
        if counted is not None:
            packets, size = counted[row.number - 1].packets, counted[row.number - 1].bytes
            if packets:
                share = math.log1p(packets) / math.log1p(self._most)
            text = f"{plural(packets, 'packet')}, {_bytes(size)}" if packets else "no packet"
            lines.append(Line(text, Style.CAPTION if packets else Style.SMALL, Ink.MUTED))
        title = f"-A {view.chain.name} {render_rule(self._rules.family, row.rule)}"
        return _Row(row, tuple(lines), share, title)

    def _target(self, row: ChainRow, line: Line) -> list[Line]:
        """What a rule does, and what is said of it: beside it, or below it if that is long."""
        texts = [row.note] if row.rule is None else [row.rule.comment, row.note]
        said = clean(", ".join(filter(None, texts)))
        both = width_of(line.text, line.style) + 8 + width_of(said, Style.SMALL)
        if not said or both <= _TEXT[1]:
            return [msgspec.structs.replace(line, tail=said)]
        pieces = wrap(said, _TEXT[1], Style.SMALL, most=2)
        return [line, *(Line(each, Style.SMALL, Ink.MUTED) for each in pieces)]

    def _width(self, column: Column, measured: Sequence[Sequence[_Row]]) -> float:
        lines = [line for rows in measured for row in rows for line in row.lines]
        names = [width_of(each.chain.name, Style.CODE_HEAD) for each in column.chains]
        texts = [
            width_of(each.text, each.style)
            + (width_of(each.tail, Style.SMALL) + 10 if each.tail else 0)
            for each in lines
        ]
        widest = max([*texts, *names], default=0)
        return min(max(widest, _TEXT[0]), _TEXT[1]) + _NUMBER + PAD_X + 14

    def _chain(
        self,
        view: ChainView,
        rows: Sequence[_Row],
        at: tuple[float, float],
        width: float,
        column: int,
    ) -> float:
        """Draw a chain; returns where it ends."""
        x, y = at
        room = width - 2 * PAD_X
        head = [Line(view.chain.name, Style.CODE_HEAD)]
        title = clean(view.chain.title)
        head += [Line(each, Style.SMALL, Ink.MUTED) for each in wrap(title, room, Style.SMALL, 3)]
        tall = sum(each.style.line for each in head) + PAD_Y
        height = tall + sum(each.height + 2 for each in rows) + 8
        box = self._canvas.box((x, y, width, height), _look(view.chain.role), radius=8)
        self._boxes[view.chain.name] = box
        top = y + PAD_Y - 1
        for line in head:
            draw_line(self._canvas, box.id, line, (x + PAD_X, top), room)
            top += line.style.line
        top = y + tall + 2
        for row in rows:
            self._row(row, box, top, column)
            top += row.height + 2
        if view.hook is not None:
            self._hook(view.hook.value, box)
        return y + height

    def _row(self, row: _Row, chain: Box, y: float, column: int) -> None:
        rect = (chain.x + 5, y, chain.width - 10, row.height)
        box = self._canvas.box(rect, Look.CARD, chain.id, radius=4, title=row.title)
        if row.share:
            bar = (box.x + 4, box.bottom - 6, (box.width - 8) * row.share, 4)
            self._canvas.box(bar, Look.HEAT, box.id, radius=2)
        top = y + 3
        if row.row.number:
            at = (box.x + 6, top + Style.SMALL.ascent + 1)
            self._canvas.text(box.id, at, str(row.row.number), Style.SMALL, Ink.MUTED)
        for line in row.lines:
            room = box.width - _NUMBER - 4
            draw_line(self._canvas, box.id, line, (box.x + _NUMBER, top), room)
            top += line.style.line
        self._rows += [(box, goal, column) for goal in goals_of(row.row)]

    def _hook(self, name: str, chain: Box) -> None:
        width = _HOOK - 22
        y = chain.y + 4
        box = self._canvas.box((_MARGIN, y, width, 26), Look.SUBJECT, radius=13)
        text = width_of(name, Style.CAPTION)
        at = (_MARGIN + (width - text) / 2, y + 17)
        self._canvas.text(box.id, at, name, Style.CAPTION, Ink.INK, width)
        points = [(box.right, box.middle), (chain.x, box.middle)]
        self._canvas.wire(points, Ink.ACCENT, (box.id, chain.id), head=True)

    def _column_of(self) -> dict[str, int]:
        return {
            each.chain.name: index
            for index, column in enumerate(self._columns)
            for each in column.chains
        }

    def _goals(self, index: int) -> list[str]:
        """The chains of the next column that some rule of a column leads to, from the top."""
        if index + 1 >= len(self._columns):
            return []
        rows = (row for view in self._columns[index].chains for row in view.rows)
        led = {goal for row in rows for goal in goals_of(row)}
        following = (each.chain.name for each in self._columns[index + 1].chains)
        return [name for name in following if name in led]

    def _gap(self, index: int) -> float:
        return 40 + _LANE * min(len(self._goals(index)), _MOST_LANES)

    def _wires(self) -> None:
        """Join rules to the chains that they lead to, where these stand in the next column.

        Each chain has a lane of its own between the columns, so that lines cross but never run on
        each other. Where a rule leads further away, its words have to do.
        """
        columns = self._column_of()
        for row, goal, index in self._rows:
            if columns.get(goal) != index + 1:
                continue
            chain = self._boxes[goal]
            goals = self._goals(index)
            lane = goals.index(goal) % _MOST_LANES
            source = next(box for box in self._boxes.values() if box.id == row.parent)
            bus = source.right + 16 + _LANE * lane
            end = chain.y + 15
            points = [(row.right, row.middle), (bus, row.middle), (bus, end), (chain.x, end)]
            denies = self._rules.chains[goal].role is ChainRole.DENY
            ink = Ink.DENY if denies else Ink.ACCENT
            self._canvas.wire(points, ink, (row.id, chain.id), head=True)


def _look(role: ChainRole) -> Look:
    match role:
        case ChainRole.PROFILE:
            return Look.SUBJECT
        case ChainRole.DENY:
            return Look.DENY
        case ChainRole.AUDIT | ChainRole.LOG:
            return Look.AUDIT
        case _:
            return Look.FRAME


def _bytes(size: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size} {unit}"
        size = round(size / 1000)
    return f"{size} TB"


def _edge_words(row: ChainRow) -> str:
    if row.rule is None:
        return f"{row.left_out} more rules"
    return f"{row.number} {match_words(row.rule)}" if row.rule.matches else str(row.number)


def _graph(columns: Sequence[Column]) -> Graph:
    maker = GraphMaker()
    nodes = {
        view.chain.name: maker.node(
            view.chain.name,
            view.chain.title,
            plural(len(view.chain.rules), "rule"),
            shape=Shape.CODE,
            cluster=column.title,
            own=view.chain.name,
        )
        for column in columns
        for view in column.chains
    }
    for column in columns:
        for view in column.chains:
            name = view.chain.name
            if view.hook is not None:
                hook = maker.node(view.hook.value, shape=Shape.PODS)
                maker.edge(hook, nodes[name])
            for row in view.rows:
                for goal in goals_of(row):
                    if goal in nodes:
                        kind = Kind.DENIED if goal == DENY_CHAIN else Kind.PLAIN
                        maker.edge(nodes[name], nodes[goal], _edge_words(row), kind)
        if column.left_out:
            maker.node(f"and {column.left_out} more chains", shape=Shape.NOTE, cluster=column.title)
    return maker.graph()
