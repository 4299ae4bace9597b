"""The pods of all namespaces by the labels that peers across namespaces ask about.

A peer such as ``namespaceSelector: {}`` with ``app: prometheus`` may mean pods anywhere. To go
through all of a large cluster takes a tenth of a second. To index it takes little more, but the
index of one label takes some megabytes of memory. So the first peers that ask about a label pay
with time, later ones are answered by an index, and there is one for a few labels only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from podwall.cluster.labels import CarrierIndex, LabelledObjects, Labels, demands
from podwall.model.objects import PodKey
from podwall.model.selector import Selector

ASKED_OFTEN = 3
"""A label is indexed when questions about it have gone so often through all namespaces."""

MAX_INDEXES = 4
"""So many labels are indexed, those that were asked about often first."""


class WideIndex:
    """Looks over all of ``pods``, which somebody else keeps; :meth:`move` tells it of changes."""

    def __init__(self, pods: Mapping[str, LabelledObjects[PodKey]]) -> None:
        self._pods = pods
        self._index: CarrierIndex[PodKey] = CarrierIndex()
        self._asked: Counter[str] = Counter()

    def move(self, key: PodKey, old: Labels | None, new: Labels | None) -> None:
        """Note that the labels of a pod changed; ``None`` if it was not, or is not any more."""
        self._index.move(key, old, new)

    def candidates(self, selector: Selector, namespaces: int) -> list[PodKey] | None:
        """Pods among which are all that ``selector`` matches; ``None`` if no index narrows it.

        Then the one who asks has to go through so many ``namespaces``.
        """
        wanted = demands(selector)
        for each in wanted:
            self._consider(each.key, namespaces)
        known = [self._index.of(each) for each in wanted if each.key in self._index]
        if not known:
            return None
        rarest = min(known, key=lambda found: sum(map(len, found)))
        return [key for carriers in rarest for key in carriers]

    def _consider(self, name: str, namespaces: int) -> None:
        if name in self._index or len(self._index) >= MAX_INDEXES:
            return
        if len(self._asked) >= 1024:
            # Labels are chosen by users, who must not fill the memory.
            self._asked.clear()
        self._asked[name] += namespaces
        if self._asked[name] > ASKED_OFTEN * len(self._pods):
            everything = (each for pods in self._pods.values() for each in pods.items())
            self._index.build(name, everything)
