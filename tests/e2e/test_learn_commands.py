"""podwall learn and podwall audit as commands: what goes where, errors and exit statuses."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from podwall.agent.control.answers import AuditedFlow, AuditedPolicy, AuditReport
from podwall.agent.status import DeniedStatus
from podwall.api import Cluster
from podwall.cli import audit, audit_live, connections
from podwall.cli.connections import duration, watch
from podwall.cli.main import main
from podwall.learn.observed import Sighting
from podwall.learn.reading import read_connections
from podwall.manifest import load
from podwall.model.net import parse_address
from tests.builders import flow
from tests.e2e.doc_blocks import ROOT

SHOP = str(ROOT / "examples" / "shop")
AUDITED = str(ROOT / "examples" / "audit")
SEEN = str(ROOT / "examples" / "connections" / "shop.txt")


def test_policies_are_all_that_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", SHOP, "--connections", SEEN, "--fresh"]) == 0
    text, said = capsys.readouterr()
    manifests = load(["-"], stdin=io.BytesIO(text.encode()))
    assert not manifests.diagnostics
    assert len(manifests.policies) == 9
    assert "34 flows allowed before stay allowed" in said


def test_json_holds_manifests_comments_and_what_was_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["learn", SHOP, "--connections", SEEN, "--audit", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    dns = found["policies"][0]
    assert dns["workloads"] == ["platform/deployment/dns"]
    assert dns["manifest"]["metadata"]["annotations"] == {"podwall.dev/mode": "audit"}
    assert dns["comments"]["ingress"] == [
        [
            "from shop/deployment/cart: 53/udp (dns), 1 connection",
            "from shop/deployment/payment: 53/udp (dns), 1 connection",
            "from shop/deployment/storefront: 53/udp (dns), 2 connections",
        ]
    ]
    assert found["left_out"] == {"no_pod": 1, "own_node": 1, "unanswered": 1, "denied": 1}


def test_standard_input_is_called_as_manifests_from_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"shop/cart -> data/nope 5432/tcp"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["learn", SHOP, "--connections", "-"]) == 2
    assert capsys.readouterr().err.startswith("error: <stdin>:1: ")


def test_audit_knows_a_namespace_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", SHOP, AUDITED, "-n", "shp"]) == 2
    assert "there is no namespace 'shp'; known: data, platform, shop" in capsys.readouterr().err


def test_what_was_learned_in_audit_mode_is_safe_for_what_it_was_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workloads = [f"{SHOP}/00-namespaces.yaml", f"{SHOP}/10-services.yaml"]
    assert main(["learn", *workloads, "--connections", SEEN, "--audit", "--icmp"]) == 0
    proposal = tmp_path / "proposal.yaml"
    proposal.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["audit", *workloads, str(proposal), "--connections", SEEN]) == 0
    assert "not safe" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([SHOP], "no connections to learn from: name a file by --connections"),
        (["--connections", SEEN], "no manifests: name files"),
        ([SHOP, "--connections", "absent"], "absent: No such file or directory"),
        ([SHOP, "--connections", SEEN, "--for", "1m"], "--for is about the connections of nodes"),
        ([SHOP, "--connections", SEEN, "-n", "shp"], "there is no namespace 'shp'; known: data,"),
        (["-", "--connections", "-"], "standard input can be read once"),
        ([SHOP, "--connections", f"{SHOP}/00-namespaces.yaml"], "00-namespaces.yaml:1: "),
    ],
)
def test_unusable_input_is_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "5x", "-1", "1.5h", "99999999"])
def test_a_time_is_a_number_with_a_unit(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)
    assert [duration(each) for each in ("90", "30s", "10m", "2h", "1d")] == [
        *(90, 30, 600, 7200, 86400)
    ]


def test_looking_goes_on_until_the_time_is_over() -> None:
    looks: list[float] = []
    now = [100.0]

    def look() -> list[Sighting]:
        looks.append(now[0])
        return [Sighting(flow("10.0.0.1", "10.0.0.2"), len(looks))]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    (found,) = watch(look, 12, clock=lambda: now[0], sleep=sleep)
    assert looks == [100, 105, 110, 112]
    assert found.count == 4
    (once,) = watch(look, 0, clock=lambda: now[0], sleep=sleep)
    assert once.count == 1


def test_audit_is_status_1_until_every_policy_is_known_to_be_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", SHOP, AUDITED]
    assert main([*words, "--connections", SEEN, "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {each["policy"]: each["safety"] for each in found["policies"]} == {
        "platform/dns": "safe",
        "platform/dns-upstream": "unknown",
        "platform/prometheus": "unsafe",
    }
    plain = tmp_path / "seen.txt"
    plain.write_text("shop/deployment/cart -> platform/deployment/dns 53/udp\n", encoding="utf-8")
    assert main([*words, "--connections", str(plain), "-n", "platform"]) == 1
    capsys.readouterr()
    assert main(["audit", SHOP]) == 0
    assert "No policy is audited" in capsys.readouterr().out


DENIED = AuditedFlow(
    source="platform/prometheus-rxgbdhvjgd-btjxh",
    target="data/cache-0",
    service="9121/tcp",
    direction="egress",
    count=7,
    first=10.0,
    last=20.0,
    policies=("platform/prometheus",),
)


def agent_says(
    monkeypatch: pytest.MonkeyPatch,
    *,
    reading: bool = True,
    packets: int | None = 0,
    forgotten: int = 0,
    known: tuple[str, ...] = ("platform/dns", "platform/dns-upstream"),
) -> None:
    """An agent with the example's cluster, whose log has one flow, on a host with two more."""
    cluster = Cluster.load([SHOP, AUDITED])
    pods = tuple(str(key) for key in cluster.snapshot.pods if str(key).startswith("platform/dns"))
    assert pods
    status = DeniedStatus(wanted=True, reading=reading, error="" if reading else "busy", lost=2)
    audited = [
        *(AuditedPolicy(each, 0.0, pods, (), packets) for each in known),
        AuditedPolicy("platform/prometheus", since=0.0, pods=(), flows=(DENIED,)),
    ]
    report = AuditReport("worker-1", 0.0, status, tuple(audited), forgotten)
    text = "shop/deployment/cart -> platform/deployment/dns 53/udp"
    seen = read_connections(text, "", cluster.snapshot)
    monkeypatch.setattr(audit_live, "ask", lambda *_: report)
    monkeypatch.setattr(audit, "cluster_of", lambda _: cluster)
    monkeypatch.setattr(connections, "_of_host", lambda: seen)


