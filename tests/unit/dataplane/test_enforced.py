"""Which connections a node's own rules would let start again: what is cut, and what is not."""

from __future__ import annotations

from podwall.cluster.snapshot import build_snapshot
from podwall.dataplane.command import Completed
from podwall.dataplane.enforced import host_addresses, judged_addresses, node_allows
from podwall.ruleset.compile import compile_node
from podwall.ruleset.ir import Ruleset
from tests.builders import addr, flow, namespace, node, pod, policy

NODE = node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/24"])
OTHER = node("n2", "192.168.0.2", pod_cidrs=["10.2.0.0/24"])
SHUT = pod("a/shut", "10.1.0.2", node="n1", role="shut")
FREE = pod("a/free", "10.1.0.3", node="n1")
BRIDGE = addr("10.1.0.1")


def rules() -> Ruleset:
    closed = policy("a/p", {"role": "shut"}, ingress=[], egress=[])
    snapshot = build_snapshot([SHUT, FREE], [namespace("a")], [closed], [NODE, OTHER])
    return compile_node(snapshot, "n1")


def test_s42_a_connection_from_an_address_of_the_host_that_no_node_object_tells_is_allowed() -> (
    None
):
    allows = node_allows(rules(), frozenset({BRIDGE}))
    assert allows(flow("10.1.0.1", "10.1.0.2"))
    assert not node_allows(rules(), frozenset())(flow("10.1.0.1", "10.1.0.2"))


def test_what_another_node_will_say_of_its_own_end_cuts_nothing_here() -> None:
    allows = node_allows(rules(), frozenset({BRIDGE}))
    assert allows(flow("10.1.0.3", "10.2.0.9"))
    assert allows(flow("10.2.0.1", "10.1.0.3"))


def test_what_the_rules_of_this_node_deny_is_forbidden_in_each_hook() -> None:
    allows = node_allows(rules(), frozenset({BRIDGE}))
    assert not allows(flow("10.1.0.3", "10.1.0.2"))
    assert not allows(flow("10.1.0.2", "8.8.8.8"))
    assert not allows(flow("10.1.0.2", "10.1.0.1"))


def test_pods_and_the_pod_range_concern_a_node_and_the_rest_of_the_world_does_not() -> None:
    concerns = judged_addresses(rules())
    assert concerns(addr("10.1.0.2"))
    assert concerns(addr("10.1.0.200"))
    assert not concerns(addr("10.2.0.9"))
    assert not concerns(addr("fd00::1"))


class FakeIp:
    """Answers what ``ip`` prints."""

    def run(self, argv: object, *, input: object, timeout: float) -> Completed:  # noqa: A002
        text = (
            "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n"
            "2: eth0    inet 10.244.1.1/32 scope global eth0\\       valid_lft forever\n"
            "2: eth0    inet6 fd00::1/128 scope global \\       valid_lft forever\n"
            "3: tun0    inet 10.9.0.1 peer 10.9.0.2/32 scope global tun0\n"
        )
        return Completed(text, "", 0)


def test_all_addresses_of_the_host_are_read_and_no_peers() -> None:
    expected = {addr(each) for each in ("127.0.0.1", "10.244.1.1", "fd00::1", "10.9.0.1")}
    assert host_addresses(FakeIp()) == expected
