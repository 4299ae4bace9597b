"""A node that follows the cluster: what a change costs, what it says, and what it leaves behind."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from unittest import mock

import msgspec
import pytest

from podwall.cluster.events import Applied, ClusterObject, Deleted, Event
from podwall.cluster.state import ClusterState
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Family
from podwall.model.objects import Pod, PodKey
from podwall.model.policy import Policy, PolicyKey
from podwall.ruleset import names
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Hook, Ruleset
from podwall.ruleset.live import LiveChange, LiveNode
from podwall.ruleset.plan import ChainStep, SetStep
from podwall.ruleset.simulate import simulate
from tests.builders import addr, allow, flow, named, namespace, node, pod, pods, policy, port
from tests.effort import calls_of
from tests.properties import kernel_model

N1 = node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/24"])
N2 = node("n2", "192.168.0.2", pod_cidrs=["10.2.0.0/16"])
WEB = pod("a/web", "10.1.0.3", node="n1", role="web")
OPEN = policy("a/open", {"role": "web"}, ingress=[allow(pods({"t": "one"}, namespaces="a"))])
FAR = pod("a/far", "10.2.0.7", node="n2", t="one")
FROM_FAR = flow("10.2.0.7", "10.1.0.3")


def started(*policies: Policy, others: Iterable[Pod] = ()) -> LiveNode:
    """A node with one pod of its own, and others elsewhere."""
    state = ClusterState()
    things: tuple[ClusterObject, ...] = (namespace("a"), N1, N2, WEB, FAR, *others, *policies)
    state.apply_all(map(Applied, things))
    return LiveNode(state, "n1")


def crowd(count: int, label: str) -> list[Pod]:
    """Pods elsewhere."""
    return [
        pod(f"a/crowd-{index}", f"10.2.{1 + index // 250}.{index % 250}", node="n2", t=label)
        for index in range(count)
    ]


def weak_digest(content: object) -> str:
    """A hash with four values, so that contents collide all the time."""
    return str(zlib.crc32(repr(content).encode()) % 4)


def relabelled(one: Pod, **labels: str) -> Pod:
    return msgspec.structs.replace(one, labels=labels)


def allowed(ruleset: Ruleset, packet: Flow) -> bool:
    family = ruleset.family(packet.src.family)
    return simulate(family, Hook.FORWARD, packet).verdict is Verdict.ALLOWED


def expected(live: LiveNode, refused: frozenset[PolicyKey] = frozenset()) -> Ruleset:
    return compile_node(live.state.snapshot(), "n1", refused=refused)


def test_a_pod_that_moves_between_sets_is_one_batch_of_members_and_is_judged_again() -> None:
    live = started(OPEN)
    change = live.apply([Applied(relabelled(FAR, t="two"))])
    (step,) = change.plan.steps
    assert isinstance(step, SetStep)
    (loss,) = step.delete
    assert loss.members == (addr("10.2.0.7"),)
    assert (change.members_removed, change.members_added) == (1, 0)
    assert change.judge == frozenset({addr("10.2.0.7")})
    assert not allowed(live.ruleset(), FROM_FAR)


def test_a_change_that_concerns_nobody_here_writes_nothing_and_judges_nothing() -> None:
    live = started(OPEN)
    before = live.ruleset()
    change = live.apply([Applied(relabelled(FAR, t="one", build="7"))])
    assert change == LiveChange(dirty=change.dirty)
    assert change.dirty.pods == {PodKey("a", "far")}
    assert live.ruleset() is before


def test_a_policy_that_comes_is_one_new_chain_and_its_pods_are_judged_again() -> None:
    live = started()
    change = live.apply([Applied(OPEN)])
    creation, switch = change.plan.steps
    assert isinstance(creation, SetStep)
    assert [len(each.members) for each in creation.create] == [1]
    assert isinstance(switch, ChainStep)
    assert change.judge == frozenset({addr("10.1.0.3")})
    assert allowed(live.ruleset(), FROM_FAR)


def test_s48_another_pod_range_makes_every_connection_one_to_judge() -> None:
    live = started(OPEN)
    other = node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/25"])
    assert live.apply([Applied(other)]).judge is None
    assert live.ruleset() == expected(live)


def test_s10_a_refused_policy_isolates_until_it_changes() -> None:
    live = started(OPEN)
    assert allowed(live.ruleset(), FROM_FAR)
    would_be = live.without(frozenset({OPEN.key}))
    assert allowed(live.ruleset(), FROM_FAR)
    live.refuse(frozenset({OPEN.key}))
    assert live.ruleset() == would_be == expected(live, frozenset({OPEN.key}))
    assert not allowed(live.ruleset(), FROM_FAR)
    live.apply([Applied(relabelled(WEB, role="web", build="7"))])
    assert live.refused == {OPEN.key}
    edited = msgspec.structs.replace(
        OPEN, ingress=policy("a/open", {}, ingress=[allow(ports=[port(80)])]).ingress
    )
    live.apply([Applied(edited)])
    assert live.refused == frozenset()
    assert allowed(live.ruleset(), flow("10.2.0.7", "10.1.0.3", 80))


def test_s10_a_refused_policy_that_goes_is_forgotten_and_an_unknown_one_is_never_noted() -> None:
    live = started(OPEN)
    assert live.refuse(frozenset({PolicyKey("a", "nobody")})) == LiveChange()
    live.refuse(frozenset({OPEN.key}))
    live.apply([Deleted(OPEN.key)])
    live.apply([Applied(OPEN)])
    assert live.refused == frozenset()
    assert allowed(live.ruleset(), FROM_FAR)


TO_X = policy(
    "a/out",
    {"role": "web"},
    egress=[allow(pods({"t": "one"}, namespaces="a"), ports=[named("x")])],
)
FIRST = pod("a/first", "10.2.0.9", node="n2", ports=["x:81/tcp"], created="1", t="one")
HEIR = pod("a/heir", "10.2.0.9", node="n2", ports=["x:82/tcp"], created="2", t="one")


@pytest.mark.parametrize(
    ("before", "event", "number"),
    [
        pytest.param([FIRST], Applied(HEIR), 82, id="a newer pod takes the address"),
        pytest.param([FIRST, HEIR], Deleted(HEIR.key), 81, id="the address falls to an older pod"),
        pytest.param(
            [FIRST],
            Applied(msgspec.structs.replace(FIRST, ports=HEIR.ports)),
            82,
            id="the pod has another number",
        ),
    ],
)
def test_s37_a_named_port_follows_the_pod_that_an_address_stands_for(
    before: list[Pod], event: Event, number: int
) -> None:
    live = started(TO_X, others=before)
    change = live.apply([event])
    assert not change.dirty.members
    for tried in (81, 82):
        packet = flow("10.1.0.3", "10.2.0.9", tried)
        assert allowed(live.ruleset(), packet) is (tried == number)
    assert change.judge == frozenset({addr("10.2.0.9")})
    assert live.ruleset() == expected(live)


@pytest.mark.parametrize("labels", [{"t": "one", "build": "7"}, {"t": "two"}])
def test_what_a_remote_pod_costs_does_not_depend_on_the_size_of_the_cluster(
    labels: dict[str, str],
) -> None:
    def cost(size: int) -> int:
        live = started(OPEN, others=crowd(size, "one"))
        return calls_of(lambda: live.apply([Applied(relabelled(FAR, **labels))]))

    assert cost(2000) < 1.1 * cost(20)


def test_what_a_local_pod_or_policy_costs_does_not_depend_on_the_cluster_elsewhere() -> None:
    def costs(size: int) -> list[int]:
        elsewhere = [policy(f"b/{index}", {}, ingress=[]) for index in range(size)]
        live = started(OPEN, *elsewhere, others=crowd(size, "two"))
        newcomer = pod("a/new", "10.1.0.9", node="n1", role="web")
        shut = policy("a/shut", {"role": "web"}, egress=[])
        return [
            calls_of(lambda: live.apply([Applied(newcomer)])),
            calls_of(lambda: live.apply([Applied(shut)])),
        ]

    small, large = costs(10), costs(1000)
    assert all(more < 1.1 * less for less, more in zip(small, large, strict=True))


def test_names_are_given_back_however_many_policies_come_and_go() -> None:
    with mock.patch.object(names, "digest", side_effect=weak_digest):
        live = started()
        for number in range(1, 40):
            rules = [allow(pods({"t": f"generation-{number}"}, namespaces="a"))]
            live.apply([Applied(policy("a/p", {"role": "web"}, ingress=rules))])
        live.apply([Deleted(PolicyKey("a", "p"))])
    assert live.ruleset() == expected(live)


def test_contents_whose_hashes_collide_get_names_of_their_own_in_any_order() -> None:
    guests = ("one", "two", "three")
    doors = [
        policy("a/p", {"role": "web"}, ingress=[allow(pods({"t": each}, namespaces="a"))])
        for each in guests
    ]
    others = [
        pod(f"a/{each}", f"10.2.1.{index}", node="n2", t=each) for index, each in enumerate(guests)
    ]
    with mock.patch.object(names, "digest", side_effect=weak_digest):
        live = started(others=others)
        kernel = kernel_model.holding(live.ruleset())
        rooms = [
            pod(f"a/r{index}", f"10.1.0.{index + 10}", node="n1", r=str(index))
            for index in range(3)
        ]
        for index, each in enumerate(guests):
            inner = policy(
                f"a/p{index}", {"r": str(index)}, ingress=[allow(pods({"t": each}, namespaces="a"))]
            )
            for thing in (rooms[index], inner):
                kernel = kernel_model.run_all(kernel, live.apply([Applied(thing)]).plan)
        kernel = kernel_model.run_all(kernel, live.apply([Applied(doors[0])]).plan)
        assert kernel == kernel_model.holding(live.ruleset())
        for source in range(3):
            for target in range(3):
                packet = flow(f"10.2.1.{source}", f"10.1.0.{target + 10}")
                assert allowed(live.ruleset(), packet) is (source == target)


def test_a_node_that_is_closed_watches_nobody() -> None:
    live = started(OPEN)
    assert live.state.peers_of(addr("10.2.0.7"))
    live.close()
    assert not live.state.peers_of(addr("10.2.0.7"))
    assert LiveNode(live.state, "n1").ruleset() == expected(live)


def test_a_family_without_isolated_pods_holds_the_fixed_chains_only() -> None:
    live = started(OPEN)
    assert not any("-i-" in name for name in live.ruleset().family(Family.V6).chains)
    both = msgspec.structs.replace(WEB, addresses=(*WEB.addresses, addr("fd00::3")))
    live.apply([Applied(both)])
    assert any("-i-" in name for name in live.ruleset().family(Family.V6).chains)
    live.apply([Applied(WEB)])
    assert live.ruleset() == expected(live)
