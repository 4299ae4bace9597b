"""The ruleset that follows the cluster event by event is the one that is compiled from scratch.

The machine is an API server that sends everything that a watch can: changes, the same news twice,
deletions that come late, lists in one piece and in pages, addresses that pass from pod to pod, and
a node whose pod ranges change; and it is a kernel that refuses policies now and then. It starts
with a cluster that is there already. Whatever happens, the ruleset must equal the one that the
compiler makes of a snapshot of the final objects, and the plan must lead exactly there, run on the
least kernel there is. On the way no flow passes that both states deny, and every flow whose verdict
changed has an end that is named for judging connections anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from unittest import mock

import msgspec
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from podwall.cluster.dirty import Dirty
from podwall.cluster.events import (
    Applied,
    ClusterObject,
    Deleted,
    Event,
    Kind,
    ObjectKey,
    Remaining,
    Replaced,
)
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.cluster.state import ClusterState, key_of
from podwall.dataplane.apply import count_changes
from podwall.model.flow import Flow, Verdict
from podwall.model.net import parse_cidr
from podwall.model.objects import Namespace, Node, Pod
from podwall.model.policy import Policy, PolicyKey
from podwall.model.settings import Settings
from podwall.policy.resolve import policies_of, resolve
from podwall.ruleset import dispatch
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import diff
from podwall.ruleset.ir import ChainRole, Hook, Ruleset
from podwall.ruleset.live import LiveChange, LiveNode
from podwall.ruleset.plan import Observed
from podwall.ruleset.simulate import simulate
from podwall.ruleset.validate import validate
from tests import strategies
from tests.properties import kernel_model

_T = TypeVar("_T")

NODE = strategies.NODES[0]
RANGES = (
    NODE.pod_cidrs,
    (),
    NODE.pod_cidrs[:1],
    (parse_cidr("10.0.0.0/16"), parse_cidr("fd00::/16")),
)
NAMESPACES = st.sampled_from(strategies.NAMESPACES).flatmap(strategies.namespaces)
SETTINGS = st.builds(
    Settings,
    judge_node_egress=st.booleans(),
    close_unknown_pods=st.sampled_from((True, True, False)),
    cut_connections=st.booleans(),
    log_denied=st.booleans(),
)
ANSWERS = 60
"""Flows that are judged after each step: aimed at the rules of before and of after."""


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """The nodes of the universe; this one with the pod ranges of some moment."""
    node = draw(st.sampled_from(strategies.NODES))
    if node.name != NODE.name:
        return node
    addresses = draw(st.sampled_from((NODE.addresses, NODE.addresses[:1])))
    return Node(NODE.name, addresses, draw(st.sampled_from(RANGES)))


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Pods whose names are taken by one of two incarnations."""
    return msgspec.structs.replace(draw(strategies.pods()), uid=draw(st.sampled_from(("u1", "u2"))))


OBJECTS: Mapping[Kind, st.SearchStrategy[ClusterObject]] = {
    Kind.POD: pods(),
    Kind.NAMESPACE: NAMESPACES,
    Kind.NODE: nodes(),
    Kind.POLICY: strategies.policies(),
}


def verdict(ruleset: Ruleset, hook: Hook, flow: Flow) -> Verdict:
    return simulate(ruleset.family(flow.src.family), hook, flow).verdict


def passes(kernel: Observed, flow: Flow) -> bool:
    rules = kernel_model.as_rules(kernel.family(flow.src.family))
    return simulate(rules, Hook.FORWARD, flow).verdict is Verdict.ALLOWED


class LiveMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[ObjectKey, ClusterObject] = {}
        self.patch = mock.patch.object(dispatch, "LEAF_ADDRESSES", dispatch.LEAF_ADDRESSES)
        self.patch.start()

    def teardown(self) -> None:
        self.patch.stop()

    @initialize(
        leaf=st.sampled_from((1, dispatch.LEAF_ADDRESSES)),
        snapshot=strategies.snapshots(min_policies=1),
        settings=SETTINGS,
        known=st.booleans(),
    )
    def the_agent_starts(
        self, leaf: int, snapshot: Snapshot, settings: Settings, known: bool
    ) -> None:
        """With all that is known, or before anything is; the trees of dispatch deep or flat."""
        dispatch.LEAF_ADDRESSES = leaf
        things: tuple[ClusterObject, ...] = (
            *snapshot.pods.values(),
            *snapshot.namespaces.values(),
            *snapshot.policies.values(),
            *snapshot.nodes.values(),
        )
        state = ClusterState()
        self.settings = settings
        self.refused: frozenset[PolicyKey] = frozenset()
        if known:
            state.apply_all(map(Applied, things))
            self.objects = {key_of(each): each for each in things}
        self.live = LiveNode(state, NODE.name, settings)
        self.before = self.snapshot()
        self.ruleset = self.live.ruleset()
        self.kernel = kernel_model.holding(self.ruleset)
        if not known:
            self.send({key_of(each): each for each in things}, *map(Applied, things))

    def snapshot(self) -> Snapshot:
        things = list(reversed(self.objects.values()))
        return build_snapshot(
            pods=[each for each in things if isinstance(each, Pod)],
            namespaces=[each for each in things if isinstance(each, Namespace)],
            policies=[each for each in things if isinstance(each, Policy)],
            nodes=[each for each in things if isinstance(each, Node)],
        )

    def send(self, objects: Mapping[ObjectKey, ClusterObject], *events: Event) -> None:
        """Send ``events``, after which the cluster is ``objects``."""
        before = self.objects
        self.objects = dict(objects)
        self.refused -= {key for key in self.refused if before.get(key) != self.objects.get(key)}
        change = self.live.apply(events)
        self.follow(change)
        again = self.live.apply(events) if len(events) == 1 else LiveChange()
        assert again == LiveChange()

    def follow(self, change: LiveChange) -> None:
        """Run the plan, and hold what is said of the change against what it did."""
        after = self.snapshot()
        ruleset = self.live.ruleset()
        assert ruleset == compile_node(after, NODE.name, self.settings, self.refused)
        assert self.live.refused == self.refused
        states = [self.kernel, *kernel_model.run(self.kernel, change.plan)]
        self.kernel = states[-1]
        assert self.kernel == kernel_model.holding(ruleset)
        assert not diff(self.kernel, ruleset)
        self.check_counts(change, states[0])
        self.check_flows(change, after, ruleset, states)
        self.before, self.ruleset = after, ruleset

    def check_counts(self, change: LiveChange, kernel: Observed) -> None:
        counted = count_changes(change.plan, kernel)
        assert change.rules_added == counted.rules_added
        assert change.rules_removed == counted.rules_removed
        assert change.members_added == counted.members_added
        assert change.members_removed == counted.members_removed

    def check_flows(
        self, change: LiveChange, after: Snapshot, ruleset: Ruleset, states: list[Observed]
    ) -> None:
        if not change.plan:
            assert change.judge == frozenset()
            return
        flows = [
            *strategies.telling_flows(self.before, ANSWERS),
            *strategies.telling_flows(after, ANSWERS),
        ]
        for flow in flows:
            for hook in (Hook.FORWARD, Hook.INPUT):
                same = verdict(self.ruleset, hook, flow) is verdict(ruleset, hook, flow)
                named = change.judge is None or {flow.src, flow.dst} & change.judge
                assert same or named, flow
            if not passes(states[0], flow) and not passes(states[-1], flow):
                assert not any(passes(state, flow) for state in states), flow

    def put(self, *things: ClusterObject) -> dict[ObjectKey, ClusterObject]:
        return self.objects | {key_of(each): each for each in things}

    def pick(self, data: st.DataObject, kind: type[_T]) -> _T:
        known = [each for each in self.objects.values() if isinstance(each, kind)]
        return data.draw(st.sampled_from(known))

    @rule(data=st.data(), kind=st.sampled_from(Kind), twice=st.booleans())
    def an_object_is_applied(self, data: st.DataObject, kind: Kind, twice: bool) -> None:
        thing = data.draw(OBJECTS[kind])
        self.send(self.put(thing), *[Applied(thing)] * (1 + twice))

    @rule(pod=pods())
    def a_pod_is_applied(self, pod: Pod) -> None:
        self.send(self.put(pod), Applied(pod))

    @rule(policy=strategies.policies())
    def a_policy_is_applied(self, policy: Policy) -> None:
        self.send(self.put(policy), Applied(policy))

    @rule(things=st.lists(st.one_of(*OBJECTS.values()), min_size=2, max_size=5))
    def many_things_happen_at_once(self, things: list[ClusterObject]) -> None:
        self.send(self.put(*things), *map(Applied, things))

    @precondition(lambda self: any(isinstance(each, Pod) for each in self.objects.values()))
    @rule(data=st.data(), labels=strategies.label_sets(), terminating=st.booleans())
    def a_pod_is_edited(
        self, data: st.DataObject, labels: Mapping[str, str], terminating: bool
    ) -> None:
        pod = self.pick(data, Pod)
        edited = msgspec.structs.replace(pod, labels=labels, terminating=terminating)
        self.send(self.put(edited), Applied(edited))

    @precondition(lambda self: any(isinstance(each, Pod) for each in self.objects.values()))
    @rule(data=st.data(), newcomer=pods())
    def a_pod_gets_an_address_that_is_still_claimed(
        self, data: st.DataObject, newcomer: Pod
    ) -> None:
        holder = self.pick(data, Pod)
        rival = msgspec.structs.replace(
            newcomer, addresses=holder.addresses, host_network=holder.host_network
        )
        self.send(self.put(rival), Applied(rival))

    @precondition(lambda self: any(isinstance(each, Policy) for each in self.objects.values()))
    @rule(data=st.data())
    def a_policy_gets_other_rules(self, data: st.DataObject) -> None:
        policy = self.pick(data, Policy)
        other = data.draw(strategies.policies(st.just(policy.key)))
        edited = msgspec.structs.replace(other, subject=policy.subject)
        self.send(self.put(edited), Applied(edited))

    @precondition(lambda self: self.objects)
    @rule(data=st.data(), twice=st.booleans())
    def an_object_is_deleted(self, data: st.DataObject, twice: bool) -> None:
        key = data.draw(st.sampled_from(list(self.objects)))
        thing = self.objects[key]
        uid = thing.uid if isinstance(thing, Pod) else ""
        left = {other: each for other, each in self.objects.items() if other != key}
        self.send(left, *[Deleted(key, uid)] * (1 + twice))

    @rule(pod=pods())
    def a_deletion_comes_late_or_for_nothing(self, pod: Pod) -> None:
        assert self.live.apply([Deleted(pod.key, "an older one")]) == LiveChange()

    @rule(data=st.data(), kind=st.sampled_from(Kind))
    def a_list_is_sent(self, data: st.DataObject, kind: Kind) -> None:
        listed = st.lists(OBJECTS[kind], max_size=4, unique_by=key_of)
        things = tuple(data.draw(listed))
        left = {key: each for key, each in self.objects.items() if kind_of(each) is not kind}
        left.update((key_of(each), each) for each in things)
        self.send(left, Replaced(kind, things))

    @rule(data=st.data(), kind=st.sampled_from(Kind))
    def a_list_ends_that_came_in_pages(self, data: st.DataObject, kind: Kind) -> None:
        left = {
            key: each
            for key, each in self.objects.items()
            if kind_of(each) is not kind or data.draw(st.booleans(), label=str(key))
        }
        self.send(left, Remaining(kind, frozenset(left)))

    @precondition(lambda self: any(isinstance(each, Policy) for each in self.objects.values()))
    @rule(data=st.data())
    def the_kernel_refuses_policies(self, data: st.DataObject) -> None:
        known = sorted(each.key for each in self.objects.values() if isinstance(each, Policy))
        policies = frozenset(data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=2)))
        without = self.live.without(policies)
        assert self.live.ruleset() == self.ruleset
        self.refused |= policies
        change = self.live.refuse(policies)
        assert change.dirty == Dirty()
        assert self.live.ruleset() == without
        self.follow(change)
        assert self.live.refuse(policies) == LiveChange()

    @rule()
    def refused_policies_are_tried_again(self) -> None:
        self.refused = frozenset()
        change = self.live.forgive()
        assert change.dirty == Dirty()
        self.follow(change)
        assert self.live.forgive() == LiveChange()

    @invariant()
    def the_ruleset_is_in_order_and_counted(self) -> None:
        if not hasattr(self, "live"):
            return
        validate(self.ruleset)
        counts = self.live.counts
        chains = [chain for half in self.ruleset.families for chain in half.chains.values()]
        sets = [ipset for half in self.ruleset.families for ipset in half.sets.values()]
        assert counts.profiles == sum(each.role is ChainRole.PROFILE for each in chains)
        assert counts.chains == len(chains)
        assert counts.rules == sum(len(each.rules) for each in chains)
        assert counts.sets == len(sets)
        assert counts.members == sum(len(each.members) for each in sets)
        endpoints = resolve(self.before, NODE.name, self.refused).endpoints
        assert counts.pods == len(endpoints)
        isolated = [
            endpoint
            for endpoint in endpoints
            if any(each.isolates for each in (endpoint.ingress, endpoint.egress) if each)
        ]
        assert counts.isolated_pods == len(isolated)
        for audit, count in ((False, counts.policies), (True, counts.audited_policies)):
            tiers = [tier for each in policies_of(endpoints) for tier in each.tiers]
            keys = {key for tier in tiers if tier.audit is audit for key in tier.isolated_by}
            assert count == len(keys)
        assert counts.audited_policies == len(self.ruleset.audited)


def kind_of(thing: ClusterObject) -> Kind:
    match thing:
        case Pod():
            return Kind.POD
        case Namespace():
            return Kind.NAMESPACE
        case Node():
            return Kind.NODE
        case Policy():
            return Kind.POLICY


TestLiveNode = LiveMachine.TestCase
TestLiveNode.settings = hypothesis_settings(
    TestLiveNode.settings,
    max_examples=hypothesis_settings().max_examples // 4,
    stateful_step_count=20,
)
