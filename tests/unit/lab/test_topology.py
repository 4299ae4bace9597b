"""What a lab consists of, and which questions it asks."""

from __future__ import annotations

import re

import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.errors import InputError
from podwall.lab.topology import (
    OUTSIDE,
    Kind,
    Listen,
    Selection,
    Shape,
    Topology,
    all_probes,
    node_netns,
    plan_topology,
    pod_netns,
)
from podwall.model.net import Family, Protocol
from podwall.model.objects import Phase, Pod
from podwall.model.policy import Policy
from tests.builders import SCTP, TCP, UDP, addr, all_of, allow, block, node, pod, policy, port

N1 = node("n1", "192.168.88.1", "fd00:88::1")
N2 = node("n2", "192.168.88.2", "fd00:88::2")
WEB = pod("default/web", "10.244.1.2", "fd00:1::2", node="n1", ports=["80/tcp", "53/udp"])
DB = pod("default/db", "10.244.2.2", "fd00:2::2", node="n2", ports=["6379/tcp"])


def cluster(*pods: Pod, policies: tuple[Policy, ...] = ()) -> Snapshot:
    return build_snapshot(pods=pods, policies=policies, nodes=[N1, N2])


def names(topology: Topology) -> list[str]:
    return [endpoint.name for endpoint in topology.endpoints]


def asked(topology: Topology, src: str, dst: str) -> list[tuple[Family, Protocol, int | None]]:
    selection = Selection(frozenset([src]), frozenset([dst]))
    return [(each.family, each.protocol, each.port) for each in all_probes(topology, selection)]


def test_pods_nodes_and_hosts_outside_are_endpoints():
    topology = plan_topology(cluster(WEB, DB), Shape())
    assert names(topology) == ["default/db", "default/web", "node/n1", "node/n2", "203.0.113.1"]
    assert topology.endpoints[-1].netns == OUTSIDE


def test_a_pod_is_asked_on_its_container_ports_and_by_icmp():
    topology = plan_topology(cluster(WEB, DB), Shape())
    assert asked(topology, "default/db", "default/web") == [
        (Family.V4, TCP, 80),
        (Family.V4, UDP, 53),
        (Family.V4, Protocol.ICMP, None),
    ]


def test_each_family_of_the_lab_is_asked():
    topology = plan_topology(cluster(WEB, DB), Shape(families=(Family.V4, Family.V6)))
    assert asked(topology, "default/web", "default/db") == [
        (Family.V4, TCP, 6379),
        (Family.V4, Protocol.ICMP, None),
        (Family.V6, TCP, 6379),
        (Family.V6, Protocol.ICMPV6, None),
    ]


def test_only_questions_with_a_pod_at_one_end_are_asked():
    topology = plan_topology(cluster(WEB), Shape())
    assert not asked(topology, "node/n1", "node/n2")
    assert not asked(topology, "203.0.113.1", "node/n1")
    assert asked(topology, "203.0.113.1", "default/web")
    assert asked(topology, "default/web", "node/n1")
    assert asked(topology, "default/web", "default/web")


def test_s21_terminated_pods_and_pods_without_an_address_are_not_built():
    done = pod("default/done", "10.244.1.9", node="n1", phase=Phase.SUCCEEDED)
    pending = pod("default/pending", node="n1", phase=Phase.PENDING)
    assert names(plan_topology(cluster(done, pending, WEB), Shape()))[:1] == ["default/web"]


def test_s22_an_address_is_built_for_the_pod_that_owns_it_now():
    old = pod("default/old", "10.244.1.2", node="n1", terminating=True)
    topology = plan_topology(cluster(old, WEB), Shape())
    assert [each.key.name for each in topology.pods] == ["web"]


