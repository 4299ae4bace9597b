"""What is wrong with objects: what the decoder could not understand and the kernel would not take.

One place, so that an object has one list of problems, and whoever is told hears of changes only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from podwall.agent.reconcile.observer import Observer
from podwall.agent.reconcile.words import kind_of, name_of, plain
from podwall.agent.status import ObjectProblem
from podwall.cluster.events import Deleted, Event, ObjectKey, Remaining, Replaced
from podwall.cluster.state import key_of
from podwall.model.policy import PolicyKey

Texts = tuple[str, ...]

MOST = 10
"""So many problems of one object are kept: whoever mends these sees the next ones."""


class Problems:
    """Belongs to the reconciler's thread; :meth:`all` may be called from any.

    Args:
        observer: is told of each object whose problems change.
        wall: the time, in seconds since the epoch.
    """

    def __init__(self, observer: Observer, wall: Callable[[], float]) -> None:
        self._observer = observer
        self._wall = wall
        self._decoder: dict[ObjectKey, Texts] = {}
        self._kernel: dict[ObjectKey, Texts] = {}
        self._known: dict[ObjectKey, tuple[ObjectProblem, ...]] = {}

    def all(self) -> tuple[ObjectProblem, ...]:
        """Everything that is wrong now, sorted by object."""
        known = [each for problems in self._known.copy().values() for each in problems]
        return tuple(sorted(known, key=lambda each: (each.kind, each.name)))

    def complain(self, key: ObjectKey, problems: Sequence[object]) -> None:
        """The decoder's problems of an object are now these; the first of them are kept."""
        texts = tuple(map(str, problems[:MOST]))
        if len(problems) > MOST:
            texts += (f"{len(problems) - MOST} more problems",)
        self._put(self._decoder, key, texts)

    def refuse(self, key: PolicyKey, text: str) -> None:
        """The kernel would not take a policy; what it said of it first stays, as it was then."""
        if key not in self._kernel:
            self._put(self._kernel, key, (text,))

    def keep_refused(self, refused: Collection[ObjectKey]) -> None:
        """Of the policies that the kernel would not take only these are left."""
        for key in [each for each in self._kernel if each not in refused]:
            self._put(self._kernel, key, ())

    def forget(self, event: Event) -> None:
        """Drop what was known of objects that ``event`` says are gone."""
        for key in list(self._gone(event)):
            self._put(self._decoder, key, ())

    def _gone(self, event: Event) -> Iterator[ObjectKey]:
        match event:
            case Deleted(key):
                yield key
            case Remaining() | Replaced():
                left = (
                    event.keys
                    if isinstance(event, Remaining)
                    else frozenset(map(key_of, event.objects))
                )
                for key in self._decoder:
                    if kind_of(key) is event.kind and key not in left:
                        yield key
            case _:
                return

    def _put(self, source: dict[ObjectKey, Texts], key: ObjectKey, texts: Texts) -> None:
        if source.get(key, ()) == texts:
            return
        if texts:
            source[key] = texts
        else:
            del source[key]
        since = {each.text: each.since for each in self._known.get(key, ())}
        now = self._wall()
        problems = tuple(
            ObjectProblem(kind_of(key).value, name_of(key), text, since.get(text, now))
            for each in (*self._decoder.get(key, ()), *self._kernel.get(key, ()))
            for text in [plain(each)]
        )
        if problems:
            self._known[key] = problems
        else:
            self._known.pop(key, None)
        self._observer.problem_changed(key, problems)
