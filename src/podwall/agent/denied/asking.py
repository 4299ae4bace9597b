"""What the reconciler's thread is asked about audited policies, and about denied packets.

As in :mod:`podwall.agent.control.asking`, each function is called between two batches of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from podwall.agent.control.asking import NO_PICTURE, isolated_here
from podwall.agent.control.excerpt import excerpts
from podwall.agent.reconcile.picture import Picture
from podwall.cluster.snapshot import Snapshot
from podwall.dataplane.kernel import KernelDataPlane
from podwall.errors import AgentError
from podwall.model.net import Address
from podwall.model.objects import PodKey
from podwall.model.policy import Policy, PolicyKey
from podwall.ruleset.live import LiveNode


class Audited(msgspec.Struct, frozen=True):
    """What a node knows of the audited policies: texts, its pods, and packets that were counted."""

    policies: Mapping[PolicyKey, Policy]
    pods: Mapping[PolicyKey, Sequence[PodKey]]
    packets: Mapping[PolicyKey, int]


def audited_policies(picture: Picture) -> dict[PolicyKey, Policy] | None:
    """The audited policies of the cluster; ``None`` as long as it is not known in full."""
    if picture.live is None:
        return None
    return {each.key: each for each in picture.live.state.policies() if each.is_audited}


def find_audited(picture: Picture) -> Audited:
    """Everything that is known here of audited policies.

    Raises:
        AgentError: the agent has no full picture of the cluster yet.
        KernelError: the kernel cannot be read.
    """
    policies = audited_policies(picture)
    if policies is None or picture.live is None:
        raise AgentError(NO_PICTURE)
    pods = isolated_here(picture, policies) or {}
    packets: Counter[PolicyKey] = Counter()
    if picture.dataplane is not None and pods:
        for key, count in _packets(picture.live, picture.dataplane):
            packets[key] += count
    return Audited(policies, pods, packets)


def excerpts_of(
    picture: Picture, pairs: Sequence[tuple[Address, Address]]
) -> list[Snapshot] | None:
    """What decides between each pair of addresses; ``None`` while the cluster is not known."""
    if picture.live is None:
        return None
    return excerpts(picture.live.state, pairs, picture.live.refused)


def _packets(live: LiveNode, dataplane: KernelDataPlane) -> Iterator[tuple[PolicyKey, int]]:
    """Packets that met the end of the rules of audited policies, for each of the policies."""
    for family in dataplane.families:
        counters = None
        for profile in live.profiles(family):
            if profile.policy.isolates:
                continue
            if counters is None:
                counters = dataplane.counters(family)
            counted = counters.get(profile.chain.name, ())
            if len(counted) == len(profile.chain.rules):
                for tier in profile.policy.tiers:
                    yield from ((key, counted[-1].packets) for key in tier.isolated_by)
