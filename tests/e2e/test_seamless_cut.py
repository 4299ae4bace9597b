"""Connections that a change no longer allows end at once, and nothing remembers them afterwards."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest

from podwall.cluster.placement import place
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.iptables.mode import Mode
from podwall.lab import client
from podwall.lab.client import Lab
from podwall.lab.engine import kernel_engine
from podwall.lab.topology import Shape
from podwall.model.net import Family, Protocol
from podwall.model.objects import Namespace, Pod
from podwall.model.policy import Policy
from tests.builders import TCP, UDP, allow, namespace, pod, pods, policy, port
from tests.e2e.seamless import address_of, open_socket, retransmissions

pytestmark = pytest.mark.kernel

DB, NEAR, FAR = "default/db", "default/near", "friends/far"
KINDS = tuple(itertools.product((TCP, UDP), Family))
PORTS = itertools.count(7100)
QUIET = 0.3


class World(msgspec.Struct, frozen=True):
    """``near`` is on the node of ``db``, ``far`` in another namespace on another node."""

    near: str = "yes"
    far: str = "yes"
    team: str = "ours"
    policies: tuple[Policy, ...] = ()

    def snapshot(self) -> Snapshot:
        members = [
            _labelled(DB, {"role": "db"}, "node-1"),
            _labelled(NEAR, {"asks": self.near}, "node-1"),
            _labelled(FAR, {"asks": self.far}, "node-2"),
        ]
        placed, nodes = place(members, node_names=["node-1", "node-2"], families=tuple(Family))
        spaces = [namespace("default"), Namespace("friends", {"team": self.team})]
        return build_snapshot(placed, spaces, self.policies, nodes)


def _labelled(key: str, labels: dict[str, str], node: str) -> Pod:
    return msgspec.structs.replace(pod(key, node=node), labels=labels)


OPEN = policy(
    DB,
    {"role": "db"},
    ingress=[
        allow(pods({"asks": "yes"}, namespaces="default")),
        allow(pods({"asks": "yes"}, namespaces={"team": "ours"})),
    ],
)
NARROW = policy(DB, {"role": "db"}, ingress=[allow(ports=[port(1)])])
NO_EGRESS = policy("default/near", {"asks": "yes"}, egress=[])
NO_EGRESS_FAR = policy("friends/far", egress=[])
ALLOWED = World(policies=(OPEN,))

DENIALS: dict[str, tuple[str, World]] = {
    "a pod beside it is relabelled": (NEAR, World(near="no", policies=(OPEN,))),
    "a pod elsewhere is relabelled": (FAR, World(far="no", policies=(OPEN,))),
    "a namespace is relabelled": (FAR, World(team="theirs", policies=(OPEN,))),
    "the policy is edited": (FAR, World(policies=(NARROW,))),
    "the client is isolated": (NEAR, World(policies=(OPEN, NO_EGRESS))),
    "the client elsewhere is isolated": (FAR, World(policies=(OPEN, NO_EGRESS_FAR))),
}


class Connection:
    """Two ends that know each other, in the middle of a conversation."""

    def __init__(self, lab: Lab, src: str, kind: tuple[Protocol, Family]) -> None:
        protocol, family = kind
        self.kind = kind
        self.port = next(PORTS)
        with contextlib.ExitStack() as failed:
            self.client = failed.enter_context(open_socket(lab, src, family, kind[0]))
            server = failed.enter_context(open_socket(lab, DB, family, kind[0]))
            server.bind((address_of(lab, DB, family), self.port))
            if protocol == TCP:
                server.listen()
            self.client.settimeout(10)
            self.client.connect(server.getsockname())
            self.client.send(b"hello")
            if protocol == TCP:
                accepted, _ = server.accept()
                server.close()
                server = failed.enter_context(accepted)
            else:
                server.connect(server.recvfrom(100, socket.MSG_PEEK)[1])
            self.server = server
            for end in self.ends:
                end.settimeout(10)
            assert self.server.recv(100) == b"hello"
            self.server.send(b"welcome")
            assert self.client.recv(100) == b"welcome"
            failed.pop_all()

    @property
    def ends(self) -> tuple[socket.socket, socket.socket]:
        return self.client, self.server

    def both_send(self) -> None:
        """Each end sends, the server first; a connection that is reset already is no error."""
        for end in (self.server, self.client):
            with contextlib.suppress(OSError):
                end.send(b"more")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self.ends:
            end.close()


def heard(connections: list[Connection], seconds: float) -> set[str]:
    """Which ends get something to read, other than that the connection is dead."""
    ends = {
        end: f"{name} {each.kind}"
        for each in connections
        for name, end in zip(("client", "server"), each.ends, strict=True)
    }
    found = set()
    deadline = time.monotonic() + seconds
    while ends and (left := deadline - time.monotonic()) > 0:
        for end in select.select(list(ends), [], [], left)[0]:
            try:
                if end.recv(100):
                    found.add(ends[end])
                del ends[end]
            except OSError:
                del ends[end]
    return found


@pytest.fixture(scope="module", params=Mode, ids=lambda mode: mode.value)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        shape = Shape(families=tuple(Family))
        engine = kernel_engine(mode=request.param)
        with client.start(ALLOWED.snapshot(), shape, engine) as started:
            yield started


@pytest.mark.parametrize("name", DENIALS)
def test_s46_a_forbidden_connection_is_dead_for_good_and_a_new_one_works_when_allowed_again(
    lab: Lab, name: str
) -> None:
    src, denied = DENIALS[name]
    lab.apply(ALLOWED.snapshot(), probe=False)
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(Connection(lab, src, kind)) for kind in KINDS]
        lab.apply(denied.snapshot(), probe=False)
        for _ in range(3):
            for each in old:
                each.both_send()
        assert heard(old, QUIET) == set()
        lab.apply(ALLOWED.snapshot(), probe=False)
        new = [stack.enter_context(Connection(lab, src, kind)) for kind in KINDS]
        for each in new:
            if each.kind[0] == TCP:
                assert retransmissions(each.client) == 0, "the first SYN was refused"
        for each in old:
            if each.kind[0] == TCP:
                each.both_send()
        assert heard([each for each in old if each.kind[0] == TCP], QUIET) == set()
        assert not refused_backwards(lab, [each for each in old if each.kind[0] == UDP])


def refused_backwards(lab: Lab, connections: list[Connection]) -> list[Connection]:
    """Where the server's old port, as a client now, does not reach its old client."""
    refused = []
    for each in connections:
        words = f"from port {each.port}".encode()
        each.server.send(words)
        each.client.settimeout(5)
        try:
            while each.client.recv(100) != words:
                pass
        except OSError:
            refused.append(each)
    return refused


def test_s46_a_connection_that_stays_allowed_is_not_cut_with_others(lab: Lab) -> None:
    lab.apply(ALLOWED.snapshot(), probe=False)
    with contextlib.ExitStack() as stack:
        near = [stack.enter_context(Connection(lab, NEAR, kind)) for kind in KINDS]
        far = [stack.enter_context(Connection(lab, FAR, kind)) for kind in KINDS]
        _, denied = DENIALS["a namespace is relabelled"]
        lab.apply(denied.snapshot(), probe=False)
        for each in (*near, *far):
            each.both_send()
        both = {f"{end} {kind}" for end in ("client", "server") for kind in KINDS}
        assert heard(near, 5) == both
        assert heard(far, QUIET) == set()
