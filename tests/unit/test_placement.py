"""Pods from files get nodes and addresses, and what the input says is kept."""

from __future__ import annotations

from itertools import pairwise

import pytest

from podwall.cluster.placement import place
from podwall.errors import InputError
from podwall.model.net import Family, parse_address, parse_cidr
from podwall.model.objects import Node, Phase, Pod, PodKey

BOTH = (Family.V4, Family.V6)


def make_pod(
    name: str,
    *addresses: str,
    node: str = "",
    workload: str = "",
    host_network: bool = False,
    phase: Phase = Phase.RUNNING,
) -> Pod:
    return Pod(
        key=PodKey("dev", name),
        node=node,
        addresses=tuple(map(parse_address, addresses)),
        workload=workload,
        host_network=host_network,
        phase=phase,
    )


def make_node(name: str, *cidrs: str, addresses: tuple[str, ...] = ()) -> Node:
    return Node(name, tuple(map(parse_address, addresses)), tuple(map(parse_cidr, cidrs)))


def rows(pods: tuple[Pod, ...]) -> dict[str, tuple[str, ...]]:
    return {pod.key.name: (pod.node, *map(str, pod.addresses)) for pod in pods}


def test_without_nodes_everything_is_on_one_node_with_the_default_ranges() -> None:
    pods, nodes = place([make_pod("a"), make_pod("b")], families=BOTH)
    assert rows(pods) == {
        "a": ("node-1", "10.244.1.2", "fd00:10:244:1::2"),
        "b": ("node-1", "10.244.1.3", "fd00:10:244:1::3"),
    }
    (node,) = nodes
    assert list(map(str, node.addresses)) == ["192.168.88.1", "fd00:88::1"]
    assert list(map(str, node.pod_cidrs)) == ["10.244.1.0/24", "fd00:10:244:1::/64"]


def test_pods_take_turns_on_the_named_nodes_in_the_order_of_their_keys() -> None:
    pods, nodes = place(map(make_pod, "cab"), node_names=["node-1", "node-2"])
    assert {name: row[0] for name, row in rows(pods).items()} == {
        "a": "node-1",
        "b": "node-2",
        "c": "node-1",
    }
    assert [pod.key.name for pod in pods] == ["c", "a", "b"]
    assert [node.name for node in nodes] == ["node-1", "node-2"]


def test_the_result_does_not_depend_on_the_order_of_the_input() -> None:
    pods = [make_pod(f"p{index}") for index in range(20)]
    nodes = [make_node(name) for name in ("b", "a", "c")]
    forwards, backwards = place(pods, nodes), place(pods[::-1], nodes[::-1])
    assert rows(forwards[0]) == rows(backwards[0])
    assert forwards[1] == backwards[1]


def test_what_the_input_says_is_kept() -> None:
    pod = make_pod("a", "10.0.0.7", node="here")
    node = make_node("here", "10.0.0.0/24", addresses=("192.168.0.1",))
    assert place([pod], [node]) == ((pod,), (node,))


def test_declared_nodes_get_the_pods_and_node_10_comes_after_node_9() -> None:
    pods, nodes = place([make_pod("a")], [make_node("n10"), make_node("n9")])
    assert [node.name for node in nodes] == ["n9", "n10"]
    assert pods[0].node == "n9"


def test_nodes_that_pods_name_exist() -> None:
    pods, nodes = place([make_pod("a", node="x"), make_pod("b")])
    assert [node.name for node in nodes] == ["x"]
    assert rows(pods)["b"][0] == "x"


def test_a_pod_with_an_address_goes_to_the_node_whose_range_holds_it() -> None:
    nodes = [make_node("a", "10.0.1.0/24"), make_node("b", "10.0.2.0/24")]
    pods, _ = place([make_pod("x", "10.0.2.9"), make_pod("y", "10.9.9.9")], nodes)
    assert rows(pods) == {"x": ("b", "10.0.2.9"), "y": ("a", "10.9.9.9")}


