"""Walks a scene and says what is wrong with it: what lies on what, and what sticks out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from podwall.draw.scene import Box, Label, Mark, Point, Scene, Wire

_SLACK = 0.51
"""Coordinates are rounded to half pixels."""


def faults(scene: Scene) -> list[str]:
    """Everything that overlaps, sticks out or is crossed, in words; none of a good picture."""
    return list(_Walk(scene).faults())


class _Walk:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.boxes = {each.id: each for each in scene.items if isinstance(each, Box)}
        self.labels = [each for each in scene.items if isinstance(each, Label)]
        self.wires = [each for each in scene.items if isinstance(each, Wire)]
        self.marks = [each for each in scene.items if isinstance(each, Mark)]

    def above(self, box: int | None) -> set[int]:
        """A box and all that it lies in."""
        found: set[int] = set()
        while box is not None:
            found.add(box)
            box = self.boxes[box].parent
        return found

    def faults(self) -> Iterator[str]:
        yield from self._boxes()
        yield from self._texts()
        yield from self._marks()
        yield from self._lines()

    def _boxes(self) -> Iterator[str]:
        boxes = sorted(self.boxes.values(), key=lambda each: each.y)
        for index, box in enumerate(boxes):
            if box.parent is not None and not _inside(box, self.boxes[box.parent]):
                yield f"{box} sticks out of {self.boxes[box.parent]}"
            for other in boxes[index + 1 :]:
                if other.y >= box.bottom - _SLACK:
                    break
                if other.id in self.above(box.id) or box.id in self.above(other.id):
                    continue
                if _overlap(_rect(box), _rect(other)):
                    yield f"{box} overlaps {other}"

    def _texts(self) -> Iterator[str]:
        rects = [(_text_rect(each), each) for each in self.labels]
        rects.sort(key=lambda each: each[0][1])
        for index, (rect, label) in enumerate(rects):
            if not _holds(_rect(self.boxes[label.box]), rect):
                yield f"{label} sticks out of {self.boxes[label.box]}"
            inside = self.above(label.box)
            for box in self.boxes.values():
                if box.id not in inside and _overlap(_rect(box), rect):
                    yield f"{label} lies on {box}"
            for other, second in rects[index + 1 :]:
                if other[1] >= rect[3]:
                    break
                if _overlap(rect, other):
                    yield f"{label} lies on {second}"

    def _marks(self) -> Iterator[str]:
        for mark in self.marks:
            rect = (mark.x, mark.y, mark.x + mark.size, mark.y + mark.size)
            if not _holds(_rect(self.boxes[mark.box]), rect):
                yield f"{mark} sticks out of {self.boxes[mark.box]}"
            for label in self.labels:
                if _overlap(rect, _text_rect(label)):
                    yield f"{mark} lies on {label}"

    def _lines(self) -> Iterator[str]:
        page = _rect(self.boxes[0])
        for wire in self.wires:
            mine = set().union(*(self.above(each) for each in wire.ends))
            points = _flat(wire)
            if not all(_holds(page, (x, y, x, y)) for x, y in points):
                yield f"{wire} leaves the page"
            for box in self.boxes.values():
                if box.id not in mine and _crosses(points, _rect(box)):
                    yield f"{wire} runs through {box}"
            for label in self.labels:
                if _crosses(points, _text_rect(label)):
                    yield f"{wire} runs through {label}"


Rect = tuple[float, float, float, float]


def _rect(box: Box) -> Rect:
    return box.x, box.y, box.right, box.bottom


def _text_rect(label: Label) -> Rect:
    size = label.style.size
    return label.x, label.y - 0.78 * size, label.x + label.width, label.y + 0.22 * size


def _inside(box: Box, outer: Box) -> bool:
    return _holds(_rect(outer), _rect(box))


def _holds(outer: Rect, inner: Rect) -> bool:
    return (
        inner[0] >= outer[0] - _SLACK
        and inner[1] >= outer[1] - _SLACK
        and inner[2] <= outer[2] + _SLACK
        and inner[3] <= outer[3] + _SLACK
    )


def _overlap(one: Rect, other: Rect) -> bool:
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > _SLACK
        and min(one[3], other[3]) - max(one[1], other[1]) > _SLACK
    )


def _flat(wire: Wire) -> list[Point]:
    """The points of a line, a curve as many short straight ones."""
    if not wire.curved:
        return list(wire.points)
    (x, y), (a, b) = wire.points
    half = (x + a) / 2
    found: list[Point] = []
    for step in range(33):
        t = step / 32
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        places = ((x, y), (half, y), (half, b), (a, b))
        found.append(
            (
                sum(w * place[0] for w, place in zip(weights, places, strict=True)),
                sum(w * place[1] for w, place in zip(weights, places, strict=True)),
            )
        )
    return found


def _crosses(points: Sequence[Point], rect: Rect) -> bool:
    """Whether a line goes through the inside of a rectangle; pieces are sampled."""
    left, top, right, bottom = rect[0] + 0.6, rect[1] + 0.6, rect[2] - 0.6, rect[3] - 0.6
    for (x, y), (a, b) in itertools.pairwise(points):
        if max(x, a) <= left or min(x, a) >= right or max(y, b) <= top or min(y, b) >= bottom:
            continue
        if x == a or y == b:
            return True
        for step in range(17):
            u, v = x + (a - x) * step / 16, y + (b - y) * step / 16
            if left < u < right and top < v < bottom:
                return True
    return False
