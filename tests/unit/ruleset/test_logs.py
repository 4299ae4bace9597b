"""What is logged: rules that stand directly before what drops, and nothing without being asked."""

from __future__ import annotations

import msgspec
import pytest

from podwall.cluster.events import Applied, ClusterObject
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.cluster.state import ClusterState
from podwall.errors import CompileError
from podwall.model.flow import Flow, Verdict
from podwall.model.net import Family, Protocol
from podwall.model.policy import Mode, Policy
from podwall.model.settings import DenyAction, Settings
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import (
    AddToSet,
    ChainRole,
    Drop,
    End,
    Hook,
    Jump,
    Log,
    LogKind,
    MatchLimit,
    MatchSet,
    Reject,
    Rule,
    Ruleset,
    SetRole,
)
from podwall.ruleset.live import LiveNode
from podwall.ruleset.names import set_role
from podwall.ruleset.simulate import Trace, simulate
from podwall.ruleset.validate import validate
from tests.builders import addr, allow, flow, namespace, node, pod, pods, policy, port

A, B = "10.1.0.2", "10.1.0.3"
FLOW = (End.SRC, End.DST, End.DST)
LOGGING = Settings(log_denied=True, log_group=7)
PODS = [
    pod("dev/a", A, "fd00:1::2", node="n", app="a"),
    pod("dev/b", B, "fd00:1::3", node="n", app="b"),
]
NODE = node("n", "192.168.0.1", pod_cidrs=["10.1.0.0/24", "fd00:1::/64"])
CLOSED = policy("dev/closed", {"app": "b"}, ingress=[])
AUDITED = msgspec.structs.replace(CLOSED, mode=Mode.AUDIT)
QUIET = policy("dev/quiet", {"app": "a"}, egress=[], mode=Mode.AUDIT)


def cluster(*policies: Policy) -> Snapshot:
    return build_snapshot(PODS, [namespace("dev")], policies, [NODE])


def ruleset(*policies: Policy, settings: Settings = Settings()) -> Ruleset:
    made = compile_node(cluster(*policies), "n", settings)
    validate(made)
    return made


def trace(rules: Ruleset, packet: Flow) -> Trace:
    return simulate(rules.family(packet.src.family), Hook.FORWARD, packet)


@pytest.mark.parametrize("deny", DenyAction)
@pytest.mark.parametrize("family", Family)
def test_a_packet_is_logged_directly_before_it_is_dropped(family: Family, deny: DenyAction) -> None:
    settings = msgspec.structs.replace(LOGGING, deny=deny)
    rules = ruleset(CLOSED, settings=settings).family(family)
    denying = rules.chains["PW-deny"].rules
    number = next(index for index, each in enumerate(denying) if isinstance(each.target, Jump))
    known = MatchSet(f"PW{family.value}-logged", FLOW, negated=True)
    limits = MatchLimit(1000, 1000), MatchLimit(200, 400)
    assert denying[number] == Rule(Jump("PW-log-deny"), (limits[0], known, limits[1]))
    assert all(isinstance(each.target, Drop | Reject) for each in denying[number + 1 :])
    assert rules.chains["PW-log-deny"].rules == (
        Rule(AddToSet(f"PW{family.value}-logged", FLOW)),
        Rule(Log(LogKind.DENY, 7)),
    )
    assert rules.sets[f"PW{family.value}-logged"].timeout == 10


def test_nothing_is_logged_without_being_asked() -> None:
    for rules in ruleset(CLOSED).families:
        roles = {each.role for each in rules.chains.values()}
        assert roles.isdisjoint((ChainRole.LOG, ChainRole.AUDIT))
        assert not any(each.role is SetRole.LOGGED for each in rules.sets.values())


def test_only_what_is_denied_is_logged_as_denied() -> None:
    rules = ruleset(CLOSED, settings=LOGGING)
    denied = trace(rules, flow(A, B))
    assert (denied.verdict, denied.logs) == (Verdict.DENIED, (LogKind.DENY,))
    allowed = trace(rules, flow(B, A))
    assert (allowed.verdict, allowed.logs) == (Verdict.ALLOWED, ())
    unknown = trace(rules, flow(A, "10.1.0.9"))
    assert (unknown.verdict, unknown.logs) == (Verdict.DENIED, (LogKind.DENY,))


def test_s51_what_an_audited_policy_would_deny_is_logged_and_passes() -> None:
    rules = ruleset(AUDITED)
    there = trace(rules, flow(A, B))
    assert (there.verdict, there.logs) == (Verdict.ALLOWED, (LogKind.AUDIT,))
    assert trace(rules, flow(B, A)).logs == ()
    assert trace(rules, flow(B, B)).logs == ()
    assert rules.audited == (CLOSED.key,)


