"""Denied packets are read from a real kernel, in both modes of iptables and both families."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podwall.dataplane.iptables.mode import Mode
from podwall.model.net import Family
from tests.e2e.kernel import Conversation, PrivateKernel, conversation, private_kernel
from tests.e2e.test_dataplane_cut import CLIENT, SERVER
from tests.e2e.test_logged import GROUP, GUARDED, Site

pytestmark = pytest.mark.kernel

READ = str(Path(__file__).with_name("read_nflog.py"))


@contextlib.contextmanager
def _reader(kernel: PrivateKernel) -> Iterator[Conversation]:
    with conversation(kernel, [sys.executable, READ, str(GROUP)]) as talk:
        assert talk.ask("hello") == "ready"
        yield talk


def _told(talk: Conversation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(talk.ask("read"))
    return found


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_each_denied_flow_is_read_once_with_its_ends_and_its_port(
    mode: Mode, family: Family
) -> None:
    with private_kernel() as kernel, _reader(kernel) as talk:
        site = Site(kernel, mode)
        site.enforce(GUARDED)
        site.shout(family, "tcp:7000", "tcp:7001", "tcp:7001", "udp:7002", "ping", "gre")

        found = _told(talk)

        ping = 128 if family is Family.V6 else 8
        assert [(each["protocol"], each["dport"], each["icmp_type"]) for each in found] == [
            (6, 7001, None),
            (17, 7002, None),
            (58 if family is Family.V6 else 1, None, ping),
            (47, None, None),
        ]
        ends = {(each["src"]["value"], each["dst"]["value"]) for each in found}
        assert ends == {(CLIENT[family].value, SERVER[family].value)}
        assert all(each["indev"] and each["outdev"] for each in found)
        assert all(each["when"] > 1_700_000_000 for each in found)
        assert talk.ask("lost") == "0"


ODD = """
import socket, sys
from podwall.lab.packets import build_init
family, host = (socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET), sys.argv[1]
with socket.socket(family, socket.SOCK_RAW, 132) as raw:
    raw.sendto(build_init(7000, 7102, 1), (host, 0))
with socket.socket(family, socket.SOCK_DGRAM) as end:
    end.sendto(b"x" * 4000, (host, 7100))
    if family is socket.AF_INET6:
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
        end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
    else:
        end.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 1]))
    end.sendto(b"", (host, 7101))
"""


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_sctp_large_datagrams_and_headers_with_extras_are_read(mode: Mode, family: Family) -> None:
    with private_kernel() as kernel, _reader(kernel) as talk:
        site = Site(kernel, mode)
        site.enforce(GUARDED)
        inside = ("nsenter", "--net=/run/netns/client", "--", sys.executable, "-c", ODD)
        kernel.output(*inside, str(SERVER[family]))

        found = _told(talk)

        assert [(each["protocol"], each["dport"]) for each in found] == [
            (132, 7102),
            (17, 7100),
            (17, 7101),
        ]
        # Its fragments were put together before the rules saw it.
        assert found[1]["length"] > 4000


def test_a_second_reader_is_told_that_there_is_one() -> None:
    with private_kernel() as kernel, _reader(kernel) as talk:
        assert "has a reader already" in json.loads(talk.ask("again"))
