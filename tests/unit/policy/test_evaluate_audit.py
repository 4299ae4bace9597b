"""S51: what the oracle says of policies that are only audited."""

from __future__ import annotations

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import ConnState, Verdict
from podwall.model.policy import Mode, Policy, PolicyKey
from podwall.policy.decision import Exemption
from podwall.policy.evaluate import evaluate
from tests.builders import allow, flow, namespace, node, pod, pods, policy, port

WEB, DB, NODE = "10.0.1.2", "10.0.1.3", "192.168.0.1"
AUDIT = Mode.AUDIT
FROM_WEB = allow(pods({"app": "web"}, namespaces="dev"), ports=[port(5432)])


def cluster(*policies: Policy) -> Snapshot:
    return build_snapshot(
        pods=[
            pod("dev/web", WEB, node="n", app="web"),
            pod("dev/db", DB, node="n", app="db"),
        ],
        namespaces=[namespace("dev")],
        policies=policies,
        nodes=[node("n", NODE, pod_cidrs=["10.0.1.0/24"])],
    )


def test_s51_an_audited_policy_isolates_nothing_and_says_what_it_would_deny() -> None:
    audited = policy("dev/deny", {"app": "db"}, ingress=[], mode=AUDIT)
    decision = evaluate(cluster(audited), flow(WEB, DB))
    ingress = decision.ingress
    assert decision.verdict is Verdict.ALLOWED
    assert decision.would_deny
    assert ingress.exemption is Exemption.NOT_ISOLATED
    assert ingress.isolated_by == ()
    assert ingress.audited_by == (audited.key,)
    assert ingress.audit is not None
    assert ingress.audit.verdict is Verdict.DENIED
    assert ingress.audit.isolated_by == (audited.key,)
    assert not decision.egress.would_deny
    assert "dev/deny isolates and has no ingress rules" in str(decision)


def test_s51_an_audited_policy_allows_nothing_and_says_what_it_would_allow() -> None:
    snapshot = cluster(
        policy("dev/deny", {"app": "db"}, ingress=[]),
        policy("dev/open", {"app": "db"}, ingress=[FROM_WEB], mode=AUDIT),
    )
    ingress = evaluate(snapshot, flow(WEB, DB, 5432)).ingress
    assert not ingress.allowed
    assert ingress.isolated_by == (PolicyKey("dev", "deny"),)
    assert ingress.would_allow
    assert ingress.audit is not None
    assert str(ingress.audit.allowed_by) == "dev/open ingress[0]"
    assert not evaluate(snapshot, flow(WEB, DB, 80)).ingress.would_allow


def test_s51_a_pod_that_is_isolated_already_loses_nothing_by_one_policy_more() -> None:
    snapshot = cluster(
        policy("dev/open", {"app": "db"}, ingress=[FROM_WEB]),
        policy("dev/deny", {"app": "db"}, ingress=[], mode=AUDIT),
    )
    decision = evaluate(snapshot, flow(WEB, DB, 5432))
    assert decision.allowed
    assert not decision.would_deny
    assert decision.ingress.audited_by == (PolicyKey("dev", "deny"),)


def test_s51_audited_policies_are_judged_together_and_not_each_alone() -> None:
    snapshot = cluster(
        policy("dev/deny", {"app": "db"}, ingress=[], mode=AUDIT),
        policy("dev/open", {"app": "db"}, ingress=[FROM_WEB], mode=AUDIT),
    )
    assert not evaluate(snapshot, flow(WEB, DB, 5432)).would_deny
    assert evaluate(snapshot, flow(WEB, DB, 80)).would_deny


def test_s51_what_goes_before_policies_goes_before_audited_ones() -> None:
    snapshot = cluster(policy("dev/deny", ingress=[], egress=[], mode=AUDIT))
    own_node = evaluate(snapshot, flow(NODE, DB)).ingress
    assert (own_node.exemption, own_node.audit) == (Exemption.OWN_NODE, None)
    assert own_node.audited_by == (PolicyKey("dev", "deny"),)
    assert not own_node.would_deny
    reply = evaluate(snapshot, flow(WEB, DB, state=ConnState.ESTABLISHED))
    assert not reply.would_deny
    assert not evaluate(snapshot, flow(DB, DB)).would_deny


def test_s51_a_denied_connection_would_not_be_denied_once_more() -> None:
    snapshot = cluster(
        policy("dev/closed", {"app": "db"}, ingress=[]),
        policy("dev/quiet", {"app": "web"}, egress=[], mode=AUDIT),
    )
    decision = evaluate(snapshot, flow(WEB, DB))
    assert not decision.allowed
    assert decision.egress.would_deny
    assert not decision.would_deny
