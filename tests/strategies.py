"""Hypothesis strategies over a deliberately tiny cluster.

Few namespaces, labels, addresses and ports (see :mod:`tests.universe`), so that selectors hit,
blocks overlap, names resolve to different numbers and addresses change hands all the time; a wide
universe would mostly compare "nothing matches" with "nothing matches". Entry points for property
tests are :func:`snapshots`, :func:`flows` (of one snapshot, half of them aimed at its rules),
:func:`telling_flows` (hundreds at once, by enumeration) and :func:`settings`; the others serve
tests of single modules.

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

from collections.abc import Mapping
from typing import TypeAlias

from hypothesis import strategies as st

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.model.flow import ConnState, Flow
from podwall.model.net import PORT_PROTOCOLS, Family
from podwall.model.objects import NAME_LABEL, Namespace, Phase, Pod, PodKey
from podwall.model.policy import (
    AnyPeer,
    AnyPort,
    Direction,
    IPBlock,
    Mode,
    Peer,
    PodPeer,
    Policy,
    PolicyKey,
    PolicyRule,
    Port,
    RuleId,
)
from podwall.model.selector import Selector, selector
from podwall.model.settings import Settings
from tests.telling import named_targets, shots, telling_flows
from tests.universe import (
    ALL_PORTS,
    CIDRS,
    CONTAINER_PORTS,
    LABEL_KEYS,
    LABEL_SETS,
    LABEL_VALUES,
    MANY_PORTS,
    NAMED_PORTS,
    NAMESPACES,
    NODES,
    NUMBERED_PORTS,
    OF_FAMILY,
    OUTSIDE,
    PORT_NAMES,
    PORTS,
    REQUIREMENTS,
    SELECTORS,
    UNIVERSE,
    pod_addresses,
)

__all__ = [
    "LABEL_KEYS",
    "LABEL_SETS",
    "LABEL_VALUES",
    "NAMESPACES",
    "NODES",
    "OUTSIDE",
    "PORTS",
    "PORT_NAMES",
    "UNIVERSE",
    "aimed_flows",
    "blocks",
    "flows",
    "label_sets",
    "namespace_selectors",
    "namespaces",
    "peers",
    "pod_keys",
    "pods",
    "policies",
    "policy_keys",
    "ports",
    "rarely",
    "rule_contents",
    "selectors",
    "settings",
    "snapshots",
    "telling_flows",
]

_RARELY = st.sampled_from((False,) * 9 + (True,))


def rarely() -> st.SearchStrategy[bool]:
    """True in one of ten draws; shrinks to false."""
    return _RARELY


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
    """Blocks around addresses of the universe, /0 included, nearly all with excepts inside."""
    cidr = draw(_CIDRS)
    if cidr not in _EXCEPTS or draw(_RARELY):
        return IPBlock(cidr)
    return IPBlock(cidr, tuple(draw(_EXCEPTS[cidr])))


_BLOCKS = blocks()
_PEERS = {
    name: st.one_of(
        st.builds(PodPeer, st.just(name), _POD_SELECTORS),
        st.builds(PodPeer, _NAMESPACE_SELECTORS, _POD_SELECTORS),
        _BLOCKS,
        _BLOCKS,
    )
    for name in NAMESPACES
}


def peers(namespace: str) -> st.SearchStrategy[Peer]:
    """Every kind of peer for a policy of ``namespace``."""
    return st.one_of(_PEERS[namespace], st.just(AnyPeer()))


_PORTS: st.SearchStrategy[Port] = st.one_of(
    st.sampled_from(NUMBERED_PORTS), st.sampled_from(NAMED_PORTS), st.sampled_from(ALL_PORTS)
)
_NO_PORTS: st.SearchStrategy[tuple[Port, ...]] = st.just((AnyPort(),))
_SOME_PORTS: st.SearchStrategy[tuple[Port, ...]] = st.one_of(
    st.lists(_PORTS, min_size=1, max_size=3).map(tuple), st.just(MANY_PORTS)
)


def ports() -> st.SearchStrategy[Port]:
    """Every form of port."""
    return st.one_of(_PORTS, st.just(AnyPort()))


def _contents(
    namespace: str,
) -> st.SearchStrategy[tuple[tuple[Peer, ...], tuple[Port, ...]]]:
    some_peers = st.lists(_PEERS[namespace], min_size=1, max_size=3).map(tuple)
    one_peer = _PEERS[namespace].map(lambda peer: (peer,))
    any_peer: st.SearchStrategy[tuple[Peer, ...]] = st.just((AnyPeer(),))
    # A rule whose one half matches anyway shows what its other half does.
    return st.one_of(
        st.tuples(any_peer, _SOME_PORTS),
        st.tuples(one_peer, _NO_PORTS),
        st.tuples(some_peers, st.one_of(_NO_PORTS, _SOME_PORTS)),
    )


_CONTENTS = {name: _contents(name) for name in NAMESPACES}
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
_MODES = st.sampled_from((*[Mode.ENFORCE] * 4, Mode.AUDIT))
_SUBJECTS = st.one_of(_EMPTY_SELECTOR, _SELECTORS)


def policy_keys() -> st.SearchStrategy[PolicyKey]:
    """Keys of a handful of policies."""
    return _POLICY_KEYS


@st.composite
def policies(draw: st.DrawFn, keys: st.SearchStrategy[PolicyKey] = _POLICY_KEYS) -> Policy:
    """Policies as the decoder gives them: rules only in the directions that they isolate.

    One of five is audited.
    """
    key = draw(keys)
    isolates = draw(_ISOLATES)

    def rules(direction: Direction) -> tuple[PolicyRule, ...]:
        if direction not in isolates:
            return ()
        return tuple(
            PolicyRule(RuleId(key, direction, index), of_peers, of_ports)
            for index, (of_peers, of_ports) in enumerate(draw(_RULE_LISTS[key.namespace]))
        )

    return Policy(
        key=key,
        subject=draw(_SUBJECTS),
        isolates=isolates,
        ingress=rules(Direction.INGRESS),
        egress=rules(Direction.EGRESS),
        mode=draw(_MODES),
    )


def namespaces(name: str) -> st.SearchStrategy[Namespace]:
    """The namespace ``name`` with any labels and its name label."""
    return label_sets().map(lambda labels: Namespace(name, {NAME_LABEL: name, **labels}))


_TWO_NAMES = st.tuples(
    *(
        st.sampled_from([each for each in CONTAINER_PORTS if each.name == name])
        for name in PORT_NAMES
    )
)
_PORTS_OF_POD = st.one_of(
    _TWO_NAMES, st.lists(st.sampled_from(CONTAINER_PORTS), max_size=4).map(tuple)
)
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
    min_pods: int = 3,
    max_pods: int = 8,
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


_SETTINGS = st.builds(
    Settings,
    judge_node_egress=st.booleans(),
    close_unknown_pods=st.booleans(),
    log_denied=st.booleans(),
)


def settings() -> st.SearchStrategy[Settings]:
    """The switches that verdicts depend on, and whether what is denied is logged."""
    return _SETTINGS


_ANYWHERE = {family: st.sampled_from(OF_FAMILY[family]) for family in Family}
_PORT_TARGETS = st.tuples(st.sampled_from(PORT_PROTOCOLS).map(int), st.sampled_from(range(78, 84)))
_TARGETS = {
    Family.V4: st.one_of(_PORT_TARGETS, _PORT_TARGETS, st.sampled_from(((1, None), (47, None)))),
    Family.V6: st.one_of(_PORT_TARGETS, _PORT_TARGETS, st.sampled_from(((58, None), (47, None)))),
}
_STATES = st.sampled_from((ConnState.NEW,) * 18 + (ConnState.ESTABLISHED, ConnState.RELATED))


@st.composite
def flows(draw: st.DrawFn, snapshot: Snapshot, new_only: bool = False) -> Flow:
    """Packets of either family between pods, nodes, unknown pods and the outside.

    Half of them are aimed at a rule of a policy of ``snapshot``, see :func:`aimed_flows`. The
    others go anywhere, most between two pods, on TCP, UDP and SCTP ports at and around those that
    policies name, ICMP of the family, and a protocol without ports or a name. With ``new_only`` all
    of them open a connection.
    """
    aimed = draw(st.booleans())
    kind = aimed_flows if aimed and shots(snapshot) else _free_flows
    flow = draw(kind(snapshot))
    if new_only:
        return flow
    return Flow(flow.src, flow.dst, flow.protocol, flow.port, draw(_STATES))


@st.composite
def _free_flows(draw: st.DrawFn, snapshot: Snapshot) -> Flow:
    owned = {
        family: [each for each in snapshot.owners if each.family is family] for family in Family
    }
    inhabited = [family for family in Family if owned[family]]
    family = draw(st.sampled_from(inhabited or list(Family)))
    either = st.sampled_from(owned[family] or OF_FAMILY[family])
    src = draw(st.one_of(either, either, _ANYWHERE[family]))
    others = [each for each in owned[family] if each != src]
    other = st.sampled_from(others or OF_FAMILY[family])
    dst = draw(st.one_of(other, other, _ANYWHERE[family]))
    protocol, number = draw(_TARGETS[family])
    return Flow(src, dst, protocol, number)


@st.composite
def aimed_flows(draw: st.DrawFn, snapshot: Snapshot) -> Flow:
    """New connections that one rule of ``snapshot`` is about, closely enough to hit or just miss.

    One end is a pod that the rule's policy selects. The other is, for a block, an address inside it
    or inside one of its excepts, else any pod or address. The port is one that the rule names, a
    neighbour, or a number that a pod gives to a name. Needs a policy with a rule that selects
    somebody.
    """
    subject, rule = draw(st.sampled_from(shots(snapshot)))
    family = subject.family
    blocks_of_rule = [
        cidr
        for peer in rule.peers
        if isinstance(peer, IPBlock)
        for cidr in (peer.cidr, *peer.excepts)
        if cidr.family is family
    ]
    candidates = [each for each in snapshot.owners if each.family is family]
    inside = draw(st.booleans())
    if inside and blocks_of_rule:
        cidr = draw(st.sampled_from(blocks_of_rule))
        candidates = [each for each in OF_FAMILY[family] if each in cidr]
    candidates = [each for each in candidates if each != subject]
    peer = draw(st.sampled_from(candidates or OF_FAMILY[family]))
    ingress = rule.id.direction is Direction.INGRESS
    src, dst = (peer, subject) if ingress else (subject, peer)
    named = st.sampled_from(named_targets(snapshot, rule))
    protocol, number = draw(st.one_of(named, _TARGETS[family]))
    return Flow(src, dst, protocol, number)
