"""Logged packets get names: from the reconciler's picture, once a flow, and whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from podwall.agent.control.answers import DropLine
from podwall.agent.denied import naming
from podwall.agent.denied.asking import audited_policies, find_audited
from podwall.agent.denied.naming import Excerpts, Namer
from podwall.agent.reconcile.picture import Picture
from podwall.cluster.events import Deleted
from podwall.cluster.snapshot import build_snapshot
from podwall.dataplane.nflog import LoggedPacket
from podwall.errors import AgentError
from podwall.model.policy import Mode, Policy
from podwall.model.settings import Settings
from podwall.ruleset.ir import LogKind
from tests.builders import addr, allow, namespace, node, pod, policy, port
from tests.unit.agent.reconcile.rig import NODE, Rig

WEB, DB, FAR = "10.0.0.10", "10.0.0.11", "10.0.1.10"
ONLY_53 = policy("dev/db", {"app": "db"}, ingress=[allow(ports=[port(53)])])


def audited(one: Policy) -> Policy:
    return msgspec.structs.replace(one, mode=Mode.AUDIT)


def packet(
    src: str = WEB, dst: str = DB, dport: int = 80, kind: LogKind = LogKind.DENY, when: float = 1.0
) -> LoggedPacket:
    return LoggedPacket(
        when=when, kind=kind, src=addr(src), dst=addr(dst), protocol=6, sport=4711, dport=dport
    )


class World:
    """A node with two pods, and how often its reconciler and the oracle are asked."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = Rig(directory)
        self.asked = 0
        self.judged = 0
        self.namer = Namer(NODE, Settings(), self._ask)
        original = naming.name_packet

        def counted(*words: object, **more: object) -> object:
            self.judged += 1
            return original(*words, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(naming, "name_packet", counted)

    def sync(self, *policies: Policy) -> None:
        self.rig.sync(
            build_snapshot(
                pods=[
                    pod("dev/web", WEB, node=NODE, app="web"),
                    pod("dev/db", DB, node=NODE, app="db"),
                    pod("dev/far", FAR, node="b", app="far"),
                ],
                namespaces=[namespace("dev")],
                policies=policies,
                nodes=[node(NODE, pod_cidrs=["10.0.0.0/24"])],
            )
        )

    @property
    def picture(self) -> Picture:
        return Picture(NODE, Settings(), self.rig.keeper.live, self.rig.keeper.dataplane)

    def _ask(self, question: Callable[[Picture], Excerpts]) -> Future[Excerpts]:
        self.asked += 1
        answer: Future[Excerpts] = Future()
        answer.set_result(question(self.picture))
        return answer


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_packet_gets_names_and_the_policies_that_isolate(world: World) -> None:
    world.sync(ONLY_53)
    (named,), unnamed = world.namer.name([packet(FAR, when=7.5)])
    assert unnamed == 0
    assert (named.source, named.target, named.service) == ("dev/far", "dev/db", "80/tcp")
    assert (named.namespace, named.policies) == ("dev", (ONLY_53.key,))
    line = msgspec.json.decode(named.line, type=DropLine)
    told = msgspec.json.decode(line.denial)
    assert (told["time"], told["source"], told["kind"]) == (7.5, "dev/far", "deny")
    assert named.text.startswith("dev/far → dev/db 80/tcp denied: ")


def test_a_batch_asks_the_reconciler_once_and_the_oracle_once_a_flow(world: World) -> None:
    world.sync(ONLY_53)
    found, _ = world.namer.name([packet(when=float(each), dport=each % 2) for each in range(10)])
    assert [each.when for each in found] == [float(each) for each in range(10)]
    assert (world.asked, world.judged) == (1, 2)


def test_a_flow_is_named_anew_once_something_that_matters_to_it_has_changed(world: World) -> None:
    world.sync(ONLY_53)
    world.namer.name([packet()])
    world.rig.give(pod("dev/other", "10.0.0.12", node=NODE))
    world.namer.name([packet()])
    assert world.judged == 1
    world.rig.give(Deleted(ONLY_53.key, ""))
    (named,), _ = world.namer.name([packet()])
    assert world.judged == 2
    assert named.stale


def test_what_is_remembered_of_flows_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "MOST_KNOWN", 3)
    world.sync(ONLY_53)
    world.namer.name([packet(dport=each) for each in range(10)])
    assert len(world.namer._known) == 3


def test_before_the_cluster_is_known_nobody_can_name_anything(world: World) -> None:
    assert world.namer.name([packet(), packet()]) == ([], 2)


def test_a_packet_that_podwall_fails_at_is_counted_and_logged_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.sync(ONLY_53)
    good = naming.name_packet

    def failing(snapshot: object, flow: object, *more: object) -> object:
        if "81" in str(flow):
            raise ZeroDivisionError
        return good(snapshot, flow, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(naming, "name_packet", failing)
    found, unnamed = world.namer.name([packet(dport=81), packet(), packet(dport=81)])
    assert (len(found), unnamed) == (1, 2)
    assert len(caplog.records) == 1


def test_a_policy_whose_rules_the_kernel_refuses_is_named_as_it_is_enforced(world: World) -> None:
    world.sync(ONLY_53)
    assert world.rig.keeper.live is not None
    world.rig.keeper.live.refuse(frozenset({ONLY_53.key}))
    (named,), _ = world.namer.name([packet(dport=53)])
    assert not named.stale
    assert named.policies == (ONLY_53.key,)


def test_what_an_audited_policy_would_deny_names_the_audited_policies(world: World) -> None:
    world.sync(audited(ONLY_53))
    (named,), _ = world.namer.name([packet(kind=LogKind.AUDIT)])
    assert (named.kind, named.policies) == (LogKind.AUDIT, (ONLY_53.key,))
    assert "would be denied" in named.text


def test_of_audited_policies_the_node_knows_texts_pods_and_packets(world: World) -> None:
    with pytest.raises(AgentError, match="not seen the whole cluster"):
        find_audited(world.picture)
    assert audited_policies(world.picture) is None
    one, enforced = audited(ONLY_53), policy("dev/web", {"app": "web"}, ingress=[])
    world.sync(one, enforced)
    known = find_audited(world.picture)
    assert known.policies == {one.key: one} == audited_policies(world.picture)
    assert [str(each) for each in known.pods[one.key]] == ["dev/db"]
    assert known.packets == {one.key: 0}
