"""What the compiler makes of a cluster: which sets, which rules, and only what the node needs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.model.net import Address, Cidr, Family, PortRange, Protocol
from podwall.model.policy import Direction, Peer, Policy, PolicyKey
from podwall.model.settings import DenyAction, Settings
from podwall.ruleset.compile import compile_node
from podwall.ruleset.dispatch import MAX_DEPTH, Dispatch, DispatchEntry, lower
from podwall.ruleset.ir import (
    AddressPort,
    Chain,
    ChainRole,
    Drop,
    FamilyRules,
    Goto,
    Hook,
    IPSet,
    MatchPorts,
    MatchProtocol,
    MatchSet,
    MatchState,
    Reject,
    Return,
    SetRole,
    SetType,
)
from podwall.ruleset.profile import pack_multiport
from tests.builders import (
    addr,
    allow,
    block,
    named,
    namespace,
    net,
    node,
    pod,
    pods,
    policy,
    port,
)

N1 = node("n1", "192.168.0.1", pod_cidrs=["10.1.0.0/24"])
DB = pod("a/db", "10.1.0.2", node="n1", role="db", ports=["redis:6379/tcp"])
WEB = pod("a/web", "10.1.0.3", "fd00:1::3", node="n1", role="web", ports=["http:8080/tcp"])
FAR = pod("a/far", "10.2.0.2", node="n2", role="web", ports=["http:80/tcp"])


def rules(*policies: Policy, settings: Settings = Settings()) -> FamilyRules:
    snapshot = build_snapshot([DB, WEB, FAR], [namespace("a")], policies, [N1])
    return compile_node(snapshot, "n1", settings).v4


def profile(family: FamilyRules, direction: Direction) -> Chain:
    prefix = f"PW-{direction.value[0]}-"
    (chain,) = (
        each
        for each in family.chains.values()
        if each.role is ChainRole.PROFILE and each.name.startswith(prefix)
    )
    return chain


def of_role(family: FamilyRules, role: SetRole) -> list[IPSet]:
    return [each for each in family.sets.values() if each.role is role]


def members_of(ports: IPSet) -> set[tuple[str, int]]:
    """Address and port of each member of a set of named ports."""
    return {
        (str(each.address), each.port) for each in ports.members if isinstance(each, AddressPort)
    }


def test_replies_are_the_first_thing_that_each_hook_lets_go() -> None:
    family = rules(policy("a/p", ingress=[]))
    forward = family.chains[family.hooks[Hook.FORWARD]]
    assert forward.rules[0].target == Return()
    assert forward.rules[0].matches == (MatchState(("RELATED", "ESTABLISHED")),)
    assert forward.rules[0].comment == ""


def test_no_rule_accepts_or_marks() -> None:
    family = rules(policy("a/p", ingress=[allow()], egress=[allow()]))
    targets = {type(rule.target) for chain in family.chains.values() for rule in chain.rules}
    assert {each.__name__ for each in targets} <= {"Return", "Drop", "Jump", "Goto", "Reject"}


def test_a_profile_tests_ports_before_it_looks_up_the_peer() -> None:
    family = rules(
        policy(
            "a/p",
            {"role": "db"},
            ingress=[allow(pods({"role": "web"}, namespaces="a"), ports=[port(80)])],
        )
    )
    first = profile(family, Direction.INGRESS).rules[0]
    assert [type(match) for match in first.matches] == [MatchProtocol, MatchPorts, MatchSet]
    assert first.comment == "a/p ingress[0]"


def test_selector_peers_and_blocks_of_a_rule_are_one_set_each() -> None:
    family = rules(
        policy(
            "a/p",
            {"role": "db"},
            ingress=[
                allow(
                    pods({"role": "web"}, namespaces="a"),
                    pods({"role": "other"}, namespaces="a"),
                    block("10.0.0.0/8", "10.9.0.0/16"),
                    block("172.16.0.0/12"),
                )
            ],
        )
    )
    (peers,) = of_role(family, SetRole.PEERS)
    (blocks,) = of_role(family, SetRole.BLOCKS)
    assert peers.type is SetType.HASH_IP
    assert peers.members == {addr("10.1.0.3"), addr("10.2.0.2")}
    assert blocks.type is SetType.HASH_NET
    assert len(blocks.members) == 3


def test_s12_a_selector_that_matches_no_pod_is_an_empty_set_and_the_isolation_stands() -> None:
    family = rules(
        policy("a/p", {"role": "db"}, ingress=[allow(pods({"role": "none"}, namespaces="a"))])
    )
    (peers,) = of_role(family, SetRole.PEERS)
    assert peers.members == frozenset()
    assert led_to(family, Direction.INGRESS, "10.1.0.2") == profile(family, Direction.INGRESS).name


def test_s29_a_family_in_which_no_isolated_pod_has_an_address_gets_the_fixed_chains_only() -> None:
    snapshot = build_snapshot([DB], [namespace("a")], [policy("a/p", ingress=[allow()])], [N1])
    ruleset = compile_node(snapshot, "n1")
    assert [each.role for each in ruleset.v6.chains.values()].count(ChainRole.PROFILE) == 0
    assert [each.role for each in ruleset.v4.chains.values()].count(ChainRole.PROFILE) == 1


def test_s35_each_protocol_of_a_rule_is_a_kernel_rule_of_its_own() -> None:
    dns = [port(53), port(53, protocol=Protocol.UDP)]
    family = rules(policy("a/p", {"role": "db"}, egress=[allow(ports=dns)]))
    protocols = [
        match.protocol
        for rule in profile(family, Direction.EGRESS).rules
        for match in rule.matches
        if isinstance(match, MatchProtocol)
    ]
    assert protocols == [Protocol.TCP, Protocol.UDP]


def test_s36_an_ingress_port_name_becomes_the_subjects_own_number() -> None:
    family = rules(policy("a/p", {"role": "web"}, ingress=[allow(ports=[named("http")])]))
    first = profile(family, Direction.INGRESS).rules[0]
    assert MatchPorts((PortRange(8080, 8080),)) in first.matches


def test_s36_pods_on_which_a_port_name_differs_have_profiles_of_their_own() -> None:
    other = pod("a/web-2", "10.1.0.9", node="n1", role="web", ports=["http:9090/tcp"])
    snapshot = build_snapshot(
        [WEB, other],
        [namespace("a")],
        [policy("a/p", {"role": "web"}, ingress=[allow(ports=[named("http")])])],
        [N1],
    )
    family = compile_node(snapshot, "n1").v4
    first, second = (led_to(family, Direction.INGRESS, each) for each in ("10.1.0.3", "10.1.0.9"))
    assert first != second
    assert MatchPorts((PortRange(9090, 9090),)) in family.chains[second].rules[0].matches


def test_s37_an_egress_port_name_is_a_set_of_peers_with_their_own_numbers() -> None:
    family = rules(
        policy(
            "a/p",
            {"role": "db"},
            egress=[allow(pods({"role": "web"}, namespaces="a"), ports=[named("http")])],
        )
    )
    (ports,) = of_role(family, SetRole.NAMED_PORTS)
    assert members_of(ports) == {("10.1.0.3", 8080), ("10.2.0.2", 80)}


def test_s37_a_name_that_resolves_nowhere_allows_nothing() -> None:
    family = rules(policy("a/p", {"role": "db"}, ingress=[allow(ports=[named("nobody")])]))
    assert [rule.target for rule in profile(family, Direction.INGRESS).rules] == [Goto("PW-deny")]


@pytest.mark.parametrize("peers", [(), (block("0.0.0.0/0"),), (block("10.0.0.0/8"),)])
def test_s37_an_egress_port_name_to_any_peer_or_a_block_means_the_pods_that_have_it(
    peers: tuple[Peer, ...],
) -> None:
    family = rules(policy("a/p", {"role": "db"}, egress=[allow(*peers, ports=[named("http")])]))
    (ports,) = of_role(family, SetRole.NAMED_PORTS)
    assert members_of(ports) == {("10.1.0.3", 8080), ("10.2.0.2", 80)}
    assert len(profile(family, Direction.EGRESS).rules) == 2


def test_s30_s37_an_egress_port_name_to_a_block_leaves_out_pods_in_its_holes() -> None:
    family = rules(
        policy(
            "a/p",
            {"role": "db"},
            egress=[allow(block("10.1.0.0/16", "10.1.0.3/32"), ports=[named("http")])],
        )
    )
    (ports,) = of_role(family, SetRole.NAMED_PORTS)
    assert members_of(ports) == set()


def test_s29_s37_an_egress_port_name_to_a_block_of_the_other_family_means_nobody() -> None:
    family = rules(
        policy("a/p", {"role": "db"}, egress=[allow(block("::/0"), ports=[named("http")])])
    )
    assert [rule.target for rule in profile(family, Direction.EGRESS).rules] == [Goto("PW-deny")]


def test_s41_fifteen_slots_hold_fifteen_ports_or_seven_ranges_and_a_port() -> None:
    singles = [PortRange(each, each) for each in range(1, 33, 2)]
    assert [len(group) for group in pack_multiport(singles)] == [15, 1]
    ranges = [PortRange(each, each + 1) for each in range(1, 33, 4)]
    assert [len(group) for group in pack_multiport(ranges)] == [7, 1]
    assert [each for group in pack_multiport(singles) for each in group] == singles
    assert pack_multiport([]) == []


def test_s42_nothing_is_judged_on_the_way_from_the_node_to_its_pods() -> None:
    family = rules(policy("a/p", ingress=[]), settings=Settings(cut_connections=False))
    assert Hook.OUTPUT not in family.hooks


def test_s43_the_switch_takes_the_input_hook_away() -> None:
    family = rules(policy("a/p", egress=[]), settings=Settings(judge_node_egress=False))
    assert set(family.hooks) == {Hook.FORWARD}


def test_s48_in_the_pod_range_of_the_node_an_unknown_address_is_closed_unless_switched() -> None:
    closed = rules(policy("a/p", {"role": "db"}, ingress=[]))
    assert led_to(closed, Direction.INGRESS, "10.1.0.77") == "PW-deny"
    assert led_to(closed, Direction.EGRESS, "10.1.0.77") == "PW-deny"
    assert led_to(closed, Direction.INGRESS, "10.1.0.3") == "return"
    opened = rules(
        policy("a/p", {"role": "db"}, ingress=[]), settings=Settings(close_unknown_pods=False)
    )
    assert led_to(opened, Direction.INGRESS, "10.1.0.77") == "return"


def test_denied_packets_are_dropped_or_rejected_as_configured() -> None:
    assert rules().chains["PW-deny"].rules[-1].target == Drop()
    rejecting = rules(settings=Settings(deny=DenyAction.REJECT)).chains["PW-deny"]
    assert [rule.target for rule in rejecting.rules[-2:]] == [Reject(tcp_reset=True), Reject()]


def test_a_refused_policy_isolates_and_allows_nothing() -> None:
    snapshot = build_snapshot(
        [DB],
        [namespace("a")],
        [policy("a/bad", ingress=[allow()]), policy("a/good", ingress=[allow(ports=[port(80)])])],
        [N1],
    )
    refused = frozenset({PolicyKey("a", "bad")})
    family = compile_node(snapshot, "n1", refused=refused).v4
    comments = {rule.comment for rule in profile(family, Direction.INGRESS).rules}
    assert comments == {"a/good ingress[0]", ""}


def test_a_pod_on_another_node_changes_members_and_no_rule() -> None:
    policies = [
        policy("a/p", {"role": "web"}, ingress=[allow(pods({"role": "web"}, namespaces="a"))])
    ]
    more = pod("a/far-2", "10.2.0.9", node="n2", role="web")
    before = compile_node(build_snapshot([WEB], [namespace("a")], policies, [N1]), "n1")
    after = compile_node(build_snapshot([WEB, more], [namespace("a")], policies, [N1]), "n1")
    assert before.v4.chains == after.v4.chains
    assert before.v4.sets.keys() == after.v4.sets.keys()
    assert before.v4.sets != after.v4.sets


def test_a_pod_of_this_node_changes_one_chain_in_each_direction() -> None:
    everyone = [pod(f"a/w{each}", f"10.1.0.{each}", node="n1") for each in range(2, 250)]
    policies = [policy("a/p", ingress=[allow()], egress=[allow()])]
    before = compile_node(build_snapshot(everyone[:-1], [namespace("a")], policies, [N1]), "n1")
    after = compile_node(build_snapshot(everyone, [namespace("a")], policies, [N1]), "n1")
    changed = [name for name, chain in after.v4.chains.items() if before.v4.chains[name] != chain]
    assert changed == ["PW-eg-10.1.0.240-28", "PW-in-10.1.0.240-28"]


def test_an_edited_policy_changes_its_profile_and_the_rules_of_its_pods_only() -> None:
    def compiled(number: int) -> FamilyRules:
        return rules(policy("a/p", {"role": "web"}, ingress=[allow(ports=[port(number)])]))

    before, after = compiled(80), compiled(81)
    assert before.sets == after.sets
    same = {name for name in after.chains if before.chains.get(name) == after.chains[name]}
    assert after.chains.keys() - same == {
        "PW-in-10.1.0.0-24",
        profile(after, Direction.INGRESS).name,
    }


def led_to(family: FamilyRules, direction: Direction, address: str) -> str:
    """Where dispatch leads an address: to a profile, to ``PW-deny`` or back (``return``)."""
    name = f"PW-{direction.value}"
    while family.chains[name].role is ChainRole.DISPATCH:
        for rule in family.chains[name].rules:
            if all(addr(address) in match.cidr for match in rule.matches):  # type: ignore[union-attr]
                if isinstance(rule.target, Return):
                    return "return"
                assert isinstance(rule.target, Goto)
                name = rule.target.chain
                break
        else:
            return "return"
    return name


def tree(addresses: Sequence[Address], guarded: Sequence[Cidr] = ()) -> tuple[Chain, ...]:
    entries = tuple(DispatchEntry(each, f"PW-i-{each.value}", "") for each in addresses)
    return lower(Dispatch(Direction.INGRESS, addresses[0].family, entries, tuple(guarded)))


@pytest.mark.parametrize("count", [1, 16, 17, 250, 1000])
def test_dispatch_walks_few_rules_however_many_pods_there_are(count: int) -> None:
    addresses = [Address(Family.V4, addr("10.1.0.0").value + each) for each in range(count)]
    chains = tree(addresses, [net("10.1.0.0/22")])
    assert max(len(chain.rules) for chain in chains) <= 17
    family = FamilyRules(Family.V4, {}, {chain.name: chain for chain in chains})
    for each in addresses:
        assert led_to_leaf(family, each) == f"PW-i-{each.value}"


def led_to_leaf(family: FamilyRules, address: Address) -> str:
    name = "PW-ingress"
    while name in family.chains:
        name = next(
            rule.target.chain  # type: ignore[union-attr]
            for rule in family.chains[name].rules
            if all(address in match.cidr for match in rule.matches)  # type: ignore[union-attr]
        )
    return name


def test_dispatch_is_never_deeper_than_nf_tables_takes() -> None:
    # Addresses that share ever longer prefixes: the worst case for a tree that splits by prefix.
    worst = [
        Address(Family.V6, (1 << 127) | (1 << bit) | low) for bit in range(100) for low in (0, 1)
    ]
    chains = tree(sorted(set(worst)))
    links = {
        chain.name: [rule.target.chain for rule in chain.rules if isinstance(rule.target, Goto)]
        for chain in chains
    }

    def depth(name: str) -> int:
        return 1 + max((depth(each) for each in links.get(name, []) if each in links), default=0)

    assert depth("PW-ingress") <= MAX_DEPTH + 1
