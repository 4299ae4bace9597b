"""The ruleset of one node, kept up to date event by event.

An event says which objects changed, which addresses changed hands and who joined or left the peers
that the node's policies ask for. From there the change takes its way: pods of this node get other
endpoints (:mod:`podwall.policy.live`), endpoints other profiles, profiles other sets, and addresses
are led elsewhere. What the kernel has to be told falls out of that; nothing is ever compared as a
whole. What the ruleset is at any moment is what :mod:`podwall.ruleset.compile` makes of a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podwall.cluster.dirty import Dirty
from podwall.cluster.events import Event
from podwall.cluster.state import ClusterState
from podwall.model.net import Address, Cidr, Family
from podwall.model.objects import PodKey
from podwall.model.policy import Direction, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.live import EndpointChange, LiveEndpoints
from podwall.policy.resolve import Endpoint, EndpointPolicy
from podwall.ruleset.compile import ELSEWHERE, audited_policies, guarded_cidrs
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.live.change import LiveChange, LiveCounts
from podwall.ruleset.live.family import LiveFamily
from podwall.ruleset.live.nodes import NodeAddresses
from podwall.ruleset.live.peers import PeerAddresses
from podwall.ruleset.live.profile import LiveProfile
from podwall.ruleset.planning import make_plan

_NOTHING = Dirty()


class LiveNode:
    """What the kernel of one node shall hold, and what each change of the cluster makes of it.

    It takes ``state`` as it is and from then on is the one who applies events to it.
    """

    def __init__(self, state: ClusterState, node: str, settings: Settings = Settings()) -> None:
        self._state = state
        self._node = node
        self._settings = settings
        self._refused: frozenset[PolicyKey] = frozenset()
        self._peers = PeerAddresses(state)
        self._halves = {each: LiveFamily(each, state, self._peers, settings) for each in Family}
        self._endpoints = LiveEndpoints(state, node)
        self._placed: dict[PodKey, dict[tuple[Family, Direction], LiveProfile]] = {}
        self._nodes = NodeAddresses(state)
        self._guarded: tuple[Cidr, ...] = ()
        self._ruleset: Ruleset | None = None
        self._guard()
        self._place(self._endpoints.start())
        self._lead(self._guarded_addresses())
        self._settle()

    @property
    def state(self) -> ClusterState:
        """The cluster as far as it is known."""
        return self._state

    @property
    def endpoints(self) -> Iterator[Endpoint]:
        """The pods of this node that have an address of their own, and what holds for them."""
        return iter(self._endpoints)

    @property
    def refused(self) -> frozenset[PolicyKey]:
        """The policies that the kernel would not take: they isolate and allow nothing (S10)."""
        return self._refused

    @property
    def counts(self) -> LiveCounts:
        """The ruleset in numbers."""
        endpoints = tuple(self._endpoints)
        isolating = {key for each in endpoints for tier in _isolating(each) for key in tier}
        audited = audited_policies(_policies_of(endpoints))
        halves = [half.counts() for half in self._halves.values()]
        return LiveCounts(
            pods=len(endpoints),
            isolated_pods=sum(1 for each in endpoints if any(_isolating(each))),
            audited_policies=len(audited),
            policies=len(isolating),
            profiles=sum(each.profiles for each in halves),
            chains=sum(each.chains for each in halves),
            rules=sum(each.rules for each in halves),
            sets=sum(each.sets for each in halves),
            members=sum(each.members for each in halves),
        )

    def profiles(self, family: Family) -> Iterator[LiveProfile]:
        """The profiles that pods of this node have in a family."""
        return self._halves[family].profiles

    def ruleset(self) -> Ruleset:
        """What the node's kernel shall hold now."""
        if self._ruleset is None:
            self._ruleset = self._make_ruleset()
        return self._ruleset

    def without(self, policies: frozenset[PolicyKey]) -> Ruleset:
        """What it would hold if ``policies`` were refused as well; changes nothing."""
        before = self._refused
        self._turn(before | policies)
        ruleset = self._make_ruleset()
        self._turn(before)
        self._settle()
        return ruleset

    def close(self) -> None:
        """Stop to follow the cluster, so that somebody else can; nothing may be asked then."""
        for half in self._halves.values():
            half.sets.close()

    def apply(self, events: Iterable[Event]) -> LiveChange:
        """Take in events; says what to change in the kernel.

        A policy that was refused and changed is tried again.
        """
        dirty = self._state.apply_all(events)
        if not dirty:
            return LiveChange()
        for half in self._halves.values():
            half.sets.follow(dirty)
        refused = self._refused - dirty.policies
        changes = self._endpoints.update(dirty, refused, frozenset())
        self._refused = refused
        addresses = {*self._place(changes), *dirty.addresses, *self._nodes.update(dirty.nodes)}
        if self._node in dirty.nodes and self._guard():
            addresses.update(self._guarded_addresses())
        self._lead(addresses)
        return self._settle(dirty)

    def refuse(self, policies: frozenset[PolicyKey]) -> LiveChange:
        """Reduce ``policies`` to the isolation of their pods: the kernel would not take them."""
        known = {each for each in policies if self._state.policy(each) is not None}
        self._turn(self._refused | known)
        return self._settle()

    def forgive(self) -> LiveChange:
        """Let every policy that the kernel refused count again as it was written."""
        self._turn(frozenset())
        return self._settle()

    def _turn(self, refused: frozenset[PolicyKey]) -> None:
        """Let other policies be the refused ones."""
        turned = self._refused ^ refused
        self._refused = refused
        self._lead(self._place(self._endpoints.update(_NOTHING, refused, turned)))

    def _place(self, changes: Iterable[EndpointChange]) -> set[Address]:
        """Give endpoints their profiles; gives the addresses that are concerned."""
        addresses: set[Address] = set()
        for change in changes:
            before = self._placed.pop(change.key, {})
            if change.new is not None:
                self._placed[change.key] = dict(self._enter(change.new))
                addresses.update(change.new.addresses)
            for (family, _), profile in before.items():
                self._halves[family].leave(profile)
            if change.old is not None:
                addresses.update(change.old.addresses)
        return addresses

    def _enter(self, endpoint: Endpoint) -> Iterator[tuple[tuple[Family, Direction], LiveProfile]]:
        for family in {each.family for each in endpoint.addresses}:
            for direction in Direction:
                policy = endpoint.policy(direction)
                if policy is not None:
                    yield (family, direction), self._halves[family].enter(policy)

    def _lead(self, addresses: Iterable[Address]) -> None:
        """Lead addresses to where they belong now."""
        for address in addresses:
            endpoint = self._endpoints.at(address)
            known = endpoint is None and self._is_known(address)
            for direction, dispatch in self._halves[address.family].dispatch.items():
                if endpoint is not None:
                    profile = self._placed[endpoint.key].get((address.family, direction))
                    chain = None if profile is None else profile.chain.name
                    dispatch.put(address, chain, f"pod {endpoint.key}")
                elif known:
                    dispatch.put(address, None, ELSEWHERE)
                else:
                    dispatch.remove(address)

    def _is_known(self, address: Address) -> bool:
        """Whether an address of the guarded ranges belongs to some pod or node (S48)."""
        return any(address in cidr for cidr in self._guarded) and (
            self._state.owner(address) is not None or address in self._nodes
        )

    def _guard(self) -> bool:
        """Follow the pod ranges of the node; says whether they changed."""
        node = self._state.node(self._node)
        pod_cidrs = () if node is None else node.pod_cidrs
        guarded: list[Cidr] = []
        for family, half in self._halves.items():
            ranges = guarded_cidrs(family, self._settings, pod_cidrs)
            guarded += ranges
            for dispatch in half.dispatch.values():
                dispatch.guard(ranges)
        changed = tuple(guarded) != self._guarded
        self._guarded = tuple(guarded)
        return changed

    def _guarded_addresses(self) -> set[Address]:
        """Every address that has an entry in a dispatch, or needs one in a guarded range."""
        addresses = {
            address
            for half in self._halves.values()
            for dispatch in half.dispatch.values()
            for address in dispatch.addresses
        }
        for endpoint in self._endpoints:
            addresses.update(endpoint.addresses)
        if self._guarded:
            known = (address for pod in self._state.pods() for address in pod.addresses)
            addresses.update(filter(self._is_known, known))
            addresses.update(filter(self._is_known, self._nodes))
        return addresses

    def _settle(self, dirty: Dirty = _NOTHING) -> LiveChange:
        """Put together what the kernel has to be told, and take it for told."""
        self._peers.forget()
        halves = [half for half in self._halves.values() if not half.is_quiet]
        if not halves:
            return LiveChange(dirty=dirty)
        self._ruleset = None
        for half in halves:
            half.sweep()
        pending = [half.pending() for half in halves]
        plan = make_plan([each.change() for each in pending])
        everything = any(each.is_guarded_anew for each in pending)
        rules = [each.rules() for each in pending]
        members = [each.members() for each in pending]
        change = LiveChange(
            plan=plan,
            dirty=dirty,
            judge=None
            if everything
            else frozenset(address for each in pending for address in each.judged()),
            rules_added=sum(added for added, _ in rules),
            rules_removed=sum(removed for _, removed in rules),
            members_added=sum(added for added, _ in members),
            members_removed=sum(removed for _, removed in members),
        )
        for half in halves:
            half.settle()
        return change

    def _make_ruleset(self) -> Ruleset:
        origins = {
            comment: rule
            for half in self._halves.values()
            for profile in half.profiles
            for comment, rule in profile.origins.items()
        }
        return Ruleset(
            v4=self._halves[Family.V4].rules(),
            v6=self._halves[Family.V6].rules(),
            origins={comment: origins[comment] for comment in sorted(origins)},
            audited=audited_policies(
                profile.policy for half in self._halves.values() for profile in half.profiles
            ),
        )


def _policies_of(endpoints: Iterable[Endpoint]) -> Iterator[EndpointPolicy]:
    for endpoint in endpoints:
        yield from filter(None, (endpoint.ingress, endpoint.egress))


def _isolating(endpoint: Endpoint) -> Iterator[tuple[PolicyKey, ...]]:
    """The policies that isolate an endpoint, by direction."""
    for policy in _policies_of((endpoint,)):
        for tier in policy.tiers:
            if not tier.audit:
                yield tier.isolated_by
