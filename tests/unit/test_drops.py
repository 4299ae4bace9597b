"""Which denied packets are chosen, how they are counted and printed, and when it ends."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator

import pytest

from podwall.agent.control.answers import DropsHead
from podwall.agent.status import DeniedStatus
from podwall.cli import drops_kernel
from podwall.cli.drops_agent import Told
from podwall.cli.drops_kernel import KernelLog
from podwall.cli.drops_model import Drop, Gap, Heard, Wanted, check_names, check_port
from podwall.cli.drops_session import INTERRUPTED, follow, tell
from podwall.cli.drops_show import Count, Pairs, clock_text
from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.dataplane.nflog import LoggedPacket, NflogReader
from podwall.errors import AgentError, InputError
from podwall.model.settings import Settings
from podwall.ruleset.ir import LogKind
from tests.builders import addr, namespace, pod, policy

NOON = 1_700_000_000.0


def drop(**fields: object) -> Drop:
    known = {
        "time": NOON,
        "kind": "deny",
        "source": "shop/web-0",
        "target": "data/db-0",
        "service": "5432/tcp",
        "src": "10.0.0.2",
        "dst": "10.0.0.3",
        "source_workload": "shop/deployment/web",
        "direction": "ingress",
        "reason": "so it is",
        "node": "n1",
    }
    return Drop(**{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "end",
    [
        "shop/web-0",
        "web-0",
        "pod/shop/web-0",
        "shop/deployment/web",
        "Deployment/web",
        "deployment/web",
        "shop/*",
        "*/deployment/*",
        "10.0.0.2",
        "10.0.0.0/30",
    ],
)
def test_an_end_is_meant_by_its_name_its_workload_a_pattern_or_its_address(end: str) -> None:
    assert Wanted(source=end)(drop())


@pytest.mark.parametrize(
    "end", ["shop/web", "web", "data/deployment/web", "deployment/web-0", "data/*", "10.0.0.3"]
)
def test_nothing_else_means_it(end: str) -> None:
    assert not Wanted(source=end)(drop())


def test_a_node_is_no_pod_of_its_name() -> None:
    assert Wanted(source="node/web-0")(drop(source="node/web-0", source_workload=""))
    assert not Wanted(source="web-0")(drop(source="node/web-0", source_workload=""))


@pytest.mark.parametrize(
    ("port", "service", "meant"),
    [
        ("53", "53/udp", True),
        ("53", "53/tcp", True),
        ("53/udp", "53/tcp", False),
        ("5", "53/tcp", False),
        ("icmp", "icmpv6", True),
        ("icmp", "icmp", True),
    ],
)
def test_a_port_alone_is_one_of_any_protocol(port: str, service: str, meant: bool) -> None:
    check_port(port)
    assert Wanted(port=port)(drop(service=service)) is meant


def test_a_port_that_is_none_is_an_error() -> None:
    with pytest.raises(InputError, match="6379/tcp"):
        check_port("https")


def test_a_namespace_is_that_of_either_end_and_all_that_is_asked_for_counts_together() -> None:
    assert Wanted(namespace="shop")(drop())
    assert Wanted(namespace="data")(drop())
    assert not Wanted(namespace="dat")(drop())
    assert Wanted(namespace="data", direction="ingress", kind="deny", since=NOON)(drop())
    assert not Wanted(namespace="data", direction="egress")(drop())
    assert not Wanted(namespace="data", kind="audit")(drop())
    assert not Wanted(since=NOON + 1)(drop())


def test_names_that_nobody_has_are_errors_that_say_what_comes_near() -> None:
    snapshot = build_snapshot([pod("shop/web-0", "10.0.0.2")], [namespace("shop")])
    check_names(Wanted(source="shop/web-0", target="10.9.0.0/16", namespace="shop"), snapshot)
    check_names(Wanted(source="gone/*"), snapshot)
    with pytest.raises(InputError, match="did you mean shop/web-0"):
        check_names(Wanted(target="shop/web-9"), snapshot)
    with pytest.raises(InputError, match="there is no namespace 'shpo'; did you mean shop"):
        check_names(Wanted(namespace="shpo"), snapshot)


def test_the_time_has_a_date_unless_it_is_today() -> None:
    assert clock_text(NOON, NOON) == time.strftime("%H:%M:%S", time.localtime(NOON))
    assert clock_text(NOON, NOON + 86400 * 2).startswith("2023-11-1")


def test_pairs_are_counted_by_workload_where_there_is_one() -> None:
    pairs = Pairs(workloads=True)
    for number in range(3):
        pairs.add(drop(source=f"shop/web-{number}", time=NOON + number))
    pairs.add(drop(kind="audit"))
    (first, counted), (second, _) = pairs.most()
    assert str(first) == "shop/deployment/web → data/db-0 5432/tcp"
    assert counted == Count(3, NOON, NOON + 2)
    assert str(second).endswith("5432/tcp (audit)")
    assert pairs.total == 4


def test_pairs_are_bounded_and_what_is_beyond_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podwall.cli.drops_show.MOST_KEPT", 2)
    pairs = Pairs(workloads=False)
    for number in range(5):
        pairs.add(drop(source=f"shop/web-{number}"))
    assert (len(pairs.most()), pairs.beyond, pairs.total) == (2, 3, 5)


def options(**fields: object) -> argparse.Namespace:
    known = {"count": False, "by": "workload", "output": "text", "seconds": None, "most": None}
    return argparse.Namespace(**{**known, "since": None, **fields})


def test_a_line_says_it_all_and_what_is_missing_is_said_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[Heard] = [None, drop(), Gap("n2", 7, "packets came too fast"), drop(kind="audit")]
    assert follow(options(), Wanted(), iter(heard), "lab one", ["n1", "n2"]) == 0
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    when = clock_text(NOON)
    assert first == f"{when}  n1  shop/web-0 → data/db-0 5432/tcp denied: so it is"
    assert second.endswith("would be denied: so it is")
    assert err.splitlines() == [
        "following lab one (2 nodes); Ctrl-C ends it",
        "7 are missing of n2: packets came too fast",
        "2 denials:",
        "  1× shop/deployment/web → data/db-0 5432/tcp",
        "  1× shop/deployment/web → data/db-0 5432/tcp (audit)",
    ]


def test_ctrl_c_prints_what_was_gathered_and_ends_with_its_own_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def heard() -> Iterator[Heard]:
        yield drop()
        yield Gap("n1", 3, "why")
        raise KeyboardInterrupt

    assert follow(options(output="json"), Wanted(), heard(), "lab one") == INTERRUPTED
    document = json.loads(capsys.readouterr().out)
    assert [each["source"] for each in document["denials"]] == ["shop/web-0"]
    assert document["lost"] == 3
    assert follow(options(count=True), Wanted(), heard(), "lab one") == INTERRUPTED
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["count", "last", "source", "target", "service", "direction"]
    assert row.split()[0] == "1"
    assert row.endswith("shop/deployment/web  →  data/db-0  5432/tcp  ingress")


def test_enough_is_enough() -> None:
    def endless() -> Iterator[Heard]:
        while True:
            yield drop()

    assert follow(options(most=3, output="jsonl"), Wanted(), endless(), "lab one") == 0
    assert follow(options(seconds=0), Wanted(), endless(), "lab one") == 0


def head(**status: object) -> DropsHead:
    return DropsHead("n1", DeniedStatus(**status), 0)  # type: ignore[arg-type]


def test_of_the_past_the_last_ones_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    drops = tuple(drop(time=NOON + number) for number in range(5))
    told = Told((head(logging=True, wanted=True, reading=True),), drops, ())
    assert tell(options(most=2, output="jsonl"), Wanted(), told, lambda: None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["time"] - NOON for line in lines] == [3, 4]


def test_an_agent_that_does_not_log_is_an_error_unless_it_still_remembers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(AgentError, match="does not log what is denied"):
        tell(options(), Wanted(), Told((head(),), (), ()), lambda: None)
    assert tell(options(), Wanted(), Told((head(),), (drop(),), ()), lambda: None) == 0
    assert "no longer logs" in capsys.readouterr().err
    broken = head(logging=True, wanted=True, error="somebody has it")
    tell(options(), Wanted(), Told((broken,), (), ()), lambda: None)
    assert "does not read the kernel's log: somebody has it" in capsys.readouterr().err


class Log(NflogReader):
    """A log of one packet."""

    def __init__(self, end: int, packet: LoggedPacket) -> None:
        super().__init__(1)
        self._end = end
        self._packet = packet

    def fileno(self) -> int:
        return self._end

    def read(self) -> tuple[LoggedPacket, ...]:
        return (self._packet,)


class Moving:
    """A cluster that changes when it is told to."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.changes = True