def test_s51_what_an_audited_rule_allows_is_not_logged() -> None:
    web = allow(pods({"app": "a"}, namespaces="dev"), ports=[port(80)])
    rules = ruleset(policy("dev/web", {"app": "b"}, ingress=[web], mode=Mode.AUDIT))
    assert trace(rules, flow(A, B, 80)).logs == ()
    assert trace(rules, flow(A, B, 81)).logs == (LogKind.AUDIT,)


def test_s51_a_packet_that_both_ends_audit_is_logged_once() -> None:
    rules = ruleset(AUDITED, QUIET)
    assert trace(rules, flow(A, B)).logs == (LogKind.AUDIT,)
    assert trace(rules, Flow(addr(A), addr(B), Protocol.ICMP)).logs == (LogKind.AUDIT,)
    assert trace(rules, Flow(addr(A), addr(B), 47)).logs == (LogKind.AUDIT,)


def test_s51_a_packet_that_is_audited_on_its_way_out_is_denied_on_its_way_in() -> None:
    rules = ruleset(CLOSED, QUIET, settings=LOGGING)
    denied = trace(rules, flow(A, B))
    assert (denied.verdict, denied.logs) == (Verdict.DENIED, (LogKind.AUDIT, LogKind.DENY))


def test_s51_where_a_policy_isolates_an_audited_one_changes_no_rule() -> None:
    more = policy("dev/more", {"app": "b"}, ingress=[allow()], mode=Mode.AUDIT)
    assert ruleset(CLOSED, more) == ruleset(CLOSED)


def test_s51_an_audited_profile_has_a_name_of_its_own() -> None:
    profiles = [
        {each.name for each in made.v4.chains.values() if each.role is ChainRole.PROFILE}
        for made in (ruleset(CLOSED), ruleset(AUDITED))
    ]
    assert profiles[0].isdisjoint(profiles[1])


def test_s51_an_audited_policy_that_the_kernel_refuses_is_not_audited() -> None:
    refused = frozenset({CLOSED.key})
    made = compile_node(cluster(AUDITED), "n", refused=refused)
    assert made == ruleset()
    assert trace(made, flow(A, B)).verdict is Verdict.ALLOWED


def test_s51_from_audit_to_enforcing_and_back_is_a_change_like_any_other() -> None:
    state = ClusterState()
    things: list[ClusterObject] = [*PODS, namespace("dev"), NODE, AUDITED]
    state.apply_all(map(Applied, things))
    live = LiveNode(state, "n")
    assert live.ruleset() == ruleset(AUDITED)
    assert (live.counts.isolated_pods, live.counts.audited_policies) == (0, 1)
    enforced = live.apply([Applied(CLOSED)])
    assert live.ruleset() == ruleset(CLOSED)
    assert enforced.judge is not None
    assert addr(B) in enforced.judge
    assert (live.counts.isolated_pods, live.counts.audited_policies) == (1, 0)
    gone = {name for step in enforced.plan.steps for name in getattr(step, "delete", ())}
    assert {"PW-audit", "PW-log-audit"} <= gone
    live.apply([Applied(AUDITED)])
    assert live.ruleset() == ruleset(AUDITED)


def test_a_rule_that_logs_to_no_group_or_adds_to_no_set_is_a_fault() -> None:
    made = ruleset(CLOSED, settings=LOGGING)
    chain = made.v4.chains["PW-log-deny"]
    bad = msgspec.structs.replace(
        chain, rules=(Rule(AddToSet("PW4-none", FLOW)), Rule(Log(LogKind.DENY, 65536)))
    )
    chains = {**made.v4.chains, chain.name: bad}
    broken = msgspec.structs.replace(made, v4=msgspec.structs.replace(made.v4, chains=chains))
    with pytest.raises(CompileError) as caught:
        validate(broken)
    assert "adds to set PW4-none, which does not exist" in str(caught.value)
    assert "logs to group 65536" in str(caught.value)


def test_every_set_of_a_family_has_a_role_by_its_name() -> None:
    made = ruleset(AUDITED, settings=LOGGING)
    roles = {name: set_role(name) for name in made.v6.sets}
    assert roles == {
        "PW6-audited": SetRole.LOGGED,
        "PW6-cut": SetRole.CUT,
        "PW6-logged": SetRole.LOGGED,
    }
    assert set_role("PW4-loggedx") is None
