"""What every data path does: the same tests on the fake kernel and on real ones in both modes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import product

import pytest

from podwall.dataplane.base import Connection
from podwall.dataplane.counters import CountedRule
from podwall.dataplane.ipset.render import CutMember
from podwall.dataplane.iptables.mode import Mode
from podwall.dataplane.memory import MemoryKernel
from podwall.errors import BatchRefused, CommandFailed
from podwall.model.flow import Flow
from podwall.model.net import Family, PortRange, Protocol
from podwall.ruleset.ir import (
    AddressPort,
    AddToSet,
    Chain,
    ChainRole,
    Drop,
    End,
    Goto,
    Hook,
    IPSet,
    Jump,
    Log,
    LogKind,
    MatchLimit,
    MatchNeighbourDiscovery,
    MatchPorts,
    MatchProtocol,
    MatchSelf,
    MatchSet,
    MatchState,
    Net,
    Reject,
    Return,
    Rule,
    SetRole,
    SetType,
)
from podwall.ruleset.plan import (
    ChainStep,
    MemberChange,
    ObservedFamily,
    SetStep,
    UnreadableRule,
)
from tests.builders import addr, net
from tests.e2e.kernel import private_kernel
from tests.unit.dataplane.bench import Bench

V4, V6 = Family.V4, Family.V6
TCP = MatchProtocol(Protocol.TCP)
FLOW = (End.SRC, End.DST, End.DST)
JUMP = "-m comment --comment podwall -j PW-FORWARD"


@pytest.fixture(
    params=[
        *((f"memory {mode.value}", mode) for mode in Mode),
        *(
            pytest.param((mode.value, mode), marks=pytest.mark.kernel, id=mode.value)
            for mode in Mode
        ),
    ],
    ids=lambda param: param[0],
)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    name, mode = request.param
    if name.startswith("memory"):
        yield Bench(MemoryKernel(), mode)
    else:
        with private_kernel() as kernel:
            yield Bench(kernel.runner, mode)


def peers(family: Family, *members: str, name: str = "p-web-x") -> IPSet:
    held = frozenset(map(addr, members))
    return IPSet(f"PW{family.value}-{name}", SetType.HASH_IP, family, SetRole.PEERS, held)


def root(*rules: Rule, name: str = "PW-FORWARD") -> Chain:
    return Chain(name, ChainRole.ROOT, rules)


def every_kind_of_set(family: Family) -> tuple[IPSet, ...]:
    prefix = f"PW{family.value}"
    a, b, wide, hole = {
        V4: ("10.0.0.1", "10.0.0.2", "128.0.0.0/1", "192.0.2.0/24"),
        V6: ("fd00::1", "2001:db8::a:0:1", "8000::/1", "fd00:1::/32"),
    }[family]
    ports = {
        AddressPort(addr(address), protocol, 80)
        for address, protocol in product((a, b), (Protocol.TCP, Protocol.UDP, Protocol.SCTP))
    }
    blocks = {Net(net(wide)), Net(net(hole), nomatch=True), Net(net(f"{a}/{family.bits}"))}
    return (
        IPSet(f"{prefix}-b-net-x", SetType.HASH_NET, family, SetRole.BLOCKS, frozenset(blocks)),
        IPSet(f"{prefix}-cut", SetType.HASH_IP_PORT_IP, family, SetRole.CUT, timeout=86400),
        IPSet(f"{prefix}-logged", SetType.HASH_IP_PORT_IP, family, SetRole.LOGGED, timeout=10),
        IPSet(
            f"{prefix}-n-http-x",
            SetType.HASH_IP_PORT,
            family,
            SetRole.NAMED_PORTS,
            frozenset(ports),
        ),
        IPSet(f"{prefix}-p-none-x", SetType.HASH_IP, family, SetRole.PEERS),
        peers(family, a, b),
    )


def every_kind_of_rule(family: Family) -> tuple[Rule, ...]:
    prefix = f"PW{family.value}"
    only_v6 = (Rule(Return(), (MatchNeighbourDiscovery(135),), "neighbour discovery"),)
    return (
        Rule(Return(), (MatchState(("RELATED", "ESTABLISHED")),)),
        Rule(Reject(tcp_reset=True), (TCP, MatchSet(f"{prefix}-cut", (End.SRC, End.SRC, End.DST)))),
        Rule(
            Return(),
            (
                TCP,
                MatchPorts((PortRange(80, 90), PortRange(443, 443))),
                MatchSet(f"{prefix}-b-net-x", (End.SRC,)),
            ),
            "dev/web ingress[0]",
        ),
        Rule(
            Return(),
            (MatchSet(f"{prefix}-n-http-x", (End.SRC, End.DST)),),
            "dev/web_1 (2) [x]: a=b,c",
        ),
        Rule(Return(), (MatchSet(f"{prefix}-p-web-x", (End.DST,), negated=True),), "x" * 255),
        Rule(Return(), (MatchSelf(),)),
        *(only_v6 if family is V6 else ()),
        Rule(Jump("PW-a")),
        Rule(Goto("PW-a"), (MatchProtocol(Protocol.SCTP),)),
        Rule(
            Return(),
            (
                MatchLimit(1000, 1000),
                MatchSet(f"{prefix}-logged", FLOW, negated=True),
                MatchLimit(200, 400),
            ),
        ),
        Rule(AddToSet(f"{prefix}-logged", FLOW)),
        *(Rule(Log(kind, group)) for kind in LogKind for group in (0, 9357, 65535)),
        Rule(Reject()),
        Rule(Drop()),
    )


def test_a_fresh_kernel_holds_nothing_of_ours(bench: Bench) -> None:
    observed = bench.dataplane.observe()
    assert (observed.v4, observed.v6) == (ObservedFamily(V4), ObservedFamily(V6))
    assert bench.dataplane.families == (V4, V6)
    assert bench.dataplane.notes == ()


def test_every_kind_of_set_is_read_back_as_it_was_written(bench: Bench) -> None:
    for family in Family:
        bench.dataplane.run(SetStep(create=every_kind_of_set(family)))
    observed = bench.dataplane.observe()
    for family in Family:
        expected = {each.name: each for each in every_kind_of_set(family)}
        assert observed.family(family).sets == expected


@pytest.mark.parametrize("family", Family)
def test_every_kind_of_rule_is_read_back_as_it_was_written(bench: Bench, family: Family) -> None:
    chains = (Chain("PW-a", ChainRole.DENY), root(*every_kind_of_rule(family)))
    bench.dataplane.run(SetStep(create=every_kind_of_set(family)))
    bench.dataplane.run(ChainStep(family, replace=chains, hook=((Hook.FORWARD, "PW-FORWARD"),)))
    observed = bench.dataplane.observe().family(family)
    assert observed.chains == {chain.name: chain.rules for chain in chains}
    [jump] = observed.hooks[Hook.FORWARD]
    assert (jump.index, jump.chain, jump.plain) == (0, "PW-FORWARD", True)


def test_the_jump_comes_before_the_rules_of_others(bench: Bench) -> None:
    bench.restore(V4, "-A FORWARD -s 192.0.2.1/32 -j ACCEPT")
    bench.dataplane.run(ChainStep(V4, replace=(root(),), hook=((Hook.FORWARD, "PW-FORWARD"),)))
    forward = [line for line in bench.rules(V4) if line.startswith("-A FORWARD")]
    assert forward == [f"-A FORWARD {JUMP}", "-A FORWARD -s 192.0.2.1/32 -j ACCEPT"]


def test_a_jump_that_lost_its_place_is_seen_and_moved(bench: Bench) -> None:
    hook = ((Hook.FORWARD, "PW-FORWARD"),)
    bench.dataplane.run(ChainStep(V4, replace=(root(),), hook=hook))
    bench.restore(V4, "-I FORWARD 1 -j ACCEPT", "-A FORWARD -s 192.0.2.1/32 -j PW-FORWARD")
    jumps = bench.dataplane.observe().v4.hooks[Hook.FORWARD]
    assert [(each.index, each.plain) for each in jumps] == [(1, True), (2, False)]
    unhook = tuple((Hook.FORWARD, each.spec) for each in jumps)
    bench.dataplane.run(ChainStep(V4, unhook=unhook, hook=hook))
    forward = [line for line in bench.rules(V4) if line.startswith("-A FORWARD")]
    assert forward == [f"-A FORWARD {JUMP}", "-A FORWARD -j ACCEPT"]


def test_rules_and_sets_of_others_are_never_touched(bench: Bench) -> None:
    theirs = [":KUBE-X - [0:0]", "-A KUBE-X -j DROP", "-A INPUT -j KUBE-X"]
    bench.restore(V4, *theirs)
    bench.ipset("create KUBE-SET hash:ip", "add KUBE-SET 192.0.2.1")
    before = bench.rules(V4), bench.sets()
    step = ChainStep(V4, replace=(root(Rule(Drop())),), hook=((Hook.INPUT, "PW-FORWARD"),))
    bench.dataplane.run(SetStep(create=(peers(V4, "10.0.0.1"),)))
    bench.dataplane.run(step)
    [jump] = bench.dataplane.observe().v4.hooks[Hook.INPUT]
    assert set(before[0]) < set(bench.rules(V4))
    assert set(before[1]) < set(bench.sets())
    bench.dataplane.run(ChainStep(V4, unhook=((Hook.INPUT, jump.spec),), delete=("PW-FORWARD",)))
    bench.dataplane.run(SetStep(destroy=("PW4-p-web-x",)))
    assert (bench.rules(V4), bench.sets()) == before


def test_a_chain_is_replaced_as_a_whole(bench: Bench) -> None:
    bench.dataplane.run(ChainStep(V4, replace=(root(Rule(Drop()), Rule(Return())),)))
    bench.dataplane.run(ChainStep(V4, replace=(root(Rule(Reject())),)))
    assert bench.dataplane.observe().v4.chains == {"PW-FORWARD": (Rule(Reject()),)}


def test_chains_that_lead_to_each_other_are_removed_in_one_step(bench: Bench) -> None:
    chains = (Chain("PW-b", ChainRole.DENY), root(Rule(Jump("PW-b"))))
    bench.dataplane.run(ChainStep(V4, replace=chains))
    bench.dataplane.run(ChainStep(V4, delete=("PW-FORWARD", "PW-b")))
    assert bench.dataplane.observe().v4.chains == {}


def test_every_step_can_be_run_again(bench: Bench) -> None:
    ours = peers(V4, "10.0.0.1")
    steps = (
        SetStep(create=(ours,), add=(MemberChange(ours, (addr("10.0.0.2"),)),)),
        ChainStep(V4, replace=(root(Rule(Drop())),), delete=("PW-never-there",)),
        SetStep(delete=(MemberChange(ours, (addr("10.0.0.9"), addr("10.0.0.1"))),)),
    )
    for step in steps:
        bench.dataplane.run(step)
        once = bench.rules(V4), bench.sets()
        bench.dataplane.run(step)
        assert (bench.rules(V4), bench.sets()) == once


def test_a_refused_chain_step_changes_nothing_and_names_the_line(bench: Bench) -> None:
    bench.restore(V4, "-A FORWARD -j ACCEPT")
    bench.dataplane.run(ChainStep(V4, replace=(root(Rule(Drop())),)))
    before = bench.rules(V4)
    missing = Rule(Return(), (MatchSet("PW4-p-gone-x", (End.SRC,)),), "dev/web ingress[0]")
    step = ChainStep(
        V4,
        replace=(root(Rule(Reject()), missing), Chain("PW-new", ChainRole.DENY)),
        hook=((Hook.FORWARD, "PW-FORWARD"),),
    )
    with pytest.raises(BatchRefused) as refused:
        bench.dataplane.run(step)
    assert bench.rules(V4) == before
    assert refused.value.line == 5
    assert "PW4-p-gone-x" in str(refused.value)
    assert "dev/web ingress[0]" in str(refused.value)


def test_a_loop_of_chains_is_refused_as_a_whole(bench: Bench) -> None:
    before = bench.rules(V4)
    chains = (Chain("PW-b", ChainRole.DENY, (Rule(Jump("PW-FORWARD")),)), root(Rule(Jump("PW-b"))))
    with pytest.raises(BatchRefused):
        bench.dataplane.run(ChainStep(V4, replace=chains, hook=((Hook.FORWARD, "PW-FORWARD"),)))
    assert bench.rules(V4) == before


def test_a_refused_set_step_keeps_what_came_before_and_names_the_line(bench: Bench) -> None:
    full = peers(V4, "10.0.0.1")
    bench.ipset("create PW4-p-gone-x hash:net")
    step = SetStep(
        create=(full,),
        add=(
            MemberChange(peers(V4, name="p-gone-x"), (addr("10.0.0.7"),)),
            MemberChange(peers(V4, name="p-never-x"), (addr("10.0.0.8"),)),
            MemberChange(full, (addr("10.0.0.9"),)),
        ),
    )
    with pytest.raises(BatchRefused) as refused:
        bench.dataplane.run(step)
    # After the set's creation, its emptying and its member.
    assert refused.value.line == 5
    assert "p-never-x 10.0.0.8" in str(refused.value)
    assert bench.dataplane.observe().v4.sets["PW4-p-web-x"] == full


def test_a_set_that_exists_as_another_type_is_refused(bench: Bench) -> None:
    bench.ipset("create PW4-p-web-x hash:net")
    with pytest.raises(BatchRefused) as refused:
        bench.dataplane.run(SetStep(create=(peers(V4, "10.0.0.1"),)))
    assert refused.value.line == 1


def test_a_set_that_another_rule_names_stays_and_the_rest_goes(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sets = tuple(peers(V4, name=f"p-{letter}-x") for letter in "abc")
    bench.dataplane.run(SetStep(create=sets))
    bench.restore(V4, "-A INPUT -m set --match-set PW4-p-b-x src -j ACCEPT")
    with caplog.at_level(logging.WARNING):
        bench.dataplane.run(SetStep(destroy=tuple(each.name for each in sets)))
    assert list(bench.dataplane.observe().v4.sets) == ["PW4-p-b-x"]
    assert "PW4-p-b-x" in caplog.text


def test_a_set_that_stayed_is_made_anew_without_what_it_held(bench: Bench) -> None:
    bench.dataplane.run(SetStep(create=(peers(V4, "10.0.0.1", "10.0.0.2"),)))
    bench.restore(V4, ":OTHERS - [0:0]", "-A OTHERS -m set --match-set PW4-p-web-x src")
    bench.dataplane.run(SetStep(create=(peers(V4, "10.0.0.2"),)))
    assert bench.dataplane.observe().v4.sets["PW4-p-web-x"] == peers(V4, "10.0.0.2")


def test_sets_can_be_destroyed_right_after_the_rules_that_named_them(bench: Bench) -> None:
    for _ in range(5):
        sets = every_kind_of_set(V4)
        bench.dataplane.run(SetStep(create=sets))
        chains = (Chain("PW-a", ChainRole.DENY), root(*every_kind_of_rule(V4)))
        bench.dataplane.run(ChainStep(V4, replace=chains))
        bench.dataplane.run(ChainStep(V4, delete=("PW-FORWARD", "PW-a")))
        bench.dataplane.run(SetStep(destroy=tuple(each.name for each in sets)))
        assert bench.sets() == []


def test_a_chain_that_another_rule_leads_to_is_emptied_and_stays(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    chains = tuple(Chain(f"PW-{letter}", ChainRole.DENY, (Rule(Drop()),)) for letter in "abc")
    bench.dataplane.run(ChainStep(V4, replace=chains))
    bench.restore(V4, ":THEIRS - [0:0]", "-A THEIRS -j PW-b")
    with caplog.at_level(logging.WARNING):
        bench.dataplane.run(
            ChainStep(V4, replace=(root(),), delete=tuple(each.name for each in chains))
        )
    assert bench.dataplane.observe().v4.chains == {"PW-FORWARD": (), "PW-b": ()}
    assert "PW-b" in caplog.text


def test_a_rule_added_by_hand_shows_as_one_that_podwall_never_writes(bench: Bench) -> None:
    bench.dataplane.run(ChainStep(V4, replace=(root(Rule(Drop())),)))
    bench.restore(V4, "-I PW-FORWARD 1 -s 192.0.2.1/32 -j ACCEPT")
    assert bench.dataplane.observe().v4.chains["PW-FORWARD"] == (
        UnreadableRule("-s 192.0.2.1/32 -j ACCEPT"),
        Rule(Drop()),
    )


def test_what_podwall_never_puts_into_its_sets_is_removed(bench: Bench) -> None:
    bench.dataplane.run(SetStep(create=every_kind_of_set(V4)))
    clean = bench.sets()
    bench.ipset("add PW4-n-http-x 10.0.0.1,gre:0", "create PW4-t-old bitmap:port range 1-9")
    assert bench.sets() != clean
    bench.dataplane.observe()
    assert bench.dataplane.repair() == 2
    assert bench.sets() == clean
    bench.dataplane.observe()
    assert bench.dataplane.repair() == 0


def test_a_prefix_changes_from_member_to_hole_in_place(bench: Bench) -> None:
    ipset = IPSet("PW4-b-net-x", SetType.HASH_NET, V4, SetRole.BLOCKS)
    block = net("10.1.0.0/16")
    for nomatch in (False, True, False):
        bench.dataplane.run(
            SetStep(create=(ipset,), add=(MemberChange(ipset, (Net(block, nomatch),)),))
        )
        held = bench.dataplane.observe().v4.sets["PW4-b-net-x"].members
        assert held == {Net(block, nomatch)}


def test_saving_restoring_and_saving_again_changes_nothing(bench: Bench) -> None:
    for family in Family:
        bench.dataplane.run(SetStep(create=every_kind_of_set(family)))
        chains = (Chain("PW-a", ChainRole.DENY), root(*every_kind_of_rule(family)))
        bench.dataplane.run(ChainStep(family, replace=chains, hook=((Hook.FORWARD, "PW-FORWARD"),)))
        saved = bench.rules(family)
        text = "\n".join([*saved, ""])
        assert bench.runner.run([bench.programs.restore(family)], input=text).status == 0
        assert bench.rules(family) == saved


def test_reading_takes_three_processes_and_a_step_takes_one() -> None:
    kernel = MemoryKernel()
    bench = Bench(kernel, Mode.NFT)
    kernel.commands.clear()
    bench.dataplane.observe()
    assert [words[0] for words in kernel.commands] == [
        "ipset",
        "iptables-nft-save",
        "ip6tables-nft-save",
    ]
    kernel.commands.clear()
    bench.dataplane.run(SetStep(create=every_kind_of_set(V4)))
    bench.dataplane.run(ChainStep(V6, replace=(root(),)))
    assert kernel.commands == [("ipset", "restore"), ("ip6tables-nft-restore", "--noflush")]


def test_there_are_no_connections_to_begin_with(bench: Bench) -> None:
    assert bench.dataplane.connections() == []
    assert bench.dataplane.cut([]) == 0


def test_connections_cannot_be_cut_without_the_set_that_keeps_them_cut(bench: Bench) -> None:
    flow = Flow(addr("10.0.0.1"), addr("10.0.0.2"), Protocol.TCP, 80)
    with pytest.raises(CommandFailed, match="does not exist"):
        bench.dataplane.cut([Connection(flow, "2/-/-/00")])


def test_there_are_no_remains_without_sets_and_those_that_there_are_are_read(bench: Bench) -> None:
    assert bench.dataplane.read_remains() == ()
    for family in Family:
        cut = next(each for each in every_kind_of_set(family) if each.role is SetRole.CUT)
        bench.dataplane.run(SetStep(create=(cut,)))
    assert bench.dataplane.read_remains() == ()
    assert not bench.ipset("add PW4-cut 10.0.0.1,tcp:80,10.0.0.2").status
    assert bench.dataplane.read_remains() == (
        CutMember(addr("10.0.0.1"), Protocol.TCP, 80, addr("10.0.0.2")),
    )


def test_counters_are_those_of_our_own_rules(bench: Bench) -> None:
    bench.restore(V4, "-A FORWARD -j ACCEPT")
    for family in Family:
        bench.dataplane.run(ChainStep(family, replace=(root(Rule(Drop())),)))
        counted = bench.dataplane.counters(family)
        assert counted == {"PW-FORWARD": (CountedRule(Rule(Drop()), 0, 0),)}


def test_the_other_mode_is_another_world_with_the_same_sets(bench: Bench) -> None:
    bench.dataplane.run(SetStep(create=(peers(V4, "10.0.0.1"),)))
    bench.dataplane.run(ChainStep(V4, replace=(root(),)))
    other = bench.dataplane.in_other_mode()
    assert other.mode is bench.mode.other
    observed = other.observe()
    assert not observed.v4.chains
    assert list(observed.v4.sets) == ["PW4-p-web-x"]


def test_only_connections_that_are_asked_for_are_listed(bench: Bench) -> None:
    assert bench.dataplane.connections({addr("10.0.0.1"), addr("fd00::1")}) == []
    assert bench.dataplane.connections(set()) == []
