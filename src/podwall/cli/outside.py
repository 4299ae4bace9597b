"""Addresses outside the cluster that are worth asking about."""

from __future__ import annotations

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.explain.ends import End
from podwall.lab.hosts import outside_hosts
from podwall.model.net import Family
from podwall.model.policy import PolicyKey


def outside_ends(*snapshots: Snapshot) -> list[End]:
    """An address inside each block of the policies, one inside each hole, and one outside.

    Of several clusters the policies of all of them count, and none of the addresses is one of
    theirs.
    """
    families = [
        family
        for family in Family
        if any(each.family is family for snapshot in snapshots for each in snapshot.owners)
    ]
    return [
        End(f"{host.address} ({host.title})", (host.address,))
        for host in outside_hosts(_together(snapshots), families)
    ]


def _together(snapshots: tuple[Snapshot, ...]) -> Snapshot:
    """All pods, nodes and policies at once, for their addresses and blocks only."""
    together = snapshots[0]
    for number, each in enumerate(snapshots[1:], start=1):
        policies = {
            PolicyKey(f"{key.namespace}/{number}", key.name): policy
            for key, policy in each.policies.items()
            if together.policies.get(key) != policy
        }
        pods = {
            # One pod before and after is two here, if its addresses are others.
            msgspec.structs.replace(key, namespace=f"{key.namespace}/{number}"): pod
            for key, pod in each.pods.items()
        }
        together = msgspec.structs.replace(
            together,
            pods={**together.pods, **pods},
            policies={**together.policies, **policies},
            nodes={**together.nodes, **each.nodes},
        )
    return together
