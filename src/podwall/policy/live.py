"""What policies mean for the pods of one node, kept up to date change by change.

:class:`LiveEndpoints` gives for each change of the cluster the endpoints that are others now. It
looks again only at pods that changed themselves, whose addresses changed hands, or that a changed
policy selects or selected. What it says at any moment is what :mod:`podwall.policy.resolve` says of
a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import msgspec

from podwall.cluster.dirty import Dirty
from podwall.cluster.state import ClusterState
from podwall.model.net import Address
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import Policy, PolicyKey
from podwall.policy.resolve import Endpoint, EndpointMaker


class EndpointChange(msgspec.Struct, frozen=True):
    """An endpoint before and after; ``None`` where there was none or is none any more."""

    key: PodKey
    old: Endpoint | None
    new: Endpoint | None


class LiveEndpoints:
    """The endpoints of a node; policies in ``refused`` isolate and allow nothing (S10)."""

    def __init__(self, state: ClusterState, node: str) -> None:
        self._state = state
        self._node = node
        self._pods: dict[str, dict[PodKey, Pod]] = {}
        self._policies: dict[str, _Policies] = {}
        self._endpoints: dict[PodKey, Endpoint] = {}
        self._keys_by_address: dict[Address, PodKey] = {}
        for policy in state.policies():
            self._policies.setdefault(policy.key.namespace, _Policies()).put(policy.key, policy)

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints.values())

    def at(self, address: Address) -> Endpoint | None:
        """The endpoint that ``address`` stands for, if it is one of this node."""
        key = self._keys_by_address.get(address)
        return None if key is None else self._endpoints[key]

    def start(self) -> Sequence[EndpointChange]:
        """Take in the pods that the cluster has already; all endpoints are new."""
        local = [each.key for each in self._state.pods() if each.node == self._node]
        return self._renew({key for key in local if self._follow(key)}, frozenset())

    def update(
        self, dirty: Dirty, refused: frozenset[PolicyKey], turned: Set[PolicyKey]
    ) -> Sequence[EndpointChange]:
        """Follow a change of the cluster; ``turned`` are in ``refused`` now or were before."""
        concerned = {key for key in dirty.pods if self._follow(key)}
        for address in dirty.addresses:
            for key in (self._keys_by_address.get(address), self._state.owner(address)):
                if key is not None and self._is_local(key):
                    concerned.add(key)
        for policy in dirty.policies:
            concerned.update(self._selected(policy))
            self._put_policy(policy)
        for policy in dirty.policies | turned:
            concerned.update(self._selected(policy))
        return self._renew(concerned, refused)

    def _is_local(self, key: PodKey) -> bool:
        return key in self._pods.get(key.namespace, {})

    def _follow(self, key: PodKey) -> bool:
        """Note a pod as it is now; says whether it is or was one of this node."""
        pod = self._state.pod(key)
        if pod is not None and pod.node == self._node:
            self._pods.setdefault(key.namespace, {})[key] = pod
            return True
        local = self._pods.get(key.namespace)
        if local is None or local.pop(key, None) is None:
            return False
        if not local:
            del self._pods[key.namespace]
        return True

    def _put_policy(self, key: PolicyKey) -> None:
        policies = self._policies.setdefault(key.namespace, _Policies())
        policies.put(key, self._state.policy(key))
        if not policies:
            del self._policies[key.namespace]

    def _selected(self, key: PolicyKey) -> Iterator[PodKey]:
        """The pods of this node that a policy, as it is noted, selects."""
        pods = self._pods.get(key.namespace)
        policies = self._policies.get(key.namespace)
        policy = None if policies is None else policies.get(key)
        if pods is not None and policy is not None:
            yield from (pod.key for pod in pods.values() if policy.subject.matches(pod.labels))

    def _renew(
        self, concerned: Iterable[PodKey], refused: frozenset[PolicyKey]
    ) -> Sequence[EndpointChange]:
        maker = EndpointMaker(refused)
        changes = [
            EndpointChange(key, self._endpoints.get(key), self._endpoint(key, maker))
            for key in concerned
        ]
        changes = [each for each in changes if each.old != each.new]
        # An address can pass from one pod to another, so all that go are taken out first.
        for change in changes:
            self._remove(change.key)
        for change in changes:
            if change.new is not None:
                self._endpoints[change.key] = change.new
                self._keys_by_address.update(dict.fromkeys(change.new.addresses, change.key))
        return changes

    def _endpoint(self, key: PodKey, maker: EndpointMaker) -> Endpoint | None:
        pod = self._pods.get(key.namespace, _NO_PODS).get(key)
        addresses = self._state.owned(key)
        if pod is None or not addresses:
            return None
        policies = self._policies.get(key.namespace)
        return maker.endpoint(pod, addresses, () if policies is None else policies.in_order())

    def _remove(self, key: PodKey) -> None:
        old = self._endpoints.pop(key, None)
        for address in () if old is None else old.addresses:
            self._keys_by_address.pop(address, None)


_NO_PODS: Mapping[PodKey, Pod] = {}


class _Policies:
    """The policies of one namespace."""

    __slots__ = ("_by_key", "_sorted")

    def __init__(self) -> None:
        self._by_key: dict[PolicyKey, Policy] = {}
        self._sorted: tuple[Policy, ...] | None = None

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: PolicyKey) -> Policy | None:
        return self._by_key.get(key)

    def put(self, key: PolicyKey, policy: Policy | None) -> None:
        self._sorted = None
        if policy is None:
            self._by_key.pop(key, None)
        else:
            self._by_key[key] = policy

    def in_order(self) -> tuple[Policy, ...]:
        if self._sorted is None:
            self._sorted = tuple(self._by_key[key] for key in sorted(self._by_key))
        return self._sorted
