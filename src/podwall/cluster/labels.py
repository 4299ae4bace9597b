"""Two indexes over labels, one the mirror of the other.

:class:`LabelledObjects` knows objects and finds those that a selector matches, through the label
that narrows it most. :class:`SelectorTriggers` knows selectors and finds those whose answer a
change of labels can turn, through the labels that changed. Together they make the cost of a
question and of a change follow the size of the answer rather than that of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeAlias, TypeVar

from podwall.model.selector import Operator, Selector

Labels: TypeAlias = Mapping[str, str]
_K = TypeVar("_K")
_T = TypeVar("_T")

_NO_LABELS: Labels = {}


class LabelledObjects(Generic[_K]):
    """Objects and their labels, by key; answers which of them a selector matches."""

    def __init__(self) -> None:
        self._labels: dict[_K, Labels] = {}
        self._carriers: dict[tuple[str, str], set[_K]] = {}

    def __iter__(self) -> Iterator[_K]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self, key: _K) -> Labels | None:
        """The labels of an object, or ``None`` if it is not known."""
        return self._labels.get(key)

    def put(self, key: _K, labels: Labels | None) -> None:
        """Learn an object's labels, or with ``None`` forget the object."""
        old = self._labels.pop(key, _NO_LABELS)
        for label in old.items():
            carriers = self._carriers[label]
            carriers.discard(key)
            if not carriers:
                del self._carriers[label]
        if labels is None:
            return
        self._labels[key] = labels
        for label in labels.items():
            self._carriers.setdefault(label, set()).add(key)

    def find(self, selector: Selector) -> list[_K]:
        """The objects that ``selector`` matches, in no particular order."""
        candidates = self._candidates(selector)
        if candidates is None:
            return [key for key, labels in self._labels.items() if selector.matches(labels)]
        if len(selector.requirements) == 1:
            return [key for carriers in candidates for key in carriers]
        return [
            key
            for carriers in candidates
            for key in carriers
            if selector.matches(self._labels[key])
        ]

    def _candidates(self, selector: Selector) -> list[set[_K]] | None:
        """The carriers of the rarest label that ``selector`` insists on; ``None`` for no label.

        An object has one value per key, so the carriers of different values don't overlap.
        """
        demands = (each for each in selector.requirements if each.operator is Operator.IN)
        found = [
            [self._carriers.get((each.key, value), set()) for value in each.values]
            for each in demands
        ]
        return min(found, key=lambda each: sum(map(len, each)), default=None)


class SelectorTriggers(Generic[_T]):
    """Selectors, each with something that hangs on it; answers which a change of labels can turn.

    A requirement can only change its answer when its key gains or loses one of the values that it
    names, or, for Exists and DoesNotExist, when the key comes or goes. Those are its triggers.
    """

    def __init__(self) -> None:
        self._triggers: dict[tuple[str, str | None], set[_T]] = {}
        self._undemanding: set[_T] = set()

    def add(self, selector: Selector, item: _T) -> None:
        """Hang ``item`` on ``selector``."""
        for trigger in _triggers(selector):
            self._triggers.setdefault(trigger, set()).add(item)
        if selector.matches(_NO_LABELS):
            self._undemanding.add(item)

    def discard(self, selector: Selector, item: _T) -> None:
        """Undo :meth:`add`."""
        for trigger in _triggers(selector):
            items = self._triggers.get(trigger)
            if items is not None:
                items.discard(item)
                if not items:
                    del self._triggers[trigger]
        self._undemanding.discard(item)

    def affected(self, old: Labels | None, new: Labels | None) -> set[_T]:
        """The items whose selector may match one of ``old`` and ``new`` but not the other.

        ``None`` is an object that does not exist, which nothing matches.
        """
        before = _NO_LABELS if old is None else old
        after = _NO_LABELS if new is None else new
        items: set[_T] = set()
        for trigger in _changes(before, after):
            items |= self._triggers.get(trigger, set())
        if (old is None) is not (new is None):
            items |= self._undemanding
        return items


def _triggers(selector: Selector) -> Iterator[tuple[str, str | None]]:
    for each in selector.requirements:
        if each.operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
            yield each.key, None
        else:
            for value in each.values:
                yield each.key, value


def _changes(before: Labels, after: Labels) -> Iterator[tuple[str, str | None]]:
    for key, value in before.items():
        now = after.get(key)
        if now != value:
            yield key, value
            yield key, now
    for key, value in after.items():
        if key not in before:
            yield key, value
            yield key, None
