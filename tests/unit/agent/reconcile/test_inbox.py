"""What waits for the reconciler's thread."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from podwall.agent.reconcile.inbox import Arrival, Inbox, Question
from podwall.agent.reconcile.picture import Picture
from podwall.cluster.events import Kind, Remaining
from podwall.errors import KernelError
from podwall.model.settings import Settings

PICTURE = Picture("a", Settings(), None, None)


def arrival(number: float) -> Arrival:
    return Arrival(Remaining(Kind.POD), number)


def test_everything_that_waits_is_taken_at_once_and_in_order() -> None:
    inbox = Inbox()
    for number in range(3):
        assert inbox.put(arrival(number))
    assert len(inbox) == 3
    assert inbox.take(0) == [arrival(0), arrival(1), arrival(2)]
    assert inbox.take(0) == []


def test_whoever_takes_wakes_up_for_the_first_item() -> None:
    inbox = Inbox()
    threading.Timer(0.01, inbox.put, [arrival(1)]).start()
    assert inbox.take(30) == [arrival(1)]


def test_a_closed_inbox_takes_nothing_and_hands_out_what_was_left() -> None:
    inbox = Inbox()
    inbox.put(arrival(1))
    inbox.close()
    assert not inbox.put(arrival(2))
    assert inbox.take(None) is None
    assert inbox.rest() == [arrival(1)]
    assert inbox.rest() == []


def test_a_question_gets_its_answer_or_what_it_raises() -> None:
    answer: Future[str] = Future()
    Question(lambda picture: picture.node, answer).put(PICTURE)
    assert answer.result(0) == "a"
    answer = Future()
    Question(lambda picture: picture.observe(), answer).put(PICTURE)
    with pytest.raises(KernelError, match="not found yet"):
        answer.result(0)


def test_a_question_that_nobody_wants_answered_is_not_asked() -> None:
    questions = [Question(lambda _picture: pytest.fail("asked"), Future()) for _ in range(2)]
    for each in questions:
        each.answer.cancel()
    questions[0].put(PICTURE)
    questions[1].refuse()
    assert all(each.answer.cancelled() for each in questions)
