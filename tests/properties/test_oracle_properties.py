"""Laws that hold for every cluster, whatever the details of matching are.

They bind the oracle without repeating it: adding can only open or only close, order never matters,
directions never mix, and reasons agree with verdicts.
"""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import ConnState, Flow, Verdict
from podwall.model.objects import NAME_LABEL, Namespace
from podwall.model.policy import AnyPeer, AnyPort, Direction, Policy, PolicyRule, RuleId
from podwall.model.settings import Settings
from podwall.policy.decision import Exemption
from podwall.policy.evaluate import evaluate, isolating_policies, judge, subject_address
from tests import strategies

OPEN = Settings(judge_node_egress=False, close_unknown_pods=False)


def rebuilt(
    snapshot: Snapshot, policies: list[Policy], namespaces: list[Namespace] | None = None
) -> Snapshot:
    return build_snapshot(
        pods=snapshot.pods.values(),
        namespaces=snapshot.namespaces.values() if namespaces is None else namespaces,
        policies=policies,
        nodes=snapshot.nodes.values(),
    )


def verdicts(snapshot: Snapshot, flow: Flow) -> tuple[Verdict, Verdict]:
    decision = evaluate(snapshot, flow)
    return decision.egress.verdict, decision.ingress.verdict


@given(st.data(), strategies.snapshots(), strategies.settings())
def test_s2_allowed_means_allowed_in_both_directions(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    decision = evaluate(snapshot, flow, settings)
    assert decision.allowed == (decision.egress.allowed and decision.ingress.allowed)


@given(st.data(), strategies.snapshots(min_policies=1))
def test_s3_the_order_of_policies_never_matters(data: st.DataObject, snapshot: Snapshot) -> None:
    shuffled = data.draw(st.permutations(list(snapshot.policies.values())))
    # A snapshot sorts its policies; the oracle must not rely on that either.
    unsorted = msgspec.structs.replace(snapshot, policies={each.key: each for each in shuffled})
    for flow in strategies.telling_flows(snapshot, 60):
        assert evaluate(unsorted, flow) == evaluate(snapshot, flow)


@given(strategies.snapshots(min_policies=1))
def test_s3_the_order_of_rules_peers_and_ports_never_matters(snapshot: Snapshot) -> None:
    def turned(rules: tuple[PolicyRule, ...]) -> tuple[PolicyRule, ...]:
        return tuple(PolicyRule(r.id, r.peers[::-1], r.ports[::-1]) for r in reversed(rules))

    policies = [
        msgspec.structs.replace(each, ingress=turned(each.ingress), egress=turned(each.egress))
        for each in snapshot.policies.values()
    ]
    turned_snapshot = rebuilt(snapshot, policies)
    for flow in strategies.telling_flows(snapshot, 60):
        assert verdicts(turned_snapshot, flow) == verdicts(snapshot, flow)


@given(st.data(), strategies.snapshots(min_policies=1))
def test_s3_one_more_rule_in_a_policy_never_closes(data: st.DataObject, snapshot: Snapshot) -> None:
    chosen = data.draw(st.sampled_from(list(snapshot.policies.values())))
    direction = data.draw(st.sampled_from(chosen.isolates))
    peers, ports = data.draw(strategies.rule_contents(chosen.key.namespace))
    more = (
        *chosen.rules(direction),
        PolicyRule(RuleId(chosen.key, direction, len(chosen.rules(direction))), peers, ports),
    )
    widened = msgspec.structs.replace(chosen, **{direction.value: more})
    after = rebuilt(snapshot, [*snapshot.policies.values(), widened])
    for flow in strategies.telling_flows(after, 60):
        assert evaluate(after, flow).allowed or not evaluate(snapshot, flow).allowed


@given(st.data(), strategies.snapshots())
def test_s4_a_policy_without_rules_never_opens(data: st.DataObject, snapshot: Snapshot) -> None:
    drawn = data.draw(strategies.policies())
    closing = msgspec.structs.replace(drawn, ingress=(), egress=())
    others = [each for each in snapshot.policies.values() if each.key != closing.key]
    before, after = rebuilt(snapshot, others), rebuilt(snapshot, [*others, closing])
    for flow in strategies.telling_flows(snapshot, 60):
        assert evaluate(before, flow).allowed or not evaluate(after, flow).allowed


@given(st.data(), strategies.snapshots())
def test_s1_a_policy_never_changes_a_direction_it_does_not_isolate(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    added = data.draw(strategies.policies())
    others = [each for each in snapshot.policies.values() if each.key != added.key]
    before, after = rebuilt(snapshot, others), rebuilt(snapshot, [*others, added])
    for flow in strategies.telling_flows(after, 60):
        for direction in set(Direction) - set(added.isolates):
            assert judge(after, flow, direction) == judge(before, flow, direction)


@given(st.data(), strategies.snapshots())
def test_s5_a_rule_for_any_peer_and_port_opens_what_its_policy_isolates(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    drawn = data.draw(strategies.policies())
    open_rules = {
        direction.value: (
            (PolicyRule(RuleId(drawn.key, direction, 0), (AnyPeer(),), (AnyPort(),)),)
            if direction in drawn.isolates
            else ()
        )
        for direction in Direction
    }
    added = msgspec.structs.replace(drawn, **open_rules)
    after = rebuilt(snapshot, [*snapshot.policies.values(), added])
    for direction in Direction:
        decision = judge(after, flow, direction)
        if added.key in decision.isolated_by:
            assert decision.allowed


@given(st.data(), strategies.snapshots(max_policies=0))
def test_s49_without_policies_and_unknown_pods_everything_is_allowed(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    assert evaluate(snapshot, flow, OPEN).allowed


@given(st.data(), strategies.snapshots(), strategies.settings())
def test_s45_packets_of_a_known_connection_always_pass(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    flow = msgspec.structs.replace(
        data.draw(strategies.flows(snapshot)),
        state=data.draw(st.sampled_from((ConnState.ESTABLISHED, ConnState.RELATED))),
    )
    assert evaluate(snapshot, flow, settings).allowed


@given(st.data(), strategies.snapshots(), strategies.settings())
def test_s43_s48_opening_a_switch_never_closes(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    if evaluate(snapshot, flow, settings).allowed:
        assert evaluate(snapshot, flow, OPEN).allowed


@given(st.data(), strategies.snapshots(min_policies=1), strategies.settings())
def test_the_reasons_agree_with_the_verdict(
    data: st.DataObject, snapshot: Snapshot, settings: Settings
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    for decision in evaluate(snapshot, flow, settings).directions:
        owner = snapshot.owners.get(subject_address(flow, decision.direction))
        assert decision.subject == owner
        assert decision.isolated_by == tuple(sorted(decision.isolated_by))
        if decision.exemption is not None:
            assert decision.allowed == (decision.exemption is not Exemption.UNKNOWN_POD)
            assert decision.allowed_by is None
            assert decision.refusals == ()
        elif decision.allowed:
            assert decision.allowed_by is not None
            assert decision.allowed_by.policy in decision.isolated_by
        else:
            assert tuple(each.policy for each in decision.refusals) == decision.isolated_by
            for refusal in decision.refusals:
                written = snapshot.policies[refusal.policy].rules(decision.direction)
                assert [each.rule for each in refusal.rules] == [each.id for each in written]
                assert all(each.peer is None or each.port is None for each in refusal.rules)


@given(st.data(), strategies.snapshots(min_policies=1))
def test_every_decision_reads_as_text(data: st.DataObject, snapshot: Snapshot) -> None:
    decision = evaluate(snapshot, data.draw(strategies.flows(snapshot)))
    text = str(decision)
    assert text.startswith(f"{decision.flow}: {decision.verdict.value}\n")
    for direction in decision.directions:
        for policy in direction.isolated_by if not direction.allowed else ():
            assert str(policy) in text


@given(st.data(), strategies.snapshots(min_policies=1))
def test_a_pod_that_nobody_selects_is_as_free_as_without_policies(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    for direction in Direction:
        pod = snapshot.owner(subject_address(flow, direction))
        if pod is not None and not isolating_policies(snapshot, pod, direction):
            assert judge(snapshot, flow, direction).allowed


@given(st.data(), strategies.snapshots(min_policies=1))
def test_s19_only_selectors_of_namespaces_look_at_namespace_labels(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    flow = data.draw(strategies.flows(snapshot))
    same_names = [
        Namespace(each.name, {NAME_LABEL: each.name}) for each in snapshot.namespaces.values()
    ]
    policies = [
        each
        for each in snapshot.policies.values()
        if all(
            getattr(peer, "namespaces", "") in ("", each.key.namespace)
            for direction in Direction
            for rule in each.rules(direction)
            for peer in rule.peers
        )
    ]
    before = rebuilt(snapshot, policies)
    after = rebuilt(snapshot, policies, same_names)
    assert evaluate(after, flow) == evaluate(before, flow)


@given(strategies.snapshots())
def test_s21_s23_only_pods_with_an_address_of_their_own_own_one(snapshot: Snapshot) -> None:
    for address, key in snapshot.owners.items():
        pod = snapshot.pods[key]
        assert address in pod.addresses
        assert not pod.host_network
        assert not pod.phase.terminated
        assert address in snapshot.owned_addresses(pod)


@given(st.data(), strategies.snapshots())
def test_s22_ownership_does_not_depend_on_the_order_of_pods(
    data: st.DataObject, snapshot: Snapshot
) -> None:
    shuffled = data.draw(st.permutations(list(snapshot.pods.values())))
    again = build_snapshot(
        shuffled,
        snapshot.namespaces.values(),
        snapshot.policies.values(),
        snapshot.nodes.values(),
    )
    assert again == snapshot
    assert list(again.owners.items()) == list(snapshot.owners.items())
