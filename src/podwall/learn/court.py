"""The oracle, asked about thousands of flows of one cluster.

A policy is about pods of its own namespace only. So of a flow between two pods nothing but the
policies of their namespaces can matter, and the oracle, which looks at every policy that it is
given, is given only these.
"""

from __future__ import annotations

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.flow import Flow
from podwall.model.policy import Policy, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.decision import Decision
from podwall.policy.evaluate import evaluate


class Court:
    """Judges flows by the policies of one snapshot; its answers are the oracle's."""

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self.snapshot = snapshot
        self._settings = settings
        self._policies: dict[str, dict[PolicyKey, Policy]] = {}
        for key, policy in snapshot.policies.items():
            self._policies.setdefault(key.namespace, {})[key] = policy
        self._narrow: dict[tuple[str, ...], Snapshot] = {}

    def decide(self, flow: Flow) -> Decision:
        """What the oracle says of ``flow``."""
        owners = (self.snapshot.owner(flow.src), self.snapshot.owner(flow.dst))
        namespaces = sorted({pod.key.namespace for pod in owners if pod is not None})
        return evaluate(self.narrowed(*namespaces), flow, self._settings)

    def narrowed(self, *namespaces: str) -> Snapshot:
        """The snapshot with the policies of these namespaces only."""
        narrow = self._narrow.get(namespaces)
        if narrow is None:
            policies = {
                key: policy
                for namespace in namespaces
                for key, policy in self._policies.get(namespace, {}).items()
            }
            narrow = msgspec.structs.replace(self.snapshot, policies=policies)
            self._narrow[namespaces] = narrow
        return narrow
