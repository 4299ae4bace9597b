"""The object of the agent's own node, on its way to the reconciler: its pod ranges never go.

New pods are closed until they are known (S48) by the pod ranges of the node. Some CNIs don't tell
them to the API server, so the configuration can. And a Node that is deleted and registered anew has
none for a while, in which the kubelet may well start pods; what was known of it stays in force
until the new object has ranges of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from podwall.agent.feed import Feed
from podwall.cluster.events import (
    Applied,
    Deleted,
    Event,
    Kind,
    NodeKey,
    ObjectKey,
    Remaining,
)
from podwall.model.decode import Problem
from podwall.model.net import Cidr
from podwall.model.objects import Node


class OwnRanges:
    """A :class:`~podwall.agent.feed.Feed` that looks after one object.

    Args:
        feed: where the events go.
        name: the node's name.
        pod_cidrs: the ranges of its pods; empty takes those that the API server tells.
    """

    def __init__(self, feed: Feed, name: str, pod_cidrs: tuple[Cidr, ...]) -> None:
        self._feed = feed
        self._key = NodeKey(name)
        self._configured = pod_cidrs
        self._ranges = pod_cidrs
        self._is_told = False

    def take(self, event: Event, received: float) -> None:
        """See :meth:`podwall.agent.feed.Feed.take`."""
        for each in self._as_meant(event):
            self._feed.take(each, received)

    def complain(self, key: ObjectKey, problems: tuple[Problem, ...]) -> None:
        """See :meth:`podwall.agent.feed.Feed.complain`."""
        self._feed.complain(key, problems)

    def _as_meant(self, event: Event) -> Iterator[Event]:
        match event:
            case Applied(Node() as node) if node.name == self._key.name:
                self._ranges = self._configured or node.pod_cidrs or self._ranges
                self._is_told = True
                yield Applied(msgspec.structs.replace(node, pod_cidrs=self._ranges))
            case Deleted(key) if key == self._key and self._ranges:
                yield from self._without_object()
            case Remaining(Kind.NODE, keys) if self._key not in keys and self._ranges:
                yield from self._without_object()
                yield Remaining(Kind.NODE, keys | {self._key})
            case _:
                yield event

    def _without_object(self) -> Iterator[Event]:
        """What there is to say of a node that has no object: nothing new if it had one."""
        if not self._is_told:
            self._is_told = True
            yield Applied(Node(self._key.name, pod_cidrs=self._ranges))
