"""Hypothesis strategies over a deliberately tiny cluster.

Few namespaces, labels, addresses and ports, so that selectors hit, blocks overlap, names resolve to
different numbers and addresses change hands all the time; a wide universe would mostly compare
"nothing matches" with "nothing matches". Entry points for property tests are :func:`snapshots`,
:func:`flows` (of one snapshot, biased to addresses that mean something in it), :func:`every_flow`
(the same by enumeration) and :func:`settings`; the others serve tests of single modules.

Values that are chosen again and again come from enumerated pools: a draw costs hypothesis more
than the whole oracle does, and a pool needs one. The proportions are tuned (``_OFTEN``, repeated
entries) so that a good part of the judged directions gets as far as the rules of a policy, and a
good part of those is allowed.

What is never generated, since no API server gives it: two addresses of one family for one pod,
overlapping pod ranges of nodes, a pod without hostNetwork on a node's address, excepts that do not
lie inside their block. What is generated although it is rare: addresses that two pods claim, pods
without node, on an unknown node or with an address of another node's range, namespaces whose labels
are not known, rules that allow nobody because nothing in them could be understood (S10).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import TypeAlias

from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import ConnState, Flow
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
from podwall.model.objects import NAME_LABEL, ContainerPort, Namespace, Node, Phase, Pod, PodKey
from podwall.model.policy import (
    AllPortsOf,
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    NamedPort,
    NumberedPorts,
    Peer,
    PodPeer,
    Policy,
    PolicyKey,
    PolicyRule,
    Port,
    RuleId,
)
from podwall.model.selector import Operator, Requirement, Selector, selector
from podwall.model.settings import Settings

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


_RARELY = st.sampled_from((False,) * 9 + (True,))


def rarely() -> st.SearchStrategy[bool]:
    """True in one of ten draws; shrinks to false."""
    return _RARELY


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


def label_sets() -> st.SearchStrategy[Mapping[str, str]]:
    """Labels of a pod or namespace."""
    return st.sampled_from(LABEL_SETS)


_EMPTY_SELECTOR = st.just(Selector())
_SINGLES = st.sampled_from(SELECTORS[: 1 + len(REQUIREMENTS)])
_SELECTORS = st.one_of(_EMPTY_SELECTOR, _SINGLES, _SINGLES, st.sampled_from(SELECTORS))
_POD_SELECTORS = st.one_of(_EMPTY_SELECTOR, _SELECTORS)
_BY_NAME = st.sampled_from([selector({NAME_LABEL: name}) for name in NAMESPACES])
_NAMESPACE_SELECTORS = st.one_of(_EMPTY_SELECTOR, _BY_NAME, _SELECTORS)


def selectors() -> st.SearchStrategy[Selector]:
    """Selectors in normal form, the empty one included."""
    return _SELECTORS


def namespace_selectors() -> st.SearchStrategy[Selector]:
    """Selectors of namespaces: by ordinary labels, or by the name label (S18)."""
    return _NAMESPACE_SELECTORS


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

_EXCEPTS = {
    cidr: st.lists(
        st.sampled_from([each for each in CIDRS if cidr.covers(each) and each != cidr]),
        min_size=1,
        max_size=2,
    )
    for cidr in CIDRS
    if cidr.prefix < cidr.family.bits
}
_CIDRS = st.sampled_from(CIDRS)


@st.composite
def blocks(draw: st.DrawFn) -> IPBlock:
    """Blocks around addresses of the universe, /0 included, half of them with excepts inside."""
    cidr = draw(_CIDRS)
    if cidr not in _EXCEPTS or draw(st.booleans()):
        return IPBlock(cidr)
    return IPBlock(cidr, tuple(draw(_EXCEPTS[cidr])))


_BLOCKS = blocks()
_ANY_PEER = st.just(AnyPeer())
_PEERS = {
    name: st.one_of(
        st.builds(PodPeer, st.just(name), _POD_SELECTORS),
        st.builds(PodPeer, _NAMESPACE_SELECTORS, _POD_SELECTORS),
        _BLOCKS,
        _ANY_PEER,
    )
    for name in NAMESPACES
}


def peers(namespace: str) -> st.SearchStrategy[Peer]:
    """Every kind of peer for a policy of ``namespace``."""
    return _PEERS[namespace]


PORT_FORMS: tuple[Port, ...] = (
    AnyPort(),
    *(AllPortsOf(protocol) for protocol in PORT_PROTOCOLS),
    *(
        NamedPort(protocol, name)
        for protocol in PORT_PROTOCOLS
        for name in (*PORT_NAMES, UNDECLARED_NAME)
    ),
    *(
        NumberedPorts(protocol, PortRange(first, last))
        for protocol in PORT_PROTOCOLS
        for first in PORTS
        for last in PORTS
        if first <= last
    ),
)
"""Every port of a rule over the ports, names and protocols of the universe."""

MANY_PORTS: tuple[Port, ...] = tuple(
    NumberedPorts(Protocol.TCP, PortRange(number, number)) for number in range(51, 83, 2)
)
"""Sixteen ports that do not touch: one more than a multiport match holds (S41)."""

_PORT_LISTS = st.one_of(
    st.just((AnyPort(),)),
    st.lists(st.sampled_from(PORT_FORMS), min_size=1, max_size=3).map(tuple),
    st.just(MANY_PORTS),
)


def ports() -> st.SearchStrategy[Port]:
    """Every form of port."""
    return st.sampled_from(PORT_FORMS)


_CONTENTS = {
    name: st.tuples(st.lists(_PEERS[name], min_size=1, max_size=3).map(tuple), _PORT_LISTS)
    for name in NAMESPACES
}
_LOST = st.sampled_from(("nothing",) * 18 + ("peers", "ports"))


@st.composite
def rule_contents(draw: st.DrawFn, namespace: str) -> tuple[tuple[Peer, ...], tuple[Port, ...]]:
    """Peers and ports of one rule; rarely none of one, as the decoder leaves after S10."""
    of_peers, of_ports = draw(_CONTENTS[namespace])
    lost = draw(_LOST)
    return () if lost == "peers" else of_peers, () if lost == "ports" else of_ports


_RuleContents: TypeAlias = tuple[tuple[Peer, ...], tuple[Port, ...]]
_NO_RULES: st.SearchStrategy[list[_RuleContents]] = st.just([])


def _rule_lists(namespace: str) -> st.SearchStrategy[list[_RuleContents]]:
    some = st.lists(rule_contents(namespace), min_size=1, max_size=2)
    return st.one_of(some, some, some, _NO_RULES)


_RULE_LISTS = {name: _rule_lists(name) for name in NAMESPACES}
_OFTEN = ("a", "a", "a", "a", "b", "b", "c")
_POLICY_KEYS = st.builds(PolicyKey, st.sampled_from(_OFTEN), st.sampled_from(("p0", "p1", "p2")))
_ISOLATES = st.sampled_from(
    ((Direction.INGRESS,), (Direction.INGRESS, Direction.EGRESS), (Direction.EGRESS,))
)
_SUBJECTS = st.one_of(_EMPTY_SELECTOR, _SELECTORS)


def policy_keys() -> st.SearchStrategy[PolicyKey]:
    """Keys of a handful of policies."""
    return _POLICY_KEYS


@st.composite
def policies(draw: st.DrawFn, keys: st.SearchStrategy[PolicyKey] = _POLICY_KEYS) -> Policy:
    """Policies as the decoder gives them: rules only in the directions that they isolate."""
    key = draw(keys)
    isolates = draw(_ISOLATES)

    def rules(direction: Direction) -> tuple[PolicyRule, ...]:
        if direction not in isolates:
            return ()
        return tuple(
            PolicyRule(RuleId(key, direction, index), of_peers, of_ports)
            for index, (of_peers, of_ports) in enumerate(draw(_RULE_LISTS[key.namespace]))
        )

    return Policy(key, draw(_SUBJECTS), isolates, rules(Direction.INGRESS), rules(Direction.EGRESS))


def namespaces(name: str) -> st.SearchStrategy[Namespace]:
    """The namespace ``name`` with any labels and its name label."""
    return label_sets().map(lambda labels: Namespace(name, {NAME_LABEL: name, **labels}))


CONTAINER_PORTS = tuple(
    ContainerPort(name, protocol, number)
    for name in (*PORT_NAMES, "")
    for protocol in PORT_PROTOCOLS
    for number in PORTS
)
"""Every declared port of the universe."""

_PORTS_OF_POD = st.lists(st.sampled_from(CONTAINER_PORTS), max_size=3).map(tuple)
_POD_KEYS = st.builds(PodKey, st.sampled_from(_OFTEN), st.sampled_from(("w0", "w1", "w2", "w3")))
_FAMILIES = st.sampled_from(
    (
        *[(Family.V4, Family.V6)] * 5,
        *[(Family.V4,)] * 3,
        *[(Family.V6,)] * 2,
        (),
    )
)
_NODES = st.sampled_from(NODES)
_POD_ADDRESSES = {
    (node.name, family): st.sampled_from(pod_addresses(node, family))
    for node in NODES
    for family in Family
}
_PHASES = st.sampled_from(
    (*[Phase.RUNNING] * 9, Phase.PENDING, Phase.UNKNOWN, Phase.SUCCEEDED, Phase.FAILED)
)
_CREATED = st.sampled_from(("", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"))
_NO_NODE = st.sampled_from(("", "elsewhere"))


def pod_keys() -> st.SearchStrategy[PodKey]:
    """Keys of a handful of pods."""
    return _POD_KEYS


@st.composite
def pods(draw: st.DrawFn, keys: st.SearchStrategy[PodKey] = _POD_KEYS) -> Pod:
    """Pods of the two nodes, with an address of one family or both; rarely something odd."""
    key = draw(keys)
    node = draw(_NODES)
    host_network = draw(_RARELY)
    range_node = draw(_NODES) if draw(_RARELY) else node
    families = draw(_FAMILIES)
    if host_network:
        addresses = tuple(
            next(each for each in node.addresses if each.family is family) for family in families
        )
    else:
        addresses = tuple(draw(_POD_ADDRESSES[range_node.name, family]) for family in families)
    return Pod(
        key=key,
        uid=f"{key}-uid",
        labels=draw(label_sets()),
        node=draw(_NO_NODE) if draw(_RARELY) else node.name,
        addresses=addresses,
        ports=draw(_PORTS_OF_POD),
        host_network=host_network,
        phase=draw(_PHASES),
        terminating=draw(_RARELY),
        created=draw(_CREATED),
    )


_PODS = pods()
_POLICIES = policies()


@st.composite
def snapshots(
    draw: st.DrawFn,
    min_policies: int = 0,
    max_policies: int = 4,
    min_pods: int = 2,
    max_pods: int = 7,
) -> Snapshot:
    """Whole clusters: usually both nodes and all namespaces, some pods, some policies."""
    return build_snapshot(
        pods=draw(
            st.lists(_PODS, min_size=min_pods, max_size=max_pods, unique_by=lambda each: each.key)
        ),
        namespaces=[
            Namespace(name, {NAME_LABEL: name, **draw(label_sets())})
            for name in NAMESPACES
            if not draw(_RARELY)
        ],
        policies=draw(
            st.lists(
                _POLICIES,
                min_size=min_policies,
                max_size=max_policies,
                unique_by=lambda each: each.key,
            )
        ),
        nodes=NODES[:1] if draw(_RARELY) else NODES,
    )


_SETTINGS = st.builds(Settings, judge_node_egress=st.booleans(), close_unknown_pods=st.booleans())


def settings() -> st.SearchStrategy[Settings]:
    """The switches that verdicts depend on."""
    return _SETTINGS


_OF_FAMILY = {
    family: tuple(each for each in UNIVERSE if each.family is family) for family in Family
}
_ANYWHERE = {family: st.sampled_from(_OF_FAMILY[family]) for family in Family}
_PORT_TARGETS = st.tuples(st.sampled_from(PORT_PROTOCOLS).map(int), st.sampled_from(range(78, 84)))
_TARGETS = {
    Family.V4: st.one_of(_PORT_TARGETS, _PORT_TARGETS, st.sampled_from(((1, None), (47, None)))),
    Family.V6: st.one_of(_PORT_TARGETS, _PORT_TARGETS, st.sampled_from(((58, None), (47, None)))),
}
_STATES = st.sampled_from((ConnState.NEW,) * 18 + (ConnState.ESTABLISHED, ConnState.RELATED))


@st.composite
def flows(draw: st.DrawFn, snapshot: Snapshot, new_only: bool = False) -> Flow:
    """Packets of either family between pods, nodes, unknown pods and the outside.

    TCP, UDP and SCTP to ports at and around those that policies name, ICMP of the family, and a
    protocol without ports or a name. Most are between two pods; some have equal ends. With
    ``new_only`` all of them open a connection.
    """
    owned = {
        family: [each for each in snapshot.owners if each.family is family] for family in Family
    }
    inhabited = [family for family in Family if owned[family]]
    family = draw(st.sampled_from(inhabited or list(Family)))
    either = st.sampled_from(owned[family] or _OF_FAMILY[family])
    src = draw(st.one_of(either, either, _ANYWHERE[family]))
    others = [each for each in owned[family] if each != src]
    other = st.sampled_from(others or _OF_FAMILY[family])
    dst = draw(st.one_of(other, other, _ANYWHERE[family]))
    protocol, number = draw(_TARGETS[family])
    state = ConnState.NEW if new_only else draw(_STATES)
    return Flow(src, dst, protocol, number, state)


def every_flow(snapshot: Snapshot, targets: int = 4) -> Iterator[Flow]:
    """New connections between all pairs of addresses that mean something in ``snapshot``.

    Plain enumeration for tests that want many flows of one drawn cluster: pods, the nodes' first
    addresses, one unknown pod address of each range, and the outside, on the first ``targets`` of a
    fixed list that starts with TCP 80 and an echo request.
    """
    unknown = [
        address
        for node in snapshot.nodes.values()
        for family in Family
        for address in [
            each for each in pod_addresses(node, family) if each not in snapshot.owners
        ][:1]
    ]
    of_nodes = [address for node in snapshot.nodes.values() for address in node.addresses]
    known = [*snapshot.owners, *of_nodes, *unknown, *OUTSIDE]
    for family in Family:
        echo = int(Protocol.ICMP if family is Family.V4 else Protocol.ICMPV6)
        fixed = ((6, 80), (echo, None), (17, 80), (6, 81), (132, 80), (17, 82), (6, 79), (47, None))
        ends = [each for each in known if each.family is family]
        for src, dst in product(ends, repeat=2):
            for protocol, number in fixed[:targets]:
                yield Flow(src, dst, protocol, number)
