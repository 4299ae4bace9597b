"""The shipped examples load without a word, and hold what their README says."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwall.cluster.placement import place
from podwall.manifest import load
from podwall.model.net import PORT_PROTOCOLS
from podwall.model.policy import Direction, IPBlock, NamedPort, NumberedPorts

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("name", ["test-network-policy", "shop"])
def test_an_example_has_no_mistakes_and_can_be_placed(name: str) -> None:
    found = load([str(EXAMPLES / name)])
    assert found.diagnostics == ()
    assert found.skipped == {}
    pods, nodes = place(found.pods, found.nodes, node_names=["node-1", "node-2"])
    assert {pod.node for pod in pods} == {"node-1", "node-2"}
    assert len(nodes) == 2
    assert all(pod.addresses for pod in pods)


def test_the_documentations_example_has_a_pod_for_each_of_its_peers() -> None:
    found = load([str(EXAMPLES / "test-network-policy")])
    (policy,) = found.policies
    assert policy.isolates == (Direction.INGRESS, Direction.EGRESS)
    namespaces = {each.name: each.labels for each in found.namespaces}
    roles = {(pod.key.namespace, pod.labels.get("role")) for pod in found.pods}
    assert {("default", "db"), ("default", "frontend"), ("staging", "frontend")} <= roles
    partners = [pod for pod in found.pods if pod.key.namespace == "partner"]
    assert partners
    assert namespaces["partner"]["project"] == "myproject"
    subjects = [pod for pod in found.pods if policy.subject.matches(pod.labels)]
    assert [pod.key.name for pod in subjects] == ["db-0", "db-1"]
    assert [port.number for port in subjects[0].ports] == [6379, 9121]


def test_the_shop_has_ten_services_and_something_of_everything() -> None:
    found = load([str(EXAMPLES / "shop")])
    assert len({pod.workload for pod in found.pods}) == 10
    assert {each.name for each in found.namespaces} == {"shop", "data", "platform"}
    rules = [rule for each in found.policies for rule in (*each.ingress, *each.egress)]
    ports = [port for rule in rules for port in rule.ports]
    ranges = [port.ports for port in ports if isinstance(port, NumberedPorts)]
    assert any(each.first < each.last for each in ranges)
    assert any(isinstance(port, NamedPort) for port in ports)
    blocks = [peer for rule in rules for peer in rule.peers if isinstance(peer, IPBlock)]
    assert any(block.excepts for block in blocks)
    declared = {port.protocol for pod in found.pods for port in pod.ports}
    assert declared == set(PORT_PROTOCOLS)
    assert any(pod.host_network for pod in found.pods)
