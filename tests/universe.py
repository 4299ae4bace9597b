"""The tiny cluster that property tests are about: every value of it, enumerated.

:mod:`tests.strategies` draws from these pools. Everything is small on purpose: two nodes whose pod
ranges have room for five pods a family, three namespaces, two label keys, four ports, two names.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product

from podwall.model.net import (
    PORT_PROTOCOLS,
    Address,
    Cidr,
    Family,
    PortRange,
    Protocol,
    parse_address,
    parse_cidr,
)
from podwall.model.objects import ContainerPort, Node
from podwall.model.policy import AllPortsOf, NamedPort, NumberedPorts, Port
from podwall.model.selector import Operator, Requirement, Selector, selector

NAMESPACES = ("a", "b", "c")
LABEL_KEYS = ("app", "tier")
LABEL_VALUES = ("x", "y", "")
PORT_NAMES = ("web", "dns")
UNDECLARED_NAME = "nobody"
PORTS = range(79, 83)

NODES = (
    Node(
        "n1",
        tuple(map(parse_address, ("192.168.0.1", "10.0.1.1", "fd00:ff::1", "fd00:1::1"))),
        (parse_cidr("10.0.1.0/29"), parse_cidr("fd00:1::/125")),
    ),
    Node(
        "n2",
        tuple(map(parse_address, ("192.168.0.2", "10.0.2.1", "fd00:ff::2", "fd00:2::1"))),
        (parse_cidr("10.0.2.0/29"), parse_cidr("fd00:2::/125")),
    ),
)
"""Two nodes, dual stack; each owns a gateway address inside its own pod range, as bridges do."""

OUTSIDE = tuple(
    map(parse_address, ("172.16.0.1", "172.16.0.6", "8.8.8.8", "2001:db8::1", "2001:db8::6"))
)
"""Addresses that belong to no pod range and no node."""


def pod_addresses(node: Node, family: Family) -> tuple[Address, ...]:
    """The addresses of a node's range that pods may have: all but the first two."""
    return tuple(
        Address(family, value)
        for cidr in node.pod_cidrs
        if cidr.family is family
        for value in range(cidr.first + 2, cidr.last)
    )


UNIVERSE = (
    tuple(
        address
        for node in NODES
        for address in (
            *node.addresses,
            *pod_addresses(node, Family.V4),
            *pod_addresses(node, Family.V6),
        )
    )
    + OUTSIDE
)
"""Every address that a flow may have."""


OF_FAMILY = {family: tuple(each for each in UNIVERSE if each.family is family) for family in Family}
LABEL_SETS: tuple[Mapping[str, str], ...] = tuple(
    {key: value for key, value in zip(LABEL_KEYS, values, strict=True) if value is not None}
    for values in product((None, *LABEL_VALUES), repeat=len(LABEL_KEYS))
)
"""All labels that a pod or a namespace can have."""

_VALUE_LISTS = (
    *((value,) for value in LABEL_VALUES),
    *combinations(sorted(LABEL_VALUES), 2),
)

REQUIREMENTS = tuple(
    Requirement(key, operator, values)
    for key in LABEL_KEYS
    for operator in Operator
    for values in (_VALUE_LISTS if operator in (Operator.IN, Operator.NOT_IN) else ((),))
)
"""All requirements over one label."""

SELECTORS = (
    Selector(),
    *(selector(None, [each]) for each in REQUIREMENTS),
    *(selector(None, pair) for pair in combinations(REQUIREMENTS, 2) if pair[0].key < pair[1].key),
)
"""The empty selector, those of one requirement, and those of one for each label."""


_PREFIXES = {
    Family.V4: (0, 1, 8, 16, 28, 29, 30, 31, 32),
    Family.V6: (0, 1, 32, 124, 125, 126, 127, 128),
}


def _around(address: Address, prefix: int) -> Cidr:
    bits = address.family.bits
    return Cidr(address.family, address.value >> (bits - prefix) << (bits - prefix), prefix)


CIDRS = tuple(
    sorted(
        {_around(address, prefix) for address in UNIVERSE for prefix in _PREFIXES[address.family]}
    )
)
"""Every block of the few prefix lengths that holds an address of the universe."""

ALL_PORTS = tuple(AllPortsOf(protocol) for protocol in PORT_PROTOCOLS)
NAMED_PORTS = tuple(
    NamedPort(protocol, name)
    for protocol in PORT_PROTOCOLS
    for name in (*PORT_NAMES, UNDECLARED_NAME)
)
NUMBERED_PORTS = tuple(
    NumberedPorts(protocol, PortRange(first, last))
    for protocol in PORT_PROTOCOLS
    for first in PORTS
    for last in PORTS
    if first <= last
)

MANY_PORTS: tuple[Port, ...] = tuple(
    NumberedPorts(Protocol.TCP, PortRange(number, number)) for number in range(51, 83, 2)
)
"""Sixteen ports that do not touch: one more than a multiport match holds (S41)."""

CONTAINER_PORTS = tuple(
    ContainerPort(name, protocol, number)
    for name in (*PORT_NAMES, "")
    for protocol in PORT_PROTOCOLS
    for number in PORTS
)
"""Every declared port of the universe."""