def test_used_addresses_and_those_of_network_and_gateway_are_skipped() -> None:
    used = make_pod("a", "10.0.1.2", node="n")
    pods, _ = place([used, make_pod("b")], [make_node("n", "10.0.1.0/24")])
    assert rows(pods)["b"] == ("n", "10.0.1.3")


def test_default_ranges_avoid_declared_ones_and_blocks_with_pods_in_them() -> None:
    nodes = [make_node("a"), make_node("b", "10.244.0.0/23")]
    pods, placed = place([make_pod("x", "10.244.2.5", node="b"), make_pod("y", node="a")], nodes)
    assert [list(map(str, node.pod_cidrs)) for node in placed] == [
        ["10.244.3.0/24"],
        ["10.244.0.0/23"],
    ]
    assert rows(pods)["y"] == ("a", "10.244.3.2")


def test_a_node_that_runs_out_of_addresses_gets_another_range() -> None:
    pods, (node,) = place([make_pod(f"p{index:04}") for index in range(600)])
    addresses = [pod.addresses[0] for pod in pods]
    assert len(set(addresses)) == 600
    assert len(node.pod_cidrs) == 3
    assert all(any(address in cidr for cidr in node.pod_cidrs) for address in addresses)
    assert all(address.value & 255 not in (0, 1, 255) for address in addresses)


def test_a_range_too_small_for_any_pod_is_no_obstacle() -> None:
    pods, _ = place([make_pod("a")], [make_node("n", "10.0.0.0/31")])
    assert rows(pods)["a"] == ("n", "10.244.1.2")


def test_the_tenth_node_has_the_tenth_block_of_both_families() -> None:
    _, nodes = place([], node_names=[f"node-{index}" for index in range(1, 301)], families=BOTH)
    tenth = nodes[9]
    assert list(map(str, tenth.pod_cidrs)) == ["10.244.10.0/24", "fd00:10:244:a::/64"]
    assert list(map(str, tenth.addresses)) == ["192.168.88.10", "fd00:88::a"]
    addresses = {address for node in nodes for address in node.addresses}
    assert len(addresses) == 600
    ranges = sorted(cidr for node in nodes for cidr in node.pod_cidrs)
    assert all(not one.covers(other) for one, other in pairwise(ranges))


def test_too_many_nodes_are_refused_with_the_range_that_is_used_up() -> None:
    with pytest.raises(InputError, match=r"too many .* 10\.244\.0\.0/14 is used up"):
        place([], node_names=[f"node-{index}" for index in range(1100)])


def test_s23_host_network_pods_have_their_nodes_addresses() -> None:
    node = make_node("n", addresses=("fd00::9", "192.168.0.9", "192.168.0.10"))
    pods, _ = place([make_pod("a", host_network=True)], [node], families=BOTH)
    assert rows(pods)["a"] == ("n", "192.168.0.9", "fd00::9")


def test_a_daemon_set_runs_once_on_each_node_and_the_first_pod_keeps_its_name() -> None:
    pods, _ = place(
        [make_pod("agent-abcde", workload="DaemonSet/agent")], node_names=["n1", "n2", "n3"]
    )
    assert [pod.node for pod in pods] == ["n1", "n2", "n3"]
    assert pods[0].key.name == "agent-abcde"
    assert len({pod.key for pod in pods}) == 3
    assert all(pod.key.name.startswith("agent-") for pod in pods)
    assert len({pod.addresses for pod in pods}) == 3


def test_a_daemon_sets_pod_that_is_placed_already_stays_the_only_one() -> None:
    pod = make_pod("agent-abcde", "10.0.0.1", workload="DaemonSet/agent", node="n1")
    pods, _ = place([pod], node_names=["n1", "n2"])
    assert pods == (pod,)


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.UNKNOWN])
def test_a_pod_that_a_cluster_left_without_an_address_stays_without(phase: Phase) -> None:
    pod = make_pod("a", phase=phase)
    assert place([pod])[0] == (pod,)


def test_without_pods_there_is_still_a_node() -> None:
    assert place([]) == ((), (make_node("node-1", "10.244.1.0/24", addresses=("192.168.88.1",)),))
