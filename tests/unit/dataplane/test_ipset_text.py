"""Sets to ipset's text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.dataplane.ipset.parse import Stray, parse_save
from podwall.dataplane.ipset.render import (
    CutMember,
    hash_size,
    member_text,
    render_cut,
    render_set_step,
)
from podwall.errors import CompileError
from podwall.model.net import Family, Protocol, parse_address, parse_cidr
from podwall.ruleset.ir import AddressPort, IPSet, Member, Net, SetRole, SetType
from podwall.ruleset.plan import MemberChange, SetStep
from tests.unit.dataplane import strategies as own

V4, V6 = Family.V4, Family.V6
PEERS = IPSet("PW4-p-web-x", SetType.HASH_IP, V4, SetRole.PEERS)
BLOCKS = IPSet("PW4-b-net-x", SetType.HASH_NET, V4, SetRole.BLOCKS)
PORTS = IPSet("PW4-n-http-x", SetType.HASH_IP_PORT, V4, SetRole.NAMED_PORTS)
A, B = parse_address("10.0.0.1"), parse_address("10.0.0.2")


def test_a_step_creates_adds_deletes_and_destroys_in_this_order() -> None:
    step = SetStep(
        create=(
            IPSet(
                "PW4-b-new-x",
                SetType.HASH_NET,
                V4,
                SetRole.BLOCKS,
                frozenset(
                    {
                        Net(parse_cidr("10.0.0.0/8")),
                        Net(parse_cidr("10.1.0.0/16"), nomatch=True),
                        Net(parse_cidr("192.0.2.7/32")),
                    }
                ),
            ),
            IPSet("PW6-cut", SetType.HASH_IP_PORT_IP, V6, SetRole.CUT, timeout=60),
        ),
        add=(MemberChange(PEERS, (A,)), MemberChange(PORTS, (AddressPort(A, Protocol.TCP, 80),))),
        delete=(
            MemberChange(PEERS, (B,)),
            MemberChange(BLOCKS, (Net(parse_cidr("10.2.0.0/16"), True),)),
        ),
        destroy=("PW4-p-old-x",),
    )
    assert render_set_step(step) == (
        "create PW4-b-new-x hash:net family inet hashsize 64 maxelem 1048576 -exist\n"
        "add PW4-b-new-x 10.0.0.0/8 -exist\n"
        "add PW4-b-new-x 10.1.0.0/16 nomatch -exist\n"
        "add PW4-b-new-x 192.0.2.7 -exist\n"
        "create PW6-cut hash:ip,port,ip family inet6 hashsize 64 maxelem 1048576 timeout 60"
        " -exist\n"
        "add PW4-p-web-x 10.0.0.1 -exist\n"
        "add PW4-n-http-x 10.0.0.1,tcp:80 -exist\n"
        "del PW4-p-web-x 10.0.0.2 -exist\n"
        "del PW4-b-net-x 10.2.0.0/16 -exist\n"
        "destroy PW4-p-old-x\n"
    )


@given(st.lists(own.ipsets(), max_size=4, unique_by=lambda each: each.name))
def test_what_was_written_is_read_back_as_the_same_sets(sets: list[IPSet]) -> None:
    text = render_set_step(SetStep(create=tuple(sets))).replace(" -exist", "")
    saved = parse_save(text)
    assert saved.sets == {each.name: each for each in sorted(sets, key=lambda each: each.name)}
    assert not saved.strays
    assert not saved.foreign


SAVED = """\
create PW4-p-web-x hash:ip family inet hashsize 64 maxelem 1048576 bucketsize 12 initval 0x2e9cc32c
add PW4-p-web-x 10.0.0.2
add PW4-p-web-x 10.0.0.1 packets 7 bytes 420
create PW4-b-net-x hash:net family inet hashsize 64 maxelem 1048576 counters comment bucketsize 12
add PW4-b-net-x 10.1.0.0/16 nomatch packets 0 bytes 0
add PW4-b-net-x 10.0.0.0/8 packets 0 bytes 0 comment "a nomatch b"
add PW4-b-net-x 192.0.2.7
create PW4-n-http-x hash:ip,port family inet hashsize 64 maxelem 1048576
add PW4-n-http-x 10.0.0.1,tcp:80
add PW4-n-http-x 10.0.0.1,sctp:80
add PW4-n-http-x 10.0.0.1,icmp:echo-request
create PW6-p-all-x hash:ip family inet6 hashsize 64 maxelem 1048576
add PW6-p-all-x fd00::1
create PW4-cut hash:ip,port,ip family inet hashsize 64 maxelem 1048576 timeout 60
add PW4-cut 10.0.0.1,tcp:80,10.0.0.2 timeout 59
create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
create PW4-t-in-3 bitmap:port range 1-10
create PW4-p-mask hash:ip family inet hashsize 64 maxelem 65536 netmask 24
create PW4-other list:set size 8
"""


def test_a_save_gives_our_sets_whatever_the_kernel_adds_to_the_lines() -> None:
    sets = parse_save(SAVED).sets
    assert list(sets) == ["PW4-b-net-x", "PW4-cut", "PW4-n-http-x", "PW4-p-web-x", "PW6-p-all-x"]
    assert sets["PW4-p-web-x"].members == {A, B}
    assert sets["PW4-b-net-x"].members == {
        Net(parse_cidr("10.0.0.0/8")),
        Net(parse_cidr("10.1.0.0/16"), nomatch=True),
        Net(parse_cidr("192.0.2.7/32")),
    }
    assert sets["PW4-n-http-x"].members == {
        AddressPort(A, Protocol.TCP, 80),
        AddressPort(A, Protocol.SCTP, 80),
    }
    assert sets["PW6-p-all-x"] == IPSet(
        "PW6-p-all-x",
        SetType.HASH_IP,
        V6,
        SetRole.PEERS,
        frozenset({parse_address("fd00::1")}),
    )


def test_members_of_the_cut_set_are_never_compared() -> None:
    cut = parse_save(SAVED).sets["PW4-cut"]
    assert (cut.members, cut.timeout, cut.role) == (frozenset(), 60, SetRole.CUT)


def test_what_podwall_never_puts_into_its_sets_is_handed_back_for_removal() -> None:
    saved = parse_save(SAVED)
    assert saved.strays == (Stray("PW4-n-http-x", "10.0.0.1,icmp:echo-request"),)
    assert saved.foreign == ("PW4-t-in-3", "PW4-p-mask", "PW4-other")


@pytest.mark.parametrize(
    "name",
    [
        "PW4-p-web-x b",
        "PW4-p-web-x hash:ip",
        "PW4-p-web-x hash:ip family",
        "PW4-p-web-x 10.0.0.9",
        "PW4-p-web-x 10.0.0.9 nomatch",
        "PW4-p-web-x 1.2.3.4 timeout",
        "x PW4-p-web-x",
        "PW4-p-web-x ",
        " PW4-p-web-x",
    ],
)
def test_a_name_with_spaces_is_not_one_of_ours(name: str) -> None:
    kind = "hash:ip family inet hashsize 64 maxelem 1048576"
    ours = f"create PW4-p-web-x {kind}\nadd PW4-p-web-x 1.1.1.1\n"
    theirs = f"create {name} {kind}\nadd {name} 10.0.0.1\n"
    for text in (ours + theirs, theirs + ours):
        saved = parse_save(text)
        assert list(saved.sets) == ["PW4-p-web-x"]
        assert saved.sets["PW4-p-web-x"].members == {parse_address("1.1.1.1")}
        assert (saved.strays, saved.foreign) == ((), ())


def test_sets_belong_to_the_family_of_their_name() -> None:
    assert list(parse_save(SAVED).of_family(V6)) == ["PW6-p-all-x"]


@pytest.mark.parametrize(
    ("ipset", "member"),
    [
        (PEERS, parse_address("fd00::1")),
        (PEERS, Net(parse_cidr("10.0.0.0/8"))),
        (PEERS, AddressPort(A, Protocol.TCP, 80)),
        (BLOCKS, Net(parse_cidr("0.0.0.0/0"))),
        (BLOCKS, Net(parse_cidr("fd00::/8"))),
        (BLOCKS, A),
        (PORTS, AddressPort(A, Protocol.ICMP, 8)),
        (PORTS, AddressPort(A, Protocol.TCP, 65536)),
        (PORTS, A),
    ],
)
def test_a_member_that_its_set_cannot_hold_is_refused(ipset: IPSet, member: Member) -> None:
    with pytest.raises(CompileError):
        member_text(ipset, member)


@pytest.mark.parametrize("name", ["", "x y", "KUBE-x", "PW4-a\nflush", "PW4-" + "a" * 28, "PW-x"])
def test_no_batch_touches_a_set_that_is_not_ours(name: str) -> None:
    stranger = IPSet(name, SetType.HASH_IP, V4, SetRole.PEERS)
    for step in (
        SetStep(create=(stranger,)),
        SetStep(add=(MemberChange(stranger, (A,)),)),
        SetStep(delete=(MemberChange(stranger, (A,)),)),
        SetStep(destroy=(name,)),
    ):
        with pytest.raises(CompileError, match="set name"):
            render_set_step(step)


@pytest.mark.parametrize("timeout", [0, -1, 2_147_484])
def test_a_timeout_that_ipset_does_not_take_is_refused(timeout: int) -> None:
    ipset = IPSet("PW4-cut", SetType.HASH_IP_PORT_IP, V4, SetRole.CUT, timeout=timeout)
    with pytest.raises(CompileError, match="timeout"):
        render_set_step(SetStep(create=(ipset,)))


def test_cut_connections_are_server_port_and_client() -> None:
    member = CutMember(A, Protocol.SCTP, 9999, B)
    assert render_cut("PW4-cut", [member]) == (
        "add PW4-cut 10.0.0.1,sctp:9999,10.0.0.2 timeout 180 -exist\n"
    )
    with pytest.raises(CompileError):
        render_cut("PW4-cut", [CutMember(A, Protocol.TCP, 1, parse_address("fd00::1"))])


@pytest.mark.parametrize(
    ("members", "size"), [(0, 64), (64, 64), (65, 128), (1000, 1024), (10**6, 65536)]
)
def test_a_set_starts_with_a_bucket_for_each_member_within_bounds(members: int, size: int) -> None:
    assert hash_size(members) == size
