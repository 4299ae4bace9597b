"""What waits for the reconciler's thread, and how long it may make it wait.

Any thread puts things in and goes on; the reconciler takes all there is at once. While it is busy
things pile up, so the next batch is larger: that is all the coalescing there is, and a single event
never waits for company.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import msgspec

from podwall.agent.reconcile.drift import Look
from podwall.agent.reconcile.picture import Picture
from podwall.cluster.events import Event, ObjectKey
from podwall.errors import KernelError
from podwall.model.decode import Problem


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event, and the monotonic time at which its bytes had arrived."""

    event: Event
    received: float


class Complaint(msgspec.Struct, frozen=True):
    """What is wrong with an object, by whoever decoded it."""

    key: ObjectKey
    problems: tuple[Problem, ...]


class Question(msgspec.Struct, frozen=True):
    """Something to be asked between two batches, and where the answer goes."""

    ask: Callable[[Picture], Any]
    answer: Future[Any]

    def put(self, picture: Picture) -> None:
        """Ask, and hand over what comes of it."""
        if self.answer.set_running_or_notify_cancel():
            try:
                self.answer.set_result(self.ask(picture))
            except Exception as error:
                self.answer.set_exception(error)

    def refuse(self) -> None:
        """Say that nobody answers any more."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(KernelError("the agent is ending, it answers nothing more"))


class Looked(msgspec.Struct, frozen=True):
    """A look at the kernel has ended; ``result`` is what was seen, or why not.

    ``began`` is the monotonic time at which it began, ``writes`` what the keeper had written then.
    """

    result: Look | Exception
    began: float
    writes: int


Item: TypeAlias = Arrival | Complaint | Question | Looked


class Inbox:
    """A queue without bounds: what is in it is part of the cluster's state either way."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._events = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item) -> bool:
        """Add an item; false if nobody will take it any more."""
        with self._changed:
            if not self._closed:
                self._items.append(item)
                self._events += isinstance(item, Arrival)
                self._changed.notify()
            return not self._closed

    def take(self, timeout: float | None) -> list[Item] | None:
        """Everything that waits; nothing after ``timeout`` seconds, ``None`` once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            if self._closed:
                return None
            return self._all()

    def close(self) -> None:
        """Let the taker end; what still waits is handed out by :meth:`rest`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def rest(self) -> list[Item]:
        """What nobody took before the end."""
        with self._changed:
            return self._all()

    @property
    def events(self) -> int:
        """How many events wait."""
        return self._events

    def _all(self) -> list[Item]:
        items = list(self._items)
        self._items.clear()
        self._events = 0
        return items

    def __len__(self) -> int:
        return len(self._items)
