"""Plans: their order, and that they leave no gap."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import msgspec
import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Family
from podwall.model.objects import Pod
from podwall.model.policy import Policy
from podwall.ruleset import dispatch
from podwall.ruleset.compile import compile_node
from podwall.ruleset.diff import cleanup, diff
from podwall.ruleset.ir import Hook, IPSet, Ruleset, SetRole, SetType
from podwall.ruleset.plan import ChainStep, HookJump, Observed, SetStep, UnreadableRule
from podwall.ruleset.simulate import simulate
from tests.builders import addr, allow, flow, namespace, node, pod, pods, policy, port
from tests.properties import kernel_model

N1 = node("n1", "192.168.0.1")
WEB = pod("a/web", "10.1.0.3", node="n1", role="web")
OPEN = policy("a/open", {"role": "web"}, ingress=[allow(ports=[port(80)])])
TO_WEB = flow("172.16.0.1", "10.1.0.3")


def compiled(*policies: Policy, pods: Sequence[Pod] = (WEB,)) -> Ruleset:
    return compile_node(build_snapshot(pods, [namespace("a")], policies, [N1]), "n1")


def verdicts(before: Ruleset, after: Ruleset, packet: Flow) -> set[Verdict]:
    """All verdicts that ``packet`` meets while the kernel goes from one ruleset to the other."""
    start = kernel_model.holding(before)
    states = [start, *kernel_model.run(start, diff(start, after))]
    assert states[-1] == kernel_model.holding(after)
    return {
        simulate(
            kernel_model.as_rules(state.family(packet.src.family)), Hook.FORWARD, packet
        ).verdict
        for state in states
    }


@pytest.mark.parametrize("leaf", [1, 16])
def test_a_pod_that_gets_a_second_policy_is_closed_at_no_moment(leaf: int) -> None:
    more = [policy(f"a/more-{each}", {"role": "web"}, ingress=[]) for each in range(3)]
    others = [pod(f"a/o{each}", f"10.1.0.{each + 10}", node="n1", n=str(each)) for each in range(6)]
    theirs = [policy(f"a/own-{each}", {"n": str(each)}, ingress=[]) for each in range(6)]
    with mock.patch.object(dispatch, "LEAF_ADDRESSES", leaf):
        for count in range(1, 4):
            before = compiled(OPEN, *more[: count - 1], *theirs, pods=[WEB, *others])
            after = compiled(OPEN, *more[:count], *theirs, pods=[WEB, *others])
            assert verdicts(before, after, TO_WEB) == {Verdict.ALLOWED}
            assert verdicts(after, before, TO_WEB) == {Verdict.ALLOWED}


def test_a_peer_that_moves_from_one_allowing_rule_to_another_is_closed_at_no_moment() -> None:
    either = policy(
        "a/open",
        {"role": "web"},
        ingress=[allow(pods({"x": each}, namespaces="a")) for each in ("1", "2")],
    )
    first, second = (pod("a/peer", "10.2.0.7", node="n2", x=each) for each in ("1", "2"))
    before, after = (compiled(either, pods=[WEB, each]) for each in (first, second))
    assert verdicts(before, after, flow("10.2.0.7", "10.1.0.3")) == {Verdict.ALLOWED}


def test_a_policy_that_is_edited_is_switched_in_one_transaction_and_moves_no_pod() -> None:
    other = policy("a/open", {"role": "web"}, ingress=[allow(ports=[port(80), port(81)])])
    plan = diff(kernel_model.holding(compiled(OPEN)), compiled(other))
    (step,) = plan.steps
    assert isinstance(step, ChainStep)
    assert step.family is Family.V4


def test_a_pod_that_comes_is_one_chain_and_a_peer_that_comes_is_one_ipset_batch() -> None:
    ruled = policy("a/p", {"role": "web"}, ingress=[allow(pods({"x": "y"}, namespaces="a"))])
    new = pod("a/web-2", "10.1.0.4", node="n1", role="web")
    peer = pod("a/peer", "10.2.0.4", node="n2", x="y")
    start = kernel_model.holding(compiled(ruled))
    (step,) = diff(start, compiled(ruled, pods=[WEB, new])).steps
    assert isinstance(step, ChainStep)
    assert [chain.name for chain in step.replace] == ["PW-ingress"]
    (step,) = diff(start, compiled(ruled, pods=[WEB, peer])).steps
    assert isinstance(step, SetStep)
    assert [change.members for change in step.add] == [(addr("10.2.0.4"),)]


def test_sets_are_made_before_the_rules_that_name_them_and_destroyed_after() -> None:
    peers = policy("a/open", {"role": "web"}, ingress=[allow(pods({"x": "y"}, namespaces="a"))])
    there = diff(kernel_model.holding(compiled(OPEN)), compiled(peers))
    back = diff(kernel_model.holding(compiled(peers)), compiled(OPEN))
    assert [type(step) for step in there.steps] == [SetStep, ChainStep]
    assert [type(step) for step in back.steps] == [ChainStep, SetStep]


def test_our_jump_is_put_first_again_when_another_program_took_the_place() -> None:
    ruleset = compiled(OPEN)
    state = kernel_model.holding(ruleset)
    moved = {**state.v4.hooks, Hook.FORWARD: (HookJump(2, "PW-FORWARD", "-j PW-FORWARD"),)}
    state = msgspec.structs.replace(state, v4=msgspec.structs.replace(state.v4, hooks=moved))
    (step,) = diff(state, ruleset).steps
    assert isinstance(step, ChainStep)
    assert step.unhook == ((Hook.FORWARD, "-j PW-FORWARD"),)
    assert step.hook == ((Hook.FORWARD, "PW-FORWARD"),)


def test_a_jump_that_was_narrowed_by_hand_is_replaced() -> None:
    ruleset = compiled(OPEN)
    state = kernel_model.holding(ruleset)
    spec = "-s 10.0.0.0/8 -j PW-FORWARD"
    narrowed = {**state.v4.hooks, Hook.FORWARD: (HookJump(0, "PW-FORWARD", spec, plain=False),)}
    state = msgspec.structs.replace(state, v4=msgspec.structs.replace(state.v4, hooks=narrowed))
    (step,) = diff(state, ruleset).steps
    assert isinstance(step, ChainStep)
    assert step.unhook == ((Hook.FORWARD, spec),)


def test_a_chain_with_a_rule_that_is_not_ours_is_rewritten_and_others_are_left_alone() -> None:
    ruleset = compiled(OPEN)
    state = kernel_model.holding(ruleset)
    chains = dict(state.v4.chains)
    chains["PW-deny"] = (UnreadableRule("-j ACCEPT"), *chains["PW-deny"])
    state = msgspec.structs.replace(state, v4=msgspec.structs.replace(state.v4, chains=chains))
    (step,) = diff(state, ruleset).steps
    assert isinstance(step, ChainStep)
    assert [chain.name for chain in step.replace] == ["PW-deny"]


def test_members_that_someone_added_by_hand_are_taken_out() -> None:
    ruleset = compiled(
        policy("a/p", {"role": "web"}, ingress=[allow(pods({"x": "y"}, namespaces="a"))])
    )
    state = kernel_model.holding(ruleset)
    name = next(each for each in state.v4.sets if each.startswith("PW4-p-"))
    stray = msgspec.structs.replace(state.v4.sets[name], members=frozenset({addr("10.9.9.9")}))
    sets = {**state.v4.sets, name: stray}
    state = msgspec.structs.replace(state, v4=msgspec.structs.replace(state.v4, sets=sets))
    (step,) = diff(state, ruleset).steps
    assert isinstance(step, SetStep)
    assert [change.members for change in step.delete] == [(addr("10.9.9.9"),)]


def test_connections_that_were_cut_stay_in_their_set() -> None:
    ruleset = compiled(OPEN)
    state = kernel_model.holding(ruleset)
    cut = msgspec.structs.replace(state.v4.sets["PW4-cut"], members=frozenset({addr("10.9.9.9")}))
    sets = {**state.v4.sets, "PW4-cut": cut}
    state = msgspec.structs.replace(state, v4=msgspec.structs.replace(state.v4, sets=sets))
    assert not diff(state, ruleset)


def test_a_set_of_our_name_and_another_type_is_destroyed_and_made_anew() -> None:
    ruleset = compiled(OPEN)
    wrong = IPSet("PW4-cut", SetType.HASH_NET, Family.V4, SetRole.CUT)
    state = Observed(v4=msgspec.structs.replace(Observed().v4, sets={"PW4-cut": wrong}))
    first, second, *_ = diff(state, ruleset).steps
    assert first == SetStep(destroy=("PW4-cut",))
    assert isinstance(second, SetStep)
    assert "PW4-cut" in {each.name for each in second.create}


def test_cleanup_takes_rules_away_before_the_sets_that_they_name() -> None:
    plan = cleanup(kernel_model.holding(compiled(OPEN)))
    assert [type(step) for step in plan.steps] == [ChainStep, ChainStep, SetStep]
    assert not cleanup(Observed())