def test_an_agents_log_speaks_against_and_this_hosts_connections_for_a_policy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent_says(monkeypatch)
    assert main(["audit", "--live"]) == 1
    text, said = capsys.readouterr()
    assert "platform/dns: safe" in text
    assert "platform/dns-upstream: not known yet" in text
    flow_line = "platform/deployment/prometheus → data/statefulset/cache 9121/tcp, egress, 7 times"
    assert flow_line in text
    assert "the log has gaps: 2 packets were lost" in said


def test_nothing_is_safe_by_a_log_that_is_not_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent_says(monkeypatch, reading=False)
    assert main(["audit", "--live"]) == 1
    text, said = capsys.readouterr()
    assert "platform/dns: not known yet" in text
    assert "does not read the kernel's log now: busy" in said


def test_nothing_is_safe_that_the_kernel_cannot_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A kernel without NFLOG refuses audited policies, so nothing that they would deny is heard of.
    agent_says(monkeypatch, packets=None)
    assert main(["audit", "--live", "-n", "platform"]) == 1
    text, said = capsys.readouterr()
    assert "platform/dns: not known yet" in text
    assert "log what these deny: platform/dns, platform/dns-upstream" in " ".join(said.split())


def test_nothing_is_safe_by_a_ledger_that_forgot_some_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent_says(monkeypatch, forgotten=3)
    assert main(["audit", "--live"]) == 1
    assert "platform/dns: not known yet" in capsys.readouterr().out


def test_a_policy_that_the_agent_does_not_watch_yet_is_not_safe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent_says(monkeypatch, known=())
    assert main(["audit", "--live"]) == 1
    assert "platform/dns: not known yet" in capsys.readouterr().out


def test_what_was_seen_of_pods_that_are_gone_is_not_kept_from_who_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster.load([SHOP, AUDITED])
    dns = next(
        each
        for key, pod in cluster.snapshot.pods.items()
        if str(key).startswith("platform/dns")
        for each in pod.addresses
    )
    gone = next(
        text
        for number in range(250, 1, -1)
        if parse_address(text := f"10.244.1.{number}") not in cluster.snapshot.owners
    )
    seen = tmp_path / "seen.txt"
    seen.write_text(f"{gone} -> {dns} 53/udp x3\n", encoding="utf-8")
    assert main(["audit", SHOP, AUDITED, "--connections", str(seen)]) == 1
    text, said = capsys.readouterr()
    assert "platform/dns: not known yet" in text
    assert "not judged: 3 connections of pods that are no longer there" in said


def test_a_file_that_is_too_large_is_refused_and_not_read_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "shop/deployment/cart -> platform/deployment/dns 53/udp\n"
    seen = tmp_path / "seen.txt"
    seen.write_text(line, encoding="utf-8")
    monkeypatch.setattr(connections, "_MOST_BYTES", len(line))
    assert main(["learn", SHOP, "--connections", str(seen)]) == 0
    seen.write_text(line + "# more", encoding="utf-8")
    assert main(["learn", SHOP, "--connections", str(seen)]) == 2
    assert f"{seen}: it has more than" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "4 999 10.0.0.1 10.0.0.2 1 2 10.0.0.2 10.0.0.1 2 1 x",
        '{"src": "10.0.0.1", "dst": "10.0.0.2", "service": "protocol 256"}',
    ],
)
def test_there_are_no_more_than_256_protocols(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen.txt"
    seen.write_text(line, encoding="utf-8")
    assert main(["learn", SHOP, "--connections", str(seen)]) == 2
    assert "is no protocol, expected 0 to 255" in capsys.readouterr().err
