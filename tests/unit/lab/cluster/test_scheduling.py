"""Which node and which addresses a pod gets."""

from __future__ import annotations

from typing import Any

from podwall.lab.cluster.scheduling import AddressPool, choose_node
from podwall.model.net import Address, Family, parse_address, parse_cidr
from podwall.model.objects import Node

V4, V6 = Family.V4, Family.V6


def node(name: str, cordoned: bool = False, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"unschedulable": cordoned}}


def pod(**selector: str) -> dict[str, Any]:
    return {"spec": {"nodeSelector": selector}}


def texts(addresses: tuple[Address, ...] | None) -> list[str] | None:
    return None if addresses is None else [str(each) for each in addresses]


def test_a_pod_goes_where_the_fewest_are():
    nodes = [node("a"), node("b"), node("c")]
    assert choose_node(pod(), nodes, {"a": 2, "b": 1, "c": 1}) == "b"
    assert choose_node(pod(), nodes, {"a": 2}) == "b"


def test_a_pod_goes_only_where_its_selector_fits_and_nobody_cordoned():
    nodes = [node("a"), node("b", disk="ssd"), node("c", cordoned=True, disk="ssd")]
    assert choose_node(pod(disk="ssd"), nodes, {"b": 9}) == "b"
    assert choose_node(pod(disk="tape"), nodes, {}) == ""


def test_addresses_are_handed_out_in_turn_and_leave_out_the_gateway():
    pool = AddressPool(Node("a", (), (parse_cidr("10.0.0.0/29"),)), [V4])
    used: set[Address] = set()
    taken = []
    for _ in range(2):
        found = pool.take(used)
        assert found is not None
        taken += texts(found) or []
        used.update(found)
    assert taken == ["10.0.0.2", "10.0.0.3"]
    used.discard(parse_address("10.0.0.2"))
    assert texts(pool.take(used)) == ["10.0.0.4"]
    assert texts(pool.take(used | {parse_address(f"10.0.0.{n}") for n in (5, 6)})) == ["10.0.0.2"]


def test_a_full_range_has_none_left_and_is_no_error():
    pool = AddressPool(
        Node("a", (), (parse_cidr("10.0.0.0/30"), parse_cidr("fd00::/64"))), [V4, V6]
    )
    assert texts(pool.take(set())) == ["10.0.0.2", "fd00::2"]
    assert pool.take({parse_address("10.0.0.2")}) is None


def test_a_node_goes_on_in_its_next_range():
    ranges = (parse_cidr("10.0.0.0/30"), parse_cidr("10.0.1.0/30"))
    pool = AddressPool(Node("a", (), ranges), [V4])
    assert texts(pool.take(set())) == ["10.0.0.2"]
    assert texts(pool.take({parse_address("10.0.0.2")})) == ["10.0.1.2"]
    assert texts(pool.take({parse_address("10.0.1.2")})) == ["10.0.0.2"]
