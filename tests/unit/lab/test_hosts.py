"""Which hosts outside a lab gets for the blocks of its policies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.lab.hosts import OutsideHost, outside_hosts
from podwall.model.net import Address, Cidr, Family
from podwall.model.policy import IPBlock
from tests.builders import addr, allow, block, net, node, pod, policy

V4, V6 = (Family.V4,), (Family.V6,)


def snapshot_with(*blocks: IPBlock) -> Snapshot:
    return build_snapshot(
        pods=[pod("default/a", "10.244.1.2", "fd00:1::2", node="n1")],
        policies=[policy("default/p", ingress=[allow(*blocks)])] if blocks else [],
        nodes=[node("n1", "192.168.88.1", "fd00:88::1", pod_cidrs=["10.244.1.0/24"])],
    )


def texts(hosts: tuple[OutsideHost, ...]) -> dict[str, str]:
    return {str(host.address): host.title for host in hosts}


def test_a_block_gets_a_host_inside_one_in_each_except_and_one_just_past_its_end():
    snapshot = snapshot_with(block("172.17.0.0/16", "172.17.1.0/24", "172.17.9.0/24"))
    assert texts(outside_hosts(snapshot, V4)) == {
        "172.17.0.1": "in 172.17.0.0/16 except 172.17.1.0/24, 172.17.9.0/24",
        "172.17.1.1": "in except 172.17.1.0/24",
        "172.17.9.1": "in except 172.17.9.0/24",
        "172.18.0.1": "outside 172.17.0.0/16",
        "203.0.113.1": "anywhere else",
    }


def test_without_blocks_there_is_one_host_anywhere_in_each_family():
    hosts = outside_hosts(snapshot_with(), (Family.V4, Family.V6))
    assert texts(hosts) == {
        "203.0.113.1": "anywhere else",
        "2001:db8:ffff::1": "anywhere else",
    }


def test_a_block_of_everything_has_no_host_outside_of_it():
    hosts = texts(outside_hosts(snapshot_with(block("0.0.0.0/0", "10.0.0.0/8")), V4))
    assert not any(title.startswith("outside") for title in hosts.values())
    assert "10.0.0.1" in hosts


def test_an_ipv6_block_gets_hosts_of_its_family_only():
    snapshot = snapshot_with(block("fd77::/64", "fd77::8000:0/112"))
    assert set(texts(outside_hosts(snapshot, V6))) == {
        "fd77::1",
        "fd77::8000:1",
        "fd77:0:0:1::1",
        "2001:db8:ffff::1",
    }
    assert set(texts(outside_hosts(snapshot, V4))) == {"203.0.113.1"}


def test_the_block_of_a_single_pod_address_has_no_host_inside():
    hosts = texts(outside_hosts(snapshot_with(block("10.244.1.2/32")), V4))
    assert "10.244.1.2" not in hosts
    assert hosts["10.244.2.1"] == "outside 10.244.1.2/32"


def test_a_host_that_serves_several_blocks_is_used_for_all_of_them():
    hosts = texts(outside_hosts(snapshot_with(block("10.0.0.0/8"), block("10.0.0.0/16")), V4))
    assert hosts["10.0.0.1"] == "in 10.0.0.0/8; in 10.0.0.0/16"


def test_many_blocks_do_not_get_a_host_past_the_end_of_each():
    blocks = [block(f"10.{number}.0.0/24") for number in range(100)]
    hosts = texts(outside_hosts(snapshot_with(*blocks), V4))
    assert len(hosts) < 2 * len(blocks)
    assert sum("outside 10.99.0.0/24" in title for title in hosts.values()) == 1


@st.composite
def blocks_of_v4(draw: st.DrawFn) -> IPBlock:
    prefix = draw(st.integers(0, 32))
    size = 1 << (32 - prefix)
    cidr = Cidr(Family.V4, draw(st.integers(0, (1 << 32) - 1)) // size * size, prefix)
    return IPBlock(cidr)


@given(st.lists(blocks_of_v4(), max_size=5))
def test_no_host_has_an_address_that_is_taken_or_that_no_host_can_have(blocks: list[IPBlock]):
    snapshot = snapshot_with(*blocks)
    forbidden = [net(each) for each in ("10.244.1.0/24", "127.0.0.0/8", "224.0.0.0/3", "0.0.0.0/8")]
    hosts = outside_hosts(snapshot, V4, reserved=[addr("203.0.113.1")])
    for host in hosts:
        assert not any(host.address in each for each in forbidden)
        assert host.address not in {addr("192.168.88.1"), addr("203.0.113.1")}
    assert hosts == outside_hosts(snapshot, V4, reserved=[addr("203.0.113.1")])


@given(blocks_of_v4())
def test_the_hosts_of_a_block_lie_where_their_titles_say(each: IPBlock):
    for host in outside_hosts(snapshot_with(each), V4):
        if f"in {each}" in host.title:
            assert host.address in each.cidr
        if f"outside {each.cidr}" in host.title:
            assert isinstance(host.address, Address)
            assert host.address not in each.cidr