def test_s23_a_host_network_pod_is_asked_at_its_node_and_asks_nobody():
    host = pod("default/agent", "192.168.88.1", node="n1", ports=["9100/tcp"], host_network=True)
    topology = plan_topology(cluster(host, WEB), Shape())
    agent = topology.find("default/agent")
    assert agent is not None
    assert (agent.netns, agent.addresses) == ("node_n1", (addr("192.168.88.1"),))
    assert (Family.V4, TCP, 9100) in asked(topology, "default/web", "default/agent")
    assert (Family.V4, TCP, 9100) in asked(topology, "default/web", "node/n1")
    assert not asked(topology, "default/agent", "default/web")


def test_whoever_declares_no_port_listens_on_those_of_the_world():
    quiet = pod("default/quiet", "10.244.1.3", node="n1")
    egress = policy("default/p", egress=[allow(block("10.0.0.0/24"), ports=[port(5978, 5980)])])
    topology = plan_topology(cluster(WEB, quiet, policies=(egress,)), Shape())
    world = (Listen(TCP, 80), Listen(TCP, 5978), Listen(TCP, 5980), Listen(UDP, 53))
    for name in ("default/quiet", "node/n2", "10.0.0.1"):
        endpoint = topology.find(name)
        assert endpoint is not None
        assert endpoint.ports == world


def test_the_world_has_a_port_of_every_protocol_that_a_rule_names():
    egress = policy("default/p", egress=[allow(ports=[all_of(SCTP)])])
    topology = plan_topology(cluster(WEB, policies=(egress,)), Shape())
    assert any(each.protocol is SCTP for each in topology.endpoints[-1].ports)


def test_wanted_hosts_and_ports_are_added():
    shape = Shape(hosts=(addr("198.51.100.7"),), ports=(Listen(UDP, 99),))
    topology = plan_topology(cluster(WEB), shape)
    assert topology.find("198.51.100.7") is not None
    assert all(Listen(UDP, 99) in endpoint.ports for endpoint in topology.endpoints)


def test_a_wanted_host_cannot_have_the_address_of_a_pod_or_node():
    for taken in ("10.244.1.2", "192.168.88.2"):
        with pytest.raises(InputError, match=f"{taken} cannot be a host outside"):
            plan_topology(cluster(WEB), Shape(hosts=(addr(taken),)))


@pytest.mark.parametrize("name", ["a" * 253, "../../etc", "a b", "a\nlink del lo", "-n", "Ä"])
def test_a_namespace_has_a_plain_name_whatever_its_pod_is_called(name: str):
    strange = pod(f"default/{name}", "10.244.1.7", node="n1")
    for netns in (pod_netns(strange), node_netns(name)):
        assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]{0,200}", netns)
        assert ".." not in netns or "/" not in netns
    assert pod_netns(strange) != pod_netns(WEB)


def test_a_selection_names_sources_targets_and_ports():
    topology = plan_topology(cluster(WEB, DB), Shape())
    selection = Selection(frozenset(["default/db"]), None, frozenset([Listen(TCP, 80)]))
    probes = list(all_probes(topology, selection))
    assert {each.src.name for each in probes} == {"default/db"}
    assert {(each.protocol, each.port) for each in probes} == {(TCP, 80)}


def test_a_bare_name_is_a_pod_of_the_default_namespace_or_a_node():
    topology = plan_topology(cluster(WEB), Shape())
    found = [topology.find(name) for name in ("web", "n1", "203.0.113.1")]
    assert [each.kind for each in found if each] == [Kind.POD, Kind.NODE, Kind.OUTSIDE]
    assert topology.find("nobody") is None


def test_a_pod_on_an_unknown_node_is_an_error_that_names_it():
    lost = pod("default/lost", "10.244.9.2", node="n9")
    with pytest.raises(InputError, match=r"Pod default/lost: spec.nodeName: 'n9'"):
        plan_topology(cluster(lost), Shape())


def test_a_node_without_an_address_of_a_family_is_an_error():
    snapshot = build_snapshot(nodes=[node("n1", "192.168.88.1")])
    with pytest.raises(InputError, match=r"Node n1: no IPv6 address"):
        plan_topology(snapshot, Shape(families=(Family.V6,)))
