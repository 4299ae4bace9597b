"""Strategies for rules, sets and steps as the renderers take them: every field, every edge."""

from __future__ import annotations

from hypothesis import strategies as st

from podwall.model.net import PORT_PROTOCOLS, Address, Cidr, Family, PortRange, Protocol
from podwall.ruleset.ir import (
    AddressPort,
    AddToSet,
    Chain,
    ChainRole,
    Drop,
    End,
    Goto,
    IPSet,
    Jump,
    Log,
    LogKind,
    Match,
    MatchAddress,
    MatchLimit,
    MatchLoopback,
    MatchMidStream,
    MatchNeighbourDiscovery,
    MatchPorts,
    MatchProtocol,
    MatchSelf,
    MatchSet,
    MatchState,
    Member,
    Net,
    Reject,
    Return,
    Rule,
    SetRole,
    SetType,
    Target,
)

SAFE = "ABCXYZabcxyz019 ._:/[]()+,=-"
NAME = "ABCXYZabcxyz019._-"
STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT")

families = st.sampled_from(Family)
comments = st.text(SAFE, max_size=255)
chain_names = st.text(NAME, min_size=1, max_size=25).map(lambda text: f"PW-{text}")
set_names = st.builds(
    lambda family, text: f"PW{family.value}-{text}",
    families,
    st.text(NAME, min_size=1, max_size=27),
)
port_numbers = st.integers(1, 65535) | st.sampled_from([1, 80, 65535])


def addresses(family: Family) -> st.SearchStrategy[Address]:
    values = st.integers(0, (1 << family.bits) - 1) | st.integers(0, 1 << 16)
    # IPv4-mapped addresses never travel in packets and are refused by the model.
    mapped = range(0xFFFF << 32, 0x10000 << 32)
    return values.filter(lambda value: family is Family.V4 or value not in mapped).map(
        lambda value: Address(family, value)
    )


@st.composite
def cidrs(draw: st.DrawFn, family: Family) -> Cidr:
    prefix = draw(st.integers(1, family.bits))
    value = draw(addresses(family)).value
    mask = ((1 << prefix) - 1) << (family.bits - prefix)
    return Cidr(family, value & mask, prefix)


port_ranges = st.builds(lambda a, b: PortRange(min(a, b), max(a, b)), port_numbers, port_numbers)
set_matches = st.builds(
    MatchSet,
    set_names,
    st.lists(st.sampled_from(End), min_size=1, max_size=3).map(tuple),
    st.booleans(),
)
limits = st.builds(
    MatchLimit,
    st.sampled_from([each for each in range(1, 10_001) if 10_000 % each == 0]),
    st.integers(6, 10_000),
)
state_matches = st.builds(
    lambda chosen: MatchState(tuple(each for each in STATES if each in chosen)),
    st.sets(st.sampled_from(STATES), min_size=1),
)


@st.composite
def rules(
    draw: st.DrawFn,
    family: Family,
    sets: st.SearchStrategy[MatchSet] = set_matches,
    chains: st.SearchStrategy[str] = chain_names,
) -> Rule:
    """Any rule that iptables can hold, its matches in canonical order."""
    first: list[Match] = []
    for end in End:
        if draw(st.booleans()):
            first.append(MatchAddress(end, draw(cidrs(family))))
    if draw(st.booleans()):
        first.append(MatchLoopback())
    protocol = draw(st.none() | st.sampled_from(Protocol))
    others: list[Match] = draw(
        st.lists(sets | state_matches | limits | st.just(MatchSelf()), max_size=3)
    )
    if protocol is not None:
        first.append(MatchProtocol(protocol))
    elif family is Family.V6 and draw(st.booleans()):
        first.append(MatchNeighbourDiscovery(draw(st.integers(133, 137))))
    # nf_tables mode prints one port and the flags of TCP as one match, so no rule of ours has both.
    mid_stream = protocol is Protocol.TCP and draw(st.booleans())
    if mid_stream:
        others.insert(draw(st.integers(0, len(others))), MatchMidStream())
    elif protocol in PORT_PROTOCOLS and draw(st.booleans()):
        ports = draw(st.lists(port_ranges, min_size=1, max_size=7))
        others.insert(draw(st.integers(0, len(others))), MatchPorts(tuple(ports)))
    targets: list[st.SearchStrategy[Target]]
    targets = [st.just(Return()), st.just(Drop()), st.just(Reject())]
    targets += [chains.map(Jump), chains.map(Goto)]
    targets.append(st.builds(Log, st.sampled_from(LogKind), st.integers(0, 65535)))
    targets.append(sets.map(lambda match: AddToSet(match.set, match.ends)))
    if protocol is Protocol.TCP:
        targets.append(st.just(Reject(tcp_reset=True)))
    return Rule(draw(st.one_of(targets)), (*first, *others), draw(comments))


def members(kind: SetType, family: Family) -> st.SearchStrategy[Member]:
    # The kernel keeps the address 0.0.0.0 in no set of single addresses.
    hosts = addresses(family).filter(lambda address: address.value > 0)
    match kind:
        case SetType.HASH_IP:
            return hosts
        case SetType.HASH_NET:
            return st.builds(Net, cidrs(family), st.booleans())
        case _:
            return st.builds(AddressPort, hosts, st.sampled_from(PORT_PROTOCOLS), port_numbers)


_KINDS = {
    SetRole.PEERS: ("p", SetType.HASH_IP),
    SetRole.BLOCKS: ("b", SetType.HASH_NET),
    SetRole.NAMED_PORTS: ("n", SetType.HASH_IP_PORT),
}


@st.composite
def ipsets(draw: st.DrawFn, family: Family | None = None) -> IPSet:
    """A set as the compiler makes it; equal prefixes appear with one sign only."""
    chosen = family or draw(families)
    role = draw(st.sampled_from(sorted(_KINDS, key=lambda each: each.value)))
    letter, kind = _KINDS[role]
    suffix = draw(st.text(NAME, min_size=1, max_size=20))
    held = draw(st.lists(members(kind, chosen), max_size=6))
    by_key = {each.cidr if isinstance(each, Net) else each: each for each in held}
    return IPSet(
        name=f"PW{chosen.value}-{letter}-{suffix}",
        type=kind,
        family=chosen,
        role=role,
        members=frozenset(by_key.values()),
    )


def chains(family: Family) -> st.SearchStrategy[Chain]:
    return st.builds(
        Chain,
        chain_names,
        st.just(ChainRole.PROFILE),
        st.lists(rules(family), max_size=4).map(tuple),
    )
