"""What a change would do, as values: which connections open, which close, and by whose word."""

from __future__ import annotations

import enum

import msgspec

from podwall.explain.reach import Reach, in_words
from podwall.model.flow import Flow
from podwall.model.net import Family
from podwall.model.objects import PodKey
from podwall.model.policy import Direction, PolicyKey, RuleId


class Turn(enum.Enum):
    """What a change does to a connection."""

    OPENS = "opens"
    CLOSES = "closes"


class Cause(msgspec.Struct, frozen=True):
    """Why one direction says something else than before.

    Attributes:
        direction: egress of the source, or ingress of the target.
        rule: the rule that newly allows, or that no longer does.
        policies: the policies that newly isolate, or that no longer do; sorted.
        text: the reason in words.
    """

    direction: Direction
    text: str
    rule: RuleId | None = None
    policies: tuple[PolicyKey, ...] = ()

    def __str__(self) -> str:
        return f"{self.direction.value}: {self.text}"

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "direction": self.direction.value,
            "rule": None if self.rule is None else str(self.rule),
            "policies": list(map(str, self.policies)),
            "text": self.text,
        }


class Shift(msgspec.Struct, frozen=True):
    """What opens or closes from one party to another.

    Attributes:
        turn: whether it opens or closes.
        source: title of the party that connects.
        target: title of the party that it connects to.
        families: the families in which it is so.
        what: the ports, and whether ICMP.
        pairs: how many pairs of their pods, nodes or addresses it is about.
        of: how many pairs there are.
        example: one of the connections, from ``example_source`` to ``example_target``.
        causes: why, without repetition.
    """

    turn: Turn
    source: str
    target: str
    families: tuple[Family, ...]
    what: Reach
    pairs: int
    of: int
    example: Flow
    example_source: str
    example_target: str
    causes: tuple[Cause, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "turn": self.turn.value,
            "from": self.source,
            "to": self.target,
            "families": [f"ipv{each.value}" for each in self.families],
            "what": self.what.to_dict(),
            "text": in_words(self.what),
            "pairs": self.pairs,
            "of": self.of,
            "example": {
                "from": self.example_source,
                "to": self.example_target,
                "flow": str(self.example),
            },
            "causes": [each.to_dict() for each in self.causes],
        }


class Outcome(msgspec.Struct, frozen=True):
    """What a change would do.

    ``opens`` and ``closes`` are about pods that are there before and after. What pods that come
    with the change could reach, and who could reach them, is in ``arrivals``, as things that open,
    and what goes with pods that go in ``departures``; but not where other pods of the same workload
    have it before and after, too.

    Attributes:
        opens: by source and target.
        closes: by source and target.
        arrivals: what opens with the pods of ``comes``.
        departures: what closes with the pods of ``goes``.
        comes: pods that are there only after the change.
        goes: pods that are there only before it.
        unchanged: how many pairs of parties can do as before.
        pairs: how many pairs of parties there are of which one at least has pods.
    """

    opens: tuple[Shift, ...] = ()
    closes: tuple[Shift, ...] = ()
    arrivals: tuple[Shift, ...] = ()
    departures: tuple[Shift, ...] = ()
    comes: tuple[PodKey, ...] = ()
    goes: tuple[PodKey, ...] = ()
    unchanged: int = 0
    pairs: int = 0

    @property
    def nothing(self) -> bool:
        """Whether nothing opens or closes, for whomever."""
        return not (self.opens or self.closes or self.arrivals or self.departures)

    def to_dict(self) -> dict[str, object]:
        """Plain values, as ``-o json`` prints them."""
        return {
            "opens": [each.to_dict() for each in self.opens],
            "closes": [each.to_dict() for each in self.closes],
            "comes": list(map(str, self.comes)),
            "arrivals": [each.to_dict() for each in self.arrivals],
            "goes": list(map(str, self.goes)),
            "departures": [each.to_dict() for each in self.departures],
            "unchanged_pairs": self.unchanged,
            "pairs": self.pairs,
        }
