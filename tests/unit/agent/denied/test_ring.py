"""The last denials: what is kept, and what a slow reader is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.agent.denied.ring import Piece, Ring


def lines(*numbers: int) -> tuple[bytes, ...]:
    return tuple(str(each).encode() for each in numbers)


def test_what_is_read_goes_on_where_the_last_piece_ended() -> None:
    ring = Ring(size=4)
    ring.add(lines(0, 1, 2))
    assert ring.read(0, most=2) == Piece(lines(0, 1), lost=0, next=2)
    assert ring.read(2, most=2) == Piece(lines(2), lost=0, next=3)
    assert ring.read(3, most=2) == Piece((), lost=0, next=3)


def test_a_slow_reader_loses_the_oldest_lines_and_learns_how_many() -> None:
    ring = Ring(size=4)
    ring.add(lines(*range(10)))
    assert len(ring) == 4
    assert ring.read(3, most=100) == Piece(lines(6, 7, 8, 9), lost=3, next=10)


@given(
    size=st.integers(1, 5),
    moves=st.lists(st.one_of(st.integers(-4, -1), st.integers(0, 9)), max_size=30),
)
def test_whatever_is_written_and_read_every_line_is_read_once_or_counted_as_lost(
    size: int, moves: list[int]
) -> None:
    ring, written, place, read, lost = Ring(size), 0, 0, list[bytes](), 0
    for move in (*moves, -100):
        if move >= 0:
            ring.add(lines(*range(written, written + move)))
            written += move
            assert ring.end == written
            continue
        piece = ring.read(place, most=-move)
        assert piece.next - place == piece.lost + len(piece.lines)
        assert list(piece.lines) == list(lines(*range(place + piece.lost, piece.next)))
        place, lost = piece.next, lost + piece.lost
        read += piece.lines
    assert len(read) + lost == written
    assert len(ring) <= size
