"""What a watch brings goes through here to the feed, with what is wrong with it.

An object that cannot be made anything of is told as a problem and skipped; what was known of it
before stays. It counts as listed, so that the end of a list does not take it away.
"""

from __future__ import annotations

import msgspec

from podwall.agent.feed import Feed
from podwall.agent.watch.wire import Reading, read_object
from podwall.cluster.events import (
    Applied,
    Deleted,
    Kind,
    NamespaceKey,
    NodeKey,
    ObjectKey,
    Remaining,
)
from podwall.errors import ApiGarbled
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey

_NAMELESS = "(unnamed)"
NAMELESS: dict[Kind, ObjectKey] = {
    Kind.POD: PodKey("", _NAMELESS),
    Kind.NAMESPACE: NamespaceKey(_NAMELESS),
    Kind.NODE: NodeKey(_NAMELESS),
    Kind.POLICY: PolicyKey("", _NAMELESS),
}
"""What problems of objects are filed under that have no name to speak of."""


class Intake:
    """Hands on the objects of one kind; counts them in ``objects``."""

    def __init__(self, kind: Kind, feed: Feed) -> None:
        self.objects = 0
        self._kind = kind
        self._feed = feed
        self._complained: set[ObjectKey] = set()
        self._met_nameless = False

    def put(self, raw: msgspec.Raw, received: float) -> Reading:
        """Hand on an object that is there."""
        reading = read_object(self._kind, raw)
        if reading.value is not None:
            self._feed.take(Applied(reading.value), received)
        self._complain(reading)
        return reading

    def drop(self, raw: msgspec.Raw, received: float) -> Reading:
        """Hand on that an object is gone.

        Raises:
            ApiGarbled: nobody can tell which.
        """
        reading = read_object(self._kind, raw)
        if reading.key is None:
            raise ApiGarbled(f"a {self._kind.value} was deleted that has no readable name")
        self._feed.take(Deleted(reading.key, reading.uid), received)
        self._settle(reading.key)
        return reading

    def finish(self, keys: set[ObjectKey], received: float) -> None:
        """Hand on that ``keys`` are all there are: the end of a list."""
        self.objects = len(keys)
        self._feed.take(Remaining(self._kind, frozenset(keys)), received)
        for key in self._complained - keys:
            if not (self._met_nameless and key == NAMELESS[self._kind]):
                self._settle(key)
        self._met_nameless = False

    def _complain(self, reading: Reading) -> None:
        self._met_nameless |= reading.key is None
        key = reading.key or NAMELESS[self._kind]
        if reading.problems:
            self._complained.add(key)
            self._feed.complain(key, reading.problems)
        else:
            self._settle(key)

    def _settle(self, key: ObjectKey) -> None:
        if key in self._complained:
            self._complained.discard(key)
            self._feed.complain(key, ())
