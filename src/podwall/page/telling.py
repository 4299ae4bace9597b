"""Explanations for the cells of a matrix: which connections are worth one, and how it is kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.classes import Classes
from podwall.explain.ends import End, Service
from podwall.explain.explanation import Explanation, explain, hook_story
from podwall.explain.matrix import Party
from podwall.explain.reach import Reach
from podwall.explain.story import Line, Tone, direction_lines, stop_lines, whose
from podwall.model.net import PORT_PROTOCOLS, Address, Family, Protocol
from podwall.model.settings import Settings
from podwall.page.content import Part, Text, Told
from podwall.policy.decision import DirectionDecision
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.journey import StopTrace

MOST_SERVICES = 3
"""So many ports of a cell are explained."""

MOST_PAIRS = 300
"""So many pairs of a cell are looked at for one of each answer."""

T = TypeVar("T", bound=Hashable)

_USUAL = Service(Protocol.TCP, 443)


class Numbered(Generic[T]):
    """Values by number, each held once."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        """The number of a value."""
        return self._numbers.setdefault(value, len(self._numbers))

    @property
    def all(self) -> tuple[T, ...]:
        """The values in the order of their numbers."""
        return tuple(self._numbers)


class Pair(msgspec.Struct, frozen=True):
    """Two ends that stand for others."""

    source: End
    target: End


def representatives(
    classes: Classes, source: Party, target: Party, family: Family, reaches: int
) -> tuple[Pair, ...]:
    """A pair of ends for each distinct answer of a cell, as far as some are found quickly."""
    found: dict[Reach, Pair] = {}
    for count, (one, other) in enumerate(_pairs(source, target, family)):
        if count >= MOST_PAIRS or len(found) >= reaches:
            break
        src, dst = one.addresses[0], other.addresses[0]
        if classes.identity(src) != classes.identity(dst):
            found.setdefault(classes.reach(src, dst), Pair(one, other))
    return tuple(found.values())


def _pairs(source: Party, target: Party, family: Family) -> Iterator[tuple[End, End]]:
    others = [each for end in target.ends for each in _of_family(end, family)]
    for end in source.ends:
        for one in _of_family(end, family):
            for other in others:
                if one.pod or other.pod:
                    yield one, other


def _of_family(end: End, family: Family) -> Iterator[End]:
    address = end.address(family)
    if address is not None:
        yield End(end.title, (address,), end.pod)


def services(snapshot: Snapshot, pair: Pair, reach: Reach) -> tuple[Service, ...]:
    """The services of a pair that are worth an explanation: declared ports, and open ones."""
    address: Address = pair.target.addresses[0]
    pod = snapshot.owner(address)
    declared = [] if pod is None else [Service(each.protocol, each.number) for each in pod.ports]
    opened = [
        Service(protocol, ranges[0].first)
        for protocol, ranges in reach.ports
        if protocol in PORT_PROTOCOLS and ranges and ranges[0].first > 1
    ]
    return tuple(dict.fromkeys([*declared, *opened]))[:MOST_SERVICES] or (_USUAL,)


class Keeper:
    """Makes explanations small: their texts and parts are held once, and named by number."""

    def __init__(self) -> None:
        self.texts: Numbered[str] = Numbered()
        self.parts: Numbered[Part] = Numbered()

    def keep(self, explanation: Explanation) -> Told:
        """An explanation as it is kept."""
        decision, number = explanation.decision, self.texts.number
        egress, ingress = (self._direction(explanation, each) for each in decision.directions)
        return Told(
            source=number(explanation.source.title),
            target=number(explanation.target.title),
            service=number(str(explanation.service)),
            addresses=number(f"{decision.flow.src} → {decision.flow.dst}"),
            allowed=decision.allowed,
            agrees=explanation.agrees,
            directions=(egress, ingress),
            stops=tuple(self._stop(explanation, each) for each in explanation.journey.stops),
        )

    def _direction(self, explanation: Explanation, direction: DirectionDecision) -> int:
        lines = direction_lines(direction, explanation.grant(direction))
        head = f"{direction.direction.value.capitalize()} of {whose(direction)}"
        return self._part(head, direction.allowed, lines)

    def _stop(self, explanation: Explanation, stop: StopTrace) -> int:
        head = f"{hook_story(stop.stop.hook, stop.stop.node)} ({stop.stop.hook.value})"
        allowed = stop.trace.verdict.value == "allowed"
        return self._part(head, allowed, stop_lines(explanation, stop))

    def _part(self, head: str, allowed: bool, lines: Iterable[Line]) -> int:
        told = tuple(map(self._line, lines))
        return self.parts.number(Part(self.texts.number(head), allowed, told))

    def _line(self, line: Line) -> int | Text:
        number = self.texts.number(line.text)
        if not line.depth and line.tone is Tone.PLAIN:
            return number
        return Text(number, line.depth, line.tone.value)


class Teller:
    """Explains connections of one cluster."""

    def __init__(
        self, snapshot: Snapshot, settings: Settings, ruleset_of: Callable[[str], Ruleset]
    ) -> None:
        self._snapshot = snapshot
        self._settings = settings
        self._ruleset_of = ruleset_of
        self._keeper = Keeper()

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, in the order of their numbers."""
        return self._keeper.texts.all

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order of their numbers."""
        return self._keeper.parts.all

    def tell(self, pair: Pair, service: Service) -> Iterator[Told]:
        """The explanation of a connection, in each family that both ends have."""
        for each in explain(
            self._snapshot, pair.source, pair.target, service, self._ruleset_of, self._settings
        ):
            yield self._keeper.keep(each)
