"""What the kernel holds of ours, and the ordered steps that turn it into what it shall hold.

Both are data without any backend's words: :mod:`podwall.ruleset.diff` makes plans, the data path
renders and runs them. Each step is idempotent in its outcome: after a crash between or inside two
steps, reading the kernel again and diffing again leads to the same end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from podwall.model.net import Family
from podwall.ruleset.ir import Chain, Hook, IPSet, Member, Rule


class UnreadableRule(msgspec.Struct, frozen=True):
    """A rule in one of our chains that podwall never writes; ``text`` is the tool's line."""

    text: str


ObservedRule: TypeAlias = Rule | UnreadableRule


class HookJump(msgspec.Struct, frozen=True):
    """A rule in a built-in chain that leads to a chain of ours.

    ``index`` counts from 0 in the built-in chain; ``spec`` is the rule as the tool prints it,
    without ``-A CHAIN``, so that exactly this rule can be deleted. ``plain`` is false for a rule
    that is not exactly the jump that podwall writes, one with a match of its own for example.
    """

    index: int
    chain: str
    spec: str
    plain: bool = True


class ObservedFamily(msgspec.Struct, frozen=True):
    """What the kernel holds of ours in one family: by name, foreign sets and chains left out."""

    family: Family
    sets: Mapping[str, IPSet] = {}
    chains: Mapping[str, tuple[ObservedRule, ...]] = {}
    hooks: Mapping[Hook, tuple[HookJump, ...]] = {}


class Observed(msgspec.Struct, frozen=True):
    """What the kernel holds of ours."""

    v4: ObservedFamily = ObservedFamily(Family.V4)
    v6: ObservedFamily = ObservedFamily(Family.V6)

    def family(self, family: Family) -> ObservedFamily:
        """The half of one address family."""
        return self.v4 if family is Family.V4 else self.v6


class MemberChange(msgspec.Struct, frozen=True):
    """Members of one set, in a fixed order; the set's type tells how to write them.

    Only the name, type and family of ``set`` count here; its members may be left out.
    """

    set: IPSet
    members: tuple[Member, ...]


class SetStep(msgspec.Struct, frozen=True):
    """One ``ipset restore``: create (with members), add, delete, destroy, in this order.

    The batch is not atomic in the kernel: lines before a refused one stay. Creation tolerates a set
    that exists with the same type, additions a member that is there, deletions one that is gone.
    """

    create: tuple[IPSet, ...] = ()
    add: tuple[MemberChange, ...] = ()
    delete: tuple[MemberChange, ...] = ()
    destroy: tuple[str, ...] = ()


class ChainStep(msgspec.Struct, frozen=True):
    """One ``iptables-restore --noflush`` of one family, atomic for the whole filter table.

    ``replace`` creates or rewrites chains; ``unhook`` deletes jumps from built-in chains by their
    ``spec``, then ``hook`` inserts ours in first place; ``delete`` empties and removes chains that
    nothing refers to any more once the rest is done.
    """

    family: Family
    replace: tuple[Chain, ...] = ()
    unhook: tuple[tuple[Hook, str], ...] = ()
    hook: tuple[tuple[Hook, str], ...] = ()
    delete: tuple[str, ...] = ()


Step: TypeAlias = SetStep | ChainStep


class Plan(msgspec.Struct, frozen=True):
    """Steps in the order in which they must run."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)
