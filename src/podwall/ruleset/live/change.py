"""What became of a node's ruleset, as values."""

from __future__ import annotations

import msgspec

from podwall.cluster.dirty import Dirty
from podwall.model.net import Address
from podwall.ruleset.plan import Plan


class LiveChange(msgspec.Struct, frozen=True):
    """What events, or policies that the kernel refused, changed on a node.

    Attributes:
        plan: the steps from the ruleset before to the one after; they open nothing on the way.
        dirty: what changed in the cluster.
        judge: every flow whose verdict here changed has one of these ends; ``None`` is any. So
            those are the connections to judge again, for cutting and for releasing (S46).
        rules_added: rules that the plan adds; a rewritten chain counts those in which it differs.
        rules_removed: rules that the plan removes.
        members_added: members that sets gain, those of new sets among them.
        members_removed: members that sets lose, those of destroyed sets among them.
    """

    plan: Plan = Plan()
    dirty: Dirty = Dirty()
    judge: frozenset[Address] | None = frozenset()
    rules_added: int = 0
    rules_removed: int = 0
    members_added: int = 0
    members_removed: int = 0


class LiveCounts(msgspec.Struct, frozen=True):
    """What a node's ruleset is about, in numbers; both families together.

    ``pods`` are those of this node that have an address of their own, ``isolated_pods`` those among
    them that some policy isolates, ``policies`` those that isolate some of them, and
    ``audited_policies`` those that would if they were enforced and nothing else isolates.
    """

    pods: int = 0
    isolated_pods: int = 0
    policies: int = 0
    audited_policies: int = 0
    profiles: int = 0
    chains: int = 0
    rules: int = 0
    sets: int = 0
    members: int = 0
