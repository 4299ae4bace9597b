"""How a lab is wired, as the text that ip(8) gets."""

from __future__ import annotations

import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.errors import InputError
from podwall.lab.topology import Cni, Shape, Topology, plan_topology
from podwall.lab.wiring import (
    Script,
    link_name,
    mac_address,
    merge,
    unwire_pods,
    wire_hosts,
    wire_nodes,
    wire_pods,
)
from podwall.model.net import Family
from tests.builders import addr, node, pod

DUAL = (Family.V4, Family.V6)


def topology(cni: Cni, pods: int = 2, pod_cidrs: tuple[str, ...] = ()) -> Topology:
    cidrs = pod_cidrs or ("10.244.1.0/24", "fd00:1::/64")
    return plan_topology(
        build_snapshot(
            pods=[
                pod(f"default/p{n}", f"10.244.1.{n + 2}", f"fd00:1::{n + 2:x}", node="n1")
                for n in range(pods)
            ],
            nodes=[node("n1", "192.168.88.1", "fd00:88::1", pod_cidrs=cidrs)],
        ),
        Shape(families=DUAL, cni=cni),
    )


def lines_of(scripts: list[Script], netns: str) -> tuple[str, ...]:
    return next((script.lines for script in scripts if script.netns == netns), ())


def test_a_routed_pod_has_a_gateway_that_is_the_nodes_end_of_its_link():
    lab = topology(Cni.ROUTED)
    scripts = merge(wire_pods(lab, lab.pods[:1]))
    link = link_name("p", "default.p0")
    mac = mac_address("default.p0")
    assert lines_of(scripts, "node_n1") == (
        f"link add {link} type veth peer name eth0 netns default.p0 address {mac}",
        f"addr add 169.254.1.1/32 dev {link}",
        f"addr add fe80::1/64 dev {link} nodad",
        f"link set {link} up",
        f"route add 10.244.1.2/32 dev {link} src 192.168.88.1",
        f"route add fd00:1::2/128 dev {link} src fd00:88::1",
    )
    assert lines_of(scripts, "default.p0") == (
        "link set lo up",
        "addr add 10.244.1.2/32 dev eth0",
        "addr add fd00:1::2/128 dev eth0 nodad",
        "link set eth0 up",
        "route add 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink",
        "route add ::/0 via fe80::1 dev eth0 onlink",
    )


def test_a_bridged_pod_shares_a_network_with_its_neighbours():
    lab = topology(Cni.BRIDGE)
    scripts = merge([*wire_nodes(lab), *wire_pods(lab, lab.pods[:1])])
    link = link_name("p", "default.p0")
    on_node = lines_of(scripts, "node_n1")
    assert "addr add 10.244.1.1/24 dev br0" in on_node
    assert "addr add fd00:1::1/64 dev br0 nodad" in on_node
    assert f"link set {link} master br0 up" in on_node
    assert not any(line.startswith("route add 10.244.1.2") for line in on_node)
    assert "addr add 10.244.1.2/24 dev eth0" in lines_of(scripts, "default.p0")
    assert "route add 0.0.0.0/0 via 10.244.1.1 dev eth0 onlink" in lines_of(scripts, "default.p0")


def test_a_bridged_pod_outside_its_nodes_range_is_routed_over_the_bridge():
    lab = topology(Cni.BRIDGE, pod_cidrs=("10.250.0.0/24", "fd00:9::/64"))
    scripts = merge(wire_pods(lab, lab.pods[:1]))
    assert "route add 10.244.1.2/32 dev br0 src 192.168.88.1" in lines_of(scripts, "node_n1")
    assert "addr add 10.244.1.2/32 dev eth0" in lines_of(scripts, "default.p0")


def test_a_bridge_takes_the_first_address_that_no_pod_has():
    lab = topology(Cni.BRIDGE, pod_cidrs=("10.244.1.1/30", "fd00:1::/64"))
    on_node = lines_of(merge(wire_nodes(lab)), "node_n1")
    assert "addr add 10.244.1.1/30 dev br0" in on_node


def test_a_bridge_needs_a_range_of_each_family():
    lab = topology(Cni.BRIDGE, pod_cidrs=("10.244.1.0/24",))
    with pytest.raises(InputError, match=r"Node n1: spec.podCIDRs: a bridge needs one of each"):
        list(wire_nodes(lab))


def test_many_pods_on_a_bridge_are_told_each_others_hardware_address():
    few, many = topology(Cni.BRIDGE, pods=10), topology(Cni.BRIDGE, pods=30)
    assert "neigh" not in "\n".join(lines_of(merge(wire_pods(few, few.pods)), "default.p0"))
    told = [
        line
        for line in lines_of(merge(wire_pods(many, many.pods)), "default.p0")
        if line.startswith("neigh replace")
    ]
    assert len(told) == 29 * len(DUAL)
    assert f"lladdr {mac_address('default.p1')} " in "\n".join(told)


def test_the_router_knows_every_node_and_every_pod():
    lab = topology(Cni.ROUTED)
    uplink = link_name("n", "node_n1")
    outside = lines_of(merge([*wire_nodes(lab), *wire_pods(lab, lab.pods)]), "outside")
    assert f"route add 192.168.88.1/32 dev {uplink}" in outside
    assert f"route add 10.244.1.3/32 via 192.168.88.1 dev {uplink} onlink" in outside
    assert f"route add fd00:1::3/128 via fd00:88::1 dev {uplink} onlink" in outside


def test_a_nodes_gateway_is_no_address_that_the_node_owns():
    lab = topology(Cni.ROUTED)
    on_node = lines_of(merge([*wire_nodes(lab), *wire_pods(lab, lab.pods)]), "node_n1")
    gateways = {
        line.split()[4] for line in on_node if line.startswith("route add") and "via" in line
    }
    owned = {line.split()[2].split("/")[0] for line in on_node if line.startswith("addr add")}
    assert gateways == {"169.254.2.1", "fe80::2"}
    assert not gateways & owned


def test_what_a_pod_had_outside_its_namespace_goes_with_it():
    lab = topology(Cni.ROUTED)
    scripts = merge(unwire_pods(lab, lab.pods[:1]))
    link = link_name("p", "default.p0")
    assert lines_of(scripts, "node_n1") == (f"link set dev {link} group 7", "link del group 7")
    assert lines_of(scripts, "outside") == ("route del 10.244.1.2/32", "route del fd00:1::2/128")


def test_hosts_outside_are_addresses_of_the_loopback_device():
    hosts = [addr("203.0.113.1"), addr("2001:db8::1")]
    assert wire_hosts(hosts).lines == (
        "addr add 203.0.113.1/32 dev lo",
        "addr add 2001:db8::1/128 dev lo nodad",
    )
    assert wire_hosts(hosts[:1], "del").lines == ("addr del 203.0.113.1/32 dev lo",)


def test_device_names_fit_the_kernel_however_long_the_pods_are():
    name = link_name("p", f"{'n' * 63}.{'p' * 253}")
    assert len(name) <= 15
    assert name != link_name("p", f"{'n' * 63}.{'p' * 252}")


def test_hardware_addresses_are_unicast_and_locally_given():
    first = int(mac_address("default.p0").split(":")[0], 16)
    assert first & 1 == 0
    assert first & 2 == 2
