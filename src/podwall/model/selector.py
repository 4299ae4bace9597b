"""Label selectors as normalised values.

``matchLabels`` and ``matchExpressions`` become one sorted tuple of requirements, so that two
selectors that were written differently but mean the same are equal, share a set in the kernel and a
member list in memory. An empty selector selects everything; an absent one is ``None`` wherever the
specification tells the two apart (S16).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import assert_never

import msgspec


class Operator(enum.Enum):
    """The operators of a label selector requirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One condition on one label; ``values`` is sorted, and empty for existence operators."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` meet it; a missing key meets NotIn and DoesNotExist (S17)."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case _:
                assert_never(self.operator)

    def __str__(self) -> str:
        match self.operator:
            case Operator.IN if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case Operator.IN:
                return f"{self.key} in ({', '.join(self.values)})"
            case Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
            case Operator.NOT_IN:
                return f"{self.key} notin ({', '.join(self.values)})"
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"
            case _:
                assert_never(self.operator)

    @property
    def sort_key(self) -> tuple[str, str, tuple[str, ...]]:
        """Orders requirements inside a selector."""
        return self.key, self.operator.value, self.values


class Selector(msgspec.Struct, frozen=True, gc=False):
    """All of ``requirements`` together; none means everything. Build it with :func:`selector`."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` meet every requirement."""
        # A plain loop: this is asked of every pod of a namespace, and a generator doubles its cost.
        for requirement in self.requirements:  # noqa: SIM110
            if not requirement.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        """The form that ``kubectl get -l`` takes; ``(everything)`` for the empty selector."""
        return ",".join(map(str, self.requirements)) or "(everything)"

    @property
    def sort_key(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        """Orders selectors for deterministic output."""
        return tuple(requirement.sort_key for requirement in self.requirements)


EVERYTHING = Selector()
"""The empty selector."""


def selector(
    match_labels: Mapping[str, str] | None = None, expressions: Iterable[Requirement] = ()
) -> Selector:
    """Build the normal form: requirements sorted, without duplicates, values sorted."""
    requirements = {
        Requirement(key, Operator.IN, (value,)) for key, value in (match_labels or {}).items()
    }
    requirements.update(
        Requirement(each.key, each.operator, tuple(sorted(set(each.values))))
        for each in expressions
    )
    return Selector(tuple(sorted(requirements, key=lambda each: each.sort_key)))
