"""Objects, their versions and their history.

One counter numbers all changes of all resources: the resourceVersion. Each collection keeps its
present objects, sorted as etcd sorts them, and a log of changes, by which the state at any earlier
revision can be told until the log is compacted. Stored versions are bytes and never change.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from podwall.lab.apiserver.resources import OBJECT_FIELDS, RESOURCES, Resource

Object: TypeAlias = dict[str, Any]


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One version of one object.

    ``key`` is ``namespace/name``, or the name alone; ``body`` is the object as JSON without its
    ``kind`` and ``apiVersion``, which are left out in lists. ``labels`` and ``fields`` are what
    selectors look at.
    """

    key: str
    revision: int
    body: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """The object's name."""
        return self.fields["metadata.name"]

    @property
    def namespace(self) -> str:
        """The object's namespace, empty if it is in none."""
        return self.fields["metadata.namespace"]

    def decode(self) -> Object:
        """A copy of the object, without ``kind`` and ``apiVersion``."""
        copy: Object = msgspec.json.decode(self.body)
        return copy


class Change(msgspec.Struct, frozen=True, gc=False):
    """Something happened to one object: created, modified or (``after`` is ``None``) deleted."""

    revision: int
    before: Stored | None
    after: Stored | None


Listener: TypeAlias = Callable[[Change], None]


def key_of(namespace: str, name: str) -> str:
    """The key under which an object is stored; its order is etcd's."""
    return f"{namespace}/{name}" if namespace else name


