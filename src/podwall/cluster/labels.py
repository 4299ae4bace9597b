"""Two indexes over labels, one the mirror of the other.

:class:`LabelledObjects` knows objects and finds those that a selector matches, through the label
that narrows it most; it indexes no label before somebody asks for it, and a few objects not at all,
since a large cluster has many small namespaces and more labels than selectors.
:class:`SelectorTriggers` knows selectors and finds those whose answer a change of labels can turn,
through the labels that changed. Together they make the cost of a question and of a change follow
the size of the answer rather than that of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from podwall.model.selector import Operator, Requirement, Selector

Labels: TypeAlias = Mapping[str, str]
_K = TypeVar("_K")
_T = TypeVar("_T")

WORTH_INDEXING = 64
"""So many objects are found faster through an index than by trying them one by one."""

_NO_LABELS: Labels = {}


class CarrierIndex(Generic[_K]):
    """The objects that carry each value of a label, for the label keys that somebody asked about.

    Most labels, such as ``pod-template-hash``, nobody ever asks for, while each of their values
    would cost a set.
    """

    __slots__ = ("_carriers",)

    def __init__(self) -> None:
        self._carriers: dict[str, dict[str, set[_K]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._carriers

    def __len__(self) -> int:
        return len(self._carriers)

    def build(self, name: str, objects: Iterable[tuple[_K, Labels]]) -> None:
        """Index the label ``name`` of ``objects``, which are all there are."""
        carriers = self._carriers[name] = {}
        for key, labels in objects:
            _move(carriers, key, None, labels.get(name))

    def move(self, key: _K, old: Labels | None, new: Labels | None) -> None:
        """Note that the labels of an object changed; ``None`` if it was not, or is not any more."""
        before = _NO_LABELS if old is None else old
        after = _NO_LABELS if new is None else new
        for name, carriers in self._carriers.items():
            _move(carriers, key, before.get(name), after.get(name))

    def of(self, demand: Requirement) -> list[set[_K]]:
        """The carriers of each value that ``demand``, an ``In`` about an indexed key, names.

        An object has one value per key, so they don't overlap.
        """
        carriers = self._carriers[demand.key]
        return [carriers[value] for value in demand.values if value in carriers]


def _move(carriers: dict[str, set[_K]], key: _K, old: str | None, new: str | None) -> None:
    if old == new:
        return
    if old is not None:
        left = carriers[old]
        left.discard(key)
        if not left:
            del carriers[old]
    if new is not None:
        carriers.setdefault(new, set()).add(key)


class LabelledObjects(Generic[_K]):
    """Objects and their labels, by key; answers which of them a selector matches.

    Few objects are tried one by one, many are found through an index.
    """

    __slots__ = ("_index", "_labels")

    def __init__(self) -> None:
        self._labels: dict[_K, Labels] = {}
        self._index: CarrierIndex[_K] | None = None

    def __iter__(self) -> Iterator[_K]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def items(self) -> Iterable[tuple[_K, Labels]]:
        """All objects and their labels."""
        return self._labels.items()

    def labels(self, key: _K) -> Labels | None:
        """The labels of an object, or ``None`` if it is not known."""
        return self._labels.get(key)

    def put(self, key: _K, labels: Labels | None) -> None:
        """Learn an object's labels, or with ``None`` forget the object."""
        if self._index is not None:
            self._index.move(key, self._labels.get(key), labels)
        if labels is None:
            self._labels.pop(key, None)
        else:
            self._labels[key] = labels

    def find(self, selector: Selector) -> list[_K]:
        """The objects that ``selector`` matches, in no particular order."""
        if not selector.requirements:
            return list(self._labels)
        wanted = demands(selector)
        if not wanted:
            return [key for key, labels in self._labels.items() if selector.matches(labels)]
        if len(self._labels) < WORTH_INDEXING:
            name, values = wanted[0].key, wanted[0].values
            found = [key for key, labels in self._labels.items() if labels.get(name) in values]
        else:
            found = self._carriers(wanted)
        if len(selector.requirements) == 1:
            return found
        return [key for key in found if selector.matches(self._labels[key])]

    def _carriers(self, wanted: Sequence[Requirement]) -> list[_K]:
        """The carriers of the rarest label that is ``wanted``."""
        if self._index is None:
            self._index = CarrierIndex()
        for each in wanted:
            if each.key not in self._index:
                self._index.build(each.key, self._labels.items())
        rarest = min(map(self._index.of, wanted), key=lambda found: sum(map(len, found)))
        return [key for carriers in rarest for key in carriers]


def demands(selector: Selector) -> list[Requirement]:
    """The requirements that only carriers of certain labels can meet."""
    return [each for each in selector.requirements if each.operator is Operator.IN]


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
