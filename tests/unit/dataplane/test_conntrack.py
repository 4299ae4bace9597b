"""Which connections are cut, and what is known of each."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwall.dataplane import ctnetlink
from podwall.dataplane.base import Connection
from podwall.dataplane.conntrack import cut_forbidden, cut_members, parse_entries
from podwall.dataplane.ipset.render import CutMember, render_cut
from podwall.dataplane.memory import MemoryKernel, memory_dataplane
from podwall.errors import KernelError
from podwall.model.flow import Flow
from podwall.model.net import Address, Family, Protocol
from podwall.ruleset.ir import IPSet, SetRole, SetType
from podwall.ruleset.plan import SetStep
from tests.builders import addr

V4, V6 = Family.V4, Family.V6
CLIENT, SERVER, OTHER = addr("10.0.0.2"), addr("10.0.0.3"), addr("10.0.0.9")
WEB = Flow(CLIENT, SERVER, Protocol.TCP, 80)

LISTED = """\
4 6 10.0.0.2 10.96.0.1 40000 443 10.0.0.3 10.0.0.2 8443 40000 2/-/01/aa
4 17 10.0.0.2 10.0.0.3 40000 53 10.0.0.3 10.0.0.2 53 40000 2/-/02/ab
4 1 10.0.0.2 10.0.0.3 0 0 10.0.0.3 10.0.0.2 0 0 2/0009/03/ac
4 47 10.0.0.2 10.0.0.3 0 0 10.0.0.3 10.0.0.2 0 0 2/-/04/ad
6 132 fd00::2 fd00::3 40000 9999 fd00::3 fd00::2 9999 40000 10/-/05/ae
6 6 ::ffff:1.2.3.4 fd00::3 1 2 fd00::3 ::ffff:1.2.3.4 2 1 10/-/06/af
"""


def cut_sets() -> SetStep:
    return SetStep(
        create=tuple(
            IPSet(
                f"PW{family.value}-cut",
                SetType.HASH_IP_PORT_IP,
                family,
                SetRole.CUT,
                timeout=86400,
            )
            for family in Family
        )
    )


def test_s31_a_connection_is_judged_by_the_server_that_dnat_chose() -> None:
    first = parse_entries(LISTED, [V4])[0]
    assert first == Connection(Flow(CLIENT, SERVER, Protocol.TCP, 8443), "2/-/01/aa")


def test_only_protocols_with_ports_have_one() -> None:
    assert [each.flow.port for each in parse_entries(LISTED, [V4, V6])] == [
        8443,
        53,
        None,
        None,
        9999,
    ]


def test_only_the_families_asked_for_are_given() -> None:
    assert [each.flow.src for each in parse_entries(LISTED, [V6])] == [addr("fd00::2")]


@pytest.mark.parametrize("text", ["4 6 10.0.0.2\n", "conntrack v1.4.7: 0 entries\n"])
def test_a_list_that_cannot_be_read_is_an_error_not_an_empty_table(text: str) -> None:
    with pytest.raises(KernelError, match="cannot be read"):
        parse_entries(text, [V4])


def test_a_cut_connection_is_kept_cut_by_server_port_and_client() -> None:
    connections = parse_entries(LISTED, [V4, V6])
    assert cut_members([*connections, *connections], V4) == [
        CutMember(SERVER, Protocol.TCP, 8443, CLIENT),
        CutMember(SERVER, Protocol.UDP, 53, CLIENT),
    ]
    assert cut_members(connections, V6) == [
        CutMember(addr("fd00::3"), Protocol.SCTP, 9999, addr("fd00::2"))
    ]


def test_s46_what_is_no_longer_allowed_is_cut_and_the_rest_stays() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    dataplane.run(cut_sets())
    for port in (40000, 40001):
        kernel.track(WEB, client_port=port)
    kernel.track(Flow(CLIENT, OTHER, Protocol.TCP, 80))
    kernel.track(Flow(OTHER, SERVER, Protocol.UDP, 53))
    report = cut_forbidden(dataplane, lambda flow: flow != WEB, lambda address: address == CLIENT)
    assert (report.judged, report.cut) == (3, 2)
    assert [each.flow.dst for each in dataplane.connections()] == [OTHER, SERVER]
    assert list(kernel.sets.by_name["PW4-cut"].members) == ["10.0.0.3,tcp:80,10.0.0.2"]
    assert not kernel.sets.by_name["PW6-cut"].members


def test_a_flow_is_judged_once_however_many_connections_it_has() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    for port in range(40000, 40010):
        kernel.track(WEB, client_port=port)
    judged: list[Flow] = []

    def allow(flow: Flow) -> bool:
        judged.append(flow)
        return True

    assert cut_forbidden(dataplane, allow, lambda _address: True).judged == 10
    assert judged == [WEB]


def test_without_anything_to_cut_nothing_is_written() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    kernel.track(WEB)
    kernel.commands.clear()
    assert cut_forbidden(dataplane, lambda _flow: False, lambda _address: False).cut == 0
    assert [words[-1] for words in kernel.commands] == ["list"]


def test_the_set_is_filled_before_an_entry_is_deleted() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    dataplane.run(cut_sets())
    kernel.track(WEB)
    kernel.commands.clear()
    cut_forbidden(dataplane, lambda _flow: False, lambda _address: True)
    assert [words[-1] for words in kernel.commands] == ["list", "restore", "delete"]


def test_a_cut_datagram_flow_is_refused_for_a_short_while_only() -> None:
    # The server's port may start flows of its own to the client, which policies can allow.
    members = [
        CutMember(SERVER, Protocol.TCP, 80, CLIENT),
        CutMember(SERVER, Protocol.UDP, 53, CLIENT),
    ]
    assert render_cut("PW4-cut", members).splitlines() == [
        "add PW4-cut 10.0.0.3,tcp:80,10.0.0.2 -exist",
        "add PW4-cut 10.0.0.3,udp:53,10.0.0.2 timeout 180 -exist",
    ]


def test_what_was_cut_is_released_once_it_is_allowed_again() -> None:
    kernel = MemoryKernel()
    dataplane = memory_dataplane(kernel)
    dataplane.run(cut_sets())
    kernel.track(WEB)
    kernel.track(Flow(CLIENT, OTHER, Protocol.UDP, 53))
    cut_forbidden(dataplane, lambda _flow: False, lambda _address: True)
    dataplane.observe()
    assert len(dataplane.remains()) == 2
    cut_forbidden(dataplane, lambda flow: flow == WEB, lambda _address: True)
    dataplane.observe()
    assert dataplane.remains() == (CutMember(OTHER, Protocol.UDP, 53, CLIENT),)


def message(family: int, src: bytes, dst: bytes, protocol: int, ports: bytes) -> bytes:
    """A tuple attribute as the kernel sends it."""
    source, destination = (1, 2) if family == socket.AF_INET else (3, 4)
    ip = ctnetlink.attribute(source, src) + ctnetlink.attribute(destination, dst)
    proto = ctnetlink.attribute(1, bytes([protocol]))
    if ports:
        proto += ctnetlink.attribute(2, ports[:2]) + ctnetlink.attribute(3, ports[2:])
    return ctnetlink.attribute(0x8001, ip) + ctnetlink.attribute(0x8002, proto)


@given(
    st.sampled_from(Family),
    st.lists(st.binary(min_size=16, max_size=16), min_size=4, max_size=4),
    st.sampled_from([1, 6, 17, 47, 58, 132]),
    st.binary(min_size=8, max_size=8),
    st.none() | st.binary(min_size=2, max_size=2),
)
def test_an_entry_of_the_kernel_becomes_a_connection_and_its_handle_the_entry(
    family: Family, ends: list[bytes], protocol: int, ports: bytes, zone: bytes | None
) -> None:
    wide = [each[: family.bits // 8] for each in ends]
    number = socket.AF_INET if family is V4 else socket.AF_INET6
    has_ports = protocol in (6, 17, 132)
    original = message(number, wide[0], wide[1], protocol, ports[:4] if has_ports else b"")
    reply = message(number, wide[2], wide[3], protocol, ports[4:] if has_ports else b"")
    entry = ctnetlink.attribute(0x8001, original) + ctnetlink.attribute(0x8002, reply)
    entry += ctnetlink.attribute(12, b"\1\2\3\4")
    if zone is not None:
        entry += ctnetlink.attribute(18, zone)
    line = ctnetlink.describe(number, entry)
    assert line is not None
    found = parse_entries(f"{line}\n", [family])
    mapped = any(each[:12] == bytes(10) + b"\xff\xff" for each in wide if family is V6)
    if not mapped:
        [connection] = found
        flow = connection.flow
        assert flow.src == Address(family, int.from_bytes(wide[0], "big"))
        assert flow.dst == Address(family, int.from_bytes(wide[2], "big"))
        assert flow.port == (int.from_bytes(ports[4:6], "big") if has_ports else None)
        request = ctnetlink.delete_request(connection.handle)
        assert struct.unpack_from("=I", request)[0] == len(request)
        sent = ctnetlink.attributes(request[20:])
        assert sent[1] == original
        assert sent[12] == b"\1\2\3\4"
        assert sent.get(18) == zone


class Script:
    """A netlink socket whose kernel answers each request with the next of ``dumps``."""

    def __init__(self, *dumps: bytes) -> None:
        self.dumps = list(dumps)
        self.requests = 0

    def __call__(self) -> Script:
        return self

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, _data: bytes) -> None:
        self.requests += 1

    def recv(self, _size: int) -> bytes:
        return self.dumps.pop(0)


MULTI, INTERRUPTED = 0x2, 0x10
ENTRY, ERROR, DONE = 0x100, 2, 3


def packet(kind: int, payload: bytes, flags: int = MULTI) -> bytes:
    data = struct.pack("=IHHII", 16 + len(payload), kind, flags, 0, 0) + payload
    return data + bytes(-len(data) % 4)


def done(number: int = 0, flags: int = MULTI) -> bytes:
    return packet(DONE, struct.pack("=i", number), flags)


def entry(source: bytes, flags: int = MULTI) -> bytes:
    ends = message(socket.AF_INET, source, b"\n\0\0\1", 6, b"\0\1\0\2")
    body = ctnetlink.attribute(0x8001, ends) + ctnetlink.attribute(0x8002, ends)
    return packet(ENTRY, struct.pack("=BBH", socket.AF_INET, 0, 0) + body, flags)


def sources(lines: Iterable[str]) -> list[str]:
    return [line.split(" ")[2] for line in lines]


A, B = entry(b"\n\0\0\2"), entry(b"\n\0\0\3")


def test_a_dump_is_listed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(A + B, A + done())
    monkeypatch.setattr(ctnetlink, "_connect", script)
    assert sources(ctnetlink.list_entries()) == ["10.0.0.2", "10.0.0.3", "10.0.0.2"]
    assert script.requests == 1


@pytest.mark.parametrize(
    "broken",
    [
        A + done(flags=MULTI | INTERRUPTED),
        entry(b"\n\0\0\2", MULTI | INTERRUPTED) + done(),
        A + done(-errno.EINTR),
    ],
)
def test_a_dump_that_was_interrupted_is_taken_again(
    broken: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(broken, broken, A + B + done())
    monkeypatch.setattr(ctnetlink, "_connect", script)
    assert sources(ctnetlink.list_entries()) == ["10.0.0.2", "10.0.0.3"]
    assert script.requests == 3


def test_a_dump_that_is_always_interrupted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(*[A + done(flags=MULTI | INTERRUPTED)] * 100)
    monkeypatch.setattr(ctnetlink, "_connect", script)
    with pytest.raises(ctnetlink.NetlinkError, match="interrupted"):
        ctnetlink.list_entries()
    assert 1 < script.requests <= 20


@pytest.mark.parametrize(
    "broken",
    [
        A + done(-errno.ENOMEM),
        A + packet(ERROR, struct.pack("=i", -errno.ENOMEM), 0),
        packet(ERROR, struct.pack("=i", -errno.ENOENT), 0),
    ],
)
def test_a_dump_that_broke_off_is_not_taken_for_a_whole_one(
    broken: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(broken)
    monkeypatch.setattr(ctnetlink, "_connect", script)
    assert ctnetlink.main(["list"]) == 1
    assert "connection tracking: " in capsys.readouterr().err


def test_an_entry_of_another_family_is_not_listed() -> None:
    assert ctnetlink.describe(socket.AF_UNSPEC, b"") is None
    assert ctnetlink.describe(socket.AF_INET, b"") is None


def test_the_helper_refuses_to_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctnetlink.main([]) == 2
    assert "usage" in capsys.readouterr().err
