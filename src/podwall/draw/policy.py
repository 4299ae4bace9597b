"""The picture of policies: who may reach the selected pods, and where these may go.

Pods stand in the middle, behind a wall where they are isolated. Who may come in stands on the left,
where they may go on the right, and each rule is an arrow through a gap in the wall, with its ports.
Everybody else ends at the wall. Where nothing isolates there is no wall; where only audited
policies do, it is an outline that holds nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.draw.cards import (
    PAD_X,
    Card,
    Line,
    draw_card,
    draw_line,
    height_of,
    width_for,
    wrapped,
)
from podwall.draw.crowd import plural
from podwall.draw.looking import view_of
from podwall.draw.metrics import Style, clean, width_of, wrap
from podwall.draw.picture import Picture
from podwall.draw.scene import Box, Canvas, Ink, Look, Scene, Sign
from podwall.draw.sides import Columns, SideLayout, draw_side, side_layout
from podwall.draw.telling import describe, graph_of
from podwall.draw.view import FrameView, Gate, GroupView, PolicyView
from podwall.errors import InputError
from podwall.model.policy import Direction, PolicyKey

MARGIN = 28.0
_FRAME_PAD = 16.0
_LANE_GAP = 18.0
_FRAME_HEAD = 48.0
_NARROWEST, _WIDEST = 170.0, 236.0


def policy_picture(snapshot: Snapshot, keys: Sequence[PolicyKey]) -> Picture:
    """One picture of one policy, or of several with the pods that they share.

    What would not be readable is bounded, and the picture says what was left out.

    Raises:
        InputError: no policy is named, or one that ``snapshot`` does not have.
    """
    if not keys:
        raise InputError("there is no policy to draw")
    for key in keys:
        if key not in snapshot.policies:
            raise InputError(f"there is no policy {clean(str(key))}")
    policies = [snapshot.policies[key] for key in dict.fromkeys(keys)]
    view = view_of(snapshot, policies)
    return Picture(view.title, describe(view), _Layout(view).scene(), graph_of(view))


class _Lane(msgspec.Struct, frozen=True):
    """A group, measured."""

    group: GroupView
    card: Card
    left: SideLayout
    right: SideLayout

    @property
    def height(self) -> float:
        sides = max(self.left.height, self.right.height)
        return max(height_of(self.card), sides)


class _Layout:
    """Gives the parts of one view their places."""

    def __init__(self, view: PolicyView) -> None:
        self._view = view
        self._canvas = Canvas()
        groups = [group for frame in view.frames for group in frame.groups]
        self._left = Columns.of([each.ingress for each in groups])
        self._right = Columns.of([each.egress for each in groups])
        cards = [_subject(each) for each in groups]
        widest = max((width_for(each.lines) for each in cards), default=0)
        frames = [Line(each.title, Style.HEAD) for each in view.frames]
        widest = max(widest, width_for(frames))
        self._middle = min(max(widest, _NARROWEST), _WIDEST)
        self._lanes = [
            [
                _Lane(
                    group,
                    _subject(group),
                    side_layout(group.ingress, self._left, Direction.INGRESS),
                    side_layout(group.egress, self._right, Direction.EGRESS),
                )
                for group in frame.groups
            ]
            for frame in view.frames
        ]

    def scene(self) -> Scene:
        start = MARGIN + self._left.width
        subject = start + _FRAME_PAD
        end = subject + self._middle + _FRAME_PAD
        width = end + self._right.width + MARGIN
        y = self._head(width)
        y = self._captions(y, end)
        for frame, lanes in zip(self._view.frames, self._lanes, strict=True):
            y = self._frame(frame, lanes, (start, y)) + 20
        y = self._foot(y - 4, width)
        return self._canvas.scene(width, y + MARGIN - 8)

    def _head(self, width: float) -> float:
        y = MARGIN - 6
        room = width - 2 * MARGIN
        title = Line(self._view.title, Style.TITLE)
        draw_line(self._canvas, 0, title, (MARGIN, y), room)
        y += Style.TITLE.line
        if self._view.audited:
            line = Line(self._view.subtitle, Style.BODY, Ink.AUDIT, Sign.EYE)
        else:
            line = Line(self._view.subtitle, Style.BODY, Ink.MUTED)
        draw_line(self._canvas, 0, line, (MARGIN, y), room)
        return y + Style.BODY.line + 12

    def _captions(self, y: float, end: float) -> float:
        for x, text in ((MARGIN, "MAY COME IN"), (end + self._right.near, "MAY GO TO")):
            line = Line(text, Style.CAPTION, Ink.MUTED)
            draw_line(self._canvas, 0, line, (x, y), 150)
        return y + Style.CAPTION.line + 4

    def _frame(self, frame: FrameView, lanes: Sequence[_Lane], at: tuple[float, float]) -> float:
        """Draw a namespace at its top left corner; returns where it ends."""
        x, y = at
        width = self._middle + 2 * _FRAME_PAD
        inner = sum(each.height for each in lanes) + _LANE_GAP * max(0, len(lanes) - 1)
        rest = Line(frame.left_out, Style.SMALL, Ink.MUTED)
        lines = wrap(clean(frame.left_out), self._middle, rest.style) if frame.left_out else ()
        more = len(lines) * rest.style.line + 10 if lines else 0
        height = _FRAME_HEAD + inner + more + _FRAME_PAD
        box = self._canvas.box((x, y, width, height), Look.FRAME, radius=10)
        head = (Line(frame.title, Style.HEAD), Line(frame.note, Style.SMALL, Ink.MUTED))
        top = y + 8
        for line in head:
            draw_line(self._canvas, box.id, line, (x + _FRAME_PAD, top), self._middle)
            top += line.style.line
        top = y + _FRAME_HEAD
        for lane in lanes:
            self._lane(lane, box, top)
            top += lane.height + _LANE_GAP
        for text in lines:
            line = Line(text, Style.SMALL, Ink.MUTED)
            draw_line(self._canvas, box.id, line, (x + _FRAME_PAD, top - 8), self._middle)
            top += line.style.line
        return y + height

    def _lane(self, lane: _Lane, frame: Box, y: float) -> None:
        x = frame.x + _FRAME_PAD
        subject = draw_card(
            self._canvas,
            lane.card,
            (x, y),
            self._middle,
            parent=frame.id,
            height=lane.height,
            radius=3,
        )
        outer = (frame.x, frame.right)
        draw_side(self._canvas, lane.left, subject, outer[0])
        draw_side(self._canvas, lane.right, subject, outer[1])

    def _foot(self, y: float, width: float) -> float:
        room = width - 2 * MARGIN
        if self._view.left_out:
            line = Line(self._view.left_out, Style.BODY, Ink.MUTED)
            draw_line(self._canvas, 0, line, (MARGIN, y), room)
            y += line.style.line + 6
        if self._view.problems:
            y = self._problems(y, room) + 12
        return self._legend(y, width - MARGIN)

    def _problems(self, y: float, room: float) -> float:
        lines = [Line("not understood, so it allows nothing", Style.HEAD, Ink.AUDIT, Sign.WARNING)]
        for text in self._view.problems:
            cut = clean(text[:1000])
            pieces = wrap(cut, room - 2 * PAD_X, Style.SMALL, most=3)
            lines += [Line(piece, Style.SMALL) for piece in pieces]
        card = Card(tuple(lines), Look.WARNING)
        return draw_card(self._canvas, card, (MARGIN, y), room).bottom

    def _legend(self, y: float, right: float) -> float:
        """What the signs mean, of those that are there."""
        gates = {
            side.gate
            for frame in self._view.frames
            for group in frame.groups
            for side in (group.ingress, group.egress)
        }
        x = MARGIN
        for gate, look, text in (
            (Gate.CLOSED, Look.WALL, "wall: only what has an arrow gets through"),
            (Gate.OPEN, Look.OPEN, "no wall: not restricted"),
            (Gate.AUDITED, Look.AUDIT, "outline of a wall: audited, holds nobody"),
        ):
            if gate not in gates:
                continue
            wide = 19 + width_of(text, Style.SMALL)
            if x > MARGIN and x + wide > right:
                x, y = MARGIN, y + 20
            self._canvas.box((x, y + 2, 12, 13), look, radius=0)
            room = right - x - 19
            self._canvas.text(0, (x + 19, y + 12), text, Style.SMALL, Ink.MUTED, room)
            x += wide + 24
        return y + 16


def _subject(group: GroupView) -> Card:
    """The pods in the middle."""
    lines = wrapped(group.title, Style.HEAD, Ink.INK, Sign.POD, _WIDEST - 2 * PAD_X - 1)
    lines.append(Line(group.note, Style.SMALL, Ink.MUTED))
    lines += [Line(each, Style.BODY) for each in group.pods]
    if group.policies:
        lines.append(Line(group.policies_title, Style.CAPTION, Ink.MUTED))
    lines += [Line(each, Style.SMALL) for each in group.policies[:5]]
    more = len(group.policies) - 5
    if more > 0:
        lines.append(Line(f"and {plural(more, 'more policy')}", Style.SMALL, Ink.MUTED))
    return Card(tuple(lines), Look.REST if group.empty else Look.SUBJECT)
