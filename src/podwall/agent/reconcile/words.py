"""What happened, in words for people: short, on one line, and harmless to print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from podwall.cluster.events import (
    Applied,
    Deleted,
    Event,
    Kind,
    NamespaceKey,
    NodeKey,
    ObjectKey,
    Remaining,
    Replaced,
)
from podwall.cluster.state import key_of
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey

LONGEST = 1000
"""Characters of a text from outside that are kept."""


def plain(text: str, limit: int = LONGEST) -> str:
    """``text`` without control characters, and cut."""
    shown = "".join(each if each.isprintable() else " " for each in text[: limit + 1])
    shown = " ".join(shown.split())
    return shown if len(text) <= limit else f"{shown[: limit - 1]}…"


def kind_of(key: ObjectKey) -> Kind:
    """The kind of the object that a key is of."""
    match key:
        case PodKey():
            return Kind.POD
        case PolicyKey():
            return Kind.POLICY
        case NamespaceKey():
            return Kind.NAMESPACE
        case NodeKey():
            return Kind.NODE
        case _:
            assert_never(key)


def name_of(key: ObjectKey) -> str:
    """The object's name, with its namespace if it has one."""
    match key:
        case PodKey() | PolicyKey():
            return str(key)
        case NamespaceKey() | NodeKey():
            return key.name
        case _:
            assert_never(key)


def describe_event(event: Event) -> str:
    """What an event is about."""
    match event:
        case Applied():
            key = key_of(event.object)
            return f"{_noun(kind_of(key))} {plain(name_of(key), 300)}"
        case Deleted():
            return f"{_noun(kind_of(event.key))} {plain(name_of(event.key), 300)} deleted"
        case Replaced() | Remaining():
            return f"a list of {event.kind.value} objects"
        case _:
            assert_never(event)


def describe_events(events: Sequence[Event]) -> str:
    """What a batch of events is about, such as ``pod dev/web-0 and 3 more``."""
    if not events:
        return "nothing"
    more = f" and {len(events) - 1} more" if len(events) > 1 else ""
    return f"{describe_event(events[0])}{more}"


def few(things: Iterable[object], limit: int = 3) -> str:
    """The first of ``things``, and how many more there are."""
    texts = [str(each) for each in things]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return f"{', '.join(texts[:limit])}{more}"


def _noun(kind: Kind) -> str:
    return "policy" if kind is Kind.POLICY else kind.value.lower()