def test_what_seems_to_be_allowed_waits_for_news_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pods = [pod("dev/a", "10.0.0.2", node="n"), pod("dev/b", "10.0.0.3", node="n")]
    view = Moving(build_snapshot(pods, [namespace("dev")]))
    packet = LoggedPacket(
        when=NOON,
        kind=LogKind.DENY,
        src=addr("10.0.0.2"),
        dst=addr("10.0.0.3"),
        protocol=6,
        dport=80,
    )
    now = [0.0]
    monkeypatch.setattr(drops_kernel, "TICK", 0.01)
    ready, other = os.pipe()
    os.write(other, b".")
    log = KernelLog([("n", Log(ready, packet))], view, Settings(), lambda: now[0])
    heard = log.hear()
    assert next(heard) is None
    os.read(ready, 1)
    assert [next(heard) for _ in range(2)] == [None, None]

    view.snapshot = build_snapshot(pods, [namespace("dev")], [policy("dev/shut", ingress=[])])
    told = next(heard)
    assert isinstance(told, Drop)
    assert not told.stale
    assert "dev/shut" in told.reason

    view.snapshot = build_snapshot(pods, [namespace("dev")])
    os.write(other, b".")
    assert [next(heard) for _ in range(2)] == [None, None]
    os.read(ready, 1)
    now[0] = drops_kernel.PATIENCE
    waited = [each for each in (next(heard) for _ in range(3)) if isinstance(each, Drop)]
    assert waited
    assert all(each.stale for each in waited)
    os.close(ready)
    os.close(other)
