"""Rules to iptables' text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.dataplane.iptables.parse import parse_rule, parse_save, split_words
from podwall.dataplane.iptables.render import hook_spec, render_chain_step, render_rule
from podwall.dataplane.iptables.words import SELF_PROGRAM
from podwall.errors import CompileError
from podwall.model.net import Family, PortRange, Protocol, parse_cidr
from podwall.ruleset.ir import (
    Chain,
    ChainRole,
    Drop,
    End,
    Goto,
    Hook,
    Jump,
    MatchAddress,
    MatchLoopback,
    MatchMidStream,
    MatchNeighbourDiscovery,
    MatchPorts,
    MatchProtocol,
    MatchSelf,
    MatchSet,
    MatchState,
    Reject,
    Return,
    Rule,
)
from podwall.ruleset.plan import ChainStep, HookJump, UnreadableRule
from tests.unit.dataplane import strategies as own

V4, V6 = Family.V4, Family.V6
TCP = MatchProtocol(Protocol.TCP)


@pytest.mark.parametrize(
    ("family", "rule", "text"),
    [
        (V4, Rule(Drop()), "-j DROP"),
        (V4, Rule(Return(), comment="plain"), "-m comment --comment plain -j RETURN"),
        (
            V4,
            Rule(Return(), (MatchState(("RELATED", "ESTABLISHED")),)),
            "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        ),
        (
            V4,
            Rule(
                Return(),
                (
                    TCP,
                    MatchPorts((PortRange(80, 80), PortRange(90, 100))),
                    MatchSet("PW4-p-a", (End.SRC,)),
                    MatchSet("PW4-cut", (End.SRC, End.SRC, End.DST), negated=True),
                ),
                "dev/web ingress[0]",
            ),
            "-p tcp -m multiport --dports 80,90:100 -m set --match-set PW4-p-a src"
            " -m set ! --match-set PW4-cut src,src,dst"
            ' -m comment --comment "dev/web ingress[0]" -j RETURN',
        ),
        (
            V4,
            Rule(Return(), (TCP, MatchPorts((PortRange(80, 80),)))),
            "-p tcp -m tcp --dport 80 -j RETURN",
        ),
        (
            V6,
            Rule(Return(), (MatchProtocol(Protocol.UDP), MatchPorts((PortRange(53, 99),)))),
            "-p udp -m udp --dport 53:99 -j RETURN",
        ),
        (
            V4,
            Rule(Return(), (MatchProtocol(Protocol.SCTP), MatchPorts((PortRange(80, 80),)))),
            "-p sctp -m multiport --dports 80 -j RETURN",
        ),
        (
            V4,
            Rule(Reject(tcp_reset=True), (MatchLoopback(), TCP, MatchMidStream())),
            "-i lo -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"
            " -j REJECT --reject-with tcp-reset",
        ),
        (
            V4,
            Rule(
                Goto("PW-x"),
                (
                    MatchAddress(End.SRC, parse_cidr("10.0.0.1/32")),
                    MatchAddress(End.DST, parse_cidr("10.0.0.0/8")),
                ),
            ),
            "-s 10.0.0.1/32 -d 10.0.0.0/8 -g PW-x",
        ),
        (V4, Rule(Reject()), "-j REJECT --reject-with icmp-port-unreachable"),
        (V6, Rule(Reject()), "-j REJECT --reject-with icmp6-port-unreachable"),
        (
            V6,
            Rule(Return(), (MatchNeighbourDiscovery(135),)),
            "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j RETURN",
        ),
        (
            V4,
            Rule(Return(), (MatchSelf(),)),
            '-m bpf --bytecode "6,32 0 0 16,7 0 0 0,32 0 0 12,29 0 1 0,6 0 0 65535,6 0 0 0"'
            " -j RETURN",
        ),
    ],
)
def test_rules_are_written_as_iptables_save_prints_them(
    family: Family, rule: Rule, text: str
) -> None:
    assert render_rule(family, rule) == text
    assert parse_rule(text, family) == rule


@given(st.data(), own.families)
def test_what_was_written_is_read_back_as_the_same_rule(
    data: st.DataObject, family: Family
) -> None:
    rule = data.draw(own.rules(family))
    assert parse_rule(render_rule(family, rule), family) == rule


@given(st.data(), own.families)
def test_a_whole_save_is_read_back_as_the_same_chains(data: st.DataObject, family: Family) -> None:
    chains = data.draw(st.lists(own.chains(family), max_size=4, unique_by=lambda each: each.name))
    text = render_chain_step(ChainStep(family, replace=tuple(chains)))
    assert parse_save(text, family).chains == {each.name: each.rules for each in chains}


def bpf_verdict(program: str, packet: bytes) -> int:
    """Run the few instructions that the program uses, as the kernel would."""
    length, *lines = program.split(",")
    instructions = [tuple(map(int, each.split())) for each in lines]
    assert int(length) == len(instructions)
    accumulator = index = position = 0
    while True:
        code, when_true, when_false, constant = instructions[position]
        position += 1
        if code == 0x20:
            accumulator = int.from_bytes(packet[constant : constant + 4], "big")
        elif code == 0x07:
            index = accumulator
        elif code == 0x1D:
            position += when_true if accumulator == index else when_false
        else:
            assert code == 0x06
            return constant


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.booleans())
def test_s44_the_ipv4_program_tells_whether_source_is_destination(
    src: bytes, other: bytes, same: bool
) -> None:
    dst = src if same else other
    packet = bytes(12) + src + dst
    assert (bpf_verdict(SELF_PROGRAM[V4], packet) > 0) == (src == dst)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 128))
def test_s44_the_ipv6_program_sees_a_difference_in_any_bit(src: bytes, bit: int) -> None:
    flipped = int.from_bytes(src, "big") ^ (1 << bit if bit < 128 else 0)
    packet = bytes(8) + src + flipped.to_bytes(16, "big")
    assert (bpf_verdict(SELF_PROGRAM[V6], packet) > 0) == (bit == 128)


def test_a_step_declares_then_fills_then_hooks_then_removes() -> None:
    step = ChainStep(
        V4,
        replace=(Chain("PW-new", ChainRole.ROOT, (Rule(Drop()),)),),
        unhook=((Hook.FORWARD, "-j PW-old"),),
        hook=((Hook.FORWARD, "PW-new"),),
        delete=("PW-old",),
    )
    assert render_chain_step(step) == (
        "*filter\n"
        ":PW-new - [0:0]\n"
        ":PW-old - [0:0]\n"
        "-A PW-new -j DROP\n"
        "-D FORWARD -j PW-old\n"
        "-I FORWARD 1 -m comment --comment podwall -j PW-new\n"
        "-X PW-old\n"
        "COMMIT\n"
    )


SAVED = """\
# Generated by iptables-nft-save v1.8.9 (nf_tables) on Sun Nov 22 18:49:37 2026
*nat
:PREROUTING ACCEPT [0:0]
:PW-not-in-filter - [0:0]
-A PREROUTING -j PW-not-in-filter
COMMIT
*filter
:INPUT ACCEPT [10:20]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
:PW-FORWARD - [0:0]
:PWNED - [0:0]
[5:300] -A FORWARD -m comment --comment "other's \\"first\\" rule" -j ACCEPT
[0:0] -A FORWARD -s 10.0.0.0/8 -m comment --comment podwall -j PW-FORWARD
[0:0] -A FORWARD -m comment --comment podwall -j PW-FORWARD
-A FORWARD -g PW-gone
-A KUBE-FORWARD -j PW-FORWARD
[1:2] -A PW-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
[1:2] -A PW-FORWARD -s 10.0.0.0/8 -m limit --limit 5/min -j LOG --log-prefix "a b"
-A PWNED -j DROP
COMMIT
"""


def test_a_save_gives_our_chains_and_the_rules_that_lead_to_them() -> None:
    saved = parse_save(SAVED, V4)
    assert saved.chains == {
        "PW-FORWARD": (
            Rule(Return(), (MatchState(("RELATED", "ESTABLISHED")),)),
            UnreadableRule('-s 10.0.0.0/8 -m limit --limit 5/min -j LOG --log-prefix "a b"'),
        )
    }
    assert saved.hooks == {
        Hook.FORWARD: (
            HookJump(
                1, "PW-FORWARD", "-s 10.0.0.0/8 -m comment --comment podwall -j PW-FORWARD", False
            ),
            HookJump(2, "PW-FORWARD", "-m comment --comment podwall -j PW-FORWARD", True),
            HookJump(3, "PW-gone", "-g PW-gone", False),
        )
    }


def test_the_jump_is_the_first_rule_only_at_index_0() -> None:
    text = f"*filter\n:PW-INPUT - [0:0]\n-A INPUT {hook_spec('PW-INPUT')}\nCOMMIT\n"
    jumps = parse_save(text, V4).hooks[Hook.INPUT]
    assert jumps == (HookJump(0, "PW-INPUT", hook_spec("PW-INPUT"), True),)


def test_only_a_newline_ends_a_line_of_a_save() -> None:
    comment = "\x0b-A PW-FORWARD -j DROP\x85-A PW-FORWARD -j DROP"
    text = f'*filter\n:PW-FORWARD - [0:0]\n-A FORWARD -m comment --comment "{comment}" -j X\nCOMMIT'
    saved = parse_save(text, V4)
    assert saved.chains == {"PW-FORWARD": ()}
    assert saved.hooks == {}


@pytest.mark.parametrize(
    "spec",
    [
        "-j ACCEPT",
        "-p tcp -m tcp --sport 80 -j RETURN",
        "! -s 10.0.0.1/32 -j RETURN",
        "-i eth0 -j RETURN",
        "-j REJECT --reject-with icmp-host-prohibited",
        "-j RETURN -m comment --comment late",
        "-m set --match-set PW4-p-a src,flags -j RETURN",
        "-m set --match-set PW4-p-a src --return-nomatch -j RETURN",
        '-m bpf --bytecode "1,6 0 0 65535" -j RETURN',
        "-p gre -j RETURN",
        "-s fd00::/16 -j RETURN",
        "-m comment",
        "",
        "-m multiport --sports 80 -j RETURN",
        "-m multiport --dports x -j RETURN",
        "-j OTHER-CHAIN",
        "-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN",
    ],
)
def test_a_rule_that_podwall_never_writes_stays_text(spec: str) -> None:
    assert parse_rule(spec, V4) == UnreadableRule(spec)


def test_quoted_words_are_read_as_iptables_restore_reads_them() -> None:
    assert split_words(r'-m comment --comment "a \"b\" \\ c" -j X') == [
        "-m",
        "comment",
        "--comment",
        r'a "b" \ c',
        "-j",
        "X",
    ]


HOSTILE = [
    "a\nb",
    'a" -j ACCEPT #',
    "a'b",
    "a\\",
    "$(reboot)",
    "`id`",
    "a;b",
    "ä",
    "a\x00b",
    "a\x85b",
    "a\u2028b",
    "%s",
    "x" * 256,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_comment_that_could_break_out_of_its_line_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match="comment"):
        render_rule(V4, Rule(Drop(), comment=text))


@pytest.mark.parametrize(
    "name",
    [*HOSTILE, "", "PW-", "PW-a b", "FORWARD", "KUBE-x", "-PW-x", "PW-" + "x" * 26, "PW-x\n"],
)
def test_a_name_that_is_not_one_of_our_chains_is_refused(name: str) -> None:
    for step in (
        ChainStep(V4, replace=(Chain(name, ChainRole.ROOT),)),
        ChainStep(V4, delete=(name,)),
        ChainStep(V4, hook=((Hook.INPUT, name),)),
        ChainStep(V4, replace=(Chain("PW-a", ChainRole.ROOT, (Rule(Jump(name)),)),)),
        ChainStep(V4, replace=(Chain("PW-a", ChainRole.ROOT, (Rule(Goto(name)),)),)),
    ):
        with pytest.raises(CompileError, match="chain name"):
            render_chain_step(step)


@pytest.mark.parametrize("name", [*HOSTILE, "", "PW-x", "PW5-x", "PW4-a b", "PW4-" + "x" * 28])
def test_a_name_that_is_not_one_of_our_sets_is_refused(name: str) -> None:
    with pytest.raises(CompileError, match="set name"):
        render_rule(V4, Rule(Drop(), (MatchSet(name, (End.SRC,)),)))


@pytest.mark.parametrize("spec", ["", "-j X\n-P INPUT DROP", "-j X\x00", "-j " + "x" * 9000])
def test_a_rule_text_that_is_not_one_line_is_not_sent_back(spec: str) -> None:
    with pytest.raises(CompileError, match="rule text"):
        render_chain_step(ChainStep(V4, unhook=((Hook.INPUT, spec),)))


@pytest.mark.parametrize(
    ("family", "rule", "fault"),
    [
        (V4, Rule(Drop(), (MatchSelf(), TCP)), "order"),
        (V4, Rule(Drop(), (TCP, MatchProtocol(Protocol.UDP))), "more than one protocol"),
        (V6, Rule(Drop(), (MatchNeighbourDiscovery(135), TCP)), "more than one protocol"),
        (V4, Rule(Drop(), (MatchNeighbourDiscovery(135),)), "neighbour discovery"),
        (V4, Rule(Drop(), (MatchAddress(End.SRC, parse_cidr("fd00::/8")),)), "other family"),
        (V4, Rule(Drop(), (MatchAddress(End.SRC, parse_cidr("0.0.0.0/0")),)), "everything"),
        (V4, Rule(Drop(), (MatchPorts((PortRange(80, 80),)),)), "protocol"),
        (V4, Rule(Drop(), (TCP, MatchPorts(()))), "slots"),
        (V4, Rule(Drop(), (TCP, MatchPorts((PortRange(1, 2),) * 8))), "slots"),
        (V4, Rule(Drop(), (TCP, MatchPorts((PortRange(0, 2),)))), "range"),
        (V4, Rule(Drop(), (MatchMidStream(),)), "protocol"),
        (V4, Rule(Reject(tcp_reset=True)), "protocol"),
        (V4, Rule(Drop(), (MatchState(()),)), "states"),
        (V4, Rule(Drop(), (MatchState(("ESTABLISHED", "RELATED")),)), "states"),
        (V4, Rule(Drop(), (MatchSet("PW4-p-a", ()),)), "ends"),
    ],
)
def test_a_rule_that_the_tools_would_refuse_or_change_is_not_written(
    family: Family, rule: Rule, fault: str
) -> None:
    with pytest.raises(CompileError, match=fault):
        render_rule(family, rule)


def test_s41_fifteen_slots_are_written() -> None:
    ranges = [PortRange(each, each + 1) for each in range(10, 80, 10)]
    ports = (*ranges, PortRange(99, 99))
    rule = Rule(Return(), (TCP, MatchPorts(ports)))
    assert parse_rule(render_rule(V4, rule), V4) == rule