@lru_cache(maxsize=65536)
def _shared(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(pairs)


def _field(thing: Object, path: str) -> str:
    value: Any = thing
    if path == "source":
        path = "source.component"
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""


def _strings(labels: object) -> Mapping[str, str]:
    # What was stored past validation may have anything here.
    if not isinstance(labels, dict):
        return {}
    return _shared(tuple((k, v) for k, v in labels.items() if isinstance(v, str)))


def stored(resource: Resource, thing: Object, revision: int) -> Stored:
    """Freeze ``thing`` as its version ``revision``."""
    metadata = {**thing["metadata"], "resourceVersion": str(revision)}
    rest = {k: v for k, v in thing.items() if k not in ("kind", "apiVersion", "metadata")}
    body = msgspec.json.encode({"metadata": metadata, **rest})
    fields = {path: _field(thing, path) for path in (*OBJECT_FIELDS, *resource.fields)}
    key = key_of(fields["metadata.namespace"], fields["metadata.name"])
    return Stored(key, revision, body, _strings(metadata.get("labels")), fields)


def restamped(version: Stored, revision: int) -> bytes:
    """The body of ``version`` with another resourceVersion, as deletions are told."""
    thing = version.decode()
    thing["metadata"]["resourceVersion"] = str(revision)
    return msgspec.json.encode(thing)


class Compacted(Exception):
    """The state or the changes that were asked for are forgotten; ``oldest`` still is known."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted up to {oldest}")
        self.oldest = oldest


class Collection:
    """The objects of one resource."""

    def __init__(self, resource: Resource, history: int) -> None:
        self.resource = resource
        self.listeners: set[Listener] = set()
        self._objects: dict[str, Stored] = {}
        self._keys: list[str] = []
        self._log: deque[Change] = deque()
        self._history = history
        self._oldest = 0

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> Stored | None:
        """The present version."""
        return self._objects.get(key)

    def record(self, change: Change) -> None:
        """Make a change true, remember it and tell whoever listens."""
        before, after = change.before, change.after
        if after is not None:
            if before is None:
                bisect.insort(self._keys, after.key)
            self._objects[after.key] = after
        elif before is not None:
            del self._keys[bisect.bisect_left(self._keys, before.key)]
            del self._objects[before.key]
        self._log.append(change)
        if len(self._log) > self._history:
            self._oldest = self._log.popleft().revision
        for listener in tuple(self.listeners):
            listener(change)

    def compact(self, revision: int) -> None:
        """Forget all states and changes before ``revision``."""
        while self._log and self._log[0].revision <= revision:
            self._log.popleft()
        self._oldest = max(self._oldest, revision)

    def since(self, revision: int) -> list[Change]:
        """The changes after ``revision``.

        Raises:
            Compacted: some of them are forgotten.
        """
        if revision < self._oldest:
            raise Compacted(self._oldest)
        found: list[Change] = []
        for change in reversed(self._log):
            if change.revision <= revision:
                break
            found.append(change)
        return found[::-1]

    def at(self, revision: int | None, prefix: str = "") -> View:
        """The objects as they were at ``revision`` (``None``: as they are).

        Only keys that begin with ``prefix``, which is empty or ends with a slash. The view is for
        use before anything changes.

        Raises:
            Compacted: that state is forgotten.
        """
        past: dict[str, Stored | None] = {}
        if revision is not None:
            for change in reversed(self.since(revision)):
                version = change.before or change.after
                if version is not None:
                    past[version.key] = change.before
        return View(self._objects, self._keys, past, prefix)


class View:
    """The objects of a collection in one state, in the order of their keys.

    ``past`` holds those that have changed since, as they were (``None``: they were not there).
    Nothing here costs as much as all objects do: a list of 150,000 has 300 pages.
    """

    def __init__(
        self,
        objects: Mapping[str, Stored],
        keys: list[str],
        past: Mapping[str, Stored | None],
        prefix: str,
    ) -> None:
        self._objects = objects
        self._keys = keys
        self._past = past
        self._first = prefix
        # The character after the slash ends the range of keys.
        self._end = prefix[:-1] + chr(ord("/") + 1) if prefix else chr(0x10FFFF)

    def after(self, key: str = "") -> Iterator[Stored]:
        """The objects whose keys are greater than ``key``."""
        low, high = self._range(key)
        keys: Iterable[str] = itertools.islice(self._keys, low, high)
        gone = [each for each in self._past if each not in self._objects and self._in(each, key)]
        for each in heapq.merge(keys, sorted(gone)) if gone else keys:
            version = self._past[each] if each in self._past else self._objects[each]
            if version is not None:
                yield version

    def count_after(self, key: str) -> int:
        """How many these are."""
        low, high = self._range(key)
        corrections = (
            (version is not None) - (each in self._objects)
            for each, version in self._past.items()
            if self._in(each, key)
        )
        return high - low + sum(corrections)

    def _range(self, key: str) -> tuple[int, int]:
        first = bisect.bisect_left(self._keys, self._first)
        low = max(bisect.bisect_right(self._keys, key), first)
        return low, max(bisect.bisect_left(self._keys, self._end), low)

    def _in(self, each: str, key: str) -> bool:
        return each > key and self._first <= each < self._end


class Store:
    """All collections, and the one counter of their changes.

    ``history`` is how many changes of a resource are remembered at most.
    """

    def __init__(self, history: int = 100_000) -> None:
        self.revision = 1
        self.collections = {each.qualified: Collection(each, history) for each in RESOURCES}

    def __getitem__(self, resource: Resource) -> Collection:
        return self.collections[resource.qualified]

    def put(self, resource: Resource, thing: Object) -> Stored:
        """Create or replace an object."""
        collection = self[resource]
        version = stored(resource, thing, self.revision + 1)
        self.revision += 1
        collection.record(Change(self.revision, collection.get(version.key), version))
        return version

    def remove(self, resource: Resource, key: str) -> Stored | None:
        """Remove an object if it is there; its last version, numbered as its removal is."""
        collection = self[resource]
        last = collection.get(key)
        if last is None:
            return None
        self.revision += 1
        collection.record(Change(self.revision, last, None))
        return msgspec.structs.replace(
            last, revision=self.revision, body=restamped(last, self.revision)
        )

    def compact(self) -> None:
        """Forget everything but the present."""
        for collection in self.collections.values():
            collection.compact(self.revision)
